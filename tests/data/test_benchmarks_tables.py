"""A table of one's own, as people write them: every row arrives as it was meant, or its line or row is named."""

import json
import os
import unicodedata
from pathlib import Path

import pytest

from drl_tvr import BenchmarkError, load_benchmark
from drl_tvr.data.benchmarks import text_files


def load(folder: Path, content: str | bytes, name: str = "my.csv", **options) -> list[tuple[str, str]]:
    """The videos and captions of a table beside empty files `a.mp4` to `f.mp4`."""
    for letter in "abcdef":
        (folder / f"{letter}.mp4").touch()
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    data = load_benchmark(folder / name, **options)
    ids = data.videos["video_id"][:]
    return [(ids[row], text) for row, text in zip(data.caption_to_video, data.captions["caption"][:], strict=True)]


# Quotation marks.


def test_a_tsv_without_quoting_keeps_all_rows_and_marks(tmp_path):
    rows = [("a.mp4", '"she runs away'), ("c.mp4", "a dog barks"), ("d.mp4", '"hello" says a man'), ("e.mp4", 'bye"')]
    text = "".join(f"{video}\t{caption}\n" for video, caption in [("video", "caption"), *rows])
    assert load(tmp_path, text, "my.tsv") == rows


@pytest.mark.parametrize("last", ['bye"', 'he says "bye"', '"bye'])
def test_an_open_mark_of_a_tsv_never_takes_the_next_rows(last, tmp_path):
    rows = [("a.mp4", '"she runs'), ("b.mp4", "a dog"), ("c.mp4", last)]
    text = "".join(f"{video}\t{caption}\n" for video, caption in [("video", "caption"), *rows])
    assert load(tmp_path, text, "my.tsv") == rows


def test_a_tsv_with_quoting_is_read_so(tmp_path):
    text = 'video\tcaption\na.mp4\t"she said ""hi"""\nb.mp4\t"one\ntwo"\n'
    assert load(tmp_path, text, "my.tsv") == [("a.mp4", 'she said "hi"'), ("b.mp4", "one two")]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ('b.mp4,"a dog\nc.mp4,x\n', "unexpected end of data; read to line 4"),
        ('b.mp4,"a dog\nc.mp4,"x\n', "expected after"),
        ('b.mp4,"hello" says a man\n', "expected after"),
        ('b.mp4,"a dog\nc.mp4,x\nd.mp4,he says bye"\n', "what looks like several rows"),
        ("b.mp4,a dog, asleep\n", "'a dog', ' asleep'"),
        ("b.mp4\n", r"\['b.mp4'\], expected 2 fields"),
    ],
)
def test_a_row_of_a_csv_that_is_not_whole_is_named(rows, said, tmp_path):
    with pytest.raises(BenchmarkError, match=f"my.csv, line 3: found .*{said}"):
        load(tmp_path, f"video,caption\na.mp4,a cat\n{rows}")


@pytest.mark.parametrize(
    "text",
    [
        'caption,video\n"hello,a.mp4\ntv of 12",b.mp4\n',
        'video,caption,split\na.mp4,"hello,test\nb.mp4,tv of 12",test\nc.mp4,x,test\n',
        'video,caption\na,"hello\nb,x\nc,tv of 12"',
    ],
)
def test_a_mark_that_takes_rows_is_refused(text, tmp_path):
    with pytest.raises(BenchmarkError, match="what looks like several rows"):
        load(tmp_path, text)


def test_a_mark_of_a_tsv_that_takes_rows_is_a_letter(tmp_path):
    text = 'caption\tvideo\n"hello\ta.mp4\ntv of 12"\tb.mp4\nx\tc.mp4'
    assert load(tmp_path, text, "my.tsv") == [("a.mp4", '"hello'), ("b.mp4", 'tv of 12"'), ("c.mp4", "x")]


def test_a_caption_of_two_lines_in_marks_is_one_caption(tmp_path):
    text = 'video,caption\na.mp4,"one, ""two""\nthree, four, five"\nb.mp4,x\n'
    assert load(tmp_path, text) == [("a.mp4", 'one, "two" three, four, five'), ("b.mp4", "x")]


# Encodings and line ends.


