"""Tell whether a file ends in the middle of what it holds, by the structure of its container."""

from collections.abc import Iterator
from typing import BinaryIO

from transformers.utils import is_av_available


if is_av_available():
    import av

MAX_BOXES = 100_000  # a fragmented MP4 has two for each fragment
# Elements of Matroska that others lie in. A live recording does not state their length.
SEGMENT, CLUSTER = b"\x18\x53\x80\x67", b"\x1f\x43\xb6\x75"


def is_cut(container: "av.container.InputContainer", stream: "av.VideoStream", file: BinaryIO, last: int) -> bool:
    """Return whether a file ends in the middle of a packet, or its index points beyond its end.

    Only MP4, Matroska, FLV, GIF and Y4M are looked at. FFmpeg itself marks a packet that is cut in most other formats.

    Args:
        container (`av.container.InputContainer`): The container, read to its end.
        stream (`av.VideoStream`): The video.
        file (`BinaryIO`): The open file, which has a `size`.
        last (`int`): Position of the last packet in bytes.
    """
    if container.format.name.startswith("mov"):
        if any(entry.pos + entry.size > file.size for entry in stream.index_entries):
            return True
        # Of a fragmented MP4 that is cut inside a fragment's own index FFmpeg passes over that fragment.
        return any(kind == b"moof" and end > file.size for kind, end in read_boxes(file))
    if container.format.name.startswith("matroska"):
        clusters = [entry.pos for entry in stream.index_entries]
        return any(at >= file.size for at in clusters) or ends_inside_element(file, max(clusters, default=0))
    if container.format.name == "gif":
        return ends_inside_block(file, last)
    if container.format.name == "yuv4mpegpipe":
        return goes_on_after_picture(stream, file, last)
    return container.format.name == "flv" and ends_inside_tag(file, last)


def read_boxes(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Yield the kind and the end of each top-level box of an MP4, until one that cannot be."""
    at = 0
    for _ in range(MAX_BOXES):
        file.seek(at)
        head = file.read(16)
        if len(head) < 8:
            return
        length = int.from_bytes(head[:4])
        if length == 1:
            length = int.from_bytes(head[8:])
        at = at + length if length else file.size  # a length of 0 means the rest of the file
        yield head[4:8], at
        if 0 < length < 8 or at >= file.size:
            return


def ends_inside_element(file: BinaryIO, at: int) -> bool:
    """Return whether a Matroska file ends inside an element, among those from the one at `at` on."""
    while at < file.size:
        file.seek(at)
        head = file.read(12)
        id_length = 9 - head[0].bit_length()
        if id_length > 4 or len(head) <= id_length or not head[id_length]:
            return id_length <= 4 and len(head) <= id_length  # what is no element is not judged
        size_length = 9 - head[id_length].bit_length()
        size = int.from_bytes(head[id_length : id_length + size_length]) & (1 << 7 * size_length) - 1
        is_unknown = size == (1 << 7 * size_length) - 1
        at += id_length + size_length
        if head[:id_length] in (SEGMENT, CLUSTER):
            continue  # into it
        if is_unknown:
            return False
        at += size
        if at > file.size:
            return True
    return False


def ends_inside_tag(file: BinaryIO, at: int) -> bool:
    """Return whether an FLV ends inside a tag, among those from the one at `at` on."""
    while at < file.size:
        file.seek(at)
        head = file.read(11)
        at += 11 + int.from_bytes(head[1:4])
        # Its length comes again after the tag, and may be lacking as a whole.
        if len(head) < 11 or at > file.size or 0 < file.size - at < 4:
            return True
        at += 4
    return False


def ends_inside_block(file: BinaryIO, at: int) -> bool:
    """Return whether a GIF ends inside a block, among those from the one at `at` on; its last block may be lacking."""
    if at == 0:
        file.seek(10)
        at = 13 + palette_size(file.read(1))
    while at < file.size:
        file.seek(at)
        head = file.read(10)
        if head[:1] == b"\x21":
            at += 2
        elif head[:1] == b"\x2c":
            at += 11 + palette_size(head[9:])
        else:
            return False  # the end, or what is no block
        while at < file.size:
            file.seek(at)
            size = file.read(1)[0]
            at += 1 + size
            if size == 0:
                break
        else:
            return True
    return at > file.size


def goes_on_after_picture(stream: "av.VideoStream", file: BinaryIO, at: int) -> bool:
    """Return whether another picture begins after the last whole one of a Y4M, whose bytes are at `at`."""
    planes = stream.codec_context.format.components
    size = sum(plane.width * plane.height * -(-plane.bits // 8) for plane in planes)
    file.seek(at + size)
    return b"FRAME".startswith(file.read(5) or b"-")


def palette_size(flags: bytes) -> int:
    """Return the number of bytes of the palette of a GIF or of one of its images."""
    return 3 * 2 ** ((flags[0] & 7) + 1) if flags and flags[0] & 128 else 0


__all__ = ["is_cut", "read_boxes"]
