"""The command line: `tlog <command> --help` says what each does. Results go to stdout, progress and errors to stderr."""

from __future__ import annotations

import asyncio
import getpass
import io
import json
import os
import runpy
import shutil
import sys
import tempfile
import time
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Final, NoReturn, TypeVar
from uuid import UUID

import msgspec
import structlog
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from tlog.answering.evidence import make_evidence
from tlog.answering.export import export_events, export_static
from tlog.answering.prove import checkpoint_of, event_file, prove_inclusion
from tlog.answering.query import MAX_LIMIT, answer_document
from tlog.checking.fsck import fsck as run_fsck
from tlog.checking.mirror import open_mirror
from tlog.checking.mirrored import fsck_mirror
from tlog.checking.report import Report, Verified, parse_verified
from tlog.client import Client
from tlog.core import verify as verification
from tlog.core.checkpoint import open_checkpoint, peek_checkpoint
from tlog.core.evidence import format_evidence
from tlog.core.note import parse_vkey
from tlog.core.question import Question, parse_question
from tlog.errors import InconsistentRootsError, KeyMismatchError, MalformedInputError, NotFoundError, TlogError
from tlog.files import durable
from tlog.ingest.cloudtrail import read_cloudtrail
from tlog.ingest.importing import Imported, Item, append_locally, check_items, import_items
from tlog.ingest.ndjson import read_ndjson
from tlog.keeping.backup import back_up
from tlog.keeping.backup import restore as run_restore
from tlog.keeping.recover import Recovered
from tlog.keeping.recover import recover as run_recovery
from tlog.lifecycle.journal import journal
from tlog.lifecycle.making import DEFAULT_ORIGIN, create_log
from tlog.lifecycle.opening import DEFAULT_INTERVAL, database_of, database_to_recover, is_log, open_log, signer_of
from tlog.lifecycle.running import reindex as make_index_again
from tlog.lifecycle.running import run_sealing, running
from tlog.location import DataDirectory, Location, offline_verifier, run_loop, utc_now
from tlog.server.guard.auth import new_token
from tlog.server.serve import DEFAULT_DRAIN, DEFAULT_HOST, DEFAULT_PORT
from tlog.server.serve import serve as run_server
from tlog.signing.anchor import Anchor
from tlog.signing.clock import SteadyClock, check_clock
from tlog.signing.signer import CheckpointSigner
from tlog.signing.socket import group_number, serve_signer, user_number
from tlog.storage.keys import ApiKeyStore
from tlog.storage.reading import ReadStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence

    from tlog.core.note import Verifier
    from tlog.signing.anchor import Anchored
    from tlog.storage.database import Database

