"""Find and open the file of a video, so that FFmpeg reads this file and nothing else."""

import codecs
import io
import math
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from transformers.utils import is_av_available

from .remote_file import RemoteFile
from .video_cuts import read_boxes
from .video_errors import EXHAUSTION_ERRORS, safe_name, video_error


if is_av_available():
    import av

# Containers and raw streams that hold all of a video (or of sound, whose error is another one). Those that only refer
# to other files are not among them: HLS, DASH, concat, IMF, SDP, sequences of images, VobSub, ...
FORMATS = (
    "mov,matroska,webm,avi,flv,live_flv,mpegts,mpeg,asf,asf_o,ogg,gif,apng,jpegxl_anim,mxf,gxf,lxf,nut,rm,dv,swf,wtv,"
    "nsv,nuv,ty,dhav,kux,ifv,cine,pva,flic,mlv,yuv4mpegpipe,ivf,obu,av1,h261,h263,h264,hevc,vvc,evc,m4v,mpegvideo,"
    "mjpeg,vc1,vc1test,cavsvideo,avs2,avs3,dirac,dnxhd,ipu,"
    "mp3,wav,w64,flac,aac,ac3,eac3,dts,truehd,aiff,au,caf,amr,ape,wv,tta,mpc,mpc8,aea,oma,tak,dsf,loas"
)
# How those begin that say what they are; the XML ones hold it further on.
PLAYLISTS = {
    b"#EXTM3U": "an HLS playlist",
    b"ffconcat": "a playlist of concat",
    b"v=0": "the address of a broadcast (SDP)",
    b"<MPD": "a DASH playlist",
    b"<CompositionPlaylist": "an IMF playlist",
}
IMAGES = (b"\xff\xd8\xff", b"\x89PNG", b"BM", b"II*\0", b"MM\0*")
MP4_FIRST_BOXES = (b"ftyp", b"mdat", b"moov", b"wide", b"free", b"skip")


class LocalFile(io.FileIO):
    """A local file whose faults on reading are typed.

    Attributes:
        size (`int`): Number of bytes.
    """

    def __init__(self, source: str, name: str):
        self.given_name = name
        try:
            super().__init__(source)
            self.size = os.fstat(self.fileno()).st_size
        except OSError as error:
            raise self.fault(error) from error

    def read(self, size: int = -1) -> bytes:
        """Read bytes from the position; fewer than `size` only at the end of the file."""
        try:
            return super().read(size)
        except OSError as error:
            raise self.fault(error) from error

    def seek(self, offset: int, whence: int = 0) -> int:
        """Set the position; -1 for one that cannot be, as in a damaged index, which is FFmpeg's sign of an error."""
        try:
            return super().seek(offset, whence)
        except OSError:
            return -1

    def fault(self, error: OSError) -> Exception:
        """Return the typed error."""
        return video_error("unreadable", self.given_name, f"an error on reading ({error.strerror})", "a readable file")


def is_url(name: str) -> bool:
    """Return whether a name is an http(s) URL; its scheme may be in any case."""
    return name.lower().startswith(("http://", "https://"))


def locate_video(name: str) -> str:
    """Return the absolute path of a local file.

    Args:
        name (`str`): A path, or an http(s) URL.

    Returns:
        `str`: The absolute path, or the URL as it is.

    Raises:
        [`VideoDecodeError`]: With code `"missing"`, `"unreadable"`, `"empty"` or `"not-a-video"`, before the file is
            opened.
    """
    if is_url(name):
        return name
    source = os.path.abspath(name)
    try:
        found = os.stat(source)
    except PermissionError as error:
        raise video_error("unreadable", name, f"no permission ({error.strerror})", "a readable file") from error
    except (OSError, ValueError) as error:
        if safe_name(name) != name or "://" in name:
            expected = "a local file, or a URL that begins with http:// or https://"
            raise video_error("missing", name, "no such file", expected) from None
        what = "a link that leads nowhere" if os.path.islink(source) else "no such file"
        raise video_error("missing", name, f"{what} (looked at {source!r})", "a video file") from error
    # A pipe or a device is not opened: reading it may not end.
    if not stat.S_ISREG(found.st_mode):
        what = "a folder" if stat.S_ISDIR(found.st_mode) else "something that is not a regular file"
        raise video_error("not-a-video", name, what, "a video file")
    if found.st_size == 0:
        raise video_error("empty", name, "0 bytes", "a video file")
    return source


