"""R14: stored data is changed at random, and the full check has to find each change and to raise no alarm about clean logs.

The table of attacks by name is a test (tests/test_threats_stored.py), which the full run runs as well.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import psycopg
from support import append, fill, sample_events
from tamper_matrix import expected
from tampering import check, grow_cleanly, tamper_with_export, tamper_with_tables

from faults.service import ORIGIN, ROOT
from tlog.answering.export import export_static
from tlog.checking.ranges import RangeCheck
from tlog.lifecycle.making import create_log
from tlog.lifecycle.opening import open_log
from tlog.lifecycle.running import running
from tlog.location import DataDirectory, Location
from tlog.postgres.server import EmbeddedPostgres

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from faults.gate import Figures, Run
    from tlog.lifecycle.opening import Log

_MATRIX: Final = ("-m", "pytest", "-q", "-n", "0", "tests/test_threats_stored.py", "-k", "matrix")
_MOST: Final = 400
_NEVER: Final = 86_400.0
_PASSED: Final = re.compile(r"^(?:\d+ failed, )?(\d+) passed", re.MULTILINE)


def measure(run: Run) -> Figures:
    """Tamper with tables and exports, look at clean logs, and in full at every row of the matrix."""
    figures = asyncio.run(_measure(run))
    return {**figures, **_matrix()} if run.full else figures


def measure_trusting(run: Run) -> Figures:
    """Tamper with tables until a check that believes the chain hashes as they are stored misses it."""
    check_class: Any = RangeCheck
    kept = check_class._links  # noqa: SLF001 - a control breaks what it must not reach
    check_class._links = lambda *_: None  # noqa: SLF001
    try:
        return asyncio.run(_measure_tables(run))
    finally:
        check_class._links = kept  # noqa: SLF001


async def _measure_tables(run: Run) -> Figures:
    async with _log(run.directory / "log") as (log, admin):
        await fill(log, 300)
        assert (await check(log.location)).exit_code == 0
        number = 0
        async for _, detected in tamper_with_tables(log.location, admin, _MOST):
            number += 1
            if not detected:
                return {"tampers": number, "undetected": 1}
    return {"tampers": number, "undetected": 0}


async def _measure(run: Run) -> Figures:
    tampers, histories = run.count(40, 2_500), run.count(10, 1_000)
    undetected, alarms, done = [], 0, 0

    def tick() -> None:
        nonlocal done
        done += 1
        run.progress(done, 2 * tampers + histories)

    async with _log(run.directory / "log") as (log, admin):
        await fill(log, 300)
        await append(log, sample_events(20, seed=2))
        async for what, detected in tamper_with_tables(log.location, admin, tampers):
            undetected += [] if detected else [what]
            tick()
        alarms += (await check(log.location)).exit_code != 0
    async with _log(run.directory / "exported") as (log, _):
        await fill(log, 700)
        export, sealed = run.directory / "export", await log.reader.latest_checkpoint()
        assert sealed is not None
        await export_static(log.reader, export, sealed)
        for what, detected in tamper_with_export(export, log.verifier, tampers):
            undetected += [] if detected else [what]
            tick()
    async with _log(run.directory / "clean") as (log, admin):
        async for report in grow_cleanly(log, admin, histories):
            alarms += report.exit_code != 0
            tick()
    return {
        "tampers": 2 * tampers,
        "undetected": len(undetected),
        "clean": histories + 1,
        "false_alarms": alarms,
        **({"first_undetected": undetected[0]} if undetected else {}),
    }


@asynccontextmanager
async def _log(data: Path) -> AsyncIterator[tuple[Log, psycopg.Connection[Any]]]:
    """Make and run a log that seals on request, and let an administrator in."""
    postgres = EmbeddedPostgres(data.with_name(f"{data.name}-postgres"))
    postgres.create()
    with postgres:
        administrator = postgres.conninfo(user="postgres")
        location = Location(DataDirectory(data), postgres.conninfo(user="tlog"), administrator)
        await create_log(location, ORIGIN)
        # A seal of its own accord would meet a tile while it is tampered with, and rightly end everything.
        async with open_log(location, interval=_NEVER, index=False) as log, running(log):
            with psycopg.connect(administrator, autocommit=True) as admin:
                yield log, admin


def _matrix() -> Figures:
    ended = subprocess.run([sys.executable, *_MATRIX], capture_output=True, text=True, check=False, cwd=ROOT)
    passed = _PASSED.search(ended.stdout)
    rows = 0 if passed is None else int(passed[1]) - 1  # one test is of the table itself
    return {"matrix_rows": rows, "matrix_rows_that_differ": len(expected()) - rows}
