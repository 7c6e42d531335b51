"""Entries: the leaf data of the log, RFC 8785 JSON that holds no personal data.

Own format (docs/reference/formats.md, "Entry"). An event entry is built in two halves around `loggedAt`, because the log's
clock is read last, under the lock that orders entries. Parsing is strict: parse, format again, compare.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from tlog.core.bundle import MAX_ENTRY_SIZE
from tlog.core.canonical import canonical, parse_strict
from tlog.core.commitment import COMMITMENT_SIZE, MAX_RELATED, group_names, group_order
from tlog.core.event import PATTERNS, Action, Outcome, ResourceType, Source, Timestamp, Uuid, to_utc
from tlog.core.intake import Intake, parse_intake
from tlog.core.logged_at import (
    LoggedAt,
    format_logged_at,
    from_microseconds,
    parse_logged_at,
    to_microseconds,
)
from tlog.core.merkle import HASH_SIZE, MAX_TREE_SIZE
from tlog.core.outcome import Report, parse_report
from tlog.core.pseudonym import DISTINCT_SIZE, KEY_SIZE, MAX_BITS, public_key
from tlog.core.strict import parse_base64url
from tlog.errors import MalformedInputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Times of entries are of their format as well.
__all__ = [
    "Commitments",
    "Entry",
    "EventEntry",
    "IndexEntry",
    "IndexKeysEntry",
    "IntakeEntry",
    "OtherEntry",
    "OutcomeEntry",
    "format_logged_at",
    "from_microseconds",
    "is_unknown",
    "parse_entry",
    "parse_logged_at",
    "to_microseconds",
]

MAX_KEYS: Final = 40
_PERSONAL: Final = ("actor", "resource")
_KNOWN: Final = {("event", 1), ("index-keys", 1), ("index", 1)}
_OUTCOME: Final = ("outcome", 1)
_INTAKE: Final = ("intake", 1)
_OUTCOME_MEMBERS: Final = {"keys", "kind", "loggedAt", "report", "type", "v"}
_KIND: Final = re.compile("[a-z-]{1,32}")


class Commitments(Struct, forbid_unknown_fields=True, omit_defaults=True, frozen=True, gc=False, kw_only=True):
    """The commitments of an entry, base64url of 32 bytes each; of an event's entry `actor` and `resource` are there."""

    actor: str | UnsetType = UNSET
    related: list[str] | UnsetType = UNSET
    resource: str | UnsetType = UNSET

    def texts(self) -> dict[str, str]:
        """Return the commitments by group as they stand in the entry, in the order of the groups.

        Raises:
            MalformedInputError: `related` is empty or too long.

        """
        related = [] if self.related is UNSET else self.related
        if len(related) > MAX_RELATED or (self.related is not UNSET and not related):
            message = f"an entry commits to 1 to {MAX_RELATED} related resources, or has no member 'related'"
            raise MalformedInputError(message)
        texts = zip(group_names(len(related)), (self.actor, self.resource, *related), strict=True)
        return {group: text for group, text in texts if text is not UNSET}

    def groups(self) -> list[str]:
        """Return the groups that there are commitments of, in their order.

        Raises:
            MalformedInputError: a commitment is not base64url of 32 bytes, or `related` is empty or too long.

        """
        texts = self.texts()
        for group, text in texts.items():
            _parse_commitment(group, text)
        return list(texts)


class EventEntry(Struct, forbid_unknown_fields=True, omit_defaults=True, frozen=True, gc=False, kw_only=True):
    """An event as the log holds it; members in RFC 8785 order."""

    action: Action
    commitments: Commitments
    eventId: Uuid  # noqa: N815 - the format's name
    keys: list[str]
    loggedAt: LoggedAt  # noqa: N815 - the format's name
    operation: str | UnsetType = UNSET
    outcome: Outcome
    resourceType: ResourceType  # noqa: N815 - the format's name
    source: Source | UnsetType = UNSET
    timestamp: Timestamp
    type: Literal["event"]
    v: Literal[1]

    def groups(self) -> list[str]:
        """Return the groups that the entry commits to, in their order."""
        return self.commitments.groups()

    def commitment(self, group: str) -> bytes:
        """Return the 32-byte commitment to the disclosure of `group`.

        Raises:
            MalformedInputError: the entry does not commit to such a group.

        """
        return _commitment(self.commitments, group)

    def index_keys(self) -> list[bytes]:
        """Return the 16-byte index keys: of the actor, resource and action, the operation, the source, each related resource."""
        return _index_keys(self.keys)

    def key_of(self, group: str) -> bytes:
        """Return the 16-byte index key at the place of a group's data."""
        order = group_order(group)
        return _index_key(
            self.keys[order - len(_PERSONAL) - self.related_count() if order >= len(_PERSONAL) else order]
        )

    def related_count(self) -> int:
        """Return how many related resources the event has."""
        return 0 if self.commitments.related is UNSET else len(self.commitments.related)

    def public_keys(self) -> list[bytes]:
        """Return the public index keys that follow the first two, which have to be those of the entry's clear members."""
        keys = [public_key("action", self.action)]
        if self.operation is not UNSET:
            keys.append(public_key("operation", self.operation))
        if self.source is not UNSET:
            keys.append(public_key("source", self.source.id))
        return keys


