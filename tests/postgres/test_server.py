"""The embedded PostgreSQL: closed to others, shared by processes, never silently made anew, back after a kill."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time

import psycopg
import pytest
from support import ROOT, kill_postgres

from tlog.errors import EmbeddedPostgresError
from tlog.postgres.server import EmbeddedPostgres
from tlog.postgres.watch import Watch


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


def test_a_large_log_is_begun_anew_while_the_server_runs(server, directory, monkeypatch):
    """S18: the last 64 MB are kept; what the server says afterwards is at the new beginning."""
    monkeypatch.setattr("tlog.postgres.server._LARGEST_LOG", 4_096)
    log, before = directory / "postgres" / "postgres.log", directory / "postgres" / "postgres.log.1"

    def complain(times):
        with psycopg.connect(server.conninfo(), autocommit=True) as connection:
            for _ in range(times):
                with pytest.raises(psycopg.Error):
                    connection.execute("SELECT * FROM nowhere")

    with server:
        watch = Watch(server)
        watch.look()
        assert not before.exists(), "the control: it is still small"
        for _ in range(3):
            complain(100)
            said = log.read_bytes()
            assert len(said) > 4_096
            watch.look()
            assert before.read_bytes() == said
            assert log.stat().st_size == 0
        assert stat.S_IMODE(before.stat().st_mode) == 0o600
        complain(1)
        assert log.read_bytes().startswith(b"20"), "no hole of zeros where the old end was"
        assert not list((directory / "postgres").glob("*.new*"))


def test_a_log_that_another_process_cut_meanwhile_is_left(server, directory, monkeypatch):
    sizes = iter([1 << 30, 0])
    monkeypatch.setattr(server, "_log_size", lambda: next(sizes))
    server.rotate_log()
    assert not (directory / "postgres" / "postgres.log.1").exists()


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


def other_names(directory):
    """Return other names of the directory `postgres`: with dots, through a link to it, through a link to its parent."""
    (directory / "link").symlink_to("postgres")
    (directory / "parent").symlink_to(directory)
    return [
        directory / "postgres" / ".." / "postgres",
        directory / "link",
        directory / "parent" / "postgres",
    ]


def test_by_whatever_name_a_running_server_is_joined_and_left_alone(server, directory):
    with server:
        pid, files = server.postmaster(), (directory / "postgres" / "socket").iterdir()
        sockets = sorted(path.name for path in files)
        assert pid is not None
        for name in other_names(directory):
            other = EmbeddedPostgres(name)
            assert other.postmaster() == pid
            with other:
                assert ask(other) == "tlog"
            assert server.postmaster() == pid
            assert sorted(path.name for path in (directory / "postgres" / "socket").iterdir()) == sockets
            assert ask(server) == "tlog"
    assert server.postmaster() is None


def test_files_of_a_server_that_others_use_are_not_removed(server, directory, monkeypatch):
    """Even if the server is not recognised: PostgreSQL itself then refuses to start a second one."""
    with server:
        pid = server.postmaster()
        other = EmbeddedPostgres(directory / "postgres")
        monkeypatch.setattr(other, "postmaster", lambda: None)
        monkeypatch.setattr(other, "_answers", lambda: False)
        with pytest.raises(EmbeddedPostgresError, match=r"pg_ctl failed|ended while it started"):
            other.start()
        assert server.postmaster() == pid
        assert ask(server) == "tlog"


def test_the_own_lock_survives_the_attempt_to_convert_it(server, directory):
    with server:
        assert not server._is_used_by_others(), "its own lock is nobody else's"
        other = EmbeddedPostgres(directory / "postgres")
        assert other._is_used_by_others()
        with other:
            assert server._is_used_by_others()
            assert other._is_used_by_others()
        assert ask(server) == "tlog", "the one that left was not the last one"


def test_a_server_that_is_stopping_is_waited_for(server):
    with server:
        pid = server.postmaster()
        with psycopg.connect(server.conninfo()) as connection:
            # "Smart" waits for this session; meanwhile nobody is let in.
            os.kill(pid, signal.SIGTERM)
            time.sleep(0.3)
            ending = threading.Timer(0.7, connection.close)
            ending.start()
            server.start_again()
            assert server.runs()
            other = EmbeddedPostgres(server._directory)
            with other:
                assert ask(other) == "tlog"
                assert other.postmaster() != pid
            ending.join()


def test_a_server_that_is_told_to_stop_while_it_starts_is_started_again(server, monkeypatch):
    spawned = []
    real = server._spawn

    def spawn():
        size = real()
        spawned.append(size)
        if len(spawned) < 3:
            while (pid := server.postmaster()) is None:
                time.sleep(0.01)
            os.kill(pid, signal.SIGINT)
            while server.postmaster() is not None:
                time.sleep(0.01)
        return size

    monkeypatch.setattr(server, "_spawn", spawn)
    with server:
        assert ask(server) == "tlog"
    assert len(spawned) == 3
