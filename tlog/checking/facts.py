"""What a range of entries is found to be: the facts that one process finds and another one joins."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Generic, NamedTuple, TypeVar

import numpy as np

from tlog.checking.absent import ABSENT
from tlog.checking.report import REMEMBERED, Place, Problem

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tlog.checking.absent import Statement
    from tlog.checking.report import Damage
    from tlog.core.entry import IndexEntry, IndexKeysEntry
    from tlog.core.intake import Intake
    from tlog.core.making.matching import EventFacts

# Where the facts of an entry are. `match_events` gives them as the bare groups of a regex: to make tuples with names of them,
# as their type says they are, costs an eighth of the time that a range takes. Numbers, so that types are known; a test compares
# them with the names.
ACTION: Final = 0
ACTOR: Final = 1
RELATED: Final = 2
RESOURCE: Final = 3
EVENT_ID: Final = 4
KEYS: Final = 5
MORE_KEYS: Final = 7
LOGGED_AT: Final = 8
RESOURCE_TYPE: Final = 10

# An entry's index and facts; a control entry has an empty action.
Said = tuple[int, "EventFacts"]
_T = TypeVar("_T")


class Pair(NamedTuple, Generic[_T]):
    """The same thing twice: as it is computed from the entries, and as the stored tiles of level 0 have it."""

    computed: _T
    stored: _T


class Watched(NamedTuple):
    """The tree at a size: the perfect subtrees of its block's part, and the chain."""

    subtrees: Pair[list[bytes]]
    chain: bytes


class Before(NamedTuple):
    """What is known of the entries before a range.

    `tile` are the hashes of the partial tile that the range continues, `subtrees` the perfect subtrees of the part of its
    block that is before it.
    """

    chain: bytes | None
    tile: tuple[bytes, ...] = ()
    subtrees: tuple[bytes, ...] = ()


@dataclass
class RangeFacts:
    """What a range of entries is found to be.

    `full_tiles` has for each tile of level 0 that is full at the end of the range the hash it folds to, `open_tile` the hashes
    of the tile that is not full. `missing` are the entries without a row, `runless` those with one that no run holds.
    `subtrees` are the perfect subtrees of the block up to the end. `absent` are the entries of which nothing is disclosed,
    `last_present` is the last one of which something is, `lost` are the outcomes of that kind. What this program cannot judge
    is counted: entries of unknown types, and disclosed ids with characters that its Unicode tables lack.
    """

    start: int
    end: int
    checked: Counter[str] = field(default_factory=Counter)
    unknown_entries: int = 0
    unknown_ids: int = 0
    problems: list[Problem] = field(default_factory=list)
    more_problems: int = 0
    suspects: list[int] = field(default_factory=list)
    missing: list[int] = field(default_factory=list)
    runless: list[int] = field(default_factory=list)
    damaged: bool = False
    full_tiles: list[Pair[bytes]] = field(default_factory=list)
    open_tile: list[Pair[bytes]] = field(default_factory=list)
    subtrees: Pair[list[bytes]] = field(default_factory=lambda: Pair[list[bytes]]([], []))
    watched: dict[int, Watched] = field(default_factory=dict)
    chain: bytes | None = None
    first_logged_at: bytes = b""
    logged_at: bytes = b""
    first_entry: IndexKeysEntry | None = None
    epochs: list[tuple[int, IndexEntry]] = field(default_factory=list)
    intakes: list[tuple[int, Intake]] = field(default_factory=list)
    keys: NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, np.uint64))
    positions: NDArray[np.uint32] = field(default_factory=lambda: np.empty(0, np.uint32))
    absent: NDArray[np.void] = field(default_factory=lambda: np.empty(0, ABSENT))
    lost: list[Statement] = field(default_factory=list)
    last_present: int = -1
    event_ids: bytes = b""
    event_indexes: NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, np.uint64))
    read_leaves: int = 0
    read_entry_runs: int = 0
    read_disclosure_runs: int = 0
    read_tiles: int = 0

    def add(self, damage: Damage, place: Place, what: str) -> None:
        """Note a problem; beyond a thousand they are only counted."""
        if len(self.problems) < REMEMBERED:
            self.problems.append(Problem(damage, place, what))
        else:
            self.more_problems += 1
