"""Recovery from a mirror: exactly what was signed comes back, or nothing changes."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import psycopg
import pytest
from mirrors import files_below, serving, write_mirror
from psycopg import sql
from stored import change_entry, disclosed_groups, erase, read_disclosed, read_entries, tamper, unguarded
from streams import STREAM, opening, release, taken, taking
from support import ORIGIN, ROOT, TestDatabase, append, fill, rich_events, sample_events, tlog

from tlog.answering.export import export_static
from tlog.checking.fsck import fsck
from tlog.checking.mirror import open_mirror
from tlog.core.canonical import canonical
from tlog.core.chain import chain_hash
from tlog.core.checkpoint import open_checkpoint
from tlog.core.entry import parse_entry
from tlog.core.making.drafts import draft_index_keys
from tlog.core.merkle import leaf_hash
from tlog.core.note import Signer
from tlog.core.outcome import Lost as LostEntries
from tlog.core.pseudonym import public_text
from tlog.core.strict import encode_base64, parse_base64
from tlog.errors import (
    DamagedLogError,
    ForkError,
    MalformedInputError,
    NotCheckedError,
    OperatorError,
    RollbackError,
    UnsafeDatabaseError,
    VerificationError,
)
from tlog.keeping import recover as module
from tlog.keeping.recover import Recovered, recover
from tlog.lifecycle.making import create_log
from tlog.lifecycle.opening import database_to_recover, open_log
from tlog.lifecycle.running import running
from tlog.location import DataDirectory, Location
from tlog.signing.anchor import Anchor
from tlog.storage.database import Database
from tlog.storage.intake import Taken
from tlog.storage.reading import ReadStore
from tlog.storage.sealing import SealStore

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio
SIZE = 700  # bundles of 256, 256 and 188 entries
COPIES = (1, 257, 512)
_numbers = itertools.count()


@dataclass
class Lost:
    """A log whose database was copied at several sizes and then lost, and a mirror of all of it."""

    data: Path
    mirror: Path
    copies: dict[int, str]
    cluster: TestDatabase

    def location(self, copy: str) -> Location:
        service, admin = (
            text.replace("dbname=postgres", f"dbname={copy}") for text in (self.cluster.service, self.cluster.admin)
        )
        return Location(DataDirectory(self.data), service, admin)

    @contextlib.contextmanager
    def restored(self, size: int):
        """Yield the location of the log on a copy of its database of `size` entries; 0 for an empty one."""
        name = f"restored_{os.getpid()}_{next(_numbers)}"
        create = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        with psycopg.connect(self.cluster.admin, autocommit=True) as admin:
            admin.execute(create.format(sql.Identifier(name), sql.Identifier(self.copies.get(size, "template0"))))
            yield self.location(name)
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture(scope="module")
def lost(postgres, template, module_directory):
    cluster = TestDatabase(postgres.conninfo(dbname="postgres"), postgres.conninfo(user="postgres", dbname="postgres"))
    lost = Lost(module_directory / "data", module_directory / "mirror", {}, cluster)
    original = f"lost_{os.getpid()}"
    create = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
    with psycopg.connect(cluster.admin, autocommit=True) as admin:
        admin.execute(create.format(sql.Identifier(original), sql.Identifier(template)))
        location = lost.location(original)
        asyncio.run(create_log(location, ORIGIN))
        for size in (*COPIES, SIZE):
            asyncio.run(_grow(location, size, lost.mirror))
            if size < SIZE:
                name = lost.copies[size] = f"{original}_{size}"
                admin.execute(create.format(sql.Identifier(name), sql.Identifier(original)))
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(original)))
        yield lost
        for name in lost.copies.values():
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


async def _grow(location, size, mirror):
    """Append until there are `size` entries, the last few of them pending for a moment before they are sealed."""
    async with open_log(location, interval=60, index=False) as log, running(log):
        if missing := size - (await log.reader.state()).size:
            await append(log, rich_events(missing, seed=size))
        checkpoint = await log.wait_sealed(size - 1, 10)
        if size == SIZE:
            await export_static(log.reader, mirror, checkpoint)


async def recovering(location, mirror, *, new=False, dry_run=False, progress=lambda *_: None):
    directory = location.directory
    async with database_to_recover(location, new=new) as database:
        with open_mirror(str(mirror)) as source:
            return await recover(
                database,
                source,
                Anchor(directory.anchor).read,
                directory.verifier(),
                dry_run=dry_run,
                progress=progress,
            )


async def check(location, *, start=None, missing=()):
    """Everything agrees, the log goes on, and everything agrees again; what was lost from `start` on is explained."""
    async with open_log(location, interval=60) as log, running(log):
        for count in (0, 5):
            if count:
                await fill(log, count, seed=99)
            report = await fsck(log.database, log.verifier, log.bucket_keys, Anchor(location.directory.anchor).read)
            assert [(each.damage, each.place.start) for each in report.problems] == [("MISSING", at) for at in missing]
            assert report.sealed >= SIZE + count
        if start is not None:
            assert [(each.by, each.entries) for each in report.explained] == [(SIZE, SIZE - start)]
            assert (report.exit_code, parse_entry(await log.reader.entry(SIZE)).report) == (
                1 if missing else 0,
                LostEntries(start=start, end=SIZE, n=SIZE - start),
            )


def fingerprint(location):
    """Return what stands in every table, to the byte."""
    tables = [
        "log_state",
        "leaf",
        "entry_run",
        "disclosure_run",
        "tile",
        "checkpoint",
        "api_key",
        "index_epoch",
        "index_segment",
    ]
    query = "SELECT count(*), md5(string_agg(each::text, '|' ORDER BY each::text)) FROM tlog.{} AS each"
    with psycopg.connect(location.admin) as admin:
        return {each: admin.execute(sql.SQL(query).format(sql.Identifier(each))).fetchone() for each in tables}


@pytest.fixture
def anchored(lost):
    """Sets the anchor back afterwards: a test's log goes on, the next test's has to begin where it was lost."""
    kept = lost.data.with_name("kept")
    shutil.copytree(lost.data / "anchor", kept)
    yield
    shutil.rmtree(lost.data / "anchor")
    kept.rename(lost.data / "anchor")


@pytest.mark.parametrize("size", COPIES)
async def test_what_is_missing_comes_back(lost, anchored, size):
    steps = []
    with lost.restored(size) as location:
        with pytest.raises(RollbackError, match=f"ROLLBACK db={size} anchor=700.*tlog recover"):
            async with open_log(location):
                pass
        planned = await recovering(location, lost.mirror, dry_run=True)
        done = await recovering(location, lost.mirror, progress=lambda *step: steps.append(step))
        assert planned == Recovered(size, SIZE, SIZE - size)
        assert done == planned._replace(said_by=SIZE)
        assert steps == sorted(steps)
        assert steps[-1][0] == steps[-1][1] == SIZE + (SIZE - size) * 2
        assert await recovering(location, lost.mirror) == Recovered(SIZE + 1, SIZE + 1, 0), (
            "again there is nothing to do"
        )
        await check(location, start=size)


async def test_everything_comes_back_into_a_new_database(lost, anchored):
    with lost.restored(0) as location:
        with pytest.raises(UnsafeDatabaseError, match="lacks migration"):
            await recovering(location, lost.mirror)
        # A new first entry would be another one than was signed.
        with pytest.raises(RollbackError, match="ROLLBACK db=0 anchor=700"):
            await create_log(location, ORIGIN)
        done = await recovering(location, lost.mirror, new=True)
        assert done == Recovered(0, SIZE, SIZE - 1, SIZE)
        await check(location)


async def test_how_far_streams_are_taken_comes_back(opened, location, database, directory):
    """The log says how far, so nobody takes again what came back."""
    async with opened() as log:
        await opening(0, 1).send(log.appender)
        await taking(log, 0, sample_events(5)).send(log.appender)
        receipts = await release(1, 0).send(log.appender)
        await export_static(log.reader, directory / "mirror", await log.wait_sealed(receipts.last_index, 30))
    with open_mirror(str(directory / "mirror")) as mirror:
        size = open_checkpoint(mirror.checkpoint(), location.directory.verifier()).size
    with database.connect_admin() as admin:
        admin.execute("DROP SCHEMA tlog CASCADE; DROP TABLE public.tlog_migration")
    done = await recovering(location, directory / "mirror", new=True)
    assert (done.start, done.size) == (0, size)
    assert await taken(Database(database.service)) == [Taken(STREAM, 0, 5), Taken(STREAM, 1, 0, released=True)]
    async with open_log(location, interval=60) as log, running(log):
        await taking(log, 5, sample_events(5, seed=2)).send(log.appender)
        report = await fsck(log.database, log.verifier, log.bucket_keys, Anchor(location.directory.anchor).read)
    assert [each.damage for each in report.problems] == []


async def test_what_does_not_come_back_is_counted(lost, anchored):
    """Personal data of the recovered events is gone, that of the others is not."""
    with lost.restored(257) as location:
        await recovering(location, lost.mirror)
        with psycopg.connect(location.admin) as admin:
            disclosed = [number for number, each in enumerate(read_disclosed(admin)) if any(disclosed_groups(each))]
        assert disclosed == list(range(1, 257))


async def test_what_was_missing_stays_missing(lost, anchored):
    """Group by group: what the copy of the database still has comes along, what was taken out of it does not come back."""
    with lost.restored(257) as location:
        with psycopg.connect(location.admin, autocommit=True) as admin:
            erase(admin, [1], "actor")
            erase(admin, [5], "related/1")
            before = read_disclosed(admin)
        assert (before[1].actor, before[5].related[1], b"" in before[5].related[::2]) == (b"", b"", False)
        await recovering(location, lost.mirror)
        with psycopg.connect(location.admin) as admin:
            assert read_disclosed(admin)[: len(before)] == before
        await check(location, start=257, missing=(1, 5))


UNKNOWN = {
    "keys": [public_text("control", "order")],
    "loggedAt": "2026-03-17T10:00:00.000000Z",
    "type": "order",
    "v": 1,
}


@pytest.mark.parametrize(
    "entry, expected",
    [
        (canonical(UNKNOWN), Recovered(0, 2, 0)),
        (canonical({**UNKNOWN, "type": "event", "v": 2}), "entry 1 was signed, but this version cannot read it: an event of a newer"),
        (b"{}", "entry 1 was signed, but this version cannot read it"),
    ],
)  # fmt: skip
async def test_entries_of_a_newer_version_come_back_where_nothing_of_them_would_be_lost(tmp_path, entry, expected):
    """The row of an event has an eventId beside it, which only who knows the event's form can find."""
    signer = Signer(ORIGIN, bytes(32))
    entries = [draft_index_keys(4, bytes(32), ORIGIN).entry(b"2026-03-17T10:00:00.000000Z"), entry]
    head = write_mirror(tmp_path, entries, signer)
    note = (tmp_path / "checkpoint").read_bytes()
    with open_mirror(str(tmp_path)) as source:
        anchored = module.Anchored(ORIGIN, head.size, head.root, source.chain()[1], note, 0)
        planning = recover(None, source, lambda: anchored, signer.verifier, dry_run=True)
        if isinstance(expected, str):
            with pytest.raises(MalformedInputError, match=expected):
                await planning
        else:
            assert await planning == expected


