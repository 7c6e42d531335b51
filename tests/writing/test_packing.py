"""Packing: the same runs in pieces or whole, in a thread or not."""

from __future__ import annotations

import asyncio
import hashlib

import pytest
from support import rich_events

from tlog.core.making.bucket_keys import BucketKeys
from tlog.core.making.parsing import parse_batch
from tlog.storage.rows import NO_RUNS, State
from tlog.writing.drafting import LOCAL, draft_events
from tlog.writing.packing import pack, pack_group
from tlog.writing.receipts import chain_drafts

pytestmark = pytest.mark.anyio

NOW = 1_773_741_600_000_000
START = State(7, hashlib.sha256(b"before").digest(), NOW)
DRAFTS = draft_events(parse_batch(rich_events(40)), BucketKeys(bytes(32)), LOCAL)


def pieces(*sizes):
    state, rows, at = START, [], 0
    for size in sizes:
        rows.append(chain_drafts(state, DRAFTS[at : at + size], NOW))
        state, at = rows[-1].end, at + size
    return rows


def test_nothing_is_packed_to_nothing():
    assert pack([]) == pack(pieces(0)) == NO_RUNS


@pytest.mark.parametrize("sizes", [(40,), (1,) * 40, (8, 32), (3, 0, 37), (39, 1)])
def test_runs_do_not_depend_on_the_pieces(sizes):
    packed = pack(pieces(*sizes))
    assert (packed, list(packed.counts), packed.parts) == (pack(pieces(40)), [8] * 5, 10)


async def test_many_are_packed_in_a_thread(monkeypatch):
    """So that the loop answers others meanwhile; the same comes of it."""
    called = []

    async def to_thread(work, rows):
        called.append(len(rows))
        return await asyncio.get_running_loop().run_in_executor(None, work, rows)

    monkeypatch.setattr("tlog.writing.packing.asyncio.to_thread", to_thread)
    rows = pieces(20, 20)
    assert await pack_group(rows) == pack(rows)
    assert called == []
    monkeypatch.setattr("tlog.writing.packing._IN_A_THREAD", 40)
    assert await pack_group(rows) == pack(rows)
    assert called == [2]
