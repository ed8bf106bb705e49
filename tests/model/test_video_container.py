"""What a container says and what it holds: edit lists, cuts, tags, covers and rates that are not true."""

import contextlib
import logging
import os
import struct
import warnings

import av
import numpy as np
import pytest
import torch
from video_files import grey_frames, read_indices, write_video

from drl_tvr.model.video_container import average_fps
from drl_tvr.model.video_decoding import VideoDecodeError, decode_video
from drl_tvr.model.video_processing_drl import DRLVideoProcessor


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
    ("name", "codec", "pix_fmt"),
    [
        ("a.mp4", "libx265", "yuv420p"),
        ("a.mp4", "libsvtav1", "yuv420p"),
        ("a.mp4", "libx264", "yuv444p"),
        ("a.webm", "libvpx", "yuv420p"),
        ("a.webm", "libvpx-vp9", "yuva420p"),
        ("a.mkv", "ffv1", "gray"),
        ("a.mkv", "ffv1", "gray16le"),
        ("a.mkv", "ffv1", "bgra"),
        ("a.mov", "prores_ks", "yuv422p10le"),
        ("a.mov", "qtrle", "rgb24"),
        ("a.mov", "png", "rgba"),
        ("a.avi", "rawvideo", "bgr24"),
        ("a.avi", "mjpeg", "yuvj420p"),
        ("a.avi", "msmpeg4", "yuv420p"),
        ("a.asf", "wmv2", "yuv420p"),
        ("a.flv", "flv1", "yuv420p"),
        ("a.mpegts", "mpeg2video", "yuv420p"),
        ("a.gif", "gif", "rgb8"),
    ],
)
def test_codecs_and_pixel_formats_decode_to_the_same_frames(tmp_path, name, codec, pix_fmt):
    path = write_video(tmp_path / name, grey_frames(25), codec=codec, pix_fmt=pix_fmt)
    frames, metadata = decode_video(path, backend="pyav")
    assert metadata.frames_indices == read_indices(frames) == [0, 10, 20]
    assert (metadata.total_num_frames, metadata.fps, metadata.truncation) == (25, 10.0, None)


def test_frames_of_odd_sizes_and_interlaced_ones_decode(tmp_path):
    odd = write_video(tmp_path / "odd.mp4", grey_frames(3, 49, 65), pix_fmt="yuv444p")
    assert decode_video(odd, backend="pyav")[0].shape == (1, 3, 49, 65)
    options = {"x264-params": "interlaced=1:tff=1"}
    with av.open(tmp_path / "fields.mp4", "w") as container:
        stream = container.add_stream("libx264", rate=10, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for frame in grey_frames(15, 64):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode())
    assert read_indices(decode_video(tmp_path / "fields.mp4", backend="pyav")[0]) == [0, 10]


def noisy_video(path, **kwargs):
    """60 frames at 10 a second whose brightness tells the index and whose noise takes bytes."""
    noise = np.random.default_rng(0).integers(-15, 15, (60, 48, 64, 3))
    levels = 20 + 3 * np.arange(60)[:, None, None, None]
    return write_video(path, (levels + noise).clip(0, 255).astype(np.uint8), **kwargs)


def damage(path, start, length, content=None):
    """Overwrites a part, `start` and `length` as shares of the file, with noise or `content`."""
    data = bytearray(path.read_bytes())
    at, size = int(start * len(data)), int(length * len(data))
    data[at : at + size] = np.random.default_rng(0).bytes(size) if content is None else content * size
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("content", [None, b"\0"], ids=["noise", "zeros"])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.mp4", {"options": {"movflags": "faststart"}}),
        ("a.avi", {"codec": "mpeg4"}),
        ("a.mpegts", {}),
    ],
    ids=["mp4", "avi", "ts"],
)
def test_damage_in_the_middle_is_an_error(tmp_path, name, options, content):
    path = damage(noisy_video(tmp_path / name, **options), 0.6, 0.1, content)
    assert error_of(path, fps=10, max_frames=None).code == "truncated"


def test_frames_that_the_decoder_drops_are_an_error(tmp_path):
    # Without its key frame the second group of pictures gives nothing, and the third would take its place.
    path = tmp_path / "a.mkv"
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"g": "15", "sc_threshold": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        packets = []
        for frame in grey_frames(45):
            packets += stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24"))
        packets += stream.encode()
        key_frames = [packet for packet in packets if packet.is_keyframe]
        assert len(key_frames) == 3
        for packet in packets:
            if packet is not key_frames[1]:
                container.mux(packet)
    error = error_of(path)
    assert error.code == "truncated" and "damage in frame " in str(error) and "of 44, expected" in str(error)
    assert read_indices(decode_video(path, backend="pyav", allow_truncated=True)[0]) == [0, 10]


