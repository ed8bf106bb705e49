"""The video processor: from video files or frames to the pixels and the frame mask that [`DRLModel`] takes."""

import os
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from transformers.image_processing_utils import BatchFeature
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD, ChannelDimension, PILImageResampling
from transformers.processing_utils import Unpack, VideosKwargs
from transformers.utils import TensorType, logging
from transformers.video_processing_utils import BaseVideoProcessor
from transformers.video_utils import VideoInput, VideoMetadata

from .pixel_buffer import check_num_pixels
from .publishing import DRLPublishMixin
from .video_decoding import (
    DRLVideoMetadata,
    VideoDecodeError,
    VideoNotFoundError,
    decode_video,
    read_clips,
    read_video,
    sample_from,
    sample_indices,
)
from .video_errors import safe_name, video_error
from .video_inputs import all_frames, list_videos, to_metadata, to_one_per_video
from .video_settings import check_arguments, check_fields


logger = logging.get_logger(__name__)

# 4096 x 4096. A file of 43 bytes can hold a frame of 1 x 65535, which resizing by its short side would enlarge to 3.3
# billion pixels.
MAX_RESIZED_PIXELS = 2**24
PREPARING_FIELDS = ("do_resize", "size", "resample", "do_center_crop", "crop_size")


class DRLVideoProcessorKwargs(VideosKwargs, total=False):
    r"""
    max_frames (`int`, *optional*, defaults to `self.max_frames`):
        Largest number of frames to take of a video when `do_sample_frames=True`; `None` for no limit.
    start (`float` or `list[float]`, *optional*):
        Start in seconds: one for all videos, or a list with a number or `None` per video.
    end (`float` or `list[float]`, *optional*):
        End in seconds, given like `start`. An end after the last frame means the last frame.
    allow_truncated (`bool`, *optional*, defaults to `self.allow_truncated`):
        Whether to accept the readable part of a file that ends early or is damaged, instead of raising
        [`VideoDecodeError`].
    pad_to_max_frames (`bool`, *optional*, defaults to `self.pad_to_max_frames`):
        Whether to pad every video of a batch to `max_frames` instead of to the longest.
    """

    allow_truncated: bool | None
    pad_to_max_frames: bool | None
    max_frames: int | None
    start: float | int | list | tuple | None
    end: float | int | list | tuple | None


