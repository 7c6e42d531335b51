"""Questions: one form, every member named when it is wrong, and what they look at."""

from __future__ import annotations

import json
from hashlib import sha256

import msgspec
import pytest
import rfc8785
from bundles import Control, Event, b64url, personal_key

from tlog.core.entry import parse_entry
from tlog.core.pseudonym import actor_ident, public_key, related_ident, resource_ident
from tlog.core.question import Matcher, hashed_members, parse_question
from tlog.errors import MalformedInputError, NotCheckedError

FULL = {
    "action": "read",
    "from": "2026-03-01T00:00:00Z",
    "loggedFrom": "2026-03-02T00:00:00Z",
    "loggedTo": "2026-03-03T00:00:00Z",
    "operation": "GetObject",
    "outcome": "success",
    "resourceId": "P-1001",
    "resourceType": "patient_record",
    "sourceId": "ehr-api-7",
    "to": "2026-03-04T00:00:00.5Z",
    "userId": "é",
}


def personal(ident: bytes) -> bytes:
    return sha256(ident).digest()[:16]


def test_a_question_is_canonical_json():
    question = parse_question(FULL)
    assert msgspec.json.encode(question) == rfc8785.dumps(FULL)
    assert question.document() == FULL
    assert parse_question(question.document()) == question
    assert parse_question({}).document() == {}
    control = {"control": "order", "loggedFrom": "2026-03-02T00:00:00Z", "resourceId": "a", "resourceType": "user"}
    assert msgspec.json.encode(parse_question(control)) == rfc8785.dumps(control)
    unknown = {"action": "login", "actorType": "unknown"}
    assert msgspec.json.encode(parse_question(unknown)) == rfc8785.dumps(unknown)


RECORD = {"resourceType": "record", "resourceId": "R:4"}
KINDS = {
    "all": (FULL, ["resource", "related", "actor", "source", "operation", "action"], ["resource", "related"]),
    "resource": (RECORD, ["resource", "related"], ["resource", "related"]),
    "resource and actor": (RECORD | {"userId": "u"}, ["resource", "related", "actor"], ["resource", "related"]),
    "control and resource": (RECORD | {"control": "order"}, ["related", "control"], ["related"]),
    "control": ({"control": "order"}, ["control"], ["control"]),
    "actor and action": ({"userId": "u", "action": "read"}, ["actor", "action"], ["actor"]),
    "actor unknown": ({"actorType": "unknown", "operation": "x"}, ["actor", "operation"], ["actor"]),
    "source": ({"sourceId": "s", "operation": "x"}, ["source", "operation"], ["source"]),
    "operation": ({"operation": "x", "action": "read"}, ["operation", "action"], ["operation"]),
    "action": ({"action": "read", "outcome": "success"}, ["action"], ["action"]),
    "nothing": ({"resourceType": "record", "outcome": "success"}, [], []),
}


@pytest.mark.parametrize("name", KINDS)
def test_which_keys_it_is_looked_up_under(name):
    members, kinds, first = KINDS[name]
    question = parse_question(members)
    assert list(question.keys(personal)) == kinds
    assert question.looked_under() == first
    assert list(question.idents()) == [kind for kind in kinds if kind in ("resource", "related", "actor")]


def test_its_keys():
    assert parse_question(FULL).keys(personal) == {
        "resource": personal(resource_ident("patient_record", "P-1001")),
        "related": personal(related_ident("patient_record", "P-1001")),
        "actor": personal(actor_ident("é")),
        "source": public_key("source", "ehr-api-7"),
        "operation": public_key("operation", "GetObject"),
        "action": public_key("action", "read"),
    }
    assert parse_question({"actorType": "unknown"}).keys(personal) == {"actor": personal(b"actor\0")}
    assert parse_question({"control": "order"}).keys(personal) == {"control": public_key("control", "order")}


