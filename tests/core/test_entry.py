"""Entries: built in two halves, parsed back, and one byte string for one entry."""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st
from strategies import events, stored_actor

from tlog.core.commitment import check_disclosure
from tlog.core.entry import (
    EventEntry,
    IndexEntry,
    IndexKeysEntry,
    OtherEntry,
    format_logged_at,
    from_microseconds,
    parse_entry,
    parse_logged_at,
    to_microseconds,
)
from tlog.core.making.bucket_keys import BucketKeys
from tlog.core.making.drafts import (
    DraftEntry,
    draft_entries,
    draft_index,
    draft_index_keys,
    logged_at_of,
    logged_at_text,
    salt_size,
)
from tlog.core.making.matching import EventFacts, match_events, split_texts
from tlog.core.making.parsing import parse_batch
from tlog.core.pseudonym import actor_ident, public_key, related_ident, resource_ident
from tlog.errors import InvalidEventError, MalformedInputError

KEYS = BucketKeys(b"".join(hashlib.sha256(b"bucket %d" % bucket).digest() for bucket in range(16)))
SALTS = bytes(range(64))
ORIGIN = "example.com/entries"
LOGGED_AT = b"2026-11-24T05:12:00.123456Z"
EVENT = {
    "eventId": "0190F3C2-5F6E-7D3A-9B1C-2F4E6A8C0D1E",
    "timestamp": "2026-11-24T06:11:59.998+01:00",
    "actor": {"userId": "Dr. Jo Personal", "email": "jo@clinic.example"},
    "action": "read",
    "resource": {"type": "patient_record", "id": "p-Personal", "name": "Personal"},
    "details": {"reason": "Personal"},
    "metadata": {"a": "Personal"},
    "outcome": "failure",
    "source": {"id": "ehr-api-7", "seq": 1042},
    "operation": "GetObject",
    "relatedResources": [
        {"type": "patient", "id": "p-Personal", "name": "Personal", "role": "Personal"},
        {"type": "user", "id": "Dr. Jo Personal"},
    ],
}


def draft(event: dict[str, Any], keys: BucketKeys = KEYS) -> DraftEntry:
    (drafted,) = draft_entries(parse_batch([json.dumps(event).encode()]), keys, SALTS, "key-1")
    return drafted


def without(*names: str) -> dict[str, Any]:
    return {name: value for name, value in EVENT.items() if name not in names}


def b64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


DRAFT = draft(EVENT)
ENTRY = DRAFT.entry(LOGGED_AT)
SHORT_ENTRY = draft(without("outcome", "source", "details", "metadata", "operation", "relatedResources")).entry(
    LOGGED_AT
)
INDEX_ENTRY = draft_index([65536, 70000], bytes(range(32))).entry(LOGGED_AT)
INDEX_KEYS_ENTRY = draft_index_keys(KEYS.bits, KEYS.root(), ORIGIN).entry(LOGGED_AT)
FIELDS = json.loads(ENTRY)


def change(**members: object) -> bytes:
    """Return the canonical bytes of the entry with other members; `...` leaves one out."""
    return rfc8785.dumps({name: value for name, value in (FIELDS | members).items() if value is not ...})


# --- What an entry holds ----------------------------------------------------------------------------------------------


def test_an_event_entry():
    actor_key = KEYS.key(actor_ident("Dr. Jo Personal"))
    resource_key = KEYS.key(resource_ident("patient_record", "p-Personal"))
    related_keys = [
        KEYS.key(related_ident("patient", "p-Personal")),
        KEYS.key(related_ident("user", "Dr. Jo Personal")),
    ]
    public = [public_key("action", "read"), public_key("operation", "GetObject"), public_key("source", "ehr-api-7")]
    keys = [actor_key, resource_key, *public, *related_keys]
    bodies = {
        "actor": rfc8785.dumps(EVENT["actor"] | {"appendedBy": "key-1"}),
        "resource": rfc8785.dumps({name: EVENT[name] for name in ("resource", "details", "metadata")}),
        **{f"related/{place}": rfc8785.dumps(each) for place, each in enumerate(EVENT["relatedResources"])},
    }
    disclosures = {group: SALTS[16 * at : 16 * at + 16] + body for at, (group, body) in enumerate(bodies.items())}
    hashes = [b64url(hashlib.sha256(b"\x10" + each).digest()) for each in disclosures.values()]
    assert (
        rfc8785.dumps(
            {
                "action": "read",
                "commitments": {"actor": hashes[0], "related": hashes[2:], "resource": hashes[1]},
                "eventId": "0190f3c2-5f6e-7d3a-9b1c-2f4e6a8c0d1e",
                "keys": [b64url(key) for key in keys],
                "loggedAt": "2026-11-24T05:12:00.123456Z",
                "operation": "GetObject",
                "outcome": "failure",
                "resourceType": "patient_record",
                "source": {"id": "ehr-api-7", "seq": 1042},
                "timestamp": "2026-11-24T05:11:59.998Z",
                "type": "event",
                "v": 1,
            }
        )
        == ENTRY
    )
    assert [DRAFT.event_id, DRAFT.actor, DRAFT.resource, *DRAFT.related] == [FIELDS["eventId"], *disclosures.values()]
    entry = parse_entry(ENTRY)
    assert isinstance(entry, EventEntry)
    assert entry.index_keys() == keys
    assert entry.groups() == list(disclosures)
    assert [entry.key_of(group) for group in entry.groups()] == [actor_key, resource_key, *related_keys]
    assert entry.public_keys() == public
    for group, disclosure in disclosures.items():
        check_disclosure(entry.commitment(group), disclosure, group)
    for group in ("related/2", "related", "source"):
        with pytest.raises(MalformedInputError, match=f"does not commit to the group '{group}'"):
            entry.commitment(group)


