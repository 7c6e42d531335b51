"""What logs say that they took of a topic, against the topic itself: was something withheld, added, swapped or taken twice?

Verification goes in steps, each of which says what it found and goes on:

1. The entries of each log lead to the root hash that the log signed (RFC 6962).
2. Of each log, intakes have no gap and no overlap (`tlog.checking.intake`).
3. Over several logs, no message is in the range of two of them, and none between two ranges of a partition in none.
4. The marks of the messages that the topic has in each range lead to the root that the intake commits to.

Step 4 needs the topic, and the digests of refused messages. What is not there to be compared is named as unchecked. It is the
caller's to say which topic is meant, to read it without its aborted transactions, and to say what the eventId of a message is.
The places of all messages are held in memory, about 200 bytes each. Left out: what the events say, which `tlog prove` shows.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from tlog.checking.intake import Intakes
from tlog.core.checkpoint import open_checkpoint
from tlog.core.entry import EventEntry, IntakeEntry, parse_entry
from tlog.core.intake import SALT_SIZE, Intake, logged_mark, marks_root, refused_digest, refused_mark
from tlog.core.merkle import HASH_SIZE, Frontier, leaf_hashes
from tlog.core.strict import parse_base64url
from tlog.core.tile import TILE_WIDTH, tile_width
from tlog.errors import MalformedInputError, NotCheckedError, VerificationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from tlog.checking.mirror import Mirror
    from tlog.core.note import Verifier

_SHOWN: Final = 20
Place = tuple[int, int]  # partition and offset


class Delivered(NamedTuple):
    """A message of the topic: where it is, and the 16 bytes of its eventId if it is an event.

    `raw` is the message itself (`tlog.core.intake.raw_message`) where there is a dead letter of it, else empty.
    """

    partition: int
    offset: int
    event_id: bytes | None
    raw: bytes


class Letter(NamedTuple):
    """What rebuilds the mark of a refused message: its digest, and the salt of that, None once it is discarded."""

    digest: bytes
    salt: bytes | None


class Said(NamedTuple):
    """What a log says of a topic: its intakes with the indexes of their entries, and its mirror's name."""

    name: str
    intakes: list[tuple[int, Intake]]

    def of_stream(self, stream: str) -> Said:
        """Return what it says of one stream."""
        return Said(self.name, [each for each in self.intakes if each[1].stream == stream])


