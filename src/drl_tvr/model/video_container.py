"""Read a video's container to its end without decoding, and compare it with what its header says."""

from dataclasses import dataclass, field
from fractions import Fraction

import torch
from transformers.utils import is_av_available

from .video_cuts import is_cut, read_boxes
from .video_errors import video_error
from .video_source import LocalFile, is_url, locate_video, open_container, open_source, open_video


if is_av_available():
    import av

DRM_TAGS = ("encv", "drmi")  # codec tags of MP4
# In other formats a packet may be a frame that is never shown (VP8) or no frame (MPEG-4).
FRAME_PER_PACKET_CODECS = ("h264", "hevc")
FRAME_PER_PACKET_CONTAINERS = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
STATED_DURATION_CONTAINERS = ("matroska,webm", "flv", "asf")
PROGRESSIVE = 1  # FFmpeg's number of this order of fields
LENGTH_TOLERANCE = 1.0  # seconds by which a file may end before its stated length (rounding)
# Rates and durations of real videos lie far inside, those of slides and of high-speed cameras too.
MIN_FPS, MAX_FPS, MAX_DURATION = 1 / 600, 500.0, 100 * 3600.0
MAX_FRAMES = int(30 * MAX_DURATION)  # a server may send frames without end
# 8192 x 8192. A header of a few bytes can claim 16 times as many, and FFmpeg would allocate them for every frame.
MAX_PIXELS = 2**26


