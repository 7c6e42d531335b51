"""What is refused where an event is made is what the log would refuse, with the same rules and pointers."""

from __future__ import annotations

import copy
import datetime
import json
import os
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import events

from tlog.client import rules
from tlog.core import event as core
from tlog.core.making.parsing import parse_event_slowly
from tlog.errors import InvalidEventError

EXAMPLES = int(os.environ.get("TLOG_TEST_CLIENT_EVENTS", "100"))
EVENT: dict[str, Any] = {
    "eventId": "0190f3c2-5f6e-7d3a-9b1c-2f4e6a8c0d1e",
    "timestamp": "2026-11-24T05:11:59.998Z",
    "actor": {"userId": "u-1"},
    "action": "read",
    "resource": {"type": "patient_record", "id": "p-1"},
}
ODD = [
    None, True, False, 0, -1, 5.0, 5.5, -0.0, 1e300, float("nan"), float("inf"), float("-inf"), 2**53, -(2**53), 1e17, 2**53 - 1,
    "", " ", "x", "x" * 65, "x" * 257, "x" * 1025, "é" * 1025, "\u0958" * 200, "\u0958" * 300, "\u0958" * 1000, "\U0001f600" * 600, "a\u202eb",
    "\u2028", "\x7f", "\u0378", "\ud800", "user", "unknown", "log", "index_bucket", "read", "failure", "a:b/c", "-a",
    "2026-02-30T00:00:00Z", "2026-11-24t05:11:59z", "2026-11-24T05:11:60Z", "0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00",
    "2026-11-24T05:11:59.1234567890Z", "2026-11-24T24:00:00Z", "2026-11-24T05:11:59+00:00", "٢026-11-24T05:11:59Z", "0000-01-01T00:00:00Z",
    "192.0.2.07", "192.0.2.256", "::1%eth0", "::ffff:1.2.3.4", "1::2::3", "a@b", "a@b..c", "a@-b", "@b", "josé@münchen.example",
    "0190f3c2-5f6e-7d3a-9b1c-2f4e6a8c0d1", "0190F3C2-5F6E-7D3A-9B1C-2F4E6A8C0D1E\n",
    [], {}, [1], ["x"], {"x": 1}, {"type": "x", "id": "y"}, [{"type": "x", "id": "y"}] * 2, [{"type": "x", "id": str(n)} for n in range(33)],
    {"a": {"b": float("nan"), "\ud800": 2**60}},
]  # fmt: skip
NAMES = ["userId", "type", "id", "events", "appendedBy", "signature", "seq", "x", "~/", "\ud800", "\u2028", "n" * 200, "metadata", "reason", "address", "role"]  # fmt: skip


def verdict(check, value) -> tuple[tuple[str, str], ...]:
    try:
        check(value)
    except InvalidEventError as error:
        return error.faults if error.faults[0] == (str(error), error.pointer) else ()
    return ()


def as_the_log_sees(value) -> tuple[tuple[str, str], ...]:
    return verdict(parse_event_slowly, json.dumps(value).encode())


def containers(value) -> list[Any]:
    """Return every object and list in a value."""
    if not isinstance(value, dict | list):
        return []
    children = value.values() if isinstance(value, dict) else value
    return [value, *(inner for child in children for inner in containers(child))]


def damage(event: dict[str, Any], rng: random.Random) -> None:
    """Change one member somewhere: another value, a member more, a member less."""
    place = rng.choice(containers(event))
    key = rng.choice(list(place) if isinstance(place, dict) else range(len(place))) if place else None
    what = rng.randrange(4)
    if key is None or what == 0:
        odd = copy.deepcopy(rng.choice(ODD))
        place.append(odd) if isinstance(place, list) else place.update({rng.choice(NAMES): odd})
    elif what == 1:
        del place[key]
    else:
        place[key] = copy.deepcopy(rng.choice(ODD))


@settings(max_examples=EXAMPLES, deadline=None)
@given(events, st.integers(0, 2**32), st.integers(0, 4))
def test_the_verdict_is_the_log_s(event: dict[str, Any], seed: int, times: int):
    rng = random.Random(seed)
    event = copy.deepcopy(event)
    for _ in range(times):
        damage(event, rng)
    found = verdict(rules.check_event, event)
    assert found == as_the_log_sees(event)
    if not found:
        assert json.loads(rules.check_event(event)) == event
    if not times:
        assert found == ()


@pytest.mark.parametrize("place", ["eventId", "timestamp", "action", "operation", "outcome", "metadata", "details", "source", "relatedResources", "actor", "resource"])  # fmt: skip
def test_each_odd_value_at_each_place(place):
    seen = set()
    for odd in ODD:
        event = EVENT | {place: odd}
        found = verdict(rules.check_event, event)
        assert found == as_the_log_sees(event), odd
        seen.add(bool(found))
    assert True in seen, "some are refused"


