"""Strict JSON: what it takes, what it refuses and where, and the canonical form."""

from __future__ import annotations

import json
import math
import random
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec
import pytest
import rfc8785
from hypothesis import example, given, settings
from hypothesis import strategies as st
from strategies import Writer, count_objects, json_values

from tlog.core.canonical import (
    MAX_DEPTH,
    canonical,
    check_value,
    escape_pointer,
    parse_strict,
    parse_with_faults,
    sent_float,
)
from tlog.errors import MalformedInputError

TWICE = "a member name stands twice in one object"
DEEP = "nested deeper than 32 levels"
LONG = "an integer beyond 2^53 - 1"
INFINITE = "beyond the range of a double"
LONE = "a lone surrogate"
INEXACT = "a number that a double does not hold as it was sent"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("null", None),
        (" \t\r\n[] \t\r\n", []),
        ('{"a":{"b":[1,-1.5,true,false,null,"x"]}}', {"a": {"b": [1, -1.5, True, False, None, "x"]}}),
        ('{"":1," ":2}', {"": 1, " ": 2}),
        ('{"a":1,"A":2}', {"a": 1, "A": 2}),
        # RFC 8785 does not normalise: two names that look alike are two names.
        ('{"\u00e9":1,"e\u0301":2}', {"\u00e9": 1, "e\u0301": 2}),
        ('[{"a":1},{"a":2}]', [{"a": 1}, {"a": 2}]),
        ("9007199254740991", 2**53 - 1),
        ("-9007199254740991", 1 - 2**53),
        ("-0", 0),
        ("1e21", 1e21),
        ("1.10", 1.1),
        ("1e2", 100.0),
        ("1.7976931348623157e308", 1.7976931348623157e308),
        (r'"\ud83d\ude00"', "\U0001f600"),
        (r'"\u0000\u001f"', "\x00\x1f"),
        ('"\x7f\u0080\u2028\ufeff"', "\x7f\u0080\u2028\ufeff"),
        (r'"[[[{\"{{"', '[[[{"{{'),
        ("[" * MAX_DEPTH + "]" * MAX_DEPTH, None),
    ],
)
def test_what_is_taken(text: str, value: object):
    taken = parse_strict(text.encode())
    if value is not None or text == "null":
        assert taken == value
        assert type(taken) is type(value)


