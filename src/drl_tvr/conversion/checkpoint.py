"""Convert an original checkpoint (DRL, CLIP4Clip or OpenAI's CLIP) to a folder that `from_pretrained` loads."""

import os
import shutil
import stat
import uuid
import zipfile
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import CLIPTokenizer
from transformers.utils import logging

from ..model.configuration_drl import DRLConfig
from ..model.modeling_drl import DRLModel
from ..model.processing_drl import DRLProcessor
from ..model.video_processing_drl import DRLVideoProcessor
from .original_names import UNUSED_NAMES, CheckpointError, infer_config, misfits, to_our_names


logger = logging.get_logger(__name__)

# Numbers that OpenAI's files hold beside the weights; the shapes of the weights imply them.
CLIP_NUMBERS = ("input_resolution", "context_length", "vocab_size")
MAX_WORDS, MAX_FRAMES = 32, 12  # limits of a caption and a video in the official recipe
CDCR_FIELDS = ("cdcr", "cdcr_lambda", "cdcr_alpha_diagonal", "cdcr_alpha_off_diagonal")


def convert_checkpoint(
    checkpoint: str | os.PathLike,
    output_dir: str | os.PathLike,
    interaction: str | None = None,
    tokenizer: str | os.PathLike | None = None,
    **cdcr_fields,
) -> Path:
    """Convert an original checkpoint to a folder whose model gives the same numbers, also for padded inputs.

    The names and shapes of the tensors determine the towers, the temporal encoder, the interaction and the depth of
    its weights. DP and TI have no weights of their own, so `interaction` must distinguish them. The names do not tell
    how the model was trained.

    Args:
        checkpoint (`str` or `os.PathLike`): A state dict (`pytorch_model.bin.N`, `best.pth`, CLIP's as `.pt`), saved
            by torch or safetensors. Names may begin with DistributedDataParallel's `module.`.
        output_dir (`str` or `os.PathLike`): A folder that does not exist or is empty. It appears once it is complete.
        interaction (`str`, *optional*): `"dp"` or `"ti"` where the names do not distinguish them; by default `"dp"`
            for a plain CLIP.
        tokenizer (`str` or `os.PathLike`, *optional*): A CLIP tokenizer, folder or Hub name. Without it no processor
            is written.
        cdcr_fields: `cdcr`, `cdcr_lambda`, `cdcr_alpha_diagonal` and `cdcr_alpha_off_diagonal` of [`DRLConfig`], for
            further training; by default those of the configuration.

    Returns:
        `Path`: The folder, with `config.json`, `model.safetensors` in float32, and the processor.

    Raises:
        `CheckpointError`: When the file is not such a state dict, or tensors are unknown, missing or misshapen; the
            message lists them all.
        `ValueError`: When options contradict the checkpoint, or the tokenizer has another vocabulary.
        `OSError`: When the file is missing or not a regular file, or the folder is in use.

    Example:

    ```python
    # needs: an official checkpoint, the Hub
    >>> from drl_tvr import DRLModel, convert_checkpoint

    >>> tokenizer = "openai/clip-vit-base-patch32"
    >>> folder = convert_checkpoint("best.pth", "converted", tokenizer=tokenizer)
    >>> model = DRLModel.from_pretrained(folder)
    ```"""
    checkpoint, output_dir = Path(checkpoint), Path(output_dir)
    unknown = sorted(set(cdcr_fields) - set(CDCR_FIELDS))
    if unknown:
        raise ValueError(f"`cdcr_fields`: found {', '.join(unknown)}, expected some of {', '.join(CDCR_FIELDS)}.")
    check_output_dir(output_dir)
    state = read_state_dict(checkpoint)
    try:
        config, weights = convert_state_dict(state, interaction, **cdcr_fields)
    except CheckpointError as error:
        raise CheckpointError(f"{checkpoint}: {error}") from error
    processor = None if tokenizer is None else build_processor(tokenizer, config)

    # The folder is written beside its place and then moved there, so that it is complete or absent.
    output_dir.parent.mkdir(parents=True, exist_ok=True)
    staging = output_dir.absolute().parent / f".converting-{uuid.uuid4().hex}"
    staging.mkdir()
    try:
        DRLModel.from_pretrained(None, config=config, state_dict=weights).save_pretrained(staging)
        if processor is not None:
            processor.save_pretrained(staging)
        staging.rename(output_dir)
    except SafetensorError as error:  # safetensors raises this when the disk is full
        raise OSError(f"{output_dir} cannot be written: {error}.") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    for line in report_lines(config, state, tokenizer):
        logger.info(line)
    return output_dir


