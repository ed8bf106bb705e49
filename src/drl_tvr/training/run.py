"""Begin, resume, refuse or finish a run in its output folder."""

import json
import os
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock
from transformers.utils import logging

from ..evaluation.fingerprints import hash_weights
from ..evaluation.results import EvaluationResult
from ..files import TEMPORARY_PREFIX, free_space, write_whole
from .arguments import DRLTrainingArguments
from .checkpointing import (
    CHECKPOINT_NAME,
    INCOMPLETE,
    TrainingCheckpointError,
    check_complete,
    checkpoints_in,
    clear_incomplete,
    discard,
    is_checkpoint,
    last_checkpoint,
)
from .distributed import in_first_process
from .output_folder import LOCK_FILE, check_one_disk, hold_folder


logger = logging.get_logger(__name__)

ARGUMENTS_FILE = "training_args.json"  # marks a folder as the folder of a run
RECIPE_FILE = "recipe.json"
RESULT_FILE = "test_results.json"  # written last, so it marks a run as finished
WATCH_THREAD = "end-with-launcher"
# Compared rather than the rest ignored: a new option of transformers for logging must not refuse a run.
DECIDING_ARGUMENTS = (
    *("learning_rate", "clip_learning_rate", "logit_scale_learning_rate", "lr_scheduler_type", "lr_scheduler_kwargs"),
    *("warmup_steps", "num_train_epochs", "max_steps", "weight_decay", "max_grad_norm", "label_smoothing_factor"),
    *("official_optimizer", "optim", "optim_args", "optim_target_modules", "adam_beta1", "adam_beta2", "adam_epsilon"),
    *("per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps"),
    *("gradient_cache_chunk_size", "auto_find_batch_size", "average_tokens_across_devices", "dataloader_drop_last"),
    *("temporal_edits", "joining_words"),
    *("train_sampling_strategy", "length_column_name", "seed", "data_seed", "full_determinism", "ignore_data_skip"),
    *("bf16", "fp16", "bf16_full_eval", "fp16_full_eval", "tf32", "use_cpu", "neftune_noise_alpha"),
    *("gradient_checkpointing", "gradient_checkpointing_kwargs", "activation_checkpointing"),
    *("activation_checkpointing_kwargs", "torch_compile", "torch_compile_backend", "torch_compile_mode"),
    *("use_liger_kernel", "liger_kernel_config", "eval_strategy", "eval_steps", "eval_delay", "eval_on_start"),
    *("save_strategy", "save_steps", "load_best_model_at_end", "metric_for_best_model", "greater_is_better"),
    *("save_only_model", "restore_callback_states_from_checkpoint", "ddp_find_unused_parameters"),
    *("ddp_broadcast_buffers", "ddp_static_graph", "accelerator_config", "parallelism_config", "fsdp", "fsdp_config"),
    "deepspeed",
)


class AnotherRunError(ValueError):
    """Output folder that holds a run of another recipe; the message names the fields that differ."""


