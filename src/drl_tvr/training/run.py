"""What a script does with an output folder that is there: go on with the same run, refuse another, or start over."""

import json
import os
import shutil
from pathlib import Path

from filelock import FileLock
from transformers.utils import logging

from .arguments import DRLTrainingArguments
from .checkpointing import (
    INCOMPLETE,
    NAME,
    TrainingCheckpointError,
    clear_incomplete,
    discard,
    free_space,
    is_complete,
    last_checkpoint,
    sync,
)
from .output_folder import LOCK_FILE, hold_folder


logger = logging.get_logger(__name__)
held: list[FileLock] = []  # of output folders, until this process ends

ARGUMENTS_FILE = "training_args.json"  # by which a folder is known as that of a run
RECIPE_FILE = "recipe.json"
RESULTS_FILE = "test_results.json"  # written last: a folder that holds it is of a run that is finished
BEGINNINGS = ("overwrite_output_dir", "resume_from_checkpoint")  # how a run begins, not what it is
# Fields that change no weight and no result: who is told of what, where things lie, how batches are fetched.
FREE_FIELDS = {
    "training": {
        *("output_dir", "overwrite_output_dir", "resume_from_checkpoint", "frame_cache_dir", "save_total_limit"),
        *("disable_tqdm", "log_level", "log_level_replica", "log_on_each_node", "logging_first_step"),
        *("logging_steps", "logging_strategy", "logging_nan_inf_filter", "report_to", "run_name", "project"),
        *("trackio_space_id", "trackio_bucket_id", "trackio_static_space_id", "local_rank", "ddp_timeout"),
        *("push_to_hub", "hub_token", "hub_private_repo", "hub_model_id", "hub_strategy", "hub_always_push"),
        *("hub_revision", "dataloader_num_workers", "dataloader_pin_memory", "dataloader_persistent_workers"),
        *("dataloader_prefetch_factor", "dataloader_multiprocessing_context", "skip_memory_metrics"),
        *("do_train", "do_eval", "do_predict", "include_num_input_tokens_seen", "enable_jit_checkpoint"),
    },
    "data": {"search", "num_threads"},
}


class AnotherRunError(ValueError):
    """An output folder that holds a run of another recipe; the message names the fields that differ."""


def begin_run(args: DRLTrainingArguments, recipe: dict[str, dict]) -> tuple[str | None, bool]:
    """Take an output folder for a run, until this process ends; to be called by one process, before any work.

    The same command goes on from the last complete checkpoint, whatever ended it. Another recipe is refused, unless
    `overwrite_output_dir` is set: then it starts over, and the same command goes on with that. A
    `resume_from_checkpoint` of the folder itself (`"true"` for its last) is gone on from whatever the recipe; later
    ones, which would be mixed with the new ones, are deleted.

    Args:
        args ([`DRLTrainingArguments`]): Of the run.
        recipe (`dict[str, dict]`): Everything else that decides the result; plain values in groups, for a JSON file.

    Returns:
        `tuple[str, bool]`: The checkpoint to resume from or `None`, and whether the run is finished already.

    Raises:
        `FileExistsError`: When the folder is a file, or holds something else than a run.
        `RunInProgressError`: When another process is writing into it.
        `AnotherRunError`: When it holds another run.
        `TrainingCheckpointError`: When there is no complete checkpoint where there should be one.
        `OSError`: When it can't be written.
    """
    folder = Path(args.output_dir)
    claim_output_folder(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held.append(hold_folder(folder))
    except OSError as error:
        if error.errno is None:
            raise
        message = f"--output_dir can't be written ({error.strerror}); choose another"
        raise OSError(error.errno, message, str(folder)) from error
    arguments = json.loads(args.to_json_string())
    wanted = json.loads(json.dumps({"training": arguments, **recipe}))
    found = read_run(folder)
    differing = differences(found, wanted) if found else []
    begun_so = bool(found) and all(found["training"].get(name) == arguments[name] for name in BEGINNINGS)
    finished = (folder / RESULTS_FILE).is_file()

    resume = args.resume_from_checkpoint
    if resume in ("true", "True"):
        resume, begun_so = last_checkpoint(folder) or str(folder / "checkpoint-*"), False
    if resume is not None and not is_complete(resume):
        raise TrainingCheckpointError(f"--resume_from_checkpoint: {resume} is not a complete checkpoint.")
    if found is None:
        clear_run(folder)
    elif (differing or not begun_so) and (step := step_of(resume, folder)) is not None:
        clear_run(folder, beyond=step)
    elif args.overwrite_output_dir and (differing or finished or not begun_so):
        clear_run(folder)
    elif differing or (resume is not None and not begun_so):
        differing = differing or [f"it did not begin from {resume}"]
        raise AnotherRunError(
            f"{folder} holds another run: {'; '.join(differing)}. Choose another --output_dir, or start over in this "
            "one with --overwrite_output_dir."
        )
    elif finished:
        return None, True
    else:
        resume = last_checkpoint(folder) or resume

    write_json(folder / ARGUMENTS_FILE, arguments)
    write_json(folder / RECIPE_FILE, recipe)
    if resume is not None:
        logger.warning(f"The run goes on from {resume}.")
    return resume, False


def step_of(checkpoint: str | None, folder: Path) -> int | None:
    """The step of a checkpoint, if it is one of a folder's own."""
    path = Path(checkpoint or "").resolve()
    name = NAME.fullmatch(path.name)
    return int(name[1]) if name and path.parent == folder.resolve() else None


def claim_output_folder(folder: Path) -> None:
    """Refuse a folder that holds something else.

    Raises:
        `FileExistsError`: When the folder is a file, or isn't empty and holds no earlier run.
    """
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"--output_dir {folder} is a file.")
    ours = (INCOMPLETE, LOCK_FILE)  # of a run that was killed as it began
    others = sorted(path.name for path in folder.iterdir() if path.name not in ours) if folder.is_dir() else []
    if others and ARGUMENTS_FILE not in others:
        raise FileExistsError(
            f"--output_dir {folder} holds {others[0]!r} but no {ARGUMENTS_FILE}: it is not an earlier run. "
            "Choose an empty folder."
        )


