"""Decode what training would decode of many videos, and report which decode and what is wrong with the others."""

import contextlib
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from functools import partial

import torch
from tqdm.auto import tqdm

from ..files import installed_versions, usable_cores
from ..model.video_decoding import VideoDecodeError, sample_indices, usable_backend
from ..model.video_errors import safe_name
from ..model.video_processing_drl import decode_for_training
from ..terminal import format_sentences, format_table, printable
from .targets import Video, find_target
from .worker_pool import WorkerFailure, map_in_processes


REPORT_VERSION = 1
LONGEST_LIST = 100  # videos; a longer report lists only those with a message
MAX_TIME_LIMIT = 10**6  # seconds
FAILURE_CODES = {"timeout": "timeout", "crashed": "decoder-crashed"}
LIBRARIES = ("av", "torchcodec", "torch", "transformers", "drl-tvr")


@dataclass(frozen=True)
class VideoCheck:
    """Findings about one video. Fields that could not be determined are `None`.

    Args:
        path (`str`): The path as it was given, or the URL without its secrets.
        start (`float`, *optional*): Start of the range to decode, in seconds.
        end (`float`, *optional*): End of the range to decode, in seconds.
        ok (`bool`): Whether training can use the video.
        code (`str`): `"ok"`, or one of the codes of [`VideoDecodeError`]. A video that is `ok` has the code
            `"truncated"` if only its readable part was taken, as `allow_truncated` asks, and `"suspicious"` if it
            decodes but its header says something else, or its frames change their size.
        message (`str`): What was found and what was expected; empty for `"ok"`.
        duration (`float`, *optional*): Duration of the video or its readable part, in seconds.
        fps (`float`, *optional*): Average rate, in frames per second.
        width (`int`, *optional*): Width of an upright frame, in pixels.
        height (`int`, *optional*): Height of an upright frame, in pixels.
        codec (`str`, *optional*): FFmpeg's name of the codec.
        num_frames (`int`, *optional*): Number of frames in the video or its readable part.
        num_decoded (`int`): Number of frames that were sampled and decoded, as training would get them.
        backend (`str`, *optional*): The decoder of these frames.
        seconds (`float`): Duration of the check, in seconds.
    """

    path: str
    start: float | None = None
    end: float | None = None
    ok: bool = False
    code: str = "ok"
    message: str = ""
    duration: float | None = None
    fps: float | None = None
    width: int | None = None
    height: int | None = None
    codec: str | None = None
    num_frames: int | None = None
    num_decoded: int = 0
    backend: str | None = None
    seconds: float = 0.0


def check_video(
    video: Video,
    fps: float | None = 1.0,
    max_frames: int | None = 12,
    backend: str | None = None,
    allow_truncated: bool = False,
    strict: bool = False,
) -> VideoCheck:
    """Decode one video in this process, as [`DRLVideoProcessor`] would.

    Args:
        video (`str`, `os.PathLike` or `tuple`): A path, or a path with start and end in seconds.
        fps (`float`, *optional*, defaults to 1.0): Frames to take per second; `None` for all.
        max_frames (`int`, *optional*, defaults to 12): The most frames to take; `None` for no limit.
        backend (`str`, *optional*): `"pyav"` or `"torchcodec"`. By default torchcodec where it is usable.
        allow_truncated (`bool`, *optional*, defaults to `False`): Take the readable part of a file that ends early.
        strict (`bool`, *optional*, defaults to `False`): Whether a suspicious video is not ok.

    Returns:
        [`~data.doctor.VideoCheck`]: The findings, also for a video that does not decode.

    Example:

    ```python
    >>> from drl_tvr.data.doctor import check_video

    >>> check = check_video("clip.mp4")
    >>> check.code, check.duration, check.num_decoded
    ('ok', 3.0, 3)
    >>> check_video("no_such_file.mp4").code
    'missing'

    ```"""
    check, began = empty_check(video), time.monotonic()
    path = video[0] if isinstance(video, tuple) else video
    try:
        frames, found = decode_for_training(path, fps, max_frames, check.start, check.end, backend, allow_truncated)
    except VideoDecodeError as error:
        return replace(check, code=error.code, message=str(error), seconds=time.monotonic() - began)
    code, message = "ok", ""
    if found.truncation is not None:
        code, message = "truncated", f"only the readable part is used: {found.truncation}"
    elif found.suspicion is not None:
        code, message = "suspicious", f"it decodes, but look at it: found {found.suspicion}"
    return replace(
        check,
        ok=not (strict and found.suspicion),
        code=code,
        message=message,
        duration=found.duration,
        fps=found.fps,
        width=found.width,
        height=found.height,
        codec=found.codec,
        num_frames=found.total_num_frames,
        num_decoded=len(frames),
        backend=found.video_backend,
        seconds=time.monotonic() - began,
    )


