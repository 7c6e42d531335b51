"""Drafts of outcomes: what the log says of what it did."""

from __future__ import annotations

import msgspec

from tlog.core.canonical import canonical
from tlog.core.making.drafts import DraftEntry
from tlog.core.outcome import KINDS, Report
from tlog.core.pseudonym import public_text


def draft_outcome(report: Report) -> DraftEntry:
    """Return the draft of the outcome that says this."""
    kind = next(kind for kind, form in KINDS.items() if isinstance(report, form))
    head = f'{{"keys":["{public_text("control", "outcome")}"],"kind":"{kind}","loggedAt":"'
    return DraftEntry(
        None, head.encode(), b'","report":%b,"type":"outcome","v":1}' % canonical(msgspec.to_builtins(report))
    )