async def test_mirror_over_http(lost, anchored):
    with lost.restored(257) as location, serving(files_below(lost.mirror)) as url:
        assert (await recovering(location, url)).size == SIZE
        await check(location)


async def test_dry_run_changes_nothing(lost):
    with lost.restored(257) as location:
        before = fingerprint(location)
        assert await recovering(location, lost.mirror, dry_run=True) == Recovered(257, SIZE, SIZE - 257)
        assert fingerprint(location) == before
    with open_mirror(str(lost.mirror)) as source:
        directory = DataDirectory(lost.data)
        planned = await recover(None, source, Anchor(directory.anchor).read, directory.verifier(), dry_run=True)
        assert planned == Recovered(0, SIZE, SIZE - 1)


# --- Hostile mirrors ------------------------------------------------------------------------------------------------


def flip(path, position=-1):
    def change(mirror):
        file = mirror / path
        data = bytearray(file.read_bytes())
        data[position] ^= 1
        file.write_bytes(data)

    return change


def flip_in_chain_hash(mirror):
    """Of its bytes, not of their base64, in which not every bit flipped leaves a character of the alphabet."""
    size, chain, rest = (mirror / "chain").read_bytes().split(b"\n")
    data = bytearray(parse_base64(chain, "the chain hash"))
    data[10] ^= 1
    (mirror / "chain").write_bytes(b"\n".join((size, encode_base64(data), rest)))


