"""Original checkpoints, made here under their own names: what converts, to which numbers, and what is refused."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPTokenizer

from drl_tvr import CheckpointError, DRLConfig, DRLModel, DRLProcessor, convert_checkpoint
from drl_tvr.conversion.original_names import original_names
from drl_tvr_cli import main


WIDTH, VOCAB, CONTEXT = 64, 30, 10
# Official name -> shape, for a CLIP of one block a tower.
CLIP = {
    "visual.class_embedding": (WIDTH,),
    "visual.positional_embedding": (5, WIDTH),
    "visual.proj": (WIDTH, WIDTH),
    "visual.conv1.weight": (WIDTH, 3, 8, 8),
    "visual.ln_pre.weight": (WIDTH,),
    "visual.ln_pre.bias": (WIDTH,),
    "visual.ln_post.weight": (WIDTH,),
    "visual.ln_post.bias": (WIDTH,),
    "positional_embedding": (CONTEXT, WIDTH),
    "token_embedding.weight": (VOCAB, WIDTH),
    "ln_final.weight": (WIDTH,),
    "ln_final.bias": (WIDTH,),
    "text_projection": (WIDTH, WIDTH),
    "logit_scale": (),
}
BLOCK = {
    "attn.in_proj_weight": (3 * WIDTH, WIDTH),
    "attn.in_proj_bias": (3 * WIDTH,),
    "attn.out_proj.weight": (WIDTH, WIDTH),
    "attn.out_proj.bias": (WIDTH,),
    "ln_1.weight": (WIDTH,),
    "ln_1.bias": (WIDTH,),
    "mlp.c_fc.weight": (4 * WIDTH, WIDTH),
    "mlp.c_fc.bias": (4 * WIDTH,),
    "mlp.c_proj.weight": (WIDTH, 4 * WIDTH),
    "mlp.c_proj.bias": (WIDTH,),
    "ln_2.weight": (WIDTH,),
    "ln_2.bias": (WIDTH,),
}


def blocks(prefix: str, count: int = 1) -> dict[str, tuple[int, ...]]:
    return {f"{prefix}.resblocks.{i}.{name}": shape for i in range(count) for name, shape in BLOCK.items()}


def weight_head(depth: int) -> dict[str, tuple[int, ...]]:
    names = {}
    for side in ("text", "video"):
        for layer in range(depth):
            prefix = f"{side}_weight_fc" if depth == 1 else f"{side}_weight_fc.{2 * layer}"
            rows = 1 if layer == depth - 1 else WIDTH
            names |= {f"{prefix}.weight": (rows, WIDTH), f"{prefix}.bias": (rows,)}
    return names


CLIP_SHAPES = CLIP | blocks("visual.transformer") | blocks("transformer")
HEADS = {
    "dp": {},
    "ti": {},
    "wti": weight_head(2),
    "wti1": weight_head(1),
    "wti3": weight_head(3),
    "mlp": {
        "similarity_dense.0.weight": (WIDTH, 2 * WIDTH),
        "similarity_dense.0.bias": (WIDTH,),
        "similarity_dense.2.weight": (1, WIDTH),
        "similarity_dense.2.bias": (1,),
    },
    "xti": {
        "cross.embeddings.position_embeddings.weight": (CONTEXT, WIDTH),
        **blocks("cross.transformer", 2),
        "cross.pooler.ln_pool.weight": (WIDTH,),
        "cross.pooler.ln_pool.bias": (WIDTH,),
        "cross.pooler.dense.weight": (WIDTH, WIDTH),
        "cross.pooler.dense.bias": (WIDTH,),
        "similarity_dense.weight": (1, WIDTH),
        "similarity_dense.bias": (1,),
    },
    "none": {},
    "transformer": {"frame_position_embeddings.weight": (CONTEXT, WIDTH), **blocks("transformerClip", 3)},
    # seqLSTM declares positions too, and reads none.
    "lstm": {
        "frame_position_embeddings.weight": (CONTEXT, WIDTH),
        "lstm_visual.weight_ih_l0": (4 * WIDTH, WIDTH),
        "lstm_visual.weight_hh_l0": (4 * WIDTH, WIDTH),
        "lstm_visual.bias_ih_l0": (4 * WIDTH,),
        "lstm_visual.bias_hh_l0": (4 * WIDTH,),
    },
}


def official_state(interaction: str = "wti", temporal: str = "transformer") -> dict[str, torch.Tensor]:
    """A whole checkpoint of DRL, with the same random numbers every time."""
    shapes = {f"clip.{name}": shape for name, shape in CLIP_SHAPES.items()}
    shapes |= HEADS[interaction] | HEADS[temporal]
    generator = torch.Generator().manual_seed(0)
    state = {name: 0.1 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    for name in state:
        if ".ln_" in name and name.endswith("weight"):
            state[name] += 1.0
    state["clip.logit_scale"] = torch.tensor(3.0)
    return state


def plain_clip() -> dict[str, torch.Tensor]:
    state = official_state("dp", "none")
    return {name.removeprefix("clip."): tensor for name, tensor in state.items()}


def save(state, path: Path) -> Path:
    torch.save(state, path)
    return path


def convert(state, folder: Path, **options) -> DRLModel:
    """Convert a checkpoint of these tensors, and load the model from its folder."""
    return DRLModel.from_pretrained(
        convert_checkpoint(save(state, folder / "pytorch_model.bin.4"), folder / "converted", **options)
    )


def inputs() -> dict[str, torch.Tensor]:
    """Two texts of 6 and 4 words and three videos of 4, 2 and 1 frames."""
    generator = torch.Generator().manual_seed(1)
    words, frames = torch.tensor([6, 4]), torch.tensor([4, 2, 1])
    return {
        "input_ids": torch.randint(0, VOCAB, (2, 6), generator=generator),
        "attention_mask": (torch.arange(6) < words[:, None]).long(),
        "pixel_values_videos": torch.randn(3, 4, 3, 16, 16, generator=generator),
        "video_mask": (torch.arange(4) < frames[:, None]).long(),
    }


# What converts


# Logits of `inputs()` on `official_state`, by the code that gives the official code's numbers on all of its cases.
FROZEN = {
    ("dp", "none"): [[-1.721, -1.6228, -1.7783], [-5.344, -4.9406, -5.2353]],
    ("dp", "lstm"): [[-2.3235, -2.0793, -2.1007], [-5.0862, -4.7789, -5.123]],
    ("dp", "transformer"): [[-0.4483, -0.1057, 0.1922], [-2.6561, -2.9062, -2.997]],
    ("ti", "none"): [[-0.7121, -0.297, -0.4165], [-2.0343, 0.0, 0.0]],
    ("ti", "lstm"): [[-1.1672, -0.553, -0.6628], [-2.0232, 0.0, 0.0]],
    ("ti", "transformer"): [[1.2548, 0.928, 0.856], [-0.9413, 0.0, 0.0]],
    ("wti", "none"): [[-0.6716, -0.2756, -0.4165], [-2.0476, 0.0, 0.0]],
    ("wti", "lstm"): [[-0.9952, -0.3729, -0.444], [-2.5013, 0.0, 0.0]],
    ("wti", "transformer"): [[-2.2125, -0.8479, -1.0424], [-1.8786, 0.0, 0.0]],
    ("wti1", "none"): [[-0.5424, -0.2518, -0.4165], [-2.0441, 0.0, 0.0]],
    ("wti1", "lstm"): [[-0.4519, -0.1815, -0.3142], [-2.0368, 0.0, 0.0]],
    ("wti1", "transformer"): [[1.8379, 1.9017, 2.0182], [-0.7463, 0.0, 0.0]],
    ("wti3", "none"): [[-0.6699, -0.2997, -0.4165], [-2.0357, 0.0, 0.0]],
    ("wti3", "lstm"): [[-1.0903, -0.5333, -0.6626], [-2.0746, 0.0, 0.0]],
    ("wti3", "transformer"): [[-1.7737, -1.0071, -1.2318], [-1.9403, 0.0, 0.0]],
    ("mlp", "none"): [[-8.3855, -8.9372, -8.664], [-7.1766, -7.5362, -7.1697]],
    ("mlp", "lstm"): [[-8.0959, -8.5876, -8.5549], [-7.0222, -7.4333, -7.1681]],
    ("mlp", "transformer"): [[-7.4109, -7.8743, -8.1335], [-5.9516, -6.562, -6.5113]],
    ("xti", "none"): [[-2.5769, -1.5515, -0.2869], [-4.3802, -4.7242, -5.0384]],
    ("xti", "lstm"): [[-4.6097, -3.3522, -1.6333], [-5.0995, -5.2064, -5.3767]],
    ("xti", "transformer"): [[-2.0543, -0.938, -2.2277], [-5.2488, -5.7436, -6.2801]],
}


@pytest.mark.parametrize("interaction", ["dp", "ti", "wti", "wti1", "wti3", "mlp", "xti"])
@pytest.mark.parametrize("temporal", ["none", "lstm", "transformer"])
def test_names_and_shapes_tell_the_configuration(interaction: str, temporal: str, tmp_path: Path):
    options = {"interaction": interaction} if interaction in ("dp", "ti") else {}
    model = convert(official_state(interaction, temporal), tmp_path, **options)
    config = model.config
    assert (config.interaction, config.temporal_encoder) == (interaction.rstrip("13"), temporal)
    assert config.token_weight_depth == {"wti1": 1, "wti3": 3}.get(interaction, 2)
    assert (config.projection_dim, config.padding_similarity) == (WIDTH, "zero")
    vision, text = config.vision_config, config.text_config
    assert (vision.image_size, vision.patch_size, vision.num_hidden_layers, vision.num_attention_heads) == (
        16,
        8,
        1,
        1,
    )
    assert (text.vocab_size, text.max_position_embeddings, text.bos_token_id, text.eos_token_id) == (30, 10, 28, 29)
    assert text.hidden_act == vision.hidden_act == "quick_gelu"
    if temporal == "transformer":
        assert (config.temporal_config.num_hidden_layers, config.temporal_config.num_attention_heads) == (3, 1)
    if interaction == "xti":
        cross = config.cross_config
        assert (cross.num_hidden_layers, cross.num_attention_heads, cross.hidden_dropout) == (2, 8, 0.1)
    with torch.no_grad():
        logits = model(**inputs()).logits_per_text
    torch.testing.assert_close(logits, torch.tensor(FROZEN[interaction, temporal]), rtol=1e-4, atol=1e-4)


def test_every_tensor_lands_whole_and_where_it_belongs(tmp_path: Path):
    state = official_state("xti", "lstm")
    parameters = dict(convert(state, tmp_path).named_parameters())
    names = original_names(DRLConfig.from_pretrained(tmp_path / "converted"))
    assert set(state) - set(names) == {"frame_position_embeddings.weight"}
    assert sorted(ours for group in names.values() for ours in group) == sorted(parameters)
    torch.testing.assert_close(parameters["visual_projection.weight"], state["clip.visual.proj"].T)
    torch.testing.assert_close(parameters["text_projection.weight"], state["clip.text_projection"].T)
    fused = state["cross.transformer.resblocks.1.attn.in_proj_weight"]
    for part, rows in zip("qkv", fused.chunk(3), strict=True):
        assert torch.equal(parameters[f"cross_transformer.layers.1.self_attn.{part}_proj.weight"], rows)
    assert torch.equal(parameters["temporal_encoder.lstm.bias_hh_l0"], state["lstm_visual.bias_hh_l0"])
    assert torch.equal(parameters["cross_transformer.score.weight"], state["similarity_dense.weight"])


def test_the_options_are_fields_of_the_configuration(tmp_path: Path):
    config = convert(
        official_state(),
        tmp_path,
        cdcr="argmax",
        cdcr_lambda=0.5,
        cdcr_alpha_diagonal=0.16,
        cdcr_alpha_off_diagonal=0.06,
    ).config
    assert (config.cdcr, config.cdcr_lambda) == ("argmax", 0.5)
    assert (config.cdcr_alpha_diagonal, config.cdcr_alpha_off_diagonal) == (0.16, 0.06)


def test_tensors_that_share_memory_convert(tmp_path: Path):
    """Aliases, and views that are not contiguous."""
    state = official_state()
    for name in HEADS["wti"]:
        if name.startswith("video"):
            state[name] = state[name.replace("video", "text")]
    fused = "clip.transformer.resblocks.0.attn.in_proj_weight"
    state[fused] = state[fused].T.contiguous().T
    parameters = dict(convert(state, tmp_path).named_parameters())
    assert torch.equal(parameters["text_model.encoder.layers.0.self_attn.k_proj.weight"], state[fused].chunk(3)[1])
    assert torch.equal(parameters["frame_token_weights.layers.0.bias"], state["text_weight_fc.0.bias"])


def test_the_prefix_of_distributed_training_goes(tmp_path: Path):
    state = official_state()
    (tmp_path / "ddp").mkdir()
    with_prefix = convert({f"module.{name}": tensor for name, tensor in state.items()}, tmp_path / "ddp")
    without = convert(state, tmp_path)
    for name, parameter in without.named_parameters():
        assert torch.equal(parameter, with_prefix.get_parameter(name)), name


def test_half_precision_towers_lose_nothing(tmp_path: Path):
    """On a GPU the official code keeps and saves CLIP in float16."""
    half = {name: x.half() if name.startswith("clip.") else x for name, x in official_state().items()}
    model = convert(half, tmp_path)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    found = model.get_parameter("text_model.encoder.layers.0.mlp.fc1.weight")
    assert torch.equal(found, half["clip.transformer.resblocks.0.mlp.c_fc.weight"].float())


def test_a_plain_clip_converts_to_dp(tmp_path: Path):
    numbers = {"input_resolution": 16, "context_length": CONTEXT, "vocab_size": VOCAB}
    state = plain_clip() | {name: torch.tensor(number) for name, number in numbers.items()}
    model = convert(state, tmp_path)
    assert (model.config.interaction, model.config.temporal_encoder) == ("dp", "none")
    (tmp_path / "drl").mkdir()
    wanted = convert(official_state("dp", "none"), tmp_path / "drl", interaction="dp")
    for name, parameter in wanted.named_parameters():
        assert torch.equal(parameter, model.get_parameter(name)), name


@pytest.mark.parametrize("how", ["zip", "legacy", "safetensors"])
def test_it_reads_what_torch_and_safetensors_write(how: str, tmp_path: Path):
    state, path = official_state(), tmp_path / "best.pth"
    if how == "safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=how == "zip")
    folder = convert_checkpoint(path, tmp_path / "deep" / "converted")
    assert torch.equal(load_file(folder / "model.safetensors")["logit_scale"], torch.tensor(3.0))


def test_a_converted_model_trains(tmp_path: Path):
    model = convert(official_state("xti", "lstm"), tmp_path).train()
    batch = {name: value[:2] for name, value in inputs().items()}
    model(**batch, return_loss=True).loss.backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


# The processor


@pytest.fixture
def tokenizer_state(clip_tokenizer_dir: Path) -> dict[str, torch.Tensor]:
    """A checkpoint whose text tower has the tokens of `clip_tokenizer_dir`."""
    state = official_state()
    size = len(CLIPTokenizer.from_pretrained(clip_tokenizer_dir))
    state["clip.token_embedding.weight"] = torch.randn(size, WIDTH)
    return state


def test_with_a_tokenizer_the_folder_takes_captions_and_files(
    tokenizer_state, clip_tokenizer_dir: Path, make_video, tmp_path: Path
):
    model = convert(tokenizer_state, tmp_path, tokenizer=clip_tokenizer_dir)
    processor = DRLProcessor.from_pretrained(tmp_path / "converted")
    assert processor.max_length == CONTEXT  # 32 where the tower has that many positions
    assert processor.pad_to_max_length and processor.video_processor.pad_to_max_frames
    batch = processor(text=["a dog runs", "a cat"], videos=[make_video()], return_tensors="pt")
    assert batch["input_ids"].shape == (2, CONTEXT) and batch["video_mask"].shape == (1, CONTEXT)
    assert batch["pixel_values_videos"].shape[-2:] == (16, 16)
    with torch.no_grad():
        assert model(**batch).logits_per_text.shape == (2, 1)


def test_without_a_tokenizer_there_is_no_processor_and_it_says_so(tmp_path: Path, capsys, caplog):
    save(official_state(), tmp_path / "best.pth")
    assert main(["convert", str(tmp_path / "best.pth"), str(tmp_path / "out")]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["config.json", "model.safetensors"]
    assert "no processor: pass a CLIP tokenizer" in caplog.text
    assert "interaction: wti, weights of depth 2" in caplog.text


def test_what_is_left_out_is_said(tmp_path: Path, caplog):
    save(official_state("wti", "lstm"), tmp_path / "best.pth")
    assert main(["convert", str(tmp_path / "best.pth"), str(tmp_path / "out")]) == 0
    assert "ignored: frame_position_embeddings.weight" in caplog.text


def test_the_tokenizer_of_another_model_is_refused(clip_tokenizer_dir: Path, tmp_path: Path):
    with pytest.raises(ValueError, match="is not the tokenizer of this model: found 521 tokens.*expected 30"):
        convert(official_state(), tmp_path, tokenizer=clip_tokenizer_dir)
    with pytest.raises((OSError, ValueError), match="nowhere"):
        convert(official_state(), tmp_path, tokenizer=tmp_path / "nowhere")
    assert [path.name for path in tmp_path.iterdir()] == ["pytorch_model.bin.4"]


# What is refused


def without(*names: str) -> dict:
    return {name: tensor for name, tensor in official_state().items() if name not in names}


def changed(**tensors) -> dict:
    return official_state() | {name.replace("__", "."): tensor for name, tensor in tensors.items()}


@pytest.mark.parametrize(
    ("state", "options", "said"),
    [
        (without("clip.visual.conv1.weight"), {}, "found 8.*expected 'clip.visual.conv1.weight' among them"),
        (without("clip.ln_final.bias"), {}, r"missing: clip.ln_final.bias \(64,\)"),
        (without("video_weight_fc.0.weight"), {}, r"missing: video_weight_fc.0.weight \(64, 64\)"),
        (
            without(*[name for name in official_state() if name.startswith("video_weight_fc")]),
            {},
            "found 4 misfits, expected none:(?s:.*)missing: video_weight_fc.2.bias",
        ),
        (
            without("frame_position_embeddings.weight", "clip.ln_final.bias"),
            {},
            r"found 2 misfits(?s:.*)missing: clip.ln_final.bias(?s:.*)missing: frame_position_embeddings.weight \(10",
        ),
        (
            {k: x for k, x in official_state("xti").items() if not k.startswith("cross.")},
            {},
            "missing: cross.embeddings.position_embeddings.weight(?s:.*)missing: cross.transformer.resblocks.3",
        ),
        (
            official_state("wti", "lstm") | {"frame_position_embeddings.weight": torch.zeros(3, 3, 3)},
            {},
            r"misshapen: frame_position_embeddings.weight: found \(3, 3, 3\)",
        ),
        (changed(clip__visual__conv1__weight=torch.zeros(0, 3, 8, 8)), {}, r"shape \(0, 3, 8, 8\), expected sizes of"),
        (
            changed(clip__visual__positional_embedding=torch.zeros(1, 64)),
            {},
            r"found 1 rows, expected grid \* grid \+ 1",
        ),
        (
            changed(clip__token_embedding__weight=torch.zeros(2, 64)),
            {},
            "found 2 rows, expected at least 3 for BOS, EOS and a word",
        ),
        (changed(clip__token_embedding__weight=torch.zeros(1).expand(2**33, 64)), {}, "without memory of their own"),
        (changed(clip__text_projection=torch.zeros(64, 64).to_sparse()), {}, "without memory of their own"),
        (changed(clip__ln_final__bias=torch.full((64,), float("nan"))), {}, "not finite: clip.ln_final.bias"),
        (
            official_state() | {f"transformerClip.resblocks.{i}.ln_1.bias": torch.zeros(64) for i in range(101)},
            {},
            "transformerClip.resblocks: found 101 blocks, expected at most 100",
        ),
        (without("transformerClip.resblocks.0.ln_1.bias"), {}, "missing: transformerClip.resblocks.0.ln_1.bias"),
        (
            without(*[name for name in official_state() if name.startswith("transformerClip.resblocks.1.")]),
            {},
            "unknown: transformerClip.resblocks.2(?s:.*)missing: transformerClip.resblocks.1",
        ),
        (changed(extra=torch.zeros(2)), {}, r"found 1 misfits, expected none:(?s:.*)unknown: extra \(2,\)"),
        (changed(lstm_visual__weight_ih_l0=torch.zeros(4, 4)), {}, "unknown: transformerClip"),
        (changed(clip__logit_scale=torch.zeros(2)), {}, r"misshapen: clip.logit_scale: found \(2,\), expected \(\)"),
        (
            changed(text_weight_fc__0__weight=torch.zeros(64, 32)),
            {},
            r"misshapen: text_weight_fc.0.weight: found \(64, 32\), expected \(64, 64\)",
        ),
        (changed(clip__text_projection=torch.zeros(64, 128)), {}, "misshapen: clip.visual.proj"),
        (
            changed(clip__ln_final__bias=torch.zeros(64).long()),
            {},
            "of another type: clip.ln_final.bias: found torch.int64, expected floating point",
        ),
        (
            changed(clip__visual__positional_embedding=torch.zeros(7, 64)),
            {},
            r"found 7 rows, expected grid \* grid \+ 1",
        ),
        (changed(clip__positional_embedding=torch.zeros(64)), {}, r"found shape \(64,\), expected 2 dimensions"),
        (
            changed(clip__visual__conv1__weight=torch.zeros(60, 3, 8, 8)),
            {},
            "found width 60, expected a multiple of 64",
        ),
        (
            changed(**{"clip__visual__layer1__0__conv1__weight": torch.zeros(1)}),
            {},
            "found a ResNet as the vision tower",
        ),
        (official_state("dp", "none"), {}, "does not distinguish 'dp' from 'ti': pass `interaction`"),
        (
            official_state(),
            {"interaction": "dp"},
            "`interaction`: found 'text_weight_fc.0.weight' of 'wti', expected 'dp'",
        ),
        (
            official_state("dp", "none"),
            {"interaction": "wti"},
            r"`interaction`: found no tensor text_weight_fc\.\*, expected 'wti'",
        ),
        (official_state("dp", "none"), {"interaction": "cosine"}, "`interaction`.*'cosine'"),
        (official_state(), {"cdcr": "3"}, "`cdcr`.*'3'"),
        (official_state(), {"cdcr_lambda": -1.0}, "`cdcr_lambda`.*-1.0"),
        (
            plain_clip() | {"vocab_size": torch.tensor(7)},
            {},
            "contradiction: vocab_size: found 7, expected 30 as the shapes say",
        ),
        (
            {"text_model.x": torch.zeros(1)},
            {},
            "found 1 tensors, such as text_model.x, expected 'clip.visual.conv1.weight'",
        ),
    ],
    ids=lambda value: value[:50] if isinstance(value, str) else "",
)
def test_what_does_not_fit_is_listed_with_the_file(state: dict, options: dict, said: str, tmp_path: Path):
    with pytest.raises(ValueError, match=said) as error:
        convert(state, tmp_path, **options)
    assert not isinstance(error.value, CheckpointError) or str(tmp_path / "pytorch_model.bin.4") in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["pytorch_model.bin.4"]


def test_an_unknown_option_is_named(tmp_path: Path):
    with pytest.raises(ValueError, match="found cdcr_alpha1, expected some of cdcr, cdcr_lambda"):
        convert(official_state(), tmp_path, cdcr_alpha1=0.11)


class Malicious:
    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def cut(path: Path, share: float) -> Path:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    return path


@pytest.mark.parametrize("share", [0.001, 0.3, 0.999])
@pytest.mark.parametrize("how", ["zip", "legacy", "safetensors"])
def test_a_truncated_checkpoint_is_refused(how: str, share: float, tmp_path: Path):
    state, path = official_state(), tmp_path / "best.pth"
    if how == "safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=how == "zip")
    with pytest.raises(CheckpointError, match="best.pth is not a state dict, or is damaged"):
        convert_checkpoint(cut(path, share), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"hello", "is not a state dict"),
        (b"\x00" * 100, "is not a state dict"),
        (pickle.dumps({"a": 1}), "not a state dict|are not tensors"),
    ],
)
def test_a_file_of_something_else_is_refused(content: bytes, said: str, tmp_path: Path):
    (tmp_path / "x.bin").write_bytes(content)
    with pytest.raises(CheckpointError, match=said):
        convert_checkpoint(tmp_path / "x.bin", tmp_path / "out")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([torch.zeros(1)], "found a list, expected a dict"),
        ({}, "expected a dict of names and tensors"),
        (torch.zeros(3), "found a Tensor, expected a dict"),
        (
            {"epoch": 3, "optimizer_state_dict": {}, "loss": 0.5},
            "found 3 entries that are not tensors.*'epoch': int, 'optimizer_state_dict': dict",
        ),
        ({0: torch.zeros(1)}, "found 1 entries that are not tensors"),
    ],
)
def test_a_pickle_of_something_else_is_refused(content, said: str, tmp_path: Path):
    with pytest.raises(CheckpointError, match=said):
        convert(content, tmp_path)


def test_a_pickle_that_would_run_something_is_refused_and_does_not(tmp_path: Path):
    with pytest.raises(CheckpointError, match="is not a state dict"):
        convert(official_state() | {"x": Malicious(tmp_path / "ran")}, tmp_path)
    assert not (tmp_path / "ran").exists()


def test_a_damaged_archive_is_refused(tmp_path: Path):
    path = save(official_state(), tmp_path / "best.pth")
    path.write_bytes(path.read_bytes().replace(b"PK\x01\x02", b"XXXX"))
    with pytest.raises(CheckpointError, match="best.pth is not a state dict, or is damaged"):
        convert_checkpoint(path, tmp_path / "out")


@pytest.mark.parametrize("content", ["{", "[1]", '{"a": 1}'])
def test_an_invalid_tokenizer_is_refused(content: str, tmp_path: Path):
    (tmp_path / "tokens").mkdir()
    (tmp_path / "tokens" / "vocab.json").write_text(content)
    (tmp_path / "tokens" / "merges.txt").write_text("#version: 0.2\n")
    with pytest.raises(ValueError, match="tokens"):
        convert(official_state(), tmp_path, tokenizer=tmp_path / "tokens")
    assert not (tmp_path / "converted").exists()


def test_a_torchscript_program_is_refused_with_the_way_out(tmp_path: Path):
    torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)).save(tmp_path / "ViT-B-32.pt")
    with pytest.raises(CheckpointError, match=r"TorchScript(?s:.*)torch.jit.load"):
        convert_checkpoint(tmp_path / "ViT-B-32.pt", tmp_path / "out")


def test_what_is_not_a_regular_file_is_refused(tmp_path: Path):
    file = save(official_state(), tmp_path / "best.pth")
    (tmp_path / "link.pth").symlink_to(file)
    (tmp_path / "dangling.pth").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.pth")
    (tmp_path / "folder.pth").mkdir()
    for name, error, said in (
        ("link.pth", OSError, "is a link to .*best.pth"),
        ("dangling.pth", OSError, "is a link to .*nowhere"),
        ("pipe.pth", OSError, "is not a regular file"),
        ("folder.pth", IsADirectoryError, "is a folder"),
        ("absent.pth", FileNotFoundError, "absent.pth"),
    ):
        with pytest.raises(error, match=said):
            convert_checkpoint(tmp_path / name, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_output_folder_in_use_is_refused_and_left_alone(tmp_path: Path):
    save(official_state(), tmp_path / "best.pth")
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "thesis.tex").write_text("mine")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    (tmp_path / "empty").mkdir()
    for name, said in (
        ("used", "in use: found 'thesis.tex' in it"),
        ("file", "not a folder"),
        ("link", "not a folder"),
    ):
        with pytest.raises(FileExistsError, match=said):
            convert_checkpoint(tmp_path / "best.pth", tmp_path / name)
    assert [path.name for path in (tmp_path / "used").iterdir()] == ["thesis.tex"]
    with pytest.raises(NotADirectoryError, match="file is a file"):
        convert_checkpoint(tmp_path / "best.pth", tmp_path / "file" / "out")
    assert (tmp_path / "file").read_text() == "mine" and not any((tmp_path / "empty").iterdir())
    assert (convert_checkpoint(tmp_path / "best.pth", tmp_path / "empty") / "model.safetensors").is_file()


def test_a_full_disk_is_an_error_that_leaves_nothing(tmp_path: Path):
    """A limit on the size of files stands in for it: the same error reaches the writer."""
    save(official_state(), tmp_path / "best.pth")
    script = (
        "import resource, signal, sys; from drl_tvr_cli import main; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)); sys.exit(main(['convert', 'best.pth', 'out']))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1 and "Traceback" not in done.stderr and "out cannot be written" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["best.pth"]


def test_a_failure_while_writing_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def no_room(self, folder, **kwargs):
        (Path(folder) / "config.json").write_text("{")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(DRLModel, "save_pretrained", no_room)
    with pytest.raises(OSError, match="No space left"):
        convert(official_state(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["pytorch_model.bin.4"]


# The command


def test_the_command_converts_and_names_what_is_wrong(tmp_path: Path):
    save(official_state("ti", "none"), tmp_path / "pytorch_model.bin.0")
    command = [sys.executable, "-m", "drl_tvr_cli", "convert", "pytorch_model.bin.0", "out"]

    def run(*flags: str) -> subprocess.CompletedProcess:
        return subprocess.run([*command, *flags], cwd=tmp_path, capture_output=True, text=True)

    done = run()
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.endswith(
        "drl-tvr: error: pytorch_model.bin.0: the checkpoint does not distinguish 'dp' from 'ti': pass "
        "`interaction`.\n"
    )
    done = run("--interaction", "ti", "--cdcr", "argmax", "--cdcr-alpha-diagonal", "0.16")
    assert done.returncode == 0, done.stderr
    assert "The model is in out." in done.stdout
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (config["interaction"], config["cdcr"], config["cdcr_alpha_diagonal"]) == ("ti", "argmax", 0.16)
    assert "is in use" in run("--interaction", "ti").stderr
