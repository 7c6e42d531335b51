"""Another PostgreSQL in the log's place: gone on with where commits waited for it, refused everywhere else."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass

import psycopg
import pytest
from faults.pair import Pair
from stored import read_controls
from support import ORIGIN, append, sample_events, tlog

from tlog.core.entry import parse_entry
from tlog.core.making.outcome import draft_outcome
from tlog.core.outcome import Failover, Lost, Server
from tlog.errors import FailoverError, OverloadedError, RollbackError
from tlog.lifecycle.making import create_log
from tlog.lifecycle.opening import open_log, signer_of
from tlog.lifecycle.running import running
from tlog.location import DataDirectory, Location
from tlog.signing.anchor import Anchor, Anchored
from tlog.storage.database import Database
from tlog.storage.rows import Primary, State
from tlog.storage.sealing import SealStore
from tlog.writing.failover import Succession, is_named, is_same, refusal, report_of
from tlog.writing.sealer import Sealer

pytestmark = pytest.mark.anyio
BEFORE, NOW = Primary("7", 1, 1), Primary("7", 2, 0)
FAILOVER = report_of(BEFORE, NOW, 5, synchronous=True)


def entry_of(report):
    draft = draft_outcome(report)
    return draft.head + b"2026-03-17T10:00:00.000000Z" + draft.tail


# --- What is decided, without a server ---------------------------------------------------------------------------------


@dataclass
class Opened:
    """An open transaction on some server."""

    primary: Primary = NOW
    new_connection: bool = True
    entries: tuple[bytes, ...] = ()
    state = State(5, b"", 0)

    async def failovers(self, start):
        assert start == 3
        return self.entries


def anchored_on(primary):
    return Anchored(ORIGIN, 3, b"", b"", b"", 0, *primary)


def succession(anchored=BEFORE, *, acknowledges=True):
    return Succession(BEFORE, lambda: anchored_on(anchored), acknowledges=acknowledges)


async def test_commits_waited_for_it_and_this_process_acknowledged():
    report = await succession().check(Opened(), risen=True)
    assert report == Failover(
        accepted="synchronous",
        before=Server(system="7", timeline=1),
        size=5,
        after=Server(system="7", timeline=2),
    )


@pytest.mark.parametrize(
    "anchored, risen, now",
    [(BEFORE._replace(synchronous=0), True, NOW), (BEFORE, False, NOW), (BEFORE._replace(synchronous=0), True, Primary("8", 1, 0))],
    ids=["commits waited for nobody", "nothing was acknowledged here", "another system"],
)  # fmt: skip
async def test_everything_else_is_for_the_operator(anchored, risen, now):
    with pytest.raises(
        FailoverError, match=r"FAILOVER (timeline 1→2|system 7→8): .* 'tlog failover --accept'$"
    ) as refused:
        await succession(anchored).check(Opened(now), risen=risen)
    assert refused.value.exit_code == RollbackError.exit_code == 5


async def test_who_only_seals_waits():
    with pytest.raises(OverloadedError, match="has gone on there yet"):
        await succession(acknowledges=False).check(Opened(), risen=True)


@pytest.mark.parametrize(
    "opened, anchored",
    [
        (Opened(primary=BEFORE._replace(synchronous=0)), BEFORE),
        (Opened(new_connection=False), BEFORE),
        (Opened(entries=(b"junk", entry_of(Lost(start=0, end=1, n=1)), entry_of(FAILOVER))), BEFORE),
        (Opened(), NOW),
    ],
    ids=["the same server", "the same connection", "an entry names it", "it was signed on there"],
)
async def test_nothing_is_to_be_said(opened, anchored):
    decides = succession(anchored, acknowledges=False)
    for _ in range(2):
        assert await decides.check(opened, risen=False) is None


def test_an_entry_names_exactly_one_server():
    assert is_named(NOW, [entry_of(FAILOVER)])
    for other in (NOW._replace(timeline=3), NOW._replace(system="8"), BEFORE):
        assert not is_named(other, [entry_of(FAILOVER)])
    assert is_same(Anchored(ORIGIN, 0, b"", b"", b"", 0), NOW), "before the first signature there is none before"


# --- Two servers ------------------------------------------------------------------------------------------------------


@pytest.fixture
def pair(directory):
    with Pair(directory) as servers:
        yield servers


@pytest.fixture
async def log_of(pair, directory):
    """Returns the location of a log on the pair."""
    location = Location(DataDirectory(directory / "data"), pair.service, pair.keeper)
    await create_log(location, ORIGIN)
    return location


def reports(pair):
    with psycopg.connect(pair.primary.address("dbadmin", "audit")) as admin:
        entries = [parse_entry(entry) for entry in read_controls(admin)]
    return [entry.report for entry in entries if isinstance(getattr(entry, "report", None), Failover)]


async def take_over(pair):
    """Kill the primary and promote the standby, whose commits wait for nobody then."""
    await asyncio.to_thread(pair.kill_primary)
    await asyncio.to_thread(pair.promote)
    await asyncio.to_thread(pair.primary.configure, synchronous_standby_names="")


async def append_again_and_again(log, seed):
    """Append until the log takes it, as clients do."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await append(log, sample_events(3, seed=seed))
            except OverloadedError:
                await asyncio.sleep(0.01)


