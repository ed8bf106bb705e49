"""Draw results and training runs with matplotlib, as PNG files."""

import itertools
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from .bootstrap import COVERED_PERCENT
from .metrics import DIRECTIONS, RECALL_AT
from .results import EvaluationResult, ResultError, is_finite


# The palette of Okabe and Ito, which people with colour blindness can distinguish.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
LINE_STYLES = ("-", "--", ":")
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
    """Draw results as `recall.png` and `ranks.png`, and training runs as `training.png`.

    Args:
        files (`Sequence[str | os.PathLike]`): Results of `drl-tvr evaluate` or of a training run, and
            `trainer_state.json` files.
        output_dir (`str` or `os.PathLike`): An existing folder.

    Returns:
        `list[Path]`: The pictures.

    Raises:
        [`~evaluation.ResultError`]: When a file is neither, or the results are of different queries.
        `OSError`: When a file cannot be read, or the folder does not exist.
        `ImportError`: When matplotlib is not installed.
    """
    output_dir = Path(output_dir)
    if not output_dir.is_dir():
        raise FileNotFoundError(f"{output_dir} is not a folder.")
    histories = {Path(file): read_history(Path(file)) for file in files}
    names = {path: name_of_file(path, is_run=history is not None) for path, history in histories.items()}
    num_files = Counter(names.values())
    runs, results = {}, {}
    for path, history in histories.items():
        label = names[path] if num_files[names[path]] == 1 else os.fspath(path)
        if history is None:
            results[label] = EvaluationResult.load(path)
        else:
            runs[label] = history
    pictures = []
    if results:
        pictures += [output_dir / "recall.png", output_dir / "ranks.png"]
        plot_recall(results, pictures[0])
        plot_ranks(results, pictures[1])
    if runs:
        pictures.append(output_dir / "training.png")
        plot_training(runs, pictures[-1])
    return pictures


def name_of_file(path: Path, is_run: bool) -> str:
    """Return the name of a file for the legend; all files of a run have the same name, so its folder names it."""
    return path.parent.resolve().name if is_run else path.stem


def plot_recall(results: dict[str, EvaluationResult], path: str | os.PathLike) -> None:
    """Draw the recall at every K, with its 95 % interval at 1, 5 and 10, and the recall of chance.

    Args:
        results (`dict[str, EvaluationResult]`): Results on the same queries, by their names for the legend.
        path (`str` or `os.PathLike`): The PNG file.

    Raises:
        [`~evaluation.ResultError`]: When the results are of different queries.
        `ImportError`: When matplotlib is not installed.
    """
    num_videos = len(next(iter(results.values())).ranks["v2t"])
    ks = np.unique(np.geomspace(1, num_videos, 200).round().astype(int))
    ticks = [k for k in (1, 5, 10, 50, 100, 500, 1000, 5000) if k <= num_videos]
    with picture(path, 2, title_of(results)) as axes:
        for axis, (direction, title) in zip(axes, DIRECTIONS.items(), strict=True):
            for index, (color, (label, result)) in enumerate(zip(itertools.cycle(COLORS), results.items())):
                ranks = np.asarray(result.ranks[direction])
                axis.plot(ks, [(ranks <= k).mean() * 100 for k in ks], color=color, linewidth=1.8, label=label)
                # Without a shift the bars of several results would hide each other.
                shift = 1.05 ** (index - (len(results) - 1) / 2)
                for k in RECALL_AT:
                    ends = result.intervals[f"{direction}_R@{k}"]
                    axis.vlines(k * shift, *ends, color=color, linewidth=4, alpha=0.45)
            axis.plot(ks, ks / num_videos * 100, color="#999999", linestyle=":", label="chance")
            axis.set(title=title, xlabel="K", ylim=(0, 101), xscale="log", xlim=(0.88, max(2, num_videos)))
            axis.set_xticks(ticks, ticks)
            axis.minorticks_off()
        axes[0].set_ylabel("recall at K, %")
        axes[0].plot([], [], color="#777777", linewidth=4, alpha=0.45, label=f"{COVERED_PERCENT} % intervals")
        legend_below(axes[0])


def plot_ranks(results: dict[str, EvaluationResult], path: str | os.PathLike) -> None:
    """Draw the share of queries whose match has each rank.

    Args:
        results (`dict[str, EvaluationResult]`): Results on the same queries, by their names for the legend.
        path (`str` or `os.PathLike`): The PNG file.

    Raises:
        [`~evaluation.ResultError`]: When the results are of different queries.
        `ImportError`: When matplotlib is not installed.
    """
    num_videos = len(next(iter(results.values())).ranks["v2t"])
    edges = [edge for edge in (1, 2, 3, 6, 11, 21, 51, 101, 201, 501, 1001, 2001, 5001) if edge <= num_videos]
    edges.append(num_videos + 1)
    labels = [str(a) if b == a + 1 else f"{a}-{b - 1}" for a, b in itertools.pairwise(edges)]
    width = 0.8 / len(results)
    with picture(path, 2, title_of(results)) as axes:
        for axis, (direction, title) in zip(axes, DIRECTIONS.items(), strict=True):
            for index, (color, (label, result)) in enumerate(zip(itertools.cycle(COLORS), results.items())):
                # The half rank of a tie counts as the next whole rank, as in R@K.
                counts, _ = np.histogram(np.ceil(result.ranks[direction]), bins=edges)
                places = np.arange(len(counts)) + (index - (len(results) - 1) / 2) * width
                share = counts / counts.sum() * 100
                bars = axis.bar(places, share, width * 0.95, color=color, label=label)
                if len(results) == 1:
                    texts = [f"{value:.1f}" if value else "" for value in share]
                    axis.bar_label(bars, texts, fontsize=8)
            axis.set_xticks(range(len(labels)), labels, rotation=45, ha="right", rotation_mode="anchor")
            axis.set(title=title, xlabel="rank of the match")
            axis.grid(visible=False, axis="x")
        axes[0].set_ylabel("queries, %")
        if len(results) > 1:
            legend_below(axes[0])


