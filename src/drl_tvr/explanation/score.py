"""Takes a score of WTI or TI apart: what every word and every frame matched, and what each adds to the score."""

import os
from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase
from transformers.video_utils import VideoInput

from ..model.interaction import normalize
from ..model.modeling_drl import DRLModel
from ..model.processing_drl import DRLProcessor
from ..model.video_processing_drl import DRLVideoProcessor


TOKEN_WISE = ("wti", "ti")
PADDING = -1
# CLIP's own two tokens of every text, which have no place in it.
START, END = "[start]", "[end]"


class ExplanationError(ValueError):
    """A score that can't be taken apart into words and frames."""


@dataclass
class ScoreExplanation:
    r"""The score of a text and a video, and its parts. With weights w, u and cosines c of n words and f frames,

    $$s = \underbrace{\sum_i \tfrac12 w_i \max_j c_{ij}}_{\text{t2v}} +
    \underbrace{\sum_j \tfrac12 u_j \max_i c_{ij}}_{\text{v2t}}$$

    Args:
        text (`str`): The caption.
        video (`str`): The file as it was given, or `"video"` for frames.
        words (`list[str]`): The tokens that the model saw, readable: `[start]` and `[end]` are CLIP's own, `·` marks a
            piece that goes on a word, `é (1/2)` one byte of a character's two.
        word_weights (`numpy.ndarray` of shape `(num_words,)`): w, which sum to 1.
        frames (`numpy.ndarray` of shape `(num_frames, height, width, 3)`): The pictures as the model saw them, uint8.
        frame_seconds (`list[float]`, *optional*): When each is shown, in seconds; `None` for frames without a rate.
        frame_weights (`numpy.ndarray` of shape `(num_frames,)`): u, which sum to 1.
        cosines (`numpy.ndarray` of shape `(num_words, num_frames)`): c, of words with frames.
        best_frame (`numpy.ndarray` of shape `(num_words,)`): The frame that each word's maximum chose, -1 for padding.
        best_word (`numpy.ndarray` of shape `(num_frames,)`): The word that each frame's maximum chose, -1 for padding.
        similarity (`float`): What the model says of the two.
        logit_scale (`float`): What the model multiplies the similarity by.
        num_padded_words, num_padded_frames (`int`): Padding that takes part in the maxima, with a cosine of 0; none
            unless the model has `padding_similarity="zero"`.
        unseen_text (`str`): The end of the caption that is beyond the processor's `max_length`.
        truncation (`str`, *optional*): Why only the readable part of the video was seen.
    """

    text: str
    video: str
    words: list[str]
    word_weights: np.ndarray
    frames: np.ndarray
    frame_seconds: list[float] | None
    frame_weights: np.ndarray
    cosines: np.ndarray
    best_frame: np.ndarray
    best_word: np.ndarray
    similarity: float
    logit_scale: float
    num_padded_words: int = 0
    num_padded_frames: int = 0
    unseen_text: str = ""
    truncation: str | None = None

    @property
    def word_maxima(self) -> np.ndarray:
        """The largest cosine of each word, of shape `(num_words,)`."""
        chosen = self.cosines[np.arange(len(self.words)), self.best_frame]
        return np.where(self.best_frame == PADDING, 0.0, chosen)

    @property
    def frame_maxima(self) -> np.ndarray:
        """The largest cosine of each frame, of shape `(num_frames,)`."""
        chosen = self.cosines[self.best_word, np.arange(len(self.frames))]
        return np.where(self.best_word == PADDING, 0.0, chosen)

    @property
    def word_terms(self) -> np.ndarray:
        """What each word adds to the similarity, of shape `(num_words,)`."""
        return self.word_weights * self.word_maxima / 2

    @property
    def frame_terms(self) -> np.ndarray:
        """What each frame adds to the similarity, of shape `(num_frames,)`."""
        return self.frame_weights * self.frame_maxima / 2

    @property
    def t2v(self) -> float:
        """The half of the similarity that the words add."""
        return float(self.word_terms.sum())

    @property
    def v2t(self) -> float:
        """The half of the similarity that the frames add."""
        return float(self.frame_terms.sum())

    @property
    def logit(self) -> float:
        """The similarity times the logit scale: what the loss sees."""
        return self.similarity * self.logit_scale

    def notes(self) -> list[str]:
        """What a reader of the numbers must know besides: what was not seen, and maxima that padding won."""
        notes = []
        if self.unseen_text:
            notes.append(f"The text was cut after {len(self.words)} tokens; not seen: {readable(self.unseen_text)}")
        if self.truncation:
            notes.append(f"Only the readable part of the video was seen: {self.truncation}.")
        for kind, best in (("word", self.best_frame), ("frame", self.best_word)):
            won = int((best == PADDING).sum())
            if won:
                notes.append(
                    f"Padding won the maximum of {won} of {len(best)} {kind}s, whose cosines are all below 0."
                )
        return notes


