"""From files to items: which files there are, and the events of each, as they stand or mapped from records."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple

import msgspec

from tlog.ingest.aside import Problem
from tlog.ingest.pointers import write_pointer
from tlog.ingest.shapes import DamagedFileError, Record, Skipped, expand, open_plain, read_pieces
from tlog.ingest.total import SetAside, escape_surrogates, json_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tlog.ingest.shapes import Piece
    from tlog.ingest.total import RecordMapping

_DIGEST: Final = "CloudTrail-Digest"
_NAMED_LIKE_JSON: Final = (".json", ".jsonl", ".ndjson", ".gz", ".log")


class Item(NamedTuple):
    """One record to import: its events, each one JSON text, and what messages and the file of what is set aside need.

    Attributes:
        place: where it is, such as "day.ndjson, line 7".
        events: its event, and the events that continue that one.
        record: where it stands in a JSON text; None if the first event is the record.

    """

    place: str
    events: tuple[bytes, ...]
    record: Record | None = None

    def problem(self, pointer: str, rule: str) -> Problem:
        """Return the item as a problem; `pointer` is one in the event, and named if the record is the event."""
        if self.record is not None:
            return _problem(self.record, self.place, rule, pointer if self.record.is_event else "")
        event = self.events[0]
        return Problem(self.place, "", pointer, rule, lambda: event, is_json=is_json(event))


class Found(NamedTuple):
    """The files to read, and the names of those that are not read: digests, and what is no data."""

    files: list[Path]
    digests: list[str]
    passed_over: list[str]


def is_json(content: bytes) -> bool:
    """Tell whether bytes are one JSON object or array."""
    pieces = list(read_pieces(BytesIO(content)))
    return len(pieces) == 1 and not pieces[0].rule


def find_files(paths: Sequence[Path]) -> Found:
    """Return the files of the paths; those of a directory, and of the directories in it, in the order of their names.

    Digests of CloudTrail are left out by name; in a directory also what is neither named like JSON nor begins like it.

    Raises:
        OSError: a path cannot be read.

    """
    found = Found([], [], [])
    for path in paths:
        inside = path.is_dir()
        for each in sorted(each for each in path.rglob("*") if each.is_file()) if inside else (path,):
            if _DIGEST in each.name:
                found.digests.append(str(each))
            elif inside and not _is_data(each):
                found.passed_over.append(str(each))
            else:
                found.files.append(each)
    return found


def _is_data(path: Path) -> bool:
    if path.name.lower().endswith(_NAMED_LIKE_JSON):
        return True
    with path.open("rb") as file:
        try:
            begin = open_plain(file).read(1024)
        except DamagedFileError:
            return True
    return begin.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in {b"{", b"["}


def read_records(
    stream: BinaryIO, name: str, mapping: RecordMapping, *, cloudtrail: bool = False
) -> Iterator[Item | Problem | Skipped]:
    """Yield the events of every record of a file.

    Args:
        stream: the file, at its beginning; it can be read from there again.
        name: the file's name, for messages.
        mapping: what makes events of a record.
        cloudtrail: whether records may stand in the envelopes of CloudTrail records.

    Raises:
        DamagedFileError: nothing of the file can be taken.

    """
    position = 0
    for piece in read_pieces(open_plain(stream)):
        for record in expand(piece, cloudtrail=cloudtrail):
            if isinstance(record, Skipped):
                yield record
                continue
            for each in _split(record, mapping):
                yield _map(each, place_of(name, piece, each, position), mapping, position)
                position += 1


def _split(record: Record, mapping: RecordMapping) -> list[Record]:
    """Return the records in an envelope that the mapping knows, such as a list of events, else the record itself."""
    split = getattr(mapping, "split", None)
    if split is None or record.rule:
        return [record]
    return [
        record._replace(value=value, base=record.base + write_pointer(steps), steps=(*record.steps, *steps))
        for steps, value in split(record.value)
    ]


def _map(record: Record, place: str, mapping: RecordMapping, position: int) -> Item | Problem:
    if record.rule:
        return _problem(record, place, record.rule, record.pointer)
    try:
        events = mapping.map(record.value, position)
    except SetAside as error:
        return _problem(record, place, error.rule, error.pointer)
    return Item(place, tuple(map(encode_event, events)), record)


def read_events(stream: BinaryIO, name: str) -> Iterator[Item | Problem]:
    """Yield every JSON object of a file as an event, as it stands; otherwise like `read_records`."""
    position = 0
    for piece in read_pieces(open_plain(stream)):
        for item in events_of(piece, name, position):
            position += 1
            yield item


def events_of(piece: Piece, name: str, position: int) -> Iterator[Item | Problem]:
    """Yield the events of one JSON text; the first one's number in the file is `position`, from 0."""
    records = (each for each in expand(piece, cloudtrail=False) if isinstance(each, Record))
    for number, record in enumerate(records, position):
        place = place_of(name, piece, record, number)
        if record.rule:
            yield _problem(record, place, record.rule, record.pointer)
        else:
            yield Item(place, (record.content(),), record._replace(is_event=True))


def place_of(name: str, piece: Piece, record: Record, position: int) -> str:
    """Return where a record is: by its line if the line is the record, else by its number in the file."""
    return f"{name}, line {piece.line}" if not record.base else f"{name}, record {position + 1}"


def _problem(record: Record, place: str, rule: str, pointer: str) -> Problem:
    return Problem(place, record.base, pointer, rule, record.content, is_json=record.is_json)


_quick: Final = msgspec.json.Encoder().encode


def encode_event(event: object) -> bytes:
    """Return the JSON text of an event; values that are kept as their JSON text are written as that."""
    try:
        return _quick(event)
    except (TypeError, UnicodeEncodeError):  # numbers as their text, or a lone surrogate, which an event may not have
        return escape_surrogates(json_text(event)).encode()
