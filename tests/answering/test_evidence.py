"""Evidence: every answer equals brute force and verifies; every change of a bundle is refused or answers the same."""

from __future__ import annotations

import json
import random

import msgspec
import pytest
from questions import QUESTIONS, brute_force, random_question, resources_of, varied_events
from stored import erase
from support import append, control_draft, sample_events, verify_offline

from tlog.answering.evidence import make_evidence
from tlog.answering.prove import checkpoint_of, event_file, prove_inclusion
from tlog.answering.query import event_document
from tlog.answering.sets import make_set
from tlog.core.evidence import format_evidence, parse_evidence, verify_evidence, verify_part
from tlog.core.evidence_set import verify_evidence_set
from tlog.core.making.outcome import draft_outcome
from tlog.core.outcome import Lost
from tlog.core.question import parse_question
from tlog.core.verify import verify_event
from tlog.errors import DamagedLogError, MalformedInputError, MissingError

pytestmark = pytest.mark.anyio


async def filled(log, rng, counts=((1, 700), (2, 200))):
    """Append, index, append more; return the indexed events as they were sent."""
    sent = []
    for seed, count in counts:
        raws = varied_events(rng, count, seed=seed)
        sent += map(json.loads, raws)
        receipts = await append(log, raws)
        await log.wait_indexed(receipts[-1].index + 1, 20)
    return sent


async def evidence(log, members, **options):
    return await make_evidence(log.reader, log.verifier, log.bucket_keys, parse_question(members), **options)


async def test_evidence_equals_brute_force_and_verifies(opened):
    rng = random.Random(3)
    async with opened(index=True) as log:
        sent = await filled(log, rng)
        proved = 0
        for _ in range(QUESTIONS):
            members = random_question(rng, sent)
            question = parse_question(members)
            if not question.keys(lambda _: b""):
                with pytest.raises(MalformedInputError, match="names none"):
                    await evidence(log, members)
                continue
            data = format_evidence(await evidence(log, members, disclose=rng.random() < 0.5))
            result = verify_evidence(log.verifier, question, parse_evidence(data))
            assert [entry.eventId for _, entry in reversed(result.answers)] == brute_force(sent, members)
            if question.countable():
                counted = verify_evidence(log.verifier, question, await evidence(log, members, mode="count"))
                of_it = [index for index, _ in result.answers if result.matched.get(index, "resource") == "resource"]
                assert (counted.count, counted.answers) == (len(of_it), None)
                if "resourceId" in members:
                    assert counted.named == len(result.answers) - len(of_it)
            proved += 1
        assert proved > QUESTIONS / 2


async def test_the_offline_verifier_agrees(opened, directory):
    """A sample of questions through tools/verify.py as a stranger would run it; what it prints names every answer."""
    rng = random.Random(5)
    async with opened(index=True) as log:
        sent = await filled(log, rng)
        asked = 0
        while asked < 25:
            members = random_question(rng, sent)
            question = parse_question(members)
            if not question.keys(lambda _: b""):
                continue
            asked += 1
            path = directory / "bundle.json"
            path.write_bytes(format_evidence(await evidence(log, members, disclose=True)))
            done = verify_offline("evidence", "--vkey", log.verifier.vkey(), *offline_options(members), "--json", path)
            verdict = json.loads(done.stdout)
            assert (done.returncode, verdict["verdict"]) == (0, "verified"), (members, verdict)
            expected = brute_force(sent, members)
            assert len(verdict["answers"]) == len(expected)
            groups = [len(resources_of(event)) + 1 for event in sent if event["eventId"] in expected]
            assert verdict["checked"]["disclosures"] == sum(groups)
            if question.countable():
                path.write_bytes(format_evidence(await evidence(log, members, mode="count")))
                done = verify_offline(
                    "evidence", "--vkey", log.verifier.vkey(), *offline_options(members), "--count", path
                )
                assert done.returncode == 0, done.stdout
                named = len(expected) - sum(applies_as_main(event, members) for event in sent)
                told = f"exactly {len(expected):,} event" if expected else "no event"
                if "resourceId" in members:
                    told = (
                        f"exactly {len(expected) - named:,} events of the resource, and {named:,} entries that name it"
                    )
                assert told in done.stdout


