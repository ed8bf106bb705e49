"""A training step with towers of CLIP's sizes, random weights: clips a second, peak memory, share of the matmul rate.

    python benchmarks/training_step.py
    python benchmarks/training_step.py --device cuda --towers b32 b16 l14 --batch_size 128

`plain` runs every frame slot through the vision tower, padding too, with eager attention in float32, and takes the
loss by the literal formulas. Each further row adds one thing. Videos have 12 slots with 8 to 12 real frames, texts 32
words with 6 to 24 real. Each row is a process of its own; memory is the peak over the loaded model.
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
from torch.utils.flop_counter import FlopCounterMode
from wti_cdcr import literal_loss

from drl_tvr import DRLConfig, DRLModel


VISION = {
    "b32": {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12},
    "b16": {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12},
    "l14": {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16},
}
PATCH = {"b32": 32, "b16": 16, "l14": 14}
ROWS = {
    "plain": {"plain": True, "attn_implementation": "eager"},
    "real frames only, eager attention": {"attn_implementation": "eager"},
    "sdpa": {"attn_implementation": "sdpa"},
    "sdpa, bfloat16": {"attn_implementation": "sdpa", "bfloat16": True},
    "sdpa, compiled": {"attn_implementation": "sdpa", "compiled": True},
    "sdpa, bfloat16, compiled": {"attn_implementation": "sdpa", "bfloat16": True, "compiled": True},
}


def build_model(towers: str, attn_implementation: str) -> DRLModel:
    """Random towers of CLIP's sizes."""
    width = 768 if towers == "l14" else 512
    config = DRLConfig(
        text_config={
            "hidden_size": width,
            "intermediate_size": 4 * width,
            "num_hidden_layers": 12,
            "num_attention_heads": width // 64,
        },
        vision_config={**VISION[towers], "patch_size": PATCH[towers], "image_size": 224},
        projection_dim=width,
    )
    return DRLModel._from_config(config, attn_implementation=attn_implementation).train()


def make_batch(batch_size: int, device: str) -> dict[str, torch.Tensor]:
    """Random words and uint8 pixels."""
    words = torch.randint(6, 25, (batch_size, 1))
    frames = torch.randint(8, 13, (batch_size, 1))
    batch = {
        "input_ids": torch.randint(0, 49406, (batch_size, 32)),
        "attention_mask": (torch.arange(32) < words).long(),
        "pixel_values_videos": torch.randint(0, 256, (batch_size, 12, 3, 224, 224), dtype=torch.uint8),
        "video_mask": (torch.arange(12) < frames).long(),
    }
    return {name: tensor.to(device) for name, tensor in batch.items()}


def plain_loss(model: DRLModel, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Every slot through the tower; then padding is masked."""
    text = model.get_text_features(batch["input_ids"], batch["attention_mask"])
    video = model.get_video_features(batch["pixel_values_videos"], torch.ones_like(batch["video_mask"]))
    video.mask = batch["video_mask"]
    video.weights = video.weights * video.mask / (video.weights * video.mask).sum(-1, keepdim=True)
    return literal_loss(text, video, model.config)


def matmul_rate(device: str, dtype: torch.dtype) -> float:
    """FLOP/s of a large matrix product."""
    size = 8192 if device == "cuda" else 2048
    a, b = torch.randn(size, size, device=device, dtype=dtype), torch.randn(size, size, device=device, dtype=dtype)
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        a @ b
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    return 2 * size**3 / median(seconds)


def measure(row: str, towers: str, batch_size: int, repeats: int, device: str) -> dict[str, float]:
    """Clips a second, peak MB and the share of the matmul rate."""
    options = ROWS[row]
    torch.manual_seed(0)
    model = build_model(towers, options["attn_implementation"]).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-7)
    batch = make_batch(batch_size, device)
    bfloat16 = options.get("bfloat16", False)
    encode = torch.compile(model, dynamic=True) if options.get("compiled") else model

    def step() -> None:
        with torch.autocast(device, dtype=torch.bfloat16, enabled=bfloat16):
            if options.get("plain"):
                loss = plain_loss(model, batch)
            else:
                loss = encode(**batch, return_loss=True).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if device == "cuda":
            torch.cuda.synchronize()

    start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    step()
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - began)
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start) / 1024
    if device == "cuda":
        peak = torch.cuda.max_memory_allocated() / 2**20
    counter = FlopCounterMode(display=False)
    with counter:
        build_loss = model(**batch, return_loss=True).loss
        build_loss.backward()
    rate = counter.get_total_flops() / median(seconds)
    return {
        "clips": batch_size / median(seconds),
        "spread": batch_size / min(seconds) - batch_size / max(seconds),
        "megabytes": peak,
        "share": rate / matmul_rate(device, torch.bfloat16 if bfloat16 else torch.float32),
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--towers", nargs="+", default=["b32"], choices=list(VISION))
    parser.add_argument("--batch_size", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=list(ROWS))
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(*json.loads(args.one))))
        return
    print("| towers | step | clips/s | peak over the model, MB | share of the matmul rate in its type |")
    print("|---|---|---:|---:|---:|")
    for towers in args.towers:
        for row in args.rows:
            one = json.dumps([row, towers, args.batch_size, args.repeats, args.device])
            done = subprocess.run([sys.executable, __file__, "--one", one], stdout=subprocess.PIPE, text=True)
            if done.returncode:
                print(f"| {towers} | {row} | failed ({done.returncode}) | - | - |", flush=True)
                continue
            found = json.loads(done.stdout.splitlines()[-1])
            rate = f"{found['clips']:.3f} ± {found['spread'] / 2:.3f}"
            print(f"| {towers} | {row} | {rate} | {found['megabytes']:,.0f} | {found['share']:.0%} |", flush=True)
    name = torch.cuda.get_device_name() if args.device == "cuda" else f"{os.cpu_count()} cores of {platform.machine()}"
    print(
        f"\n{name}, torch {torch.__version__}; batch {args.batch_size}, median of {args.repeats} ± half the range. "
        "FLOPs are those of the real frames and words, forward and backward."
    )


if __name__ == "__main__":
    main()
