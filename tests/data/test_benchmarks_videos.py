"""Video files under a root: found by id, whatever their extension and folder, and never outside of the root.

The files are empty: what is tested is which one is found, not what is in it.
"""

import os
from pathlib import Path

import pytest

from drl_tvr.data.benchmarks.video_files import VideoFiles
from drl_tvr.data.folder import BenchmarkFolder


def touch(root: Path, *paths: str) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return root


def find(root: Path, *names: str) -> list[str]:
    return [os.path.relpath(path, root) for path in VideoFiles(BenchmarkFolder("bench", root)).find(*names)]


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("video0.mp4", ["video0"]),
        ("videos/all/video0.webm", ["video0"]),
        ("YouTubeClips/-4wsuPCjDBc_5_15.avi", ["-4wsuPCjDBc_5_15"]),
        ("a/b/c/d/VIDEO.MP4", ["VIDEO"]),
        ("v/X.avi.mp4", ["X.avi", "X"]),
        ("v/X.mp4", ["X.avi", "X"]),
        ("v/X.mov.mp4", ["X.avi", "X"]),
        ("v/X.", ["X.", "X"]),
        ("v/X..mp4", ["X.", "X"]),
        ("v/X.null", ["X.null", "X"]),
        ("v/X.avi.mp4", ["X"]),
        (
            "1012_Unbreakable/1012_Unbreakable_00.56.36.981-00.56.38.167.avi",
            ["1012_Unbreakable_00.56.36.981-00.56.38.167"],
        ),
        ("v/v_abc.mkv", ["v_abc", "abc"]),
        ("v/abc.mkv", ["v_abc", "abc"]),
    ],
)
def test_a_video_is_found_by_its_id(path, names, tmp_path):
    assert find(touch(tmp_path, path), *names) == [path]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("video0.json", "video0"),
        ("video00.mp4", "video0"),
        ("Video0.mp4", "video0"),  # ids of YouTube differ in case alone
        ("1012_Unbreakable_00.56.36.981-00.56.38.avi", "1012_Unbreakable_00.56.36.981-00.56.38.167"),
        (".video0.mp4", "video0"),
        ("._video0.mp4", "video0"),
        (".Trash/video0.mp4", "video0"),
        ("video0.mp4.part", "video0"),
        ("video0.mp4/frame0.jpg", "video0"),  # a folder is no video
    ],
)
def test_another_file_is_not_taken_for_it(path, name, tmp_path):
    assert find(touch(tmp_path, path), name) == []


def test_of_several_files_the_order_is_by_name_extension_depth_and_path(tmp_path):
    paths = ["b/X.avi", "z/X.webm", "b/c/X.mp4", "b/X.mp4", "a/X.mp4", "X.mp4.mp4"]
    touch(tmp_path, *paths)
    assert find(tmp_path, "X") == ["a/X.mp4", "b/X.mp4", "b/c/X.mp4", "z/X.webm", "b/X.avi"]
    # The listed name wins over the stem, as it is over with an extension.
    touch(tmp_path, "e/X.mov.mp4")
    assert find(tmp_path, "X.mov", "X") == ["e/X.mov.mp4"]
    touch(tmp_path, "e/X.mov")
    assert find(tmp_path, "X.mov", "X") == ["e/X.mov"]


def test_a_link_within_the_root_counts_and_one_that_leads_out_is_reported(tmp_path):
    root, elsewhere = (
        touch(tmp_path / "root", "store/abc.mp4"),
        touch(tmp_path / "elsewhere", "video1.mp4", "v/video2.mp4"),
    )
    (root / "video0.mp4").symlink_to(root / "store/abc.mp4")
    (root / "relative.mp4").symlink_to("store/abc.mp4")
    (root / "video1.mp4").symlink_to(elsewhere / "video1.mp4")
    (root / "videos").symlink_to("../elsewhere/v")
    (root / "loop").symlink_to(root)
    (root / "broken.mp4").symlink_to(root / "absent.mp4")
    folder = BenchmarkFolder("bench", root)
    videos = VideoFiles(folder)
    assert videos.find("video0") == [str(root / "video0.mp4")] and videos.find("relative")
    assert videos.find("abc") == [str(root / "store/abc.mp4")]  # once, not again through the loop
    assert videos.find("video1") == videos.find("video2") == videos.find("broken") == []
    assert folder.not_searched == [
        f"video1.mp4 (a link to {elsewhere / 'video1.mp4'})",
        f"videos (a link to {elsewhere / 'v'})",
    ]


def test_a_root_may_itself_be_a_link_and_its_neighbour_is_outside(tmp_path):
    touch(tmp_path / "data", "video0.mp4")
    touch(tmp_path / "data-other", "video1.mp4")
    (tmp_path / "link").symlink_to(tmp_path / "data")
    (tmp_path / "data" / "video1.mp4").symlink_to(tmp_path / "data-other" / "video1.mp4")
    videos = VideoFiles(BenchmarkFolder("bench", tmp_path / "link"))
    assert videos.find("video0") == [str(tmp_path / "link" / "video0.mp4")]
    assert videos.find("video1") == []


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read every folder")
def test_a_folder_that_may_not_be_read_is_reported(tmp_path):
    touch(tmp_path, "video0.mp4", "lost+found/video1.mp4")
    (tmp_path / "lost+found").chmod(0)
    folder = BenchmarkFolder("bench", tmp_path)
    (tmp_path / "lost+found").chmod(0o700)
    assert folder.not_searched == ["lost+found (permission denied)"] and "video0.mp4" in folder.paths


def test_a_pipe_is_no_video(tmp_path):
    os.mkfifo(tmp_path / "video0.mp4")
    assert find(tmp_path, "video0") == []
