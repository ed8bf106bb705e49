"""DiDeMo: all descriptions of a video, one after another, are its paragraph."""

import os
from pathlib import Path

from ..errors import BenchmarkError
from ..records import RetrievalData
from .annotation_files import AnnotationFiles, read_ids, read_json
from .assembly import OfficialSplit, assemble, check_split
from .folder import BenchmarkFolder


FILES = {"train": "train_data.json", "validation": "val_data.json", "test": "test_data.json"}
LISTS = {"train": "train_list.txt", "validation": "val_list.txt", "test": "test_list.txt"}
EXPECTED = {"train": (8392, 8392), "validation": (1065, 1065), "test": (1004, 1004)}
PROTOCOL = "DiDeMo, paragraph to video: the 1,004 listed test videos"
# Annotators saw the first 30 seconds; the official code of the retrieval papers cuts at 31.
SEGMENT = (0.0, 31.0)


def load(
    root: str | os.PathLike | None,
    split: str,
    hold_out: bool = True,
    allow_missing: bool = False,
    merge_by_stem: bool = False,
) -> RetrievalData:
    """Load a split of DiDeMo.

    Args:
        root (`str` or `os.PathLike`): Folder of the annotation files and videos.
        split (`str`): `"train"`, `"validation"` or `"test"`.
        hold_out (`bool`, *optional*, defaults to `True`): Without effect: there is a validation split.
        allow_missing (`bool`, *optional*, defaults to `False`): Go on without what is missing.
        merge_by_stem (`bool`, *optional*, defaults to `False`): Some clips are described under two names that differ
            in the extension, and only one is in the list. Published numbers leave out what is said under the other;
            this adds it.

    Returns:
        [`RetrievalData`]: A paragraph a video, of its first 31 seconds.

    Raises:
        `BenchmarkError`: For an unknown split, or files that are missing or not what they should be.
    """
    check_split("didemo", split)
    files = AnnotationFiles(BenchmarkFolder("didemo", root))
    video_ids = read_ids(files.get(LISTS[split]))
    paragraphs = read_paragraphs(files.get(FILES[split]), video_ids, merge_by_stem)
    official = OfficialSplit.from_files(
        files,
        # Downloaded as X.avi.mp4, converted as X.mp4: both are tried after the listed name.
        lambda name: (name, stem_of(name)),
        part=split,
        video_ids=video_ids,
        pairs=paragraphs.items(),
        expected=EXPECTED[split],
        protocol=PROTOCOL + (", with the descriptions of a second name (not the published text)" * merge_by_stem),
        segments=dict.fromkeys(video_ids, SEGMENT),
    )
    return assemble(official, split, allow_missing=allow_missing)


def read_paragraphs(path: Path, video_ids: list[str], merge_by_stem: bool) -> dict[str, str]:
    """Every listed video's descriptions in the order of the file, where those of one video are scattered.

    Raises:
        `BenchmarkError`: When a row has no video or no description.
    """
    content = read_json(path)
    if not isinstance(content, list) or not content:
        raise BenchmarkError(f"{path} must be a list of descriptions, found {content!r:.200}.")
    key = stem_of if merge_by_stem else str
    descriptions: dict[str, list[str]] = {key(video_id): [] for video_id in video_ids}
    for number, row in enumerate(content):
        if not isinstance(row, dict) or not all(isinstance(row.get(name), str) for name in ("video", "description")):
            raise BenchmarkError(f"{path}[{number}] must have a 'video' and a 'description', found {row!r:.200}.")
        if key(row["video"]) in descriptions:
            descriptions[key(row["video"])].append(row["description"])
    return {video_id: " ".join(descriptions[key(video_id)]) for video_id in video_ids}


def stem_of(name: str) -> str:
    """A listed name without its extension, which may be empty (`X.`) or `null`.

    Example:

    ```python
    >>> stem_of("10052357@N03_7585070382_5762149bfc.")
    '10052357@N03_7585070382_5762149bfc'
    ```"""
    return name.rpartition(".")[0] or name
