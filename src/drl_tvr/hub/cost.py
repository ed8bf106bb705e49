"""What a model costs to use, measured on its device, in its dtype, at the lengths that its processor allows."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from ..model.modeling_drl import DRLFeatures, DRLModel
from ..model.processing_drl import DRLProcessor


REPEATS = 5
NUM_VIDEOS = 100  # that a query is compared with


@dataclass(frozen=True)
class ModelCost:
    """Cost of a model, on one device, one item at a time.

    Args:
        num_parameters (`int`): Numbers that the model holds.
        num_frames (`int`): Frames of the clip that was measured.
        ms_per_clip (`float`): Milliseconds to encode it from decoded pixels; decoding is not in it.
        ms_per_query (`float`): Milliseconds to encode a caption of full length and score it with 100 encoded clips.
        bytes_per_video (`int`): Bytes of an encoded clip, tokens and weights.
        dtype (`str`): Of the weights.
        num_threads (`int`, *optional*): CPU threads; `None` on another device.
    """

    num_parameters: int
    num_frames: int
    ms_per_clip: float
    ms_per_query: float
    bytes_per_video: int
    dtype: str
    num_threads: int | None


@torch.no_grad()
def measure_cost(model: DRLModel, processor: DRLProcessor) -> ModelCost:
    """Measure a model; medians of five runs after one that is not counted.

    Args:
        model ([`DRLModel`]): On the device and in the dtype that are meant.
        processor ([`DRLProcessor`]): Says how many frames and words there may be.

    Returns:
        [`~hub.ModelCost`]: The figures.
    """
    was_training = model.training
    model.eval()
    num_frames = processor.video_processor.max_frames or 1
    size, device = model.config.vision_config.image_size, model.device
    pixels = torch.randint(0, 256, (1, num_frames, 3, size, size), dtype=torch.uint8, device=device)
    ids = torch.randint(0, len(processor.tokenizer), (1, processor.max_length), device=device)
    ids[:, -1] = model.config.text_config.eos_token_id
    video = model.get_video_features(pixels)
    videos = DRLFeatures(*(x.expand(NUM_VIDEOS, *x.shape[1:]) for x in (video.tokens, video.weights, video.mask)))
    cost = ModelCost(
        num_parameters=model.num_parameters(),
        num_frames=num_frames,
        ms_per_clip=milliseconds(lambda: model.get_video_features(pixels), device),
        ms_per_query=milliseconds(lambda: model.similarity(model.get_text_features(ids), videos), device),
        bytes_per_video=sum(x.numel() * x.element_size() for x in (video.tokens, video.weights)),
        dtype=str(model.dtype).removeprefix("torch."),
        num_threads=torch.get_num_threads() if device.type == "cpu" else None,
    )
    model.train(was_training)
    return cost


def milliseconds(run: Callable[[], object], device: torch.device) -> float:
    """Median duration of a call."""
    times = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times[1:])


__all__ = ["ModelCost", "measure_cost"]
