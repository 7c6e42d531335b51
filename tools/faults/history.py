"""What has to hold of a log after any fault, recomputed from the rows by hand: nothing lost, nothing twice, one history."""

from __future__ import annotations

import base64
from itertools import combinations, pairwise
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import psycopg
from stored import entries_by_index

from tlog.core.chain import CHAIN_START, chain_hash
from tlog.core.checkpoint import Checkpoint, open_checkpoint
from tlog.core.making.integrate import integrate
from tlog.core.merkle import Frontier, leaf_hash
from tlog.core.proof import plan_consistency, prove, verify_consistency
from tlog.core.tile import nodes_from_tiles
from tlog.errors import TlogError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from faults.gate import Figures
    from faults.service import Acknowledged
    from tlog.core.note import Verifier

_ROWS: Final = "SELECT index, event_id::text, chain_hash FROM tlog.leaf ORDER BY index"
_NOTES: Final = "SELECT note FROM tlog.checkpoint ORDER BY size"
_ALL_PAIRS: Final = 60


class Row(NamedTuple):
    """A row as it is stored; the leaf hash is computed from the entry."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which means nothing here
    event_id: str | None
    leaf: bytes
    chain: bytes


class Stored(NamedTuple):
    """A log as its database holds it."""

    rows: list[Row]
    notes: list[bytes]


def read_stored(conninfo: str) -> Stored:
    """Read all rows and checkpoints, past every index."""
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute("SET enable_indexscan = off; SET enable_bitmapscan = off; SET enable_indexonlyscan = off")
        rows, entries = connection.execute(_ROWS, binary=True).fetchall(), entries_by_index(connection)
        notes = [bytes(note) for (note,) in connection.execute(_NOTES).fetchall()]
    there = [(index, name, entries[index], chain) for index, name, chain in rows if index in entries]
    return Stored([Row(index, name, leaf_hash(entry), bytes(chain)) for index, name, entry, chain in there], notes)


def examine(stored: Stored, acknowledged: Acknowledged, anchored: Iterable[bytes], verifier: Verifier) -> Figures:
    """Count what went wrong: each of the figures but the first two has to be 0.

    Args:
        stored: the log after it was sealed whole.
        acknowledged: receipts, and checkpoints in the order in which they were seen.
        anchored: notes that the anchor held, in order.
        verifier: the log's public key.

    """
    seen = list(acknowledged.notes)
    checkpoints, unopened = _open([*seen, *anchored, *stored.notes], verifier)
    return {
        "acknowledged": len(acknowledged.receipts),
        "checkpoints": len({checkpoint.size for checkpoint in checkpoints}),
        **count_acknowledged(stored.rows, acknowledged.receipts),
        "roots_wrong": unopened + count_wrong_roots([row.leaf for row in stored.rows], checkpoints),
        "forks": count_forks([row.leaf for row in stored.rows], checkpoints),
        "sizes_going_back": count_going_back(_open(seen, verifier)[0]),
    }


def count_acknowledged(rows: Sequence[Row], receipts: Sequence[Mapping[str, Any]]) -> Figures:
    """Count acknowledged events that are not stored as acknowledged, indexes given twice, and events stored twice."""
    stored: dict[str | None, Row] = {}
    duplicates = misplaced = 0
    chain = CHAIN_START
    for expected, row in enumerate(rows):
        chain = chain_hash(chain, row.leaf)
        misplaced += row.index != expected or row.chain != chain
        duplicates += row.event_id is not None and row.event_id in stored
        stored.setdefault(row.event_id, row)
    events: dict[int, str] = {}
    lost = reused = 0
    for receipt in receipts:
        found = stored.get(receipt["eventId"])
        said = receipt["index"], base64.b64decode(receipt["leafHash"]), base64.b64decode(receipt["chainHash"])
        lost += found is None or (found.index, found.leaf, found.chain) != said
        reused += events.setdefault(receipt["index"], receipt["eventId"]) != receipt["eventId"]
    return {"lost": lost, "index_reused": reused, "duplicates": duplicates, "misplaced": misplaced}


def count_wrong_roots(leaves: Sequence[bytes], checkpoints: Iterable[Checkpoint]) -> int:
    """Count checkpoints whose root hash is not that of so many of the leaves."""
    frontier, wrong = Frontier(), 0
    for checkpoint in sorted(checkpoints, key=lambda each: each.size):
        if checkpoint.size > len(leaves):
            wrong += 1
            continue
        frontier.extend(leaves[frontier.size : checkpoint.size])
        wrong += frontier.root() != checkpoint.root
    return wrong


def count_forks(leaves: Sequence[bytes], checkpoints: Iterable[Checkpoint]) -> int:
    """Count pairs of checkpoints that no consistency proof over the stored tree joins.

    All pairs are tried if there are few; of many, neighbours by size and each with the last, which says the same because
    being a prefix is transitive.
    """
    ordered = sorted(set(checkpoints), key=lambda each: (each.size, each.root))
    tiles = integrate(0, {}, leaves)
    pairs: Iterable[tuple[Checkpoint, Checkpoint]] = combinations(ordered, 2)
    if len(ordered) > _ALL_PAIRS:
        pairs = [*pairwise(ordered), *((each, ordered[-1]) for each in ordered[:-2])]
    return sum(not _consistent(old, new, tiles) for old, new in pairs)


def count_going_back(checkpoints: Sequence[Checkpoint]) -> int:
    """Count how often a smaller checkpoint was seen after a larger one."""
    return sum(new.size < old.size for old, new in pairwise(checkpoints))


def _consistent(old: Checkpoint, new: Checkpoint, tiles: Mapping[tuple[int, int], bytes]) -> bool:
    plan = plan_consistency(old.size, new.size)
    try:
        verify_consistency(old.size, new.size, old.root, new.root, prove(plan, nodes_from_tiles(plan, tiles)))
    except TlogError:
        return False
    return True


def _open(notes: Iterable[bytes], verifier: Verifier) -> tuple[list[Checkpoint], int]:
    opened, wrong = [], 0
    for note in notes:
        try:
            opened.append(open_checkpoint(note, verifier))
        except TlogError:
            wrong += 1
    return opened, wrong
