"""Find a benchmark's annotation files by the names that their copies have, and read them, gzipped or not."""

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
from ..folder import BenchmarkFolder


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


def read_bytes(path: Path) -> bytes:
    """Read a file, and unpack it when it is gzipped.

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
        raise BenchmarkError(f"{path}: found damaged gzip data ({error}), expected a whole file.") from error


def read_text(path: Path) -> str:
    """Read a UTF-8 file, with or without a byte order mark.

    Raises:
        `BenchmarkError`: When it is in another encoding.
        `FileNotFoundError`: When there is no such file.
    """
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BenchmarkError(f"{path}: found another encoding ({error}), expected UTF-8.") from error


def read_json(path: Path) -> Any:
    """Read the value of a JSON file, or the list of the values of a JSON Lines file.

    Raises:
        `BenchmarkError`: When it is neither; names the line of JSON Lines.
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
            # When the first line alone is not JSON, the file was meant as one JSON value, not as JSON Lines.
            where, reason = (f"{path}, line {number}", error) if values else (path, whole)
            raise BenchmarkError(f"{where}: found invalid JSON ({reason}), expected JSON or JSON Lines.") from error
    if not values:
        raise BenchmarkError(f"{path}: found an empty file, expected JSON or JSON Lines.")
    return values


def read_csv(path: Path, *columns: str, delimiter: str = ",") -> list[dict[str, str]]:
    """Read the rows of a CSV file with a header.

    Args:
        path (`Path`): The file.
        columns (`str`): Columns that it must have.
        delimiter (`str`, *optional*, defaults to `","`): The character between fields.

    Returns:
        `list[dict[str, str]]`: One entry per row.

    Raises:
        `BenchmarkError`: When a column is missing, or a row has more or fewer fields than the header.
        `FileNotFoundError`: When there is no such file.
    """
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""), delimiter=delimiter)
    try:
        missing = [column for column in columns if column not in (reader.fieldnames or ())]
        if missing:
            raise BenchmarkError(f"{path}: found the columns {reader.fieldnames}, expected a column {missing[0]!r}.")
        rows = []
        for row in reader:
            if None in row or None in row.values():
                raise BenchmarkError(
                    f"{path}, line {reader.line_num}: found {row}, expected {len(reader.fieldnames)} fields."
                )
            rows.append(row)
    except csv.Error as error:
        raise BenchmarkError(
            f"{path}, line {reader.line_num}: found invalid CSV ({error}), expected fields."
        ) from error
    return rows


def read_ids(path: Path) -> list[str]:
    """Read the ids of a split from a file with one per line, a CSV with a column `video_id`, or a NumPy array.

    Raises:
        `BenchmarkError`: When the file holds no id, or an array of anything but strings.
        `FileNotFoundError`: When there is no such file.
    """
    content = read_bytes(path)
    if content.startswith(b"\x93NUMPY"):
        try:
            array = np.load(io.BytesIO(content), allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise BenchmarkError(f"{path}: found {error}, expected an array of strings.") from error
        if array.ndim != 1 or array.dtype.kind not in "US":
            raise BenchmarkError(f"{path}: found {array.dtype} of shape {array.shape}, expected a list of strings.")
        ids = [item.decode() if isinstance(item, bytes) else item for item in array.tolist()]
    else:
        # `splitlines` would also cut at characters that no writer means as the end of a line.
        ids = [line.strip() for line in read_text(path).split("\n") if line.strip()]
        if ids and "video_id" in ids[0].split(","):
            ids = [row["video_id"] for row in read_csv(path)]
    if not ids:
        raise BenchmarkError(f"{path}: found no video, expected a list of ids.")
    return ids


class PlainUnpickler(pickle.Unpickler):
    """Unpickler of containers, strings and numbers that refuses everything that would import or call something."""

    def find_class(self, module, name):
        """Refuse every name that a pickle would import."""
        raise pickle.UnpicklingError(f"it names {module}.{name}, and annotations need no code")


def read_pickle(path: Path) -> Any:
    """Read a pickle that holds only containers, strings and numbers.

    Raises:
        `BenchmarkError`: When it names anything to import, or is not a pickle.
        `FileNotFoundError`: When there is no such file.
    """
    content = read_bytes(path)
    try:
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
    ) as error:
        reason = " ".join(str(error).split())
        raise BenchmarkError(
            f"{path}: found an invalid pickle ({reason}), expected a pickle of plain data."
        ) from error


__all__ = ["AnnotationFiles", "read_bytes", "read_csv", "read_ids", "read_json", "read_pickle", "read_text"]
