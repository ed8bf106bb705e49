"""The `drl-tvr` command: one function a sub-command."""

import argparse
import logging
import sys

from .configuration_drl import CDCR_MODES, INTERACTIONS
from .conversion import convert_checkpoint


def build_parser() -> argparse.ArgumentParser:
    """The command line, with a sub-command's function as `run`."""
    parser = argparse.ArgumentParser(prog="drl-tvr", description="Text-video retrieval with DRL.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    convert = commands.add_parser(
        "convert",
        help="turn an original checkpoint into a folder that from_pretrained loads",
        description="Turn a checkpoint of the official DRL code, of CLIP4Clip or of OpenAI's CLIP into a folder that "
        "DRLModel.from_pretrained loads, with the original's numbers.",
    )
    convert.add_argument("checkpoint", help="pytorch_model.bin.N, best.pth, or CLIP's state dict as .pt")
    convert.add_argument("output_dir", help="a folder that doesn't exist or is empty")
    convert.add_argument("--interaction", choices=INTERACTIONS, help="needed for dp and ti, which no name tells apart")
    convert.add_argument(
        "--tokenizer", help="a CLIP tokenizer, folder or Hub name; without it no processor is written"
    )
    for_training = convert.add_argument_group("for further training; which no name tells")
    for_training.add_argument("--cdcr", choices=CDCR_MODES)
    for_training.add_argument("--cdcr-lambda", type=float)
    for_training.add_argument("--cdcr-alpha-diagonal", type=float)
    for_training.add_argument("--cdcr-alpha-off-diagonal", type=float)
    convert.set_defaults(run=run_convert)
    return parser


def run_convert(args: argparse.Namespace) -> int:
    """`drl-tvr convert`."""
    folder = convert_checkpoint(
        args.checkpoint,
        args.output_dir,
        interaction=args.interaction,
        tokenizer=args.tokenizer,
        cdcr=args.cdcr,
        cdcr_lambda=args.cdcr_lambda,
        cdcr_alpha_diagonal=args.cdcr_alpha_diagonal,
        cdcr_alpha_off_diagonal=args.cdcr_alpha_off_diagonal,
    )
    print(f"The model is in {folder}.")
    return 0


def main(argv: list[str] | None = None) -> int:
    """Run a sub-command; a wrong input is one line on standard error and exit code 1."""
    args = build_parser().parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("drl_tvr").setLevel(logging.INFO)
    try:
        return args.run(args)
    except (ValueError, OSError) as error:
        print(f"drl-tvr {args.command}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
