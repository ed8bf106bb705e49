"""Find out why the loss or the gradient of a step is not finite, before the step is made."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from transformers import Trainer

from ..model.modeling_drl import DRLFeatures, DRLModel
from .distributed import gather_objects
from .fsdp import whole_model
from .gradient_cache import join
from .wrappers import find_drl_model


NAMED = 5  # parameters that a message names
NAMED_PAIRS = 32
# Stage at which a value is first not finite; or the search failed, or found nothing.
PARAMETERS, FEATURES, LOSS, GRADIENTS, FAILED, NOTHING = range(6)


class NonFiniteError(ValueError):
    """Error about a loss or a gradient that is not finite.

    Args:
        message (`str`): Step, cause and pairs, in words.
        step (`int`): Number of the optimiser step that was not made, from 1.
        cause (`str`): The likely cause.
        captions (`list[int]`): Rows in the split's `captions` of the pairs of the process, or processes, that found
            the cause; pairs that the cause is about come first.
        video_ids (`list[str]`): Ids of their videos.
    """

    def __init__(self, message: str, step: int, cause: str, captions: list[int], video_ids: list[str]):
        super().__init__(message)
        self.step, self.cause, self.captions, self.video_ids = step, cause, captions, video_ids


def is_broken(parts: dict[str, Sequence[torch.Tensor]], grad_norm: torch.Tensor | float | None) -> torch.Tensor:
    """Return whether a part of the loss or the norm of the gradient is not finite, without waiting for the device.

    Args:
        parts (`dict[str, Sequence[torch.Tensor]]`): Parts of the loss, one value per batch of the step.
        grad_norm (`torch.Tensor` or `float`, *optional*): Norm of the gradient.

    Returns:
        `torch.Tensor` of shape `()`: bool.
    """
    values = [value.float() for batch_values in parts.values() for value in batch_values]
    if grad_norm is not None:
        grad_norm = torch.as_tensor(grad_norm, device=values[0].device if values else None)
        # The norm of sharded parameters is spread over the processes.
        values.append(grad_norm.full_tensor() if hasattr(grad_norm, "full_tensor") else grad_norm)
    return ~torch.stack([value.float() for value in values]).isfinite().all()


def explain_step(
    trainer: Trainer, batches: Sequence[dict], parts: dict[str, Sequence[torch.Tensor]]
) -> NonFiniteError:
    """Look for the cause in the parameters, the features of the batches, the loss and the gradient, in this order.

    All processes must call this: each searches its own share, and all raise the finding of the process that got
    furthest.

    Args:
        trainer ([`DRLTrainer`]): Trainer with the model and the gradients of the step.
        batches (`Sequence[dict]`): The batches of the step.
        parts (`dict[str, Sequence[torch.Tensor]]`): Parts of the loss, one value per batch.

    Returns:
        [`~training.nonfinite.NonFiniteError`]: The error to raise.
    """
    model = whole_model(find_drl_model(trainer.model))
    batches = [real_pairs(trainer._prepare_inputs(batch)) for batch in batches]
    values = [{name: of_batches[i] for name, of_batches in parts.items()} for i in range(len(batches))]
    broken = [i for i, value in enumerate(values) if is_broken({name: [x] for name, x in value.items()}, None)]
    looked_at = {i: batches[i] for i in broken or range(len(batches))}
    try:
        finding = look(trainer, model, looked_at, values[broken[0]] if broken else None)
    except (RuntimeError, MemoryError) as error:  # out of memory, most likely
        finding = FAILED, f"The search for the cause failed: {str(error).splitlines()[0]}", None, []
    stage, cause, index, items = finding
    looked_at = looked_at if index is None else {index: batches[index]}
    rows = [row for batch in looked_at.values() for row in batch["rows"]]
    firsts = [rows[item] for item in items] if rows else []
    others = [row for item, row in enumerate(rows) if item not in items]
    num_pairs = sum(len(batch["input_ids"]) for batch in looked_at.values())

    findings = gather_objects((stage, cause, firsts, others, num_pairs))
    first_stage = min(stage for stage, *_ in findings)
    best = [(rank, *found) for rank, found in enumerate(findings) if found[0] == first_stage]
    causes = dict.fromkeys(cause for _, _, cause, *_ in best)
    if len(findings) > 1 and (len(best) < len(findings) or len(causes) > 1):
        causes = [f"Process {rank}: {cause}" for rank, _, cause, *_ in best]
    cause = " ".join(causes)
    if trainer.args.mixed_precision == "fp16":
        cause += " float16 overflows above 65,504: train with `--bf16 true` or in float32."
    firsts = [row for *_, own, _, _ in best for row in own]
    rows = firsts + [row for *_, own, _ in best for row in own]
    step, caption_to_video = trainer.state.global_step + 1, trainer.train_dataset.caption_to_video
    all_ids = trainer.train_dataset.data.videos["video_id"]
    video_ids = [all_ids[caption_to_video[row]] for row in rows]
    named = ", ".join(
        f"{video} (caption {row})" for video, row in list(zip(video_ids, rows, strict=True))[:NAMED_PAIRS]
    )
    named = named or (
        "unknown, the items of the dataset have no `row`" if any(found[-1] for found in best) else "none"
    )
    more = f" and {len(rows) - NAMED_PAIRS} more" if len(rows) > NAMED_PAIRS else ""
    what = "loss" if broken else "gradient"
    message = (
        f"Step {step}: the {what} is not finite. {cause} The step was not made, and the last checkpoint is from "
        f"before it. Pairs{', those first' if firsts else ''}: {named}{more}."
    )
    return NonFiniteError(message, step, cause, rows, video_ids)


def real_pairs(batch: dict) -> dict:
    """Return the pairs of a batch that count, without the pair that stands in for an empty share."""
    num_pairs = batch.get("num_pairs", len(batch["input_ids"]))
    return {"rows": [], **{name: value[:num_pairs] for name, value in batch.items() if name != "num_pairs"}}


def look(
    trainer: Trainer, model: DRLModel, batches: dict[int, dict], loss: dict[str, torch.Tensor] | None
) -> tuple[int, str, int | None, list[int]]:
    """Find the first stage at which something is not finite in the share of this process.

    Args:
        trainer ([`DRLTrainer`]): Trainer; its arguments give the chunk size and the precision.
        model ([`DRLModel`]): The model, without its wrapper.
        batches (`dict[int, dict]`): Batches to search, by number.
        loss (`dict[str, torch.Tensor]`, *optional*): Parts of the loss, if it is not finite.

    Returns:
        `tuple(int, str, int, list[int])`: Stage, cause, number of the batch, and items that the cause is about.
    """
    if cause := bad_parameters(model):
        return PARAMETERS, cause, None, []
    batches = {index: batch for index, batch in batches.items() if len(batch["input_ids"])}
    chunk_size, autocast = trainer.args.gradient_cache_chunk_size, trainer.accelerator.autocast
    for index, batch in batches.items():
        cause, items = bad_features(model, chunks_of(batch, chunk_size), autocast)
        if cause is not None:
            return FEATURES, cause, index, items
    if loss is not None:
        return LOSS, bad_loss(model, loss), None, []
    for index, batch in batches.items():
        if cause := bad_gradients(model, chunks_of(batch, chunk_size), autocast):
            return GRADIENTS, cause, index, []
    return NOTHING, "The same batch gives finite numbers when it is computed again.", None, []


def chunks_of(batch: dict, size: int | None) -> list[dict[str, torch.Tensor]]:
    """Split a batch into chunks of `size` pairs; one chunk for `None`."""
    num_pairs = len(batch["input_ids"])
    return [
        {name: value[start : start + (size or num_pairs)] for name, value in batch.items() if name != "rows"}
        for start in range(0, num_pairs, size or num_pairs)
    ]


def bad_parameters(model: DRLModel) -> str | None:
    """Name the parameters that are not finite."""
    names = [name for name, parameter in model.named_parameters() if not parameter.isfinite().all()]
    if not names:
        return None
    return (
        f"{listed(names)} {'was' if len(names) == 1 else 'were'} not finite before this step: the weights that the "
        "run began with are damaged, or an earlier step spoiled them."
    )


@torch.no_grad()
def bad_features(model: DRLModel, chunks: list[dict], autocast: Callable) -> tuple[str | None, list[int]]:
    """Encode a batch again, and name the features that are not finite, the first such module, and the items."""
    sides = {
        "frame features": lambda chunk: model.get_video_features(chunk["pixel_values_videos"], chunk["video_mask"]),
        "word features": lambda chunk: model.get_text_features(chunk["input_ids"], chunk["attention_mask"]),
    }
    if chunks[0]["pixel_values_videos"].is_floating_point():
        sides = {"pixels": lambda chunk: DRLFeatures(chunk["pixel_values_videos"]), **sides}
    for side, encode in sides.items():
        flags = []
        with watched(model) as first:
            for chunk in chunks:
                with autocast():
                    features = encode(chunk)
                flags.append(~features.tokens.flatten(1).isfinite().all(1))
                if features.weights is not None:
                    flags[-1] |= ~features.weights.isfinite().all(1)
        broken = torch.cat(flags)
        items = broken.nonzero().flatten().tolist()
        if items:
            source = f", from the module `{first[0]}` on" if first else ""
            return f"The {side} of {len(items)} of {len(broken)} items of the batch are not finite{source}.", items
    return None, []


@contextmanager
def watched(model: DRLModel) -> Iterator[list[str]]:
    """Collect the names of the innermost modules whose outputs are not finite, in order."""
    names = []

    def watch(name: str):
        def look(module, inputs, output):
            if isinstance(output, torch.Tensor) and output.is_floating_point() and not output.isfinite().all():
                names.append(name)

        return look

    handles = [
        module.register_forward_hook(watch(name))
        for name, module in model.named_modules()
        if not any(module.children())
    ]
    try:
        yield names
    finally:
        for handle in handles:
            handle.remove()


def bad_loss(model: DRLModel, parts: dict[str, torch.Tensor]) -> str:
    """Describe the parts of a loss that is not finite although its features are."""
    values = ", ".join(f"{name} is {value.item():.4g}" for name, value in parts.items())
    return (
        f"The features are finite, the loss of them is not: {values}, at a logit scale of "
        f"{model.logit_scale.float().exp().item():.4g}."
    )


def bad_gradients(model: DRLModel, chunks: list[dict], autocast: Callable) -> str | None:
    """Name the parameters whose gradient of a finite loss is not finite.

    Gradients are computed again, because clipping spreads one bad value over all of them, and without `backward`,
    which would wait for the other processes.
    """

    def encode(chunk: dict) -> tuple[DRLFeatures, DRLFeatures]:
        with autocast():  # one per chunk: it caches copies of the weights with or without a gradient
            text = model.get_text_features(chunk["input_ids"], chunk["attention_mask"])
            return text, model.get_video_features(chunk["pixel_values_videos"], chunk["video_mask"])

    named = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    parameters = list(named.values())
    with torch.no_grad():
        text, video = (join(list(side)) for side in zip(*map(encode, chunks), strict=True))
    with autocast():
        loss = model.compare(text, video, return_loss=True).loss
    leaves = [text.tokens, text.weights, video.tokens, video.weights]
    gradients = torch.autograd.grad(loss, [*leaves, *parameters], allow_unused=True)
    of_leaves, bad = gradients[: len(leaves)], set(not_finite(named, gradients[len(leaves) :]))
    start = 0
    for chunk in chunks:
        text, video = encode(chunk)
        stop = start + len(text.tokens)
        roots = [
            (features, gradient[start:stop])
            for features, gradient in zip(
                (text.tokens, text.weights, video.tokens, video.weights), of_leaves, strict=True
            )
            if features.requires_grad and gradient is not None
        ]
        tensors, gradients = zip(*roots, strict=True)
        bad.update(not_finite(named, torch.autograd.grad(tensors, parameters, gradients, allow_unused=True)))
        start = stop
    names = [name for name in named if name in bad]
    return f"The loss is finite, but its gradient by {listed(names)} is not." if names else None


def not_finite(names: Iterable[str], gradients: Iterable[torch.Tensor | None]) -> list[str]:
    """Return the names of the gradients that are not finite."""
    return [
        name
        for name, gradient in zip(names, gradients, strict=True)
        if gradient is not None and not gradient.isfinite().all()
    ]


def listed(names: list[str]) -> str:
    """List the first names, and the number of the others."""
    more = f" and {len(names) - NAMED} more parameters" if len(names) > NAMED else ""
    return ", ".join(f"`{name}`" for name in names[:NAMED]) + more


__all__ = ["NonFiniteError"]
