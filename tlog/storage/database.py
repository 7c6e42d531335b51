"""Connections in the right role, and the check that the database keeps what the log promises.

Every connection runs as exactly one of the NOLOGIN roles of the schema (least privilege), sees no other schema than
pg_catalog by default, and knows a statement timeout. Errors of the driver leave this room as errors of `tlog.errors`.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import TupleRow, tuple_row
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout, TooManyRequests

from tlog.errors import MalformedInputError, UnreachableError, UnsafeDatabaseError
from tlog.storage.connection import Connection, Role, give_way, is_ended, translated
from tlog.storage.migrate import check_migrations, migrate
from tlog.storage.queries import QUERIES
from tlog.storage.selfcheck import (
    check_access,
    check_privileges,
    check_relations,
    check_roles,
    check_session,
    check_settings,
    check_standbys,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tlog.postgres.watch import Watch


_CONNECT_TIMEOUT: Final = 10
_RECONNECT_SECONDS: Final = 0.5
_AT_ONCE: Final = 0.01
_SILENCE: Final = {
    "keepalives_idle": 3, "keepalives_interval": 2, "keepalives_count": 3, "tcp_user_timeout": 9_000,
}  # fmt: skip
# Invalid password, invalid authorization, unknown database (PostgreSQL, appendix A). libpq gives no SQLSTATE of most failed
# connections; then the text decides, and one in another language counts as something that may pass.
_FINAL_STATES: Final = frozenset(("28P01", "28000", "3D000"))
_FINAL: Final = re.compile(
    "authentication failed|no password supplied|role .* does not exist|database .* does not exist|no pg_hba.conf entry|"
    "is not permitted to log in"
)
_MINIMUM_VERSION: Final = 150_000


async def _check_silent(connection: Connection) -> None:
    """Refuse a connection that the server has ended."""
    if is_ended(connection):
        await connection.close()  # or the pool, which goes by libpq's state, would hand it out again
        message = "the server has closed this connection"
        raise psycopg.OperationalError(message)


class Database:
    """Where the log's database is, and how to connect to it.

    Args:
        conninfo: libpq connection string of the service's login role.
        admin: connection string of a role that may migrate; the same one if not given.
        watch: what keeps the embedded server going; None for a server of one's own.

    Raises:
        MalformedInputError: one of them is no connection string.

    """

    def __init__(self, conninfo: str, admin: str | None = None, watch: Watch | None = None) -> None:
        for each in (conninfo, admin or ""):
            _parameters(each)
        self._conninfo = conninfo
        self._admin = admin or conninfo
        self.watch = watch

    def __reduce__(self) -> tuple[type[Database], tuple[str, str]]:
        """Tell another process where to connect to; the watch over the server stays here."""
        return Database, (self._conninfo, self._admin)

    @property
    def conninfo(self) -> str:
        """The connection string of the service's login role, for another process; it may hold a password."""
        return self._conninfo

    async def connect(self, role: Role) -> Connection:
        """Return a new connection in autocommit that acts as `role`.

        Raises:
            OverloadedError: the database cannot be reached.
            UnsafeDatabaseError: the login role may not act as `role`.

        """
        with _named(self._login_for(role)):
            try:
                return await Connection.connect(
                    _as_role(self._login_for(role), role), autocommit=True, row_factory=tuple_row
                )
            except psycopg.OperationalError as error:
                await asyncio.to_thread(self._check_role, role, error)
                raise

    def connect_blocking(self, role: Role) -> psycopg.Connection[TupleRow]:
        """Return a connection as `connect` does, for a thread or process that may wait for its answers.

        Raises:
            OverloadedError: the database cannot be reached.
            UnsafeDatabaseError: the login role may not act as `role`.

        """
        with _named(self._login_for(role)):
            try:
                return psycopg.Connection.connect(
                    _as_role(self._login_for(role), role), autocommit=True, row_factory=tuple_row
                )
            except psycopg.OperationalError as error:
                self._check_role(role, error)
                raise

    def _login_for(self, role: Role) -> str:
        return self._admin if role == "tlog_owner" else self._conninfo

    def _check_role(self, role: Role, error: psycopg.OperationalError) -> None:
        """Find out whether connecting failed because of the role: connect without the role, then take it by a statement.

        libpq gives the SQLSTATE of a failed statement. Of a failed connection it gives only a text, in the server's language.
        This connection is never lent: in it, RESET ROLE would fall back to the login role.

        Raises:
            psycopg.OperationalError: the database is away.
            UnsafeDatabaseError: the login role may not act as `role`.

        """
        if isinstance(error, psycopg.errors.ConnectionTimeout):
            return  # a server that refuses a role answers, and whoever waits has waited long enough
        try:
            with psycopg.Connection.connect(_patient(self._login_for(role)), autocommit=True) as connection:
                connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
        except (psycopg.errors.InvalidParameterValue, psycopg.errors.InsufficientPrivilege):
            message = f"the database does not let tlog act as {role}; run 'tlog init' as its administrator"
            raise UnsafeDatabaseError(message) from None

    def pool(self, role: Role, size: int, *, gives_way: bool = False) -> AsyncConnectionPool[Connection]:
        """Return a pool, still closed, of at most `size` connections that act as `role`.

        Where it gives way, so does what the server does for it (`tlog.storage.connection.give_way`).
        """
        return AsyncConnectionPool(
            _as_role(self._conninfo, role),
            connection_class=Connection,
            min_size=1,
            max_size=size,
            max_waiting=16 * size,
            timeout=5,
            open=False,
            check=_check_silent,
            configure=give_way if gives_way else None,
            # Whoever asks tries again, and so do those who wait, so a server that is back is found at once.
            reconnect_timeout=_RECONNECT_SECONDS,
            reconnect_failed=_try_again,
            kwargs={"autocommit": True, "row_factory": tuple_row},
        )

    async def migrate(self) -> list[str]:
        """Bring the schema up to date as the administrator; return the names of the migrations applied.

        Raises:
            OverloadedError: the database cannot be reached.
            UnsafeDatabaseError: the schema is not one this version can work with.

        """
        login = str(conninfo_to_dict(self._conninfo).get("user", ""))
        async with await _connect(self._admin) as connection:
            _check_version(connection)
            with translated():
                return await migrate(connection, login or connection.info.user)

    async def check_server(self) -> None:
        """Check of the server alone, on which there may be no log yet, what the log's promises will rest on.

        Raises:
            OverloadedError: the database cannot be reached.
            UnsafeDatabaseError: a promise would have nothing to rest on; the message says why, and how to mend it.

        """
        for conninfo in dict.fromkeys((self._conninfo, self._admin)):
            async with await _connect(conninfo) as connection:
                with translated():
                    _check_version(connection)
                    if conninfo == self._conninfo:
                        await check_settings(connection)
                        await check_roles(connection)
                    if conninfo == self._admin:
                        await check_access(connection)

    async def check_standbys(self) -> None:
        """Check that no acknowledged event is lost if a standby takes over, as far as that can be seen from here.

        Raises:
            OverloadedError: the database cannot be reached.
            UnsafeDatabaseError: there is a standby, and commits wait for none.

        """
        async with await self.connect("tlog_reader") as connection:
            with translated():
                await check_standbys(connection)

    async def check(self) -> None:
        """Check what the log's promises rest on (`tlog.storage.selfcheck`): version, schema, durability, access, triggers.

        Raises:
            OverloadedError: the database cannot be reached.
            UnsafeDatabaseError: a promise has nothing to rest on; the message says why, and how to mend it.

        """
        connection = await self.connect("tlog_reader")
        async with connection:
            _check_version(connection)
            with translated():
                await check_session(connection, "tlog_reader")
                await check_migrations(connection)
                await check_settings(connection)
                await check_roles(connection)
                await check_privileges(connection)
                await check_relations(connection)
                if self._admin == self._conninfo:
                    await check_access(connection)
                    return
        # Only the administrator may see who is let in.
        async with await _connect(self._admin) as connection:
            with translated():
                await check_access(connection)


