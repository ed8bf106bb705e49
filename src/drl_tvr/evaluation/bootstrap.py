"""Compute bootstrap intervals of retrieval metrics, and of the difference between two models.

Captions of one video share its features, so they tend to be right or wrong together. Resampling captions one by one
would treat them as independent and give intervals that are too narrow. Videos are resampled instead, each with all of
its captions; with one caption per video this is the usual bootstrap over queries. The candidates are not resampled.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .metrics import DIRECTIONS, RECALL_AT, check_every_video_has_a_caption, metrics_of_ranks


NUM_RESAMPLES = 2000
COVERED_PERCENT = 95
LOWER_IS_BETTER = ("MdR", "MnR")
MAX_DRAWN_ELEMENTS = 2**22  # of the largest array of draws


@dataclass
class PairedDifference:
    """One metric of two models on the same queries.

    Args:
        metric (`str`): Name of the metric, as in [`evaluate_retrieval`].
        first, second (`float`): Its value for each model.
        low, high (`float`): Ends of the 95 % interval of `second - first`.
        p_value (`float`): From `exact_p_value`. The interval alone is too short when few
            queries differ.
    """

    metric: str
    first: float
    second: float
    low: float
    high: float
    p_value: float

    @property
    def difference(self) -> float:
        """Second value minus the first."""
        return self.second - self.first

    @property
    def is_beyond_noise(self) -> bool:
        """Whether the interval lies on one side of 0 and the exact test agrees."""
        return (self.low > 0 or self.high < 0) and self.p_value < 1 - COVERED_PERCENT / 100

    @property
    def better(self) -> str | None:
        """Better model, `"first"` or `"second"`; `None` within noise. Lower is better for ranks, higher for recall."""
        if not self.is_beyond_noise:
            return None
        is_second = (self.difference < 0) == self.metric.endswith(LOWER_IS_BETTER)
        return "second" if is_second else "first"


def bootstrap_intervals(
    ranks: dict[str, Sequence[float]],
    caption_to_video: Sequence[int],
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """Compute 95 % intervals of the metrics of [`evaluate_retrieval`], by the percentile bootstrap.

    Args:
        ranks (`dict[str, Sequence[float]]`): `"t2v"`, the rank of each caption's video, `"v2t"`, the rank of each
            video's captions, or both.
        caption_to_video (`Sequence[int]` of length `num_captions`): Index of the video that each caption belongs to.
        num_resamples (`int`, *optional*, defaults to 2000): Number of draws of all videos, with replacement.
        seed (`int`, *optional*, defaults to 0): Seed of the draws.

    Returns:
        `dict[str, tuple[float, float]]`: Lower and upper end of the interval of each metric, `"t2v_R@1"` and so on.

    Raises:
        `ValueError`: When a direction is unknown, the number of ranks is not the number of captions or videos, or a
            rank is below 1.

    Example:

    ```python
    >>> from drl_tvr.evaluation import bootstrap_intervals

    >>> intervals = bootstrap_intervals({"t2v": [1, 2, 1, 7, 1, 1]}, caption_to_video=[0, 1, 2, 3, 4, 5])
    >>> low, high = intervals["t2v_R@1"]  # of 66.7 %
    >>> low < 66 and high == 100
    True
    ```"""
    ranks, video_of_query = to_rank_arrays(ranks, caption_to_video)
    draws = resample(ranks, video_of_query, num_resamples, seed)
    return {metric: interval(values) for metric, values in draws.items()}


def paired_differences(
    first: dict[str, Sequence[float]],
    second: dict[str, Sequence[float]],
    caption_to_video: Sequence[int],
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> dict[str, PairedDifference]:
    """Compute the difference between two models on the same queries, with its 95 % interval.

    Both models are scored on the same draws, so the difficulty that a query has for both cancels. This finds smaller
    differences than asking whether two intervals overlap.

    Args:
        first, second (`dict[str, Sequence[float]]`): Ranks as in [`~evaluation.bootstrap_intervals`].
        caption_to_video, num_resamples, seed: See [`~evaluation.bootstrap_intervals`].

    Returns:
        `dict[str, PairedDifference]`: One entry per metric, second minus first.

    Raises:
        `ValueError`: See [`~evaluation.bootstrap_intervals`]; also when the directions differ.

    Example:

    ```python
    >>> from drl_tvr.evaluation import paired_differences

    >>> worse, better = {"t2v": [2] * 40 + [1] * 60}, {"t2v": [1] * 100}
    >>> paired_differences(worse, better, range(100))["t2v_R@1"].better
    'second'
    ```"""
    first, video_of_query = to_rank_arrays(first, caption_to_video)
    second, _ = to_rank_arrays(second, caption_to_video)
    if first.keys() != second.keys():
        raise ValueError(
            f"The directions of the ranks differ: found {', '.join(second)} in the second, expected "
            f"{', '.join(first)} as in the first."
        )
    draws_of_first = resample(first, video_of_query, num_resamples, seed)
    draws_of_second = resample(second, video_of_query, num_resamples, seed)
    of_first, of_second = metrics_of_ranks(first), metrics_of_ranks(second)
    differences = {}
    for metric in of_first:
        low, high = interval(draws_of_second[metric] - draws_of_first[metric])
        direction, name = metric.split("_")
        values = [ranks[direction] for ranks in (first, second)]
        if name not in LOWER_IS_BETTER:
            values = [ranks <= int(name.removeprefix("R@")) for ranks in values]
        change = values[1].astype(np.float64) - values[0]
        p_value = exact_p_value(metric, np.bincount(video_of_query[direction], weights=change))
        differences[metric] = PairedDifference(metric, of_first[metric], of_second[metric], low, high, p_value)
    return differences


def to_rank_arrays(
    ranks: dict[str, Sequence[float]], caption_to_video: Sequence[int]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Convert ranks to arrays, and find the video that each query is drawn with.

    Args:
        ranks, caption_to_video: See [`~evaluation.bootstrap_intervals`].

    Returns:
        `tuple(dict[str, numpy.ndarray], dict[str, numpy.ndarray])`: For each direction the ranks, and for each
        direction the index of each query's video.

    Raises:
        `ValueError`: See [`~evaluation.bootstrap_intervals`].
    """
    captions = np.asarray(caption_to_video)
    num_videos = int(captions.max(initial=-1)) + 1
    check_every_video_has_a_caption(captions, num_videos)
    video_of_query = {"t2v": captions, "v2t": np.arange(num_videos)}
    arrays = {}
    for direction, values in ranks.items():
        if direction not in video_of_query:
            raise ValueError(f"`ranks`: found direction {direction!r}, expected one of {', '.join(DIRECTIONS)}.")
        arrays[direction] = np.asarray(values, dtype=np.float64)
        if arrays[direction].shape != video_of_query[direction].shape or not num_videos:
            raise ValueError(
                f"`ranks[{direction!r}]`: found shape {arrays[direction].shape}, expected one rank per query; "
                f"`caption_to_video` has {len(captions)} captions of {num_videos} videos."
            )
        # A positive condition, so that NaN is rejected.
        invalid = np.flatnonzero(~(arrays[direction] >= 1))
        if len(invalid):
            raise ValueError(
                f"`ranks[{direction!r}][{invalid[0]}]`: found {arrays[direction][invalid[0]]}, expected at least 1."
            )
    return arrays, video_of_query


