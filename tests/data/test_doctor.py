"""The doctor on real files, in real processes."""

import dataclasses
import json
import os
import re
import resource
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from video_files import write_video

from drl_tvr import BenchmarkError, load_benchmark
from drl_tvr.data import doctor
from drl_tvr.data.doctor import VideoCheck, check_video, check_videos, format_report, run_doctor
from drl_tvr.data.targets import find_target
from drl_tvr.model.video_errors import VIDEO_ERROR_CODES


BROKEN_CLIPS = {
    "audioonly_mp4parser_count-english-audio.mp4": "no-video-stream",
    "broken_decord_corrupted.mp4": "truncated",
    "broken_moviepy_empty_0bytes.webm": "empty",
    "broken_mp4parse_invalid_userdata.mp4": "no-frames",
    "broken_mp4parse_short-cenc_encrypted.mp4": "encrypted",
}


def check_or_die(video, **settings):
    """A check that crashes or hangs on files of these names, as a decoder's bug would."""
    path = str(video)
    if path.endswith("crash.mp4"):
        os.kill(os.getpid(), signal.SIGSEGV)
    if path.endswith("memory.mp4"):
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used // 2, resource.RLIM_INFINITY))  # no byte more
    if path.endswith("hang.mp4"):
        time.sleep(600)
    return check_video(video, **settings)


@pytest.fixture
def cut_video(tmp_path):
    """A file of 60 frames at 10 a second of which 29 are left, one of them in part."""
    noise = np.random.default_rng(0).integers(0, 255, (60, 48, 64, 3), dtype=np.uint8)
    path = write_video(tmp_path / "cut.mkv", noise, options={"cluster_time_limit": "100"})
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    return path


def test_a_check_tells_what_training_would_get(make_video):
    check = check_video((make_video(num_frames=40, fps=10), 1.0, 2.5))
    assert (check.ok, check.code, check.message) == (True, "ok", "")
    assert (check.start, check.end) == (1.0, 2.5)
    assert (check.duration, check.fps, check.width, check.height) == (4.0, 10.0, 64, 48)
    assert (check.codec, check.num_frames, check.num_decoded, check.backend) == ("h264", 40, 2, "pyav")


def test_a_folder_is_checked_in_processes(tmp_path, make_video, make_audio):
    for name in ("b.mp4", "sub/a.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        make_video(name)
    make_audio("sound.mp4")
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "video.txt").write_text("a caption")
    os.mkfifo(tmp_path / "pipe.mp4")
    os.symlink("nowhere", tmp_path / "gone.mp4")
    report = run_doctor(tmp_path, num_workers=2, fps=2.0, max_frames=5)
    assert {os.path.relpath(video["path"], tmp_path): video["code"] for video in report["videos"]} == {
        "b.mp4": "ok",
        "empty.mp4": "empty",
        "gone.mp4": "missing",
        "pipe.mp4": "not-a-video",
        "sound.mp4": "no-video-stream",
        "sub/a.mp4": "ok",
        "text.mp4": "not-a-video",
    }
    assert report["ok"] is False
    assert (report["num_videos"], report["num_ok"]) == (7, 2)
    assert report["codes"] == {"ok": 2, "not-a-video": 2, "empty": 1, "missing": 1, "no-video-stream": 1}
    assert report["left_out"] == {".txt": 1}
    assert report["versions"]["av"] and report["settings"]["fps"] == 2.0
    assert [video["num_decoded"] for video in report["videos"] if video["ok"]] == [5, 5]
    assert json.loads(json.dumps(report)) == report
    text = format_report(report)
    assert "7 videos, 5 with a problem: 2 ok, 2 not-a-video" in text
    assert "Left out, because they are not videos: 1 .txt" in text
    assert all(video["path"] in text for video in report["videos"])


