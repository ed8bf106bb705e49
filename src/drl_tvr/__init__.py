"""Text-video retrieval with disentangled representations (DRL), in Hugging Face form."""

from transformers import AutoConfig, AutoModel, AutoProcessor, AutoVideoProcessor

from .configuration_drl import DRLConfig, DRLCrossConfig, DRLTemporalConfig
from .conversion import CheckpointError, convert_checkpoint
from .data import BenchmarkError, RetrievalData, load_benchmark
from .evaluation import evaluate_retrieval
from .modeling_drl import DRLFeatures, DRLModel, DRLOutput
from .processing_drl import DRLProcessor
from .training import DRLTrainer, DRLTrainingArguments
from .video_decoding_drl import VideoDecodeError
from .video_processing_drl import DRLVideoProcessor


__version__ = "0.1.0"

AutoConfig.register("drl", DRLConfig)
AutoModel.register(DRLConfig, DRLModel)
AutoProcessor.register(DRLConfig, DRLProcessor)
AutoVideoProcessor.register(DRLConfig, DRLVideoProcessor)

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
