"""What tests and gates start from: sample events, whole processes, and the names of things."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import psycopg

from tlog.client import Client
from tlog.core.making.drafts import DraftEntry
from tlog.core.making.parsing import parse_batch
from tlog.core.merkle import fold_perfect, leaf_hash
from tlog.core.pseudonym import public_text
from tlog.core.segment import PAGE_SIZE
from tlog.demo.hospital import hospital_day
from tlog.postgres.server import _alive
from tlog.writing.drafting import LOCAL, draft_events

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tlog.lifecycle.opening import Log
    from tlog.postgres.server import EmbeddedPostgres
    from tlog.writing.receipts import Receipts

ORIGIN = "example.com/test-log"
ROOT = Path(__file__).parents[2]
VERIFIER = ROOT / "tools" / "verify.py"
_numbers = itertools.count()


@dataclass
class TestDatabase:
    """Connection strings of one test's database."""

    __test__ = False
    service: str
    admin: str

    def connect_admin(self) -> psycopg.Connection[Any]:
        """Return a superuser's connection: the hostile administrator."""
        return psycopg.connect(self.admin, autocommit=True)


def sample_events(count: int, *, seed: int = 1) -> list[bytes]:
    """Return `count` events of the hospital's day as JSON texts."""
    return [json.dumps(event, ensure_ascii=False).encode() for event in hospital_day(count, seed=seed)]


def rich_events(count: int, *, seed: int = 1) -> list[bytes]:
    """Return sample events that also have an operation, a source and related resources: 3, none, 1, 2, 3, none …."""
    texts = []
    for number, raw in enumerate(sample_events(count, seed=seed)):
        event = json.loads(raw)
        related = [
            {"id": f"P-{number}-{place}", "role": "recipient", "type": "patient_record"}
            for place in range((3, 0, 1, 2)[number % 4])
        ]
        event |= {"operation": f"Get{number % 5}", "source": {"id": "ehr-1", "seq": number}}
        event |= {"relatedResources": related} if related else {}
        texts.append(json.dumps(event, ensure_ascii=False).encode())
    return texts


def page_tiles(pages: bytes) -> dict[tuple[int, int], bytes]:
    """Return the tiles over a segment's pages that are stored: all but those of the lowest level that are full."""
    hashes = [leaf_hash(pages[start : start + PAGE_SIZE]) for start in range(0, len(pages), PAGE_SIZE)]
    tiles: dict[tuple[int, int], bytes] = {}
    level = 0
    while hashes:
        rows = [hashes[start : start + 16] for start in range(0, len(hashes), 16)]
        tiles |= {(level, index): b"".join(row) for index, row in enumerate(rows) if level or len(row) < 16}
        hashes = [fold_perfect(row) for row in rows if len(row) == 16]
        level += 1
    return tiles


async def append(log: Log, raws: Sequence[bytes]) -> Receipts:
    """Append events in this process."""
    return await log.appender.append(draft_events(parse_batch(raws), log.bucket_keys, LOCAL))


def control_draft(log: Log, user: str) -> DraftEntry:
    """Return the draft of a control entry about somebody, of a type that this version has no other use for."""
    keys = f'"{public_text("control", "order")}","{log.bucket_keys.related_text("user", user)}"'
    return DraftEntry(None, f'{{"keys":[{keys}],"kind":"erase","loggedAt":"'.encode(), b'","type":"order","v":1}')


async def fill(log: Log, count: int, *, seed: int = 1) -> Receipts:
    """Append `count` sample events and seal them."""
    receipts = await append(log, sample_events(count, seed=seed))
    await log.wait_sealed(receipts[-1].index, 30)
    return receipts


# --- Whole processes ------------------------------------------------------------------------------------------------


def tlog(
    *arguments: object,
    check: bool = True,
    **options: Any,  # noqa: ANN401 - options of subprocess.run
) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    command = [sys.executable, "-m", "tlog", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=ROOT, **options)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def find_python(minor: int) -> str | None:
    """Return an interpreter of Python 3.`minor`, from the PATH or where pyenv keeps them; None if there is none."""
    if minor == sys.version_info.minor:
        return sys.executable
    kept = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for found in (shutil.which(f"python3.{minor}"), *map(str, sorted(kept.glob(f"3.{minor}.*/bin/python3")))):
        # What is on the PATH may be a shim without the version that it is named after.
        if found and subprocess.run([found, "-I", "-c", ""], capture_output=True, check=False).returncode == 0:
            return found
    return None


