"""Answers to questions: newest first, complete as of the moment they are asked, over indexed and not yet indexed entries.

Segments answer for what is indexed; the entries after the newest epoch are searched by the keys they carry, of which
every process keeps those it has seen. A question about a resource looks under two keys: events about the resource have the one,
what only names it has the other, and an answer says which. Without an index key in the question (such as of a resource, an
actor or an action) entries are looked through one by one. Either way one page of an answer looks at a bounded number of entries
and says where the next page goes on.
"""

from __future__ import annotations

import asyncio
import binascii
from bisect import bisect_left
from hashlib import sha256
from operator import neg
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeVar

import msgspec
from msgspec import UNSET, Struct, UnsetType

from tlog.answering.lookup import indexed_falling
from tlog.answering.withholding import withheld
from tlog.core.commitment import SALT_SIZE, group_names
from tlog.core.entry import Commitments, OtherEntry
from tlog.core.event import RESERVED_TYPES, Source
from tlog.core.making.posting import READ_AT_ONCE, LoggedKeys
from tlog.core.question import Matcher
from tlog.core.strict import encode_base64url
from tlog.errors import DamagedLogError, MalformedInputError, OverloadedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from tlog.answering.withholding import Own
    from tlog.core.question import Question
    from tlog.storage.reading import ReadStore, View
    from tlog.storage.rows import FoundEvent, Position

Stored = TypeVar("Stored")
DEFAULT_LIMIT: Final = 100
_MAX_LOOKED_AT: Final = 20_000
_PORTION: Final = 500
MAX_PAGE: Final = 4 << 20  # bytes of events; one that comes to more ends the page
_READ_AT_ONCE: Final = 4 << 20  # bytes
_MAX_UNINDEXED: Final = 4 << 20
_FORGOTTEN: Final = READ_AT_ONCE >> 3  # so few are copied when more come that it takes no time


class StoredEvent(Struct, frozen=True, gc=False):
    """What answers need of a stored event's entry, read quickly; verifiers read `tlog.core.entry.EventEntry`."""

    action: str
    commitments: Commitments
    eventId: str  # noqa: N815 - the format's name
    keys: list[str]
    loggedAt: str  # noqa: N815 - the format's name
    outcome: str
    resourceType: str  # noqa: N815 - the format's name
    timestamp: str
    type: Literal["event"]
    operation: str | UnsetType = UNSET
    source: Source | UnsetType = UNSET


_EVENT: Final = msgspec.json.Decoder(StoredEvent)
_EVENT_END: Final = b'"type":"event","v":1}'
_OTHER: Final = msgspec.json.Decoder(OtherEntry)
_BODY: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_CURSOR: Final = msgspec.msgpack.Decoder(tuple[int, int, bytes])


class Cursor(NamedTuple):
    """Where the next page of an answer goes on: in the log of `size` entries, below the index `before`."""

    size: int
    before: int

    def text(self, question: Question) -> str:
        """Return it as opaque text that fits `question` only."""
        return encode_base64url(msgspec.msgpack.encode((*self, _digest(question)))).decode()


def parse_cursor(text: str, question: Question) -> Cursor:
    """Return the cursor of `Cursor.text`.

    Raises:
        MalformedInputError: it is not one, or of another question.

    """
    try:
        data = binascii.a2b_base64(text.translate(_FROM_URL) + "=" * (-len(text) % 4))
        size, before, digest = _CURSOR.decode(data)
    except (binascii.Error, ValueError, msgspec.MsgspecError):
        size, before, digest = 0, -1, b""
    if not 0 <= before <= size or digest != _digest(question):
        message = "'cursor' is not from an answer to this question; repeat the question it came with"
        raise MalformedInputError(message, "/cursor")
    return Cursor(size, before)


_JOURNAL: Final = "events about the log itself: who asked it, and who signed in"
_FROM_URL: Final = str.maketrans("-_", "+/")


def _digest(question: Question) -> bytes:
    return sha256(msgspec.json.encode(question)).digest()[:8]


class LargePageError(Exception):
    """A page takes more reading than whoever makes it was to do."""


class Answer(NamedTuple):
    """One page of an answer: what was found, newest first, where it goes on (None: nowhere), and as of when it is.

    `entries` are what the rows of `events` hold as entries, read: events, or control entries where those were asked for.
    `matched` are the groups of each in which the resource asked for is, None where no resource was. Without `journal` what is
    about the log itself was left out: who asked, and who signed in.
    """

    events: list[FoundEvent]
    entries: list[StoredEvent | OtherEntry]
    matched: list[str | None]
    next: Cursor | None
    size: int
    position: Position
    journal: bool = True