@pytest.mark.parametrize(
    ("actor", "start"),
    [
        ({"userId": "u"}, b'{"appendedBy":"key-1","userId":"u"}'),
        ({"address": 'a"b', "userId": "u"}, b'{"address":"a\\"b","appendedBy":"key-1","userId":"u"}'),
        ({"type": "unknown"}, b'{"appendedBy":"key-1","type":"unknown"}'),
    ],
)
def test_the_log_says_through_whom_an_event_came_in(actor: dict[str, str], start: bytes):
    drafted = draft(EVENT | {"actor": actor})
    assert drafted.actor[16:] == start == rfc8785.dumps(json.loads(start))
    entry = parse_entry(drafted.entry(LOGGED_AT))
    assert entry.index_keys()[0] == KEYS.key(actor_ident(actor.get("userId", "")))


def test_who_appends_is_written_as_json():
    (drafted,) = draft_entries(parse_batch([json.dumps(EVENT).encode()]), KEYS, SALTS, 'a "stream"\n')
    assert json.loads(drafted.actor[16:])["appendedBy"] == 'a "stream"\n'


def test_each_disclosure_has_its_own_salt():
    both = parse_batch([json.dumps(EVENT).encode(), json.dumps(without("relatedResources")).encode()])
    assert salt_size(both) == 16 * (4 + 2)
    salts = bytes(range(96))
    drafted = draft_entries(both, KEYS, salts, "key-1")
    shown = [each[:16] for draft in drafted for each in (draft.actor, draft.resource, *draft.related)]
    assert sorted(shown) == [salts[start : start + 16] for start in range(0, 96, 16)]
    assert drafted[1].related == ()


@pytest.mark.parametrize("entry", [ENTRY, SHORT_ENTRY, INDEX_ENTRY, INDEX_KEYS_ENTRY])
def test_when_an_entry_was_logged_is_told_without_parsing_it(entry):
    assert logged_at_text(entry) == LOGGED_AT == parse_entry(entry).loggedAt.encode()
    assert logged_at_of(entry) == to_microseconds(parse_logged_at(LOGGED_AT.decode()))
    with pytest.raises(MalformedInputError, match="loggedAt is a UTC time"):
        logged_at_of(entry.replace(b'"loggedAt":"', b'"loggedBy":"'))
    with pytest.raises(MalformedInputError, match="loggedAt is a UTC time"):
        logged_at_of(entry.replace(LOGGED_AT, b"\xff" * 27))


def test_an_event_entry_without_optional_members():
    fields = json.loads(SHORT_ENTRY)
    assert sorted(FIELDS.keys() - fields.keys()) == ["operation", "source"]
    assert fields["commitments"].keys() == {"actor", "resource"}
    assert len(fields["keys"]) == 3
    assert fields["outcome"] == "unknown"
    entry = parse_entry(SHORT_ENTRY)
    assert isinstance(entry, EventEntry)
    assert entry.source is msgspec.UNSET
    assert (entry.groups(), entry.related_count()) == (["actor", "resource"], 0)


def test_an_event_entry_with_as_much_as_there_can_be():
    named = [{"type": "t", "id": f"n{number}"} for number in range(32)]
    drafted = draft_entries(
        parse_batch([json.dumps(EVENT | {"relatedResources": named}).encode()]), KEYS, bytes(16 * 34), "key-1"
    )
    entry = parse_entry(drafted[0].entry(LOGGED_AT))
    assert len(entry.index_keys()) == 37
    assert entry.groups()[-1] == "related/31"
    assert entry.key_of("related/31") == KEYS.key(related_ident("t", "n31"))


def test_an_entry_holds_nothing_personal():
    assert b"Personal" not in ENTRY
    assert b"clinic" not in ENTRY


def test_an_index_keys_entry():
    assert (
        rfc8785.dumps(
            {
                "bits": 4,
                "loggedAt": "2026-11-24T05:12:00.123456Z",
                "origin": ORIGIN,
                "root": b64url(KEYS.root()),
                "type": "index-keys",
                "v": 1,
            }
        )
        == INDEX_KEYS_ENTRY
    )
    entry = parse_entry(INDEX_KEYS_ENTRY)
    assert isinstance(entry, IndexKeysEntry)
    assert (entry.bits, entry.origin, entry.root_hash()) == (4, ORIGIN, KEYS.root())
    assert draft_index_keys(4, KEYS.root(), ORIGIN).event_id is None


