"""Read the packets of a video's container to its end, without decoding them."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction

from transformers.utils import is_av_available

from .video_errors import EXHAUSTION_ERRORS, video_error


if is_av_available():
    import av

MAX_FRAMES = 30 * 100 * 3600  # 100 hours; a server may send frames without end


@dataclass
class Reading:
    """What the packets of a container say about its video.

    Args:
        time_bases (`dict[int, Fraction]`): Unit of time of each stream that is read, in seconds.
        packets (`list[tuple[int | None, int]]`): Timestamp and duration of each packet that holds something to show.
        ends (`dict[int, int]`): End of the last packet of each stream, in its unit of time.
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

    time_bases: dict[int, Fraction]
    packets: list[tuple[int | None, int]] = field(default_factory=list)
    ends: dict[int, int] = field(default_factory=dict)
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

    @property
    def end(self) -> float:
        """End of the last packet of any stream, in seconds."""
        return max([0.0, *(float(end * self.time_bases[stream]) for stream, end in self.ends.items())])

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


def demux(container: "av.container.InputContainer", streams: "list[av.stream.Stream]") -> Iterator["av.Packet"]:
    """Yield the packets of streams up to the end of a container, and then an empty one for each."""
    try:
        yield from container.demux(streams)
    except IndexError:
        # At the end, after all of these, PyAV fails over a stream that appeared on the way (FLV, MPEG).
        return


def decode_stream(container: "av.container.InputContainer", stream: "av.VideoStream") -> Iterator["av.VideoFrame"]:
    """Yield the frames of a stream."""
    for packet in demux(container, [stream]):
        yield from packet.decode()


def read_packets(container: "av.container.InputContainer", stream: "av.VideoStream", name: str) -> Reading:
    """Read the packets of all streams of a container; all count for its end, also those of subtitles.

    Raises:
        [`VideoDecodeError`]: With code `"bad-duration"`, when there is no end.
    """
    streams = [other for other in container.streams if other.type in ("video", "audio", "subtitle")]
    time_bases = {other.index: other.time_base for other in streams}
    reading = Reading(time_bases, is_encrypted="enc_key_id" in stream.metadata)
    packets, ends, video = reading.packets, reading.ends, stream.index
    is_transport_stream = container.format.name == "mpegts"
    try:
        for packet in demux(container, streams):
            # There may be a million packets: whole numbers are compared, and seconds are made of the last one.
            index, pts = packet.stream_index, packet.pts
            if pts is not None and (end := pts + (packet.duration or 0)) > ends.get(index, 0):
                ends[index] = end
            # Packets outside the edit list are decoded, since others refer to them, but not shown.
            if index != video or not packet.size or packet.is_discard:
                continue
            # What follows a key frame is encrypted as it is.
            if packet.is_keyframe and packet.has_sidedata("encryption_info"):
                reading.is_encrypted = True
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
    except EXHAUSTION_ERRORS:
        raise
    except av.FFmpegError as error:
        reading.damage = f"an error after {len(packets)} frames ({error.strerror})"
    return reading


__all__ = ["Reading", "decode_stream", "demux", "read_packets"]
