"""Convicting a log: an event that the index leaves out, a key of other data, a clock that went back; and nobody else."""

from __future__ import annotations

import json
from hashlib import sha256

import bundles
import pytest
from bundles import b64url, canonical, file_of, sample_log, signed

from tlog.core.evidence import parse_evidence, verify_evidence
from tlog.core.fraud import find_clock_fraud, find_false_key, find_fraud, format_clock_fraud, parse_clock_fraud
from tlog.core.note import parse_vkey
from tlog.core.question import parse_question
from tlog.core.verify import verify_event
from tlog.errors import MalformedInputError, NotCheckedError, VerificationError

LOG = sample_log()
VERIFIER = parse_vkey(bundles.vkey())


# --- An event left out ----------------------------------------------------------------------------------------------

VICTIM = 70  # by user-0, about record R:4, an update


def without_victim(start, postings):
    """Leave the victim's postings out of the segment that should have them."""
    return [item for item in postings if start + int.from_bytes(item[8:]) != VICTIM]


CHEAT = sample_log(spoil=without_victim)
# The same in an epoch whose size, 115, is not the index of its own entry, 121.
SHORTER = sample_log(ends=[64, 100, 115], spoil=without_victim)


@pytest.mark.parametrize("question", [{"userId": "user-0"}, {"resourceType": "record", "resourceId": "R:4"}])
def test_an_omission_passes_as_evidence_and_is_convicted_by_a_proof(question):
    bundle = CHEAT.bundle(question)
    proved = verify_evidence(VERIFIER, parse_question(question), parse_evidence(file_of(bundle)))
    assert VICTIM not in dict(proved.answers)  # nothing in the bundle can show it
    key = CHEAT.events[VICTIM].keys["resourceId" in question]
    said = find_fraud(VERIFIER, parse_evidence(file_of(bundle)), key, VICTIM)
    assert said == f"the epoch of size 121 leaves out entry {VICTIM}"


def test_a_false_epoch_is_named_by_its_size():
    bundle = SHORTER.bundle({"userId": "user-0"})
    assert (SHORTER.size, SHORTER.epoch) == (115, 121)
    said = find_fraud(VERIFIER, parse_evidence(file_of(bundle)), SHORTER.events[VICTIM].keys[0], VICTIM)
    assert said == f"the epoch of size 115 leaves out entry {VICTIM}"


def test_an_honest_index_is_not_convicted():
    bundle = parse_evidence(file_of(LOG.bundle({"userId": "user-0"})))
    key = LOG.events[VICTIM].keys[0]
    with pytest.raises(VerificationError, match="holds entry 70"):
        find_fraud(VERIFIER, bundle, key, VICTIM)
    with pytest.raises(VerificationError, match="says nothing"):
        find_fraud(VERIFIER, bundle, key, 10_000)
    with pytest.raises(VerificationError, match="do not show"):
        find_fraud(VERIFIER, bundle, LOG.events[VICTIM].keys[2], VICTIM)
    forged = parse_evidence(file_of(LOG.bundle({"userId": "user-0"}) | {"epoch": 7}))
    with pytest.raises(VerificationError, match="not one that the log signed"):
        find_fraud(VERIFIER, forged, key, VICTIM)


def test_pages_around_two_keys_convict_too():
    """Of the bundle about a resource the pages are of two keys; an event that the index lacks under one of them convicts it."""
    question = {"resourceType": "record", "resourceId": "R:4"}
    related = 69  # names R:4 besides
    whole = lambda start, items: [item for item in items if start + int.from_bytes(item[8:]) != related]  # noqa: E731
    cheat = sample_log(spoil=whole)
    key = bundles.personal_key(bundles.ident_of("related", "record", "R:4"))
    assert key in cheat.events[related].keys
    bundle = parse_evidence(file_of(cheat.bundle(question)))
    assert find_fraud(VERIFIER, bundle, key, related) == f"the epoch of size 121 leaves out entry {related}"
    with pytest.raises(VerificationError, match=f"holds entry {related}"):
        find_fraud(VERIFIER, parse_evidence(file_of(LOG.bundle(question))), key, related)


def test_a_segment_without_postings_holds_nothing():
    cheat = sample_log(spoil=lambda start, items: items if start else [])
    bundle = parse_evidence(file_of(cheat.bundle({"action": "read"})))
    assert find_fraud(VERIFIER, bundle, bundles.action_key("read"), 1) == "the epoch of size 121 leaves out entry 1"


# --- A false key ------------------------------------------------------------------------------------------------------


def disclosing(index, group, body, log=None):
    """A log with an entry that commits to a body, and what its proof and event file show of it."""
    log, salt = log or sample_log(), bytes(16)
    entry = json.loads(log.entries[index])
    text = canonical(body)
    commitment = b64url(sha256(b"\x10" + salt + text.encode()).digest())
    kind, _, number = group.partition("/")
    if number:
        entry["commitments"]["related"][int(number)] = commitment
    else:
        entry["commitments"][kind] = commitment
    log.entries[index] = canonical(entry)
    proof, _ = signed(log).event_proof(index)
    event = bundles.event_file(log.entries[index], {group: {"body": text, "salt": b64url(salt)}})
    return log, verify_event(VERIFIER, event, proof)


