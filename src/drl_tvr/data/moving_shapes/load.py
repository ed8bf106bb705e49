"""Load the bundled benchmark from the files that its build wrote."""

import csv
import json
import os
from pathlib import Path

from datasets import Dataset
from huggingface_hub import cached_assets_path

from ..records import CAPTION_FEATURES, VIDEO_FEATURES, RetrievalData, check_split
from .build import ANNOTATION_FILE, DIAL_NAMES, build_moving_shapes, read_settings


def load(root: str | os.PathLike | None, split: str) -> RetrievalData:
    """Load a split of moving-shapes, and render the clips that are missing or damaged.

    Args:
        root (`str` or `os.PathLike`, *optional*): Folder of the benchmark; by default a cache folder.
        split (`str`): `"train"`, `"validation"` or `"test"`.

    Returns:
        [`RetrievalData`]: Train has six captions per video, the other splits one; `twins` holds the pairs of clips
        that differ only in the order of their two events.

    Raises:
        `BenchmarkError`: For an unknown split or a folder that holds something else.
    """
    check_split("moving-shapes", split)
    root = cached_assets_path("drl_tvr", "moving-shapes") if root is None else Path(root)
    settings = dict(read_settings(root) or {})
    settings.pop("format_version", None)
    build_moving_shapes(root, splits=(split,), **settings)
    dials = [f"{name} {settings[name]}" for name in sorted(DIAL_NAMES & set(settings))]

    # The build has just made sure that these files are whole.
    annotations = json.loads((root / ANNOTATION_FILE).read_text())
    with open(root / f"MovingShapes_{split}.csv", newline="") as file:
        video_ids = [row["video_id"] for row in csv.DictReader(file)]
    index = {video_id: row for row, video_id in enumerate(video_ids)}
    captions: list[list[str]] = [[] for _ in video_ids]
    for sentence in annotations["sentences"]:
        if sentence["video_id"] in index:
            captions[index[sentence["video_id"]]].append(sentence["caption"])
    video_index = [row for row, of_video in enumerate(captions) for _ in of_video]
    twins = {
        tuple(sorted((index[video["video_id"]], index[video["twin"]])))
        for video in annotations["videos"]
        if video["video_id"] in index and "twin" in video
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
            {"caption": [caption for of_video in captions for caption in of_video], "video_index": video_index},
            features=CAPTION_FEATURES,
        ),
        twins=sorted(twins),
        protocol=", ".join(["moving-shapes, the benchmark that this package draws", *dials]),
        expected_videos=len(video_ids),
        expected_captions=len(video_index),
        annotation_files=[ANNOTATION_FILE, f"MovingShapes_{split}.csv"],
    )
