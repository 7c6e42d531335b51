"""JSON taken strictly and written canonically.

`parse_strict` takes I-JSON (RFC 7493): UTF-8, no duplicate member names, no lone surrogates, at most 32 levels, and only
numbers that `canonical` writes without changing them: integers within ±(2^53 - 1), and others that a double holds as they were
sent. `canonical` writes RFC 8785 (JSON Canonicalization Scheme) through the `rfc8785` package; faster ways to the same bytes
are where they are used (`tlog.core.making.parsing`).
"""

from __future__ import annotations

import json
import math
import re
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final

import rfc8785

from tlog.errors import MalformedInputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAX_DEPTH: Final = 32
MAX_INTEGER: Final = 2**53 - 1
# Possessive, and with an optional end: a string without end is scanned once and not again from each quote in it.
_STRUCTURE: Final = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[\]{},:]', re.DOTALL)
_LONGEST_INTEGER: Final = len("-999999999999999999999")
EXPONENT_FROM: Final = 1e21  # from here on RFC 8785 writes a double with an exponent
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_BIG: Final = "an integer beyond 2^53 - 1 loses digits in other JSON readers; send it as a string"
_INFINITE: Final = "a number beyond the range of a double; send it as a string"
_LONE: Final = "a lone surrogate is not a character"
_INEXACT: Final = "a number that a double does not hold as it was sent; send it as a string"
_BYTE_ORDER_MARKS: Final = (b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff")


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
            beyond ±(2^53 - 1) are taken for the doubles that they were, and no number is compared with its text.

    Raises:
        MalformedInputError: the text breaks a rule of the module docstring; `pointer` names the place.

    """
    value = _load(data, _stored_float if stored else _float, _stored_integer if stored else _integer)
    check_value(value)
    return value


def parse_with_faults(data: bytes) -> tuple[Any, list[tuple[str, str]]]:
    """Return the JSON value of a text that somebody sent, and all that is wrong in it, each as rule and JSON pointer.

    The value at a pointer that is named is no JSON value where the text has none that could be kept.

    Raises:
        MalformedInputError: there is no value: the text is not JSON, not UTF-8, or too deep.

    """
    value = _load(data, _float, _integer)
    return value, list(_value_faults(value))


def sent_float(text: str) -> float:
    """Return the double of a number's text, with a fraction or an exponent, if `canonical` writes the same number.

    Raises:
        ValueError: the text that RFC 8785 has for the double is another decimal number, or an integer beyond ±(2^53 - 1).

    """
    number = _float(text)
    if isinstance(number, _Defect):
        raise ValueError(number.message)  # noqa: TRY004 - the type is how `_float` says no
    return number


def check_value(value: object, pointer: str = "") -> bool:
    """Check numbers, strings and depth of a parsed JSON value.

    Returns:
        Whether writing it canonically needs care: it has a float, or a member name outside ASCII (whose RFC 8785 order
        by UTF-16 code units can differ from the order by code points).

    Raises:
        MalformedInputError: a rule of the module docstring is broken; `pointer` names the place.

    """
    care = False
    for child, place in _leaves(value, pointer, pointer.count("/")):
        kind = type(child)
        if kind is dict:
            care = care or not all(map(str.isascii, child))
            for name in child:
                if _SURROGATE.search(name):
                    raise MalformedInputError(_LONE, f"{place}/{escape_pointer(name)}")
        elif (rule := _broken_rule(child, kind)) is not None:
            raise MalformedInputError(rule, place)
        elif kind is float:
            care = True
    return care


def escape_pointer(member: str) -> str:
    """Return a member name as a JSON pointer token (RFC 6901 section 3): its first 100 characters, made printable."""
    token = member[:100]
    if not token.isprintable():
        token = "".join(c if c.isprintable() else "\ufffd" for c in token)
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


def _value_faults(value: object) -> Iterator[tuple[str, str]]:
    """Yield every rule that a parsed value breaks, with the place."""
    for child, place in _leaves(value, "", 0):
        kind = type(child)
        rule = _broken_rule(child, kind)
        if rule is not None:
            yield rule, place
        elif kind is dict:
            yield from ((_LONE, f"{place}/{escape_pointer(name)}") for name in child if _SURROGATE.search(name))


def _broken_rule(value: Any, kind: type) -> str | None:  # noqa: ANN401 - any JSON value
    """Return the rule that a number or text breaks, or that its JSON text broke."""
    if kind is str:
        return _LONE if _SURROGATE.search(value) else None
    if kind is int:
        return None if -MAX_INTEGER <= value <= MAX_INTEGER else _BIG
    if kind is float:
        return None if math.isfinite(value) else _INFINITE
    return value.message if kind is _Defect else None


def _load(data: bytes, parse_float: Callable[[str], Any], parse_int: Callable[[str], Any]) -> Any:  # noqa: ANN401
    """Return the value of a JSON text, with a `_Defect` where the text broke a rule that Python's parser lets pass."""
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        message = f"not UTF-8 at byte {error.start}{_hint_of_bytes(data)}"
        raise MalformedInputError(message) from None
    _check_depth(text)
    try:
        return json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=lambda name: _Defect(f"{name} is not a JSON number"),
            parse_float=parse_float,
            parse_int=parse_int,
        )
    except json.JSONDecodeError as error:
        message = f"not JSON at character {error.pos}{_hint(text, error)}"
        raise MalformedInputError(message) from None


def _hint_of_bytes(data: bytes) -> str:
    return ": this is UTF-16 or UTF-32; send UTF-8" if data.startswith(_BYTE_ORDER_MARKS) else ""


def _hint(text: str, error: json.JSONDecodeError) -> str:
    """Return what a text probably is that is not JSON at this place, as the end of a sentence."""
    if text.startswith("\ufeff"):
        return ": the text begins with a byte order mark; send UTF-8 without one"
    if "\0" in text[:4]:
        return ": this is UTF-16 or UTF-32; send UTF-8"
    rest = text[error.pos : error.pos + 1]
    if rest == "'":
        return ": JSON has double quotes around names and texts, not single ones"
    if error.msg == "Extra data" and rest in "{[":
        return ": several JSON values in one text; is it NDJSON?"
    return ""


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
    if not math.isfinite(number):
        return _Defect(_INFINITE)
    if MAX_INTEGER < abs(number) < EXPONENT_FROM:
        return _Defect(_BIG)
    written = repr(number)  # another form of what RFC 8785 writes, with the same digits
    return number if written == text or _is_same_number(written, text) else _Defect(_INEXACT)


def _stored_float(text: str) -> float:
    return float(text)  # `check_value` sees an infinite one


def _is_same_number(first: str, second: str) -> bool:
    try:
        return Decimal(first) == Decimal(second)
    except InvalidOperation:  # an exponent that even a Decimal does not hold
        return False


def _integer(text: str) -> int | _Defect:
    # Python refuses to convert thousands of digits; the rule for integers is broken long before.
    return int(text) if len(text) <= len(str(-MAX_INTEGER)) else _Defect(_BIG)


def _stored_integer(text: str) -> float | _Defect:
    if len(text) < len(str(MAX_INTEGER)) or len(text) > _LONGEST_INTEGER:
        return _integer(text)
    return number if abs(number := int(text)) <= MAX_INTEGER else float(text)
