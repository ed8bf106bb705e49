"""The real annotation files: numbers, joins and paragraphs as they were counted on them.

Video files are empty and lie in a temporary folder (loading only asks whether they are there), but for one real clip.
"""

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from drl_tvr import BenchmarkError, RetrievalData, load_benchmark
from drl_tvr.data.benchmarks import vatex
from drl_tvr.data.benchmarks.annotation_files import read_ids, read_json
from drl_tvr.data.benchmarks.caption_formats import read_caption_file
from drl_tvr.data.benchmarks.msrvtt import source_videos
from drl_tvr.data.frame_store import load_frames


pytestmark = pytest.mark.shared


def names(annotations: Path, *lists: str) -> list[str]:
    return [video_id for name in lists for video_id in read_ids(annotations / name)]


@pytest.fixture(scope="module")
def real_root(shared_dir, tmp_path_factory) -> Callable[..., Path]:
    """A root with a benchmark's real annotation files and empty files of the given names."""

    def make(benchmark: str, videos: list[str]) -> Path:
        root = tmp_path_factory.mktemp(benchmark)
        shutil.copytree(shared_dir / "annotations" / benchmark, root / "annotations")
        (root / "videos").mkdir()
        for video in videos:
            (root / "videos" / video).touch()
        return root

    return make


@pytest.fixture(scope="module")
def msrvtt(real_root) -> Path:
    return real_root("msrvtt", [f"video{i}.mp4" for i in range(10000)])


@pytest.fixture(scope="module")
def msrvtt_sources(msrvtt) -> dict[str, str]:
    return source_videos([(msrvtt, read_json(msrvtt / "annotations/MSRVTT_data.json.gz"))])


def numbers(data: RetrievalData) -> tuple[int, int]:
    assert (data.expected_videos, data.expected_captions) == (len(data.videos), len(data.captions))
    assert not data.missing
    assert not any(" ".join(caption.split()) != caption for caption in data.captions["caption"][:])
    return len(data.videos), len(data.captions)


@pytest.mark.parametrize(
    ("name", "train", "validation", "test", "num_near"),
    [
        ("msrvtt-9k", (8500, 170000), (500, 10000), (1000, 1000), 355),
        ("msrvtt-7k", (6510, 130200), (500, 10000), (1000, 1000), 0),
        ("msrvtt-full", (6513, 130260), (497, 9940), (2990, 59800), 0),
    ],
)
def test_msrvtt_is_complete_and_validation_shares_no_source_with_train(
    name, train, validation, test, num_near, msrvtt, msrvtt_sources
):
    splits = [load_benchmark(name, msrvtt, split) for split in ("train", "validation", "test")]
    assert [numbers(data) for data in splits] == [train, validation, test]
    ids = [set(data.videos["video_id"][:]) for data in splits]
    assert sum(map(len, ids)) == len(set().union(*ids))
    of_train = {msrvtt_sources[video_id] for video_id in ids[0]}
    near = [sum(msrvtt_sources[video_id] in of_train for video_id in part) for part in ids[1:]]
    assert near == [0, num_near]


def test_all_of_msrvtts_training_videos_can_be_had(msrvtt):
    assert numbers(load_benchmark("msrvtt-9k", msrvtt, "train", hold_out=False)) == (9000, 180000)


def test_msrvtt_1ka_test_differs_from_the_captions_in_spacing_and_punctuation_alone(msrvtt):
    test = load_benchmark("msrvtt-9k", msrvtt, "test")
    assert len(set(test.captions["caption"][:])) == 995
    captions: dict[str, set[str]] = {}
    for video_id, caption in read_caption_file(msrvtt / "annotations/MSRVTT_data.json.gz"):
        captions.setdefault(video_id, set()).add(caption)
    pairs = list(zip(test.videos["video_id"][:], test.captions["caption"][:], strict=True))
    assert sum(caption not in captions[video_id] for video_id, caption in pairs) == 35

    def letters(text: str) -> str:
        return "".join(filter(str.isalnum, text))

    assert all(letters(caption) in set(map(letters, captions[video_id])) for video_id, caption in pairs)


def test_msrvtt_full_is_the_same_from_the_marks_of_the_json(msrvtt):
    before = [load_benchmark("msrvtt-full", msrvtt, split) for split in ("validation", "test")]
    lists = sorted((msrvtt / "annotations").glob("*.full.csv"))
    for path in lists:
        path.rename(path.with_suffix(".aside"))
    after = [load_benchmark("msrvtt-full", msrvtt, split) for split in ("validation", "test")]
    for path in lists:
        path.with_suffix(".aside").rename(path)
    for one, other in zip(before, after, strict=True):
        assert set(one.videos["video_id"][:]) == set(other.videos["video_id"][:])
        assert one.captions["caption"][:] == other.captions["caption"][:]


def test_msvd_is_complete_and_the_same_from_json_and_pickle(shared_dir, real_root):
    lists = ("train_list.txt", "val_list.txt", "test_list.txt")
    root = real_root("msvd", [f"{i}.avi" for i in names(shared_dir / "annotations/msvd", *lists)])
    splits = ("train", "validation", "test")
    before = [load_benchmark("msvd", root, split) for split in splits]
    assert [numbers(data) for data in before] == [(1200, 48774), (100, 4290), (670, 27763)]
    assert before[0].annotation_files[1].endswith("captions_msvd.json.gz")
    (root / "annotations/captions_msvd.json.gz").unlink()
    after = [load_benchmark("msvd", root, split) for split in splits]
    assert after[0].annotation_files[1].endswith("raw-captions.pkl.gz")
    for one, other in zip(before, after, strict=True):
        assert one.captions.to_dict() == other.captions.to_dict() and one.videos.to_dict() == other.videos.to_dict()


