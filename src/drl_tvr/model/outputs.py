"""What the model returns: one side's features, and the whole of a forward pass."""

from dataclasses import dataclass

import torch
from transformers.utils import ModelOutput


@dataclass
class DRLFeatures(ModelOutput):
    """One side, encoded: what travels together to the similarity, the loss, a gather or an index.

    Args:
        tokens (`torch.Tensor` of shape `(num_items, num_tokens, dim)`): Words or frames, not normalised, 0 on padding
            (but for `padding_similarity="zero"`).
        weights (`torch.Tensor` of shape `(num_items, num_tokens)`): Weights that sum to 1 in a row, 0 on padding.
        mask (`torch.Tensor` of shape `(num_items, num_tokens)`): 1 for real tokens, 0 for padding.
    """

    tokens: torch.FloatTensor | None = None
    weights: torch.FloatTensor | None = None
    mask: torch.LongTensor | None = None


@dataclass
class DRLOutput(ModelOutput):
    """Output of [`DRLModel`].

    Args:
        loss (`torch.Tensor` of shape `()`, *optional*, returned when `return_loss=True`):
            `contrastive_loss + cdcr_lambda * cdcr_loss`.
        contrastive_loss (`torch.Tensor` of shape `()`, *optional*, returned when `return_loss=True`):
            Symmetric cross entropy of `logits_per_text`.
        cdcr_loss (`torch.Tensor` of shape `()`, *optional*, returned when `return_loss=True`):
            Channel decorrelation, before its lambda; 0 with `cdcr="none"`.
        logits_per_text (`torch.Tensor` of shape `(num_texts, num_videos)`):
            Similarities times `exp(logit_scale)`.
        logits_per_video (`torch.Tensor` of shape `(num_videos, num_texts)`):
            The transpose of `logits_per_text`.
        text_tokens (`torch.Tensor` of shape `(num_texts, num_tokens, dim)`):
            Projected words, not normalised.
        text_weights (`torch.Tensor` of shape `(num_texts, num_tokens)`):
            Weight of every word; uniform without WTI.
        frame_tokens (`torch.Tensor` of shape `(num_videos, num_frames, dim)`):
            Projected frames after the temporal encoder, not normalised.
        frame_weights (`torch.Tensor` of shape `(num_videos, num_frames)`):
            Weight of every frame; uniform without WTI.
    """

    loss: torch.FloatTensor | None = None
    contrastive_loss: torch.FloatTensor | None = None
    cdcr_loss: torch.FloatTensor | None = None
    logits_per_text: torch.FloatTensor | None = None
    logits_per_video: torch.FloatTensor | None = None
    text_tokens: torch.FloatTensor | None = None
    text_weights: torch.FloatTensor | None = None
    frame_tokens: torch.FloatTensor | None = None
    frame_weights: torch.FloatTensor | None = None


__all__ = ["DRLFeatures", "DRLOutput"]
