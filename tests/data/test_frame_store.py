"""The frame store: the processor's own pixels, decoded once, and again for the clip about which anything changed."""

import copy
import logging
import multiprocessing
import os
import resource
import signal
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from datasets import Dataset, concatenate_datasets
from safetensors import safe_open
from safetensors.torch import save_file
from video_files import write_video

from drl_tvr import DRLVideoProcessor, VideoDecodeError
from drl_tvr.data import frame_keys, frame_store
from drl_tvr.data.frame_keys import pixel_settings
from drl_tvr.data.frame_store import LOCK_FOLDER, FrameStoreError, StoredFrames, load_frames
from drl_tvr.files import TEMPORARY_PREFIX
from drl_tvr.model.video_decoding import VideoNotFoundError


SMALL = {"size": {"shortest_edge": 24}, "crop_size": {"height": 24, "width": 24}}
FORK = multiprocessing.get_context("fork")


class RecordingProcessor(DRLVideoProcessor):
    """Writes down every file that it decodes, in whatever process, and plays tricks on files of certain names."""

    def preprocess(self, videos, **kwargs):
        with open(os.environ["DECODED"], "a") as record:
            record.write(f"{videos[0]}\n")
        if Path(videos[0]).name in os.environ.get("HELD", "").split():
            time.sleep(60)
        if Path(videos[0]).name == "patient.mp4":  # until another process has decoded all else
            while len(files_of(Path(os.environ["STORE"]))) < 3:
                time.sleep(0.01)
        inputs = super().preprocess(videos, **kwargs)
        if Path(videos[0]).name == "changing.mp4":
            os.utime(videos[0], ns=(0, time.time_ns()))
        if Path(videos[0]).name == "deadly.mp4":
            os.kill(os.getpid(), signal.SIGKILL)
        return inputs


@pytest.fixture
def decoded(tmp_path, monkeypatch) -> Callable[[], list[str]]:
    """Gives the names of the files that `RecordingProcessor` has decoded since it was last asked."""
    record = tmp_path / "decoded.txt"
    monkeypatch.setenv("DECODED", str(record))

    def names() -> list[str]:
        found = [Path(line).name for line in record.read_text().splitlines()] if record.exists() else []
        record.write_text("")
        return found

    return names


def table(paths: list[Path], start: float | None = None, end: float | None = None) -> Dataset:
    return Dataset.from_list([{"path": str(path), "start": start, "end": end} for path in paths])


def direct(processor: DRLVideoProcessor, video: dict) -> torch.Tensor:
    """Pixels of one row by the processor alone."""
    inputs = processor([video["path"]], start=video["start"], end=video["end"], do_rescale=False, do_normalize=False)
    return inputs["pixel_values_videos"][0]


def assert_fresh(frames: StoredFrames, processor: DRLVideoProcessor, videos: Dataset) -> None:
    """Every clip is what decoding gives now."""
    assert len(frames) == len(videos)
    for pixels, video in zip(frames, videos, strict=True):
        assert pixels.dtype == torch.uint8
        assert torch.equal(pixels, direct(DRLVideoProcessor(**processor.to_dict()), video))


def files_of(store: Path) -> dict[str, int]:
    """The finished clips of a store, and when each was written."""
    return {file.name: file.stat().st_mtime_ns for file in store.glob("*/*.safetensors")}


def test_frames_are_what_the_processor_gives_whatever_the_number_of_processes(make_video, tmp_path):
    paths = [
        make_video("a.mp4", num_frames=30, height=48, width=64),
        make_video("b.mp4", num_frames=14, height=80, width=36),
        make_video("c.mp4", num_frames=45, height=48, width=48),
    ]
    processor = DRLVideoProcessor(fps=2, max_frames=7, **SMALL)
    videos = table(paths)
    contents = []
    for num_processes in (1, 2):
        store = tmp_path / f"store{num_processes}"
        frames = load_frames(videos, processor, store, num_processes)
        assert [len(pixels) for pixels in frames] == [6, 3, 7]
        assert_fresh(frames, processor, videos)
        contents.append({file.name: file.read_bytes() for file in store.glob("*/*.safetensors")})
    assert contents[0] == contents[1]
    assert len({int(pixels.float().sum()) for pixels in frames}) == 3


