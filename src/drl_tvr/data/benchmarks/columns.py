"""Recognise the columns of your own table, and refuse a column that could be one of them under another name."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher

from ..errors import BenchmarkError


# Fields of a row, and the names that their column may have.
FIELDS = {
    "video": ("video", "file_name", "video_path", "path"),
    "caption": ("caption", "captions", "text", "sentence"),
    "start": ("start",),
    "end": ("end",),
    "split": ("split",),
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
BEFORE = "(?:t|time|ts|clip|video|seg|segment|shot|event|frame)?"
AFTER = "(?:t|ts|time|times|timestamp|timecode|s|sec|secs|second|seconds|ms|frame|frames|offset|pos|position)?"
# A column could be a field when its name, or a word in it, is one of these,
WORDS = {
    "start": re.compile(f"{BEFORE}(?:start|begin|onset)(?:s|ed|ing|ning)?{AFTER}"),
    "end": re.compile(f"{BEFORE}(?:end|stop|finish)(?:s|ed|ing)?{AFTER}"),
    "split": re.compile("splits?|subsets?|partitions?|folds?"),
}
# or when its name is one of these.
SPLIT = "(?:train|training|val|validation|test|testing|dev)"
NAMES = {
    "start": re.compile("from|since|(?:tc|timecode|cut|mark)?in(?:point)?|ss|st|ts|t0|offset|first(?:frame|second)"),
    "end": re.compile("to|until|till|(?:tc|timecode|cut|mark)?out(?:point)?|te|et|ed|t1|last(?:frame|second)"),
    "split": re.compile(
        f"(?:data|dataset|video|clip)?(?:split|subset)(?:name|type)?|(?:video|clip)?set(?:name|type)?|phase|usage|"
        f"(?:is|in)?{SPLIT}+(?:set)?"
    ),
}
# Names of a column with start and end in one cell, and of one that says the end by the length.
RANGE = re.compile(
    "(?:clip|video|shot|event|temporal|time|relevant|gt)?"
    "(?:timestamps?|times?|timecodes?|spans?|segments?|intervals?|ranges?|windows?|moments?)"
)
LENGTH = re.compile("(?:clip|seg|segment|shot|event)?(?:duration|length|len|dur)(?:s|sec|secs|seconds|ms)?")
MAX_NAMED, MAX_LENGTH = 20, 100  # columns in a message, and characters of their names


def find_columns(columns: Sequence[str], where: str) -> dict[str, str]:
    """Find the column of each field by its name, in which case, spaces and punctuation do not count.

    Args:
        columns (`Sequence[str]`): Names of the columns.
        where (`str`): The file or the row, for messages.

    Returns:
        `dict[str, str]`: Name of the column of each field that has one; of `video` and `caption` in any case.

    Raises:
        `BenchmarkError`: When there is no column for the videos or the captions, when two columns are for one field,
            or when a column could be a field that has no column.

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
    like = {column: field_like(column, found) for column in columns if column not in found.values()}
    check_unclear({column: field for column, field in like.items() if field is not None}, where)
    return found


def has_main_columns(columns: Iterable[str]) -> bool:
    """Return whether columns include one for the videos and one for the captions."""
    plain = {plain_name(column) for column in columns}
    return all(plain & set(map(plain_name, FIELDS[field])) for field in ("video", "caption"))


def field_like(column: str, found: dict[str, str]) -> str | None:
    """Return the field without a column that a column could be, `"range"` for start and end in one, or `None`."""
    name, words = plain_name(column), words_of(column)
    for field in WORDS:
        if field not in found and (
            NAMES[field].fullmatch(name)
            or any(WORDS[field].fullmatch(word) for word in (name.rstrip("0123456789"), *words))
            or is_misspelt(name, field)
        ):
            return field
    if not found.keys() & {"start", "end"} and RANGE.fullmatch(name):
        return "range"
    if "start" in found and "end" not in found and LENGTH.fullmatch(name):
        return "end"
    return None


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


def plain_name(name: str) -> str:
    """Return the letters and digits of a name in lower case."""
    return "".join(filter(str.isalnum, unicodedata.normalize("NFKC", name).casefold()))


def words_of(name: str) -> list[str]:
    """Return the words of a name such as `Start_timestamp`, `clipStart` or `t-end (s)`, in lower case."""
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]


def is_misspelt(name: str, field: str) -> bool:
    """Return whether a name has a letter too many or too few, or two letters in the wrong order."""
    if abs(len(name) - len(field)) > 1:
        return False
    return sorted(name) == sorted(field) or SequenceMatcher(None, name, field, autojunk=False).ratio() > 0.88


class SplitWatch:
    """Watch for a column without a known name whose values are all names of splits.

    Args:
        found (`dict[str, str]`): The columns of the fields.
    """

    def __init__(self, found: dict[str, str]):
        self.ours = set(found.values())
        self.is_needed = "split" not in found
        self.could_be: set[str] | None = None

    def see(self, row: dict) -> None:
        """Note the values of a row."""
        if not self.is_needed or self.could_be == set():
            return
        candidates = row.keys() - self.ours if self.could_be is None else self.could_be
        self.could_be = {column for column in candidates if str(row.get(column)).strip().lower() in SPLIT_NAMES}


__all__ = ["SPLIT_NAMES", "SplitWatch", "check_unclear", "find_columns", "has_main_columns"]
