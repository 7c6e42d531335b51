"""One exchange with a stranger over HTTP, within bounds of time and size from connecting on.

The HTTP library bounds each wait and not their sum: whoever sends a byte now and then, or one informational answer (RFC 9110,
15.2) after the other, would hold the caller up for ever. So the bounds are kept below the library, where connections are made
and bytes arrive: all waits together end at a deadline, at most one informational answer comes before the one that counts, and
each head, which is the status line with the fields, has at most 16 KiB. Left out: everything else about HTTP.

One thread at a time uses these objects.
"""

from __future__ import annotations

import re
import socket
import time
from typing import TYPE_CHECKING, Any, Final

import httpcore2

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable

MAX_HEAD_SIZE: Final = 16_384
MAX_INFORMATIONAL: Final = 1
_HEAD_END: Final = re.compile(rb"\n\r?\n")
_INFORMATIONAL: Final = re.compile(rb"HTTP/[0-9.]+ +1[0-9]{2}\b")


class TooSlowError(Exception):
    """The exchange took longer than it may."""


class HeadError(Exception):
    """An answer's head is too large, or too many come; the message says which."""


class BoundedBackend(httpcore2.NetworkBackend):
    """Makes connections for `httpcore2`; `begin` comes before each exchange."""

    def __init__(self) -> None:
        self._inner = httpcore2.SyncBackend()
        self._deadline = 0.0

    def begin(self, seconds: float) -> None:
        """Begin an exchange that may take so long."""
        self._deadline = time.monotonic() + seconds

    def left(self, timeout: float | None) -> float:
        """Return how many seconds the next wait may take.

        Raises:
            TooSlowError: none are left.

        """
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TooSlowError
        return left if timeout is None else min(timeout, left)

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.NetworkStream:
        """Connect to the first address of a host that answers; a name with many addresses gets no more time.

        Raises:
            TooSlowError: the exchange took too long.
            httpcore2.ConnectError: no address answers, or there is none.
            httpcore2.ConnectTimeout: the last address does not answer in time.

        """
        self.left(timeout)
        failure: Exception = httpcore2.ConnectError("the name has no address")
        try:
            addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise httpcore2.ConnectError(str(error)) from error
        for *_, address in addresses:
            try:
                stream = self._inner.connect_tcp(
                    str(address[0]), port, self.left(timeout), local_address, socket_options
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
            else:
                return _BoundedStream(stream, self)
        raise failure


class _BoundedStream(httpcore2.NetworkStream):
    def __init__(self, inner: httpcore2.NetworkStream, bounds: BoundedBackend) -> None:
        self._inner = inner
        self._bounds = bounds
        self._heads = _Heads()

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data = self._inner.read(max_bytes, self._bounds.left(timeout))
        self._heads.take(data)
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._heads = _Heads()  # what arrives from here on answers this
        self._inner.write(buffer, self._bounds.left(timeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        # A handshake's timeout is for all of it (Python's `ssl`).
        secured = self._inner.start_tls(ssl_context, server_hostname, self._bounds.left(timeout))
        return _BoundedStream(secured, self._bounds)

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 - as the library has it
        return self._inner.get_extra_info(info)


class _Heads:
    """Counts the heads of the answers to one request, up to the one that counts."""

    def __init__(self) -> None:
        self._begun = b""
        self._informational = 0
        self._done = False

    def take(self, data: bytes) -> None:
        """Take what arrived.

        Raises:
            HeadError: a head is too large, or one informational answer too many came.

        """
        if self._done:
            return
        self._begun += data
        while (end := _HEAD_END.search(self._begun)) is not None:
            self._check_size(end.end())
            if _INFORMATIONAL.match(self._begun) is None:
                self._done, self._begun = True, b""
                return
            self._informational += 1
            if self._informational > MAX_INFORMATIONAL:
                message = "sent one informational answer after the other"
                raise HeadError(message)
            self._begun = self._begun[end.end() :]
        self._check_size(len(self._begun))

    @staticmethod
    def _check_size(size: int) -> None:
        if size > MAX_HEAD_SIZE:
            message = f"sent a head of more than {MAX_HEAD_SIZE:,} bytes"
            raise HeadError(message)