def empty_check(video: Video) -> VideoCheck:
    """Return the check of a video of which only the path and the range are known."""
    path, start, end = video if isinstance(video, tuple) else (video, None, None)
    return VideoCheck(safe_name(os.fsdecode(path)), start, end)


def check_in_worker(video: Video, check: Callable[[Video], VideoCheck]) -> VideoCheck:
    """Run a check with one thread: the processes share the cores."""
    torch.set_num_threads(1)
    return check(video)


def check_videos(
    videos: Iterable[Video],
    fps: float | None = 1.0,
    max_frames: int | None = 12,
    backend: str | None = None,
    allow_truncated: bool = False,
    num_workers: int | None = None,
    time_limit: float = 300.0,
    strict: bool = False,
) -> list[VideoCheck]:
    """Decode many videos in processes, with a progress bar.

    Each is decoded by the sampler and the decoder of [`DRLVideoProcessor`], so the doctor finds what training would
    find, and misses what training would not see either (see [`~model.video_decoding.read_video`]).

    A video that takes longer than `time_limit`, or crashes the decoder, costs one process, which is replaced.

    Args:
        videos (`Iterable`): Paths, or paths with start and end in seconds.
        fps (`float`, *optional*, defaults to 1.0): Frames to take per second; `None` for all.
        max_frames (`int`, *optional*, defaults to 12): The most frames to take (64 for ActivityNet and DiDeMo).
        backend (`str`, *optional*): `"pyav"` or `"torchcodec"`. By default torchcodec where it is usable.
        allow_truncated (`bool`, *optional*, defaults to `False`): Take the readable part of a file that ends early.
        num_workers (`int`, *optional*): Number of processes; by default one per core that this process may use.
        time_limit (`float`, *optional*, defaults to 300.0): Seconds per video.
        strict (`bool`, *optional*, defaults to `False`): Whether a suspicious video is not ok.

    Returns:
        `list[VideoCheck]`: One check per video, in order.

    Raises:
        `ValueError`: For invalid settings.
        `ImportError`: If `backend="torchcodec"` and it is not usable.
        `RuntimeError`: If the processes cannot start.

    Example:

    ```python
    >>> from drl_tvr.data import check_videos

    >>> checks = check_videos(["clip.mp4", ("other.mp4", 10.0, 20.0)], num_workers=1)
    >>> [check.code for check in checks]
    ['ok', 'bad-range']

    ```"""
    videos = list(videos)
    usable_backend(backend)
    sample_indices(1, 1.0, fps, max_frames)
    if not 0 < time_limit <= MAX_TIME_LIMIT:
        raise ValueError(
            f"`time_limit`: found {time_limit}, expected a number of seconds above 0, at most {MAX_TIME_LIMIT:,}."
        )
    num_workers = usable_cores() if num_workers is None else num_workers
    if num_workers < 1:
        raise ValueError(f"`num_workers`: found {num_workers}, expected at least 1.")
    settings = {"fps": fps, "max_frames": max_frames, "backend": backend, "allow_truncated": allow_truncated}
    check = partial(check_video, **settings, strict=strict)
    checks: list[VideoCheck | None] = [None] * len(videos)
    num_problems = 0
    results = map_in_processes(partial(check_in_worker, check=check), videos, num_workers, time_limit)
    with contextlib.closing(results), tqdm(total=len(videos), desc="Checking videos", unit="video") as bar:
        for place, result in results:
            if isinstance(result, WorkerFailure):
                failed, code = empty_check(videos[place]), FAILURE_CODES[result.code]
                message = f"{failed.path}: {result.message}, expected a video that decodes [{code}]"
                result = replace(failed, code=code, message=message, seconds=result.seconds)
            checks[place] = result
            num_problems += not result.ok
            bar.set_postfix(problems=num_problems, refresh=False)
            bar.update()
    return checks


