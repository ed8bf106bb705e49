"""Runs a function on many items in processes, where an item may hang or kill the process that has it."""

import contextlib
import functools
import math
import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any


# Seconds after which a process that should have ended is left to itself: a stalled network disk makes it unkillable.
GRACE = 5.0


@dataclass(frozen=True)
class WorkerFailure:
    """What came of an item instead of a result.

    Args:
        code (`str`): `"timeout"`, or `"crashed"` for a process that died or a function that raised.
        message (`str`): The limit, the signal, the exit code or the error.
        seconds (`float`): How long it took.
    """

    code: str
    message: str
    seconds: float


class Worker:
    """A process that serves one item at a time.

    Args:
        function (`Callable`): What it runs on an item; picklable.
        time_limit (`float`): Seconds for an item.
    """

    def __init__(self, function: Callable[[Any], Any], time_limit: float):
        # Forked from a server that imported the package once. A fork of this process could copy a lock that is held,
        # and a spawned process would import everything again whenever one has to be replaced.
        context = multiprocessing.get_context("forkserver")
        unwrapped = function.func if isinstance(function, functools.partial) else function
        context.set_forkserver_preload([__name__, unwrapped.__module__])
        self.connection, theirs = context.Pipe()
        self.time_limit = time_limit
        self.has_started = False
        self.place: int | None = None  # of the item in hand
        self.began, self.deadline = time.monotonic(), math.inf
        self.process = context.Process(target=serve, args=(theirs, function, time_limit), daemon=True)
        self.process.start()
        # Its own end is then the only one, and its death reads as the end of the connection.
        theirs.close()

    def send(self, place: int, item: Any) -> None:
        self.place, self.began = place, time.monotonic()
        self.deadline = self.began + self.time_limit + GRACE
        # If it died while idle, that shows when it is read.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.connection.send(item)

    def receive(self) -> Any:
        """The result of the item in hand, or `None` when it has just started.

        Raises:
            `EOFError`: When it died, or its time is up.
        """
        if not self.connection.poll():
            raise EOFError
        result = self.connection.recv()
        self.has_started, self.place, self.deadline = True, None, math.inf
        return result

    def failure(self) -> WorkerFailure:
        """Why it gave no result. It is stopped for good."""
        now = time.monotonic()
        late = now > self.deadline
        if not late:
            self.process.join(GRACE)
        self.stop()
        code = self.process.exitcode
        if late or code == -signal.SIGALRM:
            return WorkerFailure("timeout", f"not done after {self.time_limit:g} s", now - self.began)
        how = f"exit code {code}" if code is None or code >= 0 else signal.Signals(-code).name
        memory = "; the memory may have run out" if code == -signal.SIGKILL else ""
        return WorkerFailure("crashed", f"its process died ({how}{memory})", now - self.began)

    def stop(self) -> None:
        self.process.kill()
        self.process.join(GRACE)
        self.connection.close()


def serve(connection: Connection, function: Callable[[Any], Any], time_limit: float) -> None:
    """What a worker process does, until the other end of its connection is closed."""
    # Ctrl-C reaches every process of the terminal; the main one ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The kernel's own clock ends a process also where no Python code runs, and if the main process is gone.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    # Where memory runs out, Linux shall end this process rather than the main one.
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        connection.send(None)
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
    function: Callable[[Any], Any], items: Sequence[Any], num_workers: int, time_limit: float
) -> Iterator[tuple[int, Any]]:
    """Run `function` on every item in `num_workers` processes.

    A process that dies or exceeds the limit costs its item, and is replaced; `concurrent.futures` would give up all
    items at the first death, and has no limit for one. Closing the iterator, as an error does, ends the processes. If
    this process is killed, each ends with the item in hand.

    Args:
        function (`Callable`): Picklable, and its results are.
        items (`Sequence`): Picklable arguments.
        num_workers (`int`): Processes.
        time_limit (`float`): Seconds for an item.

    Yields:
        `tuple[int, Any]`: The place of an item and its result or [`~data.worker_pool.WorkerFailure`], as it is done.

    Raises:
        `RuntimeError`: When processes cannot start; in a script without `if __name__ == "__main__":`, for one.
    """
    pending = iter(enumerate(items))
    workers: list[Worker] = []
    num_left = len(items)
    try:
        while num_left:
            while len(workers) < min(num_workers, num_left):
                workers.append(Worker(function, time_limit))
            deadline = min(worker.deadline for worker in workers)
            timeout = None if deadline == math.inf else max(0.0, deadline - time.monotonic())
            wait([worker.connection for worker in workers], timeout)
            for worker in list(workers):
                if not worker.connection.poll() and time.monotonic() <= worker.deadline:
                    continue
                place = worker.place
                try:
                    result = worker.receive()
                except (EOFError, ConnectionResetError) as error:
                    workers.remove(worker)
                    result = worker.failure()
                    if not worker.has_started:
                        hint = 'a script must do its work under `if __name__ == "__main__":`, since they import it'
                        raise RuntimeError(f"worker processes do not start: {result.message}; {hint}") from error
                else:
                    following = next(pending, None)
                    if following is not None:
                        worker.send(*following)
                if place is not None:
                    num_left -= 1
                    yield place, result
    finally:
        for worker in workers:
            worker.stop()
