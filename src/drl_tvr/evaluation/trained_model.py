"""Load a trained model, and refuse a checkpoint that leaves weights at random."""

import math
import os
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from transformers.utils import CONFIG_NAME

from ..model.configuration_drl import DRLConfig
from ..model.modeling_drl import DRLModel
from ..model.own_files import read_mapping


def load_trained(name_or_path: str | os.PathLike, device: str | torch.device = "cpu") -> DRLModel:
    """Load a model whose checkpoint holds exactly the weights that its configuration needs.

    `from_pretrained` only warns when weights are missing, and fills them with random numbers; the scores of such a
    model look like scores. Nothing is downloaded for a folder.

    Args:
        name_or_path (`str` or `os.PathLike`): A checkpoint folder, or the name of a repository on the Hub.
        device (`str` or `torch.device`, *optional*, defaults to `"cpu"`): Device of the model.

    Returns:
        [`DRLModel`]: The model, in evaluation mode.

    Raises:
        `ValueError`: When the device or the configuration is invalid, weights are damaged, missing, unknown to the
            configuration or of another shape than it says, or the logit scale is infinite.
        `OSError`: When there is no checkpoint.

    Example:

    ```python
    >>> from drl_tvr.evaluation.trained_model import load_trained

    >>> load_trained("outputs/moving-shapes").training
    False
    ```"""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch without CUDA raises an AssertionError
        raise ValueError(f"`device`: found {device!r}, expected a device that torch can use: {error}.") from error
    try:
        if os.path.isdir(name_or_path):
            check_files(Path(name_or_path))
        model, report = DRLModel.from_pretrained(
            name_or_path,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            local_files_only=os.path.isdir(name_or_path),
        )
    except (ValueError, RuntimeError, SafetensorError) as error:
        raise ValueError(f"{name_or_path} cannot be loaded: {error}") from error
    for kind, found in (
        ("missing_keys", "missing"),
        ("unexpected_keys", "unknown to config.json"),
        ("mismatched_keys", "of another shape than config.json says"),
    ):
        if report[kind]:
            example = min(map(str, report[kind]))
            raise ValueError(
                f"{name_or_path} is not a trained DRL model: found weights that are {found} ({len(report[kind])}, "
                f"e.g. {example}), expected exactly the weights of config.json."
            )
    if not model.logit_scale.exp().isfinite():
        raise ValueError(
            f"{name_or_path}: `logit_scale`: found {model.logit_scale.item()}, expected a logarithm whose exponential "
            "is finite."
        )
    return model.to(device)


def check_files(folder: Path) -> None:
    """Refuse a folder whose configuration or weights are damaged, or whose model is far larger than its weights.

    Args:
        folder (`Path`): A checkpoint folder.

    Raises:
        `ValueError`: When a file is not what its name says, or the configuration describes too large a model.
        `OSError`: When there is no config.json, or it cannot be read.
    """
    files, place = sorted(folder.glob("model*.safetensors")), folder / CONFIG_NAME
    if not files:
        return  # transformers says which file is missing
    if not place.is_file():
        raise FileNotFoundError(f"{place}: found no file, expected the configuration of a trained model.")
    read_mapping(place)
    shapes = [shape for file in files for shape in stored_shapes(file)]
    try:
        with torch.device("meta"):
            size = sum(weight.numel() for weight in DRLModel(DRLConfig.from_pretrained(folder)).parameters())
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from error
    # Values that transformers does not check fail as these while the model is built.
    except (AttributeError, KeyError, TypeError, ZeroDivisionError) as error:
        raise ValueError(f"{place}: found a value that no model can have ({error!r}).") from error
    stored = sum(map(math.prod, shapes))
    if size > 2 * stored:  # a few missing weights are named by `load_trained`
        raise ValueError(f"{place}: found a model of {size:,} parameters, expected the {stored:,} of the weights.")


def stored_shapes(file: Path) -> list[list[int]]:
    """Return the shapes of the tensors in a safetensors file.

    Raises:
        `ValueError`: When the file is not whole.
    """
    try:
        with safe_open(file, "pt") as stored:
            return [stored.get_slice(name).get_shape() for name in stored.keys()]
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{file}: found no whole file ({error}), expected the weights of the model.") from error


__all__ = ["load_trained"]
