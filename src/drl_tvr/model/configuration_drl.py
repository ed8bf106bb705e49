"""Configuration of a DRL model: two CLIP towers, a temporal encoder, an interaction and a regulariser."""

from huggingface_hub.dataclasses import strict
from huggingface_hub.errors import StrictDataclassError
from transformers import CLIPTextConfig, CLIPVisionConfig, PreTrainedConfig
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD


INTERACTIONS = ("wti", "ti", "dp", "mlp", "xti")
TEMPORAL_ENCODERS = ("transformer", "lstm", "none")
CDCR_MODES = ("weighted", "argmax", "random", "none")
PADDING_SIMILARITIES = ("ignore", "zero")
TOKEN_WEIGHT_DEPTHS = (1, 2, 3)
# Set by transformers itself when a configuration is saved and loaded.
HUB_FIELDS = (
    "model_type", "auto_map", "name_or_path", "torch_dtype", "attn_implementation", "experts_implementation",
    "output_attentions", "num_labels", "_commit_hash", "_name_or_path", "_attn_implementation_internal",
    "_experts_implementation_internal", "use_cache", "quantization_config", "per_layer_config",
)  # fmt: skip


def refuse_unknown_fields(name: str, fields: dict) -> None:
    """Refuse what is neither declared nor set by transformers itself.

    Raises:
        `ValueError`: Names the fields.
    """
    unknown = sorted(field for field in fields if field not in HUB_FIELDS)
    if unknown:
        raise ValueError(f"{name} has no field {', '.join(f'`{field}`' for field in unknown)}.")


@strict
class DRLTemporalConfig(PreTrainedConfig):
    r"""
    Configuration of the transformer over a video's frame tokens (`seqTransf` in the official code).

    Args:
        hidden_size (`int`, *optional*, defaults to 512): Width; equals the model's `projection_dim`.
        intermediate_size (`int`, *optional*, defaults to 2048): Width of the feed-forward layers.
        num_hidden_layers (`int`, *optional*, defaults to 4): Number of blocks.
        num_attention_heads (`int`, *optional*, defaults to 8): Number of attention heads.
        max_position_embeddings (`int`, *optional*, defaults to 77): Most frames that a video may have.
        hidden_act (`str`, *optional*, defaults to `"quick_gelu"`): Activation of the feed-forward layers.
        layer_norm_eps (`float`, *optional*, defaults to 1e-12): Epsilon of the layer norms. The official code uses
            1e-12 here and 1e-5 in the towers.
        attention_dropout (`float`, *optional*, defaults to 0.0): Dropout of the attention probabilities.
        initializer_range (`float`, *optional*, defaults to 0.02): Deviation of the initial positions.
        initializer_factor (`float`, *optional*, defaults to 1.0): Scale of the initial weights, as in CLIP.

    Raises:
        `ValueError`: For an unknown field, or for fields that contradict each other; the message names them.
    """

    model_type = "drl_temporal"
    base_config_key = "temporal_config"

    hidden_size: int = 512
    intermediate_size: int = 2048
    num_hidden_layers: int = 4
    num_attention_heads: int = 8
    max_position_embeddings: int = 77
    hidden_act: str = "quick_gelu"
    layer_norm_eps: float = 1e-12
    attention_dropout: int | float = 0.0
    initializer_range: float = 0.02
    initializer_factor: float = 1.0

    def __post_init__(self, **kwargs):
        refuse_unknown_fields(self.base_config_key, kwargs)
        super().__post_init__(**kwargs)
        self.validate_blocks()

    def validate_blocks(self):
        """Part of `@strict`-powered validation."""
        name = f"`{self.base_config_key}`"
        for field in ("hidden_size", "num_hidden_layers", "num_attention_heads", "max_position_embeddings"):
            if getattr(self, field) < 1:
                raise ValueError(f"{name}: `{field}` must be at least 1, got {getattr(self, field)}.")
        if self.hidden_size % self.num_attention_heads != 0:
            raise ValueError(
                f"{name}: `hidden_size` ({self.hidden_size}) must be a multiple of `num_attention_heads` "
                f"({self.num_attention_heads})."
            )


