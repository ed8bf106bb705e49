"""Split every global batch among the processes, including the last and smaller one."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler
from transformers import Trainer
from transformers.trainer_utils import seed_worker

from ..data.loading import PairDataset, end_with_parent, share_of
from ..evaluation.checks import most_frames
from .temporal_edits import TemporalEdits
from .wrappers import find_drl_model


class GlobalBatchSampler(Sampler[list]):
    """Sampler that yields the shares of the first global batch, rank after rank, then those of the next.

    accelerate gives each process one of these lists in turn. By itself it would fill the last batch with pairs of the
    first, which are then negatives of their own copies, or give some processes one step less than others.

    Args:
        sampler (`Sampler`): Order of the pairs, the same on every process.
        batch_size (`int`): Pairs per process.
        num_processes (`int`): Number of processes.
        drop_last (`bool`): Whether to leave out the last batch when it is smaller. Otherwise its pairs are spread
            evenly, and a process may get an empty list.
        edit (`Callable`, *optional*): Maps the rows of a global batch to as many items of the dataset.
    """

    batch_size = None  # tells accelerate that lists differ in length

    def __init__(
        self,
        sampler: Sampler[int],
        batch_size: int,
        num_processes: int,
        drop_last: bool,
        edit: Callable[[list[int]], list] = list,
    ):
        self.sampler, self.num_processes, self.drop_last, self.edit = sampler, num_processes, drop_last, edit
        self.global_batch_size = batch_size * num_processes

    def __len__(self) -> int:
        batches, remainder = divmod(len(self.sampler), self.global_batch_size)
        return self.num_processes * (batches + (remainder > 0 and not self.drop_last))

    def __iter__(self) -> Iterator[list]:
        batch = []
        for index in self.sampler:
            batch.append(index)
            if len(batch) == self.global_batch_size:
                yield from self.shares(batch)
                batch = []
        if batch and not self.drop_last:
            yield from self.shares(batch)

    def shares(self, batch: list[int]) -> Iterator[list]:
        """Yield the part of each process."""
        batch = self.edit(batch)
        for process in range(self.num_processes):
            yield batch[share_of(len(batch), process, self.num_processes)]


@dataclass
class ShareCollator:
    """Collator of a process's share. An empty share encodes one pair that does not count, so that all processes run
    the same operations.

    Args:
        collate (`Callable`): Collator of one or more pairs; it does not see their rows.
        pairs ([`~data.loading.PairDataset`]): The split; its first pair stands in for an empty share.
    """

    collate: Callable[[list[dict]], dict]
    pairs: PairDataset

    def __call__(self, items: list[dict]) -> dict:
        """Collate pairs, and add `num_pairs`, the number of pairs that count, and `rows`, their rows in the split."""
        pairs = [{key: value for key, value in item.items() if key != "row"} for item in items or [self.pairs[0]]]
        rows = [item["row"] for item in items if "row" in item]
        return {**self.collate(pairs), "num_pairs": len(items), "rows": rows}


def begin_worker(worker_id: int, num_workers: int, rank: int) -> None:
    """Seed a process that loads batches, as `Trainer` does, and let it end with its parent."""
    end_with_parent()
    seed_worker(worker_id, num_workers, rank)


def make_train_loader(trainer: Trainer) -> DataLoader:
    """Make the batches of a trainer: of every global batch, the share of this process.

    The seeds of the workers come from a generator of the loader: how many are drawn depends on `persistent_workers`
    and on where a run was resumed, which must not change the random numbers of the model.

    Args:
        trainer ([`DRLTrainer`]): The trainer.

    Returns:
        `torch.utils.data.DataLoader`: The loader, prepared by accelerate.
    """
    args, pairs, edit = trainer.args, trainer.train_dataset, list
    if args.temporal_edits > 0:
        most = most_frames(find_drl_model(trainer.model), trainer.processing_class)
        pairs = TemporalEdits(pairs, trainer.processing_class, args.temporal_edits, args.joining_words, most)
        edit = pairs.edit_batch
    batches = GlobalBatchSampler(
        trainer._get_train_sampler(), trainer._train_batch_size, args.world_size, args.dataloader_drop_last, edit
    )
    loader = DataLoader(
        pairs,
        batch_sampler=batches,
        collate_fn=ShareCollator(trainer.data_collator, pairs),
        num_workers=args.dataloader_num_workers,
        pin_memory=args.dataloader_pin_memory and args.device.type == "cuda",
        prefetch_factor=args.dataloader_prefetch_factor,
        persistent_workers=args.dataloader_persistent_workers,
        multiprocessing_context=args.dataloader_multiprocessing_context,
        in_order=args.dataloader_in_order,
        worker_init_fn=partial(begin_worker, num_workers=args.dataloader_num_workers, rank=args.process_index),
    )
    loader = trainer.accelerator.prepare(loader)
    loader.base_dataloader.generator = torch.Generator()
    seed_workers(loader, args.seed)
    return loader


def seed_workers(loader: DataLoader, seed: int, epoch: int = 0, num_batches: int = 0) -> None:
    """Seed the workers of a loader, so that no epoch and no resumed run repeats the numbers of another.

    Args:
        loader (`torch.utils.data.DataLoader`): From [`~training.global_batches.make_train_loader`].
        seed (`int`): Seed of the run.
        epoch (`int`, *optional*, defaults to 0): Epoch that begins.
        num_batches (`int`, *optional*, defaults to 0): Batches of this epoch that a resumed run leaves out.
    """
    mixed = np.random.SeedSequence([seed, epoch, num_batches]).generate_state(1, np.uint64)
    loader.base_dataloader.generator.manual_seed(int(mixed[0] >> 1))


__all__ = ["GlobalBatchSampler", "ShareCollator", "make_train_loader", "seed_workers"]
