"""Turn and mirror decoded frames as their display matrix says."""

import struct

import numpy as np
import torch
from transformers.utils import is_av_available


if is_av_available():
    import av
    from av.sidedata.sidedata import SideDataContainer


def display_matrix(frame: "av.VideoFrame") -> tuple[int, int, int, int]:
    """Return where the display matrix of a frame sends its axes: `(a, b, c, d)`, each -1, 0 or 1.

    A pixel at (x, y), y downwards, is shown at (a x + c y, b x + d y), up to a shift. Other angles than those of the
    eight upright orientations are taken for the nearest, and a matrix that is none for the identity.
    """
    # `frame.side_data` would refer to the frame and the frame to it, which keeps every picture until Python collects.
    data = SideDataContainer(frame).get("DISPLAYMATRIX")
    if data is None:
        return 1, 0, 0, 1
    a, b, _, c, d, *_ = struct.unpack("=9i", bytes(data))
    if abs(a) + abs(d) >= abs(b) + abs(c):
        a, b, c, d = int(np.sign(a)), 0, 0, int(np.sign(d))
    else:
        a, b, c, d = 0, int(np.sign(b)), int(np.sign(c)), 0
    return (a, b, c, d) if a * d - b * c else (1, 0, 0, 1)


def upright_pixels(frame: "av.VideoFrame", size: tuple[int, int] | None = None) -> torch.Tensor:
    """Convert a decoded frame to upright RGB.

    Args:
        frame (`av.VideoFrame`): The frame.
        size (`tuple[int, int]`, *optional*): Height and width of the upright frame, to which it is scaled; by default
            its own. A stream may change them, but a video has one: that of its first frame.

    Returns:
        `torch.Tensor` of shape `(3, height, width)`: uint8 pixels.
    """
    a, b, c, d = display_matrix(frame)
    turned = a == 0
    height, width = (None, None) if size is None else size[::-1] if turned else size
    pixels = frame.to_ndarray(format="rgb24", width=width, height=height)
    if turned:
        pixels = pixels.swapaxes(0, 1)
    # After the exchange of the axes the sign of each says whether it runs backwards.
    if (c if turned else a) < 0:
        pixels = pixels[:, ::-1]
    if (b if turned else d) < 0:
        pixels = pixels[::-1]
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)


def upright_size(frame: "av.VideoFrame") -> tuple[int, int]:
    """Return height and width of a frame when it is upright."""
    size = frame.height, frame.width
    return size[::-1] if display_matrix(frame)[0] == 0 else size


__all__ = ["display_matrix", "upright_pixels", "upright_size"]