@torch.no_grad()
def explain_score(
    model: DRLModel,
    processor: DRLProcessor,
    video: VideoInput,
    text: str,
    start: float | None = None,
    end: float | None = None,
) -> ScoreExplanation:
    """Score one text with one video and take the score apart.

    Args:
        model ([`DRLModel`]): The model, of interaction `"wti"` or `"ti"`, in evaluation mode.
        processor ([`DRLProcessor`]): Its processor.
        video (`VideoInput`): One video, in any form that the processor takes.
        text (`str`): One caption.
        start, end (`float`, *optional*): The part of the video to take, in seconds.

    Returns:
        [`~explanation.ScoreExplanation`]: Its `t2v` and `v2t` add up to `model.similarity` of the two.

    Raises:
        ExplanationError: For a model that compares no tokens (DP, MLP, XTI), or whose score is not a number.
        VideoDecodeError: When the video is missing or broken, or `start` and `end` are not in it.
        ValueError: For a blank text.

    Example:

    ```python
    >>> explanation = explain_score(model, processor, "dog.mp4", "a dog runs")  # doctest: +SKIP
    >>> explanation.words, explanation.frame_seconds  # doctest: +SKIP
    (['[start]', 'a', 'dog', 'runs', '[end]'], [0.0, 1.0, 2.0])
    >>> explanation.t2v + explanation.v2t - explanation.similarity  # doctest: +SKIP
    0.0
    ```"""
    interaction = model.config.interaction
    if interaction not in TOKEN_WISE:
        raise ExplanationError(
            f"The model has interaction {interaction!r}, which scores no pairs of a word and a frame; only "
            f"{' and '.join(map(repr, TOKEN_WISE))} do, and can be explained by them."
        )
    inputs = processor(text=[text], videos=[video], start=start, end=end, return_metadata=True, return_tensors="pt")
    metadata = inputs.pop("video_metadata")[0]
    inputs = inputs.to(model.device)
    of_text = model.get_text_features(inputs["input_ids"], inputs["attention_mask"])
    of_video = model.get_video_features(inputs["pixel_values_videos"], inputs["video_mask"])
    similarity = model.similarity(of_text, of_video).item()
    if not np.isfinite(similarity):
        raise ExplanationError(f"The model scores {text!r} and this video with {similarity}, expected a number.")

    words, frames = of_text.mask[0].bool(), of_video.mask[0].bool()
    # In double precision, which autocast leaves alone and whose sums are exact to the model's own precision.
    cosines = normalize(of_text.tokens[0, words].double()) @ normalize(of_video.tokens[0, frames].double()).T
    cosines = cosines.cpu().numpy()
    counts = model.config.padding_similarity == "zero"
    padded_words, padded_frames = (int((~real).sum()) if counts else 0 for real in (words, frames))
    labels, unseen_text = read_words(processor.tokenizer, text, len(cosines))
    return ScoreExplanation(
        text=text,
        video=os.fsdecode(video) if isinstance(video, str | os.PathLike) else "video",
        words=labels,
        word_weights=of_text.weights[0, words].double().cpu().numpy(),
        frames=to_pictures(inputs["pixel_values_videos"][0, frames], processor.video_processor),
        frame_seconds=metadata.timestamps if metadata.fps is not None else None,
        frame_weights=of_video.weights[0, frames].double().cpu().numpy(),
        cosines=cosines,
        best_frame=best_of(cosines, padded_frames),
        best_word=best_of(cosines.T, padded_words),
        similarity=similarity,
        logit_scale=model.logit_scale.float().exp().item(),
        num_padded_words=padded_words,
        num_padded_frames=padded_frames,
        unseen_text=unseen_text,
        truncation=getattr(metadata, "truncation", None),
    )


