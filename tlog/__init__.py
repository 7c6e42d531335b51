"""An audit log that can be proved, to people who trust neither its operator, nor its database, nor this program.

Applications append audit events. The log chains them, seals them into signed Merkle trees, and answers auditors with proofs
that anybody can check offline. By the names below, this package is also what a verifier needs. Its rooms, the lowest first:

    `errors`  every error that is raised on purpose, by whose fault it is
    `files`  writes a file whole, durably, or once
    `core`  all that a verifier trusts: mathematics and formats, pure
    `postgres`  the embedded PostgreSQL as a process
    `client`  for producers: records events and sends them; asks
    `location`  where a log is: keys, anchor, database
    `signing`  decides whether a checkpoint is signed
    `storage`  all SQL
    `writing`  changes a log: appends, seals, indexes
    `answering`  answers, evidence, proofs, exports
    `checking`  checks a whole log without trusting it
    `keeping`  backups, and recovery of what a backup lacks
    `lifecycle`  makes, opens and runs a log
    `ingest`  events from files and from other systems' logs
    `server`  the HTTP service
    `witness`  cosigns the checkpoints of other people's logs
    `demo`  the whole story in one command
    `cli`  the command line

A verifier has the log's public key from where it can be believed, and asks: is this entry in the tree that was signed?

    >>> import tlog
    >>> first, second = tlog.leaf_hash(b"first"), tlog.leaf_hash(b"second")
    >>> root = bytes.fromhex("3ae5bfa57ffa769d9634a86f3a26286aa69fd50ea0585f8061f902ad5f0327f7")
    >>> tlog.verify_inclusion(0, 2, first, [second], root)
    >>> tlog.verify_inclusion(1, 2, first, [second], root)
    Traceback (most recent call last):
    tlog.errors.VerificationError: the inclusion proof of entry 1 leads to another root than the one of tree size 2

A proof file brings index, hashes and a checkpoint (`parse_inclusion_proof`); the checkpoint, opened with the key, brings
size and root hash (`open_checkpoint`). For a complete answer the caller states the question too: `parse_question`, and
`verify_evidence` for the bundle that `parse_evidence` reads, `verify_evidence_set` for several. No function answers with a
boolean; each raises where something is wrong: `MalformedInputError` for input without the form its format asks for,
`VerificationError` for evidence that does not hold.
Left out: making a log and running one (`tlog.cli`, `tlog.lifecycle`).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tlog.core.checkpoint import open_checkpoint
    from tlog.core.evidence import parse_evidence, verify_evidence
    from tlog.core.evidence_set import verify_evidence_set
    from tlog.core.fraud import find_clock_fraud, find_false_key, find_fraud
    from tlog.core.merkle import leaf_hash
    from tlog.core.note import parse_vkey
    from tlog.core.proof import verify_consistency, verify_inclusion
    from tlog.core.question import parse_question
    from tlog.core.tlogproof import parse_consistency_proof, parse_inclusion_proof
    from tlog.errors import MalformedInputError, TlogError, VerificationError

__all__ = [
    "MalformedInputError",
    "TlogError",
    "VerificationError",
    "find_clock_fraud",
    "find_false_key",
    "find_fraud",
    "leaf_hash",
    "open_checkpoint",
    "parse_consistency_proof",
    "parse_evidence",
    "parse_inclusion_proof",
    "parse_question",
    "parse_vkey",
    "verify_consistency",
    "verify_evidence",
    "verify_evidence_set",
    "verify_inclusion",
]

# A module is loaded when a name of it is used: every command imports this package first, and its help has to be there at once.
_MODULES: Final = {
    "MalformedInputError": "tlog.errors",
    "TlogError": "tlog.errors",
    "VerificationError": "tlog.errors",
    "find_clock_fraud": "tlog.core.fraud",
    "find_false_key": "tlog.core.fraud",
    "find_fraud": "tlog.core.fraud",
    "leaf_hash": "tlog.core.merkle",
    "open_checkpoint": "tlog.core.checkpoint",
    "parse_consistency_proof": "tlog.core.tlogproof",
    "parse_evidence": "tlog.core.evidence",
    "parse_inclusion_proof": "tlog.core.tlogproof",
    "parse_question": "tlog.core.question",
    "parse_vkey": "tlog.core.note",
    "verify_consistency": "tlog.core.proof",
    "verify_evidence": "tlog.core.evidence",
    "verify_evidence_set": "tlog.core.evidence_set",
    "verify_inclusion": "tlog.core.proof",
}


def __getattr__(name: str) -> object:
    """Return what `name` stands for (PEP 562)."""
    if name not in _MODULES:
        message = f"module 'tlog' has no attribute '{name}'"
        raise AttributeError(message)
    return getattr(import_module(_MODULES[name]), name)
