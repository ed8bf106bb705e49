"""Measure a training step with random towers of CLIP's sizes: videos per second, memory, share of the matmul rate.

    python benchmarks/training_step.py
    python benchmarks/training_step.py --device cuda --towers b32 b16 l14 --batch_size 128

`plain` runs all 12 frames of each video through the vision tower and the temporal transformer, padding included, with
eager attention in float32, and computes the loss by the literal formulas at a fixed logit scale. Each further row
changes one thing. Videos have 12 frames, of which 8 to 12 are real, and texts 32 words, of which 6 to 24 are real.
Each row runs in a separate process; memory is the peak above the loaded model, so it includes gradients and the state
of the optimizer. The share is the FLOP/s of our step (real frames, all words, three forward passes) divided by the
FLOP/s of a large matrix product in the same type.
"""

import argparse
import json
import subprocess

import torch
from measuring import machine, matmul_rate, memory, peak_memory, reset_peak, run_apart, seconds_of
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
    """Build a model with random towers of CLIP's sizes."""
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
    """Make a batch of random words and uint8 pixels."""
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
    """Compute the loss with all frames encoded; padding is masked afterwards."""
    text = model.get_text_features(batch["input_ids"], batch["attention_mask"])
    video = model.get_video_features(batch["pixel_values_videos"], torch.ones_like(batch["video_mask"]))
    video.mask = batch["video_mask"]
    video.weights = video.weights * video.mask / (video.weights * video.mask).sum(-1, keepdim=True)
    return literal_loss(text, video, model.config)


def measure(
    row: str, towers: str, batch_size: int, repeats: int, device: str, gradient_checkpointing: bool
) -> dict[str, float]:
    """Measure seconds per step, peak MB and the share of the matmul rate."""
    options = ROWS[row]
    torch.manual_seed(0)
    model = build_model(towers, options["attn_implementation"]).to(device)
    if gradient_checkpointing:
        model.gradient_checkpointing_enable()
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

    start = memory(device)
    step()  # compiles, and creates the state of the optimizer
    reset_peak(device)
    seconds, spread = seconds_of(step, repeats)
    peak = peak_memory(device) - start
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad(), torch.autocast(device, dtype=torch.bfloat16, enabled=bfloat16):
        model(**batch, return_loss=True)
    flops = 3 * counter.get_total_flops()  # a backward pass costs two forward passes
    dtype = torch.bfloat16 if bfloat16 else torch.float32
    return {
        "seconds": seconds,
        "spread": spread,
        "megabytes": peak,
        "share": flops / seconds / matmul_rate(device, dtype),
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--towers", nargs="+", default=["b32"], choices=list(VISION))
    parser.add_argument("--batch_size", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--gradient_checkpointing", action="store_true", help="recompute activations to save memory")
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=list(ROWS))
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(*json.loads(args.one))))
        return
    print("| towers | step | seconds | videos/s | peak over the model, MB | share of the matmul rate in its type |")
    print("|---|---|---:|---:|---:|---:|")
    for towers in args.towers:
        for row in args.rows:
            try:
                settings = [args.batch_size, args.repeats, args.device, args.gradient_checkpointing]
                found = run_apart(__file__, [row, towers, *settings])
            except subprocess.CalledProcessError as error:
                print(f"| {towers} | {row} | failed ({error.returncode}) | - | - | - |", flush=True)
                continue
            cells = f"{found['seconds']:.2f} ± {found['spread']:.2f} | {args.batch_size / found['seconds']:.3f}"
            print(f"| {towers} | {row} | {cells} | {found['megabytes']:,.0f} | {found['share']:.0%} |", flush=True)
    print(f"\n{machine(args.device)}; batch {args.batch_size}, median of {args.repeats} ± half the range.")


if __name__ == "__main__":
    main()