def test_annotation_files_beside_videos_are_left_out_and_named(tmp_path, make_video):
    for name in ("videos/all/a.mp4", "b.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        make_video(name)
    (tmp_path / "MSRVTT_JSFUSION_test.csv").write_text("key,vid_key,video_id,sentence\nret0,msr0,a,a cat\n")
    (tmp_path / "train.json").write_text('{"v_a": {"duration": 9, "sentences": ["One."]}}')
    (tmp_path / "val.csv").write_bytes(b"video,caption\n\xff")
    report = run_doctor(tmp_path, num_workers=1)
    # The header of `val.csv` is that of a table of one's own, which is damaged.
    codes = [(os.path.basename(video["path"]), video["code"]) for video in report["videos"]]
    assert codes[:2] == [("b.mp4", "ok"), ("a.mp4", "ok")] and ("val.csv", "bad-table") in codes
    assert not report["ok"] and report["left_out"] == {".csv": 2, ".json": 1}
    assert report["tables"] == ["MSRVTT_JSFUSION_test.csv", "train.json", "val.csv"]
    text = " ".join(format_report(report).split())
    assert "not videos: 2 .csv, 1 .json (MSRVTT_JSFUSION_test.csv, train.json, val.csv)" in text
    (tmp_path / "val.csv").unlink()
    assert find_target(tmp_path, None, None).faults == {}
    # Tables with our columns stand for their own videos. Beside them, what is nearly such a table is named.
    (tmp_path / "test.csv").write_text("video,caption\nb.mp4,a dog\n")
    target = find_target(tmp_path, None, None)
    assert len(target.scan.paths) == 2 and list(target.faults) == [str(tmp_path / "MSRVTT_JSFUSION_test.csv")]
    (tmp_path / "MSRVTT_JSFUSION_test.csv").unlink()
    assert [os.path.basename(path) for path, _, _ in find_target(tmp_path, None, "test").scan.paths] == ["b.mp4"]


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("metadata.csv", b"video,caption,start\na.mp4,x,0\nb.mp4,y,soon\n", "row 2, 'start': found 'soon'"),
        ("metadata.csv", b"video,caption,start_time\na.mp4,x,0\n", "found 'start_time'"),
        ("metadata.csv", b"video;caption\na.mp4;x\n", "expected columns between commas"),
        ("metadata.csv", b"video,caption\n", r"found \[\], expected rows"),
        ("metadata.csv", b"video,caption\n../a.mp4,x\n", "row 1: found the video '../a.mp4'"),
        ("train.tsv", "video\tcaption\na.mp4\tx\n".encode("utf-16"), "found another encoding"),
        ("test.json", b'[{"video": "a.mp4", "caption": "x"}', "found invalid JSON"),
        ("test.jsonl", b'{"video": "a.mp4", "caption": "x"}\n{"video', "line 2: found invalid JSON"),
        ("train/metadata.csv", b"file_name,text\n../a.mp4,caf\xe9\n", "found another encoding"),
        ("train.csv", None, "No such file"),  # a link that leads nowhere
    ],
)
def test_a_table_that_cannot_be_used_is_named_and_all_videos_are_checked(tmp_path, name, content, fault):
    for video in ("a.mp4", "sub/b.mp4"):
        (tmp_path / video).parent.mkdir(exist_ok=True)
        (tmp_path / video).touch()
    (tmp_path / name).parent.mkdir(exist_ok=True)
    if content is None:
        (tmp_path / name).symlink_to("nowhere")
    else:
        (tmp_path / name).write_bytes(content)
    target = find_target(tmp_path, None, None)
    assert [os.path.relpath(path, tmp_path) for path in target.scan.paths] == ["a.mp4", "sub/b.mp4"]
    assert re.search(fault, target.faults[str(tmp_path / name)])
    with pytest.raises((BenchmarkError, FileNotFoundError), match=fault):
        find_target(tmp_path, None, "test" if "train" not in name else "train")


