"""Commands that bring events in: append, import."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, Final

import typer

from tlog.cli.options import DEFAULT_DATA, Data, DatabaseUrl, Json, SignerSocket, TokenFile, Url, locate, read_token
from tlog.cli.output import exit_on_error, run, show_progress

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence

    from tlog.ingest.importing import Imported, Item
    from tlog.location import Location

SEAL_SECONDS: Final = 30.0
_spooled: BinaryIO | None = None


def append(  # noqa: PLR0917 - the options of a command line
    file: Annotated[Path, typer.Argument(help="NDJSON file of events, one in each line; - for stdin.")] = Path("-"),
    data: Data = DEFAULT_DATA,
    database: DatabaseUrl = None,
    signer: SignerSocket = None,
    url: Url = None,
    token_file: TokenFile = None,
    json_output: Json = False,
) -> None:
    """Append events and wait until they are sealed."""
    items = partial(_read_ndjson_files, [file])
    _import(items, locate(data, database, signer), url, token_file, json_output=json_output)


def import_ndjson(  # noqa: PLR0917 - the options of a command line
    files: Annotated[list[Path], typer.Argument(help="Files of events, one JSON object in each line; - for stdin.")],
    data: Data = DEFAULT_DATA,
    database: DatabaseUrl = None,
    signer: SignerSocket = None,
    url: Url = None,
    token_file: TokenFile = None,
    json_output: Json = False,
) -> None:
    """Import events in tlog's own format."""
    items = partial(_read_ndjson_files, files)
    _import(items, locate(data, database, signer), url, token_file, json_output=json_output)


def import_cloudtrail(  # noqa: PLR0917 - the options of a command line
    files: Annotated[list[Path], typer.Argument(help="AWS CloudTrail log files, *.json or *.json.gz.")],
    data: Data = DEFAULT_DATA,
    database: DatabaseUrl = None,
    signer: SignerSocket = None,
    url: Url = None,
    token_file: TokenFile = None,
    json_output: Json = False,
) -> None:
    """Import AWS CloudTrail records; docs/reference/cloudtrail-mapping.md says what becomes what."""
    items = partial(_read_cloudtrail_files, files)
    _import(items, locate(data, database, signer), url, token_file, json_output=json_output)


def _import(
    items: Callable[[], Iterator[Item]],
    location: Location,
    url: str | None,
    token_file: Path | None,
    *,
    json_output: bool,
) -> None:
    """Check all events, append them, wait until they are sealed, and say what happened."""
    # Before there is an event loop, which would keep the first Ctrl-C from ending the reading of standard input.
    exit_on_error(lambda: _check_events(items))
    work = _import_locally(items, location) if url is None else _import_remotely(items, url, read_token(token_file))
    total, size = run(work)
    new = total.events - total.duplicates
    if json_output:
        result = {"events": total.events, "appended": new, "duplicates": total.duplicates, "size": size}
        print(json.dumps(result))
    else:
        known = f", {total.duplicates:,} were in the log already" if total.duplicates else ""
        print(f"{total.events:,} events read: {new:,} appended{known}; sealed at tree size {size:,}")


async def _import_locally(items: Callable[[], Iterator[Item]], location: Location) -> tuple[Imported, int]:
    from tlog.ingest.importing import append_locally
    from tlog.lifecycle.opening import open_log
    from tlog.lifecycle.running import running

    async with open_log(location) as log, running(log):
        total = await _append_all(items(), partial(append_locally, log))
        checkpoint = await log.wait_sealed(total.last_index, SEAL_SECONDS)
        return total, checkpoint.size


async def _import_remotely(items: Callable[[], Iterator[Item]], url: str, token: str | None) -> tuple[Imported, int]:
    import asyncio

    from tlog.client import Client

    with Client(url, token) as client:

        async def append(raws: Sequence[bytes]) -> list[tuple[int, bool]]:
            receipts = await asyncio.to_thread(client.append, raws)
            return [(receipt["index"], receipt.get("duplicate", False)) for receipt in receipts]

        total = await _append_all(items(), append)
        for _ in range(int(SEAL_SECONDS / 0.1)):
            size = int(client.log()["size"])
            if size > total.last_index:
                break
            await asyncio.sleep(0.1)
        return total, size


def _check_events(items: Callable[[], Iterator[Item]]) -> None:
    """Find the first bad event before anything is appended."""
    from tlog.ingest.importing import check_items

    with show_progress("checking", "events") as report:
        for count, _ in enumerate(check_items(items()), 1):
            report(count, 0)


async def _append_all(
    items: Iterable[Item], append: Callable[[Sequence[bytes]], Awaitable[Sequence[tuple[int, bool]]]]
) -> Imported:
    from tlog.ingest.importing import Imported, import_items

    total = Imported(0, 0, -1)
    with show_progress("appending", "events") as report:
        async for total in import_items(items, append):
            report(total.events, 0)
    return total


def _read_ndjson_files(files: Sequence[Path]) -> Iterator[Item]:
    from tlog.ingest.ndjson import read_ndjson

    for file in files:
        with _open(file) as stream:
            yield from read_ndjson(stream, str(file))


def _read_cloudtrail_files(files: Sequence[Path]) -> Iterator[Item]:
    from tlog.ingest.cloudtrail import read_cloudtrail

    for file in files:
        with file.open("rb") as stream:
            yield from read_cloudtrail(stream, str(file))


@contextmanager
def _open(file: Path) -> Iterator[BinaryIO]:
    """Open a file, or standard input, kept in a temporary file because events are read twice."""
    if str(file) != "-":
        with file.open("rb") as stream:
            yield stream
    else:
        yield _spool_standard_input()


def _spool_standard_input() -> BinaryIO:
    global _spooled  # noqa: PLW0603 - there is one standard input in a process
    if _spooled is None:
        _spooled = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        shutil.copyfileobj(sys.stdin.buffer, _spooled)
    _spooled.seek(0)
    return _spooled
