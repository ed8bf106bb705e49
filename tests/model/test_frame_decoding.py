"""Decoding after seeks: the frames are those of decoding in order, or everything is decoded in order."""

import gc
from dataclasses import replace

import av
import numpy as np
import pytest
import torch
from video_files import numbered_frames, read_numbers, scheduled_as_before, write_timed_video

from drl_tvr.model import frame_decoding, frame_index
from drl_tvr.model.frame_decoding import decode_in_order, decode_with_seeks
from drl_tvr.model.frame_index import index_video
from drl_tvr.model.video_decoding import VideoDecodeError, decode_video, read_clips, sample_from


FRAMES = numbered_frames(90)
X264 = "keyint=15:min-keyint=15:scenecut=0"
X265 = "keyint=15:min-keyint=15:bframes=3:log-level=none"
KINDS = {
    "B-frames": ("libx264", {"x264-params": f"{X264}:bframes=3"}),
    "open GOP": ("libx264", {"x264-params": f"{X264}:bframes=3:open-gop=1:ref=4"}),
    "HEVC, open GOP": ("libx265", {"x265-params": f"{X265}:open-gop=1"}),
    "MPEG-4": ("mpeg4", {}),
    "MPEG-2": ("mpeg2video", {"bf": "2"}),
    "VP9": ("libvpx-vp9", {"deadline": "realtime", "auto-alt-ref": "1", "lag-in-frames": "10"}),
    "VP8": ("libvpx", {"deadline": "realtime"}),
    "intra refresh": ("libx264", {"x264-params": f"{X264}:bframes=0:intra-refresh=1"}),
}


@pytest.fixture(autouse=True)
def every_seek(monkeypatch):
    """Seek however few frames are skipped, so that small videos do."""
    monkeypatch.setattr(frame_index, "MIN_SKIPPED", 0)


def write(path, kind: str, num_frames: int = 90, lie: int | None = None):
    """Write `FRAMES` with a key frame every 15 frames; with `lie`, with one key frame and a list that names others."""
    codec, options = KINDS[kind]
    if lie:
        options = {name: value.replace("keyint=15", "keyint=300") for name, value in options.items()}
    with scheduled_as_before(), av.open(path, "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.height, stream.width, stream.pix_fmt = *FRAMES.shape[1:3], "yuv420p"
        stream.codec_context.gop_size = 300 if lie else 15
        packets = [packet for frame in FRAMES[:num_frames] for packet in stream.encode(to_frame(frame))]
        for number, packet in enumerate([*packets, *stream.encode()]):
            packet.is_keyframe = number % lie == 0 if lie else packet.is_keyframe
            container.mux(packet)
    return path


def to_frame(pixels: np.ndarray) -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")


def decode_both_ways(path, indices: list[int]):
    """The frames after seeks (or `None`) and those in order."""
    index = index_video(str(path), path.name)
    runs = index.plan_seeks(indices)
    assert any(key is not None for key, _ in runs)
    sought = decode_with_seeks(str(path), path.name, index, runs, None)
    in_order = decode_in_order(str(path), path.name, index, indices, False, None)
    return sought and sought.buffer.pixels, in_order.buffer.pixels


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        *(("B-frames", f"a.{ending}") for ending in ("mp4", "mov", "mkv", "ts", "flv")),
        *(("open GOP", f"a.{ending}") for ending in ("mp4", "mkv", "ts")),
        *(("HEVC, open GOP", f"a.{ending}") for ending in ("mp4", "mkv")),
        *(("MPEG-4", f"a.{ending}") for ending in ("mp4", "avi", "mkv")),
        *(("MPEG-2", f"a.{ending}") for ending in ("mkv", "ts")),
        *(("VP9", f"a.{ending}") for ending in ("webm", "mp4")),
        ("VP8", "a.webm"),
    ],
)
def test_frames_after_a_seek_are_those_of_decoding_in_order(kind, name, tmp_path):
    path = write(tmp_path / name, kind)
    for indices in ([31], [44, 46, 75], [0, 29, 30, 31, 60, 89]):
        sought, in_order = decode_both_ways(path, indices)
        assert torch.equal(sought, in_order)
        assert read_numbers(sought) == indices


