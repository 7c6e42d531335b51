"""Drafts of entries: everything but loggedAt, because the log's clock is read last, under the lock that orders entries."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
from msgspec import UNSET, Struct, UnsetType

from tlog.core.canonical import canonical
from tlog.core.commitment import SALT_SIZE, commit_all
from tlog.core.logged_at import parse_logged_at, to_microseconds
from tlog.core.pseudonym import DISTINCT_SIZE, KEY_SIZE, public_text
from tlog.core.strict import encode_base64url, encode_hashes_base64url, parse_base64url
from tlog.errors import InvalidEventError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tlog.core.making.bucket_keys import BucketKeys
    from tlog.core.making.parsing import ParsedEvent

_BETWEEN: Final = '","'
_LOGGED_AT: Final = b'"loggedAt":"'
_LOGGED_AT_SIZE: Final = 27
_CACHED: Final = 4_096
_encode: Final = msgspec.json.Encoder().encode


class DraftEntry(Struct, frozen=True, gc=False):
    """An entry that lacks only its loggedAt, with the disclosures that go beside it (none for control entries).

    `actor`, `resource` and each of `related` are salt || body.
    """

    event_id: str | None
    head: bytes
    tail: bytes
    actor: bytes = b""
    resource: bytes = b""
    related: tuple[bytes, ...] = ()

    def entry(self, logged_at: bytes) -> bytes:
        """Return the entry's bytes with `logged_at` as `format_logged_at` gives it."""
        return self.head + logged_at + self.tail


def logged_at_text(entry: bytes) -> bytes:
    """Return the 27 characters between a draft's two halves; of an entry without them, anything.

    The entry is not parsed: that its form is fixed is enough to compare times as text.
    """
    start = entry.find(_LOGGED_AT) + len(_LOGGED_AT)
    return entry[start : start + _LOGGED_AT_SIZE]


def logged_at_of(entry: bytes) -> int:
    """Return when an entry was logged, in microseconds since 1970, without parsing all of it.

    Raises:
        MalformedInputError: it has no loggedAt.

    """
    return to_microseconds(parse_logged_at(logged_at_text(entry).decode("ascii", "replace")))


def salt_size(events: Sequence[ParsedEvent]) -> int:
    """Return how many random bytes the disclosures of events need."""
    return SALT_SIZE * (2 * len(events) + sum(len(parsed.related_bodies) for parsed in events))


