"""The command line: `tlog <command> --help` says what each does. Results go to stdout, progress and errors to stderr."""

from __future__ import annotations

import asyncio
import getpass
import json
import os
import runpy
import shutil
import sys
import tempfile
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Final, TypeVar
from uuid import UUID

import msgspec
import structlog
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from tlog import verify as verification
from tlog.anchor import Anchor
from tlog.client import Client
from tlog.config import DataDirectory, Location, offline_verifier, run_loop, utc_now
from tlog.core.checkpoint import open_checkpoint
from tlog.core.evidence import format_evidence
from tlog.core.note import parse_vkey
from tlog.core.question import Question, parse_question
from tlog.errors import MalformedInputError, NotFoundError, TlogError
from tlog.evidence import make_evidence
from tlog.export import export_events, export_static
from tlog.fsck import fsck as run_fsck
from tlog.fsck import parse_verified
from tlog.ingest.cloudtrail import read_cloudtrail
from tlog.ingest.importing import Imported, Item, append_locally, check_items, import_items
from tlog.ingest.ndjson import read_ndjson
from tlog.journal import journal
from tlog.lifecycle import (
    DEFAULT_INTERVAL,
    DEFAULT_ORIGIN,
    create_log,
    database_of,
    is_log,
    open_log,
    run_sealing,
    running,
)
from tlog.lifecycle import reindex as make_index_again
from tlog.prove import checkpoint_of, event_file, prove_inclusion
from tlog.query import MAX_LIMIT, answer_document
from tlog.server.auth import new_token
from tlog.server.serve import DEFAULT_DRAIN, DEFAULT_HOST, DEFAULT_PORT
from tlog.server.serve import serve as run_server
from tlog.storage.keys import ApiKeyStore
from tlog.storage.log import ReadStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence

    from tlog.core.note import Verifier

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
    from tlog.demo import run_demo  # noqa: PLC0415 - a story only this command tells

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
    admin_database: AdminUrl = None,
    drain: Annotated[
        float, typer.Option(min=0, max=600, help="Seconds to go on as 'not ready' after SIGTERM, for load balancers.")
    ] = DEFAULT_DRAIN,
    access_log: Annotated[
        bool, typer.Option("--access-log/--no-access-log", help="Log each request on stderr, with its key's ID.")
    ] = True,
) -> None:
    """Serve the log over HTTP; makes it first if the data directory holds none."""
    location = Location(DataDirectory(data), database, admin_database)

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
    *,
    supervised: Annotated[bool, typer.Option("--supervised", hidden=True)] = False,
) -> None:
    """Seal and index a log until stopped; 'tlog serve' starts one of these by itself."""
    _run(run_sealing(Location(DataDirectory(data), database), interval, supervised=supervised))


@app.command()
def init(
    data: Data = _DATA,
    origin: Origin = DEFAULT_ORIGIN,
    database: DatabaseUrl = None,
    admin_database: AdminUrl = None,
) -> None:
    """Make a log: keys, anchor, database; or bring its database's schema up to this version."""
    location = Location(DataDirectory(data), database, admin_database)
    verifier = _run(create_log(location, origin))
    print(verifier.vkey())


@app.command()
def append(  # noqa: PLR0917 - the options of a command line
    file: Annotated[Path, typer.Argument(help="NDJSON file of events, one in each line; - for stdin.")] = Path("-"),
    data: Data = _DATA,
    database: DatabaseUrl = None,
    url: Url = None,
    token_file: TokenFile = None,
    json_output: Json = False,
) -> None:
    """Append events and wait until they are sealed."""
    items = partial(_ndjson_items, [file])
    _import(items, Location(DataDirectory(data), database), url, token_file, json_output=json_output)


@import_app.command("ndjson")
def import_ndjson(  # noqa: PLR0917 - the options of a command line
    files: Annotated[list[Path], typer.Argument(help="Files of events, one JSON object in each line; - for stdin.")],
    data: Data = _DATA,
    database: DatabaseUrl = None,
    url: Url = None,
    token_file: TokenFile = None,
    json_output: Json = False,
) -> None:
    """Import events in tlog's own format."""
    items = partial(_ndjson_items, files)
    _import(items, Location(DataDirectory(data), database), url, token_file, json_output=json_output)