app = typer.Typer(
    name="tlog",
    help="A tamper-evident audit log that can be proved.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
import_app = typer.Typer(
    help="Import events from files: a second import of the same adds nothing.", no_args_is_help=True
)
keys_app = typer.Typer(help="Show the log's public key.", no_args_is_help=True)
token_app = typer.Typer(help="Make, list and revoke API keys.", no_args_is_help=True)
verify_app = typer.Typer(
    help="Verify proofs offline. Exit code 0: verified, 1: failed, 2: malformed input, 3: not everything could be checked.",
    no_args_is_help=True,
)
app.add_typer(import_app, name="import")
app.add_typer(keys_app, name="keys")
app.add_typer(token_app, name="token")
app.add_typer(verify_app, name="verify")

_SEAL_SECONDS: Final = 30.0
_INTERRUPTED: Final = 130
_SAVE_SECONDS: Final = 5.0
_console: Final = Console(stderr=True, highlight=False)
_spooled: BinaryIO | None = None
Result = TypeVar("Result")


class Sealing(StrEnum):
    """Where a service's log is sealed and indexed."""

    BESIDE = "beside"
    HERE = "here"
    ELSEWHERE = "elsewhere"


class Scope(StrEnum):
    """What an API key may do."""

    APPEND = "append"
    READ = "read"
    ADMIN = "admin"


Data = Annotated[Path, typer.Option("--data", envvar="TLOG_DATA", help="The log's data directory.")]
DatabaseUrl = Annotated[
    str | None,
    typer.Option(
        "--database",
        envvar="TLOG_DATABASE",
        help="postgresql://… of your own PostgreSQL (15 or newer), instead of the embedded one.",
    ),
]
AdminUrl = Annotated[
    str | None,
    typer.Option(
        envvar="TLOG_ADMIN_DATABASE",
        help="postgresql://… of a role that may create roles and tables, for migrations and API keys; --database if absent.",
    ),
]
SignerSocket = Annotated[
    Path | None,
    typer.Option(
        "--signer",
        envvar="TLOG_SIGNER",
        help="Socket of the log's own signer ('tlog signer'), instead of the signing key in the data directory.",
    ),
]
Interval = Annotated[float, typer.Option(min=0.01, max=3600, help="Seconds between seals.")]
Origin = Annotated[str, typer.Option(help="The log's name in its checkpoints, such as audit.example.com/ehr. Final.")]
Url = Annotated[str | None, typer.Option(help="URL of a running log, instead of opening the data directory.")]
TokenFile = Annotated[Path | None, typer.Option(help="File with the API key, with --url; or set TLOG_TOKEN.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
VKey = Annotated[str, typer.Option("--vkey", help="The log's public key, literally or as @FILE.")]
User = Annotated[str | None, typer.Option(help="Who acted: the actor's userId.")]
ResourceName = Annotated[
    str | None, typer.Option(metavar="TYPE:ID", help="What was acted on, such as patient_record:P-1001.")
]
ResourceKind = Annotated[str | None, typer.Option(help="A type of resource; without --resource-id of any ID.")]
ResourceNumber = Annotated[
    str | None, typer.Option(help="With --resource-type, if a type with a colon makes TYPE:ID ambiguous.")
]
ActionName = Annotated[str | None, typer.Option(help="read, create, update, delete, export, login, …")]
OutcomeName = Annotated[str | None, typer.Option(help="success, failure or unknown.")]
From = Annotated[str | None, typer.Option("--from", help="Happened at this time or later: 2026-03-01[T08:00:00Z].")]
To = Annotated[str | None, typer.Option(help="Happened before this time.")]
LoggedFrom = Annotated[str | None, typer.Option(help="Logged at this time or later, by the log's own clock.")]
LoggedTo = Annotated[str | None, typer.Option(help="Logged before this time, by the log's own clock.")]
_DATA: Final = Path("tlog-data")


@app.command()
def demo(
    events: Annotated[int, typer.Option(min=100, help="How many events of the hospital's day to append.")] = 10_000,
    *,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the demo's directory for a look around.")] = False,
) -> None:
    """Show everything in one go: append a hospital's day, prove, verify, then attack the log and see it caught."""
    from tlog.demo.story import run_demo  # noqa: PLC0415 - a story only this command tells

    raise typer.Exit(run_demo(events, keep=keep))


@app.command()
def serve(  # noqa: PLR0917 - the options of a command line
    data: Data = _DATA,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = DEFAULT_HOST,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="TCP port; 0 takes a free one.")] = DEFAULT_PORT,
    origin: Origin = DEFAULT_ORIGIN,
    interval: Interval = DEFAULT_INTERVAL,
    sealing: Annotated[
        Sealing, typer.Option(help="Seal in a process of its own, in this one, or leave it to a 'tlog seal' elsewhere.")
    ] = Sealing.BESIDE,
    database: DatabaseUrl = None,
    signer: SignerSocket = None,
    admin_database: AdminUrl = None,
    drain: Annotated[
        float, typer.Option(min=0, max=600, help="Seconds to go on as 'not ready' after SIGTERM, for load balancers.")
    ] = DEFAULT_DRAIN,
    access_log: Annotated[
        bool, typer.Option("--access-log/--no-access-log", help="Log each request on stderr, with its key's ID.")
    ] = True,
) -> None:
    """Serve the log over HTTP; makes it first if the data directory holds none."""
    location = Location(DataDirectory(data), database, admin_database, signer=signer)

    def ready(url: str) -> None:
        _console.print(f"tlog serves {data} at {url}  (Ctrl-C stops)")

    async def work() -> None:
        if not is_log(location):
            verifier = await create_log(location, origin)
            _console.print(f"made a new log in {data}; its public key is\n  {verifier.vkey()}")
            _console.print("make an API key with 'tlog token create'")
        await run_server(
            location,
            host=host,
            port=port,
            interval=interval,
            sealing=sealing.value,
            drain=drain,
            access_log=access_log,
            on_ready=ready,
        )

    _run(work())


@app.command()
def seal(
    data: Data = _DATA,
    interval: Interval = DEFAULT_INTERVAL,
    database: DatabaseUrl = None,
    signer: SignerSocket = None,
    *,
    supervised: Annotated[bool, typer.Option("--supervised", hidden=True)] = False,
) -> None:
    """Seal and index a log until stopped; 'tlog serve' starts one of these by itself."""
    _run(run_sealing(Location(DataDirectory(data), database, signer=signer), interval, supervised=supervised))


@app.command()
def signer(
    data: Annotated[
        Path, typer.Option("--data", help="The signer's own directory: keys/log.skey, keys/log.vkey and anchor/.")
    ],
    socket: Annotated[
        Path | None, typer.Option(help="UNIX socket to answer at; signer.sock in the directory if absent.")
    ] = None,
    allow_user: Annotated[
        list[str] | None, typer.Option(help="User who may ask, by name or number; repeatable. Your own if absent.")
    ] = None,
    group: Annotated[str | None, typer.Option(help="Group whose members can reach the socket.")] = None,
) -> None:
    """Sign a log's checkpoints for 'tlog serve --signer', as a user of its own: only what extends what it signed before."""

    async def work() -> None:
        directory = DataDirectory(data)
        key = directory.signer()
        if key.verifier != directory.verifier():
            message = f"the two keys in {data}/keys do not belong together; bring back this log's own"
            raise KeyMismatchError(message)
        path = data / "signer.sock" if socket is None else socket

        def ready(anchored: Anchored) -> None:
            _console.print(f"tlog signs for {anchored.origin} from size {anchored.size} at {path}", soft_wrap=True)

        anchor = Anchor(directory.anchor)
        last = (await asyncio.to_thread(anchor.read)).sealed_at
        check_clock(utc_now(), last)
        await serve_signer(
            CheckpointSigner(anchor, key, SteadyClock(utc_now, last)),
            path,
            users={user_number(each) for each in allow_user or [str(os.geteuid())]},
            group=None if group is None else group_number(group),
            on_ready=ready,
        )

    _run(work())


@app.command()
def init(
    data: Data = _DATA,
    origin: Origin = DEFAULT_ORIGIN,
    database: DatabaseUrl = None,
    signer: SignerSocket = None,
    admin_database: AdminUrl = None,
) -> None:
    """Make a log: keys, anchor, database; or bring its database's schema up to this version."""
    location = Location(DataDirectory(data), database, admin_database, signer=signer)
    verifier = _run(create_log(location, origin))
    print(verifier.vkey())


@app.command()
def append(  # noqa: PLR0917 - the options of a command line
    file: Annotated[Path, typer.Argument(help="NDJSON file of events, one in each line; - for stdin.")] = Path("-"),
    data: Data = _DATA,
    database: DatabaseUrl = None,
    signer: SignerSocket = None,
    url: Url = None,
    token_file: TokenFile = None,
    json_output: Json = False,
) -> None:
    """Append events and wait until they are sealed."""
    items = partial(_ndjson_items, [file])
    _import(items, Location(DataDirectory(data), database, signer=signer), url, token_file, json_output=json_output)


@import_app.command("ndjson")
def import_ndjson(  # noqa: PLR0917 - the options of a command line
    files: Annotated[list[Path], typer.Argument(help="Files of events, one JSON object in each line; - for stdin.")],
    data: Data = _DATA,
    database: DatabaseUrl = None,
    signer: SignerSocket = None,
    url: Url = None,
    token_file: TokenFile = None,
    json_output: Json = False,
) -> None:
    """Import events in tlog's own format."""
    items = partial(_ndjson_items, files)
    _import(items, Location(DataDirectory(data), database, signer=signer), url, token_file, json_output=json_output)


@import_app.command("cloudtrail")
def import_cloudtrail(  # noqa: PLR0917 - the options of a command line
    files: Annotated[list[Path], typer.Argument(help="AWS CloudTrail log files, *.json or *.json.gz.")],
    data: Data = _DATA,
    database: DatabaseUrl = None,
    signer: SignerSocket = None,
    url: Url = None,
    token_file: TokenFile = None,
    json_output: Json = False,
) -> None:
    """Import AWS CloudTrail records; docs/reference/cloudtrail-mapping.md says what becomes what."""
    items = partial(_cloudtrail_items, files)
    _import(items, Location(DataDirectory(data), database, signer=signer), url, token_file, json_output=json_output)


@app.command()
def prove(  # noqa: PLR0917 - the options of a command line
    event_id: Annotated[str, typer.Argument(help="The event's eventId.")],
    out: Annotated[Path, typer.Option(help="Directory to write the two files into.")] = Path(),
    disclose: Annotated[
        bool, typer.Option("--disclose/--no-disclose", help="Include the event's personal data in the event file.")
    ] = True,
    data: Data = _DATA,
    database: DatabaseUrl = None,
    signer: SignerSocket = None,
    url: Url = None,
    token_file: TokenFile = None,
    json_output: Json = False,
) -> None:
    """Write EVENT_ID.tlog-proof and EVENT_ID.event.json, which verify offline."""
    event_id = event_id.lower()
    if url is not None:
        with Client(url, _token(token_file)) as client:
            proof, event = _guard(lambda: client.event_proof(event_id, disclose=disclose))
    else:
        proof, event = _run(
            _prove_locally(Location(DataDirectory(data), database, signer=signer), event_id, disclose=disclose)
        )
    paths = out / f"{event_id}.tlog-proof", out / f"{event_id}.event.json"
    out.mkdir(parents=True, exist_ok=True)
    for path, content in zip(paths, (proof, event), strict=True):
        path.write_bytes(content)
    if json_output:
        print(json.dumps({"proof": str(paths[0]), "event": str(paths[1])}))
    else:
        print(f"{paths[0]}\n{paths[1]}")
        _console.print(
            f"verify anywhere: python3 verify.py proof --vkey VKEY --event {paths[1].name} {paths[0].name}",
            soft_wrap=True,
        )


@app.command()
def fsck(  # noqa: PLR0917 - the options of a command line
    data: Data = _DATA,
    database: DatabaseUrl = None,
    signer: SignerSocket = None,
    second_opinion: Annotated[
        bool, typer.Option("--second-opinion", help="Recompute root and inclusion proofs with pymerkle as well.")
    ] = False,
    since: Annotated[
        Path | None, typer.Option(help="Check only what came behind an earlier check: the file that --save wrote then.")
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(
            help="Write here how far nothing is wrong, now and then and at the end: a later check can go on there."
        ),
    ] = None,
    mirror: Annotated[
        str | None,
        typer.Option(
            metavar="DIR|URL", help="Check this copy of the log instead: an exported directory, or a served log."
        ),
    ] = None,
    vkey: Annotated[
        str | None, typer.Option("--vkey", help="With --mirror, the log's public key, literally or as @FILE.")
    ] = None,
    earlier: Annotated[
        Path | None, typer.Option(help="With --mirror, a checkpoint from before, which the mirror's has to continue.")
    ] = None,
    json_output: Json = False,
    progress_json: Annotated[
        bool, typer.Option("--progress-json", help="Report progress on stderr as lines of JSON, for programs.")
    ] = False,
) -> None:
    """Check everything the database holds against entries, tiles, checkpoints and anchor; name what broke."""
    directory = DataDirectory(data)
    showing = _progress_lines() if progress_json else _progress("checking", "entries")
    if mirror is not None:
        if second_opinion or since is not None or save is not None or database is not None:
            _usage("--mirror goes with --vkey, --earlier, --json and --progress-json only")
        key = _guard(lambda: directory.verifier() if vkey is None else _vkey(vkey))
        before = None if earlier is None else _guard(earlier.read_bytes)
        with showing as report:
            found = _guard(lambda: _check_mirror(mirror, key, before, report))
    elif vkey is not None or earlier is not None:
        _usage("--vkey and --earlier go with --mirror")
    else:
        since_then = None if since is None else _guard(lambda: parse_verified(since.read_bytes()))
        saver = _Saver(save)

        location = Location(directory, database, signer=signer)
        read = _read_anchor(location)

        async def work() -> Report:
            async with database_of(location) as log:
                with showing as report:
                    return await run_fsck(
                        log,
                        directory.verifier(),
                        directory.bucket_keys(),
                        read,
                        second_opinion=second_opinion,
                        since=since_then,
                        progress=report,
                        reached=saver.reached,
                    )

        found = _run(work())
        if found.verified is not None:
            saver.write(found.verified)
    print(json.dumps(found.to_json()) if json_output else found.text())
    raise typer.Exit(found.exit_code)


def _read_anchor(location: Location) -> Callable[[], Anchored]:
    """Return what reads the anchor: of the data directory, or through the log's own signer."""
    return Anchor(location.directory.anchor).read if location.signer is None else signer_of(location).read


def _check_mirror(where: str, key: Verifier, earlier: bytes | None, report: Callable[[int, int], None]) -> Report:
    with open_mirror(where) as mirror:
        return fsck_mirror(mirror, key, earlier=earlier, progress=report)


class _Saver:
    """Writes how far a check has got, so that one that is broken off was not for nothing."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._written = time.monotonic()

    def reached(self, verified: Verified) -> None:
        """Write, unless that was done a moment ago."""
        if self._path is not None and str(self._path) != "-" and time.monotonic() - self._written > _SAVE_SECONDS:
            self.write(verified)

    def write(self, verified: Verified) -> None:
        """Write, if asked to."""
        if self._path is not None:
            with _output(self._path) as file:
                file.write(msgspec.json.encode(verified))
            self._written = time.monotonic()


@app.command()
def reindex(
    data: Data = _DATA, database: DatabaseUrl = None, signer: SignerSocket = None, json_output: Json = False
) -> None:
    """Make the index again from the entries, for instance because fsck found it damaged. Nobody else may run the log."""

    async def work() -> int:
        async with open_log(Location(DataDirectory(data), database, signer=signer)) as log:
            with _progress("indexing", "entries") as report:
                return await make_index_again(log, report)

    size = _run(work())
    print(json.dumps({"indexed": size}) if json_output else f"indexed {size:,} entries")


@app.command()
def backup(
    target: Annotated[Path, typer.Argument(help="A new directory; it will hold personal data.")],
    data: Data = _DATA,
    json_output: Json = False,
) -> None:
    """Back up the embedded database, while it runs, and verify the copy. Keys and anchor are not in it, on purpose."""
    made = _run(back_up(DataDirectory(data), target.absolute(), utc_now()))
    if json_output:
        print(msgspec.json.encode(made).decode())
        return
    print(f"backed up {made.size:,} entries, or a few more, to {target}, and verified the copy")
    print(f"not in it: {data}/keys (keep a copy elsewhere, once) and {data}/anchor (never put back an older one)")


@app.command()
def restore(
    source: Annotated[Path, typer.Argument(help="A directory that 'tlog backup' wrote.")],
    data: Data = _DATA,
    json_output: Json = False,
) -> None:
    """Verify a backup and put it into a data directory that has no database; say what is still to be done."""
    done = _run(run_restore(DataDirectory(data), source.absolute()))
    if json_output:
        document = {"size": done.size, "anchored": done.anchored, "keys": done.has_keys, "takenAt": done.backup.takenAt}
        print(json.dumps(document))
        return
    print(f"restored {done.size:,} entries, backed up at {done.backup.takenAt}, into {data}")
    if not done.has_keys:
        print(f"next: bring back {data}/keys")
    if done.anchored is None:
        print(f"next: bring back {data}/anchor, the newest there is: without it nothing can be signed")
    elif done.size < done.anchored:
        behind = done.anchored - done.size
        print(
            f"next: 'tlog recover --mirror …': {behind:,} entries that were signed are missing, and 'tlog serve' refuses"
        )


@app.command()
def recover(  # noqa: PLR0917 - the options of a command line
    mirror: Annotated[
        str, typer.Option(metavar="DIR|URL", help="A static export of the log, or the URL where one is served.")
    ],
    data: Data = _DATA,
    database: DatabaseUrl = None,
    admin_database: AdminUrl = None,
    new_database: Annotated[
        bool, typer.Option("--new-database", help="The database is lost and there is no copy: make a new one.")
    ] = False,
    signer: SignerSocket = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything and say what would be done.")] = False,
    json_output: Json = False,
) -> None:
    """Bring back signed entries that the database lost, from a mirror of the log, up to exactly what was signed last.

    For a database that was restored from a backup and is refused with ROLLBACK. Personal data and API keys are in no mirror.
    """
    location = Location(DataDirectory(data), database, admin_database, signer=signer)

    async def work(opened: Database | None) -> Recovered:
        with open_mirror(mirror) as source, _progress("recovering", "steps") as report:
            log = location.directory.verifier()
            return await run_recovery(opened, source, _read_anchor(location), log, dry_run=dry_run, progress=report)

    async def work_on_database() -> Recovered:
        if dry_run and new_database:
            return await work(None)
        async with database_to_recover(location, new=new_database) as opened:
            return await work(opened)

    done = _run(work_on_database())
    if json_output:
        print(json.dumps({**done._asdict(), "recovered": done.size - done.start, "dryRun": dry_run}))
    else:
        print(_recovery_text(done, dry_run=dry_run))


@app.command()
def query(  # noqa: PLR0917 - the options of a command line
    user: User = None,
    resource: ResourceName = None,
    resource_type: ResourceKind = None,
    resource_id: ResourceNumber = None,
    action: ActionName = None,
    outcome: OutcomeName = None,
    from_: From = None,
    to: To = None,
    logged_from: LoggedFrom = None,
    logged_to: LoggedTo = None,
    limit: Annotated[int, typer.Option(min=1, max=MAX_LIMIT, help="Show so many at most, the newest.")] = 50,
    data: Data = _DATA,
    database: DatabaseUrl = None,
    signer: SignerSocket = None,
    url: Url = None,
    token_file: TokenFile = None,
    json_output: Json = False,
) -> None:
    """Ask who did what: events that match everything given, newest first. The question itself is logged."""
    asked = _question(user, resource, resource_type, resource_id, action, outcome, from_, to, logged_from, logged_to)
    if url is not None:
        with Client(url, _token(token_file)) as client:
            answer = _guard(lambda: client.ask(asked.document(), limit=limit))
    else:
        answer = _run(_query_locally(Location(DataDirectory(data), database, signer=signer), asked, limit))
    if json_output:
        print(json.dumps(answer, ensure_ascii=False))
        return
    table = Table("logged at", "user", "action", "resource", "outcome", "eventId")
    for each in answer["events"]:
        where = each["resource"]
        names = each.get("actor", {}).get("userId", "(erased)"), f"{where['type']}:{where.get('id', '(erased)')}"
        cells = each["log"]["loggedAt"], names[0], each["action"], names[1], each["outcome"], each["eventId"]
        table.add_row(*map(escape, cells))
    Console().print(table)
    more = ", and there are more" if answer["next"] is not None else ""
    _console.print(f"{answer['count']} events{more}; as of tree size {answer['asOf']['size']:,}")
    for each in answer["notLookedAt"]:
        _console.print(f"not looked at: {each}")


@app.command()
def export(  # noqa: PLR0917 - the options of a command line
    static: Annotated[
        Path | None,
        typer.Option(help="Write the whole sealed log into this directory: checkpoint, tiles, entry bundles."),
    ] = None,
    evidence: Annotated[
        Path | None, typer.Option(help="Write proof of the complete answer to this file; verify.py checks it offline.")
    ] = None,
    ndjson: Annotated[
        Path | None, typer.Option(help="Write the events that answer to this file, - for stdout.")
    ] = None,
    csv: Annotated[
        Path | None, typer.Option(help="Write them as CSV, formulas neutralised; not evidence. - for stdout.")
    ] = None,
    user: User = None,
    resource: ResourceName = None,
    resource_type: ResourceKind = None,
    resource_id: ResourceNumber = None,
    action: ActionName = None,
    outcome: OutcomeName = None,
    from_: From = None,
    to: To = None,
    logged_from: LoggedFrom = None,
    logged_to: LoggedTo = None,
    count: Annotated[bool, typer.Option("--count", help="Evidence of the number alone.")] = False,
    disclose: Annotated[
        bool, typer.Option("--disclose/--no-disclose", help="Include personal data in the evidence.")
    ] = False,
    data: Data = _DATA,
    database: DatabaseUrl = None,
    signer: SignerSocket = None,
    url: Url = None,
    token_file: TokenFile = None,
    json_output: Json = False,
) -> None:
    """Export the sealed log as static files, or what answers a question as evidence, NDJSON or CSV."""
    forms = {"evidence": evidence, "ndjson": ndjson, "csv": csv}
    given = {form: path for form, path in forms.items() if path is not None}
    if len(given) + (static is not None) != 1:
        _complain("choose one of --static, --evidence, --ndjson and --csv")
        raise typer.Exit(MalformedInputError.exit_code)
    location = Location(DataDirectory(data), database, signer=signer)
    if static is not None:
        _export_static(location, static, json_output=json_output)
        return
    asked = _question(user, resource, resource_type, resource_id, action, outcome, from_, to, logged_from, logged_to)
    form, path = next(iter(given.items()))
    options = {"mode": "count" if count else "answer", "disclose": str(disclose).lower()} if form == "evidence" else {}
    size = 0
    with _output(path) as file:
        if url is not None:
            with Client(url, _token(token_file)) as client:
                size = _guard(lambda: sum(map(file.write, client.export(form, asked.document(), **options))))
        else:
            size = _run(_export_locally(location, form, asked, options, file.write))
    if json_output:
        print(json.dumps({"file": str(path), "bytes": size}))
    elif str(path) != "-":
        print(f"wrote {size:,} bytes to {path}")


@keys_app.command("show")
def keys_show(data: Data = _DATA, json_output: Json = False) -> None:
    """Print the log's vkey: hand it to whoever verifies, over a channel they trust."""
    verifier = _guard(DataDirectory(data).verifier)
    document = {"origin": verifier.name, "keyId": verifier.key_id.hex(), "vkey": verifier.vkey()}
    print(json.dumps(document) if json_output else verifier.vkey())


@token_app.command("create")
def token_create(  # noqa: PLR0917 - the options of a command line
    principal: Annotated[str, typer.Option(help="Who uses it, such as service:ehr-api; its uses are logged as this.")],
    scope: Annotated[list[Scope], typer.Option(help="What it may do; repeatable.")],
    days: Annotated[int, typer.Option(min=1, max=3650, help="Valid for so many days.")] = 365,
    rate: Annotated[
        int | None, typer.Option(min=1, max=1_000_000, help="Events a second it may append, or requests, on average.")
    ] = None,
    data: Data = _DATA,
    database: DatabaseUrl = None,
    admin_database: AdminUrl = None,
    json_output: Json = False,
) -> None:
    """Make an API key and print it, once: it is stored only as a keyed digest."""
    location = Location(DataDirectory(data), database, admin_database)

    async def work() -> tuple[str, str]:
        now = utc_now()
        scopes, expires_at = {each.value for each in scope}, now + timedelta(days=days)
        token, key = new_token(location.directory.pepper(), principal, scopes, now, expires_at, rate=rate)
        async with database_of(location) as opened:
            await ApiKeyStore(opened).add(key)
        return token, key.key_id

    token, key_id = _run(work())
    if json_output:
        print(json.dumps({"token": token, "keyId": key_id, "scopes": sorted(each.value for each in scope)}))
    else:
        _console.print(f"API key {key_id} of {principal}; it is shown this once:")
        print(token)


@token_app.command("list")
def token_list(
    data: Data = _DATA,
    database: DatabaseUrl = None,
    json_output: Json = False,
) -> None:
    """List API keys: whose, what for, until when. Never the keys themselves."""

    async def work() -> list[dict[str, Any]]:
        async with database_of(Location(DataDirectory(data), database)) as opened:
            return [
                {
                    "keyId": key.key_id,
                    "principal": key.principal,
                    "scopes": key.scopes,
                    "expires": None if key.expires_at is None else key.expires_at.isoformat(),
                    "revoked": None if key.revoked_at is None else key.revoked_at.isoformat(),
                    "rate": key.rate,
                }
                for key in await ApiKeyStore(opened).list()
            ]

    keys = _run(work())
    if json_output:
        print(json.dumps(keys))
        return
    table = Table("key ID", "principal", "scopes", "expires", "revoked", "rate")
    for key in keys:
        cells = key["keyId"], key["principal"], " ".join(key["scopes"]), key["expires"], key["revoked"], key["rate"]
        table.add_row(*(str(cell or "-") for cell in cells))
    Console().print(table)


@token_app.command("revoke")
def token_revoke(
    key_id: Annotated[str, typer.Argument(help="The key ID as 'tlog token list' shows it.")],
    data: Data = _DATA,
    database: DatabaseUrl = None,
    admin_database: AdminUrl = None,
) -> None:
    """Revoke an API key; running services stop accepting it within seconds."""

    async def work() -> None:
        async with database_of(Location(DataDirectory(data), database, admin_database)) as opened:
            if not await ApiKeyStore(opened).revoke(key_id, utc_now()):
                message = f"there is no unrevoked API key {key_id}"
                raise NotFoundError(message)

    _run(work())
    print(f"revoked {key_id}")


@verify_app.command("proof")
def verify_proof(
    proof: Annotated[Path, typer.Argument(help="The .tlog-proof file.")],
    event: Annotated[Path, typer.Option(help="The .event.json file.")],
    vkey: VKey,
) -> None:
    """Verify that an event is in the log."""
    verified = _guard(lambda: verification.verify_event(_vkey(vkey), event.read_bytes(), proof.read_bytes()))
    checkpoint = verified.checkpoint
    print(f"VERIFIED: entry {verified.index} of {checkpoint.origin}, in its tree of {checkpoint.size:,} entries")


@verify_app.command("consistency")
def verify_consistency(
    proof: Annotated[Path, typer.Argument(help="The consistency proof, with the newer checkpoint.")],
    old: Annotated[Path, typer.Option(help="The older checkpoint.")],
    vkey: VKey,
) -> None:
    """Verify that the log only grew between two checkpoints."""
    older, newer = _guard(lambda: verification.verify_growth(_vkey(vkey), old.read_bytes(), proof.read_bytes()))
    print(f"VERIFIED: {older.origin} grew from {older.size:,} to {newer.size:,} entries and changed nothing")


@verify_app.command("checkpoint")
def verify_checkpoint(
    checkpoint: Annotated[Path, typer.Argument(help="The signed checkpoint.")],
    vkey: VKey,
) -> None:
    """Verify a checkpoint's signature and form."""
    opened = _guard(lambda: open_checkpoint(checkpoint.read_bytes(), _vkey(vkey)))
    print(f"VERIFIED: {opened.origin} signed its tree of {opened.size:,} entries")


@verify_app.command("log")
def verify_log(
    directory: Annotated[Path, typer.Argument(help="A static export of the log.")],
    vkey: VKey,
) -> None:
    """Verify a whole exported log with the offline verifier."""
    sys.argv = ["verify.py", "log", "--vkey", vkey, str(directory)]
    runpy.run_path(str(offline_verifier()), run_name="__main__")


def main() -> None:
    """Run the command line; errors become one line and an exit code, never a traceback."""
    _write_whole()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    app()


def _write_whole() -> None:
    """Buffer standard output by lines if it is not buffered (PYTHONUNBUFFERED): it may stop in the midst of a large answer."""
    raw = getattr(sys.stdout, "buffer", None)
    if isinstance(raw, io.RawIOBase):
        encoding, errors = sys.stdout.encoding, sys.stdout.errors
        sys.stdout = io.TextIOWrapper(io.BufferedWriter(raw), encoding, errors, line_buffering=True)


def _run(work: Coroutine[Any, Any, Result]) -> Result:
    return _guard(lambda: run_loop(work))


def _guard(work: Callable[[], Result]) -> Result:
    """Do `work`; turn an error into one line and its exit code."""
    try:
        return work()
    except InconsistentRootsError as error:
        _complain(f"{error}. {_keep_evidence(error)}")
        raise typer.Exit(error.exit_code) from None
    except TlogError as error:
        pointer = getattr(error, "pointer", "")
        _complain(f"{error}" + (f" (at {pointer})" if pointer else ""))
        raise typer.Exit(error.exit_code) from None
    except OSError as error:
        _complain(f"{error.filename or 'system'}: {error.strerror or error}")
        raise typer.Exit(MalformedInputError.exit_code) from None
    except KeyboardInterrupt:
        raise typer.Exit(_INTERRUPTED) from None


def _keep_evidence(error: InconsistentRootsError) -> str:
    """Write what an error carries to a new file in the current directory, whole or not at all; say where it is, or why not."""
    path = Path(f"inconsistent-{peek_checkpoint(error.newer).size}.evidence.json")
    try:
        with path.open("xb") as file:
            try:
                file.write(verification.format_inconsistency(error))
                file.flush()
            except BaseException:
                path.unlink()
                raise
    except FileExistsError:
        return f"The evidence was not written, because {path} exists: move that file and run this command again"
    except OSError as problem:
        return f"The evidence was not written to {path}: {problem.strerror}"
    return f"The evidence is in {path}: both checkpoints and the proof"


def _usage(message: str) -> NoReturn:
    """End because options do not go together."""
    _complain(message)
    raise typer.Exit(MalformedInputError.exit_code)


def _complain(message: str) -> None:
    _console.print(f"tlog: {message}", markup=False, soft_wrap=True)


def _import(
    items: Callable[[], Iterator[Item]],
    location: Location,
    url: str | None,
    token_file: Path | None,
    *,
    json_output: bool,
) -> None:
    """Check all events, append them, wait until they are sealed, and say what happened."""
    work = _import_locally(items, location) if url is None else _import_remotely(items, url, _token(token_file))
    total, size = _run(work)
    new = total.events - total.duplicates
    if json_output:
        result = {"events": total.events, "appended": new, "duplicates": total.duplicates, "size": size}
        print(json.dumps(result))
    else:
        known = f", {total.duplicates:,} were in the log already" if total.duplicates else ""
        print(f"{total.events:,} events read: {new:,} appended{known}; sealed at tree size {size:,}")


async def _import_locally(items: Callable[[], Iterator[Item]], location: Location) -> tuple[Imported, int]:
    _check_files(items)
    async with open_log(location) as log, running(log):
        total = await _append_all(items(), partial(append_locally, log))
        checkpoint = await log.wait_sealed(total.last_index, _SEAL_SECONDS)
        return total, checkpoint.size


async def _import_remotely(items: Callable[[], Iterator[Item]], url: str, token: str | None) -> tuple[Imported, int]:
    _check_files(items)
    with Client(url, token) as client:

        async def append(raws: Sequence[bytes]) -> list[tuple[int, bool]]:
            receipts = await asyncio.to_thread(client.append, raws)
            return [(receipt["index"], receipt.get("duplicate", False)) for receipt in receipts]

        total = await _append_all(items(), append)
        for _ in range(int(_SEAL_SECONDS / 0.1)):
            size = int(client.log()["size"])
            if size > total.last_index:
                break
            await asyncio.sleep(0.1)
        return total, size


def _check_files(items: Callable[[], Iterator[Item]]) -> None:
    """Find the first bad event before anything is appended."""
    with _progress("checking", "events") as report:
        for count, _ in enumerate(check_items(items()), 1):
            report(count, 0)


async def _append_all(
    items: Iterable[Item], append: Callable[[Sequence[bytes]], Awaitable[Sequence[tuple[int, bool]]]]
) -> Imported:
    total = Imported(0, 0, -1)
    with _progress("appending", "events") as report:
        async for total in import_items(items, append):
            report(total.events, 0)
    return total


def _ndjson_items(files: Sequence[Path]) -> Iterator[Item]:
    for file in files:
        with _open(file) as stream:
            for line, raw in read_ndjson(stream, str(file)):
                yield Item(f"{file}, line {line}", raw)


def _cloudtrail_items(files: Sequence[Path]) -> Iterator[Item]:
    for file in files:
        for position, event in enumerate(read_cloudtrail(file.read_bytes(), str(file)), 1):
            yield Item(f"{file}, record {position}", json.dumps(event, ensure_ascii=False).encode())


@contextmanager
def _open(file: Path) -> Iterator[BinaryIO]:
    """Open a file, or standard input, kept in a temporary file because events are read twice."""
    if str(file) != "-":
        with file.open("rb") as stream:
            yield stream
    else:
        yield _standard_input()


def _standard_input() -> BinaryIO:
    global _spooled  # noqa: PLW0603 - there is one standard input in a process
    if _spooled is None:
        _spooled = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        shutil.copyfileobj(sys.stdin.buffer, _spooled)
    _spooled.seek(0)
    return _spooled


def _question(  # noqa: PLR0917 - the options of a command line
    user: str | None,
    resource: str | None,
    resource_type: str | None,
    resource_id: str | None,
    action: str | None,
    outcome: str | None,
    from_: str | None,
    to: str | None,
    logged_from: str | None,
    logged_to: str | None,
) -> Question:
    members = {
        "userId": user,
        "resourceType": resource_type,
        "resourceId": resource_id,
        "action": action,
        "outcome": outcome,
        "from": from_,
        "to": to,
        "loggedFrom": logged_from,
        "loggedTo": logged_to,
    }
    if resource is not None:
        if resource_type is not None or resource_id is not None:
            _complain("--resource has type and ID already; leave out --resource-type and --resource-id")
            raise typer.Exit(MalformedInputError.exit_code)
        members["resourceType"], _, members["resourceId"] = resource.partition(":")
        if not members["resourceType"] or not members["resourceId"]:
            _complain(
                "--resource takes TYPE:ID, such as patient_record:P-1001; for all of a type there is --resource-type"
            )
            raise typer.Exit(MalformedInputError.exit_code)
    given = {name: value for name, value in members.items() if value is not None}
    return _guard(lambda: parse_question(given))


def _local_principal() -> str:
    return f"local:{getpass.getuser()}"


async def _query_locally(location: Location, question: Question, limit: int) -> dict[str, Any]:
    async with open_log(location) as log, running(log):
        asked = {"ask": "events", **question.document(), "limit": str(limit)}
        await journal(log, _local_principal(), "command-line", "read", asked)
        answer = await log.searcher.ask(question, limit=limit)
        document: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(answer_document(answer, question)))
        return document


