"""Draws an explanation of a score: frames above, words on the left, their cosines between them, and what they add."""

import os
import textwrap
from pathlib import Path

import numpy as np

from .score import ScoreExplanation, readable


# Text to video and video to text, which the colour-blind can tell apart; cosines have neither colour.
T2V, V2T = "#d9580d", "#5b3a9e"
COSINES = ("#2a78b5", "#ffffff", "#333333")  # below 0, 0, above 0
GREY, PADDING_COLOR = "#707070", "#e8e8e8"
# Inches.
MIN_WIDTH, MARGIN, TITLE_LINE, HEAD_LINE, NOTE_LINE, ROW = 9.7, 0.2, 0.23, 0.22, 0.19, 0.27
MATRIX_WIDTH, COLUMN_MIN, COLUMN_MAX = 9.0, 0.46, 1.3
WEIGHTS_WIDTH, TERMS_WIDTH, WEIGHTS_HEIGHT, TERMS_HEIGHT = 1.2, 2.0, 0.75, 0.85
TINY, SMALL, NORMAL, LARGE = 6, 7, 8.5, 11  # points
LETTER, BOLD_LETTER = 0.55 / 72, 0.66 / 72  # mean width, in inches a point
LONGEST_WORD = 24
# More numbers than that blur into grey; those that a maximum chose stay.
MOST_NUMBERS = 1600
DPI = 160


def plot_explanation(explanation: ScoreExplanation, path: str | os.PathLike) -> None:
    """Draw an explanation into a file.

    Args:
        explanation ([`~explanation.ScoreExplanation`]): From [`~explanation.explain_score`].
        path (`str` or `os.PathLike`): The picture, in the format of its suffix: `.png`, `.pdf`, `.svg` and others.

    Raises:
        ImportError: When matplotlib is missing.
        ValueError: For a suffix of no format of pictures.
        OSError: When there is no such folder, or the file can't be written.
    """
    check_picture_path(path)
    import matplotlib

    # A caption may hold $ and backslashes.
    with matplotlib.rc_context({"text.usetex": False, "text.parse_math": False}):
        _Picture(explanation).figure.savefig(path, dpi=DPI)


def check_picture_path(path: str | os.PathLike) -> None:
    """Refuse what [`~explanation.plot_explanation`] could not write, before any work.

    Raises:
        ImportError, ValueError, OSError: As [`~explanation.plot_explanation`].
    """
    try:
        from matplotlib.backend_bases import FigureCanvasBase
    except ImportError as error:
        raise ImportError("A picture needs matplotlib: pip install drl-tvr[plots]") from error
    path, formats = Path(path), FigureCanvasBase.get_supported_filetypes()
    if path.is_dir() or not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: that is no file in a folder that exists.")
    if path.suffix[1:].lower() not in formats:
        raise ValueError(f"{path}: a picture's name must end in one of {', '.join('.' + name for name in formats)}.")


