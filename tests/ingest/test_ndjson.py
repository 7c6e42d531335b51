"""NDJSON files become items: a place for the error message, and one line."""

from __future__ import annotations

import gzip
import io

import pytest

from tlog.errors import MalformedInputError
from tlog.ingest.importing import Item
from tlog.ingest.ndjson import MAX_LINE, read_ndjson

LINES = b"{}\n\n \t\n{ }\r\n\r\n{  }"
ITEMS = [Item("x, line 1", b"{}"), Item("x, line 4", b"{ }"), Item("x, line 6", b"{  }")]


def test_each_line_that_is_not_blank_is_an_item_with_its_place():
    assert list(read_ndjson(io.BytesIO(LINES), "x")) == ITEMS


def test_compressed_files_are_the_same():
    items = read_ndjson(io.BytesIO(gzip.compress(LINES)), "x.gz")
    assert [item.raw for item in items] == [item.raw for item in ITEMS]


def test_a_line_longer_than_an_event_is_refused():
    longest = b"x" * MAX_LINE
    assert [item.raw for item in read_ndjson(io.BytesIO(longest + b"\r\n"), "x")] == [longest]
    with pytest.raises(MalformedInputError, match="x, line 2: longer than the 65535 bytes"):
        list(read_ndjson(io.BytesIO(b"{}\n" + longest + b"x\n"), "x"))


def test_damaged_data_are_refused():
    with pytest.raises(MalformedInputError, match=r"x\.gz, after line 5: the gzip data is damaged"):
        list(read_ndjson(io.BytesIO(gzip.compress(LINES)[:-9]), "x.gz"))
