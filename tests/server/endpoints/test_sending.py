"""What is large waits for whoever reads it, counts until it is sent, and is given up when they go."""

from __future__ import annotations

import asyncio
import json

import pytest
from service_scenarios import event_of
from starlette.requests import ClientDisconnect, Request
from support import append, sample_events

from tlog.answering import query as looked_through
from tlog.answering.bulk import Head
from tlog.core.question import parse_question
from tlog.server.app import create_app
from tlog.server.endpoints import asking, sending
from tlog.server.endpoints.sending import unless_gone
from tlog.server.guard import bulk
from tlog.server.guard.auth import Authenticator, new_token

pytestmark = pytest.mark.anyio

SECONDS = 30


class Asker:
    """Asks over ASGI, takes what is sent only when told to, and goes when told to."""

    def __init__(self, app, token, query, path="/v1/audit/export"):
        self.sent = []
        self.takes = asyncio.Semaphore(0)
        self.gone = asyncio.Event()
        headers = [(b"authorization", f"Bearer {token}".encode()), (b"host", b"log")]
        self.scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": headers,
            "client": ("127.0.0.1", 1),
            "server": ("log", 80),
        }
        self.asking = asyncio.create_task(app(self.scope, self.receive, self.send))
        self._begun = False

    async def receive(self):
        if not self._begun:
            self._begun = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message):
        self.sent.append(message)
        await self.takes.acquire()

    def body(self):
        return b"".join(message.get("body", b"") for message in self.sent)


async def until(holds):
    async with asyncio.timeout(SECONDS):
        while not holds():  # noqa: ASYNC110 - there is nothing to wait for
            await asyncio.sleep(0.01)


@pytest.fixture
async def service(opened):
    """An application over 320 events, 20 of which are large, a token to read them, and their log."""
    async with opened(index=True) as log:
        large = [{**event_of(), "action": "export", "metadata": {"note": "x" * 30_000}} for _ in range(20)]
        raws = [json.dumps(each).encode() for each in large]
        await log.wait_indexed((await append(log, [*sample_events(300), *raws]))[-1].index + 1, SECONDS)
        token, key = new_token(log.directory.pepper(), "reader", ["read"], log.clock())

        async def find(_):
            return key

        yield create_app(log, Authenticator(find, log.directory.pepper(), log.clock)), token, log


async def test_an_answer_that_is_not_made_yet_is_given_up_when_the_client_goes(service):
    app, token, log = service
    begun, ended = asyncio.Event(), asyncio.Event()

    class Slow:
        async def answer(self, _task, _looked):
            begun.set()
            try:
                await asyncio.Event().wait()
                yield Head()
            finally:
                ended.set()

    app.state.service.maker = Slow()
    asker = Asker(app, token, "userId=nobody&format=evidence")
    await begun.wait()
    assert app.state.service.bulk._of_keys.total() == 1
    asker.gone.set()
    async with asyncio.timeout(SECONDS):
        await asyncio.gather(asker.asking, ended.wait())
    assert (asker.sent, app.state.service.bulk._of_keys.total()) == ([], 0)
    asked = await log.searcher.ask(parse_question({"resourceType": "user", "resourceId": "nobody"}))
    assert len(asked.events) == 1, "it is journaled all the same"


async def test_a_bulk_answer_is_under_way_until_it_is_sent(service):
    app, token, _ = service
    bulk = app.state.service.bulk
    asker = Asker(app, token, "action=export")
    await until(lambda: len(asker.sent) == 1)
    assert bulk._of_keys.total() == 1
    asker.gone.set()
    async with asyncio.timeout(SECONDS):
        await asker.asking
    assert bulk._of_keys.total() == 0
    asker = Asker(app, token, "action=export")
    for _ in range(1_000):
        asker.takes.release()
    async with asyncio.timeout(SECONDS):
        await asker.asking
    assert len(asker.body().splitlines()) >= 20
    assert bulk._of_keys.total() == 0


async def test_s3_a_large_page_counts_until_it_is_sent(service):
    app, token, _ = service
    pages = app.state.service.pages
    asker = Asker(app, token, "action=export&limit=10", "/v1/audit/events")
    asker.takes.release()
    await until(lambda: len(asker.sent) == 2)
    assert pages._of_keys.total() > 300_000
    assert len(asker.body()) == sending._PIECE
    small = Asker(app, token, "action=read&limit=5", "/v1/audit/events")
    await until(lambda: small.sent)
    assert pages._of_keys.total() < 350_000, "a small one does not count"
    for _ in range(100):
        asker.takes.release()
        small.takes.release()
    async with asyncio.timeout(SECONDS):
        await asyncio.gather(asker.asking, small.asking)
    assert len(json.loads(asker.body())["events"]) == 10
    assert pages._of_keys.total() == 0


