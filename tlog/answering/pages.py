"""The fewest pages of segments that show what the index holds under some keys, and one joint proof of those of each segment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from tlog.answering.lookup import met
from tlog.core.making.posting import PAGES_HEIGHT, RUN_PAGES, RUN_POSTINGS, run_tile
from tlog.core.proof import plan_joint, prove
from tlog.core.segment import (
    PAGE_POSTINGS,
    PAGE_SIZE,
    POSTING_SIZE,
    PageRun,
    RangeProof,
    offset_of,
    place_of,
    split_postings,
)
from tlog.core.tile import nodes_from_tiles, tiles_for

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tlog.core.segment import Segment
    from tlog.core.tile import Tile
    from tlog.storage.reading import View
    from tlog.storage.rows import Epoch

Mode = Literal["answer", "count", "part"]
COUNT: Final = "count"


class KeyRange:
    """The postings of one key in one segment: between which places they are, and which pages show that."""

    def __init__(self, bounds: tuple[bytes, bytes]) -> None:
        self.bounds = bounds
        self.first = self.last = 0
        self.pages: list[int] = []

    @property
    def count(self) -> int:
        """How many postings there are."""
        return self.last - self.first

    def place(self, segment: Segment, runs: dict[int, bytes], edges: Sequence[int], mode: Mode) -> None:
        """Find them in the runs at both ends."""
        places = zip((min(edges), max(edges)), self.bounds, strict=True)
        self.first, self.last = (run * RUN_POSTINGS + place_of(runs[run], bound) for run, bound in places)
        self.pages = sorted(segment.pages_showing(self.first, self.last, ends_only=mode == COUNT))


class ShownSegment:
    """What is read of one segment."""

    def __init__(self, segment: Segment, segment_id: int, bounds: Sequence[tuple[bytes, bytes]]) -> None:
        self.segment = segment
        self.segment_id = segment_id
        self.ranges = [KeyRange(each) for each in bounds]
        self.runs: dict[int, bytes] = {}
        self.pages: list[int] = []

    def place(self, edges: Sequence[Sequence[int]], mode: Mode) -> None:
        """Find the postings of each key, given the runs in which their ends are; there are none in an empty segment."""
        if not self.segment.count:
            return
        for each, runs in zip(self.ranges, edges, strict=True):
            each.place(self.segment, self.runs, runs, mode)
        self.pages = sorted({page for each in self.ranges for page in each.pages})

    def missing(self) -> set[int]:
        """Return which runs have to be read for these pages."""
        return {page // RUN_PAGES for page in self.pages} - self.runs.keys()

    def tiles(self, wanted: Iterable[Tile]) -> dict[tuple[int, int], bytes]:
        """Return those of the wanted tiles that follow from the runs that were read."""
        lowest = [tile.index for tile in wanted if tile.level == 0 and tile.index in self.runs]
        return {(0, index): run_tile(self.runs[index]) for index in lowest}

    def proof(self, hashes: Iterable[bytes]) -> RangeProof:
        """Return the range proof, given the joint proof of the pages."""
        runs: list[PageRun] = []
        for number in self.pages:
            if runs and number == runs[-1].first + len(runs[-1].pages) // PAGE_SIZE:
                runs[-1] = PageRun(runs[-1].first, runs[-1].pages + self._page(number))
            else:
                runs.append(PageRun(number, self._page(number)))
        return RangeProof(tuple(runs), tuple(hashes))

    def indexes(self) -> set[int]:
        """Return the indexes of the entries that the postings point to."""
        found = set()
        for each in self.ranges:
            if each.count:
                pages = b"".join(map(self._page, each.pages))
                before = each.pages[0] * PAGE_POSTINGS
                items = pages[(each.first - before) * POSTING_SIZE : (each.last - before) * POSTING_SIZE]
                found |= {self.segment.start + offset_of(item) for item in split_postings(items)}
        return found

    def _page(self, number: int) -> bytes:
        run, page = divmod(number, RUN_PAGES)
        return self.runs[run][page * PAGE_SIZE : (page + 1) * PAGE_SIZE]


async def find_places(
    view: View, epoch: Epoch, keys: Sequence[bytes], start: int, end: int, *, mode: Mode
) -> list[ShownSegment]:
    """Return of each segment that meets [start, end) where the postings of `keys` are, from the runs at their ends."""
    shown = [
        ShownSegment(segment, number, [segment.bounds(key, start, end) for key in keys])
        for segment, number in met(epoch, start, end)
    ]
    asked = [(each.segment_id, *key_range.bounds) for each in shown for key_range in each.ranges]
    edges: list[list[int]] = [[] for _ in asked]
    for run in await view.find_edge_runs(asked) if asked else []:
        edges[run.asked_at].append(run.number)
        shown[run.asked_at // len(keys)].runs[run.number] = run.pages
    for number, each in enumerate(shown):
        each.place(edges[number * len(keys) : (number + 1) * len(keys)], mode)
    return shown


async def read_pages(view: View, shown: Sequence[ShownSegment]) -> None:
    """Read the runs that are still missing for the pages."""
    missing = [(each, run) for each in shown for run in sorted(each.missing())]
    for run in await view.runs([(each.segment_id, number) for each, number in missing]) if missing else []:
        missing[run.asked_at][0].runs[run.number] = run.pages


async def prove_pages(view: View, shown: Sequence[ShownSegment]) -> list[RangeProof]:
    """Return of each segment the pages and their joint proof."""
    plans = [plan_joint(each.pages, each.segment.pages) if each.pages else [] for each in shown]
    wanted = [tiles_for(plan, each.segment.pages, PAGES_HEIGHT) for each, plan in zip(shown, plans, strict=True)]
    own = [each.tiles(tiles) for each, tiles in zip(shown, wanted, strict=True)]
    missing = [
        (each.segment_id, tile.level, tile.index)
        for each, tiles, had in zip(shown, wanted, own, strict=True)
        for tile in tiles
        if (tile.level, tile.index) not in had
    ]
    stored = await view.index_tiles(missing) if missing else {}
    proofs = []
    for each, plan, had in zip(shown, plans, own, strict=True):
        tiles = {(level, index): tile for (owner, level, index), tile in stored.items() if owner == each.segment_id}
        tiles |= had
        proofs.append(each.proof(prove(plan, nodes_from_tiles(plan, tiles, PAGES_HEIGHT))))
    return proofs
