"""`POST /v1/audit/events`: one event, an array, or NDJSON; all of a request or none of it."""

from __future__ import annotations

import io
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from tlog.answering.prove import prove_inclusion
from tlog.core.making.parsing import MAX_REPORTED, parse_batch
from tlog.core.strict import encode_base64
from tlog.errors import EventConflictError, InvalidBatchError, MalformedInputError, OverloadedError, TooLargeError
from tlog.server.guard.protocol import MAX_BODY_SIZE
from tlog.writing.drafting import draft_events

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from starlette.requests import Request

    from tlog.core.making.bucket_keys import BucketKeys
    from tlog.core.making.drafts import DraftEntry
    from tlog.errors import InvalidEventError
    from tlog.server.guard.turns import Turns
    from tlog.server.service import Service
    from tlog.writing.receipts import Receipt, Receipts

MAX_EVENTS: Final = 10_000
WAIT_SECONDS: Final = 10.0
_PORTION_EVENTS: Final = 50  # of an array
_PORTION_SIZE: Final = 32 << 10  # of NDJSON, exceeded by a part of one line
_JSON: Final = "application/json"
_NDJSON: Final = ("application/x-ndjson", "application/ndjson", "application/jsonl")
_ARRAY: Final = msgspec.json.Decoder(list[msgspec.Raw])
_SPACE: Final = b" \t\r\n"


async def append_events(request: Request) -> Response:
    """Append the events of a request; answer once they are durable, with `?wait=sealed` once they are sealed."""
    service: Service = request.app.state.service
    key = await service.admission.admit_append(request)
    wait = _wait_sealed(request)
    with service.admission.body() as grow:
        body = await read_body(request, grow)
        portions, batch = split_body(body, request.headers.get("content-type", _JSON))
        try:
            async with service.turns.batch():
                drafts = await _draft(portions, service.log.bucket_keys, key.key_id, service.turns)
        except InvalidBatchError as error:
            raise error if batch else error.found[0] from None
    if not drafts:
        message = "the request holds no event"
        raise MalformedInputError(message)
    service.admission.charge(key, len(drafts))
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


async def _draft(
    portions: Iterable[Sequence[bytes]], keys: BucketKeys, appended_by: str, turns: Turns
) -> list[DraftEntry]:
    """Draft events portion by portion, so that a large batch holds up nobody else.

    Raises:
        InvalidBatchError: at least one is not valid; it names the first twenty.
        TooLargeError: there are more than 10,000.

    """
    drafts: list[DraftEntry] = []
    positions: list[int] = []
    found: list[InvalidEventError] = []
    events, begun = 0, 0.0
    for portion in portions:
        if events:
            await turns.give_way(time.perf_counter() - begun)
        begun = time.perf_counter()
        try:
            drafts += draft_events(parse_batch(portion), keys, appended_by)
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
    return drafts


async def read_body(request: Request, grow: Callable[[int], None]) -> bytes:
    """Return a request's body, reading no more than 16 MiB of it; `grow` is told the size of each part.

    Raises:
        TooLargeError: it is longer.
        OverloadedError: from `grow`.
        MalformedInputError: it is compressed, which would make its length meaningless.
        ClientDisconnect: nobody waits for an answer any more.

    """
    if "content-encoding" in request.headers:
        message = "a compressed request body is not accepted; send it without Content-Encoding"
        raise MalformedInputError(message)
    chunks: list[bytes] = []
    size = 0
    more = True
    while more:
        part = await request.receive()
        if part["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk = part.get("body", b"")
        size += len(chunk)
        if size > MAX_BODY_SIZE:
            message = f"a request body has at most {MAX_BODY_SIZE} bytes"
            raise TooLargeError(message)
        grow(len(chunk))
        chunks.append(chunk)
        more = part.get("more_body", False)
    return b"".join(chunks)


def split_body(body: bytes, content_type: str) -> tuple[Iterable[list[bytes]], bool]:
    """Return the JSON texts of a request's events in portions of about a millisecond's work, and whether it is a batch.

    An array's elements are texts as they stand in the body. Each line of NDJSON that is not blank is one text.

    Raises:
        MalformedInputError: the media type is unknown, or the body begins like an array and is none.

    """
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type in _NDJSON:
        return _split_lines(body), True
    if media_type != _JSON:
        message = f"the content type must be {_JSON} or {_NDJSON[0]}"
        raise MalformedInputError(message)
    start = body.lstrip(_SPACE)[:1]
    if start == b"[":
        return _split_array(body), True
    return [[body]] if start else [], False


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


def _split_lines(body: bytes) -> Iterator[list[bytes]]:
    stream = io.BytesIO(body)
    while lines := stream.readlines(_PORTION_SIZE):
        yield [text for line in lines if (text := line.rstrip(_SPACE))]


def _split_array(body: bytes) -> Iterator[list[bytes]]:
    try:
        raws = [bytes(raw) for raw in _ARRAY.decode(body)]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        message = "the request is not a JSON array of events"
        raise MalformedInputError(message) from None
    return (raws[start : start + _PORTION_EVENTS] for start in range(0, len(raws), _PORTION_EVENTS))


def _wait_sealed(request: Request) -> bool:
    if not request.scope["query_string"]:
        return False
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
