"""The process that makes bulk answers: it answers as this one would, and neither an answer nor the process outlives who asked."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
from contextlib import aclosing, asynccontextmanager, suppress

import pytest
from questions import varied_events
from support import append

from tlog.answering import worker
from tlog.answering.bulk import BulkMaker, EvidenceTask, ExportTask, Head, PageTask
from tlog.answering.evidence import asked
from tlog.answering.worker import Worker
from tlog.core.question import parse_question
from tlog.errors import (
    DamagedLogError,
    MalformedInputError,
    NotFoundError,
    OverloadedError,
    RateLimitedError,
    UnreachableError,
)

pytestmark = pytest.mark.anyio

READ = parse_question({"action": "read"})
SEARCH = parse_question({"outcome": "success"})
CONTROL = parse_question({"control": "intake"})
SECONDS = 30


async def ignore(_):
    """Be told and do nothing."""


async def answered(maker, task, looked=ignore):
    """The head of an answer and its bytes."""
    async with aclosing(maker.answer(task, looked)) as pieces:
        head = await anext(pieces)
        return head, b"".join([piece async for piece in pieces])


@asynccontextmanager
async def beside(log):
    made = Worker(log.database, log.verifier)
    try:
        yield made
    finally:
        await made.close()


async def of_readers(log):
    """How much the server's processes for readers give way."""
    async with await log.database.connect("tlog_reader") as connection:
        found = await connection.execute(
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'tlog_reader' AND datname = current_database()"
        )
        for (process,) in await found.fetchall():
            with suppress(ProcessLookupError):  # who reads once does not keep the connection
                yield os.getpriority(os.PRIO_PROCESS, process)


async def filled(log, count=300):
    raws = varied_events(random.Random(9), count)
    await log.wait_indexed((await append(log, raws))[-1].index + 1, SECONDS)


def tasks_of(log):
    keys = {question: question.keys(log.bucket_keys.key) for question in (READ, SEARCH)}
    return (
        PageTask(SEARCH, keys[SEARCH], 20, None),
        ExportTask(READ, keys[READ], "ndjson"),
        ExportTask(SEARCH, keys[SEARCH], "csv"),
        EvidenceTask(asked(log.bucket_keys, READ, disclose=True)),
        EvidenceTask(asked(log.bucket_keys, READ), in_json=True),
    )


async def test_a_process_beside_answers_as_this_one_does(opened):
    async with opened(index=True) as log:
        await filled(log)
        here = BulkMaker(log.reader, log.verifier, log.searcher)
        async with beside(log) as there:
            for task in tasks_of(log):
                looked = []

                async def look(entries, looked=looked):
                    looked.append(entries)

                expected = await answered(here, task, look)
                assert await answered(there, task, look) == expected
                half = len(looked) // 2
                assert looked[:half] == looked[half:] != []
            process = there._process
            own = os.getpriority(os.PRIO_PROCESS, 0)
            less = min(own + 10, 19)
            assert os.getpriority(os.PRIO_PROCESS, process.pid) == less
            assert sorted({niceness async for niceness in of_readers(log)}) == [own, less]
        assert process.returncode == 0, "it ends when nobody needs it any more"


async def test_errors_are_those_of_this_process(opened):
    async with opened(index=True) as log, beside(log) as there:
        with pytest.raises(MalformedInputError, match="columns of events") as caught:
            await answered(there, ExportTask(CONTROL, CONTROL.keys(log.bucket_keys.key), "csv"))
        assert caught.value.pointer == "/format"
        with pytest.raises(NotFoundError, match="nothing is indexed"):
            await answered(there, EvidenceTask(asked(log.bucket_keys, READ)))
        assert (await answered(there, ExportTask(CONTROL, CONTROL.keys(log.bucket_keys.key), "ndjson"))) == (
            Head(),
            b"",
        )


async def test_a_process_that_was_killed_is_started_again(opened):
    async with opened() as log:
        task = PageTask(SEARCH, {}, 20, None)
        async with beside(log) as there:
            await answered(there, task)
            first = there._process
            async with aclosing(there.answer(task, ignore)) as pieces:
                await anext(pieces)
                first.kill()
                with pytest.raises(OverloadedError, match="ask again"):
                    [piece async for piece in pieces]
            await first.wait()
            await answered(there, task)
            assert there._process.pid != first.pid


async def test_a_process_whose_parent_is_gone_ends(opened):
    async with opened() as log:
        there = Worker(log.database, log.verifier)
        await answered(there, PageTask(SEARCH, {}, 20, None))
        there._process.send_signal(
            signal.SIGTERM
        )  # as the end of a service's group does, while the parent still answers
        await answered(there, PageTask(SEARCH, {}, 20, None))
        there._control.close()  # as its end does
        async with asyncio.timeout(SECONDS):
            assert await there._process.wait() == 0
        await there.close()


async def test_a_process_that_does_not_end_is_killed(opened, monkeypatch):
    async with opened() as log:
        there = Worker(log.database, log.verifier)
        await there.close()  # which never began
        await answered(there, PageTask(SEARCH, {}, 20, None))
        there._process.send_signal(signal.SIGSTOP)
        monkeypatch.setattr(worker, "_END_SECONDS", 0.01)
        await there.close()
        assert there._process.returncode == -signal.SIGKILL


