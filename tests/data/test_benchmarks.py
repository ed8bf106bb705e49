"""Reading benchmarks: what `load_benchmark` returns, and what it says of files that are not what they should be."""

import csv
import json
import shutil
from pathlib import Path

import pytest
from datasets import Dataset

from drl_tvr import BenchmarkError, RetrievalData, load_benchmark
from drl_tvr.data.benchmarks import BENCHMARKS
from drl_tvr.data.benchmarks.assembly import OfficialSplit, assemble
from drl_tvr.data.moving_shapes.scenes import make_scenes


@pytest.fixture(scope="module")
def scenes() -> list:
    return make_scenes(0, 16, 10, 10)  # those of `small_root`


@pytest.mark.parametrize(
    ("split", "videos", "captions"), [("train", 16, 96), ("validation", 10, 10), ("test", 10, 10)]
)
def test_a_split_is_its_scenes_with_their_captions(split, videos, captions, small_root, scenes):
    data = load_benchmark("moving-shapes", small_root, split)
    assert (data.name, data.split, len(data.videos), len(data.captions)) == ("moving-shapes", split, videos, captions)
    wanted = {scene.video_id: scene for scene in scenes if scene.split == split}
    assert data.videos["video_id"][:] == list(wanted)
    for row in data.videos:
        assert Path(row["path"]) == small_root / "videos" / f"{row['video_id']}.mp4"
        assert Path(row["path"]).is_file()
        assert row["start"] is row["end"] is None
    ids = data.videos["video_id"][:]
    joined = {video_id: [] for video_id in ids}
    for caption, video in zip(data.captions["caption"][:], data.caption_to_video, strict=True):
        joined[ids[video]].append(caption)
    assert joined == {video_id: list(scene.captions) for video_id, scene in wanted.items()}
    pairs = [(ids[a], ids[b]) for a, b in data.twins]
    assert all(wanted[a].twin == b and wanted[b].twin == a for a, b in pairs)
    assert sorted({x for pair in pairs for x in pair}) == sorted(x for x, scene in wanted.items() if scene.twin)
    assert all(a < b for a, b in data.twins)


def test_the_benchmark_is_made_where_it_is_not(tmp_path, monkeypatch):
    # By default as large as it is; here the folder already says that it is small.
    settings = {"format_version": 1, "seed": 3, "num_train": 2, "num_validation": 1, "num_test": 4}
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    data = load_benchmark("moving-shapes", str(tmp_path))
    assert (data.split, len(data.videos)) == ("test", 4)
    assert len(list((tmp_path / "videos").glob("*.mp4"))) == 4  # of the split that was asked for


def test_a_damaged_clip_is_repaired_on_loading(small_root, tmp_path):
    root = shutil.copytree(small_root, tmp_path / "root")
    path = root / "videos" / "video30.mp4"
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    load_benchmark("moving-shapes", root, "test")
    assert path.read_bytes() == whole


@pytest.mark.parametrize("name", ["Moving-Shapes", "", "imagenet"])
def test_an_unknown_benchmark_is_an_error_that_lists_the_known(name, tmp_path):
    with pytest.raises(
        BenchmarkError, match=f"`name`: found '{name}', expected one of 'msrvtt-9k', .*'moving-shapes'"
    ):
        load_benchmark(name, tmp_path)


REAL = (
    "msrvtt-9k msrvtt-7k activitynet msrvtt-full msvd lsmdc vatex vatex-trimmed vatex-random vatex-random-trimmed "
    "didemo didemo-merged"
).split()


def test_every_benchmark_is_tested_here():
    assert BENCHMARKS == (*REAL, "moving-shapes")


@pytest.mark.parametrize("name", REAL)
def test_a_real_benchmark_needs_a_root_that_is_a_folder_and_a_split_that_it_has(name, tmp_path):
    with pytest.raises(BenchmarkError, match=f"{name}, `root`: found None, expected the folder"):
        load_benchmark(name)
    with pytest.raises(BenchmarkError, match=f"{name}, `root`: found '.*absent', expected a folder that exists"):
        load_benchmark(name, tmp_path / "absent")
    with pytest.raises(
        BenchmarkError, match=f"{name}, `split`: found 'val', expected one of 'train', 'validation', 'test'"
    ):
        load_benchmark(name, tmp_path, "val")


@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_an_empty_root_is_an_error_that_names_the_file_wanted(name, split, tmp_path):
    with pytest.raises(
        BenchmarkError, match=rf"{name}: found no .*, expected .*\.(csv|json|txt).* anywhere under {tmp_path}"
    ):
        load_benchmark(name, tmp_path, split)


@pytest.mark.parametrize("split", ["val", "", "TEST"])
def test_an_unknown_split_is_an_error_before_anything_is_made(split, tmp_path):
    with pytest.raises(
        BenchmarkError, match=f"`split`: found '{split}', expected one of 'train', 'validation', 'test'"
    ):
        load_benchmark("moving-shapes", tmp_path / "root", split)
    assert not (tmp_path / "root").exists()


