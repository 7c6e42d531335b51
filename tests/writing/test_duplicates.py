"""Duplicates: an event that is sent again is known by its eventId and content, not by its salts."""

from __future__ import annotations

import json

import pytest
from support import ORIGIN, sample_events

from tlog.core.making.bucket_keys import BucketKeys
from tlog.core.making.drafts import draft_index_keys
from tlog.core.making.parsing import parse_batch
from tlog.storage.rows import FoundEvent, Leaf
from tlog.writing.drafting import LOCAL, draft_events
from tlog.writing.duplicates import Sender, appended_by, same_content, sort_out, strangers

KEYS = BucketKeys(bytes(32))
LOGGED_AT = b"2026-03-17T10:00:00.000000Z"
RELATED = [{"type": "patient_record", "id": f"P-{number}", "role": "recipient"} for number in range(3)]
EVENT, OTHER = (json.loads(raw) for raw in sample_events(2))
EVENT |= {"operation": "GetRecord", "relatedResources": RELATED}
EVENT["actor"] |= {"address": "ward-3.example", "email": "who@example.com"}


def draft(appended_by=LOCAL, **members):
    """Return a draft of the event with new salts, and some members changed; those that are None are left out."""
    event = {name: value for name, value in {**EVENT, **members}.items() if value is not None}
    return draft_events(parse_batch([json.dumps(event).encode()]), KEYS, appended_by)[0]


def stored(made, **erased):
    """Return the row of a draft, some of its disclosures erased."""
    leaf = Leaf(1, made.event_id, bytes(32), bytes(32))
    return FoundEvent(leaf, made.entry(LOGGED_AT), made.actor, made.resource, made.related)._replace(**erased)


CHANGES = [
    {"action": "delete"},
    {"outcome": "unknown"},
    {"timestamp": "2026-03-17T00:00:00Z"},
    {"actor": {"userId": "somebody.else"}},
    {"actor": {**EVENT["actor"], "role": "other"}},
    {"resource": {"type": "patient_record", "id": "other"}},
    {"metadata": {"ward": "other"}},
    {"source": {"id": "other", "seq": 1}},
    {"operation": "getRecord"},
    {"operation": None},
    {"relatedResources": None},
    {"relatedResources": RELATED[:2]},
    {"relatedResources": [*RELATED, {"type": "patient_record", "id": "P-3"}]},
    {"relatedResources": RELATED[::-1]},
    {"relatedResources": [*RELATED[:2], {**RELATED[2], "role": "sender"}]},
]


def test_the_same_event_drafted_again():
    assert draft().actor != draft().actor, "salts are fresh"
    assert same_content(draft(), stored(draft()))


@pytest.mark.parametrize("address", [{}, {"address": "ward-3.example"}])
def test_through_whom_an_event_came_is_not_compared(address):
    """An event that was imported at the command line is not another one because a producer's key sends it again."""
    actor = {"userId": "somebody", **address}
    one, other = draft(actor=actor), draft(actor=actor, appended_by="key-7")
    assert one.actor != other.actor
    assert b'"appendedBy":"key-7"' in other.actor
    assert same_content(other, stored(one))
    assert sort_out([other], {}, {one.event_id: one}) == ([], None)


def test_a_damaged_actor_is_no_actor():
    """Whoever altered the table made a conflict of every repeat, and no traceback."""
    for damaged in (b"", bytes(16) + b"{", bytes(16) + b"[]", bytes(16) + b'{"a":"\xff"}'):
        assert not same_content(draft(), stored(draft(), actor=damaged))


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: " ".join(next(iter(change.items()))[:1]))
def test_every_member_counts(change):
    assert not same_content(draft(**change), stored(draft()))


@pytest.mark.parametrize(
    "erased, change, same",
    [
        ({"actor": None}, {"actor": {**EVENT["actor"], "role": "other"}}, True),
        # Who appended it is gone with the actor, so nothing is compared that is not public.
        ({"actor": None}, {"actor": {"userId": "somebody.else"}}, True),
        ({"actor": None}, {"metadata": {"ward": "other"}}, True),
        ({"actor": None}, {"resource": {"type": "patient_record", "id": "other"}}, True),
        ({"actor": None}, {"action": "delete"}, False),
        ({"actor": None}, {"source": {"id": "other", "seq": 1}}, False),
        ({"actor": None}, {"relatedResources": RELATED[:2]}, False),
        ({"resource": None}, {"metadata": {"ward": "other"}}, True),
        ({"resource": None}, {"actor": {**EVENT["actor"], "role": "other"}}, False),
        ({"related": [None] * 3}, {"relatedResources": [{**each, "role": "other"} for each in RELATED]}, True),
        ({"related": [None] * 3}, {"relatedResources": RELATED[:2]}, False),  # how many they are is left
        ({"related": ()}, {"relatedResources": [{**each, "role": "other"} for each in RELATED]}, True),
        ({"actor": None, "resource": None, "related": ()}, {"metadata": {"ward": "other"}}, True),
    ],
)
def test_what_is_erased_cannot_be_compared(erased, change, same):
    assert same_content(draft(**change), stored(draft(), **erased)) == same


def test_a_control_entry_is_no_event():
    made = draft_index_keys(KEYS.bits, KEYS.root(), ORIGIN)
    assert not same_content(draft(), stored(made))


def test_only_what_is_new_is_added():
    new, twice = draft(), draft()
    other = draft_events(parse_batch([json.dumps(OTHER).encode()]), KEYS, LOCAL)[0]
    control = draft_index_keys(KEYS.bits, KEYS.root(), ORIGIN)
    assert sort_out([new, twice, control, other], {}, {}) == ([new, control, other], None)
    assert sort_out([new, other], {other.event_id: stored(other)}, {}) == ([new], None)
    assert sort_out([new, other], {}, {new.event_id: draft()}) == ([other], None)


