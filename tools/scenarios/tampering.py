"""What a superuser can do to a log's tables, by the numbers of the threat table; and the check its operator makes afterwards."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from stored import (
    change_disclosed,
    change_entry,
    erase,
    opens_alike,
    read_disclosed,
    read_entries,
    store,
    unguarded,
)
from support import append, rich_events

from tlog.checking.fsck import fsck
from tlog.checking.mirror import open_mirror
from tlog.checking.mirrored import fsck_mirror
from tlog.core.chain import CHAIN_START, chain_hash
from tlog.core.checkpoint import Checkpoint
from tlog.core.making.integrate import integrate
from tlog.core.making.outcome import draft_outcome
from tlog.core.merkle import Frontier, leaf_hash
from tlog.core.outcome import Lost
from tlog.core.run import Disclosed
from tlog.signing.anchor import Anchor
from tlog.storage.database import Database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence
    from pathlib import Path

    import psycopg

    from tlog.checking.report import Report
    from tlog.core.note import Verifier
    from tlog.lifecycle.opening import Log
    from tlog.location import Location

ENTRY = """convert_to(replace(convert_from(entry, 'UTF8'), '"outcome":"success"', '"outcome":"failure"'), 'UTF8')"""
EDIT = f"UPDATE leaf SET entry = {ENTRY} WHERE index = 7"
REHASH = "UPDATE leaf SET leaf_hash = sha256('\\x00'::bytea || entry) WHERE index = 7"
RECHAIN = """
    DO $$ DECLARE chain bytea; row record; BEGIN
        SELECT chain_hash INTO chain FROM leaf WHERE index = 6;
        FOR row IN SELECT index, leaf_hash FROM leaf WHERE index > 6 ORDER BY index LOOP
            chain := sha256('\\x02'::bytea || chain || row.leaf_hash);
            UPDATE leaf SET chain_hash = chain WHERE index = row.index;
        END LOOP;
        UPDATE tlog.log_state SET chain_hash = chain;
    END $$"""
RETILE = (
    "UPDATE tlog.tile SET hashes = overlay(hashes PLACING (SELECT leaf_hash FROM leaf WHERE index = 7) FROM 7*32+1) "
    "WHERE level = 0 AND tile_index = 0"
)
SWAP = """
    CREATE TEMP TABLE two AS SELECT * FROM leaf WHERE index IN (7, 8);
    DELETE FROM leaf WHERE index IN (7, 8);
    INSERT INTO leaf SELECT 15 - index, event_id, entry, leaf_hash, chain_hash FROM two"""
SHIFT = """
    DELETE FROM leaf WHERE index = 7;
    UPDATE leaf SET index = index + 100000 WHERE index > 7;
    UPDATE leaf SET index = index - 100001 WHERE index > 100000;
    UPDATE tlog.log_state SET size = size - 1, chain_hash = (SELECT chain_hash FROM leaf ORDER BY index DESC LIMIT 1)"""
INSERT_PAST = """
    UPDATE leaf SET index = index + 100000 WHERE index >= 7;
    INSERT INTO leaf SELECT 7, gen_random_uuid(), entry, leaf_hash, chain_hash FROM leaf WHERE index = 6;
    UPDATE leaf SET index = index - 99999 WHERE index > 100000;
    UPDATE tlog.log_state SET size = size + 1"""
CUT = """
    DELETE FROM leaf WHERE index >= 290;
    UPDATE tlog.log_state SET size = 290, chain_hash = (SELECT chain_hash FROM leaf WHERE index = 289)"""
TWICE = """
    ALTER TABLE tlog.leaf DROP CONSTRAINT leaf_event_id_key;
    UPDATE leaf SET event_id = (SELECT event_id FROM leaf WHERE index = 6), entry =
        (SELECT entry FROM leaf WHERE index = 6) WHERE index = 7"""
FLIP = "UPDATE tlog.tile SET hashes = set_bit(hashes, {bit}, 1 - get_bit(hashes, {bit})) WHERE level = {level} AND tile_index = {index}"
MOVE = "UPDATE disclosure SET actor = (SELECT actor FROM disclosure WHERE index = 8) WHERE index = 7"

# The run of entry 0 in a frame that does not say how large its content is: magic number, no flags, a window of 2 MiB, and one
# block, the last, not compressed, after its length times 8 plus 1, lowest byte first (RFC 8878, section 3.1.1).
UNSIZED = """
    UPDATE tlog.entry_run SET data = '\\x28b52ffd0058'::bytea
        || set_byte(set_byte('\\x000000'::bytea, 0, (8 * run.size + 1) % 256), 1, (8 * run.size + 1) / 256) || run.content
    FROM (SELECT octet_length(entry) + 2 AS size, int2send(octet_length(entry)::int2) || entry AS content FROM leaf WHERE index = 0) AS run
    WHERE first = 0"""

# Number in the threat table: statements, what fsck calls it, and where.
ATTACKS = {
    "A01 entry changed": (EDIT, "entry changed", "entry 7"),
    "A02 entry changed and chain recomputed": (f"{EDIT}; {REHASH}; {RECHAIN}", "entry changed", "entry 7"),
    "A02 tiles adapted as well": (f"{EDIT}; {REHASH}; {RECHAIN}; {RETILE}", "tile changed", "tile/1/000.p/1"),
    "A03 event_id column changed": ("UPDATE leaf SET event_id = gen_random_uuid() WHERE index = 7", "column changed", "entry 7"),
    "A03 index key column does not exist": ("UPDATE leaf SET event_id = NULL WHERE index = 7", "column changed", "entry 7"),
    "A04 leaf_hash changed": ("UPDATE leaf SET leaf_hash = sha256('x') WHERE index = 7", "column changed", "entry 7"),
    "A04 chain_hash changed": ("UPDATE leaf SET chain_hash = sha256('x') WHERE index = 7", "chain broken", "entry 7"),
    "A04 bit of a level 0 tile": (FLIP.format(bit=7 * 256 + 3, level=0, index=0), "tile changed", "tile/0/000"),
    "A04 bit of a partial tile": (FLIP.format(bit=5, level=0, index=1), "tile changed", "tile/0/001"),
    "A04 bit of a level 1 tile": (FLIP.format(bit=5, level=1, index=0), "tile changed", "tile/1/000.p/1"),
    "A04 tile cut": ("UPDATE tlog.tile SET hashes = substr(hashes, 1, 320) WHERE level = 0 AND tile_index = 1", "tile missing", "tile/0/001.p/45"),
    "A04 tile deleted": ("DELETE FROM tlog.tile WHERE level = 0 AND tile_index = 0", "tile missing", "tile/0/000"),
    "A04 tile added": ("INSERT INTO tlog.tile VALUES (0, 9, sha256('x'))", "tile changed", "tile/0/009"),
    "A05 row deleted": ("DELETE FROM leaf WHERE index = 7", "row missing", "entry 7"),
    "A06 row deleted and others renumbered": (SHIFT, "ROLLBACK", "checkpoint 301"),
    "A07 row inserted in the past": (INSERT_PAST, "entry changed", "entry 7"),
    "A08 two rows swapped": (SWAP, "entry changed", "entry 7"),
    "A10 tail cut below the checkpoint": (CUT, "ROLLBACK", "anchor"),
    "A13 signed root replaced": ("UPDATE tlog.checkpoint SET root_hash = sha256('x') WHERE size = 301", "checkpoint wrong", "checkpoint 301"),
    "A19 same id twice": (TWICE, "duplicate id", "entry 7"),
    "A19 size beyond the rows": ("UPDATE tlog.log_state SET size = 305", "row missing", "entries 301 to 304"),
    "A19 size below the rows": ("UPDATE tlog.log_state SET size = 299", "state wrong", "log_state"),
    "A20 row filter": ("ALTER TABLE tlog.leaf ENABLE ROW LEVEL SECURITY", "schema", "database"),
    "A21 trigger that alters": ("CREATE FUNCTION public.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
                                "CREATE TRIGGER f BEFORE INSERT ON tlog.leaf FOR EACH ROW EXECUTE FUNCTION public.f()", "schema", "database"),
    "A24 triggers left off": ("DROP TRIGGER append_only ON tlog.checkpoint", "schema", "database"),
    "A28 time going back": ("UPDATE leaf SET entry = convert_to(regexp_replace(convert_from(entry, 'UTF8'), '\"loggedAt\":\"20..',"
                            "'\"loggedAt\":\"1999'), 'UTF8') WHERE index = 7", "order", "entry 7"),
    "A30 checkpoint forged": ("UPDATE tlog.checkpoint SET note = overlay(note PLACING 'x'::bytea FROM 1) WHERE size = 301", "checkpoint wrong",
                              "checkpoint 301"),
    "A30 checkpoint's chain changed": ("UPDATE tlog.checkpoint SET chain_hash = sha256('x') WHERE size = 301", "chain broken", "checkpoint 301"),
    "A56 entry written otherwise": ("UPDATE leaf SET entry = entry || ' '::bytea WHERE index = 7", "entry malformed", "entry 7"),
    "disclosure changed": ("UPDATE disclosure SET resource = resource || 'x' WHERE index = 7", "disclosure mismatch", "entry 7"),
    "disclosure of another event": (MOVE, "disclosure mismatch", "entry 7"),
    "disclosure deleted": ("DELETE FROM disclosure WHERE index = 7", "MISSING", "entry 7"),
    "group of a disclosure emptied": ("UPDATE disclosure SET actor = NULL WHERE index = 7", "MISSING", "entry 7"),
    "disclosure of a control entry": ("INSERT INTO disclosure VALUES (0, 'x', 'x', '{}')", "disclosure mismatch", "entry 0"),
    "run of entries deleted": ("DELETE FROM tlog.entry_run WHERE first = 17", "run damaged", "entries 17 to 24"),
    "run of disclosures deleted": ("DELETE FROM tlog.disclosure_run WHERE first = 17", "run damaged", "entries 17 to 24"),
    "two runs of entries swapped": ("UPDATE tlog.entry_run SET first = 50 - first WHERE first IN (17, 33)", "entry changed", "entry 17"),
    "two runs of disclosures swapped": ("UPDATE tlog.disclosure_run SET first = 50 - first WHERE first IN (17, 33)", "disclosure mismatch", "entry 17"),
    "run that overlaps another one": ("INSERT INTO tlog.entry_run SELECT 20, logged_at, part, count, data FROM tlog.entry_run WHERE first = 17",
                                      "run damaged", "entries 20 to 27"),
    "run there twice": ("INSERT INTO tlog.disclosure_run SELECT * FROM tlog.disclosure_run WHERE first = 17", "run damaged", "entries 17 to 24"),
    "run after the end": ("INSERT INTO tlog.entry_run SELECT 9000, logged_at, part, count, data FROM tlog.entry_run WHERE first = 17",
                          "run damaged", "entries from 301"),
    "bytes after a frame": ("UPDATE tlog.entry_run SET data = data || 'x'::bytea WHERE first = 17", "run damaged", "entries 17 to 24"),
    "frame without its size": (UNSIZED, "run damaged", "entry 0"),
    "frame with a false size": ("UPDATE tlog.entry_run SET data = set_byte(data, 5, 255 - get_byte(data, 5)) WHERE first = 17",
                                "run damaged", "entries 17 to 24"),
    "count of a run changed": ("UPDATE tlog.entry_run SET count = 7 WHERE first = 17", "run damaged", "entries 17 to 23"),
    "part of a run missing": ("UPDATE tlog.disclosure_run SET part = 1, data = substr(data, 500) WHERE first = 17", "run damaged", "entries 17 to 24"),
    "loggedAt of a run changed": ("UPDATE tlog.entry_run SET logged_at = logged_at + 1 WHERE first = 17", "column changed", "entry 17"),
    "partition detached": ("ALTER TABLE tlog.entry_run DETACH PARTITION tlog.entry_run_0", "schema", "database"),
    "state's chain changed": ("UPDATE tlog.log_state SET chain_hash = sha256('x')", "state wrong", "log_state"),
}  # fmt: skip


_RELATED = "UPDATE disclosure SET related = {} WHERE index = 5"
# Of a log of `rich_events`, whose entry 5 has three related resources: statements, and what fsck says of it.
RICH_ATTACKS = {
    "related resource changed": (_RELATED.replace("related =", "related[3] =").format("related[3] || 'x'"), "the related/2 disclosure does not match its commitment"),
    "related resource of another event": (_RELATED.replace("related =", "related[1] =").format("(SELECT related[1] FROM disclosure WHERE index = 9)"),
                                          "the related/0 disclosure does not match its commitment"),
    "related resource cut to a byte": (_RELATED.replace("related =", "related[2] =").format("'x'"), "the related/1 disclosure does not match its commitment"),
    "related resource added": (_RELATED.format("related || 'x'::bytea"), "the entry commits to 3 related resources, 4 are there"),
    "related resource taken away": (_RELATED.format("related[1:2]"), "the entry commits to 3 related resources, 2 are there"),
    "all related resources taken away": (_RELATED.format("'{}'"), "the entry commits to 3 related resources, 0 are there"),
}  # fmt: skip


async def check(location: Location, **options: Any) -> Report:  # noqa: ANN401 - options of fsck
    """Check a log that no process serves, as its operator would after an alarm."""
    assert location.database is not None
    directory = location.directory
    given = {"bucket_keys": directory.bucket_keys(), "read_anchor": Anchor(directory.anchor).read, **options}
    return await fsck(Database(location.database, location.admin), directory.verifier(), **given)


def rewrite(admin: psycopg.Connection[Any], entries: Sequence[bytes]) -> Checkpoint:
    """Make the tables say that the log holds `entries` and nothing else, with every hash right; return its head."""
    hashes = [leaf_hash(entry) for entry in entries]
    frontier, chain, chains = Frontier(), CHAIN_START, []
    frontier.extend(hashes)
    for each in hashes:
        chain = chain_hash(chain, each)
        chains.append(chain)
    ids = dict(admin.execute("SELECT index, event_id FROM tlog.leaf").fetchall())
    before = read_disclosed(admin)
    # Who writes entries of his own has disclosures for those that he took over, and none for the others.
    store(admin, dict(enumerate(entries)), dict(enumerate(before)))
    with unguarded(admin, "leaf", "tile"), admin.cursor() as cursor:
        cursor.execute("DELETE FROM tlog.leaf; DELETE FROM tlog.tile")
        leaves = [(n, ids.get(n), *row) for n, row in enumerate(zip(hashes, chains, strict=True))]
        cursor.executemany("INSERT INTO tlog.leaf VALUES (%s, %s, %s, %s)", leaves)
        tiles = [(level, index, data) for (level, index), data in integrate(0, {}, hashes).items()]
        cursor.executemany("INSERT INTO tlog.tile VALUES (%s, %s, %s)", tiles)
    admin.execute("UPDATE tlog.log_state SET size = %s, chain_hash = %s", (len(entries), chain))
    origin = admin.execute("SELECT origin FROM tlog.log_state").fetchone()
    assert origin is not None
    return Checkpoint(origin[0], len(entries), frontier.root())


# --- Random tampers, and none ----------------------------------------------------------------------------------------

_COLUMNS = [
    ("leaf", "leaf_hash"), ("leaf", "chain_hash"), ("tile", "hashes"), ("checkpoint", "note"), ("checkpoint", "root_hash"),
    ("checkpoint", "chain_hash"), ("entry_run", "data"), ("disclosure_run", "data"),
]  # fmt: skip

_KEPT = ("leaf", "tile", "checkpoint", "entry_run", "disclosure_run")
_CHECKS = """
    SELECT conname FROM pg_constraint JOIN pg_attribute ON attrelid = conrelid AND attnum = ANY (conkey)
    WHERE conrelid = %s::regclass AND contype = 'c' AND attname = %s"""


def spoil(rng: random.Random, data: bytes) -> bytes:
    """Another byte string: a bit, a byte, or a piece of it changed, lost or doubled."""
    at, other = rng.randrange(len(data)), rng.randrange(len(data) + 1)
    low, high = min(at, other), max(at + 1, other)
    spoiled = rng.choice(
        [
            data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :],
            data[:at] + bytes([data[at] ^ rng.randrange(1, 256)]) + data[at + 1 :],
            data[:low] + data[high:],
            data[:high] + data[low:],
        ]
    )
    return spoiled if spoiled != data else spoil(rng, data)


def _spoil_within(rng: random.Random, admin: psycopg.Connection[Any]) -> str:
    """Change an entry, or a group that is disclosed, within its run."""
    index = rng.randrange(1, len(read_entries(admin)))
    if rng.random() < 0.5:
        change_entry(admin, index, lambda entry: spoil(rng, entry))
        return f"spoil entry {index}"
    group = rng.choice(["actor", "resource"])
    change_disclosed(
        admin, index, lambda each: Disclosed(**(each._asdict() | {group: spoil(rng, getattr(each, group))}))
    )
    return f"spoil {group} of entry {index}"


def _tamper(rng: random.Random, admin: psycopg.Connection[Any]) -> str:
    """Change one stored value, or lose, double or exchange rows; return what was done."""
    if rng.random() < 0.3:
        return _spoil_within(rng, admin)
    table, column = rng.choice(_COLUMNS)
    rows = admin.execute(
        f"SELECT tableoid::regclass::text, ctid::text, {column} FROM tlog.{table} ORDER BY {column}"
    ).fetchall()
    (*row, old), (*other, theirs) = rng.sample(rows, 2) if len(rows) > 1 else (rows[0], rows[0])
    kind = rng.choice(["spoil", "spoil", "spoil", "delete", "exchange"])
    with unguarded(admin):
        if kind == "delete" and table != "checkpoint":
            admin.execute(f"DELETE FROM {row[0]} WHERE ctid = %s::tid", (row[1],))
        elif kind == "exchange" and old != theirs:
            for place, value in ((row, theirs), (other, old)):
                admin.execute(f"UPDATE {place[0]} SET {column} = %s WHERE ctid = %s::tid", (value, place[1]))
        else:
            # A frame may say the same in other bytes, which nobody signed; whatever is in it was.
            new = spoil(rng, bytes(old))
            while column == "data" and opens_alike(bytes(old), new):
                new = spoil(rng, bytes(old))
            admin.execute(f"UPDATE {row[0]} SET {column} = %s WHERE ctid = %s::tid", (new, row[1]))
    return f"{kind} {table}.{column}"


async def tamper_with_tables(
    location: Location, admin: psycopg.Connection[Any], count: int, *, seed: int = 14
) -> AsyncIterator[tuple[str, bool]]:
    """Change one thing in a log's tables, check, and change it back, `count` times; yield what was done and whether it was found."""
    rng = random.Random(seed)
    # Who alters tables also drops what would stop him.
    for table, column in _COLUMNS:
        for (name,) in admin.execute(_CHECKS, (f"tlog.{table}", column)).fetchall():
            admin.execute(f"ALTER TABLE tlog.{table} DROP CONSTRAINT {name}")
    for table in _KEPT:
        admin.execute(f"CREATE TEMP TABLE {table} AS SELECT * FROM tlog.{table}")
    for _ in range(count):
        done = _tamper(rng, admin)
        yield done, (await check(location)).exit_code == 1
        with unguarded(admin):
            for table in _KEPT:
                admin.execute(f"DELETE FROM tlog.{table}")
                admin.execute(f"INSERT INTO tlog.{table} SELECT * FROM pg_temp.{table}")


