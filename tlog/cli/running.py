"""Commands that make a log and keep it going: demo, serve, seal, signer, init."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from tlog.cli.configuration import variable_of
from tlog.cli.options import (
    DEFAULT_DATA,
    DEFAULT_DRAIN,
    DEFAULT_HOST,
    DEFAULT_PORT,
    AdminUrl,
    Data,
    DatabaseUrl,
    Interval,
    Level,
    LogLevel,
    Origin,
    PolicyChanged,
    PolicyFile,
    PostgresUser,
    SignerSocket,
    WitnessAlarm,
    WitnessesGone,
    WitnessEvery,
    WitnessingMode,
    WitnessMonitoring,
    WitnessRefresh,
    WitnessTimeout,
    locate,
    need_kafka,
    read_witnessing,
)
from tlog.cli.output import exit_on_error, refuse, run, run_service, say
from tlog.errors import KeyMismatchError
from tlog.location import DEFAULT_INTERVAL, Sealing, utc_now, version
from tlog.server.guard.public import Public

if TYPE_CHECKING:
    from tlog.signing.anchor import Anchored

# What runs long, and writes lines.
SERVICES: Final = frozenset(("serve", "seal", "signer", "witness"))


def demo(
    events: Annotated[int, typer.Option(min=100, help="How many events of the hospital's day to append.")] = 10_000,
    *,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the demo's directory for a look around.")] = False,
    kafka: Annotated[
        bool,
        typer.Option(
            "--kafka", help="Through a topic of a real broker instead; needs Java, Maven and tlog-audit[kafka]."
        ),
    ] = False,
    serve: Annotated[
        bool, typer.Option("--serve", help="Serve that day in the end, for a browser, until Ctrl-C.")
    ] = False,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="TCP port for --serve; 0 takes a free one.")] = 0,
) -> None:
    """Show everything in one go: append a hospital's day, prove, verify, then attack the log and see it caught."""
    from tlog.demo.story import run_demo

    if kafka and serve:
        refuse("--serve shows the day that is appended over HTTP; leave out --kafka")
    if kafka:
        exit_on_error(need_kafka)
        from tlog.demo.stream import run_stream_demo

        raise typer.Exit(run_stream_demo(events, keep=keep))
    raise typer.Exit(run_demo(events, keep=keep, port=port if serve else None))


