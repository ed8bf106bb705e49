"""Loading a benchmark by its name."""

import os

from ..errors import BenchmarkError
from ..records import RetrievalData
from . import moving_shapes


BENCHMARKS = {"moving-shapes": moving_shapes.load}


def load_benchmark(name: str, root: str | os.PathLike | None = None, split: str = "test") -> RetrievalData:
    """Load one split of a benchmark.

    Args:
        name (`str`): `"moving-shapes"`, the bundled benchmark.
        root (`str` or `os.PathLike`, *optional*): Folder of the annotations and videos. The bundled benchmark is made
            there when absent, by default in the cache of huggingface_hub's assets.
        split (`str`, *optional*, defaults to `"test"`): `"train"`, `"validation"` or `"test"`.

    Returns:
        [`RetrievalData`]: Videos, captions, and which caption belongs to which video.

    Raises:
        `BenchmarkError`: For an unknown name or split, or a folder that doesn't hold the benchmark.

    Example:

    ```python
    >>> from drl_tvr import load_benchmark

    >>> test = load_benchmark("moving-shapes", split="test")  # doctest: +SKIP
    >>> test.captions[0]["caption"]  # doctest: +SKIP
    'a small red star drifts left, then a golden square slides left'
    ```"""
    if name not in BENCHMARKS:
        raise BenchmarkError(f"There is no benchmark {name!r}; known: {', '.join(BENCHMARKS)}.")
    return BENCHMARKS[name](root, split)


__all__ = ["load_benchmark"]
