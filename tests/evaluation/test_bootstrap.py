"""The bootstrap, against one that resamples item by item, against theory, and in what it must not claim."""

import itertools
import math
import tracemalloc

import numpy as np
import pytest

from drl_tvr.evaluation import bootstrap as module
from drl_tvr.evaluation import bootstrap_intervals, paired_differences
from drl_tvr.evaluation.bootstrap import exact_p_value
from drl_tvr.evaluation.metrics import metrics_of_ranks


def make_split(num_videos: int, most_captions: int, seed: int = 0):
    """Ranks in halves of captions and videos, and the captions' videos, in no order."""
    rng = np.random.default_rng(seed)
    caption_to_video = rng.permutation(
        np.repeat(np.arange(num_videos), rng.integers(1, most_captions + 1, num_videos))
    )
    ranks = {
        "t2v": np.ceil(rng.exponential(8, len(caption_to_video)) * 2) / 2 + 0.5,
        "v2t": np.ceil(rng.exponential(4, num_videos) * 2) / 2 + 0.5,
    }
    return ranks, caption_to_video


@pytest.mark.parametrize(("num_videos", "most_captions"), [(20, 1), (23, 6), (1, 3)])
def test_it_is_the_plain_loop_over_drawn_videos(num_videos, most_captions):
    ranks, caption_to_video = make_split(num_videos, most_captions)
    rng = np.random.default_rng(7)
    drawn = []
    for counts in rng.multinomial(num_videos, np.full(num_videos, 1 / num_videos), size=60):
        sample = {"t2v": [], "v2t": []}
        for video, count in enumerate(counts):
            for _ in range(count):
                sample["t2v"] += ranks["t2v"][caption_to_video == video].tolist()
                sample["v2t"].append(ranks["v2t"][video])
        drawn.append(metrics_of_ranks({name: np.array(of) for name, of in sample.items()}))
    intervals = bootstrap_intervals(ranks, caption_to_video, num_resamples=60, seed=7)
    assert list(intervals) == list(drawn[0])
    for metric, (low, high) in intervals.items():
        wanted = np.percentile([of[metric] for of in drawn], [2.5, 97.5])
        assert (low, high) == pytest.approx(tuple(wanted), abs=1e-9), metric


def test_it_holds_the_value_and_follows_the_seed_and_not_the_block_size(monkeypatch):
    ranks, caption_to_video = make_split(60, 4)
    values = metrics_of_ranks(ranks)
    intervals = bootstrap_intervals(ranks, caption_to_video, num_resamples=300)
    assert all(low <= values[metric] <= high for metric, (low, high) in intervals.items())
    assert bootstrap_intervals(ranks, caption_to_video, num_resamples=300, seed=1) != intervals
    monkeypatch.setattr(module, "MAX_DRAWN_ELEMENTS", 700)
    assert bootstrap_intervals(ranks, caption_to_video, num_resamples=300) == intervals


def test_a_share_has_the_width_that_theory_says():
    # 400 of 1,000: 1.96 standard errors of a share are 3.04 points.
    ranks = np.array([1.0] * 400 + [3.0] * 600)
    low, high = bootstrap_intervals({"t2v": ranks}, np.arange(1000))["t2v_R@1"]
    assert (low, high) == pytest.approx((40 - 3.04, 40 + 3.04), abs=0.4)


def test_captions_of_a_video_that_agree_add_no_certainty():
    # Ten copies of every caption are no more evidence than one.
    ranks, caption_to_video = make_split(50, 1)
    one = bootstrap_intervals({"t2v": ranks["t2v"]}, caption_to_video)
    ten = bootstrap_intervals({"t2v": np.repeat(ranks["t2v"], 10)}, np.repeat(caption_to_video, 10))
    assert all(ten[metric] == pytest.approx(one[metric]) for metric in one)
    wide = one["t2v_R@5"][1] - one["t2v_R@5"][0]
    # Taken as 500 videos they would look like more.
    alone = bootstrap_intervals({"t2v": np.repeat(ranks["t2v"], 10)}, np.arange(500))["t2v_R@5"]
    assert alone[1] - alone[0] < wide / 2


