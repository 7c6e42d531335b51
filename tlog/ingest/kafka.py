"""Apache Kafka: the one module that speaks to it, through librdkafka (the extra `tlog-audit[kafka]`).

Partitions are assigned by hand at the offsets that the log holds. There is no consumer group and nothing is rebalanced; offsets
are committed for the dashboards of others alone. A topic that is deleted and made again under its name gives no error to a
consumer (librdkafka #3255), so its ID is compared again and again.

Left out: pausing partitions, which skipped offsets (librdkafka #4235). Whoever wants no more does not ask.
"""

from __future__ import annotations

import logging
import struct
import threading
import time
from contextlib import suppress
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType  # type: ignore[attr-defined]

from tlog.core.intake import stream_name
from tlog.core.strict import encode_base64url
from tlog.errors import MalformedInputError, OperatorError, OverloadedError
from tlog.ingest.decoding import Message
from tlog.ingest.taking import Fetched

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

_PATIENCE: Final = 10.0
_LOOK_SECONDS: Final = 5.0
_SETTLE_SECONDS: Final = 5.0  # in which a broker that begins anew knows where its partitions end
_OWN: Final = {
    "enable.auto.commit": "false",
    "enable.auto.offset.store": "false",
    "isolation.level": "read_committed",
    "auto.offset.reset": "error",
    "enable.partition.eof": "true",
    "queued.max.messages.kbytes": "32768",
}
# What a file may set: where brokers are and how one proves who one is. Other mechanisms run code or load libraries.
_ALLOWED: Final = frozenset(
    (
        "bootstrap.servers", "security.protocol", "sasl.mechanism", "sasl.mechanisms", "sasl.username", "sasl.password",
        "sasl.oauthbearer.config", "sasl.oauthbearer.method", "sasl.oauthbearer.client.id", "sasl.oauthbearer.client.secret",
        "sasl.oauthbearer.scope", "sasl.oauthbearer.extensions", "sasl.oauthbearer.token.endpoint.url",
        "ssl.ca.location", "ssl.certificate.location", "ssl.key.location", "ssl.key.password", "ssl.crl.location",
        "ssl.endpoint.identification.algorithm", "enable.ssl.certificate.verification", "client.id", "client.rack",
        "socket.keepalive.enable", "broker.address.family", "metadata.max.age.ms",
    )
)  # fmt: skip
_MECHANISMS: Final = frozenset(("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"))
_END: Final = KafkaError._PARTITION_EOF  # noqa: SLF001 - the library's own names begin so
_NO_OFFSET: Final = KafkaError._AUTO_OFFSET_RESET  # noqa: SLF001 - likewise
_NO_TOPIC: Final = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC)  # noqa: SLF001 - likewise
_NO_RIGHT: Final = (
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError._AUTHENTICATION,  # noqa: SLF001 - likewise
)
_AWAY: Final = (KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT, KafkaError._RESOLVE)  # noqa: SLF001 - likewise
_LIBRARY: Final = logging.getLogger("librdkafka")
_log: Final = structlog.get_logger()


class Topic(NamedTuple):
    """A topic as a cluster describes it."""

    stream: str
    partitions: frozenset[int]


class Bounds(NamedTuple):
    """The first offset that a partition still has, and the one after its last."""

    first: int
    end: int


def check_config(config: Mapping[str, str]) -> None:
    """Check properties that a file of the user sets.

    Raises:
        MalformedInputError: one is not among those that a file may set.

    """
    for name in sorted(config.keys() - _ALLOWED):
        why = (
            "tlog sets it itself" if name in _OWN or name == "group.id" else "it is not among those that tlog passes on"
        )
        message = f"the property {name} cannot be set: {why}"
        raise MalformedInputError(message)
    mechanism = config.get("sasl.mechanism", config.get("sasl.mechanisms", "PLAIN"))
    if mechanism not in _MECHANISMS:
        message = f"sasl.mechanism is one of {', '.join(sorted(_MECHANISMS))}"
        raise MalformedInputError(message)


