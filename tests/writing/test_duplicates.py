"""Duplicates: an event that is sent again is known by its eventId and content, not by its salts."""

from __future__ import annotations

import json

import pytest
from support import sample_events

from tlog.core.making.bucket_keys import BucketKeys
from tlog.core.making.drafts import draft_index_keys
from tlog.core.making.parsing import parse_batch
from tlog.storage.rows import FoundEvent, Leaf
from tlog.writing.drafting import draft_events
from tlog.writing.duplicates import same_content, sort_out

KEYS = BucketKeys(bytes(32))
LOGGED_AT = b"2026-03-17T10:00:00.000000Z"
EVENT, OTHER = (json.loads(raw) for raw in sample_events(2))


def draft(**members):
    """Return a draft of the event with new salts, and some members changed."""
    return draft_events(parse_batch([json.dumps({**EVENT, **members}).encode()]), KEYS)[0]


def stored(made, **erased):
    """Return the row of a draft, some of its disclosures erased."""
    leaf = Leaf(1, made.event_id, made.entry(LOGGED_AT), bytes(32), bytes(32))
    return FoundEvent(leaf, made.actor, made.resource)._replace(**erased)


CHANGES = [
    {"action": "delete"},
    {"outcome": "unknown"},
    {"timestamp": "2026-03-17T00:00:00Z"},
    {"actor": {"userId": "somebody.else"}},
    {"actor": {**EVENT["actor"], "role": "other"}},
    {"resource": {"type": "patient_record", "id": "other"}},
    {"metadata": {"ward": "other"}},
    {"source": {"id": "other", "seq": 1}},
]


def test_the_same_event_drafted_again():
    assert draft().actor != draft().actor, "salts are fresh"
    assert same_content(draft(), stored(draft()))


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: " ".join(next(iter(change.items()))[:1]))
def test_every_member_counts(change):
    assert not same_content(draft(**change), stored(draft()))


@pytest.mark.parametrize(
    "erased, change, same",
    [
        ({"actor": None}, {"actor": {**EVENT["actor"], "role": "other"}}, True),
        ({"actor": None}, {"actor": {"userId": "somebody.else"}}, False),  # the key of the actor is left
        ({"actor": None}, {"metadata": {"ward": "other"}}, False),
        ({"resource": None}, {"metadata": {"ward": "other"}}, True),
        ({"resource": None}, {"actor": {**EVENT["actor"], "role": "other"}}, False),
    ],
)
def test_what_is_erased_cannot_be_compared(erased, change, same):
    assert same_content(draft(**change), stored(draft(), **erased)) == same


def test_a_control_entry_is_no_event():
    made = draft_index_keys(KEYS.bits, KEYS.root())
    assert not same_content(draft(), stored(made))


def test_only_what_is_new_is_added():
    new, twice = draft(), draft()
    other = draft_events(parse_batch([json.dumps(OTHER).encode()]), KEYS)[0]
    control = draft_index_keys(KEYS.bits, KEYS.root())
    assert sort_out([new, twice, control, other], {}, {}) == ([new, control, other], None)
    assert sort_out([new, other], {other.event_id: stored(other)}, {}) == ([new], None)
    assert sort_out([new, other], {}, {new.event_id: draft()}) == ([other], None)


@pytest.mark.parametrize("where", ["in the log", "in the group", "in the request"])
def test_a_conflict_refuses_the_request_whole(where):
    other, changed = draft_events(parse_batch([json.dumps(OTHER).encode()]), KEYS)[0], draft(action="delete")
    known = {changed.event_id: stored(draft())} if where == "in the log" else {}
    fresh = {changed.event_id: draft()} if where == "in the group" else {}
    request = [draft(), changed] if where == "in the request" else [other, changed]
    added, conflict = sort_out(request, known, fresh)
    assert added == []
    assert (conflict.event_id, conflict.pointer) == (EVENT["eventId"], "/1/eventId")
