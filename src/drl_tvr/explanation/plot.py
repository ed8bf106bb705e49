"""Draw an explanation: frames above, words on the left, their cosines between them, and what they add around."""

import os
import textwrap
from pathlib import Path

import numpy as np

from ..files import check_output_file
from .score import ScoreExplanation, readable


# Text to video and video to text, which the colour-blind can tell apart; cosines have neither colour.
T2V, V2T = "#d9580d", "#5b3a9e"
COSINES = ("#2a78b5", "#ffffff", "#333333")  # below 0, 0, above 0
GREY, PADDING_GREY = "#707070", "#e8e8e8"
MARKS = {"s": 26, "edgecolors": "white", "linewidths": 0.6, "clip_on": False, "zorder": 3}
SMALL, NORMAL, LARGE = 7, 8.5, 11  # points
# Inches.
CELL_HEIGHT, NARROWEST_CELL, WIDEST_CELL, MATRIX_WIDTH = 0.27, 0.48, 1.3, 9.0
WEIGHTS_WIDTH, TERMS_WIDTH, BARS_HEIGHT, LINE_HEIGHT = 1.0, 2.1, 0.75, 0.19
SMALLEST_WIDTH, MARGINS = 9.7, 4.9  # of the figure, and of all beside the matrix
LETTERS_PER_INCH = 14  # of the normal size
LONGEST_WORD = 24
MOST_NUMBERS = 1600  # more of them blur into grey; those of matches stay
DPI = 160


def plot_explanation(explanation: ScoreExplanation, path: str | os.PathLike) -> None:
    """Draw an explanation into a file.

    Args:
        explanation ([`~explanation.ScoreExplanation`]): From [`~explanation.explain_score`].
        path (`str` or `os.PathLike`): The picture, in the format of its suffix: `.png`, `.pdf`, `.svg` and others.

    Raises:
        `ImportError`: When matplotlib is missing.
        `ValueError`: For a suffix that is not a format of pictures.
        `OSError`: When there is no such folder, or the file cannot be written.
    """
    check_picture_path(path)
    import matplotlib

    with matplotlib.rc_context():
        # matplotlib reads a file `matplotlibrc` of the current folder, which may be one of data.
        matplotlib.rcdefaults()
        matplotlib.rcParams["text.parse_math"] = False  # a caption may hold $ and backslashes
        draw_figure(explanation).savefig(path, dpi=DPI)


def check_picture_path(path: str | os.PathLike) -> None:
    """Refuse a path to which [`~explanation.plot_explanation`] could not write, before any work.

    Raises:
        `ImportError`, `ValueError`, `OSError`: As [`~explanation.plot_explanation`].
    """
    try:
        from matplotlib.backend_bases import FigureCanvasBase
    except ImportError as error:
        raise ImportError("A picture needs matplotlib: `pip install matplotlib`") from error
    check_output_file(path)
    suffix, formats = Path(path).suffix, FigureCanvasBase.get_supported_filetypes()
    if suffix[1:].lower() not in formats:
        expected = ", ".join(f".{name}" for name in formats)
        raise ValueError(f"{path}: found the suffix {suffix!r}, expected one of {expected}.")


def draw_figure(explanation: ScoreExplanation):
    """Draw an explanation as a matplotlib `Figure`, as large as its words and frames need."""
    from matplotlib.figure import Figure

    words = [shorten(drawable(word)) for word in explanation.words]
    num_words, num_frames = explanation.cosines.shape
    # Padding is one row and one column more, the last, as its index -1 says.
    num_rows = num_words + (explanation.num_padded_words > 0)
    num_columns = num_frames + (explanation.num_padded_frames > 0)
    cell_width = float(np.clip(MATRIX_WIDTH / num_columns, NARROWEST_CELL, WIDEST_CELL))
    height, width = explanation.frames.shape[1:3]
    picture_height = min(cell_width * height / width, 2 * WIDEST_CELL)
    figure_width = max(SMALLEST_WIDTH, num_columns * cell_width + MARGINS)
    widths = [WEIGHTS_WIDTH, figure_width - MARGINS, TERMS_WIDTH]

    letters = int((figure_width - 0.4) * LETTERS_PER_INCH)
    title = textwrap.wrap(drawable(f"“{explanation.text}”"), int(letters * 0.65))
    title.append(f"{drawable(os.path.basename(explanation.video))}: similarity {explanation.similarity:.4f}")
    notes = [line for note in explanation.notes() for line in textwrap.wrap(drawable(note), letters)]
    heights = [picture_height * 1.1, BARS_HEIGHT, num_rows * CELL_HEIGHT, BARS_HEIGHT, 0.5 + LINE_HEIGHT * len(notes)]
    figure = Figure((figure_width, sum(heights) + 0.24 * len(title) + 0.9), facecolor="white", layout="constrained")
    figure.get_layout_engine().set(w_pad=0.03, h_pad=0.03, wspace=0, hspace=0)
    figure.suptitle("\n".join(title), x=0.01, ha="left", size=LARGE, weight="bold")
    grid = figure.add_gridspec(5, 3, width_ratios=widths, height_ratios=heights)

    matrix = figure.add_subplot(grid[2, 1])
    draw_matrix(matrix, explanation, num_rows, num_columns, cell_width)
    draw_frames(figure.add_subplot(grid[0, 1], sharex=matrix), explanation, num_columns)
    axes = figure.add_subplot(grid[1, 1], sharex=matrix)
    draw_columns(axes, "weight", explanation.frame_weights, percent)
    axes = figure.add_subplot(grid[3, 1], sharex=matrix)
    axes.invert_yaxis()
    draw_columns(axes, "adds", explanation.frame_terms, "{:z.4f}".format)
    axes = figure.add_subplot(grid[2, 2], sharey=matrix)
    draw_rows(axes, "adds", explanation.word_terms, "{:z.4f}".format)
    axes = figure.add_subplot(grid[2, 0], sharey=matrix)
    draw_rows(axes, "weight", explanation.word_weights, percent)
    if num_rows > num_words:
        words.append(f"{explanation.num_padded_words} padded")
    axes.set_yticks(np.arange(num_rows) + 0.5, words, size=NORMAL)
    axes.tick_params(labelleft=True, length=0)
    draw_sum(figure.add_subplot(grid[3, 2]), explanation)
    draw_legend(figure.add_subplot(grid[4, :]), matrix.collections[0], explanation, notes)
    return figure


