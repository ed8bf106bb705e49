"""Tell what a column could hold by the words of its name."""

import functools
import re
import unicodedata
from collections.abc import Iterable
from difflib import SequenceMatcher


MAX_LENGTH = 100  # characters of a name that are looked at
# Words of names that could be of a start or an end, in the singular.
# `sure` words count with any word before them (`action_start`), `plain` ones only among the words here (`clip_from`),
# `loose` ones only beside a word of time (`first_frame`), or where the other side has a column (`left` and `right`).
SIDES = {
    "start": {
        "sure": "start begin onset",
        "plain": "beg from since in ss st stime t0 tstart tin tmin",
        "loose": "first min left lo low lower enter entry head s offset",
    },
    "end": {
        "sure": "end finish",
        "plain": "to until till out ed et te etime t1 tend tout tmax",
        "loose": "last max right hi high upper exit leave tail e stop offset",
    },
}
SIDES = {side: {kind: frozenset(words.split()) for kind, words in kinds.items()} for side, kinds in SIDES.items()}
PARTNERS = [
    pair.split("/")
    for pair in (
        "first/last min/max left/right lo/hi low/high lower/upper enter/exit enter/leave entry/exit head/tail s/e "
        "offset/duration offset/length offset/len offset/dur"
    ).split()
]
FORMS = {
    **dict.fromkeys(("started", "starting"), "start"),
    "beginning": "begin",
    **dict.fromkeys(("ended", "ending"), "end"),
    **dict.fromkeys(("stopped", "stopping"), "stop"),
    **dict.fromkeys(("finished", "finishing"), "finish"),
}
UNITS = frozenset(
    "time timestamp timecode stamp tc ts t sec second msec milli ms us ns pts hms frame offset pos position point idx "
    "mark cut at".split()
)
PLACES = frozenset(
    "clip video seg segment section shot scene event moment trim lead cue up in temporal relevant gt".split()
)
RANGES = frozenset("span segment section interval range window moment bound boundary boundarie trim clip cut".split())
LENGTHS = frozenset("duration length len dur".split())
TIMES = UNITS - {"idx", "sec", "second"}  # with these a name says a point in time
BOX_SIDES, BOX_OTHERS = frozenset(("left", "right")), frozenset("top bottom x y".split())
SPLITS = frozenset("split subset partition fold".split())
SPLIT_WORDS = frozenset("train training val validation test testing dev".split())
KNOWN_SIDES = frozenset().union(*(words for kinds in SIDES.values() for words in kinds.values()))
OTHERS = frozenset("set data dataset name type".split())
KNOWN = KNOWN_SIDES | UNITS | PLACES | RANGES | LENGTHS | SPLITS | SPLIT_WORDS | OTHERS


def fields_like(columns: Iterable[str], found: dict[str, str]) -> dict[str, str]:
    """Return the field without a column that each other column could be by its name.

    It is `"range"` for start and end in one column. A name that says little counts beside its partner: a `left` could
    be a start where there is a `right`.

    Args:
        columns (`Iterable[str]`): Names of the columns.
        found (`dict[str, str]`): The columns of the fields.

    Returns:
        `dict[str, str]`: Field of each such column.
    """
    words = {column: words_of(column[:MAX_LENGTH]) for column in columns if column not in found.values()}
    if any(map(BOX_OTHERS.intersection, words.values())):
        words = {column: names for column, names in words.items() if not names or not BOX_SIDES.issuperset(names)}
    like = {column: field for column in words if (field := field_like(column, words[column], found))}
    if not found.keys() & {"start", "end"}:
        like |= numbered_pairs(words)
        if "start" not in like.values() and any(map(is_length, words.values())):
            like |= {column: "start" for column in words if is_point(column, words[column])}
    sides, present = found.keys() | set(like.values()), set().union(*words.values())
    beside = {
        "start": {one for one, two in PARTNERS if two in present},
        "end": {two for one, two in PARTNERS if one in present},
    }
    for column in [column for column in words if like.get(column, "range") == "range"]:
        names = {"length"} if words[column] == ["second"] else set(words[column])
        is_of_time = names <= KNOWN | {"num"} or words[column][-1:] == ["stop"]
        for side, other in (("end", "start"), ("start", "end")):
            loose = names & (SIDES[side]["loose"] | (LENGTHS if side == "end" else set()))
            if side not in found and is_of_time and (loose if other in sides else loose & beside[side]):
                like[column] = side
    return {column: like[column] for column in words if column in like}  # in the order of the table


def is_length(words: list[str]) -> bool:
    """Return whether the words of a name say how long something is: `duration_sec`, `clip_length`."""
    return not LENGTHS.isdisjoint(words) and (LENGTHS | UNITS | PLACES).issuperset(words)


def is_point(column: str, words: list[str]) -> bool:
    """Return whether a name says a point in time or a position, and not a side; `frames` says how many."""
    is_number = plain_name(column).endswith("frames")
    return not TIMES.isdisjoint(words) and (UNITS | PLACES | RANGES).issuperset(words) and not is_number


