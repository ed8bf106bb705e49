"""Channel decorrelation (CDCR, section 3.4 of the paper): which tokens are paired, and the loss on their channels.

Tokens and vectors come in with unit length; text i belongs to video i.
"""

import torch

from .configuration_drl import DRLConfig
from .token_matching import mask_similarity


def decorrelate_tokens(
    text_tokens: torch.Tensor,
    text_weights: torch.Tensor,
    text_mask: torch.Tensor,
    frame_tokens: torch.Tensor,
    frame_weights: torch.Tensor,
    video_mask: torch.Tensor,
    config: DRLConfig,
    seed: int | None = None,
) -> torch.Tensor:
    """Decorrelate the channels of words and frames that are paired as `config.cdcr` says.

    Args:
        text_tokens (`torch.Tensor` of shape `(num_pairs, num_tokens, dim)`): Words.
        text_weights (`torch.Tensor` of shape `(num_pairs, num_tokens)`): Word weights.
        text_mask (`torch.Tensor` of shape `(num_pairs, num_tokens)`): 1 for real words.
        frame_tokens (`torch.Tensor` of shape `(num_pairs, num_frames, dim)`): Frames.
        frame_weights (`torch.Tensor` of shape `(num_pairs, num_frames)`): Frame weights.
        video_mask (`torch.Tensor` of shape `(num_pairs, num_frames)`): 1 for real frames.
        config ([`DRLConfig`]): Its `cdcr` is `"weighted"`, `"argmax"` or `"random"`.
        seed (`int`, *optional*): Decides the choice of `"random"`; by default drawn by torch's global generator.

    Returns:
        `torch.Tensor` of shape `()`: The loss, before its lambda.
    """
    diagonal_only = config.cdcr_alpha_off_diagonal == 0
    if config.cdcr == "random":
        generator = torch.Generator(text_tokens.device).manual_seed(draw_seed() if seed is None else seed)
        words = random_tokens(text_tokens, text_mask, generator)
        frames = random_tokens(frame_tokens, video_mask, generator)
        correlation = channel_correlation(words, frames, len(words), diagonal_only=diagonal_only)
    else:
        best_frame, best_word = match_tokens(
            text_tokens, text_mask, frame_tokens, video_mask, config.padding_similarity
        )
        weighted = config.cdcr == "weighted"
        by_words = correlate_with_chosen(
            text_tokens, text_mask, text_weights if weighted else None, frame_tokens, best_frame, diagonal_only
        )
        by_frames = correlate_with_chosen(
            frame_tokens, video_mask, frame_weights if weighted else None, text_tokens, best_word, diagonal_only
        )
        # Rows of the second are video channels: the official code averages the two orientations as they are.
        correlation = (by_words + by_frames) / 2  # (dim, dim), or its diagonal
    return decorrelation_loss(correlation, config.cdcr_alpha_diagonal, config.cdcr_alpha_off_diagonal)


def decorrelate_vectors(text_vectors: torch.Tensor, video_vectors: torch.Tensor, config: DRLConfig) -> torch.Tensor:
    """Decorrelate the channels of the one vector per side of `"dp"` and `"mlp"`.

    Args:
        text_vectors (`torch.Tensor` of shape `(num_pairs, dim)`): Texts.
        video_vectors (`torch.Tensor` of shape `(num_pairs, dim)`): Videos.
        config ([`DRLConfig`]): Its weights of the diagonal and of the rest are used.

    Returns:
        `torch.Tensor` of shape `()`: The loss, before its lambda.
    """
    diagonal_only = config.cdcr_alpha_off_diagonal == 0
    correlation = channel_correlation(text_vectors, video_vectors, len(text_vectors), diagonal_only=diagonal_only)
    return decorrelation_loss(correlation, config.cdcr_alpha_diagonal, config.cdcr_alpha_off_diagonal)


def draw_seed() -> int:
    """Draw a seed from torch's global generator."""
    return int(torch.randint(2**62, ()))


