"""Score models of the bundled benchmark by both rules of `padding_similarity`, on the test split.

    python benchmarks/padding_similarity.py outputs/moving-shapes outputs/moving-shapes-zero

Each folder is an output folder of `examples/train_tvr.py`; the rule of its training is in its configuration.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from similarity import encode_split

from drl_tvr import DRLModel, DRLProcessor, evaluate_retrieval, load_benchmark
from drl_tvr.evaluation import ranks_per_caption, score_all


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", help="trained models")
    parser.add_argument("--root", help="folder of the benchmark")
    args = parser.parse_args()
    data = load_benchmark("moving-shapes", args.root, "test")
    caption_to_video = np.asarray(data.caption_to_video)
    print(
        "| trained with | scored with | t2v R@1 | t2v R@5 | v2t R@1 "
        "| scores that differ | by at most | ranks that differ |"
    )
    print("|---|---|---:|---:|---:|---:|---:|---:|")
    for folder in args.folders:
        model, processor = DRLModel.from_pretrained(folder), DRLProcessor.from_pretrained(folder)
        own = model.config.padding_similarity
        scores, ranks = {}, {}
        for rule in (own, {"ignore": "zero", "zero": "ignore"}[own]):
            model.config.padding_similarity = rule
            processor.pad_to_max_length = processor.video_processor.pad_to_max_frames = rule == "zero"
            scores[rule] = score_all(model, *encode_split(model, processor, data))
            ranks[rule] = torch.from_numpy(ranks_per_caption(scores[rule].numpy(), caption_to_video))
            metrics = evaluate_retrieval(scores[rule], caption_to_video)
            cells = [f"{metrics[name]:.1f}" for name in ("t2v_R@1", "t2v_R@5", "v2t_R@1")]
            difference = (scores[rule] - scores[own]).abs()
            moved = (ranks[rule] != ranks[own]).float().mean()
            cells += [f"{(difference > 1e-5).float().mean():.1%}", f"{difference.max():.3f}", f"{moved:.1%}"]
            print(f"| {own} | {rule} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
