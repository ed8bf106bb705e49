"""A user's own videos and captions: a CSV, TSV, JSON or JSON Lines file, or a folder as `datasets` knows it."""

import math
import os
import re
from pathlib import Path
from typing import Any

from ..errors import BenchmarkError
from ..records import RetrievalData
from .annotation_files import read_csv, read_json
from .assembly import OfficialSplit, assemble, check_split
from .folder import is_within


SUFFIXES = (".csv", ".tsv", ".json", ".jsonl")
VIDEO_KEYS = ("video", "file_name", "video_path", "path")
CAPTION_KEYS = ("caption", "captions", "text", "sentence")
SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "validate", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}


def is_own_data(name: str | os.PathLike) -> bool:
    """Whether a name is not a benchmark's but the path of a file or folder of the user's own."""
    path = os.fspath(name)
    return bool(path) and (path.endswith(SUFFIXES) or os.path.isdir(path))


def load(
    path: str | os.PathLike,
    root: str | os.PathLike | None,
    split: str,
    hold_out: bool = True,
    allow_missing: bool = False,
) -> RetrievalData:
    """Load a split of one's own data.

    Args:
        path (`str` or `os.PathLike`): The file, or a folder that holds `metadata.csv` or `metadata.jsonl` (itself or
            its subfolders `train`, `validation` and `test`), or `train.csv`, `test.jsonl` and so on.
        root (`str` or `os.PathLike`, *optional*): Folder that video paths are relative to and may not leave. By
            default they are relative to the folder of the file that names them.
        split (`str`): `"train"`, `"validation"` or `"test"`. A row's split is what its column `split` says, otherwise
            what the name of its file or subfolder says, otherwise test.
        hold_out (`bool`, *optional*, defaults to `True`): Whether a tenth of the training videos, at most 500, are the
            validation split where no row is.
        allow_missing (`bool`, *optional*, defaults to `False`): Go on without the files that are missing.

    Returns:
        [`RetrievalData`]: Rows with one path, start and end are captions of one video.

    Raises:
        `BenchmarkError`: For a missing column, a value that is none, a path that leads out of the root, a split
            without rows, or missing files.
    """
    path = Path(path)
    name = path.name or path.resolve().name
    check_split(name, split)
    files, rows = read_tables(path, root)
    sizes = {each: sum(row["split"] == each for row in rows) for each in SPLIT_NAMES.values()}
    has_validation = sizes["validation"] > 0
    part = "train" if split == "validation" and not has_validation and hold_out else split
    if not sizes[part]:
        found = ", ".join(f"{number} of {each}" for each, number in sizes.items() if number) or "none at all"
        raise BenchmarkError(
            f"{path} has no rows of {part}; it has {found}. A column 'split', or the name of a file or subfolder "
            "(train, validation, test), says which rows are whose; without either all are test."
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
        # Relative, or the choice of what is held out would change with the folder's place.
        sources={video_id: os.path.relpath(path, where) for video_id, path in paths.items()},
    )
    return assemble(official, split, hold_out and not has_validation, allow_missing)


def read_tables(path: Path, root: str | os.PathLike | None) -> tuple[list[Path], list[dict[str, Any]]]:
    """The tables of a path, and their rows.

    Raises:
        `BenchmarkError`: When there is no such path, or a row's value is none.
    """
    if not path.exists():
        raise BenchmarkError(f"There is no file or folder {os.fspath(path)!r}.")
    files = find_files(path) if path.is_dir() else [path]
    return files, [row for file in files for row in read_rows(file, path, None if root is None else Path(root))]


def splits_of(path: str | os.PathLike, root: str | os.PathLike | None = None) -> list[str]:
    """The splits that have rows.

    Raises:
        `BenchmarkError`: As `load`.
    """
    _, rows = read_tables(Path(path), root)
    found = {row["split"] for row in rows}
    return [split for split in dict.fromkeys(SPLIT_NAMES.values()) if split in found]


def find_files(folder: Path) -> list[Path]:
    """The tables of a folder: `metadata.*` in it or in subfolders that a split is named after, or tables that are.

    Raises:
        `BenchmarkError`: When there is none.
    """
    tables = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES)
    named = sorted(
        path for path in folder.glob("*/metadata.*") if path.suffix in SUFFIXES and split_of_name(path, folder)
    )
    files = [path for path in tables if path.stem == "metadata"] + named
    files = files or [path for path in tables if split_of_name(path, folder)]
    if not files:
        raise BenchmarkError(
            f"{folder} holds no metadata.csv or metadata.jsonl, no subfolder train or test with one, and no train.csv "
            f"or test.jsonl; found {', '.join(path.name for path in tables[:3]) or 'no table'}."
        )
    return files


