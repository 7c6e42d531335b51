"""fsck against a hostile administrator: every attack is made on the real database and has to be named."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import re
import sys

import msgspec
import pytest
from stored import change_disclosed, change_entry, erase, read_entries, tamper, triggers_off, triggers_on
from support import ORIGIN, append, fill, rich_events, sample_events, verify_offline
from tampering import ATTACKS, EDIT, FLIP, RECHAIN, REHASH, RICH_ATTACKS, check, rewrite

from tlog.answering.prove import checkpoint_of, event_file, prove_inclusion
from tlog.checking import join, ranges, workers
from tlog.checking.fsck import hidden_rows
from tlog.checking.report import parse_check_end
from tlog.core.canonical import canonical
from tlog.core.chain import CHAIN_START, chain_hash
from tlog.core.commitment import commit
from tlog.core.making.bucket_keys import BucketKeys
from tlog.core.making.outcome import draft_outcome
from tlog.core.merkle import leaf_hash
from tlog.core.note import parse_vkey
from tlog.core.outcome import Lost
from tlog.core.pseudonym import public_text
from tlog.core.question import parse_question
from tlog.core.strict import encode_base64url
from tlog.core.verify import verify_event
from tlog.errors import ForkError, NotCheckedError, OverloadedError
from tlog.lifecycle.opening import open_log
from tlog.signing.anchor import Anchor

pytestmark = pytest.mark.anyio


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


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("size", [256, 257, 511, 512, 513, 1300])
async def test_logs_of_several_ranges_raise_no_alarm(opened, location, size):
    async with opened() as log:
        for start in range(1, size, 300):
            await fill(log, min(300, size - start), seed=start)
        report = await check(location)
    assert (report.problems, report.exit_code) == ([], 0)
    assert (report.checked["entries"], report.sealed) == (size, size)
    assert report.checked["disclosures"] == 2 * (size - 1)


async def test_several_processes_find_what_one_finds(opened, location, database, monkeypatch):
    """Whole blocks, whose facts come from other processes; the tree, the index and the damage are put together here."""
    monkeypatch.setattr(workers, "_SMALL", 0)
    async with opened(index=True) as log:
        for seed in range(8):
            receipts = await append(log, sample_events(10_000, seed=seed))
        await log.wait_indexed(receipts[-1].index, 300)
        reached = []
        report = await check(location, reached=reached.append)
    assert (report.problems, report.exit_code) == ([], 0)
    assert report.checked["entries"] > 80_000
    assert report.checked["epochs"] > 0
    assert [each.size for each in reached] == [65_536, report.size]
    again = await check(location, since=reached[0])
    assert (again.problems, again.end, again.start) == ([], report.end, 65_536)
    with database.connect_admin() as admin:
        for index in (70, 70_000):
            change_entry(admin, index, lambda entry: entry.replace(b'"outcome":"success"', b'"outcome":"failure"'))
    report = await check(location)
    assert [(problem.damage, str(problem.place)) for problem in report.problems] == [
        ("entry changed", "entry 70"),
        ("chain broken", "entry 70"),
        ("entry changed", "entry 70000"),
        ("chain broken", "entry 70000"),
    ]


@pytest.mark.usefixtures("small_blocks")
async def test_a_check_goes_on_from_wherever_it_got_to(opened, location):
    async with opened() as log:
        await fill(log, 700)
        reached = []
        whole = await check(location, reached=reached.append)
    assert [each.size for each in reached] == [256, 512, 701]
    for each in reached[:2]:
        report = await check(location, since=parse_check_end(msgspec.json.encode(each)))
        assert (report.problems, report.end) == ([], whole.end)
        assert report.checked["entries"] == 701 - each.size
    nothing = await check(location, since=whole.end)
    assert (nothing.problems, nothing.exit_code, nothing.end) == ([], 0, whole.end)


async def test_a_check_goes_on_after_one_that_ended_beyond_what_is_sealed(opened, location, database):
    async with opened() as log:
        await fill(log, 5)
        ends = [await check(location)]
        for seed in (2, 3):
            await append(log, sample_events(1, seed=seed))
            ends.append(await check(location, since=ends[-1].end))
            whole = await check(location)
            assert (ends[-1].problems, ends[-1].exit_code, ends[-1].end) == ([], 0, whole.end)
            assert (ends[-1].sealed, whole.sealed) == (6, 6)
    with database.connect_admin() as admin:
        tamper(admin, "UPDATE tlog.tile SET hashes = set_byte(hashes, 1, 255 - get_byte(hashes, 1))")
    damaged = await check(location, since=ends[1].end)
    assert [each.damage for each in damaged.problems] == ["tile changed"], "the control"


HIDE = """
    SET allow_system_table_mods = on;
    {off};
    CREATE TEMP TABLE kept AS SELECT * FROM tlog.{table} WHERE {where};
    DELETE FROM tlog.{real} WHERE {where};
    UPDATE pg_catalog.pg_index SET indisready = false WHERE indrelid = 'tlog.{real}'::regclass AND indkey[0] = 1;
    INSERT INTO tlog.{real} SELECT * FROM kept;
    UPDATE pg_catalog.pg_index SET indisready = true WHERE indrelid = 'tlog.{real}'::regclass AND indkey[0] = 1;
    DROP TABLE kept; {on}"""
_NOT_REACHED = (
    "the table's index does not reach this row, only a sequential scan does. REINDEX, and find out who altered it"
)
HIDDEN = {
    "leaf": ("leaf", "index = 7", "entry 7", _NOT_REACHED),
    "entry_run": ("entry_run_0", "first = 17", "entry 17", _NOT_REACHED),
    "disclosure_run": ("disclosure_run_0", "first = 17", "entry 17", _NOT_REACHED),
    "tile": (
        "tile",
        "level = 0 AND tile_index = 0",
        "table tile",
        "the table has 2 rows of level 0, its index reaches 1: 1 row is hidden. REINDEX, and find out who altered it",
    ),
}


@pytest.mark.parametrize("table", HIDDEN)
async def test_a18_rows_that_an_index_hides_are_named(opened, location, database, table):
    real, where, place, what = HIDDEN[table]
    async with opened() as log:
        await fill(log, 300)
    with database.connect_admin() as admin:
        for statement in HIDE.format(off=triggers_off(), on=triggers_on(), table=table, real=real, where=where).split(
            ";"
        ):
            admin.execute(statement)
    with database.connect_admin() as admin:
        count = f"SELECT count(*) FROM tlog.{table} WHERE {where}"
        admin.execute("SET enable_seqscan = off")
        hidden = admin.execute(count).fetchone()
        admin.execute(
            "SET enable_seqscan = on; SET enable_indexscan = off; SET enable_bitmapscan = off; SET enable_indexonlyscan = off"
        )
        assert (hidden, admin.execute(count).fetchone()) == ((0,), (1,))
    report = await check(location)
    named = {(problem.damage, str(problem.place), problem.what) for problem in report.problems}
    assert ("row hidden", place, what) in named, report.text()
    if table == "leaf":
        # What the row says was found and checked all the same.
        assert [problem.damage for problem in report.problems] == ["row hidden"]
        assert report.checked["entries"] == 301


@pytest.mark.parametrize(
    "rows, reached, text",
    [
        (1_000, 999, "the table has 1,000 rows, its index reaches 999: 1 row is hidden"),
        (1_000, 5, "the table has 1,000 rows, its index reaches 5: 995 rows are hidden"),
        (1, 0, "the table has 1 row, its index reaches 0: 1 row is hidden"),
        (3, 4, "the table has 3 rows, its index reaches 4: 1 row too many"),
        (3, 5, "the table has 3 rows, its index reaches 5: 2 rows too many"),
    ],
)
def test_an_index_that_reaches_other_rows_is_told_in_words(rows, reached, text):
    assert hidden_rows(rows, reached) == f"{text}. REINDEX, and find out who altered it"


async def test_rows_of_one_index_are_named(opened, location, database):
    async with opened() as log:
        await fill(log, 20)
    with database.connect_admin() as admin:
        admin.execute("ALTER TABLE tlog.leaf DROP CONSTRAINT leaf_pkey")
        admin.execute("INSERT INTO tlog.leaf SELECT index, NULL, leaf_hash, chain_hash FROM tlog.leaf WHERE index = 7")
    report = await check(location)
    named = {(problem.damage, str(problem.place), problem.what) for problem in report.problems}
    assert ("order", "entry 7", "two rows have the same index") in named, report.text()


# What a reader has to understand without knowing the code: the whole text of the most frequent kinds of damage.
WORDS = {
    "A01 entry changed": "the entry's bytes do not hash to what was logged",
    "A02 entry changed and chain recomputed": "the entry's bytes and its leaf_hash were changed: they do not lead to the signed root hash",
    "A02 tiles adapted as well": "hash 0 of the tile is not the one that the tiles below it make",
    "A03 event_id column changed": "the event_id column is not the eventId in the entry's bytes",
    "A04 leaf_hash changed": "the leaf_hash column is not the hash of the entry's bytes",
    "A04 chain_hash changed": "the chain_hash column does not continue the chain of the entries before",
    "A04 tile cut": "the tile has 10 hashes, the sealed entries from 256 on need 45",
    "A04 tile added": "the log has no entries for this tile",
    "A05 row deleted": "the table has no row with this index",
    "A10 tail cut below the checkpoint": "ROLLBACK db=290 anchor=301: the database lost signed entries. Bring back the newest copy of "
                                         "the database, and what that one lacks with 'tlog recover'",
    "A13 signed root replaced": "the size or the root hash in the row is not the one that the signed note has",
    "A19 same id twice": "an earlier entry has the same eventId",
    "A19 size beyond the rows": "the table has no rows with these indexes",
    "A19 size below the rows": "the row says that the log has 299 entries, the table has 301",
    "A28 time going back": "loggedAt is earlier than that of the entry before",
    "A30 checkpoint's chain changed": "the chain over the first 301 entries ends in another hash than when the checkpoint was signed",
    "disclosure of a control entry": "a control entry has a disclosure",
    "run of entries deleted": "no run holds these entries",
    "run of disclosures deleted": "no run holds these disclosures of entries",
    "run that overlaps another one": "the run of entries: the run before holds some of them too",
    "run there twice": "the run of disclosures of entries: parts of the run are missing, twice there, or not of one run",
    "run after the end": "1 row of entry_run holds what belongs to no entry",
    "bytes after a frame": "the run of entries: the frame does not open",
    "frame without its size": "the run of entries: not a frame that says how large its content is, without checksum and dictionary",
    "frame with a false size": "the run of entries: the frame does not open",
    "part of a run missing": "the run of disclosures of entries: parts of the run are missing, twice there, or not of one run",
    "loggedAt of a run changed": "the logged_at of the run is not the loggedAt of its first entry",
    "state's chain changed": "the chain hash or the last loggedAt of the row is not that of the last entry",
}  # fmt: skip


STRAY = "INSERT INTO tlog.disclosure_run SELECT 9000, part, count, data FROM tlog.disclosure_run WHERE first = 0"


async def test_rows_behind_the_end_are_named(opened, location, database):
    async with opened() as log:
        await fill(log, 20)
    with database.connect_admin() as admin:
        admin.execute(
            "INSERT INTO tlog.leaf SELECT 10::bigint ^ 12, NULL, leaf_hash, chain_hash FROM tlog.leaf WHERE index = 0"
        )
        admin.execute(STRAY)
    report = await check(location)
    places = {(problem.damage, str(problem.place)) for problem in report.problems}
    assert {("order", "entry 1000000000000"), ("run damaged", "entries from 22")} <= places
    told = {problem.what for problem in report.problems}
    assert {"the row lies after the end of the log", "1 row of disclosure_run holds what belongs to no entry"} <= told
    assert report.broken_at == 21  # the row that this makes room for, and none has


async def test_disclosures_of_no_entry_break_no_entry(opened, location, database):
    async with opened() as log:
        await fill(log, 20)
    with database.connect_admin() as admin:
        admin.execute(STRAY)
    report = await check(location)
    assert [(problem.damage, str(problem.place)) for problem in report.problems] == [("run damaged", "entries from 21")]
    assert (report.broken_at, report.to_json()["brokenAt"]) == (None, None)


async def test_pending_entries_are_checked_too(opened, location):
    async with opened() as log:
        await fill(log, 300)
        await append(log, sample_events(20, seed=2))
        report = await check(location)
    assert (report.problems, report.checked["entries"], report.sealed) == ([], 321, 301)


@pytest.fixture
def small_blocks(monkeypatch):
    """Ranges of 256 entries, so that small logs have several."""
    for module in (ranges, join, workers):
        monkeypatch.setattr(module, "BLOCK", 256)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("attack", ATTACKS)
async def test_attack_is_named(opened, location, database, attack):
    statements, damage, place = ATTACKS[attack]
    async with opened() as log:
        await fill(log, 300)
    with database.connect_admin() as admin:
        tamper(admin, statements)
    report = await check(location)
    assert report.exit_code == 1
    named = [problem for problem in report.problems if (problem.damage, str(problem.place)) == (damage, place)]
    assert named, report.text()
    assert WORDS.get(attack, named[0].what) in {problem.what for problem in named}
    assert "FAILED" in report.text()
    assert report.to_json()["verdict"] == "failed"


async def test_a_check_that_does_not_look_at_when_runs_were_logged_misses_one(opened, location, database, monkeypatch):
    """The control of the column by which questions with a time are answered."""
    async with opened() as log:
        await fill(log, 300)
    with database.connect_admin() as admin:
        tamper(admin, ATTACKS["loggedAt of a run changed"][0])
    monkeypatch.setattr("tlog.checking.runs._check_logged_at", lambda *_: None)
    assert (await check(location)).problems == []


@pytest.mark.parametrize(
    "statement, expected",
    [(EDIT, ["entry changed", "chain broken"]), (FLIP.format(bit=9, level=0, index=0), ["tile changed"])],
    ids=["entry", "tile"],
)
async def test_one_change_does_not_condemn_everything_behind_it(opened, location, database, statement, expected):
    async with opened() as log:
        await fill(log, 600)
    with database.connect_admin() as admin:
        tamper(admin, statement)
    report = await check(location)
    assert [problem.damage for problem in report.problems] == expected


async def test_a_verifier_of_the_chain_alone_is_fooled(opened, location, database):
    """Why the chain never replaces the tree (threat 02): its recomputation passes a chain-only check."""
    async with opened() as log:
        await fill(log, 300)
    with database.connect_admin() as admin:  # the log is closed: its sealing would notice
        tamper(admin, f"{EDIT}; {REHASH}; {RECHAIN}")
        chain = CHAIN_START
        for index, entry in enumerate(read_entries(admin)):
            chain = chain_hash(chain, leaf_hash(entry))
            assert admin.execute("SELECT chain_hash FROM tlog.leaf WHERE index = %s", (index,)).fetchone() == (chain,)
        assert admin.execute("SELECT chain_hash FROM tlog.log_state").fetchone() == (chain,)
    assert (await check(location)).exit_code == 1


async def test_second_opinion_sees_a_changed_entry(opened, location, database):
    async with opened() as log:
        await fill(log, 20)
    with database.connect_admin() as admin:
        tamper(admin, EDIT)
    report = await check(location, second_opinion=True)
    assert "second opinion" in {problem.damage for problem in report.problems}


async def test_second_opinion_without_pymerkle_says_how_to_get_it(opened, location, monkeypatch):
    monkeypatch.setitem(sys.modules, "pymerkle", None)
    async with opened():
        with pytest.raises(NotCheckedError, match="pip install"):
            await check(location, second_opinion=True)


async def test_disclosures_that_are_gone_are_damage(opened, location, database):
    """Each is named, however it went: the row, a group, all groups."""
    async with opened() as log:
        await fill(log, 20)
        assert (await check(location)).exit_code == 0
        with database.connect_admin() as admin:
            erase(admin, [3, 5, 20])
            erase(admin, [7], "actor")
        report = await check(location)
    assert [(each.damage, each.place.start, each.what.partition(":")[0]) for each in report.problems] == [
        ("MISSING", 7, "actor"),
        ("MISSING", 3, "actor, resource"),
        ("MISSING", 5, "actor, resource"),
        ("MISSING", 20, "actor, resource"),
    ]
    assert (report.exit_code, report.checked["disclosures"], report.checked["missing"]) == (1, 33, 7)
    assert "MISSING: entry 3: actor, resource: absent, and no outcome explains it" in report.text().splitlines()


DELETIONS = int(os.environ.get("TLOG_TEST_DELETIONS", "1000"))


async def test_random_deletions_by_a_superuser_are_all_named(opened, location, database):
    rng = random.Random(4)
    size = 2 * DELETIONS
    async with opened() as log:
        await fill(log, size)
        gone = rng.sample(range(1, size + 1), DELETIONS)
        with database.connect_admin() as admin:
            for index in gone:
                erase(admin, [index], *rng.choice([(), ("actor",), ("resource",)]))
        report = await check(location)
    assert {each.damage for each in report.problems} == {"MISSING"}
    assert sorted(each.place.start for each in report.problems) == sorted(gone)
    assert report.exit_code == 1


async def lose(log, database, start, *, n=None, first=None, end=None):
    """Delete the disclosures from entry `start` on, and append the outcome that says that; return its index."""
    size = (await log.reader.state()).size
    with database.connect_admin() as admin:
        erase(admin, range(start, size))
    said = Lost(start=start if first is None else first, end=end or size, n=n or size - start)
    return (await log.appender.append([draft_outcome(said)]))[0].index


async def test_what_an_outcome_explains_is_no_damage(opened, location, database):
    async with opened(index=True) as log:
        await fill(log, 20)
        await log.wait_indexed(21, 30)
        size = (await log.reader.state()).size
        with database.connect_admin() as admin:
            controls = admin.execute("SELECT FROM tlog.leaf WHERE event_id IS NULL AND index >= 11").fetchall()
        by = await lose(log, database, 11, n=size - 11 - len(controls))
        sealed = await log.wait_sealed(by, 30)
        await log.wait_indexed(by + 1, 30)
        await append(log, sample_events(5, seed=9))  # later events are no matter
        report = await check(location)
        assert (report.problems, report.exit_code, sealed.size > by) == ([], 0, True)
        assert [(each.by, each.entries) for each in report.explained] == [(by, 10)]
        found = (await log.searcher.ask(parse_question({}), limit=100)).events
        assert {each.lost_by for each in found if each.leaf.index >= by} == {None}
        assert [each.lost_by for each in found if 11 <= each.leaf.index < size] == [by] * 10
        # But nothing is explained that it does not speak of, nor what is deleted beside it.
        with database.connect_admin() as admin:
            erase(admin, [10, *range(by + 1, (await log.reader.state()).size)])
        report = await check(location)
        assert {each.damage for each in report.problems} == {"MISSING"}
        assert len(report.problems) == 6
        assert [each.entries for each in report.explained] == [10]
        with database.connect_admin() as admin:
            admin.execute("UPDATE tlog.explanation SET start_index = 0")
        assert "index drift" in {each.damage for each in (await check(location)).problems}


@pytest.mark.parametrize(
    "case",
    [
        ({"n": 9}, 10, "another number names commitments"),
        ({"first": 10, "n": 11}, 10, "of entries of which something is there"),
        ({"end": 22, "n": 11}, 10, "of entries after itself"),
        ({"first": 15, "n": 6}, 4, "no outcome explains it"),
    ],
    ids=["wrong n", "something there", "covers itself", "too little"],
)
async def test_an_outcome_that_is_not_true_explains_nothing(opened, location, database, case):
    said, named, text = case
    async with opened() as log:
        await fill(log, 20)
        by = await lose(log, database, 11, **said)
        await log.wait_sealed(by, 30)
        report = await check(location)
    assert [each.damage for each in report.problems] == ["MISSING"] * named
    assert all(text in each.what for each in report.problems)


async def test_an_outcome_after_later_events_explains_nothing(opened, location, database):
    async with opened() as log:
        await fill(log, 20)
        by = await lose(log, database, 20, end=20, first=19, n=1)
        await log.wait_sealed(by, 30)
        with database.connect_admin() as admin:
            erase(admin, [19])
        report = await check(location)
    assert [each.place.start for each in report.problems] == [19, 20]
    assert "after events that came later" in report.problems[0].what


async def test_an_outcome_that_is_not_sealed_leaves_something_unchecked(opened, location, database):
    async with opened() as log:
        await log.wait_sealed((await append(log, sample_events(20)))[-1].index, 30)
    async with open_log(location, sealing="elsewhere") as log:
        appending = asyncio.create_task(log.appender.run())
        await lose(log, database, 11)
        log.appender.close()
        await appending
        report = await check(location)
    assert (report.problems, report.exit_code) == ([], 3)
    assert report.unchecked == ["10 events without disclosures: LOST, says entry 21, which is not sealed yet"]


async def test_one_group_is_gone_and_everything_else_holds(opened, location, database):
    """The other groups, every hash and every proof stay as they were."""
    erased = (["actor"], ["resource"], ["related/1"], ["related/0", "related/1", "related/2"])
    async with opened(index=True) as log:
        receipts = await append(log, rich_events(20))
        await log.wait_indexed(receipts[-1].index, 30)
        whole = await check(location)
        assert (whole.problems, whole.exit_code, whole.checked["disclosures"]) == ([], 0, 2 * 20 + 5 * 6)
        before = {event.leaf.index: event for event in await log.reader.find([each.event_id for each in receipts])}
        indexes = [receipts[number].index for number in (0, 4, 8, 12)]
        with database.connect_admin() as admin:
            admin.execute("SET ROLE tlog_eraser")
            for index, groups in zip(indexes, erased, strict=True):
                erase(admin, [index], *groups)
        report = await check(location)
        assert [(each.damage, each.place.start, each.what.partition(":")[0]) for each in report.problems] == [
            ("MISSING", indexes[0], "actor"),
            ("MISSING", indexes[1], "resource"),
            ("MISSING", indexes[2], "related/1"),
            ("MISSING", indexes[3], "related/0, related/1, related/2"),
        ]
        assert report.checked["disclosures"] == report.checked["index keys"] == 2 * 20 + 5 * 6 - 6
        after = {event.leaf.index: event for event in await log.reader.find([each.event_id for each in receipts])}
        lost = {index: before[index].disclosures().keys() - after[index].disclosures().keys() for index in before}
        assert {index: groups for index, groups in lost.items() if groups} == {
            indexes[0]: {"actor"}, indexes[1]: {"resource"}, indexes[2]: {"related/1"},
            indexes[3]: {"related/0", "related/1", "related/2"},
        }  # fmt: skip
        for index, event in after.items():
            assert event.leaf == before[index].leaf
            assert event.disclosures().items() <= before[index].disclosures().items()


@pytest.mark.parametrize("attack", RICH_ATTACKS)
async def test_attack_on_related_resources_is_named(opened, location, database, attack):
    statements, what = RICH_ATTACKS[attack]
    async with opened() as log:
        receipts = await append(log, rich_events(12))
        await log.wait_sealed(receipts[-1].index, 30)
    with database.connect_admin() as admin:
        tamper(admin, statements)
    report = await check(location)
    assert what in {each.what for each in report.problems}
    named = {(each.damage, str(each.place)) for each in report.problems}
    # Of what is taken away something is missing as well.
    assert named - {("MISSING", "entry 5")} == {("disclosure mismatch", "entry 5")}


@pytest.mark.parametrize("place", range(8))
async def test_a_log_that_enters_a_false_key_is_found_out(opened, location, database, place):
    """Entry 6 says that it is about what entry 5 is about; every hash is right, nothing was signed yet."""
    damage = "entry malformed" if place in (2, 3, 4) else "index keys wrong"
    async with opened() as log:
        await append(log, rich_events(12))
    with database.connect_admin() as admin:
        entries = read_entries(admin)
        false, other = json.loads(entries[5]), json.loads(entries[9])
        false["keys"][place] = other["keys"][place] if place not in (2, 4) else public_text("source", "other")
        rewrite(admin, [*entries[:5], canonical(false), *entries[6:]])
    report = await check(location)
    assert {(each.damage, str(each.place)) for each in report.problems if each.place.kind == "entry"} == {
        (damage, "entry 5")
    }, report.text()


async def test_entries_of_a_type_that_is_not_known_are_indexed_and_told(opened, location, database):
    async with opened() as log:
        await fill(log, 20)
    keys = [public_text("control", "order"), "AAAAAAAAAAAAAAAAAAAAAA"]
    with database.connect_admin() as admin:
        entries = read_entries(admin)
        logged_at = json.loads(entries[-1])["loggedAt"]
        order = {"keys": keys, "loggedAt": logged_at, "type": "order", "v": 1}
        rewrite(admin, [*entries, canonical(order), canonical({"loggedAt": logged_at, "type": "x", "v": 2})])
    async with opened(index=True) as log:
        receipts = await fill(log, 5, seed=2)
        await log.wait_indexed(receipts[-1].index, 30)
        report = await check(location)
    assert (report.problems, report.exit_code) == ([], 3)
    assert report.unchecked == ["2 entries of a type this version does not know"]
    assert report.checked["epochs"] > 0


async def test_ids_that_this_python_cannot_judge_are_told(opened, location, monkeypatch):
    async with opened() as log:
        event = json.loads(sample_events(1)[0]) | {"resource": {"type": "patient_record", "id": "Zoe\u0308"}}
        receipts = await append(log, [json.dumps(event).encode()])
        await log.wait_sealed(receipts[-1].index, 30)
    assert (await check(location)).exit_code == 0
    # A Python whose tables lack the sign, and so give the name another normal form.
    monkeypatch.setattr("tlog.core.pseudonym.normalize", lambda _, text: text)
    monkeypatch.setattr("tlog.core.pseudonym.category", lambda sign: "Cn" if sign == "\u0308" else "Lu")
    report = await check(location)
    assert (report.problems, report.exit_code) == ([], 3)
    assert report.unchecked == [
        "the index keys of 1 id with characters that the Unicode tables of this Python lack; a newer Python has them"
    ]


async def test_a_log_under_the_name_of_another_is_noticed(opened, location, database):
    async with opened() as log:
        await fill(log, 3)
    with database.connect_admin() as admin:
        entries = read_entries(admin)
        rewrite(admin, [entries[0].replace(ORIGIN.encode(), b"example.com/other-log"), *entries[1:]])
    what = "the entry names another log than the public key does. Check that the key is the one of this log"
    assert ("index keys wrong", "entry 0", what) in [
        (each.damage, str(each.place), each.what) for each in (await check(location)).problems
    ]


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
    """It appends for as long as checks go on, however fast either is."""
    async with opened(interval=0.01) as log:
        checked = asyncio.Event()

        async def work():
            for seed in itertools.count():
                if checked.is_set():
                    break
                await append(log, sample_events(20, seed=seed))
                await asyncio.sleep(0.01)

        working = asyncio.create_task(work())
        sizes = []
        for _ in range(5):
            report = await check(location)
            assert report.problems == []
            sizes.append(report.checked["entries"])
        assert not working.done()
        checked.set()
        await working
        assert sizes[-1] > sizes[0]


async def test_numbers_that_canonical_json_writes_otherwise_raise_no_alarm(opened, location, directory):
    """RFC 8785 writes 1E21 as 1e+21."""
    async with opened() as log:
        event = json.loads(sample_events(1)[0]) | {"metadata": {"m": 1e21, "o": 1e-7, "p": -1e300}}
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
    proved = verify_event(parse_vkey(vkey), event_file(found, disclose=True), proof.text())
    assert b'"m":1e+21,"o":1e-7,"p":-1e+300' in proved.bodies["resource"]


async def test_a_disclosure_that_is_no_actor_is_a_mismatch(opened, location, database):
    async with opened() as log:
        await fill(log, 3)
    body = b"0123456789abcdef[]"
    commitment = encode_base64url(commit(body)).decode()
    with database.connect_admin() as admin:
        change_entry(admin, 2, lambda entry: re.sub(rb'"actor":"[^"]+"', b'"actor":"%b"' % commitment.encode(), entry))
        change_disclosed(admin, 2, lambda disclosed: disclosed._replace(actor=body))
    assert "disclosure mismatch" in {problem.damage for problem in (await check(location)).problems}


async def test_many_problems_are_counted_and_some_remembered(opened, location, database):
    async with opened() as log:
        await fill(log, 1100)
    with database.connect_admin() as admin:
        tamper(admin, "UPDATE leaf SET event_id = NULL")
    report = await check(location)
    assert len(report.problems) == 1000
    assert report.more_problems == 100
    assert "more problems" in report.text()
