"""False answers: each of them was once accepted by a verifier, and each is refused by tlog's own and by tools/verify.py.

Whoever cheats signs whatever suits, so roots, tables, proofs and signatures are right here for what is wrong.
"""

from __future__ import annotations

import contextlib
import io
import json

import bundles
import pytest
from bundles import canonical, file_of, moment, sample_log
from core import reference
from offline import options_of
from offline import verify as offline

from tlog.core.evidence import parse_evidence, verify_evidence
from tlog.core.note import parse_vkey
from tlog.core.question import parse_question
from tlog.errors import TlogError

LOG = sample_log()
VERIFIER = parse_vkey(bundles.vkey())


def ask_core(bundle, question, mode, _directory):
    """Return the exit code and the complaint of tlog's own verifier."""
    try:
        asked = parse_question(question)
        proved = verify_evidence(VERIFIER, asked, parse_evidence(file_of(bundle)))
    except TlogError as error:
        return error.exit_code, str(error)
    return (0, "") if (proved.answers is None) == (mode == "count") else (1, "a bundle of another mode")


def run_offline(*arguments):
    """Return the exit code of tools/verify.py, and what it printed."""
    with io.TextIOWrapper(io.BytesIO(), encoding="utf-8") as said, contextlib.redirect_stdout(said):
        try:
            code = offline.main([*map(str, arguments)])
        except SystemExit as exited:
            code = exited.code
        said.seek(0)
        return code, said.read()


def ask_offline(bundle, question, mode, directory):
    """Return the exit code and the complaint of tools/verify.py."""
    path = directory / "bundle.json"
    path.write_bytes(file_of(bundle))
    more = ["--count"] if mode == "count" else []
    return run_offline("evidence", "--vkey", bundles.vkey(), *options_of(question), *more, path)


@pytest.fixture(params=[ask_core, ask_offline], ids=["core", "verify.py"])
def ask(request, tmp_path):
    """Put a bundle and a question before a verifier; returns exit code and complaint."""

    def put(bundle, question, mode="answer"):
        return request.param(bundle, question, mode, tmp_path)

    return put


# --- Another question than typed --------------------------------------------------------------------------------------

WRONG_QUESTIONS = {
    "action in another case": {"action": "Read"},
    "an action that there is not": {"userId": "user-3", "action": "look"},
    "an outcome that there is not": {"userId": "user-3", "outcome": "ok"},
    "a resource type that no event has": {"resourceType": "patient record", "resourceId": "R:4"},
    "an empty resourceId": {"resourceType": "record", "resourceId": ""},
    "a resourceId with a control character": {"resourceType": "record", "resourceId": "R:4\n"},
    "a resourceId that is too long": {"resourceType": "record", "resourceId": "R" * 1025},
    "a resourceId without its type": {"userId": "user-3", "resourceId": "R:4"},
    "an empty userId": {"userId": ""},
    "a userId with a control character": {"userId": "user-3\x7f"},
    "a userId that is too long": {"userId": "u" * 257},
    "a userId that is not UTF-8": {"userId": "user-3\udcff"},
    "a day that does not exist": {"userId": "user-3", "from": "2026-02-30T00:00:00Z"},
    "a date that does not exist": {"userId": "user-3", "loggedTo": "2026-02-30"},
    "an hour that does not exist": {"userId": "user-3", "to": "2026-03-01T24:00:00Z"},
    "a minute that does not exist": {"userId": "user-3", "to": "2026-03-01T23:60:00Z"},
    "a time without its zone": {"userId": "user-3", "loggedTo": "2026-03-01T23:00:00"},
    "a zone that does not exist": {"userId": "user-3", "loggedTo": "2026-03-01T23:00:00+24:00"},
    "a fraction of seven digits": {"userId": "user-3", "loggedTo": "2026-03-01T23:00:00.1234567Z"},
    "a year that does not exist": {"userId": "user-3", "from": "0001-01-01T00:00:00+01:00"},
    "digits of another script": {"userId": "user-3", "from": "٢026-03-01T00:00:00Z"},
    "bounds of the event reversed": {"userId": "user-3", "from": "2026-03-02", "to": "2026-03-01"},
    "bounds of the log reversed": {"userId": "user-3", "loggedFrom": "2026-03-02", "loggedTo": "2026-03-01"},
    "bounds reversed by their zones": {
        "userId": "user-3", "from": "2026-03-01T12:00:00-02:00", "to": "2026-03-01T13:00:00Z",
    },
    "nothing that the index has": {"outcome": "success"},
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG_QUESTIONS)
def test_a_question_that_no_event_can_answer_is_malformed(ask, name):
    """Under the index key of such a value there is nothing, and the proof of that nothing would be right."""
    question = WRONG_QUESTIONS[name]
    code, said = ask(LOG.bundle({"action": "read"}) | {"question": {"action": "read"}}, question)
    assert code == 2, said


