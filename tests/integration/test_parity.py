"""Against the official code: what it computed on random weights (../shared/parity), with its rule for padding.

In the padded batches the official rule lets padding win maxima, which is `padding_similarity="zero"`.
"""

import re
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from drl_tvr import DRLConfig, DRLModel


pytestmark = pytest.mark.shared

CASES = [
    "None-dp-depth2-cdcr0",
    "None-ti-depth2-cdcr0",
    "None-wti-depth2-cdcr0",
    "seqTransf-dp-depth2-cdcr1",
    "seqTransf-wti-depth2-cdcr0",
    "seqTransf-wti-depth2-cdcr3",
]
TOWER = {"hidden_size": 128, "intermediate_size": 512, "num_attention_heads": 2}
TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}

# A piece of an official name -> a piece of ours, in this order.
NAMES = {
    r"^clip\.visual\.conv1": "vision_model.embeddings.patch_embedding",
    r"^clip\.visual\.class_embedding$": "vision_model.embeddings.class_embedding",
    r"^clip\.visual\.positional_embedding$": "vision_model.embeddings.position_embedding.weight",
    r"^clip\.visual\.ln_pre": "vision_model.pre_layrnorm",
    r"^clip\.visual\.ln_post": "vision_model.post_layernorm",
    r"^clip\.visual\.proj$": "visual_projection.weight",
    r"^clip\.visual\.transformer\.resblocks": "vision_model.encoder.layers",
    r"^clip\.token_embedding": "text_model.embeddings.token_embedding",
    r"^clip\.positional_embedding$": "text_model.embeddings.position_embedding.weight",
    r"^clip\.ln_final": "text_model.final_layer_norm",
    r"^clip\.text_projection$": "text_projection.weight",
    r"^clip\.transformer\.resblocks": "text_model.encoder.layers",
    r"^clip\.logit_scale$": "logit_scale",
    r"^frame_position_embeddings": "temporal_encoder.position_embedding",
    r"^transformerClip\.resblocks": "temporal_encoder.layers",
    r"^text_weight_fc": "text_token_weights.layers",
    r"^video_weight_fc": "frame_token_weights.layers",
    r"(layers\.\d+)\.ln_([12])": r"\1.layer_norm\2",
    r"\.mlp\.c_fc": ".mlp.fc1",
    r"\.mlp\.c_proj": ".mlp.fc2",
    r"\.attn\.out_proj": ".self_attn.out_proj",
    r"\.attn\.in_proj_(weight|bias)$": r".self_attn.in_proj.\1",
}
TRANSPOSED = ("clip.visual.proj", "clip.text_projection")


def our_names(official: str) -> list[str]:
    """The parameters that hold an official one: itself under our name, or query, key and value of a fused matrix."""
    name = official
    for pattern, replacement in NAMES.items():
        name = re.sub(pattern, replacement, name)
    return [name.replace("in_proj", f"{part}_proj") for part in "qkv"] if ".in_proj." in name else [name]


def official_weights(shared_dir: Path, case: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    clip = load_file(shared_dir / "parity" / "clip_openai.safetensors")
    heads = {name.removeprefix("sd."): tensor for name, tensor in case.items() if name.startswith("sd.")}
    return {f"clip.{name}": tensor for name, tensor in clip.items()} | heads


def build(settings: dict[str, str], weights: dict[str, torch.Tensor]) -> DRLModel:
    """The model of an official configuration and state dict."""
    config = DRLConfig(
        text_config={
            **TOWER,
            "num_hidden_layers": 4,
            "vocab_size": 200,
            "max_position_embeddings": 24,
            "bos_token_id": 198,
            "eos_token_id": 199,
        },
        vision_config={**TOWER, "num_hidden_layers": 2, "patch_size": 8, "image_size": 32},
        projection_dim=128,
        interaction=settings["interaction"],
        token_weight_depth=int(settings["wti_arch"]),
        temporal_encoder={"seqTransf": "transformer", "None": "none"}[settings["agg_module"]],
        padding_similarity="zero",
        cdcr="none" if settings["cdcr"] == "0" else "weighted",
        cdcr_lambda=float(settings["cdcr_lambda"]),
        cdcr_alpha_diagonal=float(settings["cdcr_alpha1"]),
        cdcr_alpha_off_diagonal=float(settings["cdcr_alpha2"]),
    )
    state = {}
    for name, tensor in weights.items():
        tensor = tensor.T if name in TRANSPOSED else tensor
        names = our_names(name)
        state |= dict(zip(names, tensor.chunk(len(names)) if len(names) > 1 else [tensor], strict=True))
    model = DRLModel(config).eval()
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected and all(name.endswith("position_ids") for name in missing)  # buffers, not saved
    return model


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest, shared_dir: Path) -> tuple[DRLModel, dict[str, torch.Tensor]]:
    """A model and what the official code computed with its weights."""
    path = shared_dir / "parity" / "cases" / f"{request.param}.safetensors"
    with safe_open(path, "pt") as file:
        settings = file.metadata()
    tensors = load_file(path)
    return build(settings, official_weights(shared_dir, tensors)), tensors


