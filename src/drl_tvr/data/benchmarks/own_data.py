"""Load your own videos and captions: a CSV, TSV, JSON or JSON Lines file, or a folder in the form of `datasets`."""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import BenchmarkError
from ..folder import TABLE_EXTENSIONS, is_inside
from ..records import SPLITS, RetrievalData, check_split
from .assembly import OfficialSplit, assemble
from .columns import SPLIT_NAMES
from .own_rows import WHOLE, Times, could_describe_videos, describes_videos, read_rows
from .safe_paths import SafePaths


Segment = tuple[str, Times]  # path of a video, and start and end


@dataclass
class Tables:
    """The rows of one or several tables, by split.

    Args:
        files (`list[Path]`): The tables.
        paths (`SafePaths`): The folder of the videos.
        sizes (`dict[str, int]`): Number of rows per split.
        segments (`dict[str, dict]`): The videos of each split, each once, in order.
        pairs (`dict[str, list]`): Video and caption, in order.
    """

    files: list[Path]
    paths: SafePaths
    sizes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SPLITS, 0))
    segments: dict[str, dict[Segment, Segment]] = field(default_factory=lambda: {split: {} for split in SPLITS})
    pairs: dict[str, list[tuple[Segment, str]]] = field(default_factory=lambda: {split: [] for split in SPLITS})


