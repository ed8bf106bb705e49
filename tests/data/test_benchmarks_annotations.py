"""Annotation files: where they are found, how they are read, and the forms that captions come in."""

import gzip
import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from drl_tvr import BenchmarkError
from drl_tvr.data.benchmarks.annotation_files import AnnotationFiles, read_csv, read_ids, read_json, read_pickle
from drl_tvr.data.benchmarks.caption_formats import caption_pairs, read_caption_file
from drl_tvr.data.folder import BenchmarkFolder


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def files_of(root: Path) -> AnnotationFiles:
    return AnnotationFiles(BenchmarkFolder("bench", root))


# Finding.


@pytest.mark.parametrize(
    "place", [".", "anns", "annotations", "msrvtt_data", "MSRVTT/high-quality/structured-symlinks"]
)
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_file_is_found_in_any_folder_plain_or_gzipped(place, suffix, tmp_path):
    content = gzip.compress(b"[1]") if suffix else b"[1]"
    path = write(tmp_path / place / f"train.json{suffix}", content)
    files = files_of(tmp_path)
    assert files.get("absent.json", "train.json") == path
    assert read_json(path) == [1]
    assert files.used == [os.path.normpath(os.path.relpath(path, tmp_path))]


def test_the_first_name_is_preferred_and_equal_copies_are_no_trouble(tmp_path):
    write(tmp_path / "second.json", "[2]")
    write(tmp_path / "deep/er/first.json", "[1]")
    write(tmp_path / "first.json.gz", gzip.compress(b"[1]"))
    assert files_of(tmp_path).get("first.json", "second.json") == tmp_path / "deep/er/first.json"


@pytest.mark.parametrize("others", ["b/train.json", "b/train.json.gz"])
def test_copies_that_differ_are_an_error_that_names_both(others, tmp_path):
    write(tmp_path / "a/train.json", "[1]")
    write(tmp_path / others, gzip.compress(b"[2]") if others.endswith(".gz") else b"[2]")
    with pytest.raises(
        BenchmarkError, match=f"bench, train.json: found a/train.json and {others} under {tmp_path}, which differ"
    ):
        files_of(tmp_path).find("train.json")


def test_a_missing_file_is_an_error_that_says_what_was_not_searched(tmp_path):
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    root.mkdir()
    write(elsewhere / "train.json", "[1]")
    (root / "anns").symlink_to(elsewhere)
    assert files_of(root).find("train.json") is None
    with pytest.raises(
        BenchmarkError,
        match=r"bench: found no .*expected a.json or train.json .*Not searched: anns \(a link to .*elsewhere",
    ):
        files_of(root).get("a.json", "train.json")


# Reading.


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{'videos': []}", "invalid JSON"),
        ("", "an empty file"),
        ('{"videos": [', "invalid JSON"),
        ("[\n1,\n", "invalid JSON"),
        ('{"a": 1}\nnonsense', "invalid JSON"),
        ("[" * 100000, "invalid JSON"),
    ],
)
def test_what_is_not_json_is_an_error_that_names_the_file(content, said, tmp_path):
    path = write(tmp_path / "a.json", content)
    with pytest.raises(BenchmarkError, match=f"found {said}.*, expected JSON or JSON Lines") as caught:
        read_json(path)
    assert str(path) in str(caught.value)


def test_json_lines_are_a_list_and_a_wrong_line_is_named(tmp_path):
    path = write(tmp_path / "a.jsonl", '{"a": 1}\n\n{"a": "\u2028"}\n')
    assert read_json(path) == [{"a": 1}, {"a": "\u2028"}]
    with pytest.raises(BenchmarkError, match="b.jsonl, line 3: found invalid JSON"):
        read_json(write(tmp_path / "b.jsonl", '{"a": 1}\n{"a": 2}\n{"a":\n'))


def test_another_encoding_or_a_cut_gzip_file_is_an_error(tmp_path):
    with pytest.raises(BenchmarkError, match="a.json: found another encoding .*, expected UTF-8"):
        read_json(write(tmp_path / "a.json", b'{"a": "\xe9"}'))
    with pytest.raises(BenchmarkError, match="b.json.gz: found damaged gzip data"):
        read_json(write(tmp_path / "b.json.gz", gzip.compress(b"[1, 2, 3]" * 9)[:-12]))


@pytest.mark.parametrize("read", [read_json, read_csv, read_ids, read_pickle])
def test_a_missing_file_is_named(read, tmp_path):
    with pytest.raises(FileNotFoundError, match="absent"):
        read(tmp_path / "absent")


def test_a_csv_is_read_with_quotes_line_ends_of_either_kind_and_a_byte_order_mark(tmp_path):
    content = b'\xef\xbb\xbfkey,video_id,sentence\r\nret0,video7020,"a woman, who\nis ""nice"""\r\n'
    (row,) = read_csv(write(tmp_path / "test.csv", content), "video_id", "sentence")
    assert (row["key"], row["video_id"], row["sentence"]) == ("ret0", "video7020", 'a woman, who\nis "nice"')


