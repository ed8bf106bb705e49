"""Measure seconds and peak memory of training steps whose batches are encoded in chunks, on the CPU.

    python benchmarks/gradient_caching.py

WTI + CDCR on random towers of ViT-B/32's sizes (texts: 12 layers of width 512; frames: 12 layers of width 768, patches
of 32, 224 pixels), float32 unless `--bf16`, 32 words and 12 frames per pair. A step is forward, backward and AdamW.
The baseline is the plain step with a batch that fits into memory. Each row runs in a separate process, which has its
own peak memory: the largest resident set of the whole process, with the libraries, the weights, their gradients, both
moments of AdamW and the pixels.
"""

import argparse
import json
import subprocess

import torch
from measuring import machine, peak_memory, run_apart, seconds_of
from training_step import build_model

from drl_tvr.training.gradient_cache import GradientCache


WORDS = 32


def measure(batch_size: int, chunk_size: int | None, num_frames: int, repeats: int, bf16: bool) -> dict[str, float]:
    """Measure the median seconds of a step, the peak GiB of the process before and after, and the first loss."""
    torch.manual_seed(0)
    model = build_model("b32", "sdpa")
    optimizer = torch.optim.AdamW(model.parameters(), 1e-6, fused=True)
    start = peak_memory("cpu")
    texts = torch.randint(0, 40000, (batch_size, WORDS))
    texts[:, -1] = model.config.text_config.eos_token_id
    batch = {
        "input_ids": texts,
        "attention_mask": torch.ones_like(texts),
        "pixel_values_videos": torch.randint(256, (batch_size, num_frames, 3, 224, 224), dtype=torch.uint8),
        "video_mask": torch.ones(batch_size, num_frames, dtype=torch.long),
    }
    losses = []

    def encode(pairs: dict):
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            text = model.get_text_features(pairs["input_ids"], pairs["attention_mask"])
            return text, model.get_video_features(pairs["pixel_values_videos"], pairs["video_mask"])

    def step() -> None:
        optimizer.zero_grad()
        cache = None if chunk_size is None else GradientCache(encode, batch, chunk_size)
        features = encode(batch) if cache is None else (cache.text, cache.video)
        loss = model.compare(*features, return_loss=True).loss
        loss.backward()
        if cache is not None:
            cache.backward()
        optimizer.step()
        losses.append(loss.item())

    seconds, _ = seconds_of(step, repeats)
    return {"seconds": seconds, "start": start / 2**10, "peak": peak_memory("cpu") / 2**10, "loss": losses[0]}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plain_batch_size", type=int, default=8, help="pairs per plain step")
    parser.add_argument(
        "--batch_sizes", type=int, nargs="+", default=[8, 64, 128, 256], help="pairs per step in chunks"
    )
    parser.add_argument("--chunk_size", type=int, default=8, help="pairs per chunk")
    parser.add_argument("--num_frames", type=int, default=12, help="frames per pair")
    parser.add_argument("--repeats", type=int, default=1, help="steps per row")
    parser.add_argument("--bf16", action="store_true", help="autocast the towers to bfloat16")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(*json.loads(args.one))))
        return
    print("| step | pairs | chunk | loss | s | pairs/s | peak, GiB | over the model alone, GiB |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    rows = [(args.plain_batch_size, None), *((batch_size, args.chunk_size) for batch_size in args.batch_sizes)]
    for batch_size, chunk_size in rows:
        name = f"| {'plain' if chunk_size is None else 'in chunks'} | {batch_size} | {chunk_size or '-'} |"
        try:
            # By default glibc keeps freed memory, so that the resident set is not the memory in use.
            found = run_apart(
                __file__,
                [batch_size, chunk_size, args.num_frames, args.repeats, args.bf16],
                MALLOC_MMAP_THRESHOLD_="65536",
            )
        except subprocess.CalledProcessError as error:
            print(f"{name} failed ({error.returncode}) | - | - | - | - |", flush=True)
            continue
        print(
            f"{name} {found['loss']:.4f} | {found['seconds']:.1f} | {batch_size / found['seconds']:.2f} | "
            f"{found['peak']:.2f} | {found['peak'] - found['start']:.2f} |",
            flush=True,
        )
    print(f"\n{machine()}, {'bfloat16' if args.bf16 else 'float32'}; median of {args.repeats} steps.")


if __name__ == "__main__":
    main()
