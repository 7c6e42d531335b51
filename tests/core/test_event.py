"""The format of an event: times in UTC, and rules in words. How events are read is tested in making/test_parsing.py."""

from __future__ import annotations

import json
import re
import sys
import unicodedata
from typing import TYPE_CHECKING, Annotated

import msgspec
import pytest

from tlog.core.event import (
    NO_CONTROL,
    PATTERN_RULES,
    PATTERNS,
    Resource,
    ResourceType,
    check_id,
    check_resource_id,
    check_timestamp,
    check_user_id,
    explain,
    is_ip,
    to_utc,
)
from tlog.core.making.parsing import parse_event, parse_event_slowly
from tlog.errors import InvalidEventError

Name = Annotated[str, msgspec.Meta(min_length=1, pattern=NO_CONTROL)]

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize(
    ("timestamp", "utc"),
    [
        ("2026-11-24T05:11:59.998Z", "2026-11-24T05:11:59.998Z"),
        ("2026-11-24T05:11:59.120+05:45", "2026-11-23T23:26:59.120Z"),
        ("0999-12-31T23:00:00-02:00", "1000-01-01T01:00:00Z"),
        ("2026-11-24T05:11:59.123456789Z", "2026-11-24T05:11:59.123456789Z"),
        ("2026-11-24T05:11:59.1234567-01:00", "2026-11-24T06:11:59.1234567Z"),
        ("2026-11-24t05:11:59.5z", "2026-11-24T05:11:59.5Z"),
        ("2026-11-24T05:11:59z", "2026-11-24T05:11:59Z"),
        ("2026-11-24t05:11:59.50Z", "2026-11-24T05:11:59.50Z"),
        ("2026-11-24t05:11:59+01:00", "2026-11-24T04:11:59Z"),
    ],
)
def test_times_keep_their_fraction_digits_in_utc(timestamp: str, utc: str):
    assert to_utc(timestamp) == utc


@pytest.mark.parametrize(
    "timestamp",
    ["2026-02-30T00:00:00Z", "0000-01-01T00:00:00Z", "0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-00:01"],
)
def test_times_that_do_not_exist_are_refused(timestamp: str):
    with pytest.raises(InvalidEventError, match="does not exist") as error:
        to_utc(timestamp)
    assert error.value.pointer == "/timestamp"


@pytest.mark.parametrize(
    ("timestamp", "rule"),
    [
        ("2026-11-24T05:11:59.123456789z", None),
        ("2016-12-31T23:59:60Z", "a leap second is not taken: send second 59, or second 00 of the next minute"),
        ("2016-12-31t23:59:60.5+01:00", "a leap second is not taken: send second 59, or second 00 of the next minute"),
        ("2016-12-31T23:59:61Z", "expected an RFC 3339 date and time"),
        ("2016-12-31T23:59:600Z", "expected an RFC 3339 date and time"),
        ("2026-11-27T09:00:00+0000", "expected an RFC 3339 date and time"),
        ("2026-11-27T09:00:00.1234567891Z", "expected an RFC 3339 date and time"),
        ("2026-02-29t00:00:00z", "this date and time does not exist"),
    ],
)
def test_timestamps_are_checked_in_words(timestamp: str, rule: str | None):
    told = check_timestamp(timestamp)
    assert told == rule or (rule is not None and told is not None and told.startswith(rule))


# --- Ids ----------------------------------------------------------------------------------------------------------------

OVERRIDES = {*range(0x202A, 0x202F), *range(0x2066, 0x206A)}


def test_which_characters_an_id_may_have():
    refused = set()
    for code in (*range(0x3100), *range(0x3100, sys.maxunicode + 1, 61)):
        character = chr(code)
        if check_id(f"a{character}") is not None:
            refused.add(code)
        assert (unicodedata.category(character) in ("Cc", "Cn", "Cs", "Zl", "Zp") or code in OVERRIDES) == (
            code in refused
        )
    # What can be said without tables is what the pattern says, which is in the description of the service.
    unlike = {code for code in refused if re.search(NO_CONTROL, chr(code)) is None}
    assert unlike == {*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, *OVERRIDES}


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", None),
        ("Jos\u00e9 (ward 3): a/b\\c\u00a0\u200d\U0001f600\ue000", None),
        ("a\x9b2J", "control characters"),
        ("a\x00", "control characters"),
        ("a\u2028b", "line separators"),
        ("\u202etxt", "bidirectional overrides"),
        ("a\u2069", "bidirectional overrides"),
        ("a\uffff", "a character that Unicode"),
        ("a\U000e0fff", "a character that Unicode"),
        ("a\ud800", "a lone surrogate"),
    ],
)
def test_the_characters_of_ids_are_told_in_words(text: str, rule: str | None):
    told = check_id(text)
    assert told == rule or (rule is not None and told is not None and told.startswith(rule))


@pytest.mark.parametrize(
    ("check", "text", "rule"),
    [
        (check_user_id, "", "expected at least 1 character"),
        (check_user_id, "x" * 256, None),
        (check_user_id, "\U0001f600" * 256, None),
        (check_user_id, "x" * 257, "expected at most 256 characters"),
        (check_user_id, "a\n", "control characters cannot stand in an id"),
        (check_resource_id, "", "expected at least 1 character"),
        (check_resource_id, "x" * 1024, None),
        (check_resource_id, "x" * 1025, "expected at most 1024 characters"),
        (check_resource_id, "\u00e9" * 1024, None),
        (check_resource_id, "\u20ac" * 683, "expected at most 2048 bytes of UTF-8, got 2049"),
        (check_resource_id, "\U0001f600" * 512, None),
        (check_resource_id, "\U0001f600" * 513, "expected at most 2048 bytes of UTF-8, got 2052"),
        (check_resource_id, "\ud800" * 1000, "a lone surrogate is not a character"),
    ],
)
def test_ids_have_a_length(check: Callable[[str], str | None], text: str, rule: str | None):
    assert check(text) == rule


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ("192.0.2.1", True),
        ("::1", True),
        ("::ffff:192.0.2.1", True),
        ("192.0.2.256", False),
        ("1::2::3", False),
        ("::1%eth0", False),
        ("", False),
        ("host.example", False),
    ],
)
def test_addresses(text: str, taken: bool):
    assert is_ip(text) is taken


