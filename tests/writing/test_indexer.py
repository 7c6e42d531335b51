"""The indexer on a real PostgreSQL: what it stores is what the entries say, after any crash and any merge."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest
from stored import unguarded
from support import append, fill, page_tiles, sample_events

from tlog.checking import fsck as checking
from tlog.checking.fsck import fsck
from tlog.checking.replay import Replay
from tlog.core.entry import EventEntry, IndexEntry, parse_entry
from tlog.core.making.tiling import TILING, Tiling
from tlog.core.segment import PAGE_SIZE, format_table, parse_table, posting, table_hash
from tlog.errors import DamagedLogError, OperatorError
from tlog.lifecycle.making import create_log
from tlog.lifecycle.opening import open_log
from tlog.lifecycle.running import reindex
from tlog.signing.anchor import Anchor
from tlog.storage.database import Database

pytestmark = pytest.mark.anyio


def small(base, fold=4):
    """Base segments of `base` entries, so that few entries are merged often, `fold` at a time."""
    sizes = tuple(base * fold**level for level in range(6))
    return Tiling(base, sizes, max(16, base // 8), (max(8, base // 32), max(4, base // 256)))


def naive(entries, start, end):
    """The postings of the entries [start, end) as the format says, sorted."""
    found = []
    for index, data in enumerate(entries[start:end]):
        entry = parse_entry(data)
        if isinstance(entry, EventEntry):
            found += [posting(key, index) for key in entry.index_keys()]
    return b"".join(sorted(found))


async def check_index(log, admin):
    """Compare everything stored of the index with what the entries say; return the sealed epoch's segments."""
    entries = await log.reader.entries(0, (await log.reader.state()).size)
    epoch = await log.reader.sealed_epoch()
    entry = parse_entry(entries[epoch.entry_index])
    assert isinstance(entry, IndexEntry)
    segments = parse_table(epoch.table)
    assert (entry.size, entry.ends, entry.table_hash()) == (
        epoch.size,
        [segment.end for segment in segments],
        table_hash(format_table(segments)),
    )
    for segment, segment_id in zip(segments, epoch.segment_ids, strict=True):
        rows = admin.execute(
            "SELECT run, first_posting, pages FROM tlog.index_run WHERE segment_id = %s ORDER BY run", (segment_id,)
        ).fetchall()
        pages = b"".join(row[2] for row in rows)
        assert [row[0] for row in rows] == list(range(len(rows)))
        assert all(row[1] == row[2][:12] for row in rows)
        assert all(len(row[2]) == 16 * PAGE_SIZE for row in rows[:-1])
        assert pages == naive(entries, segment.start, segment.end)
        stored = admin.execute(
            "SELECT level, tile_index, hashes FROM tlog.index_tile WHERE segment_id = %s", (segment_id,)
        ).fetchall()
        assert {(level, index): hashes for level, index, hashes in stored} == page_tiles(pages)
    return segments


async def test_events_are_indexed_and_the_epoch_is_sealed(opened, database):
    async with opened(index=True) as log:
        receipts = await fill(log, 300)
        epoch = await log.wait_indexed(receipts[-1].index + 1, 10)
        assert epoch.size >= 301
        with database.connect_admin() as admin:
            assert [(each.start, each.end) for each in await check_index(log, admin)] == [(0, epoch.size)]
            await append(log, sample_events(40, seed=2))
            epoch = await log.wait_indexed(epoch.size + 40, 10)
            await check_index(log, admin)
            assert admin.execute("SELECT count(*) FROM tlog.index_segment").fetchone() == (2,)


async def test_an_epoch_that_ends_with_a_base_segment(opened, database):
    async with opened(index=True, tiling=small(64)) as log:
        await fill(log, 63)
        epoch = await log.wait_indexed(64, 10)
        with database.connect_admin() as admin:
            assert epoch.size == 64
            assert [(each.start, each.end) for each in await check_index(log, admin)] == [(0, 64)]


async def test_an_idle_log_makes_no_epochs(opened):
    async with opened(index=True, interval=0.02) as log:
        receipts = await fill(log, 3)
        epoch = await log.wait_indexed(receipts[-1].index + 1, 10)
        size = (await log.reader.state()).size
        await log.wait_sealed(size - 1, 10)
        await asyncio.sleep(0.5)
        assert (await log.reader.state()).size == size == epoch.entry_index + 1


async def check_log(location):
    directory = location.directory
    database = Database(location.database, location.admin)
    return await fsck(database, directory.verifier(), directory.bucket_keys(), Anchor(directory.anchor).read)


