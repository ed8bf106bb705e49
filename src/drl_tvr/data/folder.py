"""Scan a folder for videos and annotation files, once and by one rule, and read nothing that lies outside of it."""

import codecs
import functools
import heapq
import os
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from .errors import BenchmarkError


# Extensions of video files, in the order of preference among files of one stem. The official code has the first two.
VIDEO_EXTENSIONS = tuple(
    ".mp4 .webm .mkv .avi .mov .m4v .mpg .mpeg .wmv .flv .3gp .3gpp .3g2 .mts .m2ts .ts .qt .asf .divx .ogv .vob .gif "
    ".apng .dv .f4v .ivf .m1v .m2t .m2v .mjpeg .mjpg .mpe .mxf .nut .ogm .rm .rmvb .y4m".split()
)
TABLE_EXTENSIONS = (".csv", ".tsv", ".json", ".jsonl")
# Extensions of files that are not videos, whatever their first bytes look like.
OTHER_EXTENSIONS = frozenset(TABLE_EXTENSIONS) | frozenset(
    ".7z .aac .ac3 .aif .aiff .arrow .bin .bmp .bz2 .ckpt .db .doc .docx .flac .gz .h5 .hdf5 .heic .html .ico "
    ".jpeg .jpg .lmdb .lock .m4a .mat .md .md5 .mp3 .npy .npz .oga .ogg .opus .parquet .part .pdf .pickle .pkl "
    ".png .ppt .pptx .psd .pt .pth .pyc .rar .safetensors .sqlite .srt .svg .tar .tfrecord .tgz .tif .tiff "
    ".tmp .torrent .txt .vtt .wav .webp .wma .xls .xlsx .xml .xz .yaml .yml .ytdl .zip .zst".split()
)
REPOSITORY = re.compile("(?:models|datasets|spaces)--.+")  # a repository's folder in the cache of the Hub


@dataclass
class FolderScan:
    """All that lies under a folder; paths are relative to it.

    Args:
        files (`list[str]`): Files, and links to files of the folder.
        others (`list[str]`): Folders, links to folders, links that lead nowhere, and special files such as pipes.
        num_hidden (`int`): Files and folders that were left out because their name begins with a dot.
        not_searched (`list[str]`): Links that lead out of the folder, and folders that may not be read, each with the
            reason.
    """

    files: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    num_hidden: int = 0
    not_searched: list[str] = field(default_factory=list)


def scan_folder(root: str | os.PathLike) -> FolderScan:
    """List everything in a folder and in all folders in it.

    Links within the folder are followed, but no folder is entered twice. A link that leads out of the folder is never
    followed: nobody gave permission to read what lies there. The folder itself may be a link. A snapshot in the cache
    of the Hub includes the files that its links lead to.

    Args:
        root (`str` or `os.PathLike`): The folder.

    Returns:
        [`~data.folder.FolderScan`]: What lies there, in no particular order.
    """
    root = os.fsdecode(root)
    real_root = os.path.realpath(root)
    scan, entered = FolderScan(), set()
    folders, linked = [""], []
    while folders or linked:
        # Links come last, so that a folder that is also linked to is known by its own path.
        folder = folders.pop() if folders else heapq.heappop(linked)
        path = os.path.join(root, folder)
        if os.path.realpath(path) in entered:
            continue
        entered.add(os.path.realpath(path))
        try:
            entries = list(os.scandir(path))
        except PermissionError:
            scan.not_searched.append(f"{folder or root} (permission denied)")
            continue
        for entry in entries:
            if entry.name.startswith("."):
                scan.num_hidden += 1
                continue
            relative = os.path.join(folder, entry.name)
            if not entry.is_symlink():
                # The entry knows its kind; asking the file system again costs a call per file.
                (scan.files if entry.is_file() else scan.others).append(relative)
                if entry.is_dir():
                    folders.append(relative)
                continue
            target = os.path.realpath(entry.path)
            if not is_inside(target, real_root):
                scan.not_searched.append(f"{relative} (a link to {target})")
                continue
            (scan.files if os.path.isfile(target) else scan.others).append(relative)
            if os.path.isdir(target):
                heapq.heappush(linked, relative)
    scan.not_searched.sort()
    return scan


def is_within(path: str, folder: str) -> bool:
    """Return whether a path lies in a folder or is the folder; both without links and `..`."""
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def is_inside(path: str, root: str) -> bool:
    """Return whether reading a path is reading a root; both without links and `..`.

    A path is in the root. Or the root is a snapshot in the cache of the Hub, or a folder in one: there every file is a
    link to a file in the folder `blobs` of the same repository, and belongs to the snapshot.

    Args:
        path (`str`): The path.
        root (`str`): The root.

    Returns:
        `bool`: Whether it may be read.
    """
    return is_within(path, root) or (os.path.dirname(path) == blobs_of(root) and os.path.isfile(path))


@functools.lru_cache
def blobs_of(root: str) -> str | None:
    """Return the folder of a snapshot's files in the cache of the Hub, `None` for a root that is not in a snapshot.

    Example:

    ```python
    >>> from drl_tvr.data.folder import blobs_of

    >>> blobs_of("/cache/datasets--me--clips/snapshots/0a1b2c/videos")
    '/cache/datasets--me--clips/blobs'
    ```
    """
    for snapshot in (Path(root), *Path(root).parents):
        repository = snapshot.parent.parent
        if snapshot.parent.name == "snapshots" and REPOSITORY.fullmatch(repository.name):
            return str(repository / "blobs")
    return None


