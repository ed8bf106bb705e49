"""Compare XTI in blocks of pairs with all pairs at once: seconds and peak memory of loss and gradient on the CPU.

    python benchmarks/xti.py

Sizes of ViT-B/32 (width 512, four blocks, 12 frames), float32, no dropout. Each measurement runs in a separate
process, which has its own peak memory: the peak of the resident set minus its size before the step.
"""

import argparse
import json
import subprocess

import torch
from measuring import machine, memory, peak_memory, reset_peak, run_apart, seconds_of

from drl_tvr import DRLConfig
from drl_tvr.model.losses import contrastive_loss
from drl_tvr.model.pair_networks import MAX_ELEMENTS, DRLCrossTransformer


def measure(batch_size: int, max_elements: int, repeats: int) -> dict[str, float]:
    """Measure the median seconds of a step, half their range, and the peak MB above the memory in use before."""
    torch.manual_seed(0)
    config = DRLConfig(interaction="xti", cdcr="none").cross_config
    config.hidden_dropout = 0.0
    model = DRLCrossTransformer._from_config(config)
    texts, frames = torch.randn(batch_size, 512), torch.randn(batch_size, 12, 512)
    mask = torch.ones(batch_size, 12)

    def step() -> None:
        model.zero_grad()
        contrastive_loss(model(texts, frames, mask, max_elements)).backward()

    start = memory("cpu")
    reset_peak("cpu")
    seconds, spread = seconds_of(step, repeats)
    return {"seconds": seconds, "spread": spread, "megabytes": peak_memory("cpu") - start}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[16, 32, 64])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(*json.loads(args.one))))
        return
    print("| batch | pairs | all at once, s | MB | in blocks, s | MB |")
    print("|---:|---:|---:|---:|---:|---:|")
    for batch_size in args.batch_sizes:
        cells = []
        for max_elements in (2**62, MAX_ELEMENTS):
            try:
                # By default glibc keeps freed memory, so that the resident set is not the memory in use.
                found = run_apart(__file__, [batch_size, max_elements, args.repeats], MALLOC_MMAP_THRESHOLD_="65536")
            except subprocess.CalledProcessError as error:
                cells.append(f"failed ({error.returncode}) | -")
                continue
            cells.append(f"{found['seconds']:.2f} ± {found['spread']:.2f} | {found['megabytes']:,.0f}")
        print(f"| {batch_size} | {batch_size**2:,} | {' | '.join(cells)} |", flush=True)
    print(f"\n{machine()}; median of {args.repeats} ± half the range.")


if __name__ == "__main__":
    main()
