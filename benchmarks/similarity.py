"""Measure the similarity matrix of a split by WTI: pairs per second and peak memory, and ranks without the matrix.

    python benchmarks/similarity.py                    # 2,000 x 2,000, then ranks of 10,000 x 10,000
    python benchmarks/similarity.py --model outputs/moving-shapes    # also a trained model in bfloat16

Texts have 32 words (6 to 24 real), videos 12 frames (8 to 12 real), width 512. `literal` is the formula over blocks of
64 x 64 items, with the whole (texts, videos, words, frames) tensor, padding included and masked. `product` is only the
matrix product of the real tokens, a lower bound for every exact method.
"""

import argparse
import json

import torch
from measuring import machine, memory, peak_memory, reset_peak, run_apart, seconds_of
from torch.utils.data import DataLoader

from drl_tvr import DRLConfig, DRLModel, DRLProcessor, evaluate_retrieval, load_benchmark
from drl_tvr.data.frame_store import load_frames
from drl_tvr.data.loading import CaptionDataset, RetrievalCollator, VideoDataset
from drl_tvr.data.records import RetrievalData
from drl_tvr.evaluation import encode_captions, encode_videos, score_all, stream_ranks
from drl_tvr.evaluation.metrics import DIRECTIONS, METRICS
from drl_tvr.model.modeling_drl import DRLFeatures


DIM = 512


def make_features(num_items: int, shortest: int, longest: int, width: int) -> list[DRLFeatures]:
    """Make random encoded items in batches of 128."""
    batches = []
    for count in [128] * (num_items // 128) + ([num_items % 128] if num_items % 128 else []):
        mask = (torch.arange(width) < torch.randint(shortest, longest + 1, (count, 1))).long()
        scores = torch.randn(count, width).masked_fill(mask == 0, float("-inf"))
        tokens = torch.randn(count, width, DIM)
        batches.append(DRLFeatures(tokens=tokens, weights=scores.softmax(-1), mask=mask))
    return batches


def make_model() -> DRLModel:
    """Make a model of width 512 with tiny towers; only its interaction is used."""
    tower = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 1}
    return DRLModel(DRLConfig(text_config=tower, vision_config=tower, projection_dim=DIM)).eval()


def literal_scores(texts: list[DRLFeatures], videos: list[DRLFeatures]) -> torch.Tensor:
    """Score by the literal formula of WTI, 64 x 64 items at a time."""
    rows = []
    sides = []
    for batches in (texts, videos):
        whole = [torch.cat([batch[name] for batch in batches]).split(64) for name in ("tokens", "weights", "mask")]
        sides.append(list(zip(*whole, strict=True)))
    for words, w, word_mask in sides[0]:
        row = []
        for frames, u, frame_mask in sides[1]:
            t, v = (torch.nn.functional.normalize(tokens, dim=-1) for tokens in (words, frames))
            real = word_mask.bool()[:, None, :, None] & frame_mask.bool()[None, :, None, :]
            cosines = torch.einsum("and,bfd->abnf", t, v).masked_fill(~real, -2.0)
            by_words = torch.einsum("abn,an->ab", cosines.max(3).values, w)
            row.append((by_words + torch.einsum("abf,bf->ab", cosines.max(2).values, u)) / 2)
        rows.append(torch.cat(row, dim=1))
    return torch.cat(rows)


def product_only(texts: list[DRLFeatures], videos: list[DRLFeatures], dtype: torch.dtype) -> None:
    """Multiply all real words with all real frames, in blocks."""
    words, frames = (
        torch.cat([batch.tokens[batch.mask.bool()] for batch in side]).to(dtype) for side in (texts, videos)
    )
    for block in words.split(2048):
        for other in frames.split(2048):
            block @ other.T


METHODS = {
    "literal, float32": lambda model, texts, videos: literal_scores(texts, videos),
    "only product, float32": lambda model, texts, videos: product_only(texts, videos, torch.float32),
    "ours, float32": lambda model, texts, videos: score_all(model, texts, videos),
    "only product, bfloat16": lambda model, texts, videos: product_only(texts, videos, torch.bfloat16),
    "ours, bfloat16": lambda model, texts, videos: score_all(model, texts, videos, dtype=torch.bfloat16),
    "ranks, streamed": lambda model, texts, videos: stream_ranks(model, texts, videos, show_progress=False),
}


