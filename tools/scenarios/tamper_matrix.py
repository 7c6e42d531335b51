"""The tamper matrix of the documentation: which verifier notices which attack on stored data."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from support import ROOT

MATRIX: Final = ROOT / "docs" / "reference" / "tamper-matrix.md"
_ROW: Final = re.compile(
    r"^\| (?P<attack>A[0-9]{2} [^|]+|[a-z][^|]+) \| (?P<fsck>[^|]+) \| (?P<offline>[^|]+) \| (?P<receipt>[^|]+) \|$",
    re.MULTILINE,
)


class Seen(NamedTuple):
    """What each verifier says about an attack: damages by name, "verified" or "detected".

    Attributes:
        fsck: the operator's check, with the keys of the log and its anchor.
        offline: somebody with the public key, an export, and a checkpoint from before.
        receipt: somebody who kept the receipts of his events.

    """

    fsck: str
    offline: str
    receipt: str


def expected() -> dict[str, Seen]:
    """Return the rows of the page by the names of their attacks."""
    return {
        match["attack"].strip(): Seen(*(match[name].strip() for name in Seen._fields))
        for match in _ROW.finditer(MATRIX.read_text(encoding="utf-8"))
    }
