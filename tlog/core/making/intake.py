"""Drafts of intakes: what the log says that it took of a stream."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from tlog.core.canonical import canonical
from tlog.core.intake import TYPE, Part, intake_keys, marks_root
from tlog.core.making.drafts import DraftEntry
from tlog.core.strict import encode_base64url

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def draft_intake(stream: str, decoder: str, parts: Sequence[Part], marks: Iterable[bytes]) -> DraftEntry:
    """Return the draft of the entry that says what was taken.

    Args:
        stream: what `stream_name` returns.
        decoder: the name of what made events of messages.
        parts: what was taken of which partitions, in any order.
        marks: one for each message that was taken.

    """
    root = encode_base64url(marks_root(marks)).decode()
    head = canonical({"format": decoder, "keys": intake_keys(stream)})[:-1] + b',"loggedAt":"'
    tail = {
        "partitions": msgspec.to_builtins(sorted(parts, key=lambda part: part.partition)),
        "root": root,
        "stream": stream,
        "type": TYPE,
        "v": 1,
    }
    return DraftEntry(None, head, b'",' + canonical(tail)[1:])