class Searcher:
    """Finds what answers a question."""

    def __init__(self, reader: ReadStore, key_of: Callable[[bytes], bytes]) -> None:
        """Prepare; `key_of` returns the index key of a personal ident (`Question.keys`)."""
        self._reader = reader
        self._key_of = key_of
        self._young = LoggedKeys(0)
        self._growing = asyncio.Lock()

    async def ask(
        self,
        question: Question,
        *,
        keys: Mapping[str, bytes] | None = None,
        limit: int = DEFAULT_LIMIT,
        cursor: Cursor | None = None,
        looked: Callable[[int], Awaitable[None]] | None = None,
        most: int | None = None,
        journal: bool = True,
    ) -> Answer:
        """Return a page of at most `limit` events that answer `question`.

        Args:
            question: what is asked.
            keys: its index keys (`Question.keys`), by default made of the log's bucket keys.
            limit: how many events at most; large ones make a page shorter.
            cursor: where the page before this one ended.
            looked: is told at how many more entries was looked, and may take its time.
            most: how many bytes of disclosures are read, and of no more entries than a page of 100 takes; None for any number.
            journal: whether what is about the log itself is in the answer, such as who asked.

        Raises:
            LargePageError: there is more to read than `most`.
            OverloadedError: the database is away, or the index lags far.
            DamagedLogError: entries are missing.

        """
        keys = question.keys(self._key_of) if keys is None else keys
        async with self._reader.view() as view:
            position = await view.position(sealed=False)
            size = position.size if cursor is None else cursor.size
            if size > position.size:
                message = "'cursor' is from a larger log than this one"
                raise MalformedInputError(message, "/cursor")
            start, end = await window(view, question, size)
            end = end if cursor is None else min(end, cursor.before)
            search = _Search(question, Matcher(question, keys), limit, most, journal=journal)
            looked_under = [keys[kind] for kind in question.looked_under()]
            indexes = self._indexes(view, position, looked_under, start, end) if keys else _downwards(start, end)
            first = limit if most is None else min(limit, DEFAULT_LIMIT)
            async for portion in _portions(indexes, first + 1):
                if most is not None and search.looked_at + len(portion) > DEFAULT_LIMIT + 1:
                    raise LargePageError
                goes_on = await search.look_at(view, portion)
                if looked is not None:
                    await looked(len(portion))
                if search.too_large:
                    raise LargePageError
                if not goes_on:
                    break
            before = search.next_before
            following = None if before is None else Cursor(size, before)
            found = await view.explained(search.found)
            return Answer(found, search.entries, search.matched, following, size, position, journal)

    async def _indexes(
        self, view: View, position: Position, keys: Sequence[bytes], start: int, end: int
    ) -> AsyncIterator[Sequence[int]]:
        """Yield the indexes of all entries in [start, end) that have one of `keys`, falling, some at a time."""
        epoch = position.epoch
        indexed = 0 if epoch is None else epoch.size
        young = await self._young_indexes(view, indexed, position.size, keys)
        yield sorted((index for index in young if start <= index < end), reverse=True)
        if epoch is not None:
            async for found in indexed_falling(view, epoch, keys, start, min(end, indexed)):
                yield found

    async def _young_indexes(self, view: View, indexed: int, size: int, keys: Sequence[bytes]) -> set[int]:
        """Return the indexes of the entries in [indexed, size) that have one of `keys`."""
        if size - indexed > _MAX_UNINDEXED:
            message = f"the index lags the log by {size - indexed} entries; ask again later"
            raise OverloadedError(message)
        async with self._growing:
            if not self._young.start <= indexed <= self._young.end:
                self._young = LoggedKeys(indexed)
            elif indexed - self._young.start >= _FORGOTTEN:
                self._young.forget(indexed)
            while self._young.end < size:
                stop = min(size, self._young.end + READ_AT_ONCE)
                self._young.extend(await view.keys_text(self._young.end, stop), stop - self._young.end)
            return {index for key in keys for index in self._young.find(key) if indexed <= index < size}


async def window(view: View, question: Question, size: int) -> tuple[int, int]:
    """Return which of the first `size` entries are looked at: those logged when the question allows for."""
    logged_from, logged_to = question.logged_from(), question.logged_to()
    start = 0 if logged_from is None else await view.first_logged_at(logged_from, size)
    end = size if logged_to is None else await view.first_logged_at(logged_to, size)
    return start, max(start, end)


