"""What every command does with its result: run, print, show progress, write a file whole, end with one line and an exit code."""

from __future__ import annotations

import codecs
import io
import json
import os
import sys
import traceback
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NoReturn, TextIO, TypeVar

import typer

from tlog.cli.escaping import visible
from tlog.errors import InconsistentRootsError, MalformedInputError, TlogError
from tlog.location import run_loop

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from _typeshed import ReadableBuffer


INTERRUPTED: Final = 130
CLOSED_PIPE: Final = 141  # as a shell reports a program that ended because nobody read on
INTERNAL: Final = 70  # EX_SOFTWARE of sysexits.h: a fault of this program
Result = TypeVar("Result")
_ESCAPED: Final = "tlog-escaped"


def prepare_streams() -> None:
    """Make standard output and error fit for results of any size, and for readers that end before they have read all.

    Without a buffer (PYTHONUNBUFFERED) standard output may stop in the midst of a large answer: it gets one. If the reader
    of standard output goes away, as `head` does, the command ends with `CLOSED_PIPE`; its work is closed in order. If the
    reader of standard error goes away, the command goes on without messages.
    """
    codecs.register_error(_ESCAPED, _escape)
    sys.stdout = _standard_stream(sys.stdout, _end_without_output)
    sys.stderr = _standard_stream(sys.stderr, lambda _: None)


def _standard_stream(stream: TextIO, failed: Callable[[OSError], None]) -> TextIO:
    buffer = getattr(stream, "buffer", None)
    file = getattr(buffer, "raw", buffer)
    if not isinstance(file, io.RawIOBase):
        return stream
    by_lines = bool(stream.line_buffering) or buffer is file
    buffered = io.BufferedWriter(_StandardFile(file, failed))
    return io.TextIOWrapper(buffered, stream.encoding, _ESCAPED, line_buffering=by_lines)


def _escape(error: UnicodeError) -> tuple[str, int]:
    """Write what a stream's encoding does not have, and the bytes of a name that is not text, as JSON escapes (RFC 8259)."""
    assert isinstance(error, UnicodeEncodeError)  # noqa: S101 - streams are written to; for the type checker
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2)), error.end


class _StandardFile(io.RawIOBase):
    """A standard stream's file. Once a write fails, `failed` is called, and all that is still written is dropped."""

    def __init__(self, file: io.RawIOBase, failed: Callable[[OSError], None]) -> None:
        self._file = file
        self._failed = failed

    def fileno(self) -> int:
        return self._file.fileno()

    def isatty(self) -> bool:
        return self._file.isatty()

    def writable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer) -> int | None:
        try:
            return self._file.write(data)
        except OSError as error:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            self._failed(error)
            return memoryview(data).nbytes


def _end_without_output(error: OSError) -> NoReturn:
    if isinstance(error, BrokenPipeError):
        raise SystemExit(CLOSED_PIPE)
    refuse(f"standard output: {error.strerror}")


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Do a command's asynchronous work; turn an error into one line and its exit code."""
    from tlog.cli.lines import write_lines

    write_lines("tlog", "warning")
    return exit_on_error(lambda: run_loop(work))


def run_service(work: Coroutine[Any, Any, None]) -> None:
    """Do the work of a process that runs long and writes lines (`tlog.cli.lines`); the last of them says how it ended."""
    import structlog

    lines = structlog.get_logger()

    def tell(message: str, code: int) -> None:
        lines.error("stop", code=code, reason=message)
        if sys.stderr.isatty():
            complain(message)

    try:
        exit_on_error(lambda: run_loop(work), tell)
    except typer.Exit as end:
        if end.exit_code == INTERRUPTED:
            lines.info("stop", code=INTERRUPTED)
        raise
    except Exception as error:  # noqa: BLE001 - see `tlog.cli.app.main`
        lines.error("stop", code=INTERNAL, reason=_fault(error))
        raise typer.Exit(INTERNAL) from None
    lines.info("stop", code=0)


def exit_on_error(
    work: Callable[[], Result], tell: Callable[[str, int], None] = lambda message, _: complain(message)
) -> Result:
    """Do `work`; turn an error into one line, which `tell` writes, and its exit code."""
    try:
        return work()
    except InconsistentRootsError as error:
        tell(f"{error}. {_keep_evidence(error)}", error.exit_code)
        raise typer.Exit(error.exit_code) from None
    except TlogError as error:
        pointer = getattr(error, "pointer", "")
        tell(f"{error}" + (f" (at {pointer})" if pointer else ""), error.exit_code)
        raise typer.Exit(error.exit_code) from None
    except OSError as error:
        tell(f"{error.filename or 'system'}: {error.strerror or error}", MalformedInputError.exit_code)
        raise typer.Exit(MalformedInputError.exit_code) from None
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


def _keep_evidence(error: InconsistentRootsError) -> str:
    """Write what an error carries to a new file in the current directory, whole or not at all; say where it is, or why not."""
    from tlog.core.checkpoint import peek_checkpoint
    from tlog.core.verify import format_inconsistency
    from tlog.files import durable

    path = Path(f"inconsistent-{peek_checkpoint(error.newer).size}.evidence.json")
    try:
        durable.write_once(path, format_inconsistency(error))
    except FileExistsError:
        return f"The evidence was not written, because {path} exists: move that file and run this command again"
    except OSError as problem:
        return f"The evidence was not written to {path}: {problem.strerror}"
    return f"The evidence is in {path}: both checkpoints and the proof"


def refuse(message: str) -> NoReturn:
    """End because what was asked for cannot be done as it was asked for."""
    complain(message)
    raise SystemExit(MalformedInputError.exit_code)


def report_fault(error: Exception) -> NoReturn:
    """End because of a fault of this program: name its kind and its place, but not its message, which could quote an event."""
    complain(_fault(error))
    raise SystemExit(INTERNAL)


def _fault(error: Exception) -> str:
    place = traceback.extract_tb(error.__traceback__)[-1]
    return (
        f"this is a fault of tlog, not of what was asked: {type(error).__name__} at {Path(place.filename).name}, line "
        f"{place.lineno}. Please report these words"
    )


def complain(message: str) -> None:
    """Print on standard error what went wrong."""
    say(f"tlog: {visible(message)}")


def say(message: str) -> None:
    """Print on standard error a line that is not part of the result."""
    print(f"{message}\n", end="", file=sys.stderr)  # in one piece, because another thread may write lines there


@contextmanager
def open_output(path: Path) -> Iterator[BinaryIO]:
    """Open where a result goes (`tlog.files.destination`), or standard output for "-"; end with one line if that fails."""
    from tlog.files.destination import open_destination

    if str(path) == "-":
        yield sys.stdout.buffer
        return
    try:
        with open_destination(path) as file:
            yield file
    except OSError as error:
        refuse(f"{path}: {error.strerror or error}")


@contextmanager
def show_progress(doing: str, unit: str) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar on a terminal; yields `report(done, total)`, total 0 if unknown."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True, highlight=False)
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
def print_progress() -> Iterator[Callable[[int, int], None]]:
    """Report progress as lines of JSON on standard error; yields what `show_progress` does."""
    yield lambda done, total: print(json.dumps({"done": done, "total": total}), file=sys.stderr, flush=True)
