"""Temporal edits: what a batch becomes, and that it does so alike on any number of processes and after a resume."""

import pytest
import torch

from drl_tvr import DRLTrainingArguments
from drl_tvr.data.loading import decode_split
from drl_tvr.training.global_batches import GlobalBatchSampler, make_train_loader
from drl_tvr.training.temporal_edits import TemporalEdits, count_tokens, cut_captions, join_captions, thin_frames


@pytest.fixture(scope="module")
def pairs(splits, tiny_processor, frame_cache):
    return decode_split(splits["train"], tiny_processor.video_processor, frame_cache)


MOST = 12  # frames


def of_other_videos(pairs, number: int) -> list[int]:
    """Rows of captions of as many videos."""
    return [pairs.caption_to_video.index(video) for video in range(number)]


@pytest.mark.parametrize(("share", "num_joined"), [(0.0, 0), (0.3, 2), (0.5, 4), (1.0, 6)])
def test_a_share_of_a_batch_is_joined_in_both_orders(share, num_joined, pairs, tiny_processor):
    batch = of_other_videos(pairs, 7)
    edited = TemporalEdits(pairs, tiny_processor, share, [", then"], MOST).edit_batch(batch)
    assert len(edited) == 7
    kept = 7 - num_joined
    assert edited[:kept] == batch[:kept]
    for first, second, pair in zip(batch[kept::2], batch[kept + 1 :: 2], range(kept, 7, 2), strict=True):
        assert edited[pair : pair + 2] == [(first, second), (second, first)]


def test_captions_of_one_video_are_not_joined(pairs, tiny_processor):
    same = [row for row, video in enumerate(pairs.caption_to_video) if video == 3][:2]
    assert TemporalEdits(pairs, tiny_processor, 1.0, [", then"], MOST).edit_batch(same) == same


def test_a_join_shows_one_clip_after_the_other(pairs, tiny_processor):
    first, second = of_other_videos(pairs, 2)
    sizes = [len(pairs[row]["frames"]) for row in (first, second)]
    most = sum(sizes) - 1
    edits = TemporalEdits(pairs, tiny_processor, 0.5, [", then"], most)
    one, other = (edits[order]["frames"] for order in ((first, second), (second, first)))
    assert len(one) == len(other) == most
    # Both orders show the same frames of each clip, from its first to its last.
    cut = next(place for place in range(most) if torch.equal(one, torch.cat([other[place:], other[:place]])))
    assert torch.equal(one[0], pairs[first]["frames"][0]) and torch.equal(one[-1], pairs[second]["frames"][-1])
    assert torch.equal(other[0], pairs[second]["frames"][0]) and torch.equal(other[cut - 1], one[-1])
    assert edits[first, second]["row"] == first
    assert edits[first]["caption"] == pairs[first]["caption"]