def test_another_folder_is_an_error(tmp_path):
    (tmp_path / "MSRVTT_data.json").write_text("{}")
    with pytest.raises(BenchmarkError, match="found 'MSRVTT_data.json' but no settings.json"):
        load_benchmark("moving-shapes", tmp_path)
    (tmp_path / "settings.json").write_text('{"editor.fontSize": 12}')
    with pytest.raises(BenchmarkError, match="settings.json: found .*editor.fontSize"):
        load_benchmark("moving-shapes", tmp_path)
    with pytest.raises(BenchmarkError, match="settings.json: found a file, expected a folder"):
        load_benchmark("moving-shapes", tmp_path / "settings.json")


def test_the_written_test_list_has_msrvtts_columns(small_root, scenes):
    with open(small_root / "MovingShapes_test.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["key", "vid_key", "video_id", "sentence"]
    test = [scene for scene in scenes if scene.split == "test"]
    assert [row["sentence"] for row in rows] == [scene.captions[0] for scene in test]
    assert [row["vid_key"] for row in rows] == [f"msr{scene.video_id[5:]}" for scene in test]


# The record.


def record(captions: list[str], video_index: list[int], num_videos: int = 2) -> RetrievalData:
    ids = [f"video{i}" for i in range(num_videos)]
    videos = Dataset.from_dict(
        {"video_id": ids, "path": ids, "start": [None] * num_videos, "end": [None] * num_videos}
    )
    return RetrievalData("bench", "test", videos, Dataset.from_dict({"caption": captions, "video_index": video_index}))


def test_a_record_tells_what_its_results_must_be_read_with():
    data = record(["a", "b", "c"], [1, 0, 1])
    data.protocol, data.expected_videos, data.expected_captions = "as published", 14, 15
    data.missing = [f"video{i}" for i in range(2, 14)]
    assert json.loads(json.dumps(data.provenance)) == {
        "benchmark": "bench",
        "split": "test",
        "protocol": "as published",
        "num_videos": 2,
        "expected_videos": 14,
        "num_captions": 3,
        "expected_captions": 15,
        "num_missing": 12,
        "missing": [f"video{i}" for i in range(2, 12)],
        "annotation_files": [],
    }


def test_the_bundled_benchmark_is_complete_by_its_own_settings(small_root):
    provenance = load_benchmark("moving-shapes", small_root, "train").provenance
    assert (provenance["num_videos"], provenance["num_captions"]) == (16, 96)
    assert (provenance["expected_videos"], provenance["expected_captions"]) == (16, 96)
    assert provenance["annotation_files"] == ["MovingShapes_data.json", "MovingShapes_train.csv"]


def test_a_record_knows_which_caption_belongs_to_which_video():
    data = record(["a", "b", "c"], [1, 0, 1])
    assert data.caption_to_video == [1, 0, 1]
    assert data.twins == []


@pytest.mark.parametrize("blank", ["", " \t\n", "\u00a0"])
def test_a_blank_caption_is_an_error_that_names_its_row_and_video(blank):
    with pytest.raises(BenchmarkError, match=r"bench test, caption 1 \(of video0\): found a blank caption"):
        record(["a", blank], [1, 0])


def test_a_video_without_a_caption_is_an_error_that_counts():
    with pytest.raises(
        BenchmarkError, match=r"bench test: found 2 of 4 videos without a caption \(video1, for example\)"
    ):
        record(["a", "b"], [0, 3], num_videos=4)


@pytest.mark.parametrize("video", [-1, 2])
def test_a_caption_of_no_video_is_an_error(video):
    with pytest.raises(
        BenchmarkError, match=f"bench test, caption 2: found the video {video}, expected one of the 2 videos"
    ):
        record(["a", "b", "c"], [0, 1, video])


# Sizes and texts of a split.


def split_of(ids: list[str], pairs: list[tuple[str, str]], path: str = "x.mp4") -> OfficialSplit:
    return OfficialSplit(
        name="bench",
        part="test",
        video_ids=ids,
        pairs=pairs,
        find=lambda video_id: [path],
        expected=(None, None),
        protocol="",
        annotation_files=["a.json"],
        where="data",
    )


def test_a_doubled_id_among_many_is_named_at_once():
    ids = [f"v{i}" for i in range(200_000)] + ["v199999"]
    with pytest.raises(BenchmarkError, match="bench test: found 'v199999' twice in a.json, expected each video once"):
        assemble(split_of(ids, []), "test")


@pytest.mark.parametrize(("video_id", "caption"), [("a\ud800", "x"), ("a", "x\udcff")])
def test_half_of_a_surrogate_pair_is_an_error(video_id, caption):
    with pytest.raises(BenchmarkError, match="bench test: found .* in a.json, expected Unicode text"):
        assemble(split_of([video_id], [(video_id, caption)]), "test")


def test_a_file_name_that_is_not_utf_8_is_an_error():
    with pytest.raises(BenchmarkError, match=r"bench test: found the file 'b\\udcff.mp4', expected a name in UTF-8"):
        assemble(split_of(["a"], [("a", "x")], "b\udcff.mp4"), "test")
