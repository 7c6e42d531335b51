"""How the hostile administrator of the demo edits within a run: opens it, changes one entry, and stores it as if nothing was.

The statements are for somebody who may do anything, with triggers off. Left out: runs of several rows, which it has none of.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from tlog.core.bundle import format_bundle
from tlog.core.run import RUN_ENTRIES, format_disclosure_run
from tlog.storage.frames import make_frames
from tlog.storage.runs import DISCLOSURE_RUNS, ENTRY_RUNS, StoredRun, open_run

if TYPE_CHECKING:
    from collections.abc import Callable

    from tlog.core.run import Disclosed
    from tlog.storage.runs import Kind
    from tlog.storage.scan import RangeReader

T = TypeVar("T")


def edit_entry(reader: RangeReader, index: int, change: Callable[[bytes], bytes]) -> str:
    """Return the statement that stores another text of an entry."""
    first, _, count, frame, _ = reader.entry_runs(max(0, index - RUN_ENTRIES + 1), index + 1)[-1]
    entries = _changed(ENTRY_RUNS, StoredRun(first, count, frame), index, change)
    return _statement(ENTRY_RUNS, first, format_bundle(entries))


def edit_disclosed(reader: RangeReader, index: int, change: Callable[[Disclosed], Disclosed]) -> str:
    """Return the statement that stores something else for what is disclosed of an entry."""
    first, _, count, frame = reader.disclosure_runs(max(0, index - RUN_ENTRIES + 1), index + 1)[-1]
    disclosed = _changed(DISCLOSURE_RUNS, StoredRun(first, count, frame), index, change)
    return _statement(DISCLOSURE_RUNS, first, format_disclosure_run(disclosed))


def _changed(kind: Kind[T], run: StoredRun, index: int, change: Callable[[T], T]) -> list[T]:
    content = open_run(kind, run)
    content[index - run.first] = change(content[index - run.first])
    return content


def _statement(kind: Kind[T], first: int, content: bytes) -> str:
    return f"UPDATE tlog.{kind.table} SET data = '\\x{make_frames([content])[0].hex()}' WHERE first = {first}"
