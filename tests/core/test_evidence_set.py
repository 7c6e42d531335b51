"""Sets of bundles: every division of an answer proves it, and nothing but all parts in their order does."""

from __future__ import annotations

import json
import random

import bundles
import pytest
import reference
from bundles import canonical, file_of, moment, sample_log, signed

from tlog.core.evidence import parse_evidence, verify_evidence
from tlog.core.evidence_set import verify_evidence_set
from tlog.core.note import parse_vkey
from tlog.core.question import parse_question
from tlog.errors import MalformedInputError, NotCheckedError, OtherQuestionError, TlogError, VerificationError

LOG = sample_log()
VERIFIER = parse_vkey(bundles.vkey())
RECORD = {"resourceType": "record", "resourceId": "R:4"}
QUESTIONS = {
    "actor": {"userId": "user-3"},
    "resource": RECORD,
    "resource and more": RECORD | {"outcome": "success", "from": "2026-03-01T00:20:00Z"},
    "patient": {"resourceType": "patient", "resourceId": "P:0"},
    "control": {"control": "order"},
    "window": {"action": "read", "loggedFrom": moment(20), "loggedTo": moment(90)},
    "nobody": {"userId": "nobody"},
}


def verify_set(parts, question):
    read = (parse_evidence(file_of(part)) for part in parts)
    return verify_evidence_set(VERIFIER, parse_question(question), read)


@pytest.mark.parametrize("name", QUESTIONS)
@pytest.mark.parametrize("cuts", [(), (64,), (63, 65), (21, 22, 37, 38, 89), (30, 64, 70)])
def test_the_parts_prove_what_one_bundle_proves(name, cuts):
    question = QUESTIONS[name]
    for disclose in (False, True):
        whole = verify_evidence(
            VERIFIER, parse_question(question), parse_evidence(file_of(LOG.bundle(question, disclose=disclose)))
        )
        assert verify_set(LOG.parts(question, cuts, disclose=disclose), question) == whole


def test_the_window_of_a_part_may_be_one_entry():
    question = QUESTIONS["actor"]
    proved = verify_set(LOG.parts(question, range(1, LOG.size)), question)
    assert [index for index, _ in proved.answers] == [n for n in range(LOG.size) if LOG.answers(n, question)]


def test_a_part_alone_proves_nothing():
    for cuts in ((), (64,)):
        for part in LOG.parts(RECORD, cuts):
            bundle = parse_evidence(file_of(part))
            with pytest.raises(NotCheckedError, match="all of them are needed"):
                verify_evidence(VERIFIER, parse_question(RECORD), bundle)
            spoiled = parse_evidence(file_of(part | {"hashes": ""}))
            with pytest.raises(VerificationError):
                verify_evidence(VERIFIER, parse_question(RECORD), spoiled)


PARTS = LOG.parts(RECORD, (30, 64, 90))
OTHER = sample_log(later=3)


def at(place, **members):
    """The parts, one of them with other members."""
    return [*PARTS[:place], PARTS[place] | members, *PARTS[place + 1 :]]


def shown(place, more=(), less=()):
    """The parts, one of them with other entries."""
    indexes = sorted({index for index, _ in PARTS[place]["entries"]} - set(less) | set(more))
    return at(place, **LOG.shown(indexes))


MISSING = {
    "no part": [],
    "the first": PARTS[1:],
    "the last": PARTS[:-1],
    "one between": [PARTS[0], *PARTS[2:]],
    "two changed places": [PARTS[0], PARTS[2], PARTS[1], PARTS[3]],
}
WRONG = {
    "a part twice": [PARTS[0], *PARTS],
    "another number of parts": at(1, part=[2, 5]),
    "part 0": at(0, part=[0, 4]),
    "a part beyond": at(3, part=[5, 4]),
    "a bundle of the mode answer": [*PARTS[:3], LOG.bundle(RECORD, window=(90, 121))],
    "only a bundle of the mode answer": [LOG.bundle(RECORD)],
    "a part without its place": at(0, part=[1]),
    "another question": at(2, question={"resourceType": "record", "resourceId": "R:5"}),
    "another checkpoint": at(2, checkpoint=bundles.note(len(OTHER.entries), OTHER.root)),
    "another epoch": at(2, epoch=64),
    "another table": at(2, table=bundles.b64(OTHER.index.table()[:56])),
    "another disclosure": at(2, disclosure="full"),
    "all of another log": sample_log(60, [61]).parts(RECORD, (30,)) + PARTS[2:],
    "a gap": [PARTS[0], *LOG.parts(RECORD, (31, 64, 90))[1:]],
    "an overlap": [PARTS[0], *LOG.parts(RECORD, (29, 64, 90))[1:]],
    "an empty window": LOG.parts(RECORD, (30, 30, 90)),
    "a window that begins late": [LOG.bundle(RECORD, mode="part", window=(1, 30), part=(1, 4)), *PARTS[1:]],
    "a window that ends early": [*PARTS[:3], LOG.bundle(RECORD, mode="part", window=(90, 120), part=(4, 4))],
    "an outer edge that is missing": shown(3, less=[120]),
    "an inner edge": shown(1, more=[30]),
    "an inner edge at the end": shown(0, more=[29]),
    "entry 0 is missing": shown(2, less=[0]),
    "the epoch is missing": shown(2, less=[LOG.epoch]),
    "an answer is missing": shown(2, less=[70]),
    "a bucket key is missing": at(2, buckets=PARTS[2]["buckets"][:1]),
    "a manifest of the whole": at(1, manifest=LOG.bundle(RECORD)["manifest"]),
}  # fmt: skip


