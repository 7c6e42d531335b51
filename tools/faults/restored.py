"""R5: what a log must not go on from: restored, lost, edited, or another log's parts. Processes and exit codes, no mocks."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import subprocess
from contextlib import closing
from typing import TYPE_CHECKING, Final, NamedTuple

from faults.history import count_forks, read_stored
from faults.service import ORIGIN, Service, Source, embedded, kill_left_over, make_log, run_tlog
from faults.steps import append
from tlog.core.checkpoint import open_checkpoint
from tlog.core.note import Signer
from tlog.errors import AnchorMissingError, ForkError, KeyMismatchError, OperatorError, RollbackError
from tlog.location import DataDirectory
from tlog.postgres.server import EmbeddedPostgres
from tlog.signing.anchor import Anchor, Anchored
from tlog.storage.database import Database
from tlog.storage.reading import ReadStore
from tlog.writing.failover import is_same
from tlog.writing.sealer import check_anchored

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from faults.gate import Figures, Run
    from tlog.storage.rows import Primary, SealedCheckpoint

_HEADER: Final = 100  # of an SQLite file; nothing uses the room after the header


class Copies(NamedTuple):
    """A log's data directory now, and a copy from an earlier time, when the log held less."""

    now: Path
    before: Path


def _cluster(data: Path) -> Path:
    return data / "postgres" / "cluster"


def _replace(old: Path, new: Path) -> None:
    shutil.rmtree(old)
    subprocess.run(["cp", "-a", new, old], check=True)


def database_restored(copies: Copies) -> None:
    """a) The database comes from an older backup."""
    _replace(_cluster(copies.now), _cluster(copies.before))


def database_deleted(copies: Copies) -> None:
    """b) The database's directory is gone."""
    shutil.rmtree(_cluster(copies.now))


def everything_restored(copies: Copies) -> None:
    """c) Database and anchor come from the same older backup, as with a snapshot of the whole machine."""
    database_restored(copies)
    _replace(copies.now / "anchor", copies.before / "anchor")


def anchor_missing(copies: Copies) -> None:
    """d) The anchor is gone."""
    shutil.rmtree(copies.now / "anchor")
    (copies.now / "anchor").mkdir(mode=0o700)


def anchor_edited(copies: Copies) -> None:
    """e) One byte of the anchored checkpoint is another one."""
    path = DataDirectory(copies.now).anchor
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        note = bytes(connection.execute("SELECT note FROM anchor").fetchone()[0])
    data = path.read_bytes()
    place = data.index(note) + len(note) // 2
    path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])


def key_of_another(copies: Copies) -> None:
    """f) The signing key is another log's."""
    key = copies.now / "keys" / "log.skey"
    key.unlink()
    key.write_text(Signer("example.com/other", bytes(range(32))).skey() + "\n")
    key.chmod(0o400)


def replica_promoted(copies: Copies) -> None:
    """g) A replica that lagged is promoted and takes the database's place."""
    replica = copies.before.with_name("replica")
    subprocess.run(["cp", "-a", copies.before, replica], check=True)
    (_cluster(replica) / "standby.signal").touch()
    shutil.chown(_cluster(replica) / "standby.signal", _cluster(replica).stat().st_uid)
    with EmbeddedPostgres(replica / "postgres") as standby:
        standby.administer("SELECT pg_catalog.pg_promote()")
    _replace(_cluster(copies.now), _cluster(replica))
    shutil.rmtree(replica)


class Refusal(NamedTuple):
    """The error that has to end the service, and what its message has to advise."""

    error: type[OperatorError]
    advice: str


_NEWEST_DATABASE: Final = Refusal(RollbackError, "Bring back the newest copy of the database, or what this one lacks")
_CASES: Final[Mapping[Callable[[Copies], None], Refusal]] = {
    database_restored: _NEWEST_DATABASE,
    database_deleted: Refusal(RollbackError, "Bring back the newest copy of it ('tlog restore')"),
    anchor_missing: Refusal(AnchorMissingError, "bring the anchor back"),
    anchor_edited: Refusal(ForkError, "bring back an intact copy of this log's newest anchor"),
    key_of_another: Refusal(KeyMismatchError, "bring back this log's own key"),
    replica_promoted: _NEWEST_DATABASE,
}


