"""The model card of a trained model, written from what the run knows."""

import platform
from pathlib import Path

import torch
import transformers
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from ..modeling_drl import DRLModel
from ..training.arguments import DRLTrainingArguments


TEMPLATE = Path(__file__).parent / "model_card.md.j2"
METRICS = ("R@1", "R@5", "R@10", "MdR", "MnR")


def write_model_card(
    model: DRLModel,
    args: DRLTrainingArguments,
    metrics: dict[str, float],
    benchmark: str,
    num_captions: int,
    num_videos: int,
    steps: int,
    chosen_on: str = "validation",
    protocol: str = "",
    expected_videos: int | None = None,
    clip: str | None = None,
) -> Path:
    """Write `README.md` into the output folder.

    Args:
        model ([`DRLModel`]): The trained model.
        args ([`DRLTrainingArguments`]): The recipe.
        metrics (`dict[str, float]`): Of the test split, named as [`evaluate_retrieval`] names them.
        benchmark (`str`): Name of the benchmark.
        num_captions, num_videos (`int`): Size of the test split.
        steps (`int`): Training steps made.
        chosen_on (`str`, *optional*, defaults to `"validation"`): The split that chose the checkpoint.
        protocol (`str`, *optional*): Whose published results those here compare with.
        expected_videos (`int`, *optional*): Videos of the complete test split.
        clip (`str`, *optional*): The CLIP checkpoint that training started from.

    Returns:
        `Path`: The file.
    """
    name = Path(args.output_dir).name
    card_data = ModelCardData(
        library_name="transformers",
        pipeline_tag="feature-extraction",
        tags=["text-video-retrieval", "drl"],
        base_model=clip,
        model_name=name,
        eval_results=[
            EvalResult(
                task_type="text-video-retrieval",
                dataset_type=benchmark,
                dataset_name=benchmark,
                dataset_split="test",
                metric_type=f"{direction}_{metric}",
                metric_value=metrics[f"{direction}_{metric}"],
            )
            for direction in ("t2v", "v2t")
            for metric in METRICS
        ],
    )
    device = args.device
    card = ModelCard.from_template(
        card_data,
        template_path=str(TEMPLATE),
        benchmark=benchmark,
        config=model.config,
        parameters=f"{model.num_parameters():,}",
        metrics=metrics,
        num_captions=num_captions,
        num_videos=num_videos,
        chosen_on=chosen_on,
        protocol=protocol,
        expected_videos=expected_videos,
        args=args,
        steps=steps,
        batch_size=args.per_device_train_batch_size * args.world_size,
        clip=clip,
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU ({platform.machine()})",
        torch_version=torch.__version__,
        transformers_version=transformers.__version__,
    )
    path = Path(args.output_dir) / "README.md"
    card.save(path)
    return path


__all__ = ["write_model_card"]
