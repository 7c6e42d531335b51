"""Backups of the embedded database with PostgreSQL's own tools, and restoring them.

    <target>/cluster/            a base backup (pg_basebackup) with the WAL that makes it consistent, and its manifest
    <target>/tlog-backup.json    whose log it is and how many entries it has; written last: a directory without it is
                                 incomplete

A restored database has a mark beside it, `postgres/restored.json`, until the log itself says that it was restored
(`tlog.lifecycle.life`).

A backup leaves out the keys and the anchor, on purpose. The keys never change and are kept elsewhere, once. The anchor says
what was signed last; restored together with the database it would say that an older copy is the newest.

Left out: PostgreSQL of one's own, which has its own backups, and archiving of WAL (docs/how-to/back-up-and-restore.md).
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from hashlib import sha256
from importlib.metadata import version
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import msgspec

from tlog.core.logged_at import format_logged_at
from tlog.core.outcome import parse_report
from tlog.core.strict import encode_base64url
from tlog.errors import AnchorMissingError, KeyMismatchError, MalformedInputError, NotCheckedError, OperatorError
from tlog.files.durable import write_durable
from tlog.postgres.server import EmbeddedPostgres
from tlog.signing.anchor import Anchor
from tlog.storage.database import Database
from tlog.storage.reading import ReadStore

if TYPE_CHECKING:
    from pathlib import Path

    from tlog.location import DataDirectory

_DESCRIPTION: Final = "tlog-backup.json"
_CLUSTER: Final = "cluster"
_DISTRIBUTION: Final = "tlog-audit"


class Backup(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a backup says of itself: it has `size` entries at least; `checkpoint` was the newest note when it was taken."""

    type: Literal["tlog-backup"] = "tlog-backup"
    v: Literal[1] = 1
    vkey: str
    size: int
    checkpoint: str
    takenAt: str  # noqa: N815 - the format's name
    program: str
    manifest: str  # SHA-256 of cluster/backup_manifest, hexadecimal


