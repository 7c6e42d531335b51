"""tools/verify.py: an index that leaves out any kind of entry, false keys of any group, and keys that only look right."""

from __future__ import annotations

import hashlib
import json

import bundles
import pytest
import reference
from bundles import b64, b64url, canonical
from core import test_evidence as evidence
from offline import check_evidence, check_fraud, event_file, spoken

PATIENT = {"resourceType": "patient", "resourceId": "P:0"}


def left_out(number, key):
    """A log whose index leaves out the posting of an entry under one of its keys."""

    def spoil(start, postings):
        if start > number:
            return postings
        return [each for each in postings if each != key[:8] + (number - start).to_bytes(4)]

    return bundles.sample_log(spoil=spoil)


OMISSIONS = {
    "what an event names": (36, ("patient", "P:0"), PATIENT),
    "another thing that an event names": (36, ("record", "R:4"), {"resourceType": "record", "resourceId": "R:4"}),
    "an operation": (36, ("operation", "Do:4"), {"operation": "Do:4"}),
    "a source": (36, ("source", "app-0"), {"sourceId": "app-0"}),
    "nobody known": (29, ("actor", ""), {"actorType": "unknown"}),
    "whom an entry of a later type names": (37, ("patient", "P:0"), PATIENT),
    "an entry of a later type": (37, ("control", "order"), {"control": "order"}),
}


@pytest.mark.parametrize("name", OMISSIONS)
def test_an_omission_under_any_key_is_convicted(tmp_path, capsys, name):
    number, (kind, value), question = OMISSIONS[name]
    honest = evidence.LOG
    public = kind in ("operation", "source", "control")
    ident = bundles.ident_of(*(("actor", value) if kind == "actor" else ("related", kind, value)))
    key = bundles.public_key(kind, value) if public else bundles.personal_key(ident)
    cheat = left_out(number, key)
    leaves = [entry.encode() for entry in cheat.entries]
    proof = "".join(f"{b64(each)}\n" for each in reference.path(number, leaves))
    note = bundles.note(len(leaves), cheat.root)
    files = (f"c2sp.org/tlog-proof@v1\nindex {number}\n{proof}\n{note}".encode(), event_file(cheat.entries[number], {}))
    for mode in ["answer"] + ["count"] * ("sourceId" not in question):
        code, said = check_fraud(tmp_path, capsys, cheat.bundle(question, mode=mode), files)
        assert (code, f"FRAUD: the index epoch of 121 entries leaves out entry {number}" in said) == (0, True), said
        code, said = check_fraud(tmp_path, capsys, honest.bundle(question, mode=mode), files)
        assert (code, "no fraud" in said) == (1, True), said
    (part, *_) = cheat.parts(question, [60])
    assert check_fraud(tmp_path, capsys, part, files)[0] == 0


def with_data(number, group, body, **named):
    """A log whose event commits to other data in a group than its keys are made of, and that event's proof with its data."""
    log = bundles.sample_log()
    salt, text = bundles.disclosure(number, group, body)
    entry = json.loads(log.entries[number])
    commitment = b64url(hashlib.sha256(b"\x10" + salt + text.encode()).digest())
    kind, _, place = group.partition("/")
    if place:
        entry["commitments"][kind][int(place)] = commitment
    else:
        entry["commitments"][kind] = commitment
    log.events[number].disclosures[group] = salt, text
    return spoken(log, number, **(entry | named))


FALSE_KEYS = {
    "actor": ({"appendedBy": "key-1", "userId": "user-5"}, {"userId": "user-5"}),
    "resource": ({"resource": {"id": "R:9", "type": "record"}}, {"resourceType": "record", "resourceId": "R:9"}),
    "related/0": ({"id": "P:5", "type": "patient"}, {"resourceType": "patient", "resourceId": "P:5"}),
    "related/1": ({"id": "R:9", "type": "record"}, {"resourceType": "record", "resourceId": "R:9"}),
    "actor unknown": ({"appendedBy": "key-1", "type": "unknown"}, {"actorType": "unknown"}),
}


@pytest.mark.parametrize("name", FALSE_KEYS)
def test_a_false_key_of_any_group_is_convicted(tmp_path, capsys, name):
    body, question = FALSE_KEYS[name]
    group, number = name.split()[0], 36
    log = with_data(number, group, body)
    denied, files = log.bundle(question), log.event_proof(number, disclose=True)
    assert check_evidence(tmp_path, capsys, denied, question)[0] in (0, 3)
    code, said = check_fraud(tmp_path, capsys, denied, files)
    assert (code, f"entry {number} carries a false key: its {group} has another one" in said) == (0, True), said
    assert check_fraud(tmp_path, capsys, denied, log.event_proof(number))[0] == 1
    assert check_fraud(tmp_path, capsys, denied | {"buckets": []}, files)[0] == 1
    # Shown to whoever asked for what the key is of, it is refused.
    asked = {"actor": {"userId": "user-1"}, "resource": {"resourceType": "record", "resourceId": "R:3"},
             "related/0": PATIENT | {"loggedTo": bundles.moment(37, fraction=False)}, "related/1": {"resourceType": "record", "resourceId": "R:4"}}[group]  # fmt: skip
    code, verdict = check_evidence(tmp_path, capsys, log.bundle(asked, disclose=True), asked)
    assert (code, f"entry {number} carries a false key: the {group} shown" in verdict["problems"][0]) == (1, True), (
        verdict
    )
    assert check_evidence(tmp_path, capsys, log.bundle(asked), asked)[0] == 0


