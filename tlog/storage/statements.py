"""The statements that several stores share: the log's state, rows, tiles and checkpoints, read over any connection.

`read_…` fetches what its caller can name; `find_…` searches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from tlog.core.chain import CHAIN_START
from tlog.core.merkle import HASH_SIZE
from tlog.storage.connection import Connection, translated
from tlog.storage.queries import QUERIES
from tlog.storage.rows import FoundEvent, Leaf, Primary, SealedCheckpoint, State

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from tlog.core.tile import Tile


def array_text(numbers: Iterable[int]) -> str:
    """Return numbers as the text of an array; to adapt hundreds one by one would take longer than to read their rows."""
    return f"{{{','.join(map(str, numbers))}}}"


async def find_events(connection: Connection, event_ids: Collection[str]) -> list[FoundEvent]:
    """Return the events among `event_ids` that the log has."""
    values = {"event_ids": [UUID(event_id) for event_id in event_ids]}
    cursor = await connection.execute(QUERIES["find_events"], values, binary=True)
    return [FoundEvent(Leaf(*row[:5]), row[5], row[6], row[7] or ()) for row in await cursor.fetchall()]


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


async def find_failovers(connection: Connection, start: int) -> list[bytes]:
    """Return the entries from index `start` on that may say that the log goes on on another server."""
    with translated():
        cursor = await connection.execute(QUERIES["find_failovers"], {"start": start}, binary=True)
        return [entry for (entry,) in await cursor.fetchall()]


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
