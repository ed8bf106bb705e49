"""The typed error of an unusable video, the codes of its causes, and the name of a video without its secrets."""

import re


VIDEO_ERROR_CODES = (
    "missing",
    "unreadable",
    "empty",
    "not-a-video",
    "no-video-stream",
    "encrypted",
    "unsupported-codec",
    "too-large",
    "no-frames",
    "truncated",
    "bad-duration",
    "bad-range",
    "network",
    "timeout",
    "decoder-crashed",
)


# FFmpeg's errors for lack of memory and of threads derive from these. They say nothing about the file, so they pass.
EXHAUSTION_ERRORS = (MemoryError, BlockingIOError)


class VideoDecodeError(ValueError):
    """Error of a video that cannot be turned into the requested frames.

    Args:
        message (`str`): The file, what was found and what was expected.
        path (`str`, *optional*, defaults to `""`): The path as the caller gave it, or the URL without its secrets
            (see `safe_name`).
        code (`str`, *optional*, defaults to `""`): The cause. Codes do not change between versions: branch on them and
            not on the message.

            - `"missing"`: the file does not exist, or the link to it leads nowhere.
            - `"unreadable"`: the file exists but may not be read.
            - `"empty"`: the file has 0 bytes.
            - `"not-a-video"`: the file is a text, a playlist, a still image, a folder, or data in no format of videos.
            - `"no-video-stream"`: the file holds only sound, with or without a cover.
            - `"encrypted"`: the frames are encrypted.
            - `"unsupported-codec"`: this FFmpeg has no decoder for the codec.
            - `"too-large"`: a frame has more pixels than any real video, which would fill the memory.
            - `"no-frames"`: not one frame of the video decodes.
            - `"truncated"`: the file ends early or is damaged, so that it does not decode as a whole.
            - `"bad-duration"`: the frame timestamps are not plausible.
            - `"bad-range"`: no part of the video lies between `start` and `end`.
            - `"network"`: a server or the way to it fails, so that the same URL may be right a moment later.
            - `"timeout"`, `"decoder-crashed"`: only [`~data.doctor.check_videos`] survives and reports these.
    """

    # A `DataLoader` rebuilds a worker's error from its message alone, so the other arguments are optional.
    def __init__(self, message: str, path: str = "", code: str = ""):
        super().__init__(message)
        self.path = path
        self.code = code

    def __reduce__(self):
        return type(self), (str(self), self.path, self.code)


class VideoNotFoundError(VideoDecodeError, FileNotFoundError):
    """Error of code `"missing"`: a [`VideoDecodeError`] that is also a `FileNotFoundError`."""


def safe_name(name: str) -> str:
    """Return the name of a video for messages and reports: a URL without user, password, query and fragment.

    Example:

    ```python
    >>> from drl_tvr.model.video_errors import safe_name

    >>> safe_name("https://me:secret@host.org/clip.mp4?token=secret")
    'https://host.org/clip.mp4?...'
    >>> safe_name("clips/a?b.mp4")
    'clips/a?b.mp4'
    ```"""
    url = re.match(r"(\s*[a-z][a-z\d+.-]*://)([^/?#]*)([^?#]*)(.*)", name, re.IGNORECASE | re.DOTALL)
    if url is None:
        return name
    scheme, server, path, rest = url.groups()
    return scheme + server.rpartition("@")[2] + path + ("?..." if rest else "")


def video_error(code: str, name: str, found: str, expected: str) -> VideoDecodeError:
    """Build the error of a code.

    Args:
        code (`str`): One of `VIDEO_ERROR_CODES`.
        name (`str`): The path or URL as the caller gave it; the error has its safe name.
        found (`str`): Noun phrase for what was found.
        expected (`str`): Noun phrase for what was expected.

    Returns:
        [`VideoDecodeError`]: A [`VideoNotFoundError`] for `"missing"`.
    """
    kind = VideoNotFoundError if code == "missing" else VideoDecodeError
    name = safe_name(name)
    return kind(f"{name}: found {found}, expected {expected}. [{code}]", name, code)


__all__ = [
    "EXHAUSTION_ERRORS",
    "VIDEO_ERROR_CODES",
    "VideoDecodeError",
    "VideoNotFoundError",
    "safe_name",
    "video_error",
]
