"""No test is skipped unnoticed: the list of expected skips, its conditions, and that a run really fails, each with its control."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys

import gates
import pytest
from skips import CONDITIONS, EXPECTED, Row, objection, read_rows
from support import ROOT

TESTS = """
import pytest

def test_passes():
    pass

@pytest.mark.parametrize("number", [1, 2])
def test_skips(number):
    pytest.skip("no use here")
"""
LISTED = """
[[test]]
test = "tests/test_it.py::test_skips"
reason = "no use"
condition = "benchmarks-not-asked-for"
why = "An example."
"""
MODULE = """
import pytest

pytest.importorskip("a_module_that_nobody_has")

def test_passes():
    pass
"""
WORKERS = pytest.mark.parametrize("workers", [0, 2])


def run_pytest(directory, *arguments, **environment):
    """Run pytest in a process of its own, with nothing of this run's environment that matters here."""
    clean = {
        name: value
        for name, value in os.environ.items()
        if name not in {"CI", "TLOG_ALL_BENCHMARKS"} and not name.startswith("PYTEST")
    }
    clean["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # schemathesis and others take seconds to import
    command = [sys.executable, "-m", "pytest", "-q", "-p", "xdist", *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, cwd=directory, env={**clean, **environment}
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def project(tmp_path):
    """Returns a function that runs a few tests under the real conftest.py with a list of expected skips of their own."""

    def run(tests, rows, workers, **environment):
        (tmp_path / "tests").mkdir()
        (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
        (tmp_path / "tests" / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text())
        (tmp_path / "tests" / "test_it.py").write_text(tests)
        (tmp_path / "tests" / "test_other.py").write_text("def test_passes():\n    pass\n")
        (tmp_path / "tests" / "expected_skips.toml").write_text(rows)
        path = str(ROOT / "tools" / "scenarios")
        return run_pytest(tmp_path, "-n", workers, "tests", PYTHONPATH=path, **environment)

    return run


@WORKERS
def test_a_listed_skip_is_shown_and_passes(project, workers):
    code, said = project(TESTS, LISTED, workers)
    assert code == 0, said
    assert "skips: 2, not accepted: 0" in said
    assert "tests/test_it.py::test_skips   2  no use here\n" in said


@WORKERS
def test_an_unlisted_skip_fails_the_run(project, workers):
    code, said = project(TESTS, "", workers)
    assert code == 1, said
    assert "2 passed, 2 skipped" in said
    assert "skips: 2, not accepted: 2" in said
    assert (
        "tests/test_it.py::test_skips   2  NOT ACCEPTED, no row of expected_skips.toml lists it: no use here\n" in said
    )


@WORKERS
def test_a_listed_skip_whose_condition_does_not_hold_fails_the_run(project, workers):
    code, said = project(TESTS, LISTED, workers, TLOG_ALL_BENCHMARKS="1")
    assert code == 1, said
    assert "NOT ACCEPTED, listed for benchmarks-not-asked-for, which does not hold here: no use here\n" in said


@pytest.mark.parametrize("tests, workers", [(MODULE, 0), (MODULE, 2), (MODULE.replace("importorskip(", "skip(allow_module_level=True, reason="), 2)],
                         ids=["importorskip", "importorskip in workers", "skip in workers"])  # fmt: skip
def test_a_module_that_skips_itself_fails_the_run(project, workers, tests):
    code, said = project(tests, LISTED, workers)
    assert code == 1, said
    assert "skips: 1, not accepted: 1" in said
    assert "tests/test_it.py   1  NOT ACCEPTED, no row of expected_skips.toml lists it: " in said


def test_a_module_that_skips_itself_can_be_listed(project):
    rows = LISTED.replace("::test_skips", "").replace("no use", "could not import 'a_module")
    code, said = project(MODULE, rows, 0)
    assert (code, "skips: 1, not accepted: 0" in said) == (0, True), said


WAYS = """
import pytest

@pytest.fixture
def skipping():
    pytest.skip("no use")

@pytest.mark.skip(reason="no use")
def test_mark():
    pass

@pytest.mark.skipif(True, reason="no use")
def test_condition():
    pass

def test_fixture(skipping):
    pass

@pytest.mark.xfail(strict=True)
def test_known_to_fail():
    assert False
"""


def test_every_way_of_skipping_is_seen_and_an_expected_failure_is_none(project):
    code, said = project(WAYS, "", 0)
    assert code == 1, said
    assert "skips: 3, not accepted: 3" in said
    for name in ("mark", "condition", "fixture"):
        assert f"tests/test_it.py::test_{name} " in said


def test_a_failure_stays_a_failure(project):
    code, said = project(TESTS + "\n\ndef test_fails():\n    assert False\n", LISTED, 0)
    assert (code, "skips: 2, not accepted: 0" in said) == (1, True), said


def test_a_list_that_says_nonsense_is_refused(project):
    code, said = project(TESTS, LISTED.replace("benchmarks-not-asked-for", "tuesday"), 0)
    assert code not in {0, 1}
    assert "there is no condition tuesday; choose one of benchmarks-not-asked-for, " in said


# --- The rows themselves ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rows",
    [
        LISTED.replace('why = "An example."', ""),
        LISTED.replace("no use", ""),
        LISTED.replace("[[test]]", "[[gate]]"),
        LISTED.replace("[[test]]", "[[case]]").replace("test =", "case ="),
        LISTED + 'until = "Tuesday"',
    ],
)
def test_a_row_is_complete(tmp_path, rows):
    (tmp_path / "rows.toml").write_text(rows)
    with pytest.raises(ValueError, match=r"a row is \[\[test\]\] or \[\[gate\]\]"):
        read_rows(tmp_path / "rows.toml")


@pytest.mark.parametrize(
    "kind, name, reason, covered",
    [
        ("test", "tests/a.py::test_b", "no go", True),
        ("test", "tests/a.py::test_b[1]", "no go at all", True),
        ("test", "tests/a.py::test_b_too", "no go", False),
        ("test", "tests/a.py", "no go", False),
        ("test", "tests/a.py::test_b", "because", False),
        ("gate", "tests/a.py::test_b", "no go", False),
    ],
)
def test_a_row_covers_what_it_names_and_nothing_else(kind, name, reason, covered):
    assert Row("test", "tests/a.py::test_b", "no go", "no-go", "why").covers(kind, name, reason) == covered


def test_every_row_names_something_that_exists_and_every_condition_is_used():
    rows = read_rows(EXPECTED)
    known = {gate.id for gate in gates.GATES}
    for row in rows:
        if row.kind == "gate":
            assert row.name in known
            continue
        file, _, function = row.name.partition("::")
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
        assert not function or function.partition("[")[0] in functions, row.name
    assert {row.condition for row in rows} == CONDITIONS.keys()


# --- Where Go is, the tests that need Go run --------------------------------------------------------------------------


GO_TEST = "tests/interop/test_interop_go.py::test_static_log_is_accepted"


@pytest.fixture
def path(tmp_path):
    """Returns a function that makes a PATH with a Go that can fetch no module, or with none."""

    def make(*, go):
        if go:
            (tmp_path / "go").write_text(
                "#!/bin/sh\necho 'dial tcp: lookup proxy.golang.org: no such host' >&2\nexit 1\n"
            )
            (tmp_path / "go").chmod(0o755)
        return str(tmp_path)

    return make


def test_without_go_its_tests_are_skipped(path):
    code, said = run_pytest(ROOT, "-n", 0, GO_TEST, PATH=path(go=False), CI="true")
    assert (code, "not accepted: 0" in said) == (0, True), said


def test_a_go_module_that_cannot_be_had_is_a_failure_in_ci(path):
    code, said = run_pytest(ROOT, "-n", 0, GO_TEST, PATH=path(go=True), CI="true")
    assert code == 1, said
    assert "go build of tests/interop failed" in said
    assert "skipped" not in said
    code, said = run_pytest(ROOT, "-n", 0, GO_TEST, PATH=path(go=True))
    assert (code, "not accepted: 0" in said) == (0, True), said


def test_where_go_is_its_skip_is_not_accepted(path, monkeypatch):
    said = objection(
        read_rows(EXPECTED), "test", GO_TEST, "go is not installed: the log was not read by the foreign client"
    )
    assert (said == "") == (shutil.which("go") is None)
    monkeypatch.setenv("PATH", path(go=True))
    said = objection(
        read_rows(EXPECTED), "test", GO_TEST, "go is not installed: the log was not read by the foreign client"
    )
    assert said == "listed for no-go, which does not hold here"


def test_ci_sets_what_makes_it_strict():
    assert re.search(r"^export CI=true( #.*)?$", (ROOT / ".ci" / "run").read_text(encoding="utf-8"), re.MULTILINE)
