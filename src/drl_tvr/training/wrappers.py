"""Find a model, and the names of its parameters, inside `torch.compile`, PEFT and other wrappers."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from transformers import Trainer
from transformers.utils import logging

from ..model.modeling_drl import DRLModel


logger = logging.get_logger(__name__)

# What wrappers add to the name of a parameter: `torch.compile`, DistributedDataParallel and DataParallel, checkpointed
# modules, PEFT around a model, around a layer that it adapts, and around a module of `modules_to_save`.
ADDED_PARTS = re.compile(
    r"(?:^|(?<=\.))"
    r"(?:_orig_mod|module|_fsdp_wrapped_module|_checkpoint_wrapped_module|base_model\.model|base_layer|original_module)\."
)


def find_drl_model(model: torch.nn.Module) -> DRLModel:
    """Find the DRL model inside its wrappers.

    Args:
        model (`torch.nn.Module`): A [`DRLModel`], or a module that wraps one.

    Returns:
        [`DRLModel`]: The model; adapters stay in it.

    Raises:
        `TypeError`: When it is not a DRL model.
    """
    modules = model.modules() if isinstance(model, torch.nn.Module) else ()
    found = next((module for module in modules if isinstance(module, DRLModel)), None)
    if found is None:
        raise TypeError(f"`model`: found a {type(model).__name__}, expected a DRLModel.")
    return found


def without_parallel(model: torch.nn.Module) -> torch.nn.Module:
    """Remove DataParallel and DistributedDataParallel, since `Trainer` wraps the model as its processes need it."""
    while isinstance(model, (torch.nn.DataParallel, torch.nn.parallel.DistributedDataParallel)):
        model = model.module
    return model


def check_parts(model: torch.nn.Module) -> None:
    """Refuse a model with a part in a wrapper that changes the names of its weights: loading needs them.

    Args:
        model (`torch.nn.Module`): A [`DRLModel`], or a module that wraps one.

    Raises:
        `TypeError`: When it is not a DRL model.
        `ValueError`: When a part, or the model inside a `PeftModel`, is in `torch.compile` or DataParallel; the
            message names it.
    """
    own = find_drl_model(model)
    for name, module in model.named_modules():
        last = name.rpartition(".")[2]
        if last in ("_orig_mod", "module") and "base_model." in name and module is own:
            raise ValueError(
                "`model`: found a PeftModel of a model in a wrapper, expected one of the DRLModel itself, because the "
                "adapter would be saved under other names. Wrap it last: "
                "`torch.compile(get_peft_model(model, config))`."
            )
    for name, _ in own.named_modules():
        part, _, last = name.rpartition(".")
        if last in ("_orig_mod", "module"):
            raise ValueError(
                f"`model`: found `{part}` in a wrapper, expected the module itself, because its weights would be "
                f"saved under other names. `model.{part}.compile()` compiles it in place, `torch.compile(model)` all."
            )


def inside_wrapper(model: torch.nn.Module) -> torch.nn.Module:
    """Return what is saved of a wrapped model: a [`DRLModel`] or the `PeftModel` around it."""
    return next(module for module in model.modules() if hasattr(type(module), "save_pretrained"))


def warn_of_unsaved_base(model: torch.nn.Module) -> None:
    """Warn when a run would save a PEFT adapter alone, and no checkpoint holds the model that it belongs to.

    Args:
        model (`torch.nn.Module`): A [`DRLModel`], or a module that wraps one.
    """
    if hasattr(inside_wrapper(model), "peft_config") and find_drl_model(model).loaded_from is None:
        logger.warning(
            "`model`: found a PEFT adapter of a model that was not loaded from a checkpoint, expected one that was; "
            "only the adapter is saved. Before the adapter is added: `model.save_pretrained(BASE)` and "
            "`model = DRLModel.from_pretrained(BASE)`."
        )


@contextmanager
def without_wrapper(trainer: Trainer) -> Iterator[None]:
    """Let a trainer save or load what is inside the wrapper of its model: a [`DRLModel`] or the `PeftModel` around it.

    `torch.compile` and other wrappers change the names of the weights, so `from_pretrained` would not find them.
    """
    wrapped = trainer.model
    trainer.model = inside_wrapper(wrapped)
    try:
        yield
    finally:
        trainer.model = wrapped


def plain_name(name: str) -> str:
    """Remove what wrappers add to the name of a parameter.

    Args:
        name (`str`): Name of a parameter of a wrapped model.

    Returns:
        `str`: Name of the parameter in a [`DRLModel`]; a parameter of an adapter keeps a name of its own.

    Example:

    ```python
    >>> from drl_tvr.training.wrappers import plain_name

    >>> plain_name("_orig_mod.module.logit_scale")
    'logit_scale'
    >>> plain_name("base_model.model.text_projection.base_layer.weight")
    'text_projection.weight'
    >>> plain_name("base_model.model.text_projection.lora_A.default.weight")
    'text_projection.lora_A.default.weight'

    ```"""
    return ADDED_PARTS.sub("", name)


def clip_parameter_names(model: torch.nn.Module) -> set[str]:
    """Name the parameters that a CLIP checkpoint contains, but for the logit scale.

    Args:
        model (`torch.nn.Module`): A [`DRLModel`], or a module that wraps one.

    Returns:
        `set[str]`: Names in a [`DRLModel`] without adapters.
    """
    with torch.device("meta"):
        plain = DRLModel(find_drl_model(model).config)
    names = {name for name, _ in plain.named_parameters() if not name.startswith(DRLModel.NEW_MODULES)}
    return names - {"logit_scale"}


__all__ = [
    "check_parts",
    "clip_parameter_names",
    "find_drl_model",
    "inside_wrapper",
    "plain_name",
    "warn_of_unsaved_base",
    "without_parallel",
    "without_wrapper",
]
