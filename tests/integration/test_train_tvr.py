"""The training example: real runs of it, also by `accelerate launch` and torchrun."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
import yaml
from transformers import CLIPConfig, CLIPModel

from drl_tvr import DRLModel, DRLProcessor, load_benchmark
from drl_tvr.data.moving_shapes import small_clip
from drl_tvr.evaluation import EvaluationResult, describe_model, format_result


REPOSITORY = Path(__file__).parents[2]
SCRIPT = REPOSITORY / "examples" / "train_tvr.py"


@pytest.fixture(scope="module")
def train_tvr():
    """The example as a module."""
    spec = importlib.util.spec_from_file_location("train_tvr", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_config(folder: Path, content) -> str:
    path = folder / "recipe.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return str(path)


def write_clip(folder: Path, tokenizer) -> None:
    """Writes a tiny random `CLIPModel` and its tokenizer."""
    tower = {"hidden_size": 32, "intermediate_size": 128, "num_hidden_layers": 4, "num_attention_heads": 2}
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    config = CLIPConfig(
        text_config={**tower, **ids, "vocab_size": len(tokenizer)},
        vision_config={**tower, "image_size": 32, "patch_size": 16},
        projection_dim=32,
    )
    CLIPModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def base(folder: Path, **recipe) -> dict:
    return {"output_dir": str(folder / "out"), "use_cpu": True, "report_to": "none", **recipe}


def write_msrvtt(root: Path, clips: list[str]) -> None:
    """Writes files of MSR-VTT's names and form, with a few videos: half to train on, half to test on."""
    (root / "videos").mkdir(parents=True)
    ids = [f"video{i}" for i in range(len(clips))]
    for video_id, clip in zip(ids, clips, strict=True):
        shutil.copy(clip, root / "videos" / f"{video_id}.mp4")
    train, test = ids[: len(ids) // 2], ids[len(ids) // 2 :]
    sentences = [
        {"caption": f"a clip of {video_id} {i}", "video_id": video_id, "sen_id": 20 * n + i}
        for n, video_id in enumerate(ids)
        for i in range(2)
    ]
    videos = [{"video_id": video_id, "split": "train", "id": n} for n, video_id in enumerate(ids)]
    (root / "MSRVTT_data.json").write_text(json.dumps({"videos": videos, "sentences": sentences}))
    (root / "MSRVTT_train.9k.csv").write_text("\n".join(["video_id", *train]) + "\n")
    rows = [f"ret{n},msr{n},{video_id},the clip {video_id}" for n, video_id in enumerate(test)]
    (root / "MSRVTT_JSFUSION_test.csv").write_text("\n".join(["key,vid_key,video_id,sentence", *rows]) + "\n")


@pytest.mark.parametrize(
    ("stem", "chooses"),
    [("msrvtt9k_vit_b32_wti_transformer_cdcr", None), ("msrvtt9k_vit_b32_xti_transformer", "test")],
)
def test_a_recipe_runs_on_msrvtts_files(stem, chooses, train_tvr, small_root, tiny_processor, tmp_path):
    write_msrvtt(tmp_path / "msrvtt", sorted(map(str, (small_root / "videos").iterdir()))[:16])
    write_clip(tmp_path / "clip", tiny_processor.tokenizer)
    recipe = REPOSITORY / "examples" / "configs" / f"{stem}.yaml"
    flags = [
        "--config",
        str(recipe),
        "--clip_name_or_path",
        str(tmp_path / "clip"),
        "--root",
        str(tmp_path / "msrvtt"),
    ]
    flags += ["--output_dir", str(tmp_path / "out"), "--max_steps", "2", "--per_device_train_batch_size", "4"]
    flags += ["--use_cpu", "--bf16", "false", "--dataloader_num_workers", "0", "--allow_missing", "true"]
    last = ["--eval_strategy", "no", "--save_strategy", "no", "--load_best_model_at_end", "false"]
    assert train_tvr.main([*flags, *(last if chooses is None else [])]) == 0
    model = DRLModel.from_pretrained(tmp_path / "out")
    assert (model.config.padding_similarity, model.config.interaction) == ("zero", stem.split("_")[3])
    result = EvaluationResult.load(tmp_path / "out" / "test_results.json")
    assert result.model["chosen_on"] == chooses
    assert (result.data["num_videos"], result.data["expected_videos"]) == (8, 1000)
    assert result.data["train"]["num_videos"] == 8  # none is held out
    card = (tmp_path / "out" / "README.md").read_text()
    assert "8 captions, 8 videos of 1000: **not comparable with results on all of them**." in card
    chosen = "the last one." if chooses is None else "the one with the best t2v_R@1 **on the test split itself**"
    assert f"The checkpoint is {chosen}" in card
    assert "Protocol: MSR-VTT 1k-A" in card and "BertAdam" in card and "| towers | from `clip` |" in card


def test_a_run_from_a_clip_checkpoint(train_tvr, small_root, tiny_processor, tmp_path):
    write_clip(tmp_path / "clip", tiny_processor.tokenizer)
    flags = [
        "--clip_name_or_path",
        str(tmp_path / "clip"),
        "--root",
        str(small_root),
        "--output_dir",
        str(tmp_path / "out"),
    ]
    flags += [
        "--max_steps",
        "2",
        "--eval_strategy",
        "no",
        "--save_strategy",
        "no",
        "--load_best_model_at_end",
        "false",
    ]
    assert train_tvr.main([*flags, "--per_device_train_batch_size", "4", "--use_cpu", "--report_to", "none"]) == 0
    assert DRLModel.from_pretrained(tmp_path / "out").config.text_config.num_hidden_layers == 4
    processor = DRLProcessor.from_pretrained(tmp_path / "out")
    assert processor.video_processor.crop_size["height"] == 32
    assert json.loads((tmp_path / "out" / "recipe.json").read_text())["clip_name_or_path"] == str(tmp_path / "clip")


def launch(root: Path, folder: Path, *flags: str, processes: int = 1) -> subprocess.CompletedProcess:
    """Two steps of a tiny recipe, as a user would start them."""
    tower = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    recipe = base(
        folder,
        root=str(root),
        frame_cache_dir=str(folder / "cache"),
        max_frames=4,
        model={
            "projection_dim": 32,
            "text_config": tower,
            "vision_config": {**tower, "image_size": 32, "patch_size": 8},
        },
        per_device_train_batch_size=8 // processes,
        max_steps=2,
        eval_strategy="steps",
        eval_steps=1,
        save_strategy="steps",
        save_steps=1,
        logging_steps=1,
        search=["a red circle rises"],
    )
    command = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "1"]
    command += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    if processes > 1:  # which accelerate starts on a CPU by MPI alone
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
        flags = (*flags, "--use_cpu")
    return subprocess.run(
        [*command, str(SCRIPT), "--config", write_config(folder, recipe), *flags],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "src"), "OMP_NUM_THREADS": "1"},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.parametrize("processes", [1, 2])
