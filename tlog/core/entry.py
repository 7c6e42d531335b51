"""Entries: the leaf data of the log, RFC 8785 JSON that holds no personal data.

Own format (docs/reference/formats.md, "Entry"). An event entry is built in two halves around `loggedAt`, because the log's
clock is read last, under the lock that orders entries. Parsing is strict: parse, format again, compare.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NamedTuple, get_args

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from tlog.core.bundle import MAX_ENTRY_SIZE
from tlog.core.commitment import COMMITMENT_SIZE, SALT_SIZE, commit_all
from tlog.core.event import PATTERNS, Action, Outcome, ParsedEvent, ResourceType, Source, Timestamp, Uuid, to_utc
from tlog.core.merkle import HASH_SIZE, MAX_TREE_SIZE
from tlog.core.pseudonym import DISTINCT_SIZE, KEY_SIZE, MAX_BITS, BucketKeys, action_key, action_text
from tlog.core.strict import encode_base64url, encode_hashes_base64url, parse_base64url
from tlog.errors import InvalidEventError, MalformedInputError

if TYPE_CHECKING:
    from collections.abc import Sequence

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


class DraftEntry(Struct, frozen=True, gc=False):
    """An entry that lacks only its loggedAt, with the disclosures that go beside it (none for control entries)."""

    event_id: str | None
    head: bytes
    tail: bytes
    actor: bytes = b""
    resource: bytes = b""

    def entry(self, logged_at: bytes) -> bytes:
        """Return the entry's bytes with `logged_at` as `format_logged_at` gives it."""
        return self.head + logged_at + self.tail


_encode: Final = msgspec.json.Encoder().encode
_EVENT_DECODER: Final = msgspec.json.Decoder(EventEntry)
_CONTROL_DECODERS: Final[tuple[tuple[bytes, msgspec.json.Decoder[Any]], ...]] = (
    (b'"type":"index-keys","v":1}', msgspec.json.Decoder(IndexKeysEntry)),
    (b'"type":"index","v":1}', msgspec.json.Decoder(IndexEntry)),
)


def draft_entries(events: Sequence[ParsedEvent], keys: BucketKeys, salts: bytes) -> list[DraftEntry]:
    """Return the drafts of events' entries.

    Args:
        events: valid ones.
        keys: the log's bucket keys.
        salts: 32 fresh random bytes for each event, 16 for each of its disclosures.

    Raises:
        InvalidEventError: two index keys of an event share their first 8 bytes (once in 2^64).

    """
    disclosures = []
    start = 0
    for parsed in events:
        disclosures.append(salts[start : start + SALT_SIZE] + parsed.actor_body)
        disclosures.append(salts[start + SALT_SIZE : start + 2 * SALT_SIZE] + parsed.resource_body)
        start += 2 * SALT_SIZE
    commitments = encode_hashes_base64url(commit_all(disclosures))
    drafts = []
    columns = zip(events, disclosures[::2], disclosures[1::2], commitments[::2], commitments[1::2], strict=True)
    for parsed, actor, resource, actor_hash, resource_hash in columns:
        event = parsed.event
        resource_type, source, outcome = event.resource.type, event.source, event.outcome
        actor_key = keys.actor_text(event.actor.userId)
        resource_key = keys.resource_text(resource_type, event.resource.id)
        third = action_text(event.action)
        # Eight bytes are ten characters and some bits: those that share the ten are looked at closely.
        if actor_key[:10] == resource_key[:10] or actor_key[:10] == third[:10] or resource_key[:10] == third[:10]:
            _check_distinct([actor_key, resource_key, third])
        head = (
            f'{{"action":"{event.action}","commitments":{{"actor":"{actor_hash}","resource":"{resource_hash}"}},'
            f'"eventId":"{parsed.event_id}","keys":["{actor_key}","{resource_key}","{third}"],"loggedAt":"'
        )
        from_source = "" if source is UNSET else f'"source":{{"id":"{source.id}","seq":{source.seq}}},'
        tail = (
            f'","outcome":"{"unknown" if outcome is UNSET else outcome}","resourceType":"{resource_type}",{from_source}'
            f'"timestamp":"{parsed.timestamp}","type":"event","v":1}}'
        )
        drafts.append(DraftEntry(parsed.event_id, head.encode(), tail.encode(), actor, resource))
    return drafts


