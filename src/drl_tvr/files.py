"""Write files that are whole or absent, and ask the system for its cores and installed libraries."""

import errno
import os
import secrets
import shutil
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path


TEMPORARY_PREFIX = ".tmp-"  # begins the name of a file that is being written


def write_whole(path: str | os.PathLike, content: str | bytes) -> Path:
    """Write a file that appears under its name only when it is whole and on the disk.

    Several processes may write the same file at once: the last one wins. A process that is killed while it writes
    leaves a hidden file whose name begins with `.tmp-` and the first 40 characters of the file's name.

    Args:
        path (`str` or `os.PathLike`): The file. An earlier file is replaced; so is a link, whose target stays.
        content (`str` or `bytes`): The content; text is written as UTF-8.

    Returns:
        `Path`: The file.

    Raises:
        `OSError`: When the file cannot be written; an earlier file is then unchanged.

    Example:

    ```python
    >>> from drl_tvr.files import write_whole

    >>> write_whole("numbers.txt", "1 2 3").read_text()
    '1 2 3'
    ```
    """
    path = Path(path)
    data = content.encode("utf-8") if isinstance(content, str) else content
    # In the same folder, as a file can only be renamed within one file system.
    temporary = path.parent / f"{TEMPORARY_PREFIX}{path.name[:40]}-{secrets.token_hex(8)}"
    try:
        # Unlike `tempfile`, which lets only the owner read, this leaves the permissions to the process's umask.
        handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o666)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        error.filename = str(path)  # a full disk names no file
        raise
    sync(path.parent)
    return path


def check_output_file(path: str | os.PathLike) -> None:
    """Check before long work that its result can go to a file: the folder exists, and the path is not a folder.

    Args:
        path (`str` or `os.PathLike`): The file; one that exists passes.

    Raises:
        `OSError`: When the path is a folder, or its parent folder does not exist.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path}: found a folder, expected the name of a file.")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: found no folder {path.parent}, expected a file in an existing folder.")


def sync(path: str | os.PathLike) -> None:
    """Wait until a file's content, or a folder's list of names, is on the disk.

    Args:
        path (`str` or `os.PathLike`): The file or folder.

    Raises:
        `OSError`: When it cannot be opened or written.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network disks cannot sync a folder.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def free_space(folder: str | os.PathLike) -> str:
    """Return the free space on the disk of a folder, or of its nearest parent that exists, in MB."""
    folder = Path(folder)
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return f"{shutil.disk_usage(folder).free / 1e6:,.1f} MB"


def usable_cores() -> int:
    """Count the CPU cores that this process may use, which a container or a batch system can limit."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def installed_versions(libraries: Iterable[str]) -> dict[str, str | None]:
    """Look up the installed version of each library, `None` for one that is not installed."""
    versions = {}
    for library in libraries:
        try:
            versions[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            versions[library] = None
    return versions


__all__ = [
    "TEMPORARY_PREFIX",
    "check_output_file",
    "free_space",
    "installed_versions",
    "sync",
    "usable_cores",
    "write_whole",
]
