"""Write the model card of a trainer's model, and publish the model on the Hub."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from transformers import Trainer
from transformers.utils import logging

from ..data.records import RetrievalData
from ..evaluation.fingerprints import describe_processor
from ..evaluation.results import EvaluationResult
from ..hub import (
    AdapterFacts,
    ModelCost,
    PublishError,
    TrainingFacts,
    measure_cost,
    push_checkpoint,
    write_model_card,
)
from ..hub.cost import parameters_in_use
from ..hub.model_card import planned_facts
from ..model.modeling_drl import DRLModel
from .arguments import DRLTrainingArguments
from .best_metric import split_that_chooses
from .optimization import describe_rates
from .wrappers import find_drl_model, inside_wrapper


logger = logging.get_logger(__name__)


def write_card(
    trainer: Trainer,
    license: str | None = None,
    tags: str | list[str] | None = None,
    model_name: str | None = None,
    finetuned_from: str | None = None,
) -> None:
    """Write the model card into `output_dir`, in place of transformers' own.

    The results in it are those of `trainer.last_result`, the last evaluation after training, so they belong to the
    model as it is saved. Only the main process writes.

    Args:
        trainer ([`DRLTrainer`]): The trainer, before or after training.
        license (`str`, *optional*): Licence of the weights, as the Hub spells it.
        tags (`str` or `list[str]`, *optional*): More tags for the Hub.
        model_name (`str`, *optional*): Name or folder of the model; by default its repository, or `output_dir`.
        finetuned_from (`str`, *optional*): Checkpoint that training started from; by default the one that the model
            was loaded from.
    """
    if not trainer.is_world_process_zero():
        return
    args, processor = trainer.args, trainer.processing_class
    model = find_drl_model(trainer.model)
    result = trainer.last_result
    if result is None:
        data = next(iter(splits_of(trainer))).provenance
        result = EvaluationResult(data, describe_processor(processor), {}, {}, {}, [])
    write_model_card(
        args.output_dir,
        trainer.hub_model_id or model_name or args.output_dir,
        model.config,
        args,
        replace(result, model={**result.model, "chosen_on": chosen_on(trainer)}),
        state=trainer.state,
        facts=None if trainer.optimizer is None else describe_training(trainer, model),
        train_seconds=trainer.train_seconds,
        cost=cost_of(trainer, model),
        finetuned_from=finetuned_from or model.towers_loaded_from or model.loaded_from,
        finetuned_part="towers" if model.loaded_from is None else "model",
        adapter=adapter_of(trainer, model),
        license=license,
        tags=[tags] if isinstance(tags, str) else tags or [],
    )


def try_to_write_card(trainer: Trainer, **card) -> None:
    """Write the model card, and only warn when that fails: no card is worth a finished run.

    Args:
        trainer ([`DRLTrainer`]): The trainer, after training.
        card: Arguments of [`~training.publishing.write_card`].
    """
    try:
        write_card(trainer, **card)
    except Exception as error:
        logger.warning(
            f"{trainer.args.output_dir}: the model card was not written ({in_one_line(error)}), but the run is not "
            "affected. Call `trainer.create_model_card()`, or `drl_tvr.hub.write_model_card` where it has ended."
        )


def splits_of(trainer: Trainer) -> list[RetrievalData]:
    """List the splits of a trainer, that to train on first."""
    evaluated = trainer.eval_dataset
    evaluated = list(evaluated.values()) if isinstance(evaluated, Mapping) else [evaluated]
    return [split.data for split in (trainer.train_dataset, *evaluated) if split is not None]


def chosen_on(trainer: Trainer) -> str | None:
    """Name the split that chose the checkpoint which a finished training kept.

    Args:
        trainer ([`DRLTrainer`]): The trainer, after training.

    Returns:
        `str`, *optional*: The split, or `None` when the last checkpoint was kept.
    """
    split = split_that_chooses(trainer.args, trainer.eval_dataset)
    return None if split is None or trainer.state.best_model_checkpoint is None else split.split


def adapter_of(trainer: Trainer, model: DRLModel) -> AdapterFacts | None:
    """Describe the PEFT adapter that the folder of a trainer holds in place of a model.

    Returns:
        [`~hub.AdapterFacts`], *optional*: Its facts, or `None` when the folder holds the whole model.
    """
    saved = inside_wrapper(trainer.model)
    if not hasattr(saved, "peft_config"):
        return None
    name = "default" if saved is model else saved.active_adapters[0]  # a PeftModel has a folder for each of the others
    return AdapterFacts(model.loaded_from, None if name == "default" else name)


def cost_of(trainer: Trainer, model: DRLModel) -> ModelCost | None:
    """Measure the cost of the model, or warn when it cannot be measured; the card then says so."""
    if trainer.is_fsdp_enabled:  # this process holds only a part of the model
        return None
    try:
        return measure_cost(model, trainer.processing_class)
    except Exception as error:  # a GPU without free memory, most likely
        logger.warning(f"The cost of the model was not measured ({in_one_line(error)}).")
        return None


def in_one_line(error: Exception) -> str:
    """Return the type of an error and the first line of its text."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


