"""Items and batches: what the model gets is what the processor would have given it, before it is normalised."""

import os
import signal
from pathlib import Path

import pytest
import torch
from accelerate import skip_first_batches
from torch.utils.data import DataLoader

from drl_tvr import DRLVideoProcessor, load_benchmark
from drl_tvr.data.frame_store import load_frames
from drl_tvr.data.loading import (
    CaptionDataset,
    DataLoaderWorkerError,
    PairDataset,
    RetrievalCollator,
    VideoDataset,
    pad_frames,
    raise_worker_error,
)


@pytest.fixture(scope="module")
def data(small_root):
    return load_benchmark("moving-shapes", small_root, "train")


@pytest.fixture(scope="module")
def frames(data, tiny_processor, tmp_path_factory):
    return load_frames(data.videos, tiny_processor.video_processor, tmp_path_factory.mktemp("store"), 1)


def test_a_pair_is_a_caption_with_its_own_video(data, frames):
    pairs = PairDataset(data, frames)
    assert len(pairs) == 96
    for index in (0, 5, 6, 41, 95):
        item = pairs[index]
        assert set(item) == {"row", "caption", "frames"} and item["row"] == index
        assert item["caption"] == data.captions[index]["caption"]
        assert torch.equal(item["frames"], frames[data.captions[index]["video_index"]])


def test_both_sides_are_also_there_alone(frames):
    videos, captions = VideoDataset(frames), CaptionDataset(["one", "two"])
    assert (len(videos), len(captions)) == (16, 2)
    assert captions[1] == {"caption": "two"}
    assert list(videos[3]) == ["frames"]


def test_frames_of_another_split_are_an_error(data, frames):
    with pytest.raises(ValueError, match="`frames`: found 15 videos, expected the 16 of moving-shapes train"):
        PairDataset(data, [frames[index] for index in range(15)])


def test_a_batch_is_the_processors_own_output_before_it_is_normalised(data, frames, tiny_processor):
    rows = [0, 30, 61, 95, 12]
    pairs = PairDataset(data, frames)
    batch = RetrievalCollator(tiny_processor)([pairs[row] for row in rows])
    wanted = tiny_processor(
        text=[data.captions[row]["caption"] for row in rows],
        videos=[data.videos[data.captions[row]["video_index"]]["path"] for row in rows],
        do_rescale=False,
        do_normalize=False,
        return_tensors="pt",
    )
    assert set(batch) == set(wanted) == {"input_ids", "attention_mask", "pixel_values_videos", "video_mask"}
    for name in batch:
        assert batch[name].dtype == wanted[name].dtype, name
        assert torch.equal(batch[name], wanted[name]), name
    assert batch["pixel_values_videos"].dtype == torch.uint8