def serve(  # noqa: PLR0917 - the options of a command line
    data: Data = DEFAULT_DATA,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = DEFAULT_HOST,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="TCP port; 0 takes a free one.")] = DEFAULT_PORT,
    create: Annotated[
        bool,
        typer.Option("--create", help="Make the log if there is none; it needs --origin. One that is there stays."),
    ] = False,
    origin: Origin = None,
    interval: Interval = DEFAULT_INTERVAL,
    sealing: Annotated[
        Sealing, typer.Option(help="Seal in a process of its own, in this one, or leave it to a 'tlog seal' elsewhere.")
    ] = "beside",
    database: DatabaseUrl = None,
    signer: SignerSocket = None,
    admin_database: AdminUrl = None,
    postgres_user: PostgresUser = None,
    drain: Annotated[
        float, typer.Option(min=0, max=600, help="Seconds to go on as 'not ready' after SIGTERM, for load balancers.")
    ] = DEFAULT_DRAIN,
    access_log: Annotated[
        bool, typer.Option("--access-log/--no-access-log", help="Log each request on stderr, with its key's ID.")
    ] = True,
    log_level: LogLevel = Level.INFO,
    cors_origin: Annotated[
        str | None,
        typer.Option(
            metavar="ORIGIN|*",
            help="Whose web pages may read checkpoint, tiles and proofs in a browser, such as https://audit.example.com; "
            "'*' for all, an intranet's log through a visitor's browser included. None if absent.",
        ),
    ] = None,
    public: Annotated[
        Public,
        typer.Option(
            help="What needs no key: heads of the log; hashes and proofs too; or entries, without names, too."
        ),
    ] = "all",
    trusted_proxy: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ADDRESS", help="Address of a proxy in front, which may have many silent connections; repeatable."
        ),
    ] = None,
    accept_loss: Annotated[
        bool,
        typer.Option(
            "--accept-loss-on-failover",
            help="Serve although the database has a standby that commits do not wait for: what it lacks when it is promoted is "
            "lost.",
        ),
    ] = False,
    policy: PolicyFile = None,
    witnessing: WitnessingMode = "required",
    policy_changed: PolicyChanged = False,
    witness_every: WitnessEvery = 1.0,
    witness_timeout: WitnessTimeout = 2.0,
    witness_alarm: WitnessAlarm = 60.0,
    witness_refresh: WitnessRefresh = 60.0,
    witness_monitoring: WitnessMonitoring = None,
    witnesses_gone: WitnessesGone = None,
    pages: Annotated[bool, typer.Option("--pages/--no-pages", help="Serve the auditor's pages at /ui.")] = True,
    zone: Annotated[
        str, typer.Option("--zone", metavar="NAME", help="Time zone of the pages, such as Europe/Budapest.")
    ] = "UTC",
    public_url: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Where browsers elsewhere reach the pages, such as https://audit.example.com, with TLS by a proxy in front. "
            "Without it the pages are for this machine only.",
        ),
    ] = None,
) -> None:
    """Serve the log over HTTP."""
    begin_service("serve", log_level)
    location = locate(data, database, signer, admin=admin_database, postgres_user=postgres_user)
    if create and origin is None:
        refuse("--create needs --origin, the name of the new log for ever, such as audit.example.com/ehr")
    told = read_witnessing(
        policy,
        witnessing=witnessing,
        policy_changed=policy_changed,
        witness_every=witness_every,
        witness_timeout=witness_timeout,
        witness_alarm=witness_alarm,
        witness_refresh=witness_refresh,
        witness_monitoring=witness_monitoring,
        witnesses_gone=witnesses_gone,
    )

    def ready(url: str) -> None:
        tell_human(f"tlog serves {data} at {url}  (Ctrl-C stops)")

    async def find_or_make() -> None:
        from tlog.lifecycle.making import create_log
        from tlog.lifecycle.opening import check_log_here, is_log

        if create and not is_log(location):
            verifier = await create_log(location, origin)
            _note("made", origin=verifier.name, vkey=verifier.vkey())
            tell_human(f"made a new log in {data}; its public key is\n  {verifier.vkey()}")
            tell_human("make an API key with 'tlog token create'")
        check_log_here(location, origin)

    async def work() -> None:
        from tlog.server.guard.cors import Cors
        from tlog.server.pages.address import Address
        from tlog.server.pages.zones import zone_of
        from tlog.server.serve import serve as run_server

        # What is wrong with these is refused before anything is made.
        Cors(cors_origin)
        pages_at = Address(public_url), zone_of(zone)
        await run_server(
            location,
            host=host,
            port=port,
            interval=interval,
            sealing=sealing,
            drain=drain,
            access_log=access_log and log_level in {Level.DEBUG, Level.INFO},
            prepare=find_or_make,
            cors_origin=cors_origin,
            public=public,
            trusted_proxies=trusted_proxy or (),
            accept_loss=accept_loss,
            pages_at=pages_at if pages else None,
            witnessing=told,
            on_ready=ready,
        )

    run_service(work())


def seal(  # noqa: PLR0917 - the options of a command line
    data: Data = DEFAULT_DATA,
    interval: Interval = DEFAULT_INTERVAL,
    database: DatabaseUrl = None,
    signer: SignerSocket = None,
    log_level: LogLevel = Level.INFO,
    policy: PolicyFile = None,
    witnessing: WitnessingMode = "required",
    policy_changed: PolicyChanged = False,
    witness_every: WitnessEvery = 1.0,
    witness_timeout: WitnessTimeout = 2.0,
    witness_alarm: WitnessAlarm = 60.0,
    witness_refresh: WitnessRefresh = 60.0,
    witness_monitoring: WitnessMonitoring = None,
    witnesses_gone: WitnessesGone = None,
    *,
    supervised: Annotated[bool, typer.Option("--supervised", hidden=True)] = False,
) -> None:
    """Seal and index a log until stopped; 'tlog serve' starts one of these by itself."""
    from tlog.lifecycle.running import run_sealing

    begin_service("seal", log_level)
    told = read_witnessing(
        policy,
        witnessing=witnessing,
        policy_changed=policy_changed,
        witness_every=witness_every,
        witness_timeout=witness_timeout,
        witness_alarm=witness_alarm,
        witness_refresh=witness_refresh,
        witness_monitoring=witness_monitoring,
        witnesses_gone=witnesses_gone,
    )
    run_service(run_sealing(locate(data, database, signer), interval, supervised=supervised, witnessing=told))


