"""Trainer of DRL models: two learning rates, a loss over all processes, retrieval evaluation on the whole split."""

import math
import time
from functools import partial

import numpy as np
import torch
from torch.utils.data import DataLoader, Subset
from transformers.trainer_utils import speed_metrics

from ..data.frame_store import load_frames
from ..data.loading import CaptionDataset, PairDataset, RetrievalCollator, VideoDataset, raise_worker_error
from ..data.records import RetrievalData
from ..evaluation import (
    EvaluationResult,
    describe_data,
    encode_captions,
    encode_videos,
    library_versions,
    make_result,
    metrics_of_ranks,
    rank_both_ways,
    score_all,
    twin_accuracy,
)
from ..evaluation.fingerprints import describe_processor
from ..model.modeling_drl import DRLFeatures, DRLModel
from ..model.processing_drl import DRLProcessor
from .arguments import DRLTrainingArguments
from .checkpointing import CheckpointingTrainer
from .checks import check_batch_size, check_processor
from .distributed import (
    both_sides,
    first_items,
    gather_batches,
    gather_rows,
    in_any_process,
    loss_of_features,
    prepare_fsdp,
    share_of,
    whole_model,
    whole_tensor,
)
from .global_batches import GlobalBatchSampler, ShareCollator, with_own_seeds
from .gradient_cache import GradientCache
from .nonfinite import explain_step, is_broken
from .optimization import BertAdam, LogitScaleClamp, official_schedule, parameter_groups
from .publishing import publish, write_card


MODEL_INPUTS = ("input_ids", "attention_mask", "pixel_values_videos", "video_mask")
SMALLEST_SCALE = 2**-14  # the smallest normal number of float16
COUNTS = ("num_videos", "expected_videos", "num_captions", "expected_captions")


