"""Decode every video once into files of sampled, resized and cropped frames, which are read by memory map.

A store is a folder with one safetensors file per video and interval. The file's name is a hash of everything that
determined its pixels, and the file gets that name only when it is whole. So the folder is its own index, and writers
need nothing from each other but a lock on the file that they write. `Dataset.map` would keep one key and one file for
a whole table: after one changed video or an interrupt, it would decode all of them again.
"""

import contextlib
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import torch
from datasets import Dataset
from filelock import FileLock, Timeout
from safetensors import safe_open
from tqdm.auto import tqdm
from transformers import BaseVideoProcessor
from transformers.utils import logging

from ..files import TEMPORARY_PREFIX, usable_cores
from ..model.frame_sampling import is_number
from ..model.video_decoding import VideoDecodeError
from .frame_keys import describe_source, pixel_settings, stored_file
from .stored_frames import FrameStoreError, StoredFrames, is_whole, read_notes, save_frames
from .worker_pool import START_METHOD, WorkerFailure, map_in_processes


logger = logging.get_logger(__name__)

LOCK_FOLDER = "locks"  # holds a lock for each file that is being written
TIME_LIMIT = 1800  # seconds to decode clips of one video, and to wait for another process that decodes them
CLIPS_AT_ONCE = 32  # clips of one video that are decoded in one pass: with copies 0.2 GB, with 64 frames each 0.9 GB


def load_frames(
    videos: Dataset,
    video_processor: BaseVideoProcessor,
    cache_dir: str | os.PathLike | None = None,
    num_processes: int | None = None,
) -> StoredFrames:
    """Load the frames of videos from the store, after decoding those that it does not have yet.

    Frames are identified by everything that changes their pixels: the processor's settings, the decoder and its
    version, and the file's path, size, time of change, start and end. A run that ends early, in whatever way, leaves
    its finished files to the next run. Several processes may call this at once for one store: each decodes videos that
    no other process is decoding, waits for the rest, and gets all frames, or the same error.

    Args:
        videos (`datasets.Dataset`): Columns `path`, `start` and `end` (seconds), as in [`RetrievalData`].
        video_processor ([`DRLVideoProcessor`]): Samples, resizes and crops.
        cache_dir (`str` or `os.PathLike`, *optional*): The store; by default a folder in the cache of `datasets`.
        num_processes (`int`, *optional*): Decoding processes; by default one per core that this process may use. When
            a launcher started several processes on this machine, they share the cores.

    Returns:
        [`~data.frame_store.StoredFrames`]: The frames of each row of `videos`.

    Raises:
        `VideoNotFoundError`: When a file is missing, before anything is decoded.
        `VideoDecodeError`: For the first video of the table that cannot be decoded.
        `FrameStoreError`: When a file cannot be written (on a full disk, for example), when a video changes
            meanwhile, or when it crashes the decoder or takes more than half an hour.

    Example:

    ```python
    >>> from drl_tvr import DRLVideoProcessor, load_benchmark
    >>> from drl_tvr.data.frame_store import load_frames

    >>> data = load_benchmark("captions.csv")
    >>> frames = load_frames(data.videos, DRLVideoProcessor(), "frames")
    >>> frames[0].shape[1:], frames[0].dtype
    (torch.Size([3, 224, 224]), torch.uint8)
    ```
    """
    folder = Path(cache_dir) if cache_dir else Path(datasets.config.HF_DATASETS_CACHE) / "drl_tvr" / "frames"
    settings = pixel_settings(video_processor)
    rows = zip(videos["path"][:], videos["start"][:], videos["end"][:], strict=True)
    sources = [describe_source(settings, *row) for row in rows]
    files = [stored_file(folder, source) for source in sources]
    unique = dict(zip(files, sources, strict=True))
    missing = {file: source for file, source in unique.items() if not is_whole(file, warn=True)}
    if missing:
        (folder / LOCK_FOLDER).mkdir(parents=True, exist_ok=True)
        clear_leftovers(folder)
        try:
            decode_missing(missing, len(unique), video_processor, num_processes or default_num_processes())
        finally:
            clear_leftovers(folder)  # of processes that were stopped, or whose killed parent they outlived
    warn_of_findings(unique)
    return StoredFrames(files)


