"""`POST /v1/audit/events`: one event, an array, or NDJSON; all of a request or none of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import msgspec
from starlette.responses import Response

from tlog.appender import MAX_REPORTED, draft_events
from tlog.core.strict import encode_base64
from tlog.errors import EventConflictError, InvalidBatchError, MalformedInputError, OverloadedError, TooLargeError
from tlog.prove import prove_inclusion

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request

    from tlog.appender import Receipt, Receipts
    from tlog.core.entry import DraftEntry
    from tlog.core.pseudonym import BucketKeys
    from tlog.errors import InvalidEventError
    from tlog.server.app import Service

MAX_EVENTS: Final = 10_000
MAX_BODY_SIZE: Final = 16 << 20
WAIT_SECONDS: Final = 10.0
_PORTION: Final = 100
_JSON: Final = "application/json"
_NDJSON: Final = ("application/x-ndjson", "application/ndjson", "application/jsonl")
_ARRAY: Final = msgspec.json.Decoder(list[msgspec.Raw])
_SPACE: Final = b" \t\r\n"


async def append_events(request: Request) -> Response:
    """Append the events of a request; answer once they are durable, with `?wait=sealed` once they are sealed."""
    service: Service = request.app.state.service
    await service.authenticator.check(request.headers.get("authorization"), "append")
    wait = _wait_sealed(request)
    raws, batch = split_events(await read_body(request), request.headers.get("content-type", _JSON))
    try:
        async with service.drafting:
            drafts = await _draft_in_turns(raws, service.log.bucket_keys)
    except InvalidBatchError as error:
        raise error if batch else error.found[0] from None
    try:
        receipts = await service.log.appender.append(drafts)
    except EventConflictError as error:
        raise EventConflictError(error.event_id, error.pointer if batch else "/eventId") from None
    service.metrics.appended(receipts)
    status = 201 if receipts.duplicates < len(receipts) else 200
    if wait:
        document = await _sealed_document(service, receipts)
    elif "return=minimal" in request.headers.get("prefer", ""):
        document = _minimal_document(receipts)
    else:
        document = {"receipts": [receipt_document(receipt) for receipt in receipts]}
    return Response(msgspec.json.encode(document), status, media_type=_JSON)


async def _draft_in_turns(raws: Sequence[bytes], keys: BucketKeys) -> list[DraftEntry]:
    """Draft events in portions of about a millisecond, so that a large batch holds up nobody else.

    Raises:
        InvalidBatchError: at least one is not valid; it names the first of them.

    """
    drafts: list[DraftEntry] = []
    positions: list[int] = []
    found: list[InvalidEventError] = []
    for start in range(0, len(raws), _PORTION):
        if start:
            await asyncio.sleep(0)
        try:
            drafts += draft_events(raws[start : start + _PORTION], keys)
        except InvalidBatchError as error:
            positions += [start + position for position in error.positions]
            found += error.found
            if len(found) >= MAX_REPORTED:
                break
    if found:
        raise InvalidBatchError(positions[:MAX_REPORTED], found[:MAX_REPORTED])
    return drafts


async def read_body(request: Request) -> bytes:
    """Return a request's body, reading no more than 16 MiB of it.

    Raises:
        TooLargeError: it is longer.
        MalformedInputError: it is compressed, which would make its length meaningless.

    """
    if "content-encoding" in request.headers:
        message = "a compressed request body is not accepted; send it without Content-Encoding"
        raise MalformedInputError(message)
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BODY_SIZE:
            message = f"a request body has at most {MAX_BODY_SIZE} bytes"
            raise TooLargeError(message)
        chunks.append(chunk)
    return b"".join(chunks)


def split_events(body: bytes, content_type: str) -> tuple[list[bytes], bool]:
    """Return the JSON text of each event in a request body, and whether the body was a batch.

    Raises:
        MalformedInputError: an unknown media type, no event at all, or an array that is none.
        TooLargeError: more than 10,000 events.

    """
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type in _NDJSON:
        raws = [line for line in body.split(b"\n") if line.strip(_SPACE)]
        batch = True
    elif media_type != _JSON:
        message = f"the content type must be {_JSON} or {_NDJSON[0]}"
        raise MalformedInputError(message)
    elif body.lstrip(_SPACE)[:1] == b"[":
        raws, batch = _split_array(body), True
    else:
        raws, batch = [body], False
    if not raws or not raws[0].strip(_SPACE):
        message = "the request holds no event"
        raise MalformedInputError(message)
    if len(raws) > MAX_EVENTS:
        message = f"a request has at most {MAX_EVENTS} events, this one has {len(raws)}"
        raise TooLargeError(message)
    return raws, batch


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


def _split_array(body: bytes) -> list[bytes]:
    try:
        return [bytes(raw) for raw in _ARRAY.decode(body)]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        message = "the request is not a JSON array of events"
        raise MalformedInputError(message) from None


def _wait_sealed(request: Request) -> bool:
    wait = request.query_params.get("wait")
    if wait not in (None, "sealed"):
        message = "the only value of 'wait' is 'sealed'"
        raise MalformedInputError(message)
    return wait == "sealed"


def _minimal_document(receipts: Receipts) -> dict[str, Any]:
    last = max(receipts, key=lambda receipt: receipt.index) if receipts.duplicates else receipts[-1]
    return {
        "count": len(receipts),
        "duplicates": receipts.duplicates,
        "lastIndex": last.index,
        "chainHash": encode_base64(last.chain_hash).decode(),
    }


async def _sealed_document(service: Service, receipts: Receipts) -> dict[str, Any]:
    """Return receipts with entries and tlog-proofs; without them if sealing is late, because the events are durable."""
    plain = [receipt_document(receipt) for receipt in receipts]
    try:
        checkpoint = await service.log.wait_sealed(receipts.last_index, WAIT_SECONDS)
    except OverloadedError:
        return {"receipts": plain, "sealed": False}
    found = await service.log.reader.find([receipt.event_id for receipt in receipts if receipt.event_id])
    leaves = {event.leaf.event_id: event.leaf for event in found}
    for document in plain:
        leaf = leaves[document["eventId"]]
        proof = await prove_inclusion(service.log.reader, leaf, checkpoint)
        document |= {"entry": leaf.entry.decode(), "proof": proof.text().decode()}
    return {"receipts": plain, "sealed": True}
