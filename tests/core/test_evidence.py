"""Evidence bundles made without tlog's code: right ones accepted, each wrong one refused, by tlog and by verify.py."""

from __future__ import annotations

import json
import random
from hashlib import sha256

import bundles
import msgspec
import pytest
from bundles import canonical, file_of, sample_log, signed

from tlog.core.evidence import RangeText, describe_missing, format_range, parse_evidence, verify_evidence
from tlog.core.note import parse_vkey
from tlog.core.question import parse_question
from tlog.core.segment import PageRun, RangeProof
from tlog.errors import MalformedInputError, MissingError, NotCheckedError, TlogError, VerificationError

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
    "patient": {"resourceType": "patient", "resourceId": "P:3"},
    "patient and actor": {"resourceType": "patient", "resourceId": "P:3", "userId": "user-5"},
    "unknown actor": {"actorType": "unknown"},
    "operation": {"operation": "Do:4"},
    "operation and action": {"operation": "Do:4", "action": "read"},
    "source": {"sourceId": "app-6"},
    "source and operation": {"sourceId": "app-0", "operation": "Do:0"},
    "control": {"control": "order"},
    "control about": {"control": "order", "resourceType": "patient", "resourceId": "P:0"},
    "no control": {"control": "outcome"},
    "met by control": {"resourceType": "patient", "resourceId": "P:0"},
}


def truth(log, question):
    """The indexes of what answers a question about a whole log, by brute force."""
    return [index for index in range(log.size) if log.answers(index, question)]


def verify(bundle, question):
    return verify_evidence(VERIFIER, parse_question(question), parse_evidence(file_of(bundle)))


@pytest.mark.parametrize("name", QUESTIONS)
def test_answers_are_proved(name):
    question = QUESTIONS[name]
    expected = truth(LOG, question)
    assert bool(expected) == (name not in ("nobody", "nothing", "other type", "no control"))
    for disclose in (False, True):
        proved = verify(LOG.bundle(question, disclose=disclose), question)
        assert [index for index, _ in proved.answers] == expected
        assert proved.count == len(expected)
        assert proved.named is None
        assert sorted(proved.bodies) == ([index for index in expected if index in LOG.events] if disclose else [])
        assert proved.bodies == {
            index: {group: body.encode() for group, (_, body) in LOG.events[index].disclosures.items()}
            for index in proved.bodies
        }
        assert (proved.alike, proved.doubt) == ([], "")
        assert proved.log_id == sha256(b"\0" + LOG.entries[0].encode()).digest()


@pytest.mark.parametrize("name", ["resource", "nothing", "patient", "patient and actor", "met by control"])
def test_each_answer_about_a_resource_says_what_the_resource_is_of_it(name):
    question = QUESTIONS[name]
    proved = verify(LOG.bundle(question), question)
    assert proved.matched == {index: bundles.matched(LOG.events[index], question) for index in truth(LOG, question)}
    assert {"resource": {"resource", "related/1"}, "nothing": set(), "patient": {"related/0"}}.get(
        name, {"related/0"}
    ) == set(proved.matched.values())


def test_control_entries_are_named_apart_unless_they_are_asked_for():
    for name, apart, answers in (("met by control", [37, 77, 117], []), ("control about", [], [37, 77, 117])):
        proved = verify(LOG.bundle(QUESTIONS[name], disclose=True), QUESTIONS[name])
        assert [index for index, _ in proved.apart] == apart
        assert proved.unknown() == apart + answers
        assert [index for index, _ in proved.answers if index in LOG.controls] == answers
    assert verify(LOG.bundle(QUESTIONS["patient"]), QUESTIONS["patient"]).unknown() == []


@pytest.mark.parametrize("name", ["actor", "action", "nobody", "unknown actor", "operation", "control", "no control"])
def test_counts_are_proved(name):
    question = QUESTIONS[name]
    proved = verify(LOG.bundle(question, mode="count"), question)
    assert (proved.count, proved.named, proved.answers) == (len(truth(LOG, question)), None, None)


