"""The one place that talks to other processes: gathers encoded features with their gradient."""

import torch
import torch.distributed as dist
from torch.distributed.nn.functional import all_gather

from ..modeling_drl import DRLFeatures


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
    masks = [torch.empty_like(mask) for _ in counts]
    dist.all_gather(masks, mask.contiguous())
    return DRLFeatures(
        tokens=torch.cat(all_gather(tokens.contiguous())),
        weights=torch.cat(all_gather(weights.contiguous())),
        mask=torch.cat(masks),
    )


__all__ = ["gather_features"]
