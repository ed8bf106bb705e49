"""Benchmarks, decoded frames and batches."""

from .benchmarks import load_benchmark
from .errors import BenchmarkError
from .records import RetrievalData


__all__ = ["BenchmarkError", "RetrievalData", "load_benchmark"]