class _Search:
    """What was found so far, and how many entries were looked at for it."""

    def __init__(self, question: Question, matcher: Matcher, limit: int, most: int | None, *, journal: bool) -> None:
        self._for_control = question.control is not UNSET
        self._matcher = matcher
        self._limit = limit
        self._most = most
        self._journal = journal
        self.looked_at = self._size = 0
        self.found: list[FoundEvent] = []
        self.entries: list[StoredEvent | OtherEntry] = []
        self.matched: list[str | None] = []
        self.next_before: int | None = None
        self.too_large = False

    async def look_at(self, view: View, indexes: list[int]) -> bool:
        """Look at entries, given falling; tell whether to go on."""
        while indexes:
            rows = await self._read(view, indexes)
            if rows is None:
                self.too_large = True
                return False
            left = bisect_left(indexes, -rows[0].leaf.index, key=neg) + 1 if rows else len(indexes)
            if not self._take(indexes[:left], {row.leaf.index: row for row in rows}):
                return False
            indexes = indexes[left:]
        return True

    async def _read(self, view: View, indexes: list[int]) -> list[FoundEvent] | None:
        """Return rows of entries, as many as are read in one go; None if that is more than may be read."""
        if self._most is None:
            return await view.newest_events(indexes, _READ_AT_ONCE)
        rows = await view.events_within(indexes, self._most)
        self._most -= sum(len(each) for row in rows or () for each in row.disclosures().values())
        return rows

    def _take(self, indexes: list[int], rows: Mapping[int, FoundEvent]) -> bool:
        """Take what answers of some entries; tell whether to go on."""
        for index in indexes:
            row = rows.get(index)
            if row is None:
                message = f"entry {index} is missing; run 'tlog fsck'"
                raise DamagedLogError(message)
            if (row.leaf.event_id is None) != self._for_control:
                continue
            entry = decode_other(index, row.entry) if self._for_control else decode_event(index, row.entry)
            if not self._journal and isinstance(entry, StoredEvent) and entry.resourceType in RESERVED_TYPES:
                continue
            if self._matcher.matches(entry):
                if len(self.found) == self._limit or self._size >= MAX_PAGE:
                    self.next_before = self.found[-1].leaf.index
                    return False
                self.found.append(row)
                self._size += len(row.entry) + sum(map(len, row.disclosures().values()))
                self.entries.append(entry)
                self.matched.append(self._matcher.matched(entry))
        self.looked_at += len(indexes)
        if self.looked_at >= _MAX_LOOKED_AT:
            self.next_before = indexes[-1]
            return False
        return True


async def _downwards(start: int, end: int) -> AsyncIterator[Sequence[int]]:
    yield range(end - 1, start - 1, -1)


async def _portions(found: AsyncIterator[Sequence[int]], first: int) -> AsyncIterator[list[int]]:
    """Yield what is found in portions that are worth one reading: a first one that may be all that is asked for."""
    waiting: list[int] = []
    size = first
    async for indexes in found:
        at = 0
        while len(waiting) + len(indexes) - at >= size:
            portion = [*waiting, *indexes[at : at + size - len(waiting)]]
            at += size - len(waiting)
            waiting, size = [], _PORTION
            yield portion
        waiting += indexes[at:]
    if waiting:
        yield waiting


def answer_document(
    answer: Answer, question: Question, resource: Mapping[str, str] | None = None, own: Own | None = None
) -> dict[str, Any]:
    """Return a page of an answer as a value for msgspec to encode, in the shape of `GET /v1/audit/events`.

    With a resource the shape is that of its access log. With `own` what is somebody else's is withheld.
    """
    position = answer.position
    document = {
        "events": [
            _document(*each, position, own) for each in zip(answer.events, answer.entries, answer.matched, strict=True)
        ],
        "count": len(answer.events),
        "next": None if answer.next is None else answer.next.text(question),
        "asOf": {
            "size": answer.size,
            "sealed": 0 if position.checkpoint is None else min(answer.size, position.checkpoint.size),
            "indexed": 0 if position.epoch is None else min(answer.size, position.epoch.size),
            "checkpoint": None if position.checkpoint is None else position.checkpoint.served.decode(),
        },
        "notLookedAt": [*question.not_looked_at(), *([] if answer.journal else [_JOURNAL])],
    }
    return document if resource is None else {**resource, "accessLog": document.pop("events"), **document}


def decode_event(index: int, entry: bytes) -> StoredEvent:
    """Return the members of the stored event entry `index`, read without the strictness of a verifier.

    Raises:
        DamagedLogError: it is no event.

    """
    return _decode(_EVENT, index, entry, "stored as an event")


