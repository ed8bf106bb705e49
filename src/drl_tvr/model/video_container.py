"""Read a video's container to its end without decoding, and compare it with what its header says."""

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
# FFmpeg takes any file with an extension of these (.txt, .bin, ...) for a text-mode screen and draws it.
TEXT_DEMUXERS = ("tty", "bin", "xbin", "adf", "idf")
# Playlists refer to other files; only self-contained files are accepted.
PLAYLIST_DEMUXERS = ("hls", "dash", "concat", "imf")
DRM_TAGS = ("encv", "drmi")  # codec tags of MP4
# In other formats a packet may be a frame that is never shown (VP8), no frame (MPEG-4) or half a frame (MPEG-TS).
FRAME_PER_PACKET_CODECS = ("h264", "hevc")
FRAME_PER_PACKET_CONTAINERS = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
MP4_FIRST_BOXES = (b"ftyp", b"mdat", b"moov", b"wide", b"free", b"skip")
MAX_BOXES = 1000  # real files have about four
# A file may end this many seconds before its stated length (audio, rounding). At 1 fps this costs at most one frame.
LENGTH_TOLERANCE = 1.0
# Rates and durations of real videos lie far inside, those of slides and of high-speed cameras too.
MIN_FPS, MAX_FPS, MAX_DURATION = 1 / 600, 500.0, 100 * 3600.0
# 8192 x 8192. A header of a few bytes can claim 16 times as many, and FFmpeg would allocate them for every frame.
MAX_PIXELS = 2**26


@dataclass(frozen=True)
class PacketTable:
    """Packets of a container's video stream, read to its end.

    Args:
        stream (`int`): Index of the stream in the container.
        codec (`str`): FFmpeg's name of the codec.
        packets (`list[tuple[int | None, int]]`): Timestamp and duration of each frame in units of `time_base`.
        time_base (`Fraction`): Length of the unit of time in seconds.
        fps (`float`): Average rate in frames per second.
        frame_per_packet (`bool`): Whether every packet is known to give one frame with the same timestamp.
        for_torchcodec (`bool`): Whether torchcodec can tell the frames apart.
        truncation (`str`, *optional*): Why `packets` is only the readable part of the video.
        keys (`tuple[tuple[int | None, int | None]]`): Timestamp and decoding time of each packet that is called a key
            frame.
    """

    stream: int
    codec: str
    packets: list[tuple[int | None, int]]
    time_base: Fraction
    fps: float
    frame_per_packet: bool
    for_torchcodec: bool
    truncation: str | None = None
    keys: tuple[tuple[int | None, int | None], ...] = ()

    def places(self) -> dict[int, int]:
        """Return the position in time of each timestamp; nothing unless `frame_per_packet`."""
        if not self.frame_per_packet:
            return {}
        return {pts: place for place, pts in enumerate(sorted(pts for pts, _ in self.packets if pts is not None))}


def locate_video(name: str) -> str:
    """Return the absolute path of a local file, which FFmpeg takes for neither an option nor a protocol.

    Args:
        name (`str`): A path, or an http(s) URL.

    Returns:
        `str`: The absolute path, or the URL as it is.

    Raises:
        [`VideoDecodeError`]: With code `"missing"`, `"unreadable"`, `"empty"` or `"not-a-video"`, before the file is
            opened.
    """
    if name.startswith(URL_PREFIXES):
        return name
    source = os.path.abspath(name)
    try:
        found = os.stat(source)
    except PermissionError as error:
        raise video_error("unreadable", name, f"no permission ({error.strerror})", "a readable file") from error
    except (OSError, ValueError) as error:
        what = "a link that leads nowhere" if os.path.islink(source) else "no such file"
        raise video_error("missing", name, f"{what} (looked at {source!r})", "a video file") from error
    # A pipe or a device is not opened: reading it may not end.
    if not stat.S_ISREG(found.st_mode):
        what = "a folder" if stat.S_ISDIR(found.st_mode) else "something that is not a regular file"
        raise video_error("not-a-video", name, what, "a video file")
    if found.st_size == 0:
        raise video_error("empty", name, "0 bytes", "a video file")
    return source


