import dataclasses
import json
import pickle
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch
from torch._utils import ExceptionWrapper
from transformers.utils import is_torchcodec_usable
from video_files import grey_frames, read_indices, write_timed_video, write_video

from drl_tvr.model import frame_index, video_decoding
from drl_tvr.model.video_decoding import VideoDecodeError, VideoNotFoundError, decode_video, sample_indices


needs_torchcodec = pytest.mark.skipif(
    not is_torchcodec_usable(decode="video"), reason="torchcodec is not usable (it needs FFmpeg's libraries)"
)
BROKEN_CLIPS = {
    "audioonly_mp4parser_count-english-audio.mp4": "no-video-stream",
    "broken_decord_corrupted.mp4": "truncated",
    "broken_moviepy_empty_0bytes.webm": "empty",
    "broken_mp4parse_invalid_userdata.mp4": "no-frames",
    "broken_mp4parse_short-cenc_encrypted.mp4": "encrypted",
}


def error_of(path, **kwargs) -> VideoDecodeError:
    with pytest.raises(VideoDecodeError) as caught:
        decode_video(path, backend="pyav", **kwargs)
    assert caught.value.path == str(path)
    assert str(path) in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        # Computed by hand from the official rule.
        (dict(num_frames=50, avg_fps=3.0), [0, 3, 6, 12, 15, 21, 24, 30, 33, 39, 42, 48]),  # 17 thinned out to 12
        (dict(num_frames=100, avg_fps=29.97), [0, 30, 60, 90]),
        (dict(num_frames=7, avg_fps=30.0), [0]),  # under a second
        (dict(num_frames=1, avg_fps=1.0), [0]),
        (dict(num_frames=5, avg_fps=0.4), [0, 1, 2, 3, 4]),  # a stride of 0 in the official code
        (dict(num_frames=100, avg_fps=10.0, fps=2.0, max_frames=3), [0, 45, 95]),
        (dict(num_frames=100, avg_fps=10.0, start=2.55, end=4.0), [25, 35]),
        (dict(num_frames=100, avg_fps=10.0, start=8.0), [80, 90]),
        (dict(num_frames=100, avg_fps=10.0, end=1.0), [0, 10]),
        (dict(num_frames=100, avg_fps=10.0, start=9.0, end=30.0), [90]),  # an end beyond the clip is its end
        (dict(num_frames=5, avg_fps=10.0, fps=None, max_frames=None), [0, 1, 2, 3, 4]),
        (dict(num_frames=5, avg_fps=None, max_frames=3), [0, 2, 4]),
    ],
)
def test_sample_indices_follows_the_official_rule(arguments, expected):
    assert sample_indices(**arguments) == expected


@pytest.mark.parametrize(
    ("start", "end"),
    [
        *[(3.0, 3.0), (4.0, 3.0), (-1.0, None), (10.0, None), (11.0, 12.0), (0, 0), (float("nan"), None), ("1", None)],
        *[(0, float("nan")), (float("inf"), None), (0, float("inf")), (True, 5), (0, True), ("1", "2"), ([1], None)],
    ],
)
def test_a_range_that_encloses_nothing_is_an_error(start, end):
    with pytest.raises(
        VideoDecodeError, match=r"clip.mp4: found start=.* and end=.* in a video of 10.000 s"
    ) as caught:
        sample_indices(100, 10.0, start=start, end=end, name="clip.mp4")
    assert caught.value.code == "bad-range"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(fps=0), "`fps`: found 0, expected a number above 0"),
        (dict(fps="x"), "`fps`: found 'x', expected a number above 0"),
        (dict(fps=float("nan")), "`fps`: found nan, expected a number above 0"),
        (dict(max_frames=0), "`max_frames`: found 0, expected at least 1"),
        (dict(max_frames=1.5), "`max_frames`: found 1.5, expected at least 1 and a whole number"),
        (dict(max_frames=True), "`max_frames`: found True, expected at least 1 and a whole number"),
    ],
)
def test_sample_indices_refuses_rates_and_limits_that_give_no_frame(arguments, message):
    with pytest.raises(ValueError, match=message):
        sample_indices(100, 10.0, **arguments)


def test_a_range_without_a_rate_is_an_error():
    with pytest.raises(ValueError, match="found `start` or `end` in seconds, expected `video_metadata` with `fps`"):
        sample_indices(100, None, start=1.0)


