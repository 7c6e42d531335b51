"""Outcomes: each kind with exactly its report, and what of them explains an absent disclosure."""

from __future__ import annotations

import json

import pytest

from tlog.core.canonical import canonical
from tlog.core.entry import OtherEntry, OutcomeEntry, is_unknown, parse_entry
from tlog.core.making.outcome import draft_outcome
from tlog.core.outcome import (
    KINDS,
    Checked,
    Failover,
    Lost,
    Restored,
    Seen,
    Server,
    Stalled,
    Started,
    Stopped,
    parse_report,
)
from tlog.core.pseudonym import public_text
from tlog.errors import MalformedInputError

AT = b"2026-11-27T10:00:00.000000Z"
LATER = "2026-11-27T10:00:30.000000Z"
INSTANCE = "AAECAwQFBgc"
REPORTS = [
    Started(instance=INSTANCE, version="0.1.0"),
    Stopped(instance=INSTANCE),
    Stalled(start=AT.decode(), end=LATER, what="sealing", why="standby"),
    Checked(since=0, size=5, unexplained=2, verdict="failed"),
    Lost(start=3, end=9, n=6),
    Restored(backup="A" * 43, size=7, takenAt=LATER),
    Failover(
        accepted="operator",
        before=Server(system="7", timeline=1),
        after=Server(system="18446744073709551615", timeline=2),
        size=4,
    ),
]


def entry_of(report):
    return draft_outcome(report).entry(AT)


@pytest.mark.parametrize("report", REPORTS)
def test_what_is_drafted_is_read(report):
    data = entry_of(report)
    entry = parse_entry(data)
    assert isinstance(entry, OutcomeEntry)
    assert (entry.report, KINDS[entry.kind], entry.groups()) == (report, type(report), [])
    assert entry.keys == [public_text("control", "outcome")]
    assert data == canonical(json.loads(data))
    assert not is_unknown(entry)


def test_every_kind_is_drafted():
    assert {type(report) for report in REPORTS} == set(KINDS.values())


def changed(report, /, **members):
    return canonical({**json.loads(entry_of(report)), **members})


def test_a_kind_that_is_not_known_is_an_entry_that_is_reported():
    entry = parse_entry(changed(REPORTS[0], kind="erased", report={"any": [1]}))
    assert isinstance(entry, OutcomeEntry)
    assert (entry.kind, entry.report, is_unknown(entry)) == ("erased", None, True)
    later = parse_entry(changed(REPORTS[0], v=2))
    assert isinstance(later, OtherEntry)
    assert not isinstance(later, OutcomeEntry)
    assert is_unknown(later)


def test_outcomes_about_somebody_have_more_keys():
    keys = [public_text("control", "outcome"), public_text("order", "erase")]
    assert parse_entry(changed(REPORTS[1], keys=keys)).keys == keys


@pytest.mark.parametrize(
    "members",
    [
        {"kind": 1},
        {"kind": ""},
        {"kind": "Lost"},
        {"kind": "a" * 33},
        {"report": []},
        {"report": None},
        {"more": 1},
        {"commitments": {"actor": "A" * 43}},
        {"keys": []},
        {"keys": [public_text("control", "order")]},
    ],
)
def test_an_outcome_has_exactly_its_members(members):
    parse_entry(changed(REPORTS[1]))
    with pytest.raises(MalformedInputError):
        parse_entry(changed(REPORTS[1], **members))
    without = json.loads(entry_of(REPORTS[1]))
    for name in ("keys", "kind", "report"):
        with pytest.raises(MalformedInputError):
            parse_entry(canonical({key: value for key, value in without.items() if key != name}))


@pytest.mark.parametrize("report", REPORTS)
def test_all_members_of_a_report_are_required_and_no_others_are_there(report):
    entry = json.loads(entry_of(report))
    kind, members = entry["kind"], entry["report"]
    assert parse_report(kind, members) == report
    with pytest.raises(MalformedInputError, match=f"kind '{kind}'"):
        parse_report(kind, {**members, "more": 1})
    for name, value in members.items():
        with pytest.raises(MalformedInputError):
            parse_report(kind, {key: each for key, each in members.items() if key != name})
        for wrong in (None, True, 1.5, [value], -1, "", "x y"):
            with pytest.raises(MalformedInputError):
                parse_report(kind, {**members, name: wrong})


