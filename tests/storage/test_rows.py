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

from tlog.core.commitment import MAX_RELATED
from tlog.core.making.drafts import DraftEntry
from tlog.storage.appending import AppendStore
from tlog.storage.database import Database
from tlog.storage.reading import ReadStore
from tlog.storage.rows import FoundEvent, Leaf
from tlog.storage.scan import RangeReader, scan
from tlog.writing.receipts import chain_drafts

pytestmark = pytest.mark.anyio

LEAF = Leaf(7, "01890a5d-ac96-774b-bcce-b302099a8057", b"{}", bytes(32), bytes(32))
ERASE = "UPDATE tlog.disclosure SET actor = %s, resource = %s, related = %s WHERE index = %s"

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
        await transaction.insert([rows.packed], rows.end)
    return rows.start.size


def erase(eraser, index, draft, erased):
    """Erase some groups, as the role does that may; return what is left of a draft."""
    left = [None if gone else given for gone, given in zip(erased, (draft.actor, draft.resource, *draft.related), strict=True)]  # fmt: skip
    eraser.execute(ERASE, (*left[:2], left[2:], index))
    return left


async def read(base, reader, start, batch):
    """Return what each way of reading finds of the disclosures of a batch: by eventId, by index, and as fsck reads."""
    by_id = {event.leaf.index: event for event in await reader.find([draft.event_id for draft in batch])}
    async with reader.view() as view:
        by_index = {event.leaf.index: event for event in await view.events(range(start, start + len(batch)))}
    async with scan(base) as snapshot:
        ranges = await asyncio.to_thread(RangeReader.open, base, await snapshot.share())
        checked = ranges.disclosures(start, start + len(batch))
        ranges.close()
    indexes = range(start, start + len(batch))
    assert list(by_id) == list(by_index) == [row[0] for row in checked] == list(indexes)
    for found in (by_id, by_index):
        yield [[found[index].actor, found[index].resource, *found[index].related] for index in indexes]
    yield [[row[1], row[2], *(row[3] or [])] for row in checked]


def test_what_is_stored_is_read_again_but_for_what_was_erased(database):
    """A batch of any events, some of whose groups are erased afterwards, one by one."""

    @settings(max_examples=25, deadline=None)
    @given(st.data())
    def check(data):
        batch = data.draw(st.lists(drafts, min_size=1, max_size=4))
        runner.run(round_trip(data, [structs.replace(draft, event_id=str(uuid4())) for draft in batch]))

    async def round_trip(data, batch):
        start = await append(appends, batch)
        whole = [[draft.actor, draft.resource, *draft.related] for draft in batch]
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
    (FoundEvent(LEAF), {}),
    (FoundEvent(LEAF, b"a", b"r"), {"actor": b"a", "resource": b"r"}),
    (FoundEvent(LEAF, None, b"", [None, b"1"]), {"resource": b"", "related/1": b"1"}),
    (FoundEvent(LEAF, b"a", None, [b"0", None]), {"actor": b"a", "related/0": b"0"}),
]


@pytest.mark.parametrize("found, expected", FOUND)
def test_what_is_disclosed_is_named_by_group_in_order(found, expected):
    assert list(found.disclosures().items()) == list(expected.items())


@pytest.mark.parametrize("related", ["array_fill('x'::bytea, '{33}')", "array_fill('x'::bytea, '{3,11}')", "NULL"])
async def test_what_no_event_has_is_not_stored(database, related):
    async with stores(database) as (_, appends, _):
        await appends.initialise("example.com/log")
        await append(appends, [])
    with database.connect_admin() as admin, pytest.raises(psycopg.errors.IntegrityError):
        admin.execute(f"INSERT INTO tlog.disclosure VALUES (0, 'x', 'x', {related})")


async def test_an_array_of_another_form_counts_as_erased(database):
    """Whoever may alter tables can store one; whoever asks gets an answer, and fsck names it."""
    async with stores(database) as (base, appends, reader):
        await appends.initialise("example.com/log")
        draft = DraftEntry(str(uuid4()), b"", b"", b"a", b"r", (b"0",))
        await append(appends, [draft])
        with database.connect_admin() as admin:
            admin.execute("UPDATE tlog.disclosure SET related = '{{x,y}}'")
        found = [each async for each in read(base, reader, 0, [draft])]
    assert found == [[[b"a", b"r"]], [[b"a", b"r"]], [[b"a", b"r", [b"x", b"y"]]]]


async def test_only_personal_data_may_be_erased(database):
    with database.connect_admin() as admin:
        admin.execute("SET ROLE tlog_eraser")
        for statement in (
            "UPDATE tlog.disclosure SET index = 1",
            "INSERT INTO tlog.disclosure VALUES (0, 'x', 'x', '{}')",
            "UPDATE tlog.leaf SET entry = ''",
            "TRUNCATE tlog.disclosure",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                admin.execute(statement)
