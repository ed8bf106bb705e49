"""MSR-VTT in its three splits: 1k-A trained on 9,000 or 7,010 videos, and the official one with all captions."""

import os
from collections.abc import Iterator
from pathlib import Path

from ..errors import BenchmarkError
from ..records import RetrievalData
from .annotation_files import AnnotationFiles, read_csv, read_ids, read_json, read_pickle
from .assembly import OfficialSplit, assemble, check_split, part_of
from .caption_formats import caption_pairs
from .folder import BenchmarkFolder


CAPTIONS = ("MSRVTT_data.json", "MSR_VTT.json")
OFFICIAL_CAPTIONS = ("train_val_videodatainfo.json", "test_videodatainfo.json")
TEST_SENTENCES = "MSRVTT_JSFUSION_test.csv"
TEST_CAPTION_INDEX = "jsfusion_val_caption_idx.pkl"
LISTS = {
    ("msrvtt-9k", "train"): ("MSRVTT_train.9k.csv", "train_list_jsfusion.txt", "train_list_9k.txt"),
    ("msrvtt-7k", "train"): ("MSRVTT_train.7k.csv", "train_list_7k.txt"),
    ("msrvtt-full", "train"): ("MSRVTT_train.full.csv", "train_list_full.txt"),
    ("msrvtt-full", "validation"): ("MSRVTT_val.full.csv", "val_list_full.txt"),
    ("msrvtt-full", "test"): ("MSRVTT_test.full.csv", "test_list_full.txt"),
}
EXPECTED = {
    ("msrvtt-9k", "train"): (9000, 180000),
    ("msrvtt-9k", "test"): (1000, 1000),
    ("msrvtt-7k", "train"): (7010, 140200),
    ("msrvtt-7k", "test"): (1000, 1000),
    ("msrvtt-full", "train"): (6513, 130260),
    ("msrvtt-full", "validation"): (497, 9940),
    ("msrvtt-full", "test"): (2990, 59800),
}
OFFICIAL_SPLITS = {"train": "train", "validation": "validate", "test": "test"}
PROTOCOLS = {
    "msrvtt-9k": "MSR-VTT 1k-A: 1,000 test videos with one caption each, training on 9k",
    "msrvtt-7k": "MSR-VTT 1k-A: 1,000 test videos with one caption each, training on 7k",
    "msrvtt-full": "MSR-VTT full: every caption of the 2,990 test videos is a query",
}


def load(
    root: str | os.PathLike | None, split: str, hold_out: bool = True, allow_missing: bool = False, *, name: str
) -> RetrievalData:
    """Load a split of MSR-VTT.

    Args:
        root (`str` or `os.PathLike`): Folder of the annotation files and videos.
        split (`str`): `"train"`, `"validation"` or `"test"`.
        hold_out (`bool`, *optional*, defaults to `True`): For 9k and 7k, which have no validation split.
        allow_missing (`bool`, *optional*, defaults to `False`): Go on without what is missing.
        name (`str`): `"msrvtt-9k"`, `"msrvtt-7k"` or `"msrvtt-full"`.

    Returns:
        [`RetrievalData`]: The test split of 9k and 7k has one caption a video, every other all of them.

    Raises:
        `BenchmarkError`: For an unknown split, or files that are missing or not what they should be.
    """
    has_validation = name == "msrvtt-full"
    check_split(name, split)
    part = split if has_validation else part_of(name, split, hold_out)
    files = AnnotationFiles(BenchmarkFolder(name, root))
    if part == "test" and not has_validation:
        pairs = list(read_test_pairs(files))
        video_ids = [video_id for video_id, _ in pairs]
    else:
        contents = read_captions(files)
        path = files.find(*LISTS[name, part])
        video_ids = read_ids(path) if path else split_of_videos(files, contents, name, part)
        pairs = [pair for path, content in contents for pair in caption_pairs(content, path)]
    official = OfficialSplit.from_files(
        files,
        part=part,
        video_ids=video_ids,
        pairs=pairs,
        expected=EXPECTED[name, part],
        protocol=PROTOCOLS[name],
    )
    return assemble(official, split, hold_out and not has_validation, allow_missing)


def read_captions(files: AnnotationFiles) -> list[tuple[Path, dict]]:
    """The file with all captions, or the two official ones."""
    path = files.find(*CAPTIONS)
    official = [files.find(name) for name in OFFICIAL_CAPTIONS] if path is None else []
    paths = [path] if path or not all(official) else official
    return [(path, read_json(path)) for path in ([files.get(*CAPTIONS)] if None in paths else paths)]


def split_of_videos(files: AnnotationFiles, contents: list[tuple[Path, dict]], name: str, part: str) -> list[str]:
    """The videos of an official split, as the captions' file itself marks them.

    Raises:
        `BenchmarkError`: When it doesn't, or the list of another split is needed.
    """
    entries = [entry for _, content in contents if isinstance(content, dict) for entry in content.get("videos", [])]
    marked = all(isinstance(entry, dict) and {"video_id", "split"} <= set(entry) for entry in entries)
    if name != "msrvtt-full" or not entries or not marked:
        files.get(*LISTS[name, part])
    return [entry["video_id"] for entry in entries if entry["split"] == OFFICIAL_SPLITS[part]]


def read_test_pairs(files: AnnotationFiles) -> Iterator[tuple[str, str]]:
    """The 1k-A test queries: their CSV, or the index of the chosen caption among each video's.

    Raises:
        `BenchmarkError`: When there is neither, or the index leads to no caption.
    """
    path = files.find(TEST_SENTENCES)
    if path is not None:
        for row in read_csv(path, "video_id", "sentence"):
            yield row["video_id"], row["sentence"]
        return
    path = files.find(TEST_CAPTION_INDEX)
    if path is None:
        files.get(TEST_SENTENCES, TEST_CAPTION_INDEX)
    chosen = read_pickle(path)
    if not isinstance(chosen, dict):
        raise BenchmarkError(
            f"{path} must be a mapping from video to the index of its caption, found {chosen!r:.200}."
        )
    captions: dict[str, list[str]] = {}
    for source, content in read_captions(files):
        for video_id, caption in caption_pairs(content, source):
            captions.setdefault(video_id, []).append(caption)
    for video_id, index in chosen.items():
        if not isinstance(index, int) or not 0 <= index < len(captions.get(video_id, [])):
            raise BenchmarkError(
                f"{path}: caption {index!r} of {video_id!r} is not one of its {len(captions.get(video_id, []))}."
            )
        yield video_id, captions[video_id][index]
