"""Drafting: each valid event becomes a draft with fresh salts, and a batch with invalid ones names them."""

from __future__ import annotations

import json

import pytest
from support import sample_events

from tlog.core.commitment import SALT_SIZE
from tlog.core.entry import parse_entry
from tlog.core.making.bucket_keys import BucketKeys
from tlog.core.making.parsing import MAX_REPORTED, parse_batch
from tlog.errors import InvalidBatchError
from tlog.writing.drafting import LOCAL, draft_events

KEYS = BucketKeys(bytes(32))
LOGGED_AT = b"2026-03-17T10:00:00.000000Z"
QUICK = sample_events(3)
SLOW = [json.dumps(json.loads(raw), indent=1).encode() for raw in QUICK]  # no longer one line each


def draft(texts):
    """Drafts of a request's texts, by the one way that every event takes."""
    return draft_events(parse_batch(texts), KEYS, LOCAL)


def facts(draft):
    """What two drafts of one event have in common: everything but the salts and what depends on them."""
    entry = parse_entry(draft.entry(LOGGED_AT))
    clear = entry.action, entry.keys, entry.outcome, entry.resourceType, entry.timestamp, entry.eventId
    return draft.event_id, clear, draft.actor[SALT_SIZE:], draft.resource[SALT_SIZE:]


def test_quick_and_slow_parsing_make_the_same_drafts():
    drafts = draft(QUICK)
    assert [each.event_id for each in drafts] == [json.loads(raw)["eventId"] for raw in QUICK]
    assert [facts(each) for each in draft(SLOW)] == [facts(each) for each in drafts]
    mixed = [QUICK[0], SLOW[1], QUICK[2]]
    assert [facts(each) for each in draft(mixed)] == [facts(each) for each in drafts]


def test_no_two_disclosures_share_a_salt():
    drafts = draft(QUICK) + draft(QUICK)
    salts = [disclosure[:SALT_SIZE] for each in drafts for disclosure in (each.actor, each.resource)]
    assert len({*salts}) == 2 * len(drafts)


def test_no_events_are_no_drafts():
    assert draft([]) == []


def test_invalid_events_are_named_by_their_position():
    with pytest.raises(InvalidBatchError) as caught:
        draft([QUICK[0], b'{"action":"read"}', QUICK[1], b"no JSON"])
    assert caught.value.positions == [1, 3]
    assert [error.pointer for error in caught.value.found][1] == ""
    assert caught.value.pointer.startswith("/1")
    assert str(caught.value) == str(caught.value.found[0])


def test_only_the_first_twenty_are_named():
    with pytest.raises(InvalidBatchError) as caught:
        draft([b"{}"] * 25)
    assert caught.value.positions == list(range(MAX_REPORTED))
