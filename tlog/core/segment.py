"""Segments: the verifiable index over the log, its table, and proofs of what it holds and what it does not.

Own format (docs/reference/formats.md, "Segment"). A segment indexes the entries [start, end). It is the sorted sequence of
its *postings*, each an index key's first 8 bytes and the entry's offset from `start` in 4 bytes, cut into *pages* of 32
postings; its root hash is that of the RFC 6962 tree over the pages. The *table* of an index epoch lists segments that
cover [0, size) without gap; an `index` entry of the log commits to its hash.

Because postings are sorted, the pages around a place prove what is there and what is not: a *range proof* carries one or
two runs of neighbouring pages and the joint proof of them (`tlog.core.proof`). Making segments is `tlog.core.making.posting`.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from hashlib import sha256
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

from tlog.core.merkle import EMPTY_ROOT, leaf_hash
from tlog.core.proof import verify_joint
from tlog.core.pseudonym import DISTINCT_SIZE
from tlog.errors import MalformedInputError, VerificationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

POSTING_SIZE: Final = DISTINCT_SIZE + 4
PAGE_POSTINGS: Final = 32
PAGE_SIZE: Final = PAGE_POSTINGS * POSTING_SIZE
MAX_LENGTH: Final = (1 << 32) - 1
_ROW: Final = struct.Struct(">QQQ32s")
_OFFSET: Final = struct.Struct(">I")


class Segment(NamedTuple):
    """One row of the table: `count` postings of the entries [start, end), under `root` (32 bytes)."""

    start: int
    end: int
    count: int  # type: ignore[assignment]  # hides tuple.count, which means nothing here
    root: bytes

    @property
    def pages(self) -> int:
        """How many pages it has; the last one may be partial."""
        return -(-self.count // PAGE_POSTINGS)

    def bounds(self, key: bytes, start: int, end: int) -> tuple[bytes, bytes]:
        """Return the postings [low, high) between which every one of `key` for entries in [start, end) lies here."""
        low = min(max(start, self.start), self.end) - self.start
        high = min(max(end, self.start), self.end) - self.start
        return posting(key, low), posting(key, max(low, high))

    def pages_showing(self, first: int, last: int, *, ends_only: bool) -> set[int]:
        """Return the fewest pages that show which postings are at the places [first, last) and that no more belong to them.

        Args:
            first: the place of the first posting, below or at `count`, which is above 0.
            last: the place after the last one.
            ends_only: of the pages between both ends none is needed, because only the number is asked for.

        """
        ends = [
            (max(place - 1, 0) // PAGE_POSTINGS, min(place, self.count - 1) // PAGE_POSTINGS) for place in (first, last)
        ]
        return {*ends[0], *ends[1]} if ends_only else set(range(ends[0][0], ends[1][1] + 1))


class PageRun(NamedTuple):
    """Neighbouring pages: the number of the first, and their bytes."""

    first: int
    pages: bytes


class RangeProof(NamedTuple):
    """Runs of pages, first to last, and the joint proof of all of them."""

    runs: tuple[PageRun, ...]
    hashes: tuple[bytes, ...]


def posting(key: bytes, offset: int) -> bytes:
    """Return the 12-byte posting of an index key (its first 8 bytes count) at an offset in its segment."""
    return key[:DISTINCT_SIZE] + _OFFSET.pack(offset)


def offset_of(item: bytes) -> int:
    """Return the offset of a 12-byte posting."""
    offset: int = _OFFSET.unpack_from(item, DISTINCT_SIZE)[0]
    return offset


def split_postings(data: bytes) -> list[bytes]:
    """Return the 12-byte postings that pages are made of."""
    return [data[start : start + POSTING_SIZE] for start in range(0, len(data), POSTING_SIZE)]


def place_of(data: bytes, bound: bytes) -> int:
    """Return how many of the postings that pages are made of, which rise, are smaller than `bound`."""
    # Looks at a dozen of them; splitting a run of pages takes a hundred times as long.
    numbers = range(len(data) // POSTING_SIZE)
    return bisect_left(numbers, bound, key=lambda number: data[number * POSTING_SIZE : (number + 1) * POSTING_SIZE])


def format_table(segments: Iterable[Segment]) -> bytes:
    """Return the table's bytes: u64 start || u64 end || u64 count || root for each segment."""
    return b"".join(_ROW.pack(*segment) for segment in segments)


def parse_table(data: bytes) -> list[Segment]:
    """Return the segments of a table.

    Raises:
        MalformedInputError: they do not cover [0, size) without gap, or a root is not that of no pages.

    """
    segments = [] if len(data) % _ROW.size else [Segment(*row) for row in _ROW.iter_unpack(data)]
    starts = [0, *(segment.end for segment in segments)]
    gapless = all(
        segment.start == start < segment.end <= start + MAX_LENGTH
        for segment, start in zip(segments, starts, strict=False)
    )
    if not segments or not gapless:
        message = (
            "the segment table does not cover the log from its first entry, without gap, in segments below 2^32 entries"
        )
        raise MalformedInputError(message)
    if any(segment.count == 0 and segment.root != EMPTY_ROOT for segment in segments):
        message = "a segment without postings has another root than that of no pages"
        raise MalformedInputError(message)
    return segments


