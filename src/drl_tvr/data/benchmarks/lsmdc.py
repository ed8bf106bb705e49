"""LSMDC 2016: short clips of films. In train a clip may have several sentences, and each makes a pair."""

import os
from pathlib import Path

from ..errors import BenchmarkError, brief
from ..folder import BenchmarkFolder
from ..records import RetrievalData, check_split
from .annotation_files import AnnotationFiles, read_text
from .assembly import OfficialSplit, assemble


FILES = {
    "train": ("LSMDC16_annos_training.csv", "LSMDC16_annos_training_someone.csv"),
    "validation": ("LSMDC16_annos_val.csv", "LSMDC16_annos_val_someone.csv"),
    "test": ("LSMDC16_challenge_1000_publictect.csv",),
}
# Numbers of rows are known for all splits, the number of clips only for the test.
EXPECTED = {"train": (None, 101079), "validation": (None, 7408), "test": (1000, 1000)}
PROTOCOL = "LSMDC 2016: the 1,000 clips of the public retrieval test"
NUM_FIELDS = 6


def load(root: str | os.PathLike | None, split: str, allow_missing: bool) -> RetrievalData:
    """Load a split of LSMDC.

    Args:
        root (`str` or `os.PathLike`): Folder of the annotation files and videos.
        split (`str`): `"train"`, `"validation"` or `"test"`.
        allow_missing (`bool`): Whether to go on when files or captions are missing.

    Returns:
        [`RetrievalData`]: One caption per row. The files are cut already, so there is no start and no end.

    Raises:
        `BenchmarkError`: For an unknown split, or files that are missing or invalid.
    """
    check_split("lsmdc", split)
    files = AnnotationFiles(BenchmarkFolder("lsmdc", root))
    pairs = read_rows(files.get(*FILES[split]))
    official = OfficialSplit.from_files(
        files,
        part=split,
        video_ids=list(dict.fromkeys(video_id for video_id, _ in pairs)),
        pairs=pairs,
        expected=EXPECTED[split],
        protocol=PROTOCOL,
    )
    return assemble(official, split, allow_missing=allow_missing)


def read_rows(path: Path) -> list[tuple[str, str]]:
    """Read the id and the sentence of each row: six fields between tabs, without a header and without quoting.

    Raises:
        `BenchmarkError`: When a row has another number of fields; names its line.
    """
    rows = []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        fields = line.rstrip("\r").split("\t")
        if len(fields) != NUM_FIELDS:
            raise BenchmarkError(
                f"{path}, line {number}: found {brief(line)}, expected {NUM_FIELDS} fields between tabs."
            )
        # Some copies quote the whole line, which leaves a quotation mark in front of the id.
        rows.append((fields[0].strip().removeprefix('"'), fields[-1]))
    if not rows:
        raise BenchmarkError(f"{path}: found no row, expected at least one.")
    return rows
