"""The ask page without a browser: its rows are the answer, its view is journaled, and nothing on it is proved yet."""

from __future__ import annotations

import json
import re
from urllib.parse import parse_qs, urlsplit

import pytest
from questions import brute_force
from support import append, sample_events
from visitor import HERE, make_key, rows_of, visiting

from tlog.server.pages import answers

pytestmark = pytest.mark.anyio
EVENTS = [json.loads(raw) for raw in sample_events(60)]
PATIENT = EVENTS[0]["resource"]["id"]
ABOUT = {"resourceType": EVENTS[0]["resource"]["type"], "resourceId": PATIENT}


@pytest.fixture
async def visitor(opened):
    async with opened() as log:
        await append(log, [json.dumps(event).encode() for event in EVENTS])
        async with visiting(log, zone="Europe/Budapest") as visitor:
            await visitor.sign_in((await make_key(log))[0])
            yield visitor


async def ids_on(visitor, page):
    """Return the eventIds of a page's rows, newest first."""
    return re.findall(r'<a href="/ui/event/([0-9a-f-]{36})">', page.text)


async def test_rows_are_the_answer(visitor):
    page = await visitor.get("/ui", **ABOUT)
    assert await ids_on(visitor, page) == brute_force(EVENTS, ABOUT)
    first = rows_of(page.text)[-1]
    assert first[2] == f"{EVENTS[0]['actor']['userId']} ({EVENTS[0]['actor']['role']})"
    assert first[4] == f"{ABOUT['resourceType']} {PATIENT}"
    assert {row[8] for row in rows_of(page.text)} == {"NOT CHECKED"}
    assert '<strong id="verdict">NOT CHECKED</strong>' in page.text


async def test_a_view_is_journaled_with_the_person_as_actor(visitor):
    await visitor.get("/ui", **ABOUT, **{"from": "2026-03-01"}, tz="UTC")
    query = {"ask": "page", "from": "2026-03-01T00:00:00Z", "page": "ask", "resourceType": ABOUT["resourceType"]}
    assert await visitor.journal("read") == [("auditor", "read", query)]
    again = await visitor.get("/ui", resourceType="log", journal="show")
    assert [row[2].split(" ")[0] for row in rows_of(again.text)][-2:] == ["auditor", "auditor"], (
        "its sign-in, and the view"
    )


async def test_with_appending_stopped_no_page_shows_an_event(visitor):
    visitor.log.appender.close()
    for path in ("/ui", "/ui/export", "/ui/evidence"):
        page = await visitor.get(path, **ABOUT)
        assert (page.status_code, PATIENT in page.text) == (503, False)
        assert page.headers["content-type"] == "text/html; charset=utf-8"
    event = await visitor.get(f"/ui/event/{EVENTS[0]['eventId']}")
    assert (event.status_code, PATIENT in event.text) == (503, False)


async def test_nothing_asked_is_only_the_form(visitor):
    page = await visitor.get("/ui", userId="", tz="")
    assert page.status_code == 200
    assert 'id="rows"' not in page.text
    assert await visitor.journal("read") == []


async def test_a_date_is_its_midnight_in_the_zone(visitor):
    page = await visitor.get("/ui", **ABOUT, **{"from": "2026-03-01", "to": "2026-04-01"})
    assert re.findall(r"<td>(2026-0[^<]*)</td><td>(2026-[^<]*)</td>", page.text)[:2] == [
        ("2026-03-01", "2026-02-28T23:00:00Z"),
        ("2026-04-01", "2026-03-31T22:00:00Z"),
    ]
    assert "times in Europe/Budapest" in page.text
    assert "Not looked at: entries logged before 2026-02-27T23:00:00Z." in page.text


async def test_older_events_are_on_the_next_page(visitor, monkeypatch):
    monkeypatch.setattr(answers, "_ROWS", 7)
    found, path = [], "/ui?action=read&journal=show"
    while path:
        page = await visitor.get(path)
        found += await ids_on(visitor, page)
        following = re.search(r'<a href="([^"]*)" rel="next">', page.text)
        path = following and following[1].replace("&amp;", "&")
    assert [each for each in found if each in {event["eventId"] for event in EVENTS}] == brute_force(
        EVENTS, {"action": "read"}
    )
    assert len(found) == len(set(found))


