"""False answers: each of them was once accepted by a verifier, and each is refused by tlog's own and by tools/verify.py.

Whoever cheats signs whatever suits, so roots, tables, proofs and signatures are right here for what is wrong.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import io
import json
import os
import random
import re
import shlex
import struct
import subprocess
import sys
from hashlib import sha256
from typing import NamedTuple

import bundles
import pytest
from bundles import b64, b64url, canonical, file_of, moment, sample_log, signed
from offline import options_of
from offline import verify as offline
from support import VERIFIER as PROGRAM

from tlog.core.evidence import parse_evidence, verify_evidence
from tlog.core.evidence_set import verify_evidence_set
from tlog.core.fraud import find_clock_fraud, find_false_key, find_fraud, format_clock_fraud, parse_clock_fraud
from tlog.core.note import parse_vkey
from tlog.core.question import parse_question
from tlog.core.verify import verify_event
from tlog.errors import MalformedInputError, TlogError, VerificationError

EMPTY = sha256().digest()
LOG = sample_log()
VERIFIER = parse_vkey(bundles.vkey())


def ask_core(bundle, question, mode, _directory):
    """Return the exit code and the complaint of tlog's own verifier."""
    try:
        asked = parse_question(question)
        proved = verify_evidence(VERIFIER, asked, parse_evidence(file_of(bundle)))
    except TlogError as error:
        return error.exit_code, str(error)
    if (proved.answers is None) != (mode == "count"):
        return 2, "a bundle of another mode"
    return (3, "entries of a type this version does not know") if proved.unknown() else (0, "")


def ask_core_of_a_set(parts, question, _directory):
    """Return the exit code and the complaint of tlog's own verifier about a set."""
    try:
        asked = parse_question(question)
        proved = verify_evidence_set(VERIFIER, asked, [parse_evidence(file_of(part)) for part in parts])
    except TlogError as error:
        return error.exit_code, str(error)
    return (3, "entries of a type this version does not know") if proved.unknown() else (0, "")


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


def ask_offline_of_a_set(parts, question, directory):
    """Return the exit code and the complaint of tools/verify.py about a set."""
    place = directory / f"set-{len(list(directory.iterdir()))}"
    place.mkdir()
    places = [part.get("part") for part in parts]
    # A file has the number of its part, where parts are missing; where they are wrong it has the number of its place.
    whole = all(isinstance(place, list) and [*map(type, place)] == [int, int] for place in places)
    lacking = whole and all(1 <= place[0] <= place[1] > len(parts) and place[1] == places[0][1] for place in places)
    numbers = [place[0] for place in places] if lacking else range(1, len(parts) + 1)
    for number, part in zip(numbers, parts, strict=True):
        (place / f"{number:06d}.json").write_bytes(file_of(part))
    return run_offline("evidence", "--vkey", bundles.vkey(), *options_of(question), place)


@pytest.fixture(params=[ask_core_of_a_set, ask_offline_of_a_set], ids=["core", "verify.py"])
def ask_set(request, tmp_path):
    """Put a set and a question before a verifier; returns exit code and complaint."""
    return lambda parts, question: request.param(parts, question, tmp_path)


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
    "a resourceId without its type": {"userId": "user-3", "resourceId": "R:4"},
    "an empty userId": {"userId": ""},
    "an operation with a space": {"operation": "Do 4"},
    "an empty operation": {"operation": ""},
    "a source that begins with a dot": {"sourceId": ".app"},
    "a source that is too long": {"sourceId": "a" * 129},
    "another type of actor": {"actorType": "service"},
    "a type of actor beside a userId": {"actorType": "unknown", "userId": "user-3"},
    "a control type in capitals": {"control": "Order"},
    "a control type that is too long": {"control": "o" * 33},
    "an empty control type": {"control": ""},
    "events as control entries": {"control": "event"},
    "epochs as control entries": {"control": "index"},
    "entry 0 as control entries": {"control": "index-keys"},
    "control entries of a user": {"control": "order", "userId": "user-3"},
    "control entries by when they happened": {"control": "order", "from": "2026-03-01T00:00:00Z"},
    "control entries with an outcome": {"control": "order", "outcome": "success"},
    "control entries about a type": {"control": "order", "resourceType": "record"},
    "a userId that is not UTF-8": {"userId": "user-3\udcff"},
    "a day that does not exist": {"userId": "user-3", "from": "2026-02-30T00:00:00Z"},
    "a date that does not exist": {"userId": "user-3", "loggedTo": "2026-02-30"},
    "an hour that does not exist": {"userId": "user-3", "to": "2026-03-01T24:00:00Z"},
    "a minute that does not exist": {"userId": "user-3", "to": "2026-03-01T23:60:00Z"},
    "a time without its zone": {"userId": "user-3", "loggedTo": "2026-03-01T23:00:00"},
    "a zone that does not exist": {"userId": "user-3", "loggedTo": "2026-03-01T23:00:00+24:00"},
    "a fraction of ten digits": {"userId": "user-3", "loggedTo": "2026-03-01T23:00:00.1234567890Z"},
    "a fraction of none": {"userId": "user-3", "loggedTo": "2026-03-01T23:00:00.Z"},
    "bounds reversed in the ninth digit": {
        "userId": "user-3", "from": "2026-03-01T12:00:00.000000001Z", "to": "2026-03-01T12:00:00Z",
    },
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


HASHED = {
    "a control character": ("userId", "user-3\x7f"),
    "a newline": ("userId", "user-3\n"),
    "a bidirectional override": ("userId", "\u202euser-3"),
    "a line separator": ("userId", "user\u2028-3"),
    "a C1 control": ("userId", "user-3\x85"),
    "a userId of 257 characters": ("userId", "u" * 257),
    "a userId of 129 characters that are 258 in NFC": ("userId", "\u0958" * 129),
    "a userId of 260 characters that are 220 in NFC, and more bytes": ("userId", "e\u0301" * 100 + "\u0958" * 60),
    "a resourceId of 342 characters that are 2052 bytes in NFC": ("resourceId", "\u0958" * 342),
    "a resourceId of 1025 characters": ("resourceId", "R" * 1025),
    "a resourceId of 2049 bytes": ("resourceId", "\u4e2d" * 683),
    "a resourceId with a control character": ("resourceId", "R:4\n"),
}


@pytest.mark.parametrize("name", HASHED)
def test_an_id_that_no_event_can_have_is_asked_for_as_importers_keep_it(ask, name):
    """What is proved of it is proved of its hash."""
    member, text = HASHED[name]
    kept = f"sha256:{sha256(text.encode()).hexdigest()}"
    more = {"resourceType": "record"} if member == "resourceId" else {}
    about = ("record", kept) if more else ("record", "R:0")
    event = bundles.Event(1, "u" if more else kept, about, "read", at=1, outcome="success")
    log = bundles.NaiveLog([event], [2])
    bundle = log.bundle({member: kept} | more)
    assert bundle["manifest"]["answers"] == 1
    assert ask(bundle, {member: text} | more)[0] == 0
    assert ask(log.bundle({member: text} | more), {member: text} | more)[0] in (1, 2)
    assert ask(bundle, {member: text + "x"} | more)[0] == 2


@pytest.mark.parametrize("member", ["userId", "resourceId"])
def test_an_id_that_these_unicode_tables_do_not_know_is_not_checked(ask, member):
    """In newer ones it may have another NFC form; a verdict about this one would be a guess."""
    question = {member: "a\U0010ffff\u0301"} | ({"resourceType": "record"} if member == "resourceId" else {})
    assert ask(LOG.bundle(question), question)[0] == 3


def test_two_spellings_of_an_id_are_one(ask):
    event = bundles.Event(1, "Ame\u0301lie", ("record", "A\u030a"), "read", at=1, outcome="success",
                          related=[("record", "\u212b-1")])  # fmt: skip
    log = bundles.NaiveLog([event], [2])
    for stated, typed in (
        ({"userId": "Am\u00e9lie"}, {"userId": "Ame\u0301lie"}),
        ({"resourceType": "record", "resourceId": "\u00c5"}, {"resourceType": "record", "resourceId": "\u212b"}),
        ({"resourceType": "record", "resourceId": "\u00c5-1"}, {"resourceType": "record", "resourceId": "A\u030a-1"}),
    ):
        assert log.bundle(stated)["manifest"]["answers"] == 1
        for question in (stated, typed):
            assert ask(log.bundle(stated, disclose=True), question)[0] == 0
        # a bundle that states another form than NFC is of another question
        assert ask(log.bundle(typed) | {"question": typed}, stated)[0] in (1, 2)


OFFSETS = {
    "2026-03-01T01:10:00+01:00": "2026-03-01T00:10:00Z",
    "2026-02-28T23:40:00.50-00:30": "2026-03-01T00:10:00.50Z",
    "2026-03-01T00:10:00-00:00": "2026-03-01T00:10:00Z",
    "2026-03-01T00:10:00.000001Z": "2026-03-01T00:10:00.000001Z",
    "2026-03-01T00:10:00.123456789Z": "2026-03-01T00:10:00.123456789Z",
    "2026-03-01t01:10:00.1234567+01:00": "2026-03-01T00:10:00.1234567Z",
    "2026-03-01T00:10:00z": "2026-03-01T00:10:00Z",
    "2026-03-01": "2026-03-01T00:00:00Z",
}


@pytest.mark.parametrize("time", OFFSETS)
def test_a_time_is_asked_for_in_any_zone(ask, time):
    stated = {"userId": "user-3", "from": OFFSETS[time]}
    assert ask(LOG.bundle(stated), stated | {"from": time})[0] == 0
    other = stated | {"from": "2026-03-01T00:11:00Z"}
    assert ask(LOG.bundle(other), stated | {"from": time})[0] == 2


TWICE = {
    "a member": ["--ask", "userId=user-1", "--ask", "userId=user-3"],
    "a member, the same": ["--ask", "userId=user-3", "--ask", "userId=user-3"],
    "a member in its short form": ["--ask", "userId=user-3", "--ask", "resource=record:4", "--ask", "resourceType=record"],
    "a bound": ["--ask", "userId=user-3", "--ask", "to=2026-03-02", "--ask", "to=2026-03-03"],
    "another bound": ["--ask", "userId=user-3", "--ask", "loggedFrom=2026-03-02", "--ask", "loggedFrom=2026-03-03"],
    "the key": ["--ask", "userId=user-3", "--vkey", bundles.vkey()],
}  # fmt: skip


@pytest.mark.parametrize("name", TWICE)
def test_nothing_is_asked_twice(tmp_path, name, capsys):
    """The last one would replace the others, and the answer would be to another question than the reader sees."""
    path = tmp_path / "bundle.json"
    path.write_bytes(file_of(LOG.bundle({"userId": "user-3"})))
    assert run_offline("evidence", "--vkey", bundles.vkey(), "--ask", "userId=user-3", path)[0] == 0
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
    "an operation and an action": ({"operation": "Do:4"}, {"action": "read"}),
    "an operation and a source": ({"operation": "Do:0"}, {"sourceId": "app-0"}),
    "nobody and an action": ({"actorType": "unknown"}, {"action": "read"}),
    "a resource and how it ended": ({"resourceType": "patient", "resourceId": "P:3"}, {"outcome": "failure"}),
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


