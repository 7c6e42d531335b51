"""Making and opening a log: what belongs together, and every refusal with its exit code and advice."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import sqlite3
import stat
import subprocess
from pathlib import Path

import psycopg
import pytest
from support import ORIGIN, fill, sample_events, tlog

from tlog.core.note import parse_skey
from tlog.errors import (
    AnchorMissingError,
    DamagedLogError,
    ForkError,
    KeyMismatchError,
    MalformedInputError,
    OperatorError,
    RollbackError,
    UnsafeDatabaseError,
)
from tlog.lifecycle.making import create_log
from tlog.lifecycle.opening import open_log
from tlog.lifecycle.running import running
from tlog.location import DataDirectory, Location
from tlog.signing.anchor import Anchor
from tlog.storage.database import Database
from tlog.storage.migrate import migrations

pytestmark = pytest.mark.anyio


async def test_creating_twice_is_creating_once(location):
    first = await create_log(location, ORIGIN)
    again = await create_log(location, ORIGIN)
    assert first == again
    async with open_log(location) as log:
        assert (await log.reader.state()).size == 1


@pytest.mark.parametrize("crash_after", ["keys", "migration", "anchor"])
async def test_interrupted_creation_is_completed(location, monkeypatch, crash_after):
    target = {
        "keys": "tlog.lifecycle.opening.Database.migrate",
        "migration": "tlog.lifecycle.making._create_anchor",
        "anchor": "tlog.lifecycle.making._append_first_entry",
    }[crash_after]

    async def crash(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(target, crash)
        with pytest.raises(KeyboardInterrupt):
            await create_log(location, ORIGIN)
    await create_log(location, ORIGIN)
    async with open_log(location) as log, running(log):
        await fill(log, 2)


async def test_secrets_are_closed_to_others(location):
    await create_log(location, ORIGIN)
    keys = location.directory.root / "keys"
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in keys.iterdir()}
    assert modes == {"log.skey": 0o400, "index.keys": 0o400, "pepper": 0o400, "log.vkey": 0o444}
    assert stat.S_IMODE(keys.stat().st_mode) == 0o700
    assert stat.S_IMODE(location.directory.anchor.parent.stat().st_mode) == 0o700
    assert parse_skey((keys / "log.skey").read_text().strip()).verifier == location.directory.verifier()


def written_by_others(location):
    location.directory.root.chmod(0o777)


def written_by_the_group(location):
    (location.directory.root / "keys").chmod(0o770)


def anchor_written_by_others(location):
    location.directory.anchor.parent.chmod(0o702)


@pytest.mark.parametrize("damage", [written_by_others, written_by_the_group, anchor_written_by_others])
async def test_a_directory_that_others_can_write_is_refused(location, damage):
    """S23: whoever can write it can put another key, anchor or database in place."""
    await create_log(location, ORIGIN)
    location.directory.check()  # the control
    damage(location)
    for refused in (open_log(location).__aenter__, lambda: create_log(location)):
        with pytest.raises(OperatorError, match="can be written by other users") as caught:
            await refused()
        assert caught.value.exit_code == 4


async def test_a_directory_or_a_key_of_somebody_else_is_refused(location, monkeypatch):
    """S23: whoever owns a file can change it, whatever its mode says."""
    await create_log(location, ORIGIN)
    me = os.geteuid()
    owner = {"root": me, "key": me}
    real = Path.stat

    def stat_of(path, **options):
        found = real(path, **options)
        whose = {location.directory.root: "root", location.directory.root / "keys" / "log.skey": "key"}.get(path)
        return found if whose is None else os.stat_result((*found[:4], owner[whose], *found[5:]))

    monkeypatch.setattr(Path, "stat", stat_of)
    location.directory.check()
    location.directory.signing_key()
    owner["root"] = me + 1
    with pytest.raises(OperatorError, match=f"belongs to the user number {me + 1}.*run tlog as the owner"):
        location.directory.check()
    owner["key"] = me + 1
    with pytest.raises(OperatorError, match=r"log\.skey belongs to the user number"):
        location.directory.signing_key()
    owner.update(root=0, key=0)
    location.directory.check()
    assert location.directory.signing_key().verifier == location.directory.verifier(), "root may do anything anyway"


async def test_bad_origin_is_refused_before_anything_is_made(location):
    with pytest.raises(MalformedInputError, match="key name"):
        await create_log(location, "two words")
    assert not location.directory.has_signing_key()


async def make(location, count=3):
    await create_log(location, ORIGIN)
    async with open_log(location, interval=60, index=False) as log, running(log):  # an epoch would be one more entry
        await fill(log, count)


def drop_anchor(location, _):
    location.directory.anchor.unlink()


def damage_anchor(location, _):
    for path in location.directory.anchor.parent.iterdir():
        path.write_bytes(b"x" * 5000)


def older_anchor(location, _):
    with sqlite3.connect(location.directory.anchor) as connection:
        connection.execute("UPDATE anchor SET size = 1, sealed_at = 1, note = x''")


def edited_anchor(location, _):
    with sqlite3.connect(location.directory.anchor) as connection:
        connection.execute("UPDATE anchor SET root = zeroblob(32)")


def renamed_anchor(location, _):
    with sqlite3.connect(location.directory.anchor) as connection:
        connection.execute("UPDATE anchor SET origin = 'example.com/other'")


def later_anchor(location, _):
    with sqlite3.connect(location.directory.anchor) as connection:
        connection.execute("UPDATE anchor SET sealed_at = sealed_at + 1")


def foreign_anchor(location, _):
    with sqlite3.connect(location.directory.anchor) as connection:
        note = connection.execute("SELECT note FROM anchor").fetchone()[0]
        connection.execute("UPDATE anchor SET note = ?", (note.replace(b"example.com", b"example.org"),))


def other_key(location, _):
    key = location.directory.root / "keys" / "log.skey"
    other = DataDirectory(location.directory.root / "other")
    other.create()
    other.create_keys("example.com/other")
    key.unlink()
    shutil.copy(other.root / "keys" / "log.skey", key)


def other_key_same_name(location, _):
    other = DataDirectory(location.directory.root / "other")
    other.create()
    other.create_keys(ORIGIN)
    key = location.directory.root / "keys" / "log.skey"
    key.unlink()
    shutil.copy(other.root / "keys" / "log.skey", key)


def open_key(location, _):
    (location.directory.root / "keys" / "log.skey").chmod(0o444)


def no_key(location, _):
    (location.directory.root / "keys" / "log.skey").unlink()


def broken_key(location, _):
    key = location.directory.root / "keys" / "log.skey"
    key.chmod(0o600)
    key.write_text("PRIVATE+KEY+nonsense")
    key.chmod(0o400)


def other_bucket_keys(location, _):
    path = location.directory.root / "keys" / "index.keys"
    path.chmod(0o600)
    path.write_bytes(bytes(path.stat().st_size))
    path.chmod(0o400)


def short_bucket_keys(location, _):
    path = location.directory.root / "keys" / "index.keys"
    path.chmod(0o600)
    path.write_bytes(bytes(99))
    path.chmod(0o400)


def sql(statement):
    def damage(_, database):
        with database.connect_admin() as admin:
            admin.execute(statement)

    return damage


OFF = "ALTER TABLE tlog.leaf DISABLE TRIGGER ALL; ALTER TABLE tlog.checkpoint DISABLE TRIGGER ALL; "
ON = ("; ALTER TABLE tlog.leaf ENABLE ALWAYS TRIGGER append_only"
      "; ALTER TABLE tlog.checkpoint ENABLE ALWAYS TRIGGER append_only")  # fmt: skip
REFUSALS = {
    "anchor missing": (drop_anchor, AnchorMissingError, "no anchor"),
    "anchor damaged": (damage_anchor, AnchorMissingError, "cannot be read"),
    "anchor older than the database": (older_anchor, ForkError, "Bring back the newest anchor"),
    "anchor edited": (edited_anchor, ForkError, "differ; bring back"),
    "anchor under another name": (renamed_anchor, ForkError, "names another log"),
    "anchor of another time": (later_anchor, ForkError, "different checkpoints"),
    "anchor of another log": (foreign_anchor, ForkError, "does not open.*bring back"),
    "key of another log": (other_key, KeyMismatchError, "belongs to the log"),
    "another key of the same name": (other_key_same_name, ForkError, "does not open with this log's key"),
    "key readable by others": (open_key, KeyMismatchError, "chmod 0400"),
    "key missing": (no_key, KeyMismatchError, "bring back"),
    "key broken": (broken_key, KeyMismatchError, "not a signing key"),
    "other bucket keys": (other_bucket_keys, KeyMismatchError, "not what entry 0 commits to"),
    "bucket keys cut": (short_bucket_keys, KeyMismatchError, "incomplete"),
    "database that lags": (sql(OFF + "DELETE FROM tlog.leaf WHERE index > 1; UPDATE tlog.log_state SET size = 2;"
                            "DELETE FROM tlog.checkpoint WHERE size > 2" + ON), RollbackError, "ROLLBACK db=2 anchor=4"),
    "checkpoint replaced": (sql(OFF + "UPDATE tlog.checkpoint SET note = note || '' || E'\\\\x0a'::bytea WHERE size = 4" + ON),
                            ForkError, "different checkpoints"),
    "trigger gone": (sql("DROP TRIGGER append_only ON tlog.leaf"), UnsafeDatabaseError, "append_only on tlog.leaf"),
    "trigger off in replica mode": (sql("ALTER TABLE tlog.leaf ENABLE TRIGGER append_only"), UnsafeDatabaseError, "append_only"),
    "trigger added": (sql("CREATE FUNCTION public.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
                          "CREATE TRIGGER extra BEFORE INSERT ON tlog.leaf FOR EACH ROW EXECUTE FUNCTION public.f()"),
                      UnsafeDatabaseError, "trigger extra"),
    "table replaced by a view": (sql("ALTER TABLE tlog.tile RENAME TO tile_; CREATE VIEW tlog.tile AS SELECT * FROM tlog.tile_"),
                                 UnsafeDatabaseError, "tlog.tile"),
    "rows filtered": (sql("ALTER TABLE tlog.leaf ENABLE ROW LEVEL SECURITY"), UnsafeDatabaseError, "row security"),
    "migration unknown": (sql("INSERT INTO public.tlog_migration VALUES (9999, 'later', 'x', now())"), UnsafeDatabaseError,
                          "run a newer tlog"),
    "migration changed": (sql("UPDATE public.tlog_migration SET digest = 'x'"), UnsafeDatabaseError, "do not edit"),
    "migration missing": (sql("DELETE FROM public.tlog_migration"), UnsafeDatabaseError, "run 'tlog init'"),
}  # fmt: skip


@pytest.mark.parametrize("damage", REFUSALS)
async def test_open_refuses(location, database, damage):
    """Threats 10, 11, 20, 21, 24, 33; gate R5: each with its own words."""
    action, error, message = REFUSALS[damage]
    await make(location)
    action(location, database)
    with pytest.raises(error, match=message) as caught:
        async with open_log(location):
            pass
    assert caught.value.exit_code == error.exit_code
    assert isinstance(caught.value, OperatorError)


async def test_exit_codes_tell_refusals_apart():
    kinds = (RollbackError, AnchorMissingError, ForkError, KeyMismatchError, DamagedLogError, UnsafeDatabaseError)
    codes = [kind.exit_code for kind in kinds]
    assert len(set(codes)) == len(codes)
    assert min(codes) > 3, "0 to 3 are verdicts of verification"


async def test_creating_never_hides_a_loss(location, database):
    await make(location)
    location.directory.anchor.unlink()
    with pytest.raises(AnchorMissingError, match="no anchor for them"):
        await create_log(location, ORIGIN)
    assert not Anchor(location.directory.anchor).exists()


async def test_creating_with_the_anchor_but_without_the_key_is_refused(location):
    await make(location)
    no_key(location, None)
    with pytest.raises(KeyMismatchError, match=r"bring back keys/log\.skey"):
        await create_log(location, ORIGIN)


async def test_setting_that_loses_commits_is_refused(location, database):
    await make(location)
    with database.connect_admin() as admin:
        admin.execute("ALTER ROLE tlog SET synchronous_commit = off")
    try:
        with pytest.raises(UnsafeDatabaseError, match="synchronous_commit"):
            async with open_log(location):
                pass
    finally:
        with database.connect_admin() as admin:
            admin.execute("ALTER ROLE tlog RESET synchronous_commit")


async def test_roles_can_do_what_they_must_and_nothing_else(location, database):
    """Least privilege: what each role may do, asked of PostgreSQL itself."""
    await make(location)
    expected = {
        "tlog_appender": {
            **dict.fromkeys(("disclosure_run", "entry_run", "intake", "leaf"), "INSERT SELECT"), "dead_letter": "INSERT",
            "log_state": "SELECT UPDATE",
        },
        "tlog_sealer": {
            **dict.fromkeys(("checkpoint", "cosignature", "witness_policy"), "INSERT SELECT"),
            **dict.fromkeys(("entry_run", "leaf", "log_state"), "SELECT"),
            "tile": "INSERT SELECT UPDATE",
        },
        "tlog_indexer": {
            **dict.fromkeys(("checkpoint", "cosignature", "entry_run", "leaf", "log_state", "witness_policy"), "SELECT"),
            **dict.fromkeys(("explanation", "index_epoch", "index_run", "index_segment", "index_tile"), "DELETE INSERT SELECT"),
        },
        "tlog_reader": dict.fromkeys(
            ("api_key", "checkpoint", "cosignature", "dead_letter", "disclosure_run", "entry_run", "intake", "explanation", "index_epoch", "index_run",
             "index_segment", "index_tile", "leaf", "log_state", "session", "tile", "witness_policy"), "SELECT"
        ),
        "tlog_authenticator": {"session": "DELETE INSERT SELECT"},
        "tlog_eraser": {"dead_letter": "SELECT", "disclosure_run": "SELECT"},
    }  # fmt: skip
    query = """
        SELECT grantee, table_name, string_agg(privilege_type, ' ' ORDER BY privilege_type)
        FROM information_schema.table_privileges
        WHERE table_schema = 'tlog' AND grantee LIKE 'tlog%' AND grantee <> 'tlog_owner' AND table_name !~ '_[0-9]+$'
        GROUP BY 1, 2
    """
    found: dict[str, dict[str, str]] = {}
    with database.connect_admin() as admin:
        for role, table, privileges in admin.execute(query):
            found.setdefault(role, {})[table] = privileges
        assert found == expected
        roles = admin.execute("SELECT rolname FROM pg_roles WHERE rolname LIKE 'tlog_%' AND (rolcanlogin OR rolsuper)")
        assert roles.fetchall() == []


WIDTH = 1 << 22  # indexes in a partition


@pytest.mark.parametrize(
    "size, made, refused",
    [
        (
            1,
            (0, 5_000, WIDTH - 1, WIDTH, 2 * WIDTH - 1),
            (2 * WIDTH, 700 * WIDTH, (1 << 63) - 1, -WIDTH, -(1 << 63), None),
        ),
        (5 * WIDTH, (5 * WIDTH, 6 * WIDTH), (3 * WIDTH, 4 * WIDTH, 7 * WIDTH)),
        (6 * WIDTH - 1, (6 * WIDTH - 1, 6 * WIDTH + 5_000), (7 * WIDTH,)),
    ],
)
async def test_the_appender_makes_partitions_at_the_end_of_the_log_only(location, database, size, made, refused):
    """S22: else whoever has the service's login fills the catalog with tables; the control is the same call nearer by."""
    await make(location)
    with database.connect_admin() as admin:
        admin.execute("UPDATE tlog.log_state SET size = %s", (size,))
        admin.execute("SET ROLE tlog_appender")
        for index in refused:
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="no partitions so far from its end"):
                admin.execute("SELECT * FROM tlog.ensure_partitions(%s::bigint)", (index,))
        for index in made:
            end = admin.execute("SELECT * FROM tlog.ensure_partitions(%s::bigint)", (index,)).fetchone()[0]
            assert index < end <= index + WIDTH


