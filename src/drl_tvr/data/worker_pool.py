"""Run a function on many items in processes, where an item may hang or kill the process that has it.

pebble (5.2) also has a time limit per item and replaces processes, but it waits without a limit for a process that a
stalled disk keeps in the kernel, leaves hanging processes behind when the main one is killed, and is LGPL.
"""

import contextlib
import functools
import math
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any


# Seconds to wait for a process to end. A stalled network disk can make it unkillable; it is then left to itself.
GRACE_SECONDS = 5.0
# As the workers of a `DataLoader`: a process that starts anew would first import torch and transformers.
START_METHOD = "fork" if sys.platform == "linux" else "forkserver"


@dataclass(frozen=True)
class WorkerFailure:
    """Outcome of an item that has no result.

    Args:
        code (`str`): `"timeout"`, or `"crashed"` for a process that died or a function that raised.
        message (`str`): The limit, the signal, the exit code or the error.
        seconds (`float`): Time that the item took.
    """

    code: str
    message: str
    seconds: float


class Worker:
    """A process that serves one item at a time.

    Args:
        function (`Callable`): Function to run on an item; picklable.
        time_limit (`float`): Seconds per item.
        start_method (`str`): `"fork"`, `"forkserver"` or `"spawn"`.
    """

    def __init__(self, function: Callable[[Any], Any], time_limit: float, start_method: str):
        context = multiprocessing.get_context(start_method)
        if start_method == "forkserver":
            # The server imports the package once, so that a process that replaces another starts at once.
            unwrapped = function.func if isinstance(function, functools.partial) else function
            context.set_forkserver_preload([__name__, unwrapped.__module__])
        self.connection, theirs = context.Pipe()
        self.time_limit = time_limit
        self.has_started = False
        self.place: int | None = None  # of the item in hand
        self.began, self.deadline = time.monotonic(), math.inf
        # A fork copies our end too, and would never see it close.
        inherited = self.connection if start_method == "fork" else None
        self.process = context.Process(target=serve, args=(theirs, inherited, function, time_limit), daemon=True)
        with without_current_folder(), without_interrupts():
            self.process.start()
        # Close our copy of the worker's end, so that the worker's death shows as the end of the connection.
        theirs.close()

    def send(self, place: int, item: Any) -> None:
        """Give the worker an item."""
        self.place, self.began = place, time.monotonic()
        self.deadline = self.began + self.time_limit + GRACE_SECONDS
        # If the worker died while it was idle, `receive` will tell.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.connection.send(item)

    def has_news(self) -> bool:
        """Return whether the worker has started, has a result, has died, or is late."""
        return self.connection.poll() or time.monotonic() > self.deadline

    def receive(self) -> Any:
        """Receive the next message: the first one says that the worker has started, every other is a result.

        Raises:
            `EOFError`: When the worker has died or is late.
        """
        if not self.connection.poll():
            raise EOFError
        message = self.connection.recv()
        self.has_started, self.place, self.deadline = True, None, math.inf
        return message

    def failure(self) -> WorkerFailure:
        """Stop the worker and return why it gave no result."""
        now = time.monotonic()
        is_late = now > self.deadline
        if not is_late:
            self.process.join(GRACE_SECONDS)
        self.stop()
        code = self.process.exitcode
        if is_late or code == -signal.SIGALRM:
            return WorkerFailure("timeout", f"not done after {self.time_limit:g} s", now - self.began)
        how = f"exit code {code}" if code is None or code >= 0 else signal.Signals(-code).name
        memory = "; the memory may have run out" if code == -signal.SIGKILL else ""
        return WorkerFailure("crashed", f"its process died ({how}{memory})", now - self.began)

    def stop(self) -> None:
        """Kill the process."""
        self.process.kill()
        self.process.join(GRACE_SECONDS)
        self.connection.close()


