"""Read captions in the forms that are in use, as (video id, caption) pairs in the order of the file."""

from pathlib import Path
from typing import Any

from ..errors import BenchmarkError, brief
from .annotation_files import read_json, read_pickle
from .video_files import strip_extension


ID_KEYS = ("video_id", "image_id", "videoID", "clip_name", "clip_id", "video", "image")
TEXT_KEYS = ("caption", "enCap", "text", "sentence")


def read_caption_file(path: Path) -> list[tuple[str, str]]:
    """Read the pairs of a JSON, JSON Lines or pickle file, plain or gzipped, in any form that `caption_pairs` knows.

    Raises:
        `BenchmarkError`: When the file has another form; names the entry.
    """
    is_pickle = path.name.removesuffix(".gz").endswith((".pkl", ".pickle"))
    return caption_pairs(read_pickle(path) if is_pickle else read_json(path), path)


def caption_pairs(content: Any, path: Path) -> list[tuple[str, str]]:
    """Return the pairs of captions in any of these forms, which are told apart by their content.

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
        `BenchmarkError`: When the content has another form; names the entry.

    Example:

    ```python
    >>> from pathlib import Path
    >>> from drl_tvr.data.benchmarks.caption_formats import caption_pairs

    >>> caption_pairs({"video0.avi": ["a man sings", "a song"]}, Path("captions.json"))
    [('video0', 'a man sings'), ('video0', 'a song')]
    ```
    """
    if isinstance(content, dict):
        for part in ("sentences", "annotations"):
            if isinstance(content.get(part), list):
                return pairs_of_rows(content[part], f"{path}, {part}")
        if not all(isinstance(video_id, str) for video_id in content):
            raise BenchmarkError(f"{path}: found {brief(content)}, expected a mapping whose keys are video ids.")
        return [
            (strip_extension(video_id), text)
            for video_id, value in content.items()
            for text in texts_of(value, f"{path}, {video_id!r}")
        ]
    if isinstance(content, list):
        return pairs_of_rows(content, str(path))
    raise BenchmarkError(f"{path}: found {brief(content)}, expected a list or a mapping of captions.")


def pairs_of_rows(rows: list, where: str) -> list[tuple[str, str]]:
    """Return the pairs of a list of mappings, whose keys are those of the first mapping."""
    if not rows or not isinstance(rows[0], dict):
        raise BenchmarkError(f"{where}: found {brief(rows)}, expected a list of mappings.")
    id_key = next((key for key in ID_KEYS if key in rows[0]), None)
    text_key = next((key for key in TEXT_KEYS if key in rows[0]), None)
    if id_key is None or text_key is None:
        raise BenchmarkError(
            f"{where}[0]: found {brief(rows[0])}, expected an id ({', '.join(ID_KEYS)}) and a text "
            f"({', '.join(TEXT_KEYS)})."
        )
    pairs = []
    for number, row in enumerate(rows):
        if not isinstance(row, dict) or not isinstance(row.get(id_key), str) or text_key not in row:
            raise BenchmarkError(
                f"{where}[{number}]: found {brief(row)}, expected the keys {id_key!r} and {text_key!r}."
            )
        video_id, value = strip_extension(row[id_key]), row[text_key]
        if isinstance(value, str):
            pairs.append((video_id, value))
        else:
            pairs += [(video_id, text) for text in texts_of(value, f"{where}[{number}]")]
    return pairs


def texts_of(value: Any, where: str) -> list[str]:
    """Return the captions of one entry: a string, strings, lists of words, or a mapping with `enCap`."""
    if isinstance(value, dict) and "enCap" in value:
        value = value["enCap"]
    if isinstance(value, str):
        return [value]
    if isinstance(value, (list, tuple)):
        texts = [join_words(text) if isinstance(text, (list, tuple)) else text for text in value]
        if all(isinstance(text, str) for text in texts):
            return texts
    raise BenchmarkError(f"{where}: found {brief(value)}, expected a caption or a list of captions.")


def join_words(words: list | tuple) -> str | None:
    """Join the words of a caption, which can be numbers; `None` for a list of anything else."""
    return " ".join(map(str, words)) if all(isinstance(word, str | int | float) for word in words) else None


__all__ = ["caption_pairs", "read_caption_file"]