@pytest.mark.parametrize(
    ("text", "message", "pointer"),
    [
        ('{"a":1,"a":1}', TWICE, "/a"),
        ('{"a":1,"b":2,"a":3}', TWICE, "/a"),
        ('{"a":1,"b":2,"b":2,"a":3}', TWICE, "/b"),
        (r'{"a":1,"\u0061":1}', TWICE, "/a"),
        (r'{"\/":1,"/":1}', TWICE, "/~1"),
        ('{"":1,"":1}', TWICE, "/"),
        ('{"x":[0,{"y":{"a":1,"a":{}}}]}', TWICE, "/x/1/y/a"),
        ('{"x":{"a":1,"a":2},"x":1}', TWICE, "/x"),
        ('{"x":1,"x":{"a":1,"a":2}}', TWICE, "/x"),
        ('{"a":9007199254740992}', LONG, "/a"),
        ("[0,-9007199254740992]", LONG, "/1"),
        ("[18446744073709551616]", LONG, "/0"),
        ("[-99999999999999999]", LONG, "/0"),
        ("[" + "9" * 10_000 + "]", LONG, "/0"),
        ("9" * 10_000, LONG, ""),
        ('{"a":1e400}', INFINITE, "/a"),
        ('{"a":-1e400}', INFINITE, "/a"),
        ("1e99999999999999999999", INFINITE, ""),
        ("[NaN]", "NaN is not a JSON number", "/0"),
        ("[Infinity]", "Infinity is not a JSON number", "/0"),
        ('{"a":-Infinity}', "-Infinity is not a JSON number", "/a"),
        ("NaN", "NaN is not a JSON number", ""),
        (r'["\ud800"]', LONE, "/0"),
        (r'["\udc00\ud800"]', LONE, "/0"),
        (r'["\ud83d\u0041"]', LONE, "/0"),
        (r'{"\ud800":1}', LONE, "/\ufffd"),
        (r'{"a":{"b\udfff":1}}', LONE, "/a/b\ufffd"),
        ("[" * (MAX_DEPTH + 1), DEEP, "/0" * MAX_DEPTH),
        ("[" * 100_000, DEEP, "/0" * MAX_DEPTH),
        ('{"a":' * 100_000, DEEP, "/a" * MAX_DEPTH),
        ("[0," * 33, DEEP, "/1" * MAX_DEPTH),
        ('{"x":[1,{"y":' + "[" * 32, DEEP, "/x/1/y" + "/0" * 29),
        ('{"q":{},"x":[[],{"z":"[[","y":' + "[" * 32, DEEP, "/x/1/y" + "/0" * 29),
        ('{"a/b~c":' * 33, DEEP, "/a~1b~0c" * MAX_DEPTH),
    ],
)
def test_what_is_refused_and_where(text: str, message: str, pointer: str):
    with pytest.raises(MalformedInputError, match=message.replace("^", r"\^")) as refused:
        parse_strict(text.encode())
    assert refused.value.pointer == pointer


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "]",
        "}",
        "[",
        "{",
        '"',
        '"\\',
        '"\\"',
        "[}",
        "{]",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{}{}",
        "[] []",
        "1 [",
        '"a" ' + "[" * 20,
        "] " + "[" * 20,
        '{"a"}',
        '{"a":}',
        '{"a":1,}',
        "{a:1}",
        "{'a':1}",
        "'a'",
        "01",
        "-01",
        "+1",
        "1.",
        ".5",
        "-",
        "1e",
        "0x1",
        "1_0",
        "\uff11",
        "True",
        "nan",
        "undefined",
        "\ufeff[]",
        "\x0b[]",
        "\x0c[]",
        "\u00a0[]",
        "[]\x00",
        '"\x00"',
        '"\n"',
        '"\t"',
        '"\\x41"',
        '"\\u12"',
        '"\\:"',
        "/**/[]",
        "[] // comment",
    ],
)
def test_what_is_not_json(text: str):
    with pytest.raises(MalformedInputError, match=r"not JSON at character [0-9]+"):
        parse_strict(text.encode())


@pytest.mark.parametrize(
    "data",
    [
        b"\xff",
        b'"\xff"',
        b'"\x80"',
        b'"\xc0\x80"',
        b'"\xed\xa0\x80"',
        b'"\xf4\x90\x80\x80"',
        b'"\xe2\x82',
        '["a"]'.encode("utf-16"),
        '["é"]'.encode("latin-1"),
    ],
)
def test_what_is_not_utf_8(data: bytes):
    with pytest.raises(MalformedInputError, match=r"not UTF-8 at byte [0-9]+"):
        parse_strict(data)


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be", "utf-8-sig"])
def test_only_utf_8_is_read(codec: str):
    with pytest.raises(MalformedInputError):
        parse_strict('{"ключ":[1]}'.encode(codec))


def test_a_string_without_end_is_read_once():
    # Scanning again from each quote would take minutes here.
    for text in ('{"a":"' + '\\"' * 500_000, '"' + "\\" * 500_001, '{"a":"' + "x" * 1_000_000):
        with pytest.raises(MalformedInputError, match="not JSON"):
            parse_strict(text.encode())


@given(json_values, st.integers(0, 2**32))
def test_every_way_to_write_a_value_is_taken(value: Any, seed: int):
    raw = Writer(random.Random(seed)).text(value)
    assert canonical(parse_strict(raw)) == rfc8785.dumps(value)


@given(json_values.filter(count_objects), st.integers(0, 2**32), st.data())
def test_a_duplicate_is_found_anywhere(value: Any, seed: int, data: st.DataObject):
    writer = Writer(random.Random(seed), duplicate=data.draw(st.integers(0, count_objects(value) - 1)))
    raw = writer.text(value)
    assert writer.duplicated is not None
    with pytest.raises(MalformedInputError, match=TWICE) as refused:
        parse_strict(raw)
    assert refused.value.pointer.endswith("/" + escape_pointer(writer.duplicated))


@given(json_values)
def test_depth_is_counted_alike_in_text_and_value(value: Any):
    for wraps in range(MAX_DEPTH - 4, MAX_DEPTH + 2):
        wrapped = value
        for _ in range(wraps):
            wrapped = [wrapped]
        raw = json.dumps(wrapped).encode()
        # Pointers have the same steps; the text's are written as they stand there, escapes and all.
        verdicts = [refusal(parse_strict, raw), refusal(check_value, wrapped)]
        assert verdicts[0] == verdicts[1]
        assert (verdicts[0] is None) == (wraps + depth(value) <= MAX_DEPTH)


