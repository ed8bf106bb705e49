"""Render the card of every recipe in `examples/configs/` as not trained: without results, cost or facts of a run.

    python model_cards/render.py            # writes model_cards/<recipe>.md
    python model_cards/render.py --check    # only names those that are out of date; exit code 1 when there are any

A run of the recipe writes the filled card into its output folder. The card of the bundled benchmark,
`moving-shapes.md`, is a copy of such a card.
"""

import argparse
import sys
from pathlib import Path

import yaml

from drl_tvr import DRLConfig
from drl_tvr.data.benchmarks.msrvtt import PROTOCOLS
from drl_tvr.evaluation import EvaluationResult
from drl_tvr.hub import make_model_card
from drl_tvr.training.recipe import parse_recipe


REPOSITORY = Path(__file__).parents[1]
TRAINED = ("moving_shapes",)


def render(file: Path) -> str:
    """Render the card of a recipe."""
    # A machine without bfloat16 refuses it when the arguments are read, but a card can be written anywhere.
    recipe, _, args = parse_recipe(["--config", str(file), "--use_cpu", "--bf16", "false"])
    args.bf16 = yaml.safe_load(file.read_text(encoding="utf-8")).get("bf16", False)
    not_run = EvaluationResult(
        data={"benchmark": recipe.benchmark, "split": "test", "protocol": PROTOCOLS.get(recipe.benchmark, "")},
        model={
            "fps": recipe.fps,
            "max_frames": recipe.max_frames,
            "max_words": recipe.max_words,
            "chosen_on": recipe.choose_on if args.load_best_model_at_end else None,
        },
        metrics={},
        intervals={},
        ranks={},
        caption_to_video=[],
    )
    card = make_model_card(
        args.output_dir, DRLConfig(**recipe.model), args, not_run, finetuned_from=recipe.clip_name_or_path
    )
    return card.content


def rendered() -> dict[Path, str]:
    """Render the card of every recipe that was not run, and return the cards by their files."""
    recipes = sorted((REPOSITORY / "examples" / "configs").glob("*.yaml"))
    return {
        Path(__file__).parent / f"{recipe.stem}.md": render(recipe) for recipe in recipes if recipe.stem not in TRAINED
    }


def main() -> int:
    """Write the cards, or check them."""
    parser = argparse.ArgumentParser(description="Render the cards of the recipes.")
    parser.add_argument("--check", action="store_true", help="write nothing; name the cards that are out of date")
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
