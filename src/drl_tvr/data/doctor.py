"""Decodes what training would decode of many videos, and says of each whether it can, or what is wrong with it."""

import contextlib
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib import metadata

import torch
from tqdm.auto import tqdm

from ..model.video_decoding import VideoDecodeError, decode_video, sample_indices, usable_backend
from .folder import find_videos
from .worker_pool import WorkerFailure, map_in_processes


REPORT_VERSION = 1
MAX_ROWS = 100  # of videos without a problem in the terminal
FAILURE_CODES = {"timeout": "timeout", "crashed": "decoder-crashed"}
LIBRARIES = ("av", "torchcodec", "torch", "transformers", "drl-tvr")
Video = str | os.PathLike | tuple[str | os.PathLike, float | None, float | None]


@dataclass(frozen=True)
class VideoCheck:
    """What the doctor found of one video. What it did not come to see is `None`.

    Args:
        path (`str`): As it was given.
        start (`float`, *optional*): Where the range to decode begins, in seconds.
        end (`float`, *optional*): Where it stops, in seconds.
        ok (`bool`): Whether training can use the video.
        code (`str`): `"ok"`, or one of the codes of [`VideoDecodeError`]. A video that is `ok` has the code
            `"truncated"` if only its readable part was taken, as `allow_truncated` asks.
        message (`str`): What was found and what was expected; empty for `"ok"`.
        duration (`float`, *optional*): Of the video or its readable part, in seconds.
        fps (`float`, *optional*): Its average rate, in frames per second.
        width (`int`, *optional*): Of an upright frame, in pixels.
        height (`int`, *optional*): Of an upright frame, in pixels.
        codec (`str`, *optional*): FFmpeg's name of the codec.
        num_frames (`int`, *optional*): Frames that the video, or its readable part, holds.
        num_decoded (`int`): Frames that were sampled and decoded: what training would get.
        backend (`str`, *optional*): The decoder that made them.
        seconds (`float`): Time that the check took.
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
) -> VideoCheck:
    """Decode one video in this process, as [`DRLVideoProcessor`] would.

    Args:
        video (`str`, `os.PathLike` or `tuple`): A path, or a path with start and end in seconds.
        fps (`float`, *optional*, defaults to 1.0): Frames to take per second; `None` for all.
        max_frames (`int`, *optional*, defaults to 12): The most frames to take; `None` for no limit.
        backend (`str`, *optional*): `"pyav"` or `"torchcodec"`. By default torchcodec where it is usable.
        allow_truncated (`bool`, *optional*, defaults to `False`): Take the readable part of a file that ends early.

    Returns:
        [`~data.doctor.VideoCheck`]: Also of a video that doesn't decode.

    Example:

    ```python
    >>> from drl_tvr.data.doctor import check_video

    >>> check = check_video("no_such_file.mp4")
    >>> check.ok, check.code
    (False, 'missing')

    ```"""
    check = empty_check(video)
    began = time.monotonic()
    try:
        frames, found = decode_video(check.path, fps, max_frames, check.start, check.end, backend, allow_truncated)
    except VideoDecodeError as error:
        return replace(check, code=error.code, message=str(error), seconds=time.monotonic() - began)
    return replace(
        check,
        ok=True,
        code="ok" if found.truncation is None else "truncated",
        message="" if found.truncation is None else f"only the readable part is used: {found.truncation}",
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
    """The check of a video before anything is known of it."""
    path, start, end = video if isinstance(video, tuple) else (video, None, None)
    return VideoCheck(os.fsdecode(path), start, end)


def check_in_worker(video: Video, check_fn: Callable[[Video], VideoCheck]) -> VideoCheck:
    """Run a check where the processes, not threads, share the cores."""
    torch.set_num_threads(1)
    return check_fn(video)


def check_videos(
    videos: Iterable[Video],
    fps: float | None = 1.0,
    max_frames: int | None = 12,
    backend: str | None = None,
    allow_truncated: bool = False,
    num_workers: int | None = None,
    time_limit: float = 300.0,
    check_fn: Callable[..., VideoCheck] = check_video,
) -> list[VideoCheck]:
    """Decode many videos in processes, with a progress bar.

    Each is decoded by the sampler and the decoder of [`DRLVideoProcessor`], so that the doctor finds what training
    would find, and misses what training would not see either (see [`~model.video_decoding.read_video`]).

    A video that takes more than `time_limit`, or crashes the decoder, costs one process, which is replaced.

    Args:
        videos (`Iterable`): Paths, or paths with start and end in seconds.
        fps (`float`, *optional*, defaults to 1.0): Frames to take per second; `None` for all.
        max_frames (`int`, *optional*, defaults to 12): The most frames to take (64 for ActivityNet and DiDeMo).
        backend (`str`, *optional*): `"pyav"` or `"torchcodec"`. By default torchcodec where it is usable.
        allow_truncated (`bool`, *optional*, defaults to `False`): Take the readable part of a file that ends early.
        num_workers (`int`, *optional*): Processes; by default one for each core that this process may use.
        time_limit (`float`, *optional*, defaults to 300.0): Seconds for a video.
        check_fn (`Callable`, *optional*): Checks one video; by default [`~data.doctor.check_video`].

    Returns:
        `list[VideoCheck]`: One for each video, in order.

    Raises:
        `ValueError`: For settings that no video could meet.
        `ImportError`: If `backend="torchcodec"` and it is not usable.
        `RuntimeError`: If the processes cannot start.

    Example:

    ```python
    >>> from drl_tvr.data import check_videos

    >>> checks = check_videos(["a.mp4", ("b.mp4", 10.0, 20.0)], num_workers=2)  # doctest: +SKIP
    >>> [check.code for check in checks]  # doctest: +SKIP
    ['ok', 'truncated']
    ```"""
    videos = list(videos)
    usable_backend(backend)
    sample_indices(1, 1.0, fps, max_frames)
    if not time_limit > 0:
        raise ValueError(f"`time_limit` must be above 0 seconds, found {time_limit}.")
    num_workers = default_num_workers() if num_workers is None else num_workers
    if num_workers < 1:
        raise ValueError(f"`num_workers` must be at least 1, found {num_workers}.")
    decode = partial(check_fn, fps=fps, max_frames=max_frames, backend=backend, allow_truncated=allow_truncated)
    function = partial(check_in_worker, check_fn=decode)
    checks: list[VideoCheck | None] = [None] * len(videos)
    num_problems = 0
    results = map_in_processes(function, videos, num_workers, time_limit)
    with contextlib.closing(results), tqdm(total=len(videos), desc="Checking videos", unit="video") as bar:
        for place, result in results:
            if isinstance(result, WorkerFailure):
                check, code = empty_check(videos[place]), FAILURE_CODES[result.code]
                message = f"{check.path}: {result.message}, expected a video that decodes [{code}]"
                result = replace(check, code=code, message=message, seconds=result.seconds)
            checks[place] = result
            num_problems += not result.ok
            bar.set_postfix(problems=num_problems, refresh=False)
            bar.update()
    return checks


def default_num_workers() -> int:
    # A container or a batch system may leave this process fewer cores than the machine has.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_doctor(
    target: str | os.PathLike | Iterable[Video],
    fps: float | None = 1.0,
    max_frames: int | None = 12,
    backend: str | None = None,
    allow_truncated: bool = False,
    num_workers: int | None = None,
    time_limit: float = 300.0,
    missing: Iterable[str] = (),
) -> dict:
    """Check all videos of a folder or a benchmark, and report.

    Args:
        target (`str`, `os.PathLike` or `Iterable`): A folder, a file, or what [`~data.doctor.check_videos`] takes:
            `zip(videos["path"], videos["start"], videos["end"])` of a benchmark's `videos`.
        fps, max_frames, backend, allow_truncated, num_workers, time_limit: As of [`~data.doctor.check_videos`].
        missing (`Iterable[str]`, *optional*): Ids of a benchmark's videos without a file; each is reported so.

    Returns:
        `dict`: The report, all of which JSON can hold:

        - **ok** (`bool`) -- Whether every video is.
        - **num_videos**, **num_ok** (`int`) -- How many there are, and how many of them are ok.
        - **codes** (`dict[str, int]`) -- How many have each code, the most frequent first.
        - **left_out** (`dict[str, int]`) -- How many files of the folder are no videos, by their extension.
        - **not_searched** (`list[str]`) -- Links that lead out of the folder, and folders that may not be read.
        - **target** (`str`, *optional*) -- The folder or file.
        - **settings**, **versions** (`dict`), **seconds** (`float`) -- How it was checked, by what, and in which time.
        - **videos** (`list[dict]`) -- The fields of each [`~data.doctor.VideoCheck`].

    Raises:
        `ValueError`: If there is no video, or for settings that no video could meet.
        `OSError`: If a folder can't be read.

    Example:

    ```python
    >>> from drl_tvr.data import format_report, run_doctor

    >>> report = run_doctor("videos", num_workers=8)  # doctest: +SKIP
    >>> report["codes"]  # doctest: +SKIP
    {'ok': 998, 'truncated': 2}
    ```"""
    began = time.monotonic()
    name, left_out, not_searched = None, {}, []
    if isinstance(target, str | os.PathLike):
        name, videos = os.fsdecode(target), [target]
        if os.path.isdir(target):
            scan = find_videos(target)
            videos, left_out, not_searched = scan.paths, scan.left_out, scan.not_searched
    else:
        videos = list(target)
    if not videos:
        others = ", ".join(f"{count} {label}" for label, count in left_out.items()) or "nothing else"
        unseen = f" Not searched: {', '.join(not_searched[:3])}." if not_searched else ""
        raise ValueError(f"{name or 'target'}: found no video ({others}), expected at least one.{unseen}")
    settings = {
        "fps": fps,
        "max_frames": max_frames,
        "backend": usable_backend(backend),
        "allow_truncated": allow_truncated,
        "num_workers": default_num_workers() if num_workers is None else num_workers,
        "time_limit": time_limit,
    }
    checks = check_videos(videos, **settings)
    for video_id in missing:
        message = f"{video_id}: no file of the benchmark has this id, expected a video file [missing]"
        checks.append(VideoCheck(video_id, code="missing", message=message))
    num_ok = sum(check.ok for check in checks)
    return {
        "report_version": REPORT_VERSION,
        "target": name,
        "ok": num_ok == len(checks),
        "num_videos": len(checks),
        "num_ok": num_ok,
        "codes": dict(Counter(check.code for check in checks).most_common()),
        "left_out": left_out,
        "not_searched": not_searched,
        "settings": settings,
        "versions": {library: version_of(library) for library in LIBRARIES},
        "seconds": time.monotonic() - began,
        # A table's empty cell can be NaN, which JSON has not.
        "videos": [
            {key: None if value != value else value for key, value in asdict(check).items()} for check in checks
        ],
    }


def version_of(library: str) -> str | None:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return None


def format_report(report: dict) -> str:
    """A report as text for the terminal: a line for each video, what is wrong with it below, and the totals.

    Of more than 100 videos only those with a problem have a line.

    Args:
        report (`dict`): From [`~data.doctor.run_doctor`].

    Returns:
        `str`: The text, without colours or control characters.
    """
    listed = [video for video in report["videos"] if len(report["videos"]) <= MAX_ROWS or video["message"]]
    lines = [*table_lines(listed), ""] if listed else []
    num_videos, num_ok = report["num_videos"], report["num_ok"]
    counts = ", ".join(f"{count} {code}" for code, count in report["codes"].items())
    lines.append(f"{num_videos} videos, {num_videos - num_ok} with a problem: {counts}")
    if len(listed) < num_videos:
        lines.append(f"The {num_videos - len(listed)} videos without a problem have no line here.")
    if report["left_out"]:
        left_out = ", ".join(f"{count} {printable(label)}" for label, count in report["left_out"].items())
        lines.append(f"Left out, as no videos: {left_out}")
    if report.get("not_searched"):
        more = len(report["not_searched"]) - 3
        shown = ", ".join(map(printable, report["not_searched"][:3])) + (f" and {more} more" if more > 0 else "")
        lines.append(f"Not searched: {shown}")
    return "\n".join(lines)


def table_lines(videos: list[dict]) -> Iterator[str]:
    rows = [("code", "duration", "fps", "size", "codec", "frames", "decoder", "path")]
    messages = [""]
    for video in videos:
        seen = video["width"] is not None  # all of a video's figures come together
        rows.append(
            (
                video["code"],
                f"{video['duration']:.2f} s" if seen else "-",
                f"{video['fps']:.2f}" if seen else "-",
                f"{video['width']}x{video['height']}" if seen else "-",
                video["codec"] or "-",
                f"{video['num_decoded']}",
                video["backend"] or "-",
                printable(video["path"]),
            )
        )
        message = video["message"].removeprefix(f"{video['path']}: ").removesuffix(f" [{video['code']}]")
        messages.append(printable(message))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row, message in zip(rows, messages, strict=True):
        yield "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        if message:
            yield f"    {message}"


def printable(text: str) -> str:
    """A name may hold any character, a line break or a terminal's control sequence too."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)


__all__ = ["VideoCheck", "check_video", "check_videos", "format_report", "run_doctor"]
