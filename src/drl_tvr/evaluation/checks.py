"""Check that a processor fits a model."""

import math

from ..model.encoders import DRLBlockStack
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
    check_sizes(model, processor)


def check_sizes(model: DRLModel, processor: DRLProcessor) -> None:
    """Refuse captions, videos and frames that are too large for the model, before any video is decoded.

    Args:
        model ([`DRLModel`]): The model.
        processor ([`DRLProcessor`]): Its processor.

    Raises:
        `ValueError`: When the processor can make inputs that the model has no positions, pixels or entries for.
    """
    video_processor, text_config = processor.video_processor, model.config.text_config
    limits = [
        ("processor", "len(tokenizer)", len(processor.tokenizer), "text_config.vocab_size", text_config.vocab_size),
        (
            *("processor", "max_length", processor.max_length),
            *("text_config.max_position_embeddings", text_config.max_position_embeddings),
        ),
    ]
    for module in (model.temporal_encoder, model.cross_transformer):
        if isinstance(module, DRLBlockStack) and video_processor.max_frames is not None:
            field = f"{module.config.base_config_key}.max_position_embeddings"
            most = module.config.max_position_embeddings - module.num_text_tokens
            limits.append(("video processor", "max_frames", video_processor.max_frames, field, most))
    for owner, name, found, field, most in limits:
        if found > most:
            raise ValueError(f"The {owner} has `{name}`: found {found}, expected at most {most} by `{field}`.")
    image_size = model.config.vision_config.image_size
    cropped = video_processor.do_center_crop
    name = "crop_size" if cropped else "size"
    sides = dict(getattr(video_processor, name)) if cropped or video_processor.do_resize else {}
    for side, pixels in sides.items():
        if pixels is not None and pixels != image_size:
            raise ValueError(
                f"The video processor has `{name}`: found the {side} {pixels}, expected {image_size}, the model's "
                "`vision_config.image_size`."
            )


__all__ = ["check_processor"]
