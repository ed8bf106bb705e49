"""Compute text-video retrieval metrics with `evaluate`: recall at any K, median and mean rank, both directions."""

import datasets
import evaluate
import numpy as np


_DESCRIPTION = """\
Recall at K, median rank and mean rank of text-video retrieval, from text to video (t2v) and from video to text (v2t).
From text to video, each caption is a query for its own video. From video to text, each video is represented by its
best caption, and the correct group of captions is ranked among the groups of all videos. A tie costs half a rank, and
NaN is an error.
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions: In the configuration "similarity" (the default), rows of the similarity matrix: for each caption its
        similarity to every video, with the videos in the same order in all rows; higher is more similar. In the
        configuration "ranks", ranks from 1; ties have half ranks.
    references: In "similarity", the column of the video that each caption belongs to. In "ranks", the direction of
        each rank, "t2v" or "v2t".
    recall_at: The values of K in R@K, by default 1, 5 and 10.
    expected_captions: Total number of captions; another number is an error. Pass it when several processes share the
        captions, because a sampler that gives each process equally many items repeats some.

Returns:
    A dictionary with `t2v_R@K` in percent for every K, `t2v_MdR`, `t2v_MnR`, and the same for `v2t`.

Examples:

    >>> import evaluate
    >>> from drl_tvr.evaluation import METRIC_FOLDER  # or the path of a copy of the folder

    >>> metric = evaluate.load(METRIC_FOLDER)
    >>> metric.add_batch(predictions=[[0.9, 0.1], [0.8, 0.3]], references=[0, 0])
    >>> metric.add_batch(predictions=[[0.2, 0.7]], references=[1])
    >>> metric.compute(recall_at=[1])
    {'t2v_R@1': 100.0, 't2v_MdR': 1.0, 't2v_MnR': 1.0, 'v2t_R@1': 100.0, 'v2t_MdR': 1.0, 'v2t_MnR': 1.0}
"""

_CITATION = """\
@article{wang2022disentangled,
  title={Disentangled Representation Learning for Text-Video Retrieval},
  author={Wang, Qiang and Zhang, Yanhao and Zheng, Yun and Pan, Pan and Hua, Xian-Sheng},
  journal={arXiv preprint arXiv:2203.07111},
  year={2022}
}
"""

CONFIGURATIONS = ("similarity", "ranks")
DIRECTIONS = ("t2v", "v2t")


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class TextVideoRetrieval(evaluate.Metric):
    """Metric of text-video retrieval; README.md is its card."""

    def _info(self):
        if self.config_name == "default":
            self.config_name = "similarity"
        if self.config_name not in CONFIGURATIONS:
            raise ValueError(f"`config_name`: found {self.config_name!r}, expected one of {CONFIGURATIONS}.")
        # A double keeps every digit of a float32; rounding would make ties of near scores.
        features = {
            "similarity": {
                "predictions": datasets.Sequence(datasets.Value("float64")),
                "references": datasets.Value("float64"),  # an integer type would silently turn 0.7 into 0
            },
            "ranks": {"predictions": datasets.Value("float64"), "references": datasets.Value("string")},
        }
        info = evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features(features[self.config_name]),
            reference_urls=["https://arxiv.org/abs/2203.07111"],
        )
        # Lists of Python floats would be five times as large, and the format "numpy" rounds to float32. `evaluate`
        # refuses the format as an argument above.
        info.format = "arrow"
        return info

    def _compute(self, predictions, references, recall_at=(1, 5, 10), expected_captions=None):
        recall_at = [recall_at] if isinstance(recall_at, int) else list(recall_at)
        if not recall_at:
            raise ValueError("`recall_at`: found nothing, expected at least one integer.")
        for k in recall_at:
            if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1:
                raise ValueError(f"`recall_at`: found {k!r}, expected integers of at least 1.")
        predictions, references = predictions.to_numpy(), references.to_numpy()
        if self.config_name == "ranks":
            ranks = split_ranks(predictions, references)
        else:
            ranks = rank(*to_arrays(predictions, references))
        found = len(ranks.get("t2v", ()))
        if expected_captions is not None and found != expected_captions:
            raise ValueError(
                f"Found {found} captions, expected {expected_captions}. A sampler that gives each process equally "
                "many items repeats some; add each caption in one process only."
            )
        metrics = {}
        for direction, values in ranks.items():
            metrics.update({f"{direction}_R@{k}": float((values <= k).mean() * 100) for k in recall_at})
            metrics[f"{direction}_MdR"] = float(np.median(values))
            metrics[f"{direction}_MnR"] = float(values.mean())
        return metrics


def to_arrays(predictions, references):
    """Convert the similarities and the columns to arrays; a `ValueError` names an invalid row."""
    lengths = [len(row) for row in predictions]
    for row, length in enumerate(lengths):
        if length != lengths[0]:
            raise ValueError(f"Row {row}: found {length} similarities, expected {lengths[0]} as in row 0.")
    similarity, videos = np.stack(predictions), np.asarray(references)
    if 0 in similarity.shape:
        raise ValueError("`predictions`: found no similarities, expected at least one per row.")
    if np.isnan(similarity).any():
        row, column = np.argwhere(np.isnan(similarity))[0]
        raise ValueError(f"Row {row} (caption), column {column} (video): found NaN, expected a number.")
    fractions = np.flatnonzero(videos != np.floor(videos))
    if len(fractions):
        first = fractions[0]
        raise ValueError(f"Reference {first}: found {videos[first]}, expected the column of the caption's video.")
    videos = videos.astype(np.int64)
    outside = np.flatnonzero((videos < 0) | (videos >= similarity.shape[1]))
    if len(outside):
        raise ValueError(
            f"Reference {outside[0]}: found video {videos[outside[0]]}, expected 0 to {similarity.shape[1] - 1}."
        )
    without = np.setdiff1d(np.arange(similarity.shape[1]), videos)
    if len(without):
        raise ValueError(f"Found no caption for video {without[0]}, expected at least one per video.")
    return similarity, videos


def rank(similarity, videos):
    """Rank in both directions."""
    order = np.argsort(videos, kind="stable")
    starts = np.flatnonzero(np.diff(videos[order], prepend=-1))
    best = np.maximum.reduceat(similarity[order], starts, axis=0)  # (num_videos, num_videos): groups by videos
    return {"t2v": tied_ranks(similarity, videos), "v2t": tied_ranks(best.T, np.arange(similarity.shape[1]))}


def tied_ranks(scores, targets):
    """Rank one column in each row: 1 + the number of better scores + half of the number of other equal scores."""
    target = np.take_along_axis(scores, targets[:, None], axis=1)
    return 1 + (scores > target).sum(axis=1) + ((scores == target).sum(axis=1) - 1) / 2


def split_ranks(ranks, directions):
    """Group ranks by direction; a `ValueError` names the first invalid one."""
    ranks, directions = np.asarray(ranks, dtype=np.float64), np.asarray(directions)
    unknown = np.flatnonzero(~np.isin(directions, DIRECTIONS))
    if len(unknown):
        raise ValueError(
            f"Reference {unknown[0]}: found {str(directions[unknown[0]])!r}, expected one of {DIRECTIONS}."
        )
    invalid = np.flatnonzero(~(np.isfinite(ranks) & (ranks >= 1)))
    if len(invalid):
        raise ValueError(f"Rank {invalid[0]}: found {ranks[invalid[0]]}, expected at least 1.")
    return {name: ranks[directions == name] for name in DIRECTIONS if (directions == name).any()}
