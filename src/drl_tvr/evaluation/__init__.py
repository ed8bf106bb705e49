"""Retrieval evaluation: encode every item once, score the whole matrix, rank, and report."""

from pathlib import Path

from .bootstrap import PairedDifference, bootstrap_intervals, paired_differences
from .metrics import evaluate_retrieval, ranks_per_caption, ranks_per_video, twin_accuracy
from .normalization import dual_softmax, query_bank_norm
from .retrieval import encode_captions, encode_videos, score_all


METRIC_FOLDER = str(Path(__file__).parent / "text_video_retrieval")  # for `evaluate.load`

__all__ = [
    "METRIC_FOLDER",
    "PairedDifference",
    "bootstrap_intervals",
    "dual_softmax",
    "encode_captions",
    "encode_videos",
    "evaluate_retrieval",
    "paired_differences",
    "query_bank_norm",
    "ranks_per_caption",
    "ranks_per_video",
    "score_all",
    "twin_accuracy",
]