@pytest.mark.parametrize("name", ["resource", "nothing", "patient", "met by control"])
def test_a_count_about_a_resource_is_two_numbers(name):
    """Events of it, and entries that name it, whatever they are."""
    question = QUESTIONS[name]
    about = question["resourceType"], question["resourceId"]
    of = sum(bundles.matched(event, question) == "resource" for event in LOG.events.values())
    name_it = sum(about in event.related for event in LOG.events.values())
    name_it += sum(about in control.named for control in LOG.controls.values())
    proved = verify(LOG.bundle(question, mode="count"), question)
    assert (proved.count, proved.named, proved.answers) == (of, name_it, None)


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
    expected = [n for n, event in LOG.events.items() if start <= n < end and event.members.get("userId") == "user-3"]
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
    "disclosures where it says none": change(BUNDLE, "disclosure", to="none"),
    "another disclosure": change(BUNDLE, "disclosure", to="some"),
    "a part of a set": change(BUNDLE, "mode", to="part"),
    "a part of a set, as an answer": BUNDLE | {"part": [1, 1]},
    "an absent row": change(BUNDLE, "absent", to=[[1, "actor", 2]]),
    "a roster": change(BUNDLE, "rosters", to=[{"hashes": "", "runs": []}]),
    "times of nothing": BUNDLE | {"times": []},
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
    assert verify(BUNDLE, ASKED).count == 2
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


def with_stranger(start, postings):
    """Point from user-0 to an entry that user-0 has nothing to do with."""
    stranger = LOG.events[VICTIM].keys[0][:8] + (71 - 64).to_bytes(4)
    return sorted([*postings, stranger]) if start == 64 else postings


def test_an_addition_convicts_itself():
    bundle = sample_log(spoil=with_stranger).bundle({"userId": "user-0"})
    with pytest.raises(VerificationError, match="entry 71, which does not have the key"):
        verify(bundle, {"userId": "user-0"})


def test_a_posting_to_no_event_is_refused():
    def with_control(start, postings):
        return sorted([*postings, LOG.events[VICTIM].keys[0][:8] + bytes(4)]) if start == 0 else postings

    with pytest.raises(VerificationError, match="not there or has no keys"):
        verify(sample_log(spoil=with_control).bundle({"userId": "user-0"}), {"userId": "user-0"})


# --- Two keys, and entries that only look like answers ----------------------------------------------------------------

RECORD = QUESTIONS["resource"]


def with_keys(index, keys, log=None, **members):
    """A log whose entry at `index` has other keys, its index derived from them."""
    log = log or sample_log()
    entry = json.loads(log.entries[index]) | members | {"keys": [bundles.b64url(key) for key in keys]}
    log.entries[index] = canonical(entry)
    (log.events.get(index) or log.controls[index]).keys = keys
    everything = {**log.events, **log.controls}
    ends = [end for _, end, _ in log.index.segments]
    log.index = bundles.Index({number: each.keys for number, each in everything.items()}, ends)
    epoch = json.loads(log.entries[log.epoch])
    epoch["table"] = bundles.b64url(sha256(b"\x13" + log.index.table()).digest())
    log.entries[log.epoch] = canonical(epoch)
    return signed(log)


TWO = {"resourceType": "record", "resourceId": "R:2"}  # whose keys are in different pages of the first segment


