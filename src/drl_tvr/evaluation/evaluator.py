"""Evaluate a model on a split: decode, encode, score, rank, and record what the result was made from."""

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Subset

from ..data.loading import (
    CaptionDataset,
    PairDataset,
    RetrievalCollator,
    VideoDataset,
    decode_split,
    end_with_parent,
    share_of,
)
from ..data.records import RetrievalData
from ..model.modeling_drl import DRLFeatures, DRLModel
from ..model.processing_drl import DRLProcessor
from .checks import check_num_frames, check_processor
from .fingerprints import describe_data, describe_model, describe_processor, library_versions
from .metrics import metrics_of_ranks, rank_both_ways, ranks_per_caption, ranks_per_video, twin_accuracy
from .normalization import NORMALIZATION_NEEDS, dual_softmax, query_bank_norm
from .results import EvaluationResult, make_result, score_ranks
from .retrieval import encode_captions, encode_videos, score_all
from .streaming import stream_ranks


QUERY_BANK_TEMPERATURE = 0.05
LARGEST_MATRIX = 2**28  # scores that are held at once: 1 GiB


@dataclass(frozen=True)
class Share:
    """Share of one of several processes in an evaluation; by default all of it, in one process.

    A process encodes and scores whole batches, so that a batch gives the same numbers with any number of processes.

    Args:
        index (`int`, *optional*, defaults to 0): Index of this process.
        num_processes (`int`, *optional*, defaults to 1): Number of processes.
        gather_objects (`Callable[[Any], list]`, *optional*): Returns an object of every process, in the order of the
            processes; all processes call it.
    """

    index: int = 0
    num_processes: int = 1
    gather_objects: Callable[[Any], list] = lambda item: [item]

    def batches(self, dataset: Dataset, batch_size: int, **loader_settings) -> DataLoader:
        """Make the batches of this process."""
        part = share_of(math.ceil(len(dataset) / batch_size), self.index, self.num_processes)
        rows = range(len(dataset))[part.start * batch_size : part.stop * batch_size]
        return DataLoader(Subset(dataset, rows), batch_size, worker_init_fn=end_with_parent, **loader_settings)

    def gather_features(self, batches: list[DRLFeatures], device: torch.device) -> list[DRLFeatures]:
        """Collect the encoded batches of all processes, in order."""
        if self.num_processes == 1:
            return batches
        parts = [[] for _ in range(self.num_processes)]
        # One batch of each process at a time: objects are copied several times on their way.
        for number in range(max(self.gather_objects(len(batches)))):
            own = [tensor.cpu() for tensor in batches[number].to_tuple()] if number < len(batches) else None
            for part, tensors in zip(parts, self.gather_objects(own), strict=True):
                if tensors is not None:
                    part.append(DRLFeatures(*(tensor.to(device) for tensor in tensors)))
        return [batch for part in parts for batch in part]

    def gather_rows(self, rows: torch.Tensor) -> torch.Tensor:
        """Concatenate the rows of all processes, in order."""
        return rows if self.num_processes == 1 else torch.cat(self.gather_objects(rows))