def open_video(source: str, name: str) -> "av.container.InputContainer":
    """Open a video's container.

    Args:
        source (`str`): Result of [`locate_video`].
        name (`str`): Name of the video in errors.

    Returns:
        `av.container.InputContainer`: The open container.

    Raises:
        [`VideoDecodeError`]: With code `"missing"` (URLs), `"unreadable"`, `"truncated"`, `"no-frames"` or
            `"not-a-video"`.
    """
    is_url = source.startswith(URL_PREFIXES)
    # A playlist under a video's name must not make FFmpeg read other files or hosts.
    options = {"protocol_whitelist": "http,https,tcp,tls" if is_url else "file"}
    # Up to PyAV 18 a tag that is not UTF-8 is fatal by default; PyAV 19 has no such argument.
    tags = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
    try:
        return av.open(source, options=options, timeout=URL_TIMEOUT if is_url else None, **tags)
    except av.FFmpegError as error:
        if not is_url:
            raise_for_mp4(source, name, error)
        elif not isinstance(error, av.InvalidDataError):
            raise video_error("missing", name, f"an error of the server ({error})", "a video") from error
        raise video_error("not-a-video", name, "data in no known video format", "a video") from error


def raise_for_mp4(source: str, name: str, cause: Exception) -> None:
    """Raise the error of a cut or damaged MP4, and nothing for other data; an MP4's index (moov) mostly comes last."""
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
        raise video_error("unreadable", name, f"an error on reading ({error.strerror})", "a readable file") from error
    if b"moov" in boxes and boxes[0] in MP4_FIRST_BOXES:
        raise video_error("no-frames", name, "an MP4 whose index (moov) is damaged", "a whole file") from cause
    if boxes[0] in MP4_FIRST_BOXES:
        found = "an MP4 without its index (moov), probably cut off"
        raise video_error("truncated", name, found, "the whole file") from cause


def scan_video(source: str, name: str, allow_truncated: bool = False) -> PacketTable:
    """Read all packets without decoding them, and check that the container holds what it promises.

    Args:
        source (`str`): Result of [`locate_video`].
        name (`str`): Name of the video in errors.
        allow_truncated (`bool`, *optional*, defaults to `False`): Whether to accept the readable part of a file that
            ends early.

    Returns:
        [`PacketTable`]: The packets; `truncation` is set when they are only the readable part.

    Raises:
        [`VideoDecodeError`]: With any code except `"missing"`, `"empty"` and `"bad-range"`.
    """
    with open_video(source, name) as container:
        stream = select_stream(container, name)
        packets, encrypted, damage, end, keys = [], "enc_key_id" in stream.metadata, None, 0.0, []
        try:
            for packet in container.demux([other for other in container.streams if other.type in ("video", "audio")]):
                if packet.size and packet.pts is not None:
                    end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
                # Packets outside the edit list are decoded, since others refer to them, but not shown.
                if packet.size and packet.stream.index == stream.index and not packet.is_discard:
                    encrypted = encrypted or packet.has_sidedata("encryption_info")
                    if packet.is_corrupt:
                        damage = f"an end or damage after {len(packets)} frames ({end:.3f} s)"
                        # Frames that are decoded before the damage but shown after it cannot be read either.
                        packets = [p for p in packets if None in (p[0], packet.pts) or p[0] < packet.pts]
                        break
                    packets.append((packet.pts, packet.duration or 0))
                    if packet.is_keyframe:
                        keys.append((packet.pts, packet.dts))
        except av.FFmpegError as error:
            damage = f"an error after {len(packets)} frames ({error.strerror})"
        if not packets and damage is None:
            found = f"no frame (the header promises {stream.frames})"
            raise video_error("no-frames", name, found, "at least one frame")
        if stream.codec_context is None:
            raise video_error("unsupported-codec", name, "no decoder for its codec", "a codec that FFmpeg decodes")
        if encrypted or stream.codec_context.codec_tag in DRM_TAGS:
            raise video_error("encrypted", name, "encrypted frames", "a video without DRM")
        promised = promised_duration(container, stream)
        if promised > MAX_DURATION:
            found = f"a header that promises {promised:.3g} s, and {end:.3f} s of video"
            raise video_error("bad-duration", name, found, f"at most {MAX_DURATION:g} s")
        if damage is None and (promised - end > LENGTH_TOLERANCE or lacks_bytes(container, stream)):
            damage = f"the end of the file after {len(packets)} frames ({end:.3f} s)"
        if damage is not None and not (allow_truncated and packets):
            promise = f"{stream.frames} frames" if stream.frames else "longer video"
            raise video_error("truncated", name, damage, f"the {promise} that the header promises")
        timestamps = [timestamp for timestamp, _ in packets]
        complete = None not in timestamps and len(set(timestamps)) == len(timestamps)
        span = float((max(timestamps) - min(timestamps)) * stream.time_base) if complete else 0.0
        fps = average_fps(float(stream.average_rate or 0), len(packets), span)
        # A single frame has no measurable rate; only its duration is checked.
        if not MIN_FPS <= fps or fps > MAX_FPS and len(packets) > 1:
            found = f"{len(packets)} frames in {len(packets) / fps:.3g} s ({fps:.3g} per second)"
            raise video_error("bad-duration", name, found, f"{MIN_FPS:.2g} to {MAX_FPS:g} frames per second")
        pixels = stream.codec_context.format
        # See `read_video`; above 8 bits the two libraries interpolate colours in different ways.
        addressable = pixels is not None and max(part.bits for part in pixels.components) <= 8
        codec, form = stream.codec_context.codec.canonical_name, container.format.name
        return PacketTable(
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
            keys=tuple(keys),
        )


