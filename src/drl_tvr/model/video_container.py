"""Reads a video's container to its end, without decoding: what is really in it, against what its header says."""

import os
import stat
from dataclasses import dataclass
from fractions import Fraction

from transformers.utils import is_av_available

from .video_errors import video_error


if is_av_available():
    import av

URL_PREFIXES = ("http://", "https://")
URL_TIMEOUT = 30.0  # seconds without an answer
# FFmpeg takes any file with one of their extensions (.txt, .bin, ...) for a text-mode screen, and draws it.
TEXT_DEMUXERS = ("tty", "bin", "xbin", "adf", "idf")
# These name other files, and a video is a file of its own.
PLAYLIST_DEMUXERS = ("hls", "dash", "concat", "imf")
DRM_TAGS = ("encv", "drmi")  # codec tags of MP4
# Elsewhere a packet may be a frame that is never shown (VP8), none at all (MPEG-4) or half of one (MPEG-TS).
FRAME_PER_PACKET_CODECS = ("h264", "hevc")
FRAME_PER_PACKET_CONTAINERS = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
MP4_FIRST_BOXES = (b"ftyp", b"mdat", b"moov", b"wide", b"free", b"skip")
MAX_BOXES = 1000  # real files have about four
# A file that states its length may end this many seconds early: audio and rounding. At 1 fps it costs a frame at most.
LENGTH_TOLERANCE = 1.0
# Real rates and durations lie far inside: slides and high-speed cameras included.
MIN_FPS, MAX_FPS, MAX_DURATION = 1 / 600, 500.0, 100 * 3600.0
# 8192 x 8192. A header of a few bytes can claim 16 times as much, and FFmpeg would allocate it for every frame.
MAX_PIXELS = 2**26


@dataclass(frozen=True)
class VideoIndex:
    """
    What a container holds of its video stream, read to its end.

    Args:
        stream (`int`): The place of the stream in the container.
        codec (`str`): FFmpeg's name of the codec.
        packets (`list[tuple[int, int]]`): Timestamp and duration of each frame in units of `time_base`.
        time_base (`Fraction`): Seconds.
        fps (`float`): The average rate, in frames per second.
        frame_per_packet (`bool`): Whether every packet is known to give one frame, of the same timestamp.
        for_torchcodec (`bool`): Whether torchcodec can tell the frames apart.
        truncation (`str`, *optional*): Why `packets` is only the readable part of the video.
    """

    stream: int
    codec: str
    packets: list[tuple[int | None, int]]
    time_base: Fraction
    fps: float
    frame_per_packet: bool
    for_torchcodec: bool
    truncation: str | None = None

    def places(self) -> dict[int, int]:
        """The place in time of each timestamp, if `frame_per_packet`."""
        if not self.frame_per_packet:
            return {}
        return {pts: place for place, pts in enumerate(sorted(pts for pts, _ in self.packets if pts is not None))}


def locate_video(name: str) -> str:
    """
    The absolute path of a local file (or the URL), which FFmpeg reads as neither an option nor a protocol.

    Raises:
        VideoDecodeError: Of code `"missing"`, `"unreadable"`, `"empty"` or `"not-a-video"`, before anything is opened.
    """
    if name.startswith(URL_PREFIXES):
        return name
    source = os.path.abspath(name)
    try:
        found = os.stat(source)
    except PermissionError as error:
        raise video_error("unreadable", name, f"no permission ({error.strerror})", "a file to read") from error
    except (OSError, ValueError) as error:
        what = "a link that leads nowhere" if os.path.islink(source) else "no such file"
        raise video_error("missing", name, f"{what} (looked at {source!r})", "a video file") from error
    # A pipe or a device is never opened: reading it may not end.
    if not stat.S_ISREG(found.st_mode):
        what = "a folder" if stat.S_ISDIR(found.st_mode) else "something that is not a regular file"
        raise video_error("not-a-video", name, f"found {what}", "a video file")
    if found.st_size == 0:
        raise video_error("empty", name, "found 0 bytes", "a video file")
    return source


