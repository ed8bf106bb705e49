"""Result files: a saved result loads, another file is refused, and results that cannot be compared are named."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest

from drl_tvr.evaluation import (
    EvaluationResult,
    ResultError,
    compare_results,
    evaluate_retrieval,
    format_comparison,
    format_result,
    make_result,
    rank_both_ways,
)
from drl_tvr.evaluation.results import score_ranks


CAPTION_TO_VIDEO = [0, 2, 1, 1, 3, 4, 5, 0]
HUGE = 10**400


def build(seed: int = 0, gain: float = 1.0) -> EvaluationResult:
    """A result on 8 captions of 6 videos, with a normalisation."""
    similarity = np.random.default_rng(seed).normal(size=(8, 6))
    similarity[np.arange(8), CAPTION_TO_VIDEO] += gain
    ranks = rank_both_ways(similarity, CAPTION_TO_VIDEO)
    data = {"benchmark": "msvd", "split": "test", "protocol": "p", "queries_sha256": "aa", "videos_sha256": "bb"}
    counts = {"num_captions": 8, "expected_captions": 9, "num_videos": 6, "expected_videos": 6}
    model = {"name": f"outputs/model{seed}", "sha256": {"model.safetensors": str(seed)}, "fps": 1.0}
    result = make_result(
        ranks, CAPTION_TO_VIDEO, {**data, **counts}, model, {"torch": "2"}, {"t2v_twin_accuracy": 50.0}
    )
    assert result.metrics == {**evaluate_retrieval(similarity, CAPTION_TO_VIDEO), "t2v_twin_accuracy": 50.0}
    scores = score_ranks({"t2v": ranks["t2v"]}, CAPTION_TO_VIDEO)
    result.normalized["qb-norm"] = {"needs": "train captions", "settings": {"temperature": 0.05}, **scores}
    return result


def test_what_is_saved_is_loaded(tmp_path: Path):
    result = build()
    path = result.save(tmp_path / "a.json")
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]  # nothing temporary stays
    loaded = EvaluationResult.load(path)
    assert (loaded.metrics, loaded.ranks, loaded.caption_to_video) == (result.metrics, result.ranks, CAPTION_TO_VIDEO)
    assert (loaded.data, loaded.model, loaded.versions) == (result.data, result.model, result.versions)
    assert {name: tuple(ends) for name, ends in loaded.intervals.items()} == result.intervals
    assert loaded.name == "model0" and list(loaded.normalized) == ["qb-norm"]
    assert json.loads(path.read_text())["post_processing"] == "none"


def test_a_failed_write_leaves_the_earlier_file(tmp_path: Path):
    path = build().save(tmp_path / "a.json")
    before = path.read_bytes()
    broken = build(1)
    broken.versions["x"] = object()
    with pytest.raises(TypeError):
        broken.save(path)
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format_version": 2}, "`format_version`: found 2, expected 1"),
        ({"post_processing": "dsl"}, "`post_processing`: found 'dsl', expected 'none'"),
        ({"ranks": None}, "`ranks`: found NoneType, expected a dict"),
        ({"caption_to_video": {}}, "`caption_to_video`: found dict, expected a list"),
        (
            {"caption_to_video": [0, 2, 1, 1, 3, 5, 5, 0]},
            r"`caption_to_video`: found \[0, 2, 1, 1, 3\] ..., exp",
        ),
        ({"caption_to_video": CAPTION_TO_VIDEO[:-1]}, "`ranks.t2v`: found 8, expected 7 ranks"),
        ({"data": {"benchmark": "msvd"}}, "`data.split`: found None, expected a text"),
        ({"model": {}}, "`model.name`: found None, expected a text"),
        ({("ranks", "t2v", 3): 7}, r"`ranks.t2v\[3\]`: found 7, expected a number from 1 to 6"),
        ({("ranks", "v2t", 0): float("nan")}, r"`ranks.v2t\[0\]`: found nan, expected"),
        ({("ranks", "v2t", 0): True}, r"`ranks.v2t\[0\]`: found True, expected"),
        ({("metrics", "t2v_R@1"): 99.0}, "`metrics.t2v_R@1`: found 99.0, expected .*, as the ranks say"),
        ({("intervals", "t2v_R@1"): [1.0]}, r"`intervals.t2v_R@1`: found \[1.0\], expected the two ends"),
        ({("normalized", "qb-norm", "metrics"): {}}, "`normalized.qb-norm`, `metrics.t2v_R@1`: found None, expected"),
        ({("normalized", "qb-norm"): {}}, "`normalized.qb-norm`, `metrics`: found NoneType, expected a dict"),
        ({("normalized", "qb-norm"): []}, "`normalized.qb-norm`, found list, expected a dict"),
        ({("metrics", "t2v_R@1"): HUGE}, "`metrics.t2v_R@1`: found 1000.*, expected a finite number"),
        ({("metrics", "t2v_twin_accuracy"): float("nan")}, "`metrics.t2v_twin_accuracy`: found nan, expected a fin"),
        ({("metrics", "t2v_twin_accuracy"): "50"}, "`metrics.t2v_twin_accuracy`: found '50', expected a finite"),
        ({("ranks", "v2t", 0): HUGE}, r"`ranks.v2t\[0\]`: found 1000.*, expected a number from 1 to 6"),
        ({("intervals", "t2v_R@1"): [float("nan"), 1.0]}, r"`intervals.t2v_R@1`: found \[nan, 1.0\], expected the tw"),
        ({("intervals", "t2v_R@1"): [2.0, 1.0]}, r"`intervals.t2v_R@1`: found \[2.0, 1.0\], expected the two ends"),
        ({("intervals", "t2v_R@1"): [0, HUGE]}, "`intervals.t2v_R@1`: found .*, expected the two ends"),
        ({("caption_to_video", 0): HUGE}, "`caption_to_video`: found .*, expected every integer from 0"),
        ({("caption_to_video", 0): -1}, "`caption_to_video`: found .*, expected every integer from 0"),
    ],
)
def test_an_invalid_result_is_an_error_that_names_file_and_field(change, said, tmp_path: Path):
    path = build().save(tmp_path / "a.json")
    content = json.loads(path.read_text())
    for key, value in change.items():
        *way, last = key if isinstance(key, tuple) else (key,)
        target = content
        for step in way:
            target = target[step]
        target[last] = value
    path.write_text(json.dumps(content))
    with pytest.raises(ResultError, match=f"a.json: {said}"):
        EvaluationResult.load(path)


def test_other_files_are_errors(tmp_path: Path):
    for text, said in (
        ("{", "a.json is not JSON"),
        ("[" * 100_000, "a.json is not JSON"),
        ("[]", "a.json is not a result of"),
        ('{"x": 1}', "no `format_version`"),
    ):
        (tmp_path / "a.json").write_text(text)
        with pytest.raises(ResultError, match=said):
            EvaluationResult.load(tmp_path / "a.json")
    with pytest.raises(FileNotFoundError):
        EvaluationResult.load(tmp_path / "b.json")


def test_the_table_shows_counts_intervals_and_what_a_normalisation_needs():
    result = build()
    text = format_result(result)
    assert "8 of 9 captions, 6 of 6 videos" in text and "Not the complete split" in text and "Protocol: p." in text
    low, high = result.intervals["v2t_MnR"]
    assert f"{result.metrics['v2t_MnR']:.1f}" in text and f"{low:.1f} - {high:.1f}" in text
    plain, normalized = text.split("Under qb-norm (temperature 0.05), a protocol of its own.")
    assert "No score normalisation:" in plain and "It needs train captions:" in normalized
    row = next(line for line in normalized.splitlines() if line.startswith("video to text"))
    assert row.split()[3:] == ["-"] * 5
    # A recall of 100 % has a zero-width interval, which the table does not leave alone.
    assert "not certainty" in text
    for scores in (result.intervals, result.normalized["qb-norm"]["intervals"]):
        scores.update({metric: (low, low + 1) for metric, (low, high) in scores.items() if low == high})
    assert "not certainty" not in format_result(result)
    result.data["num_captions"] = 9
    assert "Not the complete split" not in format_result(result)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"benchmark": "vatex"}, "B cannot be compared with A: `data.benchmark`: found 'vatex', expected 'msvd'"),
        ({"split": "validation"}, "`data.split`: found 'validation', expected 'test'"),
        ({"protocol": "q"}, "`data.protocol`: found 'q', expected 'p'"),
        (
            {"queries_sha256": "cc"},
            r"found other queries \(8 captions of 6 videos\), expected the same ones \(8 captions of 6 vid",
        ),
    ],
)
def test_results_of_different_queries_are_not_compared(change, said):
    other = build(1)
    other.data.update(change)
    with pytest.raises(ResultError, match=said):
        compare_results(build(), other, ("A", "B"))


def test_normalised_scores_are_compared_with_their_like_alone():
    first, second = build(), build(1)
    assert list(compare_results(first, second, normalization="qb-norm"))[-1] == "t2v_MnR"
    other = copy.deepcopy(second)
    other.normalized["qb-norm"]["settings"] = {"temperature": 1.0}
    with pytest.raises(
        ResultError, match="settings of qb-norm: found {'temperature': 1.0}, expected {'temperature': 0.05}"
    ):
        compare_results(first, other, ("A", "B"), "qb-norm")
    other.normalized = {}
    with pytest.raises(
        ResultError, match="B: found scores under no normalisation, expected scores under qb-norm to compare A and B"
    ):
        compare_results(first, other, ("A", "B"), "qb-norm")


def test_the_comparison_says_plainly_what_is_beyond_noise():
    worse, better = build(0, gain=-9.0), build(1, gain=9.0)
    differences = compare_results(worse, better)
    text = format_comparison(differences, worse, better, ("a.json", "b.json"))
    assert "the same 8 captions of 6 videos" in text and "A: a.json (outputs/model0)" in text
    (row,) = [line for line in text.splitlines() if line.startswith("t2v_MnR")]
    assert row.endswith("B is better, beyond noise") and "B in 8; 2 are within noise" in text
    same = format_comparison(compare_results(worse, worse), worse, worse, ("a.json", "a.json"))
    assert "Both have the same weights." in same and "A is better in 0 of 10 metrics, B in 0; 10" in same
    assert "not certainty" in same
    for of in differences.values():
        of.low, of.high = of.low - 1, of.high + 1
    assert "not certainty" not in format_comparison(differences, worse, better, ("a.json", "b.json"))
    better.data["videos_sha256"], better.model["fps"] = "zz", 2.0
    text = format_comparison(differences, worse, better, ("a.json", "b.json"))
    assert "The video files differ" in text and "A has fps 1.0, B has 2.0." in text
