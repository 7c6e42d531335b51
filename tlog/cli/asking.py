"""Commands that answer: query, prove, export."""

from __future__ import annotations

import json
import os
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from tlog.answering import MAX_LIMIT
from tlog.cli.events import SEAL_SECONDS
from tlog.cli.options import (
    DEFAULT_DATA,
    ActionName,
    ActorKind,
    ControlType,
    Data,
    DatabaseUrl,
    From,
    Json,
    LoggedFrom,
    LoggedTo,
    OperationName,
    OutcomeName,
    ResourceKind,
    ResourceName,
    ResourceNumber,
    SignerSocket,
    SourceName,
    To,
    TokenFile,
    Url,
    User,
    locate,
    read_question,
    read_token,
)
from tlog.cli.output import exit_on_error, open_output, refuse, run, say, show_progress
from tlog.errors import MalformedInputError, NotFoundError, TooLargeError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from datetime import tzinfo

    from tlog.answering.evidence import Mode
    from tlog.cli.evidence import EvidenceOutput
    from tlog.client import Client
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
    operation: OperationName = None,
    actor_type: ActorKind = None,
    source_id: SourceName = None,
    control: ControlType = None,
    from_: From = None,
    to: To = None,
    logged_from: LoggedFrom = None,
    logged_to: LoggedTo = None,
    could_know: Annotated[
        str | None,
        typer.Option(
            metavar="TYPE:ID",
            help="Instead: whose evidence opened the index bucket of TYPE:ID, such as user:nurse-17, and so could tell of it.",
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=MAX_LIMIT, help="Show so many at most, the newest.")] = 50,
    logged: Annotated[bool, typer.Option("--logged", help="Show when each was logged, too.")] = False,
    zone: Annotated[
        str | None,
        typer.Option(
            "--zone", metavar="NAME", help="Show times as in this zone, such as Europe/Budapest; else in UTC."
        ),
    ] = None,
    data: Data = DEFAULT_DATA,
    database: DatabaseUrl = None,
    signer: SignerSocket = None,
    url: Url = None,
    token_file: TokenFile = None,
    json_output: Json = False,
) -> None:
    """Ask who did what: events that match everything given, newest first. The question itself is logged.

    After a pipe an event is a line of tab-separated values, its times in UTC, with a header.
    """
    from tlog.cli.answers import read_zone

    shown_in = exit_on_error(lambda: read_zone(zone))
    members = {"userId": user, "actorType": actor_type, "resourceType": resource_type, "resourceId": resource_id}
    members |= {"action": action, "operation": operation, "outcome": outcome, "sourceId": source_id, "control": control}
    members |= {"from": from_, "to": to, "loggedFrom": logged_from, "loggedTo": logged_to}
    name = None if could_know is None else _read_name(could_know, resource, resource_type, resource_id)
    asked = read_question(resource, members)
    if url is not None:
        from tlog.client import Client

        with Client(url, read_token(token_file)) as client:
            answer = exit_on_error(lambda: _query_remotely(client, asked, name, limit))
    else:
        answer = run(_query_locally(locate(data, database, signer), asked, name, limit))
    if json_output:
        print(json.dumps(answer, ensure_ascii=False))
    else:
        _print_answer(answer, shown_in, logged=logged)


def _read_name(could_know: str, *resource: str | None) -> tuple[str, str]:
    """Return type and ID of `--could-know`, which stands for a resource itself."""
    if any(each is not None for each in resource):
        refuse("--could-know asks for resources of its own; leave out --resource, --resource-type and --resource-id")
    kind, _, ident = could_know.partition(":")
    if not kind or not ident:
        refuse("--could-know takes TYPE:ID, such as patient_record:P-1001, or user:USERID for a person")
    return kind, ident


def _questions(asked: Question, name: tuple[str, str] | None, bits: int) -> list[Question]:
    """Return the questions to ask: with a name, which journal entries say that a bucket of the name was opened."""
    from tlog.core.question import parse_question
    from tlog.lifecycle.journal import BUCKET_TYPE, buckets_about

    if name is None:
        return [asked]
    opened = [{"resourceType": BUCKET_TYPE, "resourceId": str(bucket)} for bucket in buckets_about(*name, bits)]
    return [parse_question({**asked.document(), **each}) for each in opened]


