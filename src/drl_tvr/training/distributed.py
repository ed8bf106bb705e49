"""The one place that talks to other processes: gathers encoded features with their gradient."""

import torch
import torch.distributed as dist

from ..modeling_drl import DRLFeatures


class GatherRows(torch.autograd.Function):
    """Concatenates a tensor of all processes; backwards, sums the gradients of all and takes the own rows.

    `torch.distributed.nn.functional.all_gather` hands strided gradients to gloo, which reads their memory as if it
    were contiguous: silently wrong.
    """

    @staticmethod
    def forward(ctx, rows: torch.Tensor) -> torch.Tensor:
        """Gather `rows`, of the same shape on all processes."""
        parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, rows)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> torch.Tensor:
        """Reduce the gradient and take this process's part."""
        gradient = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(gradient)
        return gradient.chunk(dist.get_world_size())[dist.get_rank()]


def gather_features(features: DRLFeatures) -> DRLFeatures:
    """Concatenate the features of all processes, in the order of their ranks.

    The gradient of every process's loss flows back to the process that encoded the item and is summed there. When
    each process computes the same global loss, DistributedDataParallel's mean of the gradients is then the gradient
    of that loss, for towers and heads alike. (The official code keeps only the local slice: its towers get
    1 / world_size of it.)

    Args:
        features ([`DRLFeatures`]): Of this process; the number of items must be the same on all.

    Returns:
        [`DRLFeatures`]: Of all processes, padded to the longest item among them.

    Raises:
        `ValueError`: When the numbers of items differ.
    """
    tokens, weights, mask = features.tokens, features.weights, features.mask
    sizes = torch.tensor(tokens.shape[:2], device=tokens.device)
    all_sizes = [torch.empty_like(sizes) for _ in range(dist.get_world_size())]
    dist.all_gather(all_sizes, sizes)
    counts = [int(size[0]) for size in all_sizes]
    if len(set(counts)) > 1:
        raise ValueError(f"The processes hold {counts} items; `dataloader_drop_last=True` makes them equal.")
    padding = max(int(size[1]) for size in all_sizes) - tokens.shape[1]
    tokens = torch.nn.functional.pad(tokens, (0, 0, 0, padding))
    weights, mask = (torch.nn.functional.pad(x, (0, padding)) for x in (weights, mask))
    return DRLFeatures(
        tokens=GatherRows.apply(tokens.contiguous()),
        weights=GatherRows.apply(weights.contiguous()),
        mask=GatherRows.apply(mask.contiguous()),
    )


def in_any_process(flag: torch.Tensor) -> torch.Tensor:
    """Whether a flag is raised in any process.

    Args:
        flag (`torch.Tensor` of shape `()`): bool, of this process; nothing waits for its value.

    Returns:
        `torch.Tensor` of shape `()`: bool, the same in all processes.
    """
    if not dist.is_initialized():
        return flag
    found = flag.int()
    dist.all_reduce(found, op=dist.ReduceOp.MAX)
    return found.bool()


__all__ = ["gather_features", "in_any_process"]
