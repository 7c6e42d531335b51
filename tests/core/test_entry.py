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
from strategies import events

from tlog.core.commitment import check_disclosure
from tlog.core.entry import (
    EventEntry,
    IndexEntry,
    IndexKeysEntry,
    format_logged_at,
    from_microseconds,
    parse_entry,
    parse_logged_at,
    to_microseconds,
)
from tlog.core.making.bucket_keys import BucketKeys
from tlog.core.making.drafts import DraftEntry, draft_entries, draft_index, draft_index_keys
from tlog.core.making.matching import EventFacts, match_events
from tlog.core.making.parsing import parse_batch
from tlog.core.pseudonym import action_key, actor_ident, resource_ident
from tlog.errors import InvalidEventError, MalformedInputError

KEYS = BucketKeys(b"".join(hashlib.sha256(b"bucket %d" % bucket).digest() for bucket in range(16)))
SALTS = bytes(range(32))
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
}


def draft(event: dict[str, Any]) -> DraftEntry:
    return draft_entries(parse_batch([json.dumps(event).encode()]), KEYS, SALTS)[0]


def without(*names: str) -> dict[str, Any]:
    return {name: value for name, value in EVENT.items() if name not in names}


def b64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


DRAFT = draft(EVENT)
ENTRY = DRAFT.entry(LOGGED_AT)
SHORT_ENTRY = draft(without("outcome", "source", "details", "metadata")).entry(LOGGED_AT)
INDEX_ENTRY = draft_index([65536, 70000], bytes(range(32))).entry(LOGGED_AT)
INDEX_KEYS_ENTRY = draft_index_keys(KEYS.bits, KEYS.root()).entry(LOGGED_AT)
FIELDS = json.loads(ENTRY)


def change(**members: object) -> bytes:
    """Return the canonical bytes of the entry with other members; `...` leaves one out."""
    return rfc8785.dumps({name: value for name, value in (FIELDS | members).items() if value is not ...})


# --- What an entry holds ----------------------------------------------------------------------------------------------


