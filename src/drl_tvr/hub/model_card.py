"""The model card: what a run knows of its model, in a form that people and the Hub read."""

import os
import platform
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from transformers import TrainingArguments

from ..evaluation.metrics import DIRECTIONS, METRICS
from ..model.configuration_drl import DRLConfig
from ..model.processing_drl import DRLProcessor
from .cost import ModelCost


TEMPLATE = Path(__file__).parent / "model_card.md.j2"
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def make_model_card(
    name: str,
    config: DRLConfig,
    args: TrainingArguments,
    sampling: dict[str, Any],
    provenance: dict[str, Any],
    *,
    steps: int | None = None,
    kept_step: int | None = None,
    train_seconds: float | None = None,
    metrics: dict[str, float] | None = None,
    intervals: dict[str, tuple[float, float]] | None = None,
    chosen_on: str | None = "validation",
    score_normalization: str = "none",
    clip: str | None = None,
    cost: ModelCost | None = None,
    license: str | None = None,
    tags: Sequence[str] = (),
) -> ModelCard:
    """Make the card of a model, or of a recipe that no run has filled.

    What is not given is missing in the card, and the card says so.

    Args:
        name (`str`): Where the model is: a folder or a name on the Hub.
        config ([`DRLConfig`]): The model's configuration.
        args ([`DRLTrainingArguments`]): The recipe.
        sampling (`dict`): `fps`, `max_frames` and `max_words`, see [`~hub.sampling_of`].
        provenance (`dict`): Of the split of the results, as [`RetrievalData`] gives it.
        steps (`int`, *optional*): Training steps made; without them the card says that nothing was trained.
        kept_step (`int`, *optional*): The step of the checkpoint that was kept, where one was chosen.
        train_seconds (`float`, *optional*): Duration of the training.
        metrics (`dict[str, float]`, *optional*): Named as [`evaluate_retrieval`] names them.
        intervals (`dict[str, tuple[float, float]]`, *optional*): 95 % interval of a metric, by the same names.
        chosen_on (`str`, *optional*, defaults to `"validation"`): The split that chose the checkpoint; `None` when it
            is the last one.
        score_normalization (`str`, *optional*, defaults to `"none"`): What was done to the scores before ranking.
        clip (`str`, *optional*): The checkpoint that training started from, a name on the Hub or a folder.
        cost ([`~hub.ModelCost`], *optional*): Measured.
        license (`str`, *optional*): The weights' licence, as the Hub spells it. Known by itself only for a model from
            scratch on the bundled benchmark, where all is this package's.
        tags (`Sequence[str]`, *optional*): More tags for the Hub.

    Returns:
        `huggingface_hub.ModelCard`: The card.

    Raises:
        `ValueError`: For results without training, or a metric that is missing.
    """
    trained = steps is not None
    if metrics is not None and not trained:
        raise ValueError("`metrics` without `steps`: a recipe that no run has filled has no results.")
    missing = [x for x in metric_names() if metrics is not None and x not in metrics]
    if missing:
        raise ValueError(f"`metrics` has no {', '.join(missing)}; it has {', '.join(sorted(metrics))}.")
    benchmark = Path(provenance["benchmark"]).stem
    if license is None and clip is None and benchmark == "moving-shapes":
        license = "apache-2.0"
    if clip is not None and Path(clip).exists():
        clip = Path(clip).resolve().name  # its place on this machine tells others nothing
    device = args.device

    def cell(metric: str) -> str:
        value = f"{metrics[metric]:.1f}"
        low, high = (intervals or {}).get(metric, (None, None))
        return value if low is None else f"{value} ({low:.1f} to {high:.1f})"

    card_data = ModelCardData(
        library_name="transformers",
        pipeline_tag="feature-extraction",
        tags=list(dict.fromkeys(["text-video-retrieval", "video-retrieval", "drl", *tags])),
        license=license,
        base_model=clip if clip and HUB_ID.fullmatch(clip) else None,
        model_name=Path(name).name,
        eval_results=model_index(benchmark, provenance["split"], metrics) if metrics else None,
    )
    return ModelCard.from_template(
        card_data,
        template_path=str(TEMPLATE),
        title=f"DRL on {benchmark}",
        name=name,
        benchmark=benchmark,
        config=config,
        args=args,
        sampling=sampling,
        provenance=provenance,
        trained=trained,
        steps=steps,
        kept_step=kept_step,
        train_seconds=train_seconds,
        metrics=metrics,
        intervals=intervals,
        no_width=any("R@" in metric and low == high for metric, (low, high) in (intervals or {}).items()),
        cell=cell,
        chosen_on=chosen_on,
        score_normalization=score_normalization,
        clip=clip,
        cost=cost,
        license=license,
        batch_size=args.per_device_train_batch_size * (args.world_size if trained else 1),
        schedule=getattr(args.lr_scheduler_type, "value", args.lr_scheduler_type),
        hardware=f"{args.world_size} x {device_name(device)}",
        software=f"torch {torch.__version__}, transformers {transformers.__version__}",
    )


def write_model_card(folder: str | os.PathLike, *args, **kwargs) -> Path:
    """Write the card as `README.md` of a folder.

    Args:
        folder (`str` or `os.PathLike`): The model's folder.
        args, kwargs: See [`~hub.make_model_card`].

    Returns:
        `Path`: The file.
    """
    path = Path(folder) / "README.md"
    make_model_card(*args, **kwargs).save(path)
    return path


def metric_names() -> list[str]:
    """The metrics of the table."""
    return [f"{direction}_{metric}" for direction in DIRECTIONS for metric in METRICS]


def model_index(benchmark: str, split: str, metrics: dict[str, float]) -> list[EvalResult]:
    """The results as the Hub shows them."""
    return [
        EvalResult(
            task_type="text-video-retrieval",
            task_name="Text-Video Retrieval",
            dataset_type=benchmark,
            dataset_name=benchmark,
            dataset_split=split,
            metric_type=metric,
            metric_name=f"{metric[:3].replace('t2v', 'text-to-video').replace('v2t', 'video-to-text')} {metric[4:]}",
            metric_value=metrics[metric],
        )
        for metric in metric_names()
    ]


def sampling_of(processor: DRLProcessor) -> dict[str, Any]:
    """How a processor cuts videos and captions: `fps`, `max_frames`, `max_words`."""
    video_processor = processor.video_processor
    return {
        "fps": video_processor.fps,
        "max_frames": video_processor.max_frames,
        "max_words": processor.max_length,
    }


def device_name(device: torch.device) -> str:
    """A device as its maker calls it, where that can be known."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type != "cpu":
        return device.type
    info = Path("/proc/cpuinfo")
    text = info.read_text(encoding="utf-8", errors="replace") if info.is_file() else ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return f"CPU ({found[1].strip() if found else platform.machine()})"


__all__ = ["make_model_card", "sampling_of", "write_model_card"]
