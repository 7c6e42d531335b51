"""What events take on disk: by table and index of a log, against plain rows of the same events."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Final

import psycopg

from benchmarks.generator import feed
from benchmarks.library import load
from benchmarks.service import scratch
from tlog.postgres.server import EmbeddedPostgres
from tlog.storage.runs import ENTRY_RUNS, open_rows

if TYPE_CHECKING:
    from pathlib import Path

_SIZES: Final = """
SELECT coalesce(parent.relname, class.relname) AS table_name, class.relkind::text,
       pg_relation_size(class.oid) + coalesce(pg_total_relation_size(nullif(class.reltoastrelid, 0)), 0)
FROM pg_class AS class
LEFT JOIN pg_index AS of_index ON of_index.indexrelid = class.oid
LEFT JOIN pg_inherits AS inherits ON inherits.inhrelid = coalesce(of_index.indrelid, class.oid)
LEFT JOIN pg_class AS parent ON parent.oid = coalesce(inherits.inhparent, of_index.indrelid)
WHERE class.relnamespace = 'tlog'::regnamespace AND class.relkind IN ('r', 'i')
"""
_SAMPLE: Final = "SELECT first, part, count, data FROM tlog.entry_run_0 WHERE first < 10000 ORDER BY first, part"
_TOTAL: Final = """
SELECT sum(pg_total_relation_size(oid))::bigint FROM pg_class WHERE relnamespace = 'tlog'::regnamespace AND relkind = 'r'
"""


def storage(data: Path | None, events: int, parent: Path | None) -> dict[str, Any]:
    """Measure the log in `data`, or a new one with `events` events; and plain rows of as many events as that one has."""
    with scratch(parent) as directory:
        if data is None:
            data = directory / "log"
            load(data, events)
        return {"log": _log(data), "plain": _plain(directory / "plain", events)}


def _log(data: Path) -> dict[str, Any]:
    server = EmbeddedPostgres(data / "postgres")
    with server, psycopg.connect(server.conninfo(user="postgres")) as connection:
        size = _one(connection, "SELECT size FROM tlog.log_state")
        parts: dict[str, dict[str, float]] = {}
        for table, kind, taken in connection.execute(_SIZES).fetchall():
            place = "indexes" if kind == "i" else "rows"
            part = parts.setdefault(table, {"rows": 0, "indexes": 0})
            part[place] += taken / size
        total = _one(connection, _TOTAL)
        rows = connection.execute(_SAMPLE).fetchall()
        sample = [entry for _, entries in open_rows(ENTRY_RUNS, rows) for entry in entries]
        raw = sum(map(len, sample)) / len(sample)
    rounded = {table: {place: round(each, 1) for place, each in part.items()} for table, part in parts.items()}
    kept = {table: part for table, part in rounded.items() if sum(part.values()) >= 0.1}  # noqa: PLR2004 - bytes
    return {"entries": size, "bytes_per_event": round(total / size, 1), "entry_bytes": round(raw), "parts": kept}


def _plain(directory: Path, events: int) -> dict[str, Any]:
    """Keep the events' own texts in a table with a primary key and a unique eventId, and nothing else."""
    server = EmbeddedPostgres(directory / "postgres")
    server.create()
    raw = 0
    with server, psycopg.connect(server.conninfo(user="postgres")) as connection:
        connection.execute("CREATE TABLE plain (id bigserial PRIMARY KEY, event_id uuid UNIQUE, event bytea NOT NULL)")
        with connection.cursor().copy("COPY plain (event_id, event) FROM STDIN") as copy:
            for line in itertools.chain.from_iterable(block.split(b"\n") for block in feed(events)):
                raw += len(line)
                copy.write_row((line[12:48].decode(), line))
        rows, total = (_one(connection, f"SELECT pg_{what}_size('plain')") for what in ("table", "total_relation"))
    return {
        "events": events,
        "event_bytes": round(raw / events, 1),
        "bytes_per_event": round(total / events, 1),
        "parts": {"rows": round(rows / events, 1), "indexes": round((total - rows) / events, 1)},
    }


def _one(connection: psycopg.Connection[Any], query: str) -> Any:  # noqa: ANN401 - a number
    row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]
