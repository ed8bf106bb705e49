"""Datasets for a `DataLoader`: pairs for training, videos and captions apart for evaluation, and their collator."""

import functools
import os
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence
from torch.utils import data as torch_data
from transformers import BaseVideoProcessor, ProcessorMixin

from .frame_store import load_frames
from .records import RetrievalData
from .stored_frames import StoredFrames
from .worker_pool import end_with_parent


class DataLoaderWorkerError(OSError):
    """Error about a process that loads batches and died; the message says how it died."""


def raise_worker_error(method: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a method that loads batches in worker processes, so that a worker's death is a typed error.

    Args:
        method (`Callable`): The method.

    Returns:
        `Callable`: The method; it raises [`~data.loading.DataLoaderWorkerError`] when a worker dies, instead of
        torch's `RuntimeError`.
    """

    @functools.wraps(method)
    def wrapped(*args, **kwargs):
        try:
            try:
                return method(*args, **kwargs)
            except (ConnectionResetError, EOFError) as error:
                if not comes_from_loader(error):
                    raise
                raise RuntimeError("DataLoader worker died while it sent a batch") from error
        except RuntimeError as error:  # torch's signal handler raises it at any moment, also while another is handled
            if "DataLoader worker" not in str(error):
                raise
            raise DataLoaderWorkerError(
                f"A process that loads batches died: {str(error).strip().rstrip('.')}. A process is most often killed "
                "because the memory ran out: try fewer `dataloader_num_workers`. Nothing that was saved is lost; run "
                "the same command again."
            ) from error

    return wrapped


def comes_from_loader(error: Exception) -> bool:
    """Return whether an error was raised within torch's `DataLoader`."""
    return any("torch/utils/data" in frame.f_code.co_filename for frame, _ in traceback.walk_tb(error.__traceback__))


class VideoDataset(torch_data.Dataset):
    """Decoded videos of a split, one item per video.

    Args:
        frames (`Sequence[torch.Tensor]`): From [`~data.frame_store.load_frames`], or other uint8 tensors of shape
            `(num_frames, 3, height, width)`.
    """

    def __init__(self, frames: Sequence[torch.Tensor]):
        self.frames = frames

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> dict:
        return {"frames": self.frames[index]}

    def num_frames(self, index: int) -> int:
        """Return the number of frames of a video; of stored frames, the pixels are not read."""
        return self.frames.num_frames(index) if isinstance(self.frames, StoredFrames) else len(self.frames[index])


class CaptionDataset(torch_data.Dataset):
    """Captions of a split, one item per caption.

    Args:
        captions (`Sequence[str]`): The captions.
    """

    def __init__(self, captions: Sequence[str]):
        self.captions = captions

    def __len__(self) -> int:
        return len(self.captions)

    def __getitem__(self, index: int) -> dict:
        return {"caption": self.captions[index]}


class PairDataset(torch_data.Dataset):
    """Pairs of a video and a caption of a split, one item per caption; a video occurs once for each of its captions.

    An item is a mapping with `row` (the caption's row in the split), `caption` and `frames`.

    Args:
        data ([`RetrievalData`]): The split.
        frames (`Sequence[torch.Tensor]`): Its decoded videos, as [`~data.loading.VideoDataset`] takes them.

    Raises:
        `ValueError`: When the numbers of videos differ.

    Example:

    ```python
    >>> import torch
    >>> from drl_tvr import load_benchmark
    >>> from drl_tvr.data.loading import PairDataset

    >>> data = load_benchmark("captions.csv")
    >>> frames = [torch.zeros(3, 3, 32, 32, dtype=torch.uint8) for _ in data.videos]
    >>> PairDataset(data, frames)[0]["frames"].shape
    torch.Size([3, 3, 32, 32])
    ```
    """

    def __init__(self, data: RetrievalData, frames: Sequence[torch.Tensor]):
        if len(frames) != len(data.videos):
            raise ValueError(
                f"`frames`: found {len(frames)} videos, expected the {len(data.videos)} of {data.name} {data.split}."
            )
        self.data = data
        self.videos = VideoDataset(frames)
        self.captions = CaptionDataset(data.captions["caption"][:])
        self.caption_to_video = data.caption_to_video

    def __len__(self) -> int:
        return len(self.captions)

    def __getitem__(self, index: int) -> dict:
        return {"row": index, **self.captions[index], **self.videos[self.caption_to_video[index]]}


def decode_split(
    data: RetrievalData | PairDataset | None,
    video_processor: BaseVideoProcessor,
    cache_dir: str | os.PathLike | None = None,
) -> PairDataset | None:
    """Decode the videos of a split into the frame store; several processes share the work.

    Args:
        data ([`RetrievalData`] or [`~data.loading.PairDataset`], *optional*): The split. A decoded split and
            `None` are returned unchanged.
        video_processor ([`DRLVideoProcessor`]): Samples, resizes and crops.
        cache_dir (`str` or `os.PathLike`, *optional*): The store: see [`~data.frame_store.load_frames`].

    Returns:
        [`~data.loading.PairDataset`], *optional*: The split with its frames.

    Raises:
        `TypeError`: When the split is of another type.
    """
    if data is None or isinstance(data, PairDataset):
        return data
    if not isinstance(data, RetrievalData):
        raise TypeError(f"Split: found a {type(data).__name__}, expected a RetrievalData or a PairDataset.")
    return PairDataset(data, load_frames(data.videos, video_processor, cache_dir))


@dataclass
class RetrievalCollator:
    """Collator that makes the model's inputs from items with a `caption`, `frames` or both.

    Pixels stay uint8, a quarter of the bytes of float32, and are never normalised here: the model does that, on its
    device and with the mean and standard deviation of its own configuration.

    Args:
        processor ([`DRLProcessor`]): Its tokenizer reads the captions. Its video processor was applied when the frames
            were stored; here it only says how many frames to pad to.

    Example:

    ```python
    >>> import torch
    >>> from drl_tvr import DRLProcessor
    >>> from drl_tvr.data.loading import RetrievalCollator

    >>> collate = RetrievalCollator(DRLProcessor.from_pretrained("outputs/moving-shapes"))
    >>> frames = [torch.zeros(length, 3, 32, 32, dtype=torch.uint8) for length in (1, 2)]
    >>> batch = collate([{"caption": "a red star rises", "frames": video} for video in frames])
    >>> batch["pixel_values_videos"].shape[0], batch["video_mask"].sum(dim=1).tolist()
    (2, [1, 2])
    ```
    """

    processor: ProcessorMixin

    def __call__(self, items: list[dict]) -> dict[str, torch.Tensor]:
        """Collate items, padded to the longest caption and the longest video among them.

        Args:
            items (`list[dict]`): Items of a [`~data.loading.PairDataset`], [`~data.loading.VideoDataset`] or
                [`~data.loading.CaptionDataset`].

        Returns:
            `dict[str, torch.Tensor]`: With

            - **input_ids**, **attention_mask** -- `(num_texts, num_tokens)`, if there are captions;
            - **pixel_values_videos** -- uint8, `(num_videos, num_frames, 3, height, width)`, if there are frames;
            - **video_mask** -- int64, `(num_videos, num_frames)`, 1 for a real frame and 0 for padding.

        Raises:
            `ValueError`: When frames are not uint8 or have several sizes.
        """
        batch = {}
        if "caption" in items[0]:
            batch.update(self.processor(text=[item["caption"] for item in items], return_tensors="pt"))
        if "frames" in items[0]:
            video_processor = self.processor.video_processor
            num_frames = video_processor.max_frames if video_processor.pad_to_max_frames else 0
            batch.update(pad_frames([item["frames"] for item in items], num_frames))
        return batch


def pad_frames(videos: Sequence[torch.Tensor], num_frames: int = 0) -> dict[str, torch.Tensor]:
    """Stack videos of different lengths.

    Args:
        videos (`Sequence[torch.Tensor]`): uint8 tensors of shape `(num_frames, 3, height, width)`.
        num_frames (`int`, *optional*, defaults to 0): The smallest length to pad to, in frames.

    Returns:
        `dict[str, torch.Tensor]`: `pixel_values_videos` and `video_mask`, as [`~data.loading.RetrievalCollator`]
        returns them.

    Raises:
        `ValueError`: When frames are not uint8 or have several sizes.

    Example:

    ```python
    >>> import torch
    >>> from drl_tvr.data.loading import pad_frames

    >>> videos = [torch.ones(length, 3, 8, 8, dtype=torch.uint8) for length in (1, 2)]
    >>> pad_frames(videos)["video_mask"].tolist()
    [[1, 0], [1, 1]]
    ```
    """
    types = sorted({str(video.dtype) for video in videos})
    if types != ["torch.uint8"]:
        raise ValueError(f"`frames`: found {', '.join(types)}, expected uint8, which the model normalises itself.")
    sizes = sorted({tuple(video.shape[1:]) for video in videos})
    if len(sizes) > 1:
        raise ValueError(f"`frames`: found the sizes {sizes}, expected one size per batch: resize and crop.")
    masks = [torch.ones(len(video), dtype=torch.int64) for video in videos]
    pixels = pad_sequence(videos, batch_first=True)  # (num_videos, num_frames, 3, height, width)
    mask = pad_sequence(masks, batch_first=True)  # (num_videos, num_frames)
    missing = max(0, num_frames - mask.shape[1])
    return {
        "pixel_values_videos": torch.nn.functional.pad(pixels, (0, 0, 0, 0, 0, 0, 0, missing)),
        "video_mask": torch.nn.functional.pad(mask, (0, missing)),
    }


def share_of(num_items: int, process: int, num_processes: int) -> slice:
    """Return the part of a sequence that one of several processes works on.

    Parts are contiguous, in the order of the processes, and differ by at most one item.

    Args:
        num_items (`int`): Length of the sequence.
        process (`int`): Index of the process.
        num_processes (`int`): Number of processes.

    Returns:
        `slice`: The part; empty for some processes when there are fewer items than processes.

    Example:

    ```python
    >>> from drl_tvr.data.loading import share_of

    >>> [share_of(5, process, 2) for process in (0, 1)]
    [slice(0, 2, None), slice(2, 5, None)]
    ```
    """
    return slice(process * num_items // num_processes, (process + 1) * num_items // num_processes)


__all__ = [
    "CaptionDataset",
    "DataLoaderWorkerError",
    "PairDataset",
    "RetrievalCollator",
    "VideoDataset",
    "decode_split",
    "end_with_parent",
    "pad_frames",
    "raise_worker_error",
    "share_of",
]
