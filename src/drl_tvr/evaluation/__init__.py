"""Retrieval evaluation: encode every item once, score the whole matrix, rank, and report."""

from .explanation import ExplanationError, ScoreExplanation, explain_score, format_explanation
from .explanation_plot import plot_explanation
from .metrics import evaluate_retrieval, ranks_per_caption, ranks_per_video, twin_accuracy
from .retrieval import encode_captions, encode_videos, score_all


__all__ = [
    "ExplanationError",
    "ScoreExplanation",
    "encode_captions",
    "encode_videos",
    "evaluate_retrieval",
    "explain_score",
    "format_explanation",
    "plot_explanation",
    "ranks_per_caption",
    "ranks_per_video",
    "score_all",
    "twin_accuracy",
]
