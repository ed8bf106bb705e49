"""Frames that are resized as they are decoded, and the bounds on what a small file may ask for."""

import pytest
import torch
from video_files import write_gif

from drl_tvr.data.doctor import check_video
from drl_tvr.model.pixel_buffer import MAX_VIDEO_PIXELS, PixelBuffer, check_num_pixels
from drl_tvr.model.video_decoding import VideoDecodeError, decode_video
from drl_tvr.model.video_processing_drl import DRLVideoProcessor


RAW = {"do_rescale": False, "do_normalize": False, "return_tensors": "pt"}


def test_frames_come_out_as_they_went_in():
    frames = torch.randint(0, 256, (5, 3, 8, 6), dtype=torch.uint8)
    buffer = PixelBuffer(6, "a.mp4")
    for frame in frames:
        buffer.add(frame)
    assert torch.equal(buffer.pixels, frames)
    assert (buffer.size, buffer.count, buffer.pixels.is_contiguous()) == ((8, 6), 5, True)


def test_frames_that_do_not_fit_together_are_too_large_before_memory_is_asked_for():
    check_num_pixels(MAX_VIDEO_PIXELS // 100, 10, 10, "a.mp4")
    buffer = PixelBuffer(MAX_VIDEO_PIXELS // 100 + 1, "a.mp4")
    with pytest.raises(VideoDecodeError, match="a.mp4: found 21474837 frames of 10x10, expected at most") as caught:
        buffer.add(torch.zeros(3, 10, 10, dtype=torch.uint8))
    assert caught.value.code == "too-large" and buffer.buffer is None


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"size": {"shortest_edge": 40}, "crop_size": {"height": 36, "width": 30}},
        {"size": {"shortest_edge": 20}, "crop_size": {"height": 50, "width": 30}},  # the crop pads
        {"size": {"height": 30, "width": 70}, "do_center_crop": False},
        {"size": {"shortest_edge": 90, "longest_edge": 100}, "do_center_crop": False},
        {"do_resize": False},
        {"resample": 2},
        {"resample": 0},
    ],
)
def test_frames_are_resized_one_by_one_as_they_are_together(settings, make_video):
    path = make_video(num_frames=30, height=50, width=84)
    from_file = DRLVideoProcessor(**settings)(path, fps=3, **RAW)["pixel_values_videos"]
    frames, _ = decode_video(path, fps=3)
    assert torch.equal(DRLVideoProcessor(**settings)(frames, **RAW)["pixel_values_videos"], from_file)
    # Without our processor: transformers' own steps on all frames at once.
    plain = DRLVideoProcessor(**settings)
    if plain.do_resize:
        frames = plain.resize(frames, plain.size, plain.resample)
    if plain.do_center_crop:
        frames = plain.center_crop(frames, plain.crop_size)
    assert torch.equal(frames, from_file[0])


@pytest.mark.parametrize(("width", "height"), [(1, 65535), (65535, 1), (4000, 2)])
def test_a_thin_video_is_too_large_for_the_processor_and_the_doctor(width, height, tmp_path):
    path = write_gif(tmp_path / "thin.gif", width, height, 12)
    with pytest.raises(
        VideoDecodeError, match=f"thin.gif: found frames of {width}x{height}, which resizing"
    ) as caught:
        DRLVideoProcessor()(path, **RAW)
    assert caught.value.code == check_video(str(path)).code == "too-large"
    # Without resizing it is small.
    frames = DRLVideoProcessor(do_resize=False, crop_size={"height": 8, "width": 8})(path, **RAW)
    assert frames["pixel_values_videos"].shape == (1, 12, 3, 8, 8)
    with pytest.raises(VideoDecodeError, match=r"videos\[0\]: found frames of"):
        DRLVideoProcessor()(torch.zeros(1, 3, height, width, dtype=torch.uint8), **RAW)


def test_many_large_frames_are_too_large_unless_they_are_resized(tmp_path):
    path = write_gif(tmp_path / "large.gif", 3000, 3000, 240)
    with pytest.raises(VideoDecodeError, match="found 240 frames of 3000x3000") as caught:
        decode_video(path, fps=None, max_frames=None)
    assert caught.value.code == "too-large"
    check = check_video(str(path), max_frames=1)
    assert (check.code, check.width, check.height, check.num_decoded) == ("ok", 3000, 3000, 1)
