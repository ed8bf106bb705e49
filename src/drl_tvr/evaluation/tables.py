"""Format results and comparisons as text for a terminal."""

from ..terminal import format_sentences, format_table
from .bootstrap import COVERED_PERCENT, LOWER_IS_BETTER, PairedDifference
from .metrics import DIRECTIONS, METRICS
from .results import EvaluationResult


ZERO_WIDTH = (
    "A zero-width interval is not certainty: the bootstrap cannot produce outcomes that the sample lacks. With N of N "
    "hits, or 0 of N, the true rate may differ by about 300 / N percent."
)
TWIN_METRICS = ("t2v_twin_accuracy", "v2t_twin_accuracy")
VERDICTS = {"first": "A is better, beyond noise", "second": "B is better, beyond noise", None: "within noise"}


def format_result(result: EvaluationResult, width: int | None = None) -> str:
    """Format a result as tables, the normalised scores below the plain ones.

    Args:
        result ([`~evaluation.EvaluationResult`]): The result.
        width (`int`, *optional*): The most characters per line; by default as many as the tables need.

    Returns:
        `str`: Several lines, without colours or control characters.
    """
    data = result.data
    about = [
        f"{result.model['name']} on {data['benchmark']}, {data['split']} split: "
        f"{format_count(data, 'captions')} captions, {format_count(data, 'videos')} videos."
    ]
    if data.get("protocol"):
        about.append(f"Protocol: {data['protocol']}.")
    if not is_complete(data, "captions") or not is_complete(data, "videos"):
        about.append("Not the complete split: these figures cannot stand beside results on all of it.")
    parts = [
        format_sentences(about, width),
        format_sentences(["No score normalisation:"], width),
        format_scores(result.metrics, result.intervals, width),
    ]
    twins = [f"{result.metrics[key]:.1f} % ({DIRECTIONS[key[:3]]})" for key in TWIN_METRICS if key in result.metrics]
    if twins:
        parts.append(
            format_sentences([f"Closer to their own counterpart than to its twin: {', '.join(twins)}."], width)
        )
    for name, scores in result.normalized.items():
        about = [
            f"Under {name} ({format_settings(scores)}), a protocol of its own.",
            f"It needs {scores.get('needs')}:",
        ]
        parts += [format_sentences(about, width), format_scores(scores["metrics"], scores["intervals"], width)]
    notes = [
        f"Below each figure: its {COVERED_PERCENT} % interval by a bootstrap over videos. It tells what other test "
        "queries would change, not what another training seed would."
    ]
    intervals = [result.intervals, *(scores["intervals"] for scores in result.normalized.values())]
    if any("R@" in metric and low == high for each in intervals for metric, (low, high) in each.items()):
        notes.append(ZERO_WIDTH)
    parts.append(format_sentences(notes, width))
    return "\n\n".join(parts)


def format_scores(
    metrics: dict[str, float], intervals: dict[str, tuple[float, float]], width: int | None = None
) -> str:
    """Format one table: for each direction a row of values and a row of intervals."""
    rows = []
    for direction, title in DIRECTIONS.items():
        keys = [f"{direction}_{name}" for name in METRICS]
        if all(key in metrics for key in keys):
            rows.append((title, *(f"{metrics[key]:.1f}" for key in keys)))
            rows.append(("", *(f"{intervals[key][0]:.1f} - {intervals[key][1]:.1f}" for key in keys)))
        else:
            rows.append((title, *["-"] * len(keys)))
    return format_table(("", *METRICS), rows, "lrrrrr", width)


def format_settings(scores: dict) -> str:
    """List the settings of a normalisation, each with its value where the setting is a rule."""
    parts = []
    for key, setting in scores.get("settings", {}).items():
        values = scores.get("values", {})
        parts.append(f"{key} {setting} = {values[key]:.4g}" if key in values else f"{key} {setting}")
    return ", ".join(parts)


def is_complete(data: dict, what: str) -> bool:
    """Return whether a split has as many `what` as expected, or the expected number is unknown."""
    return data.get(f"expected_{what}") in (None, data.get(f"num_{what}"))


def format_count(data: dict, what: str) -> str:
    """Format the number found, and the expected number where it is known."""
    found, expected = data.get(f"num_{what}"), data.get(f"expected_{what}")
    return f"{found:,}" if expected is None else f"{found:,} of {expected:,}"


def format_comparison(
    differences: dict[str, PairedDifference],
    first: EvaluationResult,
    second: EvaluationResult,
    names: tuple[str, str],
    normalization: str | None = None,
    width: int | None = None,
) -> str:
    """Format a comparison as a table that says for each metric whether the difference is beyond noise.

    Args:
        differences (`dict[str, PairedDifference]`): From [`~evaluation.compare_results`], or some of them.
        first, second ([`~evaluation.EvaluationResult`]): The two results.
        names (`tuple[str, str]`): The files of the results.
        normalization (`str`, *optional*): The normalisation of the compared scores.
        width (`int`, *optional*): The most characters per line; by default as many as the table needs.

    Returns:
        `str`: Several lines, without colours or control characters.
    """
    data = first.data
    scores = f"Scores under {normalization}" if normalization else "Plain scores"
    about = [
        f"A: {names[0]} ({first.model['name']})",
        f"B: {names[1]} ({second.model['name']})",
        f"{scores} on {data['benchmark']}, {data['split']} split: the same {len(first.ranks['t2v']):,} captions of "
        f"{len(first.ranks['v2t']):,} videos.",
    ]
    if first.model.get("sha256") == second.model.get("sha256"):
        about.append("Both have the same weights.")
    if data.get("videos_sha256") != second.data.get("videos_sha256"):
        about.append("The video files differ in their contents, which may explain a part of a difference.")
    for key in ("fps", "max_frames", "max_words"):
        if first.model.get(key) != second.model.get(key):
            about.append(f"A has {key} {first.model.get(key)}, B has {second.model.get(key)}.")
    rows = []
    for metric, difference in differences.items():
        values = (difference.first, difference.second)
        rows.append(
            (
                metric,
                *(f"{value:.2f}" for value in values),
                f"{difference.difference:+.2f}",
                f"{difference.low:+.2f} to {difference.high:+.2f}",
                "" if metric.endswith(LOWER_IS_BETTER) else f"{difference.p_value:.3f}",
                VERDICTS[difference.better],
            )
        )
    parts = [
        format_sentences(about, width),
        format_table(
            ("metric", "A", "B", "B - A", f"{COVERED_PERCENT} % interval", "exact p", ""), rows, "lrrrrrl", width
        ),
    ]
    better = [difference.better for difference in differences.values()]
    if len(better) > 1:
        counts = (
            f"Beyond noise: A is better in {better.count('first')} of {len(better)} metrics, B in "
            f"{better.count('second')}; {better.count(None)} are within noise."
        )
        parts.append(format_sentences([counts], width))
    notes = [
        "Beyond noise: the interval leaves out 0 and, as intervals of few differing queries are too short, an exact "
        "test agrees: for R@K a sign test over the videos whose hits differ (exact p < 0.05), for ranks at least 6 "
        "videos that differ.",
        "Noise here is the choice of test queries. Another training seed is not in it: for a claim about a method, "
        "train each with several seeds. And choose the metric before looking: of ten, one may differ by chance.",
    ]
    if any("R@" in metric and difference.low == difference.high for metric, difference in differences.items()):
        notes.insert(0, ZERO_WIDTH)
    parts.append(format_sentences(notes, width))
    return "\n\n".join(parts)


__all__ = ["format_comparison", "format_result"]