def test_an_index_entry():
    members = {
        "ends": [65536, 70000],
        "loggedAt": "2026-11-24T05:12:00.123456Z",
        "size": 70000,
        "table": b64url(bytes(range(32))),
        "type": "index",
        "v": 1,
    }
    assert rfc8785.dumps(members) == INDEX_ENTRY
    entry = parse_entry(INDEX_ENTRY)
    assert isinstance(entry, IndexEntry)
    assert (entry.ends, entry.size, entry.table_hash()) == ([65536, 70000], 70000, bytes(range(32)))
    assert draft_index([1], bytes(32)).event_id is None


@given(events, st.binary(min_size=96, max_size=96), st.datetimes(timezones=st.just(UTC)))
def test_entries_round_trip(event: dict[str, Any], salts: bytes, moment: datetime):
    (parsed,) = parse_batch([json.dumps(event).encode()])
    (drafted,) = draft_entries([parsed], KEYS, salts, "key-1")
    data = drafted.entry(format_logged_at(moment))
    entry = parse_entry(data)
    assert isinstance(entry, EventEntry)
    assert rfc8785.dumps(msgspec.to_builtins(entry)) == data
    assert (entry.eventId, entry.timestamp) == (parsed.event_id, parsed.timestamp)
    assert parse_logged_at(entry.loggedAt) == moment
    assert drafted.actor == salts[:16] + rfc8785.dumps(stored_actor(event) | {"appendedBy": "key-1"})
    assert drafted.resource == salts[16:32] + parsed.resource_body
    named = event.get("relatedResources", [])
    assert list(drafted.related) == [
        salts[32 + 16 * place : 48 + 16 * place] + rfc8785.dumps(each) for place, each in enumerate(named)
    ]
    for group, disclosure in zip(entry.groups(), (drafted.actor, drafted.resource, *drafted.related), strict=True):
        check_disclosure(entry.commitment(group), disclosure, group)
    assert entry.index_keys() == [
        KEYS.key(actor_ident(event["actor"].get("userId", ""))),
        KEYS.key(resource_ident(event["resource"]["type"], event["resource"]["id"])),
        public_key("action", event["action"]),
        *([public_key("operation", event["operation"])] if "operation" in event else []),
        *([public_key("source", event["source"]["id"])] if "source" in event else []),
        *(KEYS.key(related_ident(each["type"], each["id"])) for each in named),
    ]


@given(events, st.datetimes(timezones=st.just(UTC)))
def test_the_quick_way_says_what_an_entry_says(event: dict[str, Any], moment: datetime):
    data = draft_entries(parse_batch([json.dumps(event).encode()]), KEYS, bytes(96), "key-1")[0].entry(
        format_logged_at(moment)
    )
    entry = parse_entry(data)
    (said,) = match_events([data])
    if said is None:
        assert "-02-29T" in entry.timestamp + entry.loggedAt or (entry.source and entry.source.seq >= 10**15)
        return
    facts = EventFacts(*said)
    members = msgspec.to_builtins(entry)
    related = members["commitments"].get("related", [])
    assert facts._replace(related=None, more_keys=b"") == EventFacts(
        action=members["action"].encode(),
        actor=members["commitments"]["actor"].encode(),
        related=None,
        resource=members["commitments"]["resource"].encode(),
        event_id=members["eventId"].encode(),
        keys='","'.join(members["keys"]).encode(),
        action_key=members["keys"][2].encode(),
        more_keys=b"",
        logged_at=members["loggedAt"].encode(),
        operation=members["operation"].encode() if "operation" in members else None,
        resource_type=members["resourceType"].encode(),
        source=members["source"]["id"].encode() if "source" in members else None,
    )
    assert [text.decode() for text in split_texts(facts.related)] == related
    assert [text.decode() for text in split_texts(facts.more_keys)] == members["keys"][3:]


@pytest.mark.parametrize("data", [ENTRY, SHORT_ENTRY], ids=["everything", "smallest"])
def test_the_quick_way_takes_ordinary_entries_and_nothing_that_is_refused(data: bytes):
    assert match_events([data]) != [None]
    for position in range(len(data)):
        for byte in {data[position] ^ 1, data[position] ^ 32, ord('"'), ord("0"), ord("_"), ord("Z"), ord("9")}:
            changed = data[:position] + bytes([byte]) + data[position + 1 :]
            if match_events([changed]) != [None]:
                parse_entry(changed)


