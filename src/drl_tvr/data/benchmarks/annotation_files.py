"""Find a benchmark's annotation files by the names that their copies have, and read them, gzipped or not."""

import io
import pickle
import pickletools
import tokenize
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BenchmarkError
from ..folder import BenchmarkFolder
from .text_files import read_bytes, read_csv, read_json, read_text


# What NumPy lets through of Python's parser when the header of an array is damaged.
DAMAGED_HEADER = (SyntaxError, tokenize.TokenError, OverflowError, RecursionError)


class AnnotationFiles:
    """Annotation files of a scanned folder; it notes which ones were used.

    Args:
        folder ([`~data.folder.BenchmarkFolder`]): The scan.

    Attributes:
        used (`list[str]`): Paths, relative to the root, of the files that were found and asked for.
    """

    def __init__(self, folder: BenchmarkFolder):
        self.folder = folder
        self.used: list[str] = []

    def find(self, *names: str) -> Path | None:
        """Find the file with the first of several names, anywhere under the root, as it is or gzipped.

        Args:
            names (`str`): Names that the file may have, the preferred one first.

        Returns:
            `Path`: The file, or `None` when there is none.

        Raises:
            `BenchmarkError`: When several files of one name differ; names two of them.
        """
        for name in names:
            paths = [*self.folder.paths.get(name, []), *self.folder.paths.get(f"{name}.gz", [])]
            if not paths:
                continue
            first = self.folder.root / paths[0]
            for other in paths[1:]:
                if read_bytes(first) != read_bytes(self.folder.root / other):
                    raise BenchmarkError(
                        f"{self.folder.name}, {name}: found {paths[0]} and {other} under {self.folder.root}, which "
                        "differ, expected one file or equal copies. Pass a root that holds only the right one."
                    )
            if paths[0] not in self.used:
                self.used.append(paths[0])
            return first
        return None

    def get(self, *names: str) -> Path:
        """Find a file as `find` does, and refuse its absence.

        Raises:
            `BenchmarkError`: When there is no such file, or several that differ.
        """
        path = self.find(*names)
        if path is None:
            not_searched = self.folder.not_searched
            hint = f" Not searched: {', '.join(not_searched[:3])}." if not_searched else ""
            raise BenchmarkError(
                f"{self.folder.name}: found no annotation file, expected {' or '.join(names)} (plain or .gz) anywhere "
                f"under {self.folder.root}.{hint}"
            )
        return path


def read_ids(path: Path) -> list[str]:
    """Read the ids of a split from a file with one per line, a CSV with a column `video_id`, or a NumPy array.

    Raises:
        `BenchmarkError`: When the file holds no id, or an array of anything but strings.
        `FileNotFoundError`: When there is no such file.
    """
    content = read_bytes(path)
    if content.startswith(b"\x93NUMPY"):
        ids = read_array(path, content)
    else:
        # `splitlines` would also cut at characters that no writer means as the end of a line.
        ids = [line.strip() for line in read_text(path).split("\n") if line.strip()]
        if ids and "video_id" in ids[0].split(","):
            ids = [row["video_id"] for row in read_csv(path)]
    if not ids:
        raise BenchmarkError(f"{path}: found no video, expected a list of ids.")
    return ids


def read_array(path: Path, content: bytes) -> list[str]:
    """Read the strings of a NumPy array.

    Raises:
        `BenchmarkError`: When it is damaged, claims more than there is, or has anything but strings.
    """
    try:
        array = np.load(io.BytesIO(content), allow_pickle=False)
        if array.ndim != 1 or array.dtype.kind not in "US":
            raise ValueError(f"{array.dtype} of shape {array.shape}")
        return [item.decode() if isinstance(item, bytes) else item for item in array.tolist()]
    except (ValueError, EOFError, MemoryError, *DAMAGED_HEADER) as error:
        raise BenchmarkError(f"{path}: found {text_of(error)}, expected a list of strings.") from error


class PlainUnpickler(pickle.Unpickler):
    """Unpickler of containers, strings and numbers that refuses everything that would import or call something."""

    def find_class(self, module, name):
        """Refuse every name that a pickle would import."""
        raise pickle.UnpicklingError(f"it names {module}.{name}, and annotations need no code")


def read_pickle(path: Path) -> Any:
    """Read a pickle that holds only containers, strings and numbers.

    Raises:
        `BenchmarkError`: When it names anything to import, claims more than there is, or is not a pickle.
        `FileNotFoundError`: When there is no such file.
    """
    content = read_bytes(path)
    try:
        check_claims(content)
        # Pickles of Python 2 hold byte strings.
        return PlainUnpickler(io.BytesIO(content), encoding="utf-8").load()
    except (
        pickle.UnpicklingError,
        EOFError,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        raise BenchmarkError(
            f"{path}: found an invalid pickle ({text_of(error)}), expected a pickle of plain data."
        ) from error


def check_claims(content: bytes) -> None:
    """Refuse a pickle with a length or a place in memory that is larger than the file, for which room would be made.

    Raises:
        `ValueError`: When there is one.
        `pickle.UnpicklingError`: When a place in memory is larger.
    """
    for opcode, argument, _ in pickletools.genops(content):
        if opcode.name.endswith("PUT") and argument > len(content):
            raise pickle.UnpicklingError(f"it names the place {argument} in a memory of {len(content)} at most")


def text_of(error: Exception) -> str:
    """Return the text of an error on one line, or its name when it has no text."""
    return " ".join(str(error).split()) or type(error).__name__


__all__ = ["AnnotationFiles", "read_bytes", "read_csv", "read_ids", "read_json", "read_pickle", "read_text"]
