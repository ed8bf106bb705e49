"""Prepare FSDP, and put parameters that it has sharded together again."""

import torch
from accelerate.utils import FullyShardedDataParallelPlugin
from torch.distributed.fsdp import MixedPrecisionPolicy, StateDictType
from torch.distributed.tensor import DTensor
from transformers import Trainer

from ..model.modeling_drl import DRLModel


def prepare_trainer(trainer: Trainer) -> None:
    """Prepare a trainer for FSDP: see [`~training.fsdp.prepare_fsdp`].

    Raises:
        `ValueError`: For settings that FSDP cannot have, and gradient caching.
        `TypeError`: When the model is in a wrapper, whose parts FSDP would shard one by one.
    """
    model, chunk_size = trainer.model, trainer.args.gradient_cache_chunk_size
    if not isinstance(model, DRLModel):
        raise TypeError(f"`model`: found a {type(model).__name__}, expected a DRLModel, which FSDP wraps itself.")
    if chunk_size is not None:
        raise ValueError(
            f"`gradient_cache_chunk_size`: found {chunk_size}, expected None with FSDP, which counts the forward "
            "passes."
        )
    prepare_fsdp(trainer.accelerator.state.fsdp_plugin)
    # FSDP shards along the first dimension, which a scalar lacks; saving undoes this.
    model.logit_scale = torch.nn.Parameter(model.logit_scale.detach().reshape(1))


def prepare_fsdp(plugin: FullyShardedDataParallelPlugin) -> None:
    """Refuse settings with which the model cannot be evaluated or saved, and leave mixed precision to autocast.

    Raises:
        `ValueError`: For FSDP version 1, or sharded checkpoints.
    """
    if plugin.fsdp_version != 2:
        raise ValueError(
            f"`fsdp_version`: found {plugin.fsdp_version}, expected 2, the version that can be evaluated and saved: "
            "`accelerate launch --fsdp_version 2`."
        )
    if plugin.state_dict_type != StateDictType.FULL_STATE_DICT:
        raise ValueError(
            f"`fsdp_state_dict_type`: found {plugin.state_dict_type.name}, expected FULL_STATE_DICT, which "
            "`from_pretrained` can load: `accelerate launch --fsdp_state_dict_type FULL_STATE_DICT`."
        )
    # The policy of accelerate would also round the logit scale, the loss and the sums of gradients.
    plugin.mixed_precision_policy = MixedPrecisionPolicy()


def whole_tensor(tensor: torch.Tensor) -> torch.Tensor:
    """Return a parameter, which FSDP may have sharded, as a plain tensor. All processes must call this."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def whole_model(model: DRLModel) -> DRLModel:
    """Return a model that this process can run alone: a copy when FSDP has sharded it, otherwise the model itself.

    A sharded model needs all processes for every batch, but the processes have different numbers of batches to
    evaluate. All processes must call this.
    """
    if not any(isinstance(parameter, DTensor) for parameter in model.parameters()):
        return model
    weights = {name: whole_tensor(tensor) for name, tensor in model.state_dict().items()}
    weights["logit_scale"] = weights["logit_scale"].reshape(())
    with torch.random.fork_rng(devices=[]):  # the initial weights are replaced
        whole = DRLModel(model.config)
    whole = whole.to(model.device, model.dtype)
    whole.load_state_dict(weights)
    return whole


__all__ = ["prepare_fsdp", "prepare_trainer", "whole_model", "whole_tensor"]
