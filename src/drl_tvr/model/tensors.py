"""Rules that hold for the tensors of every step after the towers: their precision and their masks."""

from collections.abc import Callable
from functools import wraps

import torch
from torch import nn
from transformers.utils.generic import maybe_autocast


def at_least_float32(tensor: torch.Tensor) -> torch.Tensor:
    """Convert half precision to float32; float32 and float64 stay as they are.

    Args:
        tensor (`torch.Tensor`): Any floating point tensor.

    Returns:
        `torch.Tensor`: The same numbers, in float32 or float64.
    """
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def dtype_of(module: nn.Module) -> torch.dtype:
    """Return the type that a module computes in: of its parameters, or float32 where quantisation packed them away."""
    return next((parameter.dtype for parameter in module.parameters()), torch.float32)


def without_autocast(method: Callable) -> Callable:
    """Decorate a method of encoded texts and videos so that it runs outside mixed precision.

    Mixed precision is for the encoders: bfloat16 rounds a cosine to 1/256, which reorders candidates.

    Args:
        method (`Callable`): A method whose first argument holds `tokens`, as `DRLFeatures` does.

    Returns:
        `Callable`: The same method, in the precision of its inputs.
    """

    @wraps(method)
    def without(self, text, *args, **kwargs):
        with maybe_autocast(text.tokens.device.type, enabled=False):
            return method(self, text, *args, **kwargs)

    return without


def mask_up_to_end(input_ids: torch.Tensor, end: int) -> torch.Tensor:
    """Mark the tokens up to the first end of each text, found as CLIP finds it; all tokens where there is none.

    Args:
        input_ids (`torch.Tensor` of shape `(num_texts, num_tokens)`): Token ids.
        end (`int`): Id of the end. Configurations from before transformers 4.30 say 2; it then is the highest id.

    Returns:
        `torch.Tensor` of shape `(num_texts, num_tokens)`: 1 up to the end, 0 after it.
    """
    is_end = (input_ids == (input_ids.amax(dim=1, keepdim=True) if end == 2 else end)).long()
    return (is_end.cumsum(dim=1) - is_end == 0).long()


def check_mask(mask_name: str, mask: torch.Tensor, masked_name: str, shape: torch.Size) -> None:
    """Refuse a mask of the wrong shape, or an item without a real token.

    Args:
        mask_name (`str`): Name of the mask, for the message.
        mask (`torch.Tensor` of shape `(num_items, num_tokens)`): 1 for real tokens, 0 for padding.
        masked_name (`str`): Name of what is masked, for the message.
        shape (`torch.Size`): Items and tokens of what is masked.

    Raises:
        `ValueError`: When the shapes differ, or a row of the mask is 0 everywhere.
    """
    if tuple(mask.shape) != tuple(shape):
        raise ValueError(
            f"`{mask_name}`: found shape {tuple(mask.shape)}, expected {tuple(shape)} to go with `{masked_name}`."
        )
    if torch.compiler.is_compiling():  # also true in torch.export: a graph does not depend on the values
        return
    empty = ~mask.bool().any(dim=-1)
    if empty.any():
        row = int(empty.nonzero()[0])
        raise ValueError(f"`{mask_name}`: found only zeros in row {row}, expected at least one 1 per row.")


__all__ = ["at_least_float32", "check_mask", "dtype_of", "mask_up_to_end", "without_autocast"]
