"""Disclosures of a range: each group by itself, against its commitment and against the index key in its place."""

from __future__ import annotations

import json
from hashlib import sha256
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from support import rich_events

from tlog.checking import facts as module
from tlog.checking.absent import unpack_groups
from tlog.checking.facts import Before
from tlog.checking.ranges import RangeCheck
from tlog.checking.runs import Opened
from tlog.core.canonical import canonical
from tlog.core.chain import CHAIN_START, chain_hashes
from tlog.core.commitment import SALT_SIZE, commit, group_names
from tlog.core.making.bucket_keys import BucketKeys
from tlog.core.making.drafts import draft_entries, salt_size
from tlog.core.making.matching import EventFacts
from tlog.core.making.outcome import draft_outcome
from tlog.core.making.parsing import parse_batch
from tlog.core.merkle import leaf_hashes
from tlog.core.outcome import Lost, Stopped
from tlog.core.pseudonym import public_text
from tlog.core.strict import encode_base64url

KEYS = BucketKeys(b"".join(sha256(bytes([number])).digest() for number in range(16)))
LOGGED_AT = b"2026-03-17T10:00:00.000000Z"
PARSED = parse_batch(rich_events(8))
UNKNOWN = {"type": "unknown"}
UNASSIGNED = "\u0378"  # of no version of Unicode yet, and so of none of its tables


