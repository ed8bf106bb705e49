"""Find the videos that a name stands for: a folder, a file, a benchmark or a table of your own data."""

import os
from collections.abc import Iterable
from typing import NamedTuple

from ..model.video_errors import safe_name
from .benchmarks import BENCHMARKS, load_benchmark
from .benchmarks.own_data import find_faults, has_own_data, splits_of
from .errors import BenchmarkError
from .folder import TABLE_EXTENSIONS, VIDEO_EXTENSIONS, VideoScan, extension_of, find_videos
from .records import SPLITS


# A path, or a path with start and end in seconds.
Video = str | os.PathLike | tuple[str | os.PathLike, float | None, float | None]


class Target(NamedTuple):
    """The videos that a name stands for.

    Args:
        scan ([`~data.folder.VideoScan`]): The videos, and what was left out of a folder.
        missing (`list[str]`): Ids of videos of a benchmark without a file.
        faults (`dict[str, str]`): Tables of a folder that cannot be used, and what is wrong with each.
    """

    scan: VideoScan
    missing: list[str]
    faults: dict[str, str]


def find_target(
    target: str | os.PathLike | Iterable[Video], root: str | os.PathLike | None, split: str | None
) -> Target:
    """Find the videos of a target.

    Raises:
        `ValueError`: When `root` or `split` is given and the target is not a benchmark.
        `BenchmarkError`: When a benchmark or a table cannot be used.
        `FileNotFoundError`: When the target does not exist and is not called like a video.
    """
    if not isinstance(target, str | os.PathLike):
        check_is_plain(root, split, target)
        return Target(VideoScan(list(target)), [], {})
    name = os.fsdecode(target)
    if name in BENCHMARKS or name.endswith(TABLE_EXTENSIONS):
        return benchmark_videos(target, root, split)
    if os.path.isdir(target):
        return find_in_folder(target, root, split)
    check_is_plain(root, split, target)
    if not os.path.lexists(target) and "://" not in name and extension_of(name) not in VIDEO_EXTENSIONS:
        raise FileNotFoundError(
            f"{name or repr(name)}: found no such file or folder, expected a folder, a video, a table of your own "
            f"data or a benchmark ({', '.join(BENCHMARKS)})."
        )
    return Target(VideoScan([target]), [], {})


def check_is_plain(root: str | os.PathLike | None, split: str | None, target: object) -> None:
    """Refuse the arguments of a benchmark beside a target that is none.

    Raises:
        `ValueError`: When one is given.
    """
    if root is not None or split is not None:
        expected = f"a benchmark ({', '.join(BENCHMARKS)}) or a table of your own data"
        raise ValueError(f"`root` and `split`: found the target {safe_name(str(target))}, expected {expected}.")


def find_in_folder(folder: str | os.PathLike, root: str | os.PathLike | None, split: str | None) -> Target:
    """Find the videos that the tables of a folder describe, or all in it when it has none or one that is faulty.

    Raises:
        `ValueError`, `BenchmarkError`: When `root` or `split` is given and there is no table, or a faulty one.
    """
    faults, missing = {}, []
    if has_own_data(folder):
        try:
            return benchmark_videos(folder, root, split)
        except (BenchmarkError, OSError) as error:
            if root is not None or split is not None:
                raise
            faults, missing = find_faults(folder)
            faults = faults or {os.fsdecode(folder): str(error)}
    check_is_plain(root, split, folder)
    return Target(find_videos(folder), missing, faults)


def benchmark_videos(name: str | os.PathLike, root: str | os.PathLike | None, split: str | None) -> Target:
    """Find path, start and end of each video of a benchmark, and the ids of videos without a file."""
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
    return Target(VideoScan(list(videos)), missing, {})


__all__ = ["Target", "Video", "find_target"]
