"""Against the official code: what it computed on random weights (../shared/parity), with its rule for padding.

In the padded batches the official rule lets padding win maxima, which is `padding_similarity="zero"`.
"""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from drl_tvr import DRLConfig, DRLModel, convert_checkpoint
from drl_tvr.conversion.original_names import original_names


pytestmark = pytest.mark.shared

CASES = [
    "None-dp-depth2-cdcr0",
    "None-ti-depth2-cdcr0",
    "None-wti-depth2-cdcr0",
    "seqLSTM-dp-depth2-cdcr0",
    "seqLSTM-wti-depth2-cdcr3",
    "seqTransf-dp-depth2-cdcr1",
    "seqTransf-ti-depth2-cdcr2",
    "seqTransf-wti-depth1-cdcr2",
    "seqTransf-wti-depth2-cdcr0",
    "seqTransf-wti-depth2-cdcr3",
    "seqTransf-xti-depth2-cdcr0",
]
CDCR = {"0": "none", "1": "random", "2": "argmax", "3": "weighted"}
TEMPORAL = {"None": "none", "seqLSTM": "lstm", "seqTransf": "transformer"}
TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture(scope="module", params=CASES)
def case(
    request: pytest.FixtureRequest, shared_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[DRLModel, dict[str, torch.Tensor]]:
    """The model of a converted checkpoint, and what the official code computed with that."""
    path = shared_dir / "parity" / "cases" / f"{request.param}.safetensors"
    with safe_open(path, "pt") as file:
        settings = file.metadata()
    tensors = load_file(path)
    clip = load_file(shared_dir / "parity" / "clip_openai.safetensors")
    official = {f"clip.{name}": tensor for name, tensor in clip.items()}
    official |= {name.removeprefix("sd."): tensor for name, tensor in tensors.items() if name.startswith("sd.")}
    folder = tmp_path_factory.mktemp(request.param)
    torch.save(official, folder / "pytorch_model.bin.4")
    convert_checkpoint(
        folder / "pytorch_model.bin.4",
        folder / "converted",
        interaction=settings["interaction"],
        cdcr=CDCR[settings["cdcr"]],
        cdcr_lambda=float(settings["cdcr_lambda"]),
        cdcr_alpha_diagonal=float(settings["cdcr_alpha1"]),
        cdcr_alpha_off_diagonal=float(settings["cdcr_alpha2"]),
    )
    model = DRLModel.from_pretrained(folder / "converted")
    config = model.config
    assert config.temporal_encoder == TEMPORAL[settings["agg_module"]]
    assert config.interaction != "wti" or config.token_weight_depth == int(settings["wti_arch"])
    return model, tensors


def test_every_case_is_tried(shared_dir: Path):
    assert sorted(path.stem for path in (shared_dir / "parity" / "cases").iterdir()) == CASES


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
        "eval_v2t": (outputs.logits_per_video / model.logit_scale.exp(), tensors[f"{name}.eval_v2t"]),
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
    names = original_names(model.config)
    prefix = f"{name}.gradnorm."
    norms = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
    assert sorted(ours for key in norms for ours in names[key]) == sorted(gradients)
    for key, expected in norms.items():
        actual = torch.cat([gradients[ours].flatten() for ours in names[key]]).norm()
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
    assert same == (name == "full" or model.config.interaction in ("dp", "xti"))
