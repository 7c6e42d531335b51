"""The statements of `queries.sql`: each says what it is for, and each is used."""

from __future__ import annotations

import ast
import re

import pytest
from support import ROOT

from tlog.storage.queries import QUERIES

STORAGE = ROOT / "tlog" / "storage"


def undescribed(text):
    """Return the names of the statements of a file that do not begin with a comment of whole sentences."""
    statements = dict(zip(*[iter(re.split(r"^-- name: (\w+)\n", text, flags=re.MULTILINE)[1:])] * 2, strict=True))
    return [name for name, text in statements.items() if not re.match(r"(-- [A-Z].*\n(-- .*\n)*)(?<=\.\n)(?!--)", text)]


def strings(trees):
    return {node.value for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant)}


def test_every_statement_says_what_it_is_for():
    text = (STORAGE / "queries.sql").read_text(encoding="utf-8")
    assert text.count("-- name: ") == len(QUERIES)
    assert undescribed(text) == []


@pytest.mark.parametrize("comment", ["", "-- lower case.\n", "-- No full stop\n", "-- Two lines,\n-- no full stop\n"])
def test_a_statement_that_does_not_say_it_is_named(comment):
    good = "-- name: good\n-- What it is for,\n-- in whole sentences.\nSELECT 1;\n"
    assert undescribed(f"{good}-- name: bad\n{comment}SELECT 1;\n{good}") == ["bad"]


def test_every_statement_is_used():
    used = strings(ast.parse(path.read_text(encoding="utf-8")) for path in STORAGE.glob("*.py"))
    assert sorted(QUERIES.keys() - used) == []