class DRLTrainer(CheckpointingTrainer):
    r"""
    transformers' `Trainer` for a [`DRLModel`]. It can be killed at any moment and resumed, see
    [`~training.checkpointing.CheckpointingTrainer`], and a loss or gradient that is not finite stops it with a
    [`~training.nonfinite.NonFiniteError`] before the step that would have spoiled the weights.

    Args:
        model ([`DRLModel`]): The model.
        args ([`DRLTrainingArguments`]): The recipe.
        train_dataset ([`RetrievalData`] or [`~data.loading.PairDataset`], *optional*): Pairs to train on. The videos
            of a [`RetrievalData`] are decoded once and cached.
        eval_dataset ([`RetrievalData`] or [`~data.loading.PairDataset`], *optional*): The split that chooses the
            checkpoint.
        processing_class ([`DRLProcessor`]): Prepares captions and videos; saved with the model.
        kwargs: Other arguments of `Trainer`.

    Example:

    ```python
    >>> from drl_tvr import DRLModel, DRLProcessor, DRLTrainer, DRLTrainingArguments, load_benchmark

    >>> trainer = DRLTrainer(
    ...     model=DRLModel.from_clip_pretrained("openai/clip-vit-base-patch32"),
    ...     args=DRLTrainingArguments("outputs/drl"),
    ...     train_dataset=load_benchmark("moving-shapes", split="train"),
    ...     eval_dataset=load_benchmark("moving-shapes", split="validation"),
    ...     processing_class=DRLProcessor.from_pretrained("path/to/processor"),
    ... )  # doctest: +SKIP
    >>> trainer.train()  # doctest: +SKIP
    ```"""

    def __init__(
        self,
        model: DRLModel,
        args: DRLTrainingArguments,
        train_dataset: RetrievalData | PairDataset | None = None,
        eval_dataset: RetrievalData | PairDataset | None = None,
        processing_class: DRLProcessor | None = None,
        **kwargs,
    ):
        if processing_class is None:
            raise ValueError("`processing_class` is needed: the DRLProcessor that prepares captions and videos.")
        if args.n_gpu > 1:
            raise ValueError(
                f"One process sees {args.n_gpu} GPUs, and each would be compared with its own share of the batch "
                "alone. Start one process a GPU: `accelerate launch`."
            )
        check_batch_size(args, train_dataset, model.config)
        check_processor(model, processing_class)
        kwargs.setdefault("data_collator", RetrievalCollator(processing_class))
        args.check_hub_strategy()  # `set_push_to_hub` sets another by default
        self.args, self.processing_class = args, processing_class  # `_decode` needs them before `Trainer` sets them
        super().__init__(
            model=model,
            args=args,
            train_dataset=self._decode(train_dataset),
            eval_dataset=self._decode(eval_dataset),
            processing_class=processing_class,
            **kwargs,
        )
        # The model computes its loss without labels, and over a batch, not a number of items.
        self.can_return_loss = True
        self.label_names = []
        self.model_accepts_loss_kwargs = False
        if self.is_fsdp_enabled:
            if args.gradient_cache_chunk_size is not None:
                raise ValueError(
                    "`gradient_cache_chunk_size` doesn't go with FSDP, which counts the forward passes: leave one out."
                )
            prepare_fsdp(self.accelerator.state.fsdp_plugin)
            # FSDP shards along the first dimension, and a scalar has none; `_save` undoes this.
            model.logit_scale = torch.nn.Parameter(model.logit_scale.detach().reshape(1))
        self.add_callback(LogitScaleClamp())
        self._loss_parts: dict[str, list[torch.Tensor]] = {}  # of the step, a value for each batch
        self._loss_sums: dict[str, torch.Tensor] = {}  # of the steps since the last log
        self._losses_summed = 0
        self.ranks: dict[str, np.ndarray] = {}  # of the last evaluation, both directions
        self.last_result: EvaluationResult | None = None  # of the last evaluation after training
        self.train_seconds: float | None = None  # of a run that was not resumed

    def _decode(self, dataset: RetrievalData | PairDataset | None) -> PairDataset | None:
        """Decode a split's videos; the processes share the work."""
        if dataset is None or isinstance(dataset, PairDataset):
            return dataset
        if not isinstance(dataset, RetrievalData):
            raise TypeError(f"A split must be a RetrievalData or a PairDataset, got {type(dataset).__name__}.")
        video_processor = self.processing_class.video_processor
        return PairDataset(dataset, load_frames(dataset.videos, video_processor, self.args.frame_cache_dir))

    def create_optimizer(self, model=None) -> torch.optim.Optimizer:
        """AdamW, or BertAdam, on groups: new modules, CLIP and the logit scale, with and without weight decay."""
        model = self.model if model is None else model
        if self.optimizer is None:
            decayed = set(self.get_decay_parameter_names(model)) - {"logit_scale"}
            if self.args.official_optimizer:
                decayed = {name for name, _ in model.named_parameters() if "bias" not in name}
                optimizer_class = BertAdam
                betas = (self.args.adam_beta1, self.args.adam_beta2)
                optimizer_kwargs = {"lr": self.args.learning_rate, "betas": betas, "eps": self.args.adam_epsilon}
            else:
                optimizer_class, optimizer_kwargs = self.get_optimizer_cls_and_kwargs(self.args, model)
            self.optimizer = optimizer_class(parameter_groups(model, self.args, decayed), **optimizer_kwargs)
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None):
        """The schedule of `lr_scheduler_type`, or the official code's."""
        if self.args.official_optimizer and self.lr_scheduler is None:
            warmup = self.args.warmup_steps
            warmup = warmup if warmup < 1 else warmup / num_training_steps
            self.lr_scheduler = official_schedule(optimizer or self.optimizer, num_training_steps, warmup)
            self._created_lr_scheduler = True
        return super().create_scheduler(num_training_steps, optimizer)

    def get_train_dataloader(self) -> DataLoader:
        """Batches of pairs; with several processes, each process's share of every global batch."""
        if self.args.world_size == 1:
            return with_own_seeds(super().get_train_dataloader())
        batches = GlobalBatchSampler(
            self._get_train_sampler(), self._train_batch_size, self.args.world_size, self.args.dataloader_drop_last
        )
        loader = DataLoader(
            self.train_dataset,
            batch_sampler=batches,
            collate_fn=ShareCollator(self.data_collator, self.train_dataset),
            persistent_workers=self.args.dataloader_persistent_workers,
            **self._workers(),
        )
        return with_own_seeds(self.accelerator.prepare(loader))

    def _get_collator_with_removed_columns(self, data_collator, description=None):
        """What `Trainer` collates its batches of pairs with: every column is used."""
        return ShareCollator(data_collator, self.train_dataset)

    def _workers(self) -> dict:
        """How a `DataLoader` of ours works."""
        return {
            "num_workers": self.args.dataloader_num_workers,
            "pin_memory": self.args.dataloader_pin_memory and self.args.device.type == "cuda",
            "prefetch_factor": self.args.dataloader_prefetch_factor,
        }

    def encode(self, model: torch.nn.Module, inputs: dict) -> tuple[DRLFeatures, DRLFeatures]:
        """Encode this process's share of a batch by one forward pass of the wrapped model.

        Args:
            model (`torch.nn.Module`): The model, as accelerate wrapped it.
            inputs (`dict`): The model's inputs, and `num_pairs`, how many of them count, and `rows`, which they are,
                where a [`~training.global_batches.ShareCollator`] made them.

        Returns:
            `tuple(DRLFeatures)`: Texts and videos, none for an empty share.
        """
        inputs = dict(inputs)
        num_pairs = inputs.pop("num_pairs", None)
        inputs.pop("rows", None)
        outputs = model(**inputs, compare=both_sides)
        text = DRLFeatures(outputs.text_tokens, outputs.text_weights, inputs["attention_mask"])
        video = DRLFeatures(outputs.frame_tokens, outputs.frame_weights, inputs["video_mask"])
        return first_items(text, num_pairs), first_items(video, num_pairs)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """Loss of the global batch, of which each process encodes its share, within one forward pass."""
        inputs = dict(inputs)
        compare = partial(loss_of_features, num_pairs=inputs.pop("num_pairs", None))
        inputs.pop("rows", None)
        if "features" in inputs:  # of a GradientCache
            outputs = compare(self.model, *inputs["features"])
        else:
            outputs = model(**inputs, compare=compare)
        for part in ("contrastive_loss", "cdcr_loss"):
            self._loss_parts.setdefault(part, []).append(outputs[part].detach())
        return (outputs.loss, outputs) if return_outputs else outputs.loss

    def training_step(self, model, inputs, num_items_in_batch=None) -> torch.Tensor:
        """`Trainer`'s own step, or, in chunks, its step on features between two passes through the encoders."""
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
        # Unwrapping a compiled model would take it out of its wrapper for good, and that is what averages gradients.
        parameters = self.model.named_parameters()
        comparing = DRLModel.COMPARING_MODULES
        cache.backward(no_sync, [parameter for name, parameter in parameters if name.startswith(comparing)])
        return loss

    def get_batch_samples(self, epoch_iterator, num_batches, device):
        """The batches of a step, which are kept in case that it has to be explained."""
        self._batches, num_items = super().get_batch_samples(epoch_iterator, num_batches, device)
        return self._batches, num_items

    def _get_grad_norm(self, model, grad_norm=None):
        """What a step is checked by before it is made, in all processes: its one wait for the device.

        Raises:
            `NonFiniteError`: When the loss or the gradient is not finite.
        """
        grad_norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        parts = {name: values[-len(self._batches) :] for name, values in self._loss_parts.items()}
        # With float16, gradients that overflow are usual: the scaler leaves such steps out and halves its scale. With
        # none left to halve it isn't the scale.
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
        """Log, with the parts of the loss and the logit scale beside the loss."""
        if "loss" in logs and self._losses_summed:
            logs.update({part: round(x.item() / self._losses_summed, 4) for part, x in self._loss_sums.items()})
            self._loss_sums, self._losses_summed = {}, 0
            logit_scale = whole_tensor(self.accelerator.unwrap_model(self.model).logit_scale)
            logs["logit_scale"] = round(logit_scale.exp().item(), 3)
        super().log(logs, start_time)

    def evaluate(
        self,
        eval_dataset: RetrievalData | PairDataset | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """Encode every caption and video of a split once and score the whole matrix.

        With several processes all must call it. Each encodes and scores its share, and all get the same metrics.

        Args:
            eval_dataset ([`RetrievalData`] or [`~data.loading.PairDataset`], *optional*): By default the trainer's
                own.
            ignore_keys (`list[str]`, *optional*): Of no use here; kept for `Trainer`.
            metric_key_prefix (`str`, *optional*, defaults to `"eval"`): Prefix of the names.

        Returns:
            `dict[str, float]`: What [`evaluate_retrieval`] gives, prefixed; `num_videos`, `num_captions`, and how many
            the complete split has, `expected_videos` and `expected_captions`; `chosen_on_test`, 1 when the best
            checkpoint is kept and the test split says which that is; `t2v_twin_accuracy` and `v2t_twin_accuracy` where
            the split has twins.

        Raises:
            `ValueError`: When there is no split to evaluate.
        """
        dataset = self._decode(eval_dataset) if eval_dataset is not None else self.eval_dataset
        if dataset is None:
            raise ValueError("There is nothing to evaluate: pass `eval_dataset` here or to the trainer.")
        start_time = time.time()
        similarity = self.similarity(dataset.videos, dataset.captions)
        self.ranks = rank_both_ways(similarity, dataset.caption_to_video)
        metrics = metrics_of_ranks(self.ranks)
        metrics.update(twin_accuracy(similarity, dataset.caption_to_video, dataset.data.twins))
        # With fewer videos than the benchmark has, the same model scores higher: no metric without its counts.
        provenance = dataset.data.provenance
        metrics.update({name: provenance[name] for name in COUNTS if provenance[name] is not None})
        if not self.is_in_train:  # in training it may not be the checkpoint that is kept
            self.last_result = make_result(
                self.ranks,
                dataset.caption_to_video,
                data=describe_data(dataset.data),
                model=describe_processor(self.processing_class),
                versions=library_versions(),
                more_metrics=twin_accuracy(similarity, dataset.caption_to_video, dataset.data.twins),
            )
        if isinstance(self.eval_dataset, PairDataset) and self.args.load_best_model_at_end:
            metrics["chosen_on_test"] = float(self.eval_dataset.data.split == "test")
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in metrics.items()}
        metrics.update(speed_metrics(metric_key_prefix, start_time, num_samples=len(dataset.videos)))
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def train(self, resume_from_checkpoint: str | bool | None = None, **kwargs):
        """Train, then write the model card, still without results."""
        output = super().train(resume_from_checkpoint=resume_from_checkpoint, **kwargs)
        self.last_result = None
        self.train_seconds = None if resume_from_checkpoint else output.metrics.get("train_runtime")
        self.create_model_card()
        return output

    def create_model_card(self, **kwargs) -> None:
        """Write the model card: see [`~training.publishing.write_card`]."""
        write_card(self, **kwargs)

    def push_to_hub(self, **kwargs):
        """Publish the model: see [`~training.publishing.publish`]."""
        return publish(self, **kwargs)

    def _push_from_checkpoint(self, checkpoint_folder):
        """Do nothing: the model is pushed once, after training."""

    def predict(self, *args, **kwargs):
        """Of no use here: `Trainer`'s logits would be those of single batches.

        Raises:
            `NotImplementedError`: Always; names what to call instead.
        """
        raise NotImplementedError("Call `evaluate` for metrics, or `similarity` for the whole matrix.")

    @raise_worker_error
    def similarity(self, videos: VideoDataset, captions: CaptionDataset) -> torch.Tensor:
        """Similarity of every caption with every video.

        With several processes all must call it. Each takes its share of the batches, so that a batch is computed
        as by a single process, whatever their number.

        Args:
            videos ([`~data.loading.VideoDataset`]): Decoded videos.
            captions ([`~data.loading.CaptionDataset`]): Captions.

        Returns:
            `torch.Tensor` of shape `(num_captions, num_videos)`: Without the logit scale, float32, on the CPU.
        """
        model = whole_model(self.accelerator.unwrap_model(self.model))
        was_training = model.training
        model.eval()
        show_progress = self.is_world_process_zero() and not self.args.disable_tqdm
        with self.accelerator.autocast():
            video_features = encode_videos(model, self._eval_batches(videos), show_progress)
            text_features = encode_captions(model, self._eval_batches(captions), show_progress)
        num_batches = math.ceil(len(videos) / self.args.per_device_eval_batch_size)
        video_features = gather_batches(video_features, num_batches, model.device)
        # More processes than batches leave some without.
        rows = score_all(model, text_features, video_features) if text_features else torch.zeros(0, len(videos))
        model.train(was_training)
        return gather_rows(rows.to(model.device)).cpu()

    def search(self, dataset: RetrievalData | PairDataset, sentences: list[str]) -> torch.Tensor:
        """Score the videos of a split for any sentences.

        Args:
            dataset ([`RetrievalData`] or [`~data.loading.PairDataset`]): The split.
            sentences (`list[str]`): What to look for.

        Returns:
            `torch.Tensor` of shape `(num_sentences, num_videos)`: Similarities without the logit scale.
        """
        return self.similarity(self._decode(dataset).videos, CaptionDataset(sentences))

    def _eval_batches(self, dataset: torch.utils.data.Dataset) -> DataLoader:
        """This process's share of the batches of a dataset in order."""
        size = self.args.per_device_eval_batch_size
        share = share_of(math.ceil(len(dataset) / size), self.args.process_index, self.args.world_size)
        rows = range(len(dataset))[share.start * size : share.stop * size]
        return DataLoader(Subset(dataset, rows), batch_size=size, collate_fn=self.data_collator, **self._workers())

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        """Save the model, its logit scale a scalar also after FSDP."""
        if state_dict is not None and "logit_scale" in state_dict:
            state_dict = {**state_dict, "logit_scale": state_dict["logit_scale"].reshape(())}
        token, self.args.hub_token = self.args.hub_token, None  # the arguments are pickled beside the model
        try:
            super()._save(output_dir, state_dict)
        finally:
            self.args.hub_token = token


__all__ = ["DRLTrainer"]