def check_output_dir(output_dir: Path) -> None:
    """Refuse a folder that is in use.

    Raises:
        `FileExistsError`: When the path is a link, a file, the current folder, or a folder that is not empty.
        `NotADirectoryError`: When a parent is a file.
    """
    parent = next(folder for folder in output_dir.absolute().parents if folder.exists())
    if not parent.is_dir():
        raise NotADirectoryError(f"{output_dir} cannot be created: {parent} is a file, expected a folder.")
    if output_dir.resolve() == Path.cwd() or output_dir.is_mount():
        raise FileExistsError(
            f"{output_dir} is the current folder or a mount point and cannot be replaced; choose a folder in it."
        )
    if output_dir.is_symlink() or output_dir.exists() and not output_dir.is_dir():
        raise FileExistsError(f"{output_dir} is not a folder; choose one that does not exist or is empty.")
    found = sorted(path.name for path in output_dir.iterdir()) if output_dir.exists() else []
    if found:
        raise FileExistsError(f"{output_dir} is in use: found {found[0]!r} in it, expected an empty folder.")


def read_state_dict(path: Path) -> dict[str, torch.Tensor]:
    """Read a state dict without executing code from a pickle.

    Args:
        path (`Path`): A regular file, saved by torch or safetensors.

    Returns:
        `dict[str, torch.Tensor]`: Tensors by their names, without the prefix `module.`.

    Raises:
        `CheckpointError`: When the file does not hold names and tensors, or is truncated.
        `OSError`: When the file does not exist, or is a link, a folder or a device.
    """
    mode = os.lstat(path).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(f"{path} is a folder, expected the file of the checkpoint in it.")
    if not stat.S_ISREG(mode):
        kind = f"a link to {os.readlink(path)}" if stat.S_ISLNK(mode) else "not a regular file"
        raise OSError(f"{path} is {kind}, expected the file of the checkpoint itself.")
    with open(path, "rb") as file:
        head = file.read(9)
    if not head:
        raise CheckpointError(f"{path} is empty.")
    if is_torchscript(path):
        raise CheckpointError(
            f"{path} is a TorchScript program, the form in which OpenAI distributes CLIP, expected a state dict. "
            "Loading it would execute it. Save its weights and convert them: "
            "torch.save(torch.jit.load(path, map_location='cpu').state_dict(), 'clip.pt'). Or load a CLIPModel "
            "checkpoint with `DRLModel.from_clip_pretrained`."
        )
    try:
        is_safetensors = head[8:] == b"{"
        state = load_file(path) if is_safetensors else torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged or malicious pickle can raise anything
        reason = str(error).partition("\n")[0]
        raise CheckpointError(
            f"{path} is not a state dict, or is damaged: {type(error).__name__}: {reason}"
        ) from error
    if not isinstance(state, dict) or not state:
        raise CheckpointError(f"{path}: found a {type(state).__name__}, expected a dict of names and tensors.")
    others = [name for name, value in state.items() if not (isinstance(name, str) and torch.is_tensor(value))]
    if others:
        found = ", ".join(f"{name!r}: {type(state[name]).__name__}" for name in others[:5])
        raise CheckpointError(f"{path}: found {len(others)} entries that are not tensors ({found}), expected none.")
    # An expanded view of one number can claim any size; converting it would allocate that size.
    views = [name for name, tensor in state.items() if not is_plain(tensor)]
    if views:
        raise CheckpointError(
            f"{path}: found {len(views)} tensors without memory of their own, such as {views[0]!r}, expected none."
        )
    if all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    return state


