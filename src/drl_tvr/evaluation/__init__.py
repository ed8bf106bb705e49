"""Retrieval evaluation: encode every item once, score the whole matrix, rank, and report."""

from pathlib import Path

from .bootstrap import PairedDifference, bootstrap_intervals, paired_differences
from .checks import check_processor
from .comparison import compare_results
from .evaluator import evaluate_model, score_texts
from .fingerprints import describe_data, describe_model, library_versions
from .metrics import (
    evaluate_retrieval,
    metrics_of_ranks,
    rank_both_ways,
    ranks_per_caption,
    ranks_per_video,
    twin_accuracy,
)
from .normalization import dual_softmax, query_bank_norm, sample_bank
from .plots import plot_files, plot_ranks, plot_recall, plot_training
from .results import EvaluationResult, ResultError, make_result
from .retrieval import encode_captions, encode_videos, score_all
from .seed_comparison import SeedDifference, compare_seeds, seed_differences
from .streaming import stream_ranks
from .tables import format_comparison, format_result, format_seed_comparison
from .trained_model import load_trained


METRIC_FOLDER = str(Path(__file__).parent / "text_video_retrieval")  # for `evaluate.load`

__all__ = [
    "METRIC_FOLDER",
    "EvaluationResult",
    "PairedDifference",
    "ResultError",
    "SeedDifference",
    "bootstrap_intervals",
    "check_processor",
    "compare_results",
    "compare_seeds",
    "describe_data",
    "describe_model",
    "dual_softmax",
    "encode_captions",
    "encode_videos",
    "evaluate_model",
    "evaluate_retrieval",
    "format_comparison",
    "format_result",
    "format_seed_comparison",
    "library_versions",
    "load_trained",
    "make_result",
    "metrics_of_ranks",
    "paired_differences",
    "plot_files",
    "plot_ranks",
    "plot_recall",
    "plot_training",
    "query_bank_norm",
    "rank_both_ways",
    "ranks_per_caption",
    "ranks_per_video",
    "sample_bank",
    "score_texts",
    "score_all",
    "seed_differences",
    "stream_ranks",
    "twin_accuracy",
]
