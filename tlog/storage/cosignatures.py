"""What witnesses said of published checkpoints, and the policy under which checkpoints are published: both only ever grow."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tlog.storage.connection import Connection, translated
from tlog.storage.queries import QUERIES

if TYPE_CHECKING:
    from collections.abc import Iterable


class StoredCosignature(NamedTuple):
    """A verified cosignature over the checkpoint of a size: `time` in seconds since 1970, `received_at` in microseconds."""

    size: int
    name: str
    key_id: bytes
    time: int
    signature: bytes
    received_at: int


class WitnessPolicy(NamedTuple):
    """How checkpoints are published: `mode` is none, required or collect, `text` the policy file, empty with none."""

    mode: str
    text: str


async def add_cosignatures(connection: Connection, cosignatures: Iterable[StoredCosignature]) -> None:
    """Store what witnesses said; the same twice is one."""
    rows = [cosignature._asdict() for cosignature in cosignatures]
    if rows:
        with translated():
            async with connection.cursor() as cursor:
                await cursor.executemany(QUERIES["add_cosignature"], rows)


async def read_witness_policy(connection: Connection) -> WitnessPolicy | None:
    """Return the policy under which checkpoints are published now, None if there never was one."""
    with translated():
        row = await (await connection.execute(QUERIES["read_witness_policy"])).fetchone()
        return None if row is None else WitnessPolicy(*row)
