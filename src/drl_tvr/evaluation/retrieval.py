"""Encode every text and every video once, then score all of them with one another in blocks."""

from collections.abc import Iterable

import torch
from tqdm.auto import tqdm

from ..modeling_drl import DRLFeatures, DRLModel


@torch.no_grad()
def encode_captions(model: DRLModel, batches: Iterable[dict], show_progress: bool = True) -> list[DRLFeatures]:
    """Encode texts.

    Args:
        model ([`DRLModel`]): The model, in evaluation mode.
        batches (`Iterable[dict]`): Batches of `input_ids` and `attention_mask`.
        show_progress (`bool`, *optional*, defaults to `True`): Whether to show a progress bar.

    Returns:
        `list[DRLFeatures]`: One entry a batch, in order.
    """
    return [
        model.get_text_features(batch["input_ids"].to(model.device), batch["attention_mask"].to(model.device))
        for batch in tqdm(batches, desc="Encoding captions", unit="batch", disable=not show_progress, leave=False)
    ]


@torch.no_grad()
def encode_videos(model: DRLModel, batches: Iterable[dict], show_progress: bool = True) -> list[DRLFeatures]:
    """Encode videos.

    Args:
        model ([`DRLModel`]): The model, in evaluation mode.
        batches (`Iterable[dict]`): Batches of `pixel_values_videos` and `video_mask`.
        show_progress (`bool`, *optional*, defaults to `True`): Whether to show a progress bar.

    Returns:
        `list[DRLFeatures]`: One entry a batch, in order.
    """
    return [
        model.get_video_features(batch["pixel_values_videos"].to(model.device), batch["video_mask"].to(model.device))
        for batch in tqdm(batches, desc="Encoding videos", unit="batch", disable=not show_progress, leave=False)
    ]


@torch.no_grad()
def score_all(model: DRLModel, texts: list[DRLFeatures], videos: list[DRLFeatures]) -> torch.Tensor:
    """Score every text with every video, a block of texts and videos at a time.

    Args:
        model ([`DRLModel`]): The model whose interaction scores.
        texts (`list[DRLFeatures]`): Encoded texts; batches may differ in length.
        videos (`list[DRLFeatures]`): Encoded videos.

    Returns:
        `torch.Tensor` of shape `(num_texts, num_videos)`: Similarities without the logit scale, float32, on the CPU.
    """
    rows = [torch.cat([model.similarity(text, video).cpu() for video in videos], dim=1) for text in texts]
    return torch.cat(rows)
