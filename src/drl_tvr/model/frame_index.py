"""Index the frames of a video file by their times and key frames, once for all ranges that are decoded of it."""

import os
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import numpy as np

from .video_container import PacketTable, scan_video
from .video_source import is_url


# Fewer frames than these (4 s) are decoded rather than skipped: a seek costs some frames too, and damage is found only
# in frames that are decoded.
MIN_SKIPPED = 100
# Their key frames are told by the decoder too, and frames after one do not refer to frames before it.
SEEKABLE_CODECS = ("h264", "hevc", "av1", "vp8", "vp9", "mpeg4", "mpeg2video")
# Containers hold one shown frame of these per packet.
SHOWN_PACKET_CODECS = ("av1", "vp9")
CACHED_FILES = 4  # a film of two hours takes some 30 MB


@dataclass(frozen=True)
class FrameIndex:
    """Frames of a video file, as its container lists them.

    Args:
        table (`PacketTable`): The packets.
        pts (`list[int]`, *optional*): Timestamp of each frame, ascending; `None` where they are missing, not unique
            or step back.
        frame_times (`tuple[float]`, *optional*): See [`frame_times`].
        duration (`float`): End of the last frame, in seconds after the first one.
        key_places (`list[int]`): Places in `pts` to which the decoder can seek, ascending.
        key_dts (`list[int]`): Where the decoder has to seek for each of them, in units of the stream.
    """

    table: PacketTable
    pts: list[int] | None
    frame_times: tuple[float, ...] | None
    duration: float
    key_places: list[int]
    key_dts: list[int]

    def plan_seeks(self, indices: Sequence[int]) -> list[tuple[int | None, list[int]]]:
        """Split frames into runs between which a seek saves work.

        Args:
            indices (`Sequence[int]`): Indices of the frames, ascending.

        Returns:
            `list[tuple[int | None, list[int]]]`: For each run the number of its key frame (`None` for the beginning of
            the file), and the frames to take while decoding from there.
        """
        runs, following = [(None, [])], 0  # the next frame that would be decoded
        for index in indices:
            key = bisect_right(self.key_places, index) - 1
            if key >= 0 and self.key_places[key] - following > MIN_SKIPPED:
                runs.append((key, []))
            runs[-1][1].append(index)
            following = index + 1
        return [run for run in runs if run[1]]

    def lists(self, pts: Sequence[int | None]) -> bool:
        """Return whether the first frames that decode have the times by which frames were selected."""
        return self.frame_times is None or self.pts[: len(pts)] == pts


def index_video(source: str, name: str, allow_truncated: bool = False) -> FrameIndex:
    """Index a video; a local file that was not changed since its last index is not read again.

    Args:
        source (`str`): Result of [`locate_video`].
        name (`str`): Name of the video in errors.
        allow_truncated (`bool`, *optional*, defaults to `False`): See [`scan_video`].

    Returns:
        [`FrameIndex`]: The frames.

    Raises:
        [`VideoDecodeError`]: See [`scan_video`].
    """
    if is_url(source):
        return build_index(scan_video(source, name, allow_truncated))
    found = os.stat(source)
    # Tools may restore the time of the last write (`cp -p`, `touch -r`), but not that of the last change.
    identity = found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino
    return index_file(source, name, allow_truncated, identity)


@lru_cache(maxsize=CACHED_FILES)
def index_file(source: str, name: str, allow_truncated: bool, identity: tuple[int, int, int, int]) -> FrameIndex:
    """Index a local file; `identity` changes when the file does."""
    return build_index(scan_video(source, name, allow_truncated))


def build_index(table: PacketTable) -> FrameIndex:
    """Sort the packets of a video by time, and find where a seek can begin."""
    timestamps = [pts for pts, _ in table.packets]
    if None in timestamps or len(set(timestamps)) < len(timestamps) or table.steps_back:
        return FrameIndex(table, None, None, len(timestamps) / table.fps, [], [])
    pts = sorted(timestamps)
    times = frame_times(pts, table.time_base, table.fps)
    duration = len(pts) / table.fps
    if times is not None:
        length = dict(table.packets)[pts[-1]]
        duration = times[-1] + (float(length * table.time_base) or 1 / table.fps)
    # Elsewhere a packet may be a frame that is never shown, and only an irregular rate would tell.
    are_frames = table.frame_per_packet or table.codec in SHOWN_PACKET_CODECS or times is None
    keys = []
    if are_frames and table.codec in SEEKABLE_CODECS and table.truncation is None:
        places = {timestamp: place for place, timestamp in enumerate(pts)}
        keys = sorted((places[pts], pts if dts is None else dts) for pts, dts in table.keys if pts in places)
    return FrameIndex(table, pts, times, duration, [place for place, _ in keys], [dts for _, dts in keys])


def frame_times(pts: Sequence[int], time_base: Fraction, fps: float) -> tuple[float, ...] | None:
    """Return the times of frames in seconds after the first one, unless the rate is constant.

    Args:
        pts (`Sequence[int]`): Their timestamps, ascending.
        time_base (`Fraction`): Unit of the timestamps in seconds.
        fps (`float`): Average rate in frames per second.

    Returns:
        `tuple[float]`, *optional*: The times; `None` when each is within half a frame of its place at the average
        rate.
    """
    times = (np.asarray(pts, dtype=np.int64) - pts[0]) * float(time_base)
    if np.abs(times * fps - np.arange(len(times))).max() <= 0.5:
        return None
    return tuple(times.tolist())


__all__ = ["FrameIndex", "build_index", "frame_times", "index_video"]
