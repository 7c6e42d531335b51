"""Options that several commands share, their defaults, and what they stand for: a log's location, its public key, a question."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from tlog.cli.output import exit_on_error, refuse, say
from tlog.core.note import parse_vkey
from tlog.core.policy import Mode
from tlog.errors import MalformedInputError, OperatorError
from tlog.location import DataDirectory, Location

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tlog.core.note import Verifier
    from tlog.core.question import Question
    from tlog.signing.witnesses import Witnessing


class Scope(StrEnum):
    """What an API key may do."""

    APPEND = "append"
    READ = "read"
    ADMIN = "admin"


class Level(StrEnum):
    """How much a process writes of itself."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


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
PostgresUser = Annotated[
    str | None,
    typer.Option(
        "--postgres-user",
        metavar="USER",
        help="Where tlog runs as root: the user, there for that alone, who runs the embedded PostgreSQL. tlog-postgres if "
        "absent, made if need be.",
    ),
]
Interval = Annotated[float, typer.Option(min=0.01, max=3600, help="Seconds between seals.")]
LogLevel = Annotated[
    Level, typer.Option(help="From which level on lines are written to standard error, each of them JSON.")
]
Origin = Annotated[
    str | None, typer.Option(help="The log's name in its checkpoints, such as audit.example.com/ehr. Final.")
]
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
ActorKind = Annotated[str | None, typer.Option("--actor-type", help="unknown: events whose actor nobody knows.")]
OperationName = Annotated[
    str | None, typer.Option(help="What was done in the word of the source, such as TerminateInstances.")
]
SourceName = Annotated[str | None, typer.Option("--source-id", help="Which producer sent it: its source's id.")]
ControlType = Annotated[
    str | None,
    typer.Option(
        "--control", help="Instead of events what the log says itself: control entries of this type, such as order."
    ),
]
OutcomeName = Annotated[str | None, typer.Option(help="success, failure or unknown.")]
From = Annotated[str | None, typer.Option("--from", help="Happened at this time or later: 2026-03-01[T08:00:00Z].")]
To = Annotated[str | None, typer.Option(help="Happened before this time.")]
LoggedFrom = Annotated[str | None, typer.Option(help="Logged at this time or later, by the log's own clock.")]
LoggedTo = Annotated[str | None, typer.Option(help="Logged before this time, by the log's own clock.")]
PolicyFile = Annotated[
    Path | None,
    typer.Option(
        "--policy",
        metavar="FILE",
        help="Publish what the witnesses of this policy (c2sp.org/tlog-policy) have cosigned, and nothing else.",
    ),
]
DemandedPolicy = Annotated[
    Path | None,
    typer.Option(
        "--policy",
        metavar="FILE",
        help="Demand the cosignatures that this policy (c2sp.org/tlog-policy) asks for as well.",
    ),
]
WitnessingMode = Annotated[
    Mode,
    typer.Option(
        "--witnessing",
        help="Wait for the policy's quorum before publishing, or publish and collect cosignatures after.",
    ),
]
PolicyChanged = Annotated[
    bool,
    typer.Option("--policy-changed", help="The policy, or that there is none, differs from the one in force; take it."),
]
WitnessEvery = Annotated[
    float, typer.Option(min=0.01, max=3600, help="Seconds between new checkpoints at least; 10 for public witnesses.")
]
WitnessTimeout = Annotated[float, typer.Option(min=0.01, max=60, help="Seconds that a witness has for an answer.")]
WitnessAlarm = Annotated[
    float,
    typer.Option(min=1, max=86_400, help="Seconds without a quorum after which /readyz says that witnessing is down."),
]
WitnessRefresh = Annotated[
    float,
    typer.Option(min=1, max=86_400, help="Seconds after which a checkpoint without a successor is cosigned again."),
]
WitnessMonitoring = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=URL", help="Where a witness shows checkpoints, if not where it takes them; repeatable."),
]
WitnessesGone = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME", help="A witness that will not answer any more, so that no start waits for it; repeatable."
    ),
]
DEFAULT_DATA: Final = Path("tlog-data")
DEFAULT_HOST: Final = "127.0.0.1"
DEFAULT_PORT: Final = 8080
DEFAULT_DRAIN: Final = 1.0  # seconds
_MAX_PORT: Final = 65_535


def locate(
    data: Path,
    database: str | None = None,
    signer: Path | None = None,
    *,
    admin: str | None = None,
    postgres_user: str | None = None,
) -> Location:
    """Return where the log is that the options name."""
    return Location(DataDirectory(data, postgres_user), database, admin, signer)


def need_kafka() -> None:
    """Check that the library for Kafka is there.

    Raises:
        OperatorError: it is not.

    """
    from importlib.util import find_spec

    if find_spec("confluent_kafka") is None:
        message = "taking from Kafka needs a library that is not installed; run pip install 'tlog-audit[kafka]'"
        raise OperatorError(message)


