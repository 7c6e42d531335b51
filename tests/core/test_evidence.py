"""Evidence bundles made without tlog's code: right ones accepted, each wrong one refused, by tlog and by verify.py."""

from __future__ import annotations

import bundles
import msgspec
import pytest
from bundles import canonical, file_of, sample_log

from tlog.core.evidence import RangeText, find_fraud, format_range, parse_evidence, verify_evidence
from tlog.core.note import parse_vkey
from tlog.core.question import parse_question
from tlog.core.segment import PageRun, RangeProof
from tlog.errors import MalformedInputError, TlogError, VerificationError

LOG = sample_log()
VERIFIER = parse_vkey(bundles.vkey())
QUESTIONS = {
    "actor": {"userId": "user-3"},
    "resource": {"resourceType": "record", "resourceId": "R:4"},
    "action": {"action": "export"},
    "both": {"userId": "user-3", "resourceType": "record", "resourceId": "R:4"},
    "all": {"action": "read", "outcome": "success", "userId": "user-1", "from": "2026-03-01T00:10:00Z"},
    "until": {"action": "read", "to": "2026-03-01T00:40:00Z"},
    "type": {"userId": "user-3", "resourceType": "record"},
    "other type": {"userId": "user-3", "resourceType": "bill"},
    "nobody": {"userId": "nobody"},
    "nothing": {"resourceType": "record", "resourceId": "R:11"},
}


def verify(bundle, question):
    return verify_evidence(VERIFIER, parse_question(question), parse_evidence(file_of(bundle)))


@pytest.mark.parametrize("name", QUESTIONS)
def test_answers_are_proved(name):
    question = QUESTIONS[name]
    expected = [index for index, event in LOG.events.items() if bundles.applies(event, question)]
    for disclose in (False, True):
        proved = verify(LOG.bundle(question, disclose=disclose), question)
        assert [index for index, _ in proved.answers] == expected
        assert proved.count == len(expected)
        assert sorted(proved.bodies) == (expected if disclose else [])


@pytest.mark.parametrize("name", ["actor", "resource", "action", "nobody"])
def test_counts_are_proved(name):
    question = QUESTIONS[name]
    expected = sum(bundles.applies(event, question) for event in LOG.events.values())
    proved = verify(LOG.bundle(question, mode="count"), question)
    assert (proved.count, proved.answers) == (expected, None)


def test_a_range_proof_is_written_as_it_stands_in_a_bundle():
    proof = RangeProof(runs=(PageRun(3, b"p" * 384),), hashes=(b"h" * 32, b"i" * 32))
    assert format_range(proof) == RangeText(
        hashes=bundles.b64(b"h" * 32 + b"i" * 32), runs=[(3, bundles.b64(b"p" * 384))]
    )


def windowed(start, end):
    return {"userId": "user-3", "loggedFrom": bundles.moment(start), "loggedTo": bundles.moment(end)}


@pytest.mark.parametrize("start, end", [(0, 200), (10, 50), (64, 100), (65, 101), (70, 70), (100, 120), (5, 121)])
@pytest.mark.parametrize("mode", ["answer", "count"])
def test_windows_are_proved(start, end, mode):
    question = windowed(start, end)
    window = (start, min(end, LOG.size))
    expected = [n for n, event in LOG.events.items() if start <= n < end and event.members["userId"] == "user-3"]
    proved = verify(LOG.bundle(question, mode=mode, window=window), question)
    assert (proved.count, proved.start, proved.end) == (len(expected), *window)


def change(bundle, *path, to):
    """A copy of a bundle with one member changed."""
    copy = msgspec.json.decode(canonical(bundle))
    inner = copy
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = to(inner[path[-1]]) if callable(to) else to
    return copy


def drop(items):
    return items[1:]


