"""Errors about data on disk."""

import reprlib
from typing import Any


class BenchmarkError(ValueError):
    """Error about a benchmark's files; the message names the file, what was found and what was expected."""


SHORT = reprlib.Repr()
SHORT.maxstring = SHORT.maxother = SHORT.maxlong = 100


def brief(value: Any) -> str:
    """Return the representation of a value in a message, short however large or deeply nested the value is."""
    try:
        return SHORT.repr(value)
    except ValueError:  # a number of more digits than Python writes
        return f"a value of type {type(value).__name__}"


def is_unicode(text: str) -> bool:
    """Return whether a text can be written as UTF-8, which half of a surrogate pair cannot."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