def test_what_it_looks_at():
    assert (parse_question({}).logged_from(), parse_question({}).logged_to()) == (None, None)
    assert parse_question({}).not_looked_at() == []
    question = parse_question(FULL)
    assert question.logged_from() == b"2026-03-02T00:00:00.000000Z"
    assert question.logged_to() == b"2026-03-03T00:00:00.000000Z"
    assert question.not_looked_at() == [
        "entries logged before 2026-03-02T00:00:00Z",
        "entries logged at 2026-03-03T00:00:00Z or later",
    ]
    # a producer's clock may be a day ahead
    assert parse_question({"from": "2026-03-02T12:00:00.25Z"}).logged_from() == b"2026-03-01T12:00:00.250000Z"
    assert parse_question({"from": "0001-01-01T12:00:00Z"}).logged_from() == b"0001-01-01T00:00:00.000000Z"
    assert parse_question({"to": "2026-03-02"}).logged_to() is None


@pytest.mark.parametrize(
    "time, looks, logged",
    [
        ("2026-03-02T12:00:00.123456Z", "2026-03-01T12:00:00.123456Z", b"2026-03-01T12:00:00.123456Z"),
        ("2026-03-02T12:00:00.1234560Z", "2026-03-01T12:00:00.1234560Z", b"2026-03-01T12:00:00.123456Z"),
        # what is logged at a microsecond is not earlier than a bound only if the bound is not after the microsecond
        ("2026-03-02T12:00:00.1234561Z", "2026-03-01T12:00:00.1234561Z", b"2026-03-01T12:00:00.123457Z"),
        ("2026-03-02T12:00:00.999999999Z", "2026-03-01T12:00:00.999999999Z", b"2026-03-01T12:00:01.000000Z"),
        ("0001-01-01T23:59:59.9Z", "0001-01-01T00:00:00Z", b"0001-01-01T00:00:00.000000Z"),
        ("0001-01-02T00:00:00.1Z", "0001-01-01T00:00:00.1Z", b"0001-01-01T00:00:00.100000Z"),
    ],
)
def test_a_day_before_with_all_digits(time, looks, logged):
    question = parse_question({"from": time})
    assert (question.looks_from(), question.logged_from()) == (looks, logged)


def test_after_the_last_microsecond_nothing_is_logged():
    question = parse_question({"loggedFrom": "9999-12-31T23:59:59.9999999Z"})
    assert question.logged_from() > b"9999-12-31T23:59:59.999999Z"
    assert parse_question({"loggedFrom": "9999-12-31T23:59:59.999999Z"}).logged_from() == b"9999-12-31T23:59:59.999999Z"


@pytest.mark.parametrize(
    "members, countable",
    [
        ({"userId": "u"}, True),
        ({"actorType": "unknown"}, True),
        ({"action": "read"}, True),
        ({"operation": "x"}, True),
        ({"control": "order"}, True),
        ({"resourceType": "t", "resourceId": "i"}, True),
        ({"userId": "u", "loggedFrom": "2026-03-02", "loggedTo": "2026-03-03"}, True),
        ({"sourceId": "s"}, False),
        ({"control": "order", "resourceType": "t", "resourceId": "i"}, False),
        ({"operation": "x", "action": "read"}, False),
        ({"resourceType": "t"}, False),
        ({"userId": "u", "action": "read"}, False),
        ({"userId": "u", "from": "2026-03-02"}, False),
        ({"userId": "u", "outcome": "success"}, False),
        ({"loggedFrom": "2026-03-02"}, False),
        ({"outcome": "success"}, False),
        ({}, False),
    ],
)
def test_what_can_be_counted(members, countable):
    assert parse_question(members).countable() is countable


def test_times_of_any_zone_and_dates():
    question = parse_question({"from": "2026-03-01", "to": "2026-03-01T12:00:00.123456789+01:00"})
    assert question.document() == {"from": "2026-03-01T00:00:00Z", "to": "2026-03-01T11:00:00.123456789Z"}


