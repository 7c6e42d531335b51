"""What is let in: keys and rates before bodies, no append on a full disk, and back without anybody's hands."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import httpx2
import pytest
from service_scenarios import Filler, Recorder, event_of, small_disk, write_until_it_ends
from starlette.requests import Request
from support import fill, kill_postgres, sample_events, start_server, tlog

from tlog.client import Client
from tlog.errors import NoSpaceError, OverloadedError, RateLimitedError, UnauthorizedError
from tlog.postgres.server import EmbeddedPostgres
from tlog.postgres.space import MEGABYTE, Ballast, Space
from tlog.server.app import create_app
from tlog.server.guard.admission import Admission, Bucket
from tlog.server.guard.auth import CACHE_SECONDS, LOOKUPS_PER_SECOND, Authenticator, new_token, tagged

GIGABYTE = 1024 * MEGABYTE
PEPPER = bytes(32)
NOW = datetime(2026, 3, 1, tzinfo=UTC)


# --- Keys and rates --------------------------------------------------------------------------------------------------


def test_a_rate_is_kept_on_average():
    bucket = Bucket(10, 0.0)
    assert [bucket.take(0.0) for _ in range(10)] == [0.0] * 10
    assert bucket.take(0.0) == pytest.approx(0.1)
    assert bucket.take(0.1) == 0.0
    bucket.charge(100)
    assert bucket.take(5.0) > 5.0, "a large batch is paid for afterwards"
    assert bucket.take(10.3) == 0.0
    assert [bucket.take(1000.0) for _ in range(11)][-1] > 0, "what was not used is lost after a second"


class Keys:
    """The database's part: counts how often it is asked."""

    def __init__(self, *keys):
        self._keys = {key.key_id: key for key in keys}
        self.asked = 0

    async def find(self, key_id):
        self.asked += 1
        return self._keys.get(key_id)


@pytest.mark.anyio
async def test_a63_old_keys_cost_few_look_ups_and_known_keys_nothing():
    token, key = new_token(PEPPER, "service", ["append"], NOW)
    keys, seconds = Keys(key), [0.0]
    authenticator = Authenticator(keys.find, PEPPER, lambda: NOW, lambda: seconds[0])
    assert await authenticator.check(f"Bearer {token}", "append") == key
    outcomes = []
    for number in range(5000):
        try:
            await authenticator.check(f"Bearer tlog_{tagged(PEPPER, f'{number:016x}')}_{'A' * 43}", "append")
        except (UnauthorizedError, OverloadedError) as error:
            outcomes.append(type(error))
    assert keys.asked == LOOKUPS_PER_SECOND
    assert outcomes.count(OverloadedError) == 5000 - LOOKUPS_PER_SECOND + 1
    seconds[0] = CACHE_SECONDS
    for number in range(5000, 6000):
        with pytest.raises((UnauthorizedError, OverloadedError)):
            await authenticator.check(f"Bearer tlog_{tagged(PEPPER, f'{number:016x}')}_{'A' * 43}", "append")
    assert await authenticator.check(f"Bearer {token}", "append") == key, "its refresh does not wait for them"


@pytest.mark.anyio
@pytest.mark.parametrize("age, valid", [(timedelta(days=1) - timedelta(seconds=1), True), (timedelta(days=1), False)])
async def test_a63_keys_expire(age, valid):
    token, key = new_token(PEPPER, "service", ["append"], NOW, NOW + timedelta(days=1))
    authenticator = Authenticator(Keys(key).find, PEPPER, lambda: NOW + age)
    if valid:
        assert await authenticator.check(f"Bearer {token}", "append") == key
    else:
        with pytest.raises(UnauthorizedError):
            await authenticator.check(f"Bearer {token}", "append")


def appending(token, **headers):
    fields = {"authorization": f"Bearer {token}", **headers}
    return Request({"type": "http", "headers": [(name.encode(), value.encode()) for name, value in fields.items()]})


@pytest.mark.anyio
@pytest.mark.parametrize(
    "headers", [{"content-length": "8000000"}, {"transfer-encoding": "chunked"}], ids=["sized", "chunked"]
)
async def test_s14_an_append_is_charged_before_its_body_comes(opened, headers):
    async with opened() as log:
        token, key = new_token(PEPPER, "slow", ["append"], NOW, rate=10)
        seconds = [0.0]
        admission = Admission(log, Authenticator(Keys(key).find, PEPPER, lambda: NOW), lambda: seconds[0])
        first = await admission.admit_append(appending(token, **headers))
        assert first.charged == 10_000
        with pytest.raises(RateLimitedError):
            await admission.admit_append(appending(token, **headers))
        admission.correct(first, 10)
        seconds[0] += 0.2
        # Control: of small bodies as many are let in as before.
        charged = [await admission.admit_append(appending(token, **{"content-length": "150"})) for _ in range(2)]
        assert [each.charged for each in charged] == [1, 1]
        with pytest.raises(RateLimitedError):
            await admission.admit_append(appending(token, **{"content-length": "150"}))


