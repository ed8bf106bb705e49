"""Trains a tokenizer in CLIP's file format, for a model that starts from scratch."""

import json
import os
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTokenizer


START, END = "<|startoftext|>", "<|endoftext|>"
WORD_END = "</w>"


def train_clip_tokenizer(captions: Iterable[str], folder: str | os.PathLike, vocab_size: int = 1000) -> CLIPTokenizer:
    """Train a byte-level BPE tokenizer as CLIP's, and save it as CLIP's files.

    Args:
        captions (`Iterable[str]`): What to learn the merges from.
        folder (`str` or `os.PathLike`): Where `vocab.json` and `merges.txt` go; made when absent.
        vocab_size (`int`, *optional*, defaults to 1000): Most entries of the vocabulary; at least 514 (256 bytes, each
            within a word and at its end, and two special tokens).

    Returns:
        `CLIPTokenizer`: Loaded back from `folder`.

    Raises:
        `ValueError`: For a vocabulary too small for the bytes.
    """
    if vocab_size < 514:
        raise ValueError(f"`vocab_size` must be at least 514 to hold all bytes, got {vocab_size}.")
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix=WORD_END, unk_token=END))
    # Words as CLIP itself cuts them, or merges would be learned that it never applies.
    clip = CLIPTokenizer(vocab={START: 0, END: 1}, merges=[]).backend_tokenizer
    tokenizer.normalizer, tokenizer.pre_tokenizer = clip.normalizer, clip.pre_tokenizer
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - 2,
        initial_alphabet=alphabet,
        # Numbered beforehand, or ties between merges would be broken by the order of a hash table.
        special_tokens=[byte + WORD_END for byte in alphabet],
        end_of_word_suffix=WORD_END,
        show_progress=False,
    )
    tokenizer.train_from_iterator(captions, trainer)
    learned = [token for token, _ in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])]
    # As in CLIP's vocabulary: bytes, bytes at a word's end, merges, then the two special tokens.
    entries = dict.fromkeys(alphabet + [byte + WORD_END for byte in alphabet] + learned)
    vocab = {token: index for index, token in enumerate([*entries, START, END])}
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    merges = read_merges(tokenizer)
    models.BPE(vocab=vocab, merges=merges, end_of_word_suffix=WORD_END, unk_token=END).save(str(folder))
    return CLIPTokenizer.from_pretrained(folder)


def read_merges(tokenizer: Tokenizer) -> list[tuple[str, str]]:
    """The merges that a tokenizer learned, in order."""
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    return [tuple(merge) if isinstance(merge, list) else tuple(merge.split(" ")) for merge in merges]


__all__ = ["train_clip_tokenizer"]