@pytest.mark.parametrize("tiling", [small(64), TILING], ids=["small", "a log's"])
async def test_fsck_replays_every_epoch(opened, location, monkeypatch, tiling):
    monkeypatch.setattr(checking, "Replay", partial(Replay, at_once=tiling.base))
    async with opened(index=True, interval=0.05, tiling=tiling) as log:
        for seed in range(12):
            receipts = await append(log, sample_events(90, seed=seed))
            await log.wait_indexed(receipts[-1].index + 1, 20)
        await log.wait_sealed((await log.reader.state()).size - 1, 20)
    report = await check_log(location)
    assert report.problems == []
    assert report.checked["epochs"] >= 12
    assert report.checked["segments"] > 0


async def test_the_index_can_be_made_again(opened, location, database):
    """Threats to the index itself: what is stored of it is noticed by fsck, and made again from the entries."""
    async with opened(index=True, interval=0.05, tiling=small(64)) as log:
        for seed in range(4):
            receipts = await append(log, sample_events(90, seed=seed))
            await log.wait_indexed(receipts[-1].index + 1, 20)
    with database.connect_admin() as admin:
        admin.execute("UPDATE tlog.index_run SET pages = set_byte(pages, 3, 255 - get_byte(pages, 3)) WHERE run = 0")
    report = await check_log(location)
    assert {problem.damage for problem in report.problems} == {"index drift"}
    assert "'tlog reindex'" in report.text()
    async with open_log(location, interval=0.05, tiling=small(64)) as log:
        seen = []
        size = await reindex(log, lambda done, total: seen.append((done, total)))
    assert size >= receipts[-1].index + 1
    assert seen
    assert (await check_log(location)).problems == []


async def test_what_is_merged_without_events_is_in_an_epoch(opened, location):
    async with opened(index=True, interval=0.05, tiling=small(64)) as log:
        size = (await fill(log, 1030))[-1].index + 1
        await log.wait_indexed(size, 20)
    async with open_log(location, interval=0.05, tiling=small(64)) as log:
        await reindex(log, lambda *_: None)

    async def sizes(log):
        segments = parse_table((await log.reader.sealed_epoch()).table)
        return [each.end - each.start for each in segments]

    async with opened(index=True, interval=0.05, tiling=small(64)) as log:
        for _ in range(600):
            if (await sizes(log))[0] == 1024:
                break
            await asyncio.sleep(0.05)
        assert (await sizes(log))[0] == 1024
        await asyncio.sleep(0.5)
        rests = (await log.reader.state()).size
        await asyncio.sleep(0.5)
        assert (await log.reader.state()).size == rests


async def test_an_index_of_other_sizes_goes_over_to_these(opened, location, database):
    async with opened(index=True, interval=0.05, tiling=small(16)) as log:
        for seed in range(5):
            size = (await append(log, sample_events(110, seed=seed)))[-1].index + 1
            await log.wait_indexed(size, 20)
        before = {each.end - each.start for each in parse_table((await log.reader.sealed_epoch()).table)}
    assert before & {16, 256}, "sizes that are not among the next"
    async with opened(index=True, interval=0.05, tiling=small(64, fold=8)) as log:
        for seed in range(5, 60):
            size = (await append(log, sample_events(20, seed=seed)))[-1].index + 1
            await log.wait_indexed(size, 20)
            segments = parse_table((await log.reader.sealed_epoch()).table)
            if seed > 10 and {each.end - each.start for each in segments if each.end <= size // 64 * 64} == {512, 64}:
                break
        with database.connect_admin() as admin:
            checked = await check_index(log, admin)
        await log.wait_sealed((await log.reader.state()).size - 1, 20)
    assert checked[0].end == 512
    assert {each.end - each.start for each in checked if each.end <= 512 + 64} == {512, 64}
    assert (await check_log(location)).problems == []


async def test_only_who_leads_makes_the_index_again(opened, location):
    async with opened(index=True) as log:
        await fill(log, 3)
        await log.wait_indexed(3, 20)
        async with open_log(location, interval=60) as other:
            with pytest.raises(OperatorError, match="another process indexes"):
                await reindex(other, lambda *_: None)


async def test_a_log_without_events_is_indexed_again_at_once(location):
    await create_log(location, "example.com/empty")
    async with open_log(location) as log:
        async with asyncio.timeout(30):  # it would wait for a day
            assert await reindex(log, lambda *_: None) == 0
        assert await log.reader.sealed_epoch() is None


async def test_an_index_over_missing_entries_stops_and_says_so(opened, location, database):
    async with opened() as log:
        await fill(log, 30)
    with database.connect_admin() as admin, unguarded(admin):
        admin.execute("DELETE FROM tlog.entry_run WHERE first BETWEEN 1 AND 7")
    async with open_log(location, interval=0.05) as log:
        with pytest.raises(DamagedLogError, match="one is missing"):
            await reindex(log, lambda *_: None)
