"""Questions against brute force over the events that were sent: equal answers, whatever is indexed, sealed or pending."""

from __future__ import annotations

import json
import random

import msgspec
import pytest
from questions import QUESTIONS, brute_force, random_question, resources_of, varied_events
from support import append, control_draft, sample_events

from tlog.answering import query
from tlog.answering.query import answer_document, decode_entry, event_document, parse_cursor
from tlog.core.making.posting import RUN_POSTINGS
from tlog.core.question import parse_question
from tlog.errors import DamagedLogError, MalformedInputError

pytestmark = pytest.mark.anyio


async def whole_answer(log, members, limit):
    """All pages of an answer, as eventIds."""
    question, cursor, found = parse_question(members), None, []
    while True:
        answer = await log.searcher.ask(question, limit=limit, cursor=cursor)
        assert len(answer.events) <= limit
        found += [event.leaf.event_id for event in answer.events]
        if answer.next is None:
            return found
        cursor = parse_cursor(answer.next.text(question), question)
        assert cursor == answer.next


async def test_answers_equal_brute_force(opened):
    rng = random.Random(7)
    async with opened(index=True, interval=60) as log:
        sent = []
        for seed, count in ((1, 700), (2, 300), (3, 200)):
            raws = varied_events(rng, count, seed=seed)
            sent += map(json.loads, raws)
            receipts = await append(log, raws)
            if seed == 1:
                await log.wait_indexed(receipts[-1].index + 1, 20)
        # now 700 events are indexed, and 500 are pending
        for _ in range(QUESTIONS):
            members = random_question(rng, sent)
            limit = rng.choice([1, 7, 100, 1000])
            expected = brute_force(sent, members)
            if limit == 1 and len(expected) > 40:
                limit = 50
            assert await whole_answer(log, members, limit) == expected, members


@pytest.mark.parametrize("page, at_once", [(1, 1), (20_000, 3_000), (3_000, 20_000)])
async def test_s3_a_page_ends_where_its_events_have_too_many_bytes(opened, monkeypatch, page, at_once):
    monkeypatch.setattr(query, "MAX_PAGE", page)
    monkeypatch.setattr(query, "_READ_AT_ONCE", at_once)
    rng = random.Random(8)
    async with opened(index=True) as log:
        raws = varied_events(rng, 200)
        sent = list(map(json.loads, raws))
        await log.wait_indexed((await append(log, raws))[-1].index + 1, 20)
        for members in ({"action": "read"}, {"outcome": "success"}, {"userId": "nobody"}):
            assert await whole_answer(log, members, 1000) == brute_force(sent, members)
        answer = await log.searcher.ask(parse_question({"action": "read"}), limit=1000)
        sizes = [len(row.entry) + sum(map(len, row.disclosures().values())) for row in answer.events]
        assert answer.next is not None
        assert sum(sizes[:-1]) < page <= sum(sizes)


async def test_a_resource_is_found_under_every_event_that_names_it(opened):
    """A search with ten hits is an answer about each of them, and says in which place it names it."""
    event = json.loads(sample_events(1)[0])
    event["resource"] = {"type": "search", "id": "S-1"}
    event["relatedResources"] = [{"type": "patient_record", "id": f"P-{number}", "role": "hit"} for number in range(10)]
    async with opened(index=True) as log:
        receipts = await append(log, [json.dumps(event).encode(), *sample_events(30, seed=2)])
        for indexed in (False, True):
            if indexed:
                await log.wait_indexed(receipts[-1].index + 1, 20)
            for group, (kind, name) in resources_of(event).items():
                question = parse_question({"resourceType": kind, "resourceId": name})
                answer = await log.searcher.ask(question)
                documents = json.loads(msgspec.json.encode(answer_document(answer, question)))["events"]
                assert [each["eventId"] for each in documents] == [event["eventId"]]
                place = documents[0].pop("log")
                assert documents[0] == {"outcome": "unknown", **event}
                assert answer.matched == [group]
                assert (place["appendedBy"], place["lost"], place["missing"]) == ("local", [], [])
                assert place["matched"] == ("resource" if group == "resource" else "related")


async def test_what_is_absent_is_named_and_by_what_it_is_explained(opened):
    event = json.loads(sample_events(1)[0])
    event["relatedResources"] = [{"type": "patient_record", "id": f"P-{number}"} for number in range(3)]
    async with opened() as log:
        await append(log, [json.dumps(event).encode()])
        found = (await log.searcher.ask(parse_question({}))).events[0]
    first, _, third = found.related
    document = json.loads(msgspec.json.encode(event_document(found._replace(actor=None, related=[first, None, third]))))
    assert (document["log"]["lost"], document["log"]["missing"]) == ([], ["actor", "related/1"])
    assert document["relatedResources"] == [event["relatedResources"][0], event["relatedResources"][2]]
    assert not {"appendedBy", "matched"} & document["log"].keys()
    assert "actor" not in document
    document = event_document(found._replace(resource=None, related=[None] * 3, lost_by=7))
    groups = ["resource", "related/0", "related/1", "related/2"]
    assert document["log"]["lost"] == [{"group": group, "by": 7} for group in groups]
    assert document["log"]["missing"] == []
    assert (document["resource"], "relatedResources" in document) == ({"type": event["resource"]["type"]}, False)


