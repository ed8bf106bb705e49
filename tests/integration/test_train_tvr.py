"""The training example: what it refuses, and real runs of it by `accelerate launch`."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from transformers import CLIPConfig, CLIPModel

from drl_tvr import DRLModel, DRLProcessor, load_benchmark
from drl_tvr.evaluation import EvaluationResult


REPOSITORY = Path(__file__).parents[2]
SCRIPT = REPOSITORY / "examples" / "train_tvr.py"


@pytest.fixture(scope="module")
def train_tvr():
    """The example as a module."""
    spec = importlib.util.spec_from_file_location("train_tvr", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["train_tvr"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["train_tvr"]


def write_config(folder: Path, content) -> str:
    path = folder / "recipe.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return str(path)


def write_clip(folder: Path, tokenizer) -> None:
    """A tiny random `CLIPModel` and its tokenizer."""
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


def test_without_arguments_it_is_the_bundled_recipe(train_tvr):
    data_args, model_args, args = train_tvr.read_arguments([])
    recipe = yaml.safe_load((REPOSITORY / "examples" / "configs" / "moving_shapes.yaml").read_text())
    assert data_args.benchmark == "moving-shapes" and data_args.search == recipe["search"]
    assert (args.output_dir, args.max_steps) == (recipe["output_dir"], recipe["max_steps"])
    assert json.loads(model_args.text_config) == recipe["text_config"]


@pytest.mark.parametrize("joined", [True, False])
def test_flags_override_the_config(joined, train_tvr, tmp_path):
    path = write_config(
        tmp_path, base(tmp_path, max_steps=7, interaction="ti", learning_rate=0.5, search=["a b", "c"])
    )
    given = [f"--config={path}"] if joined else ["--config", path]
    data_args, model_args, args = train_tvr.read_arguments([*given, "--max_steps", "3"])
    assert (args.max_steps, args.learning_rate, model_args.interaction) == (3, 0.5, "ti")
    assert data_args.search == ["a b", "c"]
    assert args.output_dir == str(tmp_path / "out")


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        ({"lerning_rate": 1e-3}, "recipe.yaml has unknown keys: lerning_rate"),
        ({"zebra": 1, "abacus": 2}, "unknown keys: abacus, zebra"),
        ({"max_steps": "many"}, "recipe.yaml, key 'max_steps': .*invalid int value: 'many'"),
        ({"max_steps": 1.5}, "key 'max_steps': .*invalid int value: '1.5'"),
        ({"learning_rate": [1, 2]}, "key 'learning_rate': "),
        ({"bf16": "perhaps"}, "key 'bf16': "),
        ({"fps": {"a": 1}}, "key 'fps': .*invalid float value"),
        ({"eval_strategy": "sometimes"}, "sometimes"),
    ],
)
def test_a_key_that_is_unknown_or_of_the_wrong_type_is_an_error_that_names_it(recipe, said, train_tvr, tmp_path):
    path = write_config(tmp_path, base(tmp_path, **recipe))
    with pytest.raises(ValueError, match=said):
        train_tvr.read_arguments(["--config", path])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a: [1, 2", "recipe.yaml is not YAML"),
        ("a: b: c", "recipe.yaml is not YAML"),
        ("- a\n- b\n", "must hold keys and values, found a list"),
        ("just words\n", "must hold keys and values, found a str"),
    ],
)
def test_a_config_that_holds_no_keys_and_values_is_an_error(content, said, train_tvr, tmp_path):
    with pytest.raises(ValueError, match=said):
        train_tvr.read_arguments(["--config", write_config(tmp_path, content)])


@pytest.mark.parametrize(
    "given", [["--config", "absent.yaml"], ["--config=absent.yaml"], ["--config"], ["--config", "/"]]
)
def test_a_missing_config_is_named(given, train_tvr):
    value = given[-1].removeprefix("--config").removeprefix("=")
    with pytest.raises(FileNotFoundError, match=f"--config '{value}': there is no such file"):
        train_tvr.read_arguments(given)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--learning_rat", "1"], "--learning_rat"),
        (["--nonsense"], "--nonsense"),
        (["stray"], "stray"),
        (["--max_steps", "few"], "--max_steps.*: invalid int value: 'few'"),
        (["--max_steps"], "--max_steps.*: expected one argument"),
        (["--clip_learning_rate", "-1"], "`clip_learning_rate` must be >= 0"),
    ],
)
def test_a_flag_that_is_unknown_or_of_the_wrong_type_is_an_error(flags, said, train_tvr, tmp_path):
    path = write_config(tmp_path, base(tmp_path))
    with pytest.raises(ValueError, match=said):
        train_tvr.read_arguments(["--config", path, *flags])


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--interaction", "foo"], "`interaction` must be one of"),
        (["--cdcr", "foo"], "`cdcr` must be one of"),
        (["--token_weight_depth", "4"], "`token_weight_depth` must be one of"),
        (["--choose_on", "train"], "`choose_on` must be 'validation' or 'test', got 'train'"),
        (["--padding_similarity", "one"], "`padding_similarity` must be one of"),
        (["--max_frames", "0"], "`max_frames` must be at least 1"),
        (["--max_words", "2"], "`max_words` must be at least 3"),
        (["--fps", "0"], "`fps` must be above 0"),
        (["--text_config", "{bad"], "`text_config` is not JSON"),
        (["--vision_config", "5"], "`vision_config` must be a mapping"),
        (["--text_config", '{"hiden_size": 64}'], "`text_config` has no field hiden_size"),
        (["--temporal_config", '{"hidden_size": 7}'], "hidden_size"),
    ],
)
def test_what_can_be_checked_without_data_is_checked_at_once(flags, said, train_tvr, tmp_path):
    path = write_config(tmp_path, base(tmp_path))
    with pytest.raises(ValueError, match=said):
        train_tvr.read_arguments(["--config", path, *flags])


RECIPES = sorted((REPOSITORY / "examples" / "configs").glob("msrvtt9k_*.yaml"))


def test_there_is_a_recipe_for_every_published_row():
    """The official README's nine rows on ViT-B/32, and the four commands on ViT-B/16 of its scripts."""
    recipes = [yaml.safe_load(path.read_text()) for path in RECIPES]
    rows = {
        (recipe["clip"][-2:], recipe["interaction"], recipe["temporal_encoder"], recipe["cdcr"]) for recipe in recipes
    }
    plain = {(name, temporal, "none") for name in ("dp", "xti") for temporal in ("none", "transformer")}
    tokens = {("ti", "transformer", cdcr) for cdcr in ("none", "argmax")}
    tokens |= {("wti", "transformer", cdcr) for cdcr in ("none", "weighted")}
    b32 = plain | tokens | {("dp", "transformer", "random")}
    assert rows == {("32", *row) for row in b32} | {("16", *row) for row in tokens}
    assert len(RECIPES) == 13


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_is_the_official_command_and_says_what_to_expect(path, train_tvr):
    data_args, model_args, args = train_tvr.read_arguments(["--config", str(path), "--bf16", "false", "--use_cpu"])
    assert (data_args.benchmark, data_args.fps, data_args.max_frames, data_args.max_words) == ("msrvtt-9k", 1, 12, 32)
    assert (data_args.choose_on, model_args.padding_similarity, args.official_optimizer) == ("test", "zero", True)
    assert (args.learning_rate, args.clip_learning_rate, args.weight_decay) == (1e-4, 1e-7, 0.2)
    assert (args.num_train_epochs, args.per_device_train_batch_size, args.warmup_steps, args.seed) == (5, 128, 0.1, 0)
    assert args.output_dir == f"outputs/{path.stem}"
    alphas = {"random": 0.14, "argmax": 0.16, "weighted": 0.11}
    if model_args.cdcr != "none":
        assert (model_args.cdcr_lambda, model_args.cdcr_alpha_diagonal) == (0.001, alphas[model_args.cdcr])
    header = [line for line in path.read_text().splitlines() if line.startswith("# ")]
    assert any(line.startswith("# Expected") for line in header)
    assert f"ViT-B/{model_args.clip[-2:]}" in header[0]