def random_tokens(tokens: torch.Tensor, mask: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
    """Choose one real token of every item at random.

    The choice depends on the generator and on the positions of an item's real tokens, not on the amount of padding.

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
    chosen = (mask.cumsum(dim=-1) > number[:, None]).long().argmax(dim=-1)  # (num_items,)
    return tokens[torch.arange(len(tokens), device=tokens.device), chosen]


@torch.no_grad()
def match_tokens(
    text_tokens: torch.Tensor,
    text_mask: torch.Tensor,
    frame_tokens: torch.Tensor,
    video_mask: torch.Tensor,
    padding_similarity: str = "ignore",
) -> tuple[torch.Tensor, torch.Tensor]:
    """Find the tokens that the maxima of (W)TI choose when text i is compared with video i.

    Args:
        text_tokens (`torch.Tensor` of shape `(num_pairs, num_tokens, dim)`): Words of unit length.
        text_mask (`torch.Tensor` of shape `(num_pairs, num_tokens)`): 1 for real words.
        frame_tokens (`torch.Tensor` of shape `(num_pairs, num_frames, dim)`): Frames of unit length.
        video_mask (`torch.Tensor` of shape `(num_pairs, num_frames)`): 1 for real frames.
        padding_similarity (`str`, *optional*, defaults to `"ignore"`): See
            [`~model.token_matching.mask_similarity`].

    Returns:
        `tuple(torch.Tensor)`: Which frame every word chose, of shape `(num_pairs, num_tokens)`, and which word every
        frame chose, of shape `(num_pairs, num_frames)`; indices without a gradient.
    """
    similarity = text_tokens @ frame_tokens.transpose(-1, -2)  # (num_pairs, num_tokens, num_frames)
    similarity = mask_similarity(similarity, text_mask.bool(), video_mask.bool(), padding_similarity)
    return similarity.argmax(dim=-1), similarity.argmax(dim=-2)


def correlate_with_chosen(
    tokens: torch.Tensor,
    mask: torch.Tensor,
    weights: torch.Tensor | None,
    candidates: torch.Tensor,
    chosen: torch.Tensor,
    diagonal_only: bool = False,
) -> torch.Tensor:
    """Correlate the channels of every real token with those of the token of the other side that it chose.

    Args:
        tokens (`torch.Tensor` of shape `(num_pairs, num_tokens, dim)`): Tokens of one side.
        mask (`torch.Tensor` of shape `(num_pairs, num_tokens)`): 1 for real tokens.
        weights (`torch.Tensor` of shape `(num_pairs, num_tokens)`, *optional*): Token weights, which sum to 1 per
            item; by default every real token counts the same.
        candidates (`torch.Tensor` of shape `(num_pairs, num_candidates, dim)`): Tokens of the other side.
        chosen (`torch.Tensor` of shape `(num_pairs, num_tokens)`): Index of a candidate per token.
        diagonal_only (`bool`, *optional*, defaults to `False`): See [`channel_correlation`].

    Returns:
        `torch.Tensor` of shape `(dim, dim)`, or `(dim,)` for the diagonal: Correlations.
    """
    real = mask.bool()
    first_rows = candidates.shape[1] * torch.arange(len(chosen), device=chosen.device)
    rows = (first_rows[:, None] + chosen)[real]  # (num_real_tokens,)
    partners = candidates.flatten(0, 1).index_select(0, rows)  # (num_real_tokens, dim)
    if weights is None:
        return channel_correlation(tokens[real], partners, len(rows), diagonal_only=diagonal_only)
    return channel_correlation(tokens[real], partners, len(tokens), weights[real], diagonal_only)


def standardize_channels(features: torch.Tensor) -> torch.Tensor:
    """Give every channel mean 0 and (unbiased) standard deviation 1 over the rows; a constant channel becomes 0.

    Args:
        features (`torch.Tensor` of shape `(num_rows, dim)`): At least two rows.

    Returns:
        `torch.Tensor` of shape `(num_rows, dim)`: Standardised features.

    Raises:
        `ValueError`: For fewer than two rows, which have no standard deviation.
    """
    if len(features) < 2:
        raise ValueError(f"Channel decorrelation: found {len(features)} rows to standardise, expected at least 2.")
    std, mean = torch.std_mean(features, dim=0)
    # A constant channel has a deviation of about 0; dividing by it gives gradients of 1e19.
    constant = std <= torch.finfo(features.dtype).eps * mean.abs()
    return torch.where(constant, 0.0, (features - mean) / torch.where(constant, 1.0, std))


def channel_correlation(
    x: torch.Tensor,
    y: torch.Tensor,
    count: int,
    row_weights: torch.Tensor | None = None,
    diagonal_only: bool = False,
) -> torch.Tensor:
    """Compute the cross-correlation of the channels of paired features.

    The official code builds the outer products of all rows, (num_rows, dim, dim), and sums them. One matrix product of
    the weighted features is the same number at O(dim^2) memory.

    Args:
        x, y (`torch.Tensor` of shape `(num_rows, dim)`): Paired features.
        count (`int`): Divisor of the sum over rows.
        row_weights (`torch.Tensor` of shape `(num_rows,)`, *optional*): Weight of every pair.
        diagonal_only (`bool`, *optional*, defaults to `False`): Whether to compute matching channels only.

    Returns:
        `torch.Tensor` of shape `(dim, dim)`, or `(dim,)` for the diagonal: Correlations.

    Raises:
        `ValueError`: For fewer than two rows.
    """
    x, y = standardize_channels(x), standardize_channels(y)
    if row_weights is not None:
        x = x * row_weights[:, None]
    return (torch.einsum("rd,rd->d", x, y) if diagonal_only else x.T @ y) / count


def decorrelation_loss(
    correlation: torch.Tensor, alpha_diagonal: float = 0.11, alpha_off_diagonal: float = 0.0
) -> torch.Tensor:
    """Pull matching channels together and push different channels apart (section 3.4 of the paper).

    Args:
        correlation (`torch.Tensor` of shape `(dim, dim)` or `(dim,)`): Cross-correlation of text and video channels;
            its diagonal is enough when `alpha_off_diagonal` is 0.
        alpha_diagonal (`float`, *optional*, defaults to 0.11): Weight of the sum of (C_ii - 1)^2.
        alpha_off_diagonal (`float`, *optional*, defaults to 0.0): Weight of the sum of C_ij^2 over i != j.

    Returns:
        `torch.Tensor` of shape `()`: The loss, before its lambda.

    Raises:
        `ValueError`: When only the diagonal is given and `alpha_off_diagonal` is not 0.

    Example:

    ```python
    >>> import torch
    >>> from drl_tvr.model.decorrelation import decorrelation_loss

    >>> decorrelation_loss(torch.tensor([[1.0, 0.5], [0.0, 0.0]]), alpha_diagonal=1.0, alpha_off_diagonal=1.0)
    tensor(1.2500)
    ```"""
    diagonal = correlation if correlation.dim() == 1 else correlation.diagonal()
    loss = alpha_diagonal * (diagonal - 1).square().sum()
    if alpha_off_diagonal == 0:
        return loss
    if correlation.dim() == 1:
        raise ValueError(
            f"`correlation`: found a diagonal, expected a matrix for `alpha_off_diagonal={alpha_off_diagonal}`."
        )
    return loss + alpha_off_diagonal * (correlation.square().sum() - diagonal.square().sum())


__all__ = [
    "channel_correlation",
    "correlate_with_chosen",
    "decorrelate_tokens",
    "decorrelate_vectors",
    "decorrelation_loss",
    "draw_seed",
    "match_tokens",
    "random_tokens",
    "standardize_channels",
]