def verify_offline(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run tools/verify.py with nothing but the standard library."""
    command = [sys.executable, "-I", "-S", str(VERIFIER), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@dataclass
class Server:
    """A running `tlog serve`, and a key that may do everything."""

    process: subprocess.Popen[bytes]
    url: str
    vkey: str
    token: str
    data: Path
    said: Path

    def append(self, events: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Append events over HTTP; return their receipts."""
        with Client(self.url, self.token) as client:
            return client.append([json.dumps(event).encode() for event in events])

    def seal(self) -> None:
        """Wait until everything appended is sealed."""
        with Client(self.url, self.token) as client:
            deadline = time.monotonic() + 30
            while client.log()["pending"] or not client.log()["size"]:
                assert time.monotonic() < deadline, "not sealed"
                time.sleep(0.05)

    def wait_until_ready(self) -> None:
        """Wait until the service should get traffic: a log that was just made has no checkpoint when the first request comes."""
        deadline = time.monotonic() + 30
        while (answer := httpx2.get(f"{self.url}/readyz", timeout=10)).status_code != httpx2.codes.OK:
            assert time.monotonic() < deadline, answer.text
            time.sleep(0.05)

    def stop(self) -> int:
        """Stop the server as a terminal would; return its exit code."""
        self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


def said_by(path: Path, text: str, least: int = 1) -> str:
    """Return what a running process has said, once a text is in it so often; a thread writes its lines a moment later."""
    deadline = time.monotonic() + 10
    while (said := path.read_text(encoding="utf-8")).count(text) < least and time.monotonic() < deadline:
        time.sleep(0.02)
    return said


def kill_postgres(server: EmbeddedPostgres) -> None:
    """Kill an embedded PostgreSQL with all its processes at once, as a crash would."""
    pid = server.postmaster()
    if pid is not None:
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        while _alive(pid):
            time.sleep(0.05)


# `tlog` with base segments of 64 entries instead of 262,144, so that few entries are merged often.
SMALL_SEGMENTS = """
from functools import partial
from tlog.cli import app
from tlog.core.making.tiling import Tiling
from tlog.server import serve
serve.open_log = partial(serve.open_log, tiling=Tiling(64, (64, 256, 2048, 16384), 16, (8, 4)))
app.main()
"""


def start_server(
    data: Path,
    *options: object,
    token: str = "",
    token_options: Sequence[object] = (),
    program: Sequence[str] = ("-m", "tlog"),
) -> Server:
    """Start `tlog serve` on a free port, of a log that it makes if there is none, and wait until it is ready."""
    command = [sys.executable, *program, "serve", "--data", str(data), "--port", "0", "--interval", "0.1"]
    if "--create" not in options and not (data / "keys" / "log.vkey").exists():
        command += ["--create", "--origin", "example.com/served"]
    said = data.with_name(f"{data.name}-{next(_numbers)}.stderr")
    with said.open("w") as stderr:
        process = subprocess.Popen([*command, *map(str, options)], stderr=stderr, cwd=ROOT)
    deadline = time.monotonic() + 60
    while (match := re.search(r'"address":"(http://[^"]+)"', said.read_text())) is None:
        assert process.poll() is None, said.read_text()
        assert time.monotonic() < deadline, said.read_text()
        time.sleep(0.05)
    if not token:
        created = tlog(
            "token",
            "create",
            "--data",
            data,
            "--principal",
            "test",
            "--scope",
            "admin",
            "--json",
            *(option for option in options if option not in ("--sealing", "here")),
            *token_options,
        )
        token = json.loads(created.stdout)["token"]
    with Client(match[1]) as client:
        server = Server(process, match[1], client.log()["vkey"], token, data, said)
    server.wait_until_ready()
    return server
