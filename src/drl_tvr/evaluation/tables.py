"""Format results and comparisons as text for a terminal."""

from collections.abc import Sequence

from ..terminal import format_sentences, format_table
from .bootstrap import COVERED_PERCENT, LOWER_IS_BETTER, PairedDifference
from .metrics import DIRECTIONS, METRICS
from .results import EvaluationResult
from .seed_comparison import SeedDifference


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
    about = [
        f"A: {names[0]} ({first.model['name']})",
        f"B: {names[1]} ({second.model['name']})",
        describe_scores(first, normalization),
    ]
    if first.model.get("sha256") == second.model.get("sha256"):
        about.append("Both have the same weights.")
    about += describe_unlike_inputs(([first], [second]))
    rows = [
        difference_row(
            difference,
            [f"{value:.2f}" for value in (difference.first, difference.second)],
            "" if metric.endswith(LOWER_IS_BETTER) else f"{difference.p_value:.3f}",
        )
        for metric, difference in differences.items()
    ]
    notes = [
        "Beyond noise: the interval leaves out 0 and, as intervals of few differing queries are too short, an exact "
        "test agrees: for R@K a sign test over the videos whose hits differ (exact p < 0.05), for ranks at least 6 "
        "videos that differ.",
        "Noise here is the choice of test queries. Another training seed is not in it: for a claim about a method, "
        "train each with several seeds and compare A*.json vs B*.json. And choose the metric before looking: of ten, "
        "one may differ by chance.",
    ]
    return format_parts(about, differences, rows, "exact p", notes, width)


def format_seed_comparison(
    differences: dict[str, SeedDifference],
    first: Sequence[EvaluationResult],
    second: Sequence[EvaluationResult],
    names: tuple[Sequence[str], Sequence[str]],
    normalization: str | None = None,
    width: int | None = None,
) -> str:
    """Format a comparison of two methods over several seeds as a table like that of [`~evaluation.format_comparison`].

    Args:
        differences (`dict[str, SeedDifference]`): From [`~evaluation.compare_seeds`], or some of them.
        first, second (`Sequence[EvaluationResult]`): The results of each method.
        names (`tuple[Sequence[str], Sequence[str]]`): The files of the results.
        normalization (`str`, *optional*): The normalisation of the compared scores.
        width (`int`, *optional*): The most characters per line; by default as many as the table needs.

    Returns:
        `str`: Several lines, without colours or control characters.
    """
    sides = (first, second)
    about = [describe_seeds(*side) for side in zip("AB", sides, names, strict=True)]
    about.append(describe_scores(first[0], normalization))
    is_paired = any(difference.is_paired for difference in differences.values())
    about.append(
        "The same seeds on both sides: the differences are taken seed by seed."
        if is_paired
        else "The seeds of A and B are taken as independent: the files do not record the same ones."
    )
    about += describe_unlike_inputs(sides)
    rows = []
    for difference in differences.values():
        spreads = ((difference.first, difference.first_std), (difference.second, difference.second_std))
        values = [f"{mean:.2f}" if std is None else f"{mean:.2f} ± {std:.2f}" for mean, std in spreads]
        rows.append(difference_row(difference, values, f"{difference.p_value:.3f}"))
    notes = [
        "Mean ± standard deviation over seeds. Beyond noise: the interval leaves out 0. It covers other test queries, "
        "by a bootstrap over videos, and other seeds, by Student's t. Choose the metric before looking: of ten, one "
        "may differ by chance.",
    ]
    for side, results in zip("AB", sides, strict=True):
        if len(results) == 1:
            notes.insert(0, f"{side} has a single seed: the interval says nothing of its other seeds.")
    return format_parts(about, differences, rows, "p", notes, width)


def describe_seeds(side: str, results: Sequence[EvaluationResult], names: Sequence[str]) -> str:
    """Describe one side of a comparison of seeds: the seeds and the files."""
    seeds = [result.model.get("seed") for result in results]
    known = "seed not recorded" if None in seeds else f"seed {', '.join(map(str, seeds))}"
    count = "1 result" if len(results) == 1 else f"{len(results)} results"
    is_repeated = None not in seeds and len(set(seeds)) < len(seeds)
    warning = " A seed is there twice: are all of one method?" if is_repeated else ""
    return f"{side}: {count}, {known}: {', '.join(names)}.{warning}"


def describe_scores(result: EvaluationResult, normalization: str | None) -> str:
    """Describe the compared scores and their queries."""
    scores = f"Scores under {normalization}" if normalization else "Plain scores"
    return (
        f"{scores} on {result.data['benchmark']}, {result.data['split']} split: the same "
        f"{len(result.ranks['t2v']):,} captions of {len(result.ranks['v2t']):,} videos."
    )


def describe_unlike_inputs(sides: tuple[Sequence[EvaluationResult], Sequence[EvaluationResult]]) -> list[str]:
    """Describe in which inputs the results of two sides differ."""
    about = []
    if len({result.data.get("videos_sha256") for side in sides for result in side}) > 1:
        about.append("The video files differ in their contents, which may explain a part of a difference.")
    for key in ("fps", "max_frames", "max_words"):
        first, second = (", ".join(dict.fromkeys(str(result.model.get(key)) for result in side)) for side in sides)
        if first != second or ", " in first:
            about.append(f"A has {key} {first}, B has {second}.")
    return about


def difference_row(difference: PairedDifference, values: Sequence[str], p_value: str) -> tuple[str, ...]:
    """Make the row of one metric."""
    return (
        difference.metric,
        *values,
        f"{difference.difference:+.2f}",
        f"{difference.low:+.2f} to {difference.high:+.2f}",
        p_value,
        VERDICTS[difference.better],
    )


def format_parts(
    about: list[str],
    differences: dict[str, PairedDifference],
    rows: list[tuple[str, ...]],
    p_title: str,
    notes: list[str],
    width: int | None,
) -> str:
    """Join the header, the table, the number of differences beyond noise, and the notes of a comparison."""
    header = ("metric", "A", "B", "B - A", f"{COVERED_PERCENT} % interval", p_title, "")
    parts = [format_sentences(about, width), format_table(header, rows, "lrrrrrl", width)]
    better = [difference.better for difference in differences.values()]
    if len(better) > 1:
        counts = (
            f"Beyond noise: A is better in {better.count('first')} of {len(better)} metrics, B in "
            f"{better.count('second')}; {better.count(None)} are within noise."
        )
        parts.append(format_sentences([counts], width))
    if any("R@" in metric and difference.low == difference.high for metric, difference in differences.items()):
        notes = [ZERO_WIDTH, *notes]
    parts.append(format_sentences(notes, width))
    return "\n\n".join(parts)


__all__ = ["format_comparison", "format_result", "format_seed_comparison"]
