"""Group commit: order, idempotency, atomicity, limits, several appenders at once."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from uuid import uuid4

import pytest
from stored import erase
from support import append, fill, sample_events

from tlog.core.chain import CHAIN_START, chain_hash
from tlog.core.entry import parse_entry
from tlog.core.making.parsing import parse_batch
from tlog.core.merkle import leaf_hash
from tlog.errors import EventConflictError, InvalidBatchError, OverloadedError
from tlog.storage.appending import AppendStore
from tlog.storage.queries import QUERIES
from tlog.writing.appender import Appender
from tlog.writing.drafting import LOCAL, draft_events
from tlog.writing.grouping import Group

pytestmark = pytest.mark.anyio


async def rows(log, start=0, end=10**6):
    size = (await log.reader.state()).size
    async with log.reader.view() as view:
        events = await view.events(range(start, min(end, size)))
    return [SimpleNamespace(**event.leaf._asdict(), entry=event.entry) for event in events]


async def test_receipts_name_the_rows_that_are_stored(opened):
    async with opened() as log:
        receipts = await append(log, sample_events(20))
        stored = await rows(log)
    assert [receipt.index for receipt in receipts] == list(range(1, 21))
    chain = CHAIN_START
    for row in stored:
        assert row.leaf_hash == leaf_hash(row.entry)
        chain = chain_hash(chain, row.leaf_hash)
        assert row.chain_hash == chain
    for receipt, row in zip(receipts, stored[1:], strict=True):
        assert receipt[:4] == (row.event_id, row.index, row.leaf_hash, row.chain_hash)
        assert receipt.logged_at == parse_entry(row.entry).loggedAt


async def test_small_requests_that_are_chained_together_get_their_own_receipts(opened):
    sizes = [1] * 250 + [150, 1, 99, 1, 1, 400] + [1] * 120
    events = iter(sample_events(sum(sizes)))
    async with opened() as log:
        requests = [[next(events) for _ in range(size)] for size in sizes]
        await append(log, sample_events(1, seed=2))  # what the next group continues is foreseen from here on
        answers = await asyncio.gather(*(append(log, request) for request in requests))
        stored = {row.event_id: row for row in await rows(log)}
    assert [len(answer) for answer in answers] == sizes
    for request, answer in zip(requests, answers, strict=True):
        assert answer.last_index == answer[-1].index
        for raw, receipt in zip(request, answer, strict=True):
            row = stored[json.loads(raw)["eventId"]]
            assert receipt[:4] == (row.event_id, row.index, row.leaf_hash, row.chain_hash)
            assert receipt.logged_at == parse_entry(row.entry).loggedAt
    assert sorted(receipt.index for answer in answers for receipt in answer) == list(range(2, 2 + sum(sizes)))


async def test_same_event_again_gets_its_first_receipt(opened):
    events = sample_events(5)
    async with opened() as log:
        first = await append(log, events)
        again = await append(log, events)
        assert list(again) == [receipt._replace(duplicate=True) for receipt in first]
        assert len(await rows(log)) == 6


async def test_half_known_batch_appends_the_other_half(opened):
    events = sample_events(6)
    async with opened() as log:
        await append(log, events[:3])
        receipts = await append(log, events)
        assert [receipt.duplicate for receipt in receipts] == [True] * 3 + [False] * 3
        assert [receipt.index for receipt in receipts] == [1, 2, 3, 4, 5, 6]


async def test_event_twice_in_one_request_is_one_event(opened):
    event = sample_events(1)[0]
    async with opened() as log:
        receipts = await append(log, [event, event])
        assert [(receipt.index, receipt.duplicate) for receipt in receipts] == [(1, False), (1, True)]


async def test_repeats_after_a_repeat_are_looked_up_first(opened, postgres):
    """S18: for each objection of its unique index PostgreSQL writes a line; who repeats himself for ever would fill the disk."""
    known, fresh, last = sample_events(3)

    def objections():
        return (postgres._directory / "postgres.log").read_text().count("violates unique constraint")

    async with opened() as log:
        await append(log, [known])
        before = objections()
        for _ in range(5):
            assert [receipt.duplicate for receipt in await append(log, [known])] == [True]
        assert objections() == before + 1
        for event in (fresh, last):
            assert [receipt.duplicate for receipt in await append(log, [event])] == [False]
        assert [receipt.duplicate for receipt in await append(log, [last])] == [True]
        assert objections() == before + 2, "the control: after a group of new events the next one is tried at once"
        assert [receipt.index for receipt in await append(log, [known, fresh, last])] == [1, 2, 3]


def changed(raw, **members):
    return json.dumps({**json.loads(raw), **members}).encode()


@pytest.mark.parametrize(
    "members",
    [
        {"action": "delete"},
        {"outcome": "unknown"},
        {"timestamp": "2026-03-17T00:00:00Z"},
        {"actor": {"userId": "somebody.else"}},
        {"resource": {"type": "patient_record", "id": "other"}},
        {"metadata": {"ward": "other"}},
        {"source": {"id": "other", "seq": 1}},
    ],
    ids=lambda members: next(iter(members)),
)
async def test_same_id_with_other_content_is_refused_whole(opened, members):
    known, new = sample_events(2)
    async with opened() as log:
        await append(log, [known])
        with pytest.raises(EventConflictError) as caught:
            await append(log, [new, changed(known, **members)])
        assert caught.value.pointer == "/1/eventId"
        assert len(await rows(log)) == 2


async def test_conflict_inside_one_request(opened):
    event = sample_events(1)[0]
    async with opened() as log:
        with pytest.raises(EventConflictError):
            await append(log, [event, changed(event, action="delete")])
        assert len(await rows(log)) == 1


async def test_conflicting_request_does_not_harm_others_of_its_group(opened):
    first, second, third = sample_events(3)
    async with opened() as log:
        await append(log, [first])
        outcomes = await asyncio.gather(
            append(log, [second]),
            append(log, [changed(first, action="delete")]),
            append(log, [third, first]),
            return_exceptions=True,
        )
        assert [receipt.index for receipt in outcomes[0]] == [2]
        assert isinstance(outcomes[1], EventConflictError)
        assert [(receipt.index, receipt.duplicate) for receipt in outcomes[2]] == [(3, False), (1, True)]


async def test_erased_disclosure_still_answers_a_repeat(opened, database):
    event = sample_events(1)[0]
    async with opened() as log:
        await append(log, [event])
        with database.connect_admin() as admin:
            erase(admin, [1])
        assert (await append(log, [event]))[0].duplicate


async def test_one_bad_event_refuses_the_batch_and_names_members(opened):
    good, bad = sample_events(2)
    async with opened() as log:
        with pytest.raises(InvalidBatchError) as caught:
            await append(log, [good, changed(bad, action="steal"), changed(bad, timestamp="yesterday")])
        assert caught.value.pointer == "/1/action"
        assert caught.value.positions == [1, 2]
        assert [error.pointer for error in caught.value.found] == ["/action", "/timestamp"]
        assert len(await rows(log)) == 1


async def test_queue_is_bounded(opened):
    async with opened() as log:
        appender = Appender(AppendStore(log.database), log.clock, max_waiting=10)
        drafts = draft_events(parse_batch(sample_events(11)), log.bucket_keys, LOCAL)
        with pytest.raises(OverloadedError, match="too many"):
            await appender.append(drafts)
        waiting = asyncio.create_task(appender.append(drafts[:8]))
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError):
            await appender.append(drafts[8:])
        running = asyncio.create_task(appender.run())
        assert len(await waiting) == 8
        appender.close()
        await running
        with pytest.raises(OverloadedError, match="closing"):
            await appender.append(drafts[8:])


@pytest.mark.parametrize("size, groups", [(0, 1), ((16 << 20) // 3, 2), (16 << 20, 4)])
async def test_s5_a_group_has_at_most_so_many_bytes(opened, size, groups):
    async with opened() as log:
        appender = Appender(AppendStore(log.database), log.clock)
        drafts = draft_events(parse_batch(sample_events(4)), log.bucket_keys, LOCAL)
        waiting = [asyncio.create_task(appender.append([each], size=size)) for each in drafts]
        await asyncio.sleep(0)
        assert len(appender._waiting) == groups
        running = asyncio.create_task(appender.run())
        assert len({receipt.index for receipts in await asyncio.gather(*waiting) for receipt in receipts}) == 4
        appender.close()
        await running


async def test_request_whose_client_left_is_not_appended(opened):
    async with opened() as log:
        appender = Appender(AppendStore(log.database), log.clock)
        gone = asyncio.create_task(appender.append(draft_events(parse_batch(sample_events(3)), log.bucket_keys, LOCAL)))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        running = asyncio.create_task(appender.run())
        appender.close()
        await running
        assert len(await rows(log)) == 1


async def test_several_appenders_make_one_log(opened):
    """What several processes do: each has its own connection, the row lock orders them."""
    async with opened() as log:
        appenders = [Appender(AppendStore(log.database), log.clock) for _ in range(3)]
        running = [asyncio.create_task(appender.run()) for appender in appenders]

        async def client(number):
            receipts = []
            for part in range(10):
                raws = sample_events(7, seed=100 * number + part)
                receipts += await appenders[number % 3].append(draft_events(parse_batch(raws), log.bucket_keys, LOCAL))
            return receipts

        receipts = [receipt for each in await asyncio.gather(*map(client, range(6))) for receipt in each]
        for appender in appenders:
            appender.close()
        await asyncio.gather(*running)
        stored = await rows(log)
    assert sorted(receipt.index for receipt in receipts) == list(range(1, 421))
    assert [row.index for row in stored] == list(range(421))
    assert {receipt.event_id for receipt in receipts} == {row.event_id for row in stored[1:]}
    times = [parse_entry(row.entry).loggedAt for row in stored]
    assert times == sorted(times)


async def test_clock_that_goes_back_does_not_take_logged_at_along(opened):
    now = datetime.now(UTC)
    clock = [now]
    async with opened(clock=lambda: clock[0]) as log:
        first = (await append(log, sample_events(1, seed=1)))[0]
        clock[0] = now - timedelta(hours=1)
        second = (await append(log, sample_events(1, seed=2)))[0]
        assert second.logged_at == first.logged_at


async def test_commits_are_durable_whatever_the_roles_settings_say(opened, database):
    """Threat 25: any role may switch synchronous_commit off for itself; the append transaction switches it on."""
    async with opened() as log:
        with database.connect_admin() as admin:
            admin.execute("ALTER ROLE tlog_appender SET synchronous_commit = off")
            admin.execute("ALTER ROLE tlog SET synchronous_commit = off")
        try:
            store = AppendStore(log.database)
            async with store.transaction() as open_append:
                cursor = await open_append._connection.execute("SHOW synchronous_commit")
                assert await cursor.fetchone() == ("on",)
            cursor = await store._connection.execute("SHOW synchronous_commit")
            assert await cursor.fetchone() == ("off",), "the control: without the lock statement it would be off"
            await store.close()
        finally:
            with database.connect_admin() as admin:
                admin.execute("ALTER ROLE tlog RESET synchronous_commit")
                admin.execute("ALTER ROLE tlog_appender RESET synchronous_commit")


async def test_connection_lost_under_way_is_an_overload_and_a_retry_is_safe(opened, database):
    async with opened() as log:
        store = AppendStore(log.database)
        appender = Appender(store, log.clock)
        running = asyncio.create_task(appender.run())
        drafts = draft_events(parse_batch(sample_events(3)), log.bucket_keys, LOCAL)
        await appender.append(drafts[:1])
        await appender.append(drafts[1:2])  # over the second connection
        with database.connect_admin() as admin:
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tlog_appender'"
            )
        with pytest.raises(OverloadedError):
            await appender.append(drafts)
        receipts = await appender.append(drafts)
        assert [receipt.duplicate for receipt in receipts] == [True, True, False]
        appender.close()
        await running


async def test_what_is_committed_is_timed_and_what_is_not_is_not(opened, database):
    seconds = []
    async with opened() as log:
        log.appender.committed = seconds.append
        for seed in range(2):  # one over each connection
            await append(log, sample_events(3, seed=seed))
        assert len(seconds) == 2
        assert all(0 < each < 60 for each in seconds)
        with database.connect_admin() as admin:
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tlog_appender'"
            )
        with pytest.raises(OverloadedError):
            await append(log, sample_events(1, seed=3))
        assert len(seconds) == 2
        await append(log, sample_events(1, seed=3))
        assert len(seconds) == 3


async def test_receipts_survive_sealing(opened):
    async with opened() as log:
        receipts = await fill(log, 300)
        assert len({receipt.index for receipt in receipts}) == 300
        unknown = await log.reader.find([str(uuid4())])
        assert unknown == []


MANY_ROWS = """
    INSERT INTO tlog.leaf
    SELECT number, gen_random_uuid(), sha256(number::text::bytea), sha256(number::text::bytea)
    FROM generate_series(1000, 50000) AS number"""


async def test_known_events_are_found_by_the_index_however_many_are_asked_for(opened, database):
    """A log that only grows has no statistics; a repeated batch must not read all of it."""
    async with opened() as log:
        await fill(log, 5)
    event_ids = {"event_ids": [str(uuid4()) for _ in range(500)]}
    with database.connect_admin() as admin:
        admin.execute(MANY_ROWS)
        plans = []
        for settings in ("", "SET enable_indexscan = off; SET enable_bitmapscan = off"):
            admin.execute(settings)
            rows = admin.execute(f"EXPLAIN {QUERIES['find_events']}", event_ids).fetchall()
            plans.append("\n".join(row[0] for row in rows))
    assert ["Seq Scan on leaf" in plan for plan in plans] == [False, True]
    assert "leaf_event_id_key" in plans[0]


async def until(condition):
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - what the appender does sets no event
            await asyncio.sleep(0.01)


async def commit_late(log, event):
    """Append an event whose COMMIT waits for a standby, until the event is refused."""
    groups, append_group = [], log.appender._append_group

    async def noting(store, group):
        groups.append(group)
        await append_group(store, group)

    log.appender._append_group = noting
    waiting = asyncio.create_task(append(log, event))
    await until(lambda: groups and groups[-1].committing)
    log.appender._tire(groups[-1])  # as the clock does after ten seconds
    with pytest.raises(OverloadedError, match=r"^appending waits for a standby; try again with the same eventIds$"):
        await waiting


async def test_a_commit_that_waits_for_a_standby_is_refused_and_never_cancelled(opened, request):
    first, second, third = sample_events(3)
    async with opened() as log:
        assert (await append(log, [first]))[0].index == 1
        lift = request.getfixturevalue("standby_away")
        await commit_late(log, [second])
        assert log.appender.waits_for == "standby"
        for _ in range(3):
            with pytest.raises(OverloadedError, match="waits for a standby"):
                await append(log, [third])
        assert len(await rows(log)) == 2, "nobody sees what is on no standby"
        lift()
        await until(lambda: not log.appender.waits_for)
        assert log.appender._watermark._size == 3
        assert [(receipt.index, receipt.duplicate) for receipt in await append(log, [second, third])] == [
            (2, True),
            (3, False),
        ]


async def test_ten_seconds_are_kept_by_the_clock(opened, request):
    async with opened() as log:
        lift = request.getfixturevalue("standby_away")
        log.appender._patience = 0.01
        with pytest.raises(OverloadedError, match="appending waits for"):
            await append(log, sample_events(1))
        lift()


async def test_who_waits_meanwhile_is_refused_as_well(opened):
    async with opened() as log:
        appender = Appender(AppendStore(log.database), log.clock)  # nobody runs it
        waiting = asyncio.create_task(append_over(appender, log))
        await until(lambda: appender.waiting_events == 3)
        appender._tire(Group())
        with pytest.raises(OverloadedError, match="appending waits for the database"):
            await waiting
        assert (appender.waiting_events, appender.waits_for) == (0, "database")


async def test_the_end_does_not_wait_for_a_standby(opened, database, request):
    """What waits is not cancelled: nobody sees it before the standby is no longer needed, and then everybody."""
    size = "SELECT size FROM tlog.log_state"
    first, second = sample_events(2)
    async with opened() as log:
        await append(log, [first])
        lift = request.getfixturevalue("standby_away")
        await commit_late(log, [second])
    with database.connect_admin() as admin:
        assert admin.execute(size).fetchone() == (2,)
        lift()
        await until(lambda: admin.execute(size).fetchone() == (3,))


async def test_whoever_waits_when_the_appender_is_cut_off_is_told(opened, request):
    async with opened() as log:
        appender = Appender(AppendStore(log.database), log.clock)
        running = asyncio.create_task(appender.run())
        request.getfixturevalue("standby_away")
        waiting = asyncio.create_task(append_over(appender, log))
        await until(lambda: appender._under_way)
        running.cancel()
        with pytest.raises(OverloadedError, match="the log is closing"):
            await waiting
        await asyncio.wait([running])
        assert running.cancelled()


async def append_over(appender, log):
    return await appender.append(draft_events(parse_batch(sample_events(3)), log.bucket_keys, LOCAL))
