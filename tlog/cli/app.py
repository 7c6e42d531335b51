"""The table of commands: `tlog <command> --help` says what each does. Results go to stdout, progress and errors to stderr."""

from __future__ import annotations

import os
import re
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, cast

import typer
from typer.core import TyperGroup

from tlog.cli import asking, checking, events, ingest, keeping, keys, monitor, running, sessions, witness
from tlog.cli.configuration import check_environment, name_variables, read_configuration, shows_password
from tlog.cli.output import exit_on_error, prepare_streams, refuse, report_fault, say
from tlog.location import version

if TYPE_CHECKING:
    from collections.abc import Callable

# Start, bring in, ask and prove, keep, keys, run apart.
_ORDER: Final = (
    *("demo", "init", "serve"),
    *("append", "import", "ingest"),
    *("query", "prove", "export", "verify"),
    *("fsck", "backup", "restore", "recover", "failover", "reindex"),
    *("keys", "token", "session"),
    *("seal", "signer", "witness", "monitor"),
)


class _Group(TyperGroup):
    """Commands whose options are variables of the environment as well."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - typer's own
        super().__init__(**options)
        name_variables(self.commands.values())  # type: ignore[arg-type]  # typer makes commands of its own classes


class _InTaskOrder(_Group):
    """The commands, in the order in which they are needed; typer itself puts groups after commands."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]  # its public name
        return sorted(super().list_commands(ctx), key=_ORDER.index)


app = typer.Typer(
    name="tlog",
    cls=_InTaskOrder,
    help="A tamper-evident audit log that can be proved. Every option --some-thing can also be set as TLOG_SOME_THING.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _add(to: typer.Typer, command: Callable[..., None], name: str | None = None) -> None:
    """Add a command, listed with the first sentence of its docstring, whole; typer itself would cut it."""
    text = " ".join(str(command.__doc__).split())
    to.command(name, short_help=re.split(r"(?<=\.) ", text)[0])(command)


def _add_group(
    name: str,
    sentences: str,
    commands: dict[str, Callable[..., None]],
    to: typer.Typer | None = None,
    itself: Callable[..., None] | None = None,
) -> typer.Typer:
    """Add a group of commands to another one or to the program; `itself` is what its name does without one of them."""
    group = typer.Typer(no_args_is_help=itself is None, cls=_Group)
    if itself is not None:
        group.callback(invoke_without_command=True)(itself)
    for each, command in commands.items():
        _add(group, command, each)
    (app if to is None else to).add_typer(
        group, name=name, help=sentences, short_help=re.split(r"(?<=\.) ", sentences)[0]
    )
    return group


for command in (
    running.demo,
    running.init,
    running.serve,
    events.append,
    asking.query,
    asking.prove,
    asking.export,
    checking.fsck,
    keeping.backup,
    keeping.restore,
    keeping.recover,
    keeping.failover,
    keeping.reindex,
    running.seal,
    running.signer,
    monitor.monitor,
):
    _add(app, command)
_add_group(
    "import",
    "Import events from files: a second import of the same adds nothing.",
    {"ndjson": events.import_ndjson, "cloudtrail": events.import_cloudtrail},
)
_ingest = _add_group(
    "ingest",
    "Take events from streams, each of them once.",
    {"kafka": ingest.kafka, "release": ingest.release},
)
_add_group(
    "dead-letters",
    "Look into messages that are no events.",
    {"list": ingest.list_dead_letters, "show": ingest.show_dead_letter, "retry": ingest.retry_dead_letters},
    _ingest,
)
_add_group(
    "verify",
    "Verify proofs offline. Exit code 0: verified, 1: failed, 2: malformed input, 3: not everything could be checked.",
    {
        "proof": checking.verify_proof,
        "consistency": checking.verify_consistency,
        "checkpoint": checking.verify_checkpoint,
        "log": checking.verify_log,
        "evidence": checking.verify_evidence,
        "fraud": checking.verify_fraud,
        "fork": checking.verify_fork,
        "intake": ingest.verify_intake,
    },
)
_add_group("keys", "Show the log's public key.", {"show": keys.show_key})
_add_group(
    "token",
    "Make, list and revoke API keys.",
    {"create": keys.create_token, "list": keys.list_tokens, "revoke": keys.revoke_token},
)
_add_group(
    "session",
    "List and revoke the sessions of the pages.",
    {"list": sessions.list_sessions, "revoke": sessions.revoke_session},
)
_add_group(
    "witness",
    "Be a witness: cosign the checkpoints of other people's logs, as long as each only grows.",
    {
        "add-log": witness.add_log,
        "add-key": witness.add_key,
        "del-key": witness.remove_key,
        "logs": witness.list_logs,
    },
    itself=witness.serve,
)


def _print_version(asked: bool) -> None:  # noqa: FBT001 - typer calls it with the option's value
    if asked:
        if (known := version()) == "unknown":
            refuse("this tlog is not installed, so its version is not known; install it with 'pip install .'")
        print(f"tlog {known}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    config: Annotated[
        Path | None,
        typer.Option(
            envvar="TLOG_CONFIG", help="TOML file of options: 'data = \"…\"' for all commands, [serve] for one."
        ),
    ] = None,
) -> None:
    root = cast("TyperGroup", context.command)
    warn = partial(running.warn, context.invoked_subcommand) if context.invoked_subcommand in running.SERVICES else say
    for warning in exit_on_error(lambda: list(check_environment(root, os.environ))):
        warn(f"tlog: {warning}")
    if shows_password(sys.argv):
        warn(
            "tlog: every user can read a password on the command line; put the address into TLOG_DATABASE or a --config file"
        )
    if config is not None:
        context.default_map = exit_on_error(lambda: read_configuration(config, root))


def main() -> None:
    """Run the command line; errors, Ctrl-C and a reader that goes away become an exit code, never a traceback."""
    prepare_streams()
    try:
        exit_on_error(app)
    except typer.Exit as end:
        raise SystemExit(end.exit_code) from None
    except Exception as error:  # noqa: BLE001 - whatever it is, nobody is shown a traceback, which could quote an event
        report_fault(error)
    finally:
        if sys.stdout is not None:  # a program may be started without one
            sys.stdout.flush()
