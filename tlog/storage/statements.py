"""The statements that several stores share: the log's state, rows, tiles and checkpoints, read over any connection.

`read_…` fetches what its caller can name; `find_…` searches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from uuid import UUID

from tlog.core.chain import CHAIN_START
from tlog.core.merkle import HASH_SIZE
from tlog.errors import DamagedLogError
from tlog.storage.connection import Connection, translated
from tlog.storage.queries import QUERIES
from tlog.storage.rows import FoundEvent, Leaf, Primary, SealedCheckpoint, State
from tlog.storage.runs import DISCLOSURE_RUNS, ENTRY_RUNS, ask, portions

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from tlog.core.run import Disclosed
    from tlog.core.tile import Tile

_MAX_INDEX: Final = (1 << 63) - 1
_FAILOVER: Final = b'"kind":"failover"'


async def find_events(connection: Connection, event_ids: Collection[str]) -> list[FoundEvent]:
    """Return the events among `event_ids` that the log has."""
    values = {"event_ids": [UUID(event_id) for event_id in event_ids]}
    cursor = await connection.execute(QUERIES["find_events"], values, binary=True)
    leaves = [Leaf(*row) for row in await cursor.fetchall()]
    indexes = [leaf.index for leaf in leaves]
    async with connection.pipeline():
        entries, disclosed = await ask(connection, ENTRY_RUNS, indexes), await ask(connection, DISCLOSURE_RUNS, indexes)
        return found_events(leaves, await entries.found(), await disclosed.found())


def found_events(
    leaves: Sequence[Leaf], entries: Mapping[int, bytes], disclosed: Mapping[int, Disclosed]
) -> list[FoundEvent]:
    """Return rows with their entries and disclosures.

    Raises:
        DamagedLogError: a row has none.

    """
    found = []
    for leaf in leaves:
        entry, groups = entries.get(leaf.index), disclosed.get(leaf.index)
        if entry is None or groups is None:
            message = f"entry {leaf.index} is missing, or what is disclosed of it; run 'tlog fsck'"
            raise DamagedLogError(message)
        found.append(
            FoundEvent(
                leaf, entry, groups.actor or None, groups.resource or None, [each or None for each in groups.related]
            )
        )
    return found


async def read_state(connection: Connection) -> State:
    """Return the state of the log; before the log was initialised, the state of an empty one."""
    with translated():
        cursor = await connection.execute(QUERIES["read_state"])
        row = await cursor.fetchone()
        return State(0, CHAIN_START, 0) if row is None else State(*row[1:])


async def read_primary(connection: Connection) -> Primary:
    """Return which PostgreSQL this is."""
    with translated():
        cursor = await connection.execute(QUERIES["read_primary"])
        row = await cursor.fetchone()
        assert row is not None  # noqa: S101 - every server has one; for the type checker
        return Primary(*row)


async def read_controls(connection: Connection, start: int, end: int) -> list[tuple[int, bytes]]:
    """Return index and entry of each control entry of [start, end), as many as there are.

    Raises:
        DamagedLogError: one of them is in a run that does not open.

    """
    with translated():
        cursor = await connection.execute(QUERIES["find_controls"], {"start": start, "end": end}, binary=True)
        indexes = [index for (index,) in await cursor.fetchall()]
    found: list[tuple[int, bytes]] = []
    for first, last in portions(0, len(indexes)):
        asked = await ask(connection, ENTRY_RUNS, indexes[first:last])
        found += sorted((await asked.found()).items())
    return found


async def find_failovers(connection: Connection, start: int) -> list[bytes]:
    """Return the entries from index `start` on that may say that the log goes on on another server."""
    return [entry for _, entry in await read_controls(connection, start, _MAX_INDEX) if _FAILOVER in entry]


async def read_leaf(connection: Connection, index: int) -> Leaf | None:
    """Return one row, None if it is not there."""
    with translated():
        cursor = await connection.execute(QUERIES["read_leaf"], {"index": index}, binary=True)
        row = await cursor.fetchone()
        return None if row is None else Leaf(*row)


async def read_tiles(connection: Connection, tiles: Iterable[Tile]) -> dict[tuple[int, int], bytes]:
    """Return the stored hashes of `tiles`, each cut to its width; absent ones are left out."""
    wanted = {(tile.level, tile.index): tile.width for tile in tiles}
    if not wanted:
        return {}
    values = {"levels": [level for level, _ in wanted], "indexes": [index for _, index in wanted]}
    with translated():
        cursor = await connection.execute(QUERIES["read_tiles"], values, binary=True)
        return {
            (level, index): hashes[: wanted[level, index] * HASH_SIZE]
            for level, index, hashes in await cursor.fetchall()
        }


async def read_latest_checkpoint(connection: Connection) -> SealedCheckpoint | None:
    """Return the largest published checkpoint, None if there is none."""
    with translated():
        cursor = await connection.execute(QUERIES["read_latest_checkpoint"])
        row = await cursor.fetchone()
        return None if row is None else SealedCheckpoint(*row)


async def read_checkpoint(connection: Connection, size: int) -> SealedCheckpoint | None:
    """Return the published checkpoint of exactly `size`, None if there is none."""
    with translated():
        cursor = await connection.execute(QUERIES["read_checkpoint"], {"size": size})
        row = await cursor.fetchone()
        return None if row is None else SealedCheckpoint(*row)
