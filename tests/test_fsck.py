"""fsck against a hostile administrator: every attack is made on the real database and has to be named."""

from __future__ import annotations

import asyncio
import json
import random
import re
import sys

import pytest
from support import append, fill, sample_events, verify_offline

from tlog.anchor import Anchor
from tlog.core.chain import CHAIN_START, chain_hash
from tlog.core.commitment import commit
from tlog.core.merkle import leaf_hash
from tlog.core.pseudonym import BucketKeys
from tlog.core.strict import encode_base64url
from tlog.errors import ForkError, NotCheckedError, OverloadedError
from tlog.fsck import fsck
from tlog.prove import checkpoint_of, event_file, prove_inclusion
from tlog.storage.database import Database
from tlog.storage.log import ReadStore

pytestmark = pytest.mark.anyio

OFF = "".join(f"ALTER TABLE tlog.{table} DISABLE TRIGGER ALL; " for table in ("leaf", "tile", "checkpoint"))
ON = (
    "; ALTER TABLE tlog.leaf ENABLE ALWAYS TRIGGER append_only; ALTER TABLE tlog.tile ENABLE ALWAYS TRIGGER append_only"
    "; ALTER TABLE tlog.tile ENABLE ALWAYS TRIGGER grow_only; ALTER TABLE tlog.checkpoint ENABLE ALWAYS TRIGGER append_only"
)


async def check(location, **options):
    """Check a log that no process serves, as its operator would after an alarm."""
    directory = location.directory
    given = {"bucket_keys": directory.bucket_keys(), "read_anchor": Anchor(directory.anchor).read, **options}
    reader = ReadStore(Database(location.database, location.admin), connections=1)
    await reader.open()
    try:
        return await fsck(reader, directory.verifier(), **given)
    finally:
        await reader.close()


async def test_anchor_that_a_signer_keeps(opened, location):
    """A signer that is away leaves something unchecked, at whichever of the two looks; one that refuses is a problem."""

    def answers(*given):
        remaining = iter(given)

        def read():
            answer = next(remaining)
            if isinstance(answer, Exception):
                raise answer
            return answer

        return read

    async with opened() as log:
        await fill(log, 3)
        now, away = Anchor(log.directory.anchor).read(), OverloadedError("the signer is away")
        for answer in (answers(away), answers(now, away)):
            report = await check(location, read_anchor=answer)
            assert (report.problems, report.exit_code) == ([], 3)
            assert report.unchecked == ["the anchor (the signer is away)"]
        report = await check(location, read_anchor=answers(ForkError("the anchor is edited")))
        assert [(each.damage, each.what) for each in report.problems] == [("anchor wrong", "the anchor is edited")]


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 700])
async def test_clean_logs_raise_no_alarm(opened, location, size):
    async with opened() as log:
        if size > 1:
            await fill(log, size - 1)
        else:
            await log.wait_sealed(0, 10)
        report = await check(location, second_opinion=True)
    assert report.problems == []
    assert report.exit_code == 0
    assert (report.checked["entries"], report.sealed) == (size, size)
    assert report.checked["disclosures"] == 2 * (size - 1)
    assert report.checked["second opinions"] > 0
    assert report.text().endswith("verified: everything agrees")


async def test_pending_entries_are_checked_too(opened, location):
    async with opened() as log:
        await fill(log, 300)
        await append(log, sample_events(20, seed=2))
        report = await check(location)
    assert (report.problems, report.checked["entries"], report.sealed) == ([], 321, 301)


ENTRY = """convert_to(replace(convert_from(entry, 'UTF8'), '"outcome":"success"', '"outcome":"failure"'), 'UTF8')"""
EDIT = f"UPDATE tlog.leaf SET entry = {ENTRY} WHERE index = 7"
REHASH = "UPDATE tlog.leaf SET leaf_hash = sha256('\\x00'::bytea || entry) WHERE index = 7"
RECHAIN = """
    DO $$ DECLARE chain bytea; row record; BEGIN
        SELECT chain_hash INTO chain FROM tlog.leaf WHERE index = 6;
        FOR row IN SELECT index, leaf_hash FROM tlog.leaf WHERE index > 6 ORDER BY index LOOP
            chain := sha256('\\x02'::bytea || chain || row.leaf_hash);
            UPDATE tlog.leaf SET chain_hash = chain WHERE index = row.index;
        END LOOP;
        UPDATE tlog.log_state SET chain_hash = chain;
    END $$"""
