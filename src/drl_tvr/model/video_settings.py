"""Check the settings of a [`DRLVideoProcessor`], which may come from a file."""

from numbers import Integral

import torch
from transformers.image_utils import SizeDict

from .frame_sampling import check_sampling, is_number


LONGEST_SIDES = {"size": 2**16, "crop_size": 2**12}
SIDES = {
    "size": (("shortest_edge",), ("height", "width"), ("max_height", "max_width")),
    "crop_size": (("height", "width"),),
}
SWITCH_OF = {
    "size": "do_resize",
    "resample": "do_resize",
    "crop_size": "do_center_crop",
    "rescale_factor": "do_rescale",
    "image_mean": "do_normalize",
    "image_std": "do_normalize",
}
# Numbers of PIL, and names of torchvision. Tensors cannot be resized by the others.
RESAMPLES = (0, 1, 2, 3, "nearest", "nearest-exact", "bilinear", "bicubic")
SWITCHES = (
    "do_resize",
    "do_center_crop",
    "do_rescale",
    "do_normalize",
    "do_convert_rgb",
    "do_sample_frames",
    "allow_truncated",
    "pad_to_max_frames",
)


def check_arguments(processor_class: type, arguments: dict) -> None:
    """Check the names of a video processor's arguments, and the forms of its sizes, which transformers converts.

    Args:
        processor_class (`type`): Class of the processor.
        arguments (`dict`): The arguments.

    Raises:
        `ValueError`: When one is called like a part of the class that is not a setting, or has an invalid form.
    """
    for key, value in arguments.items():
        if key not in processor_class.valid_kwargs.__annotations__ and hasattr(processor_class, key):
            raise ValueError(f"`{key}`: found {value!r}, expected no setting of this name.")
    for key in LONGEST_SIDES:
        if not isinstance(arguments.get(key), int | list | tuple | dict | SizeDict | None):
            raise ValueError(f"`{key}`: found {arguments[key]!r}, expected a number of pixels, two, or a mapping.")


def check_fields(fields: dict) -> None:
    """Check the settings of a video processor.

    Raises:
        `ValueError`: When one has an invalid value; the message names it.
    """
    check_sampling(fields["fps"], fields["max_frames"])
    for key in SWITCHES:
        if not isinstance(fields[key], bool | None):
            raise ValueError(f"`{key}`: found {fields[key]!r}, expected True or False.")
    if fields["pad_to_max_frames"] and fields["max_frames"] is None:
        raise ValueError(
            "`pad_to_max_frames`: found True and `max_frames=None`, expected a number of frames to pad to."
        )
    if fields["num_frames"] is not None:
        raise ValueError(f"`num_frames`: found {fields['num_frames']!r}, expected `max_frames` instead.")
    for key, switch in SWITCH_OF.items():
        if fields[switch] and fields[key] is None:
            raise ValueError(f"`{key}`: found None, expected a value, or `{switch}=False`.")
    resample = getattr(fields["resample"], "value", fields["resample"])  # of PIL's and torchvision's enumerations
    if fields["do_resize"] and (isinstance(resample, bool) or resample not in RESAMPLES):
        raise ValueError(f"`resample`: found {resample!r}, expected one of {', '.join(map(str, RESAMPLES))}.")
    for key, longest in LONGEST_SIDES.items():
        sides = {side: length for side, length in dict(fields[key] or {}).items() if length is not None}
        for side, length in sides.items():
            if not (isinstance(length, Integral) and not isinstance(length, bool) and 1 <= length <= longest):
                raise ValueError(f"`{key}`: found {side} {length!r}, expected 1 to {longest} pixels.")
        if fields[SWITCH_OF[key]] and not any(sides.keys() >= set(known) for known in SIDES[key]):
            raise ValueError(f"`{key}`: found {sides}, expected {' or '.join(map(' and '.join, SIDES[key]))}.")
    for key in ("image_mean", "image_std"):
        values = fields[key] if isinstance(fields[key], list | tuple) else [fields[key]] * 3
        if fields[key] is not None and not (len(values) == 3 and all(map(is_number, values))):
            raise ValueError(f"`{key}`: found {fields[key]!r}, expected a number, or one for each of 3 channels.")
        if key == "image_std" and fields[key] is not None and min(values) <= 0:
            raise ValueError(f"`{key}`: found {fields[key]!r}, expected numbers above 0.")
    try:
        torch.device(fields["device"] or "cpu")
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"`device`: found {fields['device']!r}, expected a device of torch.") from error
    factor = fields["rescale_factor"]
    if factor is not None and not (is_number(factor) and factor != 0):
        raise ValueError(f"`rescale_factor`: found {factor!r}, expected a number other than 0.")


__all__ = ["check_arguments", "check_fields"]
