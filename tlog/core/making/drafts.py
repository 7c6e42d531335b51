"""Drafts of entries: everything but loggedAt, because the log's clock is read last, under the lock that orders entries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UNSET, Struct

from tlog.core.commitment import SALT_SIZE, commit_all
from tlog.core.pseudonym import DISTINCT_SIZE, KEY_SIZE, action_text
from tlog.core.strict import encode_base64url, encode_hashes_base64url, parse_base64url
from tlog.errors import InvalidEventError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tlog.core.making.bucket_keys import BucketKeys
    from tlog.core.making.parsing import ParsedEvent


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
