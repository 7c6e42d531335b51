"""Receipts: drafts chained to a state, and where each of them ends up."""

from __future__ import annotations

import hashlib

import pytest
from support import sample_events

from tlog.core.entry import parse_entry
from tlog.core.making.bucket_keys import BucketKeys
from tlog.core.making.parsing import parse_batch
from tlog.storage.rows import FoundEvent, Leaf, State
from tlog.writing.drafting import LOCAL, draft_events
from tlog.writing.receipts import Receipt, Receipts, chain_drafts, stored_receipt

NOW = 1_773_741_600_000_000  # 2026-03-17T10:00:00Z
START = State(7, hashlib.sha256(b"before").digest(), NOW)
DRAFTS = draft_events(parse_batch(sample_events(5)), BucketKeys(bytes(32)), LOCAL)


def test_each_hash_is_chained_to_the_one_before():
    rows = chain_drafts(START, DRAFTS, NOW + 5)
    chain = START.chain_hash
    for draft, leaf, chained in zip(DRAFTS, rows.leaf_hashes, rows.chain_hashes, strict=True):
        assert leaf == hashlib.sha256(b"\0" + draft.entry(rows.logged_at.encode())).digest()
        chain = hashlib.sha256(b"\2" + chain + leaf).digest()
        assert chained == chain
    assert rows.logged_at == "2026-03-17T10:00:00.000005Z"
    assert rows.end == State(12, chain, NOW + 5)


def test_a_clock_that_goes_back_does_not_take_logged_at_along():
    rows = chain_drafts(START, DRAFTS, NOW - 5)
    assert (rows.logged_at, rows.end.last_logged_at) == ("2026-03-17T10:00:00.000000Z", NOW)


def test_without_drafts_the_state_stays():
    rows = chain_drafts(START, [], NOW + 5)
    assert (rows.end, rows.leaf_hashes, rows.leaves, rows.entries) == (START, [], b"", [])


def test_receipts_of_a_request_begin_at_its_first_row():
    rows = chain_drafts(START, DRAFTS, NOW)
    receipts = Receipts.of_rows(DRAFTS[2:4], rows, first=2)
    assert (len(receipts), receipts.duplicates, receipts.last_index) == (2, 0, 10)
    assert [*receipts] == [
        Receipt(DRAFTS[at].event_id, 7 + at, rows.leaf_hashes[at], rows.chain_hashes[at], rows.logged_at)
        for at in (2, 3)
    ]
    assert receipts[-1] == receipts[1]
    assert receipts[::-1] == [receipts[1], receipts[0]]
    with pytest.raises(IndexError):
        receipts[2]


def test_receipts_that_were_made_one_by_one():
    rows = chain_drafts(START, DRAFTS, NOW)
    made = [*Receipts.of_rows(DRAFTS, rows)]
    again = Receipts.of([made[3]._replace(duplicate=True), made[1]])
    assert (len(again), again.duplicates, again.last_index) == (2, 1, 10)
    assert [receipt.index for receipt in again] == [10, 8]
    assert (len(Receipts.of([])), Receipts.of([]).last_index) == (0, -1)


def test_a_stored_row_has_the_receipt_that_its_event_got():
    rows = chain_drafts(START, DRAFTS, NOW)
    (receipt,) = Receipts.of_rows(DRAFTS[:1], rows)
    entry = DRAFTS[0].entry(rows.logged_at.encode())
    assert parse_entry(entry).loggedAt == rows.logged_at
    leaf = Leaf(7, DRAFTS[0].event_id, rows.leaf_hashes[0], rows.chain_hashes[0])
    assert stored_receipt(FoundEvent(leaf, entry)) == receipt
