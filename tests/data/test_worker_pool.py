"""Processes that may hang, crash or outlive the main one."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from drl_tvr.data import worker_pool
from drl_tvr.data.worker_pool import WorkerFailure, map_in_processes


def act(item):
    """What the processes run: most items are a way to go wrong."""
    if item == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif item == "exit":
        os._exit(3)
    elif item == "raise":
        raise MemoryError("all of it")
    elif item == "hang":
        time.sleep(600)
    elif item == "hang-for-good":  # neither the clock nor Python's interruption reaches it
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM, signal.SIGTERM, signal.SIGINT})
        time.sleep(600)
    return item, os.getpid()


def run(items, num_workers=2, time_limit=60.0):
    results = dict(map_in_processes(act, items, num_workers, time_limit))
    assert sorted(results) == list(range(len(items)))
    return [results[place] for place in range(len(items))]


def test_every_item_has_its_result_at_its_place():
    results = run(list(range(9)))
    assert [item for item, _ in results] == list(range(9))
    pids = {pid for _, pid in results}
    assert len(pids) <= 2 and os.getpid() not in pids


def test_no_items_need_no_process():
    assert run([]) == []


@pytest.mark.parametrize(
    ("item", "said"), [("crash", "SIGSEGV"), ("exit", "exit code 3"), ("raise", "MemoryError: all of it")]
)
def test_what_crashes_costs_its_item_alone(item, said):
    results = run(["a", item, "b", item, "c"])
    for place in (1, 3):
        assert isinstance(results[place], WorkerFailure)
        assert results[place].code == "crashed" and said in results[place].message
    assert [results[place][0] for place in (0, 2, 4)] == ["a", "b", "c"]


def test_what_hangs_costs_its_item_alone():
    results = run(["a", "hang", "b"], num_workers=1, time_limit=1.0)
    assert (results[1].code, results[1].message) == ("timeout", "not done after 1 s")
    assert results[1].seconds >= 1.0
    assert [results[0][0], results[2][0]] == ["a", "b"]


def test_what_the_clock_cannot_end_is_killed_from_outside(monkeypatch):
    monkeypatch.setattr(worker_pool, "GRACE_SECONDS", 0.5)
    results = run(["hang-for-good", "a"], num_workers=1, time_limit=0.5)
    assert results[0].code == "timeout"
    assert results[1][0] == "a"


def test_a_closed_iterator_leaves_no_process():
    results = map_in_processes(act, ["a", *["hang"] * 8], 3, 60.0)
    next(results)
    pids = [child.pid for child in worker_pool.multiprocessing.active_children()]
    assert len(pids) == 3
    results.close()
    assert not any(psutil.pid_exists(pid) for pid in pids)


def start_script(tmp_path, guard='if __name__ == "__main__":', start_method="forkserver"):
    """A script whose items hang and say so; without the package around the pool, it starts at once."""
    (tmp_path / "hangs.py").write_text(
        textwrap.dedent(
            """
            import os, time

            def hang(item):
                open(f"{os.getpid()}.pid", "w").close()
                time.sleep(600)
            """
        )
    )
    script = tmp_path / "script.py"
    script.write_text(
        "import signal\nfrom worker_pool import map_in_processes\nfrom hangs import hang\n"
        f"{guard}\n"
        "    signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # what a shell starts with & ignores it
        f"    list(map_in_processes(hang, [1, 2, 3, 4], 2, 600, {start_method!r}))\n"
    )
    # In a session of its own, as a terminal's Ctrl-C goes to all processes of the job.
    return subprocess.Popen(
        [sys.executable, script],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": f"{Path(worker_pool.__file__).parent}"},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_until(holds, seconds=120):
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_running(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("send", [os.killpg, os.kill], ids=["ctrl-c", "interrupt-of-the-main-process"])
def test_an_interrupt_leaves_no_process(tmp_path, send):
    script = start_script(tmp_path)
    wait_until(lambda: len(list(tmp_path.glob("*.pid"))) == 2)
    pids = [child.pid for child in psutil.Process(script.pid).children(recursive=True)]
    workers = [int(path.stem) for path in tmp_path.glob("*.pid")]
    assert set(workers) <= set(pids)
    send(script.pid, signal.SIGINT)
    _, errors = script.communicate(timeout=60)
    assert "KeyboardInterrupt" in errors and script.returncode != 0
    wait_until(lambda: not any(is_running(pid) for pid in pids))


@pytest.mark.parametrize("start_method", ["fork", "forkserver"])
def test_the_busy_processes_of_a_killed_main_process_end_at_once(start_method, tmp_path):
    script = start_script(tmp_path, start_method=start_method)
    wait_until(lambda: len(list(tmp_path.glob("*.pid"))) == 2)
    pids = [child.pid for child in psutil.Process(script.pid).children(recursive=True)]
    assert {int(path.stem) for path in tmp_path.glob("*.pid")} <= set(pids)
    script.kill()
    script.communicate(timeout=60)
    wait_until(lambda: not any(is_running(pid) for pid in pids), seconds=5)


def test_a_script_that_starts_itself_anew_is_an_error(tmp_path):
    script = start_script(tmp_path, guard="if True:")
    _, errors = script.communicate(timeout=120)
    assert script.returncode != 0
    assert "worker processes do not start" in errors and "if __name__ ==" in errors
    assert not list(tmp_path.glob("*.pid"))
