"""The interactions: each against its definition, written out as loops over texts, videos, words and frames."""

import pytest
import torch
from torch.nn.functional import cosine_similarity

from drl_tvr.model.interaction import (
    dot_product,
    normalize,
    text_vector,
    uniform_weights,
    video_vector,
    weighted_token_wise_interaction,
)
from drl_tvr.model.token_matching import mask_similarity


WORDS, FRAMES = [5, 1, 3, 5], [2, 4, 1]  # real tokens of the four texts and three videos


def ragged(seed: int = 0, dtype: torch.dtype = torch.float64, dim: int = 6) -> list[torch.Tensor]:
    """Tokens, weights and mask of texts, then of videos, with random padding: the arguments of the interaction."""
    generator = torch.Generator().manual_seed(seed)
    arguments = []
    for lengths in (WORDS, FRAMES):
        mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
        tokens = torch.randn(*mask.shape, dim, generator=generator, dtype=torch.float64)
        scores = torch.randn(*mask.shape, generator=generator, dtype=torch.float64)
        weights = scores.masked_fill(mask == 0, float("-inf")).softmax(-1)
        arguments += [tokens.to(dtype), weights.to(dtype), mask]
    return arguments


def negative(arguments: list[torch.Tensor]) -> list[torch.Tensor]:
    """The same with every cosine of a real word and a real frame below zero."""
    text_tokens, frame_tokens = arguments[0].abs(), -arguments[3].abs()
    return [text_tokens, *arguments[1:3], frame_tokens, *arguments[4:]]


def literal_interaction(text_tokens, text_weights, text_mask, frame_tokens, frame_weights, video_mask, padding=False):
    """WTI by loops. With `padding`, padding takes part in the maxima with similarity 0, as in the official code."""
    scores = torch.empty(len(text_tokens), len(frame_tokens), dtype=text_tokens.dtype)
    for a in range(len(text_tokens)):
        for b in range(len(frame_tokens)):
            words, frames = int(text_mask[a].sum()), int(video_mask[b].sum())
            cosine = [
                [cosine_similarity(text_tokens[a, n], frame_tokens[b, f], dim=0) for f in range(frames)]
                for n in range(words)
            ]
            zero = [cosine[0][0] * 0]
            pad_frames = zero if padding and frames < frame_tokens.shape[1] else []
            pad_words = zero if padding and words < text_tokens.shape[1] else []
            score = 0
            for n in range(words):
                score = score + text_weights[a, n] * torch.stack(cosine[n] + pad_frames).max()
            for f in range(frames):
                best = torch.stack([cosine[n][f] for n in range(words)] + pad_words).max()
                score = score + frame_weights[b, f] * best
            scores[a, b] = score / 2
    return scores


@pytest.mark.parametrize("make", [lambda x: x, negative], ids=["any sign", "negative"])
@pytest.mark.parametrize("padding", ["ignore", "zero"])
def test_wti_is_its_definition(padding: str, make):
    arguments = make(ragged())
    expected = literal_interaction(*arguments, padding=padding == "zero")
    torch.testing.assert_close(weighted_token_wise_interaction(*arguments, padding), expected)


def test_the_two_paddings_differ_where_every_similarity_is_negative():
    """So that the test above tells them apart: a frame that is padding wins with 0 over cosines below it."""
    arguments = negative(ragged())
    ignored = weighted_token_wise_interaction(*arguments, "ignore")
    zero = weighted_token_wise_interaction(*arguments, "zero")
    assert (ignored < 0).all()
    assert (zero > ignored)[:, [0, 2]].all()  # videos of 2 and 1 frames of 4


def test_wti_by_hand():
    """Cosines [[1, 0.6], [0, 0.8]]: words 0.25 * 1 + 0.75 * 0.8 = 0.85, frames 0.5 * 1 + 0.5 * 0.8 = 0.9."""
    text = torch.tensor([[[3.0, 0.0], [0.0, 2.0]]])
    video = torch.tensor([[[1.0, 0.0], [6.0, 8.0]]])
    ones = torch.ones(1, 2)
    score = weighted_token_wise_interaction(
        text, torch.tensor([[0.25, 0.75]]), ones, video, torch.tensor([[0.5, 0.5]]), ones
    )
    torch.testing.assert_close(score, torch.tensor([[0.875]]))


