"""Entry bundles: exactly the entries, nothing before, between or behind them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlog.core.bundle import MAX_ENTRY_SIZE, format_bundle, parse_bundle
from tlog.errors import MalformedInputError

ENTRIES = [b"", b"a", b"b" * 300]
BUNDLE = b"\x00\x00" + b"\x00\x01a" + b"\x01\x2c" + b"b" * 300


def test_lengths_are_big_endian():
    assert format_bundle(ENTRIES) == BUNDLE
    assert parse_bundle(BUNDLE, 3) == ENTRIES


def test_an_empty_bundle():
    assert format_bundle([]) == b""
    assert parse_bundle(b"", 0) == []


@given(st.lists(st.binary(max_size=400), max_size=256))
def test_bundles_round_trip(entries: list[bytes]):
    assert parse_bundle(format_bundle(entries), len(entries)) == entries


def test_the_longest_entry():
    longest = bytes(MAX_ENTRY_SIZE)
    assert parse_bundle(format_bundle([longest, b"x"]), 2) == [longest, b"x"]
    with pytest.raises(MalformedInputError, match="an entry of 65536 bytes is longer than 65535"):
        format_bundle([b"x", longest + b"\x00"])


@pytest.mark.parametrize("length", range(len(BUNDLE)))
def test_every_shorter_bundle_is_refused(length: int):
    with pytest.raises(MalformedInputError, match=r"ends inside entry [012] of 3"):
        parse_bundle(BUNDLE[:length], 3)


@pytest.mark.parametrize("extra", [b"\x00", b"\x00\x00", b"\x00\x01x", b"junk"])
def test_bytes_behind_the_last_entry_are_refused(extra: bytes):
    with pytest.raises(MalformedInputError, match=rf"has {len(extra)} bytes after its 3 entries"):
        parse_bundle(BUNDLE + extra, 3)


def test_a_length_beyond_the_end_is_refused():
    with pytest.raises(MalformedInputError, match="ends inside entry 0 of 1"):
        parse_bundle(b"\xff\xff" + bytes(65_534), 1)


@pytest.mark.parametrize(("width", "message"), [(2, "302 bytes after"), (4, "ends inside entry 3"), (0, "307 bytes")])
def test_another_width_is_refused(width: int, message: str):
    with pytest.raises(MalformedInputError, match=message):
        parse_bundle(BUNDLE, width)
