"""`--database`: a PostgreSQL that is not ours, with passwords, over TCP, migrated by a role that is no superuser."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest
from support import ORIGIN, ROOT, sample_events, start_server, tlog

from tlog.postgres.server import EmbeddedPostgres
from tlog.postgres.user import server_user


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def binaries(kind, embedded):
    if kind == "embedded":
        return embedded.binary("initdb").parent
    system = shutil.which("initdb")
    if system is None or not (Path(system).parent / "postgres").exists():
        pytest.skip("no PostgreSQL server is installed on this machine")
    return Path(system).parent


@pytest.fixture(params=["system", "embedded"])
def cluster(request, directory):
    """A server with scram passwords on a TCP port of the loopback interface; yields (port, version)."""
    embedded = EmbeddedPostgres(directory / "unused")
    (directory / "unused").mkdir(mode=0o711)
    programs = binaries(request.param, embedded)
    version = int(
        subprocess.run([programs / "postgres", "--version"], capture_output=True, text=True, check=True)
        .stdout.split()[2]
        .split(".")[0]
    )
    if version < 15:
        pytest.skip(f"the PostgreSQL of this machine is {version}; tlog needs 15")
    as_user = server_user().options()
    data, port = directory / "theirs", free_port()
    data.mkdir(mode=0o700)
    server_user().give(data, directory=True)
    (directory / "password").write_text("super-secret\n")
    server_user().give(directory / "password")
    subprocess.run(
        [programs / "initdb", "-D", data, "-U", "dbadmin", "--auth=scram-sha-256", f"--pwfile={directory / 'password'}", "--data-checksums", "-E", "UTF8", "--locale=C"],
        check=True, capture_output=True, cwd="/", **as_user,
    )  # fmt: skip
    log = (directory / "their.log").open("w")
    server = subprocess.Popen(
        [programs / "postgres", "-D", data, "-p", str(port), "-h", "127.0.0.1", "-c", "unix_socket_directories="],
        stdout=log, stderr=log, cwd="/", **as_user,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while True:
        try:
            psycopg.connect(f"postgresql://dbadmin:super-secret@127.0.0.1:{port}/postgres").close()
            break
        except psycopg.OperationalError:
            assert time.monotonic() < deadline, (directory / "their.log").read_text()
            time.sleep(0.1)
    yield port, version
    server.terminate()
    server.wait(30)
    log.close()


def test_whole_way_on_a_database_of_ones_own(cluster, directory):
    port, _ = cluster
    with psycopg.connect(f"postgresql://dbadmin:super-secret@127.0.0.1:{port}/postgres", autocommit=True) as admin:
        admin.execute("CREATE ROLE keeper LOGIN CREATEROLE PASSWORD 'keep'")
        admin.execute("CREATE ROLE tlog_service LOGIN PASSWORD 'serve'")
        admin.execute("CREATE DATABASE audit OWNER keeper")
    database = ["--database", f"postgresql://tlog_service:serve@127.0.0.1:{port}/audit"]
    keeper = ["--admin-database", f"postgresql://keeper:keep@127.0.0.1:{port}/audit"]
    data = directory / "data"
    without = tlog("init", "--data", data, "--origin", ORIGIN, *database, check=False)
    assert without.returncode != 0
    assert "Traceback" not in without.stderr
    assert "serve@" not in without.stderr, "no password in messages"
    tlog("init", "--data", data, "--origin", ORIGIN, *database, *keeper)
    server = start_server(data, *database, token_options=keeper)
    server.append([json.loads(raw) for raw in sample_events(300)])
    server.seal()
    assert server.stop() == 0, server.said.read_text()
    report = json.loads(tlog("fsck", "--data", data, "--json", *database).stdout)
    assert (report["verdict"], report["checked"]["events"]) == ("verified", 300)
    with psycopg.connect(f"postgresql://tlog_service:serve@127.0.0.1:{port}/audit", autocommit=True) as service:
        for statement in ("UPDATE tlog.entry_run SET data = 'x'", "INSERT INTO tlog.api_key DEFAULT VALUES", "DROP TABLE tlog.leaf",
                          "ALTER TABLE tlog.leaf DISABLE TRIGGER ALL", "SET ROLE tlog_owner", "CREATE TABLE tlog.x ()"):  # fmt: skip
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                service.execute(statement)


def page(name, data):
    """Return a how-to page, with another data directory."""
    return (ROOT / "docs" / "how-to" / name).read_text(encoding="utf-8").replace("/var/lib/tlog", str(data))


@pytest.mark.parametrize("cluster", ["embedded"], indirect=True)
def test_commands_of_the_pages(cluster, directory):
    """What tools/run_docs.py cannot run without a server: made, dumped, and brought back where there is none of it."""
    programs, data = EmbeddedPostgres(directory / "unused").binary("psql").parent, directory / "data"
    # The host name of the page stays: PGHOSTADDR says where it is.
    environment = {
        **os.environ, "PATH": f"{Path(sys.executable).parent}:{programs}:{os.environ['PATH']}", "PGPORT": str(cluster[0]),
        "PGHOSTADDR": "127.0.0.1", "PGUSER": "dbadmin", "PGPASSWORD": "super-secret", "PGDATABASE": "postgres",
    }  # fmt: skip

    def bash(script):
        done = subprocess.run(["bash", "-e", "-c", script], env=environment, cwd=directory, capture_output=True, text=True, check=False)  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    (statements,) = re.findall(r"```sql\n(.*?)```", page("own-postgresql.md", data), re.DOTALL)
    bash(f"psql --set ON_ERROR_STOP=1 <<'END'\n{statements}\nEND")
    (make,) = re.findall(r"-->\n *```sh\n(.*?)```", page("own-postgresql.md", data), re.DOTALL)
    bash(f"{make}\ntlog import ndjson --data {data} {ROOT}/docs/samples/events.ndjson")
    (block,) = re.findall(r"-->\n```sh\n(.*?)```", page("back-up-and-restore.md", data), re.DOTALL)
    keep, back = block.split("# and back, on a cluster that has none of it:\n")
    bash(keep)
    roles = "audit_keeper, tlog_service, tlog_owner, tlog_appender, tlog_sealer, tlog_reader, tlog_eraser"
    bash(f'dropdb audit; psql --command "DROP ROLE {roles}"')
    bash(back)
    variables = "\n".join(line for line in make.splitlines() if "export" in line)
    assert "verified: everything agrees" in bash(f"{variables}\ntlog fsck --data {data}")


def test_unsafe_settings_of_ones_own_database_are_refused(cluster, directory):
    port, _ = cluster
    admin_url = f"postgresql://dbadmin:super-secret@127.0.0.1:{port}/audit"
    with psycopg.connect(f"postgresql://dbadmin:super-secret@127.0.0.1:{port}/postgres", autocommit=True) as admin:
        admin.execute("CREATE DATABASE audit")
        admin.execute("ALTER SYSTEM SET full_page_writes = off")
        admin.execute("SELECT pg_reload_conf()")
        before = admin.execute("SELECT rolname FROM pg_roles ORDER BY 1").fetchall()
    data = directory / "data"
    making = ("init",), ("serve", "--port", "0", "--create")
    for command in making:
        refused = tlog(
            *command, "--data", data, "--origin", ORIGIN, env={**os.environ, "TLOG_DATABASE": admin_url}, check=False
        )
        assert refused.returncode == 4
        assert "full_page_writes = off" in " ".join(refused.stderr.split())
        assert not data.exists(), "and nothing is left of the attempt"
    with psycopg.connect(admin_url) as admin:
        assert admin.execute("SELECT rolname FROM pg_roles ORDER BY 1").fetchall() == before
        assert admin.execute("SELECT count(*) FROM pg_namespace WHERE nspname = 'tlog'").fetchone() == (0,)


def test_a_database_that_is_away_is_no_traceback(directory):
    url = f"postgresql://nobody:x@127.0.0.1:{free_port()}/none"
    done = tlog("init", "--data", directory / "data", "--origin", ORIGIN, "--database", url, check=False)
    assert done.returncode == 75
    assert "Traceback" not in done.stderr
    assert "cannot be reached" in " ".join(done.stderr.split())
