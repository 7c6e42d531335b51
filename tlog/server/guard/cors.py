"""Which web pages may read the public half in a browser: none, unless the operator names an origin.

The protocol is CORS (https://fetch.spec.whatwg.org/#http-cors-protocol). "*" lets every page read it, an intranet's log
through a clerk's browser too; that is the operator's to say. What needs a key is never shared: a page has none that is not
its own, and no answer says that it may send one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from tlog.errors import MalformedInputError
from tlog.server.guard.public import PROOFS, Public, is_public

if TYPE_CHECKING:
    from starlette.datastructures import Headers

# An origin as a browser sends it (RFC 6454 section 6.2): in lower case, without path.
_ORIGIN: Final = re.compile(r"https?://(?:[a-z0-9._-]{1,253}|\[[0-9a-f:.]{2,45}\])(?::[1-9][0-9]{0,4})?")
_SHARED: Final = ("/checkpoint", "/chain", "/v1/log")
_PREFLIGHT_SECONDS: Final = b"3600"
_Fields = list[tuple[bytes, bytes]]


class Cors:
    """Answers browsers for one log.

    `origin` is whose pages may read: an origin, "*" for all, None for none; `public` what anybody may.
    """

    def __init__(self, origin: str | None, public: Public = "all") -> None:
        """Prepare.

        Raises:
            MalformedInputError: it is not an origin.

        """
        if origin is not None and origin != "*" and _ORIGIN.fullmatch(origin) is None:
            message = "an origin is scheme and host as a browser sends them, such as https://audit.example.com, or '*' for all"
            raise MalformedInputError(message)
        self.origin = origin
        self._public = public

    def fields(self, path: str, headers: Headers) -> _Fields:
        """Return the header fields that the answer to a request gets besides its own."""
        if self.origin is None or not self._is_shared(path):
            return []
        if self.origin == "*":
            return [(b"access-control-allow-origin", b"*")]
        # A cache in between keeps apart what different pages were answered.
        vary = [(b"vary", b"Origin")]
        if headers.get("origin") != self.origin:
            return vary
        return [*vary, (b"access-control-allow-origin", self.origin.encode())]

    def preflight(self, method: str, path: str, headers: Headers) -> _Fields | None:
        """Return the header fields of the answer to a preflight request, None if it is none or there is nothing to allow."""
        if method != "OPTIONS" or "origin" not in headers or "access-control-request-method" not in headers:
            return None
        if self.origin is None or not self._is_shared(path) or self.origin not in ("*", headers["origin"]):
            return None
        return [
            (b"access-control-allow-methods", b"GET, HEAD"),
            (b"access-control-allow-headers", b"*"),
            (b"access-control-max-age", _PREFLIGHT_SECONDS),
        ]

    def _is_shared(self, path: str) -> bool:
        return (path in _SHARED or path.startswith(PROOFS)) and is_public(self._public, path)
