"""The metric folder, loaded by the real `evaluate` from a copy, and with drl_tvr out of reach."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import evaluate
import numpy as np
import pytest
import torch

from drl_tvr import evaluate_retrieval
from drl_tvr.evaluation import METRIC_FOLDER
from drl_tvr.evaluation.metrics import ranks_per_caption, ranks_per_video


# The code of each process; importing drl_tvr fails there, as where it is not installed.
PROCESS = """
import json, sys

class Refuse:
    def find_spec(self, name, *_):
        if name.split(".")[0] == "drl_tvr":
            raise ImportError(f"{name} is out of reach")

sys.meta_path.insert(0, Refuse())
import evaluate, numpy as np

folder, process_id, num_process, cache_dir, expected = sys.argv[1:]
metric = evaluate.load(
    folder, num_process=int(num_process), process_id=int(process_id), experiment_id="one", cache_dir=cache_dir
)
data = np.load(f"{cache_dir}/{process_id}.npz")
for start in range(0, len(data["rows"]), 4):
    metric.add_batch(predictions=data["rows"][start : start + 4], references=data["videos"][start : start + 4])
print(json.dumps(metric.compute(recall_at=[1, 5, 10], expected_captions=int(expected))))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A copy of the metric's folder and of nothing else."""
    copy = tmp_path_factory.mktemp("metric") / "text_video_retrieval"
    shutil.copytree(METRIC_FOLDER, copy, ignore=shutil.ignore_patterns("__pycache__"))
    assert sorted(path.name for path in copy.iterdir()) == ["README.md", "text_video_retrieval.py"]
    return str(copy)


@pytest.fixture
def load(folder, tmp_path: Path):
    return lambda *args, **kwargs: evaluate.load(folder, *args, cache_dir=str(tmp_path), **kwargs)


def make_matrix(num_captions: int, num_videos: int, levels: int | None, seed: int = 0):
    """Similarities, of a few values where `levels` says how many, and captions of each video in no order."""
    rng = np.random.default_rng(seed)
    caption_to_video = np.concatenate([np.arange(num_videos), rng.integers(0, num_videos, num_captions - num_videos)])
    caption_to_video = rng.permutation(caption_to_video)
    similarity = rng.normal(size=(num_captions, num_videos))
    if levels is not None:
        similarity = rng.integers(0, levels, size=similarity.shape).astype(float)
    similarity[np.arange(num_captions), caption_to_video] += 1
    return similarity, caption_to_video


@pytest.mark.parametrize("levels", [None, 3, 1], ids=["distinct", "ties", "constant"])
@pytest.mark.parametrize(("num_captions", "num_videos"), [(14, 14), (53, 17)])
def test_it_gives_the_numbers_of_evaluate_retrieval(num_captions, num_videos, levels, load):
    similarity, caption_to_video = make_matrix(num_captions, num_videos, levels)
    metric = load()
    for start in range(0, num_captions, 8):
        metric.add_batch(predictions=similarity[start : start + 8], references=caption_to_video[start : start + 8])
    wanted = evaluate_retrieval(similarity, caption_to_video)
    assert metric.compute() == wanted and list(wanted)[0] == "t2v_R@1"
    # The order of rows says nothing, and one call does as well as many.
    order = np.random.default_rng(1).permutation(num_captions)
    assert metric.compute(predictions=similarity[order], references=caption_to_video[order]) == pytest.approx(wanted)


def test_tensors_go_in_and_float32_stays_apart(load):
    # Two float32 neighbours: rounded once more, they would tie and cost half a rank.
    near = np.nextafter(np.float32(0.7), np.float32(1))
    rows = torch.tensor([[0.7, near], [near, 0.7]], dtype=torch.float32)
    found = load().compute(predictions=rows, references=torch.tensor([1, 0]))
    assert found == evaluate_retrieval(rows, [1, 0]) and found["t2v_MnR"] == 1


def test_recall_at_any_k(load):
    similarity, caption_to_video = make_matrix(40, 20, None)
    ranks = ranks_per_caption(similarity, caption_to_video)
    found = load().compute(predictions=similarity, references=caption_to_video, recall_at=[3, 20])
    assert [name for name in found if "R@" in name] == ["t2v_R@3", "t2v_R@20", "v2t_R@3", "v2t_R@20"]
    assert found["t2v_R@3"] == pytest.approx(100 * (ranks <= 3).mean()) and found["v2t_R@20"] == 100


