"""Frames: zstd (RFC 8878), by which runs are kept small. The only module that knows it.

A frame is one zstd frame of level -1 that says how large its content is, without checksum or dictionary, and nothing after it.
Its bytes are never hashed, signed or compared: another release of the library makes others of the same content.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

import zstandard

from tlog.errors import MalformedInputError

if TYPE_CHECKING:
    from collections.abc import Sequence

_LEVEL: Final = -1
# What a frame may make its reader allocate beside its content: the largest run, rounded up to a power of two.
_MAX_WINDOW: Final = 1 << 21
_HEADER: Final = 5  # bytes of a magic number and of a descriptor
_CHECKSUM_OR_DICTIONARY: Final = 0b111


class _Contexts(threading.local):
    """zstd's working memory, which takes longer to make than a frame; of each thread its own."""

    def __init__(self) -> None:
        self.compressor = zstandard.ZstdCompressor(level=_LEVEL)
        self.decompressor = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW)


_contexts: Final = _Contexts()


def make_frames(contents: Sequence[bytes]) -> list[bytes]:
    """Return the frame of each content, none of them empty; other threads run until all are made."""
    if not contents:
        return []
    made = _contexts.compressor.multi_compress_to_buffer(list(contents))
    return [made[number].tobytes() for number in range(len(made))]


def content_size(beginning: bytes, most: int) -> int:
    """Return how many bytes a frame says that its content has, given the frame or at least its first 18 bytes.

    Raises:
        MalformedInputError: it is no such frame, or says more than `most`.

    """
    try:
        size = zstandard.frame_content_size(beginning)
    except zstandard.ZstdError:
        size = -1
    if size < 0 or len(beginning) < _HEADER or beginning[_HEADER - 1] & _CHECKSUM_OR_DICTIONARY:
        message = "not a frame that says how large its content is, without checksum and dictionary"
        raise MalformedInputError(message)
    if size > most:
        message = f"the frame says that its content has {size} bytes, and it has at most {most}"
        raise MalformedInputError(message)
    return size


def open_frame(data: bytes, most: int) -> bytes:
    """Return the content of a frame, at most `most` bytes; no more than that is allocated for it.

    Raises:
        MalformedInputError: `data` is not exactly one such frame.

    """
    size = content_size(data, most)
    try:
        content = _contexts.decompressor.decompress(data, allow_extra_data=False)
    except zstandard.ZstdError:
        content = None
    if content is None or len(content) != size:
        message = "the frame does not open"
        raise MalformedInputError(message)
    return content