def remove(path):
    return lambda mirror: (mirror / path).unlink()


def replace(path, data):
    return lambda mirror: (mirror / path).write_bytes(data(mirror) if callable(data) else data)


def other_log(mirror):
    shutil.rmtree(mirror)
    write_mirror(mirror, [b"other %d" % number for number in range(SIZE)], Signer("example.com/other", bytes(32)))


def other_key_of_the_same_name(mirror):
    shutil.rmtree(mirror)
    write_mirror(mirror, [b"other %d" % number for number in range(SIZE)], Signer(ORIGIN, bytes(32)))


def exchange(mirror):
    """Two entries of one bundle change places; everything else is left as it was."""
    file = mirror / "tile/entries/001"
    data = file.read_bytes()
    parts = []
    while data:
        length = 2 + int.from_bytes(data[:2])
        parts.append(data[:length])
        data = data[length:]
    parts[3], parts[4] = parts[4], parts[3]
    file.write_bytes(b"".join(parts))


def rebuild(entries):
    """Everything of the mirror made anew from changed entries, but for the checkpoint, which it cannot sign."""

    def change(mirror):
        with open_mirror(str(mirror)) as source:
            good = [*source.entries(0), *source.entries(1), *source.entries(2, 188)]
        checkpoint, chain = (mirror / "checkpoint").read_bytes(), (mirror / "chain").read_bytes()
        write_mirror(mirror, entries(good), Signer(ORIGIN, bytes(32)))
        (mirror / "checkpoint").write_bytes(checkpoint)
        (mirror / "chain").write_bytes(chain)

    return change


