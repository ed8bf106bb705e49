"""Training with transformers' Trainer and accelerate."""

from .arguments import DRLTrainingArguments
from .trainer import DRLTrainer


__all__ = ["DRLTrainer", "DRLTrainingArguments"]