@pytest.mark.parametrize("name", MISSING)
def test_all_parts_are_needed(name):
    assert verify_set(PARTS, RECORD).count == 14
    with pytest.raises(NotCheckedError, match="is missing: all of them are needed"):
        verify_set(MISSING[name], RECORD)


@pytest.mark.parametrize("name", WRONG)
def test_wrong_sets_are_refused(name):
    with pytest.raises((VerificationError, MalformedInputError)):
        verify_set(WRONG[name], RECORD)


def test_parts_of_another_question_are_refused():
    with pytest.raises(OtherQuestionError, match="another question"):
        verify_set(PARTS, RECORD | {"resourceId": "R:5"})


def logged(log, times):
    """The log with other times of logging, by index."""
    for index, time in times.items():
        log.entries[index] = canonical(json.loads(log.entries[index]) | {"loggedAt": time})
    return signed(log)


def test_the_clock_does_not_go_back_from_part_to_part():
    """Within each part the entries rise: 26 and 36 are the last answer of the first part and the first one of the second."""
    honest = logged(sample_log(), {36: moment(26), 59: moment(48)})
    assert verify_set(honest.parts(RECORD, (30, 64, 90)), RECORD).count == 14
    back = logged(sample_log(), {36: moment(25), 59: moment(48)})
    with pytest.raises(VerificationError, match="clock went back from one part to the next"):
        verify_set(back.parts(RECORD, (30, 64, 90)), RECORD)
    nobody = {"userId": "nobody"}  # parts without entries in between show nothing
    assert verify_set(back.parts(nobody, (30, 64, 90)), nobody).count == 0
    later = logged(sample_log(), {70: moment(47), **{index: moment(47) for index in (81, 92)}})
    parts = [part | {} for part in later.parts(RECORD, (50, 60, 61, 65, 90))]
    with pytest.raises(VerificationError, match="clock"):
        verify_set(parts, RECORD)


def test_what_cannot_be_checked_is_named_after_all_is_verified():
    log = sample_log()
    salt, body = bytes(16), canonical({"id": "R:4\U0010ffff", "type": "patient"})
    entry = json.loads(log.entries[3])
    entry["commitments"]["related"][0] = bundles.b64url(bundles.hashlib.sha256(b"\x10" + salt + body.encode()).digest())
    log.entries[3] = canonical(entry)
    log.root = reference.tree_hash([each.encode() for each in log.entries])
    parts = log.parts(RECORD, (30, 64, 90), disclose=True)
    parts[0]["disclosures"][0][1]["related/0"] = {"body": body, "salt": bundles.b64url(salt)}
    with pytest.raises(NotCheckedError, match="the related/0 shown of entry 3 has characters"):
        verify_set(parts, RECORD)
    parts[-1]["manifest"]["answers"] += 1
    with pytest.raises(VerificationError, match="manifest"):
        verify_set(parts, RECORD)


def test_parts_of_any_two_sets_prove_nothing_false():
    """Whatever is put together of the parts of several sets is the true answer, or refused."""
    rng = random.Random(5)
    questions = [RECORD, {"userId": "user-3"}, RECORD | {"loggedFrom": moment(30)}]
    verified = 0
    for _ in range(300):
        cuts = sorted(rng.sample(range(1, LOG.size), 2))
        sets = [LOG.parts(rng.choice(questions), [cut for cut in cuts if cut > 40]) for _ in range(2)]
        parts = [rng.choice(pair) for pair in zip(*sets, strict=False)]
        question = parts[0]["question"]
        try:
            proved = verify_set(parts, question)
        except TlogError:
            continue
        start, end = LOG.window(question)
        assert [index for index, _ in proved.answers] == [n for n in range(start, end) if LOG.answers(n, question)]
        verified += 1
    assert 0 < verified < 300
