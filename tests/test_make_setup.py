"""`make setup` in several terminals, killed and run again, with stand-ins for `venv` and pip that write a log."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest


REPOSITORY = Path(__file__).parents[1]
# `python -m venv` takes this module, which PYTHONPATH names first. Its environment's Python stands in for pip.
VENV = '''
import shutil, sys, time
from pathlib import Path

def make(folder):
    with open("log", "a") as log:
        log.write("venv\\n")
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "bin").mkdir(parents=True)
    while Path("stop-in-venv").exists():
        time.sleep(0.01)
    (folder / "pyvenv.cfg").touch()
    python = folder / "bin" / "python"
    python.write_text("""#!/bin/sh
    echo "$@" >> log
    while [ -e stop-in-pip ]; do sleep 0.01; done
    [ ! -e fail ] || exit 1
    touch {0}/installed
    """.format(folder))
    python.chmod(0o755)

if __name__ == "__main__":
    make(Path(sys.argv[-1]))
'''
INSTALL = "-m pip install --editable .[dev]"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder with what `make setup` reads."""
    clone = tmp_path / "clone"
    (clone / ".ci").mkdir(parents=True)
    for name in ("Makefile", "setup.cfg", "pyproject.toml", ".ci/make_environment.py"):
        shutil.copy(REPOSITORY / name, clone / name)
    (clone / "log").touch()
    stand_ins = tmp_path / "stand-ins"
    stand_ins.mkdir()
    (stand_ins / "venv.py").write_text(VENV)
    return clone


def start(clone: Path) -> subprocess.Popen:
    """Start `make setup` in a session of its own, as in a terminal."""
    return subprocess.Popen(
        # VENV too: `make test VENV=...` puts its own into the environment, and that one must stay as it is.
        ["make", "setup", "VENV=.venv", f"PYTHON={sys.executable}"],
        cwd=clone,
        env={**os.environ, "PYTHONPATH": str(clone.parent / "stand-ins"), "MAKEFLAGS": "", "MAKELEVEL": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen) -> str:
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0, said
    return said


def wait_for_log(clone: Path, *lines: str) -> None:
    end = time.monotonic() + 60
    while (found := (clone / "log").read_text().splitlines()) != list(lines):
        assert time.monotonic() < end, found
        time.sleep(0.01)


def is_whole(clone: Path) -> bool:
    return (clone / ".venv" / "installed").exists() and len(list((clone / ".venv").glob(".setup-*"))) == 1


def test_two_at_once_make_one_environment_and_a_third_has_nothing_to_do(clone: Path):
    (clone / "stop-in-pip").touch()
    first = start(clone)
    wait_for_log(clone, "venv", INSTALL)
    second = start(clone)
    assert second.stdout.readline().startswith("Another set-up of .venv (process ")
    (clone / "stop-in-pip").unlink()
    assert "Another" not in finish(first)
    finish(second)
    assert is_whole(clone)
    finish(start(clone))
    wait_for_log(clone, "venv", INSTALL)
    # Other dependencies are installed on top.
    with (clone / "setup.cfg").open("a") as file:
        file.write("# changed\n")
    finish(start(clone))
    wait_for_log(clone, "venv", INSTALL, INSTALL)
    assert is_whole(clone)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("place", ["venv", "pip"])
def test_an_interrupted_set_up_is_made_anew(place, number, clone: Path):
    (clone / f"stop-in-{place}").touch()
    before = ["venv", INSTALL] if place == "pip" else ["venv"]
    process = start(clone)
    wait_for_log(clone, *before)
    os.killpg(process.pid, number)
    said, _ = process.communicate(timeout=60)
    assert process.returncode != 0 and 'make_environment.py", line' not in said  # no traceback of ours
    assert not list((clone / ".venv").glob(".setup-*"))
    (clone / f"stop-in-{place}").unlink()
    assert "Another" not in finish(start(clone))
    wait_for_log(clone, *before, "venv", INSTALL)
    assert is_whole(clone)


def test_a_process_that_outlives_its_killed_make_is_waited_for(clone: Path):
    (clone / "stop-in-pip").touch()
    process = start(clone)
    wait_for_log(clone, "venv", INSTALL)
    os.kill(int((clone / ".venv.drl-tvr-setup.lock").read_text()), signal.SIGKILL)
    assert process.wait(timeout=60) != 0
    second = start(clone)
    assert second.stdout.readline().startswith("Another set-up of .venv (process ")
    wait_for_log(clone, "venv", INSTALL)
    (clone / "stop-in-pip").unlink()
    finish(second)
    wait_for_log(clone, "venv", INSTALL, "venv", INSTALL)
    assert is_whole(clone)


def test_a_failed_set_up_is_tried_again_by_the_next(clone: Path):
    (clone / "fail").touch()
    process = start(clone)
    process.communicate(timeout=60)
    assert process.returncode != 0 and not list((clone / ".venv").glob(".setup-*"))
    (clone / "fail").unlink()
    finish(start(clone))
    assert is_whole(clone)


def test_a_folder_that_is_not_an_environment_is_refused_and_left_alone(clone: Path):
    (clone / ".venv").mkdir()
    (clone / ".venv" / "thesis.tex").write_text("mine")
    for _ in range(2):
        process = start(clone)
        said, _ = process.communicate(timeout=60)
        assert process.returncode != 0
        assert "VENV: found .venv, expected a virtual environment or an absent folder." in said
    assert [path.name for path in (clone / ".venv").iterdir()] == ["thesis.tex"]
    assert (clone / "log").read_text() == ""


def test_a_folder_of_others_stays_whatever_lies_beside_it(clone: Path):
    (clone / "uv").mkdir()
    for name in ("uv/mine.txt", "uv.lock", "uv.drl-tvr-setup.lock"):
        (clone / name).write_text("mine")
    command = [sys.executable, ".ci/make_environment.py", "uv", "uv/.setup-1-2"]
    done = subprocess.run(command, cwd=clone, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "VENV: found uv, expected a virtual environment" in done.stderr
    assert all((clone / name).read_text() == "mine" for name in ("uv/mine.txt", "uv.lock"))