def test_the_quick_way_leaves_days_that_need_a_calendar_and_keys_of_other_actions():
    data = ENTRY
    for old, new in (
        (b'"2026-', b'"0000-'),
        (b"-11-24T05", b"-02-29T05"),
        (b"-11-24T05", b"-11-31T05"),
        (b'{"action":"read"', b'{"action":"export"'),
        (b'"operation":"GetObject"', b'"operation":"GetObjects"'),
        (b'"operation":"GetObject",', b""),
        (b'"id":"ehr-api-7"', b'"id":"ehr-api-8"'),
        (f',"{FIELDS["keys"][-1]}"]'.encode(), b"]"),
        (f'{FIELDS["keys"][-1]}"]'.encode(), f'{FIELDS["keys"][-1]}","{KEY}"]'.encode()),
        (f',"{FIELDS["commitments"]["related"][-1]}"]'.encode(), b"]"),
    ):
        assert old in data
        assert match_events([data.replace(old, new), data]) == [None, match_events([data])[0]]
        if not old.startswith(b"-") and old != b'"2026-':
            with pytest.raises(MalformedInputError):
                parse_entry(data.replace(old, new))
    more = SHORT_ENTRY.replace(b'"],"loggedAt"', f'","{KEY}"],"loggedAt"'.encode())
    assert match_events([more]) == [None]


@given(st.integers(0, 24), st.binary(min_size=32, max_size=32))
def test_index_keys_entries_round_trip(bits: int, root: bytes):
    entry = parse_entry(draft_index_keys(bits, root, 'a "log"').entry(LOGGED_AT))
    assert isinstance(entry, IndexKeysEntry)
    assert (entry.bits, entry.origin, entry.root_hash()) == (bits, 'a "log"', root)


class Other(BucketKeys):
    """Bucket keys by which some texts have other index keys."""

    def __init__(self, **keys: bytes) -> None:
        super().__init__(KEYS.to_bytes())
        for kind, key in keys.items():
            setattr(self, f"{kind}_text", lambda *_, key=key: b64url(key))


@pytest.mark.parametrize(
    "keys",
    [
        {"actor": b"8 bytes." + b"actor...", "resource": b"8 bytes." + b"resource"},
        {"actor": public_key("action", "read")[:8] + bytes(8)},
        {"resource": public_key("action", "read")[:8] + bytes(8)},
    ],
)
@pytest.mark.parametrize("event", [EVENT, without("operation", "source", "relatedResources")], ids=["much", "little"])
def test_index_keys_that_begin_alike_are_refused(event: dict[str, Any], keys: dict[str, bytes]):
    """Honest ones do once in 2^64."""
    with pytest.raises(InvalidEventError, match="two index keys of this event begin alike") as refused:
        draft(event, Other(**keys))
    assert refused.value.pointer == "/resource/id"


@pytest.mark.parametrize(
    "key",
    [public_key("operation", "GetObject"), public_key("source", "ehr-api-7"), KEYS.key(actor_ident("Dr. Jo Personal"))],
)
def test_keys_of_related_resources_that_begin_alike_are_refused(key: bytes):
    with pytest.raises(InvalidEventError, match="two index keys of this event begin alike"):
        draft(EVENT | {"relatedResources": EVENT["relatedResources"][:1]}, Other(related=key[:8] + bytes(8)))


def test_index_keys_that_differ_in_the_last_bits_of_8_bytes_are_taken():
    """Their base64url texts share ten characters, 60 of the 64 bits that have to differ."""
    near = Other(actor=b"7 bytes\x10" + b"actor...", resource=b"7 bytes\x11" + b"resource")
    for event in (EVENT, without("operation", "source", "relatedResources")):
        entry = parse_entry(draft(event, near).entry(LOGGED_AT))
        assert [key[:8] for key in entry.index_keys()[:2]] == [b"7 bytes\x10", b"7 bytes\x11"]


# --- One byte string for one entry ------------------------------------------------------------------------------------


def is_canonical(entry: object, data: bytes) -> bool:
    """Tell whether data are the only bytes of an entry; one of an unknown type has members that are not kept."""
    value = json.loads(data) if isinstance(entry, OtherEntry) else msgspec.to_builtins(entry)
    return rfc8785.dumps(value) == data


@pytest.mark.parametrize("data", [ENTRY, SHORT_ENTRY, INDEX_KEYS_ENTRY], ids=["event", "short", "index-keys"])
def test_every_changed_byte_is_refused_or_another_entry(data: bytes):
    original = parse_entry(data)
    others = 0
    for at in range(len(data)):
        for flip in (1, 2, 3, 4, 8, 0x10, 0x20, 0x40, 0x80, 0xFF):
            changed = bytearray(data)
            changed[at] ^= flip
            try:
                entry = parse_entry(bytes(changed))
            except MalformedInputError:
                continue
            others += 1
            assert entry != original
            assert is_canonical(entry, bytes(changed))
    # Other hashes, times and identifiers are other entries; the test would be empty without them.
    assert others > 50


@pytest.mark.parametrize("data", [ENTRY, SHORT_ENTRY, INDEX_KEYS_ENTRY], ids=["event", "short", "index-keys"])
def test_every_shorter_or_longer_entry_is_refused(data: bytes):
    for at in range(len(data)):
        for wrong in (data[:at], data[:at] + data[at + 1 :], data[:at] + b" " + data[at:]):
            try:
                entry = parse_entry(wrong)
            except MalformedInputError:
                continue
            # A character more or less of a name or number is another entry, white space never is.
            assert is_canonical(entry, wrong)
            assert b" " not in wrong or " " in getattr(entry, "origin", "") + entry.type