class BenchmarkFolder:
    """The files of a benchmark by their names, as [`~data.folder.scan_folder`] finds them.

    Args:
        name (`str`): Name of the benchmark, for messages.
        root (`str` or `os.PathLike`, *optional*): Its folder.

    Attributes:
        root (`Path`): The folder as it was given.
        paths (`dict[str, list[str]]`): From a file's name to its paths relative to the root, in order of their depth.
        not_searched (`list[str]`): Links that lead out of the root, and folders that may not be read.

    Raises:
        `BenchmarkError`: Without a root, or when the root is not a folder.
    """

    def __init__(self, name: str, root: str | os.PathLike | None):
        if root is None:
            raise BenchmarkError(
                f"{name}, `root`: found None, expected the folder that holds its annotation files and videos."
            )
        if not os.path.isdir(root):
            raise BenchmarkError(f"{name}, `root`: found {os.fspath(root)!r}, expected a folder that exists.")
        scan = scan_folder(root)
        self.name = name
        self.root = Path(root)
        self.not_searched = scan.not_searched
        self.paths: dict[str, list[str]] = {}
        for path in sorted(scan.files, key=lambda path: (path.count(os.sep), path)):
            self.paths.setdefault(os.path.basename(path), []).append(path)


@dataclass
class VideoScan:
    """The videos under a folder, and what else lies there.

    Args:
        paths (`list[str]`): The videos, in order of their paths.
        left_out (`dict[str, int]`): Number of files per extension that are not videos. Hidden files and folders count
            as `"(hidden)"`, texts without an extension as `"(text)"`, pipes and the like as `"(special)"`.
        not_searched (`list[str]`): Links that lead out of the folder, and folders that may not be read, each with the
            reason.
        tables (`list[str]`): Tables among the files that are not videos, relative to the folder.
    """

    paths: list[str] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)
    not_searched: list[str] = field(default_factory=list)
    tables: list[str] = field(default_factory=list)


def find_videos(root: str | os.PathLike) -> VideoScan:
    """Find the videos in a folder and in all folders in it, as loading a benchmark does.

    Links within the folder are followed, but no folder is entered twice; a link that leads out of it is named in
    `not_searched`.

    A file is a video when it has a video's extension, whatever it holds, or when it has no extension or an unknown one
    (names of DiDeMo end in a dot, names of LSMDC in `.167`) and is not a text. A link that leads nowhere, a pipe and a
    folder are listed too when they have a video's extension, since training could be told to read them.

    Args:
        root (`str` or `os.PathLike`): The folder.

    Returns:
        [`~data.folder.VideoScan`]: The paths, and what was left out.

    Raises:
        `NotADirectoryError`: When there is no such folder.

    Example:

    ```python
    >>> from drl_tvr.data.folder import find_videos

    >>> find_videos("videos").paths
    ['videos/clip.mp4', 'videos/other.mp4']
    ```
    """
    root = os.fsdecode(root)
    if not os.path.isdir(root):
        raise NotADirectoryError(f"{root}: found no such folder, expected the folder of the videos.")
    scan = scan_folder(root)
    paths, tables, left_out = [], [], Counter({"(hidden)": scan.num_hidden})
    for relative in sorted([*scan.files, *scan.others], key=lambda path: path.split(os.sep)):
        path = os.path.join(root, relative)
        if os.path.isdir(path) and extension_of(path) not in VIDEO_EXTENSIONS:
            continue
        label = label_of_other(path)
        if label is None:
            paths.append(path)
        else:
            left_out[label] += 1
            if label in TABLE_EXTENSIONS:
                tables.append(relative)
    counts = {label: left_out[label] for label in sorted(left_out) if left_out[label]}
    return VideoScan(paths, counts, scan.not_searched, tables)


def extension_of(path: str) -> str:
    """Return the extension of a file name, in lower case."""
    return os.path.splitext(path)[1].lower()


def label_of_other(path: str) -> str | None:
    """Return the label under which a file that is not a video is counted, or `None` for a video."""
    extension = extension_of(path)
    if extension in VIDEO_EXTENSIONS:
        return None
    if extension in OTHER_EXTENSIONS:
        return extension
    if not os.path.exists(path):
        return None  # a link that leads nowhere; nobody knows to what
    if not os.path.isfile(path):
        return "(special)"
    if not is_text(path):
        return None
    return extension if extension.strip(".") else "(text)"


def is_text(path: str) -> bool:
    """Return whether a file begins as a text does; `False` for a file that cannot be read."""
    try:
        with open(path, "rb") as file:
            beginning = file.read(1024)
    except OSError:
        return False
    try:
        # An incremental decoder accepts a last character that is cut.
        text = codecs.getincrementaldecoder("utf-8")().decode(beginning)
    except UnicodeDecodeError:
        return False
    return bool(text) and all(character.isprintable() or character.isspace() for character in text)


__all__ = [
    "TABLE_EXTENSIONS",
    "VIDEO_EXTENSIONS",
    "BenchmarkFolder",
    "FolderScan",
    "VideoScan",
    "extension_of",
    "find_videos",
    "is_inside",
    "scan_folder",
]
