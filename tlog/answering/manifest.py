"""The manifest of a set of evidence: which file is which part (docs/reference/formats.md). No verdict comes from it."""

from __future__ import annotations

from hashlib import sha256
from typing import Any, Final

import msgspec

from tlog.errors import MalformedInputError

MANIFEST: Final = "manifest.json"  # its name beside the parts


class _Count(msgspec.Struct):
    answers: int


class Bundle(msgspec.Struct):
    """What the file names and the manifest of a set need of a bundle."""

    end: int
    manifest: _Count
    start: int
    part: tuple[int, int] | None = None


_BUNDLE: Final = msgspec.json.Decoder(Bundle)


def read_bundle(text: bytes) -> Bundle:
    """Return what the manifest needs of a bundle.

    Raises:
        MalformedInputError: it is none.

    """
    try:
        return _BUNDLE.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        message = "what answered is no log, or one of another version: its evidence cannot be read"
        raise MalformedInputError(message) from None


class Manifest:
    """Takes the parts of a set in their order.

    Attributes:
        parts: how many there will be.

    """

    def __init__(self) -> None:
        """Begin with none."""
        self.parts = 1
        self._files: list[dict[str, Any]] = []

    def add(self, bundle: Bundle, text: bytes) -> str:
        """Take the next part; return the name of its file."""
        number, self.parts = bundle.part or (1, 1)
        name = f"{number:06}.json"
        told = {"answers": bundle.manifest.answers, "end": bundle.end, "file": name, "sha256": sha256(text).hexdigest()}
        self._files.append({**told, "start": bundle.start})
        return name

    def is_complete(self) -> bool:
        """Tell whether all parts have been taken."""
        return len(self._files) == self.parts

    def text(self) -> bytes:
        """Return the file."""
        return msgspec.json.encode({"files": self._files, "type": "tlog-evidence-set", "v": 1}) + b"\n"
