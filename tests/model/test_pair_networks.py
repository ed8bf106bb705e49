"""MLP and XTI: each against its definition, and in blocks against the whole."""

import pytest
import torch
from torch import nn

from drl_tvr import DRLCrossConfig
from drl_tvr.model import pair_networks
from drl_tvr.model.pair_networks import DRLCrossTransformer, DRLPairMLP, score_in_blocks


DIM, FRAMES = 16, (3, 1, 4, 2, 3)
CONFIG = DRLCrossConfig(
    hidden_size=DIM, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=6
)


def tiny_cross(**fields) -> DRLCrossTransformer:
    """A cross transformer in evaluation mode whose parameters are all random."""
    torch.manual_seed(0)
    model = DRLCrossTransformer(DRLCrossConfig(**{**CONFIG.to_dict(), **fields})).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def tiny_inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Three text vectors, five videos' frames and their mask."""
    generator = torch.Generator().manual_seed(1)
    mask = (torch.arange(max(FRAMES)) < torch.tensor(FRAMES)[:, None]).long()
    texts = torch.randn(3, DIM, generator=generator)
    return texts, torch.randn(*mask.shape, DIM, generator=generator), mask


class QuickGELU(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.sigmoid(1.702 * x)


def literal_xti(model: DRLCrossTransformer, text: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
    """XTI of one pair without padding, on torch's own pre-norm transformer layers."""
    hidden = torch.cat([text[None], frames]) + model.position_embedding.weight[: 1 + len(frames)]
    for layer in model.layers:
        block = nn.TransformerEncoderLayer(
            DIM, 4, 40, dropout=0.0, activation=QuickGELU(), layer_norm_eps=1e-12, norm_first=True, batch_first=True
        )
        attention = layer.self_attn
        projections = [attention.q_proj, attention.k_proj, attention.v_proj]
        block.load_state_dict(
            {
                "self_attn.in_proj_weight": torch.cat([projection.weight for projection in projections]),
                "self_attn.in_proj_bias": torch.cat([projection.bias for projection in projections]),
                "self_attn.out_proj.weight": attention.out_proj.weight,
                "self_attn.out_proj.bias": attention.out_proj.bias,
                "linear1.weight": layer.mlp.fc1.weight,
                "linear1.bias": layer.mlp.fc1.bias,
                "linear2.weight": layer.mlp.fc2.weight,
                "linear2.bias": layer.mlp.fc2.bias,
                "norm1.weight": layer.layer_norm1.weight,
                "norm1.bias": layer.layer_norm1.bias,
                "norm2.weight": layer.layer_norm2.weight,
                "norm2.bias": layer.layer_norm2.bias,
            }
        )
        hidden = block(hidden[None])[0]
    pooled = nn.functional.layer_norm(hidden[0], (DIM,), model.pooler_norm.weight, model.pooler_norm.bias, eps=1e-12)
    pooled = QuickGELU()(model.pooler_dense.weight @ pooled + model.pooler_dense.bias)
    return model.score.weight[0] @ pooled + model.score.bias[0]


def test_xti_is_its_definition_one_pair_at_a_time():
    model, (texts, frames, mask) = tiny_cross(), tiny_inputs()
    with torch.no_grad():
        scores = model(texts, frames, mask)
        expected = [
            [literal_xti(model, text, frames[b, :length]) for b, length in enumerate(FRAMES)] for text in texts
        ]
    torch.testing.assert_close(scores, torch.tensor(expected), rtol=1e-4, atol=1e-5)
    assert scores.std() > 0.05  # or a constant would pass


@pytest.mark.parametrize("max_elements", [1, 4000, 10**9])
def test_blocks_of_pairs_give_the_whole_and_its_gradients(max_elements: int):
    model, (texts, frames, mask) = tiny_cross(), tiny_inputs()
    upstream = torch.randn(3, 5, generator=torch.Generator().manual_seed(2))
    found = []
    for elements in (10**9, max_elements):
        inputs = texts.clone().requires_grad_(), frames.clone().requires_grad_()
        model.zero_grad()
        scores = model(*inputs, mask, max_elements=elements)
        (scores * upstream).sum().backward()
        found.append([scores, *(x.grad for x in inputs), *(p.grad.clone() for p in model.parameters())])
    for actual, expected in zip(*reversed(found), strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)


def test_a_block_holds_no_more_than_it_may():
    """With gradients a pair counts its activations of every layer, and a block is at least one pair."""
    model, (texts, frames, mask) = tiny_cross(), tiny_inputs()
    seen = []
    model.layers[0].register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
    per_pair = 5 * 2 * (8 * DIM + 2 * 40)
    model(texts, frames, mask, max_elements=4 * per_pair)
    assert seen == [4, 4, 4, 3]
    seen.clear()
    with torch.no_grad():
        model(texts, frames, mask, max_elements=4 * per_pair)
        assert seen == [8, 7]
        seen.clear()
        model(texts, frames, mask, max_elements=1)
        assert seen == [1] * 15


def test_a_block_that_is_computed_again_drops_the_same(monkeypatch: pytest.MonkeyPatch):
    model, (texts, frames, mask) = tiny_cross(hidden_dropout=0.5).train(), tiny_inputs()
    gradients = []
    for again in (True, False):
        if not again:
            monkeypatch.setattr(pair_networks, "checkpoint", lambda function, *args, use_reentrant: function(*args))
        torch.manual_seed(4)
        model.zero_grad()
        model(texts, frames, mask, max_elements=4000).sum().backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
    for actual, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(actual, expected)


def test_dropout_is_for_training():
    model, inputs = tiny_cross(hidden_dropout=0.5), tiny_inputs()
    with torch.no_grad():
        assert torch.equal(model(*inputs), model(*inputs))
        model.train()
        assert not torch.allclose(model(*inputs), model(*inputs))


@pytest.mark.parametrize("garbage", [0.0, 1e4])
def test_what_stands_in_the_padding_changes_nothing(garbage: float):
    model, (texts, frames, mask) = tiny_cross(), tiny_inputs()
    dirty = frames.masked_fill(mask[..., None] == 0, garbage)
    with torch.no_grad():
        torch.testing.assert_close(model(texts, dirty, mask), model(texts, frames, mask))


def test_more_frames_than_positions_are_an_error():
    frames = torch.zeros(1, 6, DIM)
    message = "found 6 frames, expected at most 5: `cross_config.max_position_embeddings` is 6"
    with pytest.raises(ValueError, match=message):
        tiny_cross()(torch.zeros(1, DIM), frames, torch.ones(1, 6))
    assert tiny_cross()(torch.zeros(1, DIM), frames[:, :5], torch.ones(1, 5)).shape == (1, 1)


@pytest.mark.parametrize("max_elements", [1, 100, 10**9])
def test_mlp_is_two_layers_on_the_concatenated_vectors(max_elements: int):
    torch.manual_seed(0)
    model, texts, videos = DRLPairMLP(DIM), torch.randn(3, DIM), torch.randn(4, DIM)
    layers = nn.Sequential(nn.Linear(2 * DIM, DIM), nn.ReLU(), nn.Linear(DIM, 1))
    layers[0].load_state_dict(model.hidden.state_dict())
    layers[2].load_state_dict(model.score.state_dict())
    pairs = torch.stack([torch.cat([text, video]) for text in texts for video in videos])
    expected = layers(pairs).view(3, 4)
    scores = model(texts, videos, max_elements)
    torch.testing.assert_close(scores, expected)
    scores.square().sum().backward()
    expected.square().sum().backward()
    for actual, wanted in zip(model.parameters(), layers.parameters(), strict=True):
        torch.testing.assert_close(actual.grad, wanted.grad)


@pytest.mark.parametrize("shape", [(0, 4), (4, 0), (1, 1)])
def test_no_text_or_no_video_has_no_scores(shape: tuple[int, int]):
    scores = score_in_blocks(lambda texts, videos: (texts - videos).float(), *shape, 1, torch.device("cpu"))
    assert scores.shape == shape


def test_texts_are_rows_whatever_the_block():
    for block in (1, 2, 5, 7, 100):
        scores = score_in_blocks(lambda a, b: 10.0 * a + b, 3, 4, 1, torch.device("cpu"), max_elements=block)
        assert scores.tolist() == [[0, 1, 2, 3], [10, 11, 12, 13], [20, 21, 22, 23]]
