"""PostgreSQL's binary COPY: packed rows in, values out (PostgreSQL documentation, COPY, "Binary Format")."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from tlog.storage.queries import QUERIES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tlog.storage.connection import Connection

_HEADER: Final = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
_END: Final = b"\xff\xff"
_VALUE: Final = struct.Struct(">hi")


async def copy_in(connection: Connection, query: str, parts: Iterable[bytes]) -> None:
    """Write packed rows; without rows the database is not asked.

    Args:
        connection: in a role that may insert them.
        query: the name of a COPY … FROM STDIN (FORMAT BINARY).
        parts: pieces of the rows. Each row has its number of columns (2 bytes), then the length (4 bytes) and value of each.

    """
    parts = [part for part in parts if part]
    if parts:
        async with connection.cursor().copy(QUERIES[query]) as copy:
            await copy.write(_HEADER)
            for part in parts:
                await copy.write(memoryview(part))  # psycopg cuts the part into pieces, which need not be copies
            await copy.write(_END)


async def copy_out(connection: Connection, query: str, values: Mapping[str, object]) -> list[bytes]:
    """Return the values of a COPY of one column TO STDOUT (FORMAT BINARY); psycopg's own reading takes three times as long."""
    async with connection.cursor().copy(QUERIES[query], values) as copy:
        data = b"".join([piece async for piece in copy])
    found, at = [], len(_HEADER)
    while data[at : at + len(_END)] != _END:
        _, length = _VALUE.unpack_from(data, at)
        at += _VALUE.size + length
        found.append(data[at - length : at])
    return found