@torch.no_grad()
def measure(method: str, num_items: int, repeats: int) -> dict[str, float]:
    """Measure the median seconds of scoring `num_items` texts and videos, and the peak MB beside the features."""
    torch.manual_seed(0)
    model = make_model()
    texts, videos = make_features(num_items, 6, 24, 32), make_features(num_items, 8, 12, 12)
    METHODS[method](
        model, make_features(2, 6, 24, 32), make_features(2, 8, 12, 12)
    )  # libraries are loaded at their first use
    reset_peak("cpu")
    start = memory("cpu")
    seconds, spread = seconds_of(lambda: METHODS[method](model, texts, videos), repeats)
    return {"seconds": seconds, "spread": spread, "megabytes": peak_memory("cpu") - start}


def print_rates(rows: list[tuple[str, int]], repeats: int) -> None:
    """Print the pairs per second of each method, and its memory beside the features."""
    model = make_model()
    some = make_features(128, 6, 24, 32), make_features(128, 8, 12, 12)
    with torch.no_grad():
        difference = (score_all(model, *some) - literal_scores(*some)).abs().max()
    print(f"Largest difference from the literal formula: {difference:.0e}\n")
    print("| method | texts x videos | seconds | million pairs/s | times literal | MB |")
    print("|---|---:|---:|---:|---:|---:|")
    literal = None
    for method, num_items in rows:
        found = run_apart(__file__, [method, num_items, repeats])
        megabytes = run_apart(__file__, [method, num_items, 1], MALLOC_MMAP_THRESHOLD_="65536")["megabytes"]
        rate = num_items**2 / found["seconds"] / 1e6
        literal = literal or rate
        size = f"{num_items:,} x {num_items:,}"
        seconds = f"{found['seconds']:.2f} ± {found['spread']:.2f}"
        print(f"| {method} | {size} | {seconds} | {rate:.3f} | {rate / literal:.1f} | {megabytes:,.0f} |", flush=True)


@torch.no_grad()
def print_query(num_videos: int, repeats: int) -> None:
    """Print the milliseconds of one query, which compares a single text with all videos."""
    torch.manual_seed(0)
    model = make_model()
    text, videos = make_features(1, 15, 15, 32), make_features(num_videos, 8, 12, 12)
    score_all(model, text, videos)
    seconds, spread = seconds_of(lambda: score_all(model, text, videos), repeats)
    print(f"One query, {num_videos:,} videos: {1e3 * seconds:.1f} ± {1e3 * spread:.1f} ms")


def encode_split(
    model: DRLModel, processor: DRLProcessor, data: RetrievalData
) -> tuple[list[DRLFeatures], list[DRLFeatures]]:
    """Encode the captions and the videos of a split."""
    collate = RetrievalCollator(processor)
    frames = VideoDataset(load_frames(data.videos, processor.video_processor))
    captions = CaptionDataset(data.captions["caption"][:])
    texts = encode_captions(model, DataLoader(captions, 128, collate_fn=collate))
    return texts, encode_videos(model, DataLoader(frames, 128, collate_fn=collate))


@torch.no_grad()
def print_bfloat16(folder: str) -> None:
    """Print the metrics of a model trained on the bundled benchmark, in both data types."""
    model, processor = DRLModel.from_pretrained(folder).eval(), DRLProcessor.from_pretrained(folder)
    data = load_benchmark("moving-shapes", split="test")
    texts, videos = encode_split(model, processor, data)
    names = [f"{direction}_{name}" for direction in DIRECTIONS for name in METRICS]
    print(f"\n| {folder} | {' | '.join(names)} |")
    print("|---|" + "---:|" * len(names))
    for dtype in (torch.float32, torch.bfloat16):
        metrics = evaluate_retrieval(score_all(model, texts, videos, dtype=dtype), data.caption_to_video)
        print(f"| {dtype} | {' | '.join(f'{metrics[name]:.2f}' for name in names)} |")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num_items", type=int, default=2048)
    parser.add_argument("--num_slow", type=int, default=512, help="items for the slow methods: literal, bfloat16")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--streamed", type=int, nargs="*", default=[2_048, 10_000])
    parser.add_argument("--model", help="folder of a model trained on the bundled benchmark")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(*json.loads(args.one))))
        return
    slow = ("literal, float32", "only product, bfloat16", "ours, bfloat16")
    rows = [(method, args.num_slow if method in slow else args.num_items) for method in list(METHODS)[:-1]]
    print_rates(rows, args.repeats)
    if args.streamed:
        print()
        print_rates([("ranks, streamed", size) for size in args.streamed], 1)
    print()
    for num_videos in (1_000, 10_000):
        print_query(num_videos, args.repeats)
    if args.model:
        print_bfloat16(args.model)
    print(f"\n{machine()}; median of {args.repeats} ± half the range, one run for the ranks.")


if __name__ == "__main__":
    main()