@pytest.mark.anyio
async def test_s14_what_has_no_event_stays_charged(opened):
    async with opened() as log:
        token, key = new_token(log.directory.pepper(), "slow", ["append"], log.clock(), rate=10)
        app = create_app(log, Authenticator(Keys(key).find, log.directory.pepper(), log.clock))
        app.state.service.admission._timer = lambda: 0.0
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/x-ndjson"}
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://log") as client:
            answers = [await client.post("/v1/audit/events", content=b"{}\n" * 800, headers=headers) for _ in range(2)]
        assert [each.status_code for each in answers] == [422, 429]


@pytest.mark.anyio
async def test_s15_a_question_is_charged_for_what_is_looked_at(opened):
    async with opened(index=True) as log:
        receipts = await fill(log, 1000)
        await log.wait_indexed(receipts[-1].index + 1, 20)
        token, key = new_token(log.directory.pepper(), "slow", ["read"], log.clock(), rate=6)

        async def answered(path, **params):
            app = create_app(log, Authenticator(Keys(key).find, log.directory.pepper(), log.clock))
            app.state.service.admission._timer = lambda: 0.0
            transport, headers = httpx2.ASGITransport(app=app), {"Authorization": f"Bearer {token}"}
            async with httpx2.AsyncClient(transport=transport, base_url="http://log", headers=headers) as client:
                statuses = [(await client.get(path, params=params)).status_code for _ in range(7)]
                assert not app.state.service.bulk._of_keys
            return statuses.count(200)

        events, export = "/v1/audit/events", "/v1/audit/export"
        assert await answered(events, outcome="unknown", limit=1) == 1, "1 and 1,000 / 200: all entries are looked at"
        assert await answered(events, userId="nobody") == 6, "under a key that no entry has none is"
        assert await answered(export, outcome="success") == 1
        assert await answered(export, userId="nobody") == 6
        assert await answered(export, action="read", format="evidence") < 4
        assert await answered(export, userId="nobody", format="evidence") >= 5


@pytest.mark.anyio
async def test_s15_more_bulk_answers_of_a_key_are_refused(opened):
    async with opened(index=True) as log:
        receipts = await fill(log, 10)
        await log.wait_indexed(receipts[-1].index + 1, 20)
        token, key = new_token(log.directory.pepper(), "reader", ["read"], log.clock())
        app = create_app(log, Authenticator(Keys(key).find, log.directory.pepper(), log.clock))
        bulk, asked = app.state.service.bulk, {"userId": "x"}
        transport, headers = httpx2.ASGITransport(app=app), {"Authorization": f"Bearer {token}"}
        async with httpx2.AsyncClient(transport=transport, base_url="http://log", headers=headers) as client:

            async def statuses():
                paths = "/v1/audit/export", "/v1/audit/events"
                questions = (
                    (paths[0], asked),
                    (paths[0], {**asked, "format": "evidence"}),
                    (paths[1], {"outcome": "success"}),
                )
                questions += ((paths[1], {**asked, "proof": "true"}), (paths[1], asked))
                return [(await client.get(path, params=params)).status_code for path, params in questions]

            assert await statuses() == [200] * 5
            with ExitStack() as stack:
                for _ in range(4):
                    stack.enter_context(bulk.answer(key.key_id))
                assert await statuses() == [503] * 4 + [200], "a page under an index key is no bulk answer"
            assert await statuses() == [200] * 5


class Body:
    """A request body that notices whether it is read."""

    def __init__(self):
        self.read = False

    async def __aiter__(self):
        self.read = True
        yield json.dumps(event_of()).encode()


def full_queue(log):
    log.appender._waiting_events = log.appender._max_waiting


def full_disk(log):
    class Full:
        trouble = "the disk has 1 MB left"

        def check(self):
            raise NoSpaceError(self.trouble, 5)

    log.database.watch = Full()


def closing(log):
    log.appender.close()


@pytest.mark.anyio
@pytest.mark.parametrize(
    "break_it, scope, status, retry_after",
    [(None, "append", 201, None), (None, "read", 403, None), (None, None, 401, None), (full_queue, "append", 503, "1"),
     (full_disk, "append", 507, "5"), (closing, "append", 503, "1")],
    ids=["let in", "scope", "key", "queue", "disk", "closing"],
)  # fmt: skip
async def test_what_is_refused_is_refused_before_its_body(opened, break_it, scope, status, retry_after):
    async with opened() as log:
        token, key = new_token(PEPPER, "service", [scope or "append"], log.clock())
        app = create_app(log, Authenticator(Keys(key).find, PEPPER, log.clock))
        headers = {"Authorization": f"Bearer {token}"} if scope else {}
        body = Body()
        waiting = log.appender._waiting_events
        if break_it:
            break_it(log)
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://log") as client:
            answer = await client.post(
                "/v1/audit/events", content=body, headers={"Content-Type": "application/json", **headers}
            )
        log.appender._waiting_events, log.database.watch = waiting, None
        assert (answer.status_code, answer.headers.get("retry-after")) == (status, retry_after), answer.text
        if status != 201:
            assert answer.headers["content-type"] == "application/problem+json"


