"""A `Trainer` whose checkpoints are complete or absent: written aside, brought to the disk, then renamed."""

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError
from transformers import EarlyStoppingCallback, Trainer, TrainerState
from transformers.trainer_utils import sort_checkpoints

from ..data.loading import raise_worker_error
from .distributed import in_first_process
from .output_folder import check_one_disk, hold_folder


INCOMPLETE = "incomplete-checkpoint"  # the folder of what is being written or deleted, next to the checkpoints
STATE_FILE = "trainer_state.json"  # `Trainer` writes it last
NAME = re.compile(r"checkpoint-(\d+)")
# How the libraries below say that a file could not be written, when they raise no OSError: the Rust ones the number
# of the system's error, torch where in its own code.
NOT_WRITTEN = re.compile(r"os error \d+|PytorchStreamWriter|inline_container")


class TrainingCheckpointError(OSError):
    """A checkpoint that can't be written or resumed from; the message names the file and what to do."""


def is_complete(checkpoint: str | os.PathLike) -> bool:
    """Whether a folder is a checkpoint that was written to its end, as `Trainer` alone also leaves it."""
    return (Path(checkpoint) / STATE_FILE).is_file()


def last_checkpoint(folder: str | os.PathLike) -> str | None:
    """The complete checkpoint of the most steps.

    Args:
        folder (`str` or `os.PathLike`): The output folder of a run; it need not exist.

    Returns:
        `str`, *optional*: Its path, or `None` when there is none.
    """
    steps = {}
    for path in Path(folder).glob("checkpoint-*"):
        name = NAME.fullmatch(path.name)
        if name and is_complete(path):
            steps[int(name[1])] = str(path)
    return steps[max(steps)] if steps else None


def clear_incomplete(folder: str | os.PathLike) -> None:
    """Delete what a killed run was writing into an output folder or deleting from it."""
    shutil.rmtree(Path(folder) / INCOMPLETE, ignore_errors=True)


def discard(checkpoint: Path) -> None:
    """Delete a checkpoint, which loses its name before its files."""
    waste = checkpoint.parent / INCOMPLETE / f"old-{checkpoint.name}"
    shutil.rmtree(waste, ignore_errors=True)
    waste.parent.mkdir(exist_ok=True)
    os.replace(checkpoint, waste)
    shutil.rmtree(waste)


def rotate(folder: str | os.PathLike, limit: int | None, best: str | None) -> None:
    """Delete the oldest checkpoints beyond a limit, but never the newest or the best.

    Args:
        folder (`str` or `os.PathLike`): The output folder.
        limit (`int`, *optional*): How many to keep; `None` or 0 for all.
        best (`str`, *optional*): The best one.
    """
    checkpoints = [Path(path) for path in sort_checkpoints(str(folder))]  # by their steps
    if limit and limit > 0 and len(checkpoints) > limit:
        kept = {checkpoints[-1], *([Path(best)] if best else [])}
        excess = len(checkpoints) - max(limit, len(kept))
        for checkpoint in [path for path in checkpoints if path not in kept][: max(0, excess)]:
            discard(checkpoint)


def publish(temporary: Path, final: Path) -> None:
    """Give a folder that is on disk its name."""
    sync_files(temporary)
    if final.exists():
        discard(final)
    os.replace(temporary, final)
    sync(final.parent)


def publish_files(temporary: Path, folder: Path) -> None:
    """Move the files of a folder into another, each whole, and the weights after what describes them."""
    sync_files(temporary)
    files = [path for path in temporary.rglob("*") if path.is_file()]
    for file in sorted(files, key=lambda path: (path.suffix == ".safetensors", path)):
        target = folder / file.relative_to(temporary)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(file, target)
    sync(folder)


def sync_files(folder: Path) -> None:
    """Bring all files of a folder, and their names, to the disk."""
    for path in [*folder.rglob("*"), folder]:
        sync(path)


