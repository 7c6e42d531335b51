"""Intakes: marks and their root, what is drafted is read, and what no intake says (tests/vectors/entries.json has the defects)."""

from __future__ import annotations

import contextlib
import hashlib
import json
import struct

import pytest
import verify
from hypothesis import given
from hypothesis import strategies as st
from reference import tree_hash

from tlog.core.canonical import canonical
from tlog.core.entry import IntakeEntry, is_unknown, parse_entry
from tlog.core.intake import (
    Part,
    intake_keys,
    logged_mark,
    marks_root,
    parse_intake,
    raw_message,
    refused_digest,
    refused_mark,
    stream_name,
)
from tlog.core.making.intake import draft_intake
from tlog.core.merkle import EMPTY_ROOT
from tlog.core.pseudonym import public_key
from tlog.core.strict import encode_base64url
from tlog.errors import MalformedInputError

AT = b"2026-11-24T05:12:00.123456Z"
STREAM = "kafka:MkU3OEVBNTcwNTJENDM2Qk/audit-events/kMmA52xpQdqgxkoNCCjoTw"
EVENT_ID = bytes.fromhex("0190f3c25f6e7d3a9b1c2f4e6a8c0d1e")
PAGE = (
    b'{"format":"tlog","keys":["roLADTIyzJRQURY-KF4mDw","e9PkcQpkRpjx0RosMBtKrw"],"loggedAt":"2026-11-24T05:12:00.123456Z",'
    b'"partitions":[{"from":49500,"logged":1,"partition":3,"refused":1,"to":50000}],'
    b'"root":"1lsbqnSz5mt6h8cWx6iaN-GnPXBRPdvnGlctA_se7l8",'
    b'"stream":"kafka:MkU3OEVBNTcwNTJENDM2Qk/audit-events/kMmA52xpQdqgxkoNCCjoTw","type":"intake","v":1}'
)


def test_the_worked_example():
    refused = refused_mark(3, 49501, refused_digest(bytes(range(16)), raw_message(None, b"{not json", [])))
    marks = [refused, logged_mark(3, 49500, EVENT_ID)]
    assert encode_base64url(marks_root(marks)) == b"1lsbqnSz5mt6h8cWx6iaN-GnPXBRPdvnGlctA_se7l8"
    parts = [Part(start=49500, logged=1, partition=3, refused=1, end=50000)]
    assert draft_intake(STREAM, "tlog", parts, marks).entry(AT) == PAGE
    entry = parse_entry(PAGE)
    assert isinstance(entry, IntakeEntry)
    assert (entry.intake.stream, entry.intake.format, entry.intake.partitions) == (STREAM, "tlog", parts)
    assert entry.intake.root_hash() == marks_root(marks)
    assert entry.index_keys() == [public_key("control", "intake"), public_key("stream", STREAM)]
    assert not is_unknown(entry)


def test_marks_by_the_book():
    raw = raw_message(b"k", None, [(b"ce_id", b"1"), (b"", None)])
    assert raw == b"\0\0\0\1k" + b"\xff" * 4 + b"\0\2" + b"\0\5ce_id" + b"\0\0\0\x011" + b"\0\0" + b"\xff" * 4
    assert raw_message(b"", b"", []) == bytes(8) + bytes(2)
    digest = refused_digest(bytes(16), raw)
    assert digest == hashlib.sha256(b"\x11" + bytes(16) + raw).digest()
    assert refused_mark(2**31 - 1, 2**53 - 1, digest) == struct.pack(">IQ", 2**31 - 1, 2**53 - 1) + b"\1" + digest
    assert logged_mark(0, 7, EVENT_ID) == bytes(11) + b"\x07\x00" + EVENT_ID


@given(st.sets(st.tuples(st.integers(0, 3), st.integers(0, 2**53 - 1)), max_size=40), st.randoms())
def test_the_root_is_over_the_marks_by_partition_and_offset(places, random):
    marks = {place: logged_mark(*place, EVENT_ID) for place in places}
    shuffled = list(marks.values())
    random.shuffle(shuffled)
    assert marks_root(shuffled) == tree_hash([marks[place] for place in sorted(places)])


def test_no_mark_has_the_root_of_nothing():
    assert marks_root([]) == EMPTY_ROOT


def test_partitions_are_drafted_in_order():
    parts = [Part(start=0, logged=0, partition=number, refused=0, end=0) for number in (2, 0, 1)]
    entry = parse_entry(draft_intake(STREAM, "cloudevents", parts, []).entry(AT))
    assert isinstance(entry, IntakeEntry)
    assert [part.partition for part in entry.intake.partitions] == [0, 1, 2]
    assert all(part.opens() for part in entry.intake.partitions)


@pytest.mark.parametrize(
    "members, opens",
    [({}, True), ({"end": 6}, False), ({"released": True}, False), ({"end": 6, "lost": True}, False)],
)
def test_what_opens_a_partition(members, opens):
    assert Part(**{"start": 5, "logged": 0, "partition": 0, "refused": 0, "end": 5} | members).opens() == opens


@pytest.mark.parametrize("part", ["", "a b", "é", "a/b", "x" * 250])
def test_what_cannot_be_part_of_a_stream(part):
    cluster, topic, topic_id = STREAM.removeprefix("kafka:").split("/")
    assert stream_name(cluster, topic, topic_id) == STREAM
    for parts in ((part, topic, topic_id), (cluster, part, topic_id), (cluster, topic, part)):
        with pytest.raises(MalformedInputError, match="kafka:<cluster id>"):
            stream_name(*parts)


def test_errors_never_repeat_a_value():
    fields = json.loads(PAGE)
    for name in fields:
        for wrong in ("Zq7 marker", ["Zq7"], {"Zq7": 1}):
            with pytest.raises(MalformedInputError) as refused:
                parse_intake(fields | {name: wrong})
            assert "Zq7" not in str(refused.value)


def test_an_intake_of_another_version_is_an_entry_that_is_reported():
    assert is_unknown(parse_entry(canonical(json.loads(PAGE) | {"v": 2})))


@pytest.mark.parametrize("number, taken", [(500, True), (501, False)])
def test_how_many_partitions_there_can_be(number, taken):
    parts = [Part(start=7, logged=0, partition=partition, refused=0, end=7) for partition in range(number)]
    data = draft_intake(STREAM, "tlog", parts, []).entry(AT)
    with contextlib.nullcontext() if taken else pytest.raises(MalformedInputError, match="1 to 500 partitions"):
        parse_entry(data)
    with contextlib.nullcontext() if taken else pytest.raises(verify.MalformedError, match="1 to 500 partitions"):
        verify.parse_entry(data)


def test_the_keys_of_an_intake():
    assert intake_keys(STREAM) == ["roLADTIyzJRQURY-KF4mDw", "e9PkcQpkRpjx0RosMBtKrw"]