def evaluate_model(
    model: DRLModel,
    processor: DRLProcessor,
    data: RetrievalData | PairDataset,
    name_or_path: str | os.PathLike | None = None,
    normalizations: Sequence[str] = (),
    bank: Sequence[str] = (),
    batch_size: int = 128,
    frame_cache_dir: str | os.PathLike | None = None,
    num_workers: int = 0,
    show_progress: bool = True,
    share: Share = Share(),
    metrics_only: bool = False,
) -> EvaluationResult:
    """Score every caption of a split with every video of it, and rank.

    A matrix of more than 2**28 scores is ranked in tiles and never held, unless normalised scores, twins or several
    processes need it.

    Args:
        model ([`DRLModel`]): The model, on its device.
        processor ([`DRLProcessor`]): Its processor.
        data ([`RetrievalData`] or [`~data.loading.PairDataset`]): The split, decoded or not.
        name_or_path (`str` or `os.PathLike`, *optional*): Folder or Hub name that the model was loaded from; the
            result then names the model and the hash of its weights.
        normalizations (`Sequence[str]`, *optional*): `"dsl"`, `"qb-norm"` or both: scores that the result gives beside
            the plain ones.
        bank (`Sequence[str]`, *optional*): Captions of the training split, for `"qb-norm"`.
        batch_size (`int`, *optional*, defaults to 128): Captions or videos per batch.
        frame_cache_dir (`str` or `os.PathLike`, *optional*): Folder of the stored frames.
        num_workers (`int`, *optional*, defaults to 0): Processes that read frames and tokenize.
        show_progress (`bool`, *optional*, defaults to `True`): Whether to show progress bars.
        share ([`~evaluation.evaluator.Share`], *optional*): Share of this process; all processes return the same
            result, but only the first hashes the files.
        metrics_only (`bool`, *optional*, defaults to `False`): Whether to leave out intervals and hashes, which take
            time that an evaluation during training does not have.

    Returns:
        [`~evaluation.EvaluationResult`]: The plain scores as its metrics, and the normalised ones beside them.

    Raises:
        `ValueError`: When the processor does not fit the model, a video has more frames than the model has positions
            for, a normalisation is unknown, `"qb-norm"` has no bank, or the batch size is below 1.

    Example:

    ```python
    >>> from drl_tvr import DRLModel, DRLProcessor, load_benchmark
    >>> from drl_tvr.evaluation import evaluate_model

    >>> folder = "outputs/moving-shapes"
    >>> model, processor = DRLModel.from_pretrained(folder), DRLProcessor.from_pretrained(folder)
    >>> result = evaluate_model(model, processor, load_benchmark("captions.csv"), folder, show_progress=False)
    >>> sorted(result.metrics)[:3], result.model["name"]
    (['t2v_MdR', 't2v_MnR', 't2v_R@1'], 'moving-shapes')
    ```"""
    for name in normalizations:
        if name not in NORMALIZATION_NEEDS:
            raise ValueError(f"`normalizations`: found {name!r}, expected some of {', '.join(NORMALIZATION_NEEDS)}.")
    if "qb-norm" in normalizations and not bank:
        raise ValueError("`bank`: found no captions, expected captions of the training split for 'qb-norm'.")
    if batch_size < 1:
        raise ValueError(f"`batch_size`: found {batch_size}, expected at least 1.")
    check_processor(model, processor)
    data = decode_split(data, processor.video_processor, frame_cache_dir)
    split, columns = data.data, np.asarray(data.caption_to_video)
    check_num_frames(model, data.videos, split.videos["video_id"])
    captions, videos = encode_split(model, processor, data, share, batch_size, num_workers, show_progress)
    is_large = len(columns) * len(data.videos) > LARGEST_MATRIX
    similarity = None
    if is_large and not normalizations and not split.twins and share.num_processes == 1:
        t2v, v2t = stream_ranks(model, captions, videos, columns, show_progress=show_progress)
        ranks = {"t2v": t2v, "v2t": v2t}
    else:
        similarity = score_share(model, captions, videos, len(data.videos), share).numpy()
        ranks = rank_both_ways(similarity, columns)
    twins = twin_accuracy(similarity, columns, split.twins)
    about_model = describe_processor(processor)
    if metrics_only:
        metrics = {**metrics_of_ranks(ranks), **twins}
        return EvaluationResult(dict(split.provenance), about_model, metrics, {}, {}, columns.tolist())
    result = make_result(
        ranks,
        columns,
        data=describe_data(split) if share.index == 0 else dict(split.provenance),
        model=about_model if name_or_path is None else describe_model(model, processor, name_or_path),
        versions=library_versions(),
        more_metrics=twins,
    )
    if "dsl" in normalizations:
        temperature = 1 / model.logit_scale.exp().item()
        ranks = {
            "t2v": ranks_per_caption(dual_softmax(similarity, temperature), columns),
            "v2t": ranks_per_video(dual_softmax(similarity.T, temperature).T, columns),
        }
        result.normalized["dsl"] = {
            **normalized_scores("dsl", ranks, columns, temperature="1 / logit_scale"),
            "values": {"temperature": temperature},
        }
    if "qb-norm" in normalizations:
        batches = share.batches(
            CaptionDataset(list(bank)), batch_size, collate_fn=RetrievalCollator(processor), num_workers=num_workers
        )
        queries = encode_captions(model, batches, show_progress)
        bank_scores = score_share(model, queries, videos, len(data.videos), share).numpy()
        scores = query_bank_norm(similarity, bank_scores, QUERY_BANK_TEMPERATURE)
        # Video to text would need a bank of training videos.
        ranks = {"t2v": ranks_per_caption(scores, columns)}
        settings = {"temperature": QUERY_BANK_TEMPERATURE, "bank_captions": len(bank)}
        result.normalized["qb-norm"] = normalized_scores("qb-norm", ranks, columns, **settings)
    return result


