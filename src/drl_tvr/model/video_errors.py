"""What can be wrong with a video: one typed error and the codes that tell its causes apart."""

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
    "timeout",
    "decoder-crashed",
)


class VideoDecodeError(ValueError):
    """
    A video that cannot be turned into the frames that were asked for.

    Args:
        message (`str`): The file, what was found and what was expected.
        path (`str`, *optional*, defaults to `""`): The path or URL as the caller gave it.
        code (`str`, *optional*, defaults to `""`):
            What is wrong. It is stable: branch on it rather than on the message.

            - `"missing"`: there is no such file, or the link to it leads nowhere.
            - `"unreadable"`: the file is there and may not be read.
            - `"empty"`: it has 0 bytes.
            - `"not-a-video"`: it is a text, a still image, a folder, or data in no video format.
            - `"no-video-stream"`: it holds only sound, with or without a cover.
            - `"encrypted"`: its frames are encrypted.
            - `"unsupported-codec"`: this FFmpeg has no decoder for its codec.
            - `"too-large"`: a frame has more pixels than any real video, which would fill the memory.
            - `"no-frames"`: it is a video of which not one frame decodes.
            - `"truncated"`: it ends early or is damaged, so that it does not decode whole.
            - `"bad-duration"`: the times of its frames are no times of a video.
            - `"bad-range"`: `start` and `end` enclose nothing of it.
            - `"timeout"`, `"decoder-crashed"`: only [`~data.doctor.check_videos`] outlives these, and reports them.
    """

    # The message comes first and alone suffices: a `DataLoader` rebuilds a worker's error from it.
    def __init__(self, message: str, path: str = "", code: str = ""):
        super().__init__(message)
        self.path = path
        self.code = code

    def __reduce__(self):
        return type(self), (str(self), self.path, self.code)


class VideoNotFoundError(VideoDecodeError, FileNotFoundError):
    """A [`VideoDecodeError`] of code `"missing"`, which is also a `FileNotFoundError`."""


def video_error(code: str, name: str, found: str, expected: str) -> VideoDecodeError:
    """The error of a code, in the one form that all messages have."""
    kind = VideoNotFoundError if code == "missing" else VideoDecodeError
    return kind(f"{name}: {found}, expected {expected} [{code}]", name, code)


__all__ = ["VIDEO_ERROR_CODES", "VideoDecodeError", "VideoNotFoundError", "video_error"]