def test_the_pixels_are_those_of_the_sampled_frames(make_video):
    frames, metadata = decode_video(make_video(num_frames=40, fps=10), backend="pyav")
    assert (frames.shape, frames.dtype) == ((4, 3, 48, 64), torch.uint8)
    assert metadata.frames_indices == read_indices(frames) == [0, 10, 20, 30]
    assert (metadata.fps, metadata.duration, metadata.total_num_frames) == (10.0, 4.0, 40)
    assert (metadata.height, metadata.width, metadata.video_backend) == (48, 64, "pyav")


def test_start_and_end_choose_the_frames(make_video):
    frames, _ = decode_video(make_video(num_frames=40, fps=10), fps=5, start=1.2, end=2.0, backend="pyav")
    assert read_indices(frames) == [12, 14, 16, 18, 20]


def test_timestamps_are_those_of_the_file(make_video, tmp_path):
    """At a steady rate they are index / rate; at a changing one they are what the file says, from its first frame."""
    _, metadata = decode_video(make_video(num_frames=40, fps=10), start=1.0, end=2.9)
    assert (metadata.frames_indices, metadata.timestamps) == ([10, 20], [1.0, 2.0])
    shown_at = [5000, 5100, 5200, 5300, 9000, 9100, 9500]  # milliseconds
    write_timed_video(tmp_path / "uneven.mkv", grey_frames(7), shown_at)
    frames, metadata = decode_video(tmp_path / "uneven.mkv", fps=None)
    assert read_indices(frames) == metadata.frames_indices == list(range(7))
    assert metadata.timestamps == pytest.approx([0.0, 0.1, 0.2, 0.3, 4.0, 4.1, 4.5])


@pytest.mark.parametrize("name", ["ordered.avi", "out_of_order.avi", "raw.h264"])
def test_timestamps_that_a_file_lacks_follow_its_rate(make_video, name):
    """PyAV gives none of a raw stream, and those of an AVI with B-frames in the wrong order."""
    path = make_video(name, num_frames=40, codec="mpeg4" if name == "ordered.avi" else "libx264")
    _, metadata = decode_video(path)
    assert metadata.timestamps == pytest.approx([i / metadata.fps for i in metadata.frames_indices])


def test_colours_are_rgb(tmp_path):
    red = np.zeros((2, 48, 64, 3), dtype=np.uint8)
    red[..., 0] = 200
    frames, _ = decode_video(write_video(tmp_path / "red.mp4", red), backend="pyav")
    assert torch.allclose(frames.float().mean((0, 2, 3)), torch.tensor([200.0, 0.0, 0.0]), atol=4)


@pytest.mark.parametrize(("rotation", "bright_side"), [(0, "top"), (90, "left"), (180, "bottom"), (-90, "right")])
def test_rotation_in_the_metadata_is_applied(tmp_path, rotation, bright_side):
    frames = np.zeros((2, 48, 64, 3), dtype=np.uint8)
    frames[:, :24] = 200
    path = write_video(tmp_path / "turned.mp4", frames, rotation=rotation)
    pixels = decode_video(path, backend="pyav")[0].float()[0, 0]
    assert pixels.shape == ((48, 64) if rotation in (0, 180) else (64, 48))
    sides = {"top": pixels[:8], "bottom": pixels[-8:], "left": pixels[:, :8], "right": pixels[:, -8:]}
    assert max(sides, key=lambda side: sides[side].mean()) == bright_side


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.mp4", {}),
        ("a.mov", {}),
        ("a.avi", {"codec": "mpeg4"}),
        ("a.webm", {"codec": "libvpx-vp9", "seekable": False}),  # no duration and no number of frames
        ("a.mp4", {"options": {"movflags": "frag_keyframe+empty_moov"}}),
    ],
    ids=["mp4", "mov", "avi", "webm-without-duration", "fragmented-mp4"],
)
def test_every_container_gives_the_same_frames(make_video, name, options):
    frames, metadata = decode_video(make_video(name, num_frames=35, fps=10, **options), backend="pyav")
    assert metadata.frames_indices == read_indices(frames) == [0, 10, 20, 30]
    assert (metadata.total_num_frames, metadata.fps) == (35, 10.0)


def test_a_single_frame_is_a_video(make_video):
    frames, metadata = decode_video(make_video(num_frames=1), backend="pyav")
    assert (len(frames), metadata.frames_indices) == (1, [0])


@pytest.mark.parametrize("name", ["-f.mp4", "http:x.mp4", "concat:a.mp4", "pipe:0.mp4", "a %03d b.mp4", "é你.mp4"])
def test_a_name_is_only_a_name(make_video, monkeypatch, name):
    path = make_video(name, num_frames=12)
    monkeypatch.chdir(path.parent)
    assert read_indices(decode_video(name)[0]) == [0, 10]


