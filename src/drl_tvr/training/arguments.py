"""Training arguments with the recipe of the paper as defaults."""

import math
from dataclasses import dataclass, field

import torch
from transformers import TrainingArguments, get_scheduler
from transformers.integrations import get_available_reporting_integrations
from transformers.trainer_utils import HubStrategy, SchedulerType
from transformers.training_args import OptimizerNames

from ..evaluation.bootstrap import LOWER_IS_BETTER


REPORTS = ("wandb", "tensorboard", "mlflow", "comet_ml", "clearml", "swanlab", "trackio", "codecarbon", "neptune")
AT_LEAST_0 = (
    *("learning_rate", "clip_learning_rate", "logit_scale_learning_rate", "weight_decay", "max_grad_norm"),
    *("adam_beta1", "adam_beta2", "adam_epsilon", "warmup_steps", "num_train_epochs", "dataloader_num_workers"),
    *("seed", "eval_delay"),
)
AT_LEAST_1 = (
    *("per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps"),
    "gradient_cache_chunk_size",
)
JOINING_WORDS = (", then", "and then", ", after that")


@dataclass
class DRLTrainingArguments(TrainingArguments):
    r"""
    `TrainingArguments` with the recipe of the paper on MSR-VTT as defaults. These defaults differ from transformers:

    | field | default | meaning |
    |---|---|---|
    | `learning_rate` | 1e-4 | peak for new modules: temporal encoder, token weights, MLP, cross transformer |
    | `clip_learning_rate` | 1e-7 | peak for the CLIP towers and projections |
    | `logit_scale_learning_rate` | `clip_learning_rate` | peak for the logit scale; higher from scratch |
    | `adam_beta2`, `adam_epsilon` | 0.98, 1e-6 | |
    | `weight_decay` | 0.2 | decoupled; none on biases, norms and scalars |
    | `warmup_steps`, `lr_scheduler_type` | 0.1, `"cosine"` | a tenth of all steps, then half a cosine to 0 |
    | `num_train_epochs` | 5 | |
    | `per_device_train_batch_size` | 128 | pairs per process; the loss sees those of all processes |
    | `dataloader_drop_last` | `True` | every step has the same number of negatives |
    | `eval_strategy`, `save_strategy` | `"epoch"` | |
    | `load_best_model_at_end`, `metric_for_best_model` | `True`, `"t2v_R@1"` | chosen on `eval_dataset` |
    | `greater_is_better` | what the metric says | `False` for MdR and MnR, the median and the mean rank |
    | `save_total_limit` | 2 | |
    | `official_optimizer` | `False` | the official code's BertAdam and schedule instead of AdamW and the cosine |
    | `logging_nan_inf_filter` | `False` | a loss that is not finite stops the run instead of being hidden in the log |
    | `restore_callback_states_from_checkpoint` | `True` | early stopping keeps its patience counter on resume |
    | `seed` | 0 | |
    | `hub_strategy` | `"end"` | the only one allowed: one commit of the chosen checkpoint and its card |

    A contrastive loss is not invariant to `gradient_accumulation_steps`: accumulation keeps the negatives of a small
    batch. The number of negatives is processes times `per_device_train_batch_size`.

    Args:
        clip_learning_rate (`float`, *optional*, defaults to 1e-7): Peak learning rate of the parameters of CLIP.
        logit_scale_learning_rate (`float`, *optional*, defaults to `clip_learning_rate`): Peak learning rate of the
            logarithm of the logit scale.
        official_optimizer (`bool`, *optional*, defaults to `False`): Adam without bias correction, a cosine over the
            whole run and weight decay on all but biases, as in the official code. `optim`, `lr_scheduler_type` and
            `lr_scheduler_kwargs` are then ignored.
        gradient_cache_chunk_size (`int`, *optional*): Pairs that a process encodes at a time. The gradient is that of
            the whole batch, but memory depends on the chunk; it costs one more forward pass of the encoders. See
            [`~training.gradient_cache.GradientCache`].
        temporal_edits (`float`, *optional*, defaults to 0.0): Share of the pairs of a batch that are joined two at a
            time in both orders, so that the model learns the order of events. See
            [`~training.temporal_edits.TemporalEdits`].
        joining_words (`list[str]`, *optional*, defaults to `[", then", "and then", ", after that"]`): What
            `temporal_edits` puts between two captions.
        frame_cache_dir (`str`, *optional*): Folder of the stored frames; by default in the cache of `datasets`.

    Raises:
        `ValueError`: For another `hub_strategy`, a number out of range, a `greater_is_better` that is not the
            metric's, or chunks with DeepSpeed or a LOMO optimiser, which run the backward pass themselves.
    """

    learning_rate: float = field(default=1e-4, metadata={"help": "Peak learning rate of the new modules."})
    clip_learning_rate: float = field(default=1e-7, metadata={"help": "Peak learning rate of the CLIP towers."})
    logit_scale_learning_rate: float | None = field(default=None, metadata={"help": "Peak rate of the logit scale."})
    official_optimizer: bool = field(default=False, metadata={"help": "BertAdam and its schedule, not AdamW."})
    gradient_cache_chunk_size: int | None = field(default=None, metadata={"help": "Pairs to encode at a time."})
    temporal_edits: float = field(default=0.0, metadata={"help": "Share of the pairs to join in both orders."})
    joining_words: list[str] = field(
        default_factory=lambda: list(JOINING_WORDS), metadata={"help": "What to put between two joined captions."}
    )
    frame_cache_dir: str | None = field(default=None, metadata={"help": "Folder of the stored frames."})
    adam_beta2: float = field(default=0.98, metadata={"help": "AdamW's beta2."})
    adam_epsilon: float = field(default=1e-6, metadata={"help": "AdamW's epsilon."})
    weight_decay: float = field(default=0.2, metadata={"help": "Decoupled; none on biases, norms and scalars."})
    warmup_steps: float = field(default=0.1, metadata={"help": "Steps, or a share of all steps when below 1."})
    lr_scheduler_type: str = field(default="cosine", metadata={"help": "Schedule of the learning rates."})
    num_train_epochs: float = field(default=5.0, metadata={"help": "Passes over the pairs."})
    per_device_train_batch_size: int = field(default=128, metadata={"help": "Pairs per process."})
    per_device_eval_batch_size: int = field(default=128, metadata={"help": "Captions or videos per batch."})
    dataloader_drop_last: bool = field(default=True, metadata={"help": "Leave out the last, smaller batch."})
    eval_strategy: str = field(default="epoch", metadata={"help": "When to evaluate."})
    save_strategy: str = field(default="epoch", metadata={"help": "When to save a checkpoint."})
    load_best_model_at_end: bool = field(default=True, metadata={"help": "Keep the best checkpoint."})
    metric_for_best_model: str = field(default="t2v_R@1", metadata={"help": "Metric of the best checkpoint."})
    greater_is_better: bool | None = field(default=None, metadata={"help": "By default what the metric says."})
    save_total_limit: int | None = field(default=2, metadata={"help": "Checkpoints to keep."})
    logging_steps: float = field(default=50, metadata={"help": "Steps between logs."})
    logging_nan_inf_filter: bool = field(default=False, metadata={"help": "Ignored: a non-finite loss stops the run."})
    restore_callback_states_from_checkpoint: bool = field(
        default=True, metadata={"help": "Callbacks keep their state on resume."}
    )
    remove_unused_columns: bool = field(default=False, metadata={"help": "The collator needs all columns."})
    hub_strategy: str = field(default="end", metadata={"help": "Only 'end' is allowed."})
    seed: int = field(default=0, metadata={"help": "Seed of initialisation and data order."})

    def __post_init__(self):
        self.check_direction()
        self.check_numbers()
        self.check_temporal_edits()
        super().__post_init__()
        if self.lr_scheduler_type in (SchedulerType.REDUCE_ON_PLATEAU, SchedulerType.GREEDY):
            # They follow `metric_for_best_model`, but take a lower one for better unless told.
            mode = "max" if self.greater_is_better else "min"
            self.lr_scheduler_kwargs = {"mode": mode, **(self.lr_scheduler_kwargs or {})}
        self.check_schedule()
        self.check_reports()
        if self.logit_scale_learning_rate is None:
            self.logit_scale_learning_rate = self.clip_learning_rate
        self.check_hub_strategy()
        if self.gradient_cache_chunk_size is not None:
            if self.deepspeed_plugin is not None or self.optim in (OptimizerNames.LOMO, OptimizerNames.ADALOMO):
                other = "DeepSpeed" if self.deepspeed_plugin is not None else f"`optim={self.optim.value!r}`"
                raise ValueError(
                    f"`gradient_cache_chunk_size`: found {self.gradient_cache_chunk_size}, expected None with "
                    f"{other}, which runs the backward pass itself."
                )
            if self.ddp_find_unused_parameters is None:
                # The features of a chunk do not depend on the parameters that compare them, which get a gradient all
                # the same.
                self.ddp_find_unused_parameters = False

    def check_numbers(self) -> None:
        """Refuse numbers out of range, before anything is set up by them.

        Raises:
            `ValueError`: When one is too small, infinite or not a number; the message names the field.
        """
        for names, least, expected in (
            (AT_LEAST_0, 0, "a finite number of at least 0"),
            (AT_LEAST_1, 1, "at least 1"),
        ):
            for name in names:
                found = getattr(self, name)
                if isinstance(found, int | float) and not least <= found < math.inf:
                    raise ValueError(f"`{name}`: found {found}, expected {expected}.")

    def check_temporal_edits(self) -> None:
        """Refuse a share outside its range, or nothing to join captions with.

        Raises:
            `ValueError`: When `temporal_edits` or `joining_words` is invalid.
        """
        share = self.temporal_edits
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
            raise ValueError(f"`temporal_edits`: found {share!r}, expected a number from 0 to 1.")
        words = self.joining_words
        if isinstance(words, str) or not words or not all(isinstance(item, str) and item.strip() for item in words):
            raise ValueError(f"`joining_words`: found {words!r}, expected a list of words, as [', then'].")

    def check_schedule(self) -> None:
        """Refuse keywords that the schedule does not have, or not all of those that it needs.

        Raises:
            `ValueError`: When the schedule cannot be made; the message names the fields.
        """
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))])
        kwargs = self.lr_scheduler_kwargs or {}
        try:
            get_scheduler(self.lr_scheduler_type, optimizer, 0, 1, scheduler_specific_kwargs=dict(kwargs))
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"`lr_scheduler_kwargs`: found {kwargs}, expected those of `lr_scheduler_type="
                f"{self.lr_scheduler_type.value!r}` ({error})."
            ) from error

    def check_reports(self) -> None:
        """Refuse to report to a library that is not installed.

        Raises:
            `ValueError`: When `report_to` names one; the message names it.
        """
        installed = get_available_reporting_integrations()
        for name in self.report_to:
            if name in REPORTS and name not in installed:
                raise ValueError(f"`report_to`: found {name!r}, expected an installed library: pip install {name}.")

    def check_direction(self) -> None:
        """Set `greater_is_better` by the metric, and refuse the direction that would keep the worst checkpoint.

        Raises:
            `ValueError`: When `greater_is_better` contradicts `metric_for_best_model`.
        """
        is_rank = (self.metric_for_best_model or "").endswith(LOWER_IS_BETTER)
        if self.greater_is_better is None:
            self.greater_is_better = not is_rank
        elif self.greater_is_better == is_rank:
            raise ValueError(
                f"`greater_is_better`: found {self.greater_is_better}, expected {not is_rank} for "
                f"`metric_for_best_model={self.metric_for_best_model!r}`."
            )

    def check_hub_strategy(self) -> None:
        """Refuse to push during training.

        Raises:
            `ValueError`: For a `hub_strategy` other than `"end"`.
        """
        if self.hub_strategy != HubStrategy.END:
            raise ValueError(
                f"`hub_strategy`: found {HubStrategy(self.hub_strategy).value!r}, expected 'end': during training all "
                "of `output_dir` would be pushed, with local paths and without a card, and stay in the history."
            )


__all__ = ["DRLTrainingArguments"]