@given(st.binary(max_size=100))
def test_any_bytes_parse_or_are_malformed(data: bytes):
    for wrong in (data, ENTRY + data, data + ENTRY, ENTRY[:100] + data + ENTRY[100:]):
        try:
            entry = parse_entry(wrong)
        except MalformedInputError:
            continue
        assert is_canonical(entry, wrong)


HASH = b64url(bytes(range(32)))
KEY = b64url(bytes(range(16)))
READ = b64url(public_key("action", "read"))
COMMITTED = FIELDS["commitments"]
SHORT = json.loads(SHORT_ENTRY)


def change_short(**members: object) -> bytes:
    """Return the canonical bytes of the short entry with other members."""
    return rfc8785.dumps(SHORT | members)


def renamed(kind: str, value: str, **members: object) -> bytes:
    """Return the bytes of an entry with another operation or source, and with its key."""
    keys = list(FIELDS["keys"])
    keys[{"operation": 3, "source": 4}[kind]] = b64url(public_key(kind, value))
    return change(keys=keys, **members)


def test_an_entry_with_another_operation_and_its_key():
    assert parse_entry(renamed("operation", "PutObject", operation="PutObject")).operation == "PutObject"
    assert parse_entry(renamed("source", "b", source={"id": "b", "seq": 1})).source.id == "b"