@dataclass(frozen=True)
class PacketTable:
    """Frames of a container's video stream, as its packets tell them.

    Args:
        stream (`int`): Index of the stream in the container.
        codec (`str`): FFmpeg's name of the codec.
        packets (`list[tuple[int | None, int]]`): Timestamp and duration of each frame in units of `time_base`.
        time_base (`Fraction`): Length of the unit of time in seconds.
        fps (`float`): Average rate in frames per second.
        frame_per_packet (`bool`): Whether every entry is known to be one frame with the same timestamp, and the
            decoder to return them in the order of time.
        for_torchcodec (`bool`): Whether torchcodec can tell the frames apart.
        truncation (`str`, *optional*): Why `packets` is only the readable part of the video.
        suspicion (`str`, *optional*): What the header says that the content does not bear out.
        steps_back (`bool`): Whether the times of the frames step back, as where clips are joined.
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
    suspicion: str | None = None
    steps_back: bool = False
    keys: tuple[tuple[int | None, int | None], ...] = ()

    def places(self) -> dict[int, int]:
        """Return the position in time of each timestamp; nothing unless `frame_per_packet`."""
        if not self.frame_per_packet:
            return {}
        return {pts: place for place, pts in enumerate(sorted(pts for pts, _ in self.packets if pts is not None))}


@dataclass
class Reading:
    """What the packets of a container say about its video.

    Args:
        packets (`list[tuple[int | None, int]]`): Timestamp and duration of each packet that holds something to show.
        end (`float`): End of the last packet of any stream, in seconds.
        position (`int`): Position of the last packet of the video in the file, in bytes.
        damage (`str`, *optional*): Why there are no more packets.
        is_encrypted (`bool`): Whether a packet is encrypted.
        has_lost_packets (`bool`): Whether the numbers of a transport stream jump: packets are lost, or two recordings
            are joined.
        has_leading_packets (`bool`): Whether packets come before the first key frame, in the file or in time.
        steps_back (`bool`): Whether a key frame has an earlier time than a packet before it.
        marked (`int`, *optional*): Place of a packet that is marked, and after which no key frame came yet.
        first_key (`int`, *optional*): Timestamp of the first key frame.
        latest (`int`, *optional*): The latest timestamp.
        keys (`list[tuple[int | None, int | None]]`): Timestamp and decoding time of each key frame.
    """

    packets: list[tuple[int | None, int]] = field(default_factory=list)
    end: float = 0.0
    position: int = 0
    damage: str | None = None
    is_encrypted: bool = False
    has_lost_packets: bool = False
    has_leading_packets: bool = False
    steps_back: bool = False
    marked: int | None = None
    first_key: int | None = None
    latest: int | None = None
    keys: list[tuple[int | None, int | None]] = field(default_factory=list)

    def find_gap(self, packet: "av.Packet") -> int | None:
        """Return where packets of a transport stream are lost, as soon as it is certain.

        FFmpeg marks the last or the last but one packet before a jump in the stream's numbers. Where a key frame
        follows, another recording may be joined, of which nothing is lost.
        """
        if packet.is_keyframe:
            self.marked = None
        if packet.is_corrupt:
            self.has_lost_packets = True
            self.marked = len(self.packets) if self.marked is None else self.marked
        is_certain = self.marked is not None and len(self.packets) - self.marked >= 2
        return self.marked if is_certain else None

    def add(self, packet: "av.Packet") -> None:
        """Add the next packet of the video."""
        self.packets.append((packet.pts, packet.duration or 0))
        self.position = packet.pos or 0
        if packet.is_keyframe:
            self.keys.append((packet.pts, packet.dts))
        is_early = self.first_key is not None and self.latest == self.first_key
        if packet.pts is None:
            self.has_leading_packets |= is_early
            return
        if self.first_key is None and packet.is_keyframe:
            self.first_key = packet.pts
            self.has_leading_packets = len(self.packets) > 1
        elif is_early and packet.pts < self.first_key:
            self.has_leading_packets = True
        if self.latest is None or packet.pts > self.latest:
            self.latest = packet.pts
        elif packet.is_keyframe and packet.pts < self.latest:
            self.steps_back = True


def scan_video(source: str, name: str, allow_truncated: bool = False) -> PacketTable:
    """Read all packets, and check that the container is whole and what its header says.

    Packets are decoded only where they do not tell the frames: H.264 that may have a packet for each field, a
    transport stream with a gap, and a stream that begins amid a group of pictures.

    Args:
        source (`str`): Result of [`locate_video`].
        name (`str`): Name of the video in errors.
        allow_truncated (`bool`, *optional*, defaults to `False`): Whether to accept the readable part of a file that
            ends early.

    Returns:
        [`PacketTable`]: The frames; `truncation` is set when they are only the readable part.

    Raises:
        [`VideoDecodeError`]: With any code except `"bad-range"`.
    """
    with open_source(source, name) as file, open_container(file, name) as container:
        stream = select_stream(container, name)
        reading = read_packets(container, stream, name)
        check_decodable(reading, stream, name)
        if len(reading.packets) == 1 and is_still(container, file):
            raise video_error("not-a-video", name, "a still image (HEIF or AVIF)", "a video")
        if reading.damage is None and is_cut(container, stream, file, reading.position):
            if container.format.name == "gif":
                reading.packets.pop()  # what there is of the last image
            reading.damage = f"the end of the file after {len(reading.packets)} frames ({reading.end:.3f} s)"
        suspicion = check_duration(reading, container, stream, name) if reading.damage is None else None
        frames = reading.packets
        needs_decoding = reading.has_lost_packets or reading.has_leading_packets or may_hold_fields(stream)
        if needs_decoding and reading.damage is None:
            frames, reading.damage = decode_times(source, name, stream.index)
            if not frames:
                raise video_error("no-frames", name, reading.damage or "no frame", "at least one frame")
        if reading.damage is not None and not (allow_truncated and frames):
            promise = f"{stream.frames} frames" if stream.frames else "longer video"
            raise video_error("truncated", name, reading.damage, f"the {promise} that the header promises")
        timestamps = [timestamp for timestamp, _ in frames]
        complete = None not in timestamps and len(set(timestamps)) == len(timestamps)
        span = float((max(timestamps) - min(timestamps)) * stream.time_base) if complete else 0.0
        # The stated rate counts packets.
        stated = float(stream.average_rate or 0) if len(frames) > 0.75 * len(reading.packets) else 0.0
        fps = average_fps(stated, len(frames), span)
        # A single frame has no measurable rate; only its duration is checked.
        if not MIN_FPS <= fps or fps > MAX_FPS and len(frames) > 1:
            found = f"{len(frames)} frames in {len(frames) / fps:.3g} s ({fps:.3g} per second)"
            raise video_error("bad-duration", name, found, f"{MIN_FPS:.2g} to {MAX_FPS:g} frames per second")
        pixels = stream.codec_context.format
        # See `read_video`; above 8 bits the two libraries interpolate colours in different ways.
        addressable = pixels is not None and max(part.bits for part in pixels.components) <= 8
        codec, form = stream.codec_context.codec.canonical_name, container.format.name
        in_order = complete and (timestamps == sorted(timestamps) if needs_decoding else not reading.steps_back)
        is_known = needs_decoding or codec in FRAME_PER_PACKET_CODECS and form in FRAME_PER_PACKET_CONTAINERS
        return PacketTable(
            stream=stream.index,
            codec=codec,
            packets=frames,
            time_base=stream.time_base,
            fps=fps,
            frame_per_packet=in_order and is_known,
            for_torchcodec=in_order
            and addressable
            and reading.damage is None
            and not needs_decoding
            and form != "avi"
            and not is_url(source),
            truncation=reading.damage,
            suspicion=suspicion,
            steps_back=complete and not in_order,
            keys=tuple(reading.keys),
        )


def select_stream(container: "av.container.InputContainer", name: str) -> "av.VideoStream":
    """Return the video stream of a container.

    Raises:
        [`VideoDecodeError`]: With code `"no-video-stream"` or `"too-large"`.
    """
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


def read_packets(container: "av.container.InputContainer", stream: "av.VideoStream", name: str) -> Reading:
    """Read the packets of all streams of a container; all count for its end, also those of subtitles.

    Raises:
        [`VideoDecodeError`]: With code `"bad-duration"`, when there is no end.
    """
    reading = Reading(is_encrypted="enc_key_id" in stream.metadata)
    packets = reading.packets
    is_transport_stream = container.format.name == "mpegts"
    try:
        for packet in container.demux():
            if packet.pts is not None:
                reading.end = max(reading.end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            # Packets outside the edit list are decoded, since others refer to them, but not shown.
            if not packet.size or packet.stream_index != stream.index or packet.is_discard:
                continue
            reading.is_encrypted = reading.is_encrypted or packet.has_sidedata("encryption_info")
            gap = reading.find_gap(packet) if is_transport_stream else len(packets) if packet.is_corrupt else None
            if gap is not None:
                reading.damage = f"an end or damage after {gap} frames ({reading.end:.3f} s)"
                # Frames that are decoded before the damage but shown after it cannot be read either.
                first_lost = [*packets, (packet.pts, 0)][gap][0]
                packets[:] = [p for p in packets[:gap] if None in (p[0], first_lost) or p[0] < first_lost]
                break
            reading.add(packet)
            if len(packets) > MAX_FRAMES:
                raise video_error("bad-duration", name, "no end", f"at most {MAX_FRAMES} frames")
    except av.FFmpegError as error:
        reading.damage = f"an error after {len(packets)} frames ({error.strerror})"
    return reading


def check_decodable(reading: Reading, stream: "av.VideoStream", name: str) -> None:
    """Check that there are packets, and a decoder that may read them.

    Raises:
        [`VideoDecodeError`]: With code `"no-frames"`, `"unsupported-codec"` or `"encrypted"`.
    """
    if not reading.packets and reading.damage is None:
        found = f"no frame (the header promises {stream.frames})"
        raise video_error("no-frames", name, found, "at least one frame")
    if stream.codec_context is None:
        raise video_error("unsupported-codec", name, "no decoder for its codec", "a codec that FFmpeg decodes")
    if reading.is_encrypted or stream.codec_context.codec_tag in DRM_TAGS:
        raise video_error("encrypted", name, "encrypted frames", "a video without DRM")


def is_still(container: "av.container.InputContainer", file: LocalFile) -> bool:
    """Return whether an MP4 of one frame is a HEIF or AVIF image: it has items and no tracks (moov)."""
    return container.format.name.startswith("mov") and b"moov" not in dict(read_boxes(file))


def may_hold_fields(stream: "av.VideoStream") -> bool:
    """Return whether two packets may be one frame, as in interlaced H.264: one packet for each of its fields."""
    return stream.codec_context.codec.canonical_name == "h264" and stream.codec_context.field_order != PROGRESSIVE


def check_duration(
    reading: Reading, container: "av.container.InputContainer", stream: "av.VideoStream", name: str
) -> str | None:
    """Compare the stated duration with the content, and return what to suspect.

    A header may be wrong, and a file may be cut exactly between two packets: nobody can tell.

    Raises:
        [`VideoDecodeError`]: With code `"bad-duration"`, when it states more than `MAX_DURATION`.
    """
    promised = 0.0
    if container.format.name == "avi" and stream.average_rate:
        promised = stream.frames / float(stream.average_rate)
    elif container.format.name in STATED_DURATION_CONTAINERS:
        promised = (container.duration or 0) / av.time_base
    if promised > MAX_DURATION:
        found = f"a header that promises {promised:.3g} s, and {reading.end:.3f} s of video"
        raise video_error("bad-duration", name, found, f"at most {MAX_DURATION:g} s")
    end = reading.end
    times = sorted(pts for pts, _ in reading.packets if pts is not None)
    if len(times) > 1 and reading.packets[-1][1] == 0:
        # Without durations the last frame is taken to be shown as long as the one before it.
        end = max(end, float((2 * times[-1] - times[-2]) * stream.time_base))
    if promised - end > LENGTH_TOLERANCE:
        return f"a header that states {promised:.3f} s, and {end:.3f} s of content; the end may be missing"
    return None


def prepare_decoder(stream: "av.VideoStream") -> None:
    """Set threads, limits and checks of a stream's decoder before it decodes."""
    stream.codec_context.thread_type = "AUTO"
    # All cores in a single process, one in a worker of a `DataLoader`, which sets torch's number of threads to 1.
    stream.codec_context.thread_count = torch.get_num_threads()
    # A frame may be larger than the header says. "bitstream" makes an error of what some decoders (MPEG-4's relatives)
    # would repair with a line in FFmpeg's log; its stricter settings refuse videos that are whole.
    stream.codec_context.options = {"max_pixels": str(MAX_PIXELS), "err_detect": "bitstream"}


def decode_times(source: str, name: str, index: int) -> tuple[list[tuple[int | None, int]], str | None]:
    """Decode a whole video for the timestamp and the duration of each frame, and the damage that ends it."""
    frames, damage = [], None
    with open_video(source, name) as container:
        stream = container.streams[index]
        prepare_decoder(stream)
        try:
            for frame in container.decode(stream):
                if frame.is_corrupt:
                    damage = f"damage in frame {len(frames)}"
                    break
                frames.append((frame.pts, frame.duration or 0))
        except av.FFmpegError as error:
            damage = f"an error after {len(frames)} frames ({error.strerror})"
    return frames, damage


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
    "PacketTable",
    "average_fps",
    "locate_video",
    "open_video",
    "prepare_decoder",
    "scan_video",
]
