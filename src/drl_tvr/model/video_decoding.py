"""Decode the frames of a video file that DRL samples, or raise an error that names what is wrong with the file.

PyAV reads the container and counts the frames, since headers can be wrong. torchcodec decodes the pixels where it is
usable, PyAV otherwise. Both give the same frames.
"""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from transformers.utils import is_av_available, is_torchcodec_usable, logging, requires_backends
from transformers.video_utils import VideoMetadata

from .video_container import PacketTable, locate_video, open_video, prepare_decoder, scan_video
from .video_errors import VideoDecodeError, VideoNotFoundError, video_error
from .video_orientation import upright_pixels, upright_size


if is_av_available():
    import av

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
    """

    codec: str | None = None
    truncation: str | None = None
    suspicion: str | None = None
    timestamps: list[float] | None = None


def sample_indices(
    num_frames: int,
    avg_fps: float | None,
    fps: float | None = 1.0,
    max_frames: int | None = 12,
    start: float | None = None,
    end: float | None = None,
    name: str = "video",
) -> list[int]:
    """Select frames as the official DRL code does.

    The candidates are every `round(avg_fps / fps)`-th frame from `start` to `end`. When there are more than
    `max_frames`, `np.linspace` selects from them. A video shorter than a second gives one frame.

    Args:
        num_frames (`int`): Number of frames that the video really has.
        avg_fps (`float`, *optional*): Average rate in frames per second. Without it every frame is a candidate.
        fps (`float`, *optional*, defaults to 1.0): Frames to take per second; `None` for all.
        max_frames (`int`, *optional*, defaults to 12): Largest number of frames to take; `None` for no limit.
        start (`float`, *optional*): Start in seconds; by default the first frame.
        end (`float`, *optional*): End in seconds. An end after the last frame means the last frame, as in the official
            code, because benchmarks round end times up (DiDeMo). A `start` beyond the end is an error.
        name (`str`, *optional*, defaults to `"video"`): Name of the video in errors.

    Returns:
        `list[int]`: Indices of the frames, ascending.

    Raises:
        [`VideoDecodeError`]: With code `"bad-range"`, when no part of the video lies between `start` and `end`.
        `ValueError`: When `fps` or `max_frames` is not positive, or a range is given without `avg_fps`.

    Example:

    ```python
    >>> from drl_tvr.model.video_decoding import sample_indices

    >>> sample_indices(num_frames=100, avg_fps=29.97, max_frames=12)
    [0, 30, 60, 90]
    >>> sample_indices(num_frames=100, avg_fps=29.97, max_frames=2, start=1.0)
    [29, 89]
    ```"""
    if fps is not None and not fps > 0:
        raise ValueError(f"`fps`: found {fps}, expected a number above 0.")
    if max_frames is not None and max_frames < 1:
        raise ValueError(f"`max_frames`: found {max_frames}, expected at least 1.")
    first, last = 0, num_frames - 1
    if start is not None or end is not None:
        if avg_fps is None:
            raise ValueError(f"{name}: found `start` or `end` in seconds, expected `video_metadata` with `fps` too.")
        duration = num_frames / avg_fps
        begin, stop = 0.0 if start is None else start, duration if end is None else end
        # Written as a positive condition, so that NaN is rejected.
        if not (0 <= begin < stop and begin * avg_fps < num_frames):
            found = f"start={start} and end={end} in a video of {duration:.3f} s"
            raise video_error("bad-range", name, found, "0 <= start < end with start inside the video")
        first, last = int(begin * avg_fps), min(int(min(stop, duration) * avg_fps), num_frames - 1)
    stride = 1 if fps is None or avg_fps is None else max(1, round(avg_fps / fps))
    positions = range(first, last + 1, stride)
    if max_frames is None or len(positions) <= max_frames:
        return list(positions)
    return [positions[i] for i in np.linspace(0, len(positions) - 1, num=max_frames, dtype=int)]


def decode_video(
    path: str | os.PathLike,
    fps: float | None = 1.0,
    max_frames: int | None = 12,
    start: float | None = None,
    end: float | None = None,
    backend: str | None = None,
    allow_truncated: bool = False,
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

    Returns:
        `tuple(torch.Tensor, DRLVideoMetadata)`: The upright frames, uint8 RGB of shape
        `(num_frames, 3, height, width)`, and their [`~model.video_decoding.DRLVideoMetadata`]. Its `video_backend` is
        the decoder that was used: `"pyav"` also for a video whose frames torchcodec cannot address (see
        [`~model.video_decoding.read_video`]).

    Raises:
        [`VideoDecodeError`]: When the file is missing, is not a video or does not decode as a whole, or when the range
            lies outside it.
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

    def sample(metadata: VideoMetadata) -> list[int]:
        return sample_indices(metadata.total_num_frames, metadata.fps, fps, max_frames, start, end, name)

    return read_video(path, sample, backend, allow_truncated)


def read_video(
    path: str | os.PathLike,
    sample_indices_fn: Callable[[VideoMetadata], list[int]],
    backend: str | None = None,
    allow_truncated: bool = False,
) -> tuple[torch.Tensor, DRLVideoMetadata]:
    """Decode the frames of a video that a function selects.

    Both backends decode in order up to the last selected frame: groups of pictures are mostly longer than the second
    between two samples, and a seek ends at a wrong frame where the container's list of key frames is wrong.
    torchcodec addresses frames by their time. Where times are not unique or missing (AVI), or colours have more than 8
    bits, PyAV decodes.

    The whole container is read and compared with its header, so that a cut file is found whichever frames are
    selected. Three defects are not found: damage inside frames after the last selected one, damage that the decoder
    conceals, and a cut in a format that does not state its length (MPEG-TS, MPEG-PS, ASF, GIF).

    Args:
        path (`str` or `os.PathLike`): A local file, or an http(s) URL that is read without a download.
        sample_indices_fn (`Callable`): Function of the `VideoMetadata` (`total_num_frames`, `fps`, `duration`) that
            returns ascending indices. It is called again when fewer frames decode than the container has packets.
        backend (`str`, *optional*): See [`~model.video_decoding.decode_video`].
        allow_truncated (`bool`, *optional*, defaults to `False`): See [`~model.video_decoding.decode_video`].

    Returns:
        `tuple(torch.Tensor, DRLVideoMetadata)`: See [`~model.video_decoding.decode_video`].

    Raises:
        [`VideoDecodeError`]: See [`~model.video_decoding.decode_video`].
        `ImportError`: When `backend="torchcodec"` and it is not usable.
    """
    has_torchcodec = usable_backend(backend) == "torchcodec"
    name = os.fsdecode(path)
    source = locate_video(name)
    table = scan_video(source, name, allow_truncated)
    num_frames = len(table.packets)
    metadata = DRLVideoMetadata(
        num_frames, fps=table.fps, duration=num_frames / table.fps, codec=table.codec, truncation=table.truncation
    )
    metadata.suspicion = table.suspicion
    indices = sample_readable(metadata, sample_indices_fn, name)
    frames = decode_with_torchcodec(source, table, indices) if has_torchcodec and table.for_torchcodec else None
    metadata.video_backend = "pyav" if frames is None else "torchcodec"
    if frames is not None:
        times = [float(pts * table.time_base) for pts, _ in sorted(table.packets)]
    else:
        frames, times, num_decoded, damage = decode_with_pyav(source, name, table, indices, allow_truncated)
        if len(frames) < len(indices):
            if damage is None:
                logger.warning(f"{name}: found {num_decoded} frames in {num_frames} packets; the frames are sampled.")
            metadata.truncation = damage or metadata.truncation
            metadata.total_num_frames, metadata.duration = num_decoded, num_decoded / table.fps
            indices = sample_readable(metadata, sample_indices_fn, name)
            frames, times, _, _ = decode_with_pyav(source, name, table, indices, allow_truncated)
        frames = torch.stack(frames)
    metadata.frames_indices = indices
    # Raw streams have no times, and AVI with frames out of order has wrong times.
    timed = None not in times and times == sorted(times)
    metadata.timestamps = [times[i] - times[0] if timed else i / table.fps for i in indices]
    metadata.height, metadata.width = frames.shape[-2:]
    return frames, metadata


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


def decode_with_pyav(
    source: str, name: str, table: PacketTable, indices: list[int], allow_truncated: bool
) -> tuple[list[torch.Tensor], list[float | None], int, str | None]:
    """Decode the frames of `indices` with PyAV, as far as the video decodes.

    Returns:
        `tuple`: The frames, each (3, height, width); the times in seconds of all frames up to the last of them; how
        many frames decoded; and the reason why not more did, or `None`.

    Raises:
        [`VideoDecodeError`]: With code `"no-frames"`, or `"truncated"` unless `allow_truncated`.
    """
    wanted, frames, times, count = set(indices), {}, [], 0
    size, places, last_place = None, table.places(), None
    damage = cause = None
    with open_video(source, name) as container:
        stream = container.streams[table.stream]
        prepare_decoder(stream)
        try:
            for frame in container.decode(stream):
                # FFmpeg conceals a frame that it cannot decode, and frames that refer to it are wrong as well.
                place = places.get(frame.pts)
                if frame.is_corrupt or None not in (place, last_place) and place > last_place + 1:
                    damage = f"damage in frame {count} of {len(table.packets)}"
                    break
                last_place = place
                if count in wanted:
                    # A stream may change its size, but a tensor has one: the first.
                    size = size or upright_size(frame)
                    frames[count] = upright_pixels(frame, size)
                times.append(frame.time)
                count += 1
                if count > indices[-1]:
                    break
        except av.FFmpegError as error:
            damage = f"an error after {count} of {len(table.packets)} frames ({error.strerror})"
            cause = error
    if count == 0:
        found = damage or f"0 of {len(table.packets)} frames that decode"
        raise video_error("no-frames", name, found, "at least one frame") from cause
    if damage is not None and not allow_truncated:
        raise video_error("truncated", name, damage, "a file that decodes as a whole") from cause
    return [frames[i] for i in indices if i in frames], times, count, damage


def decode_with_torchcodec(source: str, table: PacketTable, indices: list[int]) -> torch.Tensor | None:
    """Decode the frames of `indices` with torchcodec.

    Returns:
        `torch.Tensor` of shape `(num_frames, 3, height, width)`: The frames, or `None` where torchcodec fails or
        returns other frames.
    """
    packets = sorted(table.packets)
    # With the first frame as the only key frame torchcodec neither seeks nor scans the file again.
    frames = [{"pts": pts, "duration": length, "key_frame": int(i == 0)} for i, (pts, length) in enumerate(packets)]
    if is_torchcodec_usable(decode="video"):
        from torchcodec.decoders import VideoDecoder
    try:
        decoder = VideoDecoder(
            source,
            stream_index=table.stream,
            num_ffmpeg_threads=torch.get_num_threads(),
            device="cpu",
            custom_frame_mappings=json.dumps({"frames": frames}),
        )
        batch = decoder.get_frames_at(indices)
    except (RuntimeError, ValueError, IndexError) as error:
        logger.debug(f"{source}: torchcodec fails ({error}), so PyAV decodes.")
        return None
    expected = torch.tensor([float(packets[i][0] * table.time_base) for i in indices], dtype=torch.float64)
    return batch.data if torch.allclose(batch.pts_seconds.double(), expected, rtol=0, atol=1e-4) else None


__all__ = [
    "DRLVideoMetadata",
    "VideoDecodeError",
    "VideoNotFoundError",
    "decode_video",
    "read_video",
    "sample_indices",
    "usable_backend",
]
