"""From videos, as files or as frames, to the pixels and the frame mask that DRL's vision tower takes."""

import os
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from transformers.image_processing_utils import BatchFeature
from transformers.image_utils import (
    OPENAI_CLIP_MEAN,
    OPENAI_CLIP_STD,
    ChannelDimension,
    PILImageResampling,
    is_pil_image,
)
from transformers.processing_utils import Unpack, VideosKwargs
from transformers.utils import TensorType, logging
from transformers.video_processing_utils import BaseVideoProcessor
from transformers.video_utils import VideoInput, VideoMetadata, infer_channel_dimension_format, is_valid_video_frame

from .publishing import DRLPublishMixin
from .video_decoding import VideoDecodeError, VideoNotFoundError, decode_video, read_video, sample_indices


logger = logging.get_logger(__name__)


class DRLVideoProcessorKwargs(VideosKwargs, total=False):
    r"""
    max_frames (`int`, *optional*, defaults to `self.max_frames`):
        The most frames to take of a video when `do_sample_frames=True`; `None` for no limit.
    start (`float` or `list[float]`, *optional*):
        Where to begin, in seconds: one for all videos, or a list with a number or `None` for each.
    end (`float` or `list[float]`, *optional*):
        Where to stop, in seconds, as `start`. Beyond the end of a video it means the end.
    allow_truncated (`bool`, *optional*, defaults to `self.allow_truncated`):
        Take the readable part of a file that ends early or is damaged, instead of raising [`VideoDecodeError`].
    pad_to_max_frames (`bool`, *optional*, defaults to `self.pad_to_max_frames`):
        Whether to pad every video of a batch to `max_frames`, not to the longest.
    """

    allow_truncated: bool | None
    pad_to_max_frames: bool | None
    max_frames: int | None
    start: float | int | list | tuple | None
    end: float | int | list | tuple | None


