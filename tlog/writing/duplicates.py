"""Events sent again: which drafts of a request are new, and whether a known eventId comes with the same content."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import msgspec

from tlog.core.commitment import SALT_SIZE
from tlog.core.entry import EventEntry, format_logged_at, from_microseconds, parse_entry
from tlog.errors import Conflict, EventConflictError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tlog.core.making.drafts import DraftEntry
    from tlog.storage.rows import FoundEvent

_decode_actor: Final = msgspec.json.Decoder(dict[str, Any]).decode


def sort_out(
    drafts: Sequence[DraftEntry], known: dict[str | None, FoundEvent], fresh: dict[str, DraftEntry]
) -> tuple[list[DraftEntry], EventConflictError | None]:
    """Return which drafts of one request are new, or the conflicts, all of them, for which the whole request is refused.

    Args:
        drafts: those of the request.
        known: the events that the log has, by eventId.
        fresh: the new drafts of the requests before in the same transaction, by eventId.

    """
    added: list[DraftEntry] = []
    mine: dict[str, DraftEntry] = {}
    conflicts: list[Conflict] = []
    for position, draft in enumerate(drafts):
        if draft.event_id is None:
            added.append(draft)
            continue
        stored, other = known.get(draft.event_id), fresh.get(draft.event_id)
        earlier = mine.get(draft.event_id)
        if (stored is not None and not same_content(draft, stored)) or (
            other is not None and _content(other) != _content(draft)
        ):
            conflicts.append(Conflict(draft.event_id, f"/{position}/eventId", within=False))
        elif earlier is not None and _content(earlier) != _content(draft):
            conflicts.append(Conflict(draft.event_id, f"/{position}/eventId", within=True))
        elif stored is None and other is None and earlier is None:
            mine[draft.event_id] = draft
            added.append(draft)
    return ([], EventConflictError(conflicts)) if conflicts else (added, None)


def same_content(draft: DraftEntry, stored: FoundEvent) -> bool:
    """Tell whether a draft has the content of a logged event: all clear members, and the disclosures that are left.

    What was erased is not compared, and neither is through whom the event came in: that is said by the log, not by the producer.
    """
    entry = parse_entry(stored.leaf.entry)
    clear, *bodies = _content(draft)
    if not isinstance(entry, EventEntry) or _clear(entry) != clear:
        return False
    # As many related resources as there are commitments to them, unless the whole row is gone.
    kept = (_actor(stored.actor), _body(stored.resource), *map(_body, stored.related))
    return all(each is None or each == body for each, body in zip(kept, bodies, strict=False))


def _content(draft: DraftEntry) -> tuple[object, ...]:
    entry = parse_entry(draft.entry(format_logged_at(from_microseconds(0))))
    assert isinstance(entry, EventEntry)  # noqa: S101 - it has an eventId; for the type checker
    return _clear(entry), _actor(draft.actor), _body(draft.resource), *map(_body, draft.related)


def _clear(entry: EventEntry) -> tuple[object, ...]:
    """Return the members that the producer decides; salts, and so commitments, differ from try to try."""
    clear = entry.action, entry.keys, entry.operation, entry.outcome, entry.resourceType, entry.source, entry.timestamp
    return *clear, entry.related_count()


def _body(disclosure: bytes | None) -> bytes | None:
    return None if disclosure is None else disclosure[SALT_SIZE:]


def _actor(disclosure: bytes | None) -> object:
    """Return the actor as the producer sent it: without the member that the log puts in."""
    body = _body(disclosure)
    if body is None:
        return None
    with suppress(msgspec.MsgspecError, UnicodeDecodeError):
        actor = _decode_actor(body)
        actor.pop("appendedBy", None)
        return actor
    return body  # damaged, and so nobody's
