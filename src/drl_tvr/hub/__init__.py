"""Publish a model on the Hub: its card, its cost and the push."""

from .cost import ModelCost, measure_cost
from .model_card import AdapterFacts, TrainingFacts, make_model_card, write_model_card
from .push import PublishError, push_checkpoint


__all__ = [
    "AdapterFacts",
    "ModelCost",
    "PublishError",
    "TrainingFacts",
    "make_model_card",
    "measure_cost",
    "push_checkpoint",
    "write_model_card",
]