def run_doctor(
    target: str | os.PathLike | Iterable[Video],
    fps: float | None = 1.0,
    max_frames: int | None = 12,
    backend: str | None = None,
    allow_truncated: bool = False,
    num_workers: int | None = None,
    time_limit: float = 300.0,
    root: str | os.PathLike | None = None,
    split: str | None = None,
    strict: bool = False,
) -> dict:
    """Check all videos of a folder or a benchmark, and report.

    Args:
        target (`str`, `os.PathLike` or `Iterable`): A folder, a video, what [`load_benchmark`] takes (the name of a
            benchmark, or a table of your own data), or what [`~data.doctor.check_videos`] takes.
        fps, max_frames, backend, allow_truncated, num_workers, time_limit: As in [`~data.doctor.check_videos`].
        root (`str` or `os.PathLike`, *optional*): Folder of the annotations and videos of a benchmark.
        split (`str`, *optional*): A split of a benchmark; by default all that it has.
        strict (`bool`, *optional*, defaults to `False`): Whether a suspicious video is not ok.

    Returns:
        `dict`: The report, which JSON can hold:

        - **ok** (`bool`) -- Whether every video is ok.
        - **num_videos**, **num_ok** (`int`) -- Number of videos, and of those that are ok.
        - **codes** (`dict[str, int]`) -- Number of videos per code, the most frequent first.
        - **left_out** (`dict[str, int]`) -- Number of files in the folder that are not videos, per extension.
        - **tables** (`list[str]`) -- Tables in the folder that were left out, because they do not describe its
          videos or cannot be used.
        - **not_searched** (`list[str]`) -- Links that lead out of the folder, and folders that cannot be read.
        - **target** (`str`, *optional*) -- The folder, the file or the benchmark.
        - **settings**, **versions** (`dict`), **seconds** (`float`) -- Settings, libraries and duration of the check.
        - **videos** (`list[dict]`) -- The fields of each [`~data.doctor.VideoCheck`]. A table in the folder that
          cannot be used is one of them, with the code `"bad-table"`; all videos in it are then checked, as a whole.

    Raises:
        `ValueError`: If there is no video, or for invalid settings.
        `BenchmarkError`: If the benchmark is not in `root`, or the table that is the target cannot be used.
        `OSError`: If a folder cannot be read.

    Example:

    ```python
    >>> from drl_tvr.data import format_report, run_doctor

    >>> report = run_doctor("videos", num_workers=1)
    >>> report["ok"], report["codes"]
    (True, {'ok': 2})
    >>> print(format_report(report))
    code  video
    ok    videos/clip.mp4
          ...

    ```"""
    began = time.monotonic()
    scan, missing, faults = find_target(target, root, split)
    videos, left_out, not_searched = scan.paths, scan.left_out, scan.not_searched
    name = safe_name(os.fsdecode(target)) if isinstance(target, str | os.PathLike) else None
    if not (videos or missing or faults):
        others = ", ".join(f"{count} {label}" for label, count in left_out.items()) or "nothing else"
        unseen = f" Not searched: {', '.join(not_searched[:3])}." if not_searched else ""
        raise ValueError(f"{name or '`target`'}: found no video ({others}), expected at least one.{unseen}")
    settings = {
        "fps": fps,
        "max_frames": max_frames,
        "backend": usable_backend(backend),
        "allow_truncated": allow_truncated,
        "num_workers": usable_cores() if num_workers is None else num_workers,
        "time_limit": time_limit,
        "strict": strict,
    }
    checks = check_videos(videos, **settings)
    for video_id in missing:
        message = f"{video_id}: no file of the benchmark has this id, expected a video file [missing]"
        checks.append(VideoCheck(video_id, code="missing", message=message))
    for table, fault in faults.items():
        checks.append(VideoCheck(safe_name(table), code="bad-table", message=f"{fault} [bad-table]"))
    num_ok = sum(check.ok for check in checks)
    return {
        "report_version": REPORT_VERSION,
        "target": name,
        "ok": num_ok == len(checks),
        "num_videos": len(checks),
        "num_ok": num_ok,
        "codes": dict(Counter(check.code for check in checks).most_common()),
        "left_out": left_out,
        "tables": scan.tables,
        "not_searched": not_searched,
        "settings": settings,
        "versions": installed_versions(LIBRARIES),
        "seconds": time.monotonic() - began,
        # An empty cell of a table can be NaN, which JSON lacks.
        "videos": [
            {key: None if value != value else value for key, value in asdict(check).items()} for check in checks
        ],
    }


