"""Packing chained rows into runs, as the database takes them: large groups in a thread, beside the event loop.

To frame and compress 3,000 events takes some milliseconds in which nobody would be answered. Compressing leaves the
interpreter to other threads, for all frames of a group at once: asked back after each, the loop would let the thread wait.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from tlog.core.making.run import make_runs
from tlog.storage.rows import NO_RUNS, pack_runs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tlog.core.making.drafts import DraftEntry
    from tlog.storage.rows import PackedRuns
    from tlog.writing.receipts import ChainedRows

_IN_A_THREAD: Final = 1_000  # events


def pack(rows: Sequence[ChainedRows]) -> PackedRuns:
    """Return the runs of rows, each piece of which continues the one before."""
    entries: list[bytes] = []
    drafts: list[DraftEntry] = []
    logged_at: list[int] = []
    for each in rows:
        entries += each.entries
        drafts += each.drafts
        logged_at += [each.end.last_logged_at] * len(each.entries)
    if not entries:
        return NO_RUNS
    return pack_runs(make_runs(rows[0].start.size, entries, logged_at, drafts))


async def pack_group(rows: Sequence[ChainedRows]) -> PackedRuns:
    """Return the runs of rows as `pack` does, those of many in a thread."""
    if sum(len(each.entries) for each in rows) < _IN_A_THREAD:
        return pack(rows)
    return await asyncio.to_thread(pack, rows)
