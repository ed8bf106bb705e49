"""Reads MSR-VTT's annotation files: the JSON of videos and sentences, and the CSV lists that choose from it."""

import csv
import json
from pathlib import Path

from ..errors import BenchmarkError


def read_sentences(path: Path) -> tuple[dict[str, dict], dict[str, list[str]]]:
    """Read the official JSON.

    Args:
        path (`Path`): A file with the keys `videos` and `sentences`.

    Returns:
        `tuple(dict, dict)`: Every video's entry and every video's captions in file order, by `video_id`.

    Raises:
        `BenchmarkError`: When it isn't JSON, lacks a key, or a sentence belongs to no video.
        `FileNotFoundError`: When there is no such file.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BenchmarkError(f"{path} is not JSON: {error}.") from error
    if not isinstance(content, dict) or not {"videos", "sentences"} <= set(content):
        raise BenchmarkError(f"{path} must be an object with the keys 'videos' and 'sentences'.")
    for part, keys in (("videos", {"video_id"}), ("sentences", {"video_id", "caption"})):
        for row, entry in enumerate(content[part]):
            if not isinstance(entry, dict) or not keys <= set(entry):
                raise BenchmarkError(f"{path}: {part}[{row}] must have the keys {sorted(keys)}, found {entry!r:.200}.")
    videos = {video["video_id"]: video for video in content["videos"]}
    captions: dict[str, list[str]] = {video_id: [] for video_id in videos}
    for sentence in content["sentences"]:
        if sentence["video_id"] not in captions:
            raise BenchmarkError(f"{path}: sentence {sentence.get('sen_id')} is of unknown {sentence['video_id']!r}.")
        captions[sentence["video_id"]].append(sentence["caption"])
    return videos, captions


def read_csv(path: Path) -> list[dict[str, str]]:
    """Read a CSV list with a header that has a `video_id` column.

    Args:
        path (`Path`): Its file.

    Returns:
        `list[dict[str, str]]`: One entry a row.

    Raises:
        `BenchmarkError`: When the column is missing.
        `FileNotFoundError`: When there is no such file.
    """
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if "video_id" not in (reader.fieldnames or ()):
            raise BenchmarkError(f"{path} needs a column 'video_id', found {reader.fieldnames}.")
        return list(reader)
