"""Commands about sessions: who is signed in on the pages, and how to sign them out."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from tlog.cli.options import DEFAULT_DATA, Data, DatabaseUrl, Json, locate
from tlog.cli.output import run
from tlog.errors import NotFoundError
from tlog.location import utc_now

_SHOWN = 16  # hexadecimal digits of what a session is found by, which tell those that there are apart


def list_sessions(data: Data = DEFAULT_DATA, database: DatabaseUrl = None, json_output: Json = False) -> None:
    """List the sessions of the pages: whose, by which API key, since and until when."""

    async def work() -> list[dict[str, str]]:
        from tlog.lifecycle.opening import database_of
        from tlog.storage.sessions import SessionStore

        async with database_of(locate(data, database)) as opened:
            return [
                {
                    "session": each.lookup.hex()[:_SHOWN],
                    "principal": each.principal,
                    "keyId": each.key_id,
                    "since": each.created_at.isoformat(timespec="seconds"),
                    "seen": each.seen_at.isoformat(timespec="seconds"),
                    "until": each.expires_at.isoformat(timespec="seconds"),
                }
                for each in await SessionStore(opened).list(utc_now())
            ]

    from rich.console import Console
    from rich.table import Table

    sessions = run(work())
    if json_output:
        print(json.dumps(sessions))
        return
    table = Table("session", "principal", "key ID", "since", "seen", "until")
    for each in sessions:
        table.add_row(*each.values())
    Console().print(table)


def revoke_session(
    session: Annotated[str, typer.Argument(help="The session as 'tlog session list' shows it.")],
    data: Data = DEFAULT_DATA,
    database: DatabaseUrl = None,
) -> None:
    """End a session at once; the API key that it was begun with stays good."""

    async def work() -> None:
        from tlog.lifecycle.opening import database_of
        from tlog.storage.sessions import SessionStore

        async with database_of(locate(data, database)) as opened:
            store = SessionStore(opened)
            found = [each.lookup for each in await store.list(utc_now()) if each.lookup.hex()[:_SHOWN] == session]
            if not found:
                message = f"there is no session {session}; 'tlog session list' shows those there are"
                raise NotFoundError(message)
            for lookup in found:
                await store.end(lookup)

    run(work())
    print(f"revoked {session}")
