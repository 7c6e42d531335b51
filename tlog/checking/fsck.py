"""fsck: check everything the database holds, name what broke, and keep going after the first problem.

Everything is read in one snapshot and recomputed from the entries' bytes: leaf hashes, chain, tiles of all levels, the root hash
at every published checkpoint, commitments, index keys, the index. Where two of three witnesses of an entry agree (its bytes, its
column, its tile) the third one is named. That no row is hidden is settled by sequential scans (`tlog.storage.scan`).

    report.py  what was found          ranges.py     entries, in ranges by themselves    workers.py  … in several processes
    join.py    ranges put together     disclosed.py  … and their disclosures             stored_index.py, opinion.py
    facts.py   what ranges are         event_ids.py  ids logged twice                    absent.py       what is MISSING
    runs.py    … and their frames
    intake.py  what was taken of streams
    mirrored.py  the same of an exported directory or a remote log

A check can start where an earlier one ended (`CheckEnd`): then it looks only at the entries since, in seconds on a large log,
and says so. Memory is bounded for a log of any length.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tlog.checking.absent import Absences
from tlog.checking.event_ids import EventIds
from tlog.checking.intake import compare_table
from tlog.checking.join import Join
from tlog.checking.mirrored import fsck_mirror
from tlog.checking.opinion import SecondOpinion
from tlog.checking.replay import Replay
from tlog.checking.report import CheckEnd, Place, Problem, Report, counted, parse_check_end
from tlog.checking.stored_index import check_explanations, check_stored_index
from tlog.checking.workers import check_ranges, plan
from tlog.core.tile import TILE_WIDTH
from tlog.errors import (
    AnchorMissingError,
    DamagedLogError,
    ForkError,
    MalformedInputError,
    OverloadedError,
    UnsafeDatabaseError,
)
from tlog.storage.runs import DISCLOSURE_RUNS, ENTRY_RUNS
from tlog.storage.scan import scan

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tlog.core.making.bucket_keys import BucketKeys
    from tlog.core.note import Verifier
    from tlog.signing.anchor import Anchored
    from tlog.storage.database import Database
    from tlog.storage.rows import SealedCheckpoint
    from tlog.storage.runs import Kind
    from tlog.storage.scan import Scan

__all__ = ["CheckEnd", "Place", "Problem", "Report", "fsck", "fsck_mirror", "parse_check_end"]
_SHOWN_ROWS: Final = 20


async def fsck(
    database: Database,
    verifier: Verifier,
    bucket_keys: BucketKeys | None,
    read_anchor: Callable[[], Anchored] | None,
    *,
    second_opinion: bool = False,
    since: CheckEnd | None = None,
    progress: Callable[[int, int], None] = lambda *_: None,
    reached: Callable[[CheckEnd], None] = lambda _: None,
) -> Report:
    """Check a log's database, running or not; return what was checked and what is wrong.

    Args:
        database: the log's.
        verifier: the log's public key.
        bucket_keys: to check index keys against disclosures; without them the report names the index keys as not checked.
        read_anchor: reads what was signed last; without it the report names the anchor as not checked.
        second_opinion: recompute the root hash and a sample of inclusion proofs with pymerkle as well.
        since: where an earlier check of this log ended; only what came since is checked, the index not at all.
        progress: called with (entries done, entries in all).
        reached: called now and then with how far nothing is wrong, from where a check that is broken off can go on.

    Raises:
        NotCheckedError: a second opinion is asked for, but pymerkle is not installed.
        MalformedInputError: `since` is of another log, or a second opinion is asked for of a part.
        OverloadedError: the database is away.

    """
    report = Report(start=0 if since is None else since.size)
    if since is not None and (since.origin != verifier.name or second_opinion):
        message = "a check can only continue an earlier one of the same log, and without a second opinion"
        raise MalformedInputError(message)
    opinion = SecondOpinion() if second_opinion else None
    before = _read_anchor(report, read_anchor)
    async with scan(database, report.start) as snapshot:
        try:
            await snapshot.check_relations()
            # The log may be sealing meanwhile: the snapshot lies between what the anchor held before and holds now.
            after = before and _read_anchor(report, read_anchor)
            anchors = [before, after] if before and after else []
            with Replay() as replay, tempfile.TemporaryDirectory(prefix="tlog-fsck-") as directory:
                join = Join(
                    report,
                    verifier=verifier,
                    bucket_keys=bucket_keys,
                    replay=replay,
                    event_ids=EventIds(Path(directory)),
                    absences=Absences(Path(directory)),
                    since=since,
                )
                check = _Check(snapshot, database, report, join, bucket_keys)
                await check.run(anchors, progress, reached, opinion, partial=since is not None)
        except UnsafeDatabaseError as error:
            report.add("schema", Place("database"), str(error))
            report.leave("the tables (the database refuses to show them, or shows others in their place)")
        except DamagedLogError as error:
            report.add("page damaged", Place("database"), str(error))
            report.leave("everything after the page that PostgreSQL cannot read")
    return report


def _read_anchor(report: Report, read_anchor: Callable[[], Anchored] | None) -> Anchored | None:
    if read_anchor is None:
        report.leave("the anchor (none was given)")
        return None
    try:
        return read_anchor()
    except (AnchorMissingError, ForkError) as error:
        report.add("anchor wrong", Place("anchor"), str(error))
        return None
    except OverloadedError as error:
        report.leave(f"the anchor ({error})")
        return None


class _Check:
    """One pass over a snapshot."""

    def __init__(
        self, snapshot: Scan, database: Database, report: Report, join: Join, bucket_keys: BucketKeys | None
    ) -> None:
        self._scan = snapshot
        self._database = database
        self._report = report
        self._join = join
        self._bucket_keys = bucket_keys

    async def run(
        self,
        anchors: Sequence[Anchored],
        progress: Callable[[int, int], None],
        reached: Callable[[CheckEnd], None],
        opinion: SecondOpinion | None,
        *,
        partial: bool,
    ) -> None:
        """Check everything; `anchors` are what the anchor held before the snapshot was taken and after, if there is one."""
        report, join = self._report, self._join
        state = await self._scan.state()
        report.size = state.size
        checkpoints = await self._scan.checkpoints()
        report.sealed = checkpoints[-1].size if checkpoints else await self._scan.sealed_size()
        await self._ranges(state.size, checkpoints, anchors, progress, reached)
        join.finish(state)
        join.compare_tiles({(level, index): hashes async for level, index, hashes in self._scan.upper_tiles()})
        if not partial:
            await check_stored_index(self._scan, report, join.epochs)
            await check_explanations(self._scan, report, join.lost)
        if not join.damaged:
            compare_table(report, join.intakes.taken(), await self._scan.intakes())
        join.judge_suspects({each.size: each.root for each in checkpoints})
        for each in checkpoints:
            join.checkpoint(each)
        if anchors:
            join.anchor(anchors[0], anchors[-1], checkpoints[-1] if checkpoints else None, state.size)
        if opinion is not None and checkpoints:
            async for entries in self._scan.entries(state.size):
                for entry in entries:
                    opinion.append(entry)
            opinion.check(report, checkpoints[-1].root)
        if not report.problems:
            report.end = join.end()
        if self._bucket_keys is None:
            report.leave("index keys against disclosures (no bucket keys were given)")

    async def _ranges(
        self,
        size: int,
        checkpoints: Sequence[SealedCheckpoint],
        anchors: Sequence[Anchored],
        progress: Callable[[int, int], None],
        reached: Callable[[CheckEnd], None],
    ) -> None:
        """Check the rows, and that they are all there are."""
        report, join = self._report, self._join
        there = await self._scan.count()
        # Rows after the end that the state tells are looked at too, but no gap as wide as a hostile index makes it.
        end = max(size, min((there.last if there.last is not None else -1) + 1, report.start + there.leaves))
        watched = sorted({each.size for each in checkpoints} | {each.size for each in anchors})
        tasks = plan(report.start, end, watched, report.sealed, join.before())
        signed = list(checkpoints)
        name = await self._scan.share()
        async for facts in check_ranges(tasks, self._database, name, self._bucket_keys):
            join.take(facts)
            progress(facts.end, end)
            if not report.problems and not join.has_suspects and join.agrees(signed, facts.end):
                reached(join.end())
        await self._nothing_hidden(there.leaves, end)

    async def _nothing_hidden(self, leaves: int, end: int) -> None:
        """Compare what was read through indexes with what sequential scans count."""
        report, join = self._report, self._join
        if join.stored_leaves != leaves:
            strays = await self._scan.stray_leaves(end)
            for index, rows in strays[:_SHOWN_ROWS]:
                what = "two rows have the same index" if rows > 1 else "the row lies after the end of the log"
                report.add("order", Place("entry", index), what)
            if not strays:
                report.add("row hidden", Place("table leaf"), hidden_rows(leaves, join.stored_leaves))
        await self._runs(ENTRY_RUNS, Place("table entry_run"), join.stored_entry_runs, end)
        await self._runs(DISCLOSURE_RUNS, Place("table disclosure_run"), join.stored_disclosure_runs, end)
        await self._tiles(end)

    async def _runs(self, kind: Kind[Any], table: Place, stored: int, end: int) -> None:
        rows, homeless = await self._scan.count_runs(kind, end)
        if homeless:
            what = f"{counted(homeless, 'row')} of {kind.table} {'holds' if homeless == 1 else 'hold'} what belongs to no entry"
            self._report.add("run damaged", Place("entries from", end), what)
        elif stored != rows:
            self._report.add("row hidden", table, hidden_rows(rows, stored))

    async def _tiles(self, end: int) -> None:
        stored = await self._scan.lowest_tiles()
        if end == self._report.start:
            return  # nothing is new, so nothing was read
        needed = -(-end // TILE_WIDTH)
        self._join.stray_tiles([index for index in stored if index >= needed])
        inside = sum(index < needed for index in stored)
        if inside != self._join.stored_tiles:
            what = hidden_rows(inside, self._join.stored_tiles, " of level 0")
            self._report.add("row hidden", Place("table tile"), what)


def hidden_rows(rows: int, reached: int, which: str = "") -> str:
    """Return what is wrong with the index of a table that has `rows` rows, of which the index reaches another number."""
    differ = abs(rows - reached)
    wrong = "too many" if reached > rows else "is hidden" if differ == 1 else "are hidden"
    return (
        f"the table has {counted(rows, 'row')}{which}, its index reaches {reached:,}: {counted(differ, 'row')} {wrong}. "
        "REINDEX, and find out who altered it"
    )
