"""Write the bundled benchmark to disk, in MSR-VTT's own annotation format, and repair files that are not whole."""

import contextlib
import csv
import hashlib
import io
import json
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from filelock import FileLock
from tqdm.auto import tqdm

from ...files import TEMPORARY_PREFIX, free_space, usable_cores, write_whole
from ..errors import BenchmarkError
from ..records import SPLITS
from ..worker_pool import START_METHOD, WorkerFailure, map_in_processes
from .dials import to_settings
from .render import render
from .scenes import Scene, make_scenes


FORMAT_VERSION = 1
TIME_LIMIT = 600  # seconds to render one clip
SETTINGS_FILE = "settings.json"
SETTING_NAMES = {"format_version", "seed", "num_train", "num_validation", "num_test"}
DIAL_NAMES = {"filler_words", "irrelevant_frames", "irrelevant_kind"}  # in the settings unless they are the defaults
CHECKSUM_FILE = "videos.sha256"
LOCK_FILE = ".lock"
ANNOTATION_FILE = "MovingShapes_data.json"
# MSR-VTT calls the validation split "validate".
OFFICIAL_SPLITS = {"train": "train", "validation": "validate", "test": "test"}


def build_moving_shapes(
    root: str | os.PathLike,
    splits: Sequence[str] = SPLITS,
    seed: int = 0,
    num_train: int = 3400,
    num_validation: int = 200,
    num_test: int = 300,
    num_processes: int | None = None,
    filler_words: float = 0.0,
    irrelevant_frames: float = 0.0,
    irrelevant_kind: str = "blank",
) -> Path:
    """Render the clips of the benchmark that are missing under `root`.

    Files appear under their final name only when complete, and their checksums are journaled as they appear. A clip
    that is absent, or that differs from the journal, is rendered again, so an interrupted run is repaired by the next.

    Args:
        root (`str` or `os.PathLike`): Folder of the benchmark; made when absent.
        splits (`Sequence[str]`, *optional*): Splits whose clips are needed.
        seed (`int`, *optional*, defaults to 0): Seed of the whole benchmark.
        num_train, num_validation, num_test (`int`, *optional*): Clips of each split.
        num_processes (`int`, *optional*): Rendering processes; by default one per core that this process may use.
        filler_words (`float`, *optional*, defaults to 0.0): Share of the words of each caption that say nothing about
            the clip, from 0 to 0.7.
        irrelevant_frames (`float`, *optional*, defaults to 0.0): Share of each clip's time that is added before,
            between and after its events, from 0 to 0.7.
        irrelevant_kind (`str`, *optional*, defaults to `"blank"`): What the clip shows in that time: `"blank"`, the
            background alone, or `"object"`, another object in motion that no caption mentions.

    Returns:
        `Path`: `root`, which then holds `videos/*.mp4`, the annotations and the checksums.

    Raises:
        `BenchmarkError`: When `root` holds something else or the benchmark with other settings, when a dial is
            invalid, or when a process that renders dies.
        `OSError`: When a file cannot be written (on a full disk, for example); no partial file stays under its final
            name.

    Example:

    ```python
    >>> from drl_tvr.data.moving_shapes import build_moving_shapes

    >>> root = build_moving_shapes("tiny", splits=("test",), num_train=2, num_validation=1, num_test=1)
    >>> sorted(path.name for path in root.glob("*.csv"))
    ['MovingShapes_test.csv', 'MovingShapes_train.csv', 'MovingShapes_validation.csv']
    >>> [path.name for path in root.glob("videos/*.mp4")]
    ['video3.mp4']
    ```
    """
    root = Path(root)
    dials = to_settings(filler_words, irrelevant_frames, irrelevant_kind)
    settings = {
        "format_version": FORMAT_VERSION,
        "seed": seed,
        "num_train": num_train,
        "num_validation": num_validation,
        "num_test": num_test,
        **dials,
    }
    scenes = make_scenes(seed, num_train, num_validation, num_test, filler_words)
    wanted = [scene for scene in scenes if scene.split in splits]
    with advising_on(root):
        claim_folder(root, settings)
        with FileLock(root / LOCK_FILE):  # one process builds, others wait and find its clips
            write_annotations(root, scenes)
            checksums = read_checksums(root)
            missing = [scene for scene in wanted if not is_whole(root, scene, checksums)]
            if missing:
                draw = partial(render, seed=seed, irrelevant_frames=irrelevant_frames, irrelevant_kind=irrelevant_kind)
                render_clips(root, missing, draw, num_processes or usable_cores())
    return root


@contextlib.contextmanager
def advising_on(root: Path) -> Iterator[None]:
    """Add the folder, its free space and what to do to an error of the system."""
    try:
        yield
    except OSError as error:
        if error.strerror is None:
            raise
        message = (
            f"moving-shapes cannot be written here ({error.strerror}); {free_space(root)} are free. Finished clips "
            "are kept; make room, or choose another folder, and run the same command again"
        )
        raise OSError(error.errno, message, str(root)) from error


def claim_folder(root: Path, settings: dict) -> None:
    """Take an empty folder for the benchmark, or check that it already is one with the same settings.

    Raises:
        `BenchmarkError`: When it holds something else.
    """
    if root.exists() and not root.is_dir():
        raise BenchmarkError(f"{root}: found a file, expected a folder for the moving-shapes benchmark.")
    root.mkdir(parents=True, exist_ok=True)
    found = read_settings(root)
    if found is None:
        # An interrupted first write leaves temporary files.
        others = [path.name for path in root.iterdir() if not path.name.startswith(TEMPORARY_PREFIX)]
        if others:
            raise BenchmarkError(
                f"{root}: found {sorted(others)[0]!r} but no {SETTINGS_FILE}, expected an empty folder or a "
                "moving-shapes benchmark."
            )
        write_whole(root / SETTINGS_FILE, json.dumps(settings, indent=2))
    elif found != settings:
        raise BenchmarkError(
            f"{root}: found a moving-shapes benchmark made with {found}, expected {settings}. Choose another folder, "
            "or delete this one so that it is made again."
        )


