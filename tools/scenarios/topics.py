"""Topics of a real broker: made, filled, cut and made again, as producers and administrators of a cluster do."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaError, KafkaException, Producer, TopicCollection, TopicPartition
from confluent_kafka import admin as library

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_admin: Any = library  # which does not say what it exports

_SECONDS = 60.0


class Topics:
    """The topics of one broker."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self._deleted: dict[str, str | None] = {}
        self.admin: Any = _admin.AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})

    def make(self, name: str, partitions: int = 1, **config: str) -> None:
        """Make a topic, and wait until the broker tells of it; of one that was deleted a moment ago this takes a while."""
        new = _admin.NewTopic(
            name, partitions, 1, config={key.replace("_", "."): value for key, value in config.items()}
        )
        deadline, asked = time.monotonic() + _SECONDS, False
        while not self._try_to_make(new, name, asked=asked):
            assert time.monotonic() < deadline, f"the topic {name} cannot be made"
            time.sleep(0.1)
            asked = True
        self._wait(name, partitions)

    def _try_to_make(self, new: Any, name: str, *, asked: bool) -> bool:  # noqa: ANN401 - the library's
        """Tell whether a topic is made; a broker that has just begun lets a request wait, and may have obeyed it."""
        try:
            self.admin.create_topics([new], request_timeout=5, operation_timeout=5)[name].result(10)
        except KafkaException as error:
            exists = error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS
            return exists and asked and self._id_of(name) not in {None, self._deleted.get(name)}
        except TimeoutError:
            return False
        return True

    def _id_of(self, name: str) -> str | None:
        try:
            return str(self.admin.describe_topics(TopicCollection([name]))[name].result(_SECONDS).topic_id)
        except (KafkaException, TimeoutError):
            return None

    def _wait(self, name: str, partitions: int) -> None:
        deadline = time.monotonic() + _SECONDS
        while True:
            try:
                found = self.admin.describe_topics(TopicCollection([name]))[name].result(_SECONDS)
                if len(found.partitions) == partitions and all(each.leader is not None for each in found.partitions):
                    return
            except (KafkaException, TimeoutError):
                pass
            assert time.monotonic() < deadline, f"the broker does not tell of the topic {name}"
            time.sleep(0.05)

    def make_again(self, name: str, partitions: int = 1) -> None:
        """Delete a topic and make another one of its name."""
        self._deleted[name] = self._id_of(name)
        self.admin.delete_topics([name])[name].result(_SECONDS)
        self.make(name, partitions)

    def grow(self, name: str, partitions: int) -> None:
        """Give a topic more partitions."""
        self.admin.create_partitions([_admin.NewPartitions(name, partitions)])[name].result(_SECONDS)
        self._wait(name, partitions)

    def remove(self, name: str, before: int, partition: int = 0) -> None:
        """Remove the messages before an offset, as retention does."""
        place = TopicPartition(name, partition, before)
        self.admin.delete_records([place])[place].result(_SECONDS)

    def set(self, name: str, key: str, value: str) -> None:
        """Set a property of a topic."""
        entry = _admin.ConfigEntry(key, value, incremental_operation=_admin.AlterConfigOpType.SET)
        resource = _admin.ConfigResource(_admin.ResourceType.TOPIC, name, incremental_configs=[entry])
        self.admin.incremental_alter_configs([resource])[resource].result(_SECONDS)

    def send(self, name: str, values: Iterable[bytes | None], partition: int | None = 0, headers: Any = None) -> None:  # noqa: ANN401 - the library's
        """Send messages to one partition, None for all in turn, and wait until the broker has them."""
        producer: Any = Producer({"bootstrap.servers": self.bootstrap, "linger.ms": "5", "enable.idempotence": "true"})
        for number, value in enumerate(values):
            where = {} if partition is None else {"partition": partition}
            key = b"%d" % number if partition is None else None
            while True:
                try:
                    producer.produce(name, value, key, headers=headers, **where)
                    break
                except BufferError:
                    producer.poll(0.1)
        assert producer.flush(_SECONDS) == 0, "the broker did not take all messages"

    def transactions(self, name: str, parts: Sequence[tuple[Sequence[bytes], bool]], ident: str = "t") -> None:
        """Send the messages of transactions, each of which is committed or aborted."""
        producer: Any = Producer({"bootstrap.servers": self.bootstrap, "transactional.id": f"{name}-{ident}"})
        producer.init_transactions(_SECONDS)
        for values, commits in parts:
            producer.begin_transaction()
            for value in values:
                producer.produce(name, value, partition=0)
            producer.flush(_SECONDS)
            (producer.commit_transaction if commits else producer.abort_transaction)(_SECONDS)

    def open_transaction(self, name: str, values: Sequence[bytes]) -> Any:  # noqa: ANN401 - a producer
        """Send the messages of a transaction that is not ended; return its producer."""
        producer: Any = Producer({"bootstrap.servers": self.bootstrap, "transactional.id": f"{name}-open"})
        producer.init_transactions(_SECONDS)
        producer.begin_transaction()
        for value in values:
            producer.produce(name, value, partition=0)
        producer.flush(_SECONDS)
        return producer
