"""Write tables and sentences as plain text for a terminal, a pipe or a file."""

import errno
import io
import os
from collections.abc import Iterable, Sequence

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text


# Characters per line.
LONGEST_LINE = 120  # of sentences; a table may be wider where no terminal limits it
UNLIMITED = 100_000
BREAKABLE = 10  # words of more may be broken
JUSTIFY = {"l": "left", "r": "right"}
# What the system's own words about a file leave out.
SYSTEM_ERRORS = {
    errno.ENOENT: "found no such file or folder, expected one that exists",
    errno.EACCES: "found no permission, expected a file or folder of your own",
    errno.EISDIR: "found a folder, expected a file",
    errno.ENOTDIR: "found a file, expected a folder",
    errno.EROFS: "found a disk that is read-only, expected one to write on",
    errno.ENOSPC: "found no space left on the disk; make room and run the same command again",
    errno.EDQUOT: "found no space left in your quota; make room and run the same command again",
}


def format_table(header: Sequence[str], rows: Iterable[Sequence[str]], align: str, width: int | None = None) -> str:
    """Align cells in columns. A cell that is too wide goes on below, so that nothing is lost.

    Args:
        header (`Sequence[str]`): Titles of the columns.
        rows (`Iterable[Sequence[str]]`): One cell per column; a line break in a cell stays one.
        align (`str`): One letter per column, `"l"` for left or `"r"` for right.
        width (`int`, *optional*): The most characters per line; by default as many as the cells need.

    Returns:
        `str`: The lines, without borders, colours or markup. Characters of double width count as two.

    Example:

    ```python
    >>> from drl_tvr.terminal import format_table

    >>> print(format_table(("video", "s"), [("犬.mp4", "9.50"), ("dog.mp4", "10.00")], "lr"))
    video        s
    犬.mp4    9.50
    dog.mp4  10.00

    ```"""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    rows = [[to_cell(text) for text in row] for row in rows]
    for title, letter, *cells in zip(header, align, *rows, strict=True):
        words = [word for cell in (title, *map(str, cells)) for word in cell.split()]
        longest = max(map(cell_len, words), default=0)
        # A number is not broken; a name is, where it must be.
        min_width = longest if letter == "r" else min(longest, BREAKABLE)
        table.add_column(title, justify=JUSTIFY[letter], overflow="fold", min_width=min_width)
    for row in rows:
        table.add_row(*row)
    return render(table, width)


def to_cell(text: str) -> Text:
    """Make a text of one or more lines of what may hold control characters or what rich takes for markup."""
    return Text("\n".join(map(printable, text.split("\n"))))


def format_sentences(sentences: Iterable[str], width: int | None = None) -> str:
    """Wrap each sentence into lines of at most `width` characters, or of 120 where there is no limit."""
    width = min(width or LONGEST_LINE, LONGEST_LINE)
    return "\n".join(render(to_cell(sentence), width) for sentence in sentences)


def render(content: RenderableType, width: int | None) -> str:
    """Return what rich makes of a table or a text, as plain text."""
    file = io.StringIO()
    console = Console(file=file, width=width or UNLIMITED, color_system=None, force_jupyter=False)
    console.print(content, crop=False, overflow="fold")
    return "\n".join(line.rstrip() for line in file.getvalue().removesuffix("\n").split("\n"))


def printable(text: str) -> str:
    r"""Write control characters, line breaks and undecodable bytes as escapes: a file name may hold any of them.

    Example:

    ```python
    >>> from drl_tvr.terminal import printable

    >>> print(printable("a\nb\x1b[31m.mp4"))
    a\nb\x1b[31m.mp4
    ```"""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "backslashreplace").decode() for char in text
    )


def one_line(error: Exception) -> str:
    """Say an error in one line, without control characters.

    Args:
        error (`Exception`): The error. Of an error of the system, the number is replaced by words.

    Returns:
        `str`: The message.

    Example:

    ```python
    >>> from drl_tvr.terminal import one_line

    >>> one_line(FileNotFoundError(2, "No such file or directory", "results.json"))
    'results.json: found no such file or folder, expected one that exists.'
    ```"""
    message = str(error)
    if isinstance(error, OSError) and error.strerror is not None:
        is_own = error.strerror != os.strerror(error.errno)  # words of this package
        message = error.strerror if is_own else SYSTEM_ERRORS.get(error.errno, error.strerror)
        place = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        message = f"{place}{message}."
    return " ".join(printable(line.strip()) for line in message.splitlines())


__all__ = ["format_sentences", "format_table", "one_line", "printable"]
