"""What a DataLoader reads: pairs for training, videos and captions apart for evaluation, and their collator."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch.nn.utils.rnn import pad_sequence
from torch.utils import data as torch_data
from transformers import ProcessorMixin

from .records import RetrievalData


class DataLoaderWorkerError(OSError):
    """A process that loads batches died; the message says how."""


@contextmanager
def say_who_died() -> Iterator[None]:
    """A context, or a decorator, for what loads batches in workers.

    Raises:
        `DataLoaderWorkerError`: When a worker dies, instead of torch's `RuntimeError`.
    """
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise DataLoaderWorkerError(
            f"A process that loads batches died: {str(error).strip().rstrip('.')}. A killed one is most often one for "
            "which there was no memory: try fewer `dataloader_num_workers`. Nothing that was saved is lost; run the "
            "same command again."
        ) from error


class VideoDataset(torch_data.Dataset):
    """The decoded videos of a split, one item a video.

    Args:
        frames (`Sequence[torch.Tensor]`): From [`~data.frame_store.decode_videos`], or other uint8 tensors of shape
            `(num_frames, 3, height, width)`.
    """

    def __init__(self, frames: Sequence[torch.Tensor]):
        self.frames = frames

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> dict:
        return {"frames": self.frames[index]}


class CaptionDataset(torch_data.Dataset):
    """The captions of a split, one item a caption.

    Args:
        captions (`Sequence[str]`): Sentences.
    """

    def __init__(self, captions: Sequence[str]):
        self.captions = captions

    def __len__(self) -> int:
        return len(self.captions)

    def __getitem__(self, index: int) -> dict:
        return {"caption": self.captions[index]}


class PairDataset(torch_data.Dataset):
    """The (video, caption) pairs of a split, one item a caption; a video occurs once for each of its captions.

    An item is a mapping with `row`, the caption's row in the split, `caption` and `frames`.

    Args:
        data ([`RetrievalData`]): The split.
        frames (`Sequence[torch.Tensor]`): Its decoded videos, as [`~data.loading.VideoDataset`] takes them.

    Raises:
        `ValueError`: When the numbers of videos differ.
    """

    def __init__(self, data: RetrievalData, frames: Sequence[torch.Tensor]):
        if len(frames) != len(data.videos):
            raise ValueError(f"{data.name} {data.split} has {len(data.videos)} videos, `frames` has {len(frames)}.")
        self.data = data
        self.videos = VideoDataset(frames)
        self.captions = CaptionDataset(data.captions["caption"][:])
        self.caption_to_video = data.caption_to_video

    def __len__(self) -> int:
        return len(self.captions)

    def __getitem__(self, index: int) -> dict:
        return {"row": index, **self.captions[index], **self.videos[self.caption_to_video[index]]}


@dataclass
class RetrievalCollator:
    """Brings items with a `caption`, `frames` or both to the model's inputs.

    Pixels stay uint8, a quarter of the bytes of float32, and are never normalised here: the model does that, on its
    device and with the mean and standard deviation of its own configuration.

    Args:
        processor ([`DRLProcessor`]): Tokenizes. Its video processor has done its part when the frames were stored.

    Example:

    ```python
    >>> from drl_tvr import DRLProcessor
    >>> from drl_tvr.data.loading import RetrievalCollator

    >>> collate = RetrievalCollator(DRLProcessor.from_pretrained("path/to/model"))  # doctest: +SKIP
    >>> loader = DataLoader(pairs, 128, shuffle=True, collate_fn=collate, num_workers=4)  # doctest: +SKIP
    ```
    """

    processor: ProcessorMixin

    def __call__(self, items: list[dict]) -> dict[str, torch.Tensor]:
        """Collate items, padded to the longest caption and the longest video among them.

        Args:
            items (`list[dict]`): Of a [`~data.loading.PairDataset`], [`~data.loading.VideoDataset`] or
                [`~data.loading.CaptionDataset`].

        Returns:
            `dict[str, torch.Tensor]`: With

            - **input_ids**, **attention_mask** -- `(num_texts, num_tokens)`, if there are captions;
            - **pixel_values_videos** -- uint8, `(num_videos, num_frames, 3, height, width)`, if there are frames;
            - **video_mask** -- int64, `(num_videos, num_frames)`, 1 for a real frame and 0 for padding.

        Raises:
            `ValueError`: When frames are not uint8, or of several sizes.
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
    """Stack videos of unlike length.

    Args:
        videos (`Sequence[torch.Tensor]`): uint8 tensors of shape `(num_frames, 3, height, width)`.
        num_frames (`int`, *optional*, defaults to 0): The least length to pad to.

    Returns:
        `dict[str, torch.Tensor]`: `pixel_values_videos` and `video_mask`, as [`~data.loading.RetrievalCollator`]
        gives them.

    Raises:
        `ValueError`: When frames are not uint8, or of several sizes.

    Example:

    ```python
    >>> videos = [torch.ones(length, 3, 8, 8, dtype=torch.uint8) for length in (1, 2)]
    >>> pad_frames(videos)["video_mask"].tolist()
    [[1, 0], [1, 1]]

    ```
    """
    types = sorted({str(video.dtype) for video in videos})
    if types != ["torch.uint8"]:
        raise ValueError(f"Frames must be uint8, which the model normalises itself; found {', '.join(types)}.")
    sizes = sorted({tuple(video.shape[1:]) for video in videos})
    if len(sizes) > 1:
        raise ValueError(f"Found frames of the sizes {sizes}, expected one for a batch: resize and crop.")
    masks = [torch.ones(len(video), dtype=torch.int64) for video in videos]
    pixels = pad_sequence(videos, batch_first=True)  # (num_videos, num_frames, 3, height, width)
    mask = pad_sequence(masks, batch_first=True)  # (num_videos, num_frames)
    missing = max(0, num_frames - mask.shape[1])
    return {
        "pixel_values_videos": torch.nn.functional.pad(pixels, (0, 0, 0, 0, 0, 0, 0, missing)),
        "video_mask": torch.nn.functional.pad(mask, (0, missing)),
    }


__all__ = ["CaptionDataset", "DataLoaderWorkerError", "PairDataset", "RetrievalCollator", "VideoDataset", "pad_frames"]
