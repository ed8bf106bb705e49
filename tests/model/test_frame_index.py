"""The index of a file: its times, where a seek saves work, and that a file is read once."""

import contextlib
import os
from fractions import Fraction

import pytest
from video_files import grey_frames, numbered_frames, write_timed_video, write_video

from drl_tvr.model import frame_index
from drl_tvr.model.frame_index import FrameIndex, build_index, index_video
from drl_tvr.model.video_container import PacketTable
from drl_tvr.model.video_decoding import VideoDecodeError, decode_video


def make_index(key_places: list[int], num_frames: int = 1000) -> FrameIndex:
    packets = [(place, 1) for place in range(num_frames)]
    keys = tuple((place, place) for place in key_places)
    return build_index(PacketTable(0, "h264", packets, Fraction(1, 25), 25.0, True, True, keys=keys))


@pytest.mark.parametrize(
    ("key_places", "indices", "runs"),
    [
        ([0, 250, 500, 750], [800, 825], [(3, [800, 825])]),
        ([0, 250, 500, 750], [0, 300, 310, 600], [(None, [0]), (1, [300, 310]), (2, [600])]),
        ([0, 250, 500, 750], [240, 260, 360], [(None, [240, 260, 360])]),  # 240 are decoded anyway
        ([0, 100, 101], [100], [(None, [100])]),
        ([0, 100, 101], [101], [(2, [101])]),  # saves 101 frames
        ([0], [999], [(None, [999])]),
        ([], [999], [(None, [999])]),
        (list(range(1000)), [0, 50, 900, 999], [(None, [0, 50]), (900, [900, 999])]),
    ],
)
def test_a_seek_is_made_where_it_skips_enough_frames(key_places, indices, runs):
    assert make_index(key_places).plan_seeks(indices) == runs


@pytest.mark.parametrize(
    ("table", "can_seek"),
    [
        (dict(), True),
        (dict(codec="h263"), False),
        (dict(truncation="a cut"), False),
        (dict(packets=[(None, 1), (2, 1)]), False),
        (dict(packets=[(2, 1), (2, 1)]), False),
        (dict(frame_per_packet=False), True),  # a regular rate has no room for packets that are not frames
        (dict(frame_per_packet=False, packets=[(0, 1), (1, 1), (500, 1)]), False),
        (dict(frame_per_packet=False, codec="vp9", packets=[(0, 1), (1, 1), (500, 1)]), True),
    ],
)
def test_a_seek_needs_a_list_of_frames_that_can_be_checked(table, can_seek):
    fields = dict(codec="h264", packets=[(0, 1), (1, 1), (2, 1)], frame_per_packet=True, truncation=None) | table
    last = fields["packets"][-1][0]
    table = PacketTable(0, time_base=Fraction(1, 25), fps=25.0, for_torchcodec=True, keys=((last, last),), **fields)
    assert bool(build_index(table).key_places) == can_seek


def test_times_are_kept_where_the_rate_changes(make_video, tmp_path):
    constant = index_video(str(make_video(num_frames=20, fps=10)), "a")
    assert (constant.frame_times, constant.duration) == (None, 2.0)
    uneven = index_video(str(write_timed_video(tmp_path / "b.mp4", grey_frames(4), [0, 100, 5000, 9000])), "b")
    assert uneven.frame_times == pytest.approx([0, 0.1, 5, 9])
    assert uneven.duration > 9


def test_a_file_is_read_once_for_many_ranges_and_again_when_it_changes(tmp_path, monkeypatch):
    scanned, scan = [], frame_index.scan_video
    monkeypatch.setattr(frame_index, "scan_video", lambda *args: scanned.append(args) or scan(*args))
    path = write_video(tmp_path / "a.mp4", numbered_frames(40))
    for start in (0, 1, 2):
        assert decode_video(path, start=start, backend="pyav")[1].total_num_frames == 40
    assert len(scanned) == 1
    os.utime(path, ns=(0, 1))
    decode_video(path, backend="pyav")
    write_video(path, numbered_frames(30))
    assert decode_video(path, backend="pyav")[1].total_num_frames == 30
    assert len(scanned) == 3
    found = os.stat(path)
    with open(path, "r+b") as file:  # the same size, and the time of the last write is put back
        file.write(bytes(1))
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    with contextlib.suppress(VideoDecodeError):
        decode_video(path, backend="pyav")
    assert len(scanned) == 4
    path.write_bytes(path.read_bytes()[:1000])
    for _ in range(2):
        with pytest.raises(VideoDecodeError):
            decode_video(path, backend="pyav")
