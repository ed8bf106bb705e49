"""Decode the frames of a video file that DRL samples, or raise an error that names what is wrong with the file.

PyAV reads the container and counts the frames, since headers can be wrong. torchcodec decodes the pixels where it is
usable, PyAV otherwise. Both give the same frames.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from transformers.utils import is_torchcodec_usable, logging, requires_backends
from transformers.video_utils import VideoMetadata

from .frame_decoding import decode_all_times, decode_frames, decode_in_order
from .frame_index import FrameIndex, frame_times, index_video
from .frame_sampling import sample_indices
from .video_container import locate_video
from .video_errors import VideoDecodeError, VideoNotFoundError, safe_name, video_error


logger = logging.get_logger(__name__)


@dataclass
class DRLVideoMetadata(VideoMetadata):
    """Metadata of a video file: transformers' `VideoMetadata` and the fields that only a file has.

    Args:
        codec (`str`, *optional*): FFmpeg's name of the codec.
        truncation (`str`, *optional*): The defect of the file, when `allow_truncated` accepted its readable part.
            `total_num_frames` and `duration` are those of that part.
        suspicion (`str`, *optional*): What the header says that the content does not bear out: the video may be whole
            or not. Also frames of several sizes, which are scaled to the first.
        timestamps (`list[float]`, *optional*): Time of each sampled frame in seconds after the first frame, as the
            file states it, or by the average rate where it states none. transformers always uses the average rate.
        frame_times (`tuple[float]`, *optional*): Such times of all frames, in a file whose rate is not constant.
    """

    codec: str | None = None
    truncation: str | None = None
    suspicion: str | None = None
    timestamps: list[float] | None = None
    frame_times: tuple[float, ...] | None = None


def decode_video(
    path: str | os.PathLike,
    fps: float | None = 1.0,
    max_frames: int | None = 12,
    start: float | None = None,
    end: float | None = None,
    backend: str | None = None,
    allow_truncated: bool = False,
    prepare: Callable[[torch.Tensor, str], torch.Tensor] | None = None,
) -> tuple[torch.Tensor, DRLVideoMetadata]:
    """Decode the frames of a video that [`~model.video_decoding.sample_indices`] selects.

    Args:
        path (`str` or `os.PathLike`): A local file, or an http(s) URL that is read without a download.
        fps (`float`, *optional*, defaults to 1.0): Frames to take per second; `None` for all.
        max_frames (`int`, *optional*, defaults to 12): Largest number of frames to take; `None` for no limit.
        start (`float`, *optional*): Start in seconds; by default the first frame.
        end (`float`, *optional*): End in seconds; by default the last frame.
        backend (`str`, *optional*): `"pyav"` or `"torchcodec"`. By default torchcodec where it is usable.
        allow_truncated (`bool`, *optional*, defaults to `False`): Whether to accept a file that ends early or is
            damaged, and treat its readable part, up to the last frame before the damage, as the whole video. The
            metadata's `truncation` then names the defect.
        prepare (`Callable`, *optional*): Function of frames, `(1, 3, height, width)`, and the name of the video, that
            resizes and crops each frame when it is decoded. By default frames keep their size, up to 2^31 pixels in
            all.

    Returns:
        `tuple(torch.Tensor, DRLVideoMetadata)`: The upright frames, uint8 RGB of shape
        `(num_frames, 3, height, width)`, and their [`~model.video_decoding.DRLVideoMetadata`]. Its `height` and
        `width` are those before `prepare`, its `video_backend` the decoder that was used: `"pyav"` also for a video
        whose frames torchcodec cannot address (see [`~model.video_decoding.read_video`]).

    Raises:
        [`VideoDecodeError`]: When the file is missing, is not a video or does not decode as a whole, when its frames
            are too large, or when the range lies outside it.
        `ImportError`: When `backend="torchcodec"` and it is not usable.

    Example:

    ```python
    >>> from drl_tvr.model.video_decoding import decode_video

    >>> frames, metadata = decode_video("clip.mp4")
    >>> frames.shape
    torch.Size([3, 3, 64, 64])
    >>> round(metadata.duration)
    3
    ```"""
    name = os.fsdecode(path)

    def sample(metadata: DRLVideoMetadata) -> list[int]:
        return sample_from(metadata, fps, max_frames, start, end, name)

    return read_video(path, sample, backend, allow_truncated, prepare)


def sample_from(
    metadata: VideoMetadata,
    fps: float | None,
    max_frames: int | None,
    start: float | None,
    end: float | None,
    name: str,
) -> list[int]:
    """Select frames of a video by its metadata: see [`~model.video_decoding.sample_indices`]."""
    # Frames that did not come from a file have only a rate.
    times = getattr(metadata, "frame_times", None)
    duration = None if times is None else metadata.duration
    return sample_indices(metadata.total_num_frames, metadata.fps, fps, max_frames, start, end, name, times, duration)


def read_video(
    path: str | os.PathLike,
    sample_indices_fn: Callable[[VideoMetadata], list[int]],
    backend: str | None = None,
    allow_truncated: bool = False,
    prepare: Callable[[torch.Tensor, str], torch.Tensor] | None = None,
) -> tuple[torch.Tensor, DRLVideoMetadata]:
    """Decode the frames of a video that a function selects.

    Frames are decoded in order, but where a key frame lies between two selected frames and at least 100 frames can be
    skipped, PyAV seeks to it. The frames after a seek are compared with the list of the whole container: where a key
    frame is none, or another frame comes than the list says, everything is decoded in order after all. So the frames
    are the same. torchcodec addresses frames by their time. Where times are not unique or missing (AVI), where colours
    have more than 8 bits, and after a seek, PyAV decodes.

    The whole container is read, once for all calls until the file changes. A file that ends in the middle of a packet
    or before what its index lists is found whichever frames are selected, and a header that states more than there is
    is the metadata's `suspicion`. Four defects are not found: damage inside frames after the last selected one, or in
    frames that were skipped, damage that the decoder conceals, and a cut in a format that marks none (MPEG-TS,
    MPEG-PS, ASF, MXF, NUT, Ogg, IVF, RealMedia, SWF, raw H.264, HEVC, MPEG-1, MPEG-2 and OBU), or in an AVI
    within its last second.

    Args:
        path (`str` or `os.PathLike`): A local file, or an http(s) URL that is read without a download.
        sample_indices_fn (`Callable`): Function of the [`~model.video_decoding.DRLVideoMetadata`] (`total_num_frames`,
            `fps`, `duration`, `frame_times`) that returns ascending indices. It is called again when other frames
            decode than the container's packets promise.
        backend (`str`, *optional*): See [`~model.video_decoding.decode_video`].
        allow_truncated (`bool`, *optional*, defaults to `False`): See [`~model.video_decoding.decode_video`].
        prepare (`Callable`, *optional*): See [`~model.video_decoding.decode_video`].

    Returns:
        `tuple(torch.Tensor, DRLVideoMetadata)`: See [`~model.video_decoding.decode_video`].

    Raises:
        [`VideoDecodeError`]: See [`~model.video_decoding.decode_video`].
        `ImportError`: When `backend="torchcodec"` and it is not usable.
    """
    return read_clips(path, [sample_indices_fn], backend, allow_truncated, prepare)[0]


def read_clips(
    path: str | os.PathLike,
    sample_indices_fns: Sequence[Callable[[VideoMetadata], list[int]]],
    backend: str | None = None,
    allow_truncated: bool = False,
    prepare: Callable[[torch.Tensor, str], torch.Tensor] | None = None,
) -> list[tuple[torch.Tensor, DRLVideoMetadata]]:
    """Decode several clips of one video, each frame once.

    Args:
        path (`str` or `os.PathLike`): A local file or an http(s) URL.
        sample_indices_fns (`Sequence[Callable]`): A function for each clip: see
            [`~model.video_decoding.read_video`].
        backend (`str`, *optional*): See [`~model.video_decoding.decode_video`].
        allow_truncated (`bool`, *optional*, defaults to `False`): See [`~model.video_decoding.decode_video`].
        prepare (`Callable`, *optional*): See [`~model.video_decoding.decode_video`].

    Returns:
        `list[tuple(torch.Tensor, DRLVideoMetadata)]`: For each clip what [`~model.video_decoding.read_video`] returns.

    Raises:
        [`VideoDecodeError`]: For the first clip that cannot be decoded.
        `ImportError`: When `backend="torchcodec"` and it is not usable.
    """
    has_torchcodec = usable_backend(backend) == "torchcodec"
    name = os.fsdecode(path)
    source, name = locate_video(name), safe_name(name)
    index = index_video(source, name, allow_truncated)
    table = index.table
    metadata = DRLVideoMetadata(
        total_num_frames=len(table.packets),
        fps=table.fps,
        duration=index.duration,
        codec=table.codec,
        truncation=table.truncation,
        suspicion=table.suspicion,
        frame_times=index.frame_times,
    )
    selections, indices = sample_clips(metadata, sample_indices_fns, name)
    decoded = decode_frames(source, name, index, indices, has_torchcodec, allow_truncated, prepare)
    if decoded.buffer.count < len(indices) or not index.lists(decoded.pts):
        if decoded.buffer.count == len(indices):
            # Packets are not frames here.
            decoded = decode_all_times(source, name, index, allow_truncated)
        if decoded.damage is None and len(decoded.pts) != len(table.packets):
            found = f"found {len(decoded.pts)} frames in {len(table.packets)} packets"
            logger.warning(f"{name}: {found}; the frames are sampled.")
        metadata.truncation = decoded.damage or metadata.truncation
        describe_frames(metadata, decoded.pts, index)
        selections, indices = sample_clips(metadata, sample_indices_fns, name)
        decoded = decode_in_order(source, name, index, indices, allow_truncated, prepare)
    if len(selections) > 1 and decoded.sizes > 1:
        # The first frame of a clip decides its size, and these have several.
        return [read_video(path, sample, backend, allow_truncated, prepare) for sample in sample_indices_fns]
    if decoded.sizes > 1:
        sizes = f"frames of {decoded.sizes} sizes, which are scaled to the first"
        metadata.suspicion = f"{metadata.suspicion}; {sizes}" if metadata.suspicion else sizes
    metadata.video_backend = decoded.backend
    metadata.height, metadata.width = decoded.buffer.size
    # Raw streams have no times, and AVI with frames out of order has wrong times.
    pts, places = decoded.pts, {frame: place for place, frame in enumerate(indices)}
    timed = is_ascending(pts)
    clips = []
    for selection in selections:
        pixels = (
            decoded.buffer.pixels if selection == indices else decoded.buffer.pixels[[places[i] for i in selection]]
        )
        timestamps = [float((pts[i] - pts[0]) * table.time_base) if timed else i / table.fps for i in selection]
        clips.append((pixels, replace(metadata, frames_indices=selection, timestamps=timestamps)))
    return clips


def sample_clips(
    metadata: DRLVideoMetadata, sample_indices_fns: Sequence[Callable], name: str
) -> tuple[list[list[int]], list[int]]:
    """Return the frames of each clip, and the frames of all clips in ascending order."""
    selections = [sample_readable(metadata, sample, name) for sample in sample_indices_fns]
    return selections, sorted(set().union(*selections))


def describe_frames(metadata: DRLVideoMetadata, pts: list[int | None], index: FrameIndex) -> None:
    """Correct the metadata of a video by the frames that really decode."""
    fps, time_base = metadata.fps, index.table.time_base
    metadata.total_num_frames, metadata.duration = len(pts), len(pts) / fps
    metadata.frame_times = frame_times(pts, time_base, fps) if is_ascending(pts) else None
    if metadata.frame_times is not None:
        metadata.duration = metadata.frame_times[-1] + 1 / fps


def is_ascending(pts: Sequence[int | None]) -> bool:
    """Return whether all frames have times, each later than the one before."""
    return None not in pts and all(before < after for before, after in pairwise(pts))


def usable_backend(backend: str | None = None) -> str:
    """Return the decoder that [`~model.video_decoding.read_video`] tries first.

    Args:
        backend (`str`, *optional*): `"pyav"` or `"torchcodec"`. By default torchcodec where it is usable.

    Returns:
        `str`: `"pyav"` or `"torchcodec"`.

    Raises:
        `ValueError`: For another name.
        `ImportError`: When `backend="torchcodec"` and it is not usable, or PyAV is not installed.
    """
    requires_backends(read_video, ["av"])
    if backend not in (None, "pyav", "torchcodec"):
        raise ValueError(f"`backend`: found {backend!r}, expected 'pyav', 'torchcodec' or None.")
    has_torchcodec = backend != "pyav" and is_torchcodec_usable(decode="video")
    if backend == "torchcodec" and not has_torchcodec:
        raise ImportError(
            "`backend='torchcodec'`: found no usable torchcodec, expected torchcodec and FFmpeg's libraries on the "
            "system; `backend='pyav'` needs neither."
        )
    return "torchcodec" if has_torchcodec else "pyav"


def sample_readable(metadata: DRLVideoMetadata, sample_indices_fn: Callable, name: str) -> list[int]:
    """Call the sampler; a range outside the readable part of a damaged file is an error of the file.

    Raises:
        [`VideoDecodeError`]: With code `"truncated"` for a damaged file, or the error of the sampler.
    """
    try:
        return sample_indices_fn(metadata)
    except VideoDecodeError as error:
        if metadata.truncation is None:
            raise
        # The range may lie inside the whole video.
        expected = "a readable part that contains `start`"
        raise video_error("truncated", name, metadata.truncation, expected) from error


__all__ = [
    "DRLVideoMetadata",
    "VideoDecodeError",
    "VideoNotFoundError",
    "decode_video",
    "read_video",
    "sample_indices",
    "usable_backend",
]
