"""DRLModel: what a user of a Hugging Face model relies on, and what the padding must never do."""

import inspect
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel, BertConfig, BertModel, CLIPConfig, CLIPModel
from transformers.utils import logging as hf_logging

import drl_tvr
from drl_tvr import DRLConfig, DRLModel, DRLVideoProcessor
from drl_tvr.model.configuration_drl import INTERACTIONS, TEMPORAL_ENCODERS
from drl_tvr.model.decorrelation import channel_correlation, decorrelation_loss
from drl_tvr.model.interaction import normalize
from drl_tvr.model.losses import contrastive_loss


TOWER = {"hidden_size": 32, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
TEXT = {**TOWER, "vocab_size": 64, "max_position_embeddings": 9, "bos_token_id": 62, "eos_token_id": 63}
VISION = {**TOWER, "image_size": 16, "patch_size": 8}
TEMPORAL = {**TOWER, "max_position_embeddings": 6}
WORDS, FRAMES = [7, 3, 5], [4, 1, 2]

# An attention's probabilities don't change when a constant is added to every score, nor does a softmax over tokens.
WITHOUT_EFFECT = ("self_attn.k_proj.bias", "token_weights.layers.2.bias")


def tiny_config(**fields) -> DRLConfig:
    defaults = {"text_config": TEXT, "vision_config": VISION, "temporal_config": TEMPORAL, "projection_dim": 32}
    return DRLConfig(**{**defaults, **fields})


def tiny_model(**fields) -> DRLModel:
    """A model in evaluation mode whose parameters are random, biases too."""
    torch.manual_seed(0)
    model = DRLModel(tiny_config(**fields)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def tiny_inputs() -> dict[str, torch.Tensor]:
    """Three texts of 7, 3 and 5 words and three videos of 4, 1 and 2 frames."""
    generator = torch.Generator().manual_seed(1)
    input_ids = torch.randint(0, 62, (3, 7), generator=generator)
    attention_mask = (torch.arange(7) < torch.tensor(WORDS)[:, None]).long()
    input_ids[:, 0] = 62
    input_ids[torch.arange(3), torch.tensor(WORDS) - 1] = 63
    return {
        "input_ids": input_ids.masked_fill(attention_mask == 0, 63),
        "attention_mask": attention_mask,
        "pixel_values_videos": torch.randn(3, 4, 3, 16, 16, generator=generator),
        "video_mask": (torch.arange(4) < torch.tensor(FRAMES)[:, None]).long(),
    }


def assert_same_outputs(actual, expected, **tolerance):
    assert actual.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(actual[name], expected[name], **tolerance, msg=lambda text, n=name: f"{n}: {text}")


@pytest.fixture
def clip_dir(tmp_path: Path) -> Path:
    """A tiny random `CLIPModel`, saved."""
    torch.manual_seed(3)
    config = CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=32)
    model = CLIPModel(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        model.logit_scale.fill_(3.25)
    model.save_pretrained(tmp_path / "clip")
    return tmp_path / "clip"


@contextmanager
def uninitialised_memory_is_nan() -> Iterator[None]:
    """Within, whatever is allocated and not written to is NaN (or the largest integer)."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = True
    try:
        assert torch.empty(1).isnan().all()
        yield
    finally:
        torch.use_deterministic_algorithms(False)


# Output


@pytest.mark.parametrize("interaction", INTERACTIONS)
@pytest.mark.parametrize("temporal_encoder", TEMPORAL_ENCODERS)
def test_shapes_and_the_parts_of_the_loss(interaction: str, temporal_encoder: str):
    model = tiny_model(interaction=interaction, temporal_encoder=temporal_encoder, cdcr_lambda=0.5)
    outputs = model(**tiny_inputs(), return_loss=True)
    shapes = {name: tuple(value.shape) for name, value in outputs.items()}
    assert shapes == {
        "loss": (),
        "contrastive_loss": (),
        "cdcr_loss": (),
        "logits_per_text": (3, 3),
        "logits_per_video": (3, 3),
        "text_tokens": (3, 7, 32),
        "text_weights": (3, 7),
        "frame_tokens": (3, 4, 32),
        "frame_weights": (3, 4),
    }
    torch.testing.assert_close(outputs.logits_per_video, outputs.logits_per_text.T)
    torch.testing.assert_close(outputs.contrastive_loss, contrastive_loss(outputs.logits_per_text))
    torch.testing.assert_close(outputs.loss, outputs.contrastive_loss + 0.5 * outputs.cdcr_loss)
    assert (outputs.cdcr_loss > 0) == (interaction != "xti")
    for weights, lengths in ((outputs.text_weights, WORDS), (outputs.frame_weights, FRAMES)):
        torch.testing.assert_close(weights.sum(-1), torch.ones(3))
        assert (weights > 0).sum(-1).tolist() == lengths
        uniform = torch.tensor([[1 / n] for n in lengths])
        assert torch.allclose(weights[weights > 0], (weights > 0).mul(uniform)[weights > 0]) == (interaction != "wti")


def test_logits_are_similarities_times_the_scale():
    model, inputs = tiny_model(), tiny_inputs()
    outputs = model(**inputs)
    text = model.get_text_features(inputs["input_ids"], inputs["attention_mask"])
    video = model.get_video_features(inputs["pixel_values_videos"], inputs["video_mask"])
    similarity = model.similarity(text, video)
    assert similarity.abs().max() <= 1
    torch.testing.assert_close(outputs.logits_per_text, similarity * model.logit_scale.exp())
    torch.testing.assert_close(outputs.text_tokens, text.tokens)
    torch.testing.assert_close(outputs.frame_weights, video.weights)


def test_token_weights_are_a_softmax_of_a_small_network_on_raw_tokens():
    model = tiny_model()
    outputs = model(**tiny_inputs())
    first, last = model.frame_token_weights.layers[0], model.frame_token_weights.layers[2]
    hidden = (outputs.frame_tokens[0] @ first.weight.T + first.bias).clamp_min(0)
    expected = (hidden @ last.weight[0]).softmax(0)  # the first video has no padding
    torch.testing.assert_close(outputs.frame_weights[0], expected)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_the_depth_counts_linear_layers(depth: int):
    model = tiny_model(token_weight_depth=depth)
    names = [name for name, _ in model.text_token_weights.named_parameters() if name.endswith("weight")]
    assert names == [f"layers.{2 * i}.weight" for i in range(depth)]
    assert model(**tiny_inputs()).logits_per_text.isfinite().all()


@pytest.mark.parametrize("padding_similarity", ["ignore", "zero"])
def test_weighted_decorrelation_is_its_definition(padding_similarity: str):
    """Every real word with its best frame, weighted by w, and every real frame with its best word, weighted by u."""
    model = tiny_model(padding_similarity=padding_similarity, cdcr_alpha_off_diagonal=0.06)
    outputs = model(**tiny_inputs(), return_loss=True)
    rows = {"words": [], "their_frames": [], "w": [], "frames": [], "their_words": [], "u": []}
    for i, (num_words, num_frames) in enumerate(zip(WORDS, FRAMES, strict=True)):
        text, video = normalize(outputs.text_tokens[i]), normalize(outputs.frame_tokens[i])
        cosine = text @ video.T
        if padding_similarity == "zero":
            cosine[num_words:], cosine[:, num_frames:] = 0, 0
        else:
            cosine = cosine[:num_words, :num_frames]
        rows["words"].append(text[:num_words])
        rows["their_frames"].append(video[cosine.argmax(1)[:num_words]])
        rows["w"].append(outputs.text_weights[i, :num_words])
        rows["frames"].append(video[:num_frames])
        rows["their_words"].append(text[cosine.argmax(0)[:num_frames]])
        rows["u"].append(outputs.frame_weights[i, :num_frames])
    rows = {name: torch.cat(values) for name, values in rows.items()}
    by_words = channel_correlation(rows["words"], rows["their_frames"], 3, rows["w"])
    by_frames = channel_correlation(rows["frames"], rows["their_words"], 3, rows["u"])
    torch.testing.assert_close(outputs.cdcr_loss, decorrelation_loss((by_words + by_frames) / 2, 0.11, 0.06))


@pytest.mark.parametrize("interaction", ["ti", "wti"])
def test_argmax_decorrelation_is_unweighted_over_its_own_rows(interaction: str):
    """As the weighted one with weights of 1, each direction divided by its number of rows (15 words, 7 frames)."""
    model = tiny_model(interaction=interaction, cdcr="argmax", cdcr_alpha_off_diagonal=0.06)
    outputs = model(**tiny_inputs(), return_loss=True)
    rows = {"words": [], "their_frames": [], "frames": [], "their_words": []}
    for i, (num_words, num_frames) in enumerate(zip(WORDS, FRAMES, strict=True)):
        text, video = normalize(outputs.text_tokens[i, :num_words]), normalize(outputs.frame_tokens[i, :num_frames])
        cosine = text @ video.T
        for name, value in zip(rows, (text, video[cosine.argmax(1)], video, text[cosine.argmax(0)]), strict=True):
            rows[name].append(value)
    words, their_frames, frames, their_words = map(torch.cat, rows.values())
    assert (len(words), len(frames)) == (15, 7)

    def z(x: torch.Tensor) -> torch.Tensor:
        return (x - x.mean(0)) / x.std(0)

    correlation = (z(words).T @ z(their_frames) / 15 + z(frames).T @ z(their_words) / 7) / 2
    torch.testing.assert_close(outputs.cdcr_loss, decorrelation_loss(correlation, 0.11, 0.06))


def test_random_decorrelation_is_of_one_real_word_and_frame_a_pair():
    """One of the 7 * 3 * 5 choices of words and 4 * 1 * 2 of frames, and not always the same."""
    model, inputs = tiny_model(interaction="ti", cdcr="random", cdcr_alpha_off_diagonal=0.06), tiny_inputs()
    outputs = model(**inputs)
    text, video = normalize(outputs.text_tokens), normalize(outputs.frame_tokens)
    choices = product(product(*map(range, WORDS)), product(*map(range, FRAMES)))
    possible = {
        round(
            decorrelation_loss(
                channel_correlation(text[torch.arange(3), list(words)], video[torch.arange(3), list(frames)], 3),
                0.11,
                0.06,
            ).item(),
            3,
        )
        for words, frames in choices
    }
    found = {round(model(**inputs, return_loss=True).cdcr_loss.item(), 3) for _ in range(20)}
    assert len(found) > 10
    assert all(min(abs(value - loss) for loss in possible) < 2e-3 for value in found)


@pytest.mark.parametrize("interaction", ["dp", "mlp"])
def test_one_vector_a_side_is_decorrelated_the_same_by_every_mode(interaction: str):
    losses = {
        cdcr: tiny_model(interaction=interaction, cdcr=cdcr)(**tiny_inputs(), return_loss=True).cdcr_loss
        for cdcr in ("weighted", "argmax", "random")
    }
    outputs = tiny_model(interaction=interaction)(**tiny_inputs())
    text = normalize(outputs.text_tokens[torch.arange(3), torch.tensor(WORDS) - 1])
    frames = [normalize(outputs.frame_tokens[i, :length]).mean(0) for i, length in enumerate(FRAMES)]
    expected = decorrelation_loss(channel_correlation(text, normalize(torch.stack(frames)), 3))
    for loss in losses.values():
        torch.testing.assert_close(loss, expected)


def test_xti_has_no_decorrelation_and_says_so(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(logging.getLogger("drl_tvr"), "propagate", True)
    hf_logging.warning_once.cache_clear()
    with caplog.at_level(logging.WARNING):
        outputs = tiny_model(interaction="xti", cdcr="argmax")(**tiny_inputs(), return_loss=True)
        assert "XTI has no channel decorrelation: `cdcr='argmax'` adds 0 to the loss" in caplog.text
        caplog.clear()
        tiny_model(interaction="xti", cdcr="none")
        tiny_model(interaction="xti", cdcr_lambda=0.0)
    assert not caplog.text
    assert outputs.cdcr_loss == 0 and outputs.loss == outputs.contrastive_loss


def test_mlp_scores_the_vectors_of_dp():
    model, inputs = tiny_model(interaction="mlp"), tiny_inputs()
    outputs = model(**inputs)
    text = normalize(outputs.text_tokens[torch.arange(3), torch.tensor(WORDS) - 1])
    for i, length in enumerate(FRAMES):
        video = normalize(normalize(outputs.frame_tokens[i, :length]).mean(0))
        pairs = torch.cat([text, video.expand(3, -1)], dim=1)
        expected = model.pair_mlp.score(model.pair_mlp.hidden(pairs).relu()).squeeze(-1)
        torch.testing.assert_close(outputs.logits_per_text[:, i], expected * model.logit_scale.exp())


def test_without_decorrelation_the_loss_is_the_contrastive_one():
    outputs = tiny_model(cdcr="none")(**tiny_inputs(), return_loss=True)
    assert outputs.cdcr_loss == 0 and outputs.loss == outputs.contrastive_loss


def test_a_tuple_holds_what_the_output_holds():
    model, inputs = tiny_model(), tiny_inputs()
    for return_loss, length in ((True, 9), (False, 6)):
        outputs = model(**inputs, return_loss=return_loss)
        as_tuple = model(**inputs, return_loss=return_loss, return_dict=False)
        assert type(as_tuple) is tuple and len(as_tuple) == length
        for actual, expected in zip(as_tuple, outputs.to_tuple(), strict=True):
            torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("eos_token_id", [63, 2])
def test_without_masks_a_text_ends_at_its_end_and_all_frames_are_real(eos_token_id: int):
    """As in CLIPModel; old configurations say 2 for the end, which then is the highest id."""
    model, inputs = tiny_model(text_config={**TEXT, "eos_token_id": eos_token_id}), tiny_inputs()
    some = {name: inputs[name] for name in ("input_ids", "pixel_values_videos")}
    inputs["video_mask"] = torch.ones_like(inputs["video_mask"])
    assert_same_outputs(model(**some), model(**inputs))
    features = model.get_text_features(inputs["input_ids"])
    assert torch.equal(features.mask, inputs["attention_mask"])


def test_a_text_without_an_end_is_real_as_a_whole():
    ids = torch.randint(3, 62, (2, 5))
    assert torch.equal(tiny_model().get_text_features(ids).mask, torch.ones(2, 5, dtype=torch.long))


def test_no_items_are_a_value_error():
    model = tiny_model()
    for ids in (torch.zeros(0, 5, dtype=torch.long), torch.zeros(2, 0, dtype=torch.long), torch.zeros(5).long()):
        with pytest.raises(ValueError, match=r"`input_ids`: found shape .*, expected \(num_texts, num_tokens\)"):
            model.get_text_features(ids)
    for shape in ((0, 2, 3, 16, 16), (2, 0, 3, 16, 16)):
        with pytest.raises(ValueError, match="`pixel_values_videos`: found shape .* all at least 1"):
            model.get_video_features(torch.zeros(shape))


def test_all_parts_have_one_dtype_whatever_their_configurations_remember():
    config = tiny_config()
    for part in (config.text_config, config.vision_config, config.temporal_config):
        part.dtype = torch.bfloat16
    assert {parameter.dtype for parameter in DRLModel(config).parameters()} == {torch.float32}


def test_a_mask_may_be_of_any_type():
    model, inputs = tiny_model(), tiny_inputs()
    expected = model(**inputs, return_loss=True)
    for dtype in (torch.bool, torch.float32, torch.int32):
        masks = {name: inputs[name].to(dtype) for name in ("attention_mask", "video_mask")}
        assert_same_outputs(model(**{**inputs, **masks}, return_loss=True), expected)


def test_the_model_keeps_nothing_of_a_call():
    model, inputs = tiny_model(), tiny_inputs()
    first = model(**inputs)
    other = {name: value.flip(0)[:2] for name, value in inputs.items()}
    model(**other)
    assert_same_outputs(model(**inputs), first, rtol=0, atol=0)


@pytest.mark.parametrize("interaction", INTERACTIONS)
@pytest.mark.parametrize("temporal_encoder", TEMPORAL_ENCODERS)
def test_every_interaction_learns_to_tell_three_pairs_apart(interaction: str, temporal_encoder: str):
    """From the logarithm of 3, by the gradient of the loss alone."""
    torch.manual_seed(0)
    cross = {**TEMPORAL, "hidden_dropout": 0.0}
    fields = {"cross_config": cross, "initializer_range": 0.1, "cdcr": "none"}
    model = DRLModel(tiny_config(interaction=interaction, temporal_encoder=temporal_encoder, **fields))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(120):
        loss = model(**tiny_inputs(), return_loss=True).loss
        if loss < 0.3:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.3


@pytest.mark.parametrize("padding_similarity", ["ignore", "zero"])
def test_uint8_pixels_are_normalised_as_the_video_processor_does(padding_similarity: str):
    """Padding too: a frame that isn't there is 0 after the normalisation, not black before it."""
    fields = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.1]}
    model, inputs = tiny_model(padding_similarity=padding_similarity, **fields), tiny_inputs()
    generator = torch.Generator().manual_seed(2)
    videos = [torch.randint(0, 256, (n, 3, 16, 16), generator=generator, dtype=torch.uint8) for n in FRAMES]
    processor = DRLVideoProcessor(do_resize=False, do_center_crop=False, **fields)
    expected = processor(videos, return_tensors="pt")
    stored = torch.nn.utils.rnn.pad_sequence(videos, batch_first=True)
    assert stored.dtype == torch.uint8 and torch.equal(expected["video_mask"], inputs["video_mask"])
    outputs = [model(**{**inputs, "pixel_values_videos": x}, return_loss=True)
               for x in (stored, expected["pixel_values_videos"])]  # fmt: skip
    assert_same_outputs(*outputs, rtol=1e-4, atol=1e-5)


