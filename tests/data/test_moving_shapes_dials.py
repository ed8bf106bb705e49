"""The dials of the bundled benchmark: what they add, and that nothing else changes."""

import hashlib
import io
import json
import runpy
import sys
from dataclasses import replace

import av
import numpy as np
import pytest

from drl_tvr import BenchmarkError, load_benchmark
from drl_tvr.data.moving_shapes import __main__ as command
from drl_tvr.data.moving_shapes import build_moving_shapes
from drl_tvr.data.moving_shapes.render import render
from drl_tvr.data.moving_shapes.scenes import (
    FILLER_WORDS,
    Event,
    Scene,
    draw_layout,
    event_times,
    make_scenes,
    other_triples,
)


SHARES = (0.1, 0.25, 0.5, 0.7)
TINY = {"num_train": 4, "num_validation": 2, "num_test": 5}
DIALS = {"filler_words": 0.5, "irrelevant_frames": 0.25, "irrelevant_kind": "object"}
INVALID_SHARES = (0.9, 0.7001, -0.1, float("nan"), float("inf"), True, "0.5", None, [0.5], 10**400)


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return make_scenes()


def sha256(value: object) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()


# The default.


def test_the_default_benchmark_is_that_of_folders_made_before_there_were_dials(scenes):
    content = [(scene.video_id, scene.split, scene.events, scene.captions, scene.twin) for scene in scenes]
    assert sha256(content) == "3263c1c1bd109a0e5df7f70e33d77252fe4393569eb2ca93e3e5e9218930ff26"
    times = [(0.14886427485508516, 2.1226173658973786), (2.1226173658973786, 4.306804595366935)]
    assert event_times(scenes[0]) == times
    assert make_scenes(filler_words=0) == scenes
    assert render(scenes[0], 0, 0, "object") == render(scenes[0])


def test_the_settings_of_the_default_benchmark_hold_no_dials(tmp_path):
    build_moving_shapes(tmp_path / "root", splits=(), **TINY, irrelevant_frames=0, irrelevant_kind="object")
    expected = {"format_version": 1, "seed": 0, **TINY}
    assert (tmp_path / "root" / "settings.json").read_text() == json.dumps(expected, indent=2)


# Filler words.


def test_no_caption_uses_a_filler_word(scenes):
    words = {word.strip(",:") for scene in scenes for caption in scene.captions for word in caption.split()}
    assert words.isdisjoint(FILLER_WORDS)
    assert len(set(FILLER_WORDS)) == len(FILLER_WORDS) == 20
    assert all(word.isascii() and word.isalpha() and word.islower() for word in FILLER_WORDS)


@pytest.mark.parametrize("share", SHARES)
def test_fillers_have_their_share_of_each_caption_and_change_nothing_else(share, scenes):
    filled = make_scenes(filler_words=share)
    assert [replace(scene, captions=()) for scene in filled] == [replace(scene, captions=()) for scene in scenes]
    places, used = set(), set()
    for before, after in zip(scenes[::5], filled[::5], strict=True):
        for short, long in zip(before.captions, after.captions, strict=True):
            words = long.split(" ")
            assert " ".join(word for word in words if word not in FILLER_WORDS) == short
            is_filler = [word in FILLER_WORDS for word in words]
            assert not is_filler[0] and not is_filler[-1]
            count, rest = sum(is_filler), len(short.split(" "))
            best = min(range(4 * rest), key=lambda number: abs(number / (number + rest) - share))
            assert abs(count / len(words) - share) == abs(best / (best + rest) - share)
            places.update(np.flatnonzero(is_filler))
            used.update(word for word in words if word in FILLER_WORDS)
    assert used == set(FILLER_WORDS) and len(places) > 20


def test_fillers_are_drawn_from_the_seed_and_the_name():
    scenes = make_scenes(**TINY, filler_words=0.5)
    assert make_scenes(**TINY, filler_words=0.5) == scenes
    twins = [scene for scene in scenes if scene.twin]
    assert twins and all(set(scene.captions[0].split()) & set(FILLER_WORDS) for scene in twins)


# Irrelevant frames.


@pytest.mark.parametrize("share", SHARES)
def test_irrelevant_time_is_added_around_events_that_stay_as_they_are(share, scenes):
    parts = []
    for scene in scenes[::10]:
        before, after = draw_layout(scene), draw_layout(scene, 0, share)
        assert after == replace(before, duration=after.duration, events=after.events)
        assert after.duration == pytest.approx(before.duration / (1 - share))
        for old, new in zip(before.events, after.events, strict=True):
            assert new.end - new.start == pytest.approx(old.end - old.start)
            assert replace(new, start=old.start, end=old.end) == old
        shifts = [new.start - old.start for old, new in zip(before.events, after.events, strict=True)]
        added = np.diff([0, *shifts, after.duration - before.duration])
        assert added.min() >= 0
        parts.append(added / added.sum())
    for count in (2, 3, 4):  # every gap gets its part, and by chance
        of_count = np.array([added for added in parts if len(added) == count])
        assert of_count.mean(axis=0) == pytest.approx(np.full(count, 1 / count), abs=0.1)
        assert of_count.std(axis=0).min() > 0.1


