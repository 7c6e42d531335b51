"""R2: files, anchor, sealing and export interrupted at every step, refused by the disk at every step."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Final

from faults import steps
from faults.calls import FAULTS, interrupt_at_every_call, tracer
from faults.history import examine, read_stored
from faults.service import Acknowledged, Source, embedded, make_log
from faults.steps import (
    AdvancingAnchor,
    CreatingAnchor,
    Exporting,
    Interrupted,
    MakingDirectory,
    OverwrittenAnchor,
    Sealing,
    WritingFile,
    WritingOnce,
    append,
    export_to,
    interrupt_at_every_line,
    limit_files,
    refuse_call,
    refuse_every,
    statements,
    write_in_place,
)
from tlog.files import durable
from tlog.location import DataDirectory
from tlog.storage.database import Database
from tlog.storage.reading import ReadStore

if TYPE_CHECKING:
    from pathlib import Path

    from faults.gate import Figures, Run
    from tlog.postgres.server import EmbeddedPostgres
    from tlog.storage.rows import SealedCheckpoint

_ANCHOR_SIZES: Final = range(0, 48 << 10, 2 << 10)
_EXPORT_SIZES: Final = range(0, 160 << 10, 8 << 10)
_FILE_SIZES: Final = range(0, 40_000, 4_000)
_SYNCS: Final = 4
_REFUSED: Final = ("open", "fsync", "link", "replace", "mkdir")  # calls of files.durable, and of what makes a directory
_CALLS: Final = 6


def measure(run: Run) -> Figures:
    """Interrupt and refuse everything that signs and publishes; count the points, and what did not hold after one."""
    lines: list[Interrupted] = []
    refused: list[Interrupted] = []
    calls: list[Interrupted] = []
    anchors = (("create", CreatingAnchor()), ("advance", AdvancingAnchor()))
    for name, scenario in anchors:
        directory = run.directory / name
        directory.mkdir()
        lines.append(interrupt_at_every_line(scenario, directory))
        sizes = [partial(limit_files, size) for size in _ANCHOR_SIZES]
        syncs = [partial(refuse_call, "fsync", number) for number in range(1, _SYNCS + 1)]
        refused.append(refuse_every(scenario, directory, [*sizes, *syncs]))
    written = _write(run)
    lines += [killed for killed, _ in written]
    refused += [each for _, each in written]
    missed = statements(durable.__file__).difference(*(each.lines for each in lines))
    if tracer():
        place = run.directory / "calls"
        place.mkdir()
        calls = interrupt_at_every_call(place, FAULTS if run.full else FAULTS[:1])
    run.progress(1, 4)
    data = run.directory / "data"
    make_log(data)
    with embedded(data) as postgres:
        figures = _publish(run, data, postgres, lines, refused)
    problems = [problem for each in (*lines, *refused, *calls) for problem in each.problems]
    return {
        "killed_at_lines": sum(each.points for each in lines),
        "lines_of_durable_missed": len(missed),
        "refused_by_disk": sum(each.points for each in refused),
        "system_calls": sum(each.points for each in calls),
        "tracer": "strace" if calls else "none: no strace here, so no faults inside system calls",
        "broken": len(problems),
        **({"first_problem": problems[0]} if problems else {}),
        **figures,
    }


def measure_overwritten(run: Run) -> Figures:
    """Interrupt an anchor that is overwritten in place at every line."""
    problems = []
    for scenario in (
        CreatingAnchor(OverwrittenAnchor, str(steps.__file__)),
        AdvancingAnchor(OverwrittenAnchor, str(steps.__file__)),
    ):
        directory = run.directory / type(scenario).__name__
        directory.mkdir()
        problems += interrupt_at_every_line(scenario, directory).problems
    return {"broken": len(problems)}


def measure_in_place(run: Run) -> Figures:
    """Interrupt a file that is overwritten in place at every line."""
    scenario = WritingFile(write_in_place, str(steps.__file__))
    problems = interrupt_at_every_line(scenario, run.directory).problems
    return {"broken": sum("half written" in each for each in problems)}


def _write(run: Run) -> list[tuple[Interrupted, Interrupted]]:
    """Interrupt writing files in every way that `files.durable` has, and refuse each call and each size."""
    scenarios = (
        ("whole", WritingFile(durable.write_whole), WritingFile(durable.write_whole, tidy=True)),
        ("durable", WritingFile(durable.write_durable), WritingFile(durable.write_durable, tidy=True)),
        ("once", WritingOnce(), WritingOnce(tidy=True)),
        ("directory", MakingDirectory(), MakingDirectory(tidy=True)),
    )
    calls = [partial(refuse_call, name, number) for name in _REFUSED for number in range(1, _CALLS + 1)]
    sizes = [partial(limit_files, size) for size in _FILE_SIZES]
    found = []
    for name, killed, refused in scenarios:
        directory = run.directory / name
        directory.mkdir()
        found.append((interrupt_at_every_line(killed, directory), refuse_every(refused, directory, [*calls, *sizes])))
    return found


def _publish(
    run: Run, data: Path, postgres: EmbeddedPostgres, lines: list[Interrupted], refused: list[Interrupted]
) -> Figures:
    directory, source = DataDirectory(data), Source()
    database = Database(postgres.conninfo(user="tlog"), postgres.conninfo(user="postgres"))
    sealing = Sealing(database, directory, source)
    sealing.act(data, lambda _: None)
    asyncio.run(append(database, directory, source.take(300)))
    sealing.act(data, lambda _: None)
    older = run.directory / "older"
    asyncio.run(export_to(database, older, asyncio.run(_newest(database))))
    asyncio.run(append(database, directory, source.take(400)))
    sealing.act(data, lambda _: None)
    exporting = Exporting(database, directory.verifier(), older, asyncio.run(_newest(database)))
    place = run.directory / "publishing"
    place.mkdir()
    lines.append(interrupt_at_every_line(exporting, place))
    refused.append(refuse_every(exporting, place, [partial(limit_files, size) for size in _EXPORT_SIZES]))
    run.progress(2, 4)
    lines.append(interrupt_at_every_line(sealing, place, stride=run.count(2, 1)))
    run.progress(3, 4)
    sealing.prepare(place)
    sealing.act(place, lambda _: None)
    seen = Acknowledged()
    stored = read_stored(postgres.conninfo(user="postgres"))
    found = examine(stored, seen, sealing.anchored, directory.verifier())
    return {name: found[name] for name in ("checkpoints", "roots_wrong", "forks")}


async def _newest(database: Database) -> SealedCheckpoint:
    reader = ReadStore(database, connections=1)
    await reader.open()
    try:
        checkpoint = await reader.latest_checkpoint()
        assert checkpoint is not None
        return checkpoint
    finally:
        await reader.close()
