"""Find the videos that a name stands for: a folder, a file, a benchmark or a table of your own data."""

import os
from collections.abc import Iterable

from ..model.video_errors import safe_name
from .benchmarks import BENCHMARKS, load_benchmark
from .benchmarks.own_data import has_own_data, splits_of
from .folder import TABLE_EXTENSIONS, VIDEO_EXTENSIONS, VideoScan, extension_of, find_videos
from .records import SPLITS


# A path, or a path with start and end in seconds.
Video = str | os.PathLike | tuple[str | os.PathLike, float | None, float | None]


def find_target(
    target: str | os.PathLike | Iterable[Video], root: str | os.PathLike | None, split: str | None
) -> tuple[VideoScan, list[str]]:
    """Find the videos of a target, with what was left out of a folder, and the ids of videos without a file.

    Raises:
        `ValueError`: When `root` or `split` is given and the target is not a benchmark.
        `FileNotFoundError`: When the target does not exist and is not called like a video.
    """
    if is_benchmark(target):
        videos, missing = benchmark_videos(target, root, split)
        return VideoScan(videos), missing
    if root is not None or split is not None:
        expected = f"a benchmark ({', '.join(BENCHMARKS)}) or a table of your own data"
        raise ValueError(f"`root` and `split`: found the target {safe_name(str(target))}, expected {expected}.")
    if not isinstance(target, str | os.PathLike):
        return VideoScan(list(target)), []
    if os.path.isdir(target):
        return find_videos(target), []
    name = os.fsdecode(target)
    if not os.path.lexists(target) and "://" not in name and extension_of(name) not in VIDEO_EXTENSIONS:
        raise FileNotFoundError(
            f"{name}: found no such file or folder, expected a folder, a video, a table of your own data or a "
            f"benchmark ({', '.join(BENCHMARKS)})."
        )
    return VideoScan([target]), []


def is_benchmark(target: str | os.PathLike | Iterable[Video]) -> bool:
    """Return whether a target is the name of a benchmark, a table, or a folder with a table of videos."""
    if not isinstance(target, str | os.PathLike):
        return False
    if os.fspath(target) in BENCHMARKS or os.fsdecode(target).endswith(TABLE_EXTENSIONS):
        return True
    return os.path.isdir(target) and has_own_data(target)


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