def is_torchscript(path: Path) -> bool:
    """Return whether a file is an archive of a TorchScript program; `False` for a damaged archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError):
        return False


def is_plain(tensor: torch.Tensor) -> bool:
    """Return whether each number of a tensor has its own place in memory."""
    if tensor.layout != torch.strided or tensor.device.type != "cpu" or tensor.is_quantized:
        return False
    return tensor.numel() == 0 or tensor.untyped_storage().nbytes() >= tensor.numel() * tensor.element_size()


def convert_state_dict(
    state: dict[str, torch.Tensor], interaction: str | None = None, **cdcr_fields
) -> tuple[DRLConfig, dict[str, torch.Tensor]]:
    """Convert an original state dict to a configuration and the parameters of [`DRLModel`].

    Args:
        state (`dict[str, torch.Tensor]`): From `read_state_dict`.
        interaction, cdcr_fields: See [`convert_checkpoint`].

    Returns:
        `tuple(DRLConfig, dict[str, torch.Tensor])`: The configuration, and the parameters in float32.

    Raises:
        `CheckpointError`: When tensors are unknown, missing or misshapen; the message lists them all.
    """
    numbers, weights = {}, state
    if "visual.conv1.weight" in state:  # a plain CLIP
        numbers = {name: state[name] for name in CLIP_NUMBERS if name in state}
        weights = {f"clip.{name}": tensor for name, tensor in state.items() if name not in numbers}
        interaction = interaction or "dp"
    cdcr_fields = {name: value for name, value in cdcr_fields.items() if value is not None}
    config = infer_config(weights, interaction, **cdcr_fields)
    if config.interaction == "xti" and "cdcr" not in cdcr_fields:
        config.cdcr = "none"
    with torch.device("meta"):
        shapes = {name: parameter.shape for name, parameter in DRLModel(config).named_parameters()}
    wrong = list(misfits(weights, config, shapes))
    implied = {
        "input_resolution": config.vision_config.image_size,
        "context_length": config.text_config.max_position_embeddings,
        "vocab_size": config.text_config.vocab_size,
    }
    wrong += [
        f"contradiction: {name}: found {number.tolist()}, expected {implied[name]} as the shapes say"
        for name, number in numbers.items()
        if number.tolist() != implied[name]
    ]
    if wrong:
        lines = "\n".join(f"  {line}" for line in wrong)
        raise CheckpointError(f"found {len(wrong)} misfits, expected none:\n{lines}")
    return config, to_our_names(weights, config)


def build_processor(tokenizer: str | os.PathLike, config: DRLConfig) -> DRLProcessor:
    """Build the processor of the official recipe: at most 32 words and 12 frames, one frame per second, padded.

    Args:
        tokenizer (`str` or `os.PathLike`): A CLIP tokenizer, folder or Hub name.
        config ([`DRLConfig`]): The configuration of the model.

    Returns:
        [`DRLProcessor`]: The processor.

    Raises:
        `ValueError`: When the vocabulary of the tokenizer is not that of the text tower.
        `OSError`: When the tokenizer does not exist.
    """
    try:
        loaded = CLIPTokenizer.from_pretrained(tokenizer)
    except OSError:
        raise
    except Exception as error:  # the tokenizers library raises bare exceptions for invalid files
        raise ValueError(f"{tokenizer} is not a CLIP tokenizer: {type(error).__name__}: {error}") from error
    text = config.text_config
    found = (len(loaded), loaded.bos_token_id, loaded.eos_token_id)
    expected = (text.vocab_size, text.bos_token_id, text.eos_token_id)
    if found != expected:
        raise ValueError(
            f"{tokenizer} is not the tokenizer of this model: found {found[0]} tokens, BOS {found[1]} and EOS "
            f"{found[2]}, expected {expected[0]}, {expected[1]} and {expected[2]} as in the text tower."
        )
    size, positions = config.vision_config.image_size, [MAX_FRAMES]
    if config.temporal_encoder == "transformer":
        positions.append(config.temporal_config.max_position_embeddings)
    if config.interaction == "xti":
        positions.append(config.cross_config.max_position_embeddings - 1)  # one position is for the text
    video_processor = DRLVideoProcessor(
        size={"shortest_edge": size},
        crop_size={"height": size, "width": size},
        max_frames=min(positions),
        pad_to_max_frames=True,
    )
    max_length = min(MAX_WORDS, text.max_position_embeddings)
    return DRLProcessor(video_processor, loaded, max_length=max_length, pad_to_max_length=True)


def report_lines(config: DRLConfig, state: dict[str, torch.Tensor], tokenizer: str | os.PathLike | None) -> list[str]:
    """List what was inferred from the checkpoint, what was assumed, and what was ignored, one line each."""
    vision, text = config.vision_config, config.text_config
    interaction = config.interaction
    if interaction == "wti":
        interaction += f", weights of depth {config.token_weight_depth}"
    lines = [
        f"towers: patches of {vision.patch_size} in {vision.image_size} pixels, {vision.num_hidden_layers} layers of "
        f"width {vision.hidden_size}; {text.num_hidden_layers} text layers of width {text.hidden_size}, "
        f"{text.vocab_size} tokens",
        f"interaction: {interaction}",
        f"temporal encoder: {config.temporal_encoder}",
        f"assumed for further training: cdcr {config.cdcr}, lambda {config.cdcr_lambda}, alpha "
        f"{config.cdcr_alpha_diagonal} on and {config.cdcr_alpha_off_diagonal} off the diagonal",
        "padding counts as similarity 0, as in the official code (padding_similarity='zero')",
    ]
    for name in (*UNUSED_NAMES.get(config.temporal_encoder, ()), *CLIP_NUMBERS):
        if name in state:
            lines.append(f"ignored: {name}, which the official code never reads")
    if tokenizer is None:
        lines.append("no processor: pass a CLIP tokenizer to write one")
    return lines


__all__ = ["CheckpointError", "convert_checkpoint"]