@pytest.mark.parametrize(
    "question",
    [
        {"sourceId": "app-6"},
        {"control": "order", "resourceType": "patient", "resourceId": "P:0"},
    ],
    ids=["source", "control about"],
)
def test_what_one_key_does_not_decide_is_not_counted(ask, question):
    """The key of a source is in its own statements too, and what control entries name stands under two keys."""
    assert ask(LOG.bundle(question), question)[0] in (0, 3)
    code, said = ask(LOG.bundle(question, mode="count"), question, "count")
    assert code == 2, said


def test_a_count_about_a_resource_is_of_two_numbers(ask):
    """Events of it, and what names it; neither passes for the other."""
    for question in ({"resourceType": "record", "resourceId": "R:4"}, {"resourceType": "patient", "resourceId": "P:3"}):
        bundle = LOG.bundle(question, mode="count")
        assert ask(bundle, question, "count")[0] == 0
        manifest = bundle["manifest"]
        both = manifest["postings"]
        assert manifest["answers"] != both
        for answers, postings in (
            (both, both),
            (manifest["answers"], manifest["answers"]),
            (both - manifest["answers"], both),
        ):
            other = bundle | {"manifest": manifest | {"answers": answers, "postings": postings}}
            code, said = ask(other, question, "count")
            assert (code, (answers, postings) == (manifest["answers"], both)) in ((1, False), (0, True)), said


# --- Two keys, parts, and what is not known -----------------------------------------------------------------------------

RECORD = {"resourceType": "record", "resourceId": "R:4"}


TWO = {"resourceType": "record", "resourceId": "R:2"}  # whose keys are in different pages of the first segment


def test_what_names_a_resource_is_never_left_out(ask):
    """The bundle of an index or a program that knows of the resource's own key only."""
    whole = LOG.bundle(TWO)
    assert ask(whole, TWO)[0] == 0
    only = LOG.bundle(TWO | {"control": "order"})
    for bundle in (
        whole | {"segments": only["segments"]},
        whole | {"buckets": whole["buckets"][:1]},
        whole | {"buckets": only["buckets"]},
        whole | {"buckets": [*whole["buckets"], *only["buckets"]]},
    ):
        assert ask(bundle, TWO)[0] in (1, 2)
    pages = [
        {key: LOG.index.prove(number, [key], (0, 121), count=False)[0] for key in bundles.keys_of(TWO)}
        for number in range(4)
    ]
    for which in bundles.keys_of(TWO):
        segments = [each[which] for each in pages]
        if segments != whole["segments"]:
            assert ask(whole | {"segments": segments}, TWO)[0] == 1
    # one posting less of the key that names it, with the entries and numbers that go with that
    named = bundles.personal_key(bundles.ident_of("related", "record", "R:2"))
    cheat = sample_log(spoil=lambda _, items: [each for each in items if each[:8] != named[:8]])
    bundle = cheat.bundle(TWO)
    assert ask(bundle, TWO)[0] == 0  # nothing in the bundle can show it: that takes the event's proof, or a replay
    assert (
        ask(
            with_entries(LOG, whole, [index for index, _ in bundle["entries"]]) | {"manifest": bundle["manifest"]}, TWO
        )[0]
        == 1
    )


