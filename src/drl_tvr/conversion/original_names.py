"""Map the names of an original state dict (DRL, CLIP4Clip or OpenAI's CLIP) to ours, and infer its configuration.

All names of a configuration are listed, so that missing names are found as well as unknown ones.
"""

import math
import re
from collections.abc import Iterator

import torch

from ..model.configuration_drl import DRLConfig


class CheckpointError(ValueError):
    """Invalid original checkpoint; the message names the file and what was found."""


# Names in a block, official to ours. The fused query, key and value are split into three.
BLOCK_NAMES = {
    "ln_1.weight": ("layer_norm1.weight",),
    "ln_1.bias": ("layer_norm1.bias",),
    "attn.in_proj_weight": ("self_attn.q_proj.weight", "self_attn.k_proj.weight", "self_attn.v_proj.weight"),
    "attn.in_proj_bias": ("self_attn.q_proj.bias", "self_attn.k_proj.bias", "self_attn.v_proj.bias"),
    "attn.out_proj.weight": ("self_attn.out_proj.weight",),
    "attn.out_proj.bias": ("self_attn.out_proj.bias",),
    "ln_2.weight": ("layer_norm2.weight",),
    "ln_2.bias": ("layer_norm2.bias",),
    "mlp.c_fc.weight": ("mlp.fc1.weight",),
    "mlp.c_fc.bias": ("mlp.fc1.bias",),
    "mlp.c_proj.weight": ("mlp.fc2.weight",),
    "mlp.c_proj.bias": ("mlp.fc2.bias",),
}
# Stacks of blocks, official to ours, with the sub-configuration that holds the number of blocks.
STACK_NAMES = {
    "clip.visual.transformer.resblocks": ("vision_model.encoder.layers", "vision_config"),
    "clip.transformer.resblocks": ("text_model.encoder.layers", "text_config"),
    "transformerClip.resblocks": ("temporal_encoder.layers", "temporal_config"),
    "cross.transformer.resblocks": ("cross_transformer.layers", "cross_config"),
}
CLIP_NAMES = {
    "clip.visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "clip.visual.class_embedding": "vision_model.embeddings.class_embedding",
    "clip.visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "clip.visual.ln_pre.weight": "vision_model.pre_layrnorm.weight",
    "clip.visual.ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "clip.visual.ln_post.weight": "vision_model.post_layernorm.weight",
    "clip.visual.ln_post.bias": "vision_model.post_layernorm.bias",
    "clip.visual.proj": "visual_projection.weight",
    "clip.token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "clip.positional_embedding": "text_model.embeddings.position_embedding.weight",
    "clip.ln_final.weight": "text_model.final_layer_norm.weight",
    "clip.ln_final.bias": "text_model.final_layer_norm.bias",
    "clip.text_projection": "text_projection.weight",
    "clip.logit_scale": "logit_scale",
}
TRANSPOSED_NAMES = ("clip.visual.proj", "clip.text_projection")
# Names outside CLIP and the stacks, by the value of `temporal_encoder` or `interaction` that has them.
HEAD_NAMES = {
    "transformer": {"frame_position_embeddings.weight": "temporal_encoder.position_embedding.weight"},
    "lstm": {
        f"lstm_visual.{name}": f"temporal_encoder.lstm.{name}"
        for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    },
    "mlp": {
        "similarity_dense.0.weight": "pair_mlp.hidden.weight",
        "similarity_dense.0.bias": "pair_mlp.hidden.bias",
        "similarity_dense.2.weight": "pair_mlp.score.weight",
        "similarity_dense.2.bias": "pair_mlp.score.bias",
    },
    "xti": {
        "cross.embeddings.position_embeddings.weight": "cross_transformer.position_embedding.weight",
        "cross.pooler.ln_pool.weight": "cross_transformer.pooler_norm.weight",
        "cross.pooler.ln_pool.bias": "cross_transformer.pooler_norm.bias",
        "cross.pooler.dense.weight": "cross_transformer.pooler_dense.weight",
        "cross.pooler.dense.bias": "cross_transformer.pooler_dense.bias",
        "similarity_dense.weight": "cross_transformer.score.weight",
        "similarity_dense.bias": "cross_transformer.score.bias",
    },
}
# The official LSTM encoder declares positions and never reads them.
UNUSED_NAMES = {"lstm": ("frame_position_embeddings.weight",)}
MAX_BLOCKS = 100  # the largest CLIP has 48
HEAD_WIDTH = 64
DEFAULT_NUM_BLOCKS = 4  # of the official temporal encoder and XTI


