"""Checkpoints: the signed statement of a log's size and root hash.

Implements c2sp.org/tlog-checkpoint without extension lines: tlog neither writes nor accepts them, because they would be
signed but not covered by what monitors compare. The key name equals the origin. Only a witness, which cosigns the logs of
others, takes a checkpoint with them (`parse_foreign`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from tlog.core.merkle import EMPTY_ROOT, HASH_SIZE
from tlog.core.note import Key, Signer, Verifier, open_note, sign_note, split_note
from tlog.core.strict import encode_base64, parse_base64, parse_decimal
from tlog.errors import MalformedInputError, VerificationError

if TYPE_CHECKING:
    from collections.abc import Sequence

_LINES: Final = 4  # origin, size, root, and the empty string after the last newline


class Checkpoint(NamedTuple):
    """The text of a checkpoint: whose log, how many entries, which 32-byte root hash."""

    origin: str
    size: int
    root: bytes

    def text(self) -> bytes:
        """Return the note text, three lines each ended by a newline."""
        return b"%b\n%d\n%b\n" % (self.origin.encode(), self.size, encode_base64(self.root))


def parse_checkpoint(text: bytes) -> Checkpoint:
    """Return the checkpoint that a note text holds.

    Raises:
        MalformedInputError: not exactly the three lines, or the empty tree with another root.

    """
    lines = text.split(b"\n")
    if len(lines) != _LINES or not lines[0]:
        message = "a checkpoint has exactly three lines: origin, tree size, root hash"
        raise MalformedInputError(message)
    size = parse_decimal(lines[1], "the tree size of the checkpoint")
    root = parse_base64(lines[2], "the root hash of the checkpoint", HASH_SIZE)
    if size == 0 and root != EMPTY_ROOT:
        message = "a checkpoint of size 0 has another root than the empty tree's"
        raise MalformedInputError(message)
    checkpoint = Checkpoint(lines[0].decode(errors="replace"), size, root)
    if checkpoint.text() != text:
        message = "a checkpoint is three lines of valid UTF-8, each ended by a newline"
        raise MalformedInputError(message)
    return checkpoint


def parse_foreign(text: bytes) -> Checkpoint:
    """Return origin, size and root hash of the checkpoint of any log, whatever lines follow, for who cosigns it.

    That the empty tree has its one root is not checked: c2sp.org/tlog-witness has an answer of its own for that.

    Raises:
        MalformedInputError: the first three lines are not those of a checkpoint, or a line after them is empty.

    """
    lines = text.split(b"\n")
    if len(lines) < _LINES or lines[-1] or not all(lines[:-1]):
        message = "a checkpoint has three lines, origin, tree size and root hash, and perhaps more; none is empty"
        raise MalformedInputError(message)
    size = parse_decimal(lines[1], "the tree size of the checkpoint")
    root = parse_base64(lines[2], "the root hash of the checkpoint", HASH_SIZE)
    return Checkpoint(lines[0].decode(errors="replace"), size, root)


def sign_checkpoint(checkpoint: Checkpoint, signer: Signer) -> bytes:
    """Return the signed note of `checkpoint`.

    Raises:
        VerificationError: the signer's name is not the checkpoint's origin.

    """
    _check_origin(checkpoint, signer.verifier)
    return sign_note(checkpoint.text(), [signer])


def open_checkpoint(note: bytes, log: Verifier, others: Sequence[Key] = ()) -> Checkpoint:
    """Return the checkpoint of a signed note after checking the log's signature and origin.

    Args:
        note: the signed note.
        log: the pinned key of the log; its name is the origin asked for.
        others: further known keys whose signatures must hold where present; they do not replace the log's.

    Raises:
        MalformedInputError: the note or its text does not have the form of a checkpoint.
        VerificationError: the log's signature is missing or wrong, or the origin is another log's.

    """
    opened = open_note(note, [log, *others])
    # By key, not by name: another known key may carry the log's name.
    if log not in opened.verified:
        message = "the checkpoint is not signed by the log"
        raise VerificationError(message)
    checkpoint = parse_checkpoint(opened.text)
    _check_origin(checkpoint, log)
    return checkpoint


def peek_checkpoint(note: bytes) -> Checkpoint:
    """Return what a note claims, without any check of its signatures: for storing and listing, never for trusting.

    Raises:
        MalformedInputError: the note or its text does not have the form of a checkpoint.

    """
    return parse_checkpoint(split_note(note)[0])


def _check_origin(checkpoint: Checkpoint, log: Verifier) -> None:
    if checkpoint.origin != log.name:
        message = "the checkpoint's origin is not the name of the log's key"
        raise VerificationError(message)