RETILE = (
    "UPDATE tlog.tile SET hashes = overlay(hashes PLACING (SELECT leaf_hash FROM tlog.leaf WHERE index = 7) FROM 7*32+1) "
    "WHERE level = 0 AND tile_index = 0"
)
SWAP = """
    CREATE TEMP TABLE two AS SELECT * FROM tlog.leaf WHERE index IN (7, 8);
    DELETE FROM tlog.leaf WHERE index IN (7, 8);
    INSERT INTO tlog.leaf SELECT 15 - index, event_id, entry, leaf_hash, chain_hash FROM two"""
SHIFT = """
    DELETE FROM tlog.leaf WHERE index = 7;
    UPDATE tlog.leaf SET index = index + 100000 WHERE index > 7;
    UPDATE tlog.leaf SET index = index - 100001 WHERE index > 100000;
    UPDATE tlog.log_state SET size = size - 1, chain_hash = (SELECT chain_hash FROM tlog.leaf ORDER BY index DESC LIMIT 1)"""
INSERT_PAST = """
    UPDATE tlog.leaf SET index = index + 100000 WHERE index >= 7;
    INSERT INTO tlog.leaf SELECT 7, gen_random_uuid(), entry, leaf_hash, chain_hash FROM tlog.leaf WHERE index = 6;
    UPDATE tlog.leaf SET index = index - 99999 WHERE index > 100000;
    UPDATE tlog.log_state SET size = size + 1"""
CUT = """
    DELETE FROM tlog.leaf WHERE index >= 290; DELETE FROM tlog.disclosure WHERE index >= 290;
    UPDATE tlog.log_state SET size = 290, chain_hash = (SELECT chain_hash FROM tlog.leaf WHERE index = 289)"""
TWICE = """
    ALTER TABLE tlog.leaf DROP CONSTRAINT leaf_event_id_key;
    UPDATE tlog.leaf SET event_id = (SELECT event_id FROM tlog.leaf WHERE index = 6), entry =
        (SELECT entry FROM tlog.leaf WHERE index = 6) WHERE index = 7"""
FLIP = "UPDATE tlog.tile SET hashes = set_bit(hashes, {bit}, 1 - get_bit(hashes, {bit})) WHERE level = {level} AND tile_index = {index}"
MOVE = "UPDATE tlog.disclosure SET actor = (SELECT actor FROM tlog.disclosure WHERE index = 8) WHERE index = 7"

