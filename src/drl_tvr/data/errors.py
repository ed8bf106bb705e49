"""Errors about data on disk."""


class BenchmarkError(ValueError):
    """A benchmark's files are not what they should be; the message names the file and what was found."""
