"""The format of an event: times in UTC, and rules in words. How events are read is tested in making/test_parsing.py."""

from __future__ import annotations

import msgspec
import pytest

from tlog.core.event import PATTERN_RULES, PATTERNS, ResourceType, UserId, explain, to_utc
from tlog.errors import InvalidEventError


@pytest.mark.parametrize(
    ("timestamp", "utc"),
    [
        ("2026-11-24T05:11:59.998Z", "2026-11-24T05:11:59.998Z"),
        ("2026-11-24T05:11:59.120+05:45", "2026-11-23T23:26:59.120Z"),
        ("0999-12-31T23:00:00-02:00", "1000-01-01T01:00:00Z"),
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


def test_every_pattern_is_told_in_words():
    assert set(PATTERNS.values()) == PATTERN_RULES.keys()


@pytest.mark.parametrize(
    ("value", "kind", "rule", "pointer"),
    [
        ("x" * 65, ResourceType, "expected 1 to 64 letters", ""),
        (["\n"], list[UserId], "expected text without control characters, line separators", "/0"),
        ([""], list[UserId], "expected at least 1 character", "/0"),
    ],
)
def test_errors_are_told_as_rule_and_pointer(value: object, kind: type, rule: str, pointer: str):
    with pytest.raises(msgspec.ValidationError) as error:
        msgspec.convert(value, kind)
    told, place = explain(error.value)
    assert told.startswith(rule)
    assert place == pointer
