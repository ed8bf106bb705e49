"""Decode chosen frames of a video file, in order or after seeks that are checked; both give the same frames."""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import dropwhile

import torch
from transformers.utils import is_av_available, is_torchcodec_usable, logging

from .frame_index import FrameIndex
from .pixel_buffer import PixelBuffer
from .video_container import is_mirrored, open_video, prepare_decoder
from .video_errors import EXHAUSTION_ERRORS, VideoDecodeError, video_error
from .video_orientation import upright_pixels, upright_size
from .video_packets import decode_stream, demux


if is_av_available():
    import av

logger = logging.get_logger(__name__)


@dataclass
class DecodedFrames:
    """Frames of a video in order, and what decoding them showed.

    Args:
        buffer (`PixelBuffer`): Their pixels.
        pts (`list[int | None]`): Timestamps of all frames of the video, up to the last of them at least.
        backend (`str`): The decoder.
        damage (`str`, *optional*): Why not all of them are there.
        sizes (`int`, *optional*, defaults to 1): Number of sizes that they had.
    """

    buffer: PixelBuffer
    pts: list[int | None]
    backend: str
    damage: str | None = None
    sizes: int = 1


def decode_frames(
    source: str,
    name: str,
    index: FrameIndex,
    indices: list[int],
    has_torchcodec: bool,
    allow_truncated: bool,
    prepare: Callable | None,
) -> DecodedFrames:
    """Decode the frames of `indices` in the way that decodes the fewest others."""
    runs = index.plan_seeks(indices)
    decoded = None
    if any(key is not None for key, _ in runs):
        decoded = decode_with_seeks(source, name, index, runs, prepare)
    elif has_torchcodec and index.table.for_torchcodec:
        decoded = decode_with_torchcodec(source, name, index, indices, prepare)
    return decoded or decode_in_order(source, name, index, indices, allow_truncated, prepare)


class FrameReader:
    """Convert frames of PyAV to pixels in a buffer.

    Args:
        num_frames (`int`): Number of frames to expect.
        name (`str`): Name of the video in errors.
        prepare (`Callable`, *optional*): See [`PixelBuffer`].
    """

    def __init__(self, num_frames: int, name: str, prepare: Callable | None):
        self.buffer = PixelBuffer(num_frames, name, prepare)
        self.sizes: dict[tuple[int, int], None] = {}  # ordered

    def add(self, frame: "av.VideoFrame") -> None:
        """Store the next frame, upright and in the size of the first one: a stream may change its size."""
        self.sizes[upright_size(frame)] = None
        self.buffer.add(upright_pixels(frame, next(iter(self.sizes))))


def decode_in_order(
    source: str, name: str, index: FrameIndex, indices: list[int], allow_truncated: bool, prepare: Callable | None
) -> DecodedFrames:
    """Decode the frames of `indices` with PyAV from the first frame on, as far as the video decodes.

    Raises:
        [`VideoDecodeError`]: With code `"no-frames"`, `"too-large"`, or `"truncated"` unless `allow_truncated`.
    """
    table, wanted, pts = index.table, set(indices), []
    reader, places, last_place = FrameReader(len(indices), name, prepare), table.places(), None
    damage = cause = None
    with open_video(source, name) as container:
        stream = container.streams[table.stream]
        prepare_decoder(stream)
        try:
            for frame in decode_stream(container, stream):
                # FFmpeg conceals a frame that it cannot decode, and frames that refer to it are wrong as well.
                place = places.get(frame.pts)
                if frame.is_corrupt or None not in (place, last_place) and place > last_place + 1:
                    damage = f"damage in frame {len(pts)} of {len(table.packets)}"
                    break
                last_place = place
                if len(pts) in wanted:
                    reader.add(frame)
                pts.append(frame.pts)
                if len(pts) > indices[-1]:
                    break
        except EXHAUSTION_ERRORS:
            raise
        except av.FFmpegError as error:
            damage = f"an error after {len(pts)} of {len(table.packets)} frames ({error.strerror})"
            cause = error
    if not pts:
        found = damage or f"0 of {len(table.packets)} frames that decode"
        raise video_error("no-frames", name, found, "at least one frame") from cause
    if damage is not None and not allow_truncated:
        raise video_error("truncated", name, damage, "a file that decodes as a whole") from cause
    return DecodedFrames(reader.buffer, pts, "pyav", damage, len(reader.sizes))


