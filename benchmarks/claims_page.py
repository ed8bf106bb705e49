"""Write the page about the paper's claims, its tables, plots and verdicts, from the results of `claims.py`.

    python benchmarks/claims_page.py            # writes docs/source/en/do_the_claims_hold.md and its plots
    python benchmarks/claims_page.py --check    # only says whether the page is up to date; exit code 1 when it is not

Nothing in the page that a result decides is typed by hand: the template `claims_page.md.j2` gets every figure and
every verdict from here.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Callable
from functools import cache
from pathlib import Path
from statistics import mean, stdev

import jinja2
import matplotlib
from claims import (
    CDCR,
    DIALS,
    EDITS,
    LONG,
    NUM_SEEDS,
    cdcr_cells,
    heads_cells,
    load_results,
    make_cells,
    share_of,
)
from matplotlib.figure import Figure

from drl_tvr.evaluation import EvaluationResult, PairedDifference, SeedDifference, compare_results, compare_seeds


PAGE = Path(__file__).parents[1] / "docs" / "source" / "en" / "do_the_claims_hold.md"
METRICS = {"t2v R@1": "t2v_R@1", "v2t R@1": "v2t_R@1", "twins": "t2v_twin_accuracy"}
CURVES = ("DP", "TI", "WTI", "XTI")


class Study:
    """The results of all runs, by study, cell and seed.

    Args:
        results (`list[dict]`): From `load_results`.
    """

    def __init__(self, results: list[dict]):
        self.runs: dict[tuple[str, str], list[dict]] = {(cell.study, cell.name): [] for cell in make_cells()}
        for found in sorted(results, key=lambda found: found["seed"]):
            self.runs[found["study"], found["cell"]].append(found)

    def num_seeds(self) -> str:
        """Say how many seeds the cells have."""
        counts = sorted({len(runs) for runs in self.runs.values()} - {0})
        return " to ".join(map(str, dict.fromkeys((counts[0], counts[-1])))) if counts else "none"

    def num_clips(self) -> int:
        """Count the small CLIPs that the runs started from."""
        return len({run["clip"] for runs in self.runs.values() for run in runs})

    def num_runs(self) -> int:
        """Count the runs."""
        return sum(map(len, self.runs.values()))

    def num_planned(self) -> int:
        """Count the runs of the complete study."""
        return NUM_SEEDS * len(make_cells())

    def is_partial(self) -> bool:
        """Return whether runs are missing."""
        return self.num_runs() < self.num_planned()

    def cell(self, study: str, name: str, value: Callable[[dict], float]) -> str:
        """Format the mean and the standard deviation of a value over the seeds of a cell."""
        values = [value(run) for run in self.runs[study, name]]
        if not values:
            return "-"
        return f"{mean(values):.1f} ± {stdev(values):.1f}" if len(values) > 1 else f"{values[0]:.1f}"

    def metric(self, study: str, name: str, metric: str) -> str:
        """Format a metric of the test split."""
        return self.cell(study, name, lambda run: run["metrics"][metric])

    def measure(self, study: str, name: str, measure: str) -> str:
        """Format a measure of the trained models to two places."""
        values = [run["measures"][measure] for run in self.runs[study, name] if measure in run["measures"]]
        return f"{mean(values):.2f}" if values else "-"

    @cache  # noqa: B019, there is one study
    def difference(
        self, study: str, first: str, second: str, other_study: str | None = None
    ) -> PairedDifference | None:
        """Compare t2v R@1 of two cells, the second minus the first, over the seeds that both have.

        Returns:
            `PairedDifference`, *optional*: Of a single seed, the interval is over videos alone; `None` without a seed.
        """
        sides = self.runs[study, first], self.runs[other_study or study, second]
        shared = {run["seed"] for run in sides[0]} & {run["seed"] for run in sides[1]}
        results = [[as_result(run) for run in side if run["seed"] in shared] for side in sides]
        if len(shared) == 1:
            return compare_results(*(side[0] for side in results))["t2v_R@1"]
        return compare_seeds(*results)["t2v_R@1"] if shared else None

    def verdict(self, study: str, first: str, second: str, other_study: str | None = None) -> str:
        """Say in words what the difference of two cells shows."""
        found = self.difference(study, first, second, other_study)
        if found is None:
            return "not measured yet"
        size = f"{found.difference:+.1f} ({found.low:+.1f} to {found.high:+.1f})"
        if not isinstance(found, SeedDifference):
            return f"can't be told by one seed: {size}"
        if found.low > 0:
            return f"**holds here: {size}**"
        return f"**does not hold here: {size}**" if found.high < 0 else f"**can't be told: {size}**"


def as_result(run: dict) -> EvaluationResult:
    """Make a result of a run that can be compared."""
    videos = list(range(len(run["ranks"]["v2t"])))
    data = {"benchmark": "moving-shapes", "split": "test", "queries_sha256": run["world"]}
    model = {"name": run["cell"], "seed": run["seed"]}
    return EvaluationResult(data, model, run["metrics"], {}, run["ranks"], videos)


def plot_curves(study: Study, file: Path) -> None:
    """Draw R@1 on the validation split over the steps, mean over the seeds, with and without edits."""
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for axis, edits in zip(axes, EDITS, strict=True):
        for head in CURVES:
            runs = study.runs["heads", f"{head} | transformer | {edits}"]
            points = defaultdict(list)
            for run in runs:
                for step, recall in run["curve"]:
                    points[step].append(recall)
            if points:
                axis.plot(list(points), [mean(values) for values in points.values()], label=head, marker=".")
        axis.set(title=f"with {edits}" if edits == "edits" else "without edits", xlabel="step")
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("R@1, text to video, validation")
    if axes[0].lines:
        axes[0].legend()
    save(figure, file)


def plot_dials(study: Study, file: Path) -> None:
    """Draw WTI minus TI over each dial, with 95 % intervals."""
    figure = Figure(figsize=(11, 3.3), layout="constrained")
    axes = figure.subplots(1, len(DIALS), sharey=True)
    for axis, (dial, title) in zip(axes, dial_titles().items(), strict=True):
        points = [(0.0, study.difference("heads", *default_pair()))]
        points += [(share, study.difference(dial, f"TI | {share}", f"WTI | {share}")) for share in shares_of(dial)]
        points = [(share, found) for share, found in points if found is not None]
        if points:
            shares, found = zip(*points, strict=True)
            middle = [item.difference for item in found]
            spread = [[item.difference - item.low for item in found], [item.high - item.difference for item in found]]
            axis.errorbar([100 * share for share in shares], middle, spread, marker="o", capsize=3)
        axis.axhline(0, color="black", linewidth=0.8)
        axis.set(xlabel=title)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("R@1 of WTI minus TI")
    save(figure, file)


def cdcr_pairs() -> list[tuple[str, str]]:
    """Return the interactions and edits for which CDCR was measured."""
    return list(dict.fromkeys((head, with_edits) for head, _, with_edits in cdcr_cells()))


def save(figure: Figure, file: Path) -> None:
    """Save a figure so that the same results give the same bytes."""
    with matplotlib.rc_context({"svg.hashsalt": "claims"}):
        figure.savefig(file, metadata={"Date": None})


def dial_titles() -> dict[str, str]:
    """Name the dials."""
    return {
        "filler_words": "filler words, %",
        "blank": "blank frames, %",
        "object": "frames of another object, %",
    }


def shares_of(dial: str) -> list[float]:
    """Return the settings of a dial other than 0."""
    return [share_of(dials) for dials in DIALS[dial]]


def default_pair() -> tuple[str, str]:
    """Return the cells of TI and WTI on the default world."""
    return "TI | transformer | edits", "WTI | transformer | edits"


def render(study: Study) -> str:
    """Render the page."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), trim_blocks=True, lstrip_blocks=True, autoescape=False
    )
    template = environment.get_template("claims_page.md.j2")
    return template.render(
        study=study,
        metrics=METRICS,
        long=LONG,
        edits=EDITS,
        heads_cells=list(heads_cells()),
        cdcr_cells=[(*pair, kind) for pair in cdcr_pairs() for kind in ("none", *CDCR)],
        dials=dial_titles(),
        shares_of=shares_of,
    )


def main() -> int:
    """Write the page, or check it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only say whether the page is up to date")
    check = parser.parse_args().check
    study = Study(load_results())
    page = render(study)
    if check:
        up_to_date = PAGE.is_file() and PAGE.read_text(encoding="utf-8") == page
        print(f"{PAGE}: {'up to date' if up_to_date else 'found another text, expected that of the results'}")
        return not up_to_date
    PAGE.write_text(page, encoding="utf-8")
    plot_curves(study, PAGE.parent / "claims_curves.svg")
    plot_dials(study, PAGE.parent / "claims_dials.svg")
    print(f"Written: {PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
