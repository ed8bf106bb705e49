"""Results and comparisons as text for a terminal."""

from .bootstrap import COVERED_PERCENT, PairedDifference
from .metrics import DIRECTIONS, METRICS
from .results import EvaluationResult


NO_WIDTH = "An interval without width is no certainty: resampling can't show what never occurred."


def format_result(result: EvaluationResult) -> str:
    """A result as a table, normalised scores below the plain ones.

    Args:
        result ([`~evaluation.EvaluationResult`]): What to show.

    Returns:
        `str`: Several lines.
    """
    data = result.data
    lines = [
        f"{result.model['name']} on {data['benchmark']}, {data['split']} split: "
        f"{count(data, 'captions')} captions, {count(data, 'videos')} videos."
    ]
    if data.get("protocol"):
        lines.append(f"Protocol: {data['protocol']}.")
    if any(data.get(f"expected_{what}") not in (None, data.get(f"num_{what}")) for what in ("captions", "videos")):
        lines.append("Not the complete split: these figures can't stand beside results on all of it.")
    lines += ["", "No score normalisation:", *format_scores(result.metrics, result.intervals)]
    for name, scores in result.normalized.items():
        values = {key: f" = {value:.4g}" for key, value in scores.get("values", {}).items()}
        settings = ", ".join(
            f"{key} {value}{values.get(key, '')}" for key, value in scores.get("settings", {}).items()
        )
        lines += ["", f"Under {name} ({settings}), a protocol of its own.", f"It needs {scores.get('needs')}:"]
        lines += format_scores(scores["metrics"], scores["intervals"])
    lines += [
        "",
        f"Below each figure: its {COVERED_PERCENT} % interval by a bootstrap over videos. It tells what other "
        "test queries would change,",
        "not what another training seed would.",
    ]
    scored = (result.intervals, *(scores["intervals"] for scores in result.normalized.values()))
    if any("R@" in metric and low == high for of in scored for metric, (low, high) in of.items()):
        lines += [NO_WIDTH, "N hits of N, or none, leave room for about 300 / N percent."]
    return "\n".join(lines)


def format_scores(metrics: dict[str, float], intervals: dict[str, tuple[float, float]]) -> list[str]:
    """The lines of one table: a row of values and a row of intervals for each direction."""
    lines = [f"{'':16}" + "".join(f"{name:>15}" for name in METRICS)]
    for direction, title in DIRECTIONS.items():
        keys = [f"{direction}_{name}" for name in METRICS]
        if not all(key in metrics for key in keys):
            lines.append(f"{title:16}" + f"{'-':>15}" * len(keys))
            continue
        lines.append(f"{title:16}" + "".join(f"{metrics[key]:15.1f}" for key in keys))
        ends = [f"{intervals[key][0]:.1f} - {intervals[key][1]:.1f}" for key in keys]
        lines.append(f"{'':16}" + "".join(f"{of_metric:>15}" for of_metric in ends))
    return lines


def count(data: dict, what: str) -> str:
    """How many were found, of how many where that is known."""
    found, expected = data.get(f"num_{what}"), data.get(f"expected_{what}")
    return f"{found:,}" if expected is None else f"{found:,} of {expected:,}"


def format_comparison(
    differences: dict[str, PairedDifference],
    first: EvaluationResult,
    second: EvaluationResult,
    names: tuple[str, str],
    normalization: str | None = None,
) -> str:
    """A comparison as a table that says of each metric whether the difference is beyond noise.

    Args:
        differences (`dict[str, PairedDifference]`): From [`~evaluation.compare_results`], or some of them.
        first, second ([`~evaluation.EvaluationResult`]): What was compared.
        names (`tuple[str, str]`): Their files.
        normalization (`str`, *optional*): That of the scores.

    Returns:
        `str`: Several lines.
    """
    data = first.data
    scores = f"Scores under {normalization}" if normalization else "Plain scores"
    lines = [
        f"A: {names[0]} ({first.model['name']})",
        f"B: {names[1]} ({second.model['name']})",
        f"{scores} on {data['benchmark']}, {data['split']} split: the same {len(first.ranks['t2v']):,} captions of "
        f"{len(first.ranks['v2t']):,} videos.",
    ]
    if first.model.get("sha256") == second.model.get("sha256"):
        lines.append("Both are of the same weights.")
    if data.get("videos_sha256") != second.data.get("videos_sha256"):
        lines.append("The video files differ in their contents: part of a difference may be theirs.")
    for key in ("fps", "max_frames", "max_words"):
        if first.model.get(key) != second.model.get(key):
            lines.append(f"A has {key} {first.model.get(key)}, B has {second.model.get(key)}.")
    lines += ["", f"{'':10}{'A':>9}{'B':>9}{'B - A':>9}{f'{COVERED_PERCENT} % interval':>20}"]
    verdicts = {"first": "A is better, beyond noise", "second": "B is better, beyond noise", None: "within noise"}
    for metric, of in differences.items():
        ends = f"{of.low:+.2f} to {of.high:+.2f}"
        lines.append(
            f"{metric:10}{of.first:9.2f}{of.second:9.2f}{of.difference:+9.2f}{ends:>20}   {verdicts[of.better]}"
        )
    better = [of.better for of in differences.values()]
    if len(better) > 1:
        lines += [
            "",
            f"Beyond noise: A is better in {better.count('first')} of {len(better)} metrics, B in "
            f"{better.count('second')}; {better.count(None)} are within noise.",
        ]
    lines += [
        "",
        *([NO_WIDTH] if any("R@" in metric and of.low == of.high for metric, of in differences.items()) else []),
        "Noise here is the choice of test queries. Another training seed is not in it: for a claim about a method, ",
        "train each with several seeds. And choose the metric before looking: of ten, one may differ by chance.",
    ]
    return "\n".join(line.rstrip() for line in lines)


__all__ = ["format_comparison", "format_result"]
