"""`drl-tvr evaluate`, `compare` and `plot` on a model and a benchmark on disk, from the command to the file."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from safetensors.torch import load_file, save_file

from drl_tvr import DRLModel, evaluate_retrieval, load_benchmark
from drl_tvr.evaluation import EvaluationResult, evaluator, make_result
from drl_tvr_cli import main


@pytest.fixture(scope="module")
def folder(make_tiny_model, tiny_processor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models and their processor, saved."""
    folder = tmp_path_factory.mktemp("models")
    for name, seed in (("one", 0), ("two", 1)):
        model = make_tiny_model()
        torch.manual_seed(seed)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.2)
        model.save_pretrained(folder / name)
        tiny_processor.save_pretrained(folder / name)
    return folder


@pytest.fixture
def evaluate(folder: Path, small_root: Path, tmp_path: Path, monkeypatch, capsys):
    """Runs `drl-tvr evaluate` in a folder of its own; returns the exit code, what it said, and the result."""
    monkeypatch.chdir(tmp_path)

    def run(model: str = "one", *flags: str, benchmark: str = "moving-shapes", root: Path | None = small_root):
        of_root = ["--root", str(root)] if root else []
        given = ["--benchmark", benchmark, *of_root, "--device", "cpu", "--frame-cache-dir", str(folder / "frames")]
        code = main(["evaluate", str(folder / model), *given, *flags])
        said = capsys.readouterr()
        written = sorted(tmp_path.glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
        return code, said.out + said.err, EvaluationResult.load(written[-1]) if code == 0 else None

    return run


def test_evaluate_writes_the_metrics_of_the_model(evaluate, folder, small_root, tiny_processor, tmp_path):
    code, said, result = evaluate("one", "--batch-size", "3")
    assert code == 0 and "10 of 10 captions, 10 of 10 videos" in said
    assert [path.name for path in tmp_path.iterdir()] == ["one-moving-shapes-test.json"]
    # The model itself, on all of the split at once.
    data = load_benchmark("moving-shapes", small_root, "test")
    inputs = tiny_processor(text=data.captions["caption"][:], videos=data.videos["path"][:], return_tensors="pt")
    with torch.no_grad():
        logits = DRLModel.from_pretrained(folder / "one").eval()(**inputs).logits_per_text
    wanted = evaluate_retrieval(logits, data.caption_to_video)
    assert {name: result.metrics[name] for name in wanted} == pytest.approx(wanted)
    assert set(result.metrics) - set(wanted) == {"t2v_twin_accuracy", "v2t_twin_accuracy"}
    twins = (f"{result.metrics[f'{side}_twin_accuracy']:.1f} %" for side in ("t2v", "v2t"))
    assert "to its twin: {} (text to video), {} (video to text).".format(*twins) in said
    assert set(result.intervals) == set(wanted) and result.normalized == {}
    assert result.data["benchmark"] == "moving-shapes" and result.data["expected_videos"] == 10
    assert result.model["interaction"] == "wti" and result.model["max_frames"] == 6
    assert set(result.versions) >= {"drl_tvr", "torch", "transformers", "av"}
    for name in ("R@1", "MnR"):
        assert f"{wanted[f't2v_{name}']:.1f}" in said


def test_the_hashes_know_weights_videos_and_captions(evaluate, folder, small_root, tmp_path):
    one, again, other = (evaluate(name)[2] for name in ("one", "one", "two"))
    assert one.model["sha256"] == again.model["sha256"] != other.model["sha256"]
    assert one.data == again.data == other.data
    # The same benchmark in another folder is the same; another clip under a name, or another caption, is not.
    root = shutil.copytree(small_root, tmp_path / "elsewhere")
    moved = evaluate("one", root=root)[2].data
    assert moved == one.data
    (tmp_path / "mine").mkdir()
    clips = sorted((root / "videos").iterdir())[:3]
    hashes = set()
    for clip, caption in ((clips[1], "a square"), (clips[2], "a square"), (clips[1], "a circle")):
        shutil.copy(clips[0], tmp_path / "mine" / "a.mp4")
        shutil.copy(clip, tmp_path / "mine" / "b.mp4")
        table = tmp_path / "mine" / "table.csv"
        table.write_text(f"video,caption,split\na.mp4,a cross,test\nb.mp4,{caption},test\nb.mp4,it moves,test\n")
        result = evaluate("one", benchmark=str(table), root=None)[2]
        assert result.caption_to_video == [0, 1, 1] and (tmp_path / "one-table-test.json").is_file()
        hashes.add((result.data["videos_sha256"], result.data["queries_sha256"]))
    assert [len({pair[index] for pair in hashes}) for index in (0, 1)] == [2, 2] and len(hashes) == 3


def test_normalised_scores_stand_beside_the_plain_ones(evaluate, folder):
    _, _, plain = evaluate("one")
    code, said, result = evaluate("one", "--normalization", "dsl", "--normalization", "qb-norm", "--bank-size", "7")
    assert code == 0 and result.metrics == plain.metrics and result.ranks == plain.ranks
    assert "all test queries at once" in said and "captions of the training split" in said
    assert result.normalized["dsl"]["settings"] == {"temperature": "1 / logit_scale"}
    scale = 1 / result.normalized["dsl"]["values"]["temperature"]
    assert f"temperature 1 / logit_scale = {1 / scale:.4g}" in said
    assert scale == pytest.approx(DRLModel.from_pretrained(folder / "one").logit_scale.exp().item())
    assert list(result.normalized["dsl"]["ranks"]) == ["t2v", "v2t"]
    assert result.normalized["dsl"]["ranks"] != result.ranks
    assert list(result.normalized["qb-norm"]["ranks"]) == ["t2v"]
    assert result.normalized["qb-norm"]["settings"] == {"temperature": 0.05, "bank_captions": 7}


def test_models_of_other_logit_scales_are_compared_under_one_rule(evaluate, folder, capsys):
    model = DRLModel.from_pretrained(folder / "two")
    with torch.no_grad():
        model.logit_scale.add_(0.5)
    model.save_pretrained(folder / "warmer")
    for path in (folder / "two").glob("*.json"):
        shutil.copy(path, folder / "warmer")
    results = [evaluate(x, "--normalization", "dsl", "--output", f"{x}.json")[2] for x in ("one", "warmer")]
    temperatures = [result.normalized["dsl"]["values"]["temperature"] for result in results]
    assert temperatures[0] != temperatures[1]
    assert main(["compare", "one.json", "warmer.json", "--normalization", "dsl"]) == 0
    assert "Scores under dsl" in capsys.readouterr().out


def test_a_flag_may_stand_before_the_model(folder, small_root, tmp_path, capsys):
    given = ["--benchmark", "moving-shapes", "--root", str(small_root), "--frame-cache-dir", str(folder / "frames")]
    output = tmp_path / "result.json"
    line = ["evaluate", *given, "--output", str(output), "--normalization", "dsl", str(folder / "one")]
    assert main(line) == 0
    assert list(EvaluationResult.load(output).normalized) == ["dsl"]


def test_a_model_with_random_weights_is_not_judged(evaluate, folder):
    weights = load_file(folder / "one" / "model.safetensors")
    for name, change, said in (
        ("lacking", lambda w: w.pop("text_projection.weight"), "missing (1, e.g. text_projection.weight)"),
        (
            "cut",
            lambda w: w.update({"text_projection.weight": w["text_projection.weight"][:, 1:].contiguous()}),
            "of another shape than config.json says (1, e.g. ",
        ),
    ):
        shutil.copytree(folder / "one", folder / name)
        changed = dict(weights)
        change(changed)
        save_file(changed, folder / name / "model.safetensors", metadata={"format": "pt"})
        code, shown, _ = evaluate(name)
        assert code == 1 and "is not a trained DRL model: found weights that are " in shown and said in shown


def test_a_large_matrix_is_never_held(evaluate, small_root, tmp_path, monkeypatch):
    table = tmp_path / "table.csv"
    clips = sorted((small_root / "videos").iterdir())[:4]
    for clip in clips:
        shutil.copy(clip, tmp_path)
    rows = [f"{clip.name},{word} {clip.stem[-1]},test" for clip in clips for word in ("a square", "a red dot")]
    table.write_text("\n".join(["video,caption,split", *rows]) + "\n")
    held = evaluate("one", benchmark=str(table), root=None)[2]
    monkeypatch.setattr(evaluator, "LARGEST_MATRIX", 4 * 8 - 1)
    code, said, _ = evaluate("one", "--normalization", "dsl", benchmark=str(table), root=None)  # needs it
    assert code == 0, said
    monkeypatch.setattr(evaluator, "score_all", None)
    streamed = evaluate("one", benchmark=str(table), root=None)[2]
    assert streamed.ranks == held.ranks and streamed.metrics == held.metrics
    monkeypatch.setattr(evaluator, "LARGEST_MATRIX", 4 * 8)
    with pytest.raises(TypeError):
        evaluate("one", benchmark=str(table), root=None)  # holds it


def test_compare_says_whether_two_models_differ(evaluate, folder, small_root, capsys):
    evaluate("one", "--output", "a.json")
    evaluate("two", "--output", "b.json", "--normalization", "dsl")
    assert main(["compare", "a.json", "b.json"]) == 0
    shown = capsys.readouterr().out
    assert "the same 10 captions of 10 videos" in shown and shown.count("within noise") + shown.count("better,") >= 10
    a, b = (EvaluationResult.load(name) for name in ("a.json", "b.json"))
    assert main(["compare", "a.json", "b.json", "--metric", "t2v_MnR"]) == 0
    shown = capsys.readouterr().out
    difference = np.mean(b.ranks["t2v"]) - np.mean(a.ranks["t2v"])
    assert f"{difference:+.2f}" in shown and "t2v_R@1" not in shown
    for flags, said in (
        (["b.json", "--metric", "t2v_R@2"], "--metric: found 't2v_R@2', expected one of t2v_R@1"),
        (
            ["b.json", "--normalization", "dsl"],
            "a.json: found scores under no normalisation, expected scores under dsl",
        ),
        (["c.json"], "c.json cannot be compared with a.json: `data.split`: found 'validation', expected 'test'"),
        (["gone.json"], "gone.json"),
    ):
        if said.startswith("c.json"):
            evaluate("two", "--split", "validation", "--output", "c.json")
        assert main(["compare", "a.json", *flags]) == 1
        error = capsys.readouterr().err
        assert error.startswith("drl-tvr: error: ") and said in error


def test_compare_takes_several_seeds_per_side(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    data = {"benchmark": "mine", "split": "test", "queries_sha256": "0"}
    for side, hits in (("a", (20, 22, 24)), ("b", (60, 65, 64))):
        for seed, hit in enumerate(hits):
            ranks = [1.0] * hit + [2.0] * (80 - hit)
            model = {"name": side, "sha256": {"model.safetensors": f"{side}{seed}"}, "seed": seed}
            make_result({"t2v": ranks, "v2t": ranks}, range(80), data, model, {}).save(f"{side}{seed}.json")
    first, second = ([f"{side}{seed}.json" for seed in range(3)] for side in "ab")
    assert main(["compare", *first, "vs", *second, "--metric", "t2v_R@1"]) == 0
    shown = capsys.readouterr().out
    assert "27.50 ± 2.50  78.75 ± 3.31  +51.25" in shown and "B is better, beyond noise" in shown
    assert "A: 3 results, seed 0, 1, 2: a0.json, a1.json, a2.json." in shown and "v2t_R@1" not in shown
    assert main(["compare", "--metric", "t2v_R@1", *first, "vs", "b0.json"]) == 0
    assert "B has a single seed" in capsys.readouterr().out
    # One file per side is the comparison of two results, with or without the word.
    said = []
    for line in (["a0.json", "b0.json"], ["a0.json", "vs", "b0.json"]):
        assert main(["compare", *line]) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1] and "exact p" in said[0]
    for line, code, error in (
        ([*first, "vs", *second, "--metric", "x"], 1, "--metric: found 'x', expected one of t2v_R@1"),
        ([*first, "./a0.json", "vs", *second], 1, "./a0.json: found the weights of a0.json again"),
        ([*first, "vs", "b0.json", "vs", "b1.json"], 1, "vs: found no such file"),
        (first, 2, "found 'a0.json a1.json a2.json', expected A.json B.json, or"),
        (["a0.json"], 2, "found 'a0.json', expected A.json B.json, or"),
        (["vs", *first], 2, "expected A.json B.json, or A.json ... vs B.json ..."),
        ([*first, "vs"], 2, "expected A.json B.json, or A.json ... vs B.json ..."),
    ):
        assert main(["compare", *line]) == code
        assert error in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--output", "no/such/result.json"], "found no folder no/such"),
        (["--output", "."], ".: found a folder"),
        (["--output", "precious.txt"], "precious.txt is not JSON"),
        (["--device", "abacus"], "`device`: found 'abacus', expected a device that torch can use"),
    ],
)
def test_a_wrong_input_is_one_line(flags, said, evaluate, tmp_path: Path):
    (tmp_path / "precious.txt").write_text("my notes")
    code, shown, _ = evaluate("one", *flags)
    assert code == 1 and said in shown and "Traceback" not in shown
    assert (tmp_path / "precious.txt").read_text() == "my notes" and not list(tmp_path.glob("*.json"))


