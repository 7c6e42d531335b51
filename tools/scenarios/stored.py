"""What a log's tables hold of entries and disclosures, and how somebody who may do anything changes it: how it is kept is known here.

Nothing is hashed again: what was changed stays as it is everywhere else.
"""

from __future__ import annotations

import re
from contextlib import contextmanager, suppress
from itertools import groupby, zip_longest
from typing import TYPE_CHECKING, Any

from tlog.core.bundle import format_bundle
from tlog.core.commitment import group_names
from tlog.core.making.drafts import logged_at_of
from tlog.core.making.run import make_runs
from tlog.core.run import MAX_DISCLOSURE_RUN, Disclosed, format_disclosure_run
from tlog.errors import MalformedInputError
from tlog.storage.frames import make_frames, open_frame
from tlog.storage.rows import cut_frame
from tlog.storage.runs import DISCLOSURE_RUNS, ENTRY_RUNS, join_parts, open_run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    import psycopg

    from tlog.storage.runs import Kind

_GUARDED = {
    "leaf": ("append_only",),
    "tile": ("append_only", "grow_only"),
    "checkpoint": ("append_only",),
    "entry_run": ("append_only",),
    "entry_run_0": ("append_only",),
    "disclosure_run": ("append_only",),
    "disclosure_run_0": ("append_only", "keep_place"),
}
RUNS = ("entry_run", "entry_run_0", "disclosure_run", "disclosure_run_0")


def triggers_off(*tables: str) -> str:
    """Return the statements that switch the triggers of some tables off; without any, of all of the log's."""
    return "; ".join(f"ALTER TABLE tlog.{table} DISABLE TRIGGER ALL" for table in tables or _GUARDED)


def triggers_on(*tables: str) -> str:
    """Return the statements that switch them on again."""
    names = [(table, name) for table in tables or _GUARDED for name in _GUARDED[table]]
    return "; ".join(f"ALTER TABLE tlog.{table} ENABLE ALWAYS TRIGGER {name}" for table, name in names)


@contextmanager
def unguarded(admin: psycopg.Connection[Any], *tables: str) -> Iterator[None]:
    """Switch the triggers of some tables off for a while, of no more than have to be: whoever writes there holds that up."""
    admin.execute(triggers_off(*tables).encode())
    yield
    admin.execute(triggers_on(*tables).encode())


# --- Reading ------------------------------------------------------------------------------------------------------------


def _read(connection: psycopg.Connection[Any], kind: Kind[Any]) -> dict[int, Any]:
    """Return what runs hold by index, of those that open."""
    rows = connection.execute(
        f"SELECT first, part, count, data FROM tlog.{kind.table} ORDER BY first, part", binary=True
    )
    parts: dict[int, list[Any]] = {}
    for row in rows.fetchall():
        parts.setdefault(row[0], []).append(row)
    found: dict[int, Any] = {}
    for first, own in parts.items():
        with suppress(MalformedInputError):
            found.update(enumerate(open_run(kind, join_parts(own)), first))
    return found


def entries_by_index(connection: psycopg.Connection[Any]) -> dict[int, bytes]:
    """Return the entries as the tables have them."""
    return _read(connection, ENTRY_RUNS)


def read_entries(connection: psycopg.Connection[Any]) -> list[bytes]:
    """Return the entries as the tables have them, by index."""
    return list(_read(connection, ENTRY_RUNS).values())


def read_disclosed(connection: psycopg.Connection[Any]) -> list[Disclosed]:
    """Return what the tables have of the disclosures of each entry, by index."""
    return list(_read(connection, DISCLOSURE_RUNS).values())


def disclosed_groups(disclosed: Disclosed) -> list[bytes | None]:
    """Return what is disclosed of an entry: actor, resource, and each related resource; None for what is absent."""
    return [group or None for group in (disclosed.actor, disclosed.resource, *disclosed.related)]


def read_controls(connection: psycopg.Connection[Any]) -> list[bytes]:
    """Return the control entries in order."""
    entries = read_entries(connection)
    rows = connection.execute("SELECT index FROM tlog.leaf WHERE event_id IS NULL ORDER BY index").fetchall()
    return [entries[index] for (index,) in rows]


def opens_alike(frame: bytes, other: bytes) -> bool:
    """Tell whether two frames hold the same."""
    try:
        return open_frame(frame, MAX_DISCLOSURE_RUN) == open_frame(other, MAX_DISCLOSURE_RUN)
    except MalformedInputError:
        return False


# --- Changing -----------------------------------------------------------------------------------------------------------


def _change(connection: psycopg.Connection[Any], kind: Kind[Any], index: int, change: Callable[[Any], Any]) -> None:
    """Change what a run holds of an entry; its rows stay as many as they are."""
    rows = connection.execute(
        f"SELECT first, part, count, data FROM tlog.{kind.table} WHERE first = "
        f"(SELECT max(first) FROM tlog.{kind.table} WHERE first <= %s) ORDER BY part",
        (index,),
        binary=True,
    ).fetchall()
    content = open_run(kind, join_parts(rows))
    first = rows[0][0]
    content[index - first] = change(content[index - first])
    data = format_bundle(content) if kind is ENTRY_RUNS else format_disclosure_run(content)
    parts = cut_frame(make_frames([data])[0])
    assert len(parts) <= len(rows), "the run has grown out of its rows"
    for part, piece in zip_longest(range(len(rows)), parts, fillvalue=b""):
        connection.execute(
            f"UPDATE tlog.{kind.table} SET data = %s WHERE first = %s AND part = %s", (piece, first, part)
        )


def change_entry(admin: psycopg.Connection[Any], index: int, change: Callable[[bytes], bytes]) -> None:
    """Change an entry's bytes, as the hostile administrator does."""
    with unguarded(admin, *RUNS):
        _change(admin, ENTRY_RUNS, index, change)


