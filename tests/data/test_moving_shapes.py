"""The bundled benchmark: what its scenes promise, that its clips are real, and that a broken build is repaired."""

import contextlib
import hashlib
import io
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import av
import numpy as np
import psutil
import pytest

from drl_tvr import BenchmarkError
from drl_tvr.data.moving_shapes import build, build_moving_shapes
from drl_tvr.data.moving_shapes.render import COLOR_VALUES, render
from drl_tvr.data.moving_shapes.scenes import (
    COLORS,
    MOTIONS,
    SHAPES,
    SIZES,
    Event,
    Scene,
    make_scenes,
)


SPLITS = ("train", "validation", "test")
SMALL = {"num_train": 12, "num_validation": 5, "num_test": 10}


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return make_scenes()


def of_split(scenes: list[Scene], split: str) -> list[Scene]:
    return [scene for scene in scenes if scene.split == split]


def triples(scenes: list[Scene]) -> set[tuple[str, str, str]]:
    return {event.triple for scene in scenes for event in scene.events}


def test_there_are_enough_clips_of_every_split(scenes):
    assert len(of_split(scenes, "train")) >= 1500
    assert len(of_split(scenes, "validation")) >= 200
    assert len(of_split(scenes, "test")) >= 300
    assert [scene.video_id for scene in scenes] == [f"video{i}" for i in range(len(scenes))]


def test_train_has_several_unlike_captions_a_clip_and_the_others_one(scenes):
    for scene in scenes:
        assert len(set(scene.captions)) == len(scene.captions)
        assert len(scene.captions) > 1 if scene.split == "train" else len(scene.captions) == 1
        assert all(caption.strip() == caption and caption for caption in scene.captions)


@pytest.mark.parametrize(("split", "least"), [("test", 60), ("validation", 20)])
def test_twins_are_mutual_and_differ_in_order_alone(scenes, split, least):
    clips = {scene.video_id: scene for scene in of_split(scenes, split)}
    twins = [scene for scene in clips.values() if scene.twin is not None]
    assert len(twins) >= least
    for scene in twins:
        other = clips[scene.twin]  # of the same split, or a KeyError
        assert other.twin == scene.video_id != other.video_id
        assert other.events == scene.events[::-1] != scene.events
    # Nothing but twins shows the same events in another order, and train has none.
    orders = Counter(frozenset(event.triple for event in scene.events) for scene in twins)
    assert set(orders.values()) == {2}
    assert not any(scene.twin for scene in of_split(scenes, "train"))


def test_no_colour_shape_and_motion_of_a_test_clip_was_seen_before(scenes):
    seen = {split: triples(of_split(scenes, split)) for split in SPLITS}
    assert seen["test"].isdisjoint(seen["train"] | seen["validation"])
    assert seen["validation"].isdisjoint(seen["train"])


def test_every_colour_shape_and_motion_is_in_every_split(scenes):
    for split in SPLITS:
        colors, shapes, motions = (set(values) for values in zip(*triples(of_split(scenes, split)), strict=True))
        assert (colors, shapes, motions) == (set(COLORS), set(SHAPES), set(MOTIONS)), split


@pytest.mark.parametrize("split", ["validation", "test"])
def test_no_two_clips_of_an_evaluation_split_show_the_same(scenes, split):
    # Sizes aside: a caption needn't name them.
    sequences = Counter(tuple(event.triple for event in scene.events) for scene in of_split(scenes, split))
    assert sequences.most_common(1)[0][1] == 1
    captions = Counter(scene.captions[0] for scene in of_split(scenes, split))
    assert captions.most_common(1)[0][1] == 1


def test_neighbouring_events_differ_in_colour_and_shape_and_circles_do_not_spin(scenes):
    for scene in scenes:
        assert 1 <= len(scene.events) <= 3
        assert not any((event.shape, event.motion) == ("circle", "spin") for event in scene.events)
        for first, second in zip(scene.events, scene.events[1:], strict=False):
            assert first.color != second.color and first.shape != second.shape


def test_a_name_does_not_tell_the_twin(scenes):
    # Were twins numbered in pairs, all would be neighbours; by chance one pair in 150 is.
    test = of_split(scenes, "test")
    distances = [abs(int(s.video_id[5:]) - int(s.twin[5:])) for s in test if s.twin]
    assert sum(distance == 1 for distance in distances) <= len(distances) // 10
    assert len(set(distances)) > len(distances) // 4
    # Nor whether there is one: those with a twin are not the first of the split.
    places = [place for place, scene in enumerate(test) if scene.twin]
    assert abs(np.mean(places) - (len(test) - 1) / 2) < len(test) / 8


