"""Retrieval evaluation: encode every item once, score the whole matrix, rank, and report."""

from .metrics import evaluate_retrieval, ranks_per_caption, ranks_per_video, twin_accuracy
from .retrieval import encode_captions, encode_videos, score_all
from .streaming import stream_ranks


__all__ = [
    "encode_captions",
    "encode_videos",
    "evaluate_retrieval",
    "ranks_per_caption",
    "ranks_per_video",
    "score_all",
    "stream_ranks",
    "twin_accuracy",
]
