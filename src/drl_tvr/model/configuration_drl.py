"""Configuration of a DRL model: two CLIP towers, a temporal encoder, an interaction and a regulariser."""

import math
from collections.abc import Callable
from dataclasses import fields
from functools import wraps

from huggingface_hub.dataclasses import strict
from huggingface_hub.errors import StrictDataclassError
from transformers import CLIPTextConfig, CLIPVisionConfig, PreTrainedConfig
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD
from transformers.utils import logging


INTERACTIONS = ("wti", "ti", "dp", "mlp", "xti")
TEMPORAL_ENCODERS = ("transformer", "lstm", "none")
CDCR_MODES = ("weighted", "argmax", "random", "none")
PADDING_SIMILARITIES = ("ignore", "zero")
TOKEN_WEIGHT_DEPTHS = (1, 2, 3)
# Fields of the towers and blocks that say how large they are. Building more layers takes minutes and all memory.
SIZES = (
    "num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads", "max_position_embeddings",
    "vocab_size", "image_size", "patch_size", "num_channels",
)  # fmt: skip
MAX_LAYERS, MAX_SIZE = 1000, 10**6
# Fields that transformers sets when a configuration is saved and loaded.
HUB_FIELDS = (
    "model_type", "auto_map", "name_or_path", "torch_dtype", "attn_implementation", "experts_implementation",
    "output_attentions", "num_labels", "_commit_hash", "_name_or_path", "_attn_implementation_internal",
    "_experts_implementation_internal", "use_cache", "quantization_config", "per_layer_config",
)  # fmt: skip
# Those of them that a file may not set: each can name code in another repository.
CALL_FIELDS = (
    "attn_implementation", "experts_implementation", "_attn_implementation_internal",
    "_experts_implementation_internal",
)  # fmt: skip


logger = logging.get_logger(__name__)


def refuse_unknown_fields(name: str, fields: dict) -> None:
    """Refuse fields that are neither declared nor set by transformers.

    Raises:
        `ValueError`: When there are such fields.
    """
    unknown = sorted(field for field in fields if field not in HUB_FIELDS)
    if unknown:
        fields = ", ".join(f"`{field}`" for field in unknown)
        raise ValueError(f"{name}: found the unknown {'field' if len(unknown) == 1 else 'fields'} {fields}.")


def check_sizes(name: str, part: dict | PreTrainedConfig) -> None:
    """Refuse sizes of a tower or of blocks that no model has, before anything is built by them.

    Args:
        name (`str`): Name of the part in the configuration.
        part (`dict` or `PreTrainedConfig`): The part.

    Raises:
        `ValueError`: When a size is below 1 or very large; the message names it.
    """
    fields = part if isinstance(part, dict) else vars(part)
    for field in SIZES:
        if isinstance(fields.get(field), int):
            check_size(f"{name}.{field}", fields[field], MAX_LAYERS if field == "num_hidden_layers" else MAX_SIZE)


def check_size(name: str, found: int, most: int = MAX_SIZE) -> None:
    """Refuse a size below 1, or above the largest.

    Raises:
        `ValueError`: When it is; the message names the field.
    """
    if not 1 <= found <= most:
        expected = "at least 1" if found < 1 else f"at most {most:,}"
        raise ValueError(f"`{name}`: found {found}, expected {expected}.")


def known_fields(config_class: type[PreTrainedConfig], content: dict) -> dict:
    """Keep the fields of a file that its configuration knows, and warn of the others.

    Other tools and other versions of transformers write keys of their own to `config.json`.

    Args:
        config_class (`type`): The class of the configuration.
        content (`dict`): The content of the file, or of its part for the class.

    Returns:
        `dict`: The known fields.
    """
    known = {field.name for field in fields(config_class)}.union(HUB_FIELDS).difference(CALL_FIELDS)
    ignored = sorted(key for key in content if key not in known)
    if ignored:
        logger.warning(f"{config_class.__name__}: ignored unknown keys of the file: {', '.join(ignored)}.")
    return {key: value for key, value in content.items() if key in known}


def raise_value_errors(config_class: type[PreTrainedConfig]) -> type[PreTrainedConfig]:
    """Decorate a `@strict` configuration so that its errors, also those of its towers, are `ValueError`s.

    Args:
        config_class (`type`): The class; it is changed.

    Returns:
        `type`: The same class.
    """

    def with_value_errors(method: Callable) -> Callable:
        @wraps(method)
        def call(self, *args, **kwargs):
            try:
                return method(self, *args, **kwargs)
            except StrictDataclassError as error:
                raise ValueError(str(error.__cause__ or error)) from error

        return call

    for name in ("__init__", "__setattr__", "validate"):  # `from_pretrained(..., field=value)` sets fields one by one
        setattr(config_class, name, with_value_errors(getattr(config_class, name)))
    return config_class


