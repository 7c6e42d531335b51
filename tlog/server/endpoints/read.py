"""The public half: checkpoint, chain, tiles, entry bundles, proofs and the log's description. Nothing here is personal.

Paths and caching follow c2sp.org/tlog-tiles: tiles and bundles of published checkpoints never change; the checkpoint does.
"""

from __future__ import annotations

import asyncio
import gzip
from typing import TYPE_CHECKING, Final

import msgspec
from starlette.responses import Response

from tlog.answering.prove import checkpoint_of, prove_consistency, prove_inclusion, sealed_leaf
from tlog.core.entry import format_logged_at, from_microseconds
from tlog.core.merkle import HASH_SIZE, MAX_TREE_SIZE
from tlog.core.strict import encode_base64, parse_decimal
from tlog.core.tile import ENTRIES, parse_tile_path, tile_width
from tlog.errors import MalformedInputError, NotFoundError
from tlog.server.guard.fields import JSON, accepts_gzip
from tlog.server.guard.parameters import query_of

if TYPE_CHECKING:
    from starlette.requests import Request

    from tlog.server.service import Service

IMMUTABLE: Final = {"Cache-Control": "public, max-age=31536000, immutable"}
_MUTABLE: Final = {"Cache-Control": "no-cache"}
_TEXT: Final = "text/plain; charset=utf-8"
_GZIP_LEVEL: Final = 6
_MAX_LISTED: Final = 1000
# What each endpoint takes.
INCLUSION: Final = ("index", "size")
CONSISTENCY: Final = ("from", "to")
CHECKPOINTS: Final = ("below", "limit")


async def checkpoint(request: Request) -> Response:
    """Return the latest checkpoint's note."""
    service: Service = request.app.state.service
    latest = await checkpoint_of(service.log.reader, None)
    return Response(latest.served, headers=_MUTABLE, media_type=_TEXT)


async def chain(request: Request) -> Response:
    """Return size and chain hash of the latest checkpoint, as the file `chain` of a static export has them."""
    service: Service = request.app.state.service
    latest = await checkpoint_of(service.log.reader, None)
    return Response(b"%d\n%b\n" % (latest.size, encode_base64(latest.chain_hash)), headers=_MUTABLE, media_type=_TEXT)


async def tile(request: Request) -> Response:
    """Return the hashes of a tile, or an entry bundle, that a published checkpoint covers."""
    service: Service = request.app.state.service
    try:
        wanted = parse_tile_path(request.scope["path"].removeprefix("/"))
    except MalformedInputError as error:
        raise NotFoundError(str(error)) from None
    latest = await checkpoint_of(service.log.reader, None)
    if wanted.width > tile_width(wanted.level, wanted.index, latest.size):
        message = f"the checkpoint of size {latest.size} does not cover {wanted.path()}"
        raise NotFoundError(message)
    headers, bundle = IMMUTABLE, wanted.level == ENTRIES
    if bundle:
        headers = {**IMMUTABLE, "Vary": "Accept-Encoding"}
        data = await service.log.reader.bundle(wanted)
    else:
        data = (await service.log.reader.tiles([wanted])).get((wanted.level, wanted.index))
        if data is not None and len(data) != wanted.width * HASH_SIZE:
            data = None
    if data is None:
        message = f"{wanted.path()} is not stored; the log's operator should run 'tlog fsck'"
        raise NotFoundError(message)
    if bundle and accepts_gzip(request.headers):
        # c2sp.org/tlog-tiles: bundles should be compressed, tiles are hashes. A bundle can have 16 MiB.
        data = await asyncio.to_thread(gzip.compress, data, _GZIP_LEVEL, mtime=0)
        headers = {**headers, "Content-Encoding": "gzip"}
    return Response(data, headers=headers, media_type="application/octet-stream")


async def inclusion(request: Request) -> Response:
    """Return the tlog-proof of entry `index` in the checkpoint of `size`, the latest if not given."""
    service: Service = request.app.state.service
    index, size = _number(request, "index"), _optional_number(request, "size")
    leaf, found = await sealed_leaf(service.log.reader, index, size)
    proof = await prove_inclusion(service.log.reader, leaf, found)
    return Response(proof.text(), headers=_MUTABLE, media_type=_TEXT)


async def consistency(request: Request) -> Response:
    """Return the consistency proof from tree size `from` to the checkpoint of size `to`, the latest if not given."""
    service: Service = request.app.state.service
    old_size, size = _number(request, "from"), _optional_number(request, "to")
    found = await checkpoint_of(service.log.reader, size)
    proof = await prove_consistency(service.log.reader, old_size, found)
    return Response(proof.text(), headers=_MUTABLE, media_type=_TEXT)


async def describe(request: Request) -> Response:
    """Return who this log is, how far it is, and where to read on."""
    service: Service = request.app.state.service
    latest = await service.log.reader.latest_checkpoint()
    state = await service.log.reader.state()
    size = 0 if latest is None else latest.size
    return _json(
        {
            "origin": service.log.verifier.name,
            "vkey": service.log.verifier.vkey(),
            "size": size,
            "pending": state.size - size,
            "hash": "SHA-256",
            "tiles": "https://c2sp.org/tlog-tiles",
            "checkpoint": "/checkpoint",
            "chain": "/chain",
            "corsOrigin": service.cors.origin,
            "public": service.public,
            "bucketBits": service.log.bucket_keys.bits,
            "witnessing": service.log.witnessing,
            "openapi": "/openapi.json",
        }
    )


async def checkpoints(request: Request) -> Response:
    """Return published checkpoints, newest first, `limit` at a time below size `below`."""
    service: Service = request.app.state.service
    below, limit = _optional_number(request, "below"), _optional_number(request, "limit")
    limit = 100 if limit is None else limit
    if not 1 <= limit <= _MAX_LISTED:
        message = f"'limit' is between 1 and {_MAX_LISTED}"
        raise MalformedInputError(message)
    listed = await service.log.reader.checkpoints(MAX_TREE_SIZE if below is None else below, limit)
    items = [
        {
            "size": each.size,
            "rootHash": encode_base64(each.root).decode(),
            "sealedAt": format_logged_at(from_microseconds(each.sealed_at)).decode(),
            "note": each.served.decode(),
        }
        for each in listed
    ]
    return _json({"checkpoints": items, "next": listed[-1].size if len(listed) == limit else None})


def _json(document: object) -> Response:
    return Response(msgspec.json.encode(document), headers=_MUTABLE, media_type=JSON)


def _number(request: Request, name: str) -> int:
    number = _optional_number(request, name)
    if number is None:
        message = f"the query parameter '{name}' is required"
        raise MalformedInputError(message)
    return number


def _optional_number(request: Request, name: str) -> int | None:
    value = query_of(request).get(name)
    return None if value is None else parse_decimal(value.encode(), f"the query parameter '{name}'")
