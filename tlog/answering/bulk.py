"""Bulk answers as tasks: evidence, exports, large pages, and searches without an index key, each answered in pieces.

A task has all that its answer needs of the log's keys, which is what the asker gets anyway or could compute from it. So
whoever carries the task out, be it another process (`tlog.answering.worker`), has no other key material.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Protocol

import msgspec

from tlog.answering.evidence import Asked, make_bundle
from tlog.answering.export import export_events
from tlog.answering.query import Cursor, answer_document
from tlog.answering.sets import make_parts
from tlog.answering.withholding import Own  # noqa: TC001 - msgspec reads the annotation
from tlog.core.evidence import format_evidence
from tlog.core.question import Question  # noqa: TC001 - msgspec reads the annotation
from tlog.errors import TooLargeError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from tlog.answering.query import Searcher
    from tlog.core.evidence import Evidence
    from tlog.core.note import Verifier
    from tlog.storage.reading import ReadStore


class EvidenceTask(msgspec.Struct, tag=True, frozen=True):
    """Evidence is asked for: one bundle, or, where that is too small, the parts of a set, if those are accepted."""

    asked: Asked
    accepts_parts: bool = False
    in_json: bool = False  # as a string in JSON, and not as the file


class ExportTask(msgspec.Struct, tag=True, frozen=True):
    """All events that answer are asked for, as `tlog.answering.export.export_events` writes them."""

    question: Question
    keys: dict[str, bytes]
    form: str


class PageTask(msgspec.Struct, tag=True, frozen=True):
    """A page of an answer is asked for, as `answer_document` makes it: of a resource's access log, if there is one."""

    question: Question
    keys: dict[str, bytes]
    limit: int
    cursor: Cursor | None
    resource: dict[str, str] | None = None
    own: Own | None = None
    journal: bool = True


Task = EvidenceTask | ExportTask | PageTask


class Head(msgspec.Struct, frozen=True):
    """What comes before the pieces of an answer: how many bytes they have together, if that is known; whether it is a set."""

    length: int | None = None
    parts: bool = False


class MakesBulk(Protocol):
    """What carries tasks out."""

    def answer(self, task: Task, looked: Callable[[int], Awaitable[None]]) -> AsyncGenerator[Head | bytes]:
        """Return the head of an answer, to be followed by its pieces; whoever takes no more closes the generator.

        Args:
            task: what is asked for.
            looked: is told at how many more entries was looked, and may take its time.

        Raises:
            TlogError: as `make_bundle`, `make_parts`, `export_events` and `Searcher.ask` do.

        """


class BulkMaker:
    """Carries tasks out in this process; one bundle is made at a time, because that takes memory many times its size."""

    def __init__(self, reader: ReadStore, verifier: Verifier, searcher: Searcher) -> None:
        self._reader = reader
        self._verifier = verifier
        self._searcher = searcher
        self._making = asyncio.Lock()

    async def answer(self, task: Task, looked: Callable[[int], Awaitable[None]]) -> AsyncGenerator[Head | bytes]:
        """Yield the head of an answer, and then its pieces (`MakesBulk.answer`)."""
        match task:
            case PageTask():
                found = await self._searcher.ask(
                    task.question,
                    keys=task.keys,
                    limit=task.limit,
                    cursor=task.cursor,
                    looked=looked,
                    journal=task.journal,
                )
                page = msgspec.json.encode(answer_document(found, task.question, task.resource, task.own))
                yield Head(len(page))
                yield page
            case ExportTask():
                pages = export_events(self._searcher, task.question, task.form, keys=task.keys, looked=looked)
                yield Head()
                async with aclosing(pages):
                    async for page in pages:
                        yield page
            case EvidenceTask():
                bundle = await self._bundle(task, looked)
                yield Head(parts=True) if bundle is None else Head(len(bundle))
                if bundle is not None:
                    yield bundle
                    return
                async with aclosing(make_parts(self._reader, self._verifier, task.asked)) as parts:
                    while part := await self._part(parts, looked):
                        yield part

    async def _bundle(self, task: EvidenceTask, looked: Callable[[int], Awaitable[None]]) -> bytes | None:
        """Return a bundle, None if it takes a set, and that is accepted."""
        try:
            async with self._making:
                bundle = await make_bundle(self._reader, self._verifier, task.asked)
                count, data = len(bundle.entries), format_evidence(bundle)
        except TooLargeError:
            if task.accepts_parts:
                return None
            raise
        del bundle
        await looked(count)
        return msgspec.json.encode(data.decode()) if task.in_json else data

    async def _part(self, parts: AsyncGenerator[Evidence], looked: Callable[[int], Awaitable[None]]) -> bytes | None:
        """Return the next part of a set, None after the last one."""
        async with self._making:
            part = await anext(parts, None)
            if part is None:
                return None
            count, data = len(part.entries), format_evidence(part)
        del part
        await looked(count)
        return data
