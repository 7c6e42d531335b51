"""The pool of readers: whoever cannot have a connection is told to try again, whatever is read."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from contextlib import asynccontextmanager

import pytest
from support import ROOT, append, fill, rich_events

from tlog.core.tile import ENTRIES, Tile
from tlog.errors import OverloadedError
from tlog.storage.database import Database
from tlog.storage.reading import ReadStore

pytestmark = pytest.mark.anyio

ARGUMENTS = {
    "api_key": ("a",),
    "bundle": (Tile(ENTRIES, 0, 1),),
    "checkpoint": (1,),
    "checkpoints": (2, 1),
    "entries": (0, 1),
    "entry": (0,),
    "find": (["01890a5d-ac96-774b-bcce-b302099a8057"],),
    "has_keys": (0, 1),
    "indexed_size": (),
    "failovers": (0,),
    "latest_checkpoint": (),
    "leaf": (0,),
    "origin": (),
    "primary": (),
    "progress": (),
    "sealed_epoch": (),
    "sealed_leaf": (None, 0),
    "session": (bytes(32),),
    "standing": (),
    "state": (),
    "tiles": ([Tile(0, 0, 1)],),
    "view": (),
    "witness_policy": (),
}
# `tlog` that finds every connection of its readers taken when it asks for the newest epoch.
CROWDED = """
from contextlib import AsyncExitStack
from tlog.cli import app
from tlog.lifecycle.opening import Log

wait_indexed = Log.wait_indexed

async def wait_in_a_crowd(log, size, timeout):
    pool = log.reader._pool
    pool.timeout = 0.05
    async with AsyncExitStack() as taken:
        for _ in range(pool.max_size):
            await taken.enter_async_context(pool.connection(timeout=10))
        return await wait_indexed(log, size, timeout)

