"""Sets of bundles: whatever a set is cut into, all parts together prove the answer, and one of them alone proves nothing."""

from __future__ import annotations

import json
import random
from contextlib import aclosing

import pytest
from questions import brute_force, random_question, varied_events
from support import append

from tlog.answering import evidence, sets
from tlog.core.evidence import format_evidence, parse_evidence, verify_evidence
from tlog.core.evidence_set import verify_evidence_set
from tlog.core.proof import plan_joint
from tlog.core.question import parse_question
from tlog.errors import DamagedLogError, MalformedInputError, NotCheckedError, NotFoundError, TooLargeError
from tlog.storage.reading import View

pytestmark = pytest.mark.anyio


async def filled(log, rng, count=600):
    sent = []
    for seed in (1, 2):
        raws = varied_events(rng, count // 2, seed=seed)
        sent += map(json.loads, raws)
        await log.wait_indexed((await append(log, raws))[-1].index + 1, 20)
    return sent


def bound(monkeypatch, *, postings=10_000, size=16 << 20):
    """Make bundles small, so that few events take many."""
    for module in (evidence, sets):
        monkeypatch.setattr(module, "MAX_POSTINGS", postings)
        monkeypatch.setattr(module, "MAX_SIZE", size)
    monkeypatch.setattr(sets, "_FIXED", 12 << 10)


async def set_of(log, members, **options):
    """The parts of a set as they stand in their files."""
    question = parse_question(members)
    async with aclosing(sets.make_set(log.reader, log.verifier, log.bucket_keys, question, **options)) as parts:
        return [format_evidence(part) async for part in parts]


@pytest.mark.parametrize(
    "limits, questions", [({"postings": 1}, 3), ({"postings": 37}, 12), ({"size": 40 << 10}, 12)], ids=str
)
async def test_a_set_proves_the_whole_answer(opened, monkeypatch, limits, questions):
    rng = random.Random(3)
    async with opened(index=True) as log:
        sent = await filled(log, rng)
        bound(monkeypatch, **limits)
        asked = 0
        while asked < questions:
            members = random_question(rng, sent)
            question = parse_question(members)
            if not question.looked_under() or not (expected := brute_force(sent, members)):
                continue
            asked += 1
            files = await set_of(log, members, disclose=asked % 2 == 0)
            parts = list(map(parse_evidence, files))
            assert [part.part for part in parts] == [(number, len(parts)) for number in range(1, len(parts) + 1)]
            assert all(part.start < part.end for part in parts)
            assert all(part.manifest.postings <= limits.get("postings", 10_000) for part in parts)
            assert all(len(file) <= limits.get("size", 16 << 20) for file in files)
            proved = verify_evidence_set(log.verifier, question, iter(parts))
            assert [entry.eventId for _, entry in reversed(proved.answers)] == expected
            with pytest.raises(NotCheckedError, match="all of them are needed"):
                verify_evidence(log.verifier, question, parts[0])


async def test_what_one_bundle_does_not_hold_is_refused_with_a_way_out(opened, monkeypatch):
    async with opened(index=True) as log:
        await filled(log, random.Random(4))
        question = parse_question({"action": "read"})
        make = evidence.make_evidence
        assert (await make(log.reader, log.verifier, log.bucket_keys, question)).manifest.answers > 50
        for limits, named in (({"postings": 50}, "entries under"), ({"size": 20 << 10}, "bytes")):
            bound(monkeypatch, **limits)
            with pytest.raises(TooLargeError, match=f"{named}.*application/x-ndjson"):
                await make(log.reader, log.verifier, log.bucket_keys, question)
            # The number alone always fits.
            assert (await make(log.reader, log.verifier, log.bucket_keys, question, mode="count")).manifest.answers > 50


async def test_s3_what_is_too_large_is_refused_before_it_is_read(opened, monkeypatch):
    """The database says how large it is: nobody's large events come into memory to be found too large."""
    read, honest = [], View.events

    async def events(view, indexes):
        read.append(len(indexes))
        return await honest(view, indexes)

    monkeypatch.setattr(View, "events", events)
    async with opened(index=True) as log:
        await filled(log, random.Random(4))
        question = parse_question({"action": "read"})
        made = await evidence.make_evidence(log.reader, log.verifier, log.bucket_keys, question, disclose=True)
        assert read == [made.manifest.postings]
        bound(monkeypatch, size=20 << 10)
        with pytest.raises(TooLargeError, match="what is in it has"):
            await evidence.make_evidence(log.reader, log.verifier, log.bucket_keys, question, disclose=True)
        assert len(read) == 1
        # To cut a set, a few are read at a time.
        bound(monkeypatch, size=100 << 10)
        monkeypatch.setattr(sets, "_READ_AT_ONCE", 10_000)
        parts = await set_of(log, {"action": "read"}, disclose=True)
        assert len(parts) > 1
        assert max(read[1:]) < made.manifest.postings / len(parts) + 10


async def test_parts_are_full(opened, monkeypatch):
    """No part ends before its bounds make it: a set has as few parts as can be."""
    async with opened(index=True) as log:
        sent = await filled(log, random.Random(5))
        bound(monkeypatch, postings=50)
        parts = [parse_evidence(file) for file in await set_of(log, {"action": "read"})]
        assert len(parts) == -(-len(brute_force(sent, {"action": "read"})) // 50)
        bound(monkeypatch, size=100 << 10)
        files = await set_of(log, {"action": "read"})
        assert all(len(file) > 60 << 10 for file in files[:-1])


async def test_sets_need_an_index_and_a_key(opened):
    async with opened() as log:
        with pytest.raises(MalformedInputError, match="names none"):
            await set_of(log, {"outcome": "failure"})
        with pytest.raises(NotFoundError, match="nothing is indexed"):
            await set_of(log, {"action": "read"})


async def test_a_set_with_a_clock_that_went_back_is_not_handed_out(opened, monkeypatch):
    async with opened(index=True) as log:
        await filled(log, random.Random(6))
        bound(monkeypatch, postings=50)
        honest = sets.verify_part
        calls = []

        def went_back(*arguments):
            proved, entries = honest(*arguments)
            calls.append(len(entries))
            early = "2020-01-01T00:00:00.000000Z"

            class Early:
                loggedAt = early  # noqa: N815 - the format's name

            return proved, (entries if len(calls) == 1 else dict.fromkeys(entries, Early))

        monkeypatch.setattr(sets, "verify_part", went_back)
        with pytest.raises(DamagedLogError):
            await set_of(log, {"action": "read"})
        assert len(calls) == 2


@pytest.mark.parametrize("before, index", [(0, 1), (0, 2), (3, 4), (5, 17), (6, 1 << 20), (100, 3_000_001)])
def test_hashes_between_two_leaves_are_counted(before, index):
    size = 1 << 23
    between = [part for part in plan_joint([before, index], size) if before < part.start < index]
    assert sets._hashes_between(before, index) == len(between)
