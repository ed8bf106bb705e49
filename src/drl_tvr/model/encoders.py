"""Temporal encoders over frame tokens, and the networks that weight words and frames."""

import torch
from torch import nn
from transformers import CLIPTextModel
from transformers import initialization as init
from transformers.masking_utils import create_bidirectional_mask
from transformers.models.clip.modeling_clip import CLIPEncoderLayer, CLIPPreTrainedModel
from transformers.utils import logging

from .configuration_drl import DRLTemporalConfig
from .tensors import at_least_float32


logger = logging.get_logger(__name__)


class DRLTokenWeights(nn.Module):
    """Network that weights the tokens of an item: a softmax over its real tokens. Tokens come in un-normalised.

    Args:
        dim (`int`): Width of the tokens.
        depth (`int`): Number of linear layers.
    """

    def __init__(self, dim: int, depth: int):
        super().__init__()
        self.layers = nn.ModuleList()
        for _ in range(depth - 1):
            self.layers.extend([nn.Linear(dim, dim), nn.ReLU()])
        self.layers.append(nn.Linear(dim, 1))

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Weight `tokens` (num_items, num_tokens, dim) by `mask` (num_items, num_tokens), in at least float32."""
        for layer in self.layers:
            tokens = layer(tokens)
        scores = at_least_float32(tokens.squeeze(-1))  # (num_items, num_tokens)
        return scores.masked_fill(~mask.bool(), float("-inf")).softmax(dim=-1)


class DRLBlockStack(CLIPPreTrainedModel):
    """Learned positions and CLIP's pre-norm blocks, the common part of the temporal and the cross transformer.

    Args:
        config ([`DRLTemporalConfig`]): Its configuration.
    """

    config: DRLTemporalConfig
    main_input_name = "frame_tokens"
    input_modalities = ("video",)
    num_text_tokens = 0  # text tokens that share the position table with the frames

    def __init__(self, config: DRLTemporalConfig):
        super().__init__(config)
        self.position_embedding = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.layers = nn.ModuleList([CLIPEncoderLayer(config) for _ in range(config.num_hidden_layers)])
        self.gradient_checkpointing = False

    @torch.no_grad()
    def _init_weights(self, module):
        super()._init_weights(module)
        if isinstance(module, DRLBlockStack):
            init.normal_(module.position_embedding.weight, std=module.config.initializer_range)

    def check_num_frames(self, num_frames: int) -> None:
        """Refuse more frames than there are positions, before the vision tower runs.

        Raises:
            `ValueError`: When there are more frames than positions.
        """
        positions = self.config.max_position_embeddings
        if num_frames + self.num_text_tokens > positions:
            most = positions - self.num_text_tokens
            raise ValueError(
                f"Video: found {num_frames} frames, expected at most {most}: "
                f"`{self.config.base_config_key}.max_position_embeddings` is {positions}."
            )

    def add_positions(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Add the learned positions to `hidden_states` (num_items, length, dim)."""
        positions = torch.arange(hidden_states.shape[1], device=hidden_states.device)
        return hidden_states + self.position_embedding(positions)

    def run_blocks(self, hidden_states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Run the blocks on `hidden_states` (num_items, length, dim), where `mask` (num_items, length) is 1."""
        attention_mask = create_bidirectional_mask(
            config=self.config, inputs_embeds=hidden_states, attention_mask=mask
        )
        for layer in self.layers:
            hidden_states = layer(hidden_states, attention_mask)
        return hidden_states

    @torch.no_grad()
    def start_as(self, text_model: CLIPTextModel) -> None:
        """Copy the first blocks and the positions of CLIP's text tower, as the official code does.

        When the sizes differ, the random weights stay, and a warning names the sizes.
        """
        name = self.config.base_config_key
        text = text_model.config
        sizes = ("hidden_size", "intermediate_size", "hidden_act")
        differing = [size for size in sizes if getattr(text, size) != getattr(self.config, size)]
        if text.num_hidden_layers < self.config.num_hidden_layers:
            differing.append("num_hidden_layers")
        if differing:
            logger.warning(
                f"The blocks of `{name}` keep their random weights: the text tower differs in {', '.join(differing)}."
            )
            return
        # The text tower may have more layers.
        for target, source in zip(self.layers, text_model.encoder.layers, strict=False):
            target.load_state_dict(source.state_dict())
        positions = text_model.embeddings.position_embedding.weight
        rows = min(len(positions), len(self.position_embedding.weight))
        self.position_embedding.weight[:rows] = positions[:rows]


class DRLTemporalTransformer(DRLBlockStack):
    """Transformer over the frames of a video plus their positions, with a residual connection around it.

    Args:
        config ([`DRLTemporalConfig`]): Its configuration.
    """

    def __init__(self, config: DRLTemporalConfig):
        super().__init__(config)
        self.post_init()

    def forward(self, frame_tokens: torch.Tensor, video_mask: torch.Tensor) -> torch.Tensor:
        """Encode the frames of each video.

        Args:
            frame_tokens (`torch.Tensor` of shape `(num_videos, num_frames, dim)`): Frames.
            video_mask (`torch.Tensor` of shape `(num_videos, num_frames)`): 1 for real frames.

        Returns:
            `torch.Tensor` of shape `(num_videos, num_frames, dim)`: Frames, each in the context of the others.

        Raises:
            `ValueError`: When there are more frames than `max_position_embeddings`.
        """
        self.check_num_frames(frame_tokens.shape[1])
        return self.run_blocks(self.add_positions(frame_tokens), video_mask) + frame_tokens


class DRLTemporalLSTM(nn.Module):
    """LSTM layer over the real frames of a video, with a residual connection (`seqLSTM` in the official code).

    Args:
        dim (`int`): Width of the frame tokens.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.lstm = nn.LSTM(dim, dim, batch_first=True)

    def forward(self, frame_tokens: torch.Tensor, video_mask: torch.Tensor) -> torch.Tensor:
        """Encode `frame_tokens` (num_videos, num_frames, dim) where `video_mask` is 1; padding does not change."""
        real = video_mask.bool()
        # Real frames first, in their order: an LSTM does not look ahead, so padding behind them changes nothing.
        order = real.to(torch.uint8).argsort(dim=1, descending=True, stable=True)  # (num_videos, num_frames)
        encoded, _ = self.lstm(frame_tokens.take_along_dim(order[..., None], dim=1))
        encoded = encoded.take_along_dim(order.argsort(dim=1)[..., None], dim=1)  # in the order of `frame_tokens`
        return frame_tokens + encoded.masked_fill(~real[..., None], 0.0).to(frame_tokens.dtype)


__all__ = ["DRLBlockStack", "DRLTemporalLSTM", "DRLTemporalTransformer", "DRLTokenWeights"]
