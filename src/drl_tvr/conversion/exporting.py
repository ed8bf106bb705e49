"""One side of a model as a module of its own, for `torch.export`, ONNX and servers."""

import torch
from torch import nn

from ..model.modeling_drl import DRLModel


class DRLEncoder(nn.Module):
    """Encoder of texts or of videos: tensors in, tensors out, and nothing else of the model's methods.

    Masks are not checked in an exported graph: an item without a real token gets NaN.

    Args:
        model ([`DRLModel`]): The model.
        side (`str`): `"text"` or `"video"`.

    Example:

    ```python
    >>> import torch
    >>> from drl_tvr import DRLModel
    >>> from drl_tvr.conversion import DRLEncoder

    >>> encoder = DRLEncoder(DRLModel.from_pretrained("outputs/moving-shapes"), "text")
    >>> example = torch.zeros(2, 5, dtype=torch.long), torch.ones(2, 5, dtype=torch.long)
    >>> program = torch.export.export(encoder, example)
    >>> tokens, weights = program.module()(*example)
    >>> weights.shape
    torch.Size([2, 5])
    ```"""

    def __init__(self, model: DRLModel, side: str):
        super().__init__()
        if side not in ("text", "video"):
            raise ValueError(f"`side`: found {side!r}, expected 'text' or 'video'.")
        self.model, self.side = model, side

    def forward(self, inputs: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode `inputs` where `mask` is 1.

        Args:
            inputs (`torch.Tensor`): `input_ids` or `pixel_values_videos`.
            mask (`torch.Tensor` of shape `(num_items, num_tokens)`): 1 for real tokens.

        Returns:
            `tuple(torch.Tensor)`: `tokens` and `weights` of [`DRLFeatures`].
        """
        encode = self.model.get_text_features if self.side == "text" else self.model.get_video_features
        features = encode(inputs, mask)
        return features.tokens, features.weights


__all__ = ["DRLEncoder"]
