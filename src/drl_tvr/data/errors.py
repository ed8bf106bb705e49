"""Errors about data on disk."""


class BenchmarkError(ValueError):
    """Error about a benchmark's files; the message names the file, what was found and what was expected."""