def read_run(folder: Path) -> dict[str, dict] | None:
    """The recipe that a folder was begun with, or `None` when no run got as far as to write it.

    Raises:
        `ValueError`: When a file of it is not JSON.
    """
    found = {}
    for name in (ARGUMENTS_FILE, RECIPE_FILE):
        if not (folder / name).is_file():
            return None
        try:
            content = json.loads((folder / name).read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{folder / name} is not JSON ({error}); choose another --output_dir.") from error
        found |= {"training": content} if name == ARGUMENTS_FILE else content
    return found


def differences(found: dict[str, dict], wanted: dict[str, dict]) -> list[str]:
    """Fields of two recipes that both have and that are not the same, but for those that change nothing.

    Example:

    ```python
    >>> differences({"training": {"seed": 0, "report_to": []}}, {"training": {"seed": 1, "report_to": ["trackio"]}})
    ['seed is 0 there, 1 here']

    ```
    """
    return [
        f"{name} is {found[group][name]!r} there, {value!r} here"
        for group, values in wanted.items()
        for name, value in values.items()
        if name in found.get(group, {}) and found[group][name] != value and name not in FREE_FIELDS.get(group, ())
    ]


def clear_run(folder: Path, beyond: int = -1) -> None:
    """Delete what an earlier run would mix into a new one: its results, weights, and checkpoints past a step."""
    (folder / RESULTS_FILE).unlink(missing_ok=True)
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        name = NAME.fullmatch(path.name)
        if name and path.is_dir() and int(name[1]) > beyond:
            discard(path)
        elif path.suffix == ".safetensors":
            path.unlink()
    clear_incomplete(folder)


def write_json(file: Path, content: dict) -> None:
    """Write a file that is whole or absent.

    Raises:
        `OSError`: Names the file and the free space, when it can't be written; the file is then as it was.
    """
    temporary = file.parent / INCOMPLETE / file.name
    try:
        temporary.parent.mkdir(exist_ok=True)
        temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False), encoding="utf-8")
        sync(temporary)
        os.replace(temporary, file)
        sync(file.parent)
    except OSError as error:
        shutil.rmtree(temporary.parent, ignore_errors=True)
        message = f"can't be written ({error.strerror}); {free_space(file.parent)} are free there"
        raise OSError(error.errno, message, str(file)) from error
    shutil.rmtree(temporary.parent, ignore_errors=True)


__all__ = ["AnotherRunError", "begin_run"]