class Kafka:
    """A topic that is taken from: a `tlog.ingest.taking.Source`. Its methods wait; `look` has a thread of its own.

    Attributes:
        connected: whether a broker answers.

    """

    def __init__(self, bootstrap: str, topic: str, origin: str, config: Mapping[str, str] | None = None) -> None:
        """Prepare; nothing is asked yet.

        Args:
            bootstrap: HOST:PORT of brokers, separated by commas.
            topic: the topic's name.
            origin: the log's name, by which others see in the cluster who reads.
            config: further properties (`check_config`).

        Raises:
            MalformedInputError: librdkafka refuses a property.

        """
        common: dict[str, Any] = {
            "bootstrap.servers": bootstrap,
            **(config or {}),
            "logger": _LIBRARY,
            "error_cb": self._note_error,
        }
        group = f"tlog-{sha256(origin.encode()).hexdigest()[:16]}"
        try:
            # Untyped: the library's types let a message of a partition be without a place, which it never is.
            self._consumer: Any = Consumer({**common, **_OWN, "group.id": group})
            self._admin = AdminClient(common)
        except KafkaException as error:
            message = f"librdkafka refuses its properties: {error.args[0].str()}"
            raise MalformedInputError(message) from None
        self._topic = topic
        self._stream = ""
        self._positions: dict[int, int] = {}
        self._lost = threading.Event()
        self.connected = True
        self._stalled: dict[int, float] = {}

    # --- What the cluster says ---------------------------------------------------------------------------------------

    def describe(self) -> Topic:
        """Return the topic as it is now.

        Raises:
            OperatorError: there is no such topic, it may not be read, or it is another one than before.
            OverloadedError: no broker answers.

        """
        try:
            cluster = self._admin.describe_cluster(request_timeout=_PATIENCE).result(_PATIENCE)
            asked = self._admin.describe_topics(TopicCollection([self._topic]), request_timeout=_PATIENCE)
            found = asked[self._topic].result(_PATIENCE)
        except (KafkaException, TimeoutError) as error:
            raise self._named(error) from None
        self.connected = True
        ident = found.topic_id  # its text has the other alphabet of base64 than Kafka's own tools
        bits = ident.get_most_significant_bits(), ident.get_least_significant_bits()
        topic_id = encode_base64url(struct.pack(">qq", *bits)).decode()
        name = stream_name(cluster.cluster_id, self._topic, topic_id)
        self._stream = self._stream or name
        if name != self._stream:
            message = (
                f"the topic {self._topic} is {name} now, and what is taken is of {self._stream}: it was made again, or the "
                "cluster is another one. Nothing is taken. To take from the new one, release the old one ('tlog ingest release')"
            )
            raise OperatorError(message)
        partitions = frozenset(each.id for each in found.partitions)
        if gone := sorted(self._positions.keys() - partitions):
            message = f"the topic {self._topic} has no partition {gone[0]} any more, of which messages were taken"
            raise OperatorError(message)
        return Topic(name, partitions)

    def check_retention(self) -> None:
        """Check that the cluster keeps what was not taken yet, and not only the newest message of each key.

        Raises:
            OperatorError: the topic is compacted.
            OverloadedError: no broker answers.

        """
        resource = ConfigResource(ResourceType.TOPIC, self._topic)
        try:
            found = self._admin.describe_configs([resource], request_timeout=_PATIENCE)[resource].result(_PATIENCE)
        except (KafkaException, TimeoutError) as error:
            raise self._named(error) from None
        if "compact" in found["cleanup.policy"].value:
            message = (
                f"the topic {self._topic} is compacted: the cluster removes messages before they are taken. Set cleanup.policy "
                "to delete, or take from another topic"
            )
            raise OperatorError(message)

    def bounds(self, partitions: Sequence[int]) -> dict[int, Bounds]:
        """Return where partitions begin and end now.

        Raises:
            OverloadedError: no broker answers.

        """
        try:
            return {
                number: Bounds(*self._consumer.get_watermark_offsets(TopicPartition(self._topic, number), _PATIENCE))
                for number in partitions
            }
        except KafkaException as error:
            raise self._named(error) from None

    def check_positions(self, positions: Mapping[int, int]) -> None:
        """Check that the cluster has what comes next; one that has just begun may know of less for a moment.

        Raises:
            OperatorError: it was removed before it was taken, or the cluster has less than was taken.
            OverloadedError: no broker answers.

        """
        bounds, deadline = self.bounds([*positions]), time.monotonic() + _SETTLE_SECONDS
        while any(positions[number] > end for number, (_, end) in bounds.items()) and time.monotonic() < deadline:
            time.sleep(_SETTLE_SECONDS / 10)
            bounds = self.bounds([*positions])
        for number, (first, end) in bounds.items():
            position = positions[number]
            if position < first:
                message = (
                    f"partition {number} of {self._topic} begins at offset {first}, and {position} is next: the messages "
                    f"{position} to {first - 1} were removed before they were taken. To log that they are lost, and go on, say "
                    f"--accept-gap {number}={position}-{first - 1}"
                )
                raise OperatorError(message)
            if position > end:
                message = (
                    f"partition {number} of {self._topic} ends at offset {end}, and the log has taken it up to {position}: the "
                    "cluster lost messages, or is another one. Nothing is taken, because other messages would get offsets that "
                    "the log has; bring the cluster back, or take from a new topic"
                )
                raise OperatorError(message)

    # --- Taking ------------------------------------------------------------------------------------------------------

    def begin(self, positions: Mapping[int, int]) -> None:
        """Take further partitions, each from its position on."""
        self._positions |= positions
        self._consumer.assign([TopicPartition(self._topic, *each) for each in self._positions.items()])

    def fetch(self, most: int, seconds: float) -> Fetched:
        """Return up to `most` messages, waiting so many seconds for them.

        Raises:
            OperatorError: the cluster has not what comes next.

        """
        messages: list[Message] = []
        ends: dict[int, int] = {}
        taken: dict[int, int] = {}
        for each in self._consumer.consume(most, seconds):
            error = each.error()
            if error is None:
                named = each.headers()
                headers = [(name.encode(), content) for name, content in named] if named else ()
                message = Message(each.partition(), each.offset(), each.key(), each.value(), headers)
                messages.append(message)
                taken[message.partition] = message.offset + 1
            elif error.code() == _END:
                ends[each.partition()] = each.offset()
            else:
                self._lost.set()
                if error.code() == _NO_OFFSET:
                    self._check_offsets()
        if messages:
            self.connected = True
        self._positions |= taken
        self._positions |= {number: end for number, end in ends.items() if end > self._positions.get(number, end)}
        self._note_stalls(taken, ends)
        return Fetched(messages, ends)

    def _check_offsets(self) -> None:
        """Find out why the cluster has not what comes next; if it has, ask for it again."""
        with suppress(OverloadedError):
            self.describe()  # of a topic that was made again the offsets say nothing
            self.check_positions(self._positions)
        self.begin({})

    def look(self, stop: threading.Event) -> Topic | None:
        """Return the topic as it is after some seconds, at once after an error; None if it cannot be asked, or at the end.

        Raises:
            OperatorError: there is no such topic any more.

        """
        deadline = time.monotonic() + _LOOK_SECONDS
        while not (stop.is_set() or self._lost.is_set() or time.monotonic() >= deadline):
            stop.wait(0.1)
        self._lost.clear()
        if stop.is_set():
            return None
        self._admin.poll(0)
        try:
            return self.describe()
        except OverloadedError:
            return None

    def _note_stalls(self, taken: Collection[int], ends: Mapping[int, int]) -> None:
        """Note since when partitions have messages after the end that may be read: an open transaction holds these up."""
        for number in taken:
            self._stalled.pop(number, None)
        for number, end in ends.items():
            _, last = self._consumer.get_watermark_offsets(TopicPartition(self._topic, number), cached=True)
            if last > end:
                self._stalled.setdefault(number, time.monotonic())
            else:
                self._stalled.pop(number, None)

    def stalled(self) -> dict[int, float]:
        """Return of each partition for how many seconds an open transaction of a producer holds up what comes next."""
        now = time.monotonic()
        since = {**self._stalled}
        return {number: now - since[number] if number in since else 0.0 for number in [*self._positions]}

    def lag(self) -> dict[int, int]:
        """Return of each partition how many offsets are not taken yet, as far as the library knows without asking."""
        found = {}
        for number, position in [*self._positions.items()]:
            with suppress(KafkaException):
                _, end = self._consumer.get_watermark_offsets(TopicPartition(self._topic, number), cached=True)
                found[number] = max(0, end - position)
        return found

    def commit(self, positions: Mapping[int, int]) -> None:
        """Say in the cluster how far the log has got, for dashboards; nothing reads it back, and an error is no matter."""
        with suppress(KafkaException):
            offsets = [TopicPartition(self._topic, number, offset) for number, offset in positions.items()]
            self._consumer.commit(offsets=offsets, asynchronous=True)

    def close(self) -> None:
        """End."""
        with suppress(KafkaException, RuntimeError):
            self._consumer.close()

    def _note_error(self, error: KafkaError) -> None:
        """Take note of what librdkafka meets beside the messages."""
        if error.code() in _AWAY and self.connected:
            self.connected = False
            _log.warning("broker_away", reason=error.name())
        self._lost.set()

    def _named(self, error: Exception) -> OperatorError | OverloadedError:
        """Return what an error of the cluster is, by whose matter it is."""
        reason = error.args[0] if isinstance(error, KafkaException) else None
        code = reason.code() if isinstance(reason, KafkaError) else None
        text = reason.str() if isinstance(reason, KafkaError) else "no answer"
        if code in _NO_TOPIC:
            message = f"the cluster has no topic {self._topic}; check --topic and --bootstrap"
            return OperatorError(message)
        if code in _NO_RIGHT:
            message = f"the cluster refuses: {text}; give tlog the right to describe and read the topic {self._topic}"
            return OperatorError(message)
        self.connected = False
        message = f"no broker answers ({text}); check --bootstrap"
        return OverloadedError(message)


