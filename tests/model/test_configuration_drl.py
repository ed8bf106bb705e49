"""DRLConfig: the defaults are the paper's recipe, what contradicts itself is refused, and what is saved comes back."""

import dataclasses
import json
from pathlib import Path

import pytest
from transformers import AutoConfig, CLIPConfig, CLIPTextConfig, CLIPVisionConfig, PreTrainedConfig

from drl_tvr import DRLConfig, DRLCrossConfig, DRLModel, DRLTemporalConfig
from drl_tvr.model.configuration_drl import SIZES


def test_defaults_are_the_recipe_of_the_paper():
    """Section 4.2 of arXiv 2203.07111 and the official README: MSR-VTT, ViT-B/32, WTI depth 2, CDCR mode 3."""
    config = DRLConfig()
    assert (config.interaction, config.token_weight_depth, config.temporal_encoder) == ("wti", 2, "transformer")
    assert (config.cdcr, config.cdcr_lambda) == ("weighted", 0.001)
    assert (config.cdcr_alpha_diagonal, config.cdcr_alpha_off_diagonal) == (0.11, 0.0)
    assert (config.padding_similarity, config.projection_dim) == ("ignore", 512)
    vision, text, temporal = config.vision_config, config.text_config, config.temporal_config
    assert (vision.hidden_size, vision.num_hidden_layers, vision.patch_size, vision.image_size) == (768, 12, 32, 224)
    assert (text.hidden_size, text.num_hidden_layers, text.num_attention_heads) == (512, 12, 8)
    assert (temporal.hidden_size, temporal.num_hidden_layers, temporal.num_attention_heads) == (512, 4, 8)
    assert (temporal.layer_norm_eps, text.layer_norm_eps, vision.layer_norm_eps) == (1e-12, 1e-5, 1e-5)


def test_unknown_fields_are_named():
    with pytest.raises(ValueError, match="DRLConfig: found the unknown fields `interactions`, `temporal`"):
        DRLConfig(temporal="lstm", interactions="wti")
    for name in ("temporal_config", "cross_config"):
        with pytest.raises(ValueError, match=f"{name}: found the unknown field `num_layers`"):
            DRLConfig(**{name: {"num_layers": 2}})
    with pytest.raises(ValueError, match="temporal_config: found the unknown field `hidden_dropout`"):
        DRLConfig(temporal_config={"hidden_dropout": 0.1})


FOREIGN_KEYS = {
    "tie_word_embeddings": True,
    "torchscript": False,
    "_attn_implementation_autoset": True,
    "_pre_quantization_dtype": None,
    "tokenizer_class": "CLIPTokenizer",
    "transformers.js_config": {},
    "unsloth_version": "2025.1",
}


def test_keys_of_other_tools_in_a_file_are_ignored_with_a_warning(tmp_path: Path, caplog):
    config = every_field_changed()
    config.save_pretrained(tmp_path)
    content = json.loads((tmp_path / "config.json").read_text())
    for part in (content, content["temporal_config"], content["cross_config"], content["text_config"]):
        part.update(FOREIGN_KEYS)
    (tmp_path / "config.json").write_text(json.dumps(content))
    with caplog.at_level("WARNING"):
        for loaded in (DRLConfig.from_pretrained(tmp_path), AutoConfig.from_pretrained(tmp_path)):
            assert declared(loaded) == declared(config)
    assert "DRLConfig: ignored unknown keys of the file: _attn_implementation_autoset, " in caplog.text
    assert "DRLTemporalConfig: ignored unknown keys" in caplog.text and "DRLCrossConfig: ignored" in caplog.text
    loaded.save_pretrained(tmp_path)
    assert not set(FOREIGN_KEYS) & set(json.loads((tmp_path / "config.json").read_text()))
    with pytest.raises(ValueError, match="found the unknown field `unsloth_version`"):
        DRLConfig(unsloth_version="2025.1")


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"projection_dim": "64"}, "projection_dim"),
        ({"projection_dim": 64.0}, "projection_dim"),
        ({"token_weight_depth": True}, "token_weight_depth"),
        ({"interaction": 3}, "interaction"),
        ({"cdcr_lambda": "0.1"}, "cdcr_lambda"),
        ({"image_std": [0, 0, 0]}, "image_std"),
        ({"image_std": "abc"}, "image_std"),
        ({"image_mean": [float("nan")] * 3}, "image_mean"),
        ({"logit_scale_init_value": float("nan")}, "logit_scale_init_value"),
        ({"logit_scale_init_value": 100.0}, "logit_scale_init_value"),
        ({"temporal_config": 3}, "temporal_config"),
        ({"temporal_config": {"hidden_size": "64"}}, "hidden_size"),
        ({"text_config": {"hidden_size": "64"}}, "hidden_size"),
    ],
)
def test_a_wrong_type_is_a_value_error_that_names_the_field(fields: dict, named: str, tmp_path: Path):
    with pytest.raises(ValueError, match=named):
        DRLConfig(**fields)
    DRLConfig().save_pretrained(tmp_path)
    if not isinstance(next(iter(fields.values())), dict):
        with pytest.raises(ValueError, match=named):
            DRLConfig.from_pretrained(tmp_path, **fields).validate()


