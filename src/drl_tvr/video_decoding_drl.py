"""From a video file to the frames that DRL takes of it, or to an error that says what is wrong with the file.

PyAV reads the container and counts the frames that are really there, since headers lie; the pixels come from
torchcodec where it is usable and from PyAV otherwise. Both give the same frames.
"""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from transformers.utils import is_av_available, is_torchcodec_usable, logging, requires_backends
from transformers.video_utils import VideoMetadata


if is_av_available():
    import av

logger = logging.get_logger(__name__)

URL_PREFIXES = ("http://", "https://")
URL_TIMEOUT = 30.0  # seconds without an answer
# FFmpeg takes any file with one of their extensions (.txt, .bin, ...) for a text-mode screen, and draws it.
TEXT_DEMUXERS = ("tty", "bin", "xbin", "adf", "idf")
# These name other files, and a video is a file of its own.
PLAYLIST_DEMUXERS = ("hls", "dash", "concat", "imf")
# A file that states its length may end this many seconds early: audio and rounding. At 1 fps it costs a frame at most.
LENGTH_TOLERANCE = 1.0


class VideoDecodeError(ValueError):
    """
    A video that cannot be turned into the frames that were asked for.

    Args:
        message (`str`): The file, what was found and what was expected.
        path (`str`, *optional*, defaults to `""`): The path or URL as the caller gave it.
        code (`str`, *optional*, defaults to `""`):
            One of `"missing"`, `"empty"`, `"not-a-video"`, `"no-video-stream"`, `"encrypted"`, `"no-frames"`,
            `"truncated"`, `"bad-range"`. It is stable: branch on it rather than on the message.
    """

    # The message comes first and alone suffices: a `DataLoader` rebuilds a worker's error from it.
    def __init__(self, message: str, path: str = "", code: str = ""):
        super().__init__(message)
        self.path = path
        self.code = code

    def __reduce__(self):
        return type(self), (str(self), self.path, self.code)