def depth(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


def refusal(check: Any, argument: Any) -> tuple[str, int] | None:
    try:
        check(argument)
    except MalformedInputError as error:
        return str(error), error.pointer.count("/")
    return None


@given(st.binary(max_size=80))
def test_any_bytes_parse_or_are_malformed(data: bytes):
    for raw in (data, b'{"a":' + data, b'["' + data + b'"]'):
        try:
            value = parse_strict(raw)
        except MalformedInputError:
            continue
        assert parse_strict(canonical(value)) == value


# --- Checking values --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "care"),
    [
        ({}, False),
        ([], False),
        ({"a": [1, "é", None, True, {"b": {}}]}, False),
        ({"a": 1.5}, True),
        ([[[0.0]]], True),
        ({"é": 1}, True),
        ([{"a": {"\U0001f600": 1}}], True),
        (1.0, True),
        ("é", False),
    ],
)
def test_care_is_needed_for_floats_and_names_outside_ascii(value: object, care: bool):
    assert check_value(value) is care
    if not care:
        assert msgspec.json.Encoder(order="sorted").encode(value) == rfc8785.dumps(value)


@pytest.mark.parametrize(
    ("value", "message", "pointer"),
    [
        ({"a": 2**53}, LONG, "/metadata/a"),
        ({"a": [-(2**53)]}, LONG, "/metadata/a/0"),
        ({"a": float("inf")}, INFINITE, "/metadata/a"),
        ([float("nan")], INFINITE, "/metadata/0"),
        ({"a": "\ud800"}, LONE, "/metadata/a"),
        ({"\ud800": 1}, LONE, "/metadata/\ufffd"),
    ],
)
def test_values_are_checked_below_a_pointer(value: object, message: str, pointer: str):
    with pytest.raises(MalformedInputError, match=message.replace("^", r"\^")) as refused:
        check_value(value, "/metadata")
    assert refused.value.pointer == pointer


def test_the_pointer_counts_as_depth():
    value: object = 0
    for _ in range(MAX_DEPTH - 1):
        value = [value]
    check_value(value, "/metadata")
    with pytest.raises(MalformedInputError, match=DEEP) as refused:
        check_value([value], "/metadata")
    assert refused.value.pointer == "/metadata" + "/0" * (MAX_DEPTH - 1)


@pytest.mark.parametrize(
    ("member", "token"),
    [
        ("", ""),
        ("a", "a"),
        ("a/b", "a~1b"),
        ("a~b", "a~0b"),
        ("~1", "~01"),
        ("é\U0001f600", "é\U0001f600"),
        ("a\nb\x00\x1b[31m", "a\ufffdb\ufffd\ufffd[31m"),
        ("\u202e\ud800", "\ufffd\ufffd"),
        ("x" * 200, "x" * 100),
        ("/" * 200, "~1" * 100),
    ],
)
def test_pointer_tokens(member: str, token: str):
    assert escape_pointer(member) == token


@pytest.mark.parametrize(
    "text, value",
    [
        ("9007199254740991", 2**53 - 1),
        ("-9007199254740991", 1 - 2**53),
        ("10000000000000000", 1e16),
        ("-999999999999999900000", -9.999999999999999e20),
        ("12", 12),
    ],
)
def test_what_canonical_wrote_is_read(text, value):
    """RFC 8785 section 3.2.2.3 writes doubles below 10^21 without an exponent; from outside such integers are refused."""
    data = f'{{"n":{text}}}'.encode()
    assert parse_strict(data, stored=True) == {"n": value}
    assert canonical(parse_strict(data, stored=True)) == data
    if abs(value) >= 2**53:
        with pytest.raises(MalformedInputError, match="beyond 2"):
            parse_strict(data)


# --- Numbers ------------------------------------------------------------------------------------------------------------