def test_ranks_give_the_same_as_their_similarities(load):
    similarity, caption_to_video = make_matrix(53, 17, 3)
    metric = load("ranks")
    for direction, ranks in (
        ("v2t", ranks_per_video(similarity, caption_to_video)),
        ("t2v", ranks_per_caption(similarity, caption_to_video)),
    ):
        metric.add_batch(predictions=ranks, references=[direction] * len(ranks))
    assert metric.compute() == pytest.approx(evaluate_retrieval(similarity, caption_to_video))
    assert list(metric.compute(predictions=[1, 2.5], references=["v2t", "v2t"], recall_at=[2])) == [
        "v2t_R@2",
        "v2t_MdR",
        "v2t_MnR",
    ]


def test_processes_share_the_rows(folder, tmp_path: Path):
    similarity, caption_to_video = make_matrix(31, 9, 4)
    shares = [np.arange(0, 11), np.arange(11, 17), np.arange(17, 31)]
    for process_id, share in enumerate(shares):
        np.savez(tmp_path / f"{process_id}.npz", rows=similarity[share], videos=caption_to_video[share])
    running = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, folder, str(process_id), "3", str(tmp_path), "31"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for process_id in range(3)
    ]
    done = [(*process.communicate(timeout=120), process.returncode) for process in running]
    assert [code for _, _, code in done] == [0, 0, 0], done
    assert [out.strip() for out, _, _ in done[1:]] == ["null", "null"]
    assert json.loads(done[0][0]) == pytest.approx(evaluate_retrieval(similarity, caption_to_video))


@pytest.mark.parametrize(
    ("rows", "videos", "said"),
    [
        ([[1.0, float("nan")], [1, 2]], [0, 1], r"Row 0 \(caption\), column 1 \(video\): found NaN"),
        ([[1.0, 2.0], [1.0]], [0, 1], "Row 1: found 1 similarities, expected 2 as in row 0"),
        ([[1.0, 2.0], [1.0, 3.0]], [0, 2], "Reference 1: found video 2, expected 0 to 1"),
        ([[1.0, 2.0], [1.0, 3.0]], [0, -1], "Reference 1: found video -1"),
        ([[1.0, 2.0], [1.0, 3.0]], [0, 0], "Found no caption for video 1"),
    ],
)
def test_a_wrong_row_is_an_error_that_names_it(rows, videos, said, load):
    with pytest.raises(ValueError, match=said):
        load().compute(predictions=rows, references=videos)


def test_other_wrong_inputs_are_errors(load):
    with pytest.raises(ValueError, match="`recall_at`: found 0, expected integers of at least 1"):
        load().compute(predictions=[[1.0]], references=[0], recall_at=[0])
    with pytest.raises(ValueError, match="at least one integer"):
        load().compute(predictions=[[1.0]], references=[0], recall_at=[])
    with pytest.raises(ValueError, match=r"Reference 1: found 0\.[67]"):
        load().compute(predictions=[[1.0], [2.0]], references=[0, 0.7])
    assert load().compute(predictions=[[1.0]], references=[0], recall_at=5)["t2v_R@5"] == 100
    with pytest.raises(ValueError, match="Found 1 captions, expected 2"):
        load().compute(predictions=[[1.0]], references=[0], expected_captions=2)
    with pytest.raises(ValueError, match="Rank 1: found 0.5, expected at least 1"):
        load("ranks").compute(predictions=[1, 0.5], references=["t2v", "t2v"])
    with pytest.raises(ValueError, match="Reference 0: found 'x', expected one of"):
        load("ranks").compute(predictions=[1], references=["x"])
    with pytest.raises(ValueError, match="`config_name`: found 'rows', expected one of"):
        load("rows")


def test_every_digit_of_a_double_counts():
    """What float32 would make a tie, and a rank that it can't hold."""
    similarity = np.array([[0.5 + 1e-9, 0.5], [0.5, 0.5 + 1e-9]])
    expected = evaluate_retrieval(similarity)
    assert evaluate.load(METRIC_FOLDER).compute(predictions=similarity, references=[0, 1]) == expected
    ranks = evaluate.load(METRIC_FOLDER, "ranks").compute(predictions=[1.7], references=["t2v"])
    assert (expected["t2v_R@1"], ranks["t2v_MnR"], ranks["t2v_MdR"]) == (100.0, 1.7, 1.7)