async def _try_again(pool: AsyncConnectionPool[Connection]) -> None:
    """Have a pool that gave up connect once more while somebody waits; by itself it does so only when somebody comes."""
    if pool.get_stats().get("requests_waiting"):
        with suppress(PoolTimeout, TooManyRequests, PoolClosed):
            async with pool.connection(timeout=_AT_ONCE):
                pass


async def _connect(conninfo: str) -> Connection:
    with _named(conninfo):
        return await Connection.connect(_patient(conninfo), autocommit=True, row_factory=tuple_row)


@contextmanager
def _named(conninfo: str) -> Iterator[None]:
    """Turn the driver's errors into tlog's while connecting, and say where to, as whom, and why it failed.

    Raises:
        UnreachableError: nobody answers, or not now.
        UnsafeDatabaseError: the server refuses this address, which waiting does not mend.

    """
    try:
        yield
    except psycopg.OperationalError as error:
        # What libpq says names the host, never the password; the lines after the first guess at what to do.
        reason = (str(error).splitlines() or [type(error).__name__])[0].removeprefix("connection failed: ")
        given = _parameters(conninfo)
        where = ", ".join(f"{name} {given[name]}" for name in ("host", "port", "user", "dbname") if given.get(name))
        message = f"the database ({where or 'at its default address'}) cannot be reached: {reason}"
        if error.sqlstate in _FINAL_STATES or _FINAL.search(reason):
            message += ". Waiting does not mend this: correct the address, or the server's roles and pg_hba.conf"
            raise UnsafeDatabaseError(message) from error
        raise UnreachableError(message) from error