def resample(
    ranks: dict[str, np.ndarray], video_of_query: dict[str, np.ndarray], num_resamples: int, seed: int
) -> dict[str, np.ndarray]:
    """Compute the metrics on random draws of the videos; one draw serves both directions.

    Args:
        ranks, video_of_query (`dict[str, numpy.ndarray]`): For each direction, from
            [`~evaluation.bootstrap.to_rank_arrays`].
        num_resamples, seed (`int`): See [`~evaluation.bootstrap_intervals`].

    Returns:
        `dict[str, numpy.ndarray]`: Values of each metric, of shape `(num_resamples,)`.

    Raises:
        `ValueError`: When `num_resamples` is below 1.
    """
    if num_resamples < 1:
        raise ValueError(f"`num_resamples`: found {num_resamples}, expected at least 1.")
    num_videos = len(video_of_query["v2t"])
    rng = np.random.default_rng(seed)
    blocks = []
    block_size = max(1, MAX_DRAWN_ELEMENTS // max(map(len, video_of_query.values())))
    for start in range(0, num_resamples, block_size):
        size = min(block_size, num_resamples - start)
        draws = rng.multinomial(num_videos, np.full(num_videos, 1 / num_videos), size=size)  # (size, num_videos)
        blocks.append({})
        for direction, values in ranks.items():
            blocks[-1].update(draw_metrics(values, video_of_query[direction], draws, direction))
    return {metric: np.concatenate([block[metric] for block in blocks]) for metric in blocks[0]}


def draw_metrics(
    ranks: np.ndarray, video_of_query: np.ndarray, draws: np.ndarray, direction: str
) -> dict[str, np.ndarray]:
    """Compute the metrics of many draws of the videos at once.

    Args:
        ranks (`numpy.ndarray` of shape `(num_queries,)`): Rank of each query.
        video_of_query (`numpy.ndarray` of shape `(num_queries,)`): Index of the video that each query is drawn with.
        draws (`numpy.ndarray` of shape `(num_draws, num_videos)`): How often each draw has each video.
        direction (`str`): Prefix of the names, `"t2v"` or `"v2t"`.

    Returns:
        `dict[str, numpy.ndarray]`: Metrics of [`~evaluation.metrics.rank_metrics`], each of shape `(num_draws,)`.
    """

    def drawn_sum(values: np.ndarray) -> np.ndarray:
        """Sum a value of each query over the queries of each draw."""
        return draws @ np.bincount(video_of_query, weights=values, minlength=draws.shape[1])

    order = np.argsort(ranks, kind="stable")
    up_to = draws[:, video_of_query[order]].cumsum(axis=1)  # (num_draws, num_queries), from the best rank on
    total = up_to[:, -1]
    lower, upper = ((up_to > place[:, None]).argmax(axis=1) for place in ((total - 1) // 2, total // 2))
    metrics = {f"{direction}_R@{k}": drawn_sum(ranks <= k) / total * 100 for k in RECALL_AT}
    metrics[f"{direction}_MdR"] = (ranks[order[lower]] + ranks[order[upper]]) / 2
    metrics[f"{direction}_MnR"] = drawn_sum(ranks) / total
    return metrics


def exact_p_value(metric: str, change_of_video: np.ndarray) -> float:
    """Compute the p-value of an exact two-sided sign-flip test over the videos that two models differ on.

    Were the models equally good, each video's change could as well have the other sign. For R@K the p-value is the
    share of all signs whose sum is as far from 0; with one caption per video this is McNemar's exact test. A mean or a
    median of ranks is no sum of hits: its p-value is the smallest that so many signs can have.

    Args:
        metric (`str`): Name of the metric.
        change_of_video (`numpy.ndarray` of shape `(num_videos,)`): Second minus first, of the hits or of the ranks of
            each video's queries.

    Returns:
        `float`: The p-value.

    Example:

    ```python
    >>> import numpy as np
    >>> from drl_tvr.evaluation.bootstrap import exact_p_value

    >>> exact_p_value("t2v_R@1", np.array([1, 1, 1, 1, 0, 0, 0]))  # 4 videos better, none worse
    0.125
    ```"""
    changes = change_of_video[change_of_video != 0]
    if metric.endswith(LOWER_IS_BETTER):
        return min(1.0, 2 * 0.5 ** len(changes))
    # Probability of each sum of the changes that are made positive, 0 to `total`; `2 * sum - total` is the signed sum.
    probability = np.ones(1)
    sizes, counts = np.unique(np.abs(changes).astype(np.int64), return_counts=True)
    for size, count in zip(sizes.tolist(), counts.tolist(), strict=True):
        spread = np.zeros(size * count + 1)
        spread[::size] = fair_coins(count)
        probability = np.convolve(probability, spread)
    total = len(probability) - 1
    is_as_far = np.abs(2 * np.arange(total + 1) - total) >= abs(int(changes.sum()))
    return min(1.0, float(probability[is_as_far].sum()))


def fair_coins(count: int) -> np.ndarray:
    """Return the probabilities of 0 to `count` heads among as many fair coins."""
    if count < 2:
        return np.full(count + 1, 0.5**count)
    half = fair_coins(count // 2)
    return np.convolve(np.convolve(half, half), fair_coins(count % 2))


def interval(values: np.ndarray) -> tuple[float, float]:
    """Return the two percentiles between which the middle 95 % of the draws lie."""
    low, high = np.percentile(values, [(100 - COVERED_PERCENT) / 2, (100 + COVERED_PERCENT) / 2])
    return float(low), float(high)


__all__ = ["PairedDifference", "bootstrap_intervals", "paired_differences"]
