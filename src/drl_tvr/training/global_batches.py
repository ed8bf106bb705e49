"""Each process's share of every global batch, the last and smaller one included."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch.utils.data import DataLoader, Sampler

from ..data.loading import PairDataset, share_of


class GlobalBatchSampler(Sampler[list[int]]):
    """Splits every global batch among the processes: yields the first one's shares, rank after rank, then the next.

    accelerate gives each process one of these lists in turn. Left to itself it would fill the last batch with pairs of
    the first, whose captions and videos then are negatives of their own copies, or give some processes a step less
    than others.

    Args:
        sampler (`Sampler`): The order of the pairs, the same on every process.
        batch_size (`int`): Pairs of a process.
        num_processes (`int`): Processes.
        drop_last (`bool`): Whether to leave out the last batch when it is smaller. Otherwise its pairs are spread
            evenly, and a process may get an empty list.
    """

    batch_size = None  # for accelerate: lists of unlike length

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
        """The part of each process."""
        for process in range(self.num_processes):
            yield batch[share_of(len(batch), process, self.num_processes)]


@dataclass
class ShareCollator:
    """Collates a process's share, which may be empty: a stand-in is then encoded, so that all processes do alike.

    Args:
        collate (`Callable`): Collates one pair or more; it doesn't see which rows they are.
        pairs ([`~data.loading.PairDataset`]): Has the stand-in, its first pair.
    """

    collate: Callable[[list[dict]], dict]
    pairs: PairDataset

    def __call__(self, items: list[dict]) -> dict:
        """Collate; `num_pairs` says how many of the batch count, `rows` which of the split's they are."""
        pairs = [{key: value for key, value in item.items() if key != "row"} for item in items or [self.pairs[0]]]
        rows = [item["row"] for item in items if "row" in item]
        return {**self.collate(pairs), "num_pairs": len(items), "rows": rows}


def with_own_seeds(loader: DataLoader) -> DataLoader:
    """Let a loader that accelerate has prepared draw the seeds of its workers by a generator of its own.

    How often it draws depends on `persistent_workers` and on where a run was resumed; the random numbers that the
    model uses must not.
    """
    loader.base_dataloader.generator = torch.Generator()
    return loader


__all__ = ["GlobalBatchSampler", "ShareCollator", "with_own_seeds"]
