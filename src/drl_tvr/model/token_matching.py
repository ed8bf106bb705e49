"""The maxima of WTI and TI over sets of tokens of unequal size, without multiplying padding or keeping cosines.

Items are sorted from long to short and their tokens are packed in slabs: the first real token of every item, then the
second of every item that has one, and so on. A slab of frames is then a block of columns of the cosines, a slab of
words a block of rows, and each maximum is a running maximum over slabs that shrink.
"""

from itertools import accumulate
from typing import NamedTuple

import torch


def mask_similarity(
    similarity: torch.Tensor, words: torch.Tensor, frames: torch.Tensor, padding_similarity: str = "ignore"
) -> torch.Tensor:
    """Fill the cosines of padding, so that both maxima of WTI and TI can be taken over all tokens.

    With `"ignore"` they are filled with the lowest number, so that padding never wins a maximum: 0 would win whenever
    every real cosine is negative. With `"zero"` they are 0, as in the official code.

    Args:
        similarity (`torch.Tensor` of shape `(..., num_tokens, num_frames)`): Cosines.
        words (`torch.Tensor` of shape `(..., num_tokens)`): `True` for real words.
        frames (`torch.Tensor` of shape `(..., num_frames)`): `True` for real frames.
        padding_similarity (`str`, *optional*, defaults to `"ignore"`): `"ignore"` or `"zero"`.

    Returns:
        `torch.Tensor` of shape `(..., num_tokens, num_frames)`: Cosines to take the maxima of.
    """
    real = words[..., :, None] & frames[..., None, :]  # (..., num_tokens, num_frames)
    filling = 0.0 if padding_similarity == "zero" else torch.finfo(similarity.dtype).min
    return similarity.masked_fill(~real, filling)


def padding_wins(best, padded):
    """Return whether padding that counts as similarity 0 is above the best cosine of the real tokens.

    This is the maximum of [`mask_similarity`] with `"zero"` where padding is packed away: one comparison per item
    instead of one per padded token.

    Args:
        best (`torch.Tensor` or `np.ndarray`): Largest cosine over the real tokens of an item.
        padded (`torch.Tensor`, `np.ndarray` or `bool`): Whether the item has padding.

    Returns:
        `torch.Tensor` or `np.ndarray`: Booleans of the shape of `best`.
    """
    return (best < 0) & padded


class PackedTokens(NamedTuple):
    """The real tokens of some items.

    Attributes:
        tokens (`torch.Tensor` of shape `(num_real_tokens, dim)`): Tokens of unit length, slab after slab.
        weights (`torch.Tensor` of shape `(num_real_tokens,)`): Their weights.
        slabs (`list[int]`): Number of tokens in every slab, in decreasing order; `slabs[0]` is the number of items.
        padded (`torch.Tensor` of shape `(num_items,)`): Whether the item had padding.
        order (`torch.Tensor` of shape `(num_items,)`): Index of each packed item before packing.
    """

    tokens: torch.Tensor
    weights: torch.Tensor
    slabs: list[int]
    padded: torch.Tensor
    order: torch.Tensor


def pack_tokens(
    tokens: torch.Tensor, weights: torch.Tensor, mask: torch.Tensor, dtype: torch.dtype | None = None
) -> PackedTokens:
    """Drop the padding and scale the real tokens to unit length.

    Args:
        tokens (`torch.Tensor` of shape `(num_items, num_tokens, dim)`): Tokens.
        weights (`torch.Tensor` of shape `(num_items, num_tokens)`): Their weights.
        mask (`torch.Tensor` of shape `(num_items, num_tokens)`): 1 for real tokens, at least one per item.
        dtype (`torch.dtype`, *optional*): Type of the packed tokens; by default that of `tokens`.

    Returns:
        [`PackedTokens`]: Items sorted from long to short.
    """
    mask = mask.bool()
    num_tokens = mask.shape[1]
    lengths, order = mask.sum(dim=1).sort(descending=True, stable=True)
    real_first = mask.to(torch.uint8).sort(dim=1, descending=True, stable=True).indices
    positions = (order[:, None] * num_tokens + real_first[order]).T  # (num_tokens, num_items)
    real = torch.arange(num_tokens, device=mask.device)[:, None] < lengths  # (num_tokens, num_items)
    positions = positions[real]  # (num_real_tokens,)
    slabs = [count for count in real.sum(dim=1).tolist() if count]
    real_tokens = tokens.flatten(0, 1).index_select(0, positions)  # (num_real_tokens, dim)
    if tokens.dtype.itemsize < 4:  # a norm in half precision can overflow, and its rounding scales the whole token
        real_tokens = real_tokens.float()
    return PackedTokens(
        tokens=torch.nn.functional.normalize(real_tokens, dim=-1).to(dtype or tokens.dtype),
        weights=weights.flatten().index_select(0, positions),
        slabs=slabs,
        padded=lengths < num_tokens,
        order=order,
    )


