"""Where the pages are reached, and what follows from it: which requests are answered, and the cookie's name and flags.

With `--public-url` requests name its host, and the cookie is sent over HTTPS only. Without one the pages are for the machine
itself: requests come from a loopback address and name one. What a proxy says of whom it speaks for is never believed.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException

from tlog.errors import MalformedInputError

if TYPE_CHECKING:
    from starlette.requests import Request

_URL: Final = re.compile(r"https://[a-z0-9.-]{1,253}(?::[1-9][0-9]{0,4})?")
_LOOPBACK: Final = re.compile(r"(?:localhost|127\.0\.0\.1|\[::1\])(?::[0-9]{1,5})?")
_MISDIRECTED: Final = 421


class Address:
    """The address of the pages."""

    def __init__(self, public_url: str | None) -> None:
        """Take it.

        Raises:
            MalformedInputError: it is not the HTTPS URL of a host.

        """
        if public_url is not None and _URL.fullmatch(public_url) is None:
            message = (
                "a public URL is https:// and a host in lower case, without a path, such as https://audit.example.com"
            )
            raise MalformedInputError(message)
        self._host = None if public_url is None else urlsplit(public_url).netloc
        self._cookie = "tlog" if public_url is None else "__Host-tlog"
        self._flags = "; Path=/; HttpOnly; SameSite=Lax" + ("" if public_url is None else "; Secure")

    def check(self, request: Request) -> None:
        """Check that a request came here.

        Raises:
            HTTPException: it names another host, or comes from elsewhere.

        """
        host = request.headers.get("host", "")
        if self._host is not None:
            if host != self._host:
                message = f"the pages are at https://{self._host}"
                raise HTTPException(_MISDIRECTED, message)
        elif _LOOPBACK.fullmatch(host) is None or not _is_loopback(request):
            message = "without 'tlog serve --public-url' the pages are for browsers on the service's own machine, at http://127.0.0.1"
            raise HTTPException(_MISDIRECTED, message)

    def origin(self, request: Request) -> str:
        """Return the origin that the pages have for who sent a request that was checked."""
        return f"http://{request.headers['host']}" if self._host is None else f"https://{self._host}"

    def cookie(self, value: str) -> str:
        """Return the header field that sets the cookie, or with "" takes it away."""
        return f"{self._cookie}={value}{self._flags}" + ("" if value else "; Max-Age=0")

    def cookie_of(self, request: Request) -> str:
        """Return the value of a request's cookie, "" if there is none, or more than one."""
        pairs = ";".join(request.headers.getlist("cookie")).split(";")
        values = [value for name, _, value in (each.strip().partition("=") for each in pairs) if name == self._cookie]
        return values[0] if len(values) == 1 else ""


def _is_loopback(request: Request) -> bool:
    try:
        return request.client is not None and ip_address(request.client.host).is_loopback
    except ValueError:
        return False
