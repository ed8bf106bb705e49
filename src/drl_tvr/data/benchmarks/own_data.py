"""Load your own videos and captions: a CSV, TSV, JSON or JSON Lines file, or a folder in the form of `datasets`."""

import math
import os
import re
from pathlib import Path
from typing import Any

from ..errors import BenchmarkError
from ..folder import is_within
from ..records import RetrievalData, check_split
from .annotation_files import read_csv, read_json
from .assembly import OfficialSplit, assemble


SUFFIXES = (".csv", ".tsv", ".json", ".jsonl")
VIDEO_KEYS = ("video", "file_name", "video_path", "path")
CAPTION_KEYS = ("caption", "captions", "text", "sentence")
SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "validate", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}


def is_own_data(name: str | os.PathLike) -> bool:
    """Return whether a name is the path of your own file or folder rather than a benchmark's name."""
    path = os.fspath(name)
    return bool(path) and (path.endswith(SUFFIXES) or os.path.isdir(path))


def load(
    path: str | os.PathLike,
    root: str | os.PathLike | None,
    split: str,
    hold_out: bool,
    allow_missing: bool,
) -> RetrievalData:
    """Load a split of your own data.

    Args:
        path (`str` or `os.PathLike`): The file, or a folder that holds `metadata.csv` or `metadata.jsonl` (itself or
            in its subfolders `train`, `validation` and `test`), or `train.csv`, `test.jsonl` and so on.
        root (`str` or `os.PathLike`, *optional*): Folder that video paths are relative to and may not leave. By
            default they are relative to the folder of the file that names them.
        split (`str`): `"train"`, `"validation"` or `"test"`. The split of a row is given by its column `split`,
            otherwise by the name of its file or subfolder, otherwise it is test.
        hold_out (`bool`): Whether a tenth of the training videos, at most 500, are the validation split when no row
            belongs to validation.
        allow_missing (`bool`): Whether to go on without the files that are missing.

    Returns:
        [`RetrievalData`]: Rows with the same path, start and end are captions of one video.

    Raises:
        `BenchmarkError`: For a missing column, an invalid value, a path that leads out of the root, a split without
            rows, or missing files.
    """
    path = Path(path)
    name = path.name or path.resolve().name
    check_split(name, split)
    files, rows = read_tables(path, root)
    sizes = {each: sum(row["split"] == each for row in rows) for each in SPLIT_NAMES.values()}
    has_validation = sizes["validation"] > 0
    part = "train" if split == "validation" and not has_validation and hold_out else split
    if not sizes[part]:
        found = ", ".join(f"{number} rows of {each}" for each, number in sizes.items() if number) or "no rows"
        raise BenchmarkError(
            f"{path}: found {found}, expected rows of {part}. A column 'split', or the name of a file or subfolder "
            "(train, validation, test), says which split a row belongs to; without either all rows are test."
        )
    rows = [row for row in rows if row["split"] == part]
    keys = [(row["path"], row["start"], row["end"]) for row in rows]
    where = Path(root) if root is not None else path if path.is_dir() else path.parent
    ids = {key: video_id_of(key, where) for key in keys}
    paths = {ids[key]: key[0] for key in ids}
    pairs = [(ids[key], caption) for key, row in zip(keys, rows, strict=True) for caption in row["captions"]]
    official = OfficialSplit(
        name=name,
        part=part,
        video_ids=list(ids.values()),
        pairs=pairs,
        find=lambda video_id: [paths[video_id]] if os.path.isfile(paths[video_id]) else [],
        expected=(len(ids), len(pairs)),
        protocol="own data, compares with no published result",
        annotation_files=[os.path.relpath(file, path) if path.is_dir() else file.name for file in files],
        where=str(where),
        segments={video_id: key[1:] for key, video_id in ids.items()},
        # Relative paths, so that the same videos are held out wherever the folder lies.
        sources={video_id: os.path.relpath(path, where) for video_id, path in paths.items()},
    )
    return assemble(official, split, hold_out and not has_validation, allow_missing)


def read_tables(path: Path, root: str | os.PathLike | None) -> tuple[list[Path], list[dict[str, Any]]]:
    """Read the tables of a path; return their files and their rows.

    Raises:
        `BenchmarkError`: When there is no such path, or a value is invalid.
    """
    if not path.exists():
        raise BenchmarkError(f"{os.fspath(path)!r}: found no file or folder, expected one that exists.")
    files = find_files(path) if path.is_dir() else [path]
    return files, [row for file in files for row in read_rows(file, path, None if root is None else Path(root))]


def splits_of(path: str | os.PathLike, root: str | os.PathLike | None = None) -> list[str]:
    """Return the splits that have rows.

    Raises:
        `BenchmarkError`: As for `load`.
    """
    _, rows = read_tables(Path(path), root)
    found = {row["split"] for row in rows}
    return [split for split in dict.fromkeys(SPLIT_NAMES.values()) if split in found]


