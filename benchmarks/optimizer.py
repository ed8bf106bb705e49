"""Compare AdamW and transformers' cosine schedule with the official BertAdam and its schedule, step by step.

    python benchmarks/optimizer.py

The problem is a linear layer that learns a fixed random linear layer from noisy targets. Both optimizers see the same
batches, with the betas, epsilon, weight decay and warm-up of the recipe. The result is deterministic and takes a few
seconds on one core.
"""

import argparse

import torch
from transformers import get_cosine_schedule_with_warmup

from drl_tvr.training.optimization import BertAdam, official_schedule


SETTINGS = {"lr": 1e-2, "betas": (0.9, 0.98), "eps": 1e-6, "weight_decay": 0.2}
SHOWN_STEPS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 1500, 1999)


def train(optimizer_class, make_schedule, steps: int) -> tuple[list[float], list[float], list[float]]:
    """Return the learning rates, norms of the updates and losses, one per step."""
    generator = torch.Generator().manual_seed(0)
    truth = torch.randn(16, 16, generator=generator)
    weight = torch.nn.Parameter(torch.zeros(16, 16))
    optimizer = optimizer_class([weight], **SETTINGS)
    schedule = make_schedule(optimizer)
    rates, updates, losses = [], [], []
    for _ in range(steps):
        inputs = torch.randn(32, 16, generator=generator)
        targets = inputs @ truth + 0.1 * torch.randn(32, 16, generator=generator)
        loss = (inputs @ weight - targets).square().mean()
        optimizer.zero_grad()
        loss.backward()
        before = weight.detach().clone()
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
        updates.append((weight.detach() - before).norm().item())
        losses.append(loss.item())
    return rates, updates, losses


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2000, help="steps per run")
    steps = parser.parse_args().steps
    warmup = steps // 10
    ours = train(torch.optim.AdamW, lambda optimizer: get_cosine_schedule_with_warmup(optimizer, warmup, steps), steps)
    official = train(BertAdam, lambda optimizer: official_schedule(optimizer, steps, 0.1), steps)
    print("| step | rate, AdamW | rate, official | update, AdamW | update, official | loss, AdamW | loss, official |")
    print("|---:|---:|---:|---:|---:|---:|---:|")
    for step in (step for step in SHOWN_STEPS if step < steps):
        pairs = [f"{a[step]:.5f} | {b[step]:.5f}" for a, b in zip(ours, official, strict=True)]
        print(f"| {step} | {' | '.join(pairs)} |")
    gaps = [a - b for a, b in zip(ours[0], official[0], strict=True)]
    widest = max(range(steps), key=gaps.__getitem__)
    print(
        f"\nThe rates differ most at {widest / steps:.0%} of the run: "
        f"by {gaps[widest] / SETTINGS['lr']:.3f} of the peak."
    )


if __name__ == "__main__":
    main()