# Padding


@pytest.mark.parametrize("temporal_encoder", TEMPORAL_ENCODERS)
def test_a_video_has_the_same_features_alone_as_beside_longer_ones(temporal_encoder: str):
    model, inputs = tiny_model(temporal_encoder=temporal_encoder), tiny_inputs()
    together = model.get_video_features(inputs["pixel_values_videos"], inputs["video_mask"])
    for i, length in enumerate(FRAMES):
        alone = model.get_video_features(inputs["pixel_values_videos"][i : i + 1, :length])
        torch.testing.assert_close(together.tokens[i, :length], alone.tokens[0], rtol=0, atol=1e-5)
        torch.testing.assert_close(together.weights[i, :length], alone.weights[0], rtol=0, atol=1e-5)
        assert (together.tokens[i, length:] == 0).all() and (together.weights[i, length:] == 0).all()


def test_a_text_has_the_same_features_alone_as_beside_longer_ones():
    model, inputs = tiny_model(), tiny_inputs()
    together = model.get_text_features(inputs["input_ids"], inputs["attention_mask"])
    for i, length in enumerate(WORDS):
        alone = model.get_text_features(inputs["input_ids"][i : i + 1, :length])
        torch.testing.assert_close(together.tokens[i, :length], alone.tokens[0], rtol=0, atol=1e-5)
        torch.testing.assert_close(together.weights[i, :length], alone.weights[0], rtol=0, atol=1e-5)
        assert (together.tokens[i, length:] == 0).all() and (together.weights[i, length:] == 0).all()


