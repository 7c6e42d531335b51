"""What a taker decides before it takes anything: which partitions, from where on, and whether log, table and cluster agree.

The log says how far a stream was taken; the database's table is a copy of that. Nothing here ever resets an offset: where the
three do not agree, somebody has to act.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from tlog.core.entry import IntakeEntry, parse_entry
from tlog.core.intake import MAX_PARTITIONS, Part
from tlog.core.making.intake import draft_intake
from tlog.errors import MalformedInputError, OperatorError
from tlog.storage.intake import Advance

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from tlog.ingest.kafka import Bounds
    from tlog.storage.intake import Taken
    from tlog.writing.appender import Appender


class Wishes(NamedTuple):
    """What a user wants of the partitions.

    Attributes:
        partitions: those to take, None for all.
        start: where a partition is first taken from: its beginning, its end, or offsets by partition; None if none is to be new.
        gaps: ranges [first, last] by partition that are to be logged as lost.

    """

    partitions: frozenset[int] | None = None
    start: Literal["beginning", "end"] | Mapping[int, int] | None = None
    gaps: Mapping[int, tuple[int, int]] = {}


class Plan(NamedTuple):
    """What is taken: of each partition from which offset on; and which of them are new."""

    positions: dict[int, int]
    new: dict[int, int]


def plan(wishes: Wishes, present: Collection[int], taken: Sequence[Taken], bounds: Mapping[int, Bounds]) -> Plan:
    """Return what is to be taken.

    Args:
        wishes: what the user wants.
        present: the partitions that the topic has.
        taken: how far the table says that they are taken.
        bounds: where partitions begin and end.

    Raises:
        MalformedInputError: the wishes contradict each other, or what was taken before.

    """
    before = {each.partition: each.next_offset for each in taken if not each.released}
    released = {each.partition for each in taken if each.released}
    wanted = set(present) - released if wishes.partitions is None else set(wishes.partitions)
    _check_partitions(wanted, set(present), set(before), released)
    new = wanted - set(before)
    # A log that takes all takes those that were added since from their first message on; there was nobody who could have before.
    added = wishes.partitions is None and bool(before)
    if new and wishes.start is None and not added:
        message = (
            f"partition {min(new)} was not taken yet: say where to begin, with --from-beginning, --from-end or "
            f"--from-offset {min(new)}=N"
        )
        raise MalformedInputError(message)
    if wishes.start is not None and (not new or added):
        message = "these partitions are taken already, and go on where the log says; leave out where to begin"
        raise MalformedInputError(message)
    starts = {number: _start(number, wishes, bounds[number], added=added) for number in sorted(new)}
    return Plan(dict(sorted((before | starts).items())), starts)


def _check_partitions(wanted: set[int], present: set[int], before: set[int], released: set[int]) -> None:
    if gone := sorted(before - present):
        message = f"the topic has no partition {gone[0]} any more, of which messages were taken"
        raise OperatorError(message)
    if missing := sorted(wanted - present):
        message = f"the topic has no partition {missing[0]}; it has {len(present)}"
        raise MalformedInputError(message)
    if back := sorted(wanted & released):
        message = f"partition {back[0]} was released, and this log takes no more of it; leave it out of --partitions"
        raise MalformedInputError(message)
    if left := sorted(before - wanted):
        message = f"partition {left[0]} is taken by this log; add it to --partitions, or release it first ('tlog ingest release')"
        raise MalformedInputError(message)


def _start(number: int, wishes: Wishes, bounds: Bounds, *, added: bool) -> int:
    """Return where a new partition is taken from.

    Raises:
        MalformedInputError: nothing says where, or the partition has no such offset.

    """
    if added:
        return 0
    if wishes.start == "beginning":
        return bounds.first
    if wishes.start == "end":
        return bounds.end
    offsets = wishes.start or {}
    if number not in offsets:
        message = f"partition {number} was not taken yet: say --from-offset {number}=N too"
        raise MalformedInputError(message)
    if not bounds.first <= offsets[number] <= bounds.end:
        message = (
            f"partition {number} has the offsets {bounds.first} to {bounds.end}; {offsets[number]} is none of them"
        )
        raise MalformedInputError(message)
    return offsets[number]


async def open_partitions(appender: Appender, stream: str, decoder: str, starts: Mapping[int, int]) -> None:
    """Log that partitions are taken from these offsets on.

    Raises:
        IntakeFencedError: another process has opened one of them.
        OverloadedError: the log cannot take this now.

    """
    places = [*starts.items()]
    for at in range(0, len(places), MAX_PARTITIONS):
        some = places[at : at + MAX_PARTITIONS]
        parts = [Part(start=start, logged=0, partition=number, refused=0, end=start) for number, start in some]
        steps = [Advance(stream, number, start, start, opens=True) for number, start in some]
        await appender.append([draft_intake(stream, decoder, parts, [])], advances=steps)


async def accept_gaps(  # noqa: PLR0917 - the facts, one by one
    appender: Appender,
    stream: str,
    decoder: str,
    plan: Plan,
    gaps: Mapping[int, tuple[int, int]],
    bounds: Mapping[int, Bounds],
) -> None:
    """Log that ranges of messages are lost, and go on after them.

    Raises:
        MalformedInputError: a range is not one that is missing.
        IntakeFencedError: another process takes from the stream.
        OverloadedError: the log cannot take this now.

    """
    for number, (first, last) in sorted(gaps.items()):
        position = plan.positions.get(number)
        if first != position or last + 1 != bounds[number].first:
            there = "is not taken by this log"
            if position is not None:
                there = f"begins at offset {bounds[number].first}, and {position} is next"
            message = f"--accept-gap {number}={first}-{last} is not what is missing: partition {number} {there}"
            raise MalformedInputError(message)
        part = Part(start=first, logged=0, lost=True, partition=number, refused=0, end=last + 1)
        step = Advance(stream, number, first, last + 1)
        await appender.append([draft_intake(stream, decoder, [part], [])], advances=[step])
        plan.positions[number] = last + 1


async def release(appender: Appender, stream: str, decoder: str, taken: Sequence[Taken]) -> None:
    """Log that no more is taken of partitions.

    Raises:
        IntakeFencedError: another process takes from the stream.
        OverloadedError: the log cannot take this now.

    """
    for at in range(0, len(taken), MAX_PARTITIONS):
        some = taken[at : at + MAX_PARTITIONS]
        parts = [
            Part(
                start=each.next_offset,
                logged=0,
                partition=each.partition,
                refused=0,
                released=True,
                end=each.next_offset,
            )
            for each in some
        ]
        steps = [Advance(stream, each.partition, each.next_offset, each.next_offset, releases=True) for each in some]
        await appender.append([draft_intake(stream, decoder, parts, [])], advances=steps)


def check_table(stream: str, taken: Sequence[Taken], newest: Iterable[bytes]) -> None:
    """Compare how far the table says that a stream is taken with the newest entries of the log; older ones `tlog fsck` compares.

    Raises:
        OperatorError: they do not agree.

    """
    left = {each.partition: each for each in taken}
    for data in newest:
        entry = parse_entry(data)
        if not isinstance(entry, IntakeEntry) or entry.intake.stream != stream:
            continue
        for part in entry.intake.partitions:
            row = left.pop(part.partition, None)
            if row is not None and (row.next_offset, row.released) != (part.end, part.released is True):
                message = (
                    f"the table says that partition {part.partition} of {stream} is taken up to {row.next_offset}, the log says "
                    f"{part.end}: somebody changed the table. Nothing is taken; run 'tlog fsck'"
                )
                raise OperatorError(message)
        if not left:
            return