@pytest.mark.parametrize(
    "members, named",
    [
        ({"resourceId": "P-1001"}, "resourceType"),
        ({"action": "look"}, "'action'.*read, create"),
        ({"outcome": 1}, "outcome"),
        ({"userId": ""}, "userId"),
        ({"resourceType": "t", "resourceId": ""}, "resourceId"),
        ({"userId": 5}, "userId"),
        ({"operation": "Get Object"}, "operation"),
        ({"operation": "x" * 129}, "operation"),
        ({"sourceId": ".x"}, "sourceId"),
        ({"actorType": "user"}, "'actorType': only 'unknown'"),
        ({"actorType": 1}, "actorType"),
        ({"actorType": "unknown", "userId": "u"}, "'actorType' stands for"),
        ({"control": ""}, "'control': expected the type of a control entry"),
        ({"control": "event"}, "'control': expected"),
        ({"control": "index"}, "'control': expected"),
        ({"control": "index-keys"}, "'control': expected"),
        ({"control": "x" * 33}, "'control': expected"),
        ({"control": "Order"}, "'control': expected"),
        ({"control": "order\n"}, "'control': expected"),
        ({"control": None}, "control"),
        ({"control": "order", "userId": "u"}, "beside 'control'"),
        ({"control": "order", "from": "2026-03-01"}, "beside 'control'"),
        ({"control": "order", "resourceType": "t"}, "beside 'control'"),
        ({"from": "yesterday"}, "from"),
        ({"from": "2026-02-30"}, "from"),
        ({"from": "2026-03-01T00:00:00.1234567890Z"}, "from"),
        ({"to": "2026-03-17T00:00:00"}, "to"),
        ({"to": 5}, "to"),
        ({"from": "2026-03-18", "to": "2026-03-17"}, "'from' is after"),
        ({"from": "2026-03-17T00:00:00.000000001Z", "to": "2026-03-17T00:00:00.000Z"}, "'from' is after"),
        ({"loggedFrom": "2026-03-18", "loggedTo": "2026-03-17"}, "'loggedFrom' is after"),
        ({"from": "2026-03-18T00:00:00.1Z", "loggedTo": "2026-03-17"}, "'from' is more than 24 hours after 'loggedTo'"),
        ({"patient": "Zq7"}, "patient"),
    ],
)
def test_wrong_questions_name_the_member(members, named):
    with pytest.raises(MalformedInputError, match=named) as refused:
        parse_question(members)
    assert "Zq7" not in str(refused.value)
    assert refused.value.pointer[1:] in {*members, "resourceType"}


def test_types_that_only_begin_like_those_without_keys_are_asked_for():
    for control in ("events", "index-key", "index-keys-", "-", "x" * 32):
        assert parse_question({"control": control}).control == control


# --- Ids ----------------------------------------------------------------------------------------------------------------


def test_ids_stand_in_their_nfc_form():
    members = {"userId": "e\u0301", "resourceType": "t", "resourceId": "A\u030a"}
    question = parse_question(members)
    assert (question.userId, question.resourceId) == ("é", "Å")
    assert hashed_members(members, question) == []
    # the form of one may be longer, and is limited as the id itself is
    assert len(parse_question({"userId": "\u0958" * 128}).userId) == 256
    assert parse_question({"userId": "\u0958" * 129}).userId.startswith("sha256:")


@pytest.mark.parametrize(
    "name, text, hashed",
    [
        ("userId", "u" * 256, False),
        ("userId", "u" * 257, True),
        ("userId", "\u4e2d" * 256, False),
        ("userId", "a\nb", True),
        ("userId", "a\x85b", True),
        ("userId", "a\u2028", True),
        ("userId", "\u202ea", True),
        ("userId", "a b:c", False),
        ("resourceId", "R" * 1024, False),
        ("resourceId", "R" * 1025, True),
        ("resourceId", "é" * 1024, False),
        ("resourceId", "\u4e2d" * 683, True),
        ("resourceId", "\u2066a", True),
    ],
)
def test_an_id_that_no_event_can_have_is_asked_for_as_importers_keep_it(name, text, hashed):
    members = {name: text} | ({"resourceType": "t"} if name == "resourceId" else {})
    question = parse_question(members)
    expected = f"sha256:{sha256(text.encode()).hexdigest()}" if hashed else text
    assert question.document()[name] == expected
    assert hashed_members(members, question) == ([name] if hashed else [])


@pytest.mark.parametrize("name", ["userId", "resourceId"])
def test_an_id_with_characters_that_these_tables_do_not_know_is_not_checked(name):
    """In tables that know them it may have another NFC form: whatever is found under this one would be a guess."""
    members = {name: "a\U0010ffff\u0301"} | ({"resourceType": "t"} if name == "resourceId" else {})
    with pytest.raises(NotCheckedError, match=f"'{name}' has characters"):
        parse_question(members)


# --- What answers -------------------------------------------------------------------------------------------------------


def named(kind, name):
    return Event(1, "u", (kind, name), "read", at=3, outcome="success", operation="GetObject", source="app-1",
                 related=[("patient", "P:1"), ("record", "R:8")])  # fmt: skip


