"""Events sent again: which drafts of a request are new, and whether a known eventId comes with the same content."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tlog.core.commitment import SALT_SIZE
from tlog.core.entry import EventEntry, format_logged_at, from_microseconds, parse_entry
from tlog.errors import EventConflictError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tlog.core.making.drafts import DraftEntry
    from tlog.storage.rows import FoundEvent


def sort_out(
    drafts: Sequence[DraftEntry], known: dict[str | None, FoundEvent], fresh: dict[str, DraftEntry]
) -> tuple[list[DraftEntry], EventConflictError | None]:
    """Return which drafts of one request are new, or the conflict for which the whole request is refused.

    Args:
        drafts: those of the request.
        known: the events that the log has, by eventId.
        fresh: the new drafts of the requests before in the same transaction, by eventId.

    """
    added: list[DraftEntry] = []
    mine: dict[str, DraftEntry] = {}
    for position, draft in enumerate(drafts):
        if draft.event_id is None:
            added.append(draft)
            continue
        stored = known.get(draft.event_id)
        earlier = fresh.get(draft.event_id) or mine.get(draft.event_id)
        if (stored is not None and not same_content(draft, stored)) or (
            earlier is not None and _content(earlier) != _content(draft)
        ):
            return [], EventConflictError(draft.event_id, f"/{position}/eventId")
        if stored is None and earlier is None:
            mine[draft.event_id] = draft
            added.append(draft)
    return added, None


def same_content(draft: DraftEntry, stored: FoundEvent) -> bool:
    """Tell whether a draft has the content of a logged event: all clear members, and the disclosures that are left."""
    entry = parse_entry(stored.leaf.entry)
    clear, actor, resource = _content(draft)
    return (
        isinstance(entry, EventEntry)
        and _clear(entry) == clear
        and (stored.actor is None or stored.actor[SALT_SIZE:] == actor)
        and (stored.resource is None or stored.resource[SALT_SIZE:] == resource)
    )


def _content(draft: DraftEntry) -> tuple[tuple[object, ...], bytes, bytes]:
    entry = parse_entry(draft.entry(format_logged_at(from_microseconds(0))))
    assert isinstance(entry, EventEntry)  # noqa: S101 - it has an eventId; for the type checker
    return _clear(entry), draft.actor[SALT_SIZE:], draft.resource[SALT_SIZE:]


def _clear(entry: EventEntry) -> tuple[object, ...]:
    """Return the members that the producer decides; salts, and so commitments, differ from try to try."""
    return entry.action, entry.keys, entry.outcome, entry.resourceType, entry.source, entry.timestamp
