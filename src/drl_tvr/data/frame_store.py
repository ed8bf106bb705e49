"""Decodes every clip once: sampled, resized, cropped frames as uint8, in files that are read by memory map.

A store is a folder with one safetensors file for each clip. The file's name is a hash of all that made its pixels, and
it gets that name only when it is whole. So the folder is its own index, a clip is there or it isn't, and writers need
nothing from each other but a lock on the clip in hand. `Dataset.map` would keep one key and one file for a whole
table: one changed video, or an interrupt, and it decodes all of them again.
"""

import hashlib
import importlib.metadata
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import av
import datasets
import torch
from datasets import Dataset
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from tqdm.auto import tqdm
from transformers import BaseVideoProcessor
from transformers.utils import is_torchcodec_usable, logging

from ..model.video_decoding import VideoDecodeError, VideoNotFoundError


logger = logging.get_logger(__name__)

# To be raised when our own code takes other pixels from the same file with the same settings.
PIXELS_VERSION = 1
# Settings that are applied after decoding, or that change nothing in the stored pixels.
NOT_STORED = (
    "image_mean",
    "image_std",
    "rescale_factor",
    "do_rescale",
    "do_normalize",
    "return_metadata",
    "return_tensors",
    "device",
    "pad_to_max_frames",
    "video_processor_type",
    "processor_class",
    "auto_map",
)
INCOMPLETE = "incomplete"  # folder of the files that are being written
LOCK = ".lock"  # ends the name of a clip's lock, beside the file that is being written
HELD = "held"  # what becomes of a clip that another process has in hand
TIME_LIMIT = 1800  # seconds to wait for one clip of a decoding process


class FrameStoreError(OSError):
    """A frame store that can't be written or read; the message names the file, what was found and what to do."""


class StoredFrames(Sequence):
    """The decoded clips of a table, in its order. It holds names of files, and maps a clip's when it is asked for.

    Args:
        files (`Sequence[Path]`): A file of the store for each clip.
    """

    def __init__(self, files: Sequence[Path]):
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> torch.Tensor:
        """Frames of one clip.

        Args:
            index (`int`): Row of the table.

        Returns:
            `torch.Tensor` of shape `(num_frames, 3, height, width)`: uint8 pixels on the memory map. What is changed
            in them stays in this process.

        Raises:
            `FrameStoreError`: When the file is gone or not whole.
        """
        file = self.files[index]
        try:
            with safe_open(file, framework="pt") as clip:
                return clip.get_tensor("frames")
        except (OSError, SafetensorError) as error:
            raise FrameStoreError(
                f"{file}: found no whole clip ({error}). Run the same command again: it decodes what is not whole."
            ) from error


def decode_videos(
    videos: Dataset,
    video_processor: BaseVideoProcessor,
    cache_dir: str | os.PathLike | None = None,
    num_processes: int | None = None,
) -> StoredFrames:
    """Decode the videos that the store does not have yet, and read all of them.

    A clip is known by everything that changes its pixels: the processor's settings, the decoder and its version, and
    the file's path, size, time of change, start and end. A run that ends early, in whatever way, leaves its finished
    clips to the next. Several processes may call this at once for one store: each takes clips that no other has in
    hand, waits for the rest, and gets all clips, or the same error.

    Args:
        videos (`datasets.Dataset`): Columns `path`, `start` and `end` (seconds), as in [`RetrievalData`].
        video_processor ([`DRLVideoProcessor`]): Samples, resizes and crops.
        cache_dir (`str` or `os.PathLike`, *optional*): The store; by default a folder in the cache of `datasets`.
        num_processes (`int`, *optional*): Decoding processes; by default one a core that this process may use, or its
            share of them where a launcher started several on this machine.

    Returns:
        [`~data.frame_store.StoredFrames`]: One clip for each row of `videos`.

    Raises:
        `VideoNotFoundError`: When a file is missing, before anything is decoded.
        `VideoDecodeError`: For the first video of the table that can't be decoded.
        `FrameStoreError`: When a clip can't be written (a full disk, say), its file changes meanwhile, or a decoding
            process dies or hangs.

    Example:

    ```python
    >>> from drl_tvr import DRLVideoProcessor, load_benchmark
    >>> from drl_tvr.data.frame_store import decode_videos

    >>> data = load_benchmark("moving-shapes", split="test")  # doctest: +SKIP
    >>> frames = decode_videos(data.videos, DRLVideoProcessor())  # doctest: +SKIP
    >>> frames[0].shape, frames[0].dtype  # doctest: +SKIP
    (torch.Size([4, 3, 224, 224]), torch.uint8)
    ```
    """
    folder = Path(cache_dir) if cache_dir else Path(datasets.config.HF_DATASETS_CACHE) / "drl_tvr" / "frames"
    settings = pixel_settings(video_processor)
    rows = zip(videos["path"][:], videos["start"][:], videos["end"][:], strict=True)
    clips = [describe_clip(settings, *row) for row in rows]
    files = [clip_file(folder, clip) for clip in clips]
    whole = {file: _is_whole(file) for file in files}
    if not all(whole.values()):
        (folder / INCOMPLETE).mkdir(parents=True, exist_ok=True)
        _clear_leftovers(folder / INCOMPLETE)
        missing = {file: clip for file, clip in zip(files, clips, strict=True) if not whole[file]}
        _decode(missing, len(set(files)), video_processor, num_processes or _num_cores())
        _clear_leftovers(folder / INCOMPLETE)  # a killed run's workers may have outlived it for a moment
    if video_processor.allow_truncated:
        _say_truncated(files, clips)
    return StoredFrames(files)