def test_the_same_seed_makes_the_same_scenes_and_another_seed_others(scenes):
    assert make_scenes() == scenes
    assert make_scenes(seed=1) != scenes
    assert triples(of_split(make_scenes(seed=1), "test")) != triples(of_split(scenes, "test"))


def test_scenes_do_not_depend_on_the_process():
    # Sets of strings come in another order in every process.
    code = "import hashlib; from drl_tvr.data.moving_shapes.scenes import make_scenes as m;"
    code += "print(hashlib.sha256(repr(m(0, 50, 20, 30)).encode()).hexdigest())"
    env = {**os.environ, "PYTHONHASHSEED": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.stdout.strip() == hashlib.sha256(repr(make_scenes(0, 50, 20, 30)).encode()).hexdigest()


def decode(content: bytes) -> tuple[list[np.ndarray], float, float]:
    """Frames, seconds and frames per second of a file."""
    with av.open(io.BytesIO(content)) as container:
        (stream,) = container.streams
        assert (stream.type, stream.codec_context.name) == ("video", "h264")
        assert "mp4" in container.format.name
        rate = float(stream.average_rate)
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        return frames, container.duration / 1e6, rate


def scene_of(number: int, *events: Event) -> Scene:
    return Scene(f"video{number}", "test", events, ("a caption",))


def test_clips_are_real_h264_files_of_various_forms(scenes):
    sizes, rates, lengths = set(), set(), set()
    for scene in scenes[:24]:
        frames, duration, rate = decode(render(scene))
        assert 3 - 0.1 <= duration <= 6 + 0.1
        assert len(frames) == pytest.approx(duration * rate, abs=1)
        sizes.add(frames[0].shape[:2])
        rates.add(rate)
        lengths.add(len(frames))
    assert len(sizes) >= 3 and len(rates) >= 3 and len(lengths) >= 8


def test_the_same_scene_and_seed_give_the_same_bytes_and_others_do_not(scenes):
    content = render(scenes[0])
    assert render(scenes[0]) == content
    assert render(scenes[0], seed=1) != content
    assert render(Scene("video1", *[getattr(scenes[0], x) for x in ("split", "events", "captions")])) != content


def painted(frame: np.ndarray, color: str) -> np.ndarray:
    """Where a frame is near a colour; backgrounds are dark."""
    distance = np.abs(frame.astype(int) - np.array(COLOR_VALUES[color])).max(axis=-1)
    return distance < 60


@pytest.mark.parametrize("motion", MOTIONS)
def test_a_centre_crop_keeps_the_whole_object(motion):
    # Yellow is far from every background. Encoding may smear an edge by a pixel.
    for number in range(8):
        event = Event("yellow", "star" if number % 2 else "cross", SIZES[number // 2 % 2], motion)
        frames, _, _ = decode(render(scene_of(number, event)))
        height, width = frames[0].shape[:2]
        side = min(height, width)
        left, top = (width - side) // 2, (height - side) // 2
        found = np.stack([painted(frame, "yellow") for frame in frames])
        assert found.any(axis=(1, 2)).mean() > 0.7  # all but the pauses at both ends
        rows, columns = np.nonzero(found.any(axis=0))
        assert top <= rows.min() and rows.max() < top + side
        assert left <= columns.min() and columns.max() < left + side


@pytest.mark.parametrize(("motion", "axis", "sign"), [("left", 1, -1), ("right", 1, 1), ("up", 0, -1), ("down", 0, 1)])
def test_objects_move_where_their_captions_say(motion, axis, sign):
    frames, _, _ = decode(render(scene_of(3, Event("yellow", "circle", "big", motion))))
    places = [np.nonzero(painted(frame, "yellow")) for frame in frames]
    centres = [[axis_places.mean() for axis_places in place] for place in places if len(place[0]) > 20]
    travel = np.array(centres[-1]) - np.array(centres[0])
    assert travel[axis] * sign > 0.2 * min(frames[0].shape[:2])
    assert abs(travel[1 - axis]) < 3


@pytest.mark.parametrize(("motion", "grows"), [("grow", True), ("shrink", False)])
def test_objects_grow_and_shrink(motion, grows):
    frames, _, _ = decode(render(scene_of(4, Event("yellow", "square", "big", motion))))
    areas = [area for area in (painted(frame, "yellow").sum() for frame in frames) if area]
    first, last = areas[1], areas[-2]  # the very ends may be cut short
    assert last > 2 * first if grows else first > 2 * last


def test_events_follow_one_another_in_order():
    first, second = Event("yellow", "star", "big", "up"), Event("red", "circle", "big", "left")
    for events, colors in (((first, second), ("yellow", "red")), ((second, first), ("red", "yellow"))):
        frames, _, _ = decode(render(scene_of(5, *events)))
        shown = [[painted(frame, color).sum() > 40 for frame in frames] for color in colors]
        assert max(np.flatnonzero(shown[0])) < min(np.flatnonzero(shown[1]))


# The build.


def digests(root: Path) -> dict[str, str]:
    """Every file of a benchmark but the journal, whose order of lines is that of the work."""
    files = [path for path in root.rglob("*") if path.is_file() and path.name != "videos.sha256"]
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def journal_is_true(root: Path) -> bool:
    """Whether the last word of the journal on every clip is its checksum."""
    lines = (root / "videos.sha256").read_text(errors="replace").splitlines()
    lines = [line.split("  ") for line in lines if line.count("  ") == 1]
    known = {name: digest for digest, name in lines}
    clips = {name: digest for name, digest in digests(root).items() if name.startswith("videos/")}
    return all(known[name] == digest for name, digest in clips.items())


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory) -> Path:
    return build_moving_shapes(tmp_path_factory.mktemp("unbroken") / "root", **SMALL, num_processes=2)


@pytest.fixture
def root(unbroken, tmp_path) -> Path:
    """A copy of the unbroken build, to be broken."""
    return shutil.copytree(unbroken, tmp_path / "root")


def test_a_build_holds_the_clips_the_lists_and_true_checksums(unbroken):
    names = set(digests(unbroken))
    assert {f"videos/video{i}.mp4" for i in range(27)} < names
    lists = {f"MovingShapes_{split}.csv" for split in SPLITS}
    assert names - {name for name in names if name.startswith("videos/")} == lists | {
        "settings.json",
        "MovingShapes_data.json",
        ".lock",
    }
    assert journal_is_true(unbroken)


def test_a_build_is_the_same_in_another_place_and_by_another_number_of_processes(unbroken, tmp_path):
    again = build_moving_shapes(tmp_path / "deep" / "er", **SMALL, num_processes=1)
    assert digests(again) == digests(unbroken)


def test_a_second_build_touches_nothing(unbroken):
    before = {path: path.stat().st_mtime_ns for path in unbroken.rglob("*")}
    build_moving_shapes(unbroken, **SMALL)
    assert {path: path.stat().st_mtime_ns for path in unbroken.rglob("*")} == before


def test_only_the_wanted_splits_are_rendered_and_the_rest_can_follow(unbroken, tmp_path):
    build_moving_shapes(tmp_path / "root", splits=("test",), **SMALL, num_processes=1)
    assert len(list((tmp_path / "root" / "videos").iterdir())) == 10
    build_moving_shapes(tmp_path / "root", **SMALL, num_processes=1)
    assert digests(tmp_path / "root") == digests(unbroken)


def truncate(root: Path) -> None:
    path = root / "videos" / "video7.mp4"
    path.write_bytes(path.read_bytes()[:500])


def delete(root: Path) -> None:
    (root / "videos" / "video8.mp4").unlink()


def empty(root: Path) -> None:
    (root / "videos" / "video0.mp4").write_bytes(b"")


def flip_a_bit(root: Path) -> None:
    path = root / "videos" / "video9.mp4"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def halve_the_last_line(root: Path) -> None:
    path = root / "videos.sha256"
    path.write_bytes(path.read_bytes()[:-30])


def flip_a_bit_of_the_journal(root: Path) -> None:
    path = root / "videos.sha256"
    content = bytearray(path.read_bytes())
    content[5] ^= 128  # no longer UTF-8
    path.write_bytes(content)


def lose_the_journal(root: Path) -> None:
    (root / "videos.sha256").unlink()


def lose_all_clips(root: Path) -> None:
    shutil.rmtree(root / "videos")


def leave_a_temporary_file(root: Path) -> None:
    (root / "videos" / ".tmp-left").write_bytes(b"half a clip")
    (root / "videos" / "video3.mp4").unlink()


def change_the_annotations(root: Path) -> None:
    (root / "MovingShapes_data.json").write_text("{")
    (root / "MovingShapes_test.csv").unlink()


@pytest.mark.parametrize(
    "damage",
    [
        truncate,
        delete,
        empty,
        flip_a_bit,
        halve_the_last_line,
        flip_a_bit_of_the_journal,
        lose_the_journal,
        lose_all_clips,
        leave_a_temporary_file,
        change_the_annotations,
    ],
)
def test_what_is_damaged_is_made_again_to_the_same_bytes(damage, root, unbroken):
    damage(root)
    build_moving_shapes(root, **SMALL, num_processes=1)
    assert digests(root) == digests(unbroken)
    assert journal_is_true(root)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    build_moving_shapes(root, **SMALL)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def build_code(root: Path, num_processes: int = 2) -> list[str]:
    code = f"from drl_tvr.data.moving_shapes import build_moving_shapes as b; b({str(root)!r}, **{SMALL}"
    return [sys.executable, "-c", f"{code}, num_processes={num_processes})"]


def is_running(process: psutil.Process) -> bool:
    """Whether a process has not ended; one that nobody has asked after is a zombie."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_build_killed_in_the_middle_is_finished_by_the_next(unbroken, tmp_path):
    root = tmp_path / "root"
    process = subprocess.Popen(build_code(root), start_new_session=True, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not (clips := list(root.glob("videos/*.mp4"))) and time.monotonic() < deadline:
            time.sleep(0.005)
        workers = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.wait()
        deadline = time.monotonic() + 5
        while running := [worker.pid for worker in workers if is_running(worker)]:
            assert time.monotonic() < deadline, running
            time.sleep(0.05)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its own group: it and its workers
    assert process.returncode == -signal.SIGKILL
    assert clips
    found, whole = digests(root), digests(unbroken)
    # Whatever has its final name is whole.
    assert all(whole[name] == digest for name, digest in found.items() if "/.tmp-" not in name)
    assert len(found) < len(whole)
    build_moving_shapes(root, **SMALL, num_processes=1)
    assert digests(root) == whole


@pytest.mark.parametrize("field", ["seed", "num_train", "num_validation", "num_test"])
def test_other_settings_are_an_error_that_tells_both(field, root):
    other = {"seed": 0, **SMALL, field: 25}
    with pytest.raises(BenchmarkError, match=f"{root}: found a .* made with .*'{field}'.*expected .*'{field}': 25"):
        build_moving_shapes(root, **other)


def test_a_benchmark_of_another_format_is_an_error(root):
    settings = json.loads((root / "settings.json").read_text())
    (root / "settings.json").write_text(json.dumps({**settings, "format_version": 0}))
    with pytest.raises(BenchmarkError, match="'format_version': 0"):
        build_moving_shapes(root, **SMALL)


def test_a_folder_with_something_else_is_an_error_and_stays_as_it_is(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(BenchmarkError, match="found 'thesis.tex' but no settings.json"):
        build_moving_shapes(tmp_path, **SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_in_place_of_the_folder_is_an_error(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(BenchmarkError, match="file: found a file"):
        build_moving_shapes(tmp_path / "file", **SMALL)


@pytest.mark.parametrize("content", ["{", "[]", '{"theme": "dark"}'])
def test_settings_that_are_not_ours_are_an_error(content, tmp_path):
    (tmp_path / "settings.json").write_text(content)
    with pytest.raises(BenchmarkError, match="settings.json"):
        build_moving_shapes(tmp_path, **SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["settings.json"]


def test_an_interrupted_first_write_does_not_stand_in_the_way(tmp_path, unbroken):
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / ".tmp-half").write_text('{"seed"')
    build_moving_shapes(tmp_path / "root", splits=(), **SMALL)
    assert (tmp_path / "root" / "settings.json").read_bytes() == (unbroken / "settings.json").read_bytes()


def test_a_renderer_that_dies_is_an_error_that_names_the_clip(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "render", lambda scene, **options: os.kill(os.getpid(), signal.SIGKILL))
    said = r"videos/video0.mp4: found that its process died \(SIGKILL; .*Finished clips are kept; run the same command"
    with pytest.raises(BenchmarkError, match=said):
        build_moving_shapes(tmp_path / "root", **SMALL, num_processes=1)


def limit_file_size() -> None:
    """No file of this process may pass 4,000 bytes: what a full disk is to one that writes clips."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))


def test_a_full_disk_is_an_oserror_and_leaves_no_partial_file(root, unbroken):
    for path in (root / "videos").iterdir():
        path.unlink()
    (root / "videos.sha256").unlink()
    assert max(path.stat().st_size for path in (unbroken / "videos").iterdir()) > 4000
    done = subprocess.run(build_code(root, 1), preexec_fn=limit_file_size, capture_output=True, text=True)
    assert done.returncode == 1
    said = done.stderr.rstrip().splitlines()[-1]
    assert said.startswith("OSError: [Errno 27]") and str(root) in said
    assert "MB are free" in said and "make room, or choose another folder, and run the same command again" in said
    whole, found = digests(unbroken), digests(root)
    assert all(whole[name] == digest for name, digest in found.items())  # none partial, none temporary
    build_moving_shapes(root, **SMALL, num_processes=1)
    assert digests(root) == whole
