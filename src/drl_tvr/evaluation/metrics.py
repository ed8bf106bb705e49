"""Ranks and retrieval metrics of a similarity matrix. A tie costs half a rank: a constant matrix ranks by chance."""

from collections.abc import Sequence

import numpy as np


RECALL_AT = (1, 5, 10)
METRICS = (*(f"R@{k}" for k in RECALL_AT), "MdR", "MnR")
DIRECTIONS = {"t2v": "text to video", "v2t": "video to text"}


def evaluate_retrieval(similarity, caption_to_video: Sequence[int] | None = None) -> dict[str, float]:
    """Score a text-by-video similarity matrix in both directions.

    Text to video, every caption is a query for its own video. Video to text, each video's best caption stands for it
    and the right group is ranked among the groups of all videos, as CLIP4Clip and its successors do.

    Args:
        similarity (`torch.Tensor` or `numpy.ndarray` of shape `(num_captions, num_videos)`):
            Higher is more similar.
        caption_to_video (`Sequence[int]` of length `num_captions`, *optional*, defaults to `range(num_captions)`):
            Column of the video that each caption belongs to.

    Returns:
        `dict[str, float]`: `t2v_R@1`, `t2v_R@5`, `t2v_R@10` in percent, `t2v_MdR` (median rank), `t2v_MnR` (mean
        rank), and the same for `v2t`. Ranks start at 1.

    Raises:
        `ValueError`: For a NaN (names row and column), shapes that don't fit, an index outside the columns, or a video
            without a caption.

    Example:

    ```python
    >>> import torch
    >>> from drl_tvr import evaluate_retrieval

    >>> metrics = evaluate_retrieval(torch.tensor([[0.9, 0.1], [0.8, 0.3], [0.2, 0.7]]), caption_to_video=[0, 0, 1])
    >>> metrics["t2v_R@1"], metrics["v2t_R@1"]
    (100.0, 100.0)
    ```"""
    similarity, caption_to_video = check_similarity(similarity, caption_to_video)
    return {
        **rank_metrics(ranks_per_caption(similarity, caption_to_video), "t2v"),
        **rank_metrics(ranks_per_video(similarity, caption_to_video), "v2t"),
    }


def check_similarity(similarity, caption_to_video: Sequence[int] | None) -> tuple[np.ndarray, np.ndarray]:
    """Bring both arguments of [`evaluate_retrieval`] to arrays, or refuse them.

    Raises:
        `ValueError`: See [`evaluate_retrieval`].
    """
    if hasattr(similarity, "detach"):
        similarity = similarity.detach().cpu()
        # NumPy has no bfloat16; a double keeps its digits, or near scores would become ties.
        similarity = (similarity.float() if similarity.dtype.itemsize < 4 else similarity).numpy()
    similarity = np.asarray(similarity)
    if similarity.ndim != 2 or 0 in similarity.shape:
        raise ValueError(f"`similarity` must be (num_captions, num_videos), both at least 1, got {similarity.shape}.")
    num_captions, num_videos = similarity.shape
    if np.isnan(similarity).any():
        row, column = np.argwhere(np.isnan(similarity))[0]
        raise ValueError(f"`similarity` is NaN in row {row} (caption), column {column} (video).")
    return similarity, check_owners(caption_to_video, num_captions, num_videos)


def check_owners(caption_to_video: Sequence[int] | None, num_captions: int, num_videos: int) -> np.ndarray:
    """Bring `caption_to_video` of [`evaluate_retrieval`] to an array, or refuse it.

    Raises:
        `ValueError`: See [`evaluate_retrieval`].
    """
    if caption_to_video is None:
        if num_captions != num_videos:
            raise ValueError(
                f"`similarity` has {num_captions} captions and {num_videos} videos: `caption_to_video` is needed to "
                "know which belong together."
            )
        caption_to_video = np.arange(num_captions)
    caption_to_video = np.asarray(caption_to_video)
    if caption_to_video.shape != (num_captions,) or not np.issubdtype(caption_to_video.dtype, np.integer):
        raise ValueError(
            f"`caption_to_video` must hold {num_captions} integers, one a row of `similarity`, got shape "
            f"{caption_to_video.shape} of {caption_to_video.dtype}."
        )
    outside = np.flatnonzero((caption_to_video < 0) | (caption_to_video >= num_videos))
    if len(outside):
        raise ValueError(
            f"Caption {outside[0]} belongs to video {caption_to_video[outside[0]]}, but there are {num_videos} videos."
        )
    without = np.setdiff1d(np.arange(num_videos), caption_to_video)
    if len(without):
        raise ValueError(f"Video {without[0]} has no caption ({len(without)} such videos).")
    return caption_to_video


