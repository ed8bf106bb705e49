"""Train every cell of the study of the paper's claims on the bundled benchmark, with several seeds.

    python benchmarks/claims.py                        # hours on 2 cores; continues where it stopped
    python benchmarks/claims.py --hours 1 --seeds 2    # as far as it gets
    python benchmarks/claims_page.py                   # writes docs/source/en/do_the_claims_hold.md

Each run is a complete run of `examples/train_tvr.py` from one small CLIP, in a separate process on one core. All runs
on the same world share its videos and their decoded frames. What a run found is one line of `claims.jsonl`: a run that
is there is not repeated.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import torch
from claims_measures import measure
from tqdm import tqdm

from drl_tvr.data.moving_shapes import build_moving_shapes
from drl_tvr.data.moving_shapes.small_clip import train_small_clip


NUM_SEEDS = 5
EXAMPLES = Path(__file__).parents[1] / "examples"
RESULTS = Path(__file__).with_name("claims.jsonl")
HEADS = {
    "DP": ["--model.interaction", "dp"],
    "MLP": ["--model.interaction", "mlp"],
    "TI": ["--model.interaction", "ti"],
    "WTI": ["--model.interaction", "wti", "--model.token_weight_depth", "2"],
    "WTI, depth 1": ["--model.interaction", "wti", "--model.token_weight_depth", "1"],
    "WTI, depth 3": ["--model.interaction", "wti", "--model.token_weight_depth", "3"],
    "XTI": ["--model.interaction", "xti"],
}
NO_CDCR = ["--model.cdcr", "none"]
WEIGHTED = ["--model.cdcr", "weighted"]
CDCR = {
    "published": WEIGHTED,  # lambda 0.001, diagonal 0.11
    "off-diagonal": [*WEIGHTED, "--model.cdcr_alpha_off_diagonal", "0.06"],
    "strong": [*WEIGHTED, "--model.cdcr_lambda", "0.1", "--model.cdcr_alpha_off_diagonal", "0.06"],
}
NO_TRAINING = ["--max_steps", "1", "--eval_steps", "1", "--learning_rate", "0", "--clip_learning_rate", "0"]
TRANSFORMER = ["--model.temporal_encoder", "transformer"]
EDITS = {"edits": ["--temporal_edits", "0.5"], "no edits": ["--temporal_edits", "0"]}
# Cells that get all their seeds first; then come the dials.
CORE = (
    "before training",
    *("DP | transformer | edits", "TI | transformer | edits", "WTI | transformer | edits", "WTI | published | edits"),
    *("WTI | none | edits", "TI | transformer | no edits", "WTI | transformer | no edits"),
)
LONG = ("DP", "TI", "WTI")  # also trained for twice the steps
DIALS = {
    "filler_words": [{"filler_words": share} for share in (0.25, 0.5, 0.7)],
    "blank": [{"irrelevant_frames": share, "irrelevant_kind": "blank"} for share in (0.25, 0.5)],
    "object": [{"irrelevant_frames": share, "irrelevant_kind": "object"} for share in (0.25, 0.5)],
}
STUDIES = ("heads", "long", "cdcr", *DIALS)


@dataclass(frozen=True)
class Cell:
    """A setting of the study.

    Args:
        study (`str`): Part of the study, one of `STUDIES`.
        name (`str`): Name of the cell within it.
        flags (`list[str]`): Flags of `examples/train_tvr.py`.
        dials (`dict`, *optional*): Dials of the world; by default the default world.
    """

    study: str
    name: str
    flags: list[str]
    dials: dict = field(default_factory=dict)


def heads_cells() -> Iterator[tuple[str, str, str]]:
    """Name the interactions, temporal encoders and edits that are compared."""
    yield from product(HEADS, ("transformer", "none"), ("edits",))
    yield from product(HEADS, ("transformer",), ("no edits",))


def cdcr_cells() -> Iterator[tuple[str, str, str]]:
    """Name the interactions, kinds of CDCR and edits that are compared."""
    yield from product(("TI", "WTI"), CDCR, ("edits",))
    yield from product(("WTI",), CDCR, ("no edits",))


def make_cells() -> list[Cell]:
    """List the cells of all studies."""
    cells = [Cell("heads", "before training", [*HEADS["WTI"], *NO_CDCR, *NO_TRAINING])]
    for head, temporal, with_edits in heads_cells():
        flags = [*HEADS[head], *NO_CDCR, "--model.temporal_encoder", temporal, *EDITS[with_edits]]
        cells.append(Cell("heads", f"{head} | {temporal} | {with_edits}", flags))
    for head in LONG:
        flags = [*HEADS[head], *NO_CDCR, *TRANSFORMER, *EDITS["edits"], "--max_steps", "1200"]
        cells.append(Cell("long", f"{head} | transformer | edits", flags))
    for head, kind, with_edits in cdcr_cells():
        flags = [*HEADS[head], *CDCR[kind], *TRANSFORMER, *EDITS[with_edits]]
        cells.append(Cell("cdcr", f"{head} | {kind} | {with_edits}", flags))
    for study, worlds in DIALS.items():
        for dials in worlds:
            share = share_of(dials)
            for head in ("TI", "WTI"):
                flags = [*HEADS[head], *NO_CDCR, *TRANSFORMER, *EDITS["edits"], "--max_words", "128"]
                if study != "filler_words":
                    # The events keep their lengths and the clip gets longer: more frames keep the rate.
                    flags += ["--max_frames", str(round(12 / (1 - share)))]
                cells.append(Cell(study, f"{head} | {share}", flags, dials))
    return cells


def share_of(dials: dict) -> float:
    """Return the share that a dial is set to."""
    return max(value for value in dials.values() if not isinstance(value, str))


def load_results() -> list[dict]:
    """Read what finished runs found."""
    return [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.is_file() else []


def world_of(cell: Cell, folder: Path) -> Path:
    """Render the world of a cell, unless it is there."""
    name = "-".join(f"{key}-{value}" for key, value in cell.dials.items()) or "default"
    return build_moving_shapes(folder / "worlds" / name, **cell.dials)


def setting_of(cell: Cell) -> str:
    """Return a hash of what a cell trains with, so that results of another recipe are not taken for its own."""
    recipe = (EXAMPLES / "configs" / "moving_shapes.yaml").read_bytes()
    return hashlib.sha256(repr((cell, recipe)).encode()).hexdigest()[:16]


def clip_of(folder: Path) -> str:
    """Return a hash of the small CLIP's weights, which another machine rounds in another way."""
    return hashlib.sha256((folder / "clip" / "model.safetensors").read_bytes()).hexdigest()[:16]


