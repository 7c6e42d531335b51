"""What the sealer reads back and publishes: rows, tiles and checkpoints, over a connection of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from tlog.storage.connection import translated
from tlog.storage.cosignatures import add_cosignatures, read_witness_policy
from tlog.storage.leading import LeadingStore
from tlog.storage.queries import QUERIES
from tlog.storage.runs import ENTRY_RUNS, read_entry, read_runs_between
from tlog.storage.statements import read_latest_checkpoint, read_leaf, read_primary, read_state, read_tiles

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tlog.core.tile import Tile
    from tlog.storage.cosignatures import StoredCosignature, WitnessPolicy
    from tlog.storage.rows import Leaf, Primary, SealedCheckpoint, State


class SealStore(LeadingStore):
    """Reads entries back and publishes tiles and checkpoints, over one connection of its own."""

    role = "tlog_sealer"
    lock = 0x746C6F67_7365616C  # "tlogseal"

    async def state(self) -> State:
        """Return the committed state of the log."""
        return await read_state(self._connection)

    async def primary(self) -> Primary:
        """Return which PostgreSQL the log is on."""
        return await read_primary(self._connection)

    async def leaf(self, index: int) -> Leaf | None:
        """Return one row, None if it is not there."""
        return await read_leaf(self._connection, index)

    async def entry(self, index: int) -> bytes | None:
        """Return one entry, None if it is not there."""
        return await read_entry(self._connection, index)

    async def rows(self, start: int, end: int) -> list[tuple[int, bytes, bytes, bytes]]:
        """Return (index, entry, leaf hash, chain hash) of the rows [start, end) in order, of which there are both.

        Raises:
            DamagedLogError: a run of entries does not open.

        """
        with translated():
            values = {"start": start, "end": end}
            cursor = await self._connection.execute(QUERIES["read_leaves"], values, binary=True)
            leaves = cast("list[tuple[int, bytes, bytes]]", await cursor.fetchall())
        entries = dict(await read_runs_between(self._connection, ENTRY_RUNS, start, end))
        return [(index, entries[index], leaf, chain) for index, leaf, chain in leaves if index in entries]

    async def tiles(self, tiles: Iterable[Tile]) -> dict[tuple[int, int], bytes]:
        """Return the stored hashes of `tiles`, each cut to its width; absent ones are left out."""
        return await read_tiles(self._connection, tiles)

    async def write_tiles(self, tiles: Mapping[tuple[int, int], bytes]) -> None:
        """Store tiles in one transaction; a stored tile only grows."""
        rows = [{"level": level, "tile_index": index, "hashes": hashes} for (level, index), hashes in tiles.items()]
        with translated():
            async with self._connection.transaction(), self._connection.cursor() as cursor:
                await cursor.executemany(QUERIES["write_tile"], rows)

    async def latest_checkpoint(self) -> SealedCheckpoint | None:
        """Return the largest published checkpoint."""
        return await read_latest_checkpoint(self._connection)

    async def publish(self, checkpoint: SealedCheckpoint, cosignatures: Iterable[StoredCosignature] = ()) -> None:
        """Store a checkpoint, and with it what witnesses said, all or nothing; the same one twice is one."""
        values = checkpoint._asdict()
        values["root_hash"] = values.pop("root")
        with translated():
            async with self._connection.transaction():
                await add_cosignatures(self._connection, cosignatures)
                await self._connection.execute(QUERIES["publish_checkpoint"], values)

    async def add_cosignatures(self, cosignatures: Iterable[StoredCosignature]) -> None:
        """Store what witnesses said of published checkpoints; the same twice is one."""
        await add_cosignatures(self._connection, cosignatures)

    async def witness_policy(self) -> WitnessPolicy | None:
        """Return the policy under which checkpoints are published now, None if there never was one."""
        return await read_witness_policy(self._connection)

    async def change_witness_policy(self, since_size: int, policy: WitnessPolicy) -> None:
        """Store another one, from a size on."""
        with translated():
            values = {"since_size": since_size, **policy._asdict()}
            await self._connection.execute(QUERIES["change_witness_policy"], values)
