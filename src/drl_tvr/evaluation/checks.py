"""Check that a processor fits a model."""

import math

from ..model.modeling_drl import DRLModel
from ..model.processing_drl import DRLProcessor


def check_processor(model: DRLModel, processor: DRLProcessor) -> None:
    """Refuse a processor that does not fit the model.

    The model receives stored uint8 pixels and normalises them itself. Where padding takes part in a score, the amount
    of padding of an item must not depend on the rest of its batch.

    Args:
        model ([`DRLModel`]): The model.
        processor ([`DRLProcessor`]): Its processor.

    Raises:
        `ValueError`: When a field of the processor contradicts the configuration of the model.
    """
    video_processor = processor.video_processor
    pads = processor.pad_to_max_length and video_processor.pad_to_max_frames
    if model.config.padding_takes_part and not pads:
        raise ValueError(
            f"The processor has `pad_to_max_length`: found {processor.pad_to_max_length}, and `pad_to_max_frames`: "
            f"found {video_processor.pad_to_max_frames}, expected True for both, because padding takes part in the "
            "scores of a model with `padding_similarity='zero'`."
        )
    for name in ("do_rescale", "do_normalize"):
        if not getattr(video_processor, name):
            raise ValueError(f"The video processor has `{name}`: found False, expected True, as the model does it.")
    found = {"rescale_factor": [video_processor.rescale_factor]}
    expected = {"rescale_factor": [1 / 255]}
    for name in ("image_mean", "image_std"):
        found[name], expected[name] = list(getattr(video_processor, name)), getattr(model.config, name)
    for name in expected:
        if not all(math.isclose(a, b, rel_tol=1e-6) for a, b in zip(found[name], expected[name], strict=True)):
            raise ValueError(
                f"The video processor has `{name}`: found {found[name]}, expected {expected[name]}, as the model's "
                "configuration says."
            )


__all__ = ["check_processor"]
