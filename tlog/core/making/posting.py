"""Making segments: from the index keys of entries to sorted postings, merged postings, and pages under a root hash.

The format is `tlog.core.segment`'s. Here postings are numpy arrays, because there are three or more for every event and a log has
millions of them; nothing in here is needed to verify. Merging and building take and give pieces of bounded size and leave
reading and writing to their caller, so that a segment of any length is made in little memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from tlog.core.making.integrate import integrate
from tlog.core.merkle import HASH_SIZE, leaf_hashes, parents
from tlog.core.pseudonym import DISTINCT_SIZE
from tlog.core.segment import PAGE_POSTINGS, PAGE_SIZE, Segment
from tlog.core.tile import root_from_tiles

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

# Of the tiles over the pages: what a proof hashes in each of them is 11 times two hashes, instead of 247 in a published tile.
PAGES_HEIGHT: Final = 4
# As many as a tile of the lowest level covers, so that it follows from the run; and a row of the database that it keeps whole.
RUN_PAGES: Final = 1 << PAGES_HEIGHT
RUN_POSTINGS: Final = RUN_PAGES * PAGE_POSTINGS
RUN_SIZE: Final = RUN_PAGES * PAGE_SIZE
# A base64url key of 22 characters as it stands in an entry, with the three characters after it: `","` before another key, `"],`
# after the last one. An entry without keys has a row of spaces.
KEY_ROW_SIZE: Final = 22 + 3
NO_KEYS: Final = b" " * KEY_ROW_SIZE
# Of how many entries keys are read and derived at once.
READ_AT_ONCE: Final = 1 << 16
_PARTS_BITS: Final = 3
_KEYS: Final = b'"keys":["'
KEYS_END: Final = b'"],'
_SPACE: Final = ord(" ")
_BRACKET: Final = ord("]")
_BRACKET_AT: Final = 23
_POSTING: Final = np.dtype([("key", ">u8"), ("offset", ">u4")])
_ALPHABET: Final = np.frombuffer(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", np.uint8)
# Of two characters of base64url, read as a number of two bytes, the first one lower: their twelve bits.
_TWELVE_BITS: Final = np.zeros(1 << 16, np.uint16)
_TWELVE_BITS[_ALPHABET + (_ALPHABET[:, None].astype(np.uint16) << 8)] = np.arange(1 << 12).reshape(64, 64).T
_PAIR: Final = np.dtype("<u2")


class Postings(NamedTuple):
    """Sorted postings: the first 8 bytes of each key as a number, and the offset of each entry."""

    keys: NDArray[np.uint64]
    offsets: NDArray[np.uint32]

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.keys)

    def to_bytes(self) -> bytes:
        """Return them as they stand in pages."""
        packed = np.empty(len(self.keys), _POSTING)
        packed["key"], packed["offset"] = self.keys, self.offsets
        return packed.tobytes()


NO_POSTINGS: Final = Postings(np.empty(0, np.uint64), np.empty(0, np.uint32))


def find_posting(postings: Postings, key: bytes, low: int, high: int) -> tuple[int, int]:
    """Return where the postings of `key` with offsets in [low, high) begin and end among sorted ones."""
    wanted = np.uint64(int.from_bytes(key[:DISTINCT_SIZE]))
    first, last = (int(np.searchsorted(postings.keys, wanted, side)) for side in ("left", "right"))
    begin, end = np.searchsorted(postings.offsets[first:last], (low, high))
    return first + int(begin), first + int(end)


def from_bytes(pages: bytes) -> Postings:
    """Return the postings of pages."""
    packed = np.frombuffer(pages, _POSTING)
    return Postings(packed["key"].astype(np.uint64), packed["offset"].astype(np.uint32))


def keys_text(entry: bytes) -> bytes:
    """Return the keys of an entry as they stand in it, KEY_ROW_SIZE bytes for each; NO_KEYS of an entry without keys.

    No string of JSON can hold what stands before the first key: its quotes would have backslashes before them. And no member of
    an inner object is called `keys` (docs/reference/formats.md, "Entry").
    """
    start = entry.find(_KEYS)
    if start < 0:
        return NO_KEYS
    start += len(_KEYS)
    return entry[start : entry.find(KEYS_END, start) + len(KEYS_END)]


def decode_keys(text: bytes) -> tuple[NDArray[np.uint64], NDArray[np.uint32]]:
    """Return the keys in the joined texts of consecutive entries, and beside each the entry's position, in log order.

    Args:
        text: of each entry what `keys_text` returns.

    """
    rows = np.frombuffer(text, np.uint8).reshape(-1, KEY_ROW_SIZE)
    keyed = rows[:, 0] != _SPACE
    last = rows[:, _BRACKET_AT] == _BRACKET
    last |= ~keyed
    positions = (np.cumsum(last, dtype=np.uint32) - last)[keyed]
    if len(positions) != len(rows):
        rows = rows[keyed]
    pairs = np.ascontiguousarray(rows[:, :12]).view(_PAIR)
    # Eight bytes are five times twelve bits and the upper four bits of a sixth.
    keys = _TWELVE_BITS[pairs[:, 5]].astype(np.uint64) >> np.uint64(8)
    for place in range(5):
        keys |= _TWELVE_BITS[pairs[:, place]].astype(np.uint64) << np.uint64(52 - 12 * place)
    return keys, positions.astype(np.uint32, copy=False)


def count_entries(text: bytes) -> int:
    """Return of how many entries there are keys in joined texts of `keys_text`."""
    rows = np.frombuffer(text, np.uint8).reshape(-1, KEY_ROW_SIZE)
    return int(np.count_nonzero((rows[:, 0] == _SPACE) | (rows[:, _BRACKET_AT] == _BRACKET)))


def sort_postings(keys: NDArray[np.uint64], offsets: NDArray[np.uint32]) -> Postings:
    """Return postings given in the order of their entries, sorted by key, and by offset under one key."""
    # Numbers sort five times as fast by themselves as by an order of places. So each key carries its place in its lowest bits,
    # which only decide between keys that are equal without them: in a log of random keys, those that are equal.
    place = np.uint64((1 << len(keys).bit_length()) - 1)
    placed = keys & ~place | np.arange(len(keys), dtype=np.uint64)
    placed.sort()
    placed &= place
    found = Postings(keys[placed], offsets[placed])
    if (found.keys[1:] < found.keys[:-1]).any():
        order = np.argsort(keys, kind="stable")
        found = Postings(keys[order], offsets[order])
    return found


def join_postings(parts: Sequence[Postings]) -> Postings:
    """Return the postings of consecutive ranges of entries as one, offsets already counted from the first range."""
    keys, offsets = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    order = np.argsort(keys, kind="stable")  # which sees that some sorted ones follow each other
    return Postings(keys[order], offsets[order])


class LoggedKeys:
    """The keys of consecutive entries [start, end) in the order of the log: what is not in segments yet."""

    def __init__(self, start: int) -> None:
        self.start = self.end = start
        # Each array has room after its used part, so that a few more keys do not copy all that are there.
        self._key_room: NDArray[np.uint64] = np.empty(0, np.uint64)
        self._position_room: NDArray[np.uint32] = np.empty(0, np.uint32)
        self._used = 0

    @property
    def _keys(self) -> NDArray[np.uint64]:
        return self._key_room[: self._used]

    @property
    def _positions(self) -> NDArray[np.uint32]:
        return self._position_room[: self._used]

    def extend(self, text: bytes, count: int) -> int:
        """Take in the next `count` entries' keys (`decode_keys`); return how many keys that were."""
        return self.extend_decoded(*decode_keys(text), count)

    def extend_decoded(self, keys: NDArray[np.uint64], positions: NDArray[np.uint32], count: int) -> int:
        """Take in the next `count` entries' keys as `decode_keys` gives them; return how many keys that were."""
        used = self._used + len(keys)
        if used > len(self._key_room):
            keys_before, positions_before = self._keys, self._positions
            self._key_room = np.empty(max(used, 2 * self._used), np.uint64)
            self._position_room = np.empty(len(self._key_room), np.uint32)
            self._key_room[: self._used], self._position_room[: self._used] = keys_before, positions_before
        self._key_room[self._used : used] = keys
        self._position_room[self._used : used] = positions + np.uint32(self.end - self.start)
        self._used = used
        self.end += count
        return len(keys)

    def postings(self, start: int, end: int) -> Postings:
        """Return the sorted postings of the entries [start, end), offsets counted from `start`."""
        return sort_postings(*self._between(start, end))

    def parts(self, start: int, end: int) -> Iterator[Postings]:
        """Yield the postings of the entries [start, end) in parts, so that never all of them are held twice."""
        keys, offsets = self._between(start, end)
        numbers = (keys >> np.uint64(64 - _PARTS_BITS)).astype(np.uint8)
        for number in range(1 << _PARTS_BITS):
            places = np.flatnonzero(numbers == number)
            yield sort_postings(keys[places], offsets[places])

    def find(self, key: bytes) -> list[int]:
        """Return the indexes of the entries that have `key`, rising."""
        found = np.flatnonzero(self._keys == np.uint64(int.from_bytes(key[:DISTINCT_SIZE])))
        return [self.start + int(position) for position in self._positions[found]]

    def forget(self, start: int) -> None:
        """Forget the entries before `start`."""
        first = np.searchsorted(self._positions, start - self.start)
        self._key_room = self._keys[first:].copy()
        self._position_room = self._positions[first:] - np.uint32(start - self.start)
        self._used = len(self._key_room)
        self.start = start

    def _between(self, start: int, end: int) -> tuple[NDArray[np.uint64], NDArray[np.uint32]]:
        """Return the keys of the entries [start, end) in log order, and the offset of each entry from `start`."""
        first, last = np.searchsorted(self._positions, (start - self.start, end - self.start))
        return self._keys[first:last], self._positions[first:last] - np.uint32(start - self.start)


