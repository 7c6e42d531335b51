"""Commands of a witness: serve it, and say whose checkpoints it cosigns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from tlog.cli.options import Json, Level, LogLevel, read_at, split_address
from tlog.cli.output import exit_on_error, refuse, run_service
from tlog.errors import MalformedInputError, OperatorError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tlog.core.cosignature import CosigningKey
    from tlog.witness.keys import WitnessDirectory
    from tlog.witness.state import WitnessState

_DEFAULT_DATA: Final = Path("tlog-witness")
_DEFAULT_LISTEN: Final = "127.0.0.1:7380"
_Data = Annotated[Path, typer.Option("--data", help="The witness's own directory.")]
_VKey = Annotated[str, typer.Argument(metavar="VKEY", help="The log's public key, literally or as @FILE.")]


def serve(
    context: typer.Context,
    data: _Data = _DEFAULT_DATA,
    name: Annotated[
        str | None,
        typer.Option(
            help="The witness's name in its cosignatures, such as auditor.example/w1; for the first start. Final."
        ),
    ] = None,
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Address to listen on; port 0 takes a free one.")
    ] = _DEFAULT_LISTEN,
    log_level: LogLevel = Level.INFO,
) -> None:
    """Cosign what logs send, until stopped; a first start makes the witness's keys, and needs --name."""
    if context.invoked_subcommand is not None:
        return
    from tlog.cli.running import begin_service, tell_human

    begin_service("witness", log_level)
    address = split_address(listen)
    if address is None:
        refuse("--listen takes HOST:PORT, such as 127.0.0.1:7380 or [::1]:7380")

    async def work() -> None:
        from tlog.witness.app import serve_witness

        directory = _find_or_make(data, name)

        def ready(url: str, keys: list[CosigningKey]) -> None:
            # For the policies of others; lines for programs go to standard error.
            for number, key in enumerate(keys, 1):
                print(f"witness {key.cosigner.name}#{number} {key.cosigner.vkey()} {url}", flush=True)
            tell_human(f"tlog witnesses at {url}  (Ctrl-C stops)")

        await serve_witness(directory, *address, ready)

    run_service(work())


def add_log(
    vkey: _VKey,
    data: _Data = _DEFAULT_DATA,
    from_note: Annotated[
        Path | None,
        typer.Option(
            "--from", metavar="NOTE", help="A checkpoint of the log that you trust, to begin at; else at size 0."
        ),
    ] = None,
) -> None:
    """Cosign the checkpoints of one more log from now on. A log is never removed."""
    from tlog.core.checkpoint import open_checkpoint
    from tlog.core.note import parse_vkey
    from tlog.witness.decide import NEVER, Head

    def add(directory: WitnessDirectory, state: WitnessState) -> None:
        verifier = parse_vkey(read_at(vkey))
        if verifier.name in {key.cosigner.name for key in directory.read_keys()}:
            message = f"{verifier.name} is this witness's own name; a log has another one"
            raise MalformedInputError(message)
        checkpoint = None if from_note is None else open_checkpoint(from_note.read_bytes(), verifier)
        state.add_log(verifier.vkey(), NEVER if checkpoint is None else Head(checkpoint.size, checkpoint.root))

    _with_state(data, add)


def add_key(vkey: _VKey, data: _Data = _DEFAULT_DATA) -> None:
    """Let one more key sign for a log that the witness knows."""
    _with_state(data, lambda _, state: state.add_key(read_at(vkey)))


def remove_key(vkey: _VKey, data: _Data = _DEFAULT_DATA) -> None:
    """Let a key sign for its log no longer; what was cosigned stays remembered."""
    _with_state(data, lambda _, state: state.remove_key(read_at(vkey)))


def list_logs(data: _Data = _DEFAULT_DATA, *, as_json: Json = False) -> None:
    """List the logs that the witness knows: the largest size that it cosigned, the name, and the keys."""

    def show(_: WitnessDirectory, state: WitnessState) -> None:
        if as_json:
            print(json.dumps([{"origin": log.origin, "size": log.size, "vkeys": log.vkeys} for log in state.logs()]))
            return
        for log in state.logs():
            print(f"{log.size:>12} {log.origin}", *(f"\n{'':>13}{vkey}" for vkey in log.vkeys), sep="")

    _with_state(data, show)


def _find_or_make(data: Path, name: str | None) -> WitnessDirectory:
    from tlog.witness.keys import WitnessDirectory

    directory = WitnessDirectory(data)
    if not directory.exists():
        if name is None:
            message = (
                f"there is no witness in {data}; a new one needs --name, such as auditor.example/w1, which is final"
            )
            raise OperatorError(message)
        directory.create(name)
    elif name is not None and (known := directory.read_keys()[0].cosigner.name) != name:
        message = f"the witness in {data} is {known}, not {name}; leave out --name or correct --data"
        raise OperatorError(message)
    return directory


def _no_witness(data: Path) -> OperatorError:
    return OperatorError(
        f"there is no witness in {data}; 'tlog witness --data {data} --name NAME' makes one, under a name that is final, such as "
        "auditor.example/w1"
    )


def _with_state(data: Path, work: Callable[[WitnessDirectory, WitnessState], None]) -> None:
    from contextlib import closing

    from tlog.witness.keys import WitnessDirectory

    def do() -> None:
        directory = WitnessDirectory(data)
        if not directory.exists():
            raise _no_witness(data)
        with closing(directory.state()) as state:
            work(directory, state)

    exit_on_error(do)
