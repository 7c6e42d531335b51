"""What becomes of odd values: each row of the table, and that nothing a record can hold is ever refused."""

from __future__ import annotations

import hashlib
import json
import sys
from base64 import urlsafe_b64encode
from uuid import uuid5

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from odd import VALUES, nested, odd_texts, odd_values
from strategies import json_values

from tlog.core.canonical import canonical
from tlog.core.event import MAX_EVENT_SIZE, check_resource_id, check_user_id
from tlog.core.making.parsing import parse_event
from tlog.ingest.reading import encode_event
from tlog.ingest.total import (
    NAMESPACE,
    JsonText,
    SetAside,
    event_id,
    find_zone,
    finish,
    first_text,
    json_text,
    number,
    storable,
    text_of,
    to_timestamp,
    usable_id,
    usable_type,
)

EVENT_ID = "293ba626-3be5-4a26-ab1b-0f4c54f49959"
BARE = {"eventId": EVENT_ID, "timestamp": "2026-11-20T10:00:00Z", "action": "read"}


def hashed(text):
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def parts(metadata=None, **members):
    """Return the events that an event with these members becomes, which the event format takes."""
    event = {**BARE, "actor": {"userId": "u"}, "resource": {"type": "t", "id": "r"}, **members}
    events = finish(event, metadata or {})
    for each in events:
        parse_event(encode_event(each))
    return events


def one(metadata=None, **members):
    (event,) = parts(metadata, **members)
    return event


@pytest.mark.parametrize(
    "value, text",
    [("a", "a"), (JsonText("1e400"), "1e400"), (7, "7"), (1.5, "1.5"), (True, "true"), (10**30, "1" + "0" * 30)]
    + [(value, None) for value in (None, "", [], {}, ["a"])],
)
def test_numbers_and_booleans_count_as_text(value, text):
    assert text_of(value) == text
    assert type(text_of(value)) in (str, type(None)) or isinstance(value, bool | int | float)


def test_the_first_text_is_the_next_candidate():
    assert first_text(None, "", {}, [1], 7, "b") == "7"
    assert first_text(None, "") is None


@pytest.mark.parametrize(
    "text, value",
    [("7", 7), ("-0", 0), ("1.10", 1.1), ("1e2", 100.0), ("9007199254740991", 9007199254740991), ("1e21", 1e21)],
)
def test_numbers_that_a_double_holds(text, value):
    assert number(text) == value
    assert not isinstance(number(text), str)


@pytest.mark.parametrize(
    "text",
    [
        "9007199254740992",
        "1" * 5000,
        "99999999999999.99",
        "1e20",
        "1e400",
        "-1e400",
        "1e-400",
        "1e-99999999999999999999",
    ],
)
def test_a_number_that_no_double_holds_becomes_its_text(text):
    assert number(text) == text
    assert one({"amount": number(text)})["metadata"] == {"amount": text}


def test_numbers_that_python_made():
    huge = 10**5000
    kept = one({"a": huge, "b": float("inf"), "c": 1e20, "d": 1e21, "e": 2**53 - 1, "f": True})["metadata"]
    assert kept == {"a": "1" + "0" * 5000, "b": "Infinity", "c": "1e+20", "d": 1e21, "e": 2**53 - 1, "f": True}


def test_what_is_nested_below_32_levels_becomes_its_json_text():
    assert one({"a": nested(30)})["metadata"] == {"a": nested(30)}
    assert one({"a": nested(31)})["metadata"] == {"a": nested(30, '["deep"]')}
    assert one(details={"newValues": {"a": nested(29)}})["details"] == {"newValues": {"a": nested(29)}}
    assert one(details={"newValues": {"a": nested(30)}})["details"] == {"newValues": {"a": nested(29, '["deep"]')}}


def test_json_text_keeps_what_was_kept_as_text_and_needs_no_stack():
    value = {"a": [1, JsonText("1e400"), {"b": None, "\u00e9": "x\n"}, [], {}], "c": True}
    assert json_text(value) == '{"a":[1,1e400,{"b":null,"\u00e9":"x\\n"},[],{}],"c":true}'
    assert json_text(nested(100_000)).startswith("[[[")


def test_a_lone_surrogate_becomes_its_escape():
    event = one({"\ud800": ["a\udfffb", "\ud83d\ude00"[:1]]}, actor={"userId": "u\ud800"}, details={"query": "\udc00"})
    assert event["metadata"] == {"\\ud800": ["a\\udfffb", "\\ud83d"]}
    assert event["actor"]["userId"] == "u\\ud800"
    assert event["details"]["query"] == "\\udc00"