def draw_matrix(axes, explanation: ScoreExplanation, num_rows: int, num_columns: int, cell_width: float) -> None:
    """Draw the cosines as a coloured table, with a mark at each match."""
    from matplotlib.colors import LinearSegmentedColormap

    num_words, num_frames = explanation.cosines.shape
    cosines = np.zeros((num_rows, num_columns))
    cosines[:num_words, :num_frames] = explanation.cosines
    limit = max(0.01, float(np.abs(cosines).max()))
    colors = LinearSegmentedColormap.from_list("cosines", COSINES)
    axes.pcolormesh(cosines, cmap=colors, vmin=-limit, vmax=limit, edgecolors="white", linewidth=0.6)
    axes.set(xlim=(0, num_columns), ylim=(num_rows, 0))
    hide_frame(axes)
    if num_columns > num_frames:
        axes.axvspan(num_frames, num_columns, color=PADDING_GREY)
    if num_rows > num_words:
        axes.axhspan(num_words, num_rows, color=PADDING_GREY)
    best_frame, best_word = explanation.best_frame % num_columns, explanation.best_word % num_rows
    matches = set(enumerate(best_frame)) | {(word, frame) for frame, word in enumerate(best_word)}
    style = {"size": SMALL if cell_width > 0.55 else SMALL - 1, "ha": "center", "va": "center"}
    for i, j in np.ndindex(cosines.shape):
        is_match, is_padding = (i, j) in matches, i == num_words or j == num_frames
        if is_match or (cosines.size <= MOST_NUMBERS and not is_padding):
            style["color"] = "white" if abs(cosines[i, j]) > 0.55 * limit else "black"
            style["weight"] = "bold" if is_match else "normal"
            axes.text(j + 0.5, i + 0.53, f"{cosines[i, j]:z.2f}", **style)
    # In two corners of a cell, beside the number.
    x, y = best_frame + 0.075 / cell_width, np.arange(num_words) + 0.5
    axes.scatter(x, y, marker="<", color=T2V, label="the frame that a word matches", **MARKS)
    x, y = np.arange(num_frames) + 1 - 0.085 / cell_width, best_word + 0.32
    axes.scatter(x, y, marker="^", color=V2T, label="the word that a frame matches", **MARKS)


def draw_frames(axes, explanation: ScoreExplanation, num_columns: int) -> None:
    """Draw the frames in a row, with their times below."""
    num_frames, height, width, _ = explanation.frames.shape
    for i, picture in enumerate(explanation.frames):
        axes.imshow(picture, extent=(i + 0.03, i + 0.97, 0, 0.94 * height / width), interpolation="antialiased")
    axes.set(xlim=(0, num_columns), ylim=(0, 0.94 * height / width), aspect="equal", anchor="S")
    hide_frame(axes)
    seconds = explanation.frame_seconds
    labels = [f"{second:.1f} s" for second in seconds] if seconds else [f"{i + 1}" for i in range(num_frames)]
    if len(set(labels)) < num_frames:
        labels = [f"{second:.2f} s" for second in seconds]
    if num_columns > num_frames:
        labels.append(f"{explanation.num_padded_frames}\npadded")
    axes.set_xticks(np.arange(num_columns) + 0.5, labels, size=SMALL)
    axes.tick_params(labelbottom=True, length=0)