@pytest.mark.parametrize(
    ("field", "value", "choices"),
    [
        ("interaction", "WTI", "'wti', 'ti', 'dp', 'mlp', 'xti'"),
        ("token_weight_depth", 4, "1, 2, 3"),
        ("token_weight_depth", 0, "1, 2, 3"),
        ("temporal_encoder", "seqTransf", "'transformer', 'lstm', 'none'"),
        ("padding_similarity", "one", "'ignore', 'zero'"),
        ("cdcr", "3", "'weighted', 'argmax', 'random', 'none'"),
    ],
)
def test_an_unknown_value_is_named_with_the_choices(field: str, value, choices: str):
    with pytest.raises(ValueError, match=f"`{field}`: found {value!r}, expected one of .*{choices}"):
        DRLConfig(**{field: value})


@pytest.mark.parametrize("field", ["cdcr_lambda", "cdcr_alpha_diagonal", "cdcr_alpha_off_diagonal"])
@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf")])
def test_weights_of_the_loss_are_finite_and_not_negative(field: str, value: float):
    with pytest.raises(ValueError, match=f"`{field}`: found {value}, expected a finite number of at least 0"):
        DRLConfig(**{field: value})


@pytest.mark.parametrize(
    "fields", [{"image_mean": [0.5]}, {"image_std": [0.1, 0.2, 0.3, 0.4]}, {"image_std": [0.1, 0.0, 0.1]}]
)
def test_pixels_have_three_means_and_deviations(fields: dict):
    with pytest.raises(ValueError, match="`image_mean`, `image_std`: found .*, expected 3 values each"):
        DRLConfig(**fields)


@pytest.mark.parametrize("temporal_config", [None, {}])
def test_projection_dim_is_positive(temporal_config: dict | None):
    with pytest.raises(ValueError, match="`projection_dim`: found 0, expected at least 1"):
        DRLConfig(projection_dim=0, temporal_config=temporal_config)


def test_the_temporal_width_must_be_the_projection_dim():
    fields = {"projection_dim": 512, "temporal_config": {"hidden_size": 256}}
    message = r"`temporal_config.hidden_size`: found 256, expected `projection_dim` \(512\)"
    with pytest.raises(ValueError, match=message):
        DRLConfig(**fields)
    assert DRLConfig(**fields, temporal_encoder="none").temporal_config.hidden_size == 256
    fields = {"projection_dim": 512, "cross_config": {"hidden_size": 256}}
    with pytest.raises(ValueError, match=r"`cross_config.hidden_size`: found 256, expected `projection_dim` \(512\)"):
        DRLConfig(**fields, interaction="xti")
    assert DRLConfig(**fields).cross_config.hidden_size == 256


def test_heads_must_divide_the_width():
    message = r"`temporal_config`: `hidden_size`: found 512, expected a multiple of `num_attention_heads` \(7\)"
    with pytest.raises(ValueError, match=message):
        DRLTemporalConfig(num_attention_heads=7)
    with pytest.raises(ValueError, match=message):
        DRLConfig(temporal_config={"num_attention_heads": 7})
    with pytest.raises(
        ValueError, match=r"hidden size \(30\) is not a multiple of the number of attention heads \(4\)"
    ):
        DRLConfig(text_config={"hidden_size": 30, "num_attention_heads": 4})


