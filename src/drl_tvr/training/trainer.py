"""Trainer of DRL models: two learning rates, a loss over all processes, retrieval evaluation on the whole split."""

import math
import time

import torch
from torch.utils.data import DataLoader
from transformers import TrainerCallback
from transformers.trainer_utils import speed_metrics

from ..data.frame_store import decode_videos
from ..data.loading import CaptionDataset, PairDataset, RetrievalCollator, VideoDataset, say_who_died
from ..data.records import RetrievalData
from ..evaluation import encode_captions, encode_videos, evaluate_retrieval, score_all, twin_accuracy
from ..modeling_drl import NEW_MODULES, DRLFeatures, DRLModel
from ..processing_drl import DRLProcessor
from .arguments import DRLTrainingArguments
from .checkpointing import CheckpointingTrainer
from .distributed import gather_features, in_any_process
from .nonfinite import explain_step, is_broken
from .optimization import BertAdam, official_schedule


MAX_LOGIT_SCALE = math.log(100)
COUNTS = ("num_videos", "expected_videos", "num_captions", "expected_captions")


class LogitScaleClamp(TrainerCallback):
    """Keeps `exp(logit_scale)` at 100 or below after every step, as CLIP and the official code do."""

    def on_optimizer_step(self, args, state, control, model=None, **kwargs):
        """Clamp the parameter."""
        with torch.no_grad():
            model.logit_scale.clamp_(max=MAX_LOGIT_SCALE)