def sync(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def explained(temporary: Path, final: Path) -> Iterator[None]:
    """Turn the many ways to say that a file of a checkpoint can't be written into one, which leaves no part of it."""
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
            f"{final}: can't write {begun} ({reason}); {free} were free there. "
            f"{f'The last complete checkpoint is {kept}' if kept else 'There is no complete checkpoint yet'}. "
            f"{'Make room' if is_full(error) else 'Mend that'} and run the same command again."
        ) from error


def is_full(error: Exception) -> bool:
    """Whether it is room that was missing, as far as an error says why it could not write."""
    number = error.errno if isinstance(error, OSError) else None
    if number is None and (told := re.search(r"os error (\d+)", str(error))):
        number = int(told[1])
    return number in (None, errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def what_failed(error: Exception, folder: Path) -> tuple[str, str]:
    """The file that could not be written, and why."""
    if isinstance(error, SafetensorError):  # which leaves no part of its file
        return "model.safetensors", str(error)
    files = sorted(folder.rglob("*"), key=lambda path: path.stat().st_mtime_ns)
    begun = files[-1].name if files else "its first file"
    if isinstance(error, OSError):
        return Path(error.filename).name if error.filename else begun, error.strerror or str(error)
    return begun, str(error).splitlines()[0]


def free_space(folder: Path) -> str:
    """How much may still be written to the disk of a folder, or of the nearest one above it that is there."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return f"{shutil.disk_usage(folder).free / 1e6:,.1f} MB"


class CheckpointingTrainer(Trainer):
    """transformers' `Trainer`, which survives being killed at any moment.

    - A checkpoint, and the model in the output folder, are written to a folder aside and get their name when all
      processes have written their part and it is on disk. A checkpoint that is deleted loses its name first.
    - `train(resume_from_checkpoint=True)` takes the last complete checkpoint.
    - A run that is resumed from its last step makes no step more, one that `EarlyStoppingCallback` had stopped
      neither, and the best checkpoint is found after the output folder was moved.
    - A checkpoint that can't be written (a full disk, say) is one typed error, and leaves no part.
    """

    _writes_aside = False

    @raise_worker_error
    def train(self, resume_from_checkpoint=None, trial=None, ignore_keys_for_eval=None):
        """`Trainer.train`, after clearing what a killed run left; the output folder is this run's alone meanwhile.

        Raises:
            `RunInProgressError`: When another run is writing into the output folder.
            `OutputFolderError`: When not all processes see the output folder.
            `TrainingCheckpointError`: When there is no complete checkpoint to resume from, or one can't be written.
            `DataLoaderWorkerError`: When a worker of a `DataLoader` dies.
        """
        from .run import end_with_launcher

        end_with_launcher()
        folder = Path(self.args.output_dir)
        check_one_disk(folder)
        locks = []
        in_first_process(lambda: locks.append(hold_folder(folder)))
        try:
            return self._train_alone(resume_from_checkpoint, trial, ignore_keys_for_eval)
        finally:
            for lock in locks:
                lock.release()

    def _train_alone(self, resume_from_checkpoint, trial, ignore_keys_for_eval):
        """`train`, in a folder that no other run writes into."""
        if resume_from_checkpoint is True:
            resume_from_checkpoint = last_checkpoint(self.args.output_dir)
            if resume_from_checkpoint is None:
                raise TrainingCheckpointError(f"{self.args.output_dir}: found no complete checkpoint to resume from.")
        if resume_from_checkpoint and not is_complete(resume_from_checkpoint):
            raise TrainingCheckpointError(
                f"{resume_from_checkpoint}: found no {STATE_FILE}, expected the folder of a complete checkpoint."
            )
        if self.args.should_save:
            clear_incomplete(self.args.output_dir)
        return super().train(resume_from_checkpoint or None, trial, ignore_keys_for_eval)

    def _init_training_state(self, max_steps, num_update_steps_per_epoch, num_train_epochs, resume, trial):
        """Also find the best checkpoint again, where it was when this one was written or beside it."""
        done = super()._init_training_state(max_steps, num_update_steps_per_epoch, num_train_epochs, resume, trial)
        if resume is not None and self.args.load_best_model_at_end and self.state.best_model_checkpoint is None:
            recorded = TrainerState.load_from_json(os.path.join(resume, STATE_FILE)).best_model_checkpoint
            if recorded is not None:
                best = Path(resume).parent / Path(recorded).name
                if not best.is_dir():
                    raise TrainingCheckpointError(
                        f"{resume}: its best checkpoint is neither at {recorded} nor at {best}. Copy it there, or "
                        "resume with `load_best_model_at_end=False`."
                    )
                self.state.best_model_checkpoint = str(best)
        return done

    def _run_epoch(self, *args, **kwargs):
        """`Trainer` asks only after a step whether it was the last."""
        stopped = kwargs["resume_from_checkpoint"] is not None and any(
            isinstance(callback, EarlyStoppingCallback)
            and callback.early_stopping_patience_counter >= callback.early_stopping_patience
            for callback in self.callback_handler.callbacks
        )
        if stopped or self.state.global_step >= self.state.max_steps:
            self.control.should_training_stop = True
        else:
            super()._run_epoch(*args, **kwargs)

    def _get_output_dir(self, trial):
        folder = super()._get_output_dir(trial)
        return os.path.join(folder, INCOMPLETE) if self._writes_aside else folder

    def _save_checkpoint(self, model, trial):
        """`Trainer`'s own, in a folder aside; it rotates and pushes nothing there."""
        folder = Path(self._get_output_dir(trial))
        final = folder / f"checkpoint-{self.state.global_step}"
        temporary = folder / INCOMPLETE / final.name
        if self.args.should_save:
            clear_incomplete(folder)
        self.accelerator.wait_for_everyone()
        with explained(temporary, final):
            self._writes_aside = True
            try:
                super()._save_checkpoint(model, trial)
            finally:
                self._writes_aside = False
            best = folder / f"checkpoint-{self.state.best_global_step}"
            if self.state.best_global_step and (best == final or best.is_dir()):
                self.state.best_model_checkpoint = str(best)
            if self.args.should_save:
                self.state.save_to_json(str(temporary / STATE_FILE))
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                publish(temporary, final)
        if self.args.should_save:
            rotate(folder, self.args.save_total_limit, self.state.best_model_checkpoint)
            clear_incomplete(folder)
        self.accelerator.wait_for_everyone()
        if self.args.push_to_hub:
            self._push_from_checkpoint(str(final))

    def _push_from_checkpoint(self, checkpoint_folder):
        if not self._writes_aside:
            super()._push_from_checkpoint(checkpoint_folder)

    def _finalize_training(self, trial, num_train_samples, start_time):
        """Delete here what a killed run had no time to, and what `Trainer` would delete file by file."""
        folder, best = self._get_output_dir(trial), self.state.best_model_checkpoint
        if self.args.should_save:
            rotate(folder, self.args.save_total_limit, best)
            if best is not None and self.args.save_total_limit == 1:
                for checkpoint in sort_checkpoints(folder):
                    if not os.path.samefile(checkpoint, best):
                        discard(Path(checkpoint))
            clear_incomplete(folder)
        return super()._finalize_training(trial, num_train_samples, start_time)

    def save_model(self, output_dir=None, _internal_call=False):
        """`Trainer`'s own; no file in `output_dir` is ever seen in part. An internal call does not push."""
        if self._writes_aside:
            return super().save_model(output_dir, _internal_call)
        folder = Path(output_dir or self.args.output_dir)
        temporary = folder / INCOMPLETE / "model"
        if self.args.should_save:
            clear_incomplete(folder)
        self.accelerator.wait_for_everyone()
        with explained(temporary, folder / "model"):
            super().save_model(str(temporary), _internal_call=True)
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                publish_files(temporary, folder)
                clear_incomplete(folder)
        if self.args.push_to_hub and not _internal_call:
            self.push_to_hub(commit_message="Model save", revision=self.args.hub_revision)


__all__ = ["CheckpointingTrainer", "TrainingCheckpointError", "last_checkpoint"]
