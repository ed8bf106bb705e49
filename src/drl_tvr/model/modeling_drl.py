"""The DRL model: CLIP towers that keep every token, a temporal encoder, token weights and an interaction."""

import os
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from transformers import AutoConfig, CLIPConfig, CLIPTextModel, CLIPVisionModel
from transformers import initialization as init
from transformers.models.clip.modeling_clip import CLIPPreTrainedModel
from transformers.utils import CONFIG_NAME, ModelOutput, cached_file, can_return_tuple, logging

from .configuration_drl import DRLConfig
from .decorrelation import decorrelate_tokens, decorrelate_vectors
from .encoders import DRLBlockStack, DRLTemporalLSTM, DRLTemporalTransformer, DRLTokenWeights
from .interaction import (
    dot_product,
    normalize,
    text_vector,
    uniform_weights,
    video_vector,
    weighted_token_wise_interaction,
)
from .losses import contrastive_loss
from .own_files import LOCATION, check_weights_are_own
from .pair_networks import DRLCrossTransformer, DRLPairMLP
from .publishing import DRLPublishMixin
from .tensors import at_least_float32, check_mask, dtype_of, mask_up_to_end, without_autocast


logger = logging.get_logger(__name__)


@dataclass
class DRLFeatures(ModelOutput):
    """Encoded texts or videos: tokens, weights and mask stay together up to the similarity, the loss or an index.

    Args:
        tokens (`torch.Tensor` of shape `(num_items, num_tokens, dim)`): Words or frames, not normalised. Padding is 0,
            except with `padding_similarity="zero"`.
        weights (`torch.Tensor` of shape `(num_items, num_tokens)`): Weights that sum to 1 per item, 0 on padding.
        mask (`torch.Tensor` of shape `(num_items, num_tokens)`): 1 for real tokens, 0 for padding.
    """

    tokens: torch.FloatTensor | None = None
    weights: torch.FloatTensor | None = None
    mask: torch.LongTensor | None = None


@dataclass
class DRLOutput(ModelOutput):
    """Output of [`DRLModel`].

    Args:
        loss (`torch.Tensor` of shape `()`, *optional*, returned when `return_loss=True`):
            `contrastive_loss + cdcr_lambda * cdcr_loss`.
        contrastive_loss (`torch.Tensor` of shape `()`, *optional*, returned when `return_loss=True`):
            Symmetric cross entropy of `logits_per_text`.
        cdcr_loss (`torch.Tensor` of shape `()`, *optional*, returned when `return_loss=True`):
            Channel decorrelation before it is multiplied by `cdcr_lambda`; 0 with `cdcr="none"`.
        logits_per_text (`torch.Tensor` of shape `(num_texts, num_videos)`):
            Similarities times `exp(logit_scale)`.
        logits_per_video (`torch.Tensor` of shape `(num_videos, num_texts)`):
            The transpose of `logits_per_text`.
        text_tokens (`torch.Tensor` of shape `(num_texts, num_tokens, dim)`):
            Projected words, not normalised.
        text_weights (`torch.Tensor` of shape `(num_texts, num_tokens)`):
            Weight of every word; uniform unless `interaction="wti"`.
        frame_tokens (`torch.Tensor` of shape `(num_videos, num_frames, dim)`):
            Projected frames after the temporal encoder, not normalised.
        frame_weights (`torch.Tensor` of shape `(num_videos, num_frames)`):
            Weight of every frame; uniform unless `interaction="wti"`.
    """

    loss: torch.FloatTensor | None = None
    contrastive_loss: torch.FloatTensor | None = None
    cdcr_loss: torch.FloatTensor | None = None
    logits_per_text: torch.FloatTensor | None = None
    logits_per_video: torch.FloatTensor | None = None
    text_tokens: torch.FloatTensor | None = None
    text_weights: torch.FloatTensor | None = None
    frame_tokens: torch.FloatTensor | None = None
    frame_weights: torch.FloatTensor | None = None