async def _export_locally(
    location: Location, form: str, question: Question, options: dict[str, str], write: Callable[[bytes], int]
) -> int:
    async with open_log(location) as log, running(log):
        asked = {"ask": "export", "format": form, **question.document(), **options}
        await journal(log, _local_principal(), "command-line", "export", asked)
        if form != "evidence":
            return sum([write(part) async for part in export_events(log.searcher, question, form)])
        await log.wait_indexed((await log.reader.state()).size, _SEAL_SECONDS)
        bundle = await make_evidence(
            log.reader,
            log.verifier,
            log.bucket_keys,
            question,
            mode="count" if options["mode"] == "count" else "answer",
            disclose=options["disclose"] == "true",
        )
        return write(format_evidence(bundle))


def _export_static(location: Location, directory: Path, *, json_output: bool) -> None:
    async def work() -> Any:  # noqa: ANN401 - the export's report
        async with _reader(location) as reader:
            checkpoint = await checkpoint_of(reader, None)
            with _progress("exporting", "entries") as report:
                return await export_static(reader, directory, checkpoint, progress=report)

    report = _run(work())
    print(json.dumps(report._asdict()) if json_output else f"exported {report.entries:,} entries to {directory}")


def _recovery_text(done: Recovered, *, dry_run: bool) -> str:
    if done.size == done.start:
        return f"nothing is missing: the database holds the {done.size:,} entries that were signed, or more"
    what = f"entries {done.start:,} to {done.size - 1:,}"
    return "\n".join(
        (
            f"the mirror has all that was signed; {what} would come back"
            if dry_run
            else f"{what} came back; the database holds the {done.size:,} entries that were signed",
            f"{done.events:,} of them are events without personal data: who acted on what is in no mirror",
            f"lost: entries from {done.size:,} on, which were acknowledged and not sealed; receipts name them",
            "API keys are those of the restored copy: revoke again what was revoked since, make again what is missing",
            "erased personal data that was still in the restored copy is back: erase it again",
            "run 'tlog fsck' before 'tlog serve'",
        )
    )


