"""Whatever a record holds: a mapping makes events that are valid, or sets the record aside, and raises nothing else."""

from __future__ import annotations

import copy
import json
import os
import tomllib
from functools import cache
from pathlib import Path

import foreign_records as foreign
import hypothesis
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tlog.ingest
from tlog.core.making.parsing import parse_event
from tlog.ingest.mapping import FileMapping, load_mapping
from tlog.ingest.total import JsonText, SetAside

# Values for each of the ten mappings; the full number is TLOG_TEST_MUTANTS=50000. Which are drawn depends on the modules that are
# imported, because Hypothesis draws their constants too; of fewer than some hundred, now and then less than a third are events.
MUTANTS = int(os.environ.get("TLOG_TEST_MUTANTS", "400"))
MAPS = Path(tlog.ingest.__file__).parent / "maps"

ODD = [
    None, "", " ", "\x00", "\ud800", "x" * 300, "é" * 1100, "a\u202eb", "\U0010ffff", "log", "index_bucket", "unknown", "*", "#", "/", ".",
    0, -1, 2**53, 10**30, 1.5, 1e22, 123456789.12345678, True, False, [], {}, [None], [[]], {"": ""}, [1, "x", {}], "2026-03-01 08:00:00",
    "2026-03-01T08:00:00.1234567891234+0000", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:60Z", 1772352000123, "1772352000", -1e300,
    JsonText("1e999"), JsonText("99999999999999.99"), "0190F3C2-5F6E-7D3A-9B1C-2F4E6A8C0D1E", "192.0.2.7:80", "fe80::1%eth0", "name@clinic.example",
    "Patient/1", "Patient/1/_history/2", "https://x.example/fhir/Device/9", {"value": "x"}, {"reference": "List/1"}, {"identifier": {"value": 7}},
    [{"name": "doc_id", "value": []}], [{"id": str(number), "type": "T"} for number in range(70)], {str(number): "y" * 400 for number in range(200)},
]  # fmt: skip
for _ in range(40):
    ODD[-1] = [ODD[-1]] if len(ODD) % 2 else {"deep": ODD[-1]}

# Any JSON value, texts that UTF-8 cannot write included.
JSON = st.recursive(
    st.sampled_from(ODD) | st.text(st.characters(), max_size=20) | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(), max_size=8), inner, max_size=4),
    max_leaves=8,
)  # fmt: skip


def pointers(rule):
    """Yield every pointer that stands in a mapping file, as names and positions."""
    if isinstance(rule, str):
        if rule.startswith(("/", "./")):
            names = [name.replace("~1", "/").replace("~0", "~") for name in rule.lstrip(".").split("/")[1:]]
            yield [0 if name == "*" or name.startswith("[") else name for name in names]
    elif isinstance(rule, dict | list):
        for child in rule.values() if isinstance(rule, dict) else rule:
            yield from pointers(child)


def places(value, place=()):
    """Yield the place of everything in a JSON value."""
    if isinstance(value, dict | list):
        for name, child in value.items() if isinstance(value, dict) else enumerate(value):
            yield (*place, name)
            yield from places(child, (*place, name))


def put(record, place, value):
    """Put a value where a place says, making what is on the way as far as it can be made."""
    for number, name in enumerate(place):
        last = number == len(place) - 1
        inner = value if last else [] if place[number + 1] == 0 else {}
        if isinstance(record, dict):
            if last or not isinstance(record.get(str(name)), dict | list):
                record[str(name)] = inner
            record = record[str(name)]
        elif isinstance(record, list) and isinstance(name, int) and name <= len(record):
            record[name : name + 1] = [inner if last or name == len(record) else record[name]]
            record = record[name]
        else:
            return


@cache
def targets(name):
    """Return the places of a mapping's records that are worth changing."""
    found = {place for record in foreign.RECORDS[name] for place in places(record)}
    if name != "fhir":
        document = tomllib.loads((MAPS / f"{name}.toml").read_text())
        found |= {tuple(each) for each in pointers([document["event"], document.get("each")]) if each}
    return sorted(found, key=str)


@st.composite
def records(draw, name):
    """Records in a mapping's shape with odd values in them."""
    record = copy.deepcopy(draw(st.sampled_from(foreign.RECORDS[name])))
    for _ in range(draw(st.integers(0, 5))):
        place, value = draw(st.sampled_from(targets(name))), draw(JSON)
        put(
            record, place, copy.deepcopy(value)
        )  # an odd value that is put into itself would be no JSON, and have no end
    return draw(JSON) if draw(st.integers(0, 30)) == 0 else record


def encode(event):
    return json.dumps(event, ensure_ascii=False).encode()


def check(mapping, name, count):
    """Map `count` records; return how many of them became events."""
    mapped = 0

    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @given(records(name))
    def holds(record):
        nonlocal mapped
        try:
            events = mapping.map(record, 0)
        except SetAside:
            return
        assert events
        for event in events:
            assert parse_event(encode(event)).event_id == event["eventId"]
        mapped += 1

    holds()
    return mapped


@pytest.mark.parametrize("name", sorted(foreign.RECORDS))
def test_nothing_but_set_aside_is_raised(name):
    assert check(load_mapping(name), name, MUTANTS) > MUTANTS / 3


class Planted(FileMapping):
    """Has the fault that a mapping of the past had: nobody is named, and next() has no default."""

    def map(self, record, position):
        events = super().map(record, position)
        next(value for value in (event["actor"].get("userId") for event in events) if value)
        return events


class Unfinished(FileMapping):
    """Lets an odd value through."""

    def map(self, record, position):
        events = super().map(record, position)
        user = record.get("actor") if isinstance(record, dict) else None
        return [{**event, "actor": {"userId": user} if user else event["actor"]} for event in events]


@pytest.mark.parametrize("planted, error", [(Planted, (RuntimeError, StopIteration)), (Unfinished, Exception)])
def test_a_planted_fault_is_found(planted, error):
    mapping = planted(tomllib.loads((MAPS / "github.toml").read_text()), "github.toml")
    with pytest.raises(error):
        check(mapping, "github", 3_000)


def test_places_are_put():
    record = {"a": {"b": [1]}, "c": "text"}
    for place, value in (
        (("a", "b", 0), 2),
        (("a", "b", 1), 3),
        (("x", 0, "y"), 4),
        (("c", "d"), 5),
        (("a", "b", 9), 6),
        (("a", "b", "n"), 7),
    ):
        put(record, place, value)
    assert record == {"a": {"b": [2, 3]}, "c": {"d": 5}, "x": [{"y": 4}]}
    assert ("events", 0, "name") in targets("workspace") or ("name",) in targets("workspace")
