"""Running an open log: the appender, what goes on in the background, the watch over the embedded database, and their end."""

from __future__ import annotations

import asyncio
import signal
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog

from tlog.errors import (
    DamagedLogError,
    EmbeddedPostgresError,
    OperatorError,
    OverloadedError,
    TlogError,
)
from tlog.lifecycle.life import forget_mark, gate_of, watching
from tlog.lifecycle.opening import Log, open_log
from tlog.location import Location, tune_memory, version
from tlog.storage.index import IndexStore
from tlog.writing.background import Parent, report, report_error, report_waiting

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tlog.signing.witnesses import Witnessing

_REINDEX_SECONDS: Final = 24 * 3600.0
_PROGRESS_SECONDS: Final = 0.5
_REOPEN_SECONDS: Final = 1.0
# What a step of sealing or indexing may take at the end. A service is given less: its supervisor does not wait for ever.
_PATIENCE: Final = 30.0
SERVICES_PATIENCE: Final = 5.0
_CHILDS_PATIENCE: Final = 2.0
_CUT_SECONDS: Final = 1.0
_log: Final = structlog.get_logger()


@asynccontextmanager
async def running(log: Log, patience: float = _PATIENCE) -> AsyncIterator[asyncio.Task[None]]:
    """Run the appender, what goes on in the background, and the watch over the embedded database, while the body runs.

    Yields a task that ends when appending or the background ends: only by an error, and then the process must end too.
    At the end appending and the background have `patience` seconds each to end what they are doing.
    """
    log.appender.gate = await gate_of(log)
    appending = asyncio.create_task(log.appender.run(), name="appender")
    background = asyncio.create_task(log.background.run(), name="background")
    watching = None if log.database.watch is None else asyncio.create_task(log.database.watch.run(), name="watch")
    try:
        yield asyncio.create_task(_first_to_end(appending, background), name="running")
    finally:
        if watching is not None:
            watching.cancel()
        log.background.stop()
        try:
            await _end(background, patience)
        finally:
            log.appender.close()
            # Of two errors this one is the cause: nothing can be sealed over a database that went back.
            await _end(appending, 0 if log.appender.waits_for else patience)
        with suppress(TlogError):
            await forget_mark(log)


async def _end(task: asyncio.Task[None], patience: float) -> None:
    """Wait for a task that was told to end; whoever still waits for the database then is cut off from it.

    No statement is cancelled by that: connections are closed, and what was to be committed may be (`tlog.storage.connection`).
    """
    while not (await asyncio.wait([task], timeout=patience))[0]:
        task.cancel()
        patience = _CUT_SECONDS
    if not task.cancelled():
        await task


async def _first_to_end(*tasks: asyncio.Task[None]) -> None:
    """Wait until one of the tasks ends; its error, if any, is raised where the task is awaited."""
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)


async def run_sealing(
    location: Location, interval: float, *, supervised: bool, witnessing: Witnessing | None = None
) -> None:
    """Seal and index a log until a signal ends it, or, under supervision, until the parent does.

    A parent goes on while its database is away, so its child tries to open the log until that is back.

    Raises:
        OperatorError: the log cannot be opened, or sealing met something only the operator can settle.
        OverloadedError: the database is away, and nobody supervises.

    """
    open_sealing = partial(open_log, location, interval=interval, acknowledges=False, witnessing=witnessing)
    if not supervised:
        async with (
            open_sealing() as log,
            running(log, SERVICES_PATIENCE) as background,
            watching(log),
        ):
            await _tell_start(log)
            await _until_it_ends(background, signals=True)
        return
    parent = await Parent.listen()
    waits_for = ""
    try:
        while not parent.gone:
            try:
                async with (
                    open_sealing() as log,
                    running(log, _CHILDS_PATIENCE) as background,
                ):
                    await _tell_start(log)
                    reporting = asyncio.create_task(report(log.background))
                    obeying = asyncio.create_task(parent.obey(log.background))
                    try:
                        await _until_it_ends(background, obeying)
                    finally:
                        reporting.cancel()
                        obeying.cancel()
            except (OverloadedError, EmbeddedPostgresError) as error:
                if str(error) != waits_for:
                    _log.warning("sealing_pauses", reason=str(error))
                waits_for = str(error)
                report_waiting(error)
                await parent.wait(_REOPEN_SECONDS)
    except TlogError as error:
        report_error(error)
        raise


async def _tell_start(log: Log) -> None:
    size = (await log.reader.state()).size
    _log.info("start", version=version(), origin=log.verifier.name, vkey=log.verifier.vkey(), size=size)


async def _until_it_ends(*tasks: asyncio.Task[None], signals: bool = False) -> None:
    """Return when one of the tasks ends, however it does, or a signal says so."""
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    for task in tasks:
        task.add_done_callback(lambda _: stopped.set())
    tune_memory()
    for number in (signal.SIGINT, signal.SIGTERM) if signals else ():
        loop.add_signal_handler(number, stopped.set)
    await stopped.wait()


async def forget_index(log: Log) -> None:
    """Empty the index of an open log, which nobody runs; who runs it next makes it again from its entries.

    Raises:
        OperatorError: another process indexes the log.
        OverloadedError: the database is away.

    """
    store = await IndexStore.open(log.database)
    try:
        if not await store.lead():
            message = "another process indexes this log; stop 'tlog serve' and 'tlog seal' first"
            raise OperatorError(message)
        await store.clear()
        await store.collect_garbage(())
    finally:
        await store.close()


async def reindex(log: Log, progress: Callable[[int, int], None]) -> int:
    """Make the whole index of an open log, which nobody runs, again from its entries; return the size it covers then.

    In a log without events there is nothing to index, and it covers nothing.

    Raises:
        OperatorError: another process indexes the log, or entries are damaged.
        OverloadedError: the database is away.

    """
    await forget_index(log)
    size = (await log.reader.state()).size
    if not await log.reader.has_keys(0, size):
        return 0  # and no epoch will ever be made
    async with running(log):
        waiting = asyncio.create_task(log.wait_indexed(size, _REINDEX_SECONDS))
        try:
            while not waiting.done():
                progress(min(await log.reader.indexed_size(), size), size)
                if log.background.status.index_error:
                    raise DamagedLogError(log.background.status.index_error)
                await asyncio.wait([waiting], timeout=_PROGRESS_SECONDS)
            return (await waiting).size
        finally:
            # Whoever stops waiting closes the log, which has nothing to ask then.
            waiting.cancel()
            await asyncio.wait([waiting])
