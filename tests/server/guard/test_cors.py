"""CORS: which web pages may read the public half in a browser, and that nobody may unless the operator says so."""

from __future__ import annotations

import pytest
from starlette.datastructures import Headers

from tlog.errors import MalformedInputError
from tlog.server.guard.cors import Cors

PAGE = "https://audit.example.com"
PREFLIGHT = {"origin": PAGE, "access-control-request-method": "GET"}


@pytest.mark.parametrize(
    "origin",
    [None, "*", PAGE, "http://localhost:8080", "https://[::1]:8443", "https://10.0.0.1", "https://a_b.example"],
)
def test_origins(origin):
    assert Cors(origin).origin == origin


@pytest.mark.parametrize(
    "origin",
    ["", "null", "audit.example.com", "https://", "https://audit.example.com/", "https://Audit.example.com", "ftp://x",
     "https://x:0", "https://x:123456", "https://a, https://b", "https://*.example.com", "https://user@x", "https://x\r\ny: z",
     "https://x\n"],
)  # fmt: skip
def test_what_is_no_origin(origin):
    with pytest.raises(MalformedInputError, match="an origin is"):
        Cors(origin)


def fields(allowed, path, **headers):
    return dict(Cors(allowed).fields(path, Headers(headers)))


@pytest.mark.parametrize("path", ["/checkpoint", "/chain", "/tile/0/000", "/v1/proof/inclusion", "/v1/log"])
def test_public_reading_is_shared_with_the_origin_that_is_named(path):
    assert fields(None, path, origin=PAGE) == {}
    assert fields("*", path, origin=PAGE) == fields("*", path) == {b"access-control-allow-origin": b"*"}
    assert fields(PAGE, path, origin=PAGE) == {b"access-control-allow-origin": PAGE.encode(), b"vary": b"Origin"}
    assert fields(PAGE, path, origin="https://other.example.com") == fields(PAGE, path) == {b"vary": b"Origin"}


@pytest.mark.parametrize(
    "path", ["/v1/audit/events", "/v1/checkpoints", "/metrics", "/readyz", "/checkpoint/", "/tile", "/v1/logs", "/docs"]
)
@pytest.mark.parametrize("origin", ["*", PAGE])
def test_nothing_else_is_shared(path, origin):
    assert fields(origin, path, origin=PAGE) == {}
    assert Cors(origin).preflight("OPTIONS", path, Headers(PREFLIGHT)) is None


def test_a_preflight_is_answered():
    allowed = dict(Cors(PAGE).preflight("OPTIONS", "/checkpoint", Headers(PREFLIGHT)))
    assert allowed[b"access-control-allow-methods"] == b"GET, HEAD"
    assert b"access-control-allow-credentials" not in allowed
    assert Cors("*").preflight("OPTIONS", "/checkpoint", Headers(PREFLIGHT)) is not None


@pytest.mark.parametrize(
    "origin, method, headers",
    [
        (None, "OPTIONS", PREFLIGHT),
        (PAGE, "GET", PREFLIGHT),
        (PAGE, "OPTIONS", {"origin": PAGE}),
        (PAGE, "OPTIONS", {"access-control-request-method": "GET"}),
        (PAGE, "OPTIONS", {**PREFLIGHT, "origin": "https://other.example.com"}),
    ],
)
def test_what_is_no_preflight_or_not_allowed(origin, method, headers):
    assert Cors(origin).preflight(method, "/checkpoint", Headers(headers)) is None
