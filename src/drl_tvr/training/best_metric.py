"""Find the metric and the split that choose the best checkpoint."""

from collections.abc import Mapping

from transformers.trainer_utils import IntervalStrategy

from ..data.loading import PairDataset
from ..data.records import RetrievalData
from ..evaluation.metrics import DIRECTIONS, METRICS
from .arguments import DRLTrainingArguments


Split = RetrievalData | PairDataset


def metrics_of_splits(eval_dataset: Split | Mapping[str, Split]) -> dict[str, RetrievalData]:
    """List the metrics of an evaluation, each with the split that it is measured on; its counts are not metrics.

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
    names = [f"{direction}_{kind}" for direction in DIRECTIONS for kind in kinds]
    return dict.fromkeys(names, data)


def find_metric(args: DRLTrainingArguments, metrics: Mapping[str, RetrievalData]) -> str | None:
    """Find the metric that `Trainer` reads for `metric_for_best_model`: it adds `eval_` to a name without it.

    A split may have a name that begins with `eval_`, so `eval_x_t2v_R@1` may be named in full or without the prefix.
    """
    name = args.metric_for_best_model
    return next((found for found in (name, name.removeprefix("eval_")) if found in metrics), None)


def check_metric(args: DRLTrainingArguments, eval_dataset: Split | Mapping[str, Split] | None) -> None:
    """Refuse a `metric_for_best_model` that the evaluations of a run do not measure.

    Args:
        args ([`DRLTrainingArguments`]): Arguments of the run.
        eval_dataset ([`RetrievalData`], [`~data.loading.PairDataset`] or `dict`, *optional*): The split or splits that
            are evaluated during training.

    Raises:
        `ValueError`: When the metric is not among those of the evaluations.
    """
    if args.metric_for_best_model is None or args.eval_strategy == IntervalStrategy.NO or eval_dataset is None:
        return
    metrics = metrics_of_splits(eval_dataset)
    found = find_metric(args, metrics)
    if found is not None and found.startswith("eval_"):
        args.metric_for_best_model = f"eval_{found}"  # as `Trainer` looks for it
    if found is None:
        raise ValueError(
            f"`metric_for_best_model`: found {args.metric_for_best_model!r}, expected one of {', '.join(metrics)}."
        )


def split_that_chooses(
    args: DRLTrainingArguments, eval_dataset: Split | Mapping[str, Split] | None
) -> RetrievalData | None:
    """Find the split whose metric chooses the best checkpoint.

    Args:
        args, eval_dataset: See [`~training.best_metric.check_metric`].

    Returns:
        [`RetrievalData`], *optional*: The split, or `None` when the run does not choose a checkpoint.
    """
    if eval_dataset is None or not args.load_best_model_at_end:
        return None
    if isinstance(eval_dataset, Mapping):
        metrics = metrics_of_splits(eval_dataset)
        return metrics.get(find_metric(args, metrics))
    return eval_dataset.data if isinstance(eval_dataset, PairDataset) else eval_dataset


__all__ = ["check_metric", "split_that_chooses"]
