"""Pictures of results and of runs, as PNG files, through matplotlib."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .results import EvaluationResult, ResultError


DIRECTIONS = {"t2v": "text to video", "v2t": "video to text"}
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")  # told apart by all eyes
STYLE = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlesize": 11,
    "grid.color": "#e5e5e5",
    "font.size": 10,
    "legend.frameon": False,
}


def plot_files(files: Sequence[str | os.PathLike], output_dir: str | os.PathLike) -> list[Path]:
    """Draw what files hold: `recall.png` and `ranks.png` of results, `training.png` of runs.

    Args:
        files (`Sequence[str | os.PathLike]`): Results of `drl-tvr evaluate` and `trainer_state.json` files.
        output_dir (`str` or `os.PathLike`): An existing folder.

    Returns:
        `list[Path]`: The pictures.

    Raises:
        `ResultError`: For a file that is neither, or results of different queries.
        `OSError`: When a file can't be read or the folder isn't there.
        `ImportError`: Without matplotlib.
    """
    output_dir = Path(output_dir)
    if not output_dir.is_dir():
        raise FileNotFoundError(f"{output_dir} is no folder.")
    runs, results = {}, {}
    for file in map(Path, files):
        history = read_history(file)
        label = file.parent.resolve().name if history is not None else file.stem
        target = runs if history is not None else results
        if label in target:
            label = os.fspath(file)
        target[label] = history if history is not None else EvaluationResult.load(file)
    pictures = []
    if results:
        pictures += [plot_recall(results, output_dir / "recall.png"), plot_ranks(results, output_dir / "ranks.png")]
    if runs:
        pictures.append(plot_training(runs, output_dir / "training.png"))
    return pictures


def plot_recall(results: dict[str, EvaluationResult], path: str | os.PathLike) -> Path:
    """Recall at every K, with a band of its pointwise 95 % interval and the line of chance.

    Args:
        results (`dict[str, EvaluationResult]`): By the name for the legend, all on the same queries.
        path (`str` or `os.PathLike`): The PNG file.

    Returns:
        `Path`: The file.

    Raises:
        `ResultError`: For results of different queries.
        `ImportError`: Without matplotlib.
    """
    figure, axes = new_figure(2, title_of(results))
    for axis, direction in zip(axes, DIRECTIONS, strict=True):
        num_videos = len(next(iter(results.values())).ranks["v2t"])
        ks = np.unique(np.geomspace(1, num_videos, 200).round().astype(int))
        for color, (label, result) in zip(COLORS, results.items(), strict=False):
            ranks = np.asarray(result.ranks[direction])
            axis.plot(ks, [(ranks <= k).mean() * 100 for k in ks], color=color, linewidth=1.8, label=label)
            for k in (1, 5, 10):
                low, high = result.intervals[f"{direction}_R@{k}"]
                axis.plot([k, k], [low, high], color=color, linewidth=5, alpha=0.35, solid_capstyle="butt")
        axis.plot(ks, ks / num_videos * 100, color="#999999", linestyle=":", label="chance")
        axis.set(title=DIRECTIONS[direction], xlabel="K", ylim=(0, 101), xscale="log", xlim=(0.93, num_videos))
        axis.set_xticks(tick_places(num_videos), tick_places(num_videos))
        axis.minorticks_off()
    axes[0].set_ylabel("recall at K, %")
    axes[1].legend(loc="lower right")
    return save(figure, path)


def plot_ranks(results: dict[str, EvaluationResult], path: str | os.PathLike) -> Path:
    """How many queries have their match at which rank.

    Args:
        results (`dict[str, EvaluationResult]`): By the name for the legend, all on the same queries.
        path (`str` or `os.PathLike`): The PNG file.

    Returns:
        `Path`: The file.

    Raises:
        `ResultError`: For results of different queries.
        `ImportError`: Without matplotlib.
    """
    figure, axes = new_figure(2, title_of(results))
    num_videos = len(next(iter(results.values())).ranks["v2t"])
    edges = [edge for edge in (1, 2, 3, 6, 11, 21, 51, 101, 201, 501, 1001, 2001, 5001) if edge <= num_videos]
    edges.append(num_videos + 1)
    labels = [str(a) if b == a + 1 else f"{a}-{b - 1}" for a, b in zip(edges[:-1], edges[1:], strict=True)]
    width = 0.8 / len(results)
    for axis, direction in zip(axes, DIRECTIONS, strict=True):
        for index, (label, result) in enumerate(results.items()):
            # A tie's half rank counts as the next whole one, as it does in R@K.
            counts, _ = np.histogram(np.ceil(result.ranks[direction]), bins=edges)
            places = np.arange(len(counts)) + (index - (len(results) - 1) / 2) * width
            share = counts / counts.sum() * 100
            bars = axis.bar(places, share, width * 0.95, color=COLORS[index % len(COLORS)], label=label)
            if len(results) == 1:
                axis.bar_label(bars, [f"{value:.0f}" if value >= 0.5 else "" for value in share], fontsize=8)
        axis.set_xticks(range(len(labels)), labels, rotation=45, ha="right", rotation_mode="anchor")
        axis.set(title=DIRECTIONS[direction], xlabel="rank of the match")
        axis.grid(visible=False, axis="x")
    axes[0].set_ylabel("queries, %")
    if len(results) > 1:
        axes[1].legend(loc="upper right")
    return save(figure, path)


def plot_training(runs: dict[str, list[dict]], path: str | os.PathLike) -> Path:
    """Loss, and the recall of the evaluations, over the steps of runs.

    Args:
        runs (`dict[str, list[dict]]`): By the name for the legend, the `log_history` of a `trainer_state.json`.
        path (`str` or `os.PathLike`): The PNG file.

    Returns:
        `Path`: The file.

    Raises:
        `ImportError`: Without matplotlib.
    """
    figure, axes = new_figure(3, "")
    for color, (label, history) in zip(COLORS, runs.items(), strict=False):
        name = label if len(runs) > 1 else None
        draw_history(axes[0], history, "contrastive_loss", color=color, label=name)
        if not any("contrastive_loss" in entry for entry in history):
            draw_history(axes[0], history, "loss", color=color, label=name)
        for axis, direction in zip(axes[1:], DIRECTIONS, strict=True):
            for k, style in ((1, "-"), (5, "--"), (10, ":")):
                text = f"R@{k}" + (f", {label}" if name else "")
                metric = f"eval_{direction}_R@{k}"
                draw_history(axis, history, metric, color=color, linestyle=style, marker="o", markersize=3, label=text)
    axes[0].set(title="contrastive loss", ylim=(0, None))
    for axis, direction in zip(axes[1:], DIRECTIONS, strict=True):
        axis.set(title=f"{DIRECTIONS[direction]}, %", ylim=(0, 101))
    for axis in axes:
        axis.set_xlabel("step")
        if axis.get_legend_handles_labels()[0]:
            axis.legend(fontsize=8)
    return save(figure, path)


def read_history(path: Path) -> list[dict] | None:
    """The `log_history` of a `trainer_state.json`, or `None` for another file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ResultError(f"{path} is not JSON: {error}.") from error
    history = content.get("log_history") if isinstance(content, dict) else None
    if history is None:
        return None
    if not isinstance(history, list) or not all(isinstance(entry, dict) and "step" in entry for entry in history):
        raise ResultError(f"{path}: `log_history` must be a list of entries with a `step`.")
    return history


