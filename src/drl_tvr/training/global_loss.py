"""Compute the loss of a global batch, of which each process encodes its share."""

import torch

from ..model.modeling_drl import DRLFeatures, DRLModel, DRLOutput
from ..model.tensors import at_least_float32
from .distributed import GatherRows, gather_rows, gather_sizes, num_processes, shared_seed


def gather_features(features: DRLFeatures) -> DRLFeatures:
    """Concatenate the features of all processes, in the order of the ranks.

    The gradient of every process's loss flows back to the process that encoded the item and is summed there. When
    each process computes the same global loss, the mean of the gradients that DistributedDataParallel takes is the
    gradient of that loss, for towers and heads alike. (The official code keeps only the gradient of the local rows,
    so its towers get 1 / world_size of it.)

    Args:
        features ([`DRLFeatures`]): Features of this process. The number of items may differ between processes, and
            may be 0.

    Returns:
        [`DRLFeatures`]: Features of all processes, padded to the longest item, in float32 or float64, which is the
        type that gradients are summed in.
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


def first_items(features: DRLFeatures, count: int | None) -> DRLFeatures:
    """Return the first `count` items of a batch, or all of them for `None`."""
    return DRLFeatures(**{name: tensor[:count] for name, tensor in features.items()})


def both_sides(model: DRLModel, text: DRLFeatures, video: DRLFeatures) -> DRLOutput:
    """Return the features of both sides without comparing them."""
    return DRLOutput(
        text_tokens=text.tokens,
        text_weights=text.weights,
        frame_tokens=video.tokens,
        frame_weights=video.weights,
    )


def loss_of_features(
    model: DRLModel, text: DRLFeatures, video: DRLFeatures, num_pairs: int | None = None
) -> DRLOutput:
    """Compute the loss of the global batch from the features of this process and of the others.

    Each process scores its own texts with the videos of all processes, and the rows are gathered. Every process then
    computes the same loss from the whole matrix and the same decorrelation from all features. The mean of a gradient
    over the processes, which DistributedDataParallel and FSDP take, equals the gradient of a single process with the
    same global batch.

    Args:
        model ([`DRLModel`]): The model, without its wrapper.
        text ([`DRLFeatures`]): Texts of this process, at least one.
        video ([`DRLFeatures`]): Videos of these texts.
        num_pairs (`int`, *optional*): Number of pairs that count, from the first on; by default all. A process
            without a share of the last batch encodes one pair of which 0 count, so that all processes run the same
            operations.

    Returns:
        [`DRLOutput`]: Output for the global batch, the same on every process.
    """
    all_text, all_video = gather_features(first_items(text, num_pairs)), gather_features(first_items(video, num_pairs))
    similarity = gather_rows(model.similarity(text, all_video)[:num_pairs])
    seed = shared_seed(similarity.device) if model.config.cdcr == "random" else None
    return model.compare(all_text, all_video, return_loss=True, similarity=similarity, seed=seed)


__all__ = ["both_sides", "first_items", "gather_features", "loss_of_features"]
