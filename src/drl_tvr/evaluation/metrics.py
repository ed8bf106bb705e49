"""Compute ranks and retrieval metrics of a similarity matrix.

A tie costs half a rank, so that a constant matrix gets the ranks of chance.
"""

from collections.abc import Sequence

import numpy as np


RECALL_AT = (1, 5, 10)
METRICS = (*(f"R@{k}" for k in RECALL_AT), "MdR", "MnR")
DIRECTIONS = {"t2v": "text to video", "v2t": "video to text"}


def evaluate_retrieval(similarity, caption_to_video: Sequence[int] | None = None) -> dict[str, float]:
    """Score a text-by-video similarity matrix in both directions.

    From text to video, each caption is a query for its own video. From video to text, each video is represented by
    its best caption, and the correct group of captions is ranked among the groups of all videos, as in CLIP4Clip and
    its successors.

    Args:
        similarity (`torch.Tensor` or `numpy.ndarray` of shape `(num_captions, num_videos)`):
            Similarities; higher is more similar.
        caption_to_video (`Sequence[int]` of length `num_captions`, *optional*, defaults to `range(num_captions)`):
            Column of the video that each caption belongs to.

    Returns:
        `dict[str, float]`: `t2v_R@1`, `t2v_R@5`, `t2v_R@10` in percent, `t2v_MdR` (median rank), `t2v_MnR` (mean
        rank), and the same for `v2t`. Ranks start at 1.

    Raises:
        `ValueError`: When a similarity is NaN (the message names row and column), the shapes do not match, an index
            is not a column, or a video has no caption.

    Example:

    ```python
    >>> import torch
    >>> from drl_tvr import evaluate_retrieval

    >>> metrics = evaluate_retrieval(torch.tensor([[0.9, 0.1], [0.8, 0.3], [0.2, 0.7]]), caption_to_video=[0, 0, 1])
    >>> metrics["t2v_R@1"], metrics["v2t_R@1"]
    (100.0, 100.0)
    ```"""
    return metrics_of_ranks(rank_both_ways(similarity, caption_to_video))


def to_arrays(similarity, caption_to_video: Sequence[int] | None) -> tuple[np.ndarray, np.ndarray]:
    """Convert both arguments of [`evaluate_retrieval`] to arrays.

    Args:
        similarity, caption_to_video: See [`evaluate_retrieval`].

    Returns:
        `tuple(numpy.ndarray, numpy.ndarray)`: The matrix of shape `(num_captions, num_videos)`, and the columns of
        shape `(num_captions,)`.

    Raises:
        `ValueError`: See [`evaluate_retrieval`].
    """
    similarity = to_numbers(similarity, "similarity")
    if similarity.ndim != 2 or 0 in similarity.shape:
        raise ValueError(
            f"`similarity`: found shape {similarity.shape}, expected (num_captions, num_videos), both at least 1."
        )
    num_captions, num_videos = similarity.shape
    if np.isnan(similarity).any():
        row, column = np.argwhere(np.isnan(similarity))[0]
        raise ValueError(
            f"`similarity`: found NaN in row {row} (caption), column {column} (video), expected a number."
        )
    return similarity, to_columns(caption_to_video, num_captions, num_videos)


def to_numbers(matrix, name: str) -> np.ndarray:
    """Convert a matrix of scores to an array of its numbers.

    Args:
        matrix (`torch.Tensor`, `numpy.ndarray` or nested sequences): The matrix.
        name (`str`): Name of the argument, for the message.

    Returns:
        `numpy.ndarray`: The array, in the precision of the matrix but at least float32.

    Raises:
        `ValueError`: When it is sparse, or does not hold real numbers.
    """
    try:
        if hasattr(matrix, "detach"):
            matrix = matrix.detach().cpu()
            # NumPy has no bfloat16. A double keeps its digits; rounding them would make ties of near scores.
            matrix = (matrix.float() if matrix.dtype.itemsize < 4 else matrix).numpy()
        matrix = np.asarray(matrix)
    except (TypeError, ValueError, RuntimeError, NotImplementedError) as error:  # sparse, ragged
        raise ValueError(f"`{name}`: found what is not a matrix of numbers: {error}") from error
    if matrix.dtype.kind not in "biuf":
        raise ValueError(f"`{name}`: found values of type {matrix.dtype}, expected real numbers.")
    return matrix


