"""How sure a retrieval metric is: bootstrap intervals over the videos of a split, and of the difference of two models.

Captions of one video share its features, so they are right or wrong together, and resampling them one by one would
give intervals that are too narrow. What is resampled is videos, each with all of its captions. With one caption a
video that is the usual bootstrap over queries. The candidates stay as they are.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .metrics import metrics_of_ranks, rank_metrics


NUM_RESAMPLES = 2000
COVERED = 95  # percent
LOWER_IS_BETTER = ("MdR", "MnR")
BLOCK = 2**22  # elements of the largest array


@dataclass
class PairedDifference:
    """One metric of two models on the same queries.

    Args:
        metric (`str`): Its name, as in [`evaluate_retrieval`].
        first, second (`float`): The values.
        low, high (`float`): The 95 % interval of `second - first`.
    """

    metric: str
    first: float
    second: float
    low: float
    high: float

    @property
    def difference(self) -> float:
        """The second value minus the first."""
        return self.second - self.first

    @property
    def is_beyond_noise(self) -> bool:
        """Whether the interval lies on one side of 0."""
        return self.low > 0 or self.high < 0

    @property
    def better(self) -> str | None:
        """`"first"` or `"second"`, or `None` within noise. A lower rank is better, and a higher recall."""
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
    """95 % intervals of the metrics of [`evaluate_retrieval`], by the percentile bootstrap.

    Args:
        ranks (`dict[str, Sequence[float]]`): `"t2v"`, the rank of each caption's video, `"v2t"`, the rank of each
            video's captions, or both.
        caption_to_video (`Sequence[int]` of length `num_captions`): Which video each caption belongs to.
        num_resamples (`int`, *optional*, defaults to 2000): How often the videos are drawn, with replacement.
        seed (`int`, *optional*, defaults to 0): Of the draws.

    Returns:
        `dict[str, tuple[float, float]]`: The lower and upper end of each metric, `"t2v_R@1"` and so on.

    Raises:
        `ValueError`: For a direction that isn't one, or ranks of another number than captions or videos.

    Example:

    ```python
    >>> from drl_tvr.evaluation import bootstrap_intervals

    >>> intervals = bootstrap_intervals({"t2v": [1, 2, 1, 7, 1, 1]}, caption_to_video=[0, 1, 2, 3, 4, 5])
    >>> low, high = intervals["t2v_R@1"]  # of 66.7 %
    >>> low < 66 and high == 100
    True

    ```"""
    ranks, owners = check_ranks(ranks, caption_to_video, num_resamples)
    return {metric: interval(values) for metric, values in resample(ranks, owners, num_resamples, seed).items()}


def paired_differences(
    first: dict[str, Sequence[float]],
    second: dict[str, Sequence[float]],
    caption_to_video: Sequence[int],
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> dict[str, PairedDifference]:
    """The difference of two models on the same queries, with its 95 % interval.

    Both models are judged on the same draws, so what makes a query hard for both cancels. That is much sharper than
    asking whether two intervals overlap.

    Args:
        first, second (`dict[str, Sequence[float]]`): Ranks as in [`~evaluation.bootstrap_intervals`].
        caption_to_video, num_resamples, seed: As there.

    Returns:
        `dict[str, PairedDifference]`: One entry a metric, second minus first.

    Raises:
        `ValueError`: As there, and for directions that differ.

    Example:

    ```python
    >>> from drl_tvr.evaluation import paired_differences

    >>> worse, better = {"t2v": [2] * 40 + [1] * 60}, {"t2v": [1] * 100}
    >>> paired_differences(worse, better, range(100))["t2v_R@1"].better
    'second'

    ```"""
    first, owners = check_ranks(first, caption_to_video, num_resamples)
    second, _ = check_ranks(second, caption_to_video, num_resamples)
    if first.keys() != second.keys():
        raise ValueError(f"The first has ranks of {', '.join(first)}, the second of {', '.join(second)}.")
    before, after = (resample(ranks, owners, num_resamples, seed) for ranks in (first, second))
    values = zip(metrics_of_ranks(first).items(), metrics_of_ranks(second).values(), strict=True)
    return {
        metric: PairedDifference(metric, one, other, *interval(after[metric] - before[metric]))
        for (metric, one), other in values
    }


def check_ranks(ranks: dict[str, Sequence[float]], caption_to_video: Sequence[int], num_resamples: int):
    """Bring ranks and owners to arrays, or refuse them.

    Raises:
        `ValueError`: See [`~evaluation.bootstrap_intervals`].
    """
    if num_resamples < 1:
        raise ValueError(f"`num_resamples` must be at least 1, got {num_resamples}.")
    captions = np.asarray(caption_to_video)
    num_videos = int(captions.max(initial=-1)) + 1
    without = np.setdiff1d(np.arange(num_videos), captions)
    if len(without):
        raise ValueError(f"Video {without[0]} has no caption ({len(without)} such videos).")
    owners = {"t2v": captions, "v2t": np.arange(num_videos)}
    checked = {}
    for direction, of_direction in ranks.items():
        if direction not in owners:
            raise ValueError(f"`ranks` has a direction {direction!r}, expected 't2v' or 'v2t'.")
        checked[direction] = np.asarray(of_direction, dtype=np.float64)
        if checked[direction].shape != owners[direction].shape or not num_videos:
            raise ValueError(
                f"`ranks[{direction!r}]` has shape {checked[direction].shape}; `caption_to_video` tells of "
                f"{len(captions)} captions of {num_videos} videos."
            )
        wrong = np.flatnonzero(~(checked[direction] >= 1))
        if len(wrong):
            raise ValueError(
                f"`ranks[{direction!r}][{wrong[0]}]` is {checked[direction][wrong[0]]}, expected at least 1."
            )
    return checked, owners


def resample(
    ranks: dict[str, np.ndarray], owners: dict[str, np.ndarray], num_resamples: int, seed: int
) -> dict[str, np.ndarray]:
    """Each metric, `(num_resamples,)`, on draws of the videos; one draw serves both directions."""
    num_videos = len(owners["v2t"])
    levels, histograms = {}, {}
    for direction, of_direction in ranks.items():
        levels[direction], columns = np.unique(of_direction, return_inverse=True)
        histograms[direction] = np.zeros((num_videos, len(levels[direction])), dtype=np.float32)
        np.add.at(histograms[direction], (owners[direction], columns), 1)
    rng = np.random.default_rng(seed)
    blocks = []
    block = max(1, BLOCK // num_videos)
    for start in range(0, num_resamples, block):
        size = min(block, num_resamples - start)
        draws = rng.multinomial(num_videos, np.full(num_videos, 1 / num_videos), size=size).astype(np.float32)
        blocks.append({})
        for direction in ranks:
            counts = (draws @ histograms[direction]).astype(np.float64)  # (size, num_levels)
            blocks[-1].update(histogram_metrics(levels[direction], counts, direction))
    return {metric: np.concatenate([of[metric] for of in blocks]) for metric in blocks[0]}


def histogram_metrics(levels: np.ndarray, counts: np.ndarray, direction: str) -> dict[str, np.ndarray]:
    """The metrics of many samples of ranks at once.

    Args:
        levels (`numpy.ndarray` of shape `(num_levels,)`): The ranks that occur, ascending.
        counts (`numpy.ndarray` of shape `(num_samples, num_levels)`): How often each does in each sample.
        direction (`str`): Prefix of the names.

    Returns:
        `dict[str, numpy.ndarray]`: What [`~evaluation.metrics.rank_metrics`] gives for each sample.
    """
    up_to = counts.cumsum(axis=1)
    total = up_to[:, -1]
    metrics = {}
    for name in rank_metrics(levels, direction):
        kind = name.removeprefix(f"{direction}_")
        if kind == "MnR":
            metrics[name] = counts @ levels / total
        elif kind == "MdR":
            middle = [(up_to > place[:, None]).argmax(axis=1) for place in ((total - 1) // 2, total // 2)]
            metrics[name] = (levels[middle[0]] + levels[middle[1]]) / 2
        else:
            metrics[name] = counts @ (levels <= int(kind.removeprefix("R@"))) / total * 100
    return metrics


def interval(values: np.ndarray) -> tuple[float, float]:
    """The middle 95 % of the draws."""
    low, high = np.percentile(values, [(100 - COVERED) / 2, (100 + COVERED) / 2])
    return float(low), float(high)


__all__ = ["PairedDifference", "bootstrap_intervals", "paired_differences"]