class DRLPreTrainedModel(CLIPPreTrainedModel):
    """Initialise, load and save weights as CLIP does, since the towers are CLIP's."""

    config: DRLConfig
    base_model_prefix = "drl"
    main_input_name = "input_ids"
    input_modalities = ("video", "text")

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *model_args, **kwargs):
        """Load a checkpoint from its own files, by `PreTrainedModel.from_pretrained`.

        Raises:
            `ValueError`: When the files name weights in another folder or repository.
        """
        if pretrained_model_name_or_path is not None:
            location = {name: kwargs[name] for name in LOCATION if name in kwargs}
            check_weights_are_own(pretrained_model_name_or_path, **location)
        return super().from_pretrained(pretrained_model_name_or_path, *model_args, **kwargs)

    @torch.no_grad()
    def _init_weights(self, module):
        super()._init_weights(module)
        if isinstance(module, nn.LSTM):
            bound = module.hidden_size**-0.5
            for parameter in module.parameters():
                init.uniform_(parameter, -bound, bound)
        elif isinstance(module, DRLModel):
            config, factor = module.config, module.config.initializer_factor
            init.normal_(module.text_projection.weight, std=config.text_config.hidden_size**-0.5 * factor)
            init.normal_(module.visual_projection.weight, std=config.vision_config.hidden_size**-0.5 * factor)
            init.constant_(module.logit_scale, config.logit_scale_init_value)


