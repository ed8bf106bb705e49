"""Channel decorrelation (CDCR, section 3.4 of the paper) of encoded pairs: which features enter, and the loss."""

import torch

from .configuration_drl import DRLConfig
from .encoders import at_least_float32
from .interaction import chosen_rows, match_tokens, normalize, random_tokens, text_vector, video_vector
from .losses import channel_correlation, decorrelation_loss
from .outputs import DRLFeatures


def channel_decorrelation(
    text: DRLFeatures, video: DRLFeatures, config: DRLConfig, seed: int | None = None
) -> torch.Tensor:
    """CDCR of matching pairs by `config.cdcr`, before its lambda.

    Args:
        text ([`DRLFeatures`]): Encoded texts.
        video ([`DRLFeatures`]): Encoded videos; video i belongs to text i.
        config ([`DRLConfig`]): Says what enters, and the weights of the diagonal and of the rest.
        seed (`int`, *optional*): Decides what `cdcr="random"` chooses; by default drawn by torch's global generator.

    Returns:
        `torch.Tensor` of shape `()`: The loss; 0 where there is none.
    """
    text_tokens, frame_tokens = at_least_float32(text.tokens), at_least_float32(video.tokens)
    if config.cdcr == "none" or config.interaction == "xti":
        return text_tokens.new_zeros(())
    diagonal_only = config.cdcr_alpha_off_diagonal == 0
    if config.interaction in ("dp", "mlp") or config.cdcr == "random":
        if config.interaction in ("dp", "mlp"):
            words, frames = text_vector(text_tokens, text.mask), video_vector(frame_tokens, video.mask)
        else:
            generator = torch.Generator(text_tokens.device).manual_seed(draw_seed() if seed is None else seed)
            words = random_tokens(text_tokens, text.mask, generator)
            frames = random_tokens(frame_tokens, video.mask, generator)
        correlation = channel_correlation(normalize(words), normalize(frames), len(words), None, diagonal_only)
    else:
        best_frame, best_word = match_tokens(
            text_tokens, text.mask, frame_tokens, video.mask, config.padding_similarity
        )
        words, frames = normalize(text_tokens).flatten(0, 1), normalize(frame_tokens).flatten(0, 1)
        weighted = config.cdcr == "weighted"
        # The second has video channels as rows: the official code averages the two orientations as they are.
        by_words, by_frames = (
            channel_correlation(
                own[side.mask.flatten().bool()],
                other.index_select(0, chosen_rows(chosen, side.mask, num_candidates)),
                len(side.mask) if weighted else int(side.mask.sum()),
                side.weights[side.mask.bool()] if weighted else None,
                diagonal_only,
            )
            for own, other, chosen, side, num_candidates in (
                (words, frames, best_frame, text, video.mask.shape[1]),
                (frames, words, best_word, video, text.mask.shape[1]),
            )
        )
        correlation = (by_words + by_frames) / 2  # (dim, dim), or its diagonal
    return decorrelation_loss(correlation, config.cdcr_alpha_diagonal, config.cdcr_alpha_off_diagonal)


def draw_seed() -> int:
    """A seed from torch's global generator."""
    return int(torch.randint(2**62, ()))


__all__ = ["channel_decorrelation", "draw_seed"]
