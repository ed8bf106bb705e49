"""WTI, TI and DP: pure functions from tokens, weights and masks to similarities.

Texts are rows and videos are columns. Similarities are not multiplied by the logit scale.
"""

import math
from collections.abc import Iterator

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
    """Give every real token of an item the same weight; WTI with these weights is TI.

    Args:
        mask (`torch.Tensor` of shape `(num_items, num_tokens)`): 1 for real tokens, 0 for padding.
        dtype (`torch.dtype`, *optional*, defaults to `torch.float32`): Type of the weights.

    Returns:
        `torch.Tensor` of shape `(num_items, num_tokens)`: Weights that sum to 1 per item, 0 on padding.
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


def split_items(size: int, *tensors: torch.Tensor) -> Iterator[tuple[torch.Tensor, ...]]:
    """Split tensors of the same items together, `size` items at a time."""
    return zip(*(tensor.split(size) for tensor in tensors), strict=True)


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
    r"""Score every text with every video by weighted token-wise interaction (WTI), section 3.3 of the paper:

    $$s = \frac12 \Big[\sum_i w_i \max_j \langle t_i, v_j \rangle + \sum_j u_j \max_i \langle t_i, v_j \rangle\Big]$$

    Args:
        text_tokens (`torch.Tensor` of shape `(num_texts, num_tokens, dim)`): Words t, of any length.
        text_weights (`torch.Tensor` of shape `(num_texts, num_tokens)`): Word weights w, 0 on padding.
        text_mask (`torch.Tensor` of shape `(num_texts, num_tokens)`): 1 for real words.
        frame_tokens (`torch.Tensor` of shape `(num_videos, num_frames, dim)`): Frames v, of any length.
        frame_weights (`torch.Tensor` of shape `(num_videos, num_frames)`): Frame weights u, 0 on padding.
        video_mask (`torch.Tensor` of shape `(num_videos, num_frames)`): 1 for real frames.
        padding_similarity (`str`, *optional*, defaults to `"ignore"`): See
            [`~model.token_matching.mask_similarity`].
        max_elements (`int`, *optional*, defaults to 2**24): Number of cosines in a block of texts and videos: 64 MiB
            by default, and as much again in the backward pass. The backward pass also keeps 6 bytes per word and
            video, and per frame and text.
        dtype (`torch.dtype`, *optional*): Type in which tokens of unit length are multiplied, such as
            `torch.bfloat16`; by default their own type.

    Returns:
        `torch.Tensor` of shape `(num_texts, num_videos)`: Similarities between -1 and 1.

    Raises:
        `ValueError`: When shapes do not agree, an item has no real token, or `padding_similarity` is unknown.

    Example:

    The same as the formula, which needs a tensor of all words of all texts with all frames of all videos:

    ```python
    >>> import torch
    >>> from drl_tvr.model.interaction import normalize, uniform_weights, weighted_token_wise_interaction
    >>> from drl_tvr.model.token_matching import mask_similarity

    >>> t, v = torch.randn(2, 3, 8), torch.randn(4, 2, 8)
    >>> words, frames = torch.tensor([[1, 1, 1], [1, 1, 0]]), torch.tensor([[1, 1], [1, 0], [1, 1], [1, 0]])
    >>> w, u = uniform_weights(words), uniform_weights(frames)
    >>> cosines = torch.einsum("and,bfd->abnf", normalize(t), normalize(v))
    >>> cosines = mask_similarity(cosines, words[:, None].bool(), frames[None].bool())
    >>> by_words = torch.einsum("abn,an->ab", cosines.amax(dim=3), w)
    >>> by_frames = torch.einsum("abf,bf->ab", cosines.amax(dim=2), u)
    >>> fast = weighted_token_wise_interaction(t, w, words, v, u, frames)
    >>> torch.allclose(fast, (by_words + by_frames) / 2, atol=1e-6)
    True
    ```"""
    check_side("text", text_tokens, text_weights, text_mask)
    check_side("video", frame_tokens, frame_weights, video_mask)
    if padding_similarity not in ("ignore", "zero"):
        raise ValueError(f"`padding_similarity`: found {padding_similarity!r}, expected 'ignore' or 'zero'.")
    if not len(text_tokens) or not len(frame_tokens):
        return text_weights.new_zeros(len(text_tokens), len(frame_tokens))
    # Blocks as square as possible: most arithmetic per element read.
    (num_texts, num_tokens), num_frames = text_mask.shape, video_mask.shape[1]
    texts_per_block = min(num_texts, max(1, math.isqrt(max_elements) // num_tokens))
    videos_per_block = max(1, max_elements // (texts_per_block * num_tokens * num_frames))
    text_blocks = split_items(texts_per_block, text_tokens, text_weights, text_mask)
    video_blocks = split_items(videos_per_block, frame_tokens, frame_weights, video_mask)
    texts = [pack_tokens(*block, dtype) for block in text_blocks]
    videos = [pack_tokens(*block, dtype) for block in video_blocks]
    return match_in_blocks(texts, videos, padding_similarity) / 2


def text_vector(text_tokens: torch.Tensor, text_mask: torch.Tensor) -> torch.Tensor:
    """Return the last real token (end of text) of every text.

    Args:
        text_tokens (`torch.Tensor` of shape `(num_texts, num_tokens, dim)`): Words.
        text_mask (`torch.Tensor` of shape `(num_texts, num_tokens)`): 1 for real words.

    Returns:
        `torch.Tensor` of shape `(num_texts, dim)`: One vector per text.
    """
    positions = torch.arange(text_mask.shape[1], device=text_mask.device)
    last = (text_mask.bool() * positions).argmax(dim=-1)  # (num_texts,)
    return text_tokens[torch.arange(len(text_tokens), device=last.device), last]


def video_vector(frame_tokens: torch.Tensor, video_mask: torch.Tensor) -> torch.Tensor:
    """Average the frames of every video after scaling them to unit length.

    Args:
        frame_tokens (`torch.Tensor` of shape `(num_videos, num_frames, dim)`): Frames.
        video_mask (`torch.Tensor` of shape `(num_videos, num_frames)`): 1 for real frames.

    Returns:
        `torch.Tensor` of shape `(num_videos, dim)`: One vector per video.
    """
    weights = uniform_weights(video_mask, frame_tokens.dtype)
    frame_tokens = frame_tokens.masked_fill(~video_mask.bool()[..., None], 0.0)
    return torch.einsum("bfd,bf->bd", normalize(frame_tokens), weights)  # (num_videos, dim)


def dot_product(text_vectors: torch.Tensor, video_vectors: torch.Tensor) -> torch.Tensor:
    """Score every text with every video by the cosine of one vector per side (DP in the paper).

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
