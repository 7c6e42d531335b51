"""Upgrades: a log that an older version made goes on, and everything it ever signed still holds (gate R21).

`tests/upgrades/schema-<number>.sql` is what pg_dump wrote of a log of 36 events whose database had the migrations up to that
number; the file beside it has the log's anchor and keys. They are from then and are never made again.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import sql
from support import ROOT, fill

from tlog.checking.fsck import fsck
from tlog.core.checkpoint import open_checkpoint
from tlog.core.merkle import Frontier, leaf_hash
from tlog.errors import UnsafeDatabaseError
from tlog.lifecycle.making import create_log
from tlog.lifecycle.opening import open_log
from tlog.lifecycle.running import running
from tlog.location import DataDirectory, Location, utc_now
from tlog.signing.anchor import Anchor, Anchored
from tlog.signing.clock import CONFIRMATION
from tlog.storage.database import Database
from tlog.storage.migrate import migrations

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.anyio
UPGRADES = ROOT / "tests" / "upgrades"
VERSIONS = sorted(path.stem for path in UPGRADES.glob("*.sql"))


@pytest.fixture(params=VERSIONS)
def old(request, directory, postgres, template, monkeypatch) -> Iterator[Location]:
    """A log as an older version left it, so long ago that the clock has to be confirmed."""
    monkeypatch.setenv(CONFIRMATION, f"{utc_now():%Y-%m-%d}")
    document: dict[str, Any] = json.loads((UPGRADES / f"{request.param}.json").read_text(encoding="utf-8"))
    name = f"{request.param.replace('-', '_')}_{os.getpid()}"
    admin = postgres.conninfo(user="postgres", dbname=name)
    with psycopg.connect(postgres.conninfo(user="postgres", dbname="postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
        psql = [str(postgres.binary("psql")), "--quiet", "--no-psqlrc", "--set=ON_ERROR_STOP=1", "--dbname", admin]
        subprocess.run([*psql, "--file", str(UPGRADES / f"{request.param}.sql")], check=True, stdout=subprocess.DEVNULL)
        yield Location(_data(directory, document), postgres.conninfo(dbname=name), admin)
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def _data(directory, document):
    data = DataDirectory(directory / "data")
    data.create()
    for name, content in document["keys"].items():
        path = data.root / "keys" / name
        path.touch(mode=0o600)
        path.write_bytes(base64.b64decode(content))
    values = document["anchored"]
    for name in ("root", "chain_hash", "note"):
        values[name] = base64.b64decode(values[name])
    Anchor(data.anchor).create(Anchored(**values))
    return data


def roots(location):
    """Return (size, root computed from the rows, root that was signed) of every stored checkpoint, and all rows."""
    verifier = location.directory.verifier()
    with psycopg.connect(location.admin) as admin:
        rows = admin.execute(
            "SELECT index, event_id, entry, leaf_hash, chain_hash FROM tlog.leaf ORDER BY index"
        ).fetchall()
        notes = [note for (note,) in admin.execute("SELECT note FROM tlog.checkpoint ORDER BY size")]
    found = []
    for signed in (open_checkpoint(note, verifier) for note in notes):
        frontier = Frontier()
        frontier.extend([leaf_hash(entry) for _, _, entry, _, _ in rows[: signed.size]])
        found.append((signed.size, frontier.root(), signed.root))
    return found, rows


async def problems(location):
    directory, database = location.directory, Database(location.database)
    report = await fsck(database, directory.verifier(), directory.bucket_keys(), Anchor(directory.anchor).read)
    return report.problems


async def test_older_schema_is_upgraded_with_its_data(old):
    before = roots(old)
    assert len(before[0]) >= 3
    assert all(computed == signed for _, computed, signed in before[0])
    # A later version may miss tables here that the older one did not have; it may find nothing else.
    assert {problem.damage for problem in await problems(old)} <= {"schema"}
    with pytest.raises(UnsafeDatabaseError, match=r"lacks migration.*tlog init"):
        async with open_log(old):
            pass
    await create_log(old, "example.com/any")  # what `tlog init` does
    assert roots(old) == before, "an upgrade changes no entry, hash, eventId or checkpoint"
    assert await Database(old.database, old.admin).migrate() == [], "again there is nothing to do"
    async with open_log(old, interval=60) as log, running(log):
        for seed in (1, 2):
            report = await fsck(log.database, log.verifier, log.bucket_keys, Anchor(old.directory.anchor).read)
            assert (report.exit_code, report.problems) == (0, [])
            assert report.checked["disclosures"] >= 70, "personal data came along"
            await fill(log, 5, seed=seed)
    after = roots(old)
    assert after[0][: len(before[0])] == before[0]
    assert after[1][: len(before[1])] == before[1]


async def test_changed_row_would_be_noticed(old):
    """The control: the comparison above can fail."""
    before = roots(old)
    with psycopg.connect(old.admin, autocommit=True) as admin:
        admin.execute(
            "ALTER TABLE tlog.leaf DISABLE TRIGGER ALL; UPDATE tlog.leaf SET entry = entry || ' ' WHERE index = 3"
        )
    changed = roots(old)
    assert changed != before
    assert [computed == signed for _, computed, signed in changed[0]] == [size <= 3 for size, _, _ in changed[0]]


async def test_interrupted_upgrade_is_taken_up(old, monkeypatch):
    """Each migration is one transaction: what was applied stays, what was not is applied the next time."""
    last = migrations()[-1]
    broken = [*migrations()[:-1], last._replace(statements=f"{last.statements}; SELECT 1 / 0")]
    with monkeypatch.context() as patch:
        patch.setattr("tlog.storage.migrate.migrations", lambda: broken)
        with pytest.raises(psycopg.errors.DivisionByZero):
            await create_log(old, "example.com/any")
    with pytest.raises(UnsafeDatabaseError, match=f"lacks migration {last.number:04d}"):
        async with open_log(old):
            pass
    await create_log(old, "example.com/any")
    async with open_log(old):
        pass


async def test_newer_database_is_left_alone_by_an_older_version(old, monkeypatch):
    """Going back is refused, not tried: see docs/how-to/upgrade.md."""
    await create_log(old, "example.com/any")
    known = migrations()[:2]
    monkeypatch.setattr("tlog.storage.migrate.migrations", lambda: known)
    with pytest.raises(UnsafeDatabaseError, match="run a newer tlog"):
        await create_log(old, "example.com/any")
