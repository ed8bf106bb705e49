"""The figures of `make demo` that prose quotes are those of the model card, which the run itself wrote."""

import re
import subprocess
import sys

import pytest
import yaml
from documentation import ROOT


CARD = (ROOT / "model_cards" / "moving-shapes.md").read_text(encoding="utf-8")
METRICS = ("R@1", "R@5", "R@10", "MdR", "MnR")
TITLES = {"t2v": "text to video", "v2t": "video to text"}
INTERVAL = r"(\d+\.\d) \((\d+\.\d) to (\d+\.\d)\)"


def metrics() -> dict[str, float]:
    """The metrics of the card's metadata."""
    index = yaml.safe_load(CARD.split("---")[1])["model-index"]
    return {metric["type"]: metric["value"] for metric in index[0]["results"][0]["metrics"]}


def row_of(page: str, title: str) -> str:
    """The first line of a page that begins with the title of a row, in a table or in plain text."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.search(rf"^(?:\| )?{re.escape(title)} .*", text, re.MULTILINE)[0]


def numbers_of(line: str) -> list[float]:
    """The numbers of a line, without the intervals in brackets."""
    return [float(number) for number in re.findall(r"\d+\.\d+", re.sub(r"\(.*?\)", "", line))]


@pytest.mark.parametrize("direction", TITLES)
@pytest.mark.parametrize("page", ["README.md", "docs/source/en/moving_shapes.md", "docs/source/en/protocol.md"])
def test_a_table_of_results_is_that_of_the_card(page: str, direction: str):
    expected = [round(metrics()[f"{direction}_{name}"], 1) for name in METRICS]
    found = numbers_of(row_of(page, TITLES[direction]))
    assert found[:5] == expected
    twins = re.findall(r"(\d+\.\d) % of (?:captions|videos)", CARD)[direction == "v2t"]
    assert found[5:] in ([], [float(twins)])


@pytest.mark.parametrize("direction", TITLES)
def test_an_interval_is_that_of_the_card(direction: str):
    value, low, high = re.search(INTERVAL, row_of("model_cards/moving-shapes.md", TITLES[direction])).groups()
    assert f"{value} ({low} to {high})" in row_of("docs/source/en/moving_shapes.md", TITLES[direction])
    assert f"{low} to {high}" in " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    after = (ROOT / "docs" / "source" / "en" / "protocol.md").read_text(encoding="utf-8")
    assert f"{low} - {high}" in after.partition(TITLES[direction])[2].splitlines()[1]


def test_performance_quotes_the_model_of_the_card():
    row = row_of("docs/source/en/performance.md", "torch.float32")
    found = [float(cell) for cell in re.findall(r"\d+\.\d\d", row)]
    assert found == [round(metrics()[f"{direction}_{name}"], 2) for direction in TITLES for name in METRICS]


def test_the_time_of_the_demo_is_quoted_in_one_form():
    (seconds,) = re.findall(r"^\| duration \| (\d+) s \|$", CARD, re.MULTILINE)
    readme, page = (
        " ".join((ROOT / name).read_text(encoding="utf-8").split())
        for name in ("README.md", "docs/source/en/moving_shapes.md")
    )
    assert f"{seconds} s are training" in readme
    (quoted,) = re.findall(r"takes (\d+ min \d+ s)", readme)
    assert f"takes {quoted} on 2 cores" in page
    others = [path for path in (ROOT / "docs").rglob("*.md") if path.stem != "moving_shapes"]
    assert not [path.name for path in others if re.search(r"\d+ min \d+ s", path.read_text(encoding="utf-8"))]


def test_the_page_of_the_claims_is_that_of_its_results():
    command = [sys.executable, "benchmarks/claims_page.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
