"""Commands that bring events in: append, import."""

from __future__ import annotations

import json
import re
import shutil
import sys
import tempfile
from contextlib import contextmanager
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Final, NamedTuple

import typer

from tlog.cli.options import DEFAULT_DATA, Data, DatabaseUrl, Json, SignerSocket, TokenFile, Url, locate, read_token
from tlog.cli.output import complain, exit_on_error, refuse, run

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tlog.ingest.importing import Import, Imported, Read
    from tlog.ingest.reading import Found
    from tlog.location import Location

SEAL_SECONDS: Final = 30.0
_ID_KEY_SIZE: Final = 32
_CONFLICT: Final = re.compile(r"/([0-9]+)/eventId")
_spooled: dict[Path, BinaryIO] = {}


class Unit(StrEnum):
    """What a number that is a time counts."""

    SECONDS = "s"
    MILLISECONDS = "ms"
    MICROSECONDS = "us"
    NANOSECONDS = "ns"


SkipInvalid = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Set aside in this new file what cannot be imported, and import the rest."),
]
ProgressJson = Annotated[
    bool, typer.Option("--progress-json", help="Report progress as lines of JSON on standard error.")
]


class _Target(NamedTuple):
    """Where events go: a log in this process, or one at a URL."""

    location: Location
    url: str | None
    token_file: Path | None


class _Manner(NamedTuple):
    """How an import says what it does, and where it puts what cannot be imported."""

    skip_invalid: Path | None = None
    progress_json: bool = False
    json: bool = False
    may_be_empty: bool = False


def append(  # noqa: PLR0917 - the options of a command line
    file: Annotated[
        Path, typer.Argument(help="File of events: one in each line, an array, or one over several lines; - for stdin.")
    ] = Path("-"),
    data: Data = DEFAULT_DATA,
    database: DatabaseUrl = None,
    signer: SignerSocket = None,
    url: Url = None,
    token_file: TokenFile = None,
    json_output: Json = False,
) -> None:
    """Append events and wait until they are sealed."""
    from tlog.ingest.ndjson import read_ndjson

    target = _Target(locate(data, database, signer), url, token_file)
    _import(read_ndjson, [file], target, _Manner(json=json_output, may_be_empty=True))


def import_ndjson(  # noqa: PLR0917 - the options of a command line
    files: Annotated[
        list[Path], typer.Argument(help="Files or directories of events, one JSON object in each line; - for stdin.")
    ],
    map_: Annotated[
        str | None,
        typer.Option(
            "--map", metavar="NAME|FILE", help="Map other systems' records: a shipped mapping, or a file of one."
        ),
    ] = None,
    id_from: Annotated[
        list[str] | None,
        typer.Option(metavar="PTR", help="JSON pointer to what the eventId is made of; again for each part of it."),
    ] = None,
    id_space: Annotated[
        str | None, typer.Option(help="Name that keeps these eventIds apart from others; ndjson, or the mapping's.")
    ] = None,
    id_key: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="32 secret bytes, so that nobody can guess what an eventId is made of."),
    ] = None,
    time_from: Annotated[str | None, typer.Option(metavar="PTR", help="JSON pointer to what the timestamp is.")] = None,
    time_unit: Annotated[Unit | None, typer.Option(help="What a number there counts, since 1970.")] = None,
    time_zone: Annotated[
        str | None, typer.Option(help="What a time without zone means: UTC, +02:00 or Europe/Amsterdam.")
    ] = None,
    show: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Print the first N events, and append nothing.")
    ] = None,
    skip_invalid: SkipInvalid = None,
    progress_json: ProgressJson = False,
    data: Data = DEFAULT_DATA,
    database: DatabaseUrl = None,
    signer: SignerSocket = None,
    url: Url = None,
    token_file: TokenFile = None,
    json_output: Json = False,
) -> None:
    """Import events in tlog's own format, or other systems' records that a mapping makes events of."""
    key = None if id_key is None else _read_id_key(id_key)
    if map_ is not None:
        if id_from or time_from is not None:
            refuse("--map says itself where eventId and timestamp are; leave out --id-from and --time-from")
        read = _read_mapped(map_, id_space, key)
    else:
        read = _read_filled(id_from or [], id_space, key, time_from, time_unit, time_zone)
    if show is not None:
        _show(read, files, show)
        return
    target = _Target(locate(data, database, signer), url, token_file)
    _import(read, files, target, _Manner(skip_invalid, progress_json, json_output))


