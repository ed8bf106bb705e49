"""Encode every text and every video once, then score all of them with one another in blocks."""

from collections.abc import Iterable

import torch
from tqdm.auto import tqdm

from ..model.modeling_drl import DRLFeatures, DRLModel


BLOCK_SIZE = 1024


def input_device(model: DRLModel) -> torch.device:
    """Return the device that inputs go to: an offloaded model's weights have none, and its hooks move inputs on."""
    return torch.device("cpu") if model.device.type == "meta" else model.device


@torch.no_grad()
def encode_captions(model: DRLModel, batches: Iterable[dict], show_progress: bool = True) -> list[DRLFeatures]:
    """Encode texts, batch by batch.

    Args:
        model ([`DRLModel`]): The model, in evaluation mode.
        batches (`Iterable[dict]`): Batches of `input_ids` and `attention_mask`.
        show_progress (`bool`, *optional*, defaults to `True`): Whether to show a progress bar.

    Returns:
        `list[DRLFeatures]`: One entry per batch, in order.
    """
    device = input_device(model)
    return [
        model.get_text_features(batch["input_ids"].to(device), batch["attention_mask"].to(device))
        for batch in tqdm(batches, desc="Encoding captions", unit="batch", disable=not show_progress, leave=False)
    ]


@torch.no_grad()
def encode_videos(model: DRLModel, batches: Iterable[dict], show_progress: bool = True) -> list[DRLFeatures]:
    """Encode videos, batch by batch.

    Args:
        model ([`DRLModel`]): The model, in evaluation mode.
        batches (`Iterable[dict]`): Batches of `pixel_values_videos` and `video_mask`.
        show_progress (`bool`, *optional*, defaults to `True`): Whether to show a progress bar.

    Returns:
        `list[DRLFeatures]`: One entry per batch, in order.
    """
    device = input_device(model)
    return [
        model.get_video_features(batch["pixel_values_videos"].to(device), batch["video_mask"].to(device))
        for batch in tqdm(batches, desc="Encoding videos", unit="batch", disable=not show_progress, leave=False)
    ]


def take_features(batches: list[DRLFeatures], items: torch.Tensor) -> DRLFeatures:
    """Collect items from encoded batches, padded to the longest of these batches.

    Args:
        batches (`list[DRLFeatures]`): Encoded items; batches may differ in length.
        items (`torch.Tensor` of shape `(num_items,)`): Indices of items, counted through all batches.

    Returns:
        [`DRLFeatures`]: The items, in the order of `items`.
    """
    ends = torch.tensor([len(batch.tokens) for batch in batches]).cumsum(0)
    of_batch = torch.searchsorted(ends, items, right=True)
    found = of_batch.unique().tolist()
    width = max(batches[number].mask.shape[1] for number in found)
    tokens, weights, mask = batches[found[0]].to_tuple()
    taken = DRLFeatures(
        tokens=tokens.new_zeros(len(items), width, tokens.shape[-1]),
        weights=weights.new_zeros(len(items), width),
        mask=mask.new_zeros(len(items), width),
    )
    for number in found:
        batch, here = batches[number], (of_batch == number).nonzero().squeeze(1)
        rows = items[here] - (ends[number] - len(batch.tokens))
        for name, padded in taken.items():
            padded[here, : batch.mask.shape[1]] = batch[name][rows]
    return taken


def item_blocks(model: DRLModel, batches: list[DRLFeatures], block_size: int) -> list[torch.Tensor]:
    """Split the indices of all items of `batches` into blocks of at most `block_size`.

    Raises:
        `ValueError`: When there are no items, or padding takes part in scores and the batches differ in length.
    """
    if block_size < 1:
        raise ValueError(f"`block_size`: found {block_size}, expected at least 1.")
    if not batches:
        raise ValueError("Encoded batches: found an empty list, expected something to score.")
    widths = sorted({batch.mask.shape[1] for batch in batches})
    if model.config.padding_takes_part and len(widths) > 1:
        raise ValueError(
            f"Encoded batches: found padding to {widths} tokens, expected one length: scores depend on it with "
            "`padding_similarity='zero'`: set `pad_to_max_length` and `pad_to_max_frames` of the processor."
        )
    return list(torch.arange(sum(len(batch.tokens) for batch in batches)).split(block_size))


@torch.no_grad()
def score_all(
    model: DRLModel,
    texts: list[DRLFeatures],
    videos: list[DRLFeatures],
    block_size: int = BLOCK_SIZE,
    dtype: torch.dtype | None = None,
) -> torch.Tensor:
    """Score every text with every video, a block of texts and videos at a time.

    Args:
        model ([`DRLModel`]): The model whose interaction scores.
        texts (`list[DRLFeatures]`): Encoded texts; batches may differ in length.
        videos (`list[DRLFeatures]`): Encoded videos.
        block_size (`int`, *optional*, defaults to 1024): Texts, and videos, per block. Beside the features and the
            result, memory depends on this number alone.
        dtype (`torch.dtype`, *optional*): Type in which the tokens of WTI and TI are multiplied, e.g. bfloat16.

    Returns:
        `torch.Tensor` of shape `(num_texts, num_videos)`: Similarities without the logit scale, float32, on the CPU.

    Raises:
        `ValueError`: When there is nothing to score, or padding takes part in scores and the batches differ in length.
    """
    text_blocks, video_blocks = item_blocks(model, texts, block_size), item_blocks(model, videos, block_size)
    similarity = torch.empty(sum(map(len, text_blocks)), sum(map(len, video_blocks)))
    for columns in video_blocks:
        video = take_features(videos, columns)
        for rows in text_blocks:
            block = model.similarity(take_features(texts, rows), video, dtype)
            similarity[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = block
    return similarity
