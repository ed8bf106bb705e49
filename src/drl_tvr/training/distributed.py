"""The one place that talks to other processes: what the loss and the evaluation of a global batch need of them."""

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from accelerate.utils import FullyShardedDataParallelPlugin
from torch.distributed.fsdp import MixedPrecisionPolicy, StateDictType
from torch.distributed.tensor import DTensor

from ..model.decorrelation import draw_seed
from ..model.modeling_drl import DRLFeatures, DRLModel, DRLOutput
from ..model.tensors import at_least_float32


def num_processes() -> int:
    """Processes that train together; 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def process_index() -> int:
    """Rank of this process."""
    return dist.get_rank() if num_processes() > 1 else 0


def gather_objects(item: Any) -> list:
    """What each process has, in the order of the ranks, in all; anything that can be pickled."""
    if num_processes() == 1:
        return [item]
    items = [None] * num_processes()
    dist.all_gather_object(items, item)
    return items


def in_first_process(action: Callable[[], Any]) -> Any:
    """Do something in the process of rank 0 alone; its result, or the error that it ends with, is that of all.

    Raises:
        `Exception`: What `action` raises, in all processes: none is left waiting.
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


def share_of(num_items: int, process: int, processes: int) -> slice:
    """A process's part of a sequence: contiguous, in the order of the ranks, and as large as any other's or one less.

    Args:
        num_items (`int`): Length of the sequence.
        process, processes (`int`): Rank, and number of processes.

    Returns:
        `slice`: Empty for some when there are fewer items than processes.

    Example:

    ```python
    >>> from drl_tvr.training.distributed import share_of

    >>> [share_of(5, rank, 2) for rank in (0, 1)]
    [slice(0, 2, None), slice(2, 5, None)]
    ```"""
    return slice(process * num_items // processes, (process + 1) * num_items // processes)


class GatherRows(torch.autograd.Function):
    """Concatenates the rows of all processes; backwards, sums the gradients of all and takes the own rows.

    `torch.distributed.nn.functional.all_gather` hands strided gradients to gloo, which reads their memory as if it
    were contiguous: silently wrong.
    """

    @staticmethod
    def forward(ctx, rows: torch.Tensor, counts: list[int]) -> torch.Tensor:
        """Gather `rows`, of which the process of rank r has `counts[r]` and which are otherwise of one shape."""
        ctx.counts = counts
        most = rows.new_zeros(max(counts), *rows.shape[1:])
        most[: len(rows)] = rows
        parts = [torch.empty_like(most) for _ in counts]
        dist.all_gather(parts, most)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        """Reduce the gradient and take this process's part."""
        gradient = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(gradient)
        return gradient.split(ctx.counts)[dist.get_rank()], None


def gather_sizes(tensor: torch.Tensor, num_dims: int) -> list[list[int]]:
    """The first sizes of a tensor on every process."""
    own = torch.tensor(tensor.shape[:num_dims], device=tensor.device)
    sizes = [torch.empty_like(own) for _ in range(num_processes())]
    dist.all_gather(sizes, own)
    return [size.tolist() for size in sizes]


def gather_rows(rows: torch.Tensor) -> torch.Tensor:
    """Concatenate a tensor's rows of all processes, with their gradient.

    Args:
        rows (`torch.Tensor` of shape `(num_rows, ...)`): Of this process. The number of rows may differ between
            processes, and be 0.

    Returns:
        `torch.Tensor` of shape `(num_rows_of_all, ...)`: In the order of the ranks.
    """
    if num_processes() == 1:
        return rows
    return GatherRows.apply(rows, [count for (count,) in gather_sizes(rows, 1)])


def gather_features(features: DRLFeatures) -> DRLFeatures:
    """Concatenate the features of all processes, in the order of their ranks.

    The gradient of every process's loss flows back to the process that encoded the item and is summed there. When
    each process computes the same global loss, DistributedDataParallel's mean of the gradients is then the gradient
    of that loss, for towers and heads alike. (The official code keeps only the local slice: its towers get
    1 / world_size of it.)

    Args:
        features ([`DRLFeatures`]): Of this process. The number of items may differ between processes, and be 0.

    Returns:
        [`DRLFeatures`]: Of all processes, padded to the longest item among them, in float32 at least: that is what
        the gradients are summed in.
    """
    tokens, weights, mask = at_least_float32(features.tokens), at_least_float32(features.weights), features.mask
    if num_processes() == 1:
        return DRLFeatures(tokens=tokens, weights=weights, mask=mask)
    sizes = gather_sizes(tokens, 2)
    counts = [count for count, _ in sizes]
    padding = max(length for _, length in sizes) - tokens.shape[1]
    tokens = torch.nn.functional.pad(tokens, (0, 0, 0, padding))
    weights, mask = (torch.nn.functional.pad(x, (0, padding)) for x in (weights, mask))
    return DRLFeatures(
        tokens=GatherRows.apply(tokens, counts),
        weights=GatherRows.apply(weights, counts),
        mask=GatherRows.apply(mask, counts),
    )


def in_any_process(flag: torch.Tensor) -> torch.Tensor:
    """Whether a flag is raised in any process.

    Args:
        flag (`torch.Tensor` of shape `()`): bool, of this process; nothing waits for its value.

    Returns:
        `torch.Tensor` of shape `()`: bool, the same in all processes.
    """
    if num_processes() == 1:
        return flag
    found = flag.int()
    dist.all_reduce(found, op=dist.ReduceOp.MAX)
    return found.bool()


def first_items(features: DRLFeatures, count: int | None) -> DRLFeatures:
    """The first items of a batch; all with `None`."""
    return DRLFeatures(**{name: tensor[:count] for name, tensor in features.items()})


def both_sides(model: DRLModel, text: DRLFeatures, video: DRLFeatures) -> DRLOutput:
    """What [`DRLModel`] returns when it does no more than encode."""
    return DRLOutput(
        text_tokens=text.tokens,
        text_weights=text.weights,
        frame_tokens=video.tokens,
        frame_weights=video.weights,
    )


def loss_of_features(
    model: DRLModel, text: DRLFeatures, video: DRLFeatures, num_pairs: int | None = None
) -> DRLOutput:
    """Loss of the global batch, from each process's share of its features.

    A process scores its own texts with the videos of all, and the rows are gathered, so that the work is shared. The
    loss is computed from the whole matrix, and the decorrelation from the features of all, on every process alike. The
    gradient of a parameter is the mean over the processes, as DistributedDataParallel and FSDP take it: that of a
    single process with the same global batch.

    Args:
        model ([`DRLModel`]): The model, without its wrapper.
        text ([`DRLFeatures`]): Texts of this process, at least one.
        video ([`DRLFeatures`]): Their videos.
        num_pairs (`int`, *optional*): The first so many count. A process without a share of the last batch has 0 of
            1, so that what it computes, and sends, is what the others do.

    Returns:
        [`DRLOutput`]: Of the global batch, the same on every process.
    """
    all_text, all_video = gather_features(first_items(text, num_pairs)), gather_features(first_items(video, num_pairs))
    similarity = gather_rows(model.similarity(text, all_video)[:num_pairs])
    seed = shared_seed(similarity.device) if model.config.cdcr == "random" else None
    return model.compare(all_text, all_video, return_loss=True, similarity=similarity, seed=seed)


def shared_seed(device: torch.device) -> int:
    """A seed from the global generator of the first process, which each draws so that all generators move alike."""
    seed = torch.tensor(draw_seed(), device=device)
    if num_processes() > 1:
        dist.broadcast(seed, src=0)
    return int(seed)


def gather_batches(batches: list[DRLFeatures], num_batches: int, device: torch.device) -> list[DRLFeatures]:
    """Bring the encoded batches of all processes to all, bit for bit and in their order.

    Args:
        batches (`list[DRLFeatures]`): This process's [`~training.distributed.share_of`] the whole.
        num_batches (`int`): Of all processes together.
        device (`torch.device`): Where they are, on each process.

    Returns:
        `list[DRLFeatures]`: All.
    """
    processes = num_processes()
    if processes == 1:
        return batches
    gathered = []
    for owner in range(processes):
        part = range(num_batches)[share_of(num_batches, owner, processes)]
        for batch in batches if owner == process_index() else [DRLFeatures()] * len(part):
            tensors = (send(tensor, owner, device) for tensor in (batch.tokens, batch.weights, batch.mask))
            gathered.append(DRLFeatures(*tensors))
    return gathered


# The receiver learns from a tensor's place here what type to make room for.
TYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64, torch.int32, torch.bool)