class Merge:
    """Merges segments of consecutive ranges; ask `wants`, `feed` what it wants, take what `merged` gives.

    Each input is fed in pieces of any length; what is held is one piece of each.
    """

    def __init__(self, shifts: Sequence[int]) -> None:
        """Prepare.

        Args:
            shifts: of each input, in the order of the log, what is added to its offsets.

        """
        self._shifts = shifts
        self._pieces: list[Postings | None] = [NO_POSTINGS] * len(shifts)

    def wants(self) -> list[int]:
        """Return the inputs that have to be fed now, empty if none."""
        return [number for number, piece in enumerate(self._pieces) if piece is not None and not len(piece)]

    def feed(self, number: int, pages: bytes) -> None:
        """Give the next piece of an input, empty at its end."""
        if not pages:
            self._pieces[number] = None
            return
        piece = from_bytes(pages)
        self._pieces[number] = Postings(piece.keys, piece.offsets + np.uint32(self._shifts[number]))

    def merged(self) -> Postings | None:
        """Return the next sorted postings of all inputs, None at the end. Nothing may be wanted."""
        pieces = {number: piece for number, piece in enumerate(self._pieces) if piece is not None}
        if not pieces:
            return None
        # The piece that ends first is taken whole. Under its last key the inputs before it have nothing more to come, and the
        # inputs after it have to wait for the rest of that key.
        shortest = min(pieces, key=lambda number: (pieces[number].keys[-1], number))
        last = pieces[shortest].keys[-1]
        taken = []
        for number, piece in pieces.items():
            cut = int(np.searchsorted(piece.keys, last, "right" if number <= shortest else "left"))
            taken.append(Postings(piece.keys[:cut], piece.offsets[:cut]))
            self._pieces[number] = Postings(piece.keys[cut:], piece.offsets[cut:])
        return join_postings(taken)


