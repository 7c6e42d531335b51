"""The shapes in which records come: how a file, plain or gzip, is cut into JSON texts, and those into records.

A file is a sequence of JSON texts: one, one in each line, or several one after the other. `read_pieces` cuts it with as much in
memory as one of them needs, and goes on after damage where the next line begins with a bracket. `expand` finds the records in a
text: arrays, the envelopes in which services hand on CloudTrail records, lines of what was set aside before.

Words: *piece*, one JSON text as it stood, or what stands where one should be; *base*, the JSON pointer of a record in its piece.
"""

from __future__ import annotations

import binascii
import codecs
import gzip
import json
import re
import zlib
from base64 import b64decode
from io import BytesIO
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple, cast

from tlog.core.canonical import escape_pointer
from tlog.ingest.aside import set_aside_content
from tlog.ingest.pointers import write_pointer
from tlog.ingest.total import JsonText, escape_surrogates, json_text, number

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_PIECE: Final = 256 << 20
DAMAGED_GZIP: Final = "the gzip data is damaged"
NO_JSON: Final = "there is no JSON text here that can be read"
NO_UTF8: Final = "this is not UTF-8"
DOUBLED: Final = "a member name stands twice in one object"
DIGEST: Final = "digest"
_GZIP: Final = b"\x1f\x8b"
_UTF16: Final = (b"\xff\xfe", b"\xfe\xff")
_CHUNK: Final = 256 << 10
_LEVELS: Final = 200  # what is nested deeper stays text, so that no parser runs out of stack
_ENVELOPES: Final = 8  # one in another
_SAFE_DIGITS: Final = 16  # shorter integers are below 2^53
_SPACE: Final = re.compile("[ \t\r\n\x1e\ufeff]*")  # RFC 7464 puts U+001E before each text
_NEXT: Final = re.compile(r"\n(?=[{\[])")
_STRUCTURE: Final = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)
_BYTES: Final = re.compile("[\udc80-\udcff]")  # as decoding with "surrogateescape" leaves them


class DamagedFileError(Exception):
    """Nothing of a file can be taken; the message says why."""


class Piece(NamedTuple):
    """One JSON text as it stood, its value and the line it begins in; or damage, with the rule.

    Bytes that are no UTF-8 stand in `text` as lone surrogates, U+DC80 to U+DCFF (Python's "surrogateescape").
    """

    text: str
    line: int
    value: Any = None
    doubled: bool = False
    rule: str = ""


class Record(NamedTuple):
    """A record, where it stands, and its text.

    Attributes:
        value: the JSON value.
        base: its JSON pointer in its piece.
        source: the text around it.
        steps: the way to the record in `source`.
        rule: why it cannot be taken, or "".
        pointer: the offending member, in the record.
        is_json: whether it is one JSON text.
        is_event: whether it is meant to be an event as it stands.

    """

    value: Any
    base: str
    source: Source
    steps: tuple[str | int, ...]
    rule: str = ""
    pointer: str = ""
    is_json: bool = True
    is_event: bool = False

    def content(self) -> bytes:
        """Return the bytes of the record as they stood."""
        return self.source.content(self.steps, self.value)


class Skipped(NamedTuple):
    """A text that holds no records and is meant so, such as a digest of CloudTrail."""

    what: str


class Doubled(dict[str, Any]):
    """An object in which a member name stands twice; it has the last value of each."""

    twice = ""


class _Parser:
    """Parses JSON so that nothing is lost: numbers that no double holds stay text, doubled names are noticed."""

    def __init__(self) -> None:
        self.doubled = False
        self._decoder = json.JSONDecoder(
            object_pairs_hook=self._object, parse_float=number, parse_int=_integer, parse_constant=JsonText
        )

    def parse(self, text: str, start: int) -> tuple[Any, int]:
        """Return the value of the JSON text that begins at `start`, and where it ends.

        Raises:
            json.JSONDecodeError: there is none.

        """
        self.doubled = False
        try:
            return self._decoder.raw_decode(text, start)
        except RecursionError:
            shallow, end = _cut_deep(text, start)
            return self._decoder.raw_decode(shallow)[0], end

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members = dict(pairs)
        if len(members) == len(pairs):
            return members
        self.doubled = True
        seen: set[str] = set()
        doubled = Doubled(members)
        doubled.twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        return doubled


