"""R20: a database that cannot keep the log's promises is refused before anything is served, with what to do about it."""

from __future__ import annotations

import subprocess
import time

import pytest
from unsafe_settings import IN_THE_DATABASE, IN_THE_SERVER

from tlog.errors import UnsafeDatabaseError
from tlog.postgres.server import EmbeddedPostgres
from tlog.postgres.user import server_user
from tlog.storage.database import Database

pytestmark = pytest.mark.anyio


async def test_r20_the_control_is_accepted(database):
    await Database(database.service, database.admin).check()


@pytest.mark.parametrize("commit", ["on", "remote_apply"])
async def test_r20_commits_that_wait_are_accepted(database, commit):
    with database.connect_admin() as admin:
        name = admin.info.dbname
        admin.execute(f"ALTER DATABASE {name} SET synchronous_commit = {commit}")
    await Database(database.service, database.admin).check()


@pytest.mark.parametrize("name", IN_THE_DATABASE)
async def test_r20_refuses(database, name):
    statements, message = IN_THE_DATABASE[name]
    with database.connect_admin() as admin:
        admin.execute(statements)
    with pytest.raises(UnsafeDatabaseError, match=message):
        await Database(database.service, database.admin).check()


def settle(database, statement):
    """Run a statement and let the server take in its configuration, which it does in its own time."""
    with database.connect_admin() as admin:
        admin.execute(statement)
        admin.execute("SELECT pg_reload_conf()")
    time.sleep(0.2)


@pytest.mark.parametrize("name", IN_THE_SERVER)
async def test_r20_refuses_a_server(database, name):
    statement, undo, message = IN_THE_SERVER[name]
    settle(database, statement)
    try:
        with pytest.raises(UnsafeDatabaseError, match=message):
            await Database(database.service, database.admin).check()
    finally:
        settle(database, undo)
    await Database(database.service, database.admin).check()


async def test_r20_refuses_trust(postgres, database):
    rules = postgres._cluster / "pg_hba.conf"
    before = rules.read_text()
    rules.write_text(before + "# a forgotten line\nhost all all 127.0.0.1/32 trust\n")
    settle(database, "SELECT 1")
    try:
        with pytest.raises(UnsafeDatabaseError, match=r"line 5 of .*pg_hba\.conf lets users in without a password"):
            await Database(database.service, database.admin).check()
        await Database(database.service).check()  # the service itself may not see the rules, so it cannot tell
    finally:
        rules.write_text(before)
        settle(database, "SELECT 1")


async def test_r20_refuses_a_connection_that_lost_its_options(database, monkeypatch):
    """As behind a pooler that drops them."""
    monkeypatch.setattr("tlog.storage.database._as_role", lambda conninfo, _: conninfo)
    with pytest.raises(UnsafeDatabaseError, match="a connection acts as tlog with search_path"):
        await Database(database.service, database.admin).check()


async def test_r20_refuses_a_cluster_without_checksums(directory):
    server = EmbeddedPostgres(directory / "postgres")
    server.create()

    def checksums(switch):
        command = [server.binary("pg_checksums"), switch, "--pgdata", directory / "postgres" / "cluster"]
        subprocess.run(command, check=True, capture_output=True, cwd="/", **server_user().options())

    database = Database(server.conninfo(), server.conninfo(user="postgres"))
    checksums("--disable")
    with server:
        await database.migrate()
        with pytest.raises(UnsafeDatabaseError, match=r"data_checksums = off: .* run pg_checksums --enable"):
            await database.check()
    checksums("--enable")
    with server:
        await database.check()


async def test_a_privilege_that_is_missing_is_named(database):
    with database.connect_admin() as admin:
        admin.execute("REVOKE SELECT ON public.tlog_migration FROM PUBLIC")
    with pytest.raises(UnsafeDatabaseError, match=r"refuses tlog's role a privilege it needs .*tlog_migration"):
        await Database(database.service, database.admin).check()


async def test_a_standby_that_commits_do_not_wait_for_is_refused(database, request):
    log = Database(database.service, database.admin)
    await log.check_standbys()
    with database.connect_admin() as admin:
        admin.execute("SELECT pg_create_physical_replication_slot('a_standby')")
        try:
            with pytest.raises(UnsafeDatabaseError, match=r"PostgreSQL has a standby.*--accept-loss-on-failover"):
                await log.check_standbys()
            request.getfixturevalue("standby_away")
            await log.check_standbys()
        finally:
            admin.execute("SELECT pg_drop_replication_slot('a_standby')")
