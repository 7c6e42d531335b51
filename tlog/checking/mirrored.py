"""The same check of a log as somebody else holds it: an exported directory, or a log that is served over HTTP.

What such a copy lacks is said to be unchecked: columns, disclosures, the stored index, the anchor. Its entries, tiles of every
level, chain and signed checkpoint are checked as those of a database are, by the same code, and every logged index epoch is
derived again from the entries: this is how somebody independent convicts an index that cheats.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from tlog.checking.event_ids import EventIds
from tlog.checking.join import Join
from tlog.checking.ranges import RangeCheck
from tlog.checking.replay import Replay
from tlog.checking.report import Place, Report
from tlog.checking.runs import Opened
from tlog.checking.workers import plan
from tlog.core.checkpoint import open_checkpoint
from tlog.core.proof import plan_consistency, prove, verify_consistency
from tlog.core.tile import TILE_WIDTH, Tile, nodes_from_tiles, tile_width, tiles_for
from tlog.errors import MalformedInputError, NotCheckedError, TlogError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tlog.checking.facts import RangeFacts
    from tlog.checking.mirror import Mirror
    from tlog.checking.runs import EntryRow
    from tlog.checking.workers import Task
    from tlog.core.checkpoint import Checkpoint
    from tlog.core.note import Verifier

_TRIES: Final = 5
_PAUSE_SECONDS: Final = 0.1
_LACKS: Final = "disclosures, stored index, API keys and anchor (a mirror has none)"


def fsck_mirror(
    mirror: Mirror,
    verifier: Verifier,
    *,
    earlier: bytes | None = None,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> Report:
    """Check a mirror of a log; return what was checked and what is wrong.

    Args:
        mirror: the copy to check.
        verifier: the log's public key.
        earlier: an earlier checkpoint of this log, which the mirror's has to continue.
        progress: called with (entries done, entries in all).

    Raises:
        NotCheckedError: the mirror has no checkpoint.
        MalformedInputError: `earlier` is not a checkpoint of this log.
        OverloadedError: the mirror cannot be reached.

    """
    before = None if earlier is None else open_checkpoint(earlier, verifier)
    report = Report(lacks=_LACKS)
    try:
        head = _read_head(mirror, verifier)
    except _InvalidCheckpointError as error:
        report.add("checkpoint wrong", Place("checkpoint"), str(error))
        report.leave("entries, tiles and chain (without a valid checkpoint there is nothing to compare them with)")
        return report
    signed = head.signed
    report.size = report.sealed = signed.size
    with Replay() as replay, tempfile.TemporaryDirectory(prefix="tlog-fsck-") as directory:
        ids = EventIds(Path(directory))
        join = Join(report, verifier=verifier, bucket_keys=None, replay=replay, event_ids=ids)
        _Mirrored(mirror, report, join).run(head, before, progress)
    return report


class _InvalidCheckpointError(Exception):
    """The mirror's checkpoint does not open."""


class _Head(NamedTuple):
    """What a mirror says first: its checkpoint, and the file of its chain (None: it has none).

    `fault` says why the file is none; `moved` that no two answers were of the same size because the log grew meanwhile.
    """

    note: bytes
    signed: Checkpoint
    chain: tuple[int, bytes] | None
    fault: str = ""
    moved: bool = False


def _read_head(mirror: Mirror, verifier: Verifier) -> _Head:
    """Return the mirror's checkpoint and chain of the same size; a log that is served grows, so both may be asked for again.

    Raises:
        _InvalidCheckpointError: the checkpoint does not open.
        NotCheckedError: there is none.
        OverloadedError: the mirror cannot be reached.

    """
    seen = set()
    for _ in range(_TRIES):
        head = _ask_head(mirror, verifier)
        if head.fault or head.chain is None or head.chain[0] == head.signed.size:
            return head
        seen.add((head.note, head.chain))
        time.sleep(_PAUSE_SECONDS)
    return head._replace(moved=len(seen) > 1)


def _ask_head(mirror: Mirror, verifier: Verifier) -> _Head:
    note = mirror.checkpoint()
    try:
        signed = open_checkpoint(note, verifier)
    except TlogError as error:
        raise _InvalidCheckpointError(error) from None
    try:
        return _Head(note, signed, mirror.chain())
    except MalformedInputError as error:
        return _Head(note, signed, None, fault=str(error))