@pytest.mark.parametrize(
    ("kind", "name", "lie"),
    [
        ("MPEG-4", "a.mp4", 15),  # its decoder would show wrong pictures without an error
        ("HEVC, open GOP", "a.mp4", 15),
        ("HEVC, open GOP", "a.mkv", 15),
        ("intra refresh", "a.mp4", None),
    ],
)
def test_where_a_key_frame_is_none_everything_is_decoded_in_order(kind, name, lie, tmp_path):
    path = write(tmp_path / name, kind, lie=lie)
    if kind != "HEVC, open GOP":
        sought, _ = decode_both_ways(path, [50, 80])
        assert sought is None
    whole, _ = decode_video(path, fps=None, max_frames=None, backend="pyav")
    frames, metadata = decode_video(path, start=2.0, fps=1, max_frames=2, backend="pyav")
    assert read_numbers(frames) == metadata.frames_indices == [50, 75]
    assert torch.equal(frames, whole[[50, 75]])


def test_wrong_cues_of_a_matroska_file_do_no_harm(tmp_path):
    path = write(tmp_path / "a.mkv", "B-frames")
    content = path.read_bytes()
    cues = content.rindex(b"\x1c\x53\xbb\x6b")  # the identifier of the list of key frames
    # Every CueTime (0xB3, two bytes) is the same.
    wrong = bytearray(content)
    at = content.find(b"\xb3\x82", cues)
    while at != -1:
        wrong[at + 2 : at + 4] = b"\x02\x58"
        at = content.find(b"\xb3\x82", at + 1)
    assert bytes(wrong) != content
    path.write_bytes(wrong)
    for start in (0.7, 1.3, 2.9):
        frames, metadata = decode_video(path, start=start, end=start + 0.4, fps=5, backend="pyav")
        assert read_numbers(frames) == metadata.frames_indices
        assert metadata.timestamps[0] == pytest.approx(start, abs=0.04)


def test_another_frame_than_the_container_lists_ends_the_seeks(tmp_path, monkeypatch):
    path = write(tmp_path / "a.mp4", "B-frames")
    index = index_video(str(path), "a")
    index.pts[50] += 1
    try:
        assert decode_with_seeks(str(path), "a", index, index.plan_seeks([48]), None) is not None
        assert decode_with_seeks(str(path), "a", index, index.plan_seeks([55]), None) is None
        assert read_numbers(decode_video(path, start=2.2, end=2.21, backend="pyav")[0]) == [55]
    finally:
        frame_index.index_file.cache_clear()


def test_damage_that_is_decoded_after_a_seek_is_an_error_and_damage_that_is_skipped_is_not(tmp_path):
    path = write(tmp_path / "a.mp4", "B-frames")
    with av.open(path) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    content = bytearray(path.read_bytes())
    for pos, size in packets[35:40]:
        content[pos + 8 : pos + size] = bytes(size - 8)
    path.write_bytes(content)
    assert read_numbers(decode_video(path, start=2.4, end=3.0, fps=5, backend="pyav")[0]) == [60, 65, 70, 75]
    for start in (0.0, 1.5):
        with pytest.raises(VideoDecodeError) as caught:
            decode_video(path, start=start, end=1.8, fps=25, backend="pyav")
        assert caught.value.code == "truncated"


def test_a_late_range_decodes_its_own_frames_alone(tmp_path, monkeypatch):
    path = write(tmp_path / "a.mp4", "B-frames")
    monkeypatch.setattr(frame_decoding, "decode_in_order", None)
    frames, metadata = decode_video(path, start=3.0, end=3.4, fps=10, backend="pyav")
    assert read_numbers(frames) == metadata.frames_indices == [75, 77, 79, 81, 83, 85]
    assert metadata.timestamps == pytest.approx([3.0, 3.08, 3.16, 3.24, 3.32, 3.4])