def test_the_pages_of_both_keys_are_there_once_and_no_others():
    for mode in ("answer", "count"):
        bundle = LOG.bundle(TWO, mode=mode)
        assert len(bundle["buckets"]) == 2
        keys = bundles.keys_of(TWO)
        both = [LOG.index.prove(0, [key], (0, 121), count=mode == "count")[0]["runs"] for key in keys]
        assert all(len(runs) < 3 for runs in both)
        pages = len(LOG.index.pages(0))
        shown = {page for runs in both for first, data in runs for page in range(first, first + len(data) // 512)}
        assert len(shown) < pages
        for extra in range(pages):
            numbers = sorted({*pages_of(bundle["segments"][0]), extra})
            other = change(bundle, "segments", 0, to=LOG.index.range_proof(0, numbers))
            if numbers == pages_of(bundle["segments"][0]):
                assert verify(other, TWO).count
            else:
                with pytest.raises(VerificationError, match="not the fewest"):
                    verify(other, TWO)


def pages_of(segment):
    """The numbers of the pages of a range proof."""
    return [
        first + number
        for first, data in segment["runs"]
        for number in range(-(-len(bundles.base64.b64decode(data)) // 384))
    ]


def test_each_page_of_both_keys_is_needed():
    for mode in ("answer", "count"):
        bundle = LOG.bundle(TWO, mode=mode)
        numbers = pages_of(bundle["segments"][0])
        for left_out in numbers:
            others = [number for number in numbers if number != left_out]
            other = change(bundle, "segments", 0, to=LOG.index.range_proof(0, others))
            with pytest.raises(VerificationError):
                verify(other, TWO)


def test_a_bucket_that_holds_both_keys_is_shown_twice():
    name = next(
        f"R:{number}"
        for number in range(1_000)
        if len({bundles.bucket_of(bundles.ident_of(kind, "record", f"R:{number}")) for kind in ("resource", "related")})
        == 1
    )
    question = {"resourceType": "record", "resourceId": name}
    bundle = LOG.bundle(question)
    assert bundle["buckets"][0] == bundle["buckets"][1]
    assert verify(bundle, question).count == len(truth(LOG, question))
    with pytest.raises(VerificationError, match="not as many bucket keys"):
        verify(bundle | {"buckets": bundle["buckets"][:1]}, question)


def test_a_key_at_the_place_of_another_kind_is_refused():
    """A cheating log: event 70 has the key of user-3 where its resource's key belongs, or a key of `related` for `actor`."""
    keys = LOG.events[VICTIM].keys
    user = bundles.personal_key(bundles.ident_of("actor", "user-3"))
    log = with_keys(VICTIM, [keys[0], user, *keys[2:]])
    with pytest.raises(
        VerificationError, match=f"entry {VICTIM}, which has the key asked for in the place of another kind"
    ):
        verify(log.bundle(QUESTIONS["actor"]), QUESTIONS["actor"])


def test_an_entry_that_names_the_resource_twice_is_refused():
    keys = LOG.events[3].keys  # names P:3 and R:4
    about = bundles.personal_key(bundles.ident_of("resource", "record", "R:4"))
    log = with_keys(3, [keys[0], about, *keys[2:]])
    with pytest.raises(VerificationError, match="entry 3 names the resource twice"):
        verify(log.bundle(RECORD), RECORD)


@pytest.mark.parametrize("index", [5, 37], ids=["event", "control entry"])
def test_an_entry_whose_key_only_begins_alike_is_no_answer_and_is_named(index):
    """Two values whose keys share 8 bytes: for a public kind that takes 2^32 hashes."""
    key = bundles.personal_key(bundles.ident_of("actor", "user-3"))
    alike = key[:8] + bytes(8)
    keys = LOG.events[index].keys if index == 5 else LOG.controls[index].keys
    other = [alike, *keys[1:]] if index == 5 else [*keys, alike]
    log = with_keys(index, other)
    proved = verify(log.bundle(QUESTIONS["actor"]), QUESTIONS["actor"])
    assert (proved.alike, proved.apart) == ([index], [])
    assert index not in dict(proved.answers)
    count = verify(log.bundle(QUESTIONS["actor"], mode="count"), QUESTIONS["actor"]).count
    assert count == proved.count + 1  # of the first 8 bytes


def test_an_event_of_another_version_is_met_and_named_apart():
    log = with_keys(VICTIM, LOG.events[VICTIM].keys, v=2)
    del log.events[VICTIM]
    for name in ("resource", "action"):
        question = QUESTIONS[name] if name == "resource" else {"action": "update"}
        proved = verify(log.bundle(question), question)
        assert [index for index, _ in proved.apart] == [VICTIM] == proved.unknown()
        assert VICTIM not in dict(proved.answers)


def test_entry_0_names_the_log_of_the_checkpoint():
    log = sample_log()
    log.entries[0] = canonical(json.loads(log.entries[0]) | {"origin": "example.com/other"})
    bundle = signed(log).bundle(QUESTIONS["action"])
    with pytest.raises(VerificationError, match="entry 0 names another log"):
        verify(bundle, QUESTIONS["action"])


def test_times_are_read_and_say_nothing():
    bracket = {"after": "a", "afterProof": [""], "before": "b", "beforeProof": []}
    bundle = LOG.bundle(RECORD) | {"times": [bracket]}
    assert verify(bundle, RECORD).count == len(truth(LOG, RECORD))
    with pytest.raises(MalformedInputError):
        verify(bundle | {"times": [bracket | {"x": 1}]}, RECORD)


# --- What is disclosed ------------------------------------------------------------------------------------------------


def disclosing(index, group, body, question):
    """A bundle that discloses everything, of one entry something else, to which the entry commits."""
    log, salt = sample_log(), bytes(16)
    entry = json.loads(log.entries[index])
    text = body if isinstance(body, str) else canonical(body)
    commitment = bundles.b64url(sha256(b"\x10" + salt + text.encode()).digest())
    kind, _, number = group.partition("/")
    if number:
        entry["commitments"]["related"][int(number)] = commitment
    else:
        entry.setdefault("commitments", {})[kind] = commitment
    log.entries[index] = canonical(entry)
    bundle = signed(log).bundle(question, disclose=True)
    texts = dict(bundle["disclosures"])
    texts[index] = {**texts.get(index, {}), group: {"body": text, "salt": bundles.b64url(salt)}}
    bundle["disclosures"] = [list(each) for each in sorted(texts.items())]
    bundle["manifest"]["disclosures"] = sum(map(len, texts.values()))
    return bundle


FALSE = {
    "another resource": (70, "resource", {"resource": {"id": "R:5", "type": "record"}}, RECORD),
    "another related resource": (3, "related/1", {"id": "R:5", "type": "record"}, RECORD),
    "another type of it": (3, "related/1", {"id": "R:4", "type": "bill"}, RECORD),
    "the resource asked for, as another": (3, "resource", {"resource": {"id": "R:4", "type": "record"}}, RECORD),
    "the resource asked for, named by another key": (36, "related/0", {"id": "R:4", "type": "record"}, RECORD),
    "another actor": (3, "actor", {"appendedBy": "a", "userId": "user-4"}, {"userId": "user-3"}),
    "nobody": (3, "actor", {"appendedBy": "a", "type": "unknown"}, {"userId": "user-3"}),
    "an actor for an unknown one": (29, "actor", {"appendedBy": "a", "userId": "u"}, {"actorType": "unknown"}),
}  # fmt: skip


@pytest.mark.parametrize("name", FALSE)
def test_what_is_disclosed_leads_to_its_key(name):
    index, group, body, question = FALSE[name]
    with pytest.raises(
        VerificationError, match=f"entry {index} carries a false key: the {group} shown has another one"
    ):
        verify(disclosing(index, group, body, question), question)


def test_two_spellings_are_one_id():
    """The index key is made over the NFC form; the text is kept as it was sent."""
    event = bundles.Event(1, "Ame\u0301lie", ("record", "A\u030a"), "read", at=1, outcome="success",
                          related=[("record", "\u212b-1")])  # fmt: skip
    log = bundles.NaiveLog([event], [2])
    for question in (
        {"userId": "Am\u00e9lie"},
        {"resourceType": "record", "resourceId": "\u00c5"},
        {"resourceType": "record", "resourceId": "\u00c5-1"},
    ):
        assert [index for index, _ in verify(log.bundle(question, disclose=True), question).answers] == [1]


def test_an_id_that_these_unicode_tables_do_not_know_is_not_checked():
    """But what is wrong besides is wrong."""
    name = "R:4\U0010ffff"
    bundle = disclosing(3, "related/0", {"id": name, "type": "patient"}, RECORD)
    with pytest.raises(NotCheckedError, match="the related/0 shown of entry 3 has characters"):
        verify(bundle, RECORD)
    with pytest.raises(VerificationError, match="manifest"):
        verify(change(bundle, "manifest", "answers", to=1), RECORD)


def test_the_groups_of_a_control_entry_are_its_commitments():
    """What they hold is for those to say who know its type."""
    question = QUESTIONS["control"]
    bundle = disclosing(37, "resource", "anything", question)
    assert verify(bundle, question).bodies == {37: {"resource": b"anything"}}
    with pytest.raises(
        MissingError, match="MISSING: 1 disclosures are absent, and no outcome explains it: entry 37 resource"
    ):
        verify(change(change(bundle, "disclosures", to=[]), "manifest", "disclosures", to=0), question)
    with pytest.raises(VerificationError, match="does not match its commitment"):
        verify(change(bundle, "disclosures", 0, 1, "resource", "body", to="other"), question)
    with pytest.raises(MalformedInputError, match="does not commit to the group 'actor'"):
        verify(change(bundle, "disclosures", 0, 1, to=lambda groups: {"actor": groups["resource"]}), question)


def test_disclosures_of_many_groups_stand_in_the_order_of_json():
    event = bundles.Event(1, "u", ("record", "R"), "read", at=1, outcome="success",
                          related=[("record", f"N:{number}") for number in range(12)])  # fmt: skip
    log = bundles.NaiveLog([event], [2])
    bundle = log.bundle({"userId": "u"}, disclose=True)
    text = canonical(bundle["disclosures"][0][1])
    assert text.index("related/10") < text.index("related/2")
    (bodies,) = verify(bundle, {"userId": "u"}).bodies.values()
    assert list(bodies) == ["actor", "resource", *(f"related/{number}" for number in range(12))]
    with pytest.raises(MalformedInputError, match="a group of disclosures is"):
        verify(
            change(bundle, "disclosures", 0, 1, to=lambda groups: {"related/32": groups["related/0"]}), {"userId": "u"}
        )


# --- What is absent ---------------------------------------------------------------------------------------------------

PATIENT = {"resourceType": "patient", "resourceId": "P:3"}
READ = {"action": "read"}
LOST = {"start": 60, "end": 121, "n": 59}  # of the sample log's entries 77 and 117 commit to nothing


def losing(report, *, kind="lost"):
    """A log whose last entry, after its epoch's, is an outcome."""
    log = sample_log()
    log.entries.append(bundles.outcome(122, kind, report))
    return signed(log)


def lacking(log, question, gone, *, by=122, said=True):
    """A bundle that discloses all but `gone`, (index, group), which outcome `by` is said to explain; others are disclosed."""
    bundle = log.bundle(question, disclose=True)
    texts = {index: {group: text for group, text in groups.items() if (index, group) not in gone}
             for index, groups in bundle["disclosures"]}  # fmt: skip
    bundle["disclosures"] = [[index, groups] for index, groups in texts.items() if groups]
    bundle["manifest"]["disclosures"] = sum(map(len, texts.values()))
    if said:
        bundle["absent"] = [[index, group, by] for index, group in gone]
        bundle |= log.shown(sorted({index for index, _ in bundle["entries"]} | {by}))
    return bundle


def groups_from(log, question, first):
    """All groups of the answers from an entry on."""
    bundle = log.bundle(question, disclose=True)
    return [
        (index, group)
        for index, groups in bundle["disclosures"]
        for group in sorted(groups, key=lambda each: (each.startswith("related"), each))
        if index >= first
    ]


def test_what_was_lost_is_explained_by_its_outcome():
    log = losing(LOST)
    gone = groups_from(log, PATIENT, 60)
    assert gone
    proved = verify(lacking(log, PATIENT, gone), PATIENT)
    assert list(proved.absent) == [(index, group, 122) for index, group in gone]
    assert min(proved.bodies) < 60 > max(proved.bodies)
    assert not proved.withheld
    assert verify(log.bundle(PATIENT), PATIENT).withheld


@pytest.mark.parametrize(
    "report, kind, message",
    [
        (LOST | {"n": 1}, "lost", "another number names commitments"),
        (LOST | {"start": 90, "n": 20}, "lost", "no outcome explains it"),
        (LOST | {"end": 123, "n": 60}, "lost", "no outcome explains it"),
        (LOST | {"start": 30, "n": 80}, "lost", "something is there"),
        ({"instance": "AAAAAAAAAAA"}, "stopped", "is no outcome of the kind 'lost'"),
        ({}, "later", "is no outcome of the kind 'lost'"),
    ],
)
def test_what_explains_nothing(report, kind, message):
    log = losing(report, kind=kind)
    with pytest.raises(VerificationError, match=f"MISSING.*{message}"):
        verify(lacking(log, PATIENT, groups_from(log, PATIENT, 60)), PATIENT)


def test_a_thousand_disclosures_that_are_taken_out_are_named():
    rng, named = random.Random(7), 0
    log = losing(LOST)
    while named < 1_000:
        question = rng.choice([PATIENT, READ, {"userId": "user-3"}, {"sourceId": "app-6"}])
        gone = sorted(
            rng.sample(groups := groups_from(log, question, 0), rng.randint(1, len(groups))), key=groups.index
        )
        with pytest.raises(MissingError) as caught:
            verify(lacking(log, question, gone, said=False), question)
        told = str(caught.value).partition("explains it: ")[2].split(", ")
        assert told == [f"entry {index} {group}" for index, group in gone]
        named += len(gone)
    assert verify(log.bundle(READ, disclose=True), READ).absent == []  # the control


def test_rows_about_what_is_absent_are_exact():
    log = losing(LOST)
    gone = groups_from(log, PATIENT, 60)
    bundle = lacking(log, PATIENT, gone)
    assert verify(bundle, PATIENT).absent
    first = groups_from(log, PATIENT, 0)[0]
    for rows in (
        [*bundle["absent"], bundle["absent"][-1]],
        bundle["absent"][::-1],
        [*bundle["absent"], [121, "actor", 122]],
        [[*first, 122], *bundle["absent"]],
    ):
        with pytest.raises(VerificationError):
            verify(bundle | {"absent": rows}, PATIENT)
    with pytest.raises(MalformedInputError, match="where it says 'none'"):
        verify(bundle | {"disclosure": "none", "disclosures": []}, PATIENT)
    # An outcome that nothing needs is an entry that nothing asks for.
    whole = log.bundle(PATIENT, disclose=True)
    with pytest.raises(VerificationError, match="nothing asks for"):
        verify(whole | log.shown(sorted({index for index, _ in whole["entries"]} | {122})), PATIENT)


def test_more_than_a_thousand_are_counted():
    message = describe_missing([(index, "actor") for index in range(1_500)])
    assert message.startswith("MISSING: 1,500 disclosures are absent, and no outcome explains it: entry 0 actor, ")
    assert message.endswith("entry 999 actor, and 500 more")