@pytest.mark.parametrize(
    "field", ["hidden_size", "num_hidden_layers", "num_attention_heads", "max_position_embeddings"]
)
def test_sizes_of_the_temporal_encoder_are_positive(field: str):
    with pytest.raises(ValueError, match=f"`temporal_config.{field}`: found 0, expected at least 1"):
        DRLTemporalConfig(**{field: 0})


@pytest.mark.parametrize("value", [-0.1, 1.0, float("nan")])
def test_a_dropout_is_a_share(value: float):
    with pytest.raises(ValueError, match=f"`hidden_dropout`: found {value}, expected at least 0 and below 1"):
        DRLConfig(cross_config={"hidden_dropout": value})


@pytest.mark.parametrize(("projection_dim", "num_heads"), [(512, 8), (768, 8), (100, 5), (7, 7), (11, 1)])
def test_the_cross_transformer_has_eight_heads_where_they_divide_the_width(projection_dim: int, num_heads: int):
    cross = DRLConfig(projection_dim=projection_dim).cross_config
    assert (cross.num_attention_heads, cross.num_hidden_layers, cross.hidden_dropout) == (num_heads, 4, 0.1)
    assert (cross.hidden_size, cross.layer_norm_eps) == (projection_dim, 1e-12)


@pytest.mark.parametrize("as_dict", [True, False])
def test_the_temporal_encoder_follows_the_text_tower(as_dict: bool):
    text = CLIPTextConfig(
        hidden_size=96, num_attention_heads=3, intermediate_size=100, max_position_embeddings=21, hidden_act="gelu"
    )
    config = DRLConfig(text_config=text.to_dict() if as_dict else text, projection_dim=64)
    temporal = config.temporal_config
    assert isinstance(temporal, DRLTemporalConfig)
    assert (temporal.hidden_size, temporal.intermediate_size) == (64, 256)
    assert temporal.num_attention_heads == 2  # heads of 32, as in the text tower
    assert (temporal.max_position_embeddings, temporal.hidden_act) == (21, "gelu")


@pytest.mark.parametrize(("projection_dim", "num_heads"), [(512, 8), (768, 12), (200, 2), (65, 1), (32, 1)])
def test_the_default_heads_always_divide_the_width(projection_dim: int, num_heads: int):
    assert DRLConfig(projection_dim=projection_dim).temporal_config.num_attention_heads == num_heads


def every_field_changed() -> DRLConfig:
    tower = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}
    return DRLConfig(
        text_config=CLIPTextConfig(**tower, vocab_size=99, bos_token_id=97, eos_token_id=98),
        vision_config=CLIPVisionConfig(**tower, image_size=16, patch_size=8),
        temporal_config=DRLTemporalConfig(
            hidden_size=24,
            intermediate_size=40,
            num_hidden_layers=3,
            num_attention_heads=3,
            max_position_embeddings=5,
            hidden_act="relu",
            layer_norm_eps=1e-6,
            attention_dropout=0.1,
            initializer_range=0.03,
            initializer_factor=0.5,
        ),
        cross_config=DRLCrossConfig(
            hidden_size=24,
            intermediate_size=41,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=6,
            hidden_act="gelu",
            layer_norm_eps=1e-7,
            attention_dropout=0.2,
            initializer_range=0.04,
            initializer_factor=0.6,
            hidden_dropout=0.3,
        ),
        projection_dim=24,
        interaction="ti",
        token_weight_depth=3,
        temporal_encoder="none",
        padding_similarity="zero",
        cdcr="none",
        cdcr_lambda=0.5,
        cdcr_alpha_diagonal=1,
        cdcr_alpha_off_diagonal=0.06,
        logit_scale_init_value=1.5,
        image_mean=[0.5, 0.4, 0.3],
        image_std=[0.2, 0.2, 0.1],
        initializer_range=0.1,
        initializer_factor=2.0,
    )