@dataclass
class Run:
    """A run in its output folder, which no other run can write into as long as this object exists.

    Args:
        folder (`Path`): The output folder.
        checkpoint (`str`, *optional*): Checkpoint to resume from; `None` to begin at the first step.
        is_finished (`bool`): Whether the folder holds the result of this run already.

    Example:

    ```python
    >>> from drl_tvr import DRLTrainingArguments
    >>> from drl_tvr.training.run import Run

    >>> args = DRLTrainingArguments("outputs/new", use_cpu=True)
    >>> run = Run.begin(args, {"benchmark": "msvd", "model": {"interaction": "wti"}})
    >>> run.checkpoint, run.is_finished
    (None, False)

    >>> Run.begin(args, {"benchmark": "msvd", "model": {"interaction": "ti"}})
    Traceback (most recent call last):
    drl_tvr.training.run.AnotherRunError: ... `model.interaction`: found 'wti', expected 'ti'. Choose another ...

    ```"""

    folder: Path
    checkpoint: str | None
    is_finished: bool
    _lock: FileLock | None = field(default=None, repr=False)  # held by the first process

    @classmethod
    def begin(cls, args: DRLTrainingArguments, recipe: dict[str, Any] | None = None, overwrite: bool = False) -> "Run":
        """Take an output folder before any work; with several processes all must call this.

        The same recipe resumes from the last complete checkpoint, however the run before ended. Another recipe is
        refused, unless `overwrite` is set: then the run starts over, and the next call with `overwrite` resumes it. A
        `resume_from_checkpoint` inside the folder (`"true"` for its last) is resumed from with any recipe, and later
        checkpoints are deleted.

        Args:
            args ([`DRLTrainingArguments`]): Arguments of the run.
            recipe (`dict[str, Any]`, *optional*): Everything else that decides the result, in plain values for a JSON
                file. Fields of a mapping in it are compared one by one.
            overwrite (`bool`, *optional*, defaults to `False`): Whether to start over in the folder of another or a
                finished run.

        Returns:
            [`~training.run.Run`]: The run.

        Raises:
            `FileExistsError`: When the folder is a file, or holds something other than a run.
            `RunInProgressError`: When another process is writing into it.
            `AnotherRunError`: When it holds another run.
            `TrainingCheckpointError`: When the checkpoint to resume from is not complete, or a file of it is missing,
                damaged or foreign.
            `OutputFolderError`: When not all processes see the folder.
            `OSError`: When it cannot be written.
        """
        end_with_launcher()
        folder, locks = Path(args.output_dir), []

        def take() -> tuple[str | None, bool]:
            claim_output_folder(folder)
            try:
                folder.mkdir(parents=True, exist_ok=True)
                locks.append(hold_folder(folder))
            except OSError as error:
                if error.errno is None:
                    raise
                message = f"`output_dir` cannot be written ({error.strerror}); choose another folder"
                raise OSError(error.errno, message, str(folder)) from error
            return resume_or_start(folder, args, recipe or {}, overwrite)

        checkpoint, is_finished = in_first_process(take)
        check_one_disk(folder)
        return cls(folder, checkpoint, is_finished, *locks)

    def finish(
        self, result: EvaluationResult, chosen_on: str | None = None, train: dict[str, Any] | None = None
    ) -> None:
        """Write the result file, after which the run is finished; with several processes all must call this.

        Args:
            result ([`~evaluation.EvaluationResult`]): The result of the model that was saved in the folder.
            chosen_on (`str`, *optional*): Split that chose the checkpoint; `None` when the last one was kept.
            train (`dict`, *optional*): `provenance` of the training split.

        Raises:
            `OSError`: When the file cannot be written.
        """

        def write():
            result.model |= {"name": self.folder.resolve().name, "sha256": hash_weights(self.folder)}
            result.model |= {"chosen_on": chosen_on, "seed": read_run(self.folder)[0]["seed"]}
            result.data["train"] = train
            result.save(self.folder / RESULT_FILE)

        in_first_process(write)
        self.is_finished = True

    @property
    def result(self) -> EvaluationResult:
        """Result of the finished run, read from its file."""
        return EvaluationResult.load(self.folder / RESULT_FILE)


def resume_or_start(
    folder: Path, args: DRLTrainingArguments, recipe: dict[str, Any], overwrite: bool
) -> tuple[str | None, bool]:
    """Compare a run with the one that a folder holds, and prepare the folder for it.

    Returns:
        `tuple[str, bool]`: The checkpoint to resume from or `None`, and whether the run is finished.

    Raises:
        `AnotherRunError`: When the folder holds another run.
        `TrainingCheckpointError`: When the checkpoint to resume from is not complete or not whole.
        `OSError`: When a file cannot be written.
    """
    arguments = json.loads(args.to_json_string())
    start = {"overwrite": overwrite, "resume_from_checkpoint": args.resume_from_checkpoint}
    record = json.loads(json.dumps({**recipe, "num_processes": args.world_size, "start": start}))
    found = read_run(folder)
    differing = differences(found, (arguments, record)) if found else []
    started_alike = bool(found) and found[1].get("start") == start
    finished = (folder / RESULT_FILE).is_file()

    resume = args.resume_from_checkpoint
    if resume in ("true", "True"):
        resume, started_alike = last_checkpoint(folder) or str(folder / "checkpoint-*"), False
    if resume is not None:
        if not is_checkpoint(resume):
            raise TrainingCheckpointError(
                f"`resume_from_checkpoint`: found {resume}, expected the folder of a complete checkpoint."
            )
        resume = check_complete(resume)
    if found is None:
        clear_run(folder)
    elif (differing or not started_alike) and (step := step_of(resume, folder)) is not None:
        clear_run(folder, beyond=step)
    elif overwrite and (differing or finished or not started_alike):
        clear_run(folder)
    elif differing or (resume is not None and not started_alike):
        differing = differing or [f"it did not start from {resume}"]
        raise AnotherRunError(
            f"{folder} holds another run: {'; '.join(differing)}. Choose another `output_dir`, or start over in this "
            "one with `overwrite_output_dir`."
        )
    elif finished:
        logger.warning(f"{folder}: this run is finished; `overwrite_output_dir` starts it over.")
        return None, True
    elif (last := last_checkpoint(folder)) is not None:
        resume = check_complete(last)

    write_json(folder / ARGUMENTS_FILE, arguments)
    write_json(folder / RECIPE_FILE, record)
    if resume is not None:
        logger.warning(f"The run resumes from {resume}.")
    return resume, False


def step_of(checkpoint: str | os.PathLike | None, folder: Path) -> int | None:
    """Return the step of a checkpoint of a folder, or `None` for a checkpoint elsewhere."""
    path = Path(checkpoint or "").resolve()
    name = CHECKPOINT_NAME.fullmatch(path.name)
    return int(name[1]) if name and path.parent == folder.resolve() else None