def draw_rows(axes, name: str, values: np.ndarray, label) -> None:
    """Draw a bar for each word, to the right, with its value as a text beside it."""
    bars = axes.barh(np.arange(len(values)) + 0.5, values, 0.62, color=T2V)
    axes.set_title(name, size=SMALL, color=T2V, style="italic")
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_xlim(bar_limits(values))
    finish_bars(axes, bars, values, label)


def draw_columns(axes, name: str, values: np.ndarray, label) -> None:
    """Draw a bar for each frame, upwards or as the axis is turned, with its value as a text beside it."""
    bars = axes.bar(np.arange(len(values)) + 0.5, values, 0.62, color=V2T)
    axes.set_ylabel(name, size=SMALL, color=V2T, style="italic")
    axes.axhline(0, color="black", linewidth=0.8)
    limits = bar_limits(values)
    axes.set_ylim(limits[::-1] if axes.yaxis_inverted() else limits)
    finish_bars(axes, bars, values, label)


def bar_limits(values: np.ndarray) -> tuple[float, float]:
    """Return a range for bars that start at 0, with room for a text beyond each end."""
    low, high = min(0.0, values.min()), max(0.0, values.max())
    room = 0.55 * (high - low) or 1.0
    return low - room * (low < 0), high + room * (high > 0 or low == 0)


def finish_bars(axes, bars, values: np.ndarray, label) -> None:
    """Write the values, and hatch the bars below 0: where all are, their direction tells little."""
    for bar, value in zip(bars, values, strict=True):
        if value < 0:
            bar.set(edgecolor=bar.get_facecolor(), facecolor="white", hatch="/////", linewidth=0.8)
    axes.bar_label(bars, list(map(label, values)), size=SMALL, padding=2)
    hide_frame(axes)


def draw_sum(axes, explanation: ScoreExplanation) -> None:
    """Write how the terms add up to the score."""
    lines = (
        (f"  {explanation.t2v:7.4f} text to video", {"color": T2V}),
        (f"+ {explanation.v2t:7.4f} video to text", {"color": V2T}),
        (f"= {explanation.similarity:7.4f} similarity", {"weight": "bold"}),
        (f"  {explanation.logit:7.4f} logit (× {explanation.logit_scale:.2f})", {"color": GREY}),
    )
    axes.set_axis_off()
    for i, (line, style) in enumerate(lines):
        axes.text(0, 0.85 - 0.27 * i, line, size=NORMAL - 1, family="monospace", transform=axes.transAxes, **style)


def draw_legend(axes, cosines, explanation: ScoreExplanation, notes: list[str]) -> None:
    """Write what the marks and colours mean, and the notes below."""
    from matplotlib.patches import Patch

    handles = cosines.axes.get_legend_handles_labels()[0]
    if min(explanation.word_terms.min(), explanation.frame_terms.min()) < 0:
        handles.append(Patch(facecolor="white", edgecolor=GREY, hatch="/////", label="a term below 0"))
    handles.append(Patch(alpha=0, label="adds = weight × cosine / 2"))
    axes.set_axis_off()
    axes.legend(handles=handles, loc="upper left", ncols=len(handles), fontsize=SMALL, frameon=False)
    bar = axes.figure.colorbar(cosines, cax=axes.inset_axes((0.84, 0.75, 0.12, 0.2)), orientation="horizontal")
    bar.set_ticks(
        [cosines.norm.vmin, 0, cosines.norm.vmax],
        labels=[f"{cosines.norm.vmin:.2f}", "cosine", f"{cosines.norm.vmax:.2f}"],
        size=SMALL,
    )
    axes.text(0.01, 0, "\n".join(notes), size=NORMAL, va="bottom", transform=axes.transAxes, in_layout=False)


def hide_frame(axes) -> None:
    """Leave only what is drawn: no spines and no ticks."""
    axes.spines[:].set_visible(False)
    axes.tick_params(left=False, bottom=False, labelleft=False, labelbottom=False)


def percent(share: float) -> str:
    """Format a share, short enough for a narrow column."""
    return f"{100 * share:.1f}%" if share < 0.0995 else f"{100 * share:.0f}%"


def shorten(word: str) -> str:
    """Cut a word that is too long for a label."""
    return word if len(word) <= LONGEST_WORD else word[: LONGEST_WORD - 1] + "…"


def drawable(text: str) -> str:
    """Put a text on one line; characters that the fonts of `font.family` lack are named, as in U+1F415."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    fonts = [get_font(findfont(FontProperties(family=[family]))) for family in FontProperties().get_family()]
    known = {char for char in text if any(font.get_char_index(ord(char)) for font in fonts)}
    text = "".join(char if char in known or char.isspace() else f"U+{ord(char):04X}" for char in text)
    return " ".join(readable(text).split())


__all__ = ["check_picture_path", "plot_explanation"]
