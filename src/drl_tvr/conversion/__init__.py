"""Convert original checkpoints (DRL, CLIP4Clip, OpenAI's CLIP) to folders that `from_pretrained` loads."""

from .checkpoint import CheckpointError, convert_checkpoint


__all__ = ["CheckpointError", "convert_checkpoint"]