EMAIL = re.compile(PATTERNS["/actor/email"])


@pytest.mark.parametrize(
    "text",
    [
        "jos\u00e9@example.com",
        "\u7528\u6237@\u4f8b\u3048.\u30c6\u30b9\u30c8",
        "a@m\u00fcnchen.example",
        "x@\u0926-\u0926.in",
        "\U0001f600@a",
    ],
)
def test_international_mail_addresses_are_taken(text: str):
    assert EMAIL.search(text)


@pytest.mark.parametrize("position", [0, 1, 3, 4, 6])
def test_mail_addresses_have_no_characters_that_nobody_sees(position: int):
    address = "ab@\u00e9c.d"
    for character in '\x80\x9f\u00a0\u1680\u2003\u2028\u202e\u202f\u205f\u2066\u3000\ufeff ,;<>()[]\\"\x00\x7f':
        assert not EMAIL.search(address[:position] + character + address[position:])
    for dot in "\u3002\uff0e\uff61":
        assert not EMAIL.search(f"a@b{dot}c")


def test_every_pattern_is_told_in_words():
    assert set(PATTERNS.values()) == PATTERN_RULES.keys()


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({"id": "a", "kind": "x"}, ("no such member in an event", "/resource/kind")),
        ({"id": "a"}, ("this member is required", "/resource/type")),
    ],
)
def test_members_are_told_below_a_base(value: object, told: tuple[str, str]):
    with pytest.raises(msgspec.ValidationError) as error:
        msgspec.convert(value, Resource)
    assert explain(error.value, "/resource") == told


def test_what_msgspec_may_say_besides_is_passed_on():
    assert explain(msgspec.ValidationError("Duration is out of range - at `$.a[1]`")) == (
        "duration is out of range",
        "/a/1",
    )


@pytest.mark.parametrize(
    ("value", "kind", "rule", "pointer"),
    [
        ("x" * 65, ResourceType, "expected 1 to 64 letters", ""),
        (["\n"], list[Name], "expected text without control characters, line separators", "/0"),
        ([""], list[Name], "expected at least 1 character", "/0"),
        ([1, 2], Annotated[list[int], msgspec.Meta(max_length=1)], "expected at most 1 element", ""),
        ([], Annotated[list[int], msgspec.Meta(min_length=2)], "expected at least 2 elements", ""),
        (3, Annotated[int, msgspec.Meta(le=2)], "expected an integer of at most 2", ""),
        (1.5, int, "expected an integer, got a number with a fraction or exponent", ""),
        (1, bool, "expected true or false, got a number", ""),
    ],
)
def test_errors_are_told_as_rule_and_pointer(value: object, kind: type, rule: str, pointer: str):
    with pytest.raises(msgspec.ValidationError) as error:
        msgspec.convert(value, kind)
    told, place = explain(error.value)
    assert told.startswith(rule)
    assert place == pointer


# Of these characters the NFC form is longer than they are (UAX #15, composition exclusions).
GROWING = "\u0958\ufb2c\U0001d160\u2adc"


@pytest.mark.parametrize("character", GROWING)
@pytest.mark.parametrize(("check", "most"), [(check_user_id, 256), (check_resource_id, 1024)])
def test_ids_keep_their_rule_in_the_form_in_which_they_are_asked_for(check, most, character):
    form = unicodedata.normalize("NFC", character)
    assert len(form) > 1
    fitting = min(most // len(form), 2048 // len(form.encode()) if most == 1024 else most)
    assert check(character * fitting) is None
    assert "at most" in check(character * (fitting + 1))
    assert check(unicodedata.normalize("NFC", character * fitting)) is None


def test_of_each_form_characters_and_bytes_are_limited():
    """One form may have more characters, and the other more bytes."""
    text = "e\u0301" * 100 + "\u0958" * 60
    form = unicodedata.normalize("NFC", text)
    assert (len(text) > 256 > len(form), len(text.encode()) < len(form.encode())) == (True, True)
    assert "at most 256" in check_user_id(text)
    assert check_user_id(form) is None
    text = "e\u0301" * 400 + "\u0958" * 240
    form = unicodedata.normalize("NFC", text)
    assert (len(text) > 1024 > len(form), len(text.encode()) < 2048 < len(form.encode())) == (True, True)
    assert "at most 1024" in check_resource_id(text)
    assert "bytes" in check_resource_id(form)


@pytest.mark.parametrize("place", ["user", "resource"])
def test_ids_that_grow_are_judged_alike_by_both_ways_of_reading(place):
    for number, good in ((85, True), (86, False)):
        text = "\ufb2c" * (number if place == "user" else number * 4)
        event = {
            "eventId": "0190f3c2-5f6e-7d3a-9b1c-2f4e6a8c0d1e", "timestamp": "2026-11-24T05:11:59.998Z", "action": "read",
            "actor": {"userId": text if place == "user" else "u"},
            "resource": {"type": "note", "id": text if place == "resource" else "n"},
        }  # fmt: skip
        data = json.dumps(event, ensure_ascii=False).encode()
        for parse in (parse_event, parse_event_slowly):
            if good:
                assert parse(data).event.actor.userId
            else:
                with pytest.raises(InvalidEventError, match="at most"):
                    parse(data)
