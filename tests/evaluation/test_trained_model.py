"""A model loads only when its checkpoint holds exactly the weights of its configuration."""

import json
import os
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save, save_file

from drl_tvr.evaluation.trained_model import load_trained


@pytest.fixture
def folder(make_tiny_model, tmp_path: Path) -> Path:
    make_tiny_model().save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def change_weights(folder: Path, change) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def test_a_whole_checkpoint_loads_as_it_was_saved(folder, make_tiny_model):
    model = load_trained(folder)
    assert not model.training
    torch.testing.assert_close(model.state_dict(), make_tiny_model().state_dict(), rtol=0, atol=0)


def set_fields(**fields):
    """Returns a function that changes a field of a part of config.json."""

    def change(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        config["text_config"] |= fields
        (folder / "config.json").write_text(json.dumps(config))

    return change


def write(name: str, content: bytes):
    return lambda folder: (folder / name).write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (lambda folder: os.truncate(folder / "model.safetensors", 1000), "model.safetensors: found no whole file"),
        (lambda folder: os.truncate(folder / "model.safetensors", 0), "model.safetensors: found no whole file"),
        (write("model.safetensors", b"<html>404</html>"), "model.safetensors: found no whole file"),
        (lambda folder: (folder / "config.json").unlink(), "config.json: found no file"),
        (write("config.json", b"{"), "config.json is not JSON"),
        (write("config.json", b"\xff"), "config.json is not JSON"),
        (write("config.json", b"[" * 100_000), "config.json is not JSON"),
        (write("config.json", b"[]"), "config.json: found a list, expected a mapping"),
        (set_fields(num_hidden_layers=10**9), "config.json: `text_config.num_hidden_layers`: found 1000000000, exp"),
        (set_fields(num_hidden_layers=10**400), "config.json: `text_config.num_hidden_layers`: found 1000"),
        (set_fields(vocab_size=10**11), "config.json: `text_config.vocab_size`: found 100000000000, expected at most"),
        (set_fields(vocab_size=10**6), "config.json: found a model of 32,0"),
    ],
)
def test_a_damaged_or_senseless_file_is_named_before_a_model_is_built(damage, found, folder):
    damage(folder)
    with pytest.raises((ValueError, OSError), match=re.escape(found)):
        load_trained(folder)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda weights: weights.pop("logit_scale"), "found weights that are missing (1, e.g. logit_scale"),
        (
            lambda weights: weights.update({"other.weight": torch.zeros(2)}),
            "found weights that are unknown to config.json (1, e.g. other.weight",
        ),
        (
            lambda weights: weights.update({"text_projection.weight": torch.zeros(2, 2)}),
            "found weights that are of another shape than config.json says (1, e.g. ('text_projection.weight'",
        ),
    ],
)
def test_other_weights_than_the_configuration_s_are_refused(change, found, folder):
    change_weights(folder, change)
    with pytest.raises(ValueError, match=re.escape(f"{folder} is not a trained DRL model: {found}")):
        load_trained(folder)


@pytest.mark.parametrize("field", [{"interaction": "other"}, {"projection_dim": 48}])
def test_an_invalid_configuration_is_named_with_its_folder(field, folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **field}))
    with pytest.raises(ValueError, match=re.escape(f"{folder} cannot be loaded: ")):
        load_trained(folder)


def test_a_weight_of_another_configuration_is_refused(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "interaction": "ti"}))
    with pytest.raises(ValueError, match=r"weights that are unknown to config.json \(8, e.g. frame_token_weights"):
        load_trained(folder)


def test_damaged_weights_are_named(folder):
    (folder / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(ValueError, match=re.escape(f"{folder} cannot be loaded: ")):
        load_trained(folder)


def test_no_checkpoint_is_an_error_of_the_system(tmp_path):
    with pytest.raises(OSError, match="no file named model.safetensors"):
        load_trained(tmp_path)


def test_an_infinite_logit_scale_is_refused(folder):
    change_weights(folder, lambda weights: weights.update(logit_scale=torch.tensor(100.0)))
    with pytest.raises(
        ValueError, match="`logit_scale`: found 100.0, expected a logarithm whose exponential is finite"
    ):
        load_trained(folder)


@pytest.mark.parametrize("tower", [{"hidden_act": "unknown"}, {"num_attention_heads": 0}, 3, {"hidden_size": "x"}])
def test_a_value_that_no_model_can_have_names_the_folder(tower, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "drl", "text_config": tower}))
    (tmp_path / "model.safetensors").write_bytes(save({"weight": torch.zeros(1)}))
    with pytest.raises(ValueError, match=f"{tmp_path} cannot be loaded: "):
        load_trained(tmp_path)
