"""Compare two methods, each trained with several seeds, on the same queries.

The difference of two single runs is not that of two methods: other seeds move it. Few seeds, resampled with
replacement, give intervals that are too narrow, so the seeds enter by Student's t distribution instead; the videos are
resampled as for two single results.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .bootstrap import NUM_RESAMPLES, PairedDifference, interval, resample, to_rank_arrays
from .comparison import comparable_ranks
from .metrics import metrics_of_ranks
from .results import EvaluationResult, ResultError


SIDES = ("first", "second")
DEVIATIONS_PER_DRAW = 20  # the tails of t are long, and its draws cheap


@dataclass
class SeedDifference(PairedDifference):
    """One metric of two methods over several seeds, on the same queries.

    Args:
        metric (`str`): Name of the metric, as in [`evaluate_retrieval`].
        first, second (`float`): Its mean over the seeds of each method.
        low, high (`float`): Ends of the 95 % interval of `second - first`, over queries and seeds.
        p_value (`float`): Twice the share of draws of the difference on the other side of 0.
        first_std, second_std (`float`, *optional*): Standard deviation over the seeds; `None` of a single seed.
        num_first, num_second (`int`): Number of seeds.
        is_paired (`bool`): Whether the differences were taken seed by seed.
    """

    first_std: float | None
    second_std: float | None
    num_first: int
    num_second: int
    is_paired: bool


def compare_seeds(
    first: Sequence[EvaluationResult],
    second: Sequence[EvaluationResult],
    names: tuple[Sequence[str], Sequence[str]] | None = None,
    normalization: str | None = None,
) -> dict[str, SeedDifference]:
    """Compute the differences of two methods over several seeds.

    With the same recorded seeds on both sides, each once, the differences are taken seed by seed; otherwise the seeds
    of the sides are independent. A side may have a single seed: then the interval leaves out what its other seeds
    would change.

    Args:
        first, second (`Sequence[EvaluationResult]`): One result per seed of each method, all on the same queries.
        names (`tuple[Sequence[str], Sequence[str]]`, *optional*): Names of the results in error messages, such as
            their files.
        normalization (`str`, *optional*): See [`~evaluation.compare_results`].

    Returns:
        `dict[str, SeedDifference]`: One entry per metric, mean of the second minus mean of the first.

    Raises:
        [`~evaluation.ResultError`]: When a side has no result or the same weights twice, both sides have a single
            result, or two results cannot be compared, as in [`~evaluation.compare_results`].

    Example:

    ```python
    >>> from drl_tvr.evaluation import compare_seeds, make_result

    >>> data = {"benchmark": "mine", "split": "test", "queries_sha256": "..."}
    >>> def make_run(hits: int, seed: int):
    ...     ranks = [1] * hits + [2] * (100 - hits)
    ...     return make_result({"t2v": ranks, "v2t": ranks}, range(100), data, {"name": "x", "seed": seed}, {})
    >>> worse = [make_run(hits, seed) for seed, hits in enumerate((40, 44, 42))]
    >>> better = [make_run(hits, seed) for seed, hits in enumerate((70, 75, 74))]
    >>> found = compare_seeds(worse, better)["t2v_R@1"]
    >>> found.difference, found.first_std, found.is_paired, found.better
    (31.0, 2.0, True, 'second')
    ```"""
    sides = (first, second)
    if names is None:
        names = tuple([f"{name}[{index}]" for index in range(len(of))] for name, of in zip(SIDES, sides, strict=True))
    check_sides(sides, names)
    results, all_names = [*first, *second], [*names[0], *names[1]]
    pairs = [
        comparable_ranks(results[0], result, (all_names[0], name), normalization)
        for result, name in zip(results[1:], all_names[1:], strict=True)
    ]
    ranks = [pairs[0][0], *(of_other for _, of_other in pairs)]
    seeds = [recorded_seeds(side) for side in sides]
    is_paired = None not in seeds and set(seeds[0]) == set(seeds[1])
    ranks_of_sides = [ranks[: len(first)], ranks[len(first) :]]
    if is_paired:
        orders = map(np.argsort, seeds)
        ranks_of_sides = [[runs[i] for i in order] for runs, order in zip(ranks_of_sides, orders, strict=True)]
    return seed_differences(*ranks_of_sides, results[0].caption_to_video, is_paired)


def check_sides(sides: tuple[Sequence[EvaluationResult], ...], names: tuple[Sequence[str], ...]) -> None:
    """Refuse two sides of a comparison of seeds by the number of their results, or by repeated weights.

    Args:
        sides (`tuple[Sequence[EvaluationResult], ...]`): The results of each side.
        names (`tuple[Sequence[str], ...]`): Their names in the message.

    Raises:
        [`~evaluation.ResultError`]: See [`~evaluation.compare_seeds`].
    """
    for side, results in zip(SIDES, sides, strict=True):
        if not results:
            raise ResultError(f"`{side}`: found no result, expected one per seed.")
    if len(sides[0]) == len(sides[1]) == 1:
        raise ResultError(
            f"{names[0][0]} and {names[1][0]}: found one result per side, expected several on at least one side; "
            "`compare_results` compares two."
        )
    for results, of_side in zip(sides, names, strict=True):
        for index, (result, name) in enumerate(zip(results, of_side, strict=True)):
            for earlier, earlier_name in zip(results[:index], of_side, strict=False):
                if has_same_weights(earlier, result):
                    raise ResultError(
                        f"{name}: found the weights of {earlier_name} again, expected another seed on the same side."
                    )


def has_same_weights(first: EvaluationResult, second: EvaluationResult) -> bool:
    """Return whether two results are of the same weights; without hashes, whether they are the same results."""
    found, other = (result.model.get("sha256") for result in (first, second))
    return first == second if found is None or other is None else found == other


def recorded_seeds(results: Sequence[EvaluationResult]) -> list[int] | None:
    """Return the seeds of training that results record, or `None` when one is missing or a seed is there twice."""
    seeds = [result.model.get("seed") for result in results]
    is_known = all(type(seed) is int for seed in seeds)
    return seeds if is_known and len(set(seeds)) == len(seeds) else None


def seed_differences(
    first: Sequence[dict[str, Sequence[float]]],
    second: Sequence[dict[str, Sequence[float]]],
    caption_to_video: Sequence[int],
    is_paired: bool = False,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> dict[str, SeedDifference]:
    """Compute the difference between the means over seeds of two methods, with its 95 % interval.

    A draw of the difference is that of the means over seeds on a draw of the videos, the same for all runs, plus what
    other seeds could add, from `draw_seed_deviations`.

    Args:
        first, second (`Sequence[dict[str, Sequence[float]]]`): Ranks of each seed, as in
            [`~evaluation.bootstrap_intervals`].
        caption_to_video, num_resamples, seed: See [`~evaluation.bootstrap_intervals`].
        is_paired (`bool`, *optional*, defaults to `False`): Whether the seeds of both sides are the same, in the same
            order.

    Returns:
        `dict[str, SeedDifference]`: One entry per metric, mean of the second minus mean of the first.

    Raises:
        `ValueError`: See [`~evaluation.paired_differences`].
    """
    for run in (*first, *second):
        if run.keys() != first[0].keys():
            raise ValueError(
                f"The directions of the ranks differ: found {', '.join(run)} in a run, expected "
                f"{', '.join(first[0])} as in the first."
            )
    (first_values, first_draws), (second_values, second_draws) = (
        metrics_over_seeds(runs, caption_to_video, num_resamples, seed) for runs in (first, second)
    )
    rng = np.random.default_rng([seed, 1])  # other numbers than those that draw the videos
    differences = {}
    for metric in first_values:
        values = np.array(first_values[metric]), np.array(second_values[metric])
        groups = [values[1] - values[0]] if is_paired else values
        draws = np.repeat(second_draws[metric] - first_draws[metric], DEVIATIONS_PER_DRAW)
        draws += draw_seed_deviations(groups, len(draws), rng)
        low, high = interval(draws)
        share = min((draws <= 0).mean(), (draws >= 0).mean())
        differences[metric] = SeedDifference(
            metric,
            *(float(of_side.mean()) for of_side in values),
            low,
            high,
            min(1.0, float(2 * share + 1 / num_resamples)),  # a finite number of draws does not show 0
            *(float(of_side.std(ddof=1)) if len(of_side) > 1 else None for of_side in values),
            *map(len, values),
            is_paired,
        )
    return differences


def metrics_over_seeds(
    runs: Sequence[dict[str, Sequence[float]]], caption_to_video: Sequence[int], num_resamples: int, seed: int
) -> tuple[dict[str, list[float]], dict[str, np.ndarray]]:
    """Compute the metrics of each seed of a method, and their mean over the seeds on random draws of the videos.

    Args:
        runs (`Sequence[dict[str, Sequence[float]]]`): Ranks of each seed.
        caption_to_video, num_resamples, seed: See [`~evaluation.bootstrap_intervals`].

    Returns:
        `tuple(dict[str, list[float]], dict[str, numpy.ndarray])`: Of each metric the value of each seed, and the mean
        over the seeds on each draw, of shape `(num_resamples,)`.

    Raises:
        `ValueError`: See [`~evaluation.bootstrap_intervals`].
    """
    values, means = {}, {}
    for run in runs:
        ranks, video_of_query = to_rank_arrays(run, caption_to_video)
        for metric, value in metrics_of_ranks(ranks).items():
            values.setdefault(metric, []).append(value)
        for metric, draws in resample(ranks, video_of_query, num_resamples, seed).items():
            means[metric] = means.get(metric, 0) + draws / len(runs)
    return values, means


def draw_seed_deviations(groups: Sequence[np.ndarray], size: int, rng: np.random.Generator) -> np.ndarray:
    """Draw how far other seeds would move a sum or difference of means over seeds.

    The deviations follow Student's t distribution with the standard error over the seeds and Welch's degrees of
    freedom.

    Args:
        groups (`Sequence[numpy.ndarray]`): Values of the seeds: one array per side, or the differences of pairs. A
            group of one value adds nothing, as its spread is unknown.
        size (`int`): Number of draws.
        rng (`numpy.random.Generator`): Source of the draws.

    Returns:
        `numpy.ndarray` of shape `(size,)`: The deviations.

    Example:

    ```python
    >>> import numpy as np
    >>> from drl_tvr.evaluation.seed_comparison import draw_seed_deviations

    >>> deviations = draw_seed_deviations([np.array([60.0, 64.0, 62.0])], 10_000, np.random.default_rng(0))
    >>> bool(4.5 < np.quantile(deviations, 0.975) < 5.5)  # 4.30 standard errors of 1.15 with 2 degrees of freedom
    True
    ```"""
    groups = [group for group in groups if len(group) > 1]
    variances = np.array([group.var(ddof=1) / len(group) for group in groups])
    if not variances.any():
        return np.zeros(size)
    freedom = np.array([len(group) - 1 for group in groups])
    degrees = variances.sum() ** 2 / (variances**2 / freedom).sum()
    return np.sqrt(variances.sum()) * rng.standard_t(degrees, size)


__all__ = ["SeedDifference", "compare_seeds", "seed_differences"]