class DRLVideoProcessor(DRLPublishMixin, BaseVideoProcessor):
    r"""Sample frames as the official DRL code does, one per second and at most 12, and prepare them as CLIP does.

    Videos may be local paths, http(s) URLs, arrays or tensors of shape `(num_frames, height, width, channels)` or
    `(num_frames, channels, height, width)`, lists of PIL frames, or a list that mixes these. Files are sampled at
    `fps` frames per second between `start` and `end`. Frames are sampled in the same way when a `video_metadata`
    states their `fps`; without it all frames are taken, up to `max_frames`.

    With `return_tensors` the videos of a batch are padded with zeros to the longest; otherwise they stay lists. In
    both cases `video_mask` tells real frames from padding. `do_rescale=False, do_normalize=False` gives uint8 pixels,
    which need a quarter of the memory.

    Args:
        fps (`float`, *optional*, defaults to 1): Frames to take per second; `None` passed to a call takes all.
        max_frames (`int`, *optional*, defaults to 12): Largest number of frames to take (64 for ActivityNet and
            DiDeMo).
        allow_truncated (`bool`, *optional*, defaults to `False`): Whether to accept the readable part of a file that
            ends early or is damaged. A warning and the metadata's `truncation` then name the defect.
        pad_to_max_frames (`bool`, *optional*, defaults to `False`): Whether to pad every video of a batch to
            `max_frames`, as the official code does, instead of to the longest. A model with
            `padding_similarity="zero"` needs it, because padded frames take part in its scores.
        kwargs: Other fields of `VideosKwargs`, such as `size` and `crop_size`.

    Example:

    ```python
    >>> import numpy as np
    >>> from drl_tvr import DRLVideoProcessor

    >>> video_processor = DRLVideoProcessor()
    >>> videos = [np.zeros((2, 240, 320, 3), dtype=np.uint8), np.zeros((3, 240, 320, 3), dtype=np.uint8)]
    >>> inputs = video_processor(videos, return_tensors="pt")
    >>> inputs.pixel_values_videos.shape
    torch.Size([2, 3, 3, 224, 224])
    >>> inputs.video_mask.tolist()
    [[1, 1, 0], [1, 1, 1]]
    ```"""

    published_as = {None: "AutoVideoProcessor"}

    resample = PILImageResampling.BICUBIC
    image_mean = OPENAI_CLIP_MEAN
    image_std = OPENAI_CLIP_STD
    size = {"shortest_edge": 224}
    default_to_square = False
    crop_size = {"height": 224, "width": 224}
    do_resize = True
    do_center_crop = True
    do_rescale = True
    do_normalize = True
    do_convert_rgb = True
    do_sample_frames = True
    fps = 1
    max_frames = 12
    allow_truncated = False
    pad_to_max_frames = False
    valid_kwargs = DRLVideoProcessorKwargs
    model_input_names = ["pixel_values_videos", "video_mask"]

    def __init__(self, **kwargs: Unpack[DRLVideoProcessorKwargs]):
        check_arguments(type(self), kwargs)
        super().__init__(**kwargs)
        check_fields({field: getattr(self, field, None) for field in self.valid_kwargs.__annotations__})

    def preprocess(self, videos: VideoInput, **kwargs: Unpack[DRLVideoProcessorKwargs]) -> BatchFeature:
        """Decode, sample and prepare one video or a list of videos.

        Args:
            videos (`VideoInput`): A video or a list of videos, in any of the forms that the class names.
            kwargs (`DRLVideoProcessorKwargs`): Settings that differ from the processor's own for this call.

        Returns:
            [`BatchFeature`]: A dictionary with the following fields:

            - **pixel_values_videos** (`torch.Tensor` of shape `(num_videos, num_frames, 3, height, width)`): Pixels, 0
              where padded.
            - **video_mask** (`torch.Tensor` of shape `(num_videos, num_frames)`): 1 for real frames.
            - **video_metadata** (`list[VideoMetadata]`): With `return_metadata=True`, one per video.

        Raises:
            [`VideoDecodeError`]: When a video is missing or broken, or `start` and `end` lie outside it.
            `TypeError`: When something is not a video.
            `ValueError`: When there is no video or no frame, or the arguments do not fit the videos.
        """
        fields = {key: kwargs.get(key, getattr(self, key, None)) for key in self.valid_kwargs.__annotations__}
        fields = self._standardize_kwargs(**fields)
        check_fields(fields)
        videos = list_videos(videos, kwargs.get("input_data_format"))
        for key in ("start", "end"):
            kwargs[key] = to_one_per_video(key, kwargs.get(key, getattr(self, key)), len(videos))
            if not kwargs.get("do_sample_frames", self.do_sample_frames) and any(t is not None for t in kwargs[key]):
                raise ValueError(
                    f"`{key}`: found {kwargs[key]} and `do_sample_frames=False`, expected only one of them."
                )
        kwargs["video_metadata"] = to_metadata(videos, kwargs.get("video_metadata"))
        kwargs["input_data_format"] = ChannelDimension.FIRST
        prepare = partial(self.prepare_frames, **{key: fields[key] for key in (*PREPARING_FIELDS, "device")})
        allow_truncated = bool(fields["allow_truncated"])
        videos = [VideoFile(video, allow_truncated, prepare) if isinstance(video, str) else video for video in videos]
        return super().preprocess(videos, **kwargs)

    def prepare_frames(self, frames: torch.Tensor, name: str = "video", **kwargs) -> torch.Tensor:
        """Resize and crop frames.

        Args:
            frames (`torch.Tensor` of shape `(num_frames, channels, height, width)`): Frames of one video.
            name (`str`, *optional*, defaults to `"video"`): Name of the video in errors.
            kwargs: `do_resize`, `size`, `resample`, `do_center_crop` and `crop_size` that differ from the processor's
                own, and `device`. Sizes are of type `SizeDict`.

        Returns:
            `torch.Tensor` of shape `(num_frames, channels, height, width)`: The frames, of another height and width.

        Raises:
            [`VideoDecodeError`]: With code `"too-large"`, when resizing would make very large frames of them.
        """
        fields = {key: kwargs.get(key, getattr(self, key)) for key in PREPARING_FIELDS}
        frames = frames.to(kwargs.get("device") or frames.device)
        if fields["do_resize"]:
            resize = partial(self.resize, size=fields["size"], resample=fields["resample"])
            *_, height, width = resize(frames[:1].to("meta")).shape
            if height * width > MAX_RESIZED_PIXELS:
                found = f"frames of {frames.shape[-1]}x{frames.shape[-2]}, which resizing makes {width}x{height}"
                raise video_error("too-large", name, found, f"at most {MAX_RESIZED_PIXELS} pixels per resized frame")
            check_num_pixels(len(frames), height, width, name)
            frames = resize(frames)
        return self.center_crop(frames, fields["crop_size"]) if fields["do_center_crop"] else frames

    def sample_frames(
        self,
        metadata: VideoMetadata,
        fps: float | None = None,
        max_frames: int | None = None,
        start: list[float | None] | None = None,
        end: list[float | None] | None = None,
        num_frames: int | None = None,
        index: int = 0,
        name: str = "video",
        **kwargs,
    ) -> list[int]:
        """Select frames of one video of a batch by [`~model.video_decoding.sample_indices`].

        Args:
            metadata (`VideoMetadata`): Number of frames and rate of the video.
            fps (`float`, *optional*): Frames to take per second; `None` for all.
            max_frames (`int`, *optional*): Largest number of frames to take; `None` for no limit.
            start (`list[float]`, *optional*): Start in seconds, per video of the batch.
            end (`list[float]`, *optional*): End in seconds, per video of the batch.
            num_frames (`int`, *optional*): Refused; other processors take a fixed number of frames by it.
            index (`int`, *optional*, defaults to 0): Position of the video in the batch.
            name (`str`, *optional*, defaults to `"video"`): Name of the video in errors.

        Returns:
            `list[int]`: Indices of the frames, ascending.

        Raises:
            [`VideoDecodeError`]: When no part of the video lies between `start` and `end`.
            `ValueError`: When `num_frames` is given, or `fps` or `max_frames` is not positive.
        """
        if num_frames is not None:
            raise ValueError(f"`num_frames`: found {num_frames}, expected `max_frames` instead.")
        start, end = (times[index] if times is not None else None for times in (start, end))
        return sample_from(metadata, fps, max_frames, start, end, name)

    def _decode_and_sample_videos(
        self,
        videos: list["VideoFile | torch.Tensor"],
        video_metadata: list[VideoMetadata],
        do_sample_frames: bool | None = None,
        sample_indices_fn: Callable | None = None,
    ) -> tuple[list["PreparedFrames | torch.Tensor"], list[VideoMetadata]]:
        sampled: list = [None] * len(videos)
        clips = defaultdict(dict)  # the clips of a file, which is decoded once for all of them
        for index, (video, metadata) in enumerate(zip(videos, video_metadata, strict=True)):
            is_file = isinstance(video, VideoFile)
            sample = all_frames
            if do_sample_frames:
                sample = partial(sample_indices_fn, index=index, name=video.path if is_file else f"videos[{index}]")
            if is_file:
                clips[video][index] = sample
            else:
                metadata.frames_indices = sample(metadata)
                sampled[index] = (video[metadata.frames_indices], metadata)
        for video, samples in clips.items():
            decoded = read_clips(
                video.path, list(samples.values()), allow_truncated=video.allow_truncated, prepare=video.prepare
            )
            for index, (frames, metadata) in zip(samples, decoded, strict=True):
                sampled[index] = (PreparedFrames(frames), metadata)
            if metadata.truncation is not None:
                logger.warning(
                    f"{safe_name(video.path)}: only the readable part is used: found {metadata.truncation}."
                )
            if metadata.suspicion is not None:
                logger.warning(f"{safe_name(video.path)}: found {metadata.suspicion}.")
        frames, metadata = zip(*sampled, strict=True)
        return list(frames), list(metadata)

    def _prepare_input_videos(
        self, videos: list["PreparedFrames | torch.Tensor"], **kwargs
    ) -> list["PreparedFrames | torch.Tensor"]:
        return [
            video
            if isinstance(video, PreparedFrames)
            else super(DRLVideoProcessor, self)._prepare_input_videos([video], **kwargs)[0]
            for video in videos
        ]

    def _preprocess(
        self,
        videos: list["PreparedFrames | torch.Tensor"],
        return_tensors: str | TensorType | None = None,
        **kwargs,
    ) -> BatchFeature:
        prepared = []
        for index, video in enumerate(videos):
            if isinstance(video, PreparedFrames):
                prepared.append(video.frames)
                continue
            if kwargs["do_rescale"] and video.is_floating_point() and 0 <= video.min() and video.max() <= 1:
                logger.warning_once(
                    "It looks like frames that are already scaled to 0 to 1 are scaled again. If their values are not "
                    "0 to 255, pass `do_rescale=False`."
                )
            fields = {key: kwargs[key] for key in PREPARING_FIELDS}
            prepared.append(self.prepare_frames(video, f"videos[{index}]", **fields))
        kwargs |= {"do_resize": False, "do_center_crop": False}
        pixels = super()._preprocess(prepared, return_tensors=None, **kwargs)["pixel_values_videos"]
        mask = [torch.ones(len(video), dtype=torch.int64, device=video.device) for video in pixels]
        if return_tensors is not None:
            shapes = sorted({tuple(video.shape[1:]) for video in pixels})
            if len(shapes) > 1:
                raise ValueError(
                    f"`videos`: found frames of shapes {shapes}, expected one shape; resize and crop them."
                )
            pixels = torch.nn.utils.rnn.pad_sequence(pixels, batch_first=True)  # (num_videos, num_frames, 3, h, w)
            mask = torch.nn.utils.rnn.pad_sequence(mask, batch_first=True)  # (num_videos, num_frames)
            if kwargs.get("pad_to_max_frames", self.pad_to_max_frames):
                missing = max(0, kwargs.get("max_frames", self.max_frames) - mask.shape[1])
                pixels = torch.nn.functional.pad(pixels, (0, 0, 0, 0, 0, 0, 0, missing))
                mask = torch.nn.functional.pad(mask, (0, missing))
        return BatchFeature({"pixel_values_videos": pixels, "video_mask": mask}, tensor_type=return_tensors)


