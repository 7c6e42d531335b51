"""The rules of intakes: what of each partition is taken begins where it ended before (docs/reference/formats.md, "Intake").

The log is what says how far a stream was taken. The database's table is a copy of that, so it is compared with the log and never
the other way round.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tlog.checking.report import Place
from tlog.storage.intake import Taken

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tlog.checking.report import Report
    from tlog.core.intake import Intake, Part


class Intakes:
    """Where the intakes so far lead to; taken in the order of the log."""

    def __init__(self, taken: Iterable[Taken] = ()) -> None:
        """Go on from where an earlier check, or a database, has got to."""
        self._taken = {(each.stream, each.partition): each for each in taken}

    def take(self, intake: Intake) -> Iterator[str]:
        """Take the next intake; yield in words each rule that it breaks, and go on from where it ends."""
        for part in intake.partitions:
            before = self._taken.get((intake.stream, part.partition))
            if (wrong := _wrong(before, part)) is not None:
                yield f"partition {part.partition} of {intake.stream}: {wrong}"
            released = part.released is True or (before is not None and before.released)
            taken = Taken(intake.stream, part.partition, part.end, released)
            self._taken[intake.stream, part.partition] = taken

    def taken(self) -> list[Taken]:
        """Return how far each partition is taken, by stream and partition."""
        return sorted(self._taken.values())


def _wrong(before: Taken | None, part: Part) -> str | None:
    if before is None:
        return None if part.opens() else "the first that is said of it is no opening"
    if before.released:
        return "something is said of it after it was released"
    if part.start != before.next_offset:
        return f"it goes on at {part.start}, and was taken up to {before.next_offset}"
    return None


def compare_table(report: Report, logged: Iterable[Taken], stored: Iterable[Taken]) -> None:
    """Compare how far the table says that streams are taken with what the log says."""
    said = {(each.stream, each.partition): each for each in logged}
    kept = {(each.stream, each.partition): each for each in stored}
    for place in sorted(said.keys() | kept.keys()):
        if said.get(place) != kept.get(place):
            logs, tables = _words(said.get(place)), _words(kept.get(place))
            what = f"partition {place[1]} of {place[0]}: the log says {logs}, the table {tables}"
            report.add("intake wrong", Place("table intake"), what)


def _words(taken: Taken | None) -> str:
    if taken is None:
        return "nothing"
    return f"that {taken.next_offset} is next" + ", and that it is released" * taken.released