def test_pages_that_nothing_asks_for_are_refused(ask):
    for mode in ("answer", "count"):
        bundle = LOG.bundle(TWO, mode=mode)
        numbers = {
            first + n
            for first, data in bundle["segments"][0]["runs"]
            for n in range(-(-len(base64.b64decode(data)) // 384))
        }
        more = sorted({*range(len(LOG.index.pages(0)))} - numbers)
        assert more
        for page in more:
            other = bundle | {"segments": [LOG.index.range_proof(0, sorted({*numbers, page})), *bundle["segments"][1:]]}
            assert ask(other, TWO, mode)[0] == 1
        first, second, *others = bundle["segments"]
        ((page, data),) = second["runs"]
        pages = base64.b64decode(data)
        assert len(pages) == 2 * 384
        split = {**second, "runs": [[page, b64(pages[:384])], [page + 1, b64(pages[384:])]]}
        assert ask(bundle | {"segments": [first, split, *others]}, TWO, mode)[0] == 1


ALONE = {"resourceType": "patient", "resourceId": "P:0"}


def test_what_a_version_does_not_know_is_never_a_whole_answer(ask):
    for question in (ALONE, ALONE | {"control": "order"}, {"control": "order"}):
        code, said = ask(LOG.bundle(question), question)
        assert code == 3, said
    others = {"resourceType": "patient", "resourceId": "P:3"}
    # The first key of a control entry says of what type it is: those of the type order have nothing to say of outcomes.
    for question in ({"control": "outcome"}, ALONE | {"control": "outcome"}, others, {"action": "read"}):
        assert ask(LOG.bundle(question), question)[0] == 0
    assert ask(LOG.bundle({"control": "order"}, mode="count"), {"control": "order"}, "count")[0] == 0


def test_a_control_entry_does_not_pass_for_an_event(ask):
    bundle = LOG.bundle(ALONE)
    manifest = bundle["manifest"]
    assert ask(bundle | {"manifest": manifest | {"answers": manifest["answers"] + 3}}, ALONE)[0] == 1
    events = LOG.bundle(ALONE) | {"question": ALONE | {"control": "order"}}
    assert ask(events, ALONE | {"control": "order"})[0] == 1


def test_an_entry_of_another_version_is_not_passed_over(ask):
    """An event of a version that the reader does not know is under the key asked for: whether it answers nobody can tell."""
    log = sample_log()
    log.entries[70] = canonical(json.loads(log.entries[70]) | {"v": 2})
    event = log.events.pop(70)
    bundle = signed(log).bundle({"userId": "user-0"})
    assert ask(bundle, {"userId": "user-0"})[0] == 3
    log.events[70] = event
    assert ask(log.bundle({"userId": "user-0"}), {"userId": "user-0"})[0] == 1


def test_entry_0_of_another_log_is_refused(ask):
    """Its bucket keys are the same: `index.keys` was used by two logs."""
    log = sample_log()
    log.entries[0] = canonical(json.loads(log.entries[0]) | {"origin": "example.com/other"})
    for question in ({"action": "read"}, {"userId": "user-3"}, RECORD):
        code, said = ask(signed(log).bundle(question), question)
        assert code == 1, said


def alike(place, key, number=70):
    """A log in which one entry has another key that begins like `key`, its index derived from it."""
    log = sample_log()
    entry = json.loads(log.entries[number])
    entry["keys"][place] = b64url(key[:8] + bytes(8))
    log.entries[number] = canonical(entry)
    log.events[number].keys[place] = key[:8] + bytes(8)
    return log


def test_an_entry_whose_key_only_begins_alike_is_no_answer(ask):
    key = bundles.personal_key(bundles.ident_of("actor", "user-3"))
    log = alike(0, key)
    postings = {n: each.keys for n, each in {**log.events, **log.controls}.items()}
    log.index = bundles.Index(postings, [64, 100, 101, 121])
    log.events[70].members["userId"] = "user-0"
    log = with_table(log, lambda rows: rows)
    bundle = log.bundle({"userId": "user-3"})
    assert 70 in dict(bundle["entries"])
    code, said = ask(bundle, {"userId": "user-3"})
    assert code == 0, said
    manifest = bundle["manifest"]
    assert ask(bundle | {"manifest": manifest | {"answers": manifest["answers"] + 1}}, {"userId": "user-3"})[0] == 1


SETS = {
    "resource": RECORD,
    "actor in a window": {"userId": "user-3", "loggedFrom": moment(20), "loggedTo": moment(90)},
    "nobody": {"userId": "nobody"},
}


@pytest.mark.parametrize("name", SETS)
def test_a_set_is_all_of_its_parts(ask_set, ask, name):
    question = SETS[name]
    parts = LOG.parts(question, (30, 64, 80))
    assert ask_set(parts, question)[0] == 0
    assert ask_set(LOG.parts(question, ()), question)[0] == 0
    for number, part in enumerate(parts):
        assert ask(part, question)[0] == 3
        assert ask_set([*parts[:number], *parts[number + 1 :]], question)[0] == 3
    assert ask_set(parts, question | {"outcome": "success"})[0] == 2


def part_with(place, **members):
    """The parts of a set, one of them with other members."""
    parts = LOG.parts(RECORD, (30, 64, 80))
    return [*parts[:place], parts[place] | members, *parts[place + 1 :]]


WRONG_SETS = {
    "a part twice": lambda: [LOG.parts(RECORD, (30,))[0]] * 2,
    "a gap": lambda: [LOG.parts(RECORD, (30,))[0], LOG.parts(RECORD, (31,))[1]],
    "an overlap": lambda: [LOG.parts(RECORD, (30,))[0], LOG.parts(RECORD, (29,))[1]],
    "an empty window": lambda: LOG.parts(RECORD, (30, 30)),
    "a window that begins late": lambda: [LOG.bundle(RECORD, mode="part", window=(1, 30), part=(1, 2)), LOG.parts(RECORD, (30,))[1]],
    "a window that ends early": lambda: [LOG.parts(RECORD, (30,))[0], LOG.bundle(RECORD, mode="part", window=(30, 120), part=(2, 2))],
    "a part of another question": lambda: part_with(1, question={"resourceType": "record", "resourceId": "R:5"}),
    "a part of another number": lambda: part_with(1, part=[2, 5]),
    "a part 0": lambda: part_with(0, part=[0, 4]),
    "a part beyond": lambda: part_with(3, part=[5, 4]),
    "another disclosure": lambda: part_with(1, disclosure="full"),
    "another epoch": lambda: part_with(1, epoch=64),
    "another checkpoint": lambda: part_with(1, checkpoint=bundles.note(122, bytes(32))),
    "an inner edge": lambda: part_with(1, **LOG.shown(sorted({*dict(LOG.parts(RECORD, (30, 64, 80))[1]["entries"]), 30}))),
    "a bundle of the mode answer": lambda: [LOG.parts(RECORD, (30,))[0], LOG.bundle(RECORD, window=(30, 121))],
    "the whole answer's numbers": lambda: part_with(1, manifest=LOG.bundle(RECORD)["manifest"]),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG_SETS)
def test_a_wrong_set_is_refused(ask_set, name):
    code, said = ask_set(WRONG_SETS[name](), RECORD)
    assert code in (1, 2), said


def test_a_clock_that_goes_back_from_part_to_part_is_refused(ask_set):
    log = logged(sample_log(), {36: moment(25), 59: moment(48)})
    assert ask_set(log.parts(RECORD, (64,)), RECORD)[0] == 1
    code, said = ask_set(log.parts(RECORD, (30, 64)), RECORD)
    assert (code, "clock" in said) == (1, True), said


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
    "a day and nine digits before": ({"from": "2026-03-02T00:30:00.000000001Z"}, (31, 121)),
    "until the ninth digit": ({"loggedTo": "2026-03-01T01:00:00.000000001Z"}, (0, 61)),
    "from the ninth digit": ({"loggedFrom": "2026-03-01T00:29:59.999999999Z"}, (30, 121)),
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
    return bundle | log.shown(indexes)


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


# --- An index that contradicts itself in the bundle -------------------------------------------------------------------

ASKED = {"userId": "user-3"}


def with_epoch(log, **members):
    """The log with another epoch's entry."""
    log.entries[log.epoch] = canonical(json.loads(log.entries[log.epoch]) | members)
    return signed(log)


def with_table(log, change, ends=None):
    """The log with the table that `change` makes of the rows [start, end, postings, root], committed to."""
    rows = [list(row) for row in struct.iter_unpack(">QQQ32s", log.index.table())]
    table = b"".join(struct.pack(">QQQ32s", *row) for row in change(rows))
    log.index.table = lambda: table
    ends = [row[1] for row in struct.iter_unpack(">QQQ32s", table)] if ends is None else ends
    return with_epoch(log, table=b64url(sha256(b"\x13" + table).digest()), ends=ends, size=ends[-1])


def replaced(number, **members):
    """A change of one row."""
    names = "start", "end", "postings", "root"

    def change(rows):
        rows[number] = [members.get(name, value) for name, value in zip(names, rows[number], strict=True)]
        return rows

    return change


def keys_of(log):
    """The keys of a log's entries, by index."""
    return {number: each.keys for number, each in {**log.events, **log.controls}.items()}


def emptied(log):
    """The log whose second segment says that it has no postings, under the root of the ones it has."""
    log = with_table(log, replaced(1, postings=0))
    log.index.segments[1] = (*log.index.segments[1][:2], [])
    return log


def overlapping():
    """A log whose second segment covers what the first one covers, so that events are counted twice."""
    log = sample_log()
    keys = keys_of(log)
    log.index = bundles.Index(keys, [64, 121])
    twice = bundles.Index(keys, [64])
    log.index.segments.insert(1, twice.segments[0])
    return with_table(log, lambda rows: rows, ends=[64, 64, 121])


CONTRADICTIONS = {
    "an epoch that ends at its own entry": (lambda: sample_log(later=40), 0),
    "an epoch that ends before its own entry": (lambda: sample_log(ends=[64, 100, 115]), 0),
    "an epoch over its own entry": (lambda: sample_log(ends=[64, 122], later=40), 1),
    "an epoch over what was logged after it": (lambda: sample_log(ends=[64, 100, 161], later=40), 1),
    "segments that overlap": (overlapping, 2),
    "a segment that begins too early": (lambda: with_table(sample_log(), replaced(1, start=63)), 2),
    "a segment that begins too late": (lambda: with_table(sample_log(), replaced(1, start=65)), 2),
    "a first segment that begins late": (lambda: with_table(sample_log(), replaced(0, start=1)), 2),
    "a segment that has no end": (lambda: with_table(sample_log(), replaced(1, end=64, postings=0, root=EMPTY)), 2),
    "a segment of 2^32 entries": (lambda: with_table(sample_log(), replaced(3, end=101 + 2**32)), 2),
    "an empty segment under another root": (lambda: emptied(sample_log()), 2),
    "ends that are not those of the table": (lambda: with_table(sample_log(), lambda rows: rows, ends=[64, 100, 102, 121]), 1),
    "a table that is another": (lambda: with_epoch(sample_log(), table=b64url(bytes(32))), 1),
    "no table": (lambda: with_table(sample_log(), lambda _: [], ends=[121]), 2),
    "a row less": (lambda: with_table(sample_log(), lambda rows: rows[:-1], ends=[64, 100, 101, 121]), 1),
    "ends that fall": (lambda: with_epoch(sample_log(), ends=[100, 64, 101, 121]), 2),
    "an end twice": (lambda: with_epoch(sample_log(), ends=[64, 64, 101, 121]), 2),
    "an end of zero": (lambda: with_epoch(sample_log(), ends=[0, 64, 121]), 2),
    "no ends": (lambda: with_epoch(sample_log(), ends=[]), 2),
    "ends that are text": (lambda: with_epoch(sample_log(), ends="64"), 2),
    "an end that is true": (lambda: with_epoch(sample_log(), ends=[True, 64, 121]), 2),
    "another size than the last end": (lambda: with_epoch(sample_log(), size=120), 2),
    "a size with a fraction": (lambda: with_epoch(sample_log(), size=121.0), 2),
    "a version that is true": (lambda: with_epoch(sample_log(), v=True), 2),
    "a member more": (lambda: with_epoch(sample_log(), keys="x"), 2),
    "another type": (lambda: with_epoch(sample_log(), type="epoch"), 1),
    "a time that does not exist": (lambda: with_epoch(sample_log(), loggedAt="2026-03-32T00:00:00.000000Z"), 2),
}  # fmt: skip


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_an_index_that_contradicts_itself_is_refused(ask, name):
    make, expected = CONTRADICTIONS[name]
    log = make()
    code, said = ask(log.bundle(ASKED, window=(0, log.size)), ASKED)
    assert code == expected, said


def test_events_after_an_epoch_are_not_hidden_by_it(ask):
    """An epoch that claims to cover them would prove that user-3 did nothing after entry 121."""
    honest = sample_log(later=40)
    question = ASKED | {"loggedFrom": moment(122)}
    assert ask(honest.bundle(question), question)[0] == 0
    log = sample_log(ends=[64, 162], later=40)
    bundle = log.bundle(question)
    assert (bundle["start"], bundle["end"], bundle["manifest"]["answers"]) == (122, 162, 0)
    code, said = ask(bundle, question)
    assert (code, "epoch" in said) == (1, True)


FIRST = {
    "bits that are true": {"bits": True},
    "bits with a fraction": {"bits": 4.0},
    "25 bits": {"bits": 25},
    "a root of 31 bytes": {"root": b64url(bytes(31))},
    "a root with trailing bits": {"root": "A" * 42 + "B"},
    "a member more": {"keys": []},
    "no origin": {"origin": ...},
    "an origin that is a number": {"origin": 5},
}


@pytest.mark.parametrize("name", FIRST)
def test_entry_0_has_its_form(ask, name):
    log = sample_log()
    members = {name: value for name, value in (json.loads(log.entries[0]) | FIRST[name]).items() if value is not ...}
    log.entries[0] = canonical(members)
    assert ask(signed(log).bundle(ASKED), ASKED)[0] == 2


@pytest.mark.parametrize("members", [{"type": "bucket-keys"}, {"v": 2}])
def test_entry_0_is_of_a_version_that_is_known(ask, members):
    log = sample_log()
    log.entries[0] = canonical(json.loads(log.entries[0]) | members)
    assert ask(signed(log).bundle(ASKED), ASKED)[0] == 1


@pytest.mark.parametrize("kind", ["note", "index", "index-keys"])
def test_what_is_no_event_does_not_answer(ask, kind):
    """With keys that are a text it looked like an event that has the key asked for."""
    log = sample_log()
    fake = json.loads(log.entries[70]) | {"type": kind}
    fake["keys"] = '","'.join(["", *json.loads(log.entries[3])["keys"], ""])
    log.entries[70] = canonical(fake)
    log.index = bundles.Index(keys_of(log) | {70: log.events[3].keys}, [64, 100, 101, 121])
    log = with_table(log, lambda rows: rows)
    bundle = log.bundle(ASKED)
    assert 70 in dict(bundle["entries"])
    bundle["manifest"]["answers"] = bundle["manifest"]["postings"]
    assert ask(bundle, ASKED)[0] in (1, 2)


# --- Keys that are not those of the data ------------------------------------------------------------------------------

VICTIM = 70  # by user-0, about R:4, an update


def with_keys(keys, number=VICTIM, **members):
    """A log in which an event has these keys, by place, and an index that was honestly made of them."""
    log = sample_log()
    entry = json.loads(log.entries[number])
    entry |= (
        {"keys": [keys.get(place, key) for place, key in enumerate(entry["keys"])]}
        if isinstance(keys, dict)
        else {"keys": keys}
    )
    log.entries[number] = canonical(entry | members)
    postings = keys_of(log)
    if isinstance(entry["keys"], list):
        found = [base64.urlsafe_b64decode(key + "==") for key in entry["keys"] if len(key) == 22]
        postings[number] = found
    log.index = bundles.Index(postings, [64, 100, 101, 121])
    return with_table(log, lambda rows: rows)


ACTOR, RESOURCE, UPDATE = (b64url(key) for key in LOG.events[VICTIM].keys)
MALFORMED_KEYS = {
    "the key of another action": {2: b64url(bundles.action_key("read"))},
    "trailing bits in the key of the action": {2: UPDATE[:-1] + chr(ord(UPDATE[-1]) + 1)},
    "trailing bits in the key of the actor": {0: ACTOR[:-1] + chr(ord(ACTOR[-1]) + 1)},
    "trailing bits in the key of the resource": {1: RESOURCE[:-1] + chr(ord(RESOURCE[-1]) + 1)},
    "a key too few": [ACTOR, UPDATE],
    "a key too many": [ACTOR, RESOURCE, UPDATE, b64url(bundles.action_key("read"))],
    "no keys": [],
    "the keys of actor and resource alone": [ACTOR, RESOURCE],
    "a key twice": {0: RESOURCE},
    "keys that begin alike": {0: b64url(LOG.events[VICTIM].keys[1][:8] + bytes(8))},
    "keys in another order": [UPDATE, ACTOR, RESOURCE],
    "the action first": [UPDATE, RESOURCE, ACTOR],
    "a text": f'{ACTOR}","{RESOURCE}","{UPDATE}',
    "a key of 15 bytes": {0: b64url(bytes(15))},
    "a key with padding": {0: ACTOR + "=="},
}  # fmt: skip


@pytest.mark.parametrize("name", MALFORMED_KEYS)
def test_an_entry_with_keys_that_anybody_can_tell_are_wrong_is_malformed(ask, name):
    log = with_keys(MALFORMED_KEYS[name])
    for question in ({"userId": "user-0"}, {"resourceType": "record", "resourceId": "R:4"}, {"action": "update"}):
        bundle = log.bundle(question)
        if VICTIM not in dict(bundle["entries"]):
            needed = sorted([*dict(bundle["entries"]), VICTIM])
            bundle = with_entries(log, bundle, needed)
        code, said = ask(bundle, question)
        assert code == 2, said


def test_an_action_and_its_key_are_one(ask):
    """An `export` with the key of `read` is in no answer about exports."""
    log = with_keys({2: b64url(bundles.action_key("read"))}, action="export")
    assert ask(log.bundle({"action": "read"}), {"action": "read"})[0] == 2


MALFORMED_MEMBERS = {
    "an action that there is not": {"action": "look"},
    "a timestamp that does not exist": {"timestamp": "2026-02-30T00:00:00Z"},
    "a timestamp in hour 24": {"timestamp": "2026-03-01T24:00:00Z"},
    "a loggedAt that does not exist": {"loggedAt": "2026-02-29T01:10:00.000000Z"},
    "a commitment with trailing bits": {"commitments": {"actor": "A" * 42 + "B", "resource": "A" * 43}},
    "a version that is true": {"v": True},
    "a version with a fraction": {"v": 1.0},
    "a loggedAt of five digits": {"loggedAt": "2026-03-01T01:10:00.00000Z"},
    "a year zero": {"timestamp": "0000-03-01T01:10:00Z"},
    "a sequence number that is true": {"source": {"id": "a", "seq": True}},
}


@pytest.mark.parametrize("name", MALFORMED_MEMBERS)
def test_an_entry_of_another_form_is_malformed(ask, name):
    log = sample_log()
    log.entries[VICTIM] = canonical(json.loads(log.entries[VICTIM]) | MALFORMED_MEMBERS[name])
    assert ask(signed(log).bundle({"userId": "user-0"}, window=(0, 121)), {"userId": "user-0"})[0] == 2


def test_a_key_counts_at_its_own_place_only(ask):
    """The actor's key where that of the resource belongs: the event is about no R:4 and yet would be shown as user-0's."""
    log = with_keys({0: b64url(bundles.personal_key(bundles.ident_of("actor", "x"))), 1: ACTOR})
    code, said = ask(log.bundle({"userId": "user-0"}), {"userId": "user-0"})
    assert (code, f"entry {VICTIM}" in said) == (1, True), said


def about_another(user, resource, keys):
    """A log whose event 70 is disclosed as of this user and resource, and has the keys of others."""
    log = sample_log()
    event = bundles.Event(VICTIM, user, ("record", resource), "update", at=VICTIM - 3, outcome="failure")
    members = json.loads(event.entry)
    members["keys"] = [keys.get(place, key) for place, key in enumerate(members["keys"])]
    log.entries[VICTIM] = canonical(members)
    log.events[VICTIM] = event
    return signed(log)


def same_bucket(ident, kind, *prefix):
    """A value whose ident is in the bucket of another ident."""
    numbers = (f"{prefix[-1]}{number}" for number in range(1000))
    return next(
        n for n in numbers if bundles.bucket_of(bundles.ident_of(kind, *prefix[:-1], n)) == bundles.bucket_of(ident)
    )


R4 = bundles.ident_of("resource", "record", "R:4")
FALSE_KEYS = {
    "the resource asked for, disclosed as another": (("user-0", "R:9"), {1: RESOURCE}, {"resourceType": "record", "resourceId": "R:4"}),
    "the actor asked for, disclosed as another": (("user-1", "R:4"), {0: ACTOR}, {"userId": "user-0"}),
    "an actor in the bucket of the resource asked for": (
        (same_bucket(R4, "actor", "u-"), "R:4"), {0: ACTOR}, {"resourceType": "record", "resourceId": "R:4"},
    ),
    "an actor in the bucket of what names the resource asked for": (
        (same_bucket(bundles.ident_of("related", "record", "R:4"), "actor", "u-"), "R:4"), {0: ACTOR},
        {"resourceType": "record", "resourceId": "R:4"},
    ),
    "a resource in the bucket of the resource asked for": (
        ("user-0", same_bucket(R4, "resource", "record", "X-")), {1: RESOURCE}, {"resourceType": "record", "resourceId": "R:4"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FALSE_KEYS)
def test_what_is_disclosed_leads_to_the_key_at_its_place(ask, name):
    disclosed, keys, question = FALSE_KEYS[name]
    log = about_another(*disclosed, keys)
    bundle = LOG.bundle(question)
    shown = [index for index, _ in bundle["entries"]]
    groups = {
        group: {"body": body, "salt": b64url(salt)} for group, (salt, body) in log.events[VICTIM].disclosures.items()
    }
    bundle = with_entries(log, bundle, shown) | {"checkpoint": bundles.note(len(log.entries), log.root)}
    assert ask(bundle, question)[0] == 0  # without the data nothing can show it
    more = {"disclosure": "full", "disclosures": [[VICTIM, groups]]}
    more["manifest"] = bundle["manifest"] | {"disclosures": 2}
    code, said = ask(bundle | more, question)
    assert (code, "false key" in said) == (1, True), said


def test_what_is_disclosed_honestly_is_taken(ask):
    for question in ({"userId": "user-0"}, {"resourceType": "record", "resourceId": "R:4"}, {"action": "update"}):
        assert ask(LOG.bundle(question, disclose=True), question)[0] == 0


# --- Frauds: what convicts a log, and what convicts nobody ------------------------------------------------------------


def charge_core(bundle, proof_and_event, _directory):
    """Return the exit code and what is said by tlog's own verifier, trying each fraud."""
    said = []
    try:
        data = bundle if isinstance(bundle, bytes) else file_of(bundle)
        fraud = parse_clock_fraud(data) if b"tlog-clock-fraud" in data else parse_evidence(data)
        event = None if proof_and_event is None else verify_event(VERIFIER, proof_and_event[1], proof_and_event[0])
        attempts = [lambda: find_clock_fraud(VERIFIER, fraud)]
        if event is not None:
            attempts += [lambda: find_false_key(VERIFIER, fraud, event.entry, event.bodies)]
            keys = event.entry.index_keys()
            attempts += [lambda key=key: find_fraud(VERIFIER, fraud, key, event.index) for key in keys]
        for attempt in attempts:
            try:
                return 0, attempt()
            except VerificationError as error:
                said.append(str(error))
    except TlogError as error:
        return error.exit_code, str(error)
    return 1, "; ".join(said)


def charge_offline(bundle, proof_and_event, directory):
    """Return the exit code of `verify.py fraud` and what it said."""
    names, more = ["bundle", "proof", "event"], []
    contents = [bundle if isinstance(bundle, bytes) else file_of(bundle), *(proof_and_event or ())]
    for name, data in zip(names, contents, strict=False):
        (directory / name).write_bytes(data)
    if proof_and_event is not None:
        more = ["--proof", directory / "proof", "--event", directory / "event"]
    return run_offline("fraud", "--vkey", bundles.vkey(), *more, directory / "bundle")


@pytest.fixture(params=[charge_core, charge_offline], ids=["core", "verify.py"])
def charge(request, tmp_path):
    """Put what may convict a log before a verifier; returns exit code and verdict."""

    def put(bundle, proof_and_event=None):
        return request.param(bundle, proof_and_event, tmp_path)

    return put


def clock_fraud(log, first, second):
    """A clock fraud file about two entries of a log."""
    bundle = with_entries(log, {"checkpoint": bundles.note(len(log.entries), log.root)}, sorted([first, second]))
    return bundle | {"type": "tlog-clock-fraud", "v": 1}


BACK = logged(sample_log(), {17: "2026-03-01T00:09:59.999999Z"})


def test_a_clock_that_went_back_convicts(charge):
    code, said = charge(clock_fraud(BACK, 10, 17))
    assert (code, "entry 10 says that it was logged later than entry 17" in said) == (0, True), said
    for bundle in (clock_fraud(BACK, 9, 17), clock_fraud(BACK, 17, 18), clock_fraud(LOG, 10, 17)):
        code, said = charge(bundle)
        assert (code, "in order" in said) == (1, True), said
    code, said = charge(BACK.bundle(ASKED))
    assert (code, "entry 10 says that it was logged later than entry 17" in said) == (0, True), said
    assert charge(BACK.bundle(ASKED), LOG.event_proof(3))[0] == 0
    assert charge(LOG.bundle(ASKED))[0] == 1


FRAUD = clock_fraud(BACK, 10, 17)
WRONG_FRAUDS = {
    "a member more": (FRAUD | {"x": 1}, 2),
    "another version": (FRAUD | {"v": 2}, 2),
    "a version that is true": (FRAUD | {"v": True}, 2),
    "one entry": (with_entries(BACK, FRAUD, [17]), 2),
    "three entries": (with_entries(BACK, FRAUD, [10, 17, 18]), 2),
    "no entries": (FRAUD | {"entries": []}, 2),
    "entries by name": (FRAUD | {"entries": {}}, 2),
    "an index that is text": (FRAUD | {"entries": [["10", BACK.entries[10]], [17, BACK.entries[17]]]}, 2),
    "an entry of another form": (FRAUD | {"entries": [[10, "{}"], [17, BACK.entries[17]]]}, 1),
    "entries turned round": (FRAUD | {"entries": FRAUD["entries"][::-1]}, 1),
    "an entry twice": (FRAUD | {"entries": [FRAUD["entries"][0]] * 2}, 1),
    "another tree": (FRAUD | {"checkpoint": bundles.note(len(LOG.entries), LOG.root)}, 1),
    "a hash less": (FRAUD | {"hashes": b64(base64.b64decode(FRAUD["hashes"])[32:])}, 1),
    "half a hash": (FRAUD | {"hashes": b64(base64.b64decode(FRAUD["hashes"])[16:])}, 2),
    "no newline": (canonical(FRAUD).encode(), 2),
    "white space": (json.dumps(FRAUD, sort_keys=True).encode() + b"\n", 2),
    "nested deep": (b'{"type":"tlog-clock-fraud","x":' + b"[" * 9999 + b"\n", 2),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG_FRAUDS)
def test_a_clock_fraud_file_has_its_form(charge, name):
    fraud, expected = WRONG_FRAUDS[name]
    code, said = charge(fraud)
    assert code == expected, said


def test_a_clock_fraud_file_is_written_as_it_is_read():
    data = file_of(FRAUD)
    assert format_clock_fraud(parse_clock_fraud(data)) == data


def test_files_that_belong_together_are_given_together(tmp_path):
    for name, data in zip(("proof", "event"), LOG.event_proof(3), strict=True):
        (tmp_path / name).write_bytes(data)
    (tmp_path / "bundle").write_bytes(file_of(LOG.bundle(ASKED)))
    (tmp_path / "fraud").write_bytes(file_of(FRAUD))
    proof, event = ["--proof", tmp_path / "proof"], ["--event", tmp_path / "event"]
    for arguments in (
        [*proof, tmp_path / "bundle"],
        [*event, tmp_path / "bundle"],
        [*proof, *event, tmp_path / "fraud"],
    ):
        assert run_offline("fraud", "--vkey", bundles.vkey(), *arguments)[0] == 2


def denied(disclosed, keys):
    """A log in which event 70 has keys of others, its index derived as it must be, and the event's own proof with its data."""
    log = about_another(*disclosed, keys)
    entry = json.loads(log.entries[VICTIM])
    postings = keys_of(log)
    postings[VICTIM] = [base64.urlsafe_b64decode(key + "==") for key in entry["keys"]]
    log.index = bundles.Index(postings, [64, 100, 101, 121])
    return with_table(log, lambda rows: rows)


@pytest.mark.parametrize(
    "keys, question, group",
    [
        ({1: RESOURCE}, {"resourceType": "record", "resourceId": "R:8"}, "resource"),
        ({0: ACTOR}, {"userId": "user-5"}, "actor"),
    ],
)
def test_a_false_key_convicts(charge, ask, keys, question, group):
    """Event 70 is by user-5 about R:8 and has the key of user-0 or of R:4: no answer about R:8 or user-5 has it."""
    log = denied(("user-5", "R:8"), keys)
    bundle, proof_and_event = log.bundle(question), log.event_proof(VICTIM, disclose=True)
    assert VICTIM not in dict(bundle["entries"])
    assert ask(bundle, question)[0] == 0  # nothing in the bundle can show it
    code, said = charge(bundle, proof_and_event)
    assert (code, f"false key: its {group}" in said) == (0, True), said
    # Window, epoch and pages do not matter, and neither does another bucket key beside the right one.
    assert charge(bundle | {"epoch": 0, "table": "", "segments": [], "start": 9, "end": 3}, proof_and_event)[0] == 0
    other = log.bundle({"resourceType": "record", "resourceId": "R:1"})
    assert charge(bundle | {"buckets": [*other["buckets"], *bundle["buckets"]]}, proof_and_event)[0] == 0
    # Without the data, without the bucket key, without entry 0, or with the key of another bucket nothing is proved.
    assert charge(bundle, log.event_proof(VICTIM))[0] == 1
    assert charge(bundle | {"buckets": []}, proof_and_event)[0] == 1
    assert charge(with_entries(log, bundle, [1, log.epoch]), proof_and_event)[0] == 1
    assert charge(other, proof_and_event)[0] == 1
    forged = bundle | {"buckets": [bundle["buckets"][0] | {"key": b64(bytes(32))}]}
    assert charge(forged, proof_and_event)[0] == 1


def test_data_that_is_not_the_events_convicts_nobody(charge):
    question = {"resourceType": "record", "resourceId": "R:4"}
    proof, event = LOG.event_proof(VICTIM, disclose=True)
    content = json.loads(event)
    content["disclosures"]["resource"]["body"] = canonical({"resource": {"id": "R:9", "type": "record"}})
    code, said = charge(LOG.bundle(question), (proof, (canonical(content) + "\n").encode()))
    assert code == 1, said


BODIES = {
    "an actor": ("actor", {"appendedBy": "k", "userId": "user-0"}, 0),
    "a service": ("actor", {"appendedBy": "k", "type": "service", "userId": "user-0"}, 0),
    "no appendedBy": ("actor", {"userId": "user-0"}, 2),
    "a member too many": ("actor", {"appendedBy": "k", "userId": "user-0", "x": 1}, 2),
    "a type that is not stored": ("actor", {"appendedBy": "k", "type": "user", "userId": "user-0"}, 2),
    "an unknown actor with a userId": ("actor", {"appendedBy": "k", "type": "unknown", "userId": "user-0"}, 2),
    "an empty userId": ("actor", {"appendedBy": "k", "userId": ""}, 2),
    "no object": ("actor", "[]", 2),
    "no JSON": ("actor", "user", 2),
    "no userId": ("actor", {"appendedBy": "k"}, 2),
    "a userId that is a number": ("actor", '{"appendedBy":"k","userId":5}', 2),
    "a userId twice": ("actor", '{"appendedBy":"k","userId":"x","userId":"user-0"}', 2),
    "half a surrogate pair": ("actor", '{"appendedBy":"k","userId":"\\ud800"}', 2),
    "half a surrogate pair elsewhere": ("actor", '{"appendedBy":"k","role":"\\udc00","userId":"user-0"}', 2),
    "a number that is none": ("actor", '{"appendedBy":"k","role":NaN,"userId":"user-0"}', 2),
    "an endless number": ("actor", '{"appendedBy":"k","role":1e999,"userId":"user-0"}', 2),
    "a number as 2^53 is stored": ("actor", '{"appendedBy":"k","role":9007199254740992,"userId":"user-0"}', 0),
    "a number that is never stored": ("actor", '{"appendedBy":"k","role":-1000000000000000000000000,"userId":"user-0"}', 2),
    "a long number": ("actor", '{"appendedBy":"k","role":' + "9" * 5000 + ',"userId":"user-0"}', 2),
    "33 levels": ("actor", '{"appendedBy":"k","role":' + "[" * 32 + "]" * 32 + ',"userId":"user-0"}', 2),
    "32 levels": ("actor", '{"appendedBy":"k","role":' + "[" * 31 + "]" * 31 + ',"userId":"user-0"}', 0),
    "a number of 2^53 - 1": ("actor", '{"appendedBy":"k","role":-9007199254740991,"userId":"user-0"}', 0),
    "levels without end": ("actor", "[" * 20_000, 2),
    "a resource that is a text": ("resource", '{"resource":"R:4"}', 2),
    "a resource without a type": ("resource", '{"resource":{"id":"R:4"}}', 2),
    "a resource without an id": ("resource", '{"resource":{"type":"record"}}', 2),
    "a resource whose id is a number": ("resource", '{"resource":{"id":4,"type":"record"}}', 2),
    "the other group's data": ("resource", '{"userId":"user-0"}', 2),
    "a resource of another type": ("resource", '{"resource":{"id":"R:4","type":"bill"}}', 1),
    "a resource with a member more": ("resource", {"resource": {"id": "R:4", "role": "r", "type": "record"}}, 2),
    "details with a member more": ("resource", {"details": {"x": 1}, "resource": {"id": "R:4", "type": "record"}}, 2),
    "metadata that is a list": ("resource", {"metadata": [], "resource": {"id": "R:4", "type": "record"}}, 2),
    "a group with a member more": ("resource", {"actor": {}, "resource": {"id": "R:4", "type": "record"}}, 2),
    "all of a resource": (
        "resource", {"details": {"reason": "r"}, "metadata": {"x": 1}, "resource": {"id": "R:4", "name": "n", "type": "record"}}, 0,
    ),
    "a resource": ("resource", '{"resource":{"id":"R:4","type":"record"}}', 0),
}  # fmt: skip


@pytest.mark.parametrize("name", BODIES)
def test_what_is_disclosed_is_what_an_event_has_there(ask, name):
    group, body, expected = BODIES[name]
    body = body if isinstance(body, str) else canonical(body)
    log, salt = sample_log(), bytes(16)
    entry = json.loads(log.entries[VICTIM])
    entry["commitments"][group] = b64url(sha256(b"\x10" + salt + body.encode()).digest())
    log.entries[VICTIM] = canonical(entry)
    question = {"userId": "user-0", "resourceType": "record", "resourceId": "R:4"}
    bundle = signed(log).bundle(question, disclose=True)
    assert bundle["manifest"]["answers"] == 1
    bundle["disclosure"] = "full"
    shown = bundles.texts_of(log.events[VICTIM]) | {group: {"body": body, "salt": b64url(salt)}}
    bundle["disclosures"] = [[VICTIM, shown]]
    bundle["manifest"]["disclosures"] = len(shown)
    code, said = ask(bundle, question)
    assert code == expected, said


@pytest.mark.parametrize("name", BODIES)
def test_what_an_events_proof_discloses_is_what_an_event_has_there(tmp_path, name):
    group, body, expected = BODIES[name]
    body = body if isinstance(body, str) else canonical(body)
    log, salt = sample_log(), bytes(16)
    entry = json.loads(log.entries[VICTIM])
    entry["commitments"][group] = b64url(sha256(b"\x10" + salt + body.encode()).digest())
    log.entries[VICTIM] = canonical(entry)
    proof, _ = signed(log).event_proof(VICTIM)
    event = bundles.event_file(log.entries[VICTIM], {group: {"body": body, "salt": b64url(salt)}})
    (tmp_path / "proof").write_bytes(proof)
    (tmp_path / "event").write_bytes(event)
    code, said = run_offline("proof", "--vkey", bundles.vkey(), "--event", tmp_path / "event", tmp_path / "proof")
    assert code == expected, said
    refusal = {0: contextlib.nullcontext(), 1: pytest.raises(VerificationError), 2: pytest.raises(MalformedInputError)}
    with refusal[expected]:
        verify_event(VERIFIER, event, proof)


PAIRS = int(os.environ.get("TLOG_TEST_PAIRS", "120"))


def test_honest_logs_are_never_convicted(charge):
    """Any event's proof with its data against any bundle of any honest log. The full number is run with TLOG_TEST_PAIRS=10000."""
    rng = random.Random(13)
    logs = [sample_log(), sample_log(60, [30, 61], later=30), sample_log(90, [91]), sample_log(later=40)]
    for _ in range(PAIRS):
        log = rng.choice(logs)
        question = random_question(rng)
        mode = "count" if parse_question(question).countable() and rng.random() < 0.3 else "answer"
        bundle = log.bundle(question, mode=mode, disclose=mode == "answer" and rng.random() < 0.5)
        number = rng.choice(list(log.events))
        code, said = charge(bundle, log.event_proof(number, disclose=rng.random() < 0.8))
        assert (code, "FRAUD" in said) == (1, False), (question, number, said)


def random_question(rng):
    """A question about the sample log that an index can answer."""
    number = rng.randrange(1, 121)
    resource = rng.choice([
        {"resourceType": rng.choice(["record", "record", "bill"]), "resourceId": f"R:{rng.randrange(12)}"},
        {"resourceType": "patient", "resourceId": f"P:{rng.randrange(10)}"},
    ])  # fmt: skip
    if rng.random() < 0.1:
        control = {"control": rng.choice(["order", "order", "outcome"])} | (resource if rng.random() < 0.5 else {})
        first, last = sorted((number, rng.randrange(0, 125)))
        bounds = {"loggedFrom": moment(first), "loggedTo": moment(max(last, 1))}
        return control | {name: bounds[name] for name in rng.sample(sorted(bounds), rng.choice([0, 0, 1, 2]))}
    about = [
        rng.choice([{"userId": f"user-{rng.randrange(8)}"}] * 4 + [{"actorType": "unknown"}]),
        resource,
        resource,
        {"action": rng.choice(["read", "update", "export", "login"])},
        {"operation": f"Do:{rng.randrange(0, 9)}"},
        {"sourceId": f"app-{rng.choice([0, 6, 7])}"},
    ]
    question = {name: value for each in rng.sample(about, rng.choice([1, 1, 2, 3])) for name, value in each.items()}
    first, last = sorted((number, rng.randrange(0, 125)))
    more = {
        "outcome": rng.choice(["success", "failure"]),
        "from": moment(1440 + first if rng.random() < 0.5 else first, fraction=False),
        "to": moment(2880 + last, fraction=False),
        "loggedFrom": moment(first),
        "loggedTo": moment(max(last, 1)),
    }
    for name in rng.sample(sorted(more), rng.choice([0, 0, 1, 2])):
        question[name] = more[name]
    if "loggedTo" in question and "from" in question and "loggedFrom" not in question:
        question["loggedFrom"] = moment(first)
    return question


# --- Both verifiers come to one verdict, and never to a false one -----------------------------------------------------

MUTANTS = int(os.environ.get("TLOG_TEST_MUTANTS", "300"))


class Verdict(NamedTuple):
    """What a bundle or a set proves: which entries answer, or how many; whether the verifier knows all that it met."""

    answers: tuple[int, ...] | tuple[str, int, int | None]
    whole: bool


def said_by_core(proved, mode):
    """The verdict of tlog's own verifier."""
    if mode == "count":
        return Verdict(("count", proved.count, proved.named), whole=True)
    return Verdict(tuple(index for index, _ in proved.answers), not proved.unknown())


def said_offline(code, text, mode):
    """The verdict of tools/verify.py, None if it refuses."""
    assert code in (0, 1, 2, 3), text
    if code in (1, 2) or not re.search("^proved ", text, re.MULTILINE):
        return None
    if mode == "count":
        said = re.search(r"(?:exactly ([0-9,]+)|no) (?:event|entr)\w*", text)
        named = re.search(r" of the resource, and ([0-9,]+) entr.* it", text)
        number = int((said[1] or "0").replace(",", ""))
        return Verdict(("count", number, named and int(named[1].replace(",", ""))), code == 0)
    return Verdict(tuple(sorted(int(each) for each in re.findall(r"  entry ([0-9]+)$", text, re.MULTILINE))), code == 0)


def both(bundle, question, mode, directory):
    """What both verifiers say of a bundle, which has to be the same: None if it is refused, else the verdict."""
    said = None
    try:
        proved = verify_evidence(VERIFIER, parse_question(question), parse_evidence(file_of(bundle)))
        if (proved.answers is None) == (mode == "count"):
            said = said_by_core(proved, mode)
    except TlogError:
        pass
    code, text = ask_offline(bundle, question, mode, directory)
    offline_said = said_offline(code, text, mode)
    assert said == offline_said, (question, mode, text)
    return said


def both_of_a_set(parts, question, directory):
    """What both verifiers say of a set, which has to be the same: None if it is refused, else the verdict."""
    said = None
    try:
        read = [parse_evidence(file_of(part)) for part in parts]
        said = said_by_core(verify_evidence_set(VERIFIER, parse_question(question), read), "answer")
    except TlogError:
        pass
    code, text = ask_offline_of_a_set(parts, question, directory)
    assert said == said_offline(code, text, "answer"), (question, text)
    return said


def truth(log, question, mode):
    """What answers a question, by brute force over what is in the epoch, looked at as the question says."""
    start, end = log.window(question)
    if mode == "count" and "resourceId" in question:
        about = bundles.ident_of("", question["resourceType"], question["resourceId"])
        events = [event for n, event in log.events.items() if start <= n < end]
        of = sum(bundles.matched(event, question) == "resource" for event in events)
        names = [each for event in events for each in event.related]
        names += [each for n, control in log.controls.items() if start <= n < end for each in control.named]
        return Verdict(("count", of, sum(bundles.ident_of("", *each) == about for each in names)), whole=True)
    answers = tuple(n for n in range(start, end) if log.answers(n, question))
    if mode == "count":
        return Verdict(("count", len(answers), None), whole=True)
    return Verdict(answers, whole=not met(log, question, start, end))


def met(log, question, start, end):
    """The control entries of types that are not known under the keys that are looked up, or those that answer."""
    if "control" in question:
        found = [n for n in log.controls if start <= n < end and log.answers(n, question)]
    else:
        keys = bundles.keys_of(question)
        found = [n for n, each in log.controls.items() if start <= n < end and set(each.keys) & set(keys)]
    return [n for n in found if not log.controls[n].known]


def places_of(value, path=()):
    """Every place in a JSON value, as the path to it."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, child in children:
        yield (*path, name)
        yield from places_of(child, (*path, name))


def mutated(rng, value, donors=()):
    """A copy of a JSON value with one place changed."""
    copy = json.loads(canonical(value))
    path = rng.choice([*places_of(copy)])
    inner = copy
    for step in path[:-1]:
        inner = inner[step]
    old = inner[path[-1]]
    with contextlib.suppress(LookupError, TypeError):
        donor = rng.choice(donors)
        for step in path:
            donor = donor[step]
        if rng.random() < 0.4:
            inner[path[-1]] = donor
            return copy
    if isinstance(inner, list) and rng.random() < 0.3:
        rng.choice([
            lambda: inner.pop(path[-1]),
            lambda: inner.insert(path[-1], old),
            inner.reverse,
            inner.clear,
            lambda: inner.append(rng.choice(inner)),
        ])()  # fmt: skip
        return copy
    if isinstance(inner, dict) and rng.random() < 0.2:
        rng.choice([lambda: inner.pop(path[-1]), lambda: inner.update({path[-1] + "x": old})])()
        return copy
    inner[path[-1]] = rng.choice(changes_of(rng, old))
    return copy


def changes_of(rng, old):
    """Values for the place of another."""
    if isinstance(old, bool) or old is None:
        return [0, 1, "", []]
    if isinstance(old, int):
        return [old + 1, old - 1, 0, 1, -1, float(old), bool(old), str(old), None, 2**63, 2**64, [old], old ^ 32]
    if isinstance(old, str):
        place = rng.randrange(len(old) + 1)
        letter = rng.choice("AB/-_=+ 019Z\n\u00e9")
        return [
            "",
            old + "=",
            old[:-1],
            old + letter,
            old[:place] + letter + old[place + 1 :],
            old.swapcase(),
            5,
            None,
            [old],
            {},
        ]
    return [[], {}, "", 0, None, [old], [[]], {"x": old}]


def bundle_for(rng, log, question):
    mode = "count" if parse_question(question).countable() and rng.random() < 0.3 else "answer"
    return log.bundle(question, mode=mode, disclose=mode == "answer" and rng.random() < 0.5), mode


def test_a_mutant_of_a_bundle_never_verifies_as_another_answer(tmp_path):
    """Structural mutants of honest bundles. The full number is run with TLOG_TEST_MUTANTS=20000."""
    rng = random.Random(17)
    taken = 0
    for _ in range(MUTANTS):
        question = random_question(rng)
        bundle, mode = bundle_for(rng, LOG, question)
        donors = [bundle_for(rng, LOG, random_question(rng))[0]]
        for _ in range(rng.choice([1, 1, 1, 2])):
            bundle = mutated(rng, bundle, donors)
        said = both(bundle, question, mode, tmp_path)
        assert said in (None, truth(LOG, question, mode)), (question, mode)
        taken += said is not None
    assert taken < MUTANTS / 5


def remade(rng, count=40):
    """A log that its operator spoiled somewhere, with proofs, index and signature that fit."""
    log = sample_log(count, [16, 30, 31, count + 1], later=rng.choice([0, 8]))
    if rng.random() < 0.4:
        index = rng.choice([0, log.epoch, log.epoch, rng.randrange(len(log.entries))])
        log.entries[index] = canonical(
            mutated(rng, json.loads(log.entries[index]), [json.loads(rng.choice(log.entries))])
        )
    elif rng.random() < 0.5:
        number, name = rng.randrange(4), rng.choice(["start", "end", "postings", "root"])
        row = list(struct.iter_unpack(">QQQ32s", log.index.table()))[number]
        value = (
            rng.choice([EMPTY, bytes(32)])
            if name == "root"
            else max(0, row[["start", "end", "postings"].index(name)] + rng.choice([-1, 1, 5]))
        )
        ends = None if rng.random() < 0.5 else [16, 30, 31, count + 1]
        log = with_table(log, replaced(number, **{name: value}), ends=ends)
    else:
        start, end, postings = log.index.segments[number := rng.randrange(4)]
        place = rng.randrange(len(postings))
        other = rng.choice([
            postings[:place] + postings[place + 1 :], postings[:place] + postings[place:][:1] + postings[place:],
            sorted([*postings, postings[place][:8] + rng.randrange(end - start + 2).to_bytes(4)]),
            [*postings[:place], *postings[place:][::-1]], [],
        ])  # fmt: skip
        log.index.segments[number] = (start, end, other)
        log = with_table(log, lambda rows: rows)
    return signed(log)


def test_both_verifiers_judge_a_spoiled_log_alike(tmp_path):
    """Mutants under a signature: entries, epochs, tables and postings. The full number is run with TLOG_TEST_MUTANTS=20000."""
    rng = random.Random(19)
    for _ in range(MUTANTS):
        log, question = remade(rng), random_question(rng)
        with contextlib.suppress(ValueError, TypeError, KeyError):  # a log that bundles.py cannot read
            bundle, mode = bundle_for(rng, log, question)
            both(bundle, question, mode, tmp_path)


def test_a_bundle_of_another_question_proves_nothing_else(tmp_path):
    """Pairs of a question and the honest bundle of another, its member `question` edited, and sometimes its numbers."""
    rng = random.Random(23)
    verified = 0
    for _ in range(MUTANTS):
        asked, other = random_question(rng), random_question(rng)
        if rng.random() < 0.6:  # a question with something more or less
            other = {name: value for name, value in asked.items() if rng.random() < 0.7 or name.startswith("resource")}
        if not parse_question(other).keys(lambda _: b""):
            continue
        bundle, mode = bundle_for(rng, LOG, other)
        bundle["question"] = asked
        if rng.random() < 0.3 and mode == "answer":
            bundle["manifest"]["answers"] = len(truth(LOG, asked, mode).answers)
        said = both(bundle, asked, mode, tmp_path)
        assert said in (None, truth(LOG, asked, mode)), (asked, other, mode)
        verified += said is not None
    assert 0 < verified < MUTANTS


def test_every_honest_bundle_verifies_as_what_is_true(tmp_path):
    rng = random.Random(29)
    for _ in range(MUTANTS // 3):
        question = random_question(rng)
        bundle, mode = bundle_for(rng, LOG, question)
        assert both(bundle, question, mode, tmp_path) == truth(LOG, question, mode), (question, mode)


def test_a_mutant_of_a_set_never_verifies_as_another_answer(tmp_path):
    """One part changed somewhere, or taken from the set of another question or log. The full number: TLOG_TEST_MUTANTS=20000."""
    rng = random.Random(31)
    other_log = sample_log(later=3)
    verified = 0
    for number in range(MUTANTS // 3):
        question = random_question(rng)
        start, end = LOG.window(question)
        if end - start < 5:
            continue
        cuts = sorted(rng.sample(range(start + 1, end), rng.choice([1, 2, 3])))
        parts = LOG.parts(question, cuts, disclose=rng.random() < 0.3)
        place, kind = rng.randrange(len(parts)), rng.random()
        moved = [min(max(cut + rng.choice([-1, 0, 1]), start + 1), end - 1) for cut in cuts]
        others = [LOG.parts(question, sorted(moved)), other_log.parts(question, cuts)]
        if kind < 0.4:
            parts[place] = mutated(rng, parts[place], parts)
        elif kind < 0.8:
            parts[place] = rng.choice([*parts, *(other[place] for other in others if place < len(other))])
        directory = tmp_path / str(number)
        directory.mkdir()
        said = both_of_a_set(parts, question, directory)
        assert said in (None, truth(LOG, question, "answer")), (question, cuts)
        verified += said is not None
    assert 0 < verified < MUTANTS // 3


# --- What is absent is explained, or MISSING --------------------------------------------------------------------------

RECOVERED = bundles.recovered_log()
LOST = {
    "resourceType": "record",
    "resourceId": "R:4",
}  # of it are entries 4, 15, 26, 37 (named), then lost ones, then later ones


def disclosing_again(log, bundle, index):
    """A bundle in which the data of an entry is there after all."""
    rows = [row for row in bundle["absent"] if row[0] != index]
    shown = sorted([*bundle["disclosures"], (index, bundles.texts_of(log.events[index]))])
    disclosed = sum(len(groups) for _, groups in shown)
    manifest = bundle["manifest"] | {"disclosures": disclosed}
    return bundle | {"absent": rows, "disclosures": shown, "manifest": manifest}


def without_groups(bundle, index, *groups):
    """A bundle in which groups of an entry are not disclosed, its numbers right."""
    shown = [
        (each, {group: text for group, text in texts.items() if each != index or group not in groups})
        for each, texts in bundle["disclosures"]
    ]
    disclosed = sum(len(texts) for _, texts in shown)
    manifest = bundle["manifest"] | {"disclosures": disclosed}
    return bundle | {"disclosures": [each for each in shown if each[1]], "manifest": manifest}


def test_what_was_lost_is_explained(ask):
    for question in (LOST, {"userId": "user-3"}, {"action": "read"}, LOST | {"userId": "user-1"}):
        bundle = RECOVERED.bundle(question, disclose=True)
        assert bundle["absent"]
        assert bundle["disclosures"]
        assert ask(bundle, question)[0] == 0
        assert ask(RECOVERED.bundle(question), question)[0] == 0
        assert ask(RECOVERED.bundle(question, mode="count"), question, "count")[0] == (0 if len(question) < 3 else 2)


def test_what_is_deleted_is_missing(ask):
    """Each group of each answer, with the other groups there or not."""
    bundle = LOG.bundle(LOST, disclose=True)
    assert ask(bundle, LOST)[0] == 0
    deleted = 0
    for index, texts in bundle["disclosures"]:
        for groups in [*([group] for group in texts), [*texts]]:
            code, said = ask(without_groups(bundle, index, *groups), LOST)
            assert (code, "MISSING" in said, f"entry {index} {groups[0]}" in said) == (1, True, True)
            deleted += 1
    assert deleted > 20
    assert ask(LOG.bundle(LOST), LOST)[0] == 0, "nothing is claimed"


def test_a_thousand_that_are_missing_are_named_and_all_are_counted(ask):
    question = {"action": "read"}
    events = [
        bundles.Event(n, "u", ("record", "R:0"), "read", at=n, outcome="success") for n in range(1, 520)
    ]  # fmt: skip
    bundle = bundles.NaiveLog(events, [520]).bundle(question, disclose=True)
    code, said = ask(bundle | {"disclosures": [], "manifest": bundle["manifest"] | {"disclosures": 0}}, question)
    assert (code, "MISSING: 1,038 disclosures" in said, "and 38 more" in said) == (1, True, True)
    assert ("entry 500 resource" in said, "entry 501 actor" in said) == (True, False)


WRONG_ROWS = {
    "no rows": lambda _: [],
    "a row less": lambda rows: rows[1:],
    "a row twice": lambda rows: [rows[0], *rows],
    "falling": lambda rows: rows[::-1],
    "groups the other way round": lambda rows: [rows[1], rows[0], *rows[2:]],
    "of an entry that does not answer": lambda rows: [[31, "actor", 61], *rows],
    "of an entry before what was lost": lambda rows: [[4, "actor", 61], *rows],
    "of an entry after what was lost": lambda rows: [*rows, [70, "actor", 61]],
    "of a group that the entry does not have": lambda rows: sorted([*rows, [rows[0][0], "related/31", 61]]),
    "of a group that there is not": lambda rows: [*rows, [rows[-1][0], "related/32", 61]],
    "said by an entry that is not there": lambda rows: [[*row[:2], 62] for row in rows],
    "said by an event": lambda rows: [[*row[:2], row[0]] for row in rows],
    "said by the epoch": lambda rows: [[*row[:2], RECOVERED.epoch] for row in rows],
    "said by entry 0": lambda rows: [[*row[:2], 0] for row in rows],
    "said by nobody": lambda rows: [row[:2] for row in rows],
    "said by a text": lambda rows: [[*row[:2], "61"] for row in rows],
    "said by true": lambda rows: [[*row[:2], True] for row in rows],
    "of a number": lambda rows: [[row[0], 1, row[2]] for row in rows],
    "of an index that is negative": lambda rows: [[-1, *row[1:]] for row in rows],
    "null": lambda _: None,
}


@pytest.mark.parametrize("name", WRONG_ROWS)
def test_wrong_explanations_are_refused(ask, name):
    bundle = RECOVERED.bundle(LOST, disclose=True)
    rows = [list(row) for row in bundle["absent"]]
    assert ask(bundle | {"absent": rows}, LOST)[0] == 0
    assert ask(bundle | {"absent": WRONG_ROWS[name](rows)}, LOST)[0] in (1, 2)


def test_what_is_there_is_not_explained_as_absent(ask):
    """Neither the entry itself nor another one of those that a `lost` speaks of: recovery brings back no data."""
    bundle = RECOVERED.bundle(LOST, disclose=True)
    first, *others = sorted({index for index, _, _ in bundle["absent"]})
    assert others
    code, said = ask(disclosing_again(RECOVERED, bundle, first), LOST)
    assert (code, "MISSING" in said) == (1, True)
    assert ask(disclosing_again(RECOVERED, bundle, first) | {"absent": bundle["absent"]}, LOST)[0] == 1
    everything = bundle
    for index in (first, *others):
        everything = disclosing_again(RECOVERED, everything, index)
    assert ask(everything, LOST)[0] == 1, "the outcome is an entry that nothing asks for then"
    there = sorted(set(dict(everything["entries"])) - {61})
    assert ask(with_entries(RECOVERED, everything, there), LOST)[0] == 0


WRONG_LOSSES = {
    "none": {"n": 0},
    "fewer than are shown": {"n": 1},
    "of entries that came later": {"end": 62, "n": 31},
    "beginning later": {"start": 50, "n": 11},
    "ending earlier": {"end": 50, "n": 18},
    "with a member more": {"reason": "fire"},
    "ending before it begins": {"start": 61, "end": 30},
    "of a text": {"n": "30"},
    "of no integer": {"n": 1.5},
    "of a negative number": {"start": -1},
}


@pytest.mark.parametrize("name", WRONG_LOSSES)
def test_an_outcome_that_is_not_true_explains_nothing(ask, name):
    log = bundles.recovered_log(**WRONG_LOSSES[name])
    code, said = ask(log.bundle(LOST, disclose=True), LOST)
    assert code in (1, 2), said
    assert ask(log.bundle(LOST), LOST)[0] in (0, 2), "a report of another form is malformed, and nothing is claimed"


def test_how_many_were_lost_is_compared_as_far_as_it_is_seen(ask):
    """Of [30, 61) the bundle has a few entries; whether the others commit to data, it does not say."""
    about = [n for n in RECOVERED.events if 30 <= n < 61 and RECOVERED.answers(n, LOST)]
    for number, expected in ((len(about) - 1, 1), (len(about), 0), (30, 0), (31, 0)):
        log = bundles.recovered_log(n=number)
        bundle = log.bundle(LOST, disclose=True)
        seen = [index for index, _ in bundle["entries"] if 30 <= index < 61]
        assert seen == about
        assert ask(bundle, LOST)[0] == expected, number


def test_nothing_is_lost_after_which_an_event_came(ask):
    """One statement, years later, would explain any single deletion. By user-3 are 24, 31, 38, …"""
    question = {"userId": "user-3"}
    for late, seen in ((40, True), (31, False), (25, False)):
        before = [bundles.sample_event(number) for number in range(1, late)]
        lost = bundles.Outcome(late, "lost", start=24, end=25, n=1)
        after = [bundles.sample_event(number) for number in range(late + 1, 60)]
        log = bundles.NaiveLog([*before, lost, *after], [60])
        log.lost = {24: late}
        code, said = ask(log.bundle(question, disclose=True), question)
        # What stands between is seen only if the bundle has it: after 24 and before 31 there is no answer.
        assert (code, "MISSING" in said) == ((1, True) if seen else (0, False)), said


@pytest.mark.parametrize("kind", [kind for kind in bundles.REPORTS if kind != "lost"])
def test_only_lost_explains(ask, kind):
    log = bundles.recovered_log()
    log.entries[61] = bundles.Outcome(61, kind).entry
    bundle = signed(log).bundle(LOST, disclose=True)
    code, said = ask(bundle, LOST)
    assert (code, "MISSING" in said, "61" in said) == (1, True, True)


def test_an_outcome_is_lost_only_from_before_it(ask):
    """It covers no entry from its own on, and its own neither."""
    for start, end in ((30, 62), (61, 62), (61, 70)):
        log = bundles.recovered_log()
        log.entries[61] = bundles.Outcome(61, "lost", start=start, end=end, n=1).entry
        assert ask(signed(log).bundle(LOST, disclose=True), LOST)[0] == 1


def test_questions_about_outcomes(ask):
    question = {"control": "outcome"}
    bundle = RECOVERED.bundle(question)
    assert bundle["manifest"]["answers"] == 8
    code, said = ask(bundle, question)
    assert code == 3, "one of them is of a kind that no version knows"
    known = question | {"loggedTo": moment(98)}
    code, said = ask(RECOVERED.bundle(known), known)
    assert (RECOVERED.bundle(known)["manifest"]["answers"], code) == (7, 0), said
    assert ask(RECOVERED.bundle(known, disclose=True), known)[0] == 0, "they commit to no data"
    assert ask(RECOVERED.bundle(question, mode="count"), question, "count")[0] == 0


WRONG_OUTCOMES = {
    "a member more": {"x": 1},
    "commitments": {"commitments": {"actor": "A" * 43}},
    "a kind in capitals": {"kind": "Started"},
    "an empty kind": {"kind": ""},
    "a kind of 33 letters": {"kind": "k" * 33},
    "a kind that is a number": {"kind": 1},
    "no kind": {"kind": None},
    "a report that is a list": {"report": []},
    "the report of another kind": {"report": bundles.REPORTS["started"]},
    "a report without a member": {"report": {}},
    "the key of another type": {"keys": [b64url(bundles.public_key("control", "order"))]},
    "no keys": {"keys": None},
}


@pytest.mark.parametrize("name", WRONG_OUTCOMES)
def test_an_outcome_has_its_members(ask, name):
    question = {"control": "outcome", "loggedTo": moment(97)}
    log = bundles.recovered_log()
    entry = json.loads(log.entries[94]) | WRONG_OUTCOMES[name]
    log.entries[94] = canonical({name: value for name, value in entry.items() if value is not None})
    assert ask(signed(log).bundle(question), question)[0] == 2


WRONG_REPORTS = {
    "checked": [{"verdict": "fine"}, {"since": 51}, {"size": -1}, {"unexplained": True}, {"size": 2**53}, {"size": 2**64}, {"since": "0"}],
    "failover": [
        {"accepted": "no"}, {"from": {}}, {"to": 5}, {"size": None},
        *({"to": {"system": system, "timeline": 1}} for system in ("", "01", "-1", "1" * 21, "x", 5)),
        *({"from": {"system": "1", "timeline": timeline}} for timeline in (0, -1, 2**32, "1", 1.5, True)),
        {"to": {"system": "1", "timeline": 1, "host": "db-1"}},
    ],
    "lost": [{"n": 0}, {"n": 32}, {"start": 61, "n": 1}, {"end": 0}, {"start": 1.5}],
    "restored": [{"backup": "A" * 42}, {"backup": "A" * 42 + "B"}, {"takenAt": "2026-03-01"}, {"takenAt": "2026-02-30T00:00:00.000000Z"}],
    "stalled": [
        {"what": "reading"}, {"why": ""}, {"from": "2026-03-01T00:00:10.000001Z"}, {"to": "2026-02-29T00:00:00.000000Z"},
        {"to": "2026-03-01T00:00:10Z"}, {"from": 5},
    ],
    "started": [{"instance": "A" * 10}, {"instance": "A" * 10 + "B"}, {"instance": "A" * 12}, {"version": ""}, {"version": "v" * 65}, {"version": "1 0"}, {"version": "1\n"}],
    "stopped": [{"instance": ""}, {"instance": "AAAAAAAAAA="}, {"version": "1"}],
}  # fmt: skip
RIGHT_REPORTS = {
    "checked": [{"since": 50}, {"unexplained": 2**53 - 1}, {"size": 10**15}],
    "failover": [{"to": {"system": "0", "timeline": 2**32 - 1}}, {"from": {"system": "9" * 20, "timeline": 1}}],
    "lost": [{"n": 1}, {"n": 31}],
    "restored": [{"size": 0}],
    "stalled": [{"to": "2026-03-01T00:00:00.000000Z"}, {"why": "clock", "what": "sealing"}],
    "started": [{"version": "v" * 64}, {"version": "1.0.0-rc.1+abc"}],
    "stopped": [{"instance": "_-_-_-_-_-8"}],
    "rested": [{}, {"anything": [1, {"x": None}]}],
}
REPORTED = [
    (kind, more, code)
    for code, table in ((2, WRONG_REPORTS), (0, RIGHT_REPORTS))
    for kind, each in table.items()
    for more in each
]


@pytest.mark.parametrize(("kind", "more", "expected"), REPORTED)
def test_a_report_is_that_of_its_kind(ask, kind, more, expected):
    question = {"control": "outcome"}
    log = bundles.NaiveLog([bundles.sample_event(1), bundles.Outcome(2, kind, **more)], [3])
    code, said = ask(log.bundle(question), question)
    assert code == (expected or 3 * (kind == "rested")), said


def test_an_outcome_about_somebody_is_apart_from_events(ask):
    outcome = bundles.Outcome(2, "stopped", [("patient", "P:0")])
    log = bundles.NaiveLog([bundles.sample_event(1), outcome, bundles.sample_event(3)], [4])
    assert ask(log.bundle(ALONE, disclose=True), ALONE)[0] == 0
    assert ask(log.bundle(ALONE | {"control": "outcome"}), ALONE | {"control": "outcome"})[0] == 0


def test_parts_explain_what_is_absent_each_for_itself(ask_set):
    parts = RECOVERED.parts(LOST, [20, 45, 64, 80], disclose=True)
    assert [bool(part["absent"]) for part in parts] == [False, True, True, False, False]
    assert ask_set(parts, LOST)[0] == 0
    for place in (1, 2):
        assert ask_set([*parts[:place], parts[place] | {"absent": []}, *parts[place + 1 :]], LOST)[0] == 1


def test_all_parts_together_contradict_an_explanation(ask_set):
    """Each part is right by itself: what contradicts is in another one."""
    question = {"userId": "user-3"}
    for late, start, number, cuts in (
        (40, 24, 1, [30, 45]),  # 31 and 38 came after 24 was lost, says 40
        (61, 24, 37, [30, 45]),  # of 24 to 60 something is there
    ):
        before = [bundles.sample_event(index) for index in range(1, late)]
        lost = bundles.Outcome(late, "lost", start=start, end=start + number, n=number)
        after = [bundles.sample_event(index) for index in range(late + 1, 70)]
        log = bundles.NaiveLog([*before, lost, *after], [70])
        log.lost = {24: late}
        parts = log.parts(question, cuts, disclose=True)
        assert parts[0]["absent"]
        assert {late} & {*dict(parts[0]["entries"])}
        assert ask_set(parts[:1], question)[0] == 3
        code, said = ask_set(parts, question)
        assert (code, "MISSING" in said) == (1, True)
        assert ask_set(log.parts(question, cuts), question)[0] == 0
    # nor may the numbers of what commits to data be too many for what is said
    about = {"action": "update"}
    log = bundles.recovered_log(n=5)
    parts = log.parts(about, [40, 50], disclose=True)
    held = [sum(30 <= index < 61 and index in log.events for index, _ in part["entries"]) for part in parts]
    assert max(held) <= 5 < sum(held)
    assert ask_set(parts, about)[0] == 1


# What an event file claims.


def judged_event(index, members, directory, log=RECOVERED):
    """What both verifiers say of an event's proof, with other members in its event file: the exit code."""
    proof, event = log.event_proof(index, disclose=True)
    event = file_of(json.loads(event) | members)
    try:
        verified = verify_event(VERIFIER, event, proof)
        said = 3 if verified.absent else 0
    except TlogError as error:
        said = error.exit_code
    for name, data in (("proof", proof), ("event", event)):
        (directory / name).write_bytes(data)
    code, text = run_offline("proof", "--vkey", bundles.vkey(), "--event", directory / "event", directory / "proof")
    assert code == said, text
    return code, text


ONE_GROUP = {"actor": bundles.texts_of(RECOVERED.events[4])["actor"]}
EVENT_FILES = {
    "all of it": (4, {}, 0),
    "one group, and no more is claimed": (4, {"disclosed": ["actor"], "disclosures": ONE_GROUP}, 0),
    "nothing claimed": (4, {"disclosed": [], "disclosures": {}}, 0),
    "a group is missing": (4, {"disclosures": ONE_GROUP}, 1),
    "everything is missing": (4, {"disclosures": {}}, 1),
    "a group that is said to be lost": (4, {"disclosures": ONE_GROUP, "absent": [["resource", 61]]}, 3),
    "a group that is lost, and one that is missing": (4, {"disclosures": {}, "absent": [["resource", 61]]}, 1),
    "lost, says an entry before it": (4, {"disclosures": ONE_GROUP, "absent": [["resource", 3]]}, 1),
    "lost, says the event itself": (4, {"disclosures": ONE_GROUP, "absent": [["resource", 4]]}, 1),
    "lost, and nothing claimed": (4, {"disclosed": ["actor"], "disclosures": ONE_GROUP, "absent": [["resource", 61]]}, 2),
    "lost, and there": (4, {"absent": [["resource", 61]]}, 2),
    "lost twice": (4, {"disclosures": ONE_GROUP, "absent": [["resource", 61], ["resource", 61]]}, 2),
    "lost twice, says who": (4, {"disclosures": ONE_GROUP, "absent": [["resource", 61], ["resource", 62]]}, 2),
    "claimed twice": (4, {"disclosed": ["actor", "actor", "resource"]}, 2),
    "claimed in another order": (4, {"disclosed": ["resource", "actor"]}, 2),
    "not claimed": (4, {"disclosed": ["actor"]}, 2),
    "claimed of a group that there is not": (4, {"disclosed": ["actor", "resource", "related/32"]}, 2),
    "claimed of a group that the entry does not have": (4, {"disclosed": ["actor", "resource", "related/0"]}, 1),
    "lost of a group that the entry does not have": (
        4, {"disclosed": ["actor", "resource", "related/0"], "absent": [["related/0", 61]]}, 1,
    ),
    "lost, all of it": (33, {}, 3),
    "lost, in another order": (33, {"absent": [["resource", 61], ["actor", 61], ["related/0", 61], ["related/1", 61]]}, 2),
    "lost, of which something is not explained": (33, {"absent": [["actor", 61]]}, 1),
    "lost, a row of one": (33, {"absent": [["actor"]]}, 2),
    "lost, says a text": (33, {"absent": [["actor", "61"]]}, 2),
    "lost, says a negative number": (33, {"absent": [["actor", -1]]}, 2),
    "lost, says a number that no double holds": (4, {"disclosures": ONE_GROUP, "absent": [["resource", 2**53]]}, 2),
    "lost, says the largest number": (4, {"disclosures": ONE_GROUP, "absent": [["resource", 2**53 - 1]]}, 3),
    "absent null": (4, {"absent": None}, 2),
}  # fmt: skip


@pytest.mark.parametrize("name", EVENT_FILES)
def test_what_an_event_file_claims(tmp_path, name):
    index, members, expected = EVENT_FILES[name]
    code, text = judged_event(index, members, tmp_path)
    assert code == expected, text
    assert ("MISSING" in text) == (code == 1 and "does not have" not in name)
    assert bool(re.search(", as entry [0-9]+ says, which is not in this file", text)) == (code == 3)


def test_mutants_of_event_files_are_judged_alike(tmp_path):
    rng = random.Random(37)
    codes = []
    for _ in range(MUTANTS // 3):
        index = rng.choice([4, 33, 36, 70])
        whole = json.loads(RECOVERED.event_proof(index, disclose=True)[1])
        more = rng.choice([{}, {"absent": [["actor", 61]]}, {"disclosures": {}}, {"disclosed": ["actor"]}])
        members = {name: value for name, value in (whole | more).items() if name != "entry"}
        codes.append(judged_event(index, mutated(rng, members), tmp_path)[0])
    assert {0, 1, 2, 3} >= {*codes} >= {1, 2}


def test_mutants_of_explanations_never_verify_as_another_answer(tmp_path):
    """Rows of `absent`, and outcomes changed under a signature. The full number is run with TLOG_TEST_MUTANTS=20000."""
    rng = random.Random(41)
    taken = 0
    for number in range(MUTANTS // 2):
        question = rng.choice([LOST, {"userId": "user-3"}, {"action": "export"}, {"control": "outcome"}])
        log = RECOVERED
        if number % 2:
            log = bundles.recovered_log()
            place = rng.choice([61, 61, 61, 62, *range(93, 99)])
            log.entries[place] = canonical(mutated(rng, json.loads(log.entries[place])))
            signed(log)
        try:
            bundle = log.bundle(question, disclose=True)
        except (ValueError, TypeError, KeyError):  # a log that bundles.py cannot read
            continue
        if not number % 2:
            rows = [list(row) for row in bundle["absent"]]
            rows = mutated(rng, {"absent": rows, "entries": bundle["entries"], "disclosures": bundle["disclosures"]})
            bundle |= {name: value for name, value in rows.items() if name in bundle}
        said = both(bundle, question, "answer", tmp_path)
        if log is RECOVERED:
            assert said in (None, truth(log, question, "answer")), question
        taken += said is not None
    assert 0 < taken < MUTANTS // 2


# --- A verdict that cannot be written ---------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [[], ["--json"]], ids=["text", "json"])
@pytest.mark.parametrize("right", [True, False], ids=["right", "wrong"])
@pytest.mark.parametrize("output", ["full", "closed", "no reader"])
def test_a_verdict_that_cannot_be_written_is_never_verified(tmp_path, output, right, options):
    """Neither a traceback nor exit code 1 where nothing is wrong with the evidence."""
    path = tmp_path / "bundle.json"
    bundle = LOG.bundle({"action": "read"})
    path.write_bytes(file_of(bundle if right else bundle | {"hashes": ""}))
    arguments = ["evidence", "--vkey", bundles.vkey(), "--ask", "action=read", *options, str(path)]
    command = shlex.join([sys.executable, "-I", "-S", str(PROGRAM), *arguments])
    into = {"full": "> /dev/full", "closed": ">&-", "no reader": "| true; exit ${PIPESTATUS[0]}"}[output]
    done = subprocess.run(["bash", "-c", f"{command} {into}"], stderr=subprocess.PIPE, text=True, check=False)
    allowed = {2 if right else 1} if output != "no reader" else {0, 2} if right else {1}  # the reader may be slow to go
    assert done.returncode in allowed, done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr
    assert ("cannot write the verdict" in done.stderr) == (
        done.returncode == 2 or output != "no reader" or bool(done.stderr)
    )


class Full(io.RawIOBase):
    """Takes nothing."""

    def writable(self):
        return True

    def write(self, _):
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    "stdout", [None, io.TextIOWrapper(Full(), "utf-8", write_through=True)], ids=["closed", "full"]
)
def test_what_is_said_instead(tmp_path, monkeypatch, capsys, stdout):
    path, bundle = tmp_path / "bundle.json", LOG.bundle({"action": "read"})
    monkeypatch.setattr(sys, "stdout", stdout)
    for given, expected in ((bundle, 2), (bundle | {"hashes": ""}, 1)):
        path.write_bytes(file_of(given))
        assert offline.main(["evidence", "--vkey", bundles.vkey(), "--ask", "action=read", str(path)]) == expected
        assert capsys.readouterr().err.startswith("verify.py: cannot write the verdict to standard output: ")
        monkeypatch.setattr(sys, "stdout", stdout)
