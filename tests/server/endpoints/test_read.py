"""The public half: the chain's file, compressed bundles, and what web pages may read."""

from __future__ import annotations

import base64
import contextlib
import gzip

import httpx2
import pytest
from support import fill

from tlog.core.bundle import parse_bundle
from tlog.server.app import create_app
from tlog.server.guard.auth import Authenticator

PAGE = "https://audit.example.com"


@contextlib.asynccontextmanager
async def asking(log, origin=None):
    """Ask the application of a log, which nobody has a key of."""

    async def find(_):
        return None

    app = create_app(log, Authenticator(find, log.directory.pepper(), log.clock), cors_origin=origin)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://log") as client:
        yield client


async def sealed(log):
    receipts = await fill(log, 300)
    return await log.wait_sealed(receipts[-1].index, 30)


async def raw(client, path, **headers):
    """Return an answer and its bytes as they were sent."""
    async with client.stream("GET", path, headers=headers) as answer:
        return answer, b"".join([part async for part in answer.aiter_raw()])


@pytest.mark.anyio
async def test_the_public_half(opened):
    async with opened(interval=0.05) as log:
        checkpoint = await sealed(log)
        async with asking(log) as client:
            await chain_is_that_of_the_checkpoint(client, checkpoint)
            await bundles_are_compressed_for_who_takes_that(client)
            assert (await client.get("/v1/log")).json()["corsOrigin"] is None
            for method in ("GET", "OPTIONS"):
                headers = {"Origin": PAGE, "Access-Control-Request-Method": "GET"}
                answer = await client.request(method, "/checkpoint", headers=headers)
                assert answer.status_code == {"GET": 200, "OPTIONS": 405}[method]
                assert not [name for name in answer.headers if name.startswith("access-control")]
        async with asking(log, PAGE) as client:
            await pages_of_one_origin_may_read(client)


async def chain_is_that_of_the_checkpoint(client, checkpoint):
    answer = await client.get("/chain")
    size, chain, end = answer.text.split("\n")
    note = (await client.get("/checkpoint")).text
    assert (answer.status_code, end, int(size)) == (200, "", int(note.split("\n")[1]))
    assert int(size) >= checkpoint.size
    if int(size) == checkpoint.size:
        assert base64.b64decode(chain) == checkpoint.chain_hash
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"


async def bundles_are_compressed_for_who_takes_that(client):
    plain, data = await raw(client, "/tile/entries/000", **{"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.headers["vary"] == "Accept-Encoding"
    assert len(parse_bundle(data, 256)) == 256
    packed, small = await raw(client, "/tile/entries/000", **{"Accept-Encoding": "deflate, gzip;q=0.5"})
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.headers["vary"] == "Accept-Encoding"
    assert "immutable" in packed.headers["cache-control"]
    assert gzip.decompress(small) == data
    assert len(small) * 2 < len(data)
    assert (await raw(client, "/tile/entries/000", **{"Accept-Encoding": "gzip"}))[1] == small
    refused, same = await raw(client, "/tile/entries/000", **{"Accept-Encoding": "gzip;q=0"})
    assert ("content-encoding" in refused.headers, same) == (False, data)
    tile, hashes = await raw(client, "/tile/0/000", **{"Accept-Encoding": "gzip"})
    assert ("content-encoding" in tile.headers, "vary" in tile.headers, len(hashes)) == (False, False, 256 * 32)


async def pages_of_one_origin_may_read(client):
    assert (await client.get("/v1/log")).json()["corsOrigin"] == PAGE
    for path, status in (("/checkpoint", 200), ("/tile/0/999", 404), ("/v1/proof/inclusion?index=x", 400)):
        answer = await client.get(path, headers={"Origin": PAGE})
        assert answer.status_code == status
        assert answer.headers["access-control-allow-origin"] == PAGE
        assert answer.headers["vary"] == "Origin"
    packed, _ = await raw(client, "/tile/entries/000", **{"Accept-Encoding": "gzip", "Origin": PAGE})
    assert packed.headers.get_list("vary") == ["Accept-Encoding", "Origin"]
    other = await client.get("/checkpoint", headers={"Origin": "https://other.example.com"})
    assert ("access-control-allow-origin" in other.headers, other.headers["vary"]) == (False, "Origin")
    private = await client.get("/v1/audit/events", headers={"Origin": PAGE})
    assert (private.status_code, "access-control-allow-origin" in private.headers) == (401, False)
    asked = {"Origin": PAGE, "Access-Control-Request-Method": "GET"}
    allowed = await client.request("OPTIONS", "/tile/0/000", headers=asked)
    assert (allowed.status_code, allowed.content) == (204, b"")
    assert allowed.headers["access-control-allow-origin"] == PAGE
    assert allowed.headers["access-control-allow-methods"] == "GET, HEAD"
    assert (await client.request("OPTIONS", "/v1/audit/events", headers=asked)).status_code == 405