def test_a_run_leaves_a_model_its_processor_and_its_metrics(processes, small_root, tmp_path):
    done = launch(small_root, tmp_path, processes=processes)
    assert done.returncode == 0, done.stderr[-4000:]
    out = tmp_path / "out"
    names = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert names >= {
        "config.json",
        "model.safetensors",
        "processor_config.json",
        "tokenizer.json",
        "tokenizer/vocab.json",
        "tokenizer/merges.txt",
        "test_results.json",
        "training_args.json",
        "trainer_state.json",
        "README.md",
        "checkpoint-2/optimizer.pt",
    }
    assert json.loads((out / "trainer_state.json").read_text())["global_step"] == 2
    assert json.loads((out / "recipe.json").read_text())["num_processes"] == processes
    assert [name for name in names if "results" in name or "evaluation" in name or "provenance" in name] == [
        "test_results.json"
    ]

    # The folder is what was tested: loaded again, it scores the same.
    from drl_tvr import evaluate_retrieval

    result = EvaluationResult.load(out / "test_results.json")
    model, processor = DRLModel.from_pretrained(out), DRLProcessor.from_pretrained(out)
    test = load_benchmark("moving-shapes", small_root, "test")
    inputs = processor(text=test.captions["caption"][:], videos=test.videos["path"][:], return_tensors="pt")
    with torch.no_grad():
        wanted = evaluate_retrieval(model(**inputs).logits_per_text, test.caption_to_video)
    assert {name: result.metrics[name] for name in wanted} == pytest.approx(wanted)
    assert 0 <= result.metrics["t2v_twin_accuracy"] <= 100
    assert (result.data["num_videos"], result.data["train"]["num_videos"]) == (10, 16)
    assert result.model["chosen_on"] == "validation"
    described = describe_model(model, processor, out)
    assert {key: result.model[key] for key in ("name", "sha256", "fps", "max_frames", "max_words")} == {
        key: described[key] for key in ("name", "sha256", "fps", "max_frames", "max_words")
    }
    assert format_result(result) in done.stdout

    assert done.stdout.count("\ntext to video") == 1 and done.stdout.count('"a red circle rises"') == 1
    assert "10 of 10 captions, 10 of 10 videos" in done.stdout


