"""The frame cache: the processor's own pixels, decoded once, and again when anything about them changed."""

import os
from pathlib import Path

import pytest
import torch
from datasets import Dataset

from drl_tvr import DRLVideoProcessor, VideoDecodeError
from drl_tvr.data import frames as frames_module
from drl_tvr.data.frames import decode_videos, read_frames


SMALL = {"size": {"shortest_edge": 24}, "crop_size": {"height": 24, "width": 24}}


def table(paths: list[Path], start: float | None = None, end: float | None = None) -> Dataset:
    return Dataset.from_list([{"path": str(path), "start": start, "end": end} for path in paths])


def direct(processor: DRLVideoProcessor, video: dict) -> torch.Tensor:
    """Pixels of one row by the processor alone."""
    inputs = processor([video["path"]], start=video["start"], end=video["end"], do_rescale=False, do_normalize=False)
    return inputs["pixel_values_videos"][0]


@pytest.fixture
def decodes(monkeypatch) -> list[str]:
    """Paths that were decoded, in this process."""
    seen, decode_one = [], frames_module.decode_one

    def spy(video: dict, **kwargs) -> dict:
        seen.append(video["path"])
        return decode_one(video, **kwargs)

    monkeypatch.setattr(frames_module, "decode_one", spy)
    return seen


@pytest.mark.parametrize("num_processes", [1, 2])
def test_frames_are_what_the_processor_gives(num_processes, make_video, tmp_path):
    paths = [
        make_video("a.mp4", num_frames=30, height=48, width=64),
        make_video("b.mp4", num_frames=14, height=80, width=36),
        make_video("c.mp4", num_frames=45, height=48, width=48),
    ]
    processor = DRLVideoProcessor(fps=2, max_frames=7, **SMALL)
    videos = table(paths)
    frames = decode_videos(videos, processor, tmp_path / "cache", num_processes=num_processes)
    assert len(frames) == 3
    assert [frames[i]["shape"][0] for i in range(3)] == [6, 3, 7]
    for row, video in zip(frames, videos, strict=True):
        pixels = read_frames(row)
        assert pixels.dtype == torch.uint8
        assert torch.equal(pixels, direct(processor, video))
    assert len({int(read_frames(row).float().sum()) for row in frames}) == 3


def test_start_and_end_choose_the_frames(make_video, tmp_path):
    path = make_video(num_frames=40, fps=10)
    processor = DRLVideoProcessor(fps=2, **SMALL)
    whole, part = (
        read_frames(decode_videos(table([path], *times), processor, tmp_path / "cache", 1)[0])
        for times in ((None, None), (1.0, 3.0))
    )
    assert (len(whole), len(part)) == (8, 5)  # at 1, 1.5, 2, 2.5 and 3 s
    assert torch.equal(part, whole[2:7])


def test_frames_can_be_changed_without_changing_the_cache(make_video, tmp_path):
    frames = decode_videos(table([make_video()]), DRLVideoProcessor(**SMALL), tmp_path / "cache", 1)
    first = read_frames(frames[0])
    wanted = first.clone()
    first.zero_()
    assert torch.equal(read_frames(frames[0]), wanted)


@pytest.fixture
def cached(make_video, tmp_path, decodes):
    """Decodes two videos, and again with what is asked for; returns how many were decoded the second time."""
    paths = [make_video("a.mp4"), make_video("b.mp4", num_frames=20)]

    def again(change=None, processor_fields=(), **table_fields) -> int:
        decode_videos(table(paths), DRLVideoProcessor(**SMALL), tmp_path / "cache", 1)
        assert len(decodes) == 2
        decodes.clear()
        if change is not None:
            change(paths)
        processor = DRLVideoProcessor(**{**SMALL, **dict(processor_fields)})
        videos = table(paths, **table_fields)
        frames = decode_videos(videos, processor, tmp_path / "cache", 1)
        for row, video in zip(frames, videos, strict=True):
            assert torch.equal(read_frames(row), direct(processor, video))
        return len(decodes)

    return again


def test_what_was_decoded_is_not_decoded_again(cached):
    assert cached() == 0


def test_normalisation_is_no_reason_to_decode_again(cached):
    assert cached(processor_fields={"image_mean": [0.0, 0.0, 0.0], "do_normalize": False}) == 0


@pytest.mark.parametrize("fields", [{"fps": 2}, {"max_frames": 1}, {"size": {"shortest_edge": 32}}, {"resample": 2}])
def test_another_setting_is(fields, cached):
    assert cached(processor_fields=fields) == 2


def test_another_interval_is(cached):
    assert cached(start=0.5, end=1.5) == 2


def test_another_file_of_the_same_name_is(cached, make_video):
    assert cached(lambda paths: make_video("b.mp4", num_frames=25)) == 2


def test_a_file_changed_without_changing_its_size_is(cached):
    def touch(paths):
        found = os.stat(paths[0])
        os.utime(paths[0], ns=(found.st_atime_ns, found.st_mtime_ns + 1))

    assert cached(touch) == 2


@pytest.mark.parametrize("num_processes", [1, 2])
def test_a_file_that_cannot_be_decoded_stops_with_its_name(num_processes, make_video, tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"this is no video" * 100)
    videos = table([make_video("a.mp4"), tmp_path / "broken.mp4", make_video("b.mp4")])
    with pytest.raises(VideoDecodeError, match="broken.mp4"):
        decode_videos(videos, DRLVideoProcessor(**SMALL), tmp_path / "cache", num_processes)
    # What failed is no cache: with the file repaired, all is decoded.
    make_video("broken.mp4", num_frames=12)
    frames = decode_videos(videos, DRLVideoProcessor(**SMALL), tmp_path / "cache", num_processes)
    assert [row["shape"][0] for row in frames] == [3, 2, 3]


def test_a_missing_file_is_an_error_before_any_decoding(make_video, tmp_path, decodes):
    with pytest.raises(FileNotFoundError, match="absent.mp4"):
        decode_videos(table([make_video(), tmp_path / "absent.mp4"]), DRLVideoProcessor(), tmp_path / "cache", 1)
    assert decodes == []


def test_decoding_in_this_process_leaves_torch_its_threads(make_video, tmp_path):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        decode_videos(table([make_video()]), DRLVideoProcessor(**SMALL), tmp_path / "cache", 1)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
