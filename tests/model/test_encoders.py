"""The temporal LSTM: each video as if it were alone, whatever the padding."""

import pytest
import torch
from torch import nn

from drl_tvr.model.encoders import DRLTemporalLSTM


LENGTHS = (4, 1, 3)


def tiny_lstm() -> tuple[DRLTemporalLSTM, torch.Tensor, torch.Tensor]:
    """An LSTM, the frames of three videos and their mask."""
    torch.manual_seed(0)
    mask = (torch.arange(5) < torch.tensor(LENGTHS)[:, None]).long()  # a frame wider than the longest
    return DRLTemporalLSTM(8), torch.randn(3, 5, 8), mask


def test_the_lstm_is_each_video_unpadded_one_by_one():
    encoder, frames, mask = tiny_lstm()
    encoded = encoder(frames, mask)
    for i, length in enumerate(LENGTHS):
        state = (torch.zeros(1, 8), torch.zeros(1, 8))
        cell = nn.LSTMCell(8, 8)
        cell.load_state_dict({name.removesuffix("_l0"): weight for name, weight in encoder.lstm.state_dict().items()})
        for j in range(length):
            state = cell(frames[i, j][None], state)
            torch.testing.assert_close(encoded[i, j], state[0][0] + frames[i, j])
        assert torch.equal(encoded[i, length:], frames[i, length:])


def test_the_lstm_sees_a_frame_and_those_before_it():
    encoder, frames, mask = tiny_lstm()
    changed = frames.clone()
    changed[0, 2] += 1.0
    moved = (encoder(changed, mask) - encoder(frames, mask)).abs().amax(-1) > 1e-4
    assert moved.nonzero().tolist() == [[0, 2], [0, 3]]


def test_a_gap_in_the_mask_is_no_frame():
    encoder, frames, _ = tiny_lstm()
    gap = torch.tensor([[1, 0, 1, 1, 0]])
    encoded = encoder(frames[:1], gap)
    real = [0, 2, 3]
    torch.testing.assert_close(encoded[:, real], encoder(frames[:1, real], torch.ones(1, 3)))
    assert torch.equal(encoded[:, [1, 4]], frames[:1, [1, 4]])


@pytest.mark.parametrize("dtype", [torch.bool, torch.float32, torch.int32])
def test_a_mask_may_be_of_any_type(dtype: torch.dtype):
    encoder, frames, mask = tiny_lstm()
    assert torch.equal(encoder(frames, mask.to(dtype)), encoder(frames, mask))


def test_the_lstm_passes_gradients_to_real_frames_and_all_weights():
    encoder, frames, mask = tiny_lstm()
    frames.requires_grad_()
    encoder(frames, mask)[mask.bool()].square().sum().backward()
    assert (frames.grad[mask == 0] == 0).all() and (frames.grad[mask == 1] != 0).all()
    assert all((parameter.grad != 0).any() for parameter in encoder.parameters())
