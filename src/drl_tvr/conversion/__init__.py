"""Original checkpoints (DRL, CLIP4Clip, OpenAI's CLIP) as folders that `from_pretrained` loads."""

from .checkpoint import CheckpointError, convert_checkpoint


__all__ = ["CheckpointError", "convert_checkpoint"]