def open_video(source: str, name: str) -> "av.container.InputContainer":
    """
    Opens what [`locate_video`] gave, under the user's `name` in errors.

    Raises:
        VideoDecodeError: Of code `"missing"` (URLs), `"unreadable"`, `"truncated"`, `"no-frames"` or `"not-a-video"`.
    """
    is_url = source.startswith(URL_PREFIXES)
    # Only the protocols needed: a playlist under a video's name must not make FFmpeg read other files or hosts.
    options = {"protocol_whitelist": "http,https,tcp,tls" if is_url else "file"}
    # Up to version 18 a tag that is not UTF-8 is fatal by default; from 19 on the argument is gone.
    tags = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
    try:
        return av.open(source, options=options, timeout=URL_TIMEOUT if is_url else None, **tags)
    except av.FFmpegError as error:
        if not is_url:
            _raise_for_mp4(source, name, error)
        elif not isinstance(error, av.InvalidDataError):
            raise video_error("missing", name, f"the server does not give it ({error})", "a video") from error
        raise video_error("not-a-video", name, "found data in no known video format", "a video") from error


def _raise_for_mp4(source: str, name: str, cause: Exception) -> None:
    """Tells a cut MP4 from other data by its boxes: the index (moov) mostly comes last."""
    try:
        with open(source, "rb") as file:
            size, boxes, at = os.fstat(file.fileno()).st_size, [], 0
            while at < size and len(boxes) < MAX_BOXES:
                file.seek(at)
                head = file.read(16)
                length = int.from_bytes(head[:4])
                at += int.from_bytes(head[8:]) if length == 1 else length or size
                boxes.append(head[4:8] if at <= size or not boxes else b"")
                if length != 1 and 0 < length < 8:
                    break
    except OSError as error:
        raise video_error("unreadable", name, f"it cannot be read ({error.strerror})", "a file to read") from error
    if b"moov" in boxes and boxes[0] in MP4_FIRST_BOXES:
        raise video_error("no-frames", name, "found an MP4 whose index (moov) is damaged", "a whole file") from cause
    if boxes[0] in MP4_FIRST_BOXES:
        found = "found an MP4 without its index (moov), probably cut off"
        raise video_error("truncated", name, found, "the whole file") from cause


def scan_video(source: str, name: str, allow_truncated: bool = False) -> VideoIndex:
    """
    Reads all packets without decoding them and checks that the container holds what it promises.

    Args:
        source (`str`): From [`locate_video`].
        name (`str`): What an error calls the video.
        allow_truncated (`bool`, *optional*, defaults to `False`): Take the readable part of a file that ends early.

    Returns:
        [`VideoIndex`]: With its `truncation` set if it is of a readable part.

    Raises:
        VideoDecodeError: Of any code but `"missing"`, `"empty"` and `"bad-range"`.
    """
    with open_video(source, name) as container:
        stream = _video_stream(container, name)
        packets, encrypted, damage, end = [], "enc_key_id" in stream.metadata, None, 0.0
        try:
            for packet in container.demux([other for other in container.streams if other.type in ("video", "audio")]):
                if packet.size and packet.pts is not None:
                    end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
                # Packets outside the edit list are decoded, since others refer to them, but never shown.
                if packet.size and packet.stream.index == stream.index and not packet.is_discard:
                    encrypted = encrypted or packet.has_sidedata("encryption_info")
                    if packet.is_corrupt:
                        damage = f"the file ends or is damaged after {len(packets)} frames ({end:.3f} s)"
                        # What is decoded before it and shown after it belongs to what cannot be read.
                        packets = [p for p in packets if None in (p[0], packet.pts) or p[0] < packet.pts]
                        break
                    packets.append((packet.pts, packet.duration or 0))
        except av.FFmpegError as error:
            damage = f"reading stops after {len(packets)} frames ({error.strerror})"
        if not packets and damage is None:
            found = f"no frame can be decoded (the header promises {stream.frames})"
            raise video_error("no-frames", name, found, "at least one frame")
        if stream.codec_context is None:
            raise video_error("unsupported-codec", name, "no decoder for its codec", "a codec that FFmpeg decodes")
        if encrypted or stream.codec_context.codec_tag in DRM_TAGS:
            raise video_error("encrypted", name, "its frames are encrypted", "a video without DRM")
        promised = _promised_duration(container, stream)
        if promised > MAX_DURATION:
            found = f"the header promises {promised:.3g} s and there are {end:.3f} s"
            raise video_error("bad-duration", name, found, "the duration of a video")
        if damage is None and (promised - end > LENGTH_TOLERANCE or _lacks_bytes(container, stream)):
            damage = f"the file ends after {len(packets)} frames ({end:.3f} s)"
        if damage is not None and not (allow_truncated and packets):
            raise video_error("truncated", name, damage, f"the {stream.frames or 'longer video'} that it promises")
        timestamps = [timestamp for timestamp, _ in packets]
        complete = None not in timestamps and len(set(timestamps)) == len(timestamps)
        span = float((max(timestamps) - min(timestamps)) * stream.time_base) if complete else 0.0
        fps = average_fps(float(stream.average_rate or 0), len(packets), span)
        # One frame is one frame at any rate, but not for any time.
        if not MIN_FPS <= fps or fps > MAX_FPS and len(packets) > 1:
            found = f"the {len(packets)} frames have the times of {len(packets) / fps:.3g} s ({fps:.3g} a second)"
            raise video_error("bad-duration", name, found, f"{MIN_FPS:.2g} to {MAX_FPS:g} frames a second")
        pixels = stream.codec_context.format
        # See `read_video`; beyond 8 bits the two libraries interpolate colours in different ways.
        addressable = pixels is not None and max(part.bits for part in pixels.components) <= 8
        codec, form = stream.codec_context.codec.canonical_name, container.format.name
        return VideoIndex(
            stream=stream.index,
            codec=codec,
            packets=packets,
            time_base=stream.time_base,
            fps=fps,
            frame_per_packet=complete and codec in FRAME_PER_PACKET_CODECS and form in FRAME_PER_PACKET_CONTAINERS,
            for_torchcodec=complete
            and addressable
            and damage is None
            and form != "avi"
            and not source.startswith(URL_PREFIXES),
            truncation=damage,
        )


