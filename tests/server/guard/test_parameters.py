"""One rule for query parameters and paths: what is unknown, stands twice or is no UTF-8 is refused on every route."""

from __future__ import annotations

import asyncio
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.responses import PlainTextResponse

from tlog.errors import MalformedInputError
from tlog.server.guard.parameters import check_path, parse_query, query_of, taking

NAMES = ("limit", "wait", "userId")


@pytest.mark.parametrize(
    "query, found",
    [
        (b"", {}),
        (b"&", {}),
        (b"limit=3&wait=sealed", {"limit": "3", "wait": "sealed"}),
        (b"limit", {"limit": ""}),
        (b"limit=", {"limit": ""}),
        (b"limit=a=b", {"limit": "a=b"}),
        (b"userId=a+b%2Bc", {"userId": "a b+c"}),
        (b"userId=%C3%A9", {"userId": "é"}),
        (b"userId=\xc3\xa9", {"userId": "é"}),
        (b"user%49d=x", {"userId": "x"}),
        (b"userId=a;b", {"userId": "a;b"}),
    ],
)
def test_a_query_is_read(query, found):
    assert parse_query(query, NAMES) == found


@pytest.mark.parametrize(
    "query, words, pointer",
    [
        (b"wiat=sealed", "did you mean 'wait'", "/wiat"),
        (b"Wait=sealed", "did you mean 'wait'", "/Wait"),
        (b"userid=x", "did you mean 'userId'", "/userid"),
        (b"user=x", "did you mean 'userId'", "/user"),
        (b"colour=red", "this request takes limit, userId, wait", "/colour"),
        (b"=x", "no such query parameter", "/"),
        (b"a/b~=x", "no such query parameter", "/a~1b~0"),
        (b"limit=3&limit=3", "'limit' is given twice", "/limit"),
        (b"limit=3&l%69mit=4", "'limit' is given twice", "/limit"),
        (b"userId=%ff", "not UTF-8", ""),
        (b"userId=\xff", "not UTF-8", ""),
        (b"userId=%ED%A0%80", "not UTF-8", ""),
        (b"userId=%C0%80", "not UTF-8", ""),
        (b"%ff=x", "not UTF-8", ""),
        (b"userId=50%", "percent sign", ""),
        (b"userId=%u00e9", "percent sign", ""),
    ],
)
def test_what_is_no_query_is_refused(query, words, pointer):
    with pytest.raises(MalformedInputError, match=words) as caught:
        parse_query(query, NAMES)
    assert caught.value.pointer == pointer


def test_a_refusal_repeats_no_value_and_no_unknown_name():
    with pytest.raises(MalformedInputError) as caught:
        parse_query(b"Jane.Doe=Jane.Doe", NAMES)
    assert "Jane" not in str(caught.value)


def test_who_takes_none_says_so():
    with pytest.raises(MalformedInputError, match="takes no query parameters"):
        parse_query(b"x=1", ())


@given(st.dictionaries(st.sampled_from(NAMES), st.text(st.characters(exclude_categories=["Cs"]))))
def test_what_was_encoded_comes_back(members):
    assert parse_query(urlencode(members).encode(), NAMES) == members


@pytest.mark.parametrize("path", [b"/", b"/a/b", b"/%C3%A9", b"/\xc3\xa9", b"/a%2Fb"])
def test_paths_that_are_utf_8(path):
    check_path(path)


@pytest.mark.parametrize("path", [b"/%ff", b"/\xff", b"/%ED%A0%80", b"/100%", b"/%zz"])
def test_paths_that_are_not(path):
    with pytest.raises(MalformedInputError, match="the path"):
        check_path(path)


def test_an_endpoint_is_asked_only_with_what_it_takes():
    async def endpoint(request):
        return PlainTextResponse(repr(query_of(request)))

    async def ask(query):
        request = Request({"type": "http", "query_string": query})
        return bytes((await taking(endpoint, NAMES)(request)).body)

    assert asyncio.run(ask(b"limit=3")) == b"{'limit': '3'}"
    with pytest.raises(MalformedInputError):
        asyncio.run(ask(b"limits=3"))
