"""`POST /v1/audit/events`: one event, an array, or NDJSON; all of a request or none of it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

import msgspec
from starlette.responses import Response

from tlog.core.commitment import SALT_SIZE
from tlog.core.entry import DraftEntry, draft_event
from tlog.core.event import parse_event
from tlog.core.strict import encode_base64
from tlog.errors import EventConflictError, InvalidEventError, MalformedInputError, OverloadedError, TooLargeError
from tlog.prove import prove_inclusion
from tlog.server.problems import InvalidBatchError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request

    from tlog.appender import Receipt
    from tlog.core.pseudonym import BucketKeys
    from tlog.server.app import Service

MAX_EVENTS: Final = 10_000
MAX_BODY_SIZE: Final = 16 << 20
WAIT_SECONDS: Final = 10.0
_MAX_REPORTED: Final = 20
_JSON: Final = "application/json"
_NDJSON: Final = ("application/x-ndjson", "application/ndjson", "application/jsonl")
_ARRAY: Final = msgspec.json.Decoder(list[msgspec.Raw])
_SPACE: Final = b" \t\r\n"


async def append_events(request: Request) -> Response:
    """Append the events of a request; answer once they are durable, with `?wait=sealed` once they are sealed."""
    service: Service = request.app.state.service
    await service.authenticator.check(request.headers.get("authorization"), "append")
    wait = _wait_sealed(request)
    raws, batch = split_events(await request.body(), request.headers.get("content-type", _JSON))
    drafts = draft_events(raws, service.log.bucket_keys, batch=batch)
    try:
        receipts = await service.log.appender.append(drafts)
    except EventConflictError as error:
        raise EventConflictError(error.event_id, error.pointer if batch else "/eventId") from None
    service.metrics.appended(receipts)
    status = 201 if any(not receipt.duplicate for receipt in receipts) else 200
    if wait:
        document = await _sealed_document(service, receipts)
    elif "return=minimal" in request.headers.get("prefer", ""):
        document = _minimal_document(receipts)
    else:
        document = {"receipts": [receipt_document(receipt) for receipt in receipts]}
    return Response(msgspec.json.encode(document), status, media_type=_JSON)


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


def draft_events(raws: Sequence[bytes], keys: BucketKeys, *, batch: bool = True) -> list[DraftEntry]:
    """Return the drafts of events, if every one of them is valid.

    Raises:
        InvalidBatchError: at least one is not; the pointers name the members, behind `/<position>` in a batch.

    """
    # One call for the whole batch: the kernel's generator costs more than the copying.
    salts = os.urandom(2 * SALT_SIZE * len(raws))
    drafts = []
    found: list[InvalidEventError] = []
    for position, raw in enumerate(raws):
        try:
            salt = salts[2 * SALT_SIZE * position : 2 * SALT_SIZE * (position + 1)]
            drafts.append(draft_event(parse_event(raw), keys, salt))
        except InvalidEventError as error:
            found.append(error.below(f"/{position}") if batch else error)
            if len(found) == _MAX_REPORTED:
                break
    if found:
        raise InvalidBatchError(found)
    return drafts


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


def _minimal_document(receipts: Sequence[Receipt]) -> dict[str, Any]:
    last = max(receipts, key=lambda receipt: receipt.index)
    return {
        "count": len(receipts),
        "duplicates": sum(receipt.duplicate for receipt in receipts),
        "lastIndex": last.index,
        "chainHash": encode_base64(last.chain_hash).decode(),
    }


async def _sealed_document(service: Service, receipts: Sequence[Receipt]) -> dict[str, Any]:
    """Return receipts with entries and tlog-proofs; without them if sealing is late, because the events are durable."""
    plain = [receipt_document(receipt) for receipt in receipts]
    try:
        checkpoint = await service.log.wait_sealed(max(receipt.index for receipt in receipts), WAIT_SECONDS)
    except OverloadedError:
        return {"receipts": plain, "sealed": False}
    found = await service.log.reader.find([receipt.event_id for receipt in receipts if receipt.event_id])
    leaves = {event.leaf.event_id: event.leaf for event in found}
    for document in plain:
        leaf = leaves[document["eventId"]]
        proof = await prove_inclusion(service.log.reader, leaf, checkpoint)
        document |= {"entry": leaf.entry.decode(), "proof": proof.text().decode()}
    return {"receipts": plain, "sealed": True}
