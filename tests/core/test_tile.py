"""Tiles: their paths, their widths, and everything that follows from their hashes."""

from __future__ import annotations

import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st

from tlog.core.making.integrate import integrate
from tlog.core.merkle import EMPTY_ROOT, Frontier, leaf_hash
from tlog.core.proof import (
    Node,
    Subtree,
    plan_consistency,
    plan_inclusion,
    prove,
    verify_consistency,
    verify_inclusion,
)
from tlog.core.tile import (
    ENTRIES,
    Tile,
    nodes_from_tiles,
    parse_tile_path,
    root_from_tiles,
    split_hashes,
    tile_of,
    tile_width,
    tiles_for,
    tiles_of,
)
from tlog.errors import MalformedInputError

SIZE = 70_000


@pytest.fixture(scope="module")
def big():
    """Return the leaf hashes and all tiles of a tree of 70,000 leaves, the example of c2sp.org/tlog-tiles."""
    leaves = [leaf_hash(entry) for entry in reference.entries(SIZE)]
    return leaves, integrate(0, {}, leaves)


# --- Paths ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "tile"),
    [
        ("tile/0/000", Tile(0, 0)),
        ("tile/0/001.p/1", Tile(0, 1, 1)),
        ("tile/63/999.p/255", Tile(63, 999, 255)),
        ("tile/1/x001/000", Tile(1, 1000)),
        ("tile/0/x001/x234/067", Tile(0, 1_234_067)),
        ("tile/entries/x001/234.p/7", Tile(ENTRIES, 1234, 7)),
        ("tile/entries/x036/x028/x797/x018/x963/967", Tile(ENTRIES, 2**55 - 1)),
        ("tile/0/x036/x028/x797/x018/x963/967.p/255", Tile(0, 2**55 - 1, 255)),
    ],
)
def test_known_paths(path: str, tile: Tile):
    assert tile.path() == path
    assert parse_tile_path(path) == tile


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/tile/0/000",
        "tile/0/000/",
        "tile/0",
        "tile/0/",
        "tile/0/0",
        "tile/0/00",
        "tile/0/0000",
        "tile/00/000",
        "tile/01/000",
        "tile/-1/000",
        "tile/64/000",
        "tile/99/000",
        "tile/100/000",
        "tile/Entries/000",
        "tile/entries/0/000",
        "tile/8/0/000",
        "tile/0/x000/000",
        "tile/0/x000/001",
        "tile/0/001/000",
        "tile/0/x001/x000",
        "tile/0/X001/000",
        "tile/0/x001x000",
        "tile/0/x01/000",
        "tile/0/x1000/000",
        "tile/0/x001//000",
        "tile/0/x001/x000/x000/x000/x000/x000/000",
        "tile/0/x999/x999/x999/x999/x999/x999/999",
        "tile/0/000.p",
        "tile/0/000.p/",
        "tile/0/000.p/0",
        "tile/0/000.p/00",
        "tile/0/000.p/01",
        "tile/0/000.p/256",
        "tile/0/000.p/257",
        "tile/0/000.p/999",
        "tile/0/000.p/1000",
        "tile/0/000.p/-1",
        "tile/0/000.p/+1",
        "tile/0/000.p/1/",
        "tile/0/000.p/1.p/1",
        "tile/0/000\n",
        "tile/0/000\x00",
        "tile/0/000?",
        "tile/0/000.p/1#",
        "tile/0/../0/000",
        "tile/../tile/0/000",
        "tile/0/..",
        "tile/0/.",
        "tile/0/%2e%2e%2f",
        "tile%2f0%2f000",
        "tile\\0\\000",
        "tile/0/\uff10\uff10\uff10",
        "tile/0/\u0660\u0660\u0660",
        "tile/\u0661/000",
        "TILE/0/000",
        "tile/0/000 ",
        " tile/0/000",
        "checkpoint",
        "x" * 100_000,
        "tile/0/" + "x001/" * 10_000 + "000",
    ],
)
def test_every_other_path_is_refused(path: str):
    with pytest.raises(MalformedInputError, match="not a tile path"):
        parse_tile_path(path)


@given(st.builds(Tile, st.integers(-1, 63), st.integers(0, 10**18 - 1), st.integers(1, 256)))
def test_paths_round_trip(tile: Tile):
    assert parse_tile_path(tile.path()) == tile


@given(st.text(alphabet="tile/entriesx0123456789.p-+%\n", max_size=40))
def test_what_parses_is_what_formats(path: str):
    for candidate in (path, "tile/0/" + path, "tile/0/x001/" + path, "tile/0/001.p/" + path):
        try:
            tile = parse_tile_path(candidate)
        except MalformedInputError:
            continue
        assert tile.path() == candidate


# --- Widths -----------------------------------------------------------------------------------------------------------


def test_the_specifications_example():
    # "273 full level 0 tiles, one partial level 0 tile of width 112, one full level 1 tile, one partial level 1 tile of
    # width 17, and one partial level 2 tile of width 1"
    assert [tile_width(0, index, SIZE) for index in (0, 272, 273, 274)] == [256, 256, 112, 0]
    assert [tile_width(ENTRIES, index, SIZE) for index in (0, 272, 273, 274)] == [256, 256, 112, 0]
    assert [tile_width(1, index, SIZE) for index in (0, 1, 2)] == [256, 17, 0]
    assert [tile_width(2, index, SIZE) for index in (0, 1)] == [1, 0]
    assert tile_width(3, 0, SIZE) == 0
    assert tiles_of(SIZE) == [Tile(0, 273, 112), Tile(1, 1, 17), Tile(2, 0, 1)]
    # "a tree of size 256 will be represented by a full level 0 tile and a partial level 1 tile of width 1"
    assert tiles_of(256) == [Tile(0, 0, 256), Tile(1, 0, 1)]


