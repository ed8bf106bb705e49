"""Select the frames of a video as the official DRL code does, and by their times where the rate changes."""

import math
from collections.abc import Sequence
from numbers import Integral, Real

import numpy as np

from .video_errors import video_error


TIME_STEP = 1e-6  # seconds; times that differ by less are the same


def sample_indices(
    num_frames: int,
    avg_fps: float | None,
    fps: float | None = 1.0,
    max_frames: int | None = 12,
    start: float | None = None,
    end: float | None = None,
    name: str = "video",
    frame_times: Sequence[float] | None = None,
    duration: float | None = None,
) -> list[int]:
    """Select frames as the official DRL code does.

    The candidates are every `round(avg_fps / fps)`-th frame from `start` to `end`. When there are more than
    `max_frames`, `np.linspace` selects from them. A video shorter than a second gives one frame.

    That holds for a constant rate. With `frame_times`, the candidates are the moments `start`, `start + 1 / fps`, and
    so on, and each gives the frame that is shown at that moment, once. Without `start` and `end` this is done only for
    a video in which some frame is further than `0.5 / fps` seconds from its place at the average rate: other
    videos are sampled as in the official code, which does not know times.

    Args:
        num_frames (`int`): Number of frames that the video really has.
        avg_fps (`float`, *optional*): Average rate in frames per second. Without it every frame is a candidate.
        fps (`float`, *optional*, defaults to 1.0): Frames to take per second; `None` for all.
        max_frames (`int`, *optional*, defaults to 12): Largest number of frames to take; `None` for no limit.
        start (`float`, *optional*): Start in seconds; by default the first frame.
        end (`float`, *optional*): End in seconds. An end after the last frame means the last frame, as in the official
            code, because benchmarks round end times up (DiDeMo). A `start` beyond the end is an error.
        name (`str`, *optional*, defaults to `"video"`): Name of the video in errors.
        frame_times (`Sequence[float]`, *optional*): Ascending times of all frames, in seconds after the first one.
        duration (`float`, *optional*): End of the last frame in seconds; by default by the average rate.

    Returns:
        `list[int]`: Indices of the frames, ascending.

    Raises:
        [`VideoDecodeError`]: With code `"bad-range"`, when no part of the video lies between `start` and `end`, or
            they are not numbers.
        `ValueError`: When `fps` or `max_frames` is not positive, or a range is given without `avg_fps`.

    Example:

    ```python
    >>> from drl_tvr.model.frame_sampling import sample_indices

    >>> sample_indices(num_frames=100, avg_fps=29.97, max_frames=12)
    [0, 30, 60, 90]
    >>> sample_indices(num_frames=100, avg_fps=29.97, max_frames=2, start=1.0)
    [29, 89]
    >>> sample_indices(num_frames=4, avg_fps=0.4, start=4.0, end=9.0, frame_times=[0.0, 0.1, 5.0, 9.9])
    [1, 2]
    ```"""
    check_sampling(fps, max_frames)
    has_range = start is not None or end is not None
    if has_range and avg_fps is None:
        raise ValueError(f"{name}: found `start` or `end` in seconds, expected `video_metadata` with `fps` too.")
    if avg_fps is None:
        return thin_out(range(num_frames), max_frames)
    if duration is None:
        duration = num_frames / avg_fps if frame_times is None else frame_times[-1] + 1 / avg_fps
    begin, stop = to_range(start, end, duration, name) if has_range else (0.0, duration)
    if frame_times is not None and (has_range or drifts(frame_times, avg_fps, fps)):
        return shown_frames(np.asarray(frame_times), begin, stop, duration, fps, max_frames)
    first, last = 0, num_frames - 1
    if has_range:
        first, last = (min(int(seconds * avg_fps), last) for seconds in (begin, stop))
    stride = 1 if fps is None else max(1, round(avg_fps / fps))
    return thin_out(range(first, last + 1, stride), max_frames)


def check_sampling(fps: float | None, max_frames: int | None) -> None:
    """Check the two settings of the sampling rule.

    Raises:
        `ValueError`: When one of them is not a positive number.
    """
    if fps is not None and not (is_number(fps) and fps > 0):
        raise ValueError(f"`fps`: found {fps!r}, expected a number above 0.")
    is_count = isinstance(max_frames, Integral) and not isinstance(max_frames, bool)
    if max_frames is not None and not (is_count and max_frames >= 1):
        raise ValueError(f"`max_frames`: found {max_frames!r}, expected at least 1 and a whole number.")


def is_number(value: object) -> bool:
    """Return whether a value is a finite number."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def to_range(start: float | None, end: float | None, duration: float, name: str) -> tuple[float, float]:
    """Return the part of a video that `start` and `end` name, in seconds.

    Raises:
        [`VideoDecodeError`]: With code `"bad-range"`.
    """
    begin, stop = 0.0 if start is None else start, duration if end is None else end
    if not (is_number(begin) and is_number(stop) and 0 <= begin < stop and begin < duration):
        found = f"start={start!r} and end={end!r} in a video of {duration:.3f} s"
        raise video_error("bad-range", name, found, "numbers, 0 <= start < end, with start inside the video")
    return float(begin), min(float(stop), duration)


def drifts(frame_times: Sequence[float], avg_fps: float, fps: float | None) -> bool:
    """Return whether frames are further from their place at the average rate than half the time between samples."""
    if fps is None:
        return False
    places = np.arange(len(frame_times)) / avg_fps
    return bool(np.abs(np.asarray(frame_times) - places).max() > 0.5 / fps)


def shown_frames(
    times: np.ndarray, begin: float, stop: float, duration: float, fps: float | None, max_frames: int | None
) -> list[int]:
    """Return the frames that are shown at the moments `begin`, `begin + 1 / fps`, ... up to `stop`."""
    if fps is None:
        first, last = np.searchsorted(times, [begin + TIME_STEP, stop + TIME_STEP], side="right") - 1
        return thin_out(range(first, last + 1), max_frames)
    fps = min(fps, 1 / TIME_STEP)
    # At `duration` itself nothing is shown any more.
    latest = max(begin, min(stop + TIME_STEP, duration - TIME_STEP))
    num_moments = math.floor((latest - begin) * fps) + 1
    if max_frames is None or num_moments <= max_frames:
        # The first moment of each frame; the moments, unlike the frames, may be too many for the memory.
        firsts = np.ceil((times - begin - TIME_STEP) * fps).clip(0, num_moments)
        return np.flatnonzero(np.diff(firsts, append=num_moments) > 0).tolist()
    moments = begin + np.array(thin_out(range(num_moments), max_frames)) / fps
    return np.unique(np.searchsorted(times, moments + TIME_STEP, side="right") - 1).tolist()


def thin_out(positions: range, max_frames: int | None) -> list[int]:
    """Return at most `max_frames` of the positions, evenly spread from the first to the last."""
    if max_frames is None or len(positions) <= max_frames:
        return list(positions)
    return [positions[i] for i in np.linspace(0, len(positions) - 1, num=max_frames, dtype=int)]


__all__ = ["check_sampling", "is_number", "sample_indices"]
