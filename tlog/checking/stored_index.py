"""Comparing the stored index with the logged one. The stored index answers questions, and can be made again from the entries."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from tlog.checking.report import Place
from tlog.core.making.posting import SegmentBuilder, from_bytes
from tlog.core.merkle import EMPTY_ROOT
from tlog.core.segment import POSTING_SIZE, Segment, parse_table, table_hash
from tlog.errors import TlogError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tlog.checking.absent import Statement
    from tlog.checking.report import Report
    from tlog.storage.scan import Scan


async def check_stored_index(scan: Scan, report: Report, epochs: Mapping[int, bytes]) -> None:
    """Compare what is stored of the index with the epochs that were logged.

    Args:
        scan: the snapshot.
        report: where problems go.
        epochs: by the index of its entry, the 32-byte hash of the table that each epoch commits to.

    """
    wanted: dict[int, Segment] = {}
    for epoch in await scan.epochs():
        place = Place("epoch", epoch.size)
        try:
            segments = parse_table(epoch.table)
        except TlogError as error:
            _drift(report, place, str(error))
            continue
        logged = epochs.get(epoch.entry_index)
        if logged != table_hash(epoch.table) or len(segments) != len(epoch.segment_ids):
            _drift(report, place, "the stored table is not the one that was logged")
        wanted |= dict(zip(epoch.segment_ids, segments, strict=False))
    stored = {segment_id: segment async for segment_id, segment in scan.segments() if segment_id in wanted}
    built, digests = await _stored_pages(scan, report, wanted)
    async for segment_id, level, index, hashes in scan.index_tiles():
        if segment_id in wanted and digests.pop((segment_id, level, index), None) != sha256(hashes).digest():
            _drift(
                report,
                Place("segment", segment_id),
                f"tile {level}/{index} is not the one that the segment's pages make",
            )
    for segment_id, level, index in digests:
        _drift(report, Place("segment", segment_id), f"tile {level}/{index} is missing")
    for segment_id, segment in wanted.items():
        report.checked["segments"] += 1
        if stored.get(segment_id) != segment:
            _drift(report, Place("segment", segment_id), "the segment's row is missing, or is not what the table says")
        if built.get(segment_id, Segment(segment.start, segment.end, 0, EMPTY_ROOT)) != segment:
            _drift(
                report, Place("segment", segment_id), "the segment's pages do not lead to the root hash in the table"
            )


async def check_explanations(scan: Scan, report: Report, statements: Sequence[Statement]) -> None:
    """Compare what is kept of what outcomes explain with the outcomes themselves, as far as the newest stored epoch reaches."""
    size = max((epoch.size for epoch in await scan.epochs()), default=0)
    said = {(each.own, "lost", each.lost.start, each.lost.end) for each in statements if each.own < size}
    kept = {(each.by, each.kind, each.start, each.end) for each in await scan.explanations()}
    for explanation in sorted(said ^ kept):
        _drift(report, Place("entry", explanation[0]), "what is kept of what this entry explains is not what it says")


async def _stored_pages(
    scan: Scan, report: Report, wanted: Mapping[int, Segment]
) -> tuple[dict[int, Segment], dict[tuple[int, int, int], bytes]]:
    """Return what the stored pages of each wanted segment make, and the digests of the tiles over them."""
    builders: dict[int, SegmentBuilder] = {}
    built: dict[int, Segment] = {}
    digests: dict[tuple[int, int, int], bytes] = {}
    async for segment_id, run, first_posting, pages in scan.runs():
        if segment_id not in wanted:
            continue
        if segment_id not in builders:
            builders[segment_id] = SegmentBuilder(*wanted[segment_id][:2])
            following = 0
        if run != following or first_posting != pages[:POSTING_SIZE] or len(pages) % POSTING_SIZE:
            _drift(report, Place("segment", segment_id), f"run {run} of the segment's pages is not in its place")
        following = run + 1
        builder = builders[segment_id]
        builder.add(from_bytes(pages[: len(pages) // POSTING_SIZE * POSTING_SIZE]))
        tiles = builder.full_tiles()
        digests |= {(segment_id, *key): sha256(tile).digest() for key, tile in tiles.items()}
    for segment_id, builder in builders.items():
        built[segment_id], _, tiles = builder.finish()
        digests |= {(segment_id, *key): sha256(tile).digest() for key, tile in tiles.items()}
    return built, digests


def _drift(report: Report, place: Place, what: str) -> None:
    report.add("index drift", place, f"{what}. Run 'tlog reindex' to make the index again from the entries")
