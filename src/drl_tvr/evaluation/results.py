"""Save and load the result of one model on one split: metrics, intervals, ranks and provenance."""

import json
import math
import os
import sys
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import numpy as np

from ..files import write_whole
from .bootstrap import COVERED_PERCENT, NUM_RESAMPLES, bootstrap_intervals
from .metrics import DIRECTIONS, metrics_of_ranks


FORMAT_VERSION = 1
BOOTSTRAP_SETTINGS = {
    "resampled": "videos, each with all of its captions",
    "num_resamples": NUM_RESAMPLES,
    "seed": 0,
    "covered_percent": COVERED_PERCENT,
}
REQUIRED_TEXTS = {"data": ("benchmark", "split", "queries_sha256"), "model": ("name",)}


class ResultError(ValueError):
    """Invalid result file, or two results that cannot be compared; the message names the file and the field."""


@dataclass
class EvaluationResult:
    """Result of one model on one split.

    Args:
        data (`dict`): Provenance of the split, from [`~evaluation.describe_data`]: benchmark, split, protocol, counts,
            hashes. A training run adds `train`, the provenance of its training split.
        model (`dict`): Provenance of the model, from [`~evaluation.describe_model`]. A training run adds `chosen_on`,
            the split on which the checkpoint was chosen, and `seed`, the seed of training.
        metrics (`dict[str, float]`): Metrics as [`evaluate_retrieval`] names them, of scores without normalisation;
            with twins also those of [`~evaluation.twin_accuracy`].
        intervals (`dict[str, tuple[float, float]]`): 95 % intervals of the metrics, from
            [`~evaluation.bootstrap_intervals`].
        ranks (`dict[str, list[float]]`): `"t2v"`, one rank per caption, and `"v2t"`, one rank per video.
        caption_to_video (`list[int]`): Index of the video that each caption belongs to.
        normalized (`dict[str, dict]`, *optional*): For each score normalisation, by its name: `metrics`, `intervals`
            and `ranks` of its scores, the extra inputs that it `needs`, its `settings`, and the `values` of settings
            that are rules.
        versions (`dict[str, str]`, *optional*): Versions of the libraries, from [`~evaluation.library_versions`].

    Example:

    ```python
    >>> from drl_tvr.evaluation import EvaluationResult, make_result

    >>> data = {"benchmark": "mine", "split": "test", "queries_sha256": "..."}
    >>> ranks = {"t2v": [1, 2, 1], "v2t": [1, 1, 1]}
    >>> result = make_result(ranks, [0, 1, 2], data, model={"name": "my-model"}, versions={})
    >>> path = result.save("test_results.json")
    >>> round(EvaluationResult.load(path).metrics["t2v_R@1"], 1)
    66.7
    ```"""

    data: dict
    model: dict
    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    ranks: dict[str, list[float]]
    caption_to_video: list[int]
    normalized: dict[str, dict] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Short name for tables and pictures: the last part of the model's name."""
        return Path(self.model["name"]).name or self.model["name"]

    def save(self, path: str | os.PathLike) -> Path:
        """Write the result to a JSON file.

        Args:
            path (`str` or `os.PathLike`): The file; an earlier one is replaced once the new one is whole.

        Returns:
            `Path`: The file.

        Raises:
            `OSError`: When the file cannot be written; an earlier file is then unchanged.
        """
        header = {"format_version": FORMAT_VERSION, "post_processing": "none", "bootstrap": BOOTSTRAP_SETTINGS}
        content = {**header, **asdict(self)}
        lines = [f" {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in content.items()]
        return write_whole(path, "{\n" + ",\n".join(lines) + "\n}\n")

    @classmethod
    def load(cls, path: str | os.PathLike) -> "EvaluationResult":
        """Read a result, and check that its metrics follow from its ranks.

        Args:
            path (`str` or `os.PathLike`): A file of [`~evaluation.EvaluationResult.save`].

        Returns:
            [`~evaluation.EvaluationResult`]: The result.

        Raises:
            [`~evaluation.ResultError`]: When the file is not a result, or is inconsistent.
            `OSError`: When the file cannot be read.
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise ResultError(f"{path} is not JSON: {error}.") from error
        if not isinstance(content, dict) or "format_version" not in content:
            raise ResultError(f"{path} is not a result of `drl-tvr evaluate`: it has no `format_version`.")
        for key, expected in {"format_version": FORMAT_VERSION, "post_processing": "none"}.items():
            if content.get(key) != expected:
                raise ResultError(f"{path}: `{key}`: found {content.get(key)!r}, expected {expected!r}.")
        for item in fields(cls):
            expected = list if item.name == "caption_to_video" else dict
            if not isinstance(content.get(item.name), expected):
                found = type(content[item.name]).__name__ if item.name in content else "nothing"
                raise ResultError(f"{path}: `{item.name}`: found {found}, expected a {expected.__name__}.")
        for name, keys in REQUIRED_TEXTS.items():
            for key in keys:
                if not isinstance(content[name].get(key), str):
                    raise ResultError(f"{path}: `{name}.{key}`: found {content[name].get(key)!r}, expected a text.")
        result = cls(**{item.name: content[item.name] for item in fields(cls)})
        check_scores(f"{path}: ", content, result.caption_to_video, needed=set(DIRECTIONS))
        for name, scores in result.normalized.items():
            check_scores(f"{path}: `normalized.{name}`, ", scores, result.caption_to_video)
        return result


def make_result(
    ranks: dict[str, Sequence[float]],
    caption_to_video: Sequence[int],
    data: dict,
    model: dict,
    versions: dict[str, str],
    more_metrics: dict[str, float] | None = None,
) -> EvaluationResult:
    """Make the result of scores without normalisation.

    Args:
        ranks (`dict[str, Sequence[float]]`): Ranks of both directions, `"t2v"` and `"v2t"`.
        caption_to_video (`Sequence[int]`): Index of the video that each caption belongs to.
        data, model, versions (`dict`): From [`~evaluation.describe_data`], [`~evaluation.describe_model`] and
            [`~evaluation.library_versions`].
        more_metrics (`dict[str, float]`, *optional*): More metrics of the same scores, which get no interval.

    Returns:
        [`~evaluation.EvaluationResult`]: The metrics with their 95 % intervals, and the arguments.

    Raises:
        `ValueError`: When the number of ranks is not the number of captions or videos.
    """
    scores = score_ranks(ranks, caption_to_video)
    scores["metrics"].update(more_metrics or {})
    columns = [int(video) for video in caption_to_video]
    return EvaluationResult(data=data, model=model, caption_to_video=columns, versions=versions, **scores)


def score_ranks(ranks: dict[str, Sequence[float]], caption_to_video: Sequence[int]) -> dict[str, dict]:
    """Compute `metrics` and `intervals` of `ranks`; all three are returned as plain values."""
    return {
        "metrics": metrics_of_ranks(ranks),
        "intervals": bootstrap_intervals(ranks, caption_to_video, NUM_RESAMPLES, BOOTSTRAP_SETTINGS["seed"]),
        "ranks": {name: np.asarray(values, dtype=np.float64).tolist() for name, values in ranks.items()},
    }


def check_scores(where: str, scores: dict, caption_to_video: list[int], needed: Collection[str] = ()) -> None:
    """Refuse ranks that do not fit the captions, and metrics that do not follow from the ranks.

    Args:
        where (`str`): Beginning of the messages: the file and the part of it.
        scores (`dict`): `metrics`, `intervals` and `ranks` as read from the file.
        caption_to_video (`list[int]`): Index of each caption's video, as read from the file.
        needed (`Collection[str]`, *optional*): Directions that must be there.

    Raises:
        [`~evaluation.ResultError`]: When a field is missing or inconsistent.
    """
    if not isinstance(scores, dict):
        raise ResultError(f"{where}found {type(scores).__name__}, expected a dict.")
    for key in ("metrics", "intervals", "ranks"):
        if not isinstance(scores.get(key), dict):
            raise ResultError(f"{where}`{key}`: found {type(scores.get(key)).__name__}, expected a dict.")
    videos = set(caption_to_video) if all(type(video) is int for video in caption_to_video) else set()
    if not videos or min(videos) != 0 or max(videos) != len(videos) - 1:
        raise ResultError(
            f"{where}`caption_to_video`: found {caption_to_video[:5]} ..., expected every integer from 0 to the "
            "number of videos minus 1."
        )
    ranks = scores["ranks"]
    num_queries = {"t2v": len(caption_to_video), "v2t": len(videos)}
    if not ranks or not set(ranks) <= set(num_queries) or not set(needed) <= set(ranks):
        raise ResultError(f"{where}`ranks`: found {', '.join(ranks) or 'nothing'}, expected {', '.join(num_queries)}.")
    for direction, values in ranks.items():
        if not isinstance(values, list) or len(values) != num_queries[direction]:
            found = len(values) if isinstance(values, list) else type(values).__name__
            raise ResultError(f"{where}`ranks.{direction}`: found {found}, expected {num_queries[direction]} ranks.")
        for index, rank in enumerate(values):
            if type(rank) not in (int, float) or not 1 <= rank <= len(videos):
                raise ResultError(
                    f"{where}`ranks.{direction}[{index}]`: found {rank!r}, expected a number from 1 to {len(videos)}."
                )
    for metric, found in scores["metrics"].items():
        if not is_finite(found):
            raise ResultError(f"{where}`metrics.{metric}`: found {found!r}, expected a finite number.")
    for metric, value in metrics_of_ranks(ranks).items():
        found = scores["metrics"].get(metric)
        if found is None or not math.isclose(found, value, rel_tol=1e-6, abs_tol=1e-6):
            raise ResultError(f"{where}`metrics.{metric}`: found {found!r}, expected {value}, as the ranks say.")
        ends = scores["intervals"].get(metric)
        if not isinstance(ends, list) or len(ends) != 2 or not all(map(is_finite, ends)) or ends[0] > ends[1]:
            raise ResultError(f"{where}`intervals.{metric}`: found {ends!r}, expected the two ends of an interval.")


def is_finite(value: object) -> bool:
    """Return whether a value of a file is a finite number; an integer of JSON can be too large for a float."""
    return type(value) in (int, float) and abs(value) <= sys.float_info.max


__all__ = ["EvaluationResult", "ResultError", "make_result"]
