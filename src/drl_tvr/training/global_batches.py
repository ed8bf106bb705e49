"""Split every global batch among the processes, including the last and smaller one."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch.utils.data import DataLoader, Sampler
from transformers.trainer_utils import seed_worker

from ..data.loading import PairDataset, end_with_parent, share_of


class GlobalBatchSampler(Sampler[list[int]]):
    """Sampler that yields the shares of the first global batch, rank after rank, then those of the next.

    accelerate gives each process one of these lists in turn. By itself it would fill the last batch with pairs of the
    first, which are then negatives of their own copies, or give some processes one step less than others.

    Args:
        sampler (`Sampler`): Order of the pairs, the same on every process.
        batch_size (`int`): Pairs per process.
        num_processes (`int`): Number of processes.
        drop_last (`bool`): Whether to leave out the last batch when it is smaller. Otherwise its pairs are spread
            evenly, and a process may get an empty list.
    """

    batch_size = None  # tells accelerate that lists differ in length

    def __init__(self, sampler: Sampler[int], batch_size: int, num_processes: int, drop_last: bool):
        self.sampler, self.num_processes, self.drop_last = sampler, num_processes, drop_last
        self.global_batch_size = batch_size * num_processes

    def __len__(self) -> int:
        batches, remainder = divmod(len(self.sampler), self.global_batch_size)
        return self.num_processes * (batches + (remainder > 0 and not self.drop_last))

    def __iter__(self) -> Iterator[list[int]]:
        batch = []
        for index in self.sampler:
            batch.append(index)
            if len(batch) == self.global_batch_size:
                yield from self.shares(batch)
                batch = []
        if batch and not self.drop_last:
            yield from self.shares(batch)

    def shares(self, batch: list[int]) -> Iterator[list[int]]:
        """Yield the part of each process."""
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


def with_own_seeds(loader: DataLoader) -> DataLoader:
    """Give a loader that accelerate has prepared its own generator for the seeds of its workers.

    The number of seeds depends on `persistent_workers` and on where a run was resumed; the random numbers of the model
    must not depend on them.
    """
    loader.base_dataloader.generator = torch.Generator()
    return loader


__all__ = ["GlobalBatchSampler", "ShareCollator", "begin_worker", "with_own_seeds"]
