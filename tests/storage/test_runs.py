"""Runs in the database: found by any index, whatever their sizes, across the ends of partitions and over several rows."""

from __future__ import annotations

import asyncio
import os
import random
from functools import partial
from itertools import pairwise
from uuid import uuid4

import pytest
from stored import change_disclosed, read_disclosed, unguarded
from support import append, rich_events
from tampering import check

from tlog.checking.facts import RangeFacts
from tlog.checking.runs import open_runs
from tlog.core.entry import format_logged_at, from_microseconds, parse_entry, parse_logged_at, to_microseconds
from tlog.core.making.drafts import DraftEntry
from tlog.core.making.run import make_runs
from tlog.core.run import RUN_ENTRIES, Disclosed
from tlog.errors import DamagedLogError, MalformedInputError
from tlog.storage import runs as module
from tlog.storage.appending import AppendStore
from tlog.storage.database import Database
from tlog.storage.reading import ReadStore
from tlog.storage.runs import (
    DISCLOSURE_RUNS,
    ENTRY_RUNS,
    StoredRun,
    ask,
    join_parts,
    last_disclosed,
    open_rows,
    partitions,
)
from tlog.storage.scan import RangeReader, scan
from tlog.writing.packing import pack
from tlog.writing.receipts import chain_drafts

pytestmark = pytest.mark.anyio

WIDTH = 32
SIZE = int(os.environ.get("TLOG_TEST_RUN_SIZES", "150"))


@pytest.fixture
def narrow(database, monkeypatch):
    """Partitions of 32 entries, in the database and here."""
    for name in ("storage.runs", "storage.reading", "storage.appending", "storage.selfcheck"):
        monkeypatch.setattr(f"tlog.{name}.PARTITION_ENTRIES", WIDTH)
    monkeypatch.setattr("tlog.writing.packing.make_runs", partial(make_runs, partition=WIDTH))
    monkeypatch.setattr("tlog.storage.appending._PARTITIONS_AHEAD", WIDTH)
    with database.connect_admin() as admin:
        (made,) = admin.execute("SELECT pg_get_functiondef('tlog.ensure_partitions'::regproc)").fetchone()
        admin.execute(made.replace("4194304", str(WIDTH)).encode())
        admin.execute("DROP TABLE tlog.entry_run_0, tlog.disclosure_run_0; SELECT tlog.ensure_partitions(0)")


async def grow(log, rng, size):
    """Append events in groups of any sizes; yield the log's size after each."""
    number = 0
    while number < size:
        group = rng.randrange(1, min(WIDTH, size - number) + 1)
        await append(log, rich_events(group, seed=number))
        number += group
        yield (await log.reader.state()).size


