"""Files whose every frame decodes are whole, whatever their container promises; files that end too early are not."""

import contextlib
import importlib
import itertools
import logging
import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from video_files import grey_frames, read_indices, scheduled_as_before, write_video

from drl_tvr.data.doctor import check_video
from drl_tvr.model.video_container import scan_video
from drl_tvr.model.video_decoding import VideoDecodeError, decode_video
from drl_tvr.model.video_orientation import upright_pixels
from drl_tvr.model.video_processing_drl import DRLVideoProcessor


MUXERS = {".mkv": "matroska", ".ts": "mpegts"}


def error_of(path, **kwargs) -> VideoDecodeError:
    with pytest.raises(VideoDecodeError) as caught:
        decode_video(path, backend="pyav", **kwargs)
    return caught.value


def encode(num_frames: int, height: int = 48, first: int = 0, x264_params: str = "bframes=3") -> list[av.Packet]:
    """Packets of H.264 that hold their own headers, of 10 grey frames a second that tell their index."""
    context = av.CodecContext.create("libx264", "w")
    context.width, context.height, context.pix_fmt = 64, height, "yuv420p"
    context.framerate, context.time_base = 10, Fraction(1, 10)
    context.options = {"x264-params": f"{x264_params}:annexb=1:repeat-headers=1"}
    packets = []
    for index, pixels in enumerate(grey_frames(first + num_frames, height)[first:]):
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24").reformat(format="yuv420p")
        frame.pts, frame.time_base = index, context.time_base
        packets += context.encode(frame)
    return packets + context.encode(None)


def mux(path: Path, packets: list[tuple[av.Packet, int]], subtitles: Path | None = None) -> Path:
    """Writes packets, each at a time that is later by a number of frames, and subtitles from a file."""
    with contextlib.ExitStack() as stack:
        container = stack.enter_context(av.open(path, "w", format=MUXERS.get(path.suffix)))
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt, stream.time_base = 64, 48, "yuv420p", Fraction(1, 10)
        words = stack.enter_context(av.open(subtitles)) if subtitles else None
        lines = container.add_stream_from_template(words.streams[0]) if subtitles else None
        latest = None
        for packet, shift in packets:
            copy = av.Packet(bytes(packet))
            copy.time_base, copy.stream, copy.is_keyframe = Fraction(1, 10), stream, packet.is_keyframe
            # A muxer wants decoding times that grow.
            copy.dts = packet.dts + shift if latest is None else max(packet.dts + shift, latest + 1)
            copy.pts, latest = max(packet.pts + shift, copy.dts), copy.dts
            container.mux(copy)
        for line in words.demux() if subtitles else ():
            if line.size:
                line.stream = lines
                container.mux(line)
    return path


def noisy(path: Path, **kwargs) -> Path:
    """A video of 40 frames, which take bytes."""
    return write_video(path, np.random.default_rng(0).integers(0, 255, (40, 48, 64, 3), dtype=np.uint8), **kwargs)


def cut(path: Path, size: int) -> Path:
    """Leaves the first `size` bytes of a file."""
    path.write_bytes(path.read_bytes()[:size])
    return path


@pytest.mark.parametrize("overlap", [0, 2])
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.flv", "a.avi"])
def test_clips_that_are_joined_are_whole(tmp_path, name, overlap):
    clips = [(packet, 0) for packet in encode(20)], [(packet, 20 - overlap) for packet in encode(20, first=20)]
    path = mux(tmp_path / name, [*clips[0], *clips[1]])
    frames, metadata = decode_video(path, fps=None, max_frames=None, backend="pyav")
    assert read_indices(frames) == list(range(40))
    assert (metadata.total_num_frames, metadata.truncation, metadata.suspicion) == (40, None, None)
    check = check_video(path)
    assert (check.ok, check.code, check.num_frames) == (True, "ok", 40)