@pytest.mark.parametrize("interaction", INTERACTIONS)
@pytest.mark.parametrize("pixels", [0.0, 1e4, float("nan")])
def test_what_stands_in_the_padding_changes_nothing(interaction: str, pixels: float):
    model, inputs = tiny_model(interaction=interaction), tiny_inputs()
    expected = model(**inputs, return_loss=True)
    expected.loss.backward()
    gradients = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()

    inputs["pixel_values_videos"][inputs["video_mask"] == 0] = pixels
    inputs["input_ids"][inputs["attention_mask"] == 0] = 0
    actual = model(**inputs, return_loss=True)
    actual.loss.backward()
    assert_same_outputs(actual, expected)
    for name, parameter in model.named_parameters():
        # The texts' padding is hidden from the real words, so its rows of the embedding get no gradient either.
        torch.testing.assert_close(parameter.grad, gradients[name], rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize(("padding_similarity", "num_rows"), [("ignore", sum(FRAMES)), ("zero", 12)])
def test_padded_frames_do_not_enter_the_vision_tower(padding_similarity: str, num_rows: int):
    """But for "zero": there a padded frame can be the best match of a word, and enters the decorrelation as such."""
    model, seen = tiny_model(padding_similarity=padding_similarity), []
    model.vision_model.register_forward_hook(
        lambda module, args, kwargs, output: seen.append(len(kwargs["pixel_values"])), with_kwargs=True
    )
    model(**tiny_inputs())
    assert seen == [num_rows]


def test_frames_reach_the_tower_in_order():
    """Without a temporal encoder a frame's token depends on its pixels alone."""
    model, inputs = tiny_model(temporal_encoder="none"), tiny_inputs()
    tokens = model.get_video_features(inputs["pixel_values_videos"], inputs["video_mask"]).tokens
    for i, length in enumerate(FRAMES):
        pooled = model.vision_model(inputs["pixel_values_videos"][i, :length]).pooler_output
        torch.testing.assert_close(tokens[i, :length], model.visual_projection(pooled))


def test_the_temporal_encoder_tells_the_order_of_frames():
    model, inputs = tiny_model(), tiny_inputs()
    pixels = inputs["pixel_values_videos"][:1]
    tokens = model.get_video_features(pixels).tokens
    flipped = model.get_video_features(pixels.flip(1)).tokens.flip(1)
    assert (tokens - flipped).abs().max() > 1e-3


def test_the_temporal_encoder_is_a_residual_around_blocks():
    """With blocks that write nothing, what comes out is frames + positions + frames."""
    model = tiny_model()
    encoder = model.temporal_encoder
    with torch.no_grad():
        for layer in encoder.layers:
            for linear in (layer.self_attn.out_proj, layer.mlp.fc2):
                linear.weight.zero_(), linear.bias.zero_()
    frames = torch.randn(2, 4, 32)
    expected = 2 * frames + encoder.position_embedding.weight[:4]
    torch.testing.assert_close(encoder(frames, torch.ones(2, 4)), expected)


# Numbers of items, and wrong inputs


@pytest.mark.parametrize("interaction", INTERACTIONS)
def test_texts_and_videos_may_differ_in_number_without_a_loss(interaction: str):
    model, inputs = tiny_model(interaction=interaction), tiny_inputs()
    square = model(**inputs).logits_per_text
    fewer = {name: value[1:] if "video" in name else value for name, value in inputs.items()}
    torch.testing.assert_close(model(**fewer).logits_per_text, square[:, 1:])
    with pytest.raises(ValueError, match="3 texts and 2 videos"):
        model(**fewer, return_loss=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"attention_mask": torch.ones(3, 6)},
            r"`attention_mask`: found shape \(3, 6\), expected \(3, 7\) to go with `input_ids`",
        ),
        (
            {"attention_mask": torch.ones(3)},
            r"`attention_mask`: found shape \(3,\), expected \(3, 7\) to go with `input_ids`",
        ),
        (
            {"video_mask": torch.ones(2, 4)},
            r"`video_mask`: found shape \(2, 4\), expected \(3, 4\) to go with `pixel_values_videos`",
        ),
        ({"attention_mask": torch.tensor([[1] * 7, [0] * 7, [1] * 7])}, "`attention_mask`: found only zeros in row 1"),
        ({"video_mask": torch.tensor([[1] * 4, [1] * 4, [0] * 4])}, "`video_mask`: found only zeros in row 2"),
        ({"input_ids": None}, "`input_ids`: found None, expected a tensor"),
        ({"pixel_values_videos": None}, "`pixel_values_videos`: found None, expected a tensor"),
        (
            {"pixel_values_videos": torch.ones(3, 3, 16, 16)},
            r"`pixel_values_videos`: found shape \(3, 3, 16, 16\), expected 5 dimensions",
        ),
        (
            {"pixel_values_videos": torch.ones(3, 7, 3, 16, 16), "video_mask": torch.ones(3, 7)},
            "found 7 frames, expected at most 6: `temporal_config.max_position_embeddings` is 6",
        ),
        ({"input_ids": torch.ones(3, 10).long(), "attention_mask": torch.ones(3, 10)}, "10"),
    ],
    ids=lambda value: ", ".join(value) if isinstance(value, dict) else "",
)
def test_a_wrong_input_is_named(change: dict, message: str):
    with pytest.raises(ValueError, match=message):
        tiny_model()(**{**tiny_inputs(), **change})


