"""Explain a score: the words and frames, their weights, and what each adds."""

from .plot import check_picture_path, plot_explanation
from .score import ExplanationError, ScoreExplanation, explain_score, format_explanation


__all__ = [
    "ExplanationError",
    "ScoreExplanation",
    "check_picture_path",
    "explain_score",
    "format_explanation",
    "plot_explanation",
]
