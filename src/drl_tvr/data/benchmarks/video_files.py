"""Finds the file of a video by its id, whatever extension and subfolder it has."""

import os

from .folder import BenchmarkFolder


# The order is the preference among files of one stem; the first two are the official code's.
VIDEO_EXTENSIONS = (
    ".mp4", ".webm", ".mkv", ".avi", ".mov", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp", ".3gpp", ".3g2", ".mts",
    ".m2ts", ".ts", ".qt", ".asf", ".divx", ".ogv", ".vob", ".gif",
)  # fmt: skip
EXTENSION_RANK = {extension: rank for rank, extension in enumerate(VIDEO_EXTENSIONS)}


def strip_extension(name: str) -> str:
    """A file name without its last extension if that is a video's; any other dot belongs to the name.

    Example:

    ```python
    >>> strip_extension("1012_Unbreakable_00.56.36.981-00.56.38.167")
    '1012_Unbreakable_00.56.36.981-00.56.38.167'
    >>> strip_extension("26292851@N04_4253489686_265c3c8051.m4v")
    '26292851@N04_4253489686_265c3c8051'
    ```"""
    stem, dot, extension = name.rpartition(".")
    return stem if stem and f"{dot}{extension.lower()}" in EXTENSION_RANK else name


class VideoFiles:
    """Looks videos up in a scanned folder.

    Args:
        folder ([`BenchmarkFolder`]): The scan.
    """

    def __init__(self, folder: BenchmarkFolder):
        self.folder = folder
        self._with_extension: dict[str, list[str]] = {}  # X of X.mp4
        self._with_two: dict[str, list[str]] = {}  # X of X.avi.mp4
        for name, paths in folder.paths.items():
            stem = strip_extension(name)
            if stem != name:
                self._with_extension.setdefault(stem, []).extend(paths)
                shorter = strip_extension(stem)
                if shorter != stem:
                    self._with_two.setdefault(shorter, []).extend(paths)

    def find(self, *names: str) -> list[str]:
        """Files of a video, best first.

        Every name is tried in turn: as it is, then with a video's extension, then with two (`X.avi.mp4`). Among the
        files that the first successful try found, the order is by extension, depth of the folder, and path.

        Args:
            names (`str`): Names that the file may have, with or without an extension.

        Returns:
            `list[str]`: Paths under the root; empty when there is no file.
        """
        for name in names:
            for index in (self.folder.paths, self._with_extension, self._with_two):
                if name in index:
                    paths = sorted(index[name], key=preference)
                    return [os.path.join(self.folder.root, path) for path in paths]
        return []


def preference(path: str) -> tuple[int, int, str]:
    """Sorts files that could be the same video."""
    extension = os.path.splitext(path)[1].lower()
    return EXTENSION_RANK.get(extension, len(EXTENSION_RANK)), path.count(os.sep), path


__all__ = ["VIDEO_EXTENSIONS", "VideoFiles", "strip_extension"]
