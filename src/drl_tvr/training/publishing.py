"""Write the model card of a trainer's model, and publish the model on the Hub."""

from dataclasses import replace
from pathlib import Path

from transformers import Trainer

from ..data.loading import PairDataset
from ..evaluation.fingerprints import describe_processor
from ..evaluation.results import EvaluationResult
from ..hub import measure_cost, push_checkpoint, write_model_card
from .arguments import DRLTrainingArguments
from .wrappers import find_drl_model


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
        data = (trainer.train_dataset or trainer.eval_dataset).data.provenance
        result = EvaluationResult(data, describe_processor(processor), {}, {}, {}, [])
    judge = trainer.eval_dataset if args.load_best_model_at_end else None
    chosen_on = judge.data.split if isinstance(judge, PairDataset) else None
    write_model_card(
        args.output_dir,
        trainer.hub_model_id or model_name or args.output_dir,
        model.config,
        args,
        replace(result, model={**result.model, "chosen_on": chosen_on}),
        state=trainer.state,
        train_seconds=trainer.train_seconds,
        # Under FSDP this process holds only a part of the model.
        cost=None if trainer.is_fsdp_enabled else measure_cost(model, processor),
        finetuned_from=finetuned_from or model.config._name_or_path or None,
        license=license,
        tags=[tags] if isinstance(tags, str) else tags or [],
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
        [`~hub.PublishError`]: As in [`~hub.push_checkpoint`].
    """
    if args.process_index != 0:
        return None
    return push_checkpoint(
        args.output_dir,
        args.hub_model_id or Path(args.output_dir).absolute().name,
        private=bool(args.hub_private_repo),
        revision=args.hub_revision,
        message=commit_message,
        token=args.hub_token,
    )


__all__ = ["publish", "publish_folder", "write_card"]
