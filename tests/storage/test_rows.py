"""Rows as PostgreSQL takes them in and gives them out again: every number of related resources, whatever of them was erased."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from uuid import uuid4

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from stored import change_disclosed

from tlog.checking.facts import RangeFacts
from tlog.checking.runs import open_runs
from tlog.core.commitment import MAX_RELATED
from tlog.core.making.drafts import DraftEntry
from tlog.core.run import Disclosed
from tlog.storage.appending import AppendStore
from tlog.storage.database import Database
from tlog.storage.reading import ReadStore
from tlog.storage.rows import FoundEvent, Leaf
from tlog.storage.scan import RangeReader, scan
from tlog.writing.packing import pack
from tlog.writing.receipts import chain_drafts

pytestmark = pytest.mark.anyio

LEAF = Leaf(7, "01890a5d-ac96-774b-bcce-b302099a8057", bytes(32), bytes(32))

disclosures = st.binary(max_size=40)
drafts = st.builds(
    DraftEntry,
    event_id=st.just(""),
    head=st.just(b"head "),
    tail=st.just(b" tail"),
    actor=disclosures,
    resource=disclosures,
    related=st.lists(disclosures, max_size=MAX_RELATED).map(tuple),
)


@asynccontextmanager
async def stores(database):
    base = Database(database.service, database.admin)
    appends, reader = AppendStore(base), ReadStore(base, connections=1)
    await reader.open()
    try:
        yield base, appends, reader
    finally:
        await reader.close()
        await appends.close()


async def append(appends, batch):
    """Append drafts; return the index of the first."""
    async with appends.transaction(len(batch)) as transaction:
        rows = chain_drafts(transaction.state, batch, 0)
        await transaction.insert([rows.leaves], pack([rows]), rows.end)
    return rows.start.size


def erase(eraser, index, draft, erased):
    """Erase some groups, as the role does that may; return what is left of a draft."""
    actor, resource, *related = [b"" if gone else given for gone, given in zip(erased, groups_of(draft), strict=True)]
    change_disclosed(eraser, index, lambda _: Disclosed(actor, resource, tuple(related)))
    return present(actor, resource, *related)


def groups_of(draft):
    return draft.actor, draft.resource, *draft.related


def present(*groups):
    """An empty group is one that was erased."""
    return [group or None for group in groups]


async def read(base, reader, start, batch):
    """Return what each way of reading finds of the disclosures of a batch: by eventId, by index, and as fsck reads."""
    by_id = {event.leaf.index: event for event in await reader.find([draft.event_id for draft in batch])}
    bounds = range(start, start + len(batch))
    async with reader.view() as view:
        by_index = {event.leaf.index: event for event in await view.events(bounds)}
    async with scan(base) as snapshot:
        ranges = await asyncio.to_thread(RangeReader.open, base, await snapshot.share())
        runs = ranges.entry_runs(start, bounds.stop), ranges.disclosure_runs(start, bounds.stop)
        checked = open_runs(RangeFacts(start, start), bounds, ranges.leaves(start, bounds.stop), *runs)
        ranges.close()
    assert list(by_id) == list(by_index) == [row[0] for row in checked.rows] == list(bounds)
    for found in (by_id, by_index):
        yield [[found[index].actor, found[index].resource, *found[index].related] for index in bounds]
    rows = {row[0]: [row[1], row[2], *(row[3] or [])] for row in checked.disclosures}
    yield [rows.get(index, [None, None]) for index in bounds]


def test_what_is_stored_is_read_again_but_for_what_was_erased(database):
    """A batch of any events, some of whose groups are erased afterwards, one by one."""

    @settings(max_examples=25, deadline=None)
    @given(st.data())
    def check(data):
        batch = data.draw(st.lists(drafts, min_size=1, max_size=4))
        runner.run(round_trip(data, [structs.replace(draft, event_id=str(uuid4())) for draft in batch]))

    async def round_trip(data, batch):
        start = await append(appends, batch)
        whole = [present(*groups_of(draft)) for draft in batch]
        async for found in read(base, reader, start, batch):
            assert found == whole
        left = []
        for index, draft in enumerate(batch, start):
            groups = 2 + len(draft.related)
            erased = data.draw(st.lists(st.booleans(), min_size=groups, max_size=groups))
            left.append(erase(eraser, index, draft, erased))
        async for found in read(base, reader, start, batch):
            assert found == left

    with asyncio.Runner() as runner, database.connect_admin() as eraser:
        opening = stores(database)
        base, appends, reader = runner.run(opening.__aenter__())
        runner.run(appends.initialise("example.com/log"))
        eraser.execute("SET ROLE tlog_eraser")
        try:
            check()
        finally:
            runner.run(opening.__aexit__(None, None, None))


FOUND = [
    (FoundEvent(LEAF, b""), {}),
    (FoundEvent(LEAF, b"", b"a", b"r"), {"actor": b"a", "resource": b"r"}),
    (FoundEvent(LEAF, b"", None, b"r", [None, b"1"]), {"resource": b"r", "related/1": b"1"}),
    (FoundEvent(LEAF, b"", b"a", None, [b"0", None]), {"actor": b"a", "related/0": b"0"}),
]


@pytest.mark.parametrize("found, expected", FOUND)
def test_what_is_disclosed_is_named_by_group_in_order(found, expected):
    assert list(found.disclosures().items()) == list(expected.items())


BAD_RUNS = [
    "entry_run VALUES (0, 0, 0, 9, 'x')", "entry_run VALUES (0, 0, 0, 0, 'x')", "entry_run VALUES (0, 0, -1, 1, 'x')",
    "entry_run VALUES (0, 0, 0, 1, '')", "entry_run VALUES (-1, 0, 0, 1, 'x')", "entry_run VALUES (0, 0, 0, 1, repeat('x', 7901)::bytea)",
    "disclosure_run VALUES (0, 0, 9, 'x')", "disclosure_run VALUES (0, 0, 1, repeat('x', 7901)::bytea)", "entry_run VALUES (4194304, 0, 0, 1, 'x')",
]  # fmt: skip


@pytest.mark.parametrize("values", BAD_RUNS)
async def test_what_is_no_run_is_not_stored(database, values):
    with database.connect_admin() as admin, pytest.raises(psycopg.errors.IntegrityError):
        admin.execute(f"INSERT INTO tlog.{values}")


async def test_a_frame_is_kept_in_its_row(database):
    """Whole, not compressed again, and nowhere else: of every partition, those made later too."""
    with database.connect_admin() as admin:
        admin.execute("UPDATE tlog.log_state SET size = 4194304")
        admin.execute("SELECT tlog.ensure_partitions(4194304)")
        stored = admin.execute(
            "SELECT attrelid::regclass::text, attstorage FROM pg_attribute WHERE attname = 'data' AND attrelid IN "
            "(SELECT oid FROM pg_class WHERE relnamespace = 'tlog'::regnamespace AND relkind IN ('r', 'p'))"
        ).fetchall()
    tables = [f"tlog.{kind}_run{number}" for kind in ("entry", "disclosure") for number in ("", "_0", "_1")]
    assert sorted(stored) == sorted((table, "p") for table in tables)


async def test_only_personal_data_may_be_erased(database):
    with database.connect_admin() as admin:
        admin.execute("SET ROLE tlog_eraser")
        for statement in (
            "UPDATE tlog.disclosure_run SET first = 1",
            "UPDATE tlog.disclosure_run_0 SET count = 1",
            "INSERT INTO tlog.disclosure_run VALUES (0, 0, 1, 'x')",
            "DELETE FROM tlog.disclosure_run_0",
            "UPDATE tlog.entry_run SET data = ''",
            "SELECT FROM tlog.entry_run_0",
            "TRUNCATE tlog.disclosure_run",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                admin.execute(statement)
