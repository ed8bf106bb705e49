"""Training with transformers' Trainer and accelerate."""

from .arguments import DRLTrainingArguments
from .checkpointing import TrainingCheckpointError
from .nonfinite import NonFiniteError
from .output_folder import OutputFolderError, RunInProgressError
from .trainer import DRLTrainer


__all__ = [
    "DRLTrainer",
    "DRLTrainingArguments",
    "NonFiniteError",
    "OutputFolderError",
    "RunInProgressError",
    "TrainingCheckpointError",
]