def test_a_broken_download_is_named(evaluate, folder):
    shutil.copytree(folder / "one", folder / "broken")
    os.truncate(folder / "broken" / "model.safetensors", 5000)
    code, shown, _ = evaluate("broken")
    assert code == 1 and f"{folder / 'broken' / 'model.safetensors'}: found no whole file" in shown


def test_an_interrupt_is_one_line_and_leaves_no_process(folder, tmp_path):
    """Of all processes of the terminal, while clips are rendered."""
    command = [sys.executable, "-m", "drl_tvr_cli", "evaluate", folder / "one", "--benchmark", "moving-shapes"]
    command += ["--root", "shapes"]
    interrupt = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.default_int_handler)}
    with subprocess.Popen(
        command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True, **interrupt
    ) as process:
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob("shapes/videos/*.mp4")):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.05)
        workers = psutil.Process(process.pid).children(recursive=True)
        os.killpg(process.pid, signal.SIGINT)
        said = process.communicate()[1].splitlines()
    assert process.returncode == 130 and workers
    assert said[-1] == "drl-tvr: interrupted. Finished videos are kept: run the same command again."
    assert not [line for line in said[:-1] if line.strip() and "Rendering" not in line and "Loading" not in line]
    for worker in workers:
        assert not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE


def test_the_commands_work_one_after_the_other(folder, small_root, tmp_path):
    pytest.importorskip("matplotlib")
    command = [sys.executable, "-m", "drl_tvr_cli"]
    given = ["--benchmark", "moving-shapes", "--root", small_root, "--frame-cache-dir", folder / "frames"]
    for line in (
        ["evaluate", folder / "one", *given, "--device", "cpu"],
        ["compare", "one-moving-shapes-test.json", "one-moving-shapes-test.json"],
        ["plot", "one-moving-shapes-test.json"],
    ):
        done = subprocess.run([*command, *map(str, line)], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "one-moving-shapes-test.json",
        "ranks.png",
        "recall.png",
    ]
    assert json.loads((tmp_path / "one-moving-shapes-test.json").read_text())["data"]["num_videos"] == 10