def test_a_bundle_that_repeats_the_wrong_question_changes_nothing(ask):
    for question in ({"action": "Read"}, {"action": "read", "to": "2026-02-30T00:00:00Z"}):
        assert ask(LOG.bundle(question), question)[0] == 2


OFFSETS = {
    "2026-03-01T01:10:00+01:00": "2026-03-01T00:10:00Z",
    "2026-02-28T23:40:00.50-00:30": "2026-03-01T00:10:00.50Z",
    "2026-03-01T00:10:00-00:00": "2026-03-01T00:10:00Z",
    "2026-03-01T00:10:00.000001Z": "2026-03-01T00:10:00.000001Z",
    "2026-03-01": "2026-03-01T00:00:00Z",
}


@pytest.mark.parametrize("time", OFFSETS)
def test_a_time_is_asked_for_in_any_zone(ask, time):
    stated = {"userId": "user-3", "from": OFFSETS[time]}
    assert ask(LOG.bundle(stated), stated | {"from": time})[0] == 0
    other = stated | {"from": "2026-03-01T00:11:00Z"}
    assert ask(LOG.bundle(other), stated | {"from": time})[0] == 1


TWICE = {
    "a member": ["--ask", "actor=user-1", "--ask", "actor=user-3"],
    "a member, the same": ["--ask", "actor=user-3", "--ask", "actor=user-3"],
    "a member in its short form": ["--ask", "actor=user-3", "--ask", "resource=record:4", "--ask", "resourceType=record"],
    "a bound": ["--ask", "actor=user-3", "--to", "2026-03-02", "--to", "2026-03-03"],
    "another bound": ["--ask", "actor=user-3", "--logged-from", "2026-03-02", "--logged-from", "2026-03-03"],
    "the key": ["--ask", "actor=user-3", "--vkey", bundles.vkey()],
}  # fmt: skip


@pytest.mark.parametrize("name", TWICE)
def test_nothing_is_asked_twice(tmp_path, name, capsys):
    """The last one would replace the others, and the answer would be to another question than the reader sees."""
    path = tmp_path / "bundle.json"
    path.write_bytes(file_of(LOG.bundle({"userId": "user-3"})))
    assert run_offline("evidence", "--vkey", bundles.vkey(), "--ask", "actor=user-3", path)[0] == 0
    code, said = run_offline("evidence", "--vkey", bundles.vkey(), *TWICE[name], path)
    assert (code, "twice" in said + capsys.readouterr().err) == (2, True)


@pytest.mark.parametrize("short", ["record", "record:R:4", ":", "record:", ":R", "a:b:c:d"])
def test_the_short_form_of_a_resource_has_one_colon(tmp_path, short):
    path = tmp_path / "bundle.json"
    kind, _, name = short.partition(":")
    question = {"resourceType": kind or "x", "resourceId": name or "x"}
    path.write_bytes(file_of(LOG.bundle(question)))
    assert run_offline("evidence", "--vkey", bundles.vkey(), "--ask", f"resource={short}", path)[0] == 2


def test_what_is_asked_for_is_named(tmp_path):
    for ask in ("patient=x", "actor", "=x", "", "userid=x", "Action=read"):
        assert run_offline("evidence", "--vkey", bundles.vkey(), "--ask", ask, tmp_path / "nothing")[0] == 2


# --- A count of what cannot be counted --------------------------------------------------------------------------------

UNCOUNTABLE = {
    "an action and how it ended": ({"action": "read"}, {"outcome": "failure"}),
    "an actor and a resource": ({"resourceType": "record", "resourceId": "R:4"}, {"userId": "user-3"}),
    "an actor and an action": ({"userId": "user-3"}, {"action": "read"}),
    "an actor and a type": ({"userId": "user-3"}, {"resourceType": "bill"}),
    "an action and when it happened": ({"action": "read"}, {"from": "2026-03-01T01:00:00Z"}),
    "an action and until when it happened": ({"action": "read"}, {"to": "2026-03-01T01:00:00Z"}),
}


@pytest.mark.parametrize("name", UNCOUNTABLE)
def test_what_the_first_key_does_not_decide_is_not_counted(ask, name):
    """The honest count of a wider question, its member `question` edited: no key is needed for that."""
    wider, more = UNCOUNTABLE[name]
    bundle = LOG.bundle(wider, mode="count")
    assert ask(bundle, wider, "count")[0] == 0
    code, said = ask(bundle | {"question": wider | more}, wider | more, "count")
    assert code == 2, said
    assert ask(LOG.bundle(wider | more), wider | more)[0] == 0


# --- A window too wide, or too narrow ---------------------------------------------------------------------------------