def test_clips_of_a_file_are_what_each_gives_alone(tmp_path):
    path = write(tmp_path / "a.mp4", "B-frames")
    ranges = [(2.0, 3.0), (None, None), (0.4, 1.0), (2.0, 3.0), (2.5, 2.6)]
    samples = [
        lambda metadata, start=start, end=end: sample_from(metadata, 5, 4, start, end, "a") for start, end in ranges
    ]
    clips = read_clips(path, samples, "pyav")
    for (frames, metadata), (start, end) in zip(clips, ranges, strict=True):
        alone, found = decode_video(path, 5, 4, start, end, "pyav")
        assert torch.equal(frames, alone) and metadata == found


def test_a_range_of_a_video_with_a_changing_rate_shows_what_is_seen_then(tmp_path):
    shown_at = [10_000 * i for i in range(6)] + [60_000 + 40 * i for i in range(80)]
    path = write_timed_video(tmp_path / "slides.mp4", FRAMES[:86], shown_at)
    for start, end, numbers in ((20, 40, [2, 3, 4]), (31, 38, [3]), (60, 62, [6, 31, 56]), (61.5, 70, [43, 68])):
        frames, metadata = decode_video(path, start=start, end=end, backend="pyav")
        assert read_numbers(frames) == metadata.frames_indices == numbers
        assert metadata.timestamps == pytest.approx([shown_at[number] / 1000 for number in numbers])
    assert metadata.duration == pytest.approx(63.2, abs=0.1)
    with pytest.raises(VideoDecodeError, match="bad-range"):
        decode_video(path, start=63.3)
    # One per second of the whole, thinned out to 12 of 64 seconds.
    seconds = np.linspace(0, 63, 12, dtype=int)
    numbers = sorted({max(n for n, time in enumerate(shown_at) if time <= 1000 * second) for second in seconds})
    assert read_numbers(decode_video(path, backend="pyav")[0]) == numbers


def test_packets_that_are_no_frames_do_not_shift_the_seconds(tmp_path, monkeypatch):
    """In some formats a packet is a frame that is never shown, or half a frame."""
    shown_at = [0, 1000, 1100, 1200, 4000, 4100, 6000, 6500, 7000, 9000]
    path = write_timed_video(tmp_path / "a.mkv", FRAMES[:10], shown_at, codec="mpeg4")
    scan = frame_index.scan_video

    def scan_more(*args):
        table = scan(*args)
        return replace(table, packets=[*table.packets, *((pts + 3, 0) for pts, _ in table.packets[1:6])])

    monkeypatch.setattr(frame_index, "scan_video", scan_more)
    frames, metadata = decode_video(path, start=4.05, end=7.2, backend="pyav")
    assert read_numbers(frames) == metadata.frames_indices == [4, 5, 6, 8]
    assert metadata.timestamps == pytest.approx([4, 4.1, 6, 7]) and metadata.total_num_frames == 10


def test_decoded_pictures_are_freed_without_the_garbage_collector(tmp_path):
    path = write(tmp_path / "a.mp4", "B-frames")
    alive = []

    def count_frames(pixels, name):
        alive.append(sum(type(thing) is av.VideoFrame for thing in gc.get_objects()))
        return pixels

    gc.collect()
    gc.disable()
    try:
        decode_video(path, fps=None, max_frames=20, backend="pyav", prepare=count_frames)
        decode_video(path, start=2.0, fps=10, backend="pyav", prepare=count_frames)
        assert len(alive) > 2 and max(alive) <= 8, alive
    finally:
        gc.enable()


@pytest.mark.shared
def test_seeks_in_real_clips_give_the_frames_of_decoding_in_order(shared_dir):
    compared = 0
    for path in sorted((shared_dir / "videos").iterdir()):
        try:
            num_frames = decode_video(path, backend="pyav")[1].total_num_frames
            index = index_video(str(path), path.name)
        except VideoDecodeError:
            continue
        indices = np.unique(np.linspace(0, num_frames - 1, 9, dtype=int)).tolist()
        for chosen in (indices, indices[-2:]):
            runs = index.plan_seeks(chosen)
            sought = (
                decode_with_seeks(str(path), path.name, index, runs, None) if any(key for key, _ in runs) else None
            )
            if sought is not None:
                in_order = decode_in_order(str(path), path.name, index, chosen, False, None)
                assert torch.equal(sought.buffer.pixels, in_order.buffer.pixels), path.name
                compared += 1
    assert compared >= 10
