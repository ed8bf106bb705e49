"""The `drl-tvr` command: one function a sub-command."""

import argparse
import json
import logging
import sys
from pathlib import Path

import torch

from .conversion.checkpoint import convert_checkpoint
from .data import BenchmarkError, format_report, load_benchmark, run_doctor
from .data.benchmarks import BENCHMARKS
from .data.benchmarks.own_data import SUFFIXES, find_files, splits_of
from .evaluation import (
    EvaluationResult,
    compare_results,
    evaluate_model,
    format_comparison,
    format_result,
    plot_files,
    sample_bank,
)
from .evaluation.normalization import NORMALIZATION_NEEDS
from .explanation import explain_score, format_explanation, plot_explanation
from .explanation.plot import check_picture_path
from .hub import push_checkpoint
from .model.configuration_drl import CDCR_MODES, INTERACTIONS
from .model.modeling_drl import DRLModel
from .model.processing_drl import DRLProcessor
from .model.video_container import locate_video
from .training.checks import check_processor


SPLITS = ("train", "validation", "test")


def build_parser() -> argparse.ArgumentParser:
    """The command line, with a sub-command's function as `run`."""
    parser = argparse.ArgumentParser(prog="drl-tvr", description="Text-video retrieval with DRL.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    add_convert(commands)
    add_doctor(commands)
    add_evaluate(commands)
    add_compare(commands)
    add_plot(commands)
    add_push(commands)
    add_explain(commands)
    return parser


def add_convert(commands) -> None:
    """Options of `drl-tvr convert`."""
    convert = commands.add_parser(
        "convert",
        help="turn an original checkpoint into a folder that from_pretrained loads",
        description="Turn a checkpoint of the official DRL code, of CLIP4Clip or of OpenAI's CLIP into a folder that "
        "DRLModel.from_pretrained loads, with the original's numbers.",
    )
    convert.add_argument("checkpoint", help="pytorch_model.bin.N, best.pth, or CLIP's state dict as .pt")
    convert.add_argument("output_dir", help="a folder that doesn't exist or is empty")
    convert.add_argument("--interaction", choices=INTERACTIONS, help="needed for dp and ti, which no name tells apart")
    convert.add_argument("--tokenizer", help="a CLIP tokenizer, folder or Hub name; without it there is no processor")
    for_training = convert.add_argument_group("for further training, which no name tells")
    for_training.add_argument("--cdcr", choices=CDCR_MODES)
    for_training.add_argument("--cdcr-lambda", type=float)
    for_training.add_argument("--cdcr-alpha-diagonal", type=float)
    for_training.add_argument("--cdcr-alpha-off-diagonal", type=float)
    convert.set_defaults(run=run_convert)


def add_doctor(commands) -> None:
    """Options of `drl-tvr doctor`."""
    doctor = commands.add_parser(
        "doctor",
        help="say of every video whether it decodes, or what is wrong with it",
        description="Decode what training would decode of every video, and say of each whether that goes or what is "
        "wrong with it. Exit code 1 when anything is wrong.",
    )
    doctor.add_argument("target", metavar="DIR_OR_BENCHMARK", help="a folder, a benchmark's name, or a table's file")
    doctor.add_argument("--root", help="folder of the benchmark's annotations and videos")
    doctor.add_argument("--split", choices=SPLITS, help="of the benchmark; by default all that it has")
    doctor.add_argument("--json", type=Path, metavar="FILE", help="write the report there")
    doctor.add_argument("--num-workers", type=int, metavar="N", help="decoding processes; one a core by default")
    doctor.add_argument("--time-limit", type=float, default=300.0, metavar="S", help="seconds for a video")
    doctor.add_argument("--allow-truncated", action="store_true", help="take the readable part of a damaged video")
    doctor.add_argument("--fps", type=float, default=1.0, help="frames to sample a second")
    doctor.add_argument("--max-frames", type=int, default=12, metavar="N", help="most frames to sample of a video")
    doctor.set_defaults(run=run_doctor_command)


def add_evaluate(commands) -> None:
    """Options of `drl-tvr evaluate`."""
    evaluate = commands.add_parser(
        "evaluate",
        help="judge a model on a benchmark: metrics with intervals, and a result file",
        description="Score every caption of a split with every video of it, print the metrics with their intervals, "
        "and write a result file that `drl-tvr compare` and `drl-tvr plot` read.",
    )
    evaluate.add_argument("model", help="a folder, or a name on the Hub")
    evaluate.add_argument("--benchmark", required=True, metavar="NAME", help="a benchmark's name, or a table's file")
    evaluate.add_argument("--root", help="folder of the benchmark's annotations and videos")
    evaluate.add_argument("--split", choices=SPLITS, default="test", help="test by default")
    evaluate.add_argument("--output", type=Path, metavar="FILE", help="by default MODEL-BENCHMARK-SPLIT.json here")
    evaluate.add_argument("--batch-size", type=int, default=128, metavar="N", help="captions or videos at a time")
    evaluate.add_argument("--device", help="cuda where there is one, else cpu")
    evaluate.add_argument("--num-workers", type=int, default=0, metavar="N", help="processes that read frames")
    evaluate.add_argument("--frame-cache-dir", metavar="DIR", help="where decoded frames are kept")
    of_data = evaluate.add_argument_group("the benchmark")
    of_data.add_argument("--allow-missing", action="store_true", help="go on without the videos that are missing")
    normalization = evaluate.add_argument_group("score normalisation, beside the plain scores; see the protocol")
    normalization.add_argument(
        "--normalization", action="append", choices=tuple(NORMALIZATION_NEEDS), default=[], help="repeat it for both"
    )
    normalization.add_argument("--bank-size", type=int, default=5000, metavar="N", help="train captions of qb-norm")
    evaluate.set_defaults(run=run_evaluate)


def add_compare(commands) -> None:
    """Options of `drl-tvr compare`."""
    compare = commands.add_parser(
        "compare",
        help="the difference of two results, and whether it is beyond noise",
        description="The paired difference of two results on the same queries, with its interval.",
    )
    compare.add_argument("first", metavar="A.json", help="a result of drl-tvr evaluate")
    compare.add_argument("second", metavar="B.json", help="another, on the same split")
    compare.add_argument("--metric", help="this one alone, as t2v_R@1")
    compare.add_argument("--normalization", choices=tuple(NORMALIZATION_NEEDS), help="compare scores under it")
    compare.set_defaults(run=run_compare)


def add_plot(commands) -> None:
    """Options of `drl-tvr plot`."""
    plot = commands.add_parser(
        "plot",
        help="recall curves and rank histograms of results, curves of a run",
        description="Draw results (recall.png, ranks.png) and runs (training.png, from a trainer_state.json).",
    )
    plot.add_argument("files", nargs="+", metavar="FILE", help="results, or trainer_state.json files")
    plot.add_argument("--output", type=Path, default=Path("."), metavar="DIR", help="here by default")
    plot.set_defaults(run=run_plot)


def add_push(commands) -> None:
    """Options of `drl-tvr push`."""
    push = commands.add_parser(
        "push",
        help="publish a trained model on the Hub",
        description="Publish a folder that training, save_pretrained or convert wrote: weights, configuration, "
        "processor, tokenizer, card, results, and the code for trust_remote_code, in one commit.",
    )
    push.add_argument("folder", metavar="DIR", help="the checkpoint's folder, with a README.md")
    push.add_argument("repo_id", metavar="REPO_ID", help="user/name, made when absent")
    push.add_argument("--private", action="store_true", help="let only its owner see it")
    push.add_argument("--revision", metavar="BRANCH", help="made from main when absent; by default main")
    push.add_argument("--message", default="Upload DRL model", help="of the commit")
    push.set_defaults(run=run_push)


def add_explain(commands) -> None:
    """Options of `drl-tvr explain`."""
    explain = commands.add_parser(
        "explain",
        help="show what the words and frames of a score are, match and add",
        description="Score a text with a video and show, as a picture and as a table, the words and frames that the "
        "model saw, how much each weighs, what it matched and what it adds to the score. For models of interaction "
        "wti or ti.",
    )
    explain.add_argument("model", help="a trained model with its processor, folder or Hub name")
    explain.add_argument("--video", required=True, metavar="FILE", help="a video, local or http(s)")
    explain.add_argument("--text", required=True, help="a caption")
    explain.add_argument("--output", default="explanation.png", metavar="FILE", help="by default explanation.png")
    explain.add_argument("--start", type=float, metavar="S", help="seconds where to begin in the video")
    explain.add_argument("--end", type=float, metavar="S", help="seconds where to stop in the video")
    explain.set_defaults(run=run_explain)


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


def run_doctor_command(args: argparse.Namespace) -> int:
    """`drl-tvr doctor`."""
    if args.json is not None and (args.json.is_dir() or not args.json.parent.is_dir()):
        raise FileNotFoundError(f"--json {args.json}: that is no file in a folder that exists.")
    videos, missing = args.target, []
    if is_benchmark(args.target):
        videos, missing = benchmark_videos(args.target, args.root, args.split)
    elif args.root or args.split:
        raise ValueError(f"--root and --split are for a benchmark; {args.target} is none of {', '.join(BENCHMARKS)}.")
    report = run_doctor(
        videos,
        fps=args.fps,
        max_frames=args.max_frames,
        allow_truncated=args.allow_truncated,
        num_workers=args.num_workers,
        time_limit=args.time_limit,
        missing=missing,
    )
    print(format_report(report))
    if args.json is not None:
        args.json.write_text(json.dumps(report, indent=1), encoding="utf-8")
    return 0 if report["ok"] else 1


def run_evaluate(args: argparse.Namespace) -> int:
    """`drl-tvr evaluate`."""
    name = f"{Path(args.model).resolve().name}-{Path(args.benchmark).stem}-{args.split}.json"
    output = args.output or Path(name)
    if output.is_dir() or not output.parent.is_dir():
        raise FileNotFoundError(f"--output {output}: that is no file in a folder that exists.")
    if output.exists():
        EvaluationResult.load(output)  # what isn't a result is not replaced
    data = load_benchmark(args.benchmark, args.root, args.split, allow_missing=args.allow_missing)
    bank = []
    if "qb-norm" in args.normalization:
        train = load_benchmark(args.benchmark, args.root, "train", allow_missing=args.allow_missing)
        bank = sample_bank(train.captions["caption"][:], args.bank_size)
    device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    model = load_trained(args.model).to(device)
    processor = DRLProcessor.from_pretrained(args.model)
    check_processor(model, processor)
    result = evaluate_model(
        model,
        processor,
        data,
        args.model,
        normalizations=args.normalization,
        bank=bank,
        batch_size=args.batch_size,
        frame_cache_dir=args.frame_cache_dir,
        num_workers=args.num_workers,
    )
    result.save(output)
    print(f"{format_result(result)}\n\nThe result is in {output}.")
    return 0


def run_compare(args: argparse.Namespace) -> int:
    """`drl-tvr compare`."""
    names = (args.first, args.second)
    first, second = (EvaluationResult.load(name) for name in names)
    differences = compare_results(first, second, names, args.normalization)
    if args.metric is not None:
        if args.metric not in differences:
            raise ValueError(f"--metric {args.metric}: there is {', '.join(differences)}.")
        differences = {args.metric: differences[args.metric]}
    print(format_comparison(differences, first, second, names, args.normalization))
    return 0


def run_plot(args: argparse.Namespace) -> int:
    """`drl-tvr plot`."""
    for path in plot_files(args.files, args.output):
        print(path)


def run_push(args: argparse.Namespace) -> int:
    """`drl-tvr push`. The token is the one of HF_TOKEN or of `hf auth login`: an option would stay in the history."""
    commit = push_checkpoint(
        args.folder, args.repo_id, private=args.private, revision=args.revision, message=args.message
    )
    print(f"Published: {commit.commit_url}")
    return 0


def run_explain(args: argparse.Namespace) -> int:
    """`drl-tvr explain`."""
    check_picture_path(args.output)
    locate_video(args.video)
    processor = DRLProcessor.from_pretrained(args.model)
    processor.validate_inputs(text=[args.text])
    explanation = explain_score(
        load_trained(args.model), processor, args.video, args.text, start=args.start, end=args.end
    )
    plot_explanation(explanation, args.output)
    print(format_explanation(explanation))
    print(f"\nThe picture is in {args.output}.")
    return 0


def load_trained(name: str) -> DRLModel:
    """A model of which nothing is left at random.

    Raises:
        `OSError`: When there is no checkpoint.
        `ValueError`: When weights are missing, or of another shape than the configuration says.
    """
    model, report = DRLModel.from_pretrained(name, output_loading_info=True, ignore_mismatched_sizes=True)
    for kind, what in (
        ("missing_keys", "it lacks"),
        ("mismatched_keys", "of another shape than config.json says are"),
    ):
        if report[kind]:
            first = sorted(map(str, report[kind]))[0]
            raise ValueError(
                f"{name} is no trained DRL model: {what} {len(report[kind])} weights, {first} among them."
            )
    return model


def is_benchmark(target: str) -> bool:
    """Whether a target is a benchmark's name, a table, or a folder with tables, and no folder of videos alone."""
    if target in BENCHMARKS or target.endswith(SUFFIXES):
        return True
    try:
        return Path(target).is_dir() and bool(find_files(Path(target)))
    except BenchmarkError:
        return False


def benchmark_videos(name: str, root: str | None, split: str | None) -> tuple[list[tuple], list[str]]:
    """Path, start and end of the videos of a benchmark's splits, each once, and the ids of those without a file."""
    splits = [split] if split else SPLITS if name in BENCHMARKS else splits_of(name, root)
    hold_out = name in BENCHMARKS
    parts = [load_benchmark(name, root, part, hold_out=hold_out, allow_missing=True) for part in splits]
    rows = [zip(data.videos["path"], data.videos["start"], data.videos["end"], strict=True) for data in parts]
    return list(dict.fromkeys(row for part in rows for row in part)), [x for data in parts for x in data.missing]


def main(argv: list[str] | None = None) -> int:
    """Run a sub-command; a wrong input is one line on standard error and exit code 1."""
    args = build_parser().parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("drl_tvr").setLevel(logging.INFO)
    try:
        return args.run(args)
    except (ValueError, OSError, ImportError) as error:
        print(f"drl-tvr {args.command}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