def _is_whole(file: Path, say: bool = False) -> bool:
    """Whether a stored clip is there and as long as its header says, which takes no look at its pixels."""
    try:
        with safe_open(file, framework="pt"):
            return True
    except FileNotFoundError:
        return False
    except SafetensorError as error:
        if say:
            logger.warning(f"{file}: found no whole clip ({error}); it is decoded again.")
        return False


def _say_truncated(files: Sequence[Path], clips: Sequence[dict]) -> None:
    """Warn of the clips of which only a part could be read, each time that they are used."""
    parts = {}
    for file, clip in zip(files, clips, strict=True):
        with safe_open(file, framework="pt") as stored:
            reason = (stored.metadata() or {}).get("truncation")
        if reason:
            parts[clip["path"]] = reason
    if parts:
        listed = "; ".join(f"{path}: {reason}" for path, reason in list(parts.items())[:10])
        logger.warning(f"Of {len(parts)} of {len(set(files))} clips only the readable part is used: {listed}")


def pixel_settings(video_processor: BaseVideoProcessor) -> dict:
    """All that changes the pixels of any video: the processor's settings and the libraries that make them."""
    settings = {key: value for key, value in video_processor.to_dict().items() if key not in NOT_STORED}
    settings["fps"] = _seconds(settings.get("fps"))
    libraries = {"av": av.__version__, "ffmpeg": av.ffmpeg_version_info}
    for name in ("torchvision", *(["torchcodec"] if is_torchcodec_usable(decode="video") else [])):
        libraries[name] = importlib.metadata.version(name)
    name = type(video_processor).__qualname__
    return {"version": PIXELS_VERSION, "processor": name, "settings": settings, "libraries": libraries}


def describe_clip(settings: dict, path: str, start: float | None = None, end: float | None = None) -> dict:
    """All that changes the pixels of one clip.

    Args:
        settings (`dict`): From [`~data.frame_store.pixel_settings`].
        path (`str`): The video file.
        start, end (`float`, *optional*): The part of it to take, in seconds.

    Returns:
        `dict`: The settings, and the file's path, size in bytes, time of change in nanoseconds, start and end.

    Raises:
        `VideoNotFoundError`: When there is no such file.
    """
    source = os.path.abspath(path)
    try:
        found = os.stat(source)
    except FileNotFoundError as error:
        message = f"{path}: no such file (looked at {source}), expected a video file [missing]"
        raise VideoNotFoundError(message, path, "missing") from error
    size, changed = found.st_size, found.st_mtime_ns
    times = {"start": _seconds(start), "end": _seconds(end)}
    return {**settings, "path": source, "size": size, "mtime_ns": changed, **times}


def clip_file(folder: Path, clip: dict) -> Path:
    """The file of a store for a clip from [`~data.frame_store.describe_clip`]."""
    key = hashlib.sha256(_to_json(clip).encode()).hexdigest()[:40]
    return folder / key[:2] / f"{key}.safetensors"


class _Decoding(TorchDataset):
    """Decodes and writes the clip at an index; in a worker of a `DataLoader`, which leaves it one thread."""

    def __init__(self, clips: dict[Path, dict], video_processor: BaseVideoProcessor):
        self.files, self.clips = list(clips), list(clips.values())
        self.video_processor = video_processor

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> VideoDecodeError | OSError | str | None:
        try:
            self.decode(index, timeout=0)
        except Timeout:
            return HELD
        except (VideoDecodeError, OSError) as error:
            return error  # raised here, it would reach the caller without its path and code
        return None

    def decode(self, index: int, timeout: float) -> None:
        """Decode a clip, unless another process has just done so; `Timeout` when one still has it in hand."""
        file = self.files[index]
        folder = file.parent.parent / INCOMPLETE
        with FileLock(folder / f"{file.stem}{LOCK}").acquire(timeout=timeout):
            try:
                if not _is_whole(file, say=True):
                    write_clip(file, self.clips[index], self.video_processor)
            finally:
                _clear(folder, file.stem)


def write_clip(file: Path, clip: dict, video_processor: BaseVideoProcessor) -> None:
    """Decode one clip into its file.

    Args:
        file (`Path`): From [`~data.frame_store.clip_file`].
        clip (`dict`): From [`~data.frame_store.describe_clip`].
        video_processor ([`DRLVideoProcessor`]): Samples, resizes and crops.

    Raises:
        `VideoDecodeError`: When it can't be decoded.
        `FrameStoreError`: When it can't be written, or the video changed since it was described.
    """
    path, start, end = clip["path"], clip["start"], clip["end"]
    inputs = video_processor([path], start=start, end=end, do_rescale=False, do_normalize=False, return_metadata=True)
    found = os.stat(path)
    if (found.st_size, found.st_mtime_ns) != (clip["size"], clip["mtime_ns"]):
        raise FrameStoreError(f"{path}: found that it changed since this run began; run again.")
    save_clip(file, clip, inputs["pixel_values_videos"][0], inputs["video_metadata"][0].truncation)


