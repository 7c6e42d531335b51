"""Rules of a mapping: what a member of an event is made of (docs/reference/mapping-language.md).

`Compiler` turns each rule as it stands in a mapping file into a function, once, and refuses what is no rule with the name of
the file and the pointer of the member. A function takes (record, element, position) and returns a text, number or boolean that
is there, or None. None of these functions raises, whatever the record holds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn

from tlog.core.canonical import escape_pointer
from tlog.errors import MalformedInputError
from tlog.ingest.pointers import Segment, find, is_plain, parse_pointer, step
from tlog.ingest.total import text_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

Rule = Callable[[Any, Any, int], Any]
IdRule = Callable[[Any, Any, int], str | None]
OTHERWISE: Final = "otherwise"
POSITION: Final = "#"

_KINDS: Final = (
    ({"value"}, set[str]()),
    ({"first"}, set[str]()),
    ({"join"}, {"with"}),
    ({"from", "table"}, set[str]()),
    ({"from", "before"}, set[str]()),
    ({"from", "after"}, set[str]()),
)


class Table(NamedTuple):
    """A table of texts: exact ones, then prefixes by falling length, then the rest."""

    exact: dict[str, str]
    prefixes: dict[str, str]
    lengths: tuple[int, ...]
    otherwise: str | None

    def look_up(self, text: str) -> str | None:
        """Return what the table has for a text."""
        found = self.exact.get(text)
        if found is not None:
            return found
        for length in self.lengths:
            found = self.prefixes.get(text[:length])
            if found is not None:
                return found
        return self.otherwise

    def results(self) -> Iterator[str]:
        """Yield everything the table can have for a text."""
        yield from self.exact.values()
        yield from self.prefixes.values()
        if self.otherwise is not None:
            yield self.otherwise


class Compiler:
    """Compiles the rules of one file; every error it raises begins with the file's name."""

    def __init__(self, file: str, tables: object) -> None:
        self.file = file
        self.tables = {
            name: self._table(table, f"/tables/{escape_pointer(name)}")
            for name, table in self.members(tables, "/tables").items()
        }

    def refuse(self, pointer: str, rule: str) -> NoReturn:
        """Refuse a member of the file.

        Raises:
            MalformedInputError: always.

        """
        message = f"{self.file}: {pointer or 'the mapping'}: {rule}"
        raise MalformedInputError(message, pointer)

    def members(
        self, value: object, pointer: str, *, needed: Iterable[str] = (), allowed: tuple[str, ...] | None = None
    ) -> Mapping[str, Any]:
        """Return an object of the file, in which every needed member is and no unknown one."""
        if not isinstance(value, dict):
            self.refuse(pointer, "expected a table of members")
        needed = tuple(needed)
        if allowed is not None:
            known = (*needed, *allowed)
            for name in value:
                if name not in known:
                    self.refuse(f"{pointer}/{escape_pointer(name)}", f"no such member; known are {', '.join(known)}")
        for name in needed:
            if name not in value:
                self.refuse(f"{pointer}/{name}", "this member is required")
        return value

    def text(self, value: object, pointer: str) -> str:
        """Return a member of the file that is a text and not empty."""
        if not isinstance(value, str) or not value:
            self.refuse(pointer, "expected a text that is not empty")
        return value

    def rule(self, rule: object, pointer: str, allowed: tuple[str, ...] | None = None) -> Rule:
        """Return the function of a rule; with `allowed`, every text the rule itself names has to be one of these."""
        if isinstance(rule, str):
            return self._pointer(rule, pointer)
        members = self.members(rule, pointer)
        if not any(needed <= members.keys() <= needed | optional for needed, optional in _KINDS):
            self.refuse(
                pointer,
                "a rule is a pointer, or has the members value; first; join, with; from, table; from, before; or from, after",
            )
        if "value" in members:
            return self._value(members["value"], f"{pointer}/value", allowed)
        if "from" in members:
            return self._from(members, pointer, allowed)
        if "first" in members:
            return _first(self.rules(members["first"], f"{pointer}/first", allowed))
        glue = members.get("with", "")
        if not isinstance(glue, str):
            self.refuse(f"{pointer}/with", "expected a text")
        return _join(self.rules(members["join"], f"{pointer}/join"), glue)

    def _from(self, members: Mapping[str, Any], pointer: str, allowed: tuple[str, ...] | None) -> Rule:
        source = self.rule(members["from"], f"{pointer}/from")
        if "table" in members:
            return _look_up(source, self._named_table(members["table"], f"{pointer}/table", allowed))
        if "before" in members:
            return _before(source, self.text(members["before"], f"{pointer}/before"))
        return _after(source, self.text(members["after"], f"{pointer}/after"))

    def rules(self, rules: object, pointer: str, allowed: tuple[str, ...] | None = None) -> list[Rule]:
        """Return the functions of a list of rules."""
        if not isinstance(rules, list) or not rules:
            self.refuse(pointer, "expected a list of rules")
        return [self.rule(rule, f"{pointer}/{number}", allowed) for number, rule in enumerate(rules)]

    def segments(self, value: object, pointer: str) -> tuple[bool, tuple[Segment, ...]]:
        """Return whether a pointer of the file begins at the element, and its segments."""
        text = self.text(value, pointer) if value != "" else ""
        within = text == "." or text.startswith("./")
        try:
            return within, parse_pointer(text[1:] if within else text)
        except MalformedInputError as error:
            self.refuse(pointer, str(error))

    def _pointer(self, text: str, pointer: str) -> Rule:
        if text == POSITION:
            return lambda _record, _element, position: position
        within, segments = self.segments(text, pointer)
        if is_plain(segments):
            return _plain([str(segment) for segment in segments], within=within)
        return _several(segments, within=within)

    def _value(self, value: object, pointer: str, allowed: tuple[str, ...] | None) -> Rule:
        if text_of(value) is None:
            self.refuse(pointer, "expected a text, a number or a boolean")
        self._check(value, pointer, allowed)
        return lambda _record, _element, _position: value

    def _named_table(self, name: object, pointer: str, allowed: tuple[str, ...] | None) -> Table:
        table = self.tables.get(self.text(name, pointer))
        if table is None:
            self.refuse(pointer, f"no such table; known are {', '.join(sorted(self.tables)) or 'none'}")
        for result in table.results():
            self._check(result, f"/tables/{escape_pointer(str(name))}", allowed)
        return table

    def _check(self, value: object, pointer: str, allowed: tuple[str, ...] | None) -> None:
        if allowed is not None and text_of(value) not in allowed:
            self.refuse(pointer, f"not one of the values this member can have: {', '.join(allowed)}")

    def _table(self, table: object, pointer: str) -> Table:
        texts = {
            name: self.text(value, f"{pointer}/{escape_pointer(name)}")
            for name, value in self.members(table, pointer).items()
        }
        otherwise = texts.pop(OTHERWISE, None)
        prefixes = {name.removesuffix("*"): value for name, value in texts.items() if name.endswith("*")}
        exact = {name: value for name, value in texts.items() if not name.endswith("*")}
        return Table(exact, prefixes, tuple(sorted({*map(len, prefixes)}, reverse=True)), otherwise)


