"""Commands that take events from streams: from Kafka, what could not be taken, and the end of taking."""

from __future__ import annotations

import json
from contextlib import ExitStack, asynccontextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from tlog.cli.options import (
    DEFAULT_DATA,
    Data,
    DatabaseUrl,
    Interval,
    Json,
    Level,
    LogLevel,
    SignerSocket,
    locate,
    need_kafka,
    read_vkey,
)
from tlog.cli.output import exit_on_error, refuse, run, run_service
from tlog.cli.running import begin
from tlog.errors import MalformedInputError, NotFoundError, OperatorError
from tlog.location import DEFAULT_INTERVAL, Sealing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from tlog.checking.topic import Compared, Said
    from tlog.ingest.letters import Retried
    from tlog.ingest.preparing import Wishes
    from tlog.lifecycle.opening import Log
    from tlog.location import Location
    from tlog.storage.intake import DeadLetter, Taken

Bootstrap = Annotated[str, typer.Option(metavar="HOST:PORT", help="Brokers to begin with, separated by commas.")]
TopicName = Annotated[str, typer.Option(help="The topic.")]
KafkaConfig = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Lines NAME=VALUE: TLS, SASL and other properties of librdkafka, secrets too; nobody else may read the file.",
    ),
]


class Format(StrEnum):
    """What a message is."""

    TLOG = "tlog"
    CLOUDEVENTS = "cloudevents"


MessageFormat = Annotated[
    Format, typer.Option("--format", help="What a message is: an event of tlog's own, or a CloudEvent.")
]
ActionMap = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help='With cloudevents: TOML lines "type" = "action", of a type or its last part.'),
]


def kafka(  # noqa: PLR0917 - the options of a command line
    bootstrap: Bootstrap,
    topic: TopicName,
    data: Data = DEFAULT_DATA,
    partitions: Annotated[
        str | None, typer.Option(metavar="0-3,7", help="Partitions that this log takes; all if absent.")
    ] = None,
    format_: MessageFormat = Format.TLOG,
    action_map: ActionMap = None,
    from_beginning: Annotated[
        bool, typer.Option("--from-beginning", help="Take new partitions from their first message on.")
    ] = False,
    from_end: Annotated[bool, typer.Option("--from-end", help="Take new partitions from their end on.")] = False,
    from_offset: Annotated[
        list[str] | None, typer.Option(metavar="P=N", help="Take the new partition P from offset N on; repeatable.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, max=5_000, help="Messages in one request of the log.")] = 4_000,
    linger: Annotated[
        float, typer.Option(min=0, max=60, help="Seconds until a request is sent though it is not full.")
    ] = 0.5,
    in_flight: Annotated[int, typer.Option(min=1, max=16, help="Requests under way.")] = 3,
    max_refused: Annotated[
        int, typer.Option(min=1, max=1_000_000_000, help="End after so many messages in a row that are no events.")
    ] = 1_000,
    dead_letter_topic: Annotated[
        str | None,
        typer.Option(metavar="TOPIC", help="Send on where and why a message is no event, without the message."),
    ] = None,
    forward_raw: Annotated[
        bool, typer.Option("--forward-raw", help="Send the message too, where nobody can take it back.")
    ] = False,
    accept_gap: Annotated[
        list[str] | None,
        typer.Option(metavar="P=N-M", help="Log that the messages N to M of partition P are lost; repeatable."),
    ] = None,
    kafka_config: KafkaConfig = None,
    metrics: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="Answer /metrics and /readyz there.")] = None,
    interval: Interval = DEFAULT_INTERVAL,
    sealing: Annotated[
        Sealing,
        typer.Option(help="Seal in a process of its own, in this one, or leave it to 'tlog serve' or 'tlog seal'."),
    ] = "beside",
    database: DatabaseUrl = None,
    signer: SignerSocket = None,
    log_level: LogLevel = Level.INFO,
) -> None:
    """Take events from a topic of Apache Kafka, each of them once, until stopped."""
    begin("ingest", log_level)
    if action_map is not None and format_ is not Format.CLOUDEVENTS:
        refuse("--action-map goes with --format cloudevents")
    if forward_raw and dead_letter_topic is None:
        refuse("--forward-raw goes with --dead-letter-topic")
    actions = exit_on_error(lambda: _read_action_map(action_map))
    wishes = exit_on_error(
        lambda: _read_wishes(partitions, from_offset or [], accept_gap or [], beginning=from_beginning, end=from_end)
    )
    location = locate(data, database, signer)

    async def work() -> None:
        import asyncio
        import signal

        need_kafka()
        from tlog.ingest.kafka import Forwarder, Kafka
        from tlog.ingest.metrics import Metrics, serve_metrics
        from tlog.ingest.serving import Options, take
        from tlog.ingest.taking import Limits

        config = {} if kafka_config is None else read_kafka_config(kafka_config)
        source = Kafka(bootstrap, topic, location.directory.verifier().name, config)
        figures = Metrics(source)
        forwarder = None
        if dead_letter_topic is not None:
            forwarder = Forwarder(bootstrap, dead_letter_topic, config, raw=forward_raw)
        limits = Limits(batch, linger, in_flight, max_refused)
        with ExitStack() as stack:
            if metrics is not None:
                server = serve_metrics(figures, *_read_address(metrics))
                stack.callback(server.shutdown)
            stopped = asyncio.Event()
            for number in (signal.SIGINT, signal.SIGTERM):
                asyncio.get_running_loop().add_signal_handler(number, stopped.set)
            options = Options(format_.value, wishes, limits, interval, sealing, actions)
            await take(location, source, options, stopped, forwarder=forwarder, on_start=figures.watch)

    run_service(work())