def test_an_empty_tree_has_no_tiles():
    assert tiles_of(0) == []
    assert tile_width(0, 0, 0) == 0


def test_the_largest_tree_has_eight_levels():
    assert [tile.level for tile in tiles_of(2**63 - 1)] == list(range(8))


@given(st.integers(1, 2**63 - 1))
def test_right_most_tiles_have_no_right_neighbour(size: int):
    for tile in tiles_of(size):
        assert 0 < tile.width <= 256
        assert tile.width == tile_width(tile.level, tile.index, size)
        assert tile_width(tile.level, tile.index + 1, size) == 0


# --- Hashes -----------------------------------------------------------------------------------------------------------


def test_a_node_lies_in_its_level_of_eight():
    assert tile_of(Node(0, 300)) == (Tile(0, 1, 45), 44, 45)
    assert tile_of(Node(7, 1)) == (Tile(0, 0, 256), 128, 256)
    assert tile_of(Node(8, 1)) == (Tile(1, 0, 2), 1, 2)
    assert tile_of(Node(15, 3)) == (Tile(1, 1, 256), 128, 256)


def test_tiles_are_those_of_the_definition(big):
    _, tiles = big
    entries = reference.entries(SIZE)
    assert len(tiles) == 274 + 2 + 1
    for level, index in [(0, 0), (0, 100), (0, 273), (1, 1), (2, 0)]:
        assert tiles[level, index] == reference.tile(level, index, entries)


@given(st.data())
def test_inclusion_proofs_from_tiles(big, data: st.DataObject):
    leaves, tiles = big
    size = data.draw(st.integers(1, SIZE))
    index = data.draw(st.integers(0, size - 1))
    plan = plan_inclusion(index, size)
    proof = prove(plan, nodes_from_tiles(plan, fetch(plan, size, tiles)))
    verify_inclusion(index, size, leaves[index], proof, root_at(size, tiles))


@given(st.data())
def test_consistency_proofs_from_tiles(big, data: st.DataObject):
    _, tiles = big
    new = data.draw(st.integers(0, SIZE))
    old = data.draw(st.integers(0, new))
    plan = plan_consistency(old, new)
    proof = prove(plan, nodes_from_tiles(plan, fetch(plan, new, tiles)))
    verify_consistency(old, new, root_at(old, tiles), root_at(new, tiles), proof)


@given(st.integers(0, SIZE))
def test_roots_from_the_right_most_tiles(big, size: int):
    leaves, tiles = big
    frontier = Frontier()
    frontier.extend(leaves[:size])
    assert root_at(size, tiles) == frontier.root()


@given(st.integers(1, 9), st.integers(1, 600), st.data())
def test_tiles_of_another_height_prove_the_same(height: int, size: int, data: st.DataObject):
    leaves = [leaf_hash(entry) for entry in reference.entries(size)]
    cut = data.draw(st.integers(0, size))
    tiles = integrate(0, {}, leaves[:cut], height)
    tiles |= integrate(cut, tiles, leaves[cut:], height)
    assert {(*key, len(tile) // 32) for key, tile in tiles.items()} == {
        (level, index, tile_width(level, index, size, height)) for level, index in tiles
    }
    assert [len(tiles[tile[:2]]) // 32 for tile in tiles_of(size, height)] == [
        tile.width for tile in tiles_of(size, height)
    ]
    frontier = Frontier()
    frontier.extend(leaves)
    assert root_from_tiles(size, tiles, height) == frontier.root()
    index = data.draw(st.integers(0, size - 1))
    plan = plan_inclusion(index, size)
    fetched = {tile[:2]: tiles[tile[:2]] for tile in tiles_for(plan, size, height)}
    proof = prove(plan, nodes_from_tiles(plan, fetched, height))
    verify_inclusion(index, size, leaves[index], proof, frontier.root())


def fetch(plan: list[Subtree], size: int, tiles: dict[tuple[int, int], bytes]) -> dict[tuple[int, int], bytes]:
    """Return just the tiles the plan asks for, cut to the width they have in the tree of `size` leaves."""
    return {tile[:2]: tiles[tile[:2]][: tile.width * 32] for tile in tiles_for(plan, size)}


def root_at(size: int, tiles: dict[tuple[int, int], bytes]) -> bytes:
    return root_from_tiles(size, {tile[:2]: tiles[tile[:2]][: tile.width * 32] for tile in tiles_of(size)})


def test_the_root_of_nothing():
    assert root_from_tiles(0, {}) == EMPTY_ROOT


def test_a_missing_or_short_tile_is_named(big):
    _, tiles = big
    plan = plan_inclusion(300, 600)
    fetched = fetch(plan, 600, tiles)
    for short in (b"", fetched[0, 1][:-32], fetched[0, 1][:-1]):
        with pytest.raises(MalformedInputError, match=r"tile/0/001\S* is missing or too short"):
            nodes_from_tiles(plan, fetched | {(0, 1): short})
    del fetched[0, 2]
    with pytest.raises(MalformedInputError, match=r"tile/0/002\S* is missing or too short"):
        nodes_from_tiles(plan, fetched)
    with pytest.raises(MalformedInputError, match="is missing or too short"):
        root_from_tiles(600, {})


@pytest.mark.parametrize("length", [1, 31, 33, 8191])
def test_a_tile_is_made_of_whole_hashes(length: int):
    with pytest.raises(MalformedInputError, match=f"a tile of {length} bytes"):
        split_hashes(bytes(length))


def test_a_tile_splits_into_its_hashes():
    assert split_hashes(b"") == []
    assert split_hashes(b"a" * 32 + b"b" * 32) == [b"a" * 32, b"b" * 32]
