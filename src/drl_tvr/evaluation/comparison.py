"""Compare two results on the same queries."""

from .bootstrap import PairedDifference, paired_differences
from .results import EvaluationResult, ResultError


def compare_results(
    first: EvaluationResult,
    second: EvaluationResult,
    names: tuple[str, str] = ("the first result", "the second"),
    normalization: str | None = None,
) -> dict[str, PairedDifference]:
    """Compute the paired differences of two results.

    Args:
        first, second ([`~evaluation.EvaluationResult`]): Results on the same queries.
        names (`tuple[str, str]`, *optional*): Names of the results in error messages, such as their files.
        normalization (`str`, *optional*): Compare the scores under this normalisation, which both results must have
            with the same settings. By default scores without normalisation are compared.

    Returns:
        `dict[str, PairedDifference]`: One entry per metric, second minus first.

    Raises:
        [`~evaluation.ResultError`]: When the benchmarks, splits, protocols or queries differ, or a result lacks the
            normalisation; the message names both results.

    Example:

    ```python
    >>> from drl_tvr.evaluation import compare_results, make_result

    >>> data = {"benchmark": "mine", "split": "test", "queries_sha256": "..."}
    >>> videos = list(range(100))
    >>> better, worse = {"t2v": [1] * 100, "v2t": [1] * 100}, {"t2v": [2] * 100, "v2t": [1] * 100}
    >>> first = make_result(worse, videos, data, model={"name": "worse"}, versions={})
    >>> second = make_result(better, videos, data, model={"name": "better"}, versions={})
    >>> compare_results(first, second)["t2v_R@1"].difference
    100.0
    ```"""
    ranks = comparable_ranks(first, second, names, normalization)
    return paired_differences(*ranks, first.caption_to_video)


def comparable_ranks(
    first: EvaluationResult, second: EvaluationResult, names: tuple[str, str], normalization: str | None
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Return the ranks of two results, and refuse results that cannot be compared.

    Args:
        first, second, names, normalization: See [`~evaluation.compare_results`].

    Returns:
        `tuple(dict[str, list[float]], dict[str, list[float]])`: The ranks of each result by direction.

    Raises:
        [`~evaluation.ResultError`]: See [`~evaluation.compare_results`].
    """
    for key in ("benchmark", "split", "protocol"):
        found, expected = second.data.get(key), first.data.get(key)
        if found != expected:
            raise ResultError(
                f"{names[1]} cannot be compared with {names[0]}: `data.{key}`: found {found!r}, expected {expected!r}."
            )
    if (
        first.data["queries_sha256"] != second.data["queries_sha256"]
        or first.caption_to_video != second.caption_to_video
    ):
        raise ResultError(
            f"{names[1]} cannot be compared with {names[0]}: found other queries ({count_queries(second)}), expected "
            f"the same ones ({count_queries(first)})."
        )
    if normalization is None:
        return first.ranks, second.ranks
    for name, result in zip(names, (first, second), strict=True):
        if normalization not in result.normalized:
            raise ResultError(
                f"{name}: found scores under {', '.join(result.normalized) or 'no normalisation'}, expected scores "
                f"under {normalization} to compare {names[0]} and {names[1]}."
            )
    of_first, of_second = (result.normalized[normalization] for result in (first, second))
    found, expected = of_second.get("settings"), of_first.get("settings")
    if found != expected:
        raise ResultError(
            f"{names[1]} cannot be compared with {names[0]}: settings of {normalization}: found {found}, expected "
            f"{expected}."
        )
    return of_first["ranks"], of_second["ranks"]


def count_queries(result: EvaluationResult) -> str:
    """Return the number of captions and videos of a result, for a message."""
    return f"{len(result.ranks['t2v']):,} captions of {len(result.ranks['v2t']):,} videos"


__all__ = ["compare_results"]