@raise_value_errors
@strict
class DRLTemporalConfig(PreTrainedConfig):
    r"""Configuration of the transformer over a video's frame tokens (`seqTransf` in the official code).

    Args:
        hidden_size (`int`, *optional*, defaults to 512): Width; equals the model's `projection_dim`.
        intermediate_size (`int`, *optional*, defaults to 2048): Width of the feed-forward layers.
        num_hidden_layers (`int`, *optional*, defaults to 4): Number of blocks.
        num_attention_heads (`int`, *optional*, defaults to 8): Number of attention heads.
        max_position_embeddings (`int`, *optional*, defaults to 77): Largest number of frames per video.
        hidden_act (`str`, *optional*, defaults to `"quick_gelu"`): Activation of the feed-forward layers.
        layer_norm_eps (`float`, *optional*, defaults to 1e-12): Epsilon of the layer norms. The official code uses
            1e-12 here and 1e-5 in the towers.
        attention_dropout (`float`, *optional*, defaults to 0.0): Dropout of the attention probabilities.
        initializer_range (`float`, *optional*, defaults to 0.02): Standard deviation of the initial positions.
        initializer_factor (`float`, *optional*, defaults to 1.0): Scale of the initial weights, as in CLIP.

    Raises:
        `ValueError`: When a field is unknown or invalid, or fields contradict each other.
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

    @classmethod
    def from_dict(cls, config_dict: dict, **kwargs) -> "DRLTemporalConfig":
        """Make a configuration from the content of a file; unknown keys are ignored with a warning."""
        return super().from_dict(known_fields(cls, config_dict), **kwargs)

    def validate_blocks(self):
        """Part of `@strict`-powered validation."""
        check_sizes(self.base_config_key, self)
        if self.hidden_size % self.num_attention_heads != 0:
            raise ValueError(
                f"`{self.base_config_key}`: `hidden_size`: found {self.hidden_size}, expected a multiple of "
                f"`num_attention_heads` ({self.num_attention_heads})."
            )


@raise_value_errors
@strict
class DRLCrossConfig(DRLTemporalConfig):
    r"""Configuration of the cross transformer of `interaction="xti"`, over a text's vector and a video's frame tokens.

    It has the fields and defaults of [`DRLTemporalConfig`] and one field more.

    Args:
        hidden_dropout (`float`, *optional*, defaults to 0.1): Dropout of the tokens, with their positions,
            before the blocks.

    Raises:
        `ValueError`: When a field is unknown or invalid, or fields contradict each other.
    """

    model_type = "drl_cross"
    base_config_key = "cross_config"

    hidden_dropout: int | float = 0.1

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        if not 0 <= self.hidden_dropout < 1:
            raise ValueError(
                f"`cross_config`: `hidden_dropout`: found {self.hidden_dropout}, expected at least 0 and below 1."
            )


@raise_value_errors
@strict
class DRLConfig(PreTrainedConfig):
    r"""Configuration of a [`DRLModel`].

    The defaults are the recipe of the paper (arXiv 2203.07111) on MSR-VTT with ViT-B/32 towers.

    Args:
        text_config (`dict` or `CLIPTextConfig`, *optional*): The text tower.
        vision_config (`dict` or `CLIPVisionConfig`, *optional*): The vision tower.
        temporal_config (`dict` or `DRLTemporalConfig`, *optional*): The temporal transformer. By default four blocks
            of the text tower's proportions, `projection_dim` wide.
        cross_config (`dict` or `DRLCrossConfig`, *optional*): The cross transformer of XTI. By default as the temporal
            transformer, with 8 heads.
        projection_dim (`int`, *optional*, defaults to 512): Width of the text and frame tokens.
        interaction (`str`, *optional*, defaults to `"wti"`): How a text and a video are compared: `"wti"` (weighted
            token-wise interaction), `"ti"` (the same with uniform weights), `"dp"` (cosine of one vector per side),
            `"mlp"` (a small network on the two vectors) or `"xti"` (a transformer over the text's vector and the
            frames).
        token_weight_depth (`int`, *optional*, defaults to 2): Linear layers (1, 2 or 3) of the networks that weight
            words and frames in WTI.
        temporal_encoder (`str`, *optional*, defaults to `"transformer"`): Network over the frames of a video:
            `"transformer"`, `"lstm"` or `"none"`.
        padding_similarity (`str`, *optional*, defaults to `"ignore"`): `"ignore"` keeps padding out of every maximum.
            `"zero"` counts it as similarity 0, as the official code does. The official code pads to a fixed length:
            set `pad_to_max_length` and `pad_to_max_frames` of the processor accordingly.
        cdcr (`str`, *optional*, defaults to `"weighted"`): Channel decorrelation: `"weighted"` (matched token pairs,
            weighted as in WTI), `"argmax"` (the same unweighted), `"random"` (one random word and frame per pair) or
            `"none"`. `"dp"` and `"mlp"` have one vector per side, so the first three coincide. `"xti"` has no CDCR.
        cdcr_lambda (`float`, *optional*, defaults to 0.001): Weight of the decorrelation in the loss.
        cdcr_alpha_diagonal (`float`, *optional*, defaults to 0.11): Weight of the diagonal term.
        cdcr_alpha_off_diagonal (`float`, *optional*, defaults to 0.0): Weight of the off-diagonal term. All commands
            that the authors published leave it at 0.
        logit_scale_init_value (`float`, *optional*, defaults to 2.6592): Initial logarithm of the logit scale.
        image_mean, image_std (`list[float]`, *optional*): Mean and standard deviation of red, green and blue from 0
            to 1, with which the model normalises uint8 pixels; by default those of CLIP.
        initializer_range (`float`, *optional*, defaults to 0.02): Standard deviation of the initial token weights.
        initializer_factor (`float`, *optional*, defaults to 1.0): Scale of the initial projections, as in CLIP.

    Raises:
        `ValueError`: When a field is unknown or invalid, or fields contradict each other. Unknown keys of a file are
            ignored with a warning, and are not saved again: other tools and other versions write keys of their own.

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
    image_mean: list[int | float] | tuple[int | float, ...] = tuple(OPENAI_CLIP_MEAN)
    image_std: list[int | float] | tuple[int | float, ...] = tuple(OPENAI_CLIP_STD)
    initializer_range: float = 0.02
    initializer_factor: int | float = 1.0

    def __post_init__(self, **kwargs):
        refuse_unknown_fields("DRLConfig", kwargs)
        self.image_mean, self.image_std = list(self.image_mean), list(self.image_std)
        check_size("projection_dim", self.projection_dim)
        self._check_towers()  # before the towers divide by a size
        if self.temporal_config is None:
            self.temporal_config = self._text_proportions()
        if self.cross_config is None:
            # 8 for any width in the official code; here the largest number up to 8 that divides the width.
            heads = next(n for n in range(8, 0, -1) if self.projection_dim % n == 0)
            self.cross_config = {**self._text_proportions(), "num_attention_heads": heads}
        super().__post_init__(**kwargs)

    @classmethod
    def from_dict(cls, config_dict: dict, **kwargs) -> "DRLConfig":
        """Make a configuration from the content of a file; unknown keys are ignored with a warning."""
        content = known_fields(cls, config_dict)
        for name in ("temporal_config", "cross_config"):
            if isinstance(content.get(name), dict):
                content[name] = known_fields(cls.sub_configs[name], content[name])
        return super().from_dict(content, **kwargs)

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

    def _check_towers(self) -> None:
        """Refuse sizes of the towers that no model has."""
        for name in ("text_config", "vision_config"):
            check_sizes(name, getattr(self, name) or {})

    def _text_proportions(self) -> dict:
        """Return the proportions of the text tower at the width of the tokens."""
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
                raise ValueError(f"`{field}`: found {value!r}, expected one of {', '.join(map(repr, choices))}.")
        self._check_towers()
        vision = self.vision_config
        if isinstance(vision.image_size, int) and vision.patch_size > vision.image_size:
            raise ValueError(
                f"`vision_config.patch_size`: found {vision.patch_size}, expected at most {vision.image_size}, the "
                "`image_size`."
            )
        is_finite = all(map(math.isfinite, [*self.image_mean, *self.image_std]))
        if len(self.image_mean) != 3 or len(self.image_std) != 3 or not is_finite or min(self.image_std) <= 0:
            raise ValueError(
                f"`image_mean`, `image_std`: found {self.image_mean} and {self.image_std}, expected 3 values each, "
                "all finite, and those of `image_std` above 0."
            )
        for field in ("cdcr_lambda", "cdcr_alpha_diagonal", "cdcr_alpha_off_diagonal"):
            value = getattr(self, field)
            if not 0 <= value < float("inf"):
                raise ValueError(f"`{field}`: found {value}, expected a finite number of at least 0.")
        if not abs(self.logit_scale_init_value) <= 80:
            raise ValueError(
                f"`logit_scale_init_value`: found {self.logit_scale_init_value}, expected a logarithm from -80 to 80."
            )
        used = {"temporal": self.temporal_encoder == "transformer", "cross": self.interaction == "xti"}
        for blocks in used:
            width = getattr(self, f"{blocks}_config").hidden_size
            if used[blocks] and width != self.projection_dim:
                raise ValueError(
                    f"`{blocks}_config.hidden_size`: found {width}, expected `projection_dim` "
                    f"({self.projection_dim}), the width of the tokens."
                )


__all__ = ["DRLConfig", "DRLCrossConfig", "DRLTemporalConfig"]
