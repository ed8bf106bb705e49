"""Which files of a folder are taken for videos."""

import os

import pytest

from drl_tvr.data.video_scan import find_videos


def scan(root):
    found = find_videos(root)
    return [os.path.relpath(path, root) for path in found.paths], found.left_out


def write(root, files):
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


BINARY = b"\x00\x01\xff\xfe" * 9


def test_videos_are_found_by_extension_or_for_want_of_one(tmp_path):
    names = [
        "a.mp4",
        "B.AVI",
        "c.avi.mp4",
        "-d.webm",
        "sub/deep/e.mkv",
        "didemo.",
        "id",
        "1012_00.56.38.167",
        "f.null",
    ]
    write(tmp_path, dict.fromkeys(names, BINARY))
    paths, left_out = scan(tmp_path)
    assert paths == sorted(names, key=lambda name: name.split("/"))
    assert left_out == {}


def test_what_claims_to_be_a_video_is_one_whatever_it_holds(tmp_path):
    write(tmp_path, {"text.mp4": b"a text", "empty.avi": b"", "empty": b""})
    assert scan(tmp_path) == (["empty", "empty.avi", "text.mp4"], {})


def test_what_is_obviously_something_else_is_counted(tmp_path):
    write(
        tmp_path,
        {
            "video.txt": b"video0 a man sings\n",
            "train.csv": b"video_id\nvideo0\n",
            "test.csv": b"video_id\n",
            "README": "à la carte".encode(),
            "long": ("x" * 1023 + "é").encode(),  # the character lies across the end of what is read
            "features.npy": BINARY,
            "thumb.jpg": BINARY,
            "videos.tar": BINARY,
            ".DS_Store": BINARY,
            ".git/config": b"x",
            "v.mp4.part": BINARY,
            "v.mp4": BINARY,
        },
    )
    paths, left_out = scan(tmp_path)
    assert paths == ["v.mp4"]
    assert left_out == {
        "(hidden)": 2,
        "(text)": 2,
        ".csv": 2,
        ".jpg": 1,
        ".npy": 1,
        ".part": 1,
        ".tar": 1,
        ".txt": 1,
    }


def test_what_is_no_file_is_named_where_training_would_meet_it(tmp_path):
    write(tmp_path, {"x.mp4/inner.mp4": BINARY, "folder.d/y.mp4": BINARY})
    os.mkfifo(tmp_path / "pipe.mp4")
    os.mkfifo(tmp_path / "pipe")
    os.symlink("nowhere", tmp_path / "gone.mp4")
    os.symlink("self.mp4", tmp_path / "self.mp4")
    paths, left_out = scan(tmp_path)
    assert paths == ["folder.d/y.mp4", "gone.mp4", "pipe.mp4", "self.mp4", "x.mp4", "x.mp4/inner.mp4"]
    assert left_out == {"(special)": 1}


def test_links_are_followed_and_loops_end(tmp_path):
    write(tmp_path, {"store/a.mp4": BINARY, "root/b.mp4": BINARY})
    os.symlink(tmp_path / "store", tmp_path / "root" / "linked")
    os.symlink(tmp_path / "store", tmp_path / "root" / "linked again")
    os.symlink("..", tmp_path / "root" / "up")
    os.symlink(tmp_path / "store" / "a.mp4", tmp_path / "root" / "c.mp4")
    assert scan(tmp_path / "root")[0] == ["b.mp4", "c.mp4", "linked/a.mp4"]


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(OSError, match="nothing: no such folder"):
        find_videos(tmp_path / "nothing")