def test_activitynet_is_complete_whatever_its_files_are_called(shared_dir, real_root):
    annotations = shared_dir / "annotations/activitynet"
    train, test = (read_json(annotations / f"{name}.json.gz") for name in ("train", "val_1"))
    files = [
        f"{video_id[2 * (k % 2) :]}.{('mp4', 'mkv', 'webm')[k % 3]}" for k, video_id in enumerate([*train, *test])
    ]
    root = real_root("activitynet", files)
    splits = [load_benchmark("activitynet", root, split) for split in ("train", "validation", "test")]
    assert [numbers(data) for data in splits] == [(9509, 9509), (500, 500), (4917, 4917)]
    data = splits[2]
    assert [Path(path).name for path in data.videos["path"][:]] == files[len(train) :]
    assert data.caption_to_video == list(range(4917))
    paragraphs = [" ".join(" ".join(entry["sentences"]).split()) for entry in test.values()]
    assert data.captions["caption"][:] == paragraphs
    lengths = [len(paragraph.split()) for paragraph in paragraphs]
    assert (min(lengths), max(lengths)) == (12, 332)
    assert len(load_benchmark("activitynet", root, "train", hold_out=False).videos) == 10009


def test_didemo_has_the_published_paragraphs(shared_dir, real_root):
    annotations = shared_dir / "annotations/didemo"
    listed = names(annotations, "val_list.txt", "test_list.txt")
    # As listed, as downloaded, as converted.
    stems = [name.rpartition(".")[0] for name in listed]
    files = [(n, f"{n}.mp4", f"{s}.mp4")[k % 3] for k, (n, s) in enumerate(zip(listed, stems, strict=True))]
    root = real_root("didemo", files)
    data = [load_benchmark("didemo", root, split) for split in ("validation", "test")]
    assert [numbers(each) for each in data] == [(1065, 1065), (1004, 1004)]
    assert [Path(path).name for each in data for path in each.videos["path"][:]] == files
    for each, file, left_out, two_names in zip(data, ("val", "test"), (71, 89), (29, 33), strict=True):
        rows = read_json(annotations / f"{file}_data.json.gz")
        kept = set(each.videos["video_id"][:])
        used = [row for row in rows if row["video"] in kept]
        assert len(rows) - len(used) == left_out
        merged = load_benchmark("didemo-merged", root, each.split)
        pairs = zip(each.captions["caption"][:], merged.captions["caption"][:], strict=True)
        differ = [(exact, both) for exact, both in pairs if exact != both]
        assert len(differ) == two_names and all(len(exact) < len(both) for exact, both in differ)
    with pytest.raises(BenchmarkError, match="didemo: found no .*, expected train_data.json"):
        load_benchmark("didemo", root, "train")


def test_vatex_lists_are_the_two_splits_of_one_set(shared_dir, real_root, monkeypatch):
    split = "annotations/clip2video_split"
    lists = {
        name: names(shared_dir / "annotations/vatex/clip2video_split", f"{name}_list.txt")
        for name in ("train", "val", "test", "test1k5_sec")
    }
    root = real_root("vatex", [f"{video_id}.mp4" for ids in lists.values() for video_id in ids])
    assert (root / split).is_dir()
    # The captions are not here: two of our own for each.
    captions = {video_id: ["one", "two"] for ids in lists.values() for video_id in ids}
    (root / "ref_captions.json.gz").write_bytes(gzip.compress(json.dumps(captions).encode()))
    for part, number in (("train", 25991), ("validation", 1500), ("test", 1500)):
        monkeypatch.setitem(vatex.EXPECTED, part, (number, 2 * number))
        assert numbers(load_benchmark("vatex", root, part)) == (number, 2 * number)
    validation, test = (load_benchmark("vatex-random-trimmed", root, part) for part in ("validation", "test"))
    assert numbers(validation) == numbers(test) == (1500, 3000)
    assert not set(validation.videos["video_id"][:]) & set(test.videos["video_id"][:])
    hgr = [set(lists["val"]), set(lists["test"])]
    assert [len(set(test.videos["video_id"][:]) & part) for part in hgr] == [776, 724]
    assert all(end > start for start, end in zip(test.videos["start"][:], test.videos["end"][:], strict=True))


def test_a_real_clip_of_vatex_goes_from_its_annotation_to_frames(shared_dir, tiny_processor, tmp_path, monkeypatch):
    video_id = "5-xGskbsBgI_000055_000065"
    shutil.copy(shared_dir / "videos" / f"{video_id}.mp4", tmp_path)
    shutil.copy(shared_dir / "annotations/vatex/sample_videocap5data.json", tmp_path / "vatex_validation_v1.0.json")
    (tmp_path / "test_list.txt").write_text(video_id)
    monkeypatch.setitem(vatex.EXPECTED, "test", (1, 10))
    data = load_benchmark("vatex", tmp_path, "test")
    assert numbers(data) == (1, 10) and data.caption_to_video == [0] * 10
    assert data.captions[3]["caption"].startswith("A guy is explaining the items you")  # two spaces in the file
    frames = load_frames(data.videos, tiny_processor.video_processor, tmp_path / "cache", num_processes=1)
    assert frames[0].shape[1:] == (3, 32, 32)
