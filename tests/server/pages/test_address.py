"""Where the pages are reached: the hosts that are answered, and the cookie that goes with them."""

from __future__ import annotations

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request

from tlog.errors import MalformedInputError
from tlog.server.pages.address import Address


def asked(host, peer="127.0.0.1", cookies=()):
    headers = [(b"host", host.encode()), *((b"cookie", each.encode()) for each in cookies)]
    return Request(
        {"type": "http", "headers": headers, "client": (peer, 1), "scheme": "http", "path": "/ui", "query_string": b""}
    )


def is_answered(address, *arguments):
    try:
        address.check(asked(*arguments))
    except HTTPException as error:
        return error.status_code != 421
    return True


@pytest.mark.parametrize(
    "host, peer, answered",
    [
        ("127.0.0.1:8080", "127.0.0.1", True),
        ("localhost:8080", "127.0.0.1", True),
        ("[::1]:8080", "::1", True),
        ("127.0.0.1:8080", "192.0.2.7", False),  # listens on more than the loopback address
        ("evil.example:8080", "127.0.0.1", False),  # a name that was made to lead here
        ("localhost.evil.example", "127.0.0.1", False),
        ("audit.example.com", "127.0.0.1", False),  # a proxy on this machine
        ("", "127.0.0.1", False),
        ("127.0.0.1:8080", "somewhere", False),
    ],
)
def test_without_a_public_url_pages_are_for_this_machine(host, peer, answered):
    assert is_answered(Address(None), host, peer) is answered


def test_with_one_its_host_is_answered_and_no_other():
    address = Address("https://audit.example.com")
    assert is_answered(address, "audit.example.com", "192.0.2.7")
    assert not is_answered(address, "127.0.0.1:8080", "127.0.0.1")
    assert not is_answered(address, "audit.example.com:8443")
    assert address.origin(asked("audit.example.com")) == "https://audit.example.com"


@pytest.mark.parametrize(
    "url",
    [
        "http://audit.example.com",
        "audit.example.com",
        "https://audit.example.com/",
        "https://Audit.example.com",
        "https://a b",
        "",
    ],
)
def test_what_is_no_public_url(url):
    with pytest.raises(MalformedInputError, match="a public URL is https"):
        Address(url)


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites():
    flags = Address("https://audit.example.com").cookie("id").split("; ")
    assert flags == ["__Host-tlog=id", "Path=/", "HttpOnly", "SameSite=Lax", "Secure"]
    assert Address(None).cookie("id").split("; ") == ["tlog=id", "Path=/", "HttpOnly", "SameSite=Lax"]
    assert Address(None).cookie("").endswith("; Max-Age=0")


@pytest.mark.parametrize(
    "cookies, value",
    [
        (["tlog=one"], "one"),
        (["a=b; tlog=one; c=d"], "one"),
        (["a=b", "tlog=one"], "one"),
        (["tlog=one; tlog=two"], ""),  # somebody put a second one beside it
        (["__Host-tlog=one"], ""),
        (["xtlog=one"], ""),
        ([], ""),
    ],
)
def test_the_cookie_of_a_request(cookies, value):
    assert Address(None).cookie_of(asked("localhost", cookies=cookies)) == value