# Number in the threat table: statements, what fsck calls it, and where.
ATTACKS = {
    "A01 entry changed": (EDIT, "entry changed", "entry 7"),
    "A02 entry changed and chain recomputed": (f"{EDIT}; {REHASH}; {RECHAIN}", "entry changed", "entry 7"),
    "A02 tiles adapted as well": (f"{EDIT}; {REHASH}; {RECHAIN}; {RETILE}", "tile changed", "tile/1/000.p/1"),
    "A03 event_id column changed": ("UPDATE tlog.leaf SET event_id = gen_random_uuid() WHERE index = 7", "column changed", "entry 7"),
    "A03 index key column does not exist": ("UPDATE tlog.leaf SET event_id = NULL WHERE index = 7", "column changed", "entry 7"),
    "A04 leaf_hash changed": ("UPDATE tlog.leaf SET leaf_hash = sha256('x') WHERE index = 7", "column changed", "entry 7"),
    "A04 chain_hash changed": ("UPDATE tlog.leaf SET chain_hash = sha256('x') WHERE index = 7", "chain broken", "entry 7"),
    "A04 bit of a level 0 tile": (FLIP.format(bit=7 * 256 + 3, level=0, index=0), "tile changed", "tile/0/000"),
    "A04 bit of a partial tile": (FLIP.format(bit=5, level=0, index=1), "tile changed", "tile/0/001"),
    "A04 bit of a level 1 tile": (FLIP.format(bit=5, level=1, index=0), "tile changed", "tile/1/000.p/1"),
    "A04 tile cut": ("UPDATE tlog.tile SET hashes = substr(hashes, 1, 320) WHERE level = 0 AND tile_index = 1", "tile missing", "tile/0/001.p/45"),
    "A04 tile deleted": ("DELETE FROM tlog.tile WHERE level = 0 AND tile_index = 0", "tile missing", "tile/0/000"),
    "A04 tile added": ("INSERT INTO tlog.tile VALUES (0, 9, sha256('x'))", "tile changed", "tile/0/009"),
    "A05 row deleted": ("DELETE FROM tlog.leaf WHERE index = 7", "row missing", "entry 7"),
    "A06 row deleted and others renumbered": (SHIFT, "ROLLBACK", "checkpoint 301"),
    "A07 row inserted in the past": (INSERT_PAST, "entry changed", "entry 7"),
    "A08 two rows swapped": (SWAP, "entry changed", "entry 7"),
    "A10 tail cut below the checkpoint": (CUT, "ROLLBACK", "anchor"),
    "A13 signed root replaced": ("UPDATE tlog.checkpoint SET root_hash = sha256('x') WHERE size = 301", "checkpoint wrong", "checkpoint 301"),
    "A19 same id twice": (TWICE, "duplicate id", "entry 7"),
    "A19 size with nothing behind it": ("UPDATE tlog.log_state SET size = 305", "row missing", "entries 301 to 304"),
    "A19 size below the rows": ("UPDATE tlog.log_state SET size = 299", "state wrong", "log_state"),
    "A20 row filter": ("ALTER TABLE tlog.leaf ENABLE ROW LEVEL SECURITY", "schema", "database"),
    "A21 trigger that alters": ("CREATE FUNCTION public.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
                                "CREATE TRIGGER f BEFORE INSERT ON tlog.leaf FOR EACH ROW EXECUTE FUNCTION public.f()", "schema", "database"),
    "A24 triggers left off": ("DROP TRIGGER append_only ON tlog.checkpoint", "schema", "database"),
    "A28 time going back": ("UPDATE tlog.leaf SET entry = convert_to(regexp_replace(convert_from(entry, 'UTF8'), '\"loggedAt\":\"20..',"
                            "'\"loggedAt\":\"1999'), 'UTF8') WHERE index = 7", "order", "entry 7"),
    "A30 checkpoint forged": ("UPDATE tlog.checkpoint SET note = overlay(note PLACING 'x'::bytea FROM 1) WHERE size = 301", "checkpoint wrong",
                              "checkpoint 301"),
    "A30 checkpoint's chain changed": ("UPDATE tlog.checkpoint SET chain_hash = sha256('x') WHERE size = 301", "chain broken", "checkpoint 301"),
    "A56 entry written otherwise": ("UPDATE tlog.leaf SET entry = entry || ' '::bytea WHERE index = 7", "entry malformed", "entry 7"),
    "disclosure changed": ("UPDATE tlog.disclosure SET resource = resource || 'x' WHERE index = 7", "disclosure mismatch", "entry 7"),
    "disclosure of another event": (MOVE, "disclosure mismatch", "entry 7"),
    "disclosure of a control entry": ("INSERT INTO tlog.disclosure VALUES (0, 'x', 'x')", "disclosure mismatch", "entry 0"),
    "state's chain changed": ("UPDATE tlog.log_state SET chain_hash = sha256('x')", "state wrong", "log_state"),
}  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
async def test_attack_is_named(opened, location, database, attack):
    statements, damage, place = ATTACKS[attack]
    async with opened() as log:
        await fill(log, 300)
    with database.connect_admin() as admin:
        admin.execute(OFF + statements + ("" if "triggers left off" in attack else ON))
    report = await check(location)
    assert report.exit_code == 1
    assert (damage, place) in {(problem.damage, problem.place) for problem in report.problems}, report.text()
    assert "FAILED" in report.text()
    assert report.to_json()["verdict"] == "failed"