def test_the_same_ranks_do_not_differ():
    ranks, caption_to_video = make_split(40, 3)
    for difference in paired_differences(ranks, ranks, caption_to_video).values():
        assert (difference.difference, difference.low, difference.high) == (0, 0, 0)
        assert difference.better is None and not difference.is_beyond_noise


def test_pairing_finds_what_two_intervals_hide():
    # The second model finds 30 of 1,000 queries more and loses none.
    first = {"t2v": np.array([1.0] * 400 + [2.0] * 600)}
    second = {"t2v": np.array([1.0] * 430 + [2.0] * 570)}
    difference = paired_differences(first, second, np.arange(1000))["t2v_R@1"]
    assert difference.difference == pytest.approx(3) and difference.low > 1.5 and difference.better == "second"
    one, other = (bootstrap_intervals(ranks, np.arange(1000))["t2v_R@1"] for ranks in (first, second))
    assert one[1] > other[0]  # the intervals of the two overlap
    # As many found as lost is noise, however many.
    mixed = {"t2v": np.r_[np.full(30, 2.0), np.full(370, 1.0), np.full(30, 1.0), np.full(570, 2.0)]}
    assert paired_differences(first, mixed, np.arange(1000))["t2v_R@1"].better is None


@pytest.mark.parametrize("num_differing", [1, 4, 5, 6, 8, 11, 16])
def test_few_differing_queries_are_not_called_beyond_noise(num_differing: int):
    """False positives where each of some differing queries is a coin toss: of the interval alone 5 to 12.5 %."""
    expected, found = 0.0, 0.0
    for num_better in range(num_differing + 1):
        signs = np.array([1] * num_better + [-1] * (num_differing - num_better))
        first, second = np.ones(300), np.ones(300)
        first[:num_better], second[num_better:num_differing] = 2, 2
        difference = paired_differences({"t2v": first}, {"t2v": second}, range(300), num_resamples=500)["t2v_R@1"]
        # The definition: among all equally likely signs, the share that is as one-sided.
        all_signs = np.array(list(itertools.product([-1, 1], repeat=num_differing))).sum(axis=1)
        assert difference.p_value == pytest.approx(np.mean(abs(all_signs) >= abs(signs.sum())))
        probability = math.comb(num_differing, num_better) / 2**num_differing
        expected += probability * (difference.p_value < 0.05)
        found += probability * difference.is_beyond_noise
    assert found <= expected < 0.05


def test_the_mean_of_few_ranks_is_not_beyond_noise():
    first, second = np.full(300, 3.0), np.full(300, 3.0)
    second[:5] = 1
    difference = paired_differences({"t2v": first}, {"t2v": second}, range(300))["t2v_MnR"]
    assert difference.high < 0 and difference.p_value == 0.0625 and difference.better is None
    second[5] = 1
    assert paired_differences({"t2v": first}, {"t2v": second}, range(300))["t2v_MnR"].better == "second"


