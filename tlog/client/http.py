"""One connection to a log's service, and what its answers mean. HTTP/1.1 (RFC 9112) by the standard library.

A request may always be repeated: the log knows the eventIds. So a request that an idle connection lost is sent once more on a
new one. Proxies are taken from the environment (`https_proxy`, `http_proxy`, `no_proxy`), certificates from where OpenSSL has
them (`SSL_CERT_FILE`).

Left out: redirects, which no log answers with; HTTP/2; several requests at a time.
"""

from __future__ import annotations

import json
import re
import socket
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPSConnection, IncompleteRead
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn
from urllib.parse import quote, urlencode, urlsplit

from .errors_ import MalformedInputError, OverloadedError, TlogError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from http.client import HTTPResponse

TIMEOUT: Final = 30.0
NOT_NOW: Final = (429, 503, 507)
_SUCCESS: Final = range(200, 300)
_CHUNK: Final = 65_536
_TOKEN: Final = re.compile(r"[\x21-\x7e]+")
_NO_URL: Final = "the log's URL has a scheme, a host and a port, such as http://127.0.0.1:8080"


class ServiceError(TlogError):
    """The service refused a request; the message is its own, with the pointer to the offending member if it gave one."""


class Answer(NamedTuple):
    """What a service answered: status, the seconds of its Retry-After field if it has them, and the body."""

    status: int
    retry_after: int | None
    body: bytes

    @property
    def success(self) -> bool:
        """Whether the request was done."""
        return self.status in _SUCCESS

    def document(self) -> dict[str, Any]:
        """Return the body's JSON object; an empty one if the body is none, as from what is no log."""
        try:
            document = json.loads(self.body)
        except (ValueError, RecursionError):
            return {}
        return document if isinstance(document, dict) else {}

    def raise_problem(self) -> NoReturn:
        """Raise what an answer means that is no success.

        Raises:
            OverloadedError: the log cannot take the request now.
            MalformedInputError: the request breaks a rule of its format.
            ServiceError: the log refuses it for another reason.

        """
        problem = self.document()
        title, detail, pointer = (problem.get(name) for name in ("title", "detail", "pointer"))
        known = isinstance(title, str) and isinstance(detail, str)
        message = f"{title}: {detail}" if known else f"the log answered {self.status}"
        if self.status in NOT_NOW:
            raise OverloadedError(message, 1 if self.retry_after is None else self.retry_after)
        if known and isinstance(pointer, str) and pointer:
            raise MalformedInputError(message, pointer)
        raise ServiceError(message)