def declared(config: PreTrainedConfig) -> dict:
    """Every declared field of a configuration and of those in it."""
    values = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    classes = type(config).__mro__[: type(config).__mro__.index(PreTrainedConfig)]
    names = {name for cls in classes for name in cls.__annotations__} & set(values)
    return {
        name: declared(values[name]) if isinstance(values[name], PreTrainedConfig) else values[name] for name in names
    }


@pytest.mark.parametrize(
    "config",
    [DRLConfig(), every_field_changed(), DRLConfig(text_config={"max_position_embeddings": 9}, temporal_config={})],
    ids=["defaults", "changed", "temporal defaults beside another text tower"],
)
def test_a_saved_configuration_comes_back(config: DRLConfig, tmp_path: Path):
    config.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "drl"
    for loaded in (DRLConfig.from_pretrained(tmp_path), AutoConfig.from_pretrained(tmp_path)):
        assert type(loaded) is DRLConfig
        assert type(loaded.temporal_config) is DRLTemporalConfig and type(loaded.cross_config) is DRLCrossConfig
        assert type(loaded.text_config) is CLIPTextConfig and type(loaded.vision_config) is CLIPVisionConfig
        assert declared(loaded) == declared(config)


def test_the_round_trip_is_tried_on_every_field():
    changed, default = declared(every_field_changed()), declared(DRLConfig())
    assert not [name for name in changed if changed[name] == default[name]]
    for blocks, count in (("temporal_config", 10), ("cross_config", 11)):
        assert len(changed[blocks]) == count
        assert not [name for name in changed[blocks] if changed[blocks][name] == default[blocks][name]]


def test_towers_of_an_old_clip_checkpoint_load(tmp_path: Path):
    """Sub-configs on the Hub carry generation fields, and `dropout` of before transformers 4.30."""
    legacy = {"dropout": 0.0, "num_beams": 1, "bad_words_ids": None, "torch_dtype": "float32", "top_k": 50}
    folder = tmp_path / "clip"
    folder.mkdir()
    clip = {
        "model_type": "clip",
        "projection_dim": 512,
        "text_config": {**legacy, "hidden_size": 64, "num_attention_heads": 2, "model_type": "clip_text_model"},
        "vision_config": {**legacy, "hidden_size": 96, "num_attention_heads": 3, "model_type": "clip_vision_model"},
    }
    (folder / "config.json").write_text(json.dumps(clip))
    clip_config = CLIPConfig.from_pretrained(folder)
    config = DRLConfig(text_config=clip_config.text_config, vision_config=clip_config.vision_config)
    config.save_pretrained(tmp_path / "drl")
    loaded = AutoConfig.from_pretrained(tmp_path / "drl")
    assert (loaded.text_config.hidden_size, loaded.vision_config.hidden_size) == (64, 96)
    from_dicts = DRLConfig(text_config=clip["text_config"], vision_config=clip["vision_config"])
    assert (from_dicts.text_config.hidden_size, from_dicts.vision_config.hidden_size) == (64, 96)


@pytest.mark.parametrize("name", ["text_config", "vision_config", "temporal_config", "cross_config"])
def test_sizes_that_no_model_has_are_refused_before_it_is_built(name, tmp_path):
    part = json.loads(DRLConfig().to_json_string())[name]
    sizes = {field for field in SIZES if field in part}
    assert sizes >= {"num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads"}
    assert sizes > {"temporal_config": set(), "vision_config": {"image_size", "patch_size"}}.get(name, set())
    for field in sizes:
        most = "1,000" if field == "num_hidden_layers" else "1,000,000"
        for value, expected in ((10**9, f"at most {most}"), (0, "at least 1"), (-1, "at least 1")):
            said = f"`{name}.{field}`: found {value}, expected {expected}."
            with pytest.raises(ValueError, match=said):
                DRLConfig(**{name: {**part, field: value}})
            content = json.dumps({"model_type": "drl", name: {**part, field: value}})
            (tmp_path / "config.json").write_text(content)
            with pytest.raises(ValueError, match=said):
                DRLModel.from_pretrained(tmp_path)


def test_a_patch_is_not_larger_than_the_image():
    with pytest.raises(ValueError, match="`vision_config.patch_size`: found 64, expected at most 32"):
        DRLConfig(vision_config={"image_size": 32, "patch_size": 64})
