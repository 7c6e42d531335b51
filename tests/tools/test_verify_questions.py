"""tools/verify.py: questions about each kind of key, counts, ids and times in the form that questions have."""

from __future__ import annotations

import hashlib

import bundles
import pytest
from core import test_evidence as evidence
from offline import check_evidence, verify

PATIENT = {"resourceType": "patient", "resourceId": "P:0"}
COUNTS = {
    "events of it and that name it": ({"resourceType": "record", "resourceId": "R:9"}, "exactly 11 events of the resource, and 6 entries that name it, have been logged for your question"),
    "named only": (PATIENT, "exactly 0 events of the resource, and 15 entries that name it, have been logged for your question"),
    "nothing": ({"resourceType": "bill", "resourceId": "R:9"}, "exactly 0 events of the resource, and 0 entries that name it"),
    "nobody known": ({"actorType": "unknown"}, "exactly 4 events have been logged for your question"),
    "an operation": ({"operation": "Do:4"}, "exactly 15 events have been logged for your question"),
    "control entries": ({"control": "order"}, "exactly 3 entries of the type order have been logged for your question"),
    "no control entries": ({"control": "stream"}, "no entry of the type stream has been logged for"),
}  # fmt: skip


def test_one_is_counted_in_the_singular(tmp_path, capsys):
    one = bundles.Event(1, "u", ("record", "R:0"), "read", at=1, outcome="success", related=[("record", "R:1")])
    log = bundles.NaiveLog([one, bundles.Control(2, "order")], [3])
    for question, said in (
        ({"userId": "u"}, "exactly 1 event has been logged for your question"),
        ({"control": "order"}, "exactly 1 entry of the type order has been logged for your question"),
        ({"resourceType": "record", "resourceId": "R:0"}, "exactly 1 event of the resource, and 0 entries that name it, have"),
        ({"resourceType": "record", "resourceId": "R:1"}, "exactly 0 events of the resource, and 1 entry that names it, have"),
    ):  # fmt: skip
        code, verdict = check_evidence(tmp_path, capsys, log.bundle(question, mode="count"), question, "--count")
        assert (code, verdict["summary"][: len(said)]) == (0, said)


@pytest.mark.parametrize("name", COUNTS)
def test_what_is_counted(tmp_path, capsys, name):
    question, said = COUNTS[name]
    bundle = evidence.LOG.bundle(question, mode="count")
    code, verdict = check_evidence(tmp_path, capsys, bundle, question, "--count")
    assert (code, verdict["summary"][: len(said)]) == (0, said)
    if "resourceId" in question:
        manifest = bundle["manifest"] | {"answers": bundle["manifest"]["postings"]}
        expected = 1 if manifest != bundle["manifest"] else 0
        assert check_evidence(tmp_path, capsys, bundle | {"manifest": manifest}, question, "--count")[0] == expected


UNCOUNTABLE = [{"sourceId": "app-6"}, {"control": "order", **PATIENT}, {"operation": "Do:4", "action": "read"}, {"actorType": "unknown", "outcome": "failure"}]  # fmt: skip


@pytest.mark.parametrize("question", UNCOUNTABLE, ids=str)
def test_what_is_not_counted(tmp_path, capsys, question):
    wider = {"action": "read"}
    bundle = evidence.LOG.bundle(wider, mode="count") | {"question": question}
    code, verdict = check_evidence(tmp_path, capsys, bundle, question, "--count")
    assert (code, verdict["problems"][0].startswith("--count is for one")) == (2, True)


ASKED_FOR = {
    "events of a record and events that name it": ({"resourceType": "record", "resourceId": "R:4"}, 0),
    "a patient who is only named": (PATIENT, 3),  # with control entries that name the patient
    "a patient whom no control entry names": ({"resourceType": "patient", "resourceId": "P:3"}, 0),
    "by one user": ({**PATIENT, "userId": "user-2", "loggedTo": "2026-03-01T00:30:00Z"}, 0),
    "by an operation": ({"operation": "Do:4"}, 0),
    "from a source": ({"sourceId": "app-6"}, 0),
    "by nobody known": ({"actorType": "unknown"}, 0),
    "control entries": ({"control": "order"}, 3),
    "control entries about a patient": ({"control": "order", **PATIENT}, 3),
    "control entries of another type about a patient": ({"control": "stream", **PATIENT}, 0),
    "control entries about another patient": ({"control": "order", "resourceType": "patient", "resourceId": "P:3"}, 0),
}


