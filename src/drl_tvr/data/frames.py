"""Decodes every video once: sampled, resized, cropped frames as uint8 in an Arrow file that is read by memory map."""

import hashlib
import json
import os
from pathlib import Path

import datasets
import numpy as np
import torch
from datasets import Dataset, Features, Sequence, Value
from transformers import BaseVideoProcessor


FRAME_FEATURES = Features({"pixels": Value("large_binary"), "shape": Sequence(Value("int32"))})
# Settings that are applied after decoding, or that change nothing in the stored pixels.
NOT_STORED = ("image_mean", "image_std", "rescale_factor", "do_rescale", "do_normalize", "video_processor_type")


def decode_videos(
    videos: Dataset,
    video_processor: BaseVideoProcessor,
    cache_dir: str | os.PathLike | None = None,
    num_processes: int | None = None,
) -> Dataset:
    """Decode every video, or find the result of an earlier time.

    The cache is keyed by all that changes the pixels: the processor's settings and every file's path, size, time of
    change, start and end. A file that can't be decoded stops the work with an error that names it.

    Args:
        videos (`datasets.Dataset`): Columns `path`, `start` and `end`, as in [`RetrievalData`].
        video_processor ([`DRLVideoProcessor`]): Samples, resizes and crops.
        cache_dir (`str` or `os.PathLike`, *optional*): Where the Arrow files go; by default within the cache of
            `datasets`.
        num_processes (`int`, *optional*): Decoding processes; by default one a core.

    Returns:
        `datasets.Dataset`: One row a video, in order; read it with `read_frames`.

    Raises:
        `VideoDecodeError`: For the first video that can't be decoded.
    """
    settings = {key: value for key, value in video_processor.to_dict().items() if key not in NOT_STORED}
    files = []
    for path, start, end in zip(videos["path"][:], videos["start"][:], videos["end"][:], strict=True):
        found = os.stat(path)
        files.append((os.path.abspath(path), found.st_size, found.st_mtime_ns, start, end))
    key = hashlib.sha256(json.dumps([settings, files], sort_keys=True, default=str).encode()).hexdigest()[:24]
    cache_dir = Path(cache_dir or Path(datasets.config.HF_DATASETS_CACHE) / "drl_tvr")
    cache_dir.mkdir(parents=True, exist_ok=True)
    num_processes = min(num_processes or os.cpu_count() or 1, len(videos))
    return videos.map(
        decode_one,
        fn_kwargs={"video_processor": video_processor, "in_worker": num_processes > 1},
        remove_columns=videos.column_names,
        features=FRAME_FEATURES,
        num_proc=num_processes if num_processes > 1 else None,
        cache_file_name=str(cache_dir / f"frames-{key}.arrow"),
        load_from_cache_file=True,
        new_fingerprint=key,
        writer_batch_size=64,
        desc="Decoding videos",
    )


def decode_one(video: dict, video_processor: BaseVideoProcessor, in_worker: bool = False) -> dict:
    """Decode one row of `videos` to uint8 pixels."""
    if in_worker:
        # Processes, not threads, share the cores here. The main process keeps its threads: it will train.
        torch.set_num_threads(1)
    inputs = video_processor(
        [video["path"]], start=video["start"], end=video["end"], do_rescale=False, do_normalize=False
    )
    pixels = inputs["pixel_values_videos"][0]  # (num_frames, 3, size, size)
    return {"pixels": pixels.numpy().tobytes(), "shape": list(pixels.shape)}


def read_frames(row: dict) -> torch.Tensor:
    """Frames of one row of `decode_videos`.

    Args:
        row (`dict`): The row.

    Returns:
        `torch.Tensor` of shape `(num_frames, 3, size, size)`: uint8 pixels.
    """
    return torch.from_numpy(np.frombuffer(row["pixels"], dtype=np.uint8).reshape(row["shape"]).copy())


__all__ = ["decode_videos", "read_frames"]
