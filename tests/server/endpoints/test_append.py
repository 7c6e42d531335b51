"""How a request's body is cut into JSON texts, each of which is one event."""

from __future__ import annotations

import json

import pytest
from support import sample_events

from tlog.core.making.parsing import parse_batch
from tlog.errors import InvalidBatchError, MalformedInputError
from tlog.server.endpoints.append import split_body

NDJSON = "application/x-ndjson; charset=utf-8"


def texts_of(body, content_type):
    portions, batch = split_body(body, content_type)
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
    (text,), batch = texts_of(spread, "application/json")
    assert not batch
    assert [parsed.event for parsed in parse_batch([text])] == [parsed.event for parsed in parse_batch([event])]
    assert len(texts_of(b"[" + spread + b"]", "application/json")[0]) == 1
    for body in (spread, spread + b"\n"):
        lines, _ = texts_of(body, NDJSON)
        with pytest.raises(InvalidBatchError):
            parse_batch(lines)


@pytest.mark.parametrize("body", [b"[{}", b"[", b"[{}] x", b"[\xff]", b"[" * 100_000])
def test_arrays_that_are_none_are_refused(body):
    with pytest.raises(MalformedInputError, match="not a JSON array"):
        split_body(body, "application/json")