def tied_ranks(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Rank of one column in every row: 1 + the strictly better + half of the other equal ones.

    Args:
        scores (`numpy.ndarray` of shape `(num_queries, num_candidates)`): Higher is better.
        targets (`numpy.ndarray` of shape `(num_queries,)`): The right column of each row.

    Returns:
        `numpy.ndarray` of shape `(num_queries,)`: Ranks in halves, from 1.
    """
    target = np.take_along_axis(scores, targets[:, None], axis=1)
    better = (scores > target).sum(axis=1)
    equal = (scores == target).sum(axis=1) - 1
    return 1 + better + equal / 2


def ranks_per_caption(similarity: np.ndarray, caption_to_video: np.ndarray) -> np.ndarray:
    """Text-to-video ranks: where each caption's own video stands among all videos.

    Args:
        similarity (`numpy.ndarray` of shape `(num_captions, num_videos)`): Higher is more similar.
        caption_to_video (`numpy.ndarray` of shape `(num_captions,)`): Column of each caption's video.

    Returns:
        `numpy.ndarray` of shape `(num_captions,)`: Ranks in halves, from 1.
    """
    return tied_ranks(similarity, caption_to_video)


def ranks_per_video(similarity: np.ndarray, caption_to_video: np.ndarray) -> np.ndarray:
    """Video-to-text ranks: each video's best caption stands for it, then videos are ranked.

    Args:
        similarity (`numpy.ndarray` of shape `(num_captions, num_videos)`): Higher is more similar.
        caption_to_video (`numpy.ndarray` of shape `(num_captions,)`): Column of each caption's video.

    Returns:
        `numpy.ndarray` of shape `(num_videos,)`: Ranks in halves, from 1.
    """
    order = np.argsort(caption_to_video, kind="stable")
    starts = np.flatnonzero(np.diff(caption_to_video[order], prepend=-1))
    best = np.maximum.reduceat(similarity[order], starts, axis=0)  # (num_videos, num_videos): groups by videos
    return tied_ranks(best.T, np.arange(similarity.shape[1]))


def rank_metrics(ranks: np.ndarray, direction: str) -> dict[str, float]:
    """Summarise ranks.

    Args:
        ranks (`numpy.ndarray` of shape `(num_queries,)`): Ranks from 1.
        direction (`str`): Prefix of the names, `"t2v"` or `"v2t"`.

    Returns:
        `dict[str, float]`: R@K in percent, MdR and MnR.
    """
    metrics = {f"{direction}_R@{k}": float((ranks <= k).mean() * 100) for k in RECALL_AT}
    metrics[f"{direction}_MdR"] = float(np.median(ranks))
    metrics[f"{direction}_MnR"] = float(ranks.mean())
    return metrics


def rank_both_ways(similarity, caption_to_video: Sequence[int] | None) -> dict[str, np.ndarray]:
    """The ranks behind [`evaluate_retrieval`].

    Args:
        similarity (`torch.Tensor` or `numpy.ndarray` of shape `(num_captions, num_videos)`): Higher is more similar.
        caption_to_video (`Sequence[int]`, *optional*): As in [`evaluate_retrieval`].

    Returns:
        `dict[str, numpy.ndarray]`: `"t2v"`, one rank a caption, and `"v2t"`, one a video; in halves, from 1.

    Raises:
        `ValueError`: See [`evaluate_retrieval`].
    """
    similarity, caption_to_video = check_similarity(similarity, caption_to_video)
    return {
        "t2v": ranks_per_caption(similarity, caption_to_video),
        "v2t": ranks_per_video(similarity, caption_to_video),
    }


def metrics_of_ranks(ranks: dict[str, np.ndarray]) -> dict[str, float]:
    """What [`evaluate_retrieval`] gives, from ranks.

    Args:
        ranks (`dict[str, numpy.ndarray]`): `"t2v"`, the rank of each caption's video, `"v2t"`, the rank of each
            video's captions, or both.

    Returns:
        `dict[str, float]`: R@K in percent, MdR and MnR of each direction.
    """
    return {
        metric: value
        for direction, of_direction in ranks.items()
        for metric, value in rank_metrics(np.asarray(of_direction), direction).items()
    }


def twin_accuracy(
    similarity, caption_to_video: Sequence[int] | None, twins: Sequence[tuple[int, int]]
) -> dict[str, float]:
    """How often an item is closer to its counterpart than to the counterpart's twin (the same events, reordered).

    A model that is blind to the order of time gets 50 %: it can't tell the two apart, and a tie counts half.

    Args:
        similarity (`torch.Tensor` or `numpy.ndarray` of shape `(num_captions, num_videos)`): Higher is more similar.
        caption_to_video (`Sequence[int]`, *optional*): As in [`evaluate_retrieval`].
        twins (`Sequence[tuple[int, int]]`): Pairs of columns.

    Returns:
        `dict[str, float]`: `t2v_twin_accuracy` over the captions and `v2t_twin_accuracy` over the videos of the pairs,
        in percent; empty without twins.
    """
    if not twins:
        return {}
    similarity, caption_to_video = check_similarity(similarity, caption_to_video)
    other = {a: b for pair in twins for a, b in (pair, pair[::-1])}
    best = {video: similarity[caption_to_video == video].max(axis=0) for video in other}
    t2v = [
        compare_scores(row[video], row[other[video]])
        for row, video in zip(similarity, caption_to_video.tolist(), strict=True)
        if video in other
    ]
    v2t = [compare_scores(best[video][video], best[twin][video]) for video, twin in other.items()]
    return {"t2v_twin_accuracy": float(np.mean(t2v) * 100), "v2t_twin_accuracy": float(np.mean(v2t) * 100)}


def compare_scores(right: float, wrong: float) -> float:
    """1 when `right` is the higher score, 0.5 for a tie, 0 otherwise."""
    return float(right > wrong) + 0.5 * float(right == wrong)
