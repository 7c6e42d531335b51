"""Fixtures: one real PostgreSQL for the whole run, a fresh database cloned from a template for each test."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import sql

from tlog.appender import draft_events
from tlog.client import Client
from tlog.config import DataDirectory
from tlog.hospital import hospital_day
from tlog.lifecycle import Location, Log, create_log, open_log, running
from tlog.storage.database import Database
from tlog.storage.embedded import EmbeddedPostgres

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence
    from contextlib import AbstractAsyncContextManager

    from tlog.appender import Receipt

ORIGIN = "example.com/test-log"
ROOT = Path(__file__).parents[1]
VERIFIER = ROOT / "tools" / "verify.py"
_numbers = itertools.count()


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def directory() -> Iterator[Path]:
    """A fresh directory that PostgreSQL's own user can reach, unlike pytest's."""
    path = Path(tempfile.mkdtemp(prefix="tlog-test-"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    path = Path(tempfile.mkdtemp(prefix="tlog-pg-"))
    path.chmod(0o711)
    server = EmbeddedPostgres(path / "postgres")
    server.create()
    with server:
        yield server
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def template(postgres: EmbeddedPostgres) -> str:
    """The name of a database with the schema and nothing in it."""
    admin = postgres.conninfo(user="postgres")
    with psycopg.connect(postgres.conninfo(user="postgres", dbname="postgres"), autocommit=True) as connection:
        connection.execute("CREATE DATABASE tlog_template")
    database = Database(
        postgres.conninfo(user="tlog", dbname="tlog_template"),
        admin.replace("dbname=tlog", "dbname=tlog_template"),
    )
    asyncio.run(database.migrate())
    return "tlog_template"


@dataclass
class TestDatabase:
    """Connection strings of one test's database."""

    __test__ = False
    service: str
    admin: str

    def connect_admin(self) -> psycopg.Connection[Any]:
        """Return a superuser's connection: the hostile administrator."""
        return psycopg.connect(self.admin, autocommit=True)


@pytest.fixture
def database(postgres: EmbeddedPostgres, template: str) -> Iterator[TestDatabase]:
    name = f"test_{os.getpid()}_{next(_numbers)}"
    create = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
    with psycopg.connect(postgres.conninfo(user="postgres", dbname="postgres"), autocommit=True) as connection:
        connection.execute(create)
        yield TestDatabase(postgres.conninfo(user="tlog", dbname=name), postgres.conninfo(user="postgres", dbname=name))
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def location(directory: Path, database: TestDatabase) -> Location:
    return Location(DataDirectory(directory / "data"), database.service, database.admin)


OpenLog = "Callable[[], AbstractAsyncContextManager[Log]]"


@pytest.fixture
def opened(location: Location) -> Callable[..., AbstractAsyncContextManager[Log]]:
    """Returns a context manager that makes the log if need be, opens and runs it; sealing only on request."""

    @contextlib.asynccontextmanager
    async def open_it(**options: Any) -> AsyncIterator[Log]:
        if not location.directory.anchor.exists():
            await create_log(location, ORIGIN)
        async with open_log(location, **{"interval": 60.0, **options}) as log, running(log):
            yield log

    return open_it


def sample_events(count: int, *, seed: int = 1) -> list[bytes]:
    """Return `count` events of the hospital's day as JSON texts."""
    return [json.dumps(event, ensure_ascii=False).encode() for event in hospital_day(count, seed=seed)]


async def append(log: Log, raws: Sequence[bytes]) -> list[Receipt]:
    """Append events in this process."""
    return await log.appender.append(draft_events(raws, log.bucket_keys))


async def fill(log: Log, count: int, *, seed: int = 1) -> list[Receipt]:
    """Append `count` sample events and seal them."""
    receipts = await append(log, sample_events(count, seed=seed))
    await log.wait_sealed(receipts[-1].index, 30)
    return receipts


# --- Whole processes ------------------------------------------------------------------------------------------------


def tlog(*arguments: object, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    command = [sys.executable, "-m", "tlog", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=ROOT, **options)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


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

    def stop(self) -> int:
        """Stop the server as a terminal would; return its exit code."""
        self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


def start_server(data: Path, *options: object, token: str = "") -> Server:
    """Start `tlog serve` on a free port and wait until it says where."""
    command = [sys.executable, "-m", "tlog", "serve", "--data", str(data), "--port", "0", "--interval", "0.1"]
    said = data.with_name(f"{data.name}-{next(_numbers)}.stderr")
    with said.open("w") as stderr:
        process = subprocess.Popen([*command, *map(str, options)], stderr=stderr, cwd=ROOT)
    deadline = time.monotonic() + 60
    while (match := re.search(r" at (http://\S+)", said.read_text())) is None:
        assert process.poll() is None, said.read_text()
        assert time.monotonic() < deadline, said.read_text()
        time.sleep(0.05)
    if not token:
        created = tlog("token", "create", "--data", data, "--principal", "test", "--scope", "admin", "--json", *options)
        token = json.loads(created.stdout)["token"]
    with Client(match[1]) as client:
        return Server(process, match[1], client.log()["vkey"], token, data, said)


@pytest.fixture
def running_server(directory: Path) -> Iterator[Server]:
    server = start_server(directory / "data")
    yield server
    server.stop()
