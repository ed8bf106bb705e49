"""Measure how seconds of loss, encoding and scoring grow while one size doubles, with the exponent of each doubling.

    python benchmarks/scaling.py

An exponent near 0 means that the cost does not depend on this size yet, 1 that it is linear, 2 that it is quadratic.
Width 512, float32; forward and backward for the loss, forward only for encoding, with random towers of ViT-B/32's
sizes.
"""

import argparse
import functools
import os
import socket
import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch
from accelerate import PartialState
from measuring import machine, seconds_of
from similarity import make_features as make_batches
from similarity import make_model
from torch.multiprocessing import SimpleQueue, spawn
from training_step import build_model, make_batch
from wti_cdcr import make_features, make_loss

from drl_tvr import DRLModel
from drl_tvr.evaluation import score_all, stream_ranks
from drl_tvr.training.global_loss import loss_of_features


def loss_step(batch_size: int, words: int, frames: int) -> Callable[[], object]:
    """Make a step of WTI, CDCR and the contrastive loss, with at least half of the words and frames real."""
    loss_of = make_loss("ours", "cpu")
    text = make_features(batch_size, max(1, words // 2), words, words, "cpu")
    video = make_features(batch_size, max(1, frames // 2), frames, frames, "cpu")
    return lambda: loss_of(text, video).backward()


def gallery(num_videos: int, num_texts: int, streamed: bool) -> Callable[[], object]:
    """Make a function that scores a gallery, or ranks it without the matrix."""
    model = make_model()
    texts, videos = make_batches(num_texts, 6, 24, 32), make_batches(num_videos, 8, 12, 12)
    if streamed:
        caption_to_video = [text % num_videos for text in range(num_texts)]
        return lambda: stream_ranks(model, texts, videos, caption_to_video, show_progress=False)
    return lambda: score_all(model, texts, videos)


@torch.no_grad()
def encode(model: DRLModel, batch: dict[str, torch.Tensor], text: bool) -> None:
    """Encode texts of 32 words (6 to 24 real), or videos of 12 frames of 224 pixels (8 to 12 real)."""
    if text:
        model.get_text_features(batch["input_ids"], batch["attention_mask"])
    else:
        model.get_video_features(batch["pixel_values_videos"], batch["video_mask"])


def share_of_a_loss(rank: int, processes: int, port: int, batch_size: int, repeats: int, result: SimpleQueue) -> None:
    """Compute this process's share of the loss of a global batch, with one thread."""
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(processes), LOCAL_WORLD_SIZE=str(processes))
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    state = PartialState(cpu=True)
    model = make_model().train()
    text = make_features(batch_size // processes, 6, 24, 32, "cpu")
    video = make_features(batch_size // processes, 8, 12, 12, "cpu")
    seconds = []
    for _ in range(repeats + 1):
        state.wait_for_everyone()
        began = time.perf_counter()
        loss_of_features(model, text, video).loss.backward()
        state.wait_for_everyone()
        seconds.append(time.perf_counter() - began)
    if rank == 0:
        result.put(median(seconds[1:]))
    state.destroy_process_group()


def seconds_on(processes: int, batch_size: int, repeats: int) -> float:
    """Measure the seconds of the loss of a global batch with its gradient, shared by several processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    result = torch.multiprocessing.get_context("spawn").SimpleQueue()
    spawn(share_of_a_loss, (processes, port, batch_size, repeats, result), nprocs=processes)
    return result.get()


def print_growth(name: str, sizes: list[int], make: Callable[[int], Callable[[], object]], repeats: int) -> None:
    """Print a row: seconds at every size, the exponent of each doubling, and the exponent fitted to all sizes."""
    seconds = []
    for size in sizes:
        function = make(size)
        function()
        seconds.append(seconds_of(function, repeats)[0])
    exponents = np.diff(np.log(seconds)) / np.diff(np.log(sizes))
    cells = ", ".join(f"{size:,}: {value:.3f}" for size, value in zip(sizes, seconds, strict=True))
    fitted = np.polyfit(np.log(sizes), np.log(seconds), 1)[0]
    print(f"| {name} | {cells} | {', '.join(f'{e:.2f}' for e in exponents)} | {fitted:.2f} |", flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--doublings", type=int, default=4, help="doublings of each size")
    args = parser.parse_args()
    count = args.doublings + 1
    torch.manual_seed(0)
    print("| what grows | size: seconds | exponent of each doubling | fitted |")
    print("|---|---|---|---:|")
    print_growth(
        "pairs of a batch (loss)", [32 * 2**n for n in range(count)], lambda n: loss_step(n, 32, 12), args.repeats
    )
    print_growth(
        "words of a text (loss)", [4 * 2**n for n in range(count)], lambda n: loss_step(128, n, 12), args.repeats
    )
    print_growth(
        "frames of a video (loss)", [4 * 2**n for n in range(count)], lambda n: loss_step(128, 32, n), args.repeats
    )
    towers = build_model("b32", "sdpa").eval()
    for text, name in ((True, "texts of a batch (encoding)"), (False, "videos of a batch (encoding)")):
        sizes = [2**n for n in range(count)]
        print_growth(
            name,
            sizes,
            lambda n, text=text: functools.partial(encode, towers, make_batch(n, "cpu"), text),
            args.repeats,
        )
    print_growth(
        "videos of a gallery, 256 queries (scores)",
        [256 * 2**n for n in range(count)],
        lambda n: gallery(n, 256, False),
        args.repeats,
    )
    print_growth(
        "items of a split (streamed ranks)",
        [128 * 2**n for n in range(count)],
        lambda n: gallery(n, n, True),
        args.repeats,
    )
    pairs = 16 * 2**args.doublings
    one, two = (seconds_on(processes, pairs, args.repeats) for processes in (1, 2))
    exponent = np.log2(two / one)
    print(f"| processes of one thread (loss of {pairs} pairs) | 1: {one:.3f}, 2: {two:.3f} | {exponent:.2f} | - |")
    print(f"\n{machine()}; median of {args.repeats}.")


if __name__ == "__main__":
    main()
