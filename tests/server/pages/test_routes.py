"""Which page is where, for whom, and what an error looks like there."""

from __future__ import annotations

from datetime import timedelta

import pytest
from visitor import HERE, make_key, visiting

from tlog.server.app import create_app
from tlog.server.guard.auth import Authenticator
from tlog.server.pages.routes import routes

pytestmark = pytest.mark.anyio
# What anybody may see: the form, what pages are made of, and the way to them.
OPEN = {"/", "/ui/static/{version}/{name}", "/ui/sign-in", "/ui/sign-out", "/ui/{path:path}"}


def closed():
    return [
        route.path.replace("{event_id:uuid}", "0" * 8 + "-0000-4000-8000-000000000000")
        for route in routes()
        if route.path not in OPEN
    ]


async def test_without_a_session_a_page_shows_nothing(opened):
    async with opened() as log, visiting(log) as visitor:
        token, _ = await make_key(log)
        for path in closed():
            for headers in (HERE, {**HERE, "Authorization": f"Bearer {token}"}, {**HERE, "Cookie": "tlog=invented"}):
                answer = await visitor.get(path, headers=headers)
                led = answer.headers["location"].partition("?")[0]
                assert (answer.status_code, led) == (303, "/ui/sign-in"), path
        assert await visitor.journal() == []
        assert len(closed()) > 3


async def test_a_session_ends_for_the_pages_too(opened):
    async with opened() as log, visiting(log) as visitor:
        await visitor.sign_in((await make_key(log))[0])
        assert (await visitor.get("/ui")).status_code == 200
        later = log.clock() + timedelta(minutes=16)
        log.clock = lambda: later
        assert (await visitor.get("/ui")).status_code == 303


async def test_a_session_is_for_pages_only(opened):
    async with opened() as log, visiting(log) as visitor:
        await visitor.sign_in((await make_key(log))[0])
        answer = await visitor.get("/v1/audit/events", userId="n.varga")
        assert (answer.status_code, answer.headers["content-type"]) == (401, "application/problem+json")


async def test_a_browser_is_led_to_the_pages(opened):
    async with opened() as log, visiting(log) as visitor:
        for accept, status in (
            ("text/html,application/xhtml+xml", 303),
            ("*/*", 404),
            ("application/json", 404),
            ("text/html;q=0", 404),
        ):
            answer = await visitor.get("/", headers={"Accept": accept})
            assert (answer.status_code, answer.headers.get("location")) == (status, "/ui" if status == 303 else None)


async def test_without_pages_there_are_none(opened):
    async with opened() as log, visiting(log) as visitor:
        visitor.client._transport.app = create_app(
            log, Authenticator(log.reader.api_key, log.directory.pepper(), log.clock)
        )
        for path in ("/", "/ui", "/ui/sign-in"):
            answer = await visitor.get(path)
            assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


async def test_errors_of_pages_are_pages_and_those_of_the_api_are_documents(opened, monkeypatch):
    async with opened() as log, visiting(log) as visitor:
        await visitor.sign_in((await make_key(log))[0])
        for path, status, said in (
            ("/ui/nothing", 404, "there is no such page"),
            ("/ui/%ff", 400, "the path is not UTF-8"),
            ("/ui?userId=%ff", 400, "is not UTF-8"),
        ):
            answer = await visitor.client.get(path, headers=HERE)
            assert (answer.status_code, answer.headers["content-type"]) == (status, "text/html; charset=utf-8")
            assert said in answer.text
        refused = await visitor.post("/ui", userId="x")
        assert (refused.status_code, set(refused.headers["allow"].split(", "))) == (405, {"GET", "HEAD"})

        async def broken(*_):
            message = "what n.varga did"
            raise RuntimeError(message)

        monkeypatch.setattr(log.reader, "session", broken)
        answer = await visitor.get("/ui")
        assert (answer.status_code, "n.varga" in answer.text) == (500, False)
        assert "the failure is in the server" in answer.text
        assert (await visitor.client.get("/nothing")).headers["content-type"] == "application/problem+json"
