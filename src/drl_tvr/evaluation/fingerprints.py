"""Identify the inputs of a result: hashes of weights, videos and queries, and versions of the libraries."""

import hashlib
import importlib.metadata
import json
import os
import platform
from pathlib import Path

from datasets import Dataset
from tqdm.auto import tqdm
from transformers.utils import cached_file

from ..data.records import RetrievalData
from ..model.modeling_drl import DRLModel
from ..model.processing_drl import DRLProcessor


SCORING_LIBRARIES = ("torch", "transformers", "tokenizers", "torchvision", "av", "numpy", "datasets", "safetensors")


def describe_model(model: DRLModel, processor: DRLProcessor, name_or_path: str | os.PathLike) -> dict:
    """Describe a model and the sampling of its inputs, in plain values for a JSON file.

    Args:
        model ([`DRLModel`]): The model.
        processor ([`DRLProcessor`]): Its processor.
        name_or_path (`str` or `os.PathLike`): Folder or Hub name that both were loaded from or saved to.

    Returns:
        `dict`: `name` (of a folder only the last part, because the rest of its path means nothing elsewhere), `sha256`
        (of each safetensors file), `parameters` (their number), `interaction`, `temporal_encoder`,
        `padding_similarity`, `dtype`, and `fps`, `max_frames` and `max_words` of the processor.

    Raises:
        `FileNotFoundError`: When there is no safetensors file.

    Example:

    ```python
    >>> from drl_tvr import DRLModel, DRLProcessor
    >>> from drl_tvr.evaluation import describe_model

    >>> folder = "outputs/moving-shapes"
    >>> model, processor = DRLModel.from_pretrained(folder), DRLProcessor.from_pretrained(folder)
    >>> described = describe_model(model, processor, folder)
    >>> described["name"], described["interaction"], list(described["sha256"])
    ('moving-shapes', 'wti', ['model.safetensors'])
    ```"""
    return {
        "name": Path(name_or_path).resolve().name if Path(name_or_path).is_dir() else os.fspath(name_or_path),
        "sha256": hash_weights(name_or_path),
        "parameters": model.num_parameters(),
        "interaction": model.config.interaction,
        "temporal_encoder": model.config.temporal_encoder,
        "padding_similarity": model.config.padding_similarity,
        "dtype": str(model.dtype).removeprefix("torch."),
        **describe_processor(processor),
    }


def describe_processor(processor: DRLProcessor) -> dict:
    """Describe how a processor samples videos and captions, in plain values for a JSON file.

    Args:
        processor ([`DRLProcessor`]): The processor.

    Returns:
        `dict`: `fps` (frames per second), `max_frames` (per video) and `max_words` (tokens per caption).
    """
    video_processor = processor.video_processor
    return {
        "fps": video_processor.fps,
        "max_frames": video_processor.max_frames,
        "max_words": processor.max_length,
    }


def describe_data(data: RetrievalData) -> dict:
    """Describe a split, in plain values for a JSON file.

    Args:
        data ([`RetrievalData`]): The split.

    Returns:
        `dict`: The `provenance` of the split, `queries_sha256` (hash of the captions and the ids of their videos, in
        order) and `videos_sha256` (hash of the ids, times and contents of the video files).
    """
    ids = data.videos["video_id"][:]
    queries = hashlib.sha256(to_line(ids))
    for caption, video in zip(data.captions["caption"][:], data.caption_to_video, strict=True):
        queries.update(to_line([caption, ids[video]]))
    return {
        **data.provenance,
        "queries_sha256": queries.hexdigest(),
        "videos_sha256": hash_videos(data.videos),
    }


def hash_weights(name_or_path: str | os.PathLike) -> dict[str, str]:
    """Compute the SHA-256 of each safetensors file of a model.

    Args:
        name_or_path (`str` or `os.PathLike`): A folder, or the Hub name of a model that was loaded before.

    Returns:
        `dict[str, str]`: The hashes by the names of the files.

    Raises:
        `FileNotFoundError`: When there is no safetensors file.
    """
    folder = Path(name_or_path)
    if not folder.is_dir():
        folder = Path(cached_file(os.fspath(name_or_path), "config.json")).parent
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise FileNotFoundError(f"{folder}: found no .safetensors file, expected one to identify the weights by.")
    return {file.name: hash_file(file) for file in files}


def hash_videos(videos: Dataset) -> str:
    """Compute the SHA-256 of a table of videos, including the contents of the files.

    Args:
        videos (`datasets.Dataset`): Columns `video_id`, `path`, `start` and `end` (seconds).

    Returns:
        `str`: The hash; it does not depend on the folder of the files.
    """
    paths = videos["path"][:]
    unique = tqdm(dict.fromkeys(paths), desc="Hashing videos", unit="file", leave=False, disable=len(paths) < 1000)
    contents = {path: hash_file(path) for path in unique}
    table = hashlib.sha256()
    for video_id, path, start, end in zip(
        videos["video_id"][:], paths, videos["start"][:], videos["end"][:], strict=True
    ):
        table.update(to_line([video_id, start, end, contents[path]]))
    return table.hexdigest()


def hash_file(path: str | os.PathLike) -> str:
    """Compute the SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def to_line(value: list) -> bytes:
    """Encode a list as one line of JSON."""
    return json.dumps(value, ensure_ascii=False).encode() + b"\n"


def library_versions() -> dict[str, str]:
    """Return the versions of this package, of Python and of the libraries that can change a score."""
    from .. import __version__

    return {
        "drl_tvr": __version__,
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in SCORING_LIBRARIES},
    }


__all__ = ["describe_data", "describe_model", "describe_processor", "hash_videos", "hash_weights", "library_versions"]
