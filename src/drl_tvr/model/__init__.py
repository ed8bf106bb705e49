"""The model and its processors: exactly the files that `push_to_hub` copies beside the weights."""

from .configuration_drl import DRLConfig, DRLCrossConfig, DRLTemporalConfig
from .modeling_drl import DRLFeatures, DRLModel, DRLOutput
from .processing_drl import DRLProcessor
from .video_errors import VideoDecodeError
from .video_processing_drl import DRLVideoProcessor


__all__ = [
    "DRLConfig",
    "DRLCrossConfig",
    "DRLFeatures",
    "DRLModel",
    "DRLOutput",
    "DRLProcessor",
    "DRLTemporalConfig",
    "DRLVideoProcessor",
    "VideoDecodeError",
]
