"""MSVD: every caption of a video is a query of its own."""

import os

from ..folder import BenchmarkFolder
from ..records import RetrievalData, check_split
from .annotation_files import AnnotationFiles, read_ids
from .assembly import OfficialSplit, assemble
from .caption_formats import read_caption_file


# Both hold the same captions; JSON needs no unpickling.
CAPTIONS = ("captions_msvd.json", "raw-captions.pkl")
LISTS = {"train": "train_list.txt", "validation": "val_list.txt", "test": "test_list.txt"}
EXPECTED = {"train": (1200, 48774), "validation": (100, 4290), "test": (670, 27763)}
PROTOCOL = "MSVD: every caption of the 670 test videos is a query"


def load(root: str | os.PathLike | None, split: str, allow_missing: bool) -> RetrievalData:
    """Load a split of MSVD.

    Args:
        root (`str` or `os.PathLike`): Folder of the annotation files and videos.
        split (`str`): `"train"`, `"validation"` or `"test"`.
        allow_missing (`bool`): Whether to go on when files or captions are missing.

    Returns:
        [`RetrievalData`]: 18 to 81 captions per video.

    Raises:
        `BenchmarkError`: For an unknown split, or files that are missing or invalid.
    """
    check_split("msvd", split)
    files = AnnotationFiles(BenchmarkFolder("msvd", root))
    official = OfficialSplit.from_files(
        files,
        part=split,
        video_ids=read_ids(files.get(LISTS[split])),
        pairs=read_caption_file(files.get(*CAPTIONS)),
        expected=EXPECTED[split],
        protocol=PROTOCOL,
    )
    return assemble(official, split, allow_missing=allow_missing)
