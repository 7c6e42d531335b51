"""Binary COPY: what is copied in is in the table, and values come out as they are."""

from __future__ import annotations

import struct

import psycopg
import pytest

from tlog.storage.binary_copy import copy_in, copy_out
from tlog.storage.queries import QUERIES

pytestmark = pytest.mark.anyio

VALUES = [b"", b"\xff\xff", b"\xff\xff" * 3, b"PGCOPY\n\xff\r\n\x00", bytes(range(256)) * 300]


@pytest.fixture
async def connection(database, monkeypatch):
    """A connection that has a table of numbered values, and queries that copy them."""
    monkeypatch.setitem(QUERIES, "in", b"COPY pg_temp.value (number, data) FROM STDIN (FORMAT BINARY)")
    monkeypatch.setitem(
        QUERIES,
        "out",
        b"COPY (SELECT data FROM pg_temp.value WHERE number >= %(first)s ORDER BY number) TO STDOUT (FORMAT BINARY)",
    )
    async with await psycopg.AsyncConnection.connect(database.admin, autocommit=True) as connection:
        await connection.execute("CREATE TEMP TABLE value (number bigint, data bytea)")
        yield connection


def row(number, data):
    return struct.pack(">hiqi", 2, 8, number, len(data)) + data


async def test_rows_go_in_and_values_come_out(connection):
    await copy_in(connection, "in", [row(0, VALUES[0]) + row(1, VALUES[1]), b"", *map(row, range(2, 5), VALUES[2:])])
    stored = await (await connection.execute("SELECT number, data FROM value ORDER BY number")).fetchall()
    assert stored == [*enumerate(VALUES)]
    assert await copy_out(connection, "out", {"first": 0}) == VALUES
    assert await copy_out(connection, "out", {"first": 3}) == VALUES[3:]
    assert await copy_out(connection, "out", {"first": 5}) == []


async def test_nothing_is_asked_of_the_database_without_rows(connection):
    await connection.close()
    await copy_in(connection, "in", [b"", b""])
    with pytest.raises(psycopg.OperationalError):
        await copy_in(connection, "in", [row(0, b"")])


async def test_rows_that_are_cut_off_are_refused_whole(connection):
    with pytest.raises(psycopg.errors.BadCopyFileFormat):
        await copy_in(connection, "in", [row(0, b"whole"), row(1, b"cut off")[:-4]])
    assert await copy_out(connection, "out", {"first": 0}) == []
