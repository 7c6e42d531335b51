"""Media types, codings and preferences, as header fields state them."""

from __future__ import annotations

import pytest
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException

from tlog.server.guard.fields import JSON, NDJSON, accepts_gzip, media_type, prefers_minimal


def headers(**fields):
    return Headers(raw=[(name.replace("_", "-").encode(), value.encode()) for name, value in fields.items()])


def several(name, *values):
    return Headers(raw=[(name.encode(), value.encode()) for value in values])


@pytest.mark.parametrize(
    "named, found",
    [
        (None, JSON),
        ("application/json", JSON),
        ("Application/JSON", JSON),
        ("application/json; charset=utf-8", JSON),
        ('application/json;charset="UTF-8"', JSON),
        ("application/json; profile=x; charset=utf-8", JSON),
        ("application/x-ndjson", NDJSON),
        ("application/x-ndjson; charset=utf-8", NDJSON),
        ("application/ndjson", NDJSON),
        ("application/jsonl", NDJSON),
    ],
)
def test_media_types_that_are_taken(named, found):
    assert media_type(headers() if named is None else headers(content_type=named)) == found
    assert media_type(several("content-encoding", "Identity")) == JSON


@pytest.mark.parametrize(
    "named",
    ["", "text/csv", "text/json", "application/xml", "application/x-www-form-urlencoded", "application", "application/jsonx",
     "application/json, application/json", "application/json; charset=utf-16", "application/json; charset=latin-1",
     "application/x-ndjson; charset=utf-8; charset=utf-16"],
)  # fmt: skip
def test_media_types_that_are_not(named):
    with pytest.raises(HTTPException) as caught:
        media_type(headers(content_type=named))
    assert (caught.value.status_code, caught.value.headers) == (415, {"Accept": f"{JSON}, {NDJSON}"})


@pytest.mark.parametrize("coding", ["gzip", "br", "identity, gzip", "identity, identity", ""])
def test_codings_that_are_not(coding):
    with pytest.raises(HTTPException, match="Content-Encoding") as caught:
        media_type(headers(content_encoding=coding))
    assert (caught.value.status_code, caught.value.headers) == (415, {"Accept-Encoding": "identity"})


@pytest.mark.parametrize(
    "values, minimal",
    [
        ([], False),
        (["return=minimal"], True),
        (['Return="minimal"'], True),
        (["respond-async, return=minimal; x=y"], True),
        (["respond-async", "return = minimal"], True),
        (["return=representation, return=minimal"], False),
        (["return=minimally"], False),
        (["x-return=minimal"], False),
    ],
)
def test_preferences(values, minimal):
    assert prefers_minimal(several("prefer", *values)) == minimal


@pytest.mark.parametrize(
    "values, accepted",
    [
        ([], False),
        ([""], False),
        (["gzip"], True),
        (["GZIP"], True),
        (["x-gzip"], True),
        (["deflate, gzip;q=0.5"], True),
        (["deflate", "gzip"], True),
        (["gzip; q=1.000"], True),
        (["*"], True),
        (["*;q=0.1"], True),
        (["identity"], False),
        (["gzip;q=0"], False),
        (["gzip;q=0.000, *"], False),
        (["*;q=0"], False),
        (["identity;q=1, gzip;q=0.5"], False),
        (["identity;q=0, gzip;q=0.5"], True),
        (["gzip;q=2"], False),
        (["gzip;q=x"], False),
        (["br"], False),
    ],
)
def test_accepted_codings(values, accepted):
    assert accepts_gzip(several("accept-encoding", *values)) == accepted