EVENT = parse_entry(named("record", "R:4").entry.encode())
PLAIN = parse_entry(Event(1, None, ("record", "R:4"), "read", at=3, outcome="success").entry.encode())
ORDER = parse_entry(Control(1, "order", [("record", "R:4")]).entry.encode())


@pytest.mark.parametrize(
    "members, event, plain, order",
    [
        ({}, True, True, False),
        ({"userId": "u"}, True, False, False),
        ({"userId": "v"}, False, False, False),
        ({"actorType": "unknown"}, False, True, False),
        ({"userId": "u", "action": "read", "outcome": "success", "resourceType": "record"}, True, False, False),
        ({"userId": "u", "action": "update"}, False, False, False),
        ({"outcome": "failure"}, False, False, False),
        ({"resourceType": "patient"}, False, False, False),
        ({"resourceType": "record", "resourceId": "R:4"}, True, True, False),
        ({"resourceType": "record", "resourceId": "R:8"}, True, False, False),
        ({"resourceType": "patient", "resourceId": "P:1"}, True, False, False),
        ({"resourceType": "patient", "resourceId": "P:2"}, False, False, False),
        ({"operation": "GetObject"}, True, False, False),
        ({"operation": "getobject"}, False, False, False),
        ({"sourceId": "app-1"}, True, False, False),
        ({"sourceId": "app-2"}, False, False, False),
        ({"control": "order"}, False, False, True),
        ({"control": "outcome"}, False, False, False),
        ({"control": "order", "resourceType": "record", "resourceId": "R:4"}, False, False, True),
        ({"control": "order", "resourceType": "record", "resourceId": "R:5"}, False, False, False),
        ({"from": "2026-03-01T00:03:00.000000000Z"}, True, True, False),
        ({"from": "2026-03-01T00:03:00.000000001Z"}, False, False, False),
        ({"to": "2026-03-01T00:03:00Z"}, False, False, False),
        ({"to": "2026-03-01T00:03:00.000000001Z"}, True, True, False),
        ({"from": "2026-03-01T00:03:00Z", "to": "2026-03-01T00:03:01Z"}, True, True, False),
    ],
)
def test_what_answers(members, event, plain, order):
    question = parse_question(members)
    matcher = Matcher(question, question.keys(personal_key))
    assert [matcher.matches(each) for each in (EVENT, PLAIN, ORDER)] == [event, plain, order]


@pytest.mark.parametrize(
    "members, event, plain, order",
    [
        ({}, None, None, None),
        ({"userId": "u"}, None, None, None),
        ({"resourceType": "record"}, None, None, None),
        ({"resourceType": "record", "resourceId": "R:4"}, "resource", "resource", "related"),
        ({"resourceType": "patient", "resourceId": "P:1"}, "related/0", None, None),
        ({"resourceType": "record", "resourceId": "R:8"}, "related/1", None, None),
        ({"control": "order", "resourceType": "record", "resourceId": "R:4"}, None, None, "related"),
    ],
)
def test_which_group_is_the_resource_asked_for(members, event, plain, order):
    question = parse_question(members)
    matcher = Matcher(question, question.keys(personal_key))
    assert [matcher.matched(each) for each in (EVENT, PLAIN, ORDER)] == [event, plain, order]


def test_an_event_answers_at_the_place_of_the_kind_only():
    """An entry that a cheating log signed: its actor's key stands at the place of the resource, and the other way round."""
    entry = json.loads(named("record", "R:4").entry)
    keys = entry["keys"]
    swapped = parse_entry(rfc8785.dumps(entry | {"keys": [keys[1], keys[0], *keys[2:]]}))
    for members in ({"userId": "u"}, RECORD):
        question = parse_question(members)
        assert not Matcher(question, question.keys(personal_key)).matches(swapped)
    assert b64url(personal_key(actor_ident("u"))) == keys[0]


@pytest.mark.parametrize("members", [{"userId": "a\udcff"}, {"\udcff": "a"}, {"from": "\ud800"}])
def test_bytes_that_are_not_utf_8_are_refused(members):
    """A command line passes them on as lone surrogates, which no entry and no index key can have."""
    with pytest.raises(MalformedInputError, match="valid Unicode"):
        parse_question(members)
