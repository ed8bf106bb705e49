"""The contrastive loss against its definition, written out."""

import math

import pytest
import torch

from drl_tvr.model.losses import contrastive_loss


def features(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def test_contrastive_loss_by_hand():
    """Rows: log(e + 1) - 1 and log(e^3 + e^2) - 2. Columns: log(e + e^3) - 1 and log(1 + e^2) - 2."""
    logits = torch.tensor([[1.0, 0.0], [3.0, 2.0]])
    rows = (math.log(math.e + 1) - 1 + math.log(math.e**3 + math.e**2) - 2) / 2
    columns = (math.log(math.e + math.e**3) - 1 + math.log(1 + math.e**2) - 2) / 2
    assert contrastive_loss(logits).item() == pytest.approx((rows + columns) / 2, rel=1e-6)


def test_contrastive_loss_does_not_tell_texts_from_videos():
    logits = features(5, 5)
    torch.testing.assert_close(contrastive_loss(logits), contrastive_loss(logits.T))


def test_contrastive_loss_wants_the_diagonal():
    logits = features(4, 4).requires_grad_()
    (gradient,) = torch.autograd.grad(contrastive_loss(logits), logits)
    assert (gradient.diagonal() < 0).all()
    assert (gradient[~torch.eye(4, dtype=torch.bool)] > 0).all()


def test_gradient():
    assert torch.autograd.gradcheck(contrastive_loss, (features(4, 4).requires_grad_(),))
