"""The metrics, against a double loop that has nothing of ours in it, and against numbers worked out by hand."""

import numpy as np
import pytest
import torch

from drl_tvr.evaluation import dual_softmax
from drl_tvr.evaluation.metrics import (
    evaluate_retrieval,
    ranks_per_caption,
    ranks_per_video,
    twin_accuracy,
)


NAMES = [f"{way}_{name}" for way in ("t2v", "v2t") for name in ("R@1", "R@5", "R@10", "MdR", "MnR")]


def rank(scores: list[float], right: int) -> float:
    """The mean place of `right` over all orders that sort `scores` downwards."""
    better = sum(score > scores[right] for score in scores)
    equal = sum(score == scores[right] for score in scores)
    return better + (1 + equal) / 2


def loop_metrics(similarity: list[list[float]], caption_to_video: list[int]) -> dict[str, float]:
    """Both directions, one item at a time."""
    num_videos = len(similarity[0])
    t2v = [rank(row, video) for row, video in zip(similarity, caption_to_video, strict=True)]
    v2t = []
    for video in range(num_videos):
        best = [
            max(row[video] for row, owner in zip(similarity, caption_to_video, strict=True) if owner == other)
            for other in range(num_videos)
        ]
        v2t.append(rank(best, video))
    metrics = {}
    for way, ranks in (("t2v", t2v), ("v2t", v2t)):
        for k in (1, 5, 10):
            metrics[f"{way}_R@{k}"] = 100 * sum(r <= k for r in ranks) / len(ranks)
        middle = sorted(ranks)
        metrics[f"{way}_MdR"] = (middle[(len(ranks) - 1) // 2] + middle[len(ranks) // 2]) / 2
        metrics[f"{way}_MnR"] = sum(ranks) / len(ranks)
    return metrics


@pytest.mark.parametrize("levels", [None, 4], ids=["distinct", "ties"])
@pytest.mark.parametrize(("num_captions", "num_videos"), [(12, 12), (31, 12), (60, 23)])
def test_it_is_the_plain_double_loop(num_captions, num_videos, levels):
    rng = np.random.default_rng(num_captions)
    similarity = rng.normal(size=(num_captions, num_videos))
    if levels is not None:
        similarity = rng.integers(0, levels, size=similarity.shape).astype(float)
    # Every video has a caption, the others fall anywhere, in no order.
    caption_to_video = np.concatenate([np.arange(num_videos), rng.integers(0, num_videos, num_captions - num_videos)])
    caption_to_video = rng.permutation(caption_to_video)
    metrics = evaluate_retrieval(similarity, caption_to_video)
    assert list(metrics) == NAMES
    assert metrics == pytest.approx(loop_metrics(similarity.tolist(), caption_to_video.tolist()), abs=1e-9)


def test_three_captions_of_two_videos_by_hand():
    # Caption 1 finds the wrong video. Video 1's best caption scores 0.8 on itself, video 0's group scores 0.6 there.
    metrics = evaluate_retrieval(np.array([[0.9, 0.1], [0.5, 0.6], [0.3, 0.8]]), [0, 0, 1])
    assert metrics["t2v_R@1"] == pytest.approx(200 / 3)
    assert metrics["t2v_MnR"] == pytest.approx(4 / 3)
    assert (metrics["t2v_MdR"], metrics["t2v_R@5"]) == (1.0, 100.0)
    assert (metrics["v2t_R@1"], metrics["v2t_MdR"], metrics["v2t_MnR"]) == (100.0, 1.0, 1.0)


def test_a_video_is_found_by_its_best_caption_and_lost_to_another_groups_best():
    similarity = np.array([[0.1, 0.0], [0.7, 0.2], [0.8, 0.4]])
    assert ranks_per_video(similarity, np.array([0, 0, 1])).tolist() == [2.0, 1.0]
    assert ranks_per_video(similarity, np.array([0, 1, 0])).tolist() == [1.0, 2.0]


def test_the_recalls_count_up_to_5_and_10():
    # Row i puts its own video at place i + 1.
    size = 12
    similarity = np.array([[100.0 if j < i else 50.0 if j == i else 0.0 for j in range(size)] for i in range(size)])
    metrics = evaluate_retrieval(similarity)
    found = [metrics[f"t2v_{name}"] for name in ("R@1", "R@5", "R@10", "MdR", "MnR")]
    assert found == pytest.approx([100 / 12, 500 / 12, 1000 / 12, 6.5, 6.5])


@pytest.mark.parametrize("size", [2, 7, 100])
def test_a_model_that_gives_one_score_to_all_gets_no_more_than_chance(size):
    metrics = evaluate_retrieval(np.zeros((size, size)))
    for way in ("t2v", "v2t"):
        assert metrics[f"{way}_MnR"] == metrics[f"{way}_MdR"] == (size + 1) / 2
        for k in (1, 5, 10):
            assert metrics[f"{way}_R@{k}"] == (100.0 if (size + 1) / 2 <= k else 0.0)


def test_a_tie_takes_the_middle_of_the_places_it_covers():
    # One better, three equal: places 2, 3 and 4.
    assert ranks_per_caption(np.array([[3.0, 2.0, 2.0, 2.0, 1.0]]), np.array([2])).tolist() == [3.0]


def test_infinite_scores_are_ranked():
    # -inf is what masked or failed pairs carry.
    assert ranks_per_caption(np.array([[-np.inf, 0.0, np.inf]]), np.array([0])).tolist() == [3.0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_tensors_and_arrays_give_the_same(dtype):
    torch.manual_seed(0)
    similarity = torch.randn(9, 4).to(dtype)
    caption_to_video = [0, 1, 2, 3, 0, 1, 2, 3, 0]
    wanted = evaluate_retrieval(similarity.double().numpy(), caption_to_video)
    assert evaluate_retrieval(similarity.requires_grad_(), torch.tensor(caption_to_video)) == wanted
    assert evaluate_retrieval(similarity.tolist(), np.array(caption_to_video)) == wanted


def test_scores_that_differ_in_the_last_digit_of_a_double_are_no_tie():
    similarity = torch.tensor([[1.0, 1.0 + 1e-12], [0.0, 1.0]], dtype=torch.float64)
    assert evaluate_retrieval(similarity)["t2v_MnR"] == evaluate_retrieval(similarity.numpy())["t2v_MnR"] == 1.5


@pytest.mark.parametrize(("row", "column"), [(0, 0), (2, 1)])
def test_nan_is_an_error_that_says_where(row, column):
    similarity = torch.zeros(3, 3)
    similarity[row, column] = float("nan")
    with pytest.raises(ValueError, match=rf"NaN in row {row} \(caption\), column {column} \(video\)"):
        evaluate_retrieval(similarity)
    with pytest.raises(ValueError, match=f"row {row} .*column {column} "):
        twin_accuracy(similarity, None, [(0, 1)])


@pytest.mark.parametrize(
    ("shape", "caption_to_video", "said"),
    [
        ((3,), [0, 0, 0], r"found shape \(3,\), expected \(num_captions, num_videos\), both at least 1"),
        ((2, 2, 2), [0, 1], r"found shape \(2, 2, 2\)"),
        ((0, 3), [], r"found shape \(0, 3\)"),
        ((3, 0), [0, 0, 0], r"found shape \(3, 0\)"),
        ((3, 2), None, "`caption_to_video`: found None for 3 captions and 2 videos, expected the column"),
        ((3, 2), [0, 1], r"found shape \(2,\) of int64, expected 3 integers, one per row"),
        ((2, 2), [[0], [1]], r"found shape \(2, 1\)"),
        ((2, 2), [0.0, 1.0], "of float64, expected 2 integers"),
        ((2, 2), [True, False], "of bool, expected 2 integers"),
        ((3, 2), [0, 1, 2], "found video 2 for caption 2, expected 0 to 1"),
        ((3, 2), [0, -1, 1], "found video -1 for caption 1"),
        ((3, 4), [0, 1, 3], r"found no caption for video 2 \(one of 1 such videos\)"),
    ],
)
def test_what_does_not_fit_is_an_error(shape, caption_to_video, said):
    with pytest.raises(ValueError, match=said):
        evaluate_retrieval(np.zeros(shape), caption_to_video)


def test_twin_accuracy_by_hand():
    # Videos 0 and 2 are twins; captions 0 and 3 tell of video 0, caption 2 of video 2, caption 1 of neither.
    similarity = np.array([[0.9, 1.0, 0.8], [0.0, 0.0, 1.0], [0.7, 1.0, 0.7], [0.1, 0.0, 0.2]])
    found = twin_accuracy(similarity, [0, 1, 2, 0], [(0, 2)])
    # Captions: 0 right, 3 wrong, 2 tied. Videos: 0's own best is 0.9 against 0.7; 2's own is 0.7 against 0.8.
    assert found == {"t2v_twin_accuracy": pytest.approx(50.0), "v2t_twin_accuracy": pytest.approx(50.0)}
    similarity[2, 2] = 0.75
    assert twin_accuracy(similarity, [0, 1, 2, 0], [(0, 2)])["t2v_twin_accuracy"] == pytest.approx(200 / 3)
    similarity[2, 2] = 0.85
    assert twin_accuracy(similarity, [0, 1, 2, 0], [(2, 0)])["v2t_twin_accuracy"] == 100.0


def test_a_model_blind_to_order_gets_half_of_the_twins():
    # Twins look alike and read alike to it: their rows and columns are the same.
    torch.manual_seed(0)
    half = torch.randn(4, 4)
    similarity = half.repeat_interleave(2, dim=0).repeat_interleave(2, dim=1)
    twins = [(0, 1), (2, 3), (4, 5), (6, 7)]
    assert twin_accuracy(similarity, None, twins) == {"t2v_twin_accuracy": 50.0, "v2t_twin_accuracy": 50.0}
    # A model that uses only the order of the words cannot distinguish the two videos of a pair either.
    similarity = torch.randn(8, 4).repeat_interleave(2, dim=1)
    assert twin_accuracy(similarity, None, twins)["t2v_twin_accuracy"] == 50.0


def test_without_twins_there_is_no_twin_accuracy():
    assert twin_accuracy(np.zeros((2, 2)), None, []) == {}


@pytest.mark.parametrize(
    "matrix",
    [
        torch.eye(3).to_sparse(),
        np.eye(3).astype(str),
        np.eye(3).astype(object),
        np.eye(3).astype(complex),
        torch.eye(3, device="meta"),
        [[1.0, 2.0], [3.0]],
        [[{}]],
        None,
    ],
    ids=["sparse", "text", "object", "complex", "meta", "ragged", "mapping", "none"],
)
def test_what_is_not_a_matrix_of_numbers_is_a_value_error(matrix):
    with pytest.raises(ValueError, match="`similarity`: found"):
        evaluate_retrieval(matrix)
    with pytest.raises(ValueError, match="`similarity`: found"):
        dual_softmax(matrix)