class DRLModel(DRLPublishMixin, DRLPreTrainedModel):
    r"""Text-video retrieval with disentangled representations (Wang et al., arXiv 2203.07111).

    A text is encoded as one weighted token per word, a video as one weighted token per frame. `config.interaction`
    says how every text is scored with every video.

    Args:
        config ([`DRLConfig`]): The model's configuration.

    Example:

    ```python
    >>> import torch
    >>> from drl_tvr import DRLConfig, DRLModel

    >>> tower = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    >>> config = DRLConfig(
    ...     text_config={**tower, "vocab_size": 100, "bos_token_id": 98, "eos_token_id": 99},
    ...     vision_config={**tower, "image_size": 32, "patch_size": 16},
    ...     projection_dim=32,
    ... )
    >>> model = DRLModel(config).eval()
    >>> outputs = model(
    ...     input_ids=torch.tensor([[98, 5, 7, 99]]),
    ...     attention_mask=torch.ones(1, 4, dtype=torch.long),
    ...     pixel_values_videos=torch.zeros(3, 6, 3, 32, 32),
    ...     video_mask=torch.ones(3, 6, dtype=torch.long),
    ... )
    >>> outputs.logits_per_text.shape
    torch.Size([1, 3])
    ```"""

    published_as = {None: "AutoModel", "config": "AutoConfig"}
    # Prefixes of the modules that a CLIP checkpoint does not contain; they are trained at `learning_rate`.
    NEW_MODULES = (
        "temporal_encoder.",
        "text_token_weights.",
        "frame_token_weights.",
        "pair_mlp.",
        "cross_transformer.",
    )
    # Fields of the configuration that a CLIP checkpoint decides.
    CLIP_FIELDS = ("text_config", "vision_config", "projection_dim", "logit_scale_init_value")
    # Where the weights, or only the CLIP towers, were loaded from; not saved, only for the model card.
    loaded_from: str | None = None
    towers_loaded_from: str | None = None
    # Prefixes of the parameters that come after the encoders.
    COMPARING_MODULES = ("logit_scale", "pair_mlp.", "cross_transformer.")

    def __init__(self, config: DRLConfig):
        # `from_pretrained(..., field=value)` sets fields after validation, so validate again.
        config.validate_drl()
        super().__init__(config)
        text_config, vision_config, dim = config.text_config, config.vision_config, config.projection_dim
        dtype = torch.get_default_dtype()  # one for all parts: a part's configuration remembers its last one
        self.text_model = CLIPTextModel._from_config(text_config, dtype=dtype)
        self.vision_model = CLIPVisionModel._from_config(vision_config, dtype=dtype)
        self.text_projection = nn.Linear(text_config.hidden_size, dim, bias=False)
        self.visual_projection = nn.Linear(vision_config.hidden_size, dim, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(float(config.logit_scale_init_value)))
        self.temporal_encoder = None
        if config.temporal_encoder == "transformer":
            self.temporal_encoder = DRLTemporalTransformer._from_config(config.temporal_config, dtype=dtype)
        elif config.temporal_encoder == "lstm":
            self.temporal_encoder = DRLTemporalLSTM(dim)
        self.text_token_weights = self.frame_token_weights = self.pair_mlp = self.cross_transformer = None
        if config.interaction == "wti":
            self.text_token_weights = DRLTokenWeights(dim, config.token_weight_depth)
            self.frame_token_weights = DRLTokenWeights(dim, config.token_weight_depth)
        elif config.interaction == "mlp":
            self.pair_mlp = DRLPairMLP(dim)
        elif config.interaction == "xti":
            self.cross_transformer = DRLCrossTransformer._from_config(config.cross_config, dtype=dtype)
            if config.cdcr != "none" and config.cdcr_lambda > 0:
                logger.warning_once(f"XTI has no channel decorrelation: `cdcr={config.cdcr!r}` adds 0 to the loss.")
        self.post_init()

    @classmethod
    def from_clip_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike, *, hub_kwargs: dict | None = None, **config_fields
    ) -> "DRLModel":
        """Build a DRL model on the towers of a CLIP checkpoint.

        The towers, projections and logit scale are the checkpoint's. The temporal and the cross transformer start as
        copies of the text tower's first blocks and positions, as in the official code; everything else is random.

        Args:
            pretrained_model_name_or_path (`str` or `os.PathLike`): A `CLIPModel` checkpoint, folder or Hub name.
            hub_kwargs (`dict`, *optional*): Arguments of `from_pretrained` that say where the checkpoint is and how to
                load it (`revision`, `token`, `cache_dir`, `dtype`, `attn_implementation`, ...). Without `dtype`, the
                weights are float32, in which they can be trained, whatever the checkpoint stores.
            config_fields: Fields of [`DRLConfig`].

        Returns:
            [`DRLModel`]: The model in evaluation mode, as after `from_pretrained`.

        Raises:
            `ValueError`: When the checkpoint is not a CLIP model or lacks weights of the towers, or when a field is
                given that the checkpoint decides.
            `OSError`: When there is no such checkpoint.
        """
        given = [f"`{name}`" for name in cls.CLIP_FIELDS if name in config_fields]
        if given:
            raise ValueError(f"{', '.join(given)}: found as an argument, expected the checkpoint's own to be used.")
        hub_kwargs = dict(hub_kwargs or {})
        if "torch_dtype" not in hub_kwargs:  # the former name of `dtype`
            hub_kwargs.setdefault("dtype", torch.float32)
        finding = ("revision", "token", "cache_dir", "subfolder", "local_files_only", "force_download", "proxies")
        location = {name: hub_kwargs[name] for name in finding if name in hub_kwargs}
        if cached_file(pretrained_model_name_or_path, CONFIG_NAME, **location) is None:
            raise OSError(f"{pretrained_model_name_or_path}: found no {CONFIG_NAME}, expected a CLIP checkpoint.")
        clip_config = AutoConfig.from_pretrained(pretrained_model_name_or_path, **location)
        if not isinstance(clip_config, CLIPConfig):
            raise ValueError(
                f"{pretrained_model_name_or_path}: found a checkpoint of type {clip_config.model_type!r}, expected "
                "'clip'."
            )
        config = DRLConfig(**{name: getattr(clip_config, name) for name in cls.CLIP_FIELDS}, **config_fields)
        model, report = cls.from_pretrained(
            pretrained_model_name_or_path, config=config, output_loading_info=True, **hub_kwargs
        )
        missing = sorted(key for key in report["missing_keys"] if not key.startswith(cls.NEW_MODULES))
        if missing:
            raise ValueError(
                f"{pretrained_model_name_or_path}: found no weights for {', '.join(missing)}, expected all weights of "
                "the CLIP towers."
            )
        for module in (model.temporal_encoder, model.cross_transformer):
            if isinstance(module, DRLBlockStack):
                module.start_as(model.text_model)
        model.loaded_from, model.towers_loaded_from = None, str(pretrained_model_name_or_path)
        return model

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike | None, *args, **kwargs):
        """Load as [`~transformers.PreTrainedModel.from_pretrained`] does, and remember where from."""
        loaded = super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded  # with `output_loading_info=True`
        if pretrained_model_name_or_path is not None:
            model.loaded_from = str(pretrained_model_name_or_path)
        return loaded

    def get_input_embeddings(self) -> nn.Module:
        """Return the text tower's token embeddings, which FSDP asks for."""
        return self.text_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the text tower's token embeddings; `resize_token_embeddings` calls it."""
        self.text_model.set_input_embeddings(value)

    def get_text_features(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None) -> DRLFeatures:
        """Encode texts.

        Args:
            input_ids (`torch.Tensor` of shape `(num_texts, num_tokens)`): Token ids.
            attention_mask (`torch.Tensor` of shape `(num_texts, num_tokens)`, *optional*): 1 for real tokens; by
                default all up to the first end of text, where `CLIPModel` reads a text.

        Returns:
            [`DRLFeatures`]: Every token projected, with weights and mask.

        Raises:
            `ValueError`: When there is no text, the shapes do not agree or a text has no real token.
        """
        if input_ids.dim() != 2 or 0 in input_ids.shape:
            raise ValueError(
                f"`input_ids`: found shape {tuple(input_ids.shape)}, expected (num_texts, num_tokens), both at "
                "least 1."
            )
        if attention_mask is None:
            attention_mask = mask_up_to_end(input_ids, self.config.text_config.eos_token_id)
        check_mask("attention_mask", attention_mask, "input_ids", input_ids.shape)
        tower_mask = attention_mask
        if self.config.padding_similarity == "zero":
            # The official tower sees padding as token 0. The states of real words do not change (the tower is causal),
            # but a frame can match a padded word, whose state then enters the decorrelation.
            input_ids, tower_mask = input_ids.masked_fill(attention_mask == 0, 0), None
        states = self.text_model(input_ids=input_ids, attention_mask=tower_mask).last_hidden_state
        tokens = self.text_projection(states)  # (num_texts, num_tokens, dim)
        return self._to_features(tokens, attention_mask, self.text_token_weights)

    def get_video_features(
        self, pixel_values_videos: torch.Tensor, video_mask: torch.Tensor | None = None
    ) -> DRLFeatures:
        """Encode videos. Only real frames enter the vision tower.

        Args:
            pixel_values_videos (`torch.Tensor` of shape `(num_videos, num_frames, 3, size, size)`): Normalised pixels,
                or uint8 pixels, which are normalised here on their device.
            video_mask (`torch.Tensor` of shape `(num_videos, num_frames)`, *optional*): 1 for real frames.

        Returns:
            [`DRLFeatures`]: Every frame projected and temporally encoded, with weights and mask.

        Raises:
            `ValueError`: When there is no video, the shapes do not agree, a video has no real frame, or there are more
                frames than the temporal encoder has positions for.
        """
        if pixel_values_videos.dim() != 5 or 0 in pixel_values_videos.shape:
            raise ValueError(
                f"`pixel_values_videos`: found shape {tuple(pixel_values_videos.shape)}, expected 5 dimensions "
                "(num_videos, num_frames, 3, height, width), all at least 1."
            )
        if video_mask is None:
            video_mask = torch.ones(pixel_values_videos.shape[:2], dtype=torch.long, device=pixel_values_videos.device)
        check_mask("video_mask", video_mask, "pixel_values_videos", pixel_values_videos.shape[:2])
        for module in (self.temporal_encoder, self.cross_transformer):
            if isinstance(module, DRLBlockStack):
                module.check_num_frames(video_mask.shape[1])
        # The official code encodes padding too, and padding can win a maximum there: so `"zero"` encodes it as well.
        real = torch.ones_like(video_mask).bool() if self.config.padding_similarity == "zero" else video_mask.bool()
        pixels = pixel_values_videos[real]  # (num_real_frames, 3, size, size)
        if pixels.dtype == torch.uint8:
            pixels = self._normalize_pixels(pixels).masked_fill(~video_mask.bool()[real][:, None, None, None], 0.0)
        pooled = self.vision_model(pixel_values=pixels).pooler_output
        frames = self.visual_projection(pooled)  # (num_real_frames, dim)
        # A scatter, since `torch.compile` needs shapes that do not depend on the mask: (num_videos, num_frames, dim).
        tokens = frames.new_zeros(*real.shape, frames.shape[-1]).masked_scatter(real[..., None], frames)
        if self.temporal_encoder is not None:
            tokens = self.temporal_encoder(tokens, video_mask)
        return self._to_features(tokens, video_mask, self.frame_token_weights)

    def _normalize_pixels(self, pixels: torch.Tensor) -> torch.Tensor:
        """Normalise uint8 `pixels` (num_frames, 3, size, size) on their device, as the vision tower expects them."""
        mean, std = (
            255 * torch.tensor(values, device=pixels.device)[:, None, None]
            for values in (self.config.image_mean, self.config.image_std)
        )
        return ((pixels - mean) / std).to(dtype_of(self.vision_model))

    def _to_features(self, tokens: torch.Tensor, mask: torch.Tensor, token_weights: nn.Module | None) -> DRLFeatures:
        """Set the padding of `tokens` (num_items, num_tokens, dim) to 0 and weight the real tokens."""
        if self.config.padding_similarity == "ignore":
            tokens = tokens.masked_fill(~mask.bool()[..., None], 0.0)
        if token_weights is None:
            weights = uniform_weights(mask, at_least_float32(tokens[:0]).dtype)
        else:
            weights = token_weights(tokens, mask)
        return DRLFeatures(tokens=tokens, weights=weights, mask=mask)

    @without_autocast
    def similarity(self, text: DRLFeatures, video: DRLFeatures, dtype: torch.dtype | None = None) -> torch.Tensor:
        """Score every text with every video by `config.interaction`, in float32 or higher precision.

        Args:
            text ([`DRLFeatures`]): Encoded texts.
            video ([`DRLFeatures`]): Encoded videos.
            dtype (`torch.dtype`, *optional*): Type in which WTI and TI multiply tokens, such as `torch.bfloat16`; the
                products are summed in float32. By default the type of the tokens.

        Returns:
            `torch.Tensor` of shape `(num_texts, num_videos)`: Similarities, not multiplied by the logit scale.
        """
        text_tokens, frame_tokens = at_least_float32(text.tokens), at_least_float32(video.tokens)
        if self.config.interaction == "xti":
            text_vectors = text_vector(text_tokens, text.mask)  # (num_texts, dim)
            return at_least_float32(self.cross_transformer(text_vectors, frame_tokens, video.mask))
        if self.config.compares_vectors:
            text_vectors, video_vectors = text_vector(text_tokens, text.mask), video_vector(frame_tokens, video.mask)
            if self.config.interaction == "mlp":
                return at_least_float32(self.pair_mlp(normalize(text_vectors), normalize(video_vectors)))
            return dot_product(text_vectors, video_vectors)
        return weighted_token_wise_interaction(
            text_tokens,
            text.weights,
            text.mask,
            frame_tokens,
            video.weights,
            video.mask,
            self.config.padding_similarity,
            # On a GPU the launch dominates small blocks: use larger ones.
            max_elements=2**24 if text_tokens.device.type == "cpu" else 2**27,
            dtype=dtype,
        )

    @without_autocast
    def decorrelation(self, text: DRLFeatures, video: DRLFeatures, seed: int | None = None) -> torch.Tensor:
        """Compute the channel decorrelation (CDCR) of matching pairs by `config.cdcr`.

        Args:
            text ([`DRLFeatures`]): Encoded texts.
            video ([`DRLFeatures`]): Encoded videos; video i belongs to text i.
            seed (`int`, *optional*): Seed of the choice of `cdcr="random"`; by default drawn from torch's global
                generator.

        Returns:
            `torch.Tensor` of shape `()`: The loss before it is multiplied by `cdcr_lambda`; 0 with `cdcr="none"` or
            `interaction="xti"`.
        """
        text_tokens, frame_tokens = at_least_float32(text.tokens), at_least_float32(video.tokens)
        if self.config.cdcr == "none" or self.config.interaction == "xti":
            return text_tokens.new_zeros(())
        if self.config.compares_vectors:
            text_vectors, video_vectors = text_vector(text_tokens, text.mask), video_vector(frame_tokens, video.mask)
            return decorrelate_vectors(normalize(text_vectors), normalize(video_vectors), self.config)
        return decorrelate_tokens(
            normalize(text_tokens),
            text.weights,
            text.mask,
            normalize(frame_tokens),
            video.weights,
            video.mask,
            self.config,
            seed,
        )

    def compare(
        self,
        text: DRLFeatures,
        video: DRLFeatures,
        return_loss: bool = False,
        similarity: torch.Tensor | None = None,
        seed: int | None = None,
    ) -> DRLOutput:
        """Compare encoded texts with encoded videos: similarity and, on request, the loss.

        Args:
            text ([`DRLFeatures`]): Encoded texts.
            video ([`DRLFeatures`]): Encoded videos.
            return_loss (`bool`, *optional*, defaults to `False`): Whether to compute the loss; text i then belongs to
                video i.
            similarity (`torch.Tensor` of shape `(num_texts, num_videos)`, *optional*): Result of
                [`~DRLModel.similarity`], when several processes shared that work; by default it is computed here.
            seed (`int`, *optional*): See [`~DRLModel.decorrelation`].

        Returns:
            [`DRLOutput`]: Without losses unless `return_loss=True`.

        Raises:
            `ValueError`: When the loss is requested and the numbers of texts and videos differ.
        """
        if similarity is None:
            similarity = self.similarity(text, video)
        logits_per_text = at_least_float32(self.logit_scale).exp() * similarity
        loss = contrastive = cdcr = None
        if return_loss:
            num_texts, num_videos = logits_per_text.shape
            if num_texts != num_videos:
                raise ValueError(
                    f"`return_loss=True`: found {num_texts} texts and {num_videos} videos, expected pairs."
                )
            contrastive = contrastive_loss(logits_per_text)
            cdcr = self.decorrelation(text, video, seed)
            loss = contrastive + self.config.cdcr_lambda * cdcr
        return DRLOutput(
            loss=loss,
            contrastive_loss=contrastive,
            cdcr_loss=cdcr,
            logits_per_text=logits_per_text,
            logits_per_video=logits_per_text.T,
            text_tokens=text.tokens,
            text_weights=text.weights,
            frame_tokens=video.tokens,
            frame_weights=video.weights,
        )

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        pixel_values_videos: torch.Tensor | None = None,
        video_mask: torch.Tensor | None = None,
        return_loss: bool = False,
        compare: Callable[["DRLModel", DRLFeatures, DRLFeatures], DRLOutput] | None = None,
    ) -> DRLOutput:
        """Score every text with every video.

        Args:
            input_ids (`torch.Tensor` of shape `(num_texts, num_tokens)`): Token ids.
            attention_mask (`torch.Tensor` of shape `(num_texts, num_tokens)`, *optional*): 1 for real tokens.
            pixel_values_videos (`torch.Tensor` of shape `(num_videos, num_frames, 3, size, size)`): Normalised pixels,
                or uint8 pixels.
            video_mask (`torch.Tensor` of shape `(num_videos, num_frames)`, *optional*): 1 for real frames.
            return_loss (`bool`, *optional*, defaults to `False`): Whether to compute the loss; text i then belongs to
                video i.
            compare (`Callable`, *optional*): Function of this model and the features of both sides that returns the
                output, in place of [`~DRLModel.compare`]. A trainer uses it to work on the features within the forward
                pass, where DistributedDataParallel and FSDP see the parameters that take part.

        Returns:
            [`DRLOutput`] or `tuple(torch.Tensor)`: The tuple with `return_dict=False`.

        Raises:
            `ValueError`: When an input is missing, shapes or numbers do not agree, or an item has no real token.
        """
        if input_ids is None or pixel_values_videos is None:
            missing = "input_ids" if input_ids is None else "pixel_values_videos"
            raise ValueError(
                f"`{missing}`: found None, expected a tensor; `get_text_features` and `get_video_features` encode one "
                "side alone."
            )
        text = self.get_text_features(input_ids, attention_mask)
        video = self.get_video_features(pixel_values_videos, video_mask)
        if compare is not None:
            return compare(self, text, video)
        return self.compare(text, video, return_loss=return_loss)


__all__ = ["DRLFeatures", "DRLModel", "DRLOutput", "DRLPreTrainedModel"]