def test_worlds_of_other_shares_and_kinds_differ_in_them_alone(scenes):
    for scene in scenes[:20]:
        half, more = (draw_layout(scene, 0, share, "object") for share in (0.5, 0.6))
        assert [part.event for part in half.irrelevant] == [part.event for part in more.irrelevant]
        assert half == replace(draw_layout(scene, 0, 0.5, "blank"), irrelevant=half.irrelevant)


@pytest.mark.parametrize("seed", [0, 1])
def test_irrelevant_objects_are_of_the_split_and_unlike_the_events(seed):
    scenes = make_scenes(seed)
    triples = {split: {e.triple for s in scenes if s.split == split for e in s.events} for split in ("train", "test")}
    for scene in [*scenes[:300], *scenes[-300:]]:
        layout = draw_layout(scene, seed, 0.5, "object")
        assert len(layout.irrelevant) == len(scene.events) + 1
        colors, shapes = ({getattr(event, name) for event in scene.events} for name in ("color", "shape"))
        for part in layout.irrelevant:
            assert part.event.color not in colors and part.event.shape not in shapes
            assert part.event.triple in triples[scene.split]
        # They fill the gaps between the events, and nothing else.
        ends = [end for _, end in event_times(scene, seed, 0.5)]
        starts = [start for start, _ in event_times(scene, seed, 0.5)]
        assert [part.end for part in layout.irrelevant[:-1]] == starts
        assert [part.start for part in layout.irrelevant[1:]] == ends
    drawn = {part.event for scene in scenes[:100] for part in draw_layout(scene, seed, 0.5, "object").irrelevant}
    assert len(drawn) > 100


def test_where_no_other_shape_is_left_irrelevant_objects_differ_in_colour():
    scene = Scene("video0", "test", (Event("red", "star", "big", "up"), Event("blue", "cross", "big", "up")), ("",))
    triples = [("red", "square", "up"), ("green", "star", "spin"), ("blue", "star", "left")]
    assert other_triples(scene, triples) == [("green", "star", "spin")]
    assert other_triples(scene, [*triples, ("white", "square", "up")]) == [("white", "square", "up")]


