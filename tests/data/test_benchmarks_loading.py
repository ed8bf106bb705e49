"""The other benchmarks from small files in their own forms: joins, order, protocol.

The numbers that a complete benchmark has are set to those of the small files. Video files are empty: loading only asks
whether they are there.
"""

import pickle
from pathlib import Path

import numpy as np
import pytest
from benchmark_files import joined, sizes, touch, write

from drl_tvr import BenchmarkError, load_benchmark
from drl_tvr.data.benchmarks import activitynet, didemo, lsmdc, msvd, vatex


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
    with pytest.raises(BenchmarkError, match="raw-captions.pkl: found an invalid pickle .*os.system"):
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
    with pytest.raises(BenchmarkError, match="someone.csv, line 5: found '0001_Am.*, expected 6 fields between tabs"):
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
        BenchmarkError, match="expected ref_captions.json or vatex_data.json or vatex_validation_v1.0.json"
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
    data = load_benchmark("vatex-trimmed", vatex_root)
    assert data.name == "vatex-trimmed" and joined(data) == vatex_captions(VATEX[2:])
    assert (data.videos["start"][:], data.videos["end"][:]) == ([2.0, 3.0], [12.0, 13.0])
    assert "trimmed" in data.protocol and "trimmed" not in load_benchmark("vatex", vatex_root).protocol
    random = load_benchmark("vatex-random-trimmed", vatex_root)
    assert (random.videos["start"][:], random.videos["end"][:]) == ([1.0, 3.0], [11.0, 13.0])
    assert "trimmed" in random.protocol and "not HGR's" in random.protocol
    assert load_benchmark("vatex-random", vatex_root).videos["end"][:] == [None, None]
    write(vatex_root / "vatex_data/test_list.txt", "abc_12")
    with pytest.raises(BenchmarkError, match="found the id 'abc_12', expected <YouTube id>_<start>_<end>"):
        load_benchmark("vatex-trimmed", vatex_root)


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
    data = load_benchmark("didemo-merged", didemo_root)
    assert joined(data)["10@N00_1_aa.mov"] == ["someone kicks. said of the other name. the bug."]
    assert "second name" in data.protocol and sizes(data) == (3, 3)
    assert data.name == "didemo-merged" and "second name" not in load_benchmark("didemo", didemo_root).protocol


@pytest.mark.parametrize("content", [{}, [], [{"video": "a"}], [{"video": 1, "description": "a"}], ["a"]])
def test_didemo_in_another_form_is_an_error(content, didemo_root):
    write(didemo_root / "annotation/test_data.json", content)
    with pytest.raises(BenchmarkError, match="test_data.json.* found"):
        load_benchmark("didemo", didemo_root)


def test_a_root_with_two_benchmarks_lists_is_an_error_that_names_both(didemo_root):
    write(didemo_root / "msvd_data/test_list.txt", "x_1_2")
    with pytest.raises(BenchmarkError, match="found annotation/test_list.txt and msvd_data/test_list.txt .*differ"):
        load_benchmark("didemo", didemo_root)