@pytest.mark.parametrize("max_elements", [1, 60, 121, 10**6])
def test_blocks_give_the_whole(max_elements: int):
    arguments = ragged()
    whole = weighted_token_wise_interaction(*arguments)
    torch.testing.assert_close(weighted_token_wise_interaction(*arguments, max_elements=max_elements), whole)


def test_ti_is_wti_with_uniform_weights():
    text_tokens, _, text_mask, frame_tokens, _, video_mask = ragged()
    weights = [uniform_weights(mask, torch.float64) for mask in (text_mask, video_mask)]
    scores = weighted_token_wise_interaction(text_tokens, weights[0], text_mask, frame_tokens, weights[1], video_mask)
    for a, words in enumerate(WORDS):
        for b, frames in enumerate(FRAMES):
            cosine = normalize(text_tokens[a, :words]) @ normalize(frame_tokens[b, :frames]).T
            expected = (cosine.max(1).values.mean() + cosine.max(0).values.mean()) / 2
            torch.testing.assert_close(scores[a, b], expected)


def test_wti_is_half_the_sum_of_two_maxsim_scores():
    """So that a late-interaction index can serve it: weights go into the queries, documents are of unit length."""
    text_tokens, text_weights, text_mask, frame_tokens, frame_weights, video_mask = arguments = ragged()

    def maxsim(query: torch.Tensor, document: torch.Tensor) -> torch.Tensor:
        return (query @ document.T).max(dim=1).values.sum()

    scores = weighted_token_wise_interaction(*arguments)
    for a, words in enumerate(WORDS):
        for b, frames in enumerate(FRAMES):
            text, video = normalize(text_tokens[a, :words]), normalize(frame_tokens[b, :frames])
            by_words = maxsim(text_weights[a, :words, None] * text, video)
            by_frames = maxsim(frame_weights[b, :frames, None] * video, text)
            torch.testing.assert_close(scores[a, b], (by_words + by_frames) / 2)


@pytest.mark.parametrize("make", [lambda x: x, negative], ids=["any sign", "negative"])
@pytest.mark.parametrize("garbage", [1e30, -5.0, float("inf"), float("nan")])
def test_what_stands_in_the_padding_never_matters(garbage: float, make):
    clean = make(ragged())
    dirty = [tensor.clone() for tensor in clean]
    for tokens, mask in ((0, 2), (3, 5)):
        dirty[tokens][dirty[mask] == 0] = garbage
    torch.testing.assert_close(
        weighted_token_wise_interaction(*dirty), weighted_token_wise_interaction(*clean), rtol=0, atol=0
    )
    vectors = [
        dot_product(text_vector(tokens[0], tokens[2]), video_vector(tokens[3], tokens[5])) for tokens in (clean, dirty)
    ]
    torch.testing.assert_close(vectors[0], vectors[1], rtol=0, atol=0)


def test_wider_padding_never_matters():
    text_tokens, text_weights, text_mask, frame_tokens, frame_weights, video_mask = arguments = ragged()

    def pad(tensor: torch.Tensor) -> torch.Tensor:
        return torch.cat([tensor, torch.zeros_like(tensor[:, :2])], dim=1)

    wider = weighted_token_wise_interaction(*map(pad, arguments))
    torch.testing.assert_close(wider, weighted_token_wise_interaction(*arguments))


def test_the_order_of_items_only_permutes_the_matrix():
    arguments = ragged()
    scores = weighted_token_wise_interaction(*arguments)
    texts, videos = torch.tensor([2, 0, 3, 1]), torch.tensor([1, 2, 0])
    permuted = [tensor[texts] for tensor in arguments[:3]] + [tensor[videos] for tensor in arguments[3:]]
    torch.testing.assert_close(weighted_token_wise_interaction(*permuted), scores[texts][:, videos])


