"""Questions and their answers: an event as its producer sent it, put together from the entry and its disclosures.

Only what the entry and its disclosures hold is answered; where a disclosure was erased the answer says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET

from tlog.core.commitment import SALT_SIZE
from tlog.core.entry import EventEntry, parse_entry
from tlog.core.strict import encode_base64
from tlog.errors import DamagedLogError

if TYPE_CHECKING:
    from tlog.storage.log import FoundEvent


def event_document(found: FoundEvent) -> dict[str, Any]:
    """Return an event of the log as a JSON value: the members it was sent with, and where it is in the log.

    Members behind an erased disclosure are absent, and `erased` names the groups.

    Raises:
        DamagedLogError: the stored entry is no event.

    """
    entry = parse_entry(found.leaf.entry)
    if not isinstance(entry, EventEntry):
        message = f"entry {found.leaf.index} is stored under an eventId, but is no event; run 'tlog fsck'"
        raise DamagedLogError(message)
    document: dict[str, Any] = {
        "eventId": entry.eventId,
        "timestamp": entry.timestamp,
        "action": entry.action,
        "outcome": entry.outcome,
    }
    if found.actor is not None:
        document["actor"] = msgspec.json.decode(found.actor[SALT_SIZE:])
    # Of an erased resource its public type is left.
    document["resource"] = {"type": entry.resourceType}
    if found.resource is not None:
        document |= msgspec.json.decode(found.resource[SALT_SIZE:])
    if entry.source is not UNSET:
        document["source"] = {"id": entry.source.id, "seq": entry.source.seq}
    erased = [
        group for group, disclosure in (("actor", found.actor), ("resource", found.resource)) if disclosure is None
    ]
    log = {
        "index": found.leaf.index,
        "loggedAt": entry.loggedAt,
        "leafHash": encode_base64(found.leaf.leaf_hash).decode(),
        "chainHash": encode_base64(found.leaf.chain_hash).decode(),
        "erased": erased,
    }
    return {"event": document, "log": log}
