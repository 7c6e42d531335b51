"""Answers for people and for programs: nothing is cut, times are right in every zone, no cell becomes two."""

from __future__ import annotations

import io
import sys
from datetime import UTC

import pytest

from tlog.cli import answers
from tlog.errors import MalformedInputError

LONG = "P-" + "1234567890" * 30


def event(number=1, **members):
    return {
        "timestamp": "2026-02-28T23:00:00.123456789Z",
        "eventId": f"00000000-0000-4000-8000-{number:012d}",
        "actor": {"userId": "n.varga", "role": "nurse"},
        "action": "read",
        "resource": {"type": "patient_record", "id": f"P-{number}"},
        "outcome": "success",
        "log": {"index": number, "loggedAt": "2026-02-28T23:00:01.000000Z"},
    } | members


CONTROL = {"entry": "{}", "type": "outcome", "log": {"index": 3, "loggedAt": "2026-02-28T23:00:02.000000Z"}}


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def show(monkeypatch):
    """Return the lines of events on a terminal of a width, or after a pipe."""

    def lines(events, width=None, zone="UTC", *, logged=False):
        file = io.StringIO() if width is None else Terminal()
        monkeypatch.setattr(sys, "stdout", file)
        monkeypatch.setenv("COLUMNS", str(width or 80))
        answers.print_events(events, answers.read_zone(zone), logged=logged)
        return file.getvalue().splitlines()

    return lines


def test_after_a_pipe_an_event_is_a_line(show):
    odd = event(actor={"userId": "a\tb\nc\\d\re"}, operation="Get", resource={"type": "patient_record"})
    header, *rows = show(
        [event(), odd, event(actor=None), event(actor={"type": "unknown"}), CONTROL], zone="Europe/Budapest"
    )
    assert header.split("\t") == ["timestamp", "who", "role", "action", "resource", "outcome", "eventId"]
    rows = [row.split("\t") for row in rows]
    assert {*map(len, rows)} == {7}
    assert rows[0] == [
        "2026-02-28T23:00:00.123456789Z",
        "n.varga",
        "nurse",
        "read",
        "patient_record:P-1",
        "success",
        event()["eventId"],
    ]
    assert rows[1][1:5] == [r"a\tb\nc\\d\re", "", "read (Get)", "patient_record:(absent)"]
    assert [row[1] for row in rows[2:]] == ["(absent)", "(unknown)", "(the log)"]


@pytest.mark.parametrize("width", [40, 80, 119, 120, 200, 500])
def test_nothing_is_cut_on_a_terminal(show, width):
    events = [event(), event(2, resource={"type": "patient_record", "id": LONG}), CONTROL]
    lines = show(events, width)
    assert max(map(len, lines)) <= width
    assert "─" not in "".join(lines)
    assert lines[0].startswith("2026-02-28T23:00:00.123456789Z  n.varga (nurse)") == (width > 46)
    shown = "".join("".join(lines).split())
    for each in events[:2]:
        assert all(part in shown for part in (each["eventId"][:8], "read", "success"))
    assert sum(shown.count(digit) for digit in "567") >= 3 * 30  # of LONG, which has ten of each three times


def test_wide_terminals_have_one_line_for_an_event_and_others_two(show):
    assert [len(show([event(), event(2)], width)) for width in (80, 119, 120, 200)] == [4, 4, 2, 2]


def test_times_of_a_zone(show):
    (line,) = show([event()], 200, "Europe/Budapest", logged=True)
    assert line.split()[:2] == ["2026-03-01T00:00:00.123456789+01:00", "2026-03-01T00:00:01.000000+01:00"]
    assert "2026-02-28T18:00:00.123456789-05:00" in show([event()], 80, "America/New_York")[0]
    assert answers.read_zone(None) is UTC
    for name in ("Middle/Earth", "../etc/passwd", "", "/etc/passwd"):
        with pytest.raises(MalformedInputError, match="no such time zone"):
            answers.read_zone(name)


def test_which_place_a_resource_has_is_shown(show):
    named = event(log=event()["log"] | {"matched": "related/0"})
    assert "(asked for as related/0)" in show([named], 200)[0]
    assert "asked for" not in show([event(log=event()["log"] | {"matched": "resource"})], 200)[0]


def test_what_a_producer_wrote_does_not_command_the_terminal(show):
    for width in (80, 200):
        assert "\x1b" not in "".join(show([event(actor={"userId": "\x1b[31m[bold]red"})], width))
        assert "[bold]red" in "".join(show([event(actor={"userId": "[bold]red"})], width))