@pytest.mark.parametrize(
    "content",
    [
        b"video,caption\ra.mp4,a cat\rb.mp4,x\r",
        b"video,caption\r\na.mp4,a cat\r\nb.mp4,x",
        b"\n\nvideo,caption\n\na.mp4,a cat\n\n\nb.mp4,x\n\n",
        b'\xef\xbb\xbf"video","caption"\n"a.mp4","a cat"\n"b.mp4","x"\n',
        b"video, caption ,\na.mp4, a cat,\nb.mp4, x,\n",
        b",video,caption\n0,a.mp4,a cat\n1,b.mp4,x\n",
        b"video,caption,start\na.mp4,a cat,\n,,\n,, \nb.mp4,x,\n,,,\n,\n",  # Excel's empty rows
    ],
)
def test_forms_of_one_table(content, tmp_path):
    assert load(tmp_path, content) == [("a.mp4", "a cat"), ("b.mp4", "x")]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("video,caption\na.mp4,x\n".encode("utf-16"), "my.csv: found another encoding .*line 1.*, expected UTF-8"),
        ("video,caption\na.mp4,x\n".encode("utf-16-le"), r"my.csv: found a NUL character \(line 1\)"),
        (b"video,caption\na.mp4,x\nb.mp4,caf\xe9\n", "my.csv: found another encoding .*line 3.*, expected UTF-8"),
        (b"video,caption\na.mp4,x\0y\n", r"my.csv: found a NUL character \(line 2\)"),
        (b"video;caption\na.mp4;x\n", "my.csv, line 1: found the header 'video;caption', expected .* between commas"),
        (b"video\tcaption\na.mp4\tx\n", "my.csv, line 1: found the header .*, expected columns between commas"),
        (b"video,caption,caption\na.mp4,x,y\n", "my.csv, line 1: found two columns 'caption', expected one"),
        (
            b"video,caption\na.mp4," + b"x" * 200000,
            "my.csv, line 2: found invalid CSV .*field limit.*, expected cells of at most 131,072 characters",
        ),
    ],
)
def test_another_form_is_an_error_that_names_the_line(content, said, tmp_path):
    with pytest.raises(BenchmarkError, match=said):
        load(tmp_path, content)


def test_commas_in_a_tsv_are_said(tmp_path):
    with pytest.raises(BenchmarkError, match="expected columns between tabs"):
        load(tmp_path, "video,caption\na.mp4,x\n", "my.tsv")


# Lists in a cell.


@pytest.mark.parametrize(
    ("cell", "captions"),
    [
        (str(["a cat sleeps", "a cat's nap", 'a "cat"']), ["a cat sleeps", "a cat's nap", 'a "cat"']),
        (json.dumps(["a cat", "é"]), ["a cat", "é"]),
        (" [ 'a' ] ".replace(" '", "'").replace("' ", "'"), ["a"]),
        (str(("a", "b")), ["a", "b"]),
        ("['a','b']", ["a", "b"]),
        ("[ 'a' , \"b\", ]", ["a", "b"]),
        ('["a", "b",]', ["a", "b"]),
        ("('a',)", ["a"]),
        ("['a',\n 'b']", ["a", "b"]),
        ("[music] a man sings", ["[music] a man sings"]),
        ("[music]", ["[music]"]),
        ("[1]", ["[1]"]),
        ("(laughs) a man", ["(laughs) a man"]),
        ('("hi")', ['("hi")']),
        ("[" * 1000, ["[" * 1000]),
        ("[" * 100000 + "]" * 20000, ["[" * 100000 + "]" * 20000]),
    ],
)
def test_a_list_in_a_cell_is_its_captions(cell, captions, tmp_path):
    quoted = '"' + cell.replace('"', '""') + '"'
    assert load(tmp_path, f"video,caption\na.mp4,{quoted}\n") == [("a.mp4", caption) for caption in captions]