def test_names_stay_apart_when_they_are_escaped():
    assert storable({"\ud800": 1, "\\ud800": 2, "\\ud800~": 3}) == {"\\ud800~~": 1, "\\ud800": 2, "\\ud800~": 3}


@pytest.mark.parametrize(
    "text", ["x" * 1025, "\u20ac" * 700, "a\x00b", "a\x85b", "a\u2028b", "a\u202eb", "a\U0010ffffb"]
)
def test_an_id_that_the_rule_refuses_becomes_its_hash(text):
    assert usable_id(text) == hashed(text)
    event = one(
        resource={"type": "t", "id": text}, relatedResources=[{"type": "s", "id": text}], actor={"userId": text}
    )
    assert (event["resource"]["id"], event["relatedResources"][0]["id"]) == (hashed(text), hashed(text))
    assert event["actor"]["userId"] == hashed(text)
    assert event["metadata"]["tlog:originals"]["/resource/id"] == text


def test_a_text_that_the_metadata_have_already_is_not_kept_twice():
    record = {"who": {"names": ["x" * 300]}}
    assert one(record, actor={"userId": "x" * 300})["metadata"] == record


def test_ids_that_are_long_enough():
    for text, rule in (("x" * 256, check_user_id), ("x" * 1024, check_resource_id), ("\u00e9", check_user_id)):
        assert usable_id(text, rule) == text
    assert usable_id("x" * 257, check_user_id) == hashed("x" * 257)
    assert usable_id("\ud800") == "\\ud800"


@pytest.mark.parametrize(
    "text, kind",
    [
        ("AWS::S3::Bucket", "AWS::S3::Bucket"),
        ("a b/c", "a_b_c"),
        ("::x", "x"),
        ("", "unknown"),
        ("\u00e9", "unknown"),
        ("log", "source_log"),
        ("index_bucket", "source_index_bucket"),
        ("x" * 70, "x" * 64),
    ],
)
def test_types_of_resources(text, kind):
    assert usable_type(text) == kind


@pytest.mark.parametrize("address", ["192.0.2.7", "2001:db8::1"])
def test_a_plain_address(address):
    assert one(actor={"userId": "u", "address": address})["actor"] == {"userId": "u", "ipAddress": address}


@pytest.mark.parametrize(
    "address",
    ["host.example", "192.0.2.7:443", "192.0.2.7, 10.0.0.1", "fe80::1%eth0", "192.0.2.007", "AWS Internal", "x" * 256],
)
def test_an_address_that_is_no_plain_ip(address):
    assert one(actor={"userId": "u", "address": address})["actor"] == {"userId": "u", "address": address}


def test_an_address_that_is_too_long_goes_to_the_metadata():
    event = one(actor={"userId": "u", "address": "x" * 257})
    assert event["actor"] == {"userId": "u"}
    assert event["metadata"] == {"tlog:originals": {"/actor/address": "x" * 257}}


@pytest.mark.parametrize(
    "actor, kept",
    [
        ({}, {"type": "unknown"}),
        ("nobody", {"type": "unknown"}),
        ({"userId": "", "type": "service"}, {"type": "unknown"}),
        ({"userId": None, "role": "r"}, {"type": "unknown", "role": "r"}),
        ({"userId": {"a": 1}}, {"type": "unknown"}),
        ({"userId": 7, "type": "service"}, {"userId": "7", "type": "service"}),
        ({"userId": "u", "type": "system"}, {"userId": "u", "type": "system"}),
        ({"userId": "u", "type": "unknown"}, {"userId": "u"}),
        ({"userId": "u", "type": "user"}, {"userId": "u"}),
        ({"userId": "u", "type": ["service"]}, {"userId": "u"}),
        ({"userId": "u", "email": "a@example.com"}, {"userId": "u", "email": "a@example.com"}),
        ({"userId": "u", "email": "no address"}, {"userId": "u"}),
        ({"userId": "u", "userAgent": 5, "ipAddress": "::1"}, {"userId": "u", "userAgent": "5", "ipAddress": "::1"}),
    ],
)
def test_actors(actor, kept):
    assert one(actor=actor)["actor"] == kept


def test_what_another_type_said_is_in_the_metadata():
    kept = one(actor={"userId": {"a": 1}, "email": "no address"}, operation="two words", details={"oldValues": [1]})[
        "metadata"
    ]
    assert kept["tlog:originals"] == {
        "/actor/email": "no address",
        "/actor/userId": {"a": 1},
        "/details/oldValues": [1],
        "/operation": "two words",
    }