ASKED = QUESTIONS["both"]
BUNDLE = LOG.bundle(ASKED, disclose=True)
OTHER = sample_log(121)
WRONG = {
    "other question": change(BUNDLE, "question", "userId", to="user-4"),
    "question with more": change(BUNDLE, "question", "action", to=lambda _: "read")
    if "action" in ASKED
    else BUNDLE | {"question": {**ASKED, "action": "read"}},
    "other log": change(BUNDLE, "checkpoint", to=bundles.note(OTHER.epoch + 1, OTHER.root)),
    "other key": change(BUNDLE, "checkpoint", to=lambda note: note.replace("example", "examqle")),
    "entry left out": change(BUNDLE, "entries", to=drop),
    "entry twice": change(BUNDLE, "entries", to=lambda entries: [entries[0], *entries]),
    "entries in another order": change(BUNDLE, "entries", to=lambda entries: entries[::-1]),
    "entry changed": change(BUNDLE, "entries", 1, 1, to=lambda entry: entry.replace("success", "unknown")),
    "no entries": change(BUNDLE, "entries", to=[]),
    "hash left out": change(BUNDLE, "hashes", to=lambda text: bundles.b64(bundles.base64.b64decode(text)[32:])),
    "half a hash": change(BUNDLE, "hashes", to=lambda text: bundles.b64(bundles.base64.b64decode(text)[16:])),
    "no hashes": change(BUNDLE, "hashes", to=""),
    "epoch that is an event": change(BUNDLE, "epoch", to=BUNDLE["entries"][1][0]),
    "epoch that is not there": change(BUNDLE, "epoch", to=1),
    "other table": change(BUNDLE, "table", to=bundles.b64(OTHER.index.table())),
    "no table": change(BUNDLE, "table", to=""),
    "table cut": change(BUNDLE, "table", to=lambda text: bundles.b64(bundles.base64.b64decode(text)[:-56])),
    "bucket key changed": change(BUNDLE, "buckets", 0, "key", to=bundles.b64(bytes(32))),
    "bucket keys swapped": change(BUNDLE, "buckets", to=lambda buckets: buckets[::-1]),
    "bucket key left out": change(BUNDLE, "buckets", to=drop),
    "no bucket keys": change(BUNDLE, "buckets", to=[]),
    "bucket key more": change(BUNDLE, "buckets", to=lambda buckets: [*buckets, buckets[0]]),
    "window too late": change(BUNDLE, "start", to=1),
    "window too early": change(BUNDLE, "end", to=lambda end: end - 1),
    "window inverted": change(BUNDLE, "end", to=-1),
    "window beyond": change(BUNDLE, "end", to=lambda end: end + 1),
    "segment left out": change(BUNDLE, "segments", to=drop),
    "segment more": change(BUNDLE, "segments", to=lambda segments: [*segments, segments[0]]),
    "pages left out": change(BUNDLE, "segments", 0, "runs", to=drop),
    "page number changed": change(BUNDLE, "segments", 0, "runs", 0, 0, to=lambda first: first + 1),
    "other mode": change(BUNDLE, "mode", to="count"),
    "disclosure changed": change(BUNDLE, "disclosures", 0, 1, "actor", "body", to='{"userId":"user-4"}'),
    "disclosure of another": change(BUNDLE, "disclosures", 0, 0, to=1),
    "disclosure twice": change(BUNDLE, "disclosures", to=lambda each: [each[0], *each]),
    "disclosure of another group": change(BUNDLE, "disclosures", 0, 1, to=lambda groups: {"x": groups["actor"]}),
    "disclosure of no group": change(BUNDLE, "disclosures", 0, 1, to={}),
    "disclosures uncounted": change(BUNDLE, "disclosures", to=[]),
    "answers miscounted": change(BUNDLE, "manifest", "answers", to=lambda count: count + 1),
    "postings miscounted": change(BUNDLE, "manifest", "postings", to=0),
}


