"""The names in an original state dict, of DRL, CLIP4Clip or OpenAI's CLIP: which of ours they are, and what they tell.

Every name is listed for a configuration, so that one that is missing is noticed as well as one too many.
"""

import math
import re
from collections.abc import Iterator

import torch

from ..model.configuration_drl import DRLConfig


class CheckpointError(ValueError):
    """A file is not the original checkpoint that it should be; the message names it and what was found."""


# An official block -> ours. The fused query, key and value become three.
BLOCK = {
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
# A stack of blocks -> ours, and the configuration that counts them.
STACKS = {
    "clip.visual.transformer.resblocks": ("vision_model.encoder.layers", "vision_config"),
    "clip.transformer.resblocks": ("text_model.encoder.layers", "text_config"),
    "transformerClip.resblocks": ("temporal_encoder.layers", "temporal_config"),
    "cross.transformer.resblocks": ("cross_transformer.layers", "cross_config"),
}
CLIP = {
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
TRANSPOSED = ("clip.visual.proj", "clip.text_projection")
# The heads, by the value of `temporal_encoder` or `interaction` that has them.
HEADS = {
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
# seqLSTM declares positions and never reads them.
UNUSED = {"lstm": ("frame_position_embeddings.weight",)}
MAX_BLOCKS = 100  # the largest CLIP has 48


def original_names(config: DRLConfig) -> dict[str, tuple[str, ...]]:
    """Every name that an original state dict of this configuration has, in DRL's form, with our names for it.

    Args:
        config ([`DRLConfig`]): The configuration.

    Returns:
        `dict[str, tuple[str, ...]]`: Our names: one, or three where the official code fuses query, key and value.
    """
    names = {official: (ours,) for official, ours in CLIP.items()}
    for part in (config.temporal_encoder, config.interaction):
        names |= {official: (ours,) for official, ours in HEADS.get(part, {}).items()}
    if config.interaction == "wti":
        for side, ours in (("text", "text_token_weights"), ("video", "frame_token_weights")):
            for layer in range(0, 2 * config.token_weight_depth, 2):
                # A single linear layer is not in a sequence there.
                prefix = f"{side}_weight_fc" if config.token_weight_depth == 1 else f"{side}_weight_fc.{layer}"
                for kind in ("weight", "bias"):
                    names[f"{prefix}.{kind}"] = (f"{ours}.layers.{layer}.{kind}",)
    unused = {"temporal_config": config.temporal_encoder != "transformer", "cross_config": config.interaction != "xti"}
    for stack, (ours, field) in STACKS.items():
        layers = 0 if unused.get(field) else getattr(config, field).num_hidden_layers
        for layer in range(layers):
            for official, parts in BLOCK.items():
                names[f"{stack}.{layer}.{official}"] = tuple(f"{ours}.{layer}.{part}" for part in parts)
    return names


def count_blocks(state: dict[str, torch.Tensor], stack: str) -> int:
    """The number of different blocks in a stack.

    Raises:
        `CheckpointError`: For more than any CLIP has.
    """
    found = [re.match(rf"{re.escape(stack)}\.(\d+)\.", name) for name in state]
    indices = {int(match[1]) for match in found if match}
    if len(indices) > MAX_BLOCKS:
        raise CheckpointError(f"{stack} has {len(indices)} blocks, expected at most {MAX_BLOCKS}.")
    return len(indices)


def shape_of(state: dict[str, torch.Tensor], name: str, dims: int) -> torch.Size:
    """Shape of a tensor that the configuration is read from.

    Raises:
        `CheckpointError`: When it is absent, has another number of dimensions or one of size 0.
    """
    if name not in state:
        found = ", ".join(list(state)[:5])
        raise CheckpointError(f"there is no tensor {name!r}; found {len(state)}, such as {found}.")
    if state[name].dim() != dims:
        raise CheckpointError(f"{name!r} has shape {tuple(state[name].shape)}, expected {dims} dimensions.")
    if 0 in state[name].shape:
        raise CheckpointError(f"{name!r} has shape {tuple(state[name].shape)}, expected sizes of at least 1.")
    return state[name].shape


def infer_interaction(state: dict[str, torch.Tensor], chosen: str | None) -> str:
    """The interaction that the heads of a state dict tell, or that was chosen where there are none.

    Raises:
        `CheckpointError`: When the choice contradicts the heads, or is missing where there are none.
    """
    signs = {
        "wti": ("text_weight_fc.", "video_weight_fc."),
        "mlp": ("similarity_dense.0.", "similarity_dense.2."),
        "xti": ("cross.", "similarity_dense."),
    }
    for interaction, prefixes in signs.items():
        head = next((name for name in state if name.startswith(prefixes)), None)
        if head is not None:
            if chosen not in (None, interaction):
                raise CheckpointError(f"`interaction={chosen!r}` was chosen, but {head!r} is of {interaction!r}.")
            return interaction
    if chosen in signs:
        raise CheckpointError(f"`interaction={chosen!r}` was chosen, but there is no tensor {signs[chosen][0]}*.")
    if chosen is None:
        raise CheckpointError("no name tells 'dp' from 'ti': say which by `interaction`.")
    return chosen


def infer_config(state: dict[str, torch.Tensor], interaction: str | None = None, **cdcr_fields) -> DRLConfig:
    """Read the configuration off the names and shapes of an original state dict.

    Args:
        state (`dict[str, torch.Tensor]`): The state dict, in DRL's form.
        interaction (`str`, *optional*): `"dp"` or `"ti"` where the names don't tell.
        cdcr_fields: `cdcr`, `cdcr_lambda`, `cdcr_alpha_diagonal`, `cdcr_alpha_off_diagonal`.

    Returns:
        [`DRLConfig`]: With `padding_similarity="zero"`, as in the official code.

    Raises:
        `CheckpointError`: When the towers can't be read off, or `interaction` and the heads don't agree.
        `ValueError`: For a field that [`DRLConfig`] refuses.
    """
    if any(name.startswith(("clip.visual.layer1.", "clip.visual.attnpool.")) for name in state):
        raise CheckpointError("the vision tower is a ResNet; DRL runs on Vision Transformers alone.")
    vision_width, _, patch_size, _ = shape_of(state, "clip.visual.conv1.weight", 4)
    num_positions, _ = shape_of(state, "clip.visual.positional_embedding", 2)
    context_length, text_width = shape_of(state, "clip.positional_embedding", 2)
    vocab_size, _ = shape_of(state, "clip.token_embedding.weight", 2)
    _, dim = shape_of(state, "clip.text_projection", 2)
    grid = math.isqrt(num_positions - 1)
    if grid < 1 or grid**2 + 1 != num_positions:
        raise CheckpointError(f"'clip.visual.positional_embedding' has {num_positions} rows: no square and one more.")
    if vocab_size < 3:
        raise CheckpointError(f"'clip.token_embedding.weight' has {vocab_size} rows, expected BOS, EOS and a word.")

    interaction = infer_interaction(state, interaction)
    temporal_encoder = "none"
    if any(name.startswith("lstm_visual.") for name in state):
        temporal_encoder = "lstm"
    elif any(name.startswith(("transformerClip.", "frame_position_embeddings.")) for name in state):
        temporal_encoder = "transformer"
    depth = 2
    if any(re.fullmatch(r"(text|video)_weight_fc\.(weight|bias)", name) for name in state):
        depth = 1
    elif any(re.match(r"(text|video)_weight_fc\.4\.", name) for name in state):
        depth = 3

    def blocks(width: int, stack: str, heads: int | None = None) -> dict:
        if heads is None and width % 64:
            raise CheckpointError(f"{stack} is {width} wide, expected a multiple of 64, the width of a head.")
        return {
            "hidden_size": width,
            "intermediate_size": 4 * width,
            "num_hidden_layers": count_blocks(state, stack) or 4,
            "num_attention_heads": heads or width // 64,
            "hidden_act": "quick_gelu",
        }

    def rows_of(name: str) -> int:
        # As many as the text tower's, which they start from; if there are none, that is one of the misfits.
        return shape_of(state, name, 2)[0] if name in state else context_length

    # Each with positions of its own.
    fields = {}
    if temporal_encoder == "transformer":
        rows = rows_of("frame_position_embeddings.weight")
        fields["temporal_config"] = {**blocks(dim, "transformerClip.resblocks"), "max_position_embeddings": rows}
    if interaction == "xti":
        rows = rows_of("cross.embeddings.position_embeddings.weight")
        cross = blocks(dim, "cross.transformer.resblocks", heads=8)
        fields["cross_config"] = {**cross, "max_position_embeddings": rows}

    return DRLConfig(
        text_config={
            **blocks(text_width, "clip.transformer.resblocks"),
            "vocab_size": vocab_size,
            "max_position_embeddings": context_length,
            # The official tokenizer's last two; it pads with another, which no real token sees.
            "bos_token_id": vocab_size - 2,
            "eos_token_id": vocab_size - 1,
            "pad_token_id": vocab_size - 1,
        },
        vision_config={
            **blocks(vision_width, "clip.visual.transformer.resblocks"),
            "image_size": patch_size * grid,
            "patch_size": patch_size,
        },
        projection_dim=dim,
        interaction=interaction,
        token_weight_depth=depth,
        temporal_encoder=temporal_encoder,
        padding_similarity="zero",
        **fields,
        **cdcr_fields,
    )


def misfits(state: dict[str, torch.Tensor], config: DRLConfig, shapes: dict[str, torch.Size]) -> Iterator[str]:
    """What in an original state dict is unknown, missing, misshapen or not of finite numbers, a line a tensor.

    Args:
        state (`dict[str, torch.Tensor]`): The state dict, in DRL's form.
        config ([`DRLConfig`]): Its configuration.
        shapes (`dict[str, torch.Size]`): Of our parameters, by our names.
    """
    names = original_names(config)
    for name in sorted(set(state) - set(names) - set(UNUSED.get(config.temporal_encoder, ()))):
        yield f"unknown: {name} {tuple(state[name].shape)}"
    for name, ours in names.items():
        expected = (len(ours) * shapes[ours[0]][0], *shapes[ours[0]][1:]) if len(ours) > 1 else tuple(shapes[ours[0]])
        expected = expected[::-1] if name in TRANSPOSED else expected
        if name not in state:
            yield f"missing: {name} {expected}"
        elif tuple(state[name].shape) != expected:
            yield f"misshapen: {name} is {tuple(state[name].shape)}, expected {expected}"
        elif not state[name].is_floating_point():
            yield f"of another type: {name} is {state[name].dtype}, expected floating point"
        elif not state[name].float().isfinite().all():
            yield f"not finite: {name}"
    for name in UNUSED.get(config.temporal_encoder, ()):
        if name in state and state[name].dim() != 2:
            yield f"misshapen: {name} is {tuple(state[name].shape)}, expected 2 dimensions"


def to_our_names(state: dict[str, torch.Tensor], config: DRLConfig) -> dict[str, torch.Tensor]:
    """Rename, transpose and split the tensors of an original state dict, and bring them to float32.

    Args:
        state (`dict[str, torch.Tensor]`): The state dict, in DRL's form, without misfits.
        config ([`DRLConfig`]): Its configuration.

    Returns:
        `dict[str, torch.Tensor]`: Every parameter of [`DRLModel`].
    """
    converted = {}
    for name, ours in original_names(config).items():
        tensor = state[name].T if name in TRANSPOSED else state[name]
        # On a GPU the official code keeps the towers in half precision, of which float32 loses nothing.
        parts = tensor.float().chunk(len(ours)) if len(ours) > 1 else (tensor.float(),)
        # Each in memory of its own: what shares it, as views and aliases in a checkpoint do, can't be saved.
        owned = [part.clone(memory_format=torch.contiguous_format) for part in parts]
        converted |= dict(zip(ours, owned, strict=True))
    return converted


__all__ = ["CheckpointError", "infer_config", "misfits", "original_names", "to_our_names"]
