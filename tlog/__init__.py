"""A tamper-evident audit log that can be proved: what a verifier needs, by name.

Typical use, with a vkey pinned by the caller:

    proof = tlog.parse_inclusion_proof(data)
    checkpoint = tlog.open_checkpoint(proof.checkpoint, tlog.parse_vkey(vkey))
    tlog.verify_inclusion(
        proof.index, checkpoint.size, tlog.leaf_hash(entry), proof.hashes, checkpoint.root
    )

Every function raises where something is wrong: `MalformedInputError` for input without the form its format asks for,
`VerificationError` for well-formed evidence that does not hold. None of them answers with a boolean.
"""

from __future__ import annotations

from tlog.core.checkpoint import open_checkpoint
from tlog.core.merkle import leaf_hash
from tlog.core.note import parse_vkey
from tlog.core.proof import verify_consistency, verify_inclusion
from tlog.core.tlogproof import parse_consistency_proof, parse_inclusion_proof
from tlog.errors import MalformedInputError, TlogError, VerificationError

__all__ = [
    "MalformedInputError",
    "TlogError",
    "VerificationError",
    "leaf_hash",
    "open_checkpoint",
    "parse_consistency_proof",
    "parse_inclusion_proof",
    "parse_vkey",
    "verify_consistency",
    "verify_inclusion",
]
