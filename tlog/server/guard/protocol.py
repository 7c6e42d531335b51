"""The guard at the door: uvicorn's httptools protocol with deadlines, limits, and no second reading of a request.

httptools refuses what two parsers would cut differently. What it leaves open is closed here (docs/adr/0014-admission.md):
how long a request may take to arrive, how large its head may be, exactly one Host, no pipelining, no upgrade. A refusal
is a problem document and the end of the connection; what comes after it is not parsed.

One timer serves a connection, whatever it waits for: when it fires early it is moved, so a request costs no timer of its
own. TLS, compression and limits per address are left to a proxy.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, NoReturn

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tlog.server.describe.problems import Kind, problem
from tlog.server.guard.quick import Held, is_plain, whole_answer

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Collection

    from starlette.types import Message, Receive, Scope, Send

MAX_BODY_SIZE: Final = 16 << 20
MAX_EVENTS: Final = 10_000  # of a request
MAX_HEAD_SIZE: Final = 16 << 10
MAX_HEADERS: Final = 100
MAX_LINE_SIZE: Final = 8 << 10
MAX_CONNECTIONS: Final = 1024
# From here on an answer ends its connection, so that those who wait for one get their turn.
CROWDED: Final = 768
# From here on an address may have so many connections, and no more, that have not sent the head of a request yet.
BUSY: Final = 512
MAX_SILENT: Final = 64
HEAD_SECONDS: Final = 10.0
# In each window of a body that is not complete yet, so much has to arrive: 16 MiB on a line of 2 KiB/s, but no stall.
BODY_SECONDS: Final = 30.0
BODY_PROGRESS: Final = 64 << 10
STALLED_READER_SECONDS: Final = 30.0
# A connection is not closed under a client that still sends: it would lose the answer with it.
LINGER_SECONDS: Final = 5.0

_MALFORMED: Final = Kind(400, "malformed-request", "The request is malformed")
_TIMEOUT: Final = Kind(408, "timeout", "The request did not arrive in time")
_BODY_TOO_LARGE: Final = Kind(413, "too-large", "The request is above a limit")
_LINE_TOO_LONG: Final = Kind(414, "too-large", "The request is above a limit")
_HEAD_TOO_LARGE: Final = Kind(431, "too-large", "The request is above a limit")
_LARGE_HEAD: Final = (
    _HEAD_TOO_LARGE,
    f"a request has at most {MAX_HEADERS} header fields, of {MAX_LINE_SIZE} bytes each and {MAX_HEAD_SIZE} together",
)
_OVERLOADED: Final = Kind(503, "overloaded", "The log cannot take this now")
_VERSION: Final = Kind(505, "http-version", "The version of HTTP is not supported")

_HOST: Final = re.compile(rb"(?:[0-9A-Za-z._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
# Whose second value would be another request to somebody else on the way.
_ONCE: Final = frozenset(
    (b"authorization", b"content-encoding", b"content-length", b"content-type", b"host", b"transfer-encoding")
)


# What is looked at of a head besides.
_READ: Final = _ONCE | {b"prefer"}


class _Phase(Enum):
    HEAD = auto()  # a request may begin, or has begun
    BODY = auto()  # its head is complete
    ANSWER = auto()  # it is complete, its answer is not
    END = auto()  # answered for the last time; whatever still comes is thrown away


class _Nowhere(list[tuple[bytes, bytes]]):
    """Takes header fields and keeps none."""

    def append(self, _: tuple[bytes, bytes]) -> None:
        """Forget it."""


_NOWHERE: Final = _Nowhere()


class Silent:
    """How many connections each address has that have sent no whole head yet; a trusted proxy's are not counted."""

    def __init__(self, trusted: Collection[str] = ()) -> None:
        self._trusted = frozenset(trusted)
        self._counts: dict[str, int] = {}

    def begin(self, address: str) -> int:
        """Count a connection; return how many there are of its address now, 0 if that is trusted or unknown."""
        if not address or address in self._trusted:
            return 0
        self._counts[address] = count = self._counts.get(address, 0) + 1
        return count

    def end(self, address: str) -> None:
        """Count it no more."""
        if address in self._counts:
            self._counts[address] -= 1
            if not self._counts[address]:
                del self._counts[address]


class _RefusedError(Exception):
    """Stops the parser, from within its callbacks."""


class GuardedProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(
        self,
        *args: Any,  # noqa: ANN401
        refused: Callable[[int], None] = lambda _: None,
        silent: Silent | None = None,
        single: Callable[[Held], None] | None = None,
        **options: Any,  # noqa: ANN401
    ) -> None:
        """Prepare.

        Args:
            args: uvicorn's.
            refused: is told the status of what is refused here, which no application sees.
            silent: counts the connections of this listener that have sent no head yet.
            single: takes what goes the quick way (`tlog.server.guard.quick`); None if nothing does.
            options: uvicorn's.

        """
        super().__init__(*args, **options)
        self._application, self.app = self.app, self._answer
        self._refused = refused
        self._silent = Silent() if silent is None else silent
        self._single = single
        self._held: Held | None = None  # a request on the quick way
        self._address = ""  # while it is counted among the silent ones
        self._phase = _Phase.HEAD
        self._deaf = False
        self._timer: asyncio.TimerHandle | None = None
        self._deadline = 0.0
        self._received = 0  # bytes of the request so far, whatever the parser made of them
        self._window_began_at = 0
        self._refusal: tuple[Kind, str] | None = None

    # --- What the transport calls --------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take in a connection, or send it away if there are too many."""
        super().connection_made(transport)
        if len(self.connections) > 2 * MAX_CONNECTIONS:
            transport.abort()
        elif len(self.connections) > MAX_CONNECTIONS:
            self._refuse(_OVERLOADED, "too many connections are open")
        elif not self._count_silent(transport):
            self._refuse(_OVERLOADED, "too many connections of your address have sent no request")
        else:
            self._allow(HEAD_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._is_heard()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what arrived, unless nothing more is expected."""
        if self._deaf:
            return
        phase = self._phase
        self._received += len(data)
        try:
            self.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._refuse(*(self._refusal or (_MALFORMED, "this is not a request, or one that can be read in two ways")))
            return
        if self._phase is _Phase.HEAD:
            if self._received > MAX_HEAD_SIZE:
                self._refuse(*_LARGE_HEAD)
        elif self._phase is _Phase.BODY:
            if self._held is not None:
                self.hand_over(self._held)  # the rest takes its time, and memory that has to be there
            if phase is not _Phase.BODY:
                self._window_began_at = self._received
                self._allow(BODY_SECONDS)
            elif self._received > 2 * MAX_BODY_SIZE:
                self._refuse(_BODY_TOO_LARGE, "a request body is mostly marks of its parts")

    def pause_writing(self) -> None:
        """Wait for a client that does not read its answer, but not for ever."""
        super().pause_writing()
        if self._phase is _Phase.ANSWER:
            self._allow(STALLED_READER_SECONDS)

    def shutdown(self) -> None:
        """End the connection: after the answer if a request is complete, at once otherwise."""
        if self._phase is _Phase.ANSWER:
            self.cycle.keep_alive = False
        elif self._phase is _Phase.BODY:
            self._refuse(_OVERLOADED, "the service is stopping; nothing of the request was appended")
        else:
            self.transport.close()

    # --- What the parser calls -----------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Begin a request, unless the one before is not answered yet."""
        if self._phase is not _Phase.HEAD:
            # Pipelined, or smuggled: it is never executed. RFC 9112, 9.3.2, lets its sender try again.
            raise _RefusedError
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Check a head, and let the application begin, or hold what goes the quick way."""
        fields = self._check_head()
        if self._is_single(fields):
            self.cycle = self._held = Held(self, fields, keep_alive=self.parser.should_keep_alive())  # type: ignore[assignment]
        else:
            super().on_headers_complete()
        self._phase = _Phase.BODY
        if self._address:
            self._is_heard()
        # A trailer field may mean nothing that the head did not say (RFC 9110, 6.5.1).
        self.headers = _NOWHERE
        if len(self.connections) > CROWDED:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        """Wait for the answer."""
        super().on_message_complete()
        self._phase = _Phase.ANSWER
        self._deadline = float("inf")
        if self._held is not None and self._single is not None:
            self._single(self._held)

    def on_response_complete(self) -> None:
        """Wait for the next request, or end the connection."""
        self.server_state.total_requests += 1
        self._held = None
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self._deaf or self._phase is not _Phase.ANSWER:
            self._end()
            return
        self._phase = _Phase.HEAD
        self._received = 0
        self._allow(HEAD_SECONDS)

    def hand_over(self, held: Held) -> None:
        """Let the application answer a request that was on the quick way."""
        self._held = None
        self.cycle = None  # type: ignore[assignment]
        super().on_headers_complete()
        self.cycle.body += held.body
        self.cycle.more_body = self._phase is not _Phase.ANSWER
        self.cycle.keep_alive = held.keep_alive
        self.cycle.message_event.set()

    def _is_single(self, fields: dict[bytes, bytes]) -> bool:
        return (
            self._single is not None
            and self.parser.get_method() == b"POST"
            and self.parser.get_http_version() == "1.1"
            and not self.expect_100_continue
            and not self.flow.write_paused
            and is_plain(self.url, fields)
        )

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the application answer, and say that nothing more is read if it does so before the request is complete.

        Without that the client would send its next request on a connection that is being closed, and lose it.
        """
        cycle = self.cycle

        async def send_in_time(message: Message) -> None:
            if message["type"] == "http.response.start" and self._phase is _Phase.BODY:
                self._deaf = True
                await send({**message, "headers": [*message["headers"], (b"connection", b"close")]})
                # Or uvicorn would close at once, on bytes that are unread, and the answer might be lost.
                cycle.keep_alive = True
            else:
                await send(message)

        await self._application(scope, receive, send_in_time)

    def _count_silent(self, transport: asyncio.Transport) -> bool:
        """Count a new connection among the silent ones of its address; tell whether it may stay."""
        peer = transport.get_extra_info("peername")
        self._address = str(peer[0]) if peer else ""
        count = self._silent.begin(self._address)
        return len(self.connections) <= BUSY or count <= MAX_SILENT

    def _is_heard(self) -> None:
        self._silent.end(self._address)
        self._address = ""

    # --- Rules ---------------------------------------------------------------------------------------------------

    def _check_head(self) -> dict[bytes, bytes]:
        """Check a head; return the fields that were looked at."""
        version = self.parser.get_http_version()
        if version not in ("1.1", "1.0"):
            self._stop(_VERSION, "this is a service of HTTP/1.1")
        if not self.url.startswith(b"/"):
            self._stop(_MALFORMED, "a request's target is a path; this is not a proxy")
        if self.parser.should_upgrade():
            self._stop(_MALFORMED, "there is nothing to upgrade to; send the request without Upgrade")
        if self._received > MAX_LINE_SIZE or len(self.headers) > MAX_HEADERS:
            self._check_size()
        fields = self._check_fields(version)
        if len(self.tasks) >= MAX_CONNECTIONS:
            self._stop(_OVERLOADED, "too many requests are under way")
        return fields

    def _check_fields(self, version: str) -> dict[bytes, bytes]:
        once: dict[bytes, bytes] = {}
        for name, value in self.headers:
            if name in _READ:
                if name in once and name in _ONCE:
                    self._stop(_MALFORMED, f"the header field {name.decode()} is there twice")
                once[name] = value
        if _HOST.fullmatch(once.get(b"host", b"")) is None:
            self._stop(_MALFORMED, "a request has one Host header field, a name or an address")
        coding = once.get(b"transfer-encoding")
        if coding is not None and (coding.lower() != b"chunked" or version == "1.0"):
            self._stop(_MALFORMED, "the only Transfer-Encoding is chunked, in HTTP/1.1")
        if int(once.get(b"content-length", b"0")) > MAX_BODY_SIZE:
            self._stop(_BODY_TOO_LARGE, f"a request body has at most {MAX_BODY_SIZE} bytes")
        return once

    def _check_size(self) -> None:
        """Check a head that came with more bytes than a small one has; they may be its body's."""
        if len(self.url) > MAX_LINE_SIZE:
            self._stop(_LINE_TOO_LONG, f"a request's target has at most {MAX_LINE_SIZE} bytes")
        sizes = [len(name) + len(value) for name, value in self.headers]
        if len(sizes) > MAX_HEADERS or max(sizes, default=0) > MAX_LINE_SIZE or sum(sizes) > MAX_HEAD_SIZE:
            self._stop(*_LARGE_HEAD)

    def _stop(self, kind: Kind, detail: str) -> NoReturn:
        self._refusal = kind, detail
        raise _RefusedError

    # --- Refusing and ending -------------------------------------------------------------------------------------

    def _refuse(self, kind: Kind, detail: str) -> None:
        """Answer in the application's stead, if the connection is not in the middle of another answer."""
        self._deaf = True
        if self._phase is _Phase.ANSWER:
            self.cycle.keep_alive = False  # the request before gets its answer; `on_response_complete` does the rest
            return
        if self._phase is _Phase.BODY:
            self.cycle.disconnected = True  # so the application drops what it has of the request
            self.cycle.waiting_for_100_continue = False
            self.cycle.message_event.set()
            if self.cycle.response_started:
                self.transport.abort()
                return
        headers = {"Retry-After": "1"} if kind.status == HTTPStatus.SERVICE_UNAVAILABLE else {}
        answer = problem(kind, detail, headers)
        self.transport.write(whole_answer(answer, self.server_state.default_headers, close=True))
        self._refused(kind.status)
        self._end()

    def _end(self) -> None:
        """Say that nothing more will come, and wait a little for the client to notice."""
        self._phase = _Phase.END
        self._deaf = True
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._allow(LINGER_SECONDS)

    # --- The timer -----------------------------------------------------------------------------------------------

    def _allow(self, seconds: float) -> None:
        """Let what is under way take so long from now on."""
        self._deadline = self.loop.time() + seconds
        if self._timer is None or self._timer.when() > self._deadline:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self.loop.call_later(seconds, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self.transport.is_closing() or self._deadline == float("inf"):
            return
        left = self._deadline - self.loop.time()
        if left > 0:
            self._timer = self.loop.call_later(left, self._on_timer)
        elif self._phase is _Phase.HEAD:
            if self._received:
                self._refuse(_TIMEOUT, f"a request's head has to arrive within {HEAD_SECONDS:.0f} seconds")
            else:
                self.transport.close()
        elif self._phase is _Phase.BODY:
            self._check_progress()
        elif self._phase is _Phase.END or self.flow.write_paused:
            self.transport.abort()

    def _check_progress(self) -> None:
        """Begin the next window of a body, unless its sender stalls; while we do not read, the sender is not to blame."""
        if self.flow.read_paused or self._received - self._window_began_at >= BODY_PROGRESS:
            self._window_began_at = self._received
            self._allow(BODY_SECONDS)
        else:
            self._refuse(
                _TIMEOUT, f"a request's body stalled: {BODY_PROGRESS} bytes in {BODY_SECONDS:.0f} seconds are the least"
            )
