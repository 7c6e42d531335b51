"""The rules of intakes: each that is broken is named by fsck and on a mirror, and honest ones raise no alarm."""

from __future__ import annotations

import msgspec
import pytest
from mirrors import write_mirror
from streams import STREAM, opening, release, taking
from support import ORIGIN, fill, sample_events
from tampering import check

from tlog.checking.intake import Intakes
from tlog.checking.mirror import open_mirror
from tlog.checking.mirrored import fsck_mirror
from tlog.checking.report import parse_check_end
from tlog.core.entry import format_logged_at, parse_entry
from tlog.core.intake import Part, logged_mark
from tlog.core.making.drafts import draft_index_keys
from tlog.core.making.intake import draft_intake
from tlog.core.merkle import EMPTY_ROOT
from tlog.core.note import Signer
from tlog.location import utc_now
from tlog.storage.intake import Taken

pytestmark = pytest.mark.anyio


async def seal(log, receipts):
    await log.wait_sealed(receipts.last_index, 30)


async def test_an_honest_log_raises_no_alarm_and_a_check_goes_on_where_one_ended(opened, location):
    async with opened() as log:
        await opening(0, 1).send(log.appender)
        await seal(log, await taking(log, 0, sample_events(20), refused=[b"{not json"]).send(log.appender))
        first = await check(location)
        await taking(log, 21, sample_events(20, seed=2)).send(log.appender)
        await release(1, 0).send(log.appender)
        await seal(log, await fill(log, 5, seed=3))
        assert [each.problems for each in (first, await check(location))] == [[], []]
        since = parse_check_end(msgspec.json.encode(first.end))
        assert since.taken == [Taken(STREAM, 0, 21), Taken(STREAM, 1, 0)]
        later = await check(location, since=since)
    assert (later.problems, later.checked["intakes"], first.checked["intakes"]) == ([], 2, 2)
    assert later.end.taken == [Taken(STREAM, 0, 41), Taken(STREAM, 1, 0, released=True)]


TABLES = {
    "set back": "UPDATE tlog.intake SET next_offset = 2",
    "set ahead": "UPDATE tlog.intake SET next_offset = 2000",
    "released": "UPDATE tlog.intake SET released = true",
    "deleted": "DELETE FROM tlog.intake",
    "invented": f"INSERT INTO tlog.intake VALUES ('{STREAM}', 7, 0)",
}


@pytest.mark.parametrize("change", TABLES)
async def test_a_table_that_is_not_what_the_log_says_is_named(opened, location, database, change):
    async with opened() as log:
        await opening(0).send(log.appender)
        await seal(log, await taking(log, 0, sample_events(5)).send(log.appender))
        with database.connect_admin() as admin:
            admin.execute(TABLES[change])
        (problem,) = (await check(location)).problems
    assert (problem.damage, str(problem.place)) == ("intake wrong", "table intake")
    assert "the log says" in problem.what


def part(start, end, partition=0, **members):
    return Part(**{"start": start, "logged": 0, "partition": partition, "refused": 0, "end": end} | members)


OPEN = part(0, 0)
RULES = {
    "honest": ([OPEN, part(0, 5, logged=1), part(5, 9), part(9, 12, lost=True), part(12, 12), part(12, 12, released=True)], []),
    "no opening": ([part(0, 5), part(5, 9)], [0]),
    "a release first": ([part(0, 0, released=True)], [0]),
    "a gap": ([OPEN, part(0, 5), part(6, 9), part(9, 10)], [2]),
    "an overlap": ([OPEN, part(0, 5), part(4, 9), part(9, 10)], [2]),
    "taken twice": ([OPEN, part(0, 5), part(0, 5)], [2]),
    "after a release": ([OPEN, part(0, 0, released=True), OPEN, part(0, 4)], [2, 3]),
}  # fmt: skip


@pytest.mark.parametrize("case", RULES)
def test_each_rule(case):
    steps, broken = RULES[case]
    intakes = Intakes()
    found = []
    for number, step in enumerate(steps):
        marks = [logged_mark(step.partition, step.start, bytes(16))] * step.logged
        intake = parse_entry(draft_intake(STREAM, "tlog", [step], marks).entry(b"2026-11-24T05:12:00.123456Z")).intake
        found += [number for _ in intakes.take(intake)]
    assert found == broken
    assert [each.next_offset for each in intakes.taken()] == [steps[-1].end]


def mirror_of(directory, *parts):
    """Write a mirror whose intakes say this; return the log's public key."""
    signer = Signer(ORIGIN, bytes(range(32)))
    at = format_logged_at(utc_now())
    drafts = [draft_index_keys(0, EMPTY_ROOT, ORIGIN), *(draft_intake(STREAM, "tlog", [each], []) for each in parts)]
    write_mirror(directory, [draft.entry(at) for draft in drafts], signer)
    return signer.verifier


def test_a_mirror_is_held_to_the_rules_too(tmp_path):
    honest = mirror_of(tmp_path / "honest", OPEN, part(0, 5), part(5, 6))
    wrong = mirror_of(tmp_path / "wrong", OPEN, part(0, 5), part(6, 7))
    with open_mirror(str(tmp_path / "honest")) as mirror:
        report = fsck_mirror(mirror, honest)
    assert (report.problems, report.checked["intakes"]) == ([], 3)
    with open_mirror(str(tmp_path / "wrong")) as mirror:
        (problem,) = fsck_mirror(mirror, wrong).problems
    assert (problem.damage, str(problem.place)) == ("intake wrong", "entry 3")
    assert "it goes on at 6, and was taken up to 5" in problem.what
