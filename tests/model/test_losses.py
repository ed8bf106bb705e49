"""The losses: each against its definition, written out."""

import math

import pytest
import torch

from drl_tvr.model.losses import channel_correlation, contrastive_loss, decorrelation_loss, standardize_channels


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


def test_standardised_channels_by_hand():
    """Unbiased: the squares of -1, 0, 1 sum to 2 and are divided by 2. A constant channel is 0."""
    rows = torch.tensor([[1.0, 5.0, 0.1], [2.0, 7.0, 0.1], [3.0, 9.0, 0.1]])
    expected = torch.tensor([[-1.0, -1.0, 0.0], [0.0, 0.0, 0.0], [1.0, 1.0, 0.0]])
    torch.testing.assert_close(standardize_channels(rows), expected)


@pytest.mark.parametrize("constant", [0.0, 0.1, -3.7, 1e-20])
def test_a_constant_channel_has_no_gradient_and_harms_no_other(constant: float):
    x = features(7, 3, dtype=torch.float32)
    y = features(7, 3, seed=1, dtype=torch.float32)
    x[:, 1] = constant
    x.requires_grad_()
    decorrelation_loss(channel_correlation(x, y, 7), 1.0, 1.0).backward()
    assert x.grad.isfinite().all()
    assert (x.grad[:, 1] == 0).all()
    assert 0 < x.grad.abs().max() < 100


@pytest.mark.parametrize("num_rows", [0, 1])
def test_fewer_than_two_rows_have_no_deviation(num_rows: int):
    with pytest.raises(ValueError, match=f"at least 2 rows to standardise, got {num_rows}"):
        standardize_channels(torch.ones(num_rows, 3))


def test_weighted_correlation_is_its_literal_definition():
    """The (N, dim, dim) outer products of the official code, weighted, summed and divided by the number of pairs."""
    x, y, weights = features(11, 4), features(11, 4, seed=1), features(11, seed=2).softmax(0)
    z_x = (x - x.mean(0)) / x.std(0, unbiased=True)
    z_y = (y - y.mean(0)) / y.std(0, unbiased=True)
    literal = (weights[:, None, None] * z_x[:, :, None] * z_y[:, None, :]).sum(0) / 5
    torch.testing.assert_close(channel_correlation(x, y, 5, weights), literal)
    ones = torch.ones(11, dtype=x.dtype)
    torch.testing.assert_close(channel_correlation(x, y, 5), channel_correlation(x, y, 5, ones))


def test_rows_of_the_correlation_are_channels_of_the_first_features():
    x, y = features(9, 3), features(9, 3, seed=1)
    torch.testing.assert_close(channel_correlation(x, y, 9), channel_correlation(y, x, 9).T)
    torch.testing.assert_close(channel_correlation(x, x, 8).diagonal(), torch.ones(3, dtype=x.dtype))


def test_decorrelation_by_hand():
    """Diagonal: (0.5 - 1)^2 + (2 - 1)^2 = 1.25. Off it: 0.3^2 + 0.4^2 = 0.25."""
    correlation = torch.tensor([[0.5, 0.3], [-0.4, 2.0]])
    assert decorrelation_loss(correlation, 1.0, 0.0).item() == pytest.approx(1.25)
    assert decorrelation_loss(correlation, 0.0, 1.0).item() == pytest.approx(0.25)
    assert decorrelation_loss(correlation, 0.11, 0.06).item() == pytest.approx(0.11 * 1.25 + 0.06 * 0.25)
    assert decorrelation_loss(correlation).item() == pytest.approx(0.11 * 1.25)  # as the authors publish it


def test_gradients():
    x, y = features(6, 3).requires_grad_(), features(6, 3, seed=1).requires_grad_()
    weights = features(6, seed=2).softmax(0).requires_grad_()

    def decorrelation(x, y, weights):
        return decorrelation_loss(channel_correlation(x, y, 4, weights), 0.11, 0.06)

    assert torch.autograd.gradcheck(decorrelation, (x, y, weights))
    assert torch.autograd.gradcheck(contrastive_loss, (features(4, 4, seed=3).requires_grad_(),))


def test_the_diagonal_alone_is_that_of_the_whole_correlation():
    x, y, weights = torch.randn(9, 4), torch.randn(9, 4), torch.rand(9)
    whole, diagonal = (channel_correlation(x, y, 9, weights, diagonal_only) for diagonal_only in (False, True))
    torch.testing.assert_close(diagonal, whole.diagonal())
    torch.testing.assert_close(decorrelation_loss(diagonal), decorrelation_loss(whole))
    with pytest.raises(ValueError, match="only a diagonal"):
        decorrelation_loss(diagonal, alpha_off_diagonal=0.1)
