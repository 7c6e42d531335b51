"""The signer: signs what extends what it signed before, and nothing else.

    anchor read, its note opened → the same tree again? its note again → origin and size go on from there
    → consistency proof checked with the verifier's code → growth within bounds → clock later than last → sign
    → opened with the verifier's code
    → anchor: compare-and-set, on disk → handed out

It owns the log's key and its anchor, and trusts nobody who asks: a proposal needs a proof from what was signed last. The
sealer asks it in its own process, or over a socket (`tlog.signing.socket`) as another user's process, where whoever takes
over the service can make the log longer but not sign a second history. It never sees entries; the chain hash is kept for the
sealer, and nothing is signed over it; so is which server the log was on.

A consistency proof says nothing about how many entries there are on the right of what was signed, so whoever asks could name
the largest size there is, after which nothing can be signed any more. So growth is bounded by time. A sealer with more to
sign than the bound goes in steps of `MAX_GROWTH`, so no honest log meets it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, Protocol

import msgspec
import structlog

from tlog.core.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from tlog.core.entry import to_microseconds
from tlog.core.merkle import HASH_SIZE, MAX_TREE_SIZE
from tlog.core.proof import MAX_PROOF_HASHES, verify_consistency
from tlog.errors import ForkError, MalformedInputError, VerificationError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from tlog.core.note import Signer, Verifier
    from tlog.signing.anchor import Anchor, Anchored

# What one signature may add, and what each second since the last one adds to that: several times what a log takes in.
MAX_GROWTH: Final = 10_000_000
GROWTH_A_SECOND: Final = 200_000
_MICROSECONDS: Final = 1_000_000
_log: Final = structlog.get_logger()
_BRING_BACK: Final = "bring back an intact copy of this log's newest anchor, and the log's own key"
Size = Annotated[int, msgspec.Meta(ge=0, le=MAX_TREE_SIZE)]
Hash = Annotated[bytes, msgspec.Meta(min_length=HASH_SIZE, max_length=HASH_SIZE)]
Microseconds = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
Proof = Annotated[list[Hash], msgspec.Meta(max_length=MAX_PROOF_HASHES)]


class Proposal(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="sign"):
    """What a sealer wants signed: the tree of `size` entries, and the proof that it continues the one of `last_size`.

    `last_size` is the size of the last signed tree as the sealer knows it; `chain_hash` that of the tree's last entry, and
    `logged_at` when that was logged, in microseconds since 1970; `system`, `timeline` and `synchronous` say on which server.
    """

    origin: str
    last_size: Size
    size: Size
    root: Hash
    chain_hash: Hash
    logged_at: Microseconds
    proof: Proof
    system: Annotated[str, msgspec.Meta(max_length=20)] = ""
    timeline: Annotated[int, msgspec.Meta(ge=0, le=(1 << 32) - 1)] = 0
    synchronous: Annotated[int, msgspec.Meta(ge=0, le=1)] = 0


class Signing(Protocol):
    """Who signs a log's checkpoints. What `sign` returned is on disk, and the only checkpoint of its size there will be."""

    @property
    def verifier(self) -> Verifier:
        """The log's public key."""

    def read(self) -> Anchored:
        """Return what was signed last.

        Raises:
            OverloadedError: the signer is away.
            OperatorError: the signer does not know, or does not know for sure.

        """

    def sign(self, proposal: Proposal) -> Anchored | None:
        """Sign a checkpoint; None if the clock lags what was signed or logged, and nothing was signed.

        Asked for what is signed already, it returns the same note: a lost answer can be asked for again.

        Raises:
            OverloadedError: the signer is away, and may have signed all the same; or its clock leapt ahead, and it did not.
            ForkError: the proposal does not continue what was signed last.
            OperatorError: what was signed last is not known for sure.

        """


