"""The log as a client of witnesses: it shows each what was signed, and gathers their cosignatures.

Implements the client of c2sp.org/tlog-witness. Witnesses are other people's machines, so an answer decides little: what counts
is a line that verifies under a key of the policy, at a time near ours (A38). A status, or a size that somebody claims, never
stops the log. What stops it is a checkpoint that *its own key signed* and that contradicts what is anchored: then the database
and the anchor were both rolled back (A12), or somebody else has the key (A31). docs/explanation/threats.md has
the numbers.

    one address at a time    shown what was signed → 200: its lines → 409: again with the size that it names, once
                             → refused, or ahead of us: is another signer leading? has it a checkpoint of ours to show?
    all addresses            side by side, until the quorum is met; who fails is asked again after 1, 2, 5, then 10 s

Left out: who decides what is signed (`tlog.signing.signer`), and when something is published (`tlog.writing.sealer`).
"""

from __future__ import annotations

import asyncio
from hashlib import sha256
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import structlog

from tlog.core.checkpoint import open_checkpoint
from tlog.core.cosignature import read_cosignatures
from tlog.core.fork import format_fork, make_fork
from tlog.core.note import split_note
from tlog.core.strict import encode_base64, parse_decimal
from tlog.errors import ForkError, MalformedInputError, OperatorError, OverloadedError, RollbackError, VerificationError
from tlog.files.durable import write_durable
from tlog.signing.outside import OutsideError, check_url

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from tlog.core.checkpoint import Checkpoint
    from tlog.core.cosignature import Cosignature, Cosigner
    from tlog.core.note import Verifier
    from tlog.core.policy import Mode, Policy, Witness
    from tlog.signing.outside import Answer, Outside

State = Literal["ok", "lags", "down", "contradicted"]
_BACKOFF: Final = (1.0, 2.0, 5.0, 10.0)
_MAX_DIFFERENCE: Final = 300  # seconds between a witness's clock and ours
_OK: Final = 200
_CONFLICT: Final = 409
_SIZE: Final = "text/x.tlog.size"
_log: Final = structlog.get_logger()


class Witnessing(NamedTuple):
    """How a log is witnessed: the policy, as text too, and what its operator says of the witnesses. Times are in seconds.

    Without a policy it is not witnessed, and the rest but `changed` and `options` means nothing.

    `mode` says whether a checkpoint waits for its quorum, `every` how often witnesses are asked at most, `timeout` how long an
    answer may take, `alarm` after which time without a quorum witnessing is down, `refresh` after which time without a new
    checkpoint the published one is cosigned again. `monitoring` has addresses that differ from those where checkpoints are sent,
    `gone` the names of witnesses that no start waits for; `changed`: that the policy may differ from the one that was in force;
    `options`: all of this as options of `tlog seal`.
    """

    policy: Policy | None
    text: str
    mode: Mode = "required"
    every: float = 1.0
    timeout: float = 2.0
    alarm: float = 60.0
    refresh: float = 60.0
    monitoring: Mapping[str, str] = {}
    gone: frozenset[str] = frozenset()
    changed: bool = False
    options: Sequence[str] = ()


class SignedHead(NamedTuple):
    """What was signed last, and how to prove about it: both functions read tiles.

    `prove(old)` returns the consistency proof from a smaller size, `root_at(size)` the root hash of that part of the tree;
    `moved()` tells whether the anchor is beyond this head, so that another process leads.
    """

    note: bytes
    size: int
    root: bytes
    prove: Callable[[int], Awaitable[Sequence[bytes]]]
    root_at: Callable[[int], Awaitable[bytes]]
    moved: Callable[[], Awaitable[bool]]


class Gathered(NamedTuple):
    """A cosignature over the checkpoint of a size."""

    size: int
    cosignature: Cosignature