def applies_as_main(event, members):
    asked = members.get("resourceType"), members.get("resourceId")
    return resources_of(event)["resource"] == asked


def offline_options(members):
    """The command line of verify.py for a question."""
    return [option for name, value in members.items() for option in ("--ask", f"{name}={value}")]


async def test_one_of_ten_that_is_gone_is_missing_and_the_others_stay_as_they_were(opened, database):
    """Every bundle that claims to disclose says so; a proof says so too, and without disclosures everything holds."""
    event = json.loads(sample_events(1)[0])
    event["relatedResources"] = [{"type": "patient_record", "id": f"P-{number}", "role": "hit"} for number in range(10)]
    asked = [{"resourceType": "patient_record", "resourceId": f"P-{number}"} for number in range(10)]
    async with opened(index=True) as log:
        receipts = await append(log, [*sample_events(40, seed=2), json.dumps(event).encode()])
        await log.wait_indexed(receipts[-1].index + 1, 20)
        index = receipts[-1].index

        async def prove(members):
            bundle = parse_evidence(format_evidence(await evidence(log, members, disclose=True)))
            return verify_evidence(log.verifier, parse_question(members), bundle)

        before = [await prove(members) for members in asked]
        with database.connect_admin() as connection:
            erase(connection, [index], "related/3")
        for members in asked:
            with pytest.raises(MissingError, match=rf"MISSING: 1 disclosures .*: entry {index} related/3$"):
                await prove(members)
            assert (await evidence(log, members)).manifest.answers == 1
        document = event_document((await log.reader.find([event["eventId"]]))[0])
        leaf = (await log.reader.find([event["eventId"]]))[0]
        proof = await prove_inclusion(log.reader, leaf.leaf, await checkpoint_of(log.reader, None))
        with pytest.raises(MissingError, match=rf"entry {index} related/3$"):
            verify_event(log.verifier, event_file(leaf, disclose=True), proof.text())
        shown = verify_event(log.verifier, event_file(leaf, disclose=False), proof.text())
    for number, old in enumerate(before):
        assert old.matched == {index: f"related/{number}"}
        assert json.loads(old.bodies[index]["related/3"]) == event["relatedResources"][3]
    assert (document["log"]["lost"], document["log"]["missing"]) == ([], ["related/3"])
    assert "P-3" not in msgspec.json.encode(document).decode()
    assert (shown.index, shown.bodies) == (index, {})


async def test_what_was_lost_is_explained_in_bundles_sets_and_event_files(opened, database, monkeypatch):
    async with opened(index=True) as log:
        await append(log, sample_events(40, seed=2))
        size = (await log.reader.state()).size
        with database.connect_admin() as connection:
            erase(connection, range(21, size))
        events = sum([leaf.event_id is not None for leaf in [await log.reader.leaf(n) for n in range(21, size)]])
        said = draft_outcome(Lost(start=21, end=size, n=events))
        by = (await log.appender.append([said]))[0].index
        await log.wait_indexed(by + 1, 20)
        members = {"action": "read"}
        proved = verify_evidence(log.verifier, parse_question(members), await evidence(log, members, disclose=True))
        lost = [index for index, _ in proved.answers if index > 20]
        assert lost
        assert list(proved.absent) == [(index, group, by) for index in lost for group in ("actor", "resource")]
        assert max(proved.bodies) <= 20
        monkeypatch.setattr("tlog.answering.sets.MAX_POSTINGS", 10)
        stores = log.reader, log.verifier, log.bucket_keys
        parts = [part async for part in make_set(*stores, parse_question(members), disclose=True)]
        assert len(parts) > 1
        whole = verify_evidence_set(log.verifier, parse_question(members), parts)
        assert (whole.absent, whole.bodies) == (list(proved.absent), proved.bodies)
        leaf = next(each for each in (await log.searcher.ask(parse_question({}))).events if each.leaf.index in lost)
        proof = await prove_inclusion(log.reader, leaf.leaf, await checkpoint_of(log.reader, None))
        shown = verify_event(log.verifier, event_file(leaf, disclose=True), proof.text())
        assert (shown.absent, shown.bodies) == ((("actor", by), ("resource", by)), {})


