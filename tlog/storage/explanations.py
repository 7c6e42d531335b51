"""What outcomes explain of absent disclosures, as answers read it: a cache of the entries that the indexer keeps.

The newest outcomes are not in it; whoever needs them reads the control entries that are not indexed yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tlog.core.entry import OutcomeEntry, parse_entry
from tlog.core.outcome import Lost
from tlog.errors import MalformedInputError
from tlog.storage.queries import QUERIES
from tlog.storage.runs import last_disclosed
from tlog.storage.statements import read_controls

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tlog.storage.connection import Connection
    from tlog.storage.rows import FoundEvent


class Explanation(NamedTuple):
    """What an outcome explains: the index of its entry, its kind, and the entries [start, end) that it is about."""

    by: int
    kind: str
    start: int
    end: int


def explanations_of(controls: Iterable[tuple[int, bytes]]) -> list[Explanation]:
    """Return what the outcomes among control entries explain; what is no entry is none of them."""
    found = []
    for index, data in controls:
        try:
            entry = parse_entry(data)
        except MalformedInputError:
            continue
        if isinstance(entry, OutcomeEntry) and isinstance(entry.report, Lost):
            found.append(Explanation(index, entry.kind, entry.report.start, entry.report.end))
    return found


async def read_explanations(connection: Connection) -> list[Explanation]:
    """Return what is kept."""
    cursor = await connection.execute(QUERIES["read_explanations"])
    return [Explanation(*row) for row in await cursor.fetchall()]


async def explain(connection: Connection, events: Sequence[FoundEvent]) -> list[FoundEvent]:
    """Return events, each with the outcome that explains what of it is absent."""
    lacking = [event.leaf.index for event in events if event.lacks_something()]
    if not lacking:
        return list(events)
    cursor = await connection.execute(QUERIES["indexed_end"])
    new = explanations_of(await read_controls(connection, *(await cursor.fetchall())[0]))
    values = {
        "indexes": lacking,
        "entries": [each.by for each in new],
        "starts": [each.start for each in new],
        "ends": [each.end for each in new],
    }
    cursor = await connection.execute(QUERIES["find_explanations"], values)
    found: dict[int, int] = {}
    for by, start, end in await cursor.fetchall():
        about = [index for index in lacking if start <= index < end and index not in found]
        # An outcome explains nothing if something of its entries is there.
        if about and await last_disclosed(connection, start, end) is None:
            found.update((index, by) for index in about)
    return [event._replace(lost_by=found.get(event.leaf.index)) for event in events]


async def publish_explanations(connection: Connection, explanations: Sequence[Explanation]) -> None:
    """Add explanations to what is kept."""
    if explanations:
        columns = zip(*explanations, strict=True)
        values = dict(zip(("entries", "kinds", "starts", "ends"), map(list, columns), strict=True))
        await connection.execute(QUERIES["publish_explanations"], values)