@pytest.mark.usefixtures("narrow")
async def test_every_size_is_read_as_it_was_appended(opened, location, database):
    rng = random.Random(7)
    async with opened() as log:
        async for size in grow(log, rng, SIZE):
            entries = await log.reader.entries(0, size)
            assert len(entries) == size
            start, end = sorted(rng.sample(range(size + 1), 2))
            assert await log.reader.entries(start, end) == entries[start:end]
            async with log.reader.view() as view:
                some = rng.sample(range(size), min(size, 20))
                assert await view.entries(some) == {index: entries[index] for index in sorted(some)}
                assert [each.entry for each in await view.events(some)] == [entries[index] for index in sorted(some)]
                assert len(await view.keys_text(0, size)) > 0
        times = [to_microseconds(parse_logged_at(parse_entry(entry).loggedAt)) for entry in entries]
        for moment in {each + more for each in times for more in (-1, 0, 1)}:
            text = format_logged_at(from_microseconds(moment))
            for seen in (size, size - 1, WIDTH, WIDTH + 1, 5):
                async with log.reader.view() as view:
                    expected = sum(each < moment for each in times[:seen])
                    assert await view.first_logged_at(text, seen) == expected
        await log.wait_sealed(size - 1, 30)
    report = await check(location)
    assert (report.problems, report.exit_code, report.checked["entries"]) == ([], 0, size)
    with database.connect_admin() as admin:
        rows = admin.execute("SELECT first, count FROM tlog.entry_run ORDER BY first").fetchall()
    assert all(first // WIDTH == (first + count - 1) // WIDTH for first, count in rows)
    assert all(first + count == following for (first, count), (following, _) in pairwise(rows))


@pytest.mark.usefixtures("narrow")
async def test_few_rows_at_once_are_the_same_answer(opened, monkeypatch):
    async with opened() as log:
        size = [size async for size in grow(log, random.Random(8), 140)][-1]
        async with log.reader.view() as view:
            whole = await view.events(range(size))
            sizes = await view.sizes(range(size), disclosed=True)
            for rows in (2, 5, 20):  # of runs with one part
                monkeypatch.setattr(module, "_ROWS_AT_ONCE", rows)
                monkeypatch.setattr(module, "_STATEMENTS_AT_ONCE", 2)
                assert await view.events(range(size)) == whole
                assert await view.sizes(range(size), disclosed=True) == sizes
                assert await view.entries([3, 1, 100]) == {index: whole[index].entry for index in (1, 3, 100)}


@pytest.mark.usefixtures("narrow")
async def test_a_partition_that_is_not_as_it_was_made_is_refused(opened, location, database):
    async with opened() as log:
        async for _ in grow(log, random.Random(9), 70):
            pass
    for statement in (
        "ALTER TABLE tlog.disclosure_run DETACH PARTITION tlog.disclosure_run_1",
        "ALTER TABLE tlog.disclosure_run ATTACH PARTITION tlog.disclosure_run_1 FOR VALUES FROM (32) TO (63)",
        "ALTER TABLE tlog.disclosure_run_1 RENAME TO disclosure_run_9",
    ):
        with database.connect_admin() as admin, unguarded(admin, "disclosure_run"):
            admin.execute("DELETE FROM tlog.disclosure_run WHERE first = 63")
            admin.execute(statement)
        report = await check(location)
        assert [(each.damage, str(each.place)) for each in report.problems] == [("schema", "database")], statement
        assert (
            "partition tlog.disclosure_run_1 is missing, detached, renamed, of other bounds" in report.problems[0].what
        )


# --- Runs of several rows -------------------------------------------------------------------------------------------------


def large(n, rng):
    """Return a draft of an entry of 65,535 bytes, and as much to disclose as an event may, which do not compress."""
    groups = rng.randbytes(65_535), rng.randbytes(65_000)
    return DraftEntry(str(uuid4()), rng.randbytes(65_535 - 27 - 5), b"%05d" % n, *groups, (rng.randbytes(500),))


async def test_what_does_not_compress_takes_several_rows(database, monkeypatch):
    rng = random.Random(3)
    base = Database(database.service, database.admin)
    appends, reader = AppendStore(base), ReadStore(base, connections=1)
    await appends.initialise("example.com/log")
    drafts = [large(n, rng) for n in range(RUN_ENTRIES + 1)]
    async with appends.transaction(len(drafts)) as transaction:
        rows = chain_drafts(transaction.state, drafts, 0)
        packed = pack([rows])
        await transaction.insert([rows.leaves], packed, rows.end)
    assert (packed.counts, packed.parts > 66 + 130) == ([8, 1], True)
    await appends.close()
    await reader.open()
    async with reader.view() as view:
        events = await view.events(range(9))
        newest = await view.newest_events(range(9), 200_000)
        monkeypatch.setattr(module, "_ROWS_AT_ONCE", 140)  # which end within the parts of the first run
        assert await view.events(range(9)) == events
    assert [each.entry for each in events] == rows.entries
    assert [(each.actor, each.resource, *each.related) for each in events] == [
        (draft.actor, draft.resource, *draft.related) for draft in drafts
    ]
    assert newest == events[-2:]
    await reader.close()
    async with scan(base) as snapshot:
        ranges = await asyncio.to_thread(RangeReader.open, base, await snapshot.share())
        facts = RangeFacts(0, 0)
        found = open_runs(facts, range(9), ranges.leaves(0, 9), ranges.entry_runs(0, 9), ranges.disclosure_runs(0, 9))
        ranges.close()
    assert (len(found.rows), len(found.disclosures), facts.problems) == (9, 9, [])
    with database.connect_admin() as admin:
        before = admin.execute("SELECT count(*) FROM tlog.disclosure_run").fetchone()
        admin.execute("SET ROLE tlog_eraser")
        for index in range(9):
            change_disclosed(admin, index, lambda each: Disclosed(related=(b"",) * len(each.related)))
        assert set(read_disclosed(admin)) == {Disclosed(related=(b"",))}
        assert admin.execute("SELECT count(*) FROM tlog.disclosure_run").fetchone() == before


ROWS = [(5, 0, 3, b"ab"), (5, 1, 3, b"cd"), (5, 2, 3, b"")]
NO_RUN = {
    "first part missing": ROWS[1:],
    "part between missing": [ROWS[0], ROWS[2]],
    "part there twice": [ROWS[0], ROWS[1], ROWS[1]],
    "first part there twice": [ROWS[0], ROWS[0]],
    "parts of two counts": [ROWS[0], (5, 1, 4, b"cd")],
}


def test_parts_are_joined_in_their_order():
    assert join_parts(ROWS[::-1]) == StoredRun(5, 3, b"abcd")
    assert join_parts(ROWS[:1]) == StoredRun(5, 3, b"ab")


@pytest.mark.parametrize("rows", NO_RUN)
def test_rows_that_are_not_the_parts_of_one_run(rows):
    with pytest.raises(MalformedInputError, match="parts of the run are missing"):
        join_parts(NO_RUN[rows])
    with pytest.raises(DamagedLogError, match="the run of the entries 5 to 7 is damaged: parts of the run"):
        list(open_rows(ENTRY_RUNS, NO_RUN[rows]))


def test_which_partitions_a_range_is_in():
    width = module.PARTITION_ENTRIES
    for start, end, expected in (
        (0, 0, []), (0, 1, [0]), (0, width, [0]), (width - 1, width + 1, [0, 1]), (width, width, []), (5, 3 * width, [0, 1, 2]),
    ):  # fmt: skip
        assert list(partitions(start, end)) == expected


@pytest.mark.usefixtures("narrow")
async def test_the_last_that_is_disclosed_is_found(opened):
    async with opened() as log:
        size = [size async for size in grow(log, random.Random(10), 100)][-1]
        connection = await log.database.connect("tlog_reader")
        async with connection:
            assert await last_disclosed(connection, 0, size) == size - 1
            assert await last_disclosed(connection, 0, 50) == 49
            assert await last_disclosed(connection, 0, 1) is None, "entry 0 discloses nothing"
            assert await last_disclosed(connection, 7, 7) is None
            with pytest.raises(DamagedLogError):
                await module.read_runs_between(connection, DISCLOSURE_RUNS._replace(most=10), 0, size)


async def test_an_entry_that_is_asked_for_twice_is_read_once(opened):
    """As for the proofs of a request in which an event stands twice."""
    async with opened() as log:
        await append(log, rich_events(20))
        entries = await log.reader.entries(0, 21)
        async with await log.database.connect("tlog_reader") as connection:
            for kind in (ENTRY_RUNS, DISCLOSURE_RUNS):
                found = await (await ask(connection, kind, [7, 3, 7, 12, 3, 20])).found()
                assert sorted(found) == [3, 7, 12, 20]
            found = await (await ask(connection, ENTRY_RUNS, [7, 3, 7])).found()
        assert found == {index: entries[index] for index in (3, 7)}
