"""Videos of http servers: what is asked of a server, which fault has which code, and who sees the secrets of a URL."""

import logging
import socket
import struct
import threading
import time
import traceback
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from video_files import read_indices, write_video

from drl_tvr.data.doctor import check_video
from drl_tvr.data.targets import find_target
from drl_tvr.model import remote_file
from drl_tvr.model.remote_file import RemoteFile
from drl_tvr.model.video_decoding import VideoDecodeError, decode_video
from drl_tvr.model.video_errors import safe_name


PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:3,\n{}\n#EXT-X-ENDLIST\n"
Y4M_HEADER = b"YUV4MPEG2 W64 H48 F25:1 Ip A1:1 C420jpeg\n"


class Handler(SimpleHTTPRequestHandler):
    """Serve a folder, without Range requests; paths below `/parts`, `/reset`, ... behave as their name says."""

    def log_message(self, *_):
        self.server.requests.append((self.path, self.headers.get("Range"), self.headers.get("Authorization")))

    def do_GET(self):
        kind, _, rest = self.path.lstrip("/").partition("/")
        answer = getattr(self, f"answer_{kind}", None)
        if answer is None:
            super().do_GET()
        else:
            answer(rest)

    def answer_status(self, status: str):
        self.send_response(int(status))
        self.end_headers()

    def answer_redirect(self, address: str):
        self.send_response(302)
        self.send_header("Location", address)
        self.end_headers()

    def answer_parts(self, name: str, share: float = 1.0):
        with open(self.translate_path(name), "rb") as file:
            data = file.read()
        start = int((self.headers["Range"] or "bytes=0-")[6:-1])
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        self.wfile.write(data[start : start + int(share * len(data))])

    def answer_range(self, kind_and_name: str):
        """Answer with 10000 bytes at most, but from another start, of a changed file, ... as the kind says."""
        kind, name = kind_and_name.split("/")
        with open(self.translate_path(name), "rb") as file:
            data = file.read()
        start = int(self.headers["Range"][6:-1])
        if kind == "whole-later" and start:
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
            return
        shift = 0 if kind == "other-start" else start
        size = len(data) + (kind == "other-size" and start > 0)
        part = data[shift : shift + 10000]
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {shift}-{shift + len(part) - 1}/{size}")
        self.send_header("Content-Length", str(len(part)))
        if kind == "other-version":
            self.send_header("ETag", f'"{start}"')
        if kind == "gzip":
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        self.wfile.write(part)

    def answer_stream(self, name: str):
        self.send_response(200)
        self.end_headers()
        with open(self.translate_path(name), "rb") as file:
            self.wfile.write(file.read())

    def answer_ends(self, name: str):
        self.answer_parts(name, 0.5)

    def answer_reset(self, name: str):
        self.answer_parts(name, 0.5)
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def answer_drip(self, name: str):
        self.send_response(200)
        self.send_header("Content-Length", "100000")
        self.end_headers()
        while not self.server.is_over.wait(0.05):
            self.wfile.write(b"\0")
            self.wfile.flush()

    def answer_endless(self, name: str):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(Y4M_HEADER)
        while not self.server.is_over.is_set():
            self.wfile.write(b"FRAME\n" + bytes(64 * 48 * 3 // 2))

    def finish(self):
        # A client that goes away is what many of these tests are about.
        try:
            super().finish()
        except (OSError, ValueError):
            pass


class Server(ThreadingHTTPServer):
    """A server that notes its requests."""

    daemon_threads = True

    def handle_error(self, request, client_address):
        pass  # of a connection that a client closed


@pytest.fixture
def server(tmp_path):
    with Server(("127.0.0.1", 0), partial(Handler, directory=str(tmp_path))) as http:
        http.requests, http.is_over = [], threading.Event()
        threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
        http.url = f"http://127.0.0.1:{http.server_port}"
        yield http
        http.is_over.set()
        http.shutdown()


def error_of(url: str) -> VideoDecodeError:
    with pytest.raises(VideoDecodeError) as caught:
        decode_video(url)
    return caught.value


@pytest.mark.parametrize("folder", ["", "parts/"], ids=["without-range", "with-range"])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.mp4", {}),
        ("a.mp4", {"options": {"movflags": "faststart"}}),
        ("a.mkv", {}),
        ("a.avi", {"codec": "mpeg4"}),
        ("a.mpegts", {}),
    ],
    ids=["mp4-index-last", "mp4-index-first", "mkv", "avi", "ts"],
)
def test_a_video_is_read_from_servers_with_and_without_range_requests(server, make_video, folder, name, options):
    make_video(name, num_frames=25, **options)
    frames, metadata = decode_video(f"{server.url}/{folder}{name}")
    assert read_indices(frames) == [0, 10, 20]
    assert (metadata.total_num_frames, metadata.truncation, metadata.suspicion) == (25, None, None)


