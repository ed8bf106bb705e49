"""Find the videos that a table names, and none that lies outside of its folder."""

import os
import unicodedata

from ..errors import BenchmarkError
from ..folder import is_inside, is_within
from .video_files import strip_extension


class SafePaths:
    """Video paths that must not lead out of a folder, neither by `..`, nor as absolute paths, nor through links.

    Args:
        limit (`str` or `os.PathLike`): The folder that no path may leave.
    """

    def __init__(self, limit: str | os.PathLike):
        self.limit = os.path.realpath(limit)
        self.real_folders: dict[str, str] = {}
        self.resolved: dict[str, str] = {}
        self.files: dict[str, list[str]] = {}
        self.names: dict[str, dict[str, str]] = {}

    def resolve(self, base: str, video: str, where: str) -> str:
        """Return the absolute path of a video, which a table names relative to a folder.

        Raises:
            `BenchmarkError`: When it leads out of the folder; the message begins with `where`.
        """
        joined = os.path.join(base, video)
        if joined not in self.resolved:
            path = os.path.normpath(joined)
            if not self.holds(path):
                raise BenchmarkError(
                    f"{where}: found the video {video!r}, expected a path that does not lead out of {self.limit}. "
                    "Pass a root that holds it."
                )
            self.resolved[joined] = path
        return self.resolved[joined]

    def holds(self, path: str) -> bool:
        """Return whether an absolute path stays in the folder."""
        folder, name = os.path.split(path)
        if folder not in self.real_folders:
            self.real_folders[folder] = os.path.realpath(folder)
        real = os.path.realpath(path) if os.path.islink(path) else os.path.join(self.real_folders[folder], name)
        return is_inside(real, self.limit)

    def find(self, path: str) -> list[str]:
        """Return the file of a path, or nothing; a name may be on the disk in another normal form of Unicode."""
        if path not in self.files:
            found = path if path.isascii() else self.spelled_on_disk(path)
            self.files[path] = [found] if os.path.isfile(found) and self.holds(found) else []
        return self.files[path]

    def spelled_on_disk(self, path: str) -> str:
        """Return a path as the disk spells it, where it has the same names in another normal form."""
        if os.path.lexists(path):
            return path
        folder, name = os.path.split(path)
        folder = self.spelled_on_disk(folder)
        return os.path.join(folder, self.names_in(folder).get(unicodedata.normalize("NFC", name), name))

    def names_in(self, folder: str) -> dict[str, str]:
        """Return the names in a folder by their composed form; nothing for a folder that may not be read."""
        if folder not in self.names:
            is_open = is_within(os.path.realpath(folder), self.limit) and os.access(folder, os.R_OK | os.X_OK)
            names = os.listdir(folder) if is_open and os.path.isdir(folder) else []
            self.names[folder] = {unicodedata.normalize("NFC", name): name for name in names}
        return self.names[folder]

    def explain(self, path: str) -> str:
        """Return a sentence on where a missing file was looked for, with a file of nearly its name."""
        folder, name = os.path.split(path)
        name = unicodedata.normalize("NFC", name).casefold().strip()
        near = [
            other
            for composed, other in sorted(self.names_in(folder).items())
            if composed.casefold() == name or strip_extension(composed.casefold()) in (name, strip_extension(name))
        ]
        beside = f"; there is {near[0]!r} in its folder" if near else ""
        return f"A file is looked for at its path as it is written, {path} for example{beside}."
