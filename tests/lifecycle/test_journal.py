"""The read journal: whom a question was about stands where it can be erased, and nowhere else; and it is found."""

from __future__ import annotations

import json

import pytest
from support import ORIGIN, append, sample_events

from tlog.answering.evidence import make_evidence
from tlog.answering.query import event_document
from tlog.core.evidence import verify_evidence
from tlog.core.pseudonym import bucket_of
from tlog.core.question import parse_question
from tlog.lifecycle.journal import journal, related_resources

pytestmark = pytest.mark.anyio

PATIENT = {"resourceType": "patient_record", "resourceId": "P-1007"}


@pytest.mark.parametrize(
    "members, named",
    [
        ({"action": "read"}, []),
        (PATIENT, [("patient_record", "P-1007")]),
        ({"resourceType": "patient_record"}, []),
        ({"userId": "n.varga"}, [("user", "n.varga")]),
        ({**PATIENT, "userId": "n.varga"}, [("patient_record", "P-1007"), ("user", "n.varga")]),
        ({"resourceType": "user", "resourceId": "n.varga", "userId": "n.varga"}, [("user", "n.varga")]),
        ({"resourceType": "log", "resourceId": ORIGIN}, []),
        ({"resourceType": "log", "resourceId": "another"}, [("log", "another")]),
        ({"control": "order", **PATIENT}, [("patient_record", "P-1007")]),
        ({"actorType": "unknown"}, []),
        ({"userId": "e\u0301"}, [("user", "\u00e9")]),
    ],
)
def test_what_a_question_names_is_related(members, named):
    question = parse_question(members)
    told = related_resources(question, ORIGIN, None)
    assert [(each["type"], each["id"]) for each in told] == named
    buckets = sorted({bucket_of(ident, 16) for ident in question.idents().values()})
    with_evidence = related_resources(question, ORIGIN, 16)
    assert with_evidence == told + [{"type": "index_bucket", "id": str(bucket)} for bucket in buckets]


def test_no_bucket_is_named_twice():
    question = parse_question({**PATIENT, "userId": "n.varga"})
    assert related_resources(question, ORIGIN, 0)[2:] == [{"type": "index_bucket", "id": "0"}]
    asked_for = parse_question({"resourceType": "index_bucket", "resourceId": "0"})
    assert related_resources(asked_for, ORIGIN, 0) == [{"type": "index_bucket", "id": "0"}]


async def test_who_asked_about_somebody_is_a_question_like_any_other(opened):
    """The ids asked for are in disclosures that can be erased; not in the entry, nor in any other group."""
    async with opened(index=True) as log:
        await append(log, sample_events(30))
        question = parse_question({**PATIENT, "userId": "n.varga", "from": "2026-01-01"})
        await journal(log, "auditor", "api-key:7", "export", {"ask": "export"}, question=question, evidence=True)
        await journal(
            log, "auditor", "api-key:7", "read", {"ask": "events"}, question=parse_question({"action": "read"})
        )
        await log.wait_indexed((await log.reader.state()).size, 20)
        about = parse_question({"resourceType": "user", "resourceId": "n.varga"})
        answer = await log.searcher.ask(about)
        assert answer.matched == ["related/1"]
        found = answer.events[0]
        for members, group in (
            ({"resourceType": "user", "resourceId": "n.varga"}, "related/1"),
            (PATIENT, "related/0"),
        ):
            asked = parse_question(members)
            bundle = await make_evidence(log.reader, log.verifier, log.bucket_keys, asked, disclose=True)
            assert verify_evidence(log.verifier, asked, bundle).matched[found.leaf.index] == group
        bits = log.bucket_keys.bits
        buckets = sorted({bucket_of(ident, bits) for ident in question.idents().values()})
    document = event_document(found)
    related = [json.loads(bytes(disclosure[16:])) for disclosure in found.related]
    assert [(each["type"], each["id"]) for each in related] == [
        ("patient_record", "P-1007"),
        ("user", "n.varga"),
        *[("index_bucket", str(bucket)) for bucket in buckets],
    ]
    assert bytes(document["log"]["appendedBy"]) == b'"log"'
    details = json.loads(found.resource[16:])["details"]
    asked = {"ask": "export", "from": "2026-01-01T00:00:00Z", "resourceType": "patient_record"}
    assert json.loads(details["query"]) == asked
    elsewhere = found.entry + found.actor + found.resource
    assert b"P-1007" not in elsewhere
    assert b"n.varga" not in elsewhere
