"""Finds a benchmark's annotation files by the names that they have in the wild, and reads them, gzipped or not."""

import csv
import gzip
import io
import json
import pickle
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BenchmarkError
from .folder import BenchmarkFolder


class AnnotationFiles:
    """Looks annotation files up in a scanned folder and notes which ones were used.

    Args:
        folder ([`BenchmarkFolder`]): The scan.

    Attributes:
        used (`list[str]`): Paths, relative to the root, of the files that were found and asked for.
    """

    def __init__(self, folder: BenchmarkFolder):
        self.folder = folder
        self.used: list[str] = []

    def find(self, *names: str) -> Path | None:
        """The file with the first of several names, anywhere under the root, as it is or gzipped.

        Args:
            names (`str`): Names that the file may have, the preferred one first.

        Returns:
            `Path`: The file, or `None` when there is none of any name.

        Raises:
            `BenchmarkError`: When several files of one name differ; names two.
        """
        for name in names:
            paths = [*self.folder.paths.get(name, []), *self.folder.paths.get(f"{name}.gz", [])]
            if not paths:
                continue
            first = self.folder.root / paths[0]
            for other in paths[1:]:
                if read_bytes(first) != read_bytes(self.folder.root / other):
                    raise BenchmarkError(
                        f"{self.folder.name}: {paths[0]} and {other} under {self.folder.root} differ, and both could "
                        f"be its {name}. Pass a root that holds only the right one."
                    )
            if paths[0] not in self.used:
                self.used.append(paths[0])
            return first
        return None

    def get(self, *names: str) -> Path:
        """As `find`, but there must be one.

        Raises:
            `BenchmarkError`: When there is none, or several that differ.
        """
        path = self.find(*names)
        if path is None:
            unseen = f" Not searched: {', '.join(self.folder.unseen[:3])}." if self.folder.unseen else ""
            raise BenchmarkError(
                f"{self.folder.name} needs {' or '.join(names)} (plain or .gz) anywhere under {self.folder.root}, "
                f"and there is none.{unseen}"
            )
        return path


def read_bytes(path: Path) -> bytes:
    """Content of a file, unpacked when it is gzipped.

    Raises:
        `BenchmarkError`: When it is gzipped and damaged.
        `FileNotFoundError`: When there is no such file.
    """
    content = path.read_bytes()
    if not content.startswith(b"\x1f\x8b"):
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise BenchmarkError(f"{path} is gzipped and damaged: {error}.") from error


def read_text(path: Path) -> str:
    """Content of a UTF-8 file, with or without a byte order mark.

    Raises:
        `BenchmarkError`: When it is in another encoding.
        `FileNotFoundError`: When there is no such file.
    """
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BenchmarkError(f"{path} is not UTF-8: {error}.") from error


def read_json(path: Path) -> Any:
    """Content of a JSON file, or a list of the values of a JSON Lines file.

    Raises:
        `BenchmarkError`: When it is neither.
        `FileNotFoundError`: When there is no such file.
    """
    text = read_text(path)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        whole = error
    lines = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    values = []
    for number, line in lines:
        try:
            values.append(json.loads(line))
        except (ValueError, RecursionError) as error:
            # A first line that is no JSON by itself is the beginning of a JSON file, not of JSON Lines.
            raise BenchmarkError(f"{path} is not JSON: {f'line {number}: {error}' if values else whole}.") from error
    if not values:
        raise BenchmarkError(f"{path} is not JSON: it is empty.")
    return values


def read_csv(path: Path, *columns: str, delimiter: str = ",") -> list[dict[str, str]]:
    """Rows of a CSV file with a header.

    Args:
        path (`Path`): Its file.
        columns (`str`): Columns that it must have.
        delimiter (`str`, *optional*, defaults to `","`): What separates fields.

    Returns:
        `list[dict[str, str]]`: One entry a row.

    Raises:
        `BenchmarkError`: When a column is missing, or a row has more or fewer fields than the header.
        `FileNotFoundError`: When there is no such file.
    """
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""), delimiter=delimiter)
    try:
        missing = [column for column in columns if column not in (reader.fieldnames or ())]
        if missing:
            raise BenchmarkError(f"{path} needs a column {missing[0]!r}, found {reader.fieldnames}.")
        rows = []
        for row in reader:
            if None in row or None in row.values():
                raise BenchmarkError(
                    f"{path}, line {reader.line_num}: expected {len(reader.fieldnames)} fields, found {row}."
                )
            rows.append(row)
    except csv.Error as error:
        raise BenchmarkError(f"{path}, line {reader.line_num}: {error}.") from error
    return rows


def read_ids(path: Path) -> list[str]:
    """Ids of a split: one a line, a CSV with a column `video_id`, or a NumPy array.

    Raises:
        `BenchmarkError`: When it holds none, or an array of something else than strings.
        `FileNotFoundError`: When there is no such file.
    """
    content = read_bytes(path)
    if content.startswith(b"\x93NUMPY"):
        try:
            array = np.load(io.BytesIO(content), allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise BenchmarkError(f"{path} is no array of strings: {error}") from error
        if array.ndim != 1 or array.dtype.kind not in "US":
            raise BenchmarkError(f"{path} must be a list of strings, found {array.dtype} of shape {array.shape}.")
        ids = [item.decode() if isinstance(item, bytes) else item for item in array.tolist()]
    else:
        # Not `splitlines`, which also cuts at characters that no writer means as an end of line.
        ids = [line.strip() for line in read_text(path).split("\n") if line.strip()]
        if ids and "video_id" in ids[0].split(","):
            ids = [row["video_id"] for row in read_csv(path)]
    if not ids:
        raise BenchmarkError(f"{path} lists no video.")
    return ids


class PlainUnpickler(pickle.Unpickler):
    """Reads containers, strings and numbers, and refuses everything that would import or call something."""

    def find_class(self, module, name):
        """Refuse."""
        raise pickle.UnpicklingError(f"it names {module}.{name}, and annotations need no code")


def read_pickle(path: Path) -> Any:
    """Content of a pickle that holds containers, strings and numbers alone.

    Raises:
        `BenchmarkError`: When it names anything to import, or is no pickle.
        `FileNotFoundError`: When there is no such file.
    """
    content = read_bytes(path)
    try:
        # Files of Python 2 hold byte strings.
        return PlainUnpickler(io.BytesIO(content), encoding="utf-8").load()
    except (
        pickle.UnpicklingError,
        EOFError,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        OverflowError,
    ) as error:
        raise BenchmarkError(f"{path} can't be read as a pickle of plain data: {error}.") from error


__all__ = ["AnnotationFiles", "read_bytes", "read_csv", "read_ids", "read_json", "read_pickle", "read_text"]
