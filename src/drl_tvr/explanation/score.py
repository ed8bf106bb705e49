"""Split a score of WTI or TI into what every word and every frame matches, and what each adds to the score."""

import os
from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase
from transformers.video_utils import VideoInput

from ..model.interaction import normalize
from ..model.modeling_drl import DRLModel
from ..model.processing_drl import DRLProcessor
from ..model.token_matching import padding_wins
from ..model.video_errors import safe_name
from ..model.video_processing_drl import DRLVideoProcessor
from ..terminal import format_sentences, format_table


PADDING = -1
# The two tokens that CLIP puts around every text.
START, END = "[start]", "[end]"


class ExplanationError(ValueError):
    """A score that cannot be split into words and frames."""


@dataclass
class ScoreExplanation:
    r"""Score of a text and a video, and its parts. With weights w, u and cosines c of n words and f frames,

    $$s = \underbrace{\sum_i \tfrac12 w_i \max_j c_{ij}}_{\text{t2v}} +
    \underbrace{\sum_j \tfrac12 u_j \max_i c_{ij}}_{\text{v2t}}$$

    Args:
        text (`str`): The caption.
        video (`str`): The file as it was given, or `"video"` for frames.
        words (`list[str]`): The tokens that the model saw, readable: `[start]` and `[end]` are CLIP's own, `·`
            continues the previous word, and `é (1/2)` is the first of two byte tokens.
        word_weights (`numpy.ndarray` of shape `(num_words,)`): w, whose sum is 1.
        frames (`numpy.ndarray` of shape `(num_frames, height, width, 3)`): The pictures as the model saw them, uint8.
        frame_seconds (`list[float]`, *optional*): Time of each frame, in seconds; `None` for frames without a rate.
        frame_weights (`numpy.ndarray` of shape `(num_frames,)`): u, whose sum is 1.
        cosines (`numpy.ndarray` of shape `(num_words, num_frames)`): c, of words with frames.
        best_frame (`numpy.ndarray` of shape `(num_words,)`): The frame that each word matched, -1 for padding.
        best_word (`numpy.ndarray` of shape `(num_frames,)`): The word that each frame matched, -1 for padding.
        similarity (`float`): Similarity of the text and the video.
        logit_scale (`float`): Factor between the similarity and the logit.
        num_padded_words, num_padded_frames (`int`): Number of padded tokens that take part in the maxima, with a
            cosine of 0; 0 unless the model has `padding_similarity="zero"`.
        unseen_text (`str`): The end of the caption that is beyond the processor's `max_length`.
        truncation (`str`, *optional*): The reason why only the readable part of the video was seen.
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
        """Largest cosine of each word, of shape `(num_words,)`."""
        chosen = self.cosines[np.arange(len(self.words)), self.best_frame]
        return np.where(self.best_frame == PADDING, 0.0, chosen)

    @property
    def frame_maxima(self) -> np.ndarray:
        """Largest cosine of each frame, of shape `(num_frames,)`."""
        chosen = self.cosines[self.best_word, np.arange(len(self.frames))]
        return np.where(self.best_word == PADDING, 0.0, chosen)

    @property
    def word_terms(self) -> np.ndarray:
        """Term that each word adds to the similarity, of shape `(num_words,)`."""
        return self.word_weights * self.word_maxima / 2

    @property
    def frame_terms(self) -> np.ndarray:
        """Term that each frame adds to the similarity, of shape `(num_frames,)`."""
        return self.frame_weights * self.frame_maxima / 2

    @property
    def t2v(self) -> float:
        """Sum of the terms of the words."""
        return float(self.word_terms.sum())

    @property
    def v2t(self) -> float:
        """Sum of the terms of the frames."""
        return float(self.frame_terms.sum())

    @property
    def logit(self) -> float:
        """Similarity times the logit scale, as the loss uses it."""
        return self.similarity * self.logit_scale

    def notes(self) -> list[str]:
        """List what a reader of the numbers must know: what was not seen, and maxima that padding won."""
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
    """Score one text with one video and split the score into words and frames.

    Args:
        model ([`DRLModel`]): The model, of interaction `"wti"` or `"ti"`, in evaluation mode.
        processor ([`DRLProcessor`]): Its processor.
        video (`VideoInput`): One video, in any form that the processor takes.
        text (`str`): One caption.
        start, end (`float`, *optional*): The range of the video to take, in seconds.

    Returns:
        [`~explanation.ScoreExplanation`]: Its `t2v` and `v2t` add up to `model.similarity` of the two.

    Raises:
        [`~explanation.ExplanationError`]: For a model that does not compare tokens (DP, MLP, XTI), or a score that is
            not finite.
        [`VideoDecodeError`]: When the video is missing or broken, or `start` and `end` are not in it.
        `ValueError`: For a blank text.

    Example:

    ```python
    >>> from drl_tvr import DRLModel, DRLProcessor
    >>> from drl_tvr.explanation import explain_score

    >>> folder = "outputs/moving-shapes"
    >>> model, processor = DRLModel.from_pretrained(folder), DRLProcessor.from_pretrained(folder)
    >>> explanation = explain_score(model, processor, "clip.mp4", "a red circle")
    >>> explanation.words[0], explanation.words[-1], explanation.frame_seconds[:2]
    ('[start]', '[end]', [0.0, 1.0])
    >>> abs(explanation.t2v + explanation.v2t - explanation.similarity) < 1e-5
    True

    ```"""
    if not model.config.is_token_wise:
        raise ExplanationError(
            f"`interaction`: found {model.config.interaction!r}, which does not score pairs of a word and a frame, "
            "expected 'wti' or 'ti'."
        )
    inputs = processor(text=[text], videos=[video], start=start, end=end, return_metadata=True, return_tensors="pt")
    metadata = inputs.pop("video_metadata")[0]
    inputs = inputs.to(model.device)
    of_text = model.get_text_features(inputs["input_ids"], inputs["attention_mask"])
    of_video = model.get_video_features(inputs["pixel_values_videos"], inputs["video_mask"])
    similarity = model.similarity(of_text, of_video).item()
    if not np.isfinite(similarity):
        raise ExplanationError(f"Score of {text!r} and this video: found {similarity}, expected a finite number.")

    words, frames = of_text.mask[0].bool(), of_video.mask[0].bool()
    # In double precision, which autocast leaves alone and whose sums are exact to the model's own precision.
    cosines = normalize(of_text.tokens[0, words].double()) @ normalize(of_video.tokens[0, frames].double()).T
    cosines = cosines.cpu().numpy()
    num_padded_words = num_padded_frames = 0
    if model.config.padding_takes_part:
        num_padded_words, num_padded_frames = int((~words).sum()), int((~frames).sum())
    labels, unseen_text = read_words(processor.tokenizer, text, len(cosines))
    return ScoreExplanation(
        text=text,
        video=safe_name(os.fsdecode(video)) if isinstance(video, str | os.PathLike) else "video",
        words=labels,
        word_weights=of_text.weights[0, words].double().cpu().numpy(),
        frames=to_pictures(inputs["pixel_values_videos"][0, frames], processor.video_processor),
        frame_seconds=metadata.timestamps if metadata.fps is not None else None,
        frame_weights=of_video.weights[0, frames].double().cpu().numpy(),
        cosines=cosines,
        best_frame=find_best(cosines, num_padded_frames),
        best_word=find_best(cosines.T, num_padded_words),
        similarity=similarity,
        logit_scale=model.logit_scale.float().exp().item(),
        num_padded_words=num_padded_words,
        num_padded_frames=num_padded_frames,
        unseen_text=unseen_text,
        truncation=getattr(metadata, "truncation", None),
    )


def find_best(cosines: np.ndarray, num_padded: int) -> np.ndarray:
    """Find the column of the maximum of each row, or -1 where padding, whose cosine is 0, exceeds them all."""
    best = cosines.argmax(axis=1)
    best[padding_wins(cosines.max(axis=1), num_padded > 0)] = PADDING
    return best


def read_words(tokenizer: PreTrainedTokenizerBase, text: str, num_tokens: int) -> tuple[list[str], str]:
    """Label the first `num_tokens` tokens of a text, of which the last is the end, and return the text that is cut."""
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
    """Name the unprintable characters of a text, as in U+001B."""
    return "".join(char if char.isprintable() or char.isspace() else f"U+{ord(char):04X}" for char in text)


def to_pictures(pixels: torch.Tensor, video_processor: DRLVideoProcessor) -> np.ndarray:
    """Undo the processor's scaling of `pixels` (num_frames, 3, height, width): (num_frames, height, width, 3)."""
    pixels = pixels.double().cpu().permute(0, 2, 3, 1).numpy()
    if video_processor.do_normalize:
        pixels = pixels * np.array(video_processor.image_std) + np.array(video_processor.image_mean)
    if video_processor.do_rescale:
        pixels = pixels / video_processor.rescale_factor
    return pixels.round().clip(0, 255).astype(np.uint8)