class Mark(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What the log has to say of a backup that was restored: the members of the outcome `restored`.

    `saidBy` is the index of the entry that says so, which may still be lost until that is sealed.
    """

    backup: str
    size: int
    takenAt: str  # noqa: N815 - the format's name
    saidBy: int | None = None  # noqa: N815 - likewise


class Restored(NamedTuple):
    """A restored database: how many entries it holds, and how many the anchor says were signed (None: no anchor)."""

    backup: Backup
    size: int
    anchored: int | None
    has_keys: bool


async def back_up(directory: DataDirectory, target: Path, now: datetime) -> Backup:
    """Write a backup of the embedded database, running or not, into the new directory `target`.

    Raises:
        MalformedInputError: `target` exists already.
        OperatorError: there is no embedded database.
        EmbeddedPostgresError: PostgreSQL's tool fails; the error quotes the tool's message.
        KeyMismatchError: the log's public key is missing.

    """
    verifier = directory.verifier()
    postgres = EmbeddedPostgres(directory.postgres)
    if not await asyncio.to_thread(postgres.exists):
        message = f"there is no embedded database in {directory.root}; back up your own PostgreSQL with its own tools"
        raise OperatorError(message)
    await asyncio.to_thread(_make_directory, target)
    await asyncio.to_thread(postgres.start)
    try:
        size, note = await _position(postgres)
        await asyncio.to_thread(postgres.back_up, target / _CLUSTER)
    finally:
        await asyncio.shield(asyncio.to_thread(postgres.stop))
    backup = Backup(
        vkey=verifier.vkey(),
        size=size,
        checkpoint=note.decode(),
        takenAt=now.isoformat(timespec="seconds"),
        program=f"{_DISTRIBUTION} {version(_DISTRIBUTION)}",
        manifest=_manifest_digest(target),
    )
    await asyncio.to_thread(_write_description, target, backup)
    return backup


def read_backup(source: Path) -> Backup:
    """Return what a backup says of itself.

    Raises:
        NotCheckedError: `source` is no backup, or an incomplete one.
        MalformedInputError: its description has another form.

    """
    try:
        data = (source / _DESCRIPTION).read_bytes()
    except OSError as error:
        message = (
            f"{source} is not a complete backup: {_DESCRIPTION} cannot be read ({error.strerror}); use another backup"
        )
        raise NotCheckedError(message) from error
    try:
        return msgspec.json.decode(data, type=Backup)
    except msgspec.MsgspecError:
        message = (
            f"{source / _DESCRIPTION} is not the description of a backup that this version makes; use a newer version"
        )
        raise MalformedInputError(message) from None


async def restore(directory: DataDirectory, source: Path) -> Restored:
    """Put a backup into a data directory that has no database, and say how many entries the database then has.

    Raises:
        NotCheckedError: the backup is incomplete.
        MalformedInputError: its description has another form.
        KeyMismatchError: the data directory has the keys of another log.
        OperatorError: the backup was changed, or has fewer entries than it says.
        EmbeddedPostgresError: there is a database already, or PostgreSQL refuses the backup.

    """
    backup = read_backup(source)
    has_keys = directory.has_verifier()
    if has_keys and directory.verifier().vkey() != backup.vkey:
        message = (
            f"{source} is a backup of another log than the one whose keys are in {directory.root}; restore it into the data "
            "directory of its own log, or into a new one"
        )
        raise KeyMismatchError(message)
    if _manifest_digest(source) != backup.manifest:
        message = f"{source / _CLUSTER} has another manifest than when it was made; use another backup"
        raise OperatorError(message)
    directory.create()
    postgres = EmbeddedPostgres(directory.postgres, directory.postgres_user)
    mark = _mark_of(source, backup)
    await asyncio.to_thread(postgres.restore, source / _CLUSTER, (directory.restored, _encode(mark)))
    await asyncio.to_thread(postgres.start)
    try:
        size, _ = await _position(postgres)
    finally:
        await asyncio.shield(asyncio.to_thread(postgres.stop))
    if size < backup.size:
        message = f"the restored database holds {size} entries, the backup says {backup.size}; use another backup"
        raise OperatorError(message)
    write_mark(directory, msgspec.structs.replace(mark, size=size))
    return Restored(backup, size, _anchored_size(Anchor(directory.anchor)), has_keys)


def read_mark(directory: DataDirectory) -> Mark | None:
    """Return what a log still has to say of the backup that it came from, None if nothing.

    Raises:
        OperatorError: the file is no such mark.

    """
    try:
        mark = msgspec.json.decode(directory.restored.read_bytes(), type=Mark)
        parse_report("restored", {"backup": mark.backup, "size": mark.size, "takenAt": mark.takenAt})
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError, MalformedInputError):
        message = (
            f"{directory.restored} is not what 'tlog restore' writes there, so the log cannot say which backup it came from; "
            "restore the backup again"
        )
        raise OperatorError(message) from None
    return mark


def write_mark(directory: DataDirectory, mark: Mark) -> None:
    """Write what a log still has to say, durably.

    Raises:
        OSError: it cannot be written.

    """
    write_durable(directory.restored, _encode(mark), 0o600)


def _mark_of(source: Path, backup: Backup) -> Mark:
    """Return the mark of a backup; times that are no times are refused.

    Raises:
        MalformedInputError: the description's time is none.

    """
    try:
        taken_at = format_logged_at(datetime.fromisoformat(backup.takenAt)).decode()
    except ValueError:
        message = f"{source / _DESCRIPTION} does not say when the backup was taken; use another backup"
        raise MalformedInputError(message) from None
    digest = sha256((source / _DESCRIPTION).read_bytes()).digest()
    return Mark(backup=encode_base64url(digest).decode(), size=backup.size, takenAt=taken_at)


def _encode(mark: Mark) -> bytes:
    return msgspec.json.encode(mark) + b"\n"


def _make_directory(target: Path) -> None:
    try:
        target.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        message = f"{target} exists already, and a backup is never written over another one; name a new directory"
        raise MalformedInputError(message) from None


def _write_description(target: Path, backup: Backup) -> None:
    """Write the description, which makes the backup complete; everything else is on disk before."""
    write_durable(target / _DESCRIPTION, msgspec.json.format(msgspec.json.encode(backup)) + b"\n")


async def _position(postgres: EmbeddedPostgres) -> tuple[int, bytes]:
    """Return the number of entries and the newest checkpoint, empty for none."""
    reader = ReadStore(Database(postgres.conninfo()), connections=1)
    await reader.open()
    try:
        size, checkpoint = (await reader.state()).size, await reader.latest_checkpoint()
        return size, b"" if checkpoint is None else checkpoint.note
    finally:
        await reader.close()


def _anchored_size(anchor: Anchor) -> int | None:
    try:
        return anchor.read().size
    except AnchorMissingError:
        return None


def _manifest_digest(backup: Path) -> str:
    path = backup / _CLUSTER / "backup_manifest"
    try:
        return sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        message = f"{path} cannot be read ({error.strerror}): the backup is incomplete; use another one"
        raise NotCheckedError(message) from error
