"""Load a trained model, and refuse a checkpoint that leaves weights at random."""

import os

import torch
from safetensors import SafetensorError

from ..model.modeling_drl import DRLModel


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


__all__ = ["load_trained"]
