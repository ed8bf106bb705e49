"""Read a file of an http(s) server in parts, and tell faults of the network from faults of the file."""

import base64
import http.client
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib import error, parse, request

from .video_errors import VideoDecodeError, safe_name, video_error


ANSWER_TIMEOUT = 30.0  # seconds without a byte
# Reading a file may take this long and, where its size is known, as long as a slow connection needs for all of it.
TIME_LIMIT, SLOWEST_RATE = 60.0, 100_000  # seconds, bytes per second
LONGEST_SKIP = 2**20  # bytes; it is faster to read these than to ask again
HEAD_SIZE = 2**16  # bytes; the beginning is kept, since it is read several times to find the format
RESERVED = "%/:=&?~#+!$,;'@()*[]"  # characters of a URL that mean something, or are an escape
MISSING, FORBIDDEN, PASSING = (404, 410), (401, 403, 407), (408, 425, 429)  # and 500 and above are passing


def make_opener() -> request.OpenerDirector:
    """Make what opens URLs: http and https alone, also after a redirect, and through the user's proxy."""
    opener = request.OpenerDirector()
    for handler in (
        request.ProxyHandler,
        request.UnknownHandler,
        request.HTTPHandler,
        request.HTTPSHandler,
        request.HTTPDefaultErrorHandler,
        request.HTTPRedirectHandler,
        request.HTTPErrorProcessor,
    ):
        opener.add_handler(handler())
    return opener