def with_stray_entry():
    """An entry that is in the log, but has nothing to do with the question."""
    question = QUESTIONS["nobody"]
    bundle = LOG.bundle(question)
    needed = [0, 1, LOG.size - 1, LOG.epoch]
    leaves = [entry.encode() for entry in LOG.entries]
    bundle["entries"] = [[index, LOG.entries[index]] for index in needed]
    bundle["hashes"] = bundles.b64(b"".join(bundles.joint_proof(len(leaves), needed, leaves)))
    return bundle, question


@pytest.mark.parametrize("name", WRONG)
def test_wrong_bundles_are_refused(name):
    assert verify(BUNDLE, ASKED).count == 1
    with pytest.raises(TlogError):
        verify(WRONG[name], ASKED)


def test_an_entry_that_nothing_asks_for_is_refused():
    bundle, question = with_stray_entry()
    with pytest.raises(VerificationError, match="nothing asks for"):
        verify(bundle, question)


@pytest.mark.parametrize(
    "question, window, match",
    [
        (windowed(10, 50), (11, 50), "begins later"),
        (windowed(10, 50), (10, 49), "ends earlier"),
        ({"userId": "user-3"}, (5, 121), "begins later"),
        ({"userId": "user-3"}, (0, 50), "ends earlier"),
    ],
)
def test_windows_that_leave_out_too_much_are_refused(question, window, match):
    with pytest.raises(VerificationError, match=match):
        verify(LOG.bundle(question, window=window), question)


def test_what_cannot_be_counted_is_refused():
    bundle = LOG.bundle(QUESTIONS["all"], mode="count")
    with pytest.raises(MalformedInputError, match="cannot be counted"):
        verify(bundle, QUESTIONS["all"])


def test_a_question_without_index_key_is_refused():
    bundle = LOG.bundle(QUESTIONS["action"]) | {"question": {"outcome": "success"}}
    with pytest.raises(MalformedInputError, match="no index key"):
        verify(bundle, {"outcome": "success"})


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]\n", b"\xff", file_of(BUNDLE)[:-1], b" " + file_of(BUNDLE), b"[" * 9999]
)
def test_other_bytes_are_malformed(data):
    with pytest.raises(MalformedInputError):
        parse_evidence(data)


# --- Cheating indexes ------------------------------------------------------------------------------------------------

VICTIM = 70  # by user-0, about record R:4, an update


def without_victim(start, postings):
    """Leave the victim's postings out of the segment that should have them."""
    return [item for item in postings if start + int.from_bytes(item[8:]) != VICTIM]


def with_stranger(start, postings):
    """Point from user-0 to an entry that user-0 has nothing to do with."""
    stranger = LOG.events[VICTIM].keys[0][:8] + (71 - 64).to_bytes(4)
    return sorted([*postings, stranger]) if start == 64 else postings


CHEAT = sample_log(spoil=without_victim)
# The same in an epoch whose size, 115, is not the index of its own entry, 121.
SHORTER = sample_log(ends=[64, 100, 115], spoil=without_victim)


@pytest.mark.parametrize("question", [{"userId": "user-0"}, {"resourceType": "record", "resourceId": "R:4"}])
def test_an_omission_passes_as_evidence_and_is_convicted_by_a_proof(question):
    bundle = CHEAT.bundle(question)
    proved = verify(bundle, question)
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
    forged = parse_evidence(file_of(change(LOG.bundle({"userId": "user-0"}), "epoch", to=7)))
    with pytest.raises(VerificationError, match="not one that the log signed"):
        find_fraud(VERIFIER, forged, key, VICTIM)


def test_an_addition_convicts_itself():
    bundle = sample_log(spoil=with_stranger).bundle({"userId": "user-0"})
    with pytest.raises(VerificationError, match="entry 71, which does not have the key"):
        verify(bundle, {"userId": "user-0"})


def test_a_posting_to_no_event_is_refused():
    def with_control(start, postings):
        return sorted([*postings, LOG.events[VICTIM].keys[0][:8] + bytes(4)]) if start == 0 else postings

    with pytest.raises(VerificationError, match="no event"):
        verify(sample_log(spoil=with_control).bundle({"userId": "user-0"}), {"userId": "user-0"})