def _integer(text: str) -> int | float | JsonText:
    return int(text) if len(text) < _SAFE_DIGITS else number(text)


def _cut_deep(text: str, start: int) -> tuple[str, int]:
    """Return a JSON text with its deepest containers as text, and where it ends in the original."""
    out: list[str] = []
    depth, kept, begin = 0, start, start
    for match in _STRUCTURE.finditer(text, start):
        if match[0] in "[{":
            depth += 1
            if depth == _LEVELS:
                out.append(text[kept : match.start()])
                begin = match.start()
        elif match[0] in "]}":
            depth -= 1
            if depth == _LEVELS - 1:
                kept = match.end()
                out.append(json.dumps(text[begin:kept]))
            elif depth == 0:
                return "".join((*out, text[kept : match.end()])), match.end()
    message = "Unbalanced"
    raise json.JSONDecodeError(message, text, len(text))


def find_doubled(value: object) -> str | None:
    """Return the JSON pointer of the first member name that stands twice in its object."""
    stack: list[tuple[object, str]] = [(value, "")]
    while stack:
        item, pointer = stack.pop()
        if isinstance(item, Doubled):
            return f"{pointer}/{escape_pointer(item.twice)}"
        if isinstance(item, dict):
            stack += ((child, f"{pointer}/{escape_pointer(name)}") for name, child in reversed(item.items()))
        elif isinstance(item, list):
            stack += ((child, f"{pointer}/{place}") for place, child in reversed(list(enumerate(item))))
    return None


def open_plain(stream: BinaryIO) -> BinaryIO:
    """Return a stream of a file's content: decompressed if the file is gzip by its first bytes.

    Raises:
        DamagedFileError: the content is UTF-16; or later, on reading: the gzip data is damaged.

    """
    head = stream.read(2)
    stream.seek(0)
    if head == _GZIP:
        return cast("BinaryIO", _Gzip(fileobj=stream))
    if head in _UTF16:
        message = "this is UTF-16; convert the file to UTF-8"
        raise DamagedFileError(message)
    return stream


class _Gzip(gzip.GzipFile):
    """A gzip file with one error for all that is wrong with the data."""

    def read(self, size: int | None = -1) -> bytes:
        try:
            return super().read(size)
        except (zlib.error, EOFError, gzip.BadGzipFile):
            raise DamagedFileError(DAMAGED_GZIP) from None

    def readline(self, size: int | None = -1) -> bytes:
        try:
            return super().readline(size)
        except (zlib.error, EOFError, gzip.BadGzipFile):
            raise DamagedFileError(DAMAGED_GZIP) from None


class _Text:
    """The part of a text that is in memory, and how far it was read."""

    def __init__(self, stream: BinaryIO) -> None:
        self._read = stream.read
        self._decode = codecs.getincrementaldecoder("utf-8")("surrogateescape").decode
        self._ended = False
        self.text = ""
        self.pos = 0
        self.line = 1

    def grow(self) -> bool:
        """Read on; return whether there was more."""
        if self._ended:
            return False
        size = len(self.text) - self.pos
        if size > MAX_PIECE:
            message = f"no JSON text ends within {MAX_PIECE >> 20} MiB"
            raise DamagedFileError(message)
        chunk = self._read(max(_CHUNK, size))
        self._ended = not chunk
        more = self._decode(chunk, self._ended)
        self.text = self.text[self.pos :] + more
        self.pos = 0
        return bool(more) or not self._ended

    def skip_space(self) -> bool:
        """Go to the next piece; return whether there is one."""
        while True:
            match = _SPACE.match(self.text, self.pos)
            assert match is not None  # noqa: S101 - the pattern fits nothing as well; for the type checker
            self.advance(match.end())
            if self.pos < len(self.text):
                return True
            if not self.grow():
                return False

    def advance(self, end: int) -> str:
        """Go to `end`; return what was passed."""
        passed = self.text[self.pos : end]
        self.line += passed.count("\n")
        self.pos = end
        return passed

    def may_go_on(self, error: int) -> bool:
        """Tell whether a JSON text with an error at this place may only lack its rest: no token reaches over a line's end."""
        return error > self.text.rfind("\n") or error >= len(self.text.rstrip()) - 1

    def take_damage(self) -> Piece:
        """Return what stands before the next line that begins with a bracket."""
        line = self.line
        while (match := _NEXT.search(self.text, self.pos)) is None:
            if not self.grow():
                break
        damaged = self.advance(len(self.text) if match is None else match.start())
        return Piece(damaged.rstrip("\r\n"), line, rule=NO_UTF8 if _BYTES.search(damaged) else NO_JSON)