@pytest.mark.parametrize(
    "group, member", [("actor", each) for each in core.Actor.__struct_fields__]
    + [("resource", each) for each in core.Resource.__struct_fields__]
    + [("details", each) for each in core.Details.__struct_fields__]
    + [("source", each) for each in core.Source.__struct_fields__]
)  # fmt: skip
def test_each_odd_value_in_each_group(group, member):
    base = {
        "actor": {"userId": "u"},
        "resource": {"type": "a", "id": "b"},
        "details": {},
        "source": {"id": "a", "seq": 1},
    }
    for odd in ODD:
        event = EVENT | {group: base[group] | {member: odd}}
        assert verdict(rules.check_event, event) == as_the_log_sees(event), odd


def test_depth_is_that_of_the_log():
    for levels, refused in ((30, False), (31, True), (200, True)):
        value: Any = "x"
        for level in range(levels):
            value = {"b": value} if level % 2 else [value]
        event = EVENT | {"metadata": {"a": "x", "c": value}}
        found = verdict(rules.check_event, event)
        assert bool(found) is refused, levels
        assert found == as_the_log_sees(event)


def test_what_goes_round_in_a_circle_is_too_deep():
    circle: dict[str, Any] = {}
    circle["a"] = circle
    ((message, pointer),) = verdict(rules.check_event, EVENT | {"metadata": circle})
    assert message == "nested deeper than 32 levels"
    assert pointer.startswith("/metadata/a/a")


@pytest.mark.parametrize(
    "odd, pointer, rule",
    [
        ({"at": datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)}, "/metadata/at", "expected what JSON can hold, got datetime"),
        ({"at": b"x"}, "/metadata/at", "expected what JSON can hold, got bytes"),
        ({"at": {1, 2}}, "/metadata/at", "expected what JSON can hold, got set"),
        ({7: "x"}, "/metadata/7", "expected text as the name of a member, got int"),
    ],
)  # fmt: skip
def test_what_json_cannot_hold_is_named(odd, pointer, rule):
    assert verdict(rules.check_event, EVENT | {"metadata": odd}) == ((rule, pointer),)


def test_a_tuple_is_a_list():
    event = EVENT | {"details": {"fieldsAccessed": ("a", "b")}}
    assert json.loads(rules.check_event(event))["details"]["fieldsAccessed"] == ["a", "b"]


def test_an_event_has_at_most_65_535_bytes_less_what_is_spared():
    bare = len(rules.check_event(EVENT | {"metadata": {"a": ""}}))
    full = EVENT | {"metadata": {"a": "x" * (65_535 - bare)}}
    assert len(rules.check_event(full)) == 65_535
    assert verdict(lambda event: rules.check_event(event, 1), full) == (
        ("an event has at most 65534 bytes, this one has 65535", ""),
    )


@pytest.mark.parametrize("length", [65_374, 65_375, 65_376, 65_377])
def test_an_actor_fits_as_the_log_keeps_it(length):
    small = {
        "eventId": EVENT["eventId"],
        "timestamp": "2026-11-24T05:11:59Z",
        "action": "read",
        "resource": {"type": "a", "id": "b"},
    }
    actor = {"userId": "u", "role": "x" * (length - len('{"role":"","userId":"u"}'))}
    value = json.dumps({**small, "actor": actor}, separators=(",", ":")).encode()
    if len(value) > 65_535:
        assert "at most 65535 bytes" in verdict(rules.check_event, {**small, "actor": actor})[0][0]
    else:
        assert verdict(rules.check_event, {**small, "actor": actor}) == verdict(parse_event_slowly, value)


def test_numbers_that_grow_as_the_log_writes_them_are_counted_so():
    # 1e-06 has 5 characters as Python writes it and 8 in RFC 8785.
    verdicts = set()
    for count in (7_000, 7_270, 7_280, 7_290, 9_000):
        event = EVENT | {"metadata": {"a": [1e-06] * count}}
        found = verdict(rules.check_event, event)
        assert found == verdict(parse_event_slowly, json.dumps(event, separators=(",", ":")).encode())
        verdicts.add(bool(found))
    assert verdicts == {False, True}


def test_the_tables_are_the_core_s():
    """What stands twice is compared, so that a rule that changes there fails here."""
    patterns = {place: pattern for place, pattern in core.PATTERNS.items() if pattern != core.NO_CONTROL}
    assert patterns == rules.PATTERNS
    assert {place: core.PATTERN_RULES[pattern] for place, pattern in patterns.items()} == rules._ASKED
    assert rules.RESERVED_TYPES == core.RESERVED_TYPES
    assert rules._REFUSED_CATEGORIES == core._REFUSED_CATEGORIES
    assert rules._OVERRIDES == core._OVERRIDES
    assert (rules.MAX_EVENT_SIZE, rules.MAX_INTEGER, rules.MAX_RELATED) == (
        core.MAX_EVENT_SIZE,
        core.MAX_INTEGER,
        core.MAX_RELATED,
    )
    for place, kind in {
        "": core.Event,
        "/actor": core.Actor,
        "/resource": core.Resource,
        "/details": core.Details,
        "/source": core.Source,
        "/details/recipient": core.Recipient,
        "/relatedResources/*": core.RelatedResource,
    }.items():
        assert tuple(rules._OBJECTS[place]) == kind.__struct_fields__