class IndexKeysEntry(Struct, forbid_unknown_fields=True, frozen=True, gc=False, kw_only=True):
    """The control entry that names the log and commits to its bucket keys: entry 0 of every log; its leaf hash is the log ID."""

    bits: Annotated[int, Meta(ge=0, le=MAX_BITS)]
    loggedAt: LoggedAt  # noqa: N815 - the format's name
    origin: str
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
        """Return the 32-byte hash of the segment table (`tlog.core.segment`)."""
        return parse_base64url(self.table.encode(), "the hash of the segment table", HASH_SIZE)


class OtherEntry(Struct, frozen=True, gc=False, kw_only=True):
    """An entry of a type or version that this program does not know: part of the tree, and found under its keys."""

    commitments: Commitments | UnsetType = UNSET
    keys: list[str] = []
    loggedAt: str  # noqa: N815 - the format's name
    type: str
    v: int

    def groups(self) -> list[str]:
        """Return the groups that the entry commits to, in their order."""
        return [] if self.commitments is UNSET else self.commitments.groups()

    def commitment(self, group: str) -> bytes:
        """Return the 32-byte commitment to the disclosure of `group`.

        Raises:
            MalformedInputError: the entry does not commit to such a group.

        """
        return _commitment(Commitments() if self.commitments is UNSET else self.commitments, group)

    def index_keys(self) -> list[bytes]:
        """Return the 16-byte index keys, of which the first one is that of the entry's type; none if it has none."""
        return _index_keys(self.keys)


class OutcomeEntry(OtherEntry, frozen=True, gc=False, kw_only=True):
    """The control entry in which the log says what it did; `report` is None if this program does not know the kind."""

    kind: str
    report: Report | None = None


class IntakeEntry(OtherEntry, frozen=True, gc=False, kw_only=True):
    """The control entry in which the log says what of a stream it took (`tlog.core.intake`)."""

    intake: Intake


def is_unknown(entry: Entry) -> bool:
    """Tell whether an entry is of a type, version or kind that this program does not know."""
    if isinstance(entry, OutcomeEntry):
        return entry.report is None
    return isinstance(entry, OtherEntry) and not isinstance(entry, IntakeEntry)


Entry = EventEntry | IndexKeysEntry | IndexEntry | OtherEntry


