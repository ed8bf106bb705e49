"""Lock an output folder for one run, and check that all processes see it."""

import os
import platform
import uuid
from pathlib import Path

from filelock import FileLock, Timeout

from .distributed import gather_objects, in_first_process, process_index


LOCK_FILE = ".run.lock"


class RunInProgressError(OSError):
    """Output folder that another run is writing into; the message names the folder and the process."""


class OutputFolderError(OSError):
    """Output folder that not all processes of a run see; the message names the folder and the processes."""


def hold_folder(folder: Path) -> FileLock:
    """Lock a folder for this process, which may hold it already.

    Args:
        folder (`Path`): The output folder.

    Returns:
        `FileLock`: The lock; keep it as long as the folder is in use. The system releases it when the process ends.

    Raises:
        `RunInProgressError`: When another process holds it.

    Example:

    ```python
    >>> from pathlib import Path
    >>> from drl_tvr.training.output_folder import hold_folder

    >>> lock = hold_folder(Path("outputs"))
    >>> lock.is_locked
    True
    >>> lock.release()

    ```"""
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
    """Check that all processes see in a folder what the first one writes there; all must call this.

    Without a shared disk, the other machines would find no checkpoint and would evaluate other weights than the first.

    Args:
        folder (`str` or `os.PathLike`): The output folder; made when absent.

    Raises:
        `OutputFolderError`: In all processes, when some of them do not see it.
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
            f"{folder}: what process 0 writes here is not seen by {blind} of {len(seen)} processes, expected one "
            "folder on a disk that all machines and processes share. Choose another `output_dir`."
        )


__all__ = ["OutputFolderError", "RunInProgressError"]
