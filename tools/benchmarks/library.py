"""The log as a library: `inprocess` from memory, `index` alone, `load` to fill a log, `growth` from what that noted."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from benchmarks.generator import feed
from benchmarks.machine import Usage, children, median_of, over_runs, spread
from benchmarks.service import checked, scratch
from tlog.core.making.parsing import parse_batch
from tlog.core.segment import parse_table
from tlog.lifecycle.making import create_log
from tlog.lifecycle.opening import is_log, open_log
from tlog.lifecycle.running import forget_index, running
from tlog.location import DataDirectory, Location, run_loop, tune_memory
from tlog.storage.index import IndexStore
from tlog.writing.drafting import LOCAL, draft_events
from tlog.writing.grouping import MAX_GROUP_EVENTS
from tlog.writing.segments import Merging, Stored

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from tlog.core.making.drafts import DraftEntry
    from tlog.lifecycle.opening import Log

BATCH = 1_000
_PORTION = 50
_STEPS = 100
_WARM_UP_EVENTS = 50_000
_INDEX_RATE = 20_000
_QUIET_SECONDS, _QUIET_SHARE = 3.0, 0.05
_ORIGIN = "localhost/bench"


def draft_block(block: bytes, log: Log) -> list[DraftEntry]:
    """Draft a block of lines in portions that stay in the processor's cache."""
    lines = block.split(b"\n")
    return [
        draft
        for start in range(0, len(lines), _PORTION)
        for draft in draft_events(parse_batch(lines[start : start + _PORTION]), log.bucket_keys, LOCAL)
    ]


async def append_all(
    log: Log, blocks: Iterable[Sequence[DraftEntry]], done: Callable[[int], None] = lambda _: None
) -> list[float]:
    """Append blocks, as many at a time as fill two groups; return after how many seconds each was durable."""
    seconds: list[float] = []

    async def append(drafts: Sequence[DraftEntry]) -> None:
        begun = time.perf_counter()
        done((await log.appender.append(drafts)).last_index)
        seconds.append(time.perf_counter() - begun)

    waiting: set[asyncio.Task[None]] = set()
    for drafts in blocks:
        waiting.add(asyncio.create_task(append(drafts)))
        if len(waiting) >= 2 * MAX_GROUP_EVENTS // BATCH:
            ended, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for each in ended:
                each.result()
        await asyncio.sleep(0)
    await asyncio.gather(*waiting)
    return seconds


@asynccontextmanager
async def _opened(data: Path) -> AsyncIterator[Log]:
    location = Location(DataDirectory(data))
    if not is_log(location):
        await create_log(location, _ORIGIN)
    async with open_log(location, sealing="beside") as log, running(log):
        tune_memory()
        yield log


def heads() -> dict[str, int]:
    """Return this process and the child that seals and indexes."""
    sealing = [each for each in children().get(os.getpid(), []) if _is_sealing(each)]
    return {"appender": os.getpid(), **({"sealing": sealing[0]} if sealing else {})}


def _is_sealing(process: int) -> bool:
    with open(f"/proc/{process}/cmdline", "rb") as file:  # noqa: PTH123 - not a file
        return b"--supervised" in file.read()


# --- In process --------------------------------------------------------------------------------------------------------


def inprocess(seconds: float, runs: int, parent: Path | None, *, rate: int = 90_000) -> dict[str, Any]:
    """Measure the appender as a library, sealing and indexing beside it: from raw events, and from drafts."""
    blocks = list(feed(int(seconds * rate) + _WARM_UP_EVENTS))
    figures: dict[str, Any] = {
        "what": f"{BATCH:,} events in a request, {2 * MAX_GROUP_EVENTS // BATCH} requests at a time, events in memory; "
        "`raw` parses, validates, commits and appends them, `drafted` only appends"
    }
    for way in ("raw", "drafted"):
        found = []
        for _ in range(runs):
            with scratch(parent) as directory:
                found.append(inprocess_once(directory / "log", blocks, seconds, drafted=way == "drafted"))
        figures[way] = over_runs(found)
    return {**figures, "runs": runs, "checked": "tlog fsck"}


def inprocess_once(data: Path, blocks: Sequence[bytes], seconds: float, *, drafted: bool) -> dict[str, Any]:
    """Measure one way once on a new log, and check the log."""
    figures = run_loop(_inprocess(data, blocks, seconds, drafted=drafted))
    checked(data)
    return figures


def within(seconds: float, blocks: Iterable[Sequence[DraftEntry]]) -> Iterator[Sequence[DraftEntry]]:
    """Yield blocks, at least one, until the time is over."""
    begun = time.perf_counter()
    for block in blocks:
        yield block
        if time.perf_counter() - begun >= seconds:
            return