def write_msrvtt(root: Path, clips: list[str]) -> None:
    """Files of MSR-VTT's names and form, with a few clips: half to train on, half to test on."""
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


@pytest.mark.parametrize("stem", ["msrvtt9k_vit_b32_wti_transformer_cdcr", "msrvtt9k_vit_b32_xti_transformer"])
def test_a_recipe_runs_on_msrvtts_files(stem, train_tvr, small_root, tiny_processor, tmp_path):
    write_msrvtt(tmp_path / "msrvtt", sorted(map(str, (small_root / "videos").iterdir()))[:16])
    write_clip(tmp_path / "clip", tiny_processor.tokenizer)
    recipe = REPOSITORY / "examples" / "configs" / f"{stem}.yaml"
    flags = ["--config", str(recipe), "--clip", str(tmp_path / "clip"), "--root", str(tmp_path / "msrvtt")]
    flags += ["--output_dir", str(tmp_path / "out"), "--max_steps", "2", "--per_device_train_batch_size", "4"]
    flags += ["--eval_strategy", "no", "--save_strategy", "no", "--load_best_model_at_end", "false"]
    flags += ["--use_cpu", "--bf16", "false", "--dataloader_num_workers", "0", "--allow_missing", "true"]
    train_tvr.main(flags)
    model = DRLModel.from_pretrained(tmp_path / "out")
    assert (model.config.padding_similarity, model.config.interaction) == ("zero", stem.split("_")[3])
    provenance = json.loads((tmp_path / "out" / "test_provenance.json").read_text())
    assert (provenance["chosen_on"], provenance["num_videos"], provenance["expected_videos"]) == ("test", 8, 1000)
    assert provenance["train"]["num_videos"] == 8  # none is held out
    results = json.loads((tmp_path / "out" / "test_results.json").read_text())
    assert (results["test_num_videos"], results["test_expected_videos"]) == (8, 1000)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "8 captions, 8 videos of 1000: **not comparable with results on all of them**." in card
    assert "Protocol: MSR-VTT 1k-A" in card and "The checkpoint is the last one." in card and "BertAdam" in card


