"""Convert original checkpoints to folders that `from_pretrained` loads, and models to modules for `torch.export`."""

from .checkpoint import CheckpointError, convert_checkpoint
from .exporting import DRLEncoder


__all__ = ["CheckpointError", "DRLEncoder", "convert_checkpoint"]
