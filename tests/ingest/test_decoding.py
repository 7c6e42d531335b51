"""From messages to events: what is no event is refused with its rule, and never harms another message."""

from __future__ import annotations

import json

import pytest
from support import sample_events

from tlog.core.making import parsing
from tlog.core.making.parsing import ParsedEvent
from tlog.ingest import decoding
from tlog.ingest.decoding import Message, Refusal, decode, own_text


def messages(values):
    return [Message(0, offset, None, value) for offset, value in enumerate(values)]


BAD = {
    "not JSON": (b"{not json", "not JSON at character 1", ""),
    "not UTF-8": (b'{"action":"\xff"}', "not UTF-8 at byte 11", ""),
    "two texts": (sample_events(2)[0] + b"\n" + sample_events(2)[1], "is it NDJSON?", ""),
    "empty": (b"", "not JSON at character 0", ""),
    "no value": (None, "the message has no value", ""),
    "an extra member": (json.dumps({**json.loads(sample_events(1)[0]), "zone": "Zq7"}).encode(), "no such member", "/zone"),
    "too large": (json.dumps({**json.loads(sample_events(1)[0]), "metadata": {"a": "x" * 70_000}}).encode(), "at most 65535 bytes", ""),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_event_is_refused_with_its_rule(name):
    value, reason, pointer = BAD[name]
    good = sample_events(9)
    found = decode(messages([*good[:4], value, *good[4:]]), own_text)
    assert [isinstance(each, ParsedEvent) for each in found] == [True] * 4 + [False] + [True] * 5
    assert [each.event_id for each in found if isinstance(each, ParsedEvent)] == [
        json.loads(each)["eventId"] for each in good
    ]
    refusal = found[4]
    assert reason in refusal.reason
    assert refusal.pointer == pointer
    assert "Zq7" not in refusal.reason


def test_each_of_many_is_found():
    good = sample_events(64)
    values = [value if number % 3 else b"no" for number, value in enumerate(good)]
    found = decode(messages(values), own_text)
    assert [isinstance(each, Refusal) for each in found] == [number % 3 == 0 for number in range(64)]
    assert decode([], own_text) == []


@pytest.mark.parametrize("where", ["format", "parser"])
def test_a_fault_of_the_decoder_is_named_by_its_class_and_stops_nothing(monkeypatch, where):
    good = sample_events(5)

    def fails(text):
        if b"Zq7" in text:
            raise ZeroDivisionError(text)
        return text

    if where == "format":
        found = decode(messages([*good, b"Zq7"]), lambda message: fails(message.value))
    else:
        monkeypatch.setattr(decoding, "parse_event", lambda text: parsing.parse_event(fails(text)))
        found = decode(messages([*good, b"Zq7"]), own_text)
    assert found[5] == Refusal("decoder failed: ZeroDivisionError")
    assert all(isinstance(each, ParsedEvent) for each in found[:5])