def test_clip_leaves_the_bundled_recipe_aside(train_tvr, tmp_path):
    _, model_args, args = train_tvr.read_arguments(["--clip", "some/clip", "--output_dir", str(tmp_path)])
    assert (args.learning_rate, args.clip_learning_rate, args.num_train_epochs, args.max_steps) == (1e-4, 1e-7, 5, -1)
    assert model_args.vision_config is None
    with pytest.raises(ValueError, match="--clip needs --output_dir"):
        train_tvr.read_arguments(["--clip", "some/clip"])
    with pytest.raises(ValueError, match="`projection_dim` is for a model from scratch"):
        train_tvr.read_arguments(["--clip", "some/clip", "--output_dir", str(tmp_path), "--projection_dim", "8"])


def test_a_run_from_a_clip_checkpoint(train_tvr, small_root, tiny_processor, tmp_path):
    write_clip(tmp_path / "clip", tiny_processor.tokenizer)
    flags = ["--clip", str(tmp_path / "clip"), "--root", str(small_root), "--output_dir", str(tmp_path / "out")]
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
    train_tvr.main([*flags, "--per_device_train_batch_size", "4", "--use_cpu", "--report_to", "none"])
    assert DRLModel.from_pretrained(tmp_path / "out").config.text_config.num_hidden_layers == 4
    processor = DRLProcessor.from_pretrained(tmp_path / "out")
    assert processor.video_processor.crop_size["height"] == 32
    assert json.loads((tmp_path / "out" / "recipe.json").read_text())["model"]["clip"] == str(tmp_path / "clip")


def launch(root: Path, folder: Path, *flags: str, processes: int = 1) -> subprocess.CompletedProcess:
    """Two steps of a tiny recipe, as a user would start them."""
    tower = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    recipe = base(
        folder,
        root=str(root),
        frame_cache_dir=str(folder / "cache"),
        max_frames=4,
        projection_dim=32,
        text_config=tower,
        vision_config={**tower, "image_size": 32, "patch_size": 8},
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
        "test_evaluation.json",
        "test_results.json",
        "training_args.json",
        "trainer_state.json",
        "README.md",
        "checkpoint-2/optimizer.pt",
    }
    assert json.loads((out / "trainer_state.json").read_text())["global_step"] == 2
    assert json.loads((out / "recipe.json").read_text())["launch"] == {"num_processes": processes}

    # The folder is what was tested: loaded again, it scores the same.
    from drl_tvr import evaluate_retrieval

    results = json.loads((out / "test_results.json").read_text())
    model, processor = DRLModel.from_pretrained(out), DRLProcessor.from_pretrained(out)
    test = load_benchmark("moving-shapes", small_root, "test")
    inputs = processor(text=test.captions["caption"][:], videos=test.videos["path"][:], return_tensors="pt")
    with torch.no_grad():
        wanted = evaluate_retrieval(model(**inputs).logits_per_text, test.caption_to_video)
    assert {name: results[f"test_{name}"] for name in wanted} == pytest.approx(wanted)
    assert 0 <= results["test_t2v_twin_accuracy"] <= 100
    result = EvaluationResult.load(out / "test_evaluation.json")
    assert result.metrics == {name: pytest.approx(results[f"test_{name}"]) for name in result.metrics}
    assert result.data["num_videos"] == 10 and result.model["chosen_on"] == "validation"

    assert done.stdout.count("text to video") == 1 and done.stdout.count('"a red circle rises"') == 1
    assert "10 captions, 10 videos" in done.stdout


def test_a_run_into_another_folder_stops_before_any_work(small_root, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("mine")
    done = launch(small_root, tmp_path)
    assert done.returncode != 0
    assert "FileExistsError: --output_dir" in done.stderr and "thesis.tex" in done.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.tex"]
