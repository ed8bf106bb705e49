"""Each benchmark from small files in its own forms: joins, order, protocol, counts and what is missing.

The numbers that a complete benchmark has are set to those of the small files. Video files are empty: loading only asks
whether they are there.
"""

import csv
import io
import json
import logging
import pickle
from pathlib import Path

import numpy as np
import pytest

from drl_tvr import BenchmarkError, RetrievalData, load_benchmark
from drl_tvr.data.benchmarks import activitynet, didemo, lsmdc, msrvtt, msvd, vatex
from drl_tvr.data.benchmarks.assembly import held_out


def write(path: Path, content) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def touch(folder: Path, names) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()


def joined(data: RetrievalData) -> dict[str, list[str]]:
    """Captions of every video, by id."""
    ids = data.videos["video_id"][:]
    captions = {video_id: [] for video_id in ids}
    for caption, row in zip(data.captions["caption"][:], data.caption_to_video, strict=True):
        captions[ids[row]].append(caption)
    return captions


def sizes(data: RetrievalData) -> tuple[int, int]:
    return len(data.videos), len(data.captions)


# MSR-VTT.

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
    with pytest.raises(BenchmarkError, match="caption 2 of 'video33' is not one of its 2"):
        load_benchmark("msrvtt-9k", msrvtt_root, "test")
    index.unlink()
    with pytest.raises(BenchmarkError, match="needs MSRVTT_JSFUSION_test.csv or jsfusion_val_caption_idx.pkl"):
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
    with pytest.raises(BenchmarkError, match="needs MSRVTT_data.json or MSR_VTT.json"):
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
    with pytest.raises(BenchmarkError, match="needs MSRVTT_test.full.csv or test_list_full.txt"):
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
    with pytest.raises(BenchmarkError, match='hold_out=False none is taken .* load split="test" and say so'):
        load_benchmark("msrvtt-9k", msrvtt_root, "validation", hold_out=False)


def test_what_is_held_out_depends_on_the_ids_alone():
    ids = [f"video{i}" for i in range(9000)]
    held = held_out(ids)
    assert held == held_out(ids[::-1]) and len(held) == 500
    # The first ones by SHA-256, frozen: another choice would make results of different versions differ.
    assert sorted(held)[:3] == ["video0", "video1006", "video101"]
    assert len(held_out(ids[:100])) == 10 and len(held_out(ids[:3])) == 1


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
    with pytest.raises(BenchmarkError, match="msrvtt-9k train: 'video1' is listed twice in .*MSRVTT_train.9k.csv"):
        load_benchmark("msrvtt-9k", msrvtt_root, "train")


def test_several_files_of_one_video_are_said(msrvtt_root, caplog):
    touch(msrvtt_root / "videos/all", ["video31.webm"])
    with caplog.at_level(logging.WARNING):
        data = load_benchmark("msrvtt-9k", msrvtt_root, "test")
    assert data.videos[1]["path"].endswith("video31.mp4")
    assert "1 videos have several files, as " in caplog.text and "video31.webm; the first is used" in caplog.text


# MSVD.

MSVD = {
    "-4wsuPCjDBc_5_15": ["a squirrel is eating", "a nut", "a nut"],
    "a_b-cdefghi_0_9": ["it s a man"],
    "x_1_2": ["x"],
}


@pytest.fixture
def msvd_root(tmp_path, monkeypatch) -> Path:
    ids = list(MSVD)
    for name, split, captions in (("train", "train", 3), ("val", "validation", 1), ("test", "test", 1)):
        write(tmp_path / f"msvd_data/{name}_list.txt", ids.pop(0))  # no line end after the last
        monkeypatch.setitem(msvd.EXPECTED, split, (1, captions))
    touch(tmp_path / "YouTubeClips", [f"{video_id}.avi" for video_id in MSVD])
    return tmp_path


@pytest.mark.parametrize("form", ["captions_msvd.json", "raw-captions.pkl"])
def test_msvd_is_the_same_from_json_and_pickle(form, msvd_root):
    if form.endswith(".pkl"):
        tokens = {video_id: [caption.split() for caption in captions] for video_id, captions in MSVD.items()}
        (msvd_root / "msvd_data" / form).write_bytes(pickle.dumps(tokens, protocol=2))
    else:
        write(msvd_root / "msvd_data" / form, MSVD)
    found = [load_benchmark("msvd", msvd_root, split) for split in ("train", "validation", "test")]
    assert {k: v for data in found for k, v in joined(data).items()} == MSVD
    assert found[0].videos[0]["path"] == str(msvd_root / "YouTubeClips/-4wsuPCjDBc_5_15.avi")
    assert found[0].annotation_files == ["msvd_data/train_list.txt", f"msvd_data/{form}"]


