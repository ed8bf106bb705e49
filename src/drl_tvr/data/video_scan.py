"""Finds the videos under a folder, and says what else lies there."""

import codecs
import os
from collections import Counter
from dataclasses import dataclass, field


# A name that ends so claims to be a video.
VIDEO_EXTENSIONS = frozenset(
    ".3g2 .3gp .3gpp .apng .asf .avi .divx .dv .f4v .flv .gif .ivf .m1v .m2t .m2ts .m2v .m4v .mjpeg .mjpg .mkv .mov "
    ".mp4 .mpe .mpeg .mpg .mts .mxf .nut .ogm .ogv .qt .rm .rmvb .ts .vob .webm .wmv .y4m".split()
)
# A name that ends so claims to be something else that is no text.
OTHER_EXTENSIONS = frozenset(
    ".7z .aac .ac3 .aif .aiff .arrow .bin .bmp .bz2 .ckpt .db .doc .docx .flac .gz .h5 .hdf5 .heic .ico .jpeg .jpg "
    ".lmdb .lock .m4a .mat .md5 .mp3 .npy .npz .oga .ogg .opus .parquet .part .pdf .pickle .pkl .png .ppt .pptx .psd "
    ".pt .pth .pyc .rar .safetensors .sqlite .svg .tar .tfrecord .tgz .tif .tiff .tmp .torrent .wav .webp .wma .xls "
    ".xlsx .xz .ytdl .zip .zst".split()
)


@dataclass
class VideoScan:
    """What lies under a folder.

    Args:
        paths (`list[str]`): The videos, in order of their paths.
        left_out (`dict[str, int]`): How many files of each extension are none. Hidden files count as `"(hidden)"`,
            texts without an extension as `"(text)"`.
    """

    paths: list[str] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)


def find_videos(root: str | os.PathLike) -> VideoScan:
    """Look for videos in a folder and all folders in it; links are followed, and no folder is entered twice.

    A video is what has a video's extension, whatever it holds, and what has no extension or one that is nobody's
    (DiDeMo has names that end in a dot, LSMDC's end in `.167`), unless it is a text. A link that leads nowhere, a pipe
    and a folder with a video's extension are named too, because training would come upon them.

    Args:
        root (`str` or `os.PathLike`): The folder.

    Returns:
        [`~data.video_scan.VideoScan`]: The paths, and what was left out.

    Raises:
        `OSError`: When there is no such folder, or it or one in it can't be read.
    """
    if not os.path.isdir(root):
        raise NotADirectoryError(f"{os.fsdecode(root)}: no such folder.")
    scan, seen = VideoScan(), set()
    left_out: Counter[str] = Counter()
    # Depth first, so that the order of the paths is the order of their names.
    waiting = [os.fsdecode(root)]
    while waiting:
        path = waiting.pop()
        if os.path.isdir(path):
            found = os.stat(path)
            if (found.st_dev, found.st_ino) in seen:
                continue
            seen.add((found.st_dev, found.st_ino))
            names = sorted(os.listdir(path), reverse=True)
            waiting += [os.path.join(path, name) for name in names if not name.startswith(".")]
            left_out["(hidden)"] += sum(name.startswith(".") for name in names)
            if path == os.fsdecode(root) or extension_of(path) not in VIDEO_EXTENSIONS:
                continue
        label = other_than_video(path)
        if label is None:
            scan.paths.append(path)
        else:
            left_out[label] += 1
    scan.left_out = {label: count for label, count in sorted(left_out.items()) if count}
    return scan


def extension_of(path: str) -> str:
    return os.path.splitext(path)[1].lower()


def other_than_video(path: str) -> str | None:
    """The label under which a file that is no video is counted, or `None` for a video."""
    extension = extension_of(path)
    if extension in VIDEO_EXTENSIONS:
        return None
    if extension in OTHER_EXTENSIONS:
        return extension
    if os.path.isfile(path):
        return (extension.strip(".") and extension or "(text)") if is_text(path) else None
    return "(special)" if os.path.exists(path) else None


def is_text(path: str) -> bool:
    """Whether a file begins as a text does; one that can't be read isn't known to be one."""
    try:
        with open(path, "rb") as file:
            beginning = file.read(1024)
    except OSError:
        return False
    try:
        # The last character may be cut.
        text = codecs.getincrementaldecoder("utf-8")().decode(beginning)
    except UnicodeDecodeError:
        return False
    return bool(text) and all(character.isprintable() or character.isspace() for character in text)


__all__ = ["VIDEO_EXTENSIONS", "VideoScan", "find_videos"]
