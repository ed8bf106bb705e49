"""Read a video's container to its end without decoding, and compare it with what its header says."""

import gc
import os
from dataclasses import dataclass
from fractions import Fraction

import torch
from transformers.utils import is_av_available

from .remote_file import RemoteFile
from .video_cuts import is_cut, read_boxes
from .video_errors import EXHAUSTION_ERRORS, VideoDecodeError, video_error
from .video_orientation import display_matrix
from .video_packets import Reading, decode_stream, read_packets
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
# 8192 x 8192. A header of a few bytes can claim 16 times as many, and FFmpeg would allocate them for every frame.
MAX_PIXELS = 2**26

if hasattr(os, "register_at_fork"):
    # A forked process that collected a frame or decoder of its parent would wait for ever for threads that it does not
    # have; so nothing that is there before a fork is collected after it.
    os.register_at_fork(before=gc.freeze, after_in_parent=gc.unfreeze)


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


def scan_video(source: str, name: str, allow_truncated: bool = False) -> PacketTable:
    """Read all packets, and check that the container is whole and what its header says.

    Packets are decoded only where they do not show which frames there are: in H.264 that may have a packet for each
    field, in a transport stream with a gap, and in a stream that begins amid a group of pictures.

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
        # What a server sends without a size cannot be looked at again.
        if file.seekable():
            check_end(reading, container, stream, file, name)
        suspicion = check_duration(reading, container, stream, name) if reading.damage is None else None
        needs_decoding = reading.has_lost_packets or reading.has_leading_packets or may_hold_fields(stream)
        frames, damage = reading.packets, reading.damage
        if needs_decoding and damage is None:
            frames, damage = decode_times(source, name, stream.index)
        if damage is not None and not (allow_truncated and frames and file.seekable()):
            raise damage_error(damage, stream, file, name)
        timestamps = [timestamp for timestamp, _ in frames]
        complete = None not in timestamps and len(set(timestamps)) == len(timestamps)
        in_order = complete and (timestamps == sorted(timestamps) if needs_decoding else not reading.steps_back)
        codec, form = stream.codec_context.codec.canonical_name, container.format.name
        return PacketTable(
            stream=stream.index,
            codec=codec,
            packets=frames,
            time_base=stream.time_base,
            fps=check_fps(frames, len(reading.packets), stream, complete, name),
            frame_per_packet=in_order
            and (needs_decoding or codec in FRAME_PER_PACKET_CODECS and form in FRAME_PER_PACKET_CONTAINERS),
            for_torchcodec=in_order
            and damage is None
            and not needs_decoding
            and has_8_bits(stream)
            and form != "avi"
            and not is_url(source),
            truncation=damage,
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


def check_end(
    reading: Reading,
    container: "av.container.InputContainer",
    stream: "av.VideoStream",
    file: LocalFile | RemoteFile,
    name: str,
) -> None:
    """Check by the structure of the file that it is no image, and note the damage of one that ends in a packet.

    Raises:
        [`VideoDecodeError`]: With code `"not-a-video"` for a HEIF or AVIF image: an MP4 that has no tracks (moov).
    """
    is_mp4 = container.format.name.startswith("mov")
    if is_mp4 and len(reading.packets) == 1 and b"moov" not in dict(read_boxes(file)):
        raise video_error("not-a-video", name, "a still image (HEIF or AVIF)", "a video")
    if reading.damage is None and is_cut(container, stream, file, reading.position):
        if container.format.name == "gif":
            reading.packets.pop()  # what there is of the last image
        reading.damage = f"the end of the file after {len(reading.packets)} frames ({reading.end:.3f} s)"


def damage_error(damage: str, stream: "av.VideoStream", file: LocalFile | RemoteFile, name: str) -> VideoDecodeError:
    """Return the error of a damaged video."""
    if not file.seekable():
        # An MP4's index that comes last is of no use after its frames are gone.
        found = f"an answer without a size, which can be read only once, and {damage}"
        return video_error("network", name, found, "a server that states the size or has Range requests")
    promise = f"{stream.frames} frames" if stream.frames else "longer video"
    return video_error("truncated", name, damage, f"the {promise} that the header promises")


def check_fps(
    frames: list[tuple[int | None, int]], num_packets: int, stream: "av.VideoStream", complete: bool, name: str
) -> float:
    """Return the average rate of frames, of which `complete` says whether each has a time of its own.

    Raises:
        [`VideoDecodeError`]: With code `"bad-duration"`, when no video has such a rate.
    """
    times = [timestamp for timestamp, _ in frames]
    span = float((max(times) - min(times)) * stream.time_base) if complete else 0.0
    # The stated rate counts packets, of which two may be one frame.
    stated = float(stream.average_rate or 0) if len(frames) > 0.75 * num_packets else 0.0
    fps = average_fps(stated, len(frames), span)
    # A single frame has no measurable rate; only its duration is checked.
    if not MIN_FPS <= fps or fps > MAX_FPS and len(frames) > 1:
        found = f"{len(frames)} frames in {len(frames) / fps:.3g} s ({fps:.3g} per second)"
        raise video_error("bad-duration", name, found, f"{MIN_FPS:.2g} to {MAX_FPS:g} frames per second")
    return fps


def has_8_bits(stream: "av.VideoStream") -> bool:
    """Return whether colours have at most 8 bits; above, PyAV and torchcodec interpolate them in different ways."""
    pixels = stream.codec_context.format
    return pixels is not None and max(part.bits for part in pixels.components) <= 8


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
    if promised - end <= LENGTH_TOLERANCE:
        return None
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
    """Decode a whole video for the timestamp and the duration of each frame, and the damage that ends it.

    Raises:
        [`VideoDecodeError`]: With code `"no-frames"`.
    """
    frames, damage = [], None
    with open_video(source, name) as container:
        stream = container.streams[index]
        prepare_decoder(stream)
        # Nobody sees these pixels: without the filter over the edges of blocks, a quarter of the time is saved.
        stream.codec_context.options = {**stream.codec_context.options, "skip_loop_filter": "all"}
        try:
            for frame in decode_stream(container, stream):
                if frame.is_corrupt:
                    damage = f"damage in frame {len(frames)}"
                    break
                frames.append((frame.pts, frame.duration or 0))
        except EXHAUSTION_ERRORS:
            raise
        except av.FFmpegError as error:
            damage = f"an error after {len(frames)} frames ({error.strerror})"
    if not frames:
        raise video_error("no-frames", name, damage or "no frame that decodes", "at least one frame")
    return frames, damage


def is_mirrored(source: str, name: str, index: int) -> bool:
    """Return whether the first frame of a video is to be shown mirrored, which only its decoder tells."""
    with open_video(source, name) as container:
        for frame in decode_stream(container, container.streams[index]):
            a, b, c, d = display_matrix(frame)
            return a * d - b * c < 0
    return False


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
    "is_mirrored",
    "locate_video",
    "open_video",
    "prepare_decoder",
    "scan_video",
]