class _Picture:
    """The figure, laid out in inches from its upper left corner, so that any number of words and frames is legible."""

    def __init__(self, explanation: ScoreExplanation):
        from matplotlib.colors import LinearSegmentedColormap
        from matplotlib.figure import Figure

        self.explanation = explanation
        self.colors = LinearSegmentedColormap.from_list("cosines", COSINES)
        self.limit = max(0.01, float(np.abs(explanation.cosines).max()))
        self.words = [shorten(drawable(word)) for word in explanation.words]
        self.num_words, self.num_frames = explanation.cosines.shape
        # Padding is one row and one column more, the last, as its index -1 says.
        self.num_rows = self.num_words + (explanation.num_padded_words > 0)
        self.num_columns = self.num_frames + (explanation.num_padded_frames > 0)

        self.column = float(np.clip(MATRIX_WIDTH / self.num_columns, COLUMN_MIN, COLUMN_MAX))
        height, width = explanation.frames.shape[1:3]
        self.left = MARGIN + max(1.1, 0.1 + NORMAL * LETTER * max(map(len, self.words))) + WEIGHTS_WIDTH
        self.matrix_size = self.num_columns * self.column, self.num_rows * ROW
        self.width = max(MIN_WIDTH, self.left + self.matrix_size[0] + TERMS_WIDTH + MARGIN)
        self.title = textwrap.wrap(drawable(f"“{explanation.text}”"), int((self.width - 0.4) / BOLD_LETTER / LARGE))
        wrapped = [
            textwrap.wrap(drawable(note), int((self.width - 0.4) / LETTER / NORMAL)) for note in explanation.notes()
        ]
        self.notes = [line for note in wrapped for line in note]
        if min(explanation.word_terms.min(), explanation.frame_terms.min()) < 0:
            self.notes.append("Hatched: a term below 0, which takes away from the score.")

        self.picture_top = MARGIN + TITLE_LINE * (len(self.title) + 1) + 0.1
        self.picture_height = min(self.column * 0.94 * height / width, 2 * COLUMN_MAX)
        self.weights_top = self.picture_top + self.picture_height + HEAD_LINE
        self.top = self.weights_top + WEIGHTS_HEIGHT
        self.terms_top = self.top + self.matrix_size[1]
        self.legend_top = self.terms_top + TERMS_HEIGHT + 0.1
        self.height = self.legend_top + 0.5 + NOTE_LINE * len(self.notes) + MARGIN

        self.figure = Figure(figsize=(self.width, self.height), facecolor="white")
        self.draw_title()
        self.draw_frames()
        self.draw_matrix()
        self.draw_sides()
        self.draw_sum()
        self.draw_legend()

    def axes(self, x: float, y: float, width: float, height: float, **kwargs):
        """Axes at a place, without a frame and ticks."""
        box = x / self.width, 1 - (y + height) / self.height, width / self.width, height / self.height
        axes = self.figure.add_axes(box, **kwargs)
        axes.set_axis_off()
        return axes

    def write(self, x: float, y: float, text: str, size: float = NORMAL, color: str = "black", **kwargs) -> None:
        """Text at a place."""
        kwargs = {"va": "center"} | kwargs
        self.figure.text(x / self.width, 1 - y / self.height, text, size=size, color=color, **kwargs)

    def column_center(self, index: int) -> float:
        return self.left + (index + 0.5) * self.column

    def row_center(self, index: int) -> float:
        return self.top + (index + 0.5) * ROW

    def draw_title(self) -> None:
        for i, line in enumerate(self.title):
            self.write(MARGIN, MARGIN + TITLE_LINE * (i + 0.5), line, LARGE, weight="bold")
        about = f"{drawable(os.path.basename(self.explanation.video))}: similarity {self.explanation.similarity:.4f}"
        self.write(MARGIN, MARGIN + TITLE_LINE * (len(self.title) + 0.5), about, LARGE)

    def draw_frames(self) -> None:
        seconds = self.explanation.frame_seconds or []
        labels = [f"{second:.1f} s" for second in seconds] or [f"{i + 1}" for i in range(self.num_frames)]
        if len(set(labels)) < self.num_frames:
            labels = [f"{second:.2f} s" for second in seconds]
        for i, picture in enumerate(self.explanation.frames):
            x = self.left + (i + 0.03) * self.column
            axes = self.axes(x, self.picture_top, self.column * 0.94, self.picture_height)
            axes.imshow(picture, aspect="equal", interpolation="antialiased")
            y = self.picture_top + self.picture_height + HEAD_LINE / 2
            self.write(self.column_center(i), y, labels[i], SMALL, ha="center")
        if self.num_columns > self.num_frames:
            y = self.picture_top + self.picture_height / 2
            text = f"{self.explanation.num_padded_frames} padded"
            self.write(self.column_center(self.num_frames), y, text, SMALL, GREY, ha="center", rotation=90)

    def draw_matrix(self) -> None:
        explanation = self.explanation
        cosines = np.zeros((self.num_rows, self.num_columns))
        cosines[: self.num_words, : self.num_frames] = explanation.cosines
        axes = self.axes(self.left, self.top, *self.matrix_size)
        axes.pcolormesh(
            cosines, cmap=self.colors, vmin=-self.limit, vmax=self.limit, edgecolors="white", linewidth=0.6
        )
        axes.set(xlim=(0, self.num_columns), ylim=(self.num_rows, 0))
        padding = [(self.num_frames, 0, 1, self.num_rows)] * (self.num_columns > self.num_frames)
        padding += [(0, self.num_words, self.num_columns, 1)] * (self.num_rows > self.num_words)
        for x, y, width, height in padding:
            axes.bar(x, height, width, y, align="edge", color=PADDING_COLOR)
        chosen = {(i, j % self.num_columns) for i, j in enumerate(explanation.best_frame)}
        chosen |= {(i % self.num_rows, j) for j, i in enumerate(explanation.best_word)}
        style = {"size": SMALL if self.column > 0.55 else TINY, "ha": "center", "va": "center"}
        for i, j in np.ndindex(cosines.shape):
            is_chosen = (i, j) in chosen
            if is_chosen or cosines.size <= MOST_NUMBERS and i < self.num_words and j < self.num_frames:
                style["color"] = "white" if abs(cosines[i, j]) > 0.55 * self.limit else "black"
                style["weight"] = "bold" if is_chosen else "normal"
                axes.text(j + 0.5, i + 0.53, f"{cosines[i, j]:z.2f}", **style)
        # In two corners, beside the number.
        x_left, x_right = 0.075 / self.column, 1 - 0.085 / self.column
        marks = {"s": 26, "edgecolors": "white", "linewidths": 0.6, "clip_on": False, "zorder": 3}
        words, frames = np.arange(self.num_words), np.arange(self.num_frames)
        axes.scatter(explanation.best_frame % self.num_columns + x_left, words + 0.5, marker="<", color=T2V, **marks)
        axes.scatter(frames + x_right, explanation.best_word % self.num_rows + 0.32, marker="^", color=V2T, **marks)

    def draw_sides(self) -> None:
        explanation, (width, height) = self.explanation, self.matrix_size
        right, bars = self.left - WEIGHTS_WIDTH, 0.55
        for i, word in enumerate(self.words):
            self.write(right, self.row_center(i), word, ha="right")
            self.write(right + 0.52, self.row_center(i), percent(explanation.word_weights[i]), SMALL, ha="right")
            self.write(
                self.left + width + 0.72, self.row_center(i), f"{explanation.word_terms[i]:z.4f}", SMALL, ha="right"
            )
        if self.num_rows > self.num_words:
            text = f"{explanation.num_padded_words} padded"
            self.write(right, self.row_center(self.num_words), text, color=GREY, ha="right")
        for x, length, values in (
            (self.left - bars - 0.06, bars, explanation.word_weights),
            (self.left + width + 0.8, TERMS_WIDTH - 0.9, explanation.word_terms),
        ):
            axes = self.axes(x, self.top, length, height, ylim=(self.num_rows, 0), xlim=limits(values))
            hatch_negative(axes.barh(np.arange(self.num_words) + 0.5, values, 0.62, color=T2V), values)
            axes.axvline(0, color="black", linewidth=0.8)

        digits = 4 if self.column > 0.55 else 3
        for i in range(self.num_frames):
            x = self.column_center(i)
            self.write(x, self.weights_top + 0.1, percent(explanation.frame_weights[i]), SMALL, ha="center")
            self.write(
                x,
                self.terms_top + TERMS_HEIGHT - 0.12,
                f"{explanation.frame_terms[i]:z.{digits}f}",
                SMALL,
                ha="center",
            )
        for y, length, values, up in (
            (self.weights_top + 0.2, WEIGHTS_HEIGHT - 0.24, explanation.frame_weights, True),
            (self.terms_top + 0.04, TERMS_HEIGHT - 0.28, explanation.frame_terms, False),
        ):
            bounds = limits(values) if up else limits(values)[::-1]
            axes = self.axes(self.left, y, width, length, xlim=(0, self.num_columns), ylim=bounds)
            hatch_negative(axes.bar(np.arange(self.num_frames) + 0.5, values, 0.62, color=V2T), values)
            axes.axhline(0, color="black", linewidth=0.8)

        heads = {"ha": "right", "style": "italic"}
        self.write(right + 0.52, self.top - 0.1, "weight", SMALL, T2V, **heads)
        self.write(self.left + width + 0.72, self.top - 0.1, "adds", SMALL, T2V, **heads)
        self.write(self.left - 0.1, self.weights_top + 0.1, "weight", SMALL, V2T, **heads)
        self.write(self.left - 0.1, self.terms_top + TERMS_HEIGHT - 0.12, "adds", SMALL, V2T, **heads)

    def draw_sum(self) -> None:
        explanation, x = self.explanation, self.left + self.matrix_size[0] + 0.72
        lines = (
            ("", explanation.t2v, "text to video", {"color": T2V}),
            ("+", explanation.v2t, "video to text", {"color": V2T}),
            ("=", explanation.similarity, "similarity", {"weight": "bold"}),
            ("", explanation.logit, f"logit (× {explanation.logit_scale:.2f})", {"color": GREY}),
        )
        for i, (sign, number, name, style) in enumerate(lines):
            y = self.terms_top + 0.16 + 0.2 * i
            self.write(x - 0.68, y, sign, **style)
            self.write(x, y, f"{number:.4f}", ha="right", **style)
            self.write(x + 0.08, y, name, **style)

    def draw_legend(self) -> None:
        y = self.legend_top + 0.25
        for x, marker, color, text in (
            (MARGIN + 0.05, "<", T2V, "the frame that a word chose"),
            (MARGIN + 2.35, "^", V2T, "the word that a frame chose"),
        ):
            self.axes(x, y - 0.1, 0.2, 0.2).scatter(0, 0, s=34, marker=marker, color=color)
            self.write(x + 0.27, y, text)
        x, gradient = MARGIN + 5.0, np.linspace(-1, 1, 256)[None]
        self.axes(x, y - 0.07, 1.3, 0.14).imshow(gradient, cmap=self.colors, aspect="auto")
        self.write(x - 0.07, y, f"{-self.limit:.2f}", SMALL, ha="right")
        self.write(x + 1.37, y, f"{self.limit:.2f}", SMALL)
        self.write(x + 1.75, y, "cosine")
        self.write(x + 2.5, y, "adds = weight × cosine / 2")
        for i, line in enumerate(self.notes):
            self.write(MARGIN, self.legend_top + 0.5 + NOTE_LINE * (i + 0.5), line)


