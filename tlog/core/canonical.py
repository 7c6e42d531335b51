"""JSON taken strictly and written canonically.

`parse_strict` takes I-JSON (RFC 7493): UTF-8, no duplicate member names, no lone surrogates, integers within
±(2^53 - 1), finite numbers, at most 32 levels. `canonical` writes RFC 8785 (JSON Canonicalization Scheme) through the
`rfc8785` package; faster ways to the same bytes are where they are used (`tlog.core.making.parsing`).
"""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any, Final

import rfc8785

from tlog.errors import MalformedInputError

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_DEPTH: Final = 32
MAX_INTEGER: Final = 2**53 - 1
# Possessive, and with an optional end: a string without end is scanned once and not again from each quote in it.
_STRUCTURE: Final = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[\]{},:]', re.DOTALL)
_LONGEST_INTEGER: Final = len("-999999999999999999999")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


class _Defect:
    """Stands in the parsed value where the JSON text broke a rule that Python's parser lets pass."""

    def __init__(self, message: str) -> None:
        self.message = message


def canonical(value: Any) -> bytes:  # noqa: ANN401 - any JSON value
    """Return the RFC 8785 bytes of a JSON value that `parse_strict` could have returned."""
    return rfc8785.dumps(value)


def parse_strict(data: bytes, *, stored: bool = False) -> Any:  # noqa: ANN401 - any JSON value
    """Return the JSON value of `data`.

    Args:
        data: the JSON text.
        stored: it was written by `canonical`, which writes doubles below 10^21 as integers (RFC 8785 section 3.2.2.3); those
            beyond ±(2^53 - 1) are taken for the doubles that they were.

    Raises:
        MalformedInputError: the text breaks a rule of the module docstring; `pointer` names the place.

    """
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        message = f"not UTF-8 at byte {error.start}"
        raise MalformedInputError(message) from None
    _check_depth(text)
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=lambda name: _Defect(f"{name} is not a JSON number"),
            parse_float=_float,
            parse_int=_stored_integer if stored else _integer,
        )
    except json.JSONDecodeError as error:
        message = f"not JSON at character {error.pos}"
        raise MalformedInputError(message) from None
    check_value(value)
    return value


def check_value(value: object, pointer: str = "") -> bool:
    """Check numbers, strings and depth of a parsed JSON value.

    Returns:
        Whether writing it canonically needs care: it has a float, or a member name outside ASCII (whose RFC 8785 order
        by UTF-16 code units can differ from the order by code points).

    Raises:
        MalformedInputError: a rule of the module docstring is broken; `pointer` names the place.

    """
    care = False
    for child, child_pointer in _leaves(value, pointer, pointer.count("/")):
        kind = type(child)
        if kind is int:
            _check_integer(child, child_pointer)
        elif kind is float:
            care = True
            _check_float(child, child_pointer)
        elif kind is str:
            _check_string(child, child_pointer)
        elif kind is _Defect:
            raise MalformedInputError(child.message, child_pointer)
        elif kind is dict:
            care = care or not all(map(str.isascii, child))
            for name in child:
                _check_string(name, f"{child_pointer}/{escape_pointer(name)}")
    return care


def escape_pointer(member: str) -> str:
    """Return a member name as a JSON pointer token (RFC 6901 section 3): its first 100 characters, made printable."""
    token = "".join(c if c.isprintable() else "\ufffd" for c in member[:100])
    return token.replace("~", "~0").replace("/", "~1")


def _leaves(value: object, pointer: str, depth: int) -> Iterator[tuple[Any, str]]:
    """Yield every value with its pointer, containers before what they hold."""
    if isinstance(value, dict | list):
        if depth >= MAX_DEPTH:
            message = f"nested deeper than {MAX_DEPTH} levels"
            raise MalformedInputError(message, pointer)
        yield value, pointer
        children = (
            ((escape_pointer(name), child) for name, child in value.items())
            if isinstance(value, dict)
            else enumerate(value)
        )
        for token, child in children:
            yield from _leaves(child, f"{pointer}/{token}", depth + 1)
    else:
        yield value, pointer


def _check_integer(number: int, pointer: str) -> None:
    if not -MAX_INTEGER <= number <= MAX_INTEGER:
        message = "an integer beyond 2^53 - 1 loses digits in other JSON readers; send it as a string"
        raise MalformedInputError(message, pointer)


def _check_float(number: float, pointer: str) -> None:
    if not math.isfinite(number):
        message = "a number beyond the range of a double"
        raise MalformedInputError(message, pointer)


def _check_string(text: str, pointer: str) -> None:
    if _SURROGATE.search(text):
        message = "a lone surrogate is not a character"
        raise MalformedInputError(message, pointer)


def _check_depth(text: str) -> None:
    """Refuse deep nesting before the recursive parser meets it, and name the place."""
    open_containers: list[str | int] = []  # of each, the name or position of the value being read
    for match in _STRUCTURE.finditer(text):
        mark = match[0]
        if mark in "[{":
            if len(open_containers) >= MAX_DEPTH:
                message = f"nested deeper than {MAX_DEPTH} levels"
                raise MalformedInputError(message, "".join(f"/{step}" for step in open_containers))
            open_containers.append(0 if mark == "[" else "")
        elif not open_containers:
            continue
        elif mark in "]}":
            open_containers.pop()
        elif isinstance(step := open_containers[-1], int):
            open_containers[-1] = step + (mark == ",")
        elif mark not in ",:":
            open_containers[-1] = escape_pointer(mark[1:-1])


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        value[twice] = _Defect("a member name stands twice in one object")
    return value


def _float(text: str) -> float | _Defect:
    number = float(text)
    return number if math.isfinite(number) else _Defect("a number beyond the range of a double")


def _integer(text: str) -> int | _Defect:
    # Python refuses to convert thousands of digits; the rule for integers is broken long before.
    if len(text) > len(str(-MAX_INTEGER)):
        return _Defect("an integer beyond 2^53 - 1 loses digits in other JSON readers; send it as a string")
    return int(text)


def _stored_integer(text: str) -> float | _Defect:
    return _integer(text) if len(text) < len(str(MAX_INTEGER)) or len(text) > _LONGEST_INTEGER else float(text)