def split_of_name(file: Path, top: Path) -> str | None:
    """The split that the name of a file, or of its folder below `top`, says, as `datasets` reads it."""
    names = [file.stem] + ([file.parent.name] if top in file.parent.parents else [])
    words = [word for name in names for word in re.split(r"[^a-z0-9]+", name.lower())]
    return next((SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES), None)


def read_rows(file: Path, top: Path, root: Path | None) -> list[dict[str, Any]]:
    """Rows of a table as `path`, `captions`, `start`, `end` and `split`.

    Raises:
        `BenchmarkError`: For a missing column or a value that is none; names file and row.
    """
    if file.suffix in (".csv", ".tsv"):
        table = read_csv(file, delimiter="\t" if file.suffix == ".tsv" else ",")
    else:
        table = read_json(file)
    if isinstance(table, dict):
        table = [table]  # JSON Lines of one line
    if not isinstance(table, list) or not table or not all(isinstance(row, dict) for row in table):
        raise BenchmarkError(f"{file} must hold rows with a video and a caption, found {table!r:.200}.")
    keys = []
    for known in (VIDEO_KEYS, CAPTION_KEYS):
        keys.append(next((key for key in known if key in table[0]), None))
        if keys[-1] is None:
            raise BenchmarkError(
                f"{file} needs a column {known[0]!r} (or {', '.join(known[1:])}), found {list(table[0])}."
            )
    paths = SafePaths(root or file.parent, root or (top if top.is_dir() else file.parent))
    of_file = split_of_name(file, top) or "test"
    return [read_row(row, *keys, paths, of_file, f"{file}, row {number}") for number, row in enumerate(table, start=1)]


def read_row(
    row: dict, video_key: str, caption_key: str, paths: "SafePaths", of_file: str, where: str
) -> dict[str, Any]:
    """One row.

    Raises:
        `BenchmarkError`: For a value that is none.
    """
    video, captions = row.get(video_key), row.get(caption_key)
    captions = [captions] if isinstance(captions, str) else captions
    if not isinstance(video, str) or not video.strip():
        raise BenchmarkError(f"{where}: {video_key!r} must be the path of a video, found {video!r}.")
    if not isinstance(captions, list) or not captions or not all(isinstance(text, str) for text in captions):
        raise BenchmarkError(f"{where}: {caption_key!r} must be a caption or a list of them, found {captions!r:.200}.")
    start, end = (read_seconds(row.get(key), key, where) for key in ("start", "end"))
    if end is not None and end <= (start or 0):
        raise BenchmarkError(f"{where}: 'end' must be after 'start', found {start} and {end}.")
    split = SPLIT_NAMES.get(str(row.get("split") or of_file).lower())
    if split is None:
        raise BenchmarkError(f"{where}: 'split' must be train, validation or test, found {row['split']!r}.")
    return {"path": paths.resolve(video, where), "captions": captions, "start": start, "end": end, "split": split}


class SafePaths:
    """Resolves video paths that must not lead out of a folder, by `..`, absolute or through links.

    Args:
        base (`Path`): What relative paths are relative to.
        limit (`Path`): What they may not leave.
    """

    def __init__(self, base: Path, limit: Path):
        self.base = base
        self.limit = os.path.realpath(limit)
        self._real_folders: dict[str, str] = {}

    def resolve(self, video: str, where: str) -> str:
        """The absolute path.

        Raises:
            `BenchmarkError`: When it leads out of the folder; says `where`.
        """
        path = os.path.abspath(self.base / video)
        folder, name = os.path.split(path)
        if folder not in self._real_folders:
            self._real_folders[folder] = os.path.realpath(folder)
        real = os.path.realpath(path) if os.path.islink(path) else os.path.join(self._real_folders[folder], name)
        if not is_within(real, self.limit):
            raise BenchmarkError(f"{where}: the video {video!r} leads out of {self.limit}. Pass a root that holds it.")
        return path


def read_seconds(value: Any, key: str, where: str) -> float | None:
    """A time, or `None` for an empty cell.

    Raises:
        `BenchmarkError`: When it is no number of seconds.
    """
    if value is None or value == "":
        return None
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise BenchmarkError(f"{where}: {key!r} must be in seconds, found {value!r}.")
    return seconds


def video_id_of(key: tuple[str, float | None, float | None], root: Path) -> str:
    """The path below the root, and the segment where there is one."""
    path, start, end = key
    video_id = os.path.relpath(path, root)
    if start is None and end is None:
        return video_id
    return f"{video_id}#{start or 0!r}-{'' if end is None else repr(end)}"
