"""The forms in which captions are passed on, all brought to (video id, caption) pairs in the order of the file."""

from pathlib import Path
from typing import Any

from ..errors import BenchmarkError
from .annotation_files import read_json, read_pickle
from .video_files import strip_extension


ID_KEYS = ("video_id", "image_id", "videoID", "clip_name", "clip_id", "video", "image")
TEXT_KEYS = ("caption", "enCap", "text", "sentence")


def read_caption_file(path: Path) -> list[tuple[str, str]]:
    """Pairs of a JSON, JSON Lines or pickle file, plain or gzipped, in any form that `caption_pairs` knows."""
    is_pickle = path.name.removesuffix(".gz").endswith((".pkl", ".pickle"))
    return caption_pairs(read_pickle(path) if is_pickle else read_json(path), path)


def caption_pairs(content: Any, path: Path) -> list[tuple[str, str]]:
    """Recognise a form by its content.

    - MSR-VTT's own: `{"sentences": [{"video_id", "caption"}]}`;
    - COCO's: `{"annotations": [{"image_id", "caption"}]}`;
    - a list of rows, or JSON Lines, with an id (`videoID`, `clip_name`, `clip_id`, `video`, ...) and a text
      (`caption`, `enCap`, `text`, `sentence`) that is a string or a list of strings;
    - a mapping from id to captions; a caption is a string or a list of words, and VATEX's entries are mappings with
      `enCap`.

    An id is a file name without a video's extension.

    Args:
        content (`Any`): What the file holds.
        path (`Path`): The file, for messages.

    Returns:
        `list[tuple[str, str]]`: Video id and caption, in the order of the file.

    Raises:
        `BenchmarkError`: When it is none of these; names the entry.
    """
    if isinstance(content, dict):
        for part in ("sentences", "annotations"):
            if isinstance(content.get(part), list):
                return pairs_of_rows(content[part], f"{path}: {part}")
        return [
            (strip_extension(video_id), text)
            for video_id, value in content.items()
            for text in texts_of(value, f"{path}: {video_id!r}")
        ]
    if isinstance(content, list):
        return pairs_of_rows(content, str(path))
    raise BenchmarkError(f"{path} must hold a list or a mapping of captions, found {content!r:.200}.")


def pairs_of_rows(rows: list, where: str) -> list[tuple[str, str]]:
    """Pairs of a list of mappings; the first says which keys they have."""
    if not rows or not isinstance(rows[0], dict):
        raise BenchmarkError(f"{where} must be a list of mappings, found {rows!r:.200}.")
    id_key = next((key for key in ID_KEYS if key in rows[0]), None)
    text_key = next((key for key in TEXT_KEYS if key in rows[0]), None)
    if id_key is None or text_key is None:
        raise BenchmarkError(
            f"{where}[0] must have an id ({', '.join(ID_KEYS)}) and a text ({', '.join(TEXT_KEYS)}), found "
            f"{rows[0]!r:.200}."
        )
    pairs = []
    for number, row in enumerate(rows):
        if not isinstance(row, dict) or not isinstance(row.get(id_key), str) or text_key not in row:
            raise BenchmarkError(
                f"{where}[{number}] must have the keys {id_key!r} and {text_key!r}, found {row!r:.200}."
            )
        video_id, value = strip_extension(row[id_key]), row[text_key]
        if isinstance(value, str):
            pairs.append((video_id, value))
        else:
            pairs += [(video_id, text) for text in texts_of(value, f"{where}[{number}]")]
    return pairs


def texts_of(value: Any, where: str) -> list[str]:
    """Captions of one entry: a string, strings, lists of words, or a mapping with `enCap`."""
    if isinstance(value, dict) and "enCap" in value:
        value = value["enCap"]
    if isinstance(value, str):
        return [value]
    if isinstance(value, (list, tuple)):
        texts = [" ".join(map(str, text)) if isinstance(text, (list, tuple)) else text for text in value]
        if all(isinstance(text, str) for text in texts):
            return texts
    raise BenchmarkError(f"{where} must be a caption or a list of captions, found {value!r:.200}.")


__all__ = ["caption_pairs", "read_caption_file"]
