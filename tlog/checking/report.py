"""What a check found: problems by class and place, what was checked, and where it ended."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

import msgspec

from tlog.core.proof import Subtree
from tlog.core.tile import TILE_WIDTH, Tile, nodes_from_tiles
from tlog.errors import MalformedInputError
from tlog.storage.intake import Taken  # noqa: TC001 - msgspec reads it

Damage = Literal[
    "anchor wrong",
    "chain broken",
    "checkpoint wrong",
    "column changed",
    "disclosure mismatch",
    "duplicate id",
    "entry changed",
    "entry malformed",
    "index drift",
    "index keys wrong",
    "index wrong",
    "intake wrong",
    "MISSING",
    "order",
    "page damaged",
    "ROLLBACK",
    "root wrong",
    "row hidden",
    "row missing",
    "run damaged",
    "schema",
    "second opinion",
    "state wrong",
    "tile changed",
    "tile missing",
]
Kind = Literal[
    "anchor",
    "chain",
    "checkpoint",
    "database",
    "entries from",
    "entry",
    "epoch",
    "log_state",
    "segment",
    "table disclosure_run",
    "table entry_run",
    "table intake",
    "table leaf",
    "table tile",
    "tile",
    "tree size",
]
REMEMBERED: Final = 1_000
_SHOWN: Final = 20


def counted(number: int, noun: str, nouns: str = "") -> str:
    """Return a number and what is counted, for example "1 row", "1,000 rows"."""
    return f"{number:,} {noun if number == 1 else nouns or f'{noun}s'}"


class Place(NamedTuple):
    """Where something is wrong. `str` gives the text that reports show, which is a public format.

    `start` is the number that the kind has, if it has one: an index, a size, an id. With `end` it is a range [start, end):
    of entries, or for a tile of the hashes of its level.
    """

    kind: Kind
    start: int | None = None
    end: int | None = None
    level: int = 0

    @classmethod
    def of_tile(cls, tile: Tile) -> Place:
        """Return the place of a tile, whose text is its path."""
        start = tile.index * TILE_WIDTH
        return cls("tile", start, start + tile.width, tile.level)

    @classmethod
    def of_entries(cls, start: int, end: int) -> Place:
        """Return the place of the entries [start, end)."""
        return cls("entry", start, None if end == start + 1 else end)

    def __str__(self) -> str:
        """Return the text of the place, for example "entry 7", "entries 256 to 511", "tile/0/001.p/45" or "anchor"."""
        if self.start is None:
            return self.kind
        if self.end is None:
            return f"{self.kind} {self.start}"
        if self.kind == "tile":
            return Tile(self.level, self.start // TILE_WIDTH, self.end - self.start).path()
        return f"entries {self.start} to {self.end - 1}"


class Problem(NamedTuple):
    """One thing that is wrong: its class, where, and what."""

    damage: Damage
    place: Place
    what: str


class Explained(NamedTuple):
    """So many entries without disclosures are explained by an outcome: the index of its entry, and its loggedAt."""

    by: int
    logged_at: str
    entries: int


class CheckEnd(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a check ended that found nothing wrong: what the next one continues.

    `edge` has for each level of tiles the hashes of the right-most one, 32 bytes each; `taken` says how far the log took streams.
    """

    origin: str
    size: int
    events: int
    chain_hash: bytes
    logged_at: str
    edge: list[bytes]
    taken: list[Taken]

    def subtrees(self) -> list[bytes]:
        """Return the perfect subtrees of the tree, largest first."""
        tiles = {(level, (self.size >> 8 * level) // TILE_WIDTH): hashes for level, hashes in enumerate(self.edge)}
        whole = [Subtree(0, self.size)]
        hashes = nodes_from_tiles(whole, tiles)
        return [hashes[node] for node in whole[0].nodes()]


def parse_check_end(data: bytes) -> CheckEnd:
    """Return where an earlier check ended, from the file that the check saved.

    Raises:
        MalformedInputError: `data` is not such a file.

    """
    try:
        return msgspec.json.decode(data, type=CheckEnd)
    except msgspec.MsgspecError:
        message = "this is not the file of an earlier check ('tlog fsck --save FILE')"
        raise MalformedInputError(message) from None


@dataclass
class Report:
    """What was checked and what is wrong; `end` is set if nothing is wrong.

    `unchecked` is what was asked for and could not be checked, `lacks` what this kind of check never looks at. `said_by` is the
    index of the entry in which the log says that it was checked; `not_said` is why there is none.
    """

    start: int = 0
    end: CheckEnd | None = None
    size: int = 0
    sealed: int = 0
    checked: Counter[str] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)
    more_problems: int = 0
    unchecked: list[str] = field(default_factory=list)
    explained: list[Explained] = field(default_factory=list)
    lacks: str = ""
    said_by: int | None = None
    not_said: str = ""

    @property
    def exit_code(self) -> int:
        """0 verified, 1 something is wrong, 3 something asked for was not checked, or there was nothing to check."""
        if self.problems:
            return 1
        return 3 if self.unchecked or not (self.checked["entries"] or self.start) else 0

    @property
    def broken_at(self) -> int | None:
        """The first entry that is known to be damaged or missing; None if there is none."""
        entries = [each.place for each in self.problems if each.place.kind == "entry"]
        return min((place.start for place in entries if place.start is not None), default=None)

    def add(self, damage: Damage, place: Place, what: str) -> None:
        """Note a problem; beyond a thousand they are only counted."""
        if len(self.problems) < REMEMBERED:
            self.problems.append(Problem(damage, place, what))
        else:
            self.more_problems += 1

    def leave(self, what: str) -> None:
        """Note that something was not checked."""
        if what not in self.unchecked:
            self.unchecked.append(what)

    def text(self) -> str:
        """Return the report in words."""
        checked = self.checked
        lines = [f"checked only what came after the first {self.start:,} entries"] if self.start else []
        lines += [
            f"checked {checked['entries']:,} of {self.size:,} entries ({self.sealed:,} sealed), {checked['tiles']:,} tiles, "
            f"{checked['checkpoints']:,} checkpoints, {checked['disclosures']:,} disclosures, "
            f"{checked['index keys']:,} index keys, {checked['epochs']:,} index epochs, {checked['segments']:,} stored segments"
        ]
        if checked["second opinions"]:
            lines.append(f"pymerkle agrees on the root hash and {checked['second opinions']:,} inclusion proofs")
        lines += [
            f"{counted(each.entries, 'event')} without disclosures: LOST, said by entry {each.by} at {each.logged_at}"
            for each in self.explained
        ]
        if self.lacks:
            lines.append(f"no part of this check: {self.lacks}")
        lines += [f"not checked: {what}" for what in self.unchecked]
        # What is missing is named one by one: whose data it was is for somebody to find out.
        shown = [each for n, each in enumerate(self.problems) if n < _SHOWN or each.damage == "MISSING"]
        lines += [f"{problem.damage}: {problem.place}: {problem.what}" for problem in shown]
        if missing := checked["missing"]:
            lines.append(f"MISSING: {counted(missing, 'disclosure')} in all")
        hidden = len(self.problems) + self.more_problems - len(shown)
        if hidden > 0:
            lines.append(f"… and {hidden:,} more problems (--json lists the first {REMEMBERED:,})")
        if self.said_by is not None:
            lines.append(f"this check is entry {self.said_by:,} of the log")
        if self.not_said:
            lines.append(f"this check is no entry of the log: {self.not_said}")
        verdicts = {0: "verified: everything agrees", 1: "FAILED: the log was damaged", 3: "INCOMPLETE"}
        return "\n".join([*lines, verdicts[self.exit_code]])

    def to_json(self) -> dict[str, Any]:
        """Return the report as a JSON value."""
        return {
            "verdict": {0: "verified", 1: "failed", 3: "incomplete"}[self.exit_code],
            "exitCode": self.exit_code,
            "start": self.start,
            "size": self.size,
            "sealed": self.sealed,
            "checked": dict(self.checked),
            "unchecked": self.unchecked,
            "lacks": self.lacks,
            "explained": [
                {"by": each.by, "entries": each.entries, "kind": "lost", "loggedAt": each.logged_at}
                for each in self.explained
            ],
            "brokenAt": self.broken_at,
            "problems": [{**problem._asdict(), "place": str(problem.place)} for problem in self.problems],
            "moreProblems": self.more_problems,
            "saidBy": self.said_by,
        }
