"""Commands that answer: query, prove, export."""

from __future__ import annotations

import getpass
import json
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from tlog.answering import MAX_LIMIT
from tlog.cli.events import SEAL_SECONDS
from tlog.cli.options import (
    DEFAULT_DATA,
    ActionName,
    Data,
    DatabaseUrl,
    From,
    Json,
    LoggedFrom,
    LoggedTo,
    OutcomeName,
    ResourceKind,
    ResourceName,
    ResourceNumber,
    SignerSocket,
    To,
    TokenFile,
    Url,
    User,
    locate,
    read_question,
    read_token,
)
from tlog.cli.output import exit_on_error, open_output, refuse, run, say, show_progress
from tlog.errors import MalformedInputError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tlog.core.question import Question
    from tlog.location import Location
    from tlog.storage.reading import ReadStore


def prove(  # noqa: PLR0917 - the options of a command line
    event_id: Annotated[str, typer.Argument(help="The event's eventId.")],
    out: Annotated[Path, typer.Option(help="Directory to write the two files into.")] = Path(),
    disclose: Annotated[
        bool, typer.Option("--disclose/--no-disclose", help="Include the event's personal data in the event file.")
    ] = True,
    data: Data = DEFAULT_DATA,
    database: DatabaseUrl = None,
    signer: SignerSocket = None,
    url: Url = None,
    token_file: TokenFile = None,
    json_output: Json = False,
) -> None:
    """Write EVENT_ID.tlog-proof and EVENT_ID.event.json, which verify offline."""
    event_id = event_id.lower()
    if url is not None:
        from tlog.client import Client

        with Client(url, read_token(token_file)) as client:
            proof, event = exit_on_error(lambda: client.event_proof(event_id, disclose=disclose))
    else:
        proof, event = run(_prove_locally(locate(data, database, signer), event_id, disclose=disclose))
    paths = out / f"{event_id}.tlog-proof", out / f"{event_id}.event.json"
    exit_on_error(lambda: out.mkdir(parents=True, exist_ok=True))
    for path, content in zip(paths, (proof, event), strict=True):
        with open_output(path) as file:
            file.write(content)
    if json_output:
        print(json.dumps({"proof": str(paths[0]), "event": str(paths[1])}))
    else:
        print(f"{paths[0]}\n{paths[1]}")
        say(f"verify anywhere: python3 verify.py proof --vkey VKEY --event {paths[1].name} {paths[0].name}")


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
    data: Data = DEFAULT_DATA,
    database: DatabaseUrl = None,
    signer: SignerSocket = None,
    url: Url = None,
    token_file: TokenFile = None,
    json_output: Json = False,
) -> None:
    """Ask who did what: events that match everything given, newest first. The question itself is logged."""
    asked = read_question(
        user, resource, resource_type, resource_id, action, outcome, from_, to, logged_from, logged_to
    )
    if url is not None:
        from tlog.client import Client

        with Client(url, read_token(token_file)) as client:
            answer = exit_on_error(lambda: client.ask(asked.document(), limit=limit))
    else:
        answer = run(_query_locally(locate(data, database, signer), asked, limit))
    if json_output:
        print(json.dumps(answer, ensure_ascii=False))
    else:
        _print_answer(answer)


def _print_answer(answer: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table("logged at", "user", "action", "resource", "outcome", "eventId")
    for each in answer["events"]:
        where = each["resource"]
        names = each.get("actor", {}).get("userId", "(erased)"), f"{where['type']}:{where.get('id', '(erased)')}"
        cells = each["log"]["loggedAt"], names[0], each["action"], names[1], each["outcome"], each["eventId"]
        table.add_row(*map(escape, cells))
    Console().print(table)
    more = ", and there are more" if answer["next"] is not None else ""
    say(f"{answer['count']} events{more}; as of tree size {answer['asOf']['size']:,}")
    for each in answer["notLookedAt"]:
        say(f"not looked at: {each}")


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
    data: Data = DEFAULT_DATA,
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
        refuse("choose one of --static, --evidence, --ndjson and --csv")
    location = locate(data, database, signer)
    if static is not None:
        _export_static(location, static, json_output=json_output)
        return
    asked = read_question(
        user, resource, resource_type, resource_id, action, outcome, from_, to, logged_from, logged_to
    )
    form, path = next(iter(given.items()))
    options = {"mode": "count" if count else "answer", "disclose": str(disclose).lower()} if form == "evidence" else {}
    size = 0
    with open_output(path) as file:
        if url is not None:
            from tlog.client import Client

            with Client(url, read_token(token_file)) as client:
                size = exit_on_error(lambda: sum(map(file.write, client.export(form, asked.document(), **options))))
        else:
            size = run(_export_locally(location, form, asked, options, file.write))
    if json_output:
        print(json.dumps({"file": str(path), "bytes": size}))
    elif str(path) != "-":
        print(f"wrote {size:,} bytes to {path}")


def _local_principal() -> str:
    return f"local:{getpass.getuser()}"


async def _query_locally(location: Location, question: Question, limit: int) -> dict[str, Any]:
    import msgspec

    from tlog.answering.query import answer_document
    from tlog.lifecycle.journal import journal
    from tlog.lifecycle.opening import open_log
    from tlog.lifecycle.running import running

    async with open_log(location) as log, running(log):
        asked = {"ask": "events", **question.document(), "limit": str(limit)}
        await journal(log, _local_principal(), "command-line", "read", asked)
        answer = await log.searcher.ask(question, limit=limit)
        document: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(answer_document(answer, question)))
        return document


async def _export_locally(
    location: Location, form: str, question: Question, options: dict[str, str], write: Callable[[bytes], int]
) -> int:
    from tlog.answering.evidence import make_evidence
    from tlog.answering.export import export_events
    from tlog.core.evidence import format_evidence
    from tlog.lifecycle.journal import journal
    from tlog.lifecycle.opening import open_log
    from tlog.lifecycle.running import running

    async with open_log(location) as log, running(log):
        asked = {"ask": "export", "format": form, **question.document(), **options}
        await journal(log, _local_principal(), "command-line", "export", asked)
        if form != "evidence":
            return sum([write(part) async for part in export_events(log.searcher, question, form)])
        await log.wait_indexed((await log.reader.state()).size, SEAL_SECONDS)
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
        from tlog.answering.export import export_static
        from tlog.answering.prove import checkpoint_of

        async with _open_reader(location) as reader:
            checkpoint = await checkpoint_of(reader, None)
            with show_progress("exporting", "entries") as report:
                return await export_static(reader, directory, checkpoint, progress=report)

    report = run(work())
    print(json.dumps(report._asdict()) if json_output else f"exported {report.entries:,} entries to {directory}")


async def _prove_locally(location: Location, event_id: str, *, disclose: bool) -> tuple[bytes, bytes]:
    from tlog.answering.prove import checkpoint_of, event_file, prove_inclusion
    from tlog.lifecycle.journal import journal
    from tlog.lifecycle.opening import open_log
    from tlog.lifecycle.running import running

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
async def _open_reader(location: Location) -> AsyncIterator[ReadStore]:
    """Open a log's database for reading only, whatever state the log is in."""
    from tlog.lifecycle.opening import database_of
    from tlog.storage.reading import ReadStore

    async with database_of(location) as database:
        reader = ReadStore(database, connections=2)
        await reader.open()
        try:
            yield reader
        finally:
            await reader.close()
