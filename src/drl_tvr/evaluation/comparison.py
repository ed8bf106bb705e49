"""Two results on the same queries: the difference of each metric, and whether it is beyond noise."""

from .bootstrap import PairedDifference, paired_differences
from .results import EvaluationResult, ResultError


def compare_results(
    first: EvaluationResult,
    second: EvaluationResult,
    names: tuple[str, str] = ("the first result", "the second"),
    normalization: str | None = None,
) -> dict[str, PairedDifference]:
    """The paired differences of two results.

    Args:
        first, second ([`~evaluation.EvaluationResult`]): On the same queries.
        names (`tuple[str, str]`, *optional*): What to call them in an error, as their files.
        normalization (`str`, *optional*): Compare scores under this normalisation, which both must have with the same
            settings; by default plain scores.

    Returns:
        `dict[str, PairedDifference]`: One entry a metric, second minus first.

    Raises:
        `ResultError`: When they are of different benchmarks, splits, protocols or queries, or one lacks the
            normalisation; names both and what each has.
    """
    for key in ("benchmark", "split", "protocol"):
        found = [result.data.get(key) for result in (first, second)]
        if found[0] != found[1]:
            raise ResultError(
                f"{names[0]} has the {key} {found[0]!r}, {names[1]} has {found[1]!r}: they can't be compared."
            )
    if first.data["queries_sha256"] != second.data["queries_sha256"]:
        counts = [
            f"{name} has {len(result.ranks['t2v'])} captions of {len(result.ranks['v2t'])} videos"
            for name, result in zip(names, (first, second), strict=True)
        ]
        raise ResultError(f"{', '.join(counts)}, and they are not the same ones: they can't be compared.")
    if first.caption_to_video != second.caption_to_video:
        raise ResultError(f"{names[0]} and {names[1]} differ in `caption_to_video`: they can't be compared.")
    if normalization is None:
        return paired_differences(first.ranks, second.ranks, first.caption_to_video)
    settings = []
    for name, result in zip(names, (first, second), strict=True):
        if normalization not in result.normalized:
            has = ", ".join(["plain scores", *result.normalized])
            others = names[1] if name == names[0] else names[0]
            raise ResultError(f"{name} has no scores under {normalization}, only {has}; {others} is compared with it.")
        settings.append(result.normalized[normalization].get("settings"))
    if settings[0] != settings[1]:
        raise ResultError(
            f"{names[0]} has {normalization} with {settings[0]}, {names[1]} with {settings[1]}: they can't be "
            "compared."
        )
    ranks = [result.normalized[normalization]["ranks"] for result in (first, second)]
    return paired_differences(*ranks, first.caption_to_video)


__all__ = ["compare_results"]
