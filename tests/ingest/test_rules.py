"""Rules one by one, and what is refused in a file, with the file's name and the member."""

from __future__ import annotations

import pytest

from tlog.errors import MalformedInputError
from tlog.ingest.rules import Compiler, Table
from tlog.ingest.total import JsonText

TABLES = {
    "t": {"view": "V", "delete*": "D", "delete_all*": "A", "*": "S"},
    "o": {"x": "X", "otherwise": "O"},
    "empty": {},
}
RECORD = {
    "a": "x",
    "n": 0,
    "b": False,
    "e": "",
    "none": None,
    "list": ["p", "q"],
    "big": JsonText("1e999"),
    "path": "a/b/c",
    "mixed": ["", {}, "q"],
    "o": {"i": "in"},
}


def evaluated(rule, element=None):
    return Compiler("f.toml", TABLES).rule(rule, "/r")(RECORD, RECORD if element is None else element, 3)


@pytest.mark.parametrize(
    "rule, value",
    [
        ("/a", "x"), ("/n", 0), ("/b", False), ("/e", None), ("/none", None), ("/o", None), ("/list", None), ("", None), ("/big", "1e999"),
        ("./o/i", "in"), (".", None), ("#", 3), ("/list/1", "q"), ("/list/*", "p"), ("/mixed/*", "q"), ("/o/*/i", "in"), ("/list/*/x", None), ("./list/*", "p"),
        ({"value": "v"}, "v"), ({"value": 5}, 5),
        ({"first": ["/none", "/e", "/n", "/a"]}, 0), ({"first": ["/none"]}, None),
        ({"join": ["/a", "/n", {"value": "z"}], "with": "-"}, "x-0-z"), ({"join": ["/a", "/none"]}, None), ({"join": ["/a", "/b"]}, "xfalse"),
        ({"from": "/a", "table": "t"}, "S"), ({"from": "/a", "table": "o"}, "X"), ({"from": "/n", "table": "o"}, "O"),
        ({"from": "/none", "table": "o"}, None), ({"from": "/a", "table": "empty"}, None),
        ({"from": "/path", "before": "/"}, "a"), ({"from": "/path", "after": "/"}, "c"), ({"from": "/path", "before": "x"}, None),
        ({"from": "/path", "after": "c"}, None), ({"from": "/path", "before": "a"}, None), ({"from": "/none", "after": "c"}, None),
        ({"from": {"from": "/path", "after": "a/"}, "before": "/"}, "b"), ({"from": "/none", "before": "c"}, None),
    ],
)  # fmt: skip
def test_rule(rule, value):
    assert evaluated(rule) == value
    assert type(evaluated(rule)) is type(value) or isinstance(value, str)


def test_an_element_of_its_own():
    assert evaluated("./x", {"x": "inner"}) == "inner"
    assert evaluated(".", "text") == "text"


@pytest.mark.parametrize(
    "text, found",
    [
        ("view", "V"),
        ("viewer", "S"),
        ("delete", "D"),
        ("deletes", "D"),
        ("delete_all", "A"),
        ("delete_al", "D"),
        ("", "S"),
    ],
)
def test_tables_are_exact_then_by_the_longest_prefix(text, found):
    assert Compiler("f", TABLES).tables["t"].look_up(text) == found


def test_a_table_without_otherwise():
    table = Table({"a": "1"}, {}, (), None)
    assert table.look_up("b") is None
    assert list(table.results()) == ["1"]


@pytest.mark.parametrize(
    "rule, message",
    [
        (5, "f.toml: /r: expected a table of members"),
        ([], "f.toml: /r: expected a table of members"),
        ({}, "f.toml: /r: a rule is a pointer, or has the members"),
        ({"value": "x", "first": []}, "f.toml: /r: a rule is"),
        ({"from": "/a"}, "f.toml: /r: a rule is"),
        ({"from": "/a", "before": "x", "after": "y"}, "f.toml: /r: a rule is"),
        ({"regex": "x"}, "f.toml: /r: a rule is"),
        ({"with": "x"}, "f.toml: /r: a rule is"),
        ({"value": ""}, "f.toml: /r/value: expected a text, a number or a boolean"),
        ({"value": {}}, "f.toml: /r/value: expected a text, a number or a boolean"),
        ({"first": []}, "f.toml: /r/first: expected a list of rules"),
        ({"first": "/a"}, "f.toml: /r/first: expected a list of rules"),
        ({"first": ["/a", {"x": 1}]}, "f.toml: /r/first/1: a rule is"),
        ({"join": ["/a"], "with": 5}, "f.toml: /r/with: expected a text"),
        ({"from": "/a", "table": "u"}, "f.toml: /r/table: no such table; known are empty, o, t"),
        ({"from": "/a", "table": 5}, "f.toml: /r/table: expected a text that is not empty"),
        ({"from": "/a", "before": ""}, "f.toml: /r/before: expected a text that is not empty"),
        ({"from": "/a", "after": 1}, "f.toml: /r/after: expected a text that is not empty"),
        ("a", "f.toml: /r: a pointer begins with '/' or './', or is '#'"),
        ("/a~", "f.toml: /r: in a pointer '~' is written '~0'"),
        ("./a~", "f.toml: /r: in a pointer '~' is written '~0'"),
    ],
)
def test_what_is_no_rule(rule, message):
    with pytest.raises(MalformedInputError) as caught:
        Compiler("f.toml", TABLES).rule(rule, "/r")
    assert str(caught.value).startswith(message)
    assert caught.value.pointer.startswith("/r")


@pytest.mark.parametrize("rule", [{"value": "X"}, {"from": "/a", "table": "o"}, {"first": ["/a", {"value": "X"}]}])
def test_only_values_that_a_member_can_have(rule):
    assert Compiler("f", TABLES).rule(rule, "/r", ("X", "O"))
    with pytest.raises(MalformedInputError, match="not one of the values this member can have: O"):
        Compiler("f", TABLES).rule(rule, "/r", ("O",))


@pytest.mark.parametrize(
    "tables, message",
    [
        ([], "f: /tables: expected a table of members"),
        ({"a/b": []}, "f: /tables/a~1b: expected a table of members"),
        ({"t": {"x": 5}}, "f: /tables/t/x: expected a text"),
        ({"t": {"otherwise": ""}}, "f: /tables/t/otherwise: expected a text"),
    ],
)
def test_what_is_no_table(tables, message):
    with pytest.raises(MalformedInputError, match=message):
        Compiler("f", tables)
    with pytest.raises(MalformedInputError, match="known are none"):
        Compiler("f", {}).rule({"from": "/a", "table": "t"}, "/r")
