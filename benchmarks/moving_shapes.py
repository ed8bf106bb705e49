"""Trains every interaction on the bundled benchmark, with and without the temporal encoder, and writes a table.

    python benchmarks/moving_shapes.py --output docs/source/en/moving_shapes_results.md

Each row is several whole runs of `examples/train_tvr.py`, in a process of its own, that differ in the seed alone. All
rows share the clips and their decoded frames. A run that is already there is not repeated, so an interrupted benchmark
goes on where it stopped.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import mean, stdev

import torch
from tqdm import tqdm


TRAIN = Path(__file__).parents[1] / "examples" / "train_tvr.py"
ROWS = {
    "DP": ["--model.interaction", "dp", "--model.cdcr", "none"],
    "TI": ["--model.interaction", "ti", "--model.cdcr", "none"],
    "WTI": ["--model.interaction", "wti", "--model.cdcr", "none"],
    "WTI + CDCR": ["--model.interaction", "wti", "--model.cdcr", "weighted"],
}
METRICS = {
    "t2v R@1": "t2v_R@1",
    "t2v R@5": "t2v_R@5",
    "v2t R@1": "v2t_R@1",
    "twins": "t2v_twin_accuracy",
}


def run(name: str, flags: list[str], seed: int, max_steps: int, folder: Path, threads: int) -> dict[str, float]:
    """Train once, on `threads` cores, or read the metrics of an earlier time."""
    output_dir = folder / f"{name}-seed{seed}-steps{max_steps}".replace(" ", "").lower()
    done_file = output_dir / "benchmark.json"
    if not done_file.is_file():
        steps = ["--max_steps", str(max_steps), "--eval_steps", str(max_steps), "--save_steps", str(max_steps)]
        command = [sys.executable, str(TRAIN), "--output_dir", str(output_dir), "--seed", str(seed), *steps, *flags]
        command += ["--num_threads", str(threads)]
        start = time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
        metrics = json.loads((output_dir / "test_results.json").read_text())["metrics"]
        metrics["seconds"] = time.monotonic() - start
        done_file.write_text(json.dumps(metrics, indent=2))
    return json.loads(done_file.read_text())


def cell(values: list[float]) -> str:
    """Mean and standard deviation over the seeds."""
    return f"{mean(values):.1f} ± {stdev(values):.1f}" if len(values) > 1 else f"{values[0]:.1f}"


def main() -> None:
    """Run all rows and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="Markdown file of the table; by default it is only printed")
    parser.add_argument("--folder", type=Path, default=Path("outputs/benchmark"), help="where the runs go")
    parser.add_argument("--seeds", type=int, default=3, help="runs a row")
    parser.add_argument("--parallel", type=int, default=1, help="runs at a time, which share the cores")
    parser.add_argument("--max_steps", type=int, default=1200, help="training steps a run")
    args = parser.parse_args()

    rows = {}
    for temporal_encoder in ("none", "transformer"):
        for name, flags in ROWS.items():
            title = f"{name}, temporal transformer" if temporal_encoder == "transformer" else name
            rows[title] = [*flags, "--model.temporal_encoder", temporal_encoder]
    jobs = [(title, flags, seed) for seed in range(args.seeds) for title, flags in rows.items()]
    found: dict[str, list[dict[str, float]]] = {title: [] for title in rows}
    threads = max(1, (os.cpu_count() or 1) // args.parallel)
    with ThreadPoolExecutor(args.parallel) as pool:
        done = pool.map(
            lambda job: run(job[0].replace(",", ""), job[1], job[2], args.max_steps, args.folder, threads), jobs
        )
        for (title, _, _), metrics in zip(jobs, tqdm(done, total=len(jobs), desc="Training", unit="run"), strict=True):
            found[title].append(metrics)

    lines = [
        f"| model | {' | '.join(METRICS)} | seconds per run |",
        f"|---|{'---:|' * (len(METRICS) + 1)}",
    ]
    for title, results in found.items():
        cells = [cell([result[key] for result in results]) for key in (*METRICS.values(), "seconds")]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    lines += [
        "",
        f"300 test videos; mean ± standard deviation over {args.seeds} seeds; {args.max_steps} steps of 64 pairs; "
        "percent; `twins` is the share of captions that are closer to their own video than to its order-swapped twin "
        "(50 = blind to time).",
        "",
        f"Machine: {os.cpu_count()} cores of {platform.machine()}, {args.parallel} runs at a time; Python "
        f"{platform.python_version()}, torch {torch.__version__}. Command:",
        "",
        "```bash",
        f"python benchmarks/moving_shapes.py --seeds {args.seeds} --max_steps {args.max_steps} "
        f"--parallel {args.parallel}",
        "```",
    ]
    table = "\n".join(lines)
    print(table)
    if args.output:
        args.output.write_text(f"# Results on moving-shapes\n\n{table}\n")


if __name__ == "__main__":
    main()