def test_start_and_end_choose_the_frames(make_video, tmp_path):
    path = make_video(num_frames=40, fps=10)
    processor = DRLVideoProcessor(fps=2, **SMALL)
    whole, part = (
        load_frames(table([path], *times), processor, tmp_path / "store", 1)[0] for times in ((None, None), (1.0, 3.0))
    )
    assert (len(whole), len(part)) == (8, 5)  # at 1, 1.5, 2, 2.5 and 3 s
    assert torch.equal(part, whole[2:7])


def test_frames_are_mapped_and_what_is_changed_in_them_stays_here(make_video, tmp_path):
    frames = load_frames(table([make_video()]), DRLVideoProcessor(**SMALL), tmp_path / "store", 1)
    open_files = len(os.listdir("/proc/self/fd"))
    held = [frames[0] for _ in range(50)]
    assert len(os.listdir("/proc/self/fd")) == open_files
    assert Path("/proc/self/maps").read_text().count(str(frames.files[0])) >= 50
    wanted = held[1].clone()
    held[0].zero_()
    assert torch.equal(held[1], wanted) and torch.equal(frames[0], wanted)


@pytest.fixture
def second_time(make_video, tmp_path, decoded):
    """Decodes two videos, and again with what is asked for; returns which were decoded the second time."""
    paths = [make_video("a.mp4"), make_video("b.mp4", num_frames=20)]

    def again(change: Callable = lambda paths: None, processor_fields=(), **table_fields) -> list[str]:
        load_frames(table(paths), RecordingProcessor(**SMALL), tmp_path / "store", 1)
        assert decoded() == ["a.mp4", "b.mp4"]
        change(paths)
        processor = RecordingProcessor(**{**SMALL, **dict(processor_fields)})
        videos = table(paths, **table_fields)
        frames = load_frames(videos, processor, tmp_path / "store", 1)
        assert_fresh(frames, processor, videos)
        return decoded()

    return again


def test_what_was_decoded_is_not_decoded_again(second_time):
    assert second_time() == []


@pytest.mark.parametrize("fields", [{"image_mean": [0.0, 0.0, 0.0], "do_normalize": False}, {"fps": 1.0}])
def test_what_changes_no_pixel_is_no_reason_to_decode_again(fields, second_time):
    assert second_time(processor_fields=fields) == []


@pytest.mark.parametrize(
    "fields",
    [{"fps": 2}, {"max_frames": 1}, {"size": {"shortest_edge": 32}}, {"resample": 2}, {"do_center_crop": False}],
)
def test_another_setting_is_a_reason_for_all(fields, second_time):
    assert second_time(processor_fields=fields) == ["a.mp4", "b.mp4"]


def test_another_interval_is_a_reason(second_time):
    assert second_time(start=0.5, end=1.5) == ["a.mp4", "b.mp4"]


def test_another_decoder_or_another_way_to_use_it_is_a_reason(second_time, monkeypatch):
    assert second_time(lambda _: monkeypatch.setattr(av, "__version__", "17.0.0")) == ["a.mp4", "b.mp4"]


def test_other_code_is_a_reason(second_time, monkeypatch):
    assert second_time(lambda _: monkeypatch.setattr(frame_keys, "PIXELS_VERSION", 0)) == ["a.mp4", "b.mp4"]


def test_another_file_of_the_same_name_is_decoded_again_and_no_other(second_time, make_video):
    assert second_time(lambda paths: make_video("b.mp4", num_frames=25)) == ["b.mp4"]


def test_a_file_changed_without_changing_its_size_is_decoded_again_and_no_other(second_time):
    def touch(paths):
        found = os.stat(paths[0])
        os.utime(paths[0], ns=(found.st_atime_ns, found.st_mtime_ns + 1))

    assert second_time(touch) == ["a.mp4"]


def test_a_clip_is_decoded_once_for_all_tables_that_hold_it(make_video, tmp_path, decoded):
    a, b = make_video("a.mp4"), make_video("b.mp4", num_frames=20)
    processor = RecordingProcessor(**SMALL)
    frames = load_frames(table([a, b, a]), processor, tmp_path / "store", 2)
    assert torch.equal(frames[0], frames[2]) and len(frames[1]) == 2
    load_frames(table([b]), processor, tmp_path / "store", 1)
    assert sorted(decoded()) == ["a.mp4", "b.mp4"]


