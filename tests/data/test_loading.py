"""Items and batches: what the model gets is what the processor would have given it."""

import pytest
import torch
from torch.testing import assert_close
from torch.utils.data import DataLoader

from drl_tvr import load_benchmark
from drl_tvr.data.frames import decode_videos, read_frames
from drl_tvr.data.loading import CaptionDataset, PairDataset, RetrievalCollator, VideoDataset


@pytest.fixture(scope="module")
def data(small_root):
    return load_benchmark("moving-shapes", small_root, "train")


@pytest.fixture(scope="module")
def frames(data, tiny_processor, tmp_path_factory):
    return decode_videos(data.videos, tiny_processor.video_processor, tmp_path_factory.mktemp("cache"), 1)


def test_a_pair_is_a_caption_with_its_own_video(data, frames):
    pairs = PairDataset(data, frames)
    assert len(pairs) == 96
    for index in (0, 5, 6, 41, 95):
        item = pairs[index]
        assert set(item) == {"caption", "frames"}
        assert item["caption"] == data.captions[index]["caption"]
        assert torch.equal(item["frames"], read_frames(frames[data.captions[index]["video_index"]]))


def test_both_sides_are_also_there_alone(data, frames):
    videos, captions = VideoDataset(frames), CaptionDataset(["one", "two"])
    assert (len(videos), len(captions)) == (16, 2)
    assert captions[1] == {"caption": "two"}
    assert list(videos[3]) == ["frames"]


def test_frames_of_another_split_are_an_error(data, frames):
    with pytest.raises(ValueError, match="moving-shapes train has 16 videos, `frames` has 15"):
        PairDataset(data, frames.select(range(15)))


def test_a_batch_is_the_processors_own_output(data, frames, tiny_processor):
    rows = [0, 30, 61, 95, 12]
    pairs = PairDataset(data, frames)
    batch = RetrievalCollator(tiny_processor)([pairs[row] for row in rows])
    wanted = tiny_processor(
        text=[data.captions[row]["caption"] for row in rows],
        videos=[data.videos[data.captions[row]["video_index"]]["path"] for row in rows],
        return_tensors="pt",
    )
    assert set(batch) == set(wanted) == {"input_ids", "attention_mask", "pixel_values_videos", "video_mask"}
    for name in ("input_ids", "attention_mask", "video_mask"):
        assert torch.equal(batch[name], wanted[name]), name
    assert_close(batch["pixel_values_videos"], wanted["pixel_values_videos"], atol=1e-6, rtol=0)
    assert batch["pixel_values_videos"].dtype == torch.float32


def test_unlike_lengths_are_padded_to_the_longest_of_the_batch(tiny_processor):
    videos = [torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8) for count in (2, 5, 1)]
    items = [{"frames": video, "caption": text} for video, text in zip(videos, ("a", "b c d", "e f"), strict=True)]
    batch = RetrievalCollator(tiny_processor)(items)
    assert batch["video_mask"].tolist() == [[1, 1, 0, 0, 0], [1, 1, 1, 1, 1], [1, 0, 0, 0, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [1, 1, 1, 1, 0]]
    assert batch["pixel_values_videos"].shape == (3, 5, 3, 32, 32)
    assert not batch["pixel_values_videos"][0, 2:].any()


def test_one_sided_items_make_one_sided_batches(frames, tiny_processor):
    collate = RetrievalCollator(tiny_processor)
    assert list(collate([{"caption": "a"}, {"caption": "b"}])) == ["input_ids", "attention_mask"]
    assert list(collate([VideoDataset(frames)[0]])) == ["pixel_values_videos", "video_mask"]


def test_worker_processes_load_the_same_batches(data, frames, tiny_processor):
    pairs = torch.utils.data.Subset(PairDataset(data, frames), range(12))
    batches = [
        list(DataLoader(pairs, batch_size=4, collate_fn=RetrievalCollator(tiny_processor), num_workers=workers))
        for workers in (0, 1)
    ]
    for here, there in zip(*batches, strict=True):
        assert all(torch.equal(here[name], there[name]) for name in here)
