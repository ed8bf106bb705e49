"""VATEX on HGR's split of the official validation set, and on the other split of the same 3,000 videos."""

import os

from ..errors import BenchmarkError
from ..records import RetrievalData
from .annotation_files import AnnotationFiles, read_ids
from .assembly import OfficialSplit, assemble, check_split
from .caption_formats import read_caption_file
from .folder import BenchmarkFolder


CAPTIONS = ("ref_captions.json", "vatex_data.json")
OFFICIAL_CAPTIONS = {
    "train": "vatex_training_v1.0.json",
    "validation": "vatex_validation_v1.0.json",
    "test": "vatex_validation_v1.0.json",
}
LISTS = {
    "train": ("train_list.txt", "trn_names.npy"),
    "validation": ("val_list.txt", "val_names.npy"),
    "test": ("test_list.txt", "tst_names.npy"),
}
RANDOM_TEST = "test1k5_sec_list.txt"
EXPECTED = {"train": (25991, 259910), "validation": (1500, 15000), "test": (1500, 15000)}
PROTOCOLS = {
    "vatex": "VATEX, HGR's split: every caption of the 1,500 test videos is a query",
    "vatex-random": "VATEX, CLIP2Video's random split (not HGR's): every caption of the 1,500 test videos is a query",
}


def load(
    root: str | os.PathLike | None,
    split: str,
    hold_out: bool = True,
    allow_missing: bool = False,
    trim: bool = False,
    *,
    name: str,
) -> RetrievalData:
    """Load a split of VATEX, with its English captions.

    Args:
        root (`str` or `os.PathLike`): Folder of the annotation files and videos.
        split (`str`): `"train"`, `"validation"` or `"test"`.
        hold_out (`bool`, *optional*, defaults to `True`): Without effect: there is a validation split.
        allow_missing (`bool`, *optional*, defaults to `False`): Go on without what is missing.
        trim (`bool`, *optional*, defaults to `False`): Take start and end from the id, for files that are whole source
            videos.
        name (`str`): `"vatex"` or `"vatex-random"`. The latter's validation is what its test leaves of the 3,000.

    Returns:
        [`RetrievalData`]: Ten captions a video.

    Raises:
        `BenchmarkError`: For an unknown split, or files that are missing or not what they should be.
    """
    check_split(name, split)
    files = AnnotationFiles(BenchmarkFolder(name, root))
    video_ids = read_split(files, name, split)
    path = files.find(*CAPTIONS) or files.find(OFFICIAL_CAPTIONS[split])
    if path is None:
        path = files.get(*CAPTIONS, OFFICIAL_CAPTIONS[split])
    official = OfficialSplit.from_files(
        files,
        part=split,
        video_ids=video_ids,
        pairs=read_caption_file(path),
        expected=EXPECTED[split],
        protocol=PROTOCOLS[name] + ("; trimmed to the times in the ids" if trim else ""),
        segments={video_id: times_of(video_id) for video_id in video_ids} if trim else {},
    )
    return assemble(official, split, allow_missing=allow_missing)


def read_split(files: AnnotationFiles, name: str, split: str) -> list[str]:
    """Ids of a split, in the order of its list."""
    if name == "vatex" or split == "train":
        return read_ids(files.get(*LISTS[split]))
    test = read_ids(files.get(RANDOM_TEST))
    if split == "test":
        return test
    # Half of HGR's validation videos are in this test, so what it leaves of all 3,000 takes their place.
    both = [*read_ids(files.get(*LISTS["validation"])), *read_ids(files.get(*LISTS["test"]))]
    in_test = set(test)
    return [video_id for video_id in both if video_id not in in_test]


def times_of(video_id: str) -> tuple[float, float]:
    """Start and end in seconds, from an id `<YouTube id>_<start>_<end>`.

    Raises:
        `BenchmarkError`: When the id has another form.

    Example:

    ```python
    >>> times_of("G9zN5TTuGO4_000179_000189")
    (179.0, 189.0)
    ```"""
    # From the right: the YouTube id may hold underscores.
    _, *times = video_id.rsplit("_", 2)
    if len(times) != 2 or not all(time.isascii() and time.isdigit() for time in times):
        raise BenchmarkError(f"vatex: {video_id!r} has no times to trim to; expected <YouTube id>_<start>_<end>.")
    return float(times[0]), float(times[1])