@pytest.mark.parametrize(
    "kind, report",
    [
        ("lost", {"start": 3, "end": 9, "n": 7}),
        ("lost", {"start": 3, "end": 9, "n": 0}),
        ("lost", {"start": 9, "end": 9, "n": 1}),
        ("lost", {"start": 3, "end": 2**63, "n": 1}),
        ("checked", {"since": 6, "size": 5, "unexplained": 0, "verdict": "verified"}),
        ("checked", {"since": 0, "size": 5, "unexplained": 0, "verdict": "ok"}),
        ("stalled", {"from": LATER, "to": AT.decode(), "what": "sealing", "why": "disk"}),
        ("stalled", {"from": AT.decode(), "to": LATER, "what": "sealing", "why": "laziness"}),
        ("stalled", {"from": "2026-02-30T10:00:00.000000Z", "to": LATER, "what": "sealing", "why": "disk"}),
        ("restored", {"backup": "A" * 42, "size": 7, "takenAt": LATER}),
        ("restored", {"backup": "A" * 43, "size": 7, "takenAt": "2026-02-30T10:00:00.000000Z"}),
        ("started", {"instance": "AAECAwQFBgd", "version": "1"}),
        ("started", {"instance": INSTANCE, "version": "1" * 65}),
        ("failover", {"accepted": "operator", "from": {"system": "01", "timeline": 1}, "size": 4, "to": {"system": "1", "timeline": 1}}),
        ("failover", {"accepted": "operator", "from": {"system": "1", "timeline": 0}, "size": 4, "to": {"system": "1", "timeline": 1}}),
        ("failover", {"accepted": "operator", "from": {"system": "1", "timeline": 2**32}, "size": 4, "to": {"system": "1", "timeline": 1}}),
    ],
)  # fmt: skip
def test_what_no_outcome_says(kind, report):
    with pytest.raises(MalformedInputError):
        parse_report(kind, report)


@pytest.mark.parametrize(
    "index, own, covers", [(2, 9, False), (3, 9, True), (8, 9, True), (8, 100, True), (8, 8, False), (9, 10, False)]
)
def test_an_outcome_is_about_entries_before_it(index, own, covers):
    assert Lost(start=3, end=9, n=6).covers(index, own) == covers


@pytest.mark.parametrize(
    "n, seen, said",
    [
        (3, Seen(range(20), [1, 3, 5, 7], [1, 3, 5, 7], [1]), ""),
        (4, Seen(range(20), [1, 3, 5, 7], [1, 3, 5, 7], [1]), "another number"),
        (2, Seen(range(20), [1, 3, 5, 7], [1, 3, 5, 7], [1]), "another number"),
        (3, Seen([3, 5, 7], [3, 5, 7], [3, 5, 7], []), ""),
        (6, Seen([3, 5, 7], [3, 5, 7], [3, 5, 7], []), ""),
        (2, Seen([3, 5, 7], [3, 5, 7], [3, 5, 7], []), "another number"),
        (3, Seen(range(20), [3, 5, 7], [3, 5, 7, 9], []), "later"),
        (3, Seen(range(20), [3, 5, 7], [3, 5, 7, 11], []), "later"),
        (3, Seen(range(20), [3, 5, 7], [3, 5, 7, 12], []), ""),
        (3, Seen(range(20), [3, 5, 7], [3, 5, 7], [3]), "is there"),
        (3, Seen(range(20), [3, 5, 7], [3, 5, 7], [2, 9]), ""),
    ],
)
def test_what_contradicts_that_something_was_lost(n, seen, said):
    found = Lost(start=3, end=9, n=n).contradicted(12, seen)
    assert said in found
    assert bool(found) == bool(said)
