"""`POST /v1/audit/events`: one event, an array, or NDJSON; all of a request or none of it."""

from __future__ import annotations

import time
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
import structlog
from starlette.responses import Response

from tlog.answering.prove import prove_inclusion
from tlog.core.entry import format_logged_at
from tlog.core.making.parsing import MAX_REPORTED, parse_batch
from tlog.core.question import PERMITTED_SKEW
from tlog.core.strict import encode_base64
from tlog.errors import EventConflictError, InvalidBatchError, MalformedInputError, OverloadedError, TooLargeError
from tlog.server.endpoints.bodies import explained, read_body, split_body
from tlog.server.guard.fields import JSON, NDJSON, media_type, prefers_minimal
from tlog.server.guard.parameters import parse_query
from tlog.server.guard.protocol import MAX_EVENTS
from tlog.writing.drafting import draft_events
from tlog.writing.duplicates import Sender

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from starlette.requests import Request

    from tlog.core.making.drafts import DraftEntry
    from tlog.core.making.parsing import ParsedEvent
    from tlog.errors import InvalidEventError
    from tlog.server.guard.account import Share
    from tlog.server.guard.admission import LetIn
    from tlog.server.service import Service
    from tlog.storage.keys import ApiKey
    from tlog.storage.rows import SealedCheckpoint
    from tlog.writing.receipts import Receipt, Receipts

WAIT_SECONDS: Final = 10.0
PARAMETERS: Final = ("wait",)
_SECONDS: Final = len("2026-11-24T05:11:59")  # of a timestamp: what decides whether it is far ahead
_AHEAD: Final = (
    "the timestamp is more than 24 hours ahead of the log's clock; a question with 'from' alone may leave the event out"
)
_MAX_NAMED: Final = 20
_log: Final = structlog.get_logger()
_timestamp: Final = attrgetter("timestamp")


class _Drafted(NamedTuple):
    """The drafts of a request, and where in it events are whose producer's clock is ahead."""

    drafts: list[DraftEntry]
    ahead: set[int]


async def append_events(request: Request) -> Response:
    """Append the events of a request; answer once they are durable, with `?wait=sealed` once they are sealed."""
    service: Service = request.app.state.service
    let_in = await service.admission.admit_append(request)
    service.turns.begin_append()
    try:
        with service.admission.account.share(let_in.key.key_id) as share:
            return await _append(request, service, let_in, share)
    finally:
        service.turns.end_append()


async def _append(request: Request, service: Service, let_in: LetIn, share: Share) -> Response:
    key = let_in.key
    wait = _wait_sealed(parse_query(request.scope["query_string"], PARAMETERS))
    (drafts, ahead), batch = await _read(request, service, let_in, share)
    service.metrics.received(share.size)
    try:
        receipts = await service.log.appender.append(drafts, sender_of(key), share.size)
    except EventConflictError as error:
        report_conflicts(service, key, error)
        raise error if batch else without_position(error) from None
    status = report_appended(service, key, receipts)
    if prefers_minimal(request.headers):
        document = _minimal_document(receipts, len(ahead)) | (await _sealed(service, receipts) if wait else {})
        return Response(msgspec.json.encode(document), status, {"Preference-Applied": "return=minimal"}, JSON)
    documents = receipt_documents(receipts, ahead)
    document = await _sealed_document(service, receipts, documents) if wait else {"receipts": documents}
    return Response(msgspec.json.encode(document), status, media_type=JSON)


async def _read(request: Request, service: Service, let_in: LetIn, share: Share) -> tuple[_Drafted, bool]:
    """Return the drafts of a request, and whether it is a batch.

    The charge is corrected once the events are counted. What cannot be read stays charged for what it might have been: reading
    that costs as much.
    """
    kind = media_type(request.headers)
    body = await read_body(request, share)
    portions, batch = split_body(body, kind)
    try:
        async with service.turns.batch():
            drafted = await _draft(portions, service, let_in.key.key_id)
    except InvalidBatchError as error:
        if batch:
            raise explained(error, body) if kind == NDJSON else error from None
        raise error.found[0] from None
    if not drafted.drafts:
        message = "the request holds no event"
        raise MalformedInputError(message)
    service.admission.correct(let_in, len(drafted.drafts))
    return drafted, batch


def sender_of(key: ApiKey) -> Sender:
    """Return whom a key's requests come from: what is told of known events depends on it."""
    return Sender(key.key_id, key.principal, reads="read" in key.scopes or "admin" in key.scopes)


def report_appended(service: Service, key: ApiKey, receipts: Receipts) -> int:
    """Count what was appended, charge what was there already; return the status of the answer."""
    service.metrics.appended(receipts, key.key_id)
    if receipts.duplicates:
        service.admission.charge_known(key, receipts.duplicates)
        _log.info("events_sent_again", key=key.key_id, events=receipts.duplicates)
    return 201 if receipts.duplicates < len(receipts) else 200


def without_position(error: EventConflictError) -> EventConflictError:
    """Return the conflict of a request that is one event and no list."""
    return EventConflictError([error.conflicts[0]._replace(pointer="/eventId")])


