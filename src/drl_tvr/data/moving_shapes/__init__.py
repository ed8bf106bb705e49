"""Bundled benchmark: short clips of coloured shapes in motion, rendered as real mp4 files from a seed."""

from .build import build_moving_shapes


__all__ = ["build_moving_shapes"]
