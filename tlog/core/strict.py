"""Strict building blocks shared by all parsers: decimal numbers, base64, and files of one canonical JSON object.

Python's own parsers accept what the formats forbid: `int` takes "+4_2" and Arabic digits, `base64` takes trailing bits
that are not zero, `json` takes white space and a member twice. Here a value is accepted only if formatting it again gives
the same bytes.
"""

from __future__ import annotations

import binascii
import re
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from tlog.core.merkle import MAX_TREE_SIZE
from tlog.errors import MalformedInputError

if TYPE_CHECKING:
    from collections.abc import Iterable

_Content = TypeVar("_Content")

# C2SP tlog-checkpoint: "the ASCII decimal representation of the number of leaves in the tree, with no leading zeroes".
_DECIMAL: Final = re.compile(rb"0|[1-9][0-9]{0,18}")
_HASH_TEXT: Final = 43
_TO_URL: Final = bytes.maketrans(b"+/", b"-_")
_FROM_URL: Final = bytes.maketrans(b"-_", b"+/")


def parse_decimal(text: bytes, what: str) -> int:
    """Return the number 0 <= n < 2**63 written in ASCII decimal without sign or leading zero.

    Raises:
        MalformedInputError: any other form; `what` names it in the message.

    """
    if _DECIMAL.fullmatch(text) is None or (number := int(text)) > MAX_TREE_SIZE:
        message = f"{what} is not a decimal number below 2^63 without leading zeroes"
        raise MalformedInputError(message)
    return number


def encode_base64(data: bytes) -> bytes:
    """Return standard padded base64 (RFC 4648 section 4)."""
    return binascii.b2a_base64(data, newline=False)


def parse_base64(text: bytes, what: str, size: int | None = None) -> bytes:
    """Return the bytes of standard padded base64, exactly `size` of them if given.

    Raises:
        MalformedInputError: another alphabet, missing padding, trailing bits, or another length.

    """
    try:
        data = binascii.a2b_base64(text, strict_mode=True)
    except (binascii.Error, ValueError):
        data = None
    if data is None or encode_base64(data) != text:
        message = f"{what} is not canonical base64"
        raise MalformedInputError(message)
    if size is not None and len(data) != size:
        message = f"{what} has {len(data)} bytes, not {size}"
        raise MalformedInputError(message)
    return data


def encode_base64url(data: bytes) -> bytes:
    """Return unpadded URL-safe base64 (RFC 4648 section 5)."""
    return binascii.b2a_base64(data, newline=False).translate(_TO_URL).rstrip(b"=")


def encode_hashes_base64url(hashes: Iterable[bytes]) -> list[str]:
    """Return what `encode_base64url` returns of each 32-byte hash, for many in one go, as text."""
    # With one zero byte after it, a hash is 44 characters without padding, of which the first 43 are its own.
    text = binascii.b2a_base64(b"\0".join((*hashes, b"")), newline=False).translate(_TO_URL).decode()
    return [text[start : start + _HASH_TEXT] for start in range(0, len(text), _HASH_TEXT + 1)]


def parse_base64url(text: bytes, what: str, size: int) -> bytes:
    """Return the `size` bytes of unpadded URL-safe base64.

    Raises:
        MalformedInputError: any other form or length.

    """
    if b"+" in text or b"/" in text or b"=" in text:
        message = f"{what} is not canonical base64url"
        raise MalformedInputError(message)
    padded = text.translate(_FROM_URL) + b"=" * (-len(text) % 4)
    return parse_base64(padded, what, size)


class CanonicalFile(Generic[_Content]):
    """Files of one kind: RFC 8785 JSON of a msgspec type whose texts and member names need no care, and one newline."""

    def __init__(self, kind: type[_Content], what: str) -> None:
        """Prepare; `what` names the kind in messages, with its article."""
        import msgspec  # noqa: PLC0415 - the help of the command line needs this module, and at once

        self._what = what
        self._refusals = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
        self._decode = msgspec.json.Decoder(kind).decode
        self._encode = msgspec.json.Encoder(order="sorted").encode

    def format(self, content: _Content) -> bytes:
        """Return the file's bytes."""
        return self._encode(content) + b"\n"

    def parse(self, data: bytes) -> _Content:
        """Return what a file holds.

        Raises:
            MalformedInputError: the bytes are not exactly what formatting its members gives.

        """
        try:
            content = self._decode(data)
        except self._refusals:
            message = f"not {self._what} of this format"
            raise MalformedInputError(message) from None
        if self.format(content) != data:
            message = f"{self._what} is canonical JSON (RFC 8785), ended by one newline; this one is not"
            raise MalformedInputError(message)
        return content
