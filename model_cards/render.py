"""Renders the card of every recipe in `examples/configs/`, as not trained: no result, no cost, nothing of a run.

    python model_cards/render.py            # writes model_cards/<recipe>.md
    python model_cards/render.py --check    # only says which are out of date; exit code 1 when any is

A run of the recipe writes the filled card into its output folder. The bundled benchmark's recipe has been run: its
card, `moving-shapes.md`, is a copy of what that run wrote.
"""

import argparse
import sys
from pathlib import Path

import yaml


REPOSITORY = Path(__file__).parents[1]
sys.path.insert(0, str(REPOSITORY / "examples"))

from train_tvr import config_fields, read_arguments  # noqa: E402

from drl_tvr import DRLConfig  # noqa: E402
from drl_tvr.data.benchmarks.msrvtt import PROTOCOLS  # noqa: E402
from drl_tvr.hub import make_model_card  # noqa: E402


TRAINED = ("moving_shapes",)


def render(recipe: Path) -> str:
    """The card of a recipe that no run has filled."""
    # On any machine: what bfloat16 needs is checked when the arguments are read.
    data_args, model_args, args = read_arguments(["--config", str(recipe), "--use_cpu", "--bf16", "false"])
    args.bf16 = bool(yaml.safe_load(recipe.read_text(encoding="utf-8")).get("bf16"))
    sampling = {name: getattr(data_args, name) for name in ("fps", "max_frames", "max_words")}
    benchmark = data_args.benchmark
    provenance = {"benchmark": benchmark, "split": "test", "protocol": PROTOCOLS.get(benchmark, "")}
    card = make_model_card(
        args.output_dir,
        DRLConfig(**config_fields(model_args)),
        args,
        sampling,
        provenance,
        chosen_on=data_args.choose_on if args.load_best_model_at_end else None,
        clip=model_args.clip,
    )
    return card.content


def rendered() -> dict[Path, str]:
    """Every recipe's card, by its file."""
    recipes = sorted((REPOSITORY / "examples" / "configs").glob("*.yaml"))
    return {
        Path(__file__).parent / f"{recipe.stem}.md": render(recipe) for recipe in recipes if recipe.stem not in TRAINED
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="Render the cards of the recipes.")
    parser.add_argument("--check", action="store_true", help="write nothing; say which are out of date")
    check = parser.parse_args().check
    cards = rendered()
    stale = [path for path, text in cards.items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
    for path in stale:
        print(path.name)
        if not check:
            path.write_text(cards[path], encoding="utf-8")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