def save_clip(file: Path, clip: dict, pixels: torch.Tensor, truncation: str | None = None) -> None:
    """Write a clip's file, which appears under its name only when it is whole and on disk.

    Args:
        file (`Path`): From [`~data.frame_store.clip_file`].
        clip (`dict`): From [`~data.frame_store.describe_clip`]; it is noted in the file.
        pixels (`torch.Tensor` of shape `(num_frames, 3, height, width)`): uint8.
        truncation (`str`, *optional*): Why they are of the readable part alone; it is noted too.

    Raises:
        `FrameStoreError`: When it can't be written.
    """
    notes = {"clip": _to_json(clip)} | ({"truncation": truncation} if truncation else {})
    content = save({"frames": pixels.contiguous()}, metadata=notes)
    store = file.parent.parent
    temporary = None
    try:
        (store / INCOMPLETE).mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=store / INCOMPLETE, prefix=f"{file.stem}-")
        with os.fdopen(handle, "wb") as target:
            target.write(content)
            target.flush()
            os.fsync(target.fileno())
        os.chmod(temporary, 0o644)  # mkstemp's files are for their owner alone
        file.parent.mkdir(exist_ok=True)
        os.replace(temporary, file)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise FrameStoreError(
            f"{store}: can't write the {len(content) / 1e6:.1f} MB of {clip['path']} ({error.strerror}); "
            f"{shutil.disk_usage(store).free / 1e6:,.1f} MB are free there. The clips so far are kept; make room, or "
            "choose another folder, and run again."
        ) from error


def _decode(clips: dict[Path, dict], total: int, video_processor: BaseVideoProcessor, num_processes: int) -> None:
    num_workers = min(num_processes, len(clips)) if num_processes > 1 else 0
    work = _Decoding(clips, video_processor)
    # The generator of its own keeps the caller's random numbers independent of what is in the store. Results come in
    # the table's order, so that the error does not depend on the number of processes.
    loader = DataLoader(
        work,
        batch_size=None,
        num_workers=num_workers,
        timeout=TIME_LIMIT if num_workers else 0,
        generator=torch.Generator(),
    )
    done = total - len(clips)
    held, failure = [], None
    with tqdm(total=total, initial=done, desc="Decoding videos", unit="clip", disable=not clips) as progress:
        for index, outcome in enumerate(_or_which_clip(loader, work)):
            if outcome == HELD:
                held.append(index)
            elif outcome is not None:
                failure = outcome
                break
            else:
                progress.update()
        # Where the other process failed, this one does too, with the same error: that of the first of the table.
        for index in held:
            try:
                work.decode(index, TIME_LIMIT)
            except Timeout as error:
                raise FrameStoreError(
                    f"{work.clips[index]['path']}: another process has had it in hand for {TIME_LIMIT} s."
                ) from error
            progress.update()
    if failure is not None:
        raise failure


def _or_which_clip(loader: DataLoader, work: _Decoding) -> Iterator[OSError | VideoDecodeError | str | None]:
    """The results of `loader`; if a worker dies or hangs, an error that says at which file that may be."""
    try:
        yield from loader
    except RuntimeError as error:
        if not loader.num_workers:
            raise
        missing = [clip["path"] for file, clip in zip(work.files, work.clips, strict=True) if not file.exists()]
        in_hand = missing[: loader.num_workers * loader.prefetch_factor]
        raise FrameStoreError(
            f"A decoding process failed; the clips so far are kept. It had one of {', '.join(in_hand)}: {error}"
        ) from error


def _clear(folder: Path, key: str) -> None:
    """Delete what was begun of a clip, and its lock, which is held: whoever waits for it makes a new one."""
    for leftover in folder.glob(f"{key}*"):
        leftover.unlink(missing_ok=True)


def _clear_leftovers(folder: Path) -> None:
    """Delete what killed runs left: a file of which no process holds the lock."""
    for key in {file.name.split("-")[0].removesuffix(LOCK) for file in folder.iterdir()}:
        try:
            with FileLock(folder / f"{key}{LOCK}").acquire(timeout=0):
                _clear(folder, key)
        except Timeout:
            continue  # it is being written


def _num_cores() -> int:
    """Those that a container or a scheduler leaves to this process, where the system tells, or its share of them."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", 1)))


def _seconds(value: float | None) -> float | None:
    """1 and 1.0 are one rate, and one time."""
    return None if value is None else float(value)


def _to_json(value: dict) -> str:
    return json.dumps(value, sort_keys=True, default=str)


__all__ = ["FrameStoreError", "StoredFrames", "decode_videos"]
