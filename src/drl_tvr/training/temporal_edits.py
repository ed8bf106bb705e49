"""Join clips and their captions in both orders, so that a batch asks for the order of events."""

import random
from collections.abc import Sequence

import torch
from torch.utils import data as torch_data

from ..data.loading import PairDataset
from ..model.frame_sampling import thin_out
from ..model.processing_drl import DRLProcessor
from .arguments import DRLTrainingArguments


SENTENCE_ENDS = " .!?;,。！？"
PUNCTUATION = (",", ".", ";", ":")  # no blank comes before it


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
        processor ([`DRLProcessor`]): Joined captions are cut to its `max_length`: the longer one first, so that both
            events stay.
        share (`float`): Share of the pairs of a batch that are joined, above 0 and at most 1.
        joining_words (`Sequence[str]`): What to put between two captions. Two rows always get the same words, in both
            orders.
        max_frames (`int`, *optional*): Largest number of frames of a join; `None` for no limit. Each clip is thinned
            out to its part, the same one in both orders.

    Example:

    ```python
    >>> import torch
    >>> from drl_tvr import DRLProcessor, load_benchmark
    >>> from drl_tvr.data.loading import PairDataset
    >>> from drl_tvr.training.temporal_edits import TemporalEdits

    >>> data = load_benchmark("captions.csv")
    >>> frames = [torch.zeros(8, 3, 32, 32, dtype=torch.uint8) for _ in data.videos]
    >>> processor = DRLProcessor.from_pretrained("outputs/moving-shapes")
    >>> edits = TemporalEdits(PairDataset(data, frames), processor, 1.0, joining_words=[", then"], max_frames=12)
    >>> edits.edit_batch([0, 1])
    [(0, 1), (1, 0)]
    >>> edits[0, 1]["caption"], len(edits[0, 1]["frames"])
    ('..., then ...', 12)
    ```"""

    def __init__(
        self,
        pairs: PairDataset,
        processor: DRLProcessor,
        share: float,
        joining_words: Sequence[str],
        max_frames: int | None,
    ):
        self.pairs, self.processor, self.share, self.max_frames = pairs, processor, share, max_frames
        self.joining_words = [words.strip() for words in joining_words]

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
        kept = len(batch) - num_joined(len(batch), self.share)
        edited: list[int | tuple[int, int]] = list(batch[:kept])
        for first, second in zip(batch[kept::2], batch[kept + 1 :: 2], strict=True):
            same = self.pairs.caption_to_video[first] == self.pairs.caption_to_video[second]
            edited += [first, second] if same else [(first, second), (second, first)]
        return edited

    def __getitem__(self, index: int | tuple[int, int]) -> dict:
        if not isinstance(index, tuple):
            return self.pairs[index]
        items = {row: self.pairs[row] for row in sorted(index)}
        words = random.Random(str(sorted(index))).choice(self.joining_words)
        captions = cut_captions([item["caption"] for item in items.values()], words, self.processor)
        frames = thin_frames([item["frames"] for item in items.values()], self.max_frames)
        parts = dict(zip(items, zip(captions, frames, strict=True), strict=True))
        (first, shown_first), (second, shown_second) = (parts[row] for row in index)
        return {
            **items[index[0]],
            "caption": join_captions(first, second, words),
            "frames": torch.cat([shown_first, shown_second]),
        }


def check_temporal_edits(args: DRLTrainingArguments, processor: DRLProcessor, max_frames: int | None) -> None:
    """Refuse edits that would join nothing, or that have no room for both clips, before anything is decoded.

    Args:
        args ([`DRLTrainingArguments`]): Arguments of the run.
        processor ([`DRLProcessor`]): Its `max_length` is checked.
        max_frames (`int`, *optional*): Largest number of frames of a join.

    Raises:
        `ValueError`: When the batch, the captions or the frames are too small; the message names the field.
    """
    if args.temporal_edits == 0:
        return
    batch_size = args.per_device_train_batch_size * args.world_size
    if num_joined(batch_size, args.temporal_edits) == 0:
        raise ValueError(
            f"`temporal_edits`: found {args.temporal_edits}, expected at least {1 / batch_size:.3g} to join two "
            f"of the {batch_size} pairs of a batch, and at least 2 pairs."
        )
    if max_frames is not None and max_frames < 2:
        raise ValueError(f"`max_frames`: found {max_frames}, expected at least 2 for `temporal_edits`.")
    joining = max(count_tokens(words, processor) for words in args.joining_words)
    if processor.max_length < joining + 2:
        raise ValueError(
            f"`max_length`: found {processor.max_length}, expected at least {joining + 2} for `temporal_edits`: "
            "start, end, `joining_words` and a token of each caption."
        )


def count_tokens(text: str, processor: DRLProcessor) -> int:
    """Count the tokens of a text, with start and end."""
    return len(processor.tokenizer(text)["input_ids"])


def num_joined(batch_size: int, share: float) -> int:
    """Return how many pairs of a batch are joined, an even number."""
    return 2 * min(int(share * batch_size / 2 + 0.5), batch_size // 2)


def join_captions(first: str, second: str, words: str) -> str:
    """Join two captions by words, which may begin with a punctuation mark."""
    first = first.rstrip(SENTENCE_ENDS) or first
    return f"{first}{'' if words.startswith(PUNCTUATION) else ' '}{words} {second}"


def cut_captions(captions: list[str], words: str, processor: DRLProcessor) -> list[str]:
    """Cut two captions so that their join fits the model, in either order, the longer one first.

    Args:
        captions (`list[str]`): Two captions.
        words (`str`): What joins them.
        processor ([`DRLProcessor`]): Its `max_length` says how many tokens fit.

    Returns:
        `list[str]`: The captions, each with at least its first token.
    """
    ends = [
        [end for _, end in offsets[1:-1]]  # without start and end
        for offsets in processor.tokenizer(captions, return_offsets_mapping=True)["offset_mapping"]
    ]
    room = processor.max_length - count_tokens(words, processor)
    if sum(map(len, ends)) <= room:  # the tokens of a join are those of its parts
        return captions
    while True:
        each = max(room // 2, room - min(map(len, ends)))
        cut = [caption[: places[:each][-1]] for caption, places in zip(captions, ends, strict=True)]
        # A cut inside a word can change how its letters are grouped: then there are more tokens than were kept.
        if count_tokens(join_captions(*cut, words), processor) <= processor.max_length or room <= 2:
            return cut
        room -= 1


def thin_frames(clips: list[torch.Tensor], max_frames: int | None) -> list[torch.Tensor]:
    """Thin out two clips to `max_frames` together, each in proportion to its length."""
    lengths = [len(clip) for clip in clips]
    if max_frames is None or sum(lengths) <= max_frames:
        return clips
    first = min(max(1, round(max_frames * lengths[0] / sum(lengths))), max_frames - 1)
    kept = (first, max_frames - first)
    return [clip[thin_out(range(len(clip)), number)] for clip, number in zip(clips, kept, strict=True)]


__all__ = ["TemporalEdits", "check_temporal_edits"]
