"""Convert what a user passes for videos to paths, tensors of frames, times and metadata, one per video."""

import os

import numpy as np
import torch
from transformers.image_utils import ChannelDimension, is_pil_image
from transformers.video_utils import VideoInput, VideoMetadata, infer_channel_dimension_format, is_valid_video_frame


def all_frames(metadata: VideoMetadata) -> list[int]:
    """Select every frame."""
    return list(range(metadata.total_num_frames))


def list_videos(videos: VideoInput, data_format: str | ChannelDimension | None) -> list[str | torch.Tensor]:
    """Convert videos to paths and to tensors of frames, (num_frames, channels, height, width)."""
    if isinstance(videos, np.ndarray | torch.Tensor) and videos.ndim == 5:
        videos = list(videos)
    elif not isinstance(videos, list | tuple) or (videos and all(is_valid_video_frame(frame) for frame in videos)):
        videos = [videos]
    if not videos:
        raise ValueError("`videos`: found an empty list, expected at least one video.")
    return [to_path_or_frames(video, f"videos[{index}]", data_format) for index, video in enumerate(videos)]


def to_path_or_frames(video: VideoInput, name: str, data_format: str | ChannelDimension | None) -> str | torch.Tensor:
    """Convert one video to a path or to a tensor of frames, (num_frames, channels, height, width).

    Raises:
        `TypeError`: When it is not a video.
        `ValueError`: When its frames have no valid shape or values.
    """
    if isinstance(video, str | os.PathLike):
        return os.fsdecode(video)
    if isinstance(video, list | tuple) and video and all(is_valid_video_frame(frame) for frame in video):
        frames = [frame.convert("RGB") if is_pil_image(frame) else frame for frame in video]
        if len({np.shape(frame) for frame in frames}) > 1:
            raise ValueError(f"{name}: found frames of different shapes, expected one shape.")
        video = np.stack([np.asarray(frame) for frame in frames])
    if isinstance(video, np.ndarray) and video.dtype.kind in "uif":
        # A tensor shares the array's memory, which may be read-only or strided backwards.
        video = torch.from_numpy(np.require(video, requirements=["C", "W"]))
    if not isinstance(video, torch.Tensor):
        found = f"{type(video).__name__} {video!r:.60}"
        raise TypeError(f"{name}: found {found}, expected a path, a URL, an array of numbers or a list of frames.")
    if video.ndim != 4 or 0 in video.shape:
        expected = "(num_frames, height, width, channels) or (num_frames, channels, height, width), none of them 0"
        raise ValueError(f"{name}: found shape {tuple(video.shape)}, expected {expected}.")
    if not video.is_floating_point() and video.dtype != torch.uint8:
        # Integers from 0 to 255 are pixels in any type, but resizing clips only uint8.
        if video.dtype == torch.bool or video.min() < 0 or video.max() > 255:
            raise ValueError(f"{name}: found {video.dtype} outside 0 to 255, expected pixels in uint8 or floats.")
        video = video.to(torch.uint8)
    if data_format is None:
        try:
            data_format = infer_channel_dimension_format(video, num_channels=(1, 3, 4))
        except ValueError as error:
            found = f"found shape {tuple(video.shape)}"
            raise ValueError(f"{name}: {found}, expected 1, 3 or 4 channels, second or last.") from error
    return video if data_format == ChannelDimension.FIRST else video.permute(0, 3, 1, 2).contiguous()


def to_one_per_video(key: str, times: float | list | tuple | None, num_videos: int) -> list[float | None]:
    """Repeat one time for all videos, or check that there is one per video."""
    if not isinstance(times, list | tuple):
        return [times] * num_videos
    if len(times) != num_videos:
        raise ValueError(f"`{key}`: found {len(times)} entries, expected one for each of {num_videos} videos.")
    return list(times)


def to_metadata(videos: list[str | torch.Tensor], given: VideoMetadata | dict | list | None) -> list:
    """Build one `VideoMetadata` per video. A file has its own, so `given` is ignored for it."""
    if not isinstance(given, list | tuple):
        given = [given] * len(videos) if given is None or len(videos) == 1 else [given]
    if len(given) != len(videos):
        raise ValueError(
            f"`video_metadata`: found {len(given)} entries, expected one for each of {len(videos)} videos."
        )
    metadata = []
    for index, (video, fields) in enumerate(zip(videos, given, strict=True)):
        num_frames = 0 if isinstance(video, str) else len(video)
        fields = {"total_num_frames": num_frames} | dict(fields or {})
        if not isinstance(video, str):
            if fields["total_num_frames"] != num_frames:
                found = f"{num_frames} frames and a `video_metadata` for {fields['total_num_frames']}"
                raise ValueError(f"videos[{index}]: found {found}, expected as many; sampled frames need no metadata.")
            fields |= {"height": video.shape[-2], "width": video.shape[-1]}
        metadata.append(VideoMetadata(**fields))
    return metadata


__all__ = ["all_frames", "list_videos", "to_metadata", "to_one_per_video"]
