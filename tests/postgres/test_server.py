"""The embedded PostgreSQL: closed to others, shared by processes, never silently made anew, back after a kill."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import subprocess
import sys

import psycopg
import pytest
from support import ROOT, kill_postgres

from tlog.errors import EmbeddedPostgresError
from tlog.postgres.server import EmbeddedPostgres


@pytest.fixture
def server(directory):
    server = EmbeddedPostgres(directory / "postgres")
    server.create()
    return server


def ask(server, statement="SELECT current_user", **options):
    with psycopg.connect(server.conninfo(**options)) as connection:
        return connection.execute(statement).fetchone()[0]


def test_created_started_stopped(server, directory):
    with server:
        assert ask(server) == "tlog"
        assert ask(server, "SELECT rolsuper FROM pg_roles WHERE rolname = 'tlog'") is False
    assert not (directory / "postgres" / "cluster" / "postmaster.pid").exists()
    with pytest.raises(psycopg.OperationalError):
        ask(server)


def test_a_missing_cluster_is_never_made_silently(directory):
    server = EmbeddedPostgres(directory / "postgres")
    assert not server.exists()
    with pytest.raises(EmbeddedPostgresError, match="no database cluster"):
        server.start()
    assert not (directory / "postgres").exists()


def test_a_cluster_is_never_replaced(server):
    with pytest.raises(EmbeddedPostgresError, match="never replaced"):
        server.create()


def test_interrupted_creation_is_begun_again(directory):
    (directory / "postgres" / "cluster.new").mkdir(parents=True)
    (directory / "postgres" / "cluster.new" / "PG_VERSION").write_text("18")
    shutil.copytree(directory / "postgres" / "cluster.new", directory / "postgres" / "cluster.new-0123456789abcdef")
    (directory / "postgres").chmod(0o711)
    server = EmbeddedPostgres(directory / "postgres")
    server.create()
    assert not list((directory / "postgres").glob("*.new*"))
    with server:
        assert ask(server) == "tlog"


def test_settings_that_promises_rest_on(server):
    wanted = {
        "listen_addresses": "", "fsync": "on", "full_page_writes": "on", "synchronous_commit": "on", "data_checksums": "on",
        "log_statement": "none", "log_parameter_max_length": "0", "log_parameter_max_length_on_error": "0",
        "log_min_error_statement": "panic", "TimeZone": "UTC", "server_encoding": "UTF8",
    }  # fmt: skip
    with server:
        for name, value in wanted.items():
            assert ask(server, f"SHOW {name}") == value, name
        with psycopg.connect(server.conninfo(user="postgres", dbname="postgres")) as connection:
            rules = connection.execute("SELECT type, auth_method, options FROM pg_hba_file_rules").fetchall()
    assert rules == [("local", "peer", ["map=tlog"])] * 2, "for connections, and for base backups"


def test_files_are_closed_to_others(server, directory):
    with server:
        for path, mode in (("cluster", 0o700), ("socket", 0o700), ("postgres.log", 0o600), ("start.lock", 0o600)):
            assert stat.S_IMODE((directory / "postgres" / path).stat().st_mode) == mode, path


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can try as another user")
def test_another_user_is_refused(server):
    nobody = pwd.getpwnam("nobody")

    def knock():
        command = [server.binary("psql"), "-X", "-c", "SELECT 1", server.conninfo()]
        return subprocess.run(
            command, user=nobody.pw_uid, group=nobody.pw_gid, extra_groups=[], capture_output=True, text=True, check=False, cwd="/"
        )  # fmt: skip

    with server:
        assert "Permission denied" in knock().stderr
        # Even with the socket in reach, the kernel tells PostgreSQL who is asking.
        (server._directory / "socket").chmod(0o711)
        assert "authentication failed" in knock().stderr


HOLD = """
import sys
from pathlib import Path
from tlog.postgres.server import EmbeddedPostgres
with EmbeddedPostgres(Path(sys.argv[1])):
    print("up", flush=True)
    sys.stdin.read()
"""


def holder(directory):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(directory / "postgres")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    assert process.stdout.readline() == "up\n"
    return process


def let_go(process):
    process.communicate()
    assert process.returncode == 0


def test_processes_share_it_and_the_last_one_stops_it(server, directory):
    first, second = holder(directory), holder(directory)
    with server:
        let_go(first)
        assert ask(server) == "tlog"
    assert ask(server) == "tlog", "the second process still uses it"
    let_go(second)
    with pytest.raises(psycopg.OperationalError):
        ask(server)


def test_a_killed_process_does_not_hold_it_for_ever(server, directory):
    process = holder(directory)
    process.kill()
    process.communicate()
    with server:
        assert ask(server) == "tlog"
    with pytest.raises(psycopg.OperationalError):
        ask(server)


def test_it_comes_back_after_a_kill_with_what_was_committed(server):
    with server:
        server.administer("CREATE TABLE kept (n int); INSERT INTO kept SELECT generate_series(1, 1000)")
        kill_postgres(server)
    with server:
        assert ask(server, "SELECT count(*) FROM kept", user="postgres") == 1000


def test_process_number_of_somebody_else_is_not_believed(server, directory):
    pid_file = directory / "postgres" / "cluster" / "postmaster.pid"
    pid_file.write_text(
        f"{os.getpid()}\n{directory}/postgres/cluster\n1\n5432\n{directory}/postgres/socket\n\n0 0\nready\n"
    )
    with server:
        assert ask(server) == "tlog"


def test_what_is_stored_does_not_reach_the_servers_log(server, directory):
    secret = "Jane-Secret-Doe"
    with server, psycopg.connect(server.conninfo(user="postgres"), autocommit=True) as connection:
        connection.execute("CREATE TABLE one (name text PRIMARY KEY CHECK (length(name) < 20))")
        connection.execute("INSERT INTO one VALUES (%s)", (secret,))
        for statement in (
            "INSERT INTO one VALUES (%s)",
            "INSERT INTO one VALUES (%s || 'x' || repeat('y', 20))",
            "SELECT (%s)::int",
        ):
            with pytest.raises(psycopg.Error):
                connection.execute(statement, (secret,))
        with pytest.raises(psycopg.Error):
            connection.execute(f"SELECT '{secret}' FROM nowhere")
    log = (directory / "postgres" / "postgres.log").read_text()
    assert "starting PostgreSQL" in log, "the control: this is the server's log"
    assert "ERROR" in log
    assert "DETAIL" not in log
    assert "STATEMENT" not in log


def test_a_long_path_gets_a_short_socket(directory):
    deep = directory / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    server = EmbeddedPostgres(deep / "postgres")
    server.create()
    with server:
        assert ask(server) == "tlog"
    with EmbeddedPostgres(deep / "postgres") as again:
        assert ask(again) == "tlog"


def test_a_start_that_fails_shows_the_end_of_the_log(server, directory):
    (directory / "postgres" / "cluster" / "PG_VERSION").write_text("17\n")
    with pytest.raises(EmbeddedPostgresError, match=r"postgres\.log ends with"):
        server.start()


def test_the_same_object_starts_once(server):
    with server, pytest.raises(EmbeddedPostgresError, match="already"):
        server.start()
