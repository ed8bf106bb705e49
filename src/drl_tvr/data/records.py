"""The common record of every benchmark: videos, captions, and which caption belongs to which video."""

from dataclasses import dataclass, field

from datasets import Dataset

from .errors import BenchmarkError


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

    Raises:
        `BenchmarkError`: When a caption is blank or belongs to no video, or a video has no caption.
    """

    name: str
    split: str
    videos: Dataset
    captions: Dataset
    twins: list[tuple[int, int]] = field(default_factory=list)

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
