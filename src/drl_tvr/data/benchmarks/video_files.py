"""Find the file of a video by its id, whatever its extension and subfolder are."""

import os

from ..folder import VIDEO_EXTENSIONS, BenchmarkFolder


EXTENSION_RANK = {extension: rank for rank, extension in enumerate(VIDEO_EXTENSIONS)}


def strip_extension(name: str) -> str:
    """Return a file name without its last extension if that is a video's; any other dot belongs to the name.

    Example:

    ```python
    >>> from drl_tvr.data.benchmarks.video_files import strip_extension

    >>> strip_extension("1012_Unbreakable_00.56.36.981-00.56.38.167")
    '1012_Unbreakable_00.56.36.981-00.56.38.167'
    >>> strip_extension("26292851@N04_4253489686_265c3c8051.m4v")
    '26292851@N04_4253489686_265c3c8051'
    ```
    """
    stem, dot, extension = name.rpartition(".")
    return stem if stem and f"{dot}{extension.lower()}" in EXTENSION_RANK else name


class VideoFiles:
    """Video files of a scanned folder, by id.

    Args:
        folder ([`~data.folder.BenchmarkFolder`]): The scan.
    """

    def __init__(self, folder: BenchmarkFolder):
        self.folder = folder
        self.with_extension: dict[str, list[str]] = {}  # X of X.mp4
        self.with_two: dict[str, list[str]] = {}  # X of X.avi.mp4
        for name, paths in folder.paths.items():
            stem = strip_extension(name)
            if stem != name:
                self.with_extension.setdefault(stem, []).extend(paths)
                shorter = strip_extension(stem)
                if shorter != stem:
                    self.with_two.setdefault(shorter, []).extend(paths)

    def find(self, *names: str) -> list[str]:
        """Find the files of a video, best first.

        Each name is tried as it is, then with a video's extension, then with two (`X.avi.mp4`). The first try that
        finds files counts; they are sorted by extension, depth of the folder, and path.

        Args:
            names (`str`): Names that the file may have, with or without an extension.

        Returns:
            `list[str]`: Paths under the root; empty when there is no file.
        """
        for name in names:
            for index in (self.folder.paths, self.with_extension, self.with_two):
                if name in index:
                    paths = sorted(index[name], key=preference)
                    return [os.path.join(self.folder.root, path) for path in paths]
        return []


def preference(path: str) -> tuple[int, int, str]:
    """Return the sort key of a file among those that could be the same video."""
    extension = os.path.splitext(path)[1].lower()
    return EXTENSION_RANK.get(extension, len(EXTENSION_RANK)), path.count(os.sep), path


__all__ = ["VideoFiles", "strip_extension"]