@pytest.mark.parametrize("content", ["key,sentence\nret0,a\n", "", "video7020\n"])
def test_a_csv_without_the_column_is_an_error(content, tmp_path):
    with pytest.raises(BenchmarkError, match="list.csv: found the columns .*, expected a column 'video_id'"):
        read_csv(write(tmp_path / "list.csv", content), "video_id")


@pytest.mark.parametrize("row", ["video1", "video1,a man, who"])
def test_a_csv_row_with_another_number_of_fields_is_an_error_that_names_its_line(row, tmp_path):
    with pytest.raises(BenchmarkError, match="list.csv, line 3: found .*, expected 2 fields"):
        read_csv(write(tmp_path / "list.csv", f"video_id,sentence\nvideo0,a\n{row}\n"))


@pytest.mark.parametrize(
    "content",
    [
        "-4wsuPCjDBc_5_15\nvideo 1.\n",
        "-4wsuPCjDBc_5_15\r\n\r\nvideo 1.",  # no line end after the last
        "video_id\n-4wsuPCjDBc_5_15\nvideo 1.\n",
        "key,video_id\n0,-4wsuPCjDBc_5_15\n1,video 1.\n",
    ],
)
def test_ids_are_read_from_lists_and_csv(content, tmp_path):
    assert read_ids(write(tmp_path / "train_list.txt", content)) == ["-4wsuPCjDBc_5_15", "video 1."]


@pytest.mark.parametrize("kind", ["U", "S"])
def test_ids_are_read_from_a_numpy_array_but_never_unpickled(kind, tmp_path):
    np.save(tmp_path / "trn_names.npy", np.array(["a_b", "-c"], dtype=kind))
    assert read_ids(tmp_path / "trn_names.npy") == ["a_b", "-c"]
    np.save(tmp_path / "object.npy", np.array([Bomb(tmp_path)], dtype=object), allow_pickle=True)
    with pytest.raises(BenchmarkError, match="object.npy"):
        read_ids(tmp_path / "object.npy")
    assert not (tmp_path / "exploded").exists()
    np.save(tmp_path / "numbers.npy", np.arange(3))
    with pytest.raises(BenchmarkError, match="numbers.npy: found int64 .*, expected a list of strings"):
        read_ids(tmp_path / "numbers.npy")


@pytest.mark.parametrize("shape", ["(1000000000000,)", "(1000,)", "(-1,)", f"({10**30},)", "(2"])
def test_an_array_that_claims_more_than_there_is_is_an_error(shape, tmp_path):
    header = f"{{'descr': '<U100', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    content = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + b"a"
    with pytest.raises(BenchmarkError, match="trn_names.npy: found .*, expected a list of strings") as caught:
        read_ids(write(tmp_path / "trn_names.npy", content))
    assert "\n" not in str(caught.value)


def test_bytes_of_another_encoding_in_an_array_are_an_error(tmp_path):
    np.save(tmp_path / "trn_names.npy", np.array([b"caf\xe9"]))
    with pytest.raises(BenchmarkError, match="trn_names.npy: found .*, expected a list of strings"):
        read_ids(tmp_path / "trn_names.npy")


def test_an_empty_list_is_an_error(tmp_path):
    with pytest.raises(BenchmarkError, match="train_list.txt: found no video"):
        read_ids(write(tmp_path / "train_list.txt", "\n"))


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder / "exploded"),)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_of_plain_data_is_read_and_one_that_calls_anything_is_refused(protocol, tmp_path):
    content = {"-4wsuPCjDBc_5_15": [["a", "squirrel"], ["a", "nut"]], "n": [1, 2.5, None, True]}
    path = write(tmp_path / "a.pkl", pickle.dumps(content, protocol=protocol))
    assert read_pickle(path) == content
    bomb = write(tmp_path / "bomb.pkl", pickle.dumps({"a": [Bomb(tmp_path)]}, protocol=protocol))
    with pytest.raises(BenchmarkError, match=r"bomb.pkl: found an invalid pickle .it names (posix|nt|os).mkdir"):
        read_pickle(bomb)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no pickle",
        b"(iposix\nsystem\n.",  # INST
        b"cbuiltins\nset\n.",  # GLOBAL, however harmless
        b"\x80\x02\x82\x01.",  # EXT1
        b"\x80\x02Pobject\n.",  # PERSID
        pickle.dumps({"a": [["b"]]})[:-4],
        b"\x80\x05\x96" + (10**12).to_bytes(8, "little") + b".",  # BYTEARRAY8 of 10^12 bytes
        b"\x80\x05\x8e" + (10**12).to_bytes(8, "little") + b".",  # BINBYTES8
        b"\x80\x02Nr\xff\xff\xff\xff.",  # LONG_BINPUT: makes room for 2^32 places
        pickle.dumps(np.arange(3)),
    ],
)
def test_other_pickles_are_an_error_that_names_the_file(content, tmp_path):
    with pytest.raises(BenchmarkError, match="a.pkl: found an invalid pickle .*, expected a pickle of plain data"):
        read_pickle(write(tmp_path / "a.pkl", content))