@pytest.mark.parametrize(
    "operation, kept", [("TerminateInstances", True), ("x" * 128, True), ("x" * 129, False), ("-a", False), ("", False)]
)
def test_operations(operation, kept):
    assert ("operation" in one(operation=operation)) == kept


def test_details():
    event = one(
        details={
            "query": 7,
            "reason": "r",
            "purpose": "x" * 65,
            "oldValues": {"a": 1e20},
            "newValues": {},
            "fieldsAccessed": ["a", 7, None, ""],
            "recipient": {"name": "n", "address": "a"},
        }
    )
    assert event["details"] == {
        "query": "7",
        "reason": "r",
        "oldValues": {"a": "1e+20"},
        "newValues": {},
        "fieldsAccessed": ["a", "7", "null", '""'],
        "recipient": {"name": "n", "address": "a"},
    }
    assert one(details={"recipient": {"name": "n", "address": ""}})["details"] == {"recipient": {"name": "n"}}
    assert "details" not in one(details={"recipient": {"address": "a"}})


def test_a_resource_without_an_id_is_unknown():
    assert one(resource={"type": "t"})["resource"] == {"id": "unknown", "type": "unknown"}
    assert one(resource={"id": 5, "name": "n"})["resource"] == {"id": "5", "type": "unknown", "name": "n"}


def related(count, **members):
    return [{"type": "t", "id": f"r{k}", **members} for k in range(count)]


def test_repeats_are_left_out():
    names = [
        {"type": "t", "id": "r"},
        {"type": "t", "id": "e\u0301"},
        {"type": "t", "id": "\u00e9", "role": "x"},
        {"type": "s", "id": "r"},
        7,
        {"type": "t"},
    ]
    assert one(relatedResources=names)["relatedResources"] == [{"id": "e\u0301", "type": "t"}, {"id": "r", "type": "s"}]
    assert "relatedResources" not in one(relatedResources="none")


def test_roles():
    names = [{"type": "t", "id": "a", "role": "x" * 64}, {"type": "t", "id": "b", "role": "x" * 65}]
    event = one(relatedResources=names)
    assert [each.get("role") for each in event["relatedResources"]] == ["x" * 64, None]
    assert event["metadata"] == {"tlog:originals": {"/relatedResources/1/role": "x" * 65}}


def test_over_32_related_resources_are_one_more_event_for_each_32():
    assert len(one(relatedResources=related(32))["relatedResources"]) == 32
    first, second, third = parts(
        {"a": 1}, relatedResources=related(70), details={"query": "q"}, outcome="failure", source={"id": "s", "seq": 1}
    )
    assert [len(each["relatedResources"]) for each in (first, second, third)] == [32, 32, 6]
    assert [each["id"] for event in (first, second, third) for each in event["relatedResources"]] == [
        f"r{k}" for k in range(70)
    ]
    assert first["metadata"] == {"a": 1}
    assert second["metadata"] == {"tlog:continues": EVENT_ID, "part": 2, "parts": 3}
    assert second["eventId"] == event_id("part", EVENT_ID, 2)
    assert third["eventId"] == event_id("part", EVENT_ID, 3)
    own = ("eventId", "metadata", "relatedResources")
    assert [{k: v for k, v in each.items() if k not in own} for each in (second, third)] == [
        {k: v for k, v in first.items() if k not in own}
    ] * 2


def test_related_resources_with_the_longest_ids_and_names():
    names = [{"type": "t", "id": f"{k:04}" + '"' * 1020, "name": "n" * 60_000, "role": "r" * 64} for k in range(40)]
    events = parts(relatedResources=names)
    assert sum(len(each["relatedResources"]) for each in events) == 40
    assert {each["name"] for event in events for each in event["relatedResources"]} == {"n" * 63 + "\u2026"}


def digest(value):
    content = canonical(value)
    return {"bytes": len(content), "sha256": urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()}


def test_the_largest_metadata_go_first_and_leave_their_hash():
    record = {"b": "y" * 30_000, "a": "x" * 30_000, "c": "z" * 20_000, "d": 1}
    kept = one(record)["metadata"]
    assert kept == {"b": record["b"], "c": record["c"], "d": 1, "tlog:leftOut": {"a": digest(record["a"])}}


@pytest.mark.parametrize("size", [MAX_EVENT_SIZE - 1, MAX_EVENT_SIZE, MAX_EVENT_SIZE + 1])
def test_an_event_of_just_the_size(size):
    event = {**BARE, "actor": {"userId": "u"}, "resource": {"id": "r", "type": "t"}, "metadata": {"a": "", "b": 1.0}}
    filler = "x" * (size - len(canonical(event)))
    kept = one({"a": filler, "b": 1.0})
    assert ("tlog:leftOut" in kept["metadata"]) == (size > MAX_EVENT_SIZE)


