"""Bulk answers as tasks: each is what is answered without one, and of bundles one is made at a time."""

from __future__ import annotations

import asyncio
import json
import random
from contextlib import aclosing

import msgspec
import pytest
from questions import varied_events
from support import append

from tlog.answering import bulk, evidence, sets
from tlog.answering.bulk import EvidenceTask, ExportTask, Head, PageTask
from tlog.answering.evidence import asked
from tlog.answering.export import export_events
from tlog.core.evidence import parse_evidence, verify_evidence
from tlog.core.evidence_set import verify_evidence_set
from tlog.core.question import parse_question
from tlog.errors import TooLargeError

pytestmark = pytest.mark.anyio

READ = parse_question({"action": "read"})
SEARCH = parse_question({"outcome": "success"})


def maker_of(log):
    return bulk.BulkMaker(log.reader, log.verifier, log.searcher)


def keys_of(log, question):
    return question.keys(log.bucket_keys.key)


async def answered(maker, task):
    """The head of an answer, its pieces, and at how many entries was looked for it."""
    looked = []

    async def look(entries):
        looked.append(entries)

    async with aclosing(maker.answer(task, look)) as pieces:
        head, *others = [piece async for piece in pieces]
    assert isinstance(head, Head)
    return head, others, sum(looked)


async def filled(log, count=300):
    raws = varied_events(random.Random(9), count)
    await log.wait_indexed((await append(log, raws))[-1].index + 1, 20)
    return list(map(json.loads, raws))


async def test_each_task_is_answered_as_without_one(opened, monkeypatch):
    async with opened(index=True) as log:
        await filled(log)
        maker = maker_of(log)
        head, (page,), looked = await answered(maker, PageTask(SEARCH, keys_of(log, SEARCH), 20, None))
        found = await log.searcher.ask(SEARCH, limit=20)
        assert [each["eventId"] for each in json.loads(page)["events"]] == [each.leaf.event_id for each in found.events]
        assert (head, looked > 20) == (Head(len(page)), True)
        _, (page,), _ = await answered(maker, PageTask(SEARCH, keys_of(log, SEARCH), 20, found.next))
        assert json.loads(page)["events"][0]["log"]["index"] < found.next.before
        head, pages, _ = await answered(maker, ExportTask(READ, keys_of(log, READ), "csv"))
        async with aclosing(export_events(log.searcher, READ, "csv")) as lines:
            assert (head, b"".join(pages)) == (Head(), b"".join([line async for line in lines]))
        head, (data,), looked = await answered(maker, EvidenceTask(asked(log.bucket_keys, READ)))
        bundle = parse_evidence(data)
        verify_evidence(log.verifier, READ, bundle)
        assert (head, looked) == (Head(len(data)), len(bundle.entries))
        head, (text,), _ = await answered(maker, EvidenceTask(asked(log.bucket_keys, READ), in_json=True))
        assert (head, json.loads(text)) == (Head(len(text)), data.decode())
        for module in (evidence, sets):
            monkeypatch.setattr(module, "MAX_POSTINGS", 20)
        with pytest.raises(TooLargeError):
            await answered(maker, EvidenceTask(asked(log.bucket_keys, READ)))
        head, files, looked = await answered(maker, EvidenceTask(asked(log.bucket_keys, READ), accepts_parts=True))
        parts = list(map(parse_evidence, files))
        assert verify_evidence_set(log.verifier, READ, iter(parts)).count == bundle.manifest.answers
        assert (head, looked) == (Head(parts=True), sum(len(part.entries) for part in parts))


async def test_a_task_brings_the_keys_of_what_is_asked_and_no_others(opened):
    async with opened(index=True) as log:
        question = parse_question({"userId": "nobody", "action": "read"})
        tasks = (
            EvidenceTask(asked(log.bucket_keys, question)),
            ExportTask(question, keys_of(log, question), "csv"),
            PageTask(question, keys_of(log, question), 5, None),
        )
        keys = [log.bucket_keys.bucket_key(bucket) for bucket in range(1 << log.bucket_keys.bits)]
        for task in tasks:
            data = msgspec.msgpack.encode(task)
            assert msgspec.msgpack.decode(data, type=bulk.Task) == task
            assert not [key for key in keys if key in data], "the one that is handed out is there in base64"


async def test_s15_one_bundle_is_made_at_a_time(opened, monkeypatch):
    async with opened(index=True) as log:
        await filled(log)
        maker, under_way, honest = maker_of(log), [], bulk.make_bundle

        async def make(*arguments):
            under_way.append(1)
            assert len(under_way) == 1
            await asyncio.sleep(0)
            made = await honest(*arguments)
            under_way.pop()
            return made

        monkeypatch.setattr(bulk, "make_bundle", make)
        tasks = [answered(maker, EvidenceTask(asked(log.bucket_keys, READ))) for _ in range(4)]
        assert len({pieces[0] for _, pieces, _ in await asyncio.gather(*tasks)}) == 1
