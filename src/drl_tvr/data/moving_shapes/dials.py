"""Check the dials of the bundled benchmark: shares of its captions and clips that say or show nothing of use."""

from numbers import Real
from typing import Any

from ..errors import BenchmarkError, brief


MAX_SHARE = 0.7
IRRELEVANT_KINDS = ("blank", "object")


def check_share(name: str, value: Any, where: str = "") -> float:
    """Return a share as a `float`.

    Args:
        name (`str`): Name of the dial, for the message.
        value (`Any`): What was given for it.
        where (`str`, *optional*): What the message begins with.

    Raises:
        `BenchmarkError`: When it is not a number from 0 to 0.7.
    """
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= value <= MAX_SHARE:
        raise BenchmarkError(f"{where}`{name}`: found {brief(value)}, expected a number from 0 to {MAX_SHARE}.")
    return float(value)


def check_kind(value: Any, where: str = "") -> None:
    """Refuse an `irrelevant_kind` that does not exist.

    Args:
        value (`Any`): What was given for it.
        where (`str`, *optional*): What the message begins with.

    Raises:
        `BenchmarkError`: When it is none of `IRRELEVANT_KINDS`.
    """
    if value not in IRRELEVANT_KINDS:
        kinds = " or ".join(map(repr, IRRELEVANT_KINDS))
        raise BenchmarkError(f"{where}`irrelevant_kind`: found {brief(value)}, expected {kinds}.")


def to_settings(filler_words: Any, irrelevant_frames: Any, irrelevant_kind: Any, where: str = "") -> dict[str, Any]:
    """Return the dials in the form of `settings.json`: all three, or none when both shares are 0.

    Without irrelevant frames their kind is `"blank"`, so that one benchmark has one form.

    Raises:
        `BenchmarkError`: When a dial is invalid.
    """
    filler_words = check_share("filler_words", filler_words, where)
    irrelevant_frames = check_share("irrelevant_frames", irrelevant_frames, where)
    check_kind(irrelevant_kind, where)
    if not filler_words and not irrelevant_frames:
        return {}
    return {
        "filler_words": filler_words,
        "irrelevant_frames": irrelevant_frames,
        "irrelevant_kind": irrelevant_kind if irrelevant_frames else IRRELEVANT_KINDS[0],
    }