HOSTILE = {
    # What a bit makes of a letter of base64 need not be another one.
    "bit of a signature": (flip("checkpoint", -40), (VerificationError, MalformedInputError), "not one of this log"),
    "bit of a size": (flip("checkpoint", len(ORIGIN) + 1), VerificationError, "not one of this log"),
    "bit of the chain": (flip_in_chain_hash, VerificationError, "chain"),
    "bit of an entry that is missing": (flip("tile/entries/002.p/188"), VerificationError, "not the tile that its entries lead to"),
    "bit of an entry that is there": (flip("tile/entries/000"), VerificationError, r"tile/0/000 is not the tile that"),
    "length of an entry": (flip("tile/entries/001", 1), MalformedInputError, "tile/entries/001"),
    "bit of a tile": (flip("tile/0/001"), VerificationError, "tile/0/001 is not the tile that"),
    "bit of an upper tile": (flip("tile/1/000.p/2"), VerificationError, r"tile/1/000\.p/2 is not the tile that"),
    "bit of a partial tile": (flip("tile/0/002.p/188"), VerificationError, r"tile/0/002\.p/188 is not the tile that"),
    "bundle missing": (remove("tile/entries/001"), NotCheckedError, "no tile/entries/001"),
    "last bundle missing": (remove("tile/entries/002.p/188"), NotCheckedError, r"no tile/entries/002\.p/188"),
    "tile missing": (remove("tile/0/000"), NotCheckedError, "no tile/0/000"),
    "checkpoint missing": (remove("checkpoint"), NotCheckedError, "no checkpoint"),
    "bundle too large": (replace("tile/entries/001", bytes(256 * 65_537 + 1)), MalformedInputError, "larger"),
    "bundle of another place": (replace("tile/entries/001", lambda mirror: (mirror / "tile/entries/000").read_bytes()),
                                VerificationError, "tile/0/001"),
    "entries exchanged": (exchange, VerificationError, "tile/0/001"),
    "other log": (other_log, VerificationError, "not one of this log"),
    "other key": (other_key_of_the_same_name, VerificationError, "not one of this log"),
    "rebuilt with another last entry": (rebuild(lambda good: [*good[:-1], b"{}"]), VerificationError, "at size 700; use another mirror$"),
    "rebuilt with another early entry": (rebuild(lambda good: [*good[:9], b"{}", *good[10:]]), VerificationError, "database at entry 9; use another mirror$"),
}  # fmt: skip