def _check_distinct(texts: Sequence[str]) -> None:
    keys = [parse_base64url(text.encode(), "an index key", KEY_SIZE) for text in texts]
    if len({key[:DISTINCT_SIZE] for key in keys}) != len(keys):
        message = "two index keys of this event begin alike; change the resource's id"
        raise InvalidEventError(message, "/resource/id")


def draft_index_keys(bits: int, root: bytes) -> DraftEntry:
    """Return the draft of the `index-keys` control entry for 2**bits bucket keys with RFC 6962 root `root`."""
    tail = b'","root":"%b","type":"index-keys","v":1}' % encode_base64url(root)
    return DraftEntry(None, b'{"bits":%d,"loggedAt":"' % bits, tail)


def draft_index(ends: Sequence[int], table_hash: bytes) -> DraftEntry:
    """Return the draft of the `index` control entry for segments that end at `ends` and whose table has this hash."""
    head = b'{"ends":[%b],"loggedAt":"' % b",".join(b"%d" % end for end in ends)
    tail = b'","size":%d,"table":"%b","type":"index","v":1}' % (ends[-1], encode_base64url(table_hash))
    return DraftEntry(None, head, tail)


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


def _quick_event() -> re.Pattern[bytes]:
    day = (
        r"(?!0000)[0-9]{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
        r"|02-(?:0[1-9]|1[0-9]|2[0-8]))T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
    )
    hash32, key16 = "[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]", "[A-Za-z0-9_-]{21}[AQgw]"
    actions, outcomes = "|".join(get_args(Action)), "|".join(get_args(Outcome))
    text = (
        rf'{{"action":"({actions})","commitments":{{"actor":"({hash32})","resource":"({hash32})"}},'
        rf'"eventId":"([0-9a-f]{{8}}-[0-9a-f]{{4}}-[0-9a-f]{{4}}-[0-9a-f]{{4}}-[0-9a-f]{{12}})",'
        rf'"keys":\["(({key16}","{key16})","({key16}))"\],"loggedAt":"({day}\.[0-9]{{6}}Z)","outcome":"(?:{outcomes})",'
        r'"resourceType":"([A-Za-z0-9][A-Za-z0-9_.:-]{0,63})",(?:"source":\{"id":"[A-Za-z0-9][A-Za-z0-9_.:/-]{0,127}",'
        r'"seq":(?:0|[1-9][0-9]{0,14})\},)?'
        rf'"timestamp":"{day}(?:\.[0-9]{{1,6}})?Z","type":"event","v":1}}'
    )
    return re.compile(text.encode())


_match_event: Final = _quick_event().fullmatch
_ACTION_TEXTS: Final = {(action.encode(), action_text(action).encode()) for action in get_args(Action)}


class EventFacts(NamedTuple):
    """What a check of many entries looks at in an event, as it stands in the entry."""

    action: bytes
    actor: bytes
    resource: bytes
    event_id: bytes
    keys: bytes
    personal_keys: bytes
    action_key: bytes
    logged_at: bytes
    resource_type: bytes


def match_events(entries: Sequence[bytes]) -> list[EventFacts | None]:
    """Return what leaf data say that are event entries for certain; None of those where only `parse_entry` can tell.

    `keys` is the text of the three keys between their outer quotes, `personal_keys` the part of the first two, and
    `actor` and `resource` are the commitments. That three keys begin differently is not looked at.
    """
    matches = [_match_event(entry) for entry in entries]
    said: list[Any] = [None if match is None else match.groups() for match in matches]
    pairs = {(each[0], each[6]) for each in said if each is not None}
    if not pairs <= _ACTION_TEXTS:
        return [None if each is None or (each[0], each[6]) not in _ACTION_TEXTS else each for each in said]
    return said


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
        message = "the segments of an index epoch end one behind the other, the last one at its size"
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
