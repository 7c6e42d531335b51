"""Parsing events: every member's rule with its pointer, both ways of parsing, members that stand twice, and batches."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
import rfc8785
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import UNSET
from strategies import ACTIONS, Writer, count_objects, events, stored_actor

from tlog.core.canonical import escape_pointer
from tlog.core.event import MAX_EVENT_SIZE, to_utc
from tlog.core.making import parsing
from tlog.core.making.parsing import ParsedEvent, parse_batch, parse_certain, parse_event, parse_event_slowly
from tlog.errors import InvalidBatchError, InvalidEventError

SMALL = {
    "eventId": "0190f3c2-5f6e-7d3a-9b1c-2f4e6a8c0d1e",
    "timestamp": "2026-11-24T05:11:59.998Z",
    "actor": {"userId": "u-1"},
    "action": "read",
    "resource": {"type": "patient_record", "id": "p-1"},
}
FULL = {
    "eventId": "0190f3c2-5f6e-7d3a-9b1c-2f4e6a8c0d1e",
    "timestamp": "2026-11-24T06:11:59.998+01:00",
    "actor": {
        "userId": "u-1",
        "email": "jo@clinic.example",
        "role": "nurse",
        "ipAddress": "2001:db8::7",
        "userAgent": "ehr/7.2 (ward: 3)",
        "type": "service",
        "address": "gateway.example:443",
    },
    "action": "update",
    "resource": {"type": "patient_record", "id": "p-1", "name": "Chart: cardiology"},
    "details": {
        "fieldsAccessed": ["name", "dob"],
        "oldValues": {"dose": 1.5, "unit": "mg"},
        "newValues": {"dose": 2, "unit": "mg", "naïve": [True, None, {"x": "y"}]},
        "reason": "ward round",
        "query": "id = 7",
        "purpose": "TREAT",
        "recipient": {"name": "Lab: north", "address": "lab@example.org"},
    },
    "operation": "approve",
    "relatedResources": [
        {"type": "lab_result", "id": "r-7", "name": "Blood: 7", "role": "result"},
        {"type": "patient_record", "id": "p-2"},
    ],
    "metadata": {"ward": "3", "trace": "a:b:c"},
    "outcome": "success",
    "source": {"id": "ehr-api-7", "seq": 1042},
}


def put(value: dict[str, Any], pointer: str, member: object) -> dict[str, Any]:
    """Return a copy of `value` with `member` at `pointer`, or without what is there if it is `...`."""
    copy = json.loads(json.dumps(value))
    *above, last = pointer.split("/")[1:]
    place = copy
    for step in above:
        place = place[int(step) if isinstance(place, list) else step]
    if member is ...:
        del place[last]
    elif isinstance(place, list):
        place[int(last)] = member
    else:
        place[last] = member
    return copy


def raw(value: object) -> bytes:
    return json.dumps(value).encode()


def refused(data: bytes) -> tuple[str, str]:
    """Return rule and pointer with which both ways refuse."""
    with pytest.raises(InvalidEventError) as slowly:
        parse_event_slowly(data)
    with pytest.raises(InvalidEventError) as either:
        parse_event(data)
    assert (str(either.value), either.value.pointer) == (str(slowly.value), slowly.value.pointer)
    return str(either.value), either.value.pointer


def accepted(data: bytes) -> ParsedEvent:
    """Return what both ways take."""
    parsed = parse_event(data)
    assert parsed == parse_event_slowly(data)
    return parsed


# --- What is taken ----------------------------------------------------------------------------------------------------


def test_the_smallest_event():
    parsed = accepted(raw(SMALL))
    assert parsed.event_id == SMALL["eventId"]
    assert parsed.timestamp == SMALL["timestamp"]
    assert parsed.actor_body == b'{"userId":"u-1"}'
    assert parsed.resource_body == b'{"resource":{"id":"p-1","type":"patient_record"}}'


def test_an_event_with_everything():
    parsed = accepted(raw(FULL))
    assert parsed.timestamp == "2026-11-24T05:11:59.998Z"
    assert parsed.actor_body == rfc8785.dumps(FULL["actor"])
    group = {name: FULL[name] for name in ("resource", "details", "metadata")}
    assert parsed.resource_body == rfc8785.dumps(group)


@pytest.mark.parametrize(
    ("pointer", "member"),
    [
        ("/eventId", "00000000-0000-0000-0000-000000000000"),
        ("/actor/userId", "x" * 256),
        ("/actor/userId", "\U0001f600" * 256),
        ("/actor/userId", " é:\u00a0\u200d\ue000"),
        ("/actor/email", "a@b"),
        ("/actor/email", "x" * 64 + "@" + ".".join(["y" * 63] * 4)[:255]),
        ("/actor/email", "!#$%&'*+/=?^_`{|}~-.@a-b.c"),
        ("/actor/role", ""),
        ("/actor/role", "\x00\n"),
        ("/actor/userAgent", "x" * 5000),
        ("/actor/ipAddress", "0.0.0.0"),
        ("/actor/ipAddress", "255.255.255.255"),
        ("/actor/ipAddress", "::"),
        ("/actor/ipAddress", "2001:0DB8:0000:0000:0000:0000:0000:0001"),
        ("/actor/ipAddress", "::ffff:192.0.2.1"),
        ("/actor/ipAddress", "0000:0000:0000:0000:0000:ffff:192.168.100.228"),
        *(("/action", action) for action in ACTIONS),
        ("/resource/type", "a"),
        ("/resource/type", "0" * 64),
        ("/resource/type", "A_.:-"),
        ("/resource/id", "x" * 1024),
        ("/resource/id", "../../etc/passwd"),
        ("/resource/name", ""),
        ("/details", {}),
        ("/details/fieldsAccessed", []),
        ("/details/oldValues", {}),
        ("/details/newValues", {"a": None}),
        ("/metadata", {}),
        ("/metadata", {"": {"": [[[]]]}}),
        *(("/outcome", outcome) for outcome in ("success", "failure", "unknown")),
        ("/source/id", "a"),
        ("/source/id", "0" * 128),
        ("/source/id", "a_.:/-"),
        ("/source/seq", 0),
        ("/source/seq", 2**53 - 1),
        *((pointer, ...) for pointer in ("/actor/email", "/actor/role", "/actor/ipAddress", "/actor/userAgent")),
        *((pointer, ...) for pointer in ("/resource/name", "/details", "/metadata", "/outcome", "/source")),
        *((f"/details/{name}", ...) for name in FULL["details"]),
    ],
)
def test_values_within_the_rules(pointer: str, member: object):
    value = put(FULL, pointer, member)
    parsed = accepted(raw(value))
    assert parsed.actor_body == rfc8785.dumps(stored_actor(value))
    group = {name: value[name] for name in ("resource", "details", "metadata") if name in value}
    assert parsed.resource_body == rfc8785.dumps(group)


def test_an_upper_case_event_id_is_written_in_lower_case():
    parsed = accepted(raw(put(SMALL, "/eventId", SMALL["eventId"].upper())))
    assert parsed.event_id == SMALL["eventId"]


@pytest.mark.parametrize(
    ("timestamp", "utc"),
    [
        ("2026-11-24T05:11:59Z", "2026-11-24T05:11:59Z"),
        ("2026-11-24T05:11:59.0Z", "2026-11-24T05:11:59.0Z"),
        ("2026-11-24T05:11:59.100000Z", "2026-11-24T05:11:59.100000Z"),
        ("2026-11-24T05:11:59+00:00", "2026-11-24T05:11:59Z"),
        ("2026-11-24T05:11:59-00:00", "2026-11-24T05:11:59Z"),
        ("2026-11-24T05:11:59.120+05:45", "2026-11-23T23:26:59.120Z"),
        ("2026-12-31T23:59:59-23:59", "2027-01-01T23:58:59Z"),
        ("2024-02-29T00:00:00+14:00", "2024-02-28T10:00:00Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
        ("0001-01-02T00:00:00.5+01:00", "0001-01-01T23:00:00.5Z"),
        ("0999-12-31T23:00:00-02:00", "1000-01-01T01:00:00Z"),
        ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
    ],
)
def test_timestamps_are_written_in_utc(timestamp: str, utc: str):
    assert accepted(raw(put(SMALL, "/timestamp", timestamp))).timestamp == utc
    assert to_utc(utc) == utc


def test_an_event_keeps_no_actor_type_that_says_nothing():
    for actor in ({"userId": "u-1", "type": "user"}, {"type": "user", "userId": "u-1", "role": "a:b"}):
        value = SMALL | {"actor": actor}
        for text in (raw(value), json.dumps(value, separators=(",", ":")).encode()):
            parsed = accepted(text)
            assert parsed.event.actor.type is UNSET
            assert parsed.actor_body == rfc8785.dumps({name: actor[name] for name in actor if name != "type"})
            assert parse_certain([text, raw(SMALL), text]) is not None


def test_related_resources_have_bodies_of_their_own():
    parsed = accepted(raw(FULL))
    assert parsed.related_bodies == tuple(map(rfc8785.dumps, FULL["relatedResources"]))
    assert b"r-7" not in parsed.resource_body + parsed.actor_body
    assert accepted(raw(SMALL)).related_bodies == ()


@pytest.mark.parametrize("member", ["number-16", "conflict-first", "conflict-second", "exponent"])
def test_a_number_that_would_be_changed_is_refused(member: str):
    """The log never answers that it holds an amount that nobody sent, nor that two amounts are one event."""
    text = {
        "number-16": b"99999999999999.99",
        "conflict-first": b"9007199254740993.0",
        "conflict-second": b"9007199254740992.0",
        "exponent": b"0.1e-400",
    }[member]
    for place in ("metadata", "details"):
        inside = b'{"amount":[1.5,' + text + b"]}"
        object_ = inside if place == "metadata" else b'{"newValues":' + inside + b"}"
        data = raw(SMALL)[:-1] + b',"' + place.encode() + b'":' + object_ + b"}"
        message, pointer = refused(data)
        assert message.endswith("send it as a string")
        assert pointer == ("/metadata" if place == "metadata" else "/details/newValues") + "/amount/1"
        accepted(data.replace(text, b'"' + text + b'"'))


def test_numbers_do_not_leave_the_quick_way(monkeypatch):
    monkeypatch.setattr(parsing, "parse_event_slowly", pytest.fail)
    parsed = parse_event(raw(SMALL)[:-1] + b',"metadata":{"a":[1.10,1e2,-0.0,-0,0.1,1e21]}}')
    assert json.loads(parsed.resource_body)["metadata"]["a"] == [1.1, 100, 0, 0, 0.1, 1e21]


@pytest.mark.parametrize(
    ("pointer", "member", "rule"),
    [
        ("/actor/userId", "mallory\u009b2J", "control characters cannot stand in an id"),
        ("/actor/userId", "J\u202etxt", "bidirectional overrides"),
        ("/resource/id", "x\u009b31mred", "control characters cannot stand in an id"),
        ("/resource/id", "\u2028", "line separators"),
        ("/relatedResources/1/id", "\u2066x", "bidirectional overrides"),
        ("/relatedResources/1/id", "a\u0378", "a character that Unicode"),
        ("/actor/userId", "\ufffe", "a character that Unicode"),
        ("/resource/id", "\u20ac" * 683, "expected at most 2048 bytes of UTF-8, got 2049"),
        ("/relatedResources/0/id", "\U0001f600" * 513, "expected at most 2048 bytes"),
        ("/timestamp", "2016-12-31T23:59:60Z", "a leap second is not taken: send second 59"),
    ],
)
def test_ids_that_look_like_others_are_refused(pointer: str, member: str, rule: str):
    value = put(FULL, pointer, member)
    for text in (raw(value), json.dumps(value, ensure_ascii=False).encode()):
        message, place = refused(text)
        assert message.startswith(rule)
        assert place == pointer
    # Elsewhere the same text is fine.
    accepted(json.dumps(put(FULL, "/resource/name", member), ensure_ascii=False).encode())


@pytest.mark.parametrize("user", ["jos\u00e9", "jose\u0301", "\u00a0", "a\u200db", "\ue000", "x\u20ac" * 128])
def test_text_is_kept_as_it_was_sent(user: str):
    value = put(put(SMALL, "/actor/userId", user), "/resource/id", user * 4)
    for text in (raw(value), json.dumps(value, ensure_ascii=False).encode()):
        parsed = accepted(text)
        assert (parsed.event.actor.userId, parsed.event.resource.id) == (user, user * 4)
        assert parse_certain([text]) is not None


# --- What is refused, and where ---------------------------------------------------------------------------------------

UUID = "expected a UUID"
TIMESTAMP = "expected an RFC 3339 date and time"
NO_SUCH_TIME = "this date and time does not exist"
EMAIL = "expected an e-mail address"
ADDRESS = "expected an IPv4 or IPv6 address"
TYPE_RULE = "expected 1 to 64 letters, digits and _ . : -"
SOURCE_RULE = "expected 1 to 128 letters, digits and _ . : / -"
CONTROL = "control characters cannot stand in an id"
REQUIRED = "this member is required"
UNKNOWN = "no such member in an event"
CHOICES = "not one of the values this member can have: "
BIG = "an integer beyond 2^53 - 1"
TWICE = "a member name stands twice in one object"

TEXT_MEMBERS = [
    "/eventId",
    "/timestamp",
    "/action",
    "/outcome",
    "/actor/userId",
    "/actor/email",
    "/actor/role",
    "/actor/ipAddress",
    "/actor/userAgent",
    "/resource/type",
    "/resource/id",
    "/resource/name",
    "/details/reason",
    "/details/query",
    "/details/fieldsAccessed/1",
    "/source/id",
    "/operation",
    "/actor/type",
    "/actor/address",
    "/details/purpose",
    "/details/recipient/name",
    "/details/recipient/address",
    *(f"/relatedResources/0/{name}" for name in ("type", "id", "name", "role")),
    *(f"/relatedResources/1/{name}" for name in ("type", "id")),
]
OBJECT_MEMBERS = [
    "/actor",
    "/resource",
    "/details",
    "/details/oldValues",
    "/details/newValues",
    "/details/recipient",
    "/metadata",
    "/relatedResources/0",
    "/relatedResources/1",
    "/source",
]
CLOSED_OBJECTS = ["", "/actor", "/resource", "/details", "/details/recipient", "/relatedResources/1", "/source"]

REFUSED = [
    *(("/eventId", value, UUID) for value in ("", "x", "0190f3c25f6e7d3a9b1c2f4e6a8c0d1e")),
    ("/eventId", "{0190f3c2-5f6e-7d3a-9b1c-2f4e6a8c0d1e}", UUID),
    ("/eventId", "urn:uuid:0190f3c2-5f6e-7d3a-9b1c-2f4e6a8c0d1e", UUID),
    ("/eventId", "0190f3c2-5f6e-7d3a-9b1c-2f4e6a8c0d1g", UUID),
    ("/eventId", "0190f3c2-5f6e-7d3a-9b1c-2f4e6a8c0d1e\n", UUID),
    ("/eventId", " 0190f3c2-5f6e-7d3a-9b1c-2f4e6a8c0d1e", UUID),
    ("/eventId", "\uff10190f3c2-5f6e-7d3a-9b1c-2f4e6a8c0d1e", UUID),
    *(
        ("/timestamp", value, TIMESTAMP)
        for value in (
            "",
            "2026-11-24",
            "2026-11-24T05:11:59",
            "2026-11-24 05:11:59Z",
            "2026-11-24T05:11Z",
            "20261124T051159Z",
            "2026-11-24T05:11:59.Z",
            "2026-11-24T05:11:59,5Z",
            "2026-11-24T05:11:59.1234567890Z",
            "2026-11-24T05:11:59.12345678xZ",
            "2026-11-24T05:11:59.12345xZ",
            "2026-11-24 05:11:59.1234567Z",
            "2026-11-24T05:11:59+01",
            "2026-11-24T05:11:59+0100",
            "2026-11-24T05:11:59+01:00:00",
            "2026-11-24T05:11:59 Z",
            "2026-11-24T05:11:59Z\n",
            "+2026-11-24T05:11:59Z",
            "12026-11-24T05:11:59Z",
            "2026-W48-2T05:11:59Z",
            "\u0662\u0660\u0662\u0666-11-24T05:11:59Z",
            "2026-11-24T24:00:00Z",
            "2026-11-24T05:60:00Z",
            "2026-11-24T05:11:59+24:00",
            "2026-11-24T05:11:59+01:60",
            "2026-11-24T05:11:59+01:99",
        )
    ),
    *(
        ("/timestamp", value, NO_SUCH_TIME)
        for value in (
            "0000-01-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-11-00T00:00:00Z",
            "2026-11-31T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "2100-02-29T00:00:00Z",
            "0001-01-01T00:00:00+00:01",
            "9999-12-31T23:59:59-00:01",
        )
    ),
    ("/actor/userId", "", "expected at least 1 character"),
    ("/actor/userId", "x" * 257, "expected at most 256 characters"),
    *(("/actor/userId", value, CONTROL) for value in ("\x00", "a\x00b", "a\n", "\ta", "a\x1fb", "\x7f")),
    ("/resource/id", "", "expected at least 1 character"),
    ("/resource/id", "x" * 1025, "expected at most 1024 characters"),
    *(("/resource/id", value, CONTROL) for value in ("\x00", "a\rb", "a\n", "\x1b[0m")),
    *(("/resource/type", value, TYPE_RULE) for value in ("", "_a", "-", "a b", "a/b", "é", "x" * 65, "a\n", "a\x00")),
    *(("/source/id", value, SOURCE_RULE) for value in ("", "/a", ":", "a b", "é", "x" * 129, "a\n")),
    *(
        ("/actor/email", value, EMAIL)
        for value in (
            "",
            "@",
            "a@",
            "@b",
            "a",
            "a@b@c",
            "a b@c",
            "a@-b",
            "a@b-",
            "a@b..c",
            "a@b\n",
            "é@-é",
            "é@é..c",
            "é\u2028@b",
        )
    ),
    ("/actor/email", "x" * 65 + "@b", EMAIL),
    ("/actor/email", "a@" + "b" * 64, EMAIL),
    ("/actor/email", "a@" + "b." * 200 + "c", "expected at most 320 characters"),
    *(
        ("/actor/ipAddress", value, ADDRESS)
        for value in (
            "",
            "1.2.3",
            "1.2.3.4.5",
            "1.2.3.256",
            "01.2.3.4",
            "1.2.3.4\n",
            "1.2.3.4/24",
            ":",
            ":::",
            "1::2::3",
            "::g",
            "12345::",
            "1:2:3:4:5:6:7",
            "1:2:3:4:5:6:7:8:9",
            "::1%eth0",
            "[::1]",
            "::1/128",
            "::256.1.1.1",
            "::1\n",
            "host.example",
        )
    ),
    ("/actor/ipAddress", "0" * 46, "expected at most 45 characters"),
    *(("/action", value, CHOICES + "read, create") for value in ("", "READ", "Read", "read ", "reads", "rea")),
    *(("/outcome", value, CHOICES + "success, failure, unknown") for value in ("", "ok", "Success", "success\n")),
    ("/source/seq", -1, "expected an integer of at least 0"),
    ("/source/seq", 2**53, BIG),
    ("/source/seq", 10**30, BIG),
    ("/source/seq", 1.0, "expected an integer, got a number"),
    ("/source/seq", "1", "expected an integer, got text"),
    ("/source/seq", True, "expected an integer, got true or false"),
    ("/source/seq", None, "expected an integer, got null"),
    ("/details/fieldsAccessed", "name", "expected a list, got text"),
    ("/relatedResources", {}, "expected a list, got an object"),
    ("/details/fieldsAccessed", {}, "expected a list, got an object"),
    *(
        (pointer, value, f"expected text, got {kind}")
        for pointer in TEXT_MEMBERS
        for value, kind in (
            (None, "null"),
            (1, "a number"),
            (1.5, "a number with a fraction"),
            (False, "true or false"),
            ([], "a list"),
            ({}, "an object"),
        )
    ),
    *(
        (pointer, value, f"expected an object, got {kind}")
        for pointer in OBJECT_MEMBERS
        for value, kind in (
            (None, "null"),
            (1, "a number"),
            ("x", "text"),
            (True, "true or false"),
            ([{}], "a list"),
        )
    ),
    *(
        (pointer, ..., REQUIRED)
        for pointer in (
            *(f"/{name}" for name in SMALL),
            "/actor/userId",
            "/resource/type",
            "/resource/id",
            "/source/id",
            "/source/seq",
        )
    ),
    *((f"{place}/extra", "x", UNKNOWN) for place in CLOSED_OBJECTS),
    *((f"{place}/userid", "x", UNKNOWN) for place in CLOSED_OBJECTS),
    ("/", "x", UNKNOWN),
    ("/details/metadata", {}, UNKNOWN),
    ("/v", 1, UNKNOWN),
    ("/loggedAt", "2026-11-24T05:11:59.998000Z", UNKNOWN),
    ("/metadata/n", 2**53, BIG),
    ("/metadata/n", -(2**53), BIG),
    ("/metadata/n", [0, {"m": 10**19}], BIG),
    ("/details/oldValues/n", 2**64, BIG),
    ("/details/newValues/n", 10**400, BIG),
    *(("/metadata/n", value, BIG) for value in (1e16, 1e20, -9007199254740992.0)),
    ("/metadata/n", float("nan"), "NaN is not a JSON number"),
    ("/metadata/n", float("inf"), "Infinity is not a JSON number"),
    ("/details/oldValues/n", float("-inf"), "-Infinity is not a JSON number"),
    *((pointer, "a\ud800b", "a lone surrogate") for pointer in (*TEXT_MEMBERS, "/metadata/n", "/details/newValues/n")),
    ("/metadata/n", ["\udfff"], "a lone surrogate"),
]


@pytest.mark.parametrize(("pointer", "member", "rule"), REFUSED)
def test_values_outside_the_rules(pointer: str, member: object, rule: str):
    message, place = refused(raw(put(FULL, pointer, member)))
    assert message.startswith(rule)
    # The value may itself hold the offending place.
    assert place == pointer or (isinstance(member, list) and place.startswith(pointer + "/"))


def test_every_member_has_a_rule_in_the_table():
    def members(value: object, pointer: str = "") -> set[str]:
        if not isinstance(value, dict):
            return {pointer}
        return {pointer}.union(*(members(child, f"{pointer}/{name}") for name, child in value.items()))

    free = ("/metadata/", "/details/oldValues/", "/details/newValues/")
    tested = {pointer for pointer, _, _ in REFUSED}
    assert {place for place in members(FULL) if place and not place.startswith(free)} <= tested


@pytest.mark.parametrize(
    ("name", "token"),
    [
        ("a/b", "a~1b"),
        ("a~b", "a~0b"),
        ("a`b", "a`b"),
        ("é", "é"),
        ("a\nb", "a\ufffdb"),
        ("x" * 5000, "x" * 100),
        ("x - at `$y", "x - at `$y"),
        ("x` - at `$", "x` - at `$"),
        (" - at `$.actor", " - at `$.actor"),
        ("x` - at `$.", "x` - at `$."),
    ],
)
def test_unknown_members_are_named(name: str, token: str):
    for place in CLOSED_OBJECTS:
        value = put(FULL, f"{place}/marker", "x")
        data = raw(value).replace(b'"marker"', json.dumps(name).encode())
        assert refused(data) == (UNKNOWN, f"{place}/{token}")


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (b"", "not JSON at character 0"),
        (b"null", "expected an object, got null"),
        (b"[]", "expected an object, got a list"),
        (b"[" + raw(SMALL) + b"]", "expected an object, got a list"),
        (b'"x"', "expected an object, got text"),
        (b"1", "expected an object, got a number"),
        (b"NaN", "NaN is not a JSON number"),
        (raw(SMALL) + raw(SMALL), "not JSON"),
        (raw(SMALL) + b"\n\x00", "not JSON"),
        (raw(SMALL)[:-1], "not JSON"),
        (raw(SMALL)[:-1] + b",}", "not JSON"),
        (b"\x0b" + raw(SMALL), "not JSON"),
        (b"\xef\xbb\xbf" + raw(SMALL), "not JSON at character 0"),
        (raw(SMALL).decode().encode("utf-16"), "not UTF-8"),
        (raw(SMALL).decode().encode("utf-16-le"), "not JSON"),
        (raw(SMALL).decode().encode("utf-32"), "not UTF-8"),
        (raw(SMALL).replace(b"u-1", b"u-\xff"), "not UTF-8"),
        (raw(SMALL).replace(b"u-1", b"u-\xc0\x80"), "not UTF-8"),
        (raw(SMALL).replace(b"u-1", b"u-\xed\xa0\x80"), "not UTF-8"),
        (raw(SMALL).replace(b"read", b"rea\xc4"), "not UTF-8"),
        (raw(SMALL).replace(b'"action"', b'"action\xff"'), "not UTF-8"),
        (raw(SMALL).replace(b"u-1", b"u\x001"), "not JSON"),
        (raw(SMALL).replace(b"u-1", b"u\n1"), "not JSON"),
        (raw(SMALL).replace(b"u-1", b"u\\x31"), "not JSON"),
        (raw(SMALL).replace(b"u-1", b"u\\:"), "not JSON"),
        (b"[" * 100_000, "an event has at most 65535 bytes, this one has 100000"),
        (b"[" * 65_535, "nested deeper than 32 levels"),
        (b'{"metadata":' * 5_000, "nested deeper than 32 levels"),
        (raw(SMALL)[:-1] + b',"metadata":{"a":' + b"[" * 10_000 + b"]" * 10_000 + b"}}", "nested deeper than 32"),
        (raw(SMALL)[:-1] + b',"metadata":{"a":1e400}}', "a number beyond the range"),
        (raw(SMALL)[:-1] + b',"metadata":{"a":-1e400}}', "a number beyond the range"),
        (raw(SMALL)[:-1] + b',"metadata":{"a":' + b"9" * 5_000 + b"}}", BIG),
        (raw(SMALL)[:-1] + b',"metadata":{"a":01}}', "not JSON"),
        (raw(SMALL)[:-1] + b',"metadata":{"a":1.}}', "not JSON"),
        (raw(SMALL)[:-1] + b',"metadata":{"a":nan}}', "not JSON"),
        (raw(SMALL)[:-1] + b',"metadata":{"a":"' + b'\\"' * 30_000, "not JSON"),
    ],
)
def test_texts_that_are_no_event(data: bytes, rule: str):
    with pytest.raises(InvalidEventError) as error:
        parse_event(data)
    assert str(error.value).startswith(rule)


def nested(levels: int) -> bytes:
    """Return an event whose deepest array or object is on level `levels`; the event itself is on level 1."""
    inside = b"[" * (levels - 2) + b"]" * (levels - 2)
    return raw(SMALL)[:-1] + b',"metadata":{"a":' + inside + b"}}"


def test_depth_32_is_the_deepest():
    accepted(nested(32))
    assert refused(nested(33)) == ("nested deeper than 32 levels", "/metadata/a" + "/0" * 30)


def padded(size: int) -> bytes:
    data = raw(put(SMALL, "/metadata", {"a": ""}))
    return data.replace(b'"a": ""', b'"a": "' + b"x" * (size - len(data)) + b'"')


def test_65_535_bytes_are_the_most():
    assert len(padded(MAX_EVENT_SIZE)) == 65_535
    accepted(padded(MAX_EVENT_SIZE))
    with pytest.raises(InvalidEventError, match="at most 65535 bytes, this one has 65536"):
        parse_event(padded(MAX_EVENT_SIZE + 1))


ROOM = MAX_EVENT_SIZE - 16


@pytest.mark.parametrize(
    ("actor", "resource", "related", "pointer"),
    [
        (ROOM - 144, 1, [], None),
        (ROOM - 143, 1, [], "/actor"),
        (1, ROOM, [], None),
        (1, ROOM + 1, [], "/resource"),
        (1, 1, [9, ROOM], None),
        (1, 1, [9, ROOM + 1], "/relatedResources/1"),
        (ROOM - 144, ROOM - 36, [], None),
        (30_000, 40_000, [131_072 - 70_000 - 144 - 3 * 18], None),
        (30_000, 40_000, [131_072 - 70_000 - 144 - 3 * 18 + 1], "/relatedResources/0"),
        (ROOM - 144, ROOM - 38, [1, 1], "/relatedResources/1"),
        (ROOM - 144, ROOM - 2, [], None),
        (ROOM - 144, ROOM - 1, [], "/resource"),
    ],
)
def test_what_a_group_and_all_of_them_may_have(actor: int, resource: int, related: list[int], pointer: str | None):
    bodies = b"x" * actor, b"x" * resource, [b"x" * size for size in related]
    if pointer is None:
        parsing.check_sizes(*bodies)
        return
    with pytest.raises(InvalidEventError) as error:
        parsing.check_sizes(*bodies)
    assert error.value.pointer == pointer


def test_numbers_that_grow_when_written_canonically_are_bounded_too():
    # "9e15" would be beyond 2^53 - 1; "8e15" has 4 characters here and 16 in canonical form.
    few, many = (put(SMALL, "/metadata", {"a": ["MARK"] * count}) for count in (3_000, 4_000))
    accepted(raw(few).replace(b'"MARK"', b"8e15"))
    message, pointer = refused(raw(many).replace(b'"MARK"', b"8e15"))
    assert message.endswith("at most 65535 fit")
    assert pointer == "/resource"


# --- Members that stand twice -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "pointer"),
    [
        (b'"action": "read"', b'"action": "read", "action": "read"', "/action"),
        (b'"action": "read"', b'"action": "delete", "action": "read"', "/action"),
        (b'"action": "read"', b'"\\u0061ction": "read", "action": "read"', "/action"),
        (b'"userId": "u-1"', b'"userId": "u-2", "userId": "u-1"', "/actor/userId"),
        (b'"userId": "u-1"', b'"userId": "u-1","userI\\u0064": "u-1"', "/actor/userId"),
        (b'"type":', b'"type": "x", "type":', "/resource/type"),
        (b'"resource":', b'"resource": {"type": "x", "id": "y"}, "resource":', "/resource"),
        (b'"actor":', b'"actor":{"userId":"u-2"},"actor":', "/actor"),
        # One colon is lost with a name, one is hidden behind an escape in what is kept.
        (b'"userId": "u-1"', b'"userId": "u-2", "userId": "u\\u003a1"', "/actor/userId"),
        (b'"userId": "u-1"', b'"userId": "u-2", "userId": "u\\u003A1"', "/actor/userId"),
        (b'"type": "patient_record"', b'"type": "a", "type": "a\\u003Ab"', "/resource/type"),
        (b'"userId": "u-1"', b'"role": "\\\\u003a", "role": "x:", "userId": "u-1"', "/actor/role"),
    ],
)
def test_duplicates_are_refused(before: bytes, after: bytes, pointer: str):
    data = raw(SMALL)
    assert data.count(before) == 1
    assert refused(data.replace(before, after)) == (TWICE, pointer)


@pytest.mark.parametrize(
    ("members", "pointer"),
    [
        (b'"a":1,"a":1', "/metadata/a"),
        (b'"a":{"b":"x","b":"x"}', "/metadata/a/b"),
        (b'"a":[[{"b":"x","c":1,"b":null}]]', "/metadata/a/0/0/b"),
        (b'"a:b":"x","a:b":"x"', "/metadata/a:b"),
        (b'"a":":::","a":"\\u003a"', "/metadata/a"),
        (b'"a":":","a":"\\u003a\\u003a"', "/metadata/a"),
        (b'"a":"","a":"\\u003a"', "/metadata/a"),
        (b'"\\u003a":1,":":2', "/metadata/:"),
        (b'"a":{},"a":{"b\\u003a":1}', "/metadata/a"),
        (b'"\xc3\xa9":1,"\\u00e9":1', "/metadata/\u00e9"),
        (b'"\\ud83d\\ude00":1,"\xf0\x9f\x98\x80":1', "/metadata/\U0001f600"),
        (b'"a" :1,\n"a"\t:\r1', "/metadata/a"),
    ],
)
def test_duplicates_in_free_objects_are_refused(members: bytes, pointer: str):
    data = raw(SMALL)[:-1] + b',"metadata":{' + members + b"}}"
    assert refused(data) == (TWICE, pointer)


@settings(max_examples=400)
@given(events, st.integers(0, 2**32), st.data())
def test_a_duplicate_anywhere_is_refused(value: dict[str, Any], seed: int, data: st.DataObject):
    writer = Writer(random.Random(seed), duplicate=data.draw(st.integers(0, count_objects(value) - 1)))
    raw_event = writer.text(value)
    assert writer.duplicated is not None
    message, pointer = refused(raw_event)
    assert message == TWICE
    assert pointer.endswith("/" + escape_pointer(writer.duplicated))


@settings(max_examples=400)
@given(events, st.integers(0, 2**32))
@example(FULL, 0)
@example(SMALL, 0)
def test_without_one_both_ways_take_the_event(value: dict[str, Any], seed: int):
    parsed = accepted(Writer(random.Random(seed)).text(value))
    assert parsed.event_id == value["eventId"]
    assert parsed.actor_body == rfc8785.dumps(stored_actor(value))
    group = {name: value[name] for name in ("resource", "details", "metadata") if name in value}
    assert parsed.resource_body == rfc8785.dumps(group)


@settings(max_examples=400)
@given(events, st.integers(0, 2**32))
def test_damaged_events_get_one_verdict(value: dict[str, Any], seed: int):
    rng = random.Random(seed)
    data = bytearray(Writer(rng).text(value))
    pieces = [*(bytes([byte]) for byte in b'"\\:,{}[]0-\x80\xff'), b"\\u003a", b"\\ud800", b"e9"]
    for _ in range(rng.randint(1, 3)):
        start = rng.randrange(len(data))
        data[start : start + rng.randint(0, 2)] = rng.choice([*pieces, data[start - 5 : start + 5]])
    outcomes = []
    for way in (parse_event, parse_event_slowly):
        try:
            outcomes.append(way(bytes(data)))
        except InvalidEventError as error:
            outcomes.append((str(error), error.pointer))
    assert outcomes[0] == outcomes[1]


def test_ordinary_events_take_the_fast_way(monkeypatch):
    monkeypatch.setattr(parsing, "parse_event_slowly", pytest.fail)
    for value in (SMALL, FULL, put(FULL, "/details/reason", 'a "quoted": thing\n')):
        parse_event(raw(value))
        parse_event(json.dumps(value, ensure_ascii=False, indent=2).encode())


# --- What errors say --------------------------------------------------------------------------------------------------

MARKERS = [
    "Zq7-marker",
    "x' - at `$.Zq7",
    "x` - at `$.Zq7`",
    "Zq7` field `Zq7",
    "\n\x00Zq7",
    "Zq7\ud800",
    "Zq7" * 1000,
    ["Zq7"],
    {"a": "Zq7", "b": {"c": ["Zq7"]}},
    {"a": "Zq7", "b": float("nan")},
    {"a": ["Zq7", 2**60]},
    [{"type": "Zq7"}],
]


@pytest.mark.parametrize(
    "pointer", [*TEXT_MEMBERS, *OBJECT_MEMBERS, "/details/fieldsAccessed", "/source/seq", "/extra"]
)
def test_errors_never_repeat_a_value(pointer: str):
    refusals = 0
    for marker in MARKERS:
        data = raw(put(FULL, pointer, marker))
        twice = data.replace(b"{", b'{"a":1,"a":"Zq7",', 1)
        for broken in (data, data[:-1], twice, data.replace(b"Zq7", b"Zq7\xff", 1)):
            for error in errors_of(broken):
                refusals += 1
                assert "Zq7" not in str(error)
                assert "Zq7" not in error.pointer
                # A traceback shows no more than the error does.
                assert error.__cause__ is None
                assert error.__suppress_context__
    assert refusals >= 6 * len(MARKERS)


def test_errors_never_repeat_a_number():
    for pointer in ("/source/seq", "/metadata/n", "/actor/role", "/details/oldValues/n"):
        for number in (-31_337_313, 31_337_313 * 10**12, 31_337_313.5):
            for error in errors_of(raw(put(FULL, pointer, number))):
                assert "31337" not in str(error) + error.pointer


def errors_of(data: bytes) -> list[InvalidEventError]:
    """Return what each of the two ways raises."""
    errors = []
    for way in (parse_event, parse_event_slowly):
        try:
            way(data)
        except InvalidEventError as error:
            errors.append(error)
    return errors


def test_compact_texts_are_not_counted(monkeypatch):
    """The length alone shows that nothing was lost; floating point numbers, which can grow, are counted all the same."""

    def counted(_):
        raise ZeroDivisionError

    monkeypatch.setattr(parsing, "_count_colons", counted)
    compact = {name: member for name, member in FULL.items() if name != "details"}
    for value in (SMALL, compact, put(compact, "/source/seq", 0), put(compact, "/outcome", ...)):
        parse_event(json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode())
    with pytest.raises(ZeroDivisionError):
        parse_event(json.dumps(FULL, separators=(",", ":")).encode())
    # One character is lost with a member that stands twice, and gained where a number is written in full.
    twice = raw(SMALL).replace(b" ", b"")[:-1] + b',"metadata":{"a":1e1,"a":1e20},"outcome":"success"}'
    monkeypatch.undo()
    assert refused(twice) == (TWICE, "/metadata/a")


# --- Batches ----------------------------------------------------------------------------------------------------------

TEXTS = [
    json.dumps(put(FULL, "/action", action), separators=(",", ":")).encode() for action in ("read", "update", "delete")
]
# What could be taken for an event in a batch, and is none by itself.
NO_TEXTS = [b"", b" ", b"{}", TEXTS[0][:-1], TEXTS[0] + b",", b"[]", b"7"]


def test_a_batch_is_read_quickly_as_a_whole_or_not_at_all():
    for count in range(4):
        assert parse_certain(TEXTS[:count]) == [parse_event_slowly(text) for text in TEXTS[:count]]
    for bad in NO_TEXTS:
        assert parse_certain([TEXTS[0], bad, TEXTS[1]]) is None


@pytest.mark.parametrize("joint", [b"", b"\n", b"\n\n", b"\r\n", b" \n", b"\n ", b" ", b","])
def test_a_text_holds_one_event(joint: bytes):
    joined = joint.join(TEXTS[:2])
    for texts in ([joined], [joined, TEXTS[2]], [joined, b""], [b" ", joined], [TEXTS[2], joined, b" "]):
        assert parse_certain(texts) is None
        with pytest.raises(InvalidBatchError) as error:
            parse_batch(texts)
        assert texts.index(joined) in error.value.positions


def test_an_event_spread_over_several_texts_is_none():
    spread = json.dumps(FULL, indent=1).encode()
    assert parse_batch([spread]) == [parse_event_slowly(spread)]
    lines = spread.split(b"\n")
    with pytest.raises(InvalidBatchError) as error:
        parse_batch(lines)
    assert error.value.positions == list(range(20))
    # The first line feed within and the one between two events change places; as many texts as events do not help.
    halves = b"\n".join([TEXTS[0], spread]).split(b"\n", 2)
    assert len(halves) == 3
    with pytest.raises(InvalidBatchError) as error:
        parse_batch(halves)
    assert error.value.positions == [1, 2]


@settings(max_examples=100)
@given(st.lists(st.tuples(events, st.integers(0, 2**32), st.booleans()), max_size=6))
def test_a_batch_is_what_each_of_its_texts_is(drawn: list[tuple[dict[str, Any], int, bool]]):
    texts, bad = [], []
    for position, (value, seed, twice) in enumerate(drawn):
        texts.append(Writer(random.Random(seed), duplicate=0 if twice else -1).text(value))
        bad += [position] if twice else []
    if bad:
        with pytest.raises(InvalidBatchError) as error:
            parse_batch(texts)
        assert error.value.positions == bad
        assert [(str(each), each.pointer) for each in error.value.found] == [refused(texts[place]) for place in bad]
        assert error.value.pointer == f"/{bad[0]}{error.value.found[0].pointer}"
    else:
        assert parse_batch(texts) == [parse_event_slowly(text) for text in texts]


def test_the_first_twenty_are_named():
    texts = [TEXTS[0], *[b"{}"] * 30]
    with pytest.raises(InvalidBatchError) as error:
        parse_batch(texts)
    assert error.value.positions == list(range(1, 21))
    assert len(error.value.found) == 20


def test_one_event_of_a_batch_that_is_too_long_is_named():
    for size, taken in ((MAX_EVENT_SIZE, True), (MAX_EVENT_SIZE + 1, False)):
        texts = [TEXTS[0], padded(size), TEXTS[1]]
        assert (parse_certain(texts) is not None) is taken
    with pytest.raises(InvalidBatchError, match="this one has 65536") as error:
        parse_batch(texts)
    assert error.value.positions == [1]