def test_lost_packets_of_a_broadcast_are_an_error(tmp_path):
    path = noisy_video(tmp_path / "a.mpegts")
    data = path.read_bytes()
    path.write_bytes(data[: 188 * 40] + data[188 * 48 :])
    assert error_of(path).code == "truncated"


@pytest.mark.parametrize("filler", [b"\0", b"\xff"])
def test_an_mp4_whose_frames_are_gone_has_no_frames(tmp_path, filler):
    path = noisy_video(tmp_path / "a.mp4")
    data = path.read_bytes()
    start, end = data.index(b"mdat") + 4, data.index(b"moov") - 4
    path.write_bytes(data[:start] + filler * (end - start) + data[end:])
    assert error_of(path).code == "no-frames"
    assert error_of(path, allow_truncated=True).code == "no-frames"


def test_a_damaged_index_is_not_called_a_cut(tmp_path):
    path = noisy_video(tmp_path / "a.mp4")
    data = bytearray(path.read_bytes())
    struct.pack_into(">I", data, data.index(b"stsz") + 12, 0x7FFFFFFF)
    path.write_bytes(data)
    error = error_of(path)
    assert error.code == "no-frames" and "index (moov) is damaged" in str(error)


def test_a_codec_without_a_decoder_is_named_as_such(make_video):
    path = make_video()
    data = path.read_bytes()
    at = data.index(b"avc1", data.index(b"stsd"))
    path.write_bytes(data[:at] + b"zzzz" + data[at + 4 :])
    assert error_of(path).code == "unsupported-codec"


def test_a_still_image_is_no_video(tmp_path):
    for name, codec, pix_fmt in (("a.jpg", "mjpeg", "yuvj420p"), ("a.png", "png", "rgb24")):
        context = av.CodecContext.create(codec, "w")
        context.width, context.height, context.pix_fmt, context.framerate = 64, 48, pix_fmt, 1
        frame = av.VideoFrame.from_ndarray(grey_frames(1)[0], format="rgb24").reformat(format=pix_fmt)
        image = b"".join(bytes(packet) for packet in [*context.encode(frame), *context.encode(None)])
        for path in (tmp_path / name, tmp_path / f"{name}.mp4"):
            path.write_bytes(image)
            assert error_of(path).code == "not-a-video"


def test_frames_that_would_fill_the_memory_are_refused(tmp_path):
    path = write_video(tmp_path / "bomb.gif", grey_frames(3), codec="gif", pix_fmt="rgb8")
    data = bytearray(path.read_bytes())
    struct.pack_into("<HH", data, 6, 16000, 16000)  # a few hundred bytes that claim 256 million pixels
    path.write_bytes(data)
    error = error_of(path)
    assert error.code == "too-large" and "16000x16000" in str(error)


def test_a_rate_of_no_video_is_an_error(tmp_path):
    path = write_video(tmp_path / "fast.mp4", grey_frames(30), fps=1_000_000)
    error = error_of(path)
    assert error.code == "bad-duration" and "30 frames" in str(error)
    # A single frame is the same at any rate.
    assert len(decode_video(write_video(tmp_path / "one.mp4", grey_frames(1), fps=1_000_000))[0]) == 1


def test_times_of_no_video_are_an_error(make_video):
    path = make_video()
    data = bytearray(path.read_bytes())
    struct.pack_into(">I", data, data.index(b"mdhd") + 16, 1)  # units of a second rather than of 1/10240
    path.write_bytes(data)
    assert error_of(path).code == "bad-duration"


@pytest.mark.parametrize(
    ("milliseconds", "code"),
    [(1e12, "bad-duration"), (60_000.0, "suspicious"), (1_000.0, None), (0.0, None), (float("nan"), None)],
)
def test_a_stated_duration_is_compared_with_the_content(make_video, milliseconds, code):
    path = make_video("a.mkv")
    data = bytearray(path.read_bytes())
    struct.pack_into(">d", data, data.index(b"\x44\x89\x88") + 3, milliseconds)  # Duration, of 8 bytes
    path.write_bytes(data)
    if code == "bad-duration":
        assert error_of(path).code == code
        return
    metadata = decode_video(path, backend="pyav")[1]
    assert (metadata.duration, metadata.total_num_frames) == (3.0, 30)
    assert (metadata.suspicion is not None) == (code == "suspicious")


