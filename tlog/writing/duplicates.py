"""Events sent again: which drafts of a request are new, and whether a known eventId comes with the same content.

Whether the content is the same is told only to those who know it: whoever appended the event, by the same API key or another
one of the same principal; keys that may read events; and the command line. Everybody else would learn from the answer whether
a guess is right, so they get a conflict whatever they sent, and nothing is compared. Where it is not known any more who
appended an event, because that was erased, only members are compared that its public entry shows to everybody.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from tlog.core.commitment import SALT_SIZE
from tlog.core.entry import EventEntry, format_logged_at, from_microseconds, parse_entry
from tlog.errors import Conflict, EventConflictError
from tlog.storage.rows import FoundEvent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tlog.core.making.drafts import DraftEntry

_decode_actor: Final = msgspec.json.Decoder(dict[str, Any]).decode


class Sender(NamedTuple):
    """Who sends a request.

    Attributes:
        appended_by: the ID of the API key; what `tlog.writing.drafting` says of the command line and the log itself otherwise.
        principal: whose key it is, None for no key.
        reads: whether events may be read with it anyway.

    """

    appended_by: str
    principal: str | None = None
    reads: bool = False


TRUSTED: Final = Sender("", reads=True)


def strangers(sender: Sender, drafts: Sequence[DraftEntry], known: Mapping[str | None, FoundEvent]) -> set[str]:
    """Return through whom else the known ones among a sender's events were appended: whose keys those are has to be known."""
    found = (known.get(draft.event_id) for draft in drafts)
    firsts = {appended_by(each.actor) for each in found if each is not None}
    return {first for first in firsts if first is not None and first != sender.appended_by}


def sort_out(
    drafts: Sequence[DraftEntry],
    known: Mapping[str | None, FoundEvent],
    fresh: Mapping[str, DraftEntry],
    sender: Sender = TRUSTED,
    principals: Mapping[str, str | None] | None = None,
) -> tuple[list[DraftEntry], EventConflictError | None]:
    """Return which drafts of one request are new, or the conflicts, all of them, for which the whole request is refused.

    Args:
        drafts: those of the request.
        known: the events that the log has, by eventId.
        fresh: the new drafts of the requests before in the same transaction, by eventId.
        sender: who sends the request.
        principals: whose keys are through which others appended the known and the new ones.

    """
    others = _Others(sender, principals or {})
    added: list[DraftEntry] = []
    mine: dict[str, DraftEntry] = {}
    conflicts: list[Conflict] = []
    for position, draft in enumerate(drafts):
        if draft.event_id is None:
            added.append(draft)
            continue
        before: FoundEvent | DraftEntry | None = known.get(draft.event_id) or fresh.get(draft.event_id)
        earlier = mine.get(draft.event_id)
        if before is not None and not others.may_repeat(draft, before):
            first = others.first(before.actor)
            conflicts.append(Conflict(draft.event_id, f"/{position}/eventId", within=False, first=first))
        elif earlier is not None and _content(earlier) != _content(draft):
            conflicts.append(Conflict(draft.event_id, f"/{position}/eventId", within=True))
        elif before is None and earlier is None:
            mine[draft.event_id] = draft
            added.append(draft)
    return ([], EventConflictError(conflicts)) if conflicts else (added, None)


class _Others:
    """What a sender may learn of the events of others."""

    def __init__(self, sender: Sender, principals: Mapping[str, str | None]) -> None:
        self._sender = sender
        self._principals = principals

    def may_repeat(self, draft: DraftEntry, before: FoundEvent | DraftEntry) -> bool:
        """Tell whether a draft may be taken for an event that is logged, or is about to be."""
        if before.actor is not None and not self._sender.reads and not self._is_sender(appended_by(before.actor)):
            return False
        return same_content(draft, before) if isinstance(before, FoundEvent) else _content(draft) == _content(before)

    def first(self, actor: bytes | None) -> str | None:
        """Return through whom an event was appended if that was somebody else, None if not, or if nobody knows."""
        first = appended_by(actor)
        return None if first is None or self._is_sender(first) else first

    def _is_sender(self, first: str | None) -> bool:
        if first == self._sender.appended_by:
            return True
        return self._sender.principal is not None and self._principals.get(first or "") == self._sender.principal


def appended_by(actor: bytes | None) -> str | None:
    """Return through whom an event was appended, which its actor's disclosure says; None if that is erased or damaged."""
    with suppress(msgspec.MsgspecError, UnicodeDecodeError):
        found = _decode_actor(_body(actor) or b"").get("appendedBy")
        return found if isinstance(found, str) else None
    return None


def same_content(draft: DraftEntry, stored: FoundEvent) -> bool:
    """Tell whether a draft has the content of a logged event: all clear members, and the disclosures that are left.

    What was erased is not compared, and neither is through whom the event came in: that is said by the log, not by the producer.
    Without the actor only what everybody can read of the event is compared, which the index keys, made of names, are not.
    """
    entry = parse_entry(stored.entry)
    if not isinstance(entry, EventEntry):
        return False
    if stored.actor is None:
        return _clear(entry) == _clear(_entry(draft))
    (keys, clear), *bodies = _content(draft)
    if (entry.keys, _clear(entry)) != (keys, clear):
        return False
    # As many related resources as there are commitments to them, unless the whole row is gone.
    kept = (_actor(stored.actor), _body(stored.resource), *map(_body, stored.related))
    return all(each is None or each == body for each, body in zip(kept, bodies, strict=False))


def _content(draft: DraftEntry) -> tuple[Any, ...]:
    entry = _entry(draft)
    return (entry.keys, _clear(entry)), _actor(draft.actor), _body(draft.resource), *map(_body, draft.related)


def _entry(draft: DraftEntry) -> EventEntry:
    entry = parse_entry(draft.entry(format_logged_at(from_microseconds(0))))
    assert isinstance(entry, EventEntry)  # noqa: S101 - it has an eventId; for the type checker
    return entry


def _clear(entry: EventEntry) -> tuple[object, ...]:
    """Return the members that the producer decides and nobody's name does; salts, and so commitments, differ from try to try."""
    clear = entry.action, entry.operation, entry.outcome, entry.resourceType, entry.source, entry.timestamp
    return *clear, entry.related_count()


def _body(disclosure: bytes | None) -> bytes | None:
    return None if disclosure is None else disclosure[SALT_SIZE:]


def _actor(disclosure: bytes) -> object:
    """Return the actor as the producer sent it: without the member that the log puts in."""
    body = disclosure[SALT_SIZE:]
    with suppress(msgspec.MsgspecError, UnicodeDecodeError):
        actor = _decode_actor(body)
        actor.pop("appendedBy", None)
        return actor
    return body  # damaged, and so nobody's
