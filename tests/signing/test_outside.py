"""Requests to addresses of the operator's files (threat A65): which are allowed, and what an answer may cost."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time

import pytest

from tlog.errors import MalformedInputError
from tlog.signing import outside as module
from tlog.signing.outside import Answer, Outside, OutsideError, check_url

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    "url, as_asked",
    [
        ("https://w.example/", "https://w.example"),
        ("https://w.example:8443/a/b/", "https://w.example:8443/a/b"),
        ("http://127.0.0.1:7380", "http://127.0.0.1:7380"),
        ("http://localhost", "http://localhost"),
        ("http://[::1]:7380/", "http://[::1]:7380"),
    ],
)
def test_addresses_that_may_be_asked(url, as_asked):
    assert check_url(url) == as_asked


@pytest.mark.parametrize(
    "url",
    [
        "", "w.example", "//w.example", "http://w.example/", "http://10.0.0.1/", "ftp://w.example/", "https://", "https://u@w.example/",
        "https://u:p@w.example/", "https://w.example/?a", "https://w.example/#a", "https://w.example:0/", "https://w.example:99999/",
        "https://[::1/", "http://127.0.0.1.example/", "file:///etc/passwd",
    ],
)  # fmt: skip
def test_addresses_that_may_not_be_asked(url):
    with pytest.raises(MalformedInputError, match="the address of a witness begins with https://"):
        check_url(url)


async def served(script):
    """Answer one connection after the other with a script; return the URL and what ends that."""

    async def handle(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        with contextlib.suppress(ConnectionError):  # who asked may have had enough
            await script(reader, writer)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", server


async def ask_one(script, *, seconds=5.0, method="GET"):
    url, server = await served(script)
    outside = Outside(seconds)
    try:
        return await outside.ask(method, f"{url}/x", b"body" if method == "POST" else None)
    finally:
        await outside.close()
        server.close()


def saying(head, body=b""):
    async def script(_, writer):
        writer.write(head + b"\r\nConnection: close\r\n\r\n" + body)
        await writer.drain()

    return script


async def test_an_answer_is_taken_whole():
    head = b"HTTP/1.1 409 Conflict\r\nContent-Type: Text/X.tlog.size; charset=x\r\nContent-Length: 2"
    assert await ask_one(saying(head, b"7\n"), method="POST") == Answer(409, "text/x.tlog.size", b"7\n")
    assert await ask_one(saying(b"HTTP/1.1 200 OK\r\nContent-Length: 0")) == Answer(200, "", b"")


async def test_an_answer_that_is_too_long_or_too_late_is_none():
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 65537"
    with pytest.raises(OutsideError, match="longer than 65536 bytes"):
        await ask_one(saying(head, bytes(65537)))
    assert len((await ask_one(saying(b"HTTP/1.1 200 OK\r\nContent-Length: 65536", bytes(65536)))).body) == 65536

    async def silence(reader, _):
        await reader.read()  # until whoever asked is gone

    began = time.monotonic()
    with pytest.raises(OutsideError, match=r"no answer within 0\.05 s"):
        await ask_one(silence, seconds=0.05)
    assert time.monotonic() - began < 20, "nobody waits until the other side ends"
    with pytest.raises(OutsideError):
        await ask_one(saying(b"nonsense"))


async def test_nobody_is_sent_elsewhere():
    url, server = await served(saying(b"HTTP/1.1 200 OK\r\nContent-Length: 5", b"found"))
    try:
        head = b"HTTP/1.1 307 Temporary Redirect\r\nContent-Length: 0\r\nLocation: " + url.encode()
        assert (await ask_one(saying(head))).status == 307
    finally:
        server.close()


async def test_nobody_listens():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        outside = Outside(5)
        with pytest.raises(OutsideError):
            await outside.ask("GET", f"http://127.0.0.1:{taken.getsockname()[1]}/x")
        await outside.close()


@pytest.mark.parametrize(
    "addresses, message",
    [
        (["10.0.0.1"], "private network"),
        (["192.168.7.1"], "private network"),
        (["127.0.0.1"], "private network"),
        (["169.254.169.254"], "private network"),
        (["::1"], "private network"),
        (["fd00::1"], "private network"),
        (["::ffff:10.0.0.1"], "private network"),
        (["224.0.0.1"], "private network"),
        (["93.184.215.14", "10.0.0.1"], "private network"),
        ([], "unknown"),
    ],
)
async def test_a_name_that_leads_inside_is_not_followed(monkeypatch, addresses, message):
    async def resolve(*_, **__):
        if not addresses:
            raise socket.gaierror(-2, "Name or service unknown")
        return [(0, 0, 0, "", (address, 443)) for address in addresses]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve, raising=False)
    outside = Outside(5)
    with pytest.raises(OutsideError, match=message):
        await outside.ask("GET", "https://w.example/checkpoint")
    await outside.close()


async def test_the_connection_goes_to_the_address_that_was_looked_at(monkeypatch):
    """A name that resolves anew for the connection could lead elsewhere; TLS is checked against the name all the same."""
    asked = []

    async def resolve(*_):
        return "93.184.215.14"

    async def send(request, *, stream):
        asked.append((str(request.url), request.headers["host"], request.extensions["sni_hostname"]))
        raise module.httpx2.ConnectError("not today")  # noqa: TRY003, EM101

    monkeypatch.setattr(module, "_resolve", resolve)
    outside = Outside(5)
    monkeypatch.setattr(outside._client, "send", send)
    with pytest.raises(OutsideError, match="not today"):
        await outside.ask("GET", "https://w.example:8443/checkpoint")
    await outside.close()
    assert asked == [("https://93.184.215.14:8443/checkpoint", "w.example:8443", "w.example")]