def usable(value: object) -> object:
    """Return a value if it can stand for a text, otherwise None."""
    if type(value) is str:
        return value or None
    return None if text_of(value) is None else value


def _plain(names: list[str], *, within: bool) -> Rule:
    def rule(record: Any, element: Any, _position: int) -> Any:  # noqa: ANN401 - any JSON value
        value = element if within else record
        for name in names:
            value = value.get(name) if type(value) is dict else step(value, name)
        if value is None or type(value) is str:
            return value or None
        return usable(value)

    return rule


def _several(segments: tuple[Segment, ...], *, within: bool) -> Rule:
    def rule(record: Any, element: Any, _position: int) -> Any:  # noqa: ANN401 - any JSON value
        for value in find(element if within else record, segments):
            if usable(value) is not None:
                return value
        return None

    return rule


def _first(rules: list[Rule]) -> Rule:
    def rule(record: Any, element: Any, position: int) -> Any:  # noqa: ANN401 - any JSON value
        for each in rules:
            value = each(record, element, position)
            if value is not None:
                return value
        return None

    return rule


def _join(rules: list[Rule], glue: str) -> Rule:
    def rule(record: Any, element: Any, position: int) -> str | None:  # noqa: ANN401 - any JSON value
        texts = []
        for each in rules:
            text = text_of(each(record, element, position))
            if text is None:
                return None
            texts.append(text)
        return glue.join(texts)

    return rule


def _look_up(source: Rule, table: Table) -> Rule:
    def rule(record: Any, element: Any, position: int) -> str | None:  # noqa: ANN401 - any JSON value
        value = source(record, element, position)
        if value is None:
            return None
        return table.look_up(value if type(value) is str else str(text_of(value)))

    return rule


def _before(source: Rule, mark: str) -> Rule:
    def rule(record: Any, element: Any, position: int) -> str | None:  # noqa: ANN401 - any JSON value
        head, found, _ = (text_of(source(record, element, position)) or "").partition(mark)
        return head if found and head else None

    return rule


def _after(source: Rule, mark: str) -> Rule:
    def rule(record: Any, element: Any, position: int) -> str | None:  # noqa: ANN401 - any JSON value
        _, found, tail = (text_of(source(record, element, position)) or "").rpartition(mark)
        return tail if found and tail else None

    return rule