@pytest.mark.parametrize(
    "cell",
    [
        "['a cat sleeps' 'a cat naps']",  # NumPy's; Python would join them
        "['a cat sleeps'\n 'a cat naps']",
        "['a''b']",
        "['a',, 'b']",
        "['a' + 'b']",
        "['a', 'b]",
        "['a', 1]",
        "[]",
        "[['a']]",
        "{'a', 'b'}",
        'c(""a"", ""b"")',
        "list('a', 'b')",
        "[nan, 'a dog']",
        "['a cat', 'a d",
        "array(['a', 'b'], dtype=object)",
        "['" + "]," * 50000 + "]",
    ],
)
def test_what_looks_like_several_captions_and_is_no_list_is_refused(cell, tmp_path):
    with pytest.raises(BenchmarkError, match="my.csv, row 2, 'caption': found .*, expected a caption,? or a list"):
        load(tmp_path, f'video,caption\nb.mp4,x\na.mp4,"{cell}"\n')


# Seconds, splits and texts.


@pytest.mark.parametrize(
    "seconds", ["1_0", "٣", "nano", "inf", "-1", "1e400", "00:00:10.500", "1:30", "10s", "0x1", "true"]
)
def test_what_is_not_a_number_of_seconds_names_its_row_and_column(seconds, tmp_path):
    with pytest.raises(BenchmarkError, match="my.csv, row 2, 'start': found .*, expected a number of seconds"):
        load(tmp_path, f"video,caption,start\na.mp4,x,1\nb.mp4,x,{seconds}\n")


@pytest.mark.parametrize("seconds", ["true", "false", "-Infinity", "1" + "0" * 400, "[0]", '"1_0"'])
def test_so_does_another_value_of_json(seconds, tmp_path):
    with pytest.raises(BenchmarkError, match="my.json, row 1, 'end': found .*, expected a number of seconds"):
        load(tmp_path, f'[{{"video": "a.mp4", "caption": "x", "end": {seconds}}}]', "my.json")


@pytest.mark.parametrize("seconds", ["", " ", "NA", "nan", "NaN", "N/A", "null", "None"])
def test_a_time_that_is_not_there_is_that_of_the_file(seconds, tmp_path):
    assert load(tmp_path, f"video,caption,start,end\na.mp4,x,1,{seconds}\n") == [("a.mp4#1.0-", "x")]
    text = '[{"video": "a.mp4", "caption": "x", "start": NaN, "end": null}]'
    assert load(tmp_path, text, "my.json") == [("a.mp4", "x")]


def test_an_address_is_no_path(tmp_path):
    with pytest.raises(
        BenchmarkError, match="my.csv, row 1, 'video': found the address .*, expected the path"
    ) as caught:
        load(tmp_path, "video,caption\nhttps://me:secret@example.org/a.mp4,x\n", allow_missing=True)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("column", ["type", "mode", "whatever"])
def test_a_column_of_splits_under_any_name_is_said(column, tmp_path):
    with pytest.raises(BenchmarkError, match=f"my.csv: found '{column}' .*, expected 'split'"):
        load(tmp_path, f"video,caption,{column}\na.mp4,x,train\nb.mp4,x,Test\n")
    assert len(load(tmp_path, f"video,caption,{column}\na.mp4,x,train\nb.mp4,x,dog\n")) == 2


@pytest.mark.parametrize("values", ["train,,test", "train,unused,test", "train_9k,test_1k", "train,public_test"])
def test_an_odd_value_does_not_hide_a_split(values, tmp_path):
    rows = [f"{letter}.mp4,x,{value}\n" for letter, value in zip("abc", values.split(","), strict=False)]
    with pytest.raises(BenchmarkError, match="my.csv: found 'mode' .*, expected 'split'"):
        load(tmp_path, "video,caption,mode\n" + "".join(rows))


