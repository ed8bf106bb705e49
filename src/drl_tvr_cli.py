"""The `drl-tvr` command: one function per sub-command, and no logic of its own.

It lies beside the package `drl_tvr`, whose import brings torch, and imports it inside the functions: help and a wrong
argument are answered at once.
"""

import json
import logging
import os
import shutil
import sys
from enum import StrEnum
from importlib import metadata
from pathlib import Path
from typing import Annotated, Literal

import typer
from typer import Argument, Option


# The values of the library, which cannot be imported here; a test compares them.
Interaction = Literal["wti", "ti", "dp", "mlp", "xti"]
CDCRMode = Literal["weighted", "argmax", "random", "none"]
Split = Literal["train", "validation", "test"]


class Normalization(StrEnum):  # typer takes a list of an enum, but not of a literal
    DSL = "dsl"
    QB_NORM = "qb-norm"


INTERRUPTED = 130  # exit code after Ctrl-C

Root = Annotated[Path | None, Option(help="Folder of the benchmark's annotations and videos.")]

# rich's own help cuts option names in a narrow terminal.
app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False)


def show_version(is_wanted: bool) -> None:
    """Print the version and end."""
    if is_wanted:
        print(f"drl-tvr {metadata.version('drl-tvr')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, Option("--version", callback=show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Find the video that a sentence describes, and the sentence that describes a video."""


@app.command()
def convert(
    original_checkpoint: Annotated[
        str, Argument(metavar="ORIGINAL_CHECKPOINT", help="pytorch_model.bin.N, best.pth, or CLIP's weights as .pt.")
    ],
    output_dir: Annotated[str, Argument(metavar="OUTPUT_DIR", help="A folder that is new or empty.")],
    interaction: Annotated[Interaction | None, Option(help="Needed for dp and ti, which look alike.")] = None,
    tokenizer: Annotated[str | None, Option(help="A CLIP tokenizer, to write a processor too.")] = None,
    cdcr: Annotated[CDCRMode | None, Option(help="For further training, as are the next three.")] = None,
    cdcr_lambda: Annotated[float | None, Option(help="The weight of the decorrelation loss.")] = None,
    cdcr_alpha_diagonal: Annotated[float | None, Option(help="The weight of its diagonal.")] = None,
    cdcr_alpha_off_diagonal: Annotated[float | None, Option(help="The weight of the rest.")] = None,
) -> None:
    """Convert an original checkpoint to a folder for from_pretrained.

    The checkpoint is one of the official DRL code, of CLIP4Clip or of OpenAI's CLIP. The model has the same scores.
    """
    from drl_tvr.conversion import convert_checkpoint

    folder = convert_checkpoint(
        original_checkpoint,
        output_dir,
        interaction=interaction,
        tokenizer=tokenizer,
        cdcr=cdcr,
        cdcr_lambda=cdcr_lambda,
        cdcr_alpha_diagonal=cdcr_alpha_diagonal,
        cdcr_alpha_off_diagonal=cdcr_alpha_off_diagonal,
    )
    print(f"The model is in {folder}.")


@app.command()
def doctor(
    target: Annotated[str, Argument(metavar="DIR_OR_BENCHMARK", help="A folder, a video, a benchmark or a table.")],
    root: Root = None,
    split: Annotated[Split | None, Option(help="A split of the benchmark; by default all.")] = None,
    report_file: Annotated[Path | None, Option("--json", metavar="FILE", help="Write the report there.")] = None,
    num_workers: Annotated[int | None, Option(help="Decoding processes; by default one per core.")] = None,
    time_limit: Annotated[float, Option(help="Seconds per video.")] = 300.0,
    allow_truncated: Annotated[bool, Option("--allow-truncated", help="Accept damaged videos in part.")] = False,
    strict: Annotated[bool, Option("--strict", help="Count suspicious videos as problems.")] = False,
    fps: Annotated[float, Option(help="Frames to sample per second.")] = 1.0,
    max_frames: Annotated[int, Option(help="The most frames to sample per video.")] = 12,
) -> None:
    """Check which videos decode, and what is wrong with the others.

    Decodes what training would decode of every video. The exit code is 1 if anything is wrong.
    """
    from drl_tvr.data import format_report, run_doctor
    from drl_tvr.files import check_output_file

    if report_file is not None:
        check_output_file(report_file)
    report = run_doctor(
        target,
        root=root,
        split=split,
        fps=fps,
        max_frames=max_frames,
        allow_truncated=allow_truncated,
        num_workers=num_workers,
        time_limit=time_limit,
        strict=strict,
    )
    print(format_report(report, terminal_width()))
    if report_file is not None:
        report_file.write_text(json.dumps(report, indent=1), encoding="utf-8")
    if not report["ok"]:
        raise typer.Exit(1)


@app.command()
def evaluate(
    model: Annotated[str, Argument(metavar="MODEL", help="A folder, or a name on the Hub.")],
    benchmark: Annotated[str, Option(metavar="NAME", help="A benchmark, or a table of your own data.")],
    root: Root = None,
    split: Annotated[Split, Option(help="The split.")] = "test",
    output: Annotated[Path | None, Option(metavar="FILE", help="By default MODEL-BENCHMARK-SPLIT.json here.")] = None,
    batch_size: Annotated[int, Option(min=1, help="Captions or videos per batch.")] = 128,
    device: Annotated[str | None, Option(help="By default cuda if there is one, else cpu.")] = None,
    num_workers: Annotated[int, Option(min=0, help="Processes that read frames.")] = 0,
    frame_cache_dir: Annotated[Path | None, Option(help="Folder that keeps decoded frames.")] = None,
    allow_missing: Annotated[bool, Option("--allow-missing", help="Leave missing videos out.")] = False,
    normalization: Annotated[list[Normalization] | None, Option(help="Also normalised scores; repeatable.")] = None,
    bank_size: Annotated[int, Option(min=1, help="Training captions for qb-norm.")] = 5000,
) -> None:
    """Evaluate a model: metrics with intervals, and a result file.

    Scores every caption of a split with every video of it. The result file is for `drl-tvr compare` and `plot`.
    """
    import torch

    from drl_tvr import DRLProcessor, load_benchmark
    from drl_tvr.evaluation import (
        EvaluationResult,
        check_processor,
        evaluate_model,
        format_result,
        load_trained,
        sample_bank,
    )
    from drl_tvr.files import check_output_file

    normalizations = normalization or []
    output = output or Path(f"{Path(model).resolve().name}-{Path(benchmark).stem}-{split}.json")
    check_output_file(output)
    if output.exists():
        EvaluationResult.load(output)  # another kind of file is not replaced
    loaded = load_trained(model, device or ("cuda" if torch.cuda.is_available() else "cpu"))
    processor = DRLProcessor.from_pretrained(model)
    check_processor(loaded, processor)
    data = load_benchmark(benchmark, root, split, allow_missing=allow_missing)
    bank = []
    if Normalization.QB_NORM in normalizations:
        train = load_benchmark(benchmark, root, "train", allow_missing=allow_missing)
        bank = sample_bank(train.captions["caption"][:], bank_size)
    result = evaluate_model(
        loaded,
        processor,
        data,
        model,
        normalizations=normalizations,
        bank=bank,
        batch_size=batch_size,
        frame_cache_dir=frame_cache_dir,
        num_workers=num_workers,
    )
    result.save(output)
    print(f"{format_result(result, terminal_width())}\n\nThe result is in {output}.")


@app.command()
def compare(
    files: Annotated[
        list[str], Argument(metavar="FILE...", help="Results on one split: A.json B.json, or A*.json vs B*.json.")
    ],
    metric: Annotated[str | None, Option(help="Only this metric, e.g. t2v_R@1.")] = None,
    normalization: Annotated[Normalization | None, Option(help="Compare scores under it, not plain ones.")] = None,
) -> None:
    """Compare two results, or two methods over several seeds: is the difference beyond noise?

    The differences of two results are paired, query by query, and each has an interval. For two methods, give the
    results of several seeds of each, with the word vs between them; the interval then covers other seeds too.
    """
    from drl_tvr.evaluation import (
        EvaluationResult,
        compare_results,
        compare_seeds,
        format_comparison,
        format_seed_comparison,
    )

    names = split_sides(files)
    sides = [[EvaluationResult.load(name) for name in of_side] for of_side in names]
    compare_sides, format_sides = compare_seeds, format_seed_comparison
    if len(names[0]) == len(names[1]) == 1:
        compare_sides, format_sides = compare_results, format_comparison
        sides, names = [results[0] for results in sides], tuple(of_side[0] for of_side in names)
    differences = compare_sides(*sides, names, normalization)
    if metric is not None:
        if metric not in differences:
            raise ValueError(f"--metric: found {metric!r}, expected one of {', '.join(differences)}.")
        differences = {metric: differences[metric]}
    print(format_sides(differences, *sides, names, normalization, terminal_width()))


@app.command()
def plot(
    files: Annotated[list[Path], Argument(metavar="FILE...", help="Results, or trainer_state.json files.")],
    output: Annotated[Path, Option(metavar="DIR", help="The folder of the pictures.")] = Path("."),
) -> None:
    """Draw recall curves and ranks of results, and curves of runs.

    Results give recall.png and ranks.png, trainer_state.json files give training.png.
    """
    from drl_tvr.evaluation import plot_files

    for path in plot_files(files, output):
        print(path)


@app.command()
def push(
    folder: Annotated[str, Argument(metavar="DIR", help="The checkpoint's folder, with a README.md.")],
    repo_id: Annotated[str, Argument(metavar="REPO_ID", help="user/name, created if absent.")],
    private: Annotated[bool, Option("--private", help="Let only its owner see it.")] = False,
    revision: Annotated[str | None, Option(metavar="BRANCH", help="By default main; created if absent.")] = None,
    message: Annotated[str, Option(help="The commit message.")] = "Upload DRL model",
) -> None:
    """Publish a trained model on the Hub.

    Publishes a folder that training, save_pretrained or convert wrote: weights, configuration, processor, tokenizer,
    card, results, and the code for trust_remote_code, in one commit. The token is that of HF_TOKEN or `hf auth login`.
    """
    from drl_tvr.hub import push_checkpoint

    commit = push_checkpoint(folder, repo_id, private=private, revision=revision, message=message)
    print(f"Published: {commit.commit_url}")


@app.command()
def explain(
    model: Annotated[str, Argument(metavar="MODEL", help="A folder, or a name on the Hub.")],
    video: Annotated[str, Option(metavar="FILE", help="A video, local or http(s).")],
    text: Annotated[str, Option(help="A caption.")],
    output: Annotated[Path, Option(metavar="FILE", help="The picture.")] = Path("explanation.png"),
    start: Annotated[float | None, Option(help="Where to begin in the video, in seconds.")] = None,
    end: Annotated[float | None, Option(help="Where to stop in the video, in seconds.")] = None,
) -> None:
    """Explain a score: what each word and frame matches and adds.

    Scores a text with a video, and shows the parts of the score as a picture and as tables. For interaction wti or ti.
    """
    from drl_tvr import DRLProcessor
    from drl_tvr.evaluation import load_trained
    from drl_tvr.explanation import check_picture_path, explain_score, format_explanation, plot_explanation
    from drl_tvr.model.video_container import locate_video

    check_picture_path(output)
    locate_video(video)
    loaded = load_trained(model)
    processor = DRLProcessor.from_pretrained(model)
    processor.validate_inputs(text=[text])
    explanation = explain_score(loaded, processor, video, text, start=start, end=end)
    plot_explanation(explanation, output)
    print(f"{format_explanation(explanation, terminal_width())}\n\nThe picture is in {output}.")


def split_sides(files: list[str]) -> tuple[list[str], list[str]]:
    """Split the files of a comparison at the word "vs", or two files without it."""
    if "vs" in files:
        place = files.index("vs")
        sides = files[:place], files[place + 1 :]
    else:
        sides = files[:1], files[1:]
    if not all(sides) or ("vs" not in files and len(files) != 2):
        given = " ".join(files)
        raise typer.BadParameter(f"found {given!r}, expected A.json B.json, or A.json ... vs B.json ...")
    return sides


def terminal_width() -> int | None:
    """Return the characters per line of the terminal, or `None` when the output goes to a file or a pipe."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code.

    It is 1 for an error of the input, which is one line on standard error, and 130 for Ctrl-C.
    """
    if argv is None:
        # This process is the command's own: no interpreter that it starts looks for modules in the current folder.
        os.environ["PYTHONSAFEPATH"] = "1"
        argv = sys.argv[1:]
    # A name may hold any character; what the encoding of the output lacks is written as an escape.
    if sys.stdout is not None:  # closed by `>&-`
        sys.stdout.reconfigure(errors="backslashreplace")
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("drl_tvr").setLevel(logging.INFO)
    try:
        app(argv, prog_name="drl-tvr")
    except SystemExit as end:
        if end.code == INTERRUPTED:
            kept = " Finished videos are kept: run the same command again." if argv[0] == "evaluate" else ""
            print(f"\ndrl-tvr: interrupted.{kept}", file=sys.stderr)
        return end.code
    except (ValueError, OSError, ImportError) as error:
        from drl_tvr.terminal import one_line

        print(f"drl-tvr: error: {one_line(error)}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
