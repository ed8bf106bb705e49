"""The contrastive loss: a pure function on similarities."""

import torch


def contrastive_loss(logits_per_text: torch.Tensor) -> torch.Tensor:
    """Return the symmetric cross entropy whose targets are the diagonal (equation 1 of the paper).

    Args:
        logits_per_text (`torch.Tensor` of shape `(num_pairs, num_pairs)`): Scaled similarities; text i belongs to
            video i.

    Returns:
        `torch.Tensor` of shape `()`: The mean of the loss over rows and the loss over columns, in nats.

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


__all__ = ["contrastive_loss"]
