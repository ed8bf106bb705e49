"""What the command answers without torch, and what its tables do with any name, width and encoding."""

import errno
import os
import pty
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import get_args

import pytest

import drl_tvr
import drl_tvr_cli
from drl_tvr.data.doctor import VideoCheck, format_report
from drl_tvr.data.records import SPLITS
from drl_tvr.evaluation.normalization import NORMALIZATION_NEEDS
from drl_tvr.files import write_whole
from drl_tvr.model.configuration_drl import CDCR_MODES, INTERACTIONS
from drl_tvr.terminal import format_sentences, format_table, one_line
from drl_tvr_cli import main


HEAVY = ("torch", "transformers", "datasets", "evaluate", "matplotlib")
COMMANDS = ("convert", "doctor", "evaluate", "compare", "plot", "push", "explain")
NAMES = (
    "[red]x[/red] :smile:.mp4",
    "犬が走る動画の長い名前、とても長い名前.mp4",
    "🐕🐕🐕🐕🐕🐕🐕🐕.mp4",
    "cafe\u0301.mp4",
    "كلب يركض.mp4",
    "a/path/with/no/spaces/that/is/longer/than/a/narrow/terminal.mp4",
)


def run(code: str, *args: str, **env: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", code, *args]
    return subprocess.run(command, capture_output=True, env={**os.environ, **env})


def test_help_and_a_wrong_argument_do_without_torch():
    code = f"""
import sys
from drl_tvr_cli import main
lines = [[], ["--help"], ["--version"], ["nonsense"], ["evaluate", "m"]]
lines += [["evaluate", "m", "--benchmark", "b", "--split", "x"]]
lines += [[command, "--help"] for command in {COMMANDS}]
print([main(line) for line in lines], file=sys.stderr)
print([name for name in {HEAVY + ("drl_tvr",)} if name in sys.modules], file=sys.stderr)
"""
    done = run(code)
    assert done.returncode == 0, done.stderr.decode()
    *_, codes, imported = done.stderr.decode().splitlines()
    assert codes == str([2, 0, 0, 2, 2, 2] + [0] * len(COMMANDS)) and imported == "[]"
    shown = done.stdout.decode()
    assert all(f"Usage: drl-tvr {command} " in shown for command in COMMANDS) and "\x1b" not in shown
    assert f"drl-tvr {metadata.version('drl-tvr')}\n" in shown


def test_the_version_is_that_of_the_package():
    assert metadata.version("drl-tvr") == drl_tvr.__version__


def test_the_choices_are_those_of_the_library():
    assert get_args(drl_tvr_cli.Interaction) == tuple(INTERACTIONS)
    assert get_args(drl_tvr_cli.CDCRMode) == tuple(CDCR_MODES)
    assert get_args(drl_tvr_cli.Split) == tuple(SPLITS)
    assert tuple(drl_tvr_cli.Normalization) == tuple(NORMALIZATION_NEEDS)


def test_a_usage_error_names_the_argument(capsys):
    for line, said in (
        (["evaluate", "m"], "Missing option '--benchmark'"),
        (["doctor", ".", "--num-workers", "many"], "'--num-workers'"),
        (["convert", "a", "b", "--cdcr", "x"], "'weighted', 'argmax', 'random', 'none'"),
        (["plot"], "FILE"),
    ):
        assert main(line) == 2
        error = capsys.readouterr().err
        assert said in error and "Traceback" not in error


def test_an_error_of_the_library_is_one_line_without_control_characters(capsys):
    assert main(["compare", "\x1b[31mgone.json", "b.json"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("drl-tvr: error: ") and error.count("\n") == 1 and "\x1b" not in error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "a.json"),
            "a.json: found no such file or folder, ",
        ),
        (
            PermissionError(errno.EACCES, os.strerror(errno.EACCES), b"a\xff"),
            "a\\udcff: found no permission, expected",
        ),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "found no space left on the disk; make room and run the"),
        (OSError(errno.EIO, os.strerror(errno.EIO), "a.json"), "a.json: Input/output error."),
        (OSError(errno.ENOSPC, "it cannot be written (full)", "out"), "out: it cannot be written (full)."),
        (OSError("out: a sentence."), "out: a sentence."),
        (ValueError("several\n  lines\x1b"), "several lines\\x1b"),
    ],
)
def test_an_error_is_one_line_without_the_number_of_the_system(error, said):
    assert one_line(error).startswith(said) and "Errno" not in one_line(error)