def describe_training(trainer: Trainer, model: DRLModel) -> TrainingFacts:
    """Describe a training by what it used: its optimiser and schedule, its batches, and the types of its numbers."""
    args, optimizer = trainer.args, trainer.optimizer
    optimizer = getattr(optimizer, "optimizer", optimizer)  # inside accelerate's
    group = optimizer.param_groups[0]
    settings = [
        *(f"{name} {group[name]}" for name in ("betas", "momentum") if group.get(name)),
        f"weight decay {max(group.get('weight_decay', 0.0) for group in optimizer.param_groups)}",
    ]
    facts = planned_facts(args)
    schedule = facts.schedule if trainer._created_lr_scheduler else type(trainer.lr_scheduler).__name__
    in_use = parameters_in_use(trainer.model)
    trained = sum(parameter.numel() for parameter in in_use if parameter.requires_grad)
    everything = sum(parameter.numel() for parameter in in_use)
    autocast = {"bf16": "bfloat16", "fp16": "float16"}.get(trainer.accelerator.mixed_precision)
    return TrainingFacts(
        optimizer=", ".join([type(optimizer).__name__, *settings]),
        schedule=schedule,
        # DeepSpeed's optimisers hold copies of the parameters.
        learning_rates=facts.learning_rates
        if trainer.is_deepspeed_enabled
        else describe_rates(trainer.model, optimizer),
        batch_size=trainer._train_batch_size * args.world_size,
        autocast=autocast,
        dtype=" and ".join(sorted({str(weight.dtype).removeprefix("torch.") for weight in model.parameters()})),
        trained=None if trained == everything else f"{trained:,} of {everything:,} parameters",
    )


def publish(
    trainer: Trainer,
    commit_message: str = "End of training",
    token: str | None = None,
    revision: str | None = None,
    private: bool | None = None,
    **card,
):
    """Save the model and publish it with its processor, card, result and code; all processes must call this.

    Args:
        trainer ([`DRLTrainer`]): The trainer, after training.
        commit_message (`str`, *optional*, defaults to `"End of training"`): Message of the one commit.
        token (`str`, *optional*): Token of the Hub; by default `hub_token` of the arguments.
        revision (`str`, *optional*): Branch; by default `hub_revision` of the arguments.
        private (`bool`, *optional*): Whether the repository is private; by default `hub_private_repo` of the
            arguments.
        card: Arguments of [`~training.publishing.write_card`].

    Returns:
        `huggingface_hub.CommitInfo`: The commit, in the main process.

    Raises:
        [`~hub.PublishError`]: When the repository is public and should be private, and as in
            [`~hub.push_checkpoint`].
    """
    args = trainer.args
    token, private = token or args.hub_token, args.hub_private_repo if private is None else private
    trainer.callback_handler.on_push_begin(args, trainer.state, trainer.control)
    trainer.save_model(_internal_call=True)
    if not trainer.is_world_process_zero():
        return None
    if trainer.hub_model_id is None:
        trainer.init_hf_repo(token=token, private=private)
    write_card(trainer, **card)
    return push_checkpoint(
        args.output_dir,
        trainer.hub_model_id,
        private=bool(private),
        revision=revision or args.hub_revision,
        message=commit_message,
        token=token,
    )


def publish_folder(args: DRLTrainingArguments, commit_message: str = "End of training"):
    """Publish the folder of a finished run, to where its arguments say; only the first process publishes.

    Args:
        args ([`DRLTrainingArguments`]): Arguments of the run; `hub_model_id` is by default the name of `output_dir`.
        commit_message (`str`, *optional*, defaults to `"End of training"`): Message of the one commit.

    Returns:
        `huggingface_hub.CommitInfo`: The commit, in the first process.

    Raises:
        [`~hub.PublishError`]: For any error of [`~hub.push_checkpoint`]; the message says how to go on.
    """
    if args.process_index != 0:
        return None
    folder, repo_id = args.output_dir, args.hub_model_id or Path(args.output_dir).absolute().name
    try:
        return push_checkpoint(
            folder,
            repo_id,
            private=bool(args.hub_private_repo),
            revision=args.hub_revision,
            message=commit_message,
            token=args.hub_token,
        )
    except (ValueError, OSError) as error:
        raise PublishError(
            f"{folder} holds the finished model, but is not published ({in_one_line(error)}). Run the same command "
            f"again, or `drl-tvr push {folder} {repo_id}`."
        ) from error


__all__ = ["chosen_on", "publish", "publish_folder", "try_to_write_card", "write_card"]