def read_pieces(stream: BinaryIO) -> Iterator[Piece]:
    """Yield the JSON texts of a stream that `open_plain` returned, and the damage between them, in order.

    Raises:
        DamagedFileError: the whole stream cannot be taken.

    """
    text, parser = _Text(stream), _Parser()
    while text.skip_space():
        if text.text[text.pos] in "{[":
            try:
                value, end = parser.parse(text.text, text.pos)
            except json.JSONDecodeError as error:
                if text.may_go_on(error.pos) and text.grow():
                    continue
            else:
                line = text.line
                raw = text.advance(end)
                if raw.isascii() or not _BYTES.search(raw):
                    yield Piece(raw, line, value, parser.doubled)
                else:
                    yield Piece(raw, line, rule=NO_UTF8)
                continue
        yield text.take_damage()


class Source:
    """A JSON text, in which the text of each value can be found."""

    def __init__(self, text: str, *, doubled: bool = False) -> None:
        """Take the text; `doubled` if a member name stands twice somewhere."""
        self.text = text
        self.doubled = doubled
        self._children: dict[tuple[str | int, ...], dict[str | int, tuple[int, int]]] = {}

    def content(self, steps: tuple[str | int, ...], value: object) -> bytes:
        """Return the bytes of the value at the end of `steps` as they stood."""
        start, end = 0, len(self.text)
        try:
            for depth, step in enumerate(steps):
                path = steps[:depth]
                if path not in self._children:
                    self._children[path] = _find_children(self.text, start)
                start, end = self._children[path][step]
        except RecursionError:
            return escape_surrogates(json_text(value)).encode()
        return self.text[start:end].encode(errors="surrogateescape")


_plain: Final = json.JSONDecoder()


def _find_children(text: str, pos: int) -> dict[str | int, tuple[int, int]]:
    """Return from where to where each member or element of the container at `pos` stands."""
    found: dict[str | int, tuple[int, int]] = {}
    is_object = text[pos] == "{"
    pos = _skip(text, pos + 1)
    while text[pos] not in "]}":
        step: str | int = len(found)
        if is_object:
            step, pos = _plain.raw_decode(text, pos)
            pos = _skip(text, _skip(text, pos) + 1)
        _, end = _plain.raw_decode(text, pos)
        found[step] = pos, end
        pos = _skip(text, end)
        if text[pos] == ",":
            pos = _skip(text, pos + 1)
    return found


def _skip(text: str, pos: int) -> int:
    match = _SPACE.match(text, pos)
    return match.end() if match is not None else pos


def expand(piece: Piece, *, cloudtrail: bool) -> Iterator[Record | Skipped]:
    """Yield the records of a piece; with `cloudtrail` also those in the envelopes of CloudTrail records."""
    return _expand_piece(piece, "", _ENVELOPES, cloudtrail=cloudtrail)


def _expand_piece(piece: Piece, base: str, levels: int, *, cloudtrail: bool) -> Iterator[Record | Skipped]:
    source = Source(piece.text, doubled=piece.doubled)
    if piece.rule:
        return iter((Record(None, base, source, (), piece.rule, is_json=False),))
    return _Expansion(source, base, levels, cloudtrail=cloudtrail).expand(piece.value, ())


