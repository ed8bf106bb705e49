"""The bundled benchmark, read from its files as MSR-VTT is."""

import os
from pathlib import Path

from datasets import Dataset, Features, Value
from huggingface_hub import cached_assets_path

from ..errors import BenchmarkError
from ..moving_shapes.build import ANNOTATION_FILE, SPLITS, build_moving_shapes, read_settings
from ..records import RetrievalData
from .msrvtt_format import read_csv, read_sentences


VIDEO_FEATURES = Features(
    {"video_id": Value("string"), "path": Value("string"), "start": Value("float64"), "end": Value("float64")}
)
CAPTION_FEATURES = Features({"caption": Value("string"), "video_index": Value("int32")})


def load(root: str | os.PathLike | None, split: str) -> RetrievalData:
    """Load a split of moving-shapes, rendering the clips that are missing or damaged.

    Args:
        root (`str` or `os.PathLike`, *optional*): Folder of the benchmark; by default a cache folder.
        split (`str`): `"train"`, `"validation"` or `"test"`.

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

    entries, all_captions = read_sentences(root / ANNOTATION_FILE)
    rows = read_csv(root / f"MovingShapes_{split}.csv")
    video_ids = [row["video_id"] for row in rows]
    index = {video_id: row for row, video_id in enumerate(video_ids)}
    captions = [
        {"caption": caption, "video_index": row}
        for row, video_id in enumerate(video_ids)
        for caption in all_captions[video_id]
    ]
    videos = [
        {"video_id": video_id, "path": str(root / "videos" / f"{video_id}.mp4"), "start": None, "end": None}
        for video_id in video_ids
    ]
    twins = {
        tuple(sorted((index[video_id], index[entries[video_id]["twin"]])))
        for video_id in video_ids
        if "twin" in entries[video_id]
    }
    return RetrievalData(
        name="moving-shapes",
        split=split,
        videos=Dataset.from_list(videos, features=VIDEO_FEATURES),
        captions=Dataset.from_list(captions, features=CAPTION_FEATURES),
        twins=sorted(twins),
    )