def measure(run: Run) -> Figures:
    """Try to serve and to import after each of them, and change the anchor's file byte by byte."""
    copies, kept = _make(run.directory)
    refused, signed, codes, advised = 0, 0, {}, 0
    for number, (damage, refusal) in enumerate(_CASES.items()):
        case = Copies(run.directory / f"case-{number}", copies.before)
        subprocess.run(["cp", "-a", copies.now, case.now], check=True)
        damage(case)
        before = _anchored(case.now)
        done = run_tlog("serve", "--data", case.now, "--port", "0")
        refused += done.returncode == refusal.error.exit_code
        advised += refusal.advice in " ".join(done.stderr.split())
        codes[damage.__name__] = done.returncode
        signed += _anchored(case.now) != before
        kill_left_over(case.now)
        run.progress(number + 1, len(_CASES) + 2)
    figures = {"refused": refused, "advised": advised, "signed": signed, "exit_codes": codes, **_edit(run, copies.now)}
    run.progress(len(_CASES) + 1, len(_CASES) + 2)
    everything_restored(copies)
    # Nothing of this log remembers; whoever kept a checkpoint does.
    return {
        **figures,
        "unnoticed_without_witnesses": _grow(copies.now),
        "noticed_by_a_kept_checkpoint": _forked(copies.now, kept),
    }


def measure_new_anchor(run: Run) -> Figures:
    """Restore an older database and make a new anchor from it, as an operator in a hurry might."""
    copies, kept = _make(run.directory)
    database_restored(copies)
    anchor_missing(copies)
    with embedded(copies.now) as postgres:
        latest = asyncio.run(_latest(_database(postgres)))
    assert latest is not None
    Anchor(DataDirectory(copies.now).anchor).create(
        Anchored(ORIGIN, latest.size, latest.root, latest.chain_hash, latest.note, latest.sealed_at)
    )
    grown = _grow(copies.now)
    return {"refused": len(_CASES) - grown, "signed": grown, "forks": _forked(copies.now, kept)}


def _make(directory: Path) -> tuple[Copies, bytes]:
    """Return a log, a copy from an earlier time, when the log held less, and the last checkpoint as an outsider keeps it."""
    copies = Copies(directory / "data", directory / "before")
    make_log(copies.now)
    source = Source()
    _append(copies.now, source, 50)
    subprocess.run(["cp", "-a", copies.now, copies.before], check=True)
    _append(copies.now, source, 50)
    return copies, Anchor(DataDirectory(copies.now).anchor).read().note


def _append(data: Path, source: Source, count: int) -> None:
    with embedded(data) as postgres:
        asyncio.run(append(_database(postgres), DataDirectory(data), source.take(count)))
        service = Service(data, "--interval", "0.05", "--sealing", "here")
        service.wait_sealed()
        assert service.stop() == 0, service.said.read_text()


def _grow(data: Path) -> int:
    """Serve and append other events than before; return 1 if the log went on."""
    try:
        _append(data, Source(seed=2), 80)
    except AssertionError:
        return 0
    return 1


def _forked(data: Path, kept: bytes) -> int:
    """Return 1 if a checkpoint from outside contradicts what the log has signed now."""
    verifier = DataDirectory(data).verifier()
    with embedded(data) as postgres:
        stored = read_stored(postgres.conninfo(user="postgres"))
    checkpoints = [open_checkpoint(note, verifier) for note in (kept, stored.notes[-1])]
    return int(count_forks([row.leaf for row in stored.rows], checkpoints) > 0)


def _anchored(data: Path) -> bytes | None:
    try:
        return Anchor(DataDirectory(data).anchor).read().note
    except AnchorMissingError:
        return None


def _edit(run: Run, data: Path) -> Figures:
    """Change each byte of the anchor's file: the file has to be refused, or to mean exactly the same as before."""
    directory = DataDirectory(data)
    with embedded(data) as postgres:
        published, size, primary = asyncio.run(_state(_database(postgres)))
    original, copy = directory.anchor, run.directory / "edited" / "anchor.sqlite3"
    with closing(sqlite3.connect(original)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    held, content = Anchor(original).read(), original.read_bytes()
    copy.parent.mkdir()
    verifier, tried, believed = directory.verifier(), 0, 0
    for place in (*range(_HEADER), *range(_HEADER, len(content), run.count(17, 1))):
        copy.write_bytes(content[:place] + bytes([content[place] ^ 0x01]) + content[place + 1 :])
        tried += 1
        try:
            read = Anchor(copy).read()
            check_anchored(read, verifier, published, size)
            # Nothing else knows whether commits waited for standbys when the log was signed last, which is the last column.
            believed += is_same(read, primary) and read[:-1] != held[:-1]
        except OperatorError:
            pass
        for beside in copy.parent.iterdir():
            beside.unlink()
    return {"anchor_bytes_changed": tried, "changes_believed": believed}


def _database(postgres: EmbeddedPostgres) -> Database:
    return Database(postgres.conninfo(user="tlog"), postgres.conninfo(user="postgres"))


async def _latest(database: Database) -> SealedCheckpoint | None:
    return (await _state(database))[0]


async def _state(database: Database) -> tuple[SealedCheckpoint | None, int, Primary]:
    reader = ReadStore(database, connections=1)
    await reader.open()
    try:
        return await reader.latest_checkpoint(), (await reader.state()).size, await reader.primary()
    finally:
        await reader.close()