class Connection:
    """A connection to one log, for one thread; connected when it is first used, and again when that ended."""

    def __init__(self, url: str, token: str | None, timeout: float = TIMEOUT) -> None:
        """Take the service's URL, an API key, and the seconds that an answer may take.

        Raises:
            MalformedInputError: the URL or the key is none.

        """
        try:
            parts = urlsplit(url)
            self._host, self._port = parts.hostname or "", parts.port
        except ValueError:
            raise MalformedInputError(_NO_URL) from None
        if parts.scheme not in ("http", "https") or not self._host or parts.query or parts.fragment or parts.username:
            raise MalformedInputError(_NO_URL)
        if token is not None and _TOKEN.fullmatch(token) is None:
            message = "an API key is one word of ASCII, as 'tlog token create' prints it; this one is none"
            raise MalformedInputError(message)
        self.host = self._host
        self.url = url
        self._scheme = parts.scheme
        self._prefix = quote(parts.path.rstrip("/"), safe="/%")
        self._fields = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._timeout = timeout
        self._http: HTTPConnection | None = None

    def send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        body: bytes | None = None,
        fields: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send a request and return its answer, whatever status that has.

        Args:
            method: of HTTP.
            path: on the server, percent-encoded.
            query: the parameters by name.
            body: of the request.
            fields: header fields besides `Authorization`.

        Raises:
            OverloadedError: nothing answers there, or what answers breaks off.

        """
        try:
            response = self._begin(method, path, query, body, fields)
            return Answer(response.status, _retry_after(response), response.read())
        except (OSError, HTTPException, ValueError) as error:
            raise self._unreachable(error) from error

    def stream(
        self, path: str, query: Mapping[str, object] | None = None, fields: Mapping[str, str] | None = None
    ) -> Iterator[bytes]:
        """Yield the body of what a GET answers in pieces; an error in the midst means that they are incomplete.

        Raises:
            OverloadedError: nothing answers there, or what answers breaks off.
            TlogError: as `Answer.raise_problem`.

        """
        try:
            response = self._begin("GET", path, query, None, fields)
            if response.status not in _SUCCESS:
                Answer(response.status, _retry_after(response), response.read()).raise_problem()
            while piece := response.read(_CHUNK):
                yield piece
            if response.length:  # a body that ends early is no error to http.client where a piece was asked for
                rest = response.length
                raise IncompleteRead(b"", rest)  # noqa: EM101 - what was read, and it is none
        except (OSError, HTTPException, ValueError) as error:
            raise self._unreachable(error) from error

    def close(self) -> None:
        """Close the connection; the next request makes a new one."""
        if self._http is not None:
            self._http.close()
            self._http = None

    def abort(self) -> None:
        """End what another thread waits for, which gets an error."""
        http = self._http
        if http is not None and http.sock is not None:
            with suppress(OSError):
                http.sock.shutdown(socket.SHUT_RDWR)

    def _begin(
        self,
        method: str,
        path: str,
        query: Mapping[str, object] | None,
        body: bytes | None,
        fields: Mapping[str, str] | None,
    ) -> HTTPResponse:
        """Send a request; return its answer as far as it has a status."""
        target = f"{self._prefix}{path}?{urlencode(query)}" if query else f"{self._prefix}{path}"
        headers = {**self._fields, **(fields or {})}
        if self._http is not None and self._http.sock is not None:
            try:
                return self._ask(self._http, method, target, body, headers)
            except (ConnectionError, HTTPException):
                self._http.close()  # it was idle, and the other side had closed it
        self._http, target = self._connect(target)
        return self._ask(self._http, method, target, body, headers)

    @staticmethod
    def _ask(
        http: HTTPConnection, method: str, target: str, body: bytes | None, headers: Mapping[str, str]
    ) -> HTTPResponse:
        http.request(method, target, body, headers)
        return http.getresponse()

    def _connect(self, target: str) -> tuple[HTTPConnection, str]:
        """Return a connection to where requests are sent, and the target of a request there."""
        proxy = self._proxy()
        if proxy is None:
            kind = HTTPSConnection if self._scheme == "https" else HTTPConnection
            return kind(self._host, self._port, timeout=self._timeout), target
        host, port = proxy
        if self._scheme == "https":
            tunnel = HTTPSConnection(host, port, timeout=self._timeout)
            tunnel.set_tunnel(self._host, self._port or 443)
            return tunnel, target
        # RFC 9112 section 3.2.2: a proxy is asked with the absolute form of the target.
        parts = urlsplit(self.url)
        return HTTPConnection(host, port, timeout=self._timeout), f"http://{parts.netloc}{target}"

    def _proxy(self) -> tuple[str, int | None] | None:
        from urllib.request import getproxies, proxy_bypass  # noqa: PLC0415 - slow, and needed to connect only

        url = getproxies().get(self._scheme)
        if not url or proxy_bypass(f"{self._host}:{self._port}" if self._port else self._host):
            return None
        parts = urlsplit(url if "://" in url else f"http://{url}")
        return (parts.hostname, parts.port) if parts.hostname else None

    def _unreachable(self, error: Exception) -> OverloadedError:
        self.close()
        return OverloadedError(f"the log at {self.url} cannot be reached ({type(error).__name__})")


def _retry_after(response: HTTPResponse) -> int | None:
    """Return the seconds of a Retry-After field (RFC 9110 section 10.2.3); a date there counts as none."""
    text = response.headers.get("Retry-After", "")
    return int(text) if re.fullmatch(r"[0-9]{1,9}", text) else None
