"""Which requests may go the quick way, by their heads. What becomes of them is tested in tests/server/endpoints/test_single.py."""

from __future__ import annotations

import pytest

from tlog.core.event import MAX_EVENT_SIZE
from tlog.server.guard.quick import is_plain

TARGET = b"/v1/audit/events"
PLAIN = {b"host": b"log", b"authorization": b"Bearer x", b"content-length": b"300"}


@pytest.mark.parametrize(
    "more", [{}, {b"content-type": b"application/json"}, {b"content-length": b"%d" % MAX_EVENT_SIZE}]
)
def test_plain_ones_may(more):
    assert is_plain(TARGET, PLAIN | more)


@pytest.mark.parametrize(
    "more",
    [
        {b"content-type": b"application/x-ndjson"},
        {b"content-type": b"application/json; charset=utf-8"},
        {b"content-length": b"0"},
        {b"content-length": b"%d" % (MAX_EVENT_SIZE + 1)},
        {b"content-encoding": b"gzip"},
        {b"transfer-encoding": b"chunked"},
        {b"prefer": b"return=minimal"},
    ],
)
def test_others_may_not(more):
    assert not is_plain(TARGET, PLAIN | more)


@pytest.mark.parametrize("target", [b"/v1/audit/events?wait=sealed", b"/v1/audit/events/", b"/v1/audit/events/x", b"/"])
def test_other_targets_may_not(target):
    assert not is_plain(target, PLAIN)


def test_without_a_length_it_may_not():
    assert not is_plain(TARGET, {b"host": b"log"})
