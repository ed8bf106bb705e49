"""Run a training script by its command line: errors of the user are one line, and no traceback."""

import logging
import os
import sys
from collections.abc import Callable, Sequence

from huggingface_hub.errors import HTTPError

from ..terminal import one_line
from .arguments import DRLTrainingArguments
from .recipe import Recipe, RunOptions, parse_recipe


logger = logging.getLogger(__name__)

# Exit codes.
FAILED, WRONG_COMMAND_LINE, INTERRUPTED = 1, 2, 130


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
    try:
        script(recipe, options, args)
    except (ValueError, OSError, ImportError, HTTPError) as error:
        logger.error(f"{type(error).__name__}: {one_line(error)}")  # it may be of this process alone
        return FAILED
    except KeyboardInterrupt:
        say(f"Interrupted. The same command goes on from the last checkpoint in {args.output_dir}, if there is one.")
        return INTERRUPTED
    return 0


def say(message: str) -> None:
    """Log a message in the first process only."""
    if os.environ.get("RANK", "0") == "0":
        logger.error(message)


__all__ = ["run_script"]
