"""What is refused before a run begins."""

import math

from ..data.loading import PairDataset
from ..data.records import RetrievalData
from ..model.configuration_drl import DRLConfig
from ..model.modeling_drl import DRLModel
from ..model.processing_drl import DRLProcessor
from .arguments import DRLTrainingArguments


def check_batch_size(
    args: DRLTrainingArguments, train_dataset: RetrievalData | PairDataset | None, config: DRLConfig
) -> None:
    """Refuse a split that has no whole batch, or a last one of which channels can't be decorrelated.

    Raises:
        `ValueError`: Names the pairs that there are and those of a batch.
    """
    if train_dataset is None:
        return
    num_pairs, batch_size = len(train_dataset.captions), args.per_device_train_batch_size * args.world_size
    one_row_a_pair = config.cdcr == "random" or config.interaction in ("dp", "mlp")
    if not args.dataloader_drop_last and config.cdcr != "none" and one_row_a_pair and num_pairs % batch_size == 1:
        raise ValueError(
            f"`train_dataset` has {num_pairs} pairs, so that the last batch of an epoch would be one pair "
            f"({batch_size} are a batch of all processes), and the decorrelation needs two. Set "
            "`dataloader_drop_last=True`, or another batch size."
        )
    if args.dataloader_drop_last and num_pairs < batch_size:
        raise ValueError(
            f"`train_dataset` has {num_pairs} pairs, fewer than a batch of all processes ({batch_size}), and "
            "`dataloader_drop_last` leaves out smaller ones."
        )


def check_processor(model: DRLModel, processor: DRLProcessor) -> None:
    """Refuse a processor that doesn't go with the model.

    The model is handed stored uint8 pixels, and normalises them itself. And where padding takes part in a score, how
    much of it an item has must not depend on the rest of its batch.

    Raises:
        `ValueError`: Names the field and both values.
    """
    video_processor = processor.video_processor
    pads = processor.pad_to_max_length and video_processor.pad_to_max_frames
    if model.config.padding_similarity == "zero" and model.config.interaction in ("ti", "wti") and not pads:
        raise ValueError(
            "The model has `padding_similarity='zero'`, so that padding takes part in its scores: the processor needs "
            "`pad_to_max_length=True` and the video processor `pad_to_max_frames=True`."
        )
    if not (video_processor.do_rescale and video_processor.do_normalize):
        raise ValueError("The video processor must have `do_rescale` and `do_normalize` on: the model normalises.")
    found = {"rescale_factor": [video_processor.rescale_factor]}
    expected = {"rescale_factor": [1 / 255]}
    for name in ("image_mean", "image_std"):
        found[name], expected[name] = list(getattr(video_processor, name)), getattr(model.config, name)
    for name in expected:
        if not all(math.isclose(a, b, rel_tol=1e-6) for a, b in zip(found[name], expected[name], strict=True)):
            raise ValueError(
                f"The video processor's `{name}` is {found[name]}, the model's configuration says {expected[name]}."
            )


__all__ = ["check_batch_size", "check_processor"]