@pytest.mark.parametrize("table", ["test.csv", "metadata.csv", "test/metadata.csv"])
@pytest.mark.parametrize(
    ("other", "content"),
    [
        ("test_results.json", '{"R@1": 3}'),
        ("test_results.csv", "R@1,R@5\n3,4\n"),
        ("test_ranks.csv", "video,rank\na.mp4,1\n"),
        ("train.json", '{"lr": 1}'),
        ("train.jsonl", "3\n"),
        ("train.tsv", ""),
        ("metadata.json", '{"title": "Pets", "text": "mine"}'),
    ],
)
def test_a_table_of_something_else_beside_ones_own_is_left_out(tmp_path, table, other, content):
    folder = (tmp_path / table).parent
    folder.mkdir(exist_ok=True)
    (folder / "a.mp4").touch()
    (folder / table.split("/")[-1]).write_text("video,caption,start,end\na.mp4,x,1,2\n")
    (tmp_path / other).write_text(content)
    target = find_target(tmp_path, None, None)
    assert (target.scan.paths, target.faults) == ([(str(folder / "a.mp4"), 1.0, 2.0)], {})
    assert len(load_benchmark(tmp_path, split="test").videos) == 1


@pytest.mark.parametrize(
    "rows", ['{"video": "a.mp4"}\n{"video": "a.mp4", "caption": "x"}\n', '{"video": "a.mp4", "caption": "x"}\n{', ""]
)
def test_a_damaged_table_beside_a_right_one_is_named(tmp_path, rows):
    (tmp_path / "test.csv").write_text("video,caption\nb.mp4,x\n")
    (tmp_path / "train.jsonl").write_text(rows + '{"video": "a.mp4", "caption": "x"\n' * 2)
    assert list(find_target(tmp_path, None, None).faults) == [str(tmp_path / "train.jsonl")]


@pytest.mark.parametrize("table", ["train.csv", "metadata.csv"])
@pytest.mark.parametrize("header", ["vidoe,caption", "video,captoin", "vidio,captin", "clip,caption", "video,query"])
def test_a_misspelt_header_beside_a_right_table_is_named_with_the_missing_videos(tmp_path, table, header):
    right = "test.csv" if table == "train.csv" else "metadata.tsv"
    (tmp_path / right).write_text("video\tcaption\nb.mp4\tx\n".replace("\t", "\t" if right[-3:] == "tsv" else ","))
    (tmp_path / table).write_text(f"{header}\na.mp4,x\n")
    target = find_target(tmp_path, None, None)
    assert list(target.faults) == [str(tmp_path / table)] and target.missing == ["b.mp4"]


@pytest.mark.parametrize("kind", ["folder", "pipe", "no header", "other columns"])
def test_what_is_no_table_of_ones_own_is_no_fault(tmp_path, kind):
    (tmp_path / "a.mp4").touch()
    table = tmp_path / "LSMDC16_annos_val.csv"
    if kind == "folder":
        table.mkdir()
    elif kind == "pipe":
        os.mkfifo(table)
    else:
        table.write_text('0001_A\t1\tSOMEONE "runs.\n' if kind == "no header" else "clip,label\na.mp4,1\n")
    target = find_target(tmp_path, None, None)
    assert (target.scan.paths, target.faults) == ([str(tmp_path / "a.mp4")], {})


def test_a_crash_and_a_hang_cost_one_video_each(make_video, monkeypatch):
    # Pickled by its name: the processes call the function of this file.
    monkeypatch.setattr(doctor, "check_video", check_or_die)
    paths = [make_video(name) for name in ("a.mp4", "crash.mp4", "b.mp4", "hang.mp4", "c.mp4")]
    checks = check_videos(paths, num_workers=2, time_limit=5.0)
    assert [check.path for check in checks] == [str(path) for path in paths]
    assert [check.code for check in checks] == ["ok", "decoder-crashed", "ok", "timeout", "ok"]
    assert "SIGSEGV" in checks[1].message and str(paths[1]) in checks[1].message
    assert "not done after 5 s" in checks[3].message and checks[3].seconds >= 5


def test_rows_of_a_benchmark_are_checked_with_their_ranges(make_video):
    path = str(make_video(num_frames=30, fps=10))
    rows = [(path, None, None), (path, 1.0, 2.0), (path, 5.0, 6.0), (path, 0.0, float("nan"))]
    report = run_doctor(rows, num_workers=1)
    assert [video["code"] for video in report["videos"]] == ["ok", "ok", "bad-range", "bad-range"]
    json.dumps(report, allow_nan=False)
    assert report["target"] is None and not report["ok"]


