"""How a request's body is cut into JSON texts, each of which is one event."""

from __future__ import annotations

import json

import pytest
from support import sample_events

from tlog.core.making.parsing import parse_batch
from tlog.errors import InvalidBatchError, MalformedInputError
from tlog.server.endpoints.bodies import explained, split_body
from tlog.server.guard.fields import JSON, NDJSON


def texts_of(body, kind):
    portions, batch = split_body(body, kind)
    return [text for portion in portions for text in portion], batch


def test_each_line_that_is_not_blank_is_a_text():
    events = sample_events(200)
    body = b"\n \t\r\n" + b"\r\n".join(events[:100]) + b"\n\n" + b" \n".join(events[100:])
    assert texts_of(body, NDJSON) == (events, True)
    assert texts_of(body + b"\n", NDJSON) == (events, True)
    assert texts_of(b"\n \r\n", NDJSON) == ([], True)


def test_lines_come_in_portions_of_a_bounded_size():
    events = sample_events(300)
    portions, _ = split_body(b"\n".join(events), NDJSON)
    sizes = [sum(map(len, portion)) for portion in portions]
    assert len(sizes) > 3
    assert max(sizes) < (32 << 10) + max(map(len, events))


def test_lines_end_at_line_feeds_only():
    assert texts_of(b"a\rb\x0bc\x0cd\xe2\x80\xa8e\x85f\ng", NDJSON)[0] == [b"a\rb\x0bc\x0cd\xe2\x80\xa8e\x85f", b"g"]


def test_an_event_spread_over_several_lines_is_one_in_json_and_none_in_ndjson():
    (event,) = sample_events(1)
    spread = json.dumps(json.loads(event), indent=1).encode()
    (text,), batch = texts_of(spread, JSON)
    assert not batch
    assert [parsed.event for parsed in parse_batch([text])] == [parsed.event for parsed in parse_batch([event])]
    assert len(texts_of(b"[" + spread + b"]", JSON)[0]) == 1
    for body in (spread, spread + b"\n"):
        lines, _ = texts_of(body, NDJSON)
        with pytest.raises(InvalidBatchError):
            parse_batch(lines)


@pytest.mark.parametrize("body", [b"[{}", b"[", b"[{}] x", b"[\xff]", b"[" * 100_000])
def test_arrays_that_are_none_are_refused(body):
    with pytest.raises(MalformedInputError, match="not a JSON array"):
        split_body(body, JSON)


LARGE = b'{"x":"' + b"x" * 70_000 + b'"}'
REASONS = {
    "cut": (b"[{}", "it ends or breaks off early"),
    "another array": (b"[{}]\n[{}]", "is it NDJSON"),
    "an object after it": (b"[{}]{}", "is it NDJSON"),
    "a word after it": (b"[{}] x", "trailing characters at byte 5"),
    "single quotes": (b"[{'a': 1}]", "double quotes"),
    "no quotes": (b"[{a: 1}]", "expected '\"' at byte 2"),
    "too deep": (b"[" * 100_000, "it ends or breaks off early"),
    "large lines": (LARGE + b"\n" + LARGE, "is it NDJSON"),
    "a mark": (b"\xef\xbb\xbf" + LARGE, "byte order mark"),
    "UTF-16 with a mark": (LARGE.decode().encode("utf-16"), "UTF-16"),
    "UTF-16 without": (LARGE.decode().encode("utf-16-be"), "UTF-16"),
    "an object around": (b' {"events" : [' + LARGE + b"]}", "send the list of events itself"),
}


@pytest.mark.parametrize("case", REASONS)
def test_a_body_that_is_none_is_told_why(case):
    body, words = REASONS[case]
    with pytest.raises(MalformedInputError, match=words):
        split_body(body, JSON)


def test_one_large_text_is_left_to_the_rules_of_events():
    assert texts_of(LARGE, JSON) == ([LARGE], False)
    assert texts_of(LARGE[:-1], JSON) == ([LARGE[:-1]], False)


@pytest.mark.parametrize(
    "lines, whole",
    [
        (b'{\n"action": 1}', True),
        (b"[{},\n{}]", True),
        (b"[]", True),
        (b"{}", False),  # an event that breaks rules
        (b"{}\n{}", False),
        (b"{\n", False),
    ],
)
def test_lines_that_are_one_text_are_told_so(lines, whole):
    texts, _ = texts_of(lines, NDJSON)
    with pytest.raises(InvalidBatchError) as caught:
        parse_batch(texts)
    assert ("send it as application/json" in str(explained(caught.value, lines))) == whole


def test_a_later_line_that_is_wrong_is_named_as_it_is():
    (event,) = sample_events(1)
    with pytest.raises(InvalidBatchError) as caught:
        parse_batch([event, b"[]"])
    assert explained(caught.value, event + b"\n[]") is caught.value
