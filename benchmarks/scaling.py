"""How cost grows: seconds of the loss and of scoring while one size doubles, with the exponent of the last doublings.

    python benchmarks/scaling.py

An exponent near 0 says that something else than this size costs (a saturated start), 1 that cost is linear, 2 that it
is quadratic. Width 512, float32; forward and backward for the loss.
"""

import argparse
import os
import platform
import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch
from similarity import make_features as make_batches
from similarity import make_model
from wti_cdcr import make_features, make_loss

from drl_tvr.evaluation import score_all, stream_ranks


def seconds_of(function: Callable[[], object], repeats: int) -> float:
    """Median seconds."""
    function()
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - began)
    return median(seconds)


def loss_step(batch_size: int, words: int, frames: int) -> Callable[[], object]:
    """WTI, CDCR and the contrastive loss of a batch whose items have half to all of their slots real."""
    loss_of = make_loss("ours", "cpu")
    text = make_features(batch_size, max(1, words // 2), words, words, "cpu")
    video = make_features(batch_size, max(1, frames // 2), frames, frames, "cpu")
    return lambda: loss_of(text, video).backward()


def gallery(num_videos: int, num_texts: int, streamed: bool) -> Callable[[], object]:
    """Scoring of a gallery, or its ranks."""
    model = make_model()
    texts, videos = make_batches(num_texts, 6, 24, 32), make_batches(num_videos, 8, 12, 12)
    if streamed:
        owners = torch.arange(num_videos).repeat(-(-num_texts // num_videos))[:num_texts].tolist()
        return lambda: stream_ranks(model, texts, videos, owners, show_progress=False)
    return lambda: score_all(model, texts, videos)


def print_growth(name: str, sizes: list[int], make: Callable[[int], Callable[[], object]], repeats: int) -> None:
    """A row: seconds at every size and the exponent between the last three."""
    seconds = [seconds_of(make(size), repeats) for size in sizes]
    exponents = np.diff(np.log(seconds)) / np.diff(np.log(sizes))
    cells = ", ".join(f"{size:,}: {value:.3f}" for size, value in zip(sizes, seconds, strict=True))
    print(f"| {name} | {cells} | {', '.join(f'{e:.2f}' for e in exponents)} |", flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    torch.manual_seed(0)
    print("| what grows | size: seconds | exponent of each doubling |")
    print("|---|---|---|")
    print_growth("pairs of a batch (loss)", [32, 64, 128, 256, 512], lambda n: loss_step(n, 32, 12), args.repeats)
    print_growth("words of a text (loss)", [8, 16, 32, 64], lambda n: loss_step(128, n, 12), args.repeats)
    print_growth("frames of a video (loss)", [4, 8, 16, 32, 64], lambda n: loss_step(128, 32, n), args.repeats)
    print_growth(
        "videos of a gallery, 256 queries (scores)",
        [256, 512, 1024, 2048, 4096],
        lambda n: gallery(n, 256, False),
        args.repeats,
    )
    print_growth(
        "items of a split (streamed ranks)", [256, 512, 1024, 2048], lambda n: gallery(n, n, True), args.repeats
    )
    print(f"\n{os.cpu_count()} cores of {platform.machine()}, torch {torch.__version__}; median of {args.repeats}.")


if __name__ == "__main__":
    main()
