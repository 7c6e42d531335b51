"""Convicting a key: a file that shows that it signed two trees of which the larger does not continue the smaller.

Own format (docs/reference/formats.md, "Fork"): two signed notes, and a consistency proof from *another* tree of the smaller size
to the larger tree. The larger tree has exactly one tree of each smaller size as its beginning; if a proof leads to it from a root
hash that is not the one that was signed for that size, the smaller tree is no part of it. The proof is what an honest tree has,
so whoever has the entries can make it; a proof that merely does not verify would convict nobody.

It accuses the key: whether the log's operator or a thief signed, no file can say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from msgspec import Struct

from tlog.core.checkpoint import Checkpoint, open_checkpoint
from tlog.core.evidence import require
from tlog.core.merkle import HASH_SIZE
from tlog.core.proof import verify_consistency
from tlog.core.strict import CanonicalFile, encode_base64, parse_base64

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tlog.core.note import Verifier


class Fork(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Two notes, sizes ascending, and the proof that leads from `root`, at the first one's size, to the second one's tree."""

    first: str
    proof: tuple[str, ...]
    root: str
    second: str
    type: Literal["tlog-fork"]
    v: Literal[1]


class Forked(NamedTuple):
    """What is proved: both checkpoints, and the root hash that the second one has at the size of the first."""

    first: Checkpoint
    second: Checkpoint
    root: bytes


_FILE: Final = CanonicalFile(Fork, "a fork file")
format_fork: Final = _FILE.format
parse_fork: Final = _FILE.parse


def make_fork(first: bytes, second: bytes, root: bytes, proof: Iterable[bytes]) -> Fork:
    """Return the fork that two notes are, for `find_fork` to judge.

    Args:
        first: the note of the smaller tree, or of either of two trees of one size.
        second: the note of the other one.
        root: 32-byte root hash that the second tree has at the first one's size.
        proof: 32-byte hashes that prove that; none for two trees of one size.

    """
    older, newer = (note.decode(errors="replace") for note in (first, second))
    hashes = tuple(encode_base64(each).decode() for each in proof)
    return Fork(first=older, second=newer, root=encode_base64(root).decode(), proof=hashes, type="tlog-fork", v=1)


def find_fork(log: Verifier, fork: Fork) -> Forked:
    """Convict a key of two histories; the caller has it from where it can be believed.

    1. Both notes are checkpoints that the key signed.
    2. The first is not empty, and not larger than the second.
    3. The proof leads from `root`, at the first one's size, to the second tree.
    4. `root` is not the root hash that the first one has.

    Raises:
        MalformedInputError: a note, the root hash or a hash of the proof does not have its form.
        VerificationError: no fork is proved; the message says why.

    """
    first, second = (open_checkpoint(note.encode(errors="replace"), log) for note in (fork.first, fork.second))
    root = parse_base64(fork.root.encode(errors="replace"), "the root hash of the fork", HASH_SIZE)
    proof = [parse_base64(each.encode(errors="replace"), "a hash of the proof", HASH_SIZE) for each in fork.proof]
    require(
        1 <= first.size <= second.size, f"no fork: the first tree has {first.size} entries, the second {second.size}"
    )
    verify_consistency(first.size, second.size, root, second.root, proof)
    require(root != first.root, f"no fork: the tree of {second.size} entries continues the one of {first.size}")
    return Forked(first, second, root)
