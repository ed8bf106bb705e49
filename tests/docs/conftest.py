"""The folder that examples run in: what a reader has after `make demo`, but small, made by the real code."""

import os
import random
import shutil
import sys
from functools import partial
from pathlib import Path

import datasets
import pytest


ROOT = Path(__file__).parents[2]
CLIPS = {
    "clip.mp4": ("red", "circle", "left", "a red circle slides left"),
    "other.mp4": ("white", "star", "spin", "a white star spins"),
}
COMMAND = """#!/bin/sh
exec "{python}" -m drl_tvr_cli "$@"
"""


def draw_clip(color: str, shape: str, motion: str) -> bytes:
    """Draw and encode 3 seconds of one event, 64 x 64 pixels, 10 frames per second."""
    from drl_tvr.data.moving_shapes.render import SCALE, draw_background, draw_object, encode, pose
    from drl_tvr.data.moving_shapes.scenes import Event, draw_background_values

    event, frames = Event(color, shape, "big", motion), []
    background = draw_background(64, 64, *draw_background_values(random.Random(0)))
    for index in range(30):
        canvas = background.copy()
        draw_object(canvas, event, *pose(event, index / 30, lane=0.0, turn=1.0))
        frames.append(canvas.reduce(SCALE))
    return encode(frames, fps=10, quality=20)


def train_model(folder: Path, output_dir: str, seed: int) -> None:
    """Train a tiny model for two steps on a small moving-shapes, and save and evaluate it as the example does."""
    import torch

    from drl_tvr import (
        DRLConfig,
        DRLModel,
        DRLProcessor,
        DRLTrainer,
        DRLTrainingArguments,
        DRLVideoProcessor,
        load_benchmark,
    )
    from drl_tvr.data.tokenizer import train_clip_tokenizer
    from drl_tvr.evaluation import evaluate_model

    assets = folder.parent / "assets"
    splits = {split: load_benchmark("moving-shapes", assets, split) for split in ("train", "validation", "test")}
    captions = [*splits["train"].captions["caption"][:], *(caption for *_, caption in CLIPS.values())]
    tokenizer = train_clip_tokenizer(captions, folder / output_dir / "tokenizer")
    size = {"height": 64, "width": 64}
    processor = DRLProcessor(DRLVideoProcessor(size={"shortest_edge": 64}, crop_size=size), tokenizer)
    tower = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    torch.manual_seed(seed)
    model = DRLModel(
        DRLConfig(
            text_config={**tower, **ids, "vocab_size": len(tokenizer), "max_position_embeddings": 32},
            vision_config={**tower, "image_size": 64, "patch_size": 16},
            projection_dim=32,
        )
    )
    args = DRLTrainingArguments(
        output_dir,
        max_steps=2,
        per_device_train_batch_size=8,
        logging_steps=1,
        eval_strategy="steps",
        eval_steps=2,
        save_strategy="steps",
        save_steps=2,
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
        seed=seed,
    )
    trainer = DRLTrainer(model, args, splits["train"], splits["validation"], processing_class=processor)
    trainer.train()
    trainer.save_model()
    trainer.save_state()
    trainer.evaluate(splits["test"], metric_key_prefix="test")
    trainer.create_model_card()
    result = evaluate_model(model, processor, splits["test"], output_dir, show_progress=False)
    result.save(Path(output_dir) / "test_results.json")


@pytest.fixture(scope="session")
def examples_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the working directory of the examples; tests leave it unchanged.

    - `clip.mp4` and `other.mp4`, the same two in `videos/`, and `captions.csv`, which describes them;
    - `outputs/moving-shapes`, a trained model with its processor, card, results and state, and a second,
      `outputs/other`;
    - `A.json` and `B.json`, the results of the two;
    - `text_video_retrieval`, the metric's folder;
    - beside the folder, `assets`: moving-shapes with few clips, where the examples look for the benchmark.
    """
    from drl_tvr.data.moving_shapes import build_moving_shapes
    from drl_tvr.evaluation import METRIC_FOLDER

    folder = tmp_path_factory.mktemp("examples") / "workplace"
    (folder / "videos").mkdir(parents=True)
    rows = ["video,caption,split"]
    for name, (color, shape, motion, caption) in CLIPS.items():
        (folder / name).write_bytes(draw_clip(color, shape, motion))
        shutil.copy(folder / name, folder / "videos" / name)
        rows.append(f"{name},{caption},test")
    (folder / "captions.csv").write_text("\n".join([*rows, ""]))
    build_moving_shapes(folder.parent / "assets", num_train=16, num_validation=10, num_test=10, num_processes=2)
    before = Path.cwd()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", folder.parent / "datasets")
        for seed, (output_dir, result) in enumerate(
            {"outputs/moving-shapes": "A.json", "outputs/other": "B.json"}.items()
        ):
            train_model(folder, output_dir, seed)
            shutil.copy(Path(output_dir) / "test_results.json", result)
    assert Path.cwd() == before
    for name in ("examples", "benchmarks", "model_cards", "Makefile"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "text_video_retrieval").symlink_to(METRIC_FOLDER)
    (folder.parent / "bin").mkdir()
    command = folder.parent / "bin" / "drl-tvr"
    command.write_text(COMMAND.format(python=sys.executable))
    command.chmod(0o755)
    return folder


@pytest.fixture
def workplace(examples_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the folder of the examples as the working directory, without the network."""
    import huggingface_hub

    folder = shutil.copytree(examples_folder, tmp_path / "workplace", symlinks=True)
    assets = partial(huggingface_hub.cached_assets_path, assets_dir=tmp_path / "assets")
    monkeypatch.setattr("drl_tvr.data.moving_shapes.load.cached_assets_path", assets)
    place = assets("drl_tvr", "moving-shapes")
    place.rmdir()
    place.symlink_to(examples_folder.parent / "assets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", examples_folder.parent / "datasets")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(examples_folder.parent / "datasets"))
    monkeypatch.setenv("HF_ASSETS_CACHE", str(tmp_path / "assets"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]))
    path = [examples_folder.parent / "bin", Path(sys.executable).parent, os.environ["PATH"]]
    monkeypatch.setenv("PATH", os.pathsep.join(map(str, path)))
    monkeypatch.chdir(folder)
    return folder
