"""Pictures are real PNG files of what the results hold, and a missing matplotlib says what to install."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from drl_tvr.evaluation import ResultError, make_result, plots
from drl_tvr.evaluation.plots import plot_files


def write_result(path: Path, ranks, **data) -> Path:
    data = {"benchmark": "msvd", "split": "test", "queries_sha256": "aa", **data}
    ranks = {"t2v": ranks, "v2t": ranks}
    return make_result(ranks, range(len(ranks["t2v"])), data, {"name": path.stem}, {}).save(path)


def write_run(folder: Path, history) -> Path:
    folder.mkdir()
    (folder / "trainer_state.json").write_text(json.dumps({"log_history": history}))
    return folder / "trainer_state.json"


def colors(path: Path) -> set[tuple[int, int, int]]:
    """Return the colours of at least 40 pixels."""
    with Image.open(path) as image:
        assert image.format == "PNG" and min(image.size) > 400
        pixels, counts = np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0, return_counts=True)
    return {tuple(pixel.tolist()) for pixel, count in zip(pixels, counts, strict=True) if count >= 40}


BLUE, ORANGE = (0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)


def test_results_and_runs_are_drawn(tmp_path: Path):
    pytest.importorskip("matplotlib")
    one = write_result(tmp_path / "one.json", [1, 1, 2.5, 4, 5])
    other = write_result(tmp_path / "other.json", [1, 2, 3, 4, 5])
    history = [{"step": 5, "loss": 2.0}, {"step": 10, "loss": 1.0}, {"step": 10, "eval_t2v_R@1": 50.0}]
    run = write_run(tmp_path / "run", history)
    pictures = plot_files([one, other, run], tmp_path)
    assert [path.name for path in pictures] == ["recall.png", "ranks.png", "training.png"]
    assert {BLUE, ORANGE} <= colors(pictures[0]) and {BLUE, ORANGE} <= colors(pictures[1])
    assert BLUE in colors(pictures[2]) and ORANGE not in colors(pictures[2])
    # More results than colours are all drawn.
    many = [write_result(tmp_path / f"{index}.json", [1, 2, 3, 4, 5]) for index in range(9)]
    assert len(plot_files(many, tmp_path)) == 2


def test_the_curves_of_a_run_are_all_drawn_and_nothing_hides_them(tmp_path: Path, monkeypatch):
    figures = []
    matplotlib_figure = pytest.importorskip("matplotlib.figure")

    def draw(figure, *args, **kwargs):
        figure.canvas.draw()
        figures.append(figure)

    monkeypatch.setattr(matplotlib_figure.Figure, "savefig", draw)
    entry = {"step": 5, "loss": 2.0, "contrastive_loss": 1.5, "cdcr_loss": 500.0}
    history = [entry, {"step": 10, **{f"eval_{x}_R@{k}": 0.0 for x in ("t2v", "v2t") for k in (1, 5, 10)}}]
    plots.plot_training({"a": history, "b": history}, tmp_path / "training.png")
    (figure,) = figures
    for axis in figure.axes:
        assert len(axis.lines) == 6
        assert axis.get_legend().get_window_extent().y1 < axis.get_window_extent().y0
        assert axis is figure.axes[0] or axis.get_ylim()[0] < 0  # a curve at 0 lies within


def test_files_of_one_name_are_told_apart(tmp_path: Path, monkeypatch):
    drawn = {}
    monkeypatch.setattr(plots, "plot_recall", lambda results, path: drawn.update(results))
    monkeypatch.setattr(plots, "plot_ranks", lambda results, path: None)
    monkeypatch.setattr(plots, "plot_training", lambda runs, path: drawn.update(runs))
    for folder in ("x", "y"):
        write_run(tmp_path / folder, [{"step": 1, "loss": 1.0}])
        write_result(tmp_path / folder / "test.json", [1, 2])
    write_result(tmp_path / "z.json", [1, 2])
    monkeypatch.chdir(tmp_path)
    plot_files(["x/test.json", "y/test.json", "z.json", "x/trainer_state.json", "y/trainer_state.json"], ".")
    assert list(drawn) == ["x/test.json", "y/test.json", "z", "x", "y"]


def test_what_does_not_fit_is_an_error(tmp_path: Path):
    pytest.importorskip("matplotlib")
    one = write_result(tmp_path / "one.json", [1, 2])
    for name, value in (("split", "train"), ("queries_sha256", "bb")):
        other = write_result(tmp_path / "other.json", [1, 2], **{name: value})
        with pytest.raises(ResultError, match=f"other cannot be drawn beside one: `data.{name}`: found {value}, "):
            plot_files([one, other], tmp_path)
    with pytest.raises(ResultError, match="`log_history`: found 0 entries, expected at least one"):
        plot_files([write_run(tmp_path / "run", [])], tmp_path)
    for number, step in enumerate(("3", None, 10**400, float("nan"))):
        with pytest.raises(ResultError, match="`log_history`: found 1 entries, expected at least one, each with"):
            plot_files([write_run(tmp_path / f"run{number}", [{"step": step, "loss": 1.0}])], tmp_path)
    (tmp_path / "run" / "trainer_state.json").write_text("[" * 100_000)
    with pytest.raises(ResultError, match="trainer_state.json is not JSON"):
        plot_files([tmp_path / "run" / "trainer_state.json"], tmp_path)
    with pytest.raises(FileNotFoundError, match="nowhere is not a folder"):
        plot_files([one], tmp_path / "nowhere")


def test_without_matplotlib_the_command_says_what_to_install(tmp_path: Path):
    one = write_result(tmp_path / "one.json", [1, 2])
    code = "import sys; sys.modules['matplotlib'] = None; from drl_tvr_cli import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run([sys.executable, "-c", code, "plot", str(one)], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1 and "pip install matplotlib" in done.stderr and "Traceback" not in done.stderr
