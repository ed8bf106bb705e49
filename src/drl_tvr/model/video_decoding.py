"""From a video file to the frames that DRL takes of it, or to an error that says what is wrong with the file.

PyAV reads the container and counts the frames that are really there, since headers lie; the pixels come from
torchcodec where it is usable and from PyAV otherwise. Both give the same frames.
"""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from transformers.utils import is_av_available, is_torchcodec_usable, logging, requires_backends
from transformers.video_utils import VideoMetadata

from .video_container import MAX_PIXELS, VideoIndex, locate_video, open_video, scan_video
from .video_errors import VideoDecodeError, VideoNotFoundError, video_error


if is_av_available():
    import av

logger = logging.get_logger(__name__)


@dataclass
class DRLVideoMetadata(VideoMetadata):
    """
    transformers' `VideoMetadata`, with what only a file has.

    Args:
        codec (`str`, *optional*): FFmpeg's name of the codec.
        truncation (`str`, *optional*):
            What is wrong with the file, where `allow_truncated` took its readable part. `total_num_frames` and
            `duration` are those of that part.
        timestamps (`list[float]`, *optional*):
            When each sampled frame is shown, in seconds after the first frame, as the file says; by the average rate
            where it doesn't say. In transformers it is by the average rate always.
    """

    codec: str | None = None
    truncation: str | None = None
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
    """
    The official DRL sampler: every `round(avg_fps / fps)`-th frame from `start` to `end`, thinned out by
    `np.linspace` where these are more than `max_frames`. A clip under a second gives one frame.

    Args:
        num_frames (`int`): The number of frames that the video really has.
        avg_fps (`float`, *optional*): Its average rate, in frames per second. Without it every frame is a candidate.
        fps (`float`, *optional*, defaults to 1.0): Frames to take per second; `None` for all.
        max_frames (`int`, *optional*, defaults to 12): The most frames to take; `None` for no limit.
        start (`float`, *optional*): Where to begin, in seconds.
        end (`float`, *optional*):
            Where to stop, in seconds. Beyond the last frame it means the last frame, as in the official code, because
            benchmarks round end times up (DiDeMo). A `start` beyond it has no such excuse.
        name (`str`, *optional*, defaults to `"video"`): What an error calls the video.

    Returns:
        `list[int]`: The indices of the frames, ascending.

    Raises:
        VideoDecodeError: Of code `"bad-range"`, if `start` and `end` enclose nothing of the video.
        ValueError: If `fps` or `max_frames` is not positive, or a range is given without `avg_fps`.

    Example:

    ```python
    >>> sample_indices(num_frames=100, avg_fps=29.97, max_frames=12)
    [0, 30, 60, 90]
    >>> sample_indices(num_frames=100, avg_fps=29.97, max_frames=2, start=1.0)
    [29, 89]

    ```
    """
    if fps is not None and not fps > 0:
        raise ValueError(f"{name}: `fps` must be above 0, found {fps}")
    if max_frames is not None and max_frames < 1:
        raise ValueError(f"{name}: `max_frames` must be at least 1, found {max_frames}")
    first, last = 0, num_frames - 1
    if start is not None or end is not None:
        if avg_fps is None:
            raise ValueError(f"{name}: `start` and `end` are in seconds, pass `video_metadata` with the frames' `fps`")
        duration = num_frames / avg_fps
        begin, stop = 0.0 if start is None else start, duration if end is None else end
        # Said positively, so that NaN fails too.
        if not (0 <= begin < stop and begin * avg_fps < num_frames):
            found = f"found start={start} and end={end} in a video of {duration:.3f} s"
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
    """
    Decodes the frames of a video that [`~model.video_decoding.sample_indices`] selects.

    Args:
        path (`str` or `os.PathLike`): A local file, or an http(s) URL that is read in place.
        fps (`float`, *optional*, defaults to 1.0): Frames to take per second; `None` for all.
        max_frames (`int`, *optional*, defaults to 12): The most frames to take; `None` for no limit.
        start (`float`, *optional*): Where to begin, in seconds.
        end (`float`, *optional*): Where to stop, in seconds.
        backend (`str`, *optional*): `"pyav"` or `"torchcodec"`. By default torchcodec where it is usable.
        allow_truncated (`bool`, *optional*, defaults to `False`):
            Take the readable part of a file that ends early or is damaged, from its first frame to the last before
            the damage, as if that were the video. The metadata's `truncation` then says so.

    Returns:
        `tuple[torch.Tensor, DRLVideoMetadata]`: The frames, uint8 RGB of shape `(num_frames, 3, height, width)` and
        upright, and `fps`, `duration` in seconds, `total_num_frames`, `frames_indices`, `timestamps`, `codec`,
        `truncation` and the `video_backend` that made the pixels. It is `"pyav"` also for a video whose frames
        torchcodec cannot address (see [`~model.video_decoding.read_video`]).

    Raises:
        VideoDecodeError: If the file is missing or no video, does not decode whole, or the range is outside it.
        ImportError: If `backend="torchcodec"` and it is not usable.

    Example:

    ```python
    >>> frames, metadata = decode_video("video7500.mp4")  # doctest: +SKIP
    >>> frames.shape, metadata.frames_indices  # doctest: +SKIP
    (torch.Size([12, 3, 224, 298]), [0, 3, 6, 12, 15, 21, 24, 30, 33, 39, 42, 48])
    ```
    """
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
    """
    [`~model.video_decoding.decode_video`] with a sampler of one's own.

    Either backend decodes in order up to the last frame wanted: groups of pictures are mostly longer than the second
    between two samples, and a seek ends at a wrong frame where the container's list of key frames is wrong.
    torchcodec addresses frames by their time: where that is not unique (or AVI, which has none), or colours go beyond
    8 bits, PyAV makes the pixels.

    The whole container is read, and compared with what its header says, so that a cut shows whatever frames are
    wanted. What goes unnoticed is damage inside the frames after the last one wanted, damage that the decoder conceals
    without a word, and a cut in a format that does not state its length (MPEG-TS, MPEG-PS, ASF, GIF).

    Args:
        path (`str` or `os.PathLike`): A local file, or an http(s) URL that is read in place.
        sample_indices_fn (`Callable`):
            Takes the `VideoMetadata` (`total_num_frames`, `fps`, `duration`) and returns ascending indices. It is
            called again where fewer frames decode than the container has packets.
        backend (`str`, *optional*): As of [`~model.video_decoding.decode_video`].
        allow_truncated (`bool`, *optional*, defaults to `False`): As of [`~model.video_decoding.decode_video`].

    Returns:
        `tuple[torch.Tensor, DRLVideoMetadata]`: As [`~model.video_decoding.decode_video`].

    Raises:
        VideoDecodeError: As [`~model.video_decoding.decode_video`].
    """
    has_torchcodec = usable_backend(backend) == "torchcodec"
    name = os.fsdecode(path)
    source = locate_video(name)
    index = scan_video(source, name, allow_truncated)
    num_frames = len(index.packets)
    metadata = DRLVideoMetadata(
        num_frames, fps=index.fps, duration=num_frames / index.fps, codec=index.codec, truncation=index.truncation
    )
    indices = _sample(metadata, sample_indices_fn, name)
    frames = _decode_torchcodec(source, index, indices) if has_torchcodec and index.for_torchcodec else None
    metadata.video_backend = "pyav" if frames is None else "torchcodec"
    if frames is not None:
        times = [float(pts * index.time_base) for pts, _ in sorted(index.packets)]
    else:
        frames, times, num_decoded, damage = _decode_pyav(source, name, index, indices, allow_truncated)
        if len(frames) < len(indices):
            if damage is None:
                found = f"{num_frames} packets give {num_decoded} frames"
                logger.warning(f"{name}: {found}; the sampler counts the frames")
            metadata.truncation = damage or metadata.truncation
            metadata.total_num_frames, metadata.duration = num_decoded, num_decoded / index.fps
            indices = _sample(metadata, sample_indices_fn, name)
            frames, times, _, _ = _decode_pyav(source, name, index, indices, allow_truncated)
        frames = torch.stack(frames)
    metadata.frames_indices = indices
    # Raw streams have no times, and AVI with frames out of order has wrong ones.
    timed = None not in times and times == sorted(times)
    metadata.timestamps = [times[i] - times[0] if timed else i / index.fps for i in indices]
    metadata.height, metadata.width = frames.shape[-2:]
    return frames, metadata


