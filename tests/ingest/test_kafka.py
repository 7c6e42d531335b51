"""Taking from a real broker of Apache Kafka. One broker for the whole file, and so for the whole run: a file has one worker."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request

import pytest
from streams import rivals, taken
from streams import taking as steps_of
from support import ORIGIN, ROOT, sample_events, tlog
from tampering import check
from topics import Topics

from tlog.answering.export import export_static
from tlog.cli.ingest import _compare as compare_topic
from tlog.cli.ingest import _Topic as CompareTopic
from tlog.cli.ingest import describe
from tlog.core.entry import EventEntry, IntakeEntry, parse_entry
from tlog.core.intake import raw_message
from tlog.demo.broker import CLUSTER_ID, Broker
from tlog.errors import IntakeFencedError, MalformedInputError, NotCheckedError, OperatorError, OverloadedError
from tlog.ingest.decoding import Message, own_text
from tlog.ingest.kafka import Forwarder, Kafka, is_ready
from tlog.ingest.letters import message_of, retry
from tlog.ingest.metrics import Metrics, serve_metrics
from tlog.ingest.preparing import Wishes
from tlog.ingest.serving import Options, take
from tlog.ingest.taking import Limits
from tlog.lifecycle.making import create_log
from tlog.lifecycle.opening import open_log
from tlog.lifecycle.running import running
from tlog.storage.database import Database
from tlog.storage.intake import list_dead_letters
from tlog.storage.scan import scan

pytestmark = pytest.mark.anyio
LIMITS = Limits(batch=100, linger=0.05, idle=0.3)
BEGINNING = Wishes(start="beginning")
_names = itertools.count()


@pytest.fixture(scope="module")
def topics(module_directory):
    broker = Broker(module_directory / "broker", is_ready)
    try:
        broker.start()
    except NotCheckedError as error:
        pytest.skip(f"a broker of Apache Kafka cannot be had here: {error}")
    yield Topics(broker.bootstrap)
    broker.kill()


@pytest.fixture(autouse=True)
def haste(monkeypatch):
    """The topic is looked at more often than every five seconds, and its broker does not begin anew."""
    monkeypatch.setattr("tlog.ingest.kafka._SETTLE_SECONDS", 0.2)
    monkeypatch.setattr("tlog.ingest.kafka._LOOK_SECONDS", 0.3)


@pytest.fixture
def topic(topics):
    name = f"audit-{next(_names)}"
    topics.make(name)
    return name


@pytest.fixture
async def log(location):
    await create_log(location, ORIGIN)
    return location


def options_of(wishes=BEGINNING, limits=LIMITS):
    return Options("tlog", wishes, limits, 0.2, "here")


@contextlib.asynccontextmanager
async def taking(location, topics, topic, wishes=BEGINNING, limits=LIMITS, **options):
    """Run a taker while the body runs; an error of it is raised at the end."""
    stopped, started = asyncio.Event(), asyncio.Event()
    takers = []

    def on_start(taker):
        takers.append(taker)
        started.set()

    kafka = Kafka(topics.bootstrap, topic, ORIGIN)
    running = asyncio.create_task(
        take(location, kafka, options_of(wishes, limits), stopped, on_start=on_start, **options)
    )
    starting = asyncio.create_task(started.wait())
    async with asyncio.timeout(60):
        await asyncio.wait([running, starting], return_when=asyncio.FIRST_COMPLETED)
    try:
        if takers:
            yield takers[0], kafka
        else:
            yield None, kafka
    finally:
        stopped.set()
        starting.cancel()
        await running


async def until(condition, seconds=30):
    async with asyncio.timeout(seconds):
        while not (found := condition()):  # noqa: ASYNC110 - nothing to wait for
            await asyncio.sleep(0.02)
    return found


async def until_taken(taker, **offsets):
    await until(lambda: taker.tally.next_offset == {int(name[1:]): offset for name, offset in offsets.items()})


async def run_to(location, topics, topic, offsets, wishes=BEGINNING, **options):
    """Take up to offsets by partition, and end."""
    async with taking(location, topics, topic, wishes, **options) as (taker, _):
        assert taker is not None
        await until(lambda: taker.tally.next_offset == offsets)
    return taker


async def logged(location):
    async with scan(Database(location.database)) as snapshot:
        entries = [
            parse_entry(entry) async for page in snapshot.entries((await snapshot.state()).size) for entry in page
        ]
    ids = [entry.eventId for entry in entries if isinstance(entry, EventEntry)]
    return ids, [entry.intake for entry in entries if isinstance(entry, IntakeEntry)]


def ids_of(events):
    return [json.loads(each)["eventId"] for each in events]


async def test_a_topic_is_taken_and_goes_on_where_the_log_is(log, topics, topic):
    events = sample_events(250)
    topics.send(topic, events[:150])
    first = await run_to(log, topics, topic, {0: 150})
    topics.send(topic, events[150:])
    second = await run_to(log, topics, topic, {0: 250}, Wishes())
    ids, intakes = await logged(log)
    assert ids == ids_of(events)
    assert (first.tally.fates["logged"], second.tally.fates["logged"]) == (150, 100)
    stream = intakes[0].stream.split("/")
    assert (stream[0], stream[1], len(stream[2])) == (f"kafka:{CLUSTER_ID}", topic, 22)
    report = await check(log)
    assert (report.problems, report.checked["intakes"]) == ([], len(intakes))


async def test_events_of_aborted_transactions_are_not_logged(log, topics, topic):
    """Commit 3, abort 2, commit 1: the offsets are 0, 1, 2 and 7, and the end is 9."""
    events = sample_events(6)
    topics.transactions(topic, [(events[:3], True), (events[3:5], False), (events[5:], True)])
    await run_to(log, topics, topic, {0: 9})
    ids, intakes = await logged(log)
    assert ids == ids_of([*events[:3], events[5]])
    assert [(part.start, part.end, part.logged) for each in intakes for part in each.partitions][-2:] == [
        (0, 8, 4),
        (8, 9, 0),
    ]


async def test_an_open_transaction_is_told_and_holds_up_nothing_before_it(log, topics, topic):
    events = sample_events(5)
    topics.send(topic, events[:2])
    producer = topics.open_transaction(topic, events[2:4])
    async with taking(log, topics, topic) as (taker, kafka):
        await until(lambda: taker.tally.next_offset == {0: 2})
        await until(lambda: kafka.stalled()[0] > 0)
        producer.abort_transaction(10)
        topics.send(topic, events[4:])
        await until(lambda: taker.tally.fates["logged"] == 3)
        await until(lambda: kafka.stalled() == {0: 0.0})
    assert (await logged(log))[0] == ids_of([*events[:2], events[4]])


async def test_what_is_no_event_is_kept_and_told_and_forwarded(log, topics, topic):
    letters = f"{topic}-dead"
    topics.make(letters)
    good = sample_events(3)
    topics.send(
        topic, [good[0], b"{not json", b"\xff", b"%b %b" % tuple(good[:2]), b"", None, *good[1:]], headers=[("h", b"v")]
    )
    async with taking(log, topics, topic, forwarder=Forwarder(topics.bootstrap, letters)) as (taker, _):
        await until(lambda: taker.tally.next_offset == {0: 8})
        database = Database(log.database)
        async with asyncio.timeout(30):
            while not all(each.forwarded for each in await list_dead_letters(database)):  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.05)
    found = await list_dead_letters(Database(log.database), raw=True)
    assert [each.offset for each in found] == [1, 2, 3, 4, 5]
    assert found[0].raw.endswith(b"{not json\0\1\0\1h\0\0\0\1v")
    assert message_of(found[0]) == Message(0, 1, None, b"{not json", [(b"h", b"v")])
    assert message_of(found[4]).value is None
    async with open_log(log, interval=60) as opened, running(opened):
        mended = sample_events(1, seed=5)[0]
        for expected in ((1, 0), (0, 1)):
            done = await retry(
                opened, found, lambda message: mended if message.value == b"{not json" else message.value or b""
            )
            assert ((done.logged, done.repeated), len(done.refused)) == (expected, 4)
        assert (
            (await retry(opened, [found[0]._replace(raw=None)], own_text))
            .refused[0][1]
            .reason.startswith("the message of")
        )
    # What is forwarded names the place and the rule, and is no message.
    location = ("--data", log.directory.root, "--database", log.database)
    lines = tlog("ingest", "dead-letters", "list", *location, "--json", "--topic", topic).stdout.splitlines()
    place = ("--topic", topic, "--partition", 0, "--offset", 1)
    shown = json.loads(tlog("ingest", "dead-letters", "show", *location, *place).stdout)
    assert (shown["key"], shown["value"], shown["headers"]) == (None, "{not json", [["h", "v"]])
    assert [json.loads(line)["reason"] for line in lines] == [each.reason for each in found]
    assert "not json" not in "".join(lines)
    kafka = Kafka(topics.bootstrap, letters, ORIGIN)
    kafka.describe()
    kafka.begin({0: 0})
    sent = []
    await until(lambda: sent.extend(kafka.fetch(10, 1).messages) or len(sent) == 5)
    kafka.close()
    values = [json.loads(each.value) for each in sent]
    assert [each["offset"] for each in values] == [1, 2, 3, 4, 5]
    assert [each.key for each in sent] == [b"0/%d" % offset for offset in range(1, 6)]
    assert all(each.keys() == {"digest", "offset", "partition", "pointer", "reason", "stream"} for each in values)


async def test_messages_are_forwarded_whole_only_if_that_is_asked_for(log, topics, topic):
    letters = f"{topic}-dead"
    topics.make(letters)
    topics.send(topic, [b"{not json"])
    async with taking(log, topics, topic, forwarder=Forwarder(topics.bootstrap, letters, raw=True)) as (taker, _):
        await until(lambda: taker.tally.next_offset == {0: 1})
        async with asyncio.timeout(30):
            while not all(each.forwarded for each in await list_dead_letters(Database(log.database))):  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.05)
    kafka = Kafka(topics.bootstrap, letters, ORIGIN)
    kafka.describe()
    kafka.begin({0: 0})
    (sent,) = await until(lambda: kafka.fetch(10, 1).messages)
    kafka.close()
    assert base64.b64decode(json.loads(sent.value)["raw"]) == raw_message(None, b"{not json", [])


async def test_partitions_that_are_added_are_taken_by_a_log_that_takes_all(log, topics, topic):
    events = sample_events(20)
    topics.send(topic, events[:5])
    async with taking(log, topics, topic) as (taker, _):
        await until(lambda: taker.tally.next_offset == {0: 5})
        topics.grow(topic, 2)
        topics.send(topic, events[5:12], partition=1)
        await until(lambda: taker.tally.next_offset == {0: 5, 1: 7})
    topics.grow(topic, 3)
    topics.send(topic, events[12:], partition=2)
    await run_to(log, topics, topic, {0: 5, 1: 7, 2: 8}, Wishes())
    assert sorted((await logged(log))[0]) == sorted(ids_of(events))


async def test_two_takers_the_second_waits_and_takes_over(log, topics, topic):
    events = sample_events(40)
    topics.send(topic, events[:20])
    stopped, took = asyncio.Event(), []
    async with taking(log, topics, topic) as (taker, _):
        await until(lambda: taker.tally.next_offset == {0: 20})
        second = Kafka(topics.bootstrap, topic, ORIGIN)
        waiting = asyncio.create_task(take(log, second, options_of(Wishes()), stopped, on_start=took.append))
        await asyncio.sleep(0)
        topics.send(topic, events[20:30])
        await until(lambda: taker.tally.next_offset == {0: 30})
        assert took == []
    await until(lambda: took)
    topics.send(topic, events[30:])
    await until(lambda: took[0].tally.next_offset == {0: 40})
    stopped.set()
    await waiting
    assert (await logged(log))[0] == ids_of(events)


async def test_a_zombie_is_fenced(log, topics, topic):
    """A taker that has lost the lead and does not know: another one has taken the next message, and so this one takes none."""
    events = sample_events(30)
    topics.send(topic, events[:10])
    stopped, takers = asyncio.Event(), []
    kafka = Kafka(topics.bootstrap, topic, ORIGIN)
    zombie = asyncio.create_task(take(log, kafka, options_of(), stopped, on_start=takers.append))
    await until(lambda: takers and takers[0].tally.next_offset == {0: 10})
    stream = (await logged(log))[1][0].stream
    async with open_log(log, interval=60) as other, rivals(other, 1) as (appender,):
        await steps_of(other, 10, events[10:11], stream=stream).send(appender)
        # Of one transaction, so that they come at once, as one batch that begins where the other one began too.
        topics.transactions(topic, [(events[10:], True)])
        with pytest.raises(IntakeFencedError, match="another process takes"):
            await asyncio.wait_for(zombie, 30)
    assert takers[0].tally.fenced == 1
    assert (await logged(log))[0] == ids_of(events[:11])
    await run_to(log, topics, topic, {0: 31}, Wishes())
    assert (await logged(log))[0] == ids_of(events)


# --- What an operator has to settle: each is refused by name, and nothing is ever reset ----------------------------------


async def refused(place, message, wishes=None, error=OperatorError, **options):
    """Check that a taker of (log, topics, topic) ends with this."""
    with pytest.raises(error, match=message):
        async with taking(*place, Wishes() if wishes is None else wishes, **options):
            pass


async def test_retention_that_overtook_the_log_is_named_and_accepted_as_a_gap(log, topics, topic):
    events = sample_events(30)
    topics.send(topic, events[:10])
    await run_to(log, topics, topic, {0: 10})
    topics.send(topic, events[10:])
    topics.remove(topic, 17)
    await refused((log, topics, topic), r"the messages 10 to 16 were removed.*--accept-gap 0=10-16")
    await refused((log, topics, topic), "is not what is missing", Wishes(gaps={0: (10, 20)}), MalformedInputError)
    await run_to(log, topics, topic, {0: 30}, Wishes(gaps={0: (10, 16)}))
    ids, intakes = await logged(log)
    assert ids == ids_of([*events[:10], *events[17:]])
    lost = [part for each in intakes for part in each.partitions if part.lost is True]
    assert [(part.start, part.end) for part in lost] == [(10, 17)]
    assert (await check(log)).problems == []


async def test_a_topic_that_was_made_again_is_refused_at_the_start_and_while_it_runs(log, topics, topic):
    topics.send(topic, sample_events(9))
    await run_to(log, topics, topic, {0: 9})
    topics.make_again(topic)
    topics.send(topic, sample_events(20, seed=2))
    await refused((log, topics, topic), "this log takes from kafka:.* made again")
    await check_nothing_more(log, 9)
    fresh = f"{topic}-b"
    topics.make(fresh)
    topics.send(fresh, sample_events(5, seed=3))
    stopped, takers = asyncio.Event(), []
    kafka = Kafka(topics.bootstrap, fresh, ORIGIN)
    running = asyncio.create_task(take(log, kafka, options_of(), stopped, on_start=takers.append))
    await until(lambda: takers and takers[0].tally.next_offset == {0: 5})
    topics.make_again(fresh)
    with pytest.raises(OperatorError, match="what is taken is of kafka:"):
        await asyncio.wait_for(running, 30)


async def check_nothing_more(location, number):
    assert len((await logged(location))[0]) == number


async def test_control_without_the_topics_id_what_is_in_the_new_one_is_never_read(log, topics, topic, monkeypatch):
    topics.send(topic, sample_events(9))
    await run_to(log, topics, topic, {0: 9})
    before = (await logged(log))[1][0].stream
    topics.make_again(topic)
    topics.send(topic, sample_events(20, seed=2))
    monkeypatch.setattr("tlog.ingest.kafka.stream_name", lambda *_: before)
    await run_to(log, topics, topic, {0: 20}, Wishes())
    assert (await logged(log))[0] == ids_of([*sample_events(9), *sample_events(20, seed=2)[9:]])


async def test_a_cluster_that_has_less_than_was_taken_is_refused(log, topics, topic, database):
    topics.send(topic, sample_events(5))
    await run_to(log, topics, topic, {0: 5})
    stream = (await logged(log))[1][0].stream
    with database.connect_admin() as admin:
        admin.execute("UPDATE tlog.intake SET next_offset = 50")
    await refused(
        (log, topics, topic), f"the table says that partition 0 of {stream} is taken up to 50, the log says 5"
    )
    kafka = Kafka(topics.bootstrap, topic, ORIGIN)
    with pytest.raises(OperatorError, match="ends at offset 5, and the log has taken it up to 50"):
        kafka.check_positions({0: 50})
    kafka.begin({0: 50})
    with pytest.raises(OperatorError, match="ends at offset 5, and the log has taken it up to 50"):
        await until(lambda: kafka.fetch(10, 1).messages)
    kafka.close()


async def test_other_topics_that_are_refused(log, topics, topic):
    await refused((log, topics, "nowhere"), "the cluster has no topic nowhere")
    topics.set(topic, "cleanup.policy", "compact")
    await refused((log, topics, topic), "is compacted")
    topics.set(topic, "cleanup.policy", "delete")
    topics.send(topic, [b"no event"] * 300)
    options = options_of(limits=LIMITS._replace(max_refused=150))
    with pytest.raises(OperatorError, match="messages in a row are no events"):
        await asyncio.wait_for(take(log, Kafka(topics.bootstrap, topic, ORIGIN), options, asyncio.Event()), 30)
    kafka = Kafka("127.0.0.1:1", topic, ORIGIN)
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr("tlog.ingest.kafka._PATIENCE", 0.5)
    with pytest.raises(OverloadedError, match="no broker answers"):
        kafka.describe()
    monkeypatch.undo()
    kafka.close()


# --- As its users run it --------------------------------------------------------------------------------------------------


async def test_the_command_takes_answers_and_ends_in_order(log, topics, topic, directory):
    topics.send(topic, sample_events(50))
    place = ("--data", log.directory.root, "--database", log.database)
    common = ("ingest", "kafka", *place, "--bootstrap", topics.bootstrap, "--topic", topic)
    said = tlog(*common, check=False)
    assert said.returncode == 2
    assert "--from-beginning, --from-end or --from-offset 0=N" in said.stderr
    command = [
        sys.executable,
        "-m",
        "tlog",
        *map(str, common),
        "--from-beginning",
        "--sealing",
        "here",
        "--linger",
        "0.05",
    ]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:  # noqa: ASYNC220 - as users do
        database = Database(log.database)
        async with asyncio.timeout(60):
            while not ((found := await taken(database)) and found[0].next_offset == 50):
                assert process.poll() is None
                await asyncio.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=30)
    assert process.returncode == 0, stderr
    lines = [json.loads(line) for line in stderr.splitlines()]
    assert (lines[-1]["event"], lines[-1]["code"]) == ("stop", 0)
    (started,) = [line for line in lines if "positions" in line]
    assert (started["event"], started["process"], started["positions"]) == ("start", "ingest", {"0": 0})
    released = json.loads(tlog("ingest", "release", *place, "--topic", topic, "--partitions", "0", "--json").stdout)
    assert [(each["partition"], each["next_offset"]) for each in released] == [(0, 50)]
    assert tlog("ingest", "release", *place, "--topic", topic, "--partitions", "0", check=False).returncode == 2
    assert (await check(log)).problems == []


async def test_an_auditor_compares_topic_and_logs(log, topics, topic, directory):
    events = sample_events(40)
    topics.transactions(topic, [(events[:10], True), (events[10:15], False), (events[15:20], True)])
    topics.send(topic, [*events[20:25], b"{not json"])
    await run_to(log, topics, topic, {0: 29})
    exported, letters, key = str(directory / "export"), directory / "letters", log.directory.verifier().vkey()
    async with open_log(log, interval=60) as opened:
        await export_static(opened.reader, directory / "export", await opened.reader.latest_checkpoint())
        found = await list_dead_letters(opened.database)
    letters.write_text("".join(f"{json.dumps(describe(each))}\n" for each in found))
    whole = ("--bootstrap", topics.bootstrap, "--dead-letters", letters)
    done = await asyncio.to_thread(
        tlog, "verify", "intake", "--log", exported, "--vkey", key, "--topic", topic, *whole, check=False
    )
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "VERIFIED"), done.stdout + done.stderr

    async def compare(bootstrap=topics.bootstrap, lines=None):
        compared = CompareTopic(topic, bootstrap, None, None, lines)
        return await asyncio.to_thread(compare_topic, [exported], [key], compared)

    for report, words in (
        (await compare(), "no dead letters were given"),
        (await compare(bootstrap=None), "no --bootstrap was given"),
    ):
        assert (report.exit_code, report.problems, words in report.text()) == (3, [], True)
    topics.remove(topic, 4)
    report = await compare(lines=letters)
    assert (report.exit_code, report.problems) == (3, [])
    assert "has its messages no more" in report.text()


def test_the_demonstration_runs_to_its_end(topics):
    """It has a broker of its own, as whoever runs it has."""
    done = tlog("demo", "--kafka", "--events", 300)
    assert "VERIFIED" in done.stdout
    assert "one dead letter" in done.stdout


async def test_metrics(log, topics, topic):
    topics.send(topic, [*sample_events(4), b"no"])
    stopped, takers = asyncio.Event(), []
    kafka = Kafka(topics.bootstrap, topic, ORIGIN)
    metrics = Metrics(kafka)
    server = serve_metrics(metrics, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.server_port}"
    assert await asyncio.to_thread(status_of, f"{url}/readyz") == 503
    running = asyncio.create_task(
        take(log, kafka, options_of(), stopped, on_start=lambda taker: metrics.watch(taker) or takers.append(taker))
    )
    await until(lambda: takers and takers[0].tally.next_offset == {0: 5})
    page = (await asyncio.to_thread(read, f"{url}/metrics")).splitlines()
    for line in (
        'tlog_intake_messages_total{fate="logged"} 4.0',
        'tlog_intake_messages_total{fate="refused"} 1.0',
        'tlog_intake_next_offset{partition="0"} 5.0',
        'tlog_intake_lag{partition="0"} 0.0',
        'tlog_intake_stalled_seconds{partition="0"} 0.0',
        "tlog_intake_connected 1.0",
        "tlog_intake_fenced_total 0.0",
    ):
        assert line in page
    assert any(line.startswith("tlog_intake_batch_seconds_count ") for line in page)
    assert await asyncio.to_thread(status_of, f"{url}/readyz") == 200
    assert await asyncio.to_thread(status_of, f"{url}/elsewhere") == 404
    with pytest.raises(OperatorError, match="choose another --metrics"):
        serve_metrics(metrics, "127.0.0.1", server.server_port)
    stopped.set()
    await running
    server.shutdown()
    server.server_close()


def read(url):
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read().decode()


def status_of(url):
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