def test_a_full_disk_names_the_file(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device")))
    with pytest.raises(OSError) as caught:
        write_whole(tmp_path / "result.json", "{}")
    assert one_line(caught.value).startswith(f"{tmp_path / 'result.json'}: found no space left") and not list(
        tmp_path.iterdir()
    )


def test_an_unexpected_error_is_not_hidden():
    code = "import drl_tvr_cli as c, drl_tvr.data as d\nd.run_doctor = lambda *a, **k: 1 / 0\nc.main(['doctor', '.'])"
    done = run(code)
    assert done.returncode == 1 and b"ZeroDivisionError" in done.stderr and b"Traceback" in done.stderr


def test_an_interrupt_ends_the_command_quietly():
    code = "import sys, drl_tvr_cli as c, drl_tvr.data as d\ndef stop(*a, **k): raise KeyboardInterrupt\n"
    code += "d.run_doctor = stop\nsys.exit(c.main(['doctor', '.']))"
    done = run(code)
    assert (done.returncode, done.stderr) == (130, b"\ndrl-tvr: interrupted.\n")


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("drl_tvr", ("transformers.trainer", "datasets", "evaluate", "matplotlib")),
        ("drl_tvr.explanation", ("transformers.trainer", "datasets", "evaluate", "matplotlib")),
        ("drl_tvr.conversion", ("transformers.trainer", "datasets", "evaluate", "matplotlib")),
        ("drl_tvr.hub", ("transformers.trainer", "evaluate", "matplotlib")),
        ("drl_tvr.evaluation", ("transformers.trainer", "evaluate", "matplotlib")),
        ("drl_tvr.data", ("transformers.trainer", "evaluate", "matplotlib")),
        ("drl_tvr.training", ("evaluate", "matplotlib")),
    ],
)
def test_what_costs_is_imported_on_first_use(module, unwanted):
    code = f"import sys, {module}\nprint([name for name in {unwanted} if name in sys.modules])"
    if module == "drl_tvr":
        code += "\nfrom transformers import AutoConfig, AutoModel, AutoProcessor, AutoVideoProcessor\n"
        code += "assert type(AutoConfig.for_model('drl')) is drl_tvr.DRLConfig\n"
        code += "assert AutoModel._model_mapping[drl_tvr.DRLConfig] is drl_tvr.DRLModel\n"
        code += "from transformers.models.auto.processing_auto import PROCESSOR_MAPPING\n"
        code += "assert PROCESSOR_MAPPING[drl_tvr.DRLConfig] is drl_tvr.DRLProcessor"
    done = run(code)
    assert (done.returncode, done.stdout) == (0, b"[]\n"), done.stderr.decode()


def report_of(names: tuple[str, ...]) -> dict:
    checks = [VideoCheck(name, ok=True, duration=9.5, fps=3.0, width=64, height=48, codec="h264") for name in names]
    checks.append(VideoCheck("a\n\x1b[31m\udcff.mp4", code="unsupported-codec", message="found a codec, expected one"))
    videos = [vars(check) for check in checks]
    return {"videos": videos, "num_videos": len(videos), "num_ok": len(names), "codes": {"ok": 1}, "left_out": {}}


