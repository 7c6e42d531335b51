"""All that is wrong in one event is told at once, each fault with its rule and its member, in JSON's words."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import events, json_values

from tlog.core.event import Event
from tlog.core.making import faults
from tlog.core.making.parsing import parse_batch, parse_event
from tlog.errors import InvalidBatchError, InvalidEventError

EVENT: dict[str, Any] = {
    "eventId": "0190f3c2-5f6e-7d3a-9b1c-2f4e6a8c0d1e",
    "timestamp": "2026-11-24T05:11:59.998Z",
    "actor": {"userId": "u-1"},
    "action": "read",
    "resource": {"type": "patient_record", "id": "p-1"},
}
UNKNOWN = "no such member in an event"
REQUIRED = "this member is required"
NO_USER = "this member is required: only an actor of the type unknown has no userId"
KNOWN_USER = "an actor of the type unknown has no userId"
LOGS_OWN = "the resource types log and index_bucket are the log's own"
REPEATED = "this related resource stands in the list before"
REPEATED_MAIN = "this is the event's main resource"
SET_BY_THE_LOG = "the log itself sets this member"


def faults_of(value: object, **reserved: bool) -> list[tuple[str, str]]:
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    with pytest.raises(InvalidEventError) as error:
        parse_event(text, **reserved)
    found = error.value.faults
    assert found[0] == (str(error.value), error.value.pointer)
    return list(found)


def told(value: object) -> list[tuple[str, str]]:
    """Return the faults as pointer and the beginning of the rule, as far as it is one of those above."""
    known = (UNKNOWN, NO_USER, REQUIRED, KNOWN_USER, LOGS_OWN, REPEATED, REPEATED_MAIN, SET_BY_THE_LOG)
    return [
        (pointer, next((rule for rule in known if message.startswith(rule)), message))
        for message, pointer in faults_of(value)
    ]


def test_all_faults_of_an_event_are_told_in_the_order_of_the_format():
    event = {
        "action": "look",
        "actor": {"userId": 7, "email": "x", "appendedBy": "key-1", "type": "robot"},
        "details": {"recipient": {"address": ""}, "fieldsAccessed": ["a", 1, None], "purpose": "x" * 65, "why": 1},
        "eventId": "1",
        "operation": "-",
        "outcome": 0,
        "relatedResources": [{"id": "\u202e"}, 3, {"id": "a", "type": "log", "role": "x" * 65}],
        "source": {"id": "s", "seq": -1, "signature": "x"},
    }
    assert faults_of(event) == [
        ("not one of the values this member can have: read, create, update, delete, export, login, logout, "
         "permission_change, config_change", "/action"),
        ("expected an e-mail address", "/actor/email"),
        ("not one of the values this member can have: user, service, system, unknown", "/actor/type"),
        ("expected text, got a number", "/actor/userId"),
        ("the log itself sets this member: it says which API key appended the event; leave it out", "/actor/appendedBy"),
        ("expected text, got a number", "/details/fieldsAccessed/1"),
        ("expected text, got null", "/details/fieldsAccessed/2"),
        ("expected at most 64 characters", "/details/purpose"),
        ("expected at least 1 character", "/details/recipient/address"),
        (REQUIRED, "/details/recipient/name"),
        (UNKNOWN, "/details/why"),
        ("expected a UUID such as 0190f3c2-5f6e-7d3a-9b1c-2f4e6a8c0d1e", "/eventId"),
        ("expected 1 to 128 letters, digits and _ . : / - beginning with a letter or digit (it is public)", "/operation"),
        ("expected text, got a number", "/outcome"),
        ("bidirectional overrides (U+202A to U+202E, U+2066 to U+2069) cannot stand in an id", "/relatedResources/0/id"),
        (REQUIRED, "/relatedResources/0/type"),
        ("expected an object, got a number", "/relatedResources/1"),
        ("expected at most 64 characters", "/relatedResources/2/role"),
        ("the resource types log and index_bucket are the log's own: choose another name", "/relatedResources/2/type"),
        (REQUIRED, "/resource"),
    ]  # fmt: skip


def test_twenty_faults_are_told():
    event = EVENT | {"details": {"fieldsAccessed": [1] * 30}}
    assert [pointer for _, pointer in faults_of(event)] == [f"/details/fieldsAccessed/{at}" for at in range(20)]


def test_what_the_text_broke_comes_first_and_is_told_once():
    text = json.dumps(EVENT).encode()[:-1] + b',"metadata":{"a":1e400,"b":"\\ud800","\\udfff":[01e1]}}'
    with pytest.raises(InvalidEventError, match="not JSON"):
        parse_event(text)
    text = (
        json.dumps(EVENT | {"outcome": "x"}).encode()[:-1]
        + b',"actor":{"userId":"u"},"metadata":{"a":1e400,"b":"\\ud800","\\udfff":9007199254740993,"c":0.1e-400,"d":NaN},"\\ud801":1}'
    )
    assert [(pointer, message[:20]) for message, pointer in faults_of(text)] == [
        ("/\ufffd", "a lone surrogate is "),
        ("/actor", "a member name stands"),
        ("/metadata/\ufffd", "a lone surrogate is "),
        ("/metadata/a", "a number beyond the "),
        ("/metadata/b", "a lone surrogate is "),
        ("/metadata/\ufffd", "an integer beyond 2^"),
        ("/metadata/c", "a number that a doub"),
        ("/metadata/d", "NaN is not a JSON nu"),
        ("/outcome", "not one of the value"),
    ]


def test_each_event_of_a_batch_has_all_its_faults():
    bad = json.dumps(EVENT | {"action": "look", "outcome": "bad"}).encode()
    with pytest.raises(InvalidBatchError) as error:
        parse_batch([json.dumps(EVENT).encode(), bad, b"{}"])
    assert error.value.positions == [1, 2]
    pointers = [[pointer for _, pointer in each.faults] for each in error.value.found]
    assert pointers == [["/action", "/outcome"], ["/action", "/actor", "/eventId", "/resource", "/timestamp"]]
    assert error.value.pointer == "/1/action"


# --- Members that have to do with one another ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("actor", "expected"),
    [
        ({}, NO_USER),
        ({"type": "user"}, NO_USER),
        ({"type": "service", "role": "x"}, NO_USER),
        ({"type": "unknown", "userId": "u"}, KNOWN_USER),
    ],
)
def test_an_unknown_actor_has_no_user_id_and_no_other_lacks_it(actor: dict[str, str], expected: str):
    assert told(EVENT | {"actor": actor}) == [("/actor/userId", expected)]


@pytest.mark.parametrize("actor", [{"type": "unknown"}, {"type": "unknown", "address": "host:1", "ipAddress": "::1"}])
def test_an_unknown_actor_is_taken(actor: dict[str, str]):
    parsed = parse_event(json.dumps(EVENT | {"actor": actor}).encode())
    assert json.loads(parsed.actor_body) == actor


def test_reserved_members_have_sentences_of_their_own():
    event = EVENT | {"actor": {"userId": "u", "appendedBy": "local"}, "source": {"id": "a", "seq": 1, "signature": "x"}}
    (first, _), (second, _) = faults_of(event)
    assert first.startswith(SET_BY_THE_LOG)
    assert second.startswith("this member is reserved for signatures of producers")
    # Only there: elsewhere they are members that no event has.
    assert told(EVENT | {"appendedBy": "x", "signature": "y"}) == [("/appendedBy", UNKNOWN), ("/signature", UNKNOWN)]


def resource(which: str, kind: str = "patient_record", **more: str) -> dict[str, str]:
    return {"id": which, "type": kind, **more}


@pytest.mark.parametrize(
    ("related", "expected"),
    [
        ([resource("a"), resource("b"), resource("a")], {2: REPEATED}),
        ([resource("a", name="x"), resource("a", role="y"), resource("a")], {1: REPEATED, 2: REPEATED}),
        ([resource("p-1")], {0: REPEATED_MAIN}),
        ([resource("a"), resource("p-1", name="x"), resource("p-1")], {1: REPEATED_MAIN, 2: REPEATED_MAIN}),
        ([resource("\u00e9"), resource("e\u0301")], {1: REPEATED}),
        ([resource("\u212b"), resource("\u00c5"), resource("A\u030a")], {1: REPEATED, 2: REPEATED}),
    ],
)
def test_a_related_resource_is_named_once(related: list[dict[str, str]], expected: dict[int, str]):
    found = told(EVENT | {"relatedResources": related})
    assert found == [(f"/relatedResources/{at}", rule) for at, rule in expected.items()]


@pytest.mark.parametrize(
    "related",
    [
        [resource("a"), resource("A")],
        [resource("a"), resource("a", "other")],
        [resource("p-1", "other")],
        [resource("\ufb01"), resource("fi")],  # NFKC would make them one
        [resource(str(number)) for number in range(32)],
    ],
)
def test_resources_that_differ_are_taken(related: list[dict[str, str]]):
    parsed = parse_event(json.dumps(EVENT | {"relatedResources": related}).encode())
    assert [json.loads(body) for body in parsed.related_bodies] == related


@pytest.mark.parametrize("number", [0, 33])
def test_there_are_1_to_32_related_resources(number: int):
    event = EVENT | {"relatedResources": [resource(str(at)) for at in range(number)]}
    assert faults_of(event) == [(f"expected 1 to 32 related resources, got {number}", "/relatedResources")]


@pytest.mark.parametrize("kind", ["log", "index_bucket"])
def test_the_types_of_the_log_are_its_own(kind: str):
    for event, pointer in (
        (EVENT | {"resource": resource("a", kind)}, "/resource/type"),
        (EVENT | {"relatedResources": [resource("a"), resource("b", kind)]}, "/relatedResources/1/type"),
    ):
        text = json.dumps(event).encode()
        assert told(event) == [(pointer, LOGS_OWN)]
        assert parse_batch([text], reserved=True)[0].event == parse_event(text, reserved=True).event
        # What the log may do does not stay allowed.
        assert told(event) == [(pointer, LOGS_OWN)]
        broken = json.dumps(event | {"outcome": "x"}).encode()
        assert [pointer for _, pointer in faults_of(broken, reserved=True)] == ["/outcome"]
    parse_event(json.dumps(EVENT | {"resource": resource("a", f"source_{kind}")}).encode())


# --- What a text probably is --------------------------------------------------------------------------------------------

TEXT = json.dumps(EVENT).encode()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TEXT + b"\n" + TEXT, f"not JSON at character {len(TEXT) + 1}: several JSON values in one text; is it NDJSON?"),
        (b"\xef\xbb\xbf" + TEXT, "not JSON at character 0: the text begins with a byte order mark; send UTF-8 without one"),
        (TEXT.decode().encode("utf-16"), "not UTF-8 at byte 0: this is UTF-16 or UTF-32; send UTF-8"),
        (b"\xfe\xff" + TEXT.decode().encode("utf-16-be"), "not UTF-8 at byte 0: this is UTF-16 or UTF-32; send UTF-8"),
        (TEXT.decode().encode("utf-16-le"), "not JSON at character 1: this is UTF-16 or UTF-32; send UTF-8"),
        (TEXT.decode().encode("utf-16-be"), "not JSON at character 0: this is UTF-16 or UTF-32; send UTF-8"),
        (b"\xff" + TEXT, "not UTF-8 at byte 0"),
        (TEXT.replace(b'"', b"'"), "not JSON at character 1: JSON has double quotes around names and texts, not single ones"),
        (TEXT[:-1] + b',"outcome":\'x\'}', f"not JSON at character {len(TEXT) + 10}: JSON has double quotes"),
        (TEXT + b"x", f"not JSON at character {len(TEXT)}"),
        (b'{"events":[' + TEXT + b"]}", "an event has no such member: send the list of events itself, or one event a line"),
    ],
)  # fmt: skip
def test_hints(text: bytes, message: str):
    ((told, pointer),) = faults_of(text)
    assert told.startswith(message)
    assert (told == message) or ":" in message
    assert pointer == ("/events" if b"events" in text else "")


def test_an_event_with_a_member_events_lacks_no_fault():
    assert told(EVENT | {"events": []}) == [("/events", UNKNOWN)]
    assert told({"action": "read", "events": []})[-1] == ("/events", UNKNOWN)


# --- Nothing is forgotten -----------------------------------------------------------------------------------------------


@given(events)
def test_an_event_without_a_fault_has_none(event: dict[str, Any]):
    assert list(faults.find_faults(event, frozenset(), reserved=False)) == []


@given(events, json_values, st.data())
def test_what_is_no_event_has_a_fault(event: dict[str, Any], other: object, data: st.DataObject):
    """A value in place of another is taken as an event, or the place is named; never anything else."""
    name = data.draw(st.sampled_from(sorted(Event.__struct_fields__)))
    found = list(faults.find_faults(event | {name: other}, frozenset(), reserved=False))
    text = json.dumps(event | {name: other}).encode()
    if found:
        assert faults_of(text) == found[:20]
    else:
        parse_event(text)
