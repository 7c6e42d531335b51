"""Every error tlog raises on purpose, arranged by whose fault it is.

The class answers "who has to act": the caller who sent something wrong, the operator who runs the log, or nobody yet,
because the evidence itself does not hold. The server turns each class into one HTTP status in one table
(`tlog.server.describe.problems`), and the command line turns it into one exit code. Messages never contain personal data: they
name the member and the rule, not the value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

Cause = Literal["database", "disk", "standby", "signer", "clock"]


class TlogError(Exception):
    """Base of all errors raised on purpose.

    Attributes:
        exit_code: what a command line program ends with when this reaches its top.

    """

    exit_code = 2


# --- The evidence does not hold -------------------------------------------------------------------------------------


class VerificationError(TlogError):
    """Well-formed evidence that does not verify: a wrong hash, signature, root or order."""

    exit_code = 1


class MissingError(VerificationError):
    """Disclosures that are claimed are absent, and nothing explains it; everything else that was checked holds."""


class InconsistentRootsError(VerificationError):
    """Two checkpoints of one log, of which the newer is not shown to continue the older; carries the evidence.

    Two roots for one tree size convict the log by themselves. With two sizes the proof may be what is wrong.

    Attributes:
        older: the note bytes of the checkpoint that was seen first.
        newer: the note bytes of the checkpoint that contradicts it.
        proof: the 32-byte hashes of the consistency proof between them that does not verify.

    """

    def __init__(self, message: str, *, older: bytes, newer: bytes, proof: tuple[bytes, ...]) -> None:
        super().__init__(message)
        self.older = older
        self.newer = newer
        self.proof = proof


class OtherQuestionError(TlogError):
    """Evidence that is right, and answers another question than the one asked: nothing is proved about that."""


class NotCheckedError(TlogError):
    """Something that was asked for could not be checked, for instance because a file is missing."""

    exit_code = 3


# --- The caller's input is wrong ------------------------------------------------------------------------------------


class MalformedInputError(TlogError):
    """Input that does not have the form its format asks for.

    Attributes:
        pointer: RFC 6901 JSON pointer to the offending member, "" for the whole input.

    """

    def __init__(self, message: str, pointer: str = "") -> None:
        super().__init__(message)
        self.pointer = pointer


class InvalidEventError(MalformedInputError):
    """An event that breaks rules of the event format; message and pointer are those of the first fault.

    Attributes:
        faults: message and pointer of each fault, at most twenty.

    """

    def __init__(self, message: str, pointer: str = "", faults: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(message, pointer)
        self.faults = faults or ((message, pointer),)


class InvalidBatchError(InvalidEventError):
    """At least one event of a batch is invalid; the first one's message and pointer stand for the batch.

    Attributes:
        found: one error for each invalid event; its pointer starts at the event.
        positions: the positions in the batch, from 0, of the events they belong to.

    """

    def __init__(self, positions: list[int], found: list[InvalidEventError]) -> None:
        super().__init__(str(found[0]), f"/{positions[0]}{found[0].pointer}")
        self.positions = positions
        self.found = found


class Conflict(NamedTuple):
    """An eventId with two contents.

    Attributes:
        event_id: the eventId in question.
        pointer: RFC 6901 pointer to it in the request.
        within: whether both contents are in this request; the log holds the other one otherwise.
        first: the ID of the API key with which somebody else appended it, or what else appended it; None if nobody else.

    """

    event_id: str
    pointer: str
    within: bool
    first: str | None = None

    def rule(self) -> str:
        """Return in words what is wrong, and what to do: the same for what somebody else appended, whatever its content is."""
        if self.within:
            where = "stands twice in this request with other content"
        else:
            where = "is already logged, with other content or by another key"
        return f"eventId {self.event_id} {where}; a new event needs a new eventId"


class EventConflictError(TlogError):
    """At least one eventId that the log, or the request itself, already holds, with other content or from somebody else.

    The first stands for all.

    Attributes:
        conflicts: all of them, in the request's order, at least one.
        event_id: the eventId of the first.
        pointer: RFC 6901 pointer to it in the request.

    """

    def __init__(self, conflicts: Sequence[Conflict]) -> None:
        super().__init__(conflicts[0].rule())
        self.conflicts = tuple(conflicts)
        self.event_id = conflicts[0].event_id
        self.pointer = conflicts[0].pointer


class NotFoundError(TlogError):
    """What the caller named does not exist in this log, or not yet."""


class TooLargeError(TlogError):
    """A request above a documented limit."""


class UnauthorizedError(TlogError):
    """The request has no API key, or one that is malformed, unknown, expired or revoked.

    Attributes:
        presented: whether the request has one at all.

    """

    def __init__(self, message: str, *, presented: bool) -> None:
        super().__init__(message)
        self.presented = presented


class ForbiddenError(TlogError):
    """The request's API key is valid and lacks the scope that the request needs.

    Attributes:
        scope: that scope.

    """

    def __init__(self, scope: str) -> None:
        super().__init__(f"this API key lacks the scope '{scope}'")
        self.scope = scope


class NotYoursError(TlogError):
    """The request's API key is for one person's answers, and the request is for something else."""

    def __init__(self) -> None:
        super().__init__(
            "this API key is for the answers about one resource or one actor, and this is not about that alone"
        )


# --- The service cannot do it now -----------------------------------------------------------------------------------


class OverloadedError(TlogError):
    """The bounded queue is full, or the database is away: nothing was appended, the caller may try again.

    Attributes:
        retry_after: seconds the caller should wait.
        cause: what is waited for, as the outcome `stalled` names it.

    """

    exit_code = 75  # EX_TEMPFAIL of sysexits.h: not now, try again
    cause: ClassVar[Cause] = "database"

    def __init__(self, message: str, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class UnreachableError(OverloadedError):
    """The database does not answer; the message says where and why, and is for the log's operator alone."""