def report_conflicts(service: Service, key: ApiKey, error: EventConflictError) -> None:
    """Charge, count and log conflicts; that somebody else appended an event first is an alarm, with both IDs."""
    count = len(error.conflicts)
    service.admission.charge_known(key, count)
    service.metrics.conflicted(count, key.key_id)
    firsts = sorted({conflict.first for conflict in error.conflicts if conflict.first is not None})
    if firsts:
        _log.warning("events_of_others_sent_again", key=key.key_id, first=firsts[:_MAX_NAMED], events=count)
    else:
        _log.info("events_in_conflict", key=key.key_id, events=count)


async def _draft(portions: Iterable[Sequence[bytes]], service: Service, appended_by: str) -> _Drafted:
    """Draft events portion by portion, so that a large batch holds up nobody else.

    Raises:
        InvalidBatchError: at least one is not valid; it names the first twenty.
        TooLargeError: there are more than 10,000.

    """
    latest = latest_second(service)
    drafted = _Drafted([], set())
    positions: list[int] = []
    found: list[InvalidEventError] = []
    events, begun = 0, 0.0
    for portion in portions:
        if events:
            await service.turns.give_way(time.perf_counter() - begun)
        begun = time.perf_counter()
        try:
            parsed = parse_batch(portion)
            drafted.drafts.extend(draft_events(parsed, service.log.bucket_keys, appended_by))
            drafted.ahead.update(events + position for position in find_ahead(parsed, latest))
        except InvalidBatchError as error:
            positions += [events + position for position in error.positions]
            found += error.found
        events += len(portion)
        if events > MAX_EVENTS:
            message = f"a request has at most {MAX_EVENTS} events, this one has more"
            raise TooLargeError(message)
        if len(found) >= MAX_REPORTED:
            break
    if found:
        raise InvalidBatchError(positions[:MAX_REPORTED], found[:MAX_REPORTED])
    return drafted


def latest_second(service: Service) -> str:
    """Return the second after which a timestamp is far ahead of the log's clock."""
    return format_logged_at(service.log.clock() + PERMITTED_SKEW).decode()[:_SECONDS]


def find_ahead(parsed: Sequence[ParsedEvent], latest: str) -> list[int]:
    """Return the positions of the events whose timestamps are after the second `latest`."""
    # One look at the latest of them is all that it costs where no clock is ahead.
    if not parsed or max(map(_timestamp, parsed))[:_SECONDS] <= latest:
        return []
    return [position for position, each in enumerate(parsed) if each.timestamp[:_SECONDS] > latest]


def receipt_document(receipt: Receipt) -> dict[str, Any]:
    """Return the JSON form of a receipt."""
    document = {
        "eventId": receipt.event_id,
        "index": receipt.index,
        "leafHash": encode_base64(receipt.leaf_hash).decode(),
        "chainHash": encode_base64(receipt.chain_hash).decode(),
        "loggedAt": receipt.logged_at,
    }
    return {**document, "duplicate": True} if receipt.duplicate else document


def receipt_documents(receipts: Receipts, ahead: Iterable[int]) -> list[dict[str, Any]]:
    """Return the JSON forms of receipts, with a warning where the producer's clock is ahead."""
    documents = [receipt_document(receipt) for receipt in receipts]
    for position in ahead:
        documents[position]["warnings"] = [{"pointer": "/timestamp", "detail": _AHEAD}]
    return documents


def _wait_sealed(parameters: dict[str, str]) -> bool:
    wait = parameters.get("wait")
    if wait not in (None, "sealed"):
        message = "the only value of 'wait' is 'sealed'"
        raise MalformedInputError(message, "/wait")
    return wait == "sealed"


def _minimal_document(receipts: Receipts, ahead: int) -> dict[str, Any]:
    last = max(receipts, key=lambda receipt: receipt.index) if receipts.duplicates else receipts[-1]
    document = {
        "count": len(receipts),
        "duplicates": receipts.duplicates,
        "lastIndex": last.index,
        "chainHash": encode_base64(last.chain_hash).decode(),
    }
    return {**document, "warnings": ahead} if ahead else document


async def _sealed(service: Service, receipts: Receipts) -> dict[str, Any]:
    """Return whether all of it is sealed, and the size of the checkpoint that covers it."""
    checkpoint = await _sealing(service, receipts)
    return {"sealed": checkpoint is not None, "treeSize": None if checkpoint is None else checkpoint.size}


async def _sealing(service: Service, receipts: Receipts) -> SealedCheckpoint | None:
    """Return the checkpoint that covers all of a request; none if sealing is late."""
    try:
        return await service.log.wait_sealed(receipts.last_index, WAIT_SECONDS)
    except OverloadedError:
        return None


async def _sealed_document(service: Service, receipts: Receipts, documents: list[dict[str, Any]]) -> dict[str, Any]:
    """Return receipts with entries and tlog-proofs; without them if sealing is late, because the events are durable."""
    checkpoint = await _sealing(service, receipts)
    if checkpoint is None:
        return {"receipts": documents, "sealed": False}
    found = await service.log.reader.find([receipt.event_id for receipt in receipts if receipt.event_id])
    events = {event.leaf.event_id: event for event in found}
    proved: dict[str, dict[str, str]] = {}  # an event may stand in a request more than once
    for document in documents:
        event_id = document["eventId"]
        if event_id not in proved:
            event = events[event_id]
            proof = await prove_inclusion(service.log.reader, event.leaf, checkpoint)
            proved[event_id] = {"entry": event.entry.decode(), "proof": proof.text().decode()}
        document.update(proved[event_id])
    return {"receipts": documents, "sealed": True}
