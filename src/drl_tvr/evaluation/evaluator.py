"""Judges a model on a split: decode, encode, score, rank, and say what all that was made from."""

import os
from collections.abc import Sequence

import numpy as np
import torch
from torch.utils.data import DataLoader

from ..data.frame_store import load_frames
from ..data.loading import CaptionDataset, RetrievalCollator, VideoDataset
from ..data.records import RetrievalData
from ..model.modeling_drl import DRLModel
from ..model.processing_drl import DRLProcessor
from .fingerprints import describe_data, describe_model, library_versions
from .metrics import rank_both_ways, ranks_per_caption, ranks_per_video, twin_accuracy
from .normalization import NORMALIZATION_NEEDS, dual_softmax, query_bank_norm
from .results import EvaluationResult, make_result, score_ranks
from .retrieval import encode_captions, encode_videos, score_all
from .streaming import stream_ranks


QUERY_BANK_TEMPERATURE = 0.05
LARGEST_MATRIX = 2**28  # scores that are held at once: 1 GiB


def evaluate_model(
    model: DRLModel,
    processor: DRLProcessor,
    data: RetrievalData,
    name_or_path: str | os.PathLike,
    normalizations: Sequence[str] = (),
    bank: Sequence[str] = (),
    batch_size: int = 128,
    frame_cache_dir: str | os.PathLike | None = None,
    num_workers: int = 0,
    show_progress: bool = True,
) -> EvaluationResult:
    """Score every caption of a split with every video of it.

    A matrix of more than 2**28 scores is ranked in tiles and never held, unless normalised scores or twins need it.

    Args:
        model ([`DRLModel`]): The model, on the device where it is to run.
        processor ([`DRLProcessor`]): Its processor.
        data ([`RetrievalData`]): The split.
        name_or_path (`str` or `os.PathLike`): Where the model was loaded from; its weights are named by their hash.
        normalizations (`Sequence[str]`, *optional*): `"dsl"`, `"qb-norm"`, or both, to be given beside the plain
            scores.
        bank (`Sequence[str]`, *optional*): Captions of the training split, for `"qb-norm"`.
        batch_size (`int`, *optional*, defaults to 128): Captions or videos at a time.
        frame_cache_dir (`str` or `os.PathLike`, *optional*): Where decoded frames are kept.
        num_workers (`int`, *optional*, defaults to 0): Processes that read frames and tokenize.
        show_progress (`bool`, *optional*, defaults to `True`): Whether to show progress bars.

    Returns:
        [`~evaluation.EvaluationResult`]: With plain scores as its metrics, and normalised ones beside them.

    Raises:
        `ValueError`: For an unknown normalisation, `"qb-norm"` without a bank, or a batch size below 1.

    Example:

    ```python
    >>> from drl_tvr import DRLModel, DRLProcessor, load_benchmark
    >>> from drl_tvr.evaluation import evaluate_model

    >>> folder = "outputs/moving-shapes"
    >>> model, processor = DRLModel.from_pretrained(folder), DRLProcessor.from_pretrained(folder)  # doctest: +SKIP
    >>> result = evaluate_model(model, processor, load_benchmark("moving-shapes"), folder)  # doctest: +SKIP
    >>> result.metrics["t2v_R@1"], result.intervals["t2v_R@1"]  # doctest: +SKIP
    (74.7, (69.7, 79.3))
    ```"""
    for name in normalizations:
        if name not in NORMALIZATION_NEEDS:
            raise ValueError(f"There is no normalisation {name!r}; there are {', '.join(NORMALIZATION_NEEDS)}.")
    if "qb-norm" in normalizations and not bank:
        raise ValueError("The normalisation 'qb-norm' needs a `bank`, captions of the training split.")
    if batch_size < 1:
        raise ValueError(f"`batch_size` must be at least 1, got {batch_size}.")

    def batches(dataset: torch.utils.data.Dataset) -> DataLoader:
        return DataLoader(dataset, batch_size, collate_fn=RetrievalCollator(processor), num_workers=num_workers)

    model.eval()
    frames = load_frames(data.videos, processor.video_processor, frame_cache_dir)
    videos = encode_videos(model, batches(VideoDataset(frames)), show_progress)
    captions = encode_captions(model, batches(CaptionDataset(data.captions["caption"][:])), show_progress)
    owners = np.asarray(data.caption_to_video)
    if len(owners) * len(data.videos) > LARGEST_MATRIX and not normalizations and not data.twins:
        similarity = None
        t2v, v2t = stream_ranks(model, captions, videos, owners, show_progress=show_progress)
        ranks = {"t2v": t2v, "v2t": v2t}
    else:
        similarity = score_all(model, captions, videos).numpy()
        ranks = rank_both_ways(similarity, owners)
    result = make_result(
        ranks,
        owners,
        data=describe_data(data),
        model=describe_model(model, processor, name_or_path),
        versions=library_versions(),
        more_metrics=twin_accuracy(similarity, owners, data.twins),
    )
    if "dsl" in normalizations:
        temperature = 1 / model.logit_scale.exp().item()
        ranks = {
            "t2v": ranks_per_caption(dual_softmax(similarity, temperature), owners),
            "v2t": ranks_per_video(dual_softmax(similarity.T, temperature).T, owners),
        }
        result.normalized["dsl"] = {
            **normalized_scores("dsl", ranks, owners, temperature="1 / logit_scale"),
            "values": {"temperature": temperature},
        }
    if "qb-norm" in normalizations:
        banked = encode_captions(model, batches(CaptionDataset(list(bank))), show_progress)
        scores = query_bank_norm(similarity, score_all(model, banked, videos).numpy(), QUERY_BANK_TEMPERATURE)
        # Video to text would need a bank of training videos.
        ranks = {"t2v": ranks_per_caption(scores, owners)}
        settings = {"temperature": QUERY_BANK_TEMPERATURE, "bank_captions": len(bank)}
        result.normalized["qb-norm"] = normalized_scores("qb-norm", ranks, owners, **settings)
    return result


def normalized_scores(name: str, ranks: dict[str, np.ndarray], owners: np.ndarray, **settings) -> dict:
    """An entry of `EvaluationResult.normalized`."""
    return {"needs": NORMALIZATION_NEEDS[name], "settings": settings, **score_ranks(ranks, owners)}


__all__ = ["evaluate_model"]
