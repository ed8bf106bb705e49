"""Differences of two methods over several seeds: against theory and a plain loop, and results that are refused."""

import copy

import numpy as np
import pytest

from drl_tvr.evaluation import (
    EvaluationResult,
    ResultError,
    compare_seeds,
    format_seed_comparison,
    make_result,
    paired_differences,
    seed_differences,
)
from drl_tvr.evaluation.metrics import metrics_of_ranks


CAPTION_TO_VIDEO = np.repeat(np.arange(12), [1, 3] * 6)
NAMES = (["a0.json", "a1.json", "a2.json"], ["b0.json", "b1.json", "b2.json"])


def make_run(seed: int | None, side: str = "a", gain: float = 0.0) -> EvaluationResult:
    """A result on 24 captions of 12 videos."""
    rng = np.random.default_rng([ord(side), seed or 0])
    ranks = {
        "t2v": np.clip(rng.integers(1, 10, 24) - gain, 1, 12),
        "v2t": np.clip(rng.integers(1, 10, 12) - gain, 1, 12),
    }
    data = {"benchmark": "msvd", "split": "test", "protocol": "p", "queries_sha256": "aa", "videos_sha256": "bb"}
    model = {"name": f"{side}{seed}", "sha256": {"model.safetensors": f"{side}{seed}"}, "fps": 1.0}
    result = make_result(ranks, CAPTION_TO_VIDEO, data, model if seed is None else {**model, "seed": seed}, {})
    scores = {"settings": {"temperature": 0.05}, "ranks": {"t2v": result.ranks["t2v"][::-1]}}
    result.normalized["qb-norm"] = scores
    return result


def make_sides(gain: float = 0.0) -> tuple[list[EvaluationResult], list[EvaluationResult]]:
    return [make_run(seed) for seed in range(3)], [make_run(seed, "b", gain) for seed in range(3)]


@pytest.mark.parametrize(
    ("first", "second", "is_paired", "quantile"),  # of Student's t, from its table
    [
        ([2.0, 3.0, 4.0, 5.0, 6.0], [3.0, 5.0, 4.0, 9.0, 9.0], True, 2.776),  # 4 degrees of freedom
        ([2.0, 3.0, 4.0, 5.0, 6.0], [3.0, 4.0, 5.0, 6.0, 7.0], False, 2.306),  # 8
        ([2.0, 3.0], [7.0, 8.0], False, 4.303),  # 2
        ([2.0, 3.0, 4.0], [9.0], False, 4.303),
        ([2.0, 3.0, 4.0], [5.0, 5.0, 5.0], False, 4.303),  # by Welch: the second side does not vary
    ],
)
def test_seeds_alone_give_the_interval_of_student(first, second, is_paired, quantile):
    # All queries of a run have one rank, so that no draw of the videos differs from another.
    runs = [[{"v2t": [rank] * 9} for rank in side] for side in (first, second)]
    found = seed_differences(*runs, range(9), is_paired)["v2t_MnR"]
    first, second = np.array(first), np.array(second)
    if is_paired:
        error = (second - first).std(ddof=1) / np.sqrt(len(first))
    else:
        error = np.sqrt(sum(side.var(ddof=1) / len(side) for side in (first, second) if len(side) > 1))
    assert (found.first, found.second) == (first.mean(), second.mean())
    assert found.first_std == pytest.approx(first.std(ddof=1))
    assert (found.num_first, found.num_second, found.is_paired) == (len(first), len(second), is_paired)
    assert (found.second_std is None) == (len(second) == 1)
    wanted = (found.difference - quantile * error, found.difference + quantile * error)
    assert (found.low, found.high) == pytest.approx(wanted, abs=0.12 * quantile * error)