def change_disclosed(connection: psycopg.Connection[Any], index: int, change: Callable[[Disclosed], Disclosed]) -> None:
    """Change what is disclosed of an entry, which the role that erases may."""
    _change(connection, DISCLOSURE_RUNS, index, change)


def erase(connection: psycopg.Connection[Any], indexes: Iterable[int], *groups: str) -> None:
    """Empty groups of some entries, by default all of them."""

    def without(disclosed: Disclosed) -> Disclosed:
        names = group_names(len(disclosed.related))
        pairs = zip(names, (disclosed.actor, disclosed.resource, *disclosed.related), strict=True)
        actor, resource, *related = [b"" if not groups or name in groups else data for name, data in pairs]
        return Disclosed(actor, resource, tuple(related))

    for index in indexes:
        change_disclosed(connection, index, without)


def store(admin: psycopg.Connection[Any], entries: Mapping[int, bytes], disclosed: Mapping[int, Disclosed]) -> None:
    """Let the tables of runs hold these and nothing else, as if those without a gap had been appended together."""
    runs = []
    for first, end in _without_gaps(sorted(entries)):
        own = [entries[index] for index in range(first, end)]
        given = [disclosed.get(index, Disclosed()) for index in range(first, end)]
        runs += make_runs(first, own, [_logged_at(entry) for entry in own], given)
    frames = make_frames([run.entries for run in runs]), make_frames([run.disclosures for run in runs])
    with unguarded(admin, *RUNS):
        admin.execute("DELETE FROM tlog.entry_run; DELETE FROM tlog.disclosure_run")
        for run, entry_frame, disclosure_frame in zip(runs, *frames, strict=True):
            for part, data in enumerate(cut_frame(entry_frame)):
                values = run.first, run.logged_at, part, run.count, data
                admin.execute("INSERT INTO tlog.entry_run VALUES (%s, %s, %s, %s, %s)", values)
            for part, data in enumerate(cut_frame(disclosure_frame)):
                admin.execute(
                    "INSERT INTO tlog.disclosure_run VALUES (%s, %s, %s, %s)", (run.first, part, run.count, data)
                )


def _without_gaps(indexes: Sequence[int]) -> Iterator[tuple[int, int]]:
    for _, group in groupby(enumerate(indexes), lambda each: each[1] - each[0]):
        own = [index for _, index in group]
        yield own[0], own[-1] + 1


@contextmanager
def rows(admin: psycopg.Connection[Any]) -> Iterator[None]:
    """Show entries and disclosures as rows of two temporary tables, and store what became of those: whoever tampers thinks in rows.

    leaf (index, event_id, entry, leaf_hash, chain_hash)    a row that is deleted takes along what is disclosed of it
    disclosure (index, actor, resource, related)            what is absent is null; a row that is deleted leaves nothing
    """
    entries, disclosed = _read(admin, ENTRY_RUNS), _read(admin, DISCLOSURE_RUNS)
    leaves = "SELECT index, event_id, leaf_hash, chain_hash FROM {} ORDER BY index, event_id, leaf_hash"
    before = admin.execute(leaves.format("tlog.leaf")).fetchall()
    admin.execute(
        "CREATE TEMP TABLE leaf (index bigint, event_id uuid, entry bytea, leaf_hash bytea, chain_hash bytea);"
        "CREATE TEMP TABLE disclosure (index bigint, actor bytea, resource bytea, related bytea[])"
    )
    with admin.cursor() as cursor:
        numbered = [(*row[:2], entries[row[0]], *row[2:]) for row in before]
        cursor.executemany("INSERT INTO leaf VALUES (%s, %s, %s, %s, %s)", numbered)
        found = [(n, *disclosed_groups(each)[:2], disclosed_groups(each)[2:]) for n, each in disclosed.items()]
        cursor.executemany("INSERT INTO disclosure VALUES (%s, %s, %s, %s)", [row for row in found if any(row[1:])])
    yield
    after = {index: bytes(entry) for index, entry in admin.execute("SELECT index, entry FROM leaf")}
    there = {row[0]: row[1:] for row in admin.execute("SELECT * FROM disclosure")}
    left = {index: _disclosed(there.get(index), disclosed.get(index, Disclosed())) for index in after}
    if (after, left) != (entries, disclosed):
        store(admin, after, left)
    if admin.execute(leaves.format("leaf")).fetchall() != before:
        with unguarded(admin, "leaf"):
            admin.execute(
                "DELETE FROM tlog.leaf; INSERT INTO tlog.leaf SELECT index, event_id, leaf_hash, chain_hash FROM leaf"
            )
    admin.execute("DROP TABLE leaf, disclosure")


def tamper(admin: psycopg.Connection[Any], statements: str) -> None:
    """Run statements on the tables of `rows` and on the log's own, with triggers off; one that drops a trigger leaves them off."""
    named = [table for table in _GUARDED if re.search(rf"tlog\.{table}\b", statements)]
    tables = {each for table in named for each in (RUNS if table in RUNS else (table,))}
    off, on = (triggers_off(*tables), triggers_on(*tables)) if tables else ("", "")
    with rows(admin):
        admin.execute(f"{off}; {statements}; {'' if 'DROP TRIGGER' in statements else on}".encode())


def _disclosed(row: Sequence[Any] | None, before: Disclosed) -> Disclosed:
    actor, resource, related = row or (None, None, [None] * len(before.related))
    return Disclosed(bytes(actor or b""), bytes(resource or b""), tuple(bytes(each or b"") for each in related))


def _logged_at(entry: bytes) -> int:
    try:
        return logged_at_of(entry)
    except MalformedInputError:
        return 0