async def test_the_same_process_goes_on_where_commits_waited(pair, log_of):
    await asyncio.to_thread(pair.demand_standby)
    async with open_log(log_of, interval=60, index=False) as log, running(log):
        before = await append(log, sample_events(3))
        await log.wait_sealed(before.last_index, 30)
        pending = await append(log, sample_events(3, seed=2))
        assert Anchor(log_of.directory.anchor).read()[6:] == (*(await log.reader.primary())[:2], 1)
        await take_over(pair)
        after = await append_again_and_again(log, 3)
        assert after[0].index == pending.last_index + 2, "the outcome is the first entry on the new timeline"
        assert len({receipt.index for receipts in (before, pending, after) for receipt in receipts}) == 9
        await log.wait_sealed(after.last_index, 30)
        (report,) = reports(pair)
        assert (report.accepted, report.size) == ("synchronous", pending.last_index + 1)
        assert (report.before.timeline, report.after.timeline) == (1, 2)
        assert Anchor(log_of.directory.anchor).read().timeline == 2
    async with open_log(log_of, index=False):
        pass  # who opens it afterwards finds nothing to decide


async def test_what_is_pending_is_sealed_though_nobody_appends(pair, log_of):
    """The outcome is appended by itself, within a second, and sealing waits for that."""
    await asyncio.to_thread(pair.demand_standby)
    async with open_log(log_of, interval=0.1, index=False) as log, running(log):
        await log.wait_sealed((await append(log, sample_events(3))).last_index, 30)
        log.background.stop()  # nothing is sealed until the other server is there
        pending = await append(log, sample_events(3, seed=2))
        await take_over(pair)
        async with opened_once_it_goes_on(log_of) as other:
            await other.wait_sealed(pending.last_index, 30)
        assert [report.accepted for report in reports(pair)] == ["synchronous"]


@contextlib.asynccontextmanager
async def opened_once_it_goes_on(location):
    """Open the log in what only seals, once an entry says that it goes on."""
    async with contextlib.AsyncExitStack() as stack:
        log = None
        async with asyncio.timeout(60):
            while log is None:
                with contextlib.suppress(FailoverError, OverloadedError):
                    log = await stack.enter_async_context(
                        open_log(location, interval=0.1, index=False, acknowledges=False)
                    )
                await asyncio.sleep(0.01)
        await stack.enter_async_context(running(log))
        yield log


async def run_into_a_replica(pair, location, receipts):
    """Run a log until it ends by itself, because a replica that lacks nothing was promoted, though nobody appends."""
    async with open_log(location, interval=60, index=False) as log, running(log) as ends:
        receipts += await append(log, sample_events(3))
        await log.wait_sealed(receipts[-1].index, 30)
        await asyncio.to_thread(pair.caught_up)
        await take_over(pair)
        async with asyncio.timeout(60):
            await ends


