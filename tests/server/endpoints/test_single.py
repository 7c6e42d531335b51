"""One event in a request: the quick way and the application's say and do the same, on a real service."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import time
from contextlib import asynccontextmanager

import pytest
from service_scenarios import connect, event_of, exchange, is_logged, post_event
from support import start_server, tlog

from tlog.errors import OverloadedError, UntrueClockError
from tlog.server.app import create_app
from tlog.server.endpoints.single import Singles
from tlog.server.guard.auth import Authenticator, new_token

# `tlog` whose quick way says so in its answers, and that looks a key up once: which way a request goes depends on that.
MARKED = """
from tlog.cli import app as cli
from tlog.server.guard import auth, quick
auth.CACHE_SECONDS = 3600.0
quick._SECURITY = b"x-way: quick\\r\\n" + quick._SECURITY
cli.main()
"""
MARK = b"x-way: quick\r\n"
# A service that lets in whoever comes.
OPEN = MARKED.replace(
    "cli.main()",
    """
from tlog.server.guard.admission import Admission
Admission.seen = lambda self, authorization: next(iter(self._authenticator._known.values())).key
cli.main()
""",
)


@pytest.fixture(scope="module")
def server(module_directory):
    server = start_server(module_directory / "data", program=("-c", MARKED))
    assert exchange(server, post_event(server.token, None, b"Connection: close")).statuses == [
        201
    ]  # the key is known now
    yield server
    assert server.stop() == 0


def key_of(server, *options):
    made = tlog("token", "create", "--data", server.data, "--principal", "other", "--json", *options)
    return json.loads(made.stdout)["token"]


@pytest.fixture(scope="module")
def tokens(server):
    """Keys that may read only, and that may append once a second."""
    return {"reader": key_of(server, "--scope", "read"), "slow": key_of(server, "--scope", "append", "--rate", "1")}


def request(server, body, *fields, token=None):
    """Return a POST of some bytes with the server's key, or another one."""
    head = [
        b"POST /v1/audit/events HTTP/1.1",
        b"Host: log",
        b"Authorization: Bearer " + (server.token if token is None else token).encode(),
    ]
    return b"\r\n".join([*head, b"Content-Length: %d" % len(body), *fields]) + b"\r\n\r\n" + body


def ask(server, whole, *, quick):
    """Send a request in one piece, which may go the quick way, or with a pause before its last byte; return its answer."""
    parts = (whole,) if quick else (whole[:-1], whole[-1:])
    with connect(server) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for part in parts:
            connection.sendall(part)
            time.sleep(0.05 if len(parts) > 1 else 0)
        answer = b""
        while not is_whole(answer):
            answer += connection.recv(65_536)
    return answer


def is_whole(answer):
    head, end, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head)
    return bool(end) and length is not None and len(body) >= int(length[1])


def plain(answer):
    """Return an answer without the date, the mark, and what no two events share."""
    text = re.sub(rb"date: [^\r]*\r\n", b"", answer).replace(MARK, b"")
    text = re.sub(rb'"(eventId|leafHash|chainHash|loggedAt)":"[^"]*"', rb'"\1":"*"', text)
    text = re.sub(rb'"index":[0-9]+', b'"index":*', text)
    return re.sub(rb"content-length: [0-9]+", b"content-length: *", text)


def body(**members):
    return json.dumps({**event_of(), **members}).encode()