@contextmanager
def _output(path: Path) -> Iterator[BinaryIO]:
    """Open a new file that gets its name when it is complete, or standard output for "-"."""
    if str(path) == "-":
        yield sys.stdout.buffer
        return
    with durable.making(path) as partial, _guard(lambda: partial.open("wb")) as file:
        yield file


async def _prove_locally(location: Location, event_id: str, *, disclose: bool) -> tuple[bytes, bytes]:
    try:
        UUID(event_id)
    except ValueError:
        message = "an eventId is a UUID such as 0190f3c2-5f6e-7d3a-9b1c-2f4e6a8c0d1e"
        raise MalformedInputError(message) from None
    async with open_log(location) as log, running(log):
        asked = {"ask": "proof", "disclose": disclose, "eventId": event_id}
        await journal(log, _local_principal(), "command-line", "read", asked)
        found = await log.reader.find([event_id])
        if not found:
            message = f"no event {event_id} is in the log"
            raise NotFoundError(message)
        proof = await prove_inclusion(log.reader, found[0].leaf, await checkpoint_of(log.reader, None))
        return proof.text(), event_file(found[0], disclose=disclose)


@asynccontextmanager
async def _reader(location: Location) -> AsyncIterator[ReadStore]:
    """Open a log's database for reading only, whatever state the log is in."""
    async with database_of(location) as database:
        reader = ReadStore(database, connections=2)
        await reader.open()
        try:
            yield reader
        finally:
            await reader.close()


@contextmanager
def _progress(doing: str, unit: str) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar on a terminal; yields `report(done, total)`, total 0 if unknown."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=_console, transient=True, disable=not _console.is_terminal) as progress:
        task = progress.add_task(doing, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total or None)


@contextmanager
def _progress_lines() -> Iterator[Callable[[int, int], None]]:
    yield lambda done, total: print(json.dumps({"done": done, "total": total}), file=sys.stderr, flush=True)


def _token(file: Path | None) -> str | None:
    if file is None:
        return os.environ.get("TLOG_TOKEN")
    return _guard(lambda: file.read_text(encoding="utf-8")).strip()


def _vkey(text: str) -> Verifier:
    return parse_vkey(Path(text[1:]).read_text(encoding="utf-8").strip() if text.startswith("@") else text)
