"""The `drl-tvr` command: what each sub-command prints, writes and returns. `convert` is in test_conversion.py."""

import json
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from drl_tvr_cli import main


@pytest.fixture
def folder(make_video, tmp_path: Path) -> Path:
    """A good video and a text under a video's name."""
    make_video("good.mp4")
    (tmp_path / "page.mp4").write_text("<html>404</html>")
    return tmp_path


def test_the_doctor_exits_with_1_when_anything_is_wrong(folder: Path, capsys: pytest.CaptureFixture):
    assert main(["doctor", str(folder), "--json", str(folder / "report.json"), "--num-workers", "1"]) == 1
    shown = capsys.readouterr().out
    assert "2 videos, 1 with a problem: 1 ok, 1 not-a-video" in shown
    report = json.loads((folder / "report.json").read_text())
    codes = {Path(video["path"]).name: video["code"] for video in report["videos"]}
    assert codes == {"good.mp4": "ok", "page.mp4": "not-a-video"} and report["ok"] is False
    (folder / "page.mp4").unlink()
    assert main(["doctor", str(folder), "--num-workers", "1"]) == 0


def test_a_suspicious_video_is_a_problem_when_asked(make_video, tmp_path: Path, capsys: pytest.CaptureFixture):
    data = make_video("a.mkv").read_bytes()
    place = data.index(b"\x44\x89\x88") + 3
    (tmp_path / "a.mkv").write_bytes(data[:place] + struct.pack(">d", 60_000.0) + data[place + 8 :])  # its duration
    flags = ["doctor", str(tmp_path), "--num-workers", "1", "--json", str(tmp_path / "report.json")]
    for strict, code in ([], 0), (["--strict"], 1):
        assert main(flags + strict) == code
        shown = capsys.readouterr().out
        assert f"1 videos, {code} with a problem: 1 suspicious" in shown and "a header that states 60.000 s" in shown
        report = json.loads((tmp_path / "report.json").read_text())
        assert report["ok"] is (not strict) and report["codes"] == {"suspicious": 1}
        assert report["settings"]["strict"] is bool(strict) and report["videos"][0]["num_frames"] == 30


def test_the_doctor_takes_what_training_would_sample(folder: Path):
    flags = ["--fps", "5", "--max-frames", "4", "--time-limit", "60", "--allow-truncated"]
    main(["doctor", str(folder), "--json", str(folder / "report.json"), *flags])
    report = json.loads((folder / "report.json").read_text())
    settings = {"fps": 5.0, "max_frames": 4, "time_limit": 60.0, "allow_truncated": True}
    assert settings.items() <= report["settings"].items()
    assert [video["num_decoded"] for video in report["videos"]] == [4, 0]


def test_the_doctor_checks_a_benchmark(small_root: Path, capsys: pytest.CaptureFixture):
    assert main(["doctor", "moving-shapes", "--root", str(small_root)]) == 0
    assert "36 videos, 0 with a problem: 36 ok" in capsys.readouterr().out
    assert main(["doctor", "moving-shapes", "--root", str(small_root), "--split", "test"]) == 0
    assert "10 videos, 0 with a problem" in capsys.readouterr().out


def test_the_doctor_names_what_a_table_lacks(folder: Path, capsys: pytest.CaptureFixture):
    (folder / "mine.csv").write_text(
        "video,caption,split\ngood.mp4,a grey wall,test\ngone.mp4,another,test\npage.mp4,a page,train\n"
    )
    assert main(["doctor", str(folder / "mine.csv"), "--json", str(folder / "report.json")]) == 1
    shown = capsys.readouterr().out
    # Of all splits: training would stop at the page.
    assert "3 videos, 2 with a problem: " in shown and "no file of the benchmark has this id" in shown
    report = json.loads((folder / "report.json").read_text())
    codes = {Path(video["path"]).name: video["code"] for video in report["videos"]}
    assert codes == {"good.mp4": "ok", "page.mp4": "not-a-video", "gone.mp4": "missing"} and report["ok"] is False
    (folder / "metadata.csv").write_text("file_name,text\ngood.mp4,a grey wall\ngone.mp4,another\n")
    assert main(["doctor", str(folder)]) == 1
    assert "2 videos, 1 with a problem: 1 ok, 1 missing" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ([".", "--json", "no/such/folder/report.json"], "found no folder no/such/folder"),
        ([".", "--json", "."], "found a folder"),
        ([".", "--root", "x"], "`root` and `split`: found the target ., expected a benchmark"),
        ([".", "--split", "test"], "`root` and `split`: found the target ., expected a benchmark"),
        (["msrvtt-9k", "--root", "nowhere"], "nowhere"),
        (["vidoes"], "vidoes: found no such file or folder, expected a folder, a video, a table of your own data or"),
        (["msrvtt-8k"], "benchmark (msrvtt-9k, "),
        ([".", "--fps", "0"], "`fps`: found 0"),
        ([".", "--num-workers", "0"], "`num_workers`: found 0, expected at least 1"),
        ([".", "--time-limit", "-1"], "`time_limit`: found -1.0, expected a number of seconds above 0"),
    ],
)
def test_a_wrong_input_is_one_line(flags, said, folder: Path, monkeypatch, capsys: pytest.CaptureFixture):
    monkeypatch.chdir(folder)
    assert main(["doctor", *flags]) == 1
    error = capsys.readouterr().err
    assert error.startswith("drl-tvr: error: ") and said in error and "Traceback" not in error


def test_the_command_is_installed(folder: Path):
    command = Path(sys.executable).with_name("drl-tvr")
    done = subprocess.run([command, "doctor", "good.mp4"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "1 videos, 0 with a problem: 1 ok" in done.stdout
    done = subprocess.run([command, "doctor", "gone.mp4"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 1 and "missing" in done.stdout