def is_own_data(name: str | os.PathLike) -> bool:
    """Return whether a name is the path of your own file or folder rather than a benchmark's name."""
    path = os.fspath(name)
    return bool(path) and (path.endswith(TABLE_EXTENSIONS) or os.path.isdir(path))


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
        `BenchmarkError`: For a missing or unclear column, an invalid value, a path that leads out of the root, a split
            without rows, or missing files.
    """
    path = Path(path)
    name = path.name or path.resolve().name
    check_split(name, split)
    tables = read_tables(path, root)
    has_validation = tables.sizes["validation"] > 0
    part = "train" if split == "validation" and not has_validation and hold_out else split
    if not tables.sizes[part]:
        found = ", ".join(f"{number} rows of {each}" for each, number in tables.sizes.items() if number)
        raise BenchmarkError(
            f"{path}: found {found}, expected rows of {part}. A column 'split', or the name of a file or subfolder "
            "(train, validation, test), says which split a row belongs to; without either all rows are test."
        )
    where = Path(root) if root is not None else path if path.is_dir() else path.parent
    # Relative paths, so that the same videos are held out wherever the folder lies.
    relative = {file: os.path.relpath(file, where) for file in {segment[0] for segment in tables.segments[part]}}
    ids = {segment: video_id_of(relative[segment[0]], *segment[1]) for segment in tables.segments[part]}
    files = {video_id: segment[0] for segment, video_id in ids.items()}
    pairs = tables.pairs[part]
    official = OfficialSplit(
        name=name,
        part=part,
        video_ids=list(files),
        pairs=((ids[segment], caption) for segment, caption in pairs),
        find=lambda video_id: tables.paths.find(files[video_id]),
        expected=(len(files), len(pairs)),
        protocol="own data, compares with no published result",
        annotation_files=[os.path.relpath(file, path) if path.is_dir() else file.name for file in tables.files],
        where=str(where),
        segments={video_id: times for (_, times), video_id in ids.items() if times is not WHOLE},
        sources={video_id: relative[file] for video_id, file in files.items()} if part == "train" else {},
        explain=lambda video_id: tables.paths.explain(files[video_id]),
    )
    return assemble(official, split, hold_out and not has_validation, allow_missing)


def read_tables(path: Path, root: str | os.PathLike | None) -> Tables:
    """Read the tables of a path.

    Raises:
        `BenchmarkError`: When there is no such path or root, or for an invalid table.
    """
    if not (path.is_file() or path.is_dir()):
        raise BenchmarkError(f"{os.fspath(path)!r}: found no file or folder, expected one that exists.")
    if root is not None and not os.path.isdir(root):
        raise BenchmarkError(f"{path}, `root`: found {os.fspath(root)!r}, expected a folder that exists.")
    top = path if path.is_dir() else path.parent
    tables = Tables(find_files(path) if path.is_dir() else [path], SafePaths(top if root is None else root))
    for file in tables.files:
        base = file.parent if root is None else root
        for row in read_rows(file, tables.paths, base, split_of_name(file, path) or "test"):
            segment = (row.path, row.times)
            segment = tables.segments[row.split].setdefault(segment, segment)
            tables.sizes[row.split] += 1
            tables.pairs[row.split] += [(segment, caption) for caption in row.captions]
    return tables


def splits_of(path: str | os.PathLike, root: str | os.PathLike | None = None) -> list[str]:
    """Return the splits that have rows.

    Raises:
        `BenchmarkError`: As for `load`.
    """
    return [split for split, number in read_tables(Path(path), root).sizes.items() if number]


def find_files(folder: Path) -> list[Path]:
    """Find the tables of a folder.

    They are `metadata.*` in the folder and in subfolders that are named after a split, otherwise tables that are named
    after a split. A table of something else, such as results, is left out where another one describes videos.

    Raises:
        `BenchmarkError`: When there is no such table, or it is a link that leads out of the folder.
    """
    tables = sorted(path for path in folder.iterdir() if is_table(path))
    named = sorted(path for path in folder.glob("*/metadata.*") if is_table(path) and split_of_name(path, folder))
    groups = [
        [path for path in tables if path.stem == "metadata"] + named,
        [path for path in tables if split_of_name(path, folder)],
    ]
    groups = [files for files in groups if files]
    if not groups:
        raise BenchmarkError(
            f"{folder}: found {', '.join(path.name for path in tables[:3]) or 'no table'}, expected metadata.csv or "
            "metadata.jsonl, a subfolder train or test with one, or train.csv or test.jsonl."
        )
    for files in groups:
        check_links(files, folder)
        kept = [path for path in files if could_describe_videos(path)] if sum(map(len, groups)) > 1 else files
        if kept:
            return kept
    return groups[0]


def check_links(files: list[Path], folder: Path) -> None:
    """Refuse tables that are links out of the folder.

    Raises:
        `BenchmarkError`: When one is.
    """
    real_folder = os.path.realpath(folder)
    for path in files:
        real_path = os.path.realpath(path)
        if not is_inside(real_path, real_folder):
            raise BenchmarkError(f"{path}: found a link to {real_path}, expected a table that lies in {folder}.")


def is_table(path: Path) -> bool:
    """Return whether a path is called like a table, and is not a folder or a pipe."""
    return path.suffix in TABLE_EXTENSIONS and (path.is_file() or not path.exists())  # a link may lead nowhere


def has_own_data(folder: str | os.PathLike) -> bool:
    """Return whether a table of a folder describes videos; those of a benchmark may only be named like yours."""
    try:
        files = find_files(Path(folder))
    except BenchmarkError:
        return False
    return any(map(describes_videos, files))


def find_faults(folder: str | os.PathLike) -> tuple[dict[str, str], list[str]]:
    """Find what is wrong with the tables of a folder.

    Args:
        folder (`str` or `os.PathLike`): The folder.

    Returns:
        `tuple[dict[str, str], list[str]]`: The tables that cannot be used, each with the reason, and the ids of the
            videos without a file in the other tables.
    """
    paths, faults, missing = SafePaths(folder), {}, {}
    for file in find_files(Path(folder)):
        try:
            rows = list(read_rows(file, paths, file.parent, "test"))
        except (BenchmarkError, OSError) as error:
            faults[str(file)] = str(error)
            continue
        ids = (video_id_of(os.path.relpath(row.path, folder), *row.times) for row in rows if not paths.find(row.path))
        missing |= dict.fromkeys(ids)
    return faults, list(missing)


def split_of_name(file: Path, top: Path) -> str | None:
    """Return the split in the name of a file, or of its folder below `top`, as `datasets` reads names."""
    names = [file.stem] + ([file.parent.name] if top in file.parent.parents else [])
    words = [word for name in names for word in re.split(r"[^a-z0-9]+", name.lower())]
    return next((SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES), None)


def video_id_of(path: str, start: float | None, end: float | None) -> str:
    """Return the path below the root, and the segment when there is one.

    Example:

    ```python
    >>> from drl_tvr.data.benchmarks.own_data import video_id_of

    >>> video_id_of("cats/1.mp4", 2.5, None)
    'cats/1.mp4#2.5-'
    ```
    """
    if start is None and end is None:
        return path
    return f"{path}#{start or 0!r}-{'' if end is None else repr(end)}"