def _merged(answers: list[dict[str, Any]], limit: int) -> dict[str, Any]:
    """Return the answers to several questions as one: what is in any of them, newest first."""
    events = {each["log"]["index"]: each for answer in answers for each in answer["events"]}
    newest = [events[index] for index in sorted(events, reverse=True)[:limit]]
    following = next((answer["next"] for answer in answers if answer["next"] is not None), None)
    missing = sorted({each for answer in answers for each in answer["notLookedAt"]})
    return {**answers[-1], "events": newest, "count": len(newest), "next": following, "notLookedAt": missing}


def _query_remotely(client: Client, asked: Question, name: tuple[str, str] | None, limit: int) -> dict[str, Any]:
    bits = 0 if name is None else int(client.log()["bucketBits"])
    answers = [client.ask(each.document(), limit=limit) for each in _questions(asked, name, bits)]
    return answers[0] if name is None else _merged(answers, limit)


def _print_answer(answer: dict[str, Any], zone: tzinfo, *, logged: bool) -> None:
    from tlog.checking.report import counted
    from tlog.cli.answers import print_events

    print_events(answer["events"], zone, logged=logged)
    more = ", and there are more" if answer["next"] is not None else ""
    say(f"{counted(answer['count'], 'event')}{more}; as of tree size {answer['asOf']['size']:,}")
    for each in answer["notLookedAt"]:
        say(f"not looked at: {each}")


