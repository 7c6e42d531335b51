"""Watching a log from outside: does it only grow, does everybody see the same, are its witnesses awake, are promises kept?

A monitor remembers the largest checkpoint that it saw, and each pass holds against that what the log, mirrors of it and its
witnesses show:

    the log's checkpoint → signed by a key of the policy → continues what is remembered, by a proof made of its tiles → remembered
    → accepted by the policy → the newest cosignature is young enough; the log's own clock says nothing
    each other place     → signed → the same history as what is remembered
    its entries          → every index epoch is what they make (`tlog.checking.follow`), if that is asked for
    receipts of our own  → the entry is where the receipt says, once the checkpoint covers that (`tlog.checking.promised`)

What contradicts what is remembered is a fork, and where the entries' hashes are at hand the file that convicts the key is made of
them (`tlog.core.fork`). Left out: when to look, and whom to tell.
"""

from __future__ import annotations

import math
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, Protocol, Self

from msgspec import Struct

from tlog.checking.follow import Follow
from tlog.checking.promised import read_promises
from tlog.core.checkpoint import open_checkpoint
from tlog.core.cosignature import read_cosignatures
from tlog.core.fork import find_fork, format_fork, make_fork
from tlog.core.merkle import fold_right
from tlog.core.note import Verifier, open_note, split_note
from tlog.core.policy import open_witnessed
from tlog.core.proof import Node, Subtree, plan_consistency, plan_inclusion, prove, verify_consistency, verify_inclusion
from tlog.core.strict import CanonicalFile
from tlog.core.tile import Tile, nodes_from_tiles, tiles_for
from tlog.errors import MalformedInputError, NotCheckedError, OverloadedError, TlogError, VerificationError
from tlog.files.durable import write_durable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from pathlib import Path

    from tlog.checking.mirror import Mirror
    from tlog.checking.promised import Promise
    from tlog.core.checkpoint import Checkpoint
    from tlog.core.policy import Policy

Event = Literal["ok", "stale", "unreachable", "unwitnessed", "rollback", "fork", "index", "receipt"]
# Those that say that the log is not what it has to be; the others, that this could not be seen now.
ALARMS: Final[frozenset[Event]] = frozenset(("rollback", "fork", "index", "receipt"))
_AWAY: Final = (NotCheckedError, OverloadedError, MalformedInputError)


class Shows(Protocol):
    """A place that shows a checkpoint: a `Mirror`, or a witness."""

    @property
    def name(self) -> str:
        """Where it is, for findings."""

    def checkpoint(self) -> bytes:
        """See `Mirror.checkpoint`."""