def numbered_pairs(words: dict[str, list[str]]) -> dict[str, str]:
    """Return start and end among names of time that differ only in 0 and 1, or in 1 and 2: `t_1` and `t_2`.

    Args:
        words (`dict[str, list[str]]`): The words of the name of each column.

    Returns:
        `dict[str, str]`: Field of each column of such a pair.
    """
    families: dict[str, dict[int, str]] = {}
    for column, names in words.items():
        plain = plain_name(column[:MAX_LENGTH])
        numbers = re.findall(r"\d+", plain)
        names = ["t" if name in ("t0", "t1") else name for name in names]
        if len(numbers) == 1 and set(names) & UNITS - {"idx"} and (UNITS | PLACES | RANGES).issuperset(names):
            families.setdefault(re.sub(r"\d+", "#", plain), {})[int(numbers[0])] = column
    pairs = [family for family in families.values() if family.keys() in ({0, 1}, {1, 2})]
    return {
        family[number]: side for family in pairs for number, side in zip(sorted(family), ("start", "end"), strict=True)
    }


def field_like(column: str, words: list[str], found: dict[str, str]) -> str | None:
    """Return the field without a column that a column could be by its name alone, or `None`."""
    if words[:1] in (["is"], ["has"], ["was"]) and not SPLIT_WORDS.intersection(words):
        return None
    for side in ("start", "end"):
        if side not in found and (is_misspelt(plain_name(column), side) or says_side(words, SIDES[side])):
            return side
    if "split" not in found and (is_misspelt(plain_name(column), "split") or says_split(words)):
        return "split"
    if found.keys() & {"start", "end"}:
        return None
    if words in (["timestamp"], ["timecode"]):
        return "start"
    return "range" if words and (UNITS | PLACES | RANGES | KNOWN_SIDES).issuperset(words) else None


def says_side(words: list[str], kinds: dict[str, frozenset[str]]) -> bool:
    """Return whether the words of a name say a start, or an end."""
    of_time = UNITS | PLACES | KNOWN_SIDES
    for place, word in enumerate(words):
        # What follows must be of time as well: a `starting_price` or an `end_user` is not a time.
        if word in kinds["sure"] and of_time.issuperset(words[place + 1 :]):
            return True
    if not of_time.issuperset(words):
        return False
    is_loose = not kinds["loose"].isdisjoint(words)
    units = UNITS.intersection(words) - {"offset"}
    return not kinds["plain"].isdisjoint(words) or is_loose and bool(units)


def says_split(words: list[str]) -> bool:
    """Return whether the words of a name say a split: `data_split`, `set`, `is_train`."""
    words = words[:-1] if words[-1:] in (["name"], ["type"]) else words
    if not SPLIT_WORDS.isdisjoint(words):
        return {*SPLIT_WORDS, "is", "in", "or", "set", "flag"}.issuperset(words)
    of_videos = {"set", "video", "clip"}.issuperset(words) and "set" in words
    return not SPLITS.isdisjoint(words[-1:]) or of_videos or words in (["phase"], ["usage"])


def plain_name(name: str) -> str:
    """Return the letters and digits of a name in lower case."""
    return "".join(filter(str.isalnum, unicodedata.normalize("NFKC", name).casefold()))


def words_of(name: str) -> list[str]:
    """Return the words of a name such as `Start_timestamps`, `clipStart` or `t-end (s)`: lower case, singular.

    Example:

    ```python
    >>> from drl_tvr.data.benchmarks.columns import words_of

    >>> words_of("ClipStartedAt"), words_of("starttime (s)")
    (['clip', 'start', 'at'], ['start', 'time', 'sec'])
    ```
    """
    normal = unicodedata.normalize("NFKC", name)
    found = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|(?<=[tT])[01](?!\d)", normal)
    words = "_".join(word.lower() for word in found).replace("t_0", "t0").replace("t_1", "t1").split("_")
    if words[1:] and words[-1] == "s":
        words[-1] = "sec"
    return [part for word in words if word for part in known_parts(word) or [singular(word)]]


@functools.lru_cache(maxsize=4096)
def known_parts(word: str) -> tuple[str, ...]:
    """Return the known words of which a word is composed, longest first; none when a part of it is not known."""
    if singular(word) in KNOWN:
        return (singular(word),)
    for end in range(len(word) - 2, 2, -1):
        rest = word[end:]
        if singular(word[:end]) in KNOWN and (len(rest) > 2 or rest in UNITS) and known_parts(rest):
            return (singular(word[:end]), *known_parts(rest))
    return ()


def singular(word: str) -> str:
    """Return the form of a word in which it is listed."""
    for form in (word, word.removesuffix("s")):
        if FORMS.get(form, form) in KNOWN:
            return FORMS.get(form, form)
    return word


def is_misspelt(name: str, field: str) -> bool:
    """Return whether a name has a letter too many or too few, or two letters in the wrong order."""
    if abs(len(name) - len(field)) > 1:
        return False
    return sorted(name) == sorted(field) or SequenceMatcher(None, name, field, autojunk=False).ratio() > 0.88


__all__ = ["fields_like", "is_length", "plain_name", "words_of"]