@pytest.mark.parametrize("missing", ["input_ids", "pixel_values_videos"])
def test_a_missing_input_is_named(missing: str):
    inputs = tiny_inputs()
    del inputs[missing]
    with pytest.raises(ValueError, match="found None, expected a tensor"):
        tiny_model()(**inputs)


def test_too_many_frames_do_not_reach_the_vision_tower():
    """An error comes before any long work."""
    model = tiny_model()
    model.vision_model.register_forward_pre_hook(lambda *_: pytest.fail("the tower ran"))
    with pytest.raises(ValueError, match="7 frames"):
        model.get_video_features(torch.ones(1, 7, 3, 16, 16))


def test_frames_that_leave_the_text_no_position_do_not_reach_the_vision_tower():
    model = tiny_model(interaction="xti", cross_config={**TEMPORAL, "max_position_embeddings": 4})
    model.vision_model.register_forward_pre_hook(lambda *_: pytest.fail("the tower ran"))
    with pytest.raises(ValueError, match="found 4 frames, expected at most 3: `cross_config.max_position"):
        model.get_video_features(torch.ones(1, 4, 3, 16, 16))


@pytest.mark.parametrize("interaction", INTERACTIONS)
@pytest.mark.parametrize("temporal_encoder", TEMPORAL_ENCODERS)
def test_a_model_of_bfloat16_weights_scores_near_float32(interaction: str, temporal_encoder: str):
    fields = {"interaction": interaction, "temporal_encoder": temporal_encoder}
    inputs = tiny_inputs()
    with torch.no_grad():
        exact = tiny_model(**fields)(**inputs).logits_per_text
        coarse = tiny_model(**fields).to(torch.bfloat16)(**inputs).logits_per_text
    assert coarse.dtype == torch.float32
    torch.testing.assert_close(coarse, exact, rtol=0.1, atol=0.1 * exact.abs().max().item())