LOOKED_AT = {
    "between": ({"loggedFrom": moment(30), "loggedTo": moment(60)}, (30, 60)),
    "from": ({"loggedFrom": moment(30)}, (30, 121)),
    "until": ({"loggedTo": moment(60)}, (0, 60)),
    "from before everything": ({"loggedFrom": "2026-02-01T00:00:00Z"}, (0, 121)),
    "until after everything": ({"loggedTo": "2026-04-01T00:00:00Z"}, (0, 121)),
    "before everything": ({"loggedTo": "2026-02-01T00:00:00Z"}, (0, 0)),
    "after everything": ({"loggedFrom": "2026-04-01T00:00:00Z"}, (121, 121)),
    "no time at all": ({"loggedFrom": moment(30), "loggedTo": moment(30)}, (30, 30)),
    "between two entries": ({"loggedFrom": "2026-03-01T00:29:30Z", "loggedTo": "2026-03-01T00:59:30.5Z"}, (30, 60)),
    "a day before what happened": ({"from": "2026-03-02T00:30:00Z"}, (30, 121)),
    "a day and a digit before": ({"from": "2026-03-02T00:30:00.000001Z"}, (31, 121)),
    "everything": ({}, (0, 121)),
}


@pytest.mark.parametrize(
    "name, mode",
    [
        (name, mode)
        for name, (times, _) in LOOKED_AT.items()
        for mode in ("answer", "count")
        if mode == "answer" or "from" not in times
    ],
)
def test_the_window_is_the_smallest_one(ask, name, mode):
    times, window = LOOKED_AT[name]
    question = {"action": "read"} | times
    assert LOG.window(question) == window
    assert ask(LOG.bundle(question, mode=mode), question, mode)[0] == 0
    for start, end in {(0, LOG.size), *((window[0] + by, window[1] + to) for by in (-1, 0, 1) for to in (-1, 0, 1))}:
        if 0 <= start <= end <= LOG.size and (start, end) != window:
            code, said = ask(LOG.bundle(question, mode=mode, window=(start, end)), question, mode)
            assert (code, "the window" in said) == (1, True), (start, end, said)


def with_entries(log, bundle, indexes):
    """A bundle with these entries of a log, rightly proved."""
    leaves = [entry.encode() for entry in log.entries]
    proof = bundles.b64(b"".join(bundles.joint_proof(len(leaves), indexes, leaves)))
    return bundle | {"entries": [[index, log.entries[index]] for index in indexes], "hashes": proof}


@pytest.mark.parametrize("name", LOOKED_AT)
def test_the_entries_at_the_edges_of_the_window_are_there(ask, name):
    times, (start, end) = LOOKED_AT[name]
    question = {"action": "logout"} | times
    bundle = LOG.bundle(question)
    there = [index for index, _ in bundle["entries"]]
    assert there == sorted({LOG.epoch, *(at for at in (0, start - 1, start, end - 1, end) if 0 <= at < LOG.size)})
    for index in there:
        assert ask(with_entries(LOG, bundle, [at for at in there if at != index]), question)[0] in (1, 2)
    more = next(index for index in range(LOG.size) if index not in there)
    assert ask(with_entries(LOG, bundle, sorted([*there, more])), question)[0] == 1


def test_what_looks_at_nothing_is_malformed(ask):
    """A window would have to end before it begins."""
    question = {"action": "read", "from": "2026-03-03T00:00:00.000001Z", "loggedTo": "2026-03-02T00:00:00Z"}
    assert ask(LOG.bundle(question, window=(121, 121)), question)[0] == 2
    question["from"] = "2026-03-03T00:00:00Z"
    assert ask(LOG.bundle(question), question)[0] == 0


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00Z", "0001-01-01T12:00:00.5Z", "0001-01-02T00:00:00Z"])
def test_before_the_first_day_there_is_nothing(ask, time):
    log = logged(sample_log(20, [21]), {0: "0001-01-01T00:00:00.000000Z"})
    question = {"action": "read", "from": time}
    assert log.window(question) == (0, 21)
    assert ask(log.bundle(question), question)[0] == 0


# --- A clock that went back -------------------------------------------------------------------------------------------


def signed(log):
    """The log with a root hash over its entries as they are now."""
    log.root = reference.tree_hash([entry.encode() for entry in log.entries])
    return log


def logged(log, times):
    """The log with other times of logging, by index."""
    for index, time in times.items():
        log.entries[index] = canonical(json.loads(log.entries[index]) | {"loggedAt": time})
    return signed(log)


def test_a_clock_that_goes_back_is_refused(ask):
    """Outside of a window stands what was logged in it: by user-3 are the entries 3, 10, 17, 24, …"""
    question = {"userId": "user-3"}
    same = logged(sample_log(), {17: moment(10), 11: moment(10), 10: moment(10)})
    assert ask(same.bundle(question), question)[0] == 0
    for times in ({17: "2026-03-01T00:09:59.999999Z"}, {10: moment(18)}, {0: moment(120)}, {121: moment(119)}):
        log = logged(sample_log(), times)
        code, said = ask(log.bundle(question), question)
        assert (code, "clock" in said) == (1, True), said
    question |= {"loggedFrom": moment(15), "loggedTo": moment(30)}
    outside = logged(sample_log(), {10: moment(20)})
    assert ask(outside.bundle(question, window=(15, 30)), question)[0] == 0  # nothing in the bundle can show it
