"""Commands about keys: the log's public key, and API keys."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Annotated, Any

import typer

from tlog.cli.options import DEFAULT_DATA, AdminUrl, Data, DatabaseUrl, Json, Scope, locate, read_resource
from tlog.cli.output import exit_on_error, refuse, run, say
from tlog.errors import NotFoundError
from tlog.location import utc_now


def show_key(data: Data = DEFAULT_DATA, json_output: Json = False) -> None:
    """Print the log's vkey: hand it to whoever verifies, over a channel they trust."""
    verifier = exit_on_error(locate(data).directory.verifier)
    document = {"origin": verifier.name, "keyId": verifier.key_id.hex(), "vkey": verifier.vkey()}
    print(json.dumps(document) if json_output else verifier.vkey())


def create_token(  # noqa: PLR0917 - the options of a command line
    principal: Annotated[str, typer.Option(help="Who uses it, such as service:ehr-api; its uses are logged as this.")],
    scope: Annotated[list[Scope], typer.Option(help="What it may do; repeatable.")],
    days: Annotated[int, typer.Option(min=1, max=3650, help="Valid for so many days.")] = 365,
    rate: Annotated[
        int | None, typer.Option(min=1, max=1_000_000, help="Events a second it may append, or requests, on average.")
    ] = None,
    buckets: Annotated[
        int | None,
        typer.Option(min=1, max=65_536, help="Index buckets that its evidence may open in a day; 500 otherwise."),
    ] = None,
    about: Annotated[
        str | None,
        typer.Option(metavar="TYPE:ID", help="For answers about this resource alone, such as patient_record:P-1001."),
    ] = None,
    about_user: Annotated[
        str | None, typer.Option(metavar="USERID", help="For answers about this actor alone.")
    ] = None,
    data: Data = DEFAULT_DATA,
    database: DatabaseUrl = None,
    admin_database: AdminUrl = None,
    json_output: Json = False,
) -> None:
    """Make an API key and print it, once: it is stored only as a keyed digest."""
    location = locate(data, database, admin=admin_database)
    bound = exit_on_error(lambda: _read_about(about, about_user))
    if bound is not None and set(scope) != {Scope.READ}:
        refuse("--about and --about-user are for keys whose only scope is read")

    async def work() -> tuple[str, str]:
        from tlog.lifecycle.opening import database_of
        from tlog.server.guard.auth import new_token
        from tlog.storage.keys import ApiKeyStore

        now = utc_now()
        scopes, expires_at = {each.value for each in scope}, now + timedelta(days=days)
        pepper = location.directory.pepper()
        token, key = new_token(pepper, principal, scopes, now, expires_at, rate=rate, buckets=buckets, about=bound)
        async with database_of(location) as opened:
            await ApiKeyStore(opened).add(key)
        return token, key.key_id

    token, key_id = run(work())
    if json_output:
        print(json.dumps({"token": token, "keyId": key_id, "scopes": sorted(each.value for each in scope)}))
    else:
        say(f"API key {key_id} of {principal}; it is shown this once:")
        print(token)


def _read_about(about: str | None, about_user: str | None) -> list[str] | None:
    from tlog.server.guard.about import about_of

    resource = None if about is None else read_resource(about, "--about")
    return about_of(resource=resource, user=about_user)


def list_tokens(
    data: Data = DEFAULT_DATA,
    database: DatabaseUrl = None,
    json_output: Json = False,
) -> None:
    """List API keys: whose, what for, until when. Never the keys themselves."""

    async def work() -> list[dict[str, Any]]:
        from tlog.lifecycle.opening import database_of
        from tlog.server.guard.about import members_of
        from tlog.storage.keys import ApiKeyStore

        async with database_of(locate(data, database)) as opened:
            return [
                {
                    "keyId": key.key_id,
                    "principal": key.principal,
                    "scopes": key.scopes,
                    "expires": None if key.expires_at is None else key.expires_at.isoformat(),
                    "revoked": None if key.revoked_at is None else key.revoked_at.isoformat(),
                    "rate": key.rate,
                    "buckets": key.buckets,
                    "about": None if key.about is None else members_of(key.about),
                }
                for key in await ApiKeyStore(opened).list()
            ]

    from rich.console import Console
    from rich.table import Table

    keys = run(work())
    if json_output:
        print(json.dumps(keys))
        return
    table = Table("key ID", "principal", "scopes", "expires", "revoked", "rate", "buckets", "about")
    for key in keys:
        about = ":".join((key["about"] or {}).values())
        cells = key["keyId"], key["principal"], " ".join(key["scopes"]), key["expires"], key["revoked"]
        table.add_row(*(str(cell or "-") for cell in (*cells, key["rate"], key["buckets"], about)))
    Console().print(table)


def revoke_token(
    key_id: Annotated[str, typer.Argument(help="The key ID as 'tlog token list' shows it.")],
    data: Data = DEFAULT_DATA,
    database: DatabaseUrl = None,
    admin_database: AdminUrl = None,
) -> None:
    """Revoke an API key; running services stop accepting it within seconds."""

    async def work() -> None:
        from tlog.lifecycle.opening import database_of
        from tlog.storage.keys import ApiKeyStore

        async with database_of(locate(data, database, admin=admin_database)) as opened:
            if not await ApiKeyStore(opened).revoke(key_id, utc_now()):
                message = f"there is no unrevoked API key {key_id}"
                raise NotFoundError(message)

    run(work())
    print(f"revoked {key_id}")
