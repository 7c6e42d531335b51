"""The quick way of an append with one event: past ASGI, from the protocol to the endpoint and back.

What is quick about it: no task, no application and no event for one request. All that arrived in one turn of the event loop is
appended together (`tlog.server.endpoints.single`), and an answer is one piece of bytes. Only a plain request goes this way, whole
in what the socket gave at once; everything else goes through uvicorn. A request can be handed over as long as it has no answer,
and then looks as if it had come that way.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, Protocol

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from tlog.core.event import MAX_EVENT_SIZE
from tlog.server.describe.problems import SECURITY_HEADERS
from tlog.server.guard.fields import JSON

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping, Sequence

    from starlette.responses import Response
    from uvicorn.server import ServerState

APPENDS: Final = "/v1/audit/events"
_TARGET: Final = APPENDS.encode()
_JSON: Final = JSON.encode()
# What would change how a body is read or which answer is wanted.
_TURNS: Final = frozenset((b"content-encoding", b"prefer", b"transfer-encoding"))
_SECURITY: Final = b"".join(b"%b: %b\r\n" % field for field in SECURITY_HEADERS)
_CLOSE: Final = b"connection: close\r\n"


def whole_answer(response: Response, defaults: Sequence[tuple[bytes, bytes]], *, close: bool) -> bytes:
    """Return an answer as one piece of bytes, for who sends it past uvicorn, which would send it so.

    Args:
        response: its status, header fields and body.
        defaults: fields that stand first in every answer.
        close: whether the answer ends its connection.

    """
    head = b"".join([b"%b: %b\r\n" % field for field in (*defaults, *response.raw_headers)])
    end = _CLOSE if close else b""
    return b"%b%b%b%b\r\n%b" % (STATUS_LINE[response.status_code], head, _SECURITY, end, bytes(response.body))


def is_plain(target: bytes, fields: Mapping[bytes, bytes]) -> bool:
    """Tell whether a POST in HTTP/1.1 to `target` may go the quick way, by its header fields as far as the guard reads them."""
    return (
        target == _TARGET
        and fields.get(b"content-type", _JSON) == _JSON
        and 0 < int(fields.get(b"content-length", b"0")) <= MAX_EVENT_SIZE
        and _TURNS.isdisjoint(fields)
    )


class Connection(Protocol):
    """What a request needs of its connection (`tlog.server.guard.protocol`)."""

    transport: asyncio.Transport
    server_state: ServerState

    def hand_over(self, held: Held) -> None:
        """Let the application answer it."""

    def on_response_complete(self) -> None:
        """Go on to the next request, or end."""


class _Unheard:
    """Stands in for the event that nobody waits for."""

    def set(self) -> None:
        """Wake nobody."""


class Held:
    """A request on the quick way. The protocol keeps it where it has uvicorn's cycle of any other one, and treats it as one.

    Attributes:
        authorization: what the field of this name says, None if there is none.
        length: bytes of the body, as its head says.
        body: what has arrived of it.
        began: when the head was complete, by `time.perf_counter`.
        keep_alive: whether the connection stays open after the answer.
        disconnected: whether nobody is left to answer.

    """

    __slots__ = (
        "_connection", "authorization", "began", "body", "disconnected", "keep_alive", "length", "more_body",
        "response_complete", "response_started", "waiting_for_100_continue",
    )  # fmt: skip
    message_event: Final = _Unheard()

    def __init__(self, connection: Connection, fields: Mapping[bytes, bytes], *, keep_alive: bool) -> None:
        self._connection = connection
        authorization = fields.get(b"authorization")
        self.authorization = None if authorization is None else authorization.decode("latin-1")
        self.length = int(fields[b"content-length"])
        self.body = bytearray()
        self.began = time.perf_counter()
        self.keep_alive = keep_alive
        self.disconnected = self.response_started = self.response_complete = self.waiting_for_100_continue = False
        self.more_body = True

    def hand_over(self) -> None:
        """Let the application answer."""
        self._connection.hand_over(self)

    def answer(self, response: Response) -> None:
        """Send a whole answer, unless nobody is left to read it."""
        self.response_started = self.response_complete = True
        if self.disconnected:
            return
        defaults = self._connection.server_state.default_headers
        self._connection.transport.write(whole_answer(response, defaults, close=not self.keep_alive))
        if not self.keep_alive:
            self._connection.transport.close()
        self._connection.on_response_complete()
