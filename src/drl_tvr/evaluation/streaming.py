"""Rank a split without its whole similarity matrix: tiles are scored, counted and dropped."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from tqdm.auto import tqdm

from ..model.modeling_drl import DRLFeatures, DRLModel
from .metrics import to_columns
from .retrieval import BLOCK_SIZE, item_blocks, take_features


class Counts:
    """Number of candidates that are better than each query's own candidate, and equal to it (itself included)."""

    def __init__(self, num_queries: int):
        self.better = np.zeros(num_queries, dtype=np.int64)
        self.equal = np.zeros(num_queries, dtype=np.int64)

    def add(self, queries: np.ndarray, scores: np.ndarray, own: np.ndarray) -> None:
        """Count the candidates of `scores` (num_queries, num_candidates) against `own` (num_queries,)."""
        self.better[queries] += (scores > own[:, None]).sum(axis=1)
        self.equal[queries] += (scores == own[:, None]).sum(axis=1)

    def ranks(self) -> np.ndarray:
        """Return the ranks, from 1 and in halves."""
        return 1 + self.better + (self.equal - 1) / 2


def caption_blocks(caption_to_video: np.ndarray, block_size: int) -> Iterator[np.ndarray]:
    """Split captions into blocks of about `block_size`, ordered by video; captions of one video stay together."""
    order = np.argsort(caption_to_video, kind="stable")
    starts = np.flatnonzero(np.diff(caption_to_video[order], prepend=-1))
    begin = 0
    for start, end in zip(starts, [*starts[1:], len(order)], strict=True):
        if end - begin > block_size and start > begin:
            yield order[begin:start]
            begin = start
    yield order[begin:]


@torch.no_grad()
def stream_ranks(
    model: DRLModel,
    texts: list[DRLFeatures],
    videos: list[DRLFeatures],
    caption_to_video: Sequence[int] | None = None,
    block_size: int = BLOCK_SIZE,
    dtype: torch.dtype | None = None,
    show_progress: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """Compute the ranks of both directions, as [`evaluate_retrieval`] does, without the whole matrix.

    Args:
        model ([`DRLModel`]): The model whose interaction scores.
        texts (`list[DRLFeatures]`): Encoded texts; batches may differ in length.
        videos (`list[DRLFeatures]`): Encoded videos.
        caption_to_video (`Sequence[int]`, *optional*, defaults to `range(num_captions)`): Video of each caption.
        block_size (`int`, *optional*, defaults to 1024): Texts, and videos, per tile; beside the features,
            memory depends on this number alone. The captions of one video stay together: a video with more of them
            makes a larger tile.
        dtype (`torch.dtype`, *optional*): Type in which the tokens of WTI and TI are multiplied, e.g. bfloat16.
        show_progress (`bool`, *optional*, defaults to `True`): Whether to show a progress bar.

    Returns:
        `tuple(numpy.ndarray)`: Rank of every caption's video, of shape `(num_captions,)`, and of every video's best
        caption, of shape `(num_videos,)`; in halves, from 1. Exact duplicates among the videos tie within a tile; in
        tiles of different shapes their scores can differ in the last digit, and a rank by a half per duplicate.

    Raises:
        `ValueError`: When a score is NaN, `caption_to_video` does not fit the captions, or as in [`score_all`].
    """
    columns = [block.numpy() for block in item_blocks(model, videos, block_size)]
    num_captions, num_videos = sum(map(len, item_blocks(model, texts, block_size))), sum(map(len, columns))
    columns_of = to_columns(caption_to_video, num_captions, num_videos)
    rows = list(caption_blocks(columns_of, block_size))

    def score(captions: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        text, video = (
            take_features(side, torch.from_numpy(items)) for side, items in ((texts, captions), (videos, candidates))
        )
        tile = model.similarity(text, video, dtype).float().cpu().numpy()
        if np.isnan(tile).any():
            row, column = np.argwhere(np.isnan(tile))[0]
            raise ValueError(
                f"Caption {captions[row]}, video {candidates[column]}: found the score NaN, expected a number."
            )
        return tile

    # The score of each query's own candidate is taken from the same tiles that are counted later: computed in another
    # shape, it can differ in its last digit, which breaks a tie.
    own = np.empty(num_captions, dtype=np.float32)
    best_own = np.full(num_videos, -np.inf, dtype=np.float32)
    for captions in tqdm(rows, desc="Scoring the pairs", unit="block", disable=not show_progress, leave=False):
        for candidates in columns:
            here = captions[np.isin(columns_of[captions], candidates)]
            if len(here):
                tile = score(captions, candidates)
                own[here] = tile[np.isin(captions, here), columns_of[here] - candidates[0]]
    np.maximum.at(best_own, columns_of, own)

    of_captions, of_videos = Counts(num_captions), Counts(num_videos)
    for captions in tqdm(rows, desc="Ranking", unit="block", disable=not show_progress, leave=False):
        starts = np.flatnonzero(np.diff(columns_of[captions], prepend=-1))
        for candidates in columns:
            tile = score(captions, candidates)
            of_captions.add(captions, tile, own[captions])
            best = np.maximum.reduceat(tile, starts, axis=0)  # (videos of these captions, candidates)
            of_videos.add(candidates, best.T, best_own[candidates])
    return of_captions.ranks(), of_videos.ranks()


__all__ = ["stream_ranks"]