def open_source(source: str, name: str) -> LocalFile | RemoteFile:
    """Open the file of a video for reading bytes.

    Args:
        source (`str`): Result of [`locate_video`].
        name (`str`): Name of the video in errors.

    Raises:
        [`VideoDecodeError`]: With code `"missing"`, `"unreadable"`, `"empty"` or `"network"`.
    """
    return RemoteFile(source) if is_url(source) else LocalFile(source, name)


@contextmanager
def open_video(source: str, name: str) -> Iterator["av.container.InputContainer"]:
    """Open a video's container.

    Args:
        source (`str`): Result of [`locate_video`].
        name (`str`): Name of the video in errors.

    Yields:
        `av.container.InputContainer`: The open container.

    Raises:
        [`VideoDecodeError`]: See [`open_source`] and [`open_container`].
    """
    with open_source(source, name) as file, open_container(file, name) as container:
        yield container


def open_container(file: LocalFile | RemoteFile, name: str) -> "av.container.InputContainer":
    """Open the container in an open file.

    Python reads the file and FFmpeg has no protocol, so that no content, a playlist or a reference to another file,
    can make it open anything else.

    Args:
        file (`LocalFile` or `RemoteFile`): From [`open_source`].
        name (`str`): Name of the video in errors.

    Raises:
        [`VideoDecodeError`]: With code `"truncated"`, `"no-frames"` or `"not-a-video"`.
    """
    options = {"format_whitelist": FORMATS, "protocol_whitelist": "none"}
    # Up to PyAV 18 a tag that is not UTF-8 is fatal by default; PyAV 19 has no such argument.
    tags = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
    try:
        return av.open(file, options=options, **tags)
    except EXHAUSTION_ERRORS:
        raise
    except av.FFmpegError as error:
        cause = error
    # A stream without a size cannot be read again.
    if file.seekable():
        raise_for_mp4(file, name, cause)
        raise video_error("not-a-video", name, describe_content(file), "a video") from cause
    raise video_error("not-a-video", name, "data in no known video format", "a video") from cause


def raise_for_mp4(file: LocalFile | RemoteFile, name: str, cause: Exception) -> None:
    """Raise the error of a cut or damaged MP4, and nothing for other data; an MP4's index (moov) mostly comes last."""
    boxes = dict(read_boxes(file))
    if not boxes or next(iter(boxes)) not in MP4_FIRST_BOXES:
        return
    if boxes.get(b"moov", math.inf) <= file.size:
        raise video_error("no-frames", name, "an MP4 whose index (moov) is damaged", "a whole file") from cause
    found = "an MP4 without its index (moov), probably cut off"
    raise video_error("truncated", name, found, "the whole file") from cause


def describe_content(file: LocalFile | RemoteFile) -> str:
    """Return a noun phrase for a file that is no video."""
    file.seek(0)
    start = file.read(1024)
    text = start.removeprefix(codecs.BOM_UTF8).lstrip()
    for sign, kind in PLAYLISTS.items():
        if text.startswith(sign) or text.startswith(b"<") and sign.startswith(b"<") and sign in text:
            return f"{kind}, which refers to other files"
    if start.startswith(IMAGES) or start[8:12] == b"WEBP":
        return "a still image"
    return "data in no known video format"


__all__ = ["is_url", "locate_video", "open_container", "open_source", "open_video"]
