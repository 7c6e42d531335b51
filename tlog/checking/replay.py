"""Replay: derive every segment of the index again from the entries, as an index that is honest must have.

Entries are taken in order. What is complete is kept as files of sorted postings below a temporary directory, so that
memory stays bounded for a log of any length; any range of entries can be derived from them, whatever the tiling.
"""

from __future__ import annotations

import tempfile
from collections import OrderedDict
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple, Self

import numpy as np

from tlog.core.making.posting import (
    READ_AT_ONCE,
    RUN_SIZE,
    LoggedKeys,
    Merge,
    Postings,
    SegmentBuilder,
    build_segment,
    from_bytes,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tlog.core.segment import Segment

_REMEMBERED: Final = 1_000
_CHUNK: Final = 64 * RUN_SIZE


class _Source(NamedTuple):
    """Sorted postings of the entries [start, end) in a file."""

    start: int
    end: int
    path: Path


class Replay:
    """The index of the entries taken so far. A context manager: its files go with it.

    Args:
        at_once: of how many entries postings are written to one file; four times as many are held in memory.

    """

    def __init__(self, at_once: int = READ_AT_ONCE) -> None:
        self._at_once = at_once
        self._directory = tempfile.TemporaryDirectory(prefix="tlog-replay-")
        self._logged = LoggedKeys(0)
        self._sources: list[_Source] = []
        self._known: OrderedDict[tuple[int, int], Segment] = OrderedDict()

    def __enter__(self) -> Self:
        """Return the replay."""
        return self

    def __exit__(self, *_: object) -> None:
        """Delete its files."""
        self._directory.cleanup()

    def take(self, keys: NDArray[np.uint64], positions: NDArray[np.uint32], count: int) -> None:
        """Take the next `count` entries: their keys as `tlog.core.making.posting.decode_keys` gives them."""
        self._logged.extend_decoded(keys, positions, count)
        written = self._sources[-1].end if self._sources else 0
        while self._logged.end - written >= self._at_once:
            path, end = Path(self._directory.name) / f"{written}", written + self._at_once
            path.write_bytes(self._logged.postings(written, end).to_bytes())
            self._sources.append(_Source(written, end, path))
            written = end
        if written - self._logged.start > 4 * self._at_once:
            self._logged.forget(written - 2 * self._at_once)

    def table(self, ends: Sequence[int]) -> list[Segment]:
        """Return the segments that end at `ends`; all entries below have been taken."""
        return [self.segment(start, end) for start, end in pairwise((0, *ends))]

    def segment(self, start: int, end: int) -> Segment:
        """Return the segment over the entries [start, end)."""
        known = self._known.get((start, end))
        if known is None:
            if start >= self._logged.start:
                known = build_segment(start, end, self._logged.postings(start, end))[0]
            else:
                known = self._merge(start, end)
            self._known[start, end] = known
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return known

    def _merge(self, start: int, end: int) -> Segment:
        """Derive a segment from files, and from young keys where it reaches that far."""
        sources = [source for source in self._sources if source.start < end and source.end > start]
        young_start = max(self._logged.start, sources[-1].end)
        shifts = [source.start - start for source in sources]
        young = self._logged.postings(young_start, end) if young_start < end else None
        merge, builder = Merge([0] * (len(sources) + (young is not None))), SegmentBuilder(start, end)
        whole = sources[0].start == start and sources[-1].end == end and young is None
        path = Path(self._directory.name) / f"{start}-{end}"
        files = [source.path.open("rb") for source in sources]
        with path.open("wb") as out:
            pieces = [_Pieces(file, shift, end - start) for file, shift in zip(files, shifts, strict=True)]
            while True:
                for number in merge.wants():
                    if number < len(pieces):
                        merge.feed(number, pieces[number].read())
                    else:
                        shifted = b"" if young is None else _shifted(young, young_start - start).to_bytes()
                        merge.feed(number, shifted)
                        young = None
                postings = None if merge.wants() else merge.merged()
                if postings is not None:
                    out.writelines(builder.add(postings))
                elif not merge.wants():
                    break
            segment, last, _ = builder.finish()
            out.writelines(last)
        for file in files:
            file.close()
        if whole and len(sources) > 1:
            first = self._sources.index(sources[0])
            self._sources[first : first + len(sources)] = [_Source(start, end, path)]
            for source in sources:
                source.path.unlink()
        else:
            path.unlink()
        return segment


class _Pieces:
    """Reads a file of postings piece by piece, those in [0, length) after shifting."""

    def __init__(self, file: BinaryIO, shift: int, length: int) -> None:
        self._file = file
        self._shift = shift
        self._length = length

    def read(self) -> bytes:
        while data := self._file.read(_CHUNK):
            postings = from_bytes(data)
            offsets = postings.offsets.astype(np.int64) + self._shift
            inside = (offsets >= 0) & (offsets < self._length)
            if inside.any():
                return Postings(postings.keys[inside], offsets[inside].astype(np.uint32)).to_bytes()
        return b""


def _shifted(postings: Postings, shift: int) -> Postings:
    return Postings(postings.keys, postings.offsets + np.uint32(shift))
