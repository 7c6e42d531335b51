"""Batches of messages: what of each is appended, what is refused, and the entry that says so.

A batch becomes one request of the appender. Its first drafts are those of its events, in the order of the messages; the last one
is the intake. Appended again after a failure, the drafts of the events are the same.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, NamedTuple

from tlog.core.intake import SALT_SIZE, Part, logged_mark, raw_message, refused_digest, refused_mark
from tlog.core.making.intake import draft_intake
from tlog.core.making.parsing import ParsedEvent
from tlog.core.pseudonym import public_text
from tlog.errors import InvalidEventError
from tlog.ingest.decoding import Refusal, decode
from tlog.storage.intake import Advance, DeadLetter
from tlog.writing.drafting import draft_events

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tlog.core.making.bucket_keys import BucketKeys
    from tlog.core.making.drafts import DraftEntry
    from tlog.ingest.decoding import Message, TextOf

MAX_KEPT_SIZE: Final = 1 << 20
_ID_SIZE: Final = 16
_MAX_NAME: Final = 128  # of through whom an event came in, which the size of an event leaves room for


def appended_by(stream: str) -> str:
    """Return through whom the log says that events of a stream came in: its name, or of a long name the index key."""
    return stream if len(stream) <= _MAX_NAME else f"stream:{public_text('stream', stream)}"


class Maker(NamedTuple):
    """What makes a batch of messages.

    Attributes:
        stream: what the messages are of.
        format: the name of the decoder, and `text_of` the decoder.
        bucket_keys: the log's.

    """

    stream: str
    format: str
    text_of: TextOf
    bucket_keys: BucketKeys

    def make(self, messages: Sequence[Message], starts: Mapping[int, int], ends: Mapping[int, int], now: int) -> Batch:
        """Return a batch.

        Args:
            messages: of each partition by offset.
            starts: of each partition in the batch the first offset that is not taken yet, and `ends` the one after the batch.
            ends: likewise.
            now: microseconds since 1970, UTC.

        """
        found = decode(messages, self.text_of)
        events = [each for each in found if isinstance(each, ParsedEvent)]
        drafts = iter(self._drafts(events))
        results = [each if isinstance(each, Refusal) else next(drafts) for each in found]
        return Batch(self, messages, results, starts, ends, now)

    def _drafts(self, events: Sequence[ParsedEvent]) -> list[DraftEntry | Refusal]:
        try:
            return [*draft_events(events, self.bucket_keys, appended_by(self.stream))]
        except InvalidEventError as error:
            # Keys that begin alike, which happens by chance once in 2^64 events.
            if len(events) == 1:
                return [Refusal(str(error), error.pointer)]
            return [draft for event in events for draft in self._drafts([event])]


class Batch:
    """One request: messages, what became of each of them, and from where to where it goes in each partition.

    Attributes:
        starts: the first offset of each partition that it takes, and `ends` the one after the last.
        ends: likewise.
        refused: how many messages are no events.

    """

    def __init__(  # noqa: PLR0917 - what is known of it, one by one
        self,
        maker: Maker,
        messages: Sequence[Message],
        results: Sequence[DraftEntry | Refusal],
        starts: Mapping[int, int],
        ends: Mapping[int, int],
        now: int,
    ) -> None:
        self._maker = maker
        self._messages = messages
        self._results = list(results)
        self._now = now
        self._salts = os.urandom(SALT_SIZE * len(messages))
        self.starts = starts
        self.ends = ends

    @property
    def refused(self) -> int:
        """How many messages are no events."""
        return sum(isinstance(each, Refusal) for each in self._results)

    @property
    def size(self) -> int:
        """About how many bytes its events have."""
        return sum(len(each.value or b"") for each in self._messages)

    def __len__(self) -> int:
        """Return how many messages it has."""
        return len(self._messages)

    def refusals_in_a_row(self, before: int) -> tuple[int, int]:
        """Return the most refusals in a row, and with how many it ends, after so many before it."""
        most = now = before
        for each in self._results:
            now = now + 1 if isinstance(each, Refusal) else 0
            most = max(most, now)
        return most, now

    def refuse(self, reasons: Mapping[int, str]) -> None:
        """Make dead letters of events: for each, by its place among the drafts, the rule that it breaks."""
        places = [number for number, each in enumerate(self._results) if not isinstance(each, Refusal)]
        for place, reason in reasons.items():
            self._results[places[place]] = Refusal(reason, "/eventId")

    def request(self) -> tuple[list[DraftEntry], list[Advance]]:
        """Return what is appended: the drafts of events and of the intake, and how far the partitions are taken with them."""
        stream, logged, letters = self._maker.stream, dict.fromkeys(self.ends, 0), list[DeadLetter]()
        drafts = [each for each in self._results if not isinstance(each, Refusal)]
        # All in one go: to read them one by one costs several times as much.
        ids = bytes.fromhex("".join([str(draft.event_id) for draft in drafts]).replace("-", ""))
        marks: list[bytes] = []
        at = 0
        for number, (message, result) in enumerate(zip(self._messages, self._results, strict=True)):
            partition = message.partition
            if isinstance(result, Refusal):
                letters.append(self._letter(number, message, result))
                marks.append(refused_mark(partition, message.offset, letters[-1].digest))
            else:
                logged[partition] += 1
                marks.append(logged_mark(partition, message.offset, ids[at : at + _ID_SIZE]))
                at += _ID_SIZE
        parts, steps = [], []
        for partition, end in self.ends.items():
            start, own = self.starts[partition], [each for each in letters if each.partition == partition]
            steps.append(Advance(stream, partition, start, end, own))
            parts.append(Part(start=start, logged=logged[partition], partition=partition, refused=len(own), end=end))
        return [*drafts, draft_intake(stream, self._maker.format, parts, marks)], steps

    def _letter(self, number: int, message: Message, refusal: Refusal) -> DeadLetter:
        salt = self._salts[number * SALT_SIZE : (number + 1) * SALT_SIZE]
        raw = raw_message(message.key, message.value, message.headers)
        return DeadLetter(
            self._maker.stream,
            message.partition,
            message.offset,
            self._now,
            refusal.reason,
            refusal.pointer,
            refused_digest(salt, raw),
            salt,
            raw if len(raw) <= MAX_KEPT_SIZE else None,
        )