def read_witnessing(policy: Path | None, **said: Any) -> Witnessing:  # noqa: ANN401 - each has a type of its own
    """Return how the options of a service have a log witnessed.

    Args:
        policy: the file of `--policy`.
        said: the other options by the names of their parameters.

    """
    from tlog.core.policy import parse_policy
    from tlog.signing.witnesses import Witnessing

    if policy is None:
        changed = ("--policy-changed",) if said["policy_changed"] else ()
        return Witnessing(None, "", changed=bool(changed), options=changed)
    data = exit_on_error(policy.read_bytes)
    return Witnessing(
        exit_on_error(lambda: parse_policy(data)),
        data.decode(errors="replace"),
        said["witnessing"],
        said["witness_every"],
        said["witness_timeout"],
        said["witness_alarm"],
        said["witness_refresh"],
        dict(map(_split_monitoring, said["witness_monitoring"] or ())),
        frozenset(said["witnesses_gone"] or ()),
        said["policy_changed"],
        ("--policy", str(policy.absolute()), *_options_again(said)),
    )


def _options_again(said: Mapping[str, Any]) -> Iterator[str]:
    """Yield options as a command line has them, for a child that is to be told the same."""
    for name, value in said.items():
        option = f"--{name.replace('_', '-')}"
        if value is True:
            yield option
        elif value is not None and value is not False:
            for each in value if isinstance(value, list) else [value]:
                yield from (option, str(each))


def _split_monitoring(text: str) -> tuple[str, str]:
    name, _, url = text.partition("=")
    if not name or not url:
        refuse("--witness-monitoring takes NAME=URL, the name as the policy has it")
    return name, url


def read_question(resource: str | None, members: Mapping[str, str | None]) -> Question:
    """Return the question that `--resource` and the options of its other members ask, or end with what is wrong with them."""
    if resource is not None:
        if members["resourceType"] is not None or members["resourceId"] is not None:
            refuse("--resource has type and ID already; leave out --resource-type and --resource-id")
        members = {
            **members,
            **_split_resource(
                resource,
                "--resource takes TYPE:ID with exactly one colon, such as patient_record:P-1001; for all of a type there is "
                "--resource-type, and with --resource-id it takes a type or an ID that has a colon",
            ),
        }
    return _parse_question(members)


def read_resource(resource: str, option: str) -> tuple[str, str]:
    """Return type and ID of a resource that an option names, or end with what is wrong with it."""
    message = f"{option} takes TYPE:ID with exactly one colon, such as patient_record:P-1001"
    given = _split_resource(resource, message)
    return given["resourceType"], given["resourceId"]


def read_asks(asks: Sequence[str], times: Mapping[str, str | None]) -> Question:
    """Return the question that `--ask NAME=VALUE` and options for times ask, or end with what is wrong with them."""
    from tlog.core.question import Question

    names = Question.__struct_encode_fields__  # and --ask resource=TYPE:ID is two of them
    members: dict[str, str] = {}
    for ask in asks:
        name, _, value = ask.partition("=")
        if name == "resource":
            given = _split_resource(
                value,
                "--ask resource takes TYPE:ID with exactly one colon, as in --ask resource=patient_record:P-1001; a type or an "
                "ID that has a colon is asked for as resourceType and resourceId",
            )
        elif name in names and value:
            given = {name: value}
        else:
            refuse(f"--ask takes one of resource, {', '.join(names)}, as in --ask action=read")
        for twice in given.keys() & members.keys():
            refuse(f"--ask gives '{twice}' twice; a question has one of each")
        members |= given
    for name, time in times.items():
        if time is not None and name in members:
            refuse(f"'{name}' is given with --ask and as an option; a question has one of each")
    question = _parse_question({**times, **members})
    if not question.looked_under():
        refuse(
            "ask for a resource, an actor, a source, an operation, an action or a type of control entries: evidence is of "
            "those only"
        )
    return question


def _split_resource(text: str, message: str) -> dict[str, str]:
    kind, _, ident = text.partition(":")
    if not kind or not ident or ":" in ident:
        refuse(message)
    return {"resourceType": kind, "resourceId": ident}


def _parse_question(members: Mapping[str, str | None]) -> Question:
    from tlog.core.question import hashed_members, parse_question

    given = {name: value for name, value in members.items() if value is not None}
    question = exit_on_error(lambda: parse_question(given))
    for name in hashed_members(given, question):
        say(f"no event can have this {name}: asked for by its hash, {question.document()[name]}, as importers keep it")
    return question


def read_token(file: Path | None) -> str | None:
    """Return the API key in a file, or the one in TLOG_TOKEN, None if there is neither."""
    if file is None:
        return os.environ.get("TLOG_TOKEN")
    return exit_on_error(lambda: file.read_text(encoding="utf-8")).strip()


def read_at(text: str) -> str:
    """Return a text as it is, or what the file after its @ holds, without white space around that.

    Raises:
        OSError: the file cannot be read.

    """
    return Path(text[1:]).read_bytes().decode(errors="replace").strip() if text.startswith("@") else text


def split_address(text: str) -> tuple[str, int] | None:
    """Return host and TCP port of HOST:PORT, an IPv6 address without its brackets; None if the text has another form."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > _MAX_PORT:
        return None
    return host.strip("[]"), int(port)


def read_vkey(text: str) -> Verifier:
    """Return the public key that `text` is, or that the file after its @ holds.

    Raises:
        MalformedInputError: it is none.
        OSError: the file cannot be read.

    """
    try:
        return parse_vkey(read_at(text))
    except MalformedInputError as error:
        if text.startswith("@") or not Path(text).is_file():
            raise
        message = f"{error}; did you mean the file, --vkey @{text}?"
        raise MalformedInputError(message) from None
