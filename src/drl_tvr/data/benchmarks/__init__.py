"""Loading a benchmark by its name."""

import os
from functools import partial

from ..errors import BenchmarkError
from ..moving_shapes import load as moving_shapes
from ..records import RetrievalData
from . import activitynet, didemo, lsmdc, msrvtt, msvd, own_data, vatex


BENCHMARKS = {
    "msrvtt-9k": partial(msrvtt.load, name="msrvtt-9k"),
    "msrvtt-7k": partial(msrvtt.load, name="msrvtt-7k"),
    "msrvtt-full": partial(msrvtt.load, name="msrvtt-full"),
    "msvd": msvd.load,
    "lsmdc": lsmdc.load,
    "vatex": partial(vatex.load, name="vatex"),
    "vatex-random": partial(vatex.load, name="vatex-random"),
    "activitynet": activitynet.load,
    "didemo": didemo.load,
    "moving-shapes": moving_shapes.load,
}
OPTIONS = {"trim": ("vatex", "vatex-random"), "merge_by_stem": ("didemo",)}


def load_benchmark(
    name: str | os.PathLike,
    root: str | os.PathLike | None = None,
    split: str = "test",
    *,
    hold_out: bool = True,
    allow_missing: bool = False,
    trim: bool = False,
    merge_by_stem: bool = False,
) -> RetrievalData:
    """Load one split of a benchmark, or of one's own data.

    Args:
        name (`str` or `os.PathLike`): `"msrvtt-9k"`, `"msrvtt-7k"`, `"msrvtt-full"`, `"msvd"`, `"lsmdc"`, `"vatex"`,
            `"vatex-random"`, `"activitynet"`, `"didemo"` or `"moving-shapes"`, the bundled one; otherwise the path of
            a CSV, TSV, JSON or JSON Lines file of one's own, or of a folder with a metadata file.
        root (`str` or `os.PathLike`, *optional*): Folder that holds the annotation files and the videos, in any
            subfolders. The bundled benchmark is made there when absent, by default in the cache of huggingface_hub's
            assets. For one's own data, the folder that video paths are relative to, by default that of the file.
        split (`str`, *optional*, defaults to `"test"`): `"train"`, `"validation"` or `"test"`.
        hold_out (`bool`, *optional*, defaults to `True`): Where a benchmark has no validation split (`msrvtt-9k`,
            `msrvtt-7k`, `activitynet`), whether 500 training videos, chosen by a hash of their ids, are it. With
            `False`, train is all of the official training set and there is no validation.
        allow_missing (`bool`, *optional*, defaults to `False`): Whether to go on, with a warning, when videos or
            captions are missing or not as many as they should be. The result says so in its `provenance`.
        trim (`bool`, *optional*, defaults to `False`): For `vatex` and `vatex-random`: take start and end from the
            ids, for files that are whole source videos.
        merge_by_stem (`bool`, *optional*, defaults to `False`): For `didemo`: add the descriptions of a clip that are
            under a second name of it, which the published protocol leaves out.

    Returns:
        [`RetrievalData`]: Videos, captions, which caption belongs to which video, and what results compare with.

    Raises:
        `BenchmarkError`: For an unknown name, split or option, or a folder that doesn't hold the benchmark whole.

    Example:

    ```python
    >>> from drl_tvr import load_benchmark

    >>> test = load_benchmark("moving-shapes", split="test")  # doctest: +SKIP
    >>> test.captions[0]["caption"]  # doctest: +SKIP
    'a small red star drifts left, then a golden square slides left'
    >>> test = load_benchmark("msrvtt-9k", "data/msrvtt", "test", allow_missing=True)  # doctest: +SKIP
    >>> test.provenance["num_videos"], test.provenance["expected_videos"]  # doctest: +SKIP
    (998, 1000)
    ```"""
    options = {key: True for key, value in (("trim", trim), ("merge_by_stem", merge_by_stem)) if value}
    for option in options:
        if name not in OPTIONS[option]:
            raise BenchmarkError(f"`{option}` is for {' and '.join(OPTIONS[option])}, not for {os.fspath(name)!r}.")
    if name in BENCHMARKS:
        return BENCHMARKS[name](root, split, hold_out, allow_missing, **options)
    if own_data.is_own_data(name):
        return own_data.load(name, root, split, hold_out, allow_missing)
    raise BenchmarkError(
        f"There is no benchmark {os.fspath(name)!r}; known: {', '.join(BENCHMARKS)}. One's own data is named by the "
        "path of its file (.csv, .tsv, .json, .jsonl) or folder."
    )


__all__ = ["load_benchmark"]
