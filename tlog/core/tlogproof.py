"""Proof files: the offline-verifiable texts a log hands out.

`InclusionProof` implements c2sp.org/tlog-proof. `ConsistencyProof` is the request body of c2sp.org/tlog-witness
"add-checkpoint" (old size, proof, newer checkpoint), the one published text format for consistency proofs. Both carry
the checkpoint's note verbatim, so its signatures stay checkable.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from tlog.core.merkle import HASH_SIZE
from tlog.core.proof import MAX_PROOF_HASHES
from tlog.core.strict import encode_base64, parse_base64, parse_decimal
from tlog.errors import MalformedInputError

if TYPE_CHECKING:
    from collections.abc import Sequence

HEADER: Final = b"c2sp.org/tlog-proof@v1"
MAX_PROOF_SIZE: Final = 1 << 20


class InclusionProof(NamedTuple):
    """A tlog-proof: entry `index` is in the tree of `checkpoint` (a signed note); `extra` is opaque."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which means nothing here
    hashes: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes | None = None

    def text(self) -> bytes:
        """Return the file's bytes (c2sp.org/tlog-proof "Format")."""
        extra = [] if self.extra is None else [b"extra " + encode_base64(self.extra)]
        lines = [HEADER, *extra, b"index %d" % self.index, *map(encode_base64, self.hashes)]
        return b"\n".join(lines) + b"\n\n" + self.checkpoint


class ConsistencyProof(NamedTuple):
    """The tree of `old_size` leaves is a prefix of the tree of `checkpoint` (a signed note)."""

    old_size: int
    hashes: tuple[bytes, ...]
    checkpoint: bytes

    def text(self) -> bytes:
        """Return the file's bytes (c2sp.org/tlog-witness "add-checkpoint")."""
        lines = [b"old %d" % self.old_size, *map(encode_base64, self.hashes)]
        return b"\n".join(lines) + b"\n\n" + self.checkpoint


def parse_inclusion_proof(data: bytes) -> InclusionProof:
    """Return the parts of a tlog-proof file; its checkpoint is not opened yet.

    Raises:
        MalformedInputError: the file is not exactly what formatting its parts gives.

    """
    lines, checkpoint = _split(data, "tlog-proof")
    if lines[0] != HEADER:
        message = f"a tlog-proof starts with the line {HEADER.decode()}"
        raise MalformedInputError(message)
    del lines[0]
    extra = None
    if lines and lines[0].startswith(b"extra "):
        extra = parse_base64(lines.pop(0)[6:], "the extra line of the tlog-proof")
    index = _parse_number_line(lines, b"index ", "tlog-proof")
    return InclusionProof(index, _parse_hashes(lines[1:], "tlog-proof"), checkpoint, extra)


def parse_consistency_proof(data: bytes) -> ConsistencyProof:
    """Return the parts of a consistency proof file; its checkpoint is not opened yet.

    Raises:
        MalformedInputError: the file is not exactly what formatting its parts gives.

    """
    lines, checkpoint = _split(data, "consistency proof")
    old_size = _parse_number_line(lines, b"old ", "consistency proof")
    return ConsistencyProof(old_size, _parse_hashes(lines[1:], "consistency proof"), checkpoint)


def _split(data: bytes, what: str) -> tuple[list[bytes], bytes]:
    """Return the lines before the first empty line, and the checkpoint after it."""
    if len(data) > MAX_PROOF_SIZE:
        message = f"a {what} of {len(data)} bytes is longer than {MAX_PROOF_SIZE}"
        raise MalformedInputError(message)
    head, _, checkpoint = data.partition(b"\n\n")
    if not checkpoint:
        message = f"a {what} ends with an empty line and a checkpoint"
        raise MalformedInputError(message)
    return head.split(b"\n"), checkpoint


def _parse_number_line(lines: Sequence[bytes], label: bytes, what: str) -> int:
    if not lines or not lines[0].startswith(label):
        message = f"the {what} lacks its '{label.decode()}<number>' line"
        raise MalformedInputError(message)
    return parse_decimal(lines[0].removeprefix(label), f"the {label.decode()}line of the {what}")


def _parse_hashes(lines: Sequence[bytes], what: str) -> tuple[bytes, ...]:
    if len(lines) > MAX_PROOF_HASHES:
        message = f"a {what} has at most {MAX_PROOF_HASHES} hashes, not {len(lines)}"
        raise MalformedInputError(message)
    return tuple(parse_base64(line, f"a hash of the {what}", HASH_SIZE) for line in lines)