async def test_a_process_without_its_database_says_so(opened, capfd):
    async with opened() as log:
        there = Worker(log.database, log.verifier)
        there._settings.database = "host=/nowhere dbname=tlog connect_timeout=1"
        with pytest.raises(OverloadedError, match="database"):
            await answered(there, PageTask(SEARCH, {}, 20, None))
        await there.close()
    assert capfd.readouterr().err == "", "libraries say nothing in a form of their own"


# --- The child's half in this process -----------------------------------------------------------------------------------


class Toy:
    """Makes what it was told to, slowly or with errors."""

    def __init__(self, *pieces):
        self.pieces = pieces
        self.ended = asyncio.Event()
        self.begun = asyncio.Event()

    async def answer(self, _task, looked):
        self.begun.set()
        try:
            for piece in self.pieces:
                if isinstance(piece, Exception):
                    raise piece
                if isinstance(piece, int):
                    await looked(piece)
                else:
                    yield piece
        finally:
            self.ended.set()


@asynccontextmanager
async def served(log, maker):
    """A worker whose child is a task of this process."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        serving = asyncio.create_task(worker._Answers(maker).serve(theirs))
        made = Worker(log.database, log.verifier)

        class Running:
            returncode = None

        made._process, made._control = Running(), ours
        try:
            yield made
        finally:
            ours.close()
            await serving


TASK = PageTask(SEARCH, {}, 20, None)


@pytest.mark.parametrize(
    "raised, expected, said",
    [
        (MalformedInputError("wrong", "/limit"), MalformedInputError, "wrong"),
        (OverloadedError("later", 7), OverloadedError, "later"),
        (UnreachableError("away"), UnreachableError, "away"),
        (DamagedLogError("damaged"), DamagedLogError, "damaged"),
        (ZeroDivisionError("secret"), RuntimeError, "failed"),
        (RateLimitedError("slower"), OverloadedError, "slower"),
    ],
    ids=repr,
)
async def test_an_error_comes_in_place_of_what_is_missing(opened, raised, expected, said, capsys):
    async with opened() as log, served(log, Toy(Head(), b"begun", raised)) as there:
        pieces = there.answer(TASK, ignore)
        assert [await anext(pieces), await anext(pieces)] == [Head(), b"begun"]
        with pytest.raises(expected, match=said) as caught:
            await anext(pieces)
        assert getattr(caught.value, "pointer", "") == getattr(raised, "pointer", "")
        assert getattr(caught.value, "retry_after", 0) == getattr(raised, "retry_after", 0)
    printed = capsys.readouterr()
    assert "secret" not in printed.out + printed.err
    unexpected = isinstance(raised, ZeroDivisionError)
    assert ("bulk_answer_failed" in printed.out + printed.err) == unexpected


async def test_nothing_is_made_before_it_is_asked_for(opened):
    """The head waits: of a set, the parts are made when there is room for one."""
    toy = Toy(Head(parts=True), 5, b"part")
    told = []

    async def looked(entries):
        told.append(entries)

    async with opened() as log, served(log, toy) as there, aclosing(there.answer(TASK, looked)) as pieces:
        assert await anext(pieces) == Head(parts=True)
        assert told == []
        assert await anext(pieces) == b"part"
        assert told == [5]


@pytest.mark.parametrize("pieces", [(Head(), *[b"x" * 1_000_000] * 50), (Head(parts=True), b"x"), (3,)], ids=len)
async def test_an_answer_that_nobody_takes_is_given_up(opened, pieces):
    toy = Toy(*pieces)
    async with opened() as log, served(log, toy) as there:

        async def never(_):
            await asyncio.Event().wait()

        asking = asyncio.create_task(take_two(there, never))
        await toy.begun.wait()
        assert not toy.ended.is_set()
        asking.cancel()
        async with asyncio.timeout(SECONDS):
            await toy.ended.wait()
        await asyncio.wait([asking])


async def take_two(there, looked):
    async with aclosing(there.answer(TASK, looked)) as pieces:
        await anext(pieces)
        await asyncio.Event().wait()


async def test_whoever_does_not_take_a_part_in_time_gets_no_more(opened, monkeypatch):
    monkeypatch.setattr(worker, "_PART_SECONDS", 0.05)
    toy = Toy(Head(parts=True), b"x" * 50_000_000)
    async with opened() as log, served(log, toy) as there, aclosing(there.answer(TASK, ignore)) as pieces:
        assert await anext(pieces) == Head(parts=True)
        assert len(await anext(pieces)) > 0
        async with asyncio.timeout(SECONDS):
            await toy.ended.wait()
        with pytest.raises(OverloadedError, match="ended"):
            [piece async for piece in pieces]


async def test_whoever_goes_before_asking_is_forgotten(opened):
    toy = Toy(Head())
    async with opened() as log, served(log, toy) as there:
        _, writer = await there._connect()
        writer.close()
        await answered(there, TASK)
        _, writer = await there._connect()  # and at the end one is still there
    writer.close()
