"""What `padding_similarity` changes: models of the bundled benchmark, scored by both rules on the test split.

    python benchmarks/padding_similarity.py outputs/moving-shapes outputs/moving-shapes-zero

Each folder is a model that `examples/train_tvr.py` left; its own rule is in its configuration.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from drl_tvr import DRLModel, DRLProcessor, DRLTrainer, DRLTrainingArguments, evaluate_retrieval, load_benchmark
from drl_tvr.evaluation import ranks_per_caption


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", help="trained models")
    parser.add_argument("--root", help="folder of the benchmark")
    args = parser.parse_args()
    data = load_benchmark("moving-shapes", args.root, "test")
    owners = np.asarray(data.caption_to_video)
    print(
        "| trained with | scored with | t2v R@1 | t2v R@5 | v2t R@1 "
        "| scores that differ | by at most | ranks that differ |"
    )
    print("|---|---|---:|---:|---:|---:|---:|---:|")
    for folder in args.folders:
        model, processor = DRLModel.from_pretrained(folder), DRLProcessor.from_pretrained(folder)
        own = model.config.padding_similarity
        settings = DRLTrainingArguments(
            str(folder), report_to="none", use_cpu=True, eval_strategy="no", save_strategy="no"
        )
        scores, ranks = {}, {}
        for rule in (own, {"ignore": "zero", "zero": "ignore"}[own]):
            model.config.padding_similarity = rule
            processor.pad_to_max_length = processor.video_processor.pad_to_max_frames = rule == "zero"
            trainer = DRLTrainer(model, settings, processing_class=processor)
            dataset = trainer._decode(data)
            scores[rule] = trainer.similarity(dataset.videos, dataset.captions)
            ranks[rule] = torch.from_numpy(ranks_per_caption(scores[rule].numpy(), owners))
            metrics = evaluate_retrieval(scores[rule], data.caption_to_video)
            cells = [f"{metrics[name]:.1f}" for name in ("t2v_R@1", "t2v_R@5", "v2t_R@1")]
            difference = (scores[rule] - scores[own]).abs()
            moved = (ranks[rule] != ranks[own]).float().mean()
            cells += [f"{(difference > 1e-5).float().mean():.1%}", f"{difference.max():.3f}", f"{moved:.1%}"]
            print(f"| {own} | {rule} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