def format_report(report: dict, width: int | None = None) -> str:
    """Format a report for a terminal: the videos with what was found of each, and the totals.

    Of more than 100 videos only those with a problem are listed.

    Args:
        report (`dict`): From [`~data.doctor.run_doctor`].
        width (`int`, *optional*): The most characters per line; by default as many as the longest name needs.

    Returns:
        `str`: The text, without colours or control characters.
    """
    listed = [video for video in report["videos"] if len(report["videos"]) <= LONGEST_LIST or video["message"]]
    num_videos, num_ok = report["num_videos"], report["num_ok"]
    counts = ", ".join(f"{count} {code}" for code, count in report["codes"].items())
    totals = [f"{num_videos} videos, {num_videos - num_ok} with a problem: {counts}"]
    if len(listed) < num_videos:
        totals.append(f"The {num_videos - len(listed)} videos without a problem are not listed.")
    if report["left_out"]:
        left_out = ", ".join(f"{count} {printable(label)}" for label, count in report["left_out"].items())
        tables = f" ({first_three(report['tables'])})" if report.get("tables") else ""
        totals.append(f"Left out, because they are not videos: {left_out}{tables}")
    if report.get("not_searched"):
        totals.append(f"Not searched: {first_three(report['not_searched'])}")
    text = format_sentences(totals, width)
    if not listed:
        return text
    rows = [(video["code"], "\n".join([printable(video["path"]), *describe_check(video)])) for video in listed]
    return f"{format_table(('code', 'video'), rows, 'll', width)}\n\n{text}"


def first_three(names: list[str]) -> str:
    """Return the first three names, and the number of the others."""
    return ", ".join(map(printable, names[:3])) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def describe_check(video: dict) -> list[str]:
    """Return the lines below the path of a video: its figures where it decodes, and what is wrong with it."""
    lines = []
    if video["width"] is not None:  # all figures of a video come together
        size, codec = f"{video['width']}x{video['height']}", video["codec"] or "unknown codec"
        decoded = f"{video['num_decoded']} frames by {video['backend']}"
        lines.append(f"{video['duration']:.2f} s, {video['fps']:.2f} fps, {size}, {codec}; {decoded}")
    if video["message"]:
        message = video["message"].removeprefix(f"{video['path']}: ").removesuffix(f" [{video['code']}]")
        lines.append(printable(message))
    return lines


__all__ = ["VideoCheck", "check_video", "check_videos", "format_report", "run_doctor"]
