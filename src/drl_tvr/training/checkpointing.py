"""Write checkpoints that are complete or absent: written aside, brought to the disk, then renamed."""

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError
from transformers import TrainerState
from transformers.trainer_utils import sort_checkpoints

from ..files import free_space, sync


INCOMPLETE = "incomplete-checkpoint"  # folder of files that are being written or deleted, beside the checkpoints
STATE_FILE = "trainer_state.json"  # `Trainer` writes it last
CHECKPOINT_NAME = re.compile(r"checkpoint-(\d+)")
# Error texts about a file that could not be written: of safetensors and tokenizers ("os error N"), and of torch's zip
# writer. The other libraries raise an OSError.
NOT_WRITTEN = re.compile(r"os error \d+|PytorchStreamWriter|inline_container")


class TrainingCheckpointError(OSError):
    """Error about a checkpoint that cannot be written or resumed from; the message names the file and what to do."""


def is_complete(checkpoint: str | os.PathLike) -> bool:
    """Return whether a folder holds a checkpoint that was written to its end, by this trainer or by `Trainer`."""
    return (Path(checkpoint) / STATE_FILE).is_file()


def last_checkpoint(folder: str | os.PathLike) -> str | None:
    """Find the complete checkpoint with the most steps.

    Args:
        folder (`str` or `os.PathLike`): The output folder of a run; it need not exist.

    Returns:
        `str`, *optional*: Its path, or `None` when there is none.
    """
    steps = {}
    for path in Path(folder).glob("checkpoint-*"):
        name = CHECKPOINT_NAME.fullmatch(path.name)
        if name and is_complete(path):
            steps[int(name[1])] = str(path)
    return steps[max(steps)] if steps else None


def check_complete(checkpoint: str | os.PathLike) -> None:
    """Refuse a folder that is not a complete checkpoint.

    Raises:
        `TrainingCheckpointError`: When it is not one.
    """
    if not is_complete(checkpoint):
        raise TrainingCheckpointError(
            f"{checkpoint}: found no {STATE_FILE}, expected the folder of a complete checkpoint."
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
    best = Path(checkpoint).parent / Path(recorded).name
    if not best.is_dir():
        raise TrainingCheckpointError(
            f"{checkpoint}: its best checkpoint is neither at {recorded} nor at {best}. Copy it there, or resume with "
            "`load_best_model_at_end=False`."
        )
    return str(best)


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
    checkpoints = [Path(path) for path in sort_checkpoints(str(folder))]
    if limit and limit > 0 and len(checkpoints) > limit:
        kept = {checkpoints[-1], *([Path(best)] if best else [])}
        excess = len(checkpoints) - max(limit, len(kept))
        for checkpoint in [path for path in checkpoints if path not in kept][: max(0, excess)]:
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


__all__ = ["TrainingCheckpointError", "best_checkpoint", "check_complete", "last_checkpoint"]
