"""How a text and a video are compared: pure functions from tokens, weights and masks to similarities.

Texts are rows and videos are columns. Nothing here is scaled by the logit scale.
"""

import math

import torch

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


def mask_similarity(
    similarity: torch.Tensor, words: torch.Tensor, frames: torch.Tensor, padding_similarity: str = "ignore"
) -> torch.Tensor:
    """Prepare the cosines of words with frames for the two maxima of (W)TI.

    With `"ignore"`, padding is filled with the lowest number, since multiplying by 0 would let a padding token win the
    maximum whenever every real similarity is negative. `"zero"` is that multiplication, as in the official code.

    Args:
        similarity (`torch.Tensor` of shape `(..., num_tokens, num_frames)`): Cosines.
        words (`torch.Tensor` of shape `(..., num_tokens)`): `True` for real words.
        frames (`torch.Tensor` of shape `(..., num_frames)`): `True` for real frames.
        padding_similarity (`str`, *optional*, defaults to `"ignore"`): `"ignore"` or `"zero"`.

    Returns:
        `torch.Tensor` of shape `(..., num_tokens, num_frames)`: Cosines to take the maxima of.
    """
    real = words[..., :, None] & frames[..., None, :]
    if padding_similarity == "zero":
        return similarity * real
    return similarity.masked_fill(~real, torch.finfo(similarity.dtype).min)


def check_side(side: str, tokens: torch.Tensor, weights: torch.Tensor, mask: torch.Tensor) -> None:
    """Refuse tokens, weights and mask that don't belong together.

    Raises:
        `ValueError`: Names the side and what was found.
    """
    if not tokens.shape[:-1] == weights.shape == mask.shape:
        raise ValueError(
            f"Tokens, weights and mask of the {side} side must agree in items and tokens, got shapes "
            f"{tuple(tokens.shape)}, {tuple(weights.shape)} and {tuple(mask.shape)}."
        )
    empty = ~mask.bool().any(dim=-1)
    if empty.any():
        number = empty.nonzero()[0].item()
        raise ValueError(f"The {side} {number} of {len(mask)} has no real token: its mask is 0 everywhere.")


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


@torch.no_grad()
def match_tokens(
    text_tokens: torch.Tensor,
    text_mask: torch.Tensor,
    frame_tokens: torch.Tensor,
    video_mask: torch.Tensor,
    padding_similarity: str = "ignore",
) -> tuple[torch.Tensor, torch.Tensor]:
    """The tokens that the maxima of (W)TI choose when text i is compared with video i.

    Args:
        text_tokens (`torch.Tensor` of shape `(num_pairs, num_tokens, dim)`): Words.
        text_mask (`torch.Tensor` of shape `(num_pairs, num_tokens)`): 1 for real words.
        frame_tokens (`torch.Tensor` of shape `(num_pairs, num_frames, dim)`): Frames.
        video_mask (`torch.Tensor` of shape `(num_pairs, num_frames)`): 1 for real frames.
        padding_similarity (`str`, *optional*, defaults to `"ignore"`): See [`mask_similarity`].

    Returns:
        `tuple(torch.Tensor)`: Which frame every word chose, of shape `(num_pairs, num_tokens)`, and which word every
        frame chose, of shape `(num_pairs, num_frames)`; indices without a gradient.
    """
    similarity = normalize(text_tokens) @ normalize(frame_tokens).transpose(-1, -2)
    similarity = mask_similarity(similarity, text_mask.bool(), video_mask.bool(), padding_similarity)
    return similarity.argmax(dim=-1), similarity.argmax(dim=-2)


def chosen_rows(chosen: torch.Tensor, mask: torch.Tensor, num_candidates: int) -> torch.Tensor:
    """Where what the real tokens chose stands among the tokens of all pairs.

    Args:
        chosen (`torch.Tensor` of shape `(num_pairs, num_tokens)`): See [`match_tokens`].
        mask (`torch.Tensor` of shape `(num_pairs, num_tokens)`): 1 for real tokens.
        num_candidates (`int`): Tokens that an item of the other side has, padding included.

    Returns:
        `torch.Tensor` of shape `(num_real_tokens,)`: Rows of the other side's `(num_pairs * num_candidates, dim)`.
    """
    first = num_candidates * torch.arange(len(chosen), device=chosen.device)
    return (first[:, None] + chosen)[mask.bool()]


def random_tokens(tokens: torch.Tensor, mask: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
    """One real token of every item, chosen at random.

    The choice depends on the generator and on where an item's real tokens are, not on how much padding it has.

    Args:
        tokens (`torch.Tensor` of shape `(num_items, num_tokens, dim)`): Words or frames.
        mask (`torch.Tensor` of shape `(num_items, num_tokens)`): 1 for real tokens.
        generator (`torch.Generator`, *optional*): By default torch's global one.

    Returns:
        `torch.Tensor` of shape `(num_items, dim)`: The chosen tokens.
    """
    count = mask.sum(dim=-1)
    draw = torch.rand(len(mask), generator=generator, device=mask.device)
    number = (draw * count).long().clamp(max=count - 1)  # (num_items,)
    chosen = (mask.cumsum(dim=-1) > number[:, None]).long().argmax(dim=-1)
    return tokens[torch.arange(len(tokens), device=tokens.device), chosen]


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