@pytest.fixture(scope="module", params=["full", "padded"])
def batch(request: pytest.FixtureRequest, shared_dir: Path) -> tuple[str, dict[str, torch.Tensor]]:
    """The name of a batch, and its inputs."""
    tensors = load_file(shared_dir / "parity" / "inputs.safetensors")
    inputs = {key.split(".")[1]: value for key, value in tensors.items() if key.startswith(request.param)}
    inputs["pixel_values_videos"] = inputs["pixel_values_videos"].float()
    return request.param, inputs


def test_features_and_losses_are_those_of_the_official_code(case, batch):
    model, tensors = case
    name, inputs = batch
    with torch.no_grad():
        outputs = model(**inputs, return_loss=True)
    words, frames = inputs["attention_mask"].bool(), inputs["video_mask"].bool()
    compared = {
        "text_feat": (outputs.text_tokens[words], tensors[f"{name}.text_feat"][words]),
        "video_feat": (outputs.frame_tokens[frames], tensors[f"{name}.video_feat"][frames]),
        "train_t2v": (outputs.logits_per_text, tensors[f"{name}.train_t2v"]),
        "eval_t2v": (outputs.logits_per_text / model.logit_scale.exp(), tensors[f"{name}.eval_t2v"]),
        "contrastive_loss": (outputs.contrastive_loss, tensors[f"{name}.contrastive_loss"]),
        "cdcr_loss": (outputs.cdcr_loss, tensors[f"{name}.cdcr_loss"]),
        "loss": (outputs.loss, tensors[f"{name}.loss"]),
    }
    for key, (actual, expected) in compared.items():
        torch.testing.assert_close(
            actual, expected.reshape(actual.shape), **TOLERANCE, msg=lambda text, key=key: f"{key}: {text}"
        )


def test_gradients_are_those_of_the_official_code(case, batch):
    """The norm of the gradient of every official parameter; together they are all of ours."""
    model, tensors = case
    name, inputs = batch
    model.zero_grad()
    model(**inputs, return_loss=True).loss.backward()
    gradients = {key: parameter.grad for key, parameter in model.named_parameters()}
    prefix = f"{name}.gradnorm."
    norms = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
    assert sorted(ours for key in norms for ours in our_names(key)) == sorted(gradients)
    for key, expected in norms.items():
        actual = torch.cat([gradients[ours].flatten() for ours in our_names(key)]).norm()
        torch.testing.assert_close(
            actual, expected.reshape(()), **TOLERANCE, msg=lambda text, key=key: f"{key}: {text}"
        )


def test_ignored_padding_only_matters_where_there_is_padding(case, batch):
    """The default rule gives the official numbers on the full batch, and others on the padded one."""
    model, tensors = case
    name, inputs = batch
    settings = {**model.config.to_dict(), "padding_similarity": "ignore"}
    ignoring = DRLModel(DRLConfig.from_dict(settings)).eval()
    ignoring.load_state_dict(model.state_dict())
    with torch.no_grad():
        logits = ignoring(**inputs).logits_per_text
    same = torch.allclose(logits, tensors[f"{name}.train_t2v"], **TOLERANCE)
    assert same == (name == "full" or model.config.interaction == "dp")