@pytest.mark.parametrize("how", ["page", "access log", "before evidence"])
async def test_s15_a_page_that_takes_much_reading_is_made_in_bulk(service, monkeypatch, how):
    """It is the page that would have been made here."""
    app, token, _ = service
    of_keys, maker = app.state.service.bulk._of_keys, app.state.service.maker
    resource = event_of()["resource"]
    query = "action=export&limit=19" + ("&proof=true&disclose=true" if how == "before evidence" else "")
    path = "/v1/audit/events"
    if how == "access log":
        path = f"/v1/audit/resource/{resource['type']}/{resource['id']}/access-log"
    made = []

    class Maker:
        async def answer(self, task, looked):
            made.append((type(task).__name__, of_keys.total()))
            async for piece in maker.answer(task, looked):
                yield piece

    async def complete():
        made.clear()
        asker = Asker(app, token, query, path)
        asker.takes = asyncio.Semaphore(1_000)
        async with asyncio.timeout(SECONDS):
            await asker.asking
        assert asker.sent[0]["status"] == 200
        assert not of_keys
        return json.loads(asker.body())

    app.state.service.maker = Maker()
    in_bulk = await complete()
    assert made[0] == ("PageTask", 1)
    monkeypatch.setattr(asking, "MOST_HERE", 1 << 30)
    here = await complete()
    assert "PageTask" not in {name for name, _ in made}
    events = "accessLog" if how == "access log" else "events"
    assert in_bulk.keys() == here.keys()
    assert in_bulk["count"] == len(in_bulk[events]) == 19
    assert in_bulk[events] == here[events]
    monkeypatch.setattr(looked_through, "DEFAULT_LIMIT", 10)
    assert (await complete())[events] == here[events]
    assert made[0] == ("PageTask", 1), "many small events are much reading as well"


async def test_s15_a_fifth_large_page_of_a_key_waits_and_is_refused(service, monkeypatch):
    app, token, _ = service
    of_keys = app.state.service.bulk._of_keys
    askers = [Asker(app, token, "action=export", "/v1/audit/events") for _ in range(5)]
    await until(lambda: sum(bool(asker.sent) for asker in askers) == 4)
    (waiting,) = [asker for asker in askers if not asker.sent]
    assert of_keys.total() == 4
    monkeypatch.setattr(bulk, "WAITING_SECONDS", 0.01)
    refused = Asker(app, token, "action=export", "/v1/audit/events")
    await until(lambda: refused.sent)
    assert (refused.sent[0]["status"], waiting.sent, of_keys.total()) == (503, [], 4)
    askers.remove(waiting)
    askers.pop().gone.set()
    await until(lambda: waiting.sent)
    assert (waiting.sent[0]["status"], of_keys.total()) == (200, 4)
    for asker in (*askers, waiting):
        asker.gone.set()
    await until(lambda: not of_keys)


@pytest.mark.parametrize("error", [KeyError, None])
async def test_what_is_answered_in_time_is_what_is_answered(error):
    async def receive():
        await asyncio.sleep(0)
        return {"type": "http.request"}

    async def answering():
        await asyncio.sleep(0.01)
        if error is not None:
            raise error
        return 7

    request = Request({"type": "http"}, receive)
    if error is None:
        assert await unless_gone(request, answering) == 7
    else:
        with pytest.raises(KeyError):
            await unless_gone(request, answering)


async def test_whoever_goes_gets_nothing():
    async def receive():
        return {"type": "http.disconnect"}

    with pytest.raises(ClientDisconnect):
        await unless_gone(Request({"type": "http"}, receive), asyncio.Event().wait)


@pytest.mark.parametrize(
    "path, query",
    [("/v1/audit/export", "action=export&format=evidence"), ("/v1/audit/events", "action=export&limit=20")],
)
async def test_the_last_piece_ends_an_answer_of_known_length(service, path, query):
    """A client that has counted asks again at once: an end that came later would cut its next question off."""
    app, token = service[:2]
    asker = Asker(app, token, query, path)
    for _ in range(1_000):
        asker.takes.release()
    await asker.asking
    bodies = [message for message in asker.sent if message["type"] == "http.response.body"]
    assert bodies
    assert all(message["body"] for message in bodies)
    assert [message.get("more_body", False) for message in bodies] == [True] * (len(bodies) - 1) + [False]
    length = dict(asker.sent[0]["headers"])[b"content-length"]
    assert int(length) == len(asker.body())