@import_app.command("cloudtrail")
def import_cloudtrail(  # noqa: PLR0917 - the options of a command line
    files: Annotated[list[Path], typer.Argument(help="AWS CloudTrail log files, *.json or *.json.gz.")],
    data: Data = _DATA,
    database: DatabaseUrl = None,
    url: Url = None,
    token_file: TokenFile = None,
    json_output: Json = False,
) -> None:
    """Import AWS CloudTrail records; docs/reference/cloudtrail-mapping.md says what becomes what."""
    items = partial(_cloudtrail_items, files)
    _import(items, Location(DataDirectory(data), database), url, token_file, json_output=json_output)


@app.command()
def prove(  # noqa: PLR0917 - the options of a command line
    event_id: Annotated[str, typer.Argument(help="The event's eventId.")],
    out: Annotated[Path, typer.Option(help="Directory to write the two files into.")] = Path(),
    disclose: Annotated[
        bool, typer.Option("--disclose/--no-disclose", help="Include the event's personal data in the event file.")
    ] = True,
    data: Data = _DATA,
    database: DatabaseUrl = None,
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
        proof, event = _run(_prove_locally(Location(DataDirectory(data), database), event_id, disclose=disclose))
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
    second_opinion: Annotated[
        bool, typer.Option("--second-opinion", help="Recompute root and inclusion proofs with pymerkle as well.")
    ] = False,
    since: Annotated[
        Path | None, typer.Option(help="Check only what came behind an earlier check: the file that --save wrote then.")
    ] = None,
    save: Annotated[
        Path | None, typer.Option(help="If nothing is wrong, write where this check ended; a later one can continue.")
    ] = None,
    json_output: Json = False,
    progress_json: Annotated[
        bool, typer.Option("--progress-json", help="Report progress on stderr as lines of JSON, for programs.")
    ] = False,
) -> None:
    """Check everything the database holds against entries, tiles, checkpoints and anchor; name what broke."""
    directory = DataDirectory(data)
    earlier = None if since is None else _guard(lambda: parse_verified(since.read_bytes()))

    async def work() -> Any:  # noqa: ANN401 - fsck's report
        async with _reader(Location(directory, database)) as reader:
            with _progress_lines() if progress_json else _progress("checking", "entries") as report:
                return await run_fsck(
                    reader,
                    directory.verifier(),
                    directory.bucket_keys(),
                    Anchor(directory.anchor).read,
                    second_opinion=second_opinion,
                    since=earlier,
                    progress=report,
                )

    report = _run(work())
    if save is not None and report.verified is not None:
        with _output(save) as file:
            file.write(msgspec.json.encode(report.verified))
    print(json.dumps(report.to_json()) if json_output else report.text())
    raise typer.Exit(report.exit_code)


@app.command()
def reindex(data: Data = _DATA, database: DatabaseUrl = None, json_output: Json = False) -> None:
    """Make the index again from the entries, for instance because fsck found it damaged. Nobody else may run the log."""

    async def work() -> int:
        async with open_log(Location(DataDirectory(data), database)) as log:
            with _progress("indexing", "entries") as report:
                return await make_index_again(log, report)

    size = _run(work())
    print(json.dumps({"indexed": size}) if json_output else f"indexed {size:,} entries")


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
        answer = _run(_query_locally(Location(DataDirectory(data), database), asked, limit))
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
    location = Location(DataDirectory(data), database)
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
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    app()


def _run(work: Coroutine[Any, Any, Result]) -> Result:
    return _guard(lambda: run_loop(work))


def _guard(work: Callable[[], Result]) -> Result:
    """Do `work`; turn an error into one line and its exit code."""
    try:
        return work()
    except TlogError as error:
        pointer = getattr(error, "pointer", "")
        _complain(f"{error}" + (f" (at {pointer})" if pointer else ""))
        raise typer.Exit(error.exit_code) from None
    except OSError as error:
        _complain(f"{error.filename or 'system'}: {error.strerror or error}")
        raise typer.Exit(MalformedInputError.exit_code) from None
    except KeyboardInterrupt:
        raise typer.Exit(_INTERRUPTED) from None


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


@contextmanager
def _output(path: Path) -> Iterator[BinaryIO]:
    """Open a new file that gets its name when it is complete, or standard output for "-"."""
    if str(path) == "-":
        yield sys.stdout.buffer
        return
    partial = path.with_name(path.name + ".new")
    with _guard(lambda: partial.open("wb")) as file:
        try:
            yield file
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
    partial.replace(path)


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
