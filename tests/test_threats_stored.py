"""The tamper matrix: what a hostile administrator does to stored data, and who notices.

docs/reference/tamper-matrix.md is the expectation: this test makes every attack on a real database and compares. The verifiers:
fsck with keys and anchor; somebody offline with the public key, an export as the attacker would make it, and a checkpoint from
before; somebody who kept the receipts of his events. `TLOG_TEST_WRITE_MATRIX=1` writes the table anew.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess

import psycopg
import pytest
import zstandard
from mirrors import write_mirror
from stored import entries_by_index, read_entries, tamper, unguarded
from support import ORIGIN, append, fill, sample_events, tlog, verify_offline
from tamper_matrix import MATRIX, Seen, expected
from tampering import (
    ATTACKS,
    CUT,
    check,
    grow_cleanly,
    rewrite,
    tamper_with_export,
    tamper_with_tables,
)

from tlog.answering.export import export_static
from tlog.checking.mirror import open_mirror
from tlog.checking.mirrored import fsck_mirror
from tlog.core.bundle import format_bundle
from tlog.core.checkpoint import sign_checkpoint
from tlog.core.entry import parse_entry, parse_logged_at, to_microseconds
from tlog.core.merkle import leaf_hash
from tlog.lifecycle.making import create_log
from tlog.lifecycle.opening import open_log
from tlog.lifecycle.running import running
from tlog.location import DataDirectory, Location
from tlog.postgres.server import EmbeddedPostgres
from tlog.signing.anchor import Anchor

pytestmark = pytest.mark.anyio


def changed(entries):
    """The attacker's history: entry 7 says something else."""
    return [*entries[:7], entries[7].replace(b'"outcome":"success"', b'"outcome":"failure"'), *entries[8:]]


def cut_pending(admin, location):
    tamper(admin, CUT.replace("290", "301").replace("index = 289", "index = 300"))
    _set_clock(admin)


def regrow(admin, location):
    entries = read_entries(admin)
    rewrite(admin, [*entries[:280], *entries[281:]])


def rewrite_without_key(admin, location):
    rewrite(admin, changed(read_entries(admin)))


def rewrite_with_key(admin, location):
    """Everything, checkpoints and anchor too: the operator himself, with the log's key."""
    head = rewrite(admin, changed(read_entries(admin)[:301]))
    _publish(admin, location, head)


def roll_everything_back(admin, location):
    head = rewrite(admin, read_entries(admin)[:201])
    _publish(admin, location, head)


def _publish(admin, location, head):
    note = sign_checkpoint(head, location.directory.signing_key())
    chain = admin.execute("SELECT chain_hash FROM tlog.log_state").fetchone()[0]
    with unguarded(admin, "checkpoint"):
        admin.execute("DELETE FROM tlog.checkpoint")
    admin.execute("INSERT INTO tlog.checkpoint VALUES (%s, %s, %s, %s, 1)", (head.size, head.root, chain, note))
    last = parse_entry(read_entries(admin)[-1]).loggedAt
    admin.execute(
        "UPDATE tlog.log_state SET last_logged_at = (extract(epoch FROM %s::timestamptz) * 1000000)::bigint", (last,)
    )
    anchor = Anchor(location.directory.anchor)
    anchored = anchor.read()._replace(size=head.size, root=head.root, chain_hash=chain, note=note, sealed_at=1)
    for file in location.directory.anchor.parent.iterdir():
        file.unlink()
    anchor.create(anchored)


def _set_clock(admin):
    last = parse_entry(read_entries(admin)[-1]).loggedAt
    admin.execute("UPDATE tlog.log_state SET last_logged_at = %s", (to_microseconds(parse_logged_at(last)),))


# What takes more than statements.
MORE = {
    "A09 tail cut above the checkpoint": cut_pending,
    "A11 older copy grown again": regrow,
    "A12 database and anchor rolled back": roll_everything_back,
    "A13 everything rewritten without the key": rewrite_without_key,
    "A14 everything rewritten with the key": rewrite_with_key,
}
NOTHING = "nothing is done"


async def judge(opened, location, database, directory, attack):
    """Make an attack on a log of 301 sealed and 20 pending entries; return what each verifier sees."""
    async with opened() as log:
        receipts = [*await fill(log, 300), *await append(log, sample_events(20, seed=2))]
        earlier = (await log.reader.latest_checkpoint()).note
        vkey = log.verifier
    with database.connect_admin() as admin:
        if attack in MORE:
            MORE[attack](admin, location)
        elif attack != NOTHING:
            tamper(admin, ATTACKS[attack][0])
    report = await check(location)
    found = "verified" if report.exit_code == 0 else ", ".join(sorted({problem.damage for problem in report.problems}))
    with database.connect_admin() as admin:
        filtered = "row filter" in attack or "detached" in attack
        offline = _offline(admin, directory, location, earlier, vkey)
        stored = entries_by_index(admin)
        rows = {index: stored[index] for (index,) in admin.execute("SELECT index FROM tlog.leaf") if index in stored}
    mine = [leaf_hash(rows[each.index]) == each.leaf_hash if each.index in rows else False for each in receipts]
    assert filtered or rows
    return Seen(found, offline, "verified" if all(mine) else "detected")