def test_a_run_into_another_folder_stops_before_any_work(small_root, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("mine")
    done = launch(small_root, tmp_path)
    assert done.returncode != 0
    assert "FileExistsError: `output_dir`" in done.stderr and "thesis.tex" in done.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.tex"]


@pytest.fixture
def small(small_root, tmp_path) -> dict:
    """A recipe of two steps."""
    tower = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision = {**tower, "image_size": 32, "patch_size": 8}
    return base(
        tmp_path,
        root=str(small_root),
        frame_cache_dir=str(tmp_path / "cache"),
        model={"projection_dim": 32, "text_config": tower, "vision_config": vision},
        per_device_train_batch_size=8,
        max_steps=2,
        eval_strategy="no",
        save_strategy="no",
        load_best_model_at_end=False,
    )


def test_a_wrong_command_line_is_one_line(train_tvr, tmp_path, caplog):
    out = ["--output_dir", str(tmp_path / "out")]
    for flags, said in (
        (["--learning_rat", "1", *out], "--learning_rat"),
        (["--learning_rate", "fast", *out], "--learning_rate"),
        (["--config", "none.yaml"], "--config: found no file 'none.yaml'"),
        (["--model.interaction", "new", *out], "--model.interaction: `interaction`: found 'new'"),
        (["--fps", "-1", *out], "`fps`: found -1.0"),
        (["--config", write_config(tmp_path, "a: [1")], "invalid YAML"),
    ):
        assert train_tvr.main(flags) == 2
        (line,) = caplog.messages
        assert line.startswith("error: ") and said in line and "\n" not in line
        caplog.clear()
    assert not (tmp_path / "out").exists()


def test_an_interrupt_says_how_to_go_on(train_tvr, small, tmp_path, caplog, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(train_tvr, "load_split", interrupt)
    assert train_tvr.main(["--config", write_config(tmp_path, small)]) == 130
    said = caplog.messages[-1]
    assert said.startswith("Interrupted. The same command goes on from the last checkpoint") and str(tmp_path) in said


@pytest.mark.parametrize("name", ["max_words", "max_frames"])
def test_sizes_that_cannot_fit_stop_the_example_before_it_decodes(name, train_tvr, small, tmp_path, caplog):
    assert train_tvr.main(["--config", write_config(tmp_path, small), f"--{name}", "100"]) == 1
    assert caplog.messages[-1].startswith("ValueError: The ") and "found 100, expected at most 77 by `t" in caplog.text
    assert not (tmp_path / "cache").exists()


def test_a_finished_run_survives_whatever_fails_afterwards(train_tvr, small, tmp_path, capsys, caplog, monkeypatch):
    """First its card, then its push; the results are those of the weights on the disk."""

    def fail(*args, **kwargs):
        raise RuntimeError("no memory left")

    monkeypatch.setattr("drl_tvr.training.publishing.write_model_card", fail)
    config = write_config(tmp_path, small)
    assert train_tvr.main(["--config", config]) == 0
    assert "the model card was not written (RuntimeError: no memory left)" in caplog.text
    assert "Traceback" not in capsys.readouterr().err
    result = EvaluationResult.load(tmp_path / "out" / "test_results.json")
    model, processor = DRLModel.from_pretrained(tmp_path / "out"), DRLProcessor.from_pretrained(tmp_path / "out")
    assert describe_model(model, processor, tmp_path / "out")["sha256"] == result.model["sha256"]
    weights = (tmp_path / "out" / "model.safetensors").read_bytes()

    def refuse(*args, **kwargs):
        raise OSError("403 Forbidden")

    monkeypatch.setattr("drl_tvr.training.publishing.push_checkpoint", refuse)
    assert train_tvr.main(["--config", config, "--push_to_hub", "true"]) == 1
    error = caplog.messages[-1]
    assert error.startswith("PublishError: ") and "is not published (OSError: 403 Forbidden)" in error
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == weights


def test_the_example_is_a_recipe_of_at_most_150_lines():
    assert len(SCRIPT.read_text().splitlines()) <= 150


@pytest.fixture
def two_stages(train_tvr, small_root, tmp_path, monkeypatch) -> dict:
    """A recipe of two steps that trains its CLIP first, with two steps as well."""
    monkeypatch.setattr(small_clip, "NUM_STILLS", 3)
    monkeypatch.setattr(train_tvr, "train_small_clip", partial(small_clip.train_small_clip, num_steps=2))
    return base(
        tmp_path,
        root=str(small_root),
        frame_cache_dir=str(tmp_path / "cache"),
        clip_name_or_path=str(tmp_path / "clip"),
        train_clip=True,
        temporal_edits=0.5,
        per_device_train_batch_size=8,
        max_steps=2,
        eval_strategy="no",
        save_strategy="no",
        load_best_model_at_end=False,
    )


def test_both_stages_run_once(train_tvr, two_stages, tmp_path, caplog):
    config = write_config(tmp_path, two_stages)
    assert train_tvr.main(["--config", config]) == 0
    files = [*(tmp_path / "clip").iterdir(), *(tmp_path / "out").glob("*.safetensors"), tmp_path / "out" / "README.md"]
    before = {path: path.stat().st_mtime_ns for path in files}
    clip = CLIPModel.from_pretrained(tmp_path / "clip")
    model = DRLModel.from_pretrained(tmp_path / "out")
    assert model.text_projection.weight.shape == clip.text_projection.weight.shape
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| towers | from `clip` |" in card and "| temporal edits | 0.5 of the pairs |" in card

    assert train_tvr.main(["--config", config]) == 0
    assert "this run is finished" in caplog.text
    assert {path: path.stat().st_mtime_ns for path in files} == before


def test_a_second_run_takes_the_clip_of_the_first(train_tvr, two_stages, tmp_path):
    for seed in (0, 1):
        flags = ["--seed", str(seed), "--output_dir", str(tmp_path / f"out{seed}")]
        assert train_tvr.main(["--config", write_config(tmp_path, two_stages), *flags]) == 0
        if seed == 0:
            before = (tmp_path / "clip" / "model.safetensors").stat().st_mtime_ns
    assert (tmp_path / "clip" / "model.safetensors").stat().st_mtime_ns == before


def test_a_folder_that_is_no_clip_is_one_line(train_tvr, two_stages, tmp_path, caplog):
    (tmp_path / "clip").mkdir()
    (tmp_path / "clip" / "notes.txt").write_text("mine")
    assert train_tvr.main(["--config", write_config(tmp_path, two_stages)]) == 1
    assert "clip: found no CLIP tokenizer" in caplog.text
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("flags", [["--benchmark", "msvd"], ["--clip_name_or_path", "", "--train_clip", "true"]])
def test_a_clip_can_be_trained_for_the_bundled_benchmark_alone(flags, train_tvr, two_stages, tmp_path, caplog):
    assert train_tvr.main(["--config", write_config(tmp_path, two_stages), *flags]) == 2
    assert "`train_clip`: found True with" in caplog.text