def to_columns(caption_to_video: Sequence[int] | None, num_captions: int, num_videos: int) -> np.ndarray:
    """Convert `caption_to_video` of [`evaluate_retrieval`] to an array.

    Args:
        caption_to_video (`Sequence[int]` or `None`): See [`evaluate_retrieval`].
        num_captions, num_videos (`int`): Rows and columns of the similarity matrix.

    Returns:
        `numpy.ndarray` of shape `(num_captions,)`: Column of each caption's video.

    Raises:
        `ValueError`: See [`evaluate_retrieval`].
    """
    if caption_to_video is None:
        if num_captions != num_videos:
            raise ValueError(
                f"`caption_to_video`: found None for {num_captions} captions and {num_videos} videos, expected the "
                "column of each caption's video."
            )
        caption_to_video = np.arange(num_captions)
    caption_to_video = np.asarray(caption_to_video)
    if caption_to_video.shape != (num_captions,) or not np.issubdtype(caption_to_video.dtype, np.integer):
        raise ValueError(
            f"`caption_to_video`: found shape {caption_to_video.shape} of {caption_to_video.dtype}, expected "
            f"{num_captions} integers, one per row of `similarity`."
        )
    outside = np.flatnonzero((caption_to_video < 0) | (caption_to_video >= num_videos))
    if len(outside):
        raise ValueError(
            f"`caption_to_video`: found video {caption_to_video[outside[0]]} for caption {outside[0]}, expected 0 to "
            f"{num_videos - 1}."
        )
    check_every_video_has_a_caption(caption_to_video, num_videos)
    return caption_to_video


def check_every_video_has_a_caption(caption_to_video: np.ndarray, num_videos: int) -> None:
    """Refuse videos without a caption: as a query such a video has no answer.

    Args:
        caption_to_video (`numpy.ndarray` of shape `(num_captions,)`): Column of each caption's video.
        num_videos (`int`): Number of videos.

    Raises:
        `ValueError`: When a video has no caption.
    """
    without = np.setdiff1d(np.arange(num_videos), caption_to_video)
    if len(without):
        raise ValueError(
            f"`caption_to_video`: found no caption for video {without[0]} (one of {len(without)} such videos), "
            "expected at least one per video."
        )


