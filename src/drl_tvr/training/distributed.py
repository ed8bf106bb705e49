"""Talk to the other processes of a training run: objects, rows of tensors with their gradient, and flags."""

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist

from ..model.decorrelation import draw_seed


def num_processes() -> int:
    """Return the number of processes that train together; 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def process_index() -> int:
    """Return the rank of this process."""
    return dist.get_rank() if num_processes() > 1 else 0


def gather_objects(item: Any) -> list:
    """Collect a picklable object of every process, in the order of the ranks, on every process."""
    if num_processes() == 1:
        return [item]
    items = [None] * num_processes()
    dist.all_gather_object(items, item)
    return items


def in_first_process(action: Callable[[], Any]) -> Any:
    """Run an action in the first process only, and return its result in all processes.

    Raises:
        `Exception`: When `action` raises it; all processes raise it, so that none is left waiting.
    """
    result = error = None
    if process_index() == 0:
        try:
            result = action()
        except Exception as raised:
            error = raised
    result, error = gather_objects((result, error))[0]
    if error is not None:
        raise error
    return result


class GatherRows(torch.autograd.Function):
    """Concatenate the rows of all processes. The backward pass sums the gradients of all and returns the own rows.

    `torch.distributed.nn.functional.all_gather` passes strided gradients to gloo, which reads their memory as if it
    were contiguous, and so returns wrong values without an error.
    """

    @staticmethod
    def forward(ctx, rows: torch.Tensor, counts: list[int]) -> torch.Tensor:
        """Gather `rows`; the process of rank r has `counts[r]` of them, and the other dimensions are equal."""
        ctx.counts = counts
        most = rows.new_zeros(max(counts), *rows.shape[1:])
        most[: len(rows)] = rows
        parts = [torch.empty_like(most) for _ in counts]
        dist.all_gather(parts, most)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        """Sum the gradients of all processes and return the part of this process."""
        gradient = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(gradient)
        return gradient.split(ctx.counts)[dist.get_rank()], None


def gather_sizes(tensor: torch.Tensor, num_dims: int) -> list[list[int]]:
    """Return the first `num_dims` sizes of a tensor on every process."""
    own = torch.tensor(tensor.shape[:num_dims], device=tensor.device)
    sizes = [torch.empty_like(own) for _ in range(num_processes())]
    dist.all_gather(sizes, own)
    return [size.tolist() for size in sizes]


def gather_rows(rows: torch.Tensor) -> torch.Tensor:
    """Concatenate the rows of a tensor from all processes, with their gradient.

    Args:
        rows (`torch.Tensor` of shape `(num_rows, ...)`): Rows of this process. Their number may differ between
            processes, and may be 0.

    Returns:
        `torch.Tensor` of shape `(num_rows_of_all, ...)`: Rows of all processes, in the order of the ranks.
    """
    if num_processes() == 1:
        return rows
    return GatherRows.apply(rows, [count for (count,) in gather_sizes(rows, 1)])


def in_any_process(flag: torch.Tensor) -> torch.Tensor:
    """Return whether a flag is set in any process.

    Args:
        flag (`torch.Tensor` of shape `()`): Flag of this process, bool. The CPU does not wait for its value.

    Returns:
        `torch.Tensor` of shape `()`: bool, the same in all processes.
    """
    if num_processes() == 1:
        return flag
    found = flag.int()
    dist.all_reduce(found, op=dist.ReduceOp.MAX)
    return found.bool()


def shared_seed(device: torch.device) -> int:
    """Draw a seed and return that of the first process. Every process draws, so that all generators stay in step."""
    seed = torch.tensor(draw_seed(), device=device)
    if num_processes() > 1:
        dist.broadcast(seed, src=0)
    return int(seed)


__all__ = [
    "GatherRows",
    "gather_objects",
    "gather_rows",
    "gather_sizes",
    "in_any_process",
    "in_first_process",
    "num_processes",
    "process_index",
    "shared_seed",
]