def _read_action_map(path: Path | None) -> Mapping[str, str] | None:
    from tlog.ingest.cloudevents import read_actions

    return None if path is None else read_actions(path.read_bytes())


def _read_wishes(
    partitions: str | None, offsets: Sequence[str], gaps: Sequence[str], *, beginning: bool, end: bool
) -> Wishes:
    from tlog.ingest.preparing import Wishes

    if (beginning, end, bool(offsets)).count(True) > 1:
        message = "--from-beginning, --from-end and --from-offset exclude each other"
        raise MalformedInputError(message)
    start: Any = None
    if beginning or end:
        start = "beginning" if beginning else "end"
    elif offsets:
        start = {number: low for number, (low, _) in _read_places("--from-offset", offsets, ranges=False).items()}
    numbers = None if partitions is None else _read_numbers(partitions)
    return Wishes(numbers, start, _read_places("--accept-gap", gaps, ranges=True))


def _read_numbers(text: str) -> frozenset[int]:
    """Return the partitions that a text such as "0-3,7" names.

    Raises:
        MalformedInputError: it is no such text.

    """
    numbers: set[int] = set()
    for part in text.split(","):
        low, dash, high = part.partition("-")
        first = _read_number("--partitions", low)
        last = _read_number("--partitions", high) if dash else first
        if last < first or last - first > 100_000:  # noqa: PLR2004 - no topic has so many
            message = "--partitions takes numbers and ranges, such as 0-3,7"
            raise MalformedInputError(message)
        numbers |= set(range(first, last + 1))
    return frozenset(numbers)


def _read_places(option: str, texts: Sequence[str], *, ranges: bool) -> dict[int, tuple[int, int]]:
    found: dict[int, tuple[int, int]] = {}
    for text in texts:
        number, _, offsets = text.partition("=")
        low, dash, high = offsets.partition("-")
        if bool(dash) != ranges:
            message = (
                f"{option} takes {'P=N-M' if ranges else 'P=N'}, a partition and {'offsets' if ranges else 'an offset'}"
            )
            raise MalformedInputError(message)
        first = _read_number(option, low)
        found[_read_number(option, number)] = first, _read_number(option, high) if dash else first
    return found


def _read_number(option: str, text: str) -> int:
    from tlog.core.strict import parse_decimal

    return parse_decimal(text.encode(), f"a number of {option}")


