"""Publish a model: its card, its cost, and the push to the Hub."""

from .cost import ModelCost, measure_cost
from .model_card import make_model_card, write_model_card
from .push import PublishError, push_checkpoint


__all__ = [
    "ModelCost",
    "PublishError",
    "make_model_card",
    "measure_cost",
    "push_checkpoint",
    "write_model_card",
]
