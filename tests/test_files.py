"""Files that are whole or absent, and the number of cores."""

import errno
import multiprocessing
import os
import resource
import signal
import stat
import threading

import pytest

from drl_tvr.files import TEMPORARY_PREFIX, sync, usable_cores, write_whole


FORK = multiprocessing.get_context("fork")


@pytest.mark.parametrize(("content", "written"), [("é\n", b"\xc3\xa9\n"), (b"\x00\r\n", b"\x00\r\n"), ("", b"")])
def test_text_is_utf8_and_bytes_are_bytes(content, written, tmp_path):
    path = write_whole(tmp_path / "a", content)
    assert path == tmp_path / "a" and path.read_bytes() == written
    assert write_whole(str(path), "again") == path and path.read_text() == "again"
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_file_is_as_readable_as_any_new_file(umask, mode, tmp_path):
    before = os.umask(umask)
    try:
        path = write_whole(tmp_path / "a", "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_the_umask_never_changes_while_a_file_is_written(tmp_path):
    # Another thread that makes a file meanwhile would get other permissions.
    before = os.umask(0o077)
    modes = set()
    done = threading.Event()

    def make_files():
        while not done.is_set():
            (tmp_path / "other").unlink(missing_ok=True)
            (tmp_path / "other").touch()
            modes.add(stat.S_IMODE((tmp_path / "other").stat().st_mode))

    thread = threading.Thread(target=make_files)
    thread.start()
    try:
        for _ in range(100):
            write_whole(tmp_path / "a", "x")
    finally:
        done.set()
        thread.join()
        os.umask(before)
    assert modes == {0o600}


def test_a_link_is_replaced_and_its_target_stays(tmp_path):
    (tmp_path / "target").write_text("old")
    (tmp_path / "link").symlink_to("target")
    write_whole(tmp_path / "link", "new")
    assert not (tmp_path / "link").is_symlink() and (tmp_path / "link").read_text() == "new"
    assert (tmp_path / "target").read_text() == "old"


def test_a_long_name_is_no_longer_while_it_is_written(tmp_path):
    for name in ("n" * 255, "é" * 127):
        assert write_whole(tmp_path / name, "x").read_text() == "x"


def write_without_room(path, content) -> int:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    try:
        write_whole(path, content)
    except OSError as error:
        os._exit(error.errno)
    os._exit(0)


def test_a_full_disk_is_an_error_that_leaves_the_earlier_file_and_no_other(tmp_path):
    path = write_whole(tmp_path / "a", "old")
    process = FORK.Process(target=write_without_room, args=(path, "x" * 5000))
    process.start()
    process.join()
    assert process.exitcode == errno.EFBIG
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a"]


def test_an_interrupt_leaves_the_earlier_file_and_no_other(tmp_path, monkeypatch):
    path = write_whole(tmp_path / "a", "old")

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_whole(path, "new")
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a"]


def test_a_killed_process_leaves_the_earlier_file_and_a_hidden_one(tmp_path, monkeypatch):
    path = write_whole(tmp_path / "result.json", "old")
    monkeypatch.setattr(os, "replace", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    process = FORK.Process(target=write_whole, args=(path, "new"))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert path.read_text() == "old"
    (leftover,) = tmp_path.glob(f"{TEMPORARY_PREFIX}result.json-*")
    assert leftover.read_text() == "new" and len(os.listdir(tmp_path)) == 2


def write_often(path, content) -> None:
    for _ in range(50):
        write_whole(path, content)


def test_writers_at_once_leave_one_of_their_files_whole(tmp_path):
    contents = [letter * 100_000 for letter in "abc"]
    processes = [FORK.Process(target=write_often, args=(tmp_path / "a", content)) for content in contents]
    for process in processes:
        process.start()
    while any(process.is_alive() for process in processes):
        if (tmp_path / "a").exists():
            assert (tmp_path / "a").read_text() in contents
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert (tmp_path / "a").read_text() in contents and os.listdir(tmp_path) == ["a"]


def test_a_folder_that_is_not_there_is_an_error_that_names_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent"):
        write_whole(tmp_path / "absent" / "a", "x")
    with pytest.raises(FileNotFoundError, match="absent"):
        sync(tmp_path / "absent")


@pytest.mark.parametrize(("number", "is_error"), [(errno.EINVAL, False), (errno.ENOTSUP, False), (errno.EIO, True)])
def test_only_a_disk_that_cannot_sync_folders_is_excused(number, is_error, tmp_path, monkeypatch):
    def fail(_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    if is_error:
        with pytest.raises(OSError, match="Input/output error"):
            sync(tmp_path)
    else:
        sync(tmp_path)


def test_cores_are_those_that_this_process_may_use(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5, 7})
    assert usable_cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cores() == 1