@pytest.mark.parametrize("name", ["first.mp4", "a.mkv", "a.mpegts", "a.gif"])
def test_a_video_without_a_stated_size_is_read(server, make_video, name):
    options = {"first.mp4": {"options": {"movflags": "faststart"}}, "a.gif": {"codec": "gif", "pix_fmt": "rgb8"}}
    make_video(name, num_frames=25, **options.get(name, {}))
    frames, metadata = decode_video(f"{server.url}/stream/{name}")
    assert read_indices(frames) == [0, 10, 20] and metadata.total_num_frames == 25


def test_an_index_at_the_end_of_a_stream_without_a_size_is_said(server, tmp_path):
    write_video(tmp_path / "a.mp4", np.random.default_rng(0).integers(0, 255, (40, 48, 64, 3), dtype=np.uint8))
    error = error_of(f"{server.url}/stream/a.mp4")
    assert error.code == "network" and "without a size" in str(error) and "Range requests" in str(error)


def test_parts_of_a_file_are_those_that_were_asked_for(server, tmp_path, monkeypatch):
    monkeypatch.setattr(remote_file, "HEAD_SIZE", 100)
    monkeypatch.setattr(remote_file, "LONGEST_SKIP", 1000)
    data = np.random.default_rng(0).bytes(20_000)
    (tmp_path / "a.bin").write_bytes(data)
    for folder in ("", "parts/"):
        server.requests.clear()
        with RemoteFile(f"{server.url}/{folder}a.bin") as file:
            assert file.size == 20_000 and file.seekable()
            for start, size in ((0, 50), (30, 200), (10, 10), (900, 300), (15_000, 10), (14_000, 20), (19_990, 100)):
                assert file.seek(start) == start
                assert file.read(size) == data[start : start + size]
            assert file.seek(-5, 2) == file.tell() == 19_995
            assert file.seek(-1) == -1 and file.read(10) == data[-5:] and file.read(10) == b""
        asked = [request for _, request, _ in server.requests]
        assert len(asked) == (5 if folder else 3) and asked[0] == "bytes=0-"


@pytest.mark.parametrize("kind", ["hls", "dash", "ffconcat"])
def test_a_playlist_makes_no_second_request(server, tmp_path, kind):
    target = f"{server.url}/admin.ts?delete=all"
    content = {
        "hls": PLAYLIST.decode().format(target),
        "ffconcat": f"ffconcat version 1.0\nfile {target}\n",
        "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
        'mediaPresentationDuration="PT3S"><Period><AdaptationSet mimeType="video/mp4"><Representation id="1" '
        f'bandwidth="1"><BaseURL>{target}</BaseURL></Representation></AdaptationSet></Period></MPD>',
    }[kind]
    for name in ("list.mp4", "list.m3u8", "list"):
        (tmp_path / name).write_text(content)
        server.requests.clear()
        error = error_of(f"{server.url}/{name}")
        assert error.code == "not-a-video" and "playlist" in str(error)
        assert [path for path, _, _ in server.requests] == [f"/{name}"]


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("none.mp4", "missing"),
        ("status/404", "missing"),
        ("status/410", "missing"),
        ("status/401", "unreadable"),
        ("status/403", "unreadable"),
        ("status/429", "network"),
        ("status/500", "network"),
        ("status/503", "network"),
        ("ends/a.mp4", "network"),
        ("ends/a.mkv", "network"),
        ("reset/a.mp4", "network"),
        ("reset/a.mkv", "network"),
        ("empty.mp4", "empty"),
        ("page.mp4", "not-a-video"),
        ("redirect/file:///etc/passwd", "missing"),
        ("redirect/ftp://127.0.0.1/a.mp4", "network"),
    ],
)
def test_a_fault_of_the_network_is_none_of_the_video(server, tmp_path, path, code):
    noise = np.random.default_rng(0).integers(0, 255, (40, 48, 64, 3), dtype=np.uint8)
    if path.endswith(("a.mp4", "a.mkv")):
        write_video(tmp_path / path[-5:], noise, options={"movflags": "faststart"} if path.endswith("mp4") else {})
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "page.mp4").write_text("<html>404</html>")
    assert error_of(f"{server.url}/{path}").code == code


def test_servers_that_are_not_there_are_a_fault_of_the_network():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert error_of(f"http://127.0.0.1:{port}/a.mp4").code == "network"
    assert error_of("http://no-such-host.invalid/a.mp4").code == "network"


@pytest.mark.parametrize(
    "url", ["http://", "http:///a.mp4", "http://[::1/a.mp4", "http://host:port/a", "http://h:99999/a"]
)
def test_an_address_that_is_not_valid_is_missing(url):
    error = error_of(url)
    assert error.code == "missing" and "address that is not valid" in str(error)


