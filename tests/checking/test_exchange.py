"""An exchange with a stranger ends: after two minutes, a second informational answer, or a head of 16 KiB."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

import httpcore2
import pytest

from tlog.checking import exchange, mirror
from tlog.checking.exchange import MAX_HEAD_SIZE, BoundedBackend, TooSlowError
from tlog.checking.mirror import open_mirror
from tlog.errors import MalformedInputError, OverloadedError

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"
EARLY_HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"


@contextlib.contextmanager
def saying(parts):
    """Serve parts of raw bytes to each connection, until nobody listens any more; yields a URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection, contextlib.suppress(OSError):
                        connection.recv(65_536)
                        for part in parts():
                            connection.sendall(part)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(30)


def dripping(data, pause=0.05):
    def parts():
        for byte in data:
            time.sleep(pause)
            yield bytes([byte])

    return parts


def endless(part):
    def parts():
        while True:
            yield part

    return parts


def read(parts):
    with saying(parts) as url, open_mirror(url) as source:
        return source.checkpoint()


def head_of(size):
    frame = len(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX: \r\n\r\n")
    return b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX: " + b"x" * (size - frame) + b"\r\n\r\n"


GOOD = {
    "one part": lambda: [ANSWER],
    "byte by byte": dripping(ANSWER, 0),
    "one informational answer first": lambda: [EARLY_HINTS, ANSWER],
    "both in one part": lambda: [EARLY_HINTS + ANSWER],
    "bare line ends": lambda: [ANSWER.replace(b"\r\n", b"\n")],
    "head of 16 KiB": lambda: [head_of(MAX_HEAD_SIZE), b"abc"],
}


@pytest.mark.parametrize("kind", GOOD)
def test_what_keeps_to_the_bounds_is_read(kind):
    """The controls."""
    assert read(GOOD[kind]) == b"abc"


def test_the_body_may_look_like_heads():
    body = EARLY_HINTS * 3
    assert read(lambda: [b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body), body]) == body


UNBOUNDED = {
    "second informational answer": lambda: [EARLY_HINTS, EARLY_HINTS, ANSWER],
    "endless informational answers": endless(EARLY_HINTS),
    "100 Continue again and again": endless(b"HTTP/1.1 100 Continue\r\n\r\n"),
    "head of a byte more": lambda: [head_of(MAX_HEAD_SIZE + 1), b"abc"],
    "head without an end": endless(b"X: y\r\n"),
    "line without an end": endless(b"x" * 1000),
    "informational head without an end": lambda: [b"HTTP/1.1 103 x\r\n", *[b"X: y\r\n"] * 5000],
}


@pytest.mark.parametrize("kind", UNBOUNDED)
def test_what_does_not_is_left(kind):
    """S11: an HTTP library waits for as long as something comes."""
    with pytest.raises(
        MalformedInputError, match=r"informational answer after the other|head of more than 16,384|sent a head"
    ):
        read(UNBOUNDED[kind])


@pytest.mark.parametrize("slow", [ANSWER, b"HTTP/1.1 200 OK\r\nContent-Length: 300\r\n\r\n" + b"x" * 300])
def test_a_slow_head_and_a_slow_body_end_at_the_deadline(monkeypatch, slow):
    """S11: each wait is short, their sum is not."""
    monkeypatch.setattr(mirror, "_ANSWER_SECONDS", 0.5)
    with pytest.raises(OverloadedError, match=r"checkpoint did not arrive|ReadTimeout"):
        read(dripping(slow))


def test_the_deadline_holds_for_all_addresses_of_a_name(monkeypatch):
    bounds = BoundedBackend()
    tried = []

    def silent(host, *_):
        tried.append(host)
        bounds.begin(0 if len(tried) == 3 else 60)
        raise httpcore2.ConnectTimeout

    many = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"192.0.2.{number}", 443)) for number in range(100)]
    monkeypatch.setattr(exchange.socket, "getaddrinfo", lambda *_, **__: many)
    monkeypatch.setattr(bounds._inner, "connect_tcp", silent)
    bounds.begin(60)
    with pytest.raises(TooSlowError):
        bounds.connect_tcp("example.com", 443, timeout=20)
    assert tried == ["192.0.2.0", "192.0.2.1", "192.0.2.2"]


def test_a_name_that_leads_nowhere(monkeypatch):
    bounds = BoundedBackend()
    bounds.begin(60)
    assert 0 < bounds.left(None) <= 60
    monkeypatch.setattr(exchange.socket, "getaddrinfo", lambda *_, **__: [])
    with pytest.raises(httpcore2.ConnectError, match="no address"):
        bounds.connect_tcp("example.com", 443)

    def unknown(*_, **__):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(exchange.socket, "getaddrinfo", unknown)
    with pytest.raises(httpcore2.ConnectError, match="not known"):
        bounds.connect_tcp("example.invalid", 443)


def test_a_handshake_that_is_none_is_left():
    with (
        saying(lambda: [b"no TLS"]) as url,
        open_mirror(url.replace("http:", "https:")) as source,
        pytest.raises(OverloadedError, match="ConnectError"),
    ):
        source.checkpoint()


class Line:
    """A connection on which the same arrives again and again, before TLS and after."""

    def read(self, *_):
        return EARLY_HINTS

    def start_tls(self, *given):
        self.given = given
        return self


def test_the_bounds_hold_below_tls_as_well():
    bounds, line = BoundedBackend(), Line()
    bounds.begin(60)
    secured = exchange._BoundedStream(line, bounds).start_tls("context", "mirror.example", timeout=20)
    assert line.given == ("context", "mirror.example", 20)
    assert secured.read(100) == EARLY_HINTS
    with pytest.raises(exchange.HeadError, match="one informational answer after the other"):
        secured.read(100)
    bounds.begin(0)
    for wait in (lambda: secured.read(100), lambda: secured.start_tls("context")):
        with pytest.raises(TooSlowError):
            wait()


def test_a_proxy_of_the_environment_is_asked(monkeypatch):
    """With a password of its own, and not for this machine."""
    asked = []

    def parts():
        return [ANSWER]

    with saying(parts) as url:
        monkeypatch.setenv("http_proxy", url)
        monkeypatch.setenv("https_proxy", url.replace("//", "//name:secret@"))
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.setattr(exchange.socket, "getaddrinfo", lambda host, port, **_: asked.append((host, port)) or [])
        for where, expected in (
            ("https://mirror.example", "127.0.0.1"),
            (f"http://localhost:{url.rpartition(':')[2]}", "localhost"),
        ):
            with open_mirror(where) as source, pytest.raises(OverloadedError, match="ConnectError"):
                source.checkpoint()
            assert asked.pop() == (expected, int(url.rpartition(":")[2]))
        monkeypatch.setenv("https_proxy", "socks5://127.0.0.1:1")
        with open_mirror("https://mirror.example") as source, pytest.raises(OverloadedError, match="ConnectError"):
            source.checkpoint()
        assert asked.pop() == ("mirror.example", 443)
