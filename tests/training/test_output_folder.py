"""An output folder belongs to one run: real processes lock it, are killed, lose their launcher or see another disk."""

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from drl_tvr import DRLTrainingArguments
from drl_tvr.training import RunInProgressError, TrainingCheckpointError
from drl_tvr.training.checkpointing import as_checkpoint_error, rotate, write_list
from drl_tvr.training.run import Run


SOURCE = Path(__file__).parents[2] / "src"
# The first steps of the training example, and then work that takes long.
RANK = """
import os, sys, time
from pathlib import Path
from drl_tvr import DRLTrainingArguments
from drl_tvr.training.run import Run

args = DRLTrainingArguments(sys.argv[1], report_to="none", use_cpu=True)
run = Run.begin(args)
rank = os.environ.get("RANK", "0")
Path(sys.argv[2], rank).write_text(str(os.getpid()))
time.sleep(300)
"""


def begin(folder: Path) -> tuple[str | None, bool]:
    """Begins a run of one process, also where a run of several was."""
    run = Run.begin(DRLTrainingArguments(str(folder), report_to="none", use_cpu=True), overwrite=True)
    return run.checkpoint, run.is_finished


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.05)


def is_alive(process: int) -> bool:
    """Whether a process runs: one that ended and that no one has asked after is a zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


TORCHRUN = ["torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
ACCELERATE = ["accelerate.commands.accelerate_cli", "launch", "--cpu", "--num_processes", "1"]


@pytest.mark.parametrize(("launch", "processes"), [(TORCHRUN, 2), (ACCELERATE, 1)], ids=["torchrun", "accelerate"])
def test_a_folder_is_one_runs_and_its_processes_end_with_their_launcher(launch, processes, tmp_path):
    out, pids = tmp_path / "out", tmp_path / "pids"
    pids.mkdir()
    (tmp_path / "rank.py").write_text(RANK)
    command = [sys.executable, "-m", *launch, str(tmp_path / "rank.py"), str(out), str(pids)]
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as launcher:
        try:
            wait_for(
                lambda: len(list(pids.iterdir())) == processes and all(path.read_text() for path in pids.iterdir())
            )
            ranks = [int(path.read_text()) for path in sorted(pids.iterdir())]
            before = {path: path.read_bytes() for path in out.iterdir()}
            with pytest.raises(RunInProgressError, match=rf"out: another run is writing here, process {ranks[0]} on"):
                begin(out)
            assert {path: path.read_bytes() for path in out.iterdir()} == before
        finally:
            launcher.send_signal(signal.SIGKILL)
    try:
        wait_for(lambda: not any(map(is_alive, ranks)), 20)
    finally:
        for rank in filter(is_alive, ranks):
            os.kill(rank, signal.SIGKILL)

    def is_free() -> bool:
        """A process is a zombie once its first thread has ended; the others may hold its files a little longer."""
        try:
            return begin(out) == (None, False)
        except RunInProgressError:
            return False

    wait_for(is_free, 20)


def test_a_folder_is_free_again_when_its_run_is_dropped(tmp_path):
    code = "import sys; from drl_tvr.training.output_folder import hold_folder; from pathlib import Path; "
    code += "hold_folder(Path(sys.argv[1]))"
    command = [sys.executable, "-c", code, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    run = Run.begin(DRLTrainingArguments(str(tmp_path), report_to="none", use_cpu=True))
    held = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert held.returncode == 1 and "RunInProgressError" in held.stderr and f"process {os.getpid()}" in held.stderr
    del run
    assert subprocess.run(command, env=environment).returncode == 0


def test_a_folder_that_cannot_be_made_says_whose_fault_it_is(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(NotADirectoryError, match="`output_dir` cannot be written .Not a directory.*file/out"):
        begin(tmp_path / "file" / "out")


@pytest.mark.parametrize(
    ("number", "advice"),
    [(errno.ENOSPC, "Make room"), (errno.EDQUOT, "Make room"), (errno.EACCES, "Remove the cause")],
)
def test_room_is_asked_for_only_where_it_is_missing(number, advice, tmp_path):
    with pytest.raises(TrainingCheckpointError, match=f"{advice} and run the same command again"):
        with as_checkpoint_error(tmp_path / "aside", tmp_path / "checkpoint-1"):
            raise OSError(number, os.strerror(number), "optimizer.pt")


def test_the_newest_checkpoint_is_that_of_the_most_steps_whatever_its_time(tmp_path):
    for age, step in enumerate((20, 9, 100)):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text("{}")
        write_list(tmp_path / f"checkpoint-{step}")
        os.utime(tmp_path / f"checkpoint-{step}", (10_000 - 100 * age,) * 2)
    rotate(tmp_path, 1, None)
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-100"]