class CheckpointSigner:
    """Signs with the key and the anchor of this process."""

    def __init__(self, anchor: Anchor, key: Signer, clock: Callable[[], datetime], allow_growth: int = 0) -> None:
        """Take what it signs with.

        Args:
            anchor: what was signed last.
            key: the signing key.
            clock: returns the current time, aware.
            allow_growth: by how many entries the log may grow in one signature that the bound on growth forbids; one such
                signature uses it up.

        """
        self._anchor = anchor
        self._key = key
        self._clock = clock
        self._allow_growth = allow_growth

    @property
    def verifier(self) -> Verifier:
        """The log's public key."""
        return self._key.verifier

    def read(self) -> Anchored:
        """Return what was signed last.

        Raises:
            AnchorMissingError: there is no readable anchor.
            ForkError: the anchor is edited, or another log's.

        """
        anchored = self._anchor.read()
        check_note(anchored, self.verifier)
        return anchored

    def sign(self, proposal: Proposal) -> Anchored | None:
        """Sign a checkpoint; None if the clock lags what was signed or logged, and nothing was signed.

        Raises:
            AnchorMissingError: there is no readable anchor.
            OverloadedError: the clock leapt ahead.
            ForkError: the proposal does not continue what was signed last.
            sqlite3.Error: the disk refused; nothing may be signed any more.

        """
        last = self.read()
        proposed = last._replace(
            origin=proposal.origin,
            size=proposal.size,
            root=proposal.root,
            chain_hash=proposal.chain_hash,
            system=proposal.system,
            timeline=proposal.timeline,
            synchronous=proposal.synchronous,
        )
        if proposed[:4] == last[:4] and last.note:
            return last
        _check_continues(last, proposal)
        now, earliest = to_microseconds(self._clock()), max(last.sealed_at + 1, proposal.logged_at)
        beyond = self._check_growth(last, proposal.size - last.size, now)
        if now < earliest:
            # Entries keep coming in order all the same; signing waits until the clock is past what was signed.
            _log.error(
                "clock_lags",
                reason="the clock lags what was signed and logged; nothing is signed until it has caught up",
                microseconds=earliest - now,
            )
            return None
        note = sign_checkpoint(Checkpoint(last.origin, proposal.size, proposal.root), self._key)
        anchored = proposed._replace(note=note, sealed_at=now)
        check_note(anchored, self.verifier)
        self._anchor.advance(last, anchored)
        if beyond:
            self._allow_growth = 0
        return anchored

    def _check_growth(self, last: Anchored, growth: int, now: int) -> bool:
        """Check that the log grows no faster than a log can; return whether only the operator's word allows it.

        Raises:
            ForkError: it does.

        """
        seconds = max(now - last.sealed_at, 0) // _MICROSECONDS if last.note else 0
        bound = MAX_GROWTH + GROWTH_A_SECOND * seconds
        if growth <= bound:
            return False
        if growth <= self._allow_growth:
            return True
        message = (
            f"the log would grow by {growth} entries within {seconds} s, and more than {bound} are not signed; find out who "
            f"asked for that. If the log really holds them, start 'tlog signer' once with --allow-growth {growth}"
        )
        raise ForkError(message)


def check_note(anchored: Anchored, log: Verifier) -> None:
    """Check that a signed note is the log's, and of the tree that stands beside it.

    Raises:
        ForkError: the note does not open, or the anchor says something else.

    """
    if anchored.origin != log.name:
        message = f"the anchor names another log than the signing key, {log.name}; bring back this log's own anchor"
        raise ForkError(message)
    if not anchored.note:
        return
    try:
        opened = open_checkpoint(anchored.note, log)
    except (VerificationError, MalformedInputError) as error:
        message = f"the anchored checkpoint does not open with this log's key: {error}; {_BRING_BACK}"
        raise ForkError(message) from error
    if (opened.size, opened.root) != (anchored.size, anchored.root):
        message = f"the anchor's columns and its signed checkpoint differ; {_BRING_BACK}"
        raise ForkError(message)


def _check_continues(last: Anchored, proposal: Proposal) -> None:
    """Check a proposal against what was signed last; the sizes first, so that the message says what is going on."""
    if proposal.origin != last.origin:
        message = f"this is the signer of {last.origin} and of no other log"
        raise ForkError(message)
    if proposal.last_size > last.size:
        message = (
            f"the sealer continues a checkpoint of {proposal.last_size} entries, the anchor stops at {last.size}: the anchor "
            "was restored from an older copy. Bring back the newest anchor"
        )
        raise ForkError(message)
    if proposal.last_size < last.size:
        message = (
            f"a checkpoint of {last.size} entries is signed, but the sealer continues one of {proposal.last_size}: another "
            "sealer signed meanwhile; this one signs nothing more"
        )
        raise ForkError(message)
    if proposal.size <= last.size:
        message = (
            f"a checkpoint of {last.size} entries is signed; another one of {proposal.size} would be a second history"
        )
        raise ForkError(message)
    try:
        verify_consistency(last.size, proposal.size, last.root, proposal.root, proposal.proof)
    except VerificationError as error:
        message = f"the tree of {proposal.size} entries does not continue the signed one of {last.size}: {error}"
        raise ForkError(message) from error
