"""Find the videos that a name stands for: a folder, a file, a benchmark or a table of your own data."""

import os
from collections.abc import Iterable
from pathlib import Path

from ..model.video_errors import safe_name
from .benchmarks import BENCHMARKS, load_benchmark
from .benchmarks.own_data import SUFFIXES, find_files, splits_of
from .errors import BenchmarkError
from .folder import find_videos
from .records import SPLITS


# A path, or a path with start and end in seconds.
Video = str | os.PathLike | tuple[str | os.PathLike, float | None, float | None]


def find_target(
    target: str | os.PathLike | Iterable[Video], root: str | os.PathLike | None, split: str | None
) -> tuple[list[Video], list[str], dict[str, int], list[str]]:
    """Find the videos of a target, the ids of videos without a file, other files, and what was not searched.

    Other files are counted per extension. Links that lead out of a folder are not searched.

    Raises:
        `ValueError`: When `root` or `split` is given and the target is not a benchmark.
    """
    if is_benchmark(target):
        return *benchmark_videos(target, root, split), {}, []
    if root is not None or split is not None:
        expected = f"a benchmark ({', '.join(BENCHMARKS)}) or a table of your own data"
        raise ValueError(f"`root` and `split`: found the target {safe_name(str(target))}, expected {expected}.")
    if not isinstance(target, str | os.PathLike):
        return list(target), [], {}, []
    if os.path.isdir(target):
        scan = find_videos(target)
        return scan.paths, [], scan.left_out, scan.not_searched
    return [target], [], {}, []


def is_benchmark(target: str | os.PathLike | Iterable[Video]) -> bool:
    """Return whether a target is the name of a benchmark, a table, or a folder that holds a table."""
    if not isinstance(target, str | os.PathLike):
        return False
    if os.fspath(target) in BENCHMARKS or os.fsdecode(target).endswith(SUFFIXES):
        return True
    try:
        return os.path.isdir(target) and bool(find_files(Path(target)))
    except BenchmarkError:
        return False


def benchmark_videos(
    name: str | os.PathLike, root: str | os.PathLike | None, split: str | None
) -> tuple[list[Video], list[str]]:
    """Collect path, start and end of each video of a benchmark, and the ids of videos without a file."""
    is_official = os.fspath(name) in BENCHMARKS
    if split is not None:
        splits = [split]
    else:
        splits = SPLITS if is_official else splits_of(name, root)
    videos, missing = {}, []
    for part in splits:
        data = load_benchmark(name, root, part, hold_out=is_official, allow_missing=True)
        # A video of two splits is checked once.
        videos |= dict.fromkeys(zip(data.videos["path"], data.videos["start"], data.videos["end"], strict=True))
        missing += data.missing
    return list(videos), missing


__all__ = ["Video", "find_target"]
