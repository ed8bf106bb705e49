"""The sampling rule by times: what is shown at a second. The rule by the average rate: see test_video_decoding."""

import pytest

from drl_tvr.model.frame_sampling import sample_indices
from drl_tvr.model.video_decoding import VideoDecodeError


# 6 slides of 10 s, then 10 s at 10 frames per second.
SLIDES = [*range(0, 60, 10), *(60 + i / 10 for i in range(100))]


def sample(times=SLIDES, duration=70.0, **arguments) -> list[float]:
    """The times of the frames that are selected."""
    indices = sample_indices(len(times), len(times) / duration, frame_times=times, duration=duration, **arguments)
    assert indices == sorted(set(indices))
    return [times[index] for index in indices]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (dict(start=20, end=40), [20, 30, 40]),  # one per second, each slide once; the last is shown at 40 s itself
        (dict(start=20, end=39.9), [20, 30]),
        (dict(start=60, end=64), [60, 61, 62, 63, 64]),
        (dict(start=60.25, end=63.3), [60.2, 61.2, 62.2, 63.2]),  # shown at 60.25 s, 61.25 s, ...
        (dict(start=41, end=49), [40]),  # one frame all along
        (dict(start=58, end=61), [50, 60, 61]),
        (dict(start=69.95), [69.9]),
        (dict(start=68), [68, 69]),
        (dict(end=10), [0, 10]),
        (dict(start=60, end=61, fps=5), [60, 60.2, 60.4, 60.6, 60.8, 61]),
        (dict(start=35, end=60.2, fps=None), [30, 40, 50, 60, 60.1, 60.2]),
        (dict(start=60, fps=None, max_frames=3), [60, 64.9, 69.9]),
        (dict(start=60, end=69, max_frames=3), [60, 64, 69]),
        # The whole: 70 seconds, thinned out to 8 of them (0, 9, 19, 29, 39, 49, 59, 69).
        (dict(max_frames=8), [0, 10, 20, 30, 40, 50, 69]),
        (dict(max_frames=None, fps=0.1), [0, 10, 20, 30, 40, 50, 60]),
        (dict(fps=None, max_frames=2), [0, 69.9]),
        (dict(fps=1e300, max_frames=None), SLIDES),
        (dict(fps=1e300, max_frames=2), [0, 69.9]),
        (dict(start=50, end=61, fps=1000.0, max_frames=None), [50, *(60 + i / 10 for i in range(11))]),
    ],
)
def test_seconds_are_the_times_of_the_frames(arguments, expected):
    assert sample(**arguments) == pytest.approx(expected)


def test_an_uneven_video_without_a_range_is_sampled_as_officially_unless_a_sample_would_be_half_a_step_off():
    late = [i / 10 + 0.4 * (i >= 25) for i in range(50)]
    assert sample_indices(50, 10.0, frame_times=late) == [0, 10, 20, 30, 40]
    assert sample(late, 5.4, fps=5, start=2.2, end=3.2) == pytest.approx([2.2, 2.4, 3.0, 3.2])
    late = [i / 10 + 0.6 * (i >= 25) for i in range(50)]
    assert sample_indices(50, 10.0, frame_times=late, duration=5.6) == [0, 10, 20, 24, 34, 44]


@pytest.mark.parametrize("stated_fps", [2.0, 25.0])
def test_a_whole_video_ends_with_its_last_frame_whatever_rate_its_header_states(stated_fps):
    arguments = dict(frame_times=SLIDES, duration=70.0)
    last = len(SLIDES) - 1
    assert sample_indices(len(SLIDES), stated_fps, None, None, **arguments) == list(range(last + 1))
    assert sample_indices(len(SLIDES), stated_fps, None, 12, **arguments)[-1] == last
    assert sample_indices(len(SLIDES), stated_fps, 100.0, None, **arguments)[-1] == last
    assert sample_indices(10, 25.0, None, None, duration=0.2) == list(range(10))


@pytest.mark.parametrize("start", [70.0, 71.0, float("inf"), True, "1"])
def test_a_start_after_the_last_frame_is_an_error(start):
    with pytest.raises(VideoDecodeError, match="in a video of 70.000 s") as caught:
        sample(start=start)
    assert caught.value.code == "bad-range"


def test_without_a_duration_the_last_frame_has_the_average_one():
    times = [0.0, 5.0, 6.0]
    assert sample_indices(3, 0.5, frame_times=times, start=7.9) == [2]
    with pytest.raises(VideoDecodeError, match="in a video of 8.000 s"):
        sample_indices(3, 0.5, frame_times=times, start=8.0)
