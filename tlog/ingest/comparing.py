"""Reading a topic again, for whoever compares it with what logs say that they took (`tlog.checking.topic`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tlog.checking.topic import Delivered
from tlog.core.intake import raw_message
from tlog.errors import OverloadedError
from tlog.ingest.decoding import Refusal, decode

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from tlog.ingest.decoding import TextOf
    from tlog.ingest.taking import Source

_AT_ONCE: Final = 1_000
_SECONDS: Final = 1.0
_SILENT: Final = 30  # seconds without a message or an end, after which no more is waited for


def read_topic(
    source: Source, ends: Mapping[int, int], text_of: TextOf, letters: Collection[tuple[int, int]]
) -> Iterator[Delivered]:
    """Yield the messages of a topic, of each partition by offset, as far as these ends.

    Args:
        source: the topic, which begins where it is to be read from.
        ends: of each partition the offset to stop before.
        text_of: the decoder that made events of the messages.
        letters: partition and offset of the messages that are wanted whole.

    Raises:
        OperatorError: the topic is not what it was, or has not what is asked for.
        OverloadedError: no more of it comes.

    """
    left, silent = set(ends), 0
    while left:
        fetched = source.fetch(_AT_ONCE, _SECONDS)
        silent = 0 if fetched.messages or fetched.ends else silent + 1
        if silent > _SILENT:
            message = (
                "the topic gives no more, and is not read to its end; a producer's open transaction may hold it up"
            )
            raise OverloadedError(message)
        found = decode(fetched.messages, text_of)
        for each, result in zip(fetched.messages, found, strict=True):
            partition, offset = each.partition, each.offset
            if partition in ends and offset < ends[partition]:
                event_id = None if isinstance(result, Refusal) else bytes.fromhex(result.event_id.replace("-", ""))
                wanted = (partition, offset) in letters
                yield Delivered(
                    partition, offset, event_id, raw_message(each.key, each.value, each.headers) if wanted else b""
                )
            if partition in ends and offset + 1 >= ends[partition]:
                left.discard(partition)
        left -= {partition for partition, end in fetched.ends.items() if end >= ends.get(partition, end)}