_encode: Final = msgspec.json.Encoder().encode
_DECODERS: Final[tuple[tuple[bytes, msgspec.json.Decoder[Any]], ...]] = (
    (b'"type":"event","v":1}', msgspec.json.Decoder(EventEntry)),
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
    # The members that decide stand last in the entries of every known type, and a nested object would end with two braces.
    decoder = next((decoder for tail, decoder in _DECODERS if data.endswith(tail)), None)
    if decoder is None:
        return _parse_other(data)
    try:
        entry: EventEntry | IndexKeysEntry | IndexEntry = decoder.decode(data)
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


def _commitment(commitments: Commitments, group: str) -> bytes:
    text = commitments.texts().get(group)
    if text is None:
        message = f"the entry does not commit to the group '{group}'"
        raise MalformedInputError(message)
    return _parse_commitment(group, text)


def _parse_commitment(group: str, text: str) -> bytes:
    return parse_base64url(text.encode(), f"the {group} commitment", COMMITMENT_SIZE)


def _index_keys(texts: Sequence[str]) -> list[bytes]:
    return [_index_key(text) for text in texts]


def _index_key(text: str) -> bytes:
    return parse_base64url(text.encode(), "an index key", KEY_SIZE)


def _check_keys(keys: Sequence[bytes]) -> None:
    """Check what holds for the keys of every entry that has keys."""
    if not 1 <= len(keys) <= MAX_KEYS or len({key[:DISTINCT_SIZE] for key in keys}) != len(keys):
        message = f"an entry's index keys are 1 to {MAX_KEYS}, and differ in their first 8 bytes"
        raise MalformedInputError(message)


def _check_event_entry(entry: EventEntry) -> None:
    if entry.groups()[:2] != list(_PERSONAL):
        message = "an event's entry commits to an actor and a resource"
        raise MalformedInputError(message)
    keys, public = entry.index_keys(), entry.public_keys()
    _check_keys(keys)
    if len(keys) != len(_PERSONAL) + len(public) + entry.related_count():
        message = "an event's entry has one index key for each thing that it can be found by"
        raise MalformedInputError(message)
    if keys[len(_PERSONAL) : len(_PERSONAL) + len(public)] != public:
        message = "the public index keys are not those of the entry's action, operation and source"
        raise MalformedInputError(message)
    if entry.source is not UNSET and re.search(PATTERNS["/source/id"], entry.source.id) is None:
        message = "the source's id is not one that an event can have"
        raise MalformedInputError(message)
    if entry.operation is not UNSET and re.search(PATTERNS["/operation"], entry.operation) is None:
        message = "the operation is not one that an event can have"
        raise MalformedInputError(message)
    if entry.eventId != entry.eventId.lower() or entry.timestamp != to_utc(entry.timestamp):
        message = "the eventId is in lower case and the timestamp in UTC"
        raise MalformedInputError(message)


def _parse_other(data: bytes) -> OtherEntry:
    """Return an entry of an unknown type or version: canonical JSON with `loggedAt`, and keys as every entry has them."""
    value = parse_strict(data, stored=True)
    try:
        entry = msgspec.convert(value, OtherEntry)
    except msgspec.ValidationError:
        message = "not an entry: it lacks a loggedAt, a type and a version, or has other things in their place"
        raise MalformedInputError(message) from None
    if canonical(value) != data:
        message = "the entry is not in canonical form (RFC 8785)"
        raise MalformedInputError(message)
    if (entry.type, entry.v) in _KNOWN:
        message = "not an entry of this format"
        raise MalformedInputError(message)
    parse_logged_at(entry.loggedAt)
    if _has_inner_keys(value):
        message = "a member 'keys' stands at the top level of an entry only"
        raise MalformedInputError(message)
    if "keys" in value:
        keys = entry.index_keys()
        _check_keys(keys)
        if entry.type != "event" and keys[0] != public_key("control", entry.type):
            message = "the first index key is not the one of the entry's type"
            raise MalformedInputError(message)
    if "commitments" in value:
        entry.groups()
    if (entry.type, entry.v) == _INTAKE:
        return IntakeEntry(keys=entry.keys, loggedAt=entry.loggedAt, intake=parse_intake(value), type=entry.type, v=1)
    return _outcome(value, entry) if (entry.type, entry.v) == _OUTCOME else entry


def _outcome(value: Mapping[str, Any], entry: OtherEntry) -> OutcomeEntry:
    """Return the outcome that an entry of that type is, whose other members are checked."""
    kind, report = value.get("kind"), value.get("report")
    if value.keys() != _OUTCOME_MEMBERS or not isinstance(kind, str) or not isinstance(report, dict):
        message = "an outcome has keys, a kind, a loggedAt, a report, a type and a version, and nothing else"
        raise MalformedInputError(message)
    if _KIND.fullmatch(kind) is None:
        message = "the kind of an outcome is 1 to 32 of a-z and -"
        raise MalformedInputError(message)
    parsed = parse_report(kind, report)
    return OutcomeEntry(keys=entry.keys, kind=kind, loggedAt=entry.loggedAt, report=parsed, type=entry.type, v=entry.v)


def _has_inner_keys(value: Mapping[str, Any]) -> bool:
    inner: list[Any] = list(value.values())
    while inner:
        each = inner.pop()
        if isinstance(each, dict):
            if "keys" in each:
                return True
            inner += each.values()
        elif isinstance(each, list):
            inner += each
    return False


def _check_index_entry(entry: IndexEntry) -> None:
    entry.table_hash()
    if not entry.ends or entry.ends[-1] != entry.size or any(a >= b for a, b in pairwise(entry.ends)):
        message = "the ends of an index epoch rise, and the last one is its size"
        raise MalformedInputError(message)
