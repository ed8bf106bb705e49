"""Run a training script by its command line: errors of the user are one line, and no traceback."""

import logging
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from huggingface_hub.errors import HTTPError

from ..terminal import one_line
from .arguments import DRLTrainingArguments
from .output_folder import LOCK_FILE, RunInProgressError, hold_folder
from .recipe import Recipe, RunOptions, parse_recipe
from .run import ARGUMENTS_FILE, RECIPE_FILE


logger = logging.getLogger(__name__)

# Exit codes.
FAILED, WRONG_COMMAND_LINE, INTERRUPTED = 1, 2, 130
# Names in the output folder of a run that has not begun to train.
BEFORE_TRAINING = (ARGUMENTS_FILE, RECIPE_FILE, "tokenizer")


def run_script(
    script: Callable[[Recipe, RunOptions, DRLTrainingArguments], None],
    argv: Sequence[str] | None = None,
    default: str | os.PathLike | None = None,
) -> int:
    """Read the command line, run a training script, and return its exit code.

    Args:
        script (`Callable`): Function of a recipe, the options and the arguments of a run.
        argv (`Sequence[str]`, *optional*): The command line, without the name of the program.
        default (`str` or `os.PathLike`, *optional*): See [`~training.recipe.parse_recipe`].

    Returns:
        `int`: 0; 1 for an error of the input or the machine; 2 for a wrong command line; 130 after Ctrl-C. The
        traceback of any other error is shown.
    """
    try:
        recipe, options, args = parse_recipe(sys.argv[1:] if argv is None else argv, default)
    except (ValueError, OSError, ImportError, TypeError, RecursionError) as error:
        say(f"error: {one_line(error)}")
        return WRONG_COMMAND_LINE
    folder, was_empty = Path(args.output_dir), False
    try:
        was_empty = not names_in(folder)
        script(recipe, options, args)
    except (ValueError, OSError, ImportError, HTTPError) as error:
        logger.error(f"{type(error).__name__}: {one_line(error)}")  # it may be of this process alone
        if was_empty and is_first_process():
            clear_start(folder)
        return FAILED
    except KeyboardInterrupt:
        say(f"Interrupted. The same command goes on from the last checkpoint in {args.output_dir}, if there is one.")
        return INTERRUPTED
    return 0


def say(message: str) -> None:
    """Log a message in the first process only."""
    if is_first_process():
        logger.error(message)


def is_first_process() -> bool:
    """Return whether this is the first process that the launcher started."""
    return os.environ.get("RANK", "0") == "0"


def names_in(folder: Path) -> set[str]:
    """Return the names in a folder, if there is one, but for the lock of a run."""
    return {path.name for path in folder.iterdir()} - {LOCK_FILE} if folder.is_dir() else set()


def clear_start(folder: Path) -> None:
    """Empty the folder of a run that was refused before it began to train, so that any other can begin there.

    Args:
        folder (`Path`): A folder that was empty, or not there, before the run.
    """
    if not names_in(folder) or not names_in(folder).issubset(BEFORE_TRAINING):
        return
    try:
        lock = hold_folder(folder)
    except RunInProgressError:  # another run has begun here meanwhile
        return
    shutil.rmtree(folder / "tokenizer", ignore_errors=True)
    for name in (ARGUMENTS_FILE, RECIPE_FILE):
        (folder / name).unlink(missing_ok=True)
    lock.release()


__all__ = ["run_script"]