def draft_entries(events: Sequence[ParsedEvent], keys: BucketKeys, salts: bytes, appended_by: str) -> list[DraftEntry]:
    """Return the drafts of events' entries.

    Args:
        events: valid ones.
        keys: the log's bucket keys.
        salts: `salt_size` fresh random bytes, 16 for each disclosure.
        appended_by: through whom the events come in, which the log says in every actor's disclosure: the ID of an API key,
            "local", "log", or a stream.

    Raises:
        InvalidEventError: two index keys of an event share their first 8 bytes (once in 2^64).

    """
    related = [()] * len(events) if len(salts) == 2 * SALT_SIZE * len(events) else _disclose_related(events, salts)
    cut = 2 * SALT_SIZE * len(events)
    actors = _disclose_actors(events, salts[: cut // 2], b'"appendedBy":' + canonical(appended_by) + b",")
    resources = [
        salts[start : start + SALT_SIZE] + parsed.resource_body
        for parsed, start in zip(events, range(cut // 2, cut, SALT_SIZE), strict=True)
    ]
    hashes = encode_hashes_base64url(commit_all([*actors, *resources]))
    drafts = []
    actor_text, resource_text, related_text = keys.actor_text, keys.resource_text, keys.related_text
    columns = zip(events, actors, resources, related, hashes[: len(events)], hashes[len(events) :], strict=True)
    for parsed, actor, resource, others, actor_hash, resource_hash in columns:
        event = parsed.event
        resource_type, outcome, source, operation = event.resource.type, event.outcome, event.source, event.operation
        # The index keys in their order (docs/reference/formats.md, "Entry").
        first = actor_text("" if event.actor.userId is UNSET else event.actor.userId)
        second = resource_text(resource_type, event.resource.id)
        public = _public_keys(event.action, operation, source if source is UNSET else source.id)
        texts = f'"{first}","{second}",{public.joined}'
        # Eight bytes are ten characters and some bits: those that share the ten are looked at closely.
        if first[:10] == second[:10] or first[:10] in public.beginnings or second[:10] in public.beginnings:
            _check_distinct([first, second, *public.texts])
        if event.relatedResources is not UNSET:
            named = [related_text(each.type, each.id) for each in event.relatedResources]
            _check_distinct([first, second, *public.texts, *named])
            texts += f',"{_BETWEEN.join(named)}"'
        between = f'"related":["{_BETWEEN.join(encode_hashes_base64url(commit_all(others)))}"],' if others else ""
        verb = "" if operation is UNSET else f'"operation":"{operation}",'
        from_source = "" if source is UNSET else f'"source":{{"id":"{source.id}","seq":{source.seq}}},'
        head = (
            f'{{"action":"{event.action}","commitments":{{"actor":"{actor_hash}",{between}"resource":"{resource_hash}"}},'
            f'"eventId":"{parsed.event_id}","keys":[{texts}],"loggedAt":"'
        )
        tail = (
            f'",{verb}"outcome":"{"unknown" if outcome is UNSET else outcome}","resourceType":"{resource_type}",'
            f'{from_source}"timestamp":"{parsed.timestamp}","type":"event","v":1}}'
        )
        drafts.append(DraftEntry(parsed.event_id, head.encode(), tail.encode(), actor, resource, others))
    return drafts


def _disclose_actors(events: Sequence[ParsedEvent], salts: bytes, by: bytes) -> list[bytes]:
    """Return the actors' disclosures, each with the member `appendedBy` in its RFC 8785 place: after the address."""
    disclosures = []
    start = 0
    for parsed in events:
        body, address = parsed.actor_body, parsed.event.actor.address
        salt = salts[start : start + SALT_SIZE]
        start += SALT_SIZE
        if address is UNSET:
            disclosures.append(salt + b"{" + by + body[1:])
        else:
            place = len(b'{"address":,') + len(_encode(address))
            disclosures.append(salt + body[:place] + by + body[place:])
    return disclosures


def _disclose_related(events: Sequence[ParsedEvent], salts: bytes) -> list[tuple[bytes, ...]]:
    start = 2 * SALT_SIZE * len(events)
    disclosures = []
    for parsed in events:
        own = []
        for body in parsed.related_bodies:
            own.append(salts[start : start + SALT_SIZE] + body)
            start += SALT_SIZE
        disclosures.append(tuple(own))
    return disclosures


class _PublicKeys(NamedTuple):
    """The public index keys of an event, how they stand in its entry, and their first ten characters."""

    texts: tuple[str, ...]
    joined: str
    beginnings: frozenset[str]


@lru_cache(maxsize=_CACHED)
def _public_keys(action: str, operation: str | UnsetType, source_id: str | UnsetType) -> _PublicKeys:
    members = {"action": action, "operation": operation, "source": source_id}
    texts = tuple(public_text(kind, value) for kind, value in members.items() if value is not UNSET)
    _check_distinct(texts)
    return _PublicKeys(texts, f'"{_BETWEEN.join(texts)}"', frozenset(text[:10] for text in texts))


def _check_distinct(texts: Sequence[str]) -> None:
    if len({text[:10] for text in texts}) == len(texts):
        return
    keys = [parse_base64url(text.encode(), "an index key", KEY_SIZE) for text in texts]
    if len({key[:DISTINCT_SIZE] for key in keys}) != len(keys):
        message = "two index keys of this event begin alike; change the resource's id"
        raise InvalidEventError(message, "/resource/id")


def draft_index_keys(bits: int, root: bytes, origin: str) -> DraftEntry:
    """Return the draft of entry 0 of the log `origin`, for 2**bits bucket keys with RFC 6962 root `root`."""
    tail = b'","origin":%b,"root":"%b","type":"index-keys","v":1}' % (canonical(origin), encode_base64url(root))
    return DraftEntry(None, b'{"bits":%d,"loggedAt":"' % bits, tail)


def draft_index(ends: Sequence[int], table_hash: bytes) -> DraftEntry:
    """Return the draft of the `index` control entry for segments that end at `ends` and whose table has this hash."""
    head = b'{"ends":[%b],"loggedAt":"' % b",".join(b"%d" % end for end in ends)
    tail = b'","size":%d,"table":"%b","type":"index","v":1}' % (ends[-1], encode_base64url(table_hash))
    return DraftEntry(None, head, tail)