def default_num_processes() -> int:
    """Return this process's share of the usable cores among the processes that a launcher started on this machine."""
    return max(1, usable_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", 1)))


def warn_of_findings(sources: dict[Path, dict]) -> None:
    """Warn of the videos of which only a part could be read, and of those that are odd, each time that they are used.

    Args:
        sources (`dict[Path, dict]`): From `stored_file` and `describe_source`.
    """
    findings = {"truncation": {}, "suspicion": {}}
    for file, source in sources.items():
        with safe_open(file, framework="pt") as stored:
            notes = read_notes(stored)
        for kind, found in findings.items():
            if notes[kind]:
                found[source["path"]] = notes[kind]
    for kind, said in (("truncation", "only the readable part is used"), ("suspicion", "the file is suspicious")):
        if findings[kind]:
            listed = "; ".join(f"{path}: {reason}" for path, reason in list(findings[kind].items())[:10])
            logger.warning(f"Of {len(findings[kind])} of {len(sources)} videos {said}: {listed}")


def decode_missing(
    sources: dict[Path, dict], total: int, video_processor: BaseVideoProcessor, num_processes: int
) -> None:
    """Decode videos into their files, first those that no other process is decoding."""
    failure = None
    with tqdm(total=total, initial=total - len(sources), desc="Decoding videos", unit="video") as progress:
        # Who waits for a lock holds no other one, so that no two processes wait for each other.
        for lock_timeout, at_once in ((0, CLIPS_AT_ONCE), (TIME_LIMIT, 1)):
            decode = partial(decode_in_worker, video_processor=video_processor, lock_timeout=lock_timeout)
            groups = group_clips(sources, at_once)
            results = map_in_processes(decode, groups, num_processes, lock_timeout + TIME_LIMIT, START_METHOD)
            sources = {}
            with contextlib.closing(results):
                for clips, outcomes in zip(groups, in_order(results), strict=True):
                    if isinstance(outcomes, WorkerFailure):
                        outcomes = [outcomes] * len(clips)
                    errors = []
                    for (file, source), outcome in zip(clips.items(), outcomes, strict=True):
                        if isinstance(outcome, Timeout) and lock_timeout == 0:
                            sources[file] = source
                        elif outcome is not None:
                            errors.append(as_error(outcome, source))
                        else:
                            progress.update()
                    if errors:
                        # A video that is left for the second round comes first in the table, so its error counts.
                        failure = errors[0]
                        break
    if failure is not None:
        raise failure


def group_clips(sources: dict[Path, dict], at_once: int) -> list[dict[Path, dict]]:
    """Group clips of the same video, neighbours in time together.

    Args:
        sources (`dict[Path, dict]`): From `stored_file` and `describe_source`.
        at_once (`int`): Largest number of clips of a group.

    Returns:
        `list[dict[Path, dict]]`: The groups; videos stay in order, and so do the clips within a group.
    """
    videos = defaultdict(list)
    for file, source in sources.items():
        videos[source["path"]].append(file)
    groups = []
    for files in videos.values():
        starts = [sources[file]["start"] if is_number(sources[file]["start"]) else 0.0 for file in files]
        places = sorted(range(len(files)), key=starts.__getitem__)
        for first in range(0, len(files), at_once):
            groups.append({files[place]: sources[files[place]] for place in sorted(places[first : first + at_once])})
    return groups


def in_order(results: Iterable[tuple[int, Any]]) -> Iterator[Any]:
    """Yield the outcomes of `map_in_processes` in the order of the items.

    The first error is then that of the first such video of the table, whatever the number of processes.
    """
    waiting = {}
    place = 0
    for number, outcome in results:
        waiting[number] = outcome
        while place in waiting:
            yield waiting.pop(place)
            place += 1


def as_error(outcome: Exception | WorkerFailure, source: dict) -> Exception:
    """Return the error to raise for an outcome of `decode_in_worker` that is not `None`."""
    if isinstance(outcome, Timeout):
        found = f"another process has been decoding it for {TIME_LIMIT} s"
    elif isinstance(outcome, WorkerFailure):
        found = f"decoding failed: {outcome.message}"
    else:
        return outcome
    return FrameStoreError(
        f"{source['path']}: found that {found}, expected frames. Finished videos are kept; repair this one or leave "
        "it out, and run again."
    )


def decode_in_worker(
    clips: dict[Path, dict], video_processor: BaseVideoProcessor, lock_timeout: float
) -> list[Exception | None]:
    """Decode clips of one video into their files, except those that another process decodes or has just decoded.

    Args:
        clips (`dict[Path, dict]`): From `group_clips`.
        video_processor ([`DRLVideoProcessor`]): Samples, resizes and crops.
        lock_timeout (`float`): Seconds to wait for another process that is decoding the same clip.

    Returns:
        `list[Exception | None]`: For each clip the error, which keeps its type on the way to the main process;
        `Timeout` when another process is still decoding.
    """
    torch.set_num_threads(1)  # the processes share the cores
    outcomes: dict[Path, Exception] = {}
    try:
        with contextlib.ExitStack() as stack:
            missing = {}
            for file, source in clips.items():
                try:
                    stack.enter_context(FileLock(lock_file(file)).acquire(timeout=lock_timeout))
                except Timeout as error:
                    outcomes[file] = error
                    continue
                stack.callback(clear, file)
                if not is_whole(file):
                    missing[file] = source
            outcomes |= decode_clips(missing, video_processor)
    except OSError as error:
        return [error] * len(clips)
    return [outcomes.get(file) for file in clips]


def decode_clips(clips: dict[Path, dict], video_processor: BaseVideoProcessor) -> dict[Path, Exception]:
    """Decode clips of one video in one pass, or one by one up to the first clip that fails; return the errors."""
    try:
        decode_to_files(clips, video_processor)
    except VideoDecodeError as error:
        if len(clips) == 1:
            return dict.fromkeys(clips, error)
    except (ValueError, OSError) as error:
        return dict.fromkeys(clips, error)
    else:
        return {}
    for place, (file, source) in enumerate(clips.items()):
        errors = decode_clips({file: source}, video_processor)
        if errors:
            # The clips after it are not decoded: this error ends the run.
            return dict.fromkeys(list(clips)[place:], errors[file])
    return {}


def decode_to_files(clips: dict[Path, dict], video_processor: BaseVideoProcessor) -> None:
    """Decode clips of one video into their files.

    Raises:
        `VideoDecodeError`: When one cannot be decoded.
        `FrameStoreError`: When a file cannot be written, or the video changed since it was described.
    """
    if not clips:
        return
    sources = list(clips.values())
    paths, start, end = ([source[key] for source in sources] for key in ("path", "start", "end"))
    inputs = video_processor(paths, start=start, end=end, do_rescale=False, do_normalize=False, return_metadata=True)
    found = os.stat(paths[0])
    if any((found.st_size, found.st_mtime_ns) != (source["size"], source["mtime_ns"]) for source in sources):
        raise FrameStoreError(f"{paths[0]}: found that it changed during this run, expected no change. Run again.")
    for (file, source), pixels, metadata in zip(
        clips.items(), inputs["pixel_values_videos"], inputs["video_metadata"], strict=True
    ):
        save_frames(file, source, pixels, metadata.truncation, metadata.suspicion)


def lock_file(file: Path) -> Path:
    """Return the lock of a file of the store."""
    return file.parent.parent / LOCK_FOLDER / f"{file.stem}.lock"


def clear(file: Path) -> None:
    """Delete the temporary files of a file, and its lock, which this process holds; whoever waits makes a new one."""
    for leftover in [*file.parent.glob(f"{TEMPORARY_PREFIX}{file.stem}*"), lock_file(file)]:
        leftover.unlink(missing_ok=True)


def clear_leftovers(folder: Path) -> None:
    """Delete what killed runs left: temporary files and locks that no process holds."""
    for lock in list((folder / LOCK_FOLDER).glob("*.lock")):
        try:
            with FileLock(lock).acquire(timeout=0):
                clear(folder / lock.stem[:2] / f"{lock.stem}.safetensors")
        except Timeout:
            continue  # it is being written


__all__ = ["FrameStoreError", "StoredFrames", "load_frames", "save_frames"]
