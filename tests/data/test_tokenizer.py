"""A trained tokenizer is CLIP's in all but its words."""

import json
from pathlib import Path

import pytest
from transformers import AutoTokenizer, CLIPTokenizer

from drl_tvr.data.tokenizer import END, START, load_clip_tokenizer, train_clip_tokenizer


CAPTIONS = [
    "a red circle slides left, then a blue star spins",
    "a golden square gets bigger, and next an azure disc rises",
    "in this video a huge red star drifts left",
] * 4
SENTENCES = (
    "A Red  CIRCLE's slides, 2024!!",
    "don't... they've got 3.5 stars?",
    "naïve café ☕ 漢字 it'll",
    "semi-colon; (brackets) [x] #tag @you 100% a/b",
    "  tabs\tand\nlines  ",
    "abc123def",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("tokenizer") / "made"


@pytest.fixture(scope="module")
def tokenizer(folder) -> CLIPTokenizer:
    return train_clip_tokenizer(CAPTIONS, folder, vocab_size=600)


def test_captions_make_the_round_trip(tokenizer):
    for caption in set(CAPTIONS):
        ids = tokenizer(caption)["input_ids"]
        # CLIP puts a space after every word, signs too.
        assert tokenizer.decode(ids, skip_special_tokens=True).strip() == caption.replace(",", " ,")


def test_a_caption_is_lowered_and_stands_between_start_and_end(tokenizer):
    ids = tokenizer("A  RED Circle")["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids) == [START, "a</w>", "red</w>", "circle</w>", END]
    assert (ids[0], ids[-1]) == (tokenizer.bos_token_id, tokenizer.eos_token_id)
    assert tokenizer.pad_token_id == tokenizer.eos_token_id
    assert ids == tokenizer("a red circle")["input_ids"]


def test_words_never_seen_are_spelt_and_not_unknown(tokenizer):
    for word in ("zebra", "quixotic", "☕", "漢字", "naïve"):
        ids = tokenizer(word, add_special_tokens=False)["input_ids"]
        assert ids and tokenizer.unk_token_id not in ids
        assert tokenizer.decode(ids).strip() == word
    assert len(tokenizer("zebra", add_special_tokens=False)["input_ids"]) > 1


def test_the_files_are_clips(folder, tokenizer):
    assert {"vocab.json", "merges.txt"} <= {path.name for path in folder.iterdir()}
    vocab = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    assert sorted(vocab.values()) == list(range(len(vocab)))
    tokens = sorted(vocab, key=vocab.get)
    # 256 bytes, the same at a word's end, merges, the two special tokens last.
    assert all(len(token) == 1 for token in tokens[:256]) and len(set(tokens[:256])) == 256
    assert set(tokens[256:512]) == {f"{token}</w>" for token in tokens[:256]}
    assert tokens[-2:] == [START, END]
    header, *merges = (folder / "merges.txt").read_text(encoding="utf-8").splitlines()
    assert header.startswith("#version: 0.2")
    # Each merge joins two entries to one that comes after the bytes.
    for merge in merges:
        first, second = merge.split(" ")
        assert first in vocab and second in vocab and vocab[first + second] >= 512
    assert len(merges) == len(vocab) - 514


def test_the_vocabulary_is_no_larger_than_asked_for(tmp_path, tokenizer):
    assert 514 < len(tokenizer) <= 600
    bare = train_clip_tokenizer(CAPTIONS, tmp_path, vocab_size=514)
    assert len(bare) == 514
    assert len(bare("red")["input_ids"]) == 5


@pytest.mark.parametrize("size", [0, 513])
def test_a_vocabulary_too_small_for_the_bytes_is_an_error(size, tmp_path):
    with pytest.raises(ValueError, match=f"`vocab_size`: found {size}, expected at least 514"):
        train_clip_tokenizer(CAPTIONS, tmp_path / "made", vocab_size=size)
    assert not (tmp_path / "made").exists()


def test_the_same_captions_make_the_same_files(folder, tokenizer, tmp_path):
    train_clip_tokenizer(iter(CAPTIONS), tmp_path, vocab_size=600)
    for name in ("vocab.json", "merges.txt"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_saving_and_loading_changes_nothing(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    for sentence in SENTENCES:
        assert loaded(sentence)["input_ids"] == tokenizer(sentence)["input_ids"]


def test_a_folder_without_a_tokenizer_is_refused(folder, tokenizer, tmp_path):
    assert load_clip_tokenizer(folder).get_vocab() == tokenizer.get_vocab()
    with pytest.raises(FileNotFoundError, match=f"{tmp_path}: found no CLIP tokenizer, expected vocab"):
        load_clip_tokenizer(tmp_path)


def words(tokenizer: CLIPTokenizer, sentence: str) -> list[str]:
    """Return the words that a sentence is split into, whatever their tokens are."""
    found, word = [], ""
    for token in tokenizer.tokenize(sentence):
        word += token
        if word.endswith("</w>"):
            found.append(word)
            word = ""
    assert word == ""
    return found


@pytest.mark.shared
@pytest.mark.parametrize("sentence", SENTENCES)
def test_sentences_are_cut_into_words_as_clip_cuts_them(sentence, tokenizer, shared_dir):
    clip = CLIPTokenizer.from_pretrained(shared_dir / "clip_tokenizer")
    assert words(tokenizer, sentence) == words(clip, sentence)


def test_merges_are_learned_within_clips_words_and_so_are_all_used(tmp_path):
    # CLIP takes digits one by one and letters apart from digits: "7x" and "42" are not words that a merge could serve.
    tokenizer = train_clip_tokenizer(["7x42 they're"] * 50, tmp_path, vocab_size=530)
    merges = (tmp_path / "merges.txt").read_text().splitlines()[1:]
    assert merges
    assert not any(character.isdigit() for merge in merges for character in merge)
    assert tokenizer.tokenize("7x42 they're") == ["7</w>", "x</w>", "4</w>", "2</w>", "they</w>", "'re</w>"]