async def test_control_entries_answer_where_they_are_asked_for(opened):
    async with opened(index=True) as log:
        receipts = await append(log, sample_events(20))
        await log.appender.append([control_draft(log, "n.varga"), control_draft(log, "a.nemeth")])
        about = {"resourceType": "user", "resourceId": "n.varga"}
        for indexed in (False, True):
            if indexed:
                await log.wait_indexed(receipts[-1].index + 3, 20)
            for members, matched in (({"control": "order"}, [None] * 2), ({"control": "order", **about}, ["related"])):
                question = parse_question(members)
                answer = await log.searcher.ask(question)
                documents = json.loads(msgspec.json.encode(answer_document(answer, question)))["events"]
                assert [each["log"].get("matched") for each in documents] == matched
                assert [each["type"] for each in documents] == ["order"] * len(matched)
                assert documents[-1]["entry"]["kind"] == "erase"
                assert documents[-1]["disclosed"] == {}
            # They are no events.
            assert (await log.searcher.ask(parse_question(about))).events == []
            assert len((await log.searcher.ask(parse_question({}))).events) == 20
            assert (await log.searcher.ask(parse_question({"control": "intake"}))).events == []


async def test_an_answer_may_take_many_runs_of_a_segment(opened):
    async with opened(index=True) as log:
        raws = sample_events(7_000)
        sent = [json.loads(raw) for raw in raws]
        await log.wait_indexed((await append(log, raws))[-1].index + 1, 20)
        expected = brute_force(sent, {"action": "read"})
        assert len(expected) > 6 * RUN_POSTINGS
        assert await whole_answer(log, {"action": "read"}, 10_000) == expected
        assert await whole_answer(log, {"action": "read"}, 700) == expected


async def test_pages_stay_the_same_while_the_log_grows(opened):
    async with opened(index=True) as log:
        receipts = await append(log, sample_events(300))
        question = parse_question({"action": "read"})
        before = await whole_answer(log, {"action": "read"}, 1000)
        first = await log.searcher.ask(question, limit=10)
        await append(log, sample_events(300, seed=2))
        await log.wait_indexed(receipts[-1].index + 1, 20)
        pages = [event.leaf.event_id for event in first.events]
        cursor = first.next
        while cursor is not None:
            answer = await log.searcher.ask(question, limit=10, cursor=cursor)
            assert answer.size == first.size
            pages += [event.leaf.event_id for event in answer.events]
            cursor = answer.next
        assert pages == before


async def test_events_say_how_far_they_are(opened):
    async with opened(index=True) as log:
        question = parse_question({})

        async def states():
            answer = await log.searcher.ask(question)
            return [event_document(event, answer.position)["log"]["state"] for event in answer.events]

        receipts = await append(log, sample_events(2))
        assert (await states())[:2] == ["pending"] * 2
        await log.wait_indexed(receipts[-1].index + 1, 20)
        assert await states() == ["indexed"] * 2


async def test_what_is_stored_wrong_is_named_by_its_index(opened):
    async with opened() as log:
        await append(log, sample_events(1))
        found = (await log.searcher.ask(parse_question({}))).events[0]
    index = found.leaf.index
    with pytest.raises(DamagedLogError, match=f"entry {index} is stored as an event"):
        event_document(found._replace(entry=b"{}"))
    with pytest.raises(DamagedLogError, match=f"entry {index} is stored, but is none"):
        decode_entry(index, b"[]")
    with pytest.raises(DamagedLogError, match=f"disclosure of entry {index} is damaged"):
        event_document(found._replace(resource=found.resource[:-1]))


async def test_a_document_is_the_event_that_was_sent(opened):
    async with opened() as log:
        raws = sample_events(50)
        await append(log, raws)
        answer = await log.searcher.ask(parse_question({}))
        for raw, found in zip(reversed(raws), answer.events, strict=True):
            document = json.loads(msgspec.json.encode(event_document(found)))
            place = document.pop("log")
            assert place["index"] == found.leaf.index
            assert document == {"outcome": "unknown", **json.loads(raw)}


@pytest.mark.parametrize(
    "members, named",
    [
        ({"resourceId": "P-1001"}, "resourceType"),
        ({"action": "look"}, "action"),
        ({"outcome": "ok"}, "outcome"),
        ({"userId": ""}, "userId"),
        ({"from": "yesterday"}, "from"),
        ({"from": "2026-02-30"}, "from"),
        ({"to": "2026-03-17T00:00:00"}, "to"),
        ({"from": "2026-03-18", "to": "2026-03-17"}, "from"),
        ({"from": 5}, "from"),
        ({"loggedFrom": "2026-03-18", "loggedTo": "2026-03-17"}, "loggedFrom"),
        ({"patient": "x"}, "patient"),
    ],
)
def test_wrong_questions_name_the_member(members, named):
    with pytest.raises(MalformedInputError, match=named):
        parse_question(members)


def test_questions_have_one_form():
    question = parse_question({"from": "2026-03-17", "to": "2026-03-17T12:00:00.5+01:00", "userId": "u"})
    assert msgspec.json.encode(question) == (
        b'{"from":"2026-03-17T00:00:00Z","to":"2026-03-17T11:00:00.5Z","userId":"u"}'
    )
    assert question.logged_from() == b"2026-03-16T00:00:00.000000Z"
    assert question.logged_to() is None
    assert parse_question(question.document()) == question
    assert len(question.not_looked_at()) == 1


@pytest.mark.parametrize("text", ["", "x", "AAAA", "****", "zQECxAhhYmNkZWZnaA"])
def test_strange_cursors_are_refused(text):
    with pytest.raises(MalformedInputError, match="cursor"):
        parse_cursor(text, parse_question({}))


async def test_a_cursor_fits_its_question_only(opened):
    async with opened() as log:
        await append(log, sample_events(30))
        question = parse_question({"action": "read"})
        cursor = (await log.searcher.ask(question, limit=2)).next.text(question)
        with pytest.raises(MalformedInputError, match="cursor"):
            parse_cursor(cursor, parse_question({"action": "update"}))
