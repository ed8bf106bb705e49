"""What went wrong in a step whose loss or gradient is not finite: said once, with names, before the step is made."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from transformers import Trainer

from ..data.loading import PairDataset
from ..modeling_drl import DRLFeatures, DRLModel
from ..processing_drl import DRLProcessor


NAMED = 5  # parameters that a message names
NAMED_PAIRS = 32
CHUNK = 10_000  # captions to tokenize at once


class NonFiniteError(ValueError):
    """A loss or a gradient that is not finite.

    Args:
        message (`str`): Step, cause and pairs, in words.
        step (`int`): The optimiser step that was not made, from 1.
        cause (`str`): The likely cause.
        captions (`list[int]`): Rows of the split's `captions` that this process had in the step; first those that the
            cause is about, if it is about some.
        video_ids (`list[str]`): Their videos.
    """

    def __init__(self, message: str, step: int, cause: str, captions: list[int], video_ids: list[str]):
        super().__init__(message)
        self.step, self.cause, self.captions, self.video_ids = step, cause, captions, video_ids


def is_broken(parts: dict[str, Sequence[torch.Tensor]], grad_norm: torch.Tensor | float | None) -> torch.Tensor:
    """Whether a part of the loss or the norm of the gradient is not finite, without waiting for the device.

    Args:
        parts (`dict[str, Sequence[torch.Tensor]]`): Parts of the loss, a value for each batch of the step.
        grad_norm (`torch.Tensor` or `float`, *optional*): Norm of the gradient.

    Returns:
        `torch.Tensor` of shape `()`: bool.
    """
    values = [value.float() for batch_values in parts.values() for value in batch_values]
    if grad_norm is not None:
        grad_norm = torch.as_tensor(grad_norm, device=values[0].device if values else None)
        # Sharded parameters have a norm that is spread over the processes.
        values.append(grad_norm.full_tensor() if hasattr(grad_norm, "full_tensor") else grad_norm)
    return ~torch.stack([value.float() for value in values]).isfinite().all()


def explain_step(
    trainer: Trainer, batches: Sequence[dict], parts: dict[str, Sequence[torch.Tensor]]
) -> NonFiniteError:
    """Look for the cause in the parameters, the features of the batches, the loss and the gradient, in this order.

    Args:
        trainer ([`DRLTrainer`]): With the model and the gradients of the step.
        batches (`Sequence[dict]`): The batches of the step.
        parts (`dict[str, Sequence[torch.Tensor]]`): Parts of the loss, a value for each batch.

    Returns:
        [`~training.nonfinite.NonFiniteError`]: To be raised.
    """
    model = trainer.accelerator.unwrap_model(trainer.model)
    broken = [i for i in range(len(batches)) if is_broken({name: [values[i]] for name, values in parts.items()}, None)]
    looked_at = broken or list(range(len(batches)))
    cause, items = bad_parameters(model), []
    for index in looked_at if cause is None else []:
        with trainer.compute_loss_context_manager():
            cause, items = bad_features(model, trainer._prepare_inputs(batches[index]))
        if cause is not None:
            looked_at = [index]
            break
    if cause is None and broken:
        cause = bad_loss(model, {name: values[broken[0]] for name, values in parts.items()})
        if trainer.args.world_size > 1:
            cause += " Other processes may say more of theirs."
    for index in looked_at if cause is None else []:
        with trainer.compute_loss_context_manager():
            cause = bad_gradients(model, trainer._prepare_inputs(batches[index]))
        if cause is not None:
            looked_at = [index]
            break
    cause = cause or "The same batch gives finite numbers when it is computed again."
    if trainer.args.mixed_precision == "fp16":
        cause += " float16 overflows above 65,504: train with `--bf16 true` or in float32."
    rows = [row for i in looked_at for row in find_pairs(batches[i], trainer.train_dataset, trainer.processing_class)]
    rows = [rows[item] for item in items] + [row for item, row in enumerate(rows) if item not in items]
    step, owners = trainer.state.global_step + 1, trainer.train_dataset.caption_to_video
    all_ids = trainer.train_dataset.data.videos["video_id"]
    video_ids = [all_ids[owners[row]] for row in rows]
    named = ", ".join(
        f"{video} (caption {row})" for video, row in list(zip(video_ids, rows, strict=True))[:NAMED_PAIRS]
    )
    more = f" and {len(rows) - NAMED_PAIRS} more" if len(rows) > NAMED_PAIRS else ""
    what = "loss" if broken else "gradient"
    message = (
        f"Step {step}: the {what} is not finite. {cause} The step was not made, and the last checkpoint is from "
        f"before it. Pairs of this process{', those first' if items else ''}: {named}{more}."
    )
    return NonFiniteError(message, step, cause, rows, video_ids)


def bad_parameters(model: DRLModel) -> str | None:
    """Parameters that are not finite."""
    names = [name for name, parameter in model.named_parameters() if not parameter.isfinite().all()]
    if not names:
        return None
    return (
        f"{listed(names)} {'was' if len(names) == 1 else 'were'} not finite before this step: the weights that the "
        "run began with are damaged, or an earlier step spoiled them."
    )


@torch.no_grad()
def bad_features(model: DRLModel, batch: dict[str, torch.Tensor]) -> tuple[str | None, list[int]]:
    """Encode a batch again; what is not finite, from which module on, and which items it is about."""
    pixels, video_mask = batch["pixel_values_videos"], batch["video_mask"]
    sides = {
        **({"pixels": lambda: DRLFeatures(pixels)} if pixels.is_floating_point() else {}),
        "frame features": lambda: model.get_video_features(pixels, video_mask),
        "word features": lambda: model.get_text_features(batch["input_ids"], batch["attention_mask"]),
    }
    for side, encode in sides.items():
        with watched(model) as first:
            features = encode()
        broken = ~features.tokens.flatten(1).isfinite().all(1)
        if features.weights is not None:
            broken |= ~features.weights.isfinite().all(1)
        items = broken.nonzero().flatten().tolist()
        if items:
            source = f", from the module `{first[0]}` on" if first else ""
            return f"The {side} of {len(items)} of {len(broken)} items of the batch are not finite{source}.", items
    return None, []


@contextmanager
def watched(model: DRLModel) -> Iterator[list[str]]:
    """Yields a list that gets the names of the innermost modules whose outputs are not finite, in their order."""
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
    """Which part of a loss is not finite, of features that are."""
    values = ", ".join(f"{name} is {value.item():.4g}" for name, value in parts.items())
    return (
        f"The features of this process are finite, the loss of them is not: {values}, at a logit scale of "
        f"{model.logit_scale.float().exp().item():.4g}."
    )


def bad_gradients(model: DRLModel, batch: dict[str, torch.Tensor]) -> str | None:
    """Parameters by which a finite loss has a gradient that is not."""
    named = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    # Computed again, since clipping spreads one bad value over all; and not by `backward`, which other processes hook.
    loss = model(**{name: value for name, value in batch.items() if name != "num_pairs"}, return_loss=True).loss
    gradients = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    names = [name for name, x in zip(named, gradients, strict=True) if x is not None and not x.isfinite().all()]
    return f"The loss is finite, but its gradient by {listed(names)} is not." if names else None


def listed(names: list[str]) -> str:
    """The first names and how many there are."""
    more = f" and {len(names) - NAMED} more parameters" if len(names) > NAMED else ""
    return ", ".join(f"`{name}`" for name in names[:NAMED]) + more


def find_pairs(batch: dict[str, torch.Tensor], dataset: PairDataset, processor: DRLProcessor) -> list[int]:
    """Rows of the pairs that a batch was made of, by its words and pixels: batches carry no ids.

    Args:
        batch (`dict[str, torch.Tensor]`): From [`~data.loading.RetrievalCollator`].
        dataset ([`~data.loading.PairDataset`]): The split.
        processor ([`DRLProcessor`]): Tokenizes.

    Returns:
        `list[int]`: A row of the split's captions for each pair; of equal pairs the first.

    Raises:
        `ValueError`: When a pair is not of the split.
    """
    wanted = words_of(batch)
    rows: dict[tuple[int, ...], list[int]] = {words: [] for words in wanted}
    for start in range(0, len(dataset), CHUNK):
        captions = dataset.captions.captions[start : start + CHUNK]
        for row, words in enumerate(words_of(processor(text=list(captions), return_tensors="pt")), start):
            if words in rows:
                rows[words].append(row)
    found = []
    for item, words in enumerate(wanted):
        frames = batch["pixel_values_videos"][item][batch["video_mask"][item].bool()].cpu()
        same = (row for row in rows[words] if torch.equal(dataset[row]["frames"], frames))
        row = next(same, None)
        if row is None:
            raise ValueError(f"Pair {item} of the batch is none of {dataset.data.name} {dataset.data.split}.")
        found.append(row)
    return found


def words_of(batch: dict[str, torch.Tensor]) -> list[tuple[int, ...]]:
    """Token ids of each text, without padding."""
    ids, masks = batch["input_ids"].tolist(), batch["attention_mask"].tolist()
    return [tuple(i for i, real in zip(row, mask, strict=True) if real) for row, mask in zip(ids, masks, strict=True)]


__all__ = ["NonFiniteError"]
