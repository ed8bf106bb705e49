"""XTI in blocks of pairs against all pairs at once: seconds and peak memory of a loss with its gradient, on the CPU.

    python benchmarks/xti.py

ViT-B/32's sizes (width 512, four blocks, 12 frames), float32, dropout off. Each row is a process of its own, so that
its peak memory is its own: the resident set's peak over what it was before the step.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from statistics import median

import torch

from drl_tvr import DRLConfig
from drl_tvr.losses import contrastive_loss
from drl_tvr.pair_scoring_drl import MAX_ELEMENTS, DRLCrossTransformer


def measure(batch_size: int, max_elements: int, repeats: int) -> dict[str, float]:
    """Median seconds and peak MB of a step, or of scoring without a gradient when `repeats` is negative."""
    torch.manual_seed(0)
    config = DRLConfig(interaction="xti", cdcr="none").cross_config
    config.hidden_dropout = 0.0
    model = DRLCrossTransformer._from_config(config)
    texts, frames = torch.randn(batch_size, 512), torch.randn(batch_size, 12, 512)
    mask = torch.ones(batch_size, 12)
    start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        model.zero_grad()
        contrastive_loss(model(texts, frames, mask, max_elements)).backward()
        seconds.append(time.perf_counter() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": median(seconds), "spread": max(seconds) - min(seconds), "megabytes": (peak - start) / 1024}


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
            one = json.dumps([batch_size, max_elements, args.repeats])
            # Without it glibc keeps freed memory for itself, and the resident set says little of what is in use.
            env = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
            done = subprocess.run([sys.executable, __file__, "--one", one], capture_output=True, text=True, env=env)
            if done.returncode:
                cells.append(f"failed ({done.returncode}) | -")
                continue
            found = json.loads(done.stdout)
            cells.append(f"{found['seconds']:.2f} ± {found['spread'] / 2:.2f} | {found['megabytes']:,.0f}")
        print(f"| {batch_size} | {batch_size**2:,} | {' | '.join(cells)} |", flush=True)
    print(
        f"\n{os.cpu_count()} cores of {platform.machine()}, torch {torch.__version__}; "
        f"median of {args.repeats} ± half the range."
    )


if __name__ == "__main__":
    main()
