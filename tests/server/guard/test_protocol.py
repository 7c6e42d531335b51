"""The guard at the door of a real service: raw bytes over sockets, deadlines, limits, the end under load."""

from __future__ import annotations

import json
import os
import re
import select
import socket
import time
from contextlib import ExitStack
from urllib.parse import urlsplit

import httpx2
import pytest
from service_scenarios import (
    IMPATIENT,
    UNGUARDED,
    besiege,
    connect,
    event_of,
    exchange,
    is_logged,
    post_event,
    terminate_under_load,
)
from support import start_server, tlog

from tlog.server.guard.protocol import Silent

FULL = bool(os.environ.get("TLOG_FULL"))


@pytest.fixture(scope="module")
def server(module_directory):
    server = start_server(module_directory / "data", program=("-c", IMPATIENT))
    yield server
    assert server.stop() == 0


HEAD = b"POST /v1/audit/events HTTP/1.1\r\nHost: log\r\n"
# What stands between the fields of a valid head and the smuggled request: bytes, the status they deserve.
ODD_REQUESTS = {
    "length and coding": (HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "coding and length": (HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400),
    "two lengths": (HEAD + b"Content-Length: 0\r\nContent-Length: 200\r\n\r\n", 400),
    "two equal lengths": (HEAD + b"Content-Length: 0\r\nContent-Length: 0\r\n\r\n", 400),
    "list of lengths": (HEAD + b"Content-Length: 0, 0\r\n\r\n", 400),
    "signed length": (HEAD + b"Content-Length: +0\r\n\r\n", 400),
    "hexadecimal length": (HEAD + b"Content-Length: 0x0\r\n\r\n", 400),
    "huge length": (HEAD + b"Content-Length: 99999999999999999999999\r\n\r\n", 400),
    "length above the limit": (HEAD + b"Content-Length: 16777217\r\n\r\n", 413),
    "two codings": (HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", 400),
    "compressed coding": (HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400),
    "unknown coding": (HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
    "control character in coding": (HEAD + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", 400),
    "coding in HTTP/1.0": (b"POST / HTTP/1.0\r\nHost: log\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "bare line feeds": (b"GET /livez HTTP/1.1\nHost: log\n\n", 400),
    "bare line feed in a field": (HEAD + b"A: b\nContent-Length: 0\r\n\r\n", 400),
    "bare carriage return": (HEAD + b"A: b\rContent-Length: 0\r\n\r\n", 400),
    "folded field": (HEAD + b"A: b\r\n c\r\n\r\n", 400),
    "space before the colon": (HEAD + b"Content-Length : 0\r\n\r\n", 400),
    "space before the first field": (b"GET /livez HTTP/1.1\r\n Host: log\r\n\r\n", 400),
    "field without a name": (HEAD + b": b\r\n\r\n", 400),
    "zero byte in a field": (HEAD + b"A: b\0c\r\n\r\n", 400),
    "zero byte in the target": (b"GET /livez\0 HTTP/1.1\r\nHost: log\r\n\r\n", 400),
    "no host": (b"GET /livez HTTP/1.1\r\n\r\n", 400),
    "no host in HTTP/1.0": (b"GET /livez HTTP/1.0\r\n\r\n", 400),
    "two hosts": (b"GET /livez HTTP/1.1\r\nHost: log\r\nHost: evil\r\n\r\n", 400),
    "empty host": (b"GET /livez HTTP/1.1\r\nHost:\r\n\r\n", 400),
    "host with a path": (b"GET /livez HTTP/1.1\r\nHost: log/x\r\n\r\n", 400),
    "host with a user": (b"GET /livez HTTP/1.1\r\nHost: a@log\r\n\r\n", 400),
    "two keys": (b"GET /livez HTTP/1.1\r\nHost: log\r\nAuthorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n", 400),
    "whole URL as target": (b"GET http://evil/livez HTTP/1.1\r\nHost: log\r\n\r\n", 400),
    "target without a slash": (b"GET * HTTP/1.1\r\nHost: log\r\n\r\n", 400),
    "CONNECT": (b"CONNECT log:80 HTTP/1.1\r\nHost: log\r\n\r\n", 400),
    "HTTP/0.9": (b"GET /livez\r\n\r\n", 505),
    "HTTP/2 by force": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "HTTP/2.0": (b"GET /livez HTTP/2.0\r\nHost: log\r\n\r\n", 505),
    "small method": (b"get /livez HTTP/1.1\r\nHost: log\r\n\r\n", 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    "WebSocket": (b"GET /livez HTTP/1.1\r\nHost: log\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", 400),
    "upgrade with a body": (HEAD + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 0\r\n\r\n", 400),
    "chunk that ends in a line feed": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\n\n", 400),
    "chunk of overflowing size": (HEAD + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n", 400),
    "chunk longer than it says": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n", 400),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD_REQUESTS)
def test_a59_no_second_request_is_executed(server, name):
    request, status = ODD_REQUESTS[name]
    smuggled = event_of()
    answer = exchange(server, request + post_event(server.token, smuggled), timeout=5)
    assert answer.closed
    # The first error is the whole answer; where a body is at fault the missing key may be found first.
    assert len(answer.statuses) == 1
    assert answer.statuses[0] == status or (name.startswith("chunk") and answer.statuses[0] == 401), answer.data
    assert b"application/problem+json" in answer.data
    assert not is_logged(server, smuggled)


def test_a59_the_control_is_executed(server):
    event = event_of()
    answer = exchange(server, post_event(server.token, event, b"Connection: close"))
    assert answer.statuses == [201]
    assert is_logged(server, event)


def test_a59_pipelined_requests_are_not_executed(server):
    first, second = event_of(), event_of()
    answer = exchange(server, post_event(server.token, first) + post_event(server.token, second))
    assert answer.statuses == [201]
    assert (is_logged(server, first), is_logged(server, second)) == (True, False)


def test_a59_one_after_the_other_is_fine(server):
    with connect(server) as connection:
        for _ in range(3):
            connection.sendall(post_event(server.token))
            answer = b""
            while not answer.endswith(b"}]}"):
                answer += connection.recv(65_536)
            assert answer.startswith(b"HTTP/1.1 201")


def test_a59_a_trailer_field_is_no_header_field(server):
    """A key that comes after the body must not open what its head did not."""
    body = json.dumps(event_of()).encode()
    chunked = b"%x\r\n%b\r\n0\r\nAuthorization: Bearer %b\r\n\r\n" % (len(body), body, server.token.encode())
    head = HEAD + b"Content-Type: application/json\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n"
    assert exchange(server, head + b"\r\n" + chunked).statuses == [401]
    authorised = b"Authorization: Bearer %b\r\n\r\n" % server.token.encode()
    assert exchange(server, head + authorised + chunked).statuses == [201]


LARGE_HEADS = {
    "a field of 8 KiB and more": (b"A: " + b"x" * 8200 + b"\r\n", 431),
    "101 fields": (b"".join(b"A%d: x\r\n" % number for number in range(100)), 431),
    "20,000 fields": (b"A: x\r\n" * 20_000, 431),
    "16 KiB together": (b"".join(b"A%d: %b\r\n" % (number, b"x" * 1000) for number in range(17)), 431),
    "a field of 1 MB": (b"A: " + b"x" * 1_000_000 + b"\r\n", 431),
    "a field that never ends": (b"A: " + b"x" * 100_000, 431),
    "a name that never ends": (b"A" * 100_000, 431),
    "just below": (
        b"".join(b"A%d: %b\r\n" % (number, b"x" * 1000) for number in range(15)) + b"Connection: close\r\n",
        200,
    ),
}


@pytest.mark.parametrize("name", LARGE_HEADS)
def test_a61_large_heads(server, name):
    fields, status = LARGE_HEADS[name]
    answer = exchange(server, b"GET /livez HTTP/1.1\r\nHost: log\r\n" + fields, b"\r\n")
    assert answer.statuses in ([status], [] if len(fields) > 50_000 else [status]), (
        "a reset is possible while we still send"
    )


@pytest.mark.parametrize("size, status", [(9000, 414), (7000, 404)])
def test_a61_long_targets(server, size, status):
    target = b"/" + b"x" * size
    answer = exchange(server, b"GET " + target + b" HTTP/1.1\r\nHost: log\r\nConnection: close\r\n\r\n")
    assert answer.statuses == [status]


def test_a61_answers_of_the_guard_are_like_all_others(server):
    answer = exchange(server, b"GET /livez HTTP/1.1\r\n\r\n")
    head, _, body = answer.data.partition(b"\r\n\r\n")
    assert json.loads(body)["type"] == "urn:tlog:problem:malformed-request"
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    assert fields[b"x-content-type-options"] == b"nosniff"
    assert fields[b"connection"] == b"close"
    assert b"content-security-policy" in fields
    assert b"server" not in fields


@pytest.mark.parametrize("token", ["wrong", None], ids=["refused", "accepted"])
def test_an_answer_before_the_body_ends_the_connection_and_says_so(server, token):
    head, _, body = post_event(token or server.token).partition(b"\r\n\r\n")
    with connect(server, 10) as connection:
        connection.sendall(head + b"\r\n\r\n" + (body if token is None else b""))
        answer = connection.recv(65_536)
        fields = answer.partition(b"\r\n\r\n")[0].lower().split(b"\r\n")
        if token is None:
            assert fields[0] == b"http/1.1 201 created"
            assert b"connection: close" not in fields
        else:
            assert fields[0] == b"http/1.1 401 unauthorized"
            assert fields.count(b"connection: close") == 1
            connection.sendall(body)  # it is thrown away, and the answer is not lost with it
            while piece := connection.recv(65_536):
                answer += piece
            assert json.loads(answer.partition(b"\r\n\r\n")[2])["status"] == 401


# --- Deadlines -------------------------------------------------------------------------------------------------------


def sent_until_closed(connection, parts):
    """Send parts in a trickle; return how many went out before the service had enough."""
    for sent, part in enumerate(parts):
        try:
            connection.sendall(part)
        except OSError:
            return sent
        time.sleep(0.05)
    return len(parts)


def test_a62_a_head_that_trickles_is_cut_off(server):
    """Each byte comes in time, the head does not: the deadline is the head's, not the byte's."""
    parts = [b"GET /livez HTTP/1.1\r\nHost: log\r\nX: ", *[b"x"] * 60]
    with connect(server, 5) as connection:
        assert sent_until_closed(connection, parts) < len(parts)
    answer = exchange(server, parts[0], timeout=5)
    assert (answer.statuses, answer.closed) == ([408], True)


def test_a62_silent_and_idle_connections_are_closed(server):
    assert exchange(server, timeout=5).closed
    request = b"GET /livez HTTP/1.1\r\nHost: log\r\n\r\n"
    kept = exchange(server, request, timeout=5)
    assert (kept.statuses, kept.closed) == ([200], True)
    again = exchange(server, request, b"GET /livez HTTP/1.1\r\nHo", pause=0.1, timeout=5)
    assert (again.statuses, again.closed) == ([200, 408], True)


def test_a62_a_stalled_body_is_cut_off(server):
    event = event_of()
    whole = post_event(server.token, event)
    answer = exchange(server, whole[:-1], timeout=8)
    assert (answer.statuses, answer.closed) == ([408], True)
    assert not is_logged(server, event)


def test_a62_a_body_that_trickles_is_cut_off(server):
    whole = post_event(server.token)
    with connect(server, 8) as connection:
        connection.sendall(whole[:-100])
        assert sent_until_closed(connection, [b" "] * 90) < 90


def test_a62_a_slow_upload_that_goes_on_is_taken(server):
    """It takes twice the window of a body, with enough in each."""
    event = event_of()
    body = json.dumps(event).encode().ljust(24 << 10)
    head = post_event(server.token, event).partition(b"\r\n\r\n")[0]
    head = re.sub(rb"Content-Length: \d+", b"Content-Length: %d" % len(body), head) + b"\r\nConnection: close\r\n\r\n"
    step = len(body) // 12
    parts = [body[start : start + step] for start in range(0, len(body), step)]
    answer = exchange(server, head, *parts, pause=0.25, timeout=8)
    assert answer.statuses == [201]


def test_a60_a_body_nobody_wants_is_not_read(server):
    """Without a key the answer comes before the body, and the connection ends."""
    head = HEAD + b"Content-Type: application/json\r\nContent-Length: 1000000\r\n\r\n"
    answer = exchange(server, head + b" " * 10_000, timeout=5)
    assert (answer.statuses, answer.closed) == ([401], True)
    expecting = exchange(server, head.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"), timeout=5)
    assert expecting.statuses == [401]


def test_r18_half_open_and_idle_connections(server):
    siege = besiege(server, half_open=500 if FULL else 60, idle=200 if FULL else 30, limit=10)
    assert (siege.still_open, siege.failed) == (0, 0)
    assert len(siege.closed_after) == (700 if FULL else 90)


CROWDED = """
from tlog.cli import app as cli
from tlog.server.guard import protocol
protocol.BUSY, protocol.MAX_SILENT = 30, 8
cli.main()
"""


@pytest.mark.parametrize("options, staying", [((), 30), (("--trusted-proxy", "127.0.0.1"), 40)], ids=["", "a proxy"])
def test_s13_one_address_has_few_silent_connections_once_many_are_open(module_directory, options, staying):
    server = start_server(module_directory / f"crowded-{staying}", *options, token="none", program=("-c", CROWDED))
    address = urlsplit(server.url)
    place = address.hostname, address.port
    try:
        with ExitStack() as stack:
            silent = [stack.enter_context(socket.create_connection(place, timeout=5)) for _ in range(40)]
            wait_until(lambda: sum(map(is_answered, silent)) == 40 - staying)
            # Whoever comes from elsewhere is served, and so is whoever asks at once.
            elsewhere = stack.enter_context(socket.create_connection(place, timeout=5, source_address=("127.0.0.2", 0)))
            elsewhere.sendall(b"GET /livez HTTP/1.1\r\nHost: log\r\n\r\n")
            assert elsewhere.recv(100).startswith(b"HTTP/1.1 200")
    finally:
        assert server.stop() == 0


def is_answered(connection):
    readable, _, _ = select.select([connection], [], [], 0)
    return bool(readable)


def wait_until(what):
    deadline = time.monotonic() + 8
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_s13_who_sent_a_head_is_not_counted():
    silent = Silent(["10.0.0.1"])
    assert [silent.begin("a"), silent.begin("a"), silent.begin("b"), silent.begin("10.0.0.1"), silent.begin("")] == [
        1,
        2,
        1,
        0,
        0,
    ]
    for address in ("a", "a", "b", "10.0.0.1", "", "nobody"):
        silent.end(address)
    assert not silent._counts


def test_without_the_guard_all_this_goes_through(module_directory):
    """The control: the same attacks on uvicorn's own protocol."""
    bare = start_server(module_directory / "bare", program=("-c", UNGUARDED))
    try:
        end = b"Connection: close\r\n\r\n"
        for head in (b"", b"Host: a\r\nHost: b\r\n", b"Host: log\r\n" + LARGE_HEADS["101 fields"][0]):
            assert exchange(bare, b"GET /livez HTTP/1.1\r\n" + head + end).statuses == [200]
        first, second = event_of(), event_of()
        both = post_event(bare.token, first) + post_event(bare.token, second)
        assert exchange(bare, both, timeout=2).statuses == [201, 201]
        assert is_logged(bare, second)
        slow = exchange(bare, b"GET /livez HTTP/1.1\r\nHost: log\r\nX: ", timeout=2)
        assert (slow.statuses, slow.closed) == ([], False)
        stalled = exchange(bare, post_event(bare.token)[:-1], timeout=4)
        assert (stalled.statuses, stalled.closed) == ([], False)
    finally:
        assert bare.stop() == 0


def test_too_many_connections_are_told_so(module_directory, server):
    program = IMPATIENT.replace("cli.main()", "protocol.MAX_CONNECTIONS, protocol.CROWDED = 8, 4\ncli.main()")
    program = program.replace("= 0.5, 1.5", "= 3.0, 3.0")  # idle connections shall be there when it comes to it
    small = start_server(module_directory / "small", program=("-c", program))
    try:
        idle = [connect(small) for _ in range(8)]
        answer = exchange(small, b"GET /livez HTTP/1.1\r\nHost: log\r\n\r\n", timeout=5)
        assert answer.statuses == [503]
        assert b"application/problem+json" in answer.data
        assert b"retry-after: 1" in answer.data.lower()
        for connection in idle[2:]:
            connection.close()
        time.sleep(0.2)
        kept = exchange(small, b"GET /livez HTTP/1.1\r\nHost: log\r\n\r\n", timeout=2)
        assert (kept.statuses, kept.closed) == ([200], False), "the control: with room a connection is kept"
        crowd = [connect(small) for _ in range(3)]
        ended = exchange(small, b"GET /livez HTTP/1.1\r\nHost: log\r\n\r\n", timeout=2)
        assert (ended.statuses, ended.closed) == ([200], True)
        for connection in idle + crowd:
            connection.close()
    finally:
        assert small.stop() == 0


# --- The access log --------------------------------------------------------------------------------------------------


def lines_of(server, last):
    """Return the access lines, once the line of the route `last` is there: lines are written a moment after the answer."""
    deadline = time.monotonic() + 10
    while True:
        lines = [line for line in map(json.loads, server.said.read_text().splitlines()) if line["event"] == "request"]
        if (lines and lines[-1].get("route") == last) or time.monotonic() > deadline:
            return lines
        time.sleep(0.05)


def test_a64_each_request_is_one_line_with_the_keys_id(server):
    event = event_of()
    secret = "Jane%0D%0Aforged"
    key_id = server.token.split("_")[1]
    headers = {"Authorization": f"Bearer {server.token}"}
    httpx2.post(server.url + "/v1/audit/events", json=event, headers=headers)
    path = "/v1/audit/resource/patient_record/Jane/access-log"
    httpx2.get(server.url + path, params={"userId": "jane"}, headers=headers, timeout=30)
    httpx2.get(server.url + f"/{secret}")
    httpx2.get(server.url + "/v1/audit/verify")
    appended, asked, unknown, refused = lines_of(server, "/v1/audit/verify")[-4:]
    assert (appended["method"], appended["route"], appended["status"], appended["key"]) == (
        "POST",
        "/v1/audit/events",
        201,
        key_id,
    )
    assert (asked["route"], asked["key"]) == ("/v1/audit/resource/{type}/{id:path}/access-log", key_id)
    assert (unknown["route"], unknown["status"], unknown["key"]) == (None, 404, None)
    assert (refused["route"], refused["status"], refused["key"]) == ("/v1/audit/verify", 401, None)
    said = server.said.read_text()
    for personal in ("Jane", "jane", "forged", event["actor"]["userId"], server.token):
        assert personal not in said


# --- The end ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("turn", range(20 if FULL else 1))
def test_r8_sigterm_under_load(directory, turn):
    server = start_server(directory / "data")
    ending = terminate_under_load(server, stalled=50 if FULL else 20)
    assert ending.exit_code == 0, server.said.read_text()
    assert ending.seconds <= 11
    assert set(ending.statuses) <= {201, 503}
    assert ending.acknowledged
    assert ending.without_retry_after == 0
    assert all(each == [503] for each in ending.stalled_answers), ending.stalled_answers
    # Not ready first, while requests are still taken.
    assert 503 in ending.ready
    assert ending.ready == sorted(ending.ready)
    exported = directory / "exported.ndjson"
    tlog("export", "--ndjson", exported, "--data", directory / "data")
    stored = {json.loads(line)["eventId"] for line in exported.read_text().splitlines()}
    assert set(ending.acknowledged) <= stored
