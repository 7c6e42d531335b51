"""What a log checks of its database before it starts: the settings, access, tables and triggers its promises rest on.

Each refusal says what is wrong, why that matters, and how to mend it. A superuser can undo everything that is checked here
after the start, and hide that. Checkpoints then still pin what was logged, and `tlog fsck` finds what was changed
(docs/explanation/architecture.md). Left out: whether disks lie about flushing, which no query can tell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tlog.core.run import PARTITION_ENTRIES
from tlog.errors import UnsafeDatabaseError
from tlog.storage.queries import QUERIES
from tlog.storage.statements import read_state

if TYPE_CHECKING:
    from collections.abc import Sequence

    from psycopg.rows import TupleRow

    from tlog.storage.connection import Connection

_SETTINGS: Final = {
    "fsync": "without it a crash loses acknowledged events and may damage all others",
    "full_page_writes": "without it a crash in the middle of a page destroys the page",
    "data_checksums": "without them PostgreSQL serves damaged pages as if they were whole",
}
_DURABLE_COMMITS: Final = ("on", "remote_apply")
_PLAIN: Final = (
    "log_state", "leaf", "tile", "checkpoint", "cosignature", "witness_policy", "api_key", "index_segment", "index_run",
    "index_tile", "index_epoch", "explanation", "intake", "dead_letter",
)  # fmt: skip
_PARTITIONED: Final = ("entry_run", "disclosure_run")
_TABLES: Final = dict.fromkeys(_PLAIN, "r") | dict.fromkeys(_PARTITIONED, "p")
# Table, name, enabled ("A": always, in replication mode too), function, when (pg_trigger.tgtype), condition, SHA-256 of the
# function's source: as the migrations make them, which tests/storage/test_selfcheck.py proves.
_BEFORE_ANY_CHANGE: Final = 2 | 8 | 16 | 32
_BEFORE_REMOVAL: Final = 2 | 8 | 32
_BEFORE_UPDATE_OF_ROW: Final = 1 | 2 | 16
_REFUSE_CHANGE: Final = "57a69601dcf157e02a58ed6c0cc1268c87441ab78efede13deeb08c30348139b"
_REFUSE_REWRITE: Final = "d00bb68314126e2f9318ecb5d2cf9bd89e18e20e2229f976465936c2717d7545"
_REFUSE_MOVE: Final = "f7e607b885083aaad32985576097d48ffe8dde09a69badc2dede64e275597bdf"
_APPEND_ONLY: Final = ("append_only", "A", "tlog.refuse_change", _BEFORE_ANY_CHANGE, False, _REFUSE_CHANGE)
_NEVER_REMOVED: Final = ("append_only", "A", "tlog.refuse_change", _BEFORE_REMOVAL, False, _REFUSE_CHANGE)
_KEEP_PLACE: Final = ("keep_place", "A", "tlog.refuse_move", _BEFORE_UPDATE_OF_ROW, False, _REFUSE_MOVE)
_TRIGGERS: Final = frozenset(
    (
        ("checkpoint", *_APPEND_ONLY),
        ("cosignature", *_APPEND_ONLY),
        ("witness_policy", *_APPEND_ONLY),
        ("disclosure_run", *_NEVER_REMOVED),
        ("entry_run", *_APPEND_ONLY),
        ("leaf", *_APPEND_ONLY),
        ("tile", *_NEVER_REMOVED),
        ("tile", "grow_only", "A", "tlog.refuse_rewrite", _BEFORE_UPDATE_OF_ROW, False, _REFUSE_REWRITE),
    )
)


async def check_session(connection: Connection, role: str) -> None:
    """Check that a connection has its startup options: a pooler between may have dropped them.

    Raises:
        UnsafeDatabaseError: the connection acts as another role, or looks up names elsewhere.

    """
    ((acting, search_path),) = await _rows(connection, "check_session")
    if (acting, search_path) != (role, "pg_catalog"):
        message = (
            f"a connection acts as {acting} with search_path '{search_path}' where tlog asked for {role} and pg_catalog; "
            "names could mean other tables. A connection pooler drops the startup options: connect to PostgreSQL directly"
        )
        raise UnsafeDatabaseError(message)


async def check_settings(connection: Connection) -> None:
    """Check that a commit survives a crash.

    Raises:
        UnsafeDatabaseError: a setting that durability rests on is off.

    """
    settings: dict[str, str] = dict(await _rows(connection, "check_settings"))
    for name, reason in _SETTINGS.items():
        if settings.get(name) != "on":
            mend = "run pg_checksums --enable on the stopped server" if name == "data_checksums" else f"set {name} = on"
            message = f"PostgreSQL runs with {name} = {settings.get(name)}: {reason}; {mend}"
            raise UnsafeDatabaseError(message)
    commit = settings["synchronous_commit"]
    if commit not in _DURABLE_COMMITS:
        message = (
            f"PostgreSQL runs with synchronous_commit = {commit} for tlog: a commit may be acknowledged before it is durable; "
            "set it to on for the server, the database and tlog's role (ALTER ROLE … RESET synchronous_commit)"
        )
        raise UnsafeDatabaseError(message)


async def check_standbys(connection: Connection) -> None:
    """Check that commits wait for a standby if there is one: promoted, one that lags loses acknowledged events.

    Raises:
        UnsafeDatabaseError: there is one, and commits wait for none.

    """
    ((standbys, names),) = await _rows(connection, "count_standbys")
    if standbys and not names:
        message = (
            "PostgreSQL has a standby, and commits do not wait for one (synchronous_standby_names is empty): if the standby is "
            "promoted, acknowledged events are lost. Set synchronous_standby_names (docs/how-to/two-machines.md), or say "
            "--accept-loss-on-failover"
        )
        raise UnsafeDatabaseError(message)


async def check_access(connection: Connection) -> None:
    """Check that everyone has to prove who they are before PostgreSQL lets them in, as far as this role may see the rules.

    Raises:
        UnsafeDatabaseError: a line of pg_hba.conf says "trust".

    """
    ((readable,),) = await _rows(connection, "may_read_access_rules")
    if not readable:
        return
    for file, line in await _rows(connection, "check_access_rules"):
        message = (
            f"line {line} of {file} lets users in without a password (trust), so anybody who reaches PostgreSQL is its "
            "administrator; use scram-sha-256, peer or cert, and reload"
        )
        raise UnsafeDatabaseError(message)


async def check_roles(connection: Connection) -> None:
    """Check that the service's login role and the roles it acts as have no more power than they need, as far as they exist.

    Raises:
        UnsafeDatabaseError: one of them is a superuser, passes row security, or can log in itself.

    """
    for role, is_login, what in await _rows(connection, "check_roles"):
        mend = (
            "let the service log in as a role of its own (docs/how-to/own-postgresql.md)"
            if is_login
            else f"ALTER ROLE {role} NOSUPERUSER NOBYPASSRLS NOLOGIN"
        )
        message = f"the role {role}, which tlog uses, {what}: it could change what is logged, and hide it; {mend}"
        raise UnsafeDatabaseError(message)


async def check_privileges(connection: Connection) -> None:
    """Check that the service cannot change what is logged: neither its login role nor a role it acts as.

    Raises:
        UnsafeDatabaseError: one of them may change entries.

    """
    for role, table, privilege in await _rows(connection, "check_privileges"):
        message = (
            f"the role {role}, which tlog uses, has {privilege} on tlog.{table}, which is append-only; REVOKE it (from PUBLIC "
            "too), and do not let the service log in as the owner of the tables"
        )
        raise UnsafeDatabaseError(message)


async def check_relations(connection: Connection) -> None:
    """Check that the log's tables are plain tables without row filters or rules, with the known partitions and triggers.

    Raises:
        UnsafeDatabaseError: a table was replaced or filtered, a partition is missing or has other bounds, or a trigger is
            missing, disabled, changed or added.

    """
    partitions = await _partitions(connection)
    found = {name: tuple(rest) for name, *rest in await _rows(connection, "check_relations")}
    for table, kind in (_TABLES | dict.fromkeys(partitions, "r")).items():
        if found.get(table) != (kind, False, False, False, False):
            message = (
                f"tlog.{table} is missing, not a plain table, or has row security, policies, rules or child tables: it may show "
                "other rows than were logged; restore the schema, then run 'tlog fsck'"
            )
            raise UnsafeDatabaseError(message)
    triggers = set(await _rows(connection, "check_triggers"))
    for table, name, *_ in sorted(triggers ^ (_TRIGGERS | _partition_triggers(partitions))):
        message = (
            f"trigger {name} on tlog.{table} is missing, disabled, changed or not tlog's: entries could be changed on their "
            "way in or afterwards; restore the schema, then run 'tlog fsck'"
        )
        raise UnsafeDatabaseError(message)


async def _partitions(connection: Connection) -> list[str]:
    """Return the names of the partitions of runs, each with the bounds that its name says, for all of the log's entries.

    Raises:
        UnsafeDatabaseError: one is missing or detached, or has another name or other bounds.

    """
    size = (await read_state(connection)).size
    there = {(child, bounds) for _, child, bounds in await _rows(connection, "list_partitions")}
    count = max(-(-size // PARTITION_ENTRIES), len(there) // len(_PARTITIONED))
    expected = {
        (
            f"{table}_{number}",
            f"FOR VALUES FROM ('{number * PARTITION_ENTRIES}') TO ('{(number + 1) * PARTITION_ENTRIES}')",
        )
        for table in _PARTITIONED
        for number in range(count)
    }
    for partition, _ in sorted(expected ^ there):
        message = (
            f"the partition tlog.{partition} is missing, detached, renamed, of other bounds, or not tlog's: entries or what is "
            "disclosed of them could not be found; restore the schema, then run 'tlog fsck'"
        )
        raise UnsafeDatabaseError(message)
    return [partition for partition, _ in sorted(expected)]


def _partition_triggers(partitions: Sequence[str]) -> set[tuple[str, str, str, str, int, bool, str]]:
    entries = {(name, *_APPEND_ONLY) for name in partitions if name.startswith("entry")}
    disclosures = [name for name in partitions if name.startswith("disclosure")]
    return entries | {(name, *each) for name in disclosures for each in (_NEVER_REMOVED, _KEEP_PLACE)}


async def _rows(connection: Connection, query: str) -> Sequence[TupleRow]:
    return await (await connection.execute(QUERIES[query])).fetchall()
