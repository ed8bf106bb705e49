"""How a text and a video are compared: pure functions from tokens, weights and masks to similarities.

Texts are rows and videos are columns. Nothing here is scaled by the logit scale.
"""

import math

import torch

from .tensors import check_mask
from .token_matching import match_in_blocks, pack_tokens


def normalize(tokens: torch.Tensor) -> torch.Tensor:
    """Scale every token to unit length (a zero token stays zero).

    Args:
        tokens (`torch.Tensor` of shape `(..., dim)`): Tokens.

    Returns:
        `torch.Tensor` of shape `(..., dim)`: Tokens of length 1.
    """
    return torch.nn.functional.normalize(tokens, dim=-1)


def uniform_weights(mask: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Weigh every valid token of an item alike; WTI with these weights is TI.

    Args:
        mask (`torch.Tensor` of shape `(num_items, num_tokens)`): 1 for real tokens, 0 for padding.
        dtype (`torch.dtype`, *optional*, defaults to `torch.float32`): Type of the weights.

    Returns:
        `torch.Tensor` of shape `(num_items, num_tokens)`: Weights that sum to 1 in every row, 0 on padding.
    """
    weights = mask.to(dtype)
    return weights / weights.sum(dim=-1, keepdim=True)


def check_side(side: str, tokens: torch.Tensor, weights: torch.Tensor, mask: torch.Tensor) -> None:
    """Refuse tokens, weights and mask that do not belong together, or an item without a real token.

    Args:
        side (`str`): `"text"` or `"video"`, for the message.
        tokens (`torch.Tensor` of shape `(num_items, num_tokens, dim)`): Tokens.
        weights (`torch.Tensor` of shape `(num_items, num_tokens)`): Their weights.
        mask (`torch.Tensor` of shape `(num_items, num_tokens)`): 1 for real tokens.

    Raises:
        `ValueError`: When the shapes differ, or a row of the mask is 0 everywhere.
    """
    if weights.shape != tokens.shape[:-1]:
        raise ValueError(
            f"{side} weights: found shape {tuple(weights.shape)}, expected {tuple(tokens.shape[:-1])} to go with the "
            "tokens."
        )
    check_mask(f"{side}_mask", mask, f"{side} tokens", tokens.shape[:-1])


def weighted_token_wise_interaction(
    text_tokens: torch.Tensor,
    text_weights: torch.Tensor,
    text_mask: torch.Tensor,
    frame_tokens: torch.Tensor,
    frame_weights: torch.Tensor,
    video_mask: torch.Tensor,
    padding_similarity: str = "ignore",
    max_elements: int = 2**24,
    dtype: torch.dtype | None = None,
) -> torch.Tensor:
    r"""Weighted token-wise interaction (WTI; TI with uniform weights), section 3.3 of the paper:

    $$s = \frac12 \Big[\sum_i w_i \max_j \langle t_i, v_j \rangle + \sum_j u_j \max_i \langle t_i, v_j \rangle\Big]$$

    Args:
        text_tokens (`torch.Tensor` of shape `(num_texts, num_tokens, dim)`): Words t, of any length.
        text_weights (`torch.Tensor` of shape `(num_texts, num_tokens)`): Word weights w, 0 on padding.
        text_mask (`torch.Tensor` of shape `(num_texts, num_tokens)`): 1 for real words.
        frame_tokens (`torch.Tensor` of shape `(num_videos, num_frames, dim)`): Frames v, of any length.
        frame_weights (`torch.Tensor` of shape `(num_videos, num_frames)`): Frame weights u, 0 on padding.
        video_mask (`torch.Tensor` of shape `(num_videos, num_frames)`): 1 for real frames.
        padding_similarity (`str`, *optional*, defaults to `"ignore"`): See [`mask_similarity`].
        max_elements (`int`, *optional*, defaults to 2**24): Texts and videos are taken in blocks of at most so many
            cosines: 64 MiB by default, and as much again in the backward pass, which keeps 6 bytes for every word with
            every video and every frame with every text.
        dtype (`torch.dtype`, *optional*): What tokens of unit length are multiplied in, as bfloat16; by default their
            own type.

    Returns:
        `torch.Tensor` of shape `(num_texts, num_videos)`: Similarities between -1 and 1.

    Raises:
        `ValueError`: When shapes don't agree, or an item has no real token.

    Example:

    ```python
    >>> import torch
    >>> from drl_tvr.model.interaction import uniform_weights, weighted_token_wise_interaction

    >>> text, video = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]), torch.tensor([[[2.0, 0.0]]])
    >>> words, frames = torch.ones(1, 2), torch.ones(1, 1)
    >>> weighted_token_wise_interaction(
    ...     text, uniform_weights(words), words, video, uniform_weights(frames), frames
    ... )
    tensor([[0.7500]])
    ```"""
    for side, tokens, weights, mask in (
        ("text", text_tokens, text_weights, text_mask),
        ("video", frame_tokens, frame_weights, video_mask),
    ):
        check_side(side, tokens, weights, mask)
    if padding_similarity not in ("ignore", "zero"):
        raise ValueError(f"`padding_similarity` must be 'ignore' or 'zero', got {padding_similarity!r}.")
    if not len(text_tokens) or not len(frame_tokens):
        return text_weights.new_zeros(len(text_tokens), len(frame_tokens))
    # As square as can be: a product of long sides does most for what it reads.
    (num_texts, num_tokens), num_frames = text_mask.shape, video_mask.shape[1]
    texts_per_block = min(num_texts, max(1, math.isqrt(max_elements) // num_tokens))
    videos_per_block = max(1, max_elements // (texts_per_block * num_tokens * num_frames))
    texts, videos = (
        [pack_tokens(*block, dtype) for block in zip(*(tensor.split(size) for tensor in item), strict=True)]
        for size, item in (
            (texts_per_block, (text_tokens, text_weights, text_mask)),
            (videos_per_block, (frame_tokens, frame_weights, video_mask)),
        )
    )
    return match_in_blocks(texts, videos, padding_similarity) / 2


def text_vector(text_tokens: torch.Tensor, text_mask: torch.Tensor) -> torch.Tensor:
    """The last real token (EOS) of every text.

    Args:
        text_tokens (`torch.Tensor` of shape `(num_texts, num_tokens, dim)`): Words.
        text_mask (`torch.Tensor` of shape `(num_texts, num_tokens)`): 1 for real words.

    Returns:
        `torch.Tensor` of shape `(num_texts, dim)`: One vector a text.
    """
    positions = torch.arange(text_mask.shape[1], device=text_mask.device)
    last = (text_mask.bool() * positions).argmax(dim=-1)
    return text_tokens[torch.arange(len(text_tokens), device=last.device), last]


def video_vector(frame_tokens: torch.Tensor, video_mask: torch.Tensor) -> torch.Tensor:
    """The mean of every video's unit-length frames.

    Args:
        frame_tokens (`torch.Tensor` of shape `(num_videos, num_frames, dim)`): Frames.
        video_mask (`torch.Tensor` of shape `(num_videos, num_frames)`): 1 for real frames.

    Returns:
        `torch.Tensor` of shape `(num_videos, dim)`: One vector a video.
    """
    weights = uniform_weights(video_mask, frame_tokens.dtype)
    frame_tokens = frame_tokens.masked_fill(~video_mask.bool()[..., None], 0.0)
    return torch.einsum("bfd,bf->bd", normalize(frame_tokens), weights)


def dot_product(text_vectors: torch.Tensor, video_vectors: torch.Tensor) -> torch.Tensor:
    """Cosine of one vector a side (DP in the paper).

    Args:
        text_vectors (`torch.Tensor` of shape `(num_texts, dim)`): See [`text_vector`].
        video_vectors (`torch.Tensor` of shape `(num_videos, dim)`): See [`video_vector`].

    Returns:
        `torch.Tensor` of shape `(num_texts, num_videos)`: Similarities between -1 and 1.
    """
    return normalize(text_vectors) @ normalize(video_vectors).T


__all__ = [
    "check_side",
    "dot_product",
    "normalize",
    "text_vector",
    "uniform_weights",
    "video_vector",
    "weighted_token_wise_interaction",
]
