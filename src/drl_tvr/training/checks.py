"""Check before a run that its batches can be made."""

from ..data.loading import PairDataset
from ..data.records import RetrievalData
from ..model.configuration_drl import DRLConfig
from .arguments import DRLTrainingArguments


def check_batch_size(
    args: DRLTrainingArguments, train_dataset: RetrievalData | PairDataset | None, config: DRLConfig
) -> None:
    """Refuse a split without a whole batch, or with a last batch that is too small for the decorrelation.

    Args:
        args ([`DRLTrainingArguments`]): Arguments of the run.
        train_dataset ([`RetrievalData`] or [`~data.loading.PairDataset`], *optional*): The split to train on.
        config ([`DRLConfig`]): Configuration of the model.

    Raises:
        `ValueError`: When a batch cannot be made; the message names both numbers of pairs.
    """
    if train_dataset is None:
        return
    num_pairs, batch_size = len(train_dataset.captions), args.per_device_train_batch_size * args.world_size
    one_row_per_pair = config.cdcr == "random" or config.compares_vectors
    if not args.dataloader_drop_last and config.cdcr != "none" and one_row_per_pair and num_pairs % batch_size == 1:
        raise ValueError(
            f"`train_dataset`: found {num_pairs} pairs, expected a last batch of at least two for the decorrelation, "
            f"but {num_pairs} pairs in batches of {batch_size} over all processes leave one. Set "
            "`dataloader_drop_last=True`, or another batch size."
        )
    if args.dataloader_drop_last and num_pairs < batch_size:
        raise ValueError(
            f"`train_dataset`: found {num_pairs} pairs, expected at least {batch_size}, one batch over all processes, "
            "because `dataloader_drop_last` leaves out smaller batches."
        )


__all__ = ["check_batch_size"]