def original_names(config: DRLConfig) -> dict[str, tuple[str, ...]]:
    """Map every name of an original state dict of this configuration to ours.

    Args:
        config ([`DRLConfig`]): The configuration.

    Returns:
        `dict[str, tuple[str, ...]]`: By official names, as the DRL code saves them, our names: one, or three where the
        official code fuses query, key and value.

    Example:

    ```python
    >>> from drl_tvr import DRLConfig
    >>> from drl_tvr.conversion.original_names import original_names

    >>> original_names(DRLConfig())["text_weight_fc.0.bias"]
    ('text_token_weights.layers.0.bias',)
    ```"""
    names = {official: (ours,) for official, ours in CLIP_NAMES.items()}
    for part in (config.temporal_encoder, config.interaction):
        names |= {official: (ours,) for official, ours in HEAD_NAMES.get(part, {}).items()}
    if config.interaction == "wti":
        for side, ours in (("text", "text_token_weights"), ("video", "frame_token_weights")):
            for layer in range(0, 2 * config.token_weight_depth, 2):
                # The official code wraps several layers in a Sequential, and a single one in nothing.
                prefix = f"{side}_weight_fc" if config.token_weight_depth == 1 else f"{side}_weight_fc.{layer}"
                for kind in ("weight", "bias"):
                    names[f"{prefix}.{kind}"] = (f"{ours}.layers.{layer}.{kind}",)
    unused = {"temporal_config": config.temporal_encoder != "transformer", "cross_config": config.interaction != "xti"}
    for stack, (ours, field) in STACK_NAMES.items():
        layers = 0 if unused.get(field) else getattr(config, field).num_hidden_layers
        for layer in range(layers):
            for official, parts in BLOCK_NAMES.items():
                names[f"{stack}.{layer}.{official}"] = tuple(f"{ours}.{layer}.{part}" for part in parts)
    return names


def count_blocks(state: dict[str, torch.Tensor], stack: str) -> int:
    """Count the blocks of a stack.

    Args:
        state (`dict[str, torch.Tensor]`): The state dict, with the names of DRL.
        stack (`str`): Official name of the stack.

    Returns:
        `int`: Number of different block indices.

    Raises:
        `CheckpointError`: When there are more blocks than any CLIP has.
    """
    found = [re.match(rf"{re.escape(stack)}\.(\d+)\.", name) for name in state]
    indices = {int(match[1]) for match in found if match}
    if len(indices) > MAX_BLOCKS:
        raise CheckpointError(f"{stack}: found {len(indices)} blocks, expected at most {MAX_BLOCKS}.")
    return len(indices)


def shape_of(state: dict[str, torch.Tensor], name: str, dims: int) -> torch.Size:
    """Return the shape of a tensor that the configuration is inferred from.

    Args:
        state (`dict[str, torch.Tensor]`): The state dict, with the names of DRL.
        name (`str`): Official name of the tensor.
        dims (`int`): Expected number of dimensions.

    Returns:
        `torch.Size`: The shape.

    Raises:
        `CheckpointError`: When the tensor is missing, has another number of dimensions, or has a dimension of size 0.
    """
    if name not in state:
        found = ", ".join(list(state)[:5])
        raise CheckpointError(f"found {len(state)} tensors, such as {found}, expected {name!r} among them.")
    if state[name].dim() != dims:
        raise CheckpointError(f"{name!r}: found shape {tuple(state[name].shape)}, expected {dims} dimensions.")
    if 0 in state[name].shape:
        raise CheckpointError(f"{name!r}: found shape {tuple(state[name].shape)}, expected sizes of at least 1.")
    return state[name].shape


def infer_interaction(state: dict[str, torch.Tensor], chosen: str | None) -> str:
    """Infer the interaction from the names of its weights.

    Args:
        state (`dict[str, torch.Tensor]`): The state dict, with the names of DRL.
        chosen (`str` or `None`): The interaction that the caller expects; needed for `"dp"` and `"ti"`, which have no
            weights of their own.

    Returns:
        `str`: The interaction.

    Raises:
        `CheckpointError`: When `chosen` contradicts the weights, or is missing and there are none.
    """
    prefixes_of = {
        "wti": ("text_weight_fc.", "video_weight_fc."),
        "mlp": ("similarity_dense.0.", "similarity_dense.2."),
        "xti": ("cross.", "similarity_dense."),
    }
    for interaction, prefixes in prefixes_of.items():
        name = next((name for name in state if name.startswith(prefixes)), None)
        if name is not None:
            if chosen not in (None, interaction):
                raise CheckpointError(f"`interaction`: found {name!r} of {interaction!r}, expected {chosen!r}.")
            return interaction
    if chosen in prefixes_of:
        raise CheckpointError(f"`interaction`: found no tensor {prefixes_of[chosen][0]}*, expected {chosen!r}.")
    if chosen is None:
        raise CheckpointError("the checkpoint does not distinguish 'dp' from 'ti': pass `interaction`.")
    return chosen


