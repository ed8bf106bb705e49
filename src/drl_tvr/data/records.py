"""The record of a benchmark's split: videos, captions, and which caption belongs to which video."""

from dataclasses import dataclass, field
from typing import Any

from datasets import Dataset, Features, Value

from .errors import BenchmarkError


VIDEO_FEATURES = Features(
    {"video_id": Value("string"), "path": Value("string"), "start": Value("float64"), "end": Value("float64")}
)
CAPTION_FEATURES = Features({"caption": Value("string"), "video_index": Value("int32")})
SPLITS = ("train", "validation", "test")
MAX_MISSING_NAMED = 10  # in `provenance`; `missing` names all


def check_split(name: str, split: str) -> None:
    """Refuse a split that no benchmark has.

    Args:
        name (`str`): Name of the benchmark, for the message.
        split (`str`): Name of the split.

    Raises:
        `BenchmarkError`: When it is none of `"train"`, `"validation"` and `"test"`.
    """
    if split not in SPLITS:
        raise BenchmarkError(f"{name}, `split`: found {split!r}, expected one of {', '.join(map(repr, SPLITS))}.")


@dataclass
class RetrievalData:
    """One split of a benchmark.

    Training takes (video, caption) pairs, one per row of `captions`. Evaluation takes videos and captions apart;
    `caption_to_video` says which belong together.

    Args:
        name (`str`): Name of the benchmark.
        split (`str`): Name of the split.
        videos (`datasets.Dataset`): Columns `video_id` (`str`), `path` (`str`), `start` and `end` (seconds, or `None`
            for the whole file).
        captions (`datasets.Dataset`): Columns `caption` (`str`) and `video_index` (`int`, a row of `videos`).
        twins (`list[tuple[int, int]]`, *optional*): Pairs of rows of `videos` that show the same events in opposite
            order.
        protocol (`str`, *optional*, defaults to `""`): The published results that those on the test split compare
            with, and what was held out of train.
        expected_videos, expected_captions (`int`, *optional*): Numbers of the complete split; `None` when unknown.
        missing (`list[str]`, *optional*): Ids of the split's videos that were left out because they have no file or
            no caption.
        annotation_files (`list[str]`, *optional*): The files that the captions come from, relative to the root.

    Raises:
        `BenchmarkError`: When a caption is blank or belongs to no video, or a video has no caption.
    """

    name: str
    split: str
    videos: Dataset
    captions: Dataset
    twins: list[tuple[int, int]] = field(default_factory=list)
    protocol: str = ""
    expected_videos: int | None = None
    expected_captions: int | None = None
    missing: list[str] = field(default_factory=list)
    annotation_files: list[str] = field(default_factory=list)

    def __post_init__(self):
        video_ids = self.videos["video_id"][:]
        described = set()
        pairs = zip(self.captions["caption"][:], self.caption_to_video, strict=True)
        for row, (caption, video) in enumerate(pairs):
            if not 0 <= video < len(video_ids):
                raise BenchmarkError(
                    f"{self.name} {self.split}, caption {row}: found the video {video}, expected one of the "
                    f"{len(video_ids)} videos from 0."
                )
            if not caption.strip():
                raise BenchmarkError(
                    f"{self.name} {self.split}, caption {row} (of {video_ids[video]}): found a blank caption, "
                    "expected a sentence."
                )
            described.add(video)
        without = [video_ids[row] for row in range(len(video_ids)) if row not in described]
        if without:
            raise BenchmarkError(
                f"{self.name} {self.split}: found {len(without)} of {len(video_ids)} videos without a caption "
                f"({without[0]}, for example), expected at least one caption per video."
            )

    @property
    def caption_to_video(self) -> list[int]:
        """Row of `videos` that each caption belongs to."""
        return self.captions["video_index"][:]

    @property
    def provenance(self) -> dict[str, Any]:
        """Facts that belong beside every metric computed on this split, as values that JSON can hold.

        Returns:
            `dict`: `benchmark`, `split`, `protocol`, `num_videos`, `expected_videos`, `num_captions`,
            `expected_captions`, `num_missing`, `missing` (the first ten ids) and `annotation_files`.
        """
        return {
            "benchmark": self.name,
            "split": self.split,
            "protocol": self.protocol,
            "num_videos": len(self.videos),
            "expected_videos": self.expected_videos,
            "num_captions": len(self.captions),
            "expected_captions": self.expected_captions,
            "num_missing": len(self.missing),
            "missing": self.missing[:MAX_MISSING_NAMED],
            "annotation_files": self.annotation_files,
        }


__all__ = ["CAPTION_FEATURES", "SPLITS", "VIDEO_FEATURES", "RetrievalData", "check_split"]
