"""What a DataLoader reads: pairs for training, videos and captions apart for evaluation, and their collator."""

from collections.abc import Sequence
from dataclasses import dataclass

from datasets import Dataset
from torch.utils import data as torch_data
from transformers import ProcessorMixin

from .frames import read_frames
from .records import RetrievalData


class VideoDataset(torch_data.Dataset):
    """The decoded videos of a split, one item a video.

    Args:
        frames (`datasets.Dataset`): From `decode_videos`.
    """

    def __init__(self, frames: Dataset):
        self.frames = frames

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> dict:
        return {"frames": read_frames(self.frames[index])}


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

    Args:
        data ([`RetrievalData`]): The split.
        frames (`datasets.Dataset`): Its decoded videos, from `decode_videos`.

    Raises:
        `ValueError`: When the numbers of videos differ.
    """

    def __init__(self, data: RetrievalData, frames: Dataset):
        if len(frames) != len(data.videos):
            raise ValueError(f"{data.name} {data.split} has {len(data.videos)} videos, `frames` has {len(frames)}.")
        self.data = data
        self.videos = VideoDataset(frames)
        self.captions = CaptionDataset(data.captions["caption"][:])
        self.caption_to_video = data.caption_to_video

    def __len__(self) -> int:
        return len(self.captions)

    def __getitem__(self, index: int) -> dict:
        return {**self.captions[index], **self.videos[self.caption_to_video[index]]}


@dataclass
class RetrievalCollator:
    """Brings items with a `caption`, `frames` or both to the model's inputs.

    Args:
        processor ([`DRLProcessor`]): Tokenizes and normalises; the frames are sampled and resized already.
    """

    processor: ProcessorMixin

    def __call__(self, items: list[dict]) -> dict:
        """Collate `items`; padded to the longest caption and the longest video among them."""
        batch = {}
        if "caption" in items[0]:
            batch.update(self.processor(text=[item["caption"] for item in items], return_tensors="pt"))
        if "frames" in items[0]:
            frames = [item["frames"] for item in items]
            batch.update(
                self.processor(
                    videos=frames,
                    do_sample_frames=False,
                    do_resize=False,
                    do_center_crop=False,
                    return_tensors="pt",
                )
            )
        return batch


__all__ = ["CaptionDataset", "PairDataset", "RetrievalCollator", "VideoDataset"]