def test_decoding_leaves_the_callers_random_numbers_and_threads(make_video, tmp_path):
    paths = [make_video("a.mp4"), make_video("b.mp4")]
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for num_processes in (1, 2):
            store = tmp_path / f"store{num_processes}"
            load_frames(table(paths), DRLVideoProcessor(**SMALL), store, num_processes)
            assert torch.equal(torch.get_rng_state(), before)
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


# What stops the work, and what is kept.


@pytest.mark.parametrize("num_processes", [1, 2])
def test_the_first_file_that_cannot_be_decoded_stops_the_work_and_what_was_done_is_kept(
    num_processes, make_video, tmp_path, decoded
):
    for name in ("broken.mp4", "worse.mp4"):
        (tmp_path / name).write_bytes(b"this is no video" * 100)
    names = ["a.mp4", "b.mp4", "broken.mp4", "worse.mp4", *(f"{i}.mp4" for i in range(20))]
    paths = [tmp_path / name if name in ("broken.mp4", "worse.mp4") else make_video(name) for name in names]
    store = tmp_path / "store"
    with pytest.raises(VideoDecodeError, match="broken.mp4") as error:
        load_frames(table(paths), RecordingProcessor(**SMALL), store, num_processes)
    assert (error.value.path, error.value.code) == (str(tmp_path / "broken.mp4"), "not-a-video")
    tried = decoded()
    assert {"a.mp4", "b.mp4"} <= set(tried) and len(tried) < len(paths)
    for name in ("broken.mp4", "worse.mp4"):
        make_video(name, num_frames=12)
    frames = load_frames(table(paths), RecordingProcessor(**SMALL), store, num_processes)
    assert [len(pixels) for pixels in frames] == [3, 3, 2, 2, *[3] * 20]
    # A worker may have been stopped with a clip in hand.
    assert len(set(decoded()) & set(tried) - {"broken.mp4", "worse.mp4"}) <= num_processes


def test_a_missing_file_is_an_error_before_any_decoding(make_video, tmp_path, decoded):
    with pytest.raises(VideoNotFoundError, match="absent.mp4") as error:
        load_frames(table([make_video(), tmp_path / "absent.mp4"]), RecordingProcessor(), tmp_path / "store", 1)
    assert error.value.code == "missing"
    assert decoded() == [] and not (tmp_path / "store").exists()


def test_a_file_that_changes_while_it_is_decoded_is_an_error(make_video, tmp_path, decoded):
    with pytest.raises(FrameStoreError, match="changing.mp4: found that it changed"):
        load_frames(table([make_video("changing.mp4")]), RecordingProcessor(**SMALL), tmp_path / "store", 1)
    assert files_of(tmp_path / "store") == {}


def test_a_decoding_process_that_dies_is_an_error_that_names_the_file(make_video, tmp_path, decoded):
    names = ("a.mp4", "b.mp4", "deadly.mp4", "c.mp4")
    videos = table([make_video(name) for name in names])
    for num_processes in (2, 1):
        with pytest.raises(
            FrameStoreError, match="deadly.mp4: found that decoding failed: its process died .SIGKILL"
        ) as error:
            load_frames(videos, RecordingProcessor(**SMALL), tmp_path / "store", num_processes)
        assert not any(name in str(error.value) for name in ("a.mp4", "b.mp4", "c.mp4"))
        assert 2 <= len(files_of(tmp_path / "store")) <= 3
        assert list((tmp_path / "store" / LOCK_FOLDER).iterdir()) == []


def test_a_decoding_process_that_hangs_is_an_error_that_names_the_file(make_video, tmp_path, decoded, monkeypatch):
    monkeypatch.setattr(frame_store, "TIME_LIMIT", 1)
    monkeypatch.setenv("HELD", "held.mp4")
    videos = table([make_video(name) for name in ("a.mp4", "held.mp4", "b.mp4")])
    with pytest.raises(FrameStoreError, match="held.mp4: found that decoding failed: not done after 1 s"):
        load_frames(videos, RecordingProcessor(**SMALL), tmp_path / "store", 2)


