"""The result of one model on one split, as it is written to a file: metrics, intervals, ranks, and what made them."""

import json
import math
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import numpy as np

from .bootstrap import COVERED, NUM_RESAMPLES, bootstrap_intervals
from .metrics import metrics_of_ranks


FORMAT_VERSION = 1
BOOTSTRAP = {
    "resampled": "videos, each with all of its captions",
    "num_resamples": NUM_RESAMPLES,
    "seed": 0,
    "covered_percent": COVERED,
}


class ResultError(ValueError):
    """A result file that isn't one, or two that can't be compared; the message names them and what was found."""


@dataclass
class EvaluationResult:
    """The result of one model on one split.

    Args:
        data (`dict`): From [`~evaluation.describe_data`]: benchmark, split, protocol, counts, hashes.
        model (`dict`): From [`~evaluation.describe_model`].
        metrics (`dict[str, float]`): As [`evaluate_retrieval`] names them; of plain scores, without any normalisation.
        intervals (`dict[str, tuple[float, float]]`): Their 95 % intervals, from
            [`~evaluation.bootstrap_intervals`].
        ranks (`dict[str, list[float]]`): `"t2v"`, one a caption, and `"v2t"`, one a video.
        caption_to_video (`list[int]`): Which video each caption belongs to.
        normalized (`dict[str, dict]`, *optional*): By the name of a normalisation, `metrics`, `intervals` and `ranks`
            of its scores, what it `needs`, its `settings`, and the `values` of settings that are rules.
        versions (`dict[str, str]`, *optional*): From [`~evaluation.library_versions`].
    """

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
        """What to call it in a table or a picture: the last part of the model's name."""
        return Path(self.model["name"]).name or self.model["name"]

    def save(self, path: str | os.PathLike) -> Path:
        """Write the file, which appears under its name only when it is whole.

        Args:
            path (`str` or `os.PathLike`): A JSON file; an earlier one is replaced.

        Returns:
            `Path`: The file.

        Raises:
            `OSError`: When it can't be written.
        """
        path = Path(path)
        content = {"format_version": FORMAT_VERSION, "post_processing": "none", "bootstrap": BOOTSTRAP, **asdict(self)}
        lines = [f" {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in content.items()]
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write("{\n" + ",\n".join(lines) + "\n}\n")
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except OSError:
            Path(temporary).unlink(missing_ok=True)
            raise
        return path

    @classmethod
    def load(cls, path: str | os.PathLike) -> "EvaluationResult":
        """Read a file, and check that it is a result whose metrics follow from its ranks.

        Args:
            path (`str` or `os.PathLike`): What [`~evaluation.EvaluationResult.save`] wrote.

        Returns:
            [`~evaluation.EvaluationResult`]: The result.

        Raises:
            `ResultError`: When it is something else; names the file, the field and what was found.
            `OSError`: When it can't be read.
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
        except ValueError as error:
            raise ResultError(f"{path} is not JSON: {error}.") from error
        if not isinstance(content, dict) or "format_version" not in content:
            raise ResultError(f"{path} is no result of `drl-tvr evaluate`: it has no `format_version`.")
        if content["format_version"] != FORMAT_VERSION:
            raise ResultError(f"{path}: `format_version` is {content['format_version']!r}, expected {FORMAT_VERSION}.")
        if content.get("post_processing") != "none":
            raise ResultError(f"{path}: `post_processing` is {content.get('post_processing')!r}, expected 'none'.")
        for item in fields(cls):
            expected = list if item.name == "caption_to_video" else dict
            if not isinstance(content.get(item.name), expected):
                found = type(content[item.name]).__name__ if item.name in content else "nothing"
                raise ResultError(f"{path}: `{item.name}` is {found}, expected a {expected.__name__}.")
        for name, keys in {"data": ("benchmark", "split", "queries_sha256"), "model": ("name",)}.items():
            for key in keys:
                if not isinstance(content[name].get(key), str):
                    raise ResultError(f"{path}: `{name}` has no text `{key}`.")
        result = cls(**{item.name: content[item.name] for item in fields(cls)})
        check_scores(path, "", {"t2v", "v2t"}, content, result.caption_to_video)
        for name, scores in result.normalized.items():
            check_scores(path, f"normalized.{name}.", set(), scores, result.caption_to_video)
        return result


def make_result(
    ranks: dict[str, Sequence[float]],
    caption_to_video: Sequence[int],
    data: dict,
    model: dict,
    versions: dict[str, str],
    more_metrics: dict[str, float] | None = None,
) -> EvaluationResult:
    """The result of plain scores.

    Args:
        ranks (`dict[str, Sequence[float]]`): Of both directions, `"t2v"` and `"v2t"`.
        caption_to_video (`Sequence[int]`): Which video each caption belongs to.
        data, model, versions (`dict`): From [`~evaluation.describe_data`], [`~evaluation.describe_model`] and
            [`~evaluation.library_versions`].
        more_metrics (`dict[str, float]`, *optional*): Of the same scores, without an interval.

    Returns:
        [`~evaluation.EvaluationResult`]: With metrics and their 95 % intervals.

    Raises:
        `ValueError`: When ranks and captions don't fit.
    """
    scores = score_ranks(ranks, caption_to_video)
    scores["metrics"].update(more_metrics or {})
    owners = [int(video) for video in caption_to_video]
    return EvaluationResult(data=data, model=model, caption_to_video=owners, versions=versions, **scores)


def score_ranks(ranks: dict[str, Sequence[float]], caption_to_video: Sequence[int]) -> dict[str, dict]:
    """`metrics`, `intervals` and `ranks` of one set of scores, as plain values."""
    return {
        "metrics": metrics_of_ranks(ranks),
        "intervals": bootstrap_intervals(ranks, caption_to_video, NUM_RESAMPLES, BOOTSTRAP["seed"]),
        "ranks": {direction: np.asarray(of, dtype=np.float64).tolist() for direction, of in ranks.items()},
    }


def check_scores(path: str | os.PathLike, where: str, needed: set[str], scores: dict, owners: list[int]) -> None:
    """Refuse scores that can't be of these captions, or metrics that aren't those of the ranks.

    Raises:
        `ResultError`: Names the file and the field.
    """
    if not all(isinstance(scores.get(key), dict) for key in ("metrics", "intervals", "ranks")):
        raise ResultError(f"{path}: `{where[:-1]}` has no `metrics`, `intervals` and `ranks`.")
    if not owners or not all(type(video) is int for video in owners) or set(owners) != set(range(max(owners) + 1)):
        raise ResultError(f"{path}: `caption_to_video` must hold the integers from 0 to one less than the videos.")
    ranks = scores["ranks"]
    lengths = {"t2v": len(owners), "v2t": max(owners) + 1}
    if not ranks or not set(ranks) <= set(lengths) or not needed <= set(ranks):
        raise ResultError(f"{path}: `{where}ranks` has {', '.join(ranks) or 'nothing'}, expected t2v and v2t.")
    for direction, of_direction in ranks.items():
        if not isinstance(of_direction, list) or len(of_direction) != lengths[direction]:
            raise ResultError(f"{path}: `{where}ranks.{direction}` must hold {lengths[direction]} ranks.")
        for index, rank in enumerate(of_direction):
            if type(rank) not in (int, float) or not 1 <= rank <= lengths["v2t"]:
                raise ResultError(
                    f"{path}: `{where}ranks.{direction}` has {rank!r} at {index}, expected 1 to {lengths['v2t']}."
                )
    for metric, value in metrics_of_ranks(ranks).items():
        found = scores["metrics"].get(metric)
        if type(found) not in (int, float) or not math.isclose(found, value, rel_tol=1e-6, abs_tol=1e-6):
            raise ResultError(f"{path}: `{where}metrics` says {found!r} for {metric}, its ranks say {value}.")
        ends = scores["intervals"].get(metric)
        if not isinstance(ends, list) or [type(end) for end in ends] != [float, float]:
            raise ResultError(f"{path}: `{where}intervals` has {ends!r} for {metric}, expected its two ends.")


__all__ = ["EvaluationResult", "ResultError", "make_result"]