def _video_stream(container: "av.container.InputContainer", name: str) -> "av.VideoStream":
    form = container.format.name
    if form in TEXT_DEMUXERS + PLAYLIST_DEMUXERS or form == "image2" or form.endswith("_pipe"):
        found = f"found a text, a playlist or a still image (format {form!r})"
        raise video_error("not-a-video", name, found, "a video")
    stream = container.streams.best("video")
    # The cover of an audio file is a video stream, too.
    if stream is None or stream.disposition & av.stream.Disposition.attached_pic:
        kinds = ", ".join(other.type for other in container.streams) or "none"
        raise video_error("no-video-stream", name, f"no video among its streams ({kinds})", "a video stream")
    context = stream.codec_context
    if context is not None and context.width * context.height > MAX_PIXELS:
        found = f"found frames of {context.width}x{context.height}"
        raise video_error("too-large", name, found, f"at most {MAX_PIXELS} pixels")
    return stream


def _promised_duration(container: "av.container.InputContainer", stream: "av.VideoStream") -> float:
    """Seconds that the container states, or 0 where the format does not, or says it by its index (MP4)."""
    if container.format.name == "avi" and stream.average_rate:
        return stream.frames / float(stream.average_rate)
    if container.format.name in ("matroska,webm", "flv"):
        return (container.duration or 0) / av.time_base
    return 0.0


def _lacks_bytes(container: "av.container.InputContainer", stream: "av.VideoStream") -> bool:
    """Whether the index of an MP4 points beyond the end of the file."""
    is_mp4 = container.format.name.startswith("mov")
    return is_mp4 and any(entry.pos + entry.size > container.size for entry in stream.index_entries)


def average_fps(stated: float, num_frames: int, span: float) -> float:
    """The stated rate, unless the `span` in seconds between first and last frame belies it by more than a factor 2."""
    measured = (num_frames - 1) / span if span > 0 else 0.0
    if stated > 0 and (measured == 0 or 0.5 <= stated / measured <= 2):
        return stated
    return measured or 1.0


__all__ = [
    "MAX_PIXELS",
    "URL_PREFIXES",
    "VideoIndex",
    "average_fps",
    "locate_video",
    "open_video",
    "scan_video",
]
