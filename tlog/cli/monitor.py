"""The command that watches a log from outside: monitor."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from tlog.cli.output import complain, exit_on_error
from tlog.errors import MalformedInputError, NotCheckedError, OverloadedError
from tlog.location import utc_now

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator, Sequence

    from tlog.checking.monitor import Finding
    from tlog.core.policy import Policy
    from tlog.signing.outside import Outside

_AGAIN_SECONDS: Final = 3600.0
_COMMAND_SECONDS: Final = 30.0
_WITNESS_SECONDS: Final = 5.0


def monitor(  # noqa: PLR0917 - the options of a command line
    policy: Annotated[Path, typer.Option(metavar="FILE", help="Whose signatures count: the log's key, its witnesses.")],
    state: Annotated[Path, typer.Option(metavar="FILE", help="Remembers the largest checkpoint that was seen.")],
    url: Annotated[str, typer.Option(help="The log, or a directory that is kept as 'tlog export --static' writes it.")],
    also: Annotated[
        list[str] | None, typer.Option(metavar="URL", help="Another place where the log is shown; repeatable.")
    ] = None,
    replay: Annotated[bool, typer.Option("--replay", help="Derive every index epoch again from the entries.")] = False,
    receipts: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            file_okay=False,
            metavar="DIR",
            help="Answers to appends, a file *.json each: what they promise has to be in the log.",
        ),
    ] = None,
    max_age: Annotated[
        float,
        typer.Option(min=1, help="Seconds that the newest cosignature may be old, and a receipt without its entry."),
    ] = 120.0,
    every: Annotated[float, typer.Option(min=0.01, help="Seconds between two passes.")] = 60.0,
    on_alarm: Annotated[
        str | None,
        typer.Option(metavar="COMMAND", help="Run without a shell on each change; gets the line on its input."),
    ] = None,
    once: Annotated[
        bool,
        typer.Option(
            "--once",
            help="One pass. Exit code 1: rollback, fork, index or receipt; 3: not everything could be checked.",
        ),
    ] = False,
) -> None:
    """Watch that a log only grows, shows everybody the same, and is witnessed: one line of JSON for each change."""
    from tlog.checking.mirror import open_mirror
    from tlog.checking.monitor import ALARMS, Monitor

    def watch() -> int:
        demanded, origin = _read_policy(policy)
        teller = _Teller(state, on_alarm)
        with (
            ExitStack() as stack,
            Monitor(demanded, origin, state, max_age=max_age, clock=utc_now, replay=replay) as watching,
            _witnesses(demanded, origin) as witnesses,
        ):
            log, *mirrors = (stack.enter_context(open_mirror(place)) for place in (url, *(also or ())))
            while True:
                promised = [] if receipts is None else sorted(receipts.glob("*.json"))
                found = watching.look(log, mirrors, witnesses, promised)
                teller.tell(found)
                if once:
                    events = {each.event for each in found}
                    return 1 if events & ALARMS else 0 if events == {"ok"} else NotCheckedError.exit_code
                time.sleep(every)

    raise typer.Exit(exit_on_error(watch))


def _read_policy(path: Path) -> tuple[Policy, str]:
    """Return a policy, and the name of the one log in it."""
    from tlog.core.policy import parse_policy

    policy = parse_policy(path.read_bytes())
    origins = {log.key.name for log in policy.logs}
    if len(origins) != 1:
        message = (
            f"{path} has keys of {len(origins)} logs; a monitor watches one, so its policy has the lines 'log' of one"
        )
        raise MalformedInputError(message)
    return policy, origins.pop()


class _Witness:
    """Where a witness shows a checkpoint (c2sp.org/tlog-witness "Monitor Retrieval Mechanism"), asked as the log asks it."""

    def __init__(self, url: str, origin: str, outside: Outside, runner: asyncio.Runner) -> None:
        self.name = url
        self._url = f"{url}/{sha256(origin.encode()).hexdigest()}/checkpoint"
        self._outside = outside
        self._runner = runner

    def checkpoint(self) -> bytes:
        """See `tlog.checking.mirror.Mirror.checkpoint`."""
        from tlog.signing.outside import OutsideError

        try:
            answer = self._runner.run(self._outside.ask("GET", self._url))
        except OutsideError as error:
            raise OverloadedError(str(error)) from error
        if answer.status != HTTPStatus.OK:
            message = f"it was answered with status {answer.status}"
            raise NotCheckedError(message)
        return answer.body


@contextmanager
def _witnesses(policy: Policy, origin: str) -> Iterator[list[_Witness]]:
    import asyncio

    from tlog.signing.outside import Outside, check_url

    urls = dict.fromkeys(check_url(witness.url) for witness in policy.witnesses if witness.url is not None)
    with asyncio.Runner() as runner:
        outside = Outside(_WITNESS_SECONDS)
        try:
            yield [_Witness(url, origin, outside, runner) for url in urls]
        finally:
            runner.run(outside.close())


class _Teller:
    """Writes a line when something changes, and once an hour while something is wrong."""

    def __init__(self, state: Path, command: str | None) -> None:
        self._state = state
        try:
            self._command = None if command is None else shlex.split(command)
        except ValueError as error:
            message = f"--on-alarm is a command and its arguments, quoted as for a shell: {error}"
            raise MalformedInputError(message) from None
        if self._command == []:
            message = "--on-alarm is a command and its arguments; this one is empty"
            raise MalformedInputError(message)
        self._told: dict[tuple[str, str], float] = {}

    def tell(self, found: Sequence[Finding]) -> None:
        """Tell of what is new among the findings of a pass, or has been wrong for another hour."""
        now = time.monotonic()
        for each in found:
            at = self._told.get((each.event, each.where))
            if at is None or (each.event != "ok" and now - at >= _AGAIN_SECONDS):
                self._told[each.event, each.where] = now
                self._write(each)
        still = {(each.event, each.where) for each in found}
        self._told = {key: at for key, at in self._told.items() if key in still}

    def _write(self, finding: Finding) -> None:
        from tlog.checking.monitor import ALARMS
        from tlog.files.durable import write_durable

        severity = "info" if finding.event == "ok" else "alarm" if finding.event in ALARMS else "warning"
        line = {
            "at": utc_now().strftime("%Y-%m-%dT%H:%M:%SZ"),
            "event": finding.event,
            "severity": severity,
            "where": finding.where,
            "reason": finding.reason,
        }
        if finding.fork:
            path = self._state.with_name(f"fork-{sha256(finding.fork).hexdigest()[:16]}.json")
            write_durable(path, finding.fork)
            line["file"] = str(path)
        text = json.dumps(line)
        print(text, flush=True)
        if self._command is not None:
            self._run(self._command, text)

    def _run(self, command: Sequence[str], text: str) -> None:
        try:
            # What the command prints is no line of ours.
            ended = subprocess.run(  # noqa: S603 - the operator's own
                command, input=f"{text}\n".encode(), stdout=sys.stderr.fileno(), timeout=_COMMAND_SECONDS, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            complain(f"--on-alarm: {error}")
            return
        if ended.returncode:
            complain(f"--on-alarm: the command ended with {ended.returncode}")