class RemoteFile:
    """A file of an http(s) server, opened for reading bytes.

    Only its beginning is kept. After a jump only the rest is asked for, or all of it again where the server knows no
    `Range` requests.

    Args:
        url (`str`): An http(s) URL. A user and password in it are sent to that server alone, and not after a redirect.

    Attributes:
        name (`str`): The URL without its secrets.
        size (`int`, *optional*): Number of bytes, where the server states it.

    Raises:
        [`VideoDecodeError`]: With code `"missing"`, `"unreadable"`, `"empty"` or `"network"`; also on reading.
    """

    def __init__(self, url: str):
        self.name = safe_name(url)
        self.url = checked_url(url)
        self.position = self.received = 0  # of the reader, and of the answer that is being received
        self.size = self.answer = None
        self.head = b""
        self.has_ranges = True
        self.is_broken = False
        self.waited = 0.0  # seconds for the server; those of the decoder do not count
        self.end = None  # of the answer, where the server says that it is a part
        self.version: dict[str, int | str] = {}  # what must not change from one answer to the next
        self.ask(0)
        if self.size == 0:
            raise video_error("empty", self.name, "0 bytes", "a video file")

    def __enter__(self) -> "RemoteFile":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        if self.answer is not None:
            self.answer.close()

    def tell(self) -> int:
        """Return the position."""
        return self.position

    def seekable(self) -> bool:
        """Return whether `seek` works: not where the server states no size, as for a stream without end."""
        return self.size is not None

    def seek(self, offset: int, whence: int = 0) -> int:
        """Set the position, without asking the server yet; -1 for one that cannot be, as in a damaged index."""
        position = offset + (0, self.position, self.size)[whence]
        if position < 0:
            return -1
        self.position = position
        return position

    def read(self, size: int) -> bytes:
        """Read bytes from the position; fewer than `size` only at the end of the file."""
        if self.is_broken or (self.size is not None and self.position >= self.size):
            return b""  # FFmpeg reads on after an error, which it reports later
        parts = [self.head[self.position : self.position + size]]
        self.position += len(parts[0])
        size -= len(parts[0])
        if size:
            self.go_to(self.position)
        while size > 0 and (part := self.receive(size)):
            parts.append(part)
            self.position += len(part)
            size -= len(part)
        return b"".join(parts)

    def go_to(self, position: int) -> None:
        """Make `position` that of the answer, if the file is as long."""
        if position < self.received or (position > self.received + LONGEST_SKIP and self.has_ranges):
            self.ask(position if self.has_ranges else 0)
        while self.received < position and self.receive(min(position - self.received, LONGEST_SKIP)):
            pass

    def ask(self, start: int) -> None:
        """Ask the server for the bytes from `start` on."""
        self.close()
        address = parse.urlsplit(self.url)
        user, _, server = address.netloc.rpartition("@")
        headers = {"Range": f"bytes={start}-", "Accept-Encoding": "identity", "User-Agent": "drl-tvr"}
        wanted = request.Request(address._replace(netloc=server).geturl(), headers=headers)
        if user:
            token = base64.b64encode(parse.unquote_to_bytes(user)).decode()
            wanted.add_unredirected_header("Authorization", f"Basic {token}")
        try:
            with self.count_time():
                self.answer = make_opener().open(wanted, timeout=ANSWER_TIMEOUT)
        except error.HTTPError as answer:
            answer.close()
            raise self.refusal(answer.code) from None
        except (OSError, http.client.HTTPException) as cause:
            raise self.fault(reason_of(cause)) from None
        except ValueError:  # its text may hold the address
            raise self.fault("a redirect to an address that is not valid") from None
        self.check_answer(start)

    def check_answer(self, start: int) -> None:
        """Check that an answer is what was asked for, of the same file as the answers before, and note its place."""
        headers = self.answer.headers
        encoding = headers.get("Content-Encoding", "identity")
        if encoding.strip().lower() not in ("", "identity"):
            raise self.fault(f"an answer in the encoding {encoding!r}, which was not asked for")
        self.has_ranges = self.answer.status == 206
        self.received, self.end, length = 0, None, headers.get("Content-Length")
        if self.has_ranges:
            part = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", headers.get("Content-Range", "").strip())
            if part is None or int(part[1]) != start or int(part[2]) < start:
                raise self.fault(f"the bytes {headers.get('Content-Range')!r} instead of those from {start} on")
            self.received, self.end, length = start, int(part[2]) + 1, part[3]
        stated = {
            "size": int(length) if length is not None and length.isdigit() else None,
            "ETag": headers.get("ETag"),
            "Last-Modified": headers.get("Last-Modified"),
        }
        for key, value in stated.items():
            if value is not None and self.version.setdefault(key, value) != value:
                raise self.fault(f"{key} {value} after {key} {self.version[key]}: the file changed meanwhile")
        self.size = self.version.get("size")

    @contextmanager
    def count_time(self) -> Iterator[None]:
        """Add the time of a block to that of waiting for the server."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.waited += time.monotonic() - began

    def receive(self, size: int) -> bytes:
        """Receive some of the next bytes, at most `size`; none at the end."""
        if self.received == self.end and self.size is not None and self.end < self.size:
            end = self.end  # before that of the file, as the server said
            self.ask(end)
            self.go_to(end)
        if self.waited > TIME_LIMIT + (self.size or 0) / SLOWEST_RATE:
            ranges = "" if self.has_ranges else "; the server has no Range requests"
            raise self.fault(
                f"no end after {self.waited:.0f} s ({self.received} bytes of {self.size or 'unknown'}{ranges})"
            )
        try:
            with self.count_time():
                part = self.answer.read1(size)
        except (OSError, http.client.HTTPException) as cause:
            raise self.fault(f"{reason_of(cause)} after {self.received} bytes") from None
        if self.received == len(self.head) < HEAD_SIZE:
            self.head += part
        self.received += len(part)
        if not part and self.size is not None and self.received < self.size:
            raise self.fault(f"a connection that ends after {self.received} of {self.size} bytes")
        return part

    def fault(self, found: str) -> VideoDecodeError:
        """Return the error of a network that fails."""
        self.is_broken = True
        return video_error("network", self.name, found, "a server that sends the whole file")

    def refusal(self, status: int) -> VideoDecodeError:
        """Return the error of a server's answer."""
        found = f"status {status} of the server"
        if status >= 500 or status in PASSING:
            return self.fault(found)
        code = "unreadable" if status in FORBIDDEN else "missing"
        return video_error(code, self.name, found, "a video")


def checked_url(url: str) -> str:
    """Return a URL with what it may not hold as escapes (spaces, letters with accents).

    Raises:
        [`VideoDecodeError`]: With code `"missing"`, when it has no server or no valid port.
    """
    quoted = parse.quote(url, safe=RESERVED)
    try:
        address = parse.urlsplit(quoted)
        if address.hostname and address.port != 0:
            return quoted
    except ValueError:
        pass  # an error of its own, since this one holds the URL
    raise video_error("missing", url, "an address that is not valid", "http://SERVER/PATH or https://SERVER/PATH")


def reason_of(cause: Exception) -> str:
    """Return what went wrong, without the URL that the text of an error may hold."""
    reason = getattr(cause, "reason", cause)
    return reason if isinstance(reason, str) else getattr(reason, "strerror", None) or type(reason).__name__


__all__ = ["RemoteFile"]
