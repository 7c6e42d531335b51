"""Judging absent disclosures: each entry of which nothing is there is explained by a sealed outcome, or it is MISSING.

Own format (docs/reference/formats.md, "What an outcome explains"). An entry of which some groups are there and others are not is
never explained; whoever checks the range names it at once. The others are kept on disk until all outcomes are known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from tlog.checking.report import Explained, Place
from tlog.core.commitment import group_names
from tlog.core.outcome import Seen

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from tlog.checking.report import Report
    from tlog.core.outcome import Lost

ABSENT: Final = np.dtype([("index", "<u8"), ("groups", "u1")])
UNEXPLAINED: Final = "absent, and no outcome explains it"
_PERSONAL: Final = 2


class Statement(NamedTuple):
    """An outcome `lost`: the index of its entry, its time, and what it says.

    `last_event` and `last_present` are the last event and the last entry that is disclosed before it, -1 where there is none.
    """

    own: int
    logged_at: str
    lost: Lost
    last_event: int
    last_present: int


def pack_groups(*, actor: bool, resource: bool, related: int) -> int:
    """Return which groups an entry has as one byte."""
    return actor | resource << 1 | related << _PERSONAL


def unpack_groups(groups: int) -> list[str]:
    """Return the groups of `pack_groups`, in their order."""
    names = group_names(groups >> _PERSONAL)
    return [name for number, name in enumerate(names) if number >= _PERSONAL or groups >> number & 1]


class Absences:
    """The entries of which nothing is disclosed, in rising order, on disk."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "absent"
        self._size = 0

    def add(self, absent: NDArray[np.void]) -> None:
        """Take in the next ones, an array of `ABSENT`."""
        if len(absent):
            with self._path.open("ab") as file:
                file.write(absent.tobytes())
            self._size += len(absent)

    def judge(self, report: Report, statements: Sequence[Statement]) -> None:
        """Name those that are MISSING, and note which outcome explains the others."""
        if not self._size:
            return
        rows: NDArray[np.void] = np.memmap(self._path, ABSENT, mode="r")
        indexes = rows["index"]
        explained = np.zeros(len(rows), bool)
        doubts: dict[int, str] = {}
        for said in statements:
            found = slice(*np.searchsorted(indexes, (said.lost.start, said.lost.end)))
            if found.start == found.stop:
                continue
            if doubt := _contradiction(report, indexes, said):
                doubts |= dict.fromkeys(range(found.start, min(found.stop, found.start + 1_000)), f"; {doubt}")
            elif said.own >= report.sealed:
                left = int(found.stop - found.start)
                report.leave(
                    f"{left:,} events without disclosures: LOST, says entry {said.own}, which is not sealed yet"
                )
                explained[found] = True
            else:
                number = int((~explained[found]).sum())
                explained[found] = True
                report.explained.append(Explained(said.own, said.logged_at, number))
        for row in np.flatnonzero(~explained).tolist():
            groups = unpack_groups(int(rows["groups"][row]))
            report.checked["missing"] += len(groups)
            what = f"{', '.join(groups)}: {UNEXPLAINED}{doubts.get(row, '')}"
            report.add("MISSING", Place("entry", int(indexes[row])), what)


def _contradiction(report: Report, indexes: NDArray[np.uint64], said: Statement) -> str:
    """Return what shows that an outcome is not true, or ""."""
    if said.lost.end > said.own:
        return f"entry {said.own} says 'lost' of entries after itself"
    # Nothing of [start, end) is there, or the last that is there would say so: then the absent ones are all that commit.
    present = [said.last_present] if said.last_present >= 0 else []
    events = [said.last_event] if said.last_event >= 0 else []
    return said.lost.contradicted(said.own, Seen(range(report.start, report.size), indexes, events, present))  # type: ignore[arg-type]
