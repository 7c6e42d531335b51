"""Progress of an import on standard error: a bar, a line from time to time, or lines of JSON for programs."""

from __future__ import annotations

import json
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Final

from tlog.cli.output import say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Report = Callable[[int, int], None]

_LINE_SECONDS: Final = 10.0  # between lines for people
_JSON_SECONDS: Final = 1.0


@contextmanager
def show_import(phase: str, total: int, *, as_json: bool) -> Iterator[Report]:
    """Show how far an import is; yields `report(records, bytes)`.

    Args:
        phase: "checking" or "appending".
        total: how many bytes there are.
        as_json: print lines such as `{"bytes":…,"phase":"checking","records":…,"recordsPerSecond":…,"totalBytes":…}`, at most one
            a second and one at the end.

    """
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    if as_json:
        with _lines(_JSON_SECONDS, at_end=True, write=lambda *done: _print_json(phase, total, *done)) as report:
            yield report
    elif console.is_terminal:
        with _bar(console, phase, total) as report:
            yield report
    else:
        with _lines(_LINE_SECONDS, at_end=False, write=lambda *done: _print_line(phase, total, *done)) as report:
            yield report


@contextmanager
def _lines(seconds: float, *, at_end: bool, write: Callable[[int, int, float], None]) -> Iterator[Report]:
    start = monotonic()
    written, last = start, (0, 0)

    def report(records: int, size: int) -> None:
        nonlocal written, last
        last = records, size
        now = monotonic()
        if now - written >= seconds:
            written = now
            write(records, size, records / (now - start))

    yield report
    if at_end:
        write(*last, last[0] / max(monotonic() - start, 1e-6))


def _print_json(phase: str, total: int, records: int, size: int, rate: float) -> None:
    numbers = {"bytes": size, "phase": phase, "records": records, "recordsPerSecond": round(rate), "totalBytes": total}
    say(json.dumps(numbers))


def _print_line(phase: str, total: int, records: int, size: int, rate: float) -> None:
    say(f"tlog: {phase}: {records:,} records, {size >> 20:,} of {total >> 20:,} MiB, {rate:,.0f} records a second")


@contextmanager
def _bar(console: object, phase: str, total: int) -> Iterator[Report]:
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TextColumn("{task.fields[records]:,} records, {task.fields[rate]:,.0f} a second"),
        TimeElapsedColumn(),
    )
    start = monotonic()
    with Progress(*columns, console=console, transient=True) as progress:  # type: ignore[arg-type]
        task = progress.add_task(phase, total=total or None, records=0, rate=0.0)

        def report(records: int, size: int) -> None:
            rate = records / max(monotonic() - start, 1e-6)
            progress.update(task, completed=size, records=records, rate=rate)

        yield report
