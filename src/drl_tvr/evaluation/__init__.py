"""Retrieval evaluation: encode every item once, score the whole matrix, rank, and report."""

from pathlib import Path

from .metrics import evaluate_retrieval, ranks_per_caption, ranks_per_video, twin_accuracy
from .retrieval import encode_captions, encode_videos, score_all


# For `evaluate.load`, as text.
METRIC_FOLDER = str(Path(__file__).parent / "text_video_retrieval")

__all__ = [
    "METRIC_FOLDER",
    "encode_captions",
    "encode_videos",
    "evaluate_retrieval",
    "ranks_per_caption",
    "ranks_per_video",
    "score_all",
    "twin_accuracy",
]
