"""Train a DRL model with transformers' Trainer: three learning rates, a loss over all processes, whole checkpoints."""

import os
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch
from torch.utils.data import DataLoader
from transformers import EarlyStoppingCallback, Trainer
from transformers.trainer_utils import speed_metrics

from ..data.loading import PairDataset, RetrievalCollator, decode_split, raise_worker_error
from ..data.records import RetrievalData
from ..evaluation.checks import check_num_frames, check_processor, most_frames
from ..evaluation.evaluator import Share, evaluate_model
from ..evaluation.results import EvaluationResult
from ..model.modeling_drl import DRLFeatures, DRLModel
from ..model.processing_drl import DRLProcessor
from .arguments import DRLTrainingArguments
from .best_metric import check_metric, split_that_chooses
from .checkpointing import (
    INCOMPLETE,
    STATE_FILE,
    TrainingCheckpointError,
    as_checkpoint_error,
    best_checkpoint,
    check_resumable,
    check_whole,
    clear_incomplete,
    discard,
    last_checkpoint,
    listed_checkpoints,
    put_files_in_place,
    put_in_place,
    rotate,
    write_list,
)
from .checks import check_batch_size, check_types, check_weight_types
from .distributed import gather_objects, in_any_process, in_first_process
from .fsdp import prepare_trainer, whole_model, whole_tensor
from .global_batches import make_train_loader, seed_workers
from .global_loss import both_sides, first_items, loss_of_features
from .gradient_cache import GradientCache
from .nonfinite import explain_step, is_broken
from .optimization import LogitScaleClamp, make_optimizer, official_schedule
from .output_folder import check_one_disk, hold_folder
from .publishing import publish, try_to_write_card, write_card
from .refused_options import check_options
from .run import end_with_launcher
from .temporal_edits import check_temporal_edits
from .wrappers import (
    check_parts,
    find_drl_model,
    plain_name,
    warn_of_unsaved_base,
    without_parallel,
    without_wrapper,
)


MODEL_INPUTS = ("input_ids", "attention_mask", "pixel_values_videos", "video_mask")
COUNT_FIELDS = ("num_videos", "expected_videos", "num_captions", "expected_captions")  # of a split, beside its metrics
SMALLEST_SCALE = 2**-14  # the smallest normal number of float16

# Private methods of `Trainer` that DRLTrainer overrides, with the parameters that it relies on: those of transformers
# 5.23 and 5.24, the bounds in setup.cfg. A test compares them with the installed version and names one that changed.
OVERRIDDEN_HOOKS = {
    "_finalize_training": ("self", "trial", "num_train_samples", "start_time"),
    "_get_grad_norm": ("self", "model", "grad_norm"),
    "_get_output_dir": ("self", "trial"),
    "_init_training_state": (
        *("self", "max_steps", "num_update_steps_per_epoch", "num_train_epochs", "resume_from_checkpoint", "trial"),
    ),
    "_load_best_model": ("self",),
    "_load_from_checkpoint": ("self", "resume_from_checkpoint", "model"),
    "_run_epoch": (
        *("self", "model", "epoch", "train_dataloader", "steps_in_epoch", "num_update_steps_per_epoch", "trial"),
        *("ignore_keys_for_eval", "start_time", "resume_from_checkpoint", "epochs_trained"),
        "steps_trained_in_current_epoch",
    ),
    "_save": ("self", "output_dir", "state_dict"),
    "_save_checkpoint": ("self", "model", "trial"),
}


