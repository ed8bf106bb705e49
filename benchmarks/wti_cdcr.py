"""Compare WTI and CDCR, forward and backward, with their literal formulas: seconds and peak memory.

    python benchmarks/wti_cdcr.py

Texts have 32 words (6 to 24 real), videos 12 frames (8 to 12 real), width 512, float32. The literal formulas build the
(texts, videos, words, frames) tensor, padding included, and the (rows, dim, dim) tensor of the decorrelation. Each
measurement runs in a separate process, which has its own peak memory: the peak of the resident set minus its size
before.
"""

import argparse
import json
from collections.abc import Callable

import torch
from measuring import machine, matmul_rate, memory, peak_memory, reset_peak, run_apart, seconds_of

from drl_tvr import DRLConfig, DRLModel
from drl_tvr.model.decorrelation import decorrelation_loss, standardize_channels
from drl_tvr.model.losses import contrastive_loss
from drl_tvr.model.modeling_drl import DRLFeatures


DIM = 512
LOGIT_SCALE = 100.0


def make_features(num_items: int, shortest: int, longest: int, width: int, device: str) -> DRLFeatures:
    """Make random tokens that require a gradient, with weights and a mask."""
    lengths = torch.randint(shortest, longest + 1, (num_items, 1), device=device)
    mask = (torch.arange(width, device=device) < lengths).long()
    tokens = torch.randn(num_items, width, DIM, device=device, requires_grad=True)
    scores = torch.randn(num_items, width, device=device).masked_fill(mask == 0, float("-inf"))
    return DRLFeatures(tokens=tokens, weights=scores.softmax(-1).requires_grad_(), mask=mask)


def literal_loss(text: DRLFeatures, video: DRLFeatures, config: DRLConfig) -> torch.Tensor:
    """Compute the loss by the literal formulas of the paper."""
    words, frames = (torch.nn.functional.normalize(side.tokens, dim=-1) for side in (text, video))
    real = text.mask.bool()[:, None, :, None] & video.mask.bool()[None, :, None, :]
    cosines = torch.einsum("and,bfd->abnf", words, frames).masked_fill(~real, -2.0)
    best_frame, frame_index = cosines.max(dim=3)
    best_word, word_index = cosines.max(dim=2)
    by_words = torch.einsum("abn,an->ab", best_frame, text.weights)
    by_frames = torch.einsum("abf,bf->ab", best_word, video.weights)
    correlations = []
    pairs = torch.arange(len(words))
    for own, other, index, side in (
        (words, frames, frame_index[pairs, pairs], text),
        (frames, words, word_index[pairs, pairs], video),
    ):
        chosen = other.gather(1, index[..., None].expand(-1, -1, DIM))
        rows = side.mask.bool()
        x, y = standardize_channels(own[rows]), standardize_channels(chosen[rows])
        outer = x[:, :, None] * y[:, None, :] * side.weights[rows][:, None, None]  # (rows, dim, dim)
        correlations.append(outer.sum(0) / len(words))
    cdcr = decorrelation_loss(
        (correlations[0] + correlations[1]) / 2, config.cdcr_alpha_diagonal, config.cdcr_alpha_off_diagonal
    )
    return contrastive_loss(LOGIT_SCALE * (by_words + by_frames) / 2) + config.cdcr_lambda * cdcr


def make_loss(name: str, device: str) -> Callable[[DRLFeatures, DRLFeatures], torch.Tensor]:
    """Make the `literal` loss, or `ours`: that of a [`DRLModel`], whose towers are tiny because they are not used."""
    tower = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 1}
    config = DRLConfig(text_config=tower, vision_config=tower, projection_dim=DIM, cdcr_alpha_off_diagonal=0.01)
    if name == "literal":
        return lambda text, video: literal_loss(text, video, config)
    model = DRLModel(config).to(device)
    with torch.no_grad():
        model.logit_scale.fill_(torch.tensor(LOGIT_SCALE).log())
    return lambda text, video: model.compare(text, video, return_loss=True).loss


def gradients_of(loss_of: Callable, text: DRLFeatures, video: DRLFeatures) -> list[torch.Tensor]:
    """Return the gradients of real tokens and weights; those of padding are not defined."""
    for side in (text, video):
        side.tokens.grad = side.weights.grad = None
    loss_of(text, video).backward()
    return [x.grad[side.mask.bool()] for side in (text, video) for x in (side.tokens, side.weights)]


def measure(name: str, batch_size: int, repeats: int, device: str) -> dict[str, float]:
    """Measure the median seconds of a loss with its gradient, and the peak MB above the memory in use before."""
    loss_of = make_loss(name, device)
    torch.manual_seed(0)
    text, video = make_features(batch_size, 6, 24, 32, device), make_features(batch_size, 8, 12, 12, device)
    small = make_features(2, 6, 24, 32, device), make_features(2, 8, 12, 12, device)
    loss_of(*small).backward()  # libraries are loaded at their first use
    reset_peak(device)
    start = memory(device)
    seconds, spread = seconds_of(lambda: gradients_of(loss_of, text, video), repeats)
    return {"seconds": seconds, "spread": spread, "megabytes": peak_memory(device) - start}


def largest_difference(batch_size: int, device: str) -> tuple[float, float]:
    """Return how far ours differs from the literal formulas: in the loss, and in gradients relative to the largest."""
    sides, losses, gradients = [], [], []
    ours = make_loss("ours", device)
    for loss_of in (ours, make_loss("literal", device)):
        torch.manual_seed(0)
        sides = make_features(batch_size, 6, 24, 32, device), make_features(batch_size, 8, 12, 12, device)
        losses.append(loss_of(*sides).item())
        gradients.append(gradients_of(loss_of, *sides))
    entries = [((a - b).abs().max() / b.abs().max()).item() for a, b in zip(*gradients, strict=True)]
    return abs(losses[0] - losses[1]), max(entries)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[32, 64, 128, 256, 512, 1024])
    parser.add_argument("--largest_literal", type=int, default=128, help="largest batch for the literal formulas")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(*json.loads(args.one))))
        return
    print(f"A float32 matrix product runs at {matmul_rate(args.device) / 1e9:,.0f} GFLOP/s.")
    loss, entry = largest_difference(min(args.batch_sizes), args.device)
    print(f"At the smallest batch losses differ by {loss:.0e}, gradients by {entry:.0e} of their largest entry.\n")
    print("| batch | literal, s | MB | ours, s | MB | times faster |")
    print("|---:|---:|---:|---:|---:|---:|")
    for batch_size in args.batch_sizes:
        cells, seconds = [], {}
        for name in ("literal", "ours"):
            if name == "literal" and batch_size > args.largest_literal:
                cells.append("- | -")
                continue
            arguments = [name, batch_size, args.repeats, args.device]
            found = run_apart(__file__, arguments)
            # By default glibc keeps freed memory, so that the resident set is not the memory in use. The setting costs
            # time, so time is measured separately.
            megabytes = run_apart(__file__, arguments, MALLOC_MMAP_THRESHOLD_="65536")["megabytes"]
            cells.append(f"{found['seconds']:.3f} ± {found['spread']:.3f} | {megabytes:,.0f}")
            seconds[name] = found["seconds"]
        ratio = f"{seconds['literal'] / seconds['ours']:.0f}" if len(seconds) == 2 else "-"
        print(f"| {batch_size} | {' | '.join(cells)} | {ratio} |", flush=True)
    print(f"\n{machine(args.device)}; median of {args.repeats} ± half the range.")


if __name__ == "__main__":
    main()
