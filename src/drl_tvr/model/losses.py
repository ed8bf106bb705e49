"""Losses: pure functions on similarities and features."""

import torch


def contrastive_loss(logits_per_text: torch.Tensor) -> torch.Tensor:
    """Symmetric cross entropy whose targets are the diagonal (equation 1 of the paper).

    Args:
        logits_per_text (`torch.Tensor` of shape `(num_pairs, num_pairs)`): Scaled similarities; text i belongs to
            video i.

    Returns:
        `torch.Tensor`: The mean of the loss over rows and the loss over columns, in nats.

    Example:

    ```python
    >>> import torch
    >>> from drl_tvr.model.losses import contrastive_loss

    >>> round(contrastive_loss(torch.zeros(4, 4)).item(), 4)  # log 4
    1.3863
    ```"""
    target = torch.arange(len(logits_per_text), device=logits_per_text.device)
    rows = torch.nn.functional.cross_entropy(logits_per_text, target)
    columns = torch.nn.functional.cross_entropy(logits_per_text.T, target)
    return (rows + columns) / 2


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
        raise ValueError(f"Channel decorrelation needs at least 2 rows to standardise, got {len(features)}.")
    std, mean = torch.std_mean(features, dim=0)
    # Divided by next to nothing, a constant channel would be 0 with a gradient of 1e19.
    constant = std <= torch.finfo(features.dtype).eps * mean.abs()
    return torch.where(constant, 0.0, (features - mean) / torch.where(constant, 1.0, std))


def channel_correlation(
    x: torch.Tensor,
    y: torch.Tensor,
    count: int,
    row_weights: torch.Tensor | None = None,
    diagonal_only: bool = False,
) -> torch.Tensor:
    """Cross-correlation of the channels of paired features.

    The official code builds the outer products of all rows, (num_rows, dim, dim), and sums them. One matrix product of
    the weighted features is the same number at O(dim^2) memory.

    Args:
        x, y (`torch.Tensor` of shape `(num_rows, dim)`): Paired features.
        count (`int`): What the sum over rows is divided by.
        row_weights (`torch.Tensor` of shape `(num_rows,)`, *optional*): Weight of every pair.
        diagonal_only (`bool`, *optional*, defaults to `False`): Whether to leave out all but matching channels.

    Returns:
        `torch.Tensor` of shape `(dim, dim)`, or of the diagonal's `(dim,)`: Correlations.
    """
    x, y = standardize_channels(x), standardize_channels(y)
    if row_weights is not None:
        x = x * row_weights[:, None]
    return (torch.einsum("rd,rd->d", x, y) if diagonal_only else x.T @ y) / count


def decorrelation_loss(
    correlation: torch.Tensor, alpha_diagonal: float = 0.11, alpha_off_diagonal: float = 0.0
) -> torch.Tensor:
    """Pull matching channels together and different channels apart (section 3.4 of the paper).

    Args:
        correlation (`torch.Tensor` of shape `(dim, dim)`): Cross-correlation of text and video channels; without
            `alpha_off_diagonal` its diagonal does, of shape `(dim,)`.
        alpha_diagonal (`float`, *optional*, defaults to 0.11): Weight of the sum of (C_ii - 1)^2.
        alpha_off_diagonal (`float`, *optional*, defaults to 0.0): Weight of the sum of C_ij^2 over i != j.

    Returns:
        `torch.Tensor`: The loss, before its lambda.

    Raises:
        `ValueError`: When only the diagonal is given and the rest counts.

    Example:

    ```python
    >>> import torch
    >>> from drl_tvr.model.losses import decorrelation_loss

    >>> decorrelation_loss(torch.tensor([[1.0, 0.5], [0.0, 0.0]]), alpha_diagonal=1.0, alpha_off_diagonal=1.0)
    tensor(1.2500)
    ```"""
    diagonal = correlation if correlation.dim() == 1 else correlation.diagonal()
    loss = alpha_diagonal * (diagonal - 1).square().sum()
    if alpha_off_diagonal == 0:
        return loss
    if correlation.dim() == 1:
        raise ValueError(f"`alpha_off_diagonal` is {alpha_off_diagonal}, but only a diagonal is given.")
    return loss + alpha_off_diagonal * (correlation.square().sum() - diagonal.square().sum())