def infer_temporal_encoder(state: dict[str, torch.Tensor]) -> str:
    """Infer the temporal encoder from the names of its weights."""
    if any(name.startswith("lstm_visual.") for name in state):
        return "lstm"
    if any(name.startswith(("transformerClip.", "frame_position_embeddings.")) for name in state):
        return "transformer"
    return "none"


def infer_token_weight_depth(state: dict[str, torch.Tensor]) -> int:
    """Infer the number of layers of the networks that weight tokens; 2, the default, when there are none."""
    if any(re.fullmatch(r"(text|video)_weight_fc\.(weight|bias)", name) for name in state):
        return 1
    if any(re.match(r"(text|video)_weight_fc\.4\.", name) for name in state):
        return 3
    return 2


def infer_blocks(state: dict[str, torch.Tensor], stack: str, width: int, num_heads: int | None = None) -> dict:
    """Infer the sub-configuration of a stack of blocks.

    Args:
        state (`dict[str, torch.Tensor]`): The state dict, with the names of DRL.
        stack (`str`): Official name of the stack.
        width (`int`): Width of the blocks.
        num_heads (`int`, *optional*): Number of attention heads; by default as many as are 64 wide.

    Returns:
        `dict`: Fields of the sub-configuration.

    Raises:
        `CheckpointError`: When the width is not a multiple of that of a head, or there are too many blocks.
    """
    if num_heads is None and width % HEAD_WIDTH:
        raise CheckpointError(
            f"{stack}: found width {width}, expected a multiple of {HEAD_WIDTH}, the width of a head."
        )
    return {
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": count_blocks(state, stack) or DEFAULT_NUM_BLOCKS,
        "num_attention_heads": num_heads or width // HEAD_WIDTH,
        "hidden_act": "quick_gelu",
    }


def infer_towers(state: dict[str, torch.Tensor]) -> dict:
    """Infer the fields of both towers: `text_config`, `vision_config` and `projection_dim`.

    Args:
        state (`dict[str, torch.Tensor]`): The state dict, with the names of DRL.

    Returns:
        `dict`: Fields of [`DRLConfig`].

    Raises:
        `CheckpointError`: When a tensor is missing or misshapen, or the vision tower is not a Vision Transformer.
    """
    if any(name.startswith(("clip.visual.layer1.", "clip.visual.attnpool.")) for name in state):
        raise CheckpointError("found a ResNet as the vision tower, expected a Vision Transformer.")
    vision_width, _, patch_size, _ = shape_of(state, "clip.visual.conv1.weight", 4)
    num_positions, _ = shape_of(state, "clip.visual.positional_embedding", 2)
    context_length, text_width = shape_of(state, "clip.positional_embedding", 2)
    vocab_size, _ = shape_of(state, "clip.token_embedding.weight", 2)
    _, dim = shape_of(state, "clip.text_projection", 2)
    grid = math.isqrt(num_positions - 1)
    if grid < 1 or grid**2 + 1 != num_positions:
        raise CheckpointError(
            f"'clip.visual.positional_embedding': found {num_positions} rows, expected grid * grid + 1."
        )
    if vocab_size < 3:
        raise CheckpointError(
            f"'clip.token_embedding.weight': found {vocab_size} rows, expected at least 3 for BOS, EOS and a word."
        )
    return {
        "text_config": {
            **infer_blocks(state, "clip.transformer.resblocks", text_width),
            "vocab_size": vocab_size,
            "max_position_embeddings": context_length,
            # The last two tokens of the official tokenizer. Its padding token is another; no real token attends to it.
            "bos_token_id": vocab_size - 2,
            "eos_token_id": vocab_size - 1,
            "pad_token_id": vocab_size - 1,
        },
        "vision_config": {
            **infer_blocks(state, "clip.visual.transformer.resblocks", vision_width),
            "image_size": patch_size * grid,
            "patch_size": patch_size,
        },
        "projection_dim": dim,
    }