def test_swapping_the_sides_transposes_the_matrix():
    arguments = ragged()
    swapped = weighted_token_wise_interaction(*arguments[3:], *arguments[:3])
    torch.testing.assert_close(swapped, weighted_token_wise_interaction(*arguments).T)


@pytest.mark.parametrize("padding", ["ignore", "zero"])
def test_gradients_are_those_of_the_definition(padding: str):
    arguments = ragged()
    inputs = [arguments[i].clone().requires_grad_() for i in (0, 1, 3, 4)]

    def score(function, *inputs, **kwargs):
        text_tokens, text_weights, frame_tokens, frame_weights = inputs
        return function(text_tokens, text_weights, arguments[2], frame_tokens, frame_weights, arguments[5], **kwargs)

    ours = score(weighted_token_wise_interaction, *inputs, padding_similarity=padding, max_elements=1)
    literal = score(literal_interaction, *inputs, padding=padding == "zero")
    upstream = torch.randn(ours.shape, generator=torch.Generator().manual_seed(1), dtype=ours.dtype)
    gradients = [torch.autograd.grad(out, inputs, upstream) for out in (ours, literal)]
    real = [arguments[2].bool(), arguments[2].bool(), arguments[5].bool(), arguments[5].bool()]
    for mine, expected, mask in zip(*gradients, real, strict=True):
        torch.testing.assert_close(mine[mask], expected[mask])
    for gradient, mask in zip(gradients[0], real, strict=True):
        assert (gradient[~mask] == 0).all()  # of the weights too, or a softmax before them would hand it on


def test_masked_similarities_by_hand():
    similarity = torch.tensor([[-0.5, 0.2], [0.4, -0.1]])
    words, frames = torch.tensor([True, False]), torch.tensor([True, True])
    lowest = torch.finfo(torch.float32).min
    ignored = mask_similarity(similarity, words, frames)
    torch.testing.assert_close(ignored, torch.tensor([[-0.5, 0.2], [lowest, lowest]]))
    zero = mask_similarity(similarity, words, frames, "zero")
    torch.testing.assert_close(zero, torch.tensor([[-0.5, 0.2], [0.0, 0.0]]))


def test_dp_by_hand():
    """Frames (1, 0) and (0, 1) have the mean direction (1, 1) / sqrt(2), whatever their lengths."""
    video = torch.tensor([[[5.0, 0.0], [0.0, 0.1], [9.0, 9.0]]])
    mean = video_vector(video, torch.tensor([[1, 1, 0]]))
    torch.testing.assert_close(mean, torch.tensor([[0.5, 0.5]]))
    scores = dot_product(torch.tensor([[2.0, 0.0], [3.0, 3.0]]), mean)
    torch.testing.assert_close(scores, torch.tensor([[0.5**0.5], [1.0]]))


def test_the_text_vector_is_the_last_real_token():
    tokens = torch.arange(12.0).reshape(4, 3, 1)
    mask = torch.tensor([[1, 1, 0], [1, 1, 1], [1, 0, 0], [0, 1, 1]])
    assert text_vector(tokens, mask).flatten().tolist() == [1.0, 5.0, 6.0, 11.0]
    assert text_vector(tokens, mask.bool()).flatten().tolist() == [1.0, 5.0, 6.0, 11.0]


def test_uniform_weights_by_hand():
    weights = uniform_weights(torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1], [1, 0, 0, 0]]))
    expected = torch.tensor([[0.5, 0.5, 0.0, 0.0], [0.25, 0.25, 0.25, 0.25], [1.0, 0.0, 0.0, 0.0]])
    torch.testing.assert_close(weights, expected)


def test_one_token_a_side_is_the_cosine():
    text, video = torch.tensor([[[3.0, 4.0]]]), torch.tensor([[[0.0, 2.0]], [[0.0, 0.0]]])
    score = weighted_token_wise_interaction(
        text, torch.ones(1, 1), torch.ones(1, 1), video, torch.ones(2, 1), torch.ones(2, 1)
    )
    torch.testing.assert_close(score, torch.tensor([[0.8, 0.0]]))  # a zero token has similarity 0 with everything