@pytest.mark.parametrize("disclose", [False, True])
@pytest.mark.parametrize("name", ASKED_FOR)
def test_questions_about_what_events_name(tmp_path, capsys, name, disclose):
    question, expected = ASKED_FOR[name]
    log = evidence.LOG
    answers = [n for n in range(*log.window(question)) if log.answers(n, question)]
    code, verdict = check_evidence(tmp_path, capsys, log.bundle(question, disclose=disclose), question)
    assert code == expected, verdict
    shown = {each["index"]: each["matched"] for each in verdict["answers"]}
    assert [*shown] == answers[::-1]
    for index, matched in shown.items():
        named = "related" if "resourceId" in question else None
        assert matched == (bundles.matched(log.events[index], question) if named and index in log.events else named)
    about = (question.get("resourceType"), question.get("resourceId"))
    met = [n for n, control in log.controls.items() if expected and (about[1] is None or about in control.named)]
    apart = [line.split()[1] for line in verdict["beside"] if "is no event" in line]
    assert apart == ([] if "control" in question else [str(n) for n in met])
    if expected:
        assert verdict["problems"][0].startswith(f"{len(met)} entries of a type this version does not know: ")


def test_what_is_missing_is_named(tmp_path, capsys):
    question = {"resourceType": "patient", "resourceId": "P:3"}
    bundle = evidence.LOG.bundle(question, disclose=True)
    (first, groups), _, (third, _), *_ = bundle["disclosures"]
    del groups["related/1"], bundle["disclosures"][2]
    bundle["manifest"]["disclosures"] = sum(len(each) for _, each in bundle["disclosures"])
    code, verdict = check_evidence(tmp_path, capsys, bundle, question)
    absent = [
        f"entry {first} related/1",
        *(f"entry {third} {group}" for group in ("actor", "resource", "related/0", "related/1")),
    ]
    said = f"MISSING: 5 disclosures are absent, and no outcome explains it: {', '.join(absent)}"
    assert (code, verdict["problems"]) == (1, [said])


def test_what_is_lost_says_who_says_so(tmp_path, capsys):
    log, question = bundles.recovered_log(), {"userId": "user-3"}
    code, verdict = check_evidence(tmp_path, capsys, log.bundle(question, disclose=True), question)
    assert (code, verdict["problems"]) == (0, [])
    (answer,) = [each for each in verdict["answers"] if each["index"] == 31]
    assert (answer["actor"], answer["resource"]) == (None, None)
    assert answer["lost"] == [["actor", 61], ["resource", 61]]
    events = [n for n in range(30, 61) if n in log.events and log.answers(n, question)]
    groups = sum(len(log.events[n].disclosures) for n in events)
    assert sum(len(each["lost"]) for each in verdict["answers"]) == groups > 2
    assert verdict["names"] == "some"
    said = f"entry 61, logged {bundles.moment(61)}, says that the data of 30 of the entries 30 to 60 was lost"
    assert verdict["beside"] == [said]
    assert any("as is said to be lost" in each for each in verdict["notProved"])
    code, verdict = check_evidence(
        tmp_path, capsys, log.bundle(question, disclose=True), question, "--require-disclosures"
    )
    assert (code, "not all of it" in verdict["problems"][0]) == (3, True)


def test_what_the_log_says_of_itself_is_shown(tmp_path, capsys):
    log, question = bundles.recovered_log(), {"control": "outcome"}
    code, verdict = check_evidence(tmp_path, capsys, log.bundle(question), question)
    assert (code, verdict["problems"]) == (3, ["1 entry of a type this version does not know: 98"])
    shown = [f"{each['kind']}: {bundles.canonical(each['report'])}" for each in verdict["answers"]]
    kinds = ["rested", "stopped", "stalled", "checked", "restored", "failover", "started", "lost"]
    reports = [log.controls[n].report for n in (98, 97, 96, 95, 94, 93, 62, 61)]
    assert shown == [f"{kind}: {bundles.canonical(report)}" for kind, report in zip(kinds, reports, strict=True)]