REFUSED = {
    "empty": b"",
    "null": b"null",
    "array": b"[" + ENTRY + b"]",
    "white space": json.dumps(FIELDS, sort_keys=True).encode(),
    "newline at the end": ENTRY + b"\n",
    "other order": json.dumps(dict(reversed(FIELDS.items())), separators=(",", ":")).encode(),
    "escape": ENTRY.replace(b"patient", b"p\\u0061tient"),
    "escaped slash": ENTRY.replace(b"ehr-api-7", b"ehr\\/api"),
    "duplicate member": ENTRY.replace(b'"action":"read"', b'"action":"read","action":"read"'),
    "duplicate member inside": ENTRY.replace(b'"seq":1042', b'"seq":1042,"seq":1042'),
    "byte order mark": b"\xef\xbb\xbf" + ENTRY,
    "UTF-16": ENTRY.decode().encode("utf-16"),
    "not UTF-8": ENTRY.replace(b"patient", b"p\xfftient"),
    "nested deep": b"[" * 60_000,
    "too long": change(source={"id": "x" * 65_535, "seq": 1}),
    **{f"without {name}": change(**{name: ...}) for name in FIELDS},
    **{f"{name} null": change(**{name: None}) for name in FIELDS},
    "unknown member": change(extra=1),
    "member of another kind": change(bits=4),
    "unknown member in commitments": change(commitments=FIELDS["commitments"] | {"details": HASH}),
    "unknown member in source": change(source=FIELDS["source"] | {"extra": 1}),
    "version that is true": ENTRY.replace(b'"v":1', b'"v":true'),
    "version as text": change(v="1"),
    "version as float": ENTRY.replace(b'"v":1', b'"v":1.0'),
    "unknown type": change(type="erasure"),
    "index-keys with event members": change(type="index-keys"),
    "unknown action": change(action="look"),
    "unknown outcome": change(outcome="ok"),
    "empty outcome": change(outcome=""),
    "upper case eventId": change(eventId=FIELDS["eventId"].upper()),
    "eventId that is no UUID": change(eventId="1"),
    "resourceType with a space": change(resourceType="patient record"),
    "resourceType with non-ASCII": change(resourceType="é"),
    "source with negative seq": change(source={"id": "a", "seq": -1}),
    "source with seq 2^53": ENTRY.replace(b'"seq":1042', b'"seq":9007199254740992'),
    "source with bad id": change(source={"id": "a b", "seq": 1}),
    "source without seq": change(source={"id": "a"}),
    "timestamp with offset": change(timestamp="2026-11-24T06:11:59.998+01:00"),
    "timestamp with offset zero": change(timestamp="2026-11-24T05:11:59.998+00:00"),
    "timestamp that does not exist": change(timestamp="2026-02-30T05:11:59.998Z"),
    "timestamp in hour 24": change(timestamp="2026-02-28T24:00:00Z"),
    "timestamp with 10 digits": change(timestamp="2026-11-24T05:11:59.9980000000Z"),
    "timestamp in small letters": change(timestamp="2026-11-24t05:11:59z"),
    "operation with a space": renamed("operation", "Get Object", operation="Get Object"),
    "empty operation": renamed("operation", "", operation=""),
    "source with a space": renamed("source", "a b", source={"id": "a b", "seq": 1}),
    "operation of another key": change(operation="PutObject"),
    "operation without its key": change_short(operation="GetObject"),
    "source of another key": change(source={"id": "ehr-api-8", "seq": 1042}),
    "source without its key": change_short(source={"id": "ehr-api-7", "seq": 1042}),
    "loggedAt without fraction": change(loggedAt="2026-11-24T05:12:00Z"),
    "loggedAt with 3 digits": change(loggedAt="2026-11-24T05:12:00.123Z"),
    "loggedAt with 7 digits": change(loggedAt="2026-11-24T05:12:00.1234567Z"),
    "loggedAt with offset": change(loggedAt="2026-11-24T05:12:00.123456+00:00"),
    "loggedAt that does not exist": change(loggedAt="2026-02-30T05:12:00.123456Z"),
    "loggedAt in hour 24": change(loggedAt="2026-02-28T24:00:00.000000Z"),
    "loggedAt in year 0": change(loggedAt="0000-02-28T00:00:00.000000Z"),
    "loggedAt as number": change(loggedAt=1),
    "commitment of 31 bytes": change(commitments=COMMITTED | {"actor": b64url(bytes(31))}),
    "commitment of 33 bytes": change(commitments=COMMITTED | {"resource": b64url(bytes(33))}),
    "related commitment of 31 bytes": change(commitments=COMMITTED | {"related": [HASH, b64url(bytes(31))]}),
    "empty commitment": change(commitments=COMMITTED | {"actor": ""}),
    "commitment with padding": change(commitments=COMMITTED | {"actor": HASH + "="}),
    "commitment with padding bits": change(commitments=COMMITTED | {"actor": HASH[:-1] + "9"}),
    "commitment as standard base64": change(commitments=COMMITTED | {"actor": HASH[:-2] + "/8"}),
    "commitment with non-ASCII": change(commitments=COMMITTED | {"actor": "é" + HASH[1:]}),
    "no commitment of the resource": change(commitments={"actor": HASH, "related": [HASH, HASH]}),
    "no commitment of the actor": change(commitments={"related": [HASH, HASH], "resource": HASH}),
    "no related commitments": change(commitments=COMMITTED | {"related": []}),
    "33 related commitments": change(commitments=COMMITTED | {"related": [HASH] * 33}),
    "a related commitment less": change(commitments=COMMITTED | {"related": [HASH]}),
    "a related commitment more": change(commitments=COMMITTED | {"related": [HASH] * 3}),
    "no keys": change(keys=[]),
    "two keys": change_short(keys=SHORT["keys"][1:]),
    "four keys": change_short(keys=[*SHORT["keys"], KEY]),
    "a key less": change(keys=FIELDS["keys"][:-1]),
    "a key more": change(keys=[*FIELDS["keys"], KEY]),
    "operation after source": change(
        keys=[*FIELDS["keys"][:3], FIELDS["keys"][4], FIELDS["keys"][3], *FIELDS["keys"][5:]]
    ),
    "key of 15 bytes": change_short(keys=[b64url(bytes(15)), KEY, READ]),
    "key of 17 bytes": change_short(keys=[b64url(bytes(17)), KEY, READ]),
    "key with padding": change(keys=[KEY + "==", *FIELDS["keys"][1:]]),
    "key with padding bits": change(keys=[KEY[:-1] + "x", *FIELDS["keys"][1:]]),
    "key that is a number": change(keys=[1, *FIELDS["keys"][1:]]),
    "key twice": change_short(keys=[KEY, KEY, READ]),
    "keys that begin alike": change_short(keys=[KEY, b64url(bytes(range(8)) + bytes(8)), READ]),
    "related keys that begin alike": change(keys=[*FIELDS["keys"][:-1], FIELDS["keys"][-2]]),
    "key of another action": change_short(keys=[*SHORT["keys"][:2], b64url(public_key("action", "delete"))]),
    "action of another key": change(action="delete"),
    "keys in another order": change(keys=FIELDS["keys"][::-1]),
    "index-keys with 25 bits": draft_index_keys(25, bytes(32), ORIGIN).entry(LOGGED_AT),
    "index-keys with -1 bits": draft_index_keys(-1, bytes(32), ORIGIN).entry(LOGGED_AT),
    "index-keys with root of 31 bytes": draft_index_keys(4, bytes(31), ORIGIN).entry(LOGGED_AT),
    "index-keys with root of 33 bytes": draft_index_keys(4, bytes(33), ORIGIN).entry(LOGGED_AT),
    "index-keys without loggedAt": draft_index_keys(4, bytes(32), ORIGIN).entry(b""),
    "index-keys with impossible loggedAt": draft_index_keys(4, bytes(32), ORIGIN).entry(b"2026-13-01T00:00:00.000000Z"),
    "index-keys with extra member": INDEX_KEYS_ENTRY.replace(b',"root"', b',"note":"x","root"'),
    "index-keys with white space": INDEX_KEYS_ENTRY.replace(b":4", b": 4"),
    "index without ends": INDEX_ENTRY.replace(b"[65536,70000]", b"[]"),
    "index with ends that fall": INDEX_ENTRY.replace(b"[65536,70000]", b"[70001,70000]"),
    "index with an end twice": INDEX_ENTRY.replace(b"[65536,70000]", b"[70000,70000]"),
    "index with an end of zero": INDEX_ENTRY.replace(b"[65536,", b"[0,"),
    "index with another size": INDEX_ENTRY.replace(b'"size":70000', b'"size":70001'),
    "index with a table of 31 bytes": draft_index([70000], bytes(31)).entry(LOGGED_AT),
    "index-keys without origin": INDEX_KEYS_ENTRY.replace(b'"origin":"example.com/entries",', b""),
    "index-keys with keys": INDEX_KEYS_ENTRY.replace(b'"loggedAt"', b'"keys":[],"loggedAt"'),
    "index-keys with a member after": INDEX_KEYS_ENTRY.replace(b'"v":1', b'"v":1,"w":1'),
    "index-keys with leading zero": INDEX_KEYS_ENTRY.replace(b":4", b":04"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_entries_of_another_form_are_refused(name: str):
    with pytest.raises(MalformedInputError):
        parse_entry(REFUSED[name])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (REFUSED["too long"], "an entry has at most 65535 bytes"),
        (REFUSED["white space"], "not in canonical form"),
        (REFUSED["unknown action"], "not an entry of this format"),
        (REFUSED["two keys"], "one index key for each thing"),
        (REFUSED["keys that begin alike"], "differ in their first 8 bytes"),
        (REFUSED["key of another action"], "not those of the entry's action, operation and source"),
        (REFUSED["no commitment of the actor"], "commits to an actor and a resource"),
        (REFUSED["33 related commitments"], "1 to 32 related resources"),
        (REFUSED["index-keys with a member after"], "not an entry of this format"),
        (REFUSED["upper case eventId"], "eventId is in lower case"),
        (REFUSED["timestamp with offset zero"], "timestamp in UTC"),
        (REFUSED["timestamp that does not exist"], "this date and time does not exist"),
        (REFUSED["loggedAt that does not exist"], "six fraction digits"),
        (REFUSED["commitment of 31 bytes"], "the actor commitment has 31 bytes, not 32"),
    ],
)
def test_refusals_name_the_rule(data: bytes, message: str):
    with pytest.raises(MalformedInputError, match=message):
        parse_entry(data)