@pytest.mark.parametrize(
    ("lengths", "kept"), [((2, 12), (2, 10)), ((1, 30), (1, 11)), ((9, 9), (6, 6)), ((3, 4), (3, 4))]
)
def test_a_join_keeps_clips_in_proportion(lengths, kept):
    clips = [torch.arange(length) for length in lengths]
    assert tuple(map(len, thin_frames(clips, 12))) == kept
    assert tuple(map(len, thin_frames(clips, None))) == lengths
    assert min(map(len, thin_frames(clips, 2))) == 1


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("a red star rises and falls and turns around again and again", "a blue box"),
        ("一只红色的星星在天空中升起然后慢慢地落下来" * 3, "一个蓝色的盒子向左边移动" * 3),
        ("一只红色的星星在天空中升起" * 3, "a red star rises"),
        ("https://example.org/a/very/long/address/without/any/blank/in/it.mp4", "🎉" * 40),
        ("x" * 300, "y"),
    ],
)
def test_joined_captions_keep_both_in_as_many_tokens_as_the_model_takes(first, second, tiny_processor):
    parts = cut_captions([first, second], ", then", tiny_processor)
    for order in (parts, parts[::-1]):
        assert count_tokens(join_captions(*order, ", then"), tiny_processor) <= tiny_processor.max_length
    assert first.startswith(parts[0]) and second.startswith(parts[1]) and all(parts)
    shares = [count_tokens(part, tiny_processor) - 2 for part in parts]
    whole = [count_tokens(caption, tiny_processor) - 2 for caption in (first, second)]
    room = tiny_processor.max_length - count_tokens(", then", tiny_processor)
    # None is cut below its half, and what one does not need the other gets; a few tokens may be lost to the cut.
    assert all(share >= min(length, room // 2) - 4 for share, length in zip(shares, whole, strict=True))


@pytest.mark.parametrize(
    ("first", "second", "words", "joined"),
    [
        ("A red star rises. ", "a dog", ", then", "A red star rises, then a dog"),
        ("a red star", "a dog", "and then", "a red star and then a dog"),
        ("一只猫。", "一只狗", "then", "一只猫 then 一只狗"),
        ("...", "a dog", ", then", "..., then a dog"),
    ],
)
def test_captions_are_joined_as_one_writes(first, second, words, joined):
    assert join_captions(first, second, words) == joined


@pytest.mark.parametrize(
    ("args", "limits", "message"),
    [
        ({"temporal_edits": 0.01}, {}, "`temporal_edits`: found 0.01, expected at least 0.125"),
        ({"temporal_edits": 0.5}, {"max_frames": 1}, "`max_frames`: found 1, expected at least 2"),
        ({"temporal_edits": 0.5}, {"max_length": 4}, "`max_length`: found 4, expected at least"),
    ],
)
def test_edits_that_cannot_be_are_refused_before_decoding(
    args, limits, message, make_trainer, tiny_processor, monkeypatch
):
    for name, value in limits.items():
        monkeypatch.setattr(tiny_processor if name == "max_length" else tiny_processor.video_processor, name, value)
    monkeypatch.setattr("drl_tvr.training.trainer.decode_split", None)
    with pytest.raises(ValueError, match=message):
        make_trainer(per_device_train_batch_size=8, **args)


def test_both_orders_get_the_same_words(pairs, tiny_processor):
    edits = TemporalEdits(pairs, tiny_processor, 1.0, ["ONE", "TWO"], MOST)
    rows = of_other_videos(pairs, 6)
    words = set()
    for first, second in zip(rows, rows[1:], strict=False):
        (used,) = {word for word in ("ONE", "TWO") if word in edits[first, second]["caption"]}
        assert used in edits[second, first]["caption"]
        words.add(used)
    assert words == {"ONE", "TWO"}


@pytest.mark.parametrize("num_processes", [2, 3])
def test_processes_share_the_batch_of_one(num_processes, pairs, tiny_processor):
    edits = TemporalEdits(pairs, tiny_processor, 0.5, [", then"], MOST)
    order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(0)).tolist()
    whole = list(GlobalBatchSampler(order, 12, 1, False, edits.edit_batch))
    shares = list(GlobalBatchSampler(order, 12 // num_processes, num_processes, False, edits.edit_batch))
    joined = [sum(shares[first : first + num_processes], []) for first in range(0, len(shares), num_processes)]
    assert joined == whole
    assert any(isinstance(item, tuple) for item in whole[-1])  # the smaller one is edited too


def test_the_trainer_makes_such_batches(make_trainer):
    trainer = make_trainer(temporal_edits=0.5, per_device_train_batch_size=8)
    plain = make_trainer(temporal_edits=0.0, per_device_train_batch_size=8)
    (edited, unedited) = (next(iter(make_train_loader(made))) for made in (trainer, plain))
    assert edited["rows"] == unedited["rows"]  # the first row of a join, so the order of the pairs is the same
    assert torch.equal(edited["pixel_values_videos"][:4], unedited["pixel_values_videos"][:4])
    assert not torch.equal(edited["pixel_values_videos"][4:], unedited["pixel_values_videos"][4:])


def trained(trainer, resume: str | None = None) -> dict[str, torch.Tensor]:
    trainer.train(resume_from_checkpoint=resume)
    return trainer.model.state_dict()


def test_edits_are_the_same_with_gradient_caching_and_after_a_resume(make_trainer, tmp_path):
    args = {"temporal_edits": 0.5, "max_steps": 4, "seed": 3}
    saving = {"save_strategy": "steps", "save_steps": 2, "save_total_limit": None}
    whole = trained(make_trainer(output_dir="whole", **args, **saving))
    resumed = trained(make_trainer(output_dir="whole", **args), f"{tmp_path}/whole/checkpoint-2")
    cached = trained(make_trainer(output_dir="cached", gradient_cache_chunk_size=3, **args))
    unedited = trained(make_trainer(output_dir="unedited", **{**args, "temporal_edits": 0.0}))
    for name, value in whole.items():
        torch.testing.assert_close(resumed[name], value, rtol=0, atol=0)
        torch.testing.assert_close(cached[name], value, rtol=1e-3, atol=1e-4)
    assert any(not torch.equal(unedited[name], value) for name, value in whole.items())


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan"), True, "half"])
def test_a_share_is_a_number_from_0_to_1(share, tmp_path):
    with pytest.raises(ValueError, match="`temporal_edits`: found .*, expected a number from 0 to 1"):
        DRLTrainingArguments(str(tmp_path), use_cpu=True, temporal_edits=share)


@pytest.mark.parametrize("words", [[], ", then ", [""], [3]])
def test_joining_words_are_words(words, tmp_path):
    with pytest.raises(ValueError, match="`joining_words`: found .*, expected a list of words"):
        DRLTrainingArguments(str(tmp_path), use_cpu=True, joining_words=words)
