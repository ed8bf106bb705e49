"""Write small real videos, whose pixels tell the index of each frame."""

import os
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
