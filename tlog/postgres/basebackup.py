"""Verifying a base backup against the manifest that PostgreSQL wrote into it.

Does what pg_verifybackup does (PostgreSQL documentation, "Backup Manifest Format"): every file is there with the size and
SHA-256 it was sent with, there is no other, and the manifest is whole. pg_verifybackup itself is not used because the one
of the embedded package does not start (docs/adr/0017-recover.md). Left out: tablespaces, which the embedded server has none of.
"""

from __future__ import annotations

import os
from hashlib import sha256
from typing import TYPE_CHECKING, Annotated, Final, Literal, NamedTuple

import msgspec
from msgspec import Meta, Struct

from tlog.errors import EmbeddedPostgresError

if TYPE_CHECKING:
    from pathlib import Path

MANIFEST: Final = "backup_manifest"
_LAST_LINE: Final = b'"Manifest-Checksum"'
_PART: Final = 1 << 20
# PostgreSQL lists no WAL: it is checked by reading it.
_NOT_LISTED: Final = (MANIFEST, "pg_wal/")


class _File(Struct, frozen=True):
    path: str = msgspec.field(name="Path")
    size: Annotated[int, Meta(ge=0)] = msgspec.field(name="Size")
    algorithm: Literal["SHA256"] = msgspec.field(name="Checksum-Algorithm")
    checksum: str = msgspec.field(name="Checksum")


class _WalRange(Struct, frozen=True):
    timeline: int = msgspec.field(name="Timeline")
    start: Annotated[str, Meta(pattern="^[0-9A-F]+/[0-9A-F]+$")] = msgspec.field(name="Start-LSN")
    end: Annotated[str, Meta(pattern="^[0-9A-F]+/[0-9A-F]+$")] = msgspec.field(name="End-LSN")


class _Manifest(Struct, frozen=True):
    files: list[_File] = msgspec.field(name="Files")
    wal: list[_WalRange] = msgspec.field(name="WAL-Ranges")
    checksum: str = msgspec.field(name="Manifest-Checksum")


class WalRange(NamedTuple):
    """The WAL without which a backup is not consistent."""

    timeline: int
    start: str
    end: str


def verify_files(directory: Path) -> list[WalRange]:
    """Check the files of a base backup; return which WAL it needs, for pg_waldump to read.

    Raises:
        EmbeddedPostgresError: a file is missing, changed or too many, or the manifest is not whole; names the first.

    """
    manifest = _read_manifest(directory)
    listed = {file.path for file in manifest.files}
    for file in manifest.files:
        if not file.path.startswith(_NOT_LISTED):
            _check_file(directory, file)
    for top, directories, names in os.walk(directory):
        for name in (*names, *(each for each in directories if os.path.islink(os.path.join(top, each)))):  # noqa: PTH114, PTH118 - os.walk gives texts
            path = os.path.relpath(os.path.join(top, name), directory)  # noqa: PTH118 - see above
            if path not in listed and not path.startswith(_NOT_LISTED):
                raise EmbeddedPostgresError(_damage(path, "is not in its manifest"))
            if os.path.islink(os.path.join(top, name)):  # noqa: PTH114, PTH118 - see above
                raise EmbeddedPostgresError(_damage(path, "is a link"))
    return [WalRange(each.timeline, each.start, each.end) for each in manifest.wal]


def _read_manifest(directory: Path) -> _Manifest:
    try:
        data = (directory / MANIFEST).read_bytes()
        manifest = msgspec.json.decode(data, type=_Manifest)
    except (OSError, msgspec.MsgspecError) as error:
        raise EmbeddedPostgresError(_damage(MANIFEST, "is missing or not one with SHA-256 checksums")) from error
    if sha256(data[: data.rfind(_LAST_LINE)]).hexdigest() != manifest.checksum:
        raise EmbeddedPostgresError(_damage(MANIFEST, "is not what PostgreSQL wrote"))
    return manifest


def _check_file(directory: Path, file: _File) -> None:
    path = directory / file.path
    if ".." in path.parts or not path.is_relative_to(directory) or path.is_symlink() or not path.is_file():
        raise EmbeddedPostgresError(_damage(file.path, "is missing or no plain file"))
    digest, size = sha256(), 0
    with path.open("rb") as stream:
        while part := stream.read(_PART):
            digest.update(part)
            size += len(part)
    if (size, digest.hexdigest()) != (file.size, file.checksum):
        raise EmbeddedPostgresError(_damage(file.path, "was changed"))


def _damage(path: str, what: str) -> str:
    return f"the backup is damaged: {path} {what}; use another backup"
