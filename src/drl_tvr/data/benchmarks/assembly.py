"""Make a split from annotation files: join captions and videos on ids, find the files, check the numbers."""

import hashlib
import itertools
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from datasets import Dataset, Features
from datasets.table import InMemoryTable

from ..errors import BenchmarkError, brief, is_unicode
from ..records import CAPTION_FEATURES, VIDEO_FEATURES, RetrievalData, check_split
from .annotation_files import AnnotationFiles
from .video_files import VideoFiles


logger = logging.getLogger(__name__)

MAX_HELD_OUT = 500


@dataclass
class OfficialSplit:
    """An official split as its annotation files describe it, before any video is looked for.

    Args:
        name (`str`): Name of the benchmark.
        part (`str`): The official split; videos that are held out for validation are part of train.
        video_ids (`list[str]`): Its videos in the order of their list.
        pairs (`Iterable[tuple[str, str]]`): Video id and caption in the order of the file. Pairs of videos that are
            not listed belong to other splits and are left out.
        find (`Callable`): From a video id to the paths of its file, best first.
        expected (`tuple[int | None, int | None]`): Numbers of videos and captions of the complete split; `None` when
            unknown.
        protocol (`str`): The results that results on this split compare with.
        annotation_files (`list[str]`): The files that all this comes from, relative to the root.
        where (`str`): The folder of the videos, for messages.
        segments (`dict[str, tuple]`, *optional*): Start and end of a video in seconds; without an entry it is the
            whole file.
        sources (`dict[str, str]`, *optional*): The file or the longer video that a video is a part of. All parts of
            one are held out, or none.
        not_searched (`list[str]`, *optional*): Parts of `where` that were not searched, for messages.
        explain (`Callable`, *optional*): From the id of a video without a file to a sentence on where it was looked
            for.
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
    not_searched: list[str] = field(default_factory=list)
    explain: Callable[[str], str] | None = None

    @classmethod
    def from_files(cls, files: AnnotationFiles, names: Callable[[str], Iterable[str]] | None = None, **fields):
        """Make a split whose annotation files and videos lie in one folder.

        Args:
            files (`AnnotationFiles`): The folder, and the files that were used.
            names (`Callable`, *optional*): From a video id to the names that its file may have; by default the id.
            fields: The other fields.

        Returns:
            `OfficialSplit`: The split.
        """
        videos = VideoFiles(files.folder)
        return cls(
            name=files.folder.name,
            find=lambda video_id: videos.find(*(names(video_id) if names else (video_id,))),
            annotation_files=files.used,
            where=str(files.folder.root),
            not_searched=files.folder.not_searched,
            **fields,
        )


def part_of(name: str, split: str, hold_out: bool) -> str:
    """Return the official split that contains `split`, for a benchmark without a validation split of its own.

    Args:
        name (`str`): Name of the benchmark, for messages.
        split (`str`): `"train"`, `"validation"` or `"test"`.
        hold_out (`bool`): Whether a part of train is the validation split.

    Raises:
        `BenchmarkError`: For an unknown split, or for validation when nothing is held out for it.
    """
    check_split(name, split)
    if split == "validation" and not hold_out:
        raise BenchmarkError(
            f"{name}, `split`: found 'validation' with hold_out=False, expected 'train' or 'test': the benchmark has "
            "no validation split of its own, and none is taken from train. To choose on the test split, as the "
            'official code does, load split="test" and say so with the results.'
        )
    return "train" if split == "validation" else split


def held_out(video_ids: Collection[str], sources: Mapping[str, str] | None = None) -> set[str]:
    """Choose the videos of train that are the validation split: a tenth, at most 500.

    The choice is by a hash of the source, or of the id, so it depends on no order, no seed and no file that may be
    missing. All videos of a source are on one side. A source with more videos than are still wanted is passed over.

    Args:
        video_ids (`Collection[str]`): All videos of train.
        sources (`Mapping[str, str]`, *optional*): The source of a video; by default each is its own.

    Returns:
        `set[str]`: Ids of the chosen videos; at least one.
    """
    videos_of: dict[str, list[str]] = {}
    for video_id in video_ids:
        videos_of.setdefault((sources or {}).get(video_id, video_id), []).append(video_id)
    number = min(MAX_HELD_OUT, max(1, len(video_ids) // 10))
    in_order = sorted(videos_of, key=lambda source: hashlib.sha256(source.encode()).digest())
    chosen: list[str] = []
    for source in in_order:
        if len(chosen) + len(videos_of[source]) <= number:
            chosen += videos_of[source]
    return set(chosen or videos_of[min(in_order, key=lambda source: len(videos_of[source]))])


def assemble(
    official: OfficialSplit, split: str, hold_out: bool = False, allow_missing: bool = False
) -> RetrievalData:
    """Join captions and files, and check that nothing is missing.

    Args:
        official (`OfficialSplit`): The official split.
        split (`str`): The split to make: the official one, or with `hold_out` a share of train.
        hold_out (`bool`, *optional*, defaults to `False`): Whether train is shared between training and validation.
        allow_missing (`bool`, *optional*, defaults to `False`): Whether to warn instead of failing when something is
            missing.

    Returns:
        [`RetrievalData`]: Videos in the order of their list, captions in the order of their file, with single spaces.

    Raises:
        `BenchmarkError`: When a video is listed twice, when no video is found, or, without `allow_missing`, when the
            numbers are not the expected ones.
    """
    pairs = listed_pairs(official, split)
    video_ids, expected, protocol = official.video_ids, official.expected, official.protocol
    if hold_out and official.part == "train":
        num_listed = len(video_ids)
        video_ids, pairs, expected = share_of_train(official, pairs, split)
        num_held_out = len(video_ids) if split == "validation" else num_listed - len(video_ids)
        whole = "whole sources, " if official.sources else ""
        protocol += f"; {whole}{num_held_out:,} of {num_listed:,} training videos held out for validation"
    videos, several, gaps = find_files(official, split, video_ids, pairs)
    pairs = [(video_id, caption) for video_id, caption in pairs if caption and video_id in videos]
    check_size(official, split, (len(videos), len(pairs)), expected, gaps, allow_missing)
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
        videos=make_dataset(
            VIDEO_FEATURES,
            video_id=list(videos),
            path=list(videos.values()),
            start=[start for start, _ in segments],
            end=[end for _, end in segments],
        ),
        captions=make_dataset(
            CAPTION_FEATURES,
            caption=[caption for _, caption in pairs],
            video_index=[rows[video_id] for video_id, _ in pairs],
        ),
        protocol=protocol,
        expected_videos=expected[0],
        expected_captions=expected[1],
        missing=gaps["videos without a file"] + gaps["videos without a caption"],
        annotation_files=official.annotation_files,
    )


def listed_pairs(official: OfficialSplit, split: str) -> list[tuple[str, str]]:
    """Return video id and caption of the listed videos, with single spaces.

    Raises:
        `BenchmarkError`: When a video is listed twice, or a text is not Unicode.
    """
    where = ", ".join(official.annotation_files)
    listed = set(official.video_ids)
    if len(listed) < len(official.video_ids):
        seen = set()
        twice = next(video_id for video_id in official.video_ids if video_id in seen or seen.add(video_id))
        raise BenchmarkError(f"{official.name} {split}: found {twice!r} twice in {where}, expected each video once.")
    pairs = [(video_id, single_spaced(caption)) for video_id, caption in official.pairs if video_id in listed]
    for text in itertools.chain(official.video_ids, (caption for _, caption in pairs)):
        if not is_unicode(text):
            raise BenchmarkError(
                f"{official.name} {split}: found {brief(text)} in {where}, expected Unicode text without surrogates."
            )
    return pairs


def find_files(
    official: OfficialSplit, split: str, video_ids: list[str], pairs: list[tuple[str, str]]
) -> tuple[dict[str, str], list[Sequence[str]], dict[str, list[str]]]:
    """Find the files of videos, and what is missing.

    Args:
        official (`OfficialSplit`): The official split.
        split (`str`): The split, for messages.
        video_ids (`list[str]`): The videos to find.
        pairs (`list[tuple[str, str]]`): Video id and caption.

    Returns:
        `tuple`: The file of each video that has one and a caption, the files of videos that have several, and the ids
        of videos for each kind of gap.

    Raises:
        `BenchmarkError`: When the name of a file is not Unicode.
    """
    described = {video_id for video_id, caption in pairs if caption}
    videos, several, without_file = {}, [], []
    for video_id in video_ids:
        if video_id not in described:
            continue
        paths = official.find(video_id)
        if not paths:
            without_file.append(video_id)
            continue
        if not is_unicode(paths[0]):
            raise BenchmarkError(f"{official.name} {split}: found the file {paths[0]!r}, expected a name in UTF-8.")
        videos[video_id] = paths[0]
        if len(paths) > 1:
            several.append(paths)
    gaps = {
        "videos without a file": without_file,
        "videos without a caption": [video_id for video_id in video_ids if video_id not in described],
        "blank captions": [video_id for video_id, caption in pairs if not caption and video_id in described],
    }
    return videos, several, gaps


def single_spaced(text: str) -> str:
    """Return a text with single spaces between its words; the same object when it has them."""
    joined = " ".join(text.split())
    return text if joined == text else joined


def make_dataset(features: Features, **columns: list) -> Dataset:
    """Make a dataset from columns; `Dataset.from_dict` would go through every value in Python."""
    return Dataset(InMemoryTable.from_pydict(columns, schema=features.arrow_schema))


def share_of_train(
    official: OfficialSplit, pairs: list[tuple[str, str]], split: str
) -> tuple[list[str], list[tuple[str, str]], tuple[int | None, int | None]]:
    """Take the videos of train that are held out for validation, or the rest.

    Args:
        official (`OfficialSplit`): The official train split.
        pairs (`list[tuple[str, str]]`): Video id and caption of its videos.
        split (`str`): `"validation"` for the videos that are held out, `"train"` for the rest.

    Returns:
        `tuple`: The ids, the pairs, and the expected numbers of videos and captions.

    Raises:
        `BenchmarkError`: When no video is left to train on.
    """
    validation = held_out(official.video_ids, official.sources)
    video_ids = [video_id for video_id in official.video_ids if (video_id in validation) == (split == "validation")]
    if not video_ids:
        raise BenchmarkError(
            f"{official.name} train: found {official.sources.get(official.video_ids[0], official.video_ids[0])!r} as "
            "the only training file, which is held out for validation, expected a second one. Pass hold_out=False to "
            "train on it."
        )
    chosen = set(video_ids)
    chosen_pairs = [pair for pair in pairs if pair[0] in chosen]
    if split == "validation":
        return video_ids, chosen_pairs, (len(video_ids), len(chosen_pairs))
    num_videos, num_captions = official.expected
    if num_videos is not None:
        num_videos -= len(official.video_ids) - len(video_ids)
    if num_captions is not None:
        num_captions -= len(pairs) - len(chosen_pairs)
    return video_ids, chosen_pairs, (num_videos, num_captions)


def check_size(
    official: OfficialSplit,
    split: str,
    found: tuple[int, int],
    expected: tuple[int | None, int | None],
    gaps: dict[str, list[str]],
    allow_missing: bool,
) -> None:
    """Compare the numbers of videos and captions with those of the complete split.

    Raises:
        `BenchmarkError`: When there is no video, or when the numbers differ and `allow_missing` is false.
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
    if official.not_searched:
        message += f" Not searched: {', '.join(official.not_searched[:3])}."
    without_file = gaps["videos without a file"]
    if official.explain is not None and without_file:
        message += f" {official.explain(without_file[0])}"
    elif not found[0]:
        message += " The file of a video is looked for by its id, in every subfolder."
    if not found[0]:
        raise BenchmarkError(message)
    if not allow_missing:
        raise BenchmarkError(f"{message} To go on with what is there, pass allow_missing=True.")
    logger.warning(message)


__all__ = ["OfficialSplit", "assemble", "part_of"]
