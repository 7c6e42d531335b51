"""Following a log: as it grows, every index epoch is derived again from the entries, and what entries say is held together.

The same checks as of a mirror (`tlog.checking.mirrored`), taken up where the last ones ended, for as long as the process lives.
An entry counts only as what the signed root hash covers: entries that lead to another one convict nobody, because whoever
stands between may have changed them; what was taken is forgotten then, and the next time begins at the first entry.

Left out: keeping what was taken over the end of the process.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tlog.checking.event_ids import EventIds
from tlog.checking.join import Join
from tlog.checking.ranges import RangeCheck
from tlog.checking.replay import Replay
from tlog.checking.report import Report
from tlog.checking.runs import Opened
from tlog.checking.workers import plan
from tlog.core.tile import TILE_WIDTH, tile_width
from tlog.errors import NotCheckedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tlog.checking.facts import RangeFacts
    from tlog.checking.mirror import Mirror
    from tlog.checking.report import Damage, Problem
    from tlog.checking.runs import EntryRow
    from tlog.checking.workers import Task
    from tlog.core.checkpoint import Checkpoint
    from tlog.core.note import Verifier

# What a log is to blame for. Anything else that is wrong is a matter of how its entries came here.
_OF_THE_LOG: Final[frozenset[Damage]] = frozenset(
    ("duplicate id", "entry malformed", "index keys wrong", "index wrong", "intake wrong", "order")
)
_ID_GROWTH: Final = 1.1  # of the log, until eventIds are looked through again: all of them are sorted each time


class Follow:
    """What the entries of one log say, as far as they were taken."""

    def __init__(self, log: Verifier) -> None:
        """Prepare to take the entries of the log with this key."""
        self._log = log
        self._files = ExitStack()
        self._report, self._join = self._begin()
        self._twice: Sequence[Problem] = ()
        self._ids_until = 0.0

    def close(self) -> None:
        """Delete what was written aside."""
        self._files.close()

    def advance(self, mirror: Mirror, signed: Checkpoint) -> Sequence[Problem]:
        """Take the entries up to a checkpoint, which continues the last one; return what the log is to blame for so far.

        Raises:
            NotCheckedError: entries or tiles are refused, missing, or do not lead to the checkpoint.
            MalformedInputError: an answer has another form or size than it must have.
            OverloadedError: the mirror cannot be reached.

        """
        for task in plan(self._join.size, signed.size, [signed.size], signed.size, self._join.before()):
            self._join.take(self._read(mirror, task))
        if self._join.size >= self._ids_until:
            self._ids_until = self._join.size * _ID_GROWTH
            self._twice = self._join.twice()
        others = [problem for problem in self._report.problems if problem.damage not in _OF_THE_LOG]
        if others or self._join.has_suspects or (signed.size and self._join.root_of(signed.size) != signed.root):
            self._report, self._join = self._begin()
            self._twice, self._ids_until = (), 0.0
            message = f"{mirror.name}: the entries do not lead to the checkpoint of {signed.size} entries"
            raise NotCheckedError(message)
        return [*self._report.problems, *self._twice]

    def _begin(self) -> tuple[Report, Join]:
        """Return what nothing was taken of yet; files of what was taken before are deleted."""
        self._files.close()
        directory = self._files.enter_context(tempfile.TemporaryDirectory(prefix="tlog-follow-"))
        replay, ids, report = self._files.enter_context(Replay()), EventIds(Path(directory)), Report()
        return report, Join(report, verifier=self._log, bucket_keys=None, replay=replay, event_ids=ids)

    def _read(self, mirror: Mirror, task: Task) -> RangeFacts:
        """Return the facts of a range, nothing of which was taken if a part of it cannot be had."""
        bundles = range(task.start // TILE_WIDTH, -(-task.end // TILE_WIDTH))
        widths = {index: tile_width(0, index, task.sealed) for index in bundles}
        tiles = {index: mirror.tile(0, index, width) for index, width in widths.items()}
        before = task.before or self._join.before()
        check = RangeCheck(task.start, before, task.watched, tiles, sealed=task.sealed, bucket_keys=None, columns=False)
        for index, width in widths.items():
            start = index * TILE_WIDTH
            entries = list(enumerate(mirror.entries(index, width), start))[max(0, task.start - start) :]
            rows: list[EntryRow] = [(at, None, entry, b"", b"") for at, entry in entries]
            check.take(Opened(rows, [], {}, set()))
        return check.finish()
