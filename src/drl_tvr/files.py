"""Write files that are whole or absent, and ask the system for its cores and installed libraries."""

import os
import tempfile
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path


def write_whole(path: str | os.PathLike, content: str | bytes) -> Path:
    """Write a file that appears under its name only when it is whole and on the disk.

    Args:
        path (`str` or `os.PathLike`): The file; an earlier one is replaced.
        content (`str` or `bytes`): The content; text is written as UTF-8.

    Returns:
        `Path`: The file.

    Raises:
        `OSError`: When the file cannot be written; an earlier file is then unchanged.
    """
    path = Path(path)
    data = content.encode("utf-8") if isinstance(content, str) else content
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        # `mkstemp` lets only the owner read; a result should be as readable as any new file.
        os.chmod(temporary, 0o666 & ~current_umask())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
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


def current_umask() -> int:
    """Return the permission bits that new files of this process do not get."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def sync(path: str | os.PathLike) -> None:
    """Wait until a file's content, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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


__all__ = ["check_output_file", "installed_versions", "sync", "usable_cores", "write_whole"]