def import_cloudtrail(  # noqa: PLR0917 - the options of a command line
    files: Annotated[
        list[Path],
        typer.Argument(help="Files or directories of AWS CloudTrail records, *.json or *.json.gz; - for stdin."),
    ],
    skip_invalid: SkipInvalid = None,
    progress_json: ProgressJson = False,
    data: Data = DEFAULT_DATA,
    database: DatabaseUrl = None,
    signer: SignerSocket = None,
    url: Url = None,
    token_file: TokenFile = None,
    json_output: Json = False,
) -> None:
    """Import AWS CloudTrail records; docs/reference/cloudtrail-mapping.md says what becomes what."""
    from tlog.ingest.cloudtrail import CloudTrail
    from tlog.ingest.reading import read_records

    read = partial(read_records, mapping=CloudTrail(), cloudtrail=True)
    target = _Target(locate(data, database, signer), url, token_file)
    _import(read, files, target, _Manner(skip_invalid, progress_json, json_output))


def _read_id_key(path: Path) -> bytes:
    key = exit_on_error(path.read_bytes)
    if len(key) != _ID_KEY_SIZE:
        refuse(
            f"{path} has {len(key)} bytes, a key for eventIds has {_ID_KEY_SIZE}; make one with 'head -c 32 /dev/urandom'"
        )
    return key


def _read_mapped(name: str, space: str | None, key: bytes | None) -> Read:
    from tlog.ingest.mapping import load_mapping
    from tlog.ingest.reading import read_records

    mapping = exit_on_error(lambda: load_mapping(name, key=key, space=space))
    return partial(read_records, mapping=mapping)


def _read_filled(  # noqa: PLR0917 - the options of a command line
    ids: list[str], space: str | None, key: bytes | None, time: str | None, unit: str | None, zone: str | None
) -> Read:
    from tlog.ingest.ndjson import SPACE, Filled, Time, read_ndjson
    from tlog.ingest.reading import read_records
    from tlog.ingest.total import find_zone

    if not ids and (space is not None or key is not None):
        refuse("--id-space and --id-key belong to --id-from or --map")
    if time is None and (unit is not None or zone is not None):
        refuse("--time-unit and --time-zone belong to --time-from")
    if not ids and time is None:
        return read_ndjson
    try:
        if zone is not None:
            find_zone(zone)
        where = None if time is None else Time(time, unit, zone)
        mapping = Filled(tuple(ids), where, space=SPACE if space is None else space, key=key)
    except ValueError as error:
        refuse(str(error))
    return partial(read_records, mapping=mapping)


def _show(read: Read, paths: Sequence[Path], most: int) -> None:
    """Print the first events that the files would give."""
    from tlog.errors import MalformedInputError

    problems = exit_on_error(lambda: _print_events(read, paths, most))
    if problems:
        raise typer.Exit(MalformedInputError.exit_code)


def _print_events(read: Read, paths: Sequence[Path], most: int) -> int:
    """Print at most so many events; return how many problems were met before."""
    from tlog.ingest.aside import Problem
    from tlog.ingest.reading import Item, find_files
    from tlog.ingest.shapes import DamagedFileError

    shown = problems = 0
    for path in find_files(paths).files:
        try:
            with _open(path) as stream:
                for each in read(stream, str(path)):
                    if isinstance(each, Problem):
                        complain(str(each))
                        problems += 1
                    for event in (each.events if isinstance(each, Item) else ())[: most - shown]:
                        print(event.decode(errors="backslashreplace"))
                        shown += 1
                    if shown == most:
                        return problems
        except DamagedFileError as error:
            complain(f"{path}: {error}")
            problems += 1
    return problems


def _import(read: Read, paths: Sequence[Path], target: _Target, manner: _Manner) -> None:
    """Check all records, append their events, wait until they are sealed, and say what happened."""
    from tlog.errors import NotCheckedError
    from tlog.ingest.aside import AsideFile
    from tlog.ingest.importing import Import
    from tlog.ingest.reading import find_files

    found = exit_on_error(lambda: find_files(paths))
    aside = None if manner.skip_invalid is None else exit_on_error(partial(AsideFile, manner.skip_invalid))
    importing = Import(found.files, _open, read, aside)
    complete = False
    try:
        total, size = _check_and_append(importing, found, target, manner)
        complete = True
    finally:
        if aside is not None:
            exit_on_error(partial(aside.close, keep=complete and importing.problems > 0))
    _print_result(importing, found, total, size, manner)
    if importing.problems:
        raise typer.Exit(NotCheckedError.exit_code)
    if not importing.records and not manner.may_be_empty:
        complain("there is no record in any file")
        raise typer.Exit(NotCheckedError.exit_code)


