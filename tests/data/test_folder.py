"""Which files of a folder are taken for videos, and which links are followed."""

import os

import pytest

from drl_tvr.data.benchmarks.video_files import VideoFiles
from drl_tvr.data.doctor import format_report, run_doctor
from drl_tvr.data.folder import VIDEO_EXTENSIONS, BenchmarkFolder, find_videos


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


def test_links_within_the_folder_are_followed_and_loops_end(tmp_path):
    write(tmp_path, {"store/a.mp4": BINARY, "store/deep/c.mp4": BINARY, ".cache/d.mp4": BINARY, "b.mp4": BINARY})
    os.symlink(tmp_path / "store", tmp_path / "linked")  # entered already, by its own path
    os.symlink(tmp_path / ".cache", tmp_path / "seen")
    os.symlink("seen", tmp_path / "seen again")
    os.symlink("..", tmp_path / "store" / "up")
    os.symlink(tmp_path / "store" / "a.mp4", tmp_path / "e.mp4")
    found = find_videos(tmp_path)
    names = ["b.mp4", "e.mp4", "seen/d.mp4", "store/a.mp4", "store/deep/c.mp4"]
    assert found.paths == [str(tmp_path / name) for name in names]
    assert found.left_out == {"(hidden)": 1} and found.not_searched == []


def test_links_that_lead_out_are_named_and_not_followed(tmp_path):
    root, store = tmp_path / "root", tmp_path / "store"
    write(tmp_path, {"store/a.mp4": BINARY, "root/b.mp4": BINARY, "root-other/c.mp4": BINARY})
    os.symlink(store, root / "linked")
    os.symlink("../store/a.mp4", root / "d.mp4")
    os.symlink("../root-other/c.mp4", root / "e.mp4")  # a neighbour whose name begins alike
    os.symlink(tmp_path / "nowhere.mp4", root / "f.mp4")
    os.symlink("..", root / "up")
    os.symlink(root, tmp_path / "link to root")
    for given in (root, tmp_path / "link to root"):
        found = find_videos(given)
        assert found.paths == [str(given / "b.mp4")]
        assert found.not_searched == [
            f"d.mp4 (a link to {store}/a.mp4)",
            f"e.mp4 (a link to {tmp_path}/root-other/c.mp4)",
            f"f.mp4 (a link to {tmp_path}/nowhere.mp4)",
            f"linked (a link to {store})",
            f"up (a link to {tmp_path})",
        ]


def test_the_doctor_says_what_it_did_not_search(tmp_path, make_video):
    root = tmp_path / "root"
    root.mkdir()
    make_video("b.mp4").rename(root / "b.mp4")
    make_video("a.mp4")
    os.symlink(tmp_path / "a.mp4", root / "a.mp4")
    report = run_doctor(root, num_workers=1)
    assert report["num_videos"] == 1
    assert report["not_searched"] == [f"a.mp4 (a link to {tmp_path}/a.mp4)"]
    assert "Not searched: a.mp4 (a link to " in " ".join(format_report(report).split())
    (root / "b.mp4").unlink()
    with pytest.raises(ValueError, match=r"found no video .*Not searched: a.mp4 \(a link to "):
        run_doctor(root, num_workers=1)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read every folder")
def test_a_folder_that_may_not_be_read_is_named(tmp_path):
    write(tmp_path, {"a.mp4": BINARY, "lost+found/b.mp4": BINARY})
    (tmp_path / "lost+found").chmod(0)
    found = find_videos(tmp_path)
    (tmp_path / "lost+found").chmod(0o700)
    assert found.paths == [str(tmp_path / "a.mp4")] and found.not_searched == ["lost+found (permission denied)"]


def test_the_doctor_finds_exactly_what_a_benchmark_finds(tmp_path):
    root = tmp_path / "root"
    names = [f"id{number}{extension}" for number, extension in enumerate(VIDEO_EXTENSIONS)]
    write(root, {f"v/{name}": BINARY for name in names} | {"x.avi.mp4": BINARY, "y.": BINARY, "z": BINARY})
    write(tmp_path, {"elsewhere/out.mp4": BINARY})
    os.symlink("v/id0.mp4", root / "inner.mp4")
    os.symlink("v", root / "w")
    os.symlink(tmp_path / "elsewhere" / "out.mp4", root / "out.mp4")
    os.symlink(tmp_path / "elsewhere", root / "elsewhere")
    videos = VideoFiles(BenchmarkFolder("bench", root))
    ids = [*(f"id{number}" for number in range(len(VIDEO_EXTENSIONS))), "x", "y.", "z", "inner", "out"]
    assert sorted(path for name in ids for path in videos.find(name)) == sorted(find_videos(root).paths)


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(NotADirectoryError, match="nothing: found no such folder, expected"):
        find_videos(tmp_path / "nothing")