@pytest.mark.parametrize("attack", HOSTILE)
async def test_hostile_mirror_is_refused_and_nothing_changes(lost, tmp_path, attack):
    change, error, message = HOSTILE[attack]
    mirror = shutil.copytree(lost.mirror, tmp_path / "mirror")
    change(mirror)
    location = lost.location(lost.copies[257])  # nobody changes it, so nobody needs one of his own
    before = fingerprint(location)
    with pytest.raises(error, match=message):
        await recovering(location, mirror)
    assert fingerprint(location) == before


async def test_one_flipped_bit_anywhere_is_refused(lost, tmp_path):
    """Not only where somebody thought of it. TLOG_TEST_FLIPS=5000 for more."""
    rng = random.Random(6)
    mirror = shutil.copytree(lost.mirror, tmp_path / "mirror")
    # Partial tiles of earlier sizes are read by nobody who asks for this one.
    used = {"checkpoint", "chain", "tile/1/000.p/2"} | {
        f"tile/{level}/{index}" for level in ("0", "entries") for index in ("000", "001", "002.p/188")
    }
    location = lost.location(lost.copies[257])
    before = fingerprint(location)
    for _ in range(int(os.environ.get("TLOG_TEST_FLIPS", "30"))):
        file = mirror / rng.choice(sorted(used))
        good = file.read_bytes()
        position = rng.randrange(len(good))
        bad = bytearray(good)
        bad[position] ^= 1 << rng.randrange(8)
        file.write_bytes(bad)
        with pytest.raises((VerificationError, MalformedInputError, NotCheckedError)):
            await recovering(location, mirror)
        file.write_bytes(good)
    assert fingerprint(location) == before
    assert (await recovering(location, mirror, dry_run=True)).size == SIZE, "the control: unchanged it is accepted"


async def test_mirror_that_is_too_short_says_how_far_it_goes(lost, directory):
    with lost.restored(1) as location:
        service, admin = lost.location(lost.copies[512]).database, None
        reader = ReadStore(Database(service, admin), connections=1)
        await reader.open()
        await export_static(reader, directory / "short", await reader.latest_checkpoint())
        await reader.close()
        before = fingerprint(location)
        with pytest.raises(NotCheckedError, match="has 512 entries, but 700 were signed"):
            await recovering(location, directory / "short")
        assert fingerprint(location) == before


async def test_mirror_beyond_the_anchor_shows_that_the_anchor_is_old(lost, directory):
    """The anchor is a copy too: what the key signed later must not be signed again, differently."""
    signer = DataDirectory(lost.data).signing_key()
    write_mirror(directory / "longer", [b"entry %d" % number for number in range(SIZE + 1)], signer)
    write_mirror(directory / "other", [b"entry %d" % number for number in range(SIZE)], signer)
    location = lost.location(lost.copies[257])
    before = fingerprint(location)
    with pytest.raises(ForkError, match="701 entries with this log's signature, the anchor stops at 700"):
        await recovering(location, directory / "longer")
    with pytest.raises(ForkError, match="two histories were signed"):
        await recovering(location, directory / "other")
    assert fingerprint(location) == before


async def test_mirror_that_changes_between_two_readings(lost, anchored):
    """What is written was checked, even if the mirror is honest only the first time."""
    asked = []
    good = files_below(lost.mirror)

    def answer(path):
        asked.append(path)
        status, headers, (data, *_) = good(path)
        if path == "/tile/entries/002.p/188" and asked.count(path) > 1:
            data = data[:-2] + b" }"
        return status, headers, [data]

    with lost.restored(257) as location:
        with serving(answer) as url, pytest.raises(VerificationError, match="changed while it was read"):
            await recovering(location, url)
        with psycopg.connect(location.admin) as admin:
            assert admin.execute("SELECT size FROM tlog.log_state").fetchone() == (257,)
        await recovering(location, lost.mirror)
        await check(location)