def plot_training(runs: dict[str, list[dict]], path: str | os.PathLike) -> None:
    """Draw the loss with its parts, and the recall of the evaluations, over the steps of training runs.

    Args:
        runs (`dict[str, list[dict]]`): The `log_history` of each run's `trainer_state.json`, by the name for the
            legend.
        path (`str` or `os.PathLike`): The PNG file.

    Raises:
        `ImportError`: When matplotlib is not installed.
    """
    with picture(path, 3, "") as axes:
        for color, (label, history) in zip(itertools.cycle(COLORS), runs.items()):
            name = f", {label}" if len(runs) > 1 else ""
            for loss, style in zip(("loss", "contrastive_loss", "cdcr_loss"), LINE_STYLES, strict=True):
                plot_history(axes[0], history, loss, color=color, linestyle=style, label=f"{loss}{name}")
            for axis, direction in zip(axes[1:], DIRECTIONS, strict=True):
                for k, style in zip(RECALL_AT, LINE_STYLES, strict=True):
                    look = {"color": color, "linestyle": style, "marker": "o", "markersize": 3.5}
                    plot_history(axis, history, f"eval_{direction}_R@{k}", label=f"R@{k}{name}", **look)
        axes[0].set(title="loss, training", yscale="log")  # the parts differ by orders of magnitude
        for axis, title in zip(axes[1:], DIRECTIONS.values(), strict=True):
            axis.set(title=f"{title}, evaluation, %", ylim=(-2, 101))
        last = max(entry["step"] for history in runs.values() for entry in history)
        for axis in axes:
            axis.set(xlabel="step", xlim=(0, last * 1.03))
            if axis.get_legend_handles_labels()[0]:
                # Below the axis and its label, so that it hides no curve.
                columns = 3 if len(runs) == 1 else 2
                axis.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, 0), borderaxespad=5, ncols=columns)


def read_history(path: Path) -> list[dict] | None:
    """Read the `log_history` of a `trainer_state.json`.

    Args:
        path (`Path`): A JSON file.

    Returns:
        `list[dict]` or `None`: The entries; `None` when the file has no `log_history`.

    Raises:
        [`~evaluation.ResultError`]: When the file is not JSON, or its `log_history` is invalid.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ResultError(f"{path} is not JSON: {error}.") from error
    history = content.get("log_history") if isinstance(content, dict) else None
    if history is None:
        return None
    is_filled = isinstance(history, list) and len(history) > 0
    if not is_filled or not all(isinstance(entry, dict) and is_finite(entry.get("step")) for entry in history):
        found = f"{len(history)} entries" if isinstance(history, list) else type(history).__name__
        raise ResultError(f"{path}: `log_history`: found {found}, expected at least one, each with a `step`.")
    return history


def plot_history(axis, history: list[dict], key: str, **style) -> None:
    """Draw one value of a run over its steps, when the run has logged it."""
    points = [(entry["step"], entry[key]) for entry in history if key in entry]
    if points:
        axis.plot(*zip(*points, strict=True), linewidth=1.6, **style)


def title_of(results: dict[str, EvaluationResult]) -> str:
    """Return the title of a picture: benchmark, split and number of captions and videos.

    Raises:
        [`~evaluation.ResultError`]: When the results are of different queries.
    """
    first_label, first = next(iter(results.items()))
    for label, result in results.items():
        for key in ("benchmark", "split", "queries_sha256"):
            if result.data[key] != first.data[key]:
                raise ResultError(
                    f"{label} cannot be drawn beside {first_label}: `data.{key}`: found {result.data[key]}, expected "
                    f"{first.data[key]}."
                )
    sizes = f"{len(first.ranks['t2v']):,} captions, {len(first.ranks['v2t']):,} videos"
    return f"{first.data['benchmark']}, {first.data['split']} split: {sizes}"


def legend_below(axis) -> None:
    """Add one legend below the figure, where it hides no curve."""
    handles, labels = axis.get_legend_handles_labels()
    axis.figure.legend(handles, labels, loc="outside lower center", ncols=min(5, len(labels)))


@contextmanager
def picture(path: str | os.PathLike, num_axes: int, title: str) -> Iterator[Sequence]:
    """Yield axes side by side, and write them to a PNG file at the end; pyplot, which has global state, is not used.

    Args:
        path (`str` or `os.PathLike`): The PNG file.
        num_axes (`int`): Number of axes.
        title (`str`): Title of the figure; none when empty.

    Raises:
        `ImportError`: When matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("Pictures need matplotlib: `pip install matplotlib`.") from error
    with matplotlib.rc_context():
        # matplotlib reads a file `matplotlibrc` of the current folder, which may be one of data.
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        figure = Figure(figsize=(4.6 * num_axes, 3.9), layout="constrained")
        axes = figure.subplots(1, num_axes, sharex=True, sharey=num_axes == 2)
        if title:
            figure.suptitle(title, fontsize=12)
        yield axes
        figure.savefig(path, dpi=150, format="png")


__all__ = ["plot_files", "plot_ranks", "plot_recall", "plot_training"]
