"""What a container says and what it holds: edit lists, cuts, tags, covers and rates that are not true."""

import warnings

import av
import numpy as np
import pytest
import torch
from conftest import grey_frames, read_indices, write_video

from drl_tvr.video_container_drl import average_fps
from drl_tvr.video_decoding_drl import VideoDecodeError, decode_video
from drl_tvr.video_processing_drl import DRLVideoProcessor


def error_of(path, **kwargs) -> VideoDecodeError:
    with pytest.raises(VideoDecodeError) as caught:
        decode_video(path, backend="pyav", **kwargs)
    assert str(path) in str(caught.value)
    return caught.value


def test_frames_outside_the_edit_list_are_not_counted(make_video, tmp_path):
    # A copy from between two key frames: what comes before its start is needed to decode, and never shown.
    source = make_video("whole.mp4", num_frames=40, fps=10)
    with av.open(source) as whole, av.open(tmp_path / "part.mp4", "w") as part:
        stream = whole.streams.video[0]
        copy = part.add_stream_from_template(stream)
        for packet in whole.demux(stream):
            if packet.dts is not None:
                packet.pts, packet.dts = (time - int(0.5 / stream.time_base) for time in (packet.pts, packet.dts))
                packet.stream = copy
                part.mux(packet)
    frames, metadata = decode_video(tmp_path / "part.mp4", backend="pyav")
    assert metadata.total_num_frames == 35
    assert read_indices(frames) == [5, 15, 25, 35]


def test_a_cut_between_two_frames_is_seen_in_the_index(make_video):
    path = make_video(options={"movflags": "faststart"})
    with av.open(path) as container:
        entry = container.streams.video[0].index_entries[20]
    path.write_bytes(path.read_bytes()[: entry.pos])
    assert "20 frames" in str(error_of(path, end=1.0))


def test_a_cut_inside_a_frame_is_seen_without_an_index(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (30, 48, 64, 3), dtype=np.uint8)
    path = write_video(tmp_path / "a.flv", noise, codec="flv1")
    data = path.read_bytes()
    path.write_bytes(data[: int(0.97 * len(data))])  # less than a second, so that the duration excuses it
    assert error_of(path).code == "truncated"


def test_a_video_of_which_nothing_decodes_has_no_frames(make_video):
    path = make_video(options={"movflags": "faststart"})
    data = path.read_bytes()
    start = data.index(b"mdat") + 4
    path.write_bytes(data[:start] + b"\xff" * (len(data) - start))
    assert error_of(path).code == "no-frames"


def test_a_tag_that_is_not_utf8_is_no_hindrance(make_video):
    path = make_video("a.mkv")
    data = path.read_bytes()
    assert b"Lavf" in data  # the name of the muxer, which is a tag
    path.write_bytes(data.replace(b"Lavf", b"\xe9avf"))
    assert decode_video(path, backend="pyav")[1].total_num_frames == 30


@pytest.mark.parametrize("name", ["song.mp3", "song.mp4"])
def test_the_cover_of_an_audio_file_is_no_video(tmp_path, name):
    path = tmp_path / name
    with av.open(path, "w", format="mp3") as container:
        sound = container.add_stream("libmp3lame", rate=16000, layout="mono")
        cover = container.add_stream("png")
        cover.width, cover.height, cover.pix_fmt = 64, 48, "rgb24"
        cover.disposition = av.stream.Disposition.attached_pic
        container.mux(cover.encode(av.VideoFrame.from_ndarray(grey_frames(1)[0], format="rgb24")))
        for _ in range(40):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1152), dtype=np.int16), format="s16p", layout="mono")
            frame.sample_rate = 16000
            container.mux(sound.encode(frame))
        container.mux(sound.encode())
    assert error_of(path).code == "no-video-stream"


@pytest.mark.parametrize(
    ("stated", "num_frames", "span", "expected"),
    [
        (24.0, 101, 4.0, 24.0),  # close enough to 25
        (1000.0, 101, 4.0, 25.0),
        (0.0, 101, 4.0, 25.0),
        (0.0, 1, 0.0, 1.0),
    ],
)
def test_a_rate_that_the_timestamps_belie_is_not_believed(stated, num_frames, span, expected):
    assert average_fps(stated, num_frames, span) == expected


def test_frames_that_are_strided_backwards_or_read_only_are_taken():
    processor = DRLVideoProcessor()
    video = np.random.default_rng(0).integers(0, 255, (3, 48, 64, 3), dtype=np.uint8)
    expected = processor(video, return_tensors="pt")["pixel_values_videos"]
    mirrored = video[:, ::-1].copy()[:, ::-1]
    mirrored.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(processor(mirrored, return_tensors="pt")["pixel_values_videos"], expected)