# --- The database ---------------------------------------------------------------------------------------------------

DAMAGED = {
    "bytes changed": ("UPDATE leaf SET entry = entry || ' ' WHERE index = 77", 77),
    "bytes and hash changed": ("UPDATE leaf SET entry = '{}', leaf_hash = sha256('\\x007b7d') WHERE index IN (99, 200)", 99),
    "chain changed": ("UPDATE leaf SET chain_hash = sha256('x') WHERE index = 255", 255),
    "row deleted": ("DELETE FROM leaf WHERE index = 3", 3),
    "first row deleted": ("DELETE FROM leaf WHERE index = 0", 0),
    "tail deleted": ("DELETE FROM leaf WHERE index > 250", 251),
    "row after the last": ("INSERT INTO leaf SELECT 257, NULL, entry, leaf_hash, chain_hash FROM leaf WHERE index = 1", 257),
    "state changed": ("UPDATE tlog.log_state SET chain_hash = sha256('x')", 256),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGED)
async def test_rows_that_differ_are_named(lost, damage):
    statement, index = DAMAGED[damage]
    with lost.restored(257) as location:
        with psycopg.connect(location.admin, autocommit=True) as admin:
            tamper(admin, statement)
        before = fingerprint(location)
        with pytest.raises(DamagedLogError, match=f"entry {index} in the database is not the one that was signed"):
            await recovering(location, lost.mirror)
        assert fingerprint(location) == before


async def test_copy_that_went_on_is_refused(lost):
    """Somebody appended to the restored copy: its history is another one, from there on."""
    with lost.restored(257) as location:
        other = DataDirectory(lost.data.with_name(f"other-{next(_numbers)}"))
        shutil.copytree(lost.data, other.root)
        other.anchor.unlink()
        published = await _latest(location)
        Anchor(other.anchor).create(module.Anchored(ORIGIN, *published[:5]))
        async with open_log(Location(other, location.database), interval=60, index=False) as log, running(log):
            await append(log, sample_events(3, seed=1234))
        with pytest.raises(DamagedLogError, match="entry 257 in the database is not the one"):
            await recovering(location, lost.mirror)


async def _latest(location):
    reader = ReadStore(Database(location.database), connections=1)
    await reader.open()
    try:
        return await reader.latest_checkpoint()
    finally:
        await reader.close()


async def test_rows_far_after_the_last_are_in_the_way(lost):
    with lost.restored(1) as location:
        with psycopg.connect(location.admin, autocommit=True) as admin:
            admin.execute(
                "INSERT INTO tlog.leaf SELECT 600, NULL, leaf_hash, chain_hash FROM tlog.leaf WHERE index = 0"
            )
        with pytest.raises(UnsafeDatabaseError, match="rows after its 1 entries"):
            await recovering(location, lost.mirror)


async def test_tiles_that_were_changed_are_found_before_publishing(lost):
    with lost.restored(512) as location:
        with psycopg.connect(location.admin, autocommit=True) as admin:
            admin.execute("ALTER TABLE tlog.tile DISABLE TRIGGER ALL; UPDATE tlog.tile SET hashes = sha256('x') WHERE level = 1;"
                          "ALTER TABLE tlog.tile ENABLE ALWAYS TRIGGER append_only; ALTER TABLE tlog.tile ENABLE ALWAYS TRIGGER grow_only")  # fmt: skip
        with pytest.raises(ForkError, match="tiles of size 512"):
            await recovering(location, lost.mirror)
        assert (await _latest(location)).size == 512


