"""Read the rows of your own table, and check every value in them."""

import ast
import contextlib
import io
import itertools
import json
import math
import os
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ...model.video_errors import safe_name
from ..errors import BenchmarkError, brief, is_unicode
from .column_names import fields_like
from .columns import (
    SPLIT_NAMES,
    SplitWatch,
    check_unclear,
    check_values,
    find_columns,
    has_main_columns,
    nearly_has_main_columns,
)
from .safe_paths import SafePaths
from .text_files import iterate_csv, iterate_json


# Python's `float` also takes `1_0`, `nan` and the digits of all scripts.
NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
# Beginning of several texts as Python, NumPy, JSON and R write them: `['a', 'b']`, `{"a": "b"}`, `c("a", "b")`.
SEVERAL = re.compile(r"\w*\(?[\[{]\s*(?:u?[\"']|nan\b)|(?:c|list)\(\s*[\"']")
NO_VALUES = ("na", "n/a", "nan", "none", "null")
BEGINNING = 4096  # bytes, within which the names of all columns stand
FIRST_ROWS = 10  # of which the columns are looked at: rows of JSON may lack some
WHOLE = (None, None)  # start and end of a whole file
Times = tuple[float | None, float | None]


class Row(NamedTuple):
    """One row of a table.

    Args:
        path (`str`): Absolute path of the video, as the table spells it.
        times (`tuple[float | None, float | None]`): Start and end in seconds; both `None` for the whole file.
        captions (`list[str]`): Its captions.
        split (`str`): `"train"`, `"validation"` or `"test"`.
    """

    path: str
    times: Times
    captions: list[str]
    split: str


def read_rows(file: Path, paths: SafePaths, base: str | os.PathLike, of_file: str) -> Iterator[Row]:
    """Read the rows of a table one by one.

    Args:
        file (`Path`): The table.
        paths (`SafePaths`): The folder of the videos.
        base (`str` or `os.PathLike`): The folder that relative paths are relative to.
        of_file (`str`): The split of rows that do not say theirs.

    Raises:
        `BenchmarkError`: For a missing or an unclear column, or an invalid value; names file and row.
    """
    folder = os.path.abspath(base)
    fields: dict[tuple[str, ...], dict[str, str]] = {}
    likes: dict[tuple[str, ...], dict[str, str]] = {}
    watch = None
    for number, row in enumerate(read_records(file), start=1):
        where = f"{file}, row {number}"
        if not isinstance(row, dict):
            raise BenchmarkError(f"{where}: found {brief(row)}, expected a video and a caption.")
        names = tuple(row)
        if names not in fields:
            fields[names] = find_columns(names, str(file) if number == 1 else where)
            likes[names] = fields_like(names, fields[names])
        columns = fields[names]
        check_values(row, likes[names], columns, where if number > 1 else str(file))
        watch = watch or SplitWatch(columns)
        watch.see(row)
        yield read_row(row, columns, paths, folder, of_file, where)
    if watch is None:
        raise BenchmarkError(f"{file}: found [], expected rows with a video and a caption.")
    check_unclear(dict.fromkeys(watch.could_be, "split"), str(file))


def describes_videos(file: Path) -> bool:
    """Return whether a table has columns for videos and captions; a link that leads nowhere could be to such a one."""
    return not file.exists() or has_main_columns(columns_of(file))


def could_describe_videos(file: Path) -> bool:
    """Return whether a table has columns for videos and captions, or names that are nearly theirs."""
    return not file.exists() or nearly_has_main_columns(columns_of(file))


def columns_of(file: Path) -> list[str]:
    """Return the columns of a table's first rows; the words at its beginning when its first row cannot be read."""
    rows = []
    with contextlib.suppress(BenchmarkError):  # reading it as one's own says what is wrong
        rows.extend(itertools.islice(read_records(file), FIRST_ROWS))
    if rows:
        return list(dict.fromkeys(name for row in rows if isinstance(row, dict) for name in row))
    with file.open("rb") as opened:
        beginning = opened.read(BEGINNING).decode(errors="replace")
    return re.split(r'[,;|\t\r\n":{}\[\]]+', beginning)


def read_records(file: Path) -> Iterator[Any]:
    """Yield the rows of a table as mappings from columns to cells; what JSON holds may be something else."""
    if file.suffix not in (".csv", ".tsv"):
        yield from iterate_json(file)
        return
    rows = iterate_csv(file, "\t" if file.suffix == ".tsv" else ",")
    header = next(rows, [])
    for cells in rows:
        yield dict(zip(header, cells, strict=True))