def test_transport_streams_that_are_joined_are_whole(tmp_path):
    parts = [mux(tmp_path / f"{first}.ts", [(p, first) for p in encode(20, first=first)]) for first in (0, 20)]
    path = tmp_path / "joined.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    frames, metadata = decode_video(path, fps=None, max_frames=None, backend="pyav")
    assert read_indices(frames) == list(range(40)) and metadata.truncation is None
    # A number that is missing in the middle is a loss.
    data = path.read_bytes()
    size = 188 * (len(parts[0].read_bytes()) // 188 // 2)
    path.write_bytes(data[:size] + data[size + 188 * 2 :])
    assert error_of(path, fps=None, max_frames=None).code == "truncated"


@pytest.mark.parametrize("name", ["a.mkv", "a.ts", "a.flv", "a.avi"])
@pytest.mark.parametrize("lead", [0, 5], ids=["open-start", "amid-a-group"])
def test_packets_before_the_first_whole_group_are_no_frames(tmp_path, name, lead):
    packets = encode(36, x264_params="open-gop=1:keyint=12:min-keyint=12:bframes=3:b-adapt=0:scenecut=0")
    second = [place for place, packet in enumerate(packets) if packet.is_keyframe][1]
    path = mux(tmp_path / name, [(packet, 0) for packet in packets[second - lead :]])
    frames, metadata = decode_video(path, fps=None, max_frames=None, backend="pyav")
    # What refers to frames that are not there is not shown, by FFmpeg as by a player.
    assert read_indices(frames) == list(range(12, 36))
    assert (metadata.total_num_frames, metadata.truncation) == (24, None)


@pytest.mark.parametrize("name", ["a.mkv", "a.webm"])
def test_subtitles_may_end_after_the_video(tmp_path, name):
    subtitles = tmp_path / "a.srt"
    subtitles.write_text("1\n00:00:01,000 --> 00:00:09,000\nThe end\n")
    path = mux(tmp_path / "a.mkv", [(packet, 0) for packet in encode(20)], subtitles).rename(tmp_path / name)
    check = check_video(path)
    assert (check.code, check.num_frames) == ("ok", 20)
    with av.open(path) as container:
        assert container.duration > 8 * av.time_base


@pytest.mark.parametrize("name", ["a.flv", "a.mkv", "a.mp4", "a.avi"])
def test_slides_are_shown_to_their_end(tmp_path, name):
    path = write_video(tmp_path / name, grey_frames(3), fps=Fraction(1, 10))
    check = check_video(path)
    assert (check.code, check.num_frames, check.duration) == ("ok", 3, 30.0)


def test_a_header_that_states_more_than_there_is_is_suspicious(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("drl_tvr"), "propagate", True)
    path = noisy(tmp_path / "a.mkv", options={"cluster_time_limit": "100"})
    data = path.read_bytes()
    starts = [place for place in range(len(data)) if data.startswith(b"\x1f\x43\xb6\x75", place)]
    cut(path, starts[len(starts) // 2])  # exactly between two clusters, as a recording that was killed may end
    frames, metadata = decode_video(path, backend="pyav")
    assert 0 < metadata.total_num_frames < 40 and metadata.truncation is None
    assert "a header that states 4.000 s" in metadata.suspicion
    check, strict = check_video(path), check_video(path, strict=True)
    assert (check.ok, check.code, strict.ok, strict.code) == (True, "suspicious", False, "suspicious")
    assert metadata.suspicion in check.message
    DRLVideoProcessor()(path)
    assert f"{path}: found {metadata.suspicion}" in caplog.text


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.webm", {"codec": "libvpx-vp9", "seekable": False}),
        ("a.webm", {"codec": "libvpx-vp9", "seekable": False, "options": {"live": "1"}}),
        ("a.mkv", {}),
        ("a.gif", {"codec": "gif", "pix_fmt": "rgb8"}),
        ("a.flv", {"codec": "flv1"}),
        ("a.mp4", {"options": {"movflags": "frag_keyframe+empty_moov", "frag_duration": "500000"}}),
    ],
    ids=["webm-without-duration", "live-webm", "mkv", "gif", "flv", "fragmented-mp4"],
)
def test_a_file_that_ends_in_a_packet_is_cut(tmp_path, name, options):
    path = noisy(tmp_path / name, **options)
    assert decode_video(path, backend="pyav")[1].total_num_frames == 40
    data = path.read_bytes()
    for share in (0.4, 0.65, 0.9):
        path.write_bytes(data[: int(share * len(data))])
        assert error_of(path).code == "truncated", share
        metadata = decode_video(path, fps=None, max_frames=None, backend="pyav", allow_truncated=True)[1]
        assert 0 < metadata.total_num_frames < 40 and metadata.truncation


def test_a_fragment_whose_index_is_cut_is_found(tmp_path):
    path = noisy(tmp_path / "a.mp4", options={"movflags": "frag_keyframe+empty_moov", "frag_duration": "500000"})
    data = path.read_bytes()
    last = data.rindex(b"moof")
    assert error_of(cut(path, last + 20)).code == "truncated"
    path.write_bytes(data[: last - 4])  # still being written, up to a whole fragment
    check = check_video(path)
    assert check.ok and 0 < check.num_frames < 40


def test_an_image_is_no_video_and_a_sequence_of_images_is_one(tmp_path):
    for name, num_frames in (("still.avif", 1), ("sequence.avif", 12)):
        with scheduled_as_before(), av.open(tmp_path / name, "w", format="avif") as container:
            stream = container.add_stream("libsvtav1", rate=10)
            stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
            for pixels in grey_frames(num_frames, 64):
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
    error = error_of(tmp_path / "still.avif")
    assert error.code == "not-a-video" and "HEIF or AVIF" in str(error)
    assert decode_video(tmp_path / "sequence.avif")[1].total_num_frames == 12


def test_frames_of_several_sizes_are_scaled_to_the_first_and_suspicious(tmp_path):
    packets = [*[(p, 0) for p in encode(20)], *[(p, 20) for p in encode(20, height=96, first=20)]]
    path = mux(tmp_path / "a.ts", packets)
    frames, metadata = decode_video(path, fps=None, max_frames=None, backend="pyav")
    assert frames.shape == (40, 3, 48, 64) and read_indices(frames) == list(range(40))
    assert metadata.suspicion == "frames of 2 sizes, which are scaled to the first"
    assert check_video(path, fps=5).code == "suspicious"


@pytest.mark.parametrize("matrix", list(itertools.product((False, True), (1, -1), (1, -1))))
def test_all_eight_orientations_are_shown_upright(tmp_path, matrix):
    """A pixel at (x, y) is shown at (a x + c y, b x + d y); the muxer moves it into the picture."""
    turned, x_sign, y_sign = matrix
    a, b, c, d = (0, y_sign, x_sign, 0) if turned else (x_sign, 0, 0, y_sign)
    pixels = np.zeros((48, 64, 3), dtype=np.uint8)
    pixels[:24, :32], pixels[:24, 32:], pixels[24:, :32] = 230, 160, 90  # each corner has its own grey
    path = tmp_path / "a.mp4"
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "8"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.set_display_matrix([a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30])
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    expected = np.zeros((64, 48) if turned else (48, 64))
    for y, x in itertools.product(range(48), range(64)):
        # Python's negative places count from the other side, as the move into the picture does.
        across, down = a * x + c * y, b * x + d * y
        expected[down - (b + d < 0), across - (a + c < 0)] = pixels[y, x, 0]
    shown = decode_video(path, backend="pyav")[0][0, 0].float().numpy()
    assert shown.shape == expected.shape and np.abs(shown - expected).mean() < 4


def test_an_upright_frame_is_scaled_by_its_upright_size():
    frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), dtype=np.uint8), format="rgb24")
    assert upright_pixels(frame).shape == (3, 48, 64) and upright_pixels(frame, (20, 10)).shape == (3, 20, 10)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("list.mp4", "ffconcat version 1.0\nfile {}\n"),
        ("list.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:3,\n{}\n#EXT-X-ENDLIST\n"),
        ("list.mp4", '#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXT-X-MAP:URI="{}"\n#EXTINF:3,\n{}\n#EXT-X-ENDLIST\n'),
        ("list.m3u8", "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nlist.m3u8\n"),
        ("pipe%01d.mp4", "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\n"),
    ],
    ids=["concat", "hls", "hls-map", "hls-of-itself", "sdp"],
)
def test_a_playlist_opens_nothing(tmp_path, name, content):
    for pipe in ("pipe.mp4", "pipe.ts", "pipe0.mp4", "pipe1.mp4"):
        os.mkfifo(tmp_path / pipe)  # whoever opens it waits for ever
    (tmp_path / name).write_text(content.format("pipe.ts", "pipe.ts"))
    error = error_of(tmp_path / name)
    assert error.code == "not-a-video" and "which refers to other files" in str(error)