def cosines_of(words: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
    """Multiply all words with all frames and sum in float32, even when the factors are in half precision.

    Rounding the sums to bfloat16 would tie cosines that differ by less than 1/256 and change ranks.

    Args:
        words (`torch.Tensor` of shape `(num_words, dim)`): Words of unit length.
        frames (`torch.Tensor` of shape `(num_frames, dim)`): Frames of unit length and of the same type.

    Returns:
        `torch.Tensor` of shape `(num_words, num_frames)`: Cosines in float32, or in float64 when the factors are.
    """
    with torch.autocast(words.device.type, enabled=False):
        if words.dtype.itemsize >= 4:
            return words @ frames.T
        if words.is_cuda:
            return torch.mm(words, frames.T, out_dtype=torch.float32)
        return words.float() @ frames.float().T


def slab_slices(slabs: list[int]) -> list[slice]:
    """Return the slice of every slab among the packed tokens."""
    return [slice(end - count, end) for end, count in zip(accumulate(slabs), slabs, strict=True)]


def running_maximum(
    cosines: torch.Tensor, slabs: list[int], dim: int, padded: torch.Tensor | None, keep_index: bool
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Take the maximum over the tokens of every item, whose slabs lie along `dim` of `cosines`.

    Args:
        cosines (`torch.Tensor` of shape `(num_words, num_frames)`): Cosines.
        slabs (`list[int]`): Number of tokens in every slab.
        dim (`int`): 0 for the words of texts, 1 for the frames of videos.
        padded (`torch.Tensor`, *optional*): Items whose padding takes part; of a shape that broadcasts along the other
            dimension. By default no padding takes part.
        keep_index (`bool`): Whether to return the slab of each maximum.

    Returns:
        `tuple(torch.Tensor)`: The maxima, of the shape of `cosines` with items in place of tokens, and the number of
        the slab of each, -1 for padding; `None` without `keep_index`.
    """
    first, *others = slab_slices(slabs)
    best = cosines.narrow(dim, 0, first.stop).clone(memory_format=torch.contiguous_format)
    index = torch.zeros_like(best, dtype=torch.int16) if keep_index else None
    for number, slab in enumerate(others, start=1):
        count = slab.stop - slab.start
        candidates, so_far = cosines.narrow(dim, slab.start, count), best.narrow(dim, 0, count)
        if keep_index:
            index.narrow(dim, 0, count).masked_fill_(candidates > so_far, number)
        torch.maximum(so_far, candidates, out=so_far)  # a NaN stays
    if padded is not None:
        wins = padding_wins(best, padded)
        best.masked_fill_(wins, 0.0)
        if keep_index:
            index.masked_fill_(wins, -1)
    return best, index


def sum_over_slabs(values: torch.Tensor, slabs: list[int], dim: int) -> torch.Tensor:
    """Sum over the tokens of every item, whose slabs lie along `dim` of `values`."""
    first, *others = slab_slices(slabs)
    total = values.narrow(dim, 0, first.stop).clone(memory_format=torch.contiguous_format)
    for slab in others:
        count = slab.stop - slab.start
        total.narrow(dim, 0, count).add_(values.narrow(dim, slab.start, count))
    return total


def spread_over_slabs(values: torch.Tensor, slabs: list[int], dim: int) -> torch.Tensor:
    """Repeat every item's entry for each of its tokens, along `dim`; the reverse of [`sum_over_slabs`]."""
    return torch.cat([values.narrow(dim, 0, count) for count in slabs], dim=dim)


class BestMatches(torch.autograd.Function):
    """Sum of both weighted maxima over packed words and frames of unit length.

    The gradient of a maximum goes to the one cosine that it chose. The forward pass keeps only the index of that
    cosine; the backward pass fills the gradient of the cosines from it, and two matrix products give the gradients of
    the tokens.
    """

    @staticmethod
    def forward(ctx, words, word_weights, frames, frame_weights, word_slabs, frame_slabs, padded_texts, padded_videos):
        """Score every text with every video in the order of packing: (num_texts, num_videos)."""
        ctx.slabs = word_slabs, frame_slabs
        keep_index = any(ctx.needs_input_grad[:4])
        cosines = cosines_of(words, frames)  # (num_words, num_frames)
        best_frame, frame_index = running_maximum(cosines, frame_slabs, 1, padded_videos, keep_index)
        best_word, word_index = running_maximum(cosines, word_slabs, 0, padded_texts, keep_index)
        best_frame, best_word = best_frame.to(word_weights.dtype), best_word.to(frame_weights.dtype)
        if keep_index:
            ctx.save_for_backward(
                words, word_weights, frames, frame_weights, best_frame, best_word, frame_index, word_index
            )
        by_words = sum_over_slabs(best_frame * word_weights[:, None], word_slabs, 0)
        by_frames = sum_over_slabs(best_word * frame_weights, frame_slabs, 1)
        return by_words + by_frames

    @staticmethod
    def backward(ctx, gradient):
        """Return the gradients of words, their weights, frames and their weights."""
        if torch.is_grad_enabled():
            raise NotImplementedError("`create_graph=True`: found with WTI or TI, which have no second derivative.")
        words, word_weights, frames, frame_weights, best_frame, best_word, frame_index, word_index = ctx.saved_tensors
        word_slabs, frame_slabs = ctx.slabs
        of_best_frame = spread_over_slabs(gradient, word_slabs, 0)  # (num_words, num_videos)
        of_best_word = spread_over_slabs(gradient, frame_slabs, 1)  # (num_texts, num_frames)
        of_word_weights = (of_best_frame * best_frame).sum(1)
        of_frame_weights = (of_best_word * best_word).sum(0)
        of_best_frame = of_best_frame.mul_(word_weights[:, None])
        of_best_word = of_best_word.mul_(frame_weights)
        of_cosines = of_best_frame.new_empty(len(words), len(frames))
        for number, slab in enumerate(slab_slices(frame_slabs)):
            count = slab.stop - slab.start
            torch.mul(of_best_frame[:, :count], frame_index[:, :count] == number, out=of_cosines[:, slab])
        for number, slab in enumerate(slab_slices(word_slabs)):
            count = slab.stop - slab.start
            of_cosines[slab] += of_best_word[:count] * (word_index[:count] == number)
        of_cosines = of_cosines.to(words.dtype)
        with torch.autocast(words.device.type, enabled=False):
            of_words, of_frames = of_cosines @ frames, of_cosines.T @ words
        return of_words, of_word_weights, of_frames, of_frame_weights, None, None, None, None


@torch.compiler.disable  # the amount of work depends on the masks
def match_in_blocks(
    texts: list[PackedTokens], videos: list[PackedTokens], padding_similarity: str = "ignore"
) -> torch.Tensor:
    """Sum both weighted maxima of every text with every video.

    Args:
        texts (`list[PackedTokens]`): Blocks of texts.
        videos (`list[PackedTokens]`): Blocks of videos.
        padding_similarity (`str`, *optional*, defaults to `"ignore"`): See [`mask_similarity`].

    Returns:
        `torch.Tensor` of shape `(num_texts, num_videos)`: Twice the similarity, in the order before packing.
    """
    zero = padding_similarity == "zero"
    rows = []
    for text in texts:
        row = [
            BestMatches.apply(
                text.tokens,
                text.weights,
                video.tokens,
                video.weights,
                text.slabs,
                video.slabs,
                text.padded[:, None] if zero else None,
                video.padded if zero else None,
            )[:, video.order.argsort()]
            for video in videos
        ]
        rows.append(torch.cat(row, dim=1)[text.order.argsort()])
    return torch.cat(rows)


__all__ = ["BestMatches", "PackedTokens", "mask_similarity", "match_in_blocks", "pack_tokens", "padding_wins"]
