"""Find the metric and the split that choose the best checkpoint."""

from collections.abc import Mapping

from transformers.trainer_utils import IntervalStrategy

from ..data.loading import PairDataset
from ..data.records import RetrievalData
from ..evaluation.metrics import DIRECTIONS, METRICS
from .arguments import DRLTrainingArguments


Split = RetrievalData | PairDataset


def metrics_of_splits(eval_dataset: Split | Mapping[str, Split]) -> dict[str, RetrievalData]:
    """List the metrics of an evaluation, each with the split that it is measured on.

    Args:
        eval_dataset ([`RetrievalData`], [`~data.loading.PairDataset`] or `dict`): The split, or splits by name.

    Returns:
        `dict[str, RetrievalData]`: Splits by metric, without `eval_`. Where splits have names, a metric begins with
        one: `"long_t2v_R@1"`.
    """
    if isinstance(eval_dataset, Mapping):
        return {
            f"{name}_{metric}": data
            for name, split in eval_dataset.items()
            for metric, data in metrics_of_splits(split).items()
        }
    data = eval_dataset.data if isinstance(eval_dataset, PairDataset) else eval_dataset
    kinds = (*METRICS, "twin_accuracy") if data.twins else METRICS
    return {f"{direction}_{kind}": data for direction in DIRECTIONS for kind in kinds}


def split_that_chooses(
    args: DRLTrainingArguments, eval_dataset: Split | Mapping[str, Split] | None
) -> RetrievalData | None:
    """Find the split whose metric chooses the best checkpoint.

    Args:
        args ([`DRLTrainingArguments`]): Arguments of the run.
        eval_dataset ([`RetrievalData`], [`~data.loading.PairDataset`] or `dict`, *optional*): The split or splits that
            are evaluated during training.

    Returns:
        [`RetrievalData`], *optional*: The split, or `None` when the run does not choose a checkpoint.

    Raises:
        `ValueError`: When `metric_for_best_model` is not measured.
    """
    if args.metric_for_best_model is None or args.eval_strategy == IntervalStrategy.NO or eval_dataset is None:
        return None
    metrics = metrics_of_splits(eval_dataset)
    name = args.metric_for_best_model.removeprefix("eval_")
    if name not in metrics:
        raise ValueError(
            f"`metric_for_best_model`: found {args.metric_for_best_model!r}, expected one of {', '.join(metrics)}."
        )
    return metrics[name] if args.load_best_model_at_end else None


__all__ = ["split_that_chooses"]