@pytest.mark.parametrize("is_paired", [True, False])
def test_seeds_that_agree_leave_the_bootstrap_of_the_means(is_paired):
    # Two seeds with the same metrics on other videos each: the videos of one are those of the other, turned.
    rng = np.random.default_rng(0)
    captions = np.repeat(np.arange(20), 2)
    sides = []
    for _ in range(2):
        t2v, v2t = rng.integers(1, 9, (20, 2)), rng.integers(1, 9, 20)
        sides.append([{"t2v": np.roll(t2v, k, axis=0).ravel(), "v2t": np.roll(v2t, k)} for k in (0, 7)])
    drawn = []
    rng = np.random.default_rng(3)
    for counts in rng.multinomial(20, np.full(20, 1 / 20), size=80):
        videos = np.repeat(np.arange(20), counts)
        rows = (2 * videos[:, None] + [0, 1]).ravel()
        means = []
        for runs in sides:
            values = [metrics_of_ranks({"t2v": run["t2v"][rows], "v2t": run["v2t"][videos]}) for run in runs]
            means.append({metric: np.mean([of[metric] for of in values]) for metric in values[0]})
        drawn.append({metric: means[1][metric] - means[0][metric] for metric in means[0]})
    found = seed_differences(*sides, captions, is_paired, num_resamples=80, seed=3)
    assert list(found) == list(drawn[0])
    for metric, difference in found.items():
        draws = np.repeat([of[metric] for of in drawn], 20)
        assert (difference.low, difference.high) == pytest.approx(tuple(np.percentile(draws, [2.5, 97.5])), abs=1e-6)


def test_the_interval_holds_the_difference_of_the_methods_as_often_as_it_says():
    # Two methods that are equally good; the seeds move R@1 by about 6 points.
    rng = np.random.default_rng(0)
    covered = {"seeds": 0, "videos alone": 0}
    repeats = 100
    for _ in range(repeats):
        videos, sides = rng.normal(size=60), []
        for _ in range(2):
            of_method = videos + 0.5 * rng.normal(size=60)
            scores = of_method + 0.2 * rng.normal(size=(4, 1)) + 0.5 * rng.normal(size=(4, 60))
            sides.append([{"t2v": np.where(score > 0, 1, 20)} for score in scores])
        found = seed_differences(*sides, range(60), num_resamples=150)["t2v_R@1"]
        covered["seeds"] += found.low <= 0 <= found.high
        assert found.is_beyond_noise == (not found.low <= 0 <= found.high) or 0.04 < found.p_value < 0.07
        single = paired_differences(sides[0][0], sides[1][0], range(60), num_resamples=150)["t2v_R@1"]
        covered["videos alone"] += single.low <= 0 <= single.high
    assert 0.93 <= covered["seeds"] / repeats < 1 and covered["videos alone"] / repeats < 0.9


def test_the_same_seeds_are_paired_in_any_order():
    first, second = make_sides()
    found = compare_seeds(first, second)
    assert all(of.is_paired for of in found.values())
    assert found == compare_seeds(first[::-1], [second[1], second[2], second[0]])
    ranks = [[result.ranks for result in side] for side in (first, second)]
    assert found == seed_differences(*ranks, CAPTION_TO_VIDEO, is_paired=True)
    reverse = compare_seeds(second, first)["t2v_MnR"]
    assert reverse.difference == pytest.approx(-found["t2v_MnR"].difference)


@pytest.mark.parametrize("change", [{"seed": 7}, {"seed": 1}, {"seed": None}, {"seed": True}, {"seed": [0]}])
def test_other_seeds_are_not_paired(change):
    first, second = make_sides()
    second[0].model.update(change)
    found = compare_seeds(first, second)
    assert not any(of.is_paired for of in found.values())
    ranks = [[result.ranks for result in side] for side in (first, second)]
    assert found == seed_differences(*ranks, CAPTION_TO_VIDEO, is_paired=False)
    assert not compare_seeds(first, second[1:])["t2v_R@1"].is_paired


def test_the_better_method_is_named_for_recalls_and_for_ranks():
    found = compare_seeds(*make_sides(gain=6))
    assert found["t2v_MnR"].better == found["t2v_R@5"].better == "second"
    assert found["t2v_MnR"].p_value < 0.05 and found["t2v_MnR"].high < 0
    assert {of.better for of in compare_seeds(*make_sides()).values()} == {None}