async def test_rows_that_were_changed_consistently_are_not_published(lost):
    """A crash came before publishing, and somebody altered the last row, its chain and the log's state in the meantime."""
    with lost.restored(512) as location:
        await recovering(location, lost.mirror)
        with psycopg.connect(location.admin, autocommit=True) as admin:
            entry = read_entries(admin)[698]
            (chain,) = admin.execute("SELECT chain_hash FROM tlog.leaf WHERE index = 698").fetchone()
            leaf = leaf_hash(entry)
            change_entry(admin, 699, lambda _: entry)
            with unguarded(admin, "leaf", "tile", "checkpoint"):
                admin.execute(
                    "DELETE FROM tlog.checkpoint WHERE size = 700; DELETE FROM tlog.tile WHERE level = 0 AND tile_index = 2"
                )
                changed = leaf, chain_hash(chain, leaf)
                admin.execute("UPDATE tlog.leaf SET leaf_hash = %s, chain_hash = %s WHERE index = 699", changed)
            admin.execute("UPDATE tlog.log_state SET chain_hash = %s", (chain_hash(chain, leaf),))
        with pytest.raises(
            ForkError, match="the first 700 entries of the database lead to another root hash or chain hash"
        ):
            await recovering(location, lost.mirror)
        assert (await _latest(location)).size == 512


async def test_one_at_a_time(lost):
    with lost.restored(1) as location:
        store = await SealStore.open(Database(location.database))
        assert await store.lead()
        with pytest.raises(OperatorError, match="another process seals this log"):
            await recovering(location, lost.mirror)
        await store.close()


async def test_writer_during_the_recovery_ends_it(lost, monkeypatch):
    with lost.restored(257) as location:
        begin = module._appending

        def overtaken(store, state, count):
            with psycopg.connect(location.admin, autocommit=True) as admin:
                admin.execute("UPDATE tlog.log_state SET last_logged_at = last_logged_at + 1")
            return begin(store, state, count)

        monkeypatch.setattr(module, "_appending", overtaken)
        with pytest.raises(OperatorError, match="changed during the recovery"):
            await recovering(location, lost.mirror)


# --- Crashes --------------------------------------------------------------------------------------------------------

# `tlog` that is killed at the n-th call of one of the functions a recovery consists of.
KILLED = """
import os, signal, sys
from tlog.cli import app
from tlog.keeping import recover
from tlog.storage.appending import Append
from tlog.storage.sealing import SealStore
recover._BATCH_ROWS = 256
owner, name, after = {"commit": (Append, "insert", 1), "tiles": (SealStore, "write_tiles", 1),
                      "publish": (SealStore, "publish", 0)}[sys.argv[1]]
original, left = getattr(owner, name), int(sys.argv[2])
async def deadly(*arguments):
    global left
    left -= 1
    if not left and not after:
        os.kill(os.getpid(), signal.SIGKILL)
    result = await original(*arguments)
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    return result
setattr(owner, name, deadly)
sys.argv[1:] = sys.argv[3:]
app.main()
"""


@pytest.mark.parametrize(
    "where, call, size",
    [("commit", 2, 512), ("tiles", 2, 701), ("publish", 1, 701)],
)
async def test_killed_and_run_again(lost, anchored, where, call, size):
    with lost.restored(1) as location:
        options = ["--data", lost.data, "--database", location.database, "--admin-database", location.admin]
        command = [sys.executable, "-c", KILLED, where, str(call), "recover", "--mirror", lost.mirror, *options]
        run = partial(subprocess.run, capture_output=True, check=False, cwd=ROOT, timeout=60)
        done = run([str(part) for part in command])
        assert done.returncode == -signal.SIGKILL, done.stderr
        with psycopg.connect(location.admin) as admin:
            assert admin.execute("SELECT size FROM tlog.log_state").fetchone() == (size,)
            assert admin.execute("SELECT count(*) FROM tlog.leaf").fetchone() == (size,)
        if size < SIZE:
            with pytest.raises(RollbackError):
                async with open_log(location):
                    pass
        again = json.loads(tlog("recover", "--mirror", lost.mirror, *options, "--json").stdout)
        left = max(0, SIZE - size)
        expected = {
            "start": size,
            "size": size + left,
            "events": left,
            "recovered": left,
            "saidBy": SIZE if left else None,
            "dryRun": False,
        }
        assert again == expected
        await check(location, start=1)
