"""Check that a processor fits a model."""

import math
from collections.abc import Sequence

from ..data.loading import VideoDataset
from ..model.encoders import DRLBlockStack
from ..model.modeling_drl import DRLModel
from ..model.processing_drl import DRLProcessor
from ..model.video_processing_drl import DRLVideoProcessor


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
    if video_processor.max_frames is not None:
        found = ("video processor", "max_frames", video_processor.max_frames)
        limits += [(*found, field, most) for field, most in frame_limits(model).items()]
    for owner, name, found, field, most in limits:
        if found > most:
            raise ValueError(f"The {owner} has `{name}`: found {found}, expected at most {most} by `{field}`.")
    check_frame_size(video_processor, model.config.vision_config.image_size)


def check_frame_size(video_processor: DRLVideoProcessor, image_size: int) -> None:
    """Refuse settings that do not make, of the frames of every video, the squares that the vision tower takes.

    Raises:
        `ValueError`: When frames of some videos would have another size, or a border where they are too small to crop.
    """
    square = {"height": image_size, "width": image_size}
    size, crop_size = (
        {side: pixels for side, pixels in dict(sides or {}).items() if pixels is not None}
        for sides in (video_processor.size, video_processor.crop_size)
    )
    by = "by the model's `vision_config.image_size`"
    if video_processor.do_center_crop:
        if crop_size != square:
            raise ValueError(f"The video processor has `crop_size`: found {crop_size}, expected {square}, {by}.")
        covers = size.keys() in ({"shortest_edge"}, {"height", "width"}) and min(size.values()) >= image_size
        if video_processor.do_resize and not covers:
            raise ValueError(
                f"The video processor has `size`: found {size}, expected a `shortest_edge`, or `height` and `width`, "
                f"of at least {image_size}, {by}."
            )
    elif not video_processor.do_resize:
        raise ValueError(
            "The video processor has `do_resize` and `do_center_crop`: found False for both, expected frames of "
            f"{image_size} x {image_size} pixels of every video, {by}."
        )
    elif size != square:
        raise ValueError(
            f"The video processor has `size`: found {size} and `do_center_crop=False`, expected {square}, {by}."
        )


def frame_limits(model: DRLModel) -> dict[str, int]:
    """Return the largest numbers of frames that the model has positions for, by the fields that set them."""
    blocks = (x for x in (model.temporal_encoder, model.cross_transformer) if isinstance(x, DRLBlockStack))
    return {
        f"{module.config.base_config_key}.max_position_embeddings": (
            module.config.max_position_embeddings - module.num_text_tokens
        )
        for module in blocks
    }


def most_frames(model: DRLModel, processor: DRLProcessor) -> int | None:
    """Return the largest number of frames per video that the processor makes and the model takes, if there is one."""
    limits = [*frame_limits(model).values(), processor.video_processor.max_frames]
    return min((limit for limit in limits if limit is not None), default=None)


def check_num_frames(model: DRLModel, videos: VideoDataset, video_ids: Sequence[str] | None = None) -> None:
    """Refuse decoded videos of more frames than the model has positions for, before any is encoded.

    Args:
        model ([`DRLModel`]): The model.
        videos ([`~data.loading.VideoDataset`]): The videos, which may have been decoded without a `max_frames`.
        video_ids (`Sequence[str]`, *optional*): Their ids, for the message; by default their rows.

    Raises:
        `ValueError`: When a video is too long; the message names it.
    """
    for field, most in frame_limits(model).items():
        for row in range(len(videos)):
            if (found := videos.num_frames(row)) > most:
                raise ValueError(
                    f"Video {row if video_ids is None else video_ids[row]}: found {found} frames, expected at most "
                    f"{most} by `{field}`: set `max_frames` of the video processor."
                )


__all__ = ["check_num_frames", "check_processor", "most_frames"]