def test_no_more_is_left_out_than_must_be():
    for large in range(33_000, 33_200):
        record = {"a": "x" * large, "b": "y" * 32_400, "c": 1}
        event = one(record)
        if "tlog:leftOut" in event["metadata"]:
            assert event["metadata"]["tlog:leftOut"].keys() == {"a"}


def test_metadata_of_many_small_members_are_left_out_whole():
    record = {f"m{k}": k for k in range(8_000)}
    assert one(record)["metadata"] == {"tlog:leftOut": {"": digest(record)}}
    long = {"n" * 66_000: 1}
    assert one(long)["metadata"] == {"tlog:leftOut": {"": digest(long)}}


def test_a_member_with_the_name_of_the_list_is_left_out_first():
    record = {"tlog:leftOut": 1, "a": "x" * 66_000}
    assert one(record)["metadata"] == {"tlog:leftOut": {"tlog:leftOut": digest(1), "a": digest("x" * 66_000)}}
    assert one({"tlog:leftOut": 1})["metadata"] == {"tlog:leftOut": 1}


def test_then_details_and_texts_are_cut():
    event = one({"m": "x" * 100}, details={"newValues": {"a": "x" * 66_000}, "oldValues": {"b": 1}, "query": "q"})
    assert event["details"] == {"query": "q", "oldValues": {"b": 1}}
    assert event["metadata"]["tlog:leftOut"]["/details/newValues"] == digest({"a": "x" * 66_000})
    assert "details" not in one(details={"newValues": {"a": "x" * 66_000}})
    event = one(
        {"m": "x" * 100},
        details={"query": "q" * 70_000},
        actor={"userId": "u", "userAgent": "a" * 70_000, "role": "r" * 70_000},
    )
    assert event["actor"]["userAgent"].endswith("a\u2026")
    assert len(encode_event(event)) > MAX_EVENT_SIZE // 4
    assert parts(relatedResources=related(40), details={"reason": "q" * 70_000})[1]["metadata"] == {
        "tlog:continues": EVENT_ID,
        "part": 2,
        "parts": 2,
    }


def test_an_actor_that_fills_an_event_leaves_room_for_what_the_log_adds():
    event = {**BARE, "actor": {"userAgent": "", "userId": "u"}, "resource": {"id": "r", "type": "t"}}
    agent = "a" * (MAX_EVENT_SIZE - len(canonical(event)))
    assert len(one(actor={"userId": "u", "userAgent": agent})["actor"]["userAgent"]) < len(agent)


@pytest.mark.parametrize(
    "value, options, time",
    [
        ("2026-11-20T10:00:00Z", {}, "2026-11-20T10:00:00Z"),
        ("2026-11-20 10:00:00+0000", {}, "2026-11-20T10:00:00Z"),
        ("2026-11-20t10:00:00.1234567z", {}, "2026-11-20T10:00:00.1234567Z"),
        ("2026-11-20T10:00:00.1234567899Z", {}, "2026-11-20T10:00:00.123456789Z"),
        (" 2026-11-20T10:00:00,5 UTC ", {}, "2026-11-20T10:00:00.5Z"),
        ("2026-11-20T10:00:00-05", {}, "2026-11-20T15:00:00Z"),
        ("2026-11-20T10:00+05:45", {}, "2026-11-20T04:15:00Z"),
        ("2026-11-20T10:00:00", {"zone": "UTC"}, "2026-11-20T10:00:00Z"),
        ("2026-11-20T10:00:00+01:00", {"zone": "UTC"}, "2026-11-20T09:00:00Z"),
        ("2026-07-01 10:00:00", {"zone": "Europe/Amsterdam"}, "2026-07-01T08:00:00Z"),
        ("2026-07-01 10:00:00", {"zone": "-02:30"}, "2026-07-01T12:30:00Z"),
        ("0001-01-02T00:00:00Z", {}, "0001-01-02T00:00:00Z"),
        (1672833679, {"unit": "s"}, "2023-01-04T12:01:19Z"),
        (1672833679.5, {"unit": "s"}, "2023-01-04T12:01:19.5Z"),
        ("1672833679695", {"unit": "ms"}, "2023-01-04T12:01:19.695Z"),
        (1672833679000, {"unit": "ms"}, "2023-01-04T12:01:19.000Z"),
        (1672833679695123, {"unit": "us"}, "2023-01-04T12:01:19.695123Z"),
        (JsonText("1672833679695123456"), {"unit": "ns"}, "2023-01-04T12:01:19.695123456Z"),
        (-1, {"unit": "ms"}, "1969-12-31T23:59:59.999Z"),
        ("2026-11-20T10:00:00Z", {"unit": "ms"}, "2026-11-20T10:00:00Z"),
    ],
)  # fmt: skip
def test_times(value, options, time):
    assert to_timestamp(value, **options) == time
    parse_event(
        json.dumps({**BARE, "timestamp": time, "actor": {"userId": "u"}, "resource": {"type": "t", "id": "r"}}).encode()
    )