class VideoNotFoundError(VideoDecodeError, FileNotFoundError):
    """A [`VideoDecodeError`] of code `"missing"`, which is also a `FileNotFoundError`."""


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
            raise _error("bad-range", name, found, "0 <= start < end with start inside the video")
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
) -> tuple[torch.Tensor, VideoMetadata]:
    """
    Decodes the frames of a video that [`sample_indices`] selects.

    Args:
        path (`str` or `os.PathLike`): A local file, or an http(s) URL that is read in place.
        fps (`float`, *optional*, defaults to 1.0): Frames to take per second; `None` for all.
        max_frames (`int`, *optional*, defaults to 12): The most frames to take; `None` for no limit.
        start (`float`, *optional*): Where to begin, in seconds.
        end (`float`, *optional*): Where to stop, in seconds.
        backend (`str`, *optional*): `"pyav"` or `"torchcodec"`. By default torchcodec where it is usable.

    Returns:
        `tuple[torch.Tensor, VideoMetadata]`: The frames, uint8 RGB of shape `(num_frames, 3, height, width)`, upright,
        and `fps`, `duration` in seconds, `total_num_frames`, `frames_indices` and the `video_backend` that made the
        pixels. It is `"pyav"` also for a video whose frames torchcodec cannot address (see [`read_video`]).

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

    return read_video(path, sample, backend)


def read_video(
    path: str | os.PathLike, sample_indices_fn: Callable[[VideoMetadata], list[int]], backend: str | None = None
) -> tuple[torch.Tensor, VideoMetadata]:
    """
    [`decode_video`] with a sampler of one's own, which takes the `VideoMetadata` and returns ascending indices.

    Either backend decodes in order up to the last frame wanted: groups of pictures are mostly longer than the second
    between two samples, and a seek ends at a wrong frame where the container's list of key frames is wrong. Damage
    after the last wanted frame goes unnoticed, unless the container shows it; formats that do not state their length
    (MPEG-TS, MPEG-PS, ASF, GIF) cannot show that they were cut. torchcodec addresses frames by their time: where that
    is not unique (or AVI, which has none), or colours go beyond 8 bits, PyAV makes the pixels.
    """
    requires_backends(read_video, ["av"])
    if backend not in (None, "pyav", "torchcodec"):
        raise ValueError(f'`backend` must be "pyav", "torchcodec" or None, found {backend!r}')
    has_torchcodec = backend != "pyav" and is_torchcodec_usable(decode="video")
    if backend == "torchcodec" and not has_torchcodec:
        raise ImportError("backend='torchcodec' needs torchcodec and FFmpeg's libraries on the system; use 'pyav'")
    name = os.fsdecode(path)
    source = _locate(name)
    index = _scan(source, name)
    num_frames = len(index.packets)
    metadata = VideoMetadata(num_frames, fps=index.fps, duration=num_frames / index.fps)
    indices = sample_indices_fn(metadata)
    frames = _decode_torchcodec(source, index, indices) if has_torchcodec and index.for_torchcodec else None
    metadata.video_backend = "pyav" if frames is None else "torchcodec"
    if frames is None:
        frames, num_decoded = _decode_pyav(source, name, index, indices)
        if len(frames) < len(indices):
            logger.warning(f"{name}: {num_frames} packets give {num_decoded} frames; the sampler counts the frames")
            metadata.total_num_frames, metadata.duration = num_decoded, num_decoded / index.fps
            indices = sample_indices_fn(metadata)
            frames, _ = _decode_pyav(source, name, index, indices)
        frames = torch.stack(frames)
    metadata.frames_indices = indices
    metadata.height, metadata.width = frames.shape[-2:]
    return frames, metadata


@dataclass(frozen=True)
class _Index:
    """What the container says of a video stream once it was read to its end."""

    stream: int
    packets: list[tuple[int | None, int]]  # timestamp and duration in units of `time_base`
    time_base: Fraction
    fps: float
    for_torchcodec: bool


def _error(code: str, name: str, found: str, expected: str, kind: type = VideoDecodeError) -> VideoDecodeError:
    return kind(f"{name}: {found}, expected {expected} [{code}]", name, code)


def _locate(name: str) -> str:
    """The absolute path of a local file (or the URL), which FFmpeg reads as neither an option nor a protocol."""
    if name.startswith(URL_PREFIXES):
        return name
    source = os.path.abspath(name)
    if not os.path.exists(source):
        raise _error("missing", name, f"no such file (looked at {source})", "a video file", VideoNotFoundError)
    if not os.path.isfile(source):
        found = "a directory" if os.path.isdir(source) else "something that is not a regular file"
        raise _error("not-a-video", name, f"found {found}", "a video file")
    if os.path.getsize(source) == 0:
        raise _error("empty", name, "found 0 bytes", "a video file")
    return source


def _open(source: str, name: str) -> "av.container.InputContainer":
    is_url = source.startswith(URL_PREFIXES)
    # Only the protocols needed: a playlist under a video's name must not make FFmpeg read other files or hosts.
    options = {"protocol_whitelist": "http,https,tcp,tls" if is_url else "file"}
    # Up to version 18 a tag that is not UTF-8 is fatal by default; from 19 on the argument is gone.
    tags = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
    try:
        return av.open(source, options=options, timeout=URL_TIMEOUT if is_url else None, **tags)
    except av.FFmpegError as error:
        if is_url and not isinstance(error, av.InvalidDataError):
            found = f"the server does not give it ({error})"
            raise _error("missing", name, found, "a video", VideoNotFoundError) from error
        if not is_url:
            with open(source, "rb") as file:  # a file that may not be read says so here
                if file.read(8)[4:] == b"ftyp":
                    found = "found an MP4 without its index (moov), probably cut off"
                    raise _error("truncated", name, found, "the whole file") from error
        raise _error("not-a-video", name, "found data in no known video format", "a video") from error


def _scan(source: str, name: str) -> _Index:
    """Reads all packets without decoding them and checks that the container holds what it promises."""
    with _open(source, name) as container:
        stream = _video_stream(container, name)
        packets, encrypted, partial, end = [], False, False, 0.0
        try:
            for packet in container.demux([other for other in container.streams if other.type in ("video", "audio")]):
                if packet.size and packet.pts is not None:
                    end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
                # Packets outside the edit list are decoded, since others refer to them, but never shown.
                if packet.size and packet.stream.index == stream.index and not packet.is_discard:
                    packets.append((packet.pts, packet.duration or 0))
                    encrypted = encrypted or packet.has_sidedata("encryption_info")
                    partial = packet.is_corrupt
        except av.FFmpegError as error:
            found = f"reading stops after {len(packets)} frames ({error})"
            raise _error("truncated", name, found, "the whole file") from error
        if not packets or stream.codec_context is None:
            found = f"no frame can be decoded (the header promises {stream.frames})"
            raise _error("no-frames", name, found, "at least one frame")
        if encrypted:
            raise _error("encrypted", name, "its frames are encrypted", "a video without DRM")
        if partial or _promises_more(container, stream, end):
            found = f"the file ends after {len(packets)} frames ({end:.3f} s)"
            raise _error("truncated", name, found, f"the {stream.frames or 'longer video'} that it promises")
        timestamps = [timestamp for timestamp, _ in packets]
        complete = None not in timestamps and len(set(timestamps)) == len(timestamps)
        span = float((max(timestamps) - min(timestamps)) * stream.time_base) if complete else 0.0
        pixels = stream.codec_context.format
        # See `read_video`; beyond 8 bits the two libraries interpolate colours in different ways.
        addressable = pixels is not None and max(part.bits for part in pixels.components) <= 8
        return _Index(
            stream=stream.index,
            packets=packets,
            time_base=stream.time_base,
            fps=_average_fps(float(stream.average_rate or 0), len(packets), span),
            for_torchcodec=complete
            and addressable
            and container.format.name != "avi"
            and not source.startswith(URL_PREFIXES),
        )


def _video_stream(container: "av.container.InputContainer", name: str) -> "av.VideoStream":
    form = container.format.name
    if form in TEXT_DEMUXERS + PLAYLIST_DEMUXERS or form == "image2" or form.endswith("_pipe"):
        raise _error("not-a-video", name, f"found a text, a playlist or a still image (format {form!r})", "a video")
    stream = container.streams.best("video")
    # The cover of an audio file is a video stream, too.
    if stream is None or stream.disposition & av.stream.Disposition.attached_pic:
        kinds = ", ".join(other.type for other in container.streams) or "none"
        raise _error("no-video-stream", name, f"no video among its streams ({kinds})", "a video stream")
    return stream


def _promises_more(container: "av.container.InputContainer", stream: "av.VideoStream", end: float) -> bool:
    """Whether the container says that there is more than the packets up to `end`, in seconds, that it holds."""
    form = container.format.name
    if form.startswith("mov"):
        return any(entry.pos + entry.size > container.size for entry in stream.index_entries)
    promised = 0.0  # other formats do not say
    if form == "avi" and stream.average_rate:
        promised = stream.frames / float(stream.average_rate)
    elif form in ("matroska,webm", "flv"):
        promised = (container.duration or 0) / av.time_base
    return promised - end > LENGTH_TOLERANCE


def _average_fps(stated: float, num_frames: int, span: float) -> float:
    """The stated rate, unless the `span` in seconds between first and last frame belies it by more than a factor 2."""
    measured = (num_frames - 1) / span if span > 0 else 0.0
    if stated > 0 and (measured == 0 or 0.5 <= stated / measured <= 2):
        return stated
    return measured or 1.0


def _decode_pyav(source: str, name: str, index: _Index, indices: list[int]) -> tuple[list[torch.Tensor], int]:
    """The wanted frames, each (3, height, width), as far as there are any, and the number of frames decoded."""
    wanted, frames, count, size = set(indices), {}, 0, {}
    with _open(source, name) as container:
        stream = container.streams[index.stream]
        stream.codec_context.thread_type = "AUTO"
        # All cores for a single process, one for each worker of a `DataLoader`, which sets torch's number to 1.
        stream.codec_context.thread_count = torch.get_num_threads()
        try:
            for frame in container.decode(stream):
                if count in wanted:
                    # The first size holds for all, in the rare stream that changes it.
                    size = size or {"width": frame.width, "height": frame.height}
                    pixels = np.rot90(frame.to_ndarray(format="rgb24", **size), round(frame.rotation / 90) % 4)
                    frames[count] = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)
                count += 1
                if count > indices[-1]:
                    break
        except av.FFmpegError as error:
            found = f"decoding stops after {count} of {len(index.packets)} frames ({error.strerror})"
            code = "truncated" if count else "no-frames"
            raise _error(code, name, found, "a file that decodes whole") from error
    if count == 0:
        raise _error("no-frames", name, f"none of {len(index.packets)} frames decodes", "at least one frame")
    return [frames[i] for i in indices if i in frames], count


def _decode_torchcodec(source: str, index: _Index, indices: list[int]) -> torch.Tensor | None:
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