def num_pairs(dataset: RetrievalData | PairDataset) -> int:
    """Pairs of a split."""
    return len(dataset.captions)


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
        batch_size = args.per_device_train_batch_size * args.world_size
        if train_dataset is not None and args.dataloader_drop_last and num_pairs(train_dataset) < batch_size:
            raise ValueError(
                f"`train_dataset` has {num_pairs(train_dataset)} pairs, fewer than a batch of all processes "
                f"({batch_size}), and `dataloader_drop_last` leaves out smaller ones."
            )
        check_processor(model, processing_class)
        kwargs.setdefault("data_collator", RetrievalCollator(processing_class))
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
        self.add_callback(LogitScaleClamp())
        self._loss_parts: dict[str, list[torch.Tensor]] = {}

    def _decode(self, dataset: RetrievalData | PairDataset | None) -> PairDataset | None:
        """Decode a split's videos; one process does, and the others wait for it."""
        if dataset is None or isinstance(dataset, PairDataset):
            return dataset
        if not isinstance(dataset, RetrievalData):
            raise TypeError(f"A split must be a RetrievalData or a PairDataset, got {type(dataset).__name__}.")
        video_processor = self.processing_class.video_processor
        return PairDataset(dataset, decode_videos(dataset.videos, video_processor, self.args.frame_cache_dir))

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
            groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
            for name, parameter in model.named_parameters():
                if parameter.requires_grad:
                    learning_rate = self.args.clip_learning_rate
                    if name == "logit_scale":
                        learning_rate = self.args.logit_scale_learning_rate
                    elif name.startswith(NEW_MODULES):
                        learning_rate = self.args.learning_rate
                    weight_decay = self.args.weight_decay if name in decayed else 0.0
                    groups.setdefault((learning_rate, weight_decay), []).append(parameter)
            self.optimizer = optimizer_class(
                [
                    {"params": parameters, "lr": learning_rate, "weight_decay": weight_decay}
                    for (learning_rate, weight_decay), parameters in groups.items()
                ],
                **optimizer_kwargs,
            )
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None):
        """The schedule of `lr_scheduler_type`, or the official code's."""
        if self.args.official_optimizer and self.lr_scheduler is None:
            warmup = self.args.warmup_steps
            warmup = warmup if warmup < 1 else warmup / num_training_steps
            self.lr_scheduler = official_schedule(optimizer or self.optimizer, num_training_steps, warmup)
            self._created_lr_scheduler = True
        return super().create_scheduler(num_training_steps, optimizer)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """Loss of the global batch: with several processes, the features of all are gathered first."""
        if self.args.world_size == 1:
            outputs = model(**inputs, return_loss=True)
        else:
            local = model(**inputs)
            text = DRLFeatures(local.text_tokens, local.text_weights, inputs["attention_mask"])
            video = DRLFeatures(local.frame_tokens, local.frame_weights, inputs["video_mask"])
            compare = self.accelerator.unwrap_model(model).compare
            outputs = compare(gather_features(text), gather_features(video), return_loss=True)
        for part in ("contrastive_loss", "cdcr_loss"):
            self._loss_parts.setdefault(part, []).append(outputs[part].detach())
        return (outputs.loss, outputs) if return_outputs else outputs.loss

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
        # With float16, gradients that overflow are usual: the scaler leaves such steps out.
        checked_norm = grad_norm if getattr(self.accelerator, "scaler", None) is None else None
        if in_any_process(is_broken(parts, checked_norm)):
            raise explain_step(self, self._batches, parts)
        return grad_norm

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log, with the parts of the loss and the logit scale beside the loss."""
        if "loss" in logs and self._loss_parts:
            logs.update({part: round(torch.stack(v).mean().item(), 4) for part, v in self._loss_parts.items()})
            self._loss_parts = {}
            logs["logit_scale"] = round(self.accelerator.unwrap_model(self.model).logit_scale.exp().item(), 3)
        super().log(logs, start_time)

    def evaluate(
        self,
        eval_dataset: RetrievalData | PairDataset | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """Encode every caption and video of a split once and score the whole matrix.

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
        metrics = evaluate_retrieval(similarity, dataset.caption_to_video)
        metrics.update(twin_accuracy(similarity, dataset.caption_to_video, dataset.data.twins))
        # With fewer videos than the benchmark has, the same model scores higher: no metric without its counts.
        provenance = dataset.data.provenance
        metrics.update({name: provenance[name] for name in COUNTS if provenance[name] is not None})
        if isinstance(self.eval_dataset, PairDataset) and self.args.load_best_model_at_end:
            metrics["chosen_on_test"] = float(self.eval_dataset.data.split == "test")
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in metrics.items()}
        metrics.update(speed_metrics(metric_key_prefix, start_time, num_samples=len(dataset.videos)))
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def predict(self, *args, **kwargs):
        """Of no use here: `Trainer`'s logits would be those of single batches.

        Raises:
            `NotImplementedError`: Always; names what to call instead.
        """
        raise NotImplementedError("Call `evaluate` for metrics, or `similarity` for the whole matrix.")

    @say_who_died()
    def similarity(self, videos: VideoDataset, captions: CaptionDataset) -> torch.Tensor:
        """Similarity of every caption with every video.

        Args:
            videos ([`~data.loading.VideoDataset`]): Decoded videos.
            captions ([`~data.loading.CaptionDataset`]): Captions.

        Returns:
            `torch.Tensor` of shape `(num_captions, num_videos)`: Without the logit scale, float32, on the CPU.
        """
        model = self.accelerator.unwrap_model(self.model)
        was_training = model.training
        model.eval()
        show_progress = self.is_world_process_zero() and not self.args.disable_tqdm
        with self.compute_loss_context_manager():
            video_features = encode_videos(model, self._eval_batches(videos), show_progress)
            text_features = encode_captions(model, self._eval_batches(captions), show_progress)
        similarity = score_all(model, text_features, video_features)
        model.train(was_training)
        return similarity

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
        """Batches in order, the same on every process."""
        return DataLoader(
            dataset,
            batch_size=self.args.per_device_eval_batch_size,
            collate_fn=self.data_collator,
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory and self.args.device.type == "cuda",
            prefetch_factor=self.args.dataloader_prefetch_factor,
        )


__all__ = ["DRLTrainer"]