def signer(  # noqa: PLR0917 - the options of a command line
    data: Annotated[
        Path, typer.Option("--data", help="The signer's own directory: keys/log.skey, keys/log.vkey and anchor/.")
    ],
    socket: Annotated[
        Path | None, typer.Option(help="UNIX socket to answer at; signer.sock in the directory if absent.")
    ] = None,
    allow_user: Annotated[
        list[str] | None, typer.Option(help="User who may ask, by name or number; repeatable. Your own if absent.")
    ] = None,
    group: Annotated[str | None, typer.Option(help="Group whose members can reach the socket.")] = None,
    allow_growth: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            max=(1 << 63) - 1,
            help="Sign once a log that grew by up to N entries although the bound on growth forbids it.",
        ),
    ] = 0,
    log_level: LogLevel = Level.INFO,
) -> None:
    """Sign a log's checkpoints for 'tlog serve --signer', as a user of its own: only what extends what it signed before."""
    begin_service("signer", log_level)

    async def work() -> None:
        import asyncio

        from tlog.signing.anchor import Anchor
        from tlog.signing.clock import SteadyClock, check_clock
        from tlog.signing.signer import CheckpointSigner
        from tlog.signing.socket import group_number, serve_signer, user_number

        directory = locate(data).directory
        directory.check()
        key = directory.signing_key()
        if key.verifier != directory.verifier():
            message = f"the two keys in {data}/keys do not belong together; bring back this log's own"
            raise KeyMismatchError(message)
        path = data / "signer.sock" if socket is None else socket

        def ready(anchored: Anchored) -> None:
            _note(
                "start",
                version=version(),
                origin=anchored.origin,
                vkey=key.verifier.vkey(),
                size=anchored.size,
                address=path,
            )
            tell_human(f"tlog signs for {anchored.origin} from size {anchored.size} at {path}")

        anchor = Anchor(directory.anchor)
        last = (await asyncio.to_thread(anchor.read)).sealed_at
        check_clock(utc_now(), last)
        await serve_signer(
            CheckpointSigner(anchor, key, SteadyClock(utc_now, last), allow_growth),
            path,
            users={user_number(each) for each in allow_user or [str(os.geteuid())]},
            group=None if group is None else group_number(group),
            on_ready=ready,
        )

    run_service(work())


def begin_service(process: str, level: Level) -> None:
    """Write lines from now on, as the processes that this one starts will from the same level on."""
    from tlog.cli.lines import begin

    os.environ[variable_of("log-level")] = level.value
    begin(process, level)


def _note(event: str, **members: object) -> None:
    import structlog

    structlog.get_logger().info(event, **members)


def tell_human(message: str) -> None:
    """Say it to a person who looks on; the same is in a line for programs."""
    if sys.stderr.isatty():
        say(message)


def warn(process: str, message: str) -> None:
    """Write a warning about how one of `SERVICES` is started."""
    import structlog

    from tlog.cli.lines import begin

    begin(process)
    structlog.get_logger().warning("configuration", reason=message.removeprefix("tlog: "))


def init(  # noqa: PLR0917 - the options of a command line
    data: Data = DEFAULT_DATA,
    origin: Origin = None,
    database: DatabaseUrl = None,
    signer: SignerSocket = None,
    admin_database: AdminUrl = None,
    postgres_user: PostgresUser = None,
) -> None:
    """Make a log: keys, anchor, database; or bring its database's schema up to this version. A new log needs --origin."""
    from tlog.lifecycle.making import create_log

    location = locate(data, database, signer, admin=admin_database, postgres_user=postgres_user)
    verifier = run(create_log(location, origin))
    print(verifier.vkey())
