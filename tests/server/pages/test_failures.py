"""Refused sign-ins: counted for an address, journaled as a number."""

from __future__ import annotations

import json

import pytest
from starlette.exceptions import HTTPException

from tlog.core.question import parse_question
from tlog.errors import OverloadedError
from tlog.server.pages import failures
from tlog.server.pages.failures import MOST_FAILURES, Failures

pytestmark = pytest.mark.anyio


async def told(log):
    """Return the queries of the failed logins in the journal."""
    answer = await log.searcher.ask(parse_question({"action": "login", "outcome": "failure", "actorType": "unknown"}))
    return [json.loads(json.loads(event.disclosures()["resource"][16:])["details"]["query"]) for event in answer.events]


async def test_ten_in_a_minute_and_then_a_wait(opened):
    async with opened() as log:
        now = [0.0]
        counted = Failures(log, lambda: now[0])
        for second in range(MOST_FAILURES):
            now[0] = float(second)
            counted.check("192.0.2.7")
            counted.count("192.0.2.7")
        with pytest.raises(HTTPException) as refused:
            counted.check("192.0.2.7")
        assert (refused.value.status_code, refused.value.headers["Retry-After"]) == (429, "52")
        counted.check("192.0.2.8")
        now[0] = 60.0
        counted.check("192.0.2.7")
        await counted.close()
        assert await told(log) == [{"ask": "sign-in", "failures": MOST_FAILURES}]


async def test_the_journal_gets_a_number_and_once_for_all_of_them(opened, monkeypatch):
    monkeypatch.setattr(failures, "_MINUTE", 0.0)
    async with opened() as log:
        counted = Failures(log)
        for _ in range(3):
            counted.count("192.0.2.7")
        await counted._telling
        assert await told(log) == [{"ask": "sign-in", "failures": 3}]
        await counted.close()
        assert len(await told(log)) == 1


async def test_what_cannot_be_journaled_is_told_later(opened, monkeypatch):
    async with opened() as log:
        counted = Failures(log)
        counted.count("192.0.2.7")

        async def away(*_):
            message = "away"
            raise OverloadedError(message)

        monkeypatch.setattr(failures, "journal_failures", away)
        await counted._tell()
        monkeypatch.undo()
        await counted.close()
        assert await told(log) == [{"ask": "sign-in", "failures": 1}]