def _check_and_append(importing: Import, found: Found, target: _Target, manner: _Manner) -> tuple[Imported, int | None]:
    """Check all and append what is good; return what became of it, and the size of the tree that has it."""
    from tlog.ingest.importing import Imported

    # Before there is an event loop, which would keep the first Ctrl-C from ending the reading of standard input.
    size = exit_on_error(lambda: _check(importing, found, manner))
    if importing.problems and manner.skip_invalid is None:
        _refuse_all(importing)
    if not importing.good and not manner.may_be_empty:
        return Imported(), None
    if target.url is None:
        return run(_import_locally(importing, target.location, size, manner))
    return run(_import_remotely(importing, target.url, read_token(target.token_file), size, manner))


def _check(importing: Import, found: Found, manner: _Manner) -> int:
    """Find what is wrong before anything is appended; return how many bytes there are."""
    from tlog.cli.progress import show_import

    size = 0
    for path in found.files:
        with _open(path) as stream:
            size += stream.seek(0, 2)
            stream.seek(0)
    with show_import("checking", size, as_json=manner.progress_json) as report:
        importing.check(report)
    return size


def _refuse_all(importing: Import) -> None:
    from tlog.checking.report import counted
    from tlog.errors import MalformedInputError

    for problem in importing.named:
        complain(str(problem))
    more = importing.problems - len(importing.named)
    what = counted(importing.problems, "problem")
    first = f", of which the first {len(importing.named)} are named" if more else ""
    complain(f"{what}{first}; nothing was imported. '--skip-invalid FILE' of 'tlog import' sets aside what is wrong")
    raise typer.Exit(MalformedInputError.exit_code)


async def _import_locally(
    importing: Import, location: Location, size: int, manner: _Manner
) -> tuple[Imported, int | None]:
    from tlog.cli.progress import show_import
    from tlog.ingest.importing import append_locally
    from tlog.lifecycle.opening import open_log
    from tlog.lifecycle.running import running

    async with open_log(location) as log, running(log):
        with show_import("appending", size, as_json=manner.progress_json) as report:
            total = await importing.append(partial(append_locally, log), report)
        checkpoint = await log.wait_sealed(total.last_index, SEAL_SECONDS)
        return total, checkpoint.size


async def _import_remotely(
    importing: Import, url: str, token: str | None, size: int, manner: _Manner
) -> tuple[Imported, int | None]:
    import asyncio

    from tlog.cli.progress import show_import
    from tlog.client import Client
    from tlog.errors import MalformedInputError
    from tlog.ingest.importing import ConflictError

    with Client(url, token) as client:

        async def append(raws: Sequence[bytes]) -> list[tuple[int, bool]]:
            try:
                receipts = await asyncio.to_thread(client.append, raws)
            except MalformedInputError as error:
                # Everything else that the service could refuse about an event was found while checking.
                conflict = _CONFLICT.fullmatch(error.pointer)
                if conflict is None:
                    raise
                raise ConflictError(int(conflict[1])) from None
            return [(receipt["index"], receipt.get("duplicate", False)) for receipt in receipts]

        with show_import("appending", size, as_json=manner.progress_json) as report:
            total = await importing.append(append, report)
        for _ in range(int(SEAL_SECONDS / 0.1)):
            tree_size = int(client.log()["size"])
            if tree_size > total.last_index:
                break
            await asyncio.sleep(0.1)
        return total, tree_size


def _print_result(importing: Import, found: Found, total: Imported, size: int | None, manner: _Manner) -> None:
    new = total.events - total.duplicates
    skipped = found.digests + importing.digests
    if manner.json:
        result: dict[str, Any] = {
            "events": total.events,
            "appended": new,
            "duplicates": total.duplicates,
            "continuations": total.continuations,
            "setAside": importing.problems,
            "skipped": skipped,
            "passedOver": found.passed_over,
            "size": size,
        }
        print(json.dumps(result))
        return
    known = f", {total.duplicates:,} were in the log already" if total.duplicates else ""
    sealed = "" if size is None else f"; sealed at tree size {size:,}"
    print(f"{total.events:,} events read: {new:,} appended{known}{sealed}")
    for count, what in (
        (total.continuations, "more events hold what did not fit, related resources beyond 32"),
        (importing.problems, f"set aside in {manner.skip_invalid}"),
        (len(skipped), "digests skipped"),
        (len(found.passed_over), "files passed over that are neither named like JSON nor begin like it"),
    ):
        if count:
            print(f"{count:,} {what}")


@contextmanager
def _open(file: Path) -> Iterator[BinaryIO]:
    """Open a file; what can be read only once, such as standard input, is kept in a temporary file."""
    if file in _spooled or str(file) == "-":
        yield _spool(file, sys.stdin.buffer)
        return
    with file.open("rb") as stream:
        yield stream if stream.seekable() else _spool(file, stream)


def _spool(file: Path, stream: BinaryIO) -> BinaryIO:
    if file not in _spooled:
        _spooled[file] = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        shutil.copyfileobj(stream, _spooled[file])
    _spooled[file].seek(0)
    return _spooled[file]
