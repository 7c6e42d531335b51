"""Sending what is large: bulk answers as they are made, and large pages, each in pieces that wait for whoever reads them."""

from __future__ import annotations

import asyncio
import tarfile
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from starlette.requests import ClientDisconnect
from starlette.responses import StreamingResponse

from tlog.answering.bulk import Head
from tlog.answering.manifest import MANIFEST, Manifest, read_bundle
from tlog.errors import OverloadedError
from tlog.server.guard.fields import NDJSON

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Mapping
    from contextlib import AsyncExitStack, ExitStack

    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

    from tlog.answering.bulk import Task

Result = TypeVar("Result")
PRIVATE: Final = {"Cache-Control": "no-store"}
LARGE: Final = 256 << 10  # bytes of a page from which on it counts until it is sent
_PIECE: Final = 64 << 10
_SETS_AGAIN: Final = 10
JSON: Final = "application/json"
# Name and media type of what is exported. Formulas are neutralised in CSV, so it is not even what was sent: the name says so.
_FILES: Final = {
    "ndjson": ("events.ndjson", NDJSON),
    "csv": ("events.not-evidence.csv", "text/csv; charset=utf-8"),
    "evidence": ("evidence.json", JSON),
    "parts": ("evidence.ndjson", NDJSON),
    "archive": ("evidence.tar", "application/x-tar"),
}


class Ordered(NamedTuple):
    """A task for whoever makes bulk answers, and what stands in the response before and after its answer."""

    task: Task
    before: bytes = b""
    after: bytes = b""


class Begun(NamedTuple):
    """A bulk answer under way: its head, its first piece unless it is a set, and the pieces that are still to come."""

    ordered: Ordered
    head: Head
    first: bytes
    pieces: AsyncGenerator[Head | bytes]


async def begin_answer(ordered: Ordered, pieces: AsyncGenerator[Head | bytes]) -> Begun:
    """Return an answer once it has begun to come, so that an error before that is an answer of its own."""
    head = await anext(pieces)
    assert isinstance(head, Head)  # noqa: S101 - it comes first; for the type checker
    return Begun(ordered, head, b"" if head.parts else _bytes(await anext(pieces, b"")), pieces)


async def unless_gone(request: Request, answering: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
    """Return what is answered, unless the client goes before.

    Raises:
        ClientDisconnect: it went, and what was under way was given up.

    """

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    answer, leaving = asyncio.create_task(answering()), asyncio.create_task(gone())
    try:
        await asyncio.wait([answer, leaving], return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise ClientDisconnect
        return answer.result()
    finally:
        answer.cancel()
        leaving.cancel()
        await asyncio.wait([answer, leaving])


def headers_of(begun: Begun, form: str, parts: str = "parts") -> dict[str, str]:
    """Return the header fields of an answer: of a file in one of the forms of exports, `parts` of a set, or of JSON."""
    name, media_type = _FILES[parts if begun.head.parts else form] if form else ("", JSON)
    headers = {**PRIVATE, "Content-Type": media_type}
    if name:
        headers["Content-Disposition"] = f'attachment; filename="{name}"'
    if begun.head.length is not None:
        length = len(begun.ordered.before) + begun.head.length + len(begun.ordered.after)
        headers["Content-Length"] = str(length)
    return headers


async def archived(pieces: AsyncGenerator[Head | bytes]) -> AsyncGenerator[Head | bytes]:
    """Yield the parts of a set as a tar archive: each in its file, then the manifest. One that is not complete has no end.

    A part is a line, and comes in as many pieces as whoever makes it sends.
    """
    manifest, line = Manifest(), bytearray()
    async for piece in pieces:
        line += _bytes(piece)
        if line.endswith(b"\n"):
            text = bytes(line)
            yield _member(manifest.add(read_bundle(text), text), text)
            line.clear()
    if manifest.is_complete():
        yield _member(MANIFEST, manifest.text()) + bytes(2 * tarfile.BLOCKSIZE)


def _member(name: str, content: bytes) -> bytes:
    """Return a file of a tar archive."""
    head = tarfile.TarInfo(name)
    head.size = len(content)
    return head.tobuf(tarfile.USTAR_FORMAT) + content + bytes(-len(content) % tarfile.BLOCKSIZE)


class _Pieces(StreamingResponse):
    """Sends an answer in pieces, of which each waits until the one before is taken.

    Where the length is known, the last piece ends the answer: an end that came after it would come too late for a client that has
    counted, and asks its next question at once.
    """

    async def stream_response(self, send: Send) -> None:
        """Send head and pieces."""
        if "content-length" not in self.headers:
            await super().stream_response(send)
            return
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        last = b""
        async for piece in self.body_iterator:
            assert isinstance(piece, bytes)  # noqa: S101 - all are; for the type checker
            if piece and last:
                await send({"type": "http.response.body", "body": last, "more_body": True})
            last = piece or last
        await send({"type": "http.response.body", "body": last, "more_body": False})


class BulkResponse(_Pieces):
    """Sends a bulk answer as it is made; until it is sent it is under way, and holds what it holds."""

    def __init__(self, begun: Begun, held: AsyncExitStack, sets: asyncio.Semaphore, headers: Mapping[str, str]) -> None:
        self._begun = begun
        self._held = held
        self._sets = sets
        super().__init__(self._body(begun.first), headers=headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        async with self._held:
            if not self._begun.head.parts:
                await super().__call__(scope, receive, send)
                return
            if self._sets.locked():
                message = "as many sets of evidence as can be are being sent already; ask again later"
                raise OverloadedError(message, _SETS_AGAIN)
            async with self._sets:
                # Whatever is wrong is said by an answer of its own: none has begun before the first part is there.
                self.body_iterator = self._body(_bytes(await anext(self._begun.pieces)))
                await super().__call__(scope, receive, send)

    async def _body(self, first: bytes) -> AsyncIterator[bytes]:
        yield self._begun.ordered.before + first
        async for piece in self._begun.pieces:
            yield _bytes(piece)
        yield self._begun.ordered.after


class LargeResponse(_Pieces):
    """Sends a page."""

    def __init__(self, document: bytes, held: ExitStack, headers: Mapping[str, str], media_type: str) -> None:
        self._held = held
        length = {"Content-Length": str(len(document))}
        super().__init__(self._pieces(document), headers={**headers, **length}, media_type=media_type)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        with self._held:
            await super().__call__(scope, receive, send)

    async def _pieces(self, document: bytes) -> AsyncIterator[bytes]:
        for at in range(0, len(document), _PIECE):
            yield document[at : at + _PIECE]


def _bytes(piece: Head | bytes) -> bytes:
    assert isinstance(piece, bytes)  # noqa: S101 - only the first one is a head; for the type checker
    return piece