def test_an_honest_log_carries_no_false_key(tmp_path, capsys):
    for number in (29, 36, 90):
        files = evidence.LOG.event_proof(number, disclose=True)
        for question in (
            {"userId": "user-1"},
            {"actorType": "unknown"},
            PATIENT,
            {"resourceType": "record", "resourceId": "R:4"},
        ):
            assert check_fraud(tmp_path, capsys, evidence.LOG.bundle(question), files)[0] == 1


def with_keys_of(number, keys):
    """A log in which an entry has these keys, with an index that was made of them."""
    log = bundles.sample_log()
    members = json.loads(log.entries[number])
    log.events[number].keys = keys
    logged = {
        **{n: event.keys for n, event in log.events.items()},
        **{n: each.keys for n, each in log.controls.items()},
    }
    log.index = bundles.Index(logged, [64, 100, 101, 121])
    epoch = json.loads(log.entries[log.epoch])
    epoch["table"] = b64url(hashlib.sha256(b"\x13" + log.index.table()).digest())
    log.entries[log.epoch] = canonical(epoch)
    return spoken(log, number, **(members | {"keys": [b64url(key) for key in keys]}))


def test_who_shares_half_a_key_is_no_answer_and_is_reported(tmp_path, capsys):
    question, number = {"userId": "user-3"}, 18
    asked = bundles.personal_key(bundles.ident_of("actor", "user-3"))
    keys = [asked[:8] + bytes(8), *evidence.LOG.events[number].keys[1:]]
    log = with_keys_of(number, keys)
    bundle = log.bundle(question)
    assert bundle["manifest"]["postings"] == bundle["manifest"]["answers"] + 1
    code, verdict = check_evidence(tmp_path, capsys, bundle, question)
    assert (code, f"{bundle['manifest']['answers']} events" in verdict["summary"]) == (0, True), verdict
    assert verdict["beside"] == [f"entry {number} shares the first 8 bytes of a key asked for, which answers nothing"]
    bundle["manifest"]["answers"] += 1
    assert check_evidence(tmp_path, capsys, bundle, question)[0] == 1
    count = log.bundle(question, mode="count")
    code, verdict = check_evidence(tmp_path, capsys, count, question, "--count")
    assert (code, any("only shares the first 8 bytes" in line for line in verdict["notProved"])) == (0, True)


def test_a_key_in_the_place_of_another_kind_is_refused(tmp_path, capsys):
    question, number = {"userId": "user-3"}, 18
    asked = bundles.personal_key(bundles.ident_of("actor", "user-3"))
    first, _, *rest = evidence.LOG.events[number].keys
    for keys in ([first, asked, *rest], [first, evidence.LOG.events[number].keys[1], *rest[:-1], asked]):
        code, verdict = check_evidence(tmp_path, capsys, with_keys_of(number, keys).bundle(question), question)
        assert (code, "in the place of another kind" in verdict["problems"][0]) == (1, True), verdict


def test_what_an_event_is_about_it_does_not_name_as_well(tmp_path, capsys):
    question, number = {"resourceType": "record", "resourceId": "R:7"}, 18
    related = bundles.personal_key(bundles.ident_of("related", "record", "R:7"))
    keys = [*evidence.LOG.events[number].keys[:-1], related]
    log = with_keys_of(number, keys)
    code, verdict = check_evidence(tmp_path, capsys, log.bundle(question), question)
    assert (code, f"entry {number} names the resource twice" in verdict["problems"][0]) == (1, True), verdict


def test_entry_0_is_of_the_log_that_signed(tmp_path, capsys):
    for question in ({"action": "read"}, {"userId": "user-3"}):
        log = spoken(bundles.sample_log(), 0, origin="example.com/other")
        code, verdict = check_evidence(tmp_path, capsys, log.bundle(question), question)
        assert (code, "another origin" in verdict["problems"][0]) == (1, True)
        verdict = check_evidence(tmp_path, capsys, evidence.LOG.bundle(question), question)[1]
        log_id = b64url(hashlib.sha256(b"\0" + evidence.LOG.entries[0].encode()).digest())
        assert verdict["log"] == {"origin": bundles.ORIGIN, "id": log_id}