MARKERS = ["Zq7 marker", "x' - at `$.Zq7`", ["Zq7"], {"Zq7": 1}]


def test_errors_never_repeat_a_value():
    for name in FIELDS:
        for marker in (*MARKERS, {"id": "Zq7", "seq": 1.5}, {"actor": "Zq7"}):
            with pytest.raises(MalformedInputError) as refused:
                parse_entry(change(**{name: marker}))
            assert "Zq7" not in str(refused.value) + refused.value.pointer


# --- Entries that this version does not know --------------------------------------------------------------------------

ORDER = {
    "about": [{"n": 1.5, "text": '"keys":["'}],
    "keys": [b64url(public_key("control", "order")), KEY],
    "loggedAt": LOGGED_AT.decode(),
    "type": "order",
    "v": 1,
}


def order(**members: object) -> bytes:
    return rfc8785.dumps({name: value for name, value in (ORDER | members).items() if value is not ...})


def test_an_entry_of_an_unknown_type():
    entry = parse_entry(order())
    assert isinstance(entry, OtherEntry)
    assert (entry.type, entry.v, entry.loggedAt) == ("order", 1, LOGGED_AT.decode())
    assert entry.index_keys() == [public_key("control", "order"), bytes(range(16))]
    assert entry.groups() == []
    with pytest.raises(MalformedInputError, match="does not commit to the group 'actor'"):
        entry.commitment("actor")


