"""What the tests of benchmarks write to disk, and how they read a split back."""

import json
from pathlib import Path

from drl_tvr import RetrievalData


def write(path: Path, content) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def touch(folder: Path, names) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()


def joined(data: RetrievalData) -> dict[str, list[str]]:
    """Captions of every video, by id."""
    ids = data.videos["video_id"][:]
    captions = {video_id: [] for video_id in ids}
    for caption, row in zip(data.captions["caption"][:], data.caption_to_video, strict=True):
        captions[ids[row]].append(caption)
    return captions


def sizes(data: RetrievalData) -> tuple[int, int]:
    return len(data.videos), len(data.captions)
