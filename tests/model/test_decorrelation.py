"""Channel decorrelation: the paired tokens, and the loss against its definition, written out."""

import pytest
import torch

from drl_tvr.model.decorrelation import (
    channel_correlation,
    correlate_with_chosen,
    decorrelation_loss,
    match_tokens,
    standardize_channels,
)
from drl_tvr.model.interaction import normalize


WORDS, FRAMES = [5, 1, 3], [2, 4, 1]  # real tokens of three pairs


def features(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def unit_tokens(lengths: list[int], seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Random tokens of unit length, padding too, and their mask."""
    mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
    return normalize(features(*mask.shape, 6, seed=seed)), mask


@pytest.mark.parametrize("sign", [None, -1], ids=["any sign", "negative"])
def test_matched_tokens_are_those_that_the_maxima_chose(sign: int | None):
    (words, text_mask), (frames, video_mask) = unit_tokens(WORDS, 0), unit_tokens(FRAMES, 1)
    if sign is not None:  # every cosine of a real word and a real frame is below zero
        words, frames = words.abs(), sign * frames.abs()
    best_frame, best_word = match_tokens(words, text_mask, frames, video_mask)
    assert best_frame.shape == text_mask.shape and best_word.shape == video_mask.shape
    for i in range(3):
        cosine = words[i, : WORDS[i]] @ frames[i, : FRAMES[i]].T
        assert best_frame[i, : WORDS[i]].tolist() == cosine.argmax(1).tolist()
        assert best_word[i, : FRAMES[i]].tolist() == cosine.argmax(0).tolist()


def test_matching_zero_lets_padding_win_as_the_official_code_does():
    text = torch.tensor([[[1.0, 0.0]]])
    video = torch.tensor([[[-1.0, 0.0], [0.0, 1.0]]])
    words, frames = torch.tensor([[1]]), torch.tensor([[1, 0]])
    ignored, _ = match_tokens(text, words, video, frames, "ignore")
    zero, _ = match_tokens(text, words, video, frames, "zero")
    assert (ignored.item(), zero.item()) == (0, 1)


@pytest.mark.parametrize("weighted", [False, True])
def test_real_tokens_are_correlated_with_what_they_chose(weighted: bool):
    """Weighted, the sum over rows is divided by the number of pairs; else by the number of rows."""
    (words, mask), (frames, _) = unit_tokens(WORDS, 0), unit_tokens(FRAMES, 1)
    weights = features(*mask.shape, seed=2).masked_fill(mask == 0, float("-inf")).softmax(-1)
    chosen = torch.randint(4, mask.shape, generator=torch.Generator().manual_seed(3))
    pairs = [(i, n) for i in range(3) for n in range(WORDS[i])]
    own = torch.stack([words[i, n] for i, n in pairs])
    partners = torch.stack([frames[i, chosen[i, n]] for i, n in pairs])
    row_weights = torch.stack([weights[i, n] for i, n in pairs]) if weighted else None
    expected = channel_correlation(own, partners, 3 if weighted else 9, row_weights)
    found = correlate_with_chosen(words, mask, weights if weighted else None, frames, chosen)
    torch.testing.assert_close(found, expected)


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
    with pytest.raises(ValueError, match=f"found {num_rows} rows to standardise, expected at least 2"):
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


def test_the_diagonal_alone_is_that_of_the_whole_correlation():
    x, y, weights = torch.randn(9, 4), torch.randn(9, 4), torch.rand(9)
    whole, diagonal = (channel_correlation(x, y, 9, weights, diagonal_only) for diagonal_only in (False, True))
    torch.testing.assert_close(diagonal, whole.diagonal())
    torch.testing.assert_close(decorrelation_loss(diagonal), decorrelation_loss(whole))
    with pytest.raises(ValueError, match="found a diagonal, expected a matrix"):
        decorrelation_loss(diagonal, alpha_off_diagonal=0.1)