def tied_ranks(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Rank one column in each row: 1 + the number of better scores + half of the number of other equal scores.

    Args:
        scores (`numpy.ndarray` of shape `(num_queries, num_candidates)`): Scores; higher is better.
        targets (`numpy.ndarray` of shape `(num_queries,)`): The correct column of each row.

    Returns:
        `numpy.ndarray` of shape `(num_queries,)`: Ranks from 1, in steps of a half.

    Example:

    ```python
    >>> import numpy as np
    >>> from drl_tvr.evaluation.metrics import tied_ranks

    >>> tied_ranks(np.array([[0.9, 0.5, 0.1], [0.9, 0.5, 0.5]]), np.array([1, 1])).tolist()
    [2.0, 2.5]
    ```"""
    target = np.take_along_axis(scores, targets[:, None], axis=1)
    better = (scores > target).sum(axis=1)
    equal = (scores == target).sum(axis=1) - 1
    return 1 + better + equal / 2


def ranks_per_caption(similarity: np.ndarray, caption_to_video: np.ndarray) -> np.ndarray:
    """Rank each caption's own video among all videos (text to video).

    Args:
        similarity (`numpy.ndarray` of shape `(num_captions, num_videos)`): Similarities.
        caption_to_video (`numpy.ndarray` of shape `(num_captions,)`): Column of each caption's video.

    Returns:
        `numpy.ndarray` of shape `(num_captions,)`: Ranks from 1, in steps of a half.
    """
    return tied_ranks(similarity, caption_to_video)


def ranks_per_video(similarity: np.ndarray, caption_to_video: np.ndarray) -> np.ndarray:
    """Rank each video's own group of captions among the groups of all videos (video to text).

    A group scores as its best caption.

    Args:
        similarity (`numpy.ndarray` of shape `(num_captions, num_videos)`): Similarities.
        caption_to_video (`numpy.ndarray` of shape `(num_captions,)`): Column of each caption's video.

    Returns:
        `numpy.ndarray` of shape `(num_videos,)`: Ranks from 1, in steps of a half.
    """
    order = np.argsort(caption_to_video, kind="stable")
    starts = np.flatnonzero(np.diff(caption_to_video[order], prepend=-1))
    best = np.maximum.reduceat(similarity[order], starts, axis=0)  # (num_videos, num_videos): groups by videos
    return tied_ranks(best.T, np.arange(similarity.shape[1]))


def rank_metrics(ranks: np.ndarray, direction: str) -> dict[str, float]:
    """Summarise the ranks of one direction.

    Args:
        ranks (`numpy.ndarray` of shape `(num_queries,)`): Ranks from 1.
        direction (`str`): Prefix of the names, `"t2v"` or `"v2t"`.

    Returns:
        `dict[str, float]`: R@K in percent, the median rank MdR and the mean rank MnR.
    """
    metrics = {f"{direction}_R@{k}": float((ranks <= k).mean() * 100) for k in RECALL_AT}
    metrics[f"{direction}_MdR"] = float(np.median(ranks))
    metrics[f"{direction}_MnR"] = float(ranks.mean())
    return metrics


def rank_both_ways(similarity, caption_to_video: Sequence[int] | None) -> dict[str, np.ndarray]:
    """Return the ranks that the metrics of [`evaluate_retrieval`] summarise.

    Args:
        similarity (`torch.Tensor` or `numpy.ndarray` of shape `(num_captions, num_videos)`): Similarities.
        caption_to_video (`Sequence[int]`, *optional*): See [`evaluate_retrieval`].

    Returns:
        `dict[str, numpy.ndarray]`: `"t2v"`, one rank per caption, and `"v2t"`, one rank per video. Ranks start at 1,
        in steps of a half.

    Raises:
        `ValueError`: See [`evaluate_retrieval`].
    """
    similarity, caption_to_video = to_arrays(similarity, caption_to_video)
    return {
        "t2v": ranks_per_caption(similarity, caption_to_video),
        "v2t": ranks_per_video(similarity, caption_to_video),
    }


def metrics_of_ranks(ranks: dict[str, np.ndarray]) -> dict[str, float]:
    """Compute the metrics of [`evaluate_retrieval`] from ranks.

    Args:
        ranks (`dict[str, numpy.ndarray]`): `"t2v"`, the rank of each caption's video, `"v2t"`, the rank of each
            video's captions, or both.

    Returns:
        `dict[str, float]`: R@K in percent, MdR and MnR of each direction.
    """
    metrics = {}
    for direction, values in ranks.items():
        metrics.update(rank_metrics(np.asarray(values), direction))
    return metrics


def twin_accuracy(
    similarity, caption_to_video: Sequence[int] | None, twins: Sequence[tuple[int, int]]
) -> dict[str, float]:
    """Measure how often an item is more similar to its match than to the twin of its match.

    Twins are two videos of the same events in different order. A model that ignores temporal order cannot distinguish
    them and gets 50 %, because a tie counts half.

    Args:
        similarity (`torch.Tensor` or `numpy.ndarray` of shape `(num_captions, num_videos)`): Similarities.
        caption_to_video (`Sequence[int]`, *optional*): See [`evaluate_retrieval`].
        twins (`Sequence[tuple[int, int]]`): Pairs of columns.

    Returns:
        `dict[str, float]`: `t2v_twin_accuracy` over the captions and `v2t_twin_accuracy` over the videos of the pairs,
        in percent; empty without twins.

    Raises:
        `ValueError`: See [`evaluate_retrieval`].

    Example:

    ```python
    >>> import numpy as np
    >>> from drl_tvr.evaluation import twin_accuracy

    >>> twin_accuracy(np.array([[0.9, 0.8], [0.7, 0.6]]), caption_to_video=None, twins=[(0, 1)])
    {'t2v_twin_accuracy': 50.0, 'v2t_twin_accuracy': 50.0}
    ```"""
    if not twins:
        return {}
    similarity, caption_to_video = to_arrays(similarity, caption_to_video)
    twin_of = {}
    for first, second in twins:
        twin_of[first], twin_of[second] = second, first
    best = {video: similarity[caption_to_video == video].max(axis=0) for video in twin_of}
    t2v = [
        compare_scores(row[video], row[twin_of[video]])
        for row, video in zip(similarity, caption_to_video.tolist(), strict=True)
        if video in twin_of
    ]
    v2t = [compare_scores(best[video][video], best[twin][video]) for video, twin in twin_of.items()]
    return {"t2v_twin_accuracy": float(np.mean(t2v) * 100), "v2t_twin_accuracy": float(np.mean(v2t) * 100)}


def compare_scores(right: float, wrong: float) -> float:
    """Return 1 when `right` is the higher score, 0.5 for a tie and 0 otherwise."""
    return float(right > wrong) + 0.5 * float(right == wrong)