@pytest.mark.shared
@pytest.mark.parametrize("name", ["field_pairs.mp4", "field_pairs.mkv", "field_pairs.ts"])
def test_two_fields_are_one_frame(shared_dir, name):
    path = shared_dir / "cases" / "files" / name
    table = scan_video(str(path), str(path))
    assert (len(table.packets), table.fps, table.frame_per_packet) == (40, 25.0, True)
    frames, metadata = decode_video(path, backend="pyav")
    assert (metadata.total_num_frames, metadata.duration, metadata.truncation) == (40, 1.6, None)
    assert metadata.frames_indices == [0, 25] and len(frames) == 2


@pytest.mark.shared
def test_real_cases_have_their_number_of_frames(shared_dir):
    expected = {"joined_clips.mp4": 132, "ts_two_recordings.ts": 92, "slides_of_10_s.flv": 3}
    expected |= {"subtitles_end_later.mkv": 200, "subtitles_end_later.webm": 200, "mirror_hflip.mp4": 10}
    for name, num_frames in expected.items():
        check = check_video(shared_dir / "cases" / "files" / name)
        assert (check.code, check.num_frames) == ("ok", num_frames), name
    assert check_video(shared_dir / "cases" / "files" / "exoplayer_sample_still_photo.heic").code == "not-a-video"