KNOWN = event_of()
# Bodies and fields of requests, made anew for each way, and whether the quick way answers them.
REQUESTS = {
    "an event": (lambda: (body(),), True),
    "with its type": (lambda: (body(), b"Content-Type: application/json"), True),
    "with space around": (lambda: (b" \r\n" + body() + b"\n",), True),
    "known": (lambda: (json.dumps(KNOWN).encode(),), True),
    "in conflict": (lambda: (json.dumps({**KNOWN, "action": "delete"}).encode(),), True),
    "far ahead": (lambda: (body(timestamp="2099-01-01T00:00:00Z"),), True),
    "not valid": (lambda: (body(action=7, extra="x"),), True),
    "broken off": (lambda: (b'{"eventId":',), True),
    "two in one text": (lambda: (body() + body(),), True),
    "an empty object": (lambda: (b"{}",), True),
    "not UTF-8": (lambda: (b'{"\xff":1}',), True),
    "a list": (lambda: (b"[" + body() + b"]",), False),
    "no JSON": (lambda: (b"event",), False),
    "a byte order mark": (lambda: (b"\xef\xbb\xbf" + body(),), False),
    "another type": (lambda: (body(), b"Content-Type: text/plain"), False),
    "lines": (lambda: (body(), b"Content-Type: application/x-ndjson"), False),
    "compressed": (lambda: (body(), b"Content-Encoding: gzip"), False),
    "a short answer": (lambda: (body(), b"Prefer: return=minimal"), False),
    "the last of its connection": (lambda: (body(), b"Connection: close"), True),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_both_ways_say_the_same(server, name):
    make, is_quick = REQUESTS[name]
    exchange(server, post_event(server.token, KNOWN, b"Connection: close"))
    quick, slow = (ask(server, request(server, *make()), quick=way) for way in (True, False))
    assert (MARK in quick, MARK in slow) == (is_quick, False)
    assert plain(quick) == plain(slow) or not is_quick


@pytest.mark.parametrize("who", ["nobody", "malformed", "unknown", "reader"])
def test_both_ways_refuse_the_same(server, tokens, who):
    token = {"nobody": "", "malformed": "tlog_x", "unknown": server.token[:-1] + "-", **tokens}[who]
    event = event_of()
    exchange(server, request(server, json.dumps(event).encode(), b"Connection: close", token=token))
    whole = request(server, json.dumps(event).encode(), token=token)
    quick, slow = ask(server, whole, quick=True), ask(server, whole, quick=False)
    # Who is refused before the body is whole may not send the next request on that connection.
    assert plain(quick) == plain(slow).replace(b"connection: close\r\n", b"")
    assert quick.startswith(b"HTTP/1.1 403" if who == "reader" else b"HTTP/1.1 401")
    assert not is_logged(server, event)


def test_a_rate_is_one_rate_on_both_ways(server, tokens):
    statuses = []
    for _ in range(4):
        statuses += exchange(server, post_event(tokens["slow"], None, b"Connection: close")).statuses
    assert set(statuses) == {201, 429}, statuses


def test_the_control_without_admission_lets_everybody_in(module_directory):
    server = start_server(module_directory / "open", program=("-c", OPEN))
    try:
        exchange(server, post_event(server.token, None, b"Connection: close"))
        event = event_of()
        answer = ask(server, request(server, json.dumps(event).encode(), token="tlog_x"), quick=True)
        assert (MARK in answer, answer.startswith(b"HTTP/1.1 201")) == (True, True)
        assert is_logged(server, event)
    finally:
        server.stop()


def test_a_key_is_looked_up_first_and_then_it_is_quick(server):
    token = key_of(server, "--scope", "append")
    answers = [ask(server, request(server, body(), token=token), quick=True) for _ in range(2)]
    assert [MARK in answer for answer in answers] == [False, True]


def test_one_after_the_other_on_one_connection(server):
    with connect(server) as connection:
        for _ in range(5):
            connection.sendall(post_event(server.token))
            answer = b""
            while not is_whole(answer):
                answer += connection.recv(65_536)
            assert answer.startswith(b"HTTP/1.1 201")


def test_of_many_at_once_only_the_wrong_ones_are_refused(server):
    events = [{**event_of(), **({"action": 7} if number % 3 == 0 else {})} for number in range(30)]
    connections = [connect(server) for _ in events]
    for connection, event in zip(connections, events, strict=True):
        connection.sendall(post_event(server.token, event, b"Connection: close"))
    for number, connection in enumerate(connections):
        answer = b""
        while piece := connection.recv(65_536):
            answer += piece
        connection.close()
        assert answer.startswith(b"HTTP/1.1 422" if number % 3 == 0 else b"HTTP/1.1 201"), answer
    assert [is_logged(server, event) for event in events[:6]] == [False, True, True, False, True, True]


# --- In this process ---------------------------------------------------------------------------------------------------


class FakeHeld:
    """A request on the quick way, and what became of it."""

    def __init__(self, token, content, *, disconnected=False):
        self.authorization, self.body, self.length = f"Bearer {token}", bytearray(content), len(content)
        self.disconnected, self.began = disconnected, time.perf_counter()
        self.answers, self.handed_over = [], False

    def hand_over(self):
        self.handed_over = True

    def answer(self, response):
        self.answers.append((response.status_code, json.loads(bytes(response.body))))


class Lines(list):
    def write(self, method, route, status, *, key_id, sent, seconds):
        assert seconds >= 0
        self.append((method, route, status, key_id, sent > 0))


@asynccontextmanager
async def singles_of(log):
    token, key = new_token(bytes(32), "p", ["append"], log.clock())

    async def find(_):
        return key

    authenticator = Authenticator(find, bytes(32), log.clock)
    service = create_app(log, authenticator).state.service
    await authenticator.check(f"Bearer {token}", "append")
    service.access_log = lines = Lines()
    yield Singles(service), service, token, key.key_id, lines


async def until(what):
    async with asyncio.timeout(30):
        while not what():  # noqa: ASYNC110 - there is nothing to wait for
            await asyncio.sleep(0.01)


@pytest.mark.anyio
async def test_memory_is_given_back_and_lines_are_written(opened):
    async with opened() as log, singles_of(log) as (singles, service, token, key_id, lines):
        free = service.admission.account._free
        good, wrong = FakeHeld(token, body()), FakeHeld(token, b'{"eventId":7}')
        gone = FakeHeld(token, body(), disconnected=True)
        for held in (good, wrong, gone):
            singles.take(held)
        await until(lambda: good.answers and wrong.answers and len(lines) == 3)
        assert (good.answers[0][0], wrong.answers[0][0], gone.answers) == (201, 422, [])
        append = ("POST", "/v1/audit/events")
        assert sorted(lines) == [(*append, 0, None, False), (*append, 201, key_id, True), (*append, 422, key_id, True)]
        assert (service.admission.account._free, singles._under_way) == (free, set())


@pytest.mark.anyio
async def test_what_has_to_wait_is_handed_over(opened):
    async with opened() as log, singles_of(log) as (singles, _, token, _, lines):

        async def gate():
            """Open at once."""

        log.appender.gate = gate
        held = FakeHeld(token, body())
        singles.take(held)
        await until(lambda: held.handed_over)
        assert (held.answers, lines) == ([], [])


@pytest.mark.anyio
async def test_a_log_that_takes_nothing_refuses(opened, monkeypatch):
    async with opened() as log, singles_of(log) as (singles, service, token, _, _):
        free = service.admission.account._free

        def full(*_):
            message = "nothing goes"
            raise OverloadedError(message)

        for place in (log.appender, service.admission.account):
            with monkeypatch.context() as patched:
                patched.setattr(place, "submit" if place is log.appender else "grow", full)
                held = FakeHeld(token, body())
                singles.take(held)
                await until(lambda held=held: held.answers)
            assert (held.answers[0][0], held.answers[0][1]["detail"]) == (503, "nothing goes")
            assert service.admission.account._free == free


@pytest.mark.anyio
async def test_a_bug_is_an_answer_too(opened, monkeypatch):
    async with opened() as log, singles_of(log) as (singles, service, token, _, _):
        monkeypatch.setattr("tlog.server.endpoints.single.draft_events", lambda *_: 1 / 0)
        helds = [FakeHeld(token, body()) for _ in range(2)]
        for held in helds:
            singles.take(held)
        await until(lambda: all(held.answers for held in helds))
        assert {held.answers[0][0] for held in helds} == {500}
        assert not singles._under_way
        assert service.turns._appends == 0


@pytest.mark.anyio
async def test_a_clock_that_is_not_believed_refuses_before_anything_is_appended(opened, monkeypatch):
    async with opened() as log, singles_of(log) as (singles, service, token, _, _):

        def untrue():
            message = "the clock leapt"
            raise UntrueClockError(message)

        before = log.appender.groups
        held = FakeHeld(token, body())
        with monkeypatch.context() as patched:
            patched.setattr("tlog.server.endpoints.single.latest_second", lambda _: untrue())
            singles.take(held)
            await until(lambda: held.answers)
        assert (held.answers[0][0], held.answers[0][1]["detail"]) == (503, "the clock leapt")
        assert (log.appender.waiting_events, log.appender.groups, service.turns._appends) == (0, before, 0)


@pytest.mark.anyio
async def test_one_that_fails_at_the_door_takes_nobody_with_it(opened, monkeypatch):
    async with opened() as log, singles_of(log) as (singles, _, token, _, _):
        bad, good = FakeHeld(token, body()), FakeHeld(token, body())
        monkeypatch.setattr(bad, "body", None)
        singles.take(bad)
        singles.take(good)
        await until(lambda: bad.answers and good.answers)
        assert (bad.answers[0][0], good.answers[0][0]) == (500, 201)


@pytest.mark.anyio
async def test_who_still_waits_at_the_end_is_told(opened):
    async with opened() as log, singles_of(log) as (singles, _, token, _, _):
        held = FakeHeld(token, body())
        singles.take(held)
        singles._turn()
        before = log.appender.groups
        singles.refuse()
        assert (held.answers[0][0], "stopping" in held.answers[0][1]["detail"]) == (503, True)
        await until(lambda: log.appender.groups > before)
        await asyncio.sleep(0)
        assert len(held.answers) == 1


@pytest.mark.anyio
async def test_more_than_a_turn_takes_is_left_to_the_next_one(opened):
    async with opened() as log, singles_of(log) as (singles, _, token, _, _):
        helds = [FakeHeld(token, body()) for _ in range(250)]
        for held in helds:
            singles.take(held)
        await until(lambda: all(held.answers for held in helds))
        assert {held.answers[0][0] for held in helds} == {201}
