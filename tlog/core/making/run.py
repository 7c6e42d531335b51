"""Cutting consecutive entries and their disclosures into the runs that the database holds (`tlog.core.run`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tlog.core.bundle import format_bundle
from tlog.core.run import PARTITION_ENTRIES, RUN_ENTRIES, format_disclosure_run

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tlog.core.run import Discloses


class Run(NamedTuple):
    """`count` entries from index `first` on, and what they disclose; `logged_at` is the first one's, microseconds since 1970."""

    first: int
    count: int  # type: ignore[assignment]  # hides tuple.count, which means nothing here
    logged_at: int
    entries: bytes
    disclosures: bytes


def cut(start: int, end: int, partition: int = PARTITION_ENTRIES) -> Iterator[tuple[int, int]]:
    """Yield first and end of each run of the entries [start, end): 8 of them, fewer at the end and where a partition ends."""
    while start < end:
        stop = min(start + RUN_ENTRIES, end, (start // partition + 1) * partition)
        yield start, stop
        start = stop


def make_runs(
    start: int,
    entries: Sequence[bytes],
    logged_at: Sequence[int],
    disclosed: Sequence[Discloses],
    partition: int = PARTITION_ENTRIES,
) -> list[Run]:
    """Return the runs of entries from index `start` on.

    Args:
        start: index of the first entry.
        entries: their bytes.
        logged_at: of each entry its loggedAt, in microseconds since 1970.
        disclosed: of each entry what it discloses.
        partition: how many indexes a partition has.

    Raises:
        MalformedInputError: an entry or a group is too long for its length field.

    """
    runs = []
    for first, end in cut(start, start + len(entries), partition):
        own = slice(first - start, end - start)
        made = format_bundle(entries[own]), format_disclosure_run(disclosed[own])
        runs.append(Run(first, end - first, logged_at[own.start], *made))
    return runs
