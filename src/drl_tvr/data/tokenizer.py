"""Train and load tokenizers in CLIP's file format."""

import json
import os
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTokenizer


START, END = "<|startoftext|>", "<|endoftext|>"
WORD_END = "</w>"


def train_clip_tokenizer(captions: Iterable[str], folder: str | os.PathLike, vocab_size: int = 1000) -> CLIPTokenizer:
    """Train a byte-level BPE tokenizer like CLIP's, for a model from scratch, and save it in CLIP's files.

    Args:
        captions (`Iterable[str]`): Texts to learn the merges from.
        folder (`str` or `os.PathLike`): Folder for `vocab.json` and `merges.txt`; made when absent.
        vocab_size (`int`, *optional*, defaults to 1000): Largest number of entries in the vocabulary; at least 514
            (256 bytes, each inside a word and at its end, and two special tokens).

    Returns:
        `CLIPTokenizer`: The tokenizer, loaded back from `folder`.

    Raises:
        `ValueError`: When the vocabulary is too small for the bytes.

    Example:

    ```python
    >>> from drl_tvr.data.tokenizer import train_clip_tokenizer

    >>> tokenizer = train_clip_tokenizer(["a red star", "a red circle"], "tokenizer", vocab_size=530)
    >>> tokenizer.tokenize("a red star")
    ['a</w>', 'red</w>', 'star</w>']

    ```"""
    if vocab_size < 514:
        raise ValueError(f"`vocab_size`: found {vocab_size}, expected at least 514, to hold all bytes.")
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix=WORD_END, unk_token=END))
    # Split into words as CLIP does it; otherwise merges would be learned that CLIP never applies.
    clip = CLIPTokenizer(vocab={START: 0, END: 1}, merges=[]).backend_tokenizer
    tokenizer.normalizer, tokenizer.pre_tokenizer = clip.normalizer, clip.pre_tokenizer
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - 2,
        initial_alphabet=alphabet,
        # Numbered beforehand; otherwise the order of a hash table would decide ties between merges.
        special_tokens=[byte + WORD_END for byte in alphabet],
        end_of_word_suffix=WORD_END,
        show_progress=False,
    )
    tokenizer.train_from_iterator(captions, trainer)
    learned = [token for token, _ in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])]
    # The order of CLIP's vocabulary: bytes, bytes at the end of a word, merges, two special tokens.
    entries = dict.fromkeys(alphabet + [byte + WORD_END for byte in alphabet] + learned)
    vocab = {token: index for index, token in enumerate([*entries, START, END])}
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    merges = read_merges(tokenizer)
    models.BPE(vocab=vocab, merges=merges, end_of_word_suffix=WORD_END, unk_token=END).save(str(folder))
    return CLIPTokenizer.from_pretrained(folder)


def load_clip_tokenizer(name_or_path: str | os.PathLike) -> CLIPTokenizer:
    """Load a CLIP tokenizer, and refuse a folder without one, of which transformers makes an empty tokenizer.

    Args:
        name_or_path (`str` or `os.PathLike`): Folder, or name on the Hub, of a tokenizer or a CLIP checkpoint.

    Returns:
        `CLIPTokenizer`: The tokenizer.

    Raises:
        `FileNotFoundError`: When the folder holds no tokenizer.
    """
    tokenizer = CLIPTokenizer.from_pretrained(name_or_path)
    if len(tokenizer) <= len(tokenizer.all_special_tokens):
        raise FileNotFoundError(f"{name_or_path}: found no CLIP tokenizer, expected vocab.json and merges.txt.")
    return tokenizer


def read_merges(tokenizer: Tokenizer) -> list[tuple[str, str]]:
    """Return the merges that a tokenizer learned, in order."""
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    return [tuple(merge) if isinstance(merge, list) else tuple(merge.split(" ")) for merge in merges]


__all__ = ["load_clip_tokenizer", "train_clip_tokenizer"]