def _read_address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65_535:  # noqa: PLR2004 - the largest port
        message = "--metrics takes HOST:PORT, such as 127.0.0.1:9108"
        raise MalformedInputError(message)
    return host.strip("[]"), int(port)


def read_kafka_config(path: Path) -> Mapping[str, str]:
    """Return the properties in a file, whose lines are NAME=VALUE, or begin with # and say nothing.

    Raises:
        OperatorError: others than its owner can read the file.
        MalformedInputError: a line is none, or names a property that a file may not set.
        OSError: the file cannot be read.

    """
    from tlog.ingest.kafka import check_config

    if path.stat().st_mode & 0o077:
        message = f"others can read {path}, and it may hold secrets; chmod 600 it"
        raise OperatorError(message)
    config: dict[str, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        name, equals, value = line.partition("=")
        if not line.strip() or line.startswith("#"):
            continue
        if not equals or name.strip() in config:
            message = f"{path}, line {number} is not NAME=VALUE, or names a property a second time"
            raise MalformedInputError(message)
        config[name.strip()] = value.strip()
    check_config(config)
    return config


def release(  # noqa: PLR0917 - the options of a command line
    topic: TopicName,
    partitions: Annotated[str, typer.Option(metavar="0-3,7", help="Partitions of which this log takes no more.")],
    data: Data = DEFAULT_DATA,
    database: DatabaseUrl = None,
    signer: SignerSocket = None,
    json_output: Json = False,
) -> None:
    """Take no more of partitions, for ever, and print where another log goes on; stop 'tlog ingest kafka' first."""
    numbers = exit_on_error(lambda: _read_numbers(partitions))

    async def work() -> list[Taken]:
        from tlog.ingest.preparing import release as log_release
        from tlog.lifecycle.opening import open_log
        from tlog.lifecycle.running import running
        from tlog.storage.intake import IntakeStore

        async with open_log(locate(data, database, signer)) as log, running(log):
            store = IntakeStore(log.database, "")
            try:
                found = [each for each in await store.all() if each.stream.split("/")[1] == topic and not each.released]
                store.stream = found[0].stream if found else ""
                released = [each for each in found if each.partition in numbers and each.stream == store.stream]
                if missing := sorted(numbers - {each.partition for each in released}):
                    message = f"this log does not take partition {missing[0]} of a topic {topic}"
                    raise NotFoundError(message)
                if not await store.lead():
                    message = (
                        f"a process takes from {store.stream}; stop it first, or nobody knows where another log goes on"
                    )
                    raise OperatorError(message)
                await log_release(log.appender, store.stream, "tlog", released)
            finally:
                await store.close()
            return released

    released = run(work())
    if json_output:
        print(json.dumps([each._asdict() for each in released]))
        return
    for each in released:
        print(
            f"partition {each.partition} is released; another log goes on with --from-offset {each.partition}={each.next_offset}"
        )


# --- Dead letters -----------------------------------------------------------------------------------------------------


def list_dead_letters(
    data: Data = DEFAULT_DATA,
    database: DatabaseUrl = None,
    topic: Annotated[str | None, typer.Option(help="Only those of this topic.")] = None,
    json_output: Json = False,
) -> None:
    """List the messages that are no events: where each is and which rule it breaks, without the message."""
    for each in run(_read_letters(locate(data, database), topic)):
        if json_output:
            print(json.dumps(describe(each)))
        else:
            at = f"partition {each.partition}, offset {each.offset}"
            print(f"{each.stream} {at}: {each.reason}" + (f" (at {each.pointer})" if each.pointer else ""))


async def _read_letters(location: Location, topic: str | None) -> list[DeadLetter]:
    from tlog.lifecycle.opening import database_of
    from tlog.storage.intake import list_dead_letters as read

    async with database_of(location) as database:
        return [each for each in await read(database) if topic is None or each.stream.split("/")[1] == topic]


def show_dead_letter(  # noqa: PLR0917 - the options of a command line
    topic: TopicName,
    partition: Annotated[int, typer.Option(min=0, help="The message's partition.")],
    offset: Annotated[int, typer.Option(min=0, help="The message's offset.")],
    data: Data = DEFAULT_DATA,
    database: DatabaseUrl = None,
    signer: SignerSocket = None,
) -> None:
    """Print a message that is no event, as JSON; that it was looked at is logged."""

    async def work() -> dict[str, object]:
        from tlog.ingest.letters import message_of

        asked = {"ask": "dead-letter", "offset": str(offset), "partition": str(partition), "topic": topic}
        async with _reading_letters(locate(data, database, signer), topic, asked, (partition, offset)) as (_, letters):
            message = message_of(letters[0])
            return {
                **describe(letters[0]),
                "key": _shown(message.key),
                "value": _shown(message.value),
                "headers": [[name.decode("latin-1"), _shown(content)] for name, content in message.headers],
            }

    print(json.dumps(run(work()), ensure_ascii=False))


def _shown(content: bytes | None) -> object:
    """Return bytes as text, or what is no text as base64."""
    from base64 import b64encode

    try:
        return None if content is None else content.decode()
    except UnicodeDecodeError:
        return {"base64": b64encode(content or b"").decode()}


def retry_dead_letters(  # noqa: PLR0917 - the options of a command line
    topic: TopicName,
    partition: Annotated[int | None, typer.Option(min=0, help="Only those of this partition.")] = None,
    offset: Annotated[int | None, typer.Option(min=0, help="Only the one at this offset.")] = None,
    data: Data = DEFAULT_DATA,
    database: DatabaseUrl = None,
    signer: SignerSocket = None,
    format_: MessageFormat = Format.TLOG,
    action_map: ActionMap = None,
    json_output: Json = False,
) -> None:
    """Append the messages that have become events since; that they were looked at is logged."""
    actions = exit_on_error(lambda: _read_action_map(action_map))

    async def work() -> Retried:
        from tlog.ingest.decoding import decoder_of
        from tlog.ingest.letters import retry

        asked = {"ask": "retry-dead-letters", "topic": topic}
        place = partition, offset
        async with _reading_letters(locate(data, database, signer), topic, asked, place) as (log, letters):
            return await retry(log, letters, decoder_of(format_.value, actions))

    done = run(work())
    if json_output:
        print(json.dumps({"logged": done.logged, "repeated": done.repeated, "refused": len(done.refused)}))
    else:
        for letter, refusal in done.refused:
            print(f"partition {letter.partition}, offset {letter.offset}: {refusal.reason}")
        print(f"logged {done.logged:,}, in the log already {done.repeated:,}, still no events {len(done.refused):,}")
    raise typer.Exit(3 if done.refused else 0)


@asynccontextmanager
async def _reading_letters(
    location: Location, topic: str, asked: Mapping[str, str], place: tuple[int | None, int | None]
) -> AsyncIterator[tuple[Log, list[DeadLetter]]]:
    """Open the log, note in it who reads dead letters, and yield them."""
    from tlog.cli.asking import local_principal
    from tlog.lifecycle.journal import journal
    from tlog.lifecycle.opening import open_log
    from tlog.lifecycle.running import running
    from tlog.storage.intake import list_dead_letters as read

    async with open_log(location) as log, running(log):
        await journal(log, local_principal(), "command-line", "read", asked)
        found = await read(log.database, None, *place, raw=True)
        found = [each for each in found if each.stream.split("/")[1] == topic]
        if not found:
            message = f"there is no such dead letter of a topic {topic}"
            raise NotFoundError(message)
        yield log, found


def describe(letter: DeadLetter) -> dict[str, object]:
    """Return what is said of a dead letter: without the message, and with what rebuilds its mark."""
    from tlog.core.strict import encode_base64url

    return {
        "digest": encode_base64url(letter.digest).decode(),
        "forwarded": letter.forwarded,
        "offset": letter.offset,
        "partition": letter.partition,
        "pointer": letter.pointer,
        "reason": letter.reason,
        "refusedAt": letter.refused_at,
        "salt": None if letter.salt is None else encode_base64url(letter.salt).decode(),
        "stream": letter.stream,
    }


# --- Comparing a topic with what logs took of it --------------------------------------------------------------------------


def verify_intake(  # noqa: PLR0917 - the options of a command line
    log: Annotated[
        list[str],
        typer.Option(
            metavar="DIR|URL", help="A log: an exported directory, or a served log; repeatable, with its --vkey."
        ),
    ],
    vkey: Annotated[
        list[str], typer.Option("--vkey", help="The public key of each log, in the same order, literally or as @FILE.")
    ],
    topic: TopicName,
    bootstrap: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Brokers: compare with the topic; without, the logs alone.")
    ] = None,
    kafka_config: KafkaConfig = None,
    action_map: ActionMap = None,
    dead_letters: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Lines of 'tlog ingest dead-letters list --json' of all logs."),
    ] = None,
    json_output: Json = False,
) -> None:
    """Verify that logs took each message of a topic once: that none was withheld, added, swapped or taken twice."""
    if len(log) != len(vkey):
        refuse("each --log has its --vkey, in the same order")
    report = exit_on_error(
        lambda: _compare(log, vkey, _Topic(topic, bootstrap, kafka_config, action_map, dead_letters))
    )
    print(json.dumps(report.to_json()) if json_output else report.text())
    raise typer.Exit(report.exit_code)