@pytest.mark.parametrize(
    "statement",
    ["UPDATE tlog.leaf SET leaf_hash = 'x'", "DELETE FROM tlog.leaf", "UPDATE tlog.entry_run SET data = 'x'",
     "UPDATE tlog.entry_run_0 SET data = 'x'", "DELETE FROM tlog.entry_run_0", "TRUNCATE tlog.entry_run_0", "TRUNCATE tlog.entry_run",
     "DELETE FROM tlog.disclosure_run", "DELETE FROM tlog.disclosure_run_0", "TRUNCATE tlog.disclosure_run_0",
     "UPDATE tlog.disclosure_run SET first = 1", "UPDATE tlog.disclosure_run_0 SET part = 1", "UPDATE tlog.disclosure_run SET count = 2",
     "TRUNCATE tlog.leaf", "DELETE FROM tlog.checkpoint", "UPDATE tlog.checkpoint SET note = 'x'", "DELETE FROM tlog.tile", "UPDATE tlog.tile SET hashes = sha256('x')"],
)  # fmt: skip
@pytest.mark.parametrize("mode", ["origin", "replica"])
async def test_append_only_holds_for_the_superuser_and_in_replica_mode(location, database, statement, mode):
    await make(location)
    with database.connect_admin() as admin:
        admin.execute(f"SET session_replication_role = {mode}")
        with pytest.raises(Exception, match=r"append-only|only grows|keeps its runs"):
            admin.execute(statement)


