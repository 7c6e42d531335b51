"""`tlog demo --kafka`: a hospital's day through a topic of a real broker, a taker that is killed on the way, and the comparison.

It needs Java, Maven and the extra `tlog-audit[kafka]`. If anything that is expected does not happen, it ends with exit code 1.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.console import Console

from tlog.demo.broker import Broker
from tlog.demo.hospital import hospital_day
from tlog.errors import NotCheckedError, OverloadedError
from tlog.ingest.kafka import fill_topic, is_ready
from tlog.postgres.server import EmbeddedPostgres
from tlog.storage.database import Database
from tlog.storage.intake import IntakeStore

if TYPE_CHECKING:
    from collections.abc import Callable

_TOPIC: Final = "audit-events"
_PARTITIONS: Final = 4
_ORIGIN: Final = "demo.example/stream"
_SECONDS: Final = 120.0


def run_stream_demo(events: int, *, keep: bool) -> int:
    """Tell the story with `events` events; return the exit code."""
    console = Console(highlight=False)
    directory = Path(tempfile.mkdtemp(prefix="tlog-demo-"))
    directory.chmod(0o711 if os.geteuid() == 0 else 0o700)  # as `tlog.demo.story` has it
    started = time.monotonic()
    try:
        with Broker(directory / "broker", is_ready) as broker:
            _Stream(console, directory, broker, events).tell()
    except (AssertionError, NotCheckedError) as error:
        console.print(f"\n[bold red]The demo failed:[/] {error}", soft_wrap=True)
        return 1
    finally:
        if keep:
            console.print(f"\nEverything is left in {directory}")
        else:
            shutil.rmtree(directory, ignore_errors=True)
    console.print(f"\n[bold]Done in {time.monotonic() - started:.0f} s.[/] Next: docs/how-to/take-from-kafka.md.")
    return 0


class _Stream:
    def __init__(self, console: Console, directory: Path, broker: Broker, events: int) -> None:
        self._console = console
        self._directory = directory
        self._broker = broker
        self._events = events
        self._data = directory / "data"

    def tell(self) -> None:
        """Fill a topic, take from it, kill the taker, and compare."""
        self._console.print("[bold]A topic is filled[/] with a hospital's day, and one message that is no event")
        day = [json.dumps(event).encode() for event in hospital_day(self._events, seed=1)]
        values = [*day[: len(day) // 2], b"{not json", *day[len(day) // 2 :]]
        fill_topic(self._broker.bootstrap, _TOPIC, _PARTITIONS, values)
        vkey = self._run("init", "--data", self._data, "--origin", _ORIGIN).strip()
        self._console.print("[bold]A taker begins[/], and is killed with SIGKILL on the way")
        taker = self._take("--from-beginning", "--batch", "50", "--in-flight", "1")
        self._wait(lambda taken: taken > 0)
        taker.kill()
        taker.wait()
        self._console.print(f"  it had taken {self._taken():,} of {len(values):,} messages")
        self._console.print("[bold]Another one goes on[/] where the log says")
        taker = self._take()
        self._wait(lambda taken: taken >= len(values))
        taker.terminate()
        _check(taker.wait(60) == 0, "the taker did not end in order")
        counted = self._run("fsck", "--data", self._data, "--json")
        _check(json.loads(counted)["checked"]["events"] >= self._events, "events are missing")
        self._console.print("[bold]An auditor compares[/] the log with the topic")
        exported, letters = self._directory / "export", self._directory / "dead-letters.ndjson"
        self._run("export", "--data", self._data, "--static", exported)
        letters.write_text(self._run("ingest", "dead-letters", "list", "--data", self._data, "--json"))
        place = ("--topic", _TOPIC, "--bootstrap", self._broker.bootstrap, "--dead-letters", letters)
        said = self._run("verify", "intake", "--log", exported, "--vkey", vkey, *place)
        self._console.print(f"  {said.strip().replace(chr(10), chr(10) + '  ')}")
        letter = json.loads(letters.read_text())
        self._console.print(
            f"  one dead letter: partition {letter['partition']}, offset {letter['offset']}: {letter['reason']}"
        )

    def _take(self, *options: str) -> subprocess.Popen[bytes]:
        place = ("--data", str(self._data), "--bootstrap", self._broker.bootstrap, "--topic", _TOPIC)
        command = [sys.executable, "-m", "tlog", "ingest", "kafka", *place, "--log-level", "error", *options]
        return subprocess.Popen(command, stderr=subprocess.DEVNULL)

    def _taken(self) -> int:
        async def ask() -> int:
            database = Database(EmbeddedPostgres(self._data / "postgres").conninfo(user="tlog"))
            store = IntakeStore(database, "")
            try:
                return sum(each.next_offset for each in await store.all())
            except OverloadedError:
                return 0  # the taker has not started it yet
            finally:
                await store.close()

        return asyncio.run(ask())

    def _wait(self, enough: Callable[[int], bool]) -> None:
        deadline = time.monotonic() + _SECONDS
        while not enough(self._taken()):
            _check(time.monotonic() < deadline, "the topic is not taken")
            time.sleep(0.05)

    def _run(self, *arguments: object) -> str:
        command = [sys.executable, "-m", "tlog", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
        _check(
            done.returncode == 0, f"{' '.join(command[2:5])} ended with {done.returncode}: {done.stdout}{done.stderr}"
        )
        return done.stdout


def _check(condition: bool, message: str) -> None:  # noqa: FBT001 - a condition
    if not condition:
        raise AssertionError(message)
