"""Modules are called, never read around their hooks: offloaded weights, adapters and quantised layers all work."""

import copy
from pathlib import Path

import pytest
import torch
from accelerate import cpu_offload, disk_offload
from torch import nn

from drl_tvr import DRLModel
from drl_tvr.evaluation.retrieval import encode_captions, encode_videos, score_all
from drl_tvr.model.pair_networks import DRLPairMLP


KINDS = [(interaction, "none") for interaction in ("wti", "ti", "dp", "mlp", "xti")]
KINDS += [("wti", encoder) for encoder in ("transformer", "lstm")] + [("xti", "transformer")]


def tiny_inputs() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    lengths, frames = torch.tensor([[6], [4], [5]]), torch.tensor([[3], [1], [2]])
    return {
        "input_ids": torch.randint(0, 400, (3, 6), generator=generator),
        "attention_mask": (torch.arange(6) < lengths).long(),
        "pixel_values_videos": torch.randn(3, 3, 3, 32, 32, generator=generator),
        "video_mask": (torch.arange(3) < frames).long(),
    }


@torch.no_grad()
def randomized(model: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    for parameter in model.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


@pytest.mark.parametrize(("interaction", "temporal_encoder"), KINDS)
def test_an_offloaded_model_gives_the_same_numbers(make_tiny_model, tmp_path: Path, interaction, temporal_encoder):
    model = randomized(make_tiny_model(interaction=interaction, temporal_encoder=temporal_encoder))
    inputs = tiny_inputs()
    model.save_pretrained(tmp_path / "model")
    on_disk = DRLModel.from_pretrained(
        tmp_path / "model", device_map={"": "disk"}, offload_folder=tmp_path / "weights"
    )
    with torch.no_grad():
        expected = model(**inputs).logits_per_text
        for offloaded in (cpu_offload(copy.deepcopy(model)), on_disk, disk_offload(copy.deepcopy(model), tmp_path)):
            assert offloaded.device.type == "meta"
            # Not bit by bit: where weights lie in memory can choose another kernel.
            torch.testing.assert_close(offloaded(**inputs).logits_per_text, expected, rtol=1e-5, atol=1e-5)
            texts, videos = encode_captions(offloaded, [inputs], False), encode_videos(offloaded, [inputs], False)
            scores = score_all(offloaded, texts, videos) * model.logit_scale.exp()
            torch.testing.assert_close(scores, expected, rtol=1e-5, atol=1e-5)


class Adapter(nn.Module):
    """A linear layer with an addition of low rank, as LoRA has it."""

    def __init__(self, base: nn.Linear):
        super().__init__()
        self.base = base
        self.down, self.up = nn.Linear(base.in_features, 2, bias=False), nn.Linear(2, base.out_features, bias=False)

    @property
    def weight(self) -> torch.Tensor:
        return self.base.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.base(x) + self.up(self.down(x))


def test_every_linear_layer_can_have_an_adapter(make_tiny_model):
    """An adapter that is not called has neither an effect nor a gradient."""
    for interaction in ("wti", "mlp", "xti"):
        model = randomized(make_tiny_model(interaction=interaction))
        names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
        adapters = {}
        for name in names:
            parent, _, child = name.rpartition(".")
            adapters[name] = Adapter(model.get_submodule(name))
            setattr(model.get_submodule(parent), child, adapters[name])
        model(**tiny_inputs(), return_loss=True).loss.backward()
        unused = [name for name, adapter in adapters.items() if adapter.up.weight.grad is None]
        assert not unused and len(adapters) > 20
        hidden = adapters.get("pair_mlp.hidden")
        assert hidden is None or hidden.up.weight.grad.abs().max() > 0


def test_the_pair_mlp_is_the_layers_on_the_concatenated_vectors():
    """With an adapter, and a bias that is not counted twice."""
    mlp = randomized(DRLPairMLP(8))
    mlp.hidden = randomized(Adapter(mlp.hidden))
    texts, videos = torch.randn(3, 8), torch.randn(4, 8)
    pairs = torch.cat([texts[:, None].expand(3, 4, 8), videos.expand(3, 4, 8)], dim=-1)
    expected = mlp.score(mlp.hidden(pairs).relu()).squeeze(-1)
    torch.testing.assert_close(mlp(texts, videos), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("interaction", ["wti", "mlp", "xti"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_quantised_model_takes_uint8_and_float_pixels(make_tiny_model, interaction: str):
    model = randomized(make_tiny_model(interaction=interaction))
    quantised = torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)
    inputs = tiny_inputs()
    for pixels in (inputs["pixel_values_videos"], (inputs["pixel_values_videos"] * 40 + 128).clamp(0, 255).byte()):
        inputs["pixel_values_videos"] = pixels
        with torch.no_grad():
            scores, expected = quantised(**inputs).logits_per_text, model(**inputs).logits_per_text
        assert torch.isfinite(scores).all()
        assert (scores - expected).abs().max() < 0.2 * expected.abs().max() + 1


@pytest.mark.parametrize("pad_to_multiple_of", [None, 64])
def test_a_resized_vocabulary_comes_back(make_tiny_model, tmp_path: Path, pad_to_multiple_of: int | None):
    model, inputs = randomized(make_tiny_model()), tiny_inputs()
    vocab_size = model.config.text_config.vocab_size
    with torch.no_grad():
        expected = model(**inputs).logits_per_text
        embeddings = model.resize_token_embeddings(vocab_size + 3, pad_to_multiple_of=pad_to_multiple_of)
        assert embeddings is model.get_input_embeddings()
        assert len(embeddings.weight) == model.config.text_config.vocab_size == (576 if pad_to_multiple_of else 524)
        assert torch.equal(model(**inputs).logits_per_text, expected)
        inputs["input_ids"][0, 1] = vocab_size + 2
        expected = model(**inputs).logits_per_text
        model.save_pretrained(tmp_path)
        loaded = DRLModel.from_pretrained(tmp_path)
        assert torch.equal(loaded(**inputs).logits_per_text, expected)
        other = nn.Embedding.from_pretrained(embeddings.weight + 1)
        loaded.set_input_embeddings(other)
        assert loaded.get_input_embeddings() is other is loaded.text_model.get_input_embeddings()
        assert not torch.equal(loaded(**inputs).logits_per_text, expected)