class DRLTrainer(Trainer):
    r"""
    transformers' `Trainer` for a [`DRLModel`].

    - The loss is that of the global batch, of which each process encodes its share.
    - Evaluation encodes every caption and video once and scores the whole matrix.
    - A run can be killed at any moment. A checkpoint, and the model in the output folder, are written to a folder
      aside and get their name when all processes have written their part and it is on the disk.
      `train(resume_from_checkpoint=True)` resumes from the last complete checkpoint.
    - A loss or a gradient that is not finite stops the run with a [`~training.nonfinite.NonFiniteError`] before the
      step that would damage the weights.

    Args:
        model ([`DRLModel`]): The model.
        args ([`DRLTrainingArguments`]): The recipe.
        train_dataset ([`RetrievalData`] or [`~data.loading.PairDataset`], *optional*): Pairs to train on. The videos
            of a [`RetrievalData`] are decoded once and stored.
        eval_dataset ([`RetrievalData`] or [`~data.loading.PairDataset`], *optional*): Split that chooses the
            checkpoint; or several splits by name, whose metrics are then called `eval_NAME_t2v_R@1`.
        processing_class ([`DRLProcessor`]): Processor of captions and videos; saved with the model.
        kwargs: Other arguments of `Trainer`; `training/refused_options.py` lists those that are refused.

    Attributes:
        last_result ([`~evaluation.EvaluationResult`], *optional*): Result of the last evaluation after training.
        train_seconds (`float`, *optional*): Duration of a training that was not resumed.

    Raises:
        `ValueError`: When the processor or a video does not fit the model, a batch cannot be made, weights would be
            trained in half precision, or an option would have no effect.
        `TypeError`: When the model, a split or another argument is of another type.

    Example:

    ```python
    >>> from drl_tvr import DRLModel, DRLProcessor, DRLTrainer, DRLTrainingArguments, load_benchmark

    >>> folder = "outputs/moving-shapes"
    >>> trainer = DRLTrainer(
    ...     model=DRLModel.from_pretrained(folder),
    ...     args=DRLTrainingArguments(
    ...         "outputs/short", max_steps=1, per_device_train_batch_size=2, eval_strategy="no", save_strategy="no",
    ...         load_best_model_at_end=False, report_to="none", use_cpu=True, disable_tqdm=True,
    ...     ),
    ...     train_dataset=load_benchmark("captions.csv"),
    ...     processing_class=DRLProcessor.from_pretrained(folder),
    ... )
    >>> trainer.train().global_step
    {'train_runtime': ...}
    1
    ```"""

    _writes_aside = False  # while `Trainer` writes or deletes checkpoints

    def __init__(
        self,
        model: DRLModel,
        args: DRLTrainingArguments,
        train_dataset: RetrievalData | PairDataset | None = None,
        eval_dataset: RetrievalData | PairDataset | Mapping[str, RetrievalData | PairDataset] | None = None,
        processing_class: DRLProcessor | None = None,
        **kwargs,
    ):
        check_types(args, train_dataset, eval_dataset, processing_class)
        check_options(args, kwargs)
        if args.n_gpu > 1:
            raise ValueError(
                f"Found {args.n_gpu} GPUs in one process, expected one: each would see only a part of the batch. "
                "Start one process per GPU: `accelerate launch`."
            )
        model = without_parallel(model)
        check_parts(model)
        warn_of_unsaved_base(model)
        check_weight_types(find_drl_model(model), args)
        check_processor(find_drl_model(model), processing_class)
        check_temporal_edits(args, processing_class, most_frames(find_drl_model(model), processing_class))
        check_batch_size(args, train_dataset, find_drl_model(model).config)
        if type(self).evaluate is DRLTrainer.evaluate:  # that of a subclass may measure more
            check_metric(args, eval_dataset)
        kwargs["data_collator"] = kwargs.get("data_collator") or RetrievalCollator(processing_class)

        def decode(split: RetrievalData | PairDataset | None) -> PairDataset | None:
            split = decode_split(split, processing_class.video_processor, args.frame_cache_dir)
            if split is not None:
                check_num_frames(find_drl_model(model), split.videos, split.data.videos["video_id"])
            return split

        if isinstance(eval_dataset, Mapping):
            decoded = {name: decode(split) for name, split in eval_dataset.items()}
        else:
            decoded = decode(eval_dataset)
        super().__init__(
            model=model,
            args=args,
            train_dataset=decode(train_dataset),
            eval_dataset=decoded,
            processing_class=processing_class,
            **kwargs,
        )
        check_batch_size(args, self.train_dataset, find_drl_model(model).config)
        # The model computes its loss without labels, and over a batch instead of a number of items.
        self.can_return_loss = True
        self.label_names = []
        self.model_accepts_loss_kwargs = False
        if self.is_fsdp_enabled:
            prepare_trainer(self)
        self.add_callback(LogitScaleClamp())
        self.last_result: EvaluationResult | None = None
        self.train_seconds: float | None = None
        self._batches: list[dict] = []  # of this step
        self._loss_parts: dict[str, list[torch.Tensor]] = {}  # of this step, one value per batch
        self._loss_sums: dict[str, torch.Tensor] = {}  # since the last log
        self._losses_summed = 0

    def create_optimizer(self, model=None) -> torch.optim.Optimizer:
        """Create AdamW or BertAdam on groups: new modules, CLIP and the logit scale, with and without weight decay."""
        if self.optimizer is None:
            self.optimizer = make_optimizer(self, self.model if model is None else model)
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None):
        """Create the schedule of `lr_scheduler_type`, or that of the official code."""
        if self.args.official_optimizer and self.lr_scheduler is None:
            warmup = self.args.warmup_steps
            warmup = warmup if warmup < 1 else warmup / num_training_steps
            self.lr_scheduler = official_schedule(optimizer or self.optimizer, num_training_steps, warmup)
            self._created_lr_scheduler = True
        return super().create_scheduler(num_training_steps, optimizer)

    def get_train_dataloader(self) -> DataLoader:
        """Make batches of pairs; with several processes, the share of this process of every global batch."""
        if self.train_dataset is None:
            raise ValueError("`train_dataset`: found None, expected the split to train on.")
        return make_train_loader(self)

    def encode(self, model: torch.nn.Module, inputs: dict) -> tuple[DRLFeatures, DRLFeatures]:
        """Encode the share of this process of a batch by one forward pass of the wrapped model.

        Args:
            model (`torch.nn.Module`): The model, as accelerate wrapped it.
            inputs (`dict`): Inputs of the model; from a [`~training.global_batches.ShareCollator`] also `num_pairs`,
                the number of pairs that count, and `rows`, their rows in the split.

        Returns:
            `tuple(DRLFeatures)`: Texts and videos; no items for an empty share.
        """
        inputs = dict(inputs)
        num_pairs = inputs.pop("num_pairs", None)
        inputs.pop("rows", None)
        outputs = model(**inputs, compare=both_sides)
        text = DRLFeatures(outputs.text_tokens, outputs.text_weights, inputs["attention_mask"])
        video = DRLFeatures(outputs.frame_tokens, outputs.frame_weights, inputs["video_mask"])
        return first_items(text, num_pairs), first_items(video, num_pairs)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """Compute the loss of the global batch, of which each process encodes its share, in one forward pass."""
        inputs = dict(inputs)
        compare = partial(loss_of_features, num_pairs=inputs.pop("num_pairs", None))
        inputs.pop("rows", None)
        if "features" in inputs:  # from a GradientCache
            outputs = compare(find_drl_model(self.model), *inputs["features"])
        else:
            outputs = model(**inputs, compare=compare)
        for part in ("contrastive_loss", "cdcr_loss"):
            self._loss_parts.setdefault(part, []).append(outputs[part].detach())
        return (outputs.loss, outputs) if return_outputs else outputs.loss

    def training_step(self, model, inputs, num_items_in_batch=None) -> torch.Tensor:
        """Make one step; with gradient caching, on features, between two passes of chunks through the encoders."""
        if self.args.gradient_cache_chunk_size is None:
            return super().training_step(model, inputs, num_items_in_batch)
        model.train()
        inputs = self._prepare_inputs(inputs)
        pairs = {name: inputs.pop(name) for name in MODEL_INPUTS}
        cache = GradientCache(partial(self.encode, model), pairs, self.args.gradient_cache_chunk_size)
        no_sync = partial(self.accelerator.no_sync, model)
        with no_sync():
            features = {**inputs, "features": (cache.text, cache.video)}
            loss = super().training_step(model, features, num_items_in_batch)
        comparing = DRLModel.COMPARING_MODULES
        parameters = find_drl_model(self.model).named_parameters()
        cache.backward(no_sync, [value for name, value in parameters if plain_name(name).startswith(comparing)])
        return loss

    def get_batch_samples(self, epoch_iterator, num_batches, device):
        """Also keep the batches of the step, for the error message."""
        self._batches, num_items = super().get_batch_samples(epoch_iterator, num_batches, device)
        return self._batches, num_items

    def _get_grad_norm(self, model, grad_norm=None):
        """Check loss and gradient norm before the step, in all processes; the CPU waits for the device only here.

        Raises:
            `NonFiniteError`: When the loss or the gradient is not finite.
        """
        grad_norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        parts = {name: values[-len(self._batches) :] for name, values in self._loss_parts.items()}
        # With float16, gradients often overflow: the scaler skips such steps and halves its scale. When no scale is
        # left to halve, the scale is not the cause.
        scaler = self.accelerator.scaler
        checked_norm = grad_norm if scaler is None or scaler.get_scale() < SMALLEST_SCALE else None
        if in_any_process(is_broken(parts, checked_norm)):
            raise explain_step(self, self._batches, parts)
        for part, values in parts.items():
            self._loss_sums[part] = self._loss_sums.get(part, 0) + torch.stack(values).sum()
        self._losses_summed += len(self._batches)
        self._loss_parts = {}
        return grad_norm

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log the parts of the loss and the logit scale beside the loss."""
        if "loss" in logs and self._losses_summed:
            logs.update({part: round(x.item() / self._losses_summed, 4) for part, x in self._loss_sums.items()})
            self._loss_sums, self._losses_summed = {}, 0
            logit_scale = whole_tensor(find_drl_model(self.model).logit_scale)
            logs["logit_scale"] = round(logit_scale.exp().item(), 3)
        super().log(logs, start_time)

    @raise_worker_error
    def evaluate(
        self,
        eval_dataset: RetrievalData | PairDataset | Mapping[str, RetrievalData | PairDataset] | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """Evaluate the model on a split, as [`~evaluation.evaluate_model`] does.

        With several processes all must call this. Each encodes and scores its share, and all return the same metrics.
        An evaluation after training leaves its result in `last_result`; of several splits, that of the last.

        Args:
            eval_dataset ([`RetrievalData`] or [`~data.loading.PairDataset`], *optional*): The split, or several by
                name, whose names then follow the prefix; by default the `eval_dataset` of the trainer.
            ignore_keys (`list[str]`, *optional*): Not used; `Trainer` passes it.
            metric_key_prefix (`str`, *optional*, defaults to `"eval"`): Prefix of the names.

        Returns:
            `dict[str, float]`: Metrics of [`evaluate_retrieval`] with the prefix; `num_videos` and `num_captions`, and
            those of the complete split, `expected_videos` and `expected_captions`; `chosen_on_test`, 1 when the test
            split chooses the best checkpoint; `t2v_twin_accuracy` and `v2t_twin_accuracy` if the split has twins.

        Raises:
            `ValueError`: When there is no split to evaluate.
        """
        dataset = self.eval_dataset if eval_dataset is None else eval_dataset
        if dataset is None:
            raise ValueError("`eval_dataset`: found None here and in the trainer, expected the split to evaluate.")
        if isinstance(dataset, Mapping):
            metrics = {}
            for name, split in dataset.items():
                metrics.update(self.evaluate_split(split, f"{metric_key_prefix}_{name}"))
        else:
            metrics = self.evaluate_split(dataset, metric_key_prefix)
        # Once for all splits: early stopping looks for its metric among those of the evaluation.
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def evaluate_split(self, dataset: RetrievalData | PairDataset, prefix: str) -> dict[str, float]:
        """Evaluate the model on one split, and log the metrics."""
        dataset = decode_split(dataset, self.processing_class.video_processor, self.args.frame_cache_dir)
        start_time = time.time()
        model = whole_model(find_drl_model(self.model))
        was_training = model.training
        with self.accelerator.autocast():
            result = evaluate_model(
                model,
                self.processing_class,
                dataset,
                batch_size=self.args.per_device_eval_batch_size,
                num_workers=self.args.dataloader_num_workers,
                show_progress=self.is_world_process_zero() and not self.args.disable_tqdm,
                share=Share(self.args.process_index, self.args.world_size, gather_objects),
                metrics_only=self.is_in_train,
            )
        model.train(was_training)
        if not self.is_in_train:  # during training it may not be the checkpoint that is kept
            self.last_result = result
        # A model scores higher when there are fewer videos than the benchmark has: counts belong to the metrics.
        counts = {name: result.data[name] for name in COUNT_FIELDS if result.data[name] is not None}
        metrics = {**result.metrics, **counts}
        chooses = split_that_chooses(self.args, self.eval_dataset)
        if chooses is not None:
            metrics["chosen_on_test"] = float(chooses.split == "test")
        metrics = {f"{prefix}_{name}": value for name, value in metrics.items()}
        metrics.update(speed_metrics(prefix, start_time, num_samples=len(dataset.videos)))
        self.log(metrics)
        return metrics

    def predict(self, *args, **kwargs):
        """Refuse to predict: the logits that `Trainer` would return are those of single batches.

        Raises:
            `NotImplementedError`: Always.
        """
        raise NotImplementedError("Call `evaluate` for metrics, or `drl_tvr.evaluation.score_texts` for scores.")

    @raise_worker_error
    def train(self, resume_from_checkpoint: str | bool | None = None, trial=None, ignore_keys_for_eval=None):
        """Train as `Trainer` does, in an output folder that is locked meanwhile, and write the model card.

        Args:
            resume_from_checkpoint (`str` or `bool`, *optional*): Checkpoint to resume from; `True` for the last
                complete one in the output folder.
            trial, ignore_keys_for_eval (*optional*): As in `Trainer.train`.

        Returns:
            `transformers.trainer_utils.TrainOutput`: Steps, mean loss and speed.

        Raises:
            `RunInProgressError`: When another run is writing into the output folder.
            `OutputFolderError`: When not all processes see the output folder.
            `TrainingCheckpointError`: When there is no complete checkpoint to resume from, when a file of it or of the
                best checkpoint is missing or damaged, or when one cannot be written.
            `DataLoaderWorkerError`: When a process that loads batches dies.
        """
        end_with_launcher()
        folder, locks = Path(self.args.output_dir), []
        check_one_disk(folder)
        in_first_process(lambda: locks.append(hold_folder(folder)))
        try:
            if resume_from_checkpoint is True:
                resume_from_checkpoint = last_checkpoint(folder)
                if resume_from_checkpoint is None:
                    raise TrainingCheckpointError(f"{folder}: found no complete checkpoint to resume from.")
            if resume_from_checkpoint:
                checks = partial(check_resumable, with_best=self.args.load_best_model_at_end)
                in_first_process(partial(checks, resume_from_checkpoint, find_drl_model(self.model)))
            if self.args.should_save:
                clear_incomplete(folder)
            output = super().train(resume_from_checkpoint or None, trial, ignore_keys_for_eval)
        finally:
            for lock in locks:
                lock.release()
        self.last_result = None
        self.train_seconds = None if resume_from_checkpoint else output.metrics.get("train_runtime")
        try_to_write_card(self)
        return output

    def create_model_card(self, **kwargs) -> None:
        """Write the model card: see [`~training.publishing.write_card`]."""
        write_card(self, **kwargs)

    def push_to_hub(self, commit_message: str = "End of training", **kwargs):
        """Publish the model: see [`~training.publishing.publish`]."""
        return publish(self, commit_message, **kwargs)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save the model, so that no file in `output_dir` is ever seen in part. An internal call does not push."""
        if self._writes_aside:
            return super().save_model(output_dir, _internal_call)
        folder = Path(output_dir or self.args.output_dir)
        temporary = folder / INCOMPLETE / "model"
        if self.args.should_save:
            clear_incomplete(folder)
        self.accelerator.wait_for_everyone()
        with as_checkpoint_error(temporary, folder / "model"):
            super().save_model(str(temporary), _internal_call=True)
            (temporary / "README.md").unlink(missing_ok=True)  # PEFT's own card
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                put_files_in_place(temporary, folder)
                clear_incomplete(folder)
        if self.args.push_to_hub and not _internal_call:
            self.push_to_hub(commit_message="Model save", revision=self.args.hub_revision)

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        """Load the weights of a checkpoint into the model itself."""
        with without_wrapper(self):
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_best_model(self):
        """Load the weights of the best checkpoint into the model itself."""
        with without_wrapper(self):
            super()._load_best_model()

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        """Save the model itself, the logit scale as a scalar, also after FSDP, and the arguments without the token."""
        if state_dict is not None and "logit_scale" in state_dict:
            state_dict = {**state_dict, "logit_scale": state_dict["logit_scale"].reshape(())}
        token, self.args.hub_token = self.args.hub_token, None
        try:
            with without_wrapper(self):
                super()._save(output_dir, state_dict)
        finally:
            self.args.hub_token = token

    def _get_output_dir(self, trial):
        """Return the folder of the checkpoints, which is another one while a checkpoint is written aside."""
        folder = super()._get_output_dir(trial)
        return os.path.join(folder, INCOMPLETE) if self._writes_aside else folder

    def _save_checkpoint(self, model, trial):
        """Write a checkpoint aside, bring it to the disk and give it its name; then delete the oldest."""
        folder = Path(self._get_output_dir(trial))
        final = folder / f"checkpoint-{self.state.global_step}"
        temporary = folder / INCOMPLETE / final.name
        if self.args.should_save:
            clear_incomplete(folder)
        self.accelerator.wait_for_everyone()
        with as_checkpoint_error(temporary, final):
            self._writes_aside = True
            try:
                super()._save_checkpoint(model, trial)
            finally:
                self._writes_aside = False
            best = folder / f"checkpoint-{self.state.best_global_step}"
            if self.state.best_global_step and (best == final or best.is_dir()):
                self.state.best_model_checkpoint = str(best)
            if self.args.should_save:
                self.state.save_to_json(str(temporary / STATE_FILE))
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                write_list(temporary)
                put_in_place(temporary, final)
        if self.args.should_save:
            rotate(folder, self.args.save_total_limit, self.state.best_model_checkpoint)
            clear_incomplete(folder)
        self.accelerator.wait_for_everyone()

    def _init_training_state(
        self, max_steps, num_update_steps_per_epoch, num_train_epochs, resume_from_checkpoint, trial
    ):
        """Also find the best checkpoint again, beside the checkpoint to resume from or at its recorded path."""
        resume = resume_from_checkpoint
        done = super()._init_training_state(max_steps, num_update_steps_per_epoch, num_train_epochs, resume, trial)
        if resume is not None and self.args.load_best_model_at_end:
            self.state.best_model_checkpoint = best_checkpoint(resume)
        return done

    def _run_epoch(self, *args, **kwargs):
        """Run no epoch when the run was resumed after its last step; `Trainer` checks that only after a step."""
        stopped = kwargs["resume_from_checkpoint"] is not None and any(
            isinstance(callback, EarlyStoppingCallback)
            and callback.early_stopping_patience_counter >= callback.early_stopping_patience
            for callback in self.callback_handler.callbacks
        )
        if stopped or self.state.global_step >= self.state.max_steps:
            self.control.should_training_stop = True
        else:
            epoch, is_first = kwargs["epoch"], kwargs["epoch"] == kwargs["epochs_trained"]
            num_batches = kwargs["steps_trained_in_current_epoch"] if is_first else 0
            seed_workers(kwargs["train_dataloader"], self.args.seed, epoch, num_batches)
            super()._run_epoch(*args, **kwargs)

    def _finalize_training(self, trial, num_train_samples, start_time):
        """Delete whole checkpoints here, also those that a killed run left; `Trainer` deletes file by file."""
        folder, best = self._get_output_dir(trial), self.state.best_model_checkpoint
        if self.args.load_best_model_at_end and best is not None:
            in_first_process(partial(check_whole, best))
        if self.args.should_save:
            rotate(folder, self.args.save_total_limit, best)
            if best is not None and self.args.save_total_limit == 1:
                for checkpoint in listed_checkpoints(folder):
                    if not os.path.samefile(checkpoint, best):
                        discard(checkpoint)
            clear_incomplete(folder)
        self._writes_aside = True  # where `Trainer` finds nothing to delete: it would take any checkpoint-* folder
        try:
            return super()._finalize_training(trial, num_train_samples, start_time)
        finally:
            self._writes_aside = False


__all__ = ["OVERRIDDEN_HOOKS", "DRLTrainer"]