class RateLimitedError(OverloadedError):
    """One API key asks for more than its rate; other keys are served."""


class NoSpaceError(OverloadedError):
    """The disk is nearly full: nothing is appended until there is space again; then appends go on without anybody's help."""

    cause = "disk"


class UntrueClockError(OverloadedError):
    """The clock leapt ahead: nothing is logged or signed with such a time."""

    cause = "clock"


class SignerAwayError(OverloadedError):
    """The log's own signer does not answer, or cannot sign now."""

    cause = "signer"


class IntakeFencedError(TlogError):
    """A stream is not where a request to take from it begins: another process took from it meanwhile. Nothing was appended."""

    exit_code = 75


# --- The operator has to act ----------------------------------------------------------------------------------------


class OperatorError(TlogError):
    """The log refuses to go on until its operator acts; the message says what to do.

    Each subclass has its own exit code so that a supervisor can tell them apart.
    """

    exit_code = 4


class EmbeddedPostgresError(OperatorError):
    """The embedded PostgreSQL cannot be created, started or reached."""


class UnsafeDatabaseError(OperatorError):
    """The database lacks a schema, a privilege or a durability setting on which the log's promises rest."""


class RollbackError(OperatorError):
    """The database holds fewer entries than were signed: a backup was restored, or a directory was lost."""

    exit_code = 5


class FailoverError(RollbackError):
    """Another PostgreSQL has taken the database's place, and nobody has said yet that the log goes on there."""


class AnchorMissingError(OperatorError):
    """The log exists without its anchor, so nobody knows what was signed."""

    exit_code = 6


class ForkError(OperatorError):
    """The database, the anchor and the tree contradict each other at a size that was signed."""

    exit_code = 7


class KeyMismatchError(OperatorError):
    """A key file does not belong to this log."""

    exit_code = 8


class DamagedLogError(OperatorError):
    """Stored entries do not hash to the leaf hashes stored beside them; the sealer signs nothing that contains them."""

    exit_code = 9