def test_captions_of_one_video_are_one_sign():
    first, second = np.full(100, 2.0), np.full(100, 2.0)
    second[:40] = 1  # all captions of 4 videos
    difference = paired_differences({"t2v": first}, {"t2v": second}, np.arange(100) // 10)["t2v_R@1"]
    assert difference.p_value == 0.125


@pytest.mark.parametrize("changes", [[5, -1, -1, -1], [3, 3, -2, 1, 0, -5, 4], [2, 2, 2, 1, 1], [0, 0]])
def test_the_sizes_of_the_changes_count(changes):
    signs = np.array(list(itertools.product([-1, 1], repeat=len(changes))))
    wanted = np.mean(abs(signs @ changes) >= abs(sum(changes)))
    assert exact_p_value("t2v_R@1", np.array(changes, dtype=float)) == pytest.approx(wanted)


def test_few_large_and_many_small_changes_agree_with_the_difference():
    """5 captions of 20 videos more, 1 of 40 videos less: more videos are worse, and more captions are better."""
    first, second = np.full((200, 5), 2.0), np.full((200, 5), 2.0)
    second[:20], first[20:60, 0] = 1, 1
    found = paired_differences({"t2v": first.ravel()}, {"t2v": second.ravel()}, np.arange(1000) // 5)["t2v_R@1"]
    assert found.difference == pytest.approx(6) and found.better == "second"
    assert found.p_value == pytest.approx(exact_p_value("t2v_R@1", np.array([5] * 20 + [-1] * 40)))


def test_captions_that_agree_are_no_false_positives():
    """Equally good models, whose 3 captions of a video change together."""
    rng = np.random.default_rng(0)
    changes = rng.integers(0, 4, (400, 60)) * rng.choice([-1, 1], (400, 60))
    assert np.mean([exact_p_value("t2v_R@1", of) < 0.05 for of in changes]) < 0.08


def test_thousands_of_differing_videos_have_a_p_value():
    assert exact_p_value("t2v_R@1", np.array([1] * 20_500 + [-1] * 19_500)) == pytest.approx(5.8e-7, rel=0.02)
    assert exact_p_value("t2v_R@1", np.zeros(3)) == 1


def test_memory_does_not_grow_with_the_square_of_the_captions(monkeypatch):
    """As many different ranks as captions once made a matrix of their square."""
    monkeypatch.setattr(module, "MAX_DRAWN_ELEMENTS", 2**18)
    rng, peaks = np.random.default_rng(0), []
    for num_captions in (1_000, 4_000):
        ranks = {"t2v": 1 + rng.permutation(num_captions)}
        tracemalloc.start()
        bootstrap_intervals(ranks, range(num_captions), num_resamples=300)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0] < 20e6


def test_a_lower_rank_is_better_and_the_order_of_the_two_turns_the_sign():
    ranks, caption_to_video = make_split(200, 2)
    worse = {name: of + 5 for name, of in ranks.items()}
    there, back = (
        paired_differences(ranks, worse, caption_to_video),
        paired_differences(worse, ranks, caption_to_video),
    )
    for metric in ("t2v_R@5", "t2v_MdR", "v2t_MnR"):
        assert (there[metric].better, back[metric].better) == ("first", "second")
        assert (back[metric].low, back[metric].high) == pytest.approx((-there[metric].high, -there[metric].low))
    assert there["t2v_MnR"].difference == pytest.approx(5) == there["t2v_MnR"].low


def test_ranks_that_do_not_fit_are_errors():
    with pytest.raises(ValueError, match=r"`ranks\['t2v'\]`: found shape \(3,\), .* has 2 captions of 2 videos"):
        bootstrap_intervals({"t2v": [1, 2, 3]}, [0, 1])
    with pytest.raises(ValueError, match=r"`ranks\['v2t'\]`: found shape \(2,\), .* has 2 captions of 1 videos"):
        bootstrap_intervals({"v2t": [1, 2]}, [0, 0])
    with pytest.raises(ValueError, match="found direction 'test', expected one of t2v, v2t"):
        bootstrap_intervals({"test": [1]}, [0])
    with pytest.raises(ValueError, match="found no caption for video 0"):
        bootstrap_intervals({"t2v": [1]}, [1])
    with pytest.raises(ValueError, match="`num_resamples`: found 0, expected at least 1"):
        bootstrap_intervals({"t2v": [1]}, [0], num_resamples=0)
    with pytest.raises(ValueError, match="found v2t in the second, expected t2v as in the first"):
        paired_differences({"t2v": [1]}, {"v2t": [1]}, [0])


def test_an_invalid_rank_is_refused():
    with pytest.raises(ValueError, match=r"`ranks\['t2v'\]\[0\]`: found nan, expected at least 1"):
        bootstrap_intervals({"t2v": [float("nan"), 2]}, [0, 1])