class DRLVideoProcessor(DRLPublishMixin, BaseVideoProcessor):
    r"""
    Samples frames as the official DRL code does, one a second and at most 12, and prepares them as CLIP does.

    Videos may be local paths, http(s) URLs, arrays or tensors of shape `(num_frames, height, width, channels)` or
    `(num_frames, channels, height, width)`, lists of PIL frames, or a list that mixes these. Files are sampled at
    `fps` frames per second between `start` and `end`. So are frames that come with a `video_metadata` that has their
    `fps`; without it frames count as sampled already, and only what exceeds `max_frames` is thinned out.

    With `return_tensors` the videos of a batch are padded with zeros to the longest of them, else they stay lists.
    Either way `video_mask` says which frames are real. `do_rescale=False, do_normalize=False` gives uint8 pixels,
    which take a quarter of the room in a cache.

    Args:
        fps (`float`, *optional*, defaults to 1): Frames to take per second; `None` passed to a call takes all.
        max_frames (`int`, *optional*, defaults to 12): The most frames to take (64 for ActivityNet and DiDeMo).
        allow_truncated (`bool`, *optional*, defaults to `False`):
            Take the readable part of a file that ends early or is damaged. A warning and the metadata's `truncation`
            then say so.
        pad_to_max_frames (`bool`, *optional*, defaults to `False`):
            Pad every video of a batch to `max_frames`, as the official code does, not to the longest. A model of
            `padding_similarity="zero"` needs it: there a padded frame takes part in the score.
        kwargs: The other fields of `VideosKwargs`, such as `size` and `crop_size`.

    Example:

    ```python
    >>> import numpy as np

    >>> video_processor = DRLVideoProcessor()
    >>> videos = [np.zeros((2, 240, 320, 3), dtype=np.uint8), np.zeros((3, 240, 320, 3), dtype=np.uint8)]
    >>> inputs = video_processor(videos, return_tensors="pt")
    >>> inputs.pixel_values_videos.shape
    torch.Size([2, 3, 3, 224, 224])
    >>> inputs.video_mask.tolist()
    [[1, 1, 0], [1, 1, 1]]

    ```
    """

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

    def preprocess(self, videos: VideoInput, **kwargs: Unpack[DRLVideoProcessorKwargs]) -> BatchFeature:
        """
        Decodes, samples and prepares one video or a list of videos.

        Args:
            videos: A video or a list of videos, in any of the forms that the class names.
            kwargs: What differs from the processor's own settings for this call.

        Returns:
            [`BatchFeature`]: A [`BatchFeature`] with the following fields:

            - **pixel_values_videos** -- `(num_videos, num_frames, 3, height, width)`, zero where padded.
            - **video_mask** -- int64 of shape `(num_videos, num_frames)`, 1 for a real frame.
            - **video_metadata** -- The `VideoMetadata` of each video, if `return_metadata=True`.

        Raises:
            VideoDecodeError: If a video is missing or broken, or `start` and `end` are not in it.
            TypeError: If something is not a video.
            ValueError: If there is no video or no frame, or the arguments do not fit the videos.
        """
        videos = _list_videos(videos, kwargs.get("input_data_format"))
        for key in ("start", "end"):
            kwargs[key] = _one_per_video(key, kwargs.get(key, getattr(self, key)), len(videos))
            if not kwargs.get("do_sample_frames", self.do_sample_frames) and any(t is not None for t in kwargs[key]):
                raise ValueError(f"`{key}` selects frames, and `do_sample_frames=False` takes them all: pass only one")
        kwargs["video_metadata"] = _metadata_of_arrays(videos, kwargs.get("video_metadata"))
        kwargs["input_data_format"] = ChannelDimension.FIRST
        allow_truncated = bool(kwargs.get("allow_truncated", self.allow_truncated))
        videos = [(video, allow_truncated) if isinstance(video, str) else video for video in videos]
        return super().preprocess(videos, **kwargs)

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
        """
        The frames that [`sample_indices`] takes of the video at `index` of the batch.

        Args:
            metadata (`VideoMetadata`): Its number of frames and its rate.
            fps (`float`, *optional*): Frames to take per second; `None` for all.
            max_frames (`int`, *optional*): The most frames to take; `None` for no limit.
            start (`list[float]`, *optional*): Where to begin, in seconds, for each video of the batch.
            end (`list[float]`, *optional*): Where to stop, in seconds, for each video of the batch.
            num_frames (`int`, *optional*): Refused: other processors take it for a fixed number of frames.
            index (`int`, *optional*, defaults to 0): The place of the video in the batch.
            name (`str`, *optional*, defaults to `"video"`): What an error calls the video.

        Returns:
            `list[int]`: The indices of the frames, ascending.
        """
        if num_frames is not None:
            raise ValueError(f"found `num_frames={num_frames}`, which this processor does not take: use `max_frames`")
        start, end = (times[index] if times is not None else None for times in (start, end))
        return sample_indices(metadata.total_num_frames, metadata.fps, fps, max_frames, start, end, name)

    def _decode_and_sample_videos(
        self,
        videos: list[tuple[str, bool] | torch.Tensor],
        video_metadata: list[VideoMetadata],
        do_sample_frames: bool | None = None,
        sample_indices_fn: Callable | None = None,
    ) -> tuple[list[torch.Tensor], list[VideoMetadata]]:
        sampled = []
        for index, (video, metadata) in enumerate(zip(videos, video_metadata, strict=True)):
            path, allow_truncated = video if isinstance(video, tuple) else (None, False)
            sample = _all_frames
            if do_sample_frames:
                sample = partial(sample_indices_fn, index=index, name=path or f"videos[{index}]")
            if path is not None:
                sampled.append(read_video(path, sample, allow_truncated=allow_truncated))
                truncation = sampled[-1][1].truncation
                if truncation is not None:
                    logger.warning(f"{path}: only the readable part is used: {truncation}.")
            else:
                metadata.frames_indices = sample(metadata)
                sampled.append((video[metadata.frames_indices], metadata))
        frames, metadata = zip(*sampled, strict=True)
        return list(frames), list(metadata)

    def _preprocess(
        self, videos: list[torch.Tensor], return_tensors: str | TensorType | None = None, **kwargs
    ) -> BatchFeature:
        pixels = super()._preprocess(videos, return_tensors=None, **kwargs)["pixel_values_videos"]
        mask = [torch.ones(len(video), dtype=torch.int64, device=video.device) for video in pixels]
        if return_tensors is not None:
            shapes = sorted({tuple(video.shape[1:]) for video in pixels})
            if len(shapes) > 1:
                raise ValueError(f"found frames of the shapes {shapes}, expected one for a batch: resize and crop")
            pixels = torch.nn.utils.rnn.pad_sequence(pixels, batch_first=True)  # (num_videos, num_frames, 3, h, w)
            mask = torch.nn.utils.rnn.pad_sequence(mask, batch_first=True)  # (num_videos, num_frames)
            if kwargs.get("pad_to_max_frames", self.pad_to_max_frames):
                missing = max(0, kwargs.get("max_frames", self.max_frames) - mask.shape[1])
                pixels = torch.nn.functional.pad(pixels, (0, 0, 0, 0, 0, 0, 0, missing))
                mask = torch.nn.functional.pad(mask, (0, missing))
        return BatchFeature({"pixel_values_videos": pixels, "video_mask": mask}, tensor_type=return_tensors)