def find_files(folder: Path) -> list[Path]:
    """Find the tables of a folder.

    They are `metadata.*` in the folder and in subfolders that are named after a split, otherwise tables that are named
    after a split.

    Raises:
        `BenchmarkError`: When there is no such table.
    """
    tables = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES)
    named = sorted(
        path for path in folder.glob("*/metadata.*") if path.suffix in SUFFIXES and split_of_name(path, folder)
    )
    files = [path for path in tables if path.stem == "metadata"] + named
    files = files or [path for path in tables if split_of_name(path, folder)]
    if not files:
        raise BenchmarkError(
            f"{folder}: found {', '.join(path.name for path in tables[:3]) or 'no table'}, expected metadata.csv or "
            "metadata.jsonl, a subfolder train or test with one, or train.csv or test.jsonl."
        )
    return files


def split_of_name(file: Path, top: Path) -> str | None:
    """Return the split in the name of a file, or of its folder below `top`, as `datasets` reads names."""
    names = [file.stem] + ([file.parent.name] if top in file.parent.parents else [])
    words = [word for name in names for word in re.split(r"[^a-z0-9]+", name.lower())]
    return next((SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES), None)


def read_rows(file: Path, top: Path, root: Path | None) -> list[dict[str, Any]]:
    """Read the rows of a table as `path`, `captions`, `start`, `end` and `split`.

    Raises:
        `BenchmarkError`: For a missing column or an invalid value; names file and row.
    """
    if file.suffix in (".csv", ".tsv"):
        table = read_csv(file, delimiter="\t" if file.suffix == ".tsv" else ",")
    else:
        table = read_json(file)
    if isinstance(table, dict):
        table = [table]  # JSON Lines of one line
    if not isinstance(table, list) or not table or not all(isinstance(row, dict) for row in table):
        raise BenchmarkError(f"{file}: found {table!r:.200}, expected rows with a video and a caption.")
    keys = []
    for known in (VIDEO_KEYS, CAPTION_KEYS):
        keys.append(next((key for key in known if key in table[0]), None))
        if keys[-1] is None:
            raise BenchmarkError(
                f"{file}: found the columns {list(table[0])}, expected a column {known[0]!r} (or "
                f"{', '.join(known[1:])})."
            )
    paths = SafePaths(root or file.parent, root or (top if top.is_dir() else file.parent))
    of_file = split_of_name(file, top) or "test"
    return [read_row(row, *keys, paths, of_file, f"{file}, row {number}") for number, row in enumerate(table, start=1)]


def read_row(
    row: dict, video_key: str, caption_key: str, paths: "SafePaths", of_file: str, where: str
) -> dict[str, Any]:
    """Read one row.

    Raises:
        `BenchmarkError`: For an invalid value.
    """
    video, captions = row.get(video_key), row.get(caption_key)
    captions = [captions] if isinstance(captions, str) else captions
    if not isinstance(video, str) or not video.strip():
        raise BenchmarkError(f"{where}, {video_key!r}: found {video!r}, expected the path of a video.")
    if not isinstance(captions, list) or not captions or not all(isinstance(text, str) for text in captions):
        raise BenchmarkError(
            f"{where}, {caption_key!r}: found {captions!r:.200}, expected a caption or a list of them."
        )
    start, end = (read_seconds(row.get(key), key, where) for key in ("start", "end"))
    if end is not None and end <= (start or 0):
        raise BenchmarkError(f"{where}, 'end': found {end}, expected more than the start of {start or 0} s.")
    split = SPLIT_NAMES.get(str(row.get("split") or of_file).lower())
    if split is None:
        raise BenchmarkError(f"{where}, 'split': found {row['split']!r}, expected train, validation or test.")
    return {"path": paths.resolve(video, where), "captions": captions, "start": start, "end": end, "split": split}


class SafePaths:
    """Video paths that must not lead out of a folder, neither by `..`, nor as absolute paths, nor through links.

    Args:
        base (`Path`): The folder that relative paths are relative to.
        limit (`Path`): The folder that no path may leave.
    """

    def __init__(self, base: Path, limit: Path):
        self.base = base
        self.limit = os.path.realpath(limit)
        self.real_folders: dict[str, str] = {}

    def resolve(self, video: str, where: str) -> str:
        """Return the absolute path of a video.

        Raises:
            `BenchmarkError`: When it leads out of the folder; the message begins with `where`.
        """
        path = os.path.abspath(self.base / video)
        folder, name = os.path.split(path)
        if folder not in self.real_folders:
            self.real_folders[folder] = os.path.realpath(folder)
        real = os.path.realpath(path) if os.path.islink(path) else os.path.join(self.real_folders[folder], name)
        if not is_within(real, self.limit):
            raise BenchmarkError(
                f"{where}: found the video {video!r}, expected a path that does not lead out of {self.limit}. Pass a "
                "root that holds it."
            )
        return path


def read_seconds(value: Any, key: str, where: str) -> float | None:
    """Read a time in seconds; `None` for an empty cell.

    Raises:
        `BenchmarkError`: When it is not a number of at least 0.
    """
    if value is None or value == "":
        return None
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise BenchmarkError(f"{where}, {key!r}: found {value!r}, expected a number of seconds.")
    return seconds


def video_id_of(key: tuple[str, float | None, float | None], root: Path) -> str:
    """Return the path below the root, and the segment when there is one."""
    path, start, end = key
    video_id = os.path.relpath(path, root)
    if start is None and end is None:
        return video_id
    return f"{video_id}#{start or 0!r}-{'' if end is None else repr(end)}"
