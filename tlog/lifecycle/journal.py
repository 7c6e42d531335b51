"""The read journal: who asked what of the events, logged as an event itself before the answer leaves.

A journal entry is a normal event: the actor is the API key's principal, or the local user of the command line, the
resource is the log, `details.query` the question in canonical JSON, without the ids. Whom a question was about stands only where
it can be erased, in the entry's related resources, each of which has a disclosure of its own: the resource asked for, the user
asked for, and where evidence is made the index buckets whose keys are handed out. So "who asked about this patient" is a question
like any other. Questions about public data (checkpoints, tiles, proofs by index) are not journaled. Who signs in on the pages,
and out, is journaled beside what they ask.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal
from unicodedata import normalize
from uuid import uuid4

import msgspec
from msgspec import UNSET

from tlog.core.canonical import canonical
from tlog.core.entry import format_logged_at
from tlog.core.making.parsing import parse_batch
from tlog.core.pseudonym import actor_ident, bucket_of, related_ident, resource_ident
from tlog.writing.drafting import LOG, draft_events

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tlog.core.question import Question
    from tlog.lifecycle.opening import Log

RESOURCE_TYPE: Final = "log"
BUCKET_TYPE: Final = "index_bucket"
USER_TYPE: Final = "user"
_IDS: Final = {"resourceId", "userId"}


async def journal(
    log: Log,
    principal: str,
    role: str,
    action: Literal["read", "export"],
    asked: Mapping[str, object],
    *,
    question: Question | None = None,
    evidence: bool = False,
) -> None:
    """Append the journal entry of one question; returns when it is durable, so that the answer may leave.

    Args:
        log: the log that is asked.
        principal: who asks.
        role: with what right, such as the ID of an API key.
        action: "read" for an answer, "export" for a bulk one.
        asked: how it was asked, a JSON object that names nobody.
        question: what was asked.
        evidence: whether the answer hands out the keys of the buckets that the question needs.

    Raises:
        OverloadedError: the journal entry cannot be logged now, so the question must not be answered now.

    """
    members = {} if question is None else question.document()
    query = {**asked, **{name: value for name, value in members.items() if name not in _IDS}}
    bits = log.bucket_keys.bits if evidence else None
    related = [] if question is None else related_resources(question, log.verifier.name, bits)
    more: dict[str, object] = {"relatedResources": related} if related else {}
    await _append(log, {"userId": principal, "role": role}, action, query, more)


async def journal_sign_in(log: Log, principal: str, role: str, action: Literal["login", "logout"], way: str) -> None:
    """Append the journal entry of somebody who signed in on the pages, or out; returns when it is durable.

    Args:
        log: the log whose pages they are.
        principal: who.
        role: with what right, such as the ID of an API key.
        action: what they did.
        way: how they sign in, such as "api-key".

    Raises:
        OverloadedError: the journal entry cannot be logged now.

    """
    await _append(log, {"userId": principal, "role": role}, action, {"ask": "sign-in", "way": way}, {})


async def journal_failures(log: Log, failures: int) -> None:
    """Append the journal entry of so many sign-ins that were refused; nobody knows who tried.

    Raises:
        OverloadedError: the journal entry cannot be logged now.

    """
    await _append(log, {"type": "unknown"}, "login", {"ask": "sign-in", "failures": failures}, {"outcome": "failure"})


async def _append(
    log: Log, actor: Mapping[str, str], action: str, query: Mapping[str, object], more: Mapping[str, object]
) -> None:
    event = {
        "eventId": str(uuid4()),
        "timestamp": format_logged_at(log.clock()).decode(),
        "actor": actor,
        "action": action,
        "resource": {"type": RESOURCE_TYPE, "id": log.verifier.name},
        "details": {"query": canonical(query).decode()},
        "outcome": "success",
        **more,
    }
    parsed = parse_batch([msgspec.json.encode(event)], reserved=True)
    await log.appender.append(draft_events(parsed, log.bucket_keys, LOG))


def buckets_about(kind: str, ident: str, bits: int) -> list[int]:
    """Return the numbers of the buckets whose keys recognise a name in entries: a resource's, or with "user" a person's."""
    idents = [resource_ident(kind, ident), related_ident(kind, ident)]
    if kind == USER_TYPE:
        idents.append(actor_ident(ident))
    return sorted({bucket_of(each, bits) for each in idents})


def buckets_opened(question: Question, bits: int) -> list[int]:
    """Return the numbers of the buckets whose keys the evidence for a question hands out."""
    return sorted({bucket_of(ident, bits) for ident in question.idents().values()})


def related_resources(question: Question, origin: str, bits: int | None) -> list[dict[str, str]]:
    """Return whom and what a question is about, as the related resources of its journal entry, none of them twice.

    Args:
        question: what was asked.
        origin: the log's name, which is the journal entry's main resource and not named a second time.
        bits: of the log's bucket keys if the answer hands some out, else None.

    """
    related: dict[tuple[str, str], dict[str, str]] = {}
    for kind, ident in _asked_for(question, bits):
        # Spelled in another way, a name is the same name (`tlog.core.pseudonym`).
        related.setdefault((kind, normalize("NFC", ident)), {"type": kind, "id": ident})
    related.pop((RESOURCE_TYPE, normalize("NFC", origin)), None)
    return list(related.values())


def _asked_for(question: Question, bits: int | None) -> Iterator[tuple[str, str]]:
    if question.resourceId is not UNSET and question.resourceType is not UNSET:
        yield question.resourceType, question.resourceId
    if question.userId is not UNSET:
        yield USER_TYPE, question.userId
    if bits is not None:
        yield from ((BUCKET_TYPE, str(bucket)) for bucket in buckets_opened(question, bits))
