"""NDJSON files of events: one JSON text in each line, lines ended by a newline and nothing else."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, BinaryIO, Final, cast

from tlog.errors import MalformedInputError
from tlog.ingest.importing import Item

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_LINE: Final = 65_535


def read_ndjson(stream: BinaryIO, name: str) -> Iterator[Item]:
    r"""Yield the text of every line that is not blank; its place is the name and the line's number, from 1.

    Lines end at "\n" only, one "\r" before it is dropped; names ending in .gz are decompressed while reading.

    Raises:
        MalformedInputError: a line is longer than an event can be, or the compressed data is damaged.

    """
    lines = cast("BinaryIO", gzip.GzipFile(fileobj=stream)) if name.endswith(".gz") else stream
    number = 0
    try:
        while line := lines.readline(MAX_LINE + 3):
            number += 1
            place = f"{name}, line {number}"
            content = line.removesuffix(b"\n").removesuffix(b"\r")
            if len(content) > MAX_LINE:
                message = f"{place}: longer than the {MAX_LINE} bytes of an event"
                raise MalformedInputError(message)
            if content.strip():
                yield Item(place, content)
    except (gzip.BadGzipFile, EOFError) as error:
        message = f"{name}, after line {number}: the gzip data is damaged"
        raise MalformedInputError(message) from error
