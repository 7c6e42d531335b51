"""Two PostgreSQL servers, one the standby of the other, by streaming replication: what a promotion is made to happen on."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

import psycopg
from psycopg import sql

from faults.service import children
from tlog.postgres.server import EmbeddedPostgres, _alive
from tlog.postgres.user import server_user

if TYPE_CHECKING:
    from pathlib import Path

    from tlog.postgres.user import ServerUser

_SECONDS: Final = 60.0
_HOST: Final = "127.0.0.1"
_ADMIN, _PASSWORD = "dbadmin", "of-a-test"
_CONFIGURATION: Final = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
wal_level = replica
hot_standby = on
max_connections = 40
shared_buffers = 32MB
max_wal_senders = 8
max_replication_slots = 8
wal_receiver_timeout = 5s
wal_sender_timeout = 5s
wal_retrieve_retry_interval = 200ms
"""


class Server(NamedTuple):
    """One of the two: its files, its port, and what runs it."""

    cluster: Path
    port: int
    programs: Path
    user: ServerUser

    def run(self, program: str, *arguments: object) -> None:
        """Run one of PostgreSQL's programs as the user of the cluster."""
        command = [str(self.programs / program), *map(str, arguments)]
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
            **self.user.options(),
        )
        assert done.returncode == 0, f"{program}: {done.stderr}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        log = self.cluster.with_name(f"{self.cluster.name}.log")
        log.touch()
        self.user.give(log)
        self.run("pg_ctl", "start", "-s", "-w", "-D", self.cluster, "-l", log, "-o", f"-p {self.port}")

    def pid(self) -> int:
        """Return the number of its first process."""
        return int((self.cluster / "postmaster.pid").read_text(encoding="utf-8").split("\n")[0])

    def connect(self) -> psycopg.Connection[Any]:
        """Return a superuser's connection."""
        return psycopg.connect(self.address(_ADMIN, "postgres"), autocommit=True)

    def address(self, user: str, dbname: str) -> str:
        """Return a connection string to this one of the two."""
        return f"host={_HOST} port={self.port} user={user} password={_PASSWORD} dbname={dbname} connect_timeout=5"

    def configure(self, **settings: str) -> None:
        """Set settings that a reload brings into effect."""
        with self.connect() as admin:
            for name, value in settings.items():
                admin.execute(sql.SQL("ALTER SYSTEM SET {} = {}").format(sql.Identifier(name), value))
            admin.execute("SELECT pg_reload_conf()")


class Pair:
    """A primary and its standby; `service` and `keeper` are addresses of the database `audit` on whichever takes writes."""

    def __init__(self, directory: Path) -> None:
        unused = directory / "programs"
        unused.mkdir(mode=0o711)
        programs, user = EmbeddedPostgres(unused).binary("initdb").parent, server_user()
        self.primary, self.standby = (
            Server(directory / name, port, programs, user)
            for name, port in zip(("left", "right"), _free_ports(), strict=True)
        )
        ports = self.primary.port, self.standby.port
        both = ",".join(f"{_HOST}:{port}" for port in ports)
        self.service, self.keeper = (
            f"postgresql://{user}:{_PASSWORD}@{both}/audit?target_session_attrs=read-write&connect_timeout=3"
            for user in ("tlog_service", "keeper")
        )
        try:
            self._make_primary(directory)
            self.make_standby()
        except BaseException:
            self.end()
            raise

    def _make_primary(self, directory: Path) -> None:
        password = directory / "password"
        password.write_text(f"{_PASSWORD}\n", encoding="utf-8")
        self.primary.user.give(password)
        self._make_directory(self.primary)
        self.primary.run(
            "initdb", "-D", self.primary.cluster, "-U", _ADMIN, "--auth=scram-sha-256", f"--pwfile={password}",
            "--data-checksums", "-E", "UTF8", "--locale=C",
        )  # fmt: skip
        with (self.primary.cluster / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.write(_CONFIGURATION)
        self.primary.start()
        with self.primary.connect() as admin:
            for role, rights in (("keeper", "CREATEROLE"), ("tlog_service", ""), ("replicator", "REPLICATION")):
                admin.execute(f"CREATE ROLE {role} LOGIN {rights} PASSWORD '{_PASSWORD}'".encode())
            admin.execute("CREATE DATABASE audit OWNER keeper")

    def make_standby(self) -> None:
        """Make the second one anew, from the first, and wait until it follows."""
        old = self.standby
        with contextlib.suppress(OSError, ValueError):
            _kill(old.pid())
        shutil.rmtree(old.cluster, ignore_errors=True)
        self._make_directory(old)
        with self.primary.connect() as admin:
            admin.execute("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE NOT active")
        where = self.primary.address("replicator", "postgres").replace(" dbname=postgres", "")
        old.run("pg_basebackup", "-R", "-C", "-S", "standby", "-c", "fast", "-D", old.cluster, "-d", where)
        old.start()
        self.wait_for("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'", 1)

    def demand_standby(self) -> None:
        """Let every commit wait for the standby, also on the standby once it is promoted, as a copied setting would."""
        for server in (self.standby, self.primary):
            server.configure(synchronous_standby_names="*")
        self.wait_for("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'", 1)

    def caught_up(self) -> None:
        """Wait until the standby has all that the primary has."""
        self.wait_for("SELECT count(*) FROM pg_stat_replication WHERE flush_lsn >= pg_current_wal_flush_lsn()", 1)

    def cut(self) -> None:
        """Cut the standby off: what the primary commits from now on it does not get."""
        self.standby.configure(primary_conninfo="")
        self.wait_for("SELECT count(*) FROM pg_stat_replication", 0)

    def wait_for(self, question: str, answer: object) -> None:
        """Wait until the primary answers so."""
        deadline = time.monotonic() + _SECONDS
        with self.primary.connect() as admin:
            while (found := admin.execute(question.encode()).fetchone()) != (answer,):
                assert time.monotonic() < deadline, f"{question}: {found}"
                time.sleep(0.02)

    def kill_primary(self) -> None:
        """Kill the first one at once, with all its processes."""
        _kill(self.primary.pid())

    def promote(self) -> None:
        """Let the second one take the first one's place."""
        self.primary, self.standby = self.standby, self.primary
        self.primary.run("pg_ctl", "promote", "-s", "-w", "-D", self.primary.cluster)

    def end(self) -> None:
        """Kill what runs."""
        for server in (self.primary, self.standby):
            with contextlib.suppress(OSError, ValueError):
                _kill(server.pid())

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End both."""
        self.end()

    @staticmethod
    def _make_directory(server: Server) -> None:
        server.cluster.mkdir(mode=0o700)
        server.user.give(server.cluster, directory=True)


def _free_ports() -> list[int]:
    with socket.socket() as first, socket.socket() as second:
        for each in (first, second):
            each.bind((_HOST, 0))
        return [first.getsockname()[1], second.getsockname()[1]]


def _kill(server: int) -> None:
    """Kill a server with all its processes, each of which may lead a session of its own, and wait until it is gone."""
    processes = [server, *children(server)]
    for pid in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + _SECONDS
    while any(map(_alive, processes)):
        assert time.monotonic() < deadline, "a killed server lives on"
        time.sleep(0.01)