def test_fewer_frames_than_packets_are_sampled_anew(make_video, monkeypatch):
    scan = frame_index.scan_video

    def scan_too_many(*args):
        index = scan(*args)
        return dataclasses.replace(index, packets=index.packets + [(None, 0)] * 20)

    monkeypatch.setattr(frame_index, "scan_video", scan_too_many)
    frames, metadata = decode_video(make_video(num_frames=30, fps=10), max_frames=2, backend="pyav")
    assert metadata.frames_indices == read_indices(frames) == [0, 20]
    assert metadata.total_num_frames == 30


def test_a_missing_file_is_a_file_not_found_error(tmp_path):
    error = error_of(tmp_path / "none.mp4")
    assert error.code == "missing"
    assert isinstance(error, VideoNotFoundError) and isinstance(error, FileNotFoundError)
    assert isinstance(error, ValueError)


def test_an_empty_file_is_an_error(tmp_path):
    (tmp_path / "empty.mp4").touch()
    assert error_of(tmp_path / "empty.mp4").code == "empty"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("text.mp4", b"This is no video.\n" * 50),
        ("text.txt", b"This is no video.\n" * 50),
        ("list.mp4", b"ffconcat version 1.0\nfile 'video.mp4'\n"),
        ("list.m3u8", b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:3,\nvideo.mp4\n#EXT-X-ENDLIST\n"),
        ("zeros.mp4", bytes(10_000)),
        ("page.mp4", b"<!DOCTYPE html><html><body>404</body></html>"),
    ],
)
def test_what_is_no_video_is_an_error(make_video, tmp_path, name, content):
    make_video("video.mp4")  # a playlist must not reach it
    (tmp_path / name).write_bytes(content)
    assert error_of(tmp_path / name).code == "not-a-video"


def test_a_directory_is_an_error(tmp_path):
    assert "directory" in str(error_of(tmp_path))
    assert error_of(tmp_path).code == "not-a-video"


def test_a_file_without_video_is_an_error(make_audio):
    assert error_of(make_audio()).code == "no-video-stream"


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.mp4", {}),
        ("a.mp4", {"options": {"movflags": "faststart"}}),
        ("a.avi", {"codec": "mpeg4"}),
        ("a.mkv", {}),
        ("a.webm", {"codec": "libvpx-vp9"}),
    ],
    ids=["mp4", "faststart-mp4", "avi", "mkv", "webm"],
)
@pytest.mark.parametrize("share", [0.5, 0.8])
def test_a_cut_file_is_an_error(tmp_path, name, options, share):
    # Noise, since grey alone takes hardly any bytes.
    noise = np.random.default_rng(0).integers(0, 255, (60, 48, 64, 3), dtype=np.uint8)
    path = write_video(tmp_path / name, noise, fps=10, **options)
    assert decode_video(path, backend="pyav")[1].total_num_frames == 60
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    assert error_of(path).code == "truncated"