@pytest.mark.parametrize("width", [None, 120, 80, 40])
def test_a_report_loses_nothing_of_any_name(width):
    from rich.cells import cell_len

    text = format_report(report_of(NAMES), width)
    joined = "".join(text.split())
    for name in (*NAMES, r"a\n\x1b[31m\udcff.mp4", "9.50s,3.00fps,64x48,h264", "unsupported-codec"):
        assert "".join(name.split()) in joined
    assert "\x1b" not in text and "\udcff" not in text
    if width is not None:
        assert max(map(cell_len, text.splitlines())) <= width


def test_numbers_are_not_broken_in_a_narrow_table():
    rows = [("text to video", "65.33", "100.00", "59.7 to 70.7")]
    words = format_table(("", "R@1", "R@5", "interval"), rows, "lrrr", 40).split()
    assert {"65.33", "100.00", "59.7", "70.7", "R@1", "interval"} <= set(words)
    assert format_sentences(["word " * 20], 40).count("\n") == 2


def test_wide_characters_keep_the_columns():
    from rich.cells import cell_len

    rows = [(name, "9.50") for name in ("犬", "dog", "🐕", "cafe\u0301")]
    lines = format_table(("video", "s"), rows, "lr").splitlines()
    assert {cell_len(line) for line in lines} == {len("video  9.50")}


@pytest.fixture
def folder(make_video, tmp_path: Path) -> Path:
    (tmp_path / "videos" / "[red]犬[").mkdir(parents=True)
    make_video("good.mp4").rename(tmp_path / "videos" / "[red]犬[" / "red] is a name of some length.mp4")
    return tmp_path / "videos"


@pytest.mark.parametrize(
    "env",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"NO_COLOR": "1", "COLUMNS": "20"},
        {"FORCE_COLOR": "1", "TERM": "xterm-256color"},
    ],
)
def test_the_doctor_writes_plain_text_to_a_pipe(env, folder: Path):
    command = [sys.executable, "-m", "drl_tvr_cli", "doctor", str(folder), "--num-workers", "1"]
    done = subprocess.run(command, capture_output=True, env={**os.environ, **env})
    assert done.returncode == 0, done.stderr.decode()
    shown = done.stdout.decode()
    # Without UTF-8 for file names, Python keeps the bytes of a name as surrogates.
    dog = "犬"
    if "LC_ALL" in env:
        dog = r"\udce7\udc8a\udcac"
    elif "PYTHONIOENCODING" in env:
        dog = r"\u72ac"
    name = f"[red]{dog}[/red] is a name of some length.mp4"
    # The columns of a terminal do not matter: the name is on one line.
    assert name in shown and "\x1b" not in shown


def test_the_doctor_fits_the_terminal(folder: Path):
    from rich.cells import cell_len

    main_end, end = pty.openpty()
    command = [sys.executable, "-m", "drl_tvr_cli", "doctor", str(folder), "--num-workers", "1"]
    process = subprocess.Popen(command, stdout=end, stderr=subprocess.DEVNULL, env={**os.environ, "COLUMNS": "40"})
    os.close(end)
    shown = b""
    while True:
        try:
            read = os.read(main_end, 4096)
        except OSError:  # the other end is closed
            break
        if not read:
            break
        shown += read
    os.close(main_end)
    assert process.wait() == 0
    lines = shown.decode().splitlines()
    assert max(map(cell_len, lines)) <= 40 and "".join(str(folder / "[red]犬[/red]is").split()) in "".join(
        "".join(lines).split()
    )


def test_a_model_that_is_not_one_is_refused_before_the_benchmark_is_rendered(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    flags = ["--benchmark", "moving-shapes", "--root", str(tmp_path / "root"), "--output", str(tmp_path / "r.json")]
    assert main(["evaluate", str(tmp_path / "empty"), *flags]) == 1
    assert "empty" in capsys.readouterr().err and not (tmp_path / "root").exists()
    for option in ("--batch-size", "--bank-size"):
        assert main(["evaluate", str(tmp_path / "empty"), *flags, option, "0"]) == 2


def test_a_closed_standard_output_is_no_traceback():
    command = f"{sys.executable} -m drl_tvr_cli --version >&-"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert "Traceback" not in done.stderr
