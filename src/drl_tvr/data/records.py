"""The common record of every benchmark: videos, captions, and which caption belongs to which video."""

from dataclasses import dataclass, field
from typing import Any

from datasets import Dataset, Features, Value

from .errors import BenchmarkError


VIDEO_FEATURES = Features(
    {"video_id": Value("string"), "path": Value("string"), "start": Value("float64"), "end": Value("float64")}
)
CAPTION_FEATURES = Features({"caption": Value("string"), "video_index": Value("int32")})
NAMED = 10  # missing videos that `provenance` names; `missing` has them all


@dataclass
class RetrievalData:
    """One split of a benchmark.

    Training rows are (video, caption) pairs: one a row of `captions`. Evaluation keeps the two apart, with
    `caption_to_video` between them.

    Args:
        name (`str`): Name of the benchmark.
        split (`str`): Name of the split.
        videos (`datasets.Dataset`): Columns `video_id` (`str`), `path` (`str`), `start` and `end` (seconds, or `None`
            for the whole file).
        captions (`datasets.Dataset`): Columns `caption` (`str`) and `video_index` (`int`, a row of `videos`).
        twins (`list[tuple[int, int]]`, *optional*): Rows of `videos` that show the same events in the other order.
        protocol (`str`, *optional*, defaults to `""`): Whose published results those on the test split compare with,
            and what was held out of train.
        expected_videos, expected_captions (`int`, *optional*): How many the complete split has; `None` where unknown.
        missing (`list[str]`, *optional*): Ids of the videos of the split that are not here: without a file, or without
            a caption.
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
                    f"{self.name} {self.split}: caption {row} belongs to video {video}, but there are "
                    f"{len(video_ids)} videos."
                )
            if not caption.strip():
                raise BenchmarkError(f"{self.name} {self.split}: caption {row} (of {video_ids[video]}) is blank.")
            described.add(video)
        without = [video_ids[row] for row in range(len(video_ids)) if row not in described]
        if without:
            raise BenchmarkError(
                f"{self.name} {self.split}: {len(without)} of {len(video_ids)} videos have no caption, "
                f"{without[0]} for one."
            )

    @property
    def caption_to_video(self) -> list[int]:
        """Row of `videos` of every caption."""
        return self.captions["video_index"][:]

    @property
    def provenance(self) -> dict[str, Any]:
        """What a metric computed on this split must be read with; plain values, for a JSON file.

        Returns:
            `dict`: `benchmark`, `split`, `protocol`, `num_videos` of `expected_videos`, `num_captions` of
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
            "missing": self.missing[:NAMED],
            "annotation_files": self.annotation_files,
        }