def draw_history(axis, history: list[dict], key: str, **style) -> None:
    """One curve of a run, where it has it."""
    points = [(entry["step"], entry[key]) for entry in history if key in entry]
    if points:
        axis.plot(*zip(*points, strict=True), linewidth=1.6, **style)


def title_of(results: dict[str, EvaluationResult]) -> str:
    """Benchmark, split and size.

    Raises:
        `ResultError`: When results are of different queries.
    """
    first_label, first = next(iter(results.items()))
    for label, result in results.items():
        for key in ("benchmark", "split", "queries_sha256"):
            if result.data[key] != first.data[key]:
                raise ResultError(
                    f"{first_label} has {key} {first.data[key]}, {label} has {result.data[key]}: they don't belong "
                    "into one picture."
                )
    sizes = f"{len(first.ranks['t2v']):,} captions, {len(first.ranks['v2t']):,} videos"
    return f"{first.data['benchmark']}, {first.data['split']} split: {sizes}"


def tick_places(num_videos: int) -> list[int]:
    """Readable places of a logarithmic axis from 1."""
    return [k for k in (1, 5, 10, 50, 100, 500, 1000, 5000) if k <= num_videos]


def new_figure(num_axes: int, title: str):
    """A figure and its axes, side by side, without the state of pyplot."""
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("Pictures need matplotlib: pip install drl-tvr[plots]") from error
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.6 * num_axes, 3.9), layout="constrained")
        axes = figure.subplots(1, num_axes)
    if title:
        figure.suptitle(title, fontsize=12)
    return figure, axes


def save(figure, path: str | os.PathLike) -> Path:
    """Write a figure as PNG."""
    figure.savefig(path, dpi=150, format="png")
    return Path(path)


__all__ = ["plot_files", "plot_ranks", "plot_recall", "plot_training"]
