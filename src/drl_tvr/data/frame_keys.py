"""Name stored frames by a hash of everything that changes their pixels."""

import hashlib
import importlib.metadata
import json
import os
from pathlib import Path

import av
from transformers import BaseVideoProcessor
from transformers.utils import is_torchcodec_usable

from ..model.frame_sampling import is_number
from ..model.video_errors import VideoNotFoundError


# Raise it when our own code takes other pixels from the same file with the same settings.
PIXELS_VERSION = 2
# Settings that are applied after decoding, or that do not change the stored pixels.
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


def pixel_settings(video_processor: BaseVideoProcessor) -> dict:
    """Return everything that changes the pixels of any video: the processor's settings and the libraries' versions."""
    settings = {key: value for key, value in video_processor.to_dict().items() if key not in NOT_STORED}
    settings["fps"] = as_float(settings.get("fps"))
    libraries = {"av": av.__version__, "ffmpeg": av.ffmpeg_version_info}
    for name in ("torchvision", *(["torchcodec"] if is_torchcodec_usable(decode="video") else [])):
        libraries[name] = importlib.metadata.version(name)
    name = type(video_processor).__qualname__
    return {"version": PIXELS_VERSION, "processor": name, "settings": settings, "libraries": libraries}


def describe_source(settings: dict, path: str, start: float | None = None, end: float | None = None) -> dict:
    """Return everything that changes the pixels of one row of a table.

    Args:
        settings (`dict`): From `pixel_settings`.
        path (`str`): The video file.
        start, end (`float`, *optional*): The part of it to take, in seconds.

    Returns:
        `dict`: The settings, and the file's path, size in bytes, time of change in nanoseconds, start and end.

    Raises:
        `VideoNotFoundError`: When there is no such file.
    """
    absolute = os.path.abspath(path)
    try:
        found = os.stat(absolute)
    except FileNotFoundError as error:
        message = f"{path}: no such file (looked at {absolute}), expected a video file [missing]"
        raise VideoNotFoundError(message, path, "missing") from error
    times = {"start": as_float(start), "end": as_float(end)}
    return {**settings, "path": absolute, "size": found.st_size, "mtime_ns": found.st_mtime_ns, **times}


def as_float(value: float | None) -> float | None:
    """Return a rate or time as a float, so that 1 and 1.0 have the same key; no number is changed to one."""
    return float(value) if is_number(value) else value


def stored_file(folder: Path, source: dict) -> Path:
    """Return the file of a store for a source from `describe_source`."""
    key = hashlib.sha256(to_json(source).encode()).hexdigest()[:40]
    return folder / key[:2] / f"{key}.safetensors"


def to_json(value: dict) -> str:
    """Format a mapping as JSON, the same for equal mappings."""
    return json.dumps(value, sort_keys=True, default=str)


__all__ = ["describe_source", "pixel_settings", "stored_file", "to_json"]