@pytest.mark.parametrize("kind", ["drip", "endless"])
def test_a_file_that_does_not_end_is_a_fault_of_the_network(server, monkeypatch, kind):
    monkeypatch.setattr(remote_file, "TIME_LIMIT", 1.0)
    began = time.monotonic()
    error = error_of(f"{server.url}/{kind}/a.y4m")
    assert error.code == "network" and "no end after" in str(error) and "no Range requests" in str(error)
    assert time.monotonic() - began < 10


def test_the_user_of_a_url_is_known_to_its_server_alone(server, make_video):
    make_video("a.mp4", num_frames=12)
    other = server.url.replace("127.0.0.1", "localhost")
    url = server.url.replace("//", "//me%40home:s3cret@")
    assert len(decode_video(f"{url}/redirect/{other}/a.mp4")[0]) == 2
    users = {path.partition("/")[0] or path: user for path, _, user in server.requests}
    assert {user for path, _, user in server.requests if "redirect" in path} == {"Basic bWVAaG9tZTpzM2NyZXQ="}
    assert {user for path, _, user in server.requests if "redirect" not in path} == {None}, users


def test_letters_that_a_url_may_not_hold_are_escaped(server, make_video):
    make_video("é 你.mp4", num_frames=12)
    assert len(decode_video(f"{server.url}/é 你.mp4")[0]) == 2
    assert len(decode_video(f"{server.url.replace('http', 'HTTP')}/%C3%A9%20你.mp4")[0]) == 2


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("http://me:s3cret@host/a.mp4?token=t0ken#t=1", "http://host/a.mp4?..."),
        ("HTTPS://me:p@ss@host:8080/a@b.mp4", "HTTPS://host:8080/a@b.mp4"),
        ("rtsp://me:s3cret@camera/live", "rtsp://camera/live"),
        (" http://me:s3cret@host", " http://host"),
        ("http://host/a.mp4", "http://host/a.mp4"),
        ("clips/me@home?.mp4", "clips/me@home?.mp4"),
        ("C:\\clips\\a.mp4", "C:\\clips\\a.mp4"),
    ],
)
def test_the_safe_name_of_a_video(name, expected):
    assert safe_name(name) == expected


@pytest.mark.parametrize("path", ["none.mp4", "page.mp4", "reset/a.mkv", "status/500", "a.mkv"])
def test_secrets_of_a_url_stand_nowhere(server, tmp_path, path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("drl_tvr"), "propagate", True)
    noise = np.random.default_rng(0).integers(0, 255, (40, 48, 64, 3), dtype=np.uint8)
    data = write_video(tmp_path / "a.mkv", noise).read_bytes()
    (tmp_path / "a.mkv").write_bytes(data[: len(data) // 2] if path == "a.mkv" else data)
    (tmp_path / "page.mp4").write_text("<html>404</html>")
    url = f"{server.url.replace('//', '//me:s3cret@')}/{path}" + ("" if "/" in path else "?key=t0ken")
    try:
        decode_video(url)
    except VideoDecodeError as error:
        shown = traceback.format_exc() + repr(error) + error.path
    check = check_video(url, allow_truncated=path == "a.mkv")
    assert check.path.startswith(server.url)
    with pytest.raises(ValueError, match="expected a benchmark") as caught:
        find_target(url, tmp_path, None)
    for text in (shown, repr(check), caplog.text, str(caught.value)):
        assert "s3cret" not in text and "t0ken" not in text


@pytest.mark.parametrize("kind", ["short", "whole-later"])
def test_an_answer_that_is_shorter_than_the_file_is_followed_by_another_request(server, tmp_path, kind):
    content = np.random.default_rng(0).bytes(35000)
    (tmp_path / "a").write_bytes(content)
    with RemoteFile(f"{server.url}/range/{kind}/a") as file:
        assert file.read(40000) == content
        file.seek(12000)
        assert file.read(15000) == content[12000:27000]


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        ("other-start", "instead of those from 10000 on"),
        ("other-size", "size 35001 after size 35000"),
        ("other-version", "ETag"),
        ("gzip", "'gzip'"),
    ],
)
def test_an_answer_that_is_not_the_rest_of_the_file_is_an_error(server, tmp_path, kind, found):
    (tmp_path / "a").write_bytes(bytes(35000))
    with pytest.raises(VideoDecodeError, match=found) as caught:
        with RemoteFile(f"{server.url}/range/{kind}/a") as file:
            file.read(35000)
    assert caught.value.code == "network"


@pytest.mark.parametrize("address", ["http://[bad/", "http://127.0.0.1:port/x"])
def test_a_redirect_to_no_valid_address_is_typed(server, address):
    assert error_of(f"{server.url}/redirect/{address}").code == "network"


def test_only_the_time_of_the_server_counts(server, make_video, monkeypatch):
    make_video("a.mp4", num_frames=25)
    monkeypatch.setattr(remote_file, "TIME_LIMIT", 1.0)
    with RemoteFile(f"{server.url}/parts/a.mp4") as file:
        time.sleep(1.1)
        assert file.read(file.size)
