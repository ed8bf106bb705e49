"""The processor: from captions and videos to the four inputs of [`DRLModel`]."""

import os
from operator import attrgetter

from transformers import PreTrainedTokenizerBase
from transformers.feature_extraction_utils import BatchFeature
from transformers.models.auto.video_processing_auto import video_processor_class_from_name
from transformers.processing_utils import ProcessingKwargs, ProcessorMixin, Unpack
from transformers.tokenization_utils_base import TextInput
from transformers.video_utils import VideoInput

from .own_files import LOCATION, load_tokenizer, read_processor_config
from .publishing import DRLPublishMixin
from .video_processing_drl import DRLVideoProcessor


name_of = attrgetter("__name__")


def check_max_length(max_length: int) -> None:
    """Refuse a largest number of tokens that leaves no word between the start and the end.

    Raises:
        `ValueError`: When it is not an integer of at least 3.
    """
    if not isinstance(max_length, int) or isinstance(max_length, bool) or max_length < 3:
        raise ValueError(f"`max_length`: found {max_length!r}, expected at least 3: start, one word and end.")


def check_text_settings(max_length: int, pad_to_max_length: bool) -> None:
    """Check the settings of captions.

    Raises:
        `ValueError`: When one has an invalid value; the message names it.
    """
    check_max_length(max_length)
    if not isinstance(pad_to_max_length, bool):
        raise ValueError(f"`pad_to_max_length`: found {pad_to_max_length!r}, expected True or False.")


def check_video_settings(settings: object) -> None:
    """Check the settings of a video processor in a file, before transformers makes one of them.

    Raises:
        `ValueError`: When they are not those of a [`DRLVideoProcessor`], or one has an invalid value.
    """
    if not isinstance(settings, dict):
        raise ValueError(f"`video_processor`: found {settings!r}, expected a mapping.")
    name = settings.get("video_processor_type")
    registered = video_processor_class_from_name(name) if isinstance(name, str) else None
    is_ours = name in (None, "DRLVideoProcessor") or registered and issubclass(registered, DRLVideoProcessor)
    if not is_ours:
        raise ValueError(f"`video_processor`, `video_processor_type`: found {name!r}, expected 'DRLVideoProcessor'.")
    if not isinstance(settings.get("auto_map", {}), dict):
        raise ValueError(f"`video_processor`, `auto_map`: found {settings['auto_map']!r}, expected a mapping.")
    try:
        DRLVideoProcessor(**settings)
    except ValueError as error:
        raise ValueError(f"`video_processor`, {error}") from error


