"""What every command does with its result: run, print, show progress, write a file whole, end with one line and an exit code."""

from __future__ import annotations

import io
import json
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NoReturn, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tlog.core.checkpoint import peek_checkpoint
from tlog.core.verify import format_inconsistency
from tlog.errors import InconsistentRootsError, MalformedInputError, TlogError
from tlog.files import durable
from tlog.location import run_loop

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator


INTERRUPTED: Final = 130
console: Final = Console(stderr=True, highlight=False)
Result = TypeVar("Result")


def write_whole() -> None:
    """Buffer standard output by lines if it is not buffered (PYTHONUNBUFFERED): it may stop in the midst of a large answer."""
    raw = getattr(sys.stdout, "buffer", None)
    if isinstance(raw, io.RawIOBase):
        encoding, errors = sys.stdout.encoding, sys.stdout.errors
        sys.stdout = io.TextIOWrapper(io.BufferedWriter(raw), encoding, errors, line_buffering=True)


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Do a command's asynchronous work; turn an error into one line and its exit code."""
    return guard(lambda: run_loop(work))


def guard(work: Callable[[], Result]) -> Result:
    """Do `work`; turn an error into one line and its exit code."""
    try:
        return work()
    except InconsistentRootsError as error:
        complain(f"{error}. {_keep_evidence(error)}")
        raise typer.Exit(error.exit_code) from None
    except TlogError as error:
        pointer = getattr(error, "pointer", "")
        complain(f"{error}" + (f" (at {pointer})" if pointer else ""))
        raise typer.Exit(error.exit_code) from None
    except OSError as error:
        complain(f"{error.filename or 'system'}: {error.strerror or error}")
        raise typer.Exit(MalformedInputError.exit_code) from None
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


def _keep_evidence(error: InconsistentRootsError) -> str:
    """Write what an error carries to a new file in the current directory, whole or not at all; say where it is, or why not."""
    path = Path(f"inconsistent-{peek_checkpoint(error.newer).size}.evidence.json")
    try:
        durable.write_once(path, format_inconsistency(error))
    except FileExistsError:
        return f"The evidence was not written, because {path} exists: move that file and run this command again"
    except OSError as problem:
        return f"The evidence was not written to {path}: {problem.strerror}"
    return f"The evidence is in {path}: both checkpoints and the proof"


def refuse(message: str) -> NoReturn:
    """End because options do not go together."""
    complain(message)
    raise typer.Exit(MalformedInputError.exit_code)


def complain(message: str) -> None:
    """Say on standard error what went wrong."""
    console.print(f"tlog: {message}", markup=False, soft_wrap=True)


@contextmanager
def output_file(path: Path) -> Iterator[BinaryIO]:
    """Open a new file that gets its name when it is complete, or standard output for "-"."""
    if str(path) == "-":
        yield sys.stdout.buffer
        return
    with durable.making(path) as partial, guard(lambda: partial.open("wb")) as file:
        yield file


@contextmanager
def progress_bar(doing: str, unit: str) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar on a terminal; yields `report(done, total)`, total 0 if unknown."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(doing, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total or None)


@contextmanager
def progress_lines() -> Iterator[Callable[[int, int], None]]:
    """Report progress as lines of JSON on standard error; yields what `progress_bar` does."""
    yield lambda done, total: print(json.dumps({"done": done, "total": total}), file=sys.stderr, flush=True)
