"""What a request's target says: query parameters and path, read by one rule on every route.

A misspelt parameter would ask for something else, and one that stands twice for two things, so both are refused, on POST
too. Names and values are UTF-8, percent-encoded as RFC 3986 section 2.1 has it, "+" being a space (WHATWG URL,
application/x-www-form-urlencoded); bytes that are no UTF-8 are refused and never replaced by something that looks alike.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

from tlog.core.canonical import escape_pointer
from tlog.errors import MalformedInputError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from starlette.requests import Request
    from starlette.responses import Response

_PARAMETERS: Final = "tlog.parameters"
_BROKEN: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_CLOSE: Final = 0.5  # of 1: a letter or two too many, too few or in each other's place


def taking(
    endpoint: Callable[[Request], Awaitable[Response]], names: Collection[str]
) -> Callable[[Request], Awaitable[Response]]:
    """Return the endpoint, asked only if its request has no other query parameters than `names`, none of them twice."""

    async def checked(request: Request) -> Response:
        request.scope[_PARAMETERS] = parse_query(request.scope["query_string"], names)
        return await endpoint(request)

    return checked


def query_of(request: Request) -> dict[str, str]:
    """Return the query parameters of a request to an endpoint that `taking` made."""
    found: dict[str, str] = request.scope[_PARAMETERS]
    return found


def parse_query(query: bytes, names: Collection[str]) -> dict[str, str]:
    """Return the parameters of a query string, each of which is one of `names` and stands there once.

    Raises:
        MalformedInputError: one is unknown or stands twice, or is not percent-encoded UTF-8.

    """
    found: dict[str, str] = {}
    for part in query.split(b"&") if query else ():
        if not part:
            continue
        name, _, value = (_decode(each.replace(b"+", b" "), "a query parameter") for each in part.partition(b"="))
        if name not in names:
            raise MalformedInputError(_unknown(name, names), f"/{escape_pointer(name)}")
        if name in found:
            message = f"the query parameter '{name}' is given twice; give it once"
            raise MalformedInputError(message, f"/{name}")
        found[name] = value
    return found


def check_path(raw_path: bytes) -> None:
    """Check that a path is UTF-8, percent-encoded where it has to be.

    Raises:
        MalformedInputError: it is not.

    """
    if b"%" in raw_path or not raw_path.isascii():
        _decode(raw_path, "the path")


def _decode(encoded: bytes, what: str) -> str:
    if _BROKEN.search(encoded) is not None:
        message = f"{what} has a percent sign without two hexadecimal digits; write a percent sign itself as %25"
        raise MalformedInputError(message)
    try:
        return unquote_to_bytes(encoded).decode()
    except UnicodeDecodeError:
        message = f"{what} is not UTF-8; encode it as UTF-8, then percent-encode its bytes"
        raise MalformedInputError(message) from None


def _unknown(name: str, names: Collection[str]) -> str:
    """Say that there is no such parameter, without repeating what might be somebody's name."""
    if not names:
        return "this request takes no query parameters"
    by_letters = {each.lower(): each for each in names}
    close = get_close_matches(name.lower(), by_letters, n=1, cutoff=_CLOSE)
    if close:
        return f"there is no such query parameter; did you mean '{by_letters[close[0]]}'?"
    return f"there is no such query parameter; this request takes {', '.join(sorted(names))}"
