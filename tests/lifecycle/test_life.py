"""What a log says of its own life: each kind is made to happen, is one entry, and all of them are proved by one bundle."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import signal
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from stored import erase
from support import ORIGIN, append, fill, sample_events, start_server, tlog, verify_offline

from tlog.checking.fsck import fsck
from tlog.core.entry import OutcomeEntry, parse_entry
from tlog.core.outcome import Checked, Restored, Stalled, Started, Stopped
from tlog.core.question import parse_question
from tlog.errors import (
    AnchorMissingError,
    NoSpaceError,
    OperatorError,
    OverloadedError,
    RollbackError,
    SignerAwayError,
    TlogError,
    UnsafeDatabaseError,
    UntrueClockError,
)
from tlog.keeping.backup import Mark, back_up, read_mark, restore, write_mark
from tlog.lifecycle import life
from tlog.lifecycle.life import Life, Standstills, forget_mark, living, say, say_checked, watching
from tlog.lifecycle.making import create_log
from tlog.lifecycle.opening import open_log
from tlog.lifecycle.running import running
from tlog.location import DataDirectory, Location, utc_now
from tlog.signing.anchor import Anchor
from tlog.storage.appending import AppendStore
from tlog.writing.background import Status
from tlog.writing.sealer import Sealer

pytestmark = pytest.mark.anyio
SAID = re.compile(r"entry +([0-9]+).*control entry of the type outcome, ([a-z]+): (\{.*\})")
NOW = datetime(2026, 11, 27, 10, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def no_hurry(monkeypatch):
    """What is said at the end of these processes is waited for, however busy the machine is."""
    monkeypatch.setattr(life, "_END_SECONDS", 60.0)


async def outcomes(log):
    """Return index and report of each outcome of a log, the oldest first."""
    answer = await log.searcher.ask(parse_question({"control": "outcome"}), limit=1_000)
    entries = [(event.leaf.index, parse_entry(event.entry)) for event in reversed(answer.events)]
    assert all(isinstance(entry, OutcomeEntry) for _, entry in entries)
    return [(index, entry.report) for index, entry in entries]


async def kinds(log):
    return [type(report) for _, report in await outcomes(log)]


@asynccontextmanager
async def lived(opened, **options):
    async with opened(**options) as log:
        never = asyncio.create_task(asyncio.Event().wait())
        try:
            async with living(log, never):
                yield log
        finally:
            never.cancel()


class Elapsed:
    """Seconds that pass when the test says so."""

    def __init__(self):
        self.seconds = 0.0

    def __call__(self):
        return self.seconds


def watched(log):
    """Return a life that is looked at by hand, and the seconds of its standstills."""
    elapsed = Elapsed()
    return Life(log, Standstills(log.clock, elapsed)), elapsed


async def until(condition, what="it"):
    for _ in range(600):
        if await condition():
            return
        await asyncio.sleep(0.05)
    raise AssertionError(what)


# --- All of it, for real ----------------------------------------------------------------------------------------------


async def stand_still(data):
    """Hold the lock that orders the log, as a stuck transaction of an administrator does, for what the test calls 30 s."""
    async with open_log(Location(data), interval=60) as log, running(log):
        looking, elapsed = watched(log)
        (superuser,) = [log.database._admin]
        with psycopg.connect(superuser) as connection:
            connection.execute("SELECT FROM tlog.log_state FOR UPDATE")
            waiting = asyncio.create_task(append(log, sample_events(1, seed=9)))

            async def noticed():
                await looking.look()
                return bool(looking._standstills._since)

            await until(noticed)
            elapsed.seconds = 30.0
            assert not waiting.done()
        await waiting
        await looking.look()
        await looking.close()
        (stalled,) = [report for _, report in await outcomes(log) if isinstance(report, Stalled)]
        await log.wait_indexed((await log.reader.state()).size, 30)
    return stalled


def prove(data, vkey, directory):
    """Return what one evidence bundle proves of the outcomes of a log, the oldest first, and the bundle."""
    bundle = directory / "life.json"
    bundle.unlink(missing_ok=True)
    tlog("export", "--control", "outcome", "--evidence", bundle, "--data", data)
    done = verify_offline("evidence", "--vkey", vkey, "--ask", "control=outcome", "--json", bundle)
    assert done.returncode == 0, done.stdout
    answers = json.loads(done.stdout)["answers"]
    said = sorted((answer["index"], answer["kind"], answer["report"]) for answer in answers)
    return said, bundle


def test_start_stop_kill_standstill_check_and_restore_are_proved_by_one_bundle(directory):
    data, backup = directory / "data", directory / "backup"
    server = start_server(data)
    server.append([json.loads(raw) for raw in sample_events(5, seed=1)])
    server.process.send_signal(signal.SIGKILL)
    server.process.wait(30)
    server = start_server(data, token=server.token)
    server.append([json.loads(raw) for raw in sample_events(5, seed=2)])
    assert server.stop() == 0
    asyncio.run(stand_still(DataDirectory(data)))
    checked = json.loads(tlog("fsck", "--data", data, "--json").stdout)
    assert checked["exitCode"] == 0
    # What follows is sealed before the backup, so that the restored copy does not lag the anchor.
    server = start_server(data, token=server.token)
    server.seal()
    assert server.stop() == 0
    tlog("backup", backup, "--data", data)
    (data / "postgres").rename(directory / "lost")
    tlog("restore", backup, "--data", data)
    assert (data / "postgres" / "restored.json").exists()
    server = start_server(data, token=server.token)
    server.append([json.loads(raw) for raw in sample_events(5, seed=3)])
    server.seal()
    assert server.stop() == 0
    assert not (data / "postgres" / "restored.json").exists(), "what is sealed need not be said again"

    said, bundle = prove(data, server.vkey, directory)
    assert [kind for _, kind, _ in said] == [
        "started", "started", "stopped", "stalled", "checked", "restored", "started", "stopped",
    ]  # fmt: skip
    killed, second, stopped, stalled, check, restored, last, end = [report for *_, report in said]
    assert killed["instance"] not in {second["instance"], stopped["instance"], last["instance"], end["instance"]}
    assert (second["instance"], last["instance"]) == (stopped["instance"], end["instance"])
    assert (stalled["what"], stalled["why"]) == ("appending", "database")
    assert datetime.fromisoformat(stalled["to"]) - datetime.fromisoformat(stalled["from"]) == timedelta(seconds=30)
    assert check == {"since": 0, "size": checked["size"], "unexplained": 0, "verdict": "verified"}
    assert restored["takenAt"].startswith(json.loads((backup / "tlog-backup.json").read_text())["takenAt"][:19])
    assert restored["size"] == json.loads((backup / "tlog-backup.json").read_text())["size"]

    again = tlog("verify", "evidence", "--ask", "control=outcome", "--vkey", server.vkey, bundle).stdout
    assert sorted((int(match[1]), match[2], json.loads(match[3])) for match in SAID.finditer(again)) == said

    # The controls: a bundle without the kill's start, and one of another history, prove nothing.
    document = json.loads(bundle.read_text())
    first = min(index for index, *_ in document["entries"] if index)
    document["entries"] = [entry for entry in document["entries"] if entry[0] != first]
    bundle.write_text(json.dumps(document, separators=(",", ":"), sort_keys=True) + "\n")
    done = verify_offline("evidence", "--vkey", server.vkey, "--ask", "control=outcome", bundle)
    assert done.returncode in {1, 2}, done.stdout


# --- Before the first event -------------------------------------------------------------------------------------------


async def test_nothing_is_said_of_a_log_that_nobody_serves(opened):
    async with opened() as log:
        await fill(log, 3)
        assert await outcomes(log) == []
        assert log.appender.gate is None


async def test_started_comes_before_the_first_event_and_stopped_after_the_last(opened):
    async with lived(opened) as log:
        assert await outcomes(log) == [], "who acknowledges nothing says nothing"
        receipts = await asyncio.gather(*(append(log, [raw]) for raw in sample_events(50)))
        assert log.appender.gate is None
        ((index, started),) = await outcomes(log)
        assert (index, type(started)) == (1, Started)
        assert min(each[0].index for each in receipts) == 2
    async with opened() as log:
        said = await outcomes(log)
    assert [index for index, _ in said] == [1, 52]
    assert said[1][1] == Stopped(instance=started.instance)


async def test_who_says_nothing_does_not_say_that_it_stopped(opened):
    async with lived(opened):
        pass
    async with opened() as log:
        assert await outcomes(log) == []


@pytest.mark.parametrize("end", ["in order", "an error of the body", "an error of the background"])
async def test_only_an_orderly_end_says_that_it_stopped(opened, end):
    async with opened() as log:
        background = asyncio.create_task(asyncio.Event().wait())
        with suppress(ZeroDivisionError):
            async with living(log, background):
                await append(log, sample_events(1))
                if end == "an error of the body":
                    raise ZeroDivisionError
                if end == "an error of the background":
                    background.cancel()
                    await asyncio.wait([background])
        background.cancel()
        assert await kinds(log) == ([Started, Stopped] if end == "in order" else [Started])


async def test_an_event_waits_until_it_is_said_and_is_refused_if_it_cannot_be(opened, monkeypatch):
    async with lived(opened) as log:
        attempts, go_on = [], asyncio.Event()

        async def fail(*_):
            attempts.append(log.appender.waiting_events)
            await go_on.wait()
            message = "the database is away"
            raise OverloadedError(message)

        monkeypatch.setattr(life, "say", fail)
        tried = [asyncio.create_task(append(log, [raw])) for raw in sample_events(20)]

        async def waits():
            return log.appender.waiting_events == 20

        await until(waits, "events that wait at the gate count as those that wait for their group")
        tried[0].cancel()
        go_on.set()
        ends = await asyncio.gather(*tried, return_exceptions=True)
        assert {type(each) for each in ends} == {asyncio.CancelledError, OverloadedError}
        assert (len(attempts), log.appender.waiting_events) == (1, 0)
        assert (await log.reader.state()).size == 1
        monkeypatch.undo()
        await append(log, sample_events(1))
        assert await kinds(log) == [Started]


async def test_an_attempt_that_everybody_left_is_waited_for(opened, monkeypatch):
    """Else a process would have said that it started, and not that it stopped."""
    held, go_on = asyncio.Event(), asyncio.Event()

    async def hold(appender, *reports):
        held.set()
        await go_on.wait()
        return await say(appender, *reports)

    async with lived(opened) as log:
        monkeypatch.setattr(life, "say", hold)
        leaving = asyncio.create_task(append(log, sample_events(1)))
        await held.wait()
        leaving.cancel()
        asyncio.get_running_loop().call_later(0.1, go_on.set)
    async with opened() as log:
        assert await kinds(log) == [Started, Stopped]


async def test_who_cannot_say_that_it_stopped_stops_all_the_same(opened, monkeypatch, capsys):
    async with lived(opened) as log:
        await append(log, sample_events(1))

        async def fail(*_):
            message = "the database is away"
            raise OverloadedError(message)

        monkeypatch.setattr(life, "say", fail)
    assert "stop_not_said" in "".join(capsys.readouterr())
    async with opened() as log:
        assert await kinds(log) == [Started]


# --- Restored ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(module_directory):
    """A log of an embedded database that was restored, and has not said so yet."""
    data, backup = DataDirectory(module_directory / "data"), module_directory / "backup"
    asyncio.run(create_log(Location(data), ORIGIN))
    asyncio.run(back_up(data, backup, utc_now()))
    data.postgres.rename(module_directory / "lost")
    asyncio.run(restore(data, backup))
    return data


async def test_whoever_appends_first_says_that_the_log_was_restored(made):
    mark = read_mark(made)
    assert (mark.size, mark.saidBy) == (1, None)
    async with open_log(Location(made), interval=60, index=False) as log, running(log):
        pass
    assert read_mark(made) == mark, "nothing was appended yet"
    async with open_log(Location(made), sealing="elsewhere") as log, running(log):  # and nobody seals
        gate = log.appender.gate
        receipts = await append(log, sample_events(2))
        assert receipts[0].index == 2
        assert await outcomes(log) == [(1, Restored(backup=mark.backup, size=1, takenAt=mark.takenAt))]
        assert read_mark(made).saidBy == 1, "until it is sealed it may be lost once more"
        await forget_mark(log)
        assert read_mark(made).saidBy == 1
        await gate()  # another process that opened at the same time finds that it is said
        async with open_log(Location(made), interval=60, index=False) as other:
            assert await life.gate_of(other) is None
    assert read_mark(made).saidBy == 1
    async with open_log(Location(made), interval=60, index=False) as log, running(log):
        await log.wait_sealed(2, 30)
    assert read_mark(made) is None
    async with open_log(Location(made), interval=60, index=False) as log, running(log):
        await append(log, sample_events(1, seed=2))
        assert await kinds(log) == [Restored]


async def test_a_note_that_cannot_be_written_holds_up_no_event(made, monkeypatch, capsys):
    write_mark(made, Mark(backup="A" * 43, size=1, takenAt="2026-11-27T10:00:00.000000Z"))

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(life, "write_mark", fail)
    async with open_log(Location(made), interval=60, index=False) as log, running(log):
        before = await kinds(log)
        await append(log, sample_events(1, seed=5))
        await append(log, sample_events(1, seed=6))
        assert await kinds(log) == [*before, Restored]
    assert "restored_not_noted" in "".join(capsys.readouterr())
    made.restored.unlink()


@pytest.mark.parametrize("content", [b"", b"{}", b'{"backup":"x","size":1,"takenAt":"2026-11-27T10:00:00.000000Z"}'])
async def test_a_mark_that_is_none_is_refused(made, content):
    made.restored.write_bytes(content)
    try:
        async with open_log(Location(made)) as log:
            with pytest.raises(OperatorError, match="restore the backup again"):
                async with running(log):
                    pass
    finally:
        made.restored.unlink()


async def test_a_database_of_ones_own_was_restored_by_others(opened, location):
    async with opened():
        pass
    location.directory.postgres.mkdir()
    write_mark(location.directory, Mark(backup="A" * 43, size=1, takenAt="2026-11-27T10:00:00.000000Z"))
    async with opened() as log:
        await append(log, sample_events(1))
        assert await outcomes(log) == []


# --- Stood still ------------------------------------------------------------------------------------------------------


def test_a_standstill_is_told_once_work_goes_on_and_if_it_was_long():
    elapsed = Elapsed()
    standstills = Standstills(lambda: NOW, elapsed)
    assert standstills.look("appending", None) is None
    for seconds in (8.0, 10.0):
        assert standstills.look("appending", "database") is None
        elapsed.seconds += seconds / 2
        assert standstills.look("appending", "disk") is None
        assert standstills.look("sealing", None) is None
        elapsed.seconds += seconds / 2
        told = standstills.look("appending", None)
        assert (told is None) == (seconds < 10)
    # The last cause counts, and the time is that of the clock when work goes on: before, it may have been wrong.
    start, end = "2026-11-27T09:59:50.000000Z", "2026-11-27T10:00:00.000000Z"
    assert told == Stalled(start=start, end=end, what="appending", why="disk")
    assert standstills.look("appending", None) is None


class Disk:
    """A watch over a disk that is full, or not."""

    def __init__(self, full):
        self.full = full

    def check(self):
        if self.full:
            message = "full"
            raise NoSpaceError(message)


async def test_what_appending_waits_for(opened, monkeypatch):
    async with opened() as log:
        looking = Life(log)

        async def waits_for_now():
            return await looking._appending_waits_for()

        assert await waits_for_now() is None
        log.appender.trouble = "database"
        assert await waits_for_now() is None, "a transaction can be committed: nobody had tried since"
        assert log.appender.trouble is None
        log.appender.trouble = "disk"
        assert await waits_for_now() == "disk", "a transaction without rows says nothing of a disk"
        await append(log, sample_events(1))
        assert log.appender.trouble is None

        def leap():
            message = "the clock leapt ahead"
            raise UntrueClockError(message)

        for waits_for in ("standby", "database"):
            monkeypatch.setattr(type(log.appender), "waits_for", waits_for)
            assert await waits_for_now() == waits_for
        monkeypatch.undo()
        monkeypatch.setattr(log.appender, "_clock", leap)
        assert await waits_for_now() == "clock"
        monkeypatch.undo()
        log.database.watch = Disk(full=True)
        assert await waits_for_now() == "disk"
        log.database.watch = Disk(full=False)
        assert await waits_for_now() is None
        log.database.watch = None


@pytest.mark.parametrize(
    "error, cause",
    [
        (psycopg.OperationalError("away"), "database"),
        (psycopg.errors.InsufficientPrivilege("denied"), "database"),
        (psycopg.errors.DiskFull("full"), "disk"),
    ],
    ids=lambda each: type(each).__name__,
)
async def test_what_the_last_group_failed_for_is_remembered(opened, monkeypatch, error, cause):
    async with opened() as log:
        looking, elapsed = watched(log)

        async def fail(_):
            raise error

        monkeypatch.setattr(AppendStore, "_connected", fail)
        with pytest.raises(TlogError):
            await append(log, sample_events(1))
        await looking.look()
        elapsed.seconds = 20.0
        await looking.look()
        monkeypatch.undo()
        await append(log, sample_events(1))
        await looking.look()
        await looking.close()
        assert [(report.what, report.why) for _, report in await outcomes(log)] == [("appending", cause)]


@pytest.mark.parametrize("cause", ["signer", "clock"])
async def test_what_sealing_waits_for_and_how_long(opened, monkeypatch, cause):
    sign, away = Sealer._sign, True

    async def fail(sealer, last):
        if not away:
            return await sign(sealer, last)
        message = "away"
        raise SignerAwayError(message) if cause == "signer" else UntrueClockError(message)

    monkeypatch.setattr(Sealer, "_sign", fail)
    async with opened(interval=0.05) as log:
        looking, elapsed = watched(log)
        await append(log, sample_events(1))

        async def waits():
            return log.background.status.seal_error != ""

        async def goes_on():
            return not await waits()

        await until(waits)
        await looking.look()
        elapsed.seconds, away = 30.0, False
        await until(goes_on)
        await looking.look()
        await looking.close()
        ((_, stalled),) = await outcomes(log)
    assert (stalled.what, stalled.why) == ("sealing", cause)


async def test_a_clock_that_lags_holds_up_sealing_without_an_error(opened, location):
    async with opened(interval=0.05) as log:
        await fill(log, 2)
    late = True
    async with opened(interval=0.05, clock=lambda: utc_now() - timedelta(minutes=5 if late else 0)) as log:
        await append(log, sample_events(1, seed=2))

        async def lags():
            return log.background.status.seal_cause == "clock" and "clock lags" in log.background.status.seal_error

        await until(lags)
        late = False
        await log.wait_sealed(3, 30)
        assert log.background.status.seal_error == ""


async def test_what_could_not_be_said_is_said_later(opened, monkeypatch):
    async with opened() as log:
        looking, elapsed = watched(log)
        attempts = []

        async def fail(*_):
            attempts.append(1)
            message = "the database is away"
            raise OverloadedError(message)

        monkeypatch.setattr(life, "say", fail)
        status = Status(seal_error="the signer is away", seal_cause="signer")
        monkeypatch.setattr(type(log.background), "status", status)
        await looking.look()
        elapsed.seconds = 12.0
        monkeypatch.setattr(type(log.background), "status", Status())
        await looking.look()
        await looking.close()
        assert len(attempts) == 2
        monkeypatch.undo()
        await looking.look()
        await looking.close()
        assert [report.why for _, report in await outcomes(log)] == ["signer"]


async def test_a_look_that_fails_is_followed_by_others(opened, monkeypatch, capsys):
    looks = asyncio.Semaphore(0)

    async def fail(_):
        looks.release()
        raise ZeroDivisionError

    monkeypatch.setattr(life, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(Life, "look", fail)
    async with opened() as log, watching(log):
        await looks.acquire()
        await looks.acquire()
    assert "life_not_seen" in "".join(capsys.readouterr())


# --- Checked ----------------------------------------------------------------------------------------------------------


async def checked(log, database, *erased):
    """Check a log in which a superuser has emptied disclosures, and say so; return index and report."""
    with database.connect_admin() as superuser:
        erase(superuser, erased)
    read = Anchor(log.directory.anchor).read
    report = await fsck(log.database, log.verifier, log.bucket_keys, read)
    return await say_checked(log.database, log.verifier, read, report), report


async def test_what_a_check_found_is_said(opened, database):
    async with opened() as log:
        await fill(log, 5)
        index, report = await checked(log, database)
        assert (index, report.exit_code) == (6, 0)
        index, report = await checked(log, database, 2)
        assert (index, report.exit_code) == (7, 1)
        said = await outcomes(log)
    assert said == [
        (6, Checked(since=0, size=6, unexplained=0, verdict="verified")),
        (7, Checked(since=0, size=7, unexplained=2, verdict="failed")),
    ]


async def test_a_check_that_anchor_and_database_do_not_agree_on_is_not_said(opened, database, location):
    async with opened() as log:
        await fill(log, 5)
        read = Anchor(location.directory.anchor).read
        report = await fsck(log.database, log.verifier, log.bucket_keys, read)

        def ahead():
            return read()._replace(size=99, note=b"")

        def gone():
            return Anchor(location.directory.root / "none").read()

        with pytest.raises(RollbackError):
            await say_checked(log.database, log.verifier, ahead, report)
        with pytest.raises(AnchorMissingError):
            await say_checked(log.database, log.verifier, gone, report)
        with database.connect_admin() as superuser:
            superuser.execute("ALTER TABLE tlog.leaf DISABLE TRIGGER ALL")
            superuser.execute("CREATE RULE nothing AS ON INSERT TO tlog.leaf DO INSTEAD NOTHING")
        with pytest.raises(UnsafeDatabaseError):
            await say_checked(log.database, log.verifier, read, report)
        assert (await log.reader.state()).size == 6


def test_a_check_of_a_copy_is_not_said_and_why(directory):
    """A rehearsal of a recovery has no anchor: what it appended would be entries of another history."""
    data, backup, copy = directory / "data", directory / "backup", directory / "copy"
    tlog("init", "--data", data, "--origin", ORIGIN)
    (directory / "events").write_bytes(b"\n".join(sample_events(4)))
    tlog("append", directory / "events", "--data", data)
    for number, arguments in enumerate([(), ("--since", directory / "end", "--save", directory / "end")]):
        done = tlog("fsck", "--data", data, "--save", directory / "end", *arguments, "--json")
        assert json.loads(done.stdout)["saidBy"] == 6 + number
    assert "this check is entry 8 of the log" in tlog("fsck", "--data", data).stdout
    tlog("backup", backup, "--data", data)
    tlog("restore", backup, "--data", copy)
    shutil.copytree(data / "keys", copy / "keys", dirs_exist_ok=True)
    done = tlog("fsck", "--data", copy, check=False)
    assert done.returncode != 0
    assert "this check is no entry of the log: " in done.stdout
    assert json.loads(tlog("fsck", "--data", copy, "--json", check=False).stdout)["saidBy"] is None
    assert "9 entries" in tlog("backup", directory / "again", "--data", copy).stdout