def select_stream(container: "av.container.InputContainer", name: str) -> "av.VideoStream":
    """Return the video stream of a container.

    Raises:
        [`VideoDecodeError`]: With code `"not-a-video"`, `"no-video-stream"` or `"too-large"`.
    """
    form = container.format.name
    if form in TEXT_DEMUXERS + PLAYLIST_DEMUXERS or form == "image2" or form.endswith("_pipe"):
        found = f"a text, a playlist or a still image (format {form!r})"
        raise video_error("not-a-video", name, found, "a video")
    stream = container.streams.best("video")
    # The cover of an audio file is a video stream too.
    if stream is None or stream.disposition & av.stream.Disposition.attached_pic:
        kinds = ", ".join(other.type for other in container.streams) or "none"
        raise video_error("no-video-stream", name, f"no video among its streams ({kinds})", "a video stream")
    context = stream.codec_context
    if context is not None and context.width * context.height > MAX_PIXELS:
        found = f"frames of {context.width}x{context.height}"
        raise video_error("too-large", name, found, f"at most {MAX_PIXELS} pixels per frame")
    return stream


def promised_duration(container: "av.container.InputContainer", stream: "av.VideoStream") -> float:
    """Return the duration that the container states, in seconds; 0 where the format states none or has an index."""
    if container.format.name == "avi" and stream.average_rate:
        return stream.frames / float(stream.average_rate)
    if container.format.name in ("matroska,webm", "flv"):
        return (container.duration or 0) / av.time_base
    return 0.0


def lacks_bytes(container: "av.container.InputContainer", stream: "av.VideoStream") -> bool:
    """Return whether the index of an MP4 points beyond the end of the file."""
    is_mp4 = container.format.name.startswith("mov")
    return is_mp4 and any(entry.pos + entry.size > container.size for entry in stream.index_entries)


def average_fps(stated: float, num_frames: int, span: float) -> float:
    """Return the stated rate, unless it disagrees with the measured rate by more than a factor of 2.

    Args:
        stated (`float`): Rate of the header in frames per second; 0 for none.
        num_frames (`int`): Number of frames.
        span (`float`): Seconds between the first and the last frame.

    Returns:
        `float`: Frames per second; 1 where nothing is known.
    """
    measured = (num_frames - 1) / span if span > 0 else 0.0
    if stated > 0 and (measured == 0 or 0.5 <= stated / measured <= 2):
        return stated
    return measured or 1.0


__all__ = [
    "MAX_PIXELS",
    "URL_PREFIXES",
    "PacketTable",
    "average_fps",
    "locate_video",
    "open_video",
    "scan_video",
]
