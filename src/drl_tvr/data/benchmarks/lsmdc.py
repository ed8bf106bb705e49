"""LSMDC 2016: short clips of films. In train several sentences may tell of one clip, and each is a pair."""

import os
from pathlib import Path

from ..errors import BenchmarkError
from ..records import RetrievalData
from .annotation_files import AnnotationFiles, read_text
from .assembly import OfficialSplit, assemble, check_split
from .folder import BenchmarkFolder


FILES = {
    "train": ("LSMDC16_annos_training.csv", "LSMDC16_annos_training_someone.csv"),
    "validation": ("LSMDC16_annos_val.csv", "LSMDC16_annos_val_someone.csv"),
    "test": ("LSMDC16_challenge_1000_publictect.csv",),
}
# Rows; how many clips they tell of is only known for the test.
EXPECTED = {"train": (None, 101079), "validation": (None, 7408), "test": (1000, 1000)}
PROTOCOL = "LSMDC 2016: the 1,000 clips of the public retrieval test"
NUM_FIELDS = 6


def load(
    root: str | os.PathLike | None, split: str, hold_out: bool = True, allow_missing: bool = False
) -> RetrievalData:
    """Load a split of LSMDC.

    Args:
        root (`str` or `os.PathLike`): Folder of the annotation files and videos.
        split (`str`): `"train"`, `"validation"` or `"test"`.
        hold_out (`bool`, *optional*, defaults to `True`): Without effect: there is a validation split.
        allow_missing (`bool`, *optional*, defaults to `False`): Go on without what is missing.

    Returns:
        [`RetrievalData`]: A caption for every row. The files are the clips already, so there is no start and no end.

    Raises:
        `BenchmarkError`: For an unknown split, or files that are missing or not what they should be.
    """
    check_split("lsmdc", split)
    files = AnnotationFiles(BenchmarkFolder("lsmdc", root))
    pairs = read_rows(files.get(*FILES[split]))
    official = OfficialSplit.from_files(
        files,
        part=split,
        video_ids=list(dict.fromkeys(clip_id for clip_id, _ in pairs)),
        pairs=pairs,
        expected=EXPECTED[split],
        protocol=PROTOCOL,
    )
    return assemble(official, split, allow_missing=allow_missing)


def read_rows(path: Path) -> list[tuple[str, str]]:
    """Clip id and sentence of every row: six fields between tabs, without a header and without quoting.

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
                f"{path}, line {number}: expected {NUM_FIELDS} fields between tabs, found {line!r:.200}."
            )
        # Some copies quote the whole line, which leaves a quotation mark in front of the id.
        rows.append((fields[0].strip().removeprefix('"'), fields[-1]))
    if not rows:
        raise BenchmarkError(f"{path} has no row.")
    return rows
