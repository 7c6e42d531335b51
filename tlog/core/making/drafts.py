"""Drafts of entries: everything but loggedAt, because the log's clock is read last, under the lock that orders entries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import UNSET, Struct

from tlog.core.canonical import canonical
from tlog.core.commitment import SALT_SIZE, commit_all
from tlog.core.pseudonym import DISTINCT_SIZE, KEY_SIZE, public_text
from tlog.core.strict import encode_base64url, encode_hashes_base64url, parse_base64url
from tlog.errors import InvalidEventError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tlog.core.event import Event
    from tlog.core.making.bucket_keys import BucketKeys
    from tlog.core.making.parsing import ParsedEvent

_BETWEEN: Final = '","'
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
    disclosures = []
    start = 0
    by = b'"appendedBy":' + canonical(appended_by) + b","
    for parsed in events:
        body = parsed.actor_body
        address = parsed.event.actor.address
        # RFC 8785 order: after the address, before everything else.
        place = 1 if address is UNSET else len(b'{"address":,') + len(_encode(address))
        disclosures.append(salts[start : start + SALT_SIZE] + body[:place] + by + body[place:])
        disclosures.append(salts[start + SALT_SIZE : start + 2 * SALT_SIZE] + parsed.resource_body)
        start += 2 * SALT_SIZE
        for body in parsed.related_bodies:
            disclosures.append(salts[start : start + SALT_SIZE] + body)
            start += SALT_SIZE
    commitments = encode_hashes_base64url(commit_all(disclosures))
    drafts = []
    first = 0
    for parsed in events:
        last = first + 2 + len(parsed.related_bodies)
        drafts.append(_draft(parsed, keys, disclosures[first:last], commitments[first:last]))
        first = last
    return drafts


def _draft(
    parsed: ParsedEvent, keys: BucketKeys, disclosures: Sequence[bytes], commitments: Sequence[str]
) -> DraftEntry:
    event = parsed.event
    resource_type, source, outcome = event.resource.type, event.source, event.outcome
    actor_key = keys.actor_text("" if event.actor.userId is UNSET else event.actor.userId)
    resource_key = keys.resource_text(resource_type, event.resource.id)
    third = public_text("action", event.action)
    related, more, operation = "", "", ""
    if event.operation is not UNSET or source is not UNSET or parsed.related_bodies:
        texts = _more_keys(event, keys)
        _check_distinct([actor_key, resource_key, third, *texts])
        more = "".join(f',"{text}"' for text in texts)
        if parsed.related_bodies:
            related = f'"related":["{_BETWEEN.join(commitments[2:])}"],'
        if event.operation is not UNSET:
            operation = f'"operation":"{event.operation}",'
    # Eight bytes are ten characters and some bits: those that share the ten are looked at closely.
    elif actor_key[:10] == resource_key[:10] or actor_key[:10] == third[:10] or resource_key[:10] == third[:10]:
        _check_distinct([actor_key, resource_key, third])
    head = (
        f'{{"action":"{event.action}","commitments":{{"actor":"{commitments[0]}",{related}"resource":"{commitments[1]}"}},'
        f'"eventId":"{parsed.event_id}","keys":["{actor_key}","{resource_key}","{third}"{more}],"loggedAt":"'
    )
    from_source = "" if source is UNSET else f'"source":{{"id":"{source.id}","seq":{source.seq}}},'
    tail = (
        f'",{operation}"outcome":"{"unknown" if outcome is UNSET else outcome}","resourceType":"{resource_type}",'
        f'{from_source}"timestamp":"{parsed.timestamp}","type":"event","v":1}}'
    )
    return DraftEntry(
        parsed.event_id, head.encode(), tail.encode(), disclosures[0], disclosures[1], tuple(disclosures[2:])
    )


def _more_keys(event: Event, keys: BucketKeys) -> list[str]:
    """Return the keys after those that every event has, in their order: of operation, source and related resources."""
    texts = []
    if event.operation is not UNSET:
        texts.append(public_text("operation", event.operation))
    if event.source is not UNSET:
        texts.append(public_text("source", event.source.id))
    if event.relatedResources is not UNSET:
        texts += [keys.related_text(each.type, each.id) for each in event.relatedResources]
    return texts


def _check_distinct(texts: Sequence[str]) -> None:
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