OTHERS = {
    "without keys": (order(keys=...), [], []),
    "with one key": (order(keys=ORDER["keys"][:1]), ORDER["keys"][:1], []),
    "with 40 keys": (
        order(keys=(many := [ORDER["keys"][0], *(b64url(bytes([n]) * 16) for n in range(39))])), many, [],
    ),
    "of another version": (order(v=2), ORDER["keys"], []),
    "with a group": (order(commitments={"resource": HASH}), ORDER["keys"], ["resource"]),
    "with all groups": (
        order(commitments={"actor": HASH, "related": [HASH] * 2, "resource": HASH}),
        ORDER["keys"],
        ["actor", "resource", "related/0", "related/1"],
    ),
    "an event of another version": (change(v=2), FIELDS["keys"], ["actor", "resource", "related/0", "related/1"]),
    "an index of another version": (INDEX_ENTRY.replace(b'"v":1', b'"v":2'), [], []),
    "with a member after v": (order(z={"x": [[]]}), ORDER["keys"], []),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_known_of_an_unknown_entry(name: str):
    data, keys, groups = OTHERS[name]
    entry = parse_entry(data)
    assert isinstance(entry, OtherEntry)
    assert (entry.keys, entry.groups()) == (keys, groups)
    assert [b64url(key) for key in entry.index_keys()] == keys
    assert match_events([data]) == [None]
    for group in groups:
        assert entry.commitment(group) == bytes(range(32))[: len(entry.commitment(group))] or name.startswith(
            "an event"
        )


REFUSED_OTHERS = {
    "white space": json.dumps(ORDER, sort_keys=True).encode(),
    "another order": json.dumps(dict(reversed(ORDER.items())), separators=(",", ":")).encode(),
    "a member twice": order().replace(b'"v":1', b'"v":1,"v":1'),
    "no object": rfc8785.dumps([ORDER]),
    "too deep": order(about=json.loads("[" * 32 + "]" * 32)),
    "a number in another form": order().replace(b"1.5", b"1.50"),
    "a lone surrogate": order().replace(b"text", b"\\ud800"),
    "no loggedAt": order(loggedAt=...),
    "no type": order(type=...),
    "no version": order(v=...),
    "a type that is a number": order(type=1),
    "a version that is true": order(v=True),
    "a version with a fraction": order(v=1.5),
    "loggedAt without a fraction": order(loggedAt="2026-11-24T05:12:00Z"),
    "loggedAt that does not exist": order(loggedAt="2026-02-30T05:12:00.123456Z"),
    "no keys": order(keys=[]),
    "41 keys": order(keys=[ORDER["keys"][0], *(b64url(bytes([n]) * 16) for n in range(40))]),
    "keys that are null": order(keys=None),
    "keys that are a text": order(keys=KEY),
    "a key that is a number": order(keys=[ORDER["keys"][0], 5]),
    "a key of 15 bytes": order(keys=[ORDER["keys"][0], b64url(bytes(15))]),
    "a key twice": order(keys=[ORDER["keys"][0], KEY, KEY]),
    "keys that begin alike": order(keys=[ORDER["keys"][0], KEY, b64url(bytes(range(8)) + bytes(8))]),
    "the key of another type": order(type="outcome"),
    "the key of its type not first": order(keys=ORDER["keys"][::-1]),
    "keys inside": order(about=[{"keys": []}]),
    "keys deep inside": order(about={"x": [[{"y": {"keys": 1}}]]}),
    "keys inside, without its own": order(about=[{"keys": []}], keys=...),
    "an event of another version with keys inside": change(v=2, source={"keys": []}),
    "commitments that are a list": order(commitments=[]),
    "a commitment of 31 bytes": order(commitments={"actor": b64url(bytes(31))}),
    "another group": order(commitments={"case": HASH}),
    "no related commitments": order(commitments={"related": []}),
    "known, with a member too many": change(zone="x"),
    "too long": order(about="x" * 65_535),
}


@pytest.mark.parametrize("name", REFUSED_OTHERS)
def test_unknown_entries_of_another_form_are_refused(name: str):
    with pytest.raises(MalformedInputError):
        parse_entry(REFUSED_OTHERS[name])


@given(st.integers(0, 400), st.sampled_from([1, 2, 4, 8, 16, 32, 64, 128]))
def test_a_changed_byte_of_an_unknown_entry_is_refused_or_another_entry(at: int, flip: int):
    data = bytearray(order(commitments={"actor": HASH}))
    data[at % len(data)] ^= flip
    try:
        parse_entry(bytes(data))
    except MalformedInputError:
        return
    assert rfc8785.dumps(json.loads(data)) == data


# --- Times ------------------------------------------------------------------------------------------------------------


@given(st.datetimes(timezones=st.just(UTC)))
def test_logged_at_round_trips(moment: datetime):
    text = format_logged_at(moment)
    assert len(text) == 27
    assert parse_logged_at(text.decode()) == moment
    assert from_microseconds(to_microseconds(moment)) == moment


@given(st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29)), st.integers(-24 * 60 + 1, 24 * 60 - 1))  # noqa: DTZ001 - Hypothesis takes naive bounds
def test_logged_at_is_in_utc(moment: datetime, minutes: int):
    there = moment.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    assert format_logged_at(there) == format_logged_at(there.astimezone(UTC))


@given(st.datetimes(timezones=st.just(UTC)), st.datetimes(timezones=st.just(UTC)))
def test_logged_at_sorts_like_time(first: datetime, second: datetime):
    assert (format_logged_at(first) < format_logged_at(second)) == (first < second)
    assert (to_microseconds(first) < to_microseconds(second)) == (first < second)


def test_known_times():
    moment = datetime(2026, 11, 24, 5, 12, 0, 123456, tzinfo=UTC)
    assert format_logged_at(moment) == LOGGED_AT
    assert format_logged_at(datetime(1, 1, 1, tzinfo=UTC)) == b"0001-01-01T00:00:00.000000Z"
    assert to_microseconds(datetime(1970, 1, 1, tzinfo=UTC)) == 0
    assert to_microseconds(moment) == 1_795_497_120_123_456


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-11-24T05:12:00Z",
        "2026-11-24T05:12:00.123Z",
        "2026-11-24T05:12:00.123456",
        "2026-11-24T05:12:00.123456+00:00",
        "2026-11-24 05:12:00.123456Z",
        "2026-11-24T05:12:00,123456Z",
        "2026-11-24T05:12:00.123456Z\n",
        "2026-11-24T24:00:00.000000Z",
        "2026-11-24T05:60:00.000000Z",
        "2026-11-24T05:12:60.000000Z",
        "2026-02-29T05:12:00.000000Z",
        "0000-01-01T00:00:00.000000Z",
        "\u0662026-11-24T05:12:00.12345Z",
    ],
)
def test_other_times_are_refused(text: str):
    with pytest.raises(MalformedInputError, match="loggedAt is a UTC time with six fraction digits"):
        parse_logged_at(text)