def test_msvd_pickle_that_runs_code_is_refused(msvd_root):
    (msvd_root / "raw-captions.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(BenchmarkError, match="raw-captions.pkl can't be read .*os.system"):
        load_benchmark("msvd", msvd_root, "test")


# LSMDC.

LSMDC = [
    ("1012_Unbreakable_00.56.36.981-00.56.38.167", 'SOMEONE pulls out "his walkie-talkie.'),
    ("0017_Pianist_00.23.28.872-00.23.34.843", '"SOMEONE" plays.  He\x85stops. '),
    ("1012_Unbreakable_00.56.36.981-00.56.38.167", "He talks, and listens."),
]


@pytest.fixture
def lsmdc_root(tmp_path, monkeypatch) -> Path:
    times = "00.56.36.981\t00.56.38.167\t00.56.36.574\t00.56.38.574"
    lines = [f"{clip_id}\t{times}\t{sentence}" for clip_id, sentence in LSMDC]
    lines[1] = f'"{lines[1]}'  # some copies
    write(tmp_path / "LSMDC16_annos_training.csv", "\r\n".join(lines) + "\r\n")
    write(tmp_path / "LSMDC16_challenge_1000_publictect.csv", lines[0])
    for clip_id, _ in LSMDC:
        touch(tmp_path / "videos" / clip_id.split(".")[0][:-3], [f"{clip_id}.avi"])
    monkeypatch.setitem(lsmdc.EXPECTED, "train", (None, 3))
    monkeypatch.setitem(lsmdc.EXPECTED, "test", (1, 1))
    return tmp_path


def test_lsmdc_rows_are_pairs_and_quotes_are_letters(lsmdc_root):
    data = load_benchmark("lsmdc", lsmdc_root, "train")
    assert data.captions["caption"][:] == [
        'SOMEONE pulls out "his walkie-talkie.',
        '"SOMEONE" plays. He stops.',
        "He talks, and listens.",
    ]
    assert data.caption_to_video == [0, 1, 0]  # two sentences of one clip, neither lost
    assert data.videos["video_id"][:] == [LSMDC[0][0], LSMDC[1][0]]
    # The file is the extracted clip already.
    assert data.videos["start"][:] == data.videos["end"][:] == [None, None]
    assert data.videos[0]["path"].endswith(f"videos/1012_Unbreakable/{LSMDC[0][0]}.avi")
    assert (data.expected_videos, data.expected_captions) == (None, 3)
    assert sizes(load_benchmark("lsmdc", lsmdc_root, "test")) == (1, 1)


def test_lsmdc_has_its_files_of_2019_too_and_a_wrong_row_is_named(lsmdc_root):
    path = lsmdc_root / "LSMDC16_annos_training.csv"
    path = path.rename(lsmdc_root / "LSMDC16_annos_training_someone.csv")
    assert sizes(load_benchmark("lsmdc", lsmdc_root, "train")) == (2, 3)
    path.write_text(path.read_text() + "\n0001_American_Beauty_00.47.41.233\tonly two\n")
    with pytest.raises(BenchmarkError, match="someone.csv, line 5: expected 6 fields between tabs, found '0001_Am"):
        load_benchmark("lsmdc", lsmdc_root, "train")


# VATEX.

VATEX = [
    f"{name}_{i:06d}_{i + 10:06d}" for i, name in enumerate(["a_b-cdefghi", "-bcdefghijk", "_cdefghijkl", "dddd"])
]


@pytest.fixture
def vatex_root(tmp_path, monkeypatch) -> Path:
    for split, name, ids in (
        ("train", "train", VATEX[:1]),
        ("validation", "val", VATEX[1:2]),
        ("test", "test", VATEX[2:]),
    ):
        write(tmp_path / f"vatex_data/{name}_list.txt", "\n".join(ids) + "\n")
        monkeypatch.setitem(vatex.EXPECTED, split, (len(ids), 2 * len(ids)))
    write(tmp_path / "vatex_data/test1k5_sec_list.txt", "\n".join([VATEX[1], VATEX[3]]))
    write(tmp_path / "vatex_data/ref_captions.json", vatex_captions(VATEX))
    touch(tmp_path / "videos", [f"{video_id}.mp4" for video_id in VATEX])
    return tmp_path


def vatex_captions(ids: list[str]) -> dict[str, list[str]]:
    return {video_id: [f"{video_id} one", f"{video_id} two"] for video_id in ids}


def test_vatex_is_the_same_from_every_file_of_captions(vatex_root):
    splits = ("train", "validation", "test")
    before = [joined(load_benchmark("vatex", vatex_root, split)) for split in splits]
    assert before == [vatex_captions(VATEX[:1]), vatex_captions(VATEX[1:2]), vatex_captions(VATEX[2:])]
    rows = [{"videoID": k, "enCap": v, "chCap": ["x"] * 2} for k, v in vatex_captions(VATEX).items()]
    (vatex_root / "vatex_data/ref_captions.json").unlink()
    write(vatex_root / "vatex_data.json", {row["videoID"]: row for row in rows})
    assert [joined(load_benchmark("vatex", vatex_root, split)) for split in splits] == before
    (vatex_root / "vatex_data.json").unlink()
    write(vatex_root / "vatex_training_v1.0.json", rows[:1])
    write(vatex_root / "vatex_validation_v1.0.json", rows[1:])  # both halves of HGR's split come from it
    assert [joined(load_benchmark("vatex", vatex_root, split)) for split in splits] == before
    (vatex_root / "vatex_validation_v1.0.json").unlink()
    with pytest.raises(
        BenchmarkError, match="needs ref_captions.json or vatex_data.json or vatex_validation_v1.0.json"
    ):
        load_benchmark("vatex", vatex_root, "test")


def test_vatex_lists_may_be_hgrs_arrays(vatex_root):
    (vatex_root / "vatex_data/test_list.txt").unlink()
    (vatex_root / "public_split").mkdir()
    np.save(vatex_root / "public_split/tst_names.npy", np.array(VATEX[2:]))
    assert joined(load_benchmark("vatex", vatex_root, "test")) == vatex_captions(VATEX[2:])


def test_vatex_random_validates_on_what_its_own_test_leaves(vatex_root, monkeypatch):
    monkeypatch.setitem(vatex.EXPECTED, "validation", (1, 2))
    assert joined(load_benchmark("vatex-random", vatex_root, "train")) == vatex_captions(VATEX[:1])
    assert joined(load_benchmark("vatex-random", vatex_root, "test")) == vatex_captions([VATEX[1], VATEX[3]])
    validation = load_benchmark("vatex-random", vatex_root, "validation")
    assert joined(validation) == vatex_captions([VATEX[2]])
    assert "not HGR's" in validation.protocol != load_benchmark("vatex", vatex_root).protocol


def test_vatex_is_trimmed_to_its_ids_only_when_asked(vatex_root):
    assert load_benchmark("vatex", vatex_root).videos["end"][:] == [None, None]
    data = load_benchmark("vatex", vatex_root, trim=True)
    assert (data.videos["start"][:], data.videos["end"][:]) == ([2.0, 3.0], [12.0, 13.0])
    assert "trimmed" in data.protocol
    write(vatex_root / "vatex_data/test_list.txt", "abc_12")
    with pytest.raises(BenchmarkError, match="'abc_12' has no times to trim to"):
        load_benchmark("vatex", vatex_root, trim=True)


# ActivityNet.


@pytest.fixture
def activitynet_root(tmp_path, monkeypatch) -> Path:
    train = {f"v_{i:011d}": {"duration": 9, "timestamps": [[0, 1]], "sentences": ["One."]} for i in range(20)}
    test = {
        "v_v_aaaaaaaaa": {
            "duration": 9.5,
            "timestamps": [[5, 9], [0, 4]],
            "sentences": [" Later\u00a0this. ", "  First\nthat."],
        },
        "v__vbbbbbbbbb": {"duration": 1.6, "timestamps": [[3, 2]], "sentences": ["Once."]},
        "v_-cccccccccc": {"duration": 700, "timestamps": [], "sentences": ["Never "]},
    }
    write(tmp_path / "captions/train.json", train)
    write(tmp_path / "captions/val_1.json", test)
    write(tmp_path / "captions/val_2.json", {"v_v_aaaaaaaaa": {"sentences": ["Otherwise."]}})
    write(tmp_path / "captions/val_ids.json", [*test, "v_without0000"])  # an id that has no captions
    touch(tmp_path / "videos", ["v_v_aaaaaaaaa.mp4", "_vbbbbbbbbb.mkv", "v_-cccccccccc.webm"])
    touch(tmp_path / "train", [f"{video_id[2:]}.mp4" for video_id in train])
    monkeypatch.setitem(activitynet.EXPECTED, "train", (20, 20))
    monkeypatch.setitem(activitynet.EXPECTED, "test", (3, 3))
    return tmp_path


def test_activitynet_paragraphs_are_in_the_files_order_with_or_without_v(activitynet_root):
    data = load_benchmark("activitynet", activitynet_root, "test")
    assert joined(data) == {
        "v_v_aaaaaaaaa": ["Later this. First that."],
        "v__vbbbbbbbbb": ["Once."],
        "v_-cccccccccc": ["Never"],
    }
    assert [Path(path).name for path in data.videos["path"][:]] == [
        "v_v_aaaaaaaaa.mp4",
        "_vbbbbbbbbb.mkv",
        "v_-cccccccccc.webm",
    ]
    assert data.videos["start"][:] == data.videos["end"][:] == [None] * 3  # the whole video
    assert "val_1" in data.protocol


def test_activitynet_strips_by_position_never_by_letters(activitynet_root):
    (activitynet_root / "videos/v_v_aaaaaaaaa.mp4").rename(activitynet_root / "videos/v_aaaaaaaaa.mp4")
    assert sizes(load_benchmark("activitynet", activitynet_root)) == (3, 3)
    (activitynet_root / "videos/v_aaaaaaaaa.mp4").rename(activitynet_root / "videos/aaaaaaaaa.mp4")
    with pytest.raises(BenchmarkError, match=r"without a file: 1 \(v_v_aaaaaaaaa\)"):
        load_benchmark("activitynet", activitynet_root)


def test_activitynet_validates_on_a_part_of_train(activitynet_root):
    train, validation = (load_benchmark("activitynet", activitynet_root, split) for split in ("train", "validation"))
    assert (len(train.videos), len(validation.videos)) == (18, 2)
    assert not set(train.videos["video_id"][:]) & set(validation.videos["video_id"][:])


@pytest.mark.parametrize("content", [[], {}, {"v_a": ["x"]}, {"v_a": {"sentences": "x"}}, {"v_a": {"sentences": [1]}}])
def test_activitynet_in_another_form_is_an_error(content, activitynet_root):
    write(activitynet_root / "captions/val_1.json", content)
    with pytest.raises(BenchmarkError, match="val_1.json.* found"):
        load_benchmark("activitynet", activitynet_root)


# DiDeMo.

DIDEMO = [
    ("10@N00_1_aa.mov", " someone\nkicks. "),
    ("10@N00_2_bb.", "first."),
    ("10@N00_1_aa.mp4", "said of the other name."),
    ("10@N00_3_cc.avi", "alone."),
    ("10@N00_2_bb.", "second."),
    ("10@N00_1_aa.mov", "the bug."),
    ("10@N00_4_dd.avi", "not listed."),
]


@pytest.fixture
def didemo_root(tmp_path, monkeypatch) -> Path:
    rows = [
        {"num_segments": 6, "description": text, "video": video, "times": [[4, 4]], "annotation_id": i}
        for i, (video, text) in enumerate(DIDEMO)
    ]
    write(tmp_path / "annotation/test_data.json", rows)
    write(tmp_path / "annotation/test_list.txt", "10@N00_3_cc.avi\n10@N00_1_aa.mov\n10@N00_2_bb.\n")
    touch(tmp_path / "videos", ["10@N00_1_aa.mov", "10@N00_2_bb..mp4", "10@N00_3_cc.mp4", "10@N00_1_aa.mp4"])
    monkeypatch.setitem(didemo.EXPECTED, "test", (3, 3))
    return tmp_path


def test_didemo_joins_scattered_descriptions_of_exactly_the_listed_name(didemo_root):
    data = load_benchmark("didemo", didemo_root)
    assert joined(data) == {
        "10@N00_3_cc.avi": ["alone."],
        "10@N00_1_aa.mov": ["someone kicks. the bug."],
        "10@N00_2_bb.": ["first. second."],
    }
    assert list(joined(data)) == data.videos["video_id"][:] == ["10@N00_3_cc.avi", "10@N00_1_aa.mov", "10@N00_2_bb."]
    # Exact name, name with .mp4, converted.
    found = [Path(path).name for path in data.videos["path"][:]]
    assert found == ["10@N00_3_cc.mp4", "10@N00_1_aa.mov", "10@N00_2_bb..mp4"]
    assert (set(data.videos["start"][:]), set(data.videos["end"][:])) == ({0.0}, {31.0})


def test_didemo_may_add_what_is_said_under_a_second_name(didemo_root):
    data = load_benchmark("didemo", didemo_root, merge_by_stem=True)
    assert joined(data)["10@N00_1_aa.mov"] == ["someone kicks. said of the other name. the bug."]
    assert "second name" in data.protocol and sizes(data) == (3, 3)


@pytest.mark.parametrize("content", [{}, [], [{"video": "a"}], [{"video": 1, "description": "a"}], ["a"]])
def test_didemo_in_another_form_is_an_error(content, didemo_root):
    write(didemo_root / "annotation/test_data.json", content)
    with pytest.raises(BenchmarkError, match="test_data.json.* found"):
        load_benchmark("didemo", didemo_root)


def test_a_root_with_two_benchmarks_lists_is_an_error_that_names_both(didemo_root):
    write(didemo_root / "msvd_data/test_list.txt", "x_1_2")
    with pytest.raises(BenchmarkError, match="annotation/test_list.txt and msvd_data/test_list.txt .*differ"):
        load_benchmark("didemo", didemo_root)