@strict
class DRLCrossConfig(DRLTemporalConfig):
    r"""
    Configuration of the cross transformer of `interaction="xti"`, over a text's vector and a video's frame tokens. The
    fields and defaults are those of [`DRLTemporalConfig`], and one more.

    Args:
        hidden_dropout (`float`, *optional*, defaults to 0.1): Dropout of the tokens and positions that enter the
            blocks.

    Raises:
        `ValueError`: For an unknown field, or for fields that contradict each other; the message names them.
    """

    model_type = "drl_cross"
    base_config_key = "cross_config"

    hidden_dropout: int | float = 0.1

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        if not 0 <= self.hidden_dropout < 1:
            raise ValueError(f"`cross_config`: `hidden_dropout` must be in [0, 1), got {self.hidden_dropout}.")


@strict
class DRLConfig(PreTrainedConfig):
    r"""
    Configuration of a [`DRLModel`]. The defaults are the recipe of the paper (arXiv 2203.07111) on MSR-VTT with
    ViT-B/32 towers.

    Args:
        text_config (`dict` or `CLIPTextConfig`, *optional*): The text tower.
        vision_config (`dict` or `CLIPVisionConfig`, *optional*): The vision tower.
        temporal_config (`dict` or `DRLTemporalConfig`, *optional*): The temporal transformer. By default four blocks
            of the text tower's proportions, `projection_dim` wide.
        cross_config (`dict` or `DRLCrossConfig`, *optional*): The cross transformer of XTI. By default as the temporal
            transformer, with 8 heads.
        projection_dim (`int`, *optional*, defaults to 512): Width of the text and frame tokens.
        interaction (`str`, *optional*, defaults to `"wti"`): How a text and a video are compared: `"wti"` (weighted
            token-wise interaction), `"ti"` (the same with uniform weights), `"dp"` (cosine of one vector a side),
            `"mlp"` (a small network on the two vectors) or `"xti"` (a transformer over the text's vector and the
            frames).
        token_weight_depth (`int`, *optional*, defaults to 2): Linear layers (1, 2 or 3) of the networks that weight
            words and frames in WTI.
        temporal_encoder (`str`, *optional*, defaults to `"transformer"`): What relates a video's frames to one
            another: `"transformer"`, `"lstm"` or `"none"`.
        padding_similarity (`str`, *optional*, defaults to `"ignore"`): `"ignore"` keeps padding out of every maximum.
            `"zero"` counts it as similarity 0, as the official code does, which pads all captions and videos to one
            length: so must the processor (`pad_to_max_length`, `pad_to_max_frames`).
        cdcr (`str`, *optional*, defaults to `"weighted"`): Channel decorrelation: `"weighted"` (matched token pairs,
            weighted as in WTI), `"argmax"` (the same unweighted), `"random"` (one random word and frame a pair) or
            `"none"`. With `"dp"` and `"mlp"` the first three are one: the vectors of both sides. XTI has none.
        cdcr_lambda (`float`, *optional*, defaults to 0.001): Weight of the decorrelation in the loss.
        cdcr_alpha_diagonal (`float`, *optional*, defaults to 0.11): Weight of the diagonal term.
        cdcr_alpha_off_diagonal (`float`, *optional*, defaults to 0.0): Weight of the off-diagonal term. Every command
            that the authors published leaves it at 0.
        logit_scale_init_value (`float`, *optional*, defaults to 2.6592): Initial logarithm of the logit scale.
        image_mean, image_std (`list[float]`, *optional*): Mean and deviation of red, green and blue from 0 to 1, by
            which the model normalises uint8 pixels; by default CLIP's.
        initializer_range (`float`, *optional*, defaults to 0.02): Deviation of the initial token weight layers.
        initializer_factor (`float`, *optional*, defaults to 1.0): Scale of the initial projections, as in CLIP.

    Raises:
        `ValueError`: For an unknown field or value, or for fields that contradict each other; the message names them.

    Example:

    ```python
    >>> from drl_tvr import DRLConfig

    >>> config = DRLConfig(interaction="ti", temporal_encoder="none")
    >>> config.interaction, config.cdcr, config.text_config.hidden_size
    ('ti', 'weighted', 512)
    ```"""

    model_type = "drl"
    sub_configs_defaults = {
        "text_config": CLIPTextConfig,
        "vision_config": CLIPVisionConfig,
        "temporal_config": DRLTemporalConfig,
        "cross_config": DRLCrossConfig,
    }

    text_config: dict | CLIPTextConfig | None = None
    vision_config: dict | CLIPVisionConfig | None = None
    temporal_config: dict | DRLTemporalConfig | None = None
    cross_config: dict | DRLCrossConfig | None = None
    projection_dim: int = 512
    interaction: str = "wti"
    token_weight_depth: int = 2
    temporal_encoder: str = "transformer"
    padding_similarity: str = "ignore"
    cdcr: str = "weighted"
    cdcr_lambda: int | float = 0.001
    cdcr_alpha_diagonal: int | float = 0.11
    cdcr_alpha_off_diagonal: int | float = 0.0
    logit_scale_init_value: int | float = 2.6592
    image_mean: list[float] | tuple[float, ...] = tuple(OPENAI_CLIP_MEAN)
    image_std: list[float] | tuple[float, ...] = tuple(OPENAI_CLIP_STD)
    initializer_range: float = 0.02
    initializer_factor: int | float = 1.0

    def __post_init__(self, **kwargs):
        refuse_unknown_fields("DRLConfig", kwargs)
        self.image_mean, self.image_std = list(self.image_mean), list(self.image_std)
        if self.projection_dim < 1:
            raise ValueError(f"`projection_dim` must be at least 1, got {self.projection_dim}.")
        try:
            if self.temporal_config is None:
                self.temporal_config = self._text_proportions()
            if self.cross_config is None:
                # 8 whatever the width, in the official code; a narrower one gets as many as divide it.
                heads = next(n for n in range(8, 0, -1) if self.projection_dim % n == 0)
                self.cross_config = {**self._text_proportions(), "num_attention_heads": heads}
            super().__post_init__(**kwargs)
        except StrictDataclassError as error:  # of a tower: not a ValueError
            raise ValueError(str(error)) from error
        # Here and not only as a validator, since `@strict` wraps what its validators raise in a type of its own.
        self.validate_drl()

    @property
    def is_token_wise(self) -> bool:
        """Whether the interaction matches words with frames (`"wti"` and `"ti"`)."""
        return self.interaction in ("wti", "ti")

    @property
    def compares_vectors(self) -> bool:
        """Whether the interaction compares one vector per side (`"dp"` and `"mlp"`)."""
        return self.interaction in ("dp", "mlp")

    @property
    def padding_takes_part(self) -> bool:
        """Whether padding counts as similarity 0 in the maxima of the interaction."""
        return self.padding_similarity == "zero" and self.is_token_wise

    def _text_proportions(self) -> dict:
        """Proportions of the text tower, as wide as the tokens."""
        text = self.text_config
        text = CLIPTextConfig(**text) if isinstance(text, dict) else text or CLIPTextConfig()
        most_heads = max(1, self.projection_dim * text.num_attention_heads // text.hidden_size)
        return {
            "hidden_size": self.projection_dim,
            "intermediate_size": 4 * self.projection_dim,
            "num_attention_heads": next(n for n in range(most_heads, 0, -1) if self.projection_dim % n == 0),
            "max_position_embeddings": text.max_position_embeddings,
            "hidden_act": text.hidden_act,
        }

    def validate_drl(self):
        """Part of `@strict`-powered validation: values, and fields that must agree."""
        for field, choices in (
            ("interaction", INTERACTIONS),
            ("token_weight_depth", TOKEN_WEIGHT_DEPTHS),
            ("temporal_encoder", TEMPORAL_ENCODERS),
            ("padding_similarity", PADDING_SIMILARITIES),
            ("cdcr", CDCR_MODES),
        ):
            value = getattr(self, field)
            if value not in choices:
                raise ValueError(f"`{field}` must be one of {', '.join(map(repr, choices))}, got {value!r}.")
        if len(self.image_mean) != 3 or len(self.image_std) != 3 or min(self.image_std) <= 0:
            raise ValueError(
                f"`image_mean` and `image_std` must be 3 numbers each, the latter above 0, got {self.image_mean} and "
                f"{self.image_std}."
            )
        for field in ("cdcr_lambda", "cdcr_alpha_diagonal", "cdcr_alpha_off_diagonal"):
            value = getattr(self, field)
            if not 0 <= value < float("inf"):
                raise ValueError(f"`{field}` must be a finite number >= 0, got {value}.")
        used = {"temporal": self.temporal_encoder == "transformer", "cross": self.interaction == "xti"}
        for blocks in used:
            width = getattr(self, f"{blocks}_config").hidden_size
            if used[blocks] and width != self.projection_dim:
                raise ValueError(
                    f"`{blocks}_config.hidden_size` ({width}) must equal `projection_dim` ({self.projection_dim}): "
                    "tokens of that width enter it."
                )


__all__ = ["DRLConfig", "DRLCrossConfig", "DRLTemporalConfig"]