@pytest.mark.parametrize("kind", [av.error.MemoryError, av.error.BlockingIOError])
@pytest.mark.parametrize(
    "place", ["frame_decoding.decode_stream", "video_container.decode_stream", "video_packets.demux"]
)
def test_lack_of_memory_or_threads_is_no_damage_of_the_file(tmp_path, monkeypatch, kind, place):
    path = noisy(tmp_path / "a.mp4")
    module, name = place.split(".")
    module = importlib.import_module(f"drl_tvr.model.{module}")
    whole = getattr(module, name)

    def exhausted(*args):
        yield from itertools.islice(whole(*args), 5)
        raise kind(12, "exhausted")

    monkeypatch.setattr(module, name, exhausted)
    if place == "video_container.decode_stream":
        monkeypatch.setattr(module, "may_hold_fields", lambda stream: True)
    with pytest.raises(kind):
        decode_video(path, fps=None, max_frames=None, backend="pyav", allow_truncated=True)


@pytest.mark.parametrize(
    ("kind", "size"),
    [("420jpeg", 63 * 47 + 2 * 32 * 24), ("444", 3 * 63 * 47), ("mono", 63 * 47), ("mono16", 2 * 63 * 47)],
)
@pytest.mark.parametrize("num_frames", [1, 3])
@pytest.mark.parametrize("line", ["FRAME", "FRAME Ip"])
def test_a_y4m_that_ends_inside_a_picture_is_cut(tmp_path, kind, size, num_frames, line):
    path = tmp_path / "a.y4m"
    picture = f"{line}\n".encode() + bytes(size)
    path.write_bytes(f"YUV4MPEG2 W63 H47 F25:1 Ip A1:1 C{kind}\n".encode() + num_frames * picture)
    whole = path.read_bytes()
    assert decode_video(path, backend="pyav")[1].total_num_frames == num_frames
    for extra in (picture[:-1], picture[:100]):
        path.write_bytes(whole + extra)
        assert error_of(path).code == "truncated"
