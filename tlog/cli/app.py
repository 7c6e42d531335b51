"""The command line: `tlog <command> --help` says what each does. Results go to stdout, progress and errors to stderr."""

from __future__ import annotations

import sys

import structlog
import typer

from tlog.cli import asking, checking, events, keeping, keys, running
from tlog.cli.output import write_whole

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

# Names that Python has a use for itself are given here; the others are those of the functions.
for command in (
    running.demo,
    running.serve,
    running.seal,
    running.signer,
    running.init,
    events.append,
    asking.prove,
    checking.fsck,
    keeping.reindex,
    keeping.backup,
    keeping.restore,
    keeping.recover,
    asking.query,
    asking.export,
):
    app.command()(command)
import_app.command("ndjson")(events.import_ndjson)
import_app.command("cloudtrail")(events.import_cloudtrail)
keys_app.command("show")(keys.keys_show)
token_app.command("create")(keys.token_create)
token_app.command("list")(keys.token_list)
token_app.command("revoke")(keys.token_revoke)
verify_app.command("proof")(checking.verify_proof)
verify_app.command("consistency")(checking.verify_consistency)
verify_app.command("checkpoint")(checking.verify_checkpoint)
verify_app.command("log")(checking.verify_log)
app.add_typer(import_app, name="import")
app.add_typer(keys_app, name="keys")
app.add_typer(token_app, name="token")
app.add_typer(verify_app, name="verify")


def main() -> None:
    """Run the command line; errors become one line and an exit code, never a traceback."""
    write_whole()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    app()