def claim_output_folder(folder: Path) -> None:
    """Refuse a folder that holds something other than a run.

    Raises:
        `FileExistsError`: When the folder is a file, or is not empty and lacks a file by which it is an earlier run.
    """
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"`output_dir`: found the file {folder}, expected a folder.")
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    others = [name for name in names if name not in (INCOMPLETE, LOCK_FILE) and not is_part_of_file(name)]
    # A run that was killed while it began has written its arguments alone.
    missing = [name for name in (ARGUMENTS_FILE, RECIPE_FILE) if not (folder / name).is_file()]
    if missing and others not in ([], [ARGUMENTS_FILE]):
        raise FileExistsError(
            f"`output_dir`: {folder} holds {others[0]!r} but no {missing[0]}, so it is not an earlier run. Nothing is "
            "touched; choose an empty folder."
        )


def is_part_of_file(name: str) -> bool:
    """Return whether a name is that of a file that a killed process of a run did not finish."""
    files = (ARGUMENTS_FILE, RECIPE_FILE, RESULT_FILE)
    return any(name.startswith(f"{TEMPORARY_PREFIX}{file}") for file in files)


def read_run(folder: Path) -> tuple[dict, dict] | None:
    """Read the arguments and the recipe that a run began with in a folder.

    Returns:
        `tuple[dict, dict]`, *optional*: Both, or `None` when no run got as far as to write them.

    Raises:
        `ValueError`: When a file is not a JSON mapping.
    """
    found = []
    for name in (ARGUMENTS_FILE, RECIPE_FILE):
        if not (folder / name).is_file():
            return None
        try:
            found.append(json.loads((folder / name).read_text(encoding="utf-8")))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{folder / name}: expected JSON ({error}). Choose another `output_dir`.") from error
        if not isinstance(found[-1], dict):
            kind = type(found[-1]).__name__
            raise ValueError(f"{folder / name}: found a {kind}, expected a mapping. Choose another `output_dir`.")
    return tuple(found)


def differences(found: tuple[dict, dict], wanted: tuple[dict, dict]) -> list[str]:
    """Name the fields that decide the result, that two runs both have, and that differ.

    Args:
        found, wanted (`tuple[dict, dict]`): Arguments and recipe of the run in the folder, and of this run.

    Returns:
        `list[str]`: One text per field, with both values.

    Example:

    ```python
    >>> from drl_tvr.training.run import differences

    >>> found = ({"seed": 0, "report_to": []}, {"model": {"interaction": "wti"}})
    >>> wanted = ({"seed": 1, "report_to": ["trackio"]}, {"model": {"interaction": "ti"}})
    >>> differences(found, wanted)
    ['`seed`: found 0, expected 1', "`model.interaction`: found 'wti', expected 'ti'"]

    ```"""
    found, wanted = (deciding_fields(*run) for run in (found, wanted))
    return [
        f"`{name}`: found {found[name]!r}, expected {value!r}"
        for name, value in wanted.items()
        if name in found and found[name] != value
    ]


def deciding_fields(arguments: dict, recipe: dict) -> dict[str, Any]:
    """Return what decides the result of a run; a field of a mapping of the recipe has a dotted name."""
    fields = {name: arguments[name] for name in DECIDING_ARGUMENTS if name in arguments}
    for name, value in recipe.items():
        if name != "start":
            inner = value if isinstance(value, dict) else {}
            fields |= {f"{name}.{key}": item for key, item in inner.items()} or {name: value}
    return fields


def clear_run(folder: Path, beyond: int = -1) -> None:
    """Delete what an earlier run would mix into a new one: its result, weights, and checkpoints past a step."""
    (folder / RESULT_FILE).unlink(missing_ok=True)
    for checkpoint in checkpoints_in(folder):
        if step_of(checkpoint, folder) > beyond:
            discard(checkpoint)
    for path in sorted(folder.iterdir()):
        if path.suffix == ".safetensors" or is_part_of_file(path.name):
            path.unlink()
    clear_incomplete(folder)


def write_json(file: Path, content: dict) -> None:
    """Write a JSON file that is whole or absent.

    Raises:
        `OSError`: When it cannot be written; the message names the file and the free space.
    """
    try:
        write_whole(file, json.dumps(content, indent=2, ensure_ascii=False))
    except OSError as error:
        message = f"cannot be written ({error.strerror}); {free_space(file.parent)} are free there"
        raise OSError(error.errno, message, str(file)) from error


def end_with_launcher() -> None:
    """End this process when its launcher ends, because then nothing else ends it when other processes die."""
    launched = any(name in os.environ for name in ("TORCHELASTIC_RUN_ID", "ACCELERATE_MIXED_PRECISION"))
    if not launched or any(thread.name == WATCH_THREAD for thread in threading.enumerate()):
        return
    launcher = os.getppid()

    def watch():
        while os.getppid() == launcher:
            time.sleep(1)
        logger.error(f"The launcher (process {launcher}) ended, so this process ends. Run the same command again.")
        os._exit(1)

    threading.Thread(target=watch, name=WATCH_THREAD, daemon=True).start()


__all__ = ["AnotherRunError", "Run", "end_with_launcher"]
