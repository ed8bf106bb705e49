"""Gradient caching: the exact gradient of a large contrastive batch, in the memory that a chunk of it takes."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch.utils.checkpoint import get_device_states, set_device_states

from ..model.modeling_drl import DRLFeatures


class GradientCache:
    r"""Encodes a batch in chunks, twice (GradCache, Gao et al., arXiv 2101.06983).

    A contrastive loss needs the features of the whole batch at once, but what the encoders keep for their backward
    pass only a chunk at a time: with \\(f_c(\theta)\\) the features of chunk c,

    $$\frac{dL}{d\theta} = \sum_c \Big(\frac{\partial L}{\partial f_c}\Big)^{\!\top} \frac{df_c}{d\theta}$$

    Making the cache encodes every chunk without a gradient. Its `text` and `video` are then the [`DRLFeatures`] of the
    whole batch, whose tokens and weights are leaves. Their loss, and its backward pass, are the caller's: it leaves
    \\(\partial L / \partial f\\) on them, and in place the gradients of what compares features. `backward` encodes
    every chunk again, from the same state of the random numbers and so with the same dropout, and goes on from there.

    Args:
        encode (`Callable[[dict], tuple[DRLFeatures, DRLFeatures]]`): From some pairs to their features, of texts and
            of videos. What it does must depend on the pairs, the parameters and torch's random numbers alone.
        inputs (`dict`): A batch; every entry has a row for each pair.
        chunk_size (`int`): Pairs to encode at a time; the last chunk may be smaller.

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
            raise ValueError(f"A batch in chunks needs a row for each pair in every entry, found {rows}.")
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
        """Bring the gradient of the features to the encoders' parameters, a chunk at a time.

        The random numbers go on afterwards as if this had not drawn any.

        Args:
            no_sync (`Callable`, *optional*): Makes the context in which the processes do not average gradients: for
                all chunks but the last, so that they are averaged once.
            compared_with (`Iterable[torch.nn.Parameter]`, *optional*): Parameters that have their gradient from the
                loss. The last chunk brings them a 0, without which the processes would wait for it.
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
        """Encode the pairs from `start` on again, go backwards, and say where the next ones start."""
        roots = [(parameter, torch.zeros_like(parameter)) for parameter in compared_with if parameter.requires_grad]
        encoded = self.encode(chunk)
        stop = start + len(encoded[0].tokens)
        for features, whole in zip(encoded, (self.text, self.video), strict=True):
            for found, cached in ((features.tokens, whole.tokens), (features.weights, whole.weights)):
                # Uniform weights come from no parameter, and an interaction may leave them out.
                if found.requires_grad and cached.grad is not None:
                    roots.append((found, cached.grad[start:stop]))
        if roots:
            torch.autograd.backward(*zip(*roots, strict=True))
        return stop


def join(parts: list[DRLFeatures]) -> DRLFeatures:
    """Features of chunks as those of a batch, with leaves for tokens and weights."""
    return DRLFeatures(
        tokens=torch.cat([part.tokens for part in parts]).requires_grad_(),
        weights=torch.cat([part.weights for part in parts]).requires_grad_(),
        mask=torch.cat([part.mask for part in parts]),
    )


__all__ = ["GradientCache"]