def run(cell: Cell, seed: int, folder: Path) -> dict:
    """Train a cell with a seed, measure the model and delete it."""
    root = world_of(cell, folder)
    output_dir = folder / f"{cell.study}-{cell.name}-{seed}".replace(" ", "").replace("|", "-")
    command = [sys.executable, str(EXAMPLES / "train_tvr.py"), "--output_dir", str(output_dir), "--seed", str(seed)]
    command += ["--config", str(EXAMPLES / "configs" / "moving_shapes.yaml"), "--root", str(root)]
    command += ["--clip_name_or_path", str(folder / "clip"), "--frame_cache_dir", str(folder / "frames")]
    command += ["--eval_steps", "100", "--save_steps", "100", "--num_threads", "1", *cell.flags]
    start = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
    result = json.loads((output_dir / "test_results.json").read_text())
    history = json.loads((output_dir / "trainer_state.json").read_text())["log_history"]
    found = {
        "study": cell.study,
        "cell": cell.name,
        "world": root.name,
        "seed": seed,
        "setting": setting_of(cell),
        "clip": clip_of(folder),
        "seconds": round(time.monotonic() - start),
        "metrics": result["metrics"],
        "ranks": {direction: list(map(shorten, ranks)) for direction, ranks in result["ranks"].items()},
        "curve": [[log["step"], log["eval_t2v_R@1"]] for log in history if "eval_t2v_R@1" in log],
        "measures": measure(output_dir, root, folder / "frames"),
    }
    shutil.rmtree(output_dir)
    return found


def shorten(rank: float) -> float | int:
    """Write a rank that is no tie without its `.0`."""
    return int(rank) if rank == int(rank) else rank


def main() -> None:
    """Run what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("outputs/claims"), help="folder of worlds and runs")
    parser.add_argument("--seeds", type=int, default=NUM_SEEDS, help="runs per cell")
    parser.add_argument("--parallel", type=int, default=os.cpu_count(), help="runs at the same time")
    parser.add_argument("--hours", type=float, default=float("inf"), help="begin no run after so many hours")
    parser.add_argument("--studies", nargs="+", choices=STUDIES, default=STUDIES, help="parts of the study")
    args = parser.parse_args()

    torch.set_num_threads(1)  # of the measures; each run has one, too
    train_small_clip(args.folder / "clip")
    results = load_results()
    settings = {setting_of(cell) for cell in make_cells()}
    if any(found["setting"] not in settings for found in results):
        parser.error(f"{RESULTS}: found results of another recipe, expected this one's. Move the file away.")
    done = {(found["setting"], found["seed"]) for found in results}
    cells = [cell for cell in make_cells() if cell.study in args.studies]
    jobs = [(cell, seed) for seed in range(args.seeds) for cell in cells]
    jobs = [(cell, seed) for cell, seed in jobs if (setting_of(cell), seed) not in done]
    jobs.sort(key=lambda job: (job[0].name not in CORE, job[0].study not in DIALS))
    start, lock = time.monotonic(), threading.Lock()

    def work(job: tuple[Cell, int]) -> None:
        if time.monotonic() - start < 3600 * args.hours:
            found = run(*job, args.folder)
            with lock, open(RESULTS, "a") as file:
                file.write(json.dumps(found) + "\n")
        progress.update()

    with ThreadPoolExecutor(args.parallel) as pool, tqdm(total=len(jobs), desc="Training", unit="run") as progress:
        for _ in pool.map(work, jobs):
            pass


if __name__ == "__main__":
    main()
