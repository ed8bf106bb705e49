"""The whole similarity matrix of a split by WTI: pairs a second and peak memory, and ranks without the matrix.

    python benchmarks/similarity.py                    # 2,000 x 2,000, then ranks of 10,000 x 10,000
    python benchmarks/similarity.py --model outputs/moving-shapes    # and what bfloat16 changes in a trained model

Texts of 32 words (6 to 24 real), videos of 12 frames (8 to 12 real), width 512. `literal` is the formula over blocks
of 64 x 64 items with padding multiplied and masked, (texts, videos, words, frames) held; `product` is the bare matrix
product of the real tokens, which no exact way undercuts.
"""

import argparse
import os
import platform
import resource
import time
from statistics import median

import torch

from drl_tvr import DRLConfig, DRLModel, DRLProcessor, DRLTrainer, DRLTrainingArguments, load_benchmark
from drl_tvr.evaluation import encode_captions, encode_videos, evaluate_retrieval, score_all, stream_ranks
from drl_tvr.modeling_drl import DRLFeatures


DIM = 512


def make_features(num_items: int, shortest: int, longest: int, width: int) -> list[DRLFeatures]:
    """Random encoded items in batches of 128."""
    batches = []
    for count in [128] * (num_items // 128) + ([num_items % 128] if num_items % 128 else []):
        mask = (torch.arange(width) < torch.randint(shortest, longest + 1, (count, 1))).long()
        scores = torch.randn(count, width).masked_fill(mask == 0, float("-inf"))
        tokens = torch.randn(count, width, DIM)
        batches.append(DRLFeatures(tokens=tokens, weights=scores.softmax(-1), mask=mask))
    return batches


def make_model() -> DRLModel:
    """A model of width 512 with hardly any towers: only its interaction is used."""
    tower = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 1}
    return DRLModel(DRLConfig(text_config=tower, vision_config=tower, projection_dim=DIM)).eval()


def literal_scores(texts: list[DRLFeatures], videos: list[DRLFeatures]) -> torch.Tensor:
    """WTI as its formula reads, 64 x 64 items at a time."""
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
    """The matrix product of all real words with all real frames, in blocks."""
    words, frames = (
        torch.cat([batch.tokens[batch.mask.bool()] for batch in side]).to(dtype) for side in (texts, videos)
    )
    for block in words.split(2048):
        for other in frames.split(2048):
            block @ other.T


def timed(function, *arguments, repeats: int) -> tuple[float, float]:
    """Median seconds and half their range."""
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        function(*arguments)
        seconds.append(time.perf_counter() - began)
    return median(seconds), (max(seconds) - min(seconds)) / 2


@torch.no_grad()
def print_rates(num_items: int, repeats: int) -> None:
    """Pairs a second of each way."""
    model = make_model()
    texts, videos = make_features(num_items, 6, 24, 32), make_features(num_items, 8, 12, 12)
    some = texts[:4], videos[:4]
    difference = (score_all(model, *some) - literal_scores(*some)).abs().max()
    print(f"Largest difference from the literal formula: {difference:.0e}\n")
    print("| way | pairs | seconds | million pairs/s |")
    print("|---|---:|---:|---:|")
    rows = (
        ("literal, float32", some, lambda: literal_scores(*some)),
        ("product alone, float32", (texts, videos), lambda: product_only(texts, videos, torch.float32)),
        ("ours, float32", (texts, videos), lambda: score_all(model, texts, videos)),
        ("product alone, bfloat16", some, lambda: product_only(*some, torch.bfloat16)),
        ("ours, bfloat16", some, lambda: score_all(model, *some, dtype=torch.bfloat16)),
    )
    for name, (these, those), function in rows:
        pairs = sum(len(batch.tokens) for batch in these) * sum(len(batch.tokens) for batch in those)
        seconds, spread = timed(function, repeats=repeats)
        print(f"| {name} | {pairs:,} | {seconds:.2f} ± {spread:.2f} | {pairs / seconds / 1e6:.3f} |", flush=True)


def print_streaming(sizes: list[int]) -> None:
    """Seconds and peak memory of ranks without the matrix."""
    model = make_model()
    print(
        "\n| captions x videos | the matrix would take, MB | seconds | million pairs/s | peak over the features, MB |"
    )
    print("|---:|---:|---:|---:|---:|")
    for size in sizes:
        texts, videos = make_features(size, 6, 24, 32), make_features(size, 8, 12, 12)
        start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        seconds, _ = timed(stream_ranks, model, texts, videos, repeats=1)
        peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start) / 1024
        cells = f"{size**2 * 4 / 1e6:,.0f} | {seconds:.1f} | {size**2 / seconds / 1e6:.3f} | {peak:,.0f}"
        print(f"| {size:,} x {size:,} | {cells} |", flush=True)


@torch.no_grad()
def print_bfloat16(folder: str) -> None:
    """Metrics of a trained model of the bundled benchmark in both types."""
    model, processor = DRLModel.from_pretrained(folder), DRLProcessor.from_pretrained(folder)
    args = DRLTrainingArguments(folder, report_to="none", use_cpu=True, eval_strategy="no", save_strategy="no")
    args.load_best_model_at_end = False
    trainer = DRLTrainer(model=model, args=args, processing_class=processor)
    data = trainer._decode(load_benchmark("moving-shapes", split="test"))
    model.eval()
    videos = encode_videos(model, trainer._eval_batches(data.videos))
    texts = encode_captions(model, trainer._eval_batches(data.captions))
    names = [f"{side}_{name}" for side in ("t2v", "v2t") for name in ("R@1", "R@5", "R@10", "MdR", "MnR")]
    print(f"\n| {folder} | {' | '.join(names)} |")
    print("|---|" + "---:|" * len(names))
    for dtype in (torch.float32, torch.bfloat16):
        metrics = evaluate_retrieval(score_all(model, texts, videos, dtype=dtype), data.caption_to_video)
        print(f"| {dtype} | {' | '.join(f'{metrics[name]:.2f}' for name in names)} |")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num_items", type=int, default=2048)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--streamed", type=int, nargs="*", default=[2_500, 10_000])
    parser.add_argument("--model", help="folder of a model trained on the bundled benchmark")
    args = parser.parse_args()
    torch.manual_seed(0)
    print_rates(args.num_items, args.repeats)
    print_streaming(args.streamed)
    if args.model:
        print_bfloat16(args.model)
    print(
        f"\n{os.cpu_count()} cores of {platform.machine()}, torch {torch.__version__}; median of {args.repeats} ± half"
        " the range, but for the ranks."
    )


if __name__ == "__main__":
    main()
