"""Fixtures: one real PostgreSQL for the whole run, a fresh database cloned from a template for each test."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import shutil
import signal
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import structlog
from psycopg import sql
from skips import SkipTable, read_rows
from support import ORIGIN, Server, TestDatabase, start_server

from tlog.lifecycle.making import create_log
from tlog.lifecycle.opening import Log, open_log
from tlog.lifecycle.running import running
from tlog.location import DataDirectory, Location
from tlog.postgres.server import EmbeddedPostgres
from tlog.storage.database import Database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from contextlib import AbstractAsyncContextManager


_numbers = itertools.count()


def pytest_configure(config: pytest.Config) -> None:
    """End the run with a table of its skips, and fail it on one that is not expected."""
    # A shell starts what runs in its background with SIGINT ignored, and every command of a test would inherit that:
    # Ctrl-C of a test would end nothing.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if not hasattr(config, "workerinput"):  # a worker's reports arrive in the process that started it
        config.pluginmanager.register(SkipTable(read_rows(Path(__file__).with_name("expected_skips.toml"))))


@pytest.fixture(autouse=True)
def no_log_of_another_test() -> None:
    """Commands that run in this process configure the log, and would hide lines from tests that come later."""
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@contextlib.contextmanager
def fresh_directory() -> Iterator[Path]:
    """Make a directory that PostgreSQL's own user can reach, unlike pytest's."""
    path = Path(tempfile.mkdtemp(prefix="tlog-test-"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def directory() -> Iterator[Path]:
    with fresh_directory() as path:
        yield path


@pytest.fixture(scope="module")
def module_directory() -> Iterator[Path]:
    with fresh_directory() as path:
        yield path


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


@pytest.fixture
def opened(location: Location) -> Callable[..., AbstractAsyncContextManager[Log]]:
    """Returns a context manager that makes the log if need be, opens and runs it.

    It seals on request only, and indexes only if asked to: every epoch is an entry, and tests count entries.
    """

    @contextlib.asynccontextmanager
    async def open_it(*, index: bool = False, **options: Any) -> AsyncIterator[Log]:
        if not location.directory.anchor.exists():
            await create_log(location, ORIGIN)
        async with open_log(location, index=index, **{"interval": 60.0, **options}) as log, running(log):
            yield log

    return open_it


@pytest.fixture
def standby_away(postgres: EmbeddedPostgres) -> Iterator[Callable[[], None]]:
    """A PostgreSQL whose commits wait for a standby that there is not. Returns what ends that; the end of the test does, too."""
    address = postgres.conninfo(user="postgres", dbname="postgres")
    ended = threading.Event()

    def demand(names: str) -> None:
        with psycopg.connect(address, autocommit=True) as admin:
            admin.execute(sql.SQL("ALTER SYSTEM SET synchronous_standby_names = {}").format(names))
            admin.execute("SELECT pg_reload_conf()")

    def commit_until_it_waits() -> None:
        with psycopg.connect(address, autocommit=True, application_name="probe") as probe:
            for number in itertools.count():
                if ended.is_set():
                    return
                probe.execute(sql.SQL("COMMENT ON DATABASE postgres IS {}").format(str(number)))

    def end() -> None:
        ended.set()
        demand("")

    probe = threading.Thread(target=commit_until_it_waits)
    demand("nobody")
    probe.start()
    try:
        with psycopg.connect(address, autocommit=True) as admin:
            deadline = time.monotonic() + 60
            asked = "SELECT wait_event = 'SyncRep' FROM pg_stat_activity WHERE application_name = 'probe'"
            while admin.execute(asked).fetchone() != (True,):
                assert time.monotonic() < deadline, "no commit waits for a standby"
                time.sleep(0.01)
        yield end
    finally:
        end()
        probe.join()


@pytest.fixture
def running_server(directory: Path) -> Iterator[Server]:
    server = start_server(directory / "data")
    yield server
    server.stop()
