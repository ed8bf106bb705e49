"""The bundled benchmark, read from its files as MSR-VTT is."""

import os
from pathlib import Path

from datasets import Dataset
from huggingface_hub import cached_assets_path

from ..benchmarks.annotation_files import read_csv, read_json
from ..benchmarks.caption_formats import caption_pairs
from ..errors import BenchmarkError
from ..records import CAPTION_FEATURES, VIDEO_FEATURES, RetrievalData
from .build import ANNOTATION_FILE, SPLITS, build_moving_shapes, read_settings


def load(
    root: str | os.PathLike | None, split: str, hold_out: bool = True, allow_missing: bool = False
) -> RetrievalData:
    """Load a split of moving-shapes, rendering the clips that are missing or damaged.

    Args:
        root (`str` or `os.PathLike`, *optional*): Folder of the benchmark; by default a cache folder.
        split (`str`): `"train"`, `"validation"` or `"test"`.
        hold_out, allow_missing (`bool`, *optional*): Without effect: there is a validation split, and nothing missing.

    Returns:
        [`RetrievalData`]: Train has six captions a video, the other splits one; `twins` holds the pairs of clips that
        differ only in the order of their two events.

    Raises:
        `BenchmarkError`: For an unknown split or a folder that holds something else.
    """
    if split not in SPLITS:
        raise BenchmarkError(f"moving-shapes has no split {split!r}; it has {', '.join(SPLITS)}.")
    root = cached_assets_path("drl_tvr", "moving-shapes") if root is None else Path(root)
    made_with = dict(read_settings(root) or {})
    made_with.pop("format_version", None)
    build_moving_shapes(root, splits=(split,), **made_with)

    annotations = read_json(root / ANNOTATION_FILE)
    entries = {video["video_id"]: video for video in annotations["videos"]}
    video_ids = [row["video_id"] for row in read_csv(root / f"MovingShapes_{split}.csv", "video_id")]
    index = {video_id: row for row, video_id in enumerate(video_ids)}
    described: list[list[str]] = [[] for _ in video_ids]
    for video_id, caption in caption_pairs(annotations, root / ANNOTATION_FILE):
        if video_id in index:
            described[index[video_id]].append(caption)
    captions = [(caption, row) for row, of_video in enumerate(described) for caption in of_video]
    twins = {
        tuple(sorted((index[video_id], index[entries[video_id]["twin"]])))
        for video_id in video_ids
        if "twin" in entries[video_id]
    }
    return RetrievalData(
        name="moving-shapes",
        split=split,
        videos=Dataset.from_dict(
            {
                "video_id": video_ids,
                "path": [str(root / "videos" / f"{video_id}.mp4") for video_id in video_ids],
                "start": [None] * len(video_ids),
                "end": [None] * len(video_ids),
            },
            features=VIDEO_FEATURES,
        ),
        captions=Dataset.from_dict(
            {"caption": [caption for caption, _ in captions], "video_index": [row for _, row in captions]},
            features=CAPTION_FEATURES,
        ),
        twins=sorted(twins),
        protocol="moving-shapes, the benchmark that this package draws",
        expected_videos=len(video_ids),
        expected_captions=len(captions),
        annotation_files=[ANNOTATION_FILE, f"MovingShapes_{split}.csv"],
    )