number_texts = st.one_of(
    st.integers(-(10**19), 10**19).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.builds(
        "{}{}{}{}".format,
        st.sampled_from(["", "-"]),
        st.one_of(st.just("0"), st.from_regex("[1-9][0-9]{0,25}", fullmatch=True)),
        st.one_of(st.just(""), st.from_regex("[.][0-9]{1,25}", fullmatch=True)),
        st.one_of(st.just(""), st.from_regex("[eE][+-]?[0-9]{1,3}", fullmatch=True)),
    ),
    st.builds("{}e{}".format, st.integers(-999, 999), st.integers(-400, 400)),
)


@settings(max_examples=400)
@given(number_texts)
@example("9007199254740993.0")
@example("9007199254740992.0")
@example("99999999999999.99")
@example("0.1e-400")
@example("-0")
@example("-0.0")
@example("0e999999999999999999999")
@example("1e21")
@example("123456789012345678901e1")
def test_a_number_is_kept_as_it_was_sent_or_refused(text: str):
    """The two exact decimal numbers are compared; what is refused would have been another one, or is rounded by others."""
    kept = math.isfinite(float(text)) and is_kept(text, rfc8785.dumps(float(text)).decode())
    if kept:
        assert Decimal(canonical(parse_strict(text.encode())).decode()) == Decimal(text)
    else:
        with pytest.raises(MalformedInputError, match="send it as a string"):
            parse_strict(text.encode())


def is_kept(sent: str, written: str) -> bool:
    try:
        same = Decimal(sent) == Decimal(written)
    except InvalidOperation:
        return False
    return same and (not written.lstrip("-").isdecimal() or -(2**53) < int(written) < 2**53)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("99999999999999.99", INEXACT),
        ("9007199254740993.0", LONG),
        ("9007199254740992.0", LONG),
        ("9007199254740991.0", None),
        ("9007199254740991.4", INEXACT),
        ("1e15", None),
        ("1e16", LONG),
        ("1e20", LONG),
        ("999999999999999999999.0", INEXACT),
        ("999999999999999900000.0", LONG),
        ("1e21", None),
        ("1000000000000000000000.0", None),
        ("1000000000000000000001.0", INEXACT),
        ("1e400", INFINITE),
        ("0.1e-400", INEXACT),
        ("5e-324", None),
        ("4e-324", INEXACT),
        ("0.1", None),
        ("0.10000000000000000", None),
        ("0.10000000000000001", INEXACT),
        ("0.1000000000000000055511151231257827", INEXACT),
        ("1.10", None),
        ("1E+2", None),
        ("-0.0", None),
        ("-0e5", None),
        ("0e99999999999999999999999", INEXACT),
        ("1e-99999999999999999999999", INEXACT),
        ("1.5" + "0" * 60_000, None),
        ("1.5" + "0" * 60_000 + "1", INEXACT),
    ],
    ids=lambda value: str(value)[:30],
)
def test_which_numbers_are_refused(text: str, rule: str | None):
    """Both ways to read a number with a fraction or an exponent say the same."""
    if rule is None:
        assert parse_strict(text.encode()) == sent_float(text)
        return
    with pytest.raises(MalformedInputError, match=rule.replace("^", r"\^")):
        parse_strict(text.encode())
    with pytest.raises(ValueError, match=rule.replace("^", r"\^")):
        sent_float(text)


def test_stored_numbers_are_read_as_they_were_written():
    for text, number in (("0.1000000000000000055511151231257827", 0.1), ("1e20", 1e20), ("1e-400", 0.0)):
        assert parse_strict(text.encode(), stored=True) == number
    with pytest.raises(MalformedInputError, match=INFINITE):
        parse_strict(b"1e400", stored=True)


def test_all_that_is_wrong_in_a_text_is_told():
    value, faults = parse_with_faults(b'{"a":1e16,"b":[0.5,"\\ud800",NaN],"c":1,"c":2,"\\udfff":"ok"}')
    assert value["b"][0] == 0.5
    assert [(pointer, message[:10]) for message, pointer in faults] == [
        ("/\ufffd", "a lone sur"),
        ("/a", "an integer"),
        ("/b/1", "a lone sur"),
        ("/b/2", "NaN is not"),
        ("/c", "a member n"),
    ]
    assert parse_with_faults(b"[1]") == ([1], [])


def test_an_integer_that_canonical_never_writes_is_refused_everywhere():
    with pytest.raises(MalformedInputError, match="beyond 2"):
        parse_strict(b'{"n":-1000000000000000000000000}', stored=True)