def test_an_outcome_has_a_proof(tmp_path, capsys):
    """It is an entry as others, and no event."""
    log = bundles.recovered_log()
    for index, expected in ((61, 0), (98, 3), (0, 2), (log.epoch, 2)):
        log.events[index] = bundles.sample_event(index)  # whose data is not asked for
        proof, event = log.event_proof(index)
        for name, data in (("proof", proof), ("event", event)):
            (tmp_path / name).write_bytes(data)
        paths = ["--event", str(tmp_path / "event"), str(tmp_path / "proof")]
        code = verify.main(["proof", "--vkey", bundles.vkey(), *paths])
        said = capsys.readouterr().out
        assert code == expected, said
        assert (': {"end":61,"n":30,"start":30}' in said) == (index == 61)


def test_an_event_file_says_what_is_lost(tmp_path, capsys):
    log = bundles.recovered_log()
    for name, data in zip(("proof", "event"), log.event_proof(31, disclose=True), strict=True):
        (tmp_path / name).write_bytes(data)
    paths = ["--event", str(tmp_path / "event"), str(tmp_path / "proof")]
    code = verify.main(["proof", "--vkey", bundles.vkey(), *paths])
    said = capsys.readouterr().out.splitlines()
    lost = "LOST, as entry 61 says, which is not in this file"
    assert (code, said[2:4]) == (3, [f"actor     {lost}", f"resource  {lost}"])
    assert said[-2:] == [f"INCOMPLETE: actor: {lost}", f"INCOMPLETE: resource: {lost}"]


def test_data_is_required(tmp_path, capsys):
    question = {"resourceType": "patient", "resourceId": "P:3"}
    for disclose, expected in ((True, 0), (False, 3)):
        bundle = evidence.LOG.bundle(question, disclose=disclose)
        assert check_evidence(tmp_path, capsys, bundle, question, "--require-disclosures")[0] == expected
    bundle = evidence.LOG.bundle({"action": "read"}, mode="count")
    assert check_evidence(tmp_path, capsys, bundle, {"action": "read"}, "--count", "--require-disclosures")[0] == 3


# --- Questions -------------------------------------------------------------------------------------------------------

ASKED_IDS = {
    "NFC": ("e\u0301", "\u00e9", False),
    "as it is": ("Ångström", "Ångström", False),
    "case is kept": ("USER-3", "USER-3", False),
    "256 characters": ("x" * 256, "x" * 256, False),
    "256 characters of four bytes": ("\U0001f600" * 256, "\U0001f600" * 256, False),
    "too long": ("x" * 257, None, True),
    "too long in NFC": ("\U0001d160" * 86, None, True),
    "just not too long in NFC": ("\U0001d160" * 85, "\U0001d158\U0001d165\U0001d16e" * 85, False),
    "too long, but not in NFC": ("e\u0301" * 129, None, True),
    "too long, and in NFC more bytes, but not too many characters": ("e\u0301" * 100 + "\u0958" * 60, None, True),
    "a line break": ("user-3\n", None, True),
    "C1": ("user\u0085", None, True),
    "DEL": ("user\x7f", None, True),
    "a line separator": ("user\u2028", None, True),
    "a bidirectional override": ("user\u202e", None, True),
    "an isolate": ("user\u2069", None, True),
    "none of these": ("user\u2030\u2065\u206a"[:5], "user\u2030", False),
}


@pytest.mark.parametrize("name", ASKED_IDS)
def test_an_id_is_asked_for_as_importers_keep_it(tmp_path, capsys, name):
    typed, asked, hashed = ASKED_IDS[name]
    asked = f"sha256:{hashlib.sha256(typed.encode()).hexdigest()}" if hashed else asked
    bundle = evidence.LOG.bundle({"userId": asked})
    code, verdict = check_evidence(tmp_path, capsys, bundle, {"userId": typed})
    assert code == 0, verdict
    said = f"userId breaks the rule of ids, so it was hashed: {asked}"
    assert (said in verdict["beside"]) == hashed


