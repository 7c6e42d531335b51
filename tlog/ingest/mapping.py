"""Declarative mappings: a TOML or JSON file that says which member of a record becomes which member of an event.

docs/reference/mapping-language.md is the language in words, docs/how-to/import-from.md what the mappings in `maps/` make of the
logs of ten products. A mapping is compiled once, everything unknown in the file is refused then, and from then on `map` raises
nothing but `SetAside`. Odd values are not judged here: `tlog.ingest.total` does that for all importers.

Left out: reading records from files, and FHIR, whose references no pointer takes apart (`tlog.ingest.fhir`).
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tlog.core.canonical import parse_strict
from tlog.errors import MalformedInputError
from tlog.ingest.fhir import FhirMapping
from tlog.ingest.plan import compile_plan, make_event
from tlog.ingest.pointers import Every, Segment, find_places, is_plain, keep_only, step, write_pointer
from tlog.ingest.rules import Compiler
from tlog.ingest.total import SetAside, finish

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tlog.ingest.pointers import Steps

VERSION: Final = 1

_MAPS: Final = Path(__file__).parent / "maps"
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
_NO_OBJECT: Final = "a record is a JSON object"


class FileMapping:
    """A mapping as its file says.

    Attributes:
        name: the mapping's name, from its file.

    """

    def __init__(self, document: object, file: str, *, key: bytes | None = None, space: str | None = None) -> None:
        """Compile a mapping.

        Args:
            document: the content of the file.
            file: the file's name, for messages.
            key: 32 secret bytes that go into every eventId made of values.
            space: id space, the mapping's name if None.

        Raises:
            MalformedInputError: the document is no mapping; the message names the file and the member.

        """
        tables = document.get("tables", {}) if isinstance(document, dict) else {}
        compiler = Compiler(file, tables)
        members = compiler.members(document, "", needed=("v", "name", "event"), allowed=("each", "records", "tables"))
        if type(members["v"]) is not int or members["v"] != VERSION:
            compiler.refuse("/v", f"this version reads mappings of version {VERSION}")
        self.name = compiler.text(members["name"], "/name")
        if not _NAME.fullmatch(self.name):
            compiler.refuse(
                "/name", "expected 1 to 64 small letters, digits and _ . - beginning with a letter or digit"
            )
        self._each = _each(compiler, members)
        self._records = _records(compiler, members)
        self._plan = compile_plan(compiler, members["event"], self.name if space is None else space, key)

    def split(self, document: Any) -> list[tuple[Steps, Any]]:  # noqa: ANN401 - any JSON value
        """Return (steps, record) of each record in a value of a file: of an envelope what is in it, else the value itself."""
        for names in self._records:
            inner = document
            for name in names:
                inner = step(inner, name)
            if isinstance(inner, list) and inner:
                return [((*names, number), record) for number, record in enumerate(inner)]
        return [((), document)]

    def map(self, record: Any, position: int) -> list[dict[str, Any]]:  # noqa: ANN401 - any JSON value
        """Return the events of a record, which `tlog.core.making.parsing.parse_event` takes.

        Args:
            record: the JSON value; of an envelope all the records in it are mapped, or none.
            position: its place among the records of its file, from 0.

        Raises:
            SetAside: the record is no event, by the rule that the error states.

        """
        events = []
        for steps, each in self.split(record):
            try:
                for made, metadata in self._events(each, position):
                    events += finish(made, metadata)
            except SetAside as error:
                raise SetAside(error.rule, f"{write_pointer(steps)}{error.pointer}") from None
        return events

    def _events(self, record: Any, position: int) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:  # noqa: ANN401 - any JSON value
        if not isinstance(record, dict):
            raise SetAside(_NO_OBJECT)
        places = list(find_places(record, self._each)) if self._each else []
        if not places:
            yield make_event(self._plan, record, record, position, ""), record
        for number, (place, element) in enumerate(places):
            metadata = record if len(places) == 1 else keep_only(record, place)
            yield make_event(self._plan, record, element, number, write_pointer(place)), metadata


def maps() -> list[str]:
    """Return the names of the mappings that are shipped, in order."""
    return sorted(["fhir", *(path.stem for path in _MAPS.glob("*.toml"))])


def load_mapping(
    name_or_path: str | Path, *, key: bytes | None = None, space: str | None = None
) -> FileMapping | FhirMapping:
    """Return the mapping of a shipped name, or of a file: JSON if its name ends in `.json`, else TOML.

    Args:
        name_or_path: one of `maps()`, or a path.
        key: 32 secret bytes that go into every eventId made of values.
        space: id space in place of the mapping's name.

    Raises:
        MalformedInputError: there is no such mapping, or the file is none; the message names the file and the member.

    """
    name = str(name_or_path)
    if name == "fhir":
        return FhirMapping(key=key, space=space)
    path = _MAPS / f"{name}.toml" if name in maps() else Path(name)
    try:
        content = path.read_bytes()
    except (OSError, ValueError):
        message = f"{name}: no mapping has this name, and no file can be read there; shipped are {', '.join(maps())}"
        raise MalformedInputError(message) from None
    try:
        return FileMapping(_read(content, path), path.name, key=key, space=space)
    except RecursionError:
        message = f"{path.name}: nested too deep for a mapping"
        raise MalformedInputError(message) from None


def _read(content: bytes, path: Path) -> object:
    try:
        if path.suffix == ".json":
            return parse_strict(content)
        return tomllib.loads(content.decode())
    except MalformedInputError as error:
        message = f"{path.name}: {error}"
        raise MalformedInputError(message, error.pointer) from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        message = f"{path.name}: not TOML: {error if isinstance(error, tomllib.TOMLDecodeError) else 'not UTF-8'}"
        raise MalformedInputError(message) from None


def _each(compiler: Compiler, members: Mapping[str, Any]) -> tuple[Segment, ...]:
    if "each" not in members:
        return ()
    within, segments = compiler.segments(members["each"], "/each")
    if within or Every() not in segments:
        compiler.refuse("/each", "expected a pointer from the record with a segment '*'")
    return segments


def _records(compiler: Compiler, members: Mapping[str, Any]) -> list[list[str]]:
    pointers = members.get("records", [])
    if not isinstance(pointers, list):
        compiler.refuse("/records", "expected a list of pointers")
    found = []
    for number, each in enumerate(pointers):
        within, segments = compiler.segments(each, f"/records/{number}")
        if within or segments[-1:] != (Every(),) or not is_plain(segments[:-1]):
            compiler.refuse(f"/records/{number}", "expected a pointer to a list, ending in '/*'")
        found.append([str(name) for name in segments[:-1]])
    return found
