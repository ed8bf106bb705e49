"""Make the model card: what a run knows about its model, in a form for people and the Hub."""

import os
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import transformers
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from transformers import TrainerState, TrainingArguments

from ..evaluation.metrics import DIRECTIONS, METRICS
from ..evaluation.results import EvaluationResult
from ..model.configuration_drl import DRLConfig
from .cost import ModelCost


TEMPLATE = Path(__file__).parent / "model_card.md.j2"
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class TrainingFacts:
    """Facts of a run that its arguments do not decide alone.

    Args:
        optimizer (`str`): Class of the optimiser, with its settings.
        schedule (`str`): Schedule of the learning rates.
        learning_rates (`str`): Peak learning rates of the parts of the model.
        batch_size (`int`): Pairs per batch, over all processes.
        autocast (`str`, *optional*): Type that the steps compute in, when it is not that of the weights.
        dtype (`str`, *optional*, defaults to `"float32"`): Type of the weights.
        trained (`str`, *optional*): Numbers of trained and of all parameters, when some are frozen.
    """

    optimizer: str
    schedule: str
    learning_rates: str
    batch_size: int
    autocast: str | None = None
    dtype: str = "float32"
    trained: str | None = None


@dataclass(frozen=True)
class AdapterFacts:
    """Facts of a PEFT adapter, which is all that the folder of its run holds beside the processor.

    Args:
        base (`str`, *optional*): Checkpoint of the DRL model that the adapter belongs to, a name on the Hub or a
            folder; `None` when that model was not loaded from one.
        subfolder (`str`, *optional*): Folder of the adapter in that of the run; PEFT makes one unless the adapter is
            called `"default"`.
    """

    base: str | None
    subfolder: str | None = None


def planned_facts(args: TrainingArguments, num_processes: int = 1) -> TrainingFacts:
    """Return what the arguments say, for a recipe that was not run yet or a run that nothing more is known of."""
    optimizer = "BertAdam" if args.official_optimizer else "AdamW" if args.optim.startswith("adamw") else args.optim
    schedule = getattr(args.lr_scheduler_type, "value", args.lr_scheduler_type)
    return TrainingFacts(
        optimizer=f"{getattr(optimizer, 'value', optimizer)}, weight decay {args.weight_decay}",
        schedule=f"{'official' if args.official_optimizer else schedule} schedule, warm-up {args.warmup_steps}",
        learning_rates=(
            f"{args.learning_rate} new modules, {args.clip_learning_rate} CLIP towers, "
            f"{args.logit_scale_learning_rate} logit scale"
        ),
        batch_size=args.per_device_train_batch_size * num_processes,
        autocast="bfloat16" if args.bf16 else "float16" if args.fp16 else None,
    )


