"""Questions: one form, every member named when it is wrong, and what they look at."""

from __future__ import annotations

from hashlib import sha256

import msgspec
import pytest
import rfc8785

from tlog.core.entry import parse_entry
from tlog.core.pseudonym import action_key, actor_ident, resource_ident
from tlog.core.question import Matcher, parse_question
from tlog.core.strict import encode_base64url
from tlog.errors import MalformedInputError

FULL = {
    "action": "read",
    "from": "2026-03-01T00:00:00Z",
    "loggedFrom": "2026-03-02T00:00:00Z",
    "loggedTo": "2026-03-03T00:00:00Z",
    "outcome": "success",
    "resourceId": "P-1001",
    "resourceType": "patient_record",
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


def test_its_keys_begin_with_the_rarest():
    keys = [personal(resource_ident("patient_record", "P-1001")), personal(actor_ident("é")), action_key("read")]
    assert parse_question(FULL).keys(personal) == keys
    assert parse_question({"userId": "é", "action": "read"}).keys(personal) == keys[1:]
    assert parse_question({"resourceType": "patient_record", "outcome": "success"}).keys(personal) == []


def test_what_it_looks_at():
    assert (parse_question({}).logged_from(), parse_question({}).logged_to()) == (None, None)
    assert parse_question({}).not_looked_at() == []
    question = parse_question(FULL)
    assert question.logged_from() == b"2026-03-02T00:00:00.000000Z"
    assert question.logged_to() == b"2026-03-03T00:00:00.000000Z"
    assert question.not_looked_at() == [
        "entries logged before 2026-03-02T00:00:00.000000Z",
        "entries logged at 2026-03-03T00:00:00.000000Z or later",
    ]
    # a producer's clock may be a day ahead
    assert parse_question({"from": "2026-03-02T12:00:00.25Z"}).logged_from() == b"2026-03-01T12:00:00.250000Z"
    assert parse_question({"from": "0001-01-01T12:00:00Z"}).logged_from() == b"0001-01-01T00:00:00.000000Z"
    assert parse_question({"to": "2026-03-02"}).logged_to() is None


@pytest.mark.parametrize(
    "members, countable",
    [
        ({"userId": "u"}, True),
        ({"action": "read"}, True),
        ({"resourceType": "t", "resourceId": "i"}, True),
        ({"userId": "u", "loggedFrom": "2026-03-02", "loggedTo": "2026-03-03"}, True),
        ({"resourceType": "t"}, False),
        ({"userId": "u", "action": "read"}, False),
        ({"userId": "u", "from": "2026-03-02"}, False),
        ({"userId": "u", "outcome": "success"}, False),
        ({}, False),
    ],
)
def test_what_can_be_counted(members, countable):
    assert parse_question(members).countable() is countable


def test_times_of_any_zone_and_dates():
    question = parse_question({"from": "2026-03-01", "to": "2026-03-01T12:00:00.5+01:00"})
    assert question.document() == {"from": "2026-03-01T00:00:00Z", "to": "2026-03-01T11:00:00.5Z"}


@pytest.mark.parametrize(
    "members, named",
    [
        ({"resourceId": "P-1001"}, "resourceType"),
        ({"action": "look"}, "'action'.*read, create"),
        ({"outcome": 1}, "outcome"),
        ({"userId": "a\nb"}, "userId"),
        ({"from": "yesterday"}, "from"),
        ({"from": "2026-02-30"}, "from"),
        ({"to": "2026-03-17T00:00:00"}, "to"),
        ({"to": 5}, "to"),
        ({"from": "2026-03-18", "to": "2026-03-17"}, "'from' is after"),
        ({"loggedFrom": "2026-03-18", "loggedTo": "2026-03-17"}, "'loggedFrom' is after"),
        ({"from": "2026-03-18T00:00:00.1Z", "loggedTo": "2026-03-17"}, "'from' is more than 24 hours after 'loggedTo'"),
        ({"patient": "Zq7"}, "patient"),
    ],
)
def test_wrong_questions_name_the_member(members, named):
    with pytest.raises(MalformedInputError, match=named) as refused:
        parse_question(members)
    assert "Zq7" not in str(refused.value)


def entry_of(**changes):
    keys = [encode_base64url(key).decode() for key in (personal(actor_ident("u")), personal(b"x"), action_key("read"))]
    members = {
        "action": "read",
        "commitments": {"actor": "A" * 43, "resource": "A" * 43},
        "eventId": "0190f3c2-5f6e-7d3a-9b1c-2f4e6a8c0d1e",
        "keys": keys,
        "loggedAt": "2026-03-17T05:12:00.123456Z",
        "outcome": "success",
        "resourceType": "t",
        "timestamp": "2026-03-17T05:12:00.5Z",
        "type": "event",
        "v": 1,
    }
    return parse_entry(rfc8785.dumps(members | changes))


@pytest.mark.parametrize(
    "members, matches",
    [
        ({}, True),
        ({"userId": "u"}, True),
        ({"userId": "v"}, False),
        ({"userId": "u", "action": "read", "outcome": "success", "resourceType": "t"}, True),
        ({"userId": "u", "action": "update"}, False),
        ({"outcome": "failure"}, False),
        ({"resourceType": "s"}, False),
        ({"from": "2026-03-17T05:12:00.500000Z"}, True),
        ({"from": "2026-03-17T05:12:00.500001Z"}, False),
        ({"to": "2026-03-17T05:12:00.5Z"}, False),
        ({"to": "2026-03-17T05:12:00.51Z"}, True),
        ({"from": "2026-03-17T05:12:00Z", "to": "2026-03-17T05:12:01Z"}, True),
    ],
)
def test_what_answers(members, matches):
    question = parse_question(members)
    assert Matcher(question, question.keys(personal)).matches(entry_of()) is matches


@pytest.mark.parametrize("members", [{"userId": "a\udcff"}, {"\udcff": "a"}, {"from": "\ud800"}])
def test_bytes_that_are_not_utf_8_are_refused(members):
    """A command line passes them on as lone surrogates, which no entry and no index key can have."""
    with pytest.raises(MalformedInputError, match="valid Unicode"):
        parse_question(members)
