"""Write checkpoints that are complete or absent, and refuse those that are not as they were written."""

import errno
import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from transformers import TrainerState
from transformers.utils import SAFE_WEIGHTS_NAME

from ..files import free_space, sync, write_whole


INCOMPLETE = "incomplete-checkpoint"  # folder of files that are being written or deleted, beside the checkpoints
STATE_FILE = "trainer_state.json"  # the last file of `Trainer`
LIST_FILE = "files.json"  # of a checkpoint, with the size and the checksum of each
CHECKPOINT_NAME = re.compile(r"checkpoint-(0|[1-9][0-9]*)")
# Paths in a checkpoint that `Trainer` loads when it finds them, also those that the run did not write.
LOADED = re.compile(
    r"(?:rng_state|optimizer|scheduler|scaler)[^/]*\.(?:pt|pth|bin)"
    r"|(?:pytorch_)?model[^/]*\.(?:safetensors|bin|index\.json)"
    r"|(?:[^/]+/)?adapter_(?:model|config)[^/]*\.(?:safetensors|bin|json)"
    r"|(?:optimizer_|pytorch_model_|global_step)\w*\d/.+"
)
# Error texts about a file that could not be written: of safetensors and tokenizers ("os error N"), and of torch's zip
# writer. The other libraries raise an OSError.
NOT_WRITTEN = re.compile(r"os error \d+|PytorchStreamWriter|inline_container")


class TrainingCheckpointError(OSError):
    """Error about a checkpoint that cannot be written or resumed from; the message names the file and what to do."""


class WholeCheckpoint(str):
    """Path of a checkpoint whose files were compared with their list by this process, which need not do so again."""


def is_checkpoint(folder: str | os.PathLike) -> bool:
    """Return whether a folder looks like a checkpoint; only [`~training.checkpointing.check_complete`] reads it."""
    return any((Path(folder) / name).is_file() for name in (STATE_FILE, LIST_FILE))


def checkpoints_in(folder: str | os.PathLike) -> list[Path]:
    """Find what looks like a checkpoint in a folder, the one with the most steps first."""
    steps = {}
    for path in Path(folder).glob("checkpoint-*"):
        name = CHECKPOINT_NAME.fullmatch(path.name)
        if name and is_checkpoint(path):
            steps[int(name[1])] = path
    return [steps[step] for step in sorted(steps, reverse=True)]


def listed_checkpoints(folder: str | os.PathLike) -> list[Path]:
    """Find the checkpoints of a folder with a list of their files, which a run may delete; the newest first."""
    return [path for path in checkpoints_in(folder) if (path / LIST_FILE).is_file()]


def last_checkpoint(folder: str | os.PathLike) -> str | None:
    """Find the checkpoint with the most steps. Training from it checks that it is whole.

    Args:
        folder (`str` or `os.PathLike`): The output folder of a run; it need not exist.

    Returns:
        `str`, *optional*: Its path, or `None` when there is none.
    """
    checkpoints = checkpoints_in(folder)
    return str(checkpoints[0]) if checkpoints else None


def files_of(checkpoint: Path) -> dict[str, Path]:
    """Find the files of a checkpoint by their paths in it, without its list, hidden files and hidden folders."""
    names = {path.relative_to(checkpoint): path for path in checkpoint.rglob("*") if not path.is_dir()}
    shown = {name.as_posix(): path for name, path in names.items() if not any(x.startswith(".") for x in name.parts)}
    return {name: shown[name] for name in sorted(shown) if name != LIST_FILE}


def write_list(checkpoint: str | os.PathLike) -> None:
    """Write the list of a checkpoint's files with their sizes and checksums, by which damage is found later.

    It is the last file of a checkpoint: with several processes, one calls this when all have written theirs. A
    checkpoint of an older version has no list; call this if you trust that it is whole.

    Args:
        checkpoint (`str` or `os.PathLike`): The folder.
    """
    checkpoint = Path(checkpoint)
    listed = {
        name: {"size": file.stat().st_size, "sha256": sha256(file)} for name, file in files_of(checkpoint).items()
    }
    write_whole(checkpoint / LIST_FILE, json.dumps(listed, indent=1))


