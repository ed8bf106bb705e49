"""Whose an output folder is: one run's at a time, all of whose processes see it and end with their launcher."""

import os
import platform
import threading
import time
import uuid
from pathlib import Path

from filelock import FileLock, Timeout
from transformers.utils import logging

from .distributed import gather_objects, in_first_process, process_index


logger = logging.get_logger(__name__)

LOCK_FILE = ".run.lock"
WATCH = "end-with-launcher"


class RunInProgressError(OSError):
    """An output folder that another run is writing; the message names the folder and the process."""


class OutputFolderError(OSError):
    """An output folder that not all processes of a run see; the message names it and them."""


def hold_folder(folder: Path) -> FileLock:
    """Take a folder for this process, which may hold it already.

    Args:
        folder (`Path`): The output folder.

    Returns:
        `FileLock`: To be kept; the system releases it when the process ends, whatever ends it.

    Raises:
        `RunInProgressError`: When another process holds it.
    """
    lock = FileLock(folder / LOCK_FILE, is_singleton=True)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        holder = (folder / LOCK_FILE).read_text(encoding="utf-8") or "a process that has just begun"
        raise RunInProgressError(
            f"{folder}: another run is writing here, {holder}. Wait for it, or end that process and run the same "
            "command again."
        ) from error
    (folder / LOCK_FILE).write_text(f"process {os.getpid()} on {platform.node()}", encoding="utf-8")
    return lock


def check_one_disk(folder: str | os.PathLike) -> None:
    """See whether all processes find in a folder what the first one writes there; all must call this.

    Without one disk the other machines would find no checkpoint, and evaluate other weights than the first.

    Args:
        folder (`str` or `os.PathLike`): The output folder; made when absent.

    Raises:
        `OutputFolderError`: In all processes, when some do not see it.
    """
    file = Path(folder) / f".seen-by-all-{gather_objects(uuid.uuid4().hex)[0]}"

    def write():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()

    in_first_process(write)
    seen = gather_objects(file.is_file())
    if process_index() == 0:
        file.unlink()
    if not all(seen):
        blind = ", ".join(str(rank) for rank, sees in enumerate(seen) if not sees)
        raise OutputFolderError(
            f"{folder}: `output_dir` must be one folder on one disk for all machines and processes, and what process "
            f"0 writes there is not seen by {blind} of {len(seen)}. Choose one on a shared disk."
        )


def end_with_launcher() -> None:
    """End this process when the launcher that started it is gone: no one is left to end it when others die."""
    launched = any(name in os.environ for name in ("TORCHELASTIC_RUN_ID", "ACCELERATE_MIXED_PRECISION"))
    if not launched or any(thread.name == WATCH for thread in threading.enumerate()):
        return
    launcher = os.getppid()

    def watch():
        while os.getppid() == launcher:
            time.sleep(1)
        logger.error(f"The launcher, process {launcher}, is gone: this process ends. Run the same command again.")
        os._exit(1)

    threading.Thread(target=watch, name=WATCH, daemon=True).start()


__all__ = ["OutputFolderError", "RunInProgressError"]