def limits(values: np.ndarray) -> tuple[float, float]:
    """A range for bars that start at 0."""
    low, high = min(0.0, values.min()), max(0.0, values.max())
    return (low, high) if high > low else (0.0, 1.0)


def hatch_negative(bars, values: np.ndarray) -> None:
    """Leave the bars below 0 hollow and hatched: where all are, their direction alone tells nothing."""
    for bar, value in zip(bars, values, strict=True):
        if value < 0:
            bar.set(edgecolor=bar.get_facecolor(), facecolor="white", hatch="/////", linewidth=0.8)


def percent(share: float) -> str:
    """A share, short enough for a narrow column."""
    return f"{100 * share:.1f}%" if share < 0.0995 else f"{100 * share:.0f}%"


def shorten(word: str) -> str:
    return word if len(word) <= LONGEST_WORD else word[: LONGEST_WORD - 1] + "…"


def drawable(text: str) -> str:
    """A text on one line; characters that no font of matplotlib's `font.family` has are named, as U+1F415."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    fonts = [get_font(findfont(FontProperties(family=[family]))) for family in FontProperties().get_family()]
    known = {char for char in text if any(font.get_char_index(ord(char)) for font in fonts)}
    text = "".join(char if char in known or char.isspace() else f"U+{ord(char):04X}" for char in text)
    return " ".join(readable(text).split())


__all__ = ["check_picture_path", "plot_explanation"]
