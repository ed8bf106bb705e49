"""Check before a run that its arguments fit together: types, batches, and weights that steps can change."""

from collections.abc import Mapping
from typing import Any

import torch

from ..data.loading import PairDataset, VideoDataset
from ..data.records import RetrievalData
from ..model.configuration_drl import DRLConfig
from ..model.modeling_drl import DRLModel
from ..model.processing_drl import DRLProcessor
from .arguments import DRLTrainingArguments


def check_types(args: Any, train_dataset: Any, eval_dataset: Any, processing_class: Any) -> None:
    """Refuse arguments of [`DRLTrainer`] of another type, before anything else reads them.

    Raises:
        `TypeError`: When one of them is of another type.
        `ValueError`: When there is no processor, or `eval_dataset` is a mapping without splits.
    """
    if processing_class is None:
        raise ValueError("`processing_class`: found None, expected the DRLProcessor of captions and videos.")
    if isinstance(eval_dataset, Mapping) and not eval_dataset:
        raise ValueError("`eval_dataset`: found no splits, expected at least one.")
    for name, value, expected in (
        ("args", args, DRLTrainingArguments),
        ("processing_class", processing_class, DRLProcessor),
    ):
        if not isinstance(value, expected):
            raise TypeError(f"`{name}`: found a {type(value).__name__}, expected a {expected.__name__}.")
    splits = {"train_dataset": train_dataset, "eval_dataset": eval_dataset}
    splits = {name: split for name, split in splits.items() if split is not None}
    if isinstance(eval_dataset, Mapping):
        del splits["eval_dataset"]
        splits |= {f"eval_dataset[{name!r}]": split for name, split in eval_dataset.items()}
    for name, split in splits.items():
        if not isinstance(split, RetrievalData | PairDataset):
            raise TypeError(f"`{name}`: found a {type(split).__name__}, expected a RetrievalData or a PairDataset.")


def check_batch_size(
    args: DRLTrainingArguments, train_dataset: RetrievalData | PairDataset | None, config: DRLConfig
) -> None:
    """Refuse a split without a whole batch, or batches that are too small for the decorrelation.

    Args:
        args ([`DRLTrainingArguments`]): Arguments of the run.
        train_dataset ([`RetrievalData`] or [`~data.loading.PairDataset`], *optional*): The split to train on. A
            decoded split is also searched for videos of one frame, of which a batch needs two.
        config ([`DRLConfig`]): Configuration of the model.

    Raises:
        `ValueError`: When a batch cannot be made; the message names both numbers of pairs.
    """
    if train_dataset is None:
        return
    num_pairs, batch_size = len(train_dataset.captions), args.per_device_train_batch_size * args.world_size
    if args.dataloader_drop_last and num_pairs < batch_size:
        raise ValueError(
            f"`train_dataset`: found {num_pairs} pairs, expected at least {batch_size}, one batch over all processes, "
            "because `dataloader_drop_last` leaves out smaller batches."
        )
    last = 0 if args.dataloader_drop_last else num_pairs % batch_size
    if (last or batch_size) > 1 or config.cdcr == "none" or config.interaction == "xti":
        return
    message = (
        f"`train_dataset`: found {num_pairs} pairs, expected a last batch of at least two for the decorrelation{{}}, "
        f"but {num_pairs} pairs in batches of {batch_size} over all processes leave one. Set "
        "`dataloader_drop_last=True`, or another batch size."
        if last
        else "`per_device_train_batch_size`: found 1, expected at least 2 pairs for the decorrelation{}."
    )
    if config.cdcr == "random" or config.compares_vectors:
        raise ValueError(message.format(""))
    videos = train_dataset.videos if isinstance(train_dataset, PairDataset) else VideoDataset(())
    single = next((row for row in range(len(videos)) if videos.num_frames(row) == 1), None)
    if single is not None:
        video_id = train_dataset.data.videos["video_id"][single]
        raise ValueError(message.format(f" of videos of one frame, as {video_id}"))


def check_weight_types(model: DRLModel, args: DRLTrainingArguments) -> None:
    """Refuse to train parameters in half precision, which rounds most steps of the learning rates in use to 0.

    Args:
        model ([`DRLModel`]): The model; adapters may be in it, which convert what they receive.
        args ([`DRLTrainingArguments`]): Arguments of the run. With `bf16` or `fp16`, frozen parameters may have any
            type, but on a CPU not float16, which autocast does not convert there.

    Raises:
        `ValueError`: When a parameter that is to be trained has fewer bits than float32, or types are mixed that a
            step cannot compute with; the message names it.
    """
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and torch.finfo(parameter.dtype).bits < 32:
            raise ValueError(
                f"`model`: found {name} in {str(parameter.dtype).removeprefix('torch.')}, expected float32, because "
                "steps of the learning rate would be rounded away. Load it with `dtype=torch.float32`, or call "
                "`model.float()`; `bf16=True` of the arguments computes in bfloat16 all the same."
            )
    half = half_precision_part(model)
    if half is None:
        return
    name, dtype = half
    if not (args.bf16 or args.fp16) or (dtype == "float16" and args.device.type == "cpu"):
        raise ValueError(
            f"`model`: found {name} in {dtype} beside parts in float32, expected one type, because the steps do not "
            "convert between them. Set `bf16=True` (on a CPU, with bfloat16 only), or call `model.float()`."
        )


def half_precision_part(model: DRLModel) -> tuple[str, str] | None:
    """Find a parameter in half precision in a model that also has others; those of adapters do not count.

    Returns:
        `tuple[str, str]`, *optional*: Its name and type, or `None` when all have one type.
    """
    types = {
        name: str(parameter.dtype).removeprefix("torch.")
        for name, parameter in model.named_parameters()
        if parameter.dim() > 0 and "lora_" not in name
    }
    half = next(((name, dtype) for name, dtype in types.items() if dtype in ("float16", "bfloat16")), None)
    return half if len(set(types.values())) > 1 else None


__all__ = ["check_batch_size", "check_types", "check_weight_types"]