def _offline(admin, directory, location, earlier, vkey):
    """The attacker exports what his tables say, tiles made to fit, under the newest checkpoint that he has."""
    entries = read_entries(admin)
    note = bytes(admin.execute("SELECT note FROM tlog.checkpoint ORDER BY size DESC LIMIT 1").fetchone()[0])
    size = int(note.split(b"\n")[1])
    write_mirror(directory / "export", entries[:size], location.directory.signing_key())
    (directory / "export" / "checkpoint").write_bytes(note)
    done = verify_offline("log", "--vkey", vkey.vkey(), directory / "export")
    with open_mirror(str(directory / "export")) as mirror:
        mirrored = fsck_mirror(mirror, vkey, earlier=earlier)
    # The single file and the same code as fsck's agree, but for what only a checkpoint from before shows.
    alone = [each for each in mirrored.problems if str(each.place) != "checkpoint 301"]
    assert (done.returncode == 0) == (not alone), (done.stdout, mirrored.text())
    return "verified" if mirrored.exit_code == 0 and done.returncode == 0 else "detected"


@pytest.mark.parametrize("attack", [NOTHING, *ATTACKS, *MORE])
async def test_the_matrix(opened, location, database, directory, attack):
    seen = await judge(opened, location, database, directory, attack)
    if os.environ.get("TLOG_TEST_WRITE_MATRIX"):
        with MATRIX.open("a") as file:
            file.write(f"| {attack} | {' | '.join(seen)} |\n")
        return
    assert seen == expected()[attack]


def test_the_matrix_is_complete():
    assert set(expected()) == {NOTHING, *ATTACKS, *MORE}
    # Every attack is detected by somebody, and doing nothing by nobody.
    for attack, seen in expected().items():
        assert (set(seen) == {"verified"}) == (attack == NOTHING), attack


# --- Random tampers, and none -----------------------------------------------------------------------------------------

TAMPERS = int(os.environ.get("TLOG_TEST_TAMPERS", "60"))
CLEAN = int(os.environ.get("TLOG_TEST_CLEAN_LOGS", "20"))


async def test_random_tampers_with_tables_are_detected(opened, location, database):
    async with opened() as log:
        await fill(log, 300)
        await append(log, sample_events(20, seed=2))
    with database.connect_admin() as admin:
        undetected = [
            done async for done, detected in tamper_with_tables(location, admin, TAMPERS // 2) if not detected
        ]
    assert undetected == []
    assert (await check(location)).exit_code == 0


async def test_random_tampers_with_exports_are_detected(opened, directory):
    async with opened() as log:
        await fill(log, 700)
        await export_static(log.reader, directory / "export", await log.reader.latest_checkpoint())
        verifier = log.verifier
    assert [
        done for done, detected in tamper_with_export(directory / "export", verifier, TAMPERS // 2) if not detected
    ] == []
    with open_mirror(str(directory / "export")) as mirror:
        assert fsck_mirror(mirror, verifier).exit_code == 0


async def test_clean_logs_of_any_history_raise_no_alarm(opened, location, database):
    async with opened() as log:
        with database.connect_admin() as admin:
            reports = [report async for report in grow_cleanly(log, admin, CLEAN)]
    assert [(report.problems, report.exit_code) for report in reports] == [([], 0)] * CLEAN


# --- Pages, below PostgreSQL ------------------------------------------------------------------------------------------


def same_length(entries, length):
    """Return a frame of so many bytes in which entry 7 of a run from entry 1 on says another time: there are thousands to try."""
    for level, minutes, seconds in itertools.product((1, 2, 3, -1), range(60), range(60)):
        edited = re.sub(rb'("timestamp":"[^"]{14}).....', rb"\g<1>%02d:%02d" % (minutes, seconds), entries[6])
        frame = zstandard.ZstdCompressor(level=level).compress(format_bundle([*entries[:6], edited, *entries[7:]]))
        if len(frame) == length and edited != entries[6]:
            return frame
    raise AssertionError(length)


def edit_page(location, *, checksums_anew):
    """Edit the entry of index 7 in the table's file, while the server is away; return how often its text was there."""
    postgres = EmbeddedPostgres(location.directory.postgres)
    with postgres, psycopg.connect(postgres.conninfo(user="postgres"), autocommit=True) as admin:
        entries = read_entries(admin)[1:9]
        (before,) = admin.execute("SELECT data FROM tlog.entry_run WHERE first = 1", binary=True).fetchone()
        (path,) = admin.execute("SELECT pg_relation_filepath('tlog.entry_run_0')").fetchone()
        admin.execute("CHECKPOINT")
    cluster = location.directory.postgres / "cluster"
    data = (cluster / path).read_bytes()
    (cluster / path).write_bytes(data.replace(before, same_length(entries, len(before))))
    if checksums_anew:
        for mode in ("--disable", "--enable"):
            command = [postgres.binary("pg_checksums"), mode, "--pgdata", cluster]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, user=cluster.stat().st_uid)
    return data.count(before)


@pytest.mark.parametrize("checksums_anew", [False, True], ids=["a22 page edited", "a23 checksums made anew"])
async def test_page_edited_below_postgresql(directory, checksums_anew):
    location = Location(DataDirectory(directory / "data"))
    await create_log(location, ORIGIN)
    async with open_log(location, interval=86_400, index=False) as log, running(log):
        await fill(log, 300)
    assert edit_page(location, checksums_anew=checksums_anew) == 1
    report = json.loads(tlog("fsck", "--data", location.directory.root, "--json", check=False).stdout)
    named = [(each["damage"], each["place"]) for each in report["problems"]]
    assert report["exitCode"] == 1
    assert named == (
        [("entry changed", "entry 7"), ("chain broken", "entry 7")]
        if checksums_anew
        else [("page damaged", "database")]
    )
    assert bool(report["unchecked"]) != checksums_anew