def send(tensor: torch.Tensor | None, owner: int, device: torch.device) -> torch.Tensor:
    """A tensor of any shape of the process `owner`, on every process."""
    header = torch.zeros(5, dtype=torch.int64, device=device)
    if tensor is not None:
        header[: 2 + tensor.dim()] = torch.tensor([TYPES.index(tensor.dtype), tensor.dim(), *tensor.shape])
    dist.broadcast(header, src=owner)
    kind, num_dims, *shape = header.tolist()
    if tensor is None:
        tensor = torch.empty(shape[:num_dims], dtype=TYPES[kind], device=device)
    tensor = tensor.to(device).contiguous()
    dist.broadcast(tensor, src=owner)
    return tensor


def prepare_fsdp(plugin: FullyShardedDataParallelPlugin) -> None:
    """Refuse what can't be evaluated or saved, and leave rounding to autocast.

    Raises:
        `ValueError`: For FSDP 1, or checkpoints of shards.
    """
    if plugin.fsdp_version != 2:
        raise ValueError(
            f"FSDP version {plugin.fsdp_version} was asked for, and only version 2 can be evaluated and saved here: "
            "`accelerate launch --fsdp_version 2`."
        )
    if plugin.state_dict_type != StateDictType.FULL_STATE_DICT:
        raise ValueError(
            f"FSDP's `state_dict_type` is {plugin.state_dict_type.name}, of which no folder can be loaded by "
            "`from_pretrained`: `accelerate launch --fsdp_state_dict_type FULL_STATE_DICT`."
        )
    # accelerate's own would also round the logit scale, the loss and the sums of gradients.
    plugin.mixed_precision_policy = MixedPrecisionPolicy()


def whole_tensor(tensor: torch.Tensor) -> torch.Tensor:
    """A parameter that FSDP may have sharded, as a plain tensor. All processes must call this."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def whole_model(model: DRLModel) -> DRLModel:
    """A model to encode with, alone: a whole copy where FSDP has sharded the weights, otherwise the model itself.

    A sharded model needs all processes for every batch, and these have unlike numbers of batches to evaluate. All
    processes must call this.
    """
    if not any(isinstance(parameter, DTensor) for parameter in model.parameters()):
        return model
    weights = {name: whole_tensor(tensor) for name, tensor in model.state_dict().items()}
    weights["logit_scale"] = weights["logit_scale"].reshape(())
    with torch.random.fork_rng(devices=[]):  # its first weights are drawn, and thrown away
        whole = DRLModel(model.config)
    whole = whole.to(model.device, model.dtype)
    whole.load_state_dict(weights)
    return whole


__all__ = [
    "both_sides",
    "first_items",
    "gather_batches",
    "gather_features",
    "gather_objects",
    "gather_rows",
    "in_any_process",
    "in_first_process",
    "loss_of_features",
    "num_processes",
    "prepare_fsdp",
    "process_index",
    "share_of",
    "whole_model",
    "whole_tensor",
]
