"""A user's own videos and captions, from a table or a folder with one."""

import csv
import io
import json
import os
import shutil
from pathlib import Path

import pytest

from drl_tvr import BenchmarkError, RetrievalData, load_benchmark
from drl_tvr.data.frame_store import load_frames
from drl_tvr.data.loading import PairDataset


ROWS = [
    {"video": "a.mp4", "caption": 'one,  "two"\nthree '},
    {"video": "sub/b.webm", "caption": "four"},
    {"video": "a.mp4", "caption": "five"},
]


def write(path: Path, rows: list[dict] | str) -> Path:
    """Writes rows in the form that the file's name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(rows, str):
        text = rows
    elif path.suffix in (".csv", ".tsv"):
        stream = io.StringIO()
        columns = list(dict.fromkeys(key for row in rows for key in row))
        writer = csv.DictWriter(stream, columns, delimiter="\t" if path.suffix == ".tsv" else ",")
        writer.writeheader()
        writer.writerows(rows)
        text = stream.getvalue()
    else:
        text = "\n".join(map(json.dumps, rows)) if path.suffix == ".jsonl" else json.dumps(rows)
    path.write_text(text, encoding="utf-8", newline="")
    return path


def touch(root: Path, *paths: str) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return root


def joined(data: RetrievalData) -> dict[str, list[str]]:
    ids = data.videos["video_id"][:]
    captions = {video_id: [] for video_id in ids}
    for caption, row in zip(data.captions["caption"][:], data.caption_to_video, strict=True):
        captions[ids[row]].append(caption)
    return captions


@pytest.mark.parametrize("name", ["my.csv", "my.tsv", "my.json", "my.jsonl"])
@pytest.mark.parametrize("columns", [("video", "caption"), ("file_name", "text"), ("path", "sentence")])
def test_a_table_of_any_form_gives_its_videos_and_captions(name, columns, tmp_path):
    touch(tmp_path, "a.mp4", "sub/b.webm")
    rows = [{columns[0]: row["video"], columns[1]: row["caption"]} for row in ROWS]
    data = load_benchmark(str(write(tmp_path / name, rows)))
    assert (data.name, data.split) == (name, "test")
    assert joined(data) == {"a.mp4": ['one, "two" three', "five"], "sub/b.webm": ["four"]}
    assert data.captions["caption"][:] == ['one, "two" three', "four", "five"]
    assert data.videos["path"][:] == [str(tmp_path / "a.mp4"), str(tmp_path / "sub/b.webm")]
    assert (data.expected_videos, data.expected_captions, data.missing) == (2, 3, [])
    assert data.annotation_files == [name] and "no published" in data.protocol
    assert str(tmp_path) not in json.dumps(data.provenance)


def test_a_row_may_have_many_captions_where_the_form_has_lists(tmp_path):
    touch(tmp_path, "a.mp4", "b.mp4")
    rows = [{"video": "a.mp4", "caption": ["one", "two"]}, {"video": "b.mp4", "caption": "three"}]
    assert joined(load_benchmark(write(tmp_path / "my.json", rows))) == {"a.mp4": ["one", "two"], "b.mp4": ["three"]}


def test_segments_of_one_file_are_videos_of_their_own(tmp_path):
    touch(tmp_path, "a.mp4")
    rows = [
        {"video": "a.mp4", "caption": "all"},
        {"video": "a.mp4", "caption": "begin", "start": 0, "end": 2.5},
        {"video": "a.mp4", "caption": "rest", "start": "2.5"},
        {"video": "a.mp4", "caption": "again", "start": "0", "end": "2.50"},
    ]
    data = load_benchmark(write(tmp_path / "my.csv", rows))
    assert joined(data) == {"a.mp4": ["all"], "a.mp4#0-2.5": ["begin", "again"], "a.mp4#2.5-": ["rest"]}
    assert data.videos["start"][:] == [None, 0.0, 2.5] and data.videos["end"][:] == [None, 2.5, None]
    assert set(data.videos["path"][:]) == {str(tmp_path / "a.mp4")}


def test_real_clips_decode_and_pair_up(make_video, tiny_processor, tmp_path):
    make_video("a.mp4", num_frames=30, fps=10)
    make_video("b.mkv", num_frames=20, fps=10)
    rows = [
        {"video": "a.mp4", "caption": "dark", "end": 1},
        {"video": "a.mp4", "caption": "bright", "start": 2},
        {"video": "b.mkv", "caption": "grey"},
    ]
    data = load_benchmark(write(tmp_path / "my.csv", rows))
    frames = load_frames(data.videos, tiny_processor.video_processor, tmp_path / "cache", num_processes=1)
    pairs = PairDataset(data, frames)
    assert [pairs[i]["caption"] for i in range(3)] == ["dark", "bright", "grey"]
    dark, bright = (frames[i].float().mean() for i in (0, 1))
    assert dark < bright and len(pairs[2]["frames"]) == 4  # 2 s at 2 frames a second


# Splits.


def splits_of(path: Path, **options) -> dict[str, list[str]]:
    return {
        split: load_benchmark(path, split=split, **options).videos["video_id"][:]
        for split in ("train", "validation", "test")
    }


def test_a_column_says_the_split_under_any_of_its_names(tmp_path):
    touch(tmp_path, "a.mp4", "b.mp4", "c.mp4", "d.mp4")
    said = {"a.mp4": "train", "b.mp4": "val", "c.mp4": "test", "d.mp4": ""}
    rows = [{"video": video, "caption": "x", "split": split} for video, split in said.items()]
    found = splits_of(write(tmp_path / "my.csv", rows))
    assert found == {"train": ["a.mp4"], "validation": ["b.mp4"], "test": ["c.mp4", "d.mp4"]}
    with pytest.raises(
        BenchmarkError, match="my.csv, row 1, 'split': found 'gold', expected train, validation or test"
    ):
        load_benchmark(write(tmp_path / "my.csv", [{"video": "a.mp4", "caption": "x", "split": "gold"}]))


def test_a_table_without_splits_is_test_and_never_train(tmp_path):
    touch(tmp_path, "a.mp4", "sub/b.webm")
    path = write(tmp_path / "my.csv", ROWS)
    for split in ("train", "validation"):
        with pytest.raises(
            BenchmarkError, match=r"my.csv: found 3 rows of test, expected rows of train. A column 'split'"
        ):
            load_benchmark(path, split=split)


def test_without_validation_rows_a_tenth_of_the_training_files_is_held_out(tmp_path):
    names = [f"{i}.mp4" for i in range(20)]
    touch(tmp_path, *names)
    rows = [{"video": name, "caption": "x", "start": start} for name in names for start in (0, 5)]
    path = write(tmp_path / "my_train.csv", rows)
    train, validation = (load_benchmark(path, split=split) for split in ("train", "validation"))
    # Both segments of a file are on one side.
    files = [set(data.videos["path"][:]) for data in (train, validation)]
    assert (len(files[0]), len(files[1])) == (18, 2) and not files[0] & files[1]
    assert (len(train.videos), len(validation.videos)) == (36, 4)
    assert train.protocol.endswith("4 of 40 training videos held out for validation")
    # The same ones wherever the folder lies.
    moved = shutil.copytree(tmp_path, tmp_path / "moved")
    again = load_benchmark(moved / "my_train.csv", split="validation")
    assert again.videos["video_id"][:] == validation.videos["video_id"][:]
    assert len(load_benchmark(path, split="train", hold_out=False).videos) == 40
    with pytest.raises(BenchmarkError, match="found 40 rows of train, expected rows of validation"):
        load_benchmark(path, split="validation", hold_out=False)


@pytest.mark.parametrize(
    "layout",
    [
        {"metadata.csv": ["train", "validation", "test"]},
        {"metadata.jsonl": ["train", "validation", "test"]},
        {"train/metadata.csv": ["train"], "validation/metadata.jsonl": ["validation"], "test/metadata.csv": ["test"]},
        {"train.csv": ["train"], "my-val.jsonl": ["validation"], "test.json": ["test"], "notes.csv": None},
    ],
)
def test_a_folder_holds_one_table_or_one_a_split(layout, tmp_path):
    root = tmp_path / "my-data"
    for file, splits in layout.items():
        folder = (root / file).parent
        rows = []
        for split in splits or []:
            touch(folder, f"{split}.mp4")
            rows.append({"file_name": f"{split}.mp4", "text": split} | ({"split": split} if len(splits) > 1 else {}))
        write(root / file, rows or "a,b\n1,2\n")
    found = splits_of(root)
    ids = {split: video_id for split, (video_id,) in found.items()}
    assert {split: Path(video_id).name for split, video_id in ids.items()} == {s: f"{s}.mp4" for s in ids}
    assert all((root / video_id).is_file() for video_id in ids.values())
    assert load_benchmark(root).name == "my-data"


def test_equal_names_in_two_folders_are_two_videos(tmp_path):
    for folder in ("train", "training"):
        touch(tmp_path / folder, "a.mp4", "b.mp4")
        write(tmp_path / folder / "metadata.csv", [{"file_name": "a.mp4", "text": folder}])
    data = load_benchmark(tmp_path, split="train", hold_out=False)
    assert joined(data) == {"train/a.mp4": ["train"], "training/a.mp4": ["training"]}


def test_a_folder_without_a_table_is_an_error(tmp_path):
    touch(tmp_path, "a.mp4", "captions.csv")
    with pytest.raises(BenchmarkError, match="found captions.csv, expected metadata.csv"):
        load_benchmark(tmp_path)
    with pytest.raises(BenchmarkError, match="absent.csv': found no file or folder"):
        load_benchmark(tmp_path / "absent.csv")


# Wrong values, and paths that lead elsewhere.


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"video": "", "caption": "x"}, "'video': found '', expected the path of a video"),
        ({"video": 3, "caption": "x"}, "'video': found 3, expected the path of a video"),
        ({"video": "a.mp4", "caption": None}, "'caption': found None, expected a caption or a list of them"),
        ({"video": "a.mp4", "caption": []}, r"'caption': found \[\], expected a caption"),
        ({"video": "a.mp4", "caption": ["x", 1]}, r"'caption': found \['x', 1\], expected a caption"),
        ({"video": "a.mp4", "caption": "x", "start": "soon"}, "'start': found 'soon', expected a number of seconds"),
        ({"video": "a.mp4", "caption": "x", "end": -1}, "'end': found -1, expected a number of seconds"),
        ({"video": "a.mp4", "caption": "x", "end": [1]}, r"'end': found \[1\], expected a number of seconds"),
        (
            {"video": "a.mp4", "caption": "x", "start": 2, "end": 2},
            "'end': found 2.0, expected more than the start of 2.0 s",
        ),
        (
            {"video": "a.mp4", "caption": "x", "split": ["test"]},
            r"'split': found \['test'\], expected train, validation or test",
        ),
    ],
)
def test_a_wrong_value_is_an_error_that_names_its_row(row, said, tmp_path):
    touch(tmp_path, "a.mp4")
    path = write(tmp_path / "my.json", [{"video": "a.mp4", "caption": "good"}, row])
    with pytest.raises(BenchmarkError, match=f"my.json, row 2, {said}"):
        load_benchmark(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            "clip,caption\na,b\n",
            r"found the columns \['clip', 'caption'\], expected a column 'video' \(or file_name, video_path, path\)",
        ),
        ("video,label\na,b\n", r"found the columns \['video', 'label'\], expected a column 'caption'"),
        ("video,caption\n", r"found \[\], expected rows with a video and a caption"),
        ("", r"found \[\], expected rows"),
    ],
)
def test_a_table_without_a_column_or_a_row_is_an_error(content, said, tmp_path):
    with pytest.raises(BenchmarkError, match=f"my.csv: {said}"):
        load_benchmark(write(tmp_path / "my.csv", content))


def test_a_missing_file_is_an_error_unless_allowed_and_so_is_a_blank_caption(tmp_path):
    touch(tmp_path, "a.mp4")
    path = write(tmp_path / "my.csv", [*ROWS, {"video": "a.mp4", "caption": " "}])
    with pytest.raises(
        BenchmarkError, match=r"found 1 of 2 videos and 2 of 4 captions .*without a file: 1 .sub/b.webm"
    ):
        load_benchmark(path)
    data = load_benchmark(path, allow_missing=True)
    assert (data.missing, joined(data)) == (["sub/b.webm"], {"a.mp4": ['one, "two" three', "five"]})


def test_no_path_leads_out_of_the_root(tmp_path):
    elsewhere = touch(tmp_path / "elsewhere", "x.mp4", "v/y.mp4")
    root = touch(tmp_path / "root", "a.mp4")
    (root / "link.mp4").symlink_to(elsewhere / "x.mp4")
    (root / "folder").symlink_to(elsewhere / "v")
    for video in (
        "../elsewhere/x.mp4",
        str(elsewhere / "x.mp4"),
        "link.mp4",
        "folder/y.mp4",
        "sub/../../elsewhere/x.mp4",
    ):
        path = write(root / "my.csv", [{"video": "a.mp4", "caption": "x"}, {"video": video, "caption": "x"}])
        with pytest.raises(
            BenchmarkError, match=f"my.csv, row 2: found the video '{video}', expected .* not lead out of {root}"
        ):
            load_benchmark(path, allow_missing=True)
    # An absolute path within it, and a root that holds them, are fine.
    rows = [{"video": str(root / "a.mp4"), "caption": "x"}, {"video": "../root/a.mp4", "caption": "x"}]
    assert joined(load_benchmark(write(root / "my.csv", rows))) == {"a.mp4": ["x", "x"]}
    data = load_benchmark(write(root / "my.csv", [{"video": "v/y.mp4", "caption": "x"}]), elsewhere)
    assert data.videos["path"][:] == [str(elsewhere / "v/y.mp4")]


def test_too_few_training_videos_to_hold_one_out_is_an_error(tmp_path):
    touch(tmp_path, "a.mp4")
    path = write(tmp_path / "train.csv", ROWS[:1])
    for rows in (ROWS[:1], [ROWS[0], {"video": "a.mp4", "caption": "x", "start": 1, "end": 2}]):
        write(path, rows)
        with pytest.raises(
            BenchmarkError, match="train.csv train: found 'a.mp4' as the only training file, .* Pass hold_out=False"
        ):
            load_benchmark(path, split="train")
        assert len(load_benchmark(path, split="train", hold_out=False).videos) == len(rows)


def test_the_table_of_the_guide_can_be_trained_on(tmp_path):
    page = Path(__file__).parents[2] / "docs/source/en/data_preparation.md"
    table = page.read_text().split("```\nvideo,caption,", 1)[1].split("```")[0]
    touch(tmp_path, "cats/1.mp4", "cats/2.mp4", "dogs/7.webm")
    path = write(tmp_path / "captions.csv", f"video,caption,{table}")
    splits = [load_benchmark(path, split=split) for split in ("train", "validation", "test")]
    assert [len(data.videos) for data in splits] == [2, 1, 1]


def test_files_of_many_segments_are_held_out_whole_and_a_tenth_in_all(tmp_path):
    # One film of 50 clips, and 50 of one: a tenth of all clips are 10, and the film is too long for them.
    rows = [{"video": "film.mp4", "caption": "x", "start": second} for second in range(50)]
    rows += [{"video": f"{i}.mp4", "caption": "x"} for i in range(50)]
    touch(tmp_path, *{row["video"] for row in rows})
    path = write(tmp_path / "train.csv", rows)
    train, validation = (load_benchmark(path, split=split) for split in ("train", "validation"))
    assert (len(train.videos), len(validation.videos)) == (90, 10)
    assert not set(train.videos["path"][:]) & set(validation.videos["path"][:])


def test_a_table_of_a_folder_does_not_lie_elsewhere(tmp_path):
    touch(tmp_path / "root", "a.mp4")
    write(tmp_path / "elsewhere.csv", [{"video": "a.mp4", "caption": "secret"}])
    (tmp_path / "root/train.csv").symlink_to("../elsewhere.csv")
    with pytest.raises(BenchmarkError, match="train.csv: found a link to .*elsewhere.csv, expected a table that lies"):
        load_benchmark(tmp_path / "root", split="train")


def test_a_folder_and_a_relative_name_work_from_the_working_directory(tmp_path, monkeypatch):
    touch(tmp_path, "sub/b.webm")
    write(tmp_path / "my.csv", ROWS[1:2])
    monkeypatch.chdir(tmp_path)
    data = load_benchmark("my.csv")
    assert os.path.isfile(data.videos[0]["path"])