async def test_a_replica_that_commits_did_not_wait_for_is_refused_until_it_is_accepted(pair, log_of):
    data = log_of.directory.root
    options = ("--data", data, "--database", pair.service)
    with pytest.raises(FailoverError, match="FAILOVER timeline 1→2"):
        await run_into_a_replica(pair, log_of, receipts := [])
    assert reports(pair) == []
    with pytest.raises(FailoverError):
        async with open_log(log_of):
            pass
    refused = tlog("query", *options, check=False)
    assert (refused.returncode, "FAILOVER" in refused.stderr) == (5, True)
    shown = tlog("failover", *options, "--json", check=False)
    document = json.loads(shown.stdout)
    assert (shown.returncode, document["differ"], document["signed"]["timeline"], document["now"]["timeline"]) == (
        5,
        True,
        1,
        2,
    )
    no = tlog("failover", *options, "--accept", check=False, input="no\n")
    assert (no.returncode, "nothing was accepted" in no.stderr) == (4, True)
    assert reports(pair) == []
    yes = tlog("failover", *options, "--accept", input="yes\n")
    assert "the log goes on" in yes.stdout
    (report,) = reports(pair)
    assert (report.accepted, report.size) == ("operator", receipts[-1].index + 1)
    again = tlog("failover", *options, "--accept", "--yes")
    assert "nothing to accept" in again.stdout
    async with open_log(log_of, interval=60, index=False) as log, running(log):
        assert (await append(log, sample_events(3, seed=2)))[0].index == receipts[-1].index + 2
    assert tlog("fsck", *options).returncode == 0


async def test_sealing_waits_for_the_outcome_and_ends_without(pair, log_of):
    async with open_log(log_of, interval=60, index=False) as log, running(log):
        receipts = await append(log, sample_events(3))
        await log.wait_sealed(receipts.last_index, 30)
        await append(log, sample_events(3, seed=2))
        log.background.stop()
        await asyncio.to_thread(pair.caught_up)
    await take_over(pair)
    store = await SealStore.open(Database(pair.service))
    sealer = Sealer(store, signer_of(log_of), patience=60)
    await sealer.recover()
    assert await sealer.seal() is None
    assert await sealer.seal() is None
    impatient = Sealer(store, signer_of(log_of), patience=0)
    await impatient.recover()
    with pytest.raises(FailoverError, match="FAILOVER"):
        await impatient.seal()
    assert Anchor(log_of.directory.anchor).read().size == receipts.last_index + 1
    await store.close()


WAITING = "pg_stat_activity WHERE application_name = %s AND wait_event = 'SyncRep'"


async def until(condition):
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - a server that is asked sets no event
            await asyncio.sleep(0.01)


async def terminate_the_append(pair):
    """End the backend of the append that waits for a standby, which makes its transaction visible without one."""
    with pair.primary.connect() as admin:
        end = f"SELECT count(pg_terminate_backend(pid)) FROM {WAITING}"
        await until(lambda: admin.execute(end, ("tlog_appender",)).fetchone() != (0,))


async def signed_without_a_standby(pair, location):
    """Return by how much the anchor grows after the standby is gone, and one append is made visible all the same."""
    await asyncio.to_thread(pair.demand_standby)
    async with open_log(location, interval=0.05, index=False) as log, running(log, patience=1):
        receipts = await append(log, sample_events(3))
        await log.wait_sealed(receipts.last_index, 30)
        before = Anchor(location.directory.anchor).read().size
        await asyncio.to_thread(pair.cut)
        waiting = asyncio.create_task(append(log, sample_events(3, seed=2)))
        await terminate_the_append(pair)
        with pytest.raises(OverloadedError):
            await waiting
        # The sealer meets what is visible now: its COMMIT waits as well, or, in the control, it signs.
        anchor = Anchor(location.directory.anchor)
        with pair.primary.connect() as admin:
            met = f"SELECT count(*) FROM {WAITING}"
            await until(lambda: admin.execute(met, ("tlog_sealer",)).fetchone() != (0,) or anchor.read().size > before)
        assert (await log.reader.state()).size == before + 3
        return anchor.read().size - before


async def test_what_is_on_no_standby_is_not_signed(pair, log_of):
    assert await signed_without_a_standby(pair, log_of) == 0


async def test_a_sealer_that_waits_for_no_standby_would_sign_it(pair, log_of, monkeypatch):
    """The control: as with tiles that are written before the entries are read."""
    open_store = SealStore.open.__func__

    async def open_impatient(kind, database):
        store = await open_store(kind, database)
        await store._connection.execute("SET synchronous_commit = local")
        return store

    monkeypatch.setattr(SealStore, "open", classmethod(open_impatient))
    assert await signed_without_a_standby(pair, log_of) == 3


def test_the_refusal_names_what_differs():
    assert "timeline 1→2" in str(refusal(BEFORE, NOW))
    assert "system 7→8" in str(refusal(BEFORE, Primary("8", 1, 0)))
