"""Text-video retrieval with disentangled representations (DRL), in Hugging Face form."""

import importlib
from typing import TYPE_CHECKING

from transformers import AutoConfig, AutoModel, AutoProcessor, AutoVideoProcessor

from .model import (
    DRLConfig,
    DRLCrossConfig,
    DRLFeatures,
    DRLModel,
    DRLOutput,
    DRLProcessor,
    DRLTemporalConfig,
    DRLVideoProcessor,
    VideoDecodeError,
)


if TYPE_CHECKING:
    from .conversion import CheckpointError, convert_checkpoint
    from .data import BenchmarkError, RetrievalData, load_benchmark
    from .evaluation import evaluate_retrieval
    from .training import DRLTrainer, DRLTrainingArguments


__version__ = "0.1.0"

# Imported on first use: they need Trainer and datasets, which cost as much time as the model.
LAZY_NAMES = {
    "BenchmarkError": "data",
    "CheckpointError": "conversion",
    "DRLTrainer": "training",
    "DRLTrainingArguments": "training",
    "RetrievalData": "data",
    "convert_checkpoint": "conversion",
    "evaluate_retrieval": "evaluation",
    "load_benchmark": "data",
}
LAZY_MODULES = ("conversion", "data", "evaluation", "explanation", "hub", "training")

AutoConfig.register("drl", DRLConfig)
AutoModel.register(DRLConfig, DRLModel)
AutoProcessor.register(DRLConfig, DRLProcessor)
AutoVideoProcessor.register(DRLConfig, DRLVideoProcessor)


def __getattr__(name: str):
    """Import a public name or a subpackage on first use (PEP 562)."""
    if name in LAZY_NAMES:
        return getattr(importlib.import_module(f".{LAZY_NAMES[name]}", __name__), name)
    if name in LAZY_MODULES:
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *LAZY_NAMES, *LAZY_MODULES})


__all__ = [
    "BenchmarkError",
    "CheckpointError",
    "DRLConfig",
    "DRLCrossConfig",
    "DRLFeatures",
    "DRLModel",
    "DRLOutput",
    "DRLProcessor",
    "DRLTemporalConfig",
    "DRLTrainer",
    "DRLTrainingArguments",
    "DRLVideoProcessor",
    "RetrievalData",
    "VideoDecodeError",
    "convert_checkpoint",
    "evaluate_retrieval",
    "load_benchmark",
]