@pytest.mark.parametrize("where", ["in the log", "in the group", "in the request"])
def test_a_conflict_refuses_the_request_whole(where):
    other, changed = draft_events(parse_batch([json.dumps(OTHER).encode()]), KEYS, LOCAL)[0], draft(action="delete")
    known = {changed.event_id: stored(draft())} if where == "in the log" else {}
    fresh = {changed.event_id: draft()} if where == "in the group" else {}
    request = [draft(), changed] if where == "in the request" else [other, changed]
    added, conflict = sort_out(request, known, fresh)
    assert added == []
    assert (conflict.event_id, conflict.pointer) == (EVENT["eventId"], "/1/eventId")


@pytest.mark.parametrize("changed, same", [(0, True), (1, False), (2, False)])
def test_of_related_resources_only_the_erased_one_is_not_compared(changed, same):
    related = [{**each, "role": "other"} if number == changed else each for number, each in enumerate(RELATED)]
    made = draft()
    assert same_content(draft(relatedResources=related), stored(made, related=[None, *made.related[1:]])) == same


def test_all_conflicts_of_a_request_are_named():
    first, second, third = (json.loads(raw) for raw in sample_events(3, seed=5))
    texts = [json.dumps(each).encode() for each in (first, second, third)]
    drafts = draft_events(parse_batch(texts), KEYS, LOCAL)
    changed = [
        draft_events(parse_batch([json.dumps({**each, "metadata": {"ward": "other"}}).encode()]), KEYS, LOCAL)[0]
        for each in (first, second, third)
    ]
    known, fresh = {drafts[0].event_id: stored(drafts[0])}, {drafts[1].event_id: drafts[1]}
    request = [changed[0], drafts[2], changed[2], changed[1], drafts[0], drafts[2]]
    added, error = sort_out(request, known, fresh)
    assert added == []
    assert [(each.event_id, each.pointer, each.within) for each in error.conflicts] == [
        (first["eventId"], "/0/eventId", False),
        (third["eventId"], "/2/eventId", True),
        (second["eventId"], "/3/eventId", False),
    ]
    assert "is already logged" in str(error)
    assert "stands twice in this request" in error.conflicts[1].rule()


# --- S4 and S6: who may learn that an event is known -------------------------------------------------------------------

OWN, OTHERS = "1" * 24, "2" * 24
PRINCIPALS = {OWN: "service:a", OTHERS: "service:a", "3" * 24: "service:b"}
SENDERS = {
    "the key itself": (Sender(OWN, "service:a"), True),
    "another key of the principal": (Sender(OTHERS, "service:a"), True),
    "a key of somebody else": (Sender("3" * 24, "service:b"), False),
    "a key of nobody": (Sender("4" * 24, None), False),
    "a key that reads": (Sender("3" * 24, "service:b", reads=True), True),
    "the command line": (Sender(""), False),
}


@pytest.mark.parametrize("where", ["in the log", "in the group"])
@pytest.mark.parametrize("case", SENDERS)
def test_s4_only_who_may_know_learns_whether_a_guess_is_right(case, where):
    sender, told = SENDERS[case]
    first = draft(appended_by=OWN)
    known = {first.event_id: stored(first)} if where == "in the log" else {}
    fresh = {first.event_id: first} if where == "in the group" else {}

    def answer(guess):
        added, conflict = sort_out([guess], known, fresh, sender, PRINCIPALS)
        assert added == []
        return conflict and conflict.conflicts[0]

    right, wrong = answer(draft(appended_by=sender.appended_by)), answer(draft(actor={"userId": "a guess"}))
    assert (right is None) == told
    assert wrong is not None
    if told:
        assert wrong.first == (OWN if "reads" in case else None)
    else:
        assert right == wrong, "one answer for both"
        assert wrong.first == OWN


def test_s4_after_erasure_everybody_gets_the_first_receipt_of_what_looks_the_same():
    first = draft(appended_by=OWN)
    known = {first.event_id: stored(first, actor=None, resource=None, related=())}
    for sender, _ in SENDERS.values():
        for guess in (
            draft(),
            draft(actor={"userId": "a guess"}),
            draft(resource={"type": "patient_record", "id": "x"}),
        ):
            assert sort_out([guess], known, {}, sender, PRINCIPALS) == ([], None)
        _, conflict = sort_out([draft(outcome="unknown")], known, {}, sender, PRINCIPALS)
        assert conflict.conflicts[0].first is None, "nobody knows"


def test_s6_who_else_appended_is_asked_for():
    first, own = draft(appended_by=OTHERS), draft(appended_by=OWN)
    assert strangers(Sender(OWN, "service:a"), [own], {first.event_id: stored(first)}) == {OTHERS}
    assert strangers(Sender(OTHERS, "service:a"), [own], {first.event_id: stored(first)}) == set()
    assert strangers(Sender(OWN, "service:a"), [own], {first.event_id: stored(first, actor=None)}) == set()
    assert strangers(Sender(OWN, "service:a"), [own], {}) == set()


@pytest.mark.parametrize(
    "damaged", [None, b"", bytes(16) + b"{", bytes(16) + b'{"appendedBy":1}', bytes(16) + b'{"a":"\xff"}']
)
def test_a_damaged_actor_says_of_nobody_that_he_appended(damaged):
    assert appended_by(damaged) is None
