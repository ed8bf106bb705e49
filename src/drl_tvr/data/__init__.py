"""Benchmarks, decoded frames and batches, and the doctor of videos."""

from .benchmarks import load_benchmark
from .doctor import check_videos, format_report, run_doctor
from .errors import BenchmarkError
from .records import RetrievalData


__all__ = ["BenchmarkError", "RetrievalData", "check_videos", "format_report", "load_benchmark", "run_doctor"]
