"""MSR-VTT in its three splits: 1k-A trained on 9,000 or 7,010 videos, and the official one with all captions."""

import os
from collections.abc import Iterator
from pathlib import Path

from ..errors import BenchmarkError, brief
from ..folder import BenchmarkFolder
from ..records import RetrievalData, check_split
from .annotation_files import AnnotationFiles, read_csv, read_ids, read_json, read_pickle
from .assembly import OfficialSplit, assemble, part_of
from .caption_formats import caption_pairs


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


def load_1ka(
    name: str, root: str | os.PathLike | None, split: str, hold_out: bool, allow_missing: bool
) -> RetrievalData:
    """Load a split of MSR-VTT 1k-A.

    Args:
        name (`str`): `"msrvtt-9k"` or `"msrvtt-7k"`.
        root (`str` or `os.PathLike`): Folder of the annotation files and videos.
        split (`str`): `"train"`, `"validation"` or `"test"`.
        hold_out (`bool`): Whether 500 training videos are the validation split.
        allow_missing (`bool`): Whether to go on when files or captions are missing.

    Returns:
        [`RetrievalData`]: One caption per video in the test split, all 20 in the others.

    Raises:
        `BenchmarkError`: For an unknown split, or files that are missing or invalid.
    """
    part = part_of(name, split, hold_out)
    files = AnnotationFiles(BenchmarkFolder(name, root))
    if part == "test":
        pairs, sources = list(read_test_pairs(files)), {}
        video_ids = [video_id for video_id, _ in pairs]
    else:
        contents = read_captions(files)
        video_ids = read_ids(files.get(*LISTS[name, part]))
        pairs = [pair for path, content in contents for pair in caption_pairs(content, path)]
        sources = source_videos(contents)
    return assemble(official_split(files, name, part, video_ids, pairs, sources), split, hold_out, allow_missing)


def load_full(root: str | os.PathLike | None, split: str, allow_missing: bool) -> RetrievalData:
    """Load an official split of MSR-VTT.

    Args:
        root (`str` or `os.PathLike`): Folder of the annotation files and videos.
        split (`str`): `"train"`, `"validation"` or `"test"`.
        allow_missing (`bool`): Whether to go on when files or captions are missing.

    Returns:
        [`RetrievalData`]: All 20 captions per video.

    Raises:
        `BenchmarkError`: For an unknown split, or files that are missing or invalid.
    """
    name = "msrvtt-full"
    check_split(name, split)
    files = AnnotationFiles(BenchmarkFolder(name, root))
    contents = read_captions(files)
    path = files.find(*LISTS[name, split])
    video_ids = read_ids(path) if path else marked_videos(contents, split)
    if not video_ids:
        files.get(*LISTS[name, split])
    pairs = [pair for path, content in contents for pair in caption_pairs(content, path)]
    return assemble(official_split(files, name, split, video_ids, pairs), split, allow_missing=allow_missing)


def official_split(
    files: AnnotationFiles,
    name: str,
    part: str,
    video_ids: list[str],
    pairs: list[tuple[str, str]],
    sources: dict[str, str] | None = None,
) -> OfficialSplit:
    """Add the expected numbers and the protocol to the videos and captions of a split."""
    return OfficialSplit.from_files(
        files,
        part=part,
        video_ids=video_ids,
        pairs=pairs,
        expected=EXPECTED[name, part],
        protocol=PROTOCOLS[name],
        sources=sources or {},
    )


def read_captions(files: AnnotationFiles) -> list[tuple[Path, dict]]:
    """Read the file with all captions, or the two official ones.

    Raises:
        `BenchmarkError`: When there is neither.
    """
    paths = [files.find(*CAPTIONS)]
    if paths == [None]:
        paths = [files.find(name) for name in OFFICIAL_CAPTIONS]
    if None in paths:
        paths = [files.get(*CAPTIONS)]
    return [(path, read_json(path)) for path in paths]


def marked_videos(contents: list[tuple[Path, dict]], split: str) -> list[str]:
    """Return the videos that the captions' files themselves mark as a split's; none when a video has no mark."""
    entries = video_entries(contents)
    if not all("split" in entry for entry in entries):
        return []
    return [entry["video_id"] for entry in entries if entry["split"] == OFFICIAL_SPLITS[split]]


def source_videos(contents: list[tuple[Path, dict]]) -> dict[str, str]:
    """Return the address of the longer video that each clip was cut from, where the captions' files say it."""
    return {
        entry["video_id"]: entry["url"]
        for entry in video_entries(contents)
        if isinstance(entry.get("url"), str) and entry["url"].startswith("http")
    }


def video_entries(contents: list[tuple[Path, dict]]) -> list[dict]:
    """Return what the captions' files say of the videos; nothing where they do not name them all."""
    entries = []
    for _, content in contents:
        videos = content.get("videos") if isinstance(content, dict) else None
        entries += videos if isinstance(videos, list) else []
    are_named = all(isinstance(entry, dict) and isinstance(entry.get("video_id"), str) for entry in entries)
    return entries if are_named else []


def read_test_pairs(files: AnnotationFiles) -> Iterator[tuple[str, str]]:
    """Read the 1k-A test queries from their CSV, or from the index of the chosen caption among each video's captions.

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
        raise BenchmarkError(f"{path}: found {brief(chosen)}, expected a mapping from video ids to caption indices.")
    captions: dict[str, list[str]] = {}
    for source, content in read_captions(files):
        for video_id, caption in caption_pairs(content, source):
            captions.setdefault(video_id, []).append(caption)
    for video_id, index in chosen.items():
        number = len(captions.get(video_id, []))
        if type(index) is not int or not 0 <= index < number:
            raise BenchmarkError(
                f"{path}, {video_id!r}: found the caption index {index!r}, expected the index of one of its {number} "
                "captions."
            )
        yield video_id, captions[video_id][index]
