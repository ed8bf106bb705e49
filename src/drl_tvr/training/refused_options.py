"""Refuse options of `Trainer` and `TrainingArguments` that would have no effect here, or an unexpected one."""

from collections.abc import Mapping
from typing import Any

from transformers.training_args import OptimizerNames

from .arguments import DRLTrainingArguments


NO_LABELS = "the loss compares all pairs of a batch and has no labels"
WHOLE_SPLIT = "an evaluation ranks the whole split and returns no predictions"
WHOLE_ITEMS = "lists of captions and frames are not grouped by length"
OWN_BATCHES = "the processes share every batch as the loss needs it"
OTHER_MODELS = "it is for other models"

# Parameters of `Trainer`, by name, with the reason.
REFUSED_PARAMETERS = {
    "model_init": "pass a `model`: the checks before a run need it",
    "compute_loss_func": "the loss is the model's",
    "compute_metrics": WHOLE_SPLIT,
    "preprocess_logits_for_metrics": WHOLE_SPLIT,
}
# Fields of `TrainingArguments`, by name, with the values that are taken and the reason why others are not. A dotted
# name is a field of a field.
REFUSED_ARGUMENTS: dict[str, tuple[tuple, str]] = {
    "auto_find_batch_size": (
        (False,),
        "the batch is part of the loss; `gradient_cache_chunk_size` makes a large one fit",
    ),
    "label_smoothing_factor": ((0.0,), NO_LABELS),
    "label_names": ((None,), NO_LABELS),
    "average_tokens_across_devices": ((True,), "the loss is that of all processes"),
    "bf16_full_eval": ((False,), "evaluations have the precision of the steps: `bf16`"),
    "fp16_full_eval": ((False,), "evaluations have the precision of the steps: `fp16`"),
    "prediction_loss_only": ((False,), WHOLE_SPLIT),
    "include_for_metrics": (([],), WHOLE_SPLIT),
    "batch_eval_metrics": ((False,), WHOLE_SPLIT),
    "eval_do_concat_batches": ((True,), WHOLE_SPLIT),
    "eval_use_gather_object": ((False,), WHOLE_SPLIT),
    "eval_accumulation_steps": ((None,), WHOLE_SPLIT),
    "train_sampling_strategy": (("random", "sequential"), WHOLE_ITEMS),
    "length_column_name": (("length",), WHOLE_ITEMS),
    "remove_unused_columns": ((False,), "a split has no other columns"),
    "accelerator_config.split_batches": ((False,), OWN_BATCHES),
    "accelerator_config.dispatch_batches": ((None, False), OWN_BATCHES),
    "accelerator_config.even_batches": ((True,), OWN_BATCHES),
    "accelerator_config.use_seedable_sampler": ((True,), "all processes need the same order of the pairs"),
    "parallelism_config": ((None,), "only the pairs of a batch are split among processes, and the weights by `fsdp`"),
    "optim": (
        tuple(name for name in OptimizerNames if not name.startswith(("galore", "apollo", "lomo", "adalomo"))),
        "GaLore, APOLLO and LOMO choose the parameters themselves, and train all at one learning rate",
    ),
    "optim_target_modules": ((None,), "it is for optimisers that are refused"),
    "use_liger_kernel": ((False,), OTHER_MODELS),
    "liger_kernel_config": ((None,), OTHER_MODELS),
    "use_cache": ((False,), OTHER_MODELS),
    "logging_nan_inf_filter": ((False,), "a loss that is not finite stops the run"),
    "debug": (([],), "a `NonFiniteError` names the cause"),
    "hub_strategy": (("end",), "during training all of `output_dir` would be pushed, with paths of this machine"),
    "hub_always_push": ((False,), "nothing is pushed during training"),
}
# That read no `optim_args`.
OPTIMIZERS_WITHOUT_ARGS = {
    name
    for name in OptimizerNames
    if name.startswith(("adafactor", "adamw_torch", "adamw_bnb", "adamw_8bit", "paged_adamw", "lion", "paged_lion"))
} - {OptimizerNames.ADAMW_TORCH_4BIT, OptimizerNames.ADAMW_TORCH_8BIT}


def check_options(args: DRLTrainingArguments, parameters: Mapping[str, Any]) -> None:
    """Refuse options that would have no effect here, or an unexpected one.

    Args:
        args ([`DRLTrainingArguments`]): Arguments of the run.
        parameters (`Mapping[str, Any]`): Other parameters of [`DRLTrainer`].

    Raises:
        `ValueError`: When such an option is set; the message names it, and the reason.
    """
    for name, reason in REFUSED_PARAMETERS.items():
        if parameters.get(name) is not None:
            raise ValueError(f"`{name}`: found a {type(parameters[name]).__name__}, expected None: {reason}.")
    for name, (accepted, reason) in REFUSED_ARGUMENTS.items():
        found: Any = args
        for part in name.split("."):
            found = getattr(found, part)
        if found not in accepted:
            found = getattr(found, "value", found)
            expected = "another one" if name == "optim" else " or ".join(map(repr, accepted))
            raise ValueError(f"`{name}`: found {found!r}, expected {expected}: {reason}.")
    if args.fp16 and args.device.type == "cpu":
        raise ValueError("`fp16`: found True, expected False on a CPU, where steps would have float32: take `bf16`.")
    own = next((name for name in ("optimizer_cls_and_kwargs", "optimizers") if is_given(parameters.get(name))), None)
    if args.official_optimizer and own is not None:
        raise ValueError(f"`{own}`: found a tuple, expected None with `official_optimizer`.")
    other = "official_optimizer" if args.official_optimizer else own
    if args.optim_args and (other is not None or args.optim in OPTIMIZERS_WITHOUT_ARGS):
        by = f"`{other}`" if other is not None else f"`optim={args.optim.value!r}`"
        raise ValueError(f"`optim_args`: found {args.optim_args!r}, expected None with {by}, which does not read it.")


def is_given(parameter: Any) -> bool:
    """Return whether an optional parameter is given; a pair of None, as `Trainer` has by default, is not."""
    return parameter is not None and any(item is not None for item in parameter)


__all__ = ["check_options"]
