"""Both encoders go through torch.export, and compile with few breaks of the graph."""

import pytest
import torch
from torch.export import Dim

from drl_tvr.conversion import DRLEncoder


def text(num_texts: int, num_tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(num_texts)
    lengths = torch.randint(1, num_tokens + 1, (num_texts, 1), generator=generator)
    ids = torch.randint(0, 400, (num_texts, num_tokens), generator=generator)
    return ids, (torch.arange(num_tokens) < lengths).long()


def video(num_videos: int, num_frames: int) -> tuple[torch.Tensor, torch.Tensor]:
    ids, mask = text(num_videos, num_frames)
    return torch.randn(*ids.shape, 3, 32, 32, generator=torch.Generator().manual_seed(0)), mask


def uint8_video(num_videos: int, num_frames: int) -> tuple[torch.Tensor, torch.Tensor]:
    pixels, mask = video(num_videos, num_frames)
    return (pixels * 40 + 128).clamp(0, 255).byte(), mask


@pytest.mark.parametrize(
    ("make", "padding_similarity", "strict"),
    [
        (text, "ignore", False),
        (text, "zero", True),
        (video, "ignore", False),
        (video, "ignore", True),
        (uint8_video, "zero", False),
    ],
)
@torch.no_grad()
def test_an_exported_encoder_gives_the_same_tensors(make_tiny_model, make, padding_similarity: str, strict: bool):
    """Of other sizes than it was exported with, too."""
    model = make_tiny_model(padding_similarity=padding_similarity).eval()
    encoder = DRLEncoder(model, "text" if make is text else "video")
    sizes = {0: Dim("items", min=1, max=64), 1: Dim("length", min=1, max=32)}
    program = torch.export.export(encoder, make(3, 5), dynamic_shapes=(sizes, sizes), strict=strict)
    for inputs in (make(3, 5), make(4, 2), make(1, 1), make(2, 9)):
        for exported, expected in zip(program.module()(*inputs), encoder(*inputs), strict=True):
            torch.testing.assert_close(exported, expected)


@torch.no_grad()
def test_an_encoder_with_an_lstm_is_exported_with_fixed_sizes(make_tiny_model):
    """torch's own LSTM fixes them."""
    encoder = DRLEncoder(make_tiny_model(temporal_encoder="lstm").eval(), "video")
    inputs = video(3, 4)
    program = torch.export.export(encoder, inputs)
    for exported, expected in zip(program.module()(*inputs), encoder(*inputs), strict=True):
        torch.testing.assert_close(exported, expected)


@torch.no_grad()
def test_onnx(make_tiny_model, tmp_path):
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    for make in (text, video):
        encoder = DRLEncoder(make_tiny_model().eval(), make.__name__)
        sizes = {0: Dim("items", min=1, max=64), 1: Dim("length", min=1, max=32)}
        program = torch.export.export(encoder, make(3, 5), dynamic_shapes=(sizes, sizes))
        torch.onnx.export(program, dynamo=True).save(tmp_path / "encoder.onnx")
        session = runtime.InferenceSession(tmp_path / "encoder.onnx")
        names = [item.name for item in session.get_inputs()]
        inputs = make(4, 2)
        found = session.run(None, dict(zip(names, (tensor.numpy() for tensor in inputs), strict=True)))
        for array, expected in zip(found, encoder(*inputs), strict=True):
            torch.testing.assert_close(torch.from_numpy(array), expected, rtol=1e-4, atol=1e-5)


def test_compiled_encoders_are_one_graph_and_break_at_the_choice_of_real_frames(make_tiny_model):
    model = make_tiny_model().eval()
    for make, breaks in ((text, 0), (video, 1)):
        torch._dynamo.reset()
        explained = torch._dynamo.explain(DRLEncoder(model, "text" if make is text else "video"))(*make(3, 5))
        assert explained.graph_break_count == breaks


def test_outside_a_graph_masks_are_checked(make_tiny_model):
    model = make_tiny_model().eval()
    ids, mask = text(2, 4)
    mask[1] = 0
    with pytest.raises(ValueError, match="found only zeros in row 1"):
        DRLEncoder(model, "text")(ids, mask)
    with pytest.raises(ValueError, match="`side`: found 'image', expected 'text' or 'video'"):
        DRLEncoder(model, "image")