def encode_split(
    model: DRLModel,
    processor: DRLProcessor,
    data: PairDataset,
    share: Share,
    batch_size: int,
    num_workers: int = 0,
    show_progress: bool = True,
) -> tuple[list[DRLFeatures], list[DRLFeatures]]:
    """Encode the captions of this process's share, and all videos, of which each process encodes its share."""
    model.eval()
    loading = {"batch_size": batch_size, "collate_fn": RetrievalCollator(processor), "num_workers": num_workers}
    videos = encode_videos(model, share.batches(data.videos, **loading), show_progress)
    videos = share.gather_features(videos, model.device)
    return encode_captions(model, share.batches(data.captions, **loading), show_progress), videos


def score_texts(
    model: DRLModel,
    processor: DRLProcessor,
    videos: VideoDataset,
    texts: Sequence[str],
    batch_size: int = 128,
    show_progress: bool = True,
) -> torch.Tensor:
    """Score any texts with decoded videos.

    Args:
        model ([`DRLModel`]): The model, on its device.
        processor ([`DRLProcessor`]): Its processor.
        videos ([`~data.loading.VideoDataset`]): Decoded videos.
        texts (`Sequence[str]`): The texts.
        batch_size (`int`, *optional*, defaults to 128): Texts or videos per batch.
        show_progress (`bool`, *optional*, defaults to `True`): Whether to show progress bars.

    Returns:
        `torch.Tensor` of shape `(num_texts, num_videos)`: Similarities without the logit scale, float32, on the CPU.

    Raises:
        `ValueError`: When the processor does not fit the model, or a video has more frames than the model has
            positions for.

    Example:

    ```python
    >>> from drl_tvr import DRLModel, DRLProcessor, load_benchmark
    >>> from drl_tvr.data.frame_store import load_frames
    >>> from drl_tvr.data.loading import VideoDataset
    >>> from drl_tvr.evaluation import score_texts

    >>> folder = "outputs/moving-shapes"
    >>> model, processor = DRLModel.from_pretrained(folder), DRLProcessor.from_pretrained(folder)
    >>> frames = load_frames(load_benchmark("captions.csv").videos, processor.video_processor)
    >>> score_texts(model, processor, VideoDataset(frames), ["a red star"], show_progress=False).shape
    torch.Size([1, 2])
    ```"""
    check_processor(model, processor)
    check_num_frames(model, videos)
    model.eval()
    loading = {"batch_size": batch_size, "collate_fn": RetrievalCollator(processor)}
    features = encode_videos(model, DataLoader(videos, **loading), show_progress)
    queries = encode_captions(model, DataLoader(CaptionDataset(texts), **loading), show_progress)
    return score_all(model, queries, features)


def score_share(
    model: DRLModel, texts: list[DRLFeatures], videos: list[DRLFeatures], num_videos: int, share: Share
) -> torch.Tensor:
    """Score the texts of this process with all videos, and collect the rows of all processes."""
    # With more processes than batches, some have no text.
    return share.gather_rows(score_all(model, texts, videos) if texts else torch.zeros(0, num_videos))


def normalized_scores(name: str, ranks: dict[str, np.ndarray], caption_to_video: np.ndarray, **settings) -> dict:
    """Make an entry of `EvaluationResult.normalized`."""
    return {"needs": NORMALIZATION_NEEDS[name], "settings": settings, **score_ranks(ranks, caption_to_video)}


__all__ = ["Share", "evaluate_model", "score_texts"]