def run_tile(pages: bytes) -> bytes:
    """Return the tile of the lowest level over the pages of a run."""
    return b"".join(_page_hashes(pages))


def _page_hashes(pages: bytes) -> list[bytes]:
    return leaf_hashes(pages[start : start + PAGE_SIZE] for start in range(0, len(pages), PAGE_SIZE))


class SegmentBuilder:
    """Builds a segment from its postings, added in order; gives its pages in runs, then its tree."""

    def __init__(self, start: int, end: int) -> None:
        self._range = start, end
        self._rest = b""
        self._runs = 0
        self._count = 0
        self._edge: dict[tuple[int, int], bytes] = {}  # of the tree over full runs, levels counted from theirs

    def add(self, postings: Postings) -> list[bytes]:
        """Add postings; return the runs of RUN_PAGES pages that are full now."""
        self._count += len(postings)
        data = self._rest + postings.to_bytes()
        whole = len(data) // RUN_SIZE * RUN_SIZE
        pages, self._rest = data[:whole], data[whole:]
        self._take(_page_hashes(pages))
        return [pages[start : start + RUN_SIZE] for start in range(0, whole, RUN_SIZE)]

    def full_tiles(self, least: int = 1) -> dict[tuple[int, int], bytes]:
        """Return the full tiles above full runs that were not returned before, or none if they are fewer than `least`."""
        full = {key: tile for key, tile in self._edge.items() if len(tile) == HASH_SIZE << PAGES_HEIGHT}
        if len(full) < least:
            return {}
        for key in full:
            del self._edge[key]
        return _above_runs(full)

    def finish(self) -> tuple[Segment, list[bytes], dict[tuple[int, int], bytes]]:
        """Return the segment, its last run if that was not full, and the tiles that `full_tiles` has not returned.

        Of the tiles of the lowest level only the last is among them, and only if it is not full: the others are those of a run
        (`run_tile`), which has to be read for whatever is proved by them.
        """
        hashes = _page_hashes(self._rest)
        if len(hashes) == RUN_PAGES:  # the last one short
            self._take(hashes)
            hashes = []
        tiles = _above_runs(self._edge)
        if hashes:
            tiles[0, self._runs] = b"".join(hashes)
        root = root_from_tiles(self._runs * RUN_PAGES + len(hashes), tiles, PAGES_HEIGHT)
        return Segment(*self._range, self._count, root), [self._rest] if self._rest else [], tiles

    def _take(self, hashes: list[bytes]) -> None:
        """Take in the hashes of the pages of full runs."""
        for _ in range(PAGES_HEIGHT):
            hashes = parents(hashes)
        self._edge |= integrate(self._runs, self._edge, hashes, PAGES_HEIGHT)
        self._runs += len(hashes)


def _above_runs(tiles: Mapping[tuple[int, int], bytes]) -> dict[tuple[int, int], bytes]:
    return {(level + 1, index): tile for (level, index), tile in tiles.items()}


def build_segment(
    start: int, end: int, postings: Postings
) -> tuple[Segment, list[bytes], dict[tuple[int, int], bytes]]:
    """Return a small segment at once: its row, its runs of pages, and the tiles over them."""
    builder = SegmentBuilder(start, end)
    runs = builder.add(postings)
    segment, last, tiles = builder.finish()
    return segment, runs + last, tiles
