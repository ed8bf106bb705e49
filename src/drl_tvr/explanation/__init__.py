"""Explanations of a score: the words and frames, their weights, and what each adds."""

from .plot import plot_explanation
from .score import ExplanationError, ScoreExplanation, explain_score, format_explanation


__all__ = [
    "ExplanationError",
    "ScoreExplanation",
    "explain_score",
    "format_explanation",
    "plot_explanation",
]
