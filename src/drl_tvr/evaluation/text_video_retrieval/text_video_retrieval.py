"""Text-video retrieval as an `evaluate` metric: recall at any K, median and mean rank, in both directions."""

import datasets
import evaluate
import numpy as np


_DESCRIPTION = """\
Recall at K, median rank and mean rank of text-video retrieval, text to video (t2v) and video to text (v2t). Text to
video, every caption is a query for its own video. Video to text, a video's best caption stands for it and the right
group is ranked among the groups of all videos. A tie costs half a rank, and NaN is an error.
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions: In the configuration "similarity" (the default), rows of the similarity matrix: for each caption its
        similarity with every video, in one order of the videos, higher being more similar. In the configuration
        "ranks", ranks from 1; halves are ties.
    references: In "similarity", the column of the video that each caption belongs to. In "ranks", the direction of
        each rank, "t2v" or "v2t".
    recall_at: The K of R@K, by default 1, 5 and 10.
    expected_captions: How many captions there should be in all; another number is an error. Several processes should
        say it, since a sampler that shares items evenly repeats some.

Returns:
    A dictionary with `t2v_R@K` in percent for every K, `t2v_MdR`, `t2v_MnR`, and the same for `v2t`.

Examples:

    >>> metric = evaluate.load("text_video_retrieval")
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
    """The metric; see its card, README.md."""

    def _info(self):
        if self.config_name == "default":
            self.config_name = "similarity"
        if self.config_name not in CONFIGURATIONS:
            raise ValueError(f"The configuration is {self.config_name!r}, expected one of {CONFIGURATIONS}.")
        # A double keeps every digit of a float32: near scores must not become ties.
        features = {
            "similarity": {
                "predictions": datasets.Sequence(datasets.Value("float64")),
                "references": datasets.Value("float64"),  # as integers, 0.7 would silently become 0
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
        # Lists of Python's floats would be five times as large. As an argument evaluate refuses it for rows.
        info.format = "numpy"
        return info

    def _compute(self, predictions, references, recall_at=(1, 5, 10), expected_captions=None):
        recall_at = [recall_at] if isinstance(recall_at, int) else list(recall_at)
        if not recall_at:
            raise ValueError("`recall_at` must hold at least one integer.")
        for k in recall_at:
            if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1:
                raise ValueError(f"`recall_at` must hold integers from 1, got {k!r}.")
        if self.config_name == "ranks":
            ranks = split_ranks(predictions, references)
        else:
            ranks = rank(*check_rows(predictions, references))
        found = len(ranks.get("t2v", ()))
        if expected_captions is not None and found != expected_captions:
            raise ValueError(
                f"Found {found} captions, expected {expected_captions}. A sampler that gives every process as many "
                "items repeats some; give each process its own captions once."
            )
        metrics = {}
        for direction, values in ranks.items():
            metrics.update({f"{direction}_R@{k}": float((values <= k).mean() * 100) for k in recall_at})
            metrics[f"{direction}_MdR"] = float(np.median(values))
            metrics[f"{direction}_MnR"] = float(values.mean())
        return metrics


def check_rows(predictions, references):
    """Rows and columns as arrays, or a ValueError that names the row."""
    lengths = [len(row) for row in predictions]
    for row, length in enumerate(lengths):
        if length != lengths[0]:
            raise ValueError(f"Row {row} has {length} similarities, row 0 has {lengths[0]}: one for every video.")
    similarity, videos = np.asarray(predictions, dtype=np.float64), np.asarray(references)
    if 0 in similarity.shape:
        raise ValueError("There are no similarities.")
    if np.isnan(similarity).any():
        row, column = np.argwhere(np.isnan(similarity))[0]
        raise ValueError(f"The similarity of row {row} (caption) with column {column} (video) is NaN.")
    broken = np.flatnonzero(videos != np.floor(videos))
    if len(broken):
        raise ValueError(f"Reference {broken[0]} is {videos[broken[0]]}, expected the column of the caption's video.")
    videos = videos.astype(np.int64)
    outside = np.flatnonzero((videos < 0) | (videos >= similarity.shape[1]))
    if len(outside):
        raise ValueError(
            f"Caption {outside[0]} belongs to video {videos[outside[0]]}, but there are {similarity.shape[1]} videos."
        )
    without = np.setdiff1d(np.arange(similarity.shape[1]), videos)
    if len(without):
        raise ValueError(f"Video {without[0]} has no caption ({len(without)} such videos).")
    return similarity, videos


def rank(similarity, videos):
    """Ranks in both directions."""
    order = np.argsort(videos, kind="stable")
    starts = np.flatnonzero(np.diff(videos[order], prepend=-1))
    best = np.maximum.reduceat(similarity[order], starts, axis=0)  # (num_videos, num_videos): groups by videos
    return {"t2v": tied_ranks(similarity, videos), "v2t": tied_ranks(best.T, np.arange(similarity.shape[1]))}


def tied_ranks(scores, targets):
    """1 + the strictly better + half of the other equal ones."""
    target = np.take_along_axis(scores, targets[:, None], axis=1)
    return 1 + (scores > target).sum(axis=1) + ((scores == target).sum(axis=1) - 1) / 2


def split_ranks(ranks, directions):
    """The ranks of each direction, or a ValueError that names the first wrong one."""
    ranks, directions = np.asarray(ranks, dtype=np.float64), np.asarray(directions)
    unknown = np.flatnonzero(~np.isin(directions, DIRECTIONS))
    if len(unknown):
        raise ValueError(f"Direction {unknown[0]} is {str(directions[unknown[0]])!r}, expected one of {DIRECTIONS}.")
    wrong = np.flatnonzero(~(np.isfinite(ranks) & (ranks >= 1)))
    if len(wrong):
        raise ValueError(f"Rank {wrong[0]} is {ranks[wrong[0]]}, expected at least 1.")
    return {name: ranks[directions == name] for name in DIRECTIONS if (directions == name).any()}