async def _inprocess(data: Path, blocks: Sequence[bytes], seconds: float, *, drafted: bool) -> dict[str, Any]:
    async with _opened(data) as log:
        drafting = (draft_block(block, log) for block in blocks)
        await append_all(log, itertools.islice(drafting, min(_WARM_UP_EVENTS // BATCH, len(blocks) // 4)))
        prepared = list(drafting) if drafted else drafting
        await log.wait_indexed((await log.reader.state()).size, 600)
        before = (await log.reader.state()).size
        usage, begun = Usage(heads(), data), time.perf_counter()
        durable = await append_all(log, within(seconds, prepared))
        ended = time.perf_counter()
        size = (await log.reader.state()).size
        events = len(durable) * BATCH
        per_event = usage.per_event(events)
        await log.wait_indexed(size, 600)
        return {
            "events": events,
            "events_per_second": round(events / (ended - begun)),
            "durable": spread(durable),
            "seconds_until_indexed": round(time.perf_counter() - ended, 2),
            "cpu_us_per_event": per_event,
            "entries": size - before,
        }


# --- Index -------------------------------------------------------------------------------------------------------------


def index(data: Path | None, events: int, runs: int, parent: Path | None) -> dict[str, Any]:
    """Measure what the index costs: of a young log with and without it, in turns, and of `data`, made again from its entries."""
    prepared = list(feed(events))
    found: dict[bool, list[dict[str, Any]]] = {True: [], False: []}
    for _ in range(runs):
        for indexed, measured in found.items():
            with scratch(parent) as directory:
                measured.append(run_loop(_appended(directory / "log", prepared, index=indexed)))
    with_it, without = (over_runs(found[indexed]) for indexed in (True, False))
    costs = [median_of(each["cpu_us_per_event"]["total"]) for each in (with_it, without)]
    figures = {"with": with_it, "without": without, "cpu_us_per_event": round(costs[0] - costs[1], 2), "runs": runs}
    if data is not None:
        figures |= {"again": run_loop(_indexed_again(data)), "merging_once": run_loop(_merged_once(data))}
    return figures


async def _appended(data: Path, blocks: Sequence[bytes], *, index: bool) -> dict[str, Any]:
    """Append events at `_INDEX_RATE`, all in this process, until everything is sealed, and indexed if it is."""
    location = Location(DataDirectory(data))
    await create_log(location, _ORIGIN)
    async with open_log(location, index=index) as log, running(log):
        tune_memory()
        prepared = [draft_block(block, log) for block in blocks]
        usage, begun = Usage({"process": os.getpid()}, data), time.perf_counter()
        for number, drafts in enumerate(prepared):
            await asyncio.sleep(max(0.0, begun + number * BATCH / _INDEX_RATE - time.perf_counter()))
            await log.appender.append(drafts)
        size = (await log.reader.state()).size
        await (log.wait_indexed(size, 600) if index else log.wait_sealed(size - 1, 600))
        await _quiet()
        return {"events": len(prepared) * BATCH, "cpu_us_per_event": usage.per_event(len(prepared) * BATCH)}


async def _indexed_again(data: Path) -> dict[str, Any]:
    """Make the index of a log again and merge it whole."""
    async with open_log(Location(DataDirectory(data)), sealing="elsewhere") as log:
        size = (await log.reader.state()).size
        await forget_index(log)
    async with open_log(Location(DataDirectory(data))) as log:
        usage, begun = Usage({"process": os.getpid()}, data), time.perf_counter()
        async with running(log):
            await log.wait_indexed(size, 1_800)
            seconds = time.perf_counter() - begun
            await _quiet()
            return {
                "entries": size,
                "seconds_until_indexed": round(seconds, 1),
                "cpu_us_per_event": usage.per_event(size),
            }


async def _merged_once(data: Path) -> dict[str, Any]:
    """Merge the first stored segments of one size, and forget what came out: what each fourfold of a log's size costs."""
    async with open_log(Location(DataDirectory(data)), sealing="elsewhere") as log:
        store = await IndexStore.open(log.database)
        epoch = await store.epoch()
        if epoch is None:
            sys.exit(f"{data} has no index")
        stored = map(Stored, parse_table(epoch.table), epoch.segment_ids)
        sizes = itertools.groupby(stored, lambda each: each.segment.end - each.segment.start)
        inputs = next((found for _, same in sizes if len(found := list(same)) > 1), None)
        if inputs is None:
            sys.exit(f"the index of {data} has no two segments of one size beside each other")
        usage = Usage({"process": os.getpid()}, data)
        start, end = inputs[0].segment.start, inputs[-1].segment.end
        merging = Merging(store, await store.begin_segment(start, end), inputs)
        while await merging.step() is None:
            pass
        await store.collect_garbage(())
        await store.close()
        return {"entries": end - start, "segments": len(inputs), "cpu_us_per_event": usage.per_event(end - start)}


async def _quiet() -> None:
    """Wait until there is nothing left to merge: until some seconds pass in which this process does next to nothing."""
    worked = _QUIET_SECONDS
    while worked > _QUIET_SHARE * _QUIET_SECONDS:
        before = time.process_time()
        await asyncio.sleep(_QUIET_SECONDS)
        worked = time.process_time() - before


# --- Load and growth -----------------------------------------------------------------------------------------------------


def notes_of(data: Path) -> Path:
    """Return where `load` notes what it measured on its way."""
    return data.with_name(data.name + ".growth.json")


def size_of(data: Path) -> int:
    """Return how many entries a log has, 0 if there is none."""
    location = Location(DataDirectory(data))
    return run_loop(_size_of(location)) if is_log(location) else 0


async def _size_of(location: Location) -> int:
    async with open_log(location, sealing="elsewhere") as log:
        return (await log.reader.state()).size


def load(data: Path, events: int, *, seed: int = 1) -> dict[str, Any]:
    """Fill a log until it has `events` more, all sealed and indexed; note rate and CPU time at each hundredth."""
    return run_loop(_load(data, events, seed))


async def _load(data: Path, events: int, seed: int) -> dict[str, Any]:
    async with _opened(data) as log:
        first = (await log.reader.state()).size
        reached, step, lags = 0, max(events // _STEPS, BATCH), list[float]()
        samples: list[dict[str, Any]] = []
        usage, moment = Usage(heads(), data), time.perf_counter()

        def done(index: int) -> None:
            nonlocal reached, usage, moment
            if index + 1 - first - reached < step:
                return
            count, now = index + 1 - first - reached, time.perf_counter()
            reached += count
            figures = {"size": index + 1, "events_per_second": round(count / (now - moment))}
            samples.append({**figures, "cpu_us_per_event": usage.per_event(count)})
            usage, moment = Usage(heads(), data), now
            print(f"\r{reached:,} events, {figures['events_per_second']:,}/s ", end="", file=sys.stderr, flush=True)

        loaded = asyncio.Event()
        watching = asyncio.create_task(_watch_index(log, loaded, lags))
        begun = time.perf_counter()
        await append_all(log, (draft_block(block, log) for block in feed(events, seed=seed)), done)
        ended = time.perf_counter()
        size = (await log.reader.state()).size
        await log.wait_indexed(size, 600)
        loaded.set()
        await watching
        print(file=sys.stderr)
        if first <= 1:  # from an empty log on
            notes_of(data).write_text(json.dumps(samples), encoding="utf-8")
        return {
            "events": events,
            "size": size,
            "events_per_second": round(events / (ended - begun)),
            "seconds_until_indexed": round(time.perf_counter() - ended, 1),
            "indexed_behind": spread(lags),
        }


async def _watch_index(log: Log, loaded: asyncio.Event, found: list[float]) -> None:
    """Sample how long ago the log had the size that is indexed now, until everything is."""
    sizes: list[tuple[int, float]] = []
    while not loaded.is_set():
        now = time.perf_counter()
        sizes.append(((await log.reader.state()).size, now))
        indexed = log.background.status.indexed
        while len(sizes) > 1 and sizes[1][0] <= indexed:
            sizes.pop(0)
        if indexed:
            found.append(now - sizes[0][1])
        await asyncio.sleep(0.05)


def growth(data: Path) -> dict[str, Any]:
    """Compare the beginning of a log that `load` made with its end: of 10 million the second million with the last."""
    notes = notes_of(data)
    if not notes.exists():
        return {"missing": f"{notes} is not there; make the log with 'bench.py load', which writes it"}
    samples = json.loads(notes.read_text(encoding="utf-8"))
    number = len(samples)
    windows = samples[number // 20 : max(number * 3 // 20, number // 20 + 1)], samples[-max(number // 10, 1) :]
    parts = [over_runs(window) for window in windows]
    rates = [median_of(each["events_per_second"]) for each in parts]
    costs = [median_of(each["cpu_us_per_event"]["total"]) for each in parts]
    return {
        "early": parts[0],
        "late": parts[1],
        "rate_ratio": round(rates[1] / rates[0], 3),
        "cpu_ratio": round(costs[1] / costs[0], 3),
        "samples": [[each["size"], each["events_per_second"], each["cpu_us_per_event"]["total"]] for each in samples],
    }
