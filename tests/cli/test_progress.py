"""Progress of an import: a bar, a line from time to time, lines of JSON."""

from __future__ import annotations

import json

import pytest

from tlog.cli import progress
from tlog.cli.progress import show_import


@pytest.fixture
def clock(monkeypatch):
    """A clock that each look sets on by a second."""
    now = [0.0]

    def tick():
        now[0] += 1
        return now[0]

    monkeypatch.setattr(progress, "monotonic", tick)


def report_all(*, as_json):
    with show_import("checking", 40 << 20, as_json=as_json) as report:
        for number in range(1, 25):
            report(number * 1000, number << 20)


def test_a_line_each_ten_seconds(clock, capsys):
    report_all(as_json=False)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "tlog: checking: 10,000 records, 10 of 40 MiB, 1,000 records a second",
        "tlog: checking: 20,000 records, 20 of 40 MiB, 1,000 records a second",
    ]


def test_lines_of_json_and_one_at_the_end(clock, capsys):
    report_all(as_json=True)
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert len(lines) == 25
    assert lines[0] == {
        "bytes": 1 << 20,
        "phase": "checking",
        "records": 1000,
        "recordsPerSecond": 1000,
        "totalBytes": 40 << 20,
    }
    assert (lines[-1]["bytes"], lines[-1]["records"]) == (24 << 20, 24000)


def test_a_quick_import_says_nothing(capsys):
    report_all(as_json=False)
    assert capsys.readouterr().err == ""


def test_a_bar_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "150")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    with show_import("appending", 0, as_json=False) as report:
        report(1500, 1 << 20)
    said = capsys.readouterr().err
    assert "appending" in said
    assert "1,500 records" in said
