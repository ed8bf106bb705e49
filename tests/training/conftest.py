"""A trainer of a tiny model on a few clips of the bundled benchmark."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from trainer_settings import SETTINGS

from drl_tvr import DRLTrainer, DRLTrainingArguments, load_benchmark


@pytest.fixture(scope="session")
def splits(small_root) -> dict:
    return {split: load_benchmark("moving-shapes", small_root, split) for split in ("train", "validation", "test")}


@pytest.fixture(scope="session")
def frame_cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("frames")


@pytest.fixture
def make_trainer(splits, frame_cache, make_tiny_model, tiny_processor, tmp_path) -> Callable[..., DRLTrainer]:
    """A trainer of `SETTINGS`, with other arguments where given."""

    def make(
        model: torch.nn.Module | None = None,
        output_dir: str = "run",
        processor=tiny_processor,
        options: dict | None = None,
        **args,
    ) -> DRLTrainer:
        settings = {**SETTINGS, "frame_cache_dir": str(frame_cache), **args}
        return DRLTrainer(
            **{
                "model": make_tiny_model() if model is None else model,
                "args": DRLTrainingArguments(str(tmp_path / output_dir), **settings),
                "train_dataset": splits["train"],
                "eval_dataset": splits["validation"],
                "processing_class": processor,
                **(options or {}),
            }
        )

    return make