def test_links_that_lead_nowhere_are_missing(tmp_path):
    os.symlink("nowhere.mp4", tmp_path / "gone.mp4")
    os.symlink("self.mp4", tmp_path / "self.mp4")
    for name in ("gone.mp4", "self.mp4"):
        error = error_of(tmp_path / name)
        assert error.code == "missing" and "link that leads nowhere" in str(error)
    assert error_of(tmp_path / ("n" * 300)).code == "missing"
    assert error_of(tmp_path / "file.mp4" / "a\0b").code == "missing"


def test_pipes_and_devices_are_never_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    os.symlink("/dev/zero", tmp_path / "zero.mp4")
    for name in ("pipe.mp4", "zero.mp4"):
        assert error_of(tmp_path / name).code == "not-a-video"


@contextlib.contextmanager
def without_privileges():
    """As a user who is not the owner of the files, where the tests run as root."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_what_may_not_be_read_is_unreadable(make_video, tmp_path_factory):
    path = make_video()
    folder = path.parent
    path.chmod(0)
    with contextlib.ExitStack() as stack:
        for parent in (folder, *folder.parents):
            if parent.stat().st_uid == os.geteuid() and not parent.stat().st_mode & 0o005:
                stack.callback(parent.chmod, parent.stat().st_mode & 0o777)
                parent.chmod(0o755)
        stack.enter_context(without_privileges())
        assert error_of(path).code == "unreadable"
    folder.chmod(0)
    try:
        with without_privileges():
            assert error_of(path).code == "unreadable"
    finally:
        folder.chmod(0o700)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.mp4", {"options": {"movflags": "faststart"}}),
        ("a.mkv", {}),
        ("a.avi", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}),
        ("a.flv", {"codec": "flv1"}),
    ],
    ids=["mp4", "mkv", "avi", "flv"],
)
def test_the_readable_part_of_a_cut_file_is_that_of_the_whole(tmp_path, name, options):
    path = noisy_video(tmp_path / name, **options)
    whole, _ = decode_video(path, fps=None, max_frames=None, backend="pyav")
    data = path.read_bytes()
    path.write_bytes(data[: int(0.6 * len(data))])
    assert error_of(path, fps=None, max_frames=None).code == "truncated"
    part, metadata = decode_video(path, fps=None, max_frames=None, backend="pyav", allow_truncated=True)
    assert torch.equal(part, whole[: len(part)])
    assert 10 < len(part) == metadata.total_num_frames < 60
    assert metadata.duration == len(part) / 10 and metadata.truncation
    sampled, again = decode_video(path, backend="pyav", allow_truncated=True)
    assert torch.equal(sampled, whole[again.frames_indices])
    assert again.frames_indices == list(range(0, len(part), 10))
    # What the file no longer holds is not a fault of the range.
    assert error_of(path, start=5.5, allow_truncated=True).code == "truncated"


def test_frames_before_a_damage_are_a_readable_part(tmp_path):
    path = noisy_video(tmp_path / "a.mp4", options={"movflags": "faststart"})
    whole, _ = decode_video(path, fps=None, max_frames=None, backend="pyav")
    damage(path, 0.6, 0.4)
    part, metadata = decode_video(path, backend="pyav", allow_truncated=True)
    assert torch.equal(part, whole[metadata.frames_indices])
    assert 10 < metadata.total_num_frames < 60
    assert f"after {metadata.total_num_frames} of 60 frames" in metadata.truncation


def test_the_processor_takes_a_readable_part_when_asked_and_says_so(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("drl_tvr"), "propagate", True)
    path = noisy_video(tmp_path / "a.mkv")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(VideoDecodeError, match="truncated"):
        DRLVideoProcessor()(path)
    asked = DRLVideoProcessor()(path, allow_truncated=True, return_metadata=True, return_tensors="pt")
    processor = DRLVideoProcessor(allow_truncated=True)
    assert processor.to_dict()["allow_truncated"] is True
    built = processor(path, return_tensors="pt")
    assert torch.equal(asked["pixel_values_videos"], built["pixel_values_videos"])
    assert asked["video_metadata"][0].truncation
    assert f"{path}: only the readable part is used: " in caplog.text
    with pytest.raises(VideoDecodeError, match="truncated"):
        processor(path, allow_truncated=False)


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
