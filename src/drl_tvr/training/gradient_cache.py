"""Compute the exact gradient of a large contrastive batch in the memory of one chunk (gradient caching)."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch.utils.checkpoint import get_device_states, set_device_states

from ..model.modeling_drl import DRLFeatures


class GradientCache:
    r"""Encode a batch in chunks, twice (GradCache, Gao et al., arXiv 2101.06983).

    A contrastive loss needs the features of the whole batch at once, but the states that the encoders keep for their
    backward pass are needed only for one chunk at a time: with \\(f_c(\theta)\\) the features of chunk c,

    $$\frac{dL}{d\theta} = \sum_c \Big(\frac{\partial L}{\partial f_c}\Big)^{\!\top} \frac{df_c}{d\theta}$$

    The constructor encodes every chunk without a gradient. `text` and `video` are then the [`DRLFeatures`] of the
    whole batch, and their tokens and weights are leaves. The caller computes the loss and its backward pass, which
    leaves \\(\partial L / \partial f\\) on the leaves, and gradients on the parameters that compare features.
    `backward` encodes every chunk again, with the same random numbers and so with the same dropout, and continues from
    there.

    Args:
        encode (`Callable[[dict], tuple[DRLFeatures, DRLFeatures]]`): Returns the features of the texts and the videos
            of some pairs. It must depend only on the pairs, the parameters and the random numbers of torch.
        inputs (`dict`): A batch; every entry has one row per pair.
        chunk_size (`int`): Pairs per chunk; the last chunk may be smaller.

    Raises:
        `ValueError`: When the entries of the batch differ in their numbers of rows.

    Example:

    ```python
    >>> import torch
    >>> from drl_tvr import DRLFeatures
    >>> from drl_tvr.training.gradient_cache import GradientCache

    >>> words, frames = torch.nn.Linear(4, 3), torch.nn.Linear(5, 3)
    >>> def encode(pairs):
    ...     sides = words(pairs["words"]), frames(pairs["frames"])
    ...     return tuple(DRLFeatures(side, torch.ones(side.shape[:2]), torch.ones(side.shape[:2])) for side in sides)

    >>> cache = GradientCache(encode, {"words": torch.ones(7, 2, 4), "frames": torch.ones(7, 6, 5)}, chunk_size=3)
    >>> (cache.text.tokens.mean(1) @ cache.video.tokens.mean(1).T).sum().backward()
    >>> words.weight.grad is None
    True
    >>> cache.backward()
    >>> words.weight.grad.shape
    torch.Size([3, 4])
    ```"""

    def __init__(self, encode: Callable[[dict], tuple[DRLFeatures, DRLFeatures]], inputs: dict, chunk_size: int):
        rows = {name: len(value) for name, value in inputs.items()}
        if len(set(rows.values())) != 1:
            raise ValueError(f"`inputs`: found the numbers of rows {rows}, expected one row per pair in every entry.")
        (num_pairs,) = set(rows.values())
        self.encode = encode
        self.chunks = [
            {name: value[start : start + chunk_size] for name, value in inputs.items()}
            for start in range(0, num_pairs, chunk_size)
        ]
        self.random_states = []
        texts, videos = [], []
        with torch.no_grad():
            for chunk in self.chunks:
                self.random_states.append((torch.get_rng_state(), *get_device_states(*chunk.values())))
                text, video = encode(chunk)
                texts.append(text)
                videos.append(video)
        self.text, self.video = join(texts), join(videos)

    def backward(
        self,
        no_sync: Callable[[], AbstractContextManager] = nullcontext,
        compared_with: Iterable[torch.nn.Parameter] = (),
    ) -> None:
        """Compute the gradients of the encoders from the gradient of the features, one chunk at a time.

        The random state is afterwards the same as before.

        Args:
            no_sync (`Callable`, *optional*): Returns a context in which the processes do not average gradients. It is
                used for all chunks but the last, so that gradients are averaged once.
            compared_with (`Iterable[torch.nn.Parameter]`, *optional*): Parameters whose gradient is already final. The
                last backward pass adds 0 to them, so that the reducer of DistributedDataParallel sees them.
        """
        start = 0
        device_type = self.text.tokens.device.type
        devices = self.random_states[0][1]
        with torch.random.fork_rng(devices=devices, device_type=device_type if devices else "cuda"):
            for index, chunk in enumerate(self.chunks):
                is_last = index == len(self.chunks) - 1
                cpu_state, devices, device_states = self.random_states[index]
                torch.set_rng_state(cpu_state)
                set_device_states(devices, device_states, device_type=device_type)
                with nullcontext() if is_last else no_sync():
                    start = self._backward_chunk(chunk, start, compared_with if is_last else ())

    def _backward_chunk(self, chunk: dict, start: int, compared_with: Iterable[torch.nn.Parameter]) -> int:
        """Encode a chunk again, run its backward pass, and return the index of the next pair."""
        roots = [(parameter, torch.zeros_like(parameter)) for parameter in compared_with if parameter.requires_grad]
        encoded = self.encode(chunk)
        stop = start + len(encoded[0].tokens)
        for features, whole in zip(encoded, (self.text, self.video), strict=True):
            for found, cached in ((features.tokens, whole.tokens), (features.weights, whole.weights)):
                # Uniform weights depend on no parameter, and an interaction may not use them.
                if found.requires_grad and cached.grad is not None:
                    roots.append((found, cached.grad[start:stop]))
        if roots:
            torch.autograd.backward(*zip(*roots, strict=True))
        return stop


def join(parts: list[DRLFeatures]) -> DRLFeatures:
    """Concatenate the features of chunks; tokens and weights become leaves."""
    return DRLFeatures(
        tokens=torch.cat([part.tokens for part in parts]).requires_grad_(),
        weights=torch.cat([part.weights for part in parts]).requires_grad_(),
        mask=torch.cat([part.mask for part in parts]),
    )


__all__ = ["GradientCache"]