def tamper_with_export(export: Path, verifier: Verifier, count: int, *, seed: int = 15) -> Iterator[tuple[str, bool]]:
    """Change or remove a file of an export, check, and change it back, `count` times; yield which, and whether it was found."""
    rng = random.Random(seed)
    files = sorted(path for path in export.rglob("*") if path.is_file())
    with open_mirror(str(export)) as mirror:
        for _ in range(count):
            path = rng.choice(files)
            data = path.read_bytes()
            if path.name not in {"checkpoint", "chain"} and rng.random() < 0.1:
                path.unlink()
            else:
                path.write_bytes(spoil(rng, data))
            yield str(path.relative_to(export)), fsck_mirror(mirror, verifier).exit_code == 1
            path.write_bytes(data)


async def lose(log: Log, admin: psycopg.Connection[Any], start: int, end: int) -> None:
    """Leave the last events as a recovery does that brought them back: without disclosures, as a sealed outcome says."""
    erase(admin, range(start, end))
    said = await log.appender.append([draft_outcome(Lost(start=start, end=end, n=end - start))])
    await log.wait_sealed(said[-1].index, 30)


async def grow_cleanly(
    log: Log, admin: psycopg.Connection[Any], count: int, *, seed: int = 16
) -> AsyncIterator[Report]:
    """Append, seal and lose as a log's life goes; yield what a full check says each of the `count` times."""
    rng = random.Random(seed)
    for number in range(count):
        receipts = await append(log, rich_events(rng.randrange(1, 40), seed=number))
        if rng.random() < 0.7:
            await log.wait_sealed(receipts[-1].index, 30)
        if rng.random() < 0.3:
            await lose(log, admin, receipts[0].index, receipts[-1].index + 1)
        yield await check(log.location)