class _Expansion:
    """Finds the records in one JSON text."""

    def __init__(self, source: Source, base: str, levels: int, *, cloudtrail: bool) -> None:
        self._source = source
        self._base = base
        self._levels = levels
        self._cloudtrail = cloudtrail

    def expand(self, value: Any, steps: tuple[str | int, ...]) -> Iterator[Record | Skipped]:  # noqa: ANN401 - any JSON
        """Yield the records in the value at the end of `steps`."""
        inner = self._open(value, steps) if len(steps) < self._levels else None
        if inner is None:
            pointer = find_doubled(value) if self._source.doubled else None
            yield self._record(value, steps, "" if pointer is None else DOUBLED, pointer or "")
        elif isinstance(value, Doubled):
            yield self._record(value, steps, DOUBLED, f"/{escape_pointer(value.twice)}")
        else:
            yield from inner

    def _record(self, value: object, steps: tuple[str | int, ...], rule: str = "", pointer: str = "") -> Record:
        return Record(value, self._base + write_pointer(steps), self._source, steps, rule, pointer)

    def _open(self, value: object, steps: tuple[str | int, ...]) -> Iterator[Record | Skipped] | None:
        """Return what is in an array or an envelope, or None if the value is neither."""
        if isinstance(value, list):
            return (each for position, child in enumerate(value) for each in self.expand(child, (*steps, position)))
        if not isinstance(value, dict):
            return None
        content = set_aside_content(value)
        if content == "record":
            return self.expand(value[content], (*steps, content))
        if content is not None:
            return self._open_set_aside(value, steps, content)
        return self._open_cloudtrail(value, steps) if self._cloudtrail and "eventID" not in value else None

    def _open_cloudtrail(
        self, value: dict[str, Any], steps: tuple[str | int, ...]
    ) -> Iterator[Record | Skipped] | None:
        if "digestStartTime" in value:
            return iter((Skipped(DIGEST),))
        if value.get("messageType") == "CONTROL_MESSAGE":
            return iter((Skipped("control message"),))
        for name in ("Records", "Events", "logEvents", "events"):
            if isinstance(value.get(name), list):
                return self.expand(value[name], (*steps, name))
        for name in ("CloudTrailEvent", "message"):
            if isinstance(value.get(name), str):
                return self._open_text(value, steps, name)
        if isinstance(value.get("detail"), dict):
            return self.expand(value["detail"], (*steps, "detail"))
        return None

    def _open_text(self, value: dict[str, Any], steps: tuple[str | int, ...], name: str) -> Iterator[Record | Skipped]:
        """Yield the records of a text in an envelope; if there is damage, the envelope is set aside with it."""
        pieces = list(read_pieces(BytesIO(value[name].encode(errors="surrogatepass"))))
        rule = next((piece.rule for piece in pieces if piece.rule), "" if pieces else NO_JSON)
        if rule:
            yield self._record(value, steps, rule, f"/{name}")
        else:
            yield from self._expand_pieces(pieces, (*steps, name))

    def _open_set_aside(
        self, value: dict[str, Any], steps: tuple[str | int, ...], name: str
    ) -> Iterator[Record | Skipped]:
        """Yield the records of what was set aside as text or base64, and what is still damaged in it."""
        content = value[name].encode(errors="surrogatepass")
        try:
            content = b64decode(content, validate=True) if name == "base64" else content
        except binascii.Error:
            yield self._record(value, steps, "this is not base64", f"/{name}")
            return
        try:
            pieces = list(read_pieces(open_plain(BytesIO(content))))
        except DamagedFileError as error:
            pieces = [Piece(content.decode(errors="surrogateescape"), 1, rule=str(error))]
        yield from self._expand_pieces(pieces, (*steps, name))

    def _expand_pieces(self, pieces: list[Piece], steps: tuple[str | int, ...]) -> Iterator[Record | Skipped]:
        base, levels = self._base + write_pointer(steps), self._levels - len(steps)
        for piece in pieces:
            yield from _expand_piece(piece, base, levels, cloudtrail=self._cloudtrail)