class DRLProcessor(DRLPublishMixin, ProcessorMixin):
    """Processor of captions and videos: a [`CLIPTokenizer`] and a [`DRLVideoProcessor`] in one object.

    Captions are cut to `max_length` tokens, including the tokens of their start and end, which are kept, and padded to
    the longest of the batch.

    Threads may share a processor as long as they use one `max_length`: the tokenizer keeps the length of a call, and
    another thread's call can be cut to it. For several lengths make a processor per thread, by `copy.deepcopy`.

    Args:
        video_processor ([`DRLVideoProcessor`]): Prepares `videos`.
        tokenizer ([`CLIPTokenizer`]): Prepares `text`.
        max_length (`int`, *optional*, defaults to 32): Largest number of tokens of a caption: 32 for sentences and 64
            for paragraphs in the official recipe. Saved with the processor; a call may override it.
        pad_to_max_length (`bool`, *optional*, defaults to `False`): Whether to pad every caption to `max_length`, as
            the official code does, instead of to the longest. A model with `padding_similarity="zero"` needs it,
            because padding takes part in its scores.

    Example:

    ```python
    >>> from drl_tvr import DRLProcessor

    >>> processor = DRLProcessor.from_pretrained("outputs/moving-shapes")
    >>> inputs = processor(text=["a red circle moves"], videos=["clip.mp4"], return_tensors="pt")
    >>> list(inputs)
    ['input_ids', 'attention_mask', 'pixel_values_videos', 'video_mask']
    ```"""

    published_as = {None: "AutoProcessor", "video_processor": "AutoVideoProcessor"}

    def __init__(self, video_processor=None, tokenizer=None, max_length: int = 32, pad_to_max_length: bool = False):
        check_text_settings(max_length, pad_to_max_length)
        # By its name: a repository's code, and this package, may both define it.
        if video_processor is not None and "DRLVideoProcessor" not in map(name_of, type(video_processor).__mro__):
            found = name_of(type(video_processor))
            raise ValueError(f"`video_processor`: found a {found}, expected a DRLVideoProcessor.")
        self.max_length = max_length
        self.pad_to_max_length = pad_to_max_length
        super().__init__(video_processor, tokenizer)

    @classmethod
    def get_processor_dict(cls, pretrained_model_name_or_path: str | os.PathLike, **kwargs) -> tuple[dict, dict]:
        """Read `processor_config.json`, but not the audio tokenizer of another repository that it may name."""
        location = {name: kwargs.pop(name) for name in LOCATION if name in kwargs}
        file, settings = read_processor_config(pretrained_model_name_or_path, **location)
        try:
            check_text_settings(settings.get("max_length", 32), settings.get("pad_to_max_length", False))
            check_video_settings(settings.get("video_processor", {}))
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from error
        return settings, kwargs

    @classmethod
    def _load_tokenizer_from_pretrained(
        cls, sub_processor_type: str, pretrained_model_name_or_path: str | os.PathLike, **kwargs
    ) -> PreTrainedTokenizerBase:
        return load_tokenizer(pretrained_model_name_or_path, **kwargs)

    @property
    def text_kwargs(self) -> dict:
        """Default arguments of the tokenizer."""
        padding = "max_length" if self.pad_to_max_length else True
        return {"padding": padding, "truncation": True, "max_length": self.max_length}

    def __call__(
        self,
        text: TextInput | list[TextInput] | None = None,
        videos: VideoInput | None = None,
        **kwargs: Unpack[ProcessingKwargs],
    ) -> BatchFeature:
        """Prepare captions, videos or both; their numbers may differ.

        Args:
            text (`str` or `list[str]`, *optional*): Captions.
            videos (`VideoInput`, *optional*): Videos, see [`DRLVideoProcessor.preprocess`].
            kwargs (`ProcessingKwargs`): Arguments of the tokenizer or the video processor: `max_length`, `max_frames`,
                `start`, `end`, `return_tensors` and so on.

        Returns:
            [`BatchFeature`]: A dictionary with the following fields, two for `text` and two for `videos`:

            - **input_ids** (`torch.Tensor` of shape `(num_texts, num_tokens)`): Token ids.
            - **attention_mask** (`torch.Tensor` of shape `(num_texts, num_tokens)`): 1 for real tokens.
            - **pixel_values_videos** (`torch.Tensor` of shape `(num_videos, num_frames, 3, height, width)`): Pixels.
            - **video_mask** (`torch.Tensor` of shape `(num_videos, num_frames)`): 1 for real frames.

        Raises:
            `ValueError`: When there is neither text nor video, a list is empty, a caption is blank or not a string, or
                `max_length` is not an integer of at least 3.
            [`VideoDecodeError`]: See [`DRLVideoProcessor.preprocess`].
        """
        # `ProcessorMixin` prefers the length of the tokenizer's last call before it was saved.
        defaults = {key: value for key, value in self.text_kwargs.items() if key not in kwargs}
        kwargs["text_kwargs"] = defaults | (kwargs.get("text_kwargs") or {})
        check_max_length(kwargs.get("max_length", kwargs["text_kwargs"].get("max_length")))
        return super().__call__(text=text, videos=videos, **kwargs)

    def validate_inputs(
        self,
        text: TextInput | list[TextInput] | None = None,
        videos: VideoInput | None = None,
        **kwargs: Unpack[ProcessingKwargs],
    ) -> None:
        """Check the captions before any video is decoded; [`ProcessorMixin.__call__`] calls it.

        Raises:
            `ValueError`: When there is neither text nor video, a list is empty, or a caption is blank or not a string.
        """
        if text is None and videos is None:
            raise ValueError("`text`, `videos`: found neither, expected at least one of them.")
        if text is None:
            return
        captions = [text] if isinstance(text, str) else text
        if not isinstance(captions, (list, tuple)):
            raise ValueError(f"`text`: found {type(text)}, expected a string or a list of strings.")
        if len(captions) == 0:
            raise ValueError("`text`: found an empty list, expected at least one caption.")
        for i, caption in enumerate(captions):
            if not isinstance(caption, str):
                raise ValueError(f"text[{i}]: found {type(caption)} {caption!r}, expected a string.")
            if not caption.strip():
                raise ValueError(f"text[{i}]: found the blank text {caption!r}, expected a caption.")
            if any("\ud800" <= char <= "\udfff" for char in caption):
                raise ValueError(f"text[{i}]: found invalid Unicode {caption!r}, expected UTF-8.")


__all__ = ["DRLProcessor"]