def test_a_keys_own_rate(running_server):
    server = running_server
    made = tlog(
        "token", "create", "--data", server.data, "--principal", "slow", "--scope", "append", "--rate", "5", "--json"
    )
    limited = json.loads(made.stdout)
    assert {
        key["keyId"]: key["rate"] for key in json.loads(tlog("token", "list", "--data", server.data, "--json").stdout)
    }[limited["keyId"]] == 5
    lines = b"\n".join(sample_events(100))
    headers = {"Content-Type": "application/x-ndjson", "Prefer": "return=minimal"}

    def post(token):
        return httpx2.post(
            server.url + "/v1/audit/events", content=lines, headers={**headers, "Authorization": f"Bearer {token}"}
        )

    assert post(limited["token"]).status_code == 201
    refused = post(limited["token"])
    assert refused.status_code == 429
    assert refused.headers["content-type"] == "application/problem+json"
    assert 15 <= int(refused.headers["retry-after"]) <= 20
    with (
        Client(server.url, limited["token"]) as client,
        pytest.raises(OverloadedError, match="rate is used up") as caught,
    ):
        client.append(sample_events(1))
    assert 15 <= caught.value.retry_after <= 20
    for _ in range(5):
        assert post(server.token).status_code == 200, "nobody else has to wait"


# --- Space -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "total, wal, reserve, ballast",
    [(640 * MEGABYTE, 64, 128, 64), (10 * GIGABYTE, 640, 1280, 80), (100 * GIGABYTE, 1024, 5120, 128)],
)
def test_r3_what_must_stay_free(total, wal, reserve, ballast):
    space = Space(total, 0)
    assert space.max_wal_size == wal
    assert space.reserve == reserve * MEGABYTE
    assert space.ballast_size == ballast * MEGABYTE


def test_r3_a_ballast_holds_space_and_is_whole_or_not_there(directory):
    with small_disk(directory / "disk", 16) as disk:
        ballast = Ballast(disk / "ballast")
        with pytest.raises(OSError, match="No space"):
            ballast.make(32 * MEGABYTE)
        assert list(disk.iterdir()) == []
        ballast.make(12 * MEGABYTE)
        assert Space.of(disk).free <= 4 * MEGABYTE
        ballast.release()
        ballast.release()
        assert Space.of(disk).free >= 15 * MEGABYTE


def test_r3_full_disk(directory):
    """Refused while there is still space, ended when there is none, started again by itself, everything kept."""
    with small_disk(directory / "disk", 640) as disk:
        server = start_server(disk / "data")
        client, filler, postgres = Recorder(server), Filler(disk), EmbeddedPostgres(disk / "data" / "postgres")
        ballast = disk / "data" / "postgres" / "ballast"
        try:
            client.append_until(201, 5)
            server.seal()
            question = f"/v1/audit/events/{client.acknowledged[0]}"
            assert ballast.stat().st_blocks * 512 >= 64 * MEGABYTE

            filler.leave(100 * MEGABYTE)
            client.append_until(507, 5)
            assert "make space" in client.problem["detail"]
            assert client.problem["retryAfter"] == "5"
            assert (client.get(question), client.get("/checkpoint"), client.get("/readyz")) == (200, 200, 200)
            filler.go()
            client.append_until(201, 30)

            filler.leave(MEGABYTE)
            write_until_it_ends(postgres)
            client.append_until(507, 30)  # the ballast lets it run again, to be read
            assert not ballast.exists()
            wait_for(lambda: client.get(question) == 200)
            filler.leave(MEGABYTE)
            write_until_it_ends(postgres)
            wait_for(lambda: not postgres.runs())
            assert client.append() in (503, 507)
            filler.go()
            assert client.append_until(201, 30) < 30
            wait_for(ballast.exists)
            assert server.process.poll() is None, "it is the same process all the time"
            assert client.slowest_refusal < 5
            server.seal()
        finally:
            client.close()
            stopped = server.stop()
        assert stopped == 0, server.said.read_text()
        assert json.loads(tlog("fsck", "--data", disk / "data", "--json").stdout)["verdict"] == "verified"
        tlog("export", "--ndjson", directory / "exported", "--data", disk / "data")
    stored = {json.loads(line)["eventId"] for line in (directory / "exported").read_text().splitlines()}
    assert set(client.acknowledged) <= stored


def wait_for(condition, seconds=30.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_an_embedded_server_that_was_killed_is_started_again(running_server):
    client = Recorder(running_server)
    client.append_until(201, 5)
    kill_postgres(EmbeddedPostgres(running_server.data / "postgres"))
    assert client.append_until(201, 30) < 30
    client.close()
