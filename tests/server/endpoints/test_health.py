"""Whether a service is ready is told to everybody, and so in codes: paths and addresses are for the operator."""

from __future__ import annotations

import asyncio

import httpx2
import pytest
from support import fill

from tlog.errors import UnreachableError
from tlog.server.app import create_app
from tlog.server.guard.auth import Authenticator
from tlog.storage.reading import ReadStore
from tlog.writing.background import Status

pytestmark = pytest.mark.anyio
SECRET = "/srv/secret/place.sock"


class Watch:
    trouble = f"the disk of {SECRET} has 1 MB left"


def away(log, service, monkeypatch):
    async def fail(*_):
        message = f"the database (host {SECRET}) cannot be reached"
        raise UnreachableError(message)

    monkeypatch.setattr(ReadStore, "latest_checkpoint", fail)


def empty(log, service, monkeypatch):
    async def none(*_):
        return None

    monkeypatch.setattr(ReadStore, "latest_checkpoint", none)


def stopping(log, service, monkeypatch):
    service.stopping = True


def troubled(log, service, monkeypatch):
    status = Status(seal_error=f"the signer at {SECRET} does not answer", index_error=f"{SECRET} is damaged")
    monkeypatch.setattr(type(log.background), "status", status)
    log.database.watch = Watch()


CASES = {
    away: (503, {"ready": False, "reason": "database"}),
    empty: (503, {"ready": False, "reason": "no-checkpoint"}),
    stopping: (503, {"ready": False, "reason": "stopping"}),
    troubled: (200, {"sealing": "waiting", "indexing": "stopped", "appending": "no-space"}),
}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
async def test_s23_readiness_is_told_in_codes(opened, monkeypatch, case):
    async with opened() as log:
        await fill(log, 3)
        app = create_app(log, Authenticator(log.reader.api_key, bytes(32), log.clock))
        looking = asyncio.create_task(app.state.service.ready.run())
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://log") as client:
            quiet = (await until(client, 200, {"ready": True})).json()
            assert {"sealing", "indexing", "appending"} & quiet.keys() == set()
            case(log, app.state.service, monkeypatch)
            answer = await until(client, *CASES[case])
        looking.cancel()
        await asyncio.wait([looking])
        log.database.watch = None
        monkeypatch.undo()
    assert SECRET not in answer.text


async def until(client, status, members):
    """Ask until the answer is this one: the next look at the database decides."""
    async with asyncio.timeout(30):
        while True:
            answer = await client.get("/readyz")
            if answer.status_code == status and members.items() <= answer.json().items():
                return answer
            await asyncio.sleep(0.01)