class Remembered(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The state file of a monitor: the note of the largest checkpoint that it saw and believed, empty before the first.

    `ahead` are the sizes that other places showed the last time and the log did not.
    """

    ahead: dict[str, int]
    note: str
    type: Literal["tlog-monitor"]
    v: Literal[1]


class Finding(NamedTuple):
    """What was seen at one place; `fork` is a fork file that proves it, empty if there is none."""

    event: Event
    where: str
    reason: str
    fork: bytes = b""


class _Shown(NamedTuple):
    """A checkpoint that a key of the policy signed, and that key."""

    note: bytes
    checkpoint: Checkpoint
    key: Verifier


_FILE: Final = CanonicalFile(Remembered, "a monitor's state file")
_NOTHING: Final = Remembered(ahead={}, note="", type="tlog-monitor", v=1)


class Monitor:
    """The monitor of one log. A context manager: its files go with it, all but the state."""

    def __init__(
        self,
        policy: Policy,
        origin: str,
        state: Path,
        *,
        max_age: float,
        clock: Callable[[], datetime],
        replay: bool = False,
    ) -> None:
        """Prepare.

        Args:
            policy: whose signatures count.
            origin: the log's name.
            state: file that remembers the largest checkpoint; made by the first pass.
            max_age: seconds that the newest cosignature may be old, and that a promised entry may take.
            clock: the current time, aware.
            replay: whether entries are read, and the index is derived again from them.

        Raises:
            MalformedInputError: the file is no state of a monitor of this log, or the policy has no Ed25519 key of the log.

        """
        self._policy = policy
        self._origin = origin
        self._state = state
        self._max_age = max_age
        self._clock = clock
        self._logs = [key for key in policy.log_keys(origin) if isinstance(key, Verifier)]
        if not self._logs:
            message = f"the policy has no Ed25519 key of {origin}"
            raise MalformedInputError(message)
        self._kept: set[tuple[int, bytes]] = set()  # promises: index and leaf hash
        self._cosigned_at = -math.inf  # the newest cosignature that was seen at the log
        self._stored = _FILE.parse(state.read_bytes()) if state.exists() else _NOTHING
        self._ahead = dict(self._stored.ahead)
        self._seen: _Shown | None = None
        if self._stored.note:
            try:
                self._seen = self._open(self._stored.note.encode())
            except VerificationError as error:
                message = f"{state} is the state of another log or of another policy: {error}"
                raise MalformedInputError(message) from error
        self._follow = Follow(self._logs[0]) if replay else None

    def __enter__(self) -> Self:
        """Return the monitor."""
        return self

    def __exit__(self, *_: object) -> None:
        """Delete the files."""
        if self._follow is not None:
            self._follow.close()

    def look(
        self,
        log: Mirror,
        mirrors: Sequence[Mirror] = (),
        witnesses: Sequence[Shows] = (),
        receipts: Sequence[Path] = (),
    ) -> list[Finding]:
        """Make one pass; return what is wrong, of each kind once at each place, or the one finding that all is well.

        Args:
            log: what the log shows, with tiles, and with entries if those are followed.
            mirrors: what else is shown of it.
            witnesses: what its witnesses show, some of whom never show anything.
            receipts: files of receipts (`tlog.checking.promised`).

        """
        wrong = self._look_at_log(log)
        found = [] if wrong is None else [wrong]
        for mirror in mirrors:
            found += self._look_at_other(log, mirror, mirror)
        for witness in witnesses:
            found += self._look_at_other(log, witness, None)
        if self._seen is not None and (wrong is None or wrong.event in ("unwitnessed", "stale")):
            found += self._look_at_entries(log, self._seen)
            found += self._look_at_receipts(log, self._seen.checkpoint, receipts)
        self._remember()
        once = {(each.event, each.where): each for each in reversed(found)}
        size = 0 if self._seen is None else self._seen.checkpoint.size
        return list(reversed(once.values())) or [Finding("ok", log.name, f"{size} entries, as everybody sees them")]

    # --- Checkpoints -------------------------------------------------------------------------------------------------

    def _look_at_log(self, log: Mirror) -> Finding | None:
        try:
            shown = self._open(log.checkpoint())
        except (*_AWAY, VerificationError) as error:
            return Finding("unreachable", log.name, str(error))
        seen = self._seen
        if seen is not None:
            if shown.checkpoint.size < seen.checkpoint.size:
                reason = f"it shows {shown.checkpoint.size} entries, and has shown {seen.checkpoint.size}"
                return Finding("rollback", log.name, reason)
            if (wrong := self._compare(log, log.name, seen, shown)) is not None:
                return wrong
        if seen is None or shown.checkpoint.size > seen.checkpoint.size:
            self._seen = shown
        return self._judge_witnesses(log.name, shown.note)

    def _judge_witnesses(self, where: str, note: bytes) -> Finding | None:
        """Look for a quorum, and for a cosignature that is young enough; without witnesses, this moment counts as one."""
        now = self._clock().timestamp()
        try:
            open_witnessed(note, self._policy, self._origin)
        except VerificationError as error:
            return Finding("unwitnessed", where, str(error))
        if not self._policy.witnesses:
            self._cosigned_at = now
            return None
        text = split_note(note)[0]
        lines = read_cosignatures(text, note[len(text) + 1 :], [witness.key for witness in self._policy.witnesses])
        self._cosigned_at = max((each.time for each in lines), default=-math.inf)
        if now - self._cosigned_at > self._max_age:
            return Finding("stale", where, f"no cosignature is younger than {self._max_age:g} s")
        return None

    def _look_at_other(self, log: Mirror, other: Shows, tiles: Mirror | None) -> list[Finding]:
        """Hold another place against what is remembered; `tiles` is the place again if it shows tiles."""
        try:
            shown = self._open(other.checkpoint())
        except NotCheckedError as error:
            # Not every witness shows what it cosigned.
            return [] if tiles is None else [Finding("unreachable", other.name, str(error))]
        except (*_AWAY, VerificationError) as error:
            return [Finding("unreachable", other.name, str(error))]
        seen = self._seen
        if seen is None:
            return []
        if shown.checkpoint.size <= seen.checkpoint.size:
            self._ahead.pop(other.name, None)
            wrong = self._compare(log, other.name, shown, seen)
            return [] if wrong is None else [wrong]
        wrong = None if tiles is None else self._compare(tiles, other.name, seen, shown)
        if wrong is not None and wrong.event == "fork":
            return [wrong]
        # The log may publish that at this very moment; if it still does not at the next pass, it holds it back.
        before = self._ahead.get(other.name, 0)
        self._ahead[other.name] = shown.checkpoint.size
        reason = f"it shows {before} entries, which the log has not shown for a whole pass"
        return [Finding("stale", other.name, reason)] if seen.checkpoint.size < before <= shown.checkpoint.size else []

    def _compare(self, tiles: Mirror, where: str, older: _Shown, newer: _Shown) -> Finding | None:
        """Return the finding that what `where` shows is a fork, None if one checkpoint continues the other.

        Args:
            tiles: of the newer checkpoint's tree.
            where: the place that is judged.
            older: the checkpoint of the smaller tree, or of either of two trees of one size.
            newer: the other one.

        """
        first, second = older.checkpoint, newer.checkpoint
        if (first.size, first.root) == (second.size, second.root) or first.size == 0:
            return None
        proof, root = list[bytes](), second.root
        if first.size < second.size:
            plan, whole = plan_consistency(first.size, second.size), Subtree(0, first.size)
            try:
                hashes = _hashes(tiles, [*plan, whole], second.size, {})
                proof, root = prove(plan, hashes), fold_right([hashes[node] for node in whole.nodes()])
                verify_consistency(first.size, second.size, root, second.root, proof)
            except (*_AWAY, VerificationError) as error:
                return _astray(tiles, second, error)
        if root == first.root:
            return None
        reason = f"its key signed a tree of {first.size} entries, and one of {second.size} that does not continue it"
        file = b""
        with suppress(TlogError):  # notes of two keys of one log convict neither key
            fork = make_fork(older.note, newer.note, root, proof)
            find_fork(newer.key, fork)
            file = format_fork(fork)
        return Finding("fork", where, reason, file)

    def _open(self, note: bytes) -> _Shown:
        """Return a checkpoint that one of the log's keys signed; whether witnesses did is judged elsewhere.

        Raises:
            MalformedInputError: it is no checkpoint.
            VerificationError: no key of the log signed it.

        """
        opened = open_note(note, self._logs)
        key = next(each for each in self._logs if each in opened.verified)
        return _Shown(note, open_checkpoint(note, key), key)

    def _remember(self) -> None:
        note = "" if self._seen is None else self._seen.note.decode()
        state = Remembered(ahead=dict(self._ahead), note=note, type="tlog-monitor", v=1)
        if state != self._stored:
            write_durable(self._state, _FILE.format(state))
            self._stored = state

    # --- Entries -----------------------------------------------------------------------------------------------------

    def _look_at_entries(self, log: Mirror, seen: _Shown) -> list[Finding]:
        if self._follow is None:
            return []
        try:
            problems = self._follow.advance(log, seen.checkpoint)
        except _AWAY as error:
            return [Finding("unreachable", log.name, str(error))]
        if not problems:
            return []
        more = f"; and {len(problems) - 1} more" if len(problems) > 1 else ""
        return [Finding("index", log.name, f"{problems[0].place}: {problems[0].what}{more}")]

    def _look_at_receipts(self, log: Mirror, checkpoint: Checkpoint, receipts: Sequence[Path]) -> list[Finding]:
        found, known = [], dict[Tile, bytes]()
        for path in receipts:
            try:
                promises = read_promises(path)
            except (MalformedInputError, OSError) as error:
                found.append(Finding("unreachable", path.name, str(error)))
                continue
            judged = (self._judge_promise(log, known, checkpoint, promise) for promise in promises)
            found += [each for each in judged if each is not None]
        return found

    def _judge_promise(
        self, log: Mirror, known: dict[Tile, bytes], checkpoint: Checkpoint, promise: Promise
    ) -> Finding | None:
        key, (_, size, root) = (promise.at, promise.leaf_hash), checkpoint
        if key in self._kept:
            return None
        if promise.at >= size:
            # While nothing is sealed, nothing is cosigned either, and the promise is not broken yet.
            late = self._cosigned_at - promise.since > self._max_age
            reason = f"entry {promise.at} was promised, and the checkpoint still ends before it, at {size} entries"
            return Finding("receipt", promise.where, reason) if late else None
        plan, leaf = plan_inclusion(promise.at, size), Subtree(promise.at, promise.at + 1)
        try:
            hashes = _hashes(log, [*plan, leaf], size, known)
            there = hashes[Node(0, promise.at)]
            verify_inclusion(promise.at, size, there, prove(plan, hashes), root)
        except (*_AWAY, VerificationError) as error:
            return _astray(log, checkpoint, error)
        if there != promise.leaf_hash:
            return Finding("receipt", promise.where, f"entry {promise.at} is another one than was promised")
        self._kept.add(key)
        return None


def _hashes(mirror: Mirror, subtrees: Sequence[Subtree], size: int, known: dict[Tile, bytes]) -> dict[Node, bytes]:
    """Return the hashes that these parts of the tree of `size` are made of; a tile that is read becomes known."""
    needed = tiles_for(subtrees, size)
    known.update((tile, mirror.tile(*tile)) for tile in needed if tile not in known)
    return nodes_from_tiles(subtrees, {(tile.level, tile.index): known[tile] for tile in needed})


def _astray(tiles: Mirror, checkpoint: Checkpoint, error: Exception) -> Finding:
    reason = f"its tiles do not lead to its checkpoint of {checkpoint.size} entries: {error}"
    return Finding("unreachable", tiles.name, reason)
