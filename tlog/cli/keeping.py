"""Commands that keep a log over the years: backup, restore, recover, failover, reindex."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tlog.cli.checking import anchor_reader
from tlog.cli.options import DEFAULT_DATA, AdminUrl, Data, DatabaseUrl, Json, PostgresUser, SignerSocket, locate
from tlog.cli.output import run, say, show_progress
from tlog.errors import FailoverError, OperatorError
from tlog.location import utc_now

if TYPE_CHECKING:
    from tlog.keeping.failover import Sides
    from tlog.keeping.recover import Recovered
    from tlog.storage.database import Database


def reindex(
    data: Data = DEFAULT_DATA, database: DatabaseUrl = None, signer: SignerSocket = None, json_output: Json = False
) -> None:
    """Make the index again from the entries, for instance because fsck found it damaged. Nobody else may run the log."""

    async def work() -> int:
        from tlog.lifecycle.opening import open_log
        from tlog.lifecycle.running import reindex as make_index_again

        async with open_log(locate(data, database, signer)) as log:
            with show_progress("indexing", "entries") as report:
                return await make_index_again(log, report)

    size = run(work())
    print(json.dumps({"indexed": size}) if json_output else f"indexed {size:,} entries")


def backup(
    target: Annotated[Path, typer.Argument(help="A new directory; it will hold personal data.")],
    data: Data = DEFAULT_DATA,
    json_output: Json = False,
) -> None:
    """Back up the embedded database, while it runs, and verify the copy. Keys and anchor are not in it, on purpose."""
    import msgspec

    from tlog.keeping.backup import back_up

    made = run(back_up(locate(data).directory, target.absolute(), utc_now()))
    if json_output:
        print(msgspec.json.encode(made).decode())
        return
    print(f"backed up {made.size:,} entries, or a few more, to {target}, and verified the copy")
    print(f"not in it: {data}/keys (keep a copy elsewhere, once) and {data}/anchor (never put back an older one)")


def restore(
    source: Annotated[Path, typer.Argument(help="A directory that 'tlog backup' wrote.")],
    data: Data = DEFAULT_DATA,
    postgres_user: PostgresUser = None,
    json_output: Json = False,
) -> None:
    """Verify a backup and put it into a data directory that has no database; say what is still to be done."""
    from tlog.keeping.backup import restore as put_back

    done = run(put_back(locate(data, postgres_user=postgres_user).directory, source.absolute()))
    if json_output:
        document = {"size": done.size, "anchored": done.anchored, "keys": done.has_keys, "takenAt": done.backup.takenAt}
        print(json.dumps(document))
        return
    print(f"restored {done.size:,} entries, backed up at {done.backup.takenAt}, into {data}")
    if not done.has_keys:
        print(f"next: bring back {data}/keys")
    if done.anchored is None:
        print(f"next: bring back {data}/anchor, the newest there is: without it nothing can be signed")
    elif done.size < done.anchored:
        missing = done.anchored - done.size
        print(
            f"next: 'tlog recover --mirror …': {missing:,} entries that were signed are missing, and 'tlog serve' refuses"
        )


def recover(  # noqa: PLR0917 - the options of a command line
    mirror: Annotated[
        str, typer.Option(metavar="DIR|URL", help="A static export of the log, or the URL where one is served.")
    ],
    data: Data = DEFAULT_DATA,
    database: DatabaseUrl = None,
    admin_database: AdminUrl = None,
    new_database: Annotated[
        bool, typer.Option("--new-database", help="The database is lost and there is no copy: make a new one.")
    ] = False,
    signer: SignerSocket = None,
    postgres_user: PostgresUser = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything and say what would be done.")] = False,
    json_output: Json = False,
) -> None:
    """Bring back signed entries that the database lost, from a mirror of the log, up to exactly what was signed last.

    For a database that was restored from a backup and is refused with ROLLBACK. Personal data and API keys are in no mirror.
    """
    location = locate(data, database, signer, admin=admin_database, postgres_user=postgres_user)

    async def work(opened: Database | None) -> Recovered:
        from tlog.checking.mirror import open_mirror
        from tlog.keeping.recover import recover as bring_back

        with open_mirror(mirror) as source, show_progress("recovering", "steps") as report:
            log = location.directory.verifier()
            return await bring_back(opened, source, anchor_reader(location), log, dry_run=dry_run, progress=report)

    async def work_on_database() -> Recovered:
        from tlog.lifecycle.opening import database_to_recover

        if dry_run and new_database:
            return await work(None)
        async with database_to_recover(location, new=new_database) as opened:
            return await work(opened)

    done = run(work_on_database())
    if json_output:
        document = {"start": done.start, "size": done.size, "events": done.events, "saidBy": done.said_by}
        print(json.dumps({**document, "recovered": done.size - done.start, "dryRun": dry_run}))
    else:
        print(_describe_recovery(done, dry_run=dry_run))
        if new_database and not dry_run:
            print("then 'tlog failover --accept': this is another PostgreSQL than the one on which the log was signed")


def failover(  # noqa: PLR0917 - the options of a command line
    data: Data = DEFAULT_DATA,
    database: DatabaseUrl = None,
    admin_database: AdminUrl = None,
    signer: SignerSocket = None,
    postgres_user: PostgresUser = None,
    accept: Annotated[
        bool, typer.Option("--accept", help="Go on on the PostgreSQL that is there, and say so in the log for ever.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    json_output: Json = False,
) -> None:
    """Show on which PostgreSQL the log was signed and which one is there, and go on there if that is accepted.

    For a database that was promoted, restored to a moment, upgraded or read back from a dump, and is refused with FAILOVER.
    """
    location = locate(data, database, signer, admin=admin_database, postgres_user=postgres_user)

    async def work() -> tuple[Sides, int | None]:
        from tlog.keeping import failover as succession
        from tlog.lifecycle.opening import check_log_here, database_to_recover, signer_of

        check_log_here(location)
        async with database_to_recover(location, new=False) as opened:
            sides = await succession.compare(opened, signer_of(location))
            say(_describe_sides(sides))
            if not (accept and sides.differ):
                return sides, None
            if not yes and not _says_yes():
                message = "nothing was accepted and nothing changed; type 'yes' to accept, or say --yes"
                raise OperatorError(message)
            return sides, await succession.accept(opened, signer_of(location), sides)

    sides, sealed = run(work())
    if json_output:
        print(json.dumps({**_sides_document(sides), "sealed": sealed}))
    elif sealed is not None:
        print(f"the log goes on on the server that is there; {sealed:,} entries are sealed")
        print("receipts of the server before from that size on are void; send again what they are about")
    else:
        print("run 'tlog failover --accept' to go on" if sides.differ else "there is nothing to accept")
    if sides.differ and sealed is None:
        raise typer.Exit(FailoverError.exit_code)


def _says_yes() -> bool:
    say(
        "Shall the log go on on the server that is there? What that lacks is lost, and the log says so for ever. Type yes:"
    )
    return sys.stdin is not None and sys.stdin.readline().strip() == "yes"


def _describe_sides(sides: Sides) -> str:
    return "\n".join(
        (
            f"signed: {sides.anchored.size:,} entries, on system {sides.anchored.system}, timeline {sides.anchored.timeline}",
            f"now: {sides.size:,} entries, on system {sides.primary.system}, timeline {sides.primary.timeline}",
        )
    )


def _sides_document(sides: Sides) -> dict[str, object]:
    signed, now = sides.anchored, sides.primary
    return {
        "signed": {"size": signed.size, "system": signed.system, "timeline": signed.timeline},
        "now": {"size": sides.size, "system": now.system, "timeline": now.timeline},
        "differ": sides.differ,
    }


def _describe_recovery(done: Recovered, *, dry_run: bool) -> str:
    if done.size == done.start:
        return f"nothing is missing: the database holds the {done.size:,} entries that were signed, or more"
    what = f"entries {done.start:,} to {done.size - 1:,}"
    return "\n".join(
        (
            f"the mirror has all that was signed; {what} would come back"
            if dry_run
            else f"{what} came back; the database holds the {done.size:,} entries that were signed",
            f"{done.events:,} of them are events without personal data: who acted on what is in no mirror"
            + ("" if done.said_by is None else f"; entry {done.said_by} says so"),
            f"lost: entries from {done.size:,} on, which were acknowledged and not sealed; receipts name them",
            "API keys are those of the restored copy: revoke again what was revoked since, make again what is missing",
            "erased personal data that was still in the restored copy is back: erase it again",
            "run 'tlog fsck' before 'tlog serve'",
        )
    )