def decode_all_times(source: str, name: str, index: FrameIndex, allow_truncated: bool) -> DecodedFrames:
    """Decode a video to its end for the times of its frames, without pixels; see [`decode_in_order`]."""
    no_frame = sys.maxsize
    return decode_in_order(source, name, index, [no_frame], allow_truncated, None)


def decode_with_seeks(
    source: str, name: str, index: FrameIndex, runs: list[tuple[int | None, list[int]]], prepare: Callable | None
) -> DecodedFrames | None:
    """Decode runs of frames with PyAV, after a seek to the key frame of each.

    Returns:
        [`DecodedFrames`] or `None`: `None` when a frame differs from the one that the container lists, or decodes with
        an error.

    Raises:
        [`VideoDecodeError`]: With code `"too-large"`.
    """
    reader = FrameReader(sum(len(wanted) for _, wanted in runs), name, prepare)
    with open_video(source, name) as container:
        stream = container.streams[index.table.stream]
        prepare_decoder(stream)
        try:
            for key, indices in runs:
                wanted, place = set(indices), 0 if key is None else index.key_places[key]
                for frame in decode_from(container, stream, index, key):
                    is_key = key is None or frame.key_frame or place > index.key_places[key]
                    if frame.is_corrupt or frame.pts != index.pts[place] or not is_key:
                        logger.debug(f"{name}: another frame than number {place} after a seek: decoded in order.")
                        return None
                    if place in wanted:
                        reader.add(frame)
                    place += 1
                    if place > indices[-1]:
                        break
                if place <= indices[-1]:
                    return None
        except EXHAUSTION_ERRORS:
            raise
        except av.FFmpegError as error:
            logger.debug(f"{name}: an error after a seek ({error}): decoded in order.")
            return None
    return DecodedFrames(reader.buffer, index.pts, "pyav", None, len(reader.sizes))


def decode_from(
    container: "av.container.InputContainer", stream: "av.VideoStream", index: FrameIndex, key: int | None
) -> Iterator["av.VideoFrame"]:
    """Yield the frames from a key frame of the index on, or from the first frame on.

    Frames that are shown before the key frame but stored after it refer to frames before it, and are left out.
    """
    if key is None:
        yield from decode_stream(container, stream)
        return
    first = index.pts[index.key_places[key]]
    container.seek(index.key_dts[key], stream=stream)
    packets = demux(container, [stream])
    # A seek ends at any earlier packet in some formats (MPEG-TS).
    for packet in dropwhile(lambda packet: packet.pts != first, packets):
        for frame in packet.decode():
            if frame.pts is None or frame.pts >= first:
                yield frame


def decode_with_torchcodec(
    source: str, name: str, index: FrameIndex, indices: list[int], prepare: Callable | None
) -> DecodedFrames | None:
    """Decode the frames of `indices` with torchcodec, in order.

    Returns:
        [`DecodedFrames`] or `None`: `None` where torchcodec fails or returns other frames.

    Raises:
        [`VideoDecodeError`]: With code `"too-large"`.
    """
    table, buffer = index.table, PixelBuffer(len(indices), name, prepare)
    # With the first frame as the only key frame torchcodec neither seeks nor scans the file again.
    frames = [
        {"pts": pts, "duration": length, "key_frame": int(i == 0)}
        for i, (pts, length) in enumerate(sorted(table.packets))
    ]
    if is_torchcodec_usable(decode="video"):
        from torchcodec.decoders import VideoDecoder
    try:
        if is_mirrored(source, name, table.stream):
            return None  # torchcodec would turn the frames
        decoder = VideoDecoder(
            source,
            stream_index=table.stream,
            num_ffmpeg_threads=torch.get_num_threads(),
            device="cpu",
            custom_frame_mappings=json.dumps({"frames": frames}),
        )
        for i in indices:
            frame = decoder.get_frame_at(i)
            if abs(frame.pts_seconds - float(index.pts[i] * table.time_base)) > 1e-4:
                return None
            buffer.add(frame.data)
    except VideoDecodeError:
        raise
    except (RuntimeError, ValueError, IndexError) as error:
        logger.debug(f"{source}: torchcodec fails ({error}), so PyAV decodes.")
        return None
    return DecodedFrames(buffer, index.pts, "torchcodec")


__all__ = ["DecodedFrames", "decode_all_times", "decode_frames", "decode_in_order"]
