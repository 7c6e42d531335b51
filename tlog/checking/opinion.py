"""A second opinion on the tree by code that is not ours (docs/adr/0004-second-opinion.md)."""

from __future__ import annotations

from secrets import SystemRandom
from typing import TYPE_CHECKING, Final

from tlog.checking.report import Place
from tlog.core.proof import verify_inclusion
from tlog.errors import NotCheckedError, TlogError, VerificationError

if TYPE_CHECKING:
    from tlog.checking.report import Report

_SAMPLE: Final = 100


class SecondOpinion:
    """The tree recomputed by pymerkle 7."""

    def __init__(self) -> None:
        """Make an empty tree.

        Raises:
            NotCheckedError: pymerkle is not installed.

        """
        try:
            from pymerkle import InmemoryTree  # noqa: PLC0415 - optional, GPL, only loaded when asked for
        except ImportError:
            message = "a second opinion needs pymerkle: pip install 'tlog-audit[second-opinion]'"
            raise NotCheckedError(message) from None
        self._tree = InmemoryTree(algorithm="sha256")

    def append(self, entry: bytes) -> None:
        """Add an entry."""
        self._tree.append_entry(entry)

    def check(self, report: Report, root: bytes) -> None:
        """Compare with what the log signed, and note the result."""
        try:
            report.checked["second opinions"] = self.compare(report.sealed, root)
        except TlogError as error:
            report.add("second opinion", Place("tree size", report.sealed), str(error))

    def compare(self, size: int, root: bytes) -> int:
        """Compare the root hash and a sample of inclusion proofs; return how many proofs agreed.

        Each proof is verified twice: by pymerkle's own verifier, and its hashes by ours.

        Raises:
            VerificationError: the opinions differ.

        """
        import pymerkle  # noqa: PLC0415 - see __init__

        if self._tree.get_size() < size or self._tree.get_root(size) != root:
            message = "pymerkle computes another root hash from the entries than the log signed"
            raise VerificationError(message)
        sample = {0, size - 1, *SystemRandom().sample(range(size), min(size, _SAMPLE))}
        for index in sample:
            # pymerkle counts from one, and its path begins with the leaf itself.
            proof, leaf = self._tree.prove_inclusion(index + 1, size), self._tree.get_leaf(index + 1)
            try:
                pymerkle.verify_inclusion(leaf, root, proof)
            except pymerkle.InvalidProof:
                message = f"pymerkle rejects its own inclusion proof of entry {index} against the log's root hash"
                raise VerificationError(message) from None
            verify_inclusion(index, size, leaf, proof.path[1:], root)
        return len(sample)
