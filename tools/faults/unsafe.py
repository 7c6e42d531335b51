"""R20: every unsafe setting that the start-up check knows is put into a real database, and has to be refused.

Tests and the gate share the table of settings (tools/scenarios/unsafe_settings.py), so that a new row reaches both.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

import psycopg
from psycopg import sql
from unsafe_settings import IN_THE_DATABASE, IN_THE_SERVER

from tlog.errors import UnsafeDatabaseError
from tlog.postgres.server import EmbeddedPostgres
from tlog.storage.database import Database

if TYPE_CHECKING:
    from faults.gate import Figures, Run

_TEMPLATE: Final = "gate_template"
_NAME: Final = "gate"
_RELOAD_SECONDS: Final = 0.2


def measure(run: Run) -> Figures:
    """Put in every setting, one at a time, and check."""
    return _measure(run, unsafe=True)


def measure_clean(run: Run) -> Figures:
    """Put in none and check as often."""
    return _measure(run, unsafe=False)


def _measure(run: Run, *, unsafe: bool) -> Figures:
    server = EmbeddedPostgres(run.directory / "postgres")
    server.create()
    accepted: list[str] = []
    afterwards = 0
    cases = [(name, statement, "SELECT 1") for name, (statement, _) in IN_THE_DATABASE.items()]
    cases += [(name, statement, undo) for name, (statement, undo, _) in IN_THE_SERVER.items()]
    with server, psycopg.connect(server.conninfo(user="postgres", dbname="postgres"), autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(_TEMPLATE)))
        asyncio.run(_database(server, _TEMPLATE).migrate())
        for number, (name, statement, undo) in enumerate(cases):
            copy = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
            admin.execute(copy.format(sql.Identifier(_NAME), sql.Identifier(_TEMPLATE)))
            _settle(server, statement if unsafe else "SELECT 1")
            if _accepts(server):
                accepted.append(name)
            _settle(server, undo)
            # What undoes a setting of the whole server has to be enough: a database that is safe again is accepted.
            afterwards += undo != "SELECT 1" and not _accepts(server)
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(_NAME)))
            run.progress(number + 1, len(cases))
    return {
        "settings": len(cases),
        "accepted": len(accepted),
        "refused_when_safe_again": afterwards,
        **({"first_accepted": accepted[0]} if accepted else {}),
    }


def _settle(server: EmbeddedPostgres, statement: str) -> None:
    server.administer(statement, dbname=_NAME)
    if "ALTER SYSTEM" in statement:
        server.administer("SELECT pg_reload_conf()", dbname=_NAME)
        time.sleep(_RELOAD_SECONDS)


def _accepts(server: EmbeddedPostgres) -> bool:
    try:
        asyncio.run(_database(server, _NAME).check())
    except UnsafeDatabaseError:
        return False
    return True


def _database(server: EmbeddedPostgres, name: str) -> Database:
    return Database(server.conninfo(user="tlog", dbname=name), server.conninfo(user="postgres", dbname=name))