def read_settings(root: Path) -> dict | None:
    """Read the settings of the benchmark under `root`; `None` when there is none.

    Raises:
        `BenchmarkError`: When the settings file is invalid or belongs to something else.
    """
    path = root / SETTINGS_FILE
    if not path.is_file():
        return None
    try:
        settings = json.loads(path.read_text())
    except ValueError as error:
        raise BenchmarkError(
            f"{path}: found invalid JSON ({error}), expected the settings of a moving-shapes benchmark. Delete {root} "
            "so that it is made again."
        ) from error
    if not isinstance(settings, dict) or set(settings) not in (SETTING_NAMES, SETTING_NAMES | DIAL_NAMES):
        raise BenchmarkError(
            f"{path}: found {settings}, expected the settings {sorted(SETTING_NAMES)} of a moving-shapes benchmark, "
            f"and none or all of its dials {sorted(DIAL_NAMES)}."
        )
    if DIAL_NAMES <= set(settings):
        to_settings(**{name: settings[name] for name in DIAL_NAMES}, where=f"{path}, ")
    return settings


def write_annotations(root: Path, scenes: list[Scene]) -> None:
    """Write MSR-VTT's files: all videos and sentences as JSON, one CSV of ids per split, the test queries as CSV."""
    videos, sentences = [], []
    for scene in scenes:
        number = int(scene.video_id.removeprefix("video"))
        video = {"video_id": scene.video_id, "split": OFFICIAL_SPLITS[scene.split], "id": number}
        if scene.twin is not None:
            video["twin"] = scene.twin
        videos.append(video)
        for caption in scene.captions:
            sentences.append({"caption": caption, "video_id": scene.video_id, "sen_id": len(sentences)})
    content = {"info": {"description": "moving-shapes"}, "videos": videos, "sentences": sentences}
    write_if_changed(root / ANNOTATION_FILE, json.dumps(content, indent=1))
    for split in SPLITS:
        part = [scene for scene in scenes if scene.split == split]
        if split == "test":
            rows = [("key", "vid_key", "video_id", "sentence")]
            for index, scene in enumerate(part):
                rows.append((f"ret{index}", scene.video_id.replace("video", "msr"), scene.video_id, scene.captions[0]))
        else:
            rows = [("video_id",)] + [(scene.video_id,) for scene in part]
        write_if_changed(root / f"MovingShapes_{split}.csv", to_csv(rows))


def to_csv(rows: list[tuple[str, ...]]) -> str:
    """Format rows as CSV text with plain line feeds."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def write_if_changed(path: Path, text: str) -> None:
    """Write a text file unless it has this text already."""
    if not path.is_file() or path.read_text() != text:
        write_whole(path, text)


def video_path(root: Path, scene: Scene) -> Path:
    """Return the path of a scene's clip."""
    return root / "videos" / f"{scene.video_id}.mp4"


def read_checksums(root: Path) -> dict[str, str]:
    """Read the journal of finished clips, from file name to SHA-256, in the format of `sha256sum`.

    The last line on a file counts.
    """
    path = root / CHECKSUM_FILE
    if not path.is_file():
        return {}
    # A line that a crash has cut has no newline and is not trusted.
    text = path.read_text(errors="replace")
    lines = [line for line in text.splitlines(keepends=True) if line.endswith("\n") and "  " in line]
    return {name: digest for digest, name in (line.rstrip("\n").split("  ", 1) for line in lines)}


def is_whole(root: Path, scene: Scene, checksums: dict[str, str]) -> bool:
    """Return whether a clip is there, byte for byte as it was written."""
    path = video_path(root, scene)
    digest = checksums.get(f"videos/{path.name}")
    return digest is not None and path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == digest


def render_to_file(scene: Scene, root: Path, draw: Callable[[Scene], bytes]) -> tuple[str, str] | OSError:
    """Render one clip and write it; return its name under `root` and its SHA-256, or why it cannot be written."""
    content = draw(scene)
    try:
        path = write_whole(video_path(root, scene), content)
    except OSError as error:
        return error
    return f"videos/{path.name}", hashlib.sha256(content).hexdigest()


def render_clips(root: Path, scenes: list[Scene], draw: Callable[[Scene], bytes], num_processes: int) -> None:
    """Render clips in parallel, and note each in the journal when it is done."""
    (root / "videos").mkdir(exist_ok=True)
    for leftover in (root / "videos").glob(f"{TEMPORARY_PREFIX}*"):
        leftover.unlink()
    work = partial(render_to_file, root=root, draw=draw)
    results = map_in_processes(work, scenes, num_processes, TIME_LIMIT, START_METHOD)
    with contextlib.closing(results), open(root / CHECKSUM_FILE, "a") as journal:
        if journal.tell():
            journal.write("\n")  # ends a line that a crash may have cut
        for place, outcome in tqdm(results, total=len(scenes), desc="Rendering moving-shapes", unit="clip"):
            if isinstance(outcome, WorkerFailure):
                raise BenchmarkError(
                    f"{video_path(root, scenes[place])}: found that {outcome.message}, expected a clip. Finished "
                    "clips are kept; run the same command again."
                )
            if isinstance(outcome, OSError):
                raise outcome
            name, digest = outcome
            journal.write(f"{digest}  {name}\n")
            journal.flush()


__all__ = ["build_moving_shapes"]