def read_row(row: dict, columns: dict[str, str], paths: SafePaths, base: str, of_file: str, where: str) -> Row:
    """Read one row.

    Raises:
        `BenchmarkError`: For an invalid value.
    """
    column = columns["video"]
    video = row[column]
    if not isinstance(video, str) or not video.strip():
        raise BenchmarkError(f"{where}, {column!r}: found {brief(video)}, expected the path of a video.")
    check_text(video, column, where)
    if "://" in video:
        raise BenchmarkError(
            f"{where}, {column!r}: found the address {brief(safe_name(video))}, expected the path of a file. Download "
            "the videos first."
        )
    captions = read_captions(row[columns["caption"]], columns["caption"], where)
    start, end = (
        read_seconds(row[columns[field]], columns[field], where) if field in columns else None
        for field in ("start", "end")
    )
    if end is not None and end <= (start or 0):
        raise BenchmarkError(
            f"{where}, {columns['end']!r}: found {end}, expected more than the start of {start or 0} s."
        )
    split = of_file
    if "split" in columns and not is_empty(row[columns["split"]]):
        name = row[columns["split"]]
        split = SPLIT_NAMES.get(name.strip().lower()) if isinstance(name, str) else None
        if split is None:
            raise BenchmarkError(
                f"{where}, {columns['split']!r}: found {brief(name)}, expected train, validation or test."
            )
    times = WHOLE if start is end is None else (start, end)
    return Row(paths.resolve(base, video, where), times, captions, split)


def read_captions(value: Any, column: str, where: str) -> list[str]:
    """Return the captions in a cell: a caption, a list, or the text of a list as JSON and Python write it.

    Raises:
        `BenchmarkError`: When it is anything else, or the text of a list is incomplete.

    Example:

    ```python
    >>> from drl_tvr.data.benchmarks.own_rows import read_captions

    >>> read_captions("['a cat sleeps', 'a cat naps']", "caption", "my.csv, row 1")
    ['a cat sleeps', 'a cat naps']
    >>> read_captions("[music] a man sings", "caption", "my.csv, row 1")
    ['[music] a man sings']
    ```
    """
    captions = value
    if isinstance(value, str):
        listed = list_in_text(value.strip(), f"{where}, {column!r}")
        captions = [value] if listed is None else listed
    if not isinstance(captions, list) or not captions or not all(isinstance(text, str) for text in captions):
        raise BenchmarkError(f"{where}, {column!r}: found {brief(value)}, expected a caption or a list of them.")
    for caption in captions:
        check_text(caption, column, where)
    return captions


def list_in_text(text: str, where: str) -> list[Any] | None:
    """Return the list that a text is, or `None` for another text.

    Raises:
        `BenchmarkError`: When it looks like several texts, and is not a list.
    """
    if text.startswith(("[", "(")):
        for read in (json.loads, python_list):
            try:
                found = read(text)
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                continue
            # `[1]` is a footnote.
            if isinstance(found, list | tuple) and (not found or any(isinstance(item, str | list) for item in found)):
                return list(found)
    if SEVERAL.match(text):
        raise BenchmarkError(
            f"{where}: found {brief(text)}, expected a caption, or a list of captions as JSON or Python writes it."
        )
    return None


def python_list(text: str) -> Any:
    """Return the value that Python reads.

    Raises:
        `ValueError`, `SyntaxError`: When it is none, or has texts without a comma between them, as NumPy writes an
            array: Python would join them.
    """
    value = ast.literal_eval(text)
    kinds = [token.type for token in tokenize.generate_tokens(io.StringIO(text).readline)]
    kinds = [kind for kind in kinds if kind not in (tokenize.NL, tokenize.COMMENT)]
    if any(one == two == tokenize.STRING for one, two in itertools.pairwise(kinds)):
        raise ValueError(f"found {brief(text)}, expected a comma between two texts")
    return value


def check_text(text: str, column: str, where: str) -> None:
    """Refuse a text that has no place in a file or a table: half of a surrogate pair, or a NUL character.

    Raises:
        `BenchmarkError`: When it is one.
    """
    if not is_unicode(text):
        raise BenchmarkError(f"{where}, {column!r}: found {brief(text)}, expected Unicode text without surrogates.")
    if "\0" in text:
        raise BenchmarkError(f"{where}, {column!r}: found {brief(text)}, expected a text without NUL characters.")


def is_empty(value: Any) -> bool:
    """Return whether a cell is empty."""
    return value is None or isinstance(value, str) and not value.strip()


def read_seconds(value: Any, column: str, where: str) -> float | None:
    """Read a time in seconds; `None` for an empty cell, and for the word that pandas or R writes for one.

    Raises:
        `BenchmarkError`: When it is not a number of at least 0.
    """
    if is_empty(value) or str(value).strip().lower() in NO_VALUES:
        return None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number or isinstance(value, str) and NUMBER.fullmatch(value.strip()):
        try:
            seconds = float(value)
        except OverflowError:
            seconds = math.inf
        if 0 <= seconds < math.inf:
            return abs(seconds)  # -0.0 is 0.0
    raise BenchmarkError(f"{where}, {column!r}: found {brief(value)}, expected a number of seconds.")