def test_normalised_scores_are_compared_under_the_same_settings():
    first, second = make_sides()
    found = compare_seeds(first, second, NAMES, "qb-norm")
    assert found["t2v_MnR"].first == pytest.approx(np.mean([result.ranks["t2v"] for result in first]))
    assert not any(metric.startswith("v2t") for metric in found)
    second[2].normalized["qb-norm"]["ranks"]["v2t"] = [1.0] * 12
    with pytest.raises(ValueError, match="directions of the ranks differ: found t2v, v2t in a run, expected t2v"):
        compare_seeds(first, second, NAMES, "qb-norm")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda a, b: b[1].data.update(split="validation"), "b1.json cannot be compared with a0.json: `data.split`"),
        (
            lambda a, b: a[2].data.update(queries_sha256="zz"),
            "a2.json cannot be compared with a0.json: found other qu",
        ),
        (lambda a, b: b[2].normalized.clear(), "b2.json: found scores under no normalisation, expected scores under"),
        (lambda a, b: a[0].normalized.clear(), "a0.json: found scores under no normalisation, expected scores under"),
        (
            lambda a, b: b[0].normalized["qb-norm"].update(settings={}),
            "b0.json cannot be compared with a0.json: settings of qb-norm",
        ),
        (
            lambda a, b: b[2].model.update(sha256=b[0].model["sha256"]),
            "b2.json: found the weights of b0.json again, expected another seed on the same side",
        ),
        (lambda a, b: a.__setitem__(1, copy.deepcopy(a[0])), "a1.json: found the weights of a0.json again"),
        (lambda a, b: b.clear(), "`second`: found no result, expected one per seed"),
        (
            lambda a, b: (a.__delitem__(slice(1, 3)), b.__delitem__(slice(1, 3))),
            "a0.json and b0.json: found one result per side, expected several on at least one side",
        ),
    ],
)
def test_results_that_cannot_be_compared_are_named(change, said):
    first, second = make_sides()
    change(first, second)
    with pytest.raises(ResultError, match=said):
        compare_seeds(first, second, NAMES, "qb-norm")


def test_a_repeated_result_without_hashes_is_refused_and_the_default_names_say_which():
    first, second = make_sides()
    for result in (*first, *second):
        del result.model["sha256"]
    compare_seeds(first, second)
    with pytest.raises(ResultError, match=r"second\[3\]: found the weights of second\[1\] again"):
        compare_seeds(first, [*second, copy.deepcopy(second[1])])


def test_the_table_shows_means_spreads_seeds_and_what_is_left_out():
    first, second = make_sides(gain=6)
    found = compare_seeds(first, second)
    text = format_seed_comparison(found, first, second, NAMES)
    assert "A: 3 results, seed 0, 1, 2: a0.json, a1.json, a2.json." in text and "taken seed by seed" in text
    assert "the same 24 captions of 12 videos" in text and "has a single seed" not in text
    (row,) = [line for line in text.splitlines() if line.startswith("t2v_MnR")]
    of = found["t2v_MnR"]
    values = f"{of.first:.2f} ± {of.first_std:.2f} {of.second:.2f} ± {of.second_std:.2f}"
    assert f"t2v_MnR {values} {of.difference:+.2f}" in " ".join(row.split())
    assert f"{of.low:+.2f} to {of.high:+.2f}  {of.p_value:.3f}  B is better, beyond noise" in row
    # One seed on a side, a seed that is there twice, and other inputs.
    first[1].model["seed"], first[2].model["fps"] = 0, 2.0
    del second[0].model["seed"]
    names = (NAMES[0], ["b0.json"])
    text = format_seed_comparison(compare_seeds(first, second[:1]), first, second[:1], names)
    assert "B has a single seed: the interval says nothing of its other seeds." in text
    assert "a2.json. A seed is there twice: are all of one method?" in text
    assert "B: 1 result, seed not recorded: b0.json." in text and "taken as independent" in text
    assert "A has fps 1.0, 2.0, B has 1.0." in text