@pytest.mark.parametrize("weights_dtype", [torch.bfloat16, torch.float32])
def test_bfloat16_tokens_are_close_to_float32(weights_dtype: torch.dtype):
    """Encoders in bfloat16 hand on bfloat16 tokens, with weights in float32."""
    exact = weighted_token_wise_interaction(*ragged(dtype=torch.float32))
    arguments = ragged(dtype=torch.bfloat16)
    arguments[1], arguments[4] = (ragged()[i].to(weights_dtype) for i in (1, 4))
    scores = weighted_token_wise_interaction(*arguments)
    assert scores.dtype == weights_dtype
    torch.testing.assert_close(scores.float(), exact, rtol=0, atol=0.02)


def literal_tensors(text_tokens, text_weights, text_mask, frame_tokens, frame_weights, video_mask, padding="ignore"):
    """WTI through the whole (texts, videos, words, frames) tensor, with autograd's own gradient."""
    cosines = torch.einsum("and,bfd->abnf", normalize(text_tokens), normalize(frame_tokens))
    words, frames = text_mask.bool()[:, None], video_mask.bool()[None]
    cosines = mask_similarity(cosines, words, frames, padding)
    best_frame = cosines.max(dim=3).values.masked_fill(~words, 0.0)
    best_word = cosines.max(dim=2).values.masked_fill(~frames, 0.0)
    by_words = torch.einsum("abn,an->ab", best_frame, text_weights)
    return (by_words + torch.einsum("abf,bf->ab", best_word, frame_weights)) / 2


def gradients(function, arguments, *options) -> list[torch.Tensor]:
    """Of tokens and weights, for a loss that weighs every score differently."""
    leaves = [tensor.clone().requires_grad_() if tensor.is_floating_point() else tensor for tensor in arguments]
    scores = function(*leaves, *options)
    scores.backward(torch.linspace(-1, 2, scores.numel(), dtype=scores.dtype).view_as(scores))
    return [leaf.grad for leaf in leaves if leaf.is_floating_point()]


@pytest.mark.parametrize("max_elements", [1, 60, 2**24])
@pytest.mark.parametrize("make", [lambda x: x, negative], ids=["any sign", "negative"])
@pytest.mark.parametrize("padding", ["ignore", "zero"])
def test_the_gradient_is_that_of_the_whole_tensor(padding: str, make, max_elements: int):
    arguments = make(ragged(seed=1))
    found = gradients(weighted_token_wise_interaction, arguments, padding, max_elements)
    for gradient, expected in zip(found, gradients(literal_tensors, arguments, padding), strict=True):
        torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("padding", ["ignore", "zero"])
def test_gradcheck(padding: str):
    arguments = ragged(dim=3)
    masks = arguments[2], arguments[5]
    leaves = [tensor.requires_grad_() for tensor in arguments if tensor.is_floating_point()]

    def score(text_tokens, text_weights, frame_tokens, frame_weights):
        sides = (text_tokens, text_weights, masks[0]), (frame_tokens, frame_weights, masks[1])
        return weighted_token_wise_interaction(*sides[0], *sides[1], padding)

    assert torch.autograd.gradcheck(score, leaves)


def test_masks_with_holes_are_masks():
    """Real tokens need not come first."""
    arguments = ragged()
    order = torch.randperm(5, generator=torch.Generator().manual_seed(0))
    shuffled = [tensor[:, order] for tensor in arguments[:3]] + arguments[3:]
    torch.testing.assert_close(
        weighted_token_wise_interaction(*shuffled), weighted_token_wise_interaction(*arguments), rtol=1e-12, atol=0
    )


def test_wti_is_deterministic():
    runs = [gradients(weighted_token_wise_interaction, ragged(dtype=torch.float32)) for _ in range(3)]
    for run in runs[1:]:
        for gradient, first in zip(run, runs[0], strict=True):
            torch.testing.assert_close(gradient, first, rtol=0, atol=0)


