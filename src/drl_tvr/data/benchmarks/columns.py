"""Recognise the columns of your own table, and refuse a column that could be one of them under another name."""

import functools
import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any

from ..errors import BenchmarkError
from .column_names import fields_like, is_length, plain_name, words_of


# Fields of a row, and the names that their column may have.
FIELDS = {
    "video": ("video", "file_name", "video_path", "path"),
    "caption": ("caption", "captions", "text", "sentence"),
    "start": ("start",),
    "end": ("end",),
    "split": ("split",),
}
# Names that somebody could give to such a column, and that are not ours.
OTHER_NAMES = {
    "video": frozenset("clip file filepath videofile videofilename videoname clippath".split()),
    "caption": frozenset("description query sentences texts".split()),
}
EXPECTED = {
    "start": "'start' of a segment (in seconds)",
    "end": "'end' of a segment (in seconds)",
    "range": "'start' and 'end' of a segment (in seconds)",
    "split": "'split' (train, validation or test)",
}
SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "validate", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
# A time in a cell: a number below any date's, or hours, minutes and seconds.
TIME = r"\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+|\d+(?::\d+){1,3}(?:[.,]\d+)?"
ONE_TIME = re.compile(rf"[+-]?(?:{TIME})\s*(?:s|secs?|seconds?|ms)?", re.ASCII | re.IGNORECASE)
TWO_TIMES = re.compile(
    rf"\[[\[(]*\s*(?:{TIME})\s*[,\s]\s*(?:{TIME})\s*(?:[\])].*)|"
    rf"[({{]?\s*(?:{TIME})s?\s*(?:,|;|-+>?|to|\s|–)\s*(?:{TIME})s?\s*[)}}]?",
    re.ASCII | re.IGNORECASE,
)
ENTRY = re.compile(rf"""["']?(\w[\w -]{{0,40}})["']?\s*[:=]\s*["']?({TIME})""", re.ASCII)  # of the text of a mapping
MAX_TIME = 10**9  # seconds since 1970 are more
MAX_NAMED, MAX_LENGTH = 20, 100  # columns in a message, and characters of their names


def find_columns(columns: Sequence[str], where: str) -> dict[str, str]:
    """Find the column of each field by its name, in which case, spaces and punctuation do not count.

    Args:
        columns (`Sequence[str]`): Names of the columns.
        where (`str`): The file or the row, for messages.

    Returns:
        `dict[str, str]`: Name of the column of each field that has one; of `video` and `caption` in any case.

    Raises:
        `BenchmarkError`: When there is no column for the videos or the captions, or when two columns are for one
            field.

    Example:

    ```python
    >>> from drl_tvr.data.benchmarks.columns import find_columns

    >>> find_columns(["Video", "caption", "views"], "my.csv")
    {'video': 'Video', 'caption': 'caption'}
    ```
    """
    plain = {column: plain_name(column) for column in columns}
    found: dict[str, str] = {}
    for field, names in FIELDS.items():
        ours = {plain_name(name) for name in names}
        # `caption_2` and `caption.1` are further captions, and not another column.
        named = [column for column in columns if plain[column] in ours or plain[column].rstrip("0123456789") in ours]
        if len(named) > 1:
            hint = " Several captions are several rows, or a list in one column." if field == "caption" else ""
            raise BenchmarkError(
                f"{where}: found the columns {named[0]!r} and {named[1]!r}, expected one column for the {field}. "
                f"Rename or remove the other.{hint}"
            )
        if named and plain[named[0]] in ours:
            found[field] = named[0]
        elif field in ("video", "caption"):
            shown = [column[:MAX_LENGTH] for column in columns[:MAX_NAMED]]
            more = f" and {len(columns) - MAX_NAMED} more" if len(columns) > MAX_NAMED else ""
            raise BenchmarkError(
                f"{where}: found the columns {shown}{more}, expected a column {names[0]!r} (or "
                f"{', '.join(names[1:])})."
            )
    return found


def has_main_columns(columns: Iterable[str]) -> bool:
    """Return whether columns include one for the videos and one for the captions."""
    plain = {plain_name(column) for column in columns}
    return all(plain & set(map(plain_name, FIELDS[field])) for field in ("video", "caption"))


def nearly_has_main_columns(columns: Iterable[str]) -> bool:
    """Return whether columns include one for the videos and one for the captions, misspelt or under another name.

    Another name (`clip`, `description`) counts only beside a column that has our name for the other one.
    """
    plain = {plain_name(column) for column in columns if len(column) < MAX_LENGTH}
    ours = {field: {plain_name(name) for name in FIELDS[field]} for field in OTHER_NAMES}
    exact = [field for field in ours if ours[field] & plain]
    near = [field for field in ours if any(get_close_matches(name, ours[field], cutoff=0.8) for name in plain)]
    other = [field for field in ours if OTHER_NAMES[field] & plain]
    return len({*exact, *near}) == 2 or bool(exact) and len({*exact, *other}) == 2


