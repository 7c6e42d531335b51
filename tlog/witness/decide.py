"""What a witness answers to a request, given the head that it has of the log: no input or output, no clock.

Implements the checks of c2sp.org/tlog-witness "add-checkpoint", in the order of their answers:

    400 the body has another form  →  404 unknown origin  →  403 no signature of a known key, or one that fails
    →  422 an empty tree with another root  →  400 old size above the size  →  409 old size is not the head's
    →  422 a proof where none belongs, or none that leads from the head to the checkpoint  →  200

A verdict of 200 holds only as long as the head is the one that was given; whoever carries it out compares again.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final, NamedTuple

from tlog.core.checkpoint import Checkpoint, parse_foreign
from tlog.core.merkle import EMPTY_ROOT, HASH_SIZE
from tlog.core.note import signature_line, split_note
from tlog.core.proof import MAX_PROOF_HASHES, verify_consistency
from tlog.core.strict import parse_base64, parse_decimal
from tlog.errors import MalformedInputError, VerificationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tlog.core.note import Verifier

MAX_BODY_SIZE: Final = 64 << 10
_OLD: Final = b"old "


class Head(NamedTuple):
    """The largest checkpoint of a log that this witness cosigned; that of the empty tree before the first."""

    size: int
    root: bytes


NEVER: Final = Head(0, EMPTY_ROOT)


class Request(NamedTuple):
    """A body of `add-checkpoint`: the old size, at most 63 hashes of the proof, and the note with its text's checkpoint."""

    old: int
    proof: tuple[bytes, ...]
    text: bytes
    signatures: list[tuple[str, bytes, bytes]]
    checkpoint: Checkpoint


class Verdict(NamedTuple):
    """What is answered: the status, and why; with 200, the lines of the log's keys, which are worth keeping."""

    status: HTTPStatus
    reason: str = ""
    lines: bytes = b""


def parse_request(body: bytes) -> Request:
    """Return what a body of `add-checkpoint` asks.

    Raises:
        MalformedInputError: it is longer than 64 KiB or has another form.

    """
    if len(body) > MAX_BODY_SIZE:
        message = f"a request has at most {MAX_BODY_SIZE} bytes"
        raise MalformedInputError(message)
    head, separator, note = body.partition(b"\n\n")
    first, *proof = head.split(b"\n")
    if not separator or not first.startswith(_OLD):
        message = "a request is a line 'old <size>', lines of a consistency proof, an empty line, and a checkpoint"
        raise MalformedInputError(message)
    # "The client MUST NOT send more than 63 consistency proof lines."
    if len(proof) > MAX_PROOF_HASHES:
        message = f"a consistency proof has at most {MAX_PROOF_HASHES} lines"
        raise MalformedInputError(message)
    old = parse_decimal(first.removeprefix(_OLD), "the old size")
    hashes = tuple(parse_base64(line, "a line of the consistency proof", HASH_SIZE) for line in proof)
    text, signatures = split_note(note)
    return Request(old, hashes, text, signatures, parse_foreign(text))


def decide(request: Request, keys: Sequence[Verifier], head: Head) -> Verdict:
    """Return what to answer.

    Args:
        request: what is asked.
        keys: those that may sign for the origin; none if the origin is unknown.
        head: what was cosigned last of this origin.

    """
    if not keys:
        return Verdict(HTTPStatus.NOT_FOUND, "this witness does not know the log")
    try:
        lines = _verified_lines(request, keys)
    except VerificationError as error:
        return Verdict(HTTPStatus.FORBIDDEN, str(error))
    return _compare(request, head) or Verdict(HTTPStatus.OK, lines=lines)


def conflict(head: Head) -> Verdict:
    """Return the answer to who does not continue the head."""
    # "The response body MUST consist of the tree size of the latest cosigned checkpoint in decimal, followed by a newline".
    return Verdict(HTTPStatus.CONFLICT, str(head.size))


def _verified_lines(request: Request, keys: Sequence[Verifier]) -> bytes:
    known = {(key.name, key.key_id): key for key in keys}
    verified: dict[bytes, None] = {}
    for name, key_id, signature in request.signatures:
        # The witness "MUST ignore signatures from unknown keys".
        if (key := known.get((name, key_id))) is not None:
            key.verify(request.text, signature)
            verified[signature_line(name, key_id, signature)] = None
    if not verified:
        message = "no key that this witness knows of the log has signed the checkpoint"
        raise VerificationError(message)
    return b"".join(verified)


def _compare(request: Request, head: Head) -> Verdict | None:
    """Return the refusal of a well-signed checkpoint, None if it continues the head."""
    _, size, root = request.checkpoint
    if size == 0 and root != EMPTY_ROOT:
        return Verdict(HTTPStatus.UNPROCESSABLE_ENTITY, "the empty tree has another root hash")
    if request.old > size:
        return Verdict(HTTPStatus.BAD_REQUEST, "the old size is larger than the checkpoint's")
    if request.old != head.size:
        return conflict(head)
    try:
        verify_consistency(head.size, size, head.root, root, request.proof)
    except VerificationError as error:
        return Verdict(HTTPStatus.UNPROCESSABLE_ENTITY, str(error))
    return None