def test_an_event_entry():
    actor_key = KEYS.key(actor_ident("Dr. Jo Personal"))
    resource_key = KEYS.key(resource_ident("patient_record", "p-Personal"))
    actor = SALTS[:16] + rfc8785.dumps(EVENT["actor"])
    group = {name: EVENT[name] for name in ("resource", "details", "metadata")}
    resource = SALTS[16:] + rfc8785.dumps(group)
    assert (
        rfc8785.dumps(
            {
                "action": "read",
                "commitments": {
                    "actor": b64url(hashlib.sha256(b"\x10" + actor).digest()),
                    "resource": b64url(hashlib.sha256(b"\x10" + resource).digest()),
                },
                "eventId": "0190f3c2-5f6e-7d3a-9b1c-2f4e6a8c0d1e",
                "keys": [b64url(key) for key in (actor_key, resource_key, action_key("read"))],
                "loggedAt": "2026-11-24T05:12:00.123456Z",
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
    assert (DRAFT.event_id, DRAFT.actor, DRAFT.resource) == (FIELDS["eventId"], actor, resource)
    entry = parse_entry(ENTRY)
    assert isinstance(entry, EventEntry)
    assert entry.index_keys() == [actor_key, resource_key, action_key("read")]
    check_disclosure(entry.commitment("actor"), DRAFT.actor, "actor")
    check_disclosure(entry.commitment("resource"), DRAFT.resource, "resource")


def test_an_event_entry_without_optional_members():
    fields = json.loads(SHORT_ENTRY)
    assert sorted(FIELDS.keys() - fields.keys()) == ["source"]
    assert fields["outcome"] == "unknown"
    entry = parse_entry(SHORT_ENTRY)
    assert isinstance(entry, EventEntry)
    assert entry.source is msgspec.UNSET


def test_an_entry_holds_nothing_personal():
    assert b"Personal" not in ENTRY
    assert b"clinic" not in ENTRY


def test_an_index_keys_entry():
    assert (
        rfc8785.dumps(
            {
                "bits": 4,
                "loggedAt": "2026-11-24T05:12:00.123456Z",
                "root": b64url(KEYS.root()),
                "type": "index-keys",
                "v": 1,
            }
        )
        == INDEX_KEYS_ENTRY
    )
    entry = parse_entry(INDEX_KEYS_ENTRY)
    assert isinstance(entry, IndexKeysEntry)
    assert (entry.bits, entry.root_hash()) == (4, KEYS.root())
    assert draft_index_keys(4, KEYS.root()).event_id is None


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


@given(events, st.binary(min_size=32, max_size=32), st.datetimes(timezones=st.just(UTC)))
def test_entries_round_trip(event: dict[str, Any], salts: bytes, moment: datetime):
    (parsed,) = parse_batch([json.dumps(event).encode()])
    (drafted,) = draft_entries([parsed], KEYS, salts)
    data = drafted.entry(format_logged_at(moment))
    entry = parse_entry(data)
    assert isinstance(entry, EventEntry)
    assert rfc8785.dumps(msgspec.to_builtins(entry)) == data
    assert (entry.eventId, entry.timestamp) == (parsed.event_id, parsed.timestamp)
    assert parse_logged_at(entry.loggedAt) == moment
    assert drafted.actor == salts[:16] + parsed.actor_body
    assert drafted.resource == salts[16:] + parsed.resource_body
    check_disclosure(entry.commitment("actor"), drafted.actor, "actor")
    check_disclosure(entry.commitment("resource"), drafted.resource, "resource")
    assert entry.index_keys() == [
        KEYS.key(actor_ident(event["actor"]["userId"])),
        KEYS.key(resource_ident(event["resource"]["type"], event["resource"]["id"])),
        action_key(event["action"]),
    ]


@given(events, st.binary(min_size=32, max_size=32), st.datetimes(timezones=st.just(UTC)))
def test_the_quick_way_says_what_an_entry_says(event: dict[str, Any], salts: bytes, moment: datetime):
    data = draft_entries(parse_batch([json.dumps(event).encode()]), KEYS, salts)[0].entry(format_logged_at(moment))
    entry = parse_entry(data)
    (said,) = match_events([data])
    assert said is None or EventFacts(*said) == (
        entry.action.encode(), entry.commitments.actor.encode(), entry.commitments.resource.encode(), entry.eventId.encode(),
        '","'.join(entry.keys).encode(), '","'.join(entry.keys[:2]).encode(), entry.keys[2].encode(), entry.loggedAt.encode(),
        entry.resourceType.encode(),
    )  # fmt: skip


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
    ):
        assert old in data
        assert match_events([data.replace(old, new), data]) == [None, match_events([data])[0]]


@given(st.integers(0, 24), st.binary(min_size=32, max_size=32))
def test_index_keys_entries_round_trip(bits: int, root: bytes):
    entry = parse_entry(draft_index_keys(bits, root).entry(LOGGED_AT))
    assert isinstance(entry, IndexKeysEntry)
    assert (entry.bits, entry.root_hash()) == (bits, root)


def test_index_keys_that_begin_alike_are_refused():
    class Colliding:
        """Two index keys with the same first 8 bytes, which honest ones have once in 2^64."""

        def actor_text(self, _: str) -> str:
            return b64url(b"8 bytes." + b"actor...")

        def resource_text(self, _: str, __: str) -> str:
            return b64url(b"8 bytes." + b"resource")

    with pytest.raises(InvalidEventError, match="two index keys of this event begin alike") as refused:
        draft_entries(parse_batch([json.dumps(EVENT).encode()]), Colliding(), SALTS)
    assert refused.value.pointer == "/resource/id"


def test_index_keys_that_differ_in_the_last_bits_of_8_bytes_are_taken():
    class Near:
        """Two index keys whose base64url texts share ten characters, 60 of the 64 bits that have to differ."""

        def actor_text(self, _: str) -> str:
            return b64url(b"7 bytes\x10" + b"actor...")

        def resource_text(self, _: str, __: str) -> str:
            return b64url(b"7 bytes\x11" + b"resource")

    (draft,) = draft_entries(parse_batch([json.dumps(EVENT).encode()]), Near(), SALTS)
    entry = parse_entry(draft.entry(LOGGED_AT))
    assert [key[:8] for key in entry.index_keys()[:2]] == [b"7 bytes\x10", b"7 bytes\x11"]


# --- One byte string for one entry ------------------------------------------------------------------------------------


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
            assert rfc8785.dumps(msgspec.to_builtins(entry)) == changed
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
            assert rfc8785.dumps(msgspec.to_builtins(entry)) == wrong
            assert b" " not in wrong


@given(st.binary(max_size=100))
def test_any_bytes_parse_or_are_malformed(data: bytes):
    for wrong in (data, ENTRY + data, data + ENTRY, ENTRY[:100] + data + ENTRY[100:]):
        try:
            entry = parse_entry(wrong)
        except MalformedInputError:
            continue
        assert rfc8785.dumps(msgspec.to_builtins(entry)) == wrong


HASH = b64url(bytes(range(32)))
KEY = b64url(bytes(range(16)))
READ = b64url(action_key("read"))

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
    **{f"without {name}": change(**{name: ...}) for name in FIELDS if name != "source"},
    **{f"{name} null": change(**{name: None}) for name in FIELDS},
    "unknown member": change(extra=1),
    "member of another kind": change(bits=4),
    "unknown member in commitments": change(commitments=FIELDS["commitments"] | {"details": HASH}),
    "unknown member in source": change(source=FIELDS["source"] | {"extra": 1}),
    "version 2": change(v=2),
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
    "timestamp with 7 digits": change(timestamp="2026-11-24T05:11:59.9980000Z"),
    "loggedAt without fraction": change(loggedAt="2026-11-24T05:12:00Z"),
    "loggedAt with 3 digits": change(loggedAt="2026-11-24T05:12:00.123Z"),
    "loggedAt with 7 digits": change(loggedAt="2026-11-24T05:12:00.1234567Z"),
    "loggedAt with offset": change(loggedAt="2026-11-24T05:12:00.123456+00:00"),
    "loggedAt that does not exist": change(loggedAt="2026-02-30T05:12:00.123456Z"),
    "loggedAt in hour 24": change(loggedAt="2026-02-28T24:00:00.000000Z"),
    "loggedAt in year 0": change(loggedAt="0000-02-28T00:00:00.000000Z"),
    "loggedAt as number": change(loggedAt=1),
    "commitment of 31 bytes": change(commitments={"actor": b64url(bytes(31)), "resource": HASH}),
    "commitment of 33 bytes": change(commitments={"actor": HASH, "resource": b64url(bytes(33))}),
    "empty commitment": change(commitments={"actor": "", "resource": HASH}),
    "commitment with padding": change(commitments={"actor": HASH + "=", "resource": HASH}),
    "commitment with padding bits": change(commitments={"actor": HASH[:-1] + "9", "resource": HASH}),
    "commitment as standard base64": change(commitments={"actor": HASH[:-2] + "/8", "resource": HASH}),
    "commitment with non-ASCII": change(commitments={"actor": "é" + HASH[1:], "resource": HASH}),
    "one commitment": change(commitments={"actor": HASH}),
    "no keys": change(keys=[]),
    "two keys": change(keys=FIELDS["keys"][1:]),
    "four keys": change(keys=[KEY, *FIELDS["keys"]]),
    "key of 15 bytes": change(keys=[b64url(bytes(15)), KEY, READ]),
    "key of 17 bytes": change(keys=[b64url(bytes(17)), KEY, READ]),
    "key with padding": change(keys=[KEY + "==", *FIELDS["keys"][1:]]),
    "key twice": change(keys=[KEY, KEY, READ]),
    "keys that begin alike": change(keys=[KEY, b64url(bytes(range(8)) + bytes(8)), READ]),
    "key of another action": change(keys=[*FIELDS["keys"][:2], b64url(action_key("delete"))]),
    "action of another key": change(action="delete"),
    "keys in another order": change(keys=FIELDS["keys"][::-1]),
    "index-keys with 25 bits": draft_index_keys(25, bytes(32)).entry(LOGGED_AT),
    "index-keys with -1 bits": draft_index_keys(-1, bytes(32)).entry(LOGGED_AT),
    "index-keys with root of 31 bytes": draft_index_keys(4, bytes(31)).entry(LOGGED_AT),
    "index-keys with root of 33 bytes": draft_index_keys(4, bytes(33)).entry(LOGGED_AT),
    "index-keys without loggedAt": draft_index_keys(4, bytes(32)).entry(b""),
    "index-keys with impossible loggedAt": draft_index_keys(4, bytes(32)).entry(b"2026-13-01T00:00:00.000000Z"),
    "index-keys with extra member": INDEX_KEYS_ENTRY.replace(b',"root"', b',"note":"x","root"'),
    "index-keys with white space": INDEX_KEYS_ENTRY.replace(b":4", b": 4"),
    "index without ends": INDEX_ENTRY.replace(b"[65536,70000]", b"[]"),
    "index with ends that fall": INDEX_ENTRY.replace(b"[65536,70000]", b"[70001,70000]"),
    "index with an end twice": INDEX_ENTRY.replace(b"[65536,70000]", b"[70000,70000]"),
    "index with an end of zero": INDEX_ENTRY.replace(b"[65536,", b"[0,"),
    "index with another size": INDEX_ENTRY.replace(b'"size":70000', b'"size":70001'),
    "index with a table of 31 bytes": draft_index([70000], bytes(31)).entry(LOGGED_AT),
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
        (REFUSED["two keys"], "three index keys"),
        (REFUSED["key of another action"], "not the one of the action"),
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