def test_wti_under_compile_and_autocast():
    arguments = ragged(dtype=torch.float32)
    plain = weighted_token_wise_interaction(*arguments)
    compiled = torch.compile(weighted_token_wise_interaction, backend="aot_eager")
    torch.testing.assert_close(compiled(*arguments), plain, rtol=0, atol=0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(weighted_token_wise_interaction(*arguments), plain, rtol=0, atol=0)
        found = gradients(weighted_token_wise_interaction, arguments)
    for gradient, expected in zip(found, gradients(weighted_token_wise_interaction, arguments), strict=True):
        torch.testing.assert_close(gradient, expected, rtol=0, atol=0)


def test_a_nan_among_real_tokens_is_not_lost():
    arguments = ragged()
    arguments[0][2, 0, 0] = float("nan")
    scores = weighted_token_wise_interaction(*arguments)
    assert scores[2].isnan().all()
    assert not scores[[0, 1, 3]].isnan().any()


def test_an_item_without_a_real_token_is_refused():
    arguments = ragged()
    arguments[5][1] = 0
    with pytest.raises(ValueError, match="`video_mask`: found only zeros in row 1, expected at least one 1 per row."):
        weighted_token_wise_interaction(*arguments)


@pytest.mark.parametrize("side", [0, 3])
def test_no_items_give_an_empty_matrix(side: int):
    arguments = ragged()
    arguments[side : side + 3] = [tensor[:0] for tensor in arguments[side : side + 3]]
    assert weighted_token_wise_interaction(*arguments).shape == ((0, 3) if side == 0 else (4, 0))


@pytest.mark.parametrize("wrong", [1, 2, 4, 5])
def test_tokens_weights_and_mask_of_unlike_shapes_are_refused(wrong: int):
    arguments = ragged()
    arguments[wrong] = arguments[wrong][:, :-1]
    name = {1: "text weights", 2: "`text_mask`", 4: "video weights", 5: "`video_mask`"}[wrong]
    shapes = r"shape \(4, 4\), expected \(4, 5\)" if wrong < 3 else r"shape \(3, 3\), expected \(3, 4\)"
    with pytest.raises(ValueError, match=f"{name}: found {shapes}"):
        weighted_token_wise_interaction(*arguments)


def test_an_unknown_rule_for_padding_is_refused():
    with pytest.raises(ValueError, match="found 'Zero', expected 'ignore' or 'zero'"):
        weighted_token_wise_interaction(*ragged(), "Zero")


def test_a_second_derivative_is_refused_and_not_zero():
    arguments = ragged()
    arguments[0].requires_grad_()
    scores = weighted_token_wise_interaction(*arguments)
    with pytest.raises(NotImplementedError, match="no second derivative"):
        torch.autograd.grad(scores.sum(), arguments[0], create_graph=True)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_tokens_of_any_length(dtype: torch.dtype):
    """Lengths are taken in float32: of a token of zeros, and of one whose squares float16 can't hold."""
    arguments = ragged(dtype=torch.float32)
    arguments[0][0, 0] = 0.0
    arguments[3][2, 0] = 3e4 * arguments[3][2, 0].sign()
    plain = weighted_token_wise_interaction(*arguments)
    half = [x.to(dtype) if number in (0, 3) else x for number, x in enumerate(arguments)]
    torch.testing.assert_close(weighted_token_wise_interaction(*half), plain, rtol=0, atol=1e-2)
    torch.testing.assert_close(weighted_token_wise_interaction(*arguments, dtype=dtype), plain, rtol=0, atol=1e-2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_products_of_half_precision_factors_are_not_rounded_again(dtype: torch.dtype):
    """Factors of 1/256, which half precision holds, have cosines of 15 binary digits, which it does not."""
    arguments = ragged(dtype=torch.float32, dim=2**16)
    for tokens in (0, 3):
        arguments[tokens] = arguments[tokens].sign()
    exact = weighted_token_wise_interaction(*arguments)
    found = weighted_token_wise_interaction(*arguments, dtype=dtype)
    torch.testing.assert_close(found, exact, rtol=0, atol=1e-7)