def draft(events):
    return draft_entries(events, KEYS, bytes(range(256)) * (salt_size(events) // 256 + 1), "local")


def entry_of(made):
    return made.entry(LOGGED_AT)


def row_of(index, made):
    return index, made.actor, made.resource, list(made.related) or None


def check(entries, rows, *, event_ids=None, keys=KEYS):
    """Return the facts of a range of these entries and disclosures, hashes as they have to be."""
    hashes = leaf_hashes(entries)
    chain = chain_hashes(CHAIN_START, hashes)
    ids = event_ids or [_event_id(entry) for entry in entries]
    checking = RangeCheck(0, Before(CHAIN_START), [], {}, sealed=0, bucket_keys=keys)
    leaves = [(n, *each) for n, each in enumerate(zip(ids, entries, hashes, chain, strict=True))]
    checking.take(Opened(leaves, rows, {}, set()))
    return checking.finish()


def _event_id(entry):
    event_id = json.loads(entry).get("eventId")
    return None if event_id is None else UUID(event_id).bytes


def checked(found):
    return {name: count for name, count in found.checked.items() if count and name not in ("entries", "events")}


def problems(found):
    return [(each.damage, each.place.start, each.what) for each in found.problems]


DRAFTS = draft(PARSED)
ENTRIES = [entry_of(each) for each in DRAFTS]
ROWS = [row_of(*each) for each in enumerate(DRAFTS)]
GROUPS = sum(2 + len(each.related) for each in DRAFTS)


def with_group(made, group, disclosure):
    """Return an entry and row that commit to another disclosure of one group: what a log could do that cheats."""
    old = dict(zip(group_names(len(made.related)), (made.actor, made.resource, *made.related), strict=True))[group]
    before, after = (encode_base64url(commit(each)) for each in (old, disclosure))
    row = tuple(disclosure if each is old else each for each in (made.actor, made.resource, *made.related))
    return entry_of(made).replace(before, after), (0, row[0], row[1], list(row[2:]) or None)


def test_the_places_of_facts_are_those_of_their_names():
    names = {name: getattr(module, name.upper(), place) for place, name in enumerate(EventFacts._fields)}
    assert list(names.values()) == list(range(len(EventFacts._fields)))
    assert sum(hasattr(module, name.upper()) for name in names) == 9


def test_whole_disclosures_raise_no_alarm():
    found = check(ENTRIES, ROWS)
    assert found.problems == []
    assert checked(found) == {"disclosures": GROUPS, "index keys": GROUPS}
    assert checked(check(ENTRIES, ROWS, keys=None)) == {"disclosures": GROUPS}


@given(st.lists(st.booleans(), min_size=GROUPS, max_size=GROUPS))
def test_what_is_absent_is_named_by_group_and_the_rest_is_checked(absent):
    left = iter(absent)
    rows, gone = [], []
    for row, made in zip(ROWS, DRAFTS, strict=True):
        given = [None if next(left) else each for each in (*row[1:3], *(row[3] or []))]
        rows.append((row[0], *given[:2], given[2:] or None))
        gone.append([group for group, each in zip(group_names(len(made.related)), given, strict=True) if each is None])
    whole = [n for n, groups in enumerate(gone) if len(groups) == 2 + len(DRAFTS[n].related)]
    found = check(ENTRIES, rows)
    assert problems(found) == [
        ("MISSING", n, f"{', '.join(groups)}: absent, and no outcome explains it")
        for n, groups in enumerate(gone)
        if groups and n not in whole
    ]
    assert [(row["index"], unpack_groups(int(row["groups"]))) for row in found.absent] == [(n, gone[n]) for n in whole]
    assert found.last_present == max({*range(len(rows))} - {*whole}, default=-1)
    kept, named = GROUPS - sum(absent), sum(len(groups) for n, groups in enumerate(gone) if n not in whole)
    expected = {"disclosures": kept, "index keys": kept, "missing": named}
    assert checked(found) == {name: count for name, count in expected.items() if count}


@pytest.mark.parametrize("related", [None, []])
def test_a_row_that_is_gone_takes_all_groups_along(related):
    for rows in ([], [(row[0], None, None, related) for row in ROWS]):
        found = check(ENTRIES, rows)
        assert (found.problems, checked(found)) == ([], {})
        assert [unpack_groups(int(row["groups"])) for row in found.absent] == [
            group_names(len(made.related)) for made in DRAFTS
        ]


def lost(start, end, n):
    return draft_outcome(Lost(start=start, end=end, n=n)).entry(LOGGED_AT)


def test_an_outcome_is_noted_with_what_is_before_it():
    entries = [*ENTRIES[:3], lost(1, 3, 2), ENTRIES[3], lost(9, 10, 1)]
    rows = [ROWS[0], (1, None, None, None), (2, None, None, None), (4, *ROWS[3][1:])]
    found = check(entries, rows)
    assert [(said.own, said.lost.start, said.last_event, said.last_present) for said in found.lost] == [
        (3, 1, 2, 0),
        (5, 9, 4, 4),
    ]
    assert (found.problems, found.unknown_entries, found.last_present) == ([], 0, 4)
    first = check([lost(0, 1, 1), ENTRIES[0]], [])
    assert [(said.last_event, said.last_present) for said in first.lost] == [(-1, -1)]
    assert first.last_present == -1


def test_an_outcome_of_an_unknown_kind_is_an_unknown_entry():
    entry = lost(0, 1, 1).replace(b'"kind":"lost"', b'"kind":"gone"')
    assert (check([entry], []).unknown_entries, check([entry], []).lost) == (1, [])
    stopped = draft_outcome(Stopped(instance="AAAAAAAAAAA")).entry(LOGGED_AT)
    assert (check([stopped], []).unknown_entries, check([stopped], []).lost) == (0, [])


ODD_ROWS = {
    "a related resource changed": ([b"x" * 20, *DRAFTS[0].related[1:]], "the related/0 disclosure does not match its commitment"),
    "two exchanged": (DRAFTS[0].related[::-1], "the related/0 disclosure does not match its commitment"),
    "one too short": ([DRAFTS[0].related[0][:8], *DRAFTS[0].related[1:]], "the related/0 disclosure does not match its commitment"),
    "one too few": (DRAFTS[0].related[:2], "the entry commits to 3 related resources, 2 are there"),
    "one too many": ([*DRAFTS[0].related, b"x" * 20], "the entry commits to 3 related resources, 4 are there"),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD_ROWS)
def test_related_resources_that_are_not_the_entrys_are_named(name):
    related, what = ODD_ROWS[name]
    found = check(ENTRIES, [(*ROWS[0][:3], list(related)), *ROWS[1:]])
    assert ("disclosure mismatch", 0, what) in problems(found)
    assert {place for _, place, _ in problems(found)} == {0}


def test_related_resources_of_an_event_without_any_are_named():
    found = check(ENTRIES, [ROWS[0], (*ROWS[1][:3], [b"x" * 20]), *ROWS[2:]])
    assert problems(found) == [("disclosure mismatch", 1, "the entry commits to 0 related resources, 1 are there")]


@pytest.mark.parametrize("group", ["actor", "resource", "related/0", "related/2"])
def test_one_wrong_group_does_not_hide_another(group):
    row = dict(zip(group_names(3), (*ROWS[0][1:3], *ROWS[0][3]), strict=True)) | {
        group: b"y" * 20,
        "related/1": b"z" * 20,
    }
    found = check(ENTRIES[:1], [(0, row["actor"], row["resource"], [row[f"related/{n}"] for n in range(3)])])
    assert {what for _, _, what in problems(found)} == {
        f"the {each} disclosure does not match its commitment" for each in (group, "related/1")
    }
    assert checked(found) == {"disclosures": 3, "index keys": 3}


# --- Keys that are not those of the data ---------------------------------------------------------------------------------


def moved(*places):
    """Return the entry with the keys at some places exchanged."""
    entry = json.loads(ENTRIES[0])
    first, second = places
    entry["keys"][first], entry["keys"][second] = entry["keys"][second], entry["keys"][first]
    return canonical(entry)


@pytest.mark.parametrize(
    "places, groups",
    [((0, 1), "actor, resource"), ((0, 5), "actor, related/0"), ((5, 6), "related/0, related/1"), ((6, 7), "related/1, related/2")],
)  # fmt: skip
def test_a_key_that_is_not_that_of_its_group_is_named(places, groups):
    """The hashes are right, and so are the commitments: only who has the bucket keys can tell."""
    found = check([moved(*places), *ENTRIES[1:]], ROWS)
    what = f"the index keys in the places of {groups} are not those of what is disclosed"
    assert problems(found) == [("index keys wrong", 0, what)]
    assert check([moved(*places), *ENTRIES[1:]], ROWS, keys=None).problems == []


def test_the_key_of_an_absent_group_is_not_compared():
    row = (0, ROWS[0][1], ROWS[0][2], [ROWS[0][3][0], None, None])
    missing = ("MISSING", 0, "related/1, related/2: absent, and no outcome explains it")
    assert problems(check([moved(6, 7), *ENTRIES[1:]], [row, *ROWS[1:]])) == [missing]
    assert len(problems(check([moved(5, 7), *ENTRIES[1:]], [row, *ROWS[1:]]))) == 2


@pytest.mark.parametrize("place", [2, 3, 4], ids=["action", "operation", "source"])
def test_a_public_key_that_is_not_that_of_its_member_makes_the_entry_malformed(place):
    entry = json.loads(ENTRIES[0])
    entry["keys"][place] = public_text("operation", "other")
    found = check([canonical(entry), *ENTRIES[1:]], ROWS)
    assert ("entry malformed", 0) in [each[:2] for each in problems(found)]
    assert found.damaged


@pytest.mark.parametrize(
    "change",
    [lambda keys: keys[:-1], lambda keys: [*keys, keys[0][::-1]], lambda keys: [*keys[:6], keys[5], *keys[7:]]],
    ids=["one missing", "one too many", "one twice"],
)
def test_keys_that_are_too_many_too_few_or_alike_make_the_entry_malformed(change):
    entry = json.loads(ENTRIES[0])
    entry["keys"] = change(entry["keys"])
    assert "entry malformed" in [damage for damage, _, _ in problems(check([canonical(entry), *ENTRIES[1:]], ROWS))]


def test_two_keys_that_begin_alike_are_named_wherever_they_stand():
    """Only the first 8 bytes are in the index: such an entry would be found twice, or not be told apart."""
    entry = json.loads(ENTRIES[0])
    for place in (1, 2, 5, 7):
        entry = json.loads(ENTRIES[0])
        key = entry["keys"][place]
        entry["keys"][6] = key[:11] + ("A" if key[11] != "A" else "B") + key[12:]
        found = check([ENTRIES[1], canonical(entry)], [])
        assert [each[:2] for each in problems(found)] == [("entry malformed", 1)]


# --- Bodies --------------------------------------------------------------------------------------------------------------


def salted(value):
    return bytes(SALT_SIZE) + (value if isinstance(value, bytes) else canonical(value))


BODIES = {
    "no JSON": ("actor", b"{", "the actor disclosure does not say who or what it is about"),
    "no object": ("actor", [], "the actor disclosure does not say who or what it is about"),
    "bytes that are no text": ("resource", b'{"resource":{"id":"\xff","type":"t"}}', "the resource disclosure does not say who or what it is about"),
    "an actor without name": ("actor", {"role": "nurse"}, "the actor disclosure does not say who or what it is about"),
    "an unknown actor with a name": ("actor", {"type": "unknown", "userId": "u"}, "the actor disclosure does not say who or what it is about"),
    "a resource without id": ("related/1", {"type": "t"}, "the related/1 disclosure does not say who or what it is about"),
}  # fmt: skip


@pytest.mark.parametrize("name", BODIES)
def test_bodies_that_name_nobody_are_mismatches(name):
    group, body, what = BODIES[name]
    entry, row = with_group(DRAFTS[0], group, salted(body))
    found = check([entry, *ENTRIES[1:]], [row, *ROWS[1:]])
    assert problems(found) == [("disclosure mismatch", 0, what)]


def test_a_resource_of_another_type_than_the_entry_says_is_a_mismatch():
    entry = json.loads(ENTRIES[0])
    entry["resourceType"] += "x"
    found = check([canonical(entry), *ENTRIES[1:]], ROWS)
    what = "the type of the resource that is disclosed is not the entry's resourceType"
    assert problems(found) == [("disclosure mismatch", 0, what)]


def unknown_actor():
    event = structs.replace(PARSED[0].event, actor=type(PARSED[0].event.actor)(type="unknown"))
    return draft([structs.replace(PARSED[0], event=event, actor_body=canonical(UNKNOWN))])[0]


def test_an_unknown_actor_has_the_key_of_the_empty_user_id():
    made = unknown_actor()
    assert json.loads(entry_of(made))["keys"][0] == KEYS.actor_text("")
    assert check([entry_of(made)], [row_of(0, made)]).problems == []
    other = json.loads(entry_of(made))
    other["keys"][0] = KEYS.actor_text("somebody")
    assert "index keys wrong" in [each.damage for each in check([canonical(other)], [row_of(0, made)]).problems]


@pytest.mark.parametrize("group", ["actor", "resource", "related/1"])
@pytest.mark.parametrize("name", ["é", UNASSIGNED])
def test_an_id_whose_normal_form_is_not_known_here_is_no_verdict(group, name):
    """A newer Unicode may compose what these tables do not know: the key cannot be judged, and everything else is."""
    body = {
        "actor": {"userId": name},
        "resource": {"resource": {"id": name, "type": "t"}},
        "related/1": {"id": name, "type": "t"},
    }
    entry, row = with_group(DRAFTS[0], group, salted(body[group]))
    found = check([entry, *ENTRIES[1:]], [row, *ROWS[1:]])
    judged = name != UNASSIGNED
    assert [each.damage for each in found.problems if "resourceType" not in each.what] == ["index keys wrong"] * judged
    assert found.unknown_ids == (not judged)
    assert checked(found) == {"disclosures": GROUPS, "index keys": GROUPS - (not judged)}


# --- Other entries -------------------------------------------------------------------------------------------------------


def other(kind="order", v=1, **members):
    """Return an entry of a type that this version does not know."""
    keys = [public_text("control", kind), KEYS.related_text("user", "u")]
    return canonical({"keys": keys, "loggedAt": LOGGED_AT.decode(), "type": kind, "v": v, **members})


def test_an_entry_of_an_unknown_type_has_postings_and_disclosures_like_any_other():
    given = {"actor": salted({"userId": "u"}), "related": [salted({"a": 1}), salted({"a": 2})]}
    commitments = {
        "actor": encode_base64url(commit(given["actor"])).decode(),
        "related": [encode_base64url(commit(each)).decode() for each in given["related"]],
    }
    entry = other(commitments=commitments)
    found = check(
        [ENTRIES[0], entry, ENTRIES[1]], [ROWS[0], (1, given["actor"], None, given["related"]), (2, *ROWS[1][1:])]
    )
    groups = 3 + 5 + 2
    assert (found.problems, found.unknown_entries) == ([], 1)
    assert checked(found) == {"disclosures": groups, "index keys": groups - 3}
    assert len(found.keys) == 8 + 2 + 5
    assert list(found.positions) == [0] * 8 + [1] * 2 + [2] * 5
    gone = check([entry], [])
    assert [(row["index"], unpack_groups(int(row["groups"]))) for row in gone.absent] == [
        (0, ["actor", "related/0", "related/1"])
    ]
    wrong = check([entry], [(0, given["actor"], salted({}), [given["related"][0], salted({})])])
    assert [what for _, _, what in problems(wrong)] == [
        "the entry commits to no resource, and one is there",
        "the related/1 disclosure does not match its commitment",
    ]
    assert checked(wrong) == {"disclosures": 2}


def test_an_entry_without_commitments_has_no_disclosures():
    for entry in (other(), canonical({"loggedAt": LOGGED_AT.decode(), "type": "heads", "v": 1})):
        assert check([entry], []).problems == []
        found = check([entry, ENTRIES[0]], [(0, b"x" * 20, b"y" * 20, None), (1, *ROWS[0][1:])])
        assert problems(found) == [("disclosure mismatch", 0, "a control entry has a disclosure")]


def test_only_events_have_event_ids_known_or_not():
    event_id = bytes(16)
    assert check([other("event", 2)], [], event_ids=[event_id]).problems == []
    found = check([other("order", 1)], [], event_ids=[event_id])
    assert problems(found) == [("column changed", 0, "a control entry has an event_id")]


def test_events_that_only_the_slow_way_takes_are_checked_alike():
    """A 29 February is more than an expression can tell."""
    events = [json.dumps({**json.loads(raw), "timestamp": "2024-02-29T10:00:00Z"}).encode() for raw in rich_events(8)]
    made = draft(parse_batch(events))
    entries, rows = [entry_of(each) for each in made], [row_of(*each) for each in enumerate(made)]
    found = check(entries, rows)
    assert (found.problems, checked(found)) == ([], {"disclosures": GROUPS, "index keys": GROUPS})
    assert list(found.positions) == list(check(ENTRIES, ROWS).positions)
    rows[4] = (*rows[4][:3], rows[4][3][::-1])
    assert {place for _, place, _ in problems(check(entries, rows))} == {4}
