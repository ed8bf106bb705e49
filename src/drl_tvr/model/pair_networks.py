"""MLP and XTI: interactions that score every pair of a text and a video with a network."""

from collections.abc import Callable

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers.activations import ACT2FN

from .configuration_drl import DRLCrossConfig
from .encoders import DRLBlockStack
from .tensors import dtype_of


# Largest number of elements per block of pairs: 256 MiB in float32. In training, gradients and the states of
# attention need more.
MAX_ELEMENTS = 2**26


def score_in_blocks(
    score_pairs: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    num_texts: int,
    num_videos: int,
    elements_per_pair: int,
    device: torch.device,
    max_elements: int = MAX_ELEMENTS,
) -> torch.Tensor:
    """Score all pairs, one block at a time, so that memory depends on `max_elements` and not on the number of pairs.

    In training a block keeps only its inputs for the backward pass, which computes the block again, with the same
    dropout.

    Args:
        score_pairs (`Callable`): Returns the scores of pairs from the indices of their texts and of their videos, all
            of shape `(num_pairs,)`.
        num_texts (`int`): Number of texts.
        num_videos (`int`): Number of videos.
        elements_per_pair (`int`): Number of elements that the network holds per pair.
        device (`torch.device`): Device of the scores.
        max_elements (`int`, *optional*, defaults to 2**26): Largest number of elements per block; a block has at
            least one pair.

    Returns:
        `torch.Tensor` of shape `(num_texts, num_videos)`: Scores.
    """
    pairs = torch.arange(num_texts * num_videos, device=device)
    blocks = pairs.split(max(1, max_elements // elements_per_pair))
    scores = []
    for block in blocks:
        texts, videos = block // num_videos, block % num_videos
        if torch.is_grad_enabled() and len(blocks) > 1:
            scores.append(checkpoint(score_pairs, texts, videos, use_reentrant=False))
        else:
            scores.append(score_pairs(texts, videos))
    return torch.cat(scores).view(num_texts, num_videos)


class DRLPairMLP(nn.Module):
    """MLP interaction as the paper describes it: linear, ReLU, linear on the concatenated vectors of a pair.

    The official code declares these layers but does not run them.

    Args:
        dim (`int`): Width of the vectors.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.hidden = nn.Linear(2 * dim, dim)
        self.score = nn.Linear(dim, 1)

    def forward(
        self, text_vectors: torch.Tensor, video_vectors: torch.Tensor, max_elements: int = MAX_ELEMENTS
    ) -> torch.Tensor:
        """Score `text_vectors` (num_texts, dim) with `video_vectors` (num_videos, dim): (num_texts, num_videos)."""
        dim, dtype = text_vectors.shape[-1], dtype_of(self)
        text_vectors, video_vectors = text_vectors.to(dtype), video_vectors.to(dtype)
        # The first layer is linear: each side passes once, beside zeros, instead of once per pair. Its bias then comes
        # twice. The layer is called, since hooks, adapters and quantisation work on the call.
        of_text = self.hidden(nn.functional.pad(text_vectors, (0, dim)))
        of_video = self.hidden(nn.functional.pad(video_vectors, (dim, 0)))
        of_video = of_video - self.hidden(text_vectors.new_zeros(1, 2 * dim))

        def score_pairs(texts: torch.Tensor, videos: torch.Tensor) -> torch.Tensor:
            return self.score((of_text[texts] + of_video[videos]).relu()).squeeze(-1)

        return score_in_blocks(score_pairs, len(of_text), len(of_video), 2 * dim, of_text.device, max_elements)


class DRLCrossTransformer(DRLBlockStack):
    """XTI, the cross transformer of the paper: a transformer over [text vector; frame tokens] of a pair, then a score.

    Args:
        config ([`DRLCrossConfig`]): Its configuration.
    """

    config: DRLCrossConfig
    num_text_tokens = 1

    def __init__(self, config: DRLCrossConfig):
        super().__init__(config)
        self.dropout = nn.Dropout(config.hidden_dropout)
        self.pooler_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.pooler_dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.pooler_activation = ACT2FN[config.hidden_act]
        self.score = nn.Linear(config.hidden_size, 1)
        self.post_init()

    def forward(
        self,
        text_vectors: torch.Tensor,
        frame_tokens: torch.Tensor,
        video_mask: torch.Tensor,
        max_elements: int = MAX_ELEMENTS,
    ) -> torch.Tensor:
        """Score every text with every video.

        Args:
            text_vectors (`torch.Tensor` of shape `(num_texts, dim)`): The last real token of every text.
            frame_tokens (`torch.Tensor` of shape `(num_videos, num_frames, dim)`): Frames.
            video_mask (`torch.Tensor` of shape `(num_videos, num_frames)`): 1 for real frames.
            max_elements (`int`, *optional*, defaults to 2**26): Largest number of elements per block of pairs.

        Returns:
            `torch.Tensor` of shape `(num_texts, num_videos)`: Scores, any real numbers.

        Raises:
            `ValueError`: When there are more frames than positions, of which the text takes one.
        """
        text_vectors, frame_tokens = text_vectors.to(self.dtype), frame_tokens.to(self.dtype)
        length = 1 + frame_tokens.shape[1]
        self.check_num_frames(frame_tokens.shape[1])
        mask = torch.nn.functional.pad(video_mask.bool(), (1, 0), value=True)  # (num_videos, 1 + num_frames)

        def score_pairs(texts: torch.Tensor, videos: torch.Tensor) -> torch.Tensor:
            tokens = torch.cat([text_vectors[texts, None], frame_tokens[videos]], dim=1)
            tokens = self.dropout(self.add_positions(tokens))
            pooled = self.pooler_norm(self.run_blocks(tokens, mask[videos])[:, 0])
            return self.score(self.pooler_activation(self.pooler_dense(pooled))).squeeze(-1)

        # In training a block keeps about 16 activations of width `hidden_size` per layer, otherwise one layer's.
        layers = len(self.layers) if torch.is_grad_enabled() else 1
        per_pair = length * layers * (8 * self.config.hidden_size + 2 * self.config.intermediate_size)
        shape = len(text_vectors), len(frame_tokens)
        return score_in_blocks(score_pairs, *shape, per_pair, text_vectors.device, max_elements)


__all__ = ["DRLCrossTransformer", "DRLPairMLP", "score_in_blocks"]