ACTOR = {"appendedBy": "a", "userId": "user-4"}
FALSE = {
    "actor": (3, "actor", ACTOR, {"userId": "user-4"}),
    "unknown actor": (3, "actor", {"appendedBy": "a", "type": "unknown"}, {"actorType": "unknown"}),
    "resource": (3, "resource", {"resource": {"id": "R:5", "type": "record"}}, {"resourceType": "record", "resourceId": "R:5"}),
    "related": (3, "related/1", {"id": "R:6", "type": "record"}, {"resourceType": "record", "resourceId": "R:6"}),
    "another group": (36, "related/0", {"id": "P:7", "type": "patient"}, {"resourceType": "patient", "resourceId": "P:7"}),
}  # fmt: skip


@pytest.mark.parametrize("name", FALSE)
def test_a_false_key_of_any_group_convicts(name):
    index, group, body, question = FALSE[name]
    log, event = disclosing(index, group, body)
    bundle = parse_evidence(file_of(log.bundle(question)))
    said = find_false_key(VERIFIER, bundle, event.entry, event.bodies)
    assert said == f"event {event.entry.eventId} carries a false key: its {group} has another one"
    elsewhere = parse_evidence(file_of(log.bundle(question) | {"start": 5, "epoch": 3, "table": "", "segments": []}))
    assert find_false_key(VERIFIER, elsewhere, event.entry, event.bodies) == said
    without_keys = parse_evidence(file_of(log.bundle({"action": "read"})))
    with pytest.raises(VerificationError, match="does not show that a key of the event is false"):
        find_false_key(VERIFIER, without_keys, event.entry, event.bodies)


@pytest.mark.parametrize(
    "question", [{"userId": "user-3"}, {"resourceType": "record", "resourceId": "R:4"}, {"action": "read"}]
)
def test_right_keys_convict_nobody(question):
    bundle = parse_evidence(file_of(LOG.bundle(question)))
    for index in (3, 4, 29, 36, 70):
        proof, event = LOG.event_proof(index, disclose=True)
        verified = verify_event(VERIFIER, event, proof)
        with pytest.raises(VerificationError, match="does not show"):
            find_false_key(VERIFIER, bundle, verified.entry, verified.bodies)


def test_the_bucket_key_is_under_entry_0_of_this_log():
    log, event = disclosing(3, "actor", ACTOR)
    bundle = log.bundle({"userId": "user-4"})
    assert find_false_key(VERIFIER, parse_evidence(file_of(bundle)), event.entry, event.bodies)
    others = sorted({index for index, _ in bundle["entries"]} - {0})
    with pytest.raises(VerificationError, match="entry 0, which commits to the bucket keys, is not there"):
        find_false_key(VERIFIER, parse_evidence(file_of(bundle | log.shown(others))), event.entry, event.bodies)
    log.entries[0] = canonical(json.loads(log.entries[0]) | {"origin": "example.com/other"})
    foreign = parse_evidence(file_of(signed(log).bundle({"userId": "user-4"})))
    with pytest.raises(VerificationError, match="entry 0 names another log"):
        find_false_key(VERIFIER, foreign, event.entry, event.bodies)


def test_characters_that_these_unicode_tables_do_not_know_convict_nobody():
    """Unless another group does."""
    unknown = {"appendedBy": "a", "userId": "u\U0010ffff"}
    log, event = disclosing(3, "actor", unknown)
    bundle = parse_evidence(file_of(log.bundle({"userId": "user-4"})))
    with pytest.raises(NotCheckedError, match="the actor shown has characters"):
        find_false_key(VERIFIER, bundle, event.entry, event.bodies)
    resource = canonical({"resource": {"id": "R:5", "type": "record"}}).encode()
    bundle = parse_evidence(file_of(log.bundle({"resourceType": "record", "resourceId": "R:5"})))
    assert "its resource" in find_false_key(VERIFIER, bundle, event.entry, {**event.bodies, "resource": resource})


# --- A clock that went back -------------------------------------------------------------------------------------------


def back():
    log = sample_log()
    log.entries[10] = canonical(json.loads(log.entries[10]) | {"loggedAt": bundles.moment(18)})
    return signed(log)


def clock_fraud(log, *indexes, **members):
    shown = {"checkpoint": bundles.note(len(log.entries), log.root), **log.shown(list(indexes))}
    return (canonical(shown | {"type": "tlog-clock-fraud", "v": 1} | members) + "\n").encode()


def test_two_entries_convict_a_clock():
    data = clock_fraud(back(), 10, 17)
    fraud = parse_clock_fraud(data)
    assert format_clock_fraud(fraud) == data
    said = "the log's clock went back: entry 10 says that it was logged later than entry 17"
    assert find_clock_fraud(VERIFIER, fraud) == said
    bundle = parse_evidence(file_of(back().bundle({"userId": "user-3"})))
    assert find_clock_fraud(VERIFIER, bundle) == said
    for honest in (clock_fraud(LOG, 10, 17), clock_fraud(back(), 10, 18)):
        with pytest.raises(VerificationError, match="logged in order"):
            find_clock_fraud(VERIFIER, parse_clock_fraud(honest))


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{}\n", b"[" * 9_999, clock_fraud(back(), 10, 17)[:-1], clock_fraud(back(), 10), clock_fraud(back(), 3, 10, 17),
        clock_fraud(back(), 10, 17, v=True), clock_fraud(back(), 10, 17, x=1), b" " + clock_fraud(back(), 10, 17),
    ],
)  # fmt: skip
def test_other_bytes_are_no_clock_fraud(data):
    with pytest.raises(MalformedInputError):
        parse_clock_fraud(data)
