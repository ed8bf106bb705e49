"""Captions and videos in, the four inputs of [`DRLModel`] out."""

from transformers.feature_extraction_utils import BatchFeature
from transformers.processing_utils import ProcessingKwargs, ProcessorMixin, Unpack
from transformers.tokenization_utils_base import TextInput
from transformers.video_utils import VideoInput

from .publishing import DRLPublishMixin


class DRLProcessor(DRLPublishMixin, ProcessorMixin):
    """
    A [`DRLVideoProcessor`] and a [`CLIPTokenizer`] in one.

    Captions are padded to the longest of the batch, or to `max_length` tokens, and cut to that, BOS and EOS included
    and kept.

    Args:
        video_processor ([`DRLVideoProcessor`]): Takes `videos`.
        tokenizer ([`CLIPTokenizer`]): Takes `text`.
        max_length (`int`, *optional*, defaults to 32): Most tokens of a caption: 32 for sentences and 64 for
            paragraphs in the official recipe. Saved with the processor; a call may override it.
        pad_to_max_length (`bool`, *optional*, defaults to `False`): Pad every caption to `max_length`, as the official
            code does, not to the longest. A model of `padding_similarity="zero"` needs it: there padding takes part in
            the score.

    Example:

    ```python
    >>> processor = DRLProcessor.from_pretrained("path/to/model")  # doctest: +SKIP
    >>> inputs = processor(text=["a dog runs"], videos=["dog.mp4"], return_tensors="pt")  # doctest: +SKIP
    >>> list(inputs)  # doctest: +SKIP
    ['input_ids', 'attention_mask', 'pixel_values_videos', 'video_mask']
    ```
    """

    published_as = {None: "AutoProcessor", "video_processor": "AutoVideoProcessor"}

    def __init__(self, video_processor=None, tokenizer=None, max_length: int = 32, pad_to_max_length: bool = False):
        if max_length < 3:
            raise ValueError(f"`max_length` must be at least 3, for BOS, a word and EOS, found {max_length}")
        self.max_length = max_length
        self.pad_to_max_length = pad_to_max_length
        super().__init__(video_processor, tokenizer)

    @property
    def text_kwargs(self) -> dict:
        """The tokenizer's defaults."""
        padding = "max_length" if self.pad_to_max_length else True
        return {"padding": padding, "truncation": True, "max_length": self.max_length}

    def __call__(
        self,
        text: TextInput | list[TextInput] | None = None,
        videos: VideoInput | None = None,
        **kwargs: Unpack[ProcessingKwargs],
    ) -> BatchFeature:
        """
        Prepares captions, videos or both; their numbers may differ.

        Args:
            text (`str` or `list[str]`, *optional*): Captions.
            videos (`VideoInput`, *optional*): Videos, see [`DRLVideoProcessor.preprocess`].
            kwargs (`ProcessingKwargs`): Go to the tokenizer or the video processor, whichever knows them:
                `max_length`, `max_frames`, `start`, `end`, `return_tensors` and so on.

        Returns:
            [`BatchFeature`] with

            - **input_ids** (`torch.Tensor` of shape `(num_texts, num_tokens)`), if there is `text`,
            - **attention_mask** (`torch.Tensor` of shape `(num_texts, num_tokens)`), 1 for real tokens,
            - **pixel_values_videos** (`torch.Tensor` of shape `(num_videos, num_frames, 3, height, width)`), if there
              are `videos`,
            - **video_mask** (`torch.Tensor` of shape `(num_videos, num_frames)`), 1 for real frames.

        Raises:
            ValueError: If there is neither text nor video, a list is empty or a caption is blank or no string.
            VideoDecodeError: As [`DRLVideoProcessor.preprocess`].
        """
        # `ProcessorMixin` prefers the length that a tokenizer was last called with before it was saved.
        defaults = {key: value for key, value in self.text_kwargs.items() if key not in kwargs}
        kwargs["text_kwargs"] = defaults | (kwargs.get("text_kwargs") or {})
        return super().__call__(text=text, videos=videos, **kwargs)

    def validate_inputs(
        self,
        text: TextInput | list[TextInput] | None = None,
        videos: VideoInput | None = None,
        **kwargs: Unpack[ProcessingKwargs],
    ) -> None:
        """Checks the captions before any video is decoded; [`ProcessorMixin.__call__`] calls it."""
        if text is None and videos is None:
            raise ValueError("found neither `text` nor `videos`, expected at least one of them")
        if text is None:
            return
        captions = [text] if isinstance(text, str) else text
        if not isinstance(captions, (list, tuple)):
            raise ValueError(f"`text` must be a string or a list of strings, found {type(text)}")
        if len(captions) == 0:
            raise ValueError("`text` is empty, expected at least one caption")
        for i, caption in enumerate(captions):
            if not isinstance(caption, str):
                raise ValueError(f"text[{i}] must be a string, found {type(caption)}: {caption!r}")
            if not caption.strip():
                raise ValueError(f"text[{i}] is blank ({caption!r}), expected a caption")
            if any("\ud800" <= char <= "\udfff" for char in caption):
                raise ValueError(f"text[{i}] is no Unicode text ({caption!r}), expected UTF-8")


__all__ = ["DRLProcessor"]
