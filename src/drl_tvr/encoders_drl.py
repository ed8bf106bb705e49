"""What comes after CLIP's towers: the temporal encoder over frame tokens, and the weights of words and frames."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps

import torch
from torch import nn
from transformers import initialization as init
from transformers.masking_utils import create_bidirectional_mask
from transformers.models.clip.modeling_clip import CLIPEncoderLayer, CLIPPreTrainedModel
from transformers.utils import ModelOutput
from transformers.utils.generic import maybe_autocast

from .configuration_drl import DRLConfig, DRLTemporalConfig


@dataclass
class DRLFeatures(ModelOutput):
    """One side, encoded: what travels together to the similarity, the loss, a gather or an index.

    Args:
        tokens (`torch.Tensor` of shape `(num_items, num_tokens, dim)`): Words or frames, not normalised, 0 on padding.
        weights (`torch.Tensor` of shape `(num_items, num_tokens)`): Weights that sum to 1 in a row, 0 on padding.
        mask (`torch.Tensor` of shape `(num_items, num_tokens)`): 1 for real tokens, 0 for padding.
    """

    tokens: torch.FloatTensor | None = None
    weights: torch.FloatTensor | None = None
    mask: torch.LongTensor | None = None


class DRLTokenWeights(nn.Module):
    """Weights of an item's tokens: a softmax over the valid ones of a small network on the un-normalised tokens."""

    def __init__(self, dim: int, depth: int):
        super().__init__()
        self.layers = nn.ModuleList()
        for _ in range(depth - 1):
            self.layers.extend([nn.Linear(dim, dim), nn.ReLU()])
        self.layers.append(nn.Linear(dim, 1))

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Weigh `tokens` (num_items, num_tokens, dim) by `mask` (num_items, num_tokens), in float32."""
        for layer in self.layers:
            tokens = layer(tokens)
        scores = tokens.squeeze(-1).float()  # (num_items, num_tokens)
        return scores.masked_fill(~mask.bool(), float("-inf")).softmax(dim=-1)


class DRLPreTrainedModel(CLIPPreTrainedModel):
    """Weight initialisation, loading and saving; CLIP's, since the towers and the temporal blocks are CLIP's."""

    config: DRLConfig
    base_model_prefix = "drl"
    main_input_name = "input_ids"
    input_modalities = ("video", "text")

    @torch.no_grad()
    def _init_weights(self, module):
        super()._init_weights(module)
        if isinstance(module, DRLTemporalTransformer):
            init.normal_(module.position_embedding.weight, std=module.config.initializer_range)


class DRLTemporalTransformer(DRLPreTrainedModel):
    """Relates a video's frames to one another: pre-norm blocks over frames plus positions, with a residual around all.

    Args:
        config ([`DRLTemporalConfig`]): Its configuration.
    """

    config: DRLTemporalConfig
    main_input_name = "frame_tokens"

    def __init__(self, config: DRLTemporalConfig):
        super().__init__(config)
        self.position_embedding = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.layers = nn.ModuleList([CLIPEncoderLayer(config) for _ in range(config.num_hidden_layers)])
        self.gradient_checkpointing = False
        self.post_init()

    def check_num_frames(self, num_frames: int) -> None:
        """Refuse more frames than there are positions, before or after the vision tower has run.

        Raises:
            `ValueError`: For more frames than `max_position_embeddings`.
        """
        most = self.config.max_position_embeddings
        if num_frames > most:
            raise ValueError(f"A video has {num_frames} frames; `temporal_config.max_position_embeddings` is {most}.")

    def forward(self, frame_tokens: torch.Tensor, video_mask: torch.Tensor) -> torch.Tensor:
        """Encode the frames of each video.

        Args:
            frame_tokens (`torch.Tensor` of shape `(num_videos, num_frames, dim)`): Frames.
            video_mask (`torch.Tensor` of shape `(num_videos, num_frames)`): 1 for real frames.

        Returns:
            `torch.Tensor` of shape `(num_videos, num_frames, dim)`: Frames that know of one another.

        Raises:
            `ValueError`: For more frames than `max_position_embeddings`.
        """
        num_frames = frame_tokens.shape[1]
        self.check_num_frames(num_frames)
        hidden_states = frame_tokens + self.position_embedding.weight[:num_frames]
        attention_mask = create_bidirectional_mask(
            config=self.config, inputs_embeds=hidden_states, attention_mask=video_mask
        )
        for layer in self.layers:
            hidden_states = layer(hidden_states, attention_mask)
        return hidden_states + frame_tokens


def without_autocast(method: Callable) -> Callable:
    """Run a method of (self, text, video) outside mixed precision, which is for the encoders.

    bfloat16 cosines differ by up to 1/256, and so would ranks.
    """

    @wraps(method)
    def in_float32(self, text: DRLFeatures, video: DRLFeatures):
        with maybe_autocast(text.tokens.device.type, enabled=False):
            return method(self, text, video)

    return in_float32


def check_mask(name: str, mask: torch.Tensor, of: str, shape: torch.Size) -> None:
    """Refuse a mask of the wrong shape or with a row of zeros.

    Raises:
        `ValueError`: Names the mask, and the shapes or the row.
    """
    if tuple(mask.shape) != tuple(shape):
        raise ValueError(f"`{name}` has shape {tuple(mask.shape)}, `{of}` needs {tuple(shape)}.")
    empty = ~mask.bool().any(dim=-1)
    if empty.any():
        raise ValueError(f"`{name}` is all zero in row {int(empty.nonzero()[0])}: nothing there is real.")


__all__ = [
    "DRLFeatures",
    "DRLPreTrainedModel",
    "DRLTemporalTransformer",
    "DRLTokenWeights",
    "check_mask",
    "without_autocast",
]
