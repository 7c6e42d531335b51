"""Pointers: RFC 6901, and the two segments that stand for several elements."""

from __future__ import annotations

import pytest

from tlog.errors import MalformedInputError
from tlog.ingest.pointers import Every, Where, find, find_places, is_plain, keep_only, parse_pointer, step

# RFC 6901 section 5, but for a member with the empty name's null and numbers that are themselves segments here.
RFC = {"foo": ["bar", "baz"], "": 0, "a/b": 1, "c%d": 2, "e^f": 3, "g|h": 4, "i\\j": 5, 'k"l': 6, " ": 7, "m~n": 8}


@pytest.mark.parametrize(
    "pointer, value",
    [
        ("", RFC), ("/foo", ["bar", "baz"]), ("/foo/0", "bar"), ("/", 0), ("/a~1b", 1), ("/c%d", 2), ("/e^f", 3), ("/g|h", 4),
        ("/i\\j", 5), ('/k"l', 6), ("/ ", 7), ("/m~0n", 8),
    ],
)  # fmt: skip
def test_rfc_6901(pointer, value):
    assert list(find(RFC, parse_pointer(pointer))) == [value]


@pytest.mark.parametrize(
    "pointer",
    ["/foo/2", "/foo/-", "/foo/00", "/foo/01", "/foo/-1", "/foo/bar", "/nothing", "/a~1b/x", "/foo/99999999999"],
)
def test_what_is_not_there(pointer):
    assert list(find(RFC, parse_pointer(pointer))) == []


LISTS = {
    "a": [{"name": "x", "value": 1}, {"name": "y", "value": 2}, None, 3, {"name": 7, "value": 4}],
    "one": {"name": "x", "value": 9},
}


@pytest.mark.parametrize(
    "pointer, values",
    [
        ("/a/*/value", [1, 2, 4]), ("/a/[name=y]/value", [2]), ("/a/[name=7]/value", [4]), ("/a/[name=z]", []), ("/a/[other=x]", []),
        ("/one/*/value", [9]), ("/one/[name=x]/value", [9]), ("/one/[name=y]/value", []), ("/a/*/*/value", [1, 2, 4]), ("/b/*", []),
    ],
)  # fmt: skip
def test_several(pointer, values):
    assert list(find(LISTS, parse_pointer(pointer))) == values


def test_segments():
    assert parse_pointer("/a/*/[n=t~1u]/b") == ("a", Every(), Where("n", "t/u"), "b")
    assert parse_pointer("/[x]/[=y]") == ("[x]", "[=y]")
    assert is_plain(parse_pointer("/a/0"))
    assert not is_plain(parse_pointer("/a/*"))
    assert not is_plain(parse_pointer("/a/[n=t]"))


@pytest.mark.parametrize("text", ["a", "a/b", " /a", "/a~", "/a~2", "/~a", "#/a", "*"])
def test_what_is_no_pointer(text):
    with pytest.raises(MalformedInputError):
        parse_pointer(text)


def test_places_lead_back_to_one_element():
    record = {"id": 1, "sets": [{"n": 1, "events": ["a", "b"]}, {"n": 2, "events": ["c"]}]}
    found = list(find_places(record, parse_pointer("/sets/*/events/*")))
    assert [value for _, value in found] == ["a", "b", "c"]
    assert [place for place, _ in found] == [
        ("sets", 0, "events", 0),
        ("sets", 0, "events", 1),
        ("sets", 1, "events", 0),
    ]
    assert keep_only(record, found[1][0]) == {"id": 1, "sets": [{"n": 1, "events": ["b"]}]}
    assert record["sets"][0]["events"] == ["a", "b"]
    assert [place for place, _ in find_places({"l": [5]}, parse_pointer("/l/0"))] == [("l", 0)]
    assert list(find_places({"l": {"x": 5}}, parse_pointer("/l/*"))) == [(("l",), {"x": 5})]


def test_step():
    assert step({"a": 1}, "a") == 1
    assert step([5], "0") == 5
    assert step("text", "0") is None
    assert step([5], "1") is None
