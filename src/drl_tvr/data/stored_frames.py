"""Write, check and map the files of a frame store: sampled, resized and cropped frames of one clip each."""

import json
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from transformers.utils import logging

from ..files import free_space, write_whole
from .frame_keys import stored_file, to_json


logger = logging.get_logger(__name__)

# Type and shape, checksum, why only a part of the video is there, and what is odd about it.
STORE_NOTES = ("frames", "crc32", "truncation", "suspicion")


class FrameStoreError(OSError):
    """Error of a frame store that cannot be written or read; the message names the file and what to do."""


class StoredFrames(Sequence):
    """Decoded frames of a table of videos, in its order. Only names of files are kept; frames are mapped when read.

    Args:
        files (`Sequence[Path]`): The file of the store for each video.
    """

    def __init__(self, files: Sequence[Path]):
        self.files = files
        self.verified: set[Path] = set()

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> torch.Tensor:
        """Map the frames of one video, and compare them with their checksum the first time.

        Args:
            index (`int`): Row of the table.

        Returns:
            `torch.Tensor` of shape `(num_frames, 3, height, width)`: uint8 pixels on the memory map. Changes to them
            stay in this process.

        Raises:
            `FrameStoreError`: When the file is gone, not whole or changed.
        """
        file = self.files[index]
        with open_stored(file) as stored:
            defect = None if file in self.verified else find_defect(stored, file)
            if defect is None:
                frames = stored.get_tensor("frames")
                if file not in self.verified and checksum(frames) != read_notes(stored)["crc32"]:
                    defect = "pixels that do not fit their checksum"
        if defect:
            raise FrameStoreError(
                f"{file}: found {defect}, expected frames as they were stored. Delete this file and run the same "
                "command again: it decodes this video again."
            )
        self.verified.add(file)
        return frames

    def num_frames(self, index: int) -> int:
        """Read the number of frames of one video, without its pixels.

        Args:
            index (`int`): Row of the table.

        Returns:
            `int`: The number.

        Raises:
            `FrameStoreError`: When the file is gone or not whole.
        """
        with open_stored(self.files[index]) as stored:
            return stored.get_slice("frames").get_shape()[0]


@contextmanager
def open_stored(file: Path) -> Iterator[safe_open]:
    """Open a stored file.

    Raises:
        `FrameStoreError`: When it is gone or not whole.
    """
    try:
        with safe_open(file, framework="pt") as stored:
            yield stored
    except (OSError, SafetensorError) as error:
        raise FrameStoreError(
            f"{file}: found no whole file ({error}), expected stored frames. Run the same command again: it "
            "decodes this video again."
        ) from error


def is_whole(file: Path, warn: bool = False) -> bool:
    """Return whether a stored file is there and holds what its header says; its pixels are not read."""
    try:
        with safe_open(file, framework="pt") as stored:
            defect = find_defect(stored, file)
    except FileNotFoundError:
        return False
    except SafetensorError as error:
        defect = f"no whole file ({error})"
    if defect and warn:
        logger.warning(f"{file}: found {defect}; it is decoded again.")
    return not defect


def find_defect(stored: safe_open, file: Path) -> str | None:
    """Return what is wrong with the header of a stored file, whose name is the hash of the source in its notes."""
    if "frames" not in stored.keys():  # noqa: SIM118
        return "no frames"
    frames = stored.get_slice("frames")
    found = [frames.get_dtype(), *frames.get_shape()]
    try:
        source = read_notes(stored)
        expected, *_ = (source.pop(key) for key in STORE_NOTES)
    except (ValueError, TypeError, KeyError, AttributeError):
        return "frames without the notes of a store"
    if stored_file(file.parent.parent, source) != file:
        return f"frames of another clip or other settings ({source.get('path')})"
    return None if found == expected else f"frames of {found} instead of {expected}"


def read_notes(stored: safe_open) -> dict:
    """Return the notes of a stored file: its source, and what `save_frames` adds."""
    notes = json.loads((stored.metadata() or {}).get("clip", "null"))
    return {"suspicion": None, **notes}  # which older files lack


def checksum(frames: torch.Tensor) -> str:
    """Return a checksum that finds damage on a disk."""
    return f"{zlib.crc32(frames.numpy()):08x}"


def save_frames(
    file: Path, source: dict, pixels: torch.Tensor, truncation: str | None = None, suspicion: str | None = None
) -> None:
    """Write a file of frames, which appears under its name only when it is whole and on the disk.

    Args:
        file (`Path`): From `stored_file`.
        source (`dict`): From `describe_source`; it is noted in the file.
        pixels (`torch.Tensor` of shape `(num_frames, 3, height, width)`): uint8.
        truncation (`str`, *optional*): Why they are only those of the readable part; it is noted too.
        suspicion (`str`, *optional*): What is odd about the video; it is noted too.

    Raises:
        `FrameStoreError`: When it cannot be written.
    """
    pixels = pixels.contiguous()
    notes = {**source, "frames": ["U8", *pixels.shape], "crc32": checksum(pixels)}
    notes |= {"truncation": truncation, "suspicion": suspicion}
    # The order of several notes would be another each time.
    content = save({"frames": pixels}, metadata={"clip": to_json(notes)})
    store = file.parent.parent
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, content)
    except OSError as error:
        raise FrameStoreError(
            f"{store}: cannot write the {len(content) / 1e6:.1f} MB of {source['path']} ({error.strerror}); found "
            f"{free_space(store)} free there. Finished videos are kept; make room, or "
            "choose another folder, and run again."
        ) from error


__all__ = ["FrameStoreError", "StoredFrames", "is_whole", "read_notes", "save_frames"]