class _Mirrored:
    """One pass over a mirror."""

    def __init__(self, mirror: Mirror, report: Report, join: Join) -> None:
        self._mirror = mirror
        self._report = report
        self._join = join

    def run(self, head: _Head, earlier: Checkpoint | None, progress: Callable[[int, int], None]) -> None:
        join, report, signed = self._join, self._report, head.signed
        watched = [signed.size]
        for task in plan(0, signed.size, watched, signed.size, join.before()):
            join.take(self._range(task))
            progress(task.end, signed.size)
        join.finish(None)
        upper = self._upper(signed.size)
        join.compare_tiles(dict(upper))
        join.judge_suspects({signed.size: signed.root})
        join.note(head.note, Place("checkpoint"))
        report.checked["checkpoints"] += 1
        self._chain(head)
        if earlier is not None:
            self._continues(earlier, signed, upper)

    def _range(self, task: Task) -> RangeFacts:
        """Check a range; where a bundle is missing or damaged, its tiles stand in for the entries."""
        tiles = {}
        for index in range(task.start // TILE_WIDTH, -(-task.end // TILE_WIDTH)):
            tiles[index] = self._tile(0, index, tile_width(0, index, task.sealed))
        before = task.before or self._join.before()
        check = RangeCheck(task.start, before, task.watched, tiles, sealed=task.sealed, bucket_keys=None, columns=False)
        for start in range(task.start, task.end, TILE_WIDTH):
            index, width = start // TILE_WIDTH, min(TILE_WIDTH, task.end - start)
            try:
                entries = self._mirror.entries(index, width)
            except NotCheckedError:
                continue  # the next bundle, or the end, says which entries are missing
            except MalformedInputError as error:
                self._report.add("entry malformed", Place("entry", start, start + width), str(error))
                continue
            rows: list[EntryRow] = [(start + n, None, entry, b"", b"") for n, entry in enumerate(entries)]
            check.take(Opened(rows, [], {}, set()))
        check.skip(task.end)
        return check.finish()

    def _tile(self, level: int, index: int, width: int) -> bytes:
        try:
            return self._mirror.tile(level, index, width)
        except NotCheckedError:
            return b""
        except MalformedInputError as error:
            self._report.add("tile changed", Place.of_tile(Tile(level, index, width)), str(error))
            return b""

    def _upper(self, size: int) -> dict[tuple[int, int], bytes]:
        """Return all tiles above level 0."""
        tiles = {}
        level = 1
        while (count := size >> 8 * level) > 0:
            for index in range(-(-count // TILE_WIDTH)):
                data = self._tile(level, index, tile_width(level, index, size))
                if data:
                    tiles[level, index] = data
            level += 1
        return tiles

    def _chain(self, head: _Head) -> None:
        if head.fault:
            self._report.add("chain broken", Place("chain"), head.fault)
        elif head.chain is None:
            self._report.leave("the chain (the mirror has no file of it)")
        elif head.moved:
            self._report.leave(f"the chain (the log grew each of the {_TRIES} times that it was asked for)")
        elif head.chain != (head.signed.size, self._join.chain):
            self._report.add(
                "chain broken",
                Place("chain"),
                "the chain over the entries ends in another hash than the mirror's file of it says",
            )

    def _continues(self, earlier: Checkpoint, signed: Checkpoint, upper: dict[tuple[int, int], bytes]) -> None:
        """Check that this tree continues one that was signed earlier."""
        place = Place("checkpoint", earlier.size)
        if earlier.size > signed.size:
            self._report.add(
                "ROLLBACK", place, f"{earlier.size} entries were signed, the mirror has only {signed.size}"
            )
            return
        wanted = plan_consistency(earlier.size, signed.size)
        tiles = dict(upper)
        for tile in tiles_for(wanted, signed.size):
            if tile.level == 0:
                tiles[0, tile.index] = self._tile(*tile)
        try:
            proof = prove(wanted, nodes_from_tiles(wanted, tiles))
            verify_consistency(earlier.size, signed.size, earlier.root, signed.root, proof)
        except TlogError as error:
            self._report.add("root wrong", place, f"the tree does not continue the one signed earlier: {error}")
        self._report.checked["checkpoints"] += 1