class _Address:
    """One address, which may answer for several keys: one request at a time, and what is known of it."""

    def __init__(self, url: str, monitoring: str, witnesses: Sequence[Witness]) -> None:
        self.url = url
        self.monitoring = monitoring
        self.keys = [witness.key for witness in witnesses]
        self.names = [_name(witness) for witness in witnesses]
        self.size: int | None = None  # of what it cosigned last, as far as it is known
        self.task: asyncio.Task[list[Cosignature]] | None = None
        self.asked: SignedHead | None = None
        self.due = 0.0
        self.failures = 0
        self.up: bool | None = None
        self.contradicts = False

    def answered(self, trouble: str, now: float) -> None:
        """Note an answer, `trouble` empty if it was a cosignature; a change is logged."""
        up = not trouble
        if up and not self.up:
            _log.info("witness_up", witness=self.names)
        elif not up and self.up is not False:
            _log.warning("witness_down", witness=self.names, reason=trouble)
        self.up = up
        self.contradicts = self.contradicts and not up
        self.due = 0.0 if up else now + _BACKOFF[min(self.failures, len(_BACKOFF) - 1)]
        self.failures = 0 if up else self.failures + 1


class Witnesses:
    """The witnesses of one log."""

    def __init__(
        self,
        witnessing: Witnessing,
        log: Verifier,
        outside: Outside,
        evidence: Path,
        clock: Callable[[], datetime],
    ) -> None:
        """Prepare.

        Args:
            witnessing: the policy, and what the operator says.
            log: the log's public key.
            outside: how addresses are asked; closed with this.
            evidence: directory for what contradicts the log.
            clock: the current time, aware.

        Raises:
            OperatorError: the policy does not list the log's key, or cannot be met by witnesses that have an address.
            MalformedInputError: an address is none that may be asked, or the operator names a witness that the policy lacks.

        """
        assert witnessing.policy is not None  # noqa: S101 - a log without a policy has no witnesses
        self.witnessing = witnessing
        self._policy = witnessing.policy
        self._log = log
        self._outside = outside
        self._evidence = evidence
        self.clock = clock
        self._addresses = _addresses(self._policy, witnessing)
        _check_policy(self._policy, log, [key for address in self._addresses for key in address.keys])
        self._head: SignedHead | None = None  # the one that lines are gathered for
        self._begun = 0.0
        self._lines: dict[Cosigner, Cosignature] = {}
        self._unsaved: list[Gathered] = []
        self._waiting_since: float | None = None
        self.met_size = 0
        self._unwitnessed_since: float | None = None

    @property
    def state(self) -> State:
        """How witnessing goes, in one word."""
        if self._waiting_since is None:
            return "ok"
        if any(address.contradicts for address in self._addresses):
            return "contradicted"
        waited = _now() - self._waiting_since
        if waited < self.witnessing.timeout:
            return "ok"  # each round takes its moment
        return "down" if waited > self.witnessing.alarm else "lags"

    @property
    def unwitnessed_since(self) -> float | None:
        """Since when a quorum is waited for, in seconds since 1970, if that takes longer than it should."""
        return None if self.state == "ok" else self._unwitnessed_since

    @property
    def up(self) -> dict[str, bool]:
        """Of each witness that was asked, whether its last answer was a cosignature."""
        return {name: bool(each.up) for each in self._addresses for name in each.names if each.up is not None}

    async def gather(self, head: SignedHead, *, confirming: bool) -> bool:
        """Show a head to the witnesses, each once at most; tell whether enough have cosigned it.

        Args:
            head: what was signed last.
            confirming: whether nothing was witnessed since the start. Then every witness is needed if two quorums can be without
                a common one: the other quorum may have seen more than this log remembers.

        Raises:
            RollbackError: the log's own signature stands on a larger tree than the anchor remembers.
            ForkError: the log's own signature stands on another tree.
            OverloadedError: the database is away, or another process has signed meanwhile.

        """
        everyone = confirming and self._policy.has_disjoint_quorums()
        self._take_up(head)
        tried: set[_Address] = set()
        while True:
            self._begin(head, tried, confirming=confirming)
            if self._is_enough(everyone=everyone):
                self.met_size = head.size
                return True
            running = [address.task for address in self._addresses if address.task is not None]
            if not running:
                return False
            await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            self._harvest()

    def tend(self, head: SignedHead) -> None:
        """Show the published head to who has not cosigned it yet, without waiting; after a long time, to everybody again.

        Raises:
            RollbackError: see `gather`.
            ForkError: see `gather`.
            OverloadedError: see `gather`.

        """
        if _now() - self._begun > self.witnessing.refresh:
            self._head = None
        self._take_up(head)
        self._harvest()
        self._begin(head, set(), confirming=False)
        self._is_enough(everyone=False)

    def take(self) -> list[Gathered]:
        """Return what was gathered and not taken yet, for the caller to store."""
        taken, self._unsaved = self._unsaved, []
        return taken

    async def close(self) -> None:
        """End all requests."""
        running = [address.task for address in self._addresses if address.task is not None]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await self._outside.close()

    def _take_up(self, head: SignedHead) -> None:
        if self._head is None or self._head.note != head.note:
            self._head, self._lines, self._begun = head, {}, _now()
            self._unsaved = [each for each in self._unsaved if each.size <= head.size]

    def _begin(self, head: SignedHead, tried: set[_Address], *, confirming: bool) -> None:
        """Ask who is due, has no request under way, and has not cosigned this head yet."""
        now = _now()
        for address in self._addresses:
            wanted = not all(key in self._lines for key in address.keys)
            if wanted and address.task is None and now >= address.due and address not in tried:
                tried.add(address)
                address.asked = head
                address.task = asyncio.create_task(self._visit(address, head, confirming=confirming), name="witness")

    def _harvest(self) -> None:
        for address in self._addresses:
            task, asked = address.task, address.asked
            if task is None or asked is None or not task.done():
                continue
            address.task = None
            for cosignature in task.result():
                self._unsaved.append(Gathered(asked.size, cosignature))
                if self._head is not None and asked.note == self._head.note:
                    self._lines |= {key: cosignature for key in address.keys if key.key_id == cosignature.key_id}

    def _is_enough(self, *, everyone: bool) -> bool:
        """Tell whether the lines meet the quorum, `everyone`: whether all are there; note since when they do not."""
        if self._waiting_since is None:
            self._waiting_since, self._unwitnessed_since = _now(), self.clock().timestamp()
        gone = self.witnessing.gone
        if everyone and any(each.key not in self._lines and _name(each) not in gone for each in self._policy.witnesses):
            return False
        if not self._policy.is_met(self._lines):
            return False
        self._waiting_since = self._unwitnessed_since = None
        return True

    async def _visit(self, address: _Address, head: SignedHead, *, confirming: bool) -> list[Cosignature]:
        """Return the cosignatures of one address, none if it does not give any now."""
        try:
            found = await self._ask(address, head, confirming=confirming)
        except OutsideError as error:
            address.answered(str(error), _now())
            return []
        address.answered("", _now())
        return found

    async def _ask(self, address: _Address, head: SignedHead, *, confirming: bool) -> list[Cosignature]:
        old = head.size if address.size is None else min(address.size, head.size)
        answer = await self._show(address, head, old)
        claimed = _claimed_size(answer)
        if claimed is not None and claimed <= head.size:
            answer = await self._show(address, head, claimed)
            claimed = _claimed_size(answer)
        if answer.status == _OK:
            address.size = head.size
            return self._read(address, head, answer.body)
        address.size = None
        await self._look_for_evidence(
            address, head, ahead=claimed is not None and claimed > head.size, confirming=confirming
        )
        message = f"answered with {answer.status}" + ("" if claimed is None else f" and claims to know size {claimed}")
        raise OutsideError(message)

    async def _show(self, address: _Address, head: SignedHead, old: int) -> Answer:
        # c2sp.org/tlog-witness: "If the old size is zero, the consistency proof MUST be empty".
        proof = await head.prove(old) if 0 < old < head.size else ()
        lines = b"".join(b"%b\n" % encode_base64(each) for each in proof)
        return await self._outside.ask(
            "POST", f"{address.url}/add-checkpoint", b"old %d\n%b\n%b" % (old, lines, head.note)
        )

    def _read(self, address: _Address, head: SignedHead, lines: bytes) -> list[Cosignature]:
        now = int(self.clock().timestamp())
        try:
            found = read_cosignatures(split_note(head.note)[0], lines, address.keys)
        except MalformedInputError as error:
            raise OutsideError(str(error)) from error
        near = [each for each in found if abs(each.time - now) <= _MAX_DIFFERENCE]
        if not near:
            message = (
                "answered without a cosignature of its own, or with one whose time is more than 5 minutes from ours"
            )
            raise OutsideError(message)
        return near

    async def _look_for_evidence(self, address: _Address, head: SignedHead, *, ahead: bool, confirming: bool) -> None:
        """Look whether a witness that refuses has a checkpoint of ours that contradicts what is anchored.

        Raises:
            RollbackError: it has a larger one, and nothing was witnessed since the start.
            ForkError: it has another one.
            OverloadedError: the anchor is beyond what was shown.

        """
        if await head.moved():
            message = "another process has signed meanwhile; this one begins anew from what was signed"
            raise OverloadedError(message)
        theirs = await self._their_checkpoint(address)
        if theirs is None:
            if ahead and not address.contradicts:
                _log.error(
                    "witness_contradicts", witness=address.names, reason="it claims a larger size, without proof"
                )
            address.contradicts = address.contradicts or ahead
            return
        note, (_, size, root) = theirs
        if size > head.size:
            self._keep(head, note, size)
            message = (
                f"ROLLBACK anchor={head.size} witness={size}: {address.names[0]} has a checkpoint of {size} entries with this "
                f"log's own signature, and the anchor stops at {head.size}; both notes are in {self._evidence}. "
            ) + (
                "Database and anchor were both restored from an older copy: bring back the newest ones, and never continue from "
                "the older ones"
                if confirming
                else "Somebody else signs with this log's key: take the key out of service, and tell whoever verifies this log"
            )
            raise (RollbackError if confirming else ForkError)(message)
        own = head.root if size == head.size else await head.root_at(size)
        if root != own:
            self._keep(head, note, size)
            if size:
                fork = make_fork(note, head.note, own, await head.prove(size) if size < head.size else ())
                write_durable(self._evidence / f"fork-{size}-{head.size}.json", format_fork(fork))
            message = (
                f"{address.names[0]} has a checkpoint of {size} entries with this log's own signature and another root hash; "
                f"both notes, and a file that proves it ('tlog verify fork'), are in {self._evidence}. The log forked, or "
                "somebody else signs with its key: nothing is signed"
            )
            raise ForkError(message)

    async def _their_checkpoint(self, address: _Address) -> tuple[bytes, Checkpoint] | None:
        """Return what a witness shows as the newest checkpoint of this log, None if our key did not sign that."""
        name = sha256(self._log.name.encode()).hexdigest()
        try:
            answer = await self._outside.ask("GET", f"{address.monitoring}/{name}/checkpoint")
            return answer.body, open_checkpoint(answer.body, self._log)
        except (OutsideError, MalformedInputError, VerificationError):
            return None

    def _keep(self, head: SignedHead, note: bytes, size: int) -> None:
        self._evidence.mkdir(mode=0o700, exist_ok=True)
        write_durable(self._evidence / f"ours-{head.size}.note", head.note)
        write_durable(self._evidence / f"theirs-{size}.note", note)


