"""Write small real videos, whose pixels tell the index of each frame."""

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np


GREY_START, GREY_STEP = 20, 5  # a video's frame i is grey of 20 + 5 i, so that pixels tell their index


def grey_frames(num_frames: int, height: int = 48, width: int = 64) -> np.ndarray:
    """Frames, (num_frames, height, width, 3), that are grey of a brightness that tells the index."""
    levels = GREY_START + GREY_STEP * np.arange(num_frames)
    return np.broadcast_to(levels[:, None, None, None], (num_frames, height, width, 3)).astype(np.uint8)


def read_indices(frames) -> list[int]:
    """The indices that frames of `grey_frames` (in any layout, one frame first) show."""
    means = np.asarray(frames, dtype=np.float64).reshape(len(frames), -1).mean(axis=1)
    return [round((mean - GREY_START) / GREY_STEP) for mean in means]


class WriteOnly:
    """A file that cannot seek, so that a muxer cannot go back to write the duration."""

    def __init__(self, file):
        self.file = file

    def write(self, data: bytes) -> int:
        return self.file.write(data)


@contextmanager
def scheduled_as_before() -> Iterator[None]:
    """Undoes what SVT-AV1 does when root calls it: the calling thread gets the highest real-time priority.

    All that it starts later would inherit it, and processes that wait for each other could starve each other for good.
    """
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameters)


def write_video(
    path: Path,
    frames: np.ndarray,
    fps: int | Fraction = 10,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    rotation: int | None = None,
    options: dict[str, str] | None = None,
    seekable: bool = True,
) -> Path:
    """Encodes `frames`, (num_frames, height, width, 3), as a real video file."""
    muxer = {".mkv": "matroska"}.get(path.suffix, path.suffix[1:])
    with open(path, "wb") as file, scheduled_as_before():
        target = file if seekable else WriteOnly(file)
        with av.open(target, "w", format=muxer, options=options or {}) as container:
            stream = container.add_stream(codec, rate=fps, options={"crf": "8"} if codec != "mpeg4" else {})
            stream.height, stream.width = frames.shape[1:3]
            stream.pix_fmt = pix_fmt
            if rotation is not None:
                stream.set_display_rotation(rotation)
            for frame in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
            container.mux(stream.encode())
    return path


def write_timed_video(path: Path, frames: np.ndarray, shown_at: list[int], codec: str = "libx264") -> Path:
    """Encodes `frames`, (num_frames, height, width, 3), as a video of a changing rate, each shown at a millisecond."""
    milliseconds = Fraction(1, 1000)
    with (
        open(path, "wb") as file,
        av.open(file, "w", format={".mkv": "matroska"}.get(path.suffix, path.suffix[1:])) as container,
    ):
        stream = container.add_stream(codec, rate=10)
        stream.height, stream.width, stream.pix_fmt, stream.time_base = *frames.shape[1:3], "yuv420p", milliseconds
        stream.codec_context.time_base = milliseconds
        for pixels, pts in zip(frames, shown_at, strict=True):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame.pts, frame.time_base = pts, milliseconds
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def numbered_frames(num_frames: int, height: int = 48, width: int = 128) -> np.ndarray:
    """Frames of drifting noise, (num_frames, height, width, 3), whose upper half spells the number in 8 bits."""
    noise = np.random.default_rng(0).integers(64, 192, (height, width, 3), dtype=np.uint8)
    frames = np.stack([np.roll(noise, (number, 2 * number), (0, 1)) for number in range(num_frames)])
    bits = np.arange(num_frames)[:, None] >> np.arange(8) & 1
    frames[:, : height // 2] = np.repeat(bits * 255, width // 8, axis=1)[:, None, :, None]
    return frames


def read_numbers(frames) -> list[int]:
    """The numbers that frames of `numbered_frames`, (num_frames, 3, height, width), show."""
    pixels = np.asarray(frames, dtype=np.float64)
    cells = pixels[:, :, : pixels.shape[2] // 2].mean((1, 2)).reshape(len(pixels), 8, -1)[:, :, 2:-2].mean(2)
    return ((cells > 128) << np.arange(8)).sum(1).tolist()


def write_gif(path: Path, width: int, height: int, num_frames: int = 1) -> Path:
    """Writes a GIF of some bytes whose frames are as large as one likes."""
    content = b"GIF89a" + struct.pack("<HH", width, height) + bytes([128, 0, 0, 0, 0, 0, 255, 255, 255])
    pause = bytes([0x21, 0xF9, 4, 4, 100, 0, 0, 0])
    image = b"," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + bytes([2, 2, 0x44, 1, 0])
    path.write_bytes(content + (pause + image) * num_frames + b";")
    return path
