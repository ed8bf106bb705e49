"""MSR-VTT from small files in its own forms; and, on it, what is held out of train and what is said to be missing.

The numbers that the complete benchmark has are set to those of the small files. Video files are empty: loading only
asks whether they are there.
"""

import csv
import io
import json
import logging
import pickle
from pathlib import Path

import pytest
from benchmark_files import joined, sizes, touch, write

from drl_tvr import BenchmarkError, load_benchmark
from drl_tvr.data.benchmarks import msrvtt
from drl_tvr.data.benchmarks.assembly import held_out


VIDEOS = [f"video{i}" for i in range(40)]
# As in the real file: videos in no order, the captions of each together.
ORDER = [*range(39, -1, -2), *range(0, 40, 2)]
SENTENCES = [
    {"caption": f" video {i}  caption {k} ", "video_id": f"video{i}", "sen_id": 2 * i + k}
    for i in ORDER
    for k in (0, 1)
]
TEST = [3, 31, 33, 30]


def to_csv(rows: list[list[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


@pytest.fixture
def msrvtt_root(tmp_path, monkeypatch) -> Path:
    """40 videos with 2 captions each: 30 of train, 4 of 1k-A test; officially 20 train, 5 validate, 15 test."""
    marks = ["train"] * 20 + ["validate"] * 5 + ["test"] * 15
    entries = [
        {"category": 1, "url": "u", "video_id": v, "start time": 1.5, "end time": 9.0, "split": mark, "id": i}
        for i, (v, mark) in enumerate(zip(VIDEOS, marks, strict=True))
    ]
    write(tmp_path / "msrvtt_data/MSRVTT_data.json", {"info": {}, "videos": entries, "sentences": SENTENCES})
    train = [i for i in range(34) if i not in TEST]
    for name, ids in (("9k", train), ("7k", train[:20])):
        write(tmp_path / f"msrvtt_data/MSRVTT_train.{name}.csv", "\n".join(["video_id", *(f"video{i}" for i in ids)]))
    rows = [[f"ret{k}", f"msr{i}", f"video{i}", f"video {i}, caption 1"] for k, i in enumerate(TEST)]
    header = ["key", "vid_key", "video_id", "sentence"]
    write(tmp_path / "msrvtt_data/MSRVTT_JSFUSION_test.csv", to_csv([header, *rows]))
    touch(tmp_path / "videos/all", [f"{v}.mp4" for v in VIDEOS])
    small = {"msrvtt-9k": (30, 60), "msrvtt-7k": (20, 40)}
    for name, numbers in small.items():
        monkeypatch.setitem(msrvtt.EXPECTED, (name, "train"), numbers)
        monkeypatch.setitem(msrvtt.EXPECTED, (name, "test"), (4, 4))
    for split, number in (("train", 20), ("validation", 5), ("test", 15)):
        monkeypatch.setitem(msrvtt.EXPECTED, ("msrvtt-full", split), (number, 2 * number))
    return tmp_path


def test_msrvtt_training_pairs_are_in_the_files_order_with_single_spaces(msrvtt_root):
    data = load_benchmark("msrvtt-9k", msrvtt_root, "train", hold_out=False)
    train = [i for i in range(34) if i not in TEST]
    assert data.videos["video_id"][:] == [f"video{i}" for i in train]
    assert data.captions["caption"][:] == [f"video {i} caption {k}" for i in ORDER if i in train for k in (0, 1)]
    assert joined(data) == {f"video{i}": [f"video {i} caption 0", f"video {i} caption 1"] for i in train}
    assert data.videos[0]["path"] == str(msrvtt_root / "videos/all/video0.mp4")
    # The file is the clip already: the times of the annotations are those of the source video.
    assert data.videos[0]["start"] is data.videos[0]["end"] is None
    assert data.provenance["annotation_files"] == ["msrvtt_data/MSRVTT_data.json", "msrvtt_data/MSRVTT_train.9k.csv"]


def test_msrvtt_1ka_test_is_the_csv_joined_on_ids(msrvtt_root):
    for name in ("msrvtt-9k", "msrvtt-7k"):
        data = load_benchmark(name, msrvtt_root, "test")
        assert data.captions["caption"][:] == [f"video {i}, caption 1" for i in TEST]  # the CSV's wording
        assert data.videos["video_id"][:] == [f"video{i}" for i in TEST] and data.caption_to_video == [0, 1, 2, 3]
        assert "1k-A" in data.protocol and name.removeprefix("msrvtt-") in data.protocol
        assert (data.expected_videos, data.expected_captions, data.missing) == (4, 4, [])


def test_msrvtt_1ka_test_may_come_from_the_index_of_captions_instead(msrvtt_root):
    (msrvtt_root / "msrvtt_data/MSRVTT_JSFUSION_test.csv").unlink()
    index = msrvtt_root / "structured-symlinks/jsfusion_val_caption_idx.pkl"
    index.parent.mkdir()
    index.write_bytes(pickle.dumps({"video33": 1, "video3": 0, "video31": 1, "video30": 0}))
    data = load_benchmark("msrvtt-9k", msrvtt_root, "test")
    assert joined(data) == {
        "video33": ["video 33 caption 1"],
        "video3": ["video 3 caption 0"],
        "video31": ["video 31 caption 1"],
        "video30": ["video 30 caption 0"],
    }
    index.write_bytes(pickle.dumps({"video33": 2}))
    with pytest.raises(
        BenchmarkError, match="'video33': found the caption index 2, expected the index of one of its 2 captions"
    ):
        load_benchmark("msrvtt-9k", msrvtt_root, "test")
    index.unlink()
    with pytest.raises(BenchmarkError, match="expected MSRVTT_JSFUSION_test.csv or jsfusion_val_caption_idx.pkl"):
        load_benchmark("msrvtt-9k", msrvtt_root, "test")


def test_msrvtt_captions_in_coco_form_are_the_same_under_either_name(msrvtt_root):
    before = joined(load_benchmark("msrvtt-9k", msrvtt_root, "train"))
    coco = {
        "annotations": [{"image_id": s["video_id"], "caption": s["caption"], "id": s["sen_id"]} for s in SENTENCES]
    }
    write(msrvtt_root / "msrvtt_data/MSRVTT_data.json", coco)  # as the official README says to rename it
    assert joined(load_benchmark("msrvtt-9k", msrvtt_root, "train")) == before
    (msrvtt_root / "msrvtt_data/MSRVTT_data.json").rename(msrvtt_root / "MSR_VTT.json")
    assert joined(load_benchmark("msrvtt-9k", msrvtt_root, "train")) == before


def test_msrvtt_captions_may_be_the_two_official_files(msrvtt_root):
    before = {name: joined(load_benchmark(name, msrvtt_root, "train")) for name in ("msrvtt-9k", "msrvtt-full")}
    path = msrvtt_root / "msrvtt_data/MSRVTT_data.json"
    content = json.loads(path.read_text())
    path.unlink()
    for name, wanted in (("train_val", {"train", "validate"}), ("test", {"test"})):
        videos = [video for video in content["videos"] if video["split"] in wanted]
        ids = {video["video_id"] for video in videos}
        sentences = [sentence for sentence in content["sentences"] if sentence["video_id"] in ids]
        write(msrvtt_root / f"{name}_videodatainfo.json", {"videos": videos, "sentences": sentences})
    assert {name: joined(load_benchmark(name, msrvtt_root, "train")) for name in before} == before
    (msrvtt_root / "test_videodatainfo.json").unlink()
    with pytest.raises(BenchmarkError, match="expected MSRVTT_data.json or MSR_VTT.json"):
        load_benchmark("msrvtt-9k", msrvtt_root, "train")


def test_msrvtt_full_takes_its_splits_from_the_lists_or_the_marks_of_the_file(msrvtt_root):
    assert sizes(load_benchmark("msrvtt-full", msrvtt_root, "train")) == (20, 40)
    assert sizes(load_benchmark("msrvtt-full", msrvtt_root, "test")) == (15, 30)
    validation = load_benchmark("msrvtt-full", msrvtt_root, "validation")  # marked "validate"
    assert validation.videos["video_id"][:] == VIDEOS[20:25]
    assert "held out" not in validation.protocol
    write(msrvtt_root / "MSRVTT_val.full.csv", "video_id\n" + "\n".join(VIDEOS[24:19:-1]) + "\n")
    assert load_benchmark("msrvtt-full", msrvtt_root, "validation").videos["video_id"][:] == VIDEOS[24:19:-1]
    coco = {"annotations": [{"image_id": s["video_id"], "caption": s["caption"]} for s in SENTENCES]}
    write(msrvtt_root / "msrvtt_data/MSRVTT_data.json", coco)
    with pytest.raises(BenchmarkError, match="expected MSRVTT_test.full.csv or test_list_full.txt"):
        load_benchmark("msrvtt-full", msrvtt_root, "test")


# What is held out of train.


def test_validation_is_a_part_of_train_and_test_is_never_in_it(msrvtt_root):
    whole = load_benchmark("msrvtt-9k", msrvtt_root, "train", hold_out=False)
    train, validation, test = (
        load_benchmark("msrvtt-9k", msrvtt_root, split) for split in ("train", "validation", "test")
    )
    ids = [set(data.videos["video_id"][:]) for data in (train, validation, test)]
    assert ids[0] | ids[1] == set(whole.videos["video_id"][:]) and not ids[0] & ids[1]
    assert not ids[2] & (ids[0] | ids[1])
    assert (sizes(train), sizes(validation), sizes(whole)) == ((27, 54), (3, 6), (30, 60))
    assert (train.expected_videos, train.expected_captions) == (27, 54)
    assert (validation.expected_videos, validation.expected_captions) == (3, 6)
    for data in (train, validation):
        assert data.protocol.endswith("3 of 30 training videos held out for validation")
    assert "held out" not in whole.protocol + test.protocol


def test_without_holding_out_there_is_no_validation_and_the_error_says_what_to_do(msrvtt_root):
    with pytest.raises(
        BenchmarkError, match='hold_out=False, expected .* none is taken .* load split="test" and say so'
    ):
        load_benchmark("msrvtt-9k", msrvtt_root, "validation", hold_out=False)


def test_what_is_held_out_depends_on_the_ids_alone():
    ids = [f"video{i}" for i in range(9000)]
    held = held_out(ids)
    assert held == held_out(ids[::-1]) and len(held) == 500
    # The first ones by SHA-256, frozen: another choice would make results of different versions differ.
    assert sorted(held)[:3] == ["video0", "video1006", "video101"]
    assert len(held_out(ids[:100])) == 10 and len(held_out(ids[:3])) == 1


def test_clips_of_one_source_are_held_out_together(msrvtt_root):
    path = msrvtt_root / "msrvtt_data/MSRVTT_data.json"
    content = json.loads(path.read_text())
    for number, entry in enumerate(content["videos"]):
        entry["url"] = f"https://www.youtube.com/watch?v={number // 3}"
    write(path, content)
    url_of = {entry["video_id"]: entry["url"] for entry in content["videos"]}
    train, validation = (load_benchmark("msrvtt-9k", msrvtt_root, split) for split in ("train", "validation"))
    sources = [{url_of[video_id] for video_id in data.videos["video_id"][:]} for data in (train, validation)]
    assert not sources[0] & sources[1] and (len(train.videos), len(validation.videos)) == (27, 3)
    assert train.protocol.endswith("; whole sources, 3 of 30 training videos held out for validation")


def test_a_source_that_is_too_long_is_passed_over_and_the_number_is_exact():
    ids = [f"video{i}" for i in range(100)]
    sources = {video_id: "long" if i < 30 else f"s{i // 2}" for i, video_id in enumerate(ids)}
    held = held_out(ids, sources)
    assert len(held) == 10 and not {sources[i] for i in held} & {sources[i] for i in ids if i not in held}
    assert held_out(ids[:60], dict.fromkeys(ids[:30], "a") | dict.fromkeys(ids[30:60], "b")) in (
        set(ids[:30]),
        set(ids[30:60]),
    )


def test_what_is_held_out_stays_when_videos_are_missing(msrvtt_root):
    before = load_benchmark("msrvtt-9k", msrvtt_root, "validation").videos["video_id"][:]
    (msrvtt_root / f"videos/all/{before[0]}.mp4").unlink()
    sizes(load_benchmark("msrvtt-9k", msrvtt_root, "train"))  # which lacks nothing
    after = load_benchmark("msrvtt-9k", msrvtt_root, "validation", allow_missing=True)
    assert (after.videos["video_id"][:], after.missing) == (before[1:], before[:1])


# What is missing.


def test_a_missing_video_is_an_error_that_counts_and_names_it(msrvtt_root):
    (msrvtt_root / "videos/all/video31.mp4").unlink()
    with pytest.raises(
        BenchmarkError,
        match=r"msrvtt-9k test: found 3 of 4 videos and 3 of 4 captions under .*; captions are from "
        r"msrvtt_data/MSRVTT_JSFUSION_test.csv. Videos without a file: 1 \(video31\). .*allow_missing=True",
    ):
        load_benchmark("msrvtt-9k", msrvtt_root, "test")


def test_what_is_missing_may_be_allowed_and_is_then_said_and_recorded(msrvtt_root, caplog):
    (msrvtt_root / "videos/all/video31.mp4").unlink()
    with caplog.at_level(logging.WARNING):
        data = load_benchmark("msrvtt-9k", msrvtt_root, "test", allow_missing=True)
    assert "found 3 of 4 videos and 3 of 4 captions" in caplog.text
    # The captions that remain belong to the videos that they did.
    assert joined(data) == {f"video{i}": [f"video {i}, caption 1"] for i in TEST if i != 31}
    provenance = data.provenance
    assert (provenance["num_videos"], provenance["expected_videos"]) == (3, 4)
    assert (provenance["num_captions"], provenance["expected_captions"]) == (3, 4)
    assert (provenance["num_missing"], provenance["missing"]) == (1, ["video31"])


def test_nothing_at_all_is_an_error_whatever_is_allowed(msrvtt_root):
    (msrvtt_root / "videos").rename(msrvtt_root.parent / "elsewhere")
    (msrvtt_root / "videos").symlink_to(msrvtt_root.parent / "elsewhere")
    with pytest.raises(BenchmarkError, match=r"found 0 of 4 videos .*Not searched: videos \(a link to .*elsewhere\)"):
        load_benchmark("msrvtt-9k", msrvtt_root, "test", allow_missing=True)


def test_other_numbers_than_the_published_ones_are_an_error(msrvtt_root, monkeypatch, caplog):
    monkeypatch.setitem(msrvtt.EXPECTED, ("msrvtt-9k", "test"), (4, 5))
    with pytest.raises(BenchmarkError, match="found 4 of 4 videos and 4 of 5 captions"):
        load_benchmark("msrvtt-9k", msrvtt_root, "test")
    monkeypatch.setitem(msrvtt.EXPECTED, ("msrvtt-9k", "test"), (3, 4))  # more is no better
    with pytest.raises(BenchmarkError, match="found 4 of 3 videos"):
        load_benchmark("msrvtt-9k", msrvtt_root, "test")
    monkeypatch.setitem(msrvtt.EXPECTED, ("msrvtt-9k", "train"), (31, 62))
    for split, numbers in (("train", (28, 56)), ("validation", (3, 6))):
        data = load_benchmark("msrvtt-9k", msrvtt_root, split, allow_missing=True)
        assert (data.expected_videos, data.expected_captions) == numbers


def test_a_listed_video_without_captions_and_a_blank_caption_are_missing_too(msrvtt_root):
    path = msrvtt_root / "msrvtt_data/MSRVTT_data.json"
    content = json.loads(path.read_text())
    content["sentences"] = [s for s in content["sentences"] if s["video_id"] != "video7"]
    next(s for s in content["sentences"] if s["video_id"] == "video8")["caption"] = " \u00a0\n"
    write(path, content)
    with pytest.raises(BenchmarkError, match=r"Videos without a caption: 1 \(video7\). Blank captions: 1 \(video8\)."):
        load_benchmark("msrvtt-9k", msrvtt_root, "train", hold_out=False)
    data = load_benchmark("msrvtt-9k", msrvtt_root, "train", hold_out=False, allow_missing=True)
    assert sizes(data) == (29, 57) and data.missing == ["video7"]
    assert joined(data)["video8"] == ["video 8 caption 1"]


def test_a_video_that_is_listed_twice_is_an_error(msrvtt_root):
    write(msrvtt_root / "msrvtt_data/MSRVTT_train.9k.csv", "video_id\nvideo1\nvideo2\nvideo1\n")
    with pytest.raises(BenchmarkError, match="msrvtt-9k train: found 'video1' twice in .*MSRVTT_train.9k.csv"):
        load_benchmark("msrvtt-9k", msrvtt_root, "train")


def test_several_files_of_one_video_are_said(msrvtt_root, caplog):
    touch(msrvtt_root / "videos/all", ["video31.webm"])
    with caplog.at_level(logging.WARNING):
        data = load_benchmark("msrvtt-9k", msrvtt_root, "test")
    assert data.videos[1]["path"].endswith("video31.mp4")
    assert "1 videos have several files, as " in caplog.text and "video31.webm; the first is used" in caplog.text
