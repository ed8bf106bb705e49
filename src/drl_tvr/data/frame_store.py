"""Decode every video once into files of sampled, resized and cropped frames, which are read by memory map.

A store is a folder with one safetensors file per video and interval. The file's name is a hash of everything that
determined its pixels, and the file gets that name only when it is whole. So the folder is its own index, and writers
need nothing from each other but a lock on the file that they write. `Dataset.map` would keep one key and one file for
a whole table: after one changed video or an interrupt, it would decode all of them again.
"""

import contextlib
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import torch
from datasets import Dataset
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from tqdm.auto import tqdm
from transformers import BaseVideoProcessor
from transformers.utils import logging

from ..files import TEMPORARY_PREFIX, usable_cores, write_whole
from .frame_keys import describe_source, pixel_settings, stored_file, to_json
from .worker_pool import WorkerFailure, map_in_processes


logger = logging.get_logger(__name__)

LOCK_FOLDER = "locks"  # holds a lock for each file that is being written
TIME_LIMIT = 1800  # seconds to decode one video, and to wait for another process that decodes it
# As the workers of a `DataLoader`: a process that starts anew would first import torch and transformers.
START_METHOD = "fork" if sys.platform == "linux" else "forkserver"


class FrameStoreError(OSError):
    """Error of a frame store that cannot be written or read; the message names the file and what to do."""


class StoredFrames(Sequence):
    """Decoded frames of a table of videos, in its order. Only names of files are kept; frames are mapped when read.

    Args:
        files (`Sequence[Path]`): The file of the store for each video.
    """

    def __init__(self, files: Sequence[Path]):
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> torch.Tensor:
        """Map the frames of one video.

        Args:
            index (`int`): Row of the table.

        Returns:
            `torch.Tensor` of shape `(num_frames, 3, height, width)`: uint8 pixels on the memory map. Changes to them
            stay in this process.

        Raises:
            `FrameStoreError`: When the file is gone or not whole.
        """
        file = self.files[index]
        try:
            with safe_open(file, framework="pt") as stored:
                return stored.get_tensor("frames")
        except (OSError, SafetensorError) as error:
            raise FrameStoreError(
                f"{file}: found no whole file ({error}), expected stored frames. Run the same command again: it "
                "decodes this video again."
            ) from error


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
    if video_processor.allow_truncated:
        warn_of_truncated(files, sources)
    return StoredFrames(files)


def default_num_processes() -> int:
    """Return this process's share of the usable cores among the processes that a launcher started on this machine."""
    return max(1, usable_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", 1)))


def is_whole(file: Path, warn: bool = False) -> bool:
    """Return whether a stored file is there and as long as its header says; its pixels are not read."""
    try:
        with safe_open(file, framework="pt"):
            return True
    except FileNotFoundError:
        return False
    except SafetensorError as error:
        if warn:
            logger.warning(f"{file}: found no whole file ({error}); it is decoded again.")
        return False


def warn_of_truncated(files: Sequence[Path], sources: Sequence[dict]) -> None:
    """Warn of the videos of which only a part could be read, each time that they are used."""
    parts = {}
    for file, source in zip(files, sources, strict=True):
        with safe_open(file, framework="pt") as stored:
            reason = (stored.metadata() or {}).get("truncation")
        if reason:
            parts[source["path"]] = reason
    if parts:
        listed = "; ".join(f"{path}: {reason}" for path, reason in list(parts.items())[:10])
        logger.warning(f"Of {len(parts)} of {len(set(files))} videos only the readable part is used: {listed}")


def decode_missing(
    sources: dict[Path, dict], total: int, video_processor: BaseVideoProcessor, num_processes: int
) -> None:
    """Decode videos into their files, first those that no other process is decoding."""
    failure = None
    with tqdm(total=total, initial=total - len(sources), desc="Decoding videos", unit="video") as progress:
        for lock_timeout in (0, TIME_LIMIT):
            decode = partial(decode_in_worker, video_processor=video_processor, lock_timeout=lock_timeout)
            items = list(sources.items())
            results = map_in_processes(decode, items, num_processes, lock_timeout + TIME_LIMIT, START_METHOD)
            sources = {}
            with contextlib.closing(results):
                for (file, source), outcome in zip(items, in_order(results), strict=True):
                    if isinstance(outcome, Timeout) and lock_timeout == 0:
                        sources[file] = source
                    elif outcome is not None:
                        # A video that is left for the second round comes first in the table, so its error counts.
                        failure = as_error(outcome, source)
                        break
                    else:
                        progress.update()
    if failure is not None:
        raise failure


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
    item: tuple[Path, dict], video_processor: BaseVideoProcessor, lock_timeout: float
) -> Exception | None:
    """Decode a video into its file, unless another process has just done so.

    Args:
        item (`tuple[Path, dict]`): From `stored_file` and `describe_source`.
        video_processor ([`DRLVideoProcessor`]): Samples, resizes and crops.
        lock_timeout (`float`): Seconds to wait for another process that is decoding the same video.

    Returns:
        `Exception` or `None`: The error, which keeps its type on the way to the main process; `Timeout` when another
        process is still decoding.
    """
    torch.set_num_threads(1)  # the processes share the cores
    file, source = item
    try:
        with FileLock(lock_file(file)).acquire(timeout=lock_timeout):
            try:
                if not is_whole(file):
                    decode_to_file(file, source, video_processor)
            finally:
                clear(file)
    except (ValueError, OSError) as error:
        return error
    return None


def decode_to_file(file: Path, source: dict, video_processor: BaseVideoProcessor) -> None:
    """Decode one video into its file.

    Raises:
        `VideoDecodeError`: When it cannot be decoded.
        `FrameStoreError`: When the file cannot be written, or the video changed since it was described.
    """
    path, start, end = source["path"], source["start"], source["end"]
    inputs = video_processor([path], start=start, end=end, do_rescale=False, do_normalize=False, return_metadata=True)
    found = os.stat(path)
    if (found.st_size, found.st_mtime_ns) != (source["size"], source["mtime_ns"]):
        raise FrameStoreError(f"{path}: found that it changed during this run, expected no change. Run again.")
    save_frames(file, source, inputs["pixel_values_videos"][0], inputs["video_metadata"][0].truncation)


def save_frames(file: Path, source: dict, pixels: torch.Tensor, truncation: str | None = None) -> None:
    """Write a file of frames, which appears under its name only when it is whole and on the disk.

    Args:
        file (`Path`): From `stored_file`.
        source (`dict`): From `describe_source`; it is noted in the file.
        pixels (`torch.Tensor` of shape `(num_frames, 3, height, width)`): uint8.
        truncation (`str`, *optional*): Why they are only those of the readable part; it is noted too.

    Raises:
        `FrameStoreError`: When it cannot be written.
    """
    notes = {"clip": to_json(source)} | ({"truncation": truncation} if truncation else {})
    content = save({"frames": pixels.contiguous()}, metadata=notes)
    store = file.parent.parent
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, content)
    except OSError as error:
        raise FrameStoreError(
            f"{store}: cannot write the {len(content) / 1e6:.1f} MB of {source['path']} ({error.strerror}); found "
            f"{shutil.disk_usage(store).free / 1e6:,.1f} MB free there. Finished videos are kept; make room, or "
            "choose another folder, and run again."
        ) from error


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


__all__ = ["FrameStoreError", "StoredFrames", "load_frames"]
