"""Evidence: every answer equals brute force and verifies; every change of a bundle is refused or answers the same."""

from __future__ import annotations

import json
import random

import pytest
from questions import QUESTIONS, brute_force, random_question
from support import append, sample_events, verify_offline

from tlog.answering.evidence import make_evidence
from tlog.core.evidence import format_evidence, parse_evidence, verify_evidence
from tlog.core.question import parse_question
from tlog.errors import DamagedLogError, MalformedInputError

pytestmark = pytest.mark.anyio


async def filled(log, counts=((1, 700), (2, 200))):
    """Append, index, append more; return the indexed events as they were sent."""
    sent = []
    for seed, count in counts:
        raws = sample_events(count, seed=seed)
        sent += map(json.loads, raws)
        receipts = await append(log, raws)
        await log.wait_indexed(receipts[-1].index + 1, 20)
    return sent


async def evidence(log, members, **options):
    return await make_evidence(log.reader, log.verifier, log.bucket_keys, parse_question(members), **options)


async def test_evidence_equals_brute_force_and_verifies(opened):
    rng = random.Random(3)
    async with opened(index=True) as log:
        sent = await filled(log)
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
                assert (counted.count, counted.answers) == (len(result.answers), None)
            proved += 1
        assert proved > QUESTIONS / 2


async def test_the_offline_verifier_agrees(opened, directory):
    """A sample of questions through tools/verify.py as a stranger would run it; what it prints names every answer."""
    rng = random.Random(5)
    async with opened(index=True) as log:
        sent = await filled(log)
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
            lines = [line for line in verdict["details"] if line.startswith("entry")]
            assert len(lines) == len(expected)
            assert verdict["checked"]["disclosures"] == 2 * len(expected)
            if question.countable():
                path.write_bytes(format_evidence(await evidence(log, members, mode="count")))
                done = verify_offline(
                    "evidence", "--vkey", log.verifier.vkey(), *offline_options(members), "--count", path
                )
                assert done.returncode == 0, done.stdout
                assert (f"exactly {len(expected):,} event" if expected else "no event") in done.stdout


def offline_options(members):
    """The command line of verify.py for a question."""
    names = {"userId": "actor", "action": "action", "outcome": "outcome"}
    options = []
    for name, ask in names.items():
        if name in members:
            options += ["--ask", f"{ask}={members[name]}"]
    if "resourceId" in members:
        options += ["--ask", f"resource={members['resourceType']}:{members['resourceId']}"]
    elif "resourceType" in members:
        options += ["--ask", f"resourceType={members['resourceType']}"]
    for name, option in {
        "from": "--from",
        "to": "--to",
        "loggedFrom": "--logged-from",
        "loggedTo": "--logged-to",
    }.items():
        if name in members:
            options += [option, members[name]]
    return options


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