def bright(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Return the time of each frame, and how many of its pixels are brighter than any background."""
    with av.open(io.BytesIO(content)) as container:
        frames = list(container.decode(video=0))
        times = np.array([frame.time for frame in frames])
        return times, np.array([(frame.to_ndarray(format="rgb24").max(axis=-1) > 160).sum() for frame in frames])


@pytest.mark.parametrize(("share", "kind"), [(0.0, "blank"), (0.25, "blank"), (0.7, "blank"), (0.5, "object")])
def test_clips_show_events_when_event_times_says_so(share, kind, scenes):
    for scene in scenes[:6]:
        times, pixels = bright(render(scene, 0, share, kind))
        inside = np.zeros(len(times), dtype=bool)
        for start, end in event_times(scene, 0, share):
            inside |= (start <= times) & (times < end)
        assert (pixels[inside] > 40).all()
        irrelevant = draw_layout(scene, 0, share, kind).irrelevant
        shown = np.zeros(len(times), dtype=bool)
        for part in irrelevant:
            shown |= (part.start <= times) & (times < part.end)
        assert (pixels[shown] > 40).all() and (pixels[~inside & ~shown] <= 40).all()
        assert bool(shown.any()) == (kind == "object")
        assert len(times) == pytest.approx(draw_layout(scene, 0, share).duration * draw_layout(scene).fps, abs=1)


# The build.


def test_a_folder_with_dials_is_loaded_and_repaired_by_its_settings(tmp_path):
    root = build_moving_shapes(tmp_path / "root", splits=(), **TINY, **DIALS)
    assert json.loads((root / "settings.json").read_text()) == {"format_version": 1, "seed": 0, **TINY, **DIALS}
    data = load_benchmark("moving-shapes", root, "test")
    scenes = [scene for scene in make_scenes(**TINY, filler_words=0.5) if scene.split == "test"]
    assert data.captions["caption"][:] == [scene.captions[0] for scene in scenes]
    contents = [render(scene, 0, 0.25, "object") for scene in scenes]
    assert [(root / "videos" / f"{scene.video_id}.mp4").read_bytes() for scene in scenes] == contents
    assert data.protocol.endswith("filler_words 0.5, irrelevant_frames 0.25, irrelevant_kind object")
    (root / "videos" / f"{scenes[0].video_id}.mp4").unlink()
    load_benchmark("moving-shapes", root, "test")
    assert (root / "videos" / f"{scenes[0].video_id}.mp4").read_bytes() == contents[0]


@pytest.mark.parametrize("other", [{}, {**DIALS, "filler_words": 0.4}, {**DIALS, "irrelevant_kind": "blank"}])
def test_other_dials_are_other_settings(other, tmp_path):
    build_moving_shapes(tmp_path / "root", splits=(), **TINY, **DIALS)
    with pytest.raises(BenchmarkError, match="found a .* made with .*'filler_words': 0.5.*Choose another folder"):
        build_moving_shapes(tmp_path / "root", splits=(), **TINY, **other)


@pytest.mark.parametrize("value", INVALID_SHARES, ids=lambda value: str(value)[:6])
def test_a_share_out_of_range_is_an_error_before_anything_is_made(value, tmp_path):
    said = "found .*, expected a number from 0 to 0.7."
    for name in ("filler_words", "irrelevant_frames"):
        with pytest.raises(BenchmarkError, match=f"^`{name}`: {said}"):
            build_moving_shapes(tmp_path / "root", **{name: value})
    assert not (tmp_path / "root").exists()
    with pytest.raises(BenchmarkError, match=f"^`filler_words`: {said}"):
        make_scenes(filler_words=value)
    scene = Scene("video0", "test", (Event("red", "star", "big", "up"),), ("a star",))
    for function in (render, event_times):
        with pytest.raises(BenchmarkError, match=f"^`irrelevant_frames`: {said}"):
            function(scene, 0, value)


@pytest.mark.parametrize("value", ["objects", "Blank", "", None, 1, ["blank"]])
def test_an_unknown_kind_is_an_error(value, tmp_path):
    with pytest.raises(BenchmarkError, match="^`irrelevant_kind`: found .*, expected 'blank' or 'object'."):
        build_moving_shapes(tmp_path / "root", irrelevant_kind=value)
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize(
    ("name", "value"), [("filler_words", 0.9), ("irrelevant_frames", "0.5"), ("irrelevant_kind", "x")]
)
def test_an_invalid_dial_in_the_settings_is_an_error_that_names_the_file(name, value, tmp_path):
    path = tmp_path / "settings.json"
    path.write_text(json.dumps({"format_version": 1, "seed": 0, **TINY, **DIALS, name: value}))
    with pytest.raises(BenchmarkError, match=f"^{path}, `{name}`: found {value!r}, expected"):
        load_benchmark("moving-shapes", tmp_path)


def test_settings_with_one_dial_of_three_are_an_error(tmp_path):
    path = tmp_path / "settings.json"
    path.write_text(json.dumps({"format_version": 1, "seed": 0, **TINY, "filler_words": 0.5}))
    with pytest.raises(BenchmarkError, match="none or all of its dials"):
        load_benchmark("moving-shapes", tmp_path)


# The command line.


def test_the_command_builds_a_benchmark_with_dials(tmp_path, monkeypatch):
    given = {}
    monkeypatch.setattr(command, "build_moving_shapes", lambda **options: given.update(options))
    flags = [part for name, value in DIALS.items() for part in (f"--{name}", str(value))]
    assert command.main([str(tmp_path), *flags]) == 0
    assert given == {"root": tmp_path, **DIALS}
    assert command.main([str(tmp_path)]) == 0
    assert given == {"root": tmp_path, "filler_words": 0.0, "irrelevant_frames": 0.0, "irrelevant_kind": "blank"}


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--filler_words", "0.9"], "`filler_words`: found 0.9, expected a number from 0 to 0.7."),
        (["--irrelevant_frames", "nan"], "`irrelevant_frames`: found nan, expected a number from 0 to 0.7."),
        (["--irrelevant_kind", "noise"], "`irrelevant_kind`: found 'noise', expected 'blank' or 'object'."),
    ],
)
def test_the_command_says_an_error_in_one_line(flags, said, tmp_path, capsys):
    assert command.main([str(tmp_path / "root"), *flags]) == 1
    assert capsys.readouterr().err == f"moving-shapes: error: {said}\n"
    assert not (tmp_path / "root").exists()


def test_the_command_runs_as_a_module(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("mine")
    monkeypatch.setattr(sys, "argv", ["", str(tmp_path / "file")])
    monkeypatch.delitem(sys.modules, command.__name__)  # as in a process of its own
    with pytest.raises(SystemExit, match="1"):
        runpy.run_module("drl_tvr.data.moving_shapes", run_name="__main__")
    assert capsys.readouterr().err.startswith(f"moving-shapes: error: {tmp_path / 'file'}: found a file, expected")