def test_a_split_that_the_first_row_lacks_is_said(tmp_path):
    rows = [{"video": f"{letter}.mp4", "caption": "x"} for letter in "abc"]
    rows[1]["mode"], rows[2]["mode"] = "train", "test"
    with pytest.raises(BenchmarkError, match="my.json: found 'mode' .*, expected 'split'"):
        load(tmp_path, json.dumps(rows), "my.json")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"caption": "\ud800"}, "'caption': found .*, expected Unicode text"),
        ({"caption": ["x", "a\0"]}, "'caption': found .*, expected a text without NUL"),
        ({"video": "\udcff.mp4"}, "'video': found .*, expected Unicode text"),
        ({"video": "sub\0/a.mp4"}, "'video': found .*, expected a text without NUL"),
        ({"split": 0}, "'split': found 0, expected train"),
        ({"start_time": 3}, ": found 'start_time' as names of columns"),
        ({"text": "y"}, ": found the columns 'caption' and 'text'"),
    ],
)
def test_a_row_of_json_lines_is_checked_on_its_own(row, said, tmp_path):
    rows = [{"video": "a.mp4", "caption": "x"}, {"video": "b.mp4", "caption": "x"} | row]
    with pytest.raises(BenchmarkError, match=f"my.jsonl, row 2.*{said}"):
        load(tmp_path, "\n".join(map(json.dumps, rows)), "my.jsonl")


def test_rows_of_json_lines_may_have_columns_of_their_own(tmp_path):
    text = '{"video": "a.mp4", "caption": "x"}\n{"path": "b.mp4", "text": "y", "start": 3}\n'
    assert load(tmp_path, text, "my.jsonl") == [("a.mp4", "x"), ("b.mp4#3.0-", "y")]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("my.json", '[{"video": "a.mp4", "caption": "x", "caption": "y"}]', "my.json: found .*'caption' occurs twice"),
        ("my.jsonl", '{"video": "a.mp4", "caption": "x"}\n{"a": 1, "a": 2}', "my.jsonl, line 2: .*'a' occurs twice"),
        ("my.jsonl", '{"video": "a.mp4", "caption": "x"}\n3', "my.jsonl, row 2: found 3, expected a video"),
        ("my.json", "[" * 900 + "]" * 900, r"my.json, row 1: found \[\[.*, expected a video"),
    ],
)
def test_other_json_is_an_error(name, text, said, tmp_path):
    with pytest.raises(BenchmarkError, match=said):
        load(tmp_path, text, name)


@pytest.mark.parametrize("root", ["a\0b", "\ud800", "nowhere"])
def test_a_root_that_is_no_folder_is_an_error(root, tmp_path):
    with pytest.raises(BenchmarkError, match="my.csv, `root`: found .*, expected a folder"):
        load(tmp_path, "video,caption\na.mp4,x\n", root=root)


# Names of files.


@pytest.mark.parametrize("on_disk", ["NFC", "NFD"])
def test_a_name_is_found_in_another_normal_form(on_disk, tmp_path):
    folder = tmp_path / unicodedata.normalize(on_disk, "vidéos")
    folder.mkdir()
    (folder / unicodedata.normalize(on_disk, "café.mp4")).touch()
    for form in ("NFC", "NFD"):
        ((video_id, _),) = load(tmp_path, unicodedata.normalize(form, "video,caption\nvidéos/café.mp4,x\n"))
        assert video_id == unicodedata.normalize(form, "vidéos/café.mp4")
        assert os.path.isfile(load_benchmark(tmp_path / "my.csv").videos[0]["path"])


@pytest.mark.parametrize(
    ("written", "near"), [("v1", "v1.mp4"), ("V1.MP4", "v1.mp4"), ("v1.webm", "v1.mp4"), ("v1.mp4 ", "v1.mp4")]
)
def test_a_missing_file_names_the_one_of_nearly_its_name(written, near, tmp_path):
    (tmp_path / near).touch()
    with pytest.raises(
        BenchmarkError,
        match=rf"Videos without a file: 1 \({written}\). A file is looked for at its path as it is "
        rf"written, {tmp_path}/{written} for example; there is 'v1.mp4' in its folder",
    ):
        load(tmp_path, f"video,caption\n{written},x\n")


# Size.


def test_a_large_gzip_file_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(text_files, "MAX_UNPACKED", 10)
    path = tmp_path / "a.json.gz"
    path.write_bytes(text_files.gzip.compress(b"[1, 2, 3]"))
    assert text_files.read_json(path) == [1, 2, 3]
    path.write_bytes(text_files.gzip.compress(b"[1, 2, 3, 4]") + text_files.gzip.compress(b" " * 1000))
    with pytest.raises(BenchmarkError, match="a.json.gz: found gzip data of more than 10 bytes"):
        text_files.read_json(path)
