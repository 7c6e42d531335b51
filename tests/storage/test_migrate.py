"""Upgrades: a log that an older version made goes on, and everything it ever signed still holds (gate R21).

The older version is this one, and the newer one is this one with migrations that come after all of its own: what is tested is the
machinery, and that it changes no entry. Whoever adds a migration adds a log that the version before it has made.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg
import pytest
from stored import change_entry, read_entries
from support import ORIGIN, fill

from tlog.checking.fsck import fsck
from tlog.core.checkpoint import open_checkpoint
from tlog.core.merkle import Frontier, leaf_hash
from tlog.errors import UnsafeDatabaseError
from tlog.lifecycle.making import create_log
from tlog.lifecycle.opening import open_log
from tlog.lifecycle.running import running
from tlog.signing.anchor import Anchor
from tlog.storage.database import Database
from tlog.storage.migrate import Migration, migrations

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.anyio
OURS = migrations()
LAST = OURS[-1].number
LATER = [
    Migration(LAST + 1, "later_table", "CREATE TABLE tlog.later (index bigint); ALTER TABLE tlog.later OWNER TO tlog_owner"),
    Migration(LAST + 2, "later_columns", "ALTER TABLE tlog.disclosure_run ADD COLUMN more bytea; DROP TABLE tlog.later"),
]  # fmt: skip
BROKEN = LATER[1]._replace(statements=f"{LATER[1].statements}; SELECT 1 / 0")


@contextmanager
def version(known: Sequence[Migration]):
    """Be the version that has these migrations."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tlog.storage.migrate.migrations", lambda: list(known))
        yield


@pytest.fixture
async def old(opened, location):
    """A log of an older version: 36 events, three checkpoints."""
    async with opened() as log:
        for seed in range(3):
            await fill(log, 12, seed=seed)
    return location


def roots(location):
    """Return (size, root computed from the rows, root that was signed) of every stored checkpoint, and all rows."""
    verifier = location.directory.verifier()
    with psycopg.connect(location.admin) as admin:
        leaves = admin.execute("SELECT index, event_id, leaf_hash, chain_hash FROM tlog.leaf ORDER BY index").fetchall()
        rows = list(zip(leaves, read_entries(admin), strict=True))
        notes = [note for (note,) in admin.execute("SELECT note FROM tlog.checkpoint ORDER BY size")]
    found = []
    for signed in (open_checkpoint(note, verifier) for note in notes):
        frontier = Frontier()
        frontier.extend([leaf_hash(entry) for _, entry in rows[: signed.size]])
        found.append((signed.size, frontier.root(), signed.root))
    return found, rows


async def check(location):
    directory = location.directory
    return await fsck(
        Database(location.database), directory.verifier(), directory.bucket_keys(), Anchor(directory.anchor).read
    )


async def test_older_schema_is_upgraded_with_its_data(old):
    before = roots(old)
    assert len(before[0]) >= 3
    assert all(computed == signed for _, computed, signed in before[0])
    with version([*OURS, *LATER]):
        with pytest.raises(UnsafeDatabaseError, match=rf"lacks migration {LATER[0].number:04d}.*tlog init"):
            async with open_log(old):
                pass
        await create_log(old, ORIGIN)  # what `tlog init` does
        assert roots(old) == before, "an upgrade changes no entry, hash, eventId or checkpoint"
        assert await Database(old.database, old.admin).migrate() == [], "again there is nothing to do"
        async with open_log(old, interval=60) as log, running(log):
            for seed in (11, 12):
                report = await check(old)
                assert (report.exit_code, report.problems) == (0, [])
                assert report.checked["disclosures"] >= 72, "personal data came along"
                await fill(log, 5, seed=seed)
    after = roots(old)
    assert after[0][: len(before[0])] == before[0]
    assert after[1][: len(before[1])] == before[1]


async def test_changed_row_would_be_noticed(old):
    """The control: the comparison above can fail."""
    before = roots(old)
    with psycopg.connect(old.admin, autocommit=True) as admin:
        change_entry(admin, 3, lambda entry: entry + b" ")
    changed = roots(old)
    assert changed != before
    assert [computed == signed for _, computed, signed in changed[0]] == [size <= 3 for size, _, _ in changed[0]]


async def test_migrations_are_applied_in_their_order_and_named(database):
    base = Database(database.service, database.admin)
    with version([*OURS, *LATER]):
        assert await base.migrate() == ["later_table", "later_columns"]
        assert await base.migrate() == []


async def test_interrupted_upgrade_is_taken_up(old):
    """Each migration is one transaction: what was applied stays, what was not is applied the next time."""
    with version([*OURS, LATER[0], BROKEN]), pytest.raises(psycopg.errors.DivisionByZero):
        await create_log(old, ORIGIN)
    with version([*OURS, *LATER]):
        with pytest.raises(UnsafeDatabaseError, match=f"lacks migration {LATER[1].number:04d}"):
            async with open_log(old):
                pass
        await create_log(old, ORIGIN)
        async with open_log(old):
            pass
        assert (await check(old)).exit_code == 0


async def test_another_file_of_the_same_number_is_refused(old):
    with version([*OURS, *LATER]):
        await create_log(old, ORIGIN)
    edited = LATER[1]._replace(statements=f"{LATER[1].statements} ")
    with version([*OURS, LATER[0], edited]), pytest.raises(UnsafeDatabaseError, match="do not edit"):
        await create_log(old, ORIGIN)


async def test_newer_database_is_left_alone_by_an_older_version(old):
    """Going back is refused, not tried: see docs/how-to/upgrade.md."""
    with version([*OURS, *LATER]):
        await create_log(old, ORIGIN)
    with pytest.raises(UnsafeDatabaseError, match="run a newer tlog"):
        await create_log(old, ORIGIN)
