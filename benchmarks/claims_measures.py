"""Measure what a trained model's channels and token weights look like on the test split of moving-shapes."""

from pathlib import Path

import torch

from drl_tvr import DRLFeatures, DRLModel, DRLProcessor, load_benchmark
from drl_tvr.data.frame_store import load_frames
from drl_tvr.data.loading import RetrievalCollator
from drl_tvr.data.moving_shapes.build import read_settings
from drl_tvr.data.moving_shapes.scenes import event_times, make_scenes
from drl_tvr.data.moving_shapes.words import COLOR_WORDS, FILLER_WORDS, MOTION_WORDS, SHAPE_WORDS, SIZE_WORDS
from drl_tvr.model.decorrelation import channel_correlation, standardize_channels
from drl_tvr.model.interaction import normalize


CONTENT_WORDS = {
    word
    for words in (COLOR_WORDS, SHAPE_WORDS, MOTION_WORDS, SIZE_WORDS)
    for phrases in words.values()
    for phrase in phrases
    for word in phrase.split()
} - {"the", "to"}


def measure(folder: Path, root: Path, frame_cache_dir: Path) -> dict[str, float]:
    """Measure the model of a run's folder.

    Args:
        folder (`Path`): Folder of a finished run.
        root (`Path`): Folder of the benchmark.
        frame_cache_dir (`Path`): Folder of its decoded frames.

    Returns:
        `dict[str, float]`: Of the words and of the frames of the test split: `*_correlation`, the mean absolute
        correlation of two different channels, and `*_rank`, the effective rank. Of words with the frames that they
        match, which CDCR acts on: `pairs_same`, the mean correlation of a channel with itself, and `pairs_other`, the
        mean absolute correlation of two different channels. With WTI also the mean weight of a kind of token, as a
        multiple of the uniform weight.
    """
    model, processor = DRLModel.from_pretrained(folder), DRLProcessor.from_pretrained(folder)
    data = load_benchmark("moving-shapes", root, "test")
    frames = load_frames(data.videos, processor.video_processor, frame_cache_dir)
    with torch.no_grad():
        texts = [
            model.get_text_features(**processor(text=[caption], return_tensors="pt"))
            for caption in data.captions["caption"][:]
        ]
        collate = RetrievalCollator(processor)
        videos = [model.get_video_features(**collate([{"frames": video}])) for video in frames]
    measures = {}
    for side, features in (("words", texts), ("frames", videos)):
        correlation, rank = describe_channels(features)
        measures |= {f"{side}_correlation": correlation, f"{side}_rank": rank}
    measures |= describe_pairs(
        [(text, videos[video]) for text, video in zip(texts, data.caption_to_video, strict=True)]
    )
    if model.config.interaction == "wti":
        measures |= weights_of_words(texts, data.captions["caption"][:], processor)
        measures |= weights_of_frames(videos, data.videos, processor, root)
    return {name: round(value, 4) for name, value in measures.items()}


def describe_channels(features: list[DRLFeatures]) -> tuple[float, float]:
    """Return the mean absolute correlation of two channels, and the effective rank of the tokens.

    The effective rank is the exponential of the entropy of the eigenvalues of the correlation matrix (Roy and
    Vetterli, 2007): the number of channels when all are uncorrelated, 1 when all are the same.
    """
    tokens = standardize_channels(normalize(torch.cat([item.tokens[0] for item in features])))
    correlation = tokens.T @ tokens / (len(tokens) - 1)
    size = len(correlation)
    off_diagonal = (correlation.abs().sum() - correlation.abs().trace()) / (size * (size - 1))
    shares = torch.linalg.eigvalsh(correlation).clamp(min=1e-12) / size
    return off_diagonal.item(), torch.exp(-(shares * shares.log()).sum()).item()


def describe_pairs(pairs: list[tuple[DRLFeatures, DRLFeatures]]) -> dict[str, float]:
    """Return the correlations of channels of words with channels of the frames that they match in their own video."""
    words, matched = [], []
    for text, video in pairs:
        own, frames = normalize(text.tokens[0]), normalize(video.tokens[0])
        words.append(own)
        matched.append(frames[(own @ frames.T).argmax(dim=1)])
    words, matched = torch.cat(words), torch.cat(matched)
    correlation = channel_correlation(words, matched, len(words) - 1)
    size = len(correlation)
    other = (correlation.abs().sum() - correlation.abs().trace()) / (size * (size - 1))
    return {"pairs_same": correlation.diagonal().mean().item(), "pairs_other": other.item()}


def weights_of_words(texts: list[DRLFeatures], captions: list[str], processor: DRLProcessor) -> dict[str, float]:
    """Return the mean weight of start, end, content words, fillers and other tokens, per uniform weight."""
    found: dict[str, list[float]] = {}
    for features, caption in zip(texts, captions, strict=True):
        tokens = processor.tokenizer.convert_ids_to_tokens(processor(text=[caption])["input_ids"][0])
        for token, weight in zip(tokens, features.weights[0].tolist(), strict=True):
            found.setdefault(kind_of(token.removesuffix("</w>")), []).append(weight * len(tokens))
    return {f"weight_{kind}": sum(weights) / len(weights) for kind, weights in found.items()}


def kind_of(token: str) -> str:
    """Name the kind of a token."""
    if token in ("<|startoftext|>", "<|endoftext|>"):
        return "start" if token == "<|startoftext|>" else "end"
    return "content" if token in CONTENT_WORDS else "filler" if token in FILLER_WORDS else "other"


def weights_of_frames(videos: list[DRLFeatures], rows, processor: DRLProcessor, root: Path) -> dict[str, float]:
    """Return the mean weight of frames that show an event of the caption, and of others, per uniform weight."""
    settings = {name: value for name, value in read_settings(root).items() if name != "format_version"}
    seed, share = settings["seed"], settings.pop("irrelevant_frames", 0.0)
    settings.pop("irrelevant_kind", None)
    scenes = {scene.video_id: scene for scene in make_scenes(**settings)}
    metadata = processor.video_processor(rows["path"][:], return_metadata=True)["video_metadata"]
    found: dict[str, list[float]] = {}
    for features, video_id, sampled in zip(videos, rows["video_id"][:], metadata, strict=True):
        events = event_times(scenes[video_id], seed, share)
        weights = features.weights[0].tolist()
        for index, weight in zip(sampled.frames_indices, weights, strict=True):
            time = index / sampled.fps
            kind = "event" if any(start <= time < end for start, end in events) else "irrelevant"
            found.setdefault(kind, []).append(weight * len(weights))
    return {f"weight_{kind}": sum(weights) / len(weights) for kind, weights in found.items()}
