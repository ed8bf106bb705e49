"""Encoding by batches and scoring by blocks give what one forward pass of everything gives."""

import pytest
import torch
from torch.testing import assert_close

from drl_tvr.evaluation import encode_captions, encode_videos, score_all


WORDS = (6, 3, 4, 9, 2, 3, 5)  # tokens of each caption, BOS and EOS among them
FRAMES = (2, 5, 1, 6, 3)  # of each video


@pytest.fixture(scope="module")
def inputs() -> dict[str, torch.Tensor]:
    """Seven captions and five videos of unlike length, padded to the longest."""
    generator = torch.Generator().manual_seed(3)
    texts = torch.full((len(WORDS), max(WORDS)), 520)
    for row, length in enumerate(WORDS):
        texts[row, 0] = 519
        texts[row, 1 : length - 1] = torch.randint(0, 500, (length - 2,), generator=generator)
    videos = torch.randn(len(FRAMES), max(FRAMES), 3, 32, 32, generator=generator)
    frames = torch.tensor(FRAMES)[:, None] > torch.arange(max(FRAMES))
    return {
        "input_ids": texts,
        "attention_mask": (torch.tensor(WORDS)[:, None] > torch.arange(max(WORDS))).long(),
        "pixel_values_videos": videos * frames[..., None, None, None],
        "video_mask": frames.long(),
    }


def cut(batch: dict[str, torch.Tensor], mask: str, sizes: tuple[int, ...]) -> list[dict[str, torch.Tensor]]:
    """Batches of the given sizes, each padded to its own longest item."""
    batches, start = [], 0
    for size in sizes:
        longest = int(batch[mask][start : start + size].sum(dim=1).max())
        batches.append({name: value[start : start + size, :longest] for name, value in batch.items()})
        start += size
    return batches


@pytest.mark.parametrize("interaction", ["wti", "ti", "dp"])
def test_batches_of_different_padding_give_the_matrix_of_one_forward(interaction, inputs, make_tiny_model):
    model = make_tiny_model(interaction=interaction).eval()
    with torch.no_grad():
        outputs = model(**inputs)
    wanted = outputs.logits_per_text / model.logit_scale.exp()

    sides = ({name: inputs[name] for name in pair} for pair in (list(inputs)[:2], list(inputs)[2:]))
    texts, videos = sides
    text_batches = cut(texts, "attention_mask", (2, 1, 4))
    video_batches = cut(videos, "video_mask", (1, 2, 2))
    assert {batch["input_ids"].shape[1] for batch in text_batches} == {6, 4, 9}
    assert {batch["video_mask"].shape[1] for batch in video_batches} == {2, 5, 6}
    found = score_all(
        model,
        encode_captions(model, text_batches, show_progress=False),
        encode_videos(model, iter(video_batches), show_progress=False),
    )
    assert (found.shape, found.dtype, found.requires_grad) == ((7, 5), torch.float32, False)
    assert wanted.std() > 1e-3  # scores of equal value would agree whatever went wrong
    assert_close(found, wanted, atol=1e-5, rtol=1e-5)


def test_encoding_keeps_no_graph(inputs, make_tiny_model):
    model = make_tiny_model()
    (texts,) = encode_captions(model, [inputs], show_progress=False)
    (videos,) = encode_videos(model, [inputs], show_progress=False)
    assert not any(x.requires_grad for x in (texts.tokens, texts.weights, videos.tokens, videos.weights))
