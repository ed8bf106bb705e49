"""From what annotation files say to a split: joined on ids, its files found, its size checked."""

import hashlib
import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field

from datasets import Dataset

from ..errors import BenchmarkError
from ..records import CAPTION_FEATURES, VIDEO_FEATURES, RetrievalData
from .annotation_files import AnnotationFiles
from .video_files import VideoFiles


logger = logging.getLogger(__name__)

SPLITS = ("train", "validation", "test")
MOST_HELD_OUT = 500


@dataclass
class OfficialSplit:
    """An official split as its annotation files tell it, before any video is looked for.

    Args:
        name (`str`): Name of the benchmark.
        part (`str`): The official split; what is held out of train for validation is part of train.
        video_ids (`list[str]`): Its videos in the order of their list.
        pairs (`Iterable[tuple[str, str]]`): Video id and caption in the order of the file; those of other videos are
            other splits' and are left out.
        find (`Callable`): From a video id to the paths of its file, best first.
        expected (`tuple[int | None, int | None]`): Numbers of videos and captions of the complete split, `None` where
            unknown.
        protocol (`str`): What results compare with.
        annotation_files (`list[str]`): The files that all this comes from, relative to the root.
        where (`str`): Where videos were looked for, for messages.
        segments (`dict[str, tuple]`, *optional*): Start and end of a video in seconds, where not the whole file.
        sources (`dict[str, str]`, *optional*): The file of a video, where several videos are segments of one; they
            are held out together.
        unseen (`list[str]`, *optional*): What of `where` was not searched, for messages.
    """

    name: str
    part: str
    video_ids: list[str]
    pairs: Iterable[tuple[str, str]]
    find: Callable[[str], Sequence[str]]
    expected: tuple[int | None, int | None]
    protocol: str
    annotation_files: list[str]
    where: str
    segments: dict[str, tuple[float | None, float | None]] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    unseen: list[str] = field(default_factory=list)

    @classmethod
    def from_files(cls, files: AnnotationFiles, names: Callable[[str], Iterable[str]] | None = None, **fields):
        """A split whose annotation files and videos lie in one folder.

        Args:
            files ([`AnnotationFiles`]): Says where, and which files were used.
            names (`Callable`, *optional*): From a video id to the names that its file may have; by default the id.
            fields: The other fields.
        """
        videos = VideoFiles(files.folder)
        return cls(
            name=files.folder.name,
            find=lambda video_id: videos.find(*(names(video_id) if names else (video_id,))),
            annotation_files=files.used,
            where=str(files.folder.root),
            unseen=files.folder.unseen,
            **fields,
        )


def check_split(name: str, split: str) -> None:
    """Refuse a split that no benchmark has.

    Raises:
        `BenchmarkError`: Lists the splits.
    """
    if split not in SPLITS:
        raise BenchmarkError(f"{name} has no split {split!r}; it has {', '.join(SPLITS)}.")


def part_of(name: str, split: str, hold_out: bool) -> str:
    """The official split that holds `split`, for a benchmark without a validation split of its own.

    Raises:
        `BenchmarkError`: When validation is wanted and nothing is held out for it.
    """
    check_split(name, split)
    if split == "validation" and not hold_out:
        raise BenchmarkError(
            f"{name} has no validation split of its own, and with hold_out=False none is taken from train. To choose "
            'on the test split, as the official code does, load split="test" and say so with the results.'
        )
    return "train" if split == "validation" else split