@dataclass
class Compared:
    """What was compared, what is wrong, and what could not be compared."""

    intakes: int = 0
    messages: int = 0
    problems: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0 verified, 1 something is wrong, 3 something could not be compared, or there was nothing."""
        if self.problems:
            return 1
        return 3 if self.unchecked or not self.intakes else 0

    def text(self) -> str:
        """Return the report in words."""
        verdicts = {0: "VERIFIED", 1: "FAILED", 3: "INCOMPLETE"}
        lines = [f"compared {self.messages:,} messages with {self.intakes:,} intakes"]
        lines += [f"not checked: {each}" for each in self.unchecked]
        lines += self.problems[:_SHOWN]
        if len(self.problems) > _SHOWN:
            lines.append(f"… and {len(self.problems) - _SHOWN:,} more problems (--json lists all)")
        return "\n".join([*lines, verdicts[self.exit_code]])

    def to_json(self) -> dict[str, Any]:
        """Return the report as a JSON value."""
        verdict = {0: "verified", 1: "failed", 3: "incomplete"}[self.exit_code]
        return {
            "verdict": verdict,
            "exitCode": self.exit_code,
            "intakes": self.intakes,
            "messages": self.messages,
            "problems": self.problems,
            "unchecked": self.unchecked,
        }


def read_log(mirror: Mirror, log: Verifier, topic: str) -> Said:
    """Return what a log says of the topics of a name, once its entries are shown to be those that it signed.

    Raises:
        VerificationError: the entries do not lead to the signed root hash, or the checkpoint is not this log's.
        MalformedInputError: a file of the mirror has another form.
        NotCheckedError: the mirror is incomplete.
        OverloadedError: the mirror cannot be reached.

    """
    signed = open_checkpoint(mirror.checkpoint(), log)
    tree, found = Frontier(), list[tuple[int, Intake]]()
    for index, entry in _entries(mirror, signed.size):
        tree.extend(leaf_hashes([entry]))
        if b'"type":"intake","v":1}' in entry:
            parsed = parse_entry(entry)
            if isinstance(parsed, IntakeEntry) and parsed.intake.stream.split("/")[1] == topic:
                found.append((index, parsed.intake))
    if tree.root() != signed.root:
        message = f"the entries of {mirror.name} do not lead to the root hash that the log signed"
        raise VerificationError(message)
    return Said(mirror.name, found)


def find_events(mirror: Mirror, log: Verifier, wanted: Iterable[bytes]) -> set[bytes]:
    """Return which eventIds, of 16 bytes each, a log has, whose entries were checked before."""
    left, found = set(wanted), set[bytes]()
    for _, entry in _entries(mirror, open_checkpoint(mirror.checkpoint(), log).size):
        parsed = parse_entry(entry)
        if isinstance(parsed, EventEntry):
            found |= left & {bytes.fromhex(parsed.eventId.replace("-", ""))}
    return found


def _entries(mirror: Mirror, size: int) -> Iterator[tuple[int, bytes]]:
    for start in range(0, size, TILE_WIDTH):
        bundle = start // TILE_WIDTH
        yield from enumerate(mirror.entries(bundle, tile_width(0, bundle, size)), start)


def check_logs(report: Compared, logs: Sequence[Said]) -> None:
    """Check the rules of each log's intakes, and that several logs share out the topic."""
    streams: set[str] = set()
    ranges: dict[tuple[str, int], list[tuple[int, int, str]]] = defaultdict(list)
    for said in logs:
        intakes = Intakes()
        report.intakes += len(said.intakes)
        first: dict[tuple[str, int], int] = {}
        for index, intake in said.intakes:
            streams.add(intake.stream)
            report.problems += [f"{said.name}, entry {index}: {what}" for what in intakes.take(intake)]
            for part in intake.partitions:
                first.setdefault((intake.stream, part.partition), part.start)
        for taken in intakes.taken():
            place = taken.stream, taken.partition
            ranges[place].append((first[place], taken.next_offset, said.name))
    for (stream, partition), found in sorted(ranges.items()):
        report.problems += _shared_out(f"partition {partition} of {stream}", sorted(found))
    for stream in sorted(streams):
        numbers = {partition for name, partition in ranges if name == stream}
        missing = sorted(set(range(max(numbers))) - numbers)
        report.problems += [f"partition {number} of {stream} is taken by none of the logs" for number in missing]


def _shared_out(where: str, found: Sequence[tuple[int, int, str]]) -> Iterator[str]:
    reached, by = found[0][1], found[0][2]
    for start, end, name in found[1:]:
        if start < reached:
            yield f"{where}: the offsets {start} to {min(reached, end) - 1} are taken twice, by {by} and by {name}"
        elif start > reached:
            yield f"{where}: the offsets {reached} to {start - 1} are taken by none of the logs"
        if end > reached:
            reached, by = end, name


def ranges_of(logs: Sequence[Said]) -> tuple[dict[int, int], dict[int, int], str]:
    """Return of each partition where logs began to take it and how far they got, and which decoder made events of it.

    Raises:
        NotCheckedError: there were several decoders.

    """
    starts: dict[int, int] = {}
    ends: dict[int, int] = {}
    decoders: set[str] = set()
    for _, intake in (each for said in logs for each in said.intakes):
        if any(part.logged for part in intake.partitions):
            decoders.add(intake.format)
        for part in intake.partitions:
            starts[part.partition] = min(part.start, starts.get(part.partition, part.start))
            ends[part.partition] = max(part.end, ends.get(part.partition, part.end))
    if len(decoders) > 1:
        message = f"the logs took messages in several formats, {', '.join(sorted(decoders))}; compare them one by one"
        raise NotCheckedError(message)
    return starts, {number: end for number, end in ends.items() if end > starts[number]}, next(iter(decoders), "tlog")