def _parameters(conninfo: str) -> dict[str, Any]:
    try:
        parameters = conninfo_to_dict(conninfo)
    except psycopg.ProgrammingError:
        parameters = {"port": "none"}
    if not re.fullmatch(r"[0-9,]*", str(parameters.get("port") or "")):
        # The driver's message can quote a part of a password that was not encoded.
        message = (
            "the database's address is malformed: it has the form postgresql://USER@HOST:PORT/NAME or 'host=… user=… dbname=…', "
            "and a password in the first form has its special characters percent-encoded"
        )
        raise MalformedInputError(message)
    return parameters


@asynccontextmanager
async def snapshot(connection: Connection, *, index_scans: bool = False) -> AsyncIterator[None]:
    """Read everything inside from one repeatable-read snapshot of the real tables, by default through sequential scans."""
    with translated():
        await connection.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
        await connection.set_read_only(True)
        async with connection.transaction():
            await connection.execute(QUERIES["snapshot_settings"], {"index_scans": "on" if index_scans else "off"})
            yield


def _check_version(connection: Connection) -> None:
    if connection.info.server_version < _MINIMUM_VERSION:
        message = f"PostgreSQL {connection.info.server_version // 10_000} is too old; tlog needs 15 or newer, upgrade the server"
        raise UnsafeDatabaseError(message)


def _as_role(conninfo: str, role: Role) -> str:
    options = str(conninfo_to_dict(conninfo).get("options") or "")
    options += f" -c role={role} -c search_path=pg_catalog -c idle_in_transaction_session_timeout=60s"
    if role == "tlog_reader":
        # Answers are made within seconds; whatever takes longer holds a snapshot that keeps dead rows. Full checks lift this.
        options += " -c statement_timeout=60s"
    if role == "tlog_indexer":
        # A crash may take the newest rows of the index, which follow from the entries, and leaves all rows before them.
        options += " -c synchronous_commit=off"
    return make_conninfo(_patient(conninfo), options=options.strip(), application_name=role)


def _patient(conninfo: str) -> str:
    """Return an address with bounds on how long a machine may say nothing, where it has none of its own.

    A machine that vanished ends no connection. Without bounds a COMMIT would wait for it for a quarter of an hour.
    """
    given: dict[str, Any] = {"connect_timeout": _CONNECT_TIMEOUT, **_SILENCE, **conninfo_to_dict(conninfo)}
    return make_conninfo(**given)