@pytest.mark.parametrize(
    "statement, expected",
    [(EDIT, ["entry changed", "chain broken"]), (FLIP.format(bit=9, level=0, index=0), ["tile changed"])],
    ids=["entry", "tile"],
)
async def test_one_change_does_not_condemn_everything_behind_it(opened, location, database, statement, expected):
    async with opened() as log:
        await fill(log, 600)
    with database.connect_admin() as admin:
        admin.execute(OFF + statement + ON)
    report = await check(location)
    assert [problem.damage for problem in report.problems] == expected


async def test_a_verifier_of_the_chain_alone_is_fooled(opened, location, database):
    """Why the chain never replaces the tree (threat 02): its recomputation passes a chain-only check."""
    async with opened() as log:
        await fill(log, 300)
        log.background.stop()
        with database.connect_admin() as admin:
            admin.execute(OFF + f"{EDIT}; {REHASH}; {RECHAIN}" + ON)
        chain = CHAIN_START
        async with log.reader.scan() as scan:
            async for page in scan.leaves():
                for row in page:
                    chain = chain_hash(chain, leaf_hash(row.entry))
                    assert chain == row.chain_hash
            assert (await scan.state()).chain_hash == chain
        assert (await check(location)).exit_code == 1


async def test_second_opinion_sees_a_changed_entry(opened, location, database):
    async with opened() as log:
        await fill(log, 20)
    with database.connect_admin() as admin:
        admin.execute(OFF + EDIT + ON)
    report = await check(location, second_opinion=True)
    assert "second opinion" in {problem.damage for problem in report.problems}


async def test_second_opinion_without_pymerkle_says_how_to_get_it(opened, location, monkeypatch):
    monkeypatch.setitem(sys.modules, "pymerkle", None)
    async with opened():
        with pytest.raises(NotCheckedError, match="pip install"):
            await check(location, second_opinion=True)


async def test_erased_disclosures_are_no_damage(opened, location, database):
    async with opened() as log:
        await fill(log, 20)
        with database.connect_admin() as admin:
            admin.execute("DELETE FROM tlog.disclosure WHERE index IN (3, 20)")
        report = await check(location)
    assert (report.problems, report.checked["disclosures"]) == ([], 36)


async def test_what_was_not_checked_is_said(opened, location):
    async with opened() as log:
        await fill(log, 5)
        report = await check(location, bucket_keys=None, read_anchor=None)
    assert report.exit_code == 3
    assert len(report.unchecked) == 2
    assert report.text().endswith("INCOMPLETE")


async def test_other_bucket_keys_are_noticed(opened, location):
    async with opened() as log:
        await fill(log, 5)
        report = await check(location, bucket_keys=BucketKeys(bytes(32 << 16)))
    assert {problem.damage for problem in report.problems} == {"index keys wrong"}
    assert len(report.problems) == 6


@pytest.mark.parametrize(
    "change, damage", [({"size": 2}, "anchor wrong"), ({"note": b"x"}, "anchor wrong")], ids=["size", "note"]
)
async def test_anchor_that_does_not_fit(opened, location, change, damage):
    async with opened() as log:
        await fill(log, 5)
        anchored = Anchor(log.directory.anchor).read()._replace(**change)
        report = await check(location, read_anchor=lambda: anchored)
    assert damage in {problem.damage for problem in report.problems}


async def test_missing_anchor_is_a_problem_and_the_rest_is_checked(opened, location):
    async with opened() as log:
        await fill(log, 5)
    location.directory.anchor.unlink()
    report = await check(location)
    assert [problem.damage for problem in report.problems] == ["anchor wrong"]
    assert report.checked["entries"] == 6