def usable_backend(backend: str | None = None) -> str:
    """
    The decoder that [`~model.video_decoding.read_video`] tries first.

    Args:
        backend (`str`, *optional*): `"pyav"` or `"torchcodec"`. By default torchcodec where it is usable.

    Raises:
        ValueError: For another name.
        ImportError: If `backend="torchcodec"` and it is not usable, or PyAV is not installed.
    """
    requires_backends(read_video, ["av"])
    if backend not in (None, "pyav", "torchcodec"):
        raise ValueError(f'`backend` must be "pyav", "torchcodec" or None, found {backend!r}')
    has_torchcodec = backend != "pyav" and is_torchcodec_usable(decode="video")
    if backend == "torchcodec" and not has_torchcodec:
        raise ImportError("backend='torchcodec' needs torchcodec and FFmpeg's libraries on the system; use 'pyav'")
    return "torchcodec" if has_torchcodec else "pyav"


def _sample(metadata: DRLVideoMetadata, sample_indices_fn: Callable, name: str) -> list[int]:
    try:
        return sample_indices_fn(metadata)
    except VideoDecodeError as error:
        if metadata.truncation is None:
            raise
        # The range may well be in the whole video.
        expected = "a readable part that holds `start`"
        raise video_error("truncated", name, metadata.truncation, expected) from error


