"""Options that several commands share, and what they stand for: the log's place, its public key, a question."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from tlog.cli.output import complain, guard
from tlog.core.note import parse_vkey
from tlog.core.question import Question, parse_question
from tlog.errors import MalformedInputError

if TYPE_CHECKING:
    from tlog.core.note import Verifier


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
DEFAULT_DATA: Final = Path("tlog-data")


def question_of(  # noqa: PLR0917 - the options of a command line
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
    """Return the question that the options ask, or end with what is wrong with them."""
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
            complain("--resource has type and ID already; leave out --resource-type and --resource-id")
            raise typer.Exit(MalformedInputError.exit_code)
        members["resourceType"], _, members["resourceId"] = resource.partition(":")
        if not members["resourceType"] or not members["resourceId"]:
            complain(
                "--resource takes TYPE:ID, such as patient_record:P-1001; for all of a type there is --resource-type"
            )
            raise typer.Exit(MalformedInputError.exit_code)
    given = {name: value for name, value in members.items() if value is not None}
    return guard(lambda: parse_question(given))


def read_token(file: Path | None) -> str | None:
    """Return the API key in a file, or the one in TLOG_TOKEN, None if there is neither."""
    if file is None:
        return os.environ.get("TLOG_TOKEN")
    return guard(lambda: file.read_text(encoding="utf-8")).strip()


def read_vkey(text: str) -> Verifier:
    """Return the public key that `text` is, or that the file after its @ holds."""
    return parse_vkey(Path(text[1:]).read_text(encoding="utf-8").strip() if text.startswith("@") else text)
