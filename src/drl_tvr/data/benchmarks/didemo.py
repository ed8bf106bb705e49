"""DiDeMo: the descriptions of a video are joined to one paragraph."""

import os
from pathlib import Path

from ..errors import BenchmarkError, brief
from ..folder import BenchmarkFolder
from ..records import RetrievalData, check_split
from .annotation_files import AnnotationFiles, read_ids, read_json
from .assembly import OfficialSplit, assemble


FILES = {"train": "train_data.json", "validation": "val_data.json", "test": "test_data.json"}
LISTS = {"train": "train_list.txt", "validation": "val_list.txt", "test": "test_list.txt"}
EXPECTED = {"train": (8392, 8392), "validation": (1065, 1065), "test": (1004, 1004)}
PROTOCOLS = {
    "didemo": "DiDeMo, paragraph to video: the 1,004 listed test videos",
    "didemo-merged": (
        "DiDeMo, paragraph to video: the 1,004 listed test videos, with the descriptions under a second name (not the "
        "published text)"
    ),
}
# Annotators saw the first 30 seconds; the official code of the retrieval papers cuts at 31.
SEGMENT = (0.0, 31.0)


def load(name: str, root: str | os.PathLike | None, split: str, allow_missing: bool) -> RetrievalData:
    """Load a split of DiDeMo.

    Args:
        name (`str`): `"didemo"`, or `"didemo-merged"`: some videos are described under two names that differ in the
            extension, and only one is in the list. Published results leave out the descriptions under the other name;
            the latter adds them.
        root (`str` or `os.PathLike`): Folder of the annotation files and videos.
        split (`str`): `"train"`, `"validation"` or `"test"`.
        allow_missing (`bool`): Whether to go on when files or captions are missing.

    Returns:
        [`RetrievalData`]: One paragraph per video, and the first 31 seconds of each video.

    Raises:
        `BenchmarkError`: For an unknown split, or files that are missing or invalid.
    """
    check_split(name, split)
    files = AnnotationFiles(BenchmarkFolder(name, root))
    video_ids = read_ids(files.get(LISTS[split]))
    paragraphs = read_paragraphs(files.get(FILES[split]), video_ids, merge_by_stem=name == "didemo-merged")
    official = OfficialSplit.from_files(
        files,
        # A video may be stored as X.avi, as X.avi.mp4 (downloaded) or as X.mp4 (converted).
        lambda listed: (listed, stem_of(listed)),
        part=split,
        video_ids=video_ids,
        pairs=paragraphs.items(),
        expected=EXPECTED[split],
        protocol=PROTOCOLS[name],
        segments=dict.fromkeys(video_ids, SEGMENT),
    )
    return assemble(official, split, allow_missing=allow_missing)


def read_paragraphs(path: Path, video_ids: list[str], merge_by_stem: bool) -> dict[str, str]:
    """Join each listed video's descriptions in the order of the file, in which those of one video are scattered.

    Raises:
        `BenchmarkError`: When a row has no video or no description.
    """
    content = read_json(path)
    if not isinstance(content, list) or not content:
        raise BenchmarkError(f"{path}: found {brief(content)}, expected a list of descriptions.")
    key = stem_of if merge_by_stem else str
    descriptions: dict[str, list[str]] = {key(video_id): [] for video_id in video_ids}
    for number, row in enumerate(content):
        if not isinstance(row, dict) or not all(isinstance(row.get(name), str) for name in ("video", "description")):
            raise BenchmarkError(f"{path}[{number}]: found {brief(row)}, expected a 'video' and a 'description'.")
        if key(row["video"]) in descriptions:
            descriptions[key(row["video"])].append(row["description"])
    return {video_id: " ".join(descriptions[key(video_id)]) for video_id in video_ids}


def stem_of(name: str) -> str:
    """Return a listed name without its extension, which may be empty (`X.`) or `null`.

    Example:

    ```python
    >>> from drl_tvr.data.benchmarks.didemo import stem_of

    >>> stem_of("10052357@N03_7585070382_5762149bfc.")
    '10052357@N03_7585070382_5762149bfc'
    ```
    """
    return name.rpartition(".")[0] or name
