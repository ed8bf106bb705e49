"""Load a trained model of which no weight is random."""

import os

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

from ..model.modeling_drl import DRLModel


def load_trained(
    name_or_path: str | os.PathLike, device: str | torch.device = "cpu", local_files_only: bool = False
) -> DRLModel:
    """Load a model, and refuse weights that are not those of its configuration.

    `from_pretrained` gives random values to weights that a checkpoint lacks, and leaves out those that it has besides.

    Args:
        name_or_path (`str` or `os.PathLike`): A folder, or a name on the Hub.
        device (`str` or `torch.device`, *optional*, defaults to `"cpu"`): The device of the model.
        local_files_only (`bool`, *optional*, defaults to `False`): Whether to load without the network.

    Returns:
        [`DRLModel`]: The model, in evaluation mode.

    Raises:
        `OSError`: When there is no checkpoint.
        `ValueError`: When the checkpoint does not load, weights are missing, left over or of another shape than
            config.json says, or the device is not usable.

    Example:

    ```python
    >>> from drl_tvr.evaluation import load_trained

    >>> model = load_trained("outputs/moving-shapes")
    >>> model.training
    False

    ```"""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
        raise ValueError(f"`device`: found {device!r}, expected a device that torch can use: {error}") from error
    try:
        model, report = DRLModel.from_pretrained(
            name_or_path, output_loading_info=True, ignore_mismatched_sizes=True, local_files_only=local_files_only
        )
    except (RuntimeError, SafetensorError, StrictDataclassError) as error:
        raise ValueError(
            f"{name_or_path}: found a checkpoint that does not load, expected a DRL model: {error}"
        ) from error
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if report[kind]:
            first = sorted(map(str, report[kind]))[0]
            raise ValueError(
                f"{name_or_path}: the weights are not those of config.json: found {len(report[kind])} "
                f"{kind.replace('_', ' ')}, e.g. {first}, expected none."
            )
    return model.eval().to(device)


__all__ = ["load_trained"]