def held_out(video_ids: Collection[str]) -> set[str]:
    """A tenth of the videos of train, at most 500, that serve as validation.

    The choice is by a hash of the id, so it depends on no order, no seed and no file that may be missing.

    Args:
        video_ids (`Collection[str]`): All videos of train.

    Returns:
        `set[str]`: Those held out; at least one.
    """
    number = min(MOST_HELD_OUT, max(1, len(video_ids) // 10))
    return set(sorted(video_ids, key=lambda video_id: hashlib.sha256(video_id.encode()).digest())[:number])


def assemble(
    official: OfficialSplit, split: str, hold_out: bool = False, allow_missing: bool = False
) -> RetrievalData:
    """Join captions and files, and check that all is there.

    Args:
        official ([`OfficialSplit`]): What the files say.
        split (`str`): The split that is wanted: the official one, or with `hold_out` a share of train.
        hold_out (`bool`, *optional*, defaults to `False`): Whether train is shared between training and validation.
        allow_missing (`bool`, *optional*, defaults to `False`): Warn instead of failing when something is missing.

    Returns:
        [`RetrievalData`]: Videos in the order of their list, captions in the order of their file, with single spaces.

    Raises:
        `BenchmarkError`: When a video is listed twice, nothing is found, or without `allow_missing` less or more than
            expected.
    """
    listed = set(official.video_ids)
    if len(listed) < len(official.video_ids):
        twice = next(video_id for video_id in official.video_ids if official.video_ids.count(video_id) > 1)
        raise BenchmarkError(
            f"{official.name} {split}: {twice!r} is listed twice in {', '.join(official.annotation_files)}."
        )
    pairs = [(video_id, " ".join(caption.split())) for video_id, caption in official.pairs if video_id in listed]
    video_ids, expected, protocol = official.video_ids, official.expected, official.protocol
    if hold_out and official.part == "train":
        whole = (len(listed), len(pairs))
        sources = {video_id: official.sources.get(video_id, video_id) for video_id in video_ids}
        held = held_out(set(sources.values()))
        video_ids = [video_id for video_id in video_ids if (sources[video_id] in held) == (split == "validation")]
        chosen = set(video_ids)
        pairs = [pair for pair in pairs if pair[0] in chosen]
        ours = (len(video_ids), len(pairs))
        if split == "train":
            counts = zip(expected, whole, ours, strict=True)
            expected = tuple(None if n is None else n - (all_ - part) for n, all_, part in counts)
        else:
            expected = ours
        num_held = len(video_ids) if split == "validation" else len(listed) - len(video_ids)
        protocol += f"; {num_held:,} of {len(listed):,} training videos held out for validation"

    described = {video_id for video_id, caption in pairs if caption}
    files = {video_id: official.find(video_id) for video_id in video_ids if video_id in described}
    gaps = {
        "videos without a file": [video_id for video_id, paths in files.items() if not paths],
        "videos without a caption": [video_id for video_id in video_ids if video_id not in described],
        "blank captions": [video_id for video_id, caption in pairs if not caption and video_id in described],
    }
    videos = {video_id: paths[0] for video_id, paths in files.items() if paths}
    pairs = [(video_id, caption) for video_id, caption in pairs if caption and video_id in videos]
    check_size(official, split, (len(videos), len(pairs)), expected, gaps, allow_missing)
    several = [paths for paths in files.values() if len(paths) > 1]
    if several:
        logger.warning(
            f"{official.name} {split}: {len(several):,} videos have several files, as {several[0][0]} and "
            f"{several[0][1]}; the first is used."
        )

    rows = {video_id: row for row, video_id in enumerate(videos)}
    segments = [official.segments.get(video_id, (None, None)) for video_id in videos]
    return RetrievalData(
        name=official.name,
        split=split,
        videos=Dataset.from_dict(
            {
                "video_id": list(videos),
                "path": list(videos.values()),
                "start": [start for start, _ in segments],
                "end": [end for _, end in segments],
            },
            features=VIDEO_FEATURES,
        ),
        captions=Dataset.from_dict(
            {"caption": [caption for _, caption in pairs], "video_index": [rows[video_id] for video_id, _ in pairs]},
            features=CAPTION_FEATURES,
        ),
        protocol=protocol,
        expected_videos=expected[0],
        expected_captions=expected[1],
        missing=gaps["videos without a file"] + gaps["videos without a caption"],
        annotation_files=official.annotation_files,
    )


def check_size(
    official: OfficialSplit,
    split: str,
    found: tuple[int, int],
    expected: tuple[int | None, int | None],
    gaps: dict[str, list[str]],
    allow_missing: bool,
) -> None:
    """Compare numbers of videos and captions with those of the complete split.

    Raises:
        `BenchmarkError`: When they differ and that isn't allowed, or there is nothing.
    """
    is_whole = all(n in (None, ours) for ours, n in zip(found, expected, strict=True))
    if found[0] and is_whole and not any(gaps.values()):
        return
    counts = [f"{ours:,}" if n is None else f"{ours:,} of {n:,}" for ours, n in zip(found, expected, strict=True)]
    message = (
        f"{official.name} {split}: found {counts[0]} videos and {counts[1]} captions under {official.where}; captions "
        f"are from {', '.join(official.annotation_files)}."
    )
    for what, ids in gaps.items():
        if ids:
            message += f" {what.capitalize()}: {len(ids):,} ({', '.join(ids[:3])}{', ...' if len(ids) > 3 else ''})."
    if official.unseen:
        message += f" Not searched: {', '.join(official.unseen[:3])}."
    if not found[0]:
        raise BenchmarkError(f"{message} A video's file is looked for by its id, in every subfolder.")
    if not allow_missing:
        raise BenchmarkError(f"{message} To go on with what is there, pass allow_missing=True.")
    logger.warning(message)


__all__ = ["OfficialSplit", "assemble", "check_split", "part_of"]
