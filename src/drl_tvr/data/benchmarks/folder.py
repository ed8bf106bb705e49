"""Scans a benchmark's folder once: every file by its name, and nothing that lies outside of the folder."""

import os
from pathlib import Path

from ..errors import BenchmarkError


class BenchmarkFolder:
    """The files under a root.

    Folders and files whose name begins with a dot are left out. A link to a file within the root counts as that file;
    a link that leads out of the root is never followed.

    Args:
        name (`str`): Name of the benchmark, for messages.
        root (`str` or `os.PathLike`, *optional*): Its folder.

    Attributes:
        root (`Path`): The folder as it was given.
        paths (`dict[str, list[str]]`): From a file's name to its paths relative to the root, nearest first.
        unseen (`list[str]`): Links that lead out of the root, and folders that may not be read.

    Raises:
        `BenchmarkError`: Without a root, or when it isn't a folder.
    """

    def __init__(self, name: str, root: str | os.PathLike | None):
        if root is None:
            raise BenchmarkError(f"{name} needs `root`, the folder that holds its annotation files and videos.")
        if not os.path.isdir(root):
            raise BenchmarkError(f"{name}: the root {os.fspath(root)!r} is not a folder.")
        self.name = name
        self.root = Path(root)
        self.paths: dict[str, list[str]] = {}
        self.unseen: list[str] = []
        self._scan()

    def _scan(self) -> None:
        real_root = os.path.realpath(self.root)
        folders = [""]
        while folders:
            folder = folders.pop()
            try:
                entries = list(os.scandir(os.path.join(self.root, folder)))
            except PermissionError:
                self.unseen.append(f"{folder or self.root} (permission denied)")
                continue
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                path = os.path.join(folder, entry.name)
                if entry.is_symlink():
                    target = os.path.realpath(entry.path)
                    if not is_within(target, real_root):
                        self.unseen.append(f"{path} (a link to {target})")
                    elif os.path.isfile(target):
                        self.paths.setdefault(entry.name, []).append(path)
                elif entry.is_dir(follow_symlinks=False):
                    folders.append(path)
                elif entry.is_file(follow_symlinks=False):
                    self.paths.setdefault(entry.name, []).append(path)
        for paths in self.paths.values():
            paths.sort(key=lambda path: (path.count(os.sep), path))
        self.unseen.sort()


def is_within(path: str, folder: str) -> bool:
    """Whether a path lies in a folder or is it; both without links and `..`."""
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


__all__ = ["BenchmarkFolder"]