def token_rows(
    labels: list[str], others: list[str], weights: np.ndarray, best: np.ndarray, maxima: np.ndarray, terms: np.ndarray
) -> list[tuple[str, ...]]:
    """Make a row per token of one side: label, weight, the token of the other side that it matched, cosine, term."""
    matches = ["padding" if index == PADDING else others[index] for index in best]
    return [
        (label, f"{weight:.1%}", match, f"{maximum:.4f}", f"{term:.4f}")
        for label, weight, match, maximum, term in zip(labels, weights, matches, maxima, terms, strict=True)
    ]


def format_explanation(explanation: ScoreExplanation, width: int | None = None) -> str:
    """Format an explanation for a terminal.

    Args:
        explanation ([`~explanation.ScoreExplanation`]): From [`~explanation.explain_score`].
        width (`int`, *optional*): The most characters per line; by default as many as the tables need.

    Returns:
        `str`: A table of the words, one of the frames, and the sum, without colours or control characters.
    """
    words, seconds = explanation.words, explanation.frame_seconds
    frames = [f"{i + 1} ({seconds[i]:.2f} s)" if seconds else f"{i + 1}" for i in range(len(explanation.frames))]
    words_of = (explanation.word_weights, explanation.best_frame, explanation.word_maxima, explanation.word_terms)
    frames_of = (explanation.frame_weights, explanation.best_word, explanation.frame_maxima, explanation.frame_terms)
    word_rows, frame_rows = token_rows(words, frames, *words_of), token_rows(frames, words, *frames_of)
    word_rows.append(("text to video", "", "", "", f"{explanation.t2v:.4f}"))
    frame_rows.append(("video to text", "", "", "", f"{explanation.v2t:.4f}"))
    sums = [
        f"similarity {explanation.similarity:.4f} = {explanation.t2v:.4f} (text to video) + {explanation.v2t:.4f} "
        "(video to text)",
        f"logit      {explanation.logit:.4f} = similarity x {explanation.logit_scale:.4f}",
        *explanation.notes(),
    ]
    parts = [
        format_sentences([f'"{" ".join(explanation.text.split())}"', explanation.video], width),
        format_table(("word", "weight", "its frame", "cosine", "adds"), word_rows, "lrlrr", width),
        format_table(("frame", "weight", "its word", "cosine", "adds"), frame_rows, "lrlrr", width),
        format_sentences(sums, width),
    ]
    return "\n\n".join(parts)


__all__ = ["ExplanationError", "ScoreExplanation", "explain_score", "format_explanation"]
