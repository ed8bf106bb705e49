"""Join clips and their captions in both orders, so that a batch asks for the order of events."""

import random
from collections.abc import Sequence

import torch
from torch.utils import data as torch_data

from ..data.loading import PairDataset
from ..model.frame_sampling import thin_out
from ..model.processing_drl import DRLProcessor


SENTENCE_ENDS = " .!?;,"


class TemporalEdits(torch_data.Dataset):
    r"""Pairs of a split, and pairs that are joined from two of them in both orders.

    Nothing in a batch of single clips asks for order: which events a video shows is enough to tell it from the other
    videos, so a model can stay blind to "entering" and "leaving". An edited batch asks for it without a label. A share
    s of its n pairs is taken two at a time, (a, b), and replaced by "a, then b" and "b, then a". With
    \\(\oplus\\) for one after the other, the batch of videos v and texts t becomes

    $$\{(v_i, t_i)\}_{i \le (1-s)n} \cup \{(v_a \oplus v_b,\ t_a \oplus t_b),\ (v_b \oplus v_a,\ t_b \oplus t_a)\}$$

    and the loss stays as it is. Each of the two joins shows the events of the other in the opposite order, and is its
    hardest negative. The batch keeps its size, and an epoch still sees every pair once. (Cross-modal temporal edits,
    as in ViTAL-X, 2026.)

    Which pairs are joined depends on their order alone, so it is the same for any number of processes, with gradient
    caching, and after a resume.

    Args:
        pairs ([`~data.loading.PairDataset`]): The split.
        processor ([`DRLProcessor`]): Joined frames are thinned out to its `max_frames`, and joined captions are cut to
            its `max_length`: the longer caption loses its last words first, so that both events stay.
        share (`float`): Share of the pairs of a batch that are joined, from 0 to 1.
        joining_words (`Sequence[str]`): What to put between two captions. Two rows always get the same words,
            in both orders.

    Example:

    ```python
    >>> import torch
    >>> from drl_tvr import DRLProcessor, load_benchmark
    >>> from drl_tvr.data.loading import PairDataset
    >>> from drl_tvr.training.temporal_edits import TemporalEdits

    >>> data = load_benchmark("captions.csv")
    >>> frames = [torch.zeros(8, 3, 32, 32, dtype=torch.uint8) for _ in data.videos]
    >>> processor = DRLProcessor.from_pretrained("outputs/moving-shapes")
    >>> edits = TemporalEdits(PairDataset(data, frames), processor, share=1.0, joining_words=[", then "])
    >>> edits.edit_batch([0, 1])
    [(0, 1), (1, 0)]
    >>> edits[0, 1]["caption"]
    '..., then ...'
    ```"""

    def __init__(self, pairs: PairDataset, processor: DRLProcessor, share: float, joining_words: Sequence[str]):
        self.pairs, self.processor, self.share, self.joining_words = pairs, processor, share, joining_words

    def __len__(self) -> int:
        return len(self.pairs)

    def edit_batch(self, batch: list[int]) -> list[int | tuple[int, int]]:
        """Choose what a batch joins.

        Args:
            batch (`list[int]`): Rows of a global batch, in their order.

        Returns:
            `list`: As many items: a row, or two rows that are joined in this order. Two captions of one video are not
            joined, because both orders would show the same.
        """
        joined = 2 * min(round(self.share * len(batch) / 2), len(batch) // 2)
        kept = len(batch) - joined
        edited: list[int | tuple[int, int]] = list(batch[:kept])
        for first, second in zip(batch[kept::2], batch[kept + 1 :: 2], strict=True):
            same = self.pairs.caption_to_video[first] == self.pairs.caption_to_video[second]
            edited += [first, second] if same else [(first, second), (second, first)]
        return edited

    def __getitem__(self, index: int | tuple[int, int]) -> dict:
        if not isinstance(index, tuple):
            return self.pairs[index]
        first, second = (self.pairs[row] for row in index)
        words = random.Random(str(sorted(index))).choice(self.joining_words)
        frames = torch.cat([first["frames"], second["frames"]])
        return {
            **first,
            "caption": self.join_captions(first["caption"], second["caption"], words),
            "frames": frames[thin_out(range(len(frames)), self.processor.video_processor.max_frames)],
        }

    def join_captions(self, first: str, second: str, words: str) -> str:
        """Join two captions; when the model takes fewer tokens, the longer one loses its last words first."""
        first = first.rstrip(SENTENCE_ENDS)
        parts = [first.split(), second.split()]
        joined = f"{first}{words}{second}"
        while self.num_tokens(joined) > self.processor.max_length and max(map(len, parts)) > 1:
            max(parts, key=len).pop()
            joined = words.join(map(" ".join, parts))
        return joined

    def num_tokens(self, caption: str) -> int:
        """Count the tokens of a caption, with start and end."""
        return len(self.processor.tokenizer(caption)["input_ids"])


__all__ = ["TemporalEdits"]
