"""VATEX on HGR's split of the official validation set, and on a random split of the same 3,000 videos."""

import os

from ..errors import BenchmarkError
from ..folder import BenchmarkFolder
from ..records import RetrievalData, check_split
from .annotation_files import AnnotationFiles, read_ids
from .assembly import OfficialSplit, assemble
from .caption_formats import read_caption_file


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
HGR = "VATEX, HGR's split: every caption of the 1,500 test videos is a query"
RANDOM = "VATEX, CLIP2Video's random split (not HGR's): every caption of the 1,500 test videos is a query"
PROTOCOLS = {
    "vatex": HGR,
    "vatex-trimmed": f"{HGR}; trimmed to the times in the ids",
    "vatex-random": RANDOM,
    "vatex-random-trimmed": f"{RANDOM}; trimmed to the times in the ids",
}


def load(name: str, root: str | os.PathLike | None, split: str, allow_missing: bool) -> RetrievalData:
    """Load a split of VATEX, with its English captions.

    Args:
        name (`str`): `"vatex"` or `"vatex-random"`, whose validation split is what its test split leaves of the 3,000
            videos; with `-trimmed`, start and end are taken from the ids, for files that are whole source videos.
        root (`str` or `os.PathLike`): Folder of the annotation files and videos.
        split (`str`): `"train"`, `"validation"` or `"test"`.
        allow_missing (`bool`): Whether to go on when files or captions are missing.

    Returns:
        [`RetrievalData`]: Ten captions per video.

    Raises:
        `BenchmarkError`: For an unknown split, or files that are missing or invalid.
    """
    check_split(name, split)
    files = AnnotationFiles(BenchmarkFolder(name, root))
    is_random, is_trimmed = name.startswith("vatex-random"), name.endswith("-trimmed")
    video_ids = read_random_split(files, split) if is_random else read_ids(files.get(*LISTS[split]))
    path = files.find(*CAPTIONS) or files.find(OFFICIAL_CAPTIONS[split])
    if path is None:
        path = files.get(*CAPTIONS, OFFICIAL_CAPTIONS[split])
    official = OfficialSplit.from_files(
        files,
        part=split,
        video_ids=video_ids,
        pairs=read_caption_file(path),
        expected=EXPECTED[split],
        protocol=PROTOCOLS[name],
        segments={video_id: times_of(video_id) for video_id in video_ids} if is_trimmed else {},
    )
    return assemble(official, split, allow_missing=allow_missing)


def read_random_split(files: AnnotationFiles, split: str) -> list[str]:
    """Read the ids of a split of CLIP2Video's random split."""
    if split == "train":
        return read_ids(files.get(*LISTS["train"]))
    test = read_ids(files.get(RANDOM_TEST))
    if split == "test":
        return test
    # Half of HGR's validation videos are in this test split, so the rest of all 3,000 is the validation split.
    both = [*read_ids(files.get(*LISTS["validation"])), *read_ids(files.get(*LISTS["test"]))]
    in_test = set(test)
    return [video_id for video_id in both if video_id not in in_test]


def times_of(video_id: str) -> tuple[float, float]:
    """Return start and end in seconds, from an id `<YouTube id>_<start>_<end>`.

    Raises:
        `BenchmarkError`: When the id has another form.

    Example:

    ```python
    >>> from drl_tvr.data.benchmarks.vatex import times_of

    >>> times_of("G9zN5TTuGO4_000179_000189")
    (179.0, 189.0)
    ```
    """
    # From the right: the YouTube id may hold underscores.
    _, *times = video_id.rsplit("_", 2)
    if len(times) != 2 or not all(time.isascii() and time.isdigit() for time in times):
        raise BenchmarkError(
            f"vatex: found the id {video_id!r}, expected <YouTube id>_<start>_<end>, which has the times to trim to."
        )
    return float(times[0]), float(times[1])
