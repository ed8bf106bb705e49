"""ActivityNet Captions: the sentences of a video are joined to one paragraph; the test split is val_1."""

import os
from pathlib import Path

from ..errors import BenchmarkError, brief
from ..folder import BenchmarkFolder
from ..records import RetrievalData
from .annotation_files import AnnotationFiles, read_json
from .assembly import OfficialSplit, assemble, part_of


FILES = {"train": "train.json", "test": "val_1.json"}
EXPECTED = {"train": (10009, 10009), "test": (4917, 4917)}
PROTOCOL = "ActivityNet Captions, paragraph to video: the 4,917 videos of val_1"
PREFIX = "v_"


def load(root: str | os.PathLike | None, split: str, hold_out: bool, allow_missing: bool) -> RetrievalData:
    """Load a split of ActivityNet Captions.

    Args:
        root (`str` or `os.PathLike`): Folder of the annotation files and videos.
        split (`str`): `"train"`, `"validation"` or `"test"`, which is val_1.
        hold_out (`bool`): Whether 500 training videos are the validation split.
        allow_missing (`bool`): Whether to go on when files or captions are missing.

    Returns:
        [`RetrievalData`]: One paragraph per video, and the whole file of each video.

    Raises:
        `BenchmarkError`: For an unknown split, or files that are missing or invalid.
    """
    part = part_of("activitynet", split, hold_out)
    files = AnnotationFiles(BenchmarkFolder("activitynet", root))
    paragraphs = read_paragraphs(files.get(FILES[part]))
    official = OfficialSplit.from_files(
        files,
        file_names,
        part=part,
        video_ids=list(paragraphs),
        pairs=paragraphs.items(),
        expected=EXPECTED[part],
        protocol=PROTOCOL,
    )
    return assemble(official, split, hold_out, allow_missing)


def read_paragraphs(path: Path) -> dict[str, str]:
    """Join each video's sentences in the order of the file, which is not always that of time.

    Raises:
        `BenchmarkError`: When an entry has no sentences.
    """
    content = read_json(path)
    if not isinstance(content, dict) or not content:
        raise BenchmarkError(f"{path}: found {brief(content)}, expected a mapping from video ids to sentences.")
    paragraphs = {}
    for video_id, entry in content.items():
        sentences = entry.get("sentences") if isinstance(entry, dict) else None
        if not isinstance(sentences, list) or not all(isinstance(sentence, str) for sentence in sentences):
            raise BenchmarkError(f"{path}, {video_id!r}: found {brief(entry)}, expected a list of 'sentences'.")
        paragraphs[video_id] = " ".join(sentences)
    return paragraphs


def file_names(video_id: str) -> tuple[str, ...]:
    """Return the names that a video's file may have: with `v_`, as downloaded, and without, as CLIP4Clip wants it.

    Example:

    ```python
    >>> from drl_tvr.data.benchmarks.activitynet import file_names

    >>> file_names("v_v_abc")
    ('v_v_abc', 'v_abc')
    ```
    """
    return (video_id, video_id[len(PREFIX) :]) if video_id.startswith(PREFIX) else (video_id, f"{PREFIX}{video_id}")
