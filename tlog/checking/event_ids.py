"""Finding eventIds that were logged twice without trusting the database's unique index, in bounded memory.

The eventIds of a log do not fit into memory. They go to files, ordered by their last byte, which is random in every version of
a UUID in use; all that are equal have the same last byte, so one part after the other is brought together and sorted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, Final

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_RECORD: Final = np.dtype([("high", ">u8"), ("low", ">u8"), ("index", "<u8")])
_PARTS: Final = 256
_AT_ONCE: Final = 1 << 20


class EventIds:
    """The eventIds of a log, kept in a file below `directory`."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "event-ids"
        self._bounds: list[NDArray[np.int64]] = []
        self._count = 0

    def add(self, event_ids: bytes, indexes: NDArray[np.uint64]) -> None:
        """Take eventIds, 16 bytes each, and the indexes of their entries."""
        records = np.empty(len(indexes), _RECORD)
        halves = np.frombuffer(event_ids, ">u8").reshape(-1, 2)
        records["high"], records["low"], records["index"] = halves[:, 0], halves[:, 1], indexes
        last = (records["low"] & np.uint64(_PARTS - 1)).astype(np.uint8)
        order = np.argsort(last, kind="stable")
        bounds = np.searchsorted(last[order], np.arange(_PARTS + 1))
        with self._path.open("ab") as file:
            file.write(records[order].tobytes())
        self._bounds.append(bounds + self._count)
        self._count += len(records)

    def twice(self) -> list[int]:
        """Return the entries whose eventId is that of an earlier one, rising."""
        found: list[int] = []
        if self._count:
            width = max(1, _PARTS * _AT_ONCE // self._count)
            with self._path.open("rb") as file:
                for first in range(0, _PARTS, width):
                    found += self._twice_among(file, first, min(first + width, _PARTS))
        return sorted(found)

    def _twice_among(self, file: BinaryIO, first: int, last: int) -> list[int]:
        """Return those among the eventIds whose last byte is in [first, last)."""
        parts = []
        for bounds in self._bounds:
            start, end = int(bounds[first]), int(bounds[last])
            file.seek(start * _RECORD.itemsize)
            parts.append(np.frombuffer(file.read((end - start) * _RECORD.itemsize), _RECORD))
        records = np.concatenate(parts)
        order = np.lexsort((records["index"], records["low"], records["high"]))
        high, low = records["high"][order], records["low"][order]
        again = (high[1:] == high[:-1]) & (low[1:] == low[:-1])
        return [int(index) for index in records["index"][order[1:][again]]]
