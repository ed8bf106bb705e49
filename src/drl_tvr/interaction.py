"""How a text and a video are compared: pure functions from tokens, weights and masks to similarities.

Texts are rows and videos are columns. Nothing here is scaled by the logit scale.
"""

import torch


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


def weighted_token_wise_interaction(
    text_tokens: torch.Tensor,
    text_weights: torch.Tensor,
    text_mask: torch.Tensor,
    frame_tokens: torch.Tensor,
    frame_weights: torch.Tensor,
    video_mask: torch.Tensor,
    padding_similarity: str = "ignore",
    max_elements: int = 2**26,
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
        max_elements (`int`, *optional*, defaults to 2**26): Texts are taken in blocks of at most so many cosines.

    Returns:
        `torch.Tensor` of shape `(num_texts, num_videos)`: Similarities between -1 and 1.

    Example:

    ```python
    >>> import torch
    >>> from drl_tvr.interaction import uniform_weights, weighted_token_wise_interaction

    >>> text, video = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]), torch.tensor([[[2.0, 0.0]]])
    >>> words, frames = torch.ones(1, 2), torch.ones(1, 1)
    >>> weighted_token_wise_interaction(
    ...     text, uniform_weights(words), words, video, uniform_weights(frames), frames
    ... )
    tensor([[0.7500]])
    ```"""
    text_tokens, frame_tokens = normalize(text_tokens), normalize(frame_tokens)
    per_text = text_tokens.shape[1] * frame_tokens.shape[0] * frame_tokens.shape[1]
    block = max(1, max_elements // max(1, per_text))
    rows = []
    for start in range(0, len(text_tokens), block):
        part = slice(start, start + block)
        similarity = torch.einsum("and,bfd->abnf", text_tokens[part], frame_tokens)
        words, frames = text_mask[part].bool()[:, None], video_mask.bool()[None]
        similarity = mask_similarity(similarity, words, frames, padding_similarity)
        # The maxima of the padding itself have weight 0; left at the lowest number, they would overflow its gradient.
        best_frame = similarity.max(dim=-1).values.masked_fill(~words, 0.0)  # (texts, num_videos, num_tokens)
        best_word = similarity.max(dim=-2).values.masked_fill(~frames, 0.0)  # (texts, num_videos, num_frames)
        t2v = torch.einsum("abn,an->ab", best_frame.to(text_weights.dtype), text_weights[part])
        v2t = torch.einsum("abf,bf->ab", best_word.to(frame_weights.dtype), frame_weights)
        rows.append((t2v + v2t) / 2)
    return torch.cat(rows)  # (num_texts, num_videos)


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
        `tuple(torch.Tensor)`: The frame chosen by every word, of shape `(num_pairs, num_tokens, dim)`, and the word
        chosen by every frame, of shape `(num_pairs, num_frames, dim)`; both of unit length.
    """
    text_tokens, frame_tokens = normalize(text_tokens), normalize(frame_tokens)
    with torch.no_grad():
        similarity = text_tokens @ frame_tokens.transpose(-1, -2)  # (num_pairs, num_tokens, num_frames)
        similarity = mask_similarity(similarity, text_mask.bool(), video_mask.bool(), padding_similarity)
        best_frame, best_word = similarity.argmax(dim=-1), similarity.argmax(dim=-2)
    dim = text_tokens.shape[-1]
    matched_frames = frame_tokens.gather(1, best_frame[..., None].expand(-1, -1, dim))
    matched_words = text_tokens.gather(1, best_word[..., None].expand(-1, -1, dim))
    return matched_frames, matched_words


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