def test_damage_amid_the_frames_is_an_error(make_video, tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (60, 48, 64, 3), dtype=np.uint8)
    path = write_video(tmp_path / "damaged.mp4", noise, fps=10, options={"movflags": "faststart"})
    data = bytearray(path.read_bytes())
    data[len(data) // 2 :] = b"\xff" * (len(data) - len(data) // 2)
    path.write_bytes(data)
    error = error_of(path)
    assert error.code == "truncated"
    assert "of 60 frames" in str(error)


def test_a_bad_range_names_file_values_and_duration(make_video):
    error = error_of(make_video(num_frames=30, fps=10), start=5.0)
    assert error.code == "bad-range"
    assert "start=5.0 and end=None in a video of 3.000 s" in str(error)


@pytest.mark.parametrize("kind", [VideoDecodeError, VideoNotFoundError])
def test_errors_survive_pickling(kind):
    error = pickle.loads(pickle.dumps(kind("a.mp4: found nothing", "a.mp4", "missing")))
    assert (type(error), str(error), error.path, error.code) == (kind, "a.mp4: found nothing", "a.mp4", "missing")


def test_an_error_leaves_a_data_loader_worker_with_its_type(tmp_path):
    # What a worker does with an error, without the worker: it sends the type and a text to rebuild it from.
    try:
        decode_video(tmp_path / "none.mp4")
    except VideoNotFoundError:
        sent = pickle.dumps(ExceptionWrapper(where="in a worker"))
    with pytest.raises(VideoNotFoundError, match="none.mp4"):
        pickle.loads(sent).reraise()


def test_an_unknown_backend_is_an_error(make_video):
    with pytest.raises(ValueError, match="decord"):
        decode_video(make_video(), backend="decord")


def test_torchcodec_that_is_not_usable_is_an_error(make_video, monkeypatch):
    monkeypatch.setattr(video_decoding, "is_torchcodec_usable", lambda decode: False)
    with pytest.raises(ImportError, match="torchcodec"):
        decode_video(make_video(), backend="torchcodec")
    assert decode_video(make_video())[1].video_backend == "pyav"


@pytest.fixture
def server(tmp_path):
    handler = partial(SimpleHTTPRequestHandler, directory=tmp_path)
    handler.log_message = lambda *_: None
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()


def test_a_url_is_read(server, make_video):
    make_video("a.mp4", num_frames=25, fps=10)
    assert read_indices(decode_video(f"{server}/a.mp4")[0]) == [0, 10, 20]


def test_a_url_that_does_not_exist_is_missing(server):
    error = error_of(f"{server}/none.mp4")
    assert error.code == "missing"


@needs_torchcodec
@pytest.mark.parametrize(
    ("name", "options"),
    [("a.mp4", {}), ("a.mp4", {"rotation": 90}), ("a.avi", {"codec": "mpeg4"}), ("a.webm", {"codec": "libvpx-vp9"})],
    ids=["mp4", "rotated", "avi", "webm"],
)
def test_torchcodec_and_pyav_give_the_same_frames(tmp_path, name, options):
    ramp = grey_frames(25) // 2
    ramp[:, :, :32, 0] += 90  # a colour and a side
    path = write_video(tmp_path / name, ramp, **options)
    ours, metadata = decode_video(path, backend="pyav")
    theirs, their_metadata = decode_video(path, backend="torchcodec")
    assert metadata.frames_indices == their_metadata.frames_indices
    assert ours.shape == theirs.shape
    assert (ours.float() - theirs.float()).abs().mean() < 2


@needs_torchcodec
@pytest.mark.shared
def test_torchcodec_and_pyav_give_the_same_frames_of_real_clips(shared_dir):
    for path in sorted((shared_dir / "videos").iterdir()):
        if path.name in BROKEN_CLIPS or path.suffix == ".md":
            continue
        ours, metadata = decode_video(path, backend="pyav")
        theirs, their_metadata = decode_video(path, backend="torchcodec")
        assert metadata.frames_indices == their_metadata.frames_indices, path.name
        assert (ours.float() - theirs.float()).abs().mean() < 2, path.name


@pytest.mark.shared
def test_every_real_clip_decodes_or_says_why_not(shared_dir):
    reference = json.loads((shared_dir / "parity" / "frames.json").read_text())
    paths = [path for path in sorted((shared_dir / "videos").iterdir()) if path.suffix != ".md"]
    assert {path.name for path in paths} == set(reference)
    for path in paths:
        if path.name in BROKEN_CLIPS:
            assert error_of(path).code == BROKEN_CLIPS[path.name]
            continue
        frames, metadata = decode_video(path, backend="pyav")
        assert len(frames) == len(metadata.frames_indices) <= 12
        expected = reference[path.name]
        if "indices" in expected:  # what the official code's decoder could not read has none
            assert metadata.frames_indices == expected["indices"], path.name
            assert metadata.total_num_frames == expected["num_frames"], path.name
            assert metadata.fps == pytest.approx(expected["fps"]), path.name


@pytest.mark.shared
def test_frames_that_the_official_decoder_could_not_read(shared_dir):
    videos = shared_dir / "videos"
    assert decode_video(videos / "moviepy_no_duration.webm")[1].frames_indices == [0, 15, 30, 45, 60]
    assert decode_video(videos / "torchcodec_av1_video.mkv")[1].frames_indices == [0, 25, 50, 75, 100]
    assert decode_video(videos / "-video-with-dash-.mp4")[1].frames_indices == [0, 1, 2, 3, 4]
    assert decode_video(videos / "moviepy_pigs_in_a_polka.gif")[1].frames_indices == [0, 10, 20]


@pytest.mark.shared
def test_a_part_before_the_damage_still_decodes(shared_dir):
    path = shared_dir / "videos" / "broken_decord_corrupted.mp4"
    assert decode_video(path, end=2.0)[1].frames_indices == [0, 10, 20]