def _addresses(policy: Policy, witnessing: Witnessing) -> list[_Address]:
    """Return one for each address in the policy."""
    names = {_name(witness) for witness in policy.witnesses}
    for name in (*witnessing.monitoring, *sorted(witnessing.gone)):
        if name not in names:
            message = f"the policy has no witness '{name}'; its witnesses are {', '.join(sorted(names)) or 'none'}"
            raise MalformedInputError(message)
    found: dict[str, list[Witness]] = {}
    for witness in policy.witnesses:
        if witness.url is not None:
            found.setdefault(check_url(witness.url), []).append(witness)
    return [
        _Address(url, check_url(next(_monitoring(witnesses, witnessing.monitoring), url)), witnesses)
        for url, witnesses in found.items()
    ]


def _monitoring(witnesses: Iterable[Witness], known: Mapping[str, str]) -> Iterator[str]:
    return (known[name] for witness in witnesses if (name := _name(witness)) in known)


def _name(witness: Witness) -> str:
    return witness.name.decode(errors="replace")


def _check_policy(policy: Policy, log: Verifier, keys: Collection[Cosigner]) -> None:
    if log not in policy.log_keys(log.name):
        message = f"the policy does not list this log's own key; add the line 'log {log.vkey()}'"
        raise OperatorError(message)
    if not policy.is_met(keys):
        message = (
            "the witnesses that have an address in the policy do not meet its quorum; add the addresses of the others"
        )
        raise OperatorError(message)


def _claimed_size(answer: Answer) -> int | None:
    """Return the size that a conflict names, None for any other answer."""
    if answer.status != _CONFLICT or answer.media_type != _SIZE or not answer.body.endswith(b"\n"):
        return None
    try:
        return parse_decimal(answer.body[:-1], "the size that a witness knows")
    except MalformedInputError:
        return None


def _now() -> float:
    return asyncio.get_running_loop().time()