def table_hash(table: bytes) -> bytes:
    """Return the 32-byte hash that an `index` entry commits to, SHA-256(0x13 || rows)."""
    return sha256(b"\x13" + table).digest()


def verify_ranges(segment: Segment, bounds: Sequence[tuple[bytes, bytes]], proof: RangeProof) -> list[list[bytes]]:
    """Return the postings [low, high) of a segment for each of several bounds, proved to be all of them.

    Args:
        segment: from a table the caller has checked.
        bounds: 12-byte postings (low, high): the first one that is asked for, and the first after the last one.
        proof: the fewest pages that show all of that, neighbours in one run.

    Raises:
        VerificationError: the proof does not prove that, or has a page that nothing asks for.

    """
    places = _verify_places(segment, bounds, proof, ends_only=False)
    postings = {
        run.first * PAGE_POSTINGS + at: item for run in proof.runs for at, item in enumerate(split_postings(run.pages))
    }
    return [[postings[place] for place in range(*each)] for each in places]


def verify_counts(segment: Segment, bounds: Sequence[tuple[bytes, bytes]], proof: RangeProof) -> list[int]:
    """Return how many postings [low, high) a segment has for each of several bounds, proved by the fewest pages at both ends.

    Raises:
        VerificationError: the proof does not prove the numbers, or has a page that nothing asks for.

    """
    return [last - first for first, last in _verify_places(segment, bounds, proof, ends_only=True)]


def verify_number(segment: Segment, low: bytes, high: bytes, proof: RangeProof) -> int:
    """Return how many postings [low, high) a segment has, proved by pages that may be there for other bounds as well.

    Raises:
        VerificationError: the proof does not prove a number.

    """
    if not segment.count:
        _check_empty(proof)
        return 0
    _check_pages(segment, proof)
    return _locate(segment, high, proof) - _locate(segment, low, proof)


def _verify_places(
    segment: Segment, bounds: Sequence[tuple[bytes, bytes]], proof: RangeProof, *, ends_only: bool
) -> list[tuple[int, int]]:
    """Return where among the postings of a segment each of `bounds` begins and ends."""
    if not segment.count:
        _check_empty(proof)
        return [(0, 0)] * len(bounds)
    shown = _check_pages(segment, proof)
    places = [(_locate(segment, low, proof), _locate(segment, high, proof)) for low, high in bounds]
    # Whether all are there is looked at before they are counted: a log may say that there are 2^50 of them.
    spans = [0 if ends_only else (last - first) // PAGE_POSTINGS for first, last in places]
    if max(spans, default=0) > len(shown) or shown != {
        page for each in places for page in segment.pages_showing(*each, ends_only=ends_only)
    }:
        message = "the pages are not the fewest that show all postings of what is asked"
        raise VerificationError(message)
    return places


def _check_empty(proof: RangeProof) -> None:
    if proof != RangeProof((), ()):
        message = "there is a proof for a segment without pages"
        raise VerificationError(message)


def _check_pages(segment: Segment, proof: RangeProof) -> set[int]:
    """Check that the runs are pages of the segment, in order, and the postings rising; return the numbers of the pages."""
    leaves: dict[int, bytes] = {}
    least = 0
    for run in proof.runs:
        pages = [run.pages[start : start + PAGE_SIZE] for start in range(0, len(run.pages), PAGE_SIZE)]
        last = run.first + len(pages) - 1
        short = segment.count % PAGE_POSTINGS or PAGE_POSTINGS
        width = short if last == segment.pages - 1 else PAGE_POSTINGS
        # That the last of them is below the number of pages is for the joint proof to say.
        if not pages or run.first < least or len(pages[-1]) != width * POSTING_SIZE:
            message = "the pages are not pages of their segment"
            raise VerificationError(message)
        leaves |= {run.first + number: leaf_hash(page) for number, page in enumerate(pages)}
        least = last + 2  # two runs have at least one page between them, or they would be one
    if any(a >= b for a, b in pairwise(split_postings(b"".join(run.pages for run in proof.runs)))):
        message = "the postings of a segment are not in order"
        raise VerificationError(message)
    verify_joint(segment.pages, leaves, proof.hashes, segment.root)
    return set(leaves)


def _locate(segment: Segment, bound: bytes, proof: RangeProof) -> int:
    """Return how many postings of the segment are smaller than `bound`.

    A run shows it if the postings before the run are smaller than `bound` (the run's first one is, or it has none before it),
    and the postings after the run are not (the run's last one is not, or it has none after it).
    """
    for run in proof.runs:
        start, pages = run.first * PAGE_POSTINGS, run.pages
        end = start + len(pages) // POSTING_SIZE
        if (start == 0 or pages[:POSTING_SIZE] < bound) and (end == segment.count or pages[-POSTING_SIZE:] >= bound):
            return start + place_of(pages, bound)
    message = "the pages do not show where the asked postings would be"
    raise VerificationError(message)
