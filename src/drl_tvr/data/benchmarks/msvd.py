"""MSVD: every caption of a video is a query of its own."""

import os

from ..records import RetrievalData
from .annotation_files import AnnotationFiles, read_ids
from .assembly import OfficialSplit, assemble, check_split
from .caption_formats import read_caption_file
from .folder import BenchmarkFolder


# The same captions; JSON needs no unpickling.
CAPTIONS = ("captions_msvd.json", "raw-captions.pkl")
LISTS = {"train": "train_list.txt", "validation": "val_list.txt", "test": "test_list.txt"}
EXPECTED = {"train": (1200, 48774), "validation": (100, 4290), "test": (670, 27763)}
PROTOCOL = "MSVD: every caption of the 670 test videos is a query"


def load(
    root: str | os.PathLike | None, split: str, hold_out: bool = True, allow_missing: bool = False
) -> RetrievalData:
    """Load a split of MSVD.

    Args:
        root (`str` or `os.PathLike`): Folder of the annotation files and videos.
        split (`str`): `"train"`, `"validation"` or `"test"`.
        hold_out (`bool`, *optional*, defaults to `True`): Without effect: there is a validation split.
        allow_missing (`bool`, *optional*, defaults to `False`): Go on without what is missing.

    Returns:
        [`RetrievalData`]: 18 to 81 captions a video.

    Raises:
        `BenchmarkError`: For an unknown split, or files that are missing or not what they should be.
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