async def test_migrations_are_numbered_and_applied_once(database):
    assert [migration.number for migration in migrations()] == list(range(1, len(migrations()) + 1))
    assert await Database(database.service, database.admin).migrate() == [], "a second run applies nothing"


async def test_two_databases_of_one_cluster_keep_apart(location, database, directory, postgres, template):
    await make(location)
    other = Location(DataDirectory(directory / "other"), database.service, database.admin)
    with pytest.raises(OperatorError):
        await create_log(other, "example.com/other")


def test_refusals_on_the_command_line_say_what_to_do(directory):
    """A restored older copy and a deleted database: `serve` ends with exit code 5 and advice."""
    data = directory / "data"
    events = directory / "events.ndjson"
    events.write_bytes(b"\n".join(sample_events(50)))
    tlog("init", "--data", data, "--origin", ORIGIN)
    tlog("import", "ndjson", events, "--data", data)
    cluster, copy = data / "postgres" / "cluster", directory / "copy"
    subprocess.run(["cp", "-a", cluster, copy], check=True)
    events.write_bytes(b"\n".join(sample_events(50, seed=2)))
    done = tlog("import", "ndjson", events, "--data", data, "--json")
    signed = json.loads(done.stdout)
    assert (signed["events"], signed["appended"], signed["duplicates"]) == (50, 50, 0)
    shutil.rmtree(cluster)
    subprocess.run(["cp", "-a", copy, cluster], check=True)
    for command in (["serve", "--port", "0"], ["import", "ndjson", events]):
        refused = tlog(*command, "--data", data, check=False)
        assert refused.returncode == 5
        held, anchored = map(int, re.search(r"ROLLBACK db=(\d+) anchor=(\d+)", refused.stderr).groups())
        assert 51 <= held < 101 <= signed["size"] <= anchored
        assert "Bring back the newest copy of the database" in " ".join(refused.stderr.split())
    shutil.rmtree(cluster)
    for command in (["serve", "--port", "0"], ["init"]):
        refused = tlog(*command, "--data", data, check=False)
        assert refused.returncode == 5
        assert "Bring back the newest copy" in " ".join(refused.stderr.split())
    assert not cluster.exists(), "nothing was silently made anew"


async def test_waiting_for_a_seal_ends(location):
    await create_log(location, ORIGIN)
    async with open_log(location, interval=60) as log:
        with pytest.raises(Exception, match="was not sealed within"):
            await log.wait_sealed(5, 0.2)
        await asyncio.sleep(0)
