"""Entry bundles: up to 256 entries, each after its length as a big-endian uint16 (c2sp.org/tlog-tiles "Log entries")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tlog.errors import MalformedInputError

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_ENTRY_SIZE: Final = 65_535


def format_bundle(entries: Iterable[bytes]) -> bytes:
    """Return the bundle of `entries`, each at most 65,535 bytes.

    Raises:
        MalformedInputError: an entry is longer than its length field can say.

    """
    parts: list[bytes] = []
    for entry in entries:
        if len(entry) > MAX_ENTRY_SIZE:
            message = f"an entry of {len(entry)} bytes is longer than {MAX_ENTRY_SIZE}"
            raise MalformedInputError(message)
        parts += (len(entry).to_bytes(2), entry)
    return b"".join(parts)


def parse_bundle(data: bytes, width: int) -> list[bytes]:
    """Return the `width` entries of a bundle.

    Raises:
        MalformedInputError: the bundle ends early, or holds more than `width` entries.

    """
    entries: list[bytes] = []
    position = 0
    for _ in range(width):
        start = position + 2
        position = start + int.from_bytes(data[position:start])
        if position > len(data):
            message = f"the entry bundle ends inside entry {len(entries)} of {width}"
            raise MalformedInputError(message)
        entries.append(data[start:position])
    if position != len(data):
        message = f"the entry bundle has {len(data) - position} bytes after its {width} entries"
        raise MalformedInputError(message)
    return entries
