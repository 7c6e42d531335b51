"""Verification as numbered steps, over the core: what `tlog verify` does and what an application can call.

The steps that need trust in something are the caller's and come first: the log's vkey must have been obtained from where
it can be believed, and the event file must be what the question is about. `tools/verify.py` does the same for strangers,
written independently with the standard library alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tlog.core.canonical import canonical
from tlog.core.checkpoint import Checkpoint, open_checkpoint
from tlog.core.commitment import SALT_SIZE, check_disclosure
from tlog.core.disclosed import disclosed_ident
from tlog.core.entry import Entry, EventEntry, IndexKeysEntry, OtherEntry, parse_entry
from tlog.core.eventfile import parse_event_file
from tlog.core.evidence import describe_missing
from tlog.core.merkle import leaf_hash
from tlog.core.proof import verify_consistency, verify_inclusion
from tlog.core.strict import encode_base64
from tlog.core.tlogproof import parse_consistency_proof, parse_inclusion_proof
from tlog.errors import InconsistentRootsError, MissingError, VerificationError

if TYPE_CHECKING:
    from tlog.core.eventfile import EventFile
    from tlog.core.note import Verifier


class VerifiedEvent(NamedTuple):
    """What was proved: this entry has this index in the tree of this checkpoint, and these bodies are its own.

    `absent` are groups that the event file explains by an outcome, (group, index of that entry), which is not in the file: that
    they are explained is not proved.
    """

    entry: Entry
    index: int  # type: ignore[assignment]  # hides tuple.index, which means nothing here
    checkpoint: Checkpoint
    bodies: dict[str, bytes]
    absent: tuple[tuple[str, int], ...] = ()


def verify_event(log: Verifier, event_file: bytes, proof_file: bytes) -> VerifiedEvent:
    """Verify that an event is in the log.

    0. (caller) `log` is the log's key, from where it can be believed; `event_file` is the event in question.
    1. Read the proof file and the event file strictly (c2sp.org/tlog-proof; docs/reference/formats.md).
    2. Check the checkpoint's signature by the log's key, and its origin (c2sp.org/signed-note, tlog-checkpoint).
    3. Compute the leaf hash from the entry's bytes (RFC 6962 section 2.1).
    4. Check the inclusion proof from that leaf hash to the checkpoint's root hash (RFC 9162 section 2.1.3.2).
    5. Check each disclosure against its commitment in the entry, and that it is what an event of the entry's type has there.
    6. Check that what the event file claims to disclose is there, or that it names a later entry that explains why it is not.

    Raises:
        MalformedInputError: one of the files has not the form it must have.
        VerificationError: a step failed.

    """
    proof = parse_inclusion_proof(proof_file)
    event = parse_event_file(event_file)
    entry = parse_entry(event.entry)
    checkpoint = open_checkpoint(proof.checkpoint, log)
    verify_inclusion(proof.index, checkpoint.size, leaf_hash(event.entry), proof.hashes, checkpoint.root)
    if isinstance(entry, IndexKeysEntry) and entry.origin != checkpoint.origin:
        message = "entry 0 names another log than the checkpoint"
        raise VerificationError(message)
    for group, disclosure in event.disclosures.items():
        if not isinstance(entry, EventEntry | OtherEntry):
            message = "an entry of this type has no disclosures"
            raise VerificationError(message)
        check_disclosure(entry.commitment(group), disclosure, group)
        if isinstance(entry, EventEntry):
            disclosed_ident(entry, group, disclosure[SALT_SIZE:])
    _check_absent(entry, proof.index, event)
    bodies = {group: disclosure[SALT_SIZE:] for group, disclosure in event.disclosures.items()}
    return VerifiedEvent(entry, proof.index, checkpoint, bodies, event.absent)


def _check_absent(entry: Entry, index: int, event: EventFile) -> None:
    """Check that what is claimed is of the entry, and that nothing of it is missing."""
    groups = entry.groups() if isinstance(entry, EventEntry | OtherEntry) else []
    claimed = [*event.missing, *(group for group, _ in event.absent)]
    if not set(claimed) <= set(groups):
        message = "the event file speaks of a disclosure that the entry does not commit to"
        raise VerificationError(message)
    missing = [*event.missing, *(group for group, by in event.absent if by <= index)]
    if missing:
        raise MissingError(describe_missing([(index, group) for group in missing]))


def verify_growth(log: Verifier, old_note: bytes, proof_file: bytes) -> tuple[Checkpoint, Checkpoint]:
    """Verify that the log only grew between two checkpoints; return the older and the newer one.

    0. (caller) `log` is the log's key, from where it can be believed; `old_note` was seen earlier.
    1. Read the proof file strictly; it carries the newer checkpoint (c2sp.org/tlog-witness "add-checkpoint").
    2. Check both checkpoints' signatures by the log's key, and their origin.
    3. Check that checkpoints of one size have one root hash, whatever the proof says.
    4. Check that the proof starts at the older checkpoint's size.
    5. Check the consistency proof between both root hashes (RFC 9162 section 2.1.4.2).

    Raises:
        MalformedInputError: one of the files has not the form it must have.
        InconsistentRootsError: both checkpoints are signed, and step 3 failed, which convicts the log, or step 5 failed,
            which does not: the proof may be wrong.
        VerificationError: another step failed, or checkpoints that cannot contradict each other have a wrong proof.

    """
    proof = parse_consistency_proof(proof_file)
    old, new = open_checkpoint(old_note, log), open_checkpoint(proof.checkpoint, log)
    if old.size == new.size and old.root != new.root:
        message = f"the log signed two roots for one tree size, {old.size}: these two checkpoints convict it without any proof"
        raise InconsistentRootsError(message, older=old_note, newer=proof.checkpoint, proof=proof.hashes)
    if proof.old_size != old.size:
        message = f"the proof starts at size {proof.old_size}, the older checkpoint has size {old.size}"
        raise VerificationError(message)
    try:
        verify_consistency(old.size, new.size, old.root, new.root, proof.hashes)
    except VerificationError as error:
        # An empty tree, the same tree and a smaller one contradict nothing.
        if not 0 < old.size < new.size:
            raise
        message = f"{error}; the proof may be wrong: fetch another proof before you accuse"
        raise InconsistentRootsError(message, older=old_note, newer=proof.checkpoint, proof=proof.hashes) from error
    return old, new


def format_inconsistency(error: InconsistentRootsError) -> bytes:
    """Return the evidence that an error carries as a file: RFC 8785 JSON and one newline.

    Source: docs/reference/formats.md, "Inconsistency".
    """
    content = {
        "newer": error.newer.decode(),
        "older": error.older.decode(),
        "proof": [encode_base64(each).decode() for each in error.proof],
        "type": "tlog-inconsistency",
        "v": 1,
    }
    return canonical(content) + b"\n"