def check_marks(
    report: Compared,
    logs: Sequence[Said],
    delivered: Iterable[Delivered],
    letters: Mapping[Place, Letter] | None,
    first_offsets: Mapping[int, int],
) -> dict[bytes, Place]:
    """Compare the root of each intake with the messages that the topic has in its ranges.

    Args:
        report: where problems go.
        logs: what the logs say, of one stream.
        delivered: the messages of the topic, of each partition by offset; every partition is read as far as the logs took it.
        letters: of refused messages what rebuilds their marks; None where nobody has that.
        first_offsets: of each partition the first offset that the topic still has.

    Returns:
        The eventIds, with their places, of events in ranges whose root is another one: whoever has the logs can say which of them
        are not logged.

    """
    messages = _by_partition(delivered)
    suspects: dict[bytes, Place] = {}
    for said in logs:
        for index, intake in said.intakes:
            ranges = [part for part in intake.partitions if part.start < part.end and not part.lost]
            if any(part.start < first_offsets.get(part.partition, part.start) for part in ranges):
                report.unchecked.append(f"{said.name}, entry {index}: the topic has its messages no more")
                continue
            if letters is None and any(part.refused for part in ranges):
                report.unchecked.append(
                    f"{said.name}, entry {index}: it has refused messages, and no dead letters were given"
                )
                continue
            within = [each for part in ranges for each in messages[part.partition].between(part.start, part.end)]
            report.messages += len(within)
            marks, wrong = _marks(within, letters or {})
            report.problems += [f"{said.name}, entry {index}: {what}" for what in wrong]
            if marks_root(marks) != intake.root_hash():
                stated = sum(part.logged + part.refused for part in ranges)
                where = ", ".join(
                    f"partition {part.partition}, offsets {part.start} to {part.end - 1}" for part in ranges
                )
                how = f"the log took {stated:,} messages there, the topic has {len(within):,}"
                how = "the log took other ones" if stated == len(within) else how
                report.problems.append(f"{said.name}, entry {index}: {where}: not the messages of the topic: {how}")
                suspects |= {each.event_id: each[:2] for each in within if each.event_id is not None}
    return suspects


def name_missing(report: Compared, suspects: Mapping[bytes, Place], logged: set[bytes]) -> None:
    """Name the events of the topic that no log has."""
    for event_id, (partition, offset) in sorted(suspects.items(), key=lambda each: each[1]):
        if event_id not in logged:
            report.problems.append(f"partition {partition}, offset {offset}: this event is in no log")


class _Messages:
    """The messages of a partition by offset."""

    def __init__(self) -> None:
        self.offsets: list[int] = []
        self.all: list[Delivered] = []

    def between(self, start: int, end: int) -> list[Delivered]:
        """Return those at `start` and before `end`."""
        return self.all[bisect_left(self.offsets, start) : bisect_left(self.offsets, end)]


def _by_partition(delivered: Iterable[Delivered]) -> defaultdict[int, _Messages]:
    found: defaultdict[int, _Messages] = defaultdict(_Messages)
    for each in delivered:
        found[each.partition].offsets.append(each.offset)
        found[each.partition].all.append(each)
    return found


def _marks(messages: Sequence[Delivered], letters: Mapping[Place, Letter]) -> tuple[list[bytes], list[str]]:
    """Return the marks of messages as the log would have made them, and what is wrong with the dead letters."""
    marks: list[bytes] = []
    wrong: list[str] = []
    for each in messages:
        letter = letters.get(each[:2])
        if letter is not None:
            if letter.salt is not None and refused_digest(letter.salt, each.raw) != letter.digest:
                wrong.append(f"partition {each.partition}, offset {each.offset}: the dead letter is of another message")
            marks.append(refused_mark(*each[:2], letter.digest))
        elif each.event_id is None:
            wrong.append(f"partition {each.partition}, offset {each.offset}: no event, and no dead letter")
        else:
            marks.append(logged_mark(*each[:2], each.event_id))
    return marks, wrong


def parse_letters(lines: Iterable[bytes]) -> dict[tuple[str, Place], Letter]:
    """Return dead letters by stream and place, from lines as `tlog ingest dead-letters list --json` prints them.

    Raises:
        MalformedInputError: a line is none.

    """
    found: dict[tuple[str, Place], Letter] = {}
    for line in lines:
        try:
            each = _decode_line(line)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            message = "a line is no dead letter as 'tlog ingest dead-letters list --json' prints it"
            raise MalformedInputError(message) from None
        digest = parse_base64url(each.digest.encode(), "a digest", HASH_SIZE)
        salt = None if each.salt is None else parse_base64url(each.salt.encode(), "a salt", SALT_SIZE)
        found[each.stream, (each.partition, each.offset)] = Letter(digest, salt)
    return found


class _Line(msgspec.Struct):
    """What of a line is needed here."""

    digest: str
    offset: int
    partition: int
    salt: str | None
    stream: str


_decode_line: Final = msgspec.json.Decoder(_Line).decode