def test_unlike_lengths_are_padded_to_the_longest_of_the_batch(tiny_processor):
    videos = [torch.randint(1, 256, (count, 3, 32, 32), dtype=torch.uint8) for count in (2, 5, 1)]
    items = [{"frames": video, "caption": text} for video, text in zip(videos, ("a", "b c d", "e f"), strict=True)]
    batch = RetrievalCollator(tiny_processor)(items)
    assert batch["video_mask"].tolist() == [[1, 1, 0, 0, 0], [1, 1, 1, 1, 1], [1, 0, 0, 0, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [1, 1, 1, 1, 0]]
    pixels = batch["pixel_values_videos"]
    assert pixels.shape == (3, 5, 3, 32, 32)
    assert torch.equal(pixels.flatten(2).any(-1), batch["video_mask"].bool())
    for video, padded in zip(videos, pixels, strict=True):
        assert torch.equal(padded[: len(video)], video)


def test_one_sided_items_make_one_sided_batches(frames, tiny_processor):
    collate = RetrievalCollator(tiny_processor)
    assert list(collate([{"caption": "a"}, {"caption": "b"}])) == ["input_ids", "attention_mask"]
    assert list(collate([VideoDataset(frames)[0]])) == ["pixel_values_videos", "video_mask"]


def test_a_batch_does_not_change_the_store(frames):
    before = frames[0].clone()
    pad_frames([frames[0]])["pixel_values_videos"].zero_()
    assert torch.equal(frames[0], before)


@pytest.mark.parametrize(
    ("videos", "said"),
    [
        ([torch.zeros(1, 3, 8, 8, dtype=torch.uint8), torch.zeros(1, 3, 8, 8)], "found torch.float32, torch.uint8"),
        ([torch.zeros(1, 3, 8, side, dtype=torch.uint8) for side in (8, 9)], r"\[\(3, 8, 8\), \(3, 8, 9\)\]"),
    ],
)
def test_frames_that_make_no_batch_are_an_error(videos, said):
    with pytest.raises(ValueError, match=said):
        pad_frames(videos)


def batches(data, frames, processor, num_workers: int, seed: int = 3) -> DataLoader:
    return DataLoader(
        PairDataset(data, frames),
        batch_size=20,
        shuffle=True,
        drop_last=True,
        generator=torch.Generator().manual_seed(seed),
        collate_fn=RetrievalCollator(processor),
        num_workers=num_workers,
    )


def assert_same(some, others) -> None:
    for here, there in zip(some, others, strict=True):
        assert set(here) == set(there)
        assert all(torch.equal(here[name], there[name]) for name in here)


def test_a_seed_decides_the_batches_whatever_the_number_of_workers(data, frames, tiny_processor):
    alone = list(batches(data, frames, tiny_processor, num_workers=0))
    assert len(alone) == 4
    assert_same(alone, batches(data, frames, tiny_processor, num_workers=2))
    other = next(iter(batches(data, frames, tiny_processor, num_workers=0, seed=4)))
    assert not torch.equal(alone[0]["input_ids"], other["input_ids"])


def test_a_resumed_epoch_goes_on_with_the_same_batches(data, frames, tiny_processor):
    # `Trainer` resumes within an epoch like this.
    whole = list(batches(data, frames, tiny_processor, num_workers=1))
    rest = skip_first_batches(batches(data, frames, tiny_processor, num_workers=1), 3)
    assert_same(whole[3:], rest)


class CountingProcessor(DRLVideoProcessor):
    """Notes the videos that it decodes, in whatever process."""

    def preprocess(self, videos, **kwargs):
        with open(os.environ["DECODED"], "a") as record:
            record.writelines(f"{video}\n" for video in videos)
        return super().preprocess(videos, **kwargs)


def test_epochs_over_pairs_decode_each_video_once_and_not_once_per_caption(
    data, tiny_processor, tmp_path: Path, monkeypatch
):
    monkeypatch.setenv("DECODED", str(tmp_path / "decoded.txt"))
    video_processor = CountingProcessor(**tiny_processor.video_processor.to_dict())
    for _ in range(2):
        frames = load_frames(data.videos, video_processor, tmp_path / "store", 1)
        for _ in range(2):
            assert len(list(batches(data, frames, tiny_processor, num_workers=0))) == 4
    assert len((tmp_path / "decoded.txt").read_text().splitlines()) == len(data.videos) == 16


class Deadly(VideoDataset):
    """A dataset whose worker is killed."""

    def __getitem__(self, index: int) -> dict:
        os.kill(os.getpid(), signal.SIGKILL)


class Reader:
    @raise_worker_error
    def read(self, loader: DataLoader, message: str = "") -> list:
        """Read all."""
        if message:
            raise RuntimeError(message)
        return list(loader)


def test_a_worker_that_is_killed_is_an_error_that_says_how(frames):
    assert Reader.read.__name__ == "read" and Reader.read.__doc__ == "Read all."
    with pytest.raises(DataLoaderWorkerError, match="DataLoader worker .* killed.*try fewer `dataloader_num_workers`"):
        Reader().read(DataLoader(Deadly(frames), num_workers=1))
    with pytest.raises(RuntimeError, match="^another$"):
        Reader().read(DataLoader([1]), message="another")
    assert len(Reader().read(DataLoader([1, 2]))) == 2
