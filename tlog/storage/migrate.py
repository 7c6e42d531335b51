"""Numbered migrations: applied once each, in order, under time limits, and never changed afterwards."""

from __future__ import annotations

import re
from hashlib import sha256
from importlib.resources import files
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from psycopg import sql

from tlog.errors import UnsafeDatabaseError

if TYPE_CHECKING:
    from psycopg import AsyncConnection

_FILE: Final = re.compile(r"([0-9]{4})_([a-z0-9_]+)\.sql")
# Long enough for the work of any one migration, short enough that a stuck one cannot hold up appends for long.
_LIMITS: Final = "SET LOCAL lock_timeout = '5s'; SET LOCAL statement_timeout = '10min'"
_LOCK: Final = 0x746C6F67_6D696772  # "tlogmigr"

SERVICE_ROLES: Final = (
    "tlog_appender", "tlog_sealer", "tlog_indexer", "tlog_reader", "tlog_eraser", "tlog_authenticator",
)  # fmt: skip


class Migration(NamedTuple):
    """One migration file: its number, name and statements."""

    number: int
    name: str
    statements: str

    @property
    def digest(self) -> bytes:
        """The 32-byte SHA-256 of the file, by which a later change of it is noticed."""
        return sha256(self.statements.encode()).digest()


def migrations() -> list[Migration]:
    """Return the migrations this version knows, in order."""
    found = []
    for item in files("tlog.storage").joinpath("migrations").iterdir():
        if match := _FILE.fullmatch(item.name):
            text = item.read_text(encoding="utf-8")
            found.append(Migration(int(match[1]), match[2], text))
    return sorted(found)


async def migrate(connection: AsyncConnection[object], login: str) -> list[str]:
    """Apply the migrations that are missing, each in its own transaction.

    Args:
        connection: in autocommit, as a superuser or a role that may create roles and owns the database.
        login: the role the service logs in as; it is made a member of the service roles.

    Returns:
        The names of the migrations applied now.

    Raises:
        UnsafeDatabaseError: an applied migration differs from the file of this version, or this version does not know it.

    """
    applied = []
    async with connection.transaction():
        await connection.execute("SELECT pg_catalog.pg_advisory_xact_lock(%s)", (_LOCK,))
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS public.tlog_migration "
            "(number int PRIMARY KEY, name text NOT NULL, digest bytea NOT NULL, applied_at timestamptz NOT NULL)"
        )
        await connection.execute("GRANT SELECT ON public.tlog_migration TO PUBLIC")
    done = await _applied(connection)
    for migration in migrations():
        if migration.number in done:
            continue
        async with connection.transaction():
            await connection.execute(_LIMITS)
            await connection.execute("SELECT pg_catalog.pg_advisory_xact_lock(%s)", (_LOCK,))
            if migration.number in await _applied(connection):
                continue  # another process was faster
            await connection.execute(migration.statements.encode())
            await connection.execute(
                "INSERT INTO public.tlog_migration VALUES (%s, %s, %s, pg_catalog.now())",
                (migration.number, migration.name, migration.digest),
            )
        applied.append(migration.name)
    await check_migrations(connection)
    grant = sql.SQL("GRANT {} TO {}").format(
        sql.SQL(", ").join(map(sql.Identifier, SERVICE_ROLES)), sql.Identifier(login)
    )
    await connection.execute(grant)
    return applied


async def check_migrations(connection: AsyncConnection[object]) -> None:
    """Check that the database's schema is the one this version was written for.

    Raises:
        UnsafeDatabaseError: the schema is older, newer, or made by another file of the same number.

    """
    done = await _applied(connection)
    known = {migration.number: migration for migration in migrations()}
    if missing := sorted(known.keys() - done.keys()):
        message = f"the database lacks migration {missing[0]:04d}; run 'tlog init' with this version to apply it"
        raise UnsafeDatabaseError(message)
    if unknown := sorted(done.keys() - known.keys()):
        message = f"the database has migration {unknown[0]:04d}, which this version does not know; run a newer tlog"
        raise UnsafeDatabaseError(message)
    for number, digest in done.items():
        if digest != known[number].digest:
            message = (
                f"migration {number:04d} in the database differs from the file of this version; install tlog again, and do not "
                "edit migrations"
            )
            raise UnsafeDatabaseError(message)


async def _applied(connection: AsyncConnection[object]) -> dict[int, bytes]:
    exists = await connection.execute("SELECT pg_catalog.to_regclass('public.tlog_migration')::text")
    row = cast("tuple[str | None]", await exists.fetchone())
    if row[0] is None:
        return {}
    cursor = await connection.execute("SELECT number, digest FROM public.tlog_migration ORDER BY number")
    rows = cast("list[tuple[int, bytes]]", await cursor.fetchall())
    return dict(rows)