async def test_a_count_about_a_resource_is_two_numbers(opened):
    """What happened to a patient, and what only names them: questions about them, searches, orders."""
    patient = {"type": "patient_record", "id": "P-77"}
    events = [json.loads(raw) for raw in sample_events(60)]
    for event in events[:7]:
        event["resource"] = patient
    for event in events[20:31]:
        event["relatedResources"] = [patient]
    members = {"resourceType": "patient_record", "resourceId": "P-77"}
    async with opened(index=True) as log:
        receipts = await append(log, [json.dumps(event).encode() for event in events])
        await log.wait_indexed(receipts[-1].index + 1, 20)
        counted = await evidence(log, members, mode="count")
        assert (counted.manifest.answers, counted.manifest.postings, counted.disclosure) == (7, 18, "none")
        proved = verify_evidence(log.verifier, parse_question(members), counted)
        assert (proved.count, proved.named) == (7, 11)
        assert len(counted.buckets) == 2
        combined = {**members, "userId": "nobody"}
        assert len((await evidence(log, combined)).buckets) == 3
        with pytest.raises(MalformedInputError, match="mode answer"):
            await evidence(log, {**members, "from": "2026-01-01"}, mode="count")
        assert (await evidence(log, {**members, "from": "2026-01-01"})).manifest.answers == 18


async def test_evidence_about_a_resource_with_few_events_is_small(opened):
    patient = {"type": "patient_record", "id": "P-77"}
    events = [json.loads(raw) for raw in sample_events(3_000)]
    for event in events[::500]:
        event["resource"] = patient
    for event in events[250::500]:
        event["relatedResources"] = [patient]
    async with opened(index=True) as log:
        receipts = await append(log, [json.dumps(event).encode() for event in events])
        await log.wait_indexed(receipts[-1].index + 1, 20)
        bundle = await evidence(log, {"resourceType": "patient_record", "resourceId": "P-77"}, disclose=True)
        assert bundle.manifest.answers == 12
        assert len(format_evidence(bundle)) < 40_000


async def test_control_entries_are_proved_where_they_are_asked_for(opened):
    async with opened(index=True) as log:
        receipts = await append(log, sample_events(20))
        await log.appender.append([control_draft(log, "n.varga"), control_draft(log, "a.nemeth")])
        await log.wait_indexed(receipts[-1].index + 3, 20)
        about = {"resourceType": "user", "resourceId": "n.varga"}
        for members, answers, buckets in (({"control": "order"}, 2, 0), ({"control": "order", **about}, 1, 1)):
            bundle = await evidence(log, members, disclose=True)
            proved = verify_part(log.verifier, parse_question(members), bundle)[0]
            assert (len(proved.answers), len(bundle.buckets)) == (answers, buckets)
            assert proved.unknown() == [index for index, _ in proved.answers]
        bundle = await evidence(log, about)
        proved = verify_part(log.verifier, parse_question(about), bundle)[0]
        # Not an event, so no answer, but named: somebody ordered something about them.
        assert (proved.answers, len(proved.apart), bundle.manifest.postings) == ([], 1, 1)


async def test_evidence_with_a_false_key_is_not_handed_out(opened):
    """An event about somebody under the key of somebody else: the bundle that shows their data would convict the log."""
    async with opened(index=True) as log:
        honest = log.bucket_keys.actor_text
        events = [json.loads(raw) for raw in sample_events(20, seed=3)]
        for event, user in zip(events, ["honest", "hidden"] * 10, strict=True):
            event["actor"] = {"userId": user}
        log.bucket_keys.actor_text = lambda user: honest("shown" if user == "hidden" else user)
        receipts = await append(log, [json.dumps(event).encode() for event in events])
        await log.wait_indexed(receipts[-1].index + 1, 20)
        assert (await evidence(log, {"userId": "honest"}, disclose=True)).manifest.answers == 10
        assert (await evidence(log, {"userId": "shown"})).manifest.answers == 10
        with pytest.raises(DamagedLogError) as refused:
            await evidence(log, {"userId": "shown"}, disclose=True)
        assert "false key" in str(refused.value.__cause__)