@contextlib.contextmanager
def without_interrupts() -> Iterator[None]:
    """Hold back Ctrl-C in this thread, and in a process that starts meanwhile until it ignores it by itself."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def without_current_folder() -> Iterator[None]:
    """Keep the interpreters that `multiprocessing` starts from importing files of the current folder.

    It starts them by `python -c`, which looks there first, also for modules of the standard library.
    """
    before = os.environ.get("PYTHONSAFEPATH")
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        yield
    finally:
        os.environ.pop("PYTHONSAFEPATH", None)
        if before is not None:
            os.environ["PYTHONSAFEPATH"] = before


def end_with_parent(worker_id: int | None = None) -> None:
    """End this process, which `multiprocessing` started, as soon as its parent ends, also while it is busy.

    Ctrl-C reaches every process of the terminal; here only the parent takes it, and ends the others.

    Args:
        worker_id (`int`, *optional*): Not used; a `DataLoader` passes it to its `worker_init_fn`.
    """

    def watch():
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def serve(
    connection: Connection, inherited: Connection | None, function: Callable[[Any], Any], time_limit: float
) -> None:
    """Run a function on every item of a connection, until its other end is closed."""
    if inherited is not None:
        inherited.close()
    end_with_parent()
    # The kernel's own clock ends a process also while no Python code runs, and when the main process is gone.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    # When memory runs out, Linux ends this process rather than the main one.
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        connection.send("started")
        while True:
            item = connection.recv()
            began = time.monotonic()
            signal.setitimer(signal.ITIMER_REAL, time_limit)
            try:
                result = function(item)
            except Exception as error:
                result = WorkerFailure("crashed", f"{type(error).__name__}: {error}", time.monotonic() - began)
            signal.setitimer(signal.ITIMER_REAL, 0)
            connection.send(result)


def map_in_processes(
    function: Callable[[Any], Any],
    items: Sequence[Any],
    num_workers: int,
    time_limit: float,
    start_method: str = "forkserver",
) -> Iterator[tuple[int, Any]]:
    """Run `function` on every item in `num_workers` processes.

    A process that dies or exceeds the limit costs its item, and is replaced; `concurrent.futures` would give up all
    items at the first death, and has no limit per item. Closing the iterator, as an error does, ends the processes. If
    this process is killed, they end at once.

    Args:
        function (`Callable`): Function to run; it and its results are picklable.
        items (`Sequence`): Picklable arguments.
        num_workers (`int`): Number of processes.
        time_limit (`float`): Seconds per item.
        start_method (`str`, *optional*, defaults to `"forkserver"`): `"forkserver"` is safe whatever threads this
            process has, but imports the package once more. `"fork"` starts at once, as the workers of a `DataLoader`
            do on Linux, and copies locks that other threads hold.

    Yields:
        `tuple[int, Any]`: The place of an item and its result or [`~data.worker_pool.WorkerFailure`], in the order in
        which they are done.

    Raises:
        `RuntimeError`: When processes cannot start, for example in a script without `if __name__ == "__main__":`.

    Example:

    ```python
    >>> from drl_tvr.data.worker_pool import map_in_processes

    >>> sorted(map_in_processes(abs, [-1, -2, -3], num_workers=2, time_limit=60, start_method="fork"))
    [(0, 1), (1, 2), (2, 3)]
    ```
    """
    pending = iter(enumerate(items))
    workers: list[Worker] = []
    num_left = len(items)
    try:
        while num_left:
            while len(workers) < min(num_workers, num_left):
                workers.append(Worker(function, time_limit, start_method))
            deadline = min(worker.deadline for worker in workers)
            timeout = None if deadline == math.inf else max(0.0, deadline - time.monotonic())
            wait([worker.connection for worker in workers], timeout)
            for worker in [worker for worker in workers if worker.has_news()]:
                place = worker.place
                try:
                    outcome = worker.receive()
                except (EOFError, ConnectionResetError) as error:
                    workers.remove(worker)
                    outcome = worker.failure()
                    if not worker.has_started:
                        hint = 'a script must do its work under `if __name__ == "__main__":`, since they import it'
                        raise RuntimeError(f"worker processes do not start: {outcome.message}; {hint}.") from error
                else:
                    following = next(pending, None)
                    if following is not None:
                        worker.send(*following)
                # A worker that has just started, or that died while it was idle, had no item.
                if place is not None:
                    num_left -= 1
                    yield place, outcome
    finally:
        for worker in workers:
            worker.stop()


__all__ = ["START_METHOD", "WorkerFailure", "end_with_parent", "map_in_processes"]