def make_model_card(
    name: str,
    config: DRLConfig,
    args: TrainingArguments,
    result: EvaluationResult,
    *,
    state: TrainerState | None = None,
    facts: TrainingFacts | None = None,
    train_seconds: float | None = None,
    cost: ModelCost | None = None,
    finetuned_from: str | None = None,
    finetuned_part: Literal["towers", "model"] = "towers",
    adapter: AdapterFacts | None = None,
    license: str | None = None,
    tags: Sequence[str] = (),
) -> ModelCard:
    """Make the card of a model, or of a recipe that was not run yet.

    The card says so where something is not given.

    Args:
        name (`str`): Folder of the model, or its name on the Hub.
        config ([`DRLConfig`]): The model's configuration.
        args ([`DRLTrainingArguments`]): The recipe.
        result ([`~evaluation.EvaluationResult`]): The result on the test split. Without metrics, the card takes from
            it only the benchmark, the protocol, the sampling (`fps`, `max_frames` and `max_words` of `model`) and
            `chosen_on` of `model`, the split that chose the checkpoint.
        state (`TrainerState`, *optional*): State of the Trainer after training; without it, the card says that the
            recipe was not trained.
        facts ([`~hub.TrainingFacts`], *optional*): Facts of the run; by default what the arguments say.
        train_seconds (`float`, *optional*): Duration of the training.
        cost ([`~hub.ModelCost`], *optional*): Cost of the model, from [`~hub.measure_cost`].
        finetuned_from (`str`, *optional*): Checkpoint that training started from, a name on the Hub or a folder.
        finetuned_part (`str`, *optional*, defaults to `"towers"`): What comes from it: the `"towers"`, from a CLIP
            checkpoint, or all of the `"model"`, from a DRL model.
        adapter ([`~hub.AdapterFacts`], *optional*): Facts of the adapter, when the folder holds only one.
        license (`str`, *optional*): Licence of the weights, as the Hub spells it. Only a model that was trained from
            scratch on the bundled benchmark has one by default, because all of it comes from this package.
        tags (`Sequence[str]`, *optional*): More tags for the Hub.

    Returns:
        `huggingface_hub.ModelCard`: The card.

    Raises:
        `ValueError`: When there are metrics without a state, or a metric is missing.

    Example:

    ```python
    >>> from drl_tvr import DRLConfig, DRLTrainingArguments
    >>> from drl_tvr.evaluation import EvaluationResult
    >>> from drl_tvr.hub import make_model_card

    >>> data, sampling = {"benchmark": "msvd", "split": "test"}, {"fps": 1, "max_frames": 12, "max_words": 32}
    >>> no_result = EvaluationResult(data, sampling, metrics={}, intervals={}, ranks={}, caption_to_video=[])
    >>> args = DRLTrainingArguments("outputs/msvd", use_cpu=True)
    >>> card = make_model_card("me/drl-msvd", DRLConfig(), args, no_result)
    >>> card.data.model_name, "**Not trained.**" in card.text
    ('drl-msvd', True)

    ```"""
    names = [f"{direction}_{metric}" for direction in DIRECTIONS for metric in METRICS]
    missing = [metric for metric in names if metric not in result.metrics]
    if result.metrics and missing:
        raise ValueError(f"`result.metrics`: found no {', '.join(missing)}, expected all of {', '.join(names)}.")
    if result.metrics and state is None:
        raise ValueError("`state`: found nothing, expected the state of the training that `result` belongs to.")
    benchmark = Path(result.data["benchmark"]).stem
    if license is None and finetuned_from is None and benchmark == "moving-shapes":
        license = "apache-2.0"
    if finetuned_from is not None and (Path(finetuned_from).exists() or not HUB_ID.fullmatch(finetuned_from)):
        finetuned_from = Path(finetuned_from).resolve().name  # its place on this machine tells others nothing
    card_data = ModelCardData(
        # No `pipeline_tag`: transformers has no pipeline that takes a text and a video.
        library_name="transformers",
        tags=list(dict.fromkeys(["text-video-retrieval", "video-retrieval", "drl", *tags])),
        license=license,
        base_model=finetuned_from if finetuned_from and HUB_ID.fullmatch(finetuned_from) else None,
        model_name=Path(name).name,
        eval_results=[hub_result(result, metric, benchmark) for metric in names] if result.metrics else None,
    )
    return ModelCard.from_template(
        card_data,
        template_path=str(TEMPLATE),
        name=name,
        benchmark=benchmark,
        config=config,
        args=args,
        result=result,
        state=state,
        train_seconds=train_seconds,
        cost=cost,
        origin=finetuned_from,
        part=finetuned_part,
        adapter=adapter,
        facts=facts or planned_facts(args, args.world_size if state else 1),
        license=license,
        directions=DIRECTIONS,
        metric_names=METRICS,
        zero_width=any("R@" in metric and low == high for metric, (low, high) in result.intervals.items()),
        device=device_name(args.device),
        software=f"torch {torch.__version__}, transformers {transformers.__version__}",
    )


def write_model_card(folder: str | os.PathLike, *args, **kwargs) -> Path:
    """Write the card as `README.md` of a folder.

    Args:
        folder (`str` or `os.PathLike`): The model's folder.
        args, kwargs: Arguments of [`~hub.make_model_card`].

    Returns:
        `Path`: The file.
    """
    path = Path(folder) / "README.md"
    make_model_card(*args, **kwargs).save(path)
    return path


def hub_result(result: EvaluationResult, metric: str, benchmark: str) -> EvalResult:
    """Return one metric in the form that the Hub shows."""
    direction, _, kind = metric.partition("_")
    return EvalResult(
        task_type="text-video-retrieval",
        task_name="Text-Video Retrieval",
        dataset_type=benchmark,
        dataset_name=benchmark,
        dataset_split=result.data["split"],
        metric_type=metric,
        metric_name=f"{DIRECTIONS[direction].replace(' ', '-')} {kind}",
        metric_value=result.metrics[metric],
    )


def device_name(device: torch.device) -> str:
    """Return the name that the maker of a device gives it, or its type where that is unknown."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type != "cpu":
        return device.type
    info = Path("/proc/cpuinfo")
    text = info.read_text(encoding="utf-8", errors="replace") if info.is_file() else ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return f"CPU ({found[1].strip() if found else platform.machine()})"


__all__ = ["AdapterFacts", "TrainingFacts", "make_model_card", "write_model_card"]
