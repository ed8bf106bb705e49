"""Scores of a trainer's model, each process computing its share as in an evaluation."""

import torch

from drl_tvr.data.loading import PairDataset
from drl_tvr.evaluation.evaluator import Share, encode_split, score_share
from drl_tvr.training import DRLTrainer
from drl_tvr.training.distributed import gather_objects
from drl_tvr.training.fsdp import whole_model


def score_with(trainer: DRLTrainer, dataset: PairDataset) -> torch.Tensor:
    """Score every caption of a split with every video of it, (num_captions, num_videos)."""
    args = trainer.args
    share = Share(args.process_index, args.world_size, gather_objects)
    model = whole_model(trainer.accelerator.unwrap_model(trainer.model)).eval()
    with trainer.accelerator.autocast():
        captions, videos = encode_split(
            model, trainer.processing_class, dataset, share, args.per_device_eval_batch_size, show_progress=False
        )
        return score_share(model, captions, videos, len(dataset.videos), share)