def check_values(row: dict, like: dict[str, str], found: dict[str, str], where: str) -> None:
    """Refuse the columns of a row that could be a field by their names and hold what such a field holds.

    Args:
        row (`dict`): The row.
        like (`dict[str, str]`): The field that each column could be by its name.
        found (`dict[str, str]`): The columns of the fields.
        where (`str`): The file, for messages.

    Raises:
        `BenchmarkError`: When there are such columns.
    """
    unclear = {}
    has_side = bool(found.keys() & {"start", "end"})
    for column, value in row.items():
        field = like.get(column)
        if (mapping := mapping_of(value)) is not None and column not in found.values():
            if not has_side and holds_times(mapping):
                unclear[column] = "range"
        elif field == "split" and value is not None and str(value).strip():
            unclear[column] = field
        elif field in ("start", "end", "range") and is_two_times(value):
            unclear[column] = field if has_side else "range"
        elif field in ("start", "end") and is_time(value) or field == "range" and is_clock(value):
            unclear[column] = field
    if "start" not in found and not {"start", "range"} & set(unclear.values()):
        # A length is the end of a segment only beside a start: not beside a date.
        unclear = {column: field for column, field in unclear.items() if field == "split" or not says_length(column)}
    check_unclear(unclear, where)


def mapping_of(value: Any) -> dict[str, Any] | None:
    """Return the mapping in a cell, or the texts and times in the text of one, as JSON and Python write it."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        return dict(ENTRY.findall(value))
    return value if isinstance(value, dict) else None


def holds_times(mapping: dict[str, Any]) -> bool:
    """Return whether a mapping has a time under a name that could be of a start or an end."""
    return any(is_time(mapping[name]) for name in names_of_times(tuple(mapping)))


@functools.lru_cache(maxsize=256)
def says_length(column: str) -> bool:
    """Return whether a column says how long something is by its name."""
    return is_length(words_of(column[:MAX_LENGTH]))


@functools.lru_cache(maxsize=256)
def names_of_times(names: tuple[str, ...]) -> list[str]:
    """Return the names in the mapping of a cell that could be of a start, an end or both; most rows have the same."""
    return [name for name, field in fields_like(names, {}).items() if field != "split"]


def is_time(value: Any) -> bool:
    """Return whether a value can be a time within a video."""
    if isinstance(value, bool):
        return False
    if isinstance(value, int | float):
        return abs(value) < MAX_TIME
    if not isinstance(value, str) or not ONE_TIME.fullmatch(value.strip()):
        return False
    return not re.match(r"\+?\d{10}", value.strip())


def is_clock(value: Any) -> bool:
    """Return whether a value is a time as minutes and seconds, or hours as well: `00:12.5`."""
    return isinstance(value, str) and ":" in value and is_time(value)


def is_two_times(value: Any) -> bool:
    """Return whether a value can be the start and the end of a segment, or a list of such."""
    if isinstance(value, dict):
        return holds_times(value)
    if isinstance(value, list):
        return len(value) == 2 and all(map(is_time, value)) or bool(value) and all(map(is_two_times, value))
    if not isinstance(value, str):
        return False
    return TWO_TIMES.fullmatch(value.strip()) is not None or holds_times(dict(ENTRY.findall(value)))


def check_unclear(like: dict[str, str], where: str) -> None:
    """Refuse columns that could be fields under other names.

    Args:
        like (`dict[str, str]`): The field that each of them could be.
        where (`str`): The file or the row, for messages.

    Raises:
        `BenchmarkError`: When there are such columns.
    """
    if like:
        names = ", ".join(repr(column[:MAX_LENGTH]) for column in list(like)[:MAX_NAMED])
        ours = " and ".join(dict.fromkeys(EXPECTED[field] for field in like.values()))
        raise BenchmarkError(
            f"{where}: found {names} as names of columns, expected {ours}. Rename a column that holds this, and "
            "remove or rename one that does not."
        )


class SplitWatch:
    """Watch for a column without a known name in which both a name of training and one of testing occur.

    Args:
        found (`dict[str, str]`): The columns of the fields.
    """

    def __init__(self, found: dict[str, str]):
        self.ours = set(found.values())
        self.is_needed = "split" not in found
        self.seen: dict[str, set[str]] = {}

    def see(self, row: dict) -> None:
        """Note the names of splits in a row; `train_9k` and `public_test` are such."""
        for column, value in row.items() if self.is_needed else ():
            # A text of more words is a caption or a title.
            if column in self.ours or not isinstance(value, str) or len(words := words_of(value)) > 2:
                continue
            names = {SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES}
            if names:
                self.seen.setdefault(column, set()).update(names)

    @property
    def could_be(self) -> list[str]:
        """Columns that could be the split: not all of their rows are of one."""
        return sorted(column for column, names in self.seen.items() if len(names) > 1)


__all__ = [
    "SPLIT_NAMES",
    "SplitWatch",
    "check_unclear",
    "check_values",
    "find_columns",
    "has_main_columns",
    "nearly_has_main_columns",
]
