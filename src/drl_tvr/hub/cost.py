"""Measure the cost of using a model: parameters, time per video and per query, and memory per encoded video."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from ..model.modeling_drl import DRLFeatures, DRLModel
from ..model.processing_drl import DRLProcessor


NUM_RUNS = 5
NUM_VIDEOS = 100


@dataclass(frozen=True)
class ModelCost:
    """Cost of using a model on one device, one item at a time.

    Args:
        num_parameters (`int`): Number of parameters that the model computes with, those of adapters included.
        num_frames (`int`): Number of frames of the measured video.
        ms_per_video (`float`): Milliseconds to encode one video from decoded pixels, without decoding.
        ms_per_query (`float`): Milliseconds to encode a caption of full length and score it against 100 encoded
            videos.
        bytes_per_video (`int`): Bytes of one encoded video, tokens and weights.
        dtype (`str`): Data type of the parameters.
        num_threads (`int` or `None`): Number of CPU threads; `None` on another device.
    """

    num_parameters: int
    num_frames: int
    ms_per_video: float
    ms_per_query: float
    bytes_per_video: int
    dtype: str
    num_threads: int | None


@torch.no_grad()
def measure_cost(model: DRLModel, processor: DRLProcessor) -> ModelCost:
    """Measure the cost of a model on random inputs; times are medians of five runs after a warm-up.

    Args:
        model ([`DRLModel`]): The model, already on the device and in the dtype to measure.
        processor ([`DRLProcessor`]): Its processor, which sets the number of frames and the length of a caption.

    Returns:
        [`~hub.ModelCost`]: The cost.

    Example:

    ```python
    >>> from drl_tvr import DRLModel, DRLProcessor
    >>> from drl_tvr.hub import measure_cost

    >>> folder = "outputs/moving-shapes"
    >>> cost = measure_cost(DRLModel.from_pretrained(folder), DRLProcessor.from_pretrained(folder))
    >>> cost.dtype, cost.ms_per_query > 0
    ('float32', True)
    ```"""
    was_training = model.training
    model.eval()
    try:
        return measure(model, processor)
    finally:
        model.train(was_training)


def measure(model: DRLModel, processor: DRLProcessor) -> ModelCost:
    """Measure the cost of a model in evaluation mode, without the global random numbers."""
    num_frames = processor.video_processor.max_frames or 1
    size, device = model.config.vision_config.image_size, model.device
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (1, num_frames, 3, size, size), dtype=torch.uint8, generator=generator).to(device)
    ids = torch.randint(0, len(processor.tokenizer), (1, processor.max_length), generator=generator).to(device)
    ids[:, -1] = model.config.text_config.eos_token_id
    video = model.get_video_features(pixels)
    videos = DRLFeatures(*(x.expand(NUM_VIDEOS, *x.shape[1:]) for x in (video.tokens, video.weights, video.mask)))
    return ModelCost(
        num_parameters=sum(parameter.numel() for parameter in parameters_in_use(model)),
        num_frames=num_frames,
        ms_per_video=milliseconds(lambda: model.get_video_features(pixels), device),
        ms_per_query=milliseconds(lambda: model.similarity(model.get_text_features(ids), videos), device),
        bytes_per_video=sum(x.numel() * x.element_size() for x in (video.tokens, video.weights)),
        dtype=str(model.dtype).removeprefix("torch."),
        num_threads=torch.get_num_threads() if device.type == "cpu" else None,
    )


def parameters_in_use(model: torch.nn.Module) -> list[torch.nn.Parameter]:
    """List the parameters that a model computes with: PEFT keeps a frozen copy of each module of `modules_to_save`.

    Args:
        model (`torch.nn.Module`): A [`DRLModel`], or a module that wraps one.

    Returns:
        `list[torch.nn.Parameter]`: The parameters, without those copies.
    """
    children = (dict(module.named_children()) for module in model.modules())
    copies = [parts["original_module"] for parts in children if {"original_module", "modules_to_save"} <= parts.keys()]
    unused = {id(parameter) for copy in copies for parameter in copy.parameters()}
    return [parameter for parameter in model.parameters() if id(parameter) not in unused]


def milliseconds(run: Callable[[], object], device: torch.device) -> float:
    """Return the median duration of a call."""
    times = []
    for _ in range(NUM_RUNS + 1):
        start = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times[1:])


__all__ = ["ModelCost", "measure_cost"]