def test_a_readable_part_is_used_only_when_asked(cut_video):
    strict = check_video(cut_video)
    assert (strict.ok, strict.code) == (False, "truncated")
    check = check_video(cut_video, allow_truncated=True)
    assert (check.ok, check.code) == (True, "truncated")
    assert "readable part" in check.message
    assert 0 < check.num_frames < 60 and check.duration == check.num_frames / 10
    assert check.num_decoded == -(-check.num_frames // 10)


def test_all_ok_is_ok(make_video):
    path = make_video()
    report = run_doctor(path, num_workers=1)
    assert report["ok"] and report["codes"] == {"ok": 1} and report["target"] == str(path)


def test_long_reports_list_problems_alone():
    ok = {"path": "ok.mp4", "code": "ok", "message": ""}
    empty = {"path": "a\n\x1b[31m\udcff.mp4", "code": "empty", "message": "a\n\x1b[31m\udcff.mp4: 0 bytes [empty]"}
    fields = dataclasses.asdict(VideoCheck(""))
    videos = [fields | ok] * 150 + [fields | empty]
    report = {"videos": videos, "num_videos": 151, "num_ok": 150, "codes": {"ok": 150, "empty": 1}, "left_out": {}}
    text = format_report(report)
    assert "ok.mp4" not in text and "The 150 videos without a problem are not listed" in text
    assert r"a\n\x1b[31m\udcff.mp4" in text and "       0 bytes\n" in text
    text.encode()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_process_without_memory_costs_its_video(make_video, monkeypatch):
    monkeypatch.setattr(doctor, "check_video", check_or_die)
    paths = [make_video("a.mp4"), make_video("memory.mp4", height=960, width=1280)]
    checks = check_videos(paths, num_workers=1, time_limit=60.0)
    assert [check.path for check in checks] == [str(path) for path in paths]
    # FFmpeg's decoders call some lacks of memory damage.
    assert checks[0].code == "ok" and checks[1].code in ("decoder-crashed", "no-frames", "truncated")


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"fps": 0}, "`fps`: found 0, expected a number above 0"),
        ({"max_frames": 0}, "`max_frames`: found 0, expected at least 1"),
        ({"num_workers": 0}, "`num_workers`: found 0, expected at least 1"),
        ({"time_limit": 0}, "`time_limit`: found 0, expected a number of seconds above 0"),
        ({"time_limit": float("nan")}, "`time_limit`: found nan"),
        ({"time_limit": float("inf")}, "`time_limit`: found inf, .* at most 1,000,000"),
        ({"backend": "decord"}, "decord"),
    ],
)
def test_settings_that_fit_no_video_are_refused_before_the_work(make_video, settings, error):
    with pytest.raises(ValueError, match=error):
        check_videos([make_video()], **settings)


def test_no_video_at_all_is_an_error(tmp_path):
    (tmp_path / "video.txt").write_text("a caption")
    with pytest.raises(ValueError, match=r"found no video \(1 .txt\)"):
        run_doctor(tmp_path)
    with pytest.raises(ValueError, match="found no video"):
        run_doctor([])


@pytest.mark.shared
def test_real_clips_decode_or_have_their_code(shared_dir):
    report = run_doctor(shared_dir / "videos", time_limit=60.0)
    codes = {os.path.basename(video["path"]): video["code"] for video in report["videos"]}
    assert codes == {name: BROKEN_CLIPS.get(name, "ok") for name in codes}
    assert set(BROKEN_CLIPS) < set(codes) and set(codes.values()) <= {"ok", *VIDEO_ERROR_CODES}
    assert report["left_out"] == {".md": 1}
    assert all(video["num_decoded"] > 0 for video in report["videos"] if video["ok"])


@pytest.mark.shared
def test_the_readable_part_of_a_real_clip(shared_dir):
    check = check_video(shared_dir / "videos" / "broken_decord_corrupted.mp4", allow_truncated=True)
    assert (check.ok, check.code, check.num_frames, check.num_decoded) == (True, "truncated", 28, 3)
    assert "28 of 50 frames" in check.message
