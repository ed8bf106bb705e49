"""Streamed ranks are those of the whole matrix, whatever the tiles, the ties and the order of captions."""

import numpy as np
import pytest
import torch

from drl_tvr.evaluation import ranks_per_caption, ranks_per_video, score_all, stream_ranks
from drl_tvr.model.modeling_drl import DRLFeatures


def features(lengths: list[int], dim: int, generator: torch.Generator) -> DRLFeatures:
    mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
    tokens = torch.randn(*mask.shape, dim, generator=generator)
    return DRLFeatures(tokens=tokens, weights=mask / mask.sum(1, keepdim=True), mask=mask)


@pytest.fixture
def model(make_tiny_model):
    return make_tiny_model(interaction="wti").eval()


@pytest.fixture
def encoded():
    """12 captions in batches of 5, 4 and 3, and 6 videos in two batches; videos 1 and 4 are the same."""
    generator = torch.Generator().manual_seed(0)
    texts = [features(lengths, 8, generator) for lengths in ([3, 5, 2, 2, 1], [7, 3, 3, 4], [2, 2, 6])]
    videos = [features(lengths, 8, generator) for lengths in ([2, 3, 4], [1, 3, 2])]
    videos[1].tokens[1, :3], videos[1].weights[1, :3] = videos[0].tokens[1, :3], videos[0].weights[1, :3]
    return texts, videos


OWNERS = {
    "grouped": [0, 0, 0, 1, 1, 2, 3, 3, 3, 3, 4, 5],
    "scattered": [5, 0, 3, 1, 0, 4, 2, 2, 3, 5, 1, 0],
}


@pytest.mark.parametrize("owners", OWNERS.values(), ids=OWNERS)
@pytest.mark.parametrize("block_size", [1, 2, 5, 100])
def test_streamed_ranks_are_those_of_the_matrix(owners, block_size, model, encoded):
    similarity = score_all(model, *encoded).numpy()
    captions, videos = stream_ranks(model, *encoded, owners, block_size=block_size, show_progress=False)
    np.testing.assert_array_equal(captions, ranks_per_caption(similarity, np.array(owners)))
    np.testing.assert_array_equal(videos, ranks_per_video(similarity, np.array(owners)))
    assert captions[owners.index(1)] % 1 == 0.5  # the twins tie


def test_blocks_of_any_size_give_the_matrix(model, encoded):
    whole = score_all(model, *encoded)
    for block_size in (1, 2, 5):
        torch.testing.assert_close(score_all(model, *encoded, block_size=block_size), whole)


def test_bfloat16_tokens_give_nearly_the_same_scores(model, encoded):
    whole = score_all(model, *encoded)
    half = score_all(model, *encoded, dtype=torch.bfloat16)
    assert half.dtype == torch.float32
    assert 0 < (half - whole).abs().max() < 0.02


def test_a_nan_is_named(model, encoded):
    texts, videos = encoded
    texts[1].tokens[2, 0] = float("nan")  # caption 7
    with pytest.raises(ValueError, match="Caption 7, video 0: found the score NaN"):
        stream_ranks(model, texts, videos, OWNERS["grouped"], show_progress=False)


def test_owners_that_do_not_fit_are_refused(model, encoded):
    with pytest.raises(ValueError, match="12 captions and 6 videos"):
        stream_ranks(model, *encoded, show_progress=False)
    with pytest.raises(ValueError, match="no caption for video 5"):
        stream_ranks(model, *encoded, [0, 1, 2, 3, 4] + [0] * 7, show_progress=False)


def test_where_padding_scores_batches_must_be_padded_alike(make_tiny_model, encoded):
    model = make_tiny_model(interaction="wti", padding_similarity="zero").eval()
    with pytest.raises(ValueError, match=r"found padding to \[5, 6, 7\] tokens"):
        score_all(model, *encoded)
    with pytest.raises(ValueError, match="found padding to"):
        stream_ranks(model, *encoded, OWNERS["grouped"], show_progress=False)


def test_nothing_to_score_is_refused(model, encoded):
    with pytest.raises(ValueError, match="found an empty list, expected something to score"):
        score_all(model, [], encoded[1])
    with pytest.raises(ValueError, match="found an empty list, expected something to score"):
        stream_ranks(model, [], encoded[1], [], show_progress=False)
    with pytest.raises(ValueError, match="`block_size`: found 0, expected at least 1"):
        score_all(model, *encoded, block_size=0)