class Forwarder:
    """Sends what is no event to another topic: where it is and why.

    Attributes:
        raw: whether the message itself goes there as well, where nobody can take it back.

    """

    def __init__(
        self, bootstrap: str, topic: str, config: Mapping[str, str] | None = None, *, raw: bool = False
    ) -> None:
        self.raw = raw
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                **(config or {}),
                "logger": _LIBRARY,
                "enable.idempotence": "true",
                "message.timeout.ms": "10000",
            }
        )
        self._topic = topic

    def send(self, letters: Sequence[tuple[bytes, bytes]]) -> bool:
        """Send messages, each its key and value, and wait; tell whether the cluster has all of them."""
        failed: list[object] = []

        def delivered(error: object, _: object) -> None:
            if error is not None:
                failed.append(error)

        for key, value in letters:
            self._producer.produce(self._topic, value, key, on_delivery=delivered)
        return self._producer.flush(2 * _PATIENCE) == 0 and not failed


# --- What demonstrations and tests need of a broker ----------------------------------------------------------------------


def is_ready(bootstrap: str) -> bool:
    """Tell whether a broker answers."""
    try:
        AdminClient({"bootstrap.servers": bootstrap, "log_level": 0}).list_topics(timeout=2)
    except KafkaException:
        return False
    return True


def fill_topic(bootstrap: str, topic: str, partitions: int, values: Sequence[bytes]) -> None:
    """Make a topic and send messages to all of its partitions in turn.

    Raises:
        OverloadedError: the broker does not take them.

    """
    admin, producer = (
        AdminClient({"bootstrap.servers": bootstrap, "log_level": 0}),
        Producer({"bootstrap.servers": bootstrap}),
    )
    with suppress(KafkaException, TimeoutError):  # what is sent shows whether it is there
        admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(_PATIENCE)
    for number, value in enumerate(values):
        producer.produce(topic, value, partition=number % partitions)
        if number % 1_000 == 0:
            producer.poll(0)
    if producer.flush(3 * _PATIENCE):
        message = "the broker does not take what is sent to it"
        raise OverloadedError(message)