async def test_questions_about_the_log_are_one_line(visitor):
    await visitor.get("/ui", **ABOUT)
    page = await visitor.get("/ui", **ABOUT)
    assert await ids_on(visitor, page) == brute_force(EVENTS, ABOUT)
    line = re.search(
        r'<p id="folded"><span>(\d+)</span> of the events ask the log itself: <a href="([^"]*)">', page.text
    )
    assert int(line[1]) >= 1
    shown = parse_qs(urlsplit(line[2].replace("&amp;", "&")).query)
    assert shown == {name: [value] for name, value in {**ABOUT, "journal": "show", "tz": "Europe/Budapest"}.items()}
    unfolded = await visitor.get(line[2].replace("&amp;", "&"))
    assert len(rows_of(unfolded.text)) > len(rows_of(page.text))
    assert '<p id="folded" hidden>' in unfolded.text


async def test_a_question_without_an_index_key_is_answered_and_says_that_it_cannot_be_proved(visitor):
    page = await visitor.get("/ui", outcome="failure")
    assert await ids_on(visitor, page) == brute_force(EVENTS, {"outcome": "failure"})
    assert "nothing of its answer can be proved" in page.text
    assert "data-provable" not in page.text


async def test_what_cannot_be_asked_is_a_page_that_says_so(visitor):
    for parameters, said in (
        ({"userid": "x"}, "did you mean &#39;userId&#39;"),
        ({"resourceId": "x"}, "needs &#39;resourceType&#39;"),
        ({"from": "yesterday", "userId": "x"}, "RFC 3339"),
        ({"userId": "x", "tz": "Mars/Olympus"}, "IANA"),
        ({"userId": "x", "journal": "yes"}, "is &#39;show&#39;"),
        ({"userId": "x", "cursor": "x"}, "is not from an answer to this question"),
        ({"control": "order"}, "no such query parameter"),
    ):
        page = await visitor.get("/ui", **parameters)
        assert page.status_code == 400
        assert said in page.text
        assert "<h1>The request is malformed</h1>" in page.text
    assert await visitor.journal("read") == []


async def test_what_a_producer_wrote_is_text(visitor):
    evil = '<img src=x onerror="alert(1)">'
    event = {**EVENTS[1], "eventId": "00000000-0000-4000-8000-000000000001", "actor": {"userId": evil, "role": evil}}
    event["resource"] = {"type": "patient_record", "id": evil}
    await append(visitor.log, [json.dumps(event).encode()])
    page = await visitor.get("/ui", userId=evil)
    assert "<img" not in page.text
    assert rows_of(page.text)[0][2] == f"{evil} ({evil})"


async def test_a_key_that_may_ask_seldom_asks_pages_as_seldom(visitor):
    await visitor.sign_in((await make_key(visitor.log, rate=1))[0])
    answers = [await visitor.get("/ui", **ABOUT) for _ in range(3)]
    assert answers[-1].status_code == 429
    assert PATIENT not in answers[-1].text


async def test_views_are_counted_and_logged_without_what_was_asked(visitor):
    await visitor.get("/ui", **ABOUT)
    metrics = (await visitor.client.get("/metrics")).text
    assert 'tlog_pages_views_total{page="ask"} 1.0' in metrics
    assert "tlog_pages_sessions 1.0" in metrics
    assert PATIENT not in metrics


async def test_evidence_and_exports_are_journaled_as_what_they_are(visitor):
    log = visitor.log
    checked = await visitor.get("/ui/evidence", headers={**HERE, "Sec-Fetch-Dest": "empty"}, **ABOUT, disclose="true")
    assert checked.status_code == 404, "nothing is indexed in this log"
    exported = await visitor.get("/ui/export", **ABOUT, format="csv")
    assert exported.headers["content-disposition"] == 'attachment; filename="events.not-evidence.csv"'
    assert [query["ask"] for _, _, query in await visitor.journal("read")] == ["check"]
    assert [query for _, _, query in await visitor.journal("export")] == [
        {"ask": "page", "format": "csv", "page": "export", "resourceType": ABOUT["resourceType"]}
    ]
    assert (await log.reader.state()).size > 0
