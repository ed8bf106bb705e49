"""Collect the frames of a video one by one, each resized at once, so that large ones never lie in memory together."""

from collections.abc import Callable

import torch

from .video_errors import video_error


# 6.4 GB of uint8: 1035 frames of 1920 x 1080. A file of a thousand bytes can hold 64 frames of 8192 x 8192.
MAX_VIDEO_PIXELS = 2**31


class PixelBuffer:
    """Frames of a video in order, in one tensor that is made when the first one is there.

    Args:
        num_frames (`int`): Number of frames to expect.
        name (`str`): Name of the video in errors.
        prepare (`Callable`, *optional*): Function of frames, `(1, 3, height, width)`, and the name, that resizes and
            crops them. By default they keep their size.
    """

    def __init__(self, num_frames: int, name: str, prepare: Callable[[torch.Tensor, str], torch.Tensor] | None = None):
        self.num_frames = num_frames
        self.name = name
        self.prepare = prepare
        self.size: tuple[int, int] | None = None  # height and width of the first frame as it was decoded
        self.count = 0
        self.buffer: torch.Tensor | None = None

    def add(self, frame: torch.Tensor) -> None:
        """Store the next frame.

        Args:
            frame (`torch.Tensor` of shape `(3, height, width)`): uint8 pixels.

        Raises:
            [`VideoDecodeError`]: With code `"too-large"`, before the memory for all frames is allocated.
        """
        pixels = frame if self.prepare is None else self.prepare(frame[None], self.name)[0]
        if self.buffer is None:
            self.size = tuple(frame.shape[1:])
            check_num_pixels(self.num_frames, *pixels.shape[1:], self.name)
            self.buffer = pixels.new_empty((self.num_frames, *pixels.shape))
        if pixels.device.type == "cpu":
            # For one frame torch's threads would wait for each other longer than the copy takes.
            self.buffer[self.count].numpy()[:] = pixels.numpy()
        else:
            self.buffer[self.count] = pixels
        self.count += 1

    @property
    def pixels(self) -> torch.Tensor:
        """Frames that are there, of shape `(num_frames, 3, height, width)`."""
        return self.buffer[: self.count]


def check_num_pixels(num_frames: int, height: int, width: int, name: str) -> None:
    """Check that all frames of a video fit into a reasonable amount of memory.

    Raises:
        [`VideoDecodeError`]: With code `"too-large"`.
    """
    if num_frames * height * width > MAX_VIDEO_PIXELS:
        found = f"{num_frames} frames of {width}x{height}"
        raise video_error("too-large", name, found, f"at most {MAX_VIDEO_PIXELS} pixels in all; take fewer frames")


__all__ = ["PixelBuffer", "check_num_pixels"]
