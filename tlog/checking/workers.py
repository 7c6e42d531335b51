"""Checking ranges in several processes at once, each with a connection to the same snapshot; or here, for a small log."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING, Final, NamedTuple

from tlog.checking.facts import Before, RangeFacts
from tlog.checking.ranges import BLOCK, RangeCheck
from tlog.checking.report import Place
from tlog.checking.runs import REACH, open_runs
from tlog.core.making.bucket_keys import BucketKeys
from tlog.core.tile import TILE_WIDTH
from tlog.errors import OverloadedError
from tlog.storage.scan import RangeReader

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from tlog.storage.database import Database

_ROWS: Final = 1_024
_SMALL: Final = 2 * BLOCK


class Task(NamedTuple):
    """A range to check: its bounds, the tree sizes that are watched in it, and what is known of the entries before it.

    `before` is None where the range begins at a block of its own; then only the chain is asked of the row before.
    """

    start: int
    end: int
    watched: Sequence[int]
    sealed: int
    before: Before | None


def plan(start: int, end: int, watched: Sequence[int], sealed: int, before: Before) -> list[Task]:
    """Return the ranges of [start, end), cut at blocks."""
    tasks = []
    first = start
    while first < end:
        last = min((first // BLOCK + 1) * BLOCK, end)
        sizes = [size for size in watched if first < size <= last]
        tasks.append(Task(first, last, sizes, sealed, before if first == start else None))
        first = last
    return tasks


def check_range(reader: RangeReader, task: Task, bucket_keys: BucketKeys | None) -> RangeFacts:
    """Check a range and return its facts; rows that the primary key does not lead to are looked for by a sequential scan."""
    reader.use(index_scans=True)
    facts = _check(reader, task, bucket_keys)
    if facts.missing or facts.runless:
        reader.use(index_scans=False)
        found = _check(reader, task, bucket_keys, rows=task.end - task.start)
        hidden = sorted({*facts.missing, *facts.runless} - {*found.missing, *found.runless})
        for index in hidden:
            what = "the table's index does not reach this row, only a sequential scan does. REINDEX, and find out who altered it"
            found.add("row hidden", Place("entry", index), what)
        facts = found
    return facts


def _check(reader: RangeReader, task: Task, bucket_keys: BucketKeys | None, *, rows: int = _ROWS) -> RangeFacts:
    before = task.before or Before(reader.chain_hash(task.start - 1))
    tiles = reader.tiles(task.start // TILE_WIDTH, -(-task.end // TILE_WIDTH))
    check = RangeCheck(task.start, before, task.watched, tiles, sealed=task.sealed, bucket_keys=bucket_keys)
    check.facts.read_tiles = len(tiles)
    for start in range(task.start, task.end, rows):
        end = min(start + rows, task.end)
        leaves, reach = reader.leaves(start, end), max(0, start - REACH)
        runs = reader.entry_runs(reach, end), reader.disclosure_runs(reach, end)
        check.take(open_runs(check.facts, range(start, end), leaves, *runs))
    check.skip(task.end)
    return check.finish()


async def check_ranges(
    tasks: Sequence[Task], database: Database, snapshot: str, bucket_keys: BucketKeys | None
) -> AsyncIterator[RangeFacts]:
    """Yield the facts of each range, in order.

    Args:
        tasks: the ranges.
        database: where to connect to.
        snapshot: the name of the snapshot to read from.
        bucket_keys: to check index keys against disclosures.

    Raises:
        OverloadedError: the database is away, or a process that checks ended.

    """
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if workers == 1 or sum(task.end - task.start for task in tasks) <= _SMALL:
        # Other processes would take longer to start.
        reader = await asyncio.to_thread(RangeReader.open, database, snapshot)
        try:
            for task in tasks:
                yield await asyncio.to_thread(check_range, reader, task, bucket_keys)
        finally:
            reader.close()
        return
    keys = None if bucket_keys is None else bucket_keys.to_bytes()
    pool = ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), initializer=_start, initargs=(database, snapshot, keys)
    )
    loop, waiting, left = asyncio.get_running_loop(), deque[asyncio.Future[RangeFacts]](), deque(tasks)
    try:
        while waiting or left:
            while left and len(waiting) < 2 * workers + 1:  # what is done and not joined yet is bounded too
                waiting.append(loop.run_in_executor(pool, _work, left.popleft()))
            yield await waiting.popleft()
    except BrokenProcessPool:
        message = "a process that checks entries ended; is there enough memory?"
        raise OverloadedError(message) from None
    finally:
        for future in waiting:
            future.cancel()
        await asyncio.to_thread(pool.shutdown, cancel_futures=True)


class _Worker(NamedTuple):
    """What a process of the pool keeps for all its ranges."""

    reader: RangeReader
    bucket_keys: BucketKeys | None


_worker: _Worker


def _start(database: Database, snapshot: str, keys: bytes | None) -> None:
    global _worker  # noqa: PLW0603 - how a pool's processes keep what is theirs
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that started this one ends it
    _worker = _Worker(RangeReader.open(database, snapshot), None if keys is None else BucketKeys(keys))


def _work(task: Task) -> RangeFacts:
    return check_range(_worker.reader, task, _worker.bucket_keys)
