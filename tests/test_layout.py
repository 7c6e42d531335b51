"""The rooms of the house: what a linter would need a list for is read from every file. Each rule has its control."""

from __future__ import annotations

import ast
import doctest
import re
import shutil
import sys
from collections import defaultdict
from functools import cache

import pytest
from support import ROOT

# A client runs where tlog is not installed: it has the standard library, and the frameworks that it is glue for.
CLIENT_MAY = sys.stdlib_module_names | {"asgiref", "django", "flask"}
LOOSE = {"__init__", "__main__", "errors", "location"}
MAX_ROOMS = 23
MAX_LINES = 600
MAX_P90 = 30
DOCSTRING_LINES = range(15, 41)


def modules(root):
    """Return every module of the package by its dotted name, as (path, syntax tree)."""
    found = {}
    for path in sorted((root / "tlog").rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = path, parsed(path.read_text(encoding="utf-8"))
    return found


@cache
def parsed(text):
    """Return a module's syntax tree, which is only read: every rule is broken in a copy of the whole package."""
    return ast.parse(text)


def imported(name, tree, known):
    """Return the modules a module imports, wherever in it, for types only or not; of the package's own as far as they are known."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            # The client is copied under another name (tools/build_client.py), so that it does not say its own.
            relative = below(name, "tlog.client")
            assert node.level == 0 or (relative and node.level == 1), "imports name the whole module"
            module = ".".join(filter(None, ("tlog.client" if node.level else "", node.module)))
            whole = {f"{module}.{alias.name}" for alias in node.names}
            names |= (whole & known) or {module}
            if whole - known:
                names.add(module)
    return names


def below(name, *rooms):
    return any(name == room or name.startswith(f"{room}.") for room in rooms)


def broken_imports(root):
    """Return (module, imported) of every import that a room must not have."""
    found = modules(root)
    broken = []
    for name, (_, tree) in found.items():
        for target in sorted(imported(name, tree, set(found))):
            database = below(target, "psycopg", "psycopg_pool")
            trusted = below(name, "tlog.core") and not below(name, "tlog.core.making")
            makers = below(target, "tlog.core.making", "numpy", "tlog.files")
            clients = (
                below(target, "tlog.client")
                or target.partition(".")[0] in CLIENT_MAY
                or (name, target) == ("tlog.client.errors_", "tlog.errors")
            )
            if (
                (database and not below(name, "tlog.storage", "tlog.postgres"))
                or (trusted and makers)
                or (below(name, "tlog.client") and not clients)
            ):
                broken.append((name, target))
    return broken


def circles(root):
    """Return the modules that import each other in a circle, however long; imports for types only count."""
    found = modules(root)
    edges = {name: imported(name, tree, set(found)) & found.keys() - {name} for name, (_, tree) in found.items()}
    reached = defaultdict(set)
    for name in found:
        todo = list(edges[name])
        while todo:
            if (target := todo.pop()) not in reached[name]:
                reached[name].add(target)
                todo += edges[target]
    return sorted(name for name in found if name in reached[name])


def loose_modules(root):
    return sorted({path.stem for path in (root / "tlog").glob("*.py")} - LOOSE)


def rooms(root):
    """Return the packages, the outermost included."""
    return sorted(str(path.parent.relative_to(root)) for path in (root / "tlog").rglob("__init__.py"))


def long_files(root):
    paths = {str(path.relative_to(root)): path for path in (root / "tlog").rglob("*.py")}
    return [name for name, path in paths.items() if len(path.read_text().splitlines()) > MAX_LINES]


def p90_of_functions(root):
    """Return the length in lines that nine of ten functions do not exceed."""
    lengths = sorted(
        node.end_lineno - node.lineno + 1
        for _, tree in modules(root).values()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    return lengths[len(lengths) * 9 // 10]


def problems(root):
    """Return every rule that does not hold, in words."""
    found = [f"{name} must not import {target}" for name, target in broken_imports(root)]
    found += [f"{name} is in a circle of imports" for name in circles(root)]
    found += [f"tlog/{name}.py belongs into a room" for name in loose_modules(root)]
    found += [f"{name} has more than {MAX_LINES} lines" for name in long_files(root)]
    if len(rooms(root)) > MAX_ROOMS:
        found.append(f"more than {MAX_ROOMS} rooms")
    if p90_of_functions(root) > MAX_P90:
        found.append(f"one function in ten has more than {MAX_P90} lines")
    return found


def test_the_house_is_in_order():
    assert problems(ROOT) == []


@pytest.mark.parametrize(
    "file, text, problem",
    [
        ("signing/anchor.py", "import psycopg", "tlog.signing.anchor must not import psycopg"),
        ("cli/keys.py", "def now():\n    from psycopg_pool import PoolTimeout", "tlog.cli.keys must not import psycopg_pool"),
        ("core/proof.py", "import numpy as np", "tlog.core.proof must not import numpy"),
        ("core/tile.py", "from tlog.core.making import integrate", "tlog.core.tile must not import tlog.core.making.integrate"),
        ("core/note.py", "from tlog.files import durable", "tlog.core.note must not import tlog.files.durable"),
        ("client/__init__.py", "from tlog.core.making.drafts import DraftEntry", "tlog.client must not import tlog.core.making.drafts"),
        ("client/__init__.py", "from tlog.location import utc_now", "tlog.client must not import tlog.location"),
        ("client/http.py", "import httpx2", "tlog.client.http must not import httpx2"),
        ("client/http.py", "from tlog.errors import ForkError", "tlog.client.http must not import tlog.errors"),
        (
            "core/merkle.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from tlog.core.proof import Node",
            "tlog.core.merkle is in a circle of imports",
        ),
        ("helpers.py", "", "tlog/helpers.py belongs into a room"),
        ("writing/long.py", "\n" * 601, "tlog/writing/long.py has more than 600 lines"),
        ("attic/__init__.py", "", "more than 23 rooms"),
        ("writing/slow.py", "\n".join("def f():" + "\n    pass" * 31 for _ in range(999)), "one function in ten"),
    ],
)  # fmt: skip
def test_each_rule_can_be_broken(tmp_path, file, text, problem):
    shutil.copytree(ROOT / "tlog", tmp_path / "tlog", ignore=shutil.ignore_patterns("__pycache__"))
    if file.startswith("attic"):
        for number in range(MAX_ROOMS - len(rooms(tmp_path))):
            (tmp_path / "tlog" / f"room{number}").mkdir()
            (tmp_path / "tlog" / f"room{number}" / "__init__.py").touch()
    path = tmp_path / "tlog" / file
    path.parent.mkdir(exist_ok=True)
    with path.open("a", encoding="utf-8") as planted:
        planted.write(f"\n{text}\n")
    assert any(each.startswith(problem) for each in problems(tmp_path)), problems(tmp_path)


# --- What a package says of itself --------------------------------------------------------------------------------------

# What can run without a server, a database or a network; the examples of the other rooms are for reading.
EXAMPLES_RUN = {
    "tlog", "tlog.checking", "tlog.core", "tlog.core.making", "tlog.ingest", "tlog.server.describe", "tlog.server.guard", "tlog.signing",
}  # fmt: skip


def docstrings(root):
    """Return the docstring of every package by its dotted name."""
    found = modules(root)
    return {name: ast.get_docstring(tree) or "" for name, (path, tree) in found.items() if path.name == "__init__.py"}


def untold(root):
    """Return what the packages' docstrings lack or have too much of, in words.

    A line of the form "    `module`  what it is" names a module or a package of the package.
    """
    found = []
    for name, text in docstrings(root).items():
        directory = root.joinpath(*name.split("."))
        own = {path.stem for path in directory.glob("*.py")} - {"__init__", "__main__"}
        own |= {path.parent.name for path in directory.glob("*/__init__.py")}
        told = re.findall(r"^    `(\w+)`  +\S", text, re.MULTILINE)
        found += [f"{name} does not name {module}" for module in sorted(own - set(told))]
        found += [f"{name} names {module}, which it has not" for module in sorted(set(told) - own)]
        found += [f"{name} names {module} twice" for module in sorted(set(told)) if told.count(module) > 1]
        if (lines := len(text.splitlines())) not in DOCSTRING_LINES:
            found.append(f"{name} has a docstring of {lines} lines")
        if "Left out" not in " ".join(text.split()):
            found.append(f"{name} does not say what it leaves out")
        if not re.search(r"^    [^` ]", text, re.MULTILINE):
            found.append(f"{name} has no example")
    return found


def test_each_package_says_what_it_is():
    assert untold(ROOT) == []


@pytest.mark.parametrize(
    "file, change, problem",
    [
        ("signing/planted.py", lambda _: "", "tlog.signing does not name planted"),
        ("signing/remote/__init__.py", lambda _: "", "tlog.signing does not name remote"),
        ("signing/__init__.py", lambda text: text.replace("    `clock`", "    `watch`"), "tlog.signing names watch, which it has not"),
        ("signing/__init__.py", lambda text: text.replace("    `clock`", "    `anchor`"), "tlog.signing names anchor twice"),
        ("signing/__init__.py", lambda text: text.replace("    `clock`  ", "    `clock` - "), "tlog.signing does not name clock"),
        ("signing/__init__.py", lambda text: text.replace("Words:", "\n" * 40), "tlog.signing has a docstring of"),
        ("signing/__init__.py", lambda _: '"""Signing checkpoints."""', "tlog.signing has a docstring of 1 lines"),
        ("signing/__init__.py", lambda text: text.replace("Left out", "Missing").replace("Left\n", "Missing\n"), "tlog.signing does not say what it leaves out"),
        ("keeping/__init__.py", lambda text: text.replace("    $ ", "- "), "tlog.keeping has no example"),
        ("__init__.py", lambda text: text.replace("    `cli`", "cli"), "tlog does not name cli"),
    ],
)  # fmt: skip
def test_each_lack_of_a_docstring_is_told(tmp_path, file, change, problem):
    shutil.copytree(ROOT / "tlog", tmp_path / "tlog", ignore=shutil.ignore_patterns("__pycache__"))
    before = untold(tmp_path)
    path = tmp_path / "tlog" / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(change(path.read_text(encoding="utf-8") if path.exists() else ""), encoding="utf-8")
    new = set(untold(tmp_path)) - set(before)
    assert any(each.startswith(problem) for each in new), new


def run_examples(name, text):
    """Run the interactive examples of a docstring; return (how many failed, how many there were)."""
    results = doctest.DocTestRunner(verbose=False).run(doctest.DocTestParser().get_doctest(text, {}, name, None, 0))
    return results.failed, results.attempted


def test_examples_of_the_packages_hold(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    results = {name: run_examples(name, text) for name, text in docstrings(ROOT).items()}
    assert {name for name, (_, attempted) in results.items() if attempted} >= EXAMPLES_RUN
    assert {name: failed for name, (failed, _) in results.items() if failed} == {}


def test_an_example_that_does_not_hold_is_told():
    assert run_examples("one", ">>> 1 + 1\n3\n") == (1, 1)
