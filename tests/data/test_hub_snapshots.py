"""A snapshot in the cache of the Hub as a root: its files are links to the repository's blobs."""

import os
from pathlib import Path

import pytest
from benchmark_files import joined, write

from drl_tvr import BenchmarkError, load_benchmark
from drl_tvr.data.benchmarks import msvd
from drl_tvr.data.folder import find_videos
from drl_tvr.data.targets import find_target


def make_snapshot(cache: Path, files: dict[str, str], repository: str = "datasets--me--clips") -> Path:
    snapshot = cache / repository / "snapshots" / "0a1b2c"
    (cache / repository / "blobs").mkdir(parents=True)
    for number, (name, content) in enumerate(files.items()):
        blob = cache / repository / "blobs" / f"{number:040x}"
        blob.write_text(content)
        (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
        (snapshot / name).symlink_to(os.path.relpath(blob, (snapshot / name).parent))
    return snapshot


def test_a_snapshot_of_the_hub_is_a_folder_of_own_data(tmp_path):
    table = "file_name,text\nvideos/deep/a.mp4,one\nb.mp4,two\n"
    snapshot = make_snapshot(tmp_path / "hub", {"metadata.csv": table, "videos/deep/a.mp4": "", "b.mp4": ""})
    wanted = {"videos/deep/a.mp4": ["one"], "b.mp4": ["two"]}
    assert joined(load_benchmark(snapshot)) == joined(load_benchmark(snapshot / "metadata.csv")) == wanted
    (tmp_path / "link").symlink_to(tmp_path / "hub")
    assert joined(load_benchmark(tmp_path / "link/datasets--me--clips/snapshots/0a1b2c")) == wanted


def test_the_doctor_finds_the_videos_of_a_snapshot(tmp_path):
    snapshot = make_snapshot(tmp_path, {"notes.txt": "text", "videos/deep/a.mp4": "", "b.mp4": ""})
    scan, missing, _ = find_target(snapshot, None, None)
    assert scan.paths == [str(snapshot / "b.mp4"), str(snapshot / "videos/deep/a.mp4")]
    assert (scan.left_out, scan.not_searched, missing) == ({".txt": 1}, [], [])


def test_a_benchmark_may_lie_in_a_snapshot_of_the_hub(tmp_path, monkeypatch):
    monkeypatch.setitem(msvd.EXPECTED, "test", (1, 1))
    files = {"a/test_list.txt": "x_1_2", "a/captions_msvd.json": '{"x_1_2": ["x"]}', "v/x_1_2.avi": ""}
    assert joined(load_benchmark("msvd", make_snapshot(tmp_path, files), "test")) == {"x_1_2": ["x"]}


@pytest.mark.parametrize("repository", ["datasets--me--clips", "clips"])
@pytest.mark.parametrize(
    "target", ["../../../secret.mp4", "../../../other/blobs/x", "../../blobs/out", "../../blobs/sub/x", "../../refs/x"]
)
def test_nothing_else_is_read_through_a_snapshot(repository, target, tmp_path):
    snapshot = make_snapshot(tmp_path / "hub", {"b.mp4": ""}, repository)
    blobs = snapshot.parent.parent / "blobs"
    for name in ("secret.mp4", "other/blobs/x", f"{repository}/blobs/sub/x", f"{repository}/refs/x"):
        write(tmp_path / "hub" / name, "secret")
    (blobs / "out").symlink_to(tmp_path / "hub/secret.mp4")
    (snapshot / "a.mp4").symlink_to(target)
    path = write(snapshot / "my.csv", "video,caption\na.mp4,x\n")
    with pytest.raises(BenchmarkError, match="row 1: found the video 'a.mp4', expected a path that does not lead out"):
        load_benchmark(path)
    assert any(name.startswith("a.mp4 (a link to") for name in find_videos(snapshot).not_searched)


def test_blobs_that_are_a_link_are_not_those_of_the_repository(tmp_path):
    snapshot = make_snapshot(tmp_path / "hub", {"b.mp4": ""})
    blobs = snapshot.parent.parent / "blobs"
    blobs.rename(tmp_path / "elsewhere")
    blobs.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BenchmarkError, match="does not lead out"):
        load_benchmark(write(snapshot / "my.csv", "video,caption\nb.mp4,x\n"))
    assert find_videos(snapshot).paths == []
