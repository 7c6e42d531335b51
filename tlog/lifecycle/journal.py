"""The read journal: who asked what of the events, logged as an event itself before the answer leaves.

A journal entry is a normal event: the actor is the API key's principal, or the local user of the command line, the
resource is the log, `details.query` the question in canonical JSON. Questions about public data (checkpoints, tiles, proofs
by index) are not journaled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal
from uuid import uuid4

import msgspec

from tlog.core.canonical import canonical
from tlog.core.entry import format_logged_at
from tlog.core.making.parsing import parse_batch
from tlog.writing.drafting import LOG, draft_events

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tlog.lifecycle.opening import Log

RESOURCE_TYPE = "log"


async def journal(
    log: Log, principal: str, role: str, action: Literal["read", "export"], question: Mapping[str, object]
) -> None:
    """Append the journal entry of one question; returns when it is durable, so that the answer may leave.

    Args:
        log: the log that is asked.
        principal: who asks.
        role: with what right, such as the ID of an API key.
        action: "read" for an answer, "export" for a bulk one.
        question: what was asked, a JSON object.

    Raises:
        OverloadedError: the journal entry cannot be logged now, so the question must not be answered now.

    """
    event = {
        "eventId": str(uuid4()),
        "timestamp": format_logged_at(log.clock()).decode(),
        "actor": {"userId": principal, "role": role},
        "action": action,
        "resource": {"type": RESOURCE_TYPE, "id": log.verifier.name},
        "details": {"query": canonical(dict(question)).decode()},
        "outcome": "success",
    }
    await log.appender.append(draft_events(parse_batch([msgspec.json.encode(event)]), log.bucket_keys, LOG))