def export(  # noqa: PLR0917 - the options of a command line
    static: Annotated[
        Path | None,
        typer.Option(help="Write the whole sealed log into this directory: checkpoint, tiles, entry bundles."),
    ] = None,
    evidence: Annotated[
        Path | None,
        typer.Option(
            help="Write proof of the complete answer to this file, or a set of files into this new directory if one is too "
            "small; verify.py checks it offline."
        ),
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
    operation: OperationName = None,
    actor_type: ActorKind = None,
    source_id: SourceName = None,
    control: ControlType = None,
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
    members = {"userId": user, "actorType": actor_type, "resourceType": resource_type, "resourceId": resource_id}
    members |= {"action": action, "operation": operation, "outcome": outcome, "sourceId": source_id, "control": control}
    members |= {"from": from_, "to": to, "loggedFrom": logged_from, "loggedTo": logged_to}
    asked = read_question(resource, members)
    form, path = next(iter(given.items()))
    remote = None if url is None else (url, read_token(token_file))
    if form == "evidence":
        _export_evidence(location, remote, asked, path, count=count, disclose=disclose, json_output=json_output)
        return
    size = 0
    with open_output(path) as file:
        if remote is not None:
            from tlog.client import Client

            with Client(*remote) as client:
                size = exit_on_error(lambda: sum(map(file.write, client.export(form, asked.document()))))
        else:
            size = run(_export_locally(location, form, asked, file.write))
    _say_written(path, size, {}, json_output=json_output)


def _export_evidence(
    location: Location,
    remote: tuple[str, str | None] | None,
    asked: Question,
    path: Path,
    *,
    count: bool,
    disclose: bool,
    json_output: bool,
) -> None:
    """Write the evidence that answers a question; a number that no count alone proves is counted from the events."""
    from tlog.cli.evidence import EvidenceOutput

    counted = count and not asked.countable()
    mode: Mode = "count" if count and not counted else "answer"
    if counted:
        say("a count alone does not prove this number, so the evidence holds the events, by which they are counted")

    def write() -> EvidenceOutput:
        with EvidenceOutput(path) as output:
            if remote is None:
                run(_make_evidence(location, asked, output, mode, disclose=disclose))
                return output
            from tlog.client import Client

            with Client(*remote) as client:
                _fetch_evidence(client, asked, output, mode, disclose=disclose)
            return output

    output = exit_on_error(write)
    more = {"answers": output.answers, "bundles": output.files}
    _say_written(path, output.size, more, json_output=json_output)
    if counted:
        say(f"{output.answers:,} answer")


def _fetch_evidence(client: Client, asked: Question, output: EvidenceOutput, mode: Mode, *, disclose: bool) -> None:
    options = {"mode": mode, "disclose": str(disclose).lower()}
    parts: list[bytes] = []  # of the next bundle: each is a line, whether one comes or a set
    for data in client.export("evidence", asked.document(), **options):
        *ends, rest = data.split(b"\n")
        for end in ends:
            output.take(b"".join([*parts, end, b"\n"]))
            parts = []
        parts.append(rest)


def _say_written(path: Path, size: int, more: dict[str, int], *, json_output: bool) -> None:
    if json_output:
        print(json.dumps({"file": str(path), "bytes": size, **more}))
    elif str(path) != "-":
        bundles = f", a set of {more['bundles']} bundles: all of them are needed" if more.get("bundles", 1) > 1 else ""
        print(f"wrote {size:,} bytes to {path}{bundles}")


def local_principal() -> str:
    """Return who asks, for the journal: the user of this process, as the kernel has it, and beside that whom sudo names.

    Variables such as LOGNAME are whatever the person who asks says. SUDO_USER is that too, unless it was sudo that said so:
    it stands beside the user and in nobody's place, and only if there is such a user.
    """
    import pwd

    own, beside = _user_name(os.getuid()), os.environ.get("SUDO_USER")
    try:
        other = pwd.getpwnam(beside).pw_name if beside else own
    except (KeyError, ValueError):
        other = own
    return f"local:{own}" if other == own else f"local:{own} (SUDO_USER {other})"


def _user_name(number: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


async def _query_locally(
    location: Location, asked: Question, name: tuple[str, str] | None, limit: int
) -> dict[str, Any]:
    import msgspec

    from tlog.answering.query import answer_document
    from tlog.lifecycle.journal import journal
    from tlog.lifecycle.opening import open_log
    from tlog.lifecycle.running import running

    async with open_log(location) as log, running(log):
        how = {"ask": "events", "limit": str(limit)}
        answers: list[dict[str, Any]] = []
        for question in _questions(asked, name, log.bucket_keys.bits):
            await journal(log, local_principal(), "command-line", "read", how, question=question)
            answer = await log.searcher.ask(question, limit=limit)
            answers.append(msgspec.json.decode(msgspec.json.encode(answer_document(answer, question))))
        return answers[0] if name is None else _merged(answers, limit)


async def _export_locally(location: Location, form: str, question: Question, write: Callable[[bytes], int]) -> int:
    from tlog.answering.export import export_events
    from tlog.lifecycle.journal import journal
    from tlog.lifecycle.opening import open_log
    from tlog.lifecycle.running import running

    async with open_log(location) as log, running(log):
        asked = {"ask": "export", "format": form}
        await journal(log, local_principal(), "command-line", "export", asked, question=question)
        return sum([write(part) async for part in export_events(log.searcher, question, form)])


async def _make_evidence(
    location: Location, question: Question, output: EvidenceOutput, mode: Mode, *, disclose: bool
) -> None:
    from tlog.answering.evidence import make_evidence
    from tlog.answering.sets import make_set
    from tlog.core.evidence import format_evidence
    from tlog.lifecycle.journal import journal
    from tlog.lifecycle.opening import open_log
    from tlog.lifecycle.running import running

    async with open_log(location) as log, running(log):
        asked = {"ask": "export", "disclose": str(disclose).lower(), "format": "evidence", "mode": mode}
        await journal(log, local_principal(), "command-line", "export", asked, question=question, evidence=True)
        await log.wait_indexed((await log.reader.state()).size, SEAL_SECONDS)
        stores = log.reader, log.verifier, log.bucket_keys
        try:
            output.take(format_evidence(await make_evidence(*stores, question, mode=mode, disclose=disclose)))
        except TooLargeError:
            async with aclosing(make_set(*stores, question, disclose=disclose)) as parts:
                async for part in parts:
                    output.take(format_evidence(part))


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
        await journal(log, local_principal(), "command-line", "read", asked)
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