@dataclass(frozen=True)
class VideoFile:
    """Video file of a batch.

    Args:
        path (`str`): A path or URL.
        allow_truncated (`bool`): See [`DRLVideoProcessor`].
        prepare (`Callable`): Function that resizes and crops each frame when it is decoded.
    """

    path: str
    allow_truncated: bool
    prepare: Callable[[torch.Tensor, str], torch.Tensor]


@dataclass(frozen=True)
class PreparedFrames:
    """Frames of a file, which are resized and cropped already.

    Args:
        frames (`torch.Tensor` of shape `(num_frames, 3, height, width)`): The frames.
    """

    frames: torch.Tensor


def decode_for_training(path: str | os.PathLike, *args, **kwargs) -> tuple[torch.Tensor, DRLVideoMetadata]:
    """Decode frames of a video as a [`DRLVideoProcessor`] of default size does: each is resized and cropped at once.

    Args:
        path (`str` or `os.PathLike`): A local file or an http(s) URL.
        args, kwargs: See [`~model.video_decoding.decode_video`].

    Returns:
        `tuple(torch.Tensor, DRLVideoMetadata)`: See [`~model.video_decoding.decode_video`].

    Raises:
        [`VideoDecodeError`]: See [`~model.video_decoding.decode_video`].
    """
    return decode_video(path, *args, prepare=DRLVideoProcessor().prepare_frames, **kwargs)


__all__ = [
    "DRLVideoProcessor",
    "DRLVideoProcessorKwargs",
    "VideoDecodeError",
    "VideoNotFoundError",
    "decode_for_training",
    "decode_video",
    "read_video",
    "sample_indices",
]