Log.wait_indexed = wait_in_a_crowd
app.main()
"""


def readers():
    """Every public method that reads; the others open and close the pool, or only count its connections."""
    methods = {name for name, _ in inspect.getmembers(ReadStore, callable) if not name.startswith("_")}
    return sorted(methods - {"open", "close", "connections"})


@asynccontextmanager
async def open_reader(database):
    reader = ReadStore(Database(database.service, database.admin), connections=1)
    await reader.open()
    try:
        yield reader
    finally:
        await reader.close()


async def outcome(reader, name):
    """Read to the end; return the class of the error, None if there is none."""
    reading = getattr(reader, name)(*ARGUMENTS[name])
    try:
        if inspect.isawaitable(reading):
            await reading
        else:
            async with reading as view:
                await view.position(sealed=False)
    except Exception as error:  # noqa: BLE001 - the class is what the test is about
        return type(error)
    return None


def tlog_in_a_crowd(location, *arguments):
    return subprocess.run(
        [sys.executable, "-c", CROWDED, *arguments, "--data", location.directory.root],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=ROOT,
        env=os.environ | {"TLOG_DATABASE": location.database, "TLOG_ADMIN_DATABASE": location.admin},
    )


def test_every_reader_is_in_the_table():
    assert readers() == sorted(ARGUMENTS)


async def test_every_reader_says_that_no_connection_is_free(database):
    async with open_reader(database) as reader:
        reader._pool.timeout = 0.05
        async with reader._pool.connection():
            outcomes = {name: await outcome(reader, name) for name in readers()}
        assert outcomes == dict.fromkeys(readers(), OverloadedError)


async def test_every_reader_says_that_the_server_ended_its_connection(database):
    async with open_reader(database) as reader:
        # Connections that have ended are found before they are lent; here, they end in the reader's hands.
        reader._pool._check = None
        outcomes = {}
        for name in readers():
            async with reader._pool.connection() as connection:
                process = connection.info.backend_pid
            with database.connect_admin() as admin:
                admin.execute("SELECT pg_terminate_backend(%s, 10000)", (process,))
            outcomes[name] = await outcome(reader, name)
        assert outcomes == dict.fromkeys(readers(), OverloadedError)


@pytest.mark.parametrize("command", ["export", "reindex"])
async def test_a_command_without_a_free_connection_ends_with_exit_code_75(command, opened, location, directory):
    async with opened() as log:
        await fill(log, 3)
    options = ["--evidence", directory / "bundle.json", "--action", "read"] if command == "export" else []
    done = tlog_in_a_crowd(location, command, *options)
    assert (done.returncode, done.stderr) == (75, "tlog: the database cannot serve this now (PoolTimeout)\n")


FORGET_THE_NEWEST = """
ALTER TABLE tlog.checkpoint DISABLE TRIGGER ALL;
DELETE FROM tlog.checkpoint WHERE size = (SELECT max(size) FROM tlog.checkpoint);
"""
REPLACE_THE_NEWEST = """
ALTER TABLE tlog.checkpoint DISABLE TRIGGER ALL;
UPDATE tlog.checkpoint SET note = 'another' WHERE size = (SELECT max(size) FROM tlog.checkpoint);
"""
FORGET_ALL = "ALTER TABLE tlog.checkpoint DISABLE TRIGGER ALL; DELETE FROM tlog.checkpoint"


async def position(reader):
    async with reader.view() as view:
        return await view.position(sealed=False)


NEWEST = {
    "latest_checkpoint": lambda reader: reader.latest_checkpoint(),
    "sealed_leaf": lambda reader: reader.sealed_leaf(None, 0),
    "position": position,
}


@pytest.mark.parametrize(
    "statements", [FORGET_THE_NEWEST, REPLACE_THE_NEWEST, FORGET_ALL], ids=["older", "other", "none"]
)
@pytest.mark.parametrize("read", NEWEST)
@pytest.mark.parametrize("shown", NEWEST)
async def test_nobody_is_shown_an_older_checkpoint_than_before(opened, database, shown, read, statements):
    async with opened() as log:
        await fill(log, 3)
        await fill(log, 3, seed=2)
        reader = ReadStore(log.database, connections=2)
        await reader.open()
        await NEWEST[shown](reader)
        with database.connect_admin() as admin:
            admin.execute(statements)
        with pytest.raises(OverloadedError, match="went back"):
            await NEWEST[read](reader)
        await reader.checkpoint(4)  # who asks for one of a certain size may have any
        await reader.sealed_leaf(4, 0)
        await reader.close()


async def test_a_reading_that_began_before_a_newer_one_ended_is_not_suspected(opened):
    async with opened() as log:
        await fill(log, 3)
        reader = ReadStore(log.database, connections=2)
        await reader.open()
        async with reader.view() as view:
            before = await view.position(sealed=False)
            await fill(log, 3, seed=2)
            newer = await reader.latest_checkpoint()
            assert newer.size > before.checkpoint.size
            assert (await view.position(sealed=False)).checkpoint == before.checkpoint
        await reader.close()


async def test_s3_the_newest_rows_are_read_as_long_as_they_are_small(opened):
    async with opened() as log:
        receipts = await append(log, rich_events(40))
        indexes = [receipt.index for receipt in receipts]
        async with log.reader.view() as view:
            rows = {row.leaf.index: row for row in await view.events(indexes)}
            whole = await view.sizes(indexes, disclosed=True)
            entries = await view.sizes([*indexes, 10_000], disclosed=False)
            assert entries == {index: len(row.entry) for index, row in rows.items()}
            disclosed = {index: sum(map(len, row.disclosures().values())) for index, row in rows.items()}
            assert whole == {index: entries[index] + disclosed[index] for index in indexes}
            for most in (0, disclosed[indexes[-1]] - 1, disclosed[indexes[-1]], sum(disclosed.values()) // 2, 1 << 30):
                found = await view.newest_events(indexes[::-1], most)
                assert found == [rows[row.leaf.index] for row in found]
                assert [row.leaf.index for row in found] == indexes[-len(found) :]
                before = sum(disclosed[row.leaf.index] for row in found[1:])
                assert before <= most
                assert len(found) == len(indexes) or before + disclosed[found[0].leaf.index] > most
            assert await view.newest_events([10_000], 0) == []
            assert await view.events_within(indexes, 1) is None
            assert await view.events_within([10_000], 0) == []
            whole = await view.events_within(indexes, 1 << 20)
            assert whole == await view.newest_events(indexes, 1 << 20)