@pytest.mark.parametrize("size, hashed", [(1024, False), (1025, True)])
def test_an_id_of_a_resource_has_two_limits(size, hashed):
    assert verify.to_id("x" * size, "resourceId")[1] == hashed
    assert verify.to_id("é" * (size), "resourceId")[1] == hashed
    assert verify.to_id("€" * 683, "resourceId")[1]
    assert not verify.to_id("€" * 682, "resourceId")[1]


REFUSED_QUESTIONS = {
    "actorType beside userId": {"actorType": "unknown", "userId": "user-3"},
    "another actorType": {"actorType": "service"},
    "an actorType of nobody": {"actorType": "user"},
    "control of events": {"control": "event"},
    "control of the index": {"control": "index"},
    "control of the index's keys": {"control": "index-keys"},
    "control with a digit": {"control": "order2"},
    "control with a line break": {"control": "order\n"},
    "control too long": {"control": "x" * 33},
    "control beside an action": {"control": "order", "action": "read"},
    "control beside a time of the event": {"control": "order", "from": "2026-03-01"},
    "control beside an outcome": {"control": "order", "outcome": "success"},
    "control beside a type alone": {"control": "order", "resourceType": "patient"},
    "an operation with a blank": {"operation": "Get Object"},
    "an operation that is too long": {"operation": "x" * 129},
    "a source with a comma": {"sourceId": "a,b"},
    "a type in another alphabet": {"resourceType": "réc", "resourceId": "x"},
    "an empty operation": {"operation": ""},
    "a type alone": {"resourceType": "record"},
    "times alone": {"loggedFrom": "2026-03-01"},
    "a leap second": {"userId": "user-3", "to": "2016-12-31T23:59:60Z"},
    "ten digits": {"userId": "user-3", "to": "2016-12-31T23:59:59.1234567890Z"},
}


@pytest.mark.parametrize("name", REFUSED_QUESTIONS)
def test_a_question_that_nothing_can_answer_is_refused(tmp_path, capsys, name):
    bundle = evidence.LOG.bundle({"action": "read"})
    assert check_evidence(tmp_path, capsys, bundle, REFUSED_QUESTIONS[name])[0] == 2


@pytest.mark.parametrize(
    "typed, stated",
    [("2026-03-01t00:10:00z", "2026-03-01T00:10:00Z"), ("2026-03-01T01:10:00.123456789+01:00", "2026-03-01T00:10:00.123456789Z"),
     ("2026-02-28T23:40:00.000000001-00:30", "2026-03-01T00:10:00.000000001Z")],
)  # fmt: skip
def test_times_are_compared_by_nine_digits(tmp_path, capsys, typed, stated):
    """Entry 13 of user-6 happened in minute 10, and was logged in minute 13."""
    for name in ("from", "to", "loggedFrom", "loggedTo"):
        question = {"userId": "user-6", name: stated}
        bundle = evidence.LOG.bundle(question)
        code, verdict = check_evidence(tmp_path, capsys, bundle, {"userId": "user-6", name: typed})
        assert code == 0, verdict
        shown = [each["index"] for each in verdict["answers"]]
        happened = stated == "2026-03-01T00:10:00Z"
        assert (13 in shown) == {"from": happened, "to": not happened, "loggedFrom": True, "loggedTo": False}[name]
    question = {"userId": "user-3", "from": f"2026-03-02{stated[10:]}"}
    verdict = check_evidence(tmp_path, capsys, evidence.LOG.bundle(question), question)[1]
    assert f"before 2026-03-01{stated[10:]}" in verdict["notSeen"]


def test_times_are_asked_for_with_ask_or_with_their_options(tmp_path):
    question = {"userId": "user-3", "loggedFrom": "2026-03-01T00:10:00Z"}
    path = tmp_path / "bundle.json"
    path.write_bytes(bundles.file_of(evidence.LOG.bundle(question)))
    options = ["evidence", "--vkey", bundles.vkey(), "--ask", "userId=user-3"]
    option, ask = ["--logged-from", "2026-03-01T00:10:00Z"], ["--ask", "loggedFrom=2026-03-01T01:10:00+01:00"]
    assert verify.main([*options, *option, str(path)]) == 0
    assert verify.main([*options, *ask, str(path)]) == 0
    assert verify.main([*options, *option, *ask, str(path)]) == 2