def infer_config(state: dict[str, torch.Tensor], interaction: str | None = None, **cdcr_fields) -> DRLConfig:
    """Infer the configuration from the names and shapes of an original state dict.

    Args:
        state (`dict[str, torch.Tensor]`): The state dict, with the names of DRL.
        interaction (`str`, *optional*): `"dp"` or `"ti"` where the names do not distinguish them.
        cdcr_fields: `cdcr`, `cdcr_lambda`, `cdcr_alpha_diagonal`, `cdcr_alpha_off_diagonal`.

    Returns:
        [`DRLConfig`]: The configuration, with `padding_similarity="zero"` as in the official code.

    Raises:
        `CheckpointError`: When the towers cannot be inferred, or `interaction` contradicts the weights.
        `ValueError`: When [`DRLConfig`] refuses a field.
    """
    fields = infer_towers(state)
    dim, context_length = fields["projection_dim"], fields["text_config"]["max_position_embeddings"]
    interaction, temporal_encoder = infer_interaction(state, interaction), infer_temporal_encoder(state)

    def num_rows(name: str) -> int:
        # A missing table is reported later with all other misfits; until then take the length of the text tower.
        return shape_of(state, name, 2)[0] if name in state else context_length

    if temporal_encoder == "transformer":
        blocks = infer_blocks(state, "transformerClip.resblocks", dim)
        positions = num_rows("frame_position_embeddings.weight")
        fields["temporal_config"] = {**blocks, "max_position_embeddings": positions}
    if interaction == "xti":
        blocks = infer_blocks(state, "cross.transformer.resblocks", dim, num_heads=8)
        positions = num_rows("cross.embeddings.position_embeddings.weight")
        fields["cross_config"] = {**blocks, "max_position_embeddings": positions}
    return DRLConfig(
        interaction=interaction,
        token_weight_depth=infer_token_weight_depth(state),
        temporal_encoder=temporal_encoder,
        padding_similarity="zero",
        **fields,
        **cdcr_fields,
    )


def misfits(state: dict[str, torch.Tensor], config: DRLConfig, shapes: dict[str, torch.Size]) -> Iterator[str]:
    """Find the tensors that are unknown, missing, misshapen, of another type or not finite.

    Args:
        state (`dict[str, torch.Tensor]`): The state dict, with the names of DRL.
        config ([`DRLConfig`]): Its configuration.
        shapes (`dict[str, torch.Size]`): Shapes of our parameters, by our names.

    Yields:
        `str`: One line per tensor.
    """
    names, unused = original_names(config), UNUSED_NAMES.get(config.temporal_encoder, ())
    for name in sorted(set(state) - set(names) - set(unused)):
        yield f"unknown: {name} {tuple(state[name].shape)}"
    for name, ours in names.items():
        expected = tuple(shapes[ours[0]])
        if len(ours) > 1:
            expected = (len(ours) * expected[0], *expected[1:])
        if name in TRANSPOSED_NAMES:
            expected = expected[::-1]
        if name not in state:
            yield f"missing: {name} {expected}"
        elif tuple(state[name].shape) != expected:
            yield f"misshapen: {name}: found {tuple(state[name].shape)}, expected {expected}"
        elif not state[name].is_floating_point():
            yield f"of another type: {name}: found {state[name].dtype}, expected floating point"
        elif not state[name].float().isfinite().all():
            yield f"not finite: {name}"
    for name in unused:
        if name in state and state[name].dim() != 2:
            yield f"misshapen: {name}: found {tuple(state[name].shape)}, expected 2 dimensions"


def to_our_names(state: dict[str, torch.Tensor], config: DRLConfig) -> dict[str, torch.Tensor]:
    """Rename, transpose and split the tensors of an original state dict, and convert them to float32.

    Args:
        state (`dict[str, torch.Tensor]`): The state dict, with the names of DRL, without misfits.
        config ([`DRLConfig`]): Its configuration.

    Returns:
        `dict[str, torch.Tensor]`: Every parameter of [`DRLModel`], by our names.
    """
    converted = {}
    for name, ours in original_names(config).items():
        tensor = state[name].T if name in TRANSPOSED_NAMES else state[name]
        # On a GPU the official code keeps the towers in half precision; float32 represents it exactly.
        parts = tensor.float().chunk(len(ours)) if len(ours) > 1 else (tensor.float(),)
        for our_name, part in zip(ours, parts, strict=True):
            # safetensors refuses tensors that share memory, as views and aliases in a checkpoint do.
            converted[our_name] = part.clone(memory_format=torch.contiguous_format)
    return converted


__all__ = ["CheckpointError", "infer_config", "misfits", "original_names", "to_our_names"]