@pytest.mark.parametrize(
    "value, options, rule",
    [
        (None, {}, "no time"),
        ("", {}, "no time"),
        ({}, {}, "no time"),
        ("yesterday", {}, "no date and time that can be read"),
        (1672833679, {}, "no date and time that can be read"),
        (True, {"unit": "s"}, "no date and time that can be read"),
        ("2026-11-20T10:00:00", {}, "no zone"),
        ("2026-02-30T10:00:00Z", {}, "does not exist"),
        ("2026-11-20T24:00:01Z", {}, "does not exist"),
        ("2026-11-20T10:00:00+99:00", {}, "does not exist"),
        ("0001-01-01T00:00:00+01:00", {}, "does not exist"),
        ("2016-12-31T23:59:60Z", {}, "leap second"),
        (10**30, {"unit": "s"}, "does not exist"),
        ("9" * 50, {"unit": "s"}, "no date and time"),
    ],
)  # fmt: skip
def test_times_that_cannot_be_read(value, options, rule):
    with pytest.raises(SetAside, match=rule) as caught:
        to_timestamp(value, pointer="/t", **options)
    assert caught.value.pointer == "/t"


@pytest.mark.parametrize("name", ["Nowhere/Nothing", "", "../etc/passwd", "+25:00"])
def test_zones_that_there_are_not(name):
    with pytest.raises(ValueError, match=r"."):
        find_zone(name)


def test_the_rule_for_event_ids():
    assert event_id("github", "AbC-123") == "ebbc384a-0c42-57ca-815a-0589480ba36f"
    assert event_id("github", "AbC-123", key=bytes(32)) != event_id("github", "AbC-123")
    assert event_id("a", 1, None) != event_id("a", "1", None)
    assert event_id("a", JsonText("1e400"), "\ud800") == event_id("a", "1e400", "\\ud800")


def holding(*names):
    return st.fixed_dictionaries({}, optional=dict.fromkeys(names, odd_values)) | odd_values


odd_resources = holding("id", "type", "name", "role")
odd_events = st.fixed_dictionaries(
    {name: st.just(value) for name, value in BARE.items()},
    optional={
        "actor": holding("userId", "type", "role", "email", "address", "ipAddress", "userAgent"),
        "resource": odd_resources,
        "relatedResources": st.lists(odd_resources, max_size=70) | odd_values,
        "operation": odd_values,
        "details": holding("query", "reason", "purpose", "recipient", "oldValues", "newValues", "fieldsAccessed"),
    },
)


@settings(max_examples=VALUES, deadline=None, suppress_health_check=list(HealthCheck))
@given(event=odd_events, metadata=st.dictionaries(odd_texts | st.just("tlog:leftOut"), odd_values, max_size=6))
def test_no_value_is_refused(event, metadata):
    for each in finish(event, metadata):
        parse_event(encode_event(each))


@settings(max_examples=VALUES, deadline=None)
@given(json_values)
def test_what_is_storable_stays_as_it_is(value):
    assert canonical(storable(value)) == canonical(value)


def test_deep_values_need_no_deep_stack():
    limit = sys.getrecursionlimit()
    value = nested(limit * 2)
    assert one({"a": value}, actor={"userId": value})["actor"] == {"type": "unknown"}


@given(st.text(max_size=8), st.lists(st.text(st.characters(max_codepoint=127), max_size=6), min_size=1, max_size=3))
def test_texts_take_a_short_way_to_the_same_event_id(space, values):
    name = canonical(storable([space, *values])).decode()
    assert event_id(space, *values) == str(uuid5(NAMESPACE, name))


@pytest.mark.parametrize(
    "text", ["2026-02-30T08:00:00Z", "0000-01-01T00:00:00.5Z", "2026-03-01T08:00:60Z", "2026-03-01T24:00:00Z"]
)
def test_what_looks_ready_may_be_no_time(text):
    with pytest.raises(SetAside):
        to_timestamp(text)