class _Topic(NamedTuple):
    """Where the topic is that is compared, and what is needed besides."""

    name: str
    bootstrap: str | None
    kafka_config: Path | None
    action_map: Path | None
    dead_letters: Path | None


def _compare(logs: Sequence[str], vkeys: Sequence[str], topic: _Topic) -> Compared:
    from tlog.checking.mirror import open_mirror
    from tlog.checking.topic import Compared, check_logs, find_events, name_missing, read_log

    report, said, suspects = Compared(), [], {}
    keys = [read_vkey(each) for each in vkeys]
    for name, key in zip(logs, keys, strict=True):
        with open_mirror(name) as mirror:
            said.append(read_log(mirror, key, topic.name))
    check_logs(report, said)
    if topic.bootstrap is None:
        report.unchecked.append("the messages of the topic (no --bootstrap was given)")
    elif report.intakes:
        suspects = _compare_topic(report, said, topic, topic.bootstrap)
    logged: set[bytes] = set()
    for name, key in zip(logs, keys, strict=True):
        if suspects:
            with open_mirror(name) as mirror:
                logged |= find_events(mirror, key, suspects)
    name_missing(report, suspects, logged)
    return report


def _compare_topic(
    report: Compared, said: Sequence[Said], topic: _Topic, bootstrap: str
) -> dict[bytes, tuple[int, int]]:
    need_kafka()
    from tlog.checking.topic import check_marks, parse_letters, ranges_of
    from tlog.ingest.comparing import read_topic
    from tlog.ingest.decoding import decoder_of
    from tlog.ingest.kafka import Kafka

    config = {} if topic.kafka_config is None else read_kafka_config(topic.kafka_config)
    source = Kafka(bootstrap, topic.name, "auditor", config)
    try:
        found = source.describe()
        ours = [each.of_stream(found.stream) for each in said]
        if not any(each.intakes for each in ours):
            message = (
                f"the topic {topic.name} is {found.stream}, of which the logs took nothing; it was made again since"
            )
            raise OperatorError(message)
        letters = None
        if topic.dead_letters is not None:
            lines = topic.dead_letters.read_bytes().splitlines()
            letters = {place: each for (stream, place), each in parse_letters(lines).items() if stream == found.stream}
        starts, ends, name = ranges_of(ours)
        bounds = source.bounds([*ends])
        firsts = {partition: bounds[partition].first for partition in ends}
        source.begin({partition: max(starts[partition], firsts[partition]) for partition in ends})
        decoder = decoder_of(name, _read_action_map(topic.action_map))
        return check_marks(report, ours, read_topic(source, ends, decoder, letters or {}), letters, firsts)
    finally:
        source.close()