def best_of(cosines: np.ndarray, num_padded: int) -> np.ndarray:
    """The column of each row's maximum, or -1 where padding of cosine 0 is above them all."""
    best = cosines.argmax(axis=1)
    return np.where((cosines.max(axis=1) < 0) & (num_padded > 0), PADDING, best)


def read_words(tokenizer: PreTrainedTokenizerBase, text: str, num_tokens: int) -> tuple[list[str], str]:
    """What the first `num_tokens` of a text's tokens stand for, the last being the end, and the text that is cut."""
    encoding = tokenizer(text, return_offsets_mapping=True, verbose=False)
    spans, word_ids = encoding["offset_mapping"], encoding.word_ids()
    cut = len(spans) > num_tokens
    unseen_text = text[spans[num_tokens - 1][0] :] if cut else ""
    keys = list(zip(spans, word_ids, strict=True))[: num_tokens - 1]
    labels = []
    for index, (span, word) in enumerate(keys):
        if word is None:
            labels.append(START)
            continue
        label = " ".join(readable(text[slice(*span)]).split())
        same = [other for other, key in enumerate(keys) if key == (span, word)]
        if len(same) > 1:
            label = f"{label} ({index - same[0] + 1}/{len(same)})"
        labels.append(f"·{label}" if index and word == keys[index - 1][1] else label)
    return [*labels, END], unseen_text


def readable(text: str) -> str:
    """A text whose unprintable characters are named, as U+001B."""
    return "".join(char if char.isprintable() or char.isspace() else f"U+{ord(char):04X}" for char in text)


def to_pictures(pixels: torch.Tensor, video_processor: DRLVideoProcessor) -> np.ndarray:
    """Undo the processor's scaling of `pixels` (num_frames, 3, height, width): (num_frames, height, width, 3)."""
    pixels = pixels.double().cpu().permute(0, 2, 3, 1).numpy()
    if video_processor.do_normalize:
        pixels = pixels * np.array(video_processor.image_std) + np.array(video_processor.image_mean)
    if video_processor.do_rescale:
        pixels = pixels / video_processor.rescale_factor
    return pixels.round().clip(0, 255).astype(np.uint8)


def format_explanation(explanation: ScoreExplanation) -> str:
    """An explanation as text for a terminal.

    Args:
        explanation ([`~explanation.ScoreExplanation`]): From [`~explanation.explain_score`].

    Returns:
        `str`: A table of the words, one of the frames, and the sum.
    """
    seconds = explanation.frame_seconds
    frames = [f"{i + 1}" + (f" ({seconds[i]:.2f} s)" if seconds else "") for i in range(len(explanation.frames))]
    sides = (
        ("word", explanation.words, explanation.word_weights, "its frame", frames, explanation.best_frame,
         explanation.word_maxima, explanation.word_terms, "text to video"),
        ("frame", frames, explanation.frame_weights, "its word", explanation.words, explanation.best_word,
         explanation.frame_maxima, explanation.frame_terms, "video to text"),
    )  # fmt: skip
    width = max(map(len, [*explanation.words, *frames, "its frame", "text to video"])) + 2
    lines = [f'"{readable(explanation.text)}"', explanation.video]
    for own, names, weights, other, others, best, maxima, terms, total in sides:
        lines += ["", f"{own:{width}}{'weight':>8}   {other:{width}}{'cosine':>9}{'adds':>9}"]
        for i, name in enumerate(names):
            match = "padding" if best[i] == PADDING else others[best[i]]
            lines.append(f"{name:{width}}{weights[i]:8.1%}   {match:{width}}{maxima[i]:9.4f}{terms[i]:9.4f}")
        lines.append(f"{total:{width}}{'':{width + 20}}{terms.sum():9.4f}")
    lines += [
        "",
        f"similarity {explanation.similarity:.4f} = {explanation.t2v:.4f} (text to video) + {explanation.v2t:.4f} "
        "(video to text)",
        f"logit      {explanation.logit:.4f} = similarity x {explanation.logit_scale:.4f}",
        *explanation.notes(),
    ]
    return "\n".join(lines)


__all__ = ["ExplanationError", "ScoreExplanation", "explain_score", "format_explanation"]
