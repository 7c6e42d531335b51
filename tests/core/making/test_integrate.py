"""Integration: however a tree grows, its tiles are those of the definition."""

from __future__ import annotations

import random

import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st

from tlog.core.making.integrate import integrate
from tlog.core.merkle import Frontier, leaf_hash
from tlog.core.tile import root_from_tiles, tile_width, tiles_of

LIMIT = 600
ENTRIES = reference.entries(LIMIT)
LEAVES = [leaf_hash(entry) for entry in ENTRIES]
# Every tile at its full width in the tree of 600; narrower trees have the same hashes, fewer of them.
WHOLE = {(level, index): reference.tile(level, index, ENTRIES) for level, index in [(0, 0), (0, 1), (0, 2), (1, 0)]}


def expected_tiles(size: int) -> dict[tuple[int, int], bytes]:
    """Return the non-empty tiles of the tree of `size` leaves."""
    cut = {place: whole[: tile_width(*place, size) * 32] for place, whole in WHOLE.items()}
    return {place: content for place, content in cut.items() if content}


def edge_of(size: int, tiles: dict[tuple[int, int], bytes]) -> dict[tuple[int, int], bytes]:
    """Return the right-most tiles only, which is all that a sealer reads back."""
    return {tile[:2]: tiles[tile[:2]] for tile in tiles_of(size)}


def test_the_reference_tiles_hold_for_narrower_trees():
    for size in (1, 255, 256, 257, 511, 512, 513):
        for place, content in expected_tiles(size).items():
            assert content == reference.tile(*place, ENTRIES[:size])


@pytest.mark.parametrize("size", range(0, LIMIT + 1, 100))
def test_one_step_from_nothing(size: int):
    assert integrate(0, {}, LEAVES[:size]) == expected_tiles(size)


def test_one_leaf_at_a_time_to_600():
    tiles: dict[tuple[int, int], bytes] = {}
    frontier = Frontier()
    for size, leaf in enumerate(LEAVES):
        tiles |= integrate(size, edge_of(size, tiles), [leaf])
        frontier.extend([leaf])
        assert tiles == expected_tiles(size + 1)
        assert root_from_tiles(size + 1, edge_of(size + 1, tiles)) == frontier.root()


@pytest.mark.parametrize("seed", range(20))
def test_random_steps_to_600(seed: int):
    steps = random.Random(seed)
    largest = steps.choice([2, 10, 100, 300, 600])
    size = 0
    tiles: dict[tuple[int, int], bytes] = {}
    while size < LIMIT:
        leaves = LEAVES[size : size + steps.randint(0, largest)]
        changed = integrate(size, edge_of(size, tiles), leaves)
        before, tiles = tiles, tiles | changed
        size += len(leaves)
        assert tiles == expected_tiles(size)
        assert root_from_tiles(size, tiles) == reference.tree_hash(ENTRIES[:size])
        # What was there only grew, and what is returned did change.
        for place, content in before.items():
            assert tiles[place].startswith(content)
        assert all(content != before.get(place) for place, content in changed.items())


@settings(max_examples=20)
@given(st.integers(0, 300), st.integers(0, 66_000))
def test_across_a_level(more: int, size: int):
    # Around 256 full tiles, where level 1 fills up and level 2 begins; hashes need not be real ones here.
    count = 65_536 - 150 + more
    leaves = [number.to_bytes(32) for number in range(count)]
    size = min(size, count)
    old = integrate(0, {}, leaves[:size])
    new = old | integrate(size, edge_of(size, old), leaves[size:])
    assert new == integrate(0, {}, leaves)
    frontier = Frontier()
    frontier.extend(leaves)
    assert root_from_tiles(count, edge_of(count, new)) == frontier.root()


def test_nothing_new_changes_nothing():
    assert integrate(600, {}, []) == {}


def test_a_full_edge_is_not_needed():
    assert integrate(512, {(1, 0): WHOLE[1, 0]}, LEAVES[512:]) == {(0, 2): WHOLE[0, 2]}
    # Level 1 does not change before the next tile is full, so that its tile is not even looked at.
    assert integrate(512, {}, LEAVES[512:]) == {(0, 2): WHOLE[0, 2]}


@pytest.mark.parametrize("hashes", [0, 87, 89, 256])
def test_an_edge_of_another_width_is_refused(hashes: int):
    edge = {(0, 2): bytes(32 * hashes), (1, 0): WHOLE[1, 0]}
    with pytest.raises(ValueError, match=rf"the old tree has tile/0/002.p/88, but {hashes} hashes were given"):
        integrate(600, edge, LEAVES[:1])


def test_a_missing_edge_above_is_refused():
    with pytest.raises(ValueError, match=r"the old tree has tile/1/000.p/2, but 0 hashes were given"):
        integrate(600, {(0, 2): WHOLE[0, 2]}, LEAVES[:168])