def decode_entry(index: int, entry: bytes) -> StoredEvent | OtherEntry:
    """Return the members of the stored entry `index`, read without the strictness of a verifier.

    Raises:
        DamagedLogError: it is none.

    """
    return decode_event(index, entry) if entry.endswith(_EVENT_END) else decode_other(index, entry)


def decode_other(index: int, entry: bytes) -> OtherEntry:
    """Return the members that every stored entry has, read without the strictness of a verifier.

    Raises:
        DamagedLogError: it has them not.

    """
    return _decode(_OTHER, index, entry, "stored")


def _decode(decoder: msgspec.json.Decoder[Stored], index: int, entry: bytes, how: str) -> Stored:
    try:
        return decoder.decode(entry)
    except msgspec.MsgspecError:
        message = f"entry {index} is {how}, but is none; run 'tlog fsck'"
        raise DamagedLogError(message) from None


def groups_of(entry: StoredEvent | OtherEntry) -> list[str]:
    """Return the groups that a stored entry commits to, in their order."""
    if isinstance(entry, OtherEntry):
        return entry.groups()
    related = entry.commitments.related
    return group_names(0 if related is UNSET else len(related))


def event_document(found: FoundEvent, position: Position | None = None) -> dict[str, Any]:
    """Return an event of the log as a value for msgspec to encode: its members as sent, and under `log` what the log says.

    Of what is absent `log.lost` names the groups and the outcome that explains them, `log.missing` those that nothing explains.
    With a position, `log.state` says whether the entry was pending, sealed, or indexed then.

    Raises:
        DamagedLogError: the stored entry is no event.

    """
    return _document(found, decode_event(found.leaf.index, found.entry), None, position)


def _document(
    found: FoundEvent,
    entry: StoredEvent | OtherEntry,
    matched: str | None,
    position: Position | None,
    own: Own | None = None,
) -> dict[str, Any]:
    index = found.leaf.index
    # A control entry answers no question that `own` comes with.
    hidden = [] if own is None or isinstance(entry, OtherEntry) else withheld(entry, matched, own)
    disclosed = {group: each for group, each in found.disclosures().items() if group not in hidden}
    bodies = {group: _decode_body(index, disclosure) for group, disclosure in disclosed.items()}
    place: dict[str, Any] = {
        "index": index,
        "loggedAt": entry.loggedAt,
        "leafHash": found.leaf.leaf_hash,  # which msgspec encodes in base64
        "chainHash": found.leaf.chain_hash,
    }
    if isinstance(entry, OtherEntry):
        document = {"type": entry.type, "entry": msgspec.Raw(found.entry), "disclosed": bodies}
    else:
        if (appended_by := bodies.get("actor", {}).pop("appendedBy", None)) is not None:
            place["appendedBy"] = appended_by
        document = _event_document(entry, bodies)
    absent = [group for group in groups_of(entry) if group not in bodies and group not in hidden]
    place["lost"] = [] if found.lost_by is None else [{"group": group, "by": found.lost_by} for group in absent]
    place["missing"] = absent if found.lost_by is None else []
    if own is not None:
        place["withheld"] = hidden
    if matched is not None:
        place["matched"] = matched.partition("/")[0]
    if position is not None:
        place["state"] = _state(index, position)
    return {**document, "log": place}


def _decode_body(index: int, disclosure: bytes) -> dict[str, msgspec.Raw]:
    try:
        return _BODY.decode(disclosure[SALT_SIZE:])
    except msgspec.MsgspecError:
        message = f"the disclosure of entry {index} is damaged; run 'tlog fsck'"
        raise DamagedLogError(message) from None


def _event_document(entry: StoredEvent, bodies: dict[str, dict[str, msgspec.Raw]]) -> dict[str, Any]:
    document: dict[str, Any] = {"eventId": entry.eventId, "timestamp": entry.timestamp, "action": entry.action}
    if entry.operation is not UNSET:
        document["operation"] = entry.operation
    document["outcome"] = entry.outcome
    if "actor" in bodies:
        document["actor"] = bodies["actor"]
    # Of an absent resource its public type is left.
    document["resource"] = {"type": entry.resourceType}
    document |= bodies.get("resource", {})
    if related := [body for group, body in bodies.items() if group.startswith("related/")]:
        document["relatedResources"] = related
    if entry.source is not UNSET:
        document["source"] = {"id": entry.source.id, "seq": entry.source.seq}
    return document


def _state(index: int, position: Position) -> str:
    if position.epoch is not None and index < position.epoch.size:
        return "indexed"
    return "sealed" if position.checkpoint is not None and index < position.checkpoint.size else "pending"
