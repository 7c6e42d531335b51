"""NDJSON files become items: a place for the error message, and one line; or what plainly is something else."""

from __future__ import annotations

import base64
import gzip
import io
import json

import pytest

from tlog.ingest import ndjson
from tlog.ingest.aside import Problem
from tlog.ingest.ndjson import TOO_LONG, Filled, Time, read_ndjson
from tlog.ingest.reading import Item
from tlog.ingest.shapes import DAMAGED_GZIP, DamagedFileError
from tlog.ingest.total import JsonText, SetAside, event_id

LINES = b"{}\n\n \t\n{ }\r\n\r\n{  }"
ITEMS = [Item("x, line 1", (b"{}",)), Item("x, line 4", (b"{ }",)), Item("x, line 6", (b"{  }",))]
LONGEST = b"x" * 65_535


def read(data):
    return list(read_ndjson(io.BytesIO(data), "x"))


def test_each_line_that_is_not_blank_is_an_item_with_its_place():
    assert read(LINES) == ITEMS
    assert [item.place for item in read(b"\n\n" + LINES)] == ["x, line 3", "x, line 6", "x, line 8"]


@pytest.mark.parametrize(
    "data",
    [gzip.compress(LINES), b"\xef\xbb\xbf" + LINES, gzip.compress(b"\xef\xbb\xbf" + LINES)],
    ids=["gzip", "byte order mark", "both"],
)
def test_compressed_files_and_byte_order_marks_make_no_difference(data):
    assert read(data) == ITEMS


def test_empty_files():
    assert read(b"") == read(b" \n\n") == []


def test_a_line_longer_than_an_event_is_a_problem():
    assert read(LONGEST + b"\r\n") == [Item("x, line 1", (LONGEST,))]
    first, long, last = read(b"{}\n" + LONGEST + b"x\n{}")
    assert (first.place, long.place, last.place) == ("x, line 1", "x, line 2", "x, line 3")
    assert (long.rule, long.content(), long.is_json) == (TOO_LONG, LONGEST + b"x", False)
    assert read(b'{"a":"' + LONGEST + b'"}')[0].is_json


def test_damaged_data_are_refused():
    with pytest.raises(DamagedFileError, match=DAMAGED_GZIP):
        read(gzip.compress(LINES * 100)[:-9])


@pytest.mark.parametrize(
    "data, events",
    [
        (b'[{"a":1}, {"b":\n2}]', [b'{"a":1}', b'{"b":\n2}']),
        (b'\n[{"a":1}]', [b'{"a":1}']),
        (b'{\n "a": 1\n}\n', [b'{\n "a": 1\n}']),
        (b'{\n "a": 1\n}\n{\n "b": 2\n}', [b'{\n "a": 1\n}', b'{\n "b": 2\n}']),
        (b'{"a":1}{"b":2}\n{"c":3}', [b'{"a":1}', b'{"b":2}', b'{"c":3}']),
        (b'\xef\xbb\xbf{\r\n"a":1}', [b'{\r\n"a":1}']),
    ],
)
def test_what_plainly_is_something_else(data, events):
    assert [item.events[0] for item in read(data)] == events


@pytest.mark.parametrize(
    "data", [b"oops\n{}", b'{"a":\n{}'[:5], b'{"a": oops}\n{}', b"7\n{}", b'{"a":' + b"[" * 10_000 + b"\n{}"]
)
def test_what_may_be_a_damaged_line_stays_one(data):
    assert [item.events[0] for item in read(data)] == data.split(b"\n")


def test_lines_of_what_was_set_aside():
    def aside(**content):
        return json.dumps({"place": "p", "pointer": "", **content, "rule": "r"}).encode()

    whole = base64.b64encode(gzip.compress(b'{"c":3}\n{"d":4}')).decode()
    data = b"\n".join((b'{"a":1}', aside(record={"b": 2}), aside(base64=whole), aside(text="oops"), b'{"place":"no"}'))
    items = read(data)
    assert [item.events[0] for item in items if isinstance(item, Item)] == [
        b'{"a":1}',
        b'{"b": 2}',
        b'{"c":3}',
        b'{"d":4}',
        b'{"place":"no"}',
    ]
    (problem,) = (item for item in items if isinstance(item, Problem))
    assert (problem.place, problem.content(), problem.is_json) == ("x, line 4", b"oops", False)
    assert items[1].record.is_event
    long = aside(record={"b": "x" * 65_500})
    assert len(long) > 65_535
    assert json.loads(read(long)[0].events[0]) == {"b": "x" * 65_500}


def filled(record, *ids, **options):
    (event,) = Filled(ids, **options).map(record, 0)
    return event


def test_ids_of_members():
    record = {"a": {"b": ["x", 7]}, "metadata": {"m~/": "y"}, "action": "read"}
    assert filled(record, "/a/b/1", "/metadata/m~0~1")["eventId"] == event_id("ndjson", 7, "y")
    assert filled(record, "/action", space="s", key=bytes(32))["eventId"] == event_id("s", "read", key=bytes(32))
    assert filled(record, "/action", "/none")["eventId"] == event_id("ndjson", "read", None)
    assert filled(record, "")["eventId"] == event_id("ndjson", record)
    for pointers in (["/none"], ["/a/b/2", "/a/b/x", "/action/x"]):
        with pytest.raises(SetAside, match="nothing to make the eventId of") as caught:
            filled(record, *pointers)
        assert caught.value.pointer == pointers[0]


def test_times_of_members():
    record = {"metadata": {"at": JsonText("1672833679695")}}
    assert filled(record, time=Time("/metadata/at", "ms"))["timestamp"] == "2023-01-04T12:01:19.695Z"
    with pytest.raises(SetAside, match="no time") as caught:
        filled(record, time=Time("/at"))
    assert caught.value.pointer == "/at"


def test_a_member_that_events_do_not_have_moves_to_the_metadata():
    record = {"id": 7, "at": "2026-11-20 10:00:00", "action": "read", "more": 1}
    event = filled(record, "/id", "/action", time=Time("/at", zone="UTC"))
    assert event == {
        "action": "read",
        "more": 1,
        "eventId": event_id("ndjson", 7, "read"),
        "timestamp": "2026-11-20T10:00:00Z",
        "metadata": {"id": 7, "at": "2026-11-20 10:00:00"},
    }
    assert filled({"id": 7, "metadata": {"a": 1}}, "/id")["metadata"] == {"a": 1, "id": 7}
    for metadata in ({"id": 8}, "none"):
        assert filled({"id": 7, "metadata": metadata}, "/id")["metadata"] == metadata


def test_what_is_no_object():
    with pytest.raises(SetAside, match="no JSON object"):
        filled([1], "/id")


def test_pointers_are_checked():
    with pytest.raises(ValueError, match="begins with '/'"):
        Filled(("id",))


def test_every_member_of_an_event_is_known():
    assert {"eventId", "relatedResources", "operation"} <= ndjson._EVENT_MEMBERS
