"""Entries: the leaf data of the log, RFC 8785 JSON that holds no personal data.

Own format (docs/reference/formats.md, "Entry"). An event entry is built in two halves around `loggedAt`, because the log's
clock is read last, under the lock that orders entries. Parsing is strict: parse, format again, compare.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from tlog.core.bundle import MAX_ENTRY_SIZE
from tlog.core.commitment import COMMITMENT_SIZE
from tlog.core.event import PATTERNS, Action, Outcome, ResourceType, Source, Timestamp, Uuid, to_utc
from tlog.core.merkle import HASH_SIZE, MAX_TREE_SIZE
from tlog.core.pseudonym import DISTINCT_SIZE, KEY_SIZE, MAX_BITS, action_key
from tlog.core.strict import parse_base64url
from tlog.errors import MalformedInputError

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LOGGED_AT_FORM: Final = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]\.[0-9]{6}Z\Z"
_LOGGED_AT: Final = re.compile(_LOGGED_AT_FORM)
LoggedAt = Annotated[str, Meta(pattern=_LOGGED_AT_FORM)]


class Commitments(Struct, forbid_unknown_fields=True, frozen=True, gc=False):
    """The two commitments of an event entry, base64url of 32 bytes."""

    actor: str
    resource: str


class EventEntry(Struct, forbid_unknown_fields=True, omit_defaults=True, frozen=True, gc=False, kw_only=True):
    """An event as the log holds it; members in RFC 8785 order."""

    action: Action
    commitments: Commitments
    eventId: Uuid  # noqa: N815 - the format's name
    keys: list[str]
    loggedAt: LoggedAt  # noqa: N815 - the format's name
    outcome: Outcome
    resourceType: ResourceType  # noqa: N815 - the format's name
    source: Source | UnsetType = UNSET
    timestamp: Timestamp
    type: Literal["event"]
    v: Literal[1]

    def commitment(self, group: str) -> bytes:
        """Return the 32-byte commitment to the disclosure of `group`, "actor" or "resource"."""
        text: str = getattr(self.commitments, group)
        return parse_base64url(text.encode(), f"the {group} commitment", COMMITMENT_SIZE)

    def index_keys(self) -> list[bytes]:
        """Return the 16-byte index keys: of the actor, the resource and the action."""
        return [parse_base64url(key.encode(), "an index key", KEY_SIZE) for key in self.keys]


class IndexKeysEntry(Struct, forbid_unknown_fields=True, frozen=True, gc=False, kw_only=True):
    """The control entry that commits to the bucket keys: entry 0 of every log."""

    bits: Annotated[int, Meta(ge=0, le=MAX_BITS)]
    loggedAt: LoggedAt  # noqa: N815 - the format's name
    root: str
    type: Literal["index-keys"]
    v: Literal[1]

    def root_hash(self) -> bytes:
        """Return the 32-byte RFC 6962 root over the bucket keys."""
        return parse_base64url(self.root.encode(), "the root of the index keys", HASH_SIZE)


class IndexEntry(Struct, forbid_unknown_fields=True, frozen=True, gc=False, kw_only=True):
    """The control entry that commits to an index epoch: the segments over all entries below `size`.

    `ends` are where the segments end, so that whoever holds the entries can derive every segment again.
    """

    ends: list[Annotated[int, Meta(ge=1, le=MAX_TREE_SIZE)]]
    loggedAt: LoggedAt  # noqa: N815 - the format's name
    size: Annotated[int, Meta(ge=1, le=MAX_TREE_SIZE)]
    table: str
    type: Literal["index"]
    v: Literal[1]

    def table_hash(self) -> bytes:
        """Return the 32-byte SHA-256 of the segment table (`tlog.core.segment`)."""
        return parse_base64url(self.table.encode(), "the hash of the segment table", HASH_SIZE)


Entry = EventEntry | IndexKeysEntry | IndexEntry


_encode: Final = msgspec.json.Encoder().encode
_EVENT_DECODER: Final = msgspec.json.Decoder(EventEntry)
_CONTROL_DECODERS: Final[tuple[tuple[bytes, msgspec.json.Decoder[Any]], ...]] = (
    (b'"type":"index-keys","v":1}', msgspec.json.Decoder(IndexKeysEntry)),
    (b'"type":"index","v":1}', msgspec.json.Decoder(IndexEntry)),
)


def parse_entry(data: bytes) -> Entry:
    """Return the entry that leaf data holds.

    Raises:
        MalformedInputError: the bytes are not exactly what formatting the entry's members gives.

    """
    if len(data) > MAX_ENTRY_SIZE:
        message = f"an entry has at most {MAX_ENTRY_SIZE} bytes"
        raise MalformedInputError(message)
    decoder = next((decoder for tail, decoder in _CONTROL_DECODERS if data.endswith(tail)), _EVENT_DECODER)
    try:
        entry: Entry = decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        message = "not an entry of this format"
        raise MalformedInputError(message) from None
    if _encode(entry) != data:
        message = "the entry is not in canonical form (RFC 8785)"
        raise MalformedInputError(message)
    parse_logged_at(entry.loggedAt)
    if isinstance(entry, EventEntry):
        _check_event_entry(entry)
    elif isinstance(entry, IndexKeysEntry):
        entry.root_hash()
    else:
        _check_index_entry(entry)
    return entry


def _check_event_entry(entry: EventEntry) -> None:
    entry.commitment("actor")
    entry.commitment("resource")
    keys = entry.index_keys()
    if len(keys) != 3 or len({key[:DISTINCT_SIZE] for key in keys}) != 3:  # noqa: PLR2004 - actor, resource, action
        message = "an event entry has three index keys that differ in their first 8 bytes"
        raise MalformedInputError(message)
    if keys[2] != action_key(entry.action):
        message = "the third index key is not the one of the action"
        raise MalformedInputError(message)
    if entry.source is not UNSET and re.search(PATTERNS["/source/id"], entry.source.id) is None:
        message = "the source's id is not one that an event can have"
        raise MalformedInputError(message)
    if entry.eventId != entry.eventId.lower() or entry.timestamp != to_utc(entry.timestamp):
        message = "the eventId is in lower case and the timestamp in UTC"
        raise MalformedInputError(message)


def _check_index_entry(entry: IndexEntry) -> None:
    entry.table_hash()
    if not entry.ends or entry.ends[-1] != entry.size or any(a >= b for a, b in pairwise(entry.ends)):
        message = "the ends of an index epoch rise, and the last one is its size"
        raise MalformedInputError(message)


def format_logged_at(moment: datetime) -> bytes:
    """Return an aware time as the 27 characters of `loggedAt`, microseconds in UTC."""
    # The first 26 characters of 2026-11-24T05:12:00.123456+00:00; strftime takes longer and leaves out zeros of the year.
    in_utc = moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    return in_utc.isoformat(timespec="microseconds")[:26].encode() + b"Z"


def parse_logged_at(text: str) -> datetime:
    """Return the aware time that a `loggedAt` of exactly 27 characters says.

    Raises:
        MalformedInputError: another form, or a time that does not exist.

    """
    try:
        if _LOGGED_AT.fullmatch(text) is not None:
            return datetime.fromisoformat(text)
    except ValueError:
        pass
    message = "loggedAt is a UTC time with six fraction digits"
    raise MalformedInputError(message)


def to_microseconds(moment: datetime) -> int:
    """Return microseconds since 1970-01-01T00:00:00Z, the form in which the database keeps times exactly."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def from_microseconds(microseconds: int) -> datetime:
    """Return the aware time of `to_microseconds`."""
    return _EPOCH + timedelta(microseconds=microseconds)