async def test_a_log_that_is_appending_and_sealing_raises_no_alarm(opened, location):
    async with opened(interval=0.01) as log:

        async def work():
            for seed in range(40):
                await append(log, sample_events(20, seed=seed))

        working = asyncio.create_task(work())
        checks = 0
        while not working.done():
            report = await check(location)
            assert report.problems == []
            checks += 1
        await working
        assert checks > 3


async def test_numbers_that_canonical_json_writes_as_long_integers_raise_no_alarm(opened, location, directory):
    """RFC 8785 writes 1e16 as 10000000000000000, beyond what is taken as an integer from outside."""
    async with opened() as log:
        event = json.loads(sample_events(1)[0]) | {"metadata": {"n": 1e16, "m": 1e21, "o": 1e-7, "p": -1e300}}
        receipt = (await append(log, [json.dumps(event).encode()]))[0]
        await log.wait_sealed(receipt.index, 30)
        found = (await log.reader.find([receipt.event_id]))[0]
        proof = await prove_inclusion(log.reader, found.leaf, await checkpoint_of(log.reader, None))
        (directory / "event.json").write_bytes(event_file(found, disclose=True))
        (directory / "proof").write_bytes(proof.text())
        vkey = log.verifier.vkey()
    assert (await check(location)).problems == []
    done = verify_offline("proof", "--vkey", vkey, "--event", directory / "event.json", directory / "proof")
    assert done.returncode == 0, done.stdout


async def test_a_disclosure_that_is_no_actor_is_a_mismatch(opened, location, database):
    async with opened() as log:
        await fill(log, 3)
    body = b"0123456789abcdef[]"
    commitment = encode_base64url(commit(body)).decode()
    with database.connect_admin() as admin:
        entry = admin.execute("SELECT convert_from(entry, 'UTF8') FROM tlog.leaf WHERE index = 2").fetchone()[0]
        entry = re.sub(r'"actor":"[^"]+"', f'"actor":"{commitment}"', entry)
        admin.execute(OFF.rstrip("; "))
        admin.execute("UPDATE tlog.leaf SET entry = %s WHERE index = 2", (entry.encode(),))
        admin.execute("UPDATE tlog.disclosure SET actor = %s WHERE index = 2", (body,))
        admin.execute(ON.removeprefix("; "))
    assert "disclosure mismatch" in {problem.damage for problem in (await check(location)).problems}


async def test_many_problems_are_counted_and_some_remembered(opened, location, database):
    async with opened() as log:
        await fill(log, 1100)
    with database.connect_admin() as admin:
        admin.execute(OFF + "UPDATE tlog.leaf SET event_id = NULL" + ON)
    report = await check(location)
    assert len(report.problems) == 1000
    assert report.more_problems == 100
    assert "more problems" in report.text()


async def test_random_bits_of_everything_stored_are_noticed(opened, location, database):
    """A small sample of gate R14: any bit of any stored byte that the log's promises rest on."""
    rng = random.Random(1)
    columns = [("leaf", "entry", "index"), ("leaf", "leaf_hash", "index"), ("leaf", "chain_hash", "index"),
               ("tile", "hashes", "level * 1000 + tile_index"), ("checkpoint", "note", "size"), ("checkpoint", "root_hash", "size"),
               ("disclosure", "actor", "index"), ("disclosure", "resource", "index")]  # fmt: skip
    async with opened() as log:
        await fill(log, 300)
    with database.connect_admin() as admin:
        for _ in range(60):
            table, column, key = rng.choice(columns)
            rows = admin.execute(f"SELECT {key}, {column} FROM tlog.{table} ORDER BY {key}").fetchall()
            row, old = rng.choice(rows)
            new = bytearray(old)
            new[rng.randrange(len(new))] ^= 1 << rng.randrange(8)
            for value, expected in ((bytes(new), 1), (old, 0)):
                admin.execute(OFF.rstrip("; "))
                admin.execute(f"UPDATE tlog.{table} SET {column} = %s WHERE {key} = %s", (value, row))
                admin.execute(ON.removeprefix("; "))
                if expected or rng.random() < 0.1:
                    assert (await check(location)).exit_code == expected, (table, column, row)
    assert (await check(location)).problems == []