def _all_frames(metadata: VideoMetadata) -> list[int]:
    return list(range(metadata.total_num_frames))


def _list_videos(videos: VideoInput, data_format: str | ChannelDimension | None) -> list[str | torch.Tensor]:
    """Each video as a path or as a tensor of frames, (num_frames, channels, height, width)."""
    if isinstance(videos, np.ndarray | torch.Tensor) and videos.ndim == 5:
        videos = list(videos)
    elif not isinstance(videos, list | tuple) or (videos and all(is_valid_video_frame(frame) for frame in videos)):
        videos = [videos]
    if not videos:
        raise ValueError("`videos` is empty, expected at least one video")
    return [_path_or_frames(video, f"videos[{index}]", data_format) for index, video in enumerate(videos)]


def _path_or_frames(video: VideoInput, name: str, data_format: str | ChannelDimension | None) -> str | torch.Tensor:
    if isinstance(video, str | os.PathLike):
        return os.fsdecode(video)
    if isinstance(video, list | tuple) and video and all(is_valid_video_frame(frame) for frame in video):
        frames = [frame.convert("RGB") if is_pil_image(frame) else frame for frame in video]
        if len({np.shape(frame) for frame in frames}) > 1:
            raise ValueError(f"{name}: found frames of different shapes, expected one shape")
        video = np.stack([np.asarray(frame) for frame in frames])
    if isinstance(video, np.ndarray) and video.dtype.kind in "uif":
        # A tensor shares the array's memory, which may be read-only or strided backwards.
        video = torch.from_numpy(np.require(video, requirements=["C", "W"]))
    if not isinstance(video, torch.Tensor):
        found = f"{type(video).__name__} {video!r:.60}"
        raise TypeError(f"{name}: found {found}, expected a path, a URL, an array of numbers or a list of frames")
    if video.ndim != 4 or 0 in video.shape:
        expected = "(num_frames, height, width, channels) or (num_frames, channels, height, width), none of them 0"
        raise ValueError(f"{name}: found the shape {tuple(video.shape)}, expected {expected}")
    if not video.is_floating_point() and video.dtype != torch.uint8:
        # Integers from 0 to 255 are pixels of any type; resizing clips only uint8.
        if video.dtype == torch.bool or video.min() < 0 or video.max() > 255:
            raise ValueError(f"{name}: found {video.dtype} beyond the pixels 0 to 255, expected uint8 or floats")
        video = video.to(torch.uint8)
    if data_format is None:
        try:
            data_format = infer_channel_dimension_format(video, num_channels=(1, 3, 4))
        except ValueError as error:
            found = f"found the shape {tuple(video.shape)}"
            raise ValueError(f"{name}: {found}, expected 1, 3 or 4 channels, second or last") from error
    return video if data_format == ChannelDimension.FIRST else video.permute(0, 3, 1, 2).contiguous()


def _one_per_video(key: str, times: float | list | tuple | None, num_videos: int) -> list[float | None]:
    if not isinstance(times, list | tuple):
        return [times] * num_videos
    if len(times) != num_videos:
        raise ValueError(f"`{key}` has {len(times)} entries, expected one for each of {num_videos} videos")
    return list(times)


def _metadata_of_arrays(videos: list[str | torch.Tensor], given: VideoMetadata | dict | list | None) -> list:
    """One `VideoMetadata` for each video. A file brings its own, so that what is given for it does not count."""
    if not isinstance(given, list | tuple):
        given = [given] * len(videos) if given is None or len(videos) == 1 else [given]
    if len(given) != len(videos):
        raise ValueError(f"`video_metadata` has {len(given)} entries, expected one for each of {len(videos)} videos")
    metadata = []
    for index, (video, fields) in enumerate(zip(videos, given, strict=True)):
        num_frames = 0 if isinstance(video, str) else len(video)
        fields = {"total_num_frames": num_frames} | dict(fields or {})
        if not isinstance(video, str):
            if fields["total_num_frames"] != num_frames:
                found = f"{num_frames} frames and a `video_metadata` for {fields['total_num_frames']}"
                raise ValueError(f"videos[{index}]: found {found}: frames already sampled need no metadata")
            fields |= {"height": video.shape[-2], "width": video.shape[-1]}
        metadata.append(VideoMetadata(**fields))
    return metadata


__all__ = [
    "DRLVideoProcessor",
    "DRLVideoProcessorKwargs",
    "VideoDecodeError",
    "VideoNotFoundError",
    "decode_video",
    "read_video",
    "sample_indices",
]
