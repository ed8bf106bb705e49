"""Build the bundled benchmark from the command line, with its dials."""

import argparse
import sys
from pathlib import Path

from ...terminal import one_line
from .build import build_moving_shapes


def main(argv: list[str] | None = None) -> int:
    """Render all clips under a folder and return the exit code: 1 for an error, 130 for Ctrl-C."""
    parser = argparse.ArgumentParser("python -m drl_tvr.data.moving_shapes", description=__doc__)
    parser.add_argument("root", metavar="ROOT", type=Path, help="folder of the benchmark; made when absent")
    parser.add_argument(
        "--filler_words", type=float, default=0.0, help="share of each caption's words that say nothing, 0 to 0.7"
    )
    parser.add_argument(
        "--irrelevant_frames", type=float, default=0.0, help="share of each clip's time without its events, 0 to 0.7"
    )
    parser.add_argument(
        "--irrelevant_kind", metavar="{blank,object}", default="blank", help="what the clip shows in that time"
    )
    args = parser.parse_args(argv)
    try:
        build_moving_shapes(**vars(args))
    except (ValueError, OSError) as error:
        sys.stderr.write(f"moving-shapes: error: {one_line(error)}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\nmoving-shapes: interrupted. Finished clips are kept: run the same command again.\n")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
