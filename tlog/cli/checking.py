"""Commands that check: fsck for a whole log, verify for proofs and evidence."""

from __future__ import annotations

import json
import runpy
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
import typer

from tlog.checking.fsck import fsck as run_fsck
from tlog.checking.mirror import open_mirror
from tlog.checking.mirrored import fsck_mirror
from tlog.checking.report import Report, Verified, parse_verified
from tlog.cli.options import DEFAULT_DATA, Data, DatabaseUrl, Json, SignerSocket, VKey, read_vkey
from tlog.cli.output import guard, output_file, progress_bar, progress_lines, refuse, run
from tlog.core import verify as verification
from tlog.core.checkpoint import open_checkpoint
from tlog.demo.verifier import offline_verifier
from tlog.lifecycle.opening import database_of, signer_of
from tlog.location import DataDirectory, Location
from tlog.signing.anchor import Anchor

if TYPE_CHECKING:
    from collections.abc import Callable

    from tlog.core.note import Verifier
    from tlog.signing.anchor import Anchored

_SAVE_SECONDS: Final = 5.0


def fsck(  # noqa: PLR0917 - the options of a command line
    data: Data = DEFAULT_DATA,
    database: DatabaseUrl = None,
    signer: SignerSocket = None,
    second_opinion: Annotated[
        bool, typer.Option("--second-opinion", help="Recompute root and inclusion proofs with pymerkle as well.")
    ] = False,
    since: Annotated[
        Path | None, typer.Option(help="Check only what came behind an earlier check: the file that --save wrote then.")
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(
            help="Write here how far nothing is wrong, now and then and at the end: a later check can go on there."
        ),
    ] = None,
    mirror: Annotated[
        str | None,
        typer.Option(
            metavar="DIR|URL", help="Check this copy of the log instead: an exported directory, or a served log."
        ),
    ] = None,
    vkey: Annotated[
        str | None, typer.Option("--vkey", help="With --mirror, the log's public key, literally or as @FILE.")
    ] = None,
    earlier: Annotated[
        Path | None, typer.Option(help="With --mirror, a checkpoint from before, which the mirror's has to continue.")
    ] = None,
    json_output: Json = False,
    progress_json: Annotated[
        bool, typer.Option("--progress-json", help="Report progress on stderr as lines of JSON, for programs.")
    ] = False,
) -> None:
    """Check everything the database holds against entries, tiles, checkpoints and anchor; name what broke."""
    directory = DataDirectory(data)
    showing = progress_lines() if progress_json else progress_bar("checking", "entries")
    if mirror is not None:
        if second_opinion or since is not None or save is not None or database is not None:
            refuse("--mirror goes with --vkey, --earlier, --json and --progress-json only")
        key = guard(lambda: directory.verifier() if vkey is None else read_vkey(vkey))
        before = None if earlier is None else guard(earlier.read_bytes)
        with showing as report:
            found = guard(lambda: _check_mirror(mirror, key, before, report))
    elif vkey is not None or earlier is not None:
        refuse("--vkey and --earlier go with --mirror")
    else:
        since_then = None if since is None else guard(lambda: parse_verified(since.read_bytes()))
        saver = _Saver(save)

        location = Location(directory, database, signer_socket=signer)
        read = anchor_reader(location)

        async def work() -> Report:
            async with database_of(location) as log:
                with showing as report:
                    return await run_fsck(
                        log,
                        directory.verifier(),
                        directory.bucket_keys(),
                        read,
                        second_opinion=second_opinion,
                        since=since_then,
                        progress=report,
                        reached=saver.reached,
                    )

        found = run(work())
        if found.verified is not None:
            saver.write(found.verified)
    print(json.dumps(found.to_json()) if json_output else found.text())
    raise typer.Exit(found.exit_code)


def anchor_reader(location: Location) -> Callable[[], Anchored]:
    """Return what reads the anchor: of the data directory, or through the log's own signer."""
    return Anchor(location.directory.anchor).read if location.signer_socket is None else signer_of(location).read


def _check_mirror(where: str, key: Verifier, earlier: bytes | None, report: Callable[[int, int], None]) -> Report:
    with open_mirror(where) as mirror:
        return fsck_mirror(mirror, key, earlier=earlier, progress=report)


class _Saver:
    """Writes how far a check has got, so that one that is broken off was not for nothing."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._written = time.monotonic()

    def reached(self, verified: Verified) -> None:
        """Write, unless that was done a moment ago."""
        if self._path is not None and str(self._path) != "-" and time.monotonic() - self._written > _SAVE_SECONDS:
            self.write(verified)

    def write(self, verified: Verified) -> None:
        """Write, if asked to."""
        if self._path is not None:
            with output_file(self._path) as file:
                file.write(msgspec.json.encode(verified))
            self._written = time.monotonic()


def verify_proof(
    proof: Annotated[Path, typer.Argument(help="The .tlog-proof file.")],
    event: Annotated[Path, typer.Option(help="The .event.json file.")],
    vkey: VKey,
) -> None:
    """Verify that an event is in the log."""
    verified = guard(lambda: verification.verify_event(read_vkey(vkey), event.read_bytes(), proof.read_bytes()))
    checkpoint = verified.checkpoint
    print(f"VERIFIED: entry {verified.index} of {checkpoint.origin}, in its tree of {checkpoint.size:,} entries")


def verify_consistency(
    proof: Annotated[Path, typer.Argument(help="The consistency proof, with the newer checkpoint.")],
    old: Annotated[Path, typer.Option(help="The older checkpoint.")],
    vkey: VKey,
) -> None:
    """Verify that the log only grew between two checkpoints."""
    older, newer = guard(lambda: verification.verify_growth(read_vkey(vkey), old.read_bytes(), proof.read_bytes()))
    print(f"VERIFIED: {older.origin} grew from {older.size:,} to {newer.size:,} entries and changed nothing")


def verify_checkpoint(
    checkpoint: Annotated[Path, typer.Argument(help="The signed checkpoint.")],
    vkey: VKey,
) -> None:
    """Verify a checkpoint's signature and form."""
    opened = guard(lambda: open_checkpoint(checkpoint.read_bytes(), read_vkey(vkey)))
    print(f"VERIFIED: {opened.origin} signed its tree of {opened.size:,} entries")


def verify_log(
    directory: Annotated[Path, typer.Argument(help="A static export of the log.")],
    vkey: VKey,
) -> None:
    """Verify a whole exported log with the offline verifier."""
    sys.argv = ["verify.py", "log", "--vkey", vkey, str(directory)]
    runpy.run_path(str(offline_verifier()), run_name="__main__")