def _decode_pyav(
    source: str, name: str, index: VideoIndex, indices: list[int], allow_truncated: bool
) -> tuple[list[torch.Tensor], list[float | None], int, str | None]:
    """The wanted frames, each (3, height, width), as far as there are any; the seconds of the frames up to the last of
    them, how many decode, and why not more."""
    wanted, frames, times, count, size, damage, cause = set(indices), {}, [], 0, {}, None, None
    places = index.places()
    last_place = None
    with open_video(source, name) as container:
        stream = container.streams[index.stream]
        stream.codec_context.thread_type = "AUTO"
        # All cores for a single process, one for each worker of a `DataLoader`, which sets torch's number to 1.
        stream.codec_context.thread_count = torch.get_num_threads()
        # A frame may be larger than the header says.
        stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
        try:
            for frame in container.decode(stream):
                # FFmpeg fills what it cannot decode with what it has, and what refers to that is wrong as well.
                place = places.get(frame.pts)
                if frame.is_corrupt or None not in (place, last_place) and place > last_place + 1:
                    damage = f"frame {count} of {len(index.packets)} is damaged"
                    break
                last_place = place
                if count in wanted:
                    # The first size holds for all, in the rare stream that changes it.
                    size = size or {"width": frame.width, "height": frame.height}
                    pixels = np.rot90(frame.to_ndarray(format="rgb24", **size), round(frame.rotation / 90) % 4)
                    frames[count] = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)
                times.append(frame.time)
                count += 1
                if count > indices[-1]:
                    break
        except av.FFmpegError as error:
            damage = f"decoding stops after {count} of {len(index.packets)} frames ({error.strerror})"
            cause = error
    if count == 0:
        found = damage or f"none of {len(index.packets)} frames decodes"
        raise video_error("no-frames", name, found, "at least one frame") from cause
    if damage is not None and not allow_truncated:
        raise video_error("truncated", name, damage, "a file that decodes whole") from cause
    return [frames[i] for i in indices if i in frames], times, count, damage


def _decode_torchcodec(source: str, index: VideoIndex, indices: list[int]) -> torch.Tensor | None:
    """The wanted frames, (num_frames, 3, height, width), or `None` where torchcodec does not give exactly these."""
    packets = sorted(index.packets)
    # With the first frame as the only key frame torchcodec never seeks, and it need not scan the file again.
    frames = [{"pts": pts, "duration": length, "key_frame": int(i == 0)} for i, (pts, length) in enumerate(packets)]
    if is_torchcodec_usable(decode="video"):
        from torchcodec.decoders import VideoDecoder
    try:
        decoder = VideoDecoder(
            source,
            stream_index=index.stream,
            num_ffmpeg_threads=torch.get_num_threads(),
            device="cpu",
            custom_frame_mappings=json.dumps({"frames": frames}),
        )
        batch = decoder.get_frames_at(indices)
    except (RuntimeError, ValueError, IndexError) as error:
        logger.debug(f"{source}: torchcodec fails ({error}), PyAV decides")
        return None
    expected = torch.tensor([float(packets[i][0] * index.time_base) for i in indices], dtype=torch.float64)
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