def decode_with_room(limit: int, *args) -> int:
    """Decode where no file may have more than `limit` bytes, which to the writer is as a disk that is full."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    return len(load_frames(*args))


@pytest.mark.parametrize("num_processes", [1, 2])
def test_a_disk_without_room_is_an_error_that_keeps_what_was_done(num_processes, make_video, tmp_path, decoded):
    store = tmp_path / "store"
    small, large = make_video("small.mp4", num_frames=10), make_video("large.mp4", num_frames=120)
    args = (table([small, large]), RecordingProcessor(**SMALL), store, num_processes)
    with ProcessPoolExecutor(1, mp_context=FORK) as pool, pytest.raises(FrameStoreError, match="large.mp4") as error:
        pool.submit(decode_with_room, 10_000, *args).result()
    assert "File too large" in str(error.value) and str(store) in str(error.value)
    assert len(files_of(store)) == 1 and list((store / LOCK_FOLDER).iterdir()) == []
    decoded()
    assert_fresh(load_frames(*args), *reversed(args[:2]))
    assert decoded()[0] == "large.mp4"


def test_a_store_that_cannot_be_a_folder_is_an_error(make_video, tmp_path):
    (tmp_path / "store").write_text("a file")
    with pytest.raises(OSError, match="store"):
        load_frames(table([make_video()]), DRLVideoProcessor(**SMALL), tmp_path / "store", 1)


@pytest.mark.parametrize("damage", [os.unlink, lambda file: os.truncate(file, file.stat().st_size - 1)])
def test_a_stored_clip_that_is_gone_or_cut_is_an_error_that_names_it(damage, make_video, tmp_path):
    frames = load_frames(table([make_video()]), DRLVideoProcessor(**SMALL), tmp_path / "store", 1)
    damage(frames.files[0])
    with pytest.raises(FrameStoreError, match=frames.files[0].name):
        frames[0]


@pytest.mark.parametrize("size", [0, 5, 100, -1])
def test_a_stored_clip_that_is_cut_is_decoded_again_and_no_other(
    size, make_video, tmp_path, decoded, caplog, monkeypatch
):
    monkeypatch.setattr(logging.getLogger("drl_tvr"), "propagate", True)
    args = (table([make_video("a.mp4"), make_video("b.mp4")]), RecordingProcessor(**SMALL), tmp_path / "store", 1)
    file = load_frames(*args).files[1]
    whole = file.read_bytes()
    decoded()
    os.truncate(file, size if size >= 0 else len(whole) - 1)
    frames = load_frames(*args)
    assert decoded() == ["b.mp4"] and file.read_bytes() == whole
    assert_fresh(frames, *reversed(args[:2]))
    assert f"{file}: found no whole file" in caplog.text


def flip_byte(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-100] ^= 1
    file.write_bytes(content)


def test_a_flipped_byte_in_a_stored_clip_is_an_error_that_says_what_to_do(make_video, tmp_path, decoded):
    args = (table([make_video("a.mp4"), make_video("b.mp4")]), RecordingProcessor(**SMALL), tmp_path / "store", 1)
    frames = load_frames(*args)
    flip_byte(frames.files[1])
    for found in (frames, load_frames(*args)):  # the header is right
        assert torch.equal(found[0], direct(args[1], args[0][0]))
        with pytest.raises(FrameStoreError, match="pixels that do not fit their checksum.*Delete this file") as error:
            found[1]
        assert str(frames.files[1]) in str(error.value)
    frames.files[1].unlink()
    decoded()
    assert_fresh(load_frames(*args), *reversed(args[:2]))
    assert decoded()[0] == "b.mp4"


OTHER_CONTENTS = {
    "fewer frames": lambda frames, notes: ({"frames": frames[:1].contiguous()}, notes),
    "floats": lambda frames, notes: ({"frames": frames.float()}, notes),
    "no frames": lambda frames, notes: ({"pixels": frames}, notes),
    "no notes": lambda frames, notes: ({"frames": frames}, None),
    "other notes": lambda frames, notes: ({"frames": frames}, {"clip": "{"}),
    "a list": lambda frames, notes: ({"frames": frames}, {"clip": "[]"}),
    "another clip": lambda frames, notes: ({"frames": frames}, {"clip": notes["clip"].replace("b.mp4", "a.mp4")}),
}


@pytest.mark.parametrize("change", OTHER_CONTENTS)
def test_a_stored_file_with_other_content_is_decoded_again(change, make_video, tmp_path, decoded, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("drl_tvr"), "propagate", True)
    args = (table([make_video("a.mp4"), make_video("b.mp4")]), RecordingProcessor(**SMALL), tmp_path / "store", 1)
    file = load_frames(*args).files[1]
    whole = file.read_bytes()
    with safe_open(file, framework="pt") as stored:
        tensors, notes = OTHER_CONTENTS[change](stored.get_tensor("frames").clone(), stored.metadata())
    save_file(tensors, file, metadata=notes)
    with pytest.raises(FrameStoreError, match=f"{file}: found .*Delete this file"):
        StoredFrames([file])[0]
    decoded()
    frames = load_frames(*args)
    assert decoded() == ["b.mp4"] and file.read_bytes() == whole
    assert_fresh(frames, *reversed(args[:2]))
    assert f"{file}: found" in caplog.text


# Many clips of one video.


def clips_of(path: Path, ranges: list[tuple]) -> Dataset:
    return Dataset.from_list([{"path": str(path), "start": start, "end": end} for start, end in ranges])


@pytest.mark.parametrize("num_processes", [1, 2])
def test_a_video_is_decoded_once_for_all_its_clips(num_processes, make_video, tmp_path, decoded):
    path = make_video("film.mp4", num_frames=45)
    videos = clips_of(path, [(2.0, 3.5), (0.0, 1.0), (None, None), (0.0, 1.0), (4.0, None)])
    processor = RecordingProcessor(**SMALL, fps=2)
    frames = load_frames(videos, processor, tmp_path / "store", num_processes)
    assert decoded() == ["film.mp4"]
    assert_fresh(frames, processor, videos)
    # A clip more is decoded alone.
    videos = clips_of(path, [(2.0, 3.5), (1.0, 2.0)])
    assert_fresh(load_frames(videos, processor, tmp_path / "store", num_processes), processor, videos)
    assert decoded() == ["film.mp4"]


def test_many_clips_of_a_video_are_decoded_in_parts_neighbours_together(monkeypatch):
    sources = {
        Path(f"{start}-{path}"): {"path": path, "start": start} for start in (4.0, None, 2.0, 3.0) for path in "ab"
    }
    groups = [[str(file) for file in group] for group in frame_store.group_clips(sources, 3)]
    assert groups == [["None-a", "2.0-a", "3.0-a"], ["4.0-a"], ["None-b", "2.0-b", "3.0-b"], ["4.0-b"]]


@pytest.mark.parametrize("num_processes", [1, 2])
def test_a_clip_outside_its_video_is_the_error_and_clips_before_it_are_kept(
    num_processes, make_video, tmp_path, decoded
):
    path, other = make_video("film.mp4", num_frames=30), make_video("other.mp4")
    videos = clips_of(path, [(0.0, 1.0), (1.0, 2.0), (7.0, 8.0), (2.0, 3.0)])
    videos = concatenate_datasets([videos, clips_of(other, [(9.0, 10.0)])])
    with pytest.raises(VideoDecodeError, match="film.mp4: found start=7.0 and end=8.0") as error:
        load_frames(videos, RecordingProcessor(**SMALL), tmp_path / "store", num_processes)
    assert error.value.code == "bad-range"
    assert len(files_of(tmp_path / "store")) == 2 and not list((tmp_path / "store" / LOCK_FOLDER).iterdir())


def test_processes_share_the_clips_of_one_video(make_video, tmp_path, decoded, monkeypatch):
    monkeypatch.setattr(frame_store, "CLIPS_AT_ONCE", 2)
    videos = clips_of(make_video("film.mp4", num_frames=40), [(i / 2, i / 2 + 1) for i in range(7)])
    args = (videos, RecordingProcessor(**SMALL), tmp_path / "store", 2)
    with ProcessPoolExecutor(3, mp_context=FORK) as pool:
        found = list(pool.map(read_all, *zip(*[args] * 3, strict=True)))
    assert found[0] == found[1] == found[2] == [int(direct(args[1], video).sum()) for video in videos]
    assert not list((tmp_path / "store" / LOCK_FOLDER).iterdir())


# Processes: many at once, and killed ones.


def decode_in_own_group(*args) -> None:
    os.setsid()
    load_frames(*args)


def is_writing(store: Path) -> bool:
    """Whether a file has been begun. It may be finished before one looks at it."""
    for file in store.glob(f"*/{TEMPORARY_PREFIX}*"):
        try:
            if file.stat().st_size:
                return True
        except FileNotFoundError:
            pass
    return False


MOMENTS = {
    "at the start": lambda store: (store / LOCK_FOLDER).exists(),
    "in the middle of a file": is_writing,
    "after one clip": lambda store: len(files_of(store)) >= 1,
    "after four clips": lambda store: len(files_of(store)) >= 4,
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_kill_9_loses_the_clips_in_hand_at_most_and_leaves_no_wrong_frame(
    moment, make_video, tmp_path, decoded, monkeypatch
):
    # 5 MB a clip, so that there is time to be killed while it is written.
    videos = table([make_video(f"{i}.mp4", num_frames=40 - i, fps=1, height=48, width=64) for i in range(8)])
    large = {"size": {"shortest_edge": 224}, "crop_size": {"height": 224, "width": 224}, "max_frames": 100}
    store = tmp_path / "store"
    args = (videos, RecordingProcessor(**large), store, 2)
    monkeypatch.setenv("HELD", "6.mp4 7.mp4")  # so that it cannot be done before it is killed
    process = FORK.Process(target=decode_in_own_group, args=args)
    process.start()
    while not MOMENTS[moment](store):
        assert process.is_alive()
    os.killpg(process.pid, signal.SIGKILL)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    monkeypatch.delenv("HELD")
    kept, begun = files_of(store), decoded()
    assert len(kept) < 8
    assert len(begun) - len(kept) <= 2

    frames = load_frames(*args)
    # What had been finished was neither decoded nor written again.
    assert len(decoded()) == 8 - len(kept)
    assert kept.items() <= files_of(store).items() and len(files_of(store)) == 8
    assert list((store / LOCK_FOLDER).iterdir()) == []
    assert_fresh(frames, args[1], videos)


def test_when_the_first_process_alone_is_killed_its_workers_end_and_the_next_run_goes_on(
    make_video, tmp_path, decoded
):
    videos = table([make_video(f"{i}.mp4") for i in range(30)])
    store = tmp_path / "store"
    args = (videos, RecordingProcessor(**SMALL), store, 2)
    process = FORK.Process(target=decode_in_own_group, args=args)
    process.start()
    while len(files_of(store)) < 2:
        assert process.is_alive()
    process.kill()
    process.join()
    assert_fresh(load_frames(*args), args[1], videos)
    deadline = time.monotonic() + 30
    while True:
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            break
        assert time.monotonic() < deadline, "workers of the killed process are still there"
        time.sleep(0.1)


def read_all(*args) -> list[int]:
    return [int(pixels.sum()) for pixels in load_frames(*args)]


def test_processes_that_come_at_once_decode_each_clip_once(make_video, tmp_path, decoded):
    videos = table([make_video(f"{i}.mp4", num_frames=20 + 10 * i) for i in range(6)])
    args = (videos, RecordingProcessor(**SMALL), tmp_path / "store", 2)
    with ProcessPoolExecutor(3, mp_context=FORK) as pool:
        found = list(pool.map(read_all, *zip(*[args] * 3, strict=True)))
    assert sorted(decoded()) == [f"{i}.mp4" for i in range(6)]
    assert found[0] == found[1] == found[2] == [int(direct(args[1], video).sum()) for video in videos]


def test_processes_share_the_work_and_wait_for_one_another(make_video, tmp_path, decoded, monkeypatch):
    store = tmp_path / "store"
    monkeypatch.setenv("STORE", str(store))
    videos = table([make_video(name) for name in ("patient.mp4", "a.mp4", "b.mp4", "c.mp4")])
    args = (videos, RecordingProcessor(**SMALL), store, 1)
    first = FORK.Process(target=read_all, args=args)
    first.start()
    while not (store / LOCK_FOLDER).exists() or not list((store / LOCK_FOLDER).glob("*.lock")):
        assert first.is_alive()
    # The first has the first clip in hand until this one has done the other three.
    assert_fresh(load_frames(*args), *reversed(args[:2]))
    first.join()
    assert first.exitcode == 0
    assert sorted(decoded()) == ["a.mp4", "b.mp4", "c.mp4", "patient.mp4"]
    assert list((store / LOCK_FOLDER).iterdir()) == []


def error_of(*args) -> tuple[str, str]:
    """The error of a run, and all that it names."""
    try:
        load_frames(*args)
    except VideoDecodeError as error:
        return error.path, error.code
    return "none", "none"


@pytest.mark.parametrize("num_processes", [1, 2])
def test_every_process_gets_the_error_of_the_first_video_that_cannot_be_decoded(num_processes, make_video, tmp_path):
    for name in ("broken.mp4", "worse.mp4"):
        (tmp_path / name).write_bytes(b"this is no video" * 100)
    names = ["a.mp4", "b.mp4", "broken.mp4", "c.mp4", "worse.mp4", "d.mp4"]
    videos = table([tmp_path / name if name in ("broken.mp4", "worse.mp4") else make_video(name) for name in names])
    args = (videos, DRLVideoProcessor(**SMALL), tmp_path / "store", num_processes)
    with ProcessPoolExecutor(3, mp_context=FORK) as pool:
        found = list(pool.map(error_of, *zip(*[args] * 3, strict=True)))
    assert found == [(str(tmp_path / "broken.mp4"), "not-a-video")] * 3


def test_a_launchers_processes_share_the_cores(monkeypatch):
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    monkeypatch.setattr(frame_store, "usable_cores", lambda: 6)
    assert frame_store.default_num_processes() == 6
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert frame_store.default_num_processes() == 3
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1000")
    assert frame_store.default_num_processes() == 1


@pytest.mark.shared
def test_real_clips_are_stored_as_the_processor_gives_them(shared_dir, tmp_path):
    names = ("-video-with-dash-.mp4", "drl_video7500.mp4", "decord_rotation_90.mov", "mp4parser_MOV00006.3gp")
    videos = table([shared_dir / "videos" / name for name in names])
    processor = DRLVideoProcessor()
    assert_fresh(load_frames(videos, processor, tmp_path / "store", 2), processor, videos)


def test_a_part_of_a_clip_is_said_each_time_that_it_is_used(tmp_path, tiny_processor, make_video, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("drl_tvr"), "propagate", True)
    path = make_video("a.mkv", num_frames=60)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    videos = Dataset.from_dict({"path": [str(path)], "start": [None], "end": [None]})
    processor = copy.deepcopy(tiny_processor.video_processor)
    with pytest.raises(VideoDecodeError, match="truncated"):
        load_frames(videos, processor, tmp_path / "store", 1)
    processor.allow_truncated = True
    for _ in range(2):
        caplog.clear()
        frames = load_frames(videos, processor, tmp_path / "store", 1)
        assert f"Of 1 of 1 videos only the readable part is used: {path}: " in caplog.text
    assert 0 < len(frames[0]) < 6


def test_a_suspicion_is_said_each_time_that_the_frames_are_used(
    make_video, tiny_processor, tmp_path, caplog, monkeypatch
):
    monkeypatch.setattr(logging.getLogger("drl_tvr"), "propagate", True)
    noise = np.random.default_rng(0).integers(0, 255, (40, 48, 64, 3), dtype=np.uint8)
    path = write_video(tmp_path / "a.mkv", noise, options={"cluster_time_limit": "100"})
    clusters = path.read_bytes().split(b"\x1f\x43\xb6\x75")
    path.write_bytes(b"\x1f\x43\xb6\x75".join(clusters[: len(clusters) // 2]))  # as a killed recording may end
    videos = table([path, make_video("b.mp4")])
    for _ in range(2):
        caplog.clear()
        load_frames(videos, tiny_processor.video_processor, tmp_path / "store", 1)
        assert f"Of 1 of 2 videos the file is suspicious: {path}: " in caplog.text
    assert "only the readable part" not in caplog.text


def test_settings_that_change_no_pixel_decode_nothing_again(tiny_processor):
    settings = pixel_settings(tiny_processor.video_processor)
    for name, value in (("pad_to_max_frames", True), ("device", "cpu"), ("return_tensors", "pt"), ("image_mean", [0])):
        processor = copy.deepcopy(tiny_processor.video_processor)
        setattr(processor, name, value)
        assert pixel_settings(processor) == settings, name
