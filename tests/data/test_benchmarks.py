"""Reading benchmarks: what `load_benchmark` returns, and what it says of files that are not what they should be."""

import csv
import json
import shutil
from pathlib import Path

import pytest
from datasets import Dataset

from drl_tvr import BenchmarkError, RetrievalData, load_benchmark
from drl_tvr.data.benchmarks.msrvtt_format import read_csv, read_sentences
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
    with pytest.raises(BenchmarkError, match=f"no benchmark '{name}'; known: .*moving-shapes"):
        load_benchmark(name, tmp_path)


@pytest.mark.parametrize("split", ["val", "", "TEST"])
def test_an_unknown_split_is_an_error_before_anything_is_made(split, tmp_path):
    with pytest.raises(BenchmarkError, match=f"no split '{split}'; it has train, validation, test"):
        load_benchmark("moving-shapes", tmp_path / "root", split)
    assert not (tmp_path / "root").exists()


def test_another_folder_is_an_error(tmp_path):
    (tmp_path / "MSRVTT_data.json").write_text("{}")
    with pytest.raises(BenchmarkError, match="holds 'MSRVTT_data.json' but no settings.json"):
        load_benchmark("moving-shapes", tmp_path)
    (tmp_path / "settings.json").write_text('{"editor.fontSize": 12}')
    with pytest.raises(BenchmarkError, match="settings.json holds .*editor.fontSize"):
        load_benchmark("moving-shapes", tmp_path)
    with pytest.raises(BenchmarkError, match="is a file"):
        load_benchmark("moving-shapes", tmp_path / "settings.json")


# MSR-VTT's own files.


def entry(video_id: str) -> dict:
    """A video as in the official `MSRVTT_data.json`."""
    return {
        "category": 9,
        "url": "https://www.youtube.com/watch?v=9lZi22qLlEo",
        "video_id": video_id,
        "start time": 137.72,
        "end time": 149.44,
        "split": "train",
        "id": int(video_id[5:]),
    }


def sentence(caption: str, video_id: str, number: int = 0) -> dict:
    return {"caption": caption, "video_id": video_id, "sen_id": number}


def write_json(folder: Path, content) -> Path:
    path = folder / "MSRVTT_data.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_captions_keep_the_files_order_within_a_video(tmp_path):
    content = {
        "info": {},
        "videos": [entry("video1"), entry("video0")],
        "sentences": [sentence("b", "video0", 5), sentence("a", "video1", 1), sentence("c é", "video0", 0)],
    }
    videos, captions = read_sentences(write_json(tmp_path, content))
    assert list(videos) == ["video1", "video0"] and videos["video0"]["end time"] == 149.44
    assert captions == {"video1": ["a"], "video0": ["b", "c é"]}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{'videos': []}", "is not JSON"),
        ("", "is not JSON"),
        ('{"videos": [', "is not JSON"),
        ([1], "must be an object with the keys 'videos' and 'sentences'"),
        ({"videos": []}, "must be an object with the keys"),
        ({"sentences": []}, "must be an object with the keys"),
        ({"videos": [{"id": 1}], "sentences": []}, r"videos\[0\] must have the keys \['video_id'\], found {'id': 1}"),
        ({"videos": ["video1"], "sentences": []}, r"videos\[0\] .* found 'video1'"),
        (
            {"videos": [entry("video1")], "sentences": [sentence("a", "video1"), {"video_id": "video1"}]},
            r"sentences\[1\] must have the keys \['caption', 'video_id'\]",
        ),
        (
            {"videos": [entry("video1")], "sentences": [sentence("a", "video2", 17)]},
            "sentence 17 is of unknown 'video2'",
        ),
    ],
)
def test_annotations_that_are_not_msrvtts_are_an_error_that_names_the_file(content, said, tmp_path):
    path = write_json(tmp_path, content)
    with pytest.raises(BenchmarkError, match=said) as caught:
        read_sentences(path)
    assert str(path) in str(caught.value)


def test_annotations_in_another_encoding_are_an_error(tmp_path):
    path = tmp_path / "MSRVTT_data.json"
    path.write_bytes(b'{"videos": [], "sentences": [], "info": "\xe9"}')
    with pytest.raises(BenchmarkError, match="is not JSON"):
        read_sentences(path)


@pytest.mark.parametrize("read", [read_sentences, read_csv])
def test_a_missing_file_is_named(read, tmp_path):
    with pytest.raises(FileNotFoundError, match="absent"):
        read(tmp_path / "absent")


def test_a_list_is_read_with_quotes_and_either_line_end(tmp_path):
    path = tmp_path / "MSRVTT_JSFUSION_test.csv"
    path.write_bytes(b'key,vid_key,video_id,sentence\r\nret0,msr7020,video7020,"a woman, who is ""nice"""\r\n')
    (row,) = read_csv(path)
    assert (row["video_id"], row["sentence"]) == ("video7020", 'a woman, who is "nice"')


@pytest.mark.parametrize("content", ["key,sentence\nret0,a\n", "", "video7020\n"])
def test_a_list_without_the_column_is_an_error(content, tmp_path):
    (tmp_path / "list.csv").write_text(content)
    with pytest.raises(BenchmarkError, match="list.csv needs a column 'video_id', found"):
        read_csv(tmp_path / "list.csv")


def test_the_written_test_list_has_msrvtts_columns(small_root, scenes):
    with open(small_root / "MovingShapes_test.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["key", "vid_key", "video_id", "sentence"]
    test = [scene for scene in scenes if scene.split == "test"]
    assert [row["sentence"] for row in rows] == [scene.captions[0] for scene in test]
    assert [row["vid_key"] for row in rows] == [f"msr{scene.video_id[5:]}" for scene in test]


# The record.


def record(captions: list[str], owners: list[int], num_videos: int = 2) -> RetrievalData:
    ids = [f"video{i}" for i in range(num_videos)]
    videos = Dataset.from_dict(
        {"video_id": ids, "path": ids, "start": [None] * num_videos, "end": [None] * num_videos}
    )
    return RetrievalData("bench", "test", videos, Dataset.from_dict({"caption": captions, "video_index": owners}))


def test_a_record_knows_which_caption_belongs_to_which_video():
    data = record(["a", "b", "c"], [1, 0, 1])
    assert data.caption_to_video == [1, 0, 1]
    assert data.twins == []


@pytest.mark.parametrize("blank", ["", " \t\n", "\u00a0"])
def test_a_blank_caption_is_an_error_that_names_its_row_and_video(blank):
    with pytest.raises(BenchmarkError, match=r"bench test: caption 1 \(of video0\) is blank"):
        record(["a", blank], [1, 0])


def test_a_video_without_a_caption_is_an_error_that_counts():
    with pytest.raises(BenchmarkError, match="bench test: 2 of 4 videos have no caption, video1 for one"):
        record(["a", "b"], [0, 3], num_videos=4)


@pytest.mark.parametrize("video", [-1, 2])
def test_a_caption_of_no_video_is_an_error(video):
    with pytest.raises(BenchmarkError, match=f"caption 2 belongs to video {video}, but there are 2 videos"):
        record(["a", "b", "c"], [0, 1, video])
