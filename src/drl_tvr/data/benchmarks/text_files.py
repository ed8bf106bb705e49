"""Read JSON, JSON Lines, CSV and TSV files, gzipped or not, so that every row arrives or its line is named."""

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import BenchmarkError, brief
from ..folder import VIDEO_EXTENSIONS, extension_of


MAX_UNPACKED = 2**28  # bytes; the largest annotation file of a benchmark has some 60 million


def read_bytes(path: Path) -> bytes:
    """Read a file, and unpack it when it is gzipped.

    Raises:
        `BenchmarkError`: When it is gzipped and damaged, or unpacks to more than 256 MiB.
        `FileNotFoundError`: When there is no such file.
    """
    content = path.read_bytes()
    if not content.startswith(b"\x1f\x8b"):
        return content
    try:
        unpacked = gzip.GzipFile(fileobj=io.BytesIO(content)).read(MAX_UNPACKED + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise BenchmarkError(f"{path}: found damaged gzip data ({error}), expected a whole file.") from error
    if len(unpacked) > MAX_UNPACKED:
        raise BenchmarkError(
            f"{path}: found gzip data of more than {MAX_UNPACKED:,} bytes, expected at most that. Unpack the file "
            "if it is what you want."
        )
    return unpacked


def read_text(path: Path) -> str:
    """Read a UTF-8 file, with or without a byte order mark.

    Raises:
        `BenchmarkError`: When it is in another encoding; names the line.
        `FileNotFoundError`: When there is no such file.
    """
    return decode_text(path, read_bytes(path))


def decode_text(path: Path, content: bytes) -> str:
    """Decode UTF-8, with or without a byte order mark.

    Args:
        path (`Path`): The file, for messages.
        content (`bytes`): Its content.

    Raises:
        `BenchmarkError`: When it is in another encoding, or holds a NUL character; names the line.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise BenchmarkError(f"{path}: found another encoding ({error}; line {line}), expected UTF-8.") from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise BenchmarkError(f"{path}: found a NUL character (line {line}), expected text in UTF-8.")
    return text


def read_json(path: Path) -> Any:
    """Read the value of a JSON file, or the list of the values of a JSON Lines file.

    Raises:
        `BenchmarkError`: When it is neither; names the line of JSON Lines.
        `FileNotFoundError`: When there is no such file.
    """
    text = read_text(path)
    try:
        return json.loads(text, object_pairs_hook=unique_keys)
    except (ValueError, RecursionError) as error:
        return list(json_lines(path, text, error))


def iterate_json(path: Path) -> Iterator[Any]:
    """Yield the items of a list in a JSON file, or the values of a JSON Lines file one by one.

    Raises:
        `BenchmarkError`: As for `read_json`.
        `FileNotFoundError`: When there is no such file.
    """
    text = read_text(path)
    try:
        content = json.loads(text, object_pairs_hook=unique_keys)
    except (ValueError, RecursionError) as error:
        values = json_lines(path, text, error)
    else:
        values = content if isinstance(content, list) else [content]
    yield from values


def json_lines(path: Path, text: str, whole: Exception) -> Iterator[Any]:
    """Yield the values of JSON Lines.

    Args:
        path (`Path`): The file, for messages.
        text (`str`): Its text.
        whole (`Exception`): Reason why the text is not one JSON value.

    Raises:
        `BenchmarkError`: When a line is not JSON.
    """
    is_first, number, end = True, 0, -1
    # Not `splitlines`, which also cuts at characters that JSON allows within a string.
    while end < len(text):
        begin, number = end + 1, number + 1
        end = text.find("\n", begin)
        end = len(text) if end < 0 else end
        line = text[begin:end]
        if not line.strip():
            continue
        try:
            value = json.loads(line, object_pairs_hook=unique_keys)
        except (ValueError, RecursionError) as error:
            # When the first line alone is not JSON, the file was meant as one JSON value, not as JSON Lines.
            where, reason = (path, whole) if is_first else (f"{path}, line {number}", error)
            raise BenchmarkError(f"{where}: found invalid JSON ({reason}), expected JSON or JSON Lines.") from error
        is_first = False
        yield value
    if is_first:
        raise BenchmarkError(f"{path}: found an empty file, expected JSON or JSON Lines.")


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make the mapping of a JSON object, and refuse a key that occurs twice, whose first value would be lost."""
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        seen = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise ValueError(f"the key {brief(twice)} occurs twice")
    return mapping


def read_csv(path: Path, *columns: str, delimiter: str = ",") -> list[dict[str, str]]:
    """Read the rows of a CSV file with a header.

    Args:
        path (`Path`): The file.
        columns (`str`): Columns that it must have.
        delimiter (`str`, *optional*, defaults to `","`): The character between fields.

    Returns:
        `list[dict[str, str]]`: One entry per row.

    Raises:
        `BenchmarkError`: When a column is missing, or for a row as in `iterate_csv`.
        `FileNotFoundError`: When there is no such file.
    """
    rows = iterate_csv(path, delimiter)
    header = next(rows, [])
    for column in columns:
        if column not in header:
            raise BenchmarkError(f"{path}: found the columns {header}, expected a column {column!r}.")
    return [dict(zip(header, cells, strict=True)) for cells in rows]


def iterate_csv(path: Path, delimiter: str = ",") -> Iterator[list[str]]:
    """Yield the cells of the header and of each row of a CSV or TSV file; lines without a value are left out.

    A cell of a CSV file that begins with a quotation mark must end with one, and has its own quotation marks doubled.
    A cell of several lines that looks like several rows is refused; so is a caption whose later lines all have as many
    parts between commas as the table has columns. In a TSV file quotation marks mean this only when all rows then
    are whole rows. Otherwise they are letters.

    Args:
        path (`Path`): The file.
        delimiter (`str`, *optional*, defaults to `","`): The character between cells: a tab for TSV.

    Raises:
        `BenchmarkError`: When a quotation mark is not closed, when a row has more or fewer cells than the header, or
            when two columns have one name; names the line.
        `FileNotFoundError`: When there is no such file.
    """
    content = read_bytes(path)
    decode_text(path, content)  # refuses another encoding, and names its line
    has_quotes = b'"' in content
    if delimiter == "\t" and has_quotes:
        try:
            for _ in rows_of_csv(path, content, delimiter, has_quotes):
                pass
        except BenchmarkError:
            has_quotes = False
    yield from rows_of_csv(path, content, delimiter, has_quotes)


def rows_of_csv(path: Path, content: bytes, delimiter: str, has_quotes: bool) -> Iterator[list[str]]:
    """Yield the rows of a CSV file, with or without quotation marks that enclose cells.

    Raises:
        `BenchmarkError`: As for `iterate_csv`.
    """
    lines = io.TextIOWrapper(io.BytesIO(content), encoding="utf-8-sig", newline="")
    quoting = csv.QUOTE_MINIMAL if has_quotes else csv.QUOTE_NONE
    reader = csv.reader(lines, delimiter=delimiter, quoting=quoting, strict=True)
    num_cells = None
    while True:
        line = reader.line_num + 1
        where = f"{path}, line {line}"
        try:
            cells = next(reader, None)
        except csv.Error as error:
            is_long = "field limit" in str(error)
            expected = (
                f"cells of at most {csv.field_size_limit():,} characters; a quotation mark that is not closed makes a "
                "longer one"
                if is_long
                else "cells whose quotation marks are closed, and doubled inside"
            )
            raise BenchmarkError(
                f"{where}: found invalid CSV ({error}; read to line {reader.line_num}), expected {expected}."
            ) from error
        if cells is None:
            return
        if not any(map(str.strip, cells)):
            continue
        if num_cells is None:
            num_cells = len(cells)
            check_header(cells, delimiter, where)
        elif len(cells) != num_cells:
            raise BenchmarkError(f"{where}: found {brief(cells)}, expected {num_cells} fields.")
        is_long = reader.line_num > line
        swallowed = next((cell for cell in cells if is_long and holds_row(cell, delimiter, num_cells)), None)
        if swallowed is not None:
            raise BenchmarkError(
                f"{where}: found quotation marks around what looks like several rows ({brief(swallowed)}), expected "
                "one row. Double the quotation marks that belong to a text, and enclose the text in two more."
            )
        yield cells


def check_header(columns: list[str], delimiter: str, where: str) -> None:
    """Refuse columns of one name, and a header that has another delimiter.

    Raises:
        `BenchmarkError`: In these cases.
    """
    seen = set()
    twice = next((column for column in columns if column and (column in seen or seen.add(column))), None)
    if twice is not None:
        raise BenchmarkError(f"{where}: found two columns {twice!r}, expected one.")
    if len(columns) == 1 and any(character in columns[0] for character in ",;|\t"):
        expected = "tabs" if delimiter == "\t" else "commas"
        raise BenchmarkError(f"{where}: found the header {brief(columns[0])}, expected columns between {expected}.")


def holds_row(cell: str, delimiter: str, num_cells: int) -> bool:
    """Return whether a cell of several lines holds rows, which a quotation mark that was not closed made a part of it.

    It does when it has a tab of a TSV file, a video's name beside a delimiter, or as many parts as there are columns
    in each line but the first.
    """
    lines = cell.splitlines()
    if len(lines) < 2:
        return False
    # No text has tabs, but many have commas.
    if delimiter == "\t" and "\t" in cell:
        return True
    parts = [line.split(delimiter) for line in lines]
    if any(len(of) > 1 and any(extension_of(part.strip()) in VIDEO_EXTENSIONS for part in of) for of in parts):
        return True
    return num_cells > 1 and all(len(of) == num_cells for of in parts[1:])


__all__ = ["iterate_csv", "iterate_json", "read_bytes", "read_csv", "read_json", "read_text"]
