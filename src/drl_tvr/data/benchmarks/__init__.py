"""Load a benchmark by its name."""

import os
from functools import partial

from ..errors import BenchmarkError
from ..moving_shapes import load as moving_shapes
from ..records import RetrievalData
from . import activitynet, didemo, lsmdc, msrvtt, msvd, own_data, vatex


# Benchmarks without a validation split: a part of train can be held out for it.
WITHOUT_VALIDATION = {
    "msrvtt-9k": partial(msrvtt.load_1ka, "msrvtt-9k"),
    "msrvtt-7k": partial(msrvtt.load_1ka, "msrvtt-7k"),
    "activitynet": activitynet.load,
}
WITH_VALIDATION = {
    "msrvtt-full": msrvtt.load_full,
    "msvd": msvd.load,
    "lsmdc": lsmdc.load,
    "vatex": partial(vatex.load, "vatex"),
    "vatex-trimmed": partial(vatex.load, "vatex-trimmed"),
    "vatex-random": partial(vatex.load, "vatex-random"),
    "vatex-random-trimmed": partial(vatex.load, "vatex-random-trimmed"),
    "didemo": partial(didemo.load, "didemo"),
    "didemo-merged": partial(didemo.load, "didemo-merged"),
}
BUNDLED = "moving-shapes"
BENCHMARKS = (*WITHOUT_VALIDATION, *WITH_VALIDATION, BUNDLED)


def load_benchmark(
    name: str | os.PathLike,
    root: str | os.PathLike | None = None,
    split: str = "test",
    *,
    hold_out: bool = True,
    allow_missing: bool = False,
) -> RetrievalData:
    """Load one split of a benchmark, or of your own data.

    Args:
        name (`str` or `os.PathLike`): One of the names below, or the path of your own CSV, TSV, JSON or JSON Lines
            file, or of a folder with a metadata file.

            - `"msrvtt-9k"`, `"msrvtt-7k"`, `"msrvtt-full"`, `"msvd"`, `"lsmdc"`, `"activitynet"`;
            - `"vatex"` is HGR's split, `"vatex-random"` another one of the same videos. `"vatex-trimmed"` and
              `"vatex-random-trimmed"` take start and end from the ids, for files that are whole source videos;
            - `"didemo"`; `"didemo-merged"` adds the descriptions of a video that stand under a second name of it,
              which the published protocol leaves out;
            - `"moving-shapes"`, the bundled benchmark.
        root (`str` or `os.PathLike`, *optional*): Folder that holds the annotation files and the videos, in any
            subfolders. The bundled benchmark is made there when it is absent, by default in the cache of
            huggingface_hub's assets. Video paths of your own data are relative to this folder, by default to the
            folder of the file.
        split (`str`, *optional*, defaults to `"test"`): `"train"`, `"validation"` or `"test"`.
        hold_out (`bool`, *optional*, defaults to `True`): Whether 500 training videos, chosen by a hash, are the
            validation split of a benchmark that has none (`msrvtt-9k`, `msrvtt-7k`, `activitynet`). Clips of one
            source video stay together where the annotations name it. With `False`, train is all of the official
            training set and there is no validation split.
        allow_missing (`bool`, *optional*, defaults to `False`): Whether to go on, with a warning, when videos or
            captions are missing or not as many as they should be. The result says so in its `provenance`.

    Returns:
        [`RetrievalData`]: Videos, captions, which caption belongs to which video, and what results compare with.

    Raises:
        `BenchmarkError`: For an unknown name or split, or a folder that does not hold the whole benchmark.

    Example:

    ```python
    >>> from drl_tvr import load_benchmark

    >>> data = load_benchmark("captions.csv")
    >>> len(data.videos), data.caption_to_video
    (2, [0, 1])
    ```

    ```python
    # needs: MSR-VTT
    >>> data = load_benchmark("msrvtt-9k", "data/msrvtt", "test", allow_missing=True)
    >>> data.provenance["num_videos"], data.provenance["expected_videos"]
    (998, 1000)
    ```
    """
    if name in WITHOUT_VALIDATION:
        return WITHOUT_VALIDATION[name](root, split, hold_out, allow_missing)
    if name in WITH_VALIDATION:
        return WITH_VALIDATION[name](root, split, allow_missing)
    if name == BUNDLED:
        return moving_shapes.load(root, split)
    if own_data.is_own_data(name):
        return own_data.load(name, root, split, hold_out, allow_missing)
    raise BenchmarkError(
        f"`name`: found {os.fspath(name)!r}, expected one of {', '.join(map(repr, BENCHMARKS))}, or the path of your "
        "own file (.csv, .tsv, .json, .jsonl) or folder."
    )


__all__ = ["BENCHMARKS", "load_benchmark"]
