"""Reports: how places are written, and where a log is said to be broken."""

from __future__ import annotations

from typing import get_args

import pytest

from tlog.checking.report import Explained, Kind, Place, Report, counted
from tlog.core.tile import Tile

PLACES = {
    "anchor": Place("anchor"),
    "chain": Place("chain"),
    "checkpoint": Place("checkpoint"),
    "checkpoint 301": Place("checkpoint", 301),
    "checkpoint 0": Place("checkpoint", 0),
    "database": Place("database"),
    "entry 0": Place("entry", 0),
    "entry 1234567": Place("entry", 1_234_567),
    "entries 256 to 511": Place("entry", 256, 512),
    "entries 512 to 512": Place("entry", 512, 513),
    "entries from 22": Place("entries from", 22),
    "epoch 8192": Place("epoch", 8192),
    "log_state": Place("log_state"),
    "segment 3": Place("segment", 3),
    "table disclosure_run": Place("table disclosure_run"),
    "table entry_run": Place("table entry_run"),
    "table intake": Place("table intake"),
    "table leaf": Place("table leaf"),
    "table tile": Place("table tile"),
    "tile/0/000": Place.of_tile(Tile(0, 0)),
    "tile/0/001.p/45": Place.of_tile(Tile(0, 1, 45)),
    "tile/2/x001/234.p/7": Place.of_tile(Tile(2, 1234, 7)),
    "tree size 301": Place("tree size", 301),
}


@pytest.mark.parametrize("text", PLACES)
def test_places_are_written_as_ever(text):
    """`place` in reports is a public format: who reads it compares strings."""
    report = Report()
    report.add("order", PLACES[text], "x")
    assert str(PLACES[text]) == text
    assert report.to_json()["problems"] == [{"damage": "order", "place": text, "what": "x"}]
    assert f"order: {text}: x" in report.text().splitlines()


def test_places_of_every_kind_are_tested():
    assert {place.kind for place in PLACES.values()} == set(get_args(Kind))


@pytest.mark.parametrize("text", PLACES)
def test_only_entries_are_where_a_log_is_broken(text):
    broken = {"entry 0": 0, "entry 1234567": 1_234_567, "entries 256 to 511": 256, "entries 512 to 512": 512}
    report = Report()
    report.add("order", PLACES[text], "x")
    assert report.to_json()["brokenAt"] == broken.get(text)


def test_a_log_is_broken_at_its_first_damaged_entry():
    report = Report()
    for place in (Place("checkpoint", 2), Place("entry", 9), Place("entry", 5, 8), Place("entries from", 3)):
        report.add("order", place, "entry 1")
    assert report.to_json()["brokenAt"] == 5


@pytest.mark.parametrize(
    "number, words, text",
    [
        (0, ("row",), "0 rows"),
        (1, ("row",), "1 row"),
        (1_000, ("row",), "1,000 rows"),
        (1, ("entry", "entries"), "1 entry"),
        (2, ("entry", "entries"), "2 entries"),
    ],
)
def test_what_is_counted_is_named_in_words(number, words, text):
    assert counted(number, *words) == text


def test_what_is_explained_is_said_with_the_outcome():
    report = Report(size=3)
    report.checked["entries"] = 3
    assert "LOST" not in report.text()
    report.explained.append(Explained(4711, "2026-11-27T10:00:00.000000Z", 200))
    line = "200 events without disclosures: LOST, said by entry 4711 at 2026-11-27T10:00:00.000000Z"
    assert line in report.text().splitlines()
    assert report.exit_code == 0
    assert report.to_json()["explained"] == [
        {"by": 4711, "entries": 200, "kind": "lost", "loggedAt": "2026-11-27T10:00:00.000000Z"}
    ]


def test_what_is_missing_is_named_one_by_one_up_to_a_thousand():
    report = Report(size=2_000)
    for index in range(30):
        report.add("order", Place("entry", index), "wrong")
    for index in range(1_500):
        report.add("MISSING", Place("entry", index), "actor: absent")
    report.checked["missing"] = 1_500
    lines = report.text().splitlines()
    assert sum(line.startswith("MISSING: entry ") for line in lines) == 970
    assert "MISSING: 1,500 disclosures in all" in lines
    assert "… and 540 more problems (--json lists the first 1,000)" in lines
    assert report.exit_code == 1