def sha256(file: Path) -> str:
    """Return the SHA-256 of a file."""
    with open(file, "rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def find_damage(checkpoint: Path) -> str | None:
    """Compare the files that the list of a checkpoint names with those that are there.

    Args:
        checkpoint (`Path`): The folder.

    Returns:
        `str`, *optional*: The first file that is damaged, what was found and what was expected; `None` when all are as
        they were written.
    """
    place = checkpoint / LIST_FILE
    try:
        listed = {
            name: (entry["size"], entry["sha256"])
            for name, entry in json.loads(place.read_text(encoding="utf-8")).items()
        }
        found = files_of(checkpoint)
        for name in sorted(listed):
            place = checkpoint / name
            if name not in found:
                return f"{place}: found no file, expected the one that was written."
            if (size := place.stat().st_size) != listed[name][0]:
                return f"{place}: found {size} bytes, expected the {listed[name][0]} that were written."
        for name in listed:
            place = checkpoint / name
            if sha256(place) != listed[name][1]:
                return f"{place}: found another content than was written, by its SHA-256."
    except OSError as error:
        return f"{place}: found that it cannot be read ({error.strerror}), expected a file of the checkpoint."
    except (ValueError, RecursionError, AttributeError, TypeError, KeyError) as error:
        return f"{place}: found an invalid list ({error!r}), expected that of the checkpoint's files."
    return None


def check_foreign(checkpoint: Path) -> None:
    """Refuse a checkpoint with a file that the run did not write, and that would be loaded; others do no harm.

    Raises:
        `TrainingCheckpointError`: When there is such a file; the message names it.
    """
    listed = json.loads((checkpoint / LIST_FILE).read_text(encoding="utf-8"))
    foreign = next((name for name in files_of(checkpoint) if name not in listed and LOADED.fullmatch(name)), None)
    if foreign is not None:
        raise TrainingCheckpointError(
            f"{checkpoint / foreign}: found a file that is not in {LIST_FILE}, expected only those of the checkpoint, "
            "because it would be loaded. Remove this file; the checkpoint is whole."
        )


def check_whole(checkpoint: str | os.PathLike) -> None:
    """Refuse a checkpoint of which a file is not as it was written. Listed files are read, about 1 GB per second.

    Args:
        checkpoint (`str` or `os.PathLike`): The folder.

    Raises:
        `TrainingCheckpointError`: When a file is missing or damaged, or one would be loaded that the run did not
            write. The message names it, and what to do to go on from the newest checkpoint that is whole.
    """
    checkpoint = Path(checkpoint)
    if not (checkpoint / LIST_FILE).is_file():
        raise TrainingCheckpointError(
            f"{checkpoint / LIST_FILE}: found no file, expected the list of the checkpoint's files, which is written "
            f"last. Older versions wrote none: if you trust that the checkpoint is whole, "
            f"`drl_tvr.training.checkpointing.write_list({str(checkpoint)!r})` accepts it; if not, move it elsewhere."
        )
    damage = find_damage(checkpoint)
    if damage is None:
        return check_foreign(checkpoint)
    others = [path for path in checkpoints_in(checkpoint.parent) if path.name != checkpoint.name]
    whole = next((path for path in others if find_damage(path) is None), None)
    newer = others[: others.index(whole)] if whole else others
    names = ", ".join(sorted(path.name for path in [checkpoint, *newer]))
    goal = f"to go on from {whole}" if whole else "to begin at the first step: no other checkpoint there is whole"
    raise TrainingCheckpointError(f"{damage} Delete {names} {goal}.")


def check_complete(checkpoint: str | os.PathLike) -> WholeCheckpoint:
    """Refuse a folder from which a run cannot go on as if it had not ended.

    Args:
        checkpoint (`str` or `os.PathLike`): The folder.

    Returns:
        `WholeCheckpoint`: Its path.

    Raises:
        `TrainingCheckpointError`: When it is not a checkpoint, when a file is missing, damaged or foreign, or when it
            was written with `save_only_model`.
    """
    if not is_checkpoint(checkpoint):
        raise TrainingCheckpointError(
            f"{checkpoint}: found no {STATE_FILE}, expected the folder of a complete checkpoint."
        )
    check_whole(checkpoint)
    if not any(LOADED.fullmatch(name) and "optim" in name for name in files_of(Path(checkpoint))):
        raise TrainingCheckpointError(
            f"{checkpoint}: found no optimizer.pt, expected the state of the optimizer. It was written with "
            "`save_only_model`, so a run cannot go on from it."
        )
    return WholeCheckpoint(checkpoint)


def check_fits(checkpoint: str | os.PathLike, model: torch.nn.Module) -> None:
    """Refuse a checkpoint of a model of another shape.

    Args:
        checkpoint (`str` or `os.PathLike`): A complete checkpoint.
        model (`torch.nn.Module`): The model to go on with.

    Raises:
        `TrainingCheckpointError`: When a weight has another shape, for example for another vocabulary.
    """
    file = Path(checkpoint) / SAFE_WEIGHTS_NAME
    if not file.is_file():
        return
    with safe_open(file, "pt") as stored:
        found = {name: list(stored.get_slice(name).get_shape()) for name in stored.keys()}
    for name, parameter in model.named_parameters():
        expected = list(parameter.shape)
        if math.prod(found.get(name, expected)) != math.prod(expected):  # FSDP makes a vector of a scalar
            raise TrainingCheckpointError(
                f"{file}: found `{name}` of shape {found[name]}, expected {expected}. It is a checkpoint of another "
                "model; other captions, for example, give another vocabulary. Choose another `output_dir`."
            )


def best_checkpoint(checkpoint: str | os.PathLike) -> str | None:
    """Find the best checkpoint that another checkpoint records, also after the output folder was moved.

    Args:
        checkpoint (`str` or `os.PathLike`): The checkpoint to resume from.

    Returns:
        `str`, *optional*: Path of the best checkpoint, or `None` when none is recorded.

    Raises:
        `TrainingCheckpointError`: When it is neither at its recorded path nor beside `checkpoint`.
    """
    recorded = TrainerState.load_from_json(os.path.join(checkpoint, STATE_FILE)).best_model_checkpoint
    if recorded is None:
        return None
    beside = Path(checkpoint).parent / Path(recorded).name
    for best in (beside, Path(recorded)):  # of a copied folder, both may exist
        if best.is_dir():
            return str(best)
    raise TrainingCheckpointError(
        f"{checkpoint}: its best checkpoint is neither at {recorded} nor at {beside}. Copy it there, or resume with "
        "`load_best_model_at_end=False`."
    )


def check_resumable(checkpoint: str | os.PathLike, model: torch.nn.Module, with_best: bool) -> None:
    """Refuse a checkpoint that is damaged or does not fit, before anything is loaded from it.

    Args:
        checkpoint (`str`, `os.PathLike` or `WholeCheckpoint`): The checkpoint to resume from. All of its files are
            read, unless that was done before.
        model (`torch.nn.Module`): The model to go on with.
        with_best (`bool`): Whether the best checkpoint that it records is needed too.

    Raises:
        `TrainingCheckpointError`: When one of the two is not as it was written, or the model has another shape.
    """
    if not isinstance(checkpoint, WholeCheckpoint):
        check_complete(checkpoint)
    check_fits(checkpoint, model)
    best = best_checkpoint(checkpoint) if with_best else None
    if best is not None and not os.path.samefile(best, checkpoint):
        check_whole(best)


def clear_incomplete(folder: str | os.PathLike) -> None:
    """Delete the files that a killed run was writing into an output folder, or deleting from it."""
    shutil.rmtree(Path(folder) / INCOMPLETE, ignore_errors=True)


def discard(checkpoint: Path) -> None:
    """Delete a checkpoint: it loses its name first and then its files."""
    waste = checkpoint.parent / INCOMPLETE / f"old-{checkpoint.name}"
    shutil.rmtree(waste, ignore_errors=True)
    waste.parent.mkdir(exist_ok=True)
    os.replace(checkpoint, waste)
    shutil.rmtree(waste)


def rotate(folder: str | os.PathLike, limit: int | None, best: str | None) -> None:
    """Delete the oldest checkpoints above a limit, but never the newest or the best.

    Args:
        folder (`str` or `os.PathLike`): The output folder.
        limit (`int`, *optional*): Number of checkpoints to keep; `None` or 0 for all.
        best (`str`, *optional*): The best checkpoint.
    """
    checkpoints = listed_checkpoints(folder)
    if limit and limit > 0 and len(checkpoints) > limit:
        kept = {checkpoints[0], *([Path(best)] if best else [])}
        excess = len(checkpoints) - max(limit, len(kept))
        for checkpoint in [path for path in reversed(checkpoints) if path not in kept][: max(0, excess)]:
            discard(checkpoint)


def put_in_place(temporary: Path, final: Path) -> None:
    """Bring a folder to the disk, and then give it its final name."""
    sync_files(temporary)
    if final.exists():
        discard(final)
    os.replace(temporary, final)
    sync(final.parent)


def put_files_in_place(temporary: Path, folder: Path) -> None:
    """Move the files of a folder into another one, each file whole and the weights last."""
    sync_files(temporary)
    files = [path for path in temporary.rglob("*") if path.is_file()]
    for file in sorted(files, key=lambda path: (path.suffix == ".safetensors", path)):
        target = folder / file.relative_to(temporary)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(file, target)
    sync(folder)


def sync_files(folder: Path) -> None:
    """Wait until all files of a folder, and their names, are on the disk."""
    for path in [*folder.rglob("*"), folder]:
        sync(path)


@contextmanager
def as_checkpoint_error(temporary: Path, final: Path) -> Iterator[None]:
    """Turn every error about a file that cannot be written into one type, and delete what was written."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, OSError) and not NOT_WRITTEN.search(str(error)):
            raise
        begun, reason = what_failed(error, temporary)
        free = free_space(temporary)
        shutil.rmtree(temporary, ignore_errors=True)
        kept = last_checkpoint(final.parent)
        raise TrainingCheckpointError(
            f"{final}: cannot write {begun} ({reason}); {free} were free there. "
            f"{f'The last complete checkpoint is {kept}' if kept else 'There is no complete checkpoint yet'}. "
            f"{'Make room' if is_full(error) else 'Remove the cause'} and run the same command again."
        ) from error


def is_full(error: Exception) -> bool:
    """Return whether the disk is full, or the error does not say why it could not write."""
    number = error.errno if isinstance(error, OSError) else None
    if number is None and (told := re.search(r"os error (\d+)", str(error))):
        number = int(told[1])
    return number in (None, errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def what_failed(error: Exception, folder: Path) -> tuple[str, str]:
    """Return the name of the file that could not be written, and the reason."""
    if isinstance(error, SafetensorError):  # safetensors deletes its unfinished file
        return "model.safetensors", str(error)
    files = sorted(folder.rglob("*"), key=lambda path: path.stat().st_mtime_ns)
    begun = files[-1].name if files else "its first file"
    if isinstance(error, OSError):
        return Path(error.filename).name if error.filename else begun, error.strerror or str(error)
    return begun, str(error).splitlines()[0]


__all__ = [
    "TrainingCheckpointError",
    "best_checkpoint",
    "check_complete",
    "check_resumable",
    "last_checkpoint",
    "write_list",
]