def test_one_word_and_one_frame_score_their_cosine():
    inputs = {name: value[1:2, :1] for name, value in tiny_inputs().items()}
    outputs = tiny_model()(**inputs)
    cosine = normalize(outputs.text_tokens[:, 0]) @ normalize(outputs.frame_tokens[:, 0]).T
    torch.testing.assert_close(outputs.logits_per_text, cosine * tiny_model().logit_scale.exp())


# Saving, loading, initialising


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"interaction": "ti", "temporal_encoder": "none"},
        {"interaction": "dp", "padding_similarity": "zero"},
        {"interaction": "mlp", "temporal_encoder": "lstm"},
        {"interaction": "xti"},
    ],
)
def test_a_saved_model_gives_the_same_outputs(fields: dict, tmp_path: Path):
    model, inputs = tiny_model(**fields), tiny_inputs()
    model.save_pretrained(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    expected = model(**inputs, return_loss=True)
    for loader in (DRLModel, AutoModel):
        loaded, report = loader.from_pretrained(tmp_path, output_loading_info=True)
        assert type(loaded) is DRLModel and not loaded.training
        assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
        for name, parameter in loaded.named_parameters():
            assert torch.equal(parameter, model.get_parameter(name)), name
        # Memory that is mapped is aligned otherwise, and adds up in another order.
        assert_same_outputs(loaded(**inputs, return_loss=True), expected, rtol=1e-5, atol=1e-6)
    assert type(AutoConfig.from_pretrained(tmp_path)) is DRLConfig
    assert type(AutoModel.from_config(tiny_config(**fields))) is DRLModel


def test_names_of_the_towers_are_those_of_clip(clip_dir: Path):
    names = set(CLIPModel.from_pretrained(clip_dir).state_dict())
    ours = set(tiny_model().state_dict())
    assert names < ours
    assert {name.split(".")[0] for name in ours - names} == {
        "temporal_encoder",
        "text_token_weights",
        "frame_token_weights",
    }


@pytest.mark.parametrize("fields", [{}, {"interaction": "mlp", "temporal_encoder": "lstm"}, {"interaction": "xti"}])
def test_loading_initialises_every_head_that_a_checkpoint_lacks(fields: dict, tmp_path: Path):
    """`from_pretrained` builds on the meta device: what no checkpoint and no `_init_weights` writes stays garbage."""
    tiny_model(**fields).save_pretrained(tmp_path)
    save_file({"logit_scale": torch.tensor(1.0)}, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with uninitialised_memory_is_nan():
        model, report = DRLModel.from_pretrained(tmp_path, output_loading_info=True)
    assert set(report["missing_keys"]) >= {name for name, _ in model.named_parameters()} - {"logit_scale"}
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        assert tensor.device.type == "cpu" and tensor.isfinite().all(), name
    assert model.logit_scale == 1.0
    for embeddings, length in ((model.text_model.embeddings, 9), (model.vision_model.embeddings, 5)):
        assert embeddings.position_ids.tolist() == [list(range(length))]
    assert model(**tiny_inputs()).logits_per_text.isfinite().all()


def test_a_new_model_has_the_deviations_that_the_configuration_says():
    torch.manual_seed(0)
    model = DRLModel(tiny_config(initializer_range=0.3, initializer_factor=2.0, logit_scale_init_value=1.25))
    deviations = {
        model.text_projection: 2 * 32**-0.5,  # as in CLIP
        model.visual_projection: 2 * 32**-0.5,
        model.temporal_encoder.position_embedding: 0.02,
        model.text_token_weights.layers[0]: 0.3,
        model.frame_token_weights.layers[0]: 0.3,
    }
    for module, deviation in deviations.items():
        assert module.weight.std().item() == pytest.approx(deviation, rel=0.15), module
    assert model.logit_scale == 1.25
    biases = {name: p for name, p in model.named_parameters() if name.endswith("bias")}
    assert len(biases) > 20 and not [name for name, bias in biases.items() if bias.any()]


def test_a_block_stack_inside_the_model_is_initialised_by_its_own_configuration():
    """transformers hands a `PreTrainedModel` within a model to its own `_init_weights`, for its blocks too."""
    torch.manual_seed(0)
    blocks = {**TEMPORAL, "initializer_range": 0.5, "initializer_factor": 3.0}
    with uninitialised_memory_is_nan():
        model = DRLModel(tiny_config(temporal_config=blocks, cross_config=blocks, interaction="xti"))
    for stack in (model.temporal_encoder, model.cross_transformer):
        assert stack.position_embedding.weight.std().item() == pytest.approx(0.5, rel=0.15)
        assert stack.layers[0].self_attn.out_proj.weight.std().item() == pytest.approx(3 * 32**-0.5, rel=0.15)
    tower = model.text_model.encoder.layers[0].self_attn.out_proj
    assert tower.weight.std().item() == pytest.approx(32**-0.5, rel=0.15)


def test_a_seed_decides_the_weights(tmp_path: Path):
    models = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        models.append(dict(DRLModel(tiny_config()).named_parameters()))
    for name, weight in models[0].items():
        assert torch.equal(weight, models[1][name]), name
    different = [name for name in models[0] if not torch.equal(models[0][name], models[2][name])]
    assert {name for name, p in models[0].items() if p.dim() > 1} <= set(different)


# Attention, precision, gradients


def test_sdpa_equals_eager(tmp_path: Path):
    tiny_model().save_pretrained(tmp_path)
    outputs, inputs = {}, tiny_inputs()
    for attention in ("sdpa", "eager"):
        model = DRLModel.from_pretrained(tmp_path, attn_implementation=attention)
        towers = (model.text_model, model.vision_model, model.temporal_encoder)
        assert [tower.config._attn_implementation for tower in towers] == [attention] * 3
        assert model.temporal_encoder.layers[0].self_attn.config._attn_implementation == attention
        outputs[attention] = model(**inputs, return_loss=True)
    assert_same_outputs(outputs["sdpa"], outputs["eager"], rtol=1e-4, atol=1e-5)


def gradients(model: DRLModel) -> dict[str, torch.Tensor | None]:
    model.zero_grad()
    model(**tiny_inputs(), return_loss=True).loss.backward()
    return {name: None if p.grad is None else p.grad.clone() for name, p in model.named_parameters()}


def test_gradient_checkpointing_gives_the_same_gradients():
    model = tiny_model().train()
    expected = gradients(model)
    model.activation_checkpointing_enable()
    checkpointed = [m for m in model.modules() if getattr(m, "gradient_checkpointing", False)]
    assert model.temporal_encoder.layers[0] in checkpointed and model.text_model.encoder.layers[0] in checkpointed
    runs = []
    model.temporal_encoder.layers[0].self_attn.register_forward_pre_hook(lambda *_: runs.append(1))
    actual = gradients(model)
    assert len(runs) == 2  # once more in the backward pass
    for name, gradient in expected.items():
        torch.testing.assert_close(actual[name], gradient, msg=name)


@pytest.mark.parametrize("interaction", ["wti", "ti", "dp"])
@pytest.mark.parametrize("padding_similarity", ["ignore", "zero"])
def test_every_parameter_gets_a_gradient(interaction: str, padding_similarity: str):
    """But for biases that have no effect on any output, whose gradient is zero up to rounding."""
    model = tiny_model(interaction=interaction, padding_similarity=padding_similarity)
    found = gradients(model)
    assert not [name for name, gradient in found.items() if gradient is None]
    zero = {name for name, gradient in found.items() if gradient.abs().max() < 1e-6}
    assert zero == {name for name in found if name.endswith(WITHOUT_EFFECT)}


def test_bfloat16_is_close(tmp_path: Path):
    model, inputs = tiny_model(), tiny_inputs()
    model.save_pretrained(tmp_path)
    expected = model(**inputs, return_loss=True)
    low = DRLModel.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert {p.dtype for p in low.parameters()} == {torch.bfloat16}
    pixels = inputs.pop("pixel_values_videos").bfloat16()
    outputs = low(**inputs, pixel_values_videos=pixels, return_loss=True)
    assert outputs.frame_tokens.dtype == torch.bfloat16
    assert outputs.logits_per_text.dtype == outputs.loss.dtype == outputs.text_weights.dtype == torch.float32
    scale = expected.logits_per_text.abs().max().item()
    torch.testing.assert_close(outputs.logits_per_text, expected.logits_per_text, rtol=0, atol=0.05 * scale)
    outputs.loss.backward()
    assert all(p.grad.isfinite().all() for p in low.parameters())


def test_mixed_precision_ends_at_the_encoders():
    """Under autocast the similarity and the loss of given tokens are those without it."""
    model, inputs = tiny_model(), tiny_inputs()
    text = model.get_text_features(inputs["input_ids"], inputs["attention_mask"])
    video = model.get_video_features(inputs["pixel_values_videos"], inputs["video_mask"])
    expected = model.compare(text, video, return_loss=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = model.compare(text, video, return_loss=True)
        encoded = model.get_text_features(inputs["input_ids"], inputs["attention_mask"])
    assert_same_outputs(actual, expected, rtol=0, atol=0)
    assert encoded.tokens.dtype == torch.bfloat16  # the encoders do run in low precision


# From CLIP


def test_the_towers_come_from_clip(clip_dir: Path):
    clip = CLIPModel.from_pretrained(clip_dir)
    model = DRLModel.from_clip_pretrained(clip_dir, interaction="ti", cdcr="none", temporal_config=TEMPORAL)
    assert not model.training
    assert (model.config.interaction, model.config.cdcr, model.config.projection_dim) == ("ti", "none", 32)
    ours = model.state_dict()
    for name, tensor in clip.state_dict().items():
        assert torch.equal(ours[name], tensor), name
    assert model.logit_scale == 3.25
    inputs = tiny_inputs()
    pooled = clip.get_text_features(inputs["input_ids"], inputs["attention_mask"]).pooler_output
    tokens = model.get_text_features(inputs["input_ids"], inputs["attention_mask"]).tokens
    torch.testing.assert_close(tokens[torch.arange(3), torch.tensor(WORDS) - 1], pooled)


@pytest.mark.parametrize("stored", [torch.float16, torch.bfloat16])
def test_a_clip_checkpoint_in_half_precision_is_loaded_in_float32_unless_asked(stored, clip_dir: Path, tmp_path: Path):
    CLIPModel.from_pretrained(clip_dir).to(stored).save_pretrained(tmp_path / "half")
    exact = CLIPModel.from_pretrained(tmp_path / "half", dtype=torch.float32).state_dict()
    model = DRLModel.from_clip_pretrained(tmp_path / "half", temporal_config=TEMPORAL)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert all(torch.equal(model.state_dict()[name], weight) for name, weight in exact.items())
    model.save_pretrained(tmp_path / "saved")
    assert DRLModel.from_pretrained(tmp_path / "saved").dtype == torch.float32
    for dtype in (stored, "auto"):
        half = DRLModel.from_clip_pretrained(tmp_path / "half", temporal_config=TEMPORAL, hub_kwargs={"dtype": dtype})
        assert half.dtype == stored


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("num_positions", [6, 9, 12])
def test_the_temporal_encoder_starts_as_a_copy_of_the_text_tower(clip_dir: Path, num_layers: int, num_positions: int):
    """The first of two blocks where one is asked for; the positions that both have."""
    temporal = {**TEMPORAL, "num_hidden_layers": num_layers, "max_position_embeddings": num_positions}
    model = DRLModel.from_clip_pretrained(clip_dir, temporal_config=temporal)
    assert len(model.temporal_encoder.layers) == num_layers
    for copy, block in zip(model.temporal_encoder.layers, model.text_model.encoder.layers, strict=False):
        for (name, weight), original in zip(copy.named_parameters(), block.parameters(), strict=True):
            assert torch.equal(weight, original), name
            assert weight.data_ptr() != original.data_ptr(), f"{name} is shared with the text tower"
    positions = model.temporal_encoder.position_embedding.weight
    rows = min(num_positions, 9)
    assert torch.equal(positions[:rows], model.text_model.embeddings.position_embedding.weight[:rows])
    assert positions.isfinite().all()


def test_a_temporal_encoder_of_another_size_stays_random_and_says_so(
    clip_dir: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    monkeypatch.setattr(logging.getLogger("drl_tvr"), "propagate", True)
    for name, value in (("hidden_act", "gelu"), ("num_hidden_layers", 4)):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            model = DRLModel.from_clip_pretrained(clip_dir, temporal_config={**TEMPORAL, name: value})
        assert f"`temporal_config` keep their random weights: the text tower differs in {name}." in caplog.text
        copy, block = model.temporal_encoder.layers[0], model.text_model.encoder.layers[0]
        assert not torch.equal(copy.mlp.fc1.weight, block.mlp.fc1.weight)


def test_the_cross_transformer_starts_as_the_text_tower_whatever_its_heads(clip_dir: Path):
    cross = {**TEMPORAL, "num_attention_heads": 8, "max_position_embeddings": 9}
    model = DRLModel.from_clip_pretrained(
        clip_dir, interaction="xti", cross_config=cross, temporal_config=TEMPORAL, cdcr="none"
    )
    for copy, block in zip(model.cross_transformer.layers, model.text_model.encoder.layers, strict=True):
        for (name, weight), original in zip(copy.named_parameters(), block.parameters(), strict=True):
            assert torch.equal(weight, original), name
            assert weight.data_ptr() != original.data_ptr(), f"{name} is shared with the text tower"
    positions = model.text_model.embeddings.position_embedding.weight
    assert torch.equal(model.cross_transformer.position_embedding.weight, positions)
    assert model.cross_transformer.score.weight.std() > 0


@pytest.mark.parametrize(
    "fields", [{"interaction": "mlp", "temporal_encoder": "lstm"}, {"interaction": "xti", "temporal_encoder": "none"}]
)
def test_every_head_that_clip_lacks_is_initialised(fields: dict, clip_dir: Path):
    with uninitialised_memory_is_nan():
        model = DRLModel.from_clip_pretrained(clip_dir, cdcr="none", **fields)
    for name, parameter in model.named_parameters():
        assert parameter.isfinite().all(), name
    if model.pair_mlp is not None:
        assert model.pair_mlp.hidden.weight.std().item() == pytest.approx(0.02, rel=0.15)
        assert model.temporal_encoder.lstm.weight_hh_l0.abs().max().item() == pytest.approx(32**-0.5, rel=0.05)


def test_heads_that_clip_lacks_are_initialised(clip_dir: Path):
    with uninitialised_memory_is_nan():
        model = DRLModel.from_clip_pretrained(clip_dir)  # four temporal blocks, more than the text tower has
    assert len(model.temporal_encoder.layers) == 4
    for name, parameter in model.named_parameters():
        assert parameter.isfinite().all(), name
    assert model.text_token_weights.layers[0].weight.std().item() == pytest.approx(0.02, rel=0.15)


def test_a_model_from_clip_saves_and_loads(clip_dir: Path, tmp_path: Path):
    model = DRLModel.from_clip_pretrained(clip_dir, temporal_config=TEMPORAL)
    model.save_pretrained(tmp_path / "drl")
    loaded = AutoModel.from_pretrained(tmp_path / "drl")
    assert_same_outputs(loaded(**tiny_inputs()), model(**tiny_inputs()), rtol=0, atol=0)


def test_a_checkpoint_that_is_not_clip_is_refused(tmp_path: Path):
    bert = BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=1, intermediate_size=16, vocab_size=9)
    BertModel(bert).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=f"{tmp_path}: found a checkpoint of type 'bert', expected 'clip'"):
        DRLModel.from_clip_pretrained(tmp_path)


@pytest.mark.parametrize("exists", [False, True], ids=["no folder", "empty folder"])
def test_a_checkpoint_that_is_not_there_is_an_os_error(exists: bool, tmp_path: Path):
    folder = tmp_path / "missing"
    if exists:
        folder.mkdir()
    with pytest.raises(OSError, match="missing"):
        DRLModel.from_clip_pretrained(folder)


def test_weights_that_a_clip_checkpoint_lacks_are_listed(clip_dir: Path):
    file = clip_dir / "model.safetensors"
    lacking = ["text_model.encoder.layers.1.mlp.fc1.bias", "visual_projection.weight"]
    tensors = {name: tensor for name, tensor in load_file(file).items() if name not in lacking}
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=f"found no weights for {', '.join(lacking)}, expected"):
        DRLModel.from_clip_pretrained(clip_dir)


def test_a_wrong_field_is_refused_before_the_weights_are_read(clip_dir: Path):
    (clip_dir / "model.safetensors").unlink()
    with pytest.raises(ValueError, match="`interaction`: found .*, expected one of"):
        DRLModel.from_clip_pretrained(clip_dir, interaction="cosine")


# The class


def test_the_inputs_are_the_contract():
    names = list(inspect.signature(DRLModel.forward).parameters)[1:]
    assert names[:5] == ["input_ids", "attention_mask", "pixel_values_videos", "video_mask", "return_loss"]
    assert AutoModel._model_mapping[DRLConfig] is drl_tvr.DRLModel


def test_every_submodule_type_that_must_not_be_split_exists():
    model = tiny_model()
    assert "CLIPEncoderLayer" in model._no_split_modules  # taken over from the towers
    types = {type(module).__name__ for module in model.modules()}
    assert set(model._no_split_modules) <= types


@pytest.mark.parametrize("override", [{"interaction": "foo"}, {"cdcr": "argmin"}, {"padding_similarity": "one"}])
def test_an_unknown_value_that_overrides_a_saved_one_is_an_error(override, tmp_path):
    tiny_model().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="expected one of"):
        DRLModel.from_pretrained(tmp_path, **override)


@pytest.mark.parametrize("interaction", INTERACTIONS)
def test_similarity_is_float32_under_autocast(interaction: str):
    model = tiny_model(interaction=interaction)
    inputs = tiny_inputs()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        text = model.get_text_features(inputs["input_ids"], inputs["attention_mask"])
        video = model.get_video_features(inputs["pixel_values_videos"], inputs["video_mask"])
        assert model.similarity(text, video).dtype == torch.float32


def test_fields_that_the_clip_checkpoint_decides_are_refused():
    with pytest.raises(ValueError, match="`projection_dim`: found as an argument"):
        DRLModel.from_clip_pretrained("anywhere", projection_dim=8)