def test_a_pickle_of_python_2_has_its_strings(tmp_path):
    path = write(tmp_path / "a.pkl", b"\x80\x02}U\x03key]U\x05caf\xc3\xa9as.")
    assert read_pickle(path) == {"key": ["café"]}


# Forms.


def nested_list(depth: int) -> list:
    content = []
    for _ in range(depth):
        content = [content]
    return content


PAIRS = [("video1", "a b"), ("video0", "c"), ("video1", "d é")]
GROUPED = [("video1", "a b"), ("video1", "d é"), ("video0", "c")]


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (
            {
                "info": {},
                "videos": [{"video_id": "video0"}, {"video_id": "video1"}],
                "sentences": [{"caption": text, "video_id": v, "sen_id": 0} for v, text in PAIRS],
            },
            PAIRS,
        ),
        ({"annotations": [{"image_id": v, "caption": text} for v, text in PAIRS], "images": []}, PAIRS),
        ([{"clip_name": v, "caption": text, "sen_id": 1} for v, text in PAIRS], PAIRS),
        ([{"clip_id": "video1", "text": ["a b", "d é"]}, {"clip_id": "video0", "text": "c"}], GROUPED),
        ([{"video": f"{v}.mp4", "caption": text} for v, text in PAIRS], PAIRS),
        ([{"image": "video1.mp4", "caption": ["a b", "d é"]}, {"image": "video0.webm", "caption": "c"}], GROUPED),
        (
            [{"videoID": "video1", "enCap": ["a b", "d é"], "chCap": ["x"]}, {"videoID": "video0", "enCap": ["c"]}],
            GROUPED,
        ),
        ({"video1": ["a b", "d é"], "video0": ["c"]}, GROUPED),
        ({"video1.avi": ["a b", "d é"], "video0.avi": ["c"]}, GROUPED),
        ({"video1": [["a", "b"], ["d", "é"]], "video0": [["c"]]}, GROUPED),
        ({"video1": {"enCap": ["a b", "d é"], "chCap": []}, "video0": {"enCap": ["c"]}}, GROUPED),
    ],
)
def test_every_form_gives_the_pairs_in_the_order_of_the_file(content, wanted, tmp_path):
    assert caption_pairs(content, Path("a.json")) == wanted
    assert read_caption_file(write(tmp_path / "a.json.gz", gzip.compress(json.dumps(content).encode()))) == wanted
    assert read_caption_file(write(tmp_path / "a.pkl", pickle.dumps(content))) == wanted
    if isinstance(content, list):
        lines = "\n".join(json.dumps(row) for row in content)
        assert read_caption_file(write(tmp_path / "a.jsonl", lines)) == wanted


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (3, "found 3, expected a list or a mapping of captions"),
        ([], r"found \[\], expected a list of mappings"),
        ([1], r"found \[1\], expected a list of mappings"),
        ([{"id": 1}], r"\[0\]: found {'id': 1}, expected an id .* and a text"),
        (
            [{"video": "a", "caption": "b"}, {"video": "a"}],
            r"\[1\]: found .*, expected the keys 'video' and 'caption'",
        ),
        ([{"video": "a", "caption": "b"}, "a"], r"\[1\]: found 'a', expected the keys"),
        ([{"video": 1, "caption": "b"}], r"\[0\]: found .*, expected the keys"),
        ([{"video": "a", "caption": 2}], r"\[0\]: found 2, expected a caption or a list of captions"),
        ({"sentences": [{"video_id": "a"}]}, r"sentences\[0\]: found .*, expected an id .* and a text"),
        ({"videos": [{"video_id": "video1"}]}, "'videos': found .*, expected a caption or a list of captions"),
        ({"video1": [1, 2]}, r"'video1': found \[1, 2\], expected a caption or a list of captions"),
        ({"video1": None}, "'video1': found None, expected a caption or a list of captions"),
        ({"video1": [[["a"]]]}, r"'video1': found \[\[\['a'\]\]\], expected a caption or a list of captions"),
        ({1: ["a"]}, r"found {1: \['a'\]}, expected a mapping whose keys are video ids"),
        ([{"video": "a", "caption": nested_list(5000)}], r"\[0\]: found \[\[\[.*, expected a caption or a list"),
    ],
)
def test_another_form_is_an_error_that_names_file_and_entry(content, said):
    with pytest.raises(BenchmarkError, match=f"a.json.*{said}"):
        caption_pairs(content, Path("a.json"))
